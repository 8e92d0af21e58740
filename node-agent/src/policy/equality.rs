//! Masks whose columns may be compared for equality and decide nothing else.
//!
//! What may be asked is "is it this?", of a value that the client names itself; everything that tells
//! more of a value than that (an order, a pattern, a piece of it, which values are the same) stays
//! refused. Where nobody can show that a name is the column itself, it counts as something else.

use super::compile::CompiledMask;
use super::judge::Judge;
use super::masked;
use super::names::Candidates;
use crate::sql::{RelationUse, StatementFacts};

/// Whether whatever a mask protects decides by equality at most in a statement.
pub(super) fn only(judge: &Judge<'_>, mask: &CompiledMask, facts: &StatementFacts) -> bool {
    let deciding = masked::deciding(judge, facts, mask);
    if deciding.is_empty() {
        return true;
    }
    let plain = facts
        .relations
        .iter()
        .filter(|used| masked::on(judge, mask, used))
        .all(|used| is_its_own(judge, mask, used));
    let renamed = |name: &str| facts.carries.iter().any(|carry| carry.to == name);
    let operators = &judge.question.names.operators;
    let servers_own = operators.iter().all(|(operator, _)| operator != "=");
    plain
        && servers_own
        && deciding.iter().all(|column| {
            facts.equated.contains(column)
                && mask.columns.iter().any(|c| c.column.matches(&column.name))
                && !renamed(&column.name)
                && !facts.rows.contains(&column.name)
        })
}

/// A table that the mask names, whose columns are its own: a view's may be made from a piece of a
/// value, under the same name.
fn is_its_own(judge: &Judge<'_>, mask: &CompiledMask, used: &RelationUse) -> bool {
    let relation = &used.relation;
    let names = &judge.question.names;
    !names.is_unknown(relation)
        && !names.is_opaque(relation)
        && names.reached(relation).next().is_none()
        && Candidates::of(judge.question, relation).all(|schema| {
            schema.is_some_and(|schema| {
                let meets = |c: &super::pattern::ColumnName| {
                    c.of.schema.meets(schema) && c.of.table.meets(&relation.name)
                };
                mask.columns.iter().any(meets)
            })
        })
}
