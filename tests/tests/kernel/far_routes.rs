//! Ways to a database that need another process's help, a device, a namespace, a program in the
//! kernel or a privilege: by every kind of caller, over a wire that starts in the host's network
//! namespace or in the workload's own, there without the filter at the host's end and with it. What
//! came back says who was reached. The same way is gone
//! without a label first: where that does not reach the database, the way proves nothing.

use std::sync::atomic::{AtomicU16, Ordering};

use crate::far_scene::Place::{self, Host, Own};
use crate::far_scene::Scene;
use crate::support::{Cgroup, Client, able};
use node_agent::intercept::LayerState;

/// What a labelled workload gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Want {
    /// The agent's greeting.
    Agent,
    /// An error, or nothing.
    Stopped,
    /// The database without the filter at the host's end of the wire, and nothing with it.
    Wire,
    /// The database, and why.
    Open(&'static str),
}

use Want::{Open, Stopped, Wire};

/// What leads through a socket of the file system.
const PATH: Want = Open("this kernel has no hook for it: do not mount the directory");
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
/// namespace, from its own, or why it is not tried there; by whom; the way.
type Row = (At, At, By, &'static str);
type At = Result<(u8, Want), &'static str>;

const SAME: At = Err("the same as above");
const ROUTER: At = Err("it would make a router of the whole machine");

#[rustfmt::skip]
const ROUTES: &[Row] = &[
    (Ok((7, Stopped)),      Ok((7, Stopped)),      By::Root, "repair"),
    (Ok((9, RING)),         Ok((9, Wire)),         By::All,  "ring-inherited"),
    (Ok((11, Want::Agent)), Ok((11, Want::Agent)), By::All,  "made-before"),
    (Ok((12, LENT)),        Ok((12, Wire)),        By::All,  "handed"),
    (SAME,                  Ok((12, LENT)),        By::All,  "handed-by-the-node"),
    (Ok((12, LENT)),        Ok((12, Wire)),        By::Zero, "taken"),
    (Ok((14, RELAY)),       Ok((14, RELAY)),       By::All,  "relay"),
    (Ok((19, RAW)),         Ok((16, Wire)),        By::Raw,  "packet-tcp"),
    (Ok((20, RAW)),         Ok((17, Wire)),        By::Raw,  "packet-bypass"),
    (Ok((20, RAW)),         Ok((18, Wire)),        By::Raw,  "xdp"),
    (ROUTER,                Ok((21, Wire)),        By::Root, "tun"),
    (Ok((22, ADMIN)),       Ok((22, Wire)),        By::Root, "rewrite"),
    (Ok((37, Want::Agent)), Ok((37, Want::Agent)), By::All,  "user-namespace"),
    (Ok((39, Want::Agent)), Ok((39, Want::Agent)), By::All,  "below"),
    (Ok((40, CGROUPS)),     Ok((40, Wire)),        By::Zero, "move"),
    (Ok((43, CGROUPS)),     Ok((43, Wire)),        By::Zero, "clone-into"),
    (Ok((44, PATH)),        Ok((44, PATH)),        By::All,  "unix direct"),
    (Ok((44, PATH)),        Ok((44, PATH)),        By::All,  "unix root"),
    (Ok((44, PATH)),        Ok((44, PATH)),        By::All,  "unix symbolic-link"),
    (Ok((44, PATH)),        Ok((44, PATH)),        By::Zero, "unix hard-link"),
    (Ok((44, PATH)),        Ok((44, PATH)),        By::All,  "unix descriptor"),
    (Ok((49, Want::Agent)), Ok((49, Want::Agent)), By::Root, "own-program"),
];

impl Want {
    /// With the layers that this kernel has.
    fn here(self, way: &str, scene: &Scene) -> Want {
        match way {
            _ if self == PATH && scene.has("unix sockets") => Stopped,
            "packet-tcp" | "packet-bypass" | "xdp" if scene.has("AF_PACKET") => Stopped,
            _ => self,
        }
    }
}

/// Which rows of the matrix these routes are, and whether they are open.
pub(crate) fn rows() -> impl Iterator<Item = (u8, bool)> {
    let of = |at: &At| at.ok().map(|(row, want)| (row, matches!(want, Open(_))));
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

impl Scene {
    /// Is that optional layer at work?
    fn has(&self, layer: &str) -> bool {
        let all = self.agent.interceptor.layers();
        let found = all.iter().find(|found| found.what.contains(layer));
        found.unwrap().state == LayerState::Present
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
                let path = self.fresh("hand");
                assert_eq!(giver.ask(&format!("hand {path} {to}")), "open");
                client.ask(&format!("receive {path}"))
            }
            "taken" => {
                let mut lender = self.client(&self.outside, self.who);
                let fd = lender.ask(&format!("lend-connected {to}"));
                if fd.starts_with("error=") {
                    return fd;
                }
                client.ask(&format!("take {} {fd}", lender.pid()))
            }
            "relay" => {
                // On the node, whatever namespace the workload has.
                let mut relay = Client::inside(&self.outside);
                let path = self.fresh("relay");
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
            // Made outside, brought in, and only then connected.
            "made-before" => {
                let mut client = self.client(&self.outside, self.who);
                assert_eq!(client.ask(&format!("socket {to}")), "made");
                cgroup.adopt(client.pid());
                client
                    .ask(&format!("dial {to}"))
                    .replace("greeting=", "got=")
            }
            "below" => {
                let below = cgroup.child(&format!("below-{unique}"));
                below.adopt(client.pid());
                let answer = client.ask(&format!("route connect {to}"));
                drop(client);
                answer
            }
            "move" => {
                let moved = client.ask(&format!("move {}", self.outside.path.display()));
                if moved != "moved" {
                    return moved;
                }
                client.ask(&format!("route connect {to}"))
            }
            "clone-into" => {
                let cgroup = self.outside.path.display();
                client.ask(&format!("born-in {cgroup} connect {to}"))
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
    let mut possible = Vec::new();
    println!("as {who}, {name}:");
    for (host, own, by, way) in ROUTES {
        let at = match place {
            Host => host,
            Own => own,
        };
        let (row, want) = match at {
            Ok(at) => at,
            Err(why) => {
                println!("    {way:<20} -> not tried here: {why}");
                continue;
            }
        };
        let want = &want.here(way, &scene);
        let control = scene.go(way, &scene.outside);
        let answer = scene.go(way, &scene.inside);
        let absent = ABSENT.iter().any(|error| control.ends_with(error));
        let (verdict, fine) = match (reached(&control), want) {
            (true, Want::Agent) => ("agent", answer.starts_with("got=AGENT ")),
            (true, Stopped) => ("stopped", !reached(&answer) && !answer.contains("AGENT")),
            (true, Open(why)) => (&*format!("OPEN: {why}"), reached(&answer)),
            (true, Wire) => ("open without the wire's filter", reached(&answer)),
            // What a caller may not do without a label, he does not get with one either.
            (false, _) if !by.may(who) => ("not possible for this caller", !reached(&answer)),
            (false, _) if absent => ("this kernel cannot run it", !reached(&answer)),
            (false, _) => ("the control reaches nothing, so nothing is proved", false),
        };
        println!("{row:>3} {way:<20} -> {verdict}; free: {control}; labelled: {answer}");
        if reached(&control) {
            possible.push((*row, *want, *way));
        }
        if absent && fine && by.may(who) {
            println!("SKIPPED: {row} {way}: this kernel cannot run it: {control}");
        }
        if !fine {
            wrong.push(format!(
                "{row} {way}: {want:?}, but free {control}, labelled {answer}"
            ));
        }
    }
    if place == Own {
        filtered(&scene, &possible, &mut wrong);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The same again, with the filter at the host's end of the wire. It is the namespace's, so nobody
/// there goes that way without a label either.
fn filtered(scene: &Scene, possible: &[(u8, Want, &str)], wrong: &mut Vec<String>) {
    assert_eq!(scene.dropped(), 0);
    scene.filter();
    println!(
        "as {}, with a filter at the host's end of the wire:",
        scene.who
    );
    for (row, want, way) in possible {
        let before = scene.dropped();
        let answer = scene.go(way, &scene.inside);
        let counted = scene.dropped() > before;
        let (verdict, fine) = match want {
            Want::Agent => ("agent", answer.starts_with("got=AGENT ") && !counted),
            Stopped => ("stopped", !reached(&answer)),
            Wire => ("stopped", !reached(&answer) && counted),
            Open(why) => (&*format!("OPEN: {why}"), reached(&answer) && !counted),
        };
        println!("{row:>3} {way:<20} -> {verdict}; labelled: {answer}");
        if !fine {
            wrong.push(format!(
                "{row} {way}, filtered: {want:?}, but {answer}, counted: {counted}"
            ));
        }
    }
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
