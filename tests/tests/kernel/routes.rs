//! Every way to reach a database that a workload can try, by every kind of caller, from the host's
//! network namespace and from one of its own. What came back says who was reached. The same way is
//! gone without a label first: where that does not reach the database, the way proves nothing.

use std::process::Command;

use node_agent::intercept::Settings;

use crate::settings;
use crate::support::{Agent, Cgroup, Client, able, port};

/// What a labelled workload gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Want {
    /// The agent's greeting.
    Agent,
    /// An error, or nothing.
    Stopped,
    /// One of the two, by the place.
    Either,
    /// The database, for nothing on the socket's way sees it. Somewhere else closes it.
    Open(&'static str),
}

/// Whereto, as the workload spells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum To {
    V4,
    Mapped,
    V6,
    /// Unspecified, which leads to loopback.
    Any4,
    Any6,
    AnyMapped,
    /// Another address of the host itself.
    Loopback2,
    /// Another port of the database, which no configuration names.
    OtherPort,
    /// Another address of the database's host, which no configuration names.
    OtherAddress,
    /// Somebody who is no business of the agent's.
    Unguarded,
}

use To::{Any4, Any6, AnyMapped, Loopback2, Mapped, OtherAddress, OtherPort, Unguarded, V4, V6};
use Want::{Either, Open, Stopped};

const NOT_IP: &str = "not an IP socket: seccomp with io_uring denied, or an LSM";

/// Number in the matrix of routes, the way, whereto, what a labelled workload gets.
const ROUTES: &[(u8, &str, To, Want)] = &[
    (1, "connect", V4, Want::Agent),
    (1, "non-blocking", V4, Want::Agent),
    (1, "twice", V4, Want::Agent),
    (1, "bound", V4, Want::Agent),
    (1, "mark", V4, Want::Agent),
    (1, "int-0x80", V4, Want::Agent),
    (2, "connect", Mapped, Want::Agent),
    (2, "non-blocking", Mapped, Want::Agent),
    (3, "connect", V6, Want::Agent),
    (3, "address-form", V4, Want::Agent),
    (4, "fast-open-sendto", V4, Want::Agent),
    (4, "fast-open-sendto", V6, Want::Agent),
    (4, "fast-open-sendmsg", V4, Want::Agent),
    (4, "fast-open-sendmsg", Mapped, Want::Agent),
    (4, "fast-open-connect", V4, Want::Agent),
    (5, "mptcp", V4, Want::Agent),
    (5, "mptcp", V6, Want::Agent),
    (5, "mptcp-fast-open", V4, Want::Agent),
    (8, "io-uring-connect", V4, Want::Agent),
    (8, "io-uring-connect", Mapped, Want::Agent),
    (8, "io-uring-socket", V6, Want::Agent),
    (8, "io-uring-polled", V4, Want::Agent),
    (15, "raw-tcp", V4, Stopped),
    (15, "raw-tcp-connect", V4, Stopped),
    (23, "udp-sendto", V4, Stopped),
    (23, "udp-sendto", Mapped, Stopped),
    (23, "udp-sendto", V6, Stopped),
    (23, "udp-family-0", V4, Stopped),
    (24, "udp-connect", V4, Stopped),
    (24, "udp-connect", V6, Stopped),
    (25, "udp-lite", V4, Stopped),
    (25, "udp-lite", V6, Stopped),
    (26, "ping", V4, Stopped),
    (26, "raw-icmp", V4, Stopped),
    (27, "connect", OtherAddress, Want::Agent),
    (27, "udp-sendto", OtherAddress, Stopped),
    (28, "connect", OtherPort, Want::Agent),
    (28, "udp-sendto", OtherPort, Stopped),
    (31, "connect", Any4, Want::Agent),
    (31, "connect", Any6, Want::Agent),
    (31, "connect", AnyMapped, Want::Agent),
    (32, "connect", Loopback2, Want::Agent),
    (34, "loose-source-route", V4, Stopped),
    (34, "routing-header", V6, Stopped),
    (34, "udp-ip-options", Unguarded, Stopped),
    (35, "bound-to-device", V4, Either),
    (45, "vsock", V4, Open(NOT_IP)),
];

/// Which rows of the matrix these routes are.
pub(crate) fn rows() -> impl Iterator<Item = u8> {
    ROUTES.iter().map(|(row, ..)| *row)
}

/// Where a scene's workload lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// The host's network namespace, the database on it.
    Host,
    /// A namespace of the workload's own, the database at the other end of a wire.
    Own,
    /// The agent's namespace, which is one made for the test in the host's stead, so that a packet
    /// filter in it changes nothing of the host; the database at the other end of a wire.
    Node,
}

/// A database, a place to dial it from, and an agent in between.
pub(crate) struct Scene {
    pub(crate) place: Place,
    pub(crate) port: u16,
    pub(crate) other: u16,
    pub(crate) agent: Agent,
    /// Keeps the workload's namespace.
    home: Option<Client>,
    /// The database, in its own namespace when the workload is in one.
    pub(crate) far: Client,
    pub(crate) inside: Cgroup,
    pub(crate) outside: Cgroup,
    // Last: its tree goes when nobody is in it.
    _top: Cgroup,
}

impl Scene {
    pub(crate) fn own(name: &str) -> Self {
        Scene::build(name, Place::Own, |settings| settings)
    }

    /// In that place, with other settings.
    pub(crate) fn build(name: &str, place: Place, change: impl Fn(Settings) -> Settings) -> Self {
        if place == Place::Node {
            // This thread's alone, and of what is started from it.
            #[allow(deprecated, reason = "no file descriptor is shared or unshared by it")]
            rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET).unwrap();
            command(&["ip", "link", "set", "lo", "up"]);
        }
        let top = Cgroup::top(name);
        let (inside, outside) = (top.child("inside"), top.child("outside"));
        let (near, other) = (port(), port());
        let settings = Settings {
            ports: vec![near],
            protected: match place {
                Place::Host => Vec::new(),
                Place::Own | Place::Node => vec![
                    "192.0.2.2".parse().unwrap(),
                    "2001:db8:7::2".parse().unwrap(),
                ],
            },
            ..settings(&top)
        };
        let agent = Agent::start(change(settings));
        agent.label(&inside, 7);
        let (home, mut far) = match place {
            Place::Host => {
                agent.listen_here();
                (None, Client::inside(&outside))
            }
            Place::Own => {
                let (home, far) = wired(&outside);
                agent.interceptor.listen(home.netns()).unwrap();
                (Some(home), far)
            }
            Place::Node => {
                let (mut home, mut far) = (Client::inside(&outside), Client::alone(&outside));
                wire(&mut home, &mut far);
                agent.listen_here();
                (None, far)
            }
        };
        let answer = far.ask(&format!("database {near} {other}"));
        assert_eq!(answer, "open");
        Scene {
            place,
            port: near,
            other,
            agent,
            home,
            far,
            inside,
            outside,
            _top: top,
        }
    }

    /// A process in that cgroup, where this scene's workload lives.
    pub(crate) fn client(&self, cgroup: &Cgroup, who: &str) -> Client {
        let mut client = Client::inside(cgroup);
        if let Some(home) = &self.home {
            assert_eq!(client.ask(&format!("enter {}", home.pid())), "there");
        }
        assert_eq!(client.ask(&format!("become {who}")), "so");
        client
    }

    /// Where the database listens, as an IPv4 address.
    pub(crate) fn database(&self) -> String {
        self.address(V4).unwrap()
    }

    /// An address in this scene; `None` for what is not in it.
    fn address(&self, to: To) -> Option<String> {
        let (port, other) = (self.port, self.other);
        Some(match (self.place, to) {
            (Place::Host, V4) => format!("127.0.0.1:{port}"),
            (Place::Host, Mapped) => format!("[::ffff:127.0.0.1]:{port}"),
            (Place::Host, V6) => format!("[::1]:{port}"),
            (Place::Host, Any4) => format!("0.0.0.0:{port}"),
            (Place::Host, Any6) => format!("[::]:{port}"),
            (Place::Host, AnyMapped) => format!("[::ffff:0.0.0.0]:{port}"),
            (Place::Host, Loopback2) => format!("127.0.0.2:{port}"),
            (Place::Own | Place::Node, V4) => format!("192.0.2.2:{port}"),
            (Place::Own | Place::Node, Mapped) => format!("[::ffff:192.0.2.2]:{port}"),
            (Place::Own | Place::Node, V6) => format!("[2001:db8:7::2]:{port}"),
            (Place::Host, Unguarded) => format!("127.0.0.1:{other}"),
            (Place::Own | Place::Node, Unguarded) => format!("192.0.2.3:{other}"),
            (Place::Own | Place::Node, OtherAddress) => format!("192.0.2.3:{port}"),
            (Place::Own | Place::Node, OtherPort) => format!("192.0.2.2:{other}"),
            (Place::Host, OtherAddress | OtherPort)
            | (Place::Own | Place::Node, Any4 | Any6 | AnyMapped | Loopback2) => {
                return None;
            }
        })
    }
}

/// Two namespaces and a wire between them: the workload's and the database's.
pub(crate) fn wired(outside: &Cgroup) -> (Client, Client) {
    let (mut home, mut far) = (Client::alone(outside), Client::alone(outside));
    wire(&mut home, &mut far);
    (home, far)
}

fn command(arguments: &[&str]) {
    let status = Command::new(arguments[0]).args(&arguments[1..]).status();
    assert!(status.unwrap().success(), "{arguments:?}");
}

/// A wire between the namespaces of these two.
fn wire(home: &mut Client, far: &mut Client) {
    let (near_pid, far_pid) = (home.pid().to_string(), far.pid().to_string());
    let (one, two) = (near_pid.as_str(), far_pid.as_str());
    command(&[
        "ip", "link", "add", "wire", "netns", one, "type", "veth", "peer", "name", "wire", "netns",
        two,
    ]);
    for (client, last) in [(&mut *home, 1), (&mut *far, 2)] {
        for line in [
            format!("run ip addr add 192.0.2.{last}/24 dev wire"),
            format!("run ip -6 addr add 2001:db8:7::{last}/64 dev wire nodad"),
            "run ip link set wire up".to_owned(),
        ] {
            assert_eq!(client.ask(&line), "status=0", "{line}");
        }
    }
    // Where it is on, every user may ping; it is off by default.
    for pid in [one, two] {
        let write = "echo 0 65534 > /proc/sys/net/ipv4/ping_group_range";
        command(&["nsenter", "-t", pid, "-n", "sh", "-c", write]);
    }
    assert_eq!(far.ask("run ip addr add 192.0.2.3/24 dev wire"), "status=0");
}

/// Did that answer come from the database, or was the socket option taken?
pub(crate) fn reached(answer: &str) -> bool {
    answer.contains("DATABASE") || answer == "got=set"
}

fn all_routes(name: &str, place: Place, who: &str) {
    if !able(name) {
        return;
    }
    let scene = Scene::build(name, place, |settings| settings);
    let mut free = scene.client(&scene.outside, who);
    let mut held = scene.client(&scene.inside, who);
    let mut wrong = Vec::new();
    println!("as {who}, {name}:");
    for (row, route, to, want) in ROUTES {
        let Some(address) = scene.address(*to) else {
            continue;
        };
        let line = format!("route {route} {address}");
        let control = free.ask(&line);
        let answer = held.ask(&line);
        let as_wanted = match want {
            Want::Agent => answer.starts_with("got=AGENT "),
            Stopped => !reached(&answer) && !answer.contains("AGENT"),
            Either => !reached(&answer),
            Open(_) => true,
        };
        let verdict = match want {
            _ if !reached(&control) => "not possible for this caller",
            Want::Agent => "agent",
            Stopped => "stopped",
            Either => "agent or stopped",
            Open(why) if reached(&answer) => why,
            Open(_) => "stopped",
        };
        println!("{row:>3} {route:<20} {to:?} -> {verdict}; free: {control}; labelled: {answer}");
        // What a caller may not do without a label, he does not get with one either.
        let fine = if reached(&control) {
            as_wanted
        } else {
            // Not everybody may do everything; root may, and proves the way.
            let lacking = who != "root" || hopeless(place, route, *to);
            lacking && (matches!(want, Open(_)) || !reached(&answer))
        };
        if !fine {
            wrong.push(format!(
                "{row} {route} {to:?}: free {control}, labelled {answer}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let counters = scene.agent.interceptor.counters().unwrap();
    assert!(
        counters.bypass.header > 0 && counters.bypass.option > 0,
        "{counters:?}"
    );
}

/// What nobody can do there, labelled or not.
fn hopeless(place: Place, route: &str, to: To) -> bool {
    // The host's own setting for pings is not ours to change.
    (place == Place::Host && route == "ping")
        // Not every kernel has them.
        || matches!(route, "vsock" | "int-0x80" | "mptcp" | "mptcp-fast-open" | "udp-lite")
        || (route.starts_with("io-uring"))
        || (route == "routing-header" && to == V6)
}

#[test]
fn no_route_of_root_on_the_host_reaches_a_database() {
    all_routes("host-root", Place::Host, "root");
}

#[test]
fn no_route_of_a_container_on_the_host_reaches_a_database() {
    all_routes("host-container", Place::Host, "container");
}

#[test]
fn no_route_of_nobody_on_the_host_reaches_a_database() {
    all_routes("host-nobody", Place::Host, "nobody");
}

#[test]
fn no_route_of_root_in_a_namespace_reaches_a_database() {
    all_routes("own-root", Place::Own, "root");
}

#[test]
fn no_route_of_a_container_in_a_namespace_reaches_a_database() {
    all_routes("own-container", Place::Own, "container");
}

#[test]
fn no_route_of_nobody_in_a_namespace_reaches_a_database() {
    all_routes("own-nobody", Place::Own, "nobody");
}

#[test]
fn neither_a_borrowed_socket_nor_another_namespace_nor_a_cgroup_below_leads_round() {
    if !able("neither_a_borrowed_socket") {
        return;
    }
    let scene = Scene::own("moves");
    let to = format!("192.0.2.2:{}", scene.port);
    // 11, 13: a socket that an unlabelled process made and did not connect.
    let mut lender = scene.client(&scene.outside, "root");
    for cgroup in [&scene.outside, &scene.inside] {
        let fd = lender.ask(&format!("lend {to}"));
        let mut borrower = scene.client(cgroup, "root");
        let answer = borrower.ask(&format!("borrow {} {fd} {to}", lender.pid()));
        if cgroup.id() == scene.inside.id() {
            assert!(answer.starts_with("got=AGENT "), "{answer}");
        } else {
            assert_eq!(answer, "got=DATABASE");
        }
    }
    // 38: into the database's own namespace.
    scene.agent.interceptor.listen(scene.far.netns()).unwrap();
    for (cgroup, want) in [
        (&scene.outside, "got=DATABASE"),
        (&scene.inside, "got=AGENT "),
    ] {
        let mut client = scene.client(cgroup, "root");
        assert_eq!(client.ask(&format!("enter {}", scene.far.pid())), "there");
        let answer = client.ask(&format!("route connect 127.0.0.1:{}", scene.port));
        assert!(answer.starts_with(want), "{answer}");
    }
    // 39: into a cgroup of its own making.
    let below = scene.inside.child("below");
    let mut client = scene.client(&below, "root");
    assert!(
        client
            .ask(&format!("route connect {to}"))
            .starts_with("got=AGENT ")
    );
    // 40, 41: out of the labelled one. Root can, where the cgroups are writable: that is seen when
    // it happens, and not prevented here.
    let outside = scene.outside.path.join("cgroup.procs");
    let mut client = scene.client(&scene.inside, "nobody");
    let answer = client.ask(&format!("join {}", outside.display()));
    assert_eq!(answer, "error=Permission-denied-(os-error-13)");
    assert!(
        client
            .ask(&format!("route connect {to}"))
            .starts_with("got=AGENT ")
    );
    let mut client = scene.client(&scene.inside, "root");
    assert_eq!(client.ask(&format!("join {}", outside.display())), "joined");
    let answer = client.ask(&format!("route connect {to}"));
    println!(
        " 40 moved out by root -> not closable here, mount cgroups read-only; labelled: {answer}"
    );
}
