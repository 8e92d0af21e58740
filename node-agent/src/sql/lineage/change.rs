//! RETURNING of what changes data: what was there, what was written, and what it was joined with.

use std::sync::Arc;

use pg_query::protobuf as pb;
use pg_query::protobuf::node::Node as N;

use super::scope::{Level, Order, Table};
use super::{Carried, Rows, Tracer};
use crate::sql::pg::names;

impl Tracer<'_> {
    pub(super) fn insert(&mut self, insert: &pb::InsertStmt) -> Table {
        self.within(insert.with_clause.as_ref(), |tracer| {
            let mut written = match insert.select_stmt.as_deref() {
                Some(source) => tracer.statement(source).all,
                None => Carried::nothing(),
            };
            tracer.levels.push(Level::empty());
            tracer.target(insert.relation.as_ref(), &Carried::nothing());
            if let Some(conflict) = &insert.on_conflict_clause {
                let excluded = insert.relation.as_ref().map(|var| pb::RangeVar {
                    alias: Some(pb::Alias {
                        aliasname: "excluded".to_owned(),
                        colnames: Vec::new(),
                    }),
                    ..var.clone()
                });
                tracer.target(excluded.as_ref(), &written);
                let set = tracer.assigned(&conflict.target_list);
                written.add(&set);
            }
            tracer.levels.pop();
            tracer.returning(
                insert.returning_clause.as_ref(),
                insert.relation.as_ref(),
                &written,
                |_| Table::of(Vec::new(), Order::Text),
            )
        })
    }

    pub(super) fn update(&mut self, update: &pb::UpdateStmt) -> Table {
        self.within(update.with_clause.as_ref(), |tracer| {
            tracer.levels.push(Level::empty());
            tracer.target(update.relation.as_ref(), &Carried::nothing());
            tracer.from(&update.from_clause);
            let written = tracer.assigned(&update.target_list);
            tracer.levels.pop();
            tracer.returning(
                update.returning_clause.as_ref(),
                update.relation.as_ref(),
                &written,
                |tracer| tracer.from(&update.from_clause),
            )
        })
    }

    pub(super) fn delete(&mut self, delete: &pb::DeleteStmt) -> Table {
        self.within(delete.with_clause.as_ref(), |tracer| {
            tracer.returning(
                delete.returning_clause.as_ref(),
                delete.relation.as_ref(),
                &Carried::nothing(),
                |tracer| tracer.from(&delete.using_clause),
            )
        })
    }

    pub(super) fn merge(&mut self, merge: &pb::MergeStmt) -> Table {
        self.within(merge.with_clause.as_ref(), |tracer| {
            tracer.levels.push(Level::empty());
            tracer.target(merge.relation.as_ref(), &Carried::nothing());
            if let Some(source) = merge.source_relation.as_deref() {
                tracer.item_of_from(source);
            }
            let mut written = Carried::nothing();
            for clause in &merge.merge_when_clauses {
                let set = match &clause.node {
                    Some(N::MergeWhenClause(clause)) => {
                        let set = tracer.assigned(&clause.target_list);
                        set.with(&tracer.all(&clause.values))
                    }
                    _ => Carried::Unknown,
                };
                written.add(&set);
            }
            tracer.levels.pop();
            tracer.returning(
                merge.returning_clause.as_ref(),
                merge.relation.as_ref(),
                &written,
                |tracer| {
                    let mut source = match merge.source_relation.as_deref() {
                        Some(source) => tracer.item_of_from(source),
                        None => Table::unknown(),
                    };
                    // Its columns stand before those of the target, or behind them.
                    source.columns = None;
                    source
                },
            )
        })
    }

    /// What is assigned, by SET or in the list of MERGE's INSERT.
    fn assigned(&mut self, targets: &[pb::Node]) -> Carried {
        let mut all = Carried::nothing();
        for target in targets {
            let carried = match &target.node {
                Some(N::ResTarget(target)) => {
                    let steps = self.all(&target.indirection);
                    steps.with(&self.optional(target.val.as_deref()))
                }
                _ => Carried::Unknown,
            };
            self.add(&mut all, &carried);
        }
        all
    }

    /// Brings the table that is changed into scope: never a CTE. Every column may hold what was written.
    fn target(&mut self, var: Option<&pb::RangeVar>, written: &Carried) -> Table {
        let Some(var) = var else {
            return Table::unknown();
        };
        let relation = Arc::new(names::relation(var));
        let table = match self.relation(&relation) {
            (mut table, Some(Rows::Stored)) => {
                table.all.add(written);
                for column in table.columns.iter_mut().flatten() {
                    column.carried.add(written);
                }
                table
            }
            // Rules and triggers say what comes of it.
            (_, Some(Rows::Computed) | None) => Table::unknown(),
        };
        let alias = var.alias.as_ref();
        let name = alias.map_or(&var.relname, |alias| &alias.aliasname);
        let own_name = alias.is_none();
        self.bring(Some(name), own_name, Some(relation), table.clone());
        self.brought_is_stored(table.columns.is_some());
        table
    }

    fn returning(
        &mut self,
        clause: Option<&pb::ReturningClause>,
        var: Option<&pb::RangeVar>,
        written: &Carried,
        joined: impl FnOnce(&mut Self) -> Table,
    ) -> Table {
        let Some(clause) = clause else {
            return Table::of(Vec::new(), Order::Text);
        };
        self.levels.push(Level::empty());
        let target = self.target(var, written);
        let joined = joined(self);
        let makes = joined.makes.clone();
        let star = target.clone().beside(&joined);
        let renamed = clause
            .options
            .iter()
            .filter_map(|option| match &option.node {
                Some(N::ReturningOption(option)) => Some(option.value.as_str()),
                _ => None,
            });
        for name in ["old", "new"].into_iter().chain(renamed) {
            self.bring(Some(name), false, None, target.clone());
        }
        if let Some(level) = self.levels.last_mut() {
            level.makes = makes;
        }
        let mut table = self.targets(&clause.exprs, &star);
        self.levels.pop();
        table.decides = Carried::Unknown;
        table
    }
}
