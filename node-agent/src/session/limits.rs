//! An answer that passes its limit, in rows, bytes or time, is stopped: cancelled at the database, and
//! ended for the client by the refusal.

use bytes::BytesMut;

use crate::model::{Cause, Outcome, Particulars, Reference, Refusal, RefusalCode, Then};
use crate::policy::{Exhausted, limit_rows};
use crate::record::{End, Why};
use crate::wire::Wire;

use super::answer::{Broken, Fate, write};
use super::budget;
use super::execution::Execution;
use super::pump::Session;

impl<W: Wire> Session<W> {
    /// An answer that was stopped came to its end all the same, before the database heard of it:
    /// its end is our refusal, not the database's "done".
    pub(super) fn cut_short(&mut self, replacement: &mut BytesMut) -> Result<Fate, Broken> {
        let Some(execution) = self.link.current() else {
            return Ok(Fate::Verbatim);
        };
        let Some(mut refusal) = execution.stopped.clone() else {
            return Ok(Fate::Verbatim);
        };
        let more = execution.done + 1 < execution.statement.analysis.statements.len();
        if more || !self.link.break_off() {
            // To the client everything behind an error is skipped. What was sent behind this one
            // runs: its answers would be taken for those of something else.
            refusal.fatal = true;
            let why = Why::LimitReached(refusal.message.clone());
            return Err(Broken::Refused(Box::new(refusal), why));
        }
        write::<W>(&refusal, replacement);
        Ok(Fate::Replaced)
    }

    /// Stops the current answer when it passed a limit or spent a budget.
    pub(super) fn check_limits(&mut self, passed: Passed) {
        let reference = self.reference();
        let Some(execution) = self.link.current() else {
            return;
        };
        let refusal = match passed {
            Passed::Rows => too_many_rows(execution),
            Passed::Budget(exhausted) => budget::refusal(&exhausted, Outcome::Stop),
            Passed::Nothing => match too_many_bytes(execution) {
                Some(refusal) => refusal,
                None => return,
            },
        };
        execution.stopped = Some(refusal.at(Reference {
            seq: execution.seq,
            ..reference
        }));
        execution.end = Some(End::Stopped);
        self.cancel_running();
    }

    /// The current statement passed its time.
    pub(super) fn stop_overdue(&mut self) {
        let reference = self.reference();
        let Some(execution) = self.link.running() else {
            return;
        };
        let limit = execution
            .obligations
            .limits
            .statement_timeout_ms
            .unwrap_or(0);
        execution.stopped = Some(
            Refusal::new(
                RefusalCode::Limit,
                format!("the statement ran longer than {limit} ms"),
            )
            .because(stopped(Cause::StatementTimeout, limit))
            .at(Reference {
                seq: execution.seq,
                ..reference
            }),
        );
        execution.end = Some(End::Stopped);
        self.cancel_running();
    }
}

/// What an answer has passed. Its bytes are looked at in any case.
pub(super) enum Passed {
    /// Nothing else.
    Nothing,
    /// There are rows beyond those that may be delivered.
    Rows,
    /// A budget has no room for more.
    Budget(Exhausted),
}

fn stopped(cause: Cause, limit: u64) -> Particulars {
    Particulars {
        outcome: Outcome::Stop,
        cause: Some(cause),
        limit: Some(limit),
        ..Particulars::default()
    }
}

fn too_many_rows(execution: &Execution) -> Refusal {
    let limit = execution.obligations.limits.rows_returned.unwrap_or(0);
    let mut particulars = stopped(Cause::RowsReturned, limit);
    particulars.suggest = limit_rows(&execution.statement.analysis, limit);
    let hint = match particulars.suggest.as_ref().map(|found| found.decision) {
        Some(Then::Allow | Then::Hold) => {
            format!("Add LIMIT {limit}, or ask for less with a WHERE.")
        }
        None => "ask for less: a WHERE, a LIMIT, or smaller steps".to_owned(),
    };
    let words = format!("the statement returned more than {limit} rows");
    Refusal::new(RefusalCode::Limit, words)
        .detail("limits.rows_returned")
        .hint(hint)
        .because(particulars)
}

fn too_many_bytes(execution: &Execution) -> Option<Refusal> {
    let limit = execution.obligations.limits.bytes_returned?;
    (execution.bytes > limit).then(|| {
        let words = format!("the statement returned more than {limit} bytes");
        Refusal::new(RefusalCode::Limit, words)
            .detail("limits.bytes_returned")
            .hint("ask for less: a WHERE, a LIMIT, or fewer columns")
            .because(stopped(Cause::BytesReturned, limit))
    })
}
