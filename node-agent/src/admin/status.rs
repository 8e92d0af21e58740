//! What is governed at this moment, and how well.

use serde::{Deserialize, Serialize};

use crate::archive::Figures;
use crate::enrol::{Broken, Left, Standing};
use crate::intercept::Layer;
use crate::keeper::{Governed, LinkError, Report};
use crate::record::ledger::Fingerprint;
use crate::record::{Health, Stats};
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
    /// What of the redirect was found broken and put back since the agent started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<Broken>,
    /// Why the agent is not ready; empty: it is.
    pub not_ready: Vec<String>,
    /// What this kernel cannot do.
    pub degraded: Vec<String>,
    /// What not every kernel has, and whether this one does.
    #[serde(default)]
    pub layers: Vec<Layer>,
    /// The process that holds the kernel programs and the listeners.
    pub keeper: u32,
    /// The process that serves.
    pub worker: u32,
    /// How many workers died before this one.
    pub workers_replaced: u64,
    /// The fingerprint of the key that signs the ledger of recordings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_key: Option<Fingerprint>,
    /// To whom recordings are sealed, by the names of their keys; empty: they lie in clear.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recordings_sealed_to: Vec<String>,
}

impl Admin {
    /// At this moment.
    pub async fn status(&self) -> Status {
        let mut not_ready = Vec::new();
        let report = self.report().await.unwrap_or_else(|error| Report {
            // Nobody can say that anything holds.
            fault: Some(error.to_string()),
            ..Report::default()
        });
        if let Health::Failed { why, .. } = &*self.recorder.health().borrow() {
            not_ready.push(format!("sessions cannot be recorded: {why}"));
        }
        if *self.drain.borrow() != Drain::Running {
            not_ready.push("the agent is stopping".to_owned());
        }
        not_ready.extend(report.fault.clone());
        let policies = self.trouble.load_full().map(|fault| {
            format!("the policy files are wrong; the last good ones go on. Mend them: {fault}")
        });
        let archive = self.archive.as_ref().map(|archive| archive.now());
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            policy_version: self.policies.load().version().to_string(),
            governing: report.fault.is_none(),
            governed: report.governed,
            left: report.left,
            sessions: self.live.count(),
            broken: report.broken,
            not_ready,
            degraded: report
                .degraded
                .into_iter()
                .chain(policies)
                .chain(archive.as_ref().map(troubles).unwrap_or_default())
                .chain(self.webhooks.degraded())
                .collect(),
            layers: report.layers,
            keeper: report.keeper,
            worker: std::process::id(),
            workers_replaced: report.replaced,
            node_key: self.recorder.node_key(),
            recordings_sealed_to: self
                .recorder
                .sealed_to()
                .iter()
                .map(ToString::to_string)
                .collect(),
        }
    }

    /// The keeper's word. An agent without one governs nothing.
    async fn report(&self) -> Result<Report, LinkError> {
        match &self.keeper {
            Some(keeper) => keeper.report().await,
            None => Ok(Report::default()),
        }
    }

    /// Gauges for a scrape; the kernel's counters are set on the way.
    pub(super) async fn scraped(&self) -> Scraped {
        let stats = self.recorder.stats();
        let mut scraped = Scraped {
            sessions_open: self.live.count(),
            upstream_kept: self.warm.count(),
            queued_bytes: stats.queued_bytes,
            record_failures: stats.failures,
            record_lost: stats.lost,
            record_recovered: stats.recovered,
            record_remembered: stats.remembered,
            plain: {
                let archive = self.archive.as_ref().map(|archive| archive.now());
                plain(&stats, &archive.unwrap_or_default())
            },
            tasks: tokio::runtime::Handle::try_current()
                .map_or(0, |runtime| runtime.metrics().num_alive_tasks() as u64),
            webhooks: self
                .webhooks
                .counts()
                .into_iter()
                .map(|one| (one.name, [one.sent, one.failed, one.missed, one.behind]))
                .collect(),
            ..Scraped::default()
        };
        let Ok(report) = self.report().await else {
            // Nobody can say that anything holds.
            return scraped;
        };
        scraped.governing = report.fault.is_none();
        scraped.canary_dials = report.canary.dials;
        scraped.canary_failures = report.canary.failures;
        scraped.broken = report.broken.map_or(0, |broken| broken.times);
        scraped.labelled = report.governed.len() as u64;
        scraped.left = report.left_total;
        scraped.cut = report.cut;
        scraped.unread = report.unread;
        scraped.unconfirmed = report.unconfirmed;
        scraped.states = &STATES;
        scraped.standings = report
            .standings
            .into_iter()
            .map(|(workload, standing)| (workload, standing.word()))
            .collect();
        if let Some(entries) = report.entries {
            scraped.origins = entries.flows as u64;
        }
        if let Some(counters) = report.counters {
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
            self.metrics.bypasses("wire", bypass.wire);
            self.metrics.bypasses("node", bypass.node);
            self.metrics
                .databases_met("postgres", counters.undeclared_postgres);
            self.metrics
                .databases_met("mysql", counters.undeclared_mysql);
        }
        scraped
    }
}

fn plain(record: &Stats, archive: &Figures) -> Vec<(&'static str, u64)> {
    vec![
        ("node_agent_journal_bytes", record.journal_bytes),
        ("node_agent_journal_used_bytes", record.journal_used_bytes),
        ("node_agent_journal_unsettled", record.journal_unsettled),
        ("node_agent_ledger_bytes", record.ledger_bytes),
        ("node_agent_ledger_segments", record.ledger_segments),
        (
            "node_agent_ledger_signed_seconds",
            record.ledger_signed_seconds,
        ),
        ("node_agent_archive_waiting", archive.waiting),
        (
            "node_agent_archive_failing",
            u64::from(archive.failing.is_some()),
        ),
        ("node_agent_archive_differ", archive.differ),
        ("node_agent_archive_recordings_total", archive.sent),
        ("node_agent_archive_bytes_total", archive.bytes),
        ("node_agent_archive_suspect_total", archive.suspect),
        ("node_agent_archive_failures_total", archive.failures),
    ]
}

/// What is wrong with the archive. The agent serves all the same: recordings stay where they are.
fn troubles(archive: &Figures) -> Vec<String> {
    let mut said = Vec::new();
    if let Some((since, why)) = &archive.failing {
        let seconds = crate::clock::now().0.saturating_sub(since.0).max(0) / 1000;
        said.push(format!(
            "the archive cannot be written for {seconds} s: {why}; {} closed recordings wait here",
            archive.waiting
        ));
    }
    if archive.suspect > 0 {
        said.push(format!(
            "{} recordings that were archived since the start are not what the ledger says: see \
             `node-agent sessions verify`",
            archive.suspect
        ));
    }
    if archive.differ > 0 {
        said.push(format!(
            "{} recordings or parts of the ledger differ from what lies in the archive, which stays \
             as it is: see the log and `node-agent sessions verify`",
            archive.differ
        ));
    }
    said
}

const STATES: [&str; 3] = [
    Standing::Governed.word(),
    Standing::Partly.word(),
    Standing::Not.word(),
];
