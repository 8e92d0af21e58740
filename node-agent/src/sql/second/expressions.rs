//! Expressions, which matter for the queries inside them.

use sqlparser::ast::{
    AccessExpr, Array, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArguments, Interval, JsonPathElem, ListAggOnOverflow, Subscript, WindowFrameBound,
    WindowSpec, WindowType,
};

use super::walk::Walk;

impl<'a> Walk<'a> {
    pub(super) fn window(&mut self, spec: &'a WindowSpec) {
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

    pub(super) fn arguments(&mut self, args: &'a [FunctionArg]) {
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

    pub(super) fn function_arguments(&mut self, arguments: &'a FunctionArguments) {
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

    pub(super) fn expression(&mut self, expr: &'a Expr) {
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
