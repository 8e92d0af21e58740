//! E0451: the gate's word written by hand, of a statement that it has not noted.
use std::sync::Arc;

use node_agent::approval::Gated;
use node_agent::model::Reference;
use node_agent::policy::{Obligations, RuleRef};

pub fn forge(statement: Reference, rule: RuleRef, obligations: Arc<Obligations>) -> Gated {
    Gated {
        statement,
        rule,
        obligations,
    }
}
