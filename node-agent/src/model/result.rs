//! The head of a result: columns with the origin that the wire proves.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// How a cell is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The type's text form.
    Text,
    /// The type's binary form.
    Binary,
}

/// Where a column's values come from, as far as the wire says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ColumnOrigin {
    /// The wire names no origin (expression, union, function, …).
    Unknown,
    /// PostgreSQL: table OID and attribute number. Attribute 0 is a whole row.
    Attribute {
        /// `pg_class.oid`.
        relation: u32,
        /// `pg_attribute.attnum`.
        number: i16,
    },
}

/// One column of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnHead {
    /// The output name. Says nothing about the origin.
    pub name: Arc<str>,
    /// The origin.
    pub origin: ColumnOrigin,
    /// The type: `pg_type.oid`, or the MySQL column type.
    pub type_id: u32,
    /// The encoding of its cells.
    pub format: Format,
}

/// All columns of a result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultHead {
    /// In order.
    pub columns: Vec<ColumnHead>,
}
