//! The layers that not every kernel has: unix sockets by an allow-list, and families of sockets
//! that lead off the node. Where the kernel lacks one, the test says so and shows what is said of it.

use std::os::unix::fs::symlink;

use node_agent::enrol::{Reason, Weight};
use node_agent::intercept::{Event, Interceptor, LayerState, RefusedBecause, Settings};

use crate::support::{Agent, Cgroup, Client, Governing, able, eventually, has};
use crate::{Pins, Uninstall, settings};

const REFUSED: &str = "error=Operation-not-permitted-(os-error-1)";

#[test]
fn only_unix_sockets_that_are_named_so_are_reached() {
    if !able("only_unix_sockets_that_are_named_so") {
        return;
    }
    let top = Cgroup::top("unix");
    let (inside, outside) = (top.child("inside"), top.child("outside"));
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let settings = Settings {
        unix: Some(vec![
            at("open").parse().unwrap(),
            at("open.dgram").parse().unwrap(),
            at("open.seq").parse().unwrap(),
            format!("@{}", at("open")).parse().unwrap(),
        ]),
        ..settings(&top)
    };
    if let Err(why) = has("unix sockets") {
        let refused = Interceptor::start(settings).map(drop).unwrap_err();
        assert!(
            refused.to_string().contains("guard.unix: open"),
            "{refused}"
        );
        println!("SKIPPED: connect_unix is not loadable in this kernel: {why}");
        return;
    }
    let agent = Agent::start(settings);
    agent.label(&inside, 4);
    assert!(
        agent
            .interceptor
            .layers()
            .iter()
            .any(|layer| layer.what.contains("unix") && layer.state == LayerState::Present)
    );
    let mut events = agent.interceptor.take_events().unwrap();
    let mut server = Client::inside(&outside);
    for name in [
        at("open"),
        at("shut"),
        format!("@{}", at("open")),
        format!("@{}", at("shut")),
    ] {
        assert_eq!(server.ask(&format!("unix-serve {name}")), "open", "{name}");
    }
    symlink(at("shut"), at("link")).unwrap();
    std::fs::hard_link(at("shut"), at("hard")).unwrap();
    std::fs::create_dir(at("directory")).unwrap();
    let (mut free, mut held) = (Client::inside(&outside), Client::inside(&inside));
    let inside_home = home.path().to_str().unwrap();
    for client in [&mut free, &mut held] {
        assert_eq!(client.ask(&format!("chdir {inside_home}")), "there");
    }
    let greeted = "got=DATABASE";
    for (how, name, other, want) in [
        // Named so, in every form of the call.
        ("plain", at("open"), greeted, true),
        ("longer", at("open"), greeted, true),
        ("zeroes", at("open"), greeted, true),
        ("junk", at("open"), greeted, true),
        ("ring", at("open"), greeted, true),
        ("plain", format!("@{}", at("open")), greeted, true),
        ("datagram", at("open.dgram"), "got=connected", true),
        ("datagram-to", at("open.dgram"), "got=sent", true),
        ("sequence", at("open.seq"), "got=connected", true),
        // The same socket by another name.
        ("plain", "open".into(), greeted, false),
        ("plain", "./open".into(), greeted, false),
        ("plain", at("./open"), greeted, false),
        ("plain", at("directory/../open"), greeted, false),
        ("plain", format!("/{}", at("open")), greeted, false),
        ("descriptor", at("open"), greeted, false),
        // One that is not named, by all of its spellings.
        ("plain", at("shut"), greeted, false),
        ("longer", at("shut"), greeted, false),
        ("zeroes", at("shut"), greeted, false),
        ("junk", at("shut"), greeted, false),
        ("ring", at("shut"), greeted, false),
        (
            "plain",
            format!("/proc/self/root{}", at("shut")),
            greeted,
            false,
        ),
        ("plain", at("link"), greeted, false),
        ("plain", at("hard"), greeted, false),
        ("descriptor", at("shut"), greeted, false),
        ("plain", "shut".into(), greeted, false),
        ("plain", format!("@{}", at("shut")), greeted, false),
        ("datagram", at("shut.dgram"), "got=connected", false),
        ("datagram-to", at("shut.dgram"), "got=sent", false),
        ("sequence", at("shut.seq"), "got=connected", false),
    ] {
        let line = format!("unix {how} {name}");
        assert_eq!(free.ask(&line), other, "free: {line}");
        let want = if want { other } else { REFUSED };
        assert_eq!(held.ask(&line), want, "labelled: {line}");
    }
    // An abstract name is all of its bytes.
    let line = format!("unix longer @{}", at("open"));
    assert_ne!(free.ask(&line), greeted);
    assert_eq!(held.ask(&line), REFUSED);
    // What has no name leads nowhere else.
    assert_eq!(held.ask("unix-pair"), greeted);

    let mut told = Vec::new();
    eventually("events", || {
        while let Ok(event) = events.try_recv() {
            if let Event::RefusedUnix(name, dial) = event {
                assert_eq!((dial.pid, dial.cgroup), (held.pid(), inside.id()));
                assert_eq!(dial.workload.0, 4);
                assert_eq!(dial.comm, "kernel-client");
                told.push(name);
            }
        }
        !told.is_empty()
    });
    assert!(
        told.iter().all(|name| name.contains("open")
            || name.contains("shut")
            || name.contains("fd/")
            || name.ends_with("link")
            || name.ends_with("hard")),
        "{told:?}"
    );
    assert_eq!(agent.interceptor.counters().unwrap().refused_unix, 21);
    // The agent is exempt, and whoever has no label no more is not held.
    agent.interceptor.unlabel(inside.id()).unwrap();
    let line = format!("unix plain {}", at("shut"));
    assert_eq!(held.ask(&line), greeted);
}

#[test]
fn the_allow_list_is_kept_while_there_is_no_agent_and_goes_with_the_setting() {
    if !able("the_allow_list_is_kept") {
        return;
    }
    if let Err(why) = has("unix sockets") {
        println!("SKIPPED: connect_unix is not loadable in this kernel: {why}");
        return;
    }
    let top = Cgroup::top("unix-kept");
    let (inside, outside) = (top.child("inside"), top.child("outside"));
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let pin = home.path().join("pins");
    let _clean = Uninstall(pin.clone());
    let of = |allowed: Option<Vec<String>>| Settings {
        pin: Some(pin.clone()),
        unix: allowed.map(|names| names.iter().map(|name| name.parse().unwrap()).collect()),
        ..settings(&top)
    };
    let mut server = Client::inside(&outside);
    for name in [at("one"), at("two")] {
        assert_eq!(server.ask(&format!("unix-serve {name}")), "open");
    }
    let mut held = Client::inside(&inside);
    let mut reached = || {
        [at("one"), at("two")].map(|name| held.ask(&format!("unix plain {name}")) == "got=DATABASE")
    };
    let agent = Agent::start(of(Some(vec![at("one")])));
    agent.label(&inside, 0);
    assert_eq!(reached(), [true, false]);
    agent.die();
    assert_eq!(reached(), [true, false]);
    // The next agent allows another one, and the one after it all.
    let agent = Agent::start(of(Some(vec![at("two")])));
    assert_eq!(reached(), [false, true]);
    agent.die();
    let agent = Agent::start(of(None));
    assert_eq!(reached(), [true, true]);
    agent.die();
    let agent = Agent::start(of(Some(Vec::new())));
    assert_eq!(reached(), [false, false]);
    // Taken away, it is missed, and put back; what was reached meanwhile is beyond the agent.
    for (name, program) in [
        ("link_unix_connect", "unix_connect"),
        ("link_unix_send", "unix_send"),
    ] {
        let answer = server.ask(&format!("tamper detach {}", pin.join(name).display()));
        assert_eq!(answer, "detached");
        let faults = agent.interceptor.faults().unwrap();
        let said: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(said, [format!("the link of {program} is detached")]);
        assert!(faults.iter().all(|fault| fault.opened() && fault.lasts()));
        agent.interceptor.put_back(&faults).unwrap();
        assert!(agent.interceptor.faults().unwrap().is_empty());
    }
    std::fs::remove_file(pin.join("link_unix_send")).unwrap();
    let faults = agent.interceptor.faults().unwrap();
    assert!(faults.iter().all(|fault| !fault.opened() && !fault.lasts()));
    agent.interceptor.put_back(&faults).unwrap();
    assert!(pin.join("link_unix_send").exists());
    assert_eq!(reached(), [false, false]);
    drop(agent);
    assert_eq!(reached(), [true, true]);
    assert!(!pin.exists());
}

#[test]
fn who_can_put_another_socket_at_an_allowed_name_is_partly_governed() {
    if !able("who_can_put_another_socket") {
        return;
    }
    if let Err(why) = has("unix sockets") {
        println!("SKIPPED: connect_unix is not loadable in this kernel: {why}");
        return;
    }
    let top = Cgroup::top("unix-names");
    let (inside, outside) = (top.child("inside"), top.child("outside"));
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let governing = Governing::start(
        Settings {
            unix: Some(vec![at("open").parse().unwrap()]),
            ..settings(&top)
        },
        &[("w", &[format!("{}/inside", top.name())])],
    );
    let mut server = Client::inside(&outside);
    assert_eq!(server.ask(&format!("unix-serve {}", at("shut"))), "open");
    let mut held = Client::inside(&inside);
    let connect = format!("unix plain {}", at("open"));
    assert_ne!(held.ask(&connect), "got=DATABASE");
    // The hook sees the name and not the link: so the place is judged.
    symlink(at("shut"), at("open")).unwrap();
    assert_eq!(held.ask(&connect), "got=DATABASE");
    let mut seen = None;
    eventually("it is said", || {
        let snapshot = governing.enrolment.snapshot();
        let one = snapshot.iter().find(|one| one.id == inside.id());
        let found = one.into_iter().flat_map(|one| &one.found);
        seen = found
            .into_iter()
            .find(|found| matches!(found.reason, Reason::UnixNames { .. }))
            .map(|found| (found.pid, found.reason.weight()));
        seen.is_some()
    });
    assert_eq!(seen, Some((held.pid(), Weight::Partly)));
}

#[test]
fn families_that_lead_off_the_node_are_refused_where_the_kernel_can() {
    if !able("families_that_lead_off_the_node") {
        return;
    }
    let top = Cgroup::top("families");
    let (inside, outside) = (top.child("inside"), top.child("outside"));
    let pins = Pins::new();
    let pin = pins.path();
    let settings = Settings {
        pin: Some(pin.clone()),
        ..settings(&top)
    };
    let agent = Agent::start(settings.clone());
    let layers = agent.interceptor.layers();
    let layer = layers
        .iter()
        .find(|layer| layer.what.contains("AF_PACKET"))
        .unwrap();
    if layer.state != LayerState::Present {
        // Said, with the reason and the mend, and nothing else is missing for it.
        assert_eq!(layer.state, LayerState::Absent);
        assert!(
            layer.why.as_ref().unwrap().contains("CAP_NET_RAW"),
            "{layer}"
        );
        agent.label(&inside, 0);
        println!("SKIPPED: LSM programs are not loadable in this kernel: {layer}");
        return;
    }
    agent.label(&inside, 0);
    let mut events = agent.interceptor.take_events().unwrap();
    let (mut free, mut held) = (Client::inside(&outside), Client::inside(&inside));
    // AF_PACKET, AF_VSOCK, AF_TIPC, AF_CAN, AF_XDP, AF_KCM, AF_RDS, AF_QIPCRTR, AF_SMC.
    let away = [17, 40, 30, 29, 44, 41, 21, 42, 43];
    for family in away {
        let line = format!("family {family}");
        assert_ne!(free.ask(&line), REFUSED, "{family}");
        assert_eq!(held.ask(&line), REFUSED, "{family}");
    }
    for family in [1, 2, 10, 16] {
        assert_eq!(held.ask(&format!("family {family}")), "made", "{family}");
    }
    assert_eq!(free.ask("family 17"), "made");
    eventually("an event", || {
        matches!(
            events.try_recv(),
            Ok(Event::Refused(RefusedBecause::Family(17), dial)) if dial.pid == held.pid()
        )
    });
    let counters = agent.interceptor.counters().unwrap();
    // Each is asked for by three kinds.
    assert_eq!(counters.refused_families, 3 * away.len() as u64);
    // Nobody detaches it; a pin that is gone is made again.
    let link = pin.join("link_lsm_socket_create");
    assert_eq!(agent.interceptor.faults().unwrap().len(), 0);
    std::fs::remove_file(&link).unwrap();
    let faults = agent.interceptor.faults().unwrap();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(!faults[0].opened());
    agent.interceptor.put_back(&faults).unwrap();
    assert!(link.exists());
    // It stays without an agent, is taken over by the next one, and goes with the last.
    agent.die();
    assert_eq!(held.ask("family 17"), REFUSED);
    let agent = Agent::start(settings);
    assert_eq!(held.ask("family 17"), REFUSED);
    drop(agent);
    assert_eq!(held.ask("family 17"), "made");
}
