//! Where only databases and what is allowed are open, a label cuts older connections elsewhere.

use std::net::Ipv4Addr;
use std::num::NonZeroU16;

use node_agent::intercept::{Allowed, Prefix, Settings};

use crate::settings;
use crate::support::{Cgroup, Client, Database, Governing, able, eventually, port};

const ABORTED: &str = "error=Software-caused-connection-abort-(os-error-103)";

#[test]
fn a_label_that_leaves_only_databases_open_cuts_what_leads_elsewhere_and_is_not_allowed() {
    if !able("a_label_that_leaves_only_databases_open") {
        return;
    }
    let top = Cgroup::top("closed");
    let cgroup = top.child("late");
    let (other, allowed) = (Database::silent(), Database::silent());
    let governing = Governing::start(
        Settings {
            ports: vec![5432],
            allowed: Some(vec![Allowed {
                prefix: Prefix::host(Ipv4Addr::LOCALHOST.into()),
                port: NonZeroU16::new(allowed.port),
            }]),
            ..settings(&top)
        },
        &[("late", &[])],
    );
    let mut cut = Vec::new();
    for to in [
        format!("127.0.0.1:{}", other.port),
        format!("[::1]:{}", other.port),
        format!("[::ffff:127.0.0.1]:{}", other.port),
        // The port is allowed at another address only.
        format!("[::1]:{}", allowed.port),
    ] {
        let mut client = Client::inside(&cgroup);
        assert_eq!(client.ask(&format!("open {to}")), "open");
        cut.push((to, client));
    }
    let mut datagrams = Client::inside(&cgroup);
    assert_eq!(datagrams.ask("udp-open 127.0.0.1:9"), "open");
    let mut stays = Client::inside(&cgroup);
    let to = format!("127.0.0.1:{}", allowed.port);
    assert_eq!(stays.ask(&format!("open {to}")), "open");
    // Who serves others is dialled, and does not dial: on all addresses, and on one.
    let mut served = Vec::new();
    for at in ["0.0.0.0", "127.0.0.1", "[::]", "[::1]"] {
        let mut serves = Client::inside(&cgroup);
        let at_port = port();
        assert_eq!(serves.ask(&format!("listen {at}:{at_port}")), "listening");
        let mut guest = Client::start();
        let to = if at.starts_with('[') {
            "[::1]"
        } else {
            "127.0.0.1"
        };
        assert_eq!(guest.ask(&format!("open {to}:{at_port}")), "open");
        assert_eq!(serves.ask("accept"), "accepted");
        served.push((at, serves, guest));
    }

    cgroup.attribute(Some("late"));
    for (to, client) in &mut cut {
        assert_eq!(client.ask("read"), ABORTED, "{to}");
        // And it is not opened again.
        assert_eq!(
            client.ask(&format!("open {to}")),
            "error=Operation-not-permitted-(os-error-1)",
            "{to}"
        );
    }
    eventually("the datagram socket has no peer", || {
        datagrams.ask("udp-peer").starts_with("error=")
    });
    assert_eq!(governing.enrolment.totals().1, 5);
    allowed.speak();
    assert_eq!(stays.ask("read"), "read=9");
    for (at, serves, guest) in &mut served {
        assert_eq!(guest.ask("drop"), "dropped");
        assert_eq!(serves.ask("read"), "read=0", "{at}");
    }
}
