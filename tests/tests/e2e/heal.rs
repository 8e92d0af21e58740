//! Somebody takes the redirect away under the running agent, part by part: it says so, puts it
//! back, ends what got through, and keeps it in mind.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use node_agent_tests::program::Program;
use node_agent_tests::{Place, World, metrics, until};
use serde_json::Value;

use super::agent_is_here;

const SOON: Duration = Duration::from_secs(20);

fn world() -> World {
    World::builder()
        .upstream_tls("disable")
        .workload("idle")
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

fn pin(world: &World, name: &str) -> PathBuf {
    world.agent().state_dir().join("bpf").join(name)
}

/// A pin of the second gate of a place.
fn gate(world: &World, which: &str) -> Result<String> {
    let cgroup = fs::metadata(world.cgroup(Place::Inside))?.ino();
    Ok(format!("link_gate_{which}_{cgroup}"))
}

/// What somebody with all privileges, and the pin, does; several in one go.
fn tamper(world: &World, what: &str, pins: &[&str]) -> Result<()> {
    let commands: String = pins
        .iter()
        .map(|name| format!("tamper {what} {}\n", pin(world, name).display()))
        .collect();
    let commands = world.write("tampering", &commands)?;
    let client = Program::new(env!("CARGO_BIN_EXE_kernel-client")).reading(&commands);
    let done = client.run()?.good()?.stdout;
    assert!(!done.contains("error"), "{done}");
    Ok(())
}

fn times(world: &World) -> Result<u64> {
    Ok(status(world)?["broken"]["times"].as_u64().unwrap_or(0))
}

/// Waits until the agent has put back what was broken for the so-manieth time.
fn healed(world: &World, count: u64) -> Result<Value> {
    until("it is put back", SOON, || {
        let status = status(world)?;
        let broken = &status["broken"];
        let done = broken["times"] == count
            && broken["healed"].is_i64()
            && status["governing"] == true
            && ready(world)?.0;
        Ok(done.then(|| broken.clone()))
    })
}

#[test]
fn a_link_that_is_taken_away_is_told_of_put_back_and_kept_in_mind() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world();
    assert_eq!(status(&world)?["broken"], Value::Null);
    let (egress, option) = (gate(&world, "egress")?, gate(&world, "setsockopt")?);
    let parts = [
        ("link_connect4", "the link of on_connect4 is detached"),
        ("link_sock_ops", "the link of on_sock_ops is detached"),
        (egress.as_str(), "the link of on_egress at "),
        (option.as_str(), "the link of on_setsockopt at "),
    ];
    let mut before = None;
    for (count, (name, words)) in (1_u64..).zip(parts) {
        tamper(&world, "detach", &[name])?;
        let broken = healed(&world, count)?;
        assert!(broken["what"].as_str().unwrap().contains(words), "{broken}");
        let missing = broken["missing_at_most_ms"].as_i64().context("how long")?;
        let at = broken["healed"].as_i64().context("when")?;
        assert!(
            before.is_none_or(|before| missing <= at - before + 50),
            "{broken}"
        );
        before = Some(at);
        assert!(pin(&world, name).exists());
        assert_eq!(world.ask("select 1")?.good()?.stdout, "1\n");
        let log = fs::read_to_string(world.agent().log())?;
        let alarm = log.rfind("NOT GOVERNING").context("an alarm")?;
        let mended = log
            .rfind("put back what was taken away")
            .context("a mend")?;
        let well = log.rfind("governing again").context("an all-clear")?;
        assert!(alarm < mended && mended < well, "{log}");
        assert!(log[alarm..].contains(words) || log[..mended].contains(words));
    }
    assert_eq!(world.agent().metric("node_agent_links_broken_total")?, 4.0);
    assert_eq!(world.agent().metric("node_agent_governing")?, 1.0);
    let text = world.cli(&["status"])?.good()?.stdout;
    for words in ["BROKEN: 4 times", "put back", "find out who did it"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    Ok(())
}

#[test]
fn what_stands_in_the_place_of_a_part_is_told_of_and_removed() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world();
    // Another program behind our link, which lets everything pass.
    tamper(&world, "replace", &["link_connect4"])?;
    let broken = healed(&world, 1)?;
    let what = broken["what"].as_str().unwrap_or_default();
    assert!(
        what.contains("another program, \"open\" (id ") && what.contains("on_connect4"),
        "{what}"
    );
    assert_eq!(world.ask("select 1")?.good()?.stdout, "1\n");
    // A pin that is gone, of a link and of a map: nothing was open.
    fs::remove_file(pin(&world, "link_connect6"))?;
    let broken = healed(&world, 2)?;
    assert_eq!(broken["what"], "the pin of on_connect6 is gone");
    assert_eq!(broken["missing_at_most_ms"], Value::Null);
    fs::remove_file(pin(&world, "map_LABELS_v3"))?;
    assert_eq!(
        healed(&world, 3)?["what"],
        "the pin of the map LABELS is gone"
    );
    // Another thing in its place: a link of ours under another's name, and a directory.
    let taken = pin(&world, "link_bind4");
    fs::remove_file(&taken)?;
    fs::create_dir(&taken)?;
    let broken = until("it is noticed", SOON, || {
        let broken = status(&world)?["broken"].clone();
        Ok((broken["times"].as_u64() >= Some(4) && broken["healed"].is_i64()).then_some(broken))
    })?;
    assert!(
        broken["what"].as_str().unwrap().contains("on_bind4"),
        "{broken}"
    );
    assert!(taken.is_file());
    assert!(ready(&world)?.0);
    Ok(())
}

#[test]
fn a_connection_made_while_the_redirect_was_gone_is_ended() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world();
    let gates = ["egress", "ingress"];
    let mut parts = vec!["link_connect4".to_owned()];
    for which in gates {
        parts.push(gate(&world, which)?);
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    // Just after a look there is nearly a second until the next.
    let mut count = 0;
    let through = until("one gets through", SOON * 3, || {
        tamper(&world, "detach", &["link_bind6"])?;
        count = times(&world)? + 1;
        until("it is put back", SOON, || {
            let broken = status(&world)?["broken"].clone();
            Ok(broken["healed"].is_i64().then_some(()))
        })?;
        // One that was too late was the agent's, and is counted.
        let before = world.agent().metric("node_agent_sessions_total")?;
        tamper(&world, "detach", &parts)?;
        let mut running = Program::in_cgroup(
            &world.cgroup(Place::Inside),
            node_agent_tests::parts::on_path("psql")?,
        )
        .args(["-XAtc", "select pg_sleep(600)"])
        .arg(world.dsn(Place::Outside, world.cluster(), "disable"))
        .spawn()?;
        until("it runs, or was stopped", SOON, || {
            Ok((world.running("pg_sleep(600)")? == 1 || !running.runs()).then_some(()))
        })?;
        let past = running.runs()
            && world.agent().metric("node_agent_sessions_total")? == before
            && world.agent().metric("node_agent_sessions_open")? == 0.0;
        Ok(past.then_some(running))
    })?;
    let cut = through.finish()?;
    assert!(!cut.status.success());
    assert!(cut.stderr.contains("connection abort"), "{}", cut.stderr);
    healed(&world, times(&world)?)?;
    assert!(count >= 1);
    // One that was ended before it was looked at was ended as well.
    assert!(world.agent().metric("node_agent_connections_cut_total")? >= 1.0);
    Ok(())
}

#[test]
fn who_takes_it_away_again_and_again_is_never_shown_as_governed() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world();
    let stop = AtomicBool::new(false);
    let connect4 = pin(&world, "link_connect4");
    let again = world.write(
        "again",
        &format!("tamper detach {}\n", connect4.display()).repeat(2_000),
    )?;
    std::thread::scope(|scope| -> Result<()> {
        let fighting = scope.spawn(|| -> Result<()> {
            while !stop.load(Ordering::Relaxed) {
                Program::new(env!("CARGO_BIN_EXE_kernel-client"))
                    .reading(&again)
                    .run()?;
            }
            Ok(())
        });
        let seen = until("readiness follows", SOON, || {
            let (good, words) = ready(&world)?;
            Ok((!good).then_some(words))
        });
        let shown = until("status follows", SOON, || {
            let status = status(&world)?;
            Ok((status["governing"] == false).then_some(status))
        });
        let text = until("it is said", SOON, || {
            let text = world.cli(&["status"])?.stdout;
            Ok(text.contains("governing: NO").then_some(text))
        });
        stop.store(true, Ordering::Relaxed);
        fighting.join().unwrap()?;
        let words = seen?;
        assert!(words.contains("not governing: "), "{words}");
        assert!(
            words.contains("find out who") || words.contains("answered"),
            "{words}"
        );
        let shown = shown?;
        assert_eq!(states(&shown), ["not governed", "not governed"]);
        assert!(text?.contains("find out who"));
        Ok(())
    })?;
    until("it stands again", SOON, || {
        Ok((ready(&world)?.0 && status(&world)?["governing"] == true).then_some(()))
    })?;
    assert!(times(&world)? >= 2);
    assert!(world.agent().metric("node_agent_canary_failures_total")? >= 2.0);
    assert_eq!(world.ask("select 1")?.good()?.stdout, "1\n");
    Ok(())
}

#[test]
fn uninstall_asks_to_stop_the_agent_first() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut world = world();
    let seen = world.cli(&["uninstall"])?;
    assert!(!seen.status.success());
    assert!(
        seen.stderr.contains("another agent governs") && seen.stderr.contains("stop it first"),
        "{}",
        seen.stderr
    );
    assert!(pin(&world, "link_connect4").exists());
    assert_eq!(world.ask("select 1")?.good()?.stdout, "1\n");
    world.agent_mut().kill()?;
    world.cli(&["uninstall"])?.good()?;
    assert!(!pin(&world, "link_connect4").exists());
    world.agent_mut().start()?;
    assert_eq!(world.ask("select 1")?.good()?.stdout, "1\n");
    Ok(())
}
