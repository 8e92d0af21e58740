-- As agents write when they are asked for something: by hand, at length, several things at once.

-- case: a look at what there is
SELECT table_schema, table_name, table_type FROM information_schema.tables WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY table_schema, table_name;

-- case: a look at one table
SELECT column_name, data_type, is_nullable, column_default
FROM information_schema.columns
WHERE table_schema = 'app' AND table_name = 'orders'
ORDER BY ordinal_position;

-- case: foreign keys
SELECT tc.table_name, kcu.column_name, ccu.table_name AS foreign_table, ccu.column_name AS foreign_column
FROM information_schema.table_constraints AS tc
JOIN information_schema.key_column_usage AS kcu ON tc.constraint_name = kcu.constraint_name AND tc.table_schema = kcu.table_schema
JOIN information_schema.constraint_column_usage AS ccu ON ccu.constraint_name = tc.constraint_name
WHERE tc.constraint_type = 'FOREIGN KEY' ORDER BY 1, 2;

-- case: how large the tables are
-- answers: vary, because of the sizes
SELECT relname, pg_size_pretty(pg_total_relation_size(c.oid)) AS size FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'app' AND c.relkind = 'r' ORDER BY pg_total_relation_size(c.oid) DESC, 1 LIMIT 10

-- case: how many rows by estimate
-- answers: vary, because of the estimates
SELECT reltuples::bigint AS estimate FROM pg_class WHERE oid = 'app.orders'::regclass

-- case: where am I, and who
-- answers: vary, because of the addresses
SELECT current_database(), current_user, session_user, version(), inet_server_addr(), inet_server_port(), now()

-- case: enumerations there are
SELECT t.typname, e.enumlabel FROM pg_type t JOIN pg_enum e ON t.oid = e.enumtypid ORDER BY t.typname, e.enumsortorder;

-- case: indexes there are
SELECT schemaname, tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'app' ORDER BY tablename, indexname;

-- case: functions there are
SELECT routine_name, routine_type, data_type FROM information_schema.routines WHERE routine_schema = 'app' ORDER BY routine_name, specific_name;

-- case: a sample
SELECT * FROM app.orders LIMIT 5;

-- case: a count by state
SELECT state, COUNT(*) AS n, ROUND(AVG(total), 2) AS average FROM app.orders GROUP BY state ORDER BY n DESC, state;

-- case: the best customers
WITH spent AS (
  SELECT c.id, c.name, SUM(o.total) AS total
  FROM app.customers c
  JOIN app.orders o ON o.customer_id = c.id
  WHERE o.placed_at >= '2026-01-01' AND o.state <> 'new'
  GROUP BY c.id, c.name
)
SELECT name, total, RANK() OVER (ORDER BY total DESC) AS place
FROM spent
ORDER BY place, name
LIMIT 10;

-- case: by month, with those before
SELECT month, total, LAG(total) OVER (ORDER BY month) AS before, total - LAG(total) OVER (ORDER BY month) AS more
FROM (SELECT DATE_TRUNC('month', placed_at) AS month, SUM(total) AS total FROM app.orders GROUP BY 1) m
ORDER BY month;

-- case: customers without orders
SELECT c.id, c.name FROM app.customers c LEFT JOIN app.orders o ON o.customer_id = c.id WHERE o.id IS NULL;

-- case: double e-mail addresses
SELECT LOWER(TRIM(email)) AS address, COUNT(*), ARRAY_AGG(id ORDER BY id) AS ids FROM app.customers GROUP BY 1 HAVING COUNT(*) > 1;

-- case: a median and quartiles
SELECT PERCENTILE_CONT(ARRAY[0.25, 0.5, 0.75]) WITHIN GROUP (ORDER BY total) FROM app.orders;

-- case: days without orders
SELECT d::date AS day FROM generate_series('2026-01-01'::date, '2026-01-10'::date, interval '1 day') AS d LEFT JOIN app.orders o ON o.placed_at::date = d::date WHERE o.id IS NULL ORDER BY 1;

-- case: a cohort
SELECT DATE_TRUNC('week', c.created_at) AS cohort, COUNT(DISTINCT c.id) AS customers, COUNT(DISTINCT o.customer_id) FILTER (WHERE o.placed_at < c.created_at + INTERVAL '7 days') AS early FROM app.customers c LEFT JOIN app.orders o ON o.customer_id = c.id GROUP BY 1 ORDER BY 1;

-- case: JSON taken apart
SELECT c.id, kv.key, kv.value FROM app.customers c CROSS JOIN LATERAL jsonb_each_text(c.address) AS kv WHERE c.id <= 2 ORDER BY 1, 2;

-- case: JSON changed
UPDATE app.customers SET address = jsonb_set(address, '{city}', '"Köln"', true) || '{"checked": true}'::jsonb WHERE id = 12 RETURNING address;

-- case: arrays taken apart
SELECT tag, COUNT(*) FROM app.customers, UNNEST(tags) AS tag GROUP BY tag ORDER BY tag;

-- case: words searched for
SELECT id, ts_headline('english', body, q) FROM app.documents, websearch_to_tsquery('english', 'quick -slow') q WHERE words @@ q ORDER BY ts_rank(words, q) DESC, id LIMIT 3;

-- case: a regular expression
SELECT id, (regexp_match(email, '^c([0-9]+)@'))[1]::int AS n, split_part(email, '@', 2) AS host FROM app.customers WHERE email ~* '^C1.*@EXAMPLE' ORDER BY id;

-- case: a pivot
SELECT customer_id, SUM(total) FILTER (WHERE state = 'new') AS new, SUM(total) FILTER (WHERE state = 'paid') AS paid, SUM(CASE WHEN state = 'closed' THEN 1 ELSE 0 END) AS closed FROM app.orders WHERE customer_id < 4 GROUP BY CUBE (customer_id) ORDER BY customer_id NULLS LAST;

-- case: sets
SELECT id FROM app.customers WHERE id < 5 EXCEPT SELECT customer_id FROM app.orders WHERE id < 3 INTERSECT SELECT 3 ORDER BY 1;

-- case: a test in a transaction that is rolled back
BEGIN;
-- then
UPDATE app.orders SET state = 'sent' WHERE id = 17 AND state = 'paid';
-- then
SELECT id, state FROM app.orders WHERE id = 17;
-- then
ROLLBACK;

-- case: a change with a look before and behind, committed
BEGIN;
-- then
SELECT COUNT(*) FROM app.orders WHERE note IS NULL;
-- then
UPDATE app.orders SET note = 'none' WHERE note IS NULL;
-- then
COMMIT;

-- case: several looks in one text
-- by: simple
SELECT COUNT(*) FROM app.customers; SELECT COUNT(*) FROM app.orders; SELECT MAX(placed_at) FROM app.orders;

-- case: a change and a look in one text
-- by: simple
UPDATE app.customers SET name = 'Anna' WHERE id = 13; SELECT name FROM app.customers WHERE id = 13;

-- case: several inserts in one text
-- by: simple
INSERT INTO app.counters VALUES ('ag1', 1); INSERT INTO app.counters VALUES ('ag2', 2); INSERT INTO app.counters VALUES ('ag3', 3);

-- case: a correction by a join
UPDATE app.orders o SET note = c.name || ' (' || o.id || ')' FROM app.customers c WHERE c.id = o.customer_id AND o.id BETWEEN 100 AND 110;

-- case: old rows taken away, a few at a time
DELETE FROM app.orders WHERE id IN (SELECT id FROM app.orders WHERE placed_at < '2026-01-03' AND state = 'closed' ORDER BY placed_at LIMIT 10);

-- case: double rows taken away
DELETE FROM app.customers a USING app.customers b WHERE a.id > b.id AND a.email = b.email;

-- case: moved from one table to another
WITH moved AS (DELETE FROM app.counters WHERE name = 'ag1' RETURNING name, value) INSERT INTO app.events (id, kind, at) SELECT md5(name)::uuid, name, '2026-06-01' FROM moved RETURNING kind;

-- case: an upsert
INSERT INTO public.settings (key, value) VALUES ('colour', 'red'), ('shape', 'round') ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value WHERE settings.value IS DISTINCT FROM EXCLUDED.value RETURNING *;

-- case: a merge
MERGE INTO public.settings s USING (VALUES ('size', 'L'), ('weight', '5')) AS v (key, value) ON s.key = v.key WHEN MATCHED THEN UPDATE SET value = v.value WHEN NOT MATCHED THEN INSERT VALUES (v.key, v.value);

-- case: explained
-- answers: vary, because of the costs
EXPLAIN SELECT * FROM app.orders WHERE customer_id = 3 ORDER BY placed_at DESC LIMIT 10;

-- case: explained and run
-- answers: vary, because of the times
EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT COUNT(*) FROM app.orders o JOIN app.items i ON i.order_id = o.id;

-- case: a deletion that is only explained
-- answers: vary, because of the costs
EXPLAIN DELETE FROM app.orders WHERE id = 1;

-- case: with a time limit
SET statement_timeout = '5s';
-- then
SELECT COUNT(*) FROM app.orders;
-- then
RESET statement_timeout;

-- case: with less hurry for locks
SET lock_timeout TO '2s'
-- then
SET idle_in_transaction_session_timeout = '1min'
-- then
SET work_mem = '16MB'

-- case: with a path
SET search_path TO app, public;
-- then
SELECT COUNT(*) FROM orders;
-- then
SHOW search_path;

-- case: read only, to be safe
BEGIN TRANSACTION READ ONLY;
-- then
SELECT COUNT(*) FROM app.customers;
-- then
COMMIT;

-- case: read only for the session
SET default_transaction_read_only = on;
-- then
SELECT 1;

-- case: a temporary table
-- answers: vary, because of the number of the new table
CREATE TEMP TABLE picked (id bigint PRIMARY KEY, why text);
-- then
INSERT INTO picked SELECT id, 'large' FROM app.orders WHERE total > 1490;
-- then
SELECT COUNT(*) FROM picked;
-- then
SELECT o.id, p.why FROM app.orders o JOIN picked p USING (id) ORDER BY o.id;
-- then
DROP TABLE picked;

-- case: a temporary table from a query
-- answers: vary, because of the number of the new table
CREATE TEMPORARY TABLE tops ON COMMIT PRESERVE ROWS AS SELECT customer_id, SUM(total) AS total FROM app.orders GROUP BY customer_id;
-- then
SELECT * FROM pg_temp.tops ORDER BY total DESC, customer_id LIMIT 3;
-- then
DROP TABLE IF EXISTS pg_temp.tops;

-- case: a comment in front
-- find the newest orders
SELECT id FROM app.orders ORDER BY placed_at DESC, id DESC LIMIT 3;

-- case: comments everywhere
/* Task: weekly numbers
   Author: agent */
SELECT COUNT(*) -- all of them
FROM app.orders /* the orders */ WHERE state = 'paid'; -- done

-- case: words of change in texts and names
SELECT 'DROP TABLE orders; DELETE FROM customers' AS "delete", note AS "update" FROM app.orders WHERE note LIKE '%drop%' OR note = 'truncate' LIMIT 1;

-- case: quotes in texts
SELECT 'O''Brien' AS a, E'line\nbreak' AS b, $$it's$$ AS c, $tag$a $$ b$tag$ AS d, U&'\00e4' AS e;

-- case: letters of all kinds
SELECT 'Grüße, 世界 👋' AS greeting, length('世界'), upper('straße');

-- case: a table by TABLE
TABLE public.settings;

-- case: values alone
VALUES (1, 'a'), (2, 'b') ORDER BY 1 DESC;

-- case: a look at rights
SELECT grantee, privilege_type FROM information_schema.role_table_grants WHERE table_schema = 'app' AND table_name = 'orders' ORDER BY 1, 2;
-- then
SELECT has_table_privilege('app.orders', 'SELECT'), has_schema_privilege('app', 'USAGE');

-- case: a look at roles
SELECT rolname, rolsuper, rolcanlogin FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY 1;

-- case: a look at settings
SELECT name, setting FROM pg_settings WHERE name IN ('server_version', 'TimeZone', 'max_connections') ORDER BY name;
-- then
SHOW max_connections;
-- then
SELECT current_setting('work_mem'), current_setting('app.nothing', true);

-- case: a look at how tables are used
-- answers: vary, because of the counters
SELECT relname, n_live_tup, n_dead_tup, last_vacuum, seq_scan, idx_scan FROM pg_stat_user_tables ORDER BY relname;

-- case: a look at how indexes are used
-- answers: vary, because of the counters
SELECT indexrelname, idx_scan FROM pg_stat_user_indexes ORDER BY 1;

-- case: a look at the database's counters
-- answers: vary, because of the counters
SELECT datname, numbackends, xact_commit FROM pg_stat_database WHERE datname = current_database();

-- case: a look at locks
-- answers: vary, because of the locks
SELECT locktype, mode, granted FROM pg_locks WHERE relation = 'app.orders'::regclass;

-- case: partitions
SELECT inhrelid::regclass, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = 'app.measures'::regclass ORDER BY 1;
-- then
SELECT date_trunc('week', at)::date AS week, avg(value) FROM app.measures WHERE at BETWEEN '2026-01-01' AND '2026-01-31' GROUP BY 1 ORDER BY 1;

-- case: into a partitioned table
INSERT INTO app.measures VALUES ('2026-07-01', 'cold', 1), ('2031-01-01', 'cold', 2) RETURNING at;

-- case: a view and a materialized view
SELECT COUNT(*) FROM app.open_orders;
-- then
SELECT * FROM app.totals ORDER BY customer_id LIMIT 2;

-- case: dates in many forms
SELECT DATE '2026-01-01' + INTERVAL '1 month', age('2026-05-01', '2026-01-01'), EXTRACT(EPOCH FROM INTERVAL '1 hour'), to_char(TIMESTAMP '2026-01-02 03:04:05', 'YYYY-MM-DD HH24:MI'), '2026-01-01'::timestamptz AT TIME ZONE 'Europe/Berlin', make_date(2026, 2, 3), TIMESTAMP '2026-01-01' - DATE '2025-12-01';

-- case: numbers in many forms
SELECT 7 / 2, 7 % 2, 2 ^ 10, |/ 16, round(2.567, 2), trunc(-1.5), greatest(1, 2, 3), 1e3, 0.1 + 0.2, 5 BETWEEN SYMMETRIC 9 AND 1, abs(-3), mod(7, 3), random() < 2;

-- case: a row by comparison of rows
SELECT id FROM app.orders WHERE (placed_at, id) < ('2026-01-02 00:00+00', 1000) ORDER BY placed_at DESC, id DESC LIMIT 3;

-- case: a copy to the client
-- by: simple
COPY (SELECT id, name FROM app.customers WHERE id < 3 ORDER BY id) TO STDOUT WITH CSV HEADER;

-- case: an insert of what a query found
INSERT INTO app.counters (name, value) SELECT 'customer ' || id, COUNT(*) FROM app.orders WHERE id < 0 GROUP BY id;

-- case: DISTINCT ON
SELECT DISTINCT ON (customer_id) customer_id, id, total FROM app.orders ORDER BY customer_id, placed_at DESC LIMIT 3;

-- case: an error of one's own
-- by: simple extended
-- answers: error, because there is no such column
SELECT nothing FROM app.orders;

-- case: an error in the text
-- answers: any error, because it is no SQL
SELEC 1;

-- case: an error of a constraint
-- answers: error, because the key is there
INSERT INTO app.counters VALUES ('counter 1', 1);

-- case: an error in a transaction, and the way back
-- answers: error, because of the division
BEGIN;
-- then
SAVEPOINT before;
-- then
SELECT 1 / 0;
-- then
ROLLBACK TO before;
-- then
SELECT 2;
-- then
COMMIT;

-- case: a sequence's next number
SELECT nextval('app.tickets');

-- case: hashes, encodings and identifiers
SELECT md5('a'), encode(sha256('a'), 'hex'), encode('abc', 'base64'), decode('YWJj', 'base64'), length(gen_random_uuid()::text);

-- case: notes of others no longer wanted
UNLISTEN *
