//! Names out of the grammar's lists.

use pg_query::protobuf as pb;
use pg_query::protobuf::node::Node as N;

use crate::sql::RelationName;

/// The string of a `String` node.
pub(in crate::sql) fn text(node: &pb::Node) -> Option<&str> {
    match &node.node {
        Some(N::String(s)) => Some(&s.sval),
        _ => None,
    }
}

/// The strings of a list of `String` nodes; anything else in it is left out.
pub(in crate::sql) fn texts(nodes: &[pb::Node]) -> Vec<&str> {
    nodes.iter().filter_map(text).collect()
}

/// The relation a `RangeVar` names. A temporary relation without a schema is in `pg_temp`.
pub(in crate::sql) fn relation(var: &pb::RangeVar) -> RelationName {
    let schema = if !var.schemaname.is_empty() {
        Some(var.schemaname.clone())
    } else if var.relpersistence == "t" {
        Some("pg_temp".to_owned())
    } else {
        None
    };
    RelationName {
        schema,
        name: var.relname.clone(),
    }
}

/// A qualified name such as `schema.name` or `database.schema.name`.
pub(super) fn qualified(parts: &[&str]) -> Option<RelationName> {
    match parts {
        [name] => Some(RelationName {
            schema: None,
            name: (*name).to_owned(),
        }),
        [.., schema, name] => Some(RelationName {
            schema: Some((*schema).to_owned()),
            name: (*name).to_owned(),
        }),
        [] => None,
    }
}

/// Everything in a schema.
pub(super) fn whole_schema(schema: &str) -> RelationName {
    RelationName {
        schema: Some(schema.to_owned()),
        name: "*".to_owned(),
    }
}

/// The value of a plain literal, as text.
pub(super) fn literal(node: &pb::Node) -> Option<String> {
    use pg_query::protobuf::a_const::Val;
    match &node.node {
        Some(N::AConst(constant)) => match constant.val.as_ref()? {
            Val::Ival(v) => Some(v.ival.to_string()),
            Val::Fval(v) => Some(v.fval.clone()),
            Val::Boolval(v) => Some(v.boolval.to_string()),
            Val::Sval(v) => Some(v.sval.clone()),
            Val::Bsval(v) => Some(v.bsval.clone()),
        },
        // SET x = 'a'::interval and the like.
        Some(N::TypeCast(cast)) => literal(cast.arg.as_deref()?),
        _ => None,
    }
}

/// The name that the server gives an output column without an alias; two where it depends on a
/// type that the text alone does not show.
pub(super) fn output_names(node: Option<&pb::Node>) -> Vec<String> {
    let Some(node) = node.and_then(|n| n.node.as_ref()) else {
        return vec!["?column?".to_owned()];
    };
    let fixed = |name: &str| vec![name.to_owned()];
    match node {
        N::ColumnRef(column) => match texts(&column.fields).last() {
            Some(name) => fixed(name),
            None => fixed("*"),
        },
        N::AIndirection(path) => match texts(&path.indirection).last() {
            Some(name) => fixed(name),
            None => output_names(path.arg.as_deref()),
        },
        N::FuncCall(call) => fixed(texts(&call.funcname).last().unwrap_or(&"?column?")),
        N::AExpr(_) => vec!["?column?".to_owned(), "nullif".to_owned()],
        N::TypeCast(cast) => {
            let mut names = output_names(cast.arg.as_deref());
            if let Some(of) = &cast.type_name
                && let Some(last) = texts(&of.names).last()
            {
                names.push((*last).to_owned());
            }
            names
        }
        N::CollateClause(collate) => output_names(collate.arg.as_deref()),
        N::CaseExpr(case) => {
            let mut names = output_names(case.defresult.as_deref());
            names.push("case".to_owned());
            names
        }
        N::SubLink(link) => {
            let mut names = vec![
                "exists".to_owned(),
                "array".to_owned(),
                "?column?".to_owned(),
            ];
            if let Some(N::SelectStmt(select)) =
                link.subselect.as_ref().and_then(|n| n.node.as_ref())
            {
                names.extend(select_names(select));
            }
            names
        }
        N::AArrayExpr(_) => fixed("array"),
        N::RowExpr(_) => fixed("row"),
        N::CoalesceExpr(_) => fixed("coalesce"),
        N::MinMaxExpr(_) => vec!["greatest".to_owned(), "least".to_owned()],
        N::GroupingFunc(_) => fixed("grouping"),
        N::XmlSerialize(_) => fixed("xmlserialize"),
        N::XmlExpr(_) => [
            "xmlconcat",
            "xmlelement",
            "xmlforest",
            "xmlparse",
            "xmlpi",
            "xmlroot",
        ]
        .map(str::to_owned)
        .to_vec(),
        N::JsonFuncExpr(_) => ["json_exists", "json_query", "json_value"]
            .map(str::to_owned)
            .to_vec(),
        N::JsonObjectConstructor(_) => fixed("json_object"),
        N::JsonArrayConstructor(_) | N::JsonArrayQueryConstructor(_) => fixed("json_array"),
        N::JsonObjectAgg(_) => fixed("json_objectagg"),
        N::JsonArrayAgg(_) => fixed("json_arrayagg"),
        N::JsonScalarExpr(_) => fixed("json_scalar"),
        N::JsonSerializeExpr(_) => fixed("json_serialize"),
        N::JsonParseExpr(_) => fixed("json"),
        // Everything else is printed `?column?` (FigureColname in the server's parse_target.c).
        _ => fixed("?column?"),
    }
}

/// The output names of a select: of its leftmost arm where it is a set operation.
pub(super) fn select_names(select: &pb::SelectStmt) -> Vec<String> {
    if let Some(left) = &select.larg {
        return select_names(left);
    }
    if let Some(N::List(row)) = select.values_lists.first().and_then(|n| n.node.as_ref()) {
        return (1..=row.items.len())
            .map(|i| format!("column{i}"))
            .collect();
    }
    select.target_list.iter().flat_map(target_names).collect()
}

/// The names of one entry of a select list.
pub(super) fn target_names(target: &pb::Node) -> Vec<String> {
    match &target.node {
        Some(N::ResTarget(target)) if !target.name.is_empty() => vec![target.name.clone()],
        Some(N::ResTarget(target)) => output_names(target.val.as_deref()),
        _ => vec!["?column?".to_owned()],
    }
}
