//! Two parsers read the statements of PostgreSQL's own regression suite. Where they differ must be
//! listed, with a reason, in `tests/witness-disagreements.md`.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

mod witness {
    mod functions;
    mod listed;
    mod parsers;
    mod probes;
    mod split;
}
