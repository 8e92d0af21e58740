//! The redirect, in this machine's kernel. Needs root. Each test has its own subtree of cgroups,
//! its own port, and attaches to its own subtree only, so that several run side by side.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

#[path = "../src/kernel.rs"]
mod support;

use node_agent::intercept::Settings;
use support::{Agent, Cgroup, Client, Database, able, own_cgroup, port};

fn settings(top: &Cgroup) -> Settings {
    Settings::new(&top.path, port(), own_cgroup())
}

#[test]
fn every_form_of_an_address_leads_to_the_agent_with_the_right_origin() {
    if !able("every_form_of_an_address") {
        return;
    }
    let top = Cgroup::top("forms");
    let inside = top.child("inside");
    let database = Database::start();
    let p = database.port;
    let agent = Agent::start(Settings { ports: vec![p], ..settings(&top) });
    agent.label(&inside, 7);
    agent.listen_here();
    let mut client = Client::inside(&inside);
    for (to, origin, peer) in [
        (format!("127.0.0.1:{p}"), format!("127.0.0.1:{p}"), format!("127.0.0.1:{p}")),
        (format!("[::1]:{p}"), format!("[::1]:{p}"), format!("[::1]:{p}")),
        (
            format!("[::ffff:127.0.0.9]:{p}"),
            format!("127.0.0.9:{p}"),
            format!("[::ffff:127.0.0.9]:{p}"),
        ),
        (format!("192.0.2.7:{p}"), format!("192.0.2.7:{p}"), format!("192.0.2.7:{p}")),
        (format!("[2001:db8::7]:{p}"), format!("[2001:db8::7]:{p}"), format!("[2001:db8::7]:{p}")),
        (format!("0.0.0.0:{p}"), format!("127.0.0.1:{p}"), format!("127.0.0.1:{p}")),
        (format!("[::]:{p}"), format!("[::1]:{p}"), format!("[::1]:{p}")),
        (
            format!("[::ffff:0.0.0.0]:{p}"),
            format!("127.0.0.1:{p}"),
            format!("[::ffff:127.0.0.1]:{p}"),
        ),
    ] {
        let answer = client.ask(&format!("connect {to}"));
        let pid = client.pid();
        let want = format!(
            "greeting=AGENT {origin} workload=7 pid={pid} comm=kernel-client exe=kernel-client peer={peer} "
        );
        assert!(answer.starts_with(&want), "{to}: {answer}");
    }
    assert_eq!(database.visits(), 0);
    let counters = agent.interceptor.counters().unwrap();
    assert_eq!((counters.redirected, counters.refused), (8, 0), "{counters:?}");
}
