//! IO. The record: one append-only, hash-chained file per session. Mints `Receipt`, without which
//! nothing runs.

use serde::{Deserialize, Serialize};

use crate::mask::MaskedRows;
use crate::model::{
    ClientAddr, OriginalDst, Principal, ProcessFacts, Refusal, ResultHead, SessionId, StatementSeq,
    TargetName, UnixMillis, Workload,
};
use crate::policy::{Decision, RuleRef};
use crate::sql::Analysis;

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
}

/// Login is over.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    },
    /// Refused.
    Refused(Refusal),
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
    /// What the text does. Shared, not copied, on the hot path.
    pub analysis: std::sync::Arc<Analysis>,
    /// The decision with its rules.
    pub decision: std::sync::Arc<Decision>,
    /// Which policies decided.
    pub policy_version: std::sync::Arc<str>,
}

/// A text, or what stands in for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordedText {
    /// As judged.
    Plain(String),
    /// It carried a secret, or was not understood.
    Withheld {
        /// BLAKE3, hex.
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
    /// How it ended.
    pub end: End,
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
    Fault(String),
}
