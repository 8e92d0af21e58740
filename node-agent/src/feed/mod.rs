//! IO. Follows what changes while the agent runs: policy files and the addresses of host names.
//! What is wrong leaves the last good one running.

mod hosts;
mod policies;

pub use hosts::{follow_hosts, look_up};
pub use policies::{
    Policies, PolicyFault, PolicyTrouble, follow_policies, load_policies, read_policies,
};
