-- As ActiveRecord writes.

-- case: the first words of a connection
SET client_min_messages TO 'warning'
-- then
SET standard_conforming_strings = on
-- then
SET intervalstyle = iso_8601
-- then
SET SESSION timezone TO 'UTC'
-- then
SHOW TIME ZONE
-- then
SHOW search_path
-- then
SHOW client_min_messages

-- case: a setting put back
SHOW max_identifier_length
-- then
SET statement_timeout TO 30000
-- then
SET SESSION "statement_timeout" TO DEFAULT

-- case: types there are
SELECT t.oid, t.typname, t.typelem, t.typdelim, t.typinput, r.rngsubtype, t.typtype, t.typbasetype FROM pg_type as t LEFT JOIN pg_range as r ON oid = rngtypid WHERE t.typname IN ('int2', 'int4', 'int8', 'oid', 'float4', 'text', 'jsonb', 'uuid') ORDER BY 1

-- case: types by their functions
SELECT t.oid, t.typname FROM pg_type as t WHERE t.typtype IN ('r', 'e', 'd') OR t.typinput = 'array_in(cstring,oid,integer)'::regprocedure OR t.typelem IN (16, 17, 18) ORDER BY 1

-- case: columns of a table
SELECT a.attname, format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid), a.attnotnull, a.atttypid, a.atttypmod, c.collname, col_description(a.attrelid, a.attnum) AS comment, attidentity AS identity, attgenerated as attgenerated FROM pg_attribute a LEFT JOIN pg_attrdef d ON a.attrelid = d.adrelid AND a.attnum = d.adnum LEFT JOIN pg_type t ON a.atttypid = t.oid LEFT JOIN pg_collation c ON a.attcollation = c.oid AND a.attcollation <> t.typcollation WHERE a.attrelid = '"app"."orders"'::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum

-- case: the primary key of a table
SELECT a.attname FROM (SELECT indrelid, indkey, generate_subscripts(indkey, 1) idx FROM pg_index WHERE indrelid = '"app"."items"'::regclass AND indisprimary) i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[i.idx] ORDER BY i.idx

-- case: tables there are
SELECT c.relname FROM pg_class c LEFT JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ANY (current_schemas(false)) AND c.relkind IN ('r','p') ORDER BY 1

-- case: is there this one
SELECT c.relname FROM pg_class c LEFT JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ANY (current_schemas(false)) AND c.relname = 'schema_migrations' AND c.relkind IN ('r','v','m','p','f')

-- case: indexes of a table
SELECT distinct i.relname, d.indisunique, d.indkey, pg_get_indexdef(d.indexrelid), pg_catalog.obj_description(i.oid, 'pg_class') AS comment, d.indisvalid FROM pg_class t INNER JOIN pg_index d ON t.oid = d.indrelid INNER JOIN pg_class i ON d.indexrelid = i.oid LEFT JOIN pg_namespace n ON n.oid = t.relnamespace WHERE i.relkind IN ('i', 'I') AND d.indisprimary = 'f' AND t.relname = 'orders' AND n.nspname = ANY (current_schemas(false)) ORDER BY i.relname

-- case: enumerations
SELECT type.typname AS name, type.OID AS oid, n.nspname AS schema, array_agg(enum.enumlabel ORDER BY enum.enumsortorder) AS value FROM pg_enum AS enum JOIN pg_type AS type ON (type.oid = enum.enumtypid) JOIN pg_namespace n ON type.typnamespace = n.oid GROUP BY type.OID, n.nspname, type.typname

-- case: migrations that ran
SELECT "schema_migrations"."version" FROM "schema_migrations" ORDER BY "schema_migrations"."version" ASC

-- case: the database it is
SELECT current_database()

-- case: extensions
SELECT extname FROM pg_extension

-- case: an object by its key
-- with: 1 | 1
SELECT "app"."customers".* FROM "app"."customers" WHERE "app"."customers"."id" = $1 LIMIT $2

-- case: an object by its key, its path in front
-- with: 1 | 1
SELECT "customers".* FROM "customers" WHERE "customers"."id" = $1 LIMIT $2

-- case: the first and the last
SELECT "customers".* FROM "customers" ORDER BY "customers"."id" ASC LIMIT 1
-- then
SELECT "customers".* FROM "customers" ORDER BY "customers"."id" DESC LIMIT 1

-- case: does one exist
-- with: 7 | 1
SELECT 1 AS one FROM "orders" WHERE "orders"."customer_id" = $1 LIMIT $2

-- case: a scope
SELECT "orders".* FROM "orders" WHERE "orders"."state" IN ('new', 'paid') AND "orders"."total" BETWEEN 10 AND 20 ORDER BY "orders"."placed_at" DESC

-- case: includes
SELECT "items".* FROM "items" WHERE "items"."order_id" IN (1, 2, 3) ORDER BY 1, 2

-- case: eager_load
SELECT "customers"."id" AS t0_r0, "customers"."name" AS t0_r1, "orders"."id" AS t1_r0 FROM "customers" LEFT OUTER JOIN "orders" ON "orders"."customer_id" = "customers"."id" WHERE "customers"."id" = 3 ORDER BY 1, 3

-- case: pluck and distinct
SELECT DISTINCT "orders"."state" FROM "orders" ORDER BY "orders"."state"

-- case: count by group
SELECT COUNT(*) AS "count_all", "orders"."state" AS "orders_state" FROM "orders" GROUP BY "orders"."state" ORDER BY 2

-- case: an insert
-- with: R | r@example.test | t
INSERT INTO "customers" ("name", "email", "active", "created_at") VALUES ($1, $2, $3, '2026-04-01') RETURNING "id"

-- case: an insert all
INSERT INTO "counters" ("name","value") VALUES ('ar1', 1), ('ar2', 2) ON CONFLICT DO NOTHING RETURNING "name"

-- case: an upsert all
INSERT INTO "counters" ("name","value") VALUES ('counter 1', 7) ON CONFLICT ("name") DO UPDATE SET "value"=excluded."value" RETURNING "name"

-- case: an update
-- with: ruby | 6
UPDATE "customers" SET "name" = $1 WHERE "customers"."id" = $2

-- case: an update under an optimistic lock
-- with: ruby 2 | 1 | 8 | 0
UPDATE "customers" SET "name" = $1, "lock_version" = $2 WHERE "customers"."id" = $3 AND "customers"."lock_version" = $4

-- case: a counter
UPDATE "counters" SET "value" = COALESCE("counters"."value", 0) + 1 WHERE "counters"."name" = 'counter 2'

-- case: update_all by a subquery
UPDATE "orders" SET "note" = 'seen' WHERE "orders"."id" IN (SELECT "orders"."id" FROM "orders" WHERE "orders"."state" = 'sent' ORDER BY "orders"."id" LIMIT 10)

-- case: a deletion
-- with: counter 3
DELETE FROM "counters" WHERE "counters"."name" = $1

-- case: a pessimistic lock
-- with: 3 | 1
SELECT "customers".* FROM "customers" WHERE "customers"."id" = $1 LIMIT $2 FOR UPDATE

-- case: a transaction with one in it
BEGIN
-- then
SAVEPOINT active_record_1
-- then
UPDATE "counters" SET "value" = 1 WHERE "counters"."name" = 'counter 5'
-- then
RELEASE SAVEPOINT active_record_1
-- then
COMMIT

-- case: a transaction that is rolled back
BEGIN ISOLATION LEVEL REPEATABLE READ
-- then
INSERT INTO "counters" ("name", "value") VALUES ('rolled back', 1)
-- then
ROLLBACK

-- case: find_each
SELECT "orders".* FROM "orders" WHERE "orders"."id" > 1000 ORDER BY "orders"."id" ASC LIMIT 100

-- case: a query with its tags
SELECT "customers"."id" FROM "customers" WHERE "customers"."active" = TRUE ORDER BY 1 /*application:Shop,controller:customers,action:index*/

-- case: a prepared statement that is let go
-- by: simple
PREPARE a1 AS SELECT 1
-- then
DEALLOCATE a1

-- case: explained with ANALYZE
-- answers: vary, because of the times
EXPLAIN (ANALYZE, VERBOSE, BUFFERS) SELECT "customers".* FROM "customers" WHERE "customers"."id" = 1

-- case: a note for whoever listens to a name of the model's
SELECT "Users"."id", "Users"."firstName" FROM "Users" WHERE "Users"."firstName" ILIKE 'a%'
