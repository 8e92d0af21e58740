//! Pure. The rows of a copy, and which of their columns it writes how.

use std::sync::Arc;

use crate::mask::Relations;
use crate::model::{ColumnOrigin, Format, ResultHead};
use crate::sql::{CopyColumns, CopyForm, CopyLayout, CopyRows, ForceQuote};

/// A copy to the client that is made of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// How it is written.
    pub layout: CopyLayout,
    /// The columns of its rows, in order.
    pub columns: Vec<CopiedColumn>,
}

/// One column of the rows that a copy is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedColumn {
    /// Its name, for the first line.
    pub name: Arc<str>,
    /// What becomes of its cells.
    pub cells: CopiedCells,
}

/// What becomes of a column's cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopiedCells {
    /// They are written, with quotes where they need them.
    Plain,
    /// They are written, always with quotes.
    Quoted,
    /// They are no part of the copy.
    LeftOut,
}

impl Copied {
    /// By the head of the rows. `None`: they are not in text form, and cannot be written.
    pub fn of(rows: &CopyRows, head: &ResultHead, relations: &dyn Relations) -> Option<Self> {
        if head.columns.iter().any(|c| c.format != Format::Text) {
            return None;
        }
        let forced = |name: &str| match &rows.layout.form {
            CopyForm::Text => false,
            CopyForm::Csv { force, .. } => match force {
                ForceQuote::All => true,
                ForceQuote::Named(names) => names.iter().any(|forced| forced == name),
            },
        };
        let columns = head.columns.iter().map(|column| CopiedColumn {
            cells: match (rows.columns, column.origin) {
                (CopyColumns::NotGenerated, ColumnOrigin::Attribute { relation, number })
                    if relations.generated(relation, number) =>
                {
                    CopiedCells::LeftOut
                }
                (CopyColumns::NotGenerated | CopyColumns::All, _) if forced(&column.name) => {
                    CopiedCells::Quoted
                }
                (CopyColumns::NotGenerated | CopyColumns::All, _) => CopiedCells::Plain,
            },
            name: column.name.clone(),
        });
        Some(Copied {
            columns: columns.collect(),
            layout: rows.layout.clone(),
        })
    }

    /// How many columns are written.
    pub fn width(&self) -> usize {
        let written = |column: &&CopiedColumn| column.cells != CopiedCells::LeftOut;
        self.columns.iter().filter(written).count()
    }
}
