//! Below the sockets: what leaves a labelled workload's network namespace, and what leaves the node.
//! Each test is a node of its own: a network namespace with the agent, one for the workload and one
//! for the database, each at the end of a wire. All of it ends with the test's thread and processes.
//!
//! Every way is gone without the filter first: where it does not reach the database then, it proves
//! nothing.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::{Duration, Instant};

use node_agent::enrol::{Reason, Standing};
use node_agent::intercept::{
    Bypass, Dial, Event, InterceptError, LayerState, NodeWide, Owner, Settings, Unfiltered,
    WorkloadIndex,
};
use tokio::sync::mpsc::Receiver;

use crate::support::{Agent, Cgroup, Client, Governing, able, eventually, port};
use crate::{Pins, settings};

fn run(line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let done = Command::new(words[0]).args(&words[1..]).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{line}: {said}");
}

fn run_in(client: &Client, script: &str) {
    let pid = client.pid().to_string();
    let status = Command::new("nsenter")
        .args(["-t", &pid, "-n", "sh", "-c", script])
        .status();
    assert!(status.unwrap().success(), "{script}");
}

/// One program there, without a shell: a small one has an `ip` of its own, which knows less.
fn run_there(client: &Client, line: &str) {
    run(&format!("nsenter -t {} -n {line}", client.pid()));
}

/// In the namespace of the calling thread.
fn set(setting: &str, value: &str) {
    std::fs::write(format!("/proc/sys/net/{setting}"), value).unwrap();
}

/// A node without an agent yet.
struct Node {
    port: u16,
    /// Another port of the database, and of the address beside it.
    other: u16,
    /// Keeps the workload's namespace.
    pod: Client,
    far: Client,
    inside: Cgroup,
    outside: Cgroup,
    top: Cgroup,
}

impl Node {
    fn new(name: &str) -> Self {
        #[allow(deprecated, reason = "the test's thread has nothing from before in it")]
        rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET).unwrap();
        run("ip link set lo up");
        let top = Cgroup::top(name);
        let (inside, outside) = (top.child("inside"), top.child("outside"));
        let (pod, far) = (Client::alone(&outside), Client::alone(&outside));
        let mut node = Node {
            port: port(),
            other: port(),
            pod,
            far,
            inside,
            outside,
            top,
        };
        // What is dropped is given up soon.
        let soon = "echo 1 > /proc/sys/net/ipv4/tcp_syn_retries";
        set("ipv4/tcp_syn_retries", "1");
        run_in(&node.pod, soon);
        set("ipv4/ip_forward", "1");
        set("ipv6/conf/all/forwarding", "1");
        wire("pod0", &mut node.pod, &["1"]);
        wire("db0", &mut node.far, &["2", "3"]);
        // Datagrams are answered from the address that is nobody's but the database's host's.
        run_in(
            &node.far,
            "ip route add 192.0.2.1/32 dev wire src 192.0.2.3",
        );
        // What a workload invents for itself.
        run("ip route add 192.0.2.77/32 dev pod0");
        let answer = node
            .far
            .ask(&format!("database {} {}", node.port, node.other));
        assert_eq!(answer, "open");
        node
    }

    fn settings(&self) -> Settings {
        Settings {
            ports: vec![self.port],
            protected: vec![
                "192.0.2.2".parse().unwrap(),
                "2001:db8:7::2".parse().unwrap(),
            ],
            ..settings(&self.top)
        }
    }

    fn database(&self) -> String {
        format!("192.0.2.2:{}", self.port)
    }

    /// A process in that cgroup, in the workload's namespace.
    fn client(&self, cgroup: &Cgroup) -> Client {
        let mut client = Client::inside(cgroup);
        let answer = client.ask(&format!("enter {}", self.pod.pid()));
        assert_eq!(answer, "there");
        client
    }

    fn owner(&self) -> Owner {
        let netns = File::open(format!("/proc/{}/ns/net", self.pod.pid())).unwrap();
        Owner {
            netns: netns.metadata().unwrap().ino(),
            cgroup: self.inside.id(),
            workload: WorkloadIndex(7),
        }
    }

    fn filter(&self, agent: &Agent) -> Vec<Unfiltered> {
        let netns = self.pod.netns();
        agent
            .interceptor
            .filter(netns.as_fd(), self.owner())
            .unwrap()
    }
}

/// A wire from this namespace to the client's, which gets these addresses; the other end routes.
fn wire(device: &str, to: &mut Client, last: &[&str]) {
    let pid = to.pid();
    run(&format!(
        "ip link add {device} address 02:00:00:00:00:fe type veth peer name wire netns {pid}"
    ));
    run(&format!("ip link set {device} up"));
    run(&format!("ip addr add 192.0.2.254/32 dev {device}"));
    run(&format!(
        "ip -6 addr add 2001:db8:7::fe/128 dev {device} nodad"
    ));
    for (family, setting) in [("ipv4", "proxy_arp"), ("ipv6", "proxy_ndp")] {
        set(&format!("{family}/conf/{device}/{setting}"), "1");
        set(&format!("{family}/neigh/{device}/proxy_delay"), "0");
    }
    assert_eq!(to.ask("run ip link set wire up"), "status=0");
    for n in last {
        run(&format!("ip route add 192.0.2.{n}/32 dev {device}"));
        run(&format!("ip -6 route add 2001:db8:7::{n}/128 dev {device}"));
        for other in ["pod0", "db0"] {
            // On the device that is not there yet it is put when that one comes.
            let proxy = format!("ip -6 neigh add proxy 2001:db8:7::{n} dev {other}");
            let words: Vec<&str> = proxy.split(' ').collect();
            if other != device {
                let _ = Command::new(words[0]).args(&words[1..]).output();
            }
        }
        for address in [
            format!("run ip addr add 192.0.2.{n}/24 dev wire"),
            format!("run ip -6 addr add 2001:db8:7::{n}/64 dev wire nodad"),
        ] {
            assert_eq!(to.ask(&address), "status=0", "{address}");
        }
    }
    if device == "db0" {
        run("ip -6 neigh add proxy 2001:db8:7::1 dev db0");
    }
}

/// The events that are there, of dropped packets only.
fn dropped(events: &mut Receiver<Event>) -> Vec<(Bypass, Dial)> {
    let mut all = Vec::new();
    while let Ok(event) = events.try_recv() {
        if let Event::Bypass(how, dial) = event {
            all.push((how, dial));
        }
    }
    all
}

#[test]
fn no_socket_in_a_workload_s_network_reaches_a_database_whosever_it_is() {
    all_ways("sockets", &[9, 12, 27, 28, 40, 43]);
}

#[test]
fn no_frame_that_leaves_a_workload_s_network_reaches_a_database_whatever_made_it() {
    all_ways("frames", &[16, 17, 18, 21, 22]);
}

fn all_ways(name: &str, rows: &[u8]) {
    if !able(name) {
        return;
    }
    let node = Node::new(name);
    let agent = Agent::start(node.settings());
    agent.label(&node.inside, 7);
    let mut events = agent.interceptor.take_events().unwrap();
    let to = node.database();
    let outside = node.outside.path.display().to_string();
    let v6 = format!("[2001:db8:7::2]:{}", node.port);
    let other = format!("192.0.2.2:{}", node.other);
    let elsewhere = format!("192.0.2.3:{}", node.port);
    // Rewritten by the workload's own program, which it needs NET_ADMIN for.
    let decoy = format!("192.0.2.9:{}", node.other);

    let mut labelled = node.client(&node.inside);
    let mut unlabelled = node.client(&node.outside);
    // 9: a ring of an unlabelled parent, in the hands of its labelled child.
    let mut ring = node.client(&node.outside);
    assert_eq!(ring.ask("ring-fork"), "forked");
    let procs = node.inside.path.join("cgroup.procs");
    assert_eq!(ring.ask(&format!("join {}", procs.display())), "joined");
    // 40: root that moved itself out.
    let mut moved = node.client(&node.inside);
    assert_eq!(moved.ask(&format!("join {outside}/cgroup.procs")), "joined");
    // 22
    let mut rewriter = node.client(&node.inside);
    rewriter.ask("run ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:fe dev wire");
    let rewriting = rewriter.ask("rewrite wire sent 192.0.2.9 192.0.2.2");

    /// Who goes the way.
    enum Who {
        Labelled,
        Unlabelled,
        Ring,
        Moved,
        Rewriter,
    }
    let ways = [
        (9, Who::Ring, format!("ring-dial {to}"), &to, 6),
        (12, Who::Unlabelled, format!("route connect {to}"), &to, 6),
        (12, Who::Unlabelled, format!("route connect {v6}"), &v6, 6),
        (
            28,
            Who::Unlabelled,
            format!("route connect {other}"),
            &other,
            6,
        ),
        (
            27,
            Who::Unlabelled,
            format!("route connect {elsewhere}"),
            &elsewhere,
            6,
        ),
        (
            16,
            Who::Labelled,
            format!("route frame-queued {to}"),
            &to,
            17,
        ),
        (17, Who::Labelled, format!("route frame {to}"), &to, 17),
        (
            17,
            Who::Labelled,
            format!("route frame-tagged {to}"),
            &to,
            17,
        ),
        (
            17,
            Who::Labelled,
            format!("route frame-options {to}"),
            &to,
            17,
        ),
        (
            17,
            Who::Labelled,
            format!("route frame-fragments {to}"),
            &to,
            17,
        ),
        (18, Who::Labelled, format!("route xdp {to}"), &to, 17),
        (21, Who::Labelled, format!("tun wire {to}"), &to, 6),
        (
            22,
            Who::Rewriter,
            format!("route decoy {decoy}"),
            &other,
            17,
        ),
        (40, Who::Moved, format!("route connect {to}"), &to, 6),
        (
            43,
            Who::Labelled,
            format!("born-in {outside} connect {to}"),
            &to,
            6,
        ),
    ];
    // Where the kernel keeps frames by hand from a label, somebody else makes them.
    let families = agent
        .interceptor
        .layers()
        .iter()
        .any(|layer| layer.what.contains("AF_PACKET") && layer.state == LayerState::Present);
    let by_hand = |line: &str| line.starts_with("route frame") || line.starts_with("route xdp");
    let mut ask = |who: &Who, line: &str| match who {
        Who::Labelled if families && by_hand(line) => unlabelled.ask(line),
        Who::Labelled => labelled.ask(line),
        Who::Unlabelled => unlabelled.ask(line),
        Who::Ring => ring.ask(line),
        Who::Moved => moved.ask(line),
        Who::Rewriter => rewriter.ask(line),
    };
    let mut possible = Vec::new();
    for (row, who, line, at, protocol) in ways.iter().filter(|way| rows.contains(&way.0)) {
        let answer = ask(who, line);
        println!("{row:>3} {line}: without the filter: {answer}");
        // Not every kernel has these.
        let may_lack = match row {
            9 => answer.contains("Function-not-implemented"),
            18 => answer.contains("Address-family-not-supported"),
            22 => rewriting != "rewriting",
            _ => false,
        };
        assert!(
            answer == "got=DATABASE" || may_lack,
            "{row} {line}: {answer}"
        );
        if !may_lack {
            possible.push((row, who, line, at, protocol));
        }
    }
    assert_eq!(agent.interceptor.counters().unwrap().bypass.wire, 0);
    assert_eq!(dropped(&mut events), []);

    assert_eq!(node.filter(&agent), []);
    for (row, who, line, at, protocol) in &possible {
        let before = agent.interceptor.counters().unwrap().bypass.wire;
        let answer = ask(who, line);
        println!("{row:>3} {line}: {answer}");
        assert!(!answer.contains("DATABASE"), "{row} {line}: {answer}");
        let after = agent.interceptor.counters().unwrap().bypass.wire;
        assert!(after > before, "{row} {line}: not counted");
        let mut seen = Vec::new();
        eventually("the drop is told of", || {
            seen.extend(dropped(&mut events));
            seen.iter().any(|(how, dial)| {
                *how == Bypass::Wire(**protocol)
                    && dial.destination.to_string() == ***at
                    && dial.workload == WorkloadIndex(7)
            })
        });
    }
    // What leads elsewhere goes on, and so does what went before.
    let free = format!("192.0.2.3:{}", node.other);
    let mut bystander = node.client(&node.outside);
    for route in ["connect", "udp-sendto", "frame", "frame-tagged"] {
        let answer = bystander.ask(&format!("route {route} {free}"));
        assert_eq!(answer, "got=DATABASE", "{route}");
    }
    agent.interceptor.unfilter(node.owner().netns).unwrap();
    for (row, who, line, _, _) in &possible {
        assert_eq!(ask(who, line), "got=DATABASE", "{row} {line}");
    }
}

#[test]
fn an_answer_that_left_in_a_tunnel_of_the_node_s_does_not_come_back() {
    if !able("an_answer_that_left_in_a_tunnel") {
        return;
    }
    let node = Node::new("tunnelled");
    let agent = Agent::start(node.settings());
    agent.label(&node.inside, 7);
    let mut events = agent.interceptor.take_events().unwrap();
    // The node ends tunnels, as those of many overlay networks do. What comes out of one is routed
    // as anything else.
    let over = |last: u8, local: &str, remote: &str| {
        format!(
            "ip link add over0 address 02:00:00:00:00:{last:02x} type vxlan id 7 dstport 4789 \
             local {local} remote {remote}"
        )
    };
    run(&over(0xf1, "192.0.2.254", "192.0.2.1"));
    run("ip link set over0 up");
    let freely = "for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $f; done";
    let done = Command::new("sh").args(["-c", freely]).status();
    assert!(done.unwrap().success());
    run_there(&node.pod, &over(0xf2, "192.0.2.1", "192.0.2.254"));
    run_there(&node.pod, "ip link set over0 up");
    run_in(&node.pod, freely);
    for line in [
        "ip route add 192.0.2.2/32 dev over0 src 192.0.2.1",
        "ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:f1 dev over0",
    ] {
        run_there(&node.pod, line);
    }
    let mut client = node.client(&node.outside);
    let way = format!("route connect {}", node.database());
    assert_eq!(client.ask(&way), "got=DATABASE");
    // The workload's own end of it is a device here and told of; it may as well be a process, which
    // sends datagrams as any other.
    node.filter(&agent);
    let answer = client.ask(&way);
    assert!(!answer.contains("DATABASE"), "{answer}");
    assert!(agent.interceptor.counters().unwrap().bypass.wire > 0);
    let seen = dropped(&mut events);
    let from = node.database();
    assert!(
        seen.iter()
            .any(|(how, dial)| *how == Bypass::Wire(6) && dial.destination.to_string() == from),
        "{seen:?}"
    );
    // Others are answered, in the tunnel and beside it.
    for to in ["192.0.2.3", "[2001:db8:7::3]"] {
        let free = format!("route connect {to}:{}", node.other);
        assert_eq!(client.ask(&free), "got=DATABASE", "{to}");
    }
    agent.interceptor.unfilter(node.owner().netns).unwrap();
    assert_eq!(client.ask(&way), "got=DATABASE");
}

#[test]
fn frames_that_could_hold_a_packet_and_resets_that_say_something_do_not_leave() {
    if !able("frames_that_could_hold_a_packet") {
        return;
    }
    let node = Node::new("odd-frames");
    let agent = Agent::start(node.settings());
    agent.label(&node.inside, 7);
    assert_eq!(node.filter(&agent), []);
    let mut client = node.client(&node.outside);
    let drops = || agent.interceptor.counters().unwrap().bypass.wire;
    for (shape, dropped) in [
        ("frame-snap", 1),
        ("frame-stp", 0),
        ("frame-reset", 0),
        ("frame-reset-data", 1),
    ] {
        let before = drops();
        let answer = client.ask(&format!("route {shape} {}", node.database()));
        assert!(!answer.contains("DATABASE"), "{shape}: {answer}");
        assert_eq!(drops() - before, dropped, "{shape}: {answer}");
    }
}

#[test]
fn where_databases_alone_are_reached_the_wire_lets_nothing_else_out_but_answers() {
    if !able("where_databases_alone") {
        return;
    }
    let mut node = Node::new("closed-wire");
    let open = format!("192.0.2.3:{}", node.other);
    let shut = format!("192.0.2.3:{}", port());
    let answer = node
        .far
        .ask(&format!("database {}", shut.rsplit(':').next().unwrap()));
    assert_eq!(answer, "open");
    let agent = Agent::start(Settings {
        allowed: Some(vec![node_agent::intercept::Allowed {
            prefix: "192.0.2.3".parse().unwrap(),
            port: std::num::NonZeroU16::new(node.other),
        }]),
        ..node.settings()
    });
    agent.label(&node.inside, 7);
    let mut client = node.client(&node.outside);
    let ask = |client: &mut Client, to: &str| {
        ["connect", "udp-sendto", "frame", "ping"].map(|route| {
            // The host's own setting for pings is not ours to change; this namespace's is.
            client.ask(&format!("route {route} {to}"))
        })
    };
    run_in(
        &node.pod,
        "echo 0 65534 > /proc/sys/net/ipv4/ping_group_range",
    );
    assert_eq!(ask(&mut client, &open), ["got=DATABASE"; 4]);
    assert_eq!(ask(&mut client, &shut), ["got=DATABASE"; 4]);
    assert_eq!(node.filter(&agent), []);
    // No neighbour is remembered: finding each other must go on, too.
    run("ip neigh flush dev pod0");
    client.ask("run ip neigh flush dev wire");
    let [connect, datagram, frame, ping] = ask(&mut client, &open);
    assert_eq!([connect, datagram, frame], ["got=DATABASE"; 3]);
    assert!(
        !ping.contains("DATABASE"),
        "no port is allowed to it: {ping}"
    );
    for answer in ask(&mut client, &shut) {
        assert!(!answer.contains("DATABASE"), "{answer}");
    }
    assert!(agent.interceptor.counters().unwrap().bypass.wire > 3);
    // From outside it is dialled, and answers.
    for at in ["192.0.2.1", "[2001:db8:7::1]"] {
        let own = port();
        let any = if at.starts_with('[') {
            "[::]"
        } else {
            "0.0.0.0"
        };
        assert_eq!(client.ask(&format!("serve {any}:{own}")), "listening");
        let mut caller = Client::inside(&node.outside);
        assert_eq!(caller.ask(&format!("reach {at}:{own}")), "reached", "{at}");
        assert!(client.ask("visited").starts_with("visited="), "{at}");
    }
}

#[test]
fn a_filter_outlives_its_agent_and_goes_with_the_label_or_by_uninstalling() {
    if !able("a_filter_outlives_its_agent") {
        return;
    }
    let node = Node::new("kept-wire");
    let pins = Pins::new();
    let pin = pins.path();
    let settings = Settings {
        pin: Some(pin.clone()),
        ..node.settings()
    };
    let way = format!("route frame {}", node.database());
    let mut client = node.client(&node.outside);
    let agent = Agent::start(settings.clone());
    agent.label(&node.inside, 7);
    assert_eq!(client.ask(&way), "got=DATABASE");
    assert_eq!(node.filter(&agent), []);
    assert!(!client.ask(&way).contains("DATABASE"));
    agent.die();
    assert!(!client.ask(&way).contains("DATABASE"), "without an agent");
    // The next one has it in hand.
    let agent = Agent::start(settings.clone());
    let owner = node.owner();
    assert!(agent.interceptor.filters(owner.netns));
    // Who takes it away by its pins finds it back after the next look.
    let links = std::fs::read_dir(&pin).unwrap().flatten();
    let links: Vec<_> = links
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("link_wire"))
        .collect();
    if !links.is_empty() {
        let mut hand = Client::start();
        for link in links {
            let detach = format!("tamper detach {}", link.path().display());
            assert_eq!(hand.ask(&detach), "detached");
        }
        assert_eq!(client.ask(&way), "got=DATABASE");
        assert!(!agent.interceptor.filters(owner.netns));
        assert_eq!(node.filter(&agent), []);
        assert!(agent.interceptor.filters(owner.netns));
    }
    let seen = agent.interceptor.filtered();
    assert_eq!(seen, [(owner.netns, owner.cgroup)]);
    assert!(!client.ask(&way).contains("DATABASE"));
    assert!(agent.interceptor.counters().unwrap().bypass.wire > 0);
    agent.interceptor.unfilter(owner.netns).unwrap();
    assert_eq!(client.ask(&way), "got=DATABASE");
    assert_eq!(node.filter(&agent), []);
    assert!(!client.ask(&way).contains("DATABASE"));
    agent.die();
    node_agent::intercept::Interceptor::uninstall_pinned(&pin).unwrap();
    assert_eq!(client.ask(&way), "got=DATABASE");
}

fn faults(agent: &Agent) -> Vec<String> {
    let faults = agent.interceptor.faults().unwrap();
    faults.iter().map(ToString::to_string).collect()
}

fn put_back(agent: &Agent) {
    let faults = agent.interceptor.faults().unwrap();
    assert!(faults.iter().all(|fault| !fault.lasts()));
    agent.interceptor.put_back(&faults).unwrap();
    assert_eq!(agent.interceptor.faults().unwrap().len(), 0);
}

fn number_of(device: &str) -> u32 {
    let seen = Command::new("ip")
        .args(["-o", "link", "show", device])
        .output();
    let seen = String::from_utf8(seen.unwrap().stdout).unwrap();
    let number = seen
        .split(':')
        .next()
        .and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("{device}: {seen}"))
}

/// Takes a program from a device by its link, or where the kernel has none for devices, with all
/// of the device's filters. What `standing` says until it is put back; not asked for afterwards,
/// because the agent may have looked by then.
fn take_away(hand: &mut Client, pin: &std::path::Path, link: &str, device: &str) -> String {
    let path = pin.join(format!("{link}_{}", number_of(device)));
    if path.exists() {
        // A pinned link that is detached keeps its number.
        let away = standing(hand, pin, link, device);
        let answer = hand.ask(&format!("tamper detach {}", path.display()));
        assert_eq!(answer, "detached");
        away
    } else {
        run(&format!("tc qdisc del dev {device} clsact"));
        String::new()
    }
}

/// What stands on a device: another text for each program that is attached.
fn standing(hand: &mut Client, pin: &std::path::Path, link: &str, device: &str) -> String {
    let path = pin.join(format!("{link}_{}", number_of(device)));
    if path.exists() {
        hand.ask(&format!("link-id {}", path.display()))
    } else {
        let shown = Command::new("tc")
            .args(["filter", "show", "dev", device, "egress"])
            .output();
        String::from_utf8(shown.unwrap().stdout).unwrap()
    }
}

#[test]
fn a_filter_that_is_taken_from_a_wire_is_missed_named_and_put_back() {
    if !able("a_filter_that_is_taken") {
        return;
    }
    let node = Node::new("taken-wire");
    let pins = Pins::new();
    let pin = pins.path();
    let agent = Agent::start(Settings {
        pin: Some(pin.clone()),
        ..node.settings()
    });
    agent.label(&node.inside, 7);
    assert_eq!(node.filter(&agent), []);
    assert_eq!(faults(&agent), Vec::<String>::new());
    let way = format!("route frame {}", node.database());
    let mut client = node.client(&node.outside);
    let mut hand = Client::inside(&node.outside);
    let number = number_of("pod0");
    let lost = |program: &str| format!("the link of {program} on device {number} is detached");
    let gone = [lost("on_wire_in"), lost("on_wire")];
    // The one looks at what leaves, the other at answers. Without links for devices both go at once.
    let take_both = |hand: &mut Client| {
        take_away(hand, &pin, "link_wire", "pod0");
        if pin.join(format!("link_wirein_{number}")).exists() {
            take_away(hand, &pin, "link_wirein", "pod0");
        }
    };

    take_both(&mut hand);
    assert_eq!(client.ask(&way), "got=DATABASE");
    assert_eq!(faults(&agent), gone);
    put_back(&agent);
    assert!(!client.ask(&way).contains("DATABASE"));
    assert!(agent.interceptor.unaudited());

    // Who looks round for wires puts it back as well, and does not keep it to himself.
    take_both(&mut hand);
    agent.interceptor.forget_gone_wires();
    assert_eq!(agent.interceptor.filtered().len(), 1, "the device is there");
    assert_eq!(node.filter(&agent), []);
    assert_eq!(faults(&agent), gone);
    assert!(!client.ask(&way).contains("DATABASE"));
    assert_eq!(faults(&agent), Vec::<String>::new());

    let path = pin.join(format!("link_wire_{}", number_of("pod0")));
    if path.exists() {
        std::fs::remove_file(&path).unwrap();
        let said = format!("the pin of on_wire on device {} is gone", number_of("pod0"));
        assert_eq!(faults(&agent), [said]);
        put_back(&agent);
        assert!(path.exists());
    }
    // Another program behind a link, as long as devices have links.
    for link in ["link_wire", "link_wirein"] {
        let path = pin.join(format!("{link}_{number}"));
        if !path.exists() {
            println!("not tried: {link}: this kernel's devices take no links");
            continue;
        }
        let answer = hand.ask(&format!("tamper replace-device {}", path.display()));
        assert_eq!(answer, "replaced");
        // The one looks at what leaves, the other at answers.
        let open = link == "link_wire";
        let answer = client.ask(&way);
        assert!(
            !answer.contains("DATABASE"),
            "{link}: the other stands: {answer}"
        );
        let found = agent.interceptor.faults().unwrap();
        let [fault] = found.as_slice() else {
            panic!("{link}: {found:?}")
        };
        let said = fault.to_string();
        let program = if open { "on_wire" } else { "on_wire_in" };
        assert!(
            said.starts_with("another program, \"open\" (id ")
                && said.ends_with(&format!("of {program} on device {number}")),
            "{said}"
        );
        assert!(fault.opened());
        put_back(&agent);
        assert!(!client.ask(&way).contains("DATABASE"));
        // Enrolment's own look puts it back as well.
        let answer = hand.ask(&format!("tamper replace-device {}", path.display()));
        assert_eq!(answer, "replaced");
        assert_eq!(node.filter(&agent), []);
        assert_eq!(
            faults(&agent),
            [format!(
                "the link of {program} on device {number} is detached"
            )]
        );
        assert_eq!(faults(&agent), Vec::<String>::new());
    }
    // A device that goes is nobody's doing.
    run("ip link del pod0");
    assert_eq!(faults(&agent), Vec::<String>::new());
    agent.interceptor.forget_gone_wires();
    assert_eq!(agent.interceptor.filtered(), []);
}

#[test]
fn what_is_taken_from_the_node_wide_mode_is_missed_and_put_back() {
    if !able("what_is_taken_from_the_node_wide_mode") {
        return;
    }
    let node = Node::new("taken-node");
    let own = node.top.child("agent");
    let pins = Pins::new();
    let pin = pins.path();
    let agent = Agent::start(Settings {
        agent_cgroup: own.id(),
        pin: Some(pin.clone()),
        node_wide: NodeWide::On,
        ..node.settings()
    });
    let mut process = Client::inside(&node.outside);
    let mut hand = Client::inside(&node.outside);
    let connect = format!("route connect {}", node.database());
    assert_eq!(faults(&agent), Vec::<String>::new());
    assert!(!process.ask(&connect).contains("DATABASE"));

    let link = pin.join("link_node");
    let answer = hand.ask(&format!("tamper detach {}", link.display()));
    assert_eq!(answer, "detached");
    // The devices' programs let nothing out that it has not asked.
    assert!(!process.ask(&connect).contains("DATABASE"));
    assert_eq!(faults(&agent), ["the link of on_node is detached"]);
    put_back(&agent);
    assert!(!process.ask(&connect).contains("DATABASE"));
    assert_eq!(agent.interceptor.node_trouble(), None);

    // Whoever comes first, the watch or the look at the devices: it is told of, and there again.
    let gone = format!(
        "the link of on_node_frame on device {} is detached",
        number_of("db0")
    );
    for patient in [false, true] {
        let away = take_away(&mut hand, &pin, "link_nodeframe", "db0");
        if patient {
            // A device that comes is looked at, and the others with it.
            run("ip link add poke type veth peer name poked");
            eventually("it is put back", || {
                standing(&mut hand, &pin, "link_nodeframe", "db0") != away
            });
        }
        let seen = agent.interceptor.faults().unwrap();
        assert!(
            seen.iter().any(|fault| fault.to_string() == gone),
            "{seen:?}"
        );
        agent.interceptor.put_back(&seen).unwrap();
        eventually("it stands", || {
            agent.interceptor.faults().unwrap().is_empty()
        });
    }
}

#[test]
fn enrolment_filters_where_labelled_tasks_are_and_says_where_it_cannot() {
    if !able("enrolment_filters") {
        return;
    }
    let node = Node::new("enrolled-wire");
    let to = node.database();
    let way = format!("route frame {to}");
    let mut stranger = node.client(&node.outside);
    assert_eq!(stranger.ask(&way), "got=DATABASE");
    let pods = format!("{}/pod", node.top.name());
    let governing = Governing::looking_every(
        Duration::from_millis(50),
        node.settings(),
        &[("pod", &[pods])],
    );
    let pod = node.top.child("pod");
    eventually("labelled", || governing.label_of(&pod) == Some(0));
    let kernel = &governing.agent.interceptor;
    assert_eq!(kernel.filtered(), []);
    let client = node.client(&pod);
    eventually("filtered", || kernel.filtered().len() == 1);
    assert!(!stranger.ask(&way).contains("DATABASE"));

    let said = |reason: fn(&Reason) -> bool| {
        let all = governing.enrolment.snapshot();
        let found = all.iter().flat_map(|labelled| &labelled.found);
        found.map(|f| &f.reason).any(reason)
    };
    let raw: fn(&Reason) -> bool = |reason| *reason == Reason::RawPackets;
    let past: fn(&Reason) -> bool =
        |reason| matches!(reason, Reason::NoWire { device, .. } if device == "past");
    assert!(!said(raw) && !said(past));
    // A device that comes later and has no end on this host.
    let pid = node.pod.pid();
    run("ip link add base type veth peer name base2");
    run(&format!(
        "ip link add link base name past netns {pid} type macvlan"
    ));
    eventually("said", || said(past) && said(raw));
    let standing = governing.enrolment.snapshot()[0].standing;
    assert_eq!(standing, Standing::Partly);
    // One that comes later and has.
    run(&format!(
        "ip link add pod1 type veth peer name wire1 netns {pid}"
    ));
    eventually("filtered as well", || kernel.filtered().len() == 2);
    run("ip link del base");
    run("ip link del pod1");
    eventually("gone", || {
        kernel.filtered().len() == 1 && !said(past) && !said(raw)
    });

    // 40: whoever moves out does not take the filter away by it.
    let mut client = client;
    let procs = node.outside.path.join("cgroup.procs");
    assert_eq!(client.ask(&format!("join {}", procs.display())), "joined");
    eventually("it is missed", || !governing.enrolment.left().is_empty());
    for _ in 0..3 {
        assert!(!client.ask(&way).contains("DATABASE"));
    }
    assert_eq!(kernel.filtered().len(), 1);
    drop(client);
    // With the label it goes.
    drop(pod);
    eventually("no filter", || kernel.filtered().is_empty());
    assert_eq!(stranger.ask(&way), "got=DATABASE");

    // In the host's own network nothing can be filtered, and that is said.
    let pod = node.top.child("pod");
    let netns = File::open("/proc/self/ns/net").unwrap();
    let _host = {
        let client = Client::inside(&pod);
        let same = client.netns();
        let inode = |file: &File| file.metadata().unwrap().ino();
        if inode(&netns) == inode(&File::from(same)) {
            eventually("said", || said(|reason| *reason == Reason::HostNetwork));
        }
        client
    };
}

/// Does an event tell of a packet of this protocol to there, stopped on its way out of the node?
fn told_of(events: &mut Receiver<Event>, protocol: u32, to: &str) -> Dial {
    let mut found = None;
    eventually("the drop is told of", || {
        found = dropped(events).into_iter().find(|(how, dial)| {
            *how == Bypass::Node(protocol) && dial.destination.to_string() == to
        });
        found.is_some()
    });
    found.unwrap().1
}

#[test]
fn in_the_node_wide_mode_the_agent_reaches_the_database_and_no_other_process_does() {
    if !able("in_the_node_wide_mode") {
        return;
    }
    let node = Node::new("node-wide");
    let own = node.top.child("agent");
    let mut agents = Client::inside(&own);
    let mut process = Client::inside(&node.outside);
    let mut local = Client::inside(&node.outside);
    assert_eq!(local.ask(&format!("database {}", node.port)), "open");
    let places = [
        node.database(),
        format!("[2001:db8:7::2]:{}", node.port),
        format!("192.0.2.2:{}", node.other),
        format!("127.0.0.1:{}", node.port),
    ];
    let all = |who: &mut Client| {
        places
            .each_ref()
            .map(|to| who.ask(&format!("route connect {to}")))
    };
    let settings = Settings {
        agent_cgroup: own.id(),
        ..node.settings()
    };
    let off = Agent::start(settings.clone());
    assert_eq!(all(&mut agents), ["got=DATABASE"; 4]);
    assert_eq!(all(&mut process), ["got=DATABASE"; 4]);
    drop(off);

    let on = Agent::start(Settings {
        node_wide: NodeWide::On,
        ..settings
    });
    let mut events = on.interceptor.take_events().unwrap();
    assert_eq!(on.interceptor.node_trouble(), None);
    assert_eq!(all(&mut agents), ["got=DATABASE"; 4]);
    assert_eq!(on.interceptor.counters().unwrap().bypass.node, 0);
    // 14: a relay on the node.
    for to in &places {
        let answer = process.ask(&format!("route connect {to}"));
        assert!(!answer.contains("DATABASE"), "{to} {answer}");
        let dial = told_of(&mut events, 6, to);
        assert_eq!(dial.cgroup, node.outside.id(), "{to}");
    }
    assert!(on.interceptor.counters().unwrap().bypass.node >= 4);
    let free = format!("route connect 192.0.2.3:{}", node.other);
    assert_eq!(process.ask(&free), "got=DATABASE");
    drop(on);
    assert_eq!(all(&mut process), ["got=DATABASE"; 4]);
}

#[test]
fn in_the_node_wide_mode_a_connection_from_before_is_not_read_on() {
    if !able("a_connection_from_before_is_not_read_on") {
        return;
    }
    /// More than waits at the client's end, by far.
    const LENGTH: usize = 200_000;
    let mut node = Node::new("node-before");
    set("ipv4/tcp_rmem", "4096 16384 16384");
    let own = node.top.child("agent");
    let to = format!("192.0.2.2:{}", port());
    let said = "41".repeat(LENGTH);
    let greeting = format!("greet-with tcp {to} {LENGTH} {said}");
    assert_eq!(node.far.ask(&greeting), "open");
    let read_on = |who: &mut Client| {
        let mut total = 0;
        loop {
            let answer = who.ask("read");
            match answer.strip_prefix("read=").map(str::parse) {
                Some(Ok(0)) | Some(Err(_)) | None => return total,
                Some(Ok(more)) => {
                    let more: usize = more;
                    total += more;
                    if total > LENGTH {
                        return total;
                    }
                }
            }
        }
    };
    run_in(
        &node.pod,
        "echo 4096 16384 16384 > /proc/sys/net/ipv4/tcp_rmem",
    );
    let opened = |mut client: Client| {
        assert_eq!(client.ask(&format!("open {to}")), "open");
        client
    };
    let forwarded = || node.client(&node.outside);
    assert_eq!(
        read_on(&mut opened(Client::inside(&node.outside))),
        LENGTH + 1
    );
    assert_eq!(read_on(&mut opened(forwarded())), LENGTH + 1);
    let mut agents = opened(Client::inside(&own));
    let mut process = opened(Client::inside(&node.outside));
    let mut pods = opened(forwarded());
    let on = Agent::start(Settings {
        agent_cgroup: own.id(),
        node_wide: NodeWide::On,
        ..node.settings()
    });
    for who in [&mut process, &mut pods] {
        let read = read_on(who);
        assert!(read < LENGTH / 2, "{read} bytes");
    }
    assert!(on.interceptor.counters().unwrap().bypass.node > 0);
    assert_eq!(read_on(&mut agents), LENGTH + 1);
}

#[test]
fn in_the_node_wide_mode_nothing_is_forwarded_to_a_database_by_any_device() {
    if !able("nothing_is_forwarded") {
        return;
    }
    let mut node = Node::new("node-forward");
    let own = node.top.child("agent");
    let mut agents = Client::inside(&own);
    let mut pod = node.client(&node.outside);
    // 30: a service address, which the node translates behind the pod's wire.
    let mut translator = Client::inside(&node.outside);
    let service = format!("192.0.2.9:{}", node.other);
    pod.ask("run ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:fe dev wire");
    let (to, other) = (node.database(), format!("192.0.2.2:{}", node.other));
    let mut ways = vec![
        (17, &to, format!("route frame {to}")),
        (6, &to, format!("route connect {to}")),
    ];
    let settings = Settings {
        agent_cgroup: own.id(),
        ..node.settings()
    };
    let off = Agent::start(settings.clone());
    match translator.ask("rewrite pod0 received 192.0.2.9 192.0.2.2") {
        done if done == "rewriting" => ways.push((17, &other, format!("route decoy {service}"))),
        cannot => println!("not tried: 30: this kernel's devices take no links: {cannot}"),
    }
    for (_, _, line) in &ways {
        assert_eq!(pod.ask(line), "got=DATABASE", "{line}");
    }
    drop(off);

    let on = Agent::start(Settings {
        node_wide: NodeWide::On,
        ..settings
    });
    let mut events = on.interceptor.take_events().unwrap();
    for (protocol, to, line) in &ways {
        let answer = pod.ask(line);
        assert!(!answer.contains("DATABASE"), "{line} {answer}");
        let dial = told_of(&mut events, *protocol, to);
        assert_eq!(dial.workload, WorkloadIndex(u32::MAX), "nobody's");
    }
    let free = format!("route connect 192.0.2.3:{}", node.other);
    assert_eq!(pod.ask(&free), "got=DATABASE");

    // A device that comes later is no way out.
    run("ip link add db1 type veth peer name wire1");
    run(&format!("ip link set wire1 netns {}", node.far.pid()));
    run("ip link set db1 up");
    run("ip addr add 198.51.100.1/24 dev db1");
    for line in [
        "run ip link set wire1 up",
        "run ip addr add 198.51.100.2/24 dev wire1",
        "run ip route add 192.0.2.1/32 via 198.51.100.1",
    ] {
        // The way back may be there already.
        node.far.ask(line);
    }
    pod.ask("run ip route add 198.51.100.0/24 dev wire");
    let frame = format!("route frame 198.51.100.2:{}", node.other);
    assert_eq!(pod.ask(&frame), "got=DATABASE");
    on.interceptor
        .set_protected(&["198.51.100.2".parse().unwrap()])
        .unwrap();
    eventually("the new device is attached to", || {
        !pod.ask(&frame).contains("DATABASE")
    });
    let late = format!("route connect 198.51.100.2:{}", node.other);
    assert_eq!(agents.ask(&late), "got=DATABASE");
    on.interceptor.set_protected(&[]).unwrap();
    assert_eq!(pod.ask(&frame), "got=DATABASE");
}

#[test]
fn in_the_node_wide_mode_a_frame_that_could_hold_a_packet_does_not_leave_by_a_bridge() {
    if !able("a_frame_that_could_hold_a_packet_does_not_leave") {
        return;
    }
    let node = Node::new("node-frames");
    let own = node.top.child("agent");
    let mut pod = node.client(&node.outside);
    let on = Agent::start(Settings {
        agent_cgroup: own.id(),
        node_wide: NodeWide::On,
        ..node.settings()
    });
    // Nobody's address any more: the bridge sends it on.
    run("ip link add br0 type bridge");
    for (device, address) in [("pod0", "f1"), ("db0", "f2")] {
        run(&format!(
            "ip link set {device} address 02:00:00:00:00:{address}"
        ));
        run(&format!("ip link set {device} master br0"));
    }
    run("ip link set br0 up");
    let drops = || on.interceptor.counters().unwrap().bypass.node;
    let mut ask = |shape: &str| pod.ask(&format!("route {shape} {}", node.database()));
    eventually("the bridge sends on", || {
        let before = drops();
        ask("frame");
        drops() > before
    });
    for (shape, dropped) in [
        ("frame-snap", true),
        ("frame-mpls", true),
        ("frame-stp", false),
        ("frame-eapol", false),
    ] {
        let before = drops();
        ask(shape);
        assert_eq!(drops() > before, dropped, "{shape}");
    }
}

#[test]
fn who_let_go_puts_nothing_back_in_the_place_of_the_next_one() {
    if !able("who_let_go_puts_nothing_back") {
        return;
    }
    let node = Node::new("let-go");
    let own = node.top.child("agent");
    let pins = Pins::new();
    let pin = pins.path();
    let settings = Settings {
        agent_cgroup: own.id(),
        pin: Some(pin.clone()),
        node_wide: NodeWide::On,
        ..node.settings()
    };
    let first = Agent::start(settings.clone());
    first.label(&node.inside, 7);
    assert_eq!(node.filter(&first), []);
    first.interceptor.let_go();
    let second = Agent::start(settings);
    // It looked at its devices every two seconds, and whenever one came.
    let from = Instant::now();
    run("ip link add poke type veth peer name poked");
    let new = pin.join(format!("link_nodeframe_{}", number_of("poke")));
    while from.elapsed() < Duration::from_secs(3) {
        assert_eq!(faults(&second), Vec::<String>::new());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(
        new.exists()
            || !pin
                .join(format!("link_nodeframe_{}", number_of("db0")))
                .exists()
    );
    assert_eq!(second.interceptor.node_trouble(), None);
    assert_eq!(faults(&first), Vec::<String>::new());

    let netns = node.pod.netns();
    let filtered = first.interceptor.filter(netns.as_fd(), node.owner());
    assert!(
        matches!(filtered, Err(InterceptError::LetGo)),
        "{filtered:?}"
    );
    let taken = first.interceptor.unfilter(node.owner().netns);
    assert!(matches!(taken, Err(InterceptError::LetGo)), "{taken:?}");
    assert!(second.interceptor.filters(node.owner().netns));
    // Its devices are gone, and their numbers are the next one's to forget.
    run("ip link del pod0");
    first.interceptor.forget_gone_wires();
    assert_eq!(first.interceptor.filtered().len(), 1);
    second.interceptor.forget_gone_wires();
    assert_eq!(second.interceptor.filtered(), []);
    first.die();
    assert_eq!(faults(&second), Vec::<String>::new());
}

#[test]
fn the_node_wide_mode_stays_while_the_agent_is_away_until_one_starts_without_it() {
    if !able("the_node_wide_mode_stays") {
        return;
    }
    let node = Node::new("node-kept");
    let own = node.top.child("agent");
    let pins = Pins::new();
    let pin = pins.path();
    let settings = Settings {
        agent_cgroup: own.id(),
        pin: Some(pin.clone()),
        ..node.settings()
    };
    let on = Settings {
        node_wide: NodeWide::On,
        ..settings.clone()
    };
    let mut process = Client::inside(&node.outside);
    let mut pod = node.client(&node.outside);
    let connect = format!("route connect {}", node.database());
    let frame = format!("route frame {}", node.database());
    let mut reaches = || [process.ask(&connect), pod.ask(&frame)].map(|a| a == "got=DATABASE");
    assert_eq!(reaches(), [true; 2]);
    Agent::start(on.clone()).die();
    assert_eq!(reaches(), [false; 2], "without an agent");
    let agent = Agent::start(on.clone());
    assert_eq!(agent.interceptor.node_trouble(), None);
    assert_eq!(reaches(), [false; 2]);
    agent.die();
    let without = Agent::start(settings);
    assert_eq!(reaches(), [true; 2]);
    without.die();
    Agent::start(on).die();
    assert_eq!(reaches(), [false; 2]);
    node_agent::intercept::Interceptor::uninstall_pinned(&pin).unwrap();
    assert_eq!(reaches(), [true; 2]);
}
