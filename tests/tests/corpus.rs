//! PostgreSQL's own regression suite, by `psql` as `pg_regress` calls it: against a database
//! directly, and against a like one through the agent under allow-everything. What is said must be
//! the same, byte for byte, but for what `tests/corpus-differences.md` lists and explains.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

mod corpus {
    mod compare;
    mod listed;
    mod suite;
    mod verdict;
}
