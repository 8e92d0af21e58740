//! Servers that are not PostgreSQL: they say what the test wrote.

mod scripted;

pub use scripted::{Scripted, Step, login_accepted};
