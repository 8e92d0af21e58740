//! Pure. Whether and how a recorded statement is run again.

use std::sync::Arc;

use crate::model::{Format, ResultHead, StatementSeq};
use crate::policy::Decision;
use crate::record::{Decided, End, Finished, RecordedCell, RecordedText, Rows, Sent};
use crate::sql::StatementKind;

/// Parameters that are recorded of one execution.
const PARAMS: usize = 256;

/// A statement with all that is on record of it.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) decided: Box<Decided>,
    pub(super) head: Option<Arc<ResultHead>>,
    pub(super) rows: Vec<Vec<RecordedCell>>,
    /// The record has not all rows.
    pub(super) beyond: bool,
    pub(super) finished: Option<Finished>,
}

impl Step {
    pub(super) fn new(decided: Box<Decided>) -> Self {
        Step {
            decided,
            head: None,
            rows: Vec::new(),
            beyond: false,
            finished: None,
        }
    }

    pub(super) fn seq(&self) -> StatementSeq {
        self.decided.seq
    }

    pub(super) fn rows(&mut self, rows: Rows) {
        if self.head.is_none() {
            self.head = rows.head;
        }
        self.rows.extend(rows.rows);
        self.beyond |= rows.beyond > 0;
    }

    /// How many rows are worth keeping to compare: those on record, and one more.
    pub(super) fn keep(&self) -> usize {
        self.rows.len() + 1
    }

    /// Its text, where all of it is on record.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.decided.text {
            RecordedText::Plain(text) => Some(text),
            RecordedText::Cut { .. } | RecordedText::Withheld { .. } => None,
        }
    }
}

/// What is done about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Todo {
    /// It is run.
    Run(How),
    /// It is not, for this reason.
    Leave {
        why: &'static str,
        /// It failed the transaction that it was in.
        failed: bool,
    },
}

/// How a statement is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// As a text.
    Text(String),
    /// Prepared, then run.
    Prepared(Bound),
}

/// A prepared statement with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) text: String,
    pub(super) types: Vec<u32>,
    pub(super) params: Vec<(Format, Option<Vec<u8>>)>,
    /// Of the columns of its answer.
    pub(super) formats: Vec<Format>,
    /// So many rows came before the answer was suspended; 0: all.
    pub(super) rows: u32,
    /// It goes on with an answer that was suspended.
    pub(super) resumed: bool,
}

/// Decides.
pub(super) fn todo(step: &Step, denied: bool) -> Todo {
    let leave = |why| Todo::Leave { why, failed: false };
    let failed = |why| Todo::Leave { why, failed: true };
    let refused = matches!(&*step.decided.decision, Decision::Deny(_));
    match (&step.finished, &*step.decided.decision) {
        (_, Decision::Deny(_)) if denied => {}
        (_, Decision::Deny(_)) => return failed("it was refused"),
        (None, Decision::Hold(_)) if denied => {}
        (None, Decision::Hold(_)) => return failed("it was held, and not let run"),
        (None, Decision::Allow(_)) => return leave("the recording does not have its end"),
        (Some(finished), Decision::Allow(_) | Decision::Hold(_)) => match finished.end {
            End::Done | End::Failed | End::Suspended => {}
            End::Skipped => return leave("the database skipped it"),
            End::Stopped => return failed("a limit stopped it"),
            End::Undone => return failed("a limit undid it"),
            End::Cut => return leave("the session ended before its answer did"),
        },
    }
    let text = match &step.decided.text {
        RecordedText::Plain(text) => text.clone(),
        RecordedText::Withheld { .. } => return leave("its text was withheld from the recording"),
        RecordedText::Cut { .. } => return leave("its text is longer than a recording keeps"),
    };
    let mut kinds = step
        .decided
        .analysis
        .statements
        .iter()
        .flat_map(|facts| &facts.kinds);
    if kinds.any(|kind| *kind == StatementKind::CopyIn) {
        return leave("it copies in, and what it copied is not in the recording");
    }
    let basis = &step.decided.basis;
    let types = match &basis.sent {
        Sent::Text => return Todo::Run(How::Text(text)),
        // Older recordings do not say. A text of several statements, or a plain one, does as well so.
        Sent::Unrecorded if step.decided.params.is_empty() => return Todo::Run(How::Text(text)),
        Sent::Unrecorded => Vec::new(),
        Sent::Prepared(types) => types.iter().collect(),
    };
    if refused && step.decided.params.is_empty() && text.contains('$') {
        return leave("it was refused before it had parameters");
    }
    if step.decided.params.len() >= PARAMS {
        return leave("it has more parameters than a recording keeps");
    }
    let mut params = Vec::with_capacity(step.decided.params.len());
    for cell in &step.decided.params {
        params.push(match cell {
            RecordedCell::Null => (Format::Text, None),
            RecordedCell::Text(text) => (Format::Text, Some(text.as_bytes().to_vec())),
            RecordedCell::Binary(hex) => match bytes(hex) {
                Some(bytes) => (Format::Binary, Some(bytes)),
                None => return leave("a parameter on record cannot be read"),
            },
            RecordedCell::Long(_) => {
                return leave("a parameter is longer than a recording keeps, or withheld");
            }
        });
    }
    let columns = step.head.iter().flat_map(|head| &head.columns);
    let suspended = step.finished.as_ref().filter(|f| f.end == End::Suspended);
    Todo::Run(How::Prepared(Bound {
        text,
        types,
        params,
        formats: columns.map(|column| column.format).collect(),
        rows: suspended.map_or(0, |f| u32::try_from(f.rows).unwrap_or(0)),
        resumed: basis.resumed,
    }))
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |pair: &[u8; 2]| u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok();
    rest.is_empty().then(|| pairs.iter().map(byte).collect())?
}
