-- As Java writes: the JDBC driver's own questions, Hibernate, jOOQ.

-- case: the first words of a connection
SET extra_float_digits = 3
-- then
SET application_name = 'PostgreSQL JDBC Driver'

-- case: is it alive
SELECT 1

-- case: read only and its end
SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY
-- then
SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE

-- case: getTables
SELECT NULL AS TABLE_CAT, n.nspname AS TABLE_SCHEM, c.relname AS TABLE_NAME, CASE n.nspname ~ '^pg_' OR n.nspname = 'information_schema' WHEN true THEN CASE WHEN n.nspname = 'pg_catalog' OR n.nspname = 'information_schema' THEN CASE c.relkind WHEN 'r' THEN 'SYSTEM TABLE' WHEN 'v' THEN 'SYSTEM VIEW' ELSE NULL END ELSE NULL END WHEN false THEN CASE c.relkind WHEN 'r' THEN 'TABLE' WHEN 'p' THEN 'PARTITIONED TABLE' WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE NULL END ELSE NULL END AS TABLE_TYPE, d.description AS REMARKS FROM pg_catalog.pg_namespace n, pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_description d ON (c.oid = d.objoid AND d.objsubid = 0 and d.classoid = 'pg_class'::regclass) WHERE c.relnamespace = n.oid AND n.nspname LIKE 'app' AND c.relkind IN ('r', 'v', 'm', 'p') ORDER BY TABLE_TYPE, TABLE_SCHEM, TABLE_NAME

-- case: getColumns
SELECT * FROM (SELECT current_database() AS current_database, n.nspname, c.relname, a.attname, a.atttypid, a.attnotnull OR (t.typtype = 'd' AND t.typnotnull) AS attnotnull, a.atttypmod, a.attlen, t.typtypmod, row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum) AS attnum, nullif(a.attidentity, '') as attidentity, nullif(a.attgenerated, '') as attgenerated, pg_catalog.pg_get_expr(def.adbin, def.adrelid) AS adsrc, dsc.description, t.typbasetype, t.typtype FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON (c.relnamespace = n.oid) JOIN pg_catalog.pg_attribute a ON (a.attrelid = c.oid) JOIN pg_catalog.pg_type t ON (a.atttypid = t.oid) LEFT JOIN pg_catalog.pg_attrdef def ON (a.attrelid = def.adrelid AND a.attnum = def.adnum) LEFT JOIN pg_catalog.pg_description dsc ON (c.oid = dsc.objoid AND a.attnum = dsc.objsubid) WHERE c.relkind in ('r', 'p', 'v', 'f', 'm') and a.attnum > 0 AND NOT a.attisdropped AND n.nspname LIKE 'app') c WHERE true ORDER BY nspname, c.relname, attnum

-- case: getPrimaryKeys
SELECT NULL AS TABLE_CAT, result.TABLE_SCHEM, result.TABLE_NAME, result.COLUMN_NAME, result.KEY_SEQ, result.PK_NAME FROM (SELECT n.nspname AS TABLE_SCHEM, ct.relname AS TABLE_NAME, a.attname AS COLUMN_NAME, (information_schema._pg_expandarray(i.indkey)).n AS KEY_SEQ, ci.relname AS PK_NAME, information_schema._pg_expandarray(i.indkey) AS KEYS, a.attnum AS A_ATTNUM FROM pg_catalog.pg_class ct JOIN pg_catalog.pg_attribute a ON (ct.oid = a.attrelid) JOIN pg_catalog.pg_namespace n ON (ct.relnamespace = n.oid) JOIN pg_catalog.pg_index i ON (a.attrelid = i.indrelid) JOIN pg_catalog.pg_class ci ON (ci.oid = i.indexrelid) WHERE ct.relname = 'items' AND i.indisprimary) result where result.A_ATTNUM = (result.KEYS).x ORDER BY result.table_name, result.pk_name, result.key_seq

-- case: getImportedKeys
SELECT pkn.nspname AS PKTABLE_SCHEM, pkc.relname AS PKTABLE_NAME, pka.attname AS PKCOLUMN_NAME, fkc.relname AS FKTABLE_NAME, fka.attname AS FKCOLUMN_NAME, pos.n AS KEY_SEQ, con.confupdtype, con.confdeltype, con.conname FROM pg_catalog.pg_namespace pkn, pg_catalog.pg_class pkc, pg_catalog.pg_attribute pka, pg_catalog.pg_class fkc, pg_catalog.pg_attribute fka, pg_catalog.pg_constraint con, pg_catalog.generate_series(1, 32) pos(n) WHERE pkn.oid = pkc.relnamespace AND pkc.oid = pka.attrelid AND pka.attnum = con.confkey[pos.n] AND con.confrelid = pkc.oid AND fkc.oid = fka.attrelid AND fka.attnum = con.conkey[pos.n] AND con.conrelid = fkc.oid AND con.contype = 'f' AND fkc.relname = 'items' ORDER BY 1, 2, KEY_SEQ

-- case: getIndexInfo
SELECT tmp.TABLE_SCHEM, tmp.TABLE_NAME, tmp.NON_UNIQUE, tmp.INDEX_NAME, tmp.ORDINAL_POSITION, trim(both '"' from pg_catalog.pg_get_indexdef(tmp.CI_OID, tmp.ORDINAL_POSITION, false)) AS COLUMN_NAME, CASE tmp.AM_NAME WHEN 'btree' THEN CASE tmp.I_INDOPTION[tmp.ORDINAL_POSITION - 1] & 1::smallint WHEN 1 THEN 'D' ELSE 'A' END ELSE NULL END AS ASC_OR_DESC FROM (SELECT n.nspname AS TABLE_SCHEM, ct.relname AS TABLE_NAME, NOT i.indisunique AS NON_UNIQUE, ci.relname AS INDEX_NAME, (information_schema._pg_expandarray(i.indkey)).n AS ORDINAL_POSITION, ci.oid AS CI_OID, i.indoption AS I_INDOPTION, am.amname AS AM_NAME FROM pg_catalog.pg_class ct JOIN pg_catalog.pg_namespace n ON (ct.relnamespace = n.oid) JOIN pg_catalog.pg_index i ON (ct.oid = i.indrelid) JOIN pg_catalog.pg_class ci ON (ci.oid = i.indexrelid) JOIN pg_catalog.pg_am am ON (ci.relam = am.oid) WHERE n.nspname = 'app' AND ct.relname = 'orders') AS tmp ORDER BY NON_UNIQUE, INDEX_NAME, ORDINAL_POSITION

-- case: getSchemas
-- answers: vary, because of the schemas of temporary tables
SELECT nspname AS TABLE_SCHEM, NULL AS TABLE_CATALOG FROM pg_catalog.pg_namespace WHERE nspname <> 'pg_toast' AND (nspname !~ '^pg_temp_' OR nspname = (pg_catalog.current_schemas(true))[1]) AND (nspname !~ '^pg_toast_temp_' OR nspname = replace((pg_catalog.current_schemas(true))[1], 'pg_temp_', 'pg_toast_temp_')) ORDER BY TABLE_SCHEM

-- case: a type by its number
-- with: 25
SELECT n.nspname = ANY(current_schemas(true)), n.nspname, t.typname FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON t.typnamespace = n.oid WHERE t.oid = $1

-- case: a type by its name
-- with: state
SELECT typinput='pg_catalog.array_in'::regproc as is_array, typtype, typname, pg_type.oid FROM pg_catalog.pg_type LEFT JOIN (select ns.oid as nspoid, ns.nspname, r.r from pg_namespace as ns join ( select s.r, (current_schemas(false))[s.r] as nspname from generate_series(1, array_upper(current_schemas(false), 1)) as s(r) ) as r using ( nspname ) ) as sp ON sp.nspoid = typnamespace WHERE typname = $1 ORDER BY sp.r, pg_type.oid DESC LIMIT 1

-- case: the auto-increment of columns
SELECT c.oid, a.attnum, a.attname, c.relname, n.nspname, a.attnotnull OR (t.typtype = 'd' AND t.typnotnull), a.attidentity != '' OR pg_catalog.pg_get_expr(d.adbin, d.adrelid) LIKE '%nextval(%' FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON (c.relnamespace = n.oid) JOIN pg_catalog.pg_attribute a ON (c.oid = a.attrelid) JOIN pg_catalog.pg_type t ON (a.atttypid = t.oid) LEFT JOIN pg_catalog.pg_attrdef d ON (d.adrelid = a.attrelid AND d.adnum = a.attnum) JOIN (SELECT 'app.orders'::regclass::oid AS oid, 1 AS attnum UNION ALL SELECT 'app.orders'::regclass::oid, 2) vals ON (c.oid = vals.oid AND a.attnum = vals.attnum)

-- case: Hibernate asks for a key
select nextval ('app.orders_id_seq')

-- case: Hibernate asks for keys in advance
select nextval('app.tickets') from generate_series(1, 5)

-- case: Hibernate reads sequences
select * from information_schema.sequences order by sequence_name

-- case: Hibernate loads
-- with: 1
select o1_0.id,o1_0.customer_id,o1_0.note,o1_0.total from app.orders o1_0 where o1_0.id=$1

-- case: Hibernate fetches a page
-- with: paid | 5 | 10
select o1_0.id,o1_0.total from app.orders o1_0 where o1_0.state=$1 order by o1_0.id offset $2 rows fetch first $3 rows only

-- case: Hibernate fetches what belongs together
select c1_0.id,c1_0.name,o1_0.customer_id,o1_0.id from app.customers c1_0 left join app.orders o1_0 on c1_0.id=o1_0.customer_id where c1_0.id=2 order by o1_0.id

-- case: Hibernate inserts
-- with: 7.5 | hibernate | 2
insert into app.orders (total,note,customer_id) values ($1,$2,$3) returning id

-- case: Hibernate updates with a version
-- with: java | 1 | 9 | 0
update app.customers set name=$1,lock_version=$2 where id=$3 and lock_version=$4

-- case: Hibernate deletes
-- with: 92 | 1
delete from app.items where order_id=$1 and line=$2

-- case: Hibernate locks
select o1_0.id,o1_0.note from app.orders o1_0 where o1_0.id=5 for no key update

-- case: Hibernate updates by a query
update app.orders o1_0 set note='batch' where o1_0.total<10 and o1_0.state='new'

-- case: jOOQ selects
select "app"."orders"."id", "alias_1"."name" from "app"."orders" join "app"."customers" as "alias_1" on "app"."orders"."customer_id" = "alias_1"."id" where ("app"."orders"."total" > 1490 and "alias_1"."active" = true) order by "app"."orders"."id" desc fetch next 5 rows only

-- case: jOOQ merges
merge into app.counters as t using (select 'counter 2' as name, cast(4 as bigint) as value) as s on t.name = s.name when matched then update set value = s.value when not matched then insert (name, value) values (s.name, s.value)

-- case: a batch rewritten into one insert
-- with: b1 | 1 | b2 | 2
insert into app.counters (name, value) values ($1, $2),($3, $4)

-- case: a page by its cursor
begin
-- then
declare c1 cursor for select id from app.orders order by id
-- then
fetch 10 in c1
-- then
commit

-- case: in a transaction that is left alone
BEGIN
-- then
select 1
-- then
ROLLBACK
