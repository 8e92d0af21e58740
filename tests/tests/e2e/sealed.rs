//! Recordings that are sealed: who has a private key reads them, and nobody else sees a word of them,
//! through kills, lists and searches.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use node_agent_tests::{Finished, World, parts, program, until};
use rustix::process::{Signal, kill_process};
use serde_json::Value;

use super::agent_is_here;

const SEED: &str = "create schema sales; \
    create table sales.customers (id int primary key, name text); \
    insert into sales.customers values (1, 'marker_of_a_row'); \
    grant usage on schema sales to public; \
    grant all on all tables in schema sales to public";

const POLICY: &str = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: sealed }
mode: enforce
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
rules:
  - { name: read, effect: allow, statements: [read, transaction, set], tables: ['sales.*'] }
  - { name: alone, effect: allow, statements: [read] }
";

/// What somebody said, or was told.
const MARKERS: [&str; 2] = ["marker_of_a_text", "marker_of_a_row"];

const SOON: Duration = Duration::from_secs(20);

/// A pair that the program made: the private key's file, and the public key.
fn pair(dir: &Path, name: &str) -> Result<(PathBuf, String)> {
    let file = dir.join(name);
    let made = program::Program::new(parts::built("node-agent")?)
        .args(["sessions", "keygen"])
        .arg(&file)
        .run()?
        .good()?;
    assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file)?;
    assert!(text.contains(made.stdout.trim()), "{}", made.stdout);
    Ok((file, made.stdout.trim().to_owned()))
}

/// Files below a directory that hold one of the markers.
fn marked(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(marked(&path)?);
            continue;
        }
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).context(path.display().to_string()),
        };
        let has = |marker: &&str| bytes.windows(marker.len()).any(|w| w == marker.as_bytes());
        if MARKERS.iter().any(has) {
            found.push(path);
        }
    }
    Ok(found)
}

fn says(seen: &Finished, status: i32, words: &[&str]) {
    assert_eq!(seen.status.code(), Some(status), "{}", seen.all());
    for word in words {
        assert!(seen.all().contains(word), "{word}: {}", seen.all());
    }
}

#[test]
fn what_is_sealed_is_read_with_a_key_and_is_nowhere_in_clear_even_after_a_kill() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let keys = tempfile::tempdir()?;
    let memory = tempfile::tempdir_in("/dev/shm")?;
    // The worker passes through.
    fs::set_permissions(memory.path(), fs::Permissions::from_mode(0o711))?;
    fs::set_permissions(keys.path(), fs::Permissions::from_mode(0o711))?;
    let (one, public) = pair(keys.path(), "one")?;
    let (other, in_file) = pair(keys.path(), "other")?;
    let (stranger, _) = pair(keys.path(), "stranger")?;
    let file = keys.path().join("team.pub");
    fs::write(&file, format!("# the team\n{in_file}\n"))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
    let world = World::builder()
        .policy_text("sealed.yaml", POLICY)
        .seed(SEED)
        .settings(&format!(
            "recording: {{ encrypt_to: [\"{public}\", \"{}\"], journal: \"{}\" }}\n",
            file.display(),
            memory.path().join("journal").display()
        ))
        .start()
        .unwrap();
    let dir = world.agent().state_dir().join("recordings");
    let asked = "select name, 'marker_of_a_text' from sales.customers";
    assert!(world.ask(asked)?.good()?.stdout.contains("marker_of_a_row"));
    let name = until("it is listed as sealed", SOON, || {
        let list = world.cli(&["sessions", "ls", "--json"])?.good()?.stdout;
        let Some(line) = list.lines().next() else {
            return Ok(None);
        };
        let entry: Value = serde_json::from_str(line)?;
        let closed = !entry["ended"].is_null();
        assert!(entry["user"].is_null(), "{entry}");
        Ok(closed.then(|| {
            assert_eq!(
                entry["sealed_to"].as_array().map(Vec::len),
                Some(2),
                "{entry}"
            );
            assert_eq!(entry["unopened"], true, "{entry}");
            assert_eq!(entry["totals"]["statements"], 1, "{entry}");
            assert_eq!(entry["totals"]["rows"], 1, "{entry}");
            assert_ne!(entry["workload"], "", "{entry}");
            entry["session"].as_str().unwrap().to_owned()
        }))
    })?;
    let name = name.as_str();
    let status = world.cli(&["status"])?.good()?.stdout;
    assert!(status.contains("recordings are sealed to "), "{status}");

    // Without a key, or with another: said, and how to mend it.
    let strange = stranger.to_string_lossy().into_owned();
    for words in [
        &["replay", name][..],
        &["sessions", "show", name],
        &["sessions", "export", name],
        &["sessions", "grep", "marker"],
        &["replay", name, "--format", "html"],
    ] {
        says(&world.cli(words)?, 2, &["sealed to ", "--identity FILE"]);
        let with = [words, &["--identity", &strange]].concat();
        says(&world.cli(&with)?, 2, &["those at hand are others"]);
    }
    let seen = world.cli(&["sessions", "ls"])?.good()?;
    assert!(seen.stdout.contains("sealed") && seen.stderr.contains("--identity FILE"));
    let seen = world.cli(&["sessions", "verify"])?.good()?;
    assert!(seen.stdout.contains("not opened here"), "{}", seen.stdout);

    // With either.
    for key in [&one, &other] {
        let key = key.to_string_lossy().into_owned();
        for words in [
            &["replay", name][..],
            &["sessions", "show", name],
            &["sessions", "export", name],
            &["sessions", "export", name, "--format", "csv"],
            &["sessions", "grep", "marker"],
            &["replay", name, "--format", "html"],
        ] {
            let with = [words, &["--identity", &key]].concat();
            says(&world.cli(&with)?, 0, &["marker_of_a_text"]);
        }
        let rows = [
            "sessions",
            "export",
            name,
            "--rows",
            "1",
            "--identity",
            &key,
        ];
        says(&world.cli(&rows)?, 0, &["marker_of_a_row"]);
        let listed = ["sessions", "ls", "--json", "--identity", &key];
        let listed = world.cli(&listed)?.good()?;
        assert!(!listed.stdout.contains("unopened"), "{}", listed.stdout);
        assert!(
            listed.stdout.contains("sales.customers"),
            "{}",
            listed.stdout
        );
        let opened = world
            .cli(&["sessions", "verify", "--identity", &key])?
            .good()?;
        assert!(!opened.stdout.contains("not opened"), "{}", opened.stdout);
        let back = world.path().join("sealed.yaml");
        fs::write(&back, POLICY)?;
        let back = back.to_string_lossy().into_owned();
        let words = [
            "policy",
            "backtest",
            "--policies",
            &back,
            "--identity",
            &key,
        ];
        world.cli(&words)?.good()?;
    }
    world.cli(&["sessions", "index", "--rebuild"])?.good()?;
    assert_eq!(marked(&dir)?, Vec::<PathBuf>::new());
    until("the journal is wiped", SOON, || {
        Ok(marked(memory.path())?.is_empty().then_some(()))
    })?;

    // A worker is killed in the middle of a session: the next one closes what it cannot read.
    let mut dialer = world.dialer()?;
    let mut client = world.client(&mut dialer)?;
    client.query("select name, 'marker_of_a_text', 'last_words' from sales.customers")?;
    kill_process(program::pid(world.agent().worker()?)?, Signal::KILL)?;
    let key = one.to_string_lossy().into_owned();
    let died = until("the next one closes it", SOON, || {
        let list = world.cli(&[
            "sessions",
            "ls",
            "--json",
            "--why",
            "agent_died",
            "--identity",
            &key,
        ])?;
        let line = list.stdout.lines().next().map(str::to_owned);
        line.map(|line| Ok(serde_json::from_str::<Value>(&line)?))
            .transpose()
    })?;
    let died = died["session"].as_str().context("a session")?;
    let seen = world.cli(&["replay", died, "--identity", &key])?;
    says(
        &seen,
        0,
        &["marker_of_a_text", "last_words", "the agent died"],
    );
    world.cli(&["sessions", "verify"])?.good()?;
    world
        .cli(&["sessions", "verify", "--identity", &key])?
        .good()?;
    assert_eq!(marked(&dir)?, Vec::<PathBuf>::new());
    until("nothing is left in memory", SOON, || {
        Ok(marked(memory.path())?.is_empty().then_some(()))
    })?;
    Ok(())
}

#[test]
fn an_agent_that_cannot_seal_as_it_is_told_does_not_start() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let keys = tempfile::tempdir()?;
    let memory = tempfile::tempdir_in("/dev/shm")?;
    let (_, public) = pair(keys.path(), "one")?;
    let gone = keys.path().join("gone.pub");
    for (to, journal, said) in [
        (
            gone.to_string_lossy().into_owned(),
            memory.path().join("journal"),
            "cannot read",
        ),
        // On a disk.
        (
            public,
            PathBuf::from("/var/tmp/node-agent-test-journal"),
            "name a directory in memory",
        ),
    ] {
        let started = World::builder()
            .settings(&format!(
                "recording: {{ encrypt_to: [\"{to}\"], journal: \"{}\" }}\n",
                journal.display()
            ))
            .start();
        let error = started.err().context("it started")?;
        assert!(format!("{error:#}").contains(said), "{error:#}");
    }
    let _ = fs::remove_dir("/var/tmp/node-agent-test-journal"); // it is empty
    Ok(())
}
