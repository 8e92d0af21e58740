//! `(value).name`, and `alias.name` of a function in FROM, call the function `name` where the value
//! has no column of that name: `('a'::text).pg_read_file`, `SELECT f.pg_sleep FROM unnest(…) f`
//! (PostgreSQL, 38.3.2; `ParseFuncOrColumn` takes any function of one argument, of a value of any
//! type). So each such name counts as a call, but for columns that the value is known to have. Policy
//! asks the catalogue whether there is such a function at all.
//!
//! `alias.name` of a table calls only functions that take its row, which nobody makes by accident;
//! it is a column here.

use pg_query::protobuf as pb;
use pg_query::protobuf::node::Node as N;

use super::names;
use super::walk::Walk;
use crate::sql::{FunctionClass, classify_function};

/// The columns of what the server's own functions yield, by function.
const YIELDED: &[(&str, &[&str])] = &[
    ("_pg_expandarray", &["x", "n"]),
    (
        "aclexplode",
        &["grantor", "grantee", "privilege_type", "is_grantable"],
    ),
    ("json_each", &["key", "value"]),
    ("json_each_text", &["key", "value"]),
    ("jsonb_each", &["key", "value"]),
    ("jsonb_each_text", &["key", "value"]),
    (
        "pg_get_catalog_foreign_keys",
        &[
            "fktable", "fkcols", "pktable", "pkcols", "is_array", "is_opt",
        ],
    ),
    (
        "pg_get_keywords",
        &["word", "catcode", "barelabel", "catdesc", "baredesc"],
    ),
    (
        "pg_identify_object",
        &["type", "schema", "name", "identity"],
    ),
    (
        "pg_identify_object_as_address",
        &["type", "object_names", "object_args"],
    ),
    ("pg_options_to_table", &["option_name", "option_value"]),
    (
        "pg_partition_tree",
        &["relid", "parentrelid", "isleaf", "level"],
    ),
    ("pg_partition_ancestors", &["relid"]),
    (
        "pg_sequence_parameters",
        &[
            "start_value",
            "minimum_value",
            "maximum_value",
            "increment",
            "cycle_option",
            "cache_size",
            "data_type",
        ],
    ),
];

/// The server's own functions whose columns are those of a type that an argument names.
const OF_A_TYPE: &[&str] = &[
    "json_populate_record",
    "json_populate_recordset",
    "jsonb_populate_record",
    "jsonb_populate_recordset",
];

/// A function in FROM.
pub(super) struct CallInFrom {
    /// Its alias, or its own name.
    shown: String,
    /// Columns that it is known to have.
    columns: Vec<String>,
    /// Whether it has others, which no text shows.
    others: bool,
}

impl CallInFrom {
    pub(super) fn of(function: &pb::RangeFunction, name: &str) -> Self {
        let alias = function.alias.as_ref();
        let shown = alias.map_or(name, |alias| alias.aliasname.as_str());
        let mut columns = vec![shown.to_owned(), name.to_owned(), "ordinality".to_owned()];
        let mut others = false;
        let named = alias.map(|alias| names::texts(&alias.colnames));
        columns.extend(named.unwrap_or_default().into_iter().map(str::to_owned));
        let mut defined = |list: &[pb::Node]| {
            for column in list {
                if let Some(N::ColumnDef(column)) = &column.node {
                    columns.push(column.colname.clone());
                }
            }
        };
        defined(&function.coldeflist);
        for item in &function.functions {
            let Some(N::List(list)) = &item.node else {
                continue;
            };
            for part in &list.items {
                if let Some(N::List(list)) = &part.node {
                    defined(&list.items);
                }
            }
        }
        for item in &function.functions {
            if let Some(N::List(list)) = &item.node
                && let Some(N::FuncCall(call)) = list.items.first().and_then(|n| n.node.as_ref())
            {
                let yielded = yielded(call);
                columns.extend(yielded.unwrap_or_default().iter().map(|c| (*c).to_owned()));
                others |= yielded.is_none();
            }
        }
        CallInFrom {
            shown: shown.to_owned(),
            columns,
            others,
        }
    }
}

/// The columns of what a call yields; none where no text shows them.
fn yielded(call: &pb::FuncCall) -> Option<&'static [&'static str]> {
    let parts = names::texts(&call.funcname);
    let (schema, name) = match parts.as_slice() {
        [name] => (None, *name),
        [schema, name] => (Some(*schema), *name),
        _ => return None,
    };
    if classify_function(schema, name, call.args.len()) != FunctionClass::Pure
        || OF_A_TYPE.contains(&name)
    {
        return None;
    }
    let known = YIELDED.iter().find(|(of, _)| *of == name);
    Some(known.map_or(&[], |(_, columns)| columns))
}

impl Walk {
    /// `(value).name`.
    pub(super) fn attribute(&mut self, value: Option<&pb::Node>, name: &str) {
        if !self.is_yielded(value, name) {
            self.column_or_call(name);
        }
    }

    /// Whether a value is that of a call which is known to yield such a column.
    pub(super) fn is_yielded(&self, value: Option<&pb::Node>, name: &str) -> bool {
        match value.and_then(|value| value.node.as_ref()) {
            Some(N::FuncCall(call)) => yielded(call).is_some_and(|c| c.contains(&name)),
            _ => false,
        }
    }

    fn column_or_call(&mut self, name: &str) {
        self.function(&[name], 1);
        // As many as there are calls, which are counted.
        if !self.facts.attributes.iter().any(|known| known == name) {
            self.facts.attributes.push(name.to_owned());
        }
    }

    /// `of.name`, which is an attribute where `of` is a function in FROM. A function whose columns no
    /// text shows was vouched for; its columns cannot be told from calls, but what is refused
    /// always is no column's name.
    pub(super) fn attribute_of_call(&mut self, of: &str, name: &str) {
        let mut calls = self.calls_in_from.iter().filter(|call| call.shown == of);
        let refused = matches!(classify_function(None, name, 1), FunctionClass::Refused(_));
        let called = calls.any(|call| {
            !call.columns.iter().any(|column| column == name) && (refused || !call.others)
        });
        if called {
            self.column_or_call(name);
        }
    }
}
