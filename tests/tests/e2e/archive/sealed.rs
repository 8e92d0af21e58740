//! Sealed recordings in the archive, the last words of a killed agent among them: nobody on the way
//! sees a word, and who has the key reads all of it, far from the node.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};
use node_agent_tests::{World, program, until};
use rustix::process::{Signal, kill_process};

use super::storage::Storage;
use super::{
    LATER, SOON, agent_is_here, all_there, degraded, elsewhere, lies_there, name, recordings,
    session,
};

const MARKERS: [&str; 2] = ["marker_of_a_text", "marker_of_last_words"];

#[test]
fn what_a_killed_agent_left_is_archived_sealed_and_read_far_away_by_who_has_the_key() -> Result<()>
{
    if !agent_is_here() {
        return Ok(());
    }
    let storage = Storage::start()?;
    let keys = tempfile::tempdir()?;
    let memory = tempfile::tempdir_in("/dev/shm")?;
    // The worker passes through.
    fs::set_permissions(memory.path(), fs::Permissions::from_mode(0o711))?;
    let key = keys.path().join("one").display().to_string();
    let public = elsewhere(&["sessions", "keygen", &key])?.good()?.stdout;
    let world = World::builder()
        .settings(&storage.settings(&format!(
            "  encrypt_to: [\"{}\"]\n  journal: \"{}\"\n",
            public.trim(),
            memory.path().join("journal").display()
        )))
        .start()
        .unwrap();
    let dir = world.agent().state_dir().join("recordings");
    let whole = session(&world, &dir, "select 'marker_of_a_text'")?;
    let before = recordings(&dir)?;
    let mut dialer = world.dialer()?;
    let mut client = world.client(&mut dialer)?;
    client.query("select 'marker_of_a_text'")?;
    let died = until("it has a file", SOON, || {
        Ok(recordings(&dir)?.difference(&before).next().cloned())
    })?;
    // This is in the journal, and in no block.
    client.query("select 'marker_of_last_words'")?;
    kill_process(program::pid(world.agent().worker()?)?, Signal::KILL)?;
    until("both lie there", LATER, || {
        Ok((lies_there(&storage, &whole)? && lies_there(&storage, &died)?).then_some(()))
    })?;
    all_there(&world)?;
    until("the ledger lies there, which goes last", SOON, || {
        let seen = world.cli(&["sessions", "archive"])?;
        Ok(seen.status.success().then_some(()))
    })?;
    assert!(!degraded(&world)?.contains("archive"));
    for (object, path) in storage.objects()? {
        let bytes = fs::read(path)?;
        for marker in MARKERS {
            let seen = bytes.windows(marker.len()).any(|w| w == marker.as_bytes());
            assert!(!seen, "{marker} in {object}");
        }
    }

    let back = world.path().join("back");
    let to = back.display().to_string();
    let fetched = ["sessions", "fetch", "--all", "--to", &to];
    world.cli(&fetched)?.good()?;
    let node = back.join("node-key.pub").display().to_string();
    let verify = ["sessions", "verify", "--config", "/nowhere.yaml", "--dir"];
    let verify = [&verify[..], &[&to, "--key", &node, "--copy"]].concat();
    let seen = elsewhere(&verify)?.good()?;
    assert!(seen.stdout.contains("not opened here"), "{}", seen.all());
    let seen = elsewhere(&[&verify[..], &["--identity", &key]].concat())?.good()?;
    assert!(!seen.stdout.contains("not opened"), "{}", seen.all());
    let file = back.join(died.file_name().context("a name")?);
    let file = file.display().to_string();
    let seen = elsewhere(&["replay", &file])?;
    assert_eq!(seen.status.code(), Some(2), "{}", seen.all());
    assert!(seen.stderr.contains("sealed to "), "{}", seen.all());
    let seen = elsewhere(&["replay", &file, "--identity", &key])?.good()?;
    for words in [MARKERS[0], MARKERS[1], "the agent died"] {
        assert!(seen.stdout.contains(words), "{words}: {}", seen.all());
    }
    // One whose end was changed on the way is named without any key.
    let mut bytes = fs::read(&file)?;
    let last = bytes.len() - 20;
    bytes[last] ^= 1;
    fs::write(&file, bytes)?;
    let seen = elsewhere(&verify)?;
    assert_eq!(seen.status.code(), Some(1), "{}", seen.all());
    assert!(seen.stdout.contains(&name(&died)?), "{}", seen.all());
    Ok(())
}
