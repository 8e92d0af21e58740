//! The agent tries its own redirect, and says so when it does not hold.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use node_agent_tests::{Place, World, metrics, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

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

fn status(world: &World) -> Result<Value> {
    let seen = world.cli(&["status", "--json"])?;
    serde_json::from_str(&seen.stdout).with_context(|| seen.stderr.clone())
}

/// The state of each labelled cgroup.
fn states(status: &Value) -> Vec<String> {
    let all = status["governed"].as_array().into_iter().flatten();
    all.filter_map(|one| one["state"].as_str().map(str::to_owned))
        .collect()
}

fn metric(world: &World, series: &str) -> Result<f64> {
    let all = metrics::scrape(world.agent().admin())?;
    Ok(all.get(series).copied().unwrap_or_default())
}

#[test]
fn a_redirect_that_was_taken_away_is_noticed_and_status_never_says_governed_then() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut world = world();
    assert!(ready(&world)?.0);
    let before = status(&world)?;
    assert_eq!(before["governing"], true);
    assert_eq!(states(&before), ["governed", "governed"]);
    let series = "node_agent_workload_governed{workload=\"idle\",state=\"governed\"}";
    assert_eq!(metric(&world, "node_agent_governing")?, 1.0);
    assert_eq!(metric(&world, series)?, 1.0);

    // Somebody takes the redirect away under the running agent.
    world.cli(&["uninstall"])?.good()?;
    let words = until("readiness follows", SOON, || {
        let (good, words) = ready(&world)?;
        Ok((!good).then_some(words))
    })?;
    assert!(
        words.contains("not governing: the link of ") && words.contains("restart the agent"),
        "{words}"
    );
    let after = status(&world)?;
    assert_eq!(after["governing"], false);
    assert_eq!(states(&after), ["not governed", "not governed"]);
    assert_eq!(metric(&world, "node_agent_governing")?, 0.0);
    assert_eq!(metric(&world, series)?, 0.0);
    assert!(metric(&world, "node_agent_canary_failures_total")? >= 1.0);
    let text = world.cli(&["status"])?.stdout;
    assert!(text.contains("governing: NO"), "{text}");
    assert!(world.agent().log_tail().contains("NOT GOVERNING"));

    // The mend is the one that was named.
    world.agent_mut().kill()?;
    world.agent_mut().start()?;
    assert!(ready(&world)?.0);
    assert_eq!(status(&world)?["governing"], true);
    assert_eq!(world.ask("select 1")?.good()?.stdout, "1\n");
    Ok(())
}

#[test]
fn a_pin_that_is_gone_is_noticed_while_the_redirect_still_holds() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world();
    fs::remove_file(world.agent().state_dir().join("bpf/link_connect6"))?;
    let words = until("readiness follows", SOON, || {
        let (good, words) = ready(&world)?;
        Ok((!good).then_some(words))
    })?;
    assert!(words.contains("the pin of on_connect6 is gone"), "{words}");
    Ok(())
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
