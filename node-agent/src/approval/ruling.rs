//! IO. What a session holds while it waits, and what it gets.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::desk::{NO_ANSWER, Order, PATIENCE};
use super::{Binding, Lapse, Terms};
use crate::model::{ApprovalId, Cause, Outcome, Particulars, Reference, Refusal, RefusalCode};
use crate::policy::{Obligations, RuleRef};

/// A reviewer let one held statement run. Made by the desk only, which has then written down that it
/// is used; worth one permit for the very statement that was held.
#[derive(Debug)]
pub struct Grant {
    id: ApprovalId,
    statement: Reference,
    rule: RuleRef,
    terms: Terms,
    by: Vec<String>,
    obligations: Arc<Obligations>,
}

impl Grant {
    /// A grant on terms. Terms can only add limits, but for masks that a reviewer left out where the
    /// rule offers that.
    pub(super) fn new(
        id: ApprovalId,
        statement: Reference,
        rule: RuleRef,
        terms: Terms,
        by: Vec<String>,
        held: &Arc<Obligations>,
    ) -> Grant {
        let mut obligations = Arc::clone(held);
        if terms.max_rows.is_some() || terms.unmasked {
            let own = Arc::make_mut(&mut obligations);
            if let Some(rows) = terms.max_rows {
                let limit = own.limits.rows_affected.unwrap_or(rows).min(rows);
                own.limits.rows_affected = Some(limit);
                own.rows_rule = Some(rule.clone());
            }
            if terms.unmasked {
                own.masks.clear();
                own.content.clear();
                own.touches_masked = false;
            }
        }
        Grant {
            id,
            statement,
            rule,
            terms,
            by,
            obligations,
        }
    }

    /// The approval.
    pub fn id(&self) -> ApprovalId {
        self.id
    }

    /// The statement it is for.
    pub fn statement(&self) -> Reference {
        self.statement
    }

    /// The rule that held it.
    pub fn rule(&self) -> &RuleRef {
        &self.rule
    }

    /// The right to read its answer on.
    pub fn rest(&self) -> Rest {
        Rest {
            id: self.id,
            rule: self.rule.clone(),
            terms: self.terms,
            by: self.by.clone(),
            obligations: self.obligations.clone(),
        }
    }

    /// On which terms.
    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// Who granted it.
    pub fn by(&self) -> &[String] {
        &self.by
    }

    /// What the agent must do with the answer.
    pub fn obligations(&self) -> &Arc<Obligations> {
        &self.obligations
    }
}

/// The right to read on what a granted statement answers, for clients that take an answer in several
/// turns: the statement ran once.
#[derive(Debug)]
pub struct Rest {
    id: ApprovalId,
    rule: RuleRef,
    terms: Terms,
    by: Vec<String>,
    obligations: Arc<Obligations>,
}

impl Rest {
    /// The rule that held it.
    pub fn rule(&self) -> &RuleRef {
        &self.rule
    }

    /// For the next turn, which is a statement of its own on record.
    pub fn resume(&self, statement: Reference) -> Grant {
        Grant {
            id: self.id,
            statement,
            rule: self.rule.clone(),
            terms: self.terms,
            by: self.by.clone(),
            obligations: self.obligations.clone(),
        }
    }
}

/// What the desk says to a statement that a rule holds.
#[derive(Debug)]
pub enum Asked {
    /// It was approved before, and may run now.
    Granted(Grant),
    /// It waits for a human.
    Waiting(Box<Pending>),
    /// It does not run.
    Refused(Refusal),
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is approved: take it, and it may run.
    Approved,
    /// It is not.
    Refused(Refusal),
}

/// A request that its session waits for. Dropped, it is withdrawn: nothing runs by it any more.
#[derive(Debug)]
pub struct Pending {
    id: ApprovalId,
    rule: RuleRef,
    told: oneshot::Receiver<Told>,
    desk: mpsc::Sender<Order>,
    /// Why it is withdrawn, if it is dropped now.
    gone: Lapse,
    over: bool,
}

impl Pending {
    pub(super) fn new(
        id: ApprovalId,
        rule: RuleRef,
        told: oneshot::Receiver<Told>,
        desk: mpsc::Sender<Order>,
    ) -> Pending {
        Pending {
            id,
            rule,
            told,
            desk,
            gone: Lapse::SessionOver,
            over: false,
        }
    }

    /// The request's name.
    pub fn id(&self) -> ApprovalId {
        self.id
    }

    /// What became of it. Cancel safe; not to be asked again after it has answered.
    pub async fn told(&mut self) -> Told {
        let told = (&mut self.told).await;
        // The desk is gone, and nobody else may say yes.
        told.unwrap_or_else(|_| Told::Refused(refusal(&self.rule, Lapse::AgentStopped.words())))
    }

    /// The reason that stands beside the request if it is dropped from now on.
    pub fn gone(&mut self, why: Lapse) {
        self.gone = why;
    }

    /// Takes the approval for this very statement: it is used from here on, whatever happens next.
    ///
    /// # Errors
    /// It is not approved (any more), or for another statement: a refusal for the client.
    pub async fn take(
        mut self,
        bound: Binding,
        obligations: Arc<Obligations>,
    ) -> Result<Grant, Refusal> {
        let (answer, taken) = oneshot::channel();
        let order = Order::Take {
            id: self.id,
            bound,
            obligations,
            answer,
        };
        let stopped = || refusal(&self.rule, Lapse::AgentStopped.words());
        let answered = async {
            self.desk.send(order).await.map_err(|_| stopped())?;
            taken.await.map_err(|_| stopped())?
        };
        let taken = timeout(PATIENCE, answered).await;
        // Who waits no longer withdraws it.
        let taken = taken.unwrap_or_else(|_| Err(refusal(&self.rule, NO_ANSWER)));
        self.over = taken.is_ok();
        taken
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let order = Order::Withdraw {
            id: self.id,
            why: self.gone,
        };
        // A full queue must not keep it: then it is told from a task of its own.
        if let Err(mpsc::error::TrySendError::Full(order)) = self.desk.try_send(order)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let desk = self.desk.clone();
            runtime.spawn(async move {
                let _ = desk.send(order).await; // the desk ends with the agent
            });
        }
    }
}

/// Before the reason, in what a client is told.
const DID_NOT_RUN: &str = " and did not run: ";

/// The same of a COMMIT: its transaction is rolled back.
pub(crate) fn of_commit(rule: &RuleRef, refusal: Refusal) -> Refusal {
    let why = refusal.message.split_once(DID_NOT_RUN);
    let why = why.map_or(refusal.message.as_str(), |(_, why)| why);
    let RuleRef { policy, rule } = rule;
    let message = format!(
        "the COMMIT needs approval by rule {policy}/{rule}, and the transaction was rolled back: {why}"
    );
    Refusal { message, ..refusal }
}

/// What a client is told of a statement that was held and does not run.
pub(crate) fn refusal(rule: &RuleRef, why: &str) -> Refusal {
    let RuleRef { policy, rule } = rule;
    Refusal::new(
        RefusalCode::Approval,
        format!("the statement needs approval by rule {policy}/{rule}{DID_NOT_RUN}{why}"),
    )
    .detail(format!("policy \"{policy}\", rule \"{rule}\""))
    .because(Particulars {
        outcome: Outcome::Hold,
        cause: Some(Cause::Rule),
        policy: Some(policy.to_string()),
        rule: Some(rule.to_string()),
        ..Particulars::default()
    })
}
