//! What crosses the line between the kernel programs and the agent, and nothing more.
//!
//! `flow` and `sighting` are the records, `rule` is the one decision both sides share, `layer` what optional ones say, `watch` knows
//! a database by its first bytes, `names` spells every program and map once. The crate is `no_std`: the kernel programs use it as it is.
#![cfg_attr(not(any(test, feature = "user")), no_std)]

pub mod flow;
pub mod layer;
pub mod names;
pub mod rule;
pub mod sighting;
pub mod watch;

#[cfg(feature = "user")]
mod pod;
