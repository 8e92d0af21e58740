//! What somebody takes from the redirect is found, named and put back; and who may do so.

use std::num::NonZeroU16;

use node_agent::intercept::{Allowed, InterceptError, Interceptor, Settings, WorkloadIndex};

use crate::support::{Agent, Cgroup, Client, Database, Governing, able, eventually};
use crate::{Pins, settings};

const ABORTED: &str = "error=Software-caused-connection-abort-(os-error-103)";

fn faults(interceptor: &Interceptor) -> Vec<String> {
    let mut faults: Vec<String> = interceptor
        .faults()
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    faults.sort();
    faults
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn what_is_missing_is_named_put_back_and_what_got_through_is_ended() {
    if !able("what_is_missing") {
        return;
    }
    let top = Cgroup::top("intact");
    let (inside, short_lived) = (top.child("inside"), top.child("short"));
    let database = Database::silent();
    let to = format!("127.0.0.1:{}", database.port);
    let pins = Pins::new();
    let pin = pins.path();
    let governing = Governing::start(
        Settings {
            ports: vec![database.port],
            protected: vec!["192.0.2.77".parse().unwrap()],
            pin: Some(pin.clone()),
            ..settings(&top)
        },
        &[("w", &[format!("{}/*", top.name())])],
    );
    let interceptor = &governing.agent.interceptor;
    assert_eq!(faults(interceptor), Vec::<String>::new());

    let mut hand = Client::start();
    let mut tamper = |what: &str, name: &str, answer: &str| {
        let path = pin.join(name);
        assert_eq!(
            hand.ask(&format!("tamper {what} {}", path.display())),
            answer
        );
    };
    let gate = |which: &str| format!("link_gate_{which}_{}", inside.id().0);
    tamper("detach", "link_connect4", "detached");
    tamper("detach", &gate("egress"), "detached");
    tamper("detach", &gate("ingress"), "detached");
    // It is open.
    let mut client = Client::inside(&inside);
    assert_eq!(client.ask(&format!("open {to}")), "open");
    let place = inside.path.display().to_string();
    assert_eq!(
        faults(interceptor),
        [
            "the link of on_connect4 is detached".to_owned(),
            format!("the link of on_egress at {place} is detached"),
            format!("the link of on_ingress at {place} is detached"),
        ]
    );
    let found = interceptor.faults().unwrap();
    assert!(found.iter().all(|fault| fault.opened()));
    interceptor.put_back(&found).unwrap();
    assert_eq!(faults(interceptor), Vec::<String>::new());
    eventually("what got through was looked for", || {
        !interceptor.unaudited()
    });
    assert_eq!(client.ask("read"), ABORTED);
    assert!(client.greeting(&to).starts_with("AGENT "));
    assert_eq!(governing.enrolment.totals().1, 1);

    // Another program behind the link; pins that are gone, or another thing.
    tamper("replace", "link_connect4", "replaced");
    std::fs::remove_file(pin.join("link_bind6")).unwrap();
    std::fs::rename(pin.join("link_bind4"), pin.join("link_bind6")).unwrap();
    std::fs::remove_file(pin.join("map_PORTS_v3")).unwrap();
    let found = faults(interceptor);
    assert_eq!(found.len(), 4, "{found:?}");
    for words in [
        "another program, \"open\" (id ",
        "the pin of on_bind4 is gone",
        "something else is pinned in the place of on_bind6",
        "the pin of the map PORTS is gone",
    ] {
        assert!(found.iter().any(|fault| fault.contains(words)), "{found:?}");
    }
    interceptor
        .put_back(&interceptor.faults().unwrap())
        .unwrap();
    assert_eq!(faults(interceptor), Vec::<String>::new());
    assert!(client.greeting(&to).starts_with("AGENT "));

    // A label, by the map itself.
    tamper(
        &format!("unlabel:{}", inside.id().0),
        "map_LABELS_v3",
        "unlabelled",
    );
    assert_eq!(
        faults(interceptor),
        [format!("the label of {place} is gone or another's")]
    );
    interceptor
        .put_back(&interceptor.faults().unwrap())
        .unwrap();
    assert_eq!(faults(interceptor), Vec::<String>::new());
    assert!(client.greeting(&to).starts_with("AGENT "));

    // The places, by the maps themselves.
    let port_key = hex(&database.port.to_ne_bytes());
    // 192.0.2.77: 128 bits, as an IPv4-mapped address.
    let address = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 77];
    let address_key = hex(&128_u32.to_ne_bytes()) + &hex(&address);
    tamper(&format!("forget:{port_key}"), "map_PORTS_v3", "forgotten");
    tamper(
        &format!("forget:{address_key}"),
        "map_PREFIXES_v3",
        "forgotten",
    );
    assert_eq!(
        faults(interceptor),
        [
            "somebody changed what the map PORTS holds",
            "somebody changed what the map PREFIXES holds",
        ]
    );
    assert!(interceptor.faults().unwrap().iter().all(|f| f.opened()));
    interceptor
        .put_back(&interceptor.faults().unwrap())
        .unwrap();
    assert_eq!(faults(interceptor), Vec::<String>::new());
    assert!(client.greeting(&to).starts_with("AGENT "));
    assert!(client.greeting("192.0.2.77:9").starts_with("AGENT "));

    // A cgroup that goes is nobody's doing.
    std::fs::remove_dir(&short_lived.path).unwrap();
    assert_eq!(faults(interceptor), Vec::<String>::new());
    assert_eq!(database.visits(), 1);
}

#[test]
fn the_next_agent_finds_all_as_it_should_be_and_only_one_has_the_right() {
    if !able("the_next_agent_finds_all") {
        return;
    }
    let top = Cgroup::top("right");
    let inside = top.child("inside");
    let pins = Pins::new();
    let pin = pins.path();
    let with = Settings {
        ports: vec![5432],
        pin: Some(pin.clone()),
        ..settings(&top)
    };
    let first = Agent::start(with.clone());
    first.label(&inside, 3);
    let second = Interceptor::start(with.clone()).unwrap_err();
    assert!(matches!(second, InterceptError::Owned(_)), "{second}");
    let taken_away = Interceptor::uninstall_pinned(&pin).unwrap_err();
    assert!(
        matches!(taken_away, InterceptError::Owned(_)),
        "{taken_away}"
    );
    assert_eq!(faults(&first.interceptor), Vec::<String>::new());

    // Who lets go changes nothing any more; what there is stays as it is.
    first.interceptor.let_go();
    let second = Interceptor::start(with).unwrap();
    assert_eq!(faults(&second), Vec::<String>::new());
    let labels = [(inside.id(), WorkloadIndex(3))];
    assert_eq!(second.labelled().unwrap(), labels);
    for refused in [
        first.interceptor.label(inside.id(), WorkloadIndex(4)),
        first.interceptor.unlabel(inside.id()),
    ] {
        assert!(matches!(refused, Err(InterceptError::LetGo)), "{refused:?}");
    }
    assert_eq!(second.labelled().unwrap(), labels);
    assert!(!first.interceptor.governs());
    first.die();
    assert_eq!(faults(&second), Vec::<String>::new());
}

#[test]
fn what_was_allowed_is_put_back_and_what_somebody_allowed_is_taken_away() {
    if !able("what_was_allowed_is_put_back") {
        return;
    }
    let top = Cgroup::top("allowed");
    let inside = top.child("inside");
    let (kept, other) = (Database::start(), Database::start());
    let pins = Pins::new();
    let pin = pins.path();
    let allowed = |port: u16| Allowed {
        prefix: "127.0.0.1".parse().unwrap(),
        port: NonZeroU16::new(port),
    };
    let agent = Agent::start(Settings {
        ports: vec![5432],
        pin: Some(pin.clone()),
        allowed: Some(vec![allowed(kept.port)]),
        ..settings(&top)
    });
    agent.label(&inside, 3);
    let mut client = Client::inside(&inside);
    let mut reached =
        || [kept.port, other.port].map(|p| client.greeting(format!("127.0.0.1:{p}")) == "DATABASE");
    assert_eq!(reached(), [true, false]);
    // 160 bits: the port, then 127.0.0.1 as an IPv4-mapped address.
    let key = |port: u16| {
        let address = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1];
        hex(&160_u32.to_ne_bytes()) + &hex(&u32::from(port).to_ne_bytes()) + &hex(&address)
    };
    let map = pin.join("map_ALLOWED_v3");
    let mut hand = Client::start();
    for (tampering, answer, meanwhile) in [
        (
            format!("forget:{}", key(kept.port)),
            "forgotten",
            [false, false],
        ),
        (format!("add:{}", key(other.port)), "added", [true, true]),
    ] {
        let line = format!("tamper {tampering} {}", map.display());
        assert_eq!(hand.ask(&line), answer);
        assert_eq!(reached(), meanwhile, "{tampering}");
        let found = agent.interceptor.faults().unwrap();
        assert_eq!(
            faults(&agent.interceptor),
            ["somebody changed what the map ALLOWED holds"]
        );
        assert!(found.iter().all(|fault| fault.opened()));
        agent.interceptor.put_back(&found).unwrap();
        assert_eq!(faults(&agent.interceptor), Vec::<String>::new());
        assert_eq!(reached(), [true, false], "{tampering}");
    }
}
