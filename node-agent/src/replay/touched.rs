//! Pure. What a statement touches and which rules spoke, as names.

use std::borrow::Cow;

use crate::policy::{Decision, RuleRef};
use crate::sql::{Analysis, Effect, RelationName, RelationUse, StatementFacts, Touch};

/// Every relation that a statement names, those of statements that it prepares or declares included.
pub(super) fn relations<'a>(analysis: &'a Analysis, each: &mut dyn FnMut(&'a RelationUse)) {
    for statement in &analysis.statements {
        of_statement(statement, each);
    }
}

// Nothing read from a recording nests deeper than the JSON parser allows.
fn of_statement<'a>(statement: &'a StatementFacts, each: &mut dyn FnMut(&'a RelationUse)) {
    statement.relations.iter().for_each(&mut *each);
    for effect in &statement.effects {
        if let Effect::Prepares { inner, .. } | Effect::Declares { inner, .. } = effect {
            of_statement(inner, each);
        }
    }
}

/// `schema.name`, or the name alone where the text has no schema.
pub(super) fn name(relation: &RelationName) -> Cow<'_, str> {
    match &relation.schema {
        Some(schema) => Cow::Owned(format!("{schema}.{}", relation.name)),
        None => Cow::Borrowed(&relation.name),
    }
}

pub(super) fn touch(touch: Touch) -> &'static str {
    match touch {
        Touch::Read => "read",
        Touch::Insert => "insert",
        Touch::Update => "update",
        Touch::Delete => "delete",
        Touch::Truncate => "truncate",
        Touch::Lock => "lock",
        Touch::Define => "define",
    }
}

/// Every rule that spoke, also those of policies that only observe.
pub(super) fn rules<'a>(decision: &'a Decision, each: &mut dyn FnMut(&'a RuleRef)) {
    match decision {
        Decision::Allow(allow) => {
            allow.rules.iter().for_each(&mut *each);
            if let Some(observed) = &allow.observed {
                rules(observed, each);
            }
        }
        Decision::Hold(hold) => each(&hold.rule),
        Decision::Deny(denial) => denial.rule.iter().for_each(each),
    }
}

/// Every mask in force where the statement touches something masked.
pub(super) fn masks<'a>(decision: &'a Decision, each: &mut dyn FnMut(&'a RuleRef)) {
    let obligations = match decision {
        Decision::Allow(allow) => &allow.obligations,
        Decision::Hold(hold) => &hold.obligations,
        Decision::Deny(_) => return,
    };
    if obligations.touches_masked {
        obligations.masks.iter().for_each(|mask| each(&mask.rule));
    }
}

/// `policy/rule`.
pub(super) fn rule_name(rule: &RuleRef) -> String {
    format!("{}/{}", rule.policy, rule.rule)
}
