//! Pure. Events to lines of JSON and back. What repeats (a statement executed again, the head of
//! its rows) is written once and then referred to by number, within a window that both sides keep.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::lane::Rest;
use super::{
    Basis, Began, Closed, Decided, Event, Finished, LoggedIn, Note, NoteFrom, RecordedCell,
    RecordedText, Rows, Unknown,
};
use crate::model::{ResultHead, StatementSeq, UnixMillis};
use crate::sql::Analysis;

/// The longest line, bytes. What is longer loses its particulars, and a note says so.
pub(super) const LINE_CAP: usize = 8 << 20;
/// Only a statement whose line is at most this long is referred to again: bounds the window.
pub(super) const MEMORABLE_LINE: usize = 64 << 10;
/// How much of a text is kept whose line would be too long, bytes.
const SHORT: usize = 4 << 10;
/// How many statements the window holds.
pub(super) const STATEMENTS: usize = 256;
/// Of these statements who writes keeps so many bytes of lines: of a thousand sessions at once the agent
/// has to. What it does not keep it writes whole again.
const KEPT: usize = 512 << 10;
/// How many heads the window holds.
pub(super) const HEADS: usize = 64;
/// All parameters of one statement together, bytes; beyond it only lengths are kept.
const PARAMS_CAP: usize = 1 << 20;

/// The lines that are written. Read back by `Kept`.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line<'a> {
    Began(&'a Began),
    Login(&'a LoggedIn),
    Decided(&'a Decided),
    Again(Again<&'a [RecordedCell]>),
    Like(Like<&'a RecordedText, &'a [RecordedCell]>),
    Rows(RowsLine<&'a ResultHead, &'a [Vec<RecordedCell>]>),
    Finished(&'a Finished),
    Note(&'a Note),
    Closed(&'a Closed),
}

#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Kept {
    Began(Box<Began>),
    Login(Box<LoggedIn>),
    Decided(Box<Decided>),
    Again(Again<Vec<RecordedCell>>),
    Like(Like<RecordedText, Vec<RecordedCell>>),
    Rows(RowsLine<Arc<ResultHead>, Vec<Vec<RecordedCell>>>),
    Finished(Finished),
    Note(Note),
    Closed(Closed),
}

/// A statement that differs from an earlier one in parameters at most.
#[derive(Serialize, Deserialize)]
pub(super) struct Again<P> {
    pub(super) seq: StatementSeq,
    pub(super) at: UnixMillis,
    pub(super) params: P,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    judged: Option<UnixMillis>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    resumed: bool,
    /// The number of the earlier one, counting memorable statements from 0. Last: whoever skims finds
    /// it at the end.
    pub(super) of: u64,
}

/// A statement that differs from an earlier one in its text as well, and of which all that was found and
/// decided is the same: texts that differ in numbers alone are analysed once.
#[derive(Serialize, Deserialize)]
pub(super) struct Like<T, P> {
    pub(super) seq: StatementSeq,
    pub(super) at: UnixMillis,
    pub(super) text: T,
    pub(super) params: P,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    judged: Option<UnixMillis>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    resumed: bool,
    /// As for `Again`. Last: whoever skims finds it at the end.
    pub(super) of: u64,
}

impl Again<Vec<RecordedCell>> {
    /// What it tells, of the statement that it refers to.
    pub(super) fn told(self, earlier: Decided) -> Decided {
        Decided {
            seq: self.seq,
            at: self.at,
            params: self.params,
            basis: Basis {
                judged: self.judged,
                resumed: self.resumed,
                ..earlier.basis
            },
            ..earlier
        }
    }
}

impl Like<RecordedText, Vec<RecordedCell>> {
    /// What it tells, of the statement that it refers to.
    pub(super) fn told(self, earlier: Decided) -> Decided {
        Decided {
            seq: self.seq,
            at: self.at,
            text: self.text,
            params: self.params,
            basis: Basis {
                judged: self.judged,
                resumed: self.resumed,
                ..earlier.basis
            },
            ..earlier
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(bound(deserialize = "H: Deserialize<'de>, R: Deserialize<'de> + Default"))]
pub(super) struct RowsLine<H, R> {
    pub(super) seq: StatementSeq,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) head: Option<H>,
    /// The number of an earlier head, counting memorable heads from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) head_of: Option<u64>,
    #[serde(default)]
    pub(super) rows: R,
    #[serde(default)]
    pub(super) beyond: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) digest: Option<String>,
}

/// The last few of something, numbered from 0 since the beginning.
#[derive(Clone, Debug)]
pub(super) struct Window<T> {
    items: VecDeque<T>,
    first: u64,
    size: usize,
}

impl<T> Window<T> {
    pub(super) fn new(size: usize) -> Self {
        Window {
            items: VecDeque::new(),
            first: 0,
            size,
        }
    }

    /// Adds one; gives its number, and what fell out with its number.
    pub(super) fn add(&mut self, item: T) -> (u64, Option<(u64, T)>) {
        let number = self.first + self.items.len() as u64;
        self.items.push_back(item);
        if self.items.len() <= self.size {
            return (number, None);
        }
        let gone = self.items.pop_front().map(|gone| (self.first, gone));
        self.first += 1;
        (number, gone)
    }

    pub(super) fn get(&self, number: u64) -> Option<&T> {
        let at = number.checked_sub(self.first)?;
        self.items.get(usize::try_from(at).ok()?)
    }

    fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let at = number.checked_sub(self.first)?;
        self.items.get_mut(usize::try_from(at).ok()?)
    }
}

pub(super) fn memorable(head: &ResultHead) -> bool {
    head.columns.len() <= 256 && head.columns.iter().map(|c| c.name.len()).sum::<usize>() <= 16384
}

/// A statement that may be referred to.
#[derive(Debug)]
struct Remembered {
    key: u64,
    length: usize,
    decided: Decided,
}

/// Writes a session's events, in order.
#[derive(Debug)]
pub(super) struct Encoder {
    statements: Window<Option<Remembered>>,
    /// Bytes of the lines that are kept, and the number of the first of them.
    kept: usize,
    first_kept: u64,
    by_text: HashMap<u64, u64>,
    /// By where their analysis and decision lie; the window holds both.
    by_judgement: HashMap<(usize, usize), u64>,
    heads: Window<Arc<ResultHead>>,
}

impl Encoder {
    pub(super) fn new() -> Self {
        Encoder {
            statements: Window::new(STATEMENTS),
            kept: 0,
            first_kept: 0,
            by_text: HashMap::new(),
            by_judgement: HashMap::new(),
            heads: Window::new(HEADS),
        }
    }

    pub(super) fn began(&mut self, began: &Began, out: &mut Vec<u8>) -> serde_json::Result<()> {
        began_line(began, out)
    }

    pub(super) fn login(&mut self, login: &LoggedIn, out: &mut Vec<u8>) -> serde_json::Result<()> {
        login_line(login, out)
    }

    pub(super) fn decided(
        &mut self,
        mut decided: Decided,
        out: &mut Vec<u8>,
    ) -> serde_json::Result<()> {
        cap_params(&mut decided.params);
        let key = text_key(&decided.text);
        if let Some(&of) = self.by_text.get(&key)
            && let Some(earlier) = self.remembered(of)
            && same(earlier, &decided)
        {
            let again = Again {
                seq: decided.seq,
                at: decided.at,
                params: &*decided.params,
                of,
                judged: decided.basis.judged,
                resumed: decided.basis.resumed,
            };
            return line(out, &Line::Again(again)).map(drop);
        }
        let begins = out.len();
        let judgement = judgement(&decided);
        if let Some(&of) = self.by_judgement.get(&judgement)
            && let Some(earlier) = self.remembered(of)
            && alike(earlier, &decided)
        {
            like_line(&decided, of, out)?;
            if out.len() - begins <= LINE_CAP {
                return Ok(());
            }
            out.truncate(begins);
        }
        let length = line(out, &Line::Decided(&decided))?;
        if length > LINE_CAP {
            out.truncate(begins);
            return self.without_particulars(decided, out);
        }
        self.remember(decided, length);
        Ok(())
    }

    /// Who reads remembers every decision that is told whole in a line of this length: so does who
    /// writes, or the two count differently from there on.
    fn remember(&mut self, mut decided: Decided, length: usize) {
        if length > MEMORABLE_LINE {
            return;
        }
        decided.params = Vec::new();
        let (key, judgement) = (text_key(&decided.text), judgement(&decided));
        let one = Remembered {
            key,
            length,
            decided,
        };
        let (number, gone) = self.statements.add(Some(one));
        if let Some((old, gone)) = gone {
            self.forget(old, gone);
        }
        self.by_text.insert(key, number);
        self.by_judgement.insert(judgement, number);
        self.kept += length;
        while self.kept > KEPT && self.first_kept < number {
            let old = self.first_kept;
            let gone = self.statements.get_mut(old).and_then(Option::take);
            self.forget(old, gone);
        }
    }

    fn remembered(&self, number: u64) -> Option<&Decided> {
        Some(&self.statements.get(number)?.as_ref()?.decided)
    }

    fn forget(&mut self, number: u64, gone: Option<Remembered>) {
        self.first_kept = self.first_kept.max(number + 1);
        if let Some(gone) = gone {
            self.kept -= gone.length;
            forget(&mut self.by_text, &gone.key, number);
            forget(&mut self.by_judgement, &judgement(&gone.decided), number);
        }
    }

    /// Text by hash, parameters by length, no lists of names; the decision whole.
    fn without_particulars(
        &mut self,
        mut decided: Decided,
        out: &mut Vec<u8>,
    ) -> serde_json::Result<()> {
        if let RecordedText::Plain(text) = &decided.text {
            decided.text = RecordedText::cut(text, SHORT);
        }
        decided.params = Vec::new();
        // Without its analysis nobody could judge it again.
        decided.basis = Basis::default();
        let sureness = decided.analysis.sureness.clone();
        decided.analysis = Arc::new(Analysis {
            sureness,
            ..Analysis::default()
        });
        self.note(
            &Note {
                at: decided.at,
                seq: Some(decided.seq),
                from: NoteFrom::Agent,
                code: None,
                text: "this statement is longer than a recording keeps: most of its text, its parameters \
                       and the list of what it touches are left out"
                    .to_owned(),
                approval: None,
            },
            out,
        )?;
        let length = line(out, &Line::Decided(&decided))?;
        self.remember(decided, length);
        Ok(())
    }

    pub(super) fn rows(
        &mut self,
        seq: StatementSeq,
        head: Option<&Arc<ResultHead>>,
        rows: &[Vec<RecordedCell>],
        rest: Option<&Rest>,
        out: &mut Vec<u8>,
    ) -> serde_json::Result<()> {
        let earlier = head.and_then(|head| {
            let known = &self.heads;
            known
                .items
                .iter()
                .rposition(|known| Arc::ptr_eq(known, head) || known == head)
        });
        let head_of = earlier.map(|at| self.heads.first + at as u64);
        let fresh = if earlier.is_some() { None } else { head };
        line(
            out,
            &Line::Rows(RowsLine {
                seq,
                head: fresh.map(|head| &**head),
                head_of,
                rows,
                beyond: rest.map_or(0, |rest| rest.bytes),
                digest: rest.map(|rest| rest.digest.to_hex().as_str().to_owned()),
            }),
        )?;
        if let Some(head) = fresh.filter(|head| memorable(head)) {
            self.heads.add(Arc::clone(head));
        }
        Ok(())
    }

    /// Bytes of the texts that it keeps.
    #[cfg(test)]
    pub(super) fn weight(&self) -> usize {
        let kept = self.statements.items.iter().flatten();
        kept.map(|one| one.decided.text.weight()).sum()
    }

    pub(super) fn finished(
        &mut self,
        finished: &Finished,
        out: &mut Vec<u8>,
    ) -> serde_json::Result<()> {
        line(out, &Line::Finished(finished)).map(drop)
    }

    pub(super) fn note(&mut self, note: &Note, out: &mut Vec<u8>) -> serde_json::Result<()> {
        line(out, &Line::Note(note)).map(drop)
    }

    pub(super) fn closed(&mut self, closed: &Closed, out: &mut Vec<u8>) -> serde_json::Result<()> {
        line(out, &Line::Closed(closed)).map(drop)
    }
}

/// What a journal keeps of a session: enough to make its recording whole.
#[derive(Debug)]
pub(super) enum Told {
    Began(Box<Began>),
    Login(Box<LoggedIn>),
    Decided(Box<Decided>),
}

impl Told {
    /// The beginning, the login, the decisions by their numbers.
    pub(super) fn order(&self) -> (u8, StatementSeq) {
        match self {
            Told::Began(_) => (0, StatementSeq::default()),
            Told::Login(_) => (1, StatementSeq::default()),
            Told::Decided(decided) => (2, decided.seq),
        }
    }
}

/// The line of a session's beginning.
pub(super) fn began_line(began: &Began, out: &mut Vec<u8>) -> serde_json::Result<()> {
    line(out, &Line::Began(began)).map(drop)
}

/// The line of a login.
pub(super) fn login_line(login: &LoggedIn, out: &mut Vec<u8>) -> serde_json::Result<()> {
    line(out, &Line::Login(login)).map(drop)
}

/// The line of a decision that refers to no other.
pub(super) fn whole_line(decided: &Decided, out: &mut Vec<u8>) -> serde_json::Result<()> {
    line(out, &Line::Decided(decided)).map(drop)
}

/// The line of a decision that differs from an earlier one in text, parameters, number and moment.
pub(super) fn like_line(decided: &Decided, of: u64, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let like = Like {
        seq: decided.seq,
        at: decided.at,
        text: &decided.text,
        params: &*decided.params,
        of,
        judged: decided.basis.judged,
        resumed: decided.basis.resumed,
    };
    line(out, &Line::Like(like)).map(drop)
}

/// What a line tells that refers to no other.
pub(super) fn whole_told(line: &[u8]) -> Option<Told> {
    match serde_json::from_slice(line).ok()? {
        Kept::Began(began) => Some(Told::Began(began)),
        Kept::Login(login) => Some(Told::Login(login)),
        Kept::Decided(decided) => Some(Told::Decided(decided)),
        Kept::Again(_)
        | Kept::Like(_)
        | Kept::Rows(_)
        | Kept::Finished(_)
        | Kept::Note(_)
        | Kept::Closed(_) => None,
    }
}

/// What a line tells that refers to this decision.
pub(super) fn like_told(line: &[u8], earlier: &Decided) -> Option<Told> {
    match serde_json::from_slice(line).ok()? {
        Kept::Like(like) => Some(Told::Decided(Box::new(like.told(earlier.clone())))),
        Kept::Began(_)
        | Kept::Login(_)
        | Kept::Decided(_)
        | Kept::Again(_)
        | Kept::Rows(_)
        | Kept::Finished(_)
        | Kept::Note(_)
        | Kept::Closed(_) => None,
    }
}

fn line(out: &mut Vec<u8>, event: &Line<'_>) -> serde_json::Result<usize> {
    let begins = out.len();
    if let Err(error) = serde_json::to_writer(&mut *out, event) {
        out.truncate(begins); // never half a line
        return Err(error);
    }
    out.push(b'\n');
    Ok(out.len() - begins)
}

fn text_key(text: &RecordedText) -> u64 {
    let mut hasher = DefaultHasher::new();
    match text {
        RecordedText::Plain(text) => text.hash(&mut hasher),
        RecordedText::Cut { hash, .. } | RecordedText::Withheld { hash, .. } => {
            hash.hash(&mut hasher);
        }
    }
    hasher.finish()
}

fn same(a: &Decided, b: &Decided) -> bool {
    a.text == b.text && alike(a, b)
}

/// All but text, parameters, number and moment is the same.
fn alike(a: &Decided, b: &Decided) -> bool {
    (Arc::ptr_eq(&a.analysis, &b.analysis) || a.analysis == b.analysis)
        && (Arc::ptr_eq(&a.decision, &b.decision) || a.decision == b.decision)
        && a.policy_version == b.policy_version
        && a.purpose == b.purpose
        && a.basis.is_like(&b.basis)
}

/// Where a statement's analysis and decision lie.
fn judgement(decided: &Decided) -> (usize, usize) {
    let analysis = Arc::as_ptr(&decided.analysis).addr();
    (analysis, Arc::as_ptr(&decided.decision).addr())
}

/// Forgets where something is that fell out of its window, unless a later one has taken its place.
fn forget<K: Eq + Hash>(places: &mut HashMap<K, u64>, key: &K, number: u64) {
    if places.get(key) == Some(&number) {
        places.remove(key);
    }
}

fn cap_params(params: &mut [RecordedCell]) {
    let mut total = 0_usize;
    for cell in params {
        if let RecordedCell::Text(text) | RecordedCell::Binary(text) = cell {
            total = total.saturating_add(text.len());
            if total > PARAMS_CAP {
                let long = match cell {
                    RecordedCell::Binary(hex) => hex.len() / 2,
                    RecordedCell::Text(text) => text.len(),
                    RecordedCell::Null | RecordedCell::Long(_) | RecordedCell::Begins { .. } => {
                        continue;
                    }
                };
                *cell = RecordedCell::Long(long as u64);
            }
        }
    }
}

/// Reads a session's events, in order. Never fails: what it does not know is `Event::Unknown`.
/// A copy of it goes on from where it was made, and shares what it remembers.
#[derive(Clone, Debug)]
pub struct Decoder {
    statements: Window<Arc<Decided>>,
    heads: Window<Arc<ResultHead>>,
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder {
            statements: Window::new(STATEMENTS),
            heads: Window::new(HEADS),
        }
    }
}

impl Decoder {
    /// One line (without its newline) to the event it tells, references resolved.
    pub fn read(&mut self, line: &[u8]) -> Event {
        match serde_json::from_slice::<Kept>(line) {
            Ok(Kept::Began(began)) => Event::Began(began),
            Ok(Kept::Login(login)) => Event::Login(login),
            Ok(Kept::Decided(decided)) => {
                if line.len() < MEMORABLE_LINE {
                    self.statements.add(Arc::new(Decided {
                        params: Vec::new(),
                        ..(*decided).clone()
                    }));
                }
                Event::Decided(decided)
            }
            Ok(Kept::Again(again)) => self.but_for(line, again.of, |earlier| again.told(earlier)),
            Ok(Kept::Like(like)) => self.but_for(line, like.of, |earlier| like.told(earlier)),
            Ok(Kept::Rows(rows)) => {
                let head = match (rows.head, rows.head_of) {
                    (Some(head), _) => {
                        if memorable(&head) {
                            self.heads.add(Arc::clone(&head));
                        }
                        Some(head)
                    }
                    (None, Some(number)) => match self.heads.get(number) {
                        Some(head) => Some(Arc::clone(head)),
                        None => return unknown(line),
                    },
                    (None, None) => None,
                };
                Event::Rows(Rows {
                    seq: rows.seq,
                    head,
                    rows: rows.rows,
                    beyond: rows.beyond,
                    digest: rows.digest,
                })
            }
            Ok(Kept::Finished(finished)) => Event::Finished(finished),
            Ok(Kept::Note(note)) => Event::Note(note),
            Ok(Kept::Closed(closed)) => Event::Closed(closed),
            Err(_) => unknown(line),
        }
    }

    /// Bytes of what it remembers, about.
    pub fn weight(&self) -> usize {
        let statements = self.statements.items.iter();
        statements.map(|one| 512 + one.text.weight()).sum()
    }

    /// An earlier statement, with what `changed` changes.
    fn but_for(&self, line: &[u8], of: u64, changed: impl FnOnce(Decided) -> Decided) -> Event {
        match self.statements.get(of) {
            Some(earlier) => Event::Decided(Box::new(changed(Decided::clone(earlier)))),
            None => unknown(line),
        }
    }
}

pub(super) fn unknown(line: &[u8]) -> Event {
    #[derive(Deserialize)]
    struct Kind {
        event: String,
    }
    let kind = serde_json::from_slice::<Kind>(line).map_or_else(|_| "?".to_owned(), |k| k.event);
    Event::Unknown(Unknown {
        kind,
        line: String::from_utf8_lossy(line).into_owned(),
    })
}
