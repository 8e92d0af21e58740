//! Built-in functions that any statement may call, in families, each with its reason.
//!
//! A call is known by its schema, its name and the number of its arguments; a text does not show
//! their types. Each name stands with every number of arguments that a built-in of that name
//! takes in PostgreSQL 15 to 18: with any other number it is somebody's own function. A test holds
//! the list against the servers' `pg_proc`: no name that they do not have, none that can write, and
//! none that is volatile but in the families that say so here.

/// Functions that are pure for one reason.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// What they are about.
    pub of: &'static str,
    /// Numbers of arguments, whether more than a number will do too, and the names that take these.
    pub(super) members: &'static [Members],
}

/// Numbers of arguments; from how many on any number will do; names.
pub(super) type Members = (&'static [usize], Option<usize>, &'static str);

impl Family {
    /// Its names, sorted within each number of arguments.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.members
            .iter()
            .flat_map(|(_, _, names)| names.split(' '))
    }

    /// Its names, each with the numbers of arguments it takes, and from which on any.
    pub fn calls(&self) -> impl Iterator<Item = (&'static str, &'static [usize], Option<usize>)> {
        self.members
            .iter()
            .flat_map(|(counts, more, names)| names.split(' ').map(|name| (name, *counts, *more)))
    }
}

/// The family that lives in `information_schema`; all others are in `pg_catalog`.
pub(super) const INFORMATION_SCHEMA: &str = "those of `information_schema`";

/// All families.
#[rustfmt::skip]
pub const PURE: &[Family] = &[
    // They see the rows that the query reads anyway. Those that sort or compare use the operators of the
    // column's own type.
    Family { of: "aggregates and window functions", members: &[
        (&[0], None,
            "mode row_number"),
        (&[0], Some(1),
            "cume_dist dense_rank percent_rank rank"),
        (&[0, 1], None,
            "count"),
        (&[1], None,
            "any_value array_agg avg bit_and bit_or bit_xor bool_and bool_or every first_value \
             json_agg json_agg_strict jsonb_agg jsonb_agg_strict last_value max min ntile \
             percentile_cont percentile_disc range_agg range_intersect_agg stddev stddev_pop \
             stddev_samp sum var_pop var_samp variance xmlagg"),
        (&[1, 2, 3], None,
            "lag lead"),
        (&[2], None,
            "corr covar_pop covar_samp json_object_agg json_object_agg_strict \
             json_object_agg_unique json_object_agg_unique_strict jsonb_object_agg \
             jsonb_object_agg_strict jsonb_object_agg_unique jsonb_object_agg_unique_strict \
             nth_value regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope \
             regr_sxx regr_sxy regr_syy string_agg"),
    ] },
    // Numbers in, numbers out. A long series costs time, which the limits on statements bound.
    Family { of: "arithmetic, and series of numbers or times", members: &[
        (&[0], None,
            "pi"),
        (&[1], None,
            "abs acos acosd acosh asin asind asinh atan atand atanh bit_count cbrt ceil ceiling \
             cos cosd cosh cot cotd crc32 crc32c degrees erf erfc exp factorial floor gamma \
             lgamma ln log10 min_scale radians scale sign sin sind sinh sqrt tan tand tanh \
             to_bin to_hex to_oct trim_scale"),
        (&[1, 2], None,
            "log round trunc"),
        (&[2], None,
            "atan2 atan2d div gcd lcm mod pow power"),
        (&[2, 3, 4], None,
            "generate_series"),
        (&[2, 4], None,
            "width_bucket"),
    ] },
    // Strings in, strings out; hashes have no key. Conversions are between the server's own encodings.
    Family { of: "strings and bytes", members: &[
        (&[], Some(1),
            "concat"),
        (&[], Some(2),
            "concat_ws"),
        (&[0], None,
            "pg_client_encoding unicode_version"),
        (&[1], None,
            "ascii bit_length casefold char_length character_length chr initcap lower md5 \
             octet_length pg_char_to_encoding pg_encoding_max_length pg_encoding_to_char \
             quote_ident quote_literal quote_nullable reverse sha224 sha256 sha384 sha512 \
             textlen unicode_assigned unistr upper"),
        (&[1], Some(2),
            "format"),
        (&[1, 2], None,
            "btrim is_normalized length ltrim normalize parse_ident rtrim similar_to_escape \
             to_ascii"),
        (&[2], None,
            "convert_from convert_to decode encode get_bit get_byte left like like_escape \
             notlike position repeat right similar_escape starts_with strpos textcat texticlike \
             texticnlike textlike textnlike textregexeq to_number"),
        (&[2, 3], None,
            "lpad rpad string_to_array string_to_table substr substring"),
        (&[3], None,
            "replace set_bit set_byte split_part translate"),
        (&[3, 4], None,
            "overlay"),
    ] },
    // As strings. A pattern can cost time, which the limits on statements bound.
    Family { of: "regular expressions", members: &[
        (&[2, 3], None,
            "regexp_like regexp_match regexp_matches regexp_split_to_array \
             regexp_split_to_table"),
        (&[2, 3, 4], None,
            "regexp_count"),
        (&[2, 3, 4, 5, 6], None,
            "regexp_substr"),
        (&[2, 3, 4, 5, 6, 7], None,
            "regexp_instr"),
        (&[3, 4, 5, 6], None,
            "regexp_replace"),
    ] },
    // Times in, times out; the session's time zone is the session's own.
    Family { of: "dates, times and intervals", members: &[
        (&[0, 1, 2, 3, 4, 5, 6, 7], None,
            "make_interval"),
        (&[1], None,
            "isfinite justify_days justify_hours justify_interval"),
        (&[1, 2], None,
            "age timezone to_timestamp"),
        (&[2], None,
            "date_part extract to_char to_date"),
        (&[2, 3], None,
            "date_add date_subtract date_trunc"),
        (&[3], None,
            "date_bin make_date make_time"),
        (&[4], None,
            "overlaps"),
        (&[6], None,
            "make_timestamp"),
        (&[6, 7], None,
            "make_timestamptz"),
    ] },
    // It tells the time, which is no secret, and changes nothing.
    Family { of: "the clock", members: &[
        (&[0], None,
            "clock_timestamp now statement_timestamp timeofday transaction_timestamp"),
    ] },
    // Volatile, since each call yields something else; what they change is the session's own generator.
    Family { of: "chance", members: &[
        (&[0], None,
            "gen_random_uuid uuidv4"),
        (&[0, 1], None,
            "uuidv7"),
        (&[0, 1, 2], None,
            "random_normal"),
        (&[0, 2], None,
            "random"),
        (&[1], None,
            "array_shuffle"),
        (&[2], None,
            "array_sample"),
    ] },
    // They take apart and put together what they are given.
    Family { of: "arrays, and counting arguments", members: &[
        (&[], Some(1),
            "num_nonnulls num_nulls"),
        (&[1], None,
            "array_dims array_ndims array_reverse array_to_tsvector cardinality unnest"),
        (&[1, 2, 3], None,
            "array_sort"),
        (&[2], None,
            "array_append array_cat array_length array_lower array_positions array_prepend \
             array_remove array_upper trim_array"),
        (&[2, 3], None,
            "array_fill array_position array_to_string generate_subscripts"),
        (&[3], None,
            "array_replace"),
    ] },
    // As arrays.
    Family { of: "ranges and multiranges", members: &[
        (&[0], Some(1),
            "datemultirange int4multirange int8multirange nummultirange tsmultirange \
             tstzmultirange"),
        (&[1], None,
            "isempty lower_inc lower_inf multirange upper_inc upper_inf"),
        (&[1, 2], None,
            "range_merge"),
        (&[2, 3], None,
            "daterange int4range int8range numrange tsrange tstzrange"),
    ] },
    // They take apart and put together what they are given, by the input and output functions of the
    // types involved. A type's own cast to json counts as part of the type.
    Family { of: "JSON and rows as JSON", members: &[
        (&[], Some(2),
            "json_extract_path json_extract_path_text jsonb_delete jsonb_extract_path \
             jsonb_extract_path_text"),
        (&[0], Some(1),
            "json_build_array json_build_object jsonb_build_array jsonb_build_object"),
        (&[1], None,
            "hash_record json_array_elements json_array_elements_text json_array_length \
             json_each json_each_text json_object_keys json_to_record json_to_recordset \
             json_typeof jsonb_array_elements jsonb_array_elements_text jsonb_array_length \
             jsonb_each jsonb_each_text jsonb_object_keys jsonb_pretty jsonb_to_record \
             jsonb_to_recordset jsonb_typeof to_json to_jsonb"),
        (&[1, 2], None,
            "array_to_json json_object json_strip_nulls jsonb_object jsonb_strip_nulls \
             row_to_json"),
        (&[2], None,
            "hash_record_extended json_array_element json_array_element_text json_object_field \
             json_object_field_text jsonb_array_element jsonb_array_element_text jsonb_concat \
             jsonb_contains jsonb_delete_path jsonb_exists jsonb_exists_all jsonb_exists_any \
             jsonb_object_field jsonb_object_field_text jsonb_populate_record \
             jsonb_populate_record_valid jsonb_populate_recordset"),
        (&[2, 3], None,
            "json_populate_record json_populate_recordset"),
        (&[2, 3, 4], None,
            "jsonb_path_exists jsonb_path_exists_tz jsonb_path_match jsonb_path_match_tz \
             jsonb_path_query jsonb_path_query_array jsonb_path_query_array_tz \
             jsonb_path_query_first jsonb_path_query_first_tz jsonb_path_query_tz"),
        (&[3, 4], None,
            "jsonb_insert jsonb_set"),
        (&[3, 4, 5], None,
            "jsonb_set_lax"),
    ] },
    // Dictionaries were chosen, and their files read, when the configuration was defined.
    // `ts_rewrite` with three arguments is pure; with two it runs a text, see the refused.
    Family { of: "text search", members: &[
        (&[1], None,
            "numnode querytree strip tsvector_to_array"),
        (&[1, 2], None,
            "phraseto_tsquery plainto_tsquery to_tsquery to_tsvector websearch_to_tsquery"),
        (&[2], None,
            "ts_delete ts_filter"),
        (&[2, 3], None,
            "json_to_tsvector jsonb_to_tsvector setweight tsquery_phrase"),
        (&[2, 3, 4], None,
            "ts_headline ts_rank ts_rank_cd"),
        (&[3], None,
            "ts_rewrite"),
    ] },
    // They look inside a value; the labels of an enumeration are part of its type.
    Family { of: "networks, identifiers and enumerations", members: &[
        (&[1], None,
            "abbrev broadcast enum_first enum_last family host hostmask macaddr8_set7bit \
             masklen netmask network uuid_extract_timestamp uuid_extract_version"),
        (&[1, 2], None,
            "enum_range"),
        (&[2], None,
            "inet_merge inet_same_family set_masklen"),
    ] },
    // Numbers in, numbers out.
    Family { of: "geometry", members: &[
        (&[1], None,
            "area center diagonal diameter height isclosed isopen npoints pclose popen radius \
             width"),
        (&[2], None,
            "bound_box slope"),
    ] },
    // They parse what they are given; the server loads no external entity.
    Family { of: "XML values", members: &[
        (&[1], None,
            "xml_is_well_formed xml_is_well_formed_content xml_is_well_formed_document \
             xmlcomment xmltext"),
        (&[2], None,
            "xmlexists"),
        (&[2, 3], None,
            "xpath xpath_exists"),
    ] },
    // What a cast to that type does.
    Family { of: "types called as functions", members: &[
        (&[1], None,
            "bool bytea char cidr date float4 float8 int2 int4 int8 money name path regclass \
             text xml"),
        (&[1, 2], None,
            "box circle interval lseg numeric point polygon time timestamp timestamptz timetz"),
        (&[1, 3], None,
            "bpchar varchar"),
        (&[2], None,
            "line"),
        (&[2, 3], None,
            "bit"),
        (&[3], None,
            "varbit"),
    ] },
    // What the session knows of itself. `current_setting` of a setting that tells too much is judged
    // as SHOW is. `currval` and `lastval` repeat what this session's own `nextval` yielded.
    Family { of: "the session and the server", members: &[
        (&[0], None,
            "current_database current_query current_schema current_user get_current_ts_config \
             inet_client_addr inet_client_port inet_server_addr inet_server_port lastval \
             pg_backend_pid pg_conf_load_time pg_is_in_recovery pg_jit_available \
             pg_my_temp_schema pg_postmaster_start_time session_user system_user version"),
        (&[1], None,
            "current_schemas currval pg_is_other_temp_schema row_security_active"),
        (&[1, 2], None,
            "current_setting"),
    ] },
    // They give back what this session holds, as its end would.
    Family { of: "locks of the session's own, given back", members: &[
        (&[0], None,
            "pg_advisory_unlock_all"),
        (&[1, 2], None,
            "pg_advisory_unlock pg_advisory_unlock_shared"),
    ] },
    // They tell, and at most assign, the number that a write of the same transaction would get.
    Family { of: "numbers of transactions", members: &[
        (&[0], None,
            "pg_current_snapshot pg_current_xact_id pg_current_xact_id_if_assigned txid_current \
             txid_current_if_assigned txid_current_snapshot"),
    ] },
    // The shape of what is there, which everybody may read in the catalogue; no row of any table.
    Family { of: "definitions, as tools ask for them", members: &[
        (&[0], None,
            "getdatabaseencoding pg_get_catalog_foreign_keys pg_get_keywords"),
        (&[1], None,
            "aclexplode oidvectortypes pg_basetype pg_collation_for pg_collation_is_visible \
             pg_column_compression pg_column_size pg_conversion_is_visible \
             pg_function_is_visible pg_get_function_arguments \
             pg_get_function_identity_arguments pg_get_function_result pg_get_function_sqlbody \
             pg_get_functiondef pg_get_partition_constraintdef pg_get_partkeydef \
             pg_get_replica_identity_index pg_get_statisticsobjdef \
             pg_get_statisticsobjdef_columns pg_get_statisticsobjdef_expressions \
             pg_get_userbyid pg_opclass_is_visible pg_operator_is_visible \
             pg_opfamily_is_visible pg_options_to_table pg_partition_ancestors \
             pg_partition_root pg_partition_tree pg_relation_is_publishable \
             pg_sequence_parameters pg_size_bytes pg_size_pretty pg_statistics_obj_is_visible \
             pg_table_is_visible pg_ts_config_is_visible pg_ts_dict_is_visible \
             pg_ts_parser_is_visible pg_ts_template_is_visible pg_type_is_visible pg_typeof \
             to_regclass to_regcollation to_regnamespace to_regoper to_regoperator to_regproc \
             to_regprocedure to_regrole to_regtype to_regtypemod"),
        (&[1, 2], None,
            "obj_description pg_get_constraintdef pg_get_ruledef pg_get_triggerdef \
             pg_get_viewdef"),
        (&[1, 3], None,
            "pg_get_indexdef"),
        (&[2], None,
            "acldefault col_description format_type pg_get_function_arg_default \
             pg_get_serial_sequence pg_index_has_property pg_indexam_has_property \
             pg_relation_is_updatable shobj_description"),
        (&[2, 3], None,
            "pg_get_expr"),
        (&[3], None,
            "pg_column_is_updatable pg_describe_object pg_get_acl pg_identify_object \
             pg_identify_object_as_address pg_index_column_has_property"),
        (&[4], None,
            "makeaclitem"),
    ] },
    // They answer yes or no about rights that the catalogue shows.
    Family { of: "rights", members: &[
        (&[2, 3], None,
            "has_any_column_privilege has_database_privilege has_foreign_data_wrapper_privilege \
             has_function_privilege has_language_privilege has_parameter_privilege \
             has_schema_privilege has_sequence_privilege has_server_privilege \
             has_table_privilege has_tablespace_privilege has_type_privilege pg_has_role"),
        (&[3, 4], None,
            "has_column_privilege"),
    ] },
    // Marked volatile because sizes change; they measure files, and give out no path or content.
    Family { of: "sizes", members: &[
        (&[1], None,
            "pg_database_size pg_indexes_size pg_table_size pg_total_relation_size"),
        (&[1, 2], None,
            "pg_relation_size"),
    ] },
    // Its views are made of them, and drivers call them.
    Family { of: INFORMATION_SCHEMA, members: &[
        (&[1], None,
            "_pg_expandarray"),
        (&[2], None,
            "_pg_char_max_length _pg_char_octet_length _pg_datetime_precision \
             _pg_index_position _pg_interval_type _pg_numeric_precision \
             _pg_numeric_precision_radix _pg_numeric_scale _pg_truetypid _pg_truetypmod"),
    ] },
];
