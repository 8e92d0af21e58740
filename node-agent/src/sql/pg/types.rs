//! Which types are the server's own.

/// By the names under which `pg_catalog` has them (PostgreSQL 15 to 18), without the array types,
/// which the grammar writes otherwise. Sorted.
#[rustfmt::skip]
const TYPES: &[&str] = &[
    "aclitem", "any", "anyarray", "anycompatible", "anycompatiblearray",
    "anycompatiblemultirange", "anycompatiblenonarray", "anycompatiblerange", "anyelement",
    "anyenum", "anymultirange", "anynonarray", "anyrange", "bit", "bool", "box", "bpchar", "bytea",
    "char", "cid", "cidr", "circle", "cstring", "date", "datemultirange", "daterange",
    "event_trigger", "fdw_handler", "float4", "float8", "gtsvector", "index_am_handler", "inet",
    "int2", "int2vector", "int4", "int4multirange", "int4range", "int8", "int8multirange",
    "int8range", "internal", "interval", "json", "jsonb", "jsonpath", "language_handler", "line",
    "lseg", "macaddr", "macaddr8", "money", "name", "numeric", "nummultirange", "numrange", "oid",
    "oidvector", "path", "pg_brin_bloom_summary", "pg_brin_minmax_multi_summary",
    "pg_ddl_command", "pg_dependencies", "pg_lsn", "pg_mcv_list", "pg_ndistinct", "pg_node_tree",
    "pg_snapshot", "point", "polygon", "record", "refcursor", "regclass", "regcollation",
    "regconfig", "regdictionary", "regnamespace", "regoper", "regoperator", "regproc",
    "regprocedure", "regrole", "regtype", "table_am_handler", "text", "tid", "time", "timestamp",
    "timestamptz", "timetz", "trigger", "tsm_handler", "tsmultirange", "tsquery", "tsrange",
    "tstzmultirange", "tstzrange", "tsvector", "txid_snapshot", "unknown", "uuid", "varbit",
    "varchar", "void", "xid", "xid8", "xml",
];

/// What the grammar makes columns of that fill themselves.
const SERIAL: &[&str] = &[
    "serial",
    "bigserial",
    "smallserial",
    "serial2",
    "serial4",
    "serial8",
];

/// Whether a type is the server's own. Without a schema a name is looked for in `pg_catalog` first.
pub(in crate::sql) fn is_the_servers(schema: Option<&str>, name: &str) -> bool {
    match schema {
        None => {
            TYPES.binary_search(&name).is_ok()
                || SERIAL.contains(&name)
                || name
                    .strip_prefix('_')
                    .is_some_and(|element| TYPES.binary_search(&element).is_ok())
        }
        Some("pg_catalog" | "information_schema") => true,
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted() {
        assert!(TYPES.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
