//! The agent's two halves: the keeper, which has the privileges, and the worker, which talks.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use anyhow::{Context, Result};
use node_agent_tests::program::{Program, pid};
use node_agent_tests::{World, metrics, parts, until};
use rustix::process::{Signal, kill_process};

use super::agent_is_here;

const SOON: Duration = Duration::from_secs(20);

fn field(process: u32, name: &str) -> Result<String> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    Ok(line.context("no such field")?.trim().to_owned())
}

#[test]
fn the_half_that_talks_has_no_privilege_and_no_way_to_one() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder().start().unwrap();
    assert_eq!(world.ask("select 1")?.good()?.stdout, "1\n");
    let worker = world.agent().worker()?;
    for name in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        let has = u64::from_str_radix(&field(worker, name)?, 16)?;
        assert_eq!(has, 0, "{name}");
    }
    let user = node_agent::keeper::WORKER_ID.to_string();
    for name in ["Uid:", "Gid:"] {
        let ids = field(worker, name)?;
        assert!(ids.split_whitespace().all(|id| id == user), "{name} {ids}");
    }
    assert_eq!(field(worker, "Groups:")?, "");
    assert_eq!(field(worker, "NoNewPrivs:")?, "1");
    // Not dumpable: what shows its memory belongs to root, and its own user may not trace it.
    assert_eq!(fs::metadata(format!("/proc/{worker}/mem"))?.uid(), 0);
    let limits = fs::read_to_string(format!("/proc/{worker}/limits"))?;
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let words: Vec<&str> = core.context("no such limit")?.split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"]);

    let status = world.cli(&["status", "--json"])?.good()?.stdout;
    let status: serde_json::Value = serde_json::from_str(&status)?;
    assert_eq!(status["keeper"], world.agent().id());
    assert_eq!(status["worker"], worker);
    assert_eq!(status["workers_replaced"], 0);
    Ok(())
}

#[test]
fn the_worker_s_user_reaches_neither_pins_nor_processes_nor_replaces_keys() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder().start().unwrap();
    let (state, keeper) = (world.agent().state_dir(), world.agent().id());
    let as_worker = |script: String| -> Result<bool> {
        let user = node_agent::keeper::WORKER_ID;
        let tried = Program::new(parts::on_path("setpriv")?)
            .args([&format!("--reuid={user}"), &format!("--regid={user}")])
            .args(["--clear-groups", "--no-new-privs", "--inh-caps=-all"])
            .args(["--bounding-set=-all", "--", "sh", "-c", &script])
            .run()?;
        Ok(tried.status.success())
    };
    let state = state.display();
    assert!(
        as_worker(format!("cat {state}/mask.key"))?,
        "it is the worker"
    );
    for script in [
        format!("ls {state}/bpf"),
        format!("ls {state}"),
        format!("mv {state}/mask.key {state}/old"),
        format!("rm {state}/ca.pem"),
        format!("mv {state}/bpf {state}/old"),
        format!("kill -0 {keeper}"),
        format!("cat /proc/{keeper}/environ"),
        format!("cat /proc/{}/environ", world.agent().worker()?),
        format!("ls /proc/{keeper}/root"),
        format!("echo 0 > {}/cgroup.procs", world.tree().path().display()),
    ] {
        assert!(!as_worker(script.clone())?, "{script}");
    }
    Ok(())
}

#[test]
fn a_killed_worker_is_replaced_and_who_comes_meanwhile_waits_for_the_next() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder().start().unwrap();
    assert_eq!(world.ask("select 1")?.good()?.stdout, "1\n");
    let keeper = world.agent().id();
    let recordings = world.agent().state_dir().join("recordings");
    for number in 1..=3 {
        let old = world.agent().worker()?;
        // Some that come and go at this very moment: what becomes of those is their clients' to
        // bear, and what was recorded of them holds.
        let had = fs::read_dir(&recordings)?.count();
        std::thread::scope(|scope| -> Result<()> {
            let busy: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| world.ask("select 3")))
                .collect();
            // The moment a file is made is the one to be found out about.
            while fs::read_dir(&recordings)?.count() == had && !busy.iter().all(|b| b.is_finished())
            {
                std::thread::yield_now();
            }
            kill_process(pid(old)?, Signal::KILL)?;
            for one in busy {
                one.join().expect("no panic")?;
            }
            Ok(())
        })?;
        // A connection handed over while it dies goes with it; from then on they wait.
        until("it is dead", SOON, || {
            let state = field(old, "State:").unwrap_or_default();
            Ok((state.is_empty() || state.starts_with(['Z', 'X'])).then_some(()))
        })?;
        assert_eq!(world.ask("select 2")?.good()?.stdout, "2\n");
        let new = world.agent().worker()?;
        assert_ne!(new, old);
        assert_eq!(world.agent().id(), keeper);
        until("the new worker says how many came before", SOON, || {
            // Not ready yet is an answer too.
            let status = world.cli(&["status", "--json"])?.stdout;
            let status: serde_json::Value = serde_json::from_str(&status).unwrap_or_default();
            Ok((status["workers_replaced"] == number).then_some(()))
        })?;
        until("it is ready", SOON, || {
            let ready = metrics::get(world.agent().admin(), "/readyz")?;
            Ok((ready.0 == 200).then_some(()))
        })?;
    }
    let verified = world.cli(&["sessions", "verify"])?;
    assert!(verified.status.success(), "{}", verified.all());
    Ok(())
}

#[test]
fn a_killed_keeper_takes_its_worker_along() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut world = World::builder().start().unwrap();
    let worker = world.agent().worker()?;
    world.agent_mut().kill()?;
    until("the worker is gone", SOON, || {
        Ok((!fs::exists(format!("/proc/{worker}/mem"))?).then_some(()))
    })?;
    let refused = world.ask("select 1")?.stderr;
    assert!(refused.contains("Connection refused"), "{refused}");
    Ok(())
}
