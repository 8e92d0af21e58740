//! What stands in FROM.

use sqlparser::ast::{
    JoinConstraint, JoinOperator, TableFactor, TableFunctionArgs, TableSampleKind, TableWithJoins,
    XmlTableColumnOption,
};

use super::walk::{Walk, relation};
use crate::sql::Touch;

impl<'a> Walk<'a> {
    pub(super) fn from(&mut self, from: &'a [TableWithJoins]) {
        for item in from {
            self.joined(item);
        }
    }

    pub(super) fn joined(&mut self, item: &'a TableWithJoins) {
        self.factor(&item.relation);
        self.joins(item);
    }

    pub(super) fn joins(&mut self, item: &'a TableWithJoins) {
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

    pub(super) fn constraint(&mut self, constraint: &'a JoinConstraint) {
        match constraint {
            JoinConstraint::On(expr) => self.expr(expr),
            JoinConstraint::Using(_) | JoinConstraint::Natural | JoinConstraint::None => {}
        }
    }

    pub(super) fn factor_now(&mut self, factor: &'a TableFactor) {
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

    pub(super) fn sample(&mut self, sample: Option<&'a TableSampleKind>) {
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
}
