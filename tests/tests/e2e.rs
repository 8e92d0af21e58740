//! Everything at once: real clients in a labelled cgroup, the real agent, real databases.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

mod e2e {
    mod again;
    mod archive;
    mod answers;
    mod access;
    mod approval;
    mod approval_attacks;
    mod approval_over;
    mod approval_preview;
    mod audit;
    mod authors;
    mod budgets;
    mod bulk;
    mod bypass;
    mod cage;
    mod canary;
    mod cancel;

    mod complete;
    mod confined;
    mod console;
    mod content;
    mod copied;
    mod counted;
    mod counted_storm;
    mod disguise;
    mod drain;
    mod drift;
    mod drivers;
    mod ends;
    mod enrol;
    mod full_disk;
    mod gate;
    mod halves;
    mod flood;
    mod heal;
    mod kept;
    mod killed;
    mod hostile;
    mod label;
    mod leaks;
    mod ledger;
    mod lifecycle;
    mod lineage;
    mod masked_sqlx;
    mod masked_types;
    mod masks;
    mod names;
    mod observe;
    mod outside;
    mod recorded;
    mod refusals;
    mod reload;
    mod rogue;
    mod sealed;
    mod search;
    mod secrets;
    mod storm;
    mod story;
    mod take_over;
    mod tokio_postgres;
    mod undeclared;
    mod webhooks;

    /// Whether a test that needs the agent can run: it cannot when there is none by request.
    fn agent_is_here() -> bool {
        if node_agent_tests::world::direct() {
            node_agent_tests::parts::skip("there is no agent (NODE_AGENT_TEST_DIRECT=1)");
        }
        !node_agent_tests::world::direct()
    }
}
