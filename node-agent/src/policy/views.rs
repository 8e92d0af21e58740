//! Columns of views that may show what a mask protects, under whatever name.

use std::collections::HashSet;

use super::compile::CompiledMask;
use super::judge::Judge;
use super::{ViewColumn, masked};
use crate::sql::StatementFacts;

/// The names of such columns of the views that a statement uses.
pub(super) fn shown(
    judge: &Judge<'_>,
    masks: &[&CompiledMask],
    facts: &StatementFacts,
) -> HashSet<String> {
    let question = judge.question;
    let mut names = HashSet::new();
    for (relation, columns) in &question.names.views {
        let mut uses = facts
            .relations
            .iter()
            .filter(|used| used.relation == *relation);
        let Some(used) = uses.next() else { continue };
        let about: Vec<&CompiledMask> = masks
            .iter()
            .copied()
            .filter(|mask| masked::on(judge, mask, used))
            .collect();
        let carries = |column: &&ViewColumn| match &column.from {
            // What it is made of, nobody knows.
            None => !about.is_empty(),
            Some(bases) => bases.iter().any(|(schema, table, base)| {
                about.iter().flat_map(|mask| &mask.columns).any(|c| {
                    c.of.schema.meets(schema) && c.of.table.meets(table) && c.column.matches(base)
                })
            }),
        };
        names.extend(
            columns
                .iter()
                .filter(carries)
                .map(|column| column.name.clone()),
        );
    }
    names
}
