//! Ways by which the address that is dialled is not the one that is reached: a second path of
//! multipath TCP, service addresses that a packet filter translates, relays.

use std::process::Command;

use crate::routes::{Place, Scene, reached};
use crate::support::{Client, able, port};
use node_agent::intercept::Settings;

const CALLERS: [&str; 3] = ["root", "container", "nobody"];

/// Where the workload lives: a namespace of its own, and the agent's.
const PLACES: [Place; 2] = [Place::Own, Place::Node];

/// The same by everybody, unlabelled first; `fine` says whether the labelled one's answer is.
fn by_all(scene: &Scene, command: &str, what: &str, fine: impl Fn(&str) -> bool) {
    for who in CALLERS {
        let control = scene.client(&scene.outside, who).ask(command);
        let answer = scene.client(&scene.inside, who).ask(command);
        println!(
            "{what} as {who}, {:?}; free: {control}; labelled: {answer}",
            scene.place
        );
        assert_eq!(control, "got=DATABASE", "{what} as {who}");
        assert!(fine(&answer), "{what} as {who}: {answer}");
    }
}

fn both(place: Place) -> [(Place, bool); 2] {
    [(place, false), (place, true)]
}

fn stopped(answer: &str) -> bool {
    !reached(answer) && !answer.contains("AGENT")
}

fn agent(answer: &str) -> bool {
    answer.starts_with("got=AGENT ")
}

fn done(client: &mut Client, line: &str) {
    assert_eq!(client.ask(&format!("run {line}")), "status=0", "{line}");
}

#[test]
fn a_second_path_to_a_protected_address_is_not_taken() {
    if !able("a_second_path") {
        return;
    }
    for place in PLACES {
        second_path(place);
    }
}

fn second_path(place: Place) {
    let mut scene = Scene::build("subflow", place, |settings| settings);
    let at = port();
    let server = scene.far.ask(&format!("mptcp-server 0.0.0.0:{at}"));
    if server != "open" {
        // Said, and not for an answer that would be a fault of the test's.
        assert!(server.ends_with("(os-error-93)"), "{server}");
        println!("SKIPPED: 6 second subflow: this kernel cannot run it: {server}");
        return;
    }
    // The allowed server says that it can be reached at the protected address as well.
    done(
        &mut scene.far,
        "ip mptcp endpoint add 192.0.2.2 dev wire signal",
    );
    let limits = "ip mptcp limits set subflows 2 add_addr_accepted 2";
    done(&mut scene.far, limits);
    done(&mut scene.client(&scene.outside, "root"), limits);
    by_all(
        &scene,
        &format!("route mptcp 192.0.2.3:{at}"),
        "  6 second subflow",
        // The first path is nobody's business and stays; the server saw no second one.
        |answer| answer == "got=ALONE",
    );
}

#[test]
fn a_service_address_of_one_s_own_namespace_leads_nowhere_or_to_the_agent() {
    if !able("a_service_address_of_one_s_own") {
        return;
    }
    for (place, listed) in PLACES.into_iter().flat_map(both) {
        let scene = Scene::build("service", place, |mut settings: Settings| {
            if listed {
                settings.protected.push("192.0.2.200".parse().unwrap());
            }
            settings
        });
        let service = format!("192.0.2.200:{}", port());
        let real = format!("192.0.2.2:{}", scene.port);
        let told = scene
            .client(&scene.outside, "root")
            .ask(&format!("translate output {service} {real}"));
        if cannot_translate(29, &told) {
            return;
        }
        let (what, fine): (_, fn(&str) -> bool) = match listed {
            true => (" 29 service, translated here, declared", agent),
            false => (" 29 service, translated here", stopped),
        };
        by_all(&scene, &format!("route connect {service}"), what, fine);
    }
}

#[test]
fn a_service_address_that_the_node_translates_leads_to_the_agent_once_it_is_declared() {
    if !able("a_service_address_that_the_node") {
        return;
    }
    for (place, listed) in PLACES.into_iter().flat_map(both) {
        let mut scene = Scene::build("node-service", place, |mut settings: Settings| {
            settings.protected.push("203.0.113.2".parse().unwrap());
            if listed {
                settings.protected.push("192.0.2.210".parse().unwrap());
            }
            settings
        });
        // Behind the workload's neighbour, which passes on and translates, is the database.
        let mut deep = Client::alone(&scene.outside);
        let at = port();
        let (far, behind) = (scene.far.pid(), deep.pid());
        done(&mut scene.far, "ip addr add 192.0.2.210/24 dev wire");
        let link = format!("ip link add next netns {far} type veth peer name next netns {behind}");
        done(&mut Client::inside(&scene.outside), &link);
        done(&mut scene.far, "ip addr add 203.0.113.1/24 dev next");
        done(&mut scene.far, "ip link set next up");
        let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward";
        let status = Command::new("nsenter")
            .args(["-t", &far.to_string(), "-n", "sh", "-c", forward])
            .status();
        assert!(status.unwrap().success());
        done(&mut deep, "ip addr add 203.0.113.2/24 dev next");
        done(&mut deep, "ip link set next up");
        done(&mut deep, "ip route add default via 203.0.113.1");
        assert_eq!(deep.ask(&format!("database {at}")), "open");
        let service = format!("192.0.2.210:{}", port());
        let told = scene
            .far
            .ask(&format!("translate prerouting {service} 203.0.113.2:{at}"));
        if cannot_translate(30, &told) {
            return;
        }
        let (what, fine): (_, fn(&str) -> bool) = match listed {
            true => (" 30 service, translated by the node, declared", agent),
            false => (
                " 30 service, translated by the node -> open: declare the service's address",
                reached,
            ),
        };
        by_all(&scene, &format!("route connect {service}"), what, fine);
    }
}

fn cannot_translate(row: u8, told: &str) -> bool {
    if told == "translated" {
        return false;
    }
    let absent = ["(os-error-2)", "(os-error-93)", "(os-error-95)"];
    assert!(absent.iter().any(|error| told.ends_with(error)), "{told}");
    println!("SKIPPED: {row} service address: this kernel cannot run it: {told}");
    true
}

#[test]
fn a_relay_at_an_allowed_address_is_closed_by_closing_all_other_egress() {
    if !able("a_relay_at_an_allowed_address") {
        return;
    }
    for (place, closed) in PLACES.into_iter().flat_map(both) {
        let mut scene = Scene::build("relay", place, |settings: Settings| Settings {
            allowed: closed.then(Vec::new),
            ..settings
        });
        let (at, to) = (port(), scene.port);
        let relay = format!("relay-at 192.0.2.3:{at} 192.0.2.2:{to}");
        assert_eq!(scene.far.ask(&relay), "open");
        let (what, fine): (_, fn(&str) -> bool) = match closed {
            true => (" 36 relay, other egress closed", stopped),
            false => (
                " 36 relay -> open: the relay dials; deny other egress, let the database take the \
                 agent only",
                reached,
            ),
        };
        by_all(&scene, &format!("route connect 192.0.2.3:{at}"), what, fine);
    }
}
