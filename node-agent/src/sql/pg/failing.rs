//! Computations that fail for some values and not for others, or take longer: an answer that comes
//! tells of a value as a condition does, though no row shows it. `1 / (n - 5)` is `n = 5`.
//!
//! What is listed here does neither, whatever the values. All else that is computed from a column
//! also counts as deciding by it.

use pg_query::protobuf as pb;
use pg_query::protobuf::node::Node as N;

use super::names;
use super::walk::Walk;
use crate::sql::ColumnRole;

/// Operators that have a value for all operands: strings and documents put together or taken apart.
const TOTAL_OPERATORS: &[&str] = &["||", "->", "->>", "#>", "#>>"];

/// Functions that have a value for all arguments. Sorted.
const TOTAL: &[&str] = &[
    "array_agg",
    "array_to_json",
    "ascii",
    "avg",
    "bit_length",
    "bool_and",
    "bool_or",
    "btrim",
    "cardinality",
    "char_length",
    "character_length",
    "concat",
    "concat_ws",
    "count",
    "every",
    "first_value",
    "host",
    "initcap",
    "json_agg",
    "json_array_length",
    "json_build_array",
    "json_typeof",
    "jsonb_agg",
    "jsonb_build_array",
    "jsonb_pretty",
    "jsonb_typeof",
    "last_value",
    "length",
    "lower",
    "ltrim",
    "max",
    "md5",
    "min",
    "num_nonnulls",
    "num_nulls",
    "octet_length",
    "pg_column_size",
    "pg_typeof",
    "quote_ident",
    "quote_literal",
    "quote_nullable",
    "reverse",
    "row_to_json",
    "rtrim",
    "sha224",
    "sha256",
    "sha384",
    "sha512",
    "sign",
    "starts_with",
    "string_agg",
    "strpos",
    "sum",
    "to_json",
    "to_jsonb",
    "upper",
    "xmlagg",
];

/// Those that have one for every first argument, where the others are written out. Sorted.
const TOTAL_BY_THE_FIRST: &[&str] = &[
    "array_length",
    "array_to_string",
    "date_part",
    "date_trunc",
    "encode",
    "extract",
    "lag",
    "lead",
    "left",
    "nth_value",
    "overlay",
    "position",
    "right",
    "split_part",
    "substr",
    "substring",
    "to_char",
    "translate",
];

/// Types that everything can be cast to.
const TOTAL_TYPES: &[&str] = &["bpchar", "char", "name", "text", "varchar"];

impl Walk {
    /// Runs `walk` over what a computation is made of. Unless it has a value for all operands, the
    /// columns among them decide too.
    pub(super) fn computed(&mut self, total: bool, walk: impl FnOnce(&mut Self)) {
        if total || self.failing || self.role == ColumnRole::Predicate {
            return walk(self);
        }
        let mark = self.mark();
        self.failing = true;
        walk(self);
        self.failing = false;
        self.predicates_since(mark);
    }

    pub(super) fn cast(&mut self, cast: &pb::TypeCast) {
        let name = cast.type_name.as_ref();
        let to = name.map(|name| names::texts(&name.names));
        let plain = name.is_some_and(|name| name.array_bounds.is_empty() && !name.setof);
        let total = match to.as_deref() {
            Some([name] | ["pg_catalog", name]) => plain && TOTAL_TYPES.contains(name),
            Some(_) | None => false,
        };
        self.computed(total, |w| w.optional(cast.arg.as_deref()));
        self.type_name(name);
    }
}

/// Whether an operator has a value for all operands.
pub(super) fn is_total_operator(expression: &pb::AExpr) -> bool {
    match names::texts(&expression.name).as_slice() {
        [name] | ["pg_catalog", name] => TOTAL_OPERATORS.contains(name),
        _ => false,
    }
}

/// Whether a call has a value for all arguments that a column can give.
pub(super) fn is_total_call(call: &pb::FuncCall) -> bool {
    let parts = names::texts(&call.funcname);
    let ([name] | ["pg_catalog", name]) = parts.as_slice() else {
        return false;
    };
    let written = |node: &pb::Node| is_written_out(node);
    TOTAL.binary_search(name).is_ok()
        || (TOTAL_BY_THE_FIRST.binary_search(name).is_ok()
            // `extract(year from d)` has the unit first.
            && call.args.iter().filter(|node| !written(node)).count() <= 1
            && position_of_value(name, &call.args))
}

/// Whether the function of that name has a value whatever its only argument is.
pub(super) fn is_total_name(name: &str) -> bool {
    TOTAL.binary_search(&name).is_ok()
}

/// Whether a value is there whatever the columns hold: no computation, or one that always has a value.
pub(super) fn cannot_fail(node: &pb::Node) -> bool {
    match &node.node {
        Some(N::AConst(_) | N::ColumnRef(_) | N::ParamRef(_)) => true,
        Some(N::FuncCall(call)) => is_total_call(call) && call.args.iter().all(cannot_fail),
        Some(N::TypeCast(cast)) => {
            let to = cast
                .type_name
                .as_ref()
                .map(|name| names::texts(&name.names));
            let total = match to.as_deref() {
                Some([name] | ["pg_catalog", name]) => TOTAL_TYPES.contains(name),
                Some(_) | None => false,
            };
            let arg = cast.arg.as_deref();
            arg.is_some_and(is_written_out) || (total && arg.is_some_and(cannot_fail))
        }
        Some(_) | None => false,
    }
}

/// The argument that may be a column stands where the function takes any value.
fn position_of_value(name: &str, args: &[pb::Node]) -> bool {
    let value = match name {
        "date_part" | "date_trunc" | "extract" => 1,
        _ => 0,
    };
    let others = args.iter().enumerate().filter(|(at, _)| *at != value);
    others.into_iter().all(|(_, node)| is_written_out(node))
}

fn is_written_out(node: &pb::Node) -> bool {
    match &node.node {
        Some(N::AConst(_)) => true,
        Some(N::TypeCast(cast)) => cast.arg.as_deref().is_some_and(is_written_out),
        Some(_) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Dialect;
    use crate::sql::{ColumnUse, analyze};

    #[test]
    fn the_lists_are_sorted() {
        for list in [TOTAL, TOTAL_BY_THE_FIRST, TOTAL_TYPES] {
            assert!(list.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }

    #[test]
    fn what_can_fail_by_a_column_decides_by_it() {
        for (expression, decides) in [
            ("a", false),
            ("a as b", false),
            ("upper(a)", false),
            ("a || 'x' || lower(a)", false),
            ("a::text", false),
            ("a::varchar(3)", false),
            ("substr(a, 1, 2)", false),
            ("date_trunc('year', a)", false),
            ("extract(year from a)", false),
            ("string_agg(a, ',')", false),
            ("a ->> 'k'", false),
            ("coalesce(a, 'x')", false),
            ("1 / (a - 5)", true),
            ("a + 9223372036854775807", true),
            ("a::int", true),
            ("cast(a as date)", true),
            ("a::text[]", true),
            ("substr(a, 1, 1)::int", true),
            ("chr(ascii(a))", true),
            ("substr('x', a)", true),
            ("date_trunc(a, now())", true),
            ("repeat('x', length(a))", true),
            ("to_date(a, 'YYYY')", true),
            ("app.upper(a)", true),
            ("sqrt(a)", true),
            ("upper((a + 1)::text)", true),
            ("array[1, a::int]", true),
            ("-a", true),
        ] {
            let text = format!("select {expression} from t");
            let facts = analyze(Dialect::Postgres, &text).statements.swap_remove(0);
            let is =
                |column: &ColumnUse| column.name == "a" && column.role == ColumnRole::Predicate;
            assert_eq!(facts.columns.iter().any(is), decides, "{expression}");
        }
    }

    fn decides(text: &str, column: &str) -> bool {
        let facts = analyze(Dialect::Postgres, text).statements.swap_remove(0);
        let is = |one: &ColumnUse| one.name == column && one.role == ColumnRole::Predicate;
        facts.columns.iter().any(is)
    }

    #[test]
    fn what_leaves_out_a_failure_or_makes_rows_decides() {
        for (text, want) in [
            (
                "select starts_with(a, '5') and 1 / (id - 7) = 0 from t",
                true,
            ),
            ("select starts_with(a, '5') or id = 7 from t", true),
            ("select not starts_with(a, '5') from t", false),
            ("select a in (select 'x') from t", true),
            ("select a = any (select 'x') from t", true),
            ("select coalesce(a, 'x', b) from t", false),
            ("select coalesce(a, upper(b)) from t", false),
            ("select coalesce(a, (1 / (id - 7))::text) from t", true),
            ("select (substr(a, 1, 1)).int4 from t", true),
            ("select (a).unnest from t", true),
            ("select ((a || ' 0').to_tsvector).unnest from t", true),
            ("select (a).upper from t", false),
            ("select (a).b from t", false),
            ("select 1 from t, unnest(t.a, array[1])", true),
            (
                "select c, 0, array_agg(id) from (select id, a from t) s(id, c) group by (1, 2)",
                true,
            ),
            (
                "select c, 0, count(*) from (select id, a from t) s(id, c) group by rollup ((1, 2))",
                true,
            ),
            (
                "with recursive r(id, a) as (select id, a from t union all select id, '5' from r) \
                 cycle a set c using p select count(*) from r",
                true,
            ),
        ] {
            let column = if text.contains("s(id, c)") { "c" } else { "a" };
            assert_eq!(decides(text, column), want, "{text}");
        }
        let text = "select id from (select id, a as system_user from t) s where system_user = 'x'";
        assert!(decides(text, "system_user"));
    }

    #[test]
    fn a_sum_is_looked_at_once() {
        let sum = (0..8).fold("a".to_owned(), |sum, _| format!("({sum} + {sum})"));
        let text = format!("select {sum} from t");
        let analysis = analyze(Dialect::Postgres, &text);
        assert_eq!(analysis.sureness, crate::sql::Sureness::Complete);
        assert!(analysis.statements[0].columns.len() <= 2);
    }
}
