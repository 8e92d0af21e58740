//! The agent tries its own redirect, and says so when it does not hold.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use node_agent_tests::{Place, World, metrics, until};
use rustix::process::{Pid, Signal, kill_process};

use super::agent_is_here;

const SOON: Duration = Duration::from_secs(20);

fn world() -> World {
    World::builder()
        .workload("idle")
        .canary_every("500ms")
        .start()
        .unwrap()
}

/// The body of `/readyz`, and whether it was 200.
fn ready(world: &World) -> Result<(bool, String)> {
    let (code, body) = metrics::get(world.agent().admin(), "/readyz")?;
    Ok((code == 200, body))
}

#[test]
fn a_canary_that_is_silent_counts_as_not_governing_until_it_answers_again() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world();
    let procs = world.tree().path().join("node-agent.canary/cgroup.procs");
    let pid: i32 = fs::read_to_string(&procs)?.trim().parse()?;
    let pid = Pid::from_raw(pid).context("a pid")?;
    kill_process(pid, Signal::STOP)?;
    let words = until("readiness follows", SOON, || {
        let (good, words) = ready(&world)?;
        Ok((!good).then_some(words))
    })?;
    assert!(words.contains("the canary gives no answer"), "{words}");
    until("another canary answers", SOON, || {
        Ok(ready(&world)?.0.then_some(()))
    })?;
    until("it says so", SOON, || {
        Ok(world
            .agent()
            .log_tail()
            .contains("governing again")
            .then_some(()))
    })?;
    Ok(())
}

/// A dial that was due before anybody took connections is made up for, and not left to the next one.
#[test]
fn an_agent_is_ready_before_the_canary_s_next_dial_is_due() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut world = World::builder().canary_every("60s").start()?;
    for _ in 0..4 {
        world.agent_mut().kill()?;
        world.agent_mut().start()?;
        assert!(ready(&world)?.0);
    }
    Ok(())
}

#[test]
fn the_canary_s_cgroup_gives_nobody_else_its_word() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut world = world();
    // A stranger who runs in it gets no session; what it is told proves nothing to the agent.
    let nest = world.tree().path().join("node-agent.canary");
    let dsn = world.dsn(Place::Inside, world.cluster(), "disable");
    let seen = node_agent_tests::program::Program::in_cgroup(
        &nest,
        node_agent_tests::parts::on_path("psql")?,
    )
    .args(["-X", "-c", "select 1", &dsn])
    .run()?;
    assert!(!seen.status.success(), "{}", seen.stdout);
    assert!(!seen.stdout.contains('1'), "{}", seen.stdout);
    // Its cgroup goes with an agent that stops, and stays for one that was killed.
    world.agent().signal(Signal::TERM)?;
    world.agent_mut().wait(SOON)?;
    assert!(!nest.exists());
    Ok(())
}
