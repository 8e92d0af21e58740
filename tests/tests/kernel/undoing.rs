//! Who tries to undo the redirect or to step out of its sight: by the pins, by number, by a cgroup
//! beside the labelled one, by families of sockets that it has no hook for.

use std::os::unix::fs::chown;

use node_agent::intercept::Settings;

use crate::routes::{Place, Scene};
use crate::support::{Agent, Cgroup, Client, Database, able};
use crate::{Pins, settings};

/// What somebody may try who knows where the pins are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Undo {
    /// The hook on connect alone: the second gate is still there.
    DetachConnect,
    DetachAll,
    /// The same without the pins, by the links' numbers.
    DetachAllByNumber,
    /// The label's entry in the pinned map.
    Forget,
}

/// Row 48. What can be undone is undone by root, and by user 0 where the kernel asks for no
/// privilege: such a workload is not governed, and the canary tells.
#[test]
fn only_user_0_who_sees_the_pins_and_an_administrator_undo_the_redirect() {
    if able("only_user_0_who_sees_the_pins") {
        undone_by_each(Place::Host);
    }
}

#[test]
fn the_same_undo_it_from_a_namespace_of_their_own_and_nobody_else_does() {
    if able("the_same_undo_it") {
        undone_by_each(Place::Own);
    }
}

fn undone_by_each(place: Place) {
    for who in ["root", "container", "nobody"] {
        for undo in [
            Undo::DetachConnect,
            Undo::DetachAll,
            Undo::DetachAllByNumber,
            Undo::Forget,
        ] {
            undone(place, who, undo);
        }
    }
}

fn undone(place: Place, who: &str, undo: Undo) {
    let pins = Pins::new();
    let pin = pins.path();
    let scene = Scene::build("undo", place, |settings| Settings {
        pin: Some(pin.clone()),
        ..settings
    });
    let to = scene.database();
    let mut helper = scene.client(&scene.outside, "root");
    assert_eq!(helper.greeting(&to), "DATABASE");
    let pinned = |prefix: &str| -> Vec<String> {
        let files = std::fs::read_dir(&pin).unwrap().flatten();
        let names = files.map(|file| file.file_name().into_string().unwrap());
        let wanted = names.filter(|name| name.starts_with(prefix));
        wanted
            .map(|name| pin.join(name).display().to_string())
            .collect()
    };
    // One of the kernel's own hooks is no part of the redirect, and cannot be detached at all.
    let mut links = pinned("link_");
    links.retain(|link| !link.contains("link_lsm_"));
    assert!(links.len() > 5, "{links:?}");
    let commands: Vec<String> = match undo {
        Undo::DetachConnect => vec![format!("detach {}", pinned("link_connect4")[0])],
        Undo::DetachAll => links.iter().map(|link| format!("detach {link}")).collect(),
        Undo::DetachAllByNumber => links
            .iter()
            .map(|link| format!("detach-id {}", helper.ask(&format!("link-id {link}"))))
            .collect(),
        Undo::Forget => {
            let labels = &pinned("map_LABELS")[0];
            vec![format!("forget {labels} {}", scene.inside.id())]
        }
    };
    let mut client = scene.client(&scene.inside, who);
    assert!(client.greeting(&to).starts_with("AGENT "));
    let mut told: Vec<String> = commands.iter().map(|line| client.ask(line)).collect();
    told.sort();
    told.dedup();
    assert_eq!(told.len(), 1, "{who} {undo:?}: {told:?}");
    let refused = told[0].starts_with("error=");
    let greeting = client.greeting(&to);
    println!(
        " 48 {undo:?} as {who}, {place:?}: {}, then {greeting}",
        told[0]
    );
    let may = match who {
        "root" => true,
        // An older kernel asks for a privilege before it looks at the file.
        "container" => undo != Undo::DetachAllByNumber,
        _ => false,
    };
    assert!(refused || may, "{who} {undo:?}");
    assert!(!refused || who != "root", "{undo:?}: {}", told[0]);
    match (refused, undo) {
        (true, _) => assert!(greeting.starts_with("AGENT "), "{who} {undo:?}: {greeting}"),
        // The packet does not leave: the second gate has not been taken away.
        (false, Undo::DetachConnect) => {
            assert!(greeting.starts_with("error="), "{who}: {greeting}");
        }
        // Said to be open, and to none but these.
        (false, Undo::DetachAll | Undo::DetachAllByNumber | Undo::Forget) => {
            assert_eq!(greeting, "DATABASE", "{who} {undo:?}");
        }
    }
    // What is left is taken away by the pins.
    scene.agent.die();
}

/// Row 42.
#[test]
fn a_delegated_subtree_is_left_only_by_its_root() {
    if !able("a_delegated_subtree") {
        return;
    }
    let top = Cgroup::top("delegated");
    let database = Database::start();
    let agent = Agent::start(Settings {
        ports: vec![database.port],
        ..settings(&top)
    });
    agent.listen_here();
    let to = format!("127.0.0.1:{}", database.port);
    for label_at_root in [true, false] {
        let root = top.child(&format!("root-{label_at_root}"));
        let (one, two) = (root.child("one"), root.child("two"));
        for cgroup in [&root, &one, &two] {
            for path in [cgroup.path.clone(), cgroup.path.join("cgroup.procs")] {
                chown(path, Some(65_534), Some(65_534)).unwrap();
            }
        }
        agent.label(if label_at_root { &root } else { &one }, 0);
        let mut client = Client::inside(&one);
        assert_eq!(client.ask("become nobody"), "so");
        assert!(client.greeting(&to).starts_with("AGENT "));
        let beside = format!("move {}", two.path.display());
        assert_eq!(client.ask(&beside), "moved");
        let greeting = client.greeting(&to);
        if label_at_root {
            println!(" 42 beside, the label at the delegation's root -> {greeting}");
            assert!(greeting.starts_with("AGENT "), "{greeting}");
        } else {
            println!(" 42 beside, the label at one leaf -> open: label the root: {greeting}");
            assert_eq!(greeting, "DATABASE");
        }
    }
}

/// Of linux/socket.h.
const AF_KCM: i32 = 41;
const AF_SMC: i32 = 43;

/// Row 51: name, family, kind, protocol, and whether it is a protocol over IP.
const FAMILIES: [(&str, i32, i32, i32, bool); 8] = [
    ("SCTP", libc::AF_INET, libc::SOCK_STREAM, 132, true),
    ("SCTP", libc::AF_INET, libc::SOCK_SEQPACKET, 132, true),
    ("SCTP", libc::AF_INET6, libc::SOCK_STREAM, 132, true),
    ("DCCP", libc::AF_INET, libc::SOCK_DCCP, 33, true),
    ("SMC", AF_SMC, libc::SOCK_STREAM, 0, false),
    ("RDS", libc::AF_RDS, libc::SOCK_SEQPACKET, 0, false),
    ("TIPC", libc::AF_TIPC, libc::SOCK_STREAM, 0, false),
    ("KCM", AF_KCM, libc::SOCK_DGRAM, 0, false),
];

#[test]
fn other_families_over_ip_are_refused_where_a_kernel_has_them() {
    if !able("other_families_over_ip") {
        return;
    }
    for place in [Place::Own, Place::Host] {
        families(place);
    }
}

fn families(place: Place) {
    let scene = Scene::build("families", place, |settings| settings);
    let mut tried = 0;
    for who in ["root", "container", "nobody"] {
        let mut free = scene.client(&scene.outside, who);
        let mut held = scene.client(&scene.inside, who);
        for (name, family, kind, protocol, over_ip) in FAMILIES {
            let line = format!("family {family} {kind} {protocol}");
            let (control, answer) = (free.ask(&line), held.ask(&line));
            tried += 1;
            if control != "made" {
                println!(" 51 {name} as {who} -> this kernel cannot run it: {control}");
                assert_ne!(answer, "made", "{name}");
            } else if over_ip {
                println!(" 51 {name} as {who} -> {answer}");
                assert!(answer.ends_with("(os-error-1)"), "{name}: {answer}");
            } else {
                println!(" 51 {name} as {who} -> not over IP, open: seccomp, or an LSM: {answer}");
                assert_eq!(answer, "made", "{name}");
            }
        }
    }
    assert_eq!(tried, 3 * FAMILIES.len());
}
