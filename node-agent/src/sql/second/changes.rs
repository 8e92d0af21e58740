//! INSERT, UPDATE, DELETE and MERGE.

use sqlparser::ast::{
    Assignment, AssignmentTarget, Delete, FromTable, Insert, Merge, MergeAction, MergeInsertKind,
    MergeUpdateKind, OnConflictAction, OnInsert, OutputClause, Statement, TableFactor, TableObject,
    Update, UpdateTableFromKind,
};

use super::walk::Walk;
use crate::sql::{StatementKind, Touch};

impl<'a> Walk<'a> {
    /// INSERT, UPDATE, DELETE or MERGE inside a WITH.
    pub(super) fn changes(&mut self, statement: &'a Statement) {
        match statement {
            Statement::Insert(insert) => self.insert(insert),
            Statement::Update(update) => self.update(update),
            Statement::Delete(delete) => self.delete(delete),
            Statement::Merge(merge) => self.merge(merge),
            _ => self.others(),
        }
    }

    pub(super) fn insert(&mut self, insert: &'a Insert) {
        self.kind(StatementKind::Insert);
        let TableObject::TableName(name) = &insert.table else {
            return self.others();
        };
        self.touch(name, Touch::Insert);
        if let Some(source) = &insert.source {
            self.query(source);
        }
        match &insert.on {
            Some(OnInsert::OnConflict(conflict)) => match &conflict.action {
                OnConflictAction::DoNothing => {}
                OnConflictAction::DoUpdate(update) => {
                    self.kind(StatementKind::Update);
                    self.touch(name, Touch::Update);
                    self.assignments(&update.assignments);
                    self.exprs(&update.selection);
                }
            },
            Some(OnInsert::DuplicateKeyUpdate(_)) => self.others(),
            Some(_) => self.others(),
            None => {}
        }
        self.items(insert.returning.as_deref().unwrap_or_default());
        if insert.or.is_some()
            || insert.ignore
            || insert.overwrite
            || !insert.assignments.is_empty()
            || insert.partitioned.is_some()
            || insert.output.is_some()
            || insert.replace_into
            || insert.insert_alias.is_some()
            || insert.settings.is_some()
            || insert.format_clause.is_some()
            || insert.multi_table_insert_type.is_some()
            || !insert.multi_table_into_clauses.is_empty()
            || !insert.multi_table_when_clauses.is_empty()
            || insert.multi_table_else_clause.is_some()
        {
            self.others();
        }
    }

    pub(super) fn assignments(&mut self, assignments: &'a [Assignment]) {
        for assignment in assignments {
            match &assignment.target {
                AssignmentTarget::ColumnName(_) | AssignmentTarget::Tuple(_) => {}
            }
            self.expr(&assignment.value);
        }
    }

    /// The table that a statement changes: never a CTE.
    pub(super) fn target(&mut self, factor: &'a TableFactor, touch: Touch) {
        match factor {
            TableFactor::Table {
                name, args: None, ..
            } => self.touch(name, touch),
            _ => self.others(),
        }
    }

    pub(super) fn update(&mut self, update: &'a Update) {
        self.kind(StatementKind::Update);
        self.target(&update.table.relation, Touch::Update);
        self.joins(&update.table);
        if !update.table.joins.is_empty() {
            self.others();
        }
        self.assignments(&update.assignments);
        match &update.from {
            Some(UpdateTableFromKind::AfterSet(from)) => self.from(from),
            Some(UpdateTableFromKind::BeforeSet(from)) => {
                self.from(from);
                self.others();
            }
            None => {}
        }
        self.missing_where |= update.selection.is_none();
        self.exprs(&update.selection);
        self.items(update.returning.as_deref().unwrap_or_default());
        if update.output.is_some()
            || update.or.is_some()
            || !update.order_by.is_empty()
            || update.limit.is_some()
        {
            self.others();
        }
    }

    pub(super) fn delete(&mut self, delete: &'a Delete) {
        self.kind(StatementKind::Delete);
        let from = match &delete.from {
            FromTable::WithFromKeyword(from) => from,
            FromTable::WithoutKeyword(from) => {
                self.others();
                from
            }
        };
        if let [only] = from.as_slice()
            && only.joins.is_empty()
        {
            self.target(&only.relation, Touch::Delete);
        } else {
            self.others();
        }
        self.from(delete.using.as_deref().unwrap_or_default());
        self.missing_where |= delete.selection.is_none();
        self.exprs(&delete.selection);
        self.items(delete.returning.as_deref().unwrap_or_default());
        if !delete.tables.is_empty()
            || delete.output.is_some()
            || !delete.order_by.is_empty()
            || delete.limit.is_some()
        {
            self.others();
        }
    }

    pub(super) fn merge(&mut self, merge: &'a Merge) {
        self.kind(StatementKind::Merge);
        self.factor(&merge.source);
        self.expr(&merge.on);
        for clause in &merge.clauses {
            self.exprs(&clause.predicate);
            let touch = match &clause.action {
                MergeAction::Insert(insert) => {
                    match &insert.kind {
                        MergeInsertKind::Values(values) => self.values(values),
                        MergeInsertKind::Row | MergeInsertKind::Wildcard => self.others(),
                    }
                    self.exprs(&insert.insert_predicate);
                    Touch::Insert
                }
                MergeAction::Update(update) => {
                    match &update.kind {
                        MergeUpdateKind::Set(assignments) => self.assignments(assignments),
                        MergeUpdateKind::Wildcard => self.others(),
                    }
                    if update.update_predicate.is_some() || update.delete_predicate.is_some() {
                        self.others();
                    }
                    Touch::Update
                }
                MergeAction::Delete { .. } => Touch::Delete,
                MergeAction::DoNothing { .. } => Touch::Read,
            };
            self.target(&merge.table, touch);
        }
        match &merge.output {
            Some(OutputClause::Returning { select_items, .. }) => self.items(select_items),
            Some(OutputClause::Output { .. }) => self.others(),
            None => {}
        }
    }
}
