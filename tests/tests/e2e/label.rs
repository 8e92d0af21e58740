//! Labels come and go while clients connect and ask without end.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use node_agent_tests::client::{Deed, Dialer, Noted, Who, moment};
use node_agent_tests::{Place, World, until};
use rustix::fs::{XattrFlags, removexattr, setxattr};

use super::agent_is_here;

const SOON: Duration = Duration::from_secs(20);
const ATTRIBUTE: &str = "user.node-agent.workload";
const CLIENTS: usize = 8;

/// From when to when something was certain.
struct Window {
    from: u64,
    to: u64,
    labelled: bool,
}

/// Waits until the agent says whether a cgroup is labelled.
fn told(world: &World, cgroup: &str, labelled: bool) -> Result<()> {
    until("the agent says so", SOON, || {
        let seen = world.cli(&["status", "--json"])?;
        let status: serde_json::Value =
            serde_json::from_str(&seen.stdout).with_context(|| seen.stderr.clone())?;
        let all = status["governed"].as_array().context("a list")?;
        let is = all.iter().any(|one| one["cgroup"] == cgroup);
        Ok((is == labelled).then_some(()))
    })
}

/// A moment in which the clients do what they do: a login behind the agent takes the longest.
fn meanwhile() {
    std::thread::sleep(Duration::from_millis(150));
}

/// Nobody was answered by whom he should not have been.
fn judge(windows: &[Window], notes: &[Noted]) -> [usize; 4] {
    // Sessions opened by either; questions that went on after their kind of session was no longer
    // opened; questions that ended with their session.
    let (mut governed, mut direct, mut went_on, mut ended) = (0, 0, 0, 0);
    for noted in notes {
        let within = windows
            .iter()
            .find(|window| noted.begun >= window.from && noted.over <= window.to);
        let Some(window) = within else {
            ended += usize::from(noted.deed == Deed::Asked && noted.who == Who::Nobody);
            continue;
        };
        match (noted.deed, window.labelled, noted.who) {
            (Deed::Opened, true, Who::Agent) => governed += 1,
            (Deed::Opened, false, Who::Database) => direct += 1,
            (Deed::Opened, labelled, who) => {
                panic!("opened by {who:?}, labelled: {labelled}: {noted:?}")
            }
            (Deed::Asked, true, Who::Database) => panic!("a session from before: {noted:?}"),
            (Deed::Asked, false, Who::Agent) => went_on += 1,
            (Deed::Asked, _, Who::Nobody) => ended += 1,
            (Deed::Asked, true, Who::Agent) | (Deed::Asked, false, Who::Database) => {}
        }
    }
    [governed, direct, went_on, ended]
}

#[test]
fn a_label_put_and_taken_fifty_times_under_load_is_obeyed_each_time() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder().upstream_tls("disable").start().unwrap();
    let late = world.tree().child("late")?;
    let mut clients = Dialer::start(&late)?;
    let mut windows = Vec::new();
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    let notes = clients.mingle(world.cluster().address(), CLIENTS, || {
        for _ in 0..50 {
            for labelled in [true, false] {
                let asked = Instant::now();
                if labelled {
                    setxattr(&late, ATTRIBUTE, b"claude", XattrFlags::empty())?;
                } else {
                    removexattr(&late, ATTRIBUTE)?;
                }
                told(&world, "late", labelled)?;
                slowest = slowest.max(asked.elapsed());
                let from = moment();
                meanwhile();
                windows.push(Window {
                    from,
                    to: moment(),
                    labelled,
                });
            }
        }
        Ok(())
    })?;
    let [governed, direct, went_on, ended] = judge(&windows, &notes);
    let cut = world.agent().metric("node_agent_connections_cut_total")?;
    println!(
        "{:?}, the slowest change {slowest:?}; {governed} governed, {direct} direct, {cut} cut; \
         {went_on} questions went on after their label, {ended} ended with their session",
        begun.elapsed()
    );
    assert!(governed > 20 && direct > 20, "{governed} {direct}");
    assert!(begun.elapsed() < Duration::from_secs(120));
    // Both kinds of sessions met the change in their middle.
    assert!(
        went_on > 0 && ended > 0 && cut >= 10.0,
        "{went_on} {ended} {cut}"
    );
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    // What was cut ended like a connection, and nothing governed did.
    for noted in notes.iter().filter(|noted| noted.deed == Deed::Asked) {
        assert!(
            noted.who != Who::Nobody || noted.why.contains("onnection"),
            "{noted:?}"
        );
    }
    world.cli(&["sessions", "verify"])?.good()?;
    Ok(())
}

#[test]
fn clients_that_are_moved_into_a_new_cgroup_under_load_are_governed_there_alone() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder().upstream_tls("disable").start().unwrap();
    let outside = world.cgroup(Place::Outside);
    let mut clients = Dialer::start(&outside)?;
    let id = clients.id().to_string();
    let mut windows = Vec::new();
    let notes = clients.mingle(world.cluster().address(), CLIENTS, || {
        for number in 0..10 {
            // The glob matches it.
            let name = format!("agents/claude-{number}");
            let made = world.tree().child(&name)?;
            fs::write(made.join("cgroup.procs"), &id)?;
            told(&world, &name, true)?;
            let from = moment();
            meanwhile();
            windows.push(Window {
                from,
                to: moment(),
                labelled: true,
            });
            fs::write(outside.join("cgroup.procs"), &id)?;
            let from = moment();
            meanwhile();
            windows.push(Window {
                from,
                to: moment(),
                labelled: false,
            });
            fs::remove_dir(&made)?;
            told(&world, &name, false)?;
        }
        Ok(())
    })?;
    let [governed, direct, went_on, ended] = judge(&windows, &notes);
    println!("{governed} governed, {direct} direct, {went_on} went on, {ended} ended");
    assert!(governed > 5 && direct > 5, "{governed} {direct}");
    assert!(went_on > 0 && ended > 0, "{went_on} {ended}");
    Ok(())
}
