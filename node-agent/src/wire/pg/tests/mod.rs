//! Tests of the machines as wholes.

mod chunks;
mod fuzz;
mod login;
mod oracle;
mod queue;
