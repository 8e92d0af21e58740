//! What a session keeps per execution.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::mask::{Finds, MaskPlan};
use crate::model::{Refusal, ResultHead, StatementSeq};
use crate::policy::{Obligations, RuleRef, Watched};
use crate::record::{End, Found};
use crate::upstream::Catalogue;

use super::copied::Copying;
use super::verdict::Prepared;

/// An execution that is under way at the database.
#[derive(Debug)]
pub(super) struct Execution {
    pub(super) seq: StatementSeq,
    pub(super) statement: Arc<Prepared>,
    pub(super) obligations: Arc<Obligations>,
    /// The catalogue that they were found by.
    pub(super) catalogue: Option<u64>,
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
    /// What the content net found in results that are over.
    pub(super) found: Vec<Found>,
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
    /// Bytes that the client copied in.
    pub(super) copied_in: u64,
    /// It is a copy, and the database was asked for its rows.
    pub(super) copying: Option<Box<Copying>>,
}

/// One result of an execution.
#[derive(Debug)]
pub(super) struct Relaying {
    pub(super) plan: Arc<MaskPlan>,
    /// Given to the recorder with the first rows, then taken.
    pub(super) head: Option<Arc<ResultHead>>,
    /// What the content net found so far.
    pub(super) finds: Finds,
    /// What says where that was, where it looks at all.
    pub(super) named: Option<(Arc<ResultHead>, Option<Arc<Catalogue>>)>,
}

impl Relaying {
    pub(super) fn new(plan: Arc<MaskPlan>, head: Option<Arc<ResultHead>>) -> Self {
        Relaying {
            plan,
            head,
            finds: Finds::default(),
            named: None,
        }
    }
}

impl Execution {
    /// The obligations, where they hold a budget that its answer is charged to.
    pub(super) fn charged(&self) -> Option<Arc<Obligations>> {
        (!self.obligations.budgets.is_empty()).then(|| self.obligations.clone())
    }

    /// The rows of a copy are over, and their head has not been looked at.
    pub(super) fn unplanned_copy(&self) -> bool {
        let copying = self.copying.as_ref();
        copying.is_some_and(|copying| copying.copied.is_none())
    }

    pub(super) fn new(
        seq: StatementSeq,
        statement: Arc<Prepared>,
        obligations: Arc<Obligations>,
    ) -> Self {
        Execution {
            seq,
            statement,
            obligations,
            catalogue: None,
            begun: Instant::now(),
            done: 0,
            tags: Vec::new(),
            rows: 0,
            bytes: 0,
            error: None,
            end: None,
            result: None,
            masked: Vec::new(),
            found: Vec::new(),
            stopped: None,
            counted: false,
            withheld: Bytes::new(),
            changed: None,
            tagged: 0,
            watched: None,
            copied_in: 0,
            copying: None,
        }
    }
}
