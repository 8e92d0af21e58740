//! Pure. One step, laid out as lines: what was asked, what came back; and its decision, for the margin.

use ratatui::style::Style;

use super::ink::{self, BAD, GOOD, Ink, LINK, MASKED, PLAIN, Row, SOFT, STRONG, WARN};
use super::tape::Content;
use crate::model::{ColumnHead, Reference, SessionId};
use crate::policy::Decision;
use crate::record::{
    Decided, End, Event, Finished, Login, Note, NoteFrom, RecordedCell, RecordedText,
};
use crate::replay::read::State;
use crate::replay::told::{Delivered, Refused, Ruled, Told};
use crate::replay::visible::visible;
use crate::replay::{Verdict, cell, when, words};

/// Cells are cut to so many columns, unless they are shown whole.
const CELL: usize = 36;

/// How to lay out.
pub(super) struct Layout<'a> {
    pub(super) width: usize,
    pub(super) margin: usize,
    /// The decision stands in the page, for there is no margin.
    pub(super) narrow: bool,
    pub(super) whole: bool,
    pub(super) running: bool,
    /// In lower case.
    pub(super) term: &'a str,
    pub(super) session: SessionId,
    pub(super) state: &'a State,
}

/// A step, laid out.
#[derive(Clone, Debug, Default)]
pub(super) struct Page {
    pub(super) rows: Vec<Row>,
    pub(super) margin: Vec<Row>,
}

impl Layout<'_> {
    pub(super) fn page(&self, content: &Content) -> Page {
        let mut page = Page::default();
        for event in &content.others {
            self.other(event, &mut page.rows);
        }
        if let Some(decided) = &content.told.decided {
            let width = if self.narrow { self.width } else { self.margin };
            page.margin = self.margin(&content.told, decided, width);
            self.statement(&content.told, decided, &mut page.rows);
            if self.narrow {
                let mut rows = std::mem::take(&mut page.margin);
                rows.push(Row::default());
                rows.append(&mut page.rows);
                page.rows = rows;
            }
        }
        page
    }

    fn text(&self, text: &str, style: Style, rows: &mut Vec<Row>) {
        rows.extend(
            Ink::default()
                .say(text, style, self.term)
                .wrap(self.width, ""),
        );
    }

    fn fact(&self, name: &str, value: &str, rows: &mut Vec<Row>) {
        let ink = Ink::default().say(name, SOFT, "").pad(13);
        rows.extend(ink.say(value, PLAIN, self.term).wrap(self.width, ""));
    }

    /// Lines of a text behind a bar: a text cannot pass for anything else.
    fn code(&self, text: &str, rows: &mut Vec<Row>) {
        for line in text.split('\n') {
            let line = line.replace('\t', "    ");
            let ink = Ink::default().say(&line, STRONG, self.term);
            rows.extend(ink.wrap(self.width, "▎ "));
        }
    }

    fn statement(&self, told: &Told, decided: &Decided, rows: &mut Vec<Row>) {
        match &decided.text {
            RecordedText::Plain(text) => self.code(text, rows),
            RecordedText::Cut { head, hash, length } => {
                self.code(head, rows);
                self.text(
                    &format!("(the beginning of {length} bytes, BLAKE3 {hash})"),
                    SOFT,
                    rows,
                );
            }
            RecordedText::Withheld { hash, length } => {
                self.text(
                    &format!("(text withheld: {length} bytes, BLAKE3 {hash})"),
                    SOFT,
                    rows,
                );
            }
        }
        for said in decided
            .purpose
            .iter()
            .flat_map(|purpose| words::purpose(purpose))
        {
            self.text(&said, LINK, rows);
        }
        for granted in words::granted(decided) {
            self.text(&granted, LINK, rows);
        }
        for (at, param) in decided.params.iter().enumerate() {
            let value = self.value(param, None, 200);
            let ink = Ink::default().say(&format!("${} = ", at + 1), SOFT, "");
            rows.extend(ink.say(&value, PLAIN, self.term).wrap(self.width, ""));
        }
        rows.push(Row::default());
        match &*decided.decision {
            Decision::Deny(denial) => {
                let refused = Refused::of(&denial.refusal, self.session, decided.seq);
                self.refused(&refused, rows);
            }
            Decision::Hold(_) if told.finished.is_empty() && !self.running => self.text(
                "no outcome is recorded: it was not granted, or the session ended first",
                SOFT,
                rows,
            ),
            Decision::Hold(_) | Decision::Allow(_) => {}
        }
        if self.running {
            return self.text("… running", WARN, rows);
        }
        for (number, result) in told.results.iter().enumerate() {
            self.result(told, result, number, rows);
        }
        if told.left_out > 0 {
            let says = format!(
                "({} more rows or notes: --format text shows them)",
                told.left_out
            );
            self.text(&says, SOFT, rows);
        }
        for note in &told.notes {
            self.note(note, rows);
        }
        for finished in &told.finished {
            self.finished(finished, rows);
        }
    }

    fn refused(&self, refused: &Refused, rows: &mut Vec<Row>) {
        let ink = Ink::default().say(&refused.line(), BAD, self.term);
        rows.extend(ink.wrap(self.width, "▌ "));
        let ink = Ink::default().say("DETAIL: ", SOFT, "");
        rows.extend(
            ink.say(&refused.detail, PLAIN, self.term)
                .wrap(self.width, "▌ "),
        );
        if let Some(hint) = &refused.hint {
            let ink = Ink::default().say("HINT: ", SOFT, "");
            rows.extend(ink.say(hint, PLAIN, self.term).wrap(self.width, "▌ "));
        }
    }

    fn note(&self, note: &Note, rows: &mut Vec<Row>) {
        let from = match note.from {
            NoteFrom::Server => "notice from the database",
            NoteFrom::Agent => "note from the agent",
        };
        let code = match &note.code {
            Some(code) => format!(" {code}"),
            None => String::new(),
        };
        let ink = Ink::default().say(&format!("{from}{code}: "), LINK, "");
        rows.extend(ink.say(&note.text, PLAIN, self.term).wrap(self.width, "  "));
    }

    fn finished(&self, finished: &Finished, rows: &mut Vec<Row>) {
        if let Some((code, message)) = &finished.error {
            let ink = Ink::default().say(&format!("ERROR {code}: {message}"), BAD, self.term);
            rows.extend(ink.wrap(self.width, "▌ "));
        }
        let mut parts = finished.tags.clone();
        if parts.is_empty() || finished.end != End::Done {
            parts.push(words::end(finished.end).to_owned());
        }
        if finished.rows > 0 {
            parts.push(format!(
                "{}, {} bytes",
                words::rows(finished.rows),
                finished.bytes
            ));
        }
        if let Some(changed) = finished.changed {
            parts.push(format!("{} changed", words::rows(changed)));
        }
        parts.push(when::took(finished.micros));
        self.text(&parts.join(" · "), SOFT, rows);
        for found in &finished.found {
            self.text(&words::found(found), MASKED, rows);
        }
    }

    /// A cell as it is, so that what is written out in it can be set off; or its beginning, if it
    /// takes more than `most` columns.
    fn value(&self, cell: &RecordedCell, column: Option<&ColumnHead>, most: usize) -> String {
        let value = match cell {
            RecordedCell::Text(text) => text.clone(),
            RecordedCell::Null
            | RecordedCell::Binary(_)
            | RecordedCell::Long(_)
            | RecordedCell::Begins { .. } => cell::show(cell, column, 0),
        };
        let shown = visible(&value);
        if self.whole || ink::width(&shown) <= most {
            return value;
        }
        ink::cut(&shown, most)
    }

    fn result(&self, told: &Told, result: &Delivered, number: usize, rows: &mut Vec<Row>) {
        if told.results.len() > 1 {
            let says = format!("result {} of {}", number + 1, told.results.len());
            self.text(&says, SOFT, rows);
        }
        let most = if self.whole { usize::MAX } else { CELL };
        let heads = result.head.as_ref().map_or(&[][..], |head| &head.columns);
        let names: Vec<String> = heads
            .iter()
            .enumerate()
            .map(|(at, column)| {
                let mark = if told.mask(at).is_some() { " ▒" } else { "" };
                format!("{}{mark}", ink::cut(&visible(&column.name), most))
            })
            .collect();
        let mut widths: Vec<usize> = names.iter().map(|name| ink::width(name)).collect();
        let mut right = vec![!result.rows.is_empty(); widths.len()];
        let mut table: Vec<Vec<String>> = Vec::with_capacity(result.rows.len());
        for row in &result.rows {
            let cells: Vec<String> = row
                .iter()
                .enumerate()
                .map(|(at, cell)| self.value(cell, heads.get(at), CELL))
                .collect();
            for (at, cell) in cells.iter().enumerate() {
                if widths.len() <= at {
                    widths.push(0);
                    right.push(true);
                }
                if let (Some(width), Some(right)) = (widths.get_mut(at), right.get_mut(at)) {
                    *width = (*width).max(ink::width(&visible(cell)));
                    *right &= cell == "NULL"
                        || cell
                            .chars()
                            .all(|c| c.is_ascii_digit() || matches!(c, '.' | '-'));
                }
            }
            table.push(cells);
        }
        let masks: Vec<bool> = (0..widths.len())
            .map(|at| told.mask(at).is_some())
            .collect();
        let columns: Vec<(usize, bool, bool)> = widths
            .iter()
            .zip(&right)
            .zip(&masks)
            .map(|((width, right), mask)| (*width, *right, *mask))
            .collect();
        if !names.is_empty() {
            rows.push(self.cells(&names, &columns, STRONG));
            let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
            rows.push(Ink::default().say(&rule.join("─┼─"), SOFT, "").wide());
        }
        rows.extend(table.iter().map(|row| self.cells(row, &columns, PLAIN)));
        if result.beyond > 0 {
            let says = format!("(and {} bytes of rows that are not kept)", result.beyond);
            self.text(&says, SOFT, rows);
            for digest in &result.digests {
                self.text(&format!("(their digest: BLAKE3 {digest})"), SOFT, rows);
            }
        }
    }

    fn cells(&self, cells: &[String], columns: &[(usize, bool, bool)], style: Style) -> Row {
        let mut ink = Ink::default();
        for (at, (width, right, masked)) in columns.iter().enumerate() {
            if at > 0 {
                ink = ink.say(" │ ", SOFT, "");
            }
            let cell = cells.get(at).map_or("", String::as_str);
            let style = match (masked, cell) {
                (_, "NULL") => style.patch(SOFT),
                (true, _) => style.patch(MASKED),
                (false, _) => style,
            };
            let space = width.saturating_sub(ink::width(&visible(cell)));
            let from = ink.width();
            if *right {
                ink = ink.pad(from + space);
            }
            ink = ink.say(cell, style, self.term).pad(from + width);
        }
        ink.wide()
    }

    /// The decision and what hangs on it.
    fn margin(&self, told: &Told, decided: &Decided, width: usize) -> Vec<Row> {
        let mut rows = Vec::new();
        let (sign, word, style) = ink::ruled(Ruled::of(&decided.decision));
        rows.extend(
            Ink::default()
                .say(&format!("{sign} {word}"), style.patch(STRONG), "")
                .wrap(width, ""),
        );
        let mut fact = |name: &str, value: &str, style: Style| {
            if !self.narrow {
                rows.extend(Ink::default().say(name, SOFT, "").wrap(width, ""));
                rows.extend(Ink::default().say(value, style, self.term).wrap(width, " "));
            } else {
                let ink = Ink::default().say(&format!("{name} "), SOFT, "");
                rows.extend(ink.say(value, style, self.term).wrap(width, ""));
            }
        };
        fact("decision", &words::decision(&decided.decision), PLAIN);
        if let Decision::Hold(hold) = &*decided.decision {
            fact("reviewers", &hold.asks.reviewers.to_string(), PLAIN);
        }
        let does = words::analysis(&decided.analysis);
        if !does.is_empty() {
            fact("it does", &does, PLAIN);
        }
        for finished in told.finished.iter().filter(|_| !self.running) {
            for (column, by) in &finished.masked {
                let at = usize::from(*column);
                let mut heads = told
                    .results
                    .iter()
                    .filter_map(|result| result.head.as_ref());
                let name = heads.find_map(|head| Some(head.columns.get(at)?.name.to_string()));
                let name = name.unwrap_or_else(|| format!("column {}", at + 1));
                fact("masked", &format!("{name} by {}", words::rule(by)), MASKED);
            }
            for beyond in &finished.observed {
                let whose = beyond.policy.as_deref();
                let whose = whose.map_or(String::new(), |policy| format!(" of {policy}"));
                fact(
                    "observed only",
                    &format!("beyond {} {}{whose}", beyond.key, beyond.most),
                    WARN,
                );
            }
        }
        fact(
            "policies",
            &ink::cut(&visible(&decided.policy_version), 20),
            PLAIN,
        );
        let reference = Reference {
            session: self.session,
            seq: decided.seq,
        };
        fact("reference", &reference.to_string(), PLAIN);
        rows
    }

    fn other(&self, event: &Event, rows: &mut Vec<Row>) {
        match event {
            Event::Began(began) => {
                self.text(&format!("session {}", began.session), STRONG, rows);
                rows.push(Row::default());
                self.fact("began", &when::full(began.at), rows);
                self.fact("workload", &began.workload.name, rows);
                for (key, value) in &began.workload.labels {
                    self.fact("", &format!("{key}={value}"), rows);
                }
                let process = &began.process;
                let says = format!("{}, pid {}, uid {}", process.comm, process.pid, process.uid);
                self.fact("process", &says, rows);
                if let Some(executable) = &process.executable {
                    self.fact("", executable, rows);
                }
                if let Some(digest) = &process.digest {
                    self.fact("", &digest.to_string(), rows);
                }
                self.fact(
                    "path",
                    &format!("{} → {}", began.client, began.destination),
                    rows,
                );
                self.fact(
                    "target",
                    &format!("{} ({})", began.target.0, began.dialect),
                    rows,
                );
            }
            Event::Login(login) => match &login.login {
                Login::Admitted {
                    principal,
                    wished_role,
                    database,
                    role,
                    application,
                    tls,
                    kept,
                    settings: _,
                    upstream: _,
                } => {
                    let user = &principal.user;
                    self.fact("user", &user.subject, rows);
                    self.fact("issuer", &user.issuer, rows);
                    self.fact("groups", &user.groups.join(", "), rows);
                    self.fact("database", database, rows);
                    self.fact("role", &format!("{role} (wished for {wished_role})"), rows);
                    if let Some(application) = application {
                        self.fact("application", application, rows);
                    }
                    self.fact("client's leg", if *tls { "TLS" } else { "in clear" }, rows);
                    if let Some(kept) = kept {
                        let from = format!(
                            "kept from {}, server process {}",
                            kept.session, kept.process
                        );
                        self.fact("connection", &from, rows);
                    }
                }
                Login::Refused(refusal) => {
                    self.text(
                        &format!("login refused at {}", when::full(login.at)),
                        STRONG,
                        rows,
                    );
                    rows.push(Row::default());
                    self.refused(
                        &Refused::of(refusal, self.session, Default::default()),
                        rows,
                    );
                }
            },
            Event::Note(note) => self.note(note, rows),
            Event::Unknown(unknown) => {
                self.text("an event that this version does not know:", SOFT, rows);
                self.code(&unknown.line, rows);
            }
            Event::Closed(closed) => {
                let totals = &closed.totals;
                self.text(
                    &format!("closed: {}", words::why(&closed.why)),
                    STRONG,
                    rows,
                );
                rows.push(Row::default());
                self.fact("at", &when::full(closed.at), rows);
                for (name, value) in [
                    ("statements", totals.statements),
                    ("denied", totals.denied),
                    ("held", totals.held),
                    ("failed", totals.failed),
                    ("rows", totals.rows),
                    ("bytes", totals.bytes),
                ] {
                    self.fact(name, &value.to_string(), rows);
                }
                rows.push(Row::default());
                self.verification(rows);
            }
            Event::Decided(_) | Event::Rows(_) | Event::Finished(_) => {}
        }
    }

    /// What verification says. A signature of the node, where a recording has one, has its line here.
    fn verification(&self, rows: &mut Vec<Row>) {
        let style = match self.state.verdict() {
            Verdict::Good => GOOD,
            Verdict::Bad => BAD,
        };
        self.text("verification", STRONG, rows);
        self.text(&self.state.sentence(), style, rows);
        self.fact("chain", &self.state.hash, rows);
    }
}
