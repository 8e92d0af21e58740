//! IO. A session as a story for the terminal.

use std::io::{self, Write};
use std::sync::Arc;

use super::cell;
use super::read::State;
use super::table::Table;
use super::visible::visible;
use super::{when, words};
use crate::model::{ResultHead, StatementSeq};
use crate::policy::Decision;
use crate::record::{
    Began, Decided, Event, Finished, LoggedIn, Login, NoteFrom, RecordedText, Rows,
};

/// Tells events in order. Keeps the rows of one result, to lay them out as one table.
pub(super) struct Story {
    width: usize,
    pending: Option<Pending>,
}

/// Rows that are not printed yet. Bounded by what the recorder keeps of a statement, and by
/// `TABLE_ROWS` for a file that somebody else made.
struct Pending {
    seq: StatementSeq,
    head: Option<Arc<ResultHead>>,
    table: Table,
    rows: usize,
    beyond: u64,
    digest: Option<String>,
}

const TABLE_ROWS: usize = 10_000;

impl Story {
    pub(super) fn new(width: usize) -> Self {
        Story {
            width,
            pending: None,
        }
    }

    pub(super) fn tell(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        if !matches!(event, Event::Rows(_)) {
            self.print_rows(out)?;
        }
        match event {
            Event::Began(event) => began(event, out),
            Event::Login(event) => login(event, out),
            Event::Decided(event) => self.decided(event, out),
            Event::Rows(event) => self.rows(event, out),
            Event::Finished(event) => finished(event, out),
            Event::Note(note) => {
                let from = match note.from {
                    NoteFrom::Server => "the database",
                    NoteFrom::Agent => "the agent",
                };
                let code = note
                    .code
                    .as_ref()
                    .map_or(String::new(), |c| format!(" ({})", visible(c)));
                writeln!(out, "    note from {from}{code}: {}", visible(&note.text))
            }
            Event::Closed(event) => {
                let totals = &event.totals;
                writeln!(
                    out,
                    "\nclosed at {}: {}",
                    when::full(event.at),
                    words::why(&event.why)
                )?;
                writeln!(
                    out,
                    "  {} statements, {} denied, {} held, {} failed; {} rows, {} bytes",
                    totals.statements,
                    totals.denied,
                    totals.held,
                    totals.failed,
                    totals.rows,
                    totals.bytes
                )
            }
            Event::Unknown(event) => writeln!(
                out,
                "\n(an event {:?} that this version does not know: {})",
                visible(&event.kind),
                visible(&event.line)
            ),
        }
    }

    pub(super) fn end(mut self, state: &State, out: &mut dyn Write) -> io::Result<()> {
        self.print_rows(out)?;
        writeln!(out, "\nrecording: {}", state.sentence())?;
        writeln!(out, "  chain {}", state.hash)
    }

    fn decided(&mut self, event: &Decided, out: &mut dyn Write) -> io::Result<()> {
        let what = words::analysis(&event.analysis);
        writeln!(
            out,
            "\n#{}  {}  {}{}",
            event.seq,
            when::clock(event.at),
            words::decision(&event.decision),
            if what.is_empty() {
                String::new()
            } else {
                format!("  [{what}]")
            },
        )?;
        text(&event.text, out)?;
        if let Some(purpose) = &event.purpose {
            for line in words::purpose(purpose) {
                writeln!(out, "    {line}")?;
            }
        }
        for line in words::granted(event) {
            writeln!(out, "    {line}")?;
        }
        for (number, param) in event.params.iter().enumerate() {
            writeln!(
                out,
                "    ${} = {}",
                number + 1,
                cell::show(param, None, self.width)
            )?;
        }
        match &event.decision.as_ref() {
            Decision::Deny(denial) => {
                for line in words::refusal(&denial.refusal) {
                    writeln!(out, "    {line}")?;
                }
                Ok(())
            }
            Decision::Hold(hold) => {
                writeln!(
                    out,
                    "    reviewers: {}",
                    visible(&hold.asks.reviewers.to_string())
                )
            }
            Decision::Allow(_) => Ok(()),
        }
    }

    fn rows(&mut self, event: &Rows, out: &mut dyn Write) -> io::Result<()> {
        let another = self.pending.as_ref().is_some_and(|pending| {
            pending.seq != event.seq
                || pending.rows >= TABLE_ROWS
                || event.head.is_some() && pending.head != event.head
        });
        if another {
            self.print_rows(out)?;
        }
        let pending = self.pending.get_or_insert_with(|| {
            let heads: Vec<String> = event.head.as_ref().map_or_else(Vec::new, |head| {
                head.columns
                    .iter()
                    .map(|column| visible(&column.name).into_owned())
                    .collect()
            });
            Pending {
                seq: event.seq,
                head: event.head.clone(),
                table: Table::new(heads),
                rows: 0,
                beyond: 0,
                digest: None,
            }
        });
        for row in &event.rows {
            let columns = pending.head.as_ref().map(|head| &head.columns);
            let cells = row
                .iter()
                .enumerate()
                .map(|(at, cell)| cell::show(cell, columns.and_then(|c| c.get(at)), self.width));
            pending.table.row(cells.collect());
            pending.rows += 1;
        }
        pending.beyond += event.beyond;
        if event.digest.is_some() {
            pending.digest.clone_from(&event.digest);
        }
        Ok(())
    }

    fn print_rows(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let Some(pending) = self.pending.take() else {
            return Ok(());
        };
        if pending.rows > 0 || pending.head.is_some() {
            pending.table.print("     ", true, out)?;
        }
        if pending.beyond > 0 {
            writeln!(
                out,
                "     (and {} bytes of rows that are not kept; BLAKE3 {})",
                pending.beyond,
                pending.digest.as_deref().unwrap_or("was not taken")
            )?;
        }
        Ok(())
    }
}

fn began(event: &Began, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "session {}", event.session)?;
    writeln!(out, "  began     {}", when::full(event.at))?;
    let labels: Vec<_> = event
        .workload
        .labels
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    let labels = if labels.is_empty() {
        String::new()
    } else {
        format!(" ({})", labels.join(", "))
    };
    writeln!(
        out,
        "  workload  {}{}",
        visible(&event.workload.name),
        visible(&labels)
    )?;
    let process = &event.process;
    writeln!(
        out,
        "  process   {}, pid {}, uid {}{}",
        visible(&process.comm),
        process.pid,
        process.uid,
        process
            .executable
            .as_ref()
            .map_or(String::new(), |path| format!(", {}", visible(path)))
    )?;
    if let Some(digest) = &process.digest {
        writeln!(out, "  runs      {}", visible(&digest.to_string()))?;
    }
    writeln!(
        out,
        "  path      {} → {} (target {}, {})",
        event.client,
        event.destination,
        visible(&event.target.0),
        event.dialect
    )
}

fn login(event: &LoggedIn, out: &mut dyn Write) -> io::Result<()> {
    match &event.login {
        Login::Admitted {
            principal,
            wished_role,
            database,
            role,
            application,
            tls,
            kept,
            ..
        } => {
            let user = &principal.user;
            writeln!(
                out,
                "  user      {} of {}; groups {}",
                visible(&user.subject),
                visible(&user.issuer),
                visible(&user.groups.join(", "))
            )?;
            writeln!(
                out,
                "  database  {} as {} (wished for {}){}{}",
                visible(database),
                visible(role),
                visible(wished_role),
                application
                    .as_ref()
                    .map_or(String::new(), |a| format!("; application {}", visible(a))),
                if *tls { "; TLS" } else { "; in clear" },
            )?;
            match kept {
                Some(kept) => writeln!(
                    out,
                    "            kept from {}, server process {}",
                    kept.session, kept.process
                ),
                None => Ok(()),
            }
        }
        Login::Refused(refusal) => {
            writeln!(out, "  login     refused at {}", when::full(event.at))?;
            for line in words::refusal(refusal) {
                writeln!(out, "    {line}")?;
            }
            Ok(())
        }
    }
}

/// The text with its own line breaks, each line behind a bar: a text cannot pass for anything else.
fn text(text: &RecordedText, out: &mut dyn Write) -> io::Result<()> {
    let plain = |text: &str, out: &mut dyn Write| -> io::Result<()> {
        for line in text.split('\n') {
            let line = line
                .strip_suffix('\r')
                .unwrap_or(line)
                .replace('\t', "    ");
            writeln!(out, "    │ {}", visible(&line))?;
        }
        Ok(())
    };
    match text {
        RecordedText::Plain(text) => plain(text, out),
        RecordedText::Cut { head, hash, length } => {
            plain(head, out)?;
            writeln!(
                out,
                "    (the beginning of {length} bytes, BLAKE3 {})",
                visible(hash)
            )
        }
        RecordedText::Withheld { hash, length } => {
            writeln!(
                out,
                "    (text withheld: {length} bytes, BLAKE3 {})",
                visible(hash)
            )
        }
    }
}

fn finished(event: &Finished, out: &mut dyn Write) -> io::Result<()> {
    let mut parts = Vec::new();
    parts.extend(event.tags.iter().map(|tag| visible(tag).into_owned()));
    if event.tags.is_empty() || event.end != crate::record::End::Done {
        parts.push(words::end(event.end).to_owned());
    }
    if event.rows > 0 {
        parts.push(format!("{} rows, {} bytes", event.rows, event.bytes));
    }
    if let Some(changed) = event.changed {
        parts.push(format!("{changed} rows changed"));
    }
    for beyond in &event.observed {
        let whose = beyond.policy.as_ref();
        let whose = whose.map_or(String::new(), |policy| format!(" of {}", visible(policy)));
        let key = visible(&beyond.key);
        parts.push(format!(
            "observed only, beyond {key} {}{whose}",
            beyond.most
        ));
    }
    parts.push(when::took(event.micros));
    if let Some((code, message)) = &event.error {
        writeln!(out, "    error {}: {}", visible(code), visible(message))?;
    }
    writeln!(out, "    #{} {}", event.seq, parts.join(" · "))?;
    for found in &event.found {
        writeln!(out, "    {}", words::found(found))?;
    }
    for (column, by) in &event.masked {
        writeln!(
            out,
            "    column {} masked by {}",
            u32::from(*column) + 1,
            words::rule(by)
        )?;
    }
    Ok(())
}
