//! IO. `sessions ls` and `sessions show`.

use std::io::Write;
use std::path::Path;

use super::entry::Entry;
use super::filter::Filter;
use super::index::{Trust, catalogue};
use super::read::{Recording, Said};
use super::table::Table;
use super::text::Story;
use super::visible::visible;
use super::{ReplayError, Style, Verdict, json, when};
use crate::policy::Decision;
use crate::record::{Event, Identities, RecordedText};

/// In which order to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "self-explanatory")]
pub enum Sort {
    #[default]
    Began,
    Ended,
    Workload,
    User,
    Target,
    Statements,
    Denied,
    Rows,
    Bytes,
}

/// How much of the list, and in which order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// By what, ascending.
    pub sort: Sort,
    /// Only so many, from the end.
    pub last: Option<usize>,
}

/// The sessions of a directory that fit, by their beginning. What is no recording, or vanished
/// meanwhile, is left out; `verify` names it.
pub fn entries(
    dir: &Path,
    identities: &Identities,
    filter: &Filter,
) -> Result<Vec<Entry>, ReplayError> {
    let found = catalogue(dir, identities, filter, Trust::Unchanged, &|_, _| {})?;
    Ok(found.entries.into_iter().map(|(_, entry)| entry).collect())
}

fn order(entries: &mut Vec<Entry>, order: Order) {
    let text = |a: &Option<String>, b: &Option<String>| a.cmp(b);
    // Stable: what is equal stays by its beginning.
    entries.sort_by(|a, b| match order.sort {
        Sort::Began => a.began.cmp(&b.began),
        // What goes on ends last.
        Sort::Ended => (a.ended.is_none(), a.ended).cmp(&(b.ended.is_none(), b.ended)),
        Sort::Workload => a.workload.cmp(&b.workload),
        Sort::User => text(&a.user, &b.user),
        Sort::Target => {
            let name = |entry: &Entry| entry.target.as_ref().map(|target| target.0.clone());
            name(a).cmp(&name(b))
        }
        Sort::Statements => a.totals.statements.cmp(&b.totals.statements),
        Sort::Denied => a.totals.denied.cmp(&b.totals.denied),
        Sort::Rows => a.totals.rows.cmp(&b.totals.rows),
        Sort::Bytes => a.totals.bytes.cmp(&b.totals.bytes),
    });
    if let Some(last) = order.last {
        entries.drain(..entries.len().saturating_sub(last));
    }
}

/// Lists sessions, as a table or one JSON object a line. Gives their number.
pub fn list(
    dir: &Path,
    identities: &Identities,
    filter: &Filter,
    style: Style,
    out: &mut dyn Write,
) -> Result<usize, ReplayError> {
    print(
        entries(dir, identities, filter)?,
        Order::default(),
        style,
        out,
    )
}

/// Lists these sessions, as a table or one JSON object a line. Gives their number.
pub fn print(
    mut entries: Vec<Entry>,
    by: Order,
    style: Style,
    out: &mut dyn Write,
) -> Result<usize, ReplayError> {
    order(&mut entries, by);
    match style {
        Style::Json => entries
            .iter()
            .try_for_each(|entry| json::line(entry, out))?,
        Style::Text => {
            let mut table = Table::new([
                "SESSION",
                "BEGAN (UTC)",
                "WORKLOAD",
                "USER",
                "TARGET",
                "STATEMENTS",
                "DENIED",
                "ROWS",
                "END",
            ]);
            for entry in &entries {
                table.row(vec![
                    entry.session.to_string(),
                    when::short(entry.began),
                    visible(&entry.workload).into_owned(),
                    entry
                        .user
                        .as_deref()
                        .map_or_else(|| "–".into(), visible)
                        .into_owned(),
                    entry
                        .target
                        .as_ref()
                        .map_or("–".into(), |t| visible(&t.0))
                        .into_owned(),
                    entry.totals.statements.to_string(),
                    entry.totals.denied.to_string(),
                    entry.totals.rows.to_string(),
                    entry.end().to_owned(),
                ]);
            }
            table.print("", false, out)?;
        }
    }
    out.flush()?;
    Ok(entries.len())
}

/// One session: who and where, one line a statement, how it ended, what verification says.
pub fn show(
    path: &Path,
    identities: &Identities,
    style: Style,
    out: &mut dyn Write,
) -> Result<Verdict, ReplayError> {
    let mut recording = Recording::open(path, identities)?;
    let mut story = Story::new(0);
    let mut table = Table::new(["#", "AT", "DECISION", "STATEMENT"]);
    let mut closed = None;
    let mut statements = 0_u64;
    while let Said::Event(event) = recording.next()? {
        match (&*event, style) {
            (_, Style::Json) => {}
            (Event::Began(_) | Event::Login(_), Style::Text) => story.tell(&event, out)?,
            (Event::Decided(decided), Style::Text) => {
                statements += 1;
                if statements <= SHOWN {
                    table.row(vec![
                        decided.seq.to_string(),
                        when::clock(decided.at),
                        match &*decided.decision {
                            Decision::Allow(_) => "allow",
                            Decision::Hold(_) => "HOLD",
                            Decision::Deny(_) => "DENY",
                        }
                        .to_owned(),
                        first_words(&decided.text),
                    ]);
                }
            }
            (Event::Closed(_), Style::Text) => closed = Some(event),
            (
                Event::Rows(_) | Event::Finished(_) | Event::Note(_) | Event::Unknown(_),
                Style::Text,
            ) => {}
        }
    }
    let state = recording.state();
    match style {
        Style::Json => {
            let entry = serde_json::json!({
                "session": Entry::of(path, identities)?, "verified": json::state_value(&state),
            });
            json::line(&entry, out)?;
        }
        Style::Text => {
            if statements > 0 {
                writeln!(out)?;
                table.print("  ", false, out)?;
            }
            if statements > SHOWN {
                writeln!(
                    out,
                    "  … and {} more: `node-agent replay` shows all",
                    statements - SHOWN
                )?;
            }
            if let Some(closed) = closed {
                story.tell(&closed, out)?;
            }
            let verdict = state.verdict();
            story.end(&state, out)?;
            out.flush()?;
            return Ok(verdict);
        }
    }
    out.flush()?;
    Ok(state.verdict())
}

const SHOWN: u64 = 1000;

/// How a statement begins, in one line.
pub(super) fn first_words(text: &RecordedText) -> String {
    let text = match text {
        RecordedText::Plain(text) | RecordedText::Cut { head: text, .. } => text,
        RecordedText::Withheld { length, .. } => return format!("(withheld, {length} bytes)"),
    };
    let flat: Vec<_> = text.split_whitespace().take(40).collect();
    let flat = flat.join(" ");
    let mut short: String = flat.chars().take(80).collect();
    if short.len() < flat.len() {
        short.push('…');
    }
    visible(&short).into_owned()
}
