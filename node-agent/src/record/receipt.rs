//! Pure. The proof that a decision is on the record.

use std::sync::Arc;

use crate::model::{ApprovalId, Reference};
use crate::policy::Decision;

/// This step of a request for approval is on the record. Made by `SessionRecorder` only: a granted
/// statement gets its permit with it.
#[derive(Debug)]
#[must_use = "a grant without it is worth nothing"]
pub struct Stepped {
    reference: Reference,
    approval: Option<ApprovalId>,
}

impl Stepped {
    pub(super) fn new(reference: Reference, approval: Option<ApprovalId>) -> Self {
        Stepped {
            reference,
            approval,
        }
    }

    /// For tests of what takes it.
    #[cfg(test)]
    pub(crate) fn of_test(approval: ApprovalId) -> Self {
        let reference = Reference {
            session: crate::model::SessionId(1),
            seq: crate::model::StatementSeq(1),
        };
        Stepped::new(reference, Some(approval))
    }

    /// Of which statement of which session.
    pub fn reference(&self) -> Reference {
        self.reference
    }

    /// Of which request.
    pub fn approval(&self) -> Option<ApprovalId> {
        self.approval
    }
}

/// This decision, about this statement of this session, was handed to the record. Made by
/// `SessionRecorder` only (tests/compile_fail.rs), and worth one permit, by value.
#[derive(Debug)]
#[must_use = "a statement without its permit does not run"]
pub struct Receipt {
    reference: Reference,
    decision: Arc<Decision>,
}

impl Receipt {
    pub(super) fn new(reference: Reference, decision: Arc<Decision>) -> Self {
        Receipt {
            reference,
            decision,
        }
    }

    /// Which statement of which session.
    pub fn reference(&self) -> Reference {
        self.reference
    }

    /// The decision as recorded.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }
}
