//! E0382: one permit, two executions.
use node_agent::permit::Permit;

pub fn execute(_: Permit) {}

pub fn twice(permit: Permit) {
    execute(permit);
    execute(permit);
}
