//! E0451: a reviewer's leave for a preview written by hand.
use node_agent::approval::Leave;
use node_agent::model::ApprovalId;

pub fn forge() -> Leave {
    Leave {
        id: ApprovalId(1),
        by: String::new(),
    }
}
