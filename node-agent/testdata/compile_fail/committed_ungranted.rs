//! E0061: the COMMIT of a gated transaction without a reviewer's grant.
use node_agent::permit::Cleared;
use node_agent::policy::Allow;
use node_agent::record::Stepped;

pub fn clear(allow: Allow, recorded: Stepped) -> Cleared {
    Cleared::Committed(Some(allow), recorded)
}
