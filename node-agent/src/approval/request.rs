//! Pure. What a reviewer is asked: who wants what to be done where, and by which rule it waits.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Binding;
use super::access::Wanted;
use crate::model::{
    ApprovalId, ClientAddr, Principal, ProcessFacts, Reference, TargetName, UnixMillis, Workload,
};
use crate::policy::{Asks, RuleRef};
use crate::record::RecordedCell;
use crate::sql::Purpose;

/// A text longer than this cannot be approved, bytes, nor with its parameters together: nobody reads it to its
/// end (A5).
pub const LONGEST_TEXT: usize = 64 << 10;
/// More parameters than this cannot be approved.
pub const MOST_PARAMS: usize = 256;
/// A parameter longer than this cannot be approved, bytes.
pub const LONGEST_PARAM: usize = 4 << 10;

/// Something that waits for a human.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Its name. Random: it says nothing, and nobody guesses it.
    pub id: ApprovalId,
    /// The statement.
    pub reference: Reference,
    /// Since when.
    pub at: UnixMillis,
    /// Until when.
    pub lapses: UnixMillis,
    /// Whether the client waits for it.
    pub waits: Waits,
    /// Who wants it.
    pub requester: Requester,
    /// Where.
    pub target: TargetName,
    /// In which database.
    pub database: String,
    /// As which role of it.
    pub role: String,
    /// What.
    pub matter: Matter,
    /// The rule that asks.
    pub rule: RuleRef,
    /// Whom, and for what.
    pub asks: Asks,
    /// Of the policies that asked.
    pub policy_version: Arc<str>,
    /// Stands for the exact statement in its circumstances; a grant is worth nothing for another.
    pub binding: Binding,
    /// Stands for its shape, of the same identity in the same place, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Binding>,
}

/// How the client waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Waits {
    /// On its connection: the request ends with that.
    Held,
    /// It was refused, and comes again with the same statement.
    Retry,
}

/// Who wants something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Requester {
    /// `iss` of the token.
    pub issuer: String,
    /// `sub`.
    pub subject: String,
    /// Its groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// The claims that are kept.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, serde_json::Value>,
    /// Other names of the same person, and who acts for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// The kernel's word.
    pub workload: Workload,
    /// The process that dialled.
    pub process: ProcessFacts,
    /// From where.
    pub client: ClientAddr,
    /// `application_name`: the client's own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// Why: the client's own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
}

impl Requester {
    /// Of a session.
    pub fn of(principal: &Principal, process: &ProcessFacts, client: ClientAddr) -> Requester {
        Requester {
            issuer: principal.user.issuer.clone(),
            subject: principal.user.subject.clone(),
            groups: principal.user.groups.clone(),
            claims: principal.user.claims.clone(),
            also: principal.user.also.clone(),
            workload: principal.workload.clone(),
            process: process.clone(),
            client,
            application: None,
            purpose: None,
        }
    }

    /// Everything that names the person: the subject, and what claims say beside it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        names(&self.subject, &self.claims, &self.also)
    }
}

/// Everything that names a person.
pub(super) fn names<'a>(
    subject: &'a str,
    claims: &'a BTreeMap<String, serde_json::Value>,
    also: &'a [String],
) -> impl Iterator<Item = &'a str> {
    const NAMING: [&str; 4] = ["email", "preferred_username", "upn", "sub"];
    let claimed = NAMING.iter().filter_map(|name| claims.get(*name));
    // RFC 8693, 4.1: who acts for whom.
    let acting = claims.get("act").and_then(|act| act.get("sub"));
    let claimed = claimed.chain(acting);
    let claimed = claimed.filter_map(serde_json::Value::as_str);
    let also = also.iter().map(String::as_str);
    std::iter::once(subject).chain(also).chain(claimed)
}

/// What waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Matter {
    /// A statement, before it runs.
    Statement(Shown),
    /// The COMMIT of a transaction.
    Commit(Work),
    /// A policy, for a time.
    Access(Wanted),
}

/// A statement as it is shown. All of it, exact: what cannot be shown whole cannot be approved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// The text, byte for byte. Whoever shows it escapes it.
    pub text: String,
    /// Parameters as bound.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<RecordedCell>,
    /// What it does: words of the policy language.
    pub kinds: Vec<String>,
    /// The relations that it touches, as the catalogue resolves them.
    pub tables: Vec<String>,
    /// Functions that it calls, not the server's own pure ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<String>,
    /// How many rows the database expects it to change or return; nothing was run to know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<u64>,
    /// Statements of the session's open transaction that have run before it.
    #[serde(default)]
    pub before: u64,
}

/// What a transaction has done that wants to commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// Rows by table, as the database's own counters have them, since the first of the statements.
    pub tables: Vec<Changed>,
    /// The database counts (`track_counts`); else nobody knows the rows.
    #[serde(default = "counts")]
    pub counted: bool,
    /// The statements that the rule is about, oldest first, each as it is shown: all of them.
    pub statements: Vec<Shown>,
    /// Other statements of the transaction, which the rule is not about (its BEGIN among them).
    #[serde(default)]
    pub more: u64,
    /// Since when the transaction has been open, and its locks are held.
    pub since: UnixMillis,
}

fn counts() -> bool {
    true
}

/// Rows of one table that a transaction has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "self-explanatory")]
pub struct Changed {
    pub table: String,
    pub inserted: u64,
    pub updated: u64,
    pub deleted: u64,
}
