//! Rules that never speak because others always speak first, or have said it already.

use super::Found;
use super::scope;
use crate::policy::compile::kinds;
use crate::policy::document::{Document, Effect, Rule};
use crate::policy::judge::needs_no_rule;
use crate::policy::pattern::TablePattern;
use crate::policy::places::Step;
use crate::policy::words::{KindSet, Word, writing};

/// A rule with its place in the documents.
#[derive(Clone, Copy)]
struct At<'a> {
    document: &'a Document,
    rule: &'a Rule,
    order: (usize, usize),
}

impl At<'_> {
    /// As a message names it for somebody who reads `from`.
    fn named(&self, from: &Document) -> String {
        let name = format!("`{}/{}`", self.document.metadata.name, self.rule.name);
        if self.document.source_name == from.source_name {
            name
        } else {
            format!("{name} ({})", self.document.source_name)
        }
    }
}

pub(super) fn check(found: &mut Found<'_>, documents: &[Document]) {
    let document = found.document;
    let all: Vec<At<'_>> = documents
        .iter()
        .enumerate()
        .flat_map(|(d, document)| {
            let rules = document.rules.iter().enumerate();
            rules.map(move |(r, rule)| At {
                document,
                rule,
                order: (d, r),
            })
        })
        .collect();
    // Only what is always in force wherever this document is, and hangs on no condition.
    let around: Vec<At<'_>> = all
        .iter()
        .copied()
        .filter(|other| other.rule.when.is_none() && scope::document(other.document, document))
        .collect();
    for (at, rule) in document.rules.iter().enumerate() {
        let Some(own) = all.iter().find(|one| std::ptr::eq(one.rule, rule)) else {
            continue;
        };
        let path = [Step::Key("rules"), Step::Item(at)];
        if rule.effect != Effect::Deny && denied(found, &path, rule, &around) {
            continue;
        }
        let before = |other: &&At<'_>| !std::ptr::eq(other.rule, rule) && covers(other.rule, rule);
        if let Some(other) = around
            .iter()
            .filter(before)
            .find(|other| adds_nothing(own, other))
        {
            let says = match rule.effect {
                Effect::Allow => "allows nothing that",
                Effect::Approve => "holds nothing that",
                Effect::Deny => "denies nothing that",
            };
            let message = format!(
                "rule `{}` {says} {} does not already",
                rule.name,
                other.named(document)
            );
            found.note(&path, "redundant", message);
        } else if let Some(other) = around
            .iter()
            .filter(before)
            .find(|other| rule.effect == Effect::Allow && other.rule.effect == Effect::Approve)
            && rule.max_rows_affected.is_none()
        {
            let message = format!(
                "rule `{}` never lets anything run: all that it allows is held by {}",
                rule.name,
                other.named(document)
            );
            found.note(&path, "always-held", message);
        }
    }
}

/// Whether the first is about everything that the second is about.
fn covers(wide: &Rule, narrow: &Rule) -> bool {
    kinds(wide).holds(kinds(narrow)) && scope::tables(&wide.tables, &narrow.tables)
}

/// Whether a rule that is covered by another of the same effect changes nothing.
fn adds_nothing(own: &At<'_>, other: &At<'_>) -> bool {
    // Of two that say the same, the later is one too many.
    let twins = own.rule.when.is_none()
        && covers(own.rule, other.rule)
        && scope::document(own.document, other.document);
    // What grants only to those who tell more grants less.
    let asks = |at: &At<'_>| (at.document.require.clone(), at.rule.require.clone());
    let asks_more = asks(other) != (None, None) && asks(other) != asks(own);
    if own.rule.effect != other.rule.effect || asks_more || (twins && own.order < other.order) {
        return false;
    }
    match own.rule.effect {
        Effect::Deny => true,
        // The first that is about a statement names the reviewers.
        Effect::Approve => other.order < own.order,
        Effect::Allow => {
            let stricter = kinds(own.rule).shares(writing())
                && own.rule.max_rows_affected.is_some_and(|rows| {
                    other
                        .rule
                        .max_rows_affected
                        .is_none_or(|others| rows < others)
                });
            let milder = own.rule.without_where && !other.rule.without_where;
            !stricter && !milder
        }
    }
}

/// Notes what of a rule is always denied; whether all of it is.
fn denied(found: &mut Found<'_>, path: &[Step<'_>], rule: &Rule, around: &[At<'_>]) -> bool {
    let denying: Vec<&At<'_>> = around
        .iter()
        .filter(|other| other.rule.effect == Effect::Deny)
        .filter(|other| kinds(other.rule).shares(kinds(rule)))
        .collect();
    let of = |pattern: &TablePattern| {
        denying
            .iter()
            .filter(|other| other.rule.tables.iter().any(|t| scope::table(t, pattern)))
            .fold(KindSet::default(), |set, other| {
                set.union(kinds(other.rule))
            })
    };
    let by = || {
        let names = denying.iter().filter(|other| {
            let tables = &other.rule.tables;
            rule.tables
                .iter()
                .any(|t| tables.iter().any(|o| scope::table(o, t)))
        });
        let names: Vec<String> = names.map(|other| other.named(found.document)).collect();
        names.join(", ")
    };
    // Kinds that anybody may use who has a rule at all are not what a rule is for.
    let meant = |kinds: KindSet| {
        let essential = kinds.less(needs_no_rule());
        if essential == KindSet::default() {
            kinds
        } else {
            essential
        }
    };
    let always = |kinds: KindSet| rule.tables.iter().all(|t| of(t).holds(meant(kinds)));
    if rule.tables.is_empty() || rule.statements.is_empty() {
        return false;
    }
    if always(kinds(rule)) {
        let message = format!(
            "rule `{}` never speaks: all that it is about is denied by {}",
            rule.name,
            by()
        );
        found.note(path, "always-denied", message);
        return true;
    }
    let words: Vec<(usize, Word)> = rule
        .statements
        .iter()
        .copied()
        .enumerate()
        .filter(|(_, word)| always(word.kinds()))
        .collect();
    let patterns: Vec<(usize, &TablePattern)> = rule
        .tables
        .iter()
        .enumerate()
        .filter(|(_, t)| of(t).holds(meant(kinds(rule))))
        .collect();
    let by = by();
    for (at, word) in words {
        let path = [path, &[Step::Key("statements"), Step::Item(at)]].concat();
        let message = format!("rule `{}`: `{word}` is always denied, by {by}", rule.name);
        found.note(&path, "always-denied", message);
    }
    for (at, pattern) in patterns {
        let path = [path, &[Step::Key("tables"), Step::Item(at)]].concat();
        let message = format!(
            "rule `{}`: on `{pattern}` all of it is denied, by {by}",
            rule.name
        );
        found.note(&path, "always-denied", message);
    }
    false
}
