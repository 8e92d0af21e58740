//! SELECT and the changes of data, with the scopes of their CTEs.

use pg_query::protobuf as pb;
use pg_query::protobuf::node::Node as N;

use super::attribute::CallInFrom;
use super::names;
use super::settings;
use super::walk::Walk;
use crate::sql::second::Misread;
use crate::sql::{ColumnRole, StatementKind, Touch};

impl Walk {
    pub(super) fn select(&mut self, select: &pb::SelectStmt) {
        let values = !select.values_lists.is_empty();
        // VALUES inside another statement reads nothing by itself.
        if !values || self.facts.kinds.is_empty() {
            self.kind(StatementKind::Select);
        }
        self.scopes.push(Vec::new());
        self.with_clause(select.with_clause.as_ref());
        let around = std::mem::replace(&mut self.looked_up, settings::looked_up(select));
        match &select.into_clause {
            Some(into) => {
                if select.target_list.is_empty() {
                    self.misread(Misread::Statement(
                        "the second parser takes INTO behind an empty select list for a column",
                    ));
                }
                self.define(StatementKind::Create, into.rel.as_ref());
                self.with_role(ColumnRole::Source, |w| w.select_body(select));
            }
            None => self.select_body(select),
        }
        self.looked_up = around;
        self.scopes.pop();
    }

    fn select_body(&mut self, select: &pb::SelectStmt) {
        let mark = self.mark();
        if let (Some(left), Some(right)) = (&select.larg, &select.rarg) {
            self.select(left);
            self.select(right);
            let from = self.names_since(mark);
            for name in names::select_names(select) {
                self.carry(&name, &from);
            }
            let keeps_all = select.op() == pb::SetOperation::SetopUnion && select.all;
            // All but UNION ALL compare the rows; ORDER BY of a set operation names its columns
            // by output name or position.
            if !keeps_all || !select.sort_clause.is_empty() {
                self.predicates_since(mark);
            }
            self.limits(select);
            return;
        }
        // FROM first: its names stand for rows in everything else.
        self.nodes(&select.from_clause);
        let mark = self.mark();
        for target in &select.target_list {
            let mark = self.mark();
            self.node(target);
            let from = self.names_since(mark);
            for name in names::target_names(target) {
                self.carry(&name, &from);
            }
        }
        for row in &select.values_lists {
            if let Some(N::List(list)) = &row.node {
                for (i, value) in list.items.iter().enumerate() {
                    let mark = self.mark();
                    self.node(value);
                    let from = self.names_since(mark);
                    if !from.is_empty() {
                        self.carry(&format!("column{}", i + 1), &from);
                    }
                }
            }
        }
        if !select.distinct_clause.is_empty() {
            // DISTINCT compares every output; DISTINCT ON what it names. The plain form is a list
            // with one empty node.
            if select.distinct_clause.iter().all(|n| n.node.is_none()) {
                self.predicates_since(mark);
            } else {
                self.by_position(&select.distinct_clause, &select.target_list);
            }
        }
        self.predicate(|w| {
            w.optional(select.where_clause.as_deref());
            w.optional(select.having_clause.as_deref());
            w.nodes(&select.window_clause);
        });
        self.by_position(&select.group_clause, &select.target_list);
        self.by_position(&select.sort_clause, &select.target_list);
        self.limits(select);
    }

    fn limits(&mut self, select: &pb::SelectStmt) {
        self.predicate(|w| {
            w.optional(select.limit_offset.as_deref());
            w.optional(select.limit_count.as_deref());
        });
        for clause in &select.locking_clause {
            self.kind(StatementKind::Lock);
            if let Some(N::LockingClause(clause)) = &clause.node {
                self.locked(clause, &select.from_clause);
            }
        }
    }

    /// The tables a FOR UPDATE locks: those it names (by alias or name), or all in FROM.
    fn locked(&mut self, clause: &pb::LockingClause, from: &[pb::Node]) {
        let named: Vec<&str> = clause
            .locked_rels
            .iter()
            .filter_map(|n| match &n.node {
                Some(N::RangeVar(var)) => Some(var.relname.as_str()),
                _ => None,
            })
            .collect();
        for item in from {
            self.lock_item(item, &named);
        }
    }

    fn lock_item(&mut self, item: &pb::Node, named: &[&str]) {
        match &item.node {
            Some(N::RangeVar(var)) => {
                let alias = var.alias.as_ref().map_or(&var.relname, |a| &a.aliasname);
                if (named.is_empty() || named.contains(&alias.as_str())) && !self.is_cte(var) {
                    self.touch_var(Some(var), Touch::Lock);
                }
            }
            Some(N::JoinExpr(join)) => {
                for side in [&join.larg, &join.rarg].into_iter().flatten() {
                    self.lock_item(side, named);
                }
            }
            // FOR UPDATE reaches into subqueries too.
            Some(N::RangeSubselect(sub)) => {
                if let Some(N::SelectStmt(select)) =
                    sub.subquery.as_ref().and_then(|n| n.node.as_ref())
                {
                    for item in &select.from_clause {
                        self.lock_item(item, &[]);
                    }
                }
            }
            _ => {}
        }
    }

    /// Items of GROUP BY, ORDER BY and DISTINCT ON: an integer means a position in the select
    /// list.
    fn by_position(&mut self, items: &[pb::Node], targets: &[pb::Node]) {
        for item in items {
            match &item.node {
                Some(N::SortBy(sort)) => {
                    self.operator_name(&sort.use_op);
                    if let Some(inner) = &sort.node {
                        self.by_position(std::slice::from_ref(inner), targets);
                    }
                }
                Some(N::GroupingSet(set)) => self.by_position(&set.content, targets),
                // `GROUP BY (1, 2)` is `GROUP BY 1, 2` (flatten_grouping_sets).
                Some(N::RowExpr(row)) => self.by_position(&row.args, targets),
                Some(N::AConst(_)) => {
                    let position = names::literal(item).and_then(|n| n.parse::<usize>().ok());
                    let target = position.and_then(|n| targets.get(n.saturating_sub(1)));
                    // A star before it moves the position: then every target is meant.
                    let star = targets
                        .iter()
                        .any(|t| names::target_names(t).iter().any(|n| n == "*"));
                    self.predicate(|w| match target {
                        Some(target) if !star => w.node(target),
                        _ => w.nodes(targets),
                    });
                }
                _ => self.predicate(|w| w.node(item)),
            }
        }
    }

    pub(super) fn with_clause(&mut self, with: Option<&pb::WithClause>) {
        let Some(with) = with else { return };
        let names = with.ctes.iter().filter_map(|cte| match &cte.node {
            Some(N::CommonTableExpr(cte)) => Some(cte.ctename.clone()),
            _ => None,
        });
        if with.recursive {
            // With RECURSIVE every name is visible in every body.
            let names: Vec<String> = names.collect();
            if let Some(scope) = self.scopes.last_mut() {
                scope.extend(names);
            }
        }
        for cte in &with.ctes {
            self.node(cte);
            // Without, a name is visible only after its own body.
            if let (false, Some(N::CommonTableExpr(cte)), Some(scope)) =
                (with.recursive, &cte.node, self.scopes.last_mut())
            {
                scope.push(cte.ctename.clone());
            }
        }
    }

    pub(super) fn cte(&mut self, cte: &pb::CommonTableExpr) {
        self.derived = true;
        let mark = self.mark();
        self.optional(cte.ctequery.as_deref());
        let from = self.names_since(mark);
        for name in names::texts(&cte.aliascolnames) {
            self.carry(name, &from);
        }
        if let Some(search) = &cte.search_clause {
            self.carry(&search.search_seq_column, &from);
        }
        if let Some(cycle) = &cte.cycle_clause {
            // Rows end where these come again.
            for name in names::texts(&cycle.cycle_col_list) {
                self.column(Vec::new(), name.to_owned(), ColumnRole::Predicate);
            }
            self.carry(&cycle.cycle_mark_column, &from);
            self.carry(&cycle.cycle_path_column, &from);
            self.optional(cycle.cycle_mark_value.as_deref());
            self.optional(cycle.cycle_mark_default.as_deref());
        }
    }

    fn is_cte(&self, var: &pb::RangeVar) -> bool {
        var.schemaname.is_empty()
            && var.catalogname.is_empty()
            && self.scopes.iter().any(|scope| scope.contains(&var.relname))
    }

    pub(super) fn table_in_from(&mut self, var: &pb::RangeVar) {
        if !self.is_cte(var) {
            self.touch_var(Some(var), Touch::Read);
        }
        self.only(var);
        self.row_names(&var.relname, var.alias.as_ref(), &["*".to_owned()]);
    }

    fn only(&mut self, var: &pb::RangeVar) {
        if !var.inh {
            self.misread(Misread::Statement(
                "the second parser takes ONLY for the name of a table",
            ));
        }
    }

    /// A FROM item's name stands for a whole row, its alias list renames columns.
    fn row_names(&mut self, name: &str, alias: Option<&pb::Alias>, from: &[String]) {
        let name = alias.map_or(name, |a| a.aliasname.as_str());
        if !name.is_empty() {
            self.facts.rows.push(name.to_owned());
        }
        for column in alias.map(|a| names::texts(&a.colnames)).unwrap_or_default() {
            self.carry(column, from);
        }
    }

    pub(super) fn join(&mut self, join: &pb::JoinExpr) {
        self.optional(join.larg.as_deref());
        self.optional(join.rarg.as_deref());
        if join.is_natural || !join.using_clause.is_empty() {
            self.an_operator("=");
        }
        if join.is_natural {
            // Which columns are compared, the text does not say.
            self.column(Vec::new(), "*".to_owned(), ColumnRole::Predicate);
        }
        for name in names::texts(&join.using_clause) {
            self.column(Vec::new(), name.to_owned(), ColumnRole::Predicate);
        }
        self.predicate(|w| w.optional(join.quals.as_deref()));
        for alias in [&join.join_using_alias, &join.alias].into_iter().flatten() {
            self.row_names("", Some(alias), &["*".to_owned()]);
        }
    }

    pub(super) fn subselect_in_from(&mut self, sub: &pb::RangeSubselect) {
        self.derived = true;
        let mark = self.mark();
        self.optional(sub.subquery.as_deref());
        let from = self.names_since(mark);
        self.row_names("", sub.alias.as_ref(), &from);
    }

    pub(super) fn function_in_from(&mut self, function: &pb::RangeFunction) {
        self.derived = true;
        let mark = self.mark();
        let mut last = String::new();
        for item in &function.functions {
            // A list: the call and its column definitions.
            match many_unnested(item) {
                Some(arrays) => {
                    // As many rows as the longest has elements.
                    self.predicate(|w| w.nodes(arrays));
                    self.function(&["pg_catalog", "unnest"], 1);
                }
                None => self.node(item),
            }
            if let Some(N::List(list)) = &item.node
                && let Some(call) = list.items.first()
                && let Some(name) = names::output_names(Some(call)).pop()
            {
                let bare = match &call.node {
                    Some(N::SqlvalueFunction(_)) => true,
                    Some(N::FuncCall(call)) => {
                        names::texts(&call.funcname).ends_with(&["system_user"])
                    }
                    _ => false,
                };
                if bare {
                    self.misread(Misread::Statement(
                        "the second parser takes CURRENT_DATE and its like in FROM for a table",
                    ));
                }
                last = name;
            }
        }
        self.calls_in_from.push(CallInFrom::of(function, &last));
        let from = self.names_since(mark);
        self.computed_in_from(&last, function.alias.as_ref(), &from);
        for column in &function.coldeflist {
            if let Some(N::ColumnDef(column)) = &column.node {
                self.type_name(column.type_name.as_ref());
                self.carry(&column.colname, &from);
            }
        }
    }

    fn computed_in_from(&mut self, name: &str, alias: Option<&pb::Alias>, from: &[String]) {
        // A function yielding a scalar has one column, named as its alias.
        let shown = alias.map_or(name, |a| a.aliasname.as_str()).to_owned();
        self.carry(&shown, from);
        self.row_names(name, alias, from);
    }

    pub(super) fn xml_table(&mut self, table: &pb::RangeTableFunc) {
        self.derived = true;
        let mark = self.mark();
        self.predicate(|w| {
            w.nodes(&table.namespaces);
            w.optional(table.docexpr.as_deref());
            w.optional(table.rowexpr.as_deref());
            w.nodes(&table.columns);
        });
        let from = self.names_since(mark);
        for column in &table.columns {
            if let Some(N::RangeTableFuncCol(column)) = &column.node {
                self.carry(&column.colname, &from);
            }
        }
        self.computed_in_from("xmltable", table.alias.as_ref(), &from);
    }

    pub(super) fn json_table(&mut self, table: &pb::JsonTable) {
        self.derived = true;
        let mark = self.mark();
        self.predicate(|w| {
            w.json_value(table.context_item.as_deref());
            w.nodes(&table.passing);
            if let Some(path) = &table.pathspec {
                w.optional(path.string.as_deref());
            }
            w.nodes(&table.columns);
            if let Some(behaviour) = &table.on_error {
                w.optional(behaviour.expr.as_deref());
            }
        });
        let from = self.names_since(mark);
        self.json_column_names(&table.columns, &from);
        self.computed_in_from("json_table", table.alias.as_ref(), &from);
    }

    fn json_column_names(&mut self, columns: &[pb::Node], from: &[String]) {
        for column in columns {
            if let Some(N::JsonTableColumn(column)) = &column.node {
                if !column.name.is_empty() {
                    self.carry(&column.name, from);
                }
                self.json_column_names(&column.columns, from);
            }
        }
    }

    pub(super) fn json_table_column(&mut self, column: &pb::JsonTableColumn) {
        self.nodes(&column.columns);
        self.type_name(column.type_name.as_ref());
        for behaviour in [&column.on_empty, &column.on_error].into_iter().flatten() {
            self.optional(behaviour.expr.as_deref());
        }
    }

    pub(super) fn insert(&mut self, insert: &pb::InsertStmt) {
        self.kind(StatementKind::Insert);
        self.scopes.push(Vec::new());
        self.with_role(ColumnRole::Source, |w| {
            w.with_clause(insert.with_clause.as_ref())
        });
        self.target(insert.relation.as_ref(), Touch::Insert);
        if insert.cols.is_empty() && insert.select_stmt.is_some() {
            // The first so many columns of the table: which these are, the text does not say.
            self.column(Vec::new(), "*".to_owned(), ColumnRole::Written);
        }
        for column in &insert.cols {
            if let Some(N::ResTarget(target)) = &column.node {
                self.column(Vec::new(), target.name.clone(), ColumnRole::Written);
                self.with_role(ColumnRole::Source, |w| w.nodes(&target.indirection));
            }
        }
        self.with_role(ColumnRole::Source, |w| {
            w.optional(insert.select_stmt.as_deref())
        });
        if let Some(clause) = &insert.on_conflict_clause {
            self.on_conflict(clause);
            if clause.action() == pb::OnConflictAction::OnconflictUpdate {
                self.touch_var(insert.relation.as_ref(), Touch::Update);
            }
        }
        self.returning_from(insert.returning_clause.as_ref(), insert.relation.as_ref());
        self.scopes.pop();
    }

    pub(super) fn on_conflict(&mut self, clause: &pb::OnConflictClause) {
        if let Some(infer) = &clause.infer {
            self.predicate(|w| {
                w.nodes(&infer.index_elems);
                w.optional(infer.where_clause.as_deref());
            });
        }
        if clause.action() == pb::OnConflictAction::OnconflictUpdate {
            self.kind(StatementKind::Update);
        }
        self.facts.rows.push("excluded".to_owned());
        self.assignments(&clause.target_list);
        self.predicate(|w| w.optional(clause.where_clause.as_deref()));
    }

    /// `SET a = …, (b, c) = …`.
    fn assignments(&mut self, targets: &[pb::Node]) {
        for target in targets {
            if let Some(N::ResTarget(target)) = &target.node {
                self.column(Vec::new(), target.name.clone(), ColumnRole::Written);
                self.with_role(ColumnRole::Source, |w| {
                    w.nodes(&target.indirection);
                    w.optional(target.val.as_deref());
                });
            } else {
                self.node(target);
            }
        }
    }

    /// The table an INSERT, UPDATE, DELETE or MERGE changes: never a CTE.
    fn target(&mut self, var: Option<&pb::RangeVar>, touch: Touch) {
        self.touch_var(var, touch);
        if let Some(var) = var {
            self.only(var);
            self.row_names(&var.relname, var.alias.as_ref(), &["*".to_owned()]);
        }
    }

    /// A WHERE that reads no column picks no rows: `WHERE true` is no WHERE.
    fn where_clause(&mut self, clause: Option<&pb::Node>) {
        let mark = self.mark();
        self.predicate(|w| w.optional(clause));
        let cursor = matches!(
            clause.and_then(|n| n.node.as_ref()),
            Some(N::CurrentOfExpr(_))
        );
        if self.mark() == mark && !cursor {
            self.facts.missing_where = true;
        }
    }

    pub(super) fn update(&mut self, update: &pb::UpdateStmt) {
        self.kind(StatementKind::Update);
        self.scopes.push(Vec::new());
        self.with_role(ColumnRole::Source, |w| {
            w.with_clause(update.with_clause.as_ref())
        });
        self.target(update.relation.as_ref(), Touch::Update);
        self.settings_changed(update.relation.as_ref());
        self.with_role(ColumnRole::Source, |w| w.nodes(&update.from_clause));
        self.assignments(&update.target_list);
        self.where_clause(update.where_clause.as_deref());
        self.returning_from(update.returning_clause.as_ref(), update.relation.as_ref());
        self.scopes.pop();
    }

    pub(super) fn delete(&mut self, delete: &pb::DeleteStmt) {
        self.kind(StatementKind::Delete);
        self.scopes.push(Vec::new());
        self.with_clause(delete.with_clause.as_ref());
        self.target(delete.relation.as_ref(), Touch::Delete);
        self.nodes(&delete.using_clause);
        self.where_clause(delete.where_clause.as_deref());
        self.returning_from(delete.returning_clause.as_ref(), delete.relation.as_ref());
        self.scopes.pop();
    }

    pub(super) fn merge(&mut self, merge: &pb::MergeStmt) {
        self.kind(StatementKind::Merge);
        self.scopes.push(Vec::new());
        self.with_role(ColumnRole::Source, |w| {
            w.with_clause(merge.with_clause.as_ref())
        });
        if let Some(var) = &merge.relation {
            self.only(var);
            self.row_names(&var.relname, var.alias.as_ref(), &["*".to_owned()]);
        }
        for clause in &merge.merge_when_clauses {
            if let Some(N::MergeWhenClause(clause)) = &clause.node {
                use pb::CmdType as C;
                let touch = match clause.command_type() {
                    C::CmdInsert => Some(Touch::Insert),
                    C::CmdUpdate => Some(Touch::Update),
                    C::CmdDelete => Some(Touch::Delete),
                    C::CmdNothing => Some(Touch::Read),
                    C::Undefined | C::CmdUnknown | C::CmdSelect | C::CmdMerge | C::CmdUtility => {
                        self.doubt("a MERGE action of an unknown kind");
                        None
                    }
                };
                if touch == Some(Touch::Update) {
                    self.settings_changed(merge.relation.as_ref());
                }
                if let Some(touch) = touch {
                    self.touch_var(merge.relation.as_ref(), touch);
                }
            }
        }
        self.with_role(ColumnRole::Source, |w| {
            w.optional(merge.source_relation.as_deref())
        });
        self.predicate(|w| w.optional(merge.join_condition.as_deref()));
        self.nodes(&merge.merge_when_clauses);
        self.returning_from(merge.returning_clause.as_ref(), merge.relation.as_ref());
        self.scopes.pop();
    }

    pub(super) fn merge_when(&mut self, clause: &pb::MergeWhenClause) {
        self.predicate(|w| w.optional(clause.condition.as_deref()));
        if clause.target_list.is_empty() && !clause.values.is_empty() {
            self.column(Vec::new(), "*".to_owned(), ColumnRole::Written);
        }
        self.assignments(&clause.target_list);
        self.with_role(ColumnRole::Source, |w| w.nodes(&clause.values));
    }

    /// RETURNING reads the table it changes.
    fn returning_from(
        &mut self,
        clause: Option<&pb::ReturningClause>,
        relation: Option<&pb::RangeVar>,
    ) {
        if clause.is_some() {
            self.touch_var(relation, Touch::Read);
            self.returning(clause);
        }
    }

    pub(super) fn returning(&mut self, clause: Option<&pb::ReturningClause>) {
        let Some(clause) = clause else { return };
        self.facts.rows.extend(["old".to_owned(), "new".to_owned()]);
        for option in &clause.options {
            if let Some(N::ReturningOption(option)) = &option.node {
                self.facts.rows.push(option.value.clone());
            }
        }
        for target in &clause.exprs {
            let mark = self.mark();
            self.node(target);
            let from = self.names_since(mark);
            for name in names::target_names(target) {
                self.carry(&name, &from);
            }
        }
    }
}

/// The arrays of an `unnest` of several in FROM. The server makes of it one call of its own `unnest` for
/// each, whatever else has that name (transformRangeFunction in its parse_clause.c).
fn many_unnested(item: &pb::Node) -> Option<&[pb::Node]> {
    let Some(N::List(list)) = &item.node else {
        return None;
    };
    let mut items = list.items.iter();
    let Some(N::FuncCall(call)) = &items.next()?.node else {
        return None;
    };
    let defined =
        items.any(|more| matches!(&more.node, Some(N::List(list)) if !list.items.is_empty()));
    let plain = call.agg_order.is_empty()
        && call.agg_filter.is_none()
        && call.over.is_none()
        && !(call.agg_star || call.agg_distinct || call.func_variadic || call.agg_within_group);
    (names::texts(&call.funcname) == ["unnest"] && call.args.len() > 1 && plain && !defined)
        .then_some(call.args.as_slice())
}
