//! What a condition may speak of: the table that the reference is made of and conditions are
//! checked against.

use cel::IdedExpr;
use cel::common::ast::{EntryExpr, Expr};

use super::near;

/// One name of the context.
pub(super) struct Name {
    /// `variable`, or `variable.field`.
    pub(super) path: &'static str,
    pub(super) of: &'static str,
    pub(super) means: &'static str,
}

const fn name(path: &'static str, of: &'static str, means: &'static str) -> Name {
    Name { path, of, means }
}

/// Everything, in the order of the reference.
pub(super) const CONTEXT: &[Name] = &[
    name(
        "principal.user",
        "string",
        "the subject (`sub`) of the user's token",
    ),
    name("principal.issuer", "string", "who issued it, a URL"),
    name("principal.groups", "list of strings", "the user's groups"),
    name(
        "principal.claims",
        "map",
        "the claims that the issuer's configuration keeps; one that is not there makes the condition fail, unless `has(principal.claims.x)` is asked first",
    ),
    name("principal.workload", "string", "the workload's name"),
    name(
        "principal.labels",
        "map of strings",
        "the workload's labels",
    ),
    name("target", "string", "the target's name"),
    name("database", "string", "the database in it"),
    name("role", "string", "the role the agent uses there"),
    name(
        "application",
        "string",
        "`application_name`: what the client says of itself, so no proof of anything; empty when it says nothing",
    ),
    name(
        "reason",
        "string",
        "why, as the client says it in a comment or in `application_name`; empty when it says nothing",
    ),
    name("ticket", "string", "the ticket, said in the same places"),
    name(
        "traceparent",
        "string",
        "the trace, said in the same places",
    ),
    name(
        "statement.kinds",
        "list of strings",
        "the words for what the statement does, from the table above",
    ),
    name(
        "statement.tables",
        "list of strings",
        "the relations as the text writes them: `schema.name`, or `name` alone",
    ),
    name(
        "statement.functions",
        "list of strings",
        "the functions it calls, by name without schema",
    ),
    name(
        "statement.types",
        "list of strings",
        "types, not the server's own, that values are cast to",
    ),
    name(
        "statement.missing_where",
        "bool",
        "an UPDATE or DELETE in it has no WHERE",
    ),
    name(
        "now",
        "moment",
        "when the statement was judged, UTC; as a number the seconds since 1970",
    ),
];

/// The parts of a moment, `now.getHours()`: name, from, to, meaning.
pub(super) const PARTS: &[(&str, i64, i64, &str)] = &[
    ("getFullYear", 1970, 9999, "the year"),
    ("getMonth", 0, 11, "the month, January is 0"),
    ("getDate", 1, 31, "the day of the month, from 1"),
    ("getDayOfMonth", 0, 30, "the day of the month, from 0"),
    ("getDayOfWeek", 0, 6, "the day of the week, Sunday is 0"),
    ("getHours", 0, 23, "the hour"),
    ("getMinutes", 0, 59, "the minute"),
    ("getSeconds", 0, 59, "the second"),
];

/// The Markdown of both tables.
pub(super) fn reference() -> String {
    let mut text = String::from(
        "\n## What a condition sees\n\n`when` is a [CEL](https://cel.dev) expression that yields \
         true or false.\n\n| Name | Is a | Which |\n| --- | --- | --- |\n",
    );
    for name in CONTEXT {
        text.push_str(&format!(
            "| `{}` | {} | {} |\n",
            name.path, name.of, name.means
        ));
    }
    text.push_str("\n| Part of a moment | From | To | Which |\n| --- | --- | --- | --- |\n");
    for (part, from, to, means) in PARTS {
        text.push_str(&format!("| `now.{part}()` | {from} | {to} | {means} |\n"));
    }
    text
}

/// The variables, each once.
pub(super) fn variables() -> Vec<&'static str> {
    let mut all: Vec<&str> = CONTEXT
        .iter()
        .map(|name| name.path.split('.').next().unwrap_or_default())
        .collect();
    all.dedup();
    all
}

/// A field that its variable does not have: the condition could only ever fail.
pub(super) fn wrong_field(expression: &IdedExpr) -> Option<String> {
    let mut wrong = None;
    walk(expression, &mut |expr| {
        let Expr::Select(select) = expr else { return };
        let Expr::Ident(of) = &select.operand.expr else {
            return;
        };
        let fields: Vec<&str> = CONTEXT
            .iter()
            .filter_map(|name| name.path.split_once('.'))
            .filter(|(variable, _)| variable == of)
            .map(|(_, field)| field)
            .collect();
        if !fields.is_empty() && !fields.contains(&select.field.as_str()) {
            wrong = Some(format!(
                "the condition names `{of}.{}`; `{of}` has {}{}",
                select.field,
                fields.join(", "),
                near::question(&select.field, fields.iter().copied())
            ));
        }
    });
    wrong
}

/// Goes through an expression, from the outside in.
pub(super) fn walk<'e>(expression: &'e IdedExpr, see: &mut impl FnMut(&'e Expr)) {
    let mut left = vec![expression];
    while let Some(one) = left.pop() {
        see(&one.expr);
        match &one.expr {
            Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
            Expr::Call(call) => {
                left.extend(call.target.as_deref());
                left.extend(&call.args);
            }
            Expr::Comprehension(all) => left.extend([
                &all.iter_range,
                &all.accu_init,
                &all.loop_cond,
                &all.loop_step,
                &all.result,
            ]),
            Expr::List(list) => left.extend(&list.elements),
            Expr::Map(map) => map.entries.iter().for_each(|e| entry(&e.expr, &mut left)),
            Expr::Select(select) => left.push(&select.operand),
            Expr::Struct(of) => of.entries.iter().for_each(|e| entry(&e.expr, &mut left)),
        }
    }
}

fn entry<'e>(entry: &'e EntryExpr, left: &mut Vec<&'e IdedExpr>) {
    match entry {
        EntryExpr::StructField(field) => left.push(&field.value),
        EntryExpr::MapEntry(map) => left.extend([&map.key, &map.value]),
    }
}
