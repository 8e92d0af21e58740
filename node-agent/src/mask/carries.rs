//! Pure. Whether a column of a result can carry a masked one: what the text says that it is made of,
//! followed through views and generated columns down to what is stored.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::pattern::{fits, of_table};
use super::{Attribute, Made, Relations};
use crate::policy::{ColumnPattern, MaskRule, ResolvedNames};
use crate::sql::{Base, Carried, Columns, RelationName, Rows, Shape, TEMPORARY};

/// Columns that are followed for one result.
const MOST: usize = 100_000;

/// What a column can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Carries {
    /// No masked column.
    Clear,
    /// One at least.
    Masked,
    /// Nobody knows.
    Unknown,
}

/// Schemas of which nothing is followed: the server's own relations hold samples of others and are made
/// by its functions; whose a temporary relation is, its name does not say.
fn is_apart(schema: &str) -> bool {
    ["pg_catalog", "information_schema", TEMPORARY, "pg_toast"]
        .iter()
        .any(|apart| schema == *apart || schema.starts_with(&format!("{apart}_")))
}

/// The relations of a catalogue, under the names that a text was judged with.
pub(super) struct Judged<'a> {
    pub(super) names: &'a ResolvedNames,
    pub(super) relations: &'a dyn Relations,
}

impl Judged<'_> {
    /// All that a name may stand for; `None`: nobody knows.
    fn candidates(&self, name: &RelationName) -> Option<Vec<u32>> {
        let schemas = self.names.schemas(name)?;
        let numbers = schemas.map(|schema| match is_apart(schema) {
            true => None,
            false => self.relations.relation(schema, &name.name),
        });
        let numbers: Vec<u32> = numbers.collect::<Option<_>>()?;
        (!numbers.is_empty()).then_some(numbers)
    }

    /// Whether the text's words for a column can be about this one.
    pub(super) fn hold(&self, carried: &Carried, attribute: &Attribute<'_>) -> bool {
        let Carried::Of(bases) = carried else {
            return true;
        };
        bases.iter().any(|base| {
            *base.column == *attribute.column
                && base.relation.name == attribute.table
                && self
                    .names
                    .schemas(&base.relation)
                    .is_none_or(|mut schemas| schemas.any(|schema| schema == attribute.schema))
        })
    }
}

impl Judged<'_> {
    /// Whether the text's words for a whole row can be about one of this relation.
    pub(super) fn hold_relation(&self, carried: &Carried, relation: u32) -> bool {
        let Carried::Of(bases) = carried else {
            return false;
        };
        bases.iter().any(|base| {
            self.candidates(&base.relation)
                .is_some_and(|candidates| candidates.contains(&relation))
        })
    }
}

impl Columns for Judged<'_> {
    fn of(&self, relation: &RelationName) -> Option<Shape> {
        let candidates = self.candidates(relation)?;
        let mut shapes = candidates
            .into_iter()
            .map(|number| shape(self.relations, number));
        let first = shapes.next()??;
        shapes
            .all(|other| other.as_ref() == Some(&first))
            .then_some(first)
    }
}

/// The shape of a relation.
pub fn shape(relations: &dyn Relations, relation: u32) -> Option<Shape> {
    let columns = relations.columns(relation)?;
    let rows = match relations.stored(relation) && !relations.ruled(relation) {
        true => Rows::Stored,
        false => Rows::Computed,
    };
    Some(Shape { columns, rows })
}

/// Columns that the values of one can come from, at most.
const SOURCES: usize = 1_000;

/// Every column (schema, table, column) that the values of a relation's column can come from, itself
/// among them, and under the names by which masks hold for it; `None`: nobody knows.
pub fn sources(
    relations: &dyn Relations,
    relation: u32,
    column: &Arc<str>,
) -> Option<Vec<(String, String, String)>> {
    let mut seen = HashSet::from([(relation, column.clone())]);
    let mut below = vec![(relation, column.clone())];
    let mut found = BTreeSet::new();
    while let Some((relation, column)) = below.pop() {
        let own = relations.name(relation)?;
        for (schema, table) in relations.ancestors(relation).into_iter().chain([own]) {
            found.insert((schema.to_owned(), table.to_owned(), column.to_string()));
        }
        if found.len() > SOURCES {
            return None;
        }
        match relations.made(relation, &column) {
            Made::Stored => {}
            Made::Unknown => return None,
            Made::Of(bases) => {
                for base in bases {
                    let next = (named(relations, &base.relation)?, base.column);
                    if seen.insert(next.clone()) {
                        below.push(next);
                    }
                }
            }
        }
    }
    Some(found.into_iter().collect())
}

/// A relation by its whole name.
fn named(relations: &dyn Relations, name: &RelationName) -> Option<u32> {
    let schema = name.schema.as_deref()?;
    match is_apart(schema) {
        true => None,
        false => relations.relation(schema, &name.name),
    }
}

/// Follows columns down.
pub(super) struct Following<'a> {
    relations: &'a dyn Relations,
    masks: &'a [MaskRule],
    /// Of each relation, the patterns that are about it, under its own name or another's whose masks hold
    /// for it.
    patterns: HashMap<u32, Vec<ColumnPattern>>,
    known: HashMap<(u32, Arc<str>), Carries>,
    left: usize,
}

impl<'a> Following<'a> {
    pub(super) fn new(relations: &'a dyn Relations, masks: &'a [MaskRule]) -> Self {
        Following {
            relations,
            masks,
            patterns: HashMap::new(),
            known: HashMap::new(),
            left: MOST,
        }
    }

    /// What a column of the result carries, by the text's words for it.
    pub(super) fn carries(&mut self, judged: &Judged<'_>, carried: &Carried) -> Carries {
        let Carried::Of(bases) = carried else {
            return Carries::Unknown;
        };
        let mut found = Carries::Clear;
        for base in bases {
            let Some(candidates) = judged.candidates(&base.relation) else {
                return Carries::Unknown;
            };
            for relation in candidates {
                found = found.max(self.column(relation, &base.column));
            }
        }
        found
    }

    /// What one column of a relation carries.
    pub(super) fn column(&mut self, relation: u32, column: &Arc<str>) -> Carries {
        let start = (relation, column.clone());
        if let Some(known) = self.known.get(&start) {
            return *known;
        }
        let mut found = Carries::Clear;
        let mut seen = HashSet::from([start.clone()]);
        let mut below = vec![start.clone()];
        while let Some((relation, column)) = below.pop() {
            let Some(left) = self.left.checked_sub(1) else {
                return Carries::Unknown;
            };
            self.left = left;
            if let Some(known) = self.known.get(&(relation, column.clone())) {
                found = found.max(*known);
                continue;
            }
            if self.is_masked(relation, &column) {
                found = found.max(Carries::Masked);
            }
            match self.relations.made(relation, &column) {
                Made::Stored => {}
                Made::Unknown => found = Carries::Unknown,
                Made::Of(bases) => {
                    for Base { relation, column } in bases {
                        match named(self.relations, &relation) {
                            Some(number) => {
                                if seen.insert((number, column.clone())) {
                                    below.push((number, column));
                                }
                            }
                            None => found = Carries::Unknown,
                        }
                    }
                }
            }
        }
        self.known.insert(start, found);
        found
    }

    fn is_masked(&mut self, relation: u32, column: &str) -> bool {
        let (relations, masks) = (self.relations, self.masks);
        let patterns = self.patterns.entry(relation).or_insert_with(|| {
            let mut names = relations.ancestors(relation);
            names.extend(relations.name(relation));
            // Tags and former names of a relation that no column of the result shows count as well.
            let classified = relations.classified(relation);
            let about = |pattern: &ColumnPattern| {
                let mut names = names.iter();
                names.any(|(schema, table)| of_table(pattern, schema, table))
            };
            let bound = masks
                .iter()
                .map(|mask| mask.with_classified(classified.iter().copied()));
            bound
                .flat_map(|mask| mask.into_owned().columns)
                .filter(about)
                .collect()
        });
        patterns.iter().any(|pattern| fits(&pattern.column, column))
    }
}
