# X6: plans, statistics, activity.
explain (analyze, costs off, timing off, summary off) select 1 from pii.people where ssn like 'a%'
explain select 1 from pii.people where ssn > 'm'
explain (format json) select 1 from pii.people where email = 'a'
explain (verbose, format xml) select ssn from pii.people where id = 1
explain (format yaml) table pii.people
~ explain (analyze) select ssn::int from pii.people
select most_common_vals from pg_stats where tablename = 'people'
select most_common_vals::text from pg_stats where schemaname = 'pii'
select histogram_bounds from pg_stats
select * from pg_stats
select * from pg_catalog.pg_stats where attname = 'ssn'
select stavalues1 from pg_statistic
select stavalues1::text from pg_statistic s join pg_class c on c.oid = s.starelid where relname = 'people'
select * from pg_statistic
~ table pg_statistic
copy pg_statistic to stdout
copy (select * from pg_stats) to stdout
select most_common_elems from pg_stats where attname = 'tags'
select * from pg_stats_ext
select * from pg_stats_ext_exprs
select * from pg_statistic_ext_data
~ select query from pg_stat_activity
~ select * from pg_stat_activity
select query from pg_stat_statements
~ select * from pg_cursors
select * from pg_prepared_statements
select null_frac, avg_width, n_distinct from pg_stats where tablename = 'people'
select pg_get_expr(adbin, adrelid) from pg_attrdef
select pg_get_constraintdef(oid) from pg_constraint where conrelid = 'pii.people'::regclass
select pg_get_viewdef('pii.v'::regclass)
select partition_bound.b from (select pg_get_expr(relpartbound, oid) b from pg_class) partition_bound
select pg_get_partition_constraintdef('pii.part_one'::regclass)
select attmissingval from pg_attribute
select attmissingval::text from pg_attribute where attrelid = 'pii.people'::regclass
select * from information_schema.columns where table_name = 'people'
select column_default from information_schema.columns
select check_clause from information_schema.check_constraints
select get_raw_page('pii.people', 0)
select * from heap_page_items(get_raw_page('pii.people', 0))
select bt_page_items('people_pkey', 1)
select * from pg_largeobject
select description from pg_description
~ select ctid, xmin, tableoid from pii.people
~ select tableoid::regclass, ctid from pii.people
explain (analyze, costs off, timing off, summary off) select id from pii.people where num > 5
explain (costs on) select id from pii.people where ssn = 'a'
explain (generic_plan) select id from pii.people where ssn = $1
explain select ssn from pii.people order by ssn
explain (verbose) select upper(ssn) from pii.people where id = 1
explain (verbose, costs off) select id from pii.people where id = (select id from pii.people where ssn like 'a%' limit 1)
explain (format json, verbose) update pii.people set note = ssn where id = 1
~ explain (analyze, buffers, verbose) select id, ssn from pii.people
explain verbose declare c cursor for select ssn from pii.people where ssn > 'a'
~ explain analyze create table pub.copy20 as select ssn from pii.people
explain create materialized view pub.mat20 as select ssn from pii.people
select n_distinct, most_common_freqs, correlation from pg_stats where attname = 'ssn'
select elem_count_histogram from pg_stats where tablename = 'people'
select (pg_stats.*)::text from pg_stats
select row_to_json(s) from pg_stats s
select to_jsonb(s) from pg_catalog.pg_statistic s
select stavalues1::text, stavalues2::text from pg_catalog.pg_statistic
select most_common_val_nulls, most_common_vals from pg_stats_ext
select most_common_vals from pg_stats_ext_exprs
select stxdmcv from pg_statistic_ext_data
select pg_mcv_list_items(stxdmcv) from pg_statistic_ext_data
select relname, reltuples from pg_class where relname = 'people'
~ select query, query_start from pg_catalog.pg_stat_activity
~ select a.query from pg_stat_activity a
~ select (pg_stat_get_activity(null)).query
~ select * from pg_stat_get_activity(null)
~ select pg_stat_get_backend_activity(1)
~ select s.query from pg_stat_get_activity(null) s
select query from public.pg_stat_statements
select * from pg_stat_statements(true)
~ select statement from pg_prepared_statements
~ select statement from pg_cursors
~ select * from pg_prepared_statement()
~ select * from pg_cursor()
~ select * from pg_locks
select * from pg_stat_progress_copy
select * from pg_db_role_setting
select loid, data from pg_largeobject
~ select lo_get(oid) from pg_largeobject_metadata
select pg_read_binary_file('global/pg_control')
select pg_ls_dir('pg_stat')
select pg_stat_file('PG_VERSION')
~ select pg_current_logfile()
copy (select most_common_vals from pg_stats) to stdout
~ copy (select query from pg_stat_activity) to stdout
