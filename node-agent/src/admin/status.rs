//! What is governed at this moment, and how well.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::enrol::{Found, LabelledCgroup, Left, Standing, Weight};
use crate::intercept::Layer;
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
    /// Whether the canary's dials reach the agent and its links stand, at this moment.
    pub governing: bool,
    /// Labelled cgroups.
    pub governed: Vec<Governed>,
    /// Processes that left their labelled cgroups in the last hour.
    pub left: Vec<Left>,
    /// Live sessions.
    pub sessions: u64,
    /// Why the agent is not ready; empty: it is.
    pub not_ready: Vec<String>,
    /// What this kernel cannot do.
    pub degraded: Vec<String>,
    /// What not every kernel has, and whether this one does.
    #[serde(default)]
    pub layers: Vec<Layer>,
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
    /// `governed`, `partly governed` or `not governed`.
    pub state: String,
    /// Why it is less than governed, each with the mend; empty: governed.
    pub reasons: Vec<String>,
    /// What is open to it and does not lead round the agent.
    pub notes: Vec<String>,
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
        let fault = self.fault();
        not_ready.extend(fault.clone());
        let governed = self.enrolment.as_ref().map_or_else(Vec::new, |enrolment| {
            enrolment
                .snapshot()
                .into_iter()
                .map(|labelled| governed(&labelled, fault.as_deref()))
                .collect()
        });
        let policies = self.trouble.load_full().map(|fault| {
            format!("the policy files are wrong; the last good ones go on. Mend them: {fault}")
        });
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            policy_version: self.policies.load().version().to_string(),
            governing: fault.is_none(),
            governed,
            left: self
                .enrolment
                .as_ref()
                .map_or_else(Vec::new, |enrolment| enrolment.left()),
            sessions: self.live.count(),
            not_ready,
            degraded: self.degraded.iter().cloned().chain(policies).collect(),
            layers: self.layers.clone(),
        }
    }

    /// Why nothing counts as governed; `None`: the redirect holds.
    fn fault(&self) -> Option<String> {
        self.canary
            .as_ref()
            .and_then(|canary| canary.verdict().fault())
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
        let fault = self.fault();
        scraped.governing = fault.is_none();
        if let Some(canary) = &self.canary {
            (scraped.canary_dials, scraped.canary_failures) = canary.totals();
        }
        if let Some(enrolment) = &self.enrolment {
            let snapshot = enrolment.snapshot();
            scraped.labelled = snapshot.len() as u64;
            (scraped.left, scraped.cut) = enrolment.totals();
            // A workload is as well governed as its worst cgroup.
            let mut worst: BTreeMap<&str, Standing> = BTreeMap::new();
            for labelled in &snapshot {
                let standing = standing(labelled, fault.as_deref());
                let has = worst.entry(&labelled.workload).or_insert(standing);
                *has = (*has).max(standing);
            }
            scraped.states = &STATES;
            scraped.standings = worst
                .into_iter()
                .map(|(workload, standing)| (workload.to_owned(), standing.word()))
                .collect();
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
                self.metrics.kernel("quota", counters.quota);
                self.metrics
                    .kernel("refused_families", counters.refused_families);
                self.metrics.kernel("refused_unix", counters.refused_unix);
                let bypass = counters.bypass;
                self.metrics.bypasses("packet", bypass.packet);
                self.metrics.bypasses("header", bypass.header);
                self.metrics.bypasses("inward", bypass.inward);
                self.metrics.bypasses("option", bypass.option);
                self.metrics
                    .databases_met("postgres", counters.undeclared_postgres);
                self.metrics
                    .databases_met("mysql", counters.undeclared_mysql);
            }
        }
        scraped
    }
}

const STATES: [&str; 3] = ["governed", "partly governed", "not governed"];

/// How well a cgroup is governed when also the canary and the listeners are asked.
fn standing(labelled: &LabelledCgroup, fault: Option<&str>) -> Standing {
    let deaf = labelled
        .namespaces
        .iter()
        .any(|namespace| namespace.problem.is_some());
    match (fault, deaf) {
        (Some(_), _) => Standing::Not,
        // Refused there, not let through; but not served either.
        (None, true) => labelled.standing.max(Standing::Partly),
        (None, false) => labelled.standing,
    }
}

fn governed(labelled: &LabelledCgroup, fault: Option<&str>) -> Governed {
    let unheard = labelled
        .namespaces
        .iter()
        .filter_map(|namespace| namespace.problem.clone());
    let found = |weight| {
        labelled
            .found
            .iter()
            .filter(move |found| found.reason.weight() == weight)
            .map(Found::text)
    };
    Governed {
        cgroup: labelled.path.display().to_string(),
        workload: labelled.workload.to_string(),
        namespaces: labelled.namespaces.len(),
        state: standing(labelled, fault).word().to_owned(),
        reasons: fault
            .map(str::to_owned)
            .into_iter()
            .chain(labelled.problem.clone())
            .chain(unheard)
            .chain(found(Weight::Partly))
            .collect(),
        notes: found(Weight::Said).collect(),
    }
}
