//! Pure. One statement with all that belongs to it, gathered from the events of a recording.

use std::sync::Arc;

use crate::model::{Reference, Refusal, ResultHead, SessionId, StatementSeq};
use crate::policy::{Decision, RuleRef};
use crate::record::{Decided, Event, Finished, Note, RecordedCell, Rows};
use crate::wire::pg::sqlstate;

/// What is kept of the rows and notes of one statement, bytes about. A recorder keeps at most 1 MiB
/// of rows of a statement: this bounds what somebody else's file can make a viewer hold.
const KEPT: usize = 8 << 20;
/// How many digests of rows beyond the bound are kept of a result: a recorder writes one.
const DIGESTS: usize = 16;

/// How a statement was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ruled {
    /// It may run.
    Allowed,
    /// It may run; enforcing would have held or denied it.
    Observed,
    /// A human was asked.
    Held,
    /// It may not run.
    Denied,
}

impl Ruled {
    pub(super) fn of(decision: &Decision) -> Self {
        match decision {
            Decision::Allow(allow) => match allow.observed.as_deref() {
                None | Some(Decision::Allow(_)) => Ruled::Allowed,
                Some(Decision::Hold(_) | Decision::Deny(_)) => Ruled::Observed,
            },
            Decision::Hold(_) => Ruled::Held,
            Decision::Deny(_) => Ruled::Denied,
        }
    }

    /// One word, at most eight letters.
    pub(super) fn word(self) -> &'static str {
        match self {
            Ruled::Allowed => "allowed",
            Ruled::Observed => "observed",
            Ruled::Held => "held",
            Ruled::Denied => "denied",
        }
    }
}

/// One statement.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// What was asked and decided. `None`: what is told belongs to a statement that was told before.
    pub(super) decided: Option<Box<Decided>>,
    /// What came back, result by result.
    pub(super) results: Vec<Delivered>,
    /// What was said.
    pub(super) notes: Vec<Note>,
    /// How it ended. More than one: it was asked for in portions.
    pub(super) finished: Vec<Finished>,
    /// Rows and notes that are not kept here, though the recording has them.
    pub(super) left_out: u64,
    kept: usize,
}

/// Rows of one result.
#[derive(Clone, Debug, Default)]
pub(super) struct Delivered {
    /// Its columns; `None` for copied data.
    pub(super) head: Option<Arc<ResultHead>>,
    /// Its rows as the client got them.
    pub(super) rows: Vec<Vec<RecordedCell>>,
    /// Bytes that came after them, and that the recording does not have.
    pub(super) beyond: u64,
    /// Their digests, as the recording has them.
    pub(super) digests: Vec<String>,
}

impl Told {
    /// The statement's number.
    pub(super) fn seq(&self) -> Option<StatementSeq> {
        let decided = self.decided.as_ref().map(|decided| decided.seq);
        decided
            .or_else(|| self.finished.first().map(|finished| finished.seq))
            .or_else(|| self.notes.first().and_then(|note| note.seq))
    }

    /// Bytes that it holds, about.
    pub(super) fn weight(&self) -> usize {
        self.kept
    }

    /// Adds what belongs to it; what does not is left alone.
    pub(super) fn add(&mut self, event: Event) {
        match event {
            Event::Decided(decided) => self.decided = Some(decided),
            Event::Rows(rows) => self.rows(rows),
            Event::Finished(finished) => self.finished.push(finished),
            Event::Note(note) => {
                self.kept += note.text.len() + 64;
                if self.kept <= KEPT {
                    self.notes.push(note);
                } else {
                    self.left_out += 1;
                }
            }
            Event::Began(_) | Event::Login(_) | Event::Closed(_) | Event::Unknown(_) => {}
        }
    }

    fn rows(&mut self, rows: Rows) {
        let same = self
            .results
            .last()
            .is_some_and(|last| rows.head.is_none() || rows.head == last.head);
        if !same {
            self.results.push(Delivered {
                head: rows.head,
                ..Delivered::default()
            });
        }
        let Some(last) = self.results.last_mut() else {
            return;
        };
        last.beyond = last.beyond.saturating_add(rows.beyond);
        if last.digests.len() < DIGESTS {
            last.digests.extend(rows.digest);
        }
        for row in rows.rows {
            self.kept += row.iter().map(weight).sum::<usize>();
            if self.kept <= KEPT {
                last.rows.push(row);
            } else {
                self.left_out += 1;
            }
        }
    }

    /// Which mask covers a column of its results.
    pub(super) fn mask(&self, column: usize) -> Option<&RuleRef> {
        let masks = self.finished.iter().flat_map(|finished| &finished.masked);
        masks
            .into_iter()
            .find(|(at, _)| usize::from(*at) == column)
            .map(|(_, by)| by)
    }
}

fn weight(cell: &RecordedCell) -> usize {
    match cell {
        RecordedCell::Null | RecordedCell::Long(_) => 32,
        RecordedCell::Text(text)
        | RecordedCell::Binary(text)
        | RecordedCell::Begins { text, .. } => 32 + text.len(),
    }
}

/// A refusal as the client's driver had it: `wire::pg` sends these fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) severity: &'static str,
    pub(super) sqlstate: &'static str,
    pub(super) message: String,
    pub(super) detail: String,
    pub(super) hint: Option<String>,
}

impl Refused {
    /// What was sent for a refusal of this statement of this session. The detail's second line,
    /// which is for programs, is left out.
    pub(super) fn of(refusal: &Refusal, session: SessionId, seq: StatementSeq) -> Self {
        let reference = refusal.reference.unwrap_or(Reference { session, seq });
        Refused {
            severity: if refusal.fatal { "FATAL" } else { "ERROR" },
            sqlstate: sqlstate(refusal.code),
            message: refusal.message.clone(),
            detail: match &refusal.detail {
                Some(detail) => format!("{detail}; reference {reference}"),
                None => format!("reference {reference}"),
            },
            hint: refusal.hint.clone(),
        }
    }

    /// `ERROR 42501: …`.
    pub(super) fn line(&self) -> String {
        format!("{} {}: {}", self.severity, self.sqlstate, self.message)
    }
}
