//! Databases that nobody declared, on ports that nobody guards: known by the first bytes of a
//! connection, however they are cut. The same bytes without a label reach the server first: where
//! they do not, the case proves nothing.

use std::time::{Duration, Instant};

use node_agent::intercept::{Database, Event, OnUndeclared, Settings, WorkloadIndex};

use crate::routes::wired;
use crate::settings;
use crate::support::{Agent, Cgroup, Client, able, eventually, port};

/// What the owner of a refused connection gets, well before it would give up.
const ENDED: &str = "error=Software-caused-connection-abort-(os-error-103)";
const SOON: Duration = Duration::from_secs(2);

const STARTUP: &str = "0000002200030000757365720061707000646174616261736500617070000000";
const SSL: &str = "0000000804d2162f";
const GSSENC: &str = "0000000804d21630";
const CANCEL: &str = "0000001004d2162e0000000100000002";
/// Kafka's request for metadata in version 0, which begins as a start-up of version 3.0 does.
const KAFKA: &str = "0000001600030000000000010006636c69656e74000000010000";
const HTTP: &str = "474554202f20485454502f312e310d0a0d0a";

const MYSQL: &str = "4a0000000a382e302e3336000800000041424344";
const MARIADB: &str = "5b0000000a31312e342e322d4d617269614442";
const BLOCKED: &str = "45000000ff6904486f737420272720697320626c6f636b6564";
const SMTP: &str = "323230206d61696c2e6578616d706c652045534d5450";

/// A TLS ClientHello that offers these application protocols.
fn hello(protocols: &[&str]) -> String {
    let mut names = Vec::new();
    for protocol in protocols {
        names.push(u8::try_from(protocol.len()).unwrap());
        names.extend(protocol.as_bytes());
    }
    let short = |length: usize| u16::try_from(length).unwrap().to_be_bytes();
    let mut extensions = Vec::new();
    extensions.extend([0, 0, 0, 8, 0, 6, 0, 0, 3]); // server name `abc`
    extensions.extend(b"abc");
    extensions.extend([0, 43, 0, 3, 2, 3, 4]); // TLS 1.3
    extensions.extend([0, 16]);
    extensions.extend(short(names.len() + 2));
    extensions.extend(short(names.len()));
    extensions.extend(&names);
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(32);
    body.extend([9; 32]);
    body.extend([0, 4, 0x13, 1, 0x13, 2, 1, 0]);
    body.extend(short(extensions.len()));
    body.extend(extensions);
    let mut record = vec![22, 3, 1];
    record.extend(short(body.len() + 4));
    record.extend([1, 0]);
    record.extend(short(body.len()));
    record.extend(body);
    record.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A workload and a server at the two ends of a wire, and an agent that guards neither.
struct Scene {
    agent: Agent,
    far: Client,
    free: Client,
    held: Client,
    home: Client,
    inside: Cgroup,
    _outside: Cgroup,
    _top: Cgroup,
}

impl Scene {
    fn new(name: &str, undeclared: OnUndeclared) -> Self {
        let top = Cgroup::top(name);
        let (inside, outside) = (top.child("inside"), top.child("outside"));
        let agent = Agent::start(Settings {
            ports: vec![port()],
            undeclared,
            ..settings(&top)
        });
        agent.label(&inside, 7);
        let (home, far) = wired(&outside);
        agent.interceptor.listen(home.netns()).unwrap();
        let at_home = |cgroup: &Cgroup| {
            let mut client = Client::inside(cgroup);
            assert_eq!(client.ask(&format!("enter {}", home.pid())), "there");
            client
        };
        let (free, held) = (at_home(&outside), at_home(&inside));
        Scene {
            agent,
            far,
            free,
            held,
            home,
            inside,
            _outside: outside,
            _top: top,
        }
    }

    /// How many PostgreSQL and MySQL connections were met.
    fn met(&self) -> (u64, u64) {
        let counters = self.agent.interceptor.counters().unwrap();
        (counters.undeclared_postgres, counters.undeclared_mysql)
    }

    /// A server in the far namespace that answers when it heard all of that.
    fn answering(&mut self, how: &str, what: &str) -> u16 {
        let at = port();
        let length = what.len() / 2;
        let line = format!("answer-after {how} [::]:{at} {length}");
        assert_eq!(self.far.ask(&line), "open");
        at
    }

    fn greeting(&mut self, piece: usize, what: &str) -> u16 {
        let at = port();
        let line = format!("greet-with tcp [::]:{at} {piece} {what}");
        assert_eq!(self.far.ask(&line), "open");
        at
    }
}

#[test]
fn a_postgresql_session_is_refused_on_any_port_however_its_first_bytes_are_cut() {
    if !able("a_postgresql_session_is_refused") {
        return;
    }
    let mut scene = Scene::new("startup", OnUndeclared::Refuse);
    let direct = hello(&["postgresql"]);
    let second = hello(&["h2", "postgresql"]);
    // How, what, in pieces of.
    let mut cases: Vec<(&str, &str, usize)> = Vec::new();
    for what in [STARTUP, SSL, GSSENC, CANCEL] {
        for piece in [1_000, 4, 1] {
            cases.push(("tcp", what, piece));
        }
    }
    cases.extend([
        ("tcp", STARTUP, 7),
        ("tcp", STARTUP, 11),
        ("tcp", &direct, 1_000),
        ("tcp", &second, 1_000),
        ("mptcp", STARTUP, 1_000),
        ("mptcp", STARTUP, 5),
        ("mptcp", SSL, 1),
        ("fast-open", STARTUP, 1_000),
        ("fast-open", STARTUP, 3),
        ("fast-open", SSL, 8),
        ("mptcp-fast-open", STARTUP, 1_000),
        ("bound-to-device", SSL, 1_000),
    ]);
    // Data in the SYN itself, without asking for a cookie first.
    for client in [&mut scene.home, &mut scene.far] {
        let command = "run sysctl -qw net.ipv4.tcp_fastopen=1543";
        assert_eq!(client.ask(command), "status=0");
    }
    for (how, what, piece) in cases {
        let of = if how.starts_with("mptcp") {
            "mptcp"
        } else {
            "tcp"
        };
        let at = scene.answering(of, what);
        for to in ["192.0.2.2", "[2001:db8:7::2]", "[::ffff:192.0.2.2]"] {
            let line = format!("say {how} {to}:{at} {piece} {what}");
            let before = scene.met();
            let free = scene.free.ask(&line);
            if how == "mptcp-fast-open" && free.contains("not-supported") {
                println!("{how} is not in this kernel");
                continue;
            }
            assert_eq!(free, "got=DATABASE", "{line}");
            assert_eq!(scene.met(), before, "{line}");
            let began = Instant::now();
            let answer = scene.held.ask(&line);
            assert!(answer.starts_with("error="), "{line}: {answer}");
            if !how.starts_with("mptcp") {
                assert_eq!(answer, ENDED, "{line}");
            }
            assert!(began.elapsed() < SOON, "{line}: {:?}", began.elapsed());
            assert_eq!(scene.met(), (before.0 + 1, before.1), "{line}");
        }
    }
}

#[test]
fn a_greeting_of_mysql_is_refused_on_any_port() {
    if !able("a_greeting_of_mysql") {
        return;
    }
    let mut scene = Scene::new("greeting", OnUndeclared::Refuse);
    for (what, piece) in [
        (MYSQL, 1_000),
        (MYSQL, 4),
        (MYSQL, 1),
        (MARIADB, 1_000),
        (MARIADB, 5),
        (BLOCKED, 1_000),
        (BLOCKED, 3),
    ] {
        let at = scene.greeting(piece, what);
        for to in ["192.0.2.2", "[2001:db8:7::2]", "[::ffff:192.0.2.2]"] {
            let line = format!("say tcp {to}:{at} 1 00");
            let before = scene.met();
            let free = scene.free.ask(&line);
            assert!(free.starts_with("got="), "{line}: {free}");
            let began = Instant::now();
            assert_eq!(scene.held.ask(&line), ENDED, "{line}");
            assert!(began.elapsed() < SOON, "{line}");
            assert_eq!(scene.met(), (before.0, before.1 + 1), "{line}");
        }
    }
}

#[test]
fn what_is_no_database_passes_and_what_leads_to_the_agent_is_its_own() {
    if !able("what_is_no_database") {
        return;
    }
    let mut scene = Scene::new("others", OnUndeclared::Refuse);
    let web = hello(&["h2", "http/1.1"]);
    for (what, piece) in [
        (KAFKA, 1_000),
        (KAFKA, 1),
        (HTTP, 1_000),
        (HTTP, 1),
        (&web, 1_000),
        (&web, 3),
        ("00", 1),
    ] {
        let at = scene.answering("tcp", what);
        let line = format!("say tcp 192.0.2.2:{at} {piece} {what}");
        assert_eq!(scene.held.ask(&line), "got=DATABASE", "{line}");
    }
    let at = scene.greeting(3, SMTP);
    let line = format!("say tcp 192.0.2.2:{at} 1 00");
    assert_eq!(scene.held.ask(&line), "got=220.mail.example.ESMTP");
    // A guarded port: the agent hears the start-up, as it should.
    let guarded = scene.agent.interceptor.settings().ports[0];
    let line = format!("say tcp 192.0.2.2:{guarded} 1000 {STARTUP}");
    let answer = scene.held.ask(&line);
    assert!(answer.starts_with("got=AGENT"), "{answer}");
    assert_eq!(scene.met(), (0, 0));
}

#[test]
fn a_refused_socket_that_dials_again_begins_anew() {
    if !able("a_refused_socket_that_dials_again") {
        return;
    }
    let mut scene = Scene::new("again", OnUndeclared::Refuse);
    let at = scene.answering("tcp", SSL);
    let line = format!("say twice 192.0.2.2:{at} 1000 {SSL}");
    assert_eq!(scene.free.ask(&line), "got=DATABASE got=DATABASE");
    assert_eq!(scene.held.ask(&line), "refused got=DATABASE");
    assert_eq!(scene.met(), (1, 0));
}

#[test]
fn a_segment_that_is_sent_twice_changes_nothing() {
    if !able("a_segment_that_is_sent_twice") {
        return;
    }
    let mut scene = Scene::new("twice", OnUndeclared::Refuse);
    for (what, want) in [(KAFKA, "got=DATABASE"), (STARTUP, ENDED)] {
        let at = scene.answering("tcp", what);
        let line = format!("dial-first 192.0.2.2:{at}");
        assert_eq!(scene.held.ask(&line), "connected");
        let mut utter = |what: &str| {
            let answer = scene.held.ask(&format!("utter {what}"));
            assert_eq!(answer, "said");
        };
        utter(&what[..6]);
        // Lost on the way, though it left the workload; sent again, with what comes after it.
        assert_eq!(scene.far.ask("run ip link set wire down"), "status=0");
        utter(&what[6..10]);
        utter(&what[10..18]);
        assert_eq!(scene.far.ask("run ip link set wire up"), "status=0");
        utter(&what[18..]);
        assert_eq!(scene.held.ask("hear"), want);
    }
    assert_eq!(scene.met(), (1, 0));
}

#[test]
fn a_database_on_loopback_is_met_as_well_and_each_is_told_of() {
    if !able("a_database_on_loopback") {
        return;
    }
    let mut scene = Scene::new("loopback", OnUndeclared::Refuse);
    let mut events = scene.agent.interceptor.take_events().unwrap();
    // A server of the workload's own.
    let mut server = Client::inside(&scene.inside);
    assert_eq!(server.ask(&format!("enter {}", scene.home.pid())), "there");
    let at = port();
    assert_eq!(server.ask(&format!("answer-after tcp [::]:{at} 8")), "open");
    let line = format!("say tcp 127.0.0.1:{at} 1000 {SSL}");
    assert_eq!(scene.free.ask(&line), "got=DATABASE");
    assert_eq!(scene.held.ask(&line), ENDED);
    let mut seen = None;
    eventually("an event", || {
        seen = events.try_recv().ok();
        seen.is_some()
    });
    let Some(Event::Undeclared(met, dial)) = seen else {
        panic!("{seen:?}");
    };
    assert_eq!((met.database, met.refused), (Database::Postgres, true));
    assert_eq!(met.local.ip().to_string(), "127.0.0.1");
    assert_eq!(dial.destination.to_string(), format!("127.0.0.1:{at}"));
    assert_eq!(
        (dial.workload, dial.pid),
        (WorkloadIndex(7), scene.held.pid())
    );
    assert_eq!(dial.comm, "kernel-client");
    assert_eq!(dial.cgroup, scene.inside.id());
    // A flood is ended to the last, told of now and then.
    for _ in 0..60 {
        assert_eq!(scene.held.ask(&line), ENDED);
    }
    assert_eq!(scene.met(), (61, 0));
    let mut told = 0;
    while events.try_recv().is_ok() {
        told += 1;
    }
    assert!(told < 60, "{told}");
}

#[test]
fn what_is_only_reported_passes_and_what_is_ignored_is_not_met() {
    if !able("what_is_only_reported") {
        return;
    }
    for (undeclared, met) in [(OnUndeclared::Report, 1), (OnUndeclared::Ignore, 0)] {
        let mut scene = Scene::new("report", undeclared);
        let mut events = scene.agent.interceptor.take_events().unwrap();
        let at = scene.answering("tcp", STARTUP);
        let line = format!("say tcp 192.0.2.2:{at} 5 {STARTUP}");
        assert_eq!(scene.held.ask(&line), "got=DATABASE");
        let at = scene.greeting(5, MYSQL);
        let line = format!("say tcp 192.0.2.2:{at} 1 00");
        assert!(scene.held.ask(&line).starts_with("got="));
        assert_eq!(scene.met(), (met, met));
        for _ in 0..2 * met {
            let mut seen = None;
            eventually("an event", || {
                seen = events.try_recv().ok();
                seen.is_some()
            });
            assert!(
                matches!(seen, Some(Event::Undeclared(what, _)) if !what.refused),
                "{seen:?}"
            );
        }
    }
}

#[test]
fn a_refused_connection_stays_refused_while_there_is_no_agent() {
    if !able("a_refused_connection_stays_refused") {
        return;
    }
    let top = Cgroup::top("kept-watch");
    let (inside, outside) = (top.child("inside"), top.child("outside"));
    let pins = tempfile::tempdir().unwrap();
    let pin = pins.path().join("pins");
    let _clean = crate::Uninstall(pin.clone());
    let settings = Settings {
        ports: vec![port()],
        pin: Some(pin),
        ..settings(&top)
    };
    let agent = Agent::start(settings.clone());
    agent.label(&inside, 0);
    let (mut server, mut held) = (Client::inside(&outside), Client::inside(&inside));
    let at = port();
    assert_eq!(
        server.ask(&format!("answer-after tcp 127.0.0.1:{at} 8")),
        "open"
    );
    agent.die();
    let line = format!("say tcp 127.0.0.1:{at} 2 {SSL}");
    let answer = held.ask(&line);
    // Nobody ends it, and nothing comes.
    assert!(answer.starts_with("error="), "{answer}");
    assert_eq!(Client::inside(&outside).ask(&line), "got=DATABASE");
    let agent = Agent::start(settings);
    agent.listen_here();
    assert_eq!(held.ask(&line), ENDED);
}
