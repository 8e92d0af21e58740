//! The agent is killed at random moments under load: whatever the database ran is on the record, with
//! its decision, by the database's own log.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use node_agent::policy::Decision;
use node_agent::record::{BlockError, Ending, Event, Identities, RecordedText, Why};
use node_agent::replay::{Outcome, Recording, ReplayError, Said};
use node_agent_tests::client::{Raw, bind, execute, parse, query, sync};
use node_agent_tests::program::pid;
use node_agent_tests::{World, until};
use rustix::process::{Signal, kill_process};

use super::agent_is_here;

/// How often the agent is killed: more with `NODE_AGENT_KILLS`.
const KILLS: usize = 9;
const CLIENTS: usize = 8;
const SOON: Duration = Duration::from_secs(30);

/// Asks until the connection ends. Each statement bears its own mark.
fn ask_on(mut client: Raw, mark: &str, asked: &AtomicUsize) {
    for number in 0.. {
        let mark = format!("{mark}-{number}");
        let bytes = match number % 4 {
            0 => query(&format!("select 'mark {mark}'")),
            1 => {
                let text = format!("select 'mark {mark}', $1::int");
                // Unbound it fails, and what comes before it in the pipeline ran.
                let whole = format!("select 'mark {mark}'::text");
                let one = [parse("", &whole), bind("", "", &[]), execute("", 0)];
                [one.concat(), parse("", &text), bind("", "", &[]), sync()].concat()
            }
            2 => query(&format!("select 'mark {mark}'; select 'mark {mark}b'")),
            // Now and then one whose line is too long for a journal: each of these takes two bytes.
            _ if number % 40 == 3 => query(&format!(
                "select 'mark {mark}', length('{}')",
                "\"".repeat(200_000)
            )),
            _ => query(&format!(
                "select 'mark {mark}', '{}'",
                "y".repeat(number % 500)
            )),
        };
        if client.send(&bytes).is_err() || client.up_to(b'Z').is_err() {
            return;
        }
        asked.fetch_add(1, Ordering::Relaxed);
    }
}

/// The marks in a text, in order.
fn marks(text: &str) -> impl Iterator<Item = String> {
    text.split("'mark ").skip(1).filter_map(|rest| {
        let (mark, _) = rest.split_once('\'')?;
        Some(mark.to_owned())
    })
}

/// What is on the record: marks by whether they were allowed.
#[derive(Default)]
pub(super) struct OnRecord {
    read: BTreeSet<PathBuf>,
    pub(super) allowed: BTreeSet<String>,
    died: usize,
    from_journals: usize,
}

impl OnRecord {
    /// The recordings that were read, each with its end.
    pub(super) fn whole(&self) -> impl Iterator<Item = &PathBuf> {
        self.read.iter()
    }

    /// Reads what is new. `false`: one of them has no end yet.
    pub(super) fn look(&mut self, dir: &Path) -> Result<bool> {
        let mut all = true;
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_none_or(|ending| ending != "rec") || self.read.contains(&path) {
                continue;
            }
            let mut recording = match Recording::open(&path, &Identities::none()) {
                Ok(recording) => recording,
                // Its first block is not there yet.
                Err(ReplayError::Read {
                    source: BlockError::Begun { .. },
                    ..
                }) => {
                    all = false;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let mut allowed = BTreeSet::new();
            let (mut died, mut journals) = (0, 0);
            while let Said::Event(event) = recording.next()? {
                match *event {
                    Event::Decided(decided) => {
                        let text = match &decided.text {
                            RecordedText::Plain(text) | RecordedText::Cut { head: text, .. } => {
                                text
                            }
                            RecordedText::Withheld { .. } => continue,
                        };
                        if matches!(*decided.decision, Decision::Allow(_)) {
                            allowed.extend(marks(text));
                        }
                    }
                    Event::Note(note) => journals += usize::from(note.text.contains("its journal")),
                    Event::Closed(closed) => died += usize::from(closed.why == Why::AgentDied),
                    _ => {}
                }
            }
            if recording.state().outcome != Some(Outcome::Sound(Ending::Closed)) {
                all = false;
                continue;
            }
            self.allowed.extend(allowed);
            self.died += died;
            self.from_journals += journals;
            self.read.insert(path);
        }
        Ok(all)
    }
}

/// What the database ran, by its own log from this byte on.
pub(super) fn ran(log: &str) -> BTreeSet<String> {
    let lines = log
        .lines()
        .filter(|line| line.contains("statement: ") || line.contains("execute "));
    lines.flat_map(marks).collect()
}

#[test]
fn whatever_ran_before_a_kill_is_on_the_record_with_its_decision() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let kills = match std::env::var("NODE_AGENT_KILLS") {
        Ok(text) => text.parse()?,
        Err(_) => KILLS,
    };
    let mut world = World::builder()
        .pg_settings("log_statement = 'all'")
        .start()?;
    let mut dialer = world.dialer()?;
    let recordings = world.agent().state_dir().join("recordings");
    let mut on_record = OnRecord::default();
    let (mut seen, mut total) = (0, 0);
    for round in 0..kills {
        let asked = Arc::new(AtomicUsize::new(0));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let client = world.client(&mut dialer)?;
                let (mark, asked) = (format!("{round}-{number}"), Arc::clone(&asked));
                Ok(thread::spawn(move || ask_on(client, &mark, &asked)))
            })
            .collect::<Result<_>>()?;
        // The moment is the number of answers, which is another one each time.
        let moment = CLIENTS + (round * 7919) % 400;
        until("they ask", SOON, || {
            Ok((asked.load(Ordering::Relaxed) >= moment).then_some(()))
        })?;
        // The whole agent, or the process that serves alone, which its keeper replaces.
        if round % 3 == 2 {
            let worker = world.agent().worker()?;
            kill_process(pid(worker)?, Signal::KILL)?;
        } else {
            world.agent_mut().kill()?;
        }
        for client in clients {
            client.join().expect("a client panicked");
        }
        until("the database has ended its sessions", SOON, || {
            Ok((world.running("mark")? == 0).then_some(()))
        })?;
        if round % 3 != 2 {
            world.agent_mut().start()?;
        }
        world.agent_mut().ready()?;
        let log = world.cluster().log();
        let ran = ran(log.get(seen..).context("the log went on")?);
        seen = log.len();
        total += ran.len();
        // A session that was killed before its first block has no file until the next agent makes it.
        let whole = until("all that ran is on the record", SOON, || {
            let ended = on_record.look(&recordings)?;
            Ok((ended && ran.is_subset(&on_record.allowed)).then_some(()))
        });
        let missing: Vec<_> = ran.difference(&on_record.allowed).collect();
        assert!(
            missing.is_empty(),
            "round {round}: {} of {} are not on the record: {missing:?}",
            missing.len(),
            ran.len()
        );
        whole?;
    }
    println!(
        "{kills} kills, {total} statements; {} recordings were closed by the next agent, {} with \
         decisions from a journal",
        on_record.died, on_record.from_journals
    );
    assert!(on_record.died >= kills * CLIENTS / 2, "{}", on_record.died);
    // Without journals these would be missing: the kills do come between a decision and its block.
    assert!(on_record.from_journals > 0);
    world.cli(&["sessions", "verify"])?.good()?;
    Ok(())
}
