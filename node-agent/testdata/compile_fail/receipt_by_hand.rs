//! E0451: a receipt written by hand, without the record.
use std::sync::Arc;

use node_agent::model::Reference;
use node_agent::policy::Decision;
use node_agent::record::Receipt;

pub fn forge(reference: Reference, decision: Arc<Decision>) -> Receipt {
    Receipt {
        reference,
        decision,
    }
}
