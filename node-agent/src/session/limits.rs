//! An answer that passes its limit, in rows, bytes or time, is stopped: cancelled at the database, and
//! ended for the client by the refusal.

use bytes::BytesMut;

use crate::model::{Reference, Refusal, RefusalCode};
use crate::record::{End, Why};
use crate::wire::Wire;

use super::answer::{Broken, Fate, write};
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

    /// Stops the current answer when it passed a limit. `more`: there are rows beyond those that may be
    /// delivered.
    pub(super) fn check_limits(&mut self, more: bool) {
        let reference = self.reference();
        let Some(execution) = self.link.current() else {
            return;
        };
        let limits = execution.obligations.limits;
        let over = |limit: Option<u64>, seen: u64| limit.is_some_and(|limit| seen > limit);
        let words = if more {
            format!(
                "the statement returned more than {} rows",
                limits.rows_returned.unwrap_or(0)
            )
        } else if over(limits.bytes_returned, execution.bytes) {
            let limit = limits.bytes_returned.unwrap_or(0);
            format!("the statement returned more than {limit} bytes")
        } else {
            return;
        };
        execution.stopped = Some(
            Refusal::new(RefusalCode::Limit, words)
                .hint("ask for less: a WHERE, a LIMIT, or fewer columns")
                .at(Reference {
                    seq: execution.seq,
                    ..reference
                }),
        );
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
            .at(Reference {
                seq: execution.seq,
                ..reference
            }),
        );
        execution.end = Some(End::Stopped);
        self.cancel_running();
    }
}
