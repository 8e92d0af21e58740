//! E0451: a permit written by hand, without a receipt.
use std::sync::Arc;

use node_agent::model::Reference;
use node_agent::permit::Permit;
use node_agent::policy::Obligations;

pub fn forge(reference: Reference, obligations: Arc<Obligations>) -> Permit {
    Permit {
        reference,
        obligations,
    }
}
