//! `cargo xtask bench`: the agent beside the direct connection, a bare relay and PgBouncer, in one
//! interleaved run on loopback. Machines are noisy: read the ratios and the proxy's CPU, not the
//! absolute figures.

mod bouncer;
pub(crate) mod client;
mod relay;
mod report;
mod usage;

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::world::agent::{Agent, Plan, WORKLOAD};
use crate::world::certificate::Certificate;
use crate::world::cgroup::Cgroup;
use crate::world::issuer::{self, Issuer};
use crate::world::postgres::{Doors, Postgres, clean};
use crate::world::process::{Server, tied};
use crate::world::{self, HOST, Place, stage};
use crate::{ground, install, interrupt, run};
use bouncer::Bouncer;
use report::{Figures, Unit};

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask bench            three rounds; a quarter of an hour\n  \
    cargo xtask bench --quick    one short round; two minutes\n  \
    cargo xtask bench points     only the cases whose name holds `points`")]
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
    /// Only cases whose name holds one of these: idle, select, connections, points, rows, connect()
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

/// Everything that runs. Dropped in this order.
struct World {
    relay: Server,
    relay_address: SocketAddr,
    bouncer: Bouncer,
    governed: Option<Governed>,
    postgres: Postgres,
    place: Place,
}

/// The agent and what it needs. Dropped in this order.
struct Governed {
    agent: Agent,
    /// A cgroup below the attach point that nobody labelled.
    unlabelled: PathBuf,
    _cgroup: Cgroup,
    _issuer: Issuer,
}

impl World {
    fn agent(&self) -> Result<&Agent> {
        Ok(&self.governed.as_ref().context("the agent is not among the ways")?.agent)
    }
}

/// The optimised build of this program, for the client and the relay.
fn parts() -> Result<PathBuf> {
    let program = issuer::programs("release").join("xtask");
    if !program.is_file() {
        bail!("{} is not built; leave out --no-build", program.display());
    }
    Ok(program)
}

const ROWS: u32 = 1_000_000;

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
    let world = raise(&arguments.ways)?;
    println!(
        "bench: it stands after {:.0} s",
        begun.elapsed().as_secs_f64()
    );
    let mut figures = Figures::default();
    let wanted = |case: &str| {
        arguments.cases.is_empty()
            || arguments
                .cases
                .iter()
                .any(|word| case.contains(word.as_str()))
    };
    let ways = arguments.ways.as_slice();
    let mut bench =
        Bench { world: &world, figures: &mut figures, effort: &effort, ways, sent: 0 };
    let measured = bench.run(&wanted);
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
    run::shown(command.args(["--package", "node-agent-tests", "--package", "xtask", "--bins"]))
}

fn raise(ways: &[Way]) -> Result<World> {
    let place = Place::new("bench")?;
    stage::set_hosts(&place)?;
    let certificate = Certificate::new(&place, HOST)?;
    let settings = "max_wal_size = 4GB\ncheckpoint_timeout = 30min\nautovacuum = off\njit = off\n";
    // Everybody is let in unasked, on every way alike: what is measured lies between.
    let postgres = Postgres::start(&place, Doors::Open, Some(&certificate), settings, true)?;
    fill(&postgres)?;
    let with_agent = ways.contains(&Way::Agent);
    let governed = if with_agent { Some(govern(&place, &postgres)?) } else { None };
    let bouncer = Bouncer::start(&place, &postgres, &certificate)?;
    let relay_address = SocketAddr::from((
        Ipv4Addr::LOCALHOST,
        world::free_port(Ipv4Addr::LOCALHOST, 0)?,
    ));
    let mut command = tied(parts()?);
    command.args(["bench-part", "relay", &relay_address.to_string()]);
    command.arg(postgres.address().to_string());
    let log = place.path().join("relay.log");
    let mut relay = Server::start("the relay", &mut command, &log, Signal::TERM)?;
    relay.wait_ready(Duration::from_secs(10), || world::answers(relay_address))?;
    Ok(World {
        relay,
        relay_address,
        bouncer,
        governed,
        postgres,
        place,
    })
}

fn govern(place: &Place, postgres: &Postgres) -> Result<Governed> {
    let programs = issuer::programs("release");
    let issuer = Issuer::start(place, &programs, true)?;
    let name = place
        .path()
        .file_name()
        .context("a place without a name")?
        .to_string_lossy();
    let cgroup = Cgroup::new(&name)?;
    let unlabelled = cgroup.path().join("plain");
    fs::create_dir(&unlabelled)?;
    let token = place.secret("token", &issuer.token("bench@agents", "ai-agents", 86_400)?)?;
    let plan = Plan {
        token: &token,
        cgroup: cgroup.path(),
        account: "postgres",
        account_password: "",
        policies: &[
            ground::root().join("policies/allow-everything.yaml"),
            place.write("masks.yaml", include_str!("masks.yaml"))?,
        ],
    };
    let mut agent = Agent::prepare(place, &programs, postgres, &issuer, &plan, true)?;
    agent.start()?;
    Ok(Governed { agent, unlabelled, _cgroup: cgroup, _issuer: issuer })
}

/// pgbench's tables, and two wide ones of a million rows: the second has masked columns.
fn fill(postgres: &Postgres) -> Result<()> {
    postgres.run("postgres", "CREATE DATABASE bench")?;
    let mut pgbench = Command::new(postgres.program("pgbench"));
    clean(&mut pgbench);
    pgbench.args(["-i", "-q", "-s", "5", "-U", "postgres", "-h"]);
    pgbench
        .arg(postgres.address().ip().to_string())
        .args(["-p", &postgres.port().to_string()]);
    run::captured(pgbench.arg("bench"))?;
    for table in ["wide", "wide_masked"] {
        postgres.run(
            "bench",
            &format!(
                "CREATE TABLE {table} AS SELECT n AS id, n % 1000 AS a, n * 1.5 AS b, \
                 'name ' || n AS c, md5(n::text) AS d, date '2020-01-01' + n % 1000 AS e, \
                 n % 2 = 0 AS f, 'x' || n % 10 AS g, 'mail' || n || '@example.com' AS h, \
                 lpad(n::text, 9, '0') AS ssn FROM generate_series(1, {ROWS}) n"
            ),
        )?;
    }
    postgres.run("bench", "VACUUM ANALYZE")?;
    Ok(())
}

/// How many statements the agent's recordings hold.
fn recorded(agent: &Agent) -> Result<u64> {
    let mut command = Command::new(issuer::programs("release").join("node-agent"));
    command
        .args(["sessions", "ls", "--json", "--config"])
        .arg(agent.config());
    let text = run::captured(&mut command)?;
    let sessions: Value = serde_json::from_str(&text).context("sessions ls --json")?;
    let list = sessions
        .as_array()
        .or_else(|| sessions.get("sessions")?.as_array());
    let count = |session: &Value| {
        session
            .get("statements")
            .and_then(Value::as_u64)
            .unwrap_or(0)
    };
    Ok(list.map_or(0, |list| list.iter().map(count).sum()))
}

struct Bench<'b> {
    world: &'b World,
    figures: &'b mut Figures,
    effort: &'b Effort,
    ways: &'b [Way],
    /// Statements that pgbench says it sent through the agent.
    sent: u64,
}

impl Bench<'_> {
    fn run(&mut self, wanted: &dyn Fn(&str) -> bool) -> Result<()> {
        // First, while no memory has been used and given back.
        if wanted("idle") {
            self.idle()?;
        }
        for round in 1..=self.effort.rounds {
            println!("bench: round {round} of {}", self.effort.rounds);
            if wanted("select") {
                self.selects()?;
            }
            if wanted("connections") {
                self.pgbench(
                    "new connection each, plain",
                    &["-C", "-S", "-c", "4", "-j", "2"],
                    "disable",
                )?;
                self.pgbench(
                    "new connection each, TLS",
                    &["-C", "-S", "-c", "4", "-j", "2"],
                    "require",
                )?;
            }
            if wanted("points") {
                self.points()?;
            }
            if wanted("rows") {
                self.rows()?;
            }
            if wanted("connect()") {
                self.connects()?;
            }
        }
        Ok(())
    }

    /// The proxy's process.
    fn proxy(&self, way: Way) -> Option<u32> {
        match way {
            Way::Direct => None,
            Way::Relay => Some(self.world.relay.id()),
            Way::Bouncer => Some(self.world.bouncer.server.id()),
            Way::Agent => self.world.agent().ok().map(Agent::id),
        }
    }

    fn address(&self, way: Way) -> SocketAddr {
        match way {
            // The labelled client dials the database: the kernel leads it to the agent.
            Way::Direct | Way::Agent => self.world.postgres.address(),
            Way::Relay => self.world.relay_address,
            Way::Bouncer => self.world.bouncer.address,
        }
    }

    /// A command on its way: through the agent it is labelled, else not.
    fn command(&self, way: Way, program: PathBuf) -> Result<Command> {
        let mut command = match way {
            Way::Direct | Way::Relay | Way::Bouncer => Command::new(program),
            Way::Agent => {
                let mut command = Command::new(issuer::programs("release").join("node-agent"));
                command
                    .args(["exec", "--config"])
                    .arg(self.world.agent()?.config());
                command.args(["--workload", WORKLOAD, "--"]).arg(program);
                command
            }
        };
        clean(&mut command);
        Ok(command)
    }

    fn selects(&mut self) -> Result<()> {
        for mode in ["prepared", "simple"] {
            for tls in ["disable", "require"] {
                for clients in self.effort.clients {
                    let seal = if tls == "require" { "TLS" } else { "plain" };
                    let name = format!("select {mode}, {clients} clients, {seal}");
                    let count = clients.to_string();
                    let threads = (*clients).min(2).to_string();
                    self.pgbench(
                        &name,
                        &["-S", "-M", mode, "-c", &count, "-j", &threads],
                        tls,
                    )?;
                }
            }
        }
        Ok(())
    }

    /// One case of pgbench, on every way, one after the other.
    fn pgbench(&mut self, name: &str, arguments: &[&str], tls: &str) -> Result<()> {
        for way in self.ways.iter().copied() {
            interrupt::check()?;
            let address = self.address(way);
            let mut command = self.command(way, self.world.postgres.program("pgbench"))?;
            command.env("PGSSLMODE", tls);
            command.args([
                "-n",
                "-T",
                &self.effort.seconds.to_string(),
                "-U",
                "postgres",
                "-h",
            ]);
            command
                .arg(address.ip().to_string())
                .args(["-p", &address.port().to_string()]);
            command.args(arguments).arg("bench");
            let before = self.proxy(way).map(usage::cpu_seconds);
            let text = run::captured(&mut command).with_context(|| format!("{name}, {way:?}"))?;
            let told = told(&text).with_context(|| format!("pgbench said\n{text}"))?;
            self.figures
                .add(name, Unit::PerSecond, way.name(), told.per_second);
            if let (Some(before), Some(id)) = (before, self.proxy(way)) {
                let used = usage::cpu_seconds(id) - before;
                let each = used / told.transactions as f64 * 100_000.0;
                self.figures.add(
                    &format!("{name}: CPU s/100k"),
                    Unit::CpuSeconds,
                    way.name(),
                    each,
                );
            }
            if way == Way::Agent {
                self.sent += told.transactions;
            }
        }
        Ok(())
    }

    /// A part of the benchmark's own client, on a way.
    fn part(&self, way: Way, words: &[&str]) -> Result<Value> {
        let mut command = self.command(way, parts()?)?;
        let text = run::captured(command.arg("bench-part").args(words))?;
        serde_json::from_str(text.trim()).with_context(|| format!("the client said {text:?}"))
    }

    fn points(&mut self) -> Result<()> {
        for way in self.ways.iter().copied() {
            let (address, count) = (
                self.address(way).to_string(),
                self.effort.points.to_string(),
            );
            let answer = self.part(way, &["points", &address, "bench", "postgres", &count])?;
            let p50 = number(&answer, "p50_us")?;
            self.figures.add(
                "points: p50 of one select, us",
                Unit::Micros,
                way.name(),
                p50,
            );
            if way == Way::Agent {
                self.sent += u64::try_from(self.effort.points)?;
            }
        }
        Ok(())
    }

    fn rows(&mut self) -> Result<()> {
        let cases = [
            ("rows: SELECT of a million", "SELECT * FROM wide"),
            (
                "rows: the same, 2 of 10 masked",
                "SELECT * FROM wide_masked",
            ),
            ("rows: COPY of a million", "COPY wide TO STDOUT"),
        ];
        for (name, statement) in cases {
            for way in self.ways.iter().copied() {
                let before = self.proxy(way).map(usage::cpu_seconds);
                let address = self.address(way).to_string();
                let answer = self.part(way, &["rows", &address, "bench", "postgres", statement])?;
                if number(&answer, "rows")? as u32 != ROWS {
                    bail!("{name}, {way:?}: {answer}");
                }
                let gigabytes = number(&answer, "bytes")? / 1e9;
                let each_second = f64::from(ROWS) / number(&answer, "seconds")?;
                self.figures
                    .add(name, Unit::PerSecond, way.name(), each_second);
                if let (Some(before), Some(id)) = (before, self.proxy(way)) {
                    let each = (usage::cpu_seconds(id) - before) / gigabytes;
                    self.figures.add(
                        &format!("{name}, CPU s/GB"),
                        Unit::CpuSeconds,
                        way.name(),
                        each,
                    );
                }
                if way == Way::Agent {
                    self.sent += 1;
                }
            }
        }
        Ok(())
    }

    /// Memory of a session that does nothing, TLS on.
    fn idle(&mut self) -> Result<()> {
        let count = self.effort.idle;
        for way in self.ways.iter().copied() {
            let Some(id) = self.proxy(way) else { continue };
            let address = self.address(way);
            let psql = self.world.postgres.program("psql");
            let script = format!(
                "for i in $(seq {count}); do (echo 'SELECT 1;'; sleep 600) | {} -X -q 'host={} port={} user=postgres \
                 dbname=bench sslmode=require' & done; wait",
                psql.display(),
                address.ip(),
                address.port()
            );
            let (before, _) = usage::memory_kib(id);
            let mut command = self.command(way, "sh".into())?;
            command.args(["-c", &script]);
            let log = self.world.place.path().join("idle.log");
            let sessions = Server::start("idle sessions", &mut command, &log, Signal::TERM)?;
            let full = interrupt::wait_until(Duration::from_secs(60), || {
                let text = self.world.postgres.run(
                    "postgres",
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = 'bench'",
                )?;
                Ok(text.trim().parse::<usize>().unwrap_or(0) >= count)
            })?;
            if !full {
                bail!("idle, {way:?}: not {count} sessions\n{}", run::tail(&log));
            }
            thread::sleep(Duration::from_millis(500));
            let (after, _) = usage::memory_kib(id);
            let each = after.saturating_sub(before) as f64 / count as f64;
            self.figures.add(
                "idle: KiB of each session, TLS",
                Unit::KiB,
                way.name(),
                each,
            );
            sessions.end_group();
            interrupt::wait_until(Duration::from_secs(30), || {
                let text = self.world.postgres.run(
                    "postgres",
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = 'bench'",
                )?;
                Ok(text.trim() == "0")
            })?;
        }
        Ok(())
    }

    /// connect() with no program, unlabelled and labelled: to a port that is not guarded, and
    /// (labelled) to the guarded one, which leads to the agent.
    fn connects(&mut self) -> Result<()> {
        let Some(governed) = &self.world.governed else { return Ok(()) };
        let listener = TcpListener::bind((world::DATABASE, 0))?;
        let open = listener.local_addr()?.to_string();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                // Until the other side has said that it is done.
                while matches!(stream.read(&mut [0; 64]), Ok(1..)) {}
            }
        });
        let count = self.effort.connects.to_string();
        let me = parts()?;
        let base = number(
            &self.part(Way::Direct, &["connects", &open, &count])?,
            "p50_us",
        )?;
        let mut plain = Command::new("sh");
        let enter = format!(
            "echo $$ > {}/cgroup.procs; exec \"$@\"",
            governed.unlabelled.display()
        );
        plain.args(["-c", &enter, "sh"]).arg(&me);
        let text = run::captured(plain.args(["bench-part", "connects", &open, &count]))?;
        let unlabelled = number(&serde_json::from_str(text.trim())?, "p50_us")?;
        let labelled = number(
            &self.part(Way::Agent, &["connects", &open, &count])?,
            "p50_us",
        )?;
        let guarded = self.world.postgres.address().to_string();
        let fewer = (self.effort.connects / 10).to_string();
        let speak = ["connects", "--speak", &guarded, &fewer];
        let straight = number(&self.part(Way::Direct, &speak)?, "p50_us")?;
        let led = number(&self.part(Way::Agent, &speak)?, "p50_us")?;
        let mut add = |what: &str, way: Way, value| {
            self.figures.add(what, Unit::Micros, way.name(), value);
        };
        add("connect(): p50, unlabelled, us", Way::Direct, base);
        add("connect(): p50, unlabelled, us", Way::Agent, unlabelled);
        add("connect(): p50, labelled, us", Way::Direct, base);
        add("connect(): p50, labelled, us", Way::Agent, labelled);
        add("connect(): p50, redirected, us", Way::Direct, straight);
        add("connect(): p50, redirected, us", Way::Agent, led);
        Ok(())
    }
}

fn number(answer: &Value, name: &str) -> Result<f64> {
    answer
        .get(name)
        .and_then(Value::as_f64)
        .with_context(|| format!("no {name} in {answer}"))
}

/// What pgbench tells at its end.
#[derive(Debug, PartialEq)]
struct Told {
    transactions: u64,
    per_second: f64,
}

fn told(text: &str) -> Option<Told> {
    let after = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
    let transactions = after("number of transactions actually processed: ")?;
    let failed = after("number of failed transactions: ").unwrap_or("0");
    if !failed.starts_with('0') {
        return None;
    }
    Some(Told {
        transactions: transactions.split(['/', ' ']).next()?.parse().ok()?,
        per_second: after("tps = ")?.split_whitespace().next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_pgbench_are_read() {
        let text = "scaling factor: 5\nnumber of transactions actually processed: 12345\n\
                    number of failed transactions: 0 (0.000%)\ntps = 6172.5 (without initial \
                    connection time)\n";
        assert_eq!(
            told(text),
            Some(Told {
                transactions: 12_345,
                per_second: 6172.5
            })
        );
        let failed = text.replace("transactions: 0 (", "transactions: 3 (");
        assert_eq!(told(&failed), None);
    }
}
