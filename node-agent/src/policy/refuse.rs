//! What a client is told. Names of relations, columns and functions stand in it; values never do.

use std::fmt;

use super::document::Effect;
use super::judge::{Case, Judge, Truth};
use super::words::word;
use super::{Denial, RuleRef};
use crate::model::{Refusal, RefusalCode};
use crate::sql::{FunctionUse, RelationName, StatementKind};

/// What was asked, in the policy's words.
pub(super) struct What<'a> {
    pub(super) kind: StatementKind,
    pub(super) relation: Option<&'a RelationName>,
}

impl fmt::Display for What<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(word(self.kind))?;
        match self.relation {
            Some(relation) => write!(f, " on {}", Shown(relation)),
            None => Ok(()),
        }
    }
}

/// A name, cut to what fits a message.
struct Shown<'a>(&'a RelationName);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.0.schema {
            write!(f, "{}.", cut(schema))?;
        }
        f.write_str(cut(&self.0.name))
    }
}

fn cut(name: &str) -> &str {
    match name.char_indices().nth(80) {
        Some((end, _)) => name.get(..end).unwrap_or_default(),
        None => name,
    }
}

fn denial(rule: Option<&RuleRef>, refusal: Refusal) -> Box<Denial> {
    Box::new(Denial {
        rule: rule.cloned(),
        refusal,
        fleeting: false,
    })
}

fn refusal(message: String) -> Refusal {
    Refusal::new(RefusalCode::Policy, message)
}

fn named(rule: &RuleRef) -> String {
    format!("policy \"{}\", rule \"{}\"", rule.policy, rule.rule)
}

fn masked(rule: &RuleRef) -> String {
    format!("policy \"{}\", mask \"{}\"", rule.policy, rule.rule)
}

/// At most so many rules are listed in a hint.
const LISTED: usize = 6;

/// What is allowed here, as the policy's own words: `select on sales.*; update on sales.orders`.
fn hint(judge: &Judge<'_>, case: Option<&Case<'_>>) -> Option<String> {
    let mut list: Vec<String> = Vec::new();
    for (effect, note) in [(Effect::Allow, ""), (Effect::Approve, " (after approval)")] {
        for rule in judge.rules(effect) {
            // A rule outside its hours is no help.
            if rule.when.is_some() && case.is_some_and(|case| judge.truth(rule, case) != Truth::Yes)
            {
                continue;
            }
            let words: Vec<String> = rule.words.iter().map(ToString::to_string).collect();
            let tables: Vec<String> = rule.tables.iter().map(ToString::to_string).collect();
            let entry = if rule.every_table {
                format!("{}{note}", words.join(", "))
            } else {
                format!("{} on {}{note}", words.join(", "), tables.join(", "))
            };
            if !list.contains(&entry) {
                list.push(entry);
            }
        }
    }
    if list.is_empty() {
        return None;
    }
    let more = if list.len() > LISTED { "; …" } else { "" };
    list.truncate(LISTED);
    Some(format!("Allowed here: {}{more}.", list.join("; ")))
}

fn with_hint(mut refusal: Refusal, hint: Option<String>) -> Refusal {
    refusal.hint = hint;
    refusal
}

/// No document is about this principal on this target.
pub(super) fn no_policy(target: &str) -> Box<Denial> {
    denial(
        None,
        refusal(format!(
            "no policy allows this identity anything on target {}",
            cut(target)
        ))
        .detail("no policy names this user, group or workload together with this target"),
    )
}

pub(super) fn nothing_allowed(judge: &Judge<'_>) -> Box<Denial> {
    denial(
        None,
        refusal("nothing is allowed to this identity here".to_owned()).detail(format!(
            "no allow rule in {} applicable policies",
            judge.documents.len()
        )),
    )
}

pub(super) fn by_rule(judge: &Judge<'_>, rule: &RuleRef, what: &What<'_>) -> Box<Denial> {
    let refusal = refusal(format!("{what} is refused by policy")).detail(named(rule));
    denial(Some(rule), with_hint(refusal, hint(judge, None)))
}

pub(super) fn uncovered(judge: &Judge<'_>, case: &Case<'_>, what: &What<'_>) -> Box<Denial> {
    let facts = case.facts;
    let guarded =
        matches!(what.kind, StatementKind::Update | StatementKind::Delete) && facts.missing_where;
    let base = refusal(format!("{what} is not allowed"));
    let base = if guarded {
        base.detail(format!("no rule allows {what} without WHERE"))
    } else {
        base.detail(format!("no rule allows {what}"))
    };
    let hint = if guarded {
        Some("Add a WHERE clause that reads a column.".to_owned())
    } else {
        hint(judge, Some(case))
    };
    denial(None, with_hint(base, hint))
}

pub(super) fn opaque(judge: &Judge<'_>, why: &str, rule: Option<&RuleRef>) -> Box<Denial> {
    let base = refusal(format!("the statement cannot be judged: {why}"));
    let base = match rule {
        Some(rule) => base.detail(format!("{} may be about it", named(rule))),
        None => base.detail("no rule allows opaque"),
    };
    denial(rule, with_hint(base, hint(judge, None)))
}

pub(super) fn opaque_with_masks(judge: &Judge<'_>, why: &str) -> Box<Denial> {
    let rule = judge.masks.first().map(|mask| &mask.mask.rule);
    let mut base = refusal(format!("the statement cannot be judged: {why}"));
    if let Some(rule) = rule {
        base = base.detail(format!(
            "{} protects columns that it may read",
            masked(rule)
        ));
    }
    denial(rule, base)
}

fn call(function: &FunctionUse) -> String {
    match &function.schema {
        Some(schema) => format!("{}.{}", cut(schema), cut(&function.name)),
        None => cut(&function.name).to_owned(),
    }
}

pub(super) fn function_denied(policy: &std::sync::Arc<str>, function: &FunctionUse) -> Box<Denial> {
    let rule = RuleRef {
        policy: policy.clone(),
        rule: "functions".into(),
    };
    let base = refusal(format!("function {} is refused by policy", call(function)))
        .detail(format!("policy \"{policy}\", functions.deny"));
    denial(Some(&rule), base)
}

pub(super) fn function_unknown(judge: &Judge<'_>, function: &FunctionUse) -> Box<Denial> {
    let base = refusal(format!("function {} is not allowed", call(function)))
        .detail("it is not among the built-in pure functions, and no policy vouches for it");
    let vouched = judge
        .documents
        .iter()
        .flat_map(|d| &d.functions.allow)
        .any(|p| p.meets(function.schema.as_deref(), &function.name));
    let hint = if vouched {
        format!("Write {} with its schema.", call(function))
    } else {
        "An owner can vouch for it under functions.allow, as schema.name(*).".to_owned()
    };
    denial(None, base.hint(hint))
}

/// A name of the server's that another function may be called by.
pub(super) fn function_shadowed(function: &FunctionUse, schema: &str) -> Box<Denial> {
    let (schema, name) = (cut(schema), cut(&function.name));
    let base = refusal(format!("function {} is not allowed", call(function))).detail(format!(
        "{schema}.{name} may be called in place of the built-in function, and no policy vouches for it"
    ));
    denial(None, base.hint(format!("Write pg_catalog.{name}.")))
}

/// An operator that runs a function of the owner's.
pub(super) fn operator(operator: &str, behind: &RelationName) -> Box<Denial> {
    let operator = cut(operator);
    let base = refusal(format!("operator {operator} is not allowed")).detail(format!(
        "it may run {}, which no policy vouches for",
        Shown(behind)
    ));
    denial(
        None,
        base.hint(format!(
            "Write OPERATOR(pg_catalog.{operator}) if the built-in operator is meant."
        )),
    )
}

pub(super) fn function_refused(function: &FunctionUse, why: &str) -> Box<Denial> {
    denial(
        None,
        refusal(format!("function {} is not allowed", call(function))).detail(format!(
            "{why} are refused unless a policy allows every function"
        )),
    )
}

pub(super) fn unmaskable(rule: &RuleRef, kind: StatementKind) -> Box<Denial> {
    denial(
        Some(rule),
        refusal(format!(
            "{} is refused where columns are masked",
            word(kind)
        ))
        .detail(format!(
            "{}: what such code reads cannot be judged by its text",
            masked(rule)
        )),
    )
}

pub(super) fn copy_of_masked(rule: &RuleRef, relation: &RelationName, why: &str) -> Box<Denial> {
    denial(
        Some(rule),
        refusal(format!("copy_out on {} is refused: {why}", Shown(relation)))
            .detail(masked(rule))
            .hint("Use SELECT, which is answered with the columns masked."),
    )
}

pub(super) fn written_elsewhere(rule: &RuleRef, relation: &RelationName, why: &str) -> Box<Denial> {
    denial(
        Some(rule),
        refusal(format!(
            "writing elsewhere what is read from {} is refused: {why}",
            Shown(relation)
        ))
        .detail(masked(rule))
        .hint("Read it with SELECT, which is answered with the columns masked."),
    )
}

pub(super) fn moved(rule: &RuleRef, relation: &RelationName, why: &str) -> Box<Denial> {
    denial(
        Some(rule),
        refusal(format!(
            "renaming, moving or attaching on {} is refused: {why}",
            Shown(relation)
        ))
        .detail(format!(
            "{}: a mask goes by the names of schema, table and column, and would not follow",
            masked(rule)
        ))
        .hint(
            "Have somebody whom the mask exempts do it, together with the change of the mask. \
             A name without its schema may mean a masked table: write the schema.",
        ),
    )
}

pub(super) fn source_of_write(rule: &RuleRef, column: &str) -> Box<Denial> {
    denial(
        Some(rule),
        refusal(format!(
            "column {} is masked and cannot be the source of a write",
            cut(column)
        ))
        .detail(masked(rule)),
    )
}

pub(super) fn predicate(rule: &RuleRef, column: &str) -> Box<Denial> {
    let message = if column == "*" {
        "whole rows with masked columns cannot be compared, sorted or made distinct".to_owned()
    } else {
        format!(
            "column {} is masked: it cannot be used to filter, join, sort or group",
            cut(column)
        )
    };
    denial(
        Some(rule),
        refusal(message)
            .detail(masked(rule))
            .hint("Filter by another column; the masked one may stand in the select list."),
    )
}
