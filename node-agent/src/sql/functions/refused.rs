//! Functions that are refused unless a policy allows every function, in families.

/// By name, in any schema and with any number of arguments: extensions put some of them elsewhere.
/// Each family with what it does, which is the reason.
#[rustfmt::skip]
pub(super) const REFUSED: &[(&str, &[&str])] = &[
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
