//! The database's own errors and notices, of which some are withheld.

use std::sync::Arc;

use bytes::BytesMut;

use crate::record::End;
use crate::wire::{ServerError, Talk, Wire};

use super::answer::{Fate, write};
use super::execution::Execution;
use super::pump::Session;
use super::verdict::Prepared;

/// What stands in for a message that may quote a masked value.
const WITHHELD: &str = "the statement failed; the database's message is withheld because the \
                        statement touches masked data";

impl<W: Wire> Session<W> {
    /// The database's own words can quote any value. A statement that touches a masked relation
    /// gets the kind of error and nothing else; so does one whose origin is unclear.
    pub(super) fn failed(&mut self, error: &ServerError, replacement: &mut BytesMut) -> Fate {
        self.told |= matches!(error.severity.as_str(), "FATAL" | "PANIC");
        let withheld = self.withheld();
        let Some(execution) = self.link.current() else {
            return if withheld && !self.link.failed_text() {
                write_failure::<W>(error, replacement);
                Fate::Replaced
            } else {
                Fate::Verbatim
            };
        };
        execution.end = Some(End::Failed);
        if let Some(refusal) = execution.stopped.clone() {
            execution.error = Some((error.code.clone(), refusal.message.clone()));
            write::<W>(&refusal, replacement);
            Fate::Replaced
        } else if withheld {
            execution.error = Some((error.code.clone(), WITHHELD.to_owned()));
            write_failure::<W>(error, replacement);
            Fate::Replaced
        } else {
            execution.error = Some((error.code.clone(), error.message.clone()));
            Fate::Verbatim
        }
    }

    /// Whether the database's own words may quote a masked value: those about a statement that
    /// touches one; those about anything later in its transaction, since constraints can be
    /// checked late; those that belong to no execution while masks are in force.
    fn withheld(&mut self) -> bool {
        self.touched
            || match self.link.current() {
                Some(execution) => execution.obligations.touches_masked,
                None => self.known.masks,
            }
    }

    pub(super) fn notice(&mut self) -> Fate {
        if self.withheld() {
            Fate::Replaced
        } else {
            Fate::Verbatim
        }
    }
}

fn write_failure<W: Wire>(error: &ServerError, out: &mut BytesMut) {
    W::Talk::<Arc<Prepared>, Execution>::write_failure(&error.severity, &error.code, WITHHELD, out);
}
