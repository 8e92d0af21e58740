//! Pure. `Permit`: made only from a clearance and a receipt.

use std::sync::Arc;

use crate::approval::{Gated, Grant};
use crate::model::{Reference, StatementSeq};
use crate::policy::{Allow, Decision, Gate, Obligations};
use crate::record::{Receipt, Stepped};

/// Why a statement may run.
#[derive(Debug)]
pub enum Cleared {
    /// Policy allows it.
    Allowed(Allow),
    /// Policy holds it, a reviewer granted it, and that is on record.
    Granted(Grant, Stepped),
    /// Policy holds the COMMIT of its transaction; the gate has noted it, and that is on record.
    Gated(Gated, Stepped),
    /// It is the COMMIT of a transaction that policy holds: a reviewer granted that, and that is on record. The
    /// statement itself policy allows, or the same rule holds it.
    Committed(Option<Allow>, Grant, Stepped),
}

impl Cleared {
    /// What must be done with the answer.
    pub fn obligations(&self) -> &Arc<Obligations> {
        match self {
            Cleared::Allowed(allow) | Cleared::Committed(Some(allow), _, _) => &allow.obligations,
            Cleared::Granted(grant, _) | Cleared::Committed(None, grant, _) => grant.obligations(),
            Cleared::Gated(gated, _) => gated.obligations(),
        }
    }
}

/// This statement may run, once: whoever executes consumes it. Not `Clone`, and that it cannot be
/// made by hand either is tested (tests/compile_fail.rs).
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
            (Cleared::Granted(grant, recorded), Decision::Hold(hold))
                if grant.statement() == reference
                    && *grant.rule() == hold.rule
                    && recorded.reference() == reference
                    && recorded.approval() == Some(grant.id()) =>
            {
                Arc::clone(grant.obligations())
            }
            (Cleared::Gated(gated, recorded), Decision::Hold(hold))
                if gated.statement() == reference
                    && *gated.rule() == hold.rule
                    && hold.asks.gate == Gate::Commit
                    && recorded.reference() == reference =>
            {
                Arc::clone(gated.obligations())
            }
            (Cleared::Committed(None, grant, stepped), Decision::Hold(hold))
                if grant.statement() == reference
                    && *grant.rule() == hold.rule
                    && stepped.reference() == reference
                    && stepped.approval() == Some(grant.id()) =>
            {
                Arc::clone(grant.obligations())
            }
            (Cleared::Committed(Some(allow), grant, stepped), Decision::Allow(recorded))
                if same(&allow, recorded)
                    && grant.statement() == reference
                    && stepped.reference() == reference
                    && stepped.approval() == Some(grant.id()) =>
            {
                allow.obligations
            }
            (
                Cleared::Allowed(_)
                | Cleared::Granted(..)
                | Cleared::Gated(..)
                | Cleared::Committed(..),
                Decision::Allow(_) | Decision::Hold(_) | Decision::Deny(_),
            ) => return Err(NotCleared(reference)),
        };
        Ok(Permit {
            reference,
            obligations,
        })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Refusal, RefusalCode, SessionId};
    use crate::policy::{Denial, Hold, RuleRef};

    fn allowing(rows: u64) -> Allow {
        let mut obligations = Obligations::default();
        obligations.limits.rows_returned = Some(rows);
        Allow {
            rules: vec![],
            obligations: Arc::new(obligations),
            observed: None,
            watched: None,
            fleeting: false,
        }
    }

    fn receipt(decision: Decision) -> Receipt {
        let reference = Reference {
            session: SessionId(1),
            seq: StatementSeq(7),
        };
        crate::record::fixtures::receipt(reference, Arc::new(decision))
    }

    #[test]
    fn an_allowed_and_recorded_statement_gets_its_permit() {
        for clearance in [allowing(5), allowing(5).clone()] {
            let permit = Permit::new(
                Cleared::Allowed(clearance),
                receipt(Decision::Allow(allowing(5))),
            )
            .unwrap();
            assert_eq!(permit.seq(), StatementSeq(7));
            assert_eq!(permit.obligations().limits.rows_returned, Some(5));
        }
    }

    #[test]
    fn what_is_held_gets_no_permit_without_a_grant_or_the_gate() {
        let rule = |name: &str| RuleRef {
            policy: "p".into(),
            rule: name.into(),
        };
        let hold = |name: &str, gate| Hold {
            rule: rule(name),
            asks: crate::policy::Asks {
                gate,
                ..crate::policy::Asks::default()
            },
            obligations: Arc::default(),
        };
        let at = |seq| Reference {
            session: SessionId(1),
            seq: StatementSeq(seq),
        };
        let gated = |seq, name: &str, recorded| {
            let gated =
                crate::approval::Gate::default().control(at(seq), &hold(name, Gate::Commit));
            Cleared::Gated(gated, crate::record::fixtures::stepped(at(recorded), None))
        };
        let of = |name: &str, gate| receipt(Decision::Hold(hold(name, gate)));
        assert!(Permit::new(gated(7, "r", 7), of("r", Gate::Commit)).is_ok());
        for (cleared, receipt) in [
            // A rule that holds the statement itself.
            (gated(7, "r", 7), of("r", Gate::Statement)),
            (gated(7, "other", 7), of("r", Gate::Commit)),
            (gated(8, "r", 7), of("r", Gate::Commit)),
            (gated(7, "r", 8), of("r", Gate::Commit)),
            (gated(7, "r", 7), receipt(Decision::Allow(allowing(5)))),
            (Cleared::Allowed(allowing(5)), of("r", Gate::Commit)),
        ] {
            assert!(Permit::new(cleared, receipt).is_err());
        }
    }

    #[test]
    fn a_receipt_for_anything_else_makes_no_permit() {
        let rule = RuleRef {
            policy: "p".into(),
            rule: "r".into(),
        };
        let refusal = Refusal::new(RefusalCode::Policy, "no");
        let others = [
            Decision::Deny(Denial {
                rule: None,
                refusal,
                fleeting: false,
            }),
            Decision::Hold(Hold {
                rule,
                asks: crate::policy::Asks::default(),
                obligations: Arc::default(),
            }),
            Decision::Allow(allowing(6)),
        ];
        for recorded in others {
            let refused = Permit::new(Cleared::Allowed(allowing(5)), receipt(recorded.clone()));
            assert!(refused.is_err(), "{recorded:?}");
        }
    }
}
