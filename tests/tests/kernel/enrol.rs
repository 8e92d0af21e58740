//! What a workload brings into its label, and what it may do.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use node_agent::enrol::{Found, LabelledCgroup, Reason, Standing};

use crate::settings;
use crate::support::{Cgroup, Client, Database, Governing, able, eventually};
use node_agent::intercept::Settings;

/// The cgroup with a label, as enrolment sees it.
fn seen(governing: &Governing, cgroup: &Cgroup) -> Option<LabelledCgroup> {
    let id = cgroup.id();
    let all = governing.enrolment.snapshot();
    all.into_iter().find(|labelled| labelled.id == id)
}

fn found(governing: &Governing, cgroup: &Cgroup) -> Vec<Found> {
    seen(governing, cgroup).map_or_else(Vec::new, |labelled| labelled.found)
}

fn unconnected(found: &[Found]) -> Vec<&Found> {
    let of = |f: &&Found| matches!(f.reason, Reason::UnconnectedSocket { .. });
    found.iter().filter(of).collect()
}

const ABORTED: &str = "error=Software-caused-connection-abort-(os-error-103)";

#[test]
fn a_connection_from_before_the_label_is_cut_and_the_next_one_is_governed() {
    if !able("a_connection_from_before_the_label") {
        return;
    }
    let top = Cgroup::top("late");
    let (cgroup, early) = (top.child("late"), top.child("early"));
    let database = Database::silent();
    let elsewhere = Database::silent();
    let (to, free) = (
        format!("127.0.0.1:{}", database.port),
        format!("127.0.0.1:{}", elsewhere.port),
    );
    // Before there is an agent at all: found at its start.
    let mut first = Client::inside(&early);
    assert_eq!(first.ask(&format!("open {to}")), "open");
    let settings = Settings {
        ports: vec![database.port],
        protected: vec!["192.0.2.0/24".parse().unwrap()],
        ..settings(&top)
    };
    let governing = Governing::start(
        settings,
        &[("late", &[]), ("early", &[format!("{}/early", top.name())])],
    );
    assert_eq!(first.ask("read"), ABORTED);
    assert!(first.greeting(&to).starts_with("AGENT "));

    // A cgroup that runs already is labelled: IPv4, IPv6, mapped; what listens or leads
    // elsewhere is left alone.
    let mut clients = Vec::new();
    for to in [
        to.clone(),
        format!("[::1]:{}", database.port),
        format!("[::ffff:127.0.0.1]:{}", database.port),
    ] {
        let mut client = Client::inside(&cgroup);
        assert_eq!(client.ask(&format!("open {to}")), "open");
        clients.push((to, client));
    }
    let mut bystander = Client::inside(&cgroup);
    assert_eq!(bystander.ask("listen 127.0.0.1:0"), "listening");
    assert_eq!(bystander.ask(&format!("open {free}")), "open");
    let mut datagrams = Client::inside(&cgroup);
    assert_eq!(datagrams.ask("udp-open 192.0.2.9:9"), "open");
    cgroup.attribute(Some("late"));
    for (to, client) in &mut clients {
        assert_eq!(client.ask("read"), ABORTED, "{to}");
        assert!(client.greeting(&*to).starts_with("AGENT "), "{to}");
    }
    eventually("the datagram socket has no peer", || {
        datagrams.ask("udp-peer").starts_with("error=")
    });
    let (_, cut) = governing.enrolment.totals();
    assert_eq!(cut, 5);
    elsewhere.speak();
    assert_eq!(bystander.ask("read"), "read=9");
    assert_eq!(
        unconnected(&found(&governing, &cgroup)),
        Vec::<&Found>::new()
    );

    // And unlabelled again, while they run.
    cgroup.attribute(None);
    database.speak();
    eventually("free again", || {
        Client::inside(&cgroup).greeting(&to) == "DATABASE"
    });
}

#[test]
fn a_process_that_is_moved_into_a_label_brings_no_connection_with_it() {
    if !able("a_process_that_is_moved") {
        return;
    }
    let top = Cgroup::top("brought");
    let (inside, outside) = (top.child("inside"), top.child("outside"));
    let database = Database::silent();
    let to = format!("127.0.0.1:{}", database.port);
    let governing = Governing::start(
        Settings {
            ports: vec![database.port],
            ..settings(&top)
        },
        &[("w", &[format!("{}/inside", top.name())])],
    );
    let mut client = Client::inside(&outside);
    assert_eq!(client.ask(&format!("open {to}")), "open");
    inside.adopt(client.pid());
    assert_eq!(client.ask("read"), ABORTED);
    assert!(client.greeting(&to).starts_with("AGENT "));
    // The connection is in a network namespace of its own, also with both ends in one process.
    let mut alone = Client::alone(&outside);
    let own = format!("127.0.0.1:{}", database.port);
    assert_eq!(alone.ask(&format!("listen {own}")), "listening");
    assert_eq!(alone.ask(&format!("open {own}")), "open");
    inside.adopt(alone.pid());
    assert_eq!(alone.ask("read"), ABORTED);
    assert_eq!(governing.enrolment.totals().1, 2);
}

#[test]
fn a_connection_that_is_handed_into_a_label_is_cut_at_the_next_look() {
    if !able("a_connection_that_is_handed") {
        return;
    }
    let top = Cgroup::top("handed-in");
    let inside = top.child("inside");
    let database = Database::silent();
    let governing = Governing::looking_every(
        Duration::from_millis(50),
        Settings {
            ports: vec![database.port],
            ..settings(&top)
        },
        &[("w", &[format!("{}/inside", top.name())])],
    );
    // The parent stays unlabelled and dials; the child is labelled and gets the socket.
    let program = format!(
        r#"
import os, socket, sys
ours, theirs = socket.socketpair()
child = os.fork()
if child == 0:
    open("{inside}/cgroup.procs", "w").write("0")
    theirs.send(b"in")
    _, files, _, _ = socket.recv_fds(theirs, 8, 1)
    given = socket.socket(fileno=files[0])
    given.settimeout(10)
    try:
        print("read", given.recv(16), flush=True)
    except OSError as error:
        print("cut", error.errno, flush=True)
    os._exit(0)
ours.recv(8)
dialled = socket.create_connection(("127.0.0.1", {port}))
socket.send_fds(ours, [b"x"], [dialled.fileno()])
dialled.close()
os.waitpid(child, 0)
"#,
        inside = inside.path.display(),
        port = database.port,
    );
    let Some((_parent, line)) = python(&program) else {
        return;
    };
    assert_eq!(line.trim(), "cut 103");
    assert_eq!(governing.enrolment.totals().1, 1);
}

#[test]
fn what_cannot_be_cleaned_leaves_the_workload_partly_governed_until_its_process_ends() {
    if !able("what_cannot_be_cleaned") {
        return;
    }
    let top = Cgroup::top("partly");
    let (inside, outside) = (top.child("inside"), top.child("outside"));
    let governing = Governing::looking_every(
        Duration::from_millis(50),
        Settings {
            ports: vec![5432],
            ..settings(&top)
        },
        &[("w", &[format!("{}/inside", top.name())])],
    );
    let mut client = Client::inside(&outside);
    assert_eq!(client.ask("socket 127.0.0.1:1"), "made");
    inside.adopt(client.pid());
    eventually("the unconnected socket is said", || {
        unconnected(&found(&governing, &inside)).len() == 1
    });
    let said = seen(&governing, &inside).unwrap();
    let socket = unconnected(&said.found)[0];
    assert_eq!(
        (said.standing, socket.pid),
        (Standing::Partly, client.pid())
    );
    assert!(
        socket.text().contains("restart the process"),
        "{}",
        socket.text()
    );
    drop(client);
    eventually("gone with its process", || {
        found(&governing, &inside).is_empty()
            && seen(&governing, &inside).unwrap().standing == Standing::Governed
    });

    // A ring that was made outside: its requests could run as its maker.
    let ring = python(
        "import ctypes,time\nlibc=ctypes.CDLL(None)\np=ctypes.create_string_buffer(120)\n\
         fd=libc.syscall(425,8,p)\nprint(fd,flush=True)\ntime.sleep(60)",
    );
    let Some((ring, line)) = ring else { return };
    if line.trim() == "-1" {
        println!("SKIPPED: the ring: this kernel has no io_uring");
        return;
    }
    inside.adopt(node_agent::model::Pid(ring.0.id()));
    eventually("the ring is said", || {
        found(&governing, &inside)
            .iter()
            .any(|f| matches!(f.reason, Reason::Ring { .. }) && f.pid.0 == ring.0.id())
    });
    drop(ring);
    eventually("gone with its process", || {
        found(&governing, &inside).is_empty()
    });
}

#[test]
fn what_a_process_may_do_is_said_and_what_may_do_nothing_is_governed() {
    if !able("what_a_process_may_do") {
        return;
    }
    let top = Cgroup::top("posture");
    let inside = top.child("inside");
    let governing = Governing::looking_every(
        Duration::from_millis(50),
        Settings {
            ports: vec![5432],
            ..settings(&top)
        },
        &[("w", &[format!("{}/inside", top.name())])],
    );
    let standing = || seen(&governing, &inside).map(|s| s.standing);
    let says = |reason: Reason| {
        found(&governing, &inside)
            .iter()
            .any(|f| f.reason == reason)
    };
    assert_eq!(standing(), Some(Standing::Governed), "nothing runs in it");

    let harmless = sleeper(&[
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--bounding-set=-all",
        "--no-new-privs",
    ]);
    inside.adopt(node_agent::model::Pid(harmless.0.id()));
    eventually("seen", || says(Reason::Vsock));
    assert_eq!(
        standing(),
        Some(Standing::Governed),
        "{:?}",
        found(&governing, &inside)
    );

    // What containers have unless it is taken away, in the host's network.
    let raw = sleeper(&[
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--inh-caps=-all,+net_raw",
        "--ambient-caps=-all,+net_raw",
    ]);
    inside.adopt(node_agent::model::Pid(raw.0.id()));
    eventually("raw packets are said", || says(Reason::RawPackets));
    assert_eq!(standing(), Some(Standing::Partly));
    assert!(!says(Reason::NetAdmin) && !says(Reason::HostRoot));
    drop(raw);
    eventually("governed again", || standing() == Some(Standing::Governed));

    // Root of the host. The reasons follow what a process becomes.
    let root = Client::inside(&inside);
    for reason in [
        Reason::SysAdmin,
        Reason::NetAdmin,
        Reason::Bpf,
        Reason::Ptrace,
        Reason::HostRoot,
        Reason::WritableCgroups,
    ] {
        eventually("root's privileges are said", || says(reason.clone()));
    }
    for found in found(&governing, &inside) {
        assert!(found.text().contains(": "), "{found:?}");
    }
    drop(root);
    eventually("governed again", || standing() == Some(Standing::Governed));
    drop(harmless);
}

/// A process that is killed with the test.
pub(super) struct Killed(pub(super) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sleeper(privileges: &[&str]) -> Killed {
    let child = Command::new("setpriv")
        .args(privileges)
        .args(["sleep", "60"])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    // It becomes what it shall be by its exec: before, it is still setpriv, as root.
    let comm = format!("/proc/{}/comm", child.id());
    let child = Killed(child);
    eventually("it sleeps", || {
        std::fs::read_to_string(&comm).is_ok_and(|name| name.trim() == "sleep")
    });
    child
}

/// A Python program and its first line; `None`, said, where there is no Python.
pub(super) fn python(program: &str) -> Option<(Killed, String)> {
    use std::io::{BufRead, BufReader};
    let started = Command::new("python3")
        .args(["-c", program])
        .stdout(Stdio::piped())
        .spawn();
    let mut child = match started {
        Ok(child) => Killed(child),
        Err(error) => {
            println!("SKIPPED: a part that needs python3: {error}");
            return None;
        }
    };
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    Some((child, line))
}
