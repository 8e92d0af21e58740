//! Pure. `decide(&PolicySet, &Question) -> Decision`: deny beats approve beats allow beats the
//! default, which is deny.
//!
//! `document.rs` is a policy as written, `compile.rs` makes a set of it, `judge.rs` asks the set,
//! `masked.rs` adds what masks forbid, `tags.rs` says which columns they are about besides those they name, `refuse.rs` words the refusals, `suggest.rs` looks for a small
//! change that would be allowed, `access.rs` for a policy that could be granted. `budget.rs` keeps what an identity has spent. For those who write
//! policies there are `check/` (what a policy cannot have meant), `audit.rs` (which column of a database has which mask), `explain.rs`, `cases.rs` and
//! `schema/`. docs/policy-language.md is the same for people.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{Principal, Refusal, TargetName, UnixMillis};
use crate::sql::{Analysis, Purpose, RelationName, RelationUse};

mod access;
mod audit;
mod budget;
mod check;
mod compile;
mod condition;
mod content;
mod context;
mod decide;
mod document;
mod equality;
mod explain;
mod inventory;
mod json_path;
mod judge;
mod likeness;
mod masked;
mod meanings;
mod names;
mod near;
mod own;
mod pattern;
mod places;
mod refuse;
mod require;
mod schema;
mod suggest;
mod tags;
mod views;
mod words;

pub mod cases;

pub use access::{Access, Granted, OnRequest, offered};
pub use audit::{Audit, AuditedColumn, AuditedMask, Idle, Share, audit};
pub use budget::{Budget, Exhausted, Identity, Ledger, Per, Spent};
pub use check::{Finding, check, check_against};
pub use compile::{Needed, Needs, PolicySet};
pub use condition::Condition;
pub use content::{Content, ContentMasker, ContentMode, ContentRule, Detector};
pub use decide::decide;
pub use document::{
    ApiVersion, BudgetWords, Document, Effect, Functions, Gate, Kind, LimitWords, Mask, Metadata,
    Mode, Offers, PolicyError, Predicates, Reviewers, Rule, Size, Span, Subject, Witnesses, parse,
};
pub use explain::{
    ColumnNote, Explanation, FunctionNote, MaskNote, ObjectNote, OnRequestNote, RuleNote,
    StatementNote, explain,
};
pub use inventory::{Column, Inventory, InventoryError, InventoryKind, Routine, Table};
pub use json_path::{Depth, JsonMask, JsonPath, MOST_STEPS, PathStep, Select};
pub use pattern::{ColumnName, FunctionPattern, Glob, TablePattern, TagPattern};
pub use places::{Place, Places};
pub use require::{Require, TicketPattern};
pub use schema::schema;
pub use suggest::limit_rows;
pub use tags::{Classified, Tag};
pub use words::Word;

/// The generated reference of the statement words, Markdown.
pub fn reference() -> String {
    words::reference()
}

/// Everything a decision hangs on. Serialisable whole, so that a recording can be judged again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Question {
    /// Who.
    pub principal: Arc<Principal>,
    /// Which target.
    pub target: TargetName,
    /// Which database in it.
    pub database: String,
    /// The role the agent uses there.
    pub role: String,
    /// `application_name`, a claim of the client's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// Why, by the client's own word.
    #[serde(default, skip_serializing_if = "Purpose::is_empty")]
    pub purpose: Purpose,
    /// What the text does.
    pub analysis: Arc<Analysis>,
    /// What the names in it can stand for.
    pub names: Arc<ResolvedNames>,
    /// The policies that were granted to who asks, and are in force for it now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub access: Vec<Granted>,
    /// When.
    pub now: UnixMillis,
}

/// For each relation name as written, the schemas it may stand for.
///
/// A name that is missing here could not be resolved: only a pattern that covers every schema
/// (`*.…`) allows it, and every deny or mask for any schema meets it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedNames {
    /// As written → candidate schemas (exactly one when it is certain).
    pub relations: Vec<(RelationName, Vec<String>)>,
    /// As written → the base tables (schema, table) it reaches: through views, down to the
    /// children and up to the parents of partitions and inheritance. A name that is missing here
    /// reaches only itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reaches: Vec<(RelationName, Vec<(String, String)>)>,
    /// As written → the columns of the views that it may stand for, where these read other relations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub views: Vec<(RelationName, Vec<ViewColumn>)>,
    /// As written: a view among what it may stand for has its rows, or those of a view that it
    /// reads, from code (functions, operators); what that reads, nothing shows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub opaque: Vec<RelationName>,
    /// As written: the catalogue does not have it. Where `relations` gives schemas for it all the same,
    /// they are those that it can only be in once it is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<RelationName>,
    /// As written, and how it is touched → what else that changes: referential actions, and rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sets_off: Vec<(RelationUse, Vec<RelationUse>)>,
    /// Calls without a schema that may run functions which did not come with the server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<OwnCall>,
    /// Operators without a schema → the functions behind those of that name that did not come with the
    /// server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operators: Vec<(String, Vec<RelationName>)>,
    /// Types → the functions, not the server's, that making a value of one runs: checks of domains and
    /// casts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<(RelationName, Vec<RelationName>)>,
    /// Names behind a dot → the functions that they may call with the row before it, as `f(t)` is also
    /// written `t.f`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<(String, Vec<RelationName>)>,
    /// Relations of the server's own that may hold passwords, and hold nothing here (`pg_catalog` left
    /// out).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bare: Vec<String>,
    /// Names behind a dot that no function has which takes one argument: columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<String>,
    /// Columns, of what the names stand for or reach, that the catalogue classifies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classified: Vec<Classified>,
    /// Names that no schema of the path has → schemas that have them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elsewhere: Vec<(RelationName, Vec<String>)>,
}

/// A column of a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewColumn {
    /// Its name.
    pub name: String,
    /// The columns of tables (schema, table, column) that its values can come from; `None`: of whatever
    /// the view reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Vec<(String, String, String)>>,
}

/// A call, by its name as written and the number of its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnCall {
    /// The name.
    pub name: String,
    /// How many arguments are written.
    pub args: usize,
    /// The schemas with a function that it may run.
    pub schemas: Vec<String>,
    /// The server has functions of that name as well.
    pub servers: bool,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It may run, with obligations.
    Allow(Allow),
    /// A human decides.
    Hold(Hold),
    /// It may not.
    Deny(Denial),
}

/// Which rule of which policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RuleRef {
    /// `metadata.name`.
    pub policy: Arc<str>,
    /// The rule's name.
    pub rule: Arc<str>,
}

/// Allowed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Allow {
    /// The rules that spoke for it.
    pub rules: Vec<RuleRef>,
    /// What the agent must do with the answer.
    pub obligations: Arc<Obligations>,
    /// Observe mode: what enforcing would have said, when that is not "allow".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Box<Decision>>,
    /// Observe mode: the limits and budgets that enforcing would hold it to, where they are others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watched: Option<Arc<Watched>>,
    /// The same question at another moment could be answered otherwise (a condition read the
    /// clock): do not cache.
    #[serde(default)]
    pub fleeting: bool,
}

/// Held for a human.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    /// The rule that asks.
    pub rule: RuleRef,
    /// Whom it asks, and for what.
    #[serde(flatten)]
    pub asks: Asks,
    /// As if granted.
    pub obligations: Arc<Obligations>,
}

/// What an approve rule asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asks {
    /// Who may decide.
    pub reviewers: Reviewers,
    /// How many of them must agree.
    pub quorum: u32,
    /// What waits.
    #[serde(default)]
    pub gate: Gate,
    /// What may be granted beyond one run.
    #[serde(default)]
    pub offers: Offers,
    /// Seconds until it lapses; `None`: as the agent is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
}

/// Denied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Denial {
    /// The rule that denied; `None`: no rule allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleRef>,
    /// What the client is told (reference not yet set).
    pub refusal: Refusal,
    /// As `Allow::fleeting`.
    #[serde(default)]
    pub fleeting: bool,
}

/// What must be done with the answer of an allowed statement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Obligations {
    /// The masks in force for this principal on this target (all of them: which apply is decided
    /// by the result's origins).
    pub masks: Vec<MaskRule>,
    /// What is looked for in columns that no mask is on, for this principal on this target.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub content: Vec<ContentRule>,
    /// The statement touches a relation that carries a masked column, or cannot be shown not to.
    pub touches_masked: bool,
    /// Where the columns of the answer can come from.
    #[serde(skip)]
    pub sources: Sources,
    /// Whether what its columns are made of can be followed.
    #[serde(skip)]
    pub trace: Trace,
    /// Limits.
    pub limits: Limits,
    /// Which rule gives `limits.rows_affected`; the rule `limits` is that of a whole document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_rule: Option<RuleRef>,
    /// The budgets that it is charged to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Budget>,
}

impl Obligations {
    /// Whether each result of the statement needs a plan: some cell of it may be covered, or looked into.
    pub fn plans(&self) -> bool {
        !self.masks.is_empty() || !self.content.is_empty()
    }

    /// Whether some cell of a result of the statement may be covered.
    pub fn covers(&self) -> bool {
        !self.masks.is_empty() || self.nets_cover()
    }

    /// Whether a copy of the statement's rows may hold what is to be covered.
    pub fn covers_copies(&self) -> bool {
        (self.touches_masked && !self.masks.is_empty()) || self.nets_cover()
    }

    fn nets_cover(&self) -> bool {
        let mut nets = self.content.iter();
        nets.any(|net| net.mode == ContentMode::Mask)
    }
}

/// Limits and budgets that only observe. Nobody who reads them can refuse anything by them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Watched {
    /// The limits that enforcing would set.
    pub limits: Limits,
    /// The budgets of observing policies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Budget>,
}

/// Whether what the columns of an answer are made of can be followed from its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trace {
    /// No: the text is not all that runs, or nothing hangs on it. Whatever the wire does not prove may be
    /// anything.
    #[default]
    Nothing,
    /// By the names that it was judged with.
    By(Arc<ResolvedNames>),
}

/// The relations that a text names or reaches. An answer that touches masked data and claims a
/// column of another relation is not believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sources {
    /// Nothing hangs on it: no masked data is touched.
    #[default]
    Any,
    /// These tables.
    These(Arc<HashMap<String, Schemas>>),
}

/// The schemas that a table may be in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schemas {
    /// The text does not say, and no catalogue knows.
    Any,
    /// These.
    These(Vec<String>),
}

impl Default for Schemas {
    fn default() -> Self {
        Schemas::These(Vec::new())
    }
}

/// A mask, as policy states it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaskRule {
    /// Policy and mask name.
    pub rule: RuleRef,
    /// `schema.table.column` patterns (`*` within a part).
    pub columns: Vec<ColumnPattern>,
    /// Tags of columns that it is about besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<TagPattern>,
    /// What to do with a value.
    pub with: Masker,
}

/// `schema.table.column`, each part a glob in the server's folded spelling.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "self-explanatory")]
pub struct ColumnPattern {
    pub schema: String,
    pub table: String,
    pub column: String,
}

/// What replaces a masked value. Each yields a value valid for the column's type, else NULL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Masker {
    /// A constant.
    Redact,
    /// NULL.
    Null,
    /// All but the last n characters.
    KeepLast(u32),
    /// All but the first n characters.
    KeepFirst(u32),
    /// A keyed hash, hex.
    Hash,
    /// A keyed token in the type's format.
    Token,
    /// A date cut to `year`, `month` or `day`.
    DateTrunc(DateUnit),
    /// Values within a JSON document, by path.
    Json(JsonMask),
}

/// What replaces a value within a JSON document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartMasker {
    /// A constant.
    Redact,
    /// JSON's `null`.
    Null,
    /// All but the last n characters of a string.
    KeepLast(u32),
    /// All but the first n characters of a string.
    KeepFirst(u32),
    /// A keyed hash of a string, hex.
    Hash,
    /// A keyed token of a string or a number.
    Token,
    /// A date in a string cut to `year`, `month` or `day`.
    DateTrunc(DateUnit),
}

/// What a date is cut to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "self-explanatory")]
pub enum DateUnit {
    Year,
    Month,
    Day,
}

/// Limits on an execution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Rows returned by one statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_returned: Option<u64>,
    /// Bytes returned by one statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_returned: Option<u64>,
    /// How long it may run, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement_timeout_ms: Option<u64>,
    /// Rows it may change, with all that it sets off; more are not committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_affected: Option<u64>,
}

#[cfg(test)]
mod granted;
#[cfg(test)]
mod suggested;
#[cfg(test)]
mod tests;
