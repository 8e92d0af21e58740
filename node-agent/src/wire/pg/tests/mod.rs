//! Tests of the machines as wholes.

mod chunks;
mod count;
mod fuzz;
mod login;
mod oracle;
mod own;
mod queue;
