//! Counters for Prometheus. Labels are names from the configuration; no identity, no value, no
//! text of a statement is ever a label.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

use crate::policy::Detector;
use crate::sql::Second;

/// What a metric means, for the generated reference.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "self-explanatory")]
pub struct Meaning {
    pub name: &'static str,
    pub kind: &'static str,
    pub labels: &'static str,
    pub means: &'static str,
}

const fn of(
    name: &'static str,
    kind: &'static str,
    labels: &'static str,
    means: &'static str,
) -> Meaning {
    Meaning {
        name,
        kind,
        labels,
        means,
    }
}

/// Every metric.
pub const METRICS: &[Meaning] = &[
    of(
        "node_agent_sessions_open",
        "gauge",
        "",
        "sessions that are logged in now",
    ),
    of(
        "node_agent_sessions_total",
        "counter",
        "workload, target, end",
        "connections served to their end, by reason",
    ),
    of(
        "node_agent_statements_total",
        "counter",
        "decision",
        "statements judged: allowed, refused",
    ),
    of(
        "node_agent_mask_refusals_total",
        "counter",
        "",
        "statements that masks refused: what is tried on masked values",
    ),
    of(
        "node_agent_mask_budgets_spent_total",
        "counter",
        "",
        "how often an identity's budget of `mask_refusals` was spent",
    ),
    of(
        "node_agent_second_parser_total",
        "counter",
        "says",
        "statements judged, by what a second parser says of their text: agrees, alone (it has nothing to say), unasked (the text was not understood), or what it differs in: count, class, relations, where",
    ),
    of(
        "node_agent_mask_disagreements_total",
        "counter",
        "",
        "columns masked whole because the database names another origin than the text does, and results with other columns than the text asks for",
    ),
    of(
        "node_agent_rows_total",
        "counter",
        "",
        "rows delivered to clients",
    ),
    of(
        "node_agent_delivered_bytes_total",
        "counter",
        "",
        "bytes of rows delivered to clients",
    ),
    of(
        "node_agent_content_found_total",
        "counter",
        "detector, done",
        "what the content net found in answers, by what it looks like: email, phone, card, ssn, iban, secret; and by what was done: masked, reported",
    ),
    of(
        "node_agent_closed_unread_total",
        "counter",
        "",
        "connections without an origin, closed before a byte was read",
    ),
    of(
        "node_agent_origins_unconfirmed_total",
        "counter",
        "",
        "origins that the kernel's own table of sockets did not confirm; also closed unread",
    ),
    of(
        "node_agent_governing",
        "gauge",
        "",
        "1 while the canary's dials reach the agent and its links stand, else 0",
    ),
    of(
        "node_agent_canary_dials_total",
        "counter",
        "",
        "dials of the canary that reached the agent; the kernel counts them as redirected",
    ),
    of(
        "node_agent_canary_failures_total",
        "counter",
        "",
        "times that the canary found the redirect not to hold",
    ),
    of(
        "node_agent_links_broken_total",
        "counter",
        "",
        "times that a link, program, pin or label of the redirect was taken away; each is put back, and told of in `status`",
    ),
    of(
        "node_agent_workload_governed",
        "gauge",
        "workload, state",
        "1 at the state of the workload's worst cgroup: governed, partly governed, not governed",
    ),
    of(
        "node_agent_left_total",
        "counter",
        "",
        "processes that left their labelled cgroup",
    ),
    of(
        "node_agent_connections_cut_total",
        "counter",
        "",
        "connections from before a label that led past the agent and were ended",
    ),
    of(
        "node_agent_undeclared_total",
        "counter",
        "",
        "connections to databases that no target declares",
    ),
    of(
        "node_agent_upstream_failures_total",
        "counter",
        "",
        "databases that could not be opened",
    ),
    of(
        "node_agent_upstream_kept",
        "gauge",
        "",
        "connections to databases that wait for another session of the identity that they were opened for",
    ),
    of(
        "node_agent_upstream_taken_total",
        "counter",
        "",
        "sessions that went on with a kept connection to the database",
    ),
    of(
        "node_agent_policy_reloads_total",
        "counter",
        "result",
        "policy reloads: good, bad (the last good set runs on)",
    ),
    of(
        "node_agent_masks_lost_total",
        "counter",
        "target, policy, mask",
        "times that what a mask names was in a database and is not any more: renamed, dropped, or without its tag",
    ),
    of(
        "node_agent_record_queued_bytes",
        "gauge",
        "",
        "bytes waiting for the recorder",
    ),
    of(
        "node_agent_record_failures_total",
        "counter",
        "",
        "writes of recordings that failed",
    ),
    of(
        "node_agent_record_lost_total",
        "counter",
        "",
        "events not recorded, where recording.on_failure is continue",
    ),
    of(
        "node_agent_record_recovered_total",
        "counter",
        "",
        "recordings that an agent left open when it died, and this one closed",
    ),
    of(
        "node_agent_record_remembered_total",
        "counter",
        "",
        "decisions that were added to them from its journal",
    ),
    of(
        "node_agent_webhook_sent_total",
        "counter",
        "webhook",
        "steps of approvals that a webhook's receiver took",
    ),
    of(
        "node_agent_webhook_failed_total",
        "counter",
        "webhook",
        "attempts to deliver to it that failed; each is made again",
    ),
    of(
        "node_agent_webhook_missed_total",
        "counter",
        "webhook",
        "changes of approvals that were not kept until they could be delivered to it",
    ),
    of(
        "node_agent_webhook_behind",
        "gauge",
        "webhook",
        "changes of approvals that it has not been told of yet",
    ),
    of(
        "node_agent_labelled_cgroups",
        "gauge",
        "",
        "cgroups that are governed now",
    ),
    of(
        "node_agent_origins",
        "gauge",
        "",
        "redirected connections that wait to be accepted",
    ),
    of(
        "node_agent_tasks",
        "gauge",
        "",
        "tasks of the agent that are alive: one a connection, and its own few",
    ),
    of(
        "node_agent_kernel_events",
        "gauge",
        "event",
        "what the kernel programs counted: redirected, refused, lost",
    ),
    of(
        "node_agent_bypass_attempts_total",
        "counter",
        "kind",
        "attempts to get round the agent, all stopped: packet (past the connect hooks), header (IP options, routing header), inward (opened from a protected address), option (source route), wire (at the host's end of a workload's wire), node (not the agent's, leaving the node under guard.node_wide)",
    ),
    of(
        "node_agent_undeclared_databases_total",
        "counter",
        "kind",
        "connections on which a database was met by its first bytes though no target declares it: postgres, mysql; guard.undeclared says what became of them",
    ),
    of(
        "node_agent_archive_waiting",
        "gauge",
        "",
        "closed recordings that are not in the archive yet",
    ),
    of(
        "node_agent_archive_failing",
        "gauge",
        "",
        "1 while the archive cannot be written",
    ),
    of(
        "node_agent_archive_differ",
        "gauge",
        "",
        "recordings and parts of the ledger of which something else lies in the archive: one of them was changed",
    ),
    of(
        "node_agent_archive_recordings_total",
        "counter",
        "",
        "recordings that were sent to the archive",
    ),
    of(
        "node_agent_archive_bytes_total",
        "counter",
        "",
        "bytes of them",
    ),
    of(
        "node_agent_archive_suspect_total",
        "counter",
        "",
        "of them, recordings that were not what their chain and the ledger say",
    ),
    of(
        "node_agent_archive_failures_total",
        "counter",
        "",
        "rounds of archiving that did not come to their end",
    ),
    of(
        "node_agent_journal_bytes",
        "gauge",
        "",
        "what the journal of decisions can hold; 0: there is none",
    ),
    of(
        "node_agent_journal_used_bytes",
        "gauge",
        "",
        "what of it is taken: near node_agent_journal_bytes, statements wait for their block",
    ),
    of(
        "node_agent_journal_unsettled",
        "gauge",
        "",
        "entries of the journal whose block is not written yet",
    ),
    of(
        "node_agent_ledger_bytes",
        "gauge",
        "",
        "what the signed ledger of the recordings takes on disk",
    ),
    of(
        "node_agent_ledger_segments",
        "gauge",
        "",
        "in how many files",
    ),
    of(
        "node_agent_ledger_signed_seconds",
        "gauge",
        "",
        "how long ago a block of the ledger was signed last; grows while no session is recorded",
    ),
];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Ended {
    workload: String,
    target: String,
    end: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Decision {
    decision: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Says {
    says: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Content {
    detector: &'static str,
    done: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reload {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Lost {
    target: String,
    policy: String,
    mask: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KernelEvent {
    event: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Stands {
    workload: String,
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Hook {
    webhook: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BypassKind {
    kind: &'static str,
}

/// Gauges that are read elsewhere at the moment of a scrape.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "see METRICS")]
pub struct Scraped {
    pub governing: bool,
    pub canary_dials: u64,
    pub canary_failures: u64,
    pub broken: u64,
    pub left: u64,
    pub cut: u64,
    /// Each workload with the state it is in, and all states there are.
    pub standings: Vec<(String, &'static str)>,
    pub states: &'static [&'static str],
    pub sessions_open: u64,
    pub upstream_kept: u64,
    pub queued_bytes: u64,
    pub record_failures: u64,
    pub record_lost: u64,
    pub record_recovered: u64,
    pub record_remembered: u64,
    pub labelled: u64,
    pub origins: u64,
    pub unread: u64,
    pub unconfirmed: u64,
    pub tasks: u64,
    /// What others count, by the metric's name.
    pub plain: Vec<(&'static str, u64)>,
    /// Each webhook: sent, failed, missed, behind.
    pub webhooks: Vec<(String, [u64; 4])>,
}

/// All counters.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    sessions: Family<Ended, Counter>,
    allowed: Counter,
    refused: Counter,
    mask_refused: Counter,
    mask_spent: Counter,
    /// Nearly every statement's; the others are looked up.
    agreed: Counter,
    second: Family<Says, Counter>,
    disagreements: Counter,
    rows: Counter,
    bytes: Counter,
    content: Family<Content, Counter>,
    unread: Counter,
    unconfirmed: Counter,
    governing: Gauge<u64, AtomicU64>,
    canary_dials: Counter,
    canary_failures: Counter,
    broken: Counter,
    standings: Family<Stands, Gauge<u64, AtomicU64>>,
    left: Counter,
    cut: Counter,
    undeclared: Counter,
    upstream: Counter,
    upstream_kept: Gauge<u64, AtomicU64>,
    upstream_taken: Counter,
    reloads: Family<Reload, Counter>,
    masks_lost: Family<Lost, Counter>,
    sessions_open: Gauge<u64, AtomicU64>,
    queued: Gauge<u64, AtomicU64>,
    record_failures: Counter,
    record_lost: Counter,
    record_recovered: Counter,
    record_remembered: Counter,
    hooks_sent: Family<Hook, Counter>,
    hooks_failed: Family<Hook, Counter>,
    hooks_missed: Family<Hook, Counter>,
    hooks_behind: Family<Hook, Gauge<u64, AtomicU64>>,
    labelled: Gauge<u64, AtomicU64>,
    origins: Gauge<u64, AtomicU64>,
    tasks: Gauge<u64, AtomicU64>,
    kernel: Family<KernelEvent, Gauge<u64, AtomicU64>>,
    bypasses: Family<BypassKind, Counter>,
    databases_met: Family<BypassKind, Counter>,
    plain: Vec<(&'static str, Plain)>,
}

/// One that others count and that is repeated at each scrape.
#[derive(Debug)]
enum Plain {
    Gauge(Gauge<u64, AtomicU64>),
    Counter(Counter),
}

/// Those, by their names.
const PLAIN: &[&str] = &[
    "node_agent_archive_waiting",
    "node_agent_archive_failing",
    "node_agent_archive_differ",
    "node_agent_archive_recordings_total",
    "node_agent_archive_bytes_total",
    "node_agent_archive_suspect_total",
    "node_agent_archive_failures_total",
    "node_agent_journal_bytes",
    "node_agent_journal_used_bytes",
    "node_agent_journal_unsettled",
    "node_agent_ledger_bytes",
    "node_agent_ledger_segments",
    "node_agent_ledger_signed_seconds",
];

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let statements: Family<Decision, Counter> = Family::default();
        let allowed = statements.get_or_create_owned(&Decision {
            decision: "allowed",
        });
        let refused = statements.get_or_create_owned(&Decision {
            decision: "refused",
        });
        let second: Family<Says, Counter> = Family::default();
        let agreed = second.get_or_create_owned(&Says { says: "agrees" });
        let mut metrics = Metrics {
            registry: Registry::default(),
            sessions: Family::default(),
            allowed,
            refused,
            mask_refused: Counter::default(),
            mask_spent: Counter::default(),
            agreed,
            second,
            disagreements: Counter::default(),
            rows: Counter::default(),
            bytes: Counter::default(),
            content: Family::default(),
            unread: Counter::default(),
            unconfirmed: Counter::default(),
            governing: Gauge::default(),
            canary_dials: Counter::default(),
            canary_failures: Counter::default(),
            broken: Counter::default(),
            standings: Family::default(),
            left: Counter::default(),
            cut: Counter::default(),
            undeclared: Counter::default(),
            upstream: Counter::default(),
            upstream_kept: Gauge::default(),
            upstream_taken: Counter::default(),
            reloads: Family::default(),
            masks_lost: Family::default(),
            sessions_open: Gauge::default(),
            queued: Gauge::default(),
            record_failures: Counter::default(),
            record_lost: Counter::default(),
            record_recovered: Counter::default(),
            record_remembered: Counter::default(),
            hooks_sent: Family::default(),
            hooks_failed: Family::default(),
            hooks_missed: Family::default(),
            hooks_behind: Family::default(),
            labelled: Gauge::default(),
            origins: Gauge::default(),
            tasks: Gauge::default(),
            kernel: Family::default(),
            bypasses: Family::default(),
            databases_met: Family::default(),
            plain: Vec::new(),
        };
        let registry = &mut metrics.registry;
        for name in PLAIN {
            let plain = if name.ends_with("_total") {
                let counter = Counter::default();
                add(registry, name, counter.clone());
                Plain::Counter(counter)
            } else {
                let gauge = Gauge::default();
                add(registry, name, gauge.clone());
                Plain::Gauge(gauge)
            };
            metrics.plain.push((name, plain));
        }
        add(
            registry,
            "node_agent_sessions_open",
            metrics.sessions_open.clone(),
        );
        add(
            registry,
            "node_agent_sessions_total",
            metrics.sessions.clone(),
        );
        add(registry, "node_agent_statements_total", statements);
        add(
            registry,
            "node_agent_mask_refusals_total",
            metrics.mask_refused.clone(),
        );
        add(
            registry,
            "node_agent_mask_budgets_spent_total",
            metrics.mask_spent.clone(),
        );
        add(
            registry,
            "node_agent_second_parser_total",
            metrics.second.clone(),
        );
        add(
            registry,
            "node_agent_mask_disagreements_total",
            metrics.disagreements.clone(),
        );
        add(registry, "node_agent_rows_total", metrics.rows.clone());
        add(
            registry,
            "node_agent_delivered_bytes_total",
            metrics.bytes.clone(),
        );
        add(
            registry,
            "node_agent_content_found_total",
            metrics.content.clone(),
        );
        add(
            registry,
            "node_agent_closed_unread_total",
            metrics.unread.clone(),
        );
        add(
            registry,
            "node_agent_origins_unconfirmed_total",
            metrics.unconfirmed.clone(),
        );
        add(registry, "node_agent_governing", metrics.governing.clone());
        add(
            registry,
            "node_agent_canary_dials_total",
            metrics.canary_dials.clone(),
        );
        add(
            registry,
            "node_agent_canary_failures_total",
            metrics.canary_failures.clone(),
        );
        add(
            registry,
            "node_agent_links_broken_total",
            metrics.broken.clone(),
        );
        add(
            registry,
            "node_agent_workload_governed",
            metrics.standings.clone(),
        );
        add(registry, "node_agent_left_total", metrics.left.clone());
        add(
            registry,
            "node_agent_connections_cut_total",
            metrics.cut.clone(),
        );
        add(
            registry,
            "node_agent_undeclared_total",
            metrics.undeclared.clone(),
        );
        add(
            registry,
            "node_agent_upstream_failures_total",
            metrics.upstream.clone(),
        );
        add(
            registry,
            "node_agent_upstream_kept",
            metrics.upstream_kept.clone(),
        );
        add(
            registry,
            "node_agent_upstream_taken_total",
            metrics.upstream_taken.clone(),
        );
        add(
            registry,
            "node_agent_policy_reloads_total",
            metrics.reloads.clone(),
        );
        add(
            registry,
            "node_agent_masks_lost_total",
            metrics.masks_lost.clone(),
        );
        add(
            registry,
            "node_agent_record_queued_bytes",
            metrics.queued.clone(),
        );
        add(
            registry,
            "node_agent_record_failures_total",
            metrics.record_failures.clone(),
        );
        add(
            registry,
            "node_agent_record_lost_total",
            metrics.record_lost.clone(),
        );
        add(
            registry,
            "node_agent_record_recovered_total",
            metrics.record_recovered.clone(),
        );
        add(
            registry,
            "node_agent_record_remembered_total",
            metrics.record_remembered.clone(),
        );
        add(
            registry,
            "node_agent_webhook_sent_total",
            metrics.hooks_sent.clone(),
        );
        add(
            registry,
            "node_agent_webhook_failed_total",
            metrics.hooks_failed.clone(),
        );
        add(
            registry,
            "node_agent_webhook_missed_total",
            metrics.hooks_missed.clone(),
        );
        add(
            registry,
            "node_agent_webhook_behind",
            metrics.hooks_behind.clone(),
        );
        add(
            registry,
            "node_agent_labelled_cgroups",
            metrics.labelled.clone(),
        );
        add(registry, "node_agent_origins", metrics.origins.clone());
        add(registry, "node_agent_tasks", metrics.tasks.clone());
        add(registry, "node_agent_kernel_events", metrics.kernel.clone());
        add(
            registry,
            "node_agent_bypass_attempts_total",
            metrics.bypasses.clone(),
        );
        add(
            registry,
            "node_agent_undeclared_databases_total",
            metrics.databases_met.clone(),
        );
        metrics
    }

    /// A connection was served to its end.
    pub fn session_ended(&self, workload: &str, target: &str, end: &'static str) {
        let ended = Ended {
            workload: workload.to_owned(),
            target: target.to_owned(),
            end,
        };
        self.sessions.get_or_create(&ended).inc();
    }

    /// A statement may run.
    pub fn statement_allowed(&self) {
        self.allowed.inc();
    }

    /// A mask refused a statement.
    pub fn mask_refused(&self) {
        self.mask_refused.inc();
    }

    /// An identity has no room for more of those.
    pub fn mask_budget_spent(&self) {
        self.mask_spent.inc();
    }

    /// A statement may not run.
    pub fn statement_refused(&self) {
        self.refused.inc();
    }

    /// So many columns of a result are said to come from elsewhere than its text says.
    pub fn disagreed(&self, columns: u32) {
        if columns > 0 {
            self.disagreements.inc_by(columns.into());
        }
    }

    /// What the second parser says of a statement that was judged.
    pub fn witnessed(&self, second: &Second) {
        let count = |says| self.second.get_or_create(&Says { says }).inc();
        match second {
            Second::Agrees => {
                self.agreed.inc();
            }
            Second::Unasked => {
                count("unasked");
            }
            Second::Alone(_) => {
                count("alone");
            }
            Second::Differs(differing) => {
                for about in &differing.about {
                    count(about.word());
                }
            }
        }
    }

    /// An answer is over.
    pub fn answered(&self, rows: u64, bytes: u64) {
        self.rows.inc_by(rows);
        self.bytes.inc_by(bytes);
    }

    /// The content net found something, so often.
    pub fn content_found(&self, detector: Detector, covered: bool, count: u64) {
        let content = Content {
            detector: detector.word(),
            done: if covered { "masked" } else { "reported" },
        };
        self.content.get_or_create(&content).inc_by(count);
    }

    /// A connection went to an undeclared database.
    pub fn undeclared(&self) {
        self.undeclared.inc();
    }

    /// A database could not be opened.
    pub fn upstream_failed(&self) {
        self.upstream.inc();
    }

    /// A session goes on with a kept connection.
    pub fn upstream_taken(&self) {
        self.upstream_taken.inc();
    }

    /// Policies were loaded anew, or could not be.
    pub fn policies_reloaded(&self, good: bool) {
        let result = if good { "good" } else { "bad" };
        self.reloads.get_or_create(&Reload { result }).inc();
    }

    /// What a mask names is not in a database any more.
    pub fn mask_lost(&self, target: &str, policy: &str, mask: &str) {
        let lost = Lost {
            target: target.to_owned(),
            policy: policy.to_owned(),
            mask: mask.to_owned(),
        };
        self.masks_lost.get_or_create(&lost).inc();
    }

    /// What a kernel counter stands at.
    pub fn kernel(&self, event: &'static str, count: u64) {
        self.kernel.get_or_create(&KernelEvent { event }).set(count);
    }

    /// How often the kernel's second gate stopped this kind of attempt.
    pub fn bypasses(&self, kind: &'static str, count: u64) {
        // The kernel counts; this repeats what it stands at.
        self.bypasses
            .get_or_create(&BypassKind { kind })
            .inner()
            .store(count, Ordering::Relaxed);
    }

    /// On how many connections this kind of database was met undeclared.
    pub fn databases_met(&self, kind: &'static str, count: u64) {
        self.databases_met
            .get_or_create(&BypassKind { kind })
            .inner()
            .store(count, Ordering::Relaxed);
    }

    /// The text of a scrape.
    pub fn encode(&self, now: Scraped) -> String {
        self.sessions_open.set(now.sessions_open);
        self.upstream_kept.set(now.upstream_kept);
        self.queued.set(now.queued_bytes);
        // The recorder and the keeper count; this repeats what they stand at.
        self.record_failures
            .inner()
            .store(now.record_failures, Ordering::Relaxed);
        self.record_lost
            .inner()
            .store(now.record_lost, Ordering::Relaxed);
        self.record_recovered
            .inner()
            .store(now.record_recovered, Ordering::Relaxed);
        self.record_remembered
            .inner()
            .store(now.record_remembered, Ordering::Relaxed);
        self.labelled.set(now.labelled);
        self.governing.set(u64::from(now.governing));
        let counted = [
            (&self.unread, now.unread),
            (&self.unconfirmed, now.unconfirmed),
            (&self.canary_dials, now.canary_dials),
            (&self.canary_failures, now.canary_failures),
            (&self.broken, now.broken),
            (&self.left, now.left),
            (&self.cut, now.cut),
        ];
        for (counter, count) in counted {
            counter.inner().store(count, Ordering::Relaxed);
        }
        for (webhook, [sent, failed, missed, behind]) in now.webhooks {
            let hook = Hook { webhook };
            let counted = [
                (&self.hooks_sent, sent),
                (&self.hooks_failed, failed),
                (&self.hooks_missed, missed),
            ];
            for (family, count) in counted {
                let counter = family.get_or_create(&hook);
                counter.inner().store(count, Ordering::Relaxed);
            }
            self.hooks_behind.get_or_create(&hook).set(behind);
        }
        // A workload without a cgroup now is in no state.
        self.standings.clear();
        for (workload, is) in now.standings {
            for state in now.states {
                let stands = Stands {
                    workload: workload.clone(),
                    state,
                };
                let value = u64::from(*state == is);
                self.standings.get_or_create(&stands).set(value);
            }
        }
        self.origins.set(now.origins);
        self.tasks.set(now.tasks);
        for (name, plain) in &self.plain {
            let value = now.plain.iter().find(|(of, _)| of == name);
            let value = value.map_or(0, |(_, value)| *value);
            match plain {
                Plain::Gauge(gauge) => {
                    gauge.set(value);
                }
                Plain::Counter(counter) => {
                    counter.inner().store(value, Ordering::Relaxed);
                }
            }
        }
        let mut text = String::new();
        // Writing to a String does not fail; an empty page is the answer if it ever does.
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(_) => String::new(),
        }
    }
}

/// Registers one metric under its described name and with its description.
fn add(registry: &mut Registry, name: &'static str, metric: impl Metric) {
    let help = METRICS
        .iter()
        .find(|meaning| meaning.name == name)
        .map_or("", |m| m.means);
    // The encoder adds `_total` to counters itself.
    registry.register(name.strip_suffix("_total").unwrap_or(name), help, metric);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_that_is_described_is_exposed_under_its_name() {
        let metrics = Metrics::new();
        metrics.session_ended("w", "t", "client_quit");
        metrics.policies_reloaded(true);
        metrics.mask_lost("t", "p", "m");
        metrics.content_found(Detector::Email, true, 3);
        metrics.kernel("redirected", 7);
        metrics.bypasses("packet", 1);
        metrics.databases_met("mysql", 1);
        let text = metrics.encode(Scraped {
            standings: vec![("w".to_owned(), "governed")],
            states: &["governed", "not governed"],
            webhooks: vec![("w".to_owned(), [1, 2, 3, 4])],
            ..Scraped::default()
        });
        assert!(
            text.contains("node_agent_workload_governed{workload=\"w\",state=\"not governed\"} 0"),
            "{text}"
        );
        for meaning in METRICS {
            assert!(
                text.contains(&format!("\n{}", meaning.name)),
                "{}: {text}",
                meaning.name
            );
        }
    }

    #[test]
    fn no_metric_is_exposed_that_is_not_described() {
        let metrics = Metrics::new();
        metrics.session_ended("w", "t", "client_quit");
        let scraped = Scraped {
            record_lost: 3,
            ..Scraped::default()
        };
        let text = metrics.encode(scraped);
        for name in text
            .lines()
            .filter(|l| !l.starts_with('#'))
            .map(|l| l.split(['{', ' ']).next())
        {
            assert!(
                METRICS.iter().any(|meaning| Some(meaning.name) == name),
                "{name:?}"
            );
        }
        assert!(text.contains("node_agent_record_lost_total 3"), "{text}");
    }
}
