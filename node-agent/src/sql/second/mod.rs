//! The second witness: another parser (`sqlparser`) reads the text too, and what it sees is held
//! against what the server's own grammar saw.
//!
//! The first witness decides; this one can only make things stricter. It is not believed where it
//! is known to misread (`Alone`, each with its sentence), it is not asked where asking would cost
//! more than it is worth, and where both have an opinion and the opinions differ, the text is
//! refused or both opinions are judged: see `Second`.
//!
//! `walk.rs` is our own walk of its tree, with `queries.rs`, `tables.rs`, `changes.rs` and
//! `expressions.rs`; `statements.rs` is what its statements are in our words, `bounds.rs` says what may be given to it, `compare.rs` holds the two against each other. The
//! crate's own visitor is never used: it does not visit every relation.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use serde::{Deserialize, Serialize};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{TokenWithSpan, Tokenizer};

use super::{StatementFacts, Sureness};

mod bounds;
mod changes;
mod compare;
mod expressions;
mod queries;
mod statements;
mod tables;
mod walk;

use bounds::{Bounds, DEPTH};
use statements::Seen;

/// What the second parser says of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Second {
    /// It was not asked: the first did not understand the text, and nothing hangs on it.
    #[default]
    Unasked,
    /// It sees the same statements, of the same classes, on the same relations.
    Agrees,
    /// It has nothing to say, or is known not to be worth hearing here: why.
    Alone(Cow<'static, str>),
    /// It sees something else.
    Differs(Box<Differing>),
}

/// How the two witnesses differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Differing {
    /// In what.
    pub about: Vec<Difference>,
    /// In one sentence, with names of relations but no value.
    pub what: String,
    /// What only the second sees, as statements of their own: policy must allow these too. They
    /// are never mixed into the first's, where more can mean less strict (a kind more is an
    /// alternative more).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adds: Vec<StatementFacts>,
}

/// What two witnesses can differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// How many statements there are.
    Count,
    /// What a statement does.
    Class,
    /// Which relations it touches, or which of them it changes.
    Relations,
    /// Whether an UPDATE or DELETE has a WHERE.
    Where,
}

impl Second {
    /// Whether it was not asked.
    pub fn is_unasked(&self) -> bool {
        *self == Second::Unasked
    }

    /// What only it sees.
    pub fn adds(&self) -> &[StatementFacts] {
        match self {
            Second::Unasked | Second::Agrees | Second::Alone(_) => &[],
            Second::Differs(differing) => &differing.adds,
        }
    }
}

impl Difference {
    /// As in a metric's label.
    pub fn word(self) -> &'static str {
        match self {
            Difference::Count => "count",
            Difference::Class => "class",
            Difference::Relations => "relations",
            Difference::Where => "where",
        }
    }
}

/// What the first witness found of one statement, and whether the second is known to misread it.
pub(super) struct First<'a> {
    pub(super) facts: &'a StatementFacts,
    pub(super) misread: Option<Misread>,
}

/// A construct that the second parser accepts and reads otherwise than the server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misread {
    /// Only the statement it stands in is misread.
    Statement(&'static str),
    /// What follows it in the text too.
    Text(&'static str),
}

/// Whether what is known of the second witness's misreadings is held against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Yes: it is not heard where it is known to misread.
    Counts,
    /// No: for the test that lists what it misreads.
    Ignored,
}

/// Asks the second witness about a text that the first understood.
pub(super) fn hear(text: &str, sureness: &Sureness, first: &[First<'_>], known: Known) -> Second {
    if *sureness != Sureness::Complete {
        return Second::Unasked;
    }
    if known == Known::Ignored {
        let plain: Vec<First<'_>> = first
            .iter()
            .map(|first| First {
                facts: first.facts,
                misread: None,
            })
            .collect();
        return match read(text) {
            Ok(seen) => compare::compare(&plain, &seen),
            Err(why) => Second::Alone(Cow::Borrowed(why)),
        };
    }
    if let Some(why) = first.iter().find_map(|f| match f.misread {
        Some(Misread::Text(why)) => Some(why),
        Some(Misread::Statement(_)) | None => None,
    }) {
        return Second::Alone(Cow::Borrowed(why));
    }
    // A single statement that would not be compared need not be parsed.
    if let [
        First {
            misread: Some(Misread::Statement(why)),
            ..
        },
    ] = first
    {
        return Second::Alone(Cow::Borrowed(why));
    }
    match read(text) {
        Ok(seen) => compare::compare(first, &seen),
        Err(why) => Second::Alone(Cow::Borrowed(why)),
    }
}

/// What it sees, or why it sees nothing. Runs on a stack of its own where the text could need
/// more than is left here; a panic in it ends nothing.
fn read(text: &str) -> Result<Vec<Seen>, &'static str> {
    const FAILED: &str = "the second parser failed";
    let mut tokens = Vec::new();
    let tokenized = catch_unwind(AssertUnwindSafe(|| {
        Tokenizer::new(&PostgreSqlDialect {}, text)
            .tokenize_with_location_into_buf(&mut tokens)
            .is_ok()
    }));
    match tokenized {
        Ok(true) => {}
        Ok(false) => return Err("the second parser does not know a token of it"),
        Err(_) => return Err(FAILED),
    }
    let bounds = Bounds::of(&tokens)?;
    let parse = || catch_unwind(AssertUnwindSafe(|| parse(tokens))).unwrap_or(Err(FAILED));
    let Some(stack) = bounds.own_stack() else {
        return parse();
    };
    thread::scope(|scope| {
        let built = thread::Builder::new()
            .name("second-witness".to_owned())
            .stack_size(stack)
            .spawn_scoped(scope, parse);
        match built {
            Ok(thread) => thread.join().unwrap_or(Err(FAILED)),
            Err(_) => Err("there is no stack for the second parser"),
        }
    })
}

fn parse(tokens: Vec<TokenWithSpan>) -> Result<Vec<Seen>, &'static str> {
    let parsed = Parser::new(&PostgreSqlDialect {})
        .with_recursion_limit(DEPTH)
        .with_tokens_with_locations(tokens)
        .parse_statements();
    match parsed {
        Ok(statements) => statements.iter().map(Seen::of).collect(),
        // Its grammar lacks about a tenth of what the server accepts. Its message may quote the
        // text.
        Err(_) => Err("the second parser does not know the syntax"),
    }
}

#[cfg(test)]
mod tests;
