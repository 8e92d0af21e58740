//! The cases, and how each is measured.

use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::Value;

use super::place::{ROWS, World, parts};
use super::report::{Figures, Unit};
use super::{Effort, Way, usage};
use crate::world::agent::{Agent, WORKLOAD};
use crate::world::issuer;
use crate::world::postgres::clean;
use crate::world::process::Server;
use crate::{interrupt, run, world};

pub(super) struct Bench<'b> {
    pub(super) world: &'b World,
    pub(super) figures: &'b mut Figures,
    pub(super) effort: &'b Effort,
    pub(super) ways: &'b [Way],
    /// What the names of the cases to run hold; none: all of them.
    pub(super) words: &'b [String],
    /// Statements that pgbench says it sent through the agent.
    pub(super) sent: u64,
}

impl Bench<'_> {
    /// Whether a case is asked for, by its own name or by its group's.
    fn wants(&self, group: &str, case: &str) -> bool {
        let mut words = self.words.iter();
        self.words.is_empty() || words.any(|word| group.contains(word) || case.contains(word))
    }

    pub(super) fn run(&mut self) -> Result<()> {
        // First, while no memory has been used and given back.
        if self.wants("idle", "") {
            self.idle()?;
        }
        for round in 1..=self.effort.rounds {
            println!("bench: round {round} of {}", self.effort.rounds);
            self.selects()?;
            for (name, tls) in [
                ("new connection each, plain", "disable"),
                ("new connection each, TLS", "require"),
            ] {
                if self.wants("connections", name) {
                    self.pgbench(name, &["-C", "-S", "-c", "4", "-j", "2"], tls)?;
                }
            }
            if self.wants("points", "") {
                self.points()?;
            }
            self.rows()?;
            if self.wants("connect()", "") {
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
                    if !self.wants("select", &name) {
                        continue;
                    }
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
            if !self.wants("rows", name) {
                continue;
            }
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
            // The first sessions pay for what all share: caches, threads, the allocator's arenas.
            let first = self.idle_sessions(way, count / 2, count / 2)?;
            let (before, _) = usage::memory_kib(id);
            let rest = self.idle_sessions(way, count, count / 2 + count)?;
            let (after, _) = usage::memory_kib(id);
            let each = after.saturating_sub(before) as f64 / count as f64;
            self.figures.add(
                "idle: KiB of each session, TLS",
                Unit::KiB,
                way.name(),
                each,
            );
            first.end_group();
            rest.end_group();
            interrupt::wait_until(Duration::from_secs(30), || Ok(self.backends()? == 0))?;
        }
        Ok(())
    }

    /// `count` more sessions that have asked one thing; waits until there are `all`.
    fn idle_sessions(&self, way: Way, count: usize, all: usize) -> Result<Server> {
        let address = self.address(way);
        let psql = self.world.postgres.program("psql");
        let script = format!(
            "for i in $(seq {count}); do (echo 'SELECT 1;'; sleep 600) | {} -X -q 'host={} port={} user=postgres \
             dbname=bench sslmode=require' & done; wait",
            psql.display(),
            address.ip(),
            address.port()
        );
        let mut command = self.command(way, "sh".into())?;
        command.args(["-c", &script]);
        let log = self.world.place.path().join("idle.log");
        let sessions = Server::start("idle sessions", &mut command, &log, Signal::TERM)?;
        let full = interrupt::wait_until(Duration::from_secs(60), || Ok(self.backends()? >= all))?;
        if !full {
            bail!("idle, {way:?}: not {all} sessions\n{}", run::tail(&log));
        }
        thread::sleep(Duration::from_millis(500));
        Ok(sessions)
    }

    /// The database's sessions.
    fn backends(&self) -> Result<usize> {
        let text = self.world.postgres.run(
            "postgres",
            "SELECT count(*) FROM pg_stat_activity WHERE datname = 'bench'",
        )?;
        Ok(text.trim().parse()?)
    }

    /// connect() with no program, unlabelled and labelled: to a port that is not guarded, and
    /// (labelled) to the guarded one, which leads to the agent.
    fn connects(&mut self) -> Result<()> {
        let Some(governed) = &self.world.governed else {
            return Ok(());
        };
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
