//! Queries: their clauses, and the tables they read.

use sqlparser::ast::{
    ConnectByKind, Distinct, Expr, GroupByExpr, GroupByWithModifier, LimitClause, NamedWindowExpr,
    ObjectName, OrderBy, OrderByExpr, OrderByKind, Query, Select, SelectInto, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TopQuantity, Values,
};

use super::walk::{Item, TABLE_COMMAND, Walk};
use crate::sql::{StatementKind, Touch};

impl<'a> Walk<'a> {
    pub(super) fn query_now(&mut self, query: &'a Query) {
        let Query {
            with,
            body,
            order_by,
            limit_clause,
            fetch,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        self.with(with.as_ref());
        self.queue.push((Item::Body(body), self.scope));
        self.order_by(order_by.as_ref());
        match limit_clause {
            Some(LimitClause::LimitOffset {
                limit,
                offset,
                limit_by,
            }) => {
                self.exprs(limit);
                self.exprs(offset.as_ref().map(|offset| &offset.value));
                self.exprs(limit_by);
            }
            Some(LimitClause::OffsetCommaLimit { offset, limit }) => {
                self.expr(offset);
                self.expr(limit);
            }
            None => {}
        }
        self.exprs(fetch.as_ref().and_then(|fetch| fetch.quantity.as_ref()));
        if !locks.is_empty() {
            self.kind(StatementKind::Lock);
        }
        if for_clause.is_some()
            || settings.is_some()
            || format_clause.is_some()
            || !pipe_operators.is_empty()
        {
            self.others();
        }
    }

    pub(super) fn order_by(&mut self, order_by: Option<&'a OrderBy>) {
        if let Some(OrderBy { kind, interpolate }) = order_by {
            match kind {
                OrderByKind::All(_) => self.others(),
                OrderByKind::Expressions(list) => self.sorted(list),
            }
            if interpolate.is_some() {
                self.others();
            }
        }
    }

    pub(super) fn sorted(&mut self, list: &'a [OrderByExpr]) {
        for entry in list {
            self.expr(&entry.expr);
            if entry.with_fill.is_some() {
                self.others();
            }
        }
    }

    pub(super) fn body(&mut self, body: &'a SetExpr) {
        match body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::Query(query) => self.query(query),
            SetExpr::SetOperation {
                left,
                op: _,
                set_quantifier: _,
                right,
            } => {
                self.kind(StatementKind::Select);
                self.queue.push((Item::Body(left), self.scope));
                self.queue.push((Item::Body(right), self.scope));
            }
            SetExpr::Values(values) => {
                if self.kinds.is_empty() {
                    self.kind(StatementKind::Select);
                }
                self.values(values);
            }
            SetExpr::Insert(statement)
            | SetExpr::Update(statement)
            | SetExpr::Delete(statement)
            | SetExpr::Merge(statement) => self.changes(statement),
            SetExpr::Table(_) => self.strange(TABLE_COMMAND),
        }
    }

    pub(super) fn values(&mut self, values: &'a Values) {
        for row in &values.rows {
            self.exprs(&row.content);
        }
    }

    pub(super) fn select(&mut self, select: &'a Select) {
        let Select {
            select_token: _,
            optimizer_hints: _,
            distinct,
            select_modifiers,
            top,
            top_before_distinct: _,
            projection,
            exclude,
            into,
            from,
            lateral_views,
            prewhere,
            selection,
            connect_by,
            group_by,
            cluster_by,
            distribute_by,
            sort_by,
            having,
            named_window,
            qualify,
            window_before_qualify: _,
            value_table_mode,
            flavor: _,
        } = select;
        self.kind(StatementKind::Select);
        if let Some(Distinct::On(list)) = distinct {
            self.exprs(list);
        }
        if let Some(top) = top {
            if let Some(TopQuantity::Expr(expr)) = &top.quantity {
                self.expr(expr);
            }
            self.others();
        }
        self.items(projection);
        self.into(into.as_ref());
        self.from(from);
        self.exprs(prewhere);
        self.exprs(selection);
        for by in connect_by {
            match by {
                ConnectByKind::ConnectBy { relationships, .. } => self.exprs(relationships),
                ConnectByKind::StartWith { condition, .. } => self.expr(condition),
            }
        }
        match group_by {
            GroupByExpr::All(modifiers) => self.grouping(modifiers),
            GroupByExpr::Expressions(exprs, modifiers) => {
                self.exprs(exprs);
                self.grouping(modifiers);
            }
        }
        self.exprs(cluster_by);
        self.exprs(distribute_by);
        self.sorted(sort_by);
        self.exprs(having);
        for window in named_window {
            match &window.1 {
                NamedWindowExpr::NamedWindow(_) => {}
                NamedWindowExpr::WindowSpec(spec) => self.window(spec),
            }
        }
        self.exprs(qualify);
        if select_modifiers.is_some()
            || exclude.is_some()
            || !lateral_views.is_empty()
            || prewhere.is_some()
            || !connect_by.is_empty()
            || !cluster_by.is_empty()
            || !distribute_by.is_empty()
            || !sort_by.is_empty()
            || qualify.is_some()
            || value_table_mode.is_some()
        {
            self.others();
        }
    }

    pub(super) fn grouping(&mut self, modifiers: &'a [GroupByWithModifier]) {
        for modifier in modifiers {
            match modifier {
                GroupByWithModifier::GroupingSets(expr) => self.expr(expr),
                GroupByWithModifier::Rollup
                | GroupByWithModifier::Cube
                | GroupByWithModifier::Totals => self.others(),
            }
        }
    }

    pub(super) fn into(&mut self, into: Option<&'a SelectInto>) {
        let Some(into) = into else { return };
        self.kind(StatementKind::Create);
        for target in &into.targets {
            let name = match target {
                Expr::Identifier(ident) => vec![ident.clone()],
                Expr::CompoundIdentifier(parts) => parts.clone(),
                _ => return self.others(),
            };
            self.touch(&ObjectName::from(name), Touch::Define);
        }
    }

    pub(super) fn items(&mut self, items: &'a [SelectItem]) {
        for item in items {
            match item {
                SelectItem::UnnamedExpr(expr)
                | SelectItem::ExprWithAlias { expr, alias: _ }
                | SelectItem::ExprWithAliases { expr, aliases: _ } => self.expr(expr),
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::Expr(expr), _) => {
                    self.expr(expr);
                }
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(_),
                    options,
                )
                | SelectItem::Wildcard(options) => {
                    if options.opt_replace.is_some() {
                        self.others();
                    }
                }
            }
        }
    }
}
