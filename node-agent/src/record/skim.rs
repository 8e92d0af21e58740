//! Pure. Passes over a session's lines without parsing them, and keeps what later lines refer to: so
//! that of many lines only those that matter are ever parsed, wherever they stand.

use std::sync::{Arc, OnceLock};

use serde::Deserialize;

use super::codec::{HEADS, Kept, MEMORABLE_LINE, STATEMENTS, Window, memorable, unknown};
use super::{Decided, Event, Rows};
use crate::model::{ResultHead, StatementSeq};

/// What a line tells of, by how it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineKind {
    /// The first event.
    Began,
    /// Login is over.
    Login,
    /// A statement with all that is known of it.
    Decided,
    /// A statement that repeats an earlier one, but for its parameters.
    Again,
    /// A statement of which all but its text and parameters repeats an earlier one.
    Like,
    /// Rows.
    Rows,
    /// An execution is over.
    Finished,
    /// A note.
    Note,
    /// The last event.
    Closed,
    /// Nothing that this version writes: parse it, to see.
    Other,
}

/// A statement that later lines may refer to.
#[derive(Debug)]
pub struct Base {
    number: u64,
    line: Vec<u8>,
    parsed: OnceLock<Option<Box<Decided>>>,
}

impl Base {
    /// Counts such statements of a session from 0.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The statement as it was first decided, its own parameters with it. `None`: this version cannot
    /// read it.
    pub fn decided(&self) -> Option<&Decided> {
        let parse = || match serde_json::from_slice(&self.line) {
            Ok(Kept::Decided(decided)) => Some(decided),
            Ok(_) | Err(_) => None,
        };
        self.parsed.get_or_init(parse).as_deref()
    }
}

/// A line, and what it refers to.
#[derive(Clone, Debug)]
pub struct Passed<'l> {
    /// What it tells of.
    pub kind: LineKind,
    /// The statement it is about; `None`: none, or the line has to be parsed for it.
    pub seq: Option<StatementSeq>,
    /// What it refers to; for `LineKind::Decided` the statement itself, if it can be referred to.
    pub base: Option<Arc<Base>>,
    line: &'l [u8],
    head: Option<Arc<ResultHead>>,
}

impl Passed<'_> {
    /// The event that it tells of. Never fails: what it does not know is `Event::Unknown`.
    pub fn event(&self) -> Event {
        read(self.line, self.base.as_deref(), self.head.as_ref())
    }

    /// Copies it into `held`, for later.
    pub fn hold(&self, held: &mut Held) {
        held.line.clear();
        held.line.extend_from_slice(self.line);
        held.base.clone_from(&self.base);
        held.head.clone_from(&self.head);
    }

    /// Bytes of the line.
    pub fn length(&self) -> usize {
        self.line.len()
    }
}

/// A line that was kept for later.
#[derive(Clone, Debug, Default)]
pub struct Held {
    line: Vec<u8>,
    base: Option<Arc<Base>>,
    head: Option<Arc<ResultHead>>,
}

impl Held {
    /// As `Passed::event`.
    pub fn event(&self) -> Event {
        read(&self.line, self.base.as_deref(), self.head.as_ref())
    }
}

/// Passes over one session's lines, in order, from its first.
#[derive(Debug)]
pub struct Skim {
    statements: Window<Arc<Base>>,
    heads: Window<Arc<ResultHead>>,
    count: u64,
    spare: Vec<u8>,
}

impl Default for Skim {
    fn default() -> Self {
        Skim {
            statements: Window::new(STATEMENTS),
            heads: Window::new(HEADS),
            count: 0,
            spare: Vec::new(),
        }
    }
}

impl Skim {
    /// One line, without its newline.
    pub fn pass<'l>(&mut self, line: &'l [u8]) -> Passed<'l> {
        let (kind, rest) = kind(line);
        let seq = rest.strip_prefix(b"\"seq\":").and_then(number);
        let mut passed = Passed {
            kind,
            seq: seq.map(|(seq, _)| StatementSeq(seq)),
            base: None,
            line,
            head: None,
        };
        match kind {
            LineKind::Decided if line.len() < MEMORABLE_LINE => passed.base = Some(self.keep(line)),
            LineKind::Again | LineKind::Like => {
                passed.base = refers(line).and_then(|of| self.statements.get(of)).cloned();
            }
            LineKind::Rows => passed.head = seq.and_then(|(_, rest)| self.head(rest)),
            LineKind::Began
            | LineKind::Login
            | LineKind::Decided
            | LineKind::Finished
            | LineKind::Note
            | LineKind::Closed
            | LineKind::Other => {}
        }
        passed
    }

    fn keep(&mut self, line: &[u8]) -> Arc<Base> {
        let mut kept = std::mem::take(&mut self.spare);
        kept.clear();
        kept.extend_from_slice(line);
        let base = Arc::new(Base {
            number: self.count,
            line: kept,
            parsed: OnceLock::new(),
        });
        self.count += 1;
        if let (_, Some((_, gone))) = self.statements.add(Arc::clone(&base))
            && let Ok(gone) = Arc::try_unwrap(gone)
        {
            self.spare = gone.line;
        }
        base
    }

    /// The head that rows belong to: written with them, or an earlier one.
    fn head(&mut self, rest: &[u8]) -> Option<Arc<ResultHead>> {
        if let Some(of) = rest.strip_prefix(b",\"head_of\":") {
            return self.heads.get(number(of)?.0).cloned();
        }
        let json = rest.strip_prefix(b",\"head\":")?;
        let mut json = serde_json::Deserializer::from_slice(json);
        let head = Arc::new(ResultHead::deserialize(&mut json).ok()?);
        if memorable(&head) {
            self.heads.add(Arc::clone(&head));
        }
        Some(head)
    }
}

/// What a line tells of, and what follows that word.
fn kind(line: &[u8]) -> (LineKind, &[u8]) {
    let kinds: [(&[u8], LineKind); 9] = [
        (b"finished\",", LineKind::Finished),
        (b"again\",", LineKind::Again),
        (b"rows\",", LineKind::Rows),
        (b"like\",", LineKind::Like),
        (b"decided\",", LineKind::Decided),
        (b"note\",", LineKind::Note),
        (b"began\",", LineKind::Began),
        (b"login\",", LineKind::Login),
        (b"closed\",", LineKind::Closed),
    ];
    let Some(rest) = line.strip_prefix(b"{\"event\":\"") else {
        return (LineKind::Other, line);
    };
    kinds
        .iter()
        .find_map(|(word, kind)| Some((*kind, rest.strip_prefix(*word)?)))
        .unwrap_or((LineKind::Other, line))
}

/// The number that a text begins with, and what follows it.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, rest) = text.split_at_checked(digits)?;
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

/// The statement that a line refers to stands at its end.
fn refers(line: &[u8]) -> Option<u64> {
    let line = line.strip_suffix(b"}")?;
    let digits = line.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let (before, digits) = line.split_at_checked(line.len().checked_sub(digits)?)?;
    before.strip_suffix(b",\"of\":")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn read(line: &[u8], base: Option<&Base>, head: Option<&Arc<ResultHead>>) -> Event {
    let earlier = |of: u64| {
        base.filter(|base| base.number == of)
            .and_then(Base::decided)
            .cloned()
    };
    match serde_json::from_slice::<Kept>(line) {
        Ok(Kept::Began(began)) => Event::Began(began),
        Ok(Kept::Login(login)) => Event::Login(login),
        Ok(Kept::Decided(decided)) => Event::Decided(decided),
        Ok(Kept::Again(again)) => match earlier(again.of) {
            Some(earlier) => Event::Decided(Box::new(again.told(earlier))),
            None => unknown(line),
        },
        Ok(Kept::Like(like)) => match earlier(like.of) {
            Some(earlier) => Event::Decided(Box::new(like.told(earlier))),
            None => unknown(line),
        },
        Ok(Kept::Rows(rows)) => {
            if rows.head_of.is_some() && head.is_none() {
                return unknown(line);
            }
            Event::Rows(Rows {
                seq: rows.seq,
                head: rows.head.or_else(|| head.cloned()),
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

#[cfg(test)]
mod tests {
    use super::super::codec::Encoder;
    use super::super::lane::Rest;
    use super::super::tests::{allow, began, decided, finished, head};
    use super::super::{Decoder, RecordedCell};
    use super::*;

    /// More statements and heads than either window holds; repeated, alike and new ones.
    fn lines() -> Vec<u8> {
        let (mut encoder, mut out) = (Encoder::new(), Vec::new());
        encoder.began(&began(1), &mut out).unwrap();
        let decision = allow();
        let analysis = Arc::new(crate::sql::Analysis::default());
        for seq in 1..=2_000_u64 {
            let text = match seq % 4 {
                0 => "SELECT ',\"of\":1}'".to_owned(),
                1 => format!("SELECT {seq}"),
                2 => format!("SELECT {}", seq / 400),
                _ => "x".repeat(if seq % 100 == 3 { MEMORABLE_LINE } else { 1 }),
            };
            let mut statement = decided(seq, &text, Arc::clone(&decision));
            if seq % 3 == 0 {
                statement.analysis = Arc::clone(&analysis);
            }
            if seq % 5 == 0 {
                statement.decision = allow();
                statement.policy_version = format!("v{seq}").into();
            }
            encoder.decided(statement, &mut out).unwrap();
            let names = format!("c{}", seq % 90);
            let rows = [vec![RecordedCell::Text("\",\"head_of\":1".into())]];
            let head = (seq % 7 != 0).then(|| head(&[&names]));
            let rest = (seq % 2 == 1).then(|| Rest {
                bytes: seq,
                digest: blake3::hash(b"rest"),
            });
            encoder
                .rows(
                    StatementSeq(seq),
                    head.as_ref(),
                    &rows,
                    rest.as_ref(),
                    &mut out,
                )
                .unwrap();
            encoder.finished(&finished(seq, 1), &mut out).unwrap();
        }
        out.extend_from_slice(b"{\"event\":\"later\",\"seq\":1}\nnonsense\n");
        out.extend_from_slice(
            b"{\"event\":\"again\",\"seq\":1,\"at\":1,\"params\":[],\"of\":99999}\n",
        );
        out
    }

    #[test]
    fn what_is_passed_over_reads_as_the_decoder_reads_it() {
        let lines = lines();
        let (mut skim, mut decoder) = (Skim::default(), Decoder::default());
        let mut held = Held::default();
        let mut kinds = std::collections::HashMap::new();
        for line in lines.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let passed = skim.pass(line);
            *kinds.entry(format!("{:?}", passed.kind)).or_insert(0) += 1;
            let event = decoder.read(line);
            let want = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::to_string(&passed.event()).unwrap(), want);
            passed.hold(&mut held);
            assert_eq!(serde_json::to_string(&held.event()).unwrap(), want);
            let seq = match &event {
                Event::Decided(decided) => Some(decided.seq),
                Event::Rows(rows) => Some(rows.seq),
                Event::Finished(finished) => Some(finished.seq),
                Event::Began(_)
                | Event::Login(_)
                | Event::Note(_)
                | Event::Closed(_)
                | Event::Unknown(_) => passed.seq,
            };
            assert_eq!(passed.seq, seq);
        }
        for kind in ["Decided", "Again", "Like", "Rows", "Finished", "Other"] {
            assert!(
                kinds.get(kind).copied().unwrap_or(0) > 0,
                "no {kind}: {kinds:?}"
            );
        }
    }
}
