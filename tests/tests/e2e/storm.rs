//! Killed and started again under a storm of connections: none of them reaches the database.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use node_agent_tests::client::Dialer;
use node_agent_tests::{Place, World, until};
use serde_json::Value;

use super::agent_is_here;

/// A server that greets whoever reaches it, and counts them: the ground truth.
pub(crate) struct Greeter {
    pub(crate) address: SocketAddr,
    visits: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Greeter {
    pub(crate) fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (visits, stop) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (counted, stopping) = (visits.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopping.load(Ordering::Relaxed) {
                    return;
                }
                if let Ok(mut stream) = stream {
                    counted.fetch_add(1, Ordering::Relaxed);
                    let _ = stream.write_all(b"DATABASE");
                }
            }
        });
        Ok(Greeter {
            address,
            visits,
            stop,
            thread: Some(thread),
        })
    }

    pub(crate) fn visits(&self) -> usize {
        self.visits.load(Ordering::Relaxed)
    }
}

impl Drop for Greeter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Its own dial wakes it.
        drop(std::net::TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

const RATE: u32 = 1_000;
const LASTS: Duration = Duration::from_secs(6);

#[test]
fn a_thousand_connects_a_second_through_kills_and_restarts_reach_no_database() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let greeter = Greeter::start()?;
    let mut world = World::builder()
        .trusting_server("greeter", greeter.address)
        .start()
        .unwrap();
    // It can be reached, and then it is seen.
    let second = Duration::from_secs(1);
    let mut outside = Dialer::start(&world.cgroup(Place::Outside))?;
    let free = outside.storm(greeter.address, 100, second, || Ok(()))?;
    assert!(
        free.greeted > 10 && greeter.visits() == free.opened,
        "{free:?}"
    );
    let before = greeter.visits();

    let mut inside = world.dialer()?;
    let met = inside.storm(greeter.address, RATE, LASTS, || {
        for _ in 0..3 {
            world.agent_mut().kill()?;
            // Some are refused before the next one is there.
            std::thread::sleep(Duration::from_millis(200));
            world.agent_mut().start()?;
        }
        Ok(())
    })?;
    println!("{met:?}");
    assert_eq!(greeter.visits(), before, "{met:?}");
    assert_eq!((met.greeted, met.other), (0, 0), "{met:?}");
    assert!(met.opened > 100 && met.refused > 100, "{met:?}");
    let wanted = usize::try_from(u64::from(RATE) * LASTS.as_secs())?;
    assert!(met.opened + met.refused > wanted / 2, "{met:?} of {wanted}");
    assert_eq!(world.ask("select 1")?.good()?.stdout, "1\n");
    Ok(())
}

/// A world with a server that greets whoever reaches it, and a canary that tries it often.
pub(crate) fn watched() -> Result<(Greeter, World)> {
    let greeter = Greeter::start()?;
    let world = World::builder()
        .trusting_server("greeter", greeter.address)
        .canary_every("500ms")
        .start()
        .unwrap();
    assert!(links(world.agent().id())?.len() >= 13);
    Ok((greeter, world))
}

/// What the command line says, as its readers have it; null while nobody answers.
pub(crate) fn status(world: &World) -> Result<Value> {
    let seen = world.cli(&["status", "--json"])?.stdout;
    Ok(serde_json::from_str(&seen).unwrap_or_default())
}

/// Waits until the agent that was started last governs, and is ready.
pub(crate) fn governs(world: &World) -> Result<()> {
    until("the next one governs", Duration::from_secs(20), || {
        let status = status(world)?;
        let ready = status["not_ready"].as_array().is_some_and(Vec::is_empty);
        let ours = status["keeper"] == world.agent().id();
        Ok((ours && ready && status["governing"] == true).then_some(()))
    })
}

/// The first gate's links that a process holds: number of the link, number of the program.
pub(crate) fn links(pid: u32) -> Result<BTreeMap<u32, u32>> {
    let mut links = BTreeMap::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // A descriptor may be closed by now.
        let Ok(text) = std::fs::read_to_string(entry?.path()) else {
            continue;
        };
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse().ok()
        };
        if let (Some(link), Some(program)) = (field("link_id:"), field("prog_id:")) {
            links.insert(link, program);
        }
    }
    Ok(links)
}

#[test]
fn an_upgrade_under_a_thousand_connects_a_second_lets_none_through_and_drops_no_session()
-> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let (greeter, mut world) = watched()?;
    let mut dialer = world.dialer()?;
    let mut at_work = world.client(&mut dialer)?;
    at_work.query("begin")?;
    let before = links(world.agent().id())?;

    let soon = Duration::from_secs(20);
    let mut storming = world.dialer()?;
    let met = storming.storm(greeter.address, RATE, LASTS, || {
        std::thread::sleep(Duration::from_secs(1));
        let mut old = world.agent_mut().succeed()?;
        // The next one governs while the one before still serves its session.
        governs(&world)?;
        assert!(old.runs()?);
        assert_eq!(world.ask("select 1")?.good()?.stdout, "1\n");
        let seen = at_work.query("select 7; commit")?;
        assert!(seen.iter().any(|message| message.kind == b'D'), "{seen:?}");
        assert!(old.wait(soon)?.success());
        Ok(())
    })?;
    println!("{met:?}");
    assert_eq!(greeter.visits(), 0, "{met:?}");
    assert_eq!((met.greeted, met.other), (0, 0), "{met:?}");
    assert!(met.opened > 100, "{met:?}");

    world.agent_mut().ready()?;
    // In place: the links are the same ones, the programs behind them are the next agent's, which
    // has rings of its own that they tell of what they see.
    let after = links(world.agent().id())?;
    let kept = before.iter().filter(|(link, _)| after.contains_key(link));
    assert!(kept.clone().count() >= 13, "{before:?} {after:?}");
    assert!(
        kept.clone()
            .all(|(link, program)| after.get(link) != Some(program)),
        "{before:?} {after:?}"
    );
    // And the one before took nothing with it: the canary goes on.
    let dials = world.agent().metric("node_agent_canary_dials_total")?;
    until("the canary dials on", soon, || {
        let now = world.agent().metric("node_agent_canary_dials_total")?;
        Ok((now > dials + 2.0).then_some(()))
    })?;
    let log = std::fs::read_to_string(world.agent().log())?;
    assert!(!log.contains("NOT GOVERNING"), "{log}");
    assert_eq!(world.ask("select 1")?.good()?.stdout, "1\n");
    world.cli(&["sessions", "verify"])?.good()?;
    Ok(())
}

#[test]
fn a_second_agent_on_the_same_state_refuses_and_disturbs_nothing() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder().start().unwrap();
    let mut dialer = world.dialer()?;
    let mut session = world.client(&mut dialer)?;
    let before = links(world.agent().id())?;
    assert!(!world.agent().second()?.success());
    let log = world.agent().log_tail();
    assert!(
        log.contains("another agent governs")
            && log.contains("stop it first")
            && log.contains("--take-over"),
        "{log}"
    );
    assert_eq!(links(world.agent().id())?, before);
    session.query("select 1")?;
    assert_eq!(world.ask("select 1")?.good()?.stdout, "1\n");
    let status = world.cli(&["status"])?.good()?.stdout;
    assert!(
        status.contains("governing: yes") && !status.contains("BROKEN"),
        "{status}"
    );
    Ok(())
}
