-- EXPLAIN with ANALYZE runs what it explains.

-- case: the plain form
EXPLAIN ANALYZE DELETE FROM hr.people

-- case: with VERBOSE
EXPLAIN ANALYZE VERBOSE DELETE FROM hr.people

-- case: an option
EXPLAIN (ANALYZE) DELETE FROM hr.people

-- case: an option with its value
EXPLAIN (ANALYZE true) DELETE FROM hr.people

-- case: an option with a number
EXPLAIN (ANALYZE 1) DELETE FROM hr.people

-- case: an option with a text
EXPLAIN (ANALYZE 'on') DELETE FROM hr.people

-- case: an option in quotes
EXPLAIN ("analyze" 'true') DELETE FROM hr.people

-- case: an option in the old spelling
EXPLAIN (ANALYSE) DELETE FROM hr.people

-- case: off, and then on
EXPLAIN (ANALYZE off, COSTS off, ANALYZE) DELETE FROM hr.people

-- case: among other options
EXPLAIN (FORMAT json, BUFFERS, ANALYZE, TIMING off) UPDATE hr.people SET salary = 0

-- case: of an insert
EXPLAIN (ANALYZE) INSERT INTO hr.audit VALUES (9)

-- case: of a table without WHERE that may be changed
EXPLAIN ANALYZE UPDATE app.orders SET note = ''

-- case: of a new table
EXPLAIN ANALYZE CREATE TABLE app.copy AS SELECT 1 AS a

-- case: of a new materialized view
EXPLAIN ANALYZE CREATE MATERIALIZED VIEW app.copy AS SELECT 1 AS a

-- case: of a function that changes
EXPLAIN ANALYZE SELECT app.wipe()

-- case: of a statement that was prepared
PREPARE p AS DELETE FROM hr.people
-- then
EXPLAIN ANALYZE EXECUTE p

-- case: of a merge
EXPLAIN ANALYZE MERGE INTO hr.people p USING app.customers c ON p.id = c.id WHEN MATCHED THEN DELETE

-- case: with a comment between the words
EXPLAIN /* only */ ANALYZE /* the plan */ DELETE FROM hr.people
