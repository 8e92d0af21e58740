//! The second gate, which stops what the connect hooks did not see, and what keeps one workload's
//! flood from another.

use std::time::{Duration, Instant};

use node_agent::intercept::{
    Allowed, Bypass, Event, Interceptor, RefusedBecause, Settings, WorkloadIndex,
};

use crate::routes::Scene;
use crate::support::{Agent, Cgroup, Client, Database, able, eventually, port};
use crate::{Pins, settings};

const REFUSED: &str = "error=Operation-not-permitted-(os-error-1)";

#[test]
fn a_connection_from_before_the_label_is_cut_and_told_of() {
    if !able("a_connection_from_before_the_label") {
        return;
    }
    let scene = Scene::own("before");
    let late = scene.inside.path.parent().unwrap().join("late");
    std::fs::create_dir(&late).unwrap();
    let late = Cgroup { path: late };
    let to = format!("192.0.2.2:{}", scene.port);
    let mut events = scene.agent.interceptor.take_events().unwrap();
    let (mut labelled, mut free) = (
        scene.client(&late, "root"),
        scene.client(&scene.outside, "root"),
    );
    for client in [&mut labelled, &mut free] {
        assert_eq!(client.ask(&format!("dial-first {to}")), "connected");
    }
    scene.agent.label(&late, 3);
    assert_eq!(free.ask("speak-later"), "got=DATABASE+ECHO");
    let answer = labelled.ask("speak-later");
    assert!(!answer.contains("ECHO"), "{answer}");
    let mut seen = None;
    eventually("an event", || {
        seen = events.try_recv().ok();
        seen.is_some()
    });
    let Some(Event::Bypass(Bypass::Packet(6), dial)) = seen else {
        panic!("{seen:?}");
    };
    assert_eq!(dial.destination.to_string(), to);
    assert_eq!((dial.workload, dial.cgroup), (WorkloadIndex(3), late.id()));
    assert!(scene.agent.interceptor.counters().unwrap().bypass.packet > 0);
    // Without its label it goes on.
    scene.agent.interceptor.unlabel(late.id()).unwrap();
    assert_eq!(labelled.ask(&format!("dial-first {to}")), "connected");
    assert_eq!(labelled.ask("speak-later"), "got=DATABASE+ECHO");
}

#[test]
fn a_database_s_host_does_not_connect_to_a_workload() {
    if !able("a_database_s_host") {
        return;
    }
    let mut scene = Scene::own("inward");
    for (address, listen) in [
        ("192.0.2.1", "0.0.0.0"),
        ("[2001:db8:7::1]", "[::]"),
        ("192.0.2.1", "[::]"),
    ] {
        for (labelled, cgroup) in [(false, &scene.outside), (true, &scene.inside)] {
            let mut client = scene.client(cgroup, "root");
            let at = port();
            assert_eq!(client.ask(&format!("serve {listen}:{at}")), "listening");
            let before = scene.agent.interceptor.counters().unwrap().bypass.inward;
            let far = &mut scene.far;
            let answer = far.ask(&format!("reach {address}:{at}"));
            let visited = client.ask("visited");
            let after = scene.agent.interceptor.counters().unwrap().bypass.inward;
            if labelled {
                assert_eq!(visited, "nobody", "{address} {answer}");
                assert!(after > before);
            } else {
                assert!(visited.starts_with("visited="), "{address} {visited}");
                assert_eq!(after, before);
            }
        }
    }
    // From inside its own namespace a workload is dialled as ever.
    let mut client = scene.client(&scene.inside, "root");
    let at = port();
    assert_eq!(client.ask(&format!("serve 0.0.0.0:{at}")), "listening");
    let mut neighbour = scene.client(&scene.outside, "root");
    neighbour.ask(&format!("reach 192.0.2.1:{at}"));
    assert!(client.ask("visited").starts_with("visited="));
}

#[test]
fn attempts_are_all_counted_and_told_of_at_a_bounded_rate() {
    if !able("attempts_are_all_counted") {
        return;
    }
    let scene = Scene::own("rate");
    let mut events = scene.agent.interceptor.take_events().unwrap();
    let mut client = scene.client(&scene.inside, "nobody");
    let began = Instant::now();
    for _ in 0..500 {
        let to = format!("192.0.2.9:{}", scene.other);
        assert_eq!(client.ask(&format!("route udp-ip-options {to}")), REFUSED);
    }
    let seconds = began.elapsed().as_secs() + 1;
    assert_eq!(
        scene.agent.interceptor.counters().unwrap().bypass.header,
        500
    );
    let mut told = 0;
    eventually("events", || {
        while let Ok(event) = events.try_recv() {
            let Event::Bypass(Bypass::Header, dial) = event else {
                panic!("{event:?}");
            };
            // Who made the socket is known, though no task is asked when a packet leaves.
            assert_eq!((dial.pid, dial.uid), (client.pid(), 65_534));
            assert_eq!(dial.comm, "kernel-client");
            assert_eq!(dial.cgroup, scene.inside.id());
            told += 1;
        }
        told >= 10
    });
    assert!(told <= 10 * (seconds + 1), "{told} in {seconds} s");
}

#[test]
fn refused_sockets_are_told_of() {
    if !able("refused_sockets") {
        return;
    }
    let scene = Scene::own("sockets");
    let mut events = scene.agent.interceptor.take_events().unwrap();
    let mut client = scene.client(&scene.inside, "root");
    let to = format!("192.0.2.2:{}", scene.port);
    assert_eq!(client.ask(&format!("route udp-lite {to}")), REFUSED);
    let mut seen = None;
    eventually("an event", || {
        seen = events.try_recv().ok();
        seen.is_some()
    });
    let Some(Event::Refused(RefusedBecause::Socket(136), dial)) = seen else {
        panic!("{seen:?}");
    };
    assert_eq!(dial.pid, client.pid());
}

#[test]
fn one_workload_s_flood_costs_another_nothing() {
    if !able("one_workload_s_flood") {
        return;
    }
    let top = Cgroup::top("flood");
    let (loud, quiet) = (top.child("loud"), top.child("quiet"));
    let settings = Settings {
        ports: vec![5432],
        quota: 200,
        ..settings(&top)
    };
    let interceptor = Interceptor::start(settings).unwrap();
    interceptor.label(loud.id(), WorkloadIndex(0)).unwrap();
    interceptor.label(quiet.id(), WorkloadIndex(1)).unwrap();
    let mut listeners = interceptor.take_listeners().unwrap();
    let here = std::fs::File::open("/proc/self/ns/net").unwrap();
    let netns = interceptor.listen(here.into()).unwrap();
    let listener = listeners.try_recv().unwrap();

    // Nobody accepts: what is open stays half open.
    let mut flood = Client::inside(&loud);
    assert_eq!(flood.ask("flood 10000 192.0.2.7:5432"), "opened=200");
    let counters = interceptor.counters().unwrap();
    assert_eq!((counters.quota, counters.map_full), (9_800, 0));
    assert_eq!(interceptor.entries().unwrap().flows, 200);
    let mut client = Client::inside(&quiet);
    for n in 1..=200 {
        assert_eq!(client.ask("open 192.0.2.8:5432"), "open", "{n}");
    }
    assert_eq!(client.ask("open 192.0.2.8:5432"), REFUSED);
    // What the agent takes makes room, for the one and for the other.
    let mut taken = [0, 0];
    while let Ok((_, peer)) = listener.v4.accept() {
        let origin = interceptor.take(netns, peer).unwrap();
        taken[usize::try_from(origin.workload.0).unwrap()] += 1;
    }
    assert_eq!(taken, [200, 200]);
    assert_eq!(flood.ask("flood 300 192.0.2.7:5432"), "opened=200");
    assert_eq!(client.ask("open 192.0.2.8:5432"), "open");
    // So does what is given up before.
    drop(flood);
    eventually("the flood is gone", || {
        interceptor.entries().unwrap().flows == 1
    });
    let mut flood = Client::inside(&loud);
    assert_eq!(flood.ask("flood 300 192.0.2.7:5432"), "opened=200");
}

#[test]
fn a_share_is_counted_on_by_the_next_agent() {
    if !able("a_share_is_counted_on") {
        return;
    }
    let top = Cgroup::top("share");
    let inside = top.child("inside");
    let pins = Pins::new();
    let pin = pins.path();
    let settings = Settings {
        ports: vec![5432],
        quota: 5,
        pin: Some(pin),
        ..settings(&top)
    };
    let own = settings.listen_port;
    // Somebody else's listener stands in for that of an agent that hangs.
    let deaf = std::net::TcpListener::bind(("127.0.0.1", own)).unwrap();
    let mut flood = Client::inside(&inside);
    for round in 0..3 {
        let interceptor = Interceptor::start(settings.clone()).unwrap();
        interceptor.label(inside.id(), WorkloadIndex(0)).unwrap();
        let opened = if round == 0 { 5 } else { 0 };
        let answer = flood.ask("flood 20 192.0.2.7:5432");
        assert_eq!(answer, format!("opened={opened}"), "{round}");
        assert_eq!(interceptor.entries().unwrap().flows, 5);
    }
    drop(flood);
    let interceptor = Interceptor::start(settings).unwrap();
    eventually("the flood is gone", || {
        interceptor.entries().unwrap().flows == 0
    });
    let mut flood = Client::inside(&inside);
    assert_eq!(flood.ask("flood 20 192.0.2.7:5432"), "opened=5");
    drop(deaf);
}

#[test]
fn the_gates_and_the_port_are_kept_while_there_is_no_agent() {
    if !able("the_gates_and_the_port") {
        return;
    }
    let top = Cgroup::top("kept");
    let (inside, outside) = (top.child("inside"), top.child("outside"));
    let database = Database::start();
    let pins = Pins::new();
    let pin = pins.path();
    let settings = Settings {
        ports: vec![database.port],
        pin: Some(pin.clone()),
        ..settings(&top)
    };
    let gates = || {
        let files = std::fs::read_dir(&pin).unwrap().flatten();
        files
            .filter(|file| file.file_name().to_string_lossy().starts_with("link_gate_"))
            .count()
    };
    let options = format!("route udp-ip-options 127.0.0.1:{}", port());
    let mut client = Client::inside(&inside);
    let mut stranger = Client::inside(&outside);
    let agent = Agent::start(settings.clone());
    agent.label(&inside, 0);
    agent.listen_here();
    let own = agent.port;
    assert_eq!(gates(), 3);
    agent.die();
    assert_eq!(client.ask(&options), REFUSED);
    assert_eq!(stranger.ask(&format!("bind 127.0.0.1:{own}")), REFUSED);
    assert_eq!(stranger.ask(&format!("bind [::]:{own}")), REFUSED);
    // The next agent has them in hand, and gives them up with the label.
    let agent = Agent::start(settings);
    assert_eq!(gates(), 3);
    assert_eq!(agent.interceptor.entries().unwrap().listening, 0);
    assert_eq!(stranger.ask(&format!("bind 127.0.0.1:{own}")), REFUSED);
    assert_eq!(client.ask(&options), REFUSED);
    assert_eq!(agent.interceptor.counters().unwrap().bypass.header, 1);
    agent.label(&inside, 0);
    assert_eq!(gates(), 3);
    agent.interceptor.unlabel(inside.id()).unwrap();
    assert_eq!(gates(), 0);
    assert!(Client::inside(&inside).ask(&options) != REFUSED);
}

#[test]
fn where_only_databases_are_open_all_else_is_refused_but_what_is_allowed() {
    if !able("where_only_databases_are_open") {
        return;
    }
    let top = Cgroup::top("closed");
    let (inside, outside) = (top.child("inside"), top.child("outside"));
    let (guarded, allowed, other) = (Database::start(), Database::start(), Database::start());
    let place = |prefix: &str, port: Option<u16>| Allowed {
        prefix: prefix.parse().unwrap(),
        port: port.and_then(std::num::NonZeroU16::new),
    };
    let agent = Agent::start(Settings {
        ports: vec![guarded.port],
        allowed: Some(vec![
            place("127.0.0.0/24", Some(allowed.port)),
            place("::1", Some(allowed.port)),
            place("127.0.1.0/24", None),
        ]),
        ..settings(&top)
    });
    agent.label(&inside, 0);
    agent.listen_here();
    let mut events = agent.interceptor.take_events().unwrap();
    let mut client = Client::inside(&inside);
    let mut stranger = Client::inside(&outside);
    let (g, a, o) = (guarded.port, allowed.port, other.port);
    for (to, want) in [
        (format!("127.0.0.1:{g}"), "AGENT "),
        (format!("[::1]:{g}"), "AGENT "),
        (format!("127.0.0.1:{a}"), "DATABASE"),
        (format!("[::ffff:127.0.0.1]:{a}"), "DATABASE"),
        (format!("[::1]:{a}"), "DATABASE"),
        (format!("0.0.0.0:{a}"), "DATABASE"),
        (format!("127.0.1.1:{a}"), "DATABASE"),
        (format!("127.0.1.1:{o}"), "DATABASE"),
        (format!("127.0.2.1:{a}"), REFUSED),
        (format!("127.0.0.1:{o}"), REFUSED),
        (format!("[::1]:{o}"), REFUSED),
        (format!("[::ffff:127.0.0.1]:{o}"), REFUSED),
        ("192.0.2.1:443".into(), REFUSED),
    ] {
        let greeting = client.greeting(&to);
        assert!(greeting.starts_with(want), "{to}: {greeting}");
        if want == REFUSED && to.ends_with(&format!(":{o}")) {
            assert_eq!(stranger.greeting(&to), "DATABASE");
        }
    }
    for command in [
        format!("udp-send 127.0.0.1:{o}"),
        format!("udp-connect 127.0.0.1:{o}"),
        format!("udp-send [::1]:{o}"),
    ] {
        assert_eq!(client.ask(&command), REFUSED, "{command}");
        assert_ne!(stranger.ask(&command), REFUSED, "{command}");
    }
    assert_ne!(client.ask(&format!("udp-send 127.0.0.1:{a}")), REFUSED);
    eventually("an event", || {
        matches!(
            events.try_recv(),
            Ok(Event::Refused(RefusedBecause::Closed, _))
        )
    });
}

/// What connects cost, printed: medians of rounds that take turns. What it may cost is said loosely
/// here, for other work shares the machine; the benchmark measures it on a quiet one.
#[test]
fn a_connect_costs_about_what_it_costs_without_an_agent() {
    if !able("a_connect_costs") {
        return;
    }
    let top = Cgroup::top("cost");
    let (inside, outside, apart) = (
        top.child("inside"),
        top.child("outside"),
        Cgroup::top("apart"),
    );
    let agent = Agent::start(Settings {
        ports: vec![5432],
        protected: vec!["192.0.2.0/24".parse().unwrap()],
        ..settings(&top)
    });
    agent.label(&inside, 0);
    // Where the agent does not listen, each socket is news.
    agent.listen_here();
    let to = port();
    let mut clients = [&apart, &outside, &inside].map(Client::inside);
    let mut times = [const { (Vec::new(), Vec::new()) }; 3];
    let begun = Instant::now();
    for round in 0..15 {
        // A few are enough where each takes long, as under emulation.
        if round >= 3 && begun.elapsed() > Duration::from_secs(10) {
            break;
        }
        for (client, (connects, wholes)) in clients.iter_mut().zip(&mut times) {
            let answer = client.ask(&format!("measure 1000 127.0.0.1:{to}"));
            let (connect, whole) = answer.split_once(' ').unwrap();
            connects.push(connect.parse::<f64>().unwrap());
            wholes.push(whole.parse::<f64>().unwrap());
        }
    }
    let middle = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let told = |what: &str, [none, unlabelled, labelled]: [f64; 3]| {
        let (unlabelled, labelled) = (unlabelled / none, labelled / none);
        println!(
            "{what}: {none:.0} ns without programs, unlabelled {unlabelled:.3}, labelled \
             {labelled:.3} of it"
        );
        assert!(unlabelled < 1.5 && labelled < 2.0, "{what}");
    };
    let (connects, wholes): (Vec<_>, Vec<_>) = times
        .into_iter()
        .map(|(connects, wholes)| (middle(connects), middle(wholes)))
        .unzip();
    told("connect()", connects.try_into().unwrap());
    told("socket() and connect()", wholes.try_into().unwrap());
}
