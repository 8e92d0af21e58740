//! Workloads that run already are labelled, while they talk to their database.

use std::time::Duration;

use anyhow::Result;
use node_agent_tests::pg::SERVICE;
use node_agent_tests::program::Program;
use node_agent_tests::{Place, World, until};

use super::agent_is_here;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_query_in_flight_is_cut_by_the_label_and_the_reconnect_is_governed() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder().upstream_tls("disable").start().unwrap();
    // Named by an attribute later, so no glob matches it now.
    let late = world.tree().child("late")?;
    let running = Program::in_cgroup(&late, node_agent_tests::parts::on_path("psql")?)
        .args(["-XAtc", "select pg_sleep(600)"])
        .arg(world.dsn(Place::Outside, world.cluster(), "disable"))
        .spawn()?;
    until("the query runs", SOON, || {
        Ok((world.running("pg_sleep(600)")? == 1).then_some(()))
    })?;

    rustix::fs::setxattr(
        &late,
        "user.node-agent.workload",
        b"claude",
        rustix::fs::XattrFlags::empty(),
    )?;
    let cut = running.finish()?;
    assert!(!cut.status.success());
    assert!(cut.stderr.contains("connection abort"), "{}", cut.stderr);
    assert_eq!(
        world.agent().metric("node_agent_connections_cut_total")?,
        1.0
    );
    let log = std::fs::read_to_string(world.agent().log())?;
    assert!(
        log.contains("ended a connection that led past the agent"),
        "{log}"
    );

    let again = Program::in_cgroup(&late, "psql")
        .args(["-XAtc", "select current_user"])
        .arg(world.dsn(Place::Inside, world.cluster(), "disable"))
        .run()?
        .good()?;
    assert_eq!(again.stdout.trim(), SERVICE);
    until("it was a session of the agent", SOON, || {
        Ok((world.agent().metric("node_agent_sessions_total")? >= 1.0).then_some(()))
    })?;
    // What it may do besides is said: it runs as root of this host.
    let _idle = Program::in_cgroup(&late, "sleep").arg("60").spawn()?;
    until("it is only partly governed", SOON, || {
        let status = world.cli(&["status"])?.stdout;
        let words = ["late", "partly governed", "drop SYS_ADMIN"];
        Ok(words.iter().all(|word| status.contains(word)).then_some(()))
    })?;
    Ok(())
}

#[test]
fn who_leaves_is_in_the_log_the_metric_and_the_status() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder().start().unwrap();
    let outside = world.cgroup(Place::Outside);
    let script = format!(
        "echo $$ > {}/cgroup.procs; exec sleep 30",
        outside.display()
    );
    let _leaver = world
        .program(Place::Inside, "sh")
        .args(["-c", &script])
        .spawn()?;
    until("it is counted", SOON, || {
        Ok((world.agent().metric("node_agent_left_total")? >= 1.0).then_some(()))
    })?;
    let status = world.cli(&["status"])?.stdout;
    assert!(
        status.contains("LEFT: process ") && status.contains("others"),
        "{status}"
    );
    let log = std::fs::read_to_string(world.agent().log())?;
    assert!(log.contains("a process left its labelled cgroup"), "{log}");
    Ok(())
}

#[test]
fn many_short_privileged_processes_do_not_fill_the_log() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder().start().unwrap();
    // Each of them is seen: it comes and goes as root of this host.
    let series = "node_agent_workload_governed{workload=\"claude\",state=\"partly governed\"}";
    let mut seen = 0;
    for _ in 0..10 {
        let running = world.program(Place::Inside, "sleep").arg("30").spawn()?;
        let partly = |is: bool| {
            until("the metric follows", SOON, || {
                let all = node_agent_tests::metrics::scrape(world.agent().admin())?;
                let now = all.get(series).copied().unwrap_or_default() > 0.0;
                Ok((now == is).then_some(()))
            })
        };
        partly(true)?;
        drop(running);
        partly(false)?;
        seen += 1;
    }
    let log = std::fs::read_to_string(world.agent().log())?;
    let said = log.matches("a workload's standing changed").count();
    assert!(
        (1..=3).contains(&said),
        "{seen} came and went, said {said} times: {log}"
    );
    Ok(())
}
