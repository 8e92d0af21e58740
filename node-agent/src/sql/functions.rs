//! Which functions a statement may call without anybody vouching for them.
//!
//! *Pure* here means: a built-in that reads nothing but its arguments, the clock, the session and
//! the shape of the catalogue; it writes nothing, waits for nothing, runs no text. *Refused* are
//! those that take SQL text, or touch files, the network, locks, other sessions: only a policy
//! whose functions are `*` reaches them. Everything else, an application's own functions too,
//! must be named by a policy.

/// What is known of a function by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FunctionClass {
    /// Any statement that is otherwise allowed may call it.
    Pure,
    /// Must be named by a policy.
    Unknown,
    /// Must be allowed by `*`, with the reason.
    Refused(&'static str),
}

/// Looks a name up, as the server folded it. A schema other than `pg_catalog` (or
/// `information_schema`, whose `_pg_…` functions drivers call) makes any name unknown, except
/// that the refused names stay refused wherever an extension put them.
pub fn classify_function(schema: Option<&str>, name: &str) -> FunctionClass {
    if matches!(schema, None | Some("pg_catalog" | "information_schema"))
        && PURE.binary_search(&name).is_ok()
    {
        return FunctionClass::Pure;
    }
    for (reason, names) in REFUSED {
        if names.contains(&name) {
            return FunctionClass::Refused(reason);
        }
    }
    FunctionClass::Unknown
}

/// Functions whose result is made from a whole row when they are called as `row.function`: under
/// a mask, such a name used as a column stands for the row.
pub(crate) const ROW_READERS: &[&str] = &[
    "array_agg",
    "concat",
    "concat_ws",
    "count",
    "format",
    "hash_record",
    "hash_record_extended",
    "json_agg",
    "json_build_array",
    "json_build_object",
    "jsonb_agg",
    "jsonb_build_array",
    "jsonb_build_object",
    "num_nonnulls",
    "num_nulls",
    "pg_column_size",
    "quote_literal",
    "quote_nullable",
    "record_out",
    "record_send",
    "row_to_json",
    "to_json",
    "to_jsonb",
];

/// Sorted. aggregates and window functions; text; numbers; time; arrays, ranges and composite values; JSON; text search without a dictionary change; network, geometry, UUID, enum, XML values; the session and the server, as drivers ask.
#[rustfmt::skip]
const PURE: &[&str] = &[
    "_pg_char_max_length", "_pg_char_octet_length", "_pg_datetime_precision", "_pg_expandarray",
    "_pg_index_position", "_pg_interval_type", "_pg_numeric_precision",
    "_pg_numeric_precision_radix", "_pg_numeric_scale", "_pg_truetypid", "_pg_truetypmod", "abbrev",
    "abs", "acldefault", "aclexplode", "acos", "acosd", "acosh", "age", "any_value", "area",
    "array_agg", "array_append", "array_cat", "array_dims", "array_fill", "array_length",
    "array_lower", "array_ndims", "array_position", "array_positions", "array_prepend",
    "array_remove", "array_replace", "array_reverse", "array_sample", "array_shuffle", "array_sort",
    "array_to_json", "array_to_string", "array_to_tsvector", "array_upper", "ascii", "asin",
    "asind", "asinh", "atan", "atan2", "atan2d", "atand", "atanh", "avg", "bit", "bit_and",
    "bit_count", "bit_length", "bit_or", "bit_xor", "bool", "bool_and", "bool_or", "bound_box",
    "box", "bpchar", "broadcast", "btrim", "cardinality", "casefold", "cbrt", "ceil", "ceiling",
    "center", "char_length", "character_length", "chr", "circle", "clock_timestamp",
    "col_description", "concat", "concat_ws", "convert_from", "convert_to", "corr", "cos", "cosd",
    "cosh", "cot", "cotd", "count", "covar_pop", "covar_samp", "crc32", "crc32c", "cume_dist",
    "current_catalog", "current_database", "current_query", "current_role", "current_schema",
    "current_schemas", "current_setting", "current_user", "date", "date_add", "date_bin",
    "date_part", "date_subtract", "date_trunc", "datemultirange", "daterange", "decode", "degrees",
    "dense_rank", "diagonal", "diameter", "div", "encode", "enum_first", "enum_last", "enum_range",
    "erf", "erfc", "every", "exp", "extract", "factorial", "family", "first_value", "float4",
    "float8", "floor", "format", "format_type", "gamma", "gcd", "gen_random_uuid",
    "generate_series", "generate_subscripts", "get_bit", "get_byte", "get_current_ts_config",
    "has_any_column_privilege", "has_column_privilege", "has_database_privilege",
    "has_foreign_data_wrapper_privilege", "has_function_privilege", "has_language_privilege",
    "has_parameter_privilege", "has_schema_privilege", "has_sequence_privilege",
    "has_server_privilege", "has_table_privilege", "has_tablespace_privilege", "has_type_privilege",
    "hash_record", "hash_record_extended", "height", "host", "hostmask", "ilike", "inet",
    "inet_client_addr", "inet_client_port", "inet_merge", "inet_same_family", "inet_server_addr",
    "inet_server_port", "initcap", "int2", "int4", "int4multirange", "int4range", "int8",
    "int8multirange", "int8range", "interval", "is_normalized", "isclosed", "isempty", "isfinite",
    "isopen", "json_agg", "json_agg_strict", "json_array_element", "json_array_element_text",
    "json_array_elements", "json_array_elements_text", "json_array_length", "json_build_array",
    "json_build_object", "json_each", "json_each_text", "json_extract_path",
    "json_extract_path_text", "json_object", "json_object_agg", "json_object_agg_strict",
    "json_object_agg_unique", "json_object_agg_unique_strict", "json_object_field",
    "json_object_field_text", "json_object_keys", "json_populate_record", "json_populate_recordset",
    "json_strip_nulls", "json_to_record", "json_to_recordset", "json_typeof", "jsonb_agg",
    "jsonb_agg_strict", "jsonb_array_element", "jsonb_array_element_text", "jsonb_array_elements",
    "jsonb_array_elements_text", "jsonb_array_length", "jsonb_build_array", "jsonb_build_object",
    "jsonb_concat", "jsonb_contains", "jsonb_delete", "jsonb_delete_path", "jsonb_each",
    "jsonb_each_text", "jsonb_exists", "jsonb_exists_all", "jsonb_exists_any", "jsonb_extract_path",
    "jsonb_extract_path_text", "jsonb_insert", "jsonb_object", "jsonb_object_agg",
    "jsonb_object_agg_strict", "jsonb_object_agg_unique", "jsonb_object_agg_unique_strict",
    "jsonb_object_field", "jsonb_object_field_text", "jsonb_object_keys", "jsonb_path_exists",
    "jsonb_path_exists_tz", "jsonb_path_match", "jsonb_path_match_tz", "jsonb_path_query",
    "jsonb_path_query_array", "jsonb_path_query_array_tz", "jsonb_path_query_first",
    "jsonb_path_query_first_tz", "jsonb_path_query_tz", "jsonb_populate_record",
    "jsonb_populate_recordset", "jsonb_pretty", "jsonb_set", "jsonb_set_lax", "jsonb_strip_nulls",
    "jsonb_to_record", "jsonb_to_recordset", "jsonb_typeof", "justify_days", "justify_hours",
    "justify_interval", "lag", "last_value", "lcm", "lead", "left", "length", "lgamma", "like",
    "like_escape", "line", "ln", "log", "log10", "lower", "lower_inc", "lower_inf", "lpad", "lseg",
    "ltrim", "macaddr8_set7bit", "make_date", "make_interval", "make_time", "make_timestamp",
    "make_timestamptz", "makeaclitem", "masklen", "max", "md5", "min", "min_scale", "mod", "mode",
    "multirange", "netmask", "network", "normalize", "notlike", "now", "npoints", "nth_value",
    "ntile", "num_nonnulls", "num_nulls", "numeric", "nummultirange", "numnode", "numrange",
    "obj_description", "octet_length", "overlaps", "overlay", "parse_ident", "path", "pclose",
    "percent_rank", "percentile_cont", "percentile_disc", "pg_backend_pid", "pg_char_to_encoding",
    "pg_client_encoding", "pg_collation_for", "pg_collation_is_visible", "pg_column_compression",
    "pg_column_is_updatable", "pg_column_size", "pg_conf_load_time", "pg_conversion_is_visible",
    "pg_current_snapshot", "pg_current_xact_id", "pg_current_xact_id_if_assigned",
    "pg_database_size", "pg_describe_object", "pg_encoding_max_length", "pg_encoding_to_char",
    "pg_function_is_visible", "pg_get_catalog_foreign_keys", "pg_get_constraintdef", "pg_get_expr",
    "pg_get_function_arg_default", "pg_get_function_arguments",
    "pg_get_function_identity_arguments", "pg_get_function_result", "pg_get_functiondef",
    "pg_get_indexdef", "pg_get_keywords", "pg_get_partition_constraintdef", "pg_get_partkeydef",
    "pg_get_ruledef", "pg_get_serial_sequence", "pg_get_statisticsobjdef", "pg_get_triggerdef",
    "pg_get_userbyid", "pg_get_viewdef", "pg_has_role", "pg_identify_object",
    "pg_index_column_has_property", "pg_index_has_property", "pg_indexam_has_property",
    "pg_indexes_size", "pg_is_in_recovery", "pg_is_other_temp_schema", "pg_jit_available",
    "pg_my_temp_schema", "pg_opclass_is_visible", "pg_operator_is_visible",
    "pg_opfamily_is_visible", "pg_options_to_table", "pg_partition_ancestors", "pg_partition_root",
    "pg_partition_tree", "pg_postmaster_start_time", "pg_relation_is_updatable", "pg_relation_size",
    "pg_sequence_last_value", "pg_sequence_parameters", "pg_size_bytes", "pg_size_pretty",
    "pg_statistics_obj_is_visible", "pg_table_is_visible", "pg_table_size",
    "pg_total_relation_size", "pg_ts_config_is_visible", "pg_ts_dict_is_visible",
    "pg_ts_parser_is_visible", "pg_ts_template_is_visible", "pg_type_is_visible", "pg_typeof",
    "phraseto_tsquery", "pi", "plainto_tsquery", "point", "polygon", "popen", "position", "pow",
    "power", "querytree", "quote_ident", "quote_literal", "quote_nullable", "radians", "radius",
    "random", "random_normal", "range_agg", "range_intersect_agg", "range_merge", "rank",
    "regclass", "regexp_count", "regexp_instr", "regexp_like", "regexp_match", "regexp_matches",
    "regexp_replace", "regexp_split_to_array", "regexp_split_to_table", "regexp_substr",
    "regnamespace", "regproc", "regr_avgx", "regr_avgy", "regr_count", "regr_intercept", "regr_r2",
    "regr_slope", "regr_sxx", "regr_sxy", "regr_syy", "regtype", "repeat", "replace", "reverse",
    "right", "round", "row_number", "row_security_active", "row_to_json", "rpad", "rtrim", "scale",
    "session_user", "set_bit", "set_byte", "set_masklen", "setweight", "sha224", "sha256", "sha384",
    "sha512", "shobj_description", "sign", "similar_escape", "similar_to_escape", "sin", "sind",
    "sinh", "slope", "split_part", "sqrt", "starts_with", "statement_timestamp", "stddev",
    "stddev_pop", "stddev_samp", "string_agg", "string_to_array", "string_to_table", "strip",
    "strpos", "substr", "substring", "sum", "system_user", "tan", "tand", "tanh", "text", "textcat",
    "texticlike", "texticnlike", "textlen", "textlike", "textnlike", "textregexeq", "time",
    "timeofday", "timestamp", "timestamptz", "timezone", "to_ascii", "to_bin", "to_char", "to_date",
    "to_hex", "to_json", "to_jsonb", "to_number", "to_oct", "to_regclass", "to_regcollation",
    "to_regnamespace", "to_regoper", "to_regoperator", "to_regproc", "to_regprocedure",
    "to_regrole", "to_regtype", "to_regtypemod", "to_timestamp", "to_tsquery", "to_tsvector",
    "transaction_timestamp", "translate", "trim", "trim_array", "trim_scale", "trunc", "ts_delete",
    "ts_filter", "ts_headline", "ts_rank", "ts_rank_cd", "tsmultirange", "tsquery_phrase",
    "tsrange", "tstzmultirange", "tstzrange", "tsvector_to_array", "txid_current",
    "txid_current_if_assigned", "txid_current_snapshot", "unicode_assigned", "unicode_version",
    "unistr", "unnest", "upper", "upper_inc", "upper_inf", "user", "uuid_extract_timestamp",
    "uuid_extract_version", "uuidv4", "uuidv7", "var_pop", "var_samp", "varbit", "varchar",
    "variance", "version", "websearch_to_tsquery", "width", "width_bucket", "xml_is_well_formed",
    "xml_is_well_formed_content", "xml_is_well_formed_document", "xmlagg", "xmlcomment",
    "xmlexists", "xmltext", "xpath", "xpath_exists",
];

/// With what each family does.
#[rustfmt::skip]
const REFUSED: &[(&str, &[&str])] = &[
    ("functions that take SQL text, or the name of a table as text, and read it", &[
        "query_to_xml", "query_to_xml_and_xmlschema", "query_to_xmlschema", "cursor_to_xml",
        "cursor_to_xmlschema", "table_to_xml", "table_to_xml_and_xmlschema", "table_to_xmlschema",
        "schema_to_xml", "schema_to_xml_and_xmlschema", "schema_to_xmlschema", "database_to_xml",
        "database_to_xml_and_xmlschema", "database_to_xmlschema", "ts_stat", "ts_rewrite",
        "crosstab", "crosstab2", "crosstab3", "crosstab4", "crosstabn", "connectby", "xpath_table",
        "get_raw_page", "heap_page_items", "heap_page_item_attrs", "tuple_data_split",
        "bt_page_items", "brin_page_items", "gin_leafpage_items", "gist_page_items",
        "hash_page_items", "pgstattuple",
    ]),
    ("functions that read or write the server's files", &[
        "pg_read_file", "pg_read_file_old", "pg_read_binary_file", "pg_ls_dir", "pg_ls_logdir",
        "pg_ls_waldir", "pg_ls_tmpdir", "pg_ls_archive_statusdir", "pg_ls_logicalmapdir",
        "pg_ls_logicalsnapdir", "pg_ls_replslotdir", "pg_ls_summariesdir", "pg_stat_file",
        "pg_current_logfile", "pg_file_read", "pg_file_write", "pg_file_sync", "pg_file_rename",
        "pg_file_unlink", "pg_logdir_ls", "pg_hba_file_rules", "pg_ident_file_mappings",
        "pg_show_all_file_settings", "pg_file_settings", "pg_relation_filepath",
    ]),
    ("functions that reach large objects, a store beside every table", &[
        "lo_import", "lo_export", "lo_create", "lo_creat", "lo_open", "lo_close", "lo_get",
        "lo_put", "lo_from_bytea", "lo_unlink", "lo_truncate", "lo_truncate64", "lo_lseek",
        "lo_lseek64", "lo_tell", "lo_tell64", "loread", "lowrite",
    ]),
    ("functions that reach other servers", &[
        "dblink", "dblink_exec", "dblink_connect", "dblink_connect_u", "dblink_disconnect",
        "dblink_open", "dblink_fetch", "dblink_close", "dblink_send_query", "dblink_get_result",
        "dblink_is_busy", "dblink_cancel_query", "dblink_error_message", "dblink_get_connections",
        "dblink_get_notify", "dblink_get_pkey", "dblink_build_sql_insert",
        "dblink_build_sql_update", "dblink_build_sql_delete", "dblink_current_query",
        "dblink_fdw_validator", "postgres_fdw_get_connections", "postgres_fdw_disconnect",
        "postgres_fdw_disconnect_all", "http", "http_get", "http_post", "http_put", "http_patch",
        "http_delete", "http_head",
    ]),
    ("functions that reach other sessions or hold things up", &[
        "pg_sleep", "pg_sleep_for", "pg_sleep_until", "pg_terminate_backend", "pg_cancel_backend",
        "pg_reload_conf", "pg_rotate_logfile", "pg_promote", "pg_switch_wal",
        "pg_create_restore_point", "pg_backup_start", "pg_backup_stop", "pg_start_backup",
        "pg_stop_backup", "pg_wal_replay_pause", "pg_wal_replay_resume",
        "pg_log_backend_memory_contexts", "pg_notify", "pg_listening_channels", "pg_advisory_lock",
        "pg_advisory_lock_shared", "pg_advisory_xact_lock", "pg_advisory_xact_lock_shared",
        "pg_try_advisory_lock", "pg_try_advisory_lock_shared", "pg_try_advisory_xact_lock",
        "pg_try_advisory_xact_lock_shared", "pg_export_snapshot", "pg_stat_get_activity",
        "pg_stat_get_backend_activity", "pg_stat_get_progress_info", "pg_prepared_statement",
        "pg_prepared_xact", "pg_cursor", "pg_stat_statements", "pg_stat_reset",
        "pg_stat_reset_shared", "pg_stat_reset_single_table_counters",
        "pg_stat_reset_single_function_counters", "pg_stat_reset_slru",
        "pg_stat_reset_replication_slot", "pg_stat_statements_reset", "pg_restore_relation_stats",
        "pg_restore_attribute_stats", "pg_clear_relation_stats", "pg_clear_attribute_stats",
        "pg_sync_replication_slots",
    ]),
    ("functions that read or write the log", &[
        "pg_logical_slot_get_changes", "pg_logical_slot_peek_changes",
        "pg_logical_slot_get_binary_changes", "pg_logical_slot_peek_binary_changes",
        "pg_create_physical_replication_slot", "pg_create_logical_replication_slot",
        "pg_copy_physical_replication_slot", "pg_copy_logical_replication_slot",
        "pg_drop_replication_slot", "pg_replication_slot_advance", "pg_logical_emit_message",
        "pg_replication_origin_create", "pg_replication_origin_drop",
        "pg_replication_origin_advance", "pg_replication_origin_session_setup",
        "pg_get_wal_record_info", "pg_get_wal_records_info", "pg_get_wal_block_info",
    ]),
    ("functions that change a setting that is not written plainly", &[
        "set_config", "pg_extension_config_dump", "pg_import_system_collations",
    ]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pure_list_is_sorted_and_apart_from_the_refused() {
        assert!(PURE.windows(2).all(|w| w[0] < w[1]));
        for (_, names) in REFUSED {
            for name in *names {
                assert!(PURE.binary_search(name).is_err(), "{name} is on both lists");
            }
        }
    }

    #[test]
    fn a_name_is_pure_only_in_the_servers_own_schemas() {
        assert_eq!(classify_function(None, "lower"), FunctionClass::Pure);
        assert_eq!(
            classify_function(Some("pg_catalog"), "lower"),
            FunctionClass::Pure
        );
        assert_eq!(
            classify_function(Some("app"), "lower"),
            FunctionClass::Unknown
        );
        assert_eq!(classify_function(None, "price"), FunctionClass::Unknown);
        for name in [
            "pg_read_file",
            "dblink",
            "query_to_xml",
            "pg_sleep",
            "set_config",
            "lo_get",
        ] {
            assert!(
                matches!(classify_function(None, name), FunctionClass::Refused(_)),
                "{name}"
            );
            assert!(matches!(
                classify_function(Some("x"), name),
                FunctionClass::Refused(_)
            ));
        }
    }
}
