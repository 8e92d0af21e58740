//! IO. Held statements. No channel to a reviewer exists, so the desk refuses every hold, and says so.

use std::sync::Arc;

use crate::model::{Cause, Outcome, Particulars, Reference, Refusal, RefusalCode};
use crate::policy::{Hold, Obligations, RuleRef};

/// A reviewer let one held statement run. Made by the desk only, and worth one permit for the very
/// statement that was held.
#[derive(Debug)]
pub struct Grant {
    statement: Reference,
    rule: RuleRef,
    obligations: Arc<Obligations>,
}

impl Grant {
    /// The statement it is for.
    pub fn statement(&self) -> Reference {
        self.statement
    }

    /// The rule that held it.
    pub fn rule(&self) -> &RuleRef {
        &self.rule
    }

    /// What the agent must do with the answer.
    pub fn obligations(&self) -> &Arc<Obligations> {
        &self.obligations
    }
}

/// What became of a hold.
#[derive(Debug)]
pub enum Ruling {
    /// It may run, once.
    Granted(Grant),
    /// It may not.
    Refused(Refusal),
}

/// Where holds are brought.
#[derive(Debug, Default)]
pub struct Desk {
    _channels: (),
}

impl Desk {
    /// A desk without a channel to any reviewer.
    pub fn new() -> Self {
        Desk::default()
    }

    /// Asks for a held statement. Nobody can be asked, so nobody can say yes: refused.
    pub async fn ask(&self, statement: Reference, hold: &Hold) -> Ruling {
        let RuleRef { policy, rule } = &hold.rule;
        Ruling::Refused(
            Refusal::new(
                RefusalCode::Approval,
                format!("needs approval by rule {policy}/{rule}, and no reviewer is configured"),
            )
            .detail(format!("policy {policy}, rule {rule}"))
            .because(Particulars {
                outcome: Outcome::Hold,
                cause: Some(Cause::Rule),
                policy: Some(policy.to_string()),
                rule: Some(rule.to_string()),
                ..Particulars::default()
            })
            .at(statement),
        )
    }
}
