//! Addresses of the targets' host names: looked up again and again, and not forgotten at once.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::lookup_host;
use tokio::sync::watch;
use tokio::time::{interval, timeout};

use crate::config::{Config, HostTable};
use crate::model::TargetName;

/// How often names are looked up.
const EVERY: Duration = Duration::from_secs(30);
/// How long one lookup may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// An address that left the answer stays protected for this long: a workload may still hold it.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Looks all names up once, before the agent is ready.
pub async fn look_up(config: &Config) -> HostTable {
    Names::default().refresh(config).await
}

/// Looks names up for as long as anybody listens.
pub async fn follow_hosts(config: Arc<Config>, publish: watch::Sender<Arc<HostTable>>) {
    let mut names = Names::default();
    let mut ticks = interval(EVERY);
    loop {
        tokio::select! {
            () = publish.closed() => return,
            _ = ticks.tick() => {}
        }
        let table = names.refresh(&config).await;
        publish.send_if_modified(|current| {
            let changed = **current != table;
            if changed {
                *current = Arc::new(table);
            }
            changed
        });
    }
}

#[derive(Default)]
struct Names {
    seen: HashMap<(IpAddr, TargetName), Instant>,
    upstreams: HashMap<String, IpAddr>,
}

impl Names {
    async fn refresh(&mut self, config: &Config) -> HostTable {
        for target in &config.targets {
            for host in &target.hosts {
                for address in resolve(host).await {
                    self.seen
                        .insert((address, target.name.clone()), Instant::now());
                }
            }
            if let Some(named) = &target.upstream.address
                && let Some(address) = resolve(&named.host).await.into_iter().next()
            {
                self.upstreams.insert(named.host.clone(), address);
            }
        }
        self.seen.retain(|_, last| last.elapsed() < KEPT);
        let mut table = HostTable {
            upstreams: self.upstreams.clone(),
            ..HostTable::default()
        };
        for (address, target) in self.seen.keys() {
            let names: &mut BTreeSet<TargetName> = table.targets.entry(*address).or_default();
            names.insert(target.clone());
        }
        table
    }
}

async fn resolve(host: &str) -> Vec<IpAddr> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return vec![address.to_canonical()];
    }
    match timeout(PATIENCE, lookup_host((host, 0))).await {
        Ok(Ok(found)) => found.map(|address| address.ip().to_canonical()).collect(),
        Ok(Err(error)) => {
            tracing::warn!(%host, %error, "a host name has no address now; known ones stay");
            Vec::new()
        }
        Err(_) => {
            tracing::warn!(%host, "a host name was not answered in time; known addresses stay");
            Vec::new()
        }
    }
}
