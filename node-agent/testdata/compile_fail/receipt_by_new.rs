//! E0624: a receipt from the record's own constructor.
use std::sync::Arc;

use node_agent::model::Reference;
use node_agent::policy::Decision;
use node_agent::record::Receipt;

pub fn forge(reference: Reference, decision: Arc<Decision>) -> Receipt {
    Receipt::new(reference, decision)
}
