//! One question before a set of documents: deny rules, approve rules, then whether everything is
//! covered.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell, RefCell};
use std::sync::Arc;

use cel::Context;

use super::compile::{Compiled, CompiledMask, CompiledRule};
use super::condition;
use super::document::{Effect, Witnesses};
use super::explain::RuleNote;
use super::masked;
use super::names::{Candidates, is_descriptive, is_sample, is_telling};
use super::pattern::{Glob, TablePattern};
use super::words::KindSet;
use super::{
    Allow, ContentRule, Decision, Denial, Hold, Limits, Obligations, Question, RuleRef, Sources,
    Trace,
};
use super::{own, refuse};
use crate::sql::{RelationUse, Second, StatementFacts, StatementKind, Sureness, Touch};
use StatementKind as K;

/// Kinds of DDL: a relation that a statement defines must be covered for each of them.
const DEFINING: KindSet = KindSet::of(DEFINING_KINDS);
const DEFINING_KINDS: &[K] = &[
    K::Drop,
    K::Create,
    K::Alter,
    K::Maintain,
    K::Vacuum,
    K::Grant,
    K::Role,
    K::Admin,
    K::DefineCode,
];

/// Kinds that anybody with at least one allow or approve rule may use: they end, name or describe
/// what other rules allow, or set what changes no meaning.
const HOUSEKEEPING: KindSet = KindSet::of(&[
    K::Transaction,
    K::Set,
    K::Show,
    K::Explain,
    K::Prepare,
    K::Deallocate,
    K::Declare,
    K::CloseCursor,
    K::Discard,
]);

/// Kinds that need no rule of their own.
pub(super) fn needs_no_rule() -> KindSet {
    HOUSEKEEPING.union(NAMED)
}

/// Kinds whose rules can be about some tables and not about others.
pub(super) fn about_tables() -> KindSet {
    const TOUCHES: [Touch; 7] = [
        Touch::Read,
        Touch::Insert,
        Touch::Update,
        Touch::Delete,
        Touch::Truncate,
        Touch::Lock,
        Touch::Define,
    ];
    TOUCHES.iter().fold(KindSet::default(), |set, touch| {
        set.union(implied(*touch, KindSet::every()))
    })
}

/// Kinds that run what the text does not show.
const NAMED: KindSet = KindSet::of(&[K::Execute, K::Fetch]);

/// Whether a condition holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Truth {
    Yes,
    No,
    Failed,
}

pub(super) struct Judge<'a> {
    pub(super) documents: &'a [&'a Compiled],
    pub(super) question: &'a Question,
    pub(super) masks: Vec<Cow<'a, CompiledMask>>,
    fleeting: Cell<bool>,
    used: RefCell<Vec<&'a RuleRef>>,
    limits: Cell<Limits>,
    /// Who gives the limit of rows affected.
    rows_rule: RefCell<Option<RuleRef>>,
    /// A rule that would grant what is being asked, if it were told more.
    untold: Cell<Option<&'a CompiledRule>>,
    /// Whether to judge as if every rule were told what it wants.
    supposed_told: Cell<bool>,
}

/// A statement with the context of its conditions, built when first needed.
pub(super) struct Case<'a> {
    pub(super) facts: &'a StatementFacts,
    pub(super) kinds: KindSet,
    context: OnceCell<Option<Context<'static, 'static>>>,
}

impl<'a> Case<'a> {
    fn new(facts: &'a StatementFacts) -> Self {
        Case {
            facts,
            kinds: KindSet::of(&facts.kinds),
            context: OnceCell::new(),
        }
    }
}

impl<'a> Judge<'a> {
    pub(super) fn new(documents: &'a [&'a Compiled], question: &'a Question) -> Self {
        let limits = documents
            .iter()
            .fold(Limits::default(), |limits, document| {
                limits.stricter(document.limits)
            });
        let bounding = limits.rows_affected.and_then(|rows| {
            let mut all = documents.iter();
            all.find(|document| document.limits.rows_affected == Some(rows))
        });
        Judge {
            rows_rule: RefCell::new(bounding.map(|document| RuleRef {
                policy: document.name.clone(),
                rule: "limits".into(),
            })),
            documents,
            question,
            masks: documents
                .iter()
                .flat_map(|d| &d.masks)
                .filter(|mask| mask.in_force(&question.principal))
                .map(|mask| mask.within(&question.names.classified))
                .collect(),
            fleeting: Cell::new(false),
            used: RefCell::new(Vec::new()),
            limits: Cell::new(limits),
            untold: Cell::new(None),
            supposed_told: Cell::new(false),
        }
    }

    pub(super) fn judge(&self) -> Decision {
        let held = match self.weigh() {
            Ok(held) => held,
            Err(mut denial) => {
                denial.fleeting = self.fleeting.get();
                return Decision::Deny(*denial);
            }
        };
        let touches_masked = masked::touches(self);
        let obligations = Arc::new(Obligations {
            masks: self.masks.iter().map(|mask| mask.mask.clone()).collect(),
            content: self.content(),
            touches_masked,
            sources: if touches_masked {
                Sources::of(self.question)
            } else {
                Sources::Any
            },
            trace: match touches_masked {
                true => masked::trace(self),
                false => Trace::Nothing,
            },
            limits: self.limits.get(),
            rows_rule: self.rows_rule.borrow().clone(),
            budgets: self
                .documents
                .iter()
                .flat_map(|document| document.budgets.iter().cloned())
                .collect(),
        });
        match held {
            Some(rule) => Decision::Hold(Hold {
                rule: rule.name.clone(),
                asks: rule.asks.clone(),
                obligations,
            }),
            None => Decision::Allow(Allow {
                rules: self
                    .used
                    .borrow()
                    .iter()
                    .map(|rule| (*rule).clone())
                    .collect(),
                obligations,
                observed: None,
                watched: None,
                fleeting: self.fleeting.get(),
            }),
        }
    }

    /// The content nets in force.
    pub(super) fn content(&self) -> Vec<ContentRule> {
        let nets = self.documents.iter().flat_map(|document| &document.content);
        nets.filter(|net| net.in_force(&self.question.principal))
            .map(|net| net.content.clone())
            .collect()
    }

    /// The rule that holds it, if any.
    fn weigh(&self) -> Result<Option<&'a CompiledRule>, Box<Denial>> {
        if self
            .rules(Effect::Allow)
            .chain(self.rules(Effect::Approve))
            .next()
            .is_none()
        {
            return Err(refuse::nothing_allowed(self));
        }
        let mut held = None;
        if let Sureness::Opaque(why) | Sureness::Partial(why) = &self.question.analysis.sureness {
            held = self.unsure(why)?;
        }
        // What is granted makes nothing stricter, unless nothing else speaks.
        let alone = self.documents.iter().all(|d| d.access.is_some());
        if let Second::Differs(differing) = &self.question.analysis.second
            && self
                .documents
                .iter()
                .any(|d| d.witnesses == Witnesses::Strict && (alone || d.access.is_none()))
        {
            let by = self.unsure(&differing.what)?;
            held = held.or(by);
        }
        for facts in self.question.analysis.judged() {
            let case = Case::new(facts);
            let by = self.statement(&case)?;
            held = held.or(by);
        }
        Ok(held)
    }

    /// A text nobody understands: allowed only by name, and refused by any deny rule, since
    /// nothing shows that the rule is not about it.
    fn unsure(&self, why: &str) -> Result<Option<&'a CompiledRule>, Box<Denial>> {
        let nothing = StatementFacts {
            kinds: vec![K::Opaque],
            ..StatementFacts::default()
        };
        let context = condition::context(self.question, Some(&nothing));
        let truth = |rule: &CompiledRule| self.truth_in(rule, context.as_ref());
        for rule in self.rules(Effect::Deny) {
            if truth(rule) != Truth::No {
                return Err(refuse::opaque(self, why, Some(&rule.name)));
            }
        }
        if !self.masks.is_empty() {
            return Err(refuse::opaque_with_masks(self, why));
        }
        self.untold.set(None);
        let allowed = self.rules(Effect::Allow).find(|r| {
            r.kinds.has(K::Opaque) && r.every_table && truth(r) == Truth::Yes && self.is_told(r)
        });
        let mut held = None;
        for rule in self.rules(Effect::Approve) {
            match truth(rule) {
                Truth::No => {}
                Truth::Yes if !self.is_told(rule) => return Err(refuse::untold(self, rule)),
                Truth::Yes => held = held.or(Some(rule)),
                Truth::Failed => return Err(refuse::opaque(self, why, Some(&rule.name))),
            }
        }
        let approved = held.is_some_and(|r| r.kinds.has(K::Opaque) && r.every_table);
        match allowed {
            Some(rule) => self.spoke(rule),
            None if approved => {}
            None => {
                return Err(match self.untold.take() {
                    Some(rule) => refuse::untold(self, rule),
                    None => refuse::opaque(self, why, None),
                });
            }
        }
        Ok(held)
    }

    fn statement(&self, case: &Case<'a>) -> Result<Option<&'a CompiledRule>, Box<Denial>> {
        let refused = match self.statement_as_it_comes(case) {
            Err(refused) if refuse::is_untold(&refused) => refused,
            judged => return judged,
        };
        // A reason is only asked for where it helps.
        self.supposed_told.set(true);
        let supposed = self.statement_as_it_comes(case);
        self.supposed_told.set(false);
        Err(supposed.err().unwrap_or(refused))
    }

    fn statement_as_it_comes(
        &self,
        case: &Case<'a>,
    ) -> Result<Option<&'a CompiledRule>, Box<Denial>> {
        for rule in self.rules(Effect::Deny) {
            if let Some(what) = self.meets(rule, case)
                && self.truth(rule, case) != Truth::No
            {
                return Err(refuse::by_rule(self, &rule.name, &what));
            }
        }
        let mut held = None;
        for rule in self.rules(Effect::Approve) {
            if let Some(what) = self.meets(rule, case) {
                match self.truth(rule, case) {
                    Truth::No => {}
                    // Approval is not gone round by leaving out what it wants to be told.
                    Truth::Yes if !self.is_told(rule) => return Err(refuse::untold(self, rule)),
                    Truth::Yes => held = held.or(Some(rule)),
                    // Whether a human should see it cannot be told.
                    Truth::Failed => return Err(refuse::by_rule(self, &rule.name, &what)),
                }
            }
        }
        self.cover_kinds(case)?;
        for used in &case.facts.relations {
            self.cover_relation(case, used)?;
        }
        own::cover(self, case.facts)?;
        masked::check(self, case)?;
        Ok(held)
    }

    pub(super) fn rules(&self, effect: Effect) -> impl Iterator<Item = &'a CompiledRule> {
        self.documents
            .iter()
            .copied()
            .flat_map(|document| &document.rules)
            .filter(move |rule| rule.effect == effect)
    }

    fn granting(&self) -> impl Iterator<Item = &'a CompiledRule> {
        self.documents
            .iter()
            .copied()
            .flat_map(|document| &document.rules)
            .filter(move |rule| rule.effect != Effect::Deny)
    }

    pub(super) fn truth(&self, rule: &CompiledRule, case: &Case<'_>) -> Truth {
        if rule.when.is_none() {
            return Truth::Yes;
        }
        let context = case
            .context
            .get_or_init(|| condition::context(self.question, Some(case.facts)));
        self.truth_in(rule, context.as_ref())
    }

    fn truth_in(&self, rule: &CompiledRule, context: Option<&Context<'_, '_>>) -> Truth {
        let Some(when) = &rule.when else {
            return Truth::Yes;
        };
        self.fleeting.set(true);
        match context.and_then(|context| when.holds(context)) {
            Some(true) => Truth::Yes,
            Some(false) => Truth::No,
            None => Truth::Failed,
        }
    }

    /// Whether the statement comes with the reason or ticket that the rule wants.
    fn is_told(&self, rule: &'a CompiledRule) -> bool {
        let told =
            self.supposed_told.get() || rule.wanted.missing(&self.question.purpose).is_none();
        if !told && self.untold.get().is_none() {
            self.untold.set(Some(rule));
        }
        told
    }

    /// Refuses what no rule grants; what one would grant if it were told more, with what it wants to be
    /// told.
    fn ungranted(&self, case: &Case<'a>, what: &refuse::What<'_>) -> Box<Denial> {
        match self.untold.take() {
            Some(rule) => refuse::untold(self, rule),
            None => refuse::uncovered(self, case, what),
        }
    }

    fn spoke(&self, rule: &'a CompiledRule) {
        let mut used = self.used.borrow_mut();
        if !used.iter().any(|name| std::ptr::eq(*name, &rule.name)) {
            used.push(&rule.name);
        }
    }

    /// What each rule has to say, for an explanation.
    pub(super) fn notes(&self) -> Vec<RuleNote> {
        let cases: Vec<Case<'a>> = self.question.analysis.judged().map(Case::new).collect();
        let mut notes = Vec::new();
        for (document, rule) in self
            .documents
            .iter()
            .copied()
            .flat_map(|document| document.rules.iter().map(move |rule| (document, rule)))
        {
            let about: Vec<&Case<'a>> = cases
                .iter()
                .filter(|case| self.meets(rule, case).is_some())
                .collect();
            let condition =
                rule.when
                    .as_ref()
                    .and(about.first())
                    .map(|case| match self.truth(rule, case) {
                        Truth::Yes => "holds",
                        Truth::No => "does not hold",
                        Truth::Failed => "fails",
                    });
            notes.push(RuleNote {
                rule: rule.name.clone(),
                place: None,
                effect: rule.effect,
                mode: document.mode,
                about_it: !about.is_empty(),
                decided: false,
                condition,
            });
        }
        notes
    }

    /// Whether a deny or approve rule is about this statement, and by what.
    fn meets(&self, rule: &CompiledRule, case: &Case<'a>) -> Option<refuse::What<'a>> {
        if rule.every_table && rule.kinds.shares(case.kinds) {
            let kind = case
                .facts
                .kinds
                .iter()
                .copied()
                .find(|k| rule.kinds.has(*k))?;
            let relation = case
                .facts
                .relations
                .iter()
                .find(|used| implied(used.touch, case.kinds).has(kind))
                .map(|used| &used.relation);
            return Some(refuse::What { kind, relation });
        }
        let uses = case.facts.relations.iter();
        let set_off = |used| self.question.names.sets_off(used);
        let uses = uses.flat_map(|used| std::iter::once(used).chain(set_off(used)));
        uses.into_iter().find_map(|used| {
            let kinds = implied(used.touch, case.kinds);
            if !rule.kinds.shares(kinds) || !self.meets_relation(&rule.tables, used) {
                return None;
            }
            let own = case.facts.kinds.iter().copied();
            let kind = own
                .chain([main_kind(used.touch)])
                .find(|k| rule.kinds.has(*k) && kinds.has(*k))?;
            Some(refuse::What {
                kind,
                relation: Some(&used.relation),
            })
        })
    }

    /// Whether any pattern may be about any relation this one may stand for or reach.
    fn meets_relation(&self, patterns: &[TablePattern], used: &RelationUse) -> bool {
        let relation = &used.relation;
        let meets = |schema: Option<&str>, name: &str| {
            patterns
                .iter()
                .any(|p| schema.is_none_or(|schema| p.schema.meets(schema)) && p.table.meets(name))
        };
        Candidates::of(self.question, relation).any(|schema| meets(schema, &relation.name))
            || self
                .question
                .names
                .reached(relation)
                .any(|(schema, table)| meets(Some(schema), table))
    }

    /// Every kind needs a rule with its word; those tied to relations get the tables checked with
    /// the relation.
    fn cover_kinds(&self, case: &Case<'a>) -> Result<(), Box<Denial>> {
        for (i, kind) in case.facts.kinds.iter().copied().enumerate() {
            if HOUSEKEEPING.has(kind) {
                continue;
            }
            if NAMED.has(kind) {
                // What it names was put beside it, and is judged; alone it is unknown.
                if !unresolved(case.facts) {
                    continue;
                }
                self.need(case, K::Opaque, true)?;
                continue;
            }
            // A SELECT within another statement is covered by what it reads.
            if kind == K::Select && i > 0 {
                continue;
            }
            let tied = case.facts.relations.iter().any(|used| {
                used.touch == Touch::Define || implied(used.touch, case.kinds).has(kind)
            });
            self.need(case, kind, DEFINING.has(kind) && !tied)?;
        }
        Ok(())
    }

    /// Some rule allows the kind (on every table, where nothing says which).
    fn need(&self, case: &Case<'a>, kind: K, everywhere: bool) -> Result<(), Box<Denial>> {
        self.untold.set(None);
        let rule = self.granting().find(|rule| {
            rule.kinds.has(kind)
                && (!everywhere || rule.every_table)
                && self.truth(rule, case) == Truth::Yes
                && self.is_told(rule)
        });
        match rule {
            Some(rule) => {
                self.spoke(rule);
                Ok(())
            }
            None => {
                let relation = case
                    .facts
                    .relations
                    .iter()
                    .find(|used| implied(used.touch, case.kinds).has(kind))
                    .map(|used| &used.relation);
                Err(self.ungranted(case, &refuse::What { kind, relation }))
            }
        }
    }

    fn cover_relation(&self, case: &Case<'a>, used: &'a RelationUse) -> Result<(), Box<Denial>> {
        let uncovered = |kind: K| {
            Err(self.ungranted(
                case,
                &refuse::What {
                    kind,
                    relation: Some(&used.relation),
                },
            ))
        };
        if used.touch == Touch::Define {
            for kind in case
                .facts
                .kinds
                .iter()
                .copied()
                .filter(|k| DEFINING.has(*k))
            {
                if !self.covered(case, used, KindSet::default().with(kind)) {
                    return uncovered(kind);
                }
            }
            return Ok(());
        }
        if self.covered(case, used, alternatives(used.touch, case.kinds)) {
            return Ok(());
        }
        let kinds = alternatives(used.touch, case.kinds);
        let kind = case.facts.kinds.iter().copied().find(|k| kinds.has(*k));
        uncovered(kind.unwrap_or(main_kind(used.touch)))
    }

    /// Whether every relation it may stand for is covered by a rule with one of these kinds.
    fn covered(&self, case: &Case<'a>, used: &'a RelationUse, kinds: KindSet) -> bool {
        let name = used.relation.name.as_str();
        let writes = matches!(
            used.touch,
            Touch::Insert | Touch::Update | Touch::Delete | Touch::Truncate
        );
        let needs_where =
            case.facts.missing_where && matches!(used.touch, Touch::Update | Touch::Delete);
        self.untold.set(None);
        Candidates::of(self.question, &used.relation).all(|schema| {
            if used.touch == Touch::Read
                && (is_descriptive(schema, name) || self.question.names.is_bare(schema, name))
            {
                return true;
            }
            let mut found = false;
            for rule in self.granting() {
                let covers = rule.kinds.shares(kinds)
                    && (!needs_where || rule.without_where || rule.effect == Effect::Approve)
                    && rule
                        .tables
                        .iter()
                        .any(|p| self.pattern_covers(p, schema, name))
                    && self.truth(rule, case) == Truth::Yes
                    && self.is_told(rule);
                if !covers {
                    continue;
                }
                found = true;
                self.spoke(rule);
                if !writes {
                    break;
                }
                // Every rule that allows a change bounds it: the strictest wins.
                if let Some(rows) = rule.max_rows {
                    let own = Limits {
                        rows_affected: Some(rows),
                        ..Limits::default()
                    };
                    let before = self.limits.get();
                    self.limits.set(before.stricter(own));
                    if before.rows_affected.is_none_or(|known| rows < known) {
                        *self.rows_rule.borrow_mut() = Some(rule.name.clone());
                    }
                }
            }
            found
        })
    }

    fn pattern_covers(&self, pattern: &TablePattern, schema: Option<&str>, name: &str) -> bool {
        let covers = match schema {
            Some(schema) => pattern.schema.covers(schema),
            // Only what covers every schema covers an unknown one.
            None => pattern.schema == Glob::Any,
        } && pattern.table.covers(name);
        if !covers || !is_telling(schema, name) {
            return covers;
        }
        let named = matches!(pattern.table, Glob::Exact(_));
        let system = matches!(&pattern.schema, Glob::Exact(s) if **s == *"pg_catalog" || **s == *"information_schema");
        if self.masks.is_empty() {
            named || system || pattern.is_every()
        } else if is_sample(name) {
            named
        } else {
            named || system
        }
    }
}

/// An EXECUTE or FETCH without what it names beside it. Only data statements count as that: any
/// other kind may come from around the EXECUTE (`CREATE TABLE … AS EXECUTE p`).
pub(super) fn unresolved(facts: &StatementFacts) -> bool {
    const RESOLVED: KindSet = KindSet::of(&[K::Select, K::Insert, K::Update, K::Delete, K::Merge]);
    let kinds = KindSet::of(&facts.kinds);
    kinds.shares(NAMED) && !kinds.shares(RESOLVED)
}

/// The kinds whose rules are about a relation touched so, for deny and approve rules.
fn implied(touch: Touch, kinds: KindSet) -> KindSet {
    let mut set = alternatives(touch, kinds);
    if touch == Touch::Read {
        for kind in [K::Declare, K::Fetch, K::Prepare, K::Execute, K::Merge] {
            if kinds.has(kind) {
                set = set.with(kind);
            }
        }
    }
    set
}

/// The kinds of which one, in a rule, allows a relation to be touched so.
fn alternatives(touch: Touch, kinds: KindSet) -> KindSet {
    let (main, others): (&[K], &[K]) = match touch {
        Touch::Read => (
            &[K::Select],
            &[K::CopyOut, K::CopyFile, K::CopyProgram, K::Explain],
        ),
        Touch::Insert => (
            &[K::Insert],
            &[K::Merge, K::CopyIn, K::CopyFile, K::CopyProgram],
        ),
        Touch::Update => (&[K::Update], &[K::Merge]),
        Touch::Delete => (&[K::Delete], &[K::Merge]),
        Touch::Truncate => (&[K::Truncate], &[]),
        Touch::Lock => (&[K::Lock], &[]),
        Touch::Define => (&[], DEFINING_KINDS),
    };
    others
        .iter()
        .filter(|kind| kinds.has(**kind))
        .fold(KindSet::of(main), |set, kind| set.with(*kind))
}

fn main_kind(touch: Touch) -> K {
    match touch {
        Touch::Read => K::Select,
        Touch::Insert => K::Insert,
        Touch::Update => K::Update,
        Touch::Delete => K::Delete,
        Touch::Truncate => K::Truncate,
        Touch::Lock => K::Lock,
        Touch::Define => K::Alter,
    }
}
