//! E0061: a grant without the proof that it is on record.
use node_agent::approval::Grant;
use node_agent::permit::Cleared;

pub fn clear(grant: Grant) -> Cleared {
    Cleared::Granted(grant)
}
