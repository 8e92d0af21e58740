-- As tools with a face ask: DBeaver, pgAdmin, DataGrip, Metabase, Grafana; dbt; ETL.

-- case: DBeaver connects
SET extra_float_digits = 3
-- then
SET application_name = 'DBeaver 26.0.0 - Main <app>'
-- then
SELECT current_schema(),session_user
-- then
SHOW search_path
-- then
select string_agg(word, ',') from pg_catalog.pg_get_keywords() where word <> ALL ('{a,abs,absent}'::text[])

-- case: DBeaver lists databases
SELECT db.oid,db.* FROM pg_catalog.pg_database db WHERE datallowconn AND NOT datistemplate AND db.datname='postgres'

-- case: DBeaver lists schemas
SELECT n.oid,n.*,d.description FROM pg_catalog.pg_namespace n LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid=n.oid AND d.objsubid=0 AND d.classoid='pg_namespace'::regclass WHERE nspname !~ '^pg_(toast_)?temp' ORDER BY nspname

-- case: DBeaver lists types
SELECT t.oid,t.*,c.relkind,format_type(nullif(t.typbasetype, 0), t.typtypmod) as base_type_name, d.description FROM pg_catalog.pg_type t LEFT OUTER JOIN pg_catalog.pg_type et ON et.oid=t.typelem LEFT OUTER JOIN pg_catalog.pg_class c ON c.oid=t.typrelid LEFT OUTER JOIN pg_catalog.pg_description d ON t.oid=d.objoid WHERE t.typname IS NOT NULL AND (c.relkind IS NULL OR c.relkind = 'c') AND (et.typcategory IS NULL OR et.typcategory <> 'C') AND t.typnamespace = 'app'::regnamespace ORDER BY t.oid

-- case: DBeaver lists tables
SELECT c.oid,c.relname,c.relkind,d.description,pg_catalog.pg_get_expr(c.relpartbound, c.oid) as partition_expr, pg_catalog.pg_get_partkeydef(c.oid) as partition_key FROM pg_catalog.pg_class c LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid=c.oid AND d.objsubid=0 AND d.classoid='pg_class'::regclass WHERE c.relnamespace='app'::regnamespace AND c.relkind not in ('i','I','c') ORDER BY 1

-- case: DBeaver lists columns
SELECT c.relname,a.attname,a.attnum,pg_catalog.pg_get_expr(ad.adbin, ad.adrelid, true) as def_value,dsc.description,dep.objid FROM pg_catalog.pg_attribute a INNER JOIN pg_catalog.pg_class c ON (a.attrelid=c.oid) LEFT OUTER JOIN pg_catalog.pg_attrdef ad ON (a.attrelid=ad.adrelid AND a.attnum = ad.adnum) LEFT OUTER JOIN pg_catalog.pg_description dsc ON (c.oid=dsc.objoid AND a.attnum = dsc.objsubid) LEFT OUTER JOIN pg_depend dep on dep.refobjid = a.attrelid AND dep.deptype = 'i' and dep.refobjsubid = a.attnum and dep.classid = dep.refclassid WHERE NOT a.attisdropped AND c.relkind not in ('i','I','c') AND c.oid='app.orders'::regclass ORDER BY a.attnum

-- case: DBeaver reads a page, and counts it
SELECT o.* FROM app.orders o ORDER BY 1 LIMIT 200
-- then
SELECT count(*) FROM app.orders

-- case: DBeaver saves an edited cell
-- with: edited | 20
UPDATE app.orders SET note=$1 WHERE id=$2

-- case: DBeaver asks for roles
SELECT a.oid,a.rolname,pg_catalog.shobj_description(a.oid, 'pg_authid') as description FROM pg_catalog.pg_roles a ORDER BY a.rolname

-- case: pgAdmin connects
-- by: simple
SET DateStyle=ISO; SET client_min_messages=notice; SELECT set_config('bytea_output','hex',false); SET client_encoding='utf-8';

-- case: pgAdmin looks at its database
-- answers: vary, because of the database's number
SELECT db.oid as did, db.datname, db.datallowconn, pg_encoding_to_char(db.encoding) AS serverencoding, has_database_privilege(db.oid, 'CREATE') as cancreate, datistemplate FROM pg_catalog.pg_database db WHERE db.datname = current_database()

-- case: pgAdmin looks at itself
SELECT roles.oid as id, roles.rolname as name, roles.rolsuper as is_superuser, CASE WHEN roles.rolsuper THEN true ELSE roles.rolcreaterole END as can_create_role FROM pg_catalog.pg_roles as roles WHERE rolname = current_user

-- case: pgAdmin counts what a node holds
SELECT count(*) FROM pg_catalog.pg_trigger t WHERE NOT tgisinternal AND tgrelid = 'app.orders'::regclass::oid

-- case: DataGrip asks for the state of things
-- answers: vary, because of the numbers
select L.transactionid::varchar::bigint as transaction_id from pg_catalog.pg_locks L where L.transactionid is not null order by pg_catalog.age(L.transactionid) desc limit 1

-- case: DataGrip asks for its numbers
-- answers: vary, because of the numbers
select case when pg_catalog.pg_is_in_recovery() then null else (pg_catalog.txid_current() % (2^32)::bigint)::varchar::bigint end as current_txid

-- case: DataGrip lists tables
select T.relkind as table_kind, T.relname as table_name, T.oid as table_id, T.relpersistence as table_persistence, (select pg_catalog.array_agg(inhparent::bigint order by inhseqno)::varchar from pg_catalog.pg_inherits where T.oid = inhrelid) as ancestors, T.relispartition as is_partition, pg_catalog.pg_get_partkeydef(T.oid) as partition_key, am.amname as access_method from pg_catalog.pg_class T left join pg_catalog.pg_am am on T.relam = am.oid where relnamespace = 'app'::regnamespace::oid and relkind in ('r', 'm', 'v', 'f', 'p') order by table_kind, table_id

-- case: DataGrip lists rules and triggers
select R.oid as rule_id, R.rulename, translate(ev_type,'1234','SUID') as event, ev_enabled, is_instead from pg_catalog.pg_rewrite R where R.ev_class = 'app.orders'::regclass
-- then
select T.oid, T.tgname, T.tgenabled, pg_catalog.pg_get_triggerdef(T.oid, true) from pg_catalog.pg_trigger T where T.tgrelid = 'app.items'::regclass and not T.tgisinternal

-- case: DataGrip lists operators, casts and collations
select O.oid, oprname, oprkind, oprleft::regtype::text, oprright::regtype::text, oprcode::regproc::text from pg_catalog.pg_operator O where oprnamespace = 'app'::regnamespace
-- then
select C.oid, castsource, casttarget, castfunc from pg_catalog.pg_cast C where castsource = 23 order by 1
-- then
select oid, collname, collprovider, collcollate from pg_catalog.pg_collation where collname = 'C'

-- case: Metabase lists
-- answers: vary, because of the counters
select "n"."nspname" as "schema", "c"."relname" as "name", case "c"."relkind" when 'r' then 'TABLE' when 'p' then 'PARTITIONED TABLE' when 'v' then 'VIEW' when 'm' then 'MATERIALIZED VIEW' else null end as "type", "d"."description" as "description", "stat"."n_live_tup" as "estimated_row_count" from "pg_catalog"."pg_class" as "c" inner join "pg_catalog"."pg_namespace" as "n" on "c"."relnamespace" = "n"."oid" left join "pg_catalog"."pg_description" as "d" on ("c"."oid" = "d"."objoid") and ("d"."objsubid" = 0) left join "pg_stat_user_tables" as "stat" on ("n"."nspname" = "stat"."schemaname") and ("c"."relname" = "stat"."relname") where "c"."relnamespace" = "n"."oid" and "n"."nspname" = 'app' order by 1, 2

-- case: Metabase asks a question
-- Metabase:: userID: 1 queryType: MBQL queryHash: 7b3f
SELECT DATE_TRUNC('month', "app"."orders"."placed_at") AS "placed_at", SUM("app"."orders"."total") AS "sum" FROM "app"."orders" WHERE ("app"."orders"."placed_at" >= timestamp with time zone '2026-01-01 00:00:00.000Z') GROUP BY DATE_TRUNC('month', "app"."orders"."placed_at") ORDER BY 1 ASC

-- case: Metabase takes fingerprints
SELECT "source"."substring1" AS "substring1" FROM (SELECT SUBSTRING("app"."orders"."note", 1, 1234) AS "substring1" FROM "app"."orders") AS "source" LIMIT 10

-- case: Grafana draws
SELECT floor(extract(epoch from "placed_at")/3600)*3600 AS "time", avg(total) AS "total" FROM app.orders WHERE "placed_at" BETWEEN '2026-01-01T00:00:00Z' AND '2026-01-02T00:00:00Z' GROUP BY 1 ORDER BY 1

-- case: Grafana fills a list
SELECT DISTINCT state::text AS __text, state::text AS __value FROM app.orders ORDER BY 1

-- case: Superset probes
SELECT 1
-- then
SELECT * FROM (SELECT state, count(*) AS c FROM app.orders GROUP BY state) AS virtual_table ORDER BY c DESC, state LIMIT 1000

-- case: dbt lists
select table_catalog as database, table_name as name, table_schema as schema, 'table' as type from information_schema.tables where table_schema ilike 'app' union all select current_database(), matviewname, schemaname, 'materialized_view' from pg_matviews where schemaname ilike 'app' order by 2

-- case: an ETL tool reads by a mark
-- with: 1400
SELECT * FROM app.orders WHERE id > $1 ORDER BY id ASC LIMIT 50

-- case: a queue takes a job
-- with: new
UPDATE app.orders SET state = 'paid' WHERE id = (SELECT id FROM app.orders WHERE state::text = $1 ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id

-- case: a pooler cleans up
DISCARD ALL

-- case: a health check
;

-- case: PostgREST answers
-- with: 1
WITH pgrst_source AS (SELECT "app"."customers"."id", "app"."customers"."name" FROM "app"."customers" WHERE "app"."customers"."id" = $1) SELECT null::bigint AS total_result_set, pg_catalog.count(_postgrest_t) AS page_total, coalesce(json_agg(_postgrest_t), '[]') AS body FROM (SELECT * FROM pgrst_source) _postgrest_t

-- case: Hasura answers
SELECT coalesce(json_agg("root"), '[]') AS "root" FROM (SELECT row_to_json((SELECT "_e" FROM (SELECT "_root.base"."id" AS "id", "_root.base"."name" AS "name") AS "_e")) AS "root" FROM (SELECT * FROM "app"."customers" WHERE ('true') ORDER BY "id" LIMIT 3) AS "_root.base") AS "_root"

-- case: Graphile answers
SELECT to_json((json_build_object('__identifiers'::text, json_build_array(__local_0__."id"), 'name'::text, (__local_0__."name")))) AS "@nodes" FROM (SELECT __local_0__.* FROM "app"."customers" AS __local_0__ WHERE (TRUE) AND (TRUE) ORDER BY __local_0__."id" ASC LIMIT 2) __local_0__
