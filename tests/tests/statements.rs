//! Two corpora, run against a real server: destructive statements in disguise, which change nothing
//! through the agent and do change something without it; and ordinary ones, as drivers, ORMs, tools
//! and agents write them, which are not refused and answer the same.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

mod statements {
    mod cases;
    mod destructive;
    mod ordinary;
    mod programs;
    mod scene;
    mod state;
    mod talk;
}
