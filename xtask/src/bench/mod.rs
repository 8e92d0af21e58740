//! `cargo xtask bench`: the agent beside the direct connection, a bare relay and PgBouncer, in one
//! interleaved run on loopback. Machines are noisy: read the ratios and the proxy's CPU, not the
//! absolute figures.

mod bouncer;
mod cases;
pub(crate) mod client;
mod place;
mod relay;
mod report;
mod usage;

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::world::agent::Agent;
use crate::world::issuer;
use crate::world::stage;
use crate::{ground, install, run};
use cases::Bench;
use report::Figures;

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask bench            three rounds; a quarter of an hour\n  \
    cargo xtask bench --quick    one short round; two minutes\n  \
    cargo xtask bench points     only the cases whose name holds `points`\n  \
    cargo xtask bench 'simple, 8 clients, plain' --way pgbouncer --way agent   one case, two ways")]
pub(crate) struct Arguments {
    /// One short round
    #[arg(long)]
    quick: bool,
    /// Take the programs as they are under target/release
    #[arg(long)]
    no_build: bool,
    /// Only these ways to the database
    #[arg(long = "way", value_enum, default_values_t = Way::ALL)]
    ways: Vec<Way>,
    /// Only cases whose name, as the table has it, holds one of these; or whole groups: idle, select,
    /// connections, points, rows, connect()
    cases: Vec<String>,
}

/// The way from the client to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Way {
    Direct,
    Relay,
    #[value(name = "pgbouncer")]
    Bouncer,
    Agent,
}

impl Way {
    const ALL: [Self; 4] = [Self::Direct, Self::Relay, Self::Bouncer, Self::Agent];

    fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Relay => "relay",
            Self::Bouncer => "pgbouncer",
            Self::Agent => "agent",
        }
    }
}

/// How much is measured.
struct Effort {
    rounds: usize,
    seconds: u32,
    clients: &'static [u32],
    points: usize,
    connects: usize,
    idle: usize,
}

const FULL: Effort = Effort {
    rounds: 3,
    seconds: 4,
    clients: &[1, 8, 32],
    points: 20_000,
    connects: 10_000,
    idle: 100,
};

const QUICK: Effort = Effort {
    rounds: 1,
    seconds: 2,
    clients: &[8],
    points: 4_000,
    connects: 2_000,
    idle: 50,
};

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    if !stage::inside() {
        install::need(install::For::Bench)?;
        if !arguments.no_build {
            build()?;
        }
        stage::enter()?;
    }
    let effort = if arguments.quick { QUICK } else { FULL };
    let begun = Instant::now();
    println!("bench: raising the world …");
    let world = place::raise(&arguments.ways)?;
    println!(
        "bench: it stands after {:.0} s",
        begun.elapsed().as_secs_f64()
    );
    let mut figures = Figures::default();
    let ways = arguments.ways.as_slice();
    let mut bench = Bench {
        world: &world,
        figures: &mut figures,
        effort: &effort,
        ways,
        words: &arguments.cases,
        sent: 0,
    };
    let measured = bench.run();
    let sent = bench.sent;
    if measured.is_err()
        && let Ok(agent) = world.agent()
    {
        println!("The end of the agent's log:\n{}", run::tail(agent.log()));
    }
    measured?;
    figures.print();
    let (mut peak, mut on_record) = (0, 0);
    if let Ok(agent) = world.agent() {
        (_, peak) = usage::memory_kib(agent.id());
        on_record = recorded(agent)?;
        println!("\nagent: at most {peak} KiB of memory in the whole run");
        println!("agent: statements sent {sent}, on record {on_record}");
    }
    let extra = json!({
        "quick": arguments.quick,
        "cores": thread::available_parallelism().map_or(0, usize::from),
        "kernel": fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
        "agent_peak_kib": peak,
        "statements_sent": sent,
        "statements_recorded": on_record,
        "seconds": begun.elapsed().as_secs(),
    });
    println!("bench: written to {}", figures.write(&extra)?.display());
    if on_record < sent {
        bail!("{} statements are not on record", sent - on_record);
    }
    Ok(())
}

fn build() -> Result<()> {
    println!("bench: building (release; the first time takes several minutes) …");
    let mut command = ground::cargo();
    command.args(["build", "--release", "--locked", "--package", "node-agent"]);
    // This program too: its client and its relay must not be what is measured.
    run::shown(command.args([
        "--package",
        "node-agent-tests",
        "--package",
        "xtask",
        "--bins",
    ]))
}

/// How many statements the agent's recordings hold.
fn recorded(agent: &Agent) -> Result<u64> {
    let mut command = Command::new(issuer::programs("release").join("node-agent"));
    command
        .args(["sessions", "ls", "--json", "--config"])
        .arg(agent.config());
    let text = run::captured(&mut command)?;
    let mut statements = 0;
    for line in text.lines() {
        let session: Value = serde_json::from_str(line).context("sessions ls --json")?;
        let count = session
            .pointer("/totals/statements")
            .and_then(Value::as_u64);
        statements += count.context("a session without a count of statements")?;
    }
    Ok(statements)
}
