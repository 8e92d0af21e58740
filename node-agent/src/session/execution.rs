//! What a session keeps per prepared statement and per execution.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;

use crate::mask::MaskPlan;
use crate::model::{Refusal, ResultHead, StatementSeq};
use crate::policy::{Allow, Decision, Denial, Obligations, ResolvedNames, RuleRef, Watched};
use crate::record::End;
use crate::sql::{Analysis, Purpose};
use crate::wire::Text;

/// A text with everything known about it. Shared by the statement's name, its executions, and the
/// cache of texts.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) text: Text,
    pub(super) analysis: Arc<Analysis>,
    /// The text runs something by its name: what it does by itself. `analysis` then holds for the
    /// names of one moment only.
    pub(super) by_name: Option<Arc<Analysis>>,
    /// Why, by the client's own word: that of the text, or of the connection.
    pub(super) purpose: Option<Arc<Purpose>>,
    /// The last verdict, good for one policy version, catalogue version and principal's session.
    /// Texts of one shape share it.
    verdict: Arc<Mutex<Option<Verdict>>>,
}

/// A decision and what it was made of.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) policy_version: Arc<str>,
    /// 0 when names did not matter.
    pub(super) catalogue_version: u64,
    pub(super) names: Arc<ResolvedNames>,
    pub(super) decision: Arc<Decision>,
}

impl Verdict {
    /// What policy allowed, and the agent refuses all the same: so does the record say it.
    pub(super) fn refused(&self, refusal: &Refusal) -> Self {
        let decision = match &*self.decision {
            Decision::Allow(Allow { .. }) => Arc::new(Decision::Deny(Denial {
                rule: None,
                refusal: refusal.clone(),
                fleeting: true,
            })),
            Decision::Hold(_) | Decision::Deny(_) => self.decision.clone(),
        };
        Verdict {
            decision,
            ..self.clone()
        }
    }

    /// The limits and budgets that only observe.
    pub(super) fn watched(&self) -> Option<Arc<Watched>> {
        match &*self.decision {
            Decision::Allow(allow) => allow.watched.clone(),
            Decision::Hold(_) | Decision::Deny(_) => None,
        }
    }
}

impl Prepared {
    pub(super) fn new(text: Text, analysis: Arc<Analysis>, purpose: Option<Arc<Purpose>>) -> Self {
        Prepared {
            text,
            analysis,
            by_name: None,
            purpose,
            verdict: Arc::default(),
        }
    }

    /// A text of the same shape: what was found and decided for that one holds for it. Texts with a
    /// purpose of their own have no shape.
    pub(super) fn like(&self, text: Text) -> Self {
        Prepared {
            text,
            analysis: self.analysis.clone(),
            by_name: None,
            purpose: self.purpose.clone(),
            verdict: self.verdict.clone(),
        }
    }

    /// A text that runs something by its name: `alone` is what it does by itself, `whole` with what
    /// the name stands for now.
    pub(super) fn by_name(
        text: Text,
        alone: Arc<Analysis>,
        whole: Arc<Analysis>,
        purpose: Option<Arc<Purpose>>,
    ) -> Self {
        Prepared {
            by_name: Some(alone),
            ..Prepared::new(text, whole, purpose)
        }
    }

    pub(super) fn verdict(&self) -> Option<Verdict> {
        self.verdict
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn keep(&self, verdict: Verdict) {
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(verdict);
    }
}

/// An execution that is under way at the database.
#[derive(Debug)]
pub(super) struct Execution {
    pub(super) seq: StatementSeq,
    pub(super) statement: Arc<Prepared>,
    pub(super) obligations: Arc<Obligations>,
    pub(super) begun: Instant,
    /// How many statements of the text are done.
    pub(super) done: usize,
    pub(super) tags: Vec<String>,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) error: Option<(String, String)>,
    pub(super) end: Option<End>,
    /// The result being relayed.
    pub(super) result: Option<Relaying>,
    /// Masks applied so far, by column.
    pub(super) masked: Vec<(u16, RuleRef)>,
    /// Set when the agent stops the answer: what the client is told in place of the rest.
    pub(super) stopped: Option<Refusal>,
    /// What it changes is counted, and its end withheld until the count is judged.
    pub(super) counted: bool,
    /// The end that is withheld: the database's own frame.
    pub(super) withheld: Bytes,
    /// Rows that it changed, where they were counted.
    pub(super) changed: Option<u64>,
    /// Rows that its tags claim to have changed.
    pub(super) tagged: u64,
    /// What only observes.
    pub(super) watched: Option<Arc<Watched>>,
}

/// One result of an execution.
#[derive(Debug)]
pub(super) struct Relaying {
    pub(super) plan: Arc<MaskPlan>,
    /// Given to the recorder with the first rows, then taken.
    pub(super) head: Option<Arc<ResultHead>>,
}

impl Execution {
    pub(super) fn new(
        seq: StatementSeq,
        statement: Arc<Prepared>,
        obligations: Arc<Obligations>,
    ) -> Self {
        Execution {
            seq,
            statement,
            obligations,
            begun: Instant::now(),
            done: 0,
            tags: Vec::new(),
            rows: 0,
            bytes: 0,
            error: None,
            end: None,
            result: None,
            masked: Vec::new(),
            stopped: None,
            counted: false,
            withheld: Bytes::new(),
            changed: None,
            tagged: 0,
            watched: None,
        }
    }
}
