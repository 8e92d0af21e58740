//! A small change to a refused statement with which the same policies would let it run. Every change is
//! made to the analysis and judged like any other question; what is not allowed then is not named.
//!
//! Only refused statements come here, and the work on one is bounded.

use super::decide::judged;
use super::names::Candidates;
use super::pattern::{FunctionPattern, Glob};
use super::{Decision, Denial, PolicySet, Question, refuse};
use crate::model::{Cause, Change, Particulars, Suggestion, Then, cut_name};
use crate::sql::{
    Analysis, ColumnRole, RelationName, Second, StatementFacts, StatementKind, Sureness, Touch,
};

/// Questions that are put for one refusal.
const TRIES: usize = 12;
/// Changes of one suggestion.
const CHANGES: usize = 3;
/// Larger statements get no suggestion: names of all kinds in them.
pub(super) const LARGE: usize = 2000;
/// Schemas tried for one name.
const SCHEMAS: usize = 4;

/// Adds a suggestion, if there is one, to what the client is told.
pub(super) fn complete(set: &PolicySet, question: &Question, denial: &mut Denial) {
    let Some(found) = suggestion(set, question, denial) else {
        return;
    };
    let words: Vec<String> = found
        .changes
        .iter()
        .map(|c| words(set, question, c))
        .collect();
    let then = match found.decision {
        Then::Allow => "The statement is allowed then.",
        Then::Hold => "A human decides about it then.",
    };
    // What must be told has its exact words in the hint by now.
    let told = |change: &Change| matches!(change, Change::GivePurpose { .. });
    denial.refusal.hint = match (found.changes.as_slice(), denial.refusal.hint.take()) {
        ([only], Some(hint)) if told(only) => Some(format!("{hint}. {then}")),
        ([first, ..], Some(hint)) if told(first) => {
            let rest = words.get(1..).unwrap_or_default().join(" ");
            Some(format!("{hint}. {rest} {then}"))
        }
        _ => Some(format!("{} {then}", words.join(" "))),
    };
    if let Some(particulars) = &mut denial.refusal.particulars {
        particulars.suggest = Some(found);
    }
}

/// The rows to which a LIMIT would bring an answer within `rows`: where the text is one SELECT, whose other
/// kinds a LIMIT does not change.
pub fn limit_rows(analysis: &Analysis, rows: u64) -> Option<Suggestion> {
    let [facts] = analysis.statements.as_slice() else {
        return None;
    };
    (facts.kinds == [StatementKind::Select] && rows > 0).then(|| Suggestion {
        changes: vec![Change::AddLimit { rows }],
        decision: Then::Allow,
    })
}

fn suggestion(set: &PolicySet, question: &Question, denial: &Denial) -> Option<Suggestion> {
    let analysis = &question.analysis;
    let names = |facts: &StatementFacts| {
        facts.relations.len() + facts.columns.len() + facts.functions.len() + facts.carries.len()
    };
    let plain = analysis.sureness == Sureness::Complete
        && !matches!(analysis.second, Second::Differs(_))
        && analysis.statements.iter().map(names).sum::<usize>() <= LARGE;
    if !plain {
        return None;
    }
    let mut search = Search {
        set,
        tries: TRIES,
        changes: Vec::new(),
    };
    let decision = search.further(question, denial)?;
    Some(Suggestion {
        changes: search.changes,
        decision,
    })
}

/// Goes on from refusal to refusal, one change deeper each time.
struct Search<'a> {
    set: &'a PolicySet,
    tries: usize,
    changes: Vec<Change>,
}

impl Search<'_> {
    fn further(&mut self, question: &Question, denial: &Denial) -> Option<Then> {
        let because = denial.refusal.particulars.as_deref()?;
        if self.changes.len() >= CHANGES {
            return None;
        }
        for (change, changed) in candidates(self.set, question, denial, because) {
            self.tries = self.tries.checked_sub(1)?;
            self.changes.push(change);
            match judged(self.set, &changed) {
                Decision::Allow(_) => return Some(Then::Allow),
                Decision::Hold(_) => return Some(Then::Hold),
                Decision::Deny(next) => {
                    if let Some(then) = self.further(&changed, &next) {
                        return Some(then);
                    }
                }
            }
            self.changes.pop();
        }
        None
    }
}

/// What may help against a refusal, the smallest change first, with the question it would be.
fn candidates(
    set: &PolicySet,
    question: &Question,
    denial: &Denial,
    because: &Particulars,
) -> Vec<(Change, Question)> {
    let Some(cause) = because.cause else {
        return Vec::new();
    };
    let kind = because.statement.as_deref();
    let mut found = Vec::new();
    match cause {
        Cause::MissingWhere => found.push((Change::AddWhere, with_where(question))),
        Cause::Uncovered | Cause::Rule => {
            match kind {
                Some("lock") => found.extend(without_locking(question)),
                Some("truncate") => found.push((Change::UseDelete, as_delete(question))),
                Some("copy_out") => found.push((Change::UseSelect, as_select(question))),
                _ => {}
            }
            found.extend(qualified(question));
        }
        Cause::FunctionUnknown | Cause::FunctionRefused | Cause::FunctionDenied => {
            found.extend(function(set, question, cause, because));
        }
        Cause::MaskedCopy => found.push((Change::UseSelect, as_select(question))),
        Cause::MaskedWrite => {
            found.push((Change::UseSelect, as_select(question)));
            found.extend(qualified(question));
        }
        Cause::MaskedMove => found.extend(qualified(question)),
        Cause::MaskedSource => {
            found.extend(without_columns(set, question, because, ColumnRole::Source))
        }
        Cause::MaskedPredicate => {
            found.extend(without_columns(
                set,
                question,
                because,
                ColumnRole::Predicate,
            ));
            found.extend(qualified(question));
        }
        Cause::Purpose => found.extend(told(set, question, denial)),
        Cause::NoPolicy
        | Cause::NothingAllowed
        | Cause::Opaque
        | Cause::MaskedCode
        | Cause::RowsReturned
        | Cause::BytesReturned
        | Cause::StatementTimeout
        | Cause::RowsAffected
        | Cause::Budget => {}
    }
    found
}

/// The question with each of its statements changed.
fn changed(question: &Question, change: impl Fn(&mut StatementFacts)) -> Question {
    let mut changed = question.clone();
    let analysis = std::sync::Arc::make_mut(&mut changed.analysis);
    analysis.statements.iter_mut().for_each(change);
    changed
}

fn with_where(question: &Question) -> Question {
    changed(question, |facts| facts.missing_where = false)
}

fn without_locking(question: &Question) -> Option<(Change, Question)> {
    let whole = changed(question, |facts| {
        if facts.kinds.contains(&StatementKind::Select) {
            facts.kinds.retain(|kind| *kind != StatementKind::Lock);
            facts.relations.retain(|used| used.touch != Touch::Lock);
        }
    });
    // LOCK TABLE is nothing without its lock.
    let left = |facts: &StatementFacts| !facts.kinds.contains(&StatementKind::Lock);
    let all = whole.analysis.statements.iter().all(left);
    all.then_some((Change::LeaveOutLocking, whole))
}

/// With a WHERE, so that it is no more than was asked for.
fn as_delete(question: &Question) -> Question {
    changed(question, |facts| {
        replace(
            &mut facts.kinds,
            StatementKind::Truncate,
            StatementKind::Delete,
        );
        for used in &mut facts.relations {
            if used.touch == Touch::Truncate {
                used.touch = Touch::Delete;
            }
        }
    })
}

/// The reading part alone.
fn as_select(question: &Question) -> Question {
    changed(question, |facts| {
        facts.kinds = vec![StatementKind::Select];
        facts.relations.retain(|used| used.touch == Touch::Read);
        facts
            .columns
            .retain(|column| column.role != ColumnRole::Written);
        for column in &mut facts.columns {
            if column.role == ColumnRole::Source {
                column.role = ColumnRole::Output;
            }
        }
        facts.effects.clear();
        facts.missing_where = false;
        facts.moves = false;
    })
}

fn replace(kinds: &mut [StatementKind], old: StatementKind, new: StatementKind) {
    for kind in kinds {
        if *kind == old {
            *kind = new;
        }
    }
}

/// Names without schema that may stand for several relations, with each of their schemas.
fn qualified(question: &Question) -> Vec<(Change, Question)> {
    let unsure = question
        .analysis
        .statements
        .iter()
        .flat_map(|facts| &facts.relations);
    let unsure = unsure.map(|used| &used.relation).find_map(|relation| {
        match (&relation.schema, Candidates::of(question, relation)) {
            (None, Candidates::Many(schemas))
                if schemas.len() > 1 && !question.names.is_unknown(relation) =>
            {
                Some((relation, schemas))
            }
            (None, _) => {
                let mut elsewhere = question.names.elsewhere.iter();
                let (_, schemas) = elsewhere.find(|(name, _)| name == relation)?;
                Some((relation, schemas.as_slice()))
            }
            _ => None,
        }
    });
    let Some((relation, schemas)) = unsure else {
        return Vec::new();
    };
    let with = |schema: &String| {
        let new = RelationName {
            schema: Some(schema.clone()),
            name: relation.name.clone(),
        };
        let mut changed = changed(question, |facts| {
            for used in &mut facts.relations {
                if used.relation == *relation {
                    used.relation = new.clone();
                }
            }
        });
        // What it reaches, in whichever schema: more than the one does, so that nothing is missed.
        let names = std::sync::Arc::make_mut(&mut changed.names);
        let reaches: Vec<_> = names
            .reaches
            .iter()
            .filter(|(name, _)| name == relation)
            .cloned()
            .collect();
        names
            .reaches
            .extend(reaches.into_iter().map(|(_, bases)| (new.clone(), bases)));
        if names.is_opaque(relation) {
            names.opaque.push(new.clone());
        }
        let change = Change::Qualify {
            name: cut_name(&relation.name).to_owned(),
            with: format!("{}.{}", cut_name(schema), cut_name(&relation.name)),
        };
        (change, changed)
    };
    schemas.iter().take(SCHEMAS).map(with).collect()
}

/// The function that was refused with a schema that somebody vouches for, or not at all.
fn function(
    set: &PolicySet,
    question: &Question,
    cause: Cause,
    because: &Particulars,
) -> Vec<(Change, Question)> {
    let Some(written) = because.functions.first() else {
        return Vec::new();
    };
    let is = |function: &crate::sql::FunctionUse| refuse::call(function) == *written;
    let mut calls = question
        .analysis
        .statements
        .iter()
        .flat_map(|facts| &facts.functions);
    let Some(called) = calls.find(|function| is(function)) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    if cause == Cause::FunctionUnknown && called.schema.is_none() {
        let allowed = set
            .applicable(question)
            .flat_map(|document| &document.functions.allow);
        let schemas = allowed.filter_map(|pattern| match pattern {
            FunctionPattern::Named {
                schema: Glob::Exact(schema),
                name,
            } if name.matches(&called.name) => Some(schema),
            FunctionPattern::Named { .. } | FunctionPattern::Every => None,
        });
        for schema in schemas.take(SCHEMAS) {
            let whole = changed(question, |facts| {
                for function in facts.functions.iter_mut().filter(|function| is(function)) {
                    function.schema = Some(schema.to_string());
                }
            });
            let change = Change::QualifyFunction {
                name: written.clone(),
                with: format!("{}.{written}", cut_name(schema)),
            };
            found.push((change, whole));
        }
    }
    let whole = changed(question, |facts| {
        facts.functions.retain(|function| !is(function))
    });
    // A CALL is nothing without its procedure.
    let empty = |facts: &StatementFacts| facts.kinds.contains(&StatementKind::Call);
    if !whole.analysis.statements.iter().any(empty) {
        let change = Change::LeaveOutFunctions {
            functions: vec![written.clone()],
        };
        found.push((change, whole));
    }
    found
}

/// Without the masked columns in this place. A star stands for every column: those that are masked are
/// named instead.
fn without_columns(
    set: &PolicySet,
    question: &Question,
    because: &Particulars,
    place: ColumnRole,
) -> Option<(Change, Question)> {
    let columns: Vec<String> = because
        .columns
        .iter()
        .filter(|name| *name != "*")
        .cloned()
        .collect();
    let star = columns.len() < because.columns.len();
    let whole = changed(question, |facts| {
        let among = |name: &str| {
            because
                .columns
                .iter()
                .any(|column| column == cut_name(name))
        };
        facts
            .columns
            .retain(|column| column.role != place || !among(&column.name));
        let changes =
            |kind: &StatementKind| matches!(kind, StatementKind::Update | StatementKind::Delete);
        // A WHERE whose columns are all gone is none.
        let reads = |column: &crate::sql::ColumnUse| column.role == ColumnRole::Predicate;
        facts.missing_where |= facts.kinds.iter().any(changes) && !facts.columns.iter().any(reads);
    });
    let change = match (place, star, columns.is_empty()) {
        (ColumnRole::Predicate, false, false) => Change::LeaveOutOfPredicates { columns },
        (ColumnRole::Source, false, false) => Change::LeaveOutOfWrites { columns },
        (_, true, true) => Change::ListColumns {
            without: masked_columns(set, question),
        },
        // Both a star and names, or another place: no small change.
        _ => return None,
    };
    Some((change, whole))
}

/// The masked columns of the tables that the statement names, as policy names them.
fn masked_columns(set: &PolicySet, question: &Question) -> Vec<String> {
    let obligations = set.masks_for(&question.principal, &question.target);
    let tables = || {
        question
            .analysis
            .statements
            .iter()
            .flat_map(|facts| &facts.relations)
    };
    let mut names: Vec<String> = Vec::new();
    for mask in &obligations.masks {
        let mask = mask.with_classified(question.names.classified.iter());
        for column in &mask.columns {
            let table = Glob::new(&column.table);
            let meets = tables().any(|used| table.matches(&used.relation.name));
            if meets && !names.contains(&column.column) && names.len() < 8 {
                names.push(cut_name(&column.column).to_owned());
            }
        }
    }
    names
}

/// With what the rule wants to be told.
fn told(set: &PolicySet, question: &Question, denial: &Denial) -> Option<(Change, Question)> {
    let name = denial.rule.as_ref()?;
    let rules = set
        .applicable(question)
        .flat_map(|document| &document.rules);
    let rule = rules.into_iter().find(|rule| rule.name == *name)?;
    let missing = rule.wanted.missing(&question.purpose)?;
    let mut keys = Vec::new();
    if missing.reason {
        keys.push("reason".to_owned());
    }
    if missing.ticket.is_some() {
        keys.push("ticket".to_owned());
    }
    let mut whole = question.clone();
    whole.purpose = rule.wanted.example(&question.purpose)?;
    Some((Change::GivePurpose { keys }, whole))
}

/// A change as a sentence.
fn words(set: &PolicySet, question: &Question, change: &Change) -> String {
    match change {
        Change::AddWhere => {
            let masks = &set.masks_for(&question.principal, &question.target).masks;
            if masks.is_empty() {
                "Add a WHERE clause that reads a column.".to_owned()
            } else {
                "Add a WHERE clause that reads a column, one that is not masked.".to_owned()
            }
        }
        Change::AddLimit { rows } => format!("Add LIMIT {rows}."),
        Change::LeaveOutOfPredicates { columns } => format!(
            "Leave {} out of WHERE, JOIN, GROUP BY and ORDER BY; in the select list it is masked.",
            columns.join(", ")
        ),
        Change::LeaveOutOfWrites { columns } => {
            format!("Write nothing that comes from {}.", columns.join(", "))
        }
        Change::ListColumns { without } => format!(
            "Name the columns in place of * or the whole row, without {}.",
            without.join(", ")
        ),
        Change::Qualify { name, with } => format!("Write {with} in place of {name}."),
        Change::QualifyFunction { name, with } => format!("Call {with} in place of {name}."),
        Change::LeaveOutFunctions { functions } => {
            format!("Do not call {}.", functions.join(", "))
        }
        Change::LeaveOutLocking => "Leave out FOR UPDATE or FOR SHARE.".to_owned(),
        Change::UseSelect => "Use SELECT alone; masked columns come masked.".to_owned(),
        Change::UseDelete => "Use DELETE with a WHERE clause that reads a column.".to_owned(),
        Change::GivePurpose { keys } => format!(
            "Give the {} in a comment at the end of the statement.",
            keys.join(" and ")
        ),
    }
}
