//! The ledger of the recordings: what is missing or changed is named, what was removed in order is
//! not, through restarts, kills and commands beside the agent.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use node_agent_tests::{World, parts, program, until};
use rustix::process::{Signal, kill_process};
use serde_json::Value;

use super::agent_is_here;

const SOON: Duration = Duration::from_secs(10);

fn recordings(dir: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "rec") {
            found.insert(path);
        }
    }
    Ok(found)
}

/// One session, recorded to its end; gives its file.
fn session(world: &World, dir: &Path) -> Result<PathBuf> {
    let before = recordings(dir)?;
    assert_eq!(world.ask("select 1")?.good()?.stdout, "1\n");
    let path = until("it has a file", SOON, || {
        Ok(recordings(dir)?.difference(&before).next().cloned())
    })?;
    let name = path
        .file_stem()
        .context("a name")?
        .to_string_lossy()
        .into_owned();
    until("it is closed", SOON, || {
        let seen = world.cli(&["sessions", "verify", &name, "--json"])?.stdout;
        Ok(seen.contains("\"end\":\"closed\"").then_some(()))
    })?;
    Ok(path)
}

#[test]
fn what_is_deleted_is_named_and_what_is_removed_in_order_is_not() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder()
        .settings("recording: { retention: 2s, workload_max_bytes: 1GiB }\n")
        .start()
        .unwrap();
    let dir = world.agent().state_dir().join("recordings");
    let first = session(&world, &dir)?;
    world.cli(&["sessions", "verify"])?.good()?;

    // Deleted by hand, and put back.
    let name = first
        .file_stem()
        .context("a name")?
        .to_string_lossy()
        .into_owned();
    let bytes = fs::read(&first)?;
    fs::remove_file(&first)?;
    for words in [
        &["sessions", "verify"][..],
        &["sessions", "verify", &name][..],
    ] {
        let seen = world.cli(words)?;
        assert_eq!(seen.status.code(), Some(1), "{}", seen.all());
        let line = format!("{name}: DELETED: it is gone, without a tombstone; begun 20");
        assert!(seen.stdout.contains(&line), "{}", seen.all());
    }
    fs::write(&first, &bytes)?;
    world.cli(&["sessions", "verify"])?.good()?;
    // Cut at the border of its last block.
    let payload = bytes.last_chunk::<4>().context("an end")?;
    let last = 84 + u32::from_le_bytes(*payload) as usize;
    fs::write(&first, &bytes[..bytes.len() - last])?;
    let seen = world.cli(&["sessions", "verify"])?;
    assert_eq!(seen.status.code(), Some(1), "{}", seen.all());
    assert!(
        seen.stdout.contains(&format!("{name}: TRUNCATED")),
        "{}",
        seen.all()
    );
    fs::write(&first, &bytes)?;

    // A command beside the agent removes it in order; as root it leaves nothing of root's.
    until("it is too old and removed", SOON, || {
        world.cli(&["sessions", "prune"])?.good()?;
        Ok((!first.exists()).then_some(()))
    })?;
    let seen = world.cli(&["sessions", "verify"])?.good()?;
    assert!(seen.stdout.contains("0 deleted"), "{}", seen.stdout);
    let owner = fs::metadata(&dir)?.uid();
    for entry in fs::read_dir(dir.join("ledger"))? {
        assert_eq!(entry?.metadata()?.uid(), owner);
    }

    // A killed worker's successor goes on with the ledger.
    kill_process(program::pid(world.agent().worker()?)?, Signal::KILL)?;
    until("another serves", SOON, || {
        Ok(world.ask("select 1")?.status.success().then_some(()))
    })?;
    let mut said = String::new();
    let sound = until("all of it is sound", SOON, || {
        let seen = world.cli(&["sessions", "verify"])?;
        said = seen.all();
        Ok(seen.status.success().then_some(()))
    });
    sound.with_context(|| said)?;

    // Elsewhere the public half of the key is enough, and without it nothing is called good.
    let copy = world.path().join("copied");
    let copied = program::Program::new("cp")
        .args(["-r", &dir.to_string_lossy(), &copy.to_string_lossy()])
        .run()?;
    copied.good()?;
    let public = world.agent().state_dir().join("node-key.pub");
    let elsewhere = |words: &[&str]| {
        program::Program::new(parts::built("node-agent")?)
            .args(["sessions", "verify", "--config", "/nowhere.yaml", "--dir"])
            .arg(&copy)
            .args(words)
            .run()
    };
    let seen = elsewhere(&["--json", "--key", &public.to_string_lossy()])?.good()?;
    let summary: Value = serde_json::from_str(seen.stdout.lines().last().context("a line")?)?;
    let status: Value = serde_json::from_str(&world.cli(&["status", "--json"])?.stdout)?;
    assert_eq!(summary["signed_by"][0], status["node_key"], "{summary}");
    let seen = elsewhere(&[])?;
    assert!(
        !seen.status.success() && seen.stderr.contains("--key FILE"),
        "{}",
        seen.all()
    );
    Ok(())
}
