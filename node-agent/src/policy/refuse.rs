//! What a client is told. Names of relations, columns and functions stand in it; values never do.

use std::fmt;

use super::compile::CompiledRule;
use super::document::Effect;
use super::judge::{Case, Judge, Truth};
use super::require::{Missing, Ticket};
use super::words::word;
use super::{Denial, RuleRef};
use crate::model::{Cause, Particulars, Refusal, RefusalCode, cut_name as cut};
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

/// At most so many names of a kind are kept for programs.
const NAMES: usize = 8;

fn why(cause: Cause, rule: Option<&RuleRef>) -> Particulars {
    Particulars {
        cause: Some(cause),
        policy: rule.map(|rule| rule.policy.to_string()),
        rule: rule.map(|rule| rule.rule.to_string()),
        ..Particulars::default()
    }
}

impl What<'_> {
    fn why(&self, cause: Cause, rule: Option<&RuleRef>) -> Particulars {
        let mut why = why(cause, rule);
        why.statement = Some(word(self.kind).to_owned());
        why.objects = self.relation.map(shown).into_iter().collect();
        why
    }
}

fn about(relation: &RelationName, cause: Cause, rule: &RuleRef) -> Particulars {
    Particulars {
        objects: vec![shown(relation)],
        ..why(cause, Some(rule))
    }
}

fn shown(relation: &RelationName) -> String {
    Shown(relation).to_string()
}

fn names(columns: &[&str]) -> Vec<String> {
    let cut = |name: &&str| cut(name).to_owned();
    columns.iter().take(NAMES).map(cut).collect()
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
        .detail("no policy names this user, group or workload together with this target")
        .because(why(Cause::NoPolicy, None)),
    )
}

pub(super) fn nothing_allowed(judge: &Judge<'_>) -> Box<Denial> {
    denial(
        None,
        refusal("nothing is allowed to this identity here".to_owned())
            .detail(format!(
                "no allow rule in {} applicable policies",
                judge.documents.len()
            ))
            .because(why(Cause::NothingAllowed, None)),
    )
}

pub(super) fn by_rule(judge: &Judge<'_>, rule: &RuleRef, what: &What<'_>) -> Box<Denial> {
    let refusal = refusal(format!("{what} is refused by policy"))
        .detail(named(rule))
        .because(what.why(Cause::Rule, Some(rule)));
    denial(Some(rule), with_hint(refusal, hint(judge, None)))
}

pub(super) fn uncovered(judge: &Judge<'_>, case: &Case<'_>, what: &What<'_>) -> Box<Denial> {
    let facts = case.facts;
    let guarded =
        matches!(what.kind, StatementKind::Update | StatementKind::Delete) && facts.missing_where;
    let base = refusal(format!("{what} is not allowed"));
    let base = if guarded {
        base.detail(format!("no rule allows {what} without WHERE"))
            .because(what.why(Cause::MissingWhere, None))
    } else {
        base.detail(format!("no rule allows {what}"))
            .because(what.why(Cause::Uncovered, None))
    };
    denial(None, with_hint(base, hint(judge, Some(case))))
}

/// Whether a rule would grant it, if it were told why.
pub(super) fn is_untold(denial: &Denial) -> bool {
    let particulars = denial.refusal.particulars.as_ref();
    particulars.is_some_and(|said| said.cause == Some(Cause::Purpose))
}

/// A rule would grant it, if it were told why.
pub(super) fn untold(judge: &Judge<'_>, rule: &CompiledRule) -> Box<Denial> {
    let given = &judge.question.purpose;
    let Missing { reason, ticket } = rule.wanted.missing(given).unwrap_or_default();
    let (what, keys): (&str, &[&str]) = match (reason, ticket) {
        (true, Some(_)) => ("a reason and a ticket", &["reason", "ticket"]),
        (true, None) => ("a reason", &["reason"]),
        (false, _) => ("a ticket", &["ticket"]),
    };
    let message = match ticket {
        Some(Ticket::DoesNotFit) if !reason => {
            "the statement's ticket is not one that is accepted here".to_owned()
        }
        _ => format!("{what} must come with the statement"),
    };
    let mut detail = named(&rule.name);
    let patterns = rule.wanted.patterns();
    if ticket.is_some() && !patterns.is_empty() {
        detail.push_str(&format!(", ticket must match {}", patterns.join(" and ")));
    }
    if let Some(wrong) = &given.unread {
        detail.push_str(&format!("; what was given cannot be read: {wrong}"));
    }
    let example = rule.wanted.example(given).unwrap_or_default();
    let example = |key: &str| match key {
        "reason" => example.reason.clone().unwrap_or_default(),
        _ => example
            .ticket
            .clone()
            .unwrap_or_else(|| "TICKET".to_owned()),
    };
    let comment: Vec<String> = keys
        .iter()
        .map(|key| format!("{key}='{}'", encoded(&example(key))))
        .collect();
    let name: Vec<String> = keys
        .iter()
        .map(|key| format!("{key}={}", encoded(&example(key))))
        .collect();
    denial(
        Some(&rule.name),
        refusal(message)
            .detail(detail)
            .hint(format!(
                "End the statement with a comment such as /*{}*/, or connect with application_name \
                 myapp;{}",
                comment.join(","),
                name.join(";"),
            ))
            .because(why(Cause::Purpose, Some(&rule.name))),
    )
}

/// As sqlcommenter writes values.
pub(super) fn encoded(value: &str) -> String {
    let mut text = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

pub(super) fn opaque(judge: &Judge<'_>, reason: &str, rule: Option<&RuleRef>) -> Box<Denial> {
    let base = refusal(format!("the statement cannot be judged: {reason}"));
    let base = match rule {
        Some(rule) => base.detail(format!("{} may be about it", named(rule))),
        None => base.detail("no rule allows opaque"),
    };
    let base = base.because(why(Cause::Opaque, rule));
    denial(rule, with_hint(base, hint(judge, None)))
}

pub(super) fn opaque_with_masks(judge: &Judge<'_>, reason: &str) -> Box<Denial> {
    let rule = judge.masks.first().map(|mask| &mask.mask.rule);
    let mut base = refusal(format!("the statement cannot be judged: {reason}"));
    if let Some(rule) = rule {
        base = base.detail(format!(
            "{} protects columns that it may read",
            masked(rule)
        ));
    }
    denial(rule, base.because(why(Cause::Opaque, rule)))
}

pub(super) fn call(function: &FunctionUse) -> String {
    match &function.schema {
        Some(schema) => format!("{}.{}", cut(schema), cut(&function.name)),
        None => cut(&function.name).to_owned(),
    }
}

/// No policy vouches for a function.
fn unvouched(function: String) -> Particulars {
    Particulars {
        functions: vec![function],
        ..why(Cause::FunctionUnknown, None)
    }
}

pub(super) fn function_denied(policy: &std::sync::Arc<str>, function: &FunctionUse) -> Box<Denial> {
    let rule = RuleRef {
        policy: policy.clone(),
        rule: "functions".into(),
    };
    let base = refusal(format!("function {} is refused by policy", call(function)))
        .detail(format!("policy \"{policy}\", functions.deny"))
        .because(Particulars {
            functions: vec![call(function)],
            ..why(Cause::FunctionDenied, Some(&rule))
        });
    denial(Some(&rule), base)
}

pub(super) fn function_unknown(judge: &Judge<'_>, function: &FunctionUse) -> Box<Denial> {
    let base = refusal(format!("function {} is not allowed", call(function)))
        .detail("it is not among the built-in pure functions, and no policy vouches for it");
    let base = base.because(unvouched(call(function)));
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
    let base = base.because(unvouched(call(function)));
    denial(None, base.hint(format!("Write pg_catalog.{name}.")))
}

/// An operator that runs a function of the owner's.
pub(super) fn operator(operator: &str, behind: &RelationName) -> Box<Denial> {
    let operator = cut(operator);
    let base = refusal(format!("operator {operator} is not allowed")).detail(format!(
        "it may run {}, which no policy vouches for",
        Shown(behind)
    ));
    let base = base.because(unvouched(shown(behind)));
    denial(
        None,
        base.hint(format!(
            "Write OPERATOR(pg_catalog.{operator}) if the built-in operator is meant."
        )),
    )
}

/// A type whose values a function of the owner's makes or checks.
pub(super) fn type_(of: &RelationName, function: &RelationName) -> Box<Denial> {
    let base = refusal(format!("type {} is not allowed", Shown(of))).detail(format!(
        "making a value of it runs {}, which no policy vouches for",
        Shown(function)
    ));
    denial(None, base.because(unvouched(shown(function))))
}

/// A name behind a dot that calls a function of the owner's where it is no column.
pub(super) fn field(name: &str, function: &RelationName) -> Box<Denial> {
    let name = cut(name);
    let base = refusal(format!(".{name} is not allowed")).detail(format!(
        "behind the name of a row it may call {}, which no policy vouches for",
        Shown(function)
    ));
    let base = base.because(unvouched(shown(function)));
    denial(
        None,
        base.hint(format!("Write {name} alone if a column is meant.")),
    )
}

pub(super) fn function_refused(function: &FunctionUse, reason: &str) -> Box<Denial> {
    denial(
        None,
        refusal(format!("function {} is not allowed", call(function)))
            .detail(format!(
                "{reason} are refused unless a policy allows every function"
            ))
            .because(Particulars {
                functions: vec![call(function)],
                ..why(Cause::FunctionRefused, None)
            }),
    )
}

pub(super) fn unmaskable(rule: &RuleRef, kind: StatementKind) -> Box<Denial> {
    let mut why = why(Cause::MaskedCode, Some(rule));
    why.statement = Some(word(kind).to_owned());
    denial(
        Some(rule),
        refusal(format!(
            "{} is refused where columns are masked",
            word(kind)
        ))
        .detail(format!(
            "{}: what such code reads cannot be judged by its text",
            masked(rule)
        ))
        .because(why),
    )
}

pub(super) fn copy_of_masked(
    judge: &Judge<'_>,
    rule: &RuleRef,
    relation: &RelationName,
    reason: &str,
    why: &str,
) -> Box<Denial> {
    let what = format!("copy_out on {}", Shown(relation));
    let reason = format!("{reason}, and {why}");
    leaves_unmasked(judge, rule, relation, &what, &reason, Cause::MaskedCopy)
}

pub(super) fn written_elsewhere(
    judge: &Judge<'_>,
    rule: &RuleRef,
    relation: &RelationName,
    reason: &str,
) -> Box<Denial> {
    let what = format!("writing elsewhere what is read from {}", Shown(relation));
    leaves_unmasked(judge, rule, relation, &what, reason, Cause::MaskedWrite)
}

fn leaves_unmasked(
    judge: &Judge<'_>,
    rule: &RuleRef,
    relation: &RelationName,
    what: &str,
    reason: &str,
    cause: Cause,
) -> Box<Denial> {
    let base = refusal(format!("{what} is refused: {reason}"))
        .detail(masked(rule))
        .because(about(relation, cause, rule));
    denial(Some(rule), with_hint(base, hint(judge, None)))
}

pub(super) fn moved(rule: &RuleRef, relation: &RelationName, reason: &str) -> Box<Denial> {
    denial(
        Some(rule),
        refusal(format!(
            "renaming, moving or attaching on {} is refused: {reason}",
            Shown(relation)
        ))
        .detail(format!(
            "{}: a mask goes by the names of schema, table and column, and would not follow",
            masked(rule)
        ))
        .hint(
            "Have somebody whom the mask exempts do it, together with the change of the mask. \
             A name without its schema may mean a masked table: write the schema.",
        )
        .because(about(relation, Cause::MaskedMove, rule)),
    )
}

pub(super) fn source_of_write(
    judge: &Judge<'_>,
    rule: &RuleRef,
    column: &str,
    all: &[&str],
) -> Box<Denial> {
    let base = refusal(format!(
        "column {} is masked and cannot be the source of a write",
        cut(column)
    ))
    .detail(masked(rule))
    .because(Particulars {
        columns: names(all),
        ..why(Cause::MaskedSource, Some(rule))
    });
    denial(Some(rule), with_hint(base, hint(judge, None)))
}

pub(super) fn predicate(
    judge: &Judge<'_>,
    rule: &RuleRef,
    column: &str,
    all: &[&str],
) -> Box<Denial> {
    let message = if column == "*" {
        "whole rows with masked columns cannot be compared, sorted or made distinct".to_owned()
    } else {
        format!(
            "column {} is masked: it cannot be used to filter, join, sort or group",
            cut(column)
        )
    };
    let base = refusal(message).detail(masked(rule)).because(Particulars {
        columns: names(all),
        ..why(Cause::MaskedPredicate, Some(rule))
    });
    denial(Some(rule), with_hint(base, hint(judge, None)))
}
