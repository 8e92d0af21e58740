//! `doctor --reach`: whether a target's database takes anybody but the agent.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use serde::Serialize;
use tokio::net::lookup_host;

use node_agent::config::{Config, Target};
use node_agent::model::{Dialect, UpstreamAddr};
use node_agent::upstream::{Outside, Seen, outsider};
use node_agent::wire::pg;

use super::{Answer, out};

/// What is asked.
pub(super) struct Asked<'a> {
    pub(super) target: &'a str,
    /// As whom; nobody: as the agent's own role.
    pub(super) users: &'a [String],
    pub(super) databases: &'a [String],
    pub(super) json: bool,
}

/// One answer: what came of an address, for whom and where.
#[derive(Serialize)]
struct Row<'a> {
    user: &'a str,
    database: &'a str,
    #[serde(flatten)]
    outside: Outside,
}

/// Dials each address of the target and says what came of it.
pub(super) fn run(config: &Config, asked: &Asked<'_>) -> anyhow::Result<Answer> {
    let target = named(config, asked.target)?;
    match target.dialect {
        Dialect::Postgres => {}
        Dialect::Mysql => bail!("--reach speaks PostgreSQL only; try `mysql -h HOST -u ROLE`"),
    }
    let own = std::slice::from_ref(&target.credentials.default.username);
    let users = if asked.users.is_empty() {
        own
    } else {
        asked.users
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let found: Vec<Row<'_>> = runtime.block_on(async {
        let mut found = Vec::new();
        for address in addresses(target).await? {
            for (user, database) in pairs(users, asked.databases) {
                let outside = outsider::<pg::Back>(UpstreamAddr(address), user, database).await?;
                found.push(Row {
                    user,
                    database,
                    outside,
                });
            }
        }
        anyhow::Ok(found)
    })?;
    if asked.json {
        out::json(&found)?;
    } else {
        for Row {
            user,
            database,
            outside,
        } in &found
        {
            let (state, mend) = told(outside.seen);
            let (address, told) = (outside.address, &outside.told);
            out::line(format!(
                "{state}  {user} to {database} at {address}: {told}"
            ))?;
            if let Some(mend) = mend {
                out::line(format!("         mend: {mend}"))?;
            }
        }
    }
    let closed = found.iter().all(|row| row.outside.seen.is_closed());
    Ok(if closed { Answer::Good } else { Answer::No })
}

fn pairs<'a>(
    users: &'a [String],
    databases: &'a [String],
) -> impl Iterator<Item = (&'a str, &'a str)> {
    users
        .iter()
        .flat_map(|user| databases.iter().map(|name| (user.as_str(), name.as_str())))
}

pub(super) fn named<'a>(config: &'a Config, name: &str) -> anyhow::Result<&'a Target> {
    let found = config.targets.iter().find(|one| *one.name.0 == *name);
    found.with_context(|| {
        let names: Vec<&str> = config.targets.iter().map(|one| &*one.name.0).collect();
        format!("no target named {name:?}; there are: {}", names.join(", "))
    })
}

/// Where the target's database may be dialled: the address that the agent itself would dial, every
/// host as it is looked up from here, and single addresses.
pub(super) async fn addresses(target: &Target) -> anyhow::Result<Vec<SocketAddr>> {
    let upstream = target.upstream.address.iter();
    let names = upstream.map(|at| (at.host.as_str(), at.port));
    let names = names.chain(target.hosts.iter().map(|host| (host.as_str(), target.port)));
    let mut found: Vec<SocketAddr> = Vec::new();
    for (host, port) in names {
        let addresses = lookup_host((host, port)).await;
        // A name that is not known here is no proof that its address cannot be dialled.
        found.extend(addresses.with_context(|| format!("{host} has no address here"))?);
    }
    let single = |one: &&node_agent::config::Prefix| {
        usize::from(one.len) == if one.addr.is_ipv4() { 32 } else { 128 }
    };
    let singles = target.addresses.iter().filter(single);
    found.extend(singles.map(|one| SocketAddr::new(one.addr, target.port)));
    found.sort_unstable();
    found.dedup();
    if found.is_empty() {
        bail!(
            "target {} names no single address to dial; give it hosts or upstream.address",
            target.name
        );
    }
    Ok(found)
}

/// The state in a word, and what to do.
fn told(seen: Seen) -> (&'static str, Option<&'static str>) {
    match seen {
        Seen::Unreachable | Seen::Refused => ("closed ", None),
        Seen::LedToAgent => (
            "agent  ",
            Some(
                "none needed here; to try the database itself, run this outside of labelled cgroups",
            ),
        ),
        Seen::AsksPassword => (
            "ASKS   ",
            Some(
                "whoever has a password gets past the agent: let pg_hba.conf, a network policy or \
                 a security group admit the agent's addresses only",
            ),
        ),
        Seen::Open => (
            "OPEN   ",
            Some(
                "anybody gets in: take `trust` out of pg_hba.conf and admit the agent's addresses \
                 only",
            ),
        ),
        Seen::Unclear => (
            "UNCLEAR",
            Some("try again, and look at what answers there: this does not count as closed"),
        ),
    }
}
