//! Pure. The proof that a decision is on the record.

use std::sync::Arc;

use crate::model::Reference;
use crate::policy::Decision;

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
