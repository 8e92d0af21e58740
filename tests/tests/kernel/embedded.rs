//! A protected IPv4 address by the IPv6 addresses that stand for it.

use node_agent::intercept::{Prefix, Settings};

use crate::settings;
use crate::support::{Agent, Cgroup, Client, able};

#[test]
fn a_protected_ipv4_address_is_protected_in_every_form_that_ipv6_has_for_it() {
    if !able("a_protected_ipv4_address_in_every_form") {
        return;
    }
    let top = Cgroup::top("embedded");
    let inside = top.child("inside");
    let protected: Vec<Prefix> = ["192.0.2.33", "10.7.0.0/16"]
        .map(|text| text.parse().unwrap())
        .to_vec();
    let agent = Agent::start(Settings {
        protected: protected.clone(),
        ..settings(&top)
    });
    agent.label(&inside, 3);
    // Where nothing is routed, what is not led to the agent fails at once.
    let mut client = Client::alone(&inside);
    agent.interceptor.listen(client.netns().into()).unwrap();
    let mut led = |to: &str| client.greeting(to).starts_with(&format!("AGENT {to} "));
    for to in [
        "192.0.2.33:9",
        // NAT64, for everybody and for local use.
        "[64:ff9b::c000:221]:9",
        "[64:ff9b:1::c000:221]:9",
        "[64:ff9b:1:0:c0:2:2100:0]:9",
        "[64:ff9b:1:c0:0:221::]:9",
        "[64:ff9b:1:c000:2:2100::]:9",
        "[64:ff9b::a07:909]:9",
        "[64:ff9b:1:a07:9:900::]:9",
        // Tunnels.
        "[2002:c000:221::1]:9",
        "[2002:a07:1:2:3:4:5:6]:9",
        "[::c000:221]:9",
        "[::ffff:0:c000:221]:9",
    ] {
        assert!(led(to), "{to}");
    }
    for free in [
        "[64:ff9b::c000:222]:9",
        "[64:ff9b::a08:909]:9",
        "[64:ff9b:1:c000:3:2100::]:9",
        "[2002:c000:222::1]:9",
        "[2001:db8::c000:221]:9",
        "[::1]:9",
    ] {
        assert!(!led(free), "{free}");
    }
    // They are one thing to whoever asks, and go with it.
    let mut told = agent.interceptor.protected().unwrap();
    told.sort();
    let mut asked = protected;
    asked.sort();
    assert_eq!(told, asked);
    assert_eq!(agent.interceptor.entries().unwrap().prefixes, 2);
    agent.interceptor.set_protected(&asked[..1]).unwrap();
    assert!(led("[64:ff9b::a07:909]:9"));
    assert!(!led("[64:ff9b::c000:221]:9"));
    agent.interceptor.set_protected(&[]).unwrap();
    assert!(!led("[64:ff9b::a07:909]:9"));
    assert_eq!(agent.interceptor.entries().unwrap().prefixes, 0);
}
