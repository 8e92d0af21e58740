//! `when:` conditions, in CEL.

use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::extractors::This;
use cel::{Context, Env, ExecutionError, Program, Value};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::json;

use super::{Question, context, near};
use crate::model::UnixMillis;
use crate::sql::{RelationName, StatementFacts};

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// A compiled condition and its text.
#[derive(Clone)]
pub struct Condition {
    text: Arc<str>,
    program: Arc<Program>,
}

impl Condition {
    /// Compiles, checks the variables, and tries it on a sample: the result must be a truth value.
    pub fn read(text: &str) -> Result<Self, String> {
        let program = ENV
            .compile(text)
            .map_err(|e| format!("the condition is not CEL: {}", one_line(&e.to_string())))?;
        // `list.exists(x, …)` binds a name of its own.
        let dense: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let variables = context::variables();
        for name in program.references().variables() {
            let bound = dense.contains(&format!("({name},"));
            // Macros expand to names that no text can spell.
            if !variables.contains(&name) && !bound && !name.starts_with('@') {
                return Err(format!(
                    "the condition names `{name}`; there are {}{}",
                    variables.join(", "),
                    near::question(name, variables.iter().copied())
                ));
            }
        }
        if let Some(wrong) = context::wrong_field(program.expression()) {
            return Err(wrong);
        }
        let condition = Condition {
            text: text.into(),
            program: Arc::new(program),
        };
        let context = sample().ok_or_else(|| "the sample could not be built".to_owned())?;
        match condition.program.execute(&context) {
            Ok(Value::Bool(_)) => Ok(condition),
            Ok(other) => Err(format!(
                "the condition yields {}, not true or false",
                other.type_of()
            )),
            // Claims and labels differ from principal to principal.
            Err(ExecutionError::NoSuchKey(_)) => Ok(condition),
            Err(error) => Err(format!("the condition fails: {error}")),
        }
    }

    /// What it was compiled to.
    pub(super) fn program(&self) -> &Program {
        &self.program
    }

    /// `None`: it could not be evaluated. The caller decides which side is the safe one.
    pub(super) fn holds(&self, context: &Context<'_, '_>) -> Option<bool> {
        match self.program.execute(context) {
            Ok(Value::Bool(value)) => Some(value),
            Ok(_) | Err(_) => None,
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Condition({:?})", self.text)
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Condition;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a CEL expression")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Condition, E> {
                Condition::read(text).map_err(E::custom)
            }
        }
        from.deserialize_str(Visitor)
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.text)
    }
}

/// A part of a moment, in UTC.
type Part = fn(time::OffsetDateTime) -> i64;

fn one_line(text: &str) -> String {
    text.lines()
        .next()
        .unwrap_or_default()
        .trim_start_matches("ERROR: ")
        .to_owned()
}

/// What a condition sees of a question and one of its statements. `None`: it could not be built,
/// which counts as a condition that fails.
pub(super) fn context(
    question: &Question,
    statement: Option<&StatementFacts>,
) -> Option<Context<'static, 'static>> {
    let principal = &question.principal;
    let tables: Vec<String> = statement
        .map(|s| s.relations.iter().map(|u| dotted(&u.relation)).collect())
        .unwrap_or_default();
    build(
        &json!({
            "user": principal.user.subject,
            "issuer": principal.user.issuer,
            "groups": principal.user.groups,
            "claims": principal.user.claims,
            "workload": &*principal.workload.name,
            "labels": principal.workload.labels,
        }),
        [
            &question.target.0,
            &question.database,
            &question.role,
            said(question.application.as_ref()),
            said(question.purpose.reason.as_ref()),
            said(question.purpose.ticket.as_ref()),
            said(question.purpose.traceparent.as_ref()),
        ],
        &json!({
            "kinds": statement.map(|s| s.kinds.clone()).unwrap_or_default(),
            "tables": tables,
            "functions": statement
                .map(|s| s.functions.iter().map(|f| f.name.clone()).collect::<Vec<_>>())
                .unwrap_or_default(),
            "types": statement
                .map(|s| s.types.iter().map(dotted).collect::<Vec<_>>())
                .unwrap_or_default(),
            "missing_where": statement.is_some_and(|s| s.missing_where),
        }),
        question.now,
    )
}

/// What nobody said is an empty text.
fn said(word: Option<&String>) -> &str {
    word.map_or("", String::as_str)
}

/// `schema.name`, or the name alone where it is written so.
fn dotted(name: &RelationName) -> String {
    match &name.schema {
        Some(schema) => format!("{schema}.{}", name.name),
        None => name.name.clone(),
    }
}

fn sample() -> Option<Context<'static, 'static>> {
    sample_at(UnixMillis(1_700_000_000_000))
}

/// A context of nobody in particular at a moment.
pub(super) fn sample_at(now: UnixMillis) -> Option<Context<'static, 'static>> {
    build(
        &json!({
            "user": "somebody", "issuer": "https://issuer.example", "groups": ["a-group"],
            "claims": {}, "workload": "a-workload", "labels": {},
        }),
        [
            "a-target",
            "a-database",
            "a-role",
            "an-application",
            "a reason",
            "A-1",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ],
        &json!({
            "kinds": ["select"], "tables": ["a.table"], "functions": ["lower"],
            "types": ["a.type"], "missing_where": false,
        }),
        now,
    )
}

fn build(
    principal: &serde_json::Value,
    [target, database, role, application, reason, ticket, trace]: [&str; 7],
    statement: &serde_json::Value,
    now: UnixMillis,
) -> Option<Context<'static, 'static>> {
    let mut context = Context::with_env(Arc::clone(&ENV));
    context.add_variable("principal", principal).ok()?;
    context.add_variable("target", target).ok()?;
    context.add_variable("database", database).ok()?;
    context.add_variable("role", role).ok()?;
    context.add_variable("application", application).ok()?;
    context.add_variable("reason", reason).ok()?;
    context.add_variable("ticket", ticket).ok()?;
    context.add_variable("traceparent", trace).ok()?;
    context.add_variable("statement", statement).ok()?;
    // Seconds since 1970; the methods of a CEL timestamp are given to it below.
    context.add_variable("now", now.0.div_euclid(1000)).ok()?;
    let parts: [(&str, Part); 8] = [
        ("getFullYear", |t| t.year().into()),
        ("getMonth", |t| i64::from(u8::from(t.month())) - 1),
        ("getDate", |t| t.day().into()),
        ("getDayOfMonth", |t| i64::from(t.day()) - 1),
        ("getDayOfWeek", |t| {
            t.weekday().number_days_from_sunday().into()
        }),
        ("getHours", |t| t.hour().into()),
        ("getMinutes", |t| t.minute().into()),
        ("getSeconds", |t| t.second().into()),
    ];
    for (name, part) in parts {
        context
            .add_function(
                name,
                move |This(now): This<i64>| -> Result<i64, ExecutionError> {
                    time::OffsetDateTime::from_unix_timestamp(now)
                        .map(part)
                        .map_err(|e| ExecutionError::function_error(name, e))
                },
            )
            .ok()?;
    }
    Some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_checked_when_it_is_read() {
        for good in [
            "now.getHours() >= 6 && now.getHours() < 20",
            "principal.groups.exists(g, g == 'dba')",
            "principal.claims.level == 'senior'",
            "!statement.missing_where",
            "target == 'orders' && database.startsWith('a')",
            "statement.tables.all(t, t.startsWith('sales.'))",
            "ticket.startsWith('OPS-') && reason != '' && traceparent != ''",
            "now.getDayOfWeek() in [1, 2, 3, 4, 5]",
        ] {
            Condition::read(good).unwrap_or_else(|e| panic!("{good}: {e}"));
        }
        for bad in [
            "now.getHours() >=",
            "who == 'x'",
            "1 + 1",
            "now.getHour() > 1",
            "principal.groups > 1",
        ] {
            assert!(Condition::read(bad).is_err(), "{bad}");
        }
    }
}
