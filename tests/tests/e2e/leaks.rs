//! Connections come and go; nothing of them stays.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use node_agent_tests::pg::{DATABASE, SERVICE};
use node_agent_tests::{World, metrics, until};

use super::agent_is_here;

/// What may be there at rest, and what must not be more after ten thousand connections.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Held {
    /// Descriptors of the agent, but for recordings.
    files: usize,
    /// Recordings that are open.
    recordings: usize,
    /// Its tasks.
    tasks: f64,
    /// Sockets to its listeners and to the database that are neither listening nor waiting out
    /// their time (which the kernel does alone), in the namespace of both.
    sockets: usize,
    /// Sessions, as the agent counts them.
    sessions: f64,
    /// Entries in the kernel's table of origins.
    origins: f64,
    /// Sessions, as the database counts them.
    backends: usize,
}

impl Held {
    fn by(world: &World) -> Result<Self> {
        let agent = world.agent();
        let counted = metrics::scrape(agent.admin())?;
        let gauge = |name: &str| counted.get(name).copied().context(name.to_owned());
        let backends = format!("select count(*) from pg_stat_activity where usename = '{SERVICE}'");
        let (files, recordings) = files(agent.worker()?)?;
        Ok(Held {
            files,
            recordings,
            tasks: gauge("node_agent_tasks")?,
            sockets: sockets(agent.port(), world.cluster().address())?,
            sessions: gauge("node_agent_sessions_open")?,
            origins: gauge("node_agent_origins")?,
            backends: world.cluster().sql(DATABASE, &backends)?.parse()?,
        })
    }

    fn nothing_more_than(&self, rest: &Held) -> bool {
        self.files <= rest.files
            && self.recordings <= rest.recordings
            && self.tasks <= rest.tasks
            && self.sockets <= rest.sockets
            && self.sessions <= rest.sessions
            && self.origins <= rest.origins
            && self.backends <= rest.backends
    }
}

/// How many files a process has open, and how many recordings beside them.
fn files(process: u32) -> Result<(usize, usize)> {
    let (mut files, mut recordings) = (0, 0);
    for entry in fs::read_dir(format!("/proc/{process}/fd"))? {
        // One that was closed in between has no target.
        let Ok(target) = fs::read_link(entry?.path()) else {
            continue;
        };
        match target.extension().is_some_and(|ending| ending == "rec") {
            true => recordings += 1,
            false => files += 1,
        }
    }
    Ok((files, recordings))
}

/// Counts the sockets of either end of such connections, by the kernel's own list.
fn sockets(port: u16, database: SocketAddr) -> Result<usize> {
    const TIME_WAIT: &str = "06";
    const LISTEN: &str = "0A";
    let text = fs::read_to_string("/proc/self/net/tcp")?;
    let of_these = |field: &str| {
        let (address, at) = field.split_once(':')?;
        let address = Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?.swap_bytes());
        let at = u16::from_str_radix(at, 16).ok()?;
        Some(at == port || SocketAddr::from((address, at)) == database)
    };
    let held = text.lines().skip(1).filter(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, remote, state, ..] = fields.as_slice() else {
            return false;
        };
        ![TIME_WAIT, LISTEN].contains(state)
            && [local, remote]
                .iter()
                .any(|field| of_these(field) == Some(true))
    });
    Ok(held.count())
}

/// Waits until no more is held than at rest.
fn at_rest(world: &World, rest: &Held) -> Result<()> {
    let mut last = None;
    let settled = until("all is as before", Duration::from_secs(40), || {
        let held = Held::by(world)?;
        last = Some(held);
        Ok(held.nothing_more_than(rest).then_some(()))
    });
    settled.with_context(|| format!("at rest {rest:?}, at last {last:?}"))
}

/// Connections of which the agent took note to the end, and those that the kernel sent to it.
fn served(world: &World) -> Result<(f64, f64)> {
    let agent = world.agent();
    let ended = agent.metric("node_agent_sessions_total")?
        + agent.metric("node_agent_closed_unread_total")?
        + agent.metric("node_agent_canary_dials_total")?;
    let counted: BTreeMap<String, f64> = metrics::scrape(agent.admin())?;
    let redirected = counted.get("node_agent_kernel_events{event=\"redirected\"}");
    Ok((ended, redirected.copied().unwrap_or_default()))
}

#[test]
fn ten_thousand_connections_dropped_at_random_leave_nothing_behind() -> Result<()> {
    const CONNECTIONS: usize = 10_000;
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder().start().unwrap();
    let database = world.cluster().address();
    let mut dialer = world.dialer()?;
    // What the first connections leave for good (threads' pipes, a kept connection) is not a leak.
    dialer.churn(database, 100)?;
    let mut rest = None;
    until("the agent rests", Duration::from_secs(40), || {
        let held = Held::by(&world)?;
        rest = Some(held);
        let gone = held.recordings + held.sockets + held.backends == 0;
        Ok((gone && held.sessions == 0.0 && held.origins == 0.0).then_some(()))
    })
    .with_context(|| format!("at last {rest:?}"))?;
    let rest = rest.context("a look at the agent")?;
    let before = metrics::rss(world.agent().worker()?)?;

    let begun = Instant::now();
    let mut asked = 0;
    let churned = thread::scope(|scope| -> Result<_> {
        let churning = scope.spawn(|| dialer.churn(database, CONNECTIONS));
        // An ordinary client is served in the middle of it.
        while !churning.is_finished() {
            let seen = world.ask("select 'served'")?.good()?;
            assert_eq!(seen.stdout, "served\n");
            asked += 1;
        }
        churning.join().expect("the dialer's thread")
    })?;
    println!(
        "{churned:?} in {:.1} s beside {asked} ordinary clients",
        begun.elapsed().as_secs_f64()
    );
    assert_eq!((churned.opened, churned.refused), (CONNECTIONS, 0));
    assert!(asked > 3, "only {asked} ordinary clients");

    at_rest(&world, &rest)?;
    let after = metrics::rss(world.agent().worker()?)?;
    println!("{rest:?}; {before} KiB before, {after} KiB after");
    assert!(
        after < before + (32 << 10),
        "{before} KiB, then {after} KiB"
    );
    // The canary may dial between the two counts.
    let mut counts = None;
    until("all are counted", Duration::from_secs(5), || {
        let (ended, redirected) = served(&world)?;
        counts = Some((ended, redirected));
        Ok((ended == redirected).then_some(()))
    })
    .with_context(|| format!("each connection is served to its end: {counts:?}"))?;
    let live = world.cli(&["sessions", "ls", "--live", "--json"])?.good()?;
    assert_eq!(live.stdout, "[]\n");
    let status: serde_json::Value =
        serde_json::from_str(&world.cli(&["status", "--json"])?.good()?.stdout)?;
    assert_eq!(status["sessions"], 0, "{status}");
    assert_eq!(world.ask("select 'served'")?.good()?.stdout, "served\n");
    world.cli(&["sessions", "verify"])?.good()?;
    at_rest(&world, &rest)
}
