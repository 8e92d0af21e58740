//! Conditions that no moment, or nobody whom the document is about, can make true.

use cel::IdedExpr;
use cel::common::ast::{Expr, LiteralValue, operators};

use super::Found;
use crate::model::UnixMillis;
use crate::policy::condition::{Condition, sample_at};
use crate::policy::context::{PARTS, walk};
use crate::policy::document::{Document, Subject};
use crate::policy::pattern::Glob;
use crate::policy::places::Step;

/// The most moments that one condition is tried at.
const MOMENTS: i64 = 100_000;
/// 2023-01-01, a Sunday, and the first day of a month and a year; seconds.
const SUNDAY: i64 = 1_672_531_200;
/// 2024-01-01, the first day of a leap year; seconds.
const LEAP_YEAR: i64 = 1_704_067_200;
const DAY: i64 = 86_400;

pub(super) fn check(found: &mut Found<'_>) {
    let document = found.document;
    for (at, rule) in document.rules.iter().enumerate() {
        let Some(when) = &rule.when else { continue };
        let path = [Step::Key("rules"), Step::Item(at), Step::Key("when")];
        let name = &rule.name;
        if let Some(why) = contradiction(when, document) {
            let message = format!("rule `{name}` never speaks: {why}");
            found.note(&path, "never-true", message);
            continue;
        }
        match at_any_moment(when) {
            Some(false) => {
                let message = format!("rule `{name}` never speaks: its condition is never true");
                found.note(&path, "never-true", message);
            }
            Some(true) => {
                let message = format!("rule `{name}`: its condition is always true; leave it out");
                found.note(&path, "always-true", message);
            }
            None => {}
        }
    }
}

/// What a condition that hangs on nothing but the clock says at every moment, if it always says
/// the same. `None`: it varies, or cannot be decided by trying.
fn at_any_moment(when: &Condition) -> Option<bool> {
    let program = when.program();
    let variables = program.references();
    let variables = variables.variables();
    if variables.iter().any(|name| *name != "now") {
        return None;
    }
    let (mut clocks, mut parts) = (0_usize, Vec::new());
    walk(program.expression(), &mut |expr| match expr {
        Expr::Ident(name) if name == "now" => clocks += 1,
        Expr::Call(call) => {
            let of_now = call
                .target
                .as_ref()
                .is_some_and(|target| matches!(&target.expr, Expr::Ident(name) if name == "now"));
            if of_now && PARTS.iter().any(|(part, ..)| *part == call.func_name) {
                parts.push(call.func_name.as_str());
            }
        }
        _ => {}
    });
    // The clock as a number, or the year, has no end of values.
    if clocks != parts.len() || parts.contains(&"getFullYear") {
        return None;
    }
    let has = |names: &[&str]| names.iter().any(|name| parts.contains(name));
    let (dates, weekdays) = (
        has(&["getMonth", "getDate", "getDayOfMonth"]),
        has(&["getDayOfWeek"]),
    );
    let (first, days) = match (dates, weekdays) {
        // Which weekday a date is differs from year to year; 28 years see all of them.
        (true, true) => (LEAP_YEAR, 28 * 365 + 7),
        (true, false) => (LEAP_YEAR, 366),
        (false, true) => (SUNDAY, 7),
        (false, false) => (SUNDAY, 1),
    };
    let steps = [
        (has(&["getHours"]), 24, 3600),
        (has(&["getMinutes"]), 60, 60),
        (has(&["getSeconds"]), 60, 1),
    ];
    let mut offsets = vec![0_i64];
    for (used, count, size) in steps {
        if used {
            let each = |offset: &i64| {
                let offset = *offset;
                (0..count)
                    .map(move |n| offset + n * size)
                    .collect::<Vec<i64>>()
            };
            offsets = offsets.iter().flat_map(each).collect();
        }
    }
    if days * i64::try_from(offsets.len()).ok()? > MOMENTS {
        return None;
    }
    let mut said = None;
    let mut context = sample_at(UnixMillis(0))?;
    for day in 0..days {
        for offset in &offsets {
            let now = first + day * DAY + offset;
            context.add_variable("now", now).ok()?;
            let holds = when.holds(&context)?;
            match said {
                None => said = Some(holds),
                Some(before) if before != holds => return None,
                Some(_) => {}
            }
        }
    }
    said
}

/// Why a condition cannot hold of anybody whom the document is about: it wants a name to be one
/// that the document leaves out, or to be two at once.
fn contradiction(when: &Condition, document: &Document) -> Option<String> {
    let mut wanted: Vec<(String, Vec<&str>)> = Vec::new();
    let mut left = vec![when.program().expression()];
    while let Some(one) = left.pop() {
        let Expr::Call(call) = &one.expr else {
            continue;
        };
        match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::LOGICAL_AND, args) => left.extend(args),
            (operators::EQUALS, [a, b]) => {
                let pair = named(a).zip(text(b)).or_else(|| named(b).zip(text(a)));
                wanted.extend(pair.map(|(name, text)| (name, vec![text])));
            }
            (operators::IN, [a, b]) => {
                let texts = match &b.expr {
                    Expr::List(list) => list.elements.iter().map(text).collect::<Option<Vec<_>>>(),
                    _ => None,
                };
                wanted.extend(named(a).zip(texts));
            }
            _ => {}
        }
    }
    for (name, texts) in &wanted {
        if let Some(globs) = about(document, name)
            && !texts
                .iter()
                .any(|text| globs.iter().any(|glob| glob.matches(text)))
        {
            return Some(format!(
                "its condition wants `{name}` to be {}, and the policy is about {} only",
                quoted(texts),
                globs
                    .iter()
                    .map(|g| format!("`{g}`"))
                    .collect::<Vec<_>>()
                    .join(", ")
            ));
        }
        for (other, others) in &wanted {
            if name == other && !texts.iter().any(|text| others.contains(text)) {
                return Some(format!(
                    "its condition wants `{name}` to be {} and {} at once",
                    quoted(texts),
                    quoted(others)
                ));
            }
        }
    }
    None
}

fn quoted(texts: &[&str]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| format!("'{text}'")).collect();
    texts.join(" or ")
}

/// A name of the context that is one text.
fn named(expression: &IdedExpr) -> Option<String> {
    match &expression.expr {
        Expr::Ident(name) if ["target", "database", "role"].contains(&name.as_str()) => {
            Some(name.clone())
        }
        Expr::Select(select) => match &select.operand.expr {
            Expr::Ident(of)
                if of == "principal"
                    && ["user", "issuer", "workload"].contains(&select.field.as_str()) =>
            {
                Some(format!("principal.{}", select.field))
            }
            _ => None,
        },
        _ => None,
    }
}

fn text(expression: &IdedExpr) -> Option<&str> {
    match &expression.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

/// What the document lets a name be; `None`: anything.
fn about<'a>(document: &'a Document, name: &str) -> Option<Vec<&'a Glob>> {
    let of = |list: fn(&Subject) -> &Option<Vec<Glob>>| {
        let mut all = Vec::new();
        for subject in &document.subjects {
            all.extend(list(subject).as_ref()?);
        }
        Some(all)
    };
    match name {
        "target" => Some(document.targets.iter().collect()),
        "database" => of(|subject| &subject.databases),
        "role" => of(|subject| &subject.roles),
        "principal.user" => of(|subject| &subject.users),
        "principal.issuer" => of(|subject| &subject.issuers),
        "principal.workload" => of(|subject| &subject.workloads),
        _ => None,
    }
}
