//! What a database holds, in a file: relations with their columns, and functions. Policies are
//! checked against it (`check/catalogue.rs`), and explanations resolve names by it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{ApiVersion, Classified, ResolvedNames, Tag};
use crate::sql::{Analysis, RelationName};

/// What is wrong with an inventory.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// It is not one, or of another version.
    #[error("not a catalogue as `node-agent catalogue dump` writes it: {0}")]
    Unreadable(#[from] serde_json::Error),
}

/// The only kind of such a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InventoryKind {
    /// `Catalogue`
    Catalogue,
}

/// The relations and functions of one database, as one role sees them. The server's own schemas
/// are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    /// `node-agent/v1`
    #[serde(rename = "apiVersion")]
    pub api_version: ApiVersion,
    /// `Catalogue`
    pub kind: InventoryKind,
    /// The target, where it was read of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The database.
    pub database: String,
    /// Tables, views and the like.
    pub relations: Vec<Table>,
    /// Functions and procedures that did not come with the server.
    #[serde(default)]
    pub functions: Vec<Routine>,
}

/// A relation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// `table`, `view`, `materialized view`, `partitioned table`, `foreign table`.
    pub kind: String,
    /// Its columns, in their order.
    pub columns: Vec<Column>,
    /// Tags in its comment: they are those of all its columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// `[schema, name]` of what its rows can come from, and whose masks hold for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reaches: Vec<(String, String)>,
    /// Code makes its rows; what that reads, nothing shows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_code: bool,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, as the server writes it.
    #[serde(rename = "type")]
    pub of: String,
    /// Tags in its comment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
}

/// A function.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Routine {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// How many arguments it takes.
    pub arguments: usize,
}

impl Inventory {
    /// An empty one.
    pub fn new(target: Option<String>, database: String) -> Self {
        Inventory {
            api_version: ApiVersion::V1,
            kind: InventoryKind::Catalogue,
            target,
            database,
            relations: Vec::new(),
            functions: Vec::new(),
        }
    }

    /// Reads the file's text.
    ///
    /// # Errors
    /// It is something else.
    pub fn read(text: &str) -> Result<Self, InventoryError> {
        Ok(serde_json::from_str(text)?)
    }

    /// What the names of a text can stand for, as the agent resolves them: every schema that has
    /// the name is a candidate, and a name that is not there is left out.
    pub fn resolve(&self, analysis: &Analysis) -> ResolvedNames {
        let mut resolved = ResolvedNames::default();
        let mut by_name: BTreeMap<&str, Vec<&Table>> = BTreeMap::new();
        for table in &self.relations {
            by_name.entry(&table.name).or_default().push(table);
        }
        let wanted: BTreeSet<(Option<&str>, &str)> = analysis
            .judged()
            .flat_map(|facts| &facts.relations)
            .map(|used| (used.relation.schema.as_deref(), used.relation.name.as_str()))
            .collect();
        for (schema, name) in wanted {
            let found: Vec<&Table> = by_name
                .get(name)
                .into_iter()
                .flatten()
                .copied()
                .filter(|table| schema.is_none_or(|schema| schema == table.schema))
                .collect();
            if found.is_empty() {
                continue;
            }
            let relation = RelationName {
                schema: schema.map(str::to_owned),
                name: name.to_owned(),
            };
            let reached: BTreeSet<(String, String)> = found
                .iter()
                .flat_map(|table| table.reaches.clone())
                .collect();
            if found.iter().any(|table| table.by_code) {
                resolved.opaque.push(relation.clone());
            }
            for table in &found {
                let own = (&table.schema, &table.name);
                let all = self.relations.iter().filter(|one| {
                    let one = (&one.schema, &one.name);
                    one == own || table.reaches.iter().any(|(s, n)| one == (s, n))
                });
                for one in all.flat_map(Table::classified) {
                    if !resolved.classified.contains(&one) {
                        resolved.classified.push(one);
                    }
                }
            }
            if !reached.is_empty() {
                let reached = reached.into_iter().collect();
                resolved.reaches.push((relation.clone(), reached));
            }
            let schemas = found.iter().map(|table| table.schema.clone()).collect();
            resolved.relations.push((relation, schemas));
        }
        resolved
    }
}

impl Table {
    /// What its comments classify.
    pub(super) fn classified(&self) -> Vec<Classified> {
        let one = |column: &str, tags: &[Tag]| Classified {
            schema: self.schema.clone(),
            table: self.name.clone(),
            column: column.to_owned(),
            tags: tags.to_vec(),
            formerly: Vec::new(),
        };
        let whole = (!self.tags.is_empty()).then(|| one("*", &self.tags));
        let columns = self.columns.iter().filter(|column| !column.tags.is_empty());
        whole
            .into_iter()
            .chain(columns.map(|column| one(&column.name, &column.tags)))
            .collect()
    }
}
