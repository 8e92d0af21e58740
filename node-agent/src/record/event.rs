//! Pure. What a recording says: the events of a session, in the order they happened.

use serde::{Deserialize, Serialize};

use super::Basis;

use crate::mask::MaskedRows;
use crate::model::{
    ApprovalId, Carried, ClientAddr, Dialect, OriginalDst, Principal, ProcessFacts, Refusal,
    ResultHead, SessionId, StatementSeq, TargetName, UnixMillis, UpstreamAddr, Workload,
};
use crate::policy::{Decision, Detector, RuleRef};
use crate::sql::{Analysis, Purpose};

/// The first event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Began {
    /// The session.
    pub session: SessionId,
    /// When.
    pub at: UnixMillis,
    /// The kernel's word for who dialled.
    pub workload: Workload,
    /// The process that dialled.
    pub process: ProcessFacts,
    /// The accepted socket's peer.
    pub client: ClientAddr,
    /// Where it was going.
    pub destination: OriginalDst,
    /// The target that stands for.
    pub target: TargetName,
    /// How that database talks: says what a row frame looks like.
    pub dialect: Dialect,
}

/// When a login was over, and how.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LoggedIn {
    /// When.
    pub at: UnixMillis,
    /// How.
    pub login: Login,
}

/// Login is over.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(
    clippy::large_enum_variant,
    reason = "one a session, and boxed in its event"
)]
pub enum Login {
    /// Let in.
    Admitted {
        /// Who.
        principal: Principal,
        /// The role and database the client wished for.
        wished_role: String,
        /// The database.
        database: String,
        /// The role used upstream.
        role: String,
        /// `application_name`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        application: Option<String>,
        /// The client's leg is TLS.
        tls: bool,
        /// The connection to the database was another session's before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kept: Option<KeptFrom>,
        /// Session settings that the client asked for at login.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        settings: Vec<(String, String)>,
        /// Where the agent dialled the database.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        upstream: Option<UpstreamAddr>,
    },
    /// Refused.
    Refused(Refusal),
}

/// Whose a connection to the database was before: one that was kept, and made as new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFrom {
    /// The session that had it last.
    pub session: SessionId,
    /// The process id of the database's side, as its own log has it.
    pub process: u32,
}

/// A decision, before anything runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Decided {
    /// Which statement of the session.
    pub seq: StatementSeq,
    /// When.
    pub at: UnixMillis,
    /// The text as judged and sent; `None` when it carries a secret or could not be parsed (then
    /// its hash and length stand in).
    pub text: RecordedText,
    /// Parameters as bound.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<RecordedCell>,
    /// Why, by the client's own word: from a comment of the text, or `application_name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<std::sync::Arc<Purpose>>,
    /// What the text does. Shared, not copied, on the hot path.
    pub analysis: std::sync::Arc<Analysis>,
    /// The decision with its rules.
    pub decision: std::sync::Arc<Decision>,
    /// Which policies decided.
    pub policy_version: std::sync::Arc<str>,
    /// What else was judged by, and how the statement was sent.
    #[serde(default, skip_serializing_if = "Basis::is_unrecorded")]
    pub basis: Basis,
}

/// A text, or what stands in for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordedText {
    /// As judged.
    Plain(String),
    /// Longer than the record keeps: how it begins, and enough to recognise the rest.
    Cut {
        /// How it begins.
        head: String,
        /// BLAKE3 of the whole, hex.
        hash: String,
        /// Bytes of the whole.
        length: u64,
    },
    /// It carried a secret, or was not understood.
    Withheld {
        /// BLAKE3 under a key of the node, hex: the same text has the same, and nobody can try
        /// secrets out.
        hash: String,
        /// Bytes.
        length: u64,
    },
}

/// One cell or parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordedCell {
    /// NULL.
    Null,
    /// Text form.
    Text(String),
    /// Binary form, hex.
    Binary(String),
    /// Longer than the cap: its length.
    Long(u64),
    /// The beginning of a text that is longer than the cap, or of whose row only the beginning is kept.
    Begins {
        /// As far as it is kept.
        text: String,
        /// Bytes of the whole.
        length: u64,
    },
}

/// How an execution ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Finished {
    /// Which.
    pub seq: StatementSeq,
    /// When.
    pub at: UnixMillis,
    /// Microseconds from the permit to here.
    pub micros: u64,
    /// Command tags, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Rows delivered.
    #[serde(default)]
    pub rows: u64,
    /// Bytes delivered.
    #[serde(default)]
    pub bytes: u64,
    /// The error as the client saw it: SQLSTATE and message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<(String, String)>,
    /// Which masks were applied, by column position.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masked: Vec<(u16, RuleRef)>,
    /// What the content net found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub found: Vec<Found>,
    /// Rows changed by it and all that it set off, where a rule had them counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<u64>,
    /// Observe mode: the limits and budgets that enforcing would have stopped or undone it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observed: Vec<Beyond>,
    /// How it ended.
    pub end: End,
}

/// What the content net found in one column of a statement's results: what it looks like, never what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The output column's name.
    pub output: std::sync::Arc<str>,
    /// Where its values come from, where the database says so: `schema.table.column`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<std::sync::Arc<str>>,
    /// What it looks like.
    pub detector: Detector,
    /// Whether it was covered.
    pub covered: bool,
    /// How often.
    pub count: u64,
}

/// A limit or budget that only observes, and was passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beyond {
    /// Its key in the policy: `rows_affected`, `statements_per_minute`.
    pub key: String,
    /// What it would have allowed (milliseconds for `statement_timeout`).
    pub most: u64,
    /// The policy, where it is a budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<std::sync::Arc<str>>,
}

/// How an execution ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "self-explanatory")]
pub enum End {
    Done,
    Failed,
    Suspended,
    /// The database skipped it after an earlier error in the pipeline.
    Skipped,
    /// The agent stopped the answer (limit, mask, record).
    Stopped,
    /// It changed more rows than it may, or rows that could not be counted: the agent made the
    /// database undo it.
    Undone,
    /// The session ended first.
    Cut,
}

/// Rows as delivered; the recorder caps them.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// Which statement.
    pub seq: StatementSeq,
    /// The head, when known (once per result).
    pub head: Option<std::sync::Arc<ResultHead>>,
    /// Whole row frames.
    pub rows: MaskedRows,
}

/// Rows of one statement as the client got them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rows {
    /// Which statement.
    pub seq: StatementSeq,
    /// The head they belong to; `None` for copy data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<std::sync::Arc<ResultHead>>,
    /// The rows, cell by cell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<Vec<RecordedCell>>,
    /// Bytes that were delivered after these and are not kept (the cap of a statement).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub beyond: u64,
    /// BLAKE3 of those bytes, as on the wire, hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Something said besides answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// When.
    pub at: UnixMillis,
    /// During which statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<StatementSeq>,
    /// Who said it.
    pub from: NoteFrom,
    /// SQLSTATE, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What, as the client saw it.
    pub text: String,
    /// It is a step of a request for approval: the same for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Box<Approval>>,
}

/// A step of a request for approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The request; none: it was refused before there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<ApprovalId>,
    /// What happened.
    #[serde(flatten)]
    pub step: ApprovalStep,
}

/// What happened to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum ApprovalStep {
    /// Reviewers were asked, and the statement waits.
    Asked {
        /// Until when.
        lapses: UnixMillis,
    },
    /// A reviewer wants to see what it would do: it is about to be run and rolled back.
    Previewing {
        /// Who.
        by: String,
    },
    /// It was run and rolled back, or was not run.
    Previewed {
        /// For whom.
        by: String,
        /// How many rows of which tables it was about, or why nobody knows. No value of any row.
        outcome: String,
    },
    /// It runs in its transaction, whose COMMIT is held.
    Gated,
    /// It was granted: the statement runs now.
    Granted {
        /// By whom.
        by: Vec<String>,
        /// On which terms.
        terms: String,
    },
    /// It was not, and did not run.
    Ended {
        /// What the client was told.
        why: String,
    },
}

impl Approval {
    /// In words.
    pub fn words(&self) -> String {
        let id = self.id.map(|id| format!("{id} ")).unwrap_or_default();
        match &self.step {
            ApprovalStep::Asked { .. } => format!("approval {id}is asked for"),
            ApprovalStep::Previewing { by } => {
                format!("approval {id}is about to be previewed for {by}")
            }
            ApprovalStep::Previewed { by, outcome } => {
                format!("approval {id}was previewed for {by}: {outcome}")
            }
            ApprovalStep::Gated => {
                "it runs in its transaction, whose COMMIT will be held".to_owned()
            }
            ApprovalStep::Granted { by, terms } => {
                format!("approval {id}was given by {}: {terms}", by.join(", "))
            }
            ApprovalStep::Ended { why } => format!("approval {id}was not given: {why}"),
        }
    }
}

/// Who said a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoteFrom {
    /// The database (a notice).
    Server,
    /// The agent.
    Agent,
}

/// The last event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// When.
    pub at: UnixMillis,
    /// The one reason.
    pub why: Why,
    /// What the session came to, so that a listing need not read the whole recording.
    pub totals: Totals,
    /// What passed over the client's connection, by the agent's count and the kernel's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carried: Option<Carried>,
}

/// Sums over a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "self-explanatory")]
pub struct Totals {
    pub statements: u64,
    pub denied: u64,
    pub held: u64,
    pub failed: u64,
    pub rows: u64,
    pub bytes: u64,
}

impl Totals {
    /// Adds what an event says.
    pub fn count(&mut self, event: &Event) {
        match event {
            Event::Decided(decided) => self.decided(&decided.decision),
            Event::Finished(finished) => self.finished(finished),
            Event::Began(_)
            | Event::Login(_)
            | Event::Rows(_)
            | Event::Note(_)
            | Event::Closed(_)
            | Event::Unknown(_) => {}
        }
    }

    /// Adds a decision.
    pub fn decided(&mut self, decision: &Decision) {
        self.statements += 1;
        match decision {
            Decision::Allow(_) => {}
            Decision::Hold(_) => self.held += 1,
            Decision::Deny(_) => self.denied += 1,
        }
    }

    /// Adds how an execution ended.
    pub fn finished(&mut self, finished: &Finished) {
        self.rows = self.rows.saturating_add(finished.rows);
        self.bytes = self.bytes.saturating_add(finished.bytes);
        self.failed += u64::from(finished.error.is_some());
    }
}

/// Anything that a recording holds, in the order it happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first event.
    Began(Box<Began>),
    /// Login is over.
    Login(Box<LoggedIn>),
    /// A decision, before anything runs.
    Decided(Box<Decided>),
    /// Rows delivered.
    Rows(Rows),
    /// An execution is over.
    Finished(Finished),
    /// Something said besides answers.
    Note(Note),
    /// The last event.
    Closed(Closed),
    /// An event that this version does not know, kept as it stands.
    Unknown(Unknown),
}

/// An event of a kind, or with a content, that this version does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unknown {
    /// What it calls itself.
    pub kind: String,
    /// The line as it stands.
    pub line: String,
}

/// The one reason a session ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "self-explanatory")]
pub enum Why {
    ClientQuit,
    ClientGone,
    UpstreamGone,
    ClientGarbled(String),
    UpstreamGarbled(String),
    LoginRefused,
    IdentityExpired,
    Drained,
    Killed,
    RecordFailed(String),
    MaskFailed(String),
    LimitReached(String),
    UpstreamRefused(String),
    /// The agent was killed or crashed; the next one closed the recording.
    AgentDied,
    Fault(String),
}

impl Why {
    /// One word, for a metric's label.
    pub fn word(&self) -> &'static str {
        match self {
            Why::ClientQuit => "client_quit",
            Why::ClientGone => "client_gone",
            Why::UpstreamGone => "upstream_gone",
            Why::ClientGarbled(_) => "client_garbled",
            Why::UpstreamGarbled(_) => "upstream_garbled",
            Why::LoginRefused => "login_refused",
            Why::IdentityExpired => "identity_expired",
            Why::Drained => "drained",
            Why::Killed => "killed",
            Why::RecordFailed(_) => "record_failed",
            Why::MaskFailed(_) => "mask_failed",
            Why::LimitReached(_) => "limit_reached",
            Why::UpstreamRefused(_) => "upstream_refused",
            Why::AgentDied => "agent_died",
            Why::Fault(_) => "fault",
        }
    }
}

/// Every event of a recording: its name, when it is written, what it holds.
pub const EVENTS: &[(&str, &str, &str)] = &[
    (
        "began",
        "first",
        "session, workload, process, client address, destination, target",
    ),
    (
        "login",
        "after login",
        "principal, role, database, TLS, settings asked for, where the database was dialled; or the refusal",
    ),
    (
        "decided",
        "before anything runs",
        "text or what stands in for it, parameters, the purpose that was given, analysis, decision with its rules and what observing policies would have said, policy version, what its names stood for, how it was sent",
    ),
    (
        "rows",
        "with an answer",
        "rows as delivered, masked, up to a bound for each statement; of what was delivered beyond it, bytes and digest",
    ),
    (
        "finished",
        "after an answer",
        "tags, rows, bytes, error as the client saw it, masks by column, what the content net found and where, observed limits and budgets that it passed, time, end",
    ),
    (
        "note",
        "at any time",
        "what was said besides answers; steps of a request for approval: asked, granted (by whom, on which terms), previewing and previewed (for whom, how many rows of which tables), ended without",
    ),
    (
        "closed",
        "last",
        "the one reason the session ended, totals, and the bytes that passed, by the agent's count and the kernel's",
    ),
];

#[cfg(test)]
mod reference {
    /// A new kind of event is a compile error here until it is described.
    #[test]
    fn every_event_is_described() {
        use super::Event::{Began, Closed, Decided, Finished, Login, Note, Rows, Unknown};
        let named = |event: &super::Event| match event {
            Began(_) => Some("began"),
            Login(_) => Some("login"),
            Decided(_) => Some("decided"),
            Rows(_) => Some("rows"),
            Finished(_) => Some("finished"),
            Note(_) => Some("note"),
            Closed(_) => Some("closed"),
            Unknown(_) => None,
        };
        let _total: &dyn Fn(&super::Event) -> Option<&'static str> = &named;
        assert_eq!(super::EVENTS.len(), 7);
    }
}
