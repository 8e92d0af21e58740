//! IO. One recording, searched. Lines without what is looked for are passed over unparsed.

use std::collections::{HashSet, VecDeque};
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::Arc;

use super::{Excerpt, Hit, Place, Question, Who};
use crate::model::{Refusal, StatementSeq, UnixMillis};
use crate::policy::Decision;
use crate::record::{
    Decided, Event, Finished, Held, Identities, LineKind, Login, Note, Passed, RecordedCell,
    RecordedText, Rows, Skim,
};
use crate::replay::filter::Ruling;
use crate::replay::raw::{self, Raw};
use crate::replay::{ReplayError, cell, touched};

/// How many statements back rows and errors may belong to one whose text is shown.
const BACK: usize = 1024;
/// Bytes of them.
const BACK_BYTES: usize = 32 << 20;

/// Where hits go. A `Break` ends the search of this recording.
pub(super) type Emit<'a> = &'a mut dyn FnMut(Hit) -> ControlFlow<()>;

/// Searches one recording. Gives a sentence if a part of it was not searched, and why.
pub(super) fn scan(
    path: &Path,
    identities: &Identities,
    question: &Question,
    emit: Emit<'_>,
) -> Result<Option<String>, ReplayError> {
    let mut raw = Raw::open(path, identities)?;
    let mut scan = Scan {
        question,
        who: Arc::new(Who::new(raw.header().session)),
        skim: Skim::default(),
        back: VecDeque::new(),
        back_bytes: 0,
        bases: HashSet::new(),
        valued: None,
    };
    while let Some((_, lines)) = raw.next()? {
        if scan.block(&lines, emit).is_break() {
            return Ok(None);
        }
    }
    Ok(raw.damage().map(|damage| {
        format!(
            "{}: DAMAGED: {damage}; from there on it was not searched",
            scan.who.session
        )
    }))
}

struct Scan<'q> {
    question: &'q Question,
    who: Arc<Who>,
    skim: Skim,
    /// The latest statements.
    back: VecDeque<(StatementSeq, usize, Held)>,
    back_bytes: usize,
    /// Statements with a match, by the numbers by which later ones refer to them.
    bases: HashSet<u64>,
    /// The statement of whose rows the first match was told.
    valued: Option<StatementSeq>,
}

impl Scan<'_> {
    fn block(&mut self, lines: &[u8], emit: Emit<'_>) -> ControlFlow<()> {
        let question = self.question;
        let mut next = question.pattern.next(lines, 0);
        let mut from = 0;
        for line in raw::lines(lines) {
            let end = from + line.len();
            let candidate = next.is_some_and(|at| at <= end);
            self.line(line, candidate, emit)?;
            from = end + 1;
            if candidate {
                next = question.pattern.next(lines, from);
            }
        }
        ControlFlow::Continue(())
    }

    fn line(&mut self, line: &[u8], candidate: bool, emit: Emit<'_>) -> ControlFlow<()> {
        let passed = self.skim.pass(line);
        let base = passed.base.as_ref().map(|base| base.number());
        match passed.kind {
            LineKind::Decided => {
                self.keep(&passed);
                let tables = self.question.wants(Place::Tables);
                if !(candidate || tables && self.question.pattern.in_tables(line)) {
                    return ControlFlow::Continue(());
                }
                if let Event::Decided(decided) = passed.event() {
                    let found = self.decided(&decided, emit)?;
                    if let Some(number) = base.filter(|_| found) {
                        if self.bases.len() > 1024 {
                            // Nobody refers further back than this.
                            self.bases.retain(|old| old + 512 > number);
                        }
                        self.bases.insert(number);
                    }
                }
            }
            LineKind::Again | LineKind::Like => {
                self.keep(&passed);
                let repeats = base.is_some_and(|number| self.bases.contains(&number));
                if candidate || repeats {
                    self.event(passed.event(), emit)?;
                }
            }
            LineKind::Began | LineKind::Login | LineKind::Other => {
                self.event(passed.event(), emit)?
            }
            LineKind::Rows if passed.seq.is_some() && passed.seq == self.valued => {}
            LineKind::Rows | LineKind::Finished | LineKind::Note => {
                if candidate {
                    self.event(passed.event(), emit)?;
                }
            }
            LineKind::Closed => {}
        }
        ControlFlow::Continue(())
    }

    fn event(&mut self, event: Event, emit: Emit<'_>) -> ControlFlow<()> {
        match event {
            Event::Began(began) => {
                let who = Arc::make_mut(&mut self.who);
                who.workload = began.workload.name.to_string();
                who.target = began.target.0.to_string();
            }
            Event::Login(login) => match login.login {
                Login::Admitted {
                    principal,
                    database,
                    ..
                } => {
                    let who = Arc::make_mut(&mut self.who);
                    who.user = Some(principal.user.subject);
                    who.database = Some(database);
                }
                Login::Refused(refusal) => {
                    let mut search = self.search(Place::Refusals);
                    of_refusal(&refusal, &mut search);
                    let found = search.first;
                    self.aside(found, Place::Refusals, login.at, Some(Ruling::Deny), emit)?;
                }
            },
            Event::Decided(decided) => {
                self.decided(&decided, emit)?;
            }
            Event::Rows(rows) => self.rows(&rows, emit)?,
            Event::Finished(finished) => self.finished(&finished, emit)?,
            Event::Note(note) => self.note(&note, emit)?,
            Event::Closed(_) | Event::Unknown(_) => {}
        }
        ControlFlow::Continue(())
    }

    fn keep(&mut self, passed: &Passed<'_>) {
        let Some(seq) = passed.seq else { return };
        let mut held = Held::default();
        while self.back.len() >= BACK || self.back_bytes > BACK_BYTES {
            let Some((_, length, oldest)) = self.back.pop_front() else {
                break;
            };
            self.back_bytes -= length;
            held = oldest;
        }
        passed.hold(&mut held);
        self.back_bytes += passed.length();
        self.back.push_back((seq, passed.length(), held));
    }

    /// The statement that something else belongs to.
    fn statement(&self, seq: StatementSeq) -> Option<Box<Decided>> {
        let mut back = self.back.iter().rev();
        let (_, _, held) = back.find(|(kept, _, _)| *kept == seq)?;
        match held.event() {
            Event::Decided(decided) => Some(decided),
            Event::Began(_)
            | Event::Login(_)
            | Event::Rows(_)
            | Event::Finished(_)
            | Event::Note(_)
            | Event::Closed(_)
            | Event::Unknown(_) => None,
        }
    }

    fn search(&self, place: Place) -> Search<'_> {
        Search {
            question: self.question,
            wanted: self.question.wants(place),
            first: None,
        }
    }

    /// Whether anything of it matches, be it wanted or not.
    fn decided(&mut self, decided: &Decided, emit: Emit<'_>) -> ControlFlow<(), bool> {
        let mut any = false;
        let wanted = self.question.filter.statement(decided);
        for place in Place::OF_STATEMENTS {
            let mut search = self.search(place);
            search.statement(place, decided);
            let Some(found) = search.first else { continue };
            any = true;
            if wanted {
                emit(self.hit(found, place, decided.seq, Some(decided)))?;
            }
        }
        ControlFlow::Continue(any)
    }

    fn rows(&mut self, rows: &Rows, emit: Emit<'_>) -> ControlFlow<()> {
        let mut search = self.search(Place::Values);
        let columns = rows.head.as_ref().map_or(&[][..], |head| &head.columns);
        for row in &rows.rows {
            for (at, value) in row.iter().enumerate() {
                let column = columns.get(at);
                if let Some(text) = cell::plain(value, column) {
                    search.text(column.map(|column| &*column.name), &text);
                }
            }
        }
        let found = search.first;
        if found.is_some() {
            self.valued = Some(rows.seq);
        }
        self.beside(found, Place::Values, rows.seq, emit)
    }

    fn finished(&mut self, finished: &Finished, emit: Emit<'_>) -> ControlFlow<()> {
        let mut search = self.search(Place::Errors);
        if let Some((code, message)) = &finished.error {
            search.text(Some("code"), code);
            search.text(None, message);
        }
        let found = search.first;
        self.beside(found, Place::Errors, finished.seq, emit)
    }

    fn note(&mut self, note: &Note, emit: Emit<'_>) -> ControlFlow<()> {
        let mut search = self.search(Place::Notices);
        search.text(None, &note.text);
        let found = search.first;
        match note.seq {
            Some(seq) => self.beside(found, Place::Notices, seq, emit),
            None => self.aside(found, Place::Notices, note.at, None, emit),
        }
    }

    /// Something that belongs to a statement.
    fn beside(
        &mut self,
        found: Option<Match>,
        place: Place,
        seq: StatementSeq,
        emit: Emit<'_>,
    ) -> ControlFlow<()> {
        let Some(found) = found else {
            return ControlFlow::Continue(());
        };
        let statement = self.statement(seq);
        // One whose statement is not at hand is shown: it may be what is looked for.
        if statement
            .as_ref()
            .is_some_and(|decided| !self.question.filter.statement(decided))
        {
            return ControlFlow::Continue(());
        }
        emit(self.hit(found, place, seq, statement.as_deref()))
    }

    /// Something that belongs to the session.
    fn aside(
        &self,
        found: Option<Match>,
        place: Place,
        at: UnixMillis,
        decision: Option<Ruling>,
        emit: Emit<'_>,
    ) -> ControlFlow<()> {
        let filter = &self.question.filter;
        let of_a_statement = filter.rule.is_some() || filter.table.is_some();
        let ruling = filter
            .decision
            .is_none_or(|wanted| decision == Some(wanted))
            && (!filter.denied || decision == Some(Ruling::Deny));
        let Some(found) = found.filter(|_| !of_a_statement && ruling && filter.moment(at)) else {
            return ControlFlow::Continue(());
        };
        let mut hit = self.hit(found, place, StatementSeq(0), None);
        hit.at = Some(at);
        hit.decision = decision;
        emit(hit)
    }

    fn hit(&self, found: Match, place: Place, seq: StatementSeq, of: Option<&Decided>) -> Hit {
        Hit {
            who: Arc::clone(&self.who),
            seq,
            at: of.map(|decided| decided.at),
            decision: of.map(|decided| Ruling::of(&decided.decision)),
            place,
            label: found.label,
            excerpt: found.excerpt,
            more: found.more,
            statement: of.map(|decided| beginning(&decided.text)),
        }
    }
}

/// The first match of several texts, and how many more there are.
struct Match {
    label: Option<String>,
    excerpt: Excerpt,
    more: u64,
}

struct Search<'q> {
    question: &'q Question,
    wanted: bool,
    first: Option<Match>,
}

impl Search<'_> {
    fn text(&mut self, label: Option<&str>, text: &str) {
        if !self.wanted {
            return;
        }
        let Some((range, more)) = self.question.pattern.find(text) else {
            return;
        };
        match &mut self.first {
            Some(first) => first.more += 1 + more,
            None => {
                self.first = Some(Match {
                    label: label.map(str::to_owned),
                    excerpt: excerpt(text, range),
                    more,
                });
            }
        }
    }

    fn statement(&mut self, place: Place, decided: &Decided) {
        match place {
            Place::Statements => {
                if let RecordedText::Plain(text) | RecordedText::Cut { head: text, .. } =
                    &decided.text
                {
                    self.text(None, text);
                }
            }
            Place::Parameters => {
                for (at, cell) in decided.params.iter().enumerate() {
                    if let Some(text) = parameter(cell) {
                        self.text(Some(&format!("${}", at + 1)), &text);
                    }
                }
            }
            Place::Tables => touched::relations(&decided.analysis, &mut |used| {
                self.text(
                    Some(touched::touch(used.touch)),
                    &touched::name(&used.relation),
                );
            }),
            Place::Reasons => {
                if let Some(purpose) = &decided.purpose {
                    let said = [&purpose.reason, &purpose.ticket, &purpose.traceparent];
                    for text in said.into_iter().flatten() {
                        self.text(None, text);
                    }
                }
                // By the approval's name, what ran by it is found.
                for granted in &decided.basis.access {
                    if let Some(by) = granted.by {
                        self.text(Some(&granted.policy), &by.to_string());
                    }
                }
            }
            Place::Refusals => {
                if let Decision::Deny(denial) = &*decided.decision {
                    of_refusal(&denial.refusal, self);
                }
            }
            // Those stand in lines of their own.
            Place::Values | Place::Errors | Place::Notices => {}
        }
    }
}

fn of_refusal(refusal: &Refusal, search: &mut Search<'_>) {
    search.text(None, &refusal.message);
    for text in [&refusal.detail, &refusal.hint].into_iter().flatten() {
        search.text(None, text);
    }
}

/// A parameter's type is not in the recording: a binary one is read as text where it can be.
fn parameter(cell: &RecordedCell) -> Option<std::borrow::Cow<'_, str>> {
    cell::plain(cell, None)
}

/// Characters of a text before and after a match.
const AROUND: usize = 60;
/// Characters of a match.
const FOUND: usize = 200;

fn excerpt(text: &str, range: Range<usize>) -> Excerpt {
    let part = |range: Range<usize>| text.get(range).unwrap_or_default();
    let (before, found, after) = (
        part(0..range.start),
        part(range.clone()),
        part(range.end..text.len()),
    );
    let from = before
        .char_indices()
        .rev()
        .nth(AROUND - 1)
        .map_or(0, |(at, _)| at);
    let cut = |text: &str, characters: usize| match text.char_indices().nth(characters) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    };
    let begins = if from > 0 { "…" } else { "" };
    Excerpt {
        before: format!("{begins}{}", before.get(from..).unwrap_or_default()),
        found: cut(found, FOUND),
        after: cut(after, AROUND),
    }
}

/// How much of a statement stands with a match elsewhere, characters.
const STATEMENT: usize = 500;

fn beginning(text: &RecordedText) -> String {
    match text {
        RecordedText::Plain(text) | RecordedText::Cut { head: text, .. } => {
            match text.char_indices().nth(STATEMENT) {
                Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
                None => text.clone(),
            }
        }
        RecordedText::Withheld { length, .. } => format!("(withheld, {length} bytes)"),
    }
}
