//! A policy as written: YAML, several documents to a file, every error with line and column.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Masker;
use super::access::{self, Access};
use super::budget::{Budget, Per, Spent};
use super::condition::Condition;
use super::content::Content;
use super::near;
use super::pattern::{ColumnName, FunctionPattern, Glob, TablePattern, TagPattern};
use super::places::Places;
use super::require::Require;
use super::words::Word;

/// What is wrong with a policy, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{source_name}{}: {message}", at(*line, *column))]
pub struct PolicyError {
    /// The file's name as given.
    pub source_name: String,
    /// From 1; 0: not known.
    pub line: u64,
    /// From 1; 0: not known.
    pub column: u64,
    /// One sentence.
    pub message: String,
}

fn at(line: u64, column: u64) -> String {
    if line == 0 {
        String::new()
    } else {
        format!(":{line}:{column}")
    }
}

/// One policy document.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// `node-agent/v1`.
    #[serde(rename = "apiVersion")]
    pub api_version: ApiVersion,
    /// `Policy`.
    pub kind: Kind,
    /// Its name.
    pub metadata: Metadata,
    /// Whether it decides or only says what it would have decided.
    #[serde(default)]
    pub mode: Mode,
    /// Whom it is about: any of these.
    pub subjects: Vec<Subject>,
    /// Which targets it is about: globs.
    pub targets: Vec<Glob>,
    /// Its rules, in any order: deny beats approve beats allow.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// Functions beyond the built-in pure ones.
    #[serde(default)]
    pub functions: Functions,
    /// Columns to mask.
    #[serde(default)]
    pub masks: Vec<Mask>,
    /// What is looked for in the texts of columns that no mask is on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub content: Vec<Content>,
    /// Limits on every statement.
    #[serde(default)]
    pub limits: LimitWords,
    /// What one identity may do in a span of time, in all its sessions together.
    #[serde(default, skip_serializing_if = "BudgetWords::is_empty")]
    pub budgets: BudgetWords,
    /// What every allow and approve rule wants to be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require: Option<Require>,
    /// What happens where two parsers read a text differently.
    #[serde(default)]
    pub witnesses: Witnesses,
    /// It is in force for nobody but those to whom it was granted, for as long as that.
    #[serde(
        default,
        deserialize_with = "access::read",
        skip_serializing_if = "Option::is_none"
    )]
    pub access: Option<Access>,
    /// The file it came from; not part of the document.
    #[serde(skip)]
    pub source_name: String,
    /// Where its parts stand in that file; not part of the document.
    #[serde(skip)]
    pub places: Places,
}

/// The only version there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApiVersion {
    /// `node-agent/v1`
    #[serde(rename = "node-agent/v1")]
    V1,
}

/// The only kind there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// `Policy`
    Policy,
}

/// The document's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// Unique among all documents.
    pub name: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// Whether a document decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It decides.
    #[default]
    Enforce,
    /// It never blocks and masks nothing; what it would have decided is recorded.
    Observe,
}

/// What happens to a text that two parsers read differently. The strictest of the documents that
/// speak of a question counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Witnesses {
    /// It is refused, as a text that cannot be judged: `opaque` alone allows it.
    #[default]
    Strict,
    /// What each of them sees must be allowed.
    Union,
}

/// Somebody: all that is said must hold; within one list any entry may.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// A group of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<Glob>>,
    /// The user's `sub`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<Vec<Glob>>,
    /// The issuer's URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuers: Option<Vec<Glob>>,
    /// The workload's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workloads: Option<Vec<Glob>>,
    /// Labels of the workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, Glob>>,
    /// Claims of the user: a string claim equals, a list claim contains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<BTreeMap<String, Glob>>,
    /// The database's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub databases: Option<Vec<Glob>>,
    /// The role the agent uses there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<Glob>>,
}

/// What a rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It may run.
    Allow,
    /// A human decides.
    Approve,
    /// It may not.
    Deny,
}

/// One rule.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Unique in its document.
    pub name: String,
    /// What it says.
    pub effect: Effect,
    /// About which statements.
    pub statements: Vec<Word>,
    /// About which tables; all when absent.
    #[serde(default = "every_table")]
    pub tables: Vec<TablePattern>,
    /// Only when this CEL expression is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
    /// Allow: the statement may change at most so many rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_rows_affected: Option<u64>,
    /// Allow: also an UPDATE or DELETE without WHERE.
    #[serde(default)]
    pub without_where: bool,
    /// Allow and approve: what must be told with the statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require: Option<Require>,
    /// Approve: who may decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewers: Option<Reviewers>,
    /// Approve: until it lapses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Approve: how many different reviewers must agree; one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quorum: Option<u32>,
    /// Approve: what is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Gate>,
    /// Approve: what a reviewer may grant beyond this one run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offers: Option<Offers>,
}

/// What waits for the reviewer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// The statement, before it runs.
    #[default]
    Statement,
    /// The end of its transaction: it runs, and COMMIT is held.
    Commit,
}

/// What a reviewer may grant, or have done, beyond one run of the statement that was held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offers {
    /// Whatever the rule holds in the same session.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub session: bool,
    /// Statements of the same shape by the same identity, for at most so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Span>,
    /// The answer without masks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unmasked: bool,
    /// To see what it would do: it is run and rolled back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub preview: bool,
}

fn every_table() -> Vec<TablePattern> {
    vec![TablePattern::every()]
}

/// Who may decide a held statement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reviewers {
    /// Groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Users, by `sub`.
    #[serde(default)]
    pub users: Vec<String>,
}

impl fmt::Display for Reviewers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = self.groups.iter().map(|group| ("group", group));
        let users = self.users.iter().map(|user| ("user", user));
        for (at, (what, name)) in groups.chain(users).enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{what} {name}")?;
        }
        Ok(())
    }
}

/// Functions beyond the pure ones.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Functions {
    /// Vouched for: `schema.name(*)`, or `*` for every function there is.
    #[serde(default)]
    pub allow: Vec<FunctionPattern>,
    /// Refused, even the pure ones.
    #[serde(default)]
    pub deny: Vec<FunctionPattern>,
}

/// A mask.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mask {
    /// Unique in its document.
    pub name: String,
    /// `schema.table.column`, globs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<ColumnName>,
    /// Tags in the catalogue's comments, globs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<TagPattern>,
    /// What replaces a value.
    pub with: Masker,
    /// Whether a statement may decide by the column.
    #[serde(default)]
    pub predicates: Predicates,
    /// Who sees the values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unless: Option<Subject>,
}

/// Whether WHERE, ORDER BY, GROUP BY, … may use a masked column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Predicates {
    /// No: an answer that depends on the value tells of the value.
    #[default]
    Deny,
    /// By asking whether it is a value that the statement names, and by nothing else.
    Equality,
    /// Yes.
    Allow,
}

/// Limits as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitWords {
    /// Rows one statement may return.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_returned: Option<u64>,
    /// Bytes one statement may return.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_returned: Option<Size>,
    /// How long it may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement_timeout: Option<Span>,
    /// Rows it may change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_affected: Option<u64>,
}

/// Budgets as written: of what, and in which span.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetWords {
    /// Statements, per minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statements_per_minute: Option<u64>,
    /// Statements, per hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statements_per_hour: Option<u64>,
    /// Statements, per day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statements_per_day: Option<u64>,
    /// Rows delivered, per minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_returned_per_minute: Option<u64>,
    /// Rows delivered, per hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_returned_per_hour: Option<u64>,
    /// Rows delivered, per day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_returned_per_day: Option<u64>,
    /// Bytes of rows delivered, per minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_returned_per_minute: Option<Size>,
    /// Bytes of rows delivered, per hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_returned_per_hour: Option<Size>,
    /// Bytes of rows delivered, per day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_returned_per_day: Option<Size>,
    /// Rows changed, per minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_affected_per_minute: Option<u64>,
    /// Rows changed, per hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_affected_per_hour: Option<u64>,
    /// Rows changed, per day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_affected_per_day: Option<u64>,
    /// Statements that masks refused, per minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask_refusals_per_minute: Option<u64>,
    /// Statements that masks refused, per hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask_refusals_per_hour: Option<u64>,
    /// Statements that masks refused, per day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask_refusals_per_day: Option<u64>,
}

impl BudgetWords {
    /// None is named.
    pub fn is_empty(&self) -> bool {
        *self == BudgetWords::default()
    }

    /// Those that are named.
    pub(super) fn budgets(&self, policy: &Arc<str>) -> Vec<Budget> {
        let every = [
            (Spent::Statements, Per::Minute, self.statements_per_minute),
            (Spent::Statements, Per::Hour, self.statements_per_hour),
            (Spent::Statements, Per::Day, self.statements_per_day),
            (
                Spent::RowsReturned,
                Per::Minute,
                self.rows_returned_per_minute,
            ),
            (Spent::RowsReturned, Per::Hour, self.rows_returned_per_hour),
            (Spent::RowsReturned, Per::Day, self.rows_returned_per_day),
            (
                Spent::BytesReturned,
                Per::Minute,
                self.bytes_returned_per_minute.map(|size| size.0),
            ),
            (
                Spent::BytesReturned,
                Per::Hour,
                self.bytes_returned_per_hour.map(|size| size.0),
            ),
            (
                Spent::BytesReturned,
                Per::Day,
                self.bytes_returned_per_day.map(|size| size.0),
            ),
            (
                Spent::RowsAffected,
                Per::Minute,
                self.rows_affected_per_minute,
            ),
            (Spent::RowsAffected, Per::Hour, self.rows_affected_per_hour),
            (Spent::RowsAffected, Per::Day, self.rows_affected_per_day),
            (
                Spent::MaskRefusals,
                Per::Minute,
                self.mask_refusals_per_minute,
            ),
            (Spent::MaskRefusals, Per::Hour, self.mask_refusals_per_hour),
            (Spent::MaskRefusals, Per::Day, self.mask_refusals_per_day),
        ];
        let named = every.into_iter().filter_map(|(of, per, most)| {
            Some(Budget {
                policy: Arc::clone(policy),
                of,
                per,
                most: most?,
            })
        });
        named.collect()
    }
}

/// A span of time, milliseconds: `30s`, `10m`, `500ms`, `1h`, `90d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub u64);

/// A size, bytes: `64MiB`, `10kB`, `4096`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// A number and what follows it.
fn measured(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.checked_mul(*factor)
}

macro_rules! measure {
    ($name:ident, $expecting:literal, $units:expr, $print:literal) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        measured(text.trim(), $units)
                            .map($name)
                            .ok_or_else(|| E::custom(format!("`{text}` is not {}", $expecting)))
                    }
                }
                from.deserialize_str(Visitor)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(&format_args!($print, self.0))
            }
        }
    };
}

measure!(
    Span,
    "a span of time such as 500ms, 30s, 10m, 1h or 90d",
    &[
        ("ms", 1),
        ("s", 1000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000)
    ],
    "{}ms"
);
measure!(
    Size,
    "a size such as 4096, 10kB, 64MiB or 1GiB",
    &[
        ("", 1),
        ("B", 1),
        ("kB", 1000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
    ],
    "{}"
);

/// Parses one file, which may hold several documents.
///
/// `source_name` is only for the errors. What the words mean (patterns, statements, conditions) is
/// checked here too, so that each error stands at its own place.
pub fn parse(text: &str, source_name: &str) -> Result<Vec<Document>, Vec<PolicyError>> {
    match serde_saphyr::from_multiple::<Document>(text) {
        Ok(documents) if documents.is_empty() => Err(vec![PolicyError {
            source_name: source_name.to_owned(),
            line: 0,
            column: 0,
            message: "the file holds no policy".to_owned(),
        }]),
        Ok(mut documents) => {
            let mut places = Places::of(text).into_iter();
            for document in &mut documents {
                document.source_name = source_name.to_owned();
                document.places = places.next().unwrap_or_default();
            }
            Ok(documents)
        }
        Err(error) => {
            let (line, column) = error
                .location()
                .map_or((0, 0), |at| (at.line(), at.column()));
            Err(vec![PolicyError {
                source_name: source_name.to_owned(),
                line,
                column,
                message: plain(&error),
            }])
        }
    }
}

/// The parser's message without its picture of the place: the place is in the error already.
fn plain(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let text = text.lines().next().unwrap_or_default();
    // "… at line 3, column 5" is said by the location.
    near::kinder(match text.rfind(" at line ") {
        Some(end) => text.get(..end).unwrap_or(text),
        None => text,
    })
}
