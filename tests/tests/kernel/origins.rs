//! An origin counts only when the kernel's own table of sockets confirms it.

use std::net::{SocketAddr, TcpStream};

use node_agent::intercept::{Interceptor, Listener, Peer, Settings, WorkloadIndex};

use crate::settings;
use crate::support::{Cgroup, Client, able, eventually};

fn accepted(listener: &Listener) -> (TcpStream, SocketAddr) {
    let mut accepted = None;
    eventually("accepted", || {
        let ends = [Some(&listener.v4), listener.v6.as_ref()];
        accepted = ends.into_iter().flatten().find_map(|l| l.accept().ok());
        accepted.is_some()
    });
    accepted.unwrap()
}

#[test]
fn a_connection_is_over_when_its_client_closes_whoever_holds_the_agent_s_end() {
    if !able("a_connection_is_over_when_its_client_closes") {
        return;
    }
    let top = Cgroup::top("over");
    let inside = top.child("inside");
    let interceptor = Interceptor::start(Settings {
        ports: vec![5432],
        ..settings(&top)
    })
    .unwrap();
    interceptor.label(inside.id(), WorkloadIndex(3)).unwrap();
    let mut listeners = interceptor.take_listeners().unwrap();
    let netns = interceptor
        .listen(std::fs::File::open("/proc/self/ns/net").unwrap().into())
        .unwrap();
    let listener = listeners.try_recv().unwrap();
    let mut client = Client::inside(&inside);
    for to in ["192.0.2.7:5432", "[2001:db8::7]:5432"] {
        assert_eq!(client.ask(&format!("open {to}")), "open", "{to}");
        let (held, peer) = accepted(&listener);
        let entry = interceptor.take(netns, peer).unwrap();
        let open = |socket| interceptor.is_open(netns, peer, socket).unwrap();
        assert!(open(entry.socket), "{to}");
        assert!(!open(entry.socket + 1), "{to}");
        let nowhere = node_agent::model::NetnsCookie(netns.0 + 1_000_000);
        assert!(interceptor.is_open(nowhere, peer, entry.socket).is_err());
        assert_eq!(client.ask("drop"), "dropped");
        eventually("over", || !open(entry.socket));
        drop(held);
    }
}

#[test]
fn an_entry_that_names_another_socket_or_another_place_is_not_believed() {
    if !able("an_entry_that_names_another_socket") {
        return;
    }
    let top = Cgroup::top("confirmed");
    let (inside, outside) = (top.child("inside"), top.child("outside"));
    let interceptor = Interceptor::start(Settings {
        ports: vec![5432],
        ..settings(&top)
    })
    .unwrap();
    interceptor.label(inside.id(), WorkloadIndex(3)).unwrap();
    let mut listeners = interceptor.take_listeners().unwrap();
    let netns = interceptor
        .listen(std::fs::File::open("/proc/self/ns/net").unwrap().into())
        .unwrap();
    let listener = listeners.try_recv().unwrap();
    let mut client = Client::inside(&inside);
    for to in [
        "192.0.2.7:5432",
        "[2001:db8::7]:5432",
        "[::ffff:192.0.2.7]:5432",
    ] {
        assert_eq!(client.ask(&format!("open {to}")), "open", "{to}");
        let (stream, peer) = accepted(&listener);
        let entry = interceptor.take(netns, peer).unwrap();
        let same = |entry| interceptor.same_socket(netns, peer, &entry).unwrap();
        assert_eq!(same(entry.clone()), Peer::Same, "{to}");
        // As a stale entry would be: somebody else's socket on the same ends.
        let stale = node_agent::intercept::OriginRecord {
            socket: entry.socket + 1,
            ..entry.clone()
        };
        assert_eq!(same(stale), Peer::Another, "{to}");
        // Dialled elsewhere than where its socket is from: one of the two must have the label.
        let handed = node_agent::intercept::OriginRecord {
            cgroup: outside.id(),
            ..entry.clone()
        };
        assert_eq!(same(handed), Peer::Same, "{to}");
        let elsewhere = node_agent::intercept::OriginRecord {
            cgroup: outside.id(),
            workload: WorkloadIndex(4),
            ..entry.clone()
        };
        assert_eq!(same(elsewhere), Peer::Elsewhere(inside.id()), "{to}");
        // Where nobody listens, nothing can be asked, and nothing is believed.
        let nowhere = node_agent::model::NetnsCookie(netns.0 + 1_000_000);
        assert!(interceptor.same_socket(nowhere, peer, &entry).is_err());
        drop(stream);
        assert_eq!(client.ask("drop"), "dropped");
        eventually("gone", || same(entry.clone()) == Peer::Gone);
    }
}
