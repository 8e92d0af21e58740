//! From documents to a set that decides fast: words become bits, patterns are read, conditions
//! compiled, and what makes no sense is an error before it is ever used.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::access::{self, Granted, OnRequest};
use super::budget::Budget;
use super::content::CompiledContent;
use super::document::{
    Document, Effect, Functions, LimitWords, Mode, PolicyError, Predicates, Rule, Subject,
    Witnesses,
};
use super::pattern::{ColumnName, FunctionPattern, Glob, TablePattern};
use super::places::Step;
use super::require::Wanted;
use super::words::{KindSet, Word};
use super::{Asks, Limits, MOST_STEPS, MaskRule, Masker, Obligations, Question, RuleRef};
use crate::model::{Principal, TargetName};
use crate::sql::StatementKind;

/// Compiled policies, immutable, swapped whole. Cheap to ask from many tasks at once.
#[derive(Debug)]
pub struct PolicySet {
    pub(super) documents: Vec<Compiled>,
    version: Arc<str>,
    /// `file:line:column` of each rule and mask.
    places: HashMap<RuleRef, String>,
}

impl Default for PolicySet {
    /// No policy: everything is denied.
    fn default() -> Self {
        PolicySet {
            documents: Vec::new(),
            version: Arc::from("none"),
            places: HashMap::new(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) name: Arc<str>,
    pub(super) mode: Mode,
    pub(super) witnesses: Witnesses,
    subjects: Vec<Subject>,
    targets: Vec<Glob>,
    pub(super) rules: Vec<CompiledRule>,
    pub(super) functions: Functions,
    pub(super) masks: Vec<CompiledMask>,
    pub(super) content: Vec<CompiledContent>,
    pub(super) limits: Limits,
    pub(super) budgets: Vec<Budget>,
    /// It is in force only where it was granted.
    pub(super) access: Option<Arc<OnRequest>>,
}

#[derive(Debug)]
pub(super) struct CompiledRule {
    pub(super) name: RuleRef,
    pub(super) effect: Effect,
    pub(super) kinds: KindSet,
    pub(super) tables: Vec<TablePattern>,
    /// One of the tables is `*.*`.
    pub(super) every_table: bool,
    pub(super) when: Option<super::condition::Condition>,
    pub(super) max_rows: Option<u64>,
    pub(super) without_where: bool,
    pub(super) wanted: Wanted,
    pub(super) asks: Asks,
    /// As written, for explanations.
    pub(super) words: Vec<Word>,
}

#[derive(Clone, Debug)]
pub(super) struct CompiledMask {
    pub(super) mask: MaskRule,
    pub(super) columns: Vec<ColumnName>,
    pub(super) predicates: Predicates,
    unless: Option<Subject>,
}

/// How long a held statement waits when a rule does not say.
/// The longest that statements of one shape may run by one approval.
const LONGEST_SHAPE_MS: u64 = 8 * 60 * 60 * 1000;

/// Whether decisions hang on what names stand for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needed {
    /// Not at all.
    #[default]
    No,
    /// For what is only noted: where they cannot be looked up, nothing is refused for it.
    ToObserve,
    /// For what is enforced.
    ToDecide,
}

/// Which names decisions may hang on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Those of relations.
    pub relations: Needed,
    /// Those of functions and operators.
    pub calls: Needed,
}

impl PolicySet {
    /// Compiles documents; all errors at once.
    pub fn compile(documents: Vec<Document>) -> Result<PolicySet, Vec<PolicyError>> {
        let mut errors = Vec::new();
        let mut names = BTreeSet::new();
        for document in &documents {
            check(document, &mut names, &mut errors);
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let version = version(&documents);
        Ok(PolicySet {
            places: documents.iter().flat_map(places).collect(),
            documents: documents.into_iter().map(compile).collect(),
            version,
        })
    }

    /// Where a rule or a mask is written: `file:line:column`.
    pub fn place(&self, rule: &RuleRef) -> Option<&str> {
        self.places.get(rule).map(String::as_str)
    }

    /// Every rule and mask, in no order.
    pub fn rule_names(&self) -> impl Iterator<Item = &RuleRef> {
        self.places.keys()
    }

    /// Changes whenever a document changes: a hash of their content, whatever their order.
    pub fn version(&self) -> Arc<str> {
        Arc::clone(&self.version)
    }

    /// The documents that speak of this question.
    pub(super) fn applicable<'a>(
        &'a self,
        question: &'a Question,
    ) -> impl Iterator<Item = &'a Compiled> {
        self.documents.iter().filter(move |document| {
            let in_force = document.access.is_none() || question.has(&document.name);
            in_force && document.is_about(question)
        })
    }

    /// Documents that may speak of this principal on this target, whatever the database and role; of those
    /// that are granted, all.
    fn possible<'a>(
        &'a self,
        principal: &'a Principal,
        target: &'a TargetName,
    ) -> impl Iterator<Item = &'a Compiled> {
        self.documents.iter().filter(move |document| {
            document.targets.iter().any(|t| t.matches(&target.0))
                && document
                    .subjects
                    .iter()
                    .any(|subject| is(subject, principal))
        })
    }

    /// What the session must resolve for this principal here, and for whom. Where every rule is about
    /// `*.*`, no relation; where every document vouches for every function and denies none, no call.
    /// What could be granted and was not decides nothing: names say only whether it is worth asking for.
    pub fn needs(&self, principal: &Principal, target: &TargetName, granted: &[Granted]) -> Needs {
        let mut needs = Needs::default();
        for document in self.possible(principal, target) {
            let is_granted = || granted.iter().any(|one| one.policy == document.name);
            let whom = match document.mode {
                Mode::Enforce if document.access.is_some() && !is_granted() => Needed::ToObserve,
                Mode::Enforce => Needed::ToDecide,
                Mode::Observe => Needed::ToObserve,
            };
            if document.names(principal) {
                needs.relations = needs.relations.max(whom);
            }
            // One that is denied may run behind an operator, a type or a name that says nothing of it.
            let functions = &document.functions;
            if !functions.allow.contains(&FunctionPattern::Every) || !functions.deny.is_empty() {
                needs.calls = needs.calls.max(whom);
            }
        }
        needs
    }

    /// The masks in force for this principal on this target, before any statement is known
    /// (`touches_masked` is false in it, the limits are those of the documents).
    pub fn masks_for(&self, principal: &Principal, target: &TargetName) -> Arc<Obligations> {
        let mut obligations = Obligations::default();
        for document in self
            .possible(principal, target)
            .filter(|d| d.mode == Mode::Enforce && d.access.is_none())
        {
            obligations.limits = obligations.limits.stricter(document.limits);
            let masks = document
                .masks
                .iter()
                .filter(|mask| mask.in_force(principal));
            obligations
                .masks
                .extend(masks.map(|mask| mask.mask.clone()));
        }
        Arc::new(obligations)
    }

    /// The budgets of this principal on this target, whatever it asks.
    pub fn budgets_for(&self, principal: &Principal, target: &TargetName) -> Vec<Budget> {
        let documents = self.possible(principal, target);
        let enforcing = documents.filter(|document| document.mode == Mode::Enforce);
        enforcing
            .flat_map(|document| document.budgets.iter().cloned())
            .collect()
    }
}

impl PolicySet {
    /// Every mask that is in force for anybody on this target.
    pub fn masks_on(&self, target: &TargetName) -> impl Iterator<Item = &MaskRule> {
        let about = |document: &&Compiled| {
            let mut targets = document.targets.iter();
            document.mode == Mode::Enforce && targets.any(|t| t.matches(&target.0))
        };
        let documents = self.documents.iter().filter(about);
        documents.flat_map(|document| document.masks.iter().map(|mask| &mask.mask))
    }
}

impl Compiled {
    /// Whether it speaks of this question, granted or not.
    pub(super) fn is_about(&self, question: &Question) -> bool {
        let mut targets = self.targets.iter();
        targets.any(|target| target.matches(&question.target.0))
            && self.subjects.iter().any(|subject| {
                is(subject, &question.principal)
                    && within(&subject.databases, &question.database)
                    && within(&subject.roles, &question.role)
            })
    }

    /// A rule or a mask names a schema or a table.
    fn names(&self, principal: &Principal) -> bool {
        let named = |rule: &CompiledRule| !rule.tables.iter().all(TablePattern::is_every);
        self.rules.iter().any(named) || self.masks.iter().any(|mask| mask.in_force(principal))
    }
}

impl CompiledMask {
    pub(super) fn in_force(&self, principal: &Principal) -> bool {
        holds_for(self.unless.as_ref(), principal)
    }
}

impl CompiledContent {
    pub(super) fn in_force(&self, principal: &Principal) -> bool {
        holds_for(self.unless.as_ref(), principal)
    }
}

/// Whether somebody is not exempt.
fn holds_for(unless: Option<&Subject>, principal: &Principal) -> bool {
    // An exemption by database or role cannot be checked here, so it does not exempt: `check`
    // refuses such documents.
    !unless.is_some_and(|reader| is(reader, principal))
}

impl Limits {
    /// The smaller of each.
    #[must_use]
    pub fn stricter(self, other: Limits) -> Limits {
        fn least(a: Option<u64>, b: Option<u64>) -> Option<u64> {
            match (a, b) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (one, None) | (None, one) => one,
            }
        }
        Limits {
            rows_returned: least(self.rows_returned, other.rows_returned),
            bytes_returned: least(self.bytes_returned, other.bytes_returned),
            statement_timeout_ms: least(self.statement_timeout_ms, other.statement_timeout_ms),
            rows_affected: least(self.rows_affected, other.rows_affected),
        }
    }
}

fn within(globs: &Option<Vec<Glob>>, name: &str) -> bool {
    globs
        .as_ref()
        .is_none_or(|globs| globs.iter().any(|g| g.matches(name)))
}

/// Whether a subject is this principal, as far as the principal goes.
fn is(subject: &Subject, principal: &Principal) -> bool {
    let user = &principal.user;
    subject.groups.as_ref().is_none_or(|globs| {
        globs
            .iter()
            .any(|g| user.groups.iter().any(|group| g.matches(group)))
    }) && within(&subject.users, &user.subject)
        && within(&subject.issuers, &user.issuer)
        && within(&subject.workloads, &principal.workload.name)
        && subject.labels.as_ref().is_none_or(|labels| {
            labels.iter().all(|(key, glob)| {
                principal
                    .workload
                    .labels
                    .get(key)
                    .is_some_and(|value| glob.matches(value))
            })
        })
        && subject.claims.as_ref().is_none_or(|claims| {
            claims.iter().all(|(key, glob)| match user.claims.get(key) {
                Some(serde_json::Value::Array(values)) => {
                    values.iter().any(|value| claim_matches(glob, value))
                }
                Some(value) => claim_matches(glob, value),
                None => false,
            })
        })
}

fn claim_matches(glob: &Glob, value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::String(text) => glob.matches(text),
        serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {
            glob.matches(&value.to_string())
        }
        serde_json::Value::Null | serde_json::Value::Array(_) | serde_json::Value::Object(_) => {
            false
        }
    }
}

/// Where the rules and masks of a document are written.
fn places(document: &Document) -> Vec<(RuleRef, String)> {
    let policy: Arc<str> = Arc::from(document.metadata.name.as_str());
    let placed = |list: &'static str, at: usize, name: &str| {
        let place = document.places.at(&[Step::Key(list), Step::Item(at)]);
        let rule = RuleRef {
            policy: Arc::clone(&policy),
            rule: Arc::from(name),
        };
        let source = &document.source_name;
        (rule, format!("{source}:{}:{}", place.line, place.column))
    };
    let rules = document.rules.iter().enumerate();
    let masks = document.masks.iter().enumerate();
    let content = document.content.iter().enumerate();
    rules
        .map(|(at, rule)| placed("rules", at, &rule.name))
        .chain(masks.map(|(at, mask)| placed("masks", at, &mask.name)))
        .chain(content.map(|(at, net)| placed("content", at, &net.name)))
        .collect()
}

/// A hash of what the documents say.
fn version(documents: &[Document]) -> Arc<str> {
    let mut texts: Vec<String> = documents
        .iter()
        .map(|d| serde_json::to_string(d).unwrap_or_default())
        .collect();
    texts.sort();
    let mut hasher = blake3::Hasher::new();
    for text in texts {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    Arc::from(hasher.finalize().to_hex().get(..32).unwrap_or_default())
}

fn compile(document: Document) -> Compiled {
    let name: Arc<str> = Arc::from(document.metadata.name.as_str());
    let rule_ref = |rule: &str| RuleRef {
        policy: Arc::clone(&name),
        rule: Arc::from(rule),
    };
    Compiled {
        access: OnRequest::of(&document),
        mode: document.mode,
        witnesses: document.witnesses,
        subjects: document.subjects,
        targets: document.targets,
        rules: document
            .rules
            .into_iter()
            .map(|rule| CompiledRule {
                name: rule_ref(&rule.name),
                effect: rule.effect,
                kinds: kinds(&rule),
                every_table: rule.tables.iter().any(TablePattern::is_every),
                tables: rule.tables,
                when: rule.when,
                max_rows: rule.max_rows_affected,
                without_where: rule.without_where,
                wanted: Wanted::new(document.require.as_ref(), rule.require.as_ref()),
                asks: Asks {
                    reviewers: rule.reviewers.unwrap_or_default(),
                    quorum: rule.quorum.unwrap_or(1),
                    gate: rule.hold.unwrap_or_default(),
                    offers: rule.offers.unwrap_or_default(),
                    timeout_seconds: rule.timeout.map(|span| span.0.div_ceil(1000)),
                },
                words: rule.statements,
            })
            .collect(),
        functions: document.functions,
        masks: document
            .masks
            .into_iter()
            .map(|mask| CompiledMask {
                mask: MaskRule {
                    rule: rule_ref(&mask.name),
                    columns: mask.columns.iter().map(ColumnName::plain).collect(),
                    tags: mask.tags,
                    with: mask.with,
                },
                columns: mask.columns,
                predicates: mask.predicates,
                unless: mask.unless,
            })
            .collect(),
        content: document
            .content
            .into_iter()
            .map(|net| {
                let rule = rule_ref(&net.name);
                CompiledContent::new(net, rule)
            })
            .collect(),
        limits: limits(&document.limits),
        budgets: document.budgets.budgets(&name),
        name,
    }
}

pub(super) fn kinds(rule: &Rule) -> KindSet {
    let kinds = rule
        .statements
        .iter()
        .fold(KindSet::default(), |set, w| set.union(w.kinds()));
    // What denies or holds everything also does so for what nobody understands.
    if rule.effect != Effect::Allow && rule.statements.contains(&Word::Every) {
        kinds.with(StatementKind::Opaque)
    } else {
        kinds
    }
}

fn limits(words: &LimitWords) -> Limits {
    Limits {
        rows_returned: words.rows_returned,
        bytes_returned: words.bytes_returned.map(|size| size.0),
        statement_timeout_ms: words.statement_timeout.map(|span| span.0),
        rows_affected: words.rows_affected,
    }
}

/// What serde cannot see.
fn check(document: &Document, names: &mut BTreeSet<String>, errors: &mut Vec<PolicyError>) {
    let policy = &document.metadata.name;
    let here = Cell::new(document.places.at(&[]));
    let mut wrong = |message: String| {
        errors.push(PolicyError {
            source_name: document.source_name.clone(),
            line: here.get().line,
            column: here.get().column,
            message: format!("policy `{policy}`: {message}"),
        });
    };
    if policy.is_empty() {
        wrong("it has no name".to_owned());
    }
    if !names.insert(policy.clone()) {
        wrong("another policy has the same name".to_owned());
    }
    if document.subjects.is_empty() {
        wrong("no subjects; everybody is `[{ workloads: [\"*\"] }]`".to_owned());
    }
    if document.subjects.iter().any(|s| *s == Subject::default()) {
        wrong("an empty subject; everybody is `{ workloads: [\"*\"] }`".to_owned());
    }
    if document.targets.is_empty() {
        wrong("no targets; every target is `[\"*\"]`".to_owned());
    }
    let mut seen = BTreeSet::new();
    for (at, rule) in document.rules.iter().enumerate() {
        here.set(document.places.at(&[Step::Key("rules"), Step::Item(at)]));
        let name = &rule.name;
        if name.is_empty() || !seen.insert(name) {
            wrong(format!("rule `{name}`: a rule needs a name of its own"));
        }
        if rule.statements.is_empty() {
            wrong(format!("rule `{name}`: no statements"));
        }
        if rule.tables.is_empty() {
            wrong(format!(
                "rule `{name}`: no tables; leave the key out for all"
            ));
        }
        let allow = rule.effect == Effect::Allow;
        let approve = rule.effect == Effect::Approve;
        if !allow && (rule.max_rows_affected.is_some() || rule.without_where) {
            wrong(format!(
                "rule `{name}`: max_rows_affected and without_where belong to allow rules"
            ));
        }
        if rule.effect == Effect::Deny && rule.require.is_some() {
            wrong(format!(
                "rule `{name}`: require belongs to allow and approve rules; a deny rule can say \
                 `when: ticket == ''`"
            ));
        }
        let asks = rule.reviewers.is_some()
            || rule.timeout.is_some()
            || rule.quorum.is_some()
            || rule.hold.is_some()
            || rule.offers.is_some();
        if !approve && asks {
            wrong(format!(
                "rule `{name}`: reviewers, timeout, quorum, hold and offers belong to approve rules"
            ));
        }
        if rule.quorum == Some(0) {
            wrong(format!(
                "rule `{name}`: quorum is how many must agree, at least 1"
            ));
        }
        // A reviewer who is named by user is one; of a group there may be any number.
        let users = rule.reviewers.as_ref().filter(|r| r.groups.is_empty());
        if let (Some(quorum), Some(users)) = (rule.quorum, users)
            && users.users.len() < quorum as usize
        {
            wrong(format!(
                "rule `{name}`: {quorum} must agree, and only {} may",
                users.users.len()
            ));
        }
        let shape = rule.offers.and_then(|offers| offers.shape);
        if shape.is_some_and(|span| span.0 == 0 || span.0 > LONGEST_SHAPE_MS) {
            wrong(format!("rule `{name}`: offers.shape is at most 8h"));
        }
        if approve
            && rule
                .reviewers
                .as_ref()
                .is_none_or(|r| r.groups.is_empty() && r.users.is_empty())
        {
            wrong(format!("rule `{name}`: nobody is named who could approve"));
        }
    }
    for (at, mask) in document.masks.iter().enumerate() {
        here.set(document.places.at(&[Step::Key("masks"), Step::Item(at)]));
        let name = &mask.name;
        if name.is_empty() || !seen.insert(name) {
            wrong(format!("mask `{name}`: a mask needs a name of its own"));
        }
        if mask.columns.is_empty() && mask.tags.is_empty() {
            wrong(format!("mask `{name}`: neither columns nor tags"));
        }
        if let Masker::Json(json) = &mask.with {
            if json.paths.is_empty() {
                wrong(format!("mask `{name}`: no paths"));
            }
            let steps: usize = json.paths.iter().map(|path| path.steps().len()).sum();
            if steps > MOST_STEPS {
                wrong(format!(
                    "mask `{name}`: its paths have {steps} steps together; at most {MOST_STEPS} are allowed"
                ));
            }
        }
        for told in exempts(mask.unless.as_ref()) {
            wrong(format!("mask `{name}`: {told}"));
        }
    }
    for (at, net) in document.content.iter().enumerate() {
        here.set(document.places.at(&[Step::Key("content"), Step::Item(at)]));
        let name = &net.name;
        if name.is_empty() || !seen.insert(name) {
            wrong(format!("content `{name}`: a net needs a name of its own"));
        }
        if net.detect.is_empty() {
            wrong(format!(
                "content `{name}`: nothing to detect; leave the key out for everything"
            ));
        }
        if net.columns.is_empty() {
            wrong(format!(
                "content `{name}`: no columns; leave the key out for all"
            ));
        }
        for told in exempts(net.unless.as_ref()) {
            wrong(format!("content `{name}`: {told}"));
        }
    }
    for (path, told) in access::check(document) {
        here.set(document.places.at(&path));
        wrong(told);
    }
}

/// What is wrong with an exemption.
fn exempts(unless: Option<&Subject>) -> Vec<&'static str> {
    let mut told = Vec::new();
    let Some(unless) = unless else { return told };
    if *unless == Subject::default() {
        told.push("`unless` exempts nobody in particular");
    }
    if unless.databases.is_some() || unless.roles.is_some() {
        told.push("`unless` is about people and workloads only");
    }
    told
}
