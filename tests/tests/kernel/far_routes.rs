//! Ways to a database that need another process's help, a device, a namespace, a program in the
//! kernel or a privilege: by every kind of caller, over a wire that starts in the host's network
//! namespace or in the workload's own. What came back says who was reached. The same way is gone
//! without a label first: where that does not reach the database, the way proves nothing.

use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use node_agent::intercept::Settings;

use crate::settings;
use crate::support::{Agent, Cgroup, Client, able, port};
use Place::{Host, Own};

/// What a labelled workload gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Want {
    /// The agent's greeting.
    Agent,
    /// An error, or nothing.
    Stopped,
    /// The database, and why.
    Open(&'static str),
}

use Want::{Open, Stopped};

/// What a filter at the host's end of the workload's wire decides.
const WIRE: Want = Open("no filter at the host's end of the wire");
/// What leads through a socket of the file system.
const PATH: Want = Open("a path has many names: do not mount the directory");
const RAW: Want = Open("packets below the socket: no NET_RAW in the host's network");
const ADMIN: Want = Open("rewritten below the socket: no NET_ADMIN in the host's network");
const LENT: Want = Open(
    "somebody else's connection: cut at the next look at the workload's files; closed where only \
     the agent may reach databases from the node",
);
const RING: Want = Open("somebody else's ring: the workload is said to be partly governed");
const RELAY: Want =
    Open("the relay dials: deny other egress, let the database take the agent only");
const CGROUPS: Want =
    Open("uid 0 that may write cgroups: mount them read-only; an alarm is raised");

/// Who can go this way at all; for everybody else the way is closed by the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum By {
    All,
    /// Root and containers, for the user is 0.
    Zero,
    /// Root and containers, for they have NET_RAW.
    Raw,
    Root,
}

impl By {
    fn may(self, who: &str) -> bool {
        match self {
            By::All => true,
            By::Zero | By::Raw => who != "nobody",
            By::Root => who == "root",
        }
    }
}

/// Number in the matrix, and what a labelled workload gets there; from the host's network
/// namespace, from its own; by whom; the way.
type Row = (Option<(u8, Want)>, Option<(u8, Want)>, By, &'static str);

#[rustfmt::skip]
const ROUTES: &[Row] = &[
    (Some((7, Stopped)),      Some((7, Stopped)),      By::Root, "repair"),
    (Some((9, RING)),         Some((9, WIRE)),         By::All,  "ring-inherited"),
    (Some((12, LENT)),        Some((12, WIRE)),        By::All,  "handed"),
    (None,                    Some((12, LENT)),        By::All,  "handed-by-the-node"),
    (Some((12, LENT)),        Some((12, WIRE)),        By::Zero, "taken"),
    (Some((14, RELAY)),       Some((14, RELAY)),       By::All,  "relay"),
    (Some((19, RAW)),         Some((16, WIRE)),        By::Raw,  "packet-tcp"),
    (Some((20, RAW)),         Some((17, WIRE)),        By::Raw,  "packet-bypass"),
    (Some((20, RAW)),         Some((18, WIRE)),        By::Raw,  "xdp"),
    // From the host's namespace it would make a router of the whole machine.
    (None,                    Some((21, WIRE)),        By::Root, "tun"),
    (Some((22, ADMIN)),       Some((22, WIRE)),        By::Root, "rewrite"),
    (Some((37, Want::Agent)), Some((37, Want::Agent)), By::All,  "user-namespace"),
    (Some((43, CGROUPS)),     Some((43, WIRE)),        By::Zero, "clone-into"),
    (Some((44, PATH)),        Some((44, PATH)),        By::All,  "unix direct"),
    (Some((44, PATH)),        Some((44, PATH)),        By::All,  "unix root"),
    (Some((44, PATH)),        Some((44, PATH)),        By::All,  "unix symbolic-link"),
    (Some((44, PATH)),        Some((44, PATH)),        By::Zero, "unix hard-link"),
    (Some((44, PATH)),        Some((44, PATH)),        By::All,  "unix descriptor"),
    (Some((49, Want::Agent)), Some((49, Want::Agent)), By::Root, "own-program"),
];

/// Which rows of the matrix these routes are, and whether they are open.
pub(crate) fn rows() -> impl Iterator<Item = (u8, bool)> {
    let of = |at: &Option<(u8, Want)>| at.map(|(row, want)| (row, matches!(want, Open(_))));
    ROUTES
        .iter()
        .flat_map(move |(host, own, ..)| [of(host), of(own)])
        .flatten()
}

/// What a kernel says that has not got what a way needs.
const ABSENT: &[&str] = &[
    "(os-error-2)",
    "(os-error-22)",
    "(os-error-38)",
    "(os-error-93)",
    "(os-error-94)",
    "(os-error-95)",
    "(os-error-97)",
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The workload is in the host's network namespace, the database in one at the other end.
    Host,
    /// The workload is in one of its own, the database at the host's end.
    Own,
}

/// A wire from the host's namespace to one more, a database at one end, a workload at the other,
/// an agent in between.
struct Scene {
    place: Place,
    who: &'static str,
    /// The device on the workload's side.
    device: String,
    /// The network's first three numbers.
    net: String,
    port: u16,
    other: u16,
    _agent: Agent,
    /// In the namespace that is not the host's.
    away: Client,
    database: Client,
    inside: Cgroup,
    outside: Cgroup,
    files: tempfile::TempDir,
    _wire: Wire,
    // Last: its tree goes when nobody is in it.
    _top: Cgroup,
}

/// The host's end, gone with its test.
struct Wire(String);

impl Drop for Wire {
    fn drop(&mut self) {
        // It may have gone with the namespace of its other end.
        let _ = Command::new("ip").args(["link", "del", &self.0]).output();
    }
}

impl Scene {
    fn new(name: &str, place: Place, who: &'static str) -> Scene {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let top = Cgroup::top(name);
        let (inside, outside) = (top.child("inside"), top.child("outside"));
        let mut away = Client::alone(&outside);
        // Networks for benchmarks (RFC 2544), which nobody has: one for each scene.
        let number =
            (std::process::id() * 8 + u32::from(NEXT.fetch_add(1, Ordering::Relaxed))) % 512;
        let net = format!("198.{}.{}", 18 + number / 256, number % 256);
        let here = format!("na{number}");
        let (mac_here, mac_away, host_here) = match place {
            Host => ("02:00:00:00:00:01", "02:00:00:00:00:02", 1),
            Own => ("02:00:00:00:00:02", "02:00:00:00:00:01", 2),
        };
        let ip = |line: &str| {
            let done = Command::new("ip").args(line.split(' ')).output().unwrap();
            assert!(done.status.success(), "ip {line}: {done:?}");
        };
        ip(&format!(
            "link add {here} address {mac_here} type veth peer name wire address {mac_away} netns {}",
            away.pid()
        ));
        let wire = Wire(here.clone());
        ip(&format!("addr add {net}.{host_here}/24 dev {here}"));
        ip(&format!("link set {here} up"));
        for line in [
            format!("run ip addr add {net}.{}/24 dev wire", 3 - host_here),
            "run ip link set wire up".to_owned(),
        ] {
            assert_eq!(away.ask(&line), "status=0", "{line}");
        }
        let (near, other) = (port(), port());
        let agent = Agent::start(Settings {
            ports: vec![near],
            protected: vec![format!("{net}.2").parse().unwrap()],
            ..settings(&top)
        });
        agent.label(&inside, 7);
        let mut database = Client::inside(&outside);
        let device = match place {
            Host => {
                agent.listen_here();
                assert_eq!(database.ask(&format!("enter {}", away.pid())), "there");
                here
            }
            Own => {
                agent.interceptor.listen(away.netns()).unwrap();
                "wire".to_owned()
            }
        };
        assert_eq!(database.ask(&format!("database {near} {other}")), "open");
        let files = tempfile::tempdir().unwrap();
        let all = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
        std::fs::set_permissions(files.path(), all).unwrap();
        let mut scene = Scene {
            place,
            who,
            device,
            net,
            port: near,
            other,
            _agent: agent,
            away,
            database,
            inside,
            outside,
            files,
            _wire: wire,
            _top: top,
        };
        // A database on paths, too.
        assert_eq!(scene.database_at_path(), "open");
        scene
    }

    fn database_at_path(&mut self) -> String {
        let path = self.path("database");
        self.database.ask(&format!("unix-database {path}"))
    }

    fn path(&self, name: &str) -> String {
        self.files.path().join(name).display().to_string()
    }

    fn to(&self) -> String {
        format!("{}.2:{}", self.net, self.port)
    }

    /// A process in that cgroup, where this scene's workload lives.
    fn client(&self, cgroup: &Cgroup, who: &str) -> Client {
        let mut client = Client::inside(cgroup);
        if self.place == Own {
            assert_eq!(client.ask(&format!("enter {}", self.away.pid())), "there");
        }
        assert_eq!(client.ask(&format!("become {who}")), "so");
        client
    }

    /// Goes that way, and gives what came back.
    fn go(&self, way: &str, cgroup: &Cgroup) -> String {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let unique = NEXT.fetch_add(1, Ordering::Relaxed);
        let (to, device) = (self.to(), &self.device);
        let mut client = self.client(cgroup, self.who);
        match way {
            "packet-tcp" | "packet-bypass" | "xdp" | "tun" => {
                client.ask(&format!("{way} {device} {to}"))
            }
            // Somebody else connects and lets go, this one goes on.
            "repair" => {
                let dumped = self
                    .client(&self.outside, "root")
                    .ask(&format!("repair-dump {to}"));
                let Some(("DATABASE", rest)) = dumped.split_once(' ') else {
                    return dumped;
                };
                let (from, numbers) = rest.split_once(' ').unwrap();
                client.ask(&format!("repair-restore {from} {to} {numbers}"))
            }
            "ring-inherited" => {
                let mut parent = self.client(&self.outside, "root");
                let cgroup = cgroup.path.display();
                parent.ask(&format!("ring-inherited {cgroup} {} {to}", self.who))
            }
            "handed" | "handed-by-the-node" => {
                let mut giver = match way {
                    "handed" => self.client(&self.outside, "root"),
                    _ => Client::inside(&self.outside),
                };
                let path = self.path(&format!("hand-{unique}"));
                assert_eq!(giver.ask(&format!("hand {path} {to}")), "open");
                client.ask(&format!("receive {path}"))
            }
            "taken" => {
                let mut lender = self.client(&self.outside, self.who);
                let fd = lender.ask(&format!("lend-connected {to}"));
                client.ask(&format!("take {} {fd}", lender.pid()))
            }
            "relay" => {
                // On the node, whatever namespace the workload has.
                let mut relay = Client::inside(&self.outside);
                let path = self.path(&format!("relay-{unique}"));
                assert_eq!(relay.ask(&format!("relay {path} {to}")), "open");
                client.ask(&format!("through {path}"))
            }
            // Rewritten on the workload's own device, both ways.
            "rewrite" => {
                let (net, other) = (&self.net, self.other);
                let done = client.ask(&format!("rewrite {device} {net}.99 {net}.2"));
                if done != "rewritten" {
                    return done;
                }
                let neighbour = "lladdr 02:00:00:00:00:02";
                let done = client.ask(&format!(
                    "run ip neigh replace {net}.99 {neighbour} dev {device}"
                ));
                assert_eq!(done, "status=0");
                client.ask(&format!("route connect {net}.99:{other}"))
            }
            "user-namespace" => {
                let after = client.ask(&format!("user-namespace after {to}"));
                assert!(after.starts_with("error="), "{after}");
                client.ask(&format!("user-namespace before {to}"))
            }
            "clone-into" => {
                let cgroup = self.outside.path.display();
                client.ask(&format!("clone-into {cgroup} {to}"))
            }
            // A connect hook of the workload's own, in a cgroup of its own below.
            "own-program" => {
                let below = cgroup.child(&format!("below-{unique}"));
                below.adopt(client.pid());
                let (net, other) = (&self.net, self.other);
                let done = client.ask(&format!("redirect {} {net}.2", below.path.display()));
                if done != "redirected" {
                    return done;
                }
                let answer = client.ask(&format!("route connect {net}.99:{other}"));
                drop(client);
                answer
            }
            unix => {
                let path = self.path("database");
                client.ask(&format!("{unix} {path}"))
            }
        }
    }
}

/// Did that answer come from the database?
fn reached(answer: &str) -> bool {
    answer.contains("DATABASE") || answer.contains("ECHO")
}

fn all_routes(name: &str, place: Place, who: &'static str) {
    if !able(name) {
        return;
    }
    let scene = Scene::new(name, place, who);
    let mut wrong = Vec::new();
    println!("as {who}, {name}:");
    for (host, own, by, way) in ROUTES {
        let at = match place {
            Host => host,
            Own => own,
        };
        let Some((row, want)) = at else { continue };
        let control = scene.go(way, &scene.outside);
        let answer = scene.go(way, &scene.inside);
        let absent = ABSENT.iter().any(|error| control.ends_with(error));
        let (verdict, fine) = match (reached(&control), want) {
            (true, Want::Agent) => ("agent", answer.starts_with("got=AGENT ")),
            (true, Stopped) => ("stopped", !reached(&answer) && !answer.contains("AGENT")),
            (true, Open(why)) => (*why, reached(&answer)),
            // What a caller may not do without a label, he does not get with one either.
            (false, _) if !by.may(who) => ("not possible for this caller", !reached(&answer)),
            (false, _) if absent => ("this kernel cannot run it", !reached(&answer)),
            (false, _) => ("the control reaches nothing, so nothing is proved", false),
        };
        println!("{row:>3} {way:<20} -> {verdict}; free: {control}; labelled: {answer}");
        if !fine {
            wrong.push(format!(
                "{row} {way}: {want:?}, but free {control}, labelled {answer}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_far_route_of_root_on_the_host_is_open_unsaid() {
    all_routes("far-host-root", Host, "root");
}

#[test]
fn no_far_route_of_a_container_on_the_host_is_open_unsaid() {
    all_routes("far-host-container", Host, "container");
}

#[test]
fn no_far_route_of_nobody_on_the_host_is_open_unsaid() {
    all_routes("far-host-nobody", Host, "nobody");
}

#[test]
fn no_far_route_of_root_in_a_namespace_is_open_unsaid() {
    all_routes("far-own-root", Own, "root");
}

#[test]
fn no_far_route_of_a_container_in_a_namespace_is_open_unsaid() {
    all_routes("far-own-container", Own, "container");
}

#[test]
fn no_far_route_of_nobody_in_a_namespace_is_open_unsaid() {
    all_routes("far-own-nobody", Own, "nobody");
}
