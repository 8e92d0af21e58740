//! Ways round that are no dial of the workload's alone (what is from before the label, what others
//! lend, what dials in, what moves elsewhere, the agent's own port), by root, with a container's
//! default capabilities and as nobody, from the host's network namespace and from one of the
//! workload's own. Who may not even try is told so by the kernel, by an error that is named here.
//! Each caller goes the same way without a label first, and must reach the database.

use std::os::unix::fs::chown;

use node_agent::intercept::Settings;

use crate::far_scene::Place::{self, Host, Own};
use crate::far_scene::Scene;
use crate::support::{Agent, Cgroup, Client, Governing, able, eventually, port};
use crate::{Uninstall, settings};

const CALLERS: [&str; 3] = ["root", "container", "nobody"];

const REFUSED: &str = "error=Operation-not-permitted-(os-error-1)";
const DENIED: &str = "error=Permission-denied-(os-error-13)";
const ABORTED: &str = "error=Software-caused-connection-abort-(os-error-103)";
const NOBODY_THERE: &str = "error=Connection-refused-(os-error-111)";
const NO_ANSWER: &str = "error=Resource-temporarily-unavailable-(os-error-11)";
const DATABASE: &str = "got=DATABASE";
const ECHO: &str = "got=DATABASE+ECHO";

fn agent(answer: &str) -> bool {
    answer.starts_with("got=AGENT ")
}

const PLACES: [(Place, &str); 2] = [(Host, "in the host's network"), (Own, "in one of its own")];

/// Each kind of caller, in either place, over a wire.
fn by_all(name: &str, way: &str, mut go: impl FnMut(&mut Scene, &'static str) -> String) {
    if !able(name) {
        return;
    }
    for (place, word) in PLACES {
        let mut scene = Scene::new(name, place, "root");
        for who in CALLERS {
            let control = scene.client(&scene.outside, who).ask(&dial(&scene));
            assert_eq!(control, DATABASE, "{who}, {word}");
            let said = go(&mut scene, who);
            println!("{way} as {who}, {word} -> {said}");
        }
    }
}

fn dial(scene: &Scene) -> String {
    format!("route connect {}", scene.to())
}

/// A cgroup beside the scene's labelled one.
fn beside(scene: &Scene, name: &str) -> Cgroup {
    let path = scene.inside.path.with_file_name(name);
    std::fs::create_dir(&path).unwrap();
    Cgroup { path }
}

/// A process and its database on loopback, for an agent with other settings than a scene's.
struct Ground {
    place: Place,
    keeper: Client,
    port: u16,
    outside: Cgroup,
    // Last: its tree goes when nobody is in it.
    top: Cgroup,
}

impl Ground {
    fn new(name: &str, place: Place) -> Ground {
        let top = Cgroup::top(name);
        let outside = top.child("outside");
        let mut keeper = match place {
            Host => Client::inside(&outside),
            Own => Client::alone(&outside),
        };
        let port = port();
        assert_eq!(keeper.ask(&format!("database {port}")), "open");
        Ground {
            place,
            keeper,
            port,
            outside,
            top,
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            ports: vec![self.port],
            ..settings(&self.top)
        }
    }

    fn client(&self, cgroup: &Cgroup, who: &str) -> Client {
        let mut client = Client::inside(cgroup);
        if self.place == Own {
            assert_eq!(client.ask(&format!("enter {}", self.keeper.pid())), "there");
        }
        assert_eq!(client.ask(&format!("become {who}")), "so");
        client
    }
}

/// Row 10, where nobody has looked at descriptors: the second gate.
#[test]
fn a_connection_from_before_the_label_says_nothing_more_whoever_holds_it() {
    let way = " 10 connected before the label";
    by_all("callers-before", way, |scene, who| {
        let to = scene.to();
        let late = beside(scene, &format!("late-{who}"));
        let mut held = scene.client(&late, who);
        let mut free = scene.client(&scene.outside, who);
        for client in [&mut held, &mut free] {
            assert_eq!(client.ask(&format!("dial-first {to}")), "connected");
        }
        let packets = || scene.agent.interceptor.counters().unwrap().bypass.packet;
        let before = packets();
        scene.agent.label(&late, 3);
        assert_eq!(free.ask("speak-later"), ECHO, "{who}");
        let answer = held.ask("speak-later");
        assert_eq!(answer, NO_ANSWER, "{who}");
        assert!(packets() > before, "{who}");
        let next = held.ask(&dial(scene));
        assert!(agent(&next), "{who}: {next}");
        scene.agent.interceptor.unlabel(late.id()).unwrap();
        answer
    });
}

/// Row 10, by the look at every descriptor.
#[test]
fn a_connection_from_before_the_label_is_ended_whoever_holds_it() {
    if !able("callers-cut") {
        return;
    }
    for (place, word) in PLACES {
        let ground = Ground::new("callers-cut", place);
        let governing = Governing::start(ground.settings(), &[("late", &[])]);
        let to = format!("127.0.0.1:{}", ground.port);
        for (cut, who) in (1..).zip(CALLERS) {
            let late = ground.top.child(who);
            let mut held = ground.client(&late, who);
            let mut free = ground.client(&ground.outside, who);
            for client in [&mut held, &mut free] {
                assert_eq!(client.ask(&format!("dial-first {to}")), "connected");
            }
            late.attribute(Some("late"));
            eventually("ended", || governing.enrolment.totals().1 == cut);
            assert_eq!(free.ask("speak-later"), ECHO, "{who}");
            let answer = held.ask("speak-later");
            println!(" 10 connected before the label as {who}, {word} -> {answer}");
            assert_eq!(answer, ABORTED, "{who}");
            let next = held.ask(&format!("route connect {to}"));
            assert!(agent(&next), "{who}: {next}");
        }
    }
}

/// Row 13: taken out of another process by a descriptor for it, or handed over by that process.
#[test]
fn somebody_else_s_unconnected_socket_leads_to_the_agent_whoever_dials_with_it() {
    let way = " 13 somebody else's socket";
    by_all("callers-lent", way, |scene, who| {
        let to = scene.to();
        let mut lender = scene.client(&scene.outside, who);
        let (free, held) = [&scene.outside, &scene.inside]
            .map(|cgroup| {
                let fd = lender.ask(&format!("lend {to}"));
                let borrow = format!("borrow {} {fd} {to}", lender.pid());
                scene.client(cgroup, who).ask(&borrow)
            })
            .into();
        if who == "nobody" {
            // Who has given up being root cannot be looked into, not even by his like.
            assert_eq!((&*free, &*held), (REFUSED, REFUSED));
        } else {
            assert_eq!(free, DATABASE, "{who}");
            assert!(agent(&held), "{who}: {held}");
        }
        // Anybody is handed one; from another network namespace it leads to that one's agent, and
        // there is none.
        let mut said = vec![format!("taken: {held}")];
        for neighbour in [true, false] {
            let mut giver = match neighbour {
                true => scene.client(&scene.outside, "root"),
                false if scene.place == Host => continue,
                false => Client::inside(&scene.outside),
            };
            let path = scene.fresh("hand");
            assert_eq!(giver.ask(&format!("hand-made {path} {to}")), "open");
            let line = format!("receive-and-dial {path} {to}");
            let free = scene.client(&scene.outside, who).ask(&line);
            assert_eq!(free, DATABASE, "{who}");
            let held = scene.client(&scene.inside, who).ask(&line);
            let led = agent(&held) == neighbour && (neighbour || held == NOBODY_THERE);
            assert!(led, "{who}, handed by a neighbour: {neighbour}: {held}");
            said.push(format!("handed: {held}"));
        }
        said.join(", ")
    });
}

/// Row 33. It is the database that dials: an answer is what comes to whom it dials.
#[test]
fn a_database_s_host_reaches_no_workload_whoever_listens() {
    let way = " 33 dialled by the database's host";
    by_all("callers-inward", way, |scene, who| {
        let inward = |scene: &Scene| scene.agent.interceptor.counters().unwrap().bypass.inward;
        let [(free, free_counted), (held, held_counted)] = [false, true].map(|labelled| {
            let mut client = match labelled {
                true => scene.client(&scene.inside, who),
                false => scene.client(&scene.outside, who),
            };
            let at = format!("{}.1:{}", scene.net, port());
            assert_eq!(client.ask(&format!("serve {at}")), "listening");
            let before = inward(scene);
            scene.database.ask(&format!("reach {at}"));
            (client.ask("visited"), inward(scene) > before)
        });
        assert!(free.starts_with("visited="), "{who}: {free}");
        assert_eq!(held, "nobody", "{who}");
        assert!(!free_counted && held_counted, "{who}");
        held
    });
}

/// Row 38: into the database's own namespace, by itself or put there.
#[test]
fn another_network_namespace_leads_nobody_round() {
    let way = " 38 another network namespace";
    by_all("callers-elsewhere", way, |scene, who| {
        let there = scene.database.pid();
        for cgroup in [&scene.outside, &scene.inside] {
            let mut client = scene.client(cgroup, who);
            let own = client.pid();
            // What belongs to somebody with more privileges is not even opened, and his own is not
            // entered without CAP_SYS_ADMIN.
            for (pid, refused) in [(there, DENIED), (own, REFUSED)] {
                let want = if who == "root" { "there" } else { refused };
                assert_eq!(client.ask(&format!("enter {pid}")), want, "{who}");
            }
        }
        let to = format!("route connect 127.0.0.1:{}", scene.port);
        let put = |cgroup: &Cgroup, who: &str| {
            let mut client = Client::inside(cgroup);
            assert_eq!(client.ask(&format!("enter {there}")), "there");
            assert_eq!(client.ask(&format!("become {who}")), "so");
            client.ask(&to)
        };
        if who == CALLERS[0] {
            // Where no agent listens it leads nowhere, after a wait for one: all wait at once.
            std::thread::scope(|scope| {
                for who in CALLERS {
                    let (put, inside) = (&put, &scene.inside);
                    scope.spawn(move || {
                        let answer = put(inside, who);
                        println!("{way}, without an agent, as {who} -> {answer}");
                        assert_eq!(answer, NOBODY_THERE, "{who}");
                    });
                }
            });
            let netns = scene.database.netns();
            scene.agent.interceptor.listen(netns).unwrap();
        }
        assert_eq!(put(&scene.outside, who), DATABASE, "{who}");
        let answer = put(&scene.inside, who);
        assert!(agent(&answer), "{who}: {answer}");
        answer
    });
}

/// Rows 41 and 42. What is labelled: nothing, one leaf of the delegated subtree, its root; and a
/// subtree that is not delegated.
#[test]
fn beside_itself_in_a_delegated_subtree_nobody_escapes_a_label_at_its_root() {
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    enum Label {
        None,
        Leaf,
        Root,
        NotDelegated,
    }
    let way = " 42 beside, in a delegated subtree";
    by_all("callers-beside", way, |scene, who| {
        let cases = [Label::None, Label::Leaf, Label::Root, Label::NotDelegated];
        let said = cases.map(|label| {
            let root = beside(scene, &format!("{who}-{label:?}"));
            let (one, two) = (root.child("one"), root.child("two"));
            if label != Label::NotDelegated {
                for cgroup in [&root, &one, &two] {
                    for path in [cgroup.path.clone(), cgroup.path.join("cgroup.procs")] {
                        chown(path, Some(65_534), Some(65_534)).unwrap();
                    }
                }
            }
            let labelled = match label {
                Label::None => None,
                Label::Leaf => Some(&one),
                Label::Root | Label::NotDelegated => Some(&root),
            };
            if let Some(labelled) = labelled {
                scene.agent.label(labelled, 4);
            }
            let mut client = scene.client(&one, who);
            let before = client.ask(&dial(scene));
            assert_eq!(agent(&before), label != Label::None, "{who}: {before}");
            let moved = client.ask(&format!("move {}", two.path.display()));
            let denied = label == Label::NotDelegated && who == "nobody";
            assert_eq!(moved, if denied { DENIED } else { "moved" }, "{who}");
            let answer = client.ask(&dial(scene));
            match label {
                // Open, and said so: the label belongs on the delegation's root.
                Label::None | Label::Leaf => assert_eq!(answer, DATABASE, "{who} {label:?}"),
                Label::Root | Label::NotDelegated => assert!(agent(&answer), "{who}: {answer}"),
            }
            drop(client);
            if let Some(labelled) = labelled {
                scene.agent.interceptor.unlabel(labelled.id()).unwrap();
            }
            format!("{label:?}: {moved}, {answer}")
        });
        said.join("; ")
    });
}

/// Row 46: the control comes through to the agent, and is closed unread.
#[test]
fn nobody_who_dials_the_agent_itself_is_served() {
    let way = " 46 dialling the agent itself";
    by_all("callers-itself", way, |scene, who| {
        let mut free = scene.client(&scene.outside, who);
        let mut held = scene.client(&scene.inside, who);
        for at in ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"] {
            let to = format!("{at}:{}", scene.agent.port);
            assert_eq!(free.greeting(&to), "", "{who} {at}");
            assert_eq!(held.greeting(&to), REFUSED, "{who} {at}");
        }
        let next = held.ask(&dial(scene));
        assert!(agent(&next), "{who}: {next}");
        REFUSED.to_owned()
    });
}

/// Row 47: no agent, then the next one. The caller could take the port elsewhere, and another one
/// here.
#[test]
fn nobody_takes_the_agent_s_port_while_it_restarts() {
    if !able("callers-port") {
        return;
    }
    for (place, word) in PLACES {
        let ground = Ground::new("callers-port", place);
        let inside = ground.top.child("inside");
        let pins = tempfile::tempdir().unwrap();
        let pin = pins.path().join("pins");
        let _clean = Uninstall(pin.clone());
        let settings = Settings {
            pin: Some(pin),
            ..ground.settings()
        };
        let (own, other) = (settings.listen_port, port());
        let first = Agent::start(settings.clone());
        first.label(&inside, 0);
        first.interceptor.listen(ground.keeper.netns()).unwrap();
        first.die();
        let line = format!("route connect 127.0.0.1:{}", ground.port);
        let tried = |agent: &str| {
            for who in CALLERS {
                let mut elsewhere = Client::alone(&ground.outside);
                assert_eq!(elsewhere.ask(&format!("become {who}")), "so");
                assert_eq!(elsewhere.ask(&format!("bind 0.0.0.0:{own}")), "bound");
                for cgroup in [&ground.outside, &inside] {
                    let mut client = ground.client(cgroup, who);
                    assert_eq!(client.ask(&format!("bind 127.0.0.1:{other}")), "bound");
                    for at in ["127.0.0.1", "127.0.0.5", "0.0.0.0", "[::]", "[::1]"] {
                        let answer = client.ask(&format!("bind {at}:{own}"));
                        assert_eq!(answer, REFUSED, "{who} {at}, {agent}");
                    }
                }
                let free = ground.client(&ground.outside, who).ask(&line);
                assert_eq!(free, DATABASE, "{who}, {agent}");
                let held = ground.client(&inside, who).ask(&line);
                println!(" 47 {agent}, as {who}, {word} -> {REFUSED}, a dial: {held}");
                assert_eq!(held, NOBODY_THERE, "{who}, {agent}");
            }
        };
        tried("no agent");
        let next = Agent::start(settings);
        tried("the next agent, which does not listen yet");
        next.interceptor.listen(ground.keeper.netns()).unwrap();
        let mut client = ground.client(&inside, "nobody");
        let answer = client.ask(&line);
        assert!(agent(&answer), "{answer}");
    }
}
