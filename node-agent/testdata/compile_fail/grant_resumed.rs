//! E0451: the right to read an answer on, without a grant.
use std::sync::Arc;

use node_agent::approval::{Rest, Terms};
use node_agent::model::ApprovalId;
use node_agent::policy::{Obligations, RuleRef};

pub fn forge(id: ApprovalId, rule: RuleRef, terms: Terms, obligations: Arc<Obligations>) -> Rest {
    Rest {
        id,
        rule,
        terms,
        by: Vec::new(),
        obligations,
    }
}
