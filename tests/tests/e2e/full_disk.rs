//! The place of the recordings fills up under load: nothing runs unrecorded, and when there is space
//! again all goes on, also when the agent was killed meanwhile.
#![allow(unsafe_code, reason = "a thread gets mounts of its own")]

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use node_agent_tests::client::{Dialer, Message, Raw, query};
use node_agent_tests::pg;
use node_agent_tests::program::Program;
use node_agent_tests::world::WORTHLESS;
use node_agent_tests::{World, until};

use super::agent_is_here;
use super::killed::{OnRecord, ran};

const CLIENTS: usize = 4;
const SOON: Duration = Duration::from_secs(30);

/// A file system of two megabytes, seen by this thread and what it starts; gone with them.
fn small_disk(place: &Path) -> Result<PathBuf> {
    // SAFETY: the call takes a number; from here on this thread's mounts are its own.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } < 0 {
        return Err(io::Error::last_os_error().into());
    }
    let disk = place.join("disk");
    fs::create_dir(&disk)?;
    let mount = |words: &[&str]| Program::new("mount").args(words).run()?.good().map(drop);
    mount(&["--make-rprivate", "/"])?;
    let at = disk.display().to_string();
    mount(&["-t", "tmpfs", "-o", "size=2m,mode=755", "small", &at])?;
    Ok(disk)
}

/// Its mount, which keeps the directory until it is gone.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: what was killed may hold it for a moment still.
        let gone = Program::new("umount").arg("-l").arg(&self.0).run();
        drop(gone); // the directory that stays behind says it
    }
}

/// What clients met.
#[derive(Default)]
struct Met {
    answered: AtomicUsize,
    refused: AtomicUsize,
    /// Errors that are neither.
    others: Mutex<BTreeSet<String>>,
    stop: AtomicBool,
}

/// Asks for what does not pack well, until told to stop. A session that ends is followed by another.
fn fill(world: &Doors, mark: &str, met: &Met) {
    let mut number = 0;
    while !met.stop.load(Ordering::Relaxed) {
        let mut client = match world.open() {
            Ok(client) => client,
            Err(error) => {
                let refused = format!("{error:#}").contains("53100");
                met.refused
                    .fetch_add(usize::from(refused), Ordering::Relaxed);
                continue;
            }
        };
        while !met.stop.load(Ordering::Relaxed) {
            number += 1;
            let text = format!(
                "select 'mark {mark}-{number}', string_agg(md5(random()::text), '') \
                 from generate_series(1, 100) g group by g % 10"
            );
            let Ok(()) = client.send(&query(&text)) else {
                break;
            };
            let Ok(seen) = client.up_to(b'Z') else { break };
            match seen.iter().find_map(Message::sqlstate) {
                None => met.answered.fetch_add(1, Ordering::Relaxed),
                Some(code) if code == "53100" => met.refused.fetch_add(1, Ordering::Relaxed),
                Some(code) => {
                    met.others.lock().unwrap().insert(code);
                    0
                }
            };
        }
    }
}

/// Connects from inside, for several threads.
struct Doors {
    dialer: Mutex<Dialer>,
    address: SocketAddr,
}

impl Doors {
    fn open(&self) -> Result<Raw> {
        let mut client = Raw::new(self.dialer.lock().unwrap().dial(self.address)?)?;
        client.login(pg::SERVICE, pg::DATABASE, WORTHLESS)?;
        Ok(client)
    }
}

#[test]
fn a_full_disk_stops_statements_and_answers_and_space_brings_them_back() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let place = tempfile::Builder::new()
        .prefix("node-agent-disk-")
        .tempdir()?;
    let disk = small_disk(place.path())?;
    let _mounted = Mounted(disk.clone());
    let recordings = disk.join("recordings");
    let mut world = World::builder()
        .pg_settings("log_statement = 'all'")
        .settings(&format!("recording: {{ dir: {} }}\n", recordings.display()))
        .start()?;
    let reserve = disk.join("reserve");
    let keep = || fs::write(&reserve, vec![0; 1 << 20]);
    keep()?;
    let doors = Arc::new(Doors {
        dialer: Mutex::new(world.dialer()?),
        address: world.cluster().address(),
    });
    // One whose answer runs for long, a row at a time.
    let mut long = doors.open()?;
    long.ask("select pg_sleep(0.05), 'mark long' from generate_series(1, 2000)")?;
    let long = thread::spawn(move || {
        let seen = long.up_to(b'Z');
        (Instant::now(), seen.map(|seen| format!("{seen:?}")))
    });
    let load = |round: &str| {
        let met = Arc::new(Met::default());
        let client = |number| {
            let (doors, met) = (doors.clone(), met.clone());
            let mark = format!("{round}-{number}");
            thread::spawn(move || fill(&doors, &mark, &met))
        };
        let clients: Vec<_> = (0..CLIENTS).map(client).collect();
        (met, clients)
    };
    let refused = |met: &Met| -> Result<Instant> {
        until("statements are refused", SOON, || {
            Ok((met.refused.load(Ordering::Relaxed) > 0).then_some(()))
        })?;
        Ok(Instant::now())
    };
    let (met, clients) = load("first");
    let since = refused(&met)?;
    let (ended, _) = long.join().expect("a client panicked");
    ensure!(
        ended < since + Duration::from_secs(5),
        "an answer went on for {:?} on a full disk",
        ended - since
    );
    // Full, nothing runs; the node stays up, and says what is wrong.
    let answered = met.answered.load(Ordering::Relaxed);
    let before = met.refused.load(Ordering::Relaxed);
    until("they go on asking", SOON, || {
        Ok((met.refused.load(Ordering::Relaxed) > before + 50).then_some(()))
    })?;
    assert_eq!(met.answered.load(Ordering::Relaxed), answered);
    let status = world.cli(&["status"])?.all();
    assert!(status.contains("record"), "{status}");
    // Space again: the same sessions go on by themselves.
    fs::remove_file(&reserve)?;
    until("statements run again", SOON, || {
        Ok((met.answered.load(Ordering::Relaxed) > answered).then_some(()))
    })?;
    met.stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("a client panicked");
    }
    assert_eq!(*met.others.lock().unwrap(), BTreeSet::new());

    // Full once more, and then the agent is killed, and comes back to a disk that is still full.
    world.cli(&["sessions", "verify"])?.good()?;
    let (met, clients) = load("second");
    refused(&met)?;
    world.agent_mut().kill()?;
    met.stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("a client panicked");
    }
    // It is ready where its ledger has room for a line still.
    world.agent_mut().begin()?;
    // What is asked before the first write fails may run: its decision is in the journal.
    until("statements are refused again", SOON, || {
        let seen = world.ask("select 'mark third'")?;
        Ok(seen.stderr.contains("cannot be recorded").then_some(()))
    })?;
    // The operator makes room by hand.
    let mut first = OnRecord::default();
    let _ = first.look(&recordings)?;
    let mut freed = 0;
    for path in first.whole() {
        freed += fs::metadata(path)?.len();
        fs::remove_file(path)?;
    }
    assert!(freed > 500_000, "{freed} bytes were freed");
    let mut on_record = OnRecord::default();
    until("all recordings have their end", SOON, || {
        Ok(on_record.look(&recordings)?.then_some(()))
    })?;
    until("statements run again", SOON, || {
        Ok(world
            .ask("select 'mark fourth'")?
            .stdout
            .contains("fourth")
            .then_some(()))
    })?;
    let ran = ran(&world.cluster().log());
    let known: BTreeSet<_> = first.allowed.union(&on_record.allowed).cloned().collect();
    let missing: Vec<_> = ran
        .difference(&known)
        .filter(|mark| *mark != "fourth")
        .collect();
    assert!(
        missing.is_empty(),
        "{} ran unrecorded: {missing:?}",
        missing.len()
    );
    println!(
        "{} statements ran, all are on the record; {} answers, {} refusals at first",
        ran.len(),
        met.answered.load(Ordering::Relaxed),
        before
    );
    Ok(())
}
