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

mod kernel {
    mod closed;
    mod embedded;
    mod enrol;
    mod intact;
    mod leaving;
    mod origins;
}
#[path = "kernel/callers.rs"]
mod callers;
#[path = "kernel/far_routes.rs"]
mod far_routes;
#[path = "kernel/far_scene.rs"]
mod far_scene;
#[path = "kernel/gates.rs"]
mod gates;
#[path = "kernel/matrix.rs"]
mod matrix;
#[path = "kernel/routes.rs"]
mod routes;
#[path = "kernel/translated.rs"]
mod translated;
#[path = "kernel/undoing.rs"]
mod undoing;
#[path = "kernel/wires.rs"]
mod wires;
#[path = "kernel/undeclared.rs"]
mod undeclared;
#[path = "kernel/unix_sockets.rs"]
mod unix_sockets;

use node_agent::enrol::Because;
use node_agent::intercept::{
    Dial, Estate, Event, InterceptError, Interceptor, RefusedBecause, Settings, State,
    WorkloadIndex, cgroup_id, cgroup_root, own_cgroup, probe,
};
use support::{Agent, Cgroup, Client, Database, Governing, able, eventually, port};

pub(crate) fn settings(top: &Cgroup) -> Settings {
    Settings::new(&top.path, port(), own_cgroup().unwrap())
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
    let agent = Agent::start(Settings {
        ports: vec![p],
        ..settings(&top)
    });
    agent.label(&inside, 7);
    agent.listen_here();
    let mut client = Client::inside(&inside);
    for (to, origin, peer) in [
        (
            format!("127.0.0.1:{p}"),
            format!("127.0.0.1:{p}"),
            format!("127.0.0.1:{p}"),
        ),
        (
            format!("[::1]:{p}"),
            format!("[::1]:{p}"),
            format!("[::1]:{p}"),
        ),
        (
            format!("[::ffff:127.0.0.9]:{p}"),
            format!("127.0.0.9:{p}"),
            format!("[::ffff:127.0.0.9]:{p}"),
        ),
        (
            format!("192.0.2.7:{p}"),
            format!("192.0.2.7:{p}"),
            format!("192.0.2.7:{p}"),
        ),
        (
            format!("[2001:db8::7]:{p}"),
            format!("[2001:db8::7]:{p}"),
            format!("[2001:db8::7]:{p}"),
        ),
        (
            format!("0.0.0.0:{p}"),
            format!("127.0.0.1:{p}"),
            format!("127.0.0.1:{p}"),
        ),
        (
            format!("[::]:{p}"),
            format!("[::1]:{p}"),
            format!("[::1]:{p}"),
        ),
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
    assert_eq!(
        (counters.redirected, counters.refused),
        (8, 0),
        "{counters:?}"
    );
}

#[test]
fn what_is_not_labelled_is_never_touched() {
    if !able("what_is_not_labelled") {
        return;
    }
    let top = Cgroup::top("untouched");
    let (inside, outside) = (top.child("inside"), top.child("outside"));
    let (guarded, free) = (Database::start(), Database::start());
    let agent = Agent::start(Settings {
        ports: vec![guarded.port],
        ..settings(&top)
    });
    agent.label(&inside, 0);
    agent.listen_here();
    // An unlabelled task to a guarded port; a labelled one to a port that is not guarded.
    let mut stranger = Client::inside(&outside);
    for at in ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        assert_eq!(
            stranger.greeting(format!("{at}:{}", guarded.port)),
            "DATABASE",
            "{at}"
        );
    }
    assert_eq!(stranger.ask("raw"), "made");
    assert!(
        stranger
            .ask(&format!("udp-send 127.0.0.1:{}", guarded.port))
            .starts_with("sent=")
    );
    // In a namespace where the agent does not listen, its port is anybody's.
    assert_eq!(
        Client::alone(&outside).ask(&format!("bind 127.0.0.2:{}", agent.port)),
        "bound"
    );
    assert_eq!(
        Client::inside(&inside).greeting(format!("127.0.0.1:{}", free.port)),
        "DATABASE"
    );
    let counters = agent.interceptor.counters().unwrap();
    assert_eq!(
        (counters.redirected, counters.refused),
        (0, 0),
        "{counters:?}"
    );
    // A label taken away is gone at once, one given counts at once.
    let mut client = Client::inside(&inside);
    let to = format!("127.0.0.1:{}", guarded.port);
    assert!(client.greeting(&to).starts_with("AGENT "));
    agent.interceptor.unlabel(inside.id()).unwrap();
    let mut fresh = Client::inside(&inside);
    assert_eq!(fresh.greeting(&to), "DATABASE");
    agent.label(&outside, 3);
    assert!(stranger.greeting(&to).contains(" workload=3 "));
}

#[test]
fn a_protected_address_is_protected_at_any_port_and_for_any_protocol() {
    if !able("a_protected_address") {
        return;
    }
    let top = Cgroup::top("address");
    let inside = top.child("inside");
    let agent = Agent::start(Settings {
        protected: vec![
            "192.0.2.0/25".parse().unwrap(),
            "2001:db8:1::/48".parse().unwrap(),
        ],
        ..settings(&top)
    });
    agent.label(&inside, 0);
    agent.listen_here();
    let mut client = Client::inside(&inside);
    for to in [
        "192.0.2.7:22",
        "[::ffff:192.0.2.127]:6432",
        "[2001:db8:1:2::3]:1",
    ] {
        let origin = to.replace("[::ffff:192.0.2.127]", "192.0.2.127");
        assert!(
            client.greeting(to).starts_with(&format!("AGENT {origin} ")),
            "{to}"
        );
    }
    for command in [
        "udp-connect 192.0.2.7:53",
        "udp-send 192.0.2.7:53",
        "udp-send [2001:db8:1::9]:53",
        "raw",
    ] {
        assert_eq!(
            client.ask(command),
            "error=Operation-not-permitted-(os-error-1)",
            "{command}"
        );
    }
    // Just outside the prefixes, and another after a change.
    let counters = agent.interceptor.counters().unwrap();
    client.ask("udp-connect 127.0.0.1:53");
    assert_eq!(agent.interceptor.counters().unwrap(), counters);
    agent
        .interceptor
        .set_protected(&["127.0.0.0/8".parse().unwrap()])
        .unwrap();
    assert_eq!(agent.interceptor.entries().unwrap().prefixes, 1);
    assert_eq!(
        client.ask("udp-connect 127.0.0.1:53"),
        "error=Operation-not-permitted-(os-error-1)"
    );
}

#[test]
fn a_socket_keeps_its_label_and_a_task_lends_its_own() {
    if !able("a_socket_keeps_its_label") {
        return;
    }
    let top = Cgroup::top("handed");
    let (inside, outside) = (top.child("inside"), top.child("outside"));
    let database = Database::start();
    let to = format!("127.0.0.1:{}", database.port);
    let agent = Agent::start(Settings {
        ports: vec![database.port],
        ..settings(&top)
    });
    agent.label(&inside, 4);
    agent.listen_here();
    // Made inside, used outside.
    let mut client = Client::inside(&inside);
    assert_eq!(client.ask(&format!("socket {to}")), "made");
    outside.adopt(client.pid());
    let answer = client.ask(&format!("dial {to}"));
    assert!(answer.contains(" workload=4 "), "{answer}");
    // The same process with a socket of its own is free.
    assert_eq!(client.greeting(&to), "DATABASE");
    // Made outside, used inside.
    assert_eq!(client.ask(&format!("socket {to}")), "made");
    inside.adopt(client.pid());
    let answer = client.ask(&format!("dial {to}"));
    assert!(answer.contains(" workload=4 "), "{answer}");
    // A cgroup below a labelled one is labelled with it.
    let below = inside.child("below");
    let mut client = Client::inside(&below);
    assert!(client.greeting(&to).contains(" workload=4 "));
}

#[test]
fn the_agent_itself_is_exempt_and_nobody_else() {
    if !able("the_agent_itself") {
        return;
    }
    let top = Cgroup::top("exempt");
    let inside = top.child("inside");
    let agent_cgroup = inside.child("agent");
    let database = Database::start();
    let to = format!("127.0.0.1:{}", database.port);
    let agent = Agent::start(Settings {
        ports: vec![database.port],
        agent_cgroup: agent_cgroup.id(),
        ..settings(&top)
    });
    agent.label(&inside, 0);
    agent.listen_here();
    assert_eq!(Client::inside(&agent_cgroup).greeting(&to), "DATABASE");
    let below = agent_cgroup.child("below");
    assert!(Client::inside(&below).greeting(&to).starts_with("AGENT "));
}

#[test]
fn an_agent_that_was_succeeded_is_exempt_as_long_as_it_serves() {
    if !able("an_agent_that_was_succeeded") {
        return;
    }
    let top = Cgroup::top("succeeded");
    let inside = top.child("inside");
    let (agent_cgroup, before) = (inside.child("agent"), inside.child("before"));
    let database = Database::start();
    let to = format!("127.0.0.1:{}", database.port);
    let settings = Settings {
        ports: vec![database.port],
        agent_cgroup: agent_cgroup.id(),
        ..settings(&top)
    };
    let estate = Estate {
        before: vec![before.id()],
        ..Estate::default()
    };
    let agent = Agent::after(settings, estate);
    agent.label(&inside, 0);
    agent.listen_here();
    for exempt in [&agent_cgroup, &before] {
        assert_eq!(Client::inside(exempt).greeting(&to), "DATABASE");
        let refused = agent.interceptor.label(exempt.id(), WorkloadIndex(0));
        assert!(
            matches!(refused, Err(InterceptError::AgentsOwn(_))),
            "{refused:?}"
        );
    }
    let below = before.child("below");
    assert!(Client::inside(&below).greeting(&to).starts_with("AGENT "));
    // Nor is it looked at whether what they dial was declared.
    let (outside, at) = (top.child("outside"), port());
    let mut server = Client::inside(&outside);
    let serve = format!("answer-after tcp 127.0.0.1:{at} 8");
    assert_eq!(server.ask(&serve), "open");
    let ask = |cgroup: &Cgroup| {
        let ask_for_tls = format!("say tcp 127.0.0.1:{at} 1000 0000000804d2162f");
        Client::inside(cgroup).ask(&ask_for_tls)
    };
    for (cgroup, want) in [
        (&agent_cgroup, "got=DATABASE"),
        (&before, "got=DATABASE"),
        (&below, "error="),
    ] {
        assert!(ask(cgroup).starts_with(want), "{:?}: {want}", cgroup.path);
    }

    agent.interceptor.ended_before(before.id());
    assert!(Client::inside(&before).greeting(&to).starts_with("AGENT "));
    assert!(ask(&before).starts_with("error="));
    assert_eq!(Client::inside(&agent_cgroup).greeting(&to), "DATABASE");
}

#[test]
fn two_clients_on_one_source_port_never_get_each_other_s_destination() {
    if !able("two_clients_on_one_source_port") {
        return;
    }
    let top = Cgroup::top("namespaces");
    let (one, two) = (top.child("one"), top.child("two"));
    let agent = Agent::start(Settings {
        ports: vec![5432],
        ..settings(&top)
    });
    agent.label(&one, 1);
    agent.label(&two, 2);
    let (mut first, mut second) = (Client::alone(&one), Client::alone(&two));
    let mut cookies = Vec::new();
    for client in [&first, &second] {
        cookies.push(agent.interceptor.listen(client.netns()).unwrap());
    }
    assert_ne!(cookies[0], cookies[1]);
    for round in 0..200u16 {
        let from = format!("127.0.0.1:{}", 40_000 + round);
        for (client, workload) in [(&mut first, 1), (&mut second, 2)] {
            let to = format!("192.0.2.{workload}:5432");
            let answer = client.ask(&format!("connect-from {from} {to}"));
            let want = format!("greeting=AGENT {to} workload={workload} ");
            assert!(answer.starts_with(&want), "{from}: {answer}");
            assert!(answer.ends_with(&format!("local={from}")), "{answer}");
        }
    }
    assert_eq!(agent.interceptor.entries().unwrap().flows, 0);
}

#[test]
fn a_dial_to_the_agent_itself_has_no_origin() {
    if !able("a_dial_to_the_agent_itself") {
        return;
    }
    let top = Cgroup::top("dial");
    let (inside, outside) = (top.child("inside"), top.child("outside"));
    let agent = Agent::start(Settings {
        ports: vec![5432],
        ..settings(&top)
    });
    agent.label(&inside, 0);
    agent.listen_here();
    let own = agent.port;
    // Unlabelled: accepted, and closed without a word.
    let mut stranger = Client::inside(&outside);
    for at in ["127.0.0.1", "[::1]"] {
        assert_eq!(stranger.greeting(format!("{at}:{own}")), "", "{at}");
    }
    // From the very port a redirected connection had just before.
    let mut client = Client::inside(&inside);
    let local = format!("127.0.0.1:{}", port());
    let answer = client.ask(&format!("connect-from {local} 192.0.2.7:5432"));
    assert!(
        answer.starts_with("greeting=AGENT 192.0.2.7:5432 "),
        "{answer}"
    );
    drop(client);
    // The tuple may rest in TIME_WAIT for a second.
    eventually("the same tuple once more", || {
        let answer = stranger.ask(&format!("connect-from {local} 127.0.0.1:{own}"));
        assert!(!answer.contains("AGENT"), "{answer}");
        answer.starts_with("greeting= ")
    });
    // Taking the port is refused to everybody where the agent listens, by whatever protocol is
    // accepted there.
    let refused = "error=Operation-not-permitted-(os-error-1)";
    for at in ["127.0.0.5", "0.0.0.0", "[::]", "[::1]"] {
        assert_eq!(stranger.ask(&format!("bind {at}:{own}")), refused, "{at}");
    }
    // Labelled: refused, and so is taking the port.
    let mut client = Client::inside(&inside);
    let refused = "error=Operation-not-permitted-(os-error-1)";
    for at in [
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "127.7.7.7",
    ] {
        assert_eq!(client.greeting(format!("{at}:{own}")), refused, "{at}");
    }
    for at in ["127.0.0.5", "0.0.0.0", "[::]", "[::1]"] {
        assert_eq!(client.ask(&format!("bind {at}:{own}")), refused, "{at}");
    }
}

#[test]
fn a_full_table_refuses() {
    if !able("a_full_table") {
        return;
    }
    let top = Cgroup::top("full");
    let inside = top.child("inside");
    let database = Database::start();
    let to = format!("127.0.0.1:{}", database.port);
    let settings = Settings {
        ports: vec![database.port],
        flows: 4,
        ..settings(&top)
    };
    let interceptor = Interceptor::start(settings).unwrap();
    interceptor.label(inside.id(), WorkloadIndex(0)).unwrap();
    // A listener that accepts nobody: origins stay in the table.
    let mut listeners = interceptor.take_listeners().unwrap();
    interceptor
        .listen(std::fs::File::open("/proc/self/ns/net").unwrap().into())
        .unwrap();
    let listener = listeners.try_recv().unwrap();
    let mut client = Client::inside(&inside);
    for n in 1..=4 {
        assert_eq!(client.ask(&format!("open {to}")), "open");
        assert_eq!(interceptor.entries().unwrap().flows, n);
    }
    let refused = "error=Operation-not-permitted-(os-error-1)";
    assert_eq!(client.ask(&format!("open {to}")), refused);
    let counters = interceptor.counters().unwrap();
    assert_eq!(
        (counters.redirected, counters.refused, counters.map_full),
        (4, 1, 1)
    );
    // Room again once they are gone.
    assert_eq!(client.ask("drop"), "dropped");
    eventually("closed connections leave the table", || {
        interceptor.entries().unwrap().flows == 0
    });
    assert_eq!(client.ask(&format!("open {to}")), "open");
    assert_eq!(database.visits(), 0);
    drop(listener);
}

#[test]
fn a_socket_that_dials_again_leaves_its_first_origin_behind() {
    if !able("a_socket_that_dials_again") {
        return;
    }
    let top = Cgroup::top("again");
    let (inside, outside) = (top.child("inside"), top.child("outside"));
    let settings = Settings {
        ports: vec![5432],
        ..settings(&top)
    };
    let own = settings.listen_port;
    let interceptor = Interceptor::start(settings).unwrap();
    interceptor.label(inside.id(), WorkloadIndex(0)).unwrap();
    let mut listeners = interceptor.take_listeners().unwrap();
    let netns = interceptor
        .listen(std::fs::File::open("/proc/self/ns/net").unwrap().into())
        .unwrap();
    let listener = listeners.try_recv().unwrap();
    let mut stranger = Client::inside(&outside);
    let mut client = Client::inside(&inside);
    let flows = || interceptor.entries().unwrap().flows;

    // Ended by AF_UNSPEC: gone from the table, and the next dial has an origin of its own.
    assert_eq!(client.ask("open 192.0.2.7:5432"), "open");
    assert_eq!(flows(), 1);
    assert_eq!(client.ask("disconnect"), "disconnected");
    assert_eq!(flows(), 0);
    // Dialled to the agent with that socket: refused, and no origin.
    let answer = client.ask(&format!("dial 127.0.0.1:{own}"));
    assert_eq!(answer, "error=Operation-not-permitted-(os-error-1)");
    assert_eq!(flows(), 0);

    // Had once.
    assert_eq!(client.ask("open 192.0.2.9:5432"), "open");
    let peers: Vec<_> = std::iter::from_fn(|| listener.v4.accept().ok())
        .map(|(_, p)| p)
        .collect();
    let taken: Vec<_> = peers
        .iter()
        .filter_map(|peer| interceptor.take(netns, *peer))
        .collect();
    assert_eq!(taken.len(), 1, "{peers:?}");
    assert_eq!(taken[0].destination.to_string(), "192.0.2.9:5432");
    assert!(
        peers
            .iter()
            .all(|peer| interceptor.take(netns, *peer).is_none())
    );
    assert_eq!(stranger.ask(&format!("open 127.0.0.1:{own}")), "open");
    assert_eq!(flows(), 0);
}

#[test]
fn multipath_tcp_is_redirected_too() {
    if !able("multipath_tcp") {
        return;
    }
    let top = Cgroup::top("mptcp");
    let inside = top.child("inside");
    let agent = Agent::start(Settings {
        ports: vec![5432],
        ..settings(&top)
    });
    agent.label(&inside, 0);
    agent.listen_here();
    let mut client = Client::inside(&inside);
    for to in [
        "192.0.2.7:5432",
        "[2001:db8::7]:5432",
        "[::ffff:192.0.2.9]:5432",
    ] {
        let answer = client.ask(&format!("mptcp {to}"));
        if answer == "error=Protocol-not-supported-(os-error-93)" {
            println!("SKIPPED: multipath_tcp: this kernel has none");
            return;
        }
        let origin = to.replace("[::ffff:192.0.2.9]", "192.0.2.9");
        assert!(
            answer.starts_with(&format!("greeting=AGENT {origin} ")),
            "{answer}"
        );
    }
}

#[test]
fn the_agent_s_own_cgroup_and_the_root_are_never_labelled() {
    if !able("the_agent_s_own_cgroup") {
        return;
    }
    let top = Cgroup::top("never");
    let own = top.child("agent");
    let agent = Agent::start(Settings {
        agent_cgroup: own.id(),
        ..settings(&top)
    });
    let root = cgroup_id(&cgroup_root().unwrap()).unwrap();
    for id in [own.id(), root] {
        let error = agent
            .interceptor
            .label(id, WorkloadIndex(0))
            .unwrap_err()
            .to_string();
        assert!(error.contains("cannot be labelled"), "{error}");
    }
    assert_eq!(agent.interceptor.entries().unwrap().labels, 0);
}

#[test]
fn ten_thousand_connections_leave_no_entry_behind() {
    if !able("ten_thousand_connections") {
        return;
    }
    let top = Cgroup::top("churn");
    let inside = top.child("inside");
    let agent = Agent::start(Settings {
        ports: vec![5432],
        ..settings(&top)
    });
    agent.label(&inside, 0);
    agent.listen_here();
    let mut clients: Vec<Client> = (0..4).map(|_| Client::inside(&inside)).collect();
    let before = agent.interceptor.entries().unwrap();
    std::thread::scope(|scope| {
        for (seed, client) in clients.iter_mut().enumerate() {
            scope.spawn(move || {
                let to = "127.0.0.1:5432 192.0.2.7:5432 [::1]:5432 [::ffff:192.0.2.9]:5432";
                let answer = client.ask(&format!("churn 2500 {} {to}", seed * 7_919 + 1));
                assert!(answer.starts_with("connected="), "{answer}");
            });
        }
    });
    drop(clients);
    eventually("the table of origins is empty", || {
        agent.interceptor.entries().unwrap() == before
    });
    let counters = agent.interceptor.counters().unwrap();
    assert_eq!(
        (counters.refused, counters.unpublished, counters.map_full),
        (0, 0, 0)
    );
    assert!(counters.redirected >= 10_000, "{counters:?}");
}

#[test]
fn a_dead_agent_refuses_and_a_new_one_goes_on() {
    if !able("a_dead_agent") {
        return;
    }
    let top = Cgroup::top("pinned");
    let (inside, outside) = (top.child("inside"), top.child("outside"));
    let database = Database::start();
    let to = format!("127.0.0.1:{}", database.port);
    let pins = Pins::new();
    let pin = pins.path();
    let settings = Settings {
        ports: vec![database.port],
        protected: vec!["192.0.2.0/24".parse().unwrap()],
        pin: Some(pin.clone()),
        ..settings(&top)
    };
    let refused = "error=Connection-refused-(os-error-111)";

    let agent = Agent::start(settings.clone());
    agent.label(&inside, 0);
    agent.listen_here();
    let mut client = Client::inside(&inside);
    assert!(client.greeting(&to).starts_with("AGENT "));
    let mode = std::os::unix::fs::PermissionsExt::mode(&pin.metadata().unwrap().permissions());
    assert_eq!(mode & 0o7777, 0o700);

    // Killed: refused, for old processes and new ones, and for others nothing changes.
    agent.die();
    for _ in 0..20 {
        assert_eq!(client.greeting(&to), refused);
        assert_eq!(client.greeting("192.0.2.7:22"), refused);
    }
    assert_eq!(Client::inside(&inside).greeting(&to), refused);
    assert_eq!(Client::inside(&outside).greeting(&to), "DATABASE");
    assert_eq!(database.visits(), 1);

    // Started again while the workload keeps dialling: refused or redirected, never let through.
    for _ in 0..5 {
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let dialling = scope.spawn(|| {
                let mut answers = std::collections::BTreeSet::new();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let answer = client.greeting(&to);
                    answers.insert(answer.split(' ').next().unwrap().to_owned());
                }
                answers
            });
            let agent = Agent::start(settings.clone());
            assert_eq!(
                agent.interceptor.labelled().unwrap().len(),
                1,
                "labels outlive the agent"
            );
            agent.listen_here();
            let mut other = Client::inside(&inside);
            assert!(other.greeting(&to).starts_with("AGENT "));
            assert!(
                other.greeting("192.0.2.7:22").starts_with("AGENT "),
                "so do prefixes"
            );
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            let answers = dialling.join().unwrap();
            let known =
                |a: &String| a.starts_with("AGENT") || a.starts_with("error=") || a.is_empty();
            assert!(answers.iter().all(known), "{answers:?}");
            agent.die();
        });
        assert_eq!(database.visits(), 1);
    }

    // Uninstalled: free, and nothing is left.
    Interceptor::uninstall_pinned(&pin).unwrap();
    assert!(!pin.exists());
    assert_eq!(Client::inside(&inside).greeting(&to), "DATABASE");
}

#[test]
fn an_unpinned_redirect_ends_with_its_agent() {
    if !able("an_unpinned_redirect") {
        return;
    }
    let top = Cgroup::top("unpinned");
    let inside = top.child("inside");
    let database = Database::start();
    let to = format!("127.0.0.1:{}", database.port);
    let agent = Agent::start(Settings {
        ports: vec![database.port],
        ..settings(&top)
    });
    agent.label(&inside, 0);
    agent.listen_here();
    let mut client = Client::inside(&inside);
    assert!(client.greeting(&to).starts_with("AGENT "));
    agent.die();
    assert_eq!(Client::inside(&inside).greeting(&to), "DATABASE");
}

#[test]
fn a_redirect_for_another_subtree_takes_the_pins_over_without_a_gap() {
    if !able("a_redirect_for_another_subtree") {
        return;
    }
    let top = Cgroup::top("moved");
    let narrow = top.child("narrow");
    let inside = narrow.child("inside");
    let database = Database::start();
    let to = format!("127.0.0.1:{}", database.port);
    let pins = Pins::new();
    let pin = pins.path();
    let wide = Settings {
        ports: vec![database.port],
        pin: Some(pin.clone()),
        ..settings(&top)
    };
    let agent = Agent::start(Settings {
        attach: narrow.path.clone(),
        ..wide.clone()
    });
    agent.label(&inside, 0);
    agent.die();
    let agent = Agent::start(wide);
    agent.listen_here();
    let mut client = Client::inside(&inside);
    assert!(client.greeting(&to).starts_with("AGENT "));
    // Redirected once, not twice: one set of links is left.
    assert_eq!(agent.interceptor.counters().unwrap().redirected, 1);
    assert_eq!(database.visits(), 0);
}

#[test]
fn pins_can_lie_in_a_bpffs_that_is_there_already() {
    if !able("pins_can_lie_in_a_bpffs") {
        return;
    }
    let top = Cgroup::top("shared");
    let inside = top.child("inside");
    let database = Database::start();
    let to = format!("127.0.0.1:{}", database.port);
    let pins = tempfile::tempdir().unwrap();
    let mount = pins.path().join("pins");
    let _clean = Uninstall(mount.clone());
    // The first agent's directory is the mount; the second's is a directory of it.
    Agent::start(Settings {
        pin: Some(mount.clone()),
        ..settings(&top)
    })
    .die();
    let pin = mount.join("second");
    let settings = Settings {
        ports: vec![database.port],
        pin: Some(pin.clone()),
        ..settings(&top)
    };
    let agent = Agent::start(settings);
    agent.label(&inside, 0);
    agent.die();
    let mut client = Client::inside(&inside);
    assert_eq!(
        client.greeting(&to),
        "error=Connection-refused-(os-error-111)"
    );
    Interceptor::uninstall_pinned(&pin).unwrap();
    assert!(!pin.exists() && mount.join("map_LABELS_v3").exists());
    assert_eq!(Client::inside(&inside).greeting(&to), "DATABASE");
}

#[test]
fn pins_of_another_version_are_not_touched() {
    if !able("pins_of_another_version") {
        return;
    }
    let top = Cgroup::top("other");
    let pins = Pins::new();
    let pin = pins.path();
    let settings = Settings {
        pin: Some(pin.clone()),
        ..settings(&top)
    };
    Agent::start(settings.clone()).die();
    std::fs::rename(pin.join("map_FLOWS_v3"), pin.join("map_FLOWS_v0")).unwrap();
    let error = Interceptor::start(settings).unwrap_err().to_string();
    assert!(
        error.contains("map_FLOWS_v0") && error.contains("uninstall"),
        "{error}"
    );
}

#[test]
fn events_tell_who_dialled_whereto() {
    if !able("events_tell") {
        return;
    }
    let top = Cgroup::top("events");
    let inside = top.child("inside");
    let agent = Agent::start(Settings {
        ports: vec![5432],
        ..settings(&top)
    });
    agent.label(&inside, 9);
    let netns = agent.listen_here();
    let mut events = agent.interceptor.take_events().unwrap();
    assert!(agent.interceptor.take_events().is_none());
    let mut client = Client::inside(&inside);
    client.greeting("[::ffff:192.0.2.7]:5432");
    client.ask("udp-connect 192.0.2.8:5432");
    let mut seen = Vec::new();
    eventually("two events", || {
        seen.extend(events.try_recv().ok());
        seen.len() == 2
    });
    let dial = |destination: &str| Dial {
        destination: destination.parse().unwrap(),
        workload: WorkloadIndex(9),
        pid: client.pid(),
        uid: 0,
        comm: "kernel-client".into(),
        cgroup: inside.id(),
        netns,
    };
    assert_eq!(
        seen,
        [
            Event::Redirected(dial("192.0.2.7:5432")),
            Event::Refused(RefusedBecause::Protocol(17), dial("192.0.2.8:5432")),
        ]
    );
}

/// Removes pins also when a test panics.
/// A place for pins, which nothing is left in.
pub(crate) struct Pins {
    // Before the directory that it is in.
    pin: Uninstall,
    _directory: tempfile::TempDir,
}

impl Pins {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Pins {
            pin: Uninstall(directory.path().join("pins")),
            _directory: directory,
        }
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.pin.0.clone()
    }
}

pub(crate) struct Uninstall(pub(crate) std::path::PathBuf);

impl Drop for Uninstall {
    fn drop(&mut self) {
        let done = Interceptor::uninstall_pinned(&self.0);
        assert!(std::thread::panicking() || done.is_ok(), "{done:?}");
    }
}

#[test]
fn a_cgroup_is_labelled_by_glob_the_moment_it_is_made() {
    if !able("a_cgroup_is_labelled_by_glob") {
        return;
    }
    let top = Cgroup::top("glob");
    let before = top.child("claude-0");
    let globs = [
        format!("{}/claude*", top.name()),
        format!("{}/deep/**/x", top.name()),
    ];
    let governing = Governing::start(
        Settings {
            ports: vec![5432],
            ..settings(&top)
        },
        &[("claude", &globs), ("other", &[])],
    );
    assert_eq!(
        governing.label_of(&before),
        Some(0),
        "there before the agent"
    );
    let other = top.child("other");
    let after = top.child("claude-1");
    eventually("a new cgroup is labelled", || {
        governing.label_of(&after) == Some(0)
    });
    let deep = {
        // Not guards of their own: the whole tree goes with `top`.
        let path = top.path.join("deep/a/b/x");
        std::fs::create_dir_all(&path).unwrap();
        Cgroup { path }
    };
    eventually("made at once with its parents", || {
        governing.label_of(&deep) == Some(0)
    });
    assert_eq!(governing.label_of(&other), None);
    assert!(
        Client::inside(&after)
            .greeting("192.0.2.7:5432")
            .starts_with("AGENT ")
    );

    // Removed and made again under the same name: another cgroup, labelled again.
    let (old, path) = (after.id(), after.path.clone());
    drop(after);
    eventually("the label of a gone cgroup is gone", || {
        !governing
            .agent
            .interceptor
            .labelled()
            .unwrap()
            .iter()
            .any(|(id, _)| *id == old)
    });
    std::fs::create_dir(&path).unwrap();
    let again = Cgroup { path };
    assert_ne!(again.id(), old);
    eventually("labelled again", || governing.label_of(&again) == Some(0));
}

#[test]
fn a_cgroup_is_labelled_by_its_attribute_and_unlabelled_with_it() {
    if !able("a_cgroup_is_labelled_by_its_attribute") {
        return;
    }
    let top = Cgroup::top("attribute");
    let (one, two) = (top.child("one"), top.child("two"));
    one.attribute(Some("other"));
    let governing = Governing::start(
        Settings {
            ports: vec![5432],
            ..settings(&top)
        },
        &[("claude", &[]), ("other", &[])],
    );
    assert_eq!(governing.label_of(&one), Some(1), "there before the agent");
    two.attribute(Some("claude"));
    eventually("labelled by attribute", || {
        governing.label_of(&two) == Some(0)
    });
    two.attribute(Some("other"));
    eventually("labelled otherwise", || governing.label_of(&two) == Some(1));
    two.attribute(Some("nobody"));
    eventually("no such workload", || governing.label_of(&two).is_none());
    two.attribute(Some("claude"));
    eventually("labelled again", || governing.label_of(&two) == Some(0));

    // From the inside nobody changes a label.
    let below = two.child("below");
    below.attribute(Some("other"));
    let greeting = Client::inside(&below).greeting("192.0.2.7:5432");
    assert!(greeting.contains(" workload=0 "), "{greeting}");
    // It counts once the label above is gone.
    two.attribute(None);
    eventually("unlabelled", || governing.label_of(&two).is_none());
    eventually("its own counts now", || {
        governing.label_of(&below) == Some(1)
    });
    two.attribute(Some("claude"));
    eventually("the outer one again", || {
        governing.label_of(&two) == Some(0) && governing.label_of(&below).is_none()
    });

    // Whose directory it is matters: anybody could name himself otherwise.
    let foreign = top.child("foreign");
    std::os::unix::fs::chown(&foreign.path, Some(65_534), None).unwrap();
    foreign.attribute(Some("claude"));
    let last = top.child("last");
    last.attribute(Some("claude"));
    eventually("changes are followed in order", || {
        governing.label_of(&last) == Some(0)
    });
    assert_eq!(governing.label_of(&foreign), None);
}

#[test]
fn a_container_s_own_network_namespace_needs_no_setup() {
    if !able("a_container_s_own_network_namespace") {
        return;
    }
    let top = Cgroup::top("container");
    let globs = [format!("{}/pod*", top.name())];
    let governing = Governing::start(
        Settings {
            ports: vec![5432],
            ..settings(&top)
        },
        &[("pod", &globs)],
    );
    for n in 0..10 {
        let pod = top.child(&format!("pod-{n}"));
        eventually("labelled", || governing.label_of(&pod) == Some(0));
        // Into the cgroup, a namespace of its own, loopback up, and the first connect arrives.
        let mut client = Client::alone(&pod);
        let greeting = client.greeting("192.0.2.7:5432");
        assert!(
            greeting.starts_with("AGENT 192.0.2.7:5432 "),
            "{n}: {greeting}"
        );
        let greeting = client.greeting("[2001:db8::7]:5432");
        assert!(
            greeting.starts_with("AGENT [2001:db8::7]:5432 "),
            "{n}: {greeting}"
        );
    }
    // A process with its namespace already made that is moved in: found by the move.
    let outside = top.child("outside");
    let mut client = Client::alone(&outside);
    let moved = top.child("pod-moved");
    eventually("labelled", || governing.label_of(&moved) == Some(0));
    moved.adopt(client.pid());
    eventually("reachable", || {
        client.greeting("192.0.2.7:5432").starts_with("AGENT ")
    });
    // One that dials without ever starting a program there: its SYN waits for the agent.
    let pod = top.child("pod-quiet");
    eventually("labelled", || governing.label_of(&pod) == Some(0));
    let mut quiet = Client::inside(&pod);
    assert_eq!(quiet.ask("unshare"), "alone");
    let lo = std::process::Command::new("nsenter")
        .args([
            "-t",
            &quiet.pid().to_string(),
            "-n",
            "ip",
            "link",
            "set",
            "lo",
            "up",
        ])
        .status();
    assert!(lo.unwrap().success());
    eventually("reachable", || {
        quiet.greeting("192.0.2.7:5432").starts_with("AGENT ")
    });
}

#[test]
fn a_label_counts_however_deep_the_task_and_is_refused_where_it_would_not() {
    if !able("a_label_counts_however_deep") {
        return;
    }
    let top = Cgroup::top("deep");
    let path = (0..40).fold(top.path.join("inside"), |path, _| path.join("d"));
    std::fs::create_dir_all(&path).unwrap();
    let bottom = Cgroup { path };
    let outside = (0..40)
        .fold(top.path.join("outside"), |path, _| path.join("d"))
        .join("too");
    std::fs::create_dir_all(&outside).unwrap();
    let globs = [
        format!("{}/inside", top.name()),
        format!("{}/**/too", top.name()),
    ];
    let governing = Governing::start(
        Settings {
            ports: vec![5432],
            ..settings(&top)
        },
        &[("w", &globs)],
    );
    assert!(
        Client::inside(&bottom)
            .greeting("192.0.2.7:5432")
            .starts_with("AGENT ")
    );
    let snapshot = governing.enrolment.snapshot();
    assert_eq!(snapshot.len(), 2);
    assert_eq!(snapshot[0].problem, None);
    let problem = snapshot[1].problem.as_deref().unwrap();
    assert!(
        problem.ends_with("lies deeper than 32 levels: labels are not seen there"),
        "{problem}"
    );
}

#[test]
fn a_namespace_without_labelled_tasks_is_left() {
    if !able("a_namespace_without_labelled_tasks") {
        return;
    }
    let top = Cgroup::top("left");
    let inside = top.child("inside");
    let governing = Governing::looking_every(
        std::time::Duration::from_millis(50),
        Settings {
            ports: vec![5432],
            ..settings(&top)
        },
        &[("w", &[format!("{}/inside", top.name())])],
    );
    let listening = || governing.agent.interceptor.entries().unwrap().listening;
    assert_eq!(listening(), 1, "the agent's own");
    let mut stays = Client::alone(&inside);
    let mut goes = Client::alone(&inside);
    assert!(goes.greeting("192.0.2.7:5432").starts_with("AGENT "));
    assert!(stays.greeting("192.0.2.7:5432").starts_with("AGENT "));
    eventually("two more", || listening() == 3);
    drop(goes);
    eventually("one less", || listening() == 2);
    assert!(stays.greeting("192.0.2.7:5432").starts_with("AGENT "));
    let snapshot = governing.enrolment.snapshot();
    assert_eq!(snapshot.len(), 1);
    assert_eq!(
        (snapshot[0].processes, snapshot[0].namespaces.len()),
        (1, 1)
    );
    assert!(snapshot[0].namespaces[0].cookie.is_some(), "{snapshot:?}");
    drop(stays);
    eventually("only the agent's own", || listening() == 1);
}

#[test]
fn exec_has_a_cgroup_of_its_own_for_as_long_as_the_command_runs() {
    if !able("exec_has_a_cgroup_of_its_own") {
        return;
    }
    let top = Cgroup::top("exec");
    let other = top.child("other");
    let governing = Governing::looking_every(
        std::time::Duration::from_millis(50),
        Settings {
            ports: vec![5432],
            ..settings(&top)
        },
        &[
            ("claude", &[]),
            ("other", &[format!("{}/other", top.name())]),
        ],
    );
    let enrolment = &governing.enrolment;
    let made = enrolment.create_for_exec("claude").unwrap();
    let mut client = Client::start();
    enrolment.move_pid(&made, client.pid()).unwrap();
    let greeting = client.greeting("192.0.2.7:5432");
    assert!(greeting.contains(" workload=0 "), "{greeting}");
    let seen = enrolment.snapshot();
    let because: Vec<_> = seen.iter().map(|l| (l.because, l.processes)).collect();
    assert_eq!(because, [(Because::Exec, 1), (Because::Glob, 0)]);

    // Again into the same workload is fine, into another is not.
    let second = enrolment.create_for_exec("claude").unwrap();
    enrolment.move_pid(&second, client.pid()).unwrap();
    let stranger = Client::inside(&other);
    let error = enrolment
        .move_pid(&second, stranger.pid())
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        format!(
            "process {} already belongs to workload other: it cannot become claude",
            stranger.pid()
        )
    );
    eventually("the first one is empty and gone", || !made.path.exists());
    assert!(enrolment.move_pid(&made, client.pid()).is_err());
    let error = enrolment.create_for_exec("nobody").unwrap_err().to_string();
    assert!(error.contains("no workload named \"nobody\""), "{error}");
    drop(client);
    eventually("the second one is gone with its command", || {
        !second.path.exists()
    });
    eventually("and so are their labels", || {
        governing.agent.interceptor.labelled().unwrap().len() == 1
    });
}

#[test]
fn labels_of_an_earlier_agent_are_brought_up_to_date() {
    if !able("labels_of_an_earlier_agent") {
        return;
    }
    let top = Cgroup::top("earlier");
    let (kept, changed) = (top.child("kept"), top.child("changed"));
    let pins = Pins::new();
    let pin = pins.path();
    let settings = Settings {
        ports: vec![5432],
        pin: Some(pin.clone()),
        ..settings(&top)
    };
    let agent = Agent::start(settings.clone());
    agent.label(&kept, 0);
    agent.label(&changed, 0);
    {
        let gone = top.child("gone");
        agent.label(&gone, 0);
    }
    agent.die();
    // One that runs in the agent's own namespace all along.
    let mut client = Client::inside(&kept);
    let globs = [format!("{}/kept", top.name())];
    let governing = Governing::start(settings, &[("first", &[]), ("second", &globs)]);
    assert_eq!(
        governing.label_of(&kept),
        Some(1),
        "by this agent's numbers"
    );
    assert!(client.greeting("192.0.2.7:5432").contains(" workload=1 "));
    assert_eq!(governing.label_of(&changed), None);
    assert_eq!(governing.agent.interceptor.labelled().unwrap().len(), 1);
}

#[test]
fn doctor_finds_nothing_missing_where_these_tests_run() {
    if !able("doctor_finds_nothing_missing") {
        return;
    }
    let findings = probe();
    assert!(findings.len() >= 8, "{findings:#?}");
    for finding in findings {
        assert_eq!(
            finding.mend.is_none(),
            finding.state == State::Good,
            "{finding:?}"
        );
    }
}
