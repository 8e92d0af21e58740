//! What is governed at this moment, and how well.

use serde::{Deserialize, Serialize};

use crate::enrol::LabelledCgroup;
use crate::record::Health;
use crate::session::Drain;
use crate::telemetry::Scraped;

use super::Admin;

/// The answer of `node-agent status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// This agent's version.
    pub version: String,
    /// Digest of the policies that decide now.
    pub policy_version: String,
    /// Labelled cgroups.
    pub governed: Vec<Governed>,
    /// Live sessions.
    pub sessions: u64,
    /// Why the agent is not ready; empty: it is.
    pub not_ready: Vec<String>,
    /// What this kernel cannot do.
    pub degraded: Vec<String>,
}

/// One labelled cgroup.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Governed {
    /// Below the cgroup2 root.
    pub cgroup: String,
    /// Which workload.
    pub workload: String,
    /// How many network namespaces the agent listens in for it.
    pub namespaces: usize,
    /// Why it is only partly governed; empty: governed.
    pub reasons: Vec<String>,
}

impl Admin {
    /// At this moment.
    pub fn status(&self) -> Status {
        let mut not_ready = Vec::new();
        if let Health::Failed { why, .. } = &*self.recorder.health().borrow() {
            not_ready.push(format!("sessions cannot be recorded: {why}"));
        }
        if *self.drain.borrow() != Drain::Running {
            not_ready.push("the agent is stopping".to_owned());
        }
        let governed = self.enrolment.as_ref().map_or_else(Vec::new, |enrolment| {
            enrolment
                .snapshot()
                .into_iter()
                .map(|labelled| Governed {
                    cgroup: labelled.path.display().to_string(),
                    workload: labelled.workload.to_string(),
                    namespaces: labelled.namespaces.len(),
                    reasons: reasons(&labelled),
                })
                .collect()
        });
        let policies = self.trouble.load_full().map(|fault| {
            format!("the policy files are wrong; the last good ones go on. Mend them: {fault}")
        });
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            policy_version: self.policies.load().version().to_string(),
            governed,
            sessions: self.live.count(),
            not_ready,
            degraded: self.degraded.iter().cloned().chain(policies).collect(),
        }
    }

    /// Gauges for a scrape; the kernel's counters are set on the way.
    pub(super) fn scraped(&self) -> Scraped {
        let stats = self.recorder.stats();
        let mut scraped = Scraped {
            sessions_open: self.live.count(),
            queued_bytes: stats.queued_bytes,
            record_failures: stats.failures,
            record_lost: stats.lost,
            tasks: tokio::runtime::Handle::try_current()
                .map_or(0, |runtime| runtime.metrics().num_alive_tasks() as u64),
            ..Scraped::default()
        };
        if let Some(enrolment) = &self.enrolment {
            scraped.labelled = enrolment.snapshot().len() as u64;
        }
        if let Some(interceptor) = &self.interceptor {
            if let Ok(entries) = interceptor.entries() {
                scraped.origins = entries.flows as u64;
            }
            if let Ok(counters) = interceptor.counters() {
                self.metrics.kernel("redirected", counters.redirected);
                self.metrics.kernel("refused", counters.refused);
                self.metrics.kernel("map_full", counters.map_full);
                self.metrics.kernel("lost_events", counters.lost_events);
                self.metrics
                    .kernel("lost_sightings", counters.lost_sightings);
                self.metrics.kernel("unpublished", counters.unpublished);
            }
        }
        scraped
    }
}

/// Why a cgroup is not wholly governed.
fn reasons(labelled: &LabelledCgroup) -> Vec<String> {
    let unheard = labelled
        .namespaces
        .iter()
        .filter_map(|namespace| namespace.problem.clone());
    labelled.problem.iter().cloned().chain(unheard).collect()
}
