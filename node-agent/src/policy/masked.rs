//! What masks forbid: ways in which a protected value could decide an answer, or leave by another
//! door than a result whose columns can be masked.

use std::collections::HashSet;

use super::compile::CompiledMask;
use super::document::Predicates;
use super::judge::{Case, Judge, unresolved};
use super::names::Candidates;
use super::{Denial, RuleRef, Trace};
use super::{equality, own, refuse, views};
use crate::sql::{
    ColumnRole, ColumnUse, CopyOut, FunctionClass, ROW_READERS, RelationName, RelationUse, Second,
    StatementFacts, StatementKind, Sureness, Touch, classify_function,
};
use StatementKind as K;

/// Whether the answer may carry a protected value: any statement touches a masked relation, or
/// nobody can show that it does not.
pub(super) fn touches(judge: &Judge<'_>) -> bool {
    if judge.masks.is_empty() {
        return false;
    }
    let analysis = &judge.question.analysis;
    analysis.sureness != Sureness::Complete
        || analysis.judged().any(|facts| {
            blind(judge, facts)
                || facts
                    .relations
                    .iter()
                    .any(|used| judge.masks.iter().any(|m| on(judge, m, used)))
        })
}

/// Whether the columns of the answer can be followed to what they are made of: one statement, read
/// alike by both witnesses, that runs nothing which the text does not show.
pub(super) fn trace(judge: &Judge<'_>) -> Trace {
    let analysis = &judge.question.analysis;
    let followed = analysis.sureness == Sureness::Complete
        && analysis.statements.len() == 1
        && match &analysis.second {
            Second::Unasked | Second::Agrees | Second::Alone(_) => true,
            Second::Differs(_) => false,
        }
        && !analysis.judged().any(|facts| blind(judge, facts));
    match followed {
        true => Trace::By(judge.question.names.clone()),
        false => Trace::Nothing,
    }
}

/// Whether one mask is about anything that a text touches, or may be.
pub(super) fn touched(judge: &Judge<'_>, mask: &CompiledMask) -> bool {
    let analysis = &judge.question.analysis;
    analysis
        .judged()
        .flat_map(|facts| &facts.relations)
        .any(|used| on(judge, mask, used))
}

/// It runs something the text does not show.
fn blind(judge: &Judge<'_>, facts: &StatementFacts) -> bool {
    unresolved(facts)
        || own::runs(judge.question, facts)
        || facts
            .kinds
            .iter()
            .any(|k| matches!(k, K::Do | K::Call | K::Opaque))
        || facts
            .functions
            .iter()
            .any(|f| classify_function(f.schema.as_deref(), &f.name, f.args) != FunctionClass::Pure)
}

/// Whether a mask is about a relation, or may be.
pub(super) fn on(judge: &Judge<'_>, mask: &CompiledMask, used: &RelationUse) -> bool {
    let relation = &used.relation;
    let meets = |schema: &str, table: &str| {
        mask.columns
            .iter()
            .any(|c| c.of.schema.meets(schema) && c.of.table.meets(table))
    };
    // An unknown name may be a view over anything.
    Candidates::of(judge.question, relation)
        .any(|schema| schema.is_none_or(|schema| meets(schema, &relation.name)))
        || judge
            .question
            .names
            .reached(relation)
            .any(|(schema, table)| meets(schema, table))
        // What is not in the catalogue yet may be a view over anything.
        // (and may have tags, whatever its name).
        || ((relation.schema.is_none() || !mask.mask.tags.is_empty())
            && judge.question.names.is_unknown(relation))
        // What code reads, nothing shows.
        || judge.question.names.is_opaque(relation)
}

/// Why masks matter for a relation, to end a sentence.
fn reason(judge: &Judge<'_>, relation: &RelationName) -> &'static str {
    if judge.question.names.is_opaque(relation) {
        "code makes its rows, and may read masked columns"
    } else {
        "it has masked columns"
    }
}

/// Refuses a statement that a mask cannot be kept in.
pub(super) fn check(judge: &Judge<'_>, case: &Case<'_>) -> Result<(), Box<Denial>> {
    let Some(first) = judge.masks.first() else {
        return Ok(());
    };
    let facts = case.facts;
    // Code runs with its own eyes: what it reads and where it writes, no text shows.
    for kind in [K::Do, K::DefineCode] {
        if case.kinds.has(kind) {
            return Err(refuse::unmaskable(&first.mask.rule, kind));
        }
    }
    let relevant: Vec<&CompiledMask> = judge
        .masks
        .iter()
        .map(|mask| &**mask)
        .filter(|mask| facts.relations.iter().any(|used| on(judge, mask, used)))
        .collect();
    let Some(first) = relevant.first() else {
        return Ok(());
    };
    let rule = &first.mask.rule;
    let masked_read = |used: &&RelationUse| {
        used.touch == Touch::Read && relevant.iter().any(|mask| on(judge, mask, used))
    };
    if let Some(read) = facts.relations.iter().find(masked_read) {
        // A copy that can be asked for as rows is masked as they are.
        if case.kinds.has(K::CopyOut)
            && let Some(why) = not_rows(facts)
        {
            return Err(refuse::copy_of_masked(
                judge,
                rule,
                &read.relation,
                reason(judge, &read.relation),
                why,
            ));
        }
        // Reading what the same statement changes (RETURNING) is no way out of the table; a copy
        // of its values is caught by the columns below.
        let elsewhere = |w: &&RelationUse| {
            matches!(w.touch, Touch::Insert | Touch::Update | Touch::Define)
                && w.relation != read.relation
        };
        let out = case.kinds.has(K::CopyFile)
            || case.kinds.has(K::CopyProgram)
            || facts.relations.iter().any(|w| elsewhere(&w));
        if out {
            return Err(refuse::written_elsewhere(
                judge,
                rule,
                &read.relation,
                reason(judge, &read.relation),
            ));
        }
    }
    // A mask goes by names: under another one the values would be seen.
    let moved = |used: &&RelationUse| {
        used.touch == Touch::Define && relevant.iter().any(|mask| on(judge, mask, used))
    };
    if facts.moves
        && let Some(used) = facts.relations.iter().find(moved)
    {
        return Err(refuse::moved(
            rule,
            &used.relation,
            reason(judge, &used.relation),
        ));
    }
    // Nor does a tag stay where its comment goes.
    if facts.comments {
        for mask in relevant.iter().filter(|mask| !mask.mask.tags.is_empty()) {
            let described =
                |used: &&RelationUse| used.touch == Touch::Define && on(judge, mask, used);
            if let Some(used) = facts.relations.iter().find(described) {
                return Err(refuse::commented(&mask.mask.rule, &used.relation));
            }
        }
    }
    let tainted = Tainted::new(facts, holding(judge, &relevant, facts));
    let sources = tainted.among(facts, ColumnRole::Source);
    if let Some(column) = sources.first() {
        let rule = owner(judge, &relevant, facts, ColumnRole::Source, column).unwrap_or(rule);
        return Err(refuse::source_of_write(judge, rule, column, &sources));
    }
    let strict: Vec<&CompiledMask> = relevant
        .iter()
        .copied()
        .filter(|m| match m.predicates {
            Predicates::Deny => true,
            Predicates::Equality => !equality::only(judge, m, facts),
            Predicates::Allow => false,
        })
        .collect();
    if let Some(first) = strict.first() {
        let tainted = Tainted::new(facts, holding(judge, &strict, facts));
        let deciding = tainted.among(facts, ColumnRole::Predicate);
        if let Some(column) = deciding.first() {
            let role = ColumnRole::Predicate;
            let rule = owner(judge, &strict, facts, role, column).unwrap_or(&first.mask.rule);
            return Err(refuse::predicate(judge, rule, column, &deciding));
        }
    }
    Ok(())
}

/// Why a copy cannot be asked for as rows, to end a sentence; `None`: it can.
fn not_rows(facts: &StatementFacts) -> Option<&'static str> {
    match &facts.copy {
        Some(CopyOut::Rows(_)) => None,
        Some(CopyOut::Otherwise(why)) => Some(why),
        None => Some("copy data has no columns that a mask could follow"),
    }
}

/// The columns that decide in a statement and may carry what a mask protects.
pub(super) fn deciding<'f>(
    judge: &Judge<'_>,
    facts: &'f StatementFacts,
    mask: &CompiledMask,
) -> Vec<&'f ColumnUse> {
    let masks = [mask];
    let tainted = Tainted::new(facts, holding(judge, &masks, facts));
    let columns = facts.columns.iter();
    let decides = columns.filter(|column| column.role == ColumnRole::Predicate);
    decides.filter(|column| tainted.has(column)).collect()
}

/// The first mask that a column is refused by, for whoever reads the refusal.
fn owner<'m>(
    judge: &Judge<'_>,
    masks: &[&'m CompiledMask],
    facts: &StatementFacts,
    role: ColumnRole,
    column: &str,
) -> Option<&'m RuleRef> {
    let mut by = masks.iter();
    let by = by.find(|mask| {
        let masks = [**mask];
        let tainted = Tainted::new(facts, holding(judge, &masks, facts));
        tainted.among(facts, role).contains(&column)
    });
    by.map(|mask| &mask.mask.rule)
}

/// Whether a column of this name may hold what the masks protect: in a table, or in a view.
fn holding<'a>(
    judge: &Judge<'_>,
    masks: &'a [&'a CompiledMask],
    facts: &StatementFacts,
) -> impl Fn(&str) -> bool + use<'a> {
    let shown = views::shown(judge, masks, facts);
    move |column| {
        let matches = |mask: &&CompiledMask| mask.columns.iter().any(|c| c.column.matches(column));
        shown.contains(column) || masks.iter().any(matches)
    }
}

/// The names of one statement that carry a protected value: the masked columns, every `*`, whole
/// rows, and whatever these were renamed to.
struct Tainted<'a, F> {
    masked: F,
    names: HashSet<&'a str>,
    rows: HashSet<&'a str>,
    /// More renaming than is worth following: everything counts.
    all: bool,
}

/// How often renames are followed. Each pass follows a chain at least one step further.
const PASSES: usize = 64;

impl<'a, F: Fn(&str) -> bool> Tainted<'a, F> {
    fn new(facts: &'a StatementFacts, masked: F) -> Self {
        let mut tainted = Tainted {
            masked,
            names: HashSet::new(),
            rows: facts.rows.iter().map(String::as_str).collect(),
            all: false,
        };
        for _ in 0..PASSES {
            let before = tainted.names.len();
            for carry in &facts.carries {
                if !tainted.names.contains(carry.to.as_str())
                    && carry.from.iter().any(|name| tainted.carries(name))
                {
                    tainted.names.insert(&carry.to);
                }
            }
            if tainted.names.len() == before {
                return tainted;
            }
        }
        tainted.all = true;
        tainted
    }

    fn carries(&self, name: &str) -> bool {
        name == "*" || (self.masked)(name) || self.names.contains(name) || self.rows.contains(name)
    }

    /// The names of the columns in this place that carry one, each once.
    fn among<'b>(&self, facts: &'b StatementFacts, role: ColumnRole) -> Vec<&'b str> {
        let mut found: Vec<&str> = Vec::new();
        for column in facts.columns.iter().filter(|column| column.role == role) {
            if self.has(column) && !found.contains(&column.name.as_str()) {
                found.push(&column.name);
            }
        }
        found
    }

    fn has(&self, column: &ColumnUse) -> bool {
        let name = column.name.as_str();
        self.all
            || name == "*"
            || (self.masked)(name)
            || self.names.contains(name)
            || (column.qualifier.is_empty() && self.rows.contains(name))
            // `row.to_json` is `to_json(row)`.
            || ROW_READERS.binary_search(&name).is_ok()
    }
}
