-- As SQLAlchemy writes, by psycopg2 (values in the text) and by psycopg and asyncpg (parameters).

-- case: the first words of a connection
select pg_catalog.version()
-- then
select current_schema()
-- then
show standard_conforming_strings
-- then
SHOW TRANSACTION ISOLATION LEVEL

-- case: probing the letters
SELECT CAST('test plain returns' AS VARCHAR(60)) AS anon_1
-- then
SELECT CAST('test unicode returns' AS VARCHAR(60)) AS anon_1

-- case: a ping before a pooled connection is used
SELECT 1

-- case: an object by its key
-- with: 1
SELECT app.customers.id AS app_customers_id, app.customers.name AS app_customers_name, app.customers.email AS app_customers_email FROM app.customers WHERE app.customers.id = $1::INTEGER

-- case: an object by its key, by psycopg2
SELECT app.customers.id, app.customers.name, app.customers.email FROM app.customers WHERE app.customers.id = 1

-- case: the first of an order
-- with: 1 | 0
SELECT orders_1.id, orders_1.total FROM app.orders AS orders_1 ORDER BY orders_1.placed_at DESC, orders_1.id LIMIT $1::INTEGER OFFSET $2::INTEGER

-- case: a joined load
SELECT o.id, o.state, c_1.id AS id_1, c_1.name FROM app.orders AS o LEFT OUTER JOIN app.customers AS c_1 ON c_1.id = o.customer_id WHERE o.total > 1490 ORDER BY o.id

-- case: a select-in load
-- with: 1 | 2 | 3
SELECT app.orders.customer_id AS app_orders_customer_id, app.orders.id AS app_orders_id FROM app.orders WHERE app.orders.customer_id IN ($1::INTEGER, $2::INTEGER, $3::INTEGER) ORDER BY app.orders.id

-- case: a subquery load with distinct
SELECT app.items.order_id, app.items.sku, anon_1.id FROM (SELECT DISTINCT app.orders.id AS id FROM app.orders WHERE app.orders.id < 5) AS anon_1 JOIN app.items ON anon_1.id = app.items.order_id ORDER BY app.items.order_id, app.items.line

-- case: a count of a query
SELECT count(*) AS count_1 FROM (SELECT app.orders.id AS app_orders_id FROM app.orders WHERE app.orders.state = 'paid') AS anon_1

-- case: an insert of one object
-- with: New one | new@example.test
-- answers: vary, because of the time
INSERT INTO app.customers (name, email) VALUES ($1::VARCHAR, $2::VARCHAR) RETURNING app.customers.id, app.customers.created_at

-- case: an insert of many objects, in the order of their values
INSERT INTO app.counters (name, value) SELECT p0::TEXT, p1::BIGINT FROM (VALUES ('m1', 1, 0), ('m2', 2, 1), ('m3', 3, 2)) AS imp_sen(p0, p1, sen_counter) ORDER BY sen_counter RETURNING app.counters.name, app.counters.name AS name__1

-- case: an insert of many objects by psycopg2
INSERT INTO app.counters (name, value) VALUES ('n1', 1), ('n2', 2), ('n3', 3)

-- case: an upsert
-- with: counter 1 | 10 | 20
INSERT INTO app.counters (name, value) VALUES ($1::VARCHAR, $2::BIGINT) ON CONFLICT (name) DO UPDATE SET value = (app.counters.value + $3::BIGINT) RETURNING app.counters.value

-- case: an upsert that does nothing
INSERT INTO app.counters (name, value) VALUES ('counter 1', 0) ON CONFLICT DO NOTHING

-- case: an update of one object
-- with: another | 3
UPDATE app.customers SET name=$1::VARCHAR, updated_at='2026-02-02' WHERE app.customers.id = $2::INTEGER

-- case: an update with a version
UPDATE app.customers SET name='versioned', lock_version=1 WHERE app.customers.id = 4 AND app.customers.lock_version = 0

-- case: an update by a query, with what it returns
UPDATE app.orders SET note=(app.orders.note || ' checked') WHERE app.orders.customer_id = 7 AND app.orders.state = 'new' RETURNING app.orders.id, app.orders.note

-- case: a deletion of one object
-- with: counter 4
DELETE FROM app.counters WHERE app.counters.name = $1::VARCHAR

-- case: a deletion of many
DELETE FROM app.items WHERE app.items.order_id IN (98, 99) AND app.items.line = 2

-- case: a deletion with another table
DELETE FROM app.items USING app.orders WHERE app.items.order_id = app.orders.id AND app.orders.note = 'order 97'

-- case: an update with another table
UPDATE app.items SET price=(app.items.price + 1) FROM app.orders WHERE app.items.order_id = app.orders.id AND app.orders.customer_id = 3

-- case: a transaction with a savepoint
BEGIN
-- then
SAVEPOINT sa_savepoint_1
-- then
UPDATE app.counters SET value=5 WHERE app.counters.name = 'counter 5'
-- then
RELEASE SAVEPOINT sa_savepoint_1
-- then
SAVEPOINT sa_savepoint_2
-- then
UPDATE app.counters SET value=6 WHERE app.counters.name = 'counter 5'
-- then
ROLLBACK TO SAVEPOINT sa_savepoint_2
-- then
COMMIT

-- case: a level of isolation
SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ

-- case: a transaction of its own level, read only and deferrable
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE
-- then
SELECT count(*) FROM app.customers
-- then
COMMIT

-- case: a row that is locked
SELECT app.counters.name, app.counters.value FROM app.counters WHERE app.counters.name = 'counter 2' FOR UPDATE

-- case: rows that are locked, others skipped
SELECT app.orders.id FROM app.orders WHERE app.orders.state = 'new' ORDER BY app.orders.id LIMIT 3 FOR UPDATE OF orders SKIP LOCKED

-- case: a row that is shared
SELECT app.orders.id FROM app.orders WHERE app.orders.id = 1 FOR NO KEY UPDATE NOWAIT

-- case: a server-side cursor by its name
BEGIN
-- then
DECLARE "c_7f3a_1" CURSOR WITHOUT HOLD FOR SELECT app.orders.id FROM app.orders ORDER BY app.orders.id
-- then
FETCH FORWARD 2 FROM "c_7f3a_1"
-- then
FETCH FORWARD 3 FROM "c_7f3a_1"
-- then
CLOSE "c_7f3a_1"
-- then
COMMIT

-- case: has the schema this table
-- with: orders | app
SELECT pg_catalog.pg_class.relname FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_catalog.pg_namespace.oid = pg_catalog.pg_class.relnamespace WHERE pg_catalog.pg_class.relname = $1::VARCHAR AND pg_catalog.pg_class.relkind = ANY (ARRAY['r', 'p', 'f', 'v', 'm']) AND pg_catalog.pg_table_is_visible(pg_catalog.pg_class.oid) AND pg_catalog.pg_namespace.nspname != 'pg_catalog' OR pg_catalog.pg_namespace.nspname = $2::VARCHAR ORDER BY 1

-- case: the schemas
SELECT n.nspname FROM pg_catalog.pg_namespace n WHERE n.nspname NOT LIKE 'pg\_%' ORDER BY n.nspname

-- case: the columns of tables
SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS format_type, (SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef) AS "default", a.attnotnull AS not_null, c.relname AS table_name, col_description(c.oid, a.attnum) AS comment, a.attgenerated AS generated, (SELECT json_build_object('always', a.attidentity = 'a', 'start', s.seqstart, 'increment', s.seqincrement) FROM pg_catalog.pg_sequence s WHERE a.attidentity <> '' AND s.seqrelid = pg_get_serial_sequence(CAST(CAST(a.attrelid AS REGCLASS) AS TEXT), a.attname)::regclass) AS identity_options FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_attribute a ON c.oid = a.attrelid AND a.attnum > 0 AND NOT a.attisdropped JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = ANY (ARRAY['r', 'p', 'f', 'v', 'm']) AND n.nspname = 'app' ORDER BY c.relname, a.attnum

-- case: keys and constraints
SELECT attr.conrelid, array_agg(attr.attname ORDER BY attr.ord) AS cols, attr.conname, min(attr.description) AS description FROM (SELECT con.conrelid, con.conname, con.ord, con.description, a.attname FROM pg_catalog.pg_attribute a JOIN (SELECT c.conrelid, c.conname, unnest(c.conkey) AS attnum, generate_subscripts(c.conkey, 1) AS ord, d.description FROM pg_catalog.pg_constraint c LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = c.oid WHERE c.contype = 'p') AS con ON a.attnum = con.attnum AND a.attrelid = con.conrelid) AS attr GROUP BY attr.conrelid, attr.conname ORDER BY attr.conrelid, attr.conname

-- case: foreign keys
SELECT r.conname, pg_catalog.pg_get_constraintdef(r.oid, true) AS condef, n.nspname AS conschema FROM pg_catalog.pg_constraint r, pg_namespace n, pg_class c WHERE r.contype = 'f' AND c.oid = r.confrelid AND n.oid = c.relnamespace ORDER BY 1

-- case: indexes
SELECT i.relname, ix.indisunique, ix.indkey, pg_catalog.pg_get_indexdef(i.oid, 0, true), am.amname, pg_catalog.pg_get_expr(ix.indpred, ix.indrelid), i.reloptions FROM pg_catalog.pg_class t JOIN pg_catalog.pg_index ix ON t.oid = ix.indrelid JOIN pg_catalog.pg_class i ON i.oid = ix.indexrelid JOIN pg_catalog.pg_am am ON i.relam = am.oid WHERE t.relnamespace = 'app'::regnamespace ORDER BY i.relname

-- case: enumerations
SELECT t.typname AS name, pg_catalog.pg_type_is_visible(t.oid) AS visible, n.nspname AS schema, array_agg(CAST(e.enumlabel AS TEXT) ORDER BY e.enumsortorder) AS labels FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_catalog.pg_enum e ON e.enumtypid = t.oid WHERE t.typtype = 'e' GROUP BY t.typname, t.oid, n.nspname ORDER BY n.nspname, t.typname

-- case: is there hstore
SELECT t.oid, typarray FROM pg_type t JOIN pg_namespace ns ON typnamespace = ns.oid WHERE typname = 'hstore'

-- case: a type by its name, by psycopg
-- with: app.state
SELECT typname AS name, oid, typarray AS array_oid, oid::regtype::text AS regtype, typdelim AS delimiter FROM pg_type t WHERE t.oid = to_regtype($1) ORDER BY t.oid

-- case: JSON by path
SELECT app.customers.id, app.customers.address ->> 'city' AS city FROM app.customers WHERE (app.customers.address ->> 'zip')::INTEGER > 15 AND app.customers.address @> '{"city": "Ulm"}'::jsonb ORDER BY app.customers.id

-- case: arrays
SELECT app.customers.id FROM app.customers WHERE app.customers.tags && ARRAY['t1', 't2']::TEXT[] AND 't1' = ANY (app.customers.tags) ORDER BY 1

-- case: a window
SELECT o.id, row_number() OVER (PARTITION BY o.customer_id ORDER BY o.placed_at DESC) AS rn, sum(o.total) OVER (PARTITION BY o.customer_id ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS s FROM app.orders o WHERE o.id <= 30 ORDER BY o.id

-- case: a recursive WITH
WITH RECURSIVE tree(id, parent_id, depth) AS (SELECT d.id, d.parent_id, 0 FROM app.documents AS d WHERE d.parent_id IS NULL UNION ALL SELECT c.id, c.parent_id, tree.depth + 1 FROM app.documents AS c JOIN tree ON c.parent_id = tree.id) SELECT tree.id, tree.depth FROM tree ORDER BY tree.id

-- case: an insert from a select with WITH
WITH src AS (SELECT app.customers.name AS name FROM app.customers WHERE app.customers.id = 5) INSERT INTO app.counters (name, value) SELECT 'of ' || src.name, 0 FROM src RETURNING app.counters.name

-- case: EXISTS and NOT IN
SELECT app.customers.id FROM app.customers WHERE EXISTS (SELECT 1 FROM app.orders WHERE app.orders.customer_id = app.customers.id AND app.orders.total > 1495) AND (app.customers.id NOT IN (1, 2)) ORDER BY app.customers.id

-- case: a lateral join
SELECT c.id, latest.total FROM app.customers AS c JOIN LATERAL (SELECT o.total AS total FROM app.orders AS o WHERE o.customer_id = c.id ORDER BY o.placed_at DESC LIMIT 1) AS latest ON true ORDER BY c.id

-- case: CASE, COALESCE, casts and dates
SELECT CASE WHEN (o.total > 100) THEN 'big' ELSE 'small' END AS size, coalesce(o.note, '') AS note, CAST(o.total AS INTEGER) AS whole, EXTRACT(year FROM o.placed_at) AS y, date_trunc('month', o.placed_at) AS m FROM app.orders AS o ORDER BY o.id LIMIT 5

-- case: grouping and having
SELECT o.customer_id, count(o.id) AS n, max(o.total) AS most, string_agg(o.note, ', ' ORDER BY o.id) AS notes FROM app.orders AS o GROUP BY o.customer_id HAVING count(o.id) > 10 ORDER BY o.customer_id
