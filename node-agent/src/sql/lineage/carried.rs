//! Sets of columns.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::sql::RelationName;

/// A column of a relation, as the text names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Base {
    /// The relation.
    pub relation: Arc<RelationName>,
    /// The column.
    pub column: Arc<str>,
}

/// What a value can be made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carried {
    /// Anything.
    Unknown,
    /// These columns, and what the text itself says.
    Of(BTreeSet<Base>),
}

impl Carried {
    /// No column at all.
    pub fn nothing() -> Self {
        Carried::Of(BTreeSet::new())
    }

    /// One column.
    pub(super) fn one(relation: &Arc<RelationName>, column: &Arc<str>) -> Self {
        Carried::Of(BTreeSet::from([Base {
            relation: relation.clone(),
            column: column.clone(),
        }]))
    }

    /// How many columns: what it costs to add it to another.
    pub(super) fn size(&self) -> usize {
        match self {
            Carried::Unknown => 0,
            Carried::Of(bases) => bases.len(),
        }
    }

    pub(super) fn add(&mut self, more: &Carried) {
        match (&mut *self, more) {
            (Carried::Unknown, _) => {}
            (_, Carried::Unknown) => *self = Carried::Unknown,
            (Carried::Of(bases), Carried::Of(more)) => bases.extend(more.iter().cloned()),
        }
    }

    pub(super) fn with(mut self, more: &Carried) -> Self {
        self.add(more);
        self
    }
}
