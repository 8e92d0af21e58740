-- Changes inside WITH: the statement outside looks like reading.

-- case: a deletion in WITH, a look outside
WITH gone AS (DELETE FROM hr.people RETURNING *) SELECT * FROM gone

-- case: a deletion in WITH that nobody looks at
WITH gone AS (DELETE FROM hr.people) SELECT 1

-- case: an update in WITH
WITH changed AS (UPDATE hr.people SET salary = 0 RETURNING id) SELECT count(*) FROM changed

-- case: an insert in WITH
WITH more AS (INSERT INTO hr.audit VALUES (3) RETURNING n) TABLE more

-- case: a deletion without WHERE of a table that may be changed
WITH gone AS (DELETE FROM app.orders RETURNING id) SELECT count(*) FROM gone

-- case: an update without WHERE of a table that may be changed
WITH changed AS (UPDATE app.orders SET note = '' RETURNING 1) SELECT count(*) FROM changed

-- case: two of them, the second is the bad one
WITH a AS (SELECT 1), b AS (DELETE FROM hr.people RETURNING 1) SELECT * FROM a, b

-- case: the first of many
WITH a AS (DELETE FROM hr.people RETURNING 1), b AS (SELECT 1), c AS (SELECT 2), d AS (SELECT 3) SELECT * FROM d

-- case: named like a table that may be read
WITH orders AS (DELETE FROM hr.people RETURNING *) SELECT * FROM orders

-- case: a CTE of the name of the table that it deletes from
WITH people AS (DELETE FROM hr.people RETURNING *) SELECT * FROM people

-- case: RECURSIVE though nothing is
WITH RECURSIVE gone AS (DELETE FROM hr.people RETURNING *) SELECT * FROM gone

-- case: MATERIALIZED
WITH gone AS MATERIALIZED (DELETE FROM hr.people RETURNING *) SELECT * FROM gone

-- case: around an insert that is allowed
WITH gone AS (DELETE FROM hr.people RETURNING name) INSERT INTO app.counters SELECT name FROM gone

-- case: around an update that is allowed
WITH gone AS (DELETE FROM hr.people RETURNING id) UPDATE app.counters SET value = 0 WHERE name IN (SELECT 'counter ' || id FROM gone)

-- case: around a deletion that is allowed
WITH gone AS (DELETE FROM hr.people RETURNING id) DELETE FROM app.counters WHERE value IN (SELECT id FROM gone)

-- case: in a set operation
WITH gone AS (DELETE FROM hr.people RETURNING id) SELECT id FROM gone UNION ALL SELECT 1

-- case: in VALUES
WITH gone AS (DELETE FROM hr.people RETURNING id) VALUES (1), ((SELECT count(*) FROM gone))

-- case: in a cursor that may be read twice
-- control: none, because the server takes no cursor of a change; the agent does not count on it
DECLARE c CURSOR FOR WITH gone AS (DELETE FROM hr.people RETURNING *) SELECT * FROM gone

-- case: in EXPLAIN ANALYZE
EXPLAIN ANALYZE WITH gone AS (DELETE FROM hr.people RETURNING *) SELECT * FROM gone

-- case: in COPY to the client
COPY (WITH gone AS (DELETE FROM hr.people RETURNING *) SELECT * FROM gone) TO STDOUT

-- case: in CREATE TABLE AS
-- control: none, because the server takes no change in the query of a new table
CREATE TEMP TABLE t AS WITH gone AS (DELETE FROM hr.people RETURNING *) SELECT * FROM gone

-- case: in a prepared statement
PREPARE p AS WITH gone AS (DELETE FROM hr.people RETURNING *) SELECT count(*) FROM gone
-- then
EXECUTE p

-- case: with parentheses around everything
(WITH gone AS (DELETE FROM hr.people RETURNING *) SELECT * FROM gone)

-- case: in INSERT's own WITH behind its name
INSERT INTO app.counters WITH gone AS (SELECT app.wipe()) SELECT 'x', 1 FROM gone

-- case: an upsert in WITH
WITH up AS (INSERT INTO hr.people (id, name, salary) VALUES (1, 'x', 0) ON CONFLICT (id) DO UPDATE SET salary = 0 RETURNING 1) SELECT * FROM up

-- case: SELECT of a function that changes, in WITH
WITH x AS (SELECT app.wipe() AS n) SELECT n FROM x

-- case: a lock that nobody else gets past, in WITH
WITH l AS (SELECT * FROM hr.people FOR UPDATE) UPDATE hr.people SET salary = 0 FROM l WHERE l.id = people.id

-- case: reading that is allowed, feeding a change that is not
WITH ids AS (SELECT id FROM app.customers) DELETE FROM hr.people USING ids WHERE people.id = ids.id

-- case: data modifying in a subquery's place of a merge
WITH x AS (SELECT 1 AS id) MERGE INTO hr.people p USING x ON p.id = x.id WHEN MATCHED THEN DELETE
