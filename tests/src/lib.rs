//! The end-to-end harness: throw-away database clusters, a small OIDC issuer, the real agent, one
//! labelled cgroup, real clients in it, and a client and a server that speak bytes as told.
//!
//! [`World`] is the way in. Everything that a test starts belongs to its world and goes with it.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a harness: failing loudly, at once, is its purpose"
)]

pub mod ca;
pub mod cgroup;
pub mod client;
pub mod idp;
pub mod metrics;
pub mod parts;
pub mod pg;
pub mod program;
pub mod upstream;
pub mod world;

pub use idp::Idp;
pub use pg::{Cluster, Version};
pub use program::{Finished, Program, until};
pub use world::{Place, World};
