//! E0382: one receipt, two permits.
use node_agent::permit::{Cleared, NotCleared, Permit};
use node_agent::record::Receipt;

pub fn twice(
    first: Cleared,
    second: Cleared,
    receipt: Receipt,
) -> Result<(Permit, Permit), NotCleared> {
    Ok((Permit::new(first, receipt)?, Permit::new(second, receipt)?))
}
