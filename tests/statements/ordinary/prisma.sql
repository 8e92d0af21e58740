-- As Prisma writes: always prepared, names with schema and table.

-- case: the first words of a connection
SET search_path = "app"
-- then
SELECT version()
-- then
SELECT 1

-- case: findUnique
-- with: 1 | 1 | 0
SELECT "app"."customers"."id", "app"."customers"."name", "app"."customers"."address" FROM "app"."customers" WHERE ("app"."customers"."id" = $1 AND 1=1) LIMIT $2 OFFSET $3

-- case: findMany with a filter and an order
-- with: %order 1% | 10 | 0
SELECT "app"."orders"."id", "app"."orders"."state"::text, "app"."orders"."total" FROM "app"."orders" WHERE "app"."orders"."note"::text LIKE $1 ORDER BY "app"."orders"."id" ASC LIMIT $2 OFFSET $3

-- case: the included, in a second query
-- with: 1 | 2 | 3 | 0
SELECT "app"."items"."order_id", "app"."items"."line", "app"."items"."sku" FROM "app"."items" WHERE "app"."items"."order_id" IN ($1, $2, $3) ORDER BY 1, 2 OFFSET $4

-- case: the included, joined as JSON
-- with: 2 | 1
SELECT "t1"."id", "t1"."name", "Customer_orders"."__prisma_data__" AS "orders" FROM "app"."customers" AS "t1" LEFT JOIN LATERAL (SELECT COALESCE(JSONB_AGG("__prisma_data__"), '[]') AS "__prisma_data__" FROM (SELECT "t3"."__prisma_data__" FROM (SELECT JSONB_BUILD_OBJECT('id', "t2"."id", 'total', "t2"."total") AS "__prisma_data__", "t2"."id" AS "k" FROM (SELECT "t5".* FROM "app"."orders" AS "t5" WHERE "t1"."id" = "t5"."customer_id" ORDER BY "t5"."id" LIMIT 3) AS "t2") AS "t3" ORDER BY "t3"."k") AS "t4") AS "Customer_orders" ON TRUE WHERE ("t1"."id" = $1 AND 1=1) LIMIT $2

-- case: count
-- with: 0
SELECT COUNT(*) AS "_count$_all" FROM (SELECT "app"."orders"."id" FROM "app"."orders" WHERE 1=1 OFFSET $1) AS "sub"

-- case: aggregate
-- with: 0
SELECT SUM("total") AS "_sum$total", AVG("total") AS "_avg$total", MIN("total"), MAX("total") FROM (SELECT "app"."orders"."total" FROM "app"."orders" WHERE 1=1 OFFSET $1) AS "sub"

-- case: groupBy
-- with: 5 | 0
SELECT COUNT(*) AS "_count$_all", "app"."orders"."customer_id" FROM "app"."orders" WHERE 1=1 GROUP BY "app"."orders"."customer_id" HAVING COUNT("app"."orders"."id") > $1 ORDER BY 2 OFFSET $2

-- case: create
-- with: pr1 | 1
INSERT INTO "app"."counters" ("name","value") VALUES ($1,$2) RETURNING "app"."counters"."name", "app"."counters"."value"

-- case: create with an enumeration
-- with: 1 | paid | 12.50
INSERT INTO "app"."orders" ("customer_id","state","total") VALUES ($1,CAST($2::text AS "app"."state"),$3) RETURNING "app"."orders"."id"

-- case: createMany
-- with: pr2 | 1 | pr3 | 2
INSERT INTO "app"."counters" ("name","value") VALUES ($1,$2), ($3,$4) ON CONFLICT DO NOTHING

-- case: update
-- with: {"city": "Bonn"} | 1
UPDATE "app"."customers" SET "address" = $1 WHERE ("app"."customers"."id" = $2 AND 1=1) RETURNING "app"."customers"."id", "app"."customers"."address"

-- case: updateMany by the keys that were read
-- with: 10 | 11 | x
SELECT "app"."orders"."id" FROM "app"."orders" WHERE "app"."orders"."id" IN ($1, $2) AND "app"."orders"."note" <> $3 ORDER BY 1
-- then
UPDATE "app"."orders" SET "note" = 'seen' WHERE ("app"."orders"."id" IN (10,11) AND 1=1)

-- case: upsert
-- with: counter 1 | 1 | 9
INSERT INTO "app"."counters" ("name","value") VALUES ($1,$2) ON CONFLICT ("name") DO UPDATE SET "value" = $3 WHERE ("app"."counters"."name" = 'counter 1' AND 1=1) RETURNING "app"."counters"."name", "app"."counters"."value"

-- case: delete
-- with: 93 | 2
DELETE FROM "app"."items" WHERE ("app"."items"."order_id" = $1 AND "app"."items"."line" = $2 AND 1=1) RETURNING "app"."items"."order_id"

-- case: a nested write in a transaction
BEGIN
-- then
INSERT INTO "app"."orders" ("customer_id","total") VALUES (2, 5) RETURNING "app"."orders"."id"
-- then
SELECT "app"."orders"."id" FROM "app"."orders" WHERE "app"."orders"."id" = 1 LIMIT 1 OFFSET 0
-- then
COMMIT

-- case: a transaction with a level of isolation
SET TRANSACTION ISOLATION LEVEL SERIALIZABLE
-- then
SELECT 1

-- case: an interactive transaction that is given up
BEGIN
-- then
DELETE FROM "app"."counters" WHERE ("app"."counters"."name" = 'counter 2' AND 1=1)
-- then
ROLLBACK

-- case: prepared statements let go
DEALLOCATE ALL

-- case: a raw query
-- with: 3
SELECT * FROM "app"."customers" WHERE id = $1::int

-- case: a search in JSON
-- with: {city}
SELECT "app"."customers"."id" FROM "app"."customers" WHERE ("app"."customers"."address"#>ARRAY[$1]::text[]) IS NOT NULL LIMIT 3

-- case: tables, as introspection asks
SELECT tbl.relname AS table_name, namespace.nspname as namespace, (tbl.relhassubclass and tbl.relkind = 'p') as is_partition, tbl.relrowsecurity as has_row_level_security, obj_description(tbl.oid, 'pg_class') as description FROM pg_class AS tbl INNER JOIN pg_namespace AS namespace ON namespace.oid = tbl.relnamespace WHERE tbl.relkind IN ('r', 'p') AND namespace.nspname = ANY (ARRAY['app']) ORDER BY namespace, table_name

-- case: columns, as introspection asks
SELECT info.table_name, info.column_name, format_type(att.atttypid, att.atttypmod) as formatted_type, info.numeric_precision, info.numeric_scale, info.data_type, info.udt_schema as type_schema_name, info.udt_name as full_data_type, pg_get_expr(attdef.adbin, attdef.adrelid) AS column_default, info.is_nullable, info.is_identity, info.character_maximum_length FROM information_schema.columns info JOIN pg_attribute att ON att.attname = info.column_name JOIN (SELECT pg_class.oid, relname, pg_namespace.nspname as namespace FROM pg_class JOIN pg_namespace on pg_namespace.oid = pg_class.relnamespace AND pg_namespace.nspname = ANY (ARRAY['app']) WHERE reltype > 0) as oid on oid.oid = att.attrelid AND relname = info.table_name AND namespace = info.table_schema LEFT OUTER JOIN pg_attrdef attdef ON attdef.adrelid = att.attrelid AND attdef.adnum = att.attnum AND table_schema = namespace ORDER BY table_name, ordinal_position

-- case: procedures, as introspection asks
SELECT p.proname AS name, n.nspname as namespace, CASE WHEN l.lanname = 'internal' THEN p.prosrc ELSE pg_get_functiondef(p.oid) END as definition FROM pg_proc p LEFT JOIN pg_namespace n ON p.pronamespace = n.oid LEFT JOIN pg_language l ON p.prolang = l.oid WHERE n.nspname = ANY (ARRAY['app']) AND p.prokind IN ('f', 'p') ORDER BY 1, pg_get_function_identity_arguments(p.oid)

-- case: views, as introspection asks
SELECT views.viewname AS view_name, views.definition AS view_sql, views.schemaname as namespace FROM pg_catalog.pg_views views WHERE schemaname = ANY (ARRAY['app'])

-- case: sequences, as introspection asks
SELECT sequencename AS sequence_name, schemaname AS namespace, start_value, min_value, max_value, increment_by, cycle, cache_size FROM pg_sequences WHERE schemaname = ANY (ARRAY['app']) ORDER BY 1

-- case: size of the database
-- answers: vary, because of the size
SELECT pg_database_size(current_database())::TEXT as size
