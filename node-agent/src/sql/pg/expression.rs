//! Expressions: columns, operators, calls.

use pg_query::protobuf as pb;
use pg_query::protobuf::node::Node as N;

use super::failing::{cannot_fail, is_total_call, is_total_name, is_total_operator};
use super::names;
use super::settings;
use super::types;
use super::walk::Walk;
use crate::sql::second::Misread;
use crate::sql::{ColumnRole, FunctionClass, StatementKind, classify_function};

/// Operators whose result carries the operands' values on; every other one compares, and so turns
/// a value into a decision.
const CARRYING: &[&str] = &[
    "+", "-", "*", "/", "%", "^", "||", "->", "->>", "#>", "#>>", "#-", "&", "|", "#", "<<", ">>",
    "|/", "||/", "@", "~", "!!",
];

/// Set-returning functions: how many rows they yield says something of their arguments.
const ROW_MAKERS: &[&str] = &[
    "generate_series",
    "generate_subscripts",
    "json_array_elements",
    "json_array_elements_text",
    "json_each",
    "json_each_text",
    "json_object_keys",
    "json_populate_recordset",
    "json_to_recordset",
    "jsonb_array_elements",
    "jsonb_array_elements_text",
    "jsonb_each",
    "jsonb_each_text",
    "jsonb_object_keys",
    "jsonb_path_query",
    "jsonb_path_query_tz",
    "jsonb_populate_recordset",
    "jsonb_to_recordset",
    "regexp_matches",
    "regexp_split_to_table",
    "string_to_table",
    "ts_debug",
    "ts_parse",
    "unnest",
];

/// `column = value`, the other way round, `column IN (values)` and `column = ANY (values)`.
fn is_equality(expression: &pb::AExpr) -> bool {
    use pb::AExprKind as K;
    if !matches!(
        names::texts(&expression.name).as_slice(),
        ["="] | ["pg_catalog", "="]
    ) {
        return false;
    }
    let (Some(left), Some(right)) = (expression.lexpr.as_deref(), expression.rexpr.as_deref())
    else {
        return false;
    };
    match expression.kind() {
        K::AexprOp => (is_column(left) && is_value(right)) || (is_value(left) && is_column(right)),
        K::AexprIn | K::AexprOpAny => is_column(left) && is_value(right),
        K::Undefined
        | K::AexprOpAll
        | K::AexprDistinct
        | K::AexprNotDistinct
        | K::AexprNullif
        | K::AexprLike
        | K::AexprIlike
        | K::AexprSimilar
        | K::AexprBetween
        | K::AexprNotBetween
        | K::AexprBetweenSym
        | K::AexprNotBetweenSym => false,
    }
}

fn is_column(node: &pb::Node) -> bool {
    let named = |field: &pb::Node| matches!(field.node, Some(N::String(_)));
    matches!(&node.node, Some(N::ColumnRef(column)) if column.fields.iter().all(named))
}

/// Written out, or a parameter; a list of such.
fn is_value(node: &pb::Node) -> bool {
    match &node.node {
        Some(N::AConst(_) | N::ParamRef(_)) => true,
        Some(N::TypeCast(cast)) => cast.arg.as_deref().is_some_and(is_value),
        Some(N::List(list)) => list.items.iter().all(is_value),
        Some(N::AArrayExpr(array)) => array.elements.iter().all(is_value),
        Some(_) | None => false,
    }
}

impl Walk {
    pub(super) fn column_ref(&mut self, column: &pb::ColumnRef) {
        let mut parts: Vec<String> = Vec::with_capacity(column.fields.len());
        for field in &column.fields {
            match &field.node {
                Some(N::String(s)) => parts.push(s.sval.clone()),
                Some(N::AStar(_)) => parts.push("*".to_owned()),
                _ => self.doubt("a column reference of an unknown shape"),
            }
        }
        let Some(name) = parts.pop() else { return };
        if parts.is_empty() && name == "interval" {
            self.misread(Misread::Statement(
                "the second parser takes a column named interval for the word",
            ));
        }
        if let [of] = parts.as_slice()
            && name != "*"
        {
            self.attribute_of_call(of, &name);
        }
        let role = self.role;
        self.column(parts, name, role);
    }

    /// `(expression).field[1].*`.
    pub(super) fn indirection(&mut self, path: &pb::AIndirection) {
        let role = self.role;
        self.before_steps(path);
        for step in &path.indirection {
            match &step.node {
                Some(N::String(s)) => {
                    self.attribute(path.arg.as_deref(), &s.sval);
                    self.column(Vec::new(), s.sval.clone(), role);
                }
                Some(N::AStar(_)) => self.column(Vec::new(), "*".to_owned(), role),
                _ => self.node(step),
            }
        }
    }

    /// What stands before the steps: a step may be a call with it (`(x).int4`), and decides as that call would.
    fn before_steps(&mut self, path: &pb::AIndirection) {
        let steps = names::texts(&path.indirection);
        let called = |name: &&str| {
            !matches!(classify_function(None, name, 1), FunctionClass::Unknown)
                && !self.is_yielded(path.arg.as_deref(), name)
        };
        let called: Vec<&str> = steps.into_iter().filter(called).collect();
        let role = match called.iter().any(|name| ROW_MAKERS.contains(name)) {
            true => ColumnRole::Predicate,
            false => self.role,
        };
        let total = called.iter().all(|name| is_total_name(name));
        self.with_role(role, |w| {
            w.computed(total, |w| w.optional(path.arg.as_deref()));
        });
    }

    /// AND and OR leave out what need not be asked any more: what is left out cannot fail, so each decides.
    pub(super) fn boolean(&mut self, expression: &pb::BoolExpr) {
        use pb::BoolExprType as B;
        match expression.boolop() {
            B::NotExpr => self.nodes(&expression.args),
            B::AndExpr | B::OrExpr | B::Undefined => {
                self.predicate(|w| w.nodes(&expression.args));
            }
        }
    }

    /// COALESCE leaves out what stands behind the first value: where that could fail, the others decide.
    pub(super) fn coalesce(&mut self, expression: &pb::CoalesceExpr) {
        let behind = expression.args.iter().skip(1);
        if behind.into_iter().all(cannot_fail) {
            self.nodes(&expression.args);
        } else {
            self.predicate(|w| w.nodes(&expression.args));
        }
    }

    pub(super) fn operator(&mut self, expression: &pb::AExpr) {
        use pb::AExprKind as K;
        // What the server makes of the words (transformAExprBetween), not what is written.
        let meant: &[&str] = match expression.kind() {
            K::AexprBetween => &[">=", "<="],
            K::AexprNotBetween => &["<", ">"],
            K::AexprBetweenSym => &[">=", "<="],
            K::AexprNotBetweenSym => &["<", ">"],
            K::Undefined
            | K::AexprOp
            | K::AexprOpAny
            | K::AexprOpAll
            | K::AexprDistinct
            | K::AexprNotDistinct
            | K::AexprNullif
            | K::AexprIn
            | K::AexprLike
            | K::AexprIlike
            | K::AexprSimilar => {
                self.operator_name(&expression.name);
                &[]
            }
        };
        for name in meant {
            self.an_operator(name);
        }
        let carries = match expression.kind() {
            K::AexprOp => names::texts(&expression.name)
                .last()
                .is_some_and(|op| CARRYING.contains(op)),
            K::Undefined
            | K::AexprOpAny
            | K::AexprOpAll
            | K::AexprDistinct
            | K::AexprNotDistinct
            | K::AexprNullif
            | K::AexprIn
            | K::AexprLike
            | K::AexprIlike
            | K::AexprSimilar
            | K::AexprBetween
            | K::AexprNotBetween
            | K::AexprBetweenSym
            | K::AexprNotBetweenSym => false,
        };
        let role = if carries {
            self.role
        } else {
            ColumnRole::Predicate
        };
        let mark = self.mark();
        self.with_role(role, |w| {
            w.computed(is_total_operator(expression), |w| {
                w.optional(expression.lexpr.as_deref());
                w.optional(expression.rexpr.as_deref());
            });
        });
        if is_equality(expression) {
            self.equated_since(mark);
        }
    }

    /// The one column seen since `mark` is compared with values.
    fn equated_since(&mut self, mark: usize) {
        if let [column] = self.facts.columns.get(mark..).unwrap_or_default() {
            let column = column.clone();
            self.facts.equated.push(column);
        }
    }

    /// `OPERATOR(schema.op)` names somebody's code as a call would; without a schema the server looks
    /// for it.
    pub(super) fn operator_name(&mut self, name: &[pb::Node]) {
        let parts = names::texts(name);
        match parts.as_slice() {
            [name] => self.an_operator(name),
            [.., schema, _] if *schema != "pg_catalog" => self.function(&parts, 2),
            _ => {}
        }
    }

    pub(super) fn case(&mut self, case: &pb::CaseExpr) {
        if case.arg.is_some() {
            self.an_operator("=");
        }
        self.predicate(|w| w.optional(case.arg.as_deref()));
        self.nodes(&case.args);
        self.optional(case.defresult.as_deref());
    }

    pub(super) fn type_name(&mut self, name: Option<&pb::TypeName>) {
        let Some(name) = name else { return };
        self.nodes(&name.typmods);
        if name.pct_type || name.names.is_empty() {
            return;
        }
        if let Some(of) = names::qualified(&names::texts(&name.names))
            && !types::is_the_servers(of.schema.as_deref(), &of.name)
        {
            self.a_type(of);
        }
    }

    pub(super) fn call(&mut self, call: &pb::FuncCall) {
        let parts = names::texts(&call.funcname);
        let args = if call.agg_star { 0 } else { call.args.len() };
        self.current_setting(&parts, &call.args);
        if !self.set_config(&parts, &call.args) {
            self.function(&parts, args);
        }
        if args == 0 && parts == ["pg_catalog", "system_user"] {
            // Before PostgreSQL 16 the word was a column's name like any other.
            let role = self.role;
            self.column(Vec::new(), "system_user".to_owned(), role);
        }
        let last = parts.last().copied().unwrap_or_default();
        let role = if ROW_MAKERS.contains(&last) || call.agg_distinct {
            ColumnRole::Predicate
        } else {
            self.role
        };
        let total = is_total_call(call);
        self.with_role(role, |w| w.computed(total, |w| w.nodes(&call.args)));
        self.predicate(|w| {
            w.nodes(&call.agg_order);
            w.optional(call.agg_filter.as_deref());
        });
        if let Some(window) = &call.over {
            self.window(window);
        }
    }

    /// `current_setting('name')` shows what SHOW does; of another than a literal's, anything.
    fn current_setting(&mut self, parts: &[&str], args: &[pb::Node]) {
        if matches!(
            parts,
            ["current_setting"] | ["pg_catalog", "current_setting"]
        ) && !args
            .first()
            .and_then(names::literal)
            .is_some_and(|setting| settings::shown_to_all(&setting))
        {
            self.kind(StatementKind::Admin);
        }
    }

    /// `set_config('name', 'value', …)` with literals is a SET; it is then not reported as a call. So is
    /// `set_config(name, 'value', …)` where `name` is a setting that was looked up by its name.
    fn set_config(&mut self, parts: &[&str], args: &[pb::Node]) -> bool {
        if !matches!(parts, ["set_config"] | ["pg_catalog", "set_config"]) {
            return false;
        }
        let setting = args.first().and_then(|first| {
            let looked_up = settings::is_name(first).then(|| self.looked_up.clone());
            names::literal(first).or(looked_up.flatten())
        });
        let (Some(setting), Some(value)) = (setting, args.get(1).map(names::literal)) else {
            // Which setting it is cannot be told: treated as the worst.
            self.kind(StatementKind::SetIdentity);
            return false;
        };
        let local = args
            .get(2)
            .and_then(names::literal)
            .is_some_and(|v| settings::is_true(&v));
        let literal = value.is_some();
        self.setting(&setting, value, local);
        literal
    }

    pub(super) fn window(&mut self, window: &pb::WindowDef) {
        self.predicate(|w| {
            w.nodes(&window.partition_clause);
            w.nodes(&window.order_clause);
            w.optional(window.start_offset.as_deref());
            w.optional(window.end_offset.as_deref());
        });
    }

    pub(super) fn json_value(&mut self, value: Option<&pb::JsonValueExpr>) {
        if let Some(value) = value {
            self.optional(value.raw_expr.as_deref());
            self.optional(value.formatted_expr.as_deref());
        }
    }

    pub(super) fn json_function(&mut self, call: &pb::JsonFuncExpr) {
        let behaviours = [&call.on_empty, &call.on_error];
        // JSON_EXISTS is a comparison, and a path may hold a filter in any of them.
        self.predicate(|w| {
            w.json_value(call.context_item.as_deref());
            w.optional(call.pathspec.as_deref());
            w.nodes(&call.passing);
        });
        for behaviour in behaviours.into_iter().flatten() {
            self.optional(behaviour.expr.as_deref());
        }
        if let Some(output) = &call.output {
            self.type_name(output.type_name.as_ref());
        }
    }

    pub(super) fn json_aggregate(&mut self, aggregate: Option<&pb::JsonAggConstructor>) {
        let Some(aggregate) = aggregate else { return };
        self.predicate(|w| {
            w.optional(aggregate.agg_filter.as_deref());
            w.nodes(&aggregate.agg_order);
        });
        if let Some(window) = &aggregate.over {
            self.window(window);
        }
    }
}
