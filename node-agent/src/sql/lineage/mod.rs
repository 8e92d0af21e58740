//! Pure. Which columns of which relations the columns of a statement's result can carry:
//! `trace(dialect, text, columns) -> Lineage`. Total: what is not understood carries anything.
//!
//! It goes through the tree of the grammar that the facts come from (`pg/`), as the server's own
//! analysis would: scopes, aliases, CTEs, joins. A computed column carries whatever stands in it,
//! conditions and windows too. What decides which rows there are (WHERE, ON, GROUP BY, HAVING, ORDER
//! BY, LIMIT) is a predicate, about which policy has its own word, and is carried only by `EXISTS`, `IN`
//! and their like, whose value it is.
//!
//! Relations are asked about by the names that the text has. Where an order of columns is the
//! catalogue's, and names are given to them by their place (alias lists, set operations), each of
//! them carries all: a catalogue can be a moment old, and places move where names do not. For
//! the same reason the names of the result are told, to be held against those that the database
//! gives.
//!
//! - `carried.rs`: sets of columns.
//! - `scope.rs`: what a name in an expression stands for.
//! - `query.rs`, `from.rs`, `change.rs`: SELECT and CTEs; FROM; RETURNING.
//! - `expression.rs`: what an expression carries.

use std::sync::Arc;

use pg_query::protobuf::node::Node as NodeKind;

use super::{RelationName, pg};
use crate::model::Dialect;

mod carried;
mod change;
mod expression;
mod from;
mod query;
mod scope;

pub use carried::{Base, Carried};

/// What a relation looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The names of its columns in their order.
    pub columns: Vec<Arc<str>>,
    /// Where its rows come from.
    pub rows: Rows,
}

/// Where the rows of a relation come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// They are stored, and written as a statement says: a table, or one in parts.
    Stored,
    /// A view makes them, or rules say what a change of them gives back.
    Computed,
}

/// What is known of relations.
pub trait Columns {
    /// The shape of what a name in the text stands for; `None`: nobody knows, or it may stand for
    /// relations of different shapes.
    fn of(&self, relation: &RelationName) -> Option<Shape>;
}

/// One column of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputColumn {
    /// Its name, where the text or a relation gives it one.
    pub name: Option<Arc<str>>,
    /// What it can carry.
    pub carried: Carried,
}

/// What the columns of a result can carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lineage {
    /// Column by column.
    Columns(Vec<OutputColumn>),
    /// How many there are, nobody knows; each can carry this.
    Each(Carried),
}

impl Lineage {
    /// Nobody knows.
    pub fn unknown() -> Self {
        Lineage::Each(Carried::Unknown)
    }

    /// What each column of a result with these names can carry. A result of another width, or with
    /// another name where the name is sure, is another one than this is about: `None`.
    pub fn fit<'n>(&self, names: impl ExactSizeIterator<Item = &'n str>) -> Option<Vec<&Carried>> {
        match self {
            Lineage::Each(carried) => Some(vec![carried; names.len()]),
            Lineage::Columns(columns) => {
                let same = columns.len() == names.len()
                    && columns.iter().zip(names).all(|(column, name)| {
                        column.name.as_ref().is_none_or(|known| **known == *name)
                    });
                same.then(|| columns.iter().map(|column| &column.carried).collect())
            }
        }
    }
}

/// The longest text that is traced, bytes.
pub const MAX_TRACED: usize = 64 << 10;

/// How many steps one text is worth: nodes of its tree and columns in its sets. Some 50 ms.
const STEPS: usize = 400_000;

/// What the result of a text of one statement can carry. Never panics; what is too long, too
/// large, more than one statement or none that returns rows is unknown.
pub fn trace(dialect: Dialect, text: &str, columns: &dyn Columns) -> Lineage {
    match dialect {
        Dialect::Postgres => {}
        Dialect::Mysql => return Lineage::unknown(),
    }
    if text.len() > MAX_TRACED {
        return Lineage::unknown();
    }
    let Some(tree) = pg::tree(text) else {
        return Lineage::unknown();
    };
    let [only] = tree.protobuf.stmts.as_slice() else {
        return Lineage::unknown();
    };
    let Some(statement) = only.stmt.as_deref() else {
        return Lineage::unknown();
    };
    let mut tracer = Tracer::new(columns);
    let table = match &statement.node {
        Some(NodeKind::CopyStmt(copy)) => tracer.copied(copy),
        _ => tracer.statement(statement),
    };
    tracer.lineage(table)
}

/// One tracing.
struct Tracer<'a> {
    known: &'a dyn Columns,
    /// The relations in scope, innermost last.
    levels: Vec<scope::Level>,
    /// The CTEs in scope, innermost last.
    ctes: Vec<scope::Ctes>,
    left: usize,
}

impl<'a> Tracer<'a> {
    fn new(known: &'a dyn Columns) -> Self {
        Tracer {
            known,
            levels: Vec::new(),
            ctes: Vec::new(),
            left: STEPS,
        }
    }

    /// Takes so many steps; whether they were left.
    fn spend(&mut self, steps: usize) -> bool {
        match self.left.checked_sub(steps) {
            Some(left) => {
                self.left = left;
                true
            }
            None => {
                self.left = 0;
                false
            }
        }
    }

    fn lineage(&self, table: scope::Table) -> Lineage {
        // Whatever was cut short may be anywhere in it.
        if self.left == 0 {
            return Lineage::unknown();
        }
        let Some(columns) = table.columns else {
            return Lineage::Each(table.all);
        };
        let told = |column: scope::Column| OutputColumn {
            name: column.name.sure(),
            carried: column.carried,
        };
        Lineage::Columns(columns.into_iter().map(told).collect())
    }
}

/// Bytes that choose words, or are the text: no panic, and what is said of a result is said again.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn holds(text: &str) {
    struct Any;
    impl Columns for Any {
        fn of(&self, relation: &RelationName) -> Option<Shape> {
            let rows = match relation.name.len() % 3 {
                0 => return None,
                1 => Rows::Stored,
                _ => Rows::Computed,
            };
            let columns = ["a", "b", "c"].map(Arc::from).to_vec();
            Some(Shape { columns, rows })
        }
    }
    let lineage = trace(Dialect::Postgres, text, &Any);
    assert_eq!(lineage, trace(Dialect::Postgres, text, &Any));
}

#[cfg(test)]
mod tests;
