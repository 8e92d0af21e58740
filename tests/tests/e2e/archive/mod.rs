//! Recordings in object storage: they get there, come back and are good; and whatever the storage or
//! somebody with hands on the files does, nothing is lost and nobody waits.

mod sealed;
mod storage;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use node_agent_tests::{World, metrics, parts, program, until};
use rustix::process::{Signal, kill_process};
use serde_json::Value;

use self::storage::{BUCKET, Mode, SECRET, Storage, much};
use super::agent_is_here;

const SOON: Duration = Duration::from_secs(20);
/// A request without an answer is given up, and the pause after it is over.
const LATER: Duration = Duration::from_secs(90);

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

fn name(path: &Path) -> Result<String> {
    Ok(path
        .file_stem()
        .context("a name")?
        .to_string_lossy()
        .into_owned())
}

/// One session, recorded to its end; gives its file.
fn session(world: &World, dir: &Path, statements: &str) -> Result<PathBuf> {
    let before = recordings(dir)?;
    world.ask_all(statements)?.good()?;
    let path = until("it has a file", SOON, || {
        Ok(recordings(dir)?.difference(&before).next().cloned())
    })?;
    let name = name(&path)?;
    until("it is closed", SOON, || {
        let seen = world.cli(&["sessions", "verify", &name, "--json"])?.stdout;
        Ok(seen.contains("\"end\":\"closed\"").then_some(()))
    })?;
    Ok(path)
}

/// It lies there, byte for byte.
fn lies_there(storage: &Storage, path: &Path) -> Result<bool> {
    let object = format!("{}.rec", name(path)?);
    let objects = storage.objects()?;
    let Some(there) = objects.get(&object) else {
        return Ok(false);
    };
    Ok(fs::read(there)? == fs::read(path)?)
}

/// All that is closed is there, and the agent knows it.
fn all_there(world: &World) -> Result<()> {
    until("nothing waits", LATER, || {
        let metric = |name: &str| world.agent().metric(name);
        Ok((metric("node_agent_archive_waiting")? < 0.5
            && metric("node_agent_archive_failing")? < 0.5)
            .then_some(()))
    })
}

fn degraded(world: &World) -> Result<String> {
    let status: Value = serde_json::from_str(&world.cli(&["status", "--json"])?.stdout)?;
    assert_eq!(status["not_ready"], serde_json::json!([]), "{status}");
    Ok(status["degraded"].to_string())
}

/// A program of the agent's, far from its configuration.
fn elsewhere(words: &[&str]) -> Result<program::Finished> {
    program::Program::new(parts::built("node-agent")?)
        .args(words)
        .run()
}

#[test]
fn what_is_archived_comes_back_and_is_good_when_nothing_is_left_here() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let storage = Storage::start()?;
    let world = World::builder()
        .settings(&storage.settings("    keep_local: 1s\n"))
        .start()
        .unwrap();
    let dir = world.agent().state_dir().join("recordings");
    let first = session(&world, &dir, "select 1")?;
    let second = session(&world, &dir, "select 'two'")?;
    let (one, two) = (name(&first)?, name(&second)?);
    until("both lie there", SOON, || {
        Ok((lies_there(&storage, &first)? && lies_there(&storage, &second)?).then_some(()))
    })?;
    all_there(&world)?;

    // Under the node, by the day; with the ledger and the key.
    let objects = storage.objects()?;
    let place = objects[&format!("{one}.rec")].display().to_string();
    let mut days = place.rsplit('/').skip(1).map(str::len);
    assert_eq!(
        [days.next(), days.next(), days.next()],
        [Some(2), Some(2), Some(4)],
        "{place}"
    );
    assert!(
        place.contains(&format!("/{BUCKET}/team/x/node-1/20")),
        "{place}"
    );
    assert!(
        objects.keys().any(|name| name.ends_with(".led")),
        "{objects:?}"
    );
    let public = fs::read(world.agent().state_dir().join("node-key.pub"))?;
    assert_eq!(fs::read(&objects["node-key.pub"])?, public);

    // Whoever looks sees how it stands.
    let metric = |name: &str| world.agent().metric(name);
    until("both are counted", SOON, || {
        Ok((metric("node_agent_archive_recordings_total")? > 1.5).then_some(()))
    })?;
    assert!(metric("node_agent_journal_bytes")? > 1e6);
    assert!(metric("node_agent_ledger_bytes")? > 100.0);
    assert!((metric("node_agent_ledger_segments")? - 1.0).abs() < 0.1);
    assert!(metric("node_agent_ledger_signed_seconds")? < 60.0);
    until("all decisions lie in their recordings", SOON, || {
        Ok((metric("node_agent_journal_unsettled")? < 0.5).then_some(()))
    })?;
    let seen = world.cli(&["doctor"])?;
    assert!(
        seen.stdout
            .contains("the archive, recordings of https://127.0.0.1"),
        "{}",
        seen.all()
    );
    assert!(seen.stdout.contains(", answers"), "{}", seen.all());

    // What is there is not sent again, also where nobody remembers.
    let note = dir.join("archive.note");
    fs::remove_file(&note)?;
    let seen = world.cli(&["sessions", "archive", "--json"])?.good()?;
    for session in [&one, &two] {
        let line = seen
            .stdout
            .lines()
            .find(|line| line.contains(session.as_str()));
        let line = line.with_context(|| seen.stdout.clone())?;
        assert!(line.contains("\"event\":\"there\""), "{line}");
    }
    let seen = world.cli(&["sessions", "archive"])?.good()?;
    assert!(seen.stdout.contains("0 recordings sent"), "{}", seen.all());

    // What is gone there is sent again: the note is not believed.
    fs::remove_file(&objects[&format!("{two}.rec")])?;
    let seen = world.cli(&["sessions", "archive"])?.good()?;
    assert!(seen.stdout.contains("1 recordings sent"), "{}", seen.all());
    assert!(lies_there(&storage, &second)?);

    // It goes here, and says where it is.
    let bytes = fs::read(&first)?;
    until("both are old enough and removed", SOON, || {
        world.cli(&["sessions", "prune"])?.good()?;
        Ok((!first.exists() && !second.exists()).then_some(()))
    })?;
    let seen = world.cli(&["sessions", "verify", &one, "--json"])?.good()?;
    for words in [
        "for recording.archive.keep_local",
        "; archived 20",
        "as team/x/node-1/20",
        &one,
    ] {
        assert!(seen.stdout.contains(words), "{words}: {}", seen.stdout);
    }

    // It comes back, and is good without this node.
    let config = world.agent().config().display().to_string();
    let back = world.path().join("back");
    let to = back.display().to_string();
    let fetch = |more: &[&str]| {
        let words = ["sessions", "fetch", "--config", &config, "--to", &to];
        elsewhere(&[&words[..], more].concat())
    };
    let seen = fetch(&[&one])?.good()?;
    assert!(
        seen.stdout.contains(&format!("{one}: fetched")),
        "{}",
        seen.all()
    );
    assert_eq!(fs::read(back.join(format!("{one}.rec")))?, bytes);
    assert!(!back.join(format!("{two}.rec")).exists());
    let seen = fetch(&["--since", "1h"])?.good()?;
    assert!(
        seen.stdout.contains(&format!("{one}: lay here already")),
        "{}",
        seen.all()
    );
    assert!(
        seen.stdout.contains(&format!("{two}: fetched")),
        "{}",
        seen.all()
    );
    let key = back.join("node-key.pub").display().to_string();
    let verify = || {
        let words = [
            "sessions",
            "verify",
            "--config",
            "/nowhere.yaml",
            "--dir",
            &to,
            "--key",
            &key,
        ];
        elsewhere(&[&words[..], &["--copy"]].concat())
    };
    let seen = verify()?.good()?;
    assert!(
        seen.stdout.contains("2 recordings, 0 of them not"),
        "{}",
        seen.all()
    );
    let file = back.join(format!("{two}.rec"));
    let seen = elsewhere(&["replay", &file.display().to_string(), "--format", "text"])?.good()?;
    assert!(seen.stdout.contains("select 'two'"), "{}", seen.all());

    // A copy that was changed is named, and not taken for what lies there.
    let mut changed = fs::read(&file)?;
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    fs::write(&file, changed)?;
    assert_eq!(verify()?.status.code(), Some(1));
    let seen = fetch(&[&two])?;
    assert_eq!(seen.status.code(), Some(2), "{}", seen.all());
    let seen = fetch(&["s-0123456789abcdef"])?;
    assert!(
        seen.stderr.contains("is not in the archive"),
        "{}",
        seen.all()
    );

    let log = fs::read_to_string(world.agent().log())?;
    assert!(!log.contains(SECRET) && !seen.all().contains(SECRET));
    Ok(())
}

#[test]
fn a_storage_that_fails_or_hangs_costs_nobody_anything() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let storage = Storage::start()?;
    storage.behave(Mode::Status(500));
    let world = World::builder()
        .settings(&storage.settings(""))
        .start()
        .unwrap();
    let dir = world.agent().state_dir().join("recordings");
    let mut paths = Vec::new();
    for mode in [
        Mode::Status(500),
        Mode::Status(403),
        Mode::Hangs,
        Mode::Status(507),
    ] {
        storage.behave(mode.clone());
        let before = storage.faults();
        until("the agent has met it", LATER, || {
            Ok((storage.faults() > before).then_some(()))
        })?;
        let begun = Instant::now();
        paths.push(session(&world, &dir, "select 1")?);
        // Far below the patience with the storage, which is 15 s.
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{mode:?}: {:?}",
            begun.elapsed()
        );
        until("it is told of", LATER, || {
            let said = degraded(&world)?;
            Ok(said.contains("the archive cannot be written").then_some(()))
        })?;
        assert_eq!(
            metrics::get(world.agent().admin(), "/readyz")?.0,
            200,
            "{mode:?}"
        );
        assert!(world.agent().metric("node_agent_archive_failing")? > 0.5);
    }
    assert_eq!(storage.puts(), 0);
    assert!(paths.iter().all(|path| path.exists()));
    let seen = world.cli(&["sessions", "archive"])?;
    assert_eq!(seen.status.code(), Some(1), "{}", seen.all());

    let seen = world.cli(&["doctor"])?;
    assert!(seen.stdout.contains("cannot be used: "), "{}", seen.all());
    assert!(
        seen.stdout.contains("mend: see recording.archive"),
        "{}",
        seen.all()
    );

    storage.behave(Mode::Good);
    until("all of them are there", LATER, || {
        for path in &paths {
            if !lies_there(&storage, path)? {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })?;
    all_there(&world)?;
    assert!(!degraded(&world)?.contains("archive"));
    // Once, however often it failed.
    let log = fs::read_to_string(world.agent().log())?;
    assert_eq!(
        log.matches("the archive cannot be written").count(),
        1,
        "{log}"
    );
    assert_eq!(
        log.matches("the archive is written again").count(),
        1,
        "{log}"
    );
    Ok(())
}

#[test]
fn where_the_journal_lies_is_told_with_its_cost() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let place = |journal: &str| -> Result<String> {
        let config = dir.path().join("config.yaml");
        fs::write(&config, format!("recording: {{ journal: {journal} }}\n"))?;
        let seen = elsewhere(&["doctor", "--config", &config.display().to_string()])?;
        let line = seen
            .stdout
            .lines()
            .find(|line| line.contains("journal of decisions"));
        Ok(line.with_context(|| seen.all())?.to_owned())
    };
    let memory = place("/dev/shm/node-agent-test/journal")?;
    assert!(
        memory.starts_with("good") && memory.contains("in memory"),
        "{memory}"
    );
    // Backed by no memory that keeps files.
    let other = place("/proc/node-agent-test/journal")?;
    assert!(other.starts_with("degraded"), "{other}");
    assert!(
        other.contains("every session of a thread that writes there hangs"),
        "{other}"
    );
    Ok(())
}

#[test]
fn an_agent_killed_in_the_middle_of_an_upload_leaves_nothing_half() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let storage = Storage::start()?;
    storage.behave(Mode::HangsAtPartTwo);
    let world = World::builder()
        .settings(&storage.settings(""))
        .start()
        .unwrap();
    let dir = world.agent().state_dir().join("recordings");
    let script = world.write("much.sql", &much()?)?;
    let before = recordings(&dir)?;
    let mut psql = world.psql(node_agent_tests::Place::Inside)?;
    psql = psql.args(["-q", "-o", "/dev/null", "-f"]).arg(&script);
    psql.run()?.good()?;
    let path = recordings(&dir)?
        .difference(&before)
        .next()
        .cloned()
        .context("a file")?;
    let name = name(&path)?;
    until("it is closed", SOON, || {
        let seen = world.cli(&["sessions", "verify", &name, "--json"])?.stdout;
        Ok(seen.contains("\"end\":\"closed\"").then_some(()))
    })?;
    let length = fs::metadata(&path)?.len();
    assert!(length > 8 << 20, "{length}");
    until("it is at the second part", LATER, || {
        Ok((storage.faults() > 0 && storage.unfinished() == 1).then_some(()))
    })?;
    assert!(!lies_there(&storage, &path)?);
    kill_process(program::pid(world.agent().worker()?)?, Signal::KILL)?;
    storage.behave(Mode::Good);
    until("the next one has sent it", LATER, || {
        Ok(lies_there(&storage, &path)?.then_some(()))
    })?;
    until("and given up the other", SOON, || {
        Ok((storage.unfinished() == 0).then_some(()))
    })?;
    assert_eq!(storage.parts()?, Vec::<PathBuf>::new());
    until("sessions are served again", SOON, || {
        Ok(world.ask("select 1")?.status.success().then_some(()))
    })?;
    Ok(())
}

#[test]
fn what_is_changed_here_is_not_good_there_and_changes_nothing_that_is() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let storage = Storage::start()?;
    storage.behave(Mode::Status(503));
    let world = World::builder()
        .settings(&storage.settings(""))
        .start()
        .unwrap();
    let dir = world.agent().state_dir().join("recordings");
    let change = |path: &Path| -> Result<()> {
        let mut bytes = fs::read(path)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        Ok(fs::write(path, bytes)?)
    };
    // Before it is there: it is sent as it is, which is evidence, and an alarm is raised.
    let first = session(&world, &dir, "select 1")?;
    change(&first)?;
    storage.behave(Mode::Good);
    until("it is there, as it is", LATER, || {
        Ok(lies_there(&storage, &first)?.then_some(()))
    })?;
    all_there(&world)?;
    assert!(world.agent().metric("node_agent_archive_suspect_total")? > 0.5);
    let said = degraded(&world)?;
    assert!(said.contains("not what the ledger says"), "{said}");
    let back = world.path().join("back");
    let to = back.display().to_string();
    world
        .cli(&["sessions", "fetch", "--all", "--to", &to])?
        .good()?;
    let key = back.join("node-key.pub").display().to_string();
    let words = [
        "sessions",
        "verify",
        "--config",
        "/nowhere.yaml",
        "--copy",
        "--dir",
        &to,
        "--key",
        &key,
    ];
    let seen = elsewhere(&words)?;
    assert_eq!(seen.status.code(), Some(1), "{}", seen.all());
    let line = format!("{}: DAMAGED", name(&first)?);
    assert!(seen.stdout.contains(&line), "{}", seen.all());

    // After: what is there stays.
    let second = session(&world, &dir, "select 2")?;
    let good = fs::read(&second)?;
    until("it is there", SOON, || {
        Ok(lies_there(&storage, &second)?.then_some(()))
    })?;
    change(&second)?;
    until("it is noticed", SOON, || {
        Ok((world.agent().metric("node_agent_archive_differ")? > 0.5).then_some(()))
    })?;
    let said = degraded(&world)?;
    assert!(
        said.contains("differ from what lies in the archive"),
        "{said}"
    );
    let object = format!("{}.rec", name(&second)?);
    assert_eq!(fs::read(&storage.objects()?[&object])?, good);
    let seen = world.cli(&["sessions", "archive"])?;
    assert_eq!(seen.status.code(), Some(1), "{}", seen.all());
    assert!(seen.stdout.contains("DIFFERS"), "{}", seen.all());
    Ok(())
}
