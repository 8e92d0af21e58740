//! Who leaves a labelled cgroup is told of, within a second.

use std::time::{Duration, Instant};

use node_agent::enrol::Left;
use node_agent::intercept::Settings;
use node_agent::model::Pid;

use super::enrol::python;
use crate::settings;
use crate::support::{Cgroup, Client, Governing, able, eventually};

/// Waits for the alarm about a process.
fn alarm(governing: &Governing, pid: Pid, since: Instant) -> Left {
    let mut found = None;
    eventually("an alarm", || {
        found = governing
            .enrolment
            .left()
            .into_iter()
            .find(|left| left.pid == pid);
        found.is_some()
    });
    let took = since.elapsed();
    assert!(took < Duration::from_secs(1), "after {took:?}");
    found.unwrap()
}

/// One that has done something in its label: who is moved in and out again by an outsider within
/// milliseconds was never seen there.
fn at_work(inside: &Cgroup) -> Client {
    let mut client = Client::inside(inside);
    assert_eq!(client.ask("run true"), "status=0");
    client
}

fn governing(top: &Cgroup) -> Governing {
    Governing::start(
        Settings {
            ports: vec![5432],
            ..settings(top)
        },
        &[("w", &[format!("{}/inside", top.name())])],
    )
}

#[test]
fn a_process_that_leaves_raises_an_alarm_whoever_moves_it() {
    if !able("a_process_that_leaves") {
        return;
    }
    let top = Cgroup::top("leaving");
    let (inside, outside) = (top.child("inside"), top.child("outside"));
    let governing = governing(&top);
    let outside_path = outside.path.display().to_string();

    // By itself.
    let mut client = at_work(&inside);
    let since = Instant::now();
    assert_eq!(client.ask(&format!("move {outside_path}")), "moved");
    let left = alarm(&governing, client.pid(), since);
    assert_eq!(
        (left.program.as_str(), left.workload.as_str()),
        ("kernel-client", "w")
    );
    assert!(
        left.from.ends_with("/inside") && left.to.ends_with("/outside"),
        "{left:?}"
    );

    // By another.
    let other = at_work(&inside);
    let since = Instant::now();
    outside.adopt(other.pid());
    alarm(&governing, other.pid(), since);

    // Deeper into the label, or from one label's cgroup to its child, nobody leaves.
    let below = inside.child("below");
    let stays = Client::inside(&inside);
    below.adopt(stays.pid());
    inside.adopt(stays.pid());
    let last = at_work(&inside);
    let since = Instant::now();
    outside.adopt(last.pid());
    alarm(&governing, last.pid(), since);
    let pids: Vec<Pid> = governing
        .enrolment
        .left()
        .iter()
        .map(|left| left.pid)
        .collect();
    assert_eq!(pids, [client.pid(), other.pid(), last.pid()]);
    assert_eq!(governing.enrolment.totals().0, 3);
}

#[test]
fn a_child_that_leaves_before_it_runs_anything_raises_an_alarm() {
    if !able("a_child_that_leaves") {
        return;
    }
    let top = Cgroup::top("child");
    let (inside, outside) = (top.child("inside"), top.child("outside"));
    let governing = governing(&top);
    // fork(), and out, without ever running a program; then made outside by clone3().
    let program = format!(
        r#"
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
open("{inside}/cgroup.procs", "w").write("0")
child = os.fork()
if child == 0:
    open("{outside}/cgroup.procs", "w").write("0")
    time.sleep(60)
    os._exit(0)
target = os.open("{outside}", os.O_RDONLY)
arguments = (ctypes.c_uint64 * 11)(0x200000000, 0, 0, 0, 17, 0, 0, 0, 0, 0, target)
stray = libc.syscall(435, arguments, 88)
if stray == 0:
    time.sleep(60)
    os._exit(0)
print(child, stray, flush=True)
time.sleep(60)
"#,
        inside = inside.path.display(),
        outside = outside.path.display(),
    );
    let Some((_parent, line)) = python(&program) else {
        return;
    };
    // Both have left by now; how long it took to start a program does not count.
    let since = Instant::now();
    for pid in line.split_whitespace() {
        let left = alarm(&governing, Pid(pid.parse().unwrap()), since);
        assert!(left.to.ends_with("/outside"), "{left:?}");
    }
}
