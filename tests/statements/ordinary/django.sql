-- As Django writes: names always quoted, values in the text.

-- case: the first words of a connection
SET TIME ZONE 'UTC'
-- then
SELECT set_config('TimeZone', 'UTC', false)

-- case: the role it works as
SHOW transaction_isolation

-- case: tables there are
SELECT c.relname, CASE WHEN c.relispartition THEN 'p' WHEN c.relkind IN ('m', 'v') THEN 'v' ELSE 't' END, obj_description(c.oid, 'pg_class') FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('f', 'm', 'p', 'r', 'v') AND n.nspname NOT IN ('pg_catalog', 'pg_toast') AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 1

-- case: columns of a table
SELECT a.attname AS column_name, NOT (a.attnotnull OR (t.typtype = 'd' AND t.typnotnull)) AS is_nullable, pg_get_expr(ad.adbin, ad.adrelid) AS column_default, CASE WHEN collname = 'default' THEN NULL ELSE collname END AS collation, a.attidentity != '' AS is_autofield, col_description(a.attrelid, a.attnum) AS column_comment FROM pg_attribute a LEFT JOIN pg_attrdef ad ON a.attrelid = ad.adrelid AND a.attnum = ad.adnum LEFT JOIN pg_collation co ON a.attcollation = co.oid JOIN pg_type t ON a.atttypid = t.oid JOIN pg_class c ON a.attrelid = c.oid JOIN pg_namespace n ON c.relnamespace = n.oid WHERE c.relkind IN ('f', 'm', 'p', 'r', 'v') AND c.relname = 'customers' AND n.nspname NOT IN ('pg_catalog', 'pg_toast') AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 1

-- case: relations of a table
SELECT a1.attname, c2.relname, a2.attname FROM pg_constraint con LEFT JOIN pg_class c1 ON con.conrelid = c1.oid LEFT JOIN pg_class c2 ON con.confrelid = c2.oid LEFT JOIN pg_attribute a1 ON c1.oid = a1.attrelid AND a1.attnum = con.conkey[1] LEFT JOIN pg_attribute a2 ON c2.oid = a2.attrelid AND a2.attnum = con.confkey[1] WHERE c1.relname = 'orders' AND con.contype = 'f' AND c1.relnamespace = c2.relnamespace AND pg_catalog.pg_table_is_visible(c1.oid)

-- case: constraints of a table
SELECT c.conname, array(SELECT attname FROM unnest(c.conkey) WITH ORDINALITY cols(colid, arridx) JOIN pg_attribute AS ca ON cols.colid = ca.attnum WHERE ca.attrelid = c.conrelid ORDER BY cols.arridx), c.contype, (SELECT fkc.relname || '.' || fka.attname FROM pg_attribute AS fka JOIN pg_class AS fkc ON fka.attrelid = fkc.oid WHERE fka.attrelid = c.confrelid AND fka.attnum = c.confkey[1]), cl.reloptions FROM pg_constraint AS c JOIN pg_class AS cl ON c.conrelid = cl.oid WHERE cl.relname = 'items' AND pg_catalog.pg_table_is_visible(cl.oid) ORDER BY 1

-- case: sequences of a table
SELECT s.relname AS sequence_name, a.attname AS colname FROM pg_class s JOIN pg_depend d ON d.objid = s.oid AND d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass JOIN pg_attribute a ON d.refobjid = a.attrelid AND d.refobjsubid = a.attnum JOIN pg_class tbl ON tbl.oid = d.refobjid AND tbl.relname = 'orders' AND pg_catalog.pg_table_is_visible(tbl.oid) WHERE s.relkind = 'S'

-- case: an object by its key
SELECT "app"."customers"."id", "app"."customers"."name", "app"."customers"."email" FROM "app"."customers" WHERE "app"."customers"."id" = 1 LIMIT 21

-- case: an object by its key, on the path
SELECT "customers"."id", "customers"."name" FROM "customers" WHERE "customers"."id" = 1 LIMIT 21

-- case: a quoted schema within a table's quotes, as is done for lack of schemas
SELECT o."id" FROM "app"."orders" o WHERE o."id" IN (1, 2, 3) ORDER BY o."id" ASC

-- case: a count
SELECT COUNT(*) AS "__count" FROM "app"."orders" WHERE "app"."orders"."state" = 'paid'

-- case: does one exist
SELECT 1 AS "a" FROM "app"."orders" WHERE "app"."orders"."customer_id" = 5 LIMIT 1

-- case: related objects at once
SELECT "o"."id", "o"."total", "c"."id", "c"."name" FROM "app"."orders" "o" INNER JOIN "app"."customers" "c" ON ("o"."customer_id" = "c"."id") WHERE UPPER("c"."name"::text) LIKE UPPER('%customer 1%') ORDER BY "o"."id" ASC LIMIT 10

-- case: prefetched objects
SELECT ("app"."items"."order_id") AS "_prefetch_related_val", "app"."items"."sku" FROM "app"."items" WHERE "app"."items"."order_id" IN (1, 2) ORDER BY 1, 2

-- case: annotated and grouped
SELECT "o"."customer_id", COUNT("o"."id") AS "n", SUM("o"."total") FILTER (WHERE "o"."state" = 'paid') AS "paid" FROM "app"."orders" "o" GROUP BY "o"."customer_id" ORDER BY "n" DESC, 1 LIMIT 5

-- case: F() in a condition
SELECT "d"."id" FROM "app"."documents" "d" WHERE ("d"."parent_id" IS NULL AND NOT ("d"."title" LIKE 'X%' AND "d"."title" IS NOT NULL)) ORDER BY 1

-- case: an insert
-- answers: vary, because of the time
INSERT INTO "app"."customers" ("name", "email", "active", "created_at") VALUES ('D', 'd@example.test', true, '2026-03-01T10:00:00+00:00'::timestamptz) RETURNING "app"."customers"."id"

-- case: many at once
INSERT INTO "app"."counters" ("name", "value") VALUES ('dj1', 1), ('dj2', 2) RETURNING "app"."counters"."name"

-- case: many at once, conflicts ignored
INSERT INTO "app"."counters" ("name", "value") VALUES ('counter 1', 1), ('dj3', 2) ON CONFLICT DO NOTHING

-- case: many at once, conflicts updated
INSERT INTO "app"."counters" ("name", "value") VALUES ('counter 1', 1) ON CONFLICT("name") DO UPDATE SET "value" = EXCLUDED."value"

-- case: many at once by arrays
INSERT INTO "app"."counters" ("name", "value") SELECT * FROM UNNEST((ARRAY['dj4', 'dj5'])::text[], (ARRAY[1, 2])::bigint[])

-- case: an update
UPDATE "app"."customers" SET "name" = 'renamed', "updated_at" = '2026-03-01T10:00:00'::timestamp WHERE "app"."customers"."id" = 2

-- case: an update by an expression
UPDATE "app"."counters" SET "value" = ("app"."counters"."value" + 1) WHERE "app"."counters"."name" = 'counter 3'

-- case: many updated by CASE
UPDATE "app"."counters" SET "value" = (CASE WHEN ("app"."counters"."name" = 'counter 1') THEN 11 WHEN ("app"."counters"."name" = 'counter 2') THEN 12 ELSE NULL END)::bigint WHERE "app"."counters"."name" IN ('counter 1', 'counter 2')

-- case: a deletion of the collected
DELETE FROM "app"."items" WHERE "app"."items"."order_id" IN (95)
-- then
DELETE FROM "app"."orders" WHERE "app"."orders"."id" IN (95)

-- case: a deletion by a subquery
DELETE FROM "app"."items" WHERE "app"."items"."order_id" IN (SELECT "U0"."id" FROM "app"."orders" "U0" WHERE "U0"."note" = 'order 94')

-- case: select_for_update
BEGIN
-- then
SELECT "c"."name", "c"."value" FROM "app"."counters" "c" WHERE "c"."name" = 'counter 1' LIMIT 21 FOR UPDATE
-- then
UPDATE "app"."counters" SET "value" = 2 WHERE "app"."counters"."name" = 'counter 1'
-- then
COMMIT

-- case: atomic within atomic
BEGIN
-- then
SAVEPOINT "s140123456789_x1"
-- then
INSERT INTO "app"."counters" ("name", "value") VALUES ('atomic', 1)
-- then
ROLLBACK TO SAVEPOINT "s140123456789_x1"
-- then
RELEASE SAVEPOINT "s140123456789_x1"
-- then
COMMIT

-- case: constraints looked at now
SET CONSTRAINTS ALL IMMEDIATE
-- then
SET CONSTRAINTS ALL DEFERRED

-- case: a server-side cursor
BEGIN
-- then
DECLARE "_django_curs_140_sync_1" NO SCROLL CURSOR FOR SELECT "o"."id" FROM "app"."orders" "o" ORDER BY "o"."id"
-- then
FETCH FORWARD 100 FROM "_django_curs_140_sync_1"
-- then
CLOSE "_django_curs_140_sync_1"
-- then
COMMIT

-- case: a server-side cursor that outlives its transaction
DECLARE "_django_curs_140_sync_2" NO SCROLL CURSOR WITH HOLD FOR SELECT "o"."id" FROM "app"."orders" "o" WHERE "o"."id" < 9 ORDER BY 1
-- then
FETCH FORWARD 4 FROM "_django_curs_140_sync_2"
-- then
CLOSE "_django_curs_140_sync_2"

-- case: a session that is saved
UPDATE "django_session" SET "session_data" = 'e30:y', "expire_date" = '2027-02-01T00:00:00+00:00'::timestamptz WHERE "django_session"."session_key" = 'abc'

-- case: a session that is looked for
SELECT "django_session"."session_key", "django_session"."session_data", "django_session"."expire_date" FROM "django_session" WHERE ("django_session"."expire_date" > '2026-03-01T00:00:00+00:00'::timestamptz AND "django_session"."session_key" = 'abc') LIMIT 21

-- case: dates by their parts
SELECT DISTINCT DATE_TRUNC('month', "o"."placed_at" AT TIME ZONE 'UTC') AS "datetimefield" FROM "app"."orders" "o" WHERE "o"."placed_at" BETWEEN '2026-01-01T00:00:00+00:00'::timestamptz AND '2026-12-31T23:59:59.999999+00:00'::timestamptz ORDER BY 1 ASC

-- case: JSON keys
SELECT "c"."id" FROM "app"."customers" "c" WHERE ("c"."address" -> 'city') = '"Ulm"'::jsonb AND "c"."address" ? 'zip' ORDER BY 1 LIMIT 3

-- case: text search
SELECT "d"."id", ts_rank(to_tsvector(COALESCE("d"."body", '')), plainto_tsquery('fox')) AS "rank" FROM "app"."documents" "d" WHERE to_tsvector(COALESCE("d"."body", '')) @@ (plainto_tsquery('fox')) ORDER BY 1

-- case: a union
(SELECT "c"."id" AS "col1" FROM "app"."customers" "c" WHERE "c"."id" < 3) UNION (SELECT "o"."id" AS "col1" FROM "app"."orders" "o" WHERE "o"."id" < 5) ORDER BY "col1" ASC

-- case: random order
-- answers: vary, because of the order
SELECT "c"."id" FROM "app"."customers" "c" ORDER BY RANDOM() ASC LIMIT 3

-- case: explained
-- answers: vary, because of the costs
EXPLAIN (VERBOSE false) SELECT "c"."id" FROM "app"."customers" "c" WHERE "c"."id" = 1

-- case: nothing at all
SELECT "c"."id" FROM "app"."customers" "c" WHERE 0 = 1

-- case: a long list of keys
SELECT "o"."id" FROM "app"."orders" "o" WHERE "o"."id" IN (1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,39,40,41,42,43,44,45,46,47,48,49,50,51,52,53,54,55,56,57,58,59,60,61,62,63,64,65,66,67,68,69,70,71,72,73,74,75,76,77,78,79,80,81,82,83,84,85,86,87,88,89,90,91,92,93,94,95,96,97,98,99,100) ORDER BY 1
