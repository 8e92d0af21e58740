//! IO. A session that is run again, told as it goes.

use std::io::{self, Write};

use serde_json::json;

use super::super::backtest::beginning;
use super::super::{State, Style, json, visible, when};
use super::compare::{Difference, Found};
use super::line::Heard;
use super::plan::{Bound, How, Step, Todo};
use super::{Again, AgainstOptions};

/// Tells.
pub(super) struct Teller<'a> {
    options: &'a AgainstOptions,
    out: &'a mut dyn Write,
}

impl<'a> Teller<'a> {
    pub(super) fn new(options: &'a AgainstOptions, out: &'a mut dyn Write) -> Self {
        Teller { options, out }
    }

    /// What a dry run would do.
    pub(super) fn planned(&mut self, step: &Step, todo: &Todo) -> io::Result<()> {
        let Todo::Run(how) = todo else {
            let Todo::Leave { why, .. } = todo else {
                return Ok(());
            };
            return self.left(step, why);
        };
        let with = match how {
            How::Text(_) => "as a text".to_owned(),
            How::Prepared(Bound { params, .. }) => {
                format!("prepared, with {} parameters", params.len())
            }
        };
        match self.options.style {
            Style::Json => self.json(step, "would_run", json!({ "how": with })),
            Style::Text => self.line(step, &format!("would run {with}")),
        }
    }

    /// A statement that is not run.
    pub(super) fn left(&mut self, step: &Step, why: &str) -> io::Result<()> {
        match self.options.style {
            Style::Json => self.json(step, "not_run", json!({ "why": why })),
            Style::Text => self.line(step, &format!("not run: {why}")),
        }
    }

    /// One that was refused then.
    pub(super) fn uncompared(&mut self, step: &Step, heard: &Heard) -> io::Result<()> {
        let now = match &heard.error {
            Some((code, message)) => format!("it fails: {code} {message}"),
            None => format!("it runs: {}, {} rows", heard.tags.join(", "), heard.count),
        };
        match self.options.style {
            Style::Json => self.json(step, "uncompared", json!({ "now": now })),
            Style::Text => self.line(step, &format!("refused then; now {}", visible(&now))),
        }
    }

    /// One that was run.
    pub(super) fn ran(
        &mut self,
        step: &Step,
        then: u64,
        now: u64,
        found: &Found,
        again: &Again,
    ) -> io::Result<()> {
        let same = found.differences.is_empty();
        match self.options.style {
            Style::Json => {
                let result = if same { "same" } else { "different" };
                let more = json!({
                    "differences": found.differences,
                    "micros_then": then,
                    "micros_now": now,
                    "masked_cells": found.masked,
                    "unrecorded_rows": found.unrecorded,
                    "reordered": found.reordered,
                });
                self.json(step, result, more)?;
            }
            Style::Text if !same => {
                self.line(step, "DIFFERENT")?;
                for difference in &found.differences {
                    writeln!(self.out, "      {}", sentence(difference))?;
                }
            }
            Style::Text if self.options.all => {
                let order = if found.reordered {
                    ", rows in another order"
                } else {
                    ""
                };
                let took = format!(
                    "same{order}; {}, then {}",
                    when::took(now),
                    when::took(then)
                );
                self.line(step, &took)?;
            }
            Style::Text => {}
        }
        if self.options.progress && again.run.is_multiple_of(16) {
            let text = format!("\r{} run, {} different", again.run, again.different);
            let _ = io::stderr().write_all(text.as_bytes());
        }
        Ok(())
    }

    /// The end.
    pub(super) fn end(&mut self, again: &Again, state: &State) -> io::Result<()> {
        if self.options.progress {
            let _ = io::stderr().write_all(b"\r\x1b[K");
        }
        match self.options.style {
            Style::Json => {
                let value =
                    json!({ "event": "again", "summary": again, "recording": state.sentence() });
                json::line(&value, self.out)?;
            }
            Style::Text => writeln!(
                self.out,
                "{}; recording: {}",
                summary(again),
                state.sentence()
            )?,
        }
        self.out.flush()
    }

    fn line(&mut self, step: &Step, what: &str) -> io::Result<()> {
        let text = beginning(&step.decided.text);
        writeln!(
            self.out,
            "  #{}  {}\n      {what}",
            step.seq(),
            visible(&text)
        )
    }

    fn json(&mut self, step: &Step, result: &str, more: serde_json::Value) -> io::Result<()> {
        let mut value = json!({
            "event": "statement",
            "seq": step.seq(),
            "statement": beginning(&step.decided.text),
            "result": result,
        });
        if let (Some(all), serde_json::Value::Object(more)) = (value.as_object_mut(), more) {
            all.extend(more);
        }
        json::line(&value, self.out)
    }
}

fn sentence(difference: &Difference) -> String {
    let error = |code: &Option<String>| match code {
        Some(code) => visible(code).into_owned(),
        None => "no error".to_owned(),
    };
    match difference {
        Difference::Error { then, now } => {
            format!("error: {} then, {} now", error(then), error(now))
        }
        Difference::Tags { then, now } => format!(
            "tags: {} then, {} now",
            visible(&then.join(", ")),
            visible(&now.join(", "))
        ),
        Difference::Rows { then, now } => format!("rows: {then} then, {now} now"),
        Difference::Columns { then, now } => format!(
            "columns: {} then, {} now",
            visible(&then.join(", ")),
            visible(&now.join(", "))
        ),
        Difference::Cell {
            row,
            column,
            then,
            now,
        } => format!(
            "row {row}, {}: {} then, {} now",
            visible(column),
            visible(then),
            visible(now)
        ),
        Difference::MoreCells { cells } => format!("and {cells} cells more"),
        Difference::Order => "the rows are the same, in another order".to_owned(),
    }
}

fn summary(again: &Again) -> String {
    let mut text = format!(
        "{} run: {} the same, {} different",
        again.run, again.same, again.different
    );
    for (count, what) in [
        (again.uncompared, "refused then, nothing to compare with"),
        (again.not_run, "not run"),
        (again.masked_cells, "cells masked then, not compared"),
        (again.unrecorded_rows, "rows not on record, not compared"),
        (
            again.reordered,
            "with rows in another order that nothing asks for",
        ),
    ] {
        if count > 0 {
            text.push_str(&format!("; {count} {what}"));
        }
    }
    if again.micros_then > 0 && again.micros_now > 0 {
        // A ratio for people.
        let ratio = again.micros_now.saturating_mul(100) / again.micros_then;
        text.push_str(&format!(
            "; {} now, {} then ({ratio} %)",
            when::took(again.micros_now),
            when::took(again.micros_then)
        ));
    }
    if again.stopped {
        text.push_str("; stopped there");
    }
    text
}
