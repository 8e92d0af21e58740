//! Pure. The proof that a decision is on the record.

use std::sync::Arc;

use crate::model::Reference;
use crate::policy::Decision;

/// This decision, about this statement of this session, was handed to the record. Made by
/// `SessionRecorder` only, and by value worth one permit.
///
/// It cannot be made anywhere else:
///
/// ```compile_fail,E0451
/// use node_agent::model::Reference;
/// fn forge(reference: Reference, decision: std::sync::Arc<node_agent::policy::Decision>) {
///     let _ = node_agent::record::Receipt { reference, decision };
/// }
/// ```
#[derive(Debug)]
#[must_use = "a statement without its permit does not run"]
pub struct Receipt {
    reference: Reference,
    decision: Arc<Decision>,
}

impl Receipt {
    pub(super) fn new(reference: Reference, decision: Arc<Decision>) -> Self {
        Receipt { reference, decision }
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
