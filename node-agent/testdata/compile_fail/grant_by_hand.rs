//! E0451: a reviewer's grant written by hand.
use std::sync::Arc;

use node_agent::approval::{Grant, Terms};
use node_agent::model::{ApprovalId, Reference};
use node_agent::policy::{Obligations, RuleRef};

pub fn forge(statement: Reference, rule: RuleRef, obligations: Arc<Obligations>) -> Grant {
    Grant {
        id: ApprovalId(1),
        statement,
        rule,
        terms: Terms::default(),
        by: Vec::new(),
        obligations,
    }
}
