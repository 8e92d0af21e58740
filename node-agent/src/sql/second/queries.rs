//! Our own walk of the second parser's queries and expressions: an arm for each kind, and none
//! that stands for the rest. It keeps what is still to be looked at in a list, so that no text can
//! make it recurse.

use sqlparser::ast::{
    AccessExpr, Array, Assignment, AssignmentTarget, ConnectByKind, Cte, Delete, Distinct, Expr,
    FromTable, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments,
    GroupByExpr, GroupByWithModifier, Insert, Interval, JoinConstraint, JoinOperator, JsonPathElem,
    LimitClause, ListAggOnOverflow, Merge, MergeAction, MergeInsertKind, MergeUpdateKind,
    NamedWindowExpr, ObjectName, ObjectNamePart, OnConflictAction, OnInsert, OrderBy, OrderByExpr,
    OrderByKind, OutputClause, Query, Select, SelectInto, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, Statement, Subscript, TableFactor, TableFunctionArgs,
    TableObject, TableSampleKind, TableWithJoins, TopQuantity, Update, UpdateTableFromKind, Values,
    WindowFrameBound, WindowSpec, WindowType, With, XmlTableColumnOption,
};

use super::super::{RelationName, RelationUse, StatementKind, Touch};

/// The longest identifier, bytes: `NAMEDATALEN` - 1. The server cuts longer ones.
const NAME: usize = 63;

/// Why a statement is not worth hearing.
pub(super) const TABLE_COMMAND: &str =
    "the second parser swallows the two words behind TABLE and a name";
const OTHERS: &str = "the second parser reads it as another database's syntax";

/// Names of CTEs and the scope around them.
struct Scope {
    around: Option<usize>,
    names: Vec<String>,
}

/// Something still to be looked at.
enum Item<'a> {
    Query(&'a Query),
    Body(&'a SetExpr),
    Expr(&'a Expr),
    Factor(&'a TableFactor),
}

/// What is found in one statement.
pub(super) struct Walk<'a> {
    scopes: Vec<Scope>,
    scope: usize,
    queue: Vec<(Item<'a>, usize)>,
    pub(super) kinds: Vec<StatementKind>,
    pub(super) relations: Vec<RelationUse>,
    pub(super) missing_where: bool,
    /// Why what it sees is not to be believed.
    pub(super) strange: Option<&'static str>,
}

impl<'a> Walk<'a> {
    pub(super) fn new() -> Self {
        Walk {
            scopes: vec![Scope {
                around: None,
                names: Vec::new(),
            }],
            scope: 0,
            queue: Vec::new(),
            kinds: Vec::new(),
            relations: Vec::new(),
            missing_where: false,
            strange: None,
        }
    }

    /// Looks at everything that is still to be looked at.
    pub(super) fn finish(&mut self) {
        while let Some((item, scope)) = self.queue.pop() {
            self.scope = scope;
            match item {
                Item::Query(query) => self.query_now(query),
                Item::Body(body) => self.body(body),
                Item::Expr(expr) => self.expression(expr),
                Item::Factor(factor) => self.factor_now(factor),
            }
        }
    }

    pub(super) fn kind(&mut self, kind: StatementKind) {
        if !self.kinds.contains(&kind) {
            self.kinds.push(kind);
        }
    }

    pub(super) fn strange(&mut self, why: &'static str) {
        self.strange.get_or_insert(why);
    }

    fn others(&mut self) {
        self.strange(OTHERS);
    }

    pub(super) fn touch(&mut self, name: &ObjectName, touch: Touch) {
        match relation(name) {
            Some(relation) => self.relations.push(RelationUse { relation, touch }),
            None => self.others(),
        }
    }

    pub(super) fn query(&mut self, query: &'a Query) {
        self.queue.push((Item::Query(query), self.scope));
    }

    pub(super) fn expr(&mut self, expr: &'a Expr) {
        match expr {
            // Leaves, which are most of what there is.
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_) => {}
            _ => self.queue.push((Item::Expr(expr), self.scope)),
        }
    }

    pub(super) fn exprs(&mut self, exprs: impl IntoIterator<Item = &'a Expr>) {
        for expr in exprs {
            self.expr(expr);
        }
    }

    fn factor(&mut self, factor: &'a TableFactor) {
        self.queue.push((Item::Factor(factor), self.scope));
    }

    fn enter(&mut self, names: Vec<String>) {
        self.scopes.push(Scope {
            around: Some(self.scope),
            names,
        });
        self.scope = self.scopes.len() - 1;
    }

    fn is_cte(&self, relation: &RelationName) -> bool {
        if relation.schema.is_some() {
            return false;
        }
        let mut at = Some(self.scope);
        while let Some(scope) = at.and_then(|at| self.scopes.get(at)) {
            if scope.names.contains(&relation.name) {
                return true;
            }
            at = scope.around;
        }
        false
    }

    fn with(&mut self, with: Option<&'a With>) {
        let Some(with) = with else { return };
        let name = |cte: &Cte| folded(&cte.alias.name);
        if with.recursive {
            // Every name is visible in every body.
            self.enter(with.cte_tables.iter().map(name).collect());
        }
        for cte in &with.cte_tables {
            self.query(&cte.query);
            if !with.recursive {
                // A name is visible only behind its own body.
                self.enter(vec![name(cte)]);
            }
        }
    }

    fn query_now(&mut self, query: &'a Query) {
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

    fn order_by(&mut self, order_by: Option<&'a OrderBy>) {
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

    fn body(&mut self, body: &'a SetExpr) {
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

    fn values(&mut self, values: &'a Values) {
        for row in &values.rows {
            self.exprs(&row.content);
        }
    }

    fn select(&mut self, select: &'a Select) {
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

    fn grouping(&mut self, modifiers: &'a [GroupByWithModifier]) {
        for modifier in modifiers {
            match modifier {
                GroupByWithModifier::GroupingSets(expr) => self.expr(expr),
                GroupByWithModifier::Rollup
                | GroupByWithModifier::Cube
                | GroupByWithModifier::Totals => self.others(),
            }
        }
    }

    fn into(&mut self, into: Option<&'a SelectInto>) {
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

    fn from(&mut self, from: &'a [TableWithJoins]) {
        for item in from {
            self.joined(item);
        }
    }

    fn joined(&mut self, item: &'a TableWithJoins) {
        self.factor(&item.relation);
        self.joins(item);
    }

    fn joins(&mut self, item: &'a TableWithJoins) {
        use JoinOperator as J;
        for join in &item.joins {
            self.factor(&join.relation);
            match &join.join_operator {
                J::Join(on)
                | J::Inner(on)
                | J::Left(on)
                | J::LeftOuter(on)
                | J::Right(on)
                | J::RightOuter(on)
                | J::FullOuter(on)
                | J::CrossJoin(on) => self.constraint(on),
                J::Semi(on)
                | J::LeftSemi(on)
                | J::RightSemi(on)
                | J::Anti(on)
                | J::LeftAnti(on)
                | J::RightAnti(on)
                | J::StraightJoin(on) => {
                    self.constraint(on);
                    self.others();
                }
                J::AsOf {
                    match_condition,
                    constraint,
                } => {
                    self.expr(match_condition);
                    self.constraint(constraint);
                    self.others();
                }
                J::CrossApply
                | J::OuterApply
                | J::ArrayJoin
                | J::LeftArrayJoin
                | J::InnerArrayJoin => self.others(),
            }
        }
    }

    fn constraint(&mut self, constraint: &'a JoinConstraint) {
        match constraint {
            JoinConstraint::On(expr) => self.expr(expr),
            JoinConstraint::Using(_) | JoinConstraint::Natural | JoinConstraint::None => {}
        }
    }

    fn factor_now(&mut self, factor: &'a TableFactor) {
        match factor {
            TableFactor::Table {
                name,
                alias: _,
                args,
                with_hints,
                version,
                with_ordinality: _,
                partitions,
                json_path,
                sample,
                index_hints,
            } => {
                if let Some(TableFunctionArgs { args, settings }) = args {
                    // `FROM f(…)` is a call.
                    self.arguments(args);
                    if settings.is_some() {
                        self.others();
                    }
                } else if let Some(named) = relation(name) {
                    if !self.is_cte(&named) {
                        self.touch(name, Touch::Read);
                    }
                } else {
                    self.others();
                }
                self.sample(sample.as_ref());
                self.exprs(with_hints);
                if version.is_some()
                    || !partitions.is_empty()
                    || json_path.is_some()
                    || !with_hints.is_empty()
                    || !index_hints.is_empty()
                {
                    self.others();
                }
            }
            TableFactor::Derived {
                lateral: _,
                subquery,
                alias: _,
                sample,
            } => {
                self.query(subquery);
                self.sample(sample.as_ref());
            }
            TableFactor::TableFunction { expr, alias: _ } => {
                self.expr(expr);
                self.others();
            }
            TableFactor::Function {
                lateral: _,
                name: _,
                args,
                with_ordinality: _,
                alias: _,
            } => {
                self.arguments(args);
            }
            TableFactor::UNNEST { array_exprs, .. } => self.exprs(array_exprs),
            TableFactor::NestedJoin {
                table_with_joins,
                alias: _,
            } => self.joined(table_with_joins),
            TableFactor::XmlTable {
                namespaces,
                row_expression,
                passing,
                columns,
                alias: _,
            } => {
                self.exprs(namespaces.iter().map(|namespace| &namespace.uri));
                self.expr(row_expression);
                self.exprs(passing.arguments.iter().map(|argument| &argument.expr));
                for column in columns {
                    match &column.option {
                        XmlTableColumnOption::NamedInfo { path, default, .. } => {
                            self.exprs(path);
                            self.exprs(default);
                        }
                        XmlTableColumnOption::ForOrdinality => {}
                    }
                }
            }
            TableFactor::JsonTable {
                json_expr,
                json_path: _,
                columns: _,
                alias: _,
            } => {
                self.expr(json_expr);
            }
            TableFactor::OpenJsonTable { .. }
            | TableFactor::Pivot { .. }
            | TableFactor::Unpivot { .. }
            | TableFactor::UnpivotExpr { .. }
            | TableFactor::MatchRecognize { .. }
            | TableFactor::SemanticView { .. } => self.others(),
        }
    }

    fn sample(&mut self, sample: Option<&'a TableSampleKind>) {
        let Some(
            TableSampleKind::BeforeTableAlias(sample) | TableSampleKind::AfterTableAlias(sample),
        ) = sample
        else {
            return;
        };
        self.exprs(sample.quantity.as_ref().map(|quantity| &quantity.value));
        self.exprs(&sample.offset);
        if sample.bucket.is_some() {
            self.others();
        }
    }

    /// INSERT, UPDATE, DELETE or MERGE inside a WITH.
    fn changes(&mut self, statement: &'a Statement) {
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

    fn assignments(&mut self, assignments: &'a [Assignment]) {
        for assignment in assignments {
            match &assignment.target {
                AssignmentTarget::ColumnName(_) | AssignmentTarget::Tuple(_) => {}
            }
            self.expr(&assignment.value);
        }
    }

    /// The table that a statement changes: never a CTE.
    fn target(&mut self, factor: &'a TableFactor, touch: Touch) {
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

    fn window(&mut self, spec: &'a WindowSpec) {
        self.exprs(&spec.partition_by);
        self.sorted(&spec.order_by);
        if let Some(frame) = &spec.window_frame {
            for bound in [Some(&frame.start_bound), frame.end_bound.as_ref()] {
                match bound {
                    Some(
                        WindowFrameBound::Preceding(Some(expr))
                        | WindowFrameBound::Following(Some(expr)),
                    ) => self.expr(expr),
                    Some(
                        WindowFrameBound::CurrentRow
                        | WindowFrameBound::Preceding(None)
                        | WindowFrameBound::Following(None),
                    )
                    | None => {}
                }
            }
        }
    }

    fn arguments(&mut self, args: &'a [FunctionArg]) {
        for arg in args {
            let arg = match arg {
                FunctionArg::Named {
                    name: _,
                    arg,
                    operator: _,
                } => arg,
                FunctionArg::ExprNamed {
                    name,
                    arg,
                    operator: _,
                } => {
                    self.expr(name);
                    arg
                }
                FunctionArg::Unnamed(arg) => arg,
            };
            match arg {
                FunctionArgExpr::Expr(expr) => self.expr(expr),
                FunctionArgExpr::QualifiedWildcard(_) | FunctionArgExpr::Wildcard => {}
                FunctionArgExpr::WildcardWithOptions(_) => self.others(),
            }
        }
    }

    fn function_arguments(&mut self, arguments: &'a FunctionArguments) {
        match arguments {
            FunctionArguments::None => {}
            FunctionArguments::Subquery(query) => self.query(query),
            FunctionArguments::List(list) => {
                self.arguments(&list.args);
                for clause in &list.clauses {
                    match clause {
                        FunctionArgumentClause::OrderBy(order) => self.sorted(order),
                        FunctionArgumentClause::Where(expr)
                        | FunctionArgumentClause::Limit(expr) => {
                            self.expr(expr);
                            self.others();
                        }
                        FunctionArgumentClause::Having(bound) => {
                            self.expr(&bound.1);
                            self.others();
                        }
                        FunctionArgumentClause::OnOverflow(ListAggOnOverflow::Truncate {
                            filler,
                            ..
                        }) => {
                            self.exprs(filler.as_deref());
                            self.others();
                        }
                        FunctionArgumentClause::OnOverflow(ListAggOnOverflow::Error)
                        | FunctionArgumentClause::Separator(_) => self.others(),
                        FunctionArgumentClause::IgnoreOrRespectNulls(_)
                        | FunctionArgumentClause::JsonNullClause(_)
                        | FunctionArgumentClause::JsonReturningClause(_) => {}
                    }
                }
            }
        }
    }

    pub(super) fn call(&mut self, function: &'a Function) {
        let Function {
            name: _,
            uses_odbc_syntax: _,
            parameters,
            args,
            within_group,
            filter,
            null_treatment: _,
            over,
        } = function;
        self.function_arguments(parameters);
        self.function_arguments(args);
        self.sorted(within_group);
        self.exprs(filter.as_deref());
        match over {
            Some(WindowType::WindowSpec(spec)) => self.window(spec),
            Some(WindowType::NamedWindow(_)) | None => {}
        }
    }

    fn expression(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Identifier(_)
            | Expr::CompoundIdentifier(_)
            | Expr::Value(_)
            | Expr::TypedString(_)
            | Expr::Wildcard(_)
            | Expr::QualifiedWildcard(..) => {}
            Expr::CompoundFieldAccess { root, access_chain } => {
                self.expr(root);
                for step in access_chain {
                    match step {
                        AccessExpr::Dot(expr) => self.expr(expr),
                        AccessExpr::Subscript(Subscript::Index { index }) => self.expr(index),
                        AccessExpr::Subscript(Subscript::Slice {
                            lower_bound,
                            upper_bound,
                            stride,
                        }) => {
                            self.exprs(lower_bound);
                            self.exprs(upper_bound);
                            self.exprs(stride);
                        }
                    }
                }
            }
            Expr::JsonAccess { value, path } => {
                self.expr(value);
                for step in &path.path {
                    match step {
                        JsonPathElem::Dot { .. } => {}
                        JsonPathElem::Bracket { key } | JsonPathElem::ColonBracket { key } => {
                            self.expr(key);
                        }
                    }
                }
                self.others();
            }
            Expr::IsFalse(expr)
            | Expr::IsNotFalse(expr)
            | Expr::IsTrue(expr)
            | Expr::IsNotTrue(expr)
            | Expr::IsNull(expr)
            | Expr::IsNotNull(expr)
            | Expr::IsUnknown(expr)
            | Expr::IsNotUnknown(expr)
            | Expr::IsJson { expr, .. }
            | Expr::IsNormalized { expr, .. }
            | Expr::UnaryOp { op: _, expr }
            | Expr::Cast { expr, .. }
            | Expr::Extract { expr, .. }
            | Expr::Ceil { expr, field: _ }
            | Expr::Floor { expr, field: _ }
            | Expr::Collate { expr, collation: _ }
            | Expr::Nested(expr)
            | Expr::Prefixed {
                prefix: _,
                value: expr,
            }
            | Expr::Interval(Interval { value: expr, .. }) => self.expr(expr),
            Expr::IsDistinctFrom(left, right)
            | Expr::IsNotDistinctFrom(left, right)
            | Expr::BinaryOp { left, op: _, right }
            | Expr::AnyOp {
                left,
                compare_op: _,
                right,
                is_some: _,
            }
            | Expr::AllOp {
                left,
                compare_op: _,
                right,
            }
            | Expr::AtTimeZone {
                timestamp: left,
                time_zone: right,
            }
            | Expr::Position {
                expr: left,
                r#in: right,
            } => {
                self.expr(left);
                self.expr(right);
            }
            Expr::InList {
                expr,
                list,
                negated: _,
            } => {
                self.expr(expr);
                self.exprs(list);
            }
            Expr::InSubquery {
                expr,
                subquery,
                negated: _,
            } => {
                self.expr(expr);
                self.query(subquery);
            }
            Expr::Between {
                expr,
                negated: _,
                low,
                high,
            } => {
                self.exprs([&**expr, low, high]);
            }
            Expr::Like {
                negated: _,
                any: _,
                expr,
                pattern,
                escape_char,
            }
            | Expr::ILike {
                negated: _,
                any: _,
                expr,
                pattern,
                escape_char,
            }
            | Expr::SimilarTo {
                negated: _,
                expr,
                pattern,
                escape_char,
            } => {
                self.exprs([&**expr, pattern]);
                self.exprs(escape_char.as_deref());
            }
            Expr::Substring {
                expr,
                substring_from,
                substring_for,
                ..
            } => {
                self.expr(expr);
                self.exprs(substring_from.as_deref());
                self.exprs(substring_for.as_deref());
            }
            Expr::Trim {
                trim_where: _,
                trim_what,
                expr,
                trim_characters,
            } => {
                self.expr(expr);
                self.exprs(trim_what.as_deref());
                self.exprs(trim_characters.as_deref().unwrap_or_default());
            }
            Expr::Overlay {
                expr,
                overlay_what,
                overlay_from,
                overlay_for,
            } => {
                self.exprs([&**expr, overlay_what, overlay_from]);
                self.exprs(overlay_for.as_deref());
            }
            Expr::Function(function) => self.call(function),
            Expr::Case {
                case_token: _,
                end_token: _,
                operand,
                conditions,
                else_result,
            } => {
                self.exprs(operand.as_deref());
                for when in conditions {
                    self.expr(&when.condition);
                    self.expr(&when.result);
                }
                self.exprs(else_result.as_deref());
            }
            Expr::Exists {
                subquery,
                negated: _,
            }
            | Expr::Subquery(subquery) => {
                self.query(subquery);
            }
            Expr::GroupingSets(sets) | Expr::Cube(sets) | Expr::Rollup(sets) => {
                self.exprs(sets.iter().flatten());
            }
            Expr::Tuple(exprs)
            | Expr::Array(Array {
                elem: exprs,
                named: _,
            }) => self.exprs(exprs),
            Expr::Named { expr, name: _ } => self.expr(expr),
            // Other databases' expressions.
            Expr::InUnnest { .. }
            | Expr::RLike { .. }
            | Expr::Convert { .. }
            | Expr::Struct { .. }
            | Expr::Dictionary(_)
            | Expr::Map(_)
            | Expr::MatchAgainst { .. }
            | Expr::OuterJoin(_)
            | Expr::Prior(_)
            | Expr::Lambda(_)
            | Expr::MemberOf(_) => self.others(),
        }
    }
}

/// A name as the server folds it: lower case unless quoted, cut to its longest.
fn folded(ident: &sqlparser::ast::Ident) -> String {
    let mut name = ident.value.clone();
    if ident.quote_style.is_none() {
        name.make_ascii_lowercase();
    }
    let mut end = name.len().min(NAME);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.truncate(end);
    name
}

/// The relation a name stands for; none where a part of it is no name.
pub(super) fn relation(name: &ObjectName) -> Option<RelationName> {
    let part = |part: &ObjectNamePart| match part {
        ObjectNamePart::Identifier(ident) => Some(folded(ident)),
        ObjectNamePart::Function(_) => None,
    };
    match name.0.as_slice() {
        [name] => Some(RelationName {
            schema: None,
            name: part(name)?,
        }),
        [.., schema, name] => Some(RelationName {
            schema: Some(part(schema)?),
            name: part(name)?,
        }),
        [] => None,
    }
}
