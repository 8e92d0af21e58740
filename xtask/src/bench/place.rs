//! What runs while the benchmark measures: the throw-away world, a relay and PgBouncer.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use super::Way;
use super::bouncer::Bouncer;
use crate::run;
use crate::world::agent::{Agent, Plan};
use crate::world::certificate::Certificate;
use crate::world::cgroup::Cgroup;
use crate::world::issuer::{self, Issuer};
use crate::world::postgres::{Doors, Postgres, clean};
use crate::world::process::{Server, tied};
use crate::world::{self, HOST, Place, stage};

/// Everything that runs. Dropped in this order.
pub(super) struct World {
    pub(super) relay: Server,
    pub(super) relay_address: SocketAddr,
    pub(super) bouncer: Bouncer,
    pub(super) governed: Option<Governed>,
    pub(super) postgres: Postgres,
    pub(super) place: Place,
}

/// The agent and what it needs. Dropped in this order.
pub(super) struct Governed {
    pub(super) agent: Agent,
    /// A cgroup below the attach point that nobody labelled.
    pub(super) unlabelled: PathBuf,
    _cgroup: Cgroup,
    _issuer: Issuer,
}

impl World {
    pub(super) fn agent(&self) -> Result<&Agent> {
        Ok(&self
            .governed
            .as_ref()
            .context("the agent is not among the ways")?
            .agent)
    }
}

/// The optimised build of this program, for the client and the relay.
pub(super) fn parts() -> Result<PathBuf> {
    let program = issuer::programs("release").join("xtask");
    if !program.is_file() {
        bail!("{} is not built; leave out --no-build", program.display());
    }
    Ok(program)
}

pub(super) const ROWS: u32 = 1_000_000;

pub(super) fn raise(ways: &[Way]) -> Result<World> {
    let place = Place::new("bench")?;
    stage::set_hosts(&place)?;
    let certificate = Certificate::new(&place, HOST)?;
    let settings = "max_wal_size = 4GB\ncheckpoint_timeout = 30min\nautovacuum = off\njit = off\n";
    // Everybody is let in unasked, on every way alike: what is measured lies between.
    let postgres = Postgres::start(&place, Doors::Open, Some(&certificate), settings, true)?;
    fill(&postgres)?;
    let with_agent = ways.contains(&Way::Agent);
    let governed = if with_agent {
        Some(govern(&place, &postgres)?)
    } else {
        None
    };
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
            place.write(
                "read-write.yaml",
                include_str!("../../../policies/read-write.yaml"),
            )?,
            place.write("limits.yaml", include_str!("limits.yaml"))?,
            place.write("masks.yaml", include_str!("masks.yaml"))?,
        ],
    };
    let mut agent = Agent::prepare(place, &programs, postgres, &issuer, &plan, true)?;
    agent.start()?;
    Ok(Governed {
        agent,
        unlabelled,
        _cgroup: cgroup,
        _issuer: issuer,
    })
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
