//! What a document says in vain, whatever else is in force.

use super::Found;
use super::scope;
use crate::policy::compile::kinds;
use crate::policy::content::{Content, Detector};
use crate::policy::document::{Document, Effect, Mask, Rule, Subject};
use crate::policy::judge::about_tables;
use crate::policy::pattern::{ColumnName, FunctionPattern, Glob, TablePattern};
use crate::policy::places::Step;
use crate::policy::words::{KindSet, Word, writing};
use crate::sql::{FunctionClass, StatementKind as K, classify_function};

pub(super) fn check(found: &mut Found<'_>) {
    let document = found.document;
    if says_nothing(document) {
        let message =
            "it has no rules, masks, content nets, functions, limits or budgets".to_owned();
        found.note(&[], "says-nothing", message);
    }
    twice(
        found,
        &[Step::Key("targets")],
        &document.targets,
        scope::glob,
        "targets",
    );
    for (at, subject) in document.subjects.iter().enumerate() {
        let path = [Step::Key("subjects"), Step::Item(at)];
        nobody(found, &path, subject);
    }
    twice(
        found,
        &[Step::Key("subjects")],
        &document.subjects,
        scope::subject,
        "subjects",
    );
    for (at, rule) in document.rules.iter().enumerate() {
        rule_alone(found, at, rule);
    }
    for (at, mask) in document.masks.iter().enumerate() {
        mask_alone(found, at, mask);
    }
    for (at, net) in document.content.iter().enumerate() {
        content_alone(found, at, net);
    }
    functions(found);
}

fn says_nothing(document: &Document) -> bool {
    document.rules.is_empty()
        && document.masks.is_empty()
        && document.content.is_empty()
        && document.functions.allow.is_empty()
        && document.functions.deny.is_empty()
        && document.limits == Default::default()
        && document.budgets.is_empty()
}

/// Lists that are there and empty: nobody is in them.
fn nobody(found: &mut Found<'_>, path: &[Step<'_>], subject: &Subject) {
    let lists = [
        ("groups", &subject.groups),
        ("users", &subject.users),
        ("issuers", &subject.issuers),
        ("workloads", &subject.workloads),
        ("databases", &subject.databases),
        ("roles", &subject.roles),
    ];
    for (key, list) in lists {
        if list.as_ref().is_some_and(Vec::is_empty) {
            let path = [path, &[Step::Key(key)]].concat();
            let message = format!("`{key}: []` is nobody; leave the key out for everybody");
            found.note(&path, "nobody", message);
        }
    }
}

/// Elements of a list that another one covers.
fn twice<T>(
    found: &mut Found<'_>,
    path: &[Step<'_>],
    list: &[T],
    covers: fn(&T, &T) -> bool,
    what: &str,
) {
    for (at, one) in list.iter().enumerate() {
        let other = list.iter().enumerate().position(|(i, other)| {
            i != at && covers(other, one) && (i < at || !covers(one, other))
        });
        if let Some(other) = other {
            let path = [path, &[Step::Item(at)]].concat();
            let message = format!(
                "{what}: entry {} adds nothing to entry {}",
                at + 1,
                other + 1
            );
            found.note(&path, "redundant", message);
        }
    }
}

fn rule_alone(found: &mut Found<'_>, at: usize, rule: &Rule) {
    let own = [Step::Key("rules"), Step::Item(at)];
    let name = &rule.name;
    let under = |key: &'static str| [&own[..], &[Step::Key(key)]].concat();
    let tables = format!("rule `{name}`, tables");
    twice(found, &under("tables"), &rule.tables, scope::table, &tables);
    let covers =
        |wide: &Word, narrow: &Word| wide.kinds().holds(narrow.kinds()) || (wide == narrow);
    let statements = format!("rule `{name}`, statements");
    twice(
        found,
        &under("statements"),
        &rule.statements,
        covers,
        &statements,
    );
    let everywhere = rule.tables.iter().any(TablePattern::is_every);
    for (i, one) in rule.statements.iter().enumerate() {
        if everywhere || one.kinds().shares(about_tables()) || one.kinds() == KindSet::default() {
            continue;
        }
        let path = [&under("statements")[..], &[Step::Item(i)]].concat();
        let opaque = *one == Word::Kind(K::Opaque);
        let message = match rule.effect {
            Effect::Allow if !opaque => format!(
                "rule `{name}`: `{one}` is about no table, so it is allowed whatever `tables` says"
            ),
            Effect::Allow | Effect::Approve | Effect::Deny => format!(
                "rule `{name}`: `{one}` is about no table, so with `tables` it never matches; give it a rule without them"
            ),
        };
        found.note(&path, "kinds-without-tables", message);
    }
    if let Some(rows) = rule.max_rows_affected {
        let path = under("max_rows_affected");
        if !kinds(rule).shares(writing()) {
            let message =
                format!("rule `{name}`: max_rows_affected, but it allows no change of rows");
            found.note(&path, "no-effect", message);
        } else if let Some(all) = found
            .document
            .limits
            .rows_affected
            .filter(|all| *all <= rows)
        {
            let message = format!(
                "rule `{name}`: max_rows_affected {rows} never counts; the policy's own limit is {all}"
            );
            found.note(&path, "no-effect", message);
        }
    }
    let whole = KindSet::of(&[K::Update, K::Delete]);
    if rule.without_where && !kinds(rule).shares(whole) {
        let message =
            format!("rule `{name}`: without_where, but it allows neither update nor delete");
        found.note(&under("without_where"), "no-effect", message);
    }
}

fn mask_alone(found: &mut Found<'_>, at: usize, mask: &Mask) {
    let own = [Step::Key("masks"), Step::Item(at)];
    let columns = format!("mask `{}`, columns", mask.name);
    let path = [&own[..], &[Step::Key("columns")]].concat();
    twice(found, &path, &mask.columns, scope::column, &columns);
    let what = format!("mask `{}`", mask.name);
    exempts_all(found, &own, mask.unless.as_ref(), &what);
}

fn content_alone(found: &mut Found<'_>, at: usize, net: &Content) {
    let own = [Step::Key("content"), Step::Item(at)];
    let what = format!("content `{}`", net.name);
    for (key, list) in [("columns", &net.columns), ("except", &net.except)] {
        let path = [&own[..], &[Step::Key(key)]].concat();
        twice(found, &path, list, scope::column, &format!("{what}, {key}"));
    }
    let path = [&own[..], &[Step::Key("detect")]].concat();
    let same = |one: &Detector, other: &Detector| one == other;
    twice(found, &path, &net.detect, same, &format!("{what}, detect"));
    let out = |column: &ColumnName| net.except.iter().any(|one| scope::column(one, column));
    if net.columns.iter().all(out) {
        let path = [&own[..], &[Step::Key("except")]].concat();
        let message = format!("{what} looks into no column: `except` leaves none");
        found.note(&path, "never-in-force", message);
    }
    exempts_all(found, &own, net.unless.as_ref(), &what);
}

/// An exemption of everybody.
fn exempts_all(found: &mut Found<'_>, own: &[Step<'_>], unless: Option<&Subject>, what: &str) {
    let Some(unless) = unless else { return };
    let path = [own, &[Step::Key("unless")]].concat();
    nobody(found, &path, unless);
    let subjects = &found.document.subjects;
    if !subjects.is_empty() && subjects.iter().all(|one| scope::subject(unless, one)) {
        let message =
            format!("{what} is never in force: everybody whom the policy is about is exempt");
        found.note(&path, "never-in-force", message);
    }
}

fn functions(found: &mut Found<'_>) {
    let document = found.document;
    let list = &document.functions;
    let under = |key: &'static str| [Step::Key("functions"), Step::Key(key)];
    twice(
        found,
        &under("allow"),
        &list.allow,
        scope::function,
        "functions.allow",
    );
    twice(
        found,
        &under("deny"),
        &list.deny,
        scope::function,
        "functions.deny",
    );
    for (at, allowed) in list.allow.iter().enumerate() {
        let path = [&under("allow")[..], &[Step::Item(at)]].concat();
        if let Some(denied) = list.deny.iter().find(|d| scope::function(d, allowed)) {
            let message = format!("functions.allow: `{allowed}` is denied by `{denied}`");
            found.note(&path, "always-denied", message);
        }
        let FunctionPattern::Named {
            schema,
            name: Glob::Exact(name),
        } = allowed
        else {
            continue;
        };
        // How many arguments makes no difference to what is refused.
        if let FunctionClass::Refused(why) = classify_function(None, name, usize::MAX) {
            let message =
                format!("functions.allow: `{allowed}` is still refused: only `*` reaches {why}");
            found.note(&path, "no-effect", message);
        } else if *schema == Glob::Exact("pg_catalog".into())
            && (0..16).any(|n| classify_function(None, name, n) == FunctionClass::Pure)
        {
            let message = format!(
                "functions.allow: `{allowed}` may be called by any allowed statement anyway"
            );
            found.note(&path, "redundant", message);
        }
    }
}
