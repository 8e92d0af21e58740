//! E0061: the gate's word without the proof that it is on record.
use node_agent::approval::Gated;
use node_agent::permit::Cleared;

pub fn clear(gated: Gated) -> Cleared {
    Cleared::Gated(gated)
}
