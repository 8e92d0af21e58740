//! E0451: a reviewer's grant written by hand.
use std::sync::Arc;

use node_agent::approval::Grant;
use node_agent::model::Reference;
use node_agent::policy::{Obligations, RuleRef};

pub fn forge(statement: Reference, rule: RuleRef, obligations: Arc<Obligations>) -> Grant {
    Grant {
        statement,
        rule,
        obligations,
    }
}
