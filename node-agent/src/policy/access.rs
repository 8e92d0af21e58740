//! Policies that are in force for nobody until somebody grants them: to one identity, for a time. What is
//! granted here only adds; what takes away is refused where policies are read, so that a grant that ends,
//! or was never given, leaves nothing unguarded.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use super::compile::Compiled;
use super::decide::judged;
use super::document::{Document, Effect, Mode, Reviewers, Span};
use super::places::Step;
use super::suggest::LARGE;
use super::{Asks, Decision, PolicySet, Question, refuse};
use crate::model::ApprovalId;
use crate::sql::StatementFacts;

/// Policies that are tried for one refused statement.
const TRIED: usize = 16;
/// Names of all kinds that are judged for one refused statement, in all tries together.
const WORK: usize = 8000;
/// The longest that access may be granted for, milliseconds.
const LONGEST: u64 = 30 * 24 * 60 * 60 * 1000;
/// The longest where a policy does not say.
const LONGEST_UNSAID: u64 = 8 * 60 * 60 * 1000;
/// What a reviewer who names no time grants, where the policy lets it be so long.
const USUAL: u64 = 60 * 60 * 1000;
/// How long a request for access waits where a policy does not say: nothing waits on a connection for it.
const WAITS_UNSAID: u64 = 60 * 60 * 1000;

/// Who may grant a policy, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// Who may grant it.
    pub reviewers: Reviewers,
    /// How many different reviewers must agree; one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quorum: Option<u32>,
    /// The longest that it is granted for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest: Option<Span>,
    /// How long a request for it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

/// A policy that was granted to who asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Granted {
    /// `metadata.name`.
    pub policy: Arc<str>,
    /// By which approval; `None`: it is only supposed, as in a policy's tests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<ApprovalId>,
}

/// A policy that can be granted, as reviewers and the desk know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnRequest {
    /// Its name.
    pub policy: Arc<str>,
    /// Stands for all that it says: another text is another policy, and a grant is not for that.
    pub content: Arc<str>,
    /// Who may grant it, and how many must.
    pub asks: Asks,
    /// The longest that it is granted for, milliseconds.
    pub longest: u64,
    /// For how long where a reviewer does not say, milliseconds.
    pub usual: u64,
    /// How long a request waits, milliseconds.
    pub waits: u64,
    /// What it allows, in the policy's own words, a line each.
    pub rules: Vec<String>,
    /// Which targets it is about.
    pub targets: Vec<String>,
}

/// Reads `access`. A key with nothing behind it is no word for "in force for everybody" (fail closed).
///
/// # Errors
/// It is none.
pub(super) fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Access>, D::Error> {
    Access::deserialize(from).map(Some)
}

impl OnRequest {
    /// Of a document that can be granted.
    pub(super) fn of(document: &Document) -> Option<Arc<OnRequest>> {
        let access = document.access.as_ref()?;
        // All of the text counts, also what it says about the grant itself. (Whose text cannot be written
        // down is refused by `check`.)
        let text = serde_json::to_vec(document).unwrap_or_default();
        let content = blake3::hash(&text).to_hex();
        let longest = access.longest.map_or(LONGEST_UNSAID, |span| span.0);
        let waits = access.timeout.map_or(WAITS_UNSAID, |span| span.0);
        Some(Arc::new(OnRequest {
            policy: Arc::from(document.metadata.name.as_str()),
            content: Arc::from(content.get(..32).unwrap_or_default()),
            asks: Asks {
                reviewers: access.reviewers.clone(),
                quorum: access.quorum.unwrap_or(1),
                timeout_seconds: Some(waits.div_ceil(1000)),
                ..Asks::default()
            },
            longest,
            usual: USUAL.min(longest),
            waits,
            rules: words(document),
            targets: document.targets.iter().map(ToString::to_string).collect(),
        }))
    }
}

/// What a document allows, a line each.
fn words(document: &Document) -> Vec<String> {
    fn list<T: ToString>(all: &[T]) -> String {
        let all: Vec<String> = all.iter().map(ToString::to_string).collect();
        all.join(", ")
    }
    let mut lines = Vec::new();
    for rule in &document.rules {
        let mut line = format!("allows {}", list(&rule.statements));
        if rule.tables.iter().any(|table| table.is_every()) {
            line.push_str(" on every table");
        } else {
            line.push_str(&format!(" on {}", list(&rule.tables)));
        }
        if rule.without_where {
            line.push_str(", without WHERE too");
        }
        if let Some(rows) = rule.max_rows_affected {
            line.push_str(&format!(", at most {rows} rows changed by a statement"));
        }
        if let Some(when) = &rule.when {
            line.push_str(&format!(", when {when}"));
        }
        lines.push(line);
    }
    if !document.functions.allow.is_empty() {
        lines.push(format!("vouches for {}", list(&document.functions.allow)));
    }
    let limits = &document.limits;
    let spans = [
        ("rows returned", limits.rows_returned),
        ("bytes returned", limits.bytes_returned.map(|size| size.0)),
        ("ms", limits.statement_timeout.map(|span| span.0)),
        ("rows changed", limits.rows_affected),
    ];
    for (what, most) in spans {
        if let Some(most) = most {
            lines.push(format!("limits each statement to {most} {what}"));
        }
    }
    lines
}

/// What is wrong with a document that is to be granted, and where in it. Whatever takes something away is
/// refused: it would protect nothing while nobody has been granted anything, and look as if it did.
pub(super) fn check(document: &Document) -> Vec<(Vec<Step<'static>>, String)> {
    let Some(access) = &document.access else {
        return Vec::new();
    };
    let mut wrong: Vec<(Vec<Step<'static>>, String)> = Vec::new();
    if let Err(error) = serde_json::to_vec(document) {
        let told = format!("nothing can be granted that cannot be written down: {error}");
        wrong.push((vec![Step::Key("access")], told));
    }
    let mut at = |key: &'static str, told: String| wrong.push((vec![Step::Key(key)], told));
    let elsewhere = "put it into a policy without `access`, which is always in force";
    for rule in &document.rules {
        let told = match rule.effect {
            Effect::Allow => continue,
            Effect::Deny => "denies",
            Effect::Approve => "holds",
        };
        at(
            "rules",
            format!(
                "rule `{}` {told} something, and a policy with `access` is in force only while it is granted: {elsewhere}",
                rule.name
            ),
        );
    }
    for (key, any) in [
        ("masks", !document.masks.is_empty()),
        ("content", !document.content.is_empty()),
        ("budgets", !document.budgets.is_empty()),
    ] {
        if any {
            at(
                key,
                format!("`{key}` protects nothing while the policy is not granted: {elsewhere}"),
            );
        }
    }
    if !document.functions.deny.is_empty() {
        at(
            "functions",
            format!(
                "`functions.deny` refuses nothing while the policy is not granted: {elsewhere}"
            ),
        );
    }
    if document.mode == Mode::Observe {
        at(
            "mode",
            "a policy that only observes lets nothing run, so that granting it means nothing: leave out \
             `mode` or `access`"
                .to_owned(),
        );
    }
    if document.rules.is_empty() && document.functions.allow.is_empty() {
        at("access", "it has nothing that could be granted".to_owned());
    }
    let reviewers = &access.reviewers;
    if reviewers.groups.is_empty() && reviewers.users.is_empty() {
        at("access", "nobody is named who could grant it".to_owned());
    }
    let quorum = access.quorum.unwrap_or(1);
    if quorum == 0 {
        at(
            "access",
            "access.quorum is how many must agree, at least 1".to_owned(),
        );
    }
    if reviewers.groups.is_empty() && reviewers.users.len() < quorum as usize {
        at(
            "access",
            format!(
                "{quorum} must agree, and only {} may",
                reviewers.users.len()
            ),
        );
    }
    for (key, span) in [("longest", access.longest), ("timeout", access.timeout)] {
        if span.is_some_and(|span| span.0 < 1000 || span.0 > LONGEST) {
            at(
                "access",
                format!("access.{key} is at least 1s and at most 30d"),
            );
        }
    }
    wrong
}

impl Question {
    /// Whether this policy was granted to who asks.
    pub(super) fn has(&self, policy: &str) -> bool {
        self.access.iter().any(|granted| *granted.policy == *policy)
    }
}

impl PolicySet {
    /// A policy that can be granted.
    pub fn on_request(&self, policy: &str) -> Option<&Arc<OnRequest>> {
        self.all_on_request()
            .find(|access| *access.policy == *policy)
    }

    /// All policies that can be granted.
    pub fn all_on_request(&self) -> impl Iterator<Item = &Arc<OnRequest>> {
        self.documents
            .iter()
            .filter_map(|document| document.access.as_ref())
    }

    /// What each of them stands for now.
    pub fn contents(&self) -> BTreeMap<Arc<str>, Arc<str>> {
        self.all_on_request()
            .map(|access| (access.policy.clone(), access.content.clone()))
            .collect()
    }
}

/// The policies that could be granted to who asks, and each of which alone would let a refused statement
/// run, or have a human decide about it. In the order of the documents; the work is bounded.
pub fn offered(set: &PolicySet, question: &Question) -> Vec<Arc<OnRequest>> {
    let names = |facts: &StatementFacts| {
        facts.relations.len() + facts.columns.len() + facts.functions.len() + facts.carries.len()
    };
    let facts = &question.analysis.statements;
    let names: usize = facts.iter().map(names).sum();
    if names > LARGE {
        return Vec::new();
    }
    let tried = TRIED.min(WORK / names.max(1));
    let could = |document: &&Compiled| {
        document.access.is_some() && !question.has(&document.name) && document.is_about(question)
    };
    let mut found = Vec::new();
    for document in set.documents.iter().filter(could).take(tried) {
        let mut supposed = question.clone();
        supposed.access.push(Granted {
            policy: document.name.clone(),
            by: None,
        });
        let helps = match judged(set, &supposed) {
            Decision::Allow(_) | Decision::Hold(_) => true,
            // Granted, it wants to be told why, and would let it run then.
            Decision::Deny(denial) => {
                let rule = denial.rule.as_ref();
                refuse::is_untold(&denial) && rule.is_some_and(|rule| rule.policy == document.name)
            }
        };
        if helps {
            found.extend(document.access.clone());
        }
    }
    found
}
