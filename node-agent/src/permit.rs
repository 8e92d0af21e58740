//! Pure. `Permit`: made only from a clearance and a receipt.

use std::sync::Arc;

use crate::approval::Grant;
use crate::model::{Reference, StatementSeq};
use crate::policy::{Allow, Decision, Obligations};
use crate::record::Receipt;

/// Why a statement may run.
#[derive(Debug)]
pub enum Cleared {
    /// Policy allows it.
    Allowed(Allow),
    /// Policy holds it, and a reviewer granted it.
    Granted(Grant),
}

/// This statement may run, once: whoever executes consumes it. Not `Clone`.
///
/// It cannot be made by hand:
///
/// ```compile_fail,E0451
/// use node_agent::{model::Reference, permit::Permit, policy::Obligations};
/// fn forge(reference: Reference, obligations: std::sync::Arc<Obligations>) -> Permit {
///     Permit { reference, obligations }
/// }
/// ```
#[derive(Debug)]
#[must_use = "a permit that is not used means a statement that does not run"]
pub struct Permit {
    reference: Reference,
    obligations: Arc<Obligations>,
}

/// The clearance is not the one on the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the clearance of {0} is not the decision that was recorded for it")]
pub struct NotCleared(pub Reference);

impl Permit {
    /// Joins a clearance and the receipt of the decision it rests on. Fails closed: a receipt for a
    /// denial, for another decision, or for another statement makes no permit.
    pub fn new(cleared: Cleared, receipt: Receipt) -> Result<Permit, NotCleared> {
        let reference = receipt.reference();
        let obligations = match (cleared, receipt.decision()) {
            (Cleared::Allowed(allow), Decision::Allow(recorded)) if same(&allow, recorded) => {
                allow.obligations
            }
            (Cleared::Granted(grant), Decision::Hold(hold))
                if grant.statement() == reference && *grant.rule() == hold.rule =>
            {
                Arc::clone(grant.obligations())
            }
            (
                Cleared::Allowed(_) | Cleared::Granted(_),
                Decision::Allow(_) | Decision::Hold(_) | Decision::Deny(_),
            ) => return Err(NotCleared(reference)),
        };
        Ok(Permit { reference, obligations })
    }

    /// What must be done with the answer.
    pub fn obligations(&self) -> &Arc<Obligations> {
        &self.obligations
    }

    /// Which statement of the session may run.
    pub fn seq(&self) -> StatementSeq {
        self.reference.seq
    }

    /// Which statement of which session may run.
    pub fn reference(&self) -> Reference {
        self.reference
    }
}

/// Nearly always the very same obligations; then nothing is compared.
fn same(allow: &Allow, recorded: &Allow) -> bool {
    Arc::ptr_eq(&allow.obligations, &recorded.obligations) || allow == recorded
}
