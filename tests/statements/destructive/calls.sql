-- Calls of the owner's code in all the places where a value may stand. Each function deletes people.

-- case: in the select list
SELECT app.wipe()

-- case: in FROM
SELECT * FROM app.wipe()

-- case: in FROM, as rows
SELECT * FROM app.wipe_rows()

-- case: in ROWS FROM
SELECT * FROM ROWS FROM (generate_series(1, 2), app.wipe_rows()) AS r (a, b)

-- case: in LATERAL
SELECT * FROM app.counters c, LATERAL app.wipe(c.value) w

-- case: in WHERE
SELECT 1 FROM app.counters WHERE app.wipe() = 1

-- case: in ON
SELECT 1 FROM app.counters a JOIN app.counters b ON app.wipe() = 1

-- case: in GROUP BY
SELECT 1 FROM app.counters GROUP BY app.wipe(name)

-- case: in HAVING
SELECT count(*) FROM app.counters HAVING app.wipe() = 1

-- case: in ORDER BY
SELECT name FROM app.counters ORDER BY app.wipe(name)

-- case: in LIMIT
SELECT name FROM app.counters LIMIT app.wipe()

-- case: in OFFSET
SELECT name FROM app.counters OFFSET app.wipe()

-- case: in FETCH FIRST
SELECT name FROM app.counters FETCH FIRST (app.wipe()) ROWS ONLY

-- case: in DISTINCT ON
SELECT DISTINCT ON (app.wipe(name)) name FROM app.counters

-- case: in a window
SELECT sum(value) OVER (PARTITION BY app.wipe(name)) FROM app.counters

-- case: in a named window
SELECT sum(value) OVER w FROM app.counters WINDOW w AS (ORDER BY app.wipe(value))

-- case: in a frame's bound
SELECT sum(value) OVER (ORDER BY name ROWS app.wipe() PRECEDING) FROM app.counters

-- case: in FILTER
SELECT count(*) FILTER (WHERE app.wipe() = 1) FROM app.counters

-- case: in an aggregate's argument
SELECT max(app.wipe(name)) FROM app.counters

-- case: in an aggregate's order
SELECT array_agg(name ORDER BY app.wipe(name)) FROM app.counters

-- case: in WITHIN GROUP
SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY app.wipe(value)) FROM app.counters

-- case: in CASE
SELECT CASE WHEN app.wipe() = 1 THEN 'a' ELSE 'b' END

-- case: in COALESCE
SELECT coalesce(NULL, app.wipe())

-- case: in GREATEST
SELECT greatest(1, app.wipe())

-- case: in NULLIF
SELECT nullif(app.wipe(), 2)

-- case: in an array
SELECT ARRAY[1, app.wipe()]

-- case: in an array's index
SELECT (ARRAY[1, 2])[app.wipe()]

-- case: in a row
SELECT ROW(1, app.wipe())

-- case: in IN
SELECT 1 WHERE 1 IN (app.wipe(), 2)

-- case: in BETWEEN
SELECT 1 WHERE 1 BETWEEN app.wipe() AND 2

-- case: in a cast
SELECT app.wipe()::text

-- case: in AT TIME ZONE
SELECT now() AT TIME ZONE app.wipe('UTC'::text)

-- case: in EXTRACT
SELECT extract(year FROM app.wipe(now()))

-- case: in a scalar subquery
SELECT (SELECT app.wipe())

-- case: in EXISTS
SELECT 1 WHERE EXISTS (SELECT app.wipe() FROM app.counters WHERE app.wipe(value) >= 0)

-- case: in VALUES
VALUES (1), (app.wipe())

-- case: in a set operation
SELECT 1 UNION ALL SELECT app.wipe()

-- case: in an argument's default by name
SELECT make_interval(days => app.wipe())

-- case: in an insert's values
INSERT INTO app.counters VALUES ('x', app.wipe())

-- case: in an insert's RETURNING
INSERT INTO app.counters VALUES ('x', 1) RETURNING app.wipe(name)

-- case: in an update's SET
UPDATE app.counters SET value = app.wipe() WHERE name = 'counter 1'

-- case: in an update's WHERE
UPDATE app.counters SET value = 1 WHERE value = app.wipe(value)

-- case: in a deletion's RETURNING
DELETE FROM app.counters WHERE name = 'counter 1' RETURNING app.wipe(name)

-- case: in an upsert's WHERE
INSERT INTO app.counters VALUES ('counter 1', 1) ON CONFLICT (name) DO UPDATE SET value = 2 WHERE app.wipe() = 1

-- case: in TABLESAMPLE
SELECT * FROM app.counters TABLESAMPLE system (app.wipe(100))

-- case: in an XML element
SELECT xmlelement(name a, app.wipe())

-- case: in a JSON path's variables
SELECT jsonb_path_query('1', '$', jsonb_build_object('a', app.wipe()))

-- case: of a whole row
SELECT public.wipe_of(c) FROM app.customers c WHERE id = 1

-- case: of a whole row, without the function's schema
SELECT wipe_of(c) FROM app.customers c WHERE id = 1

-- case: written as a column of the row
SELECT c.wipe_of FROM app.customers c WHERE id = 1

-- case: written as a column in parentheses
SELECT (c).wipe_of FROM app.customers c WHERE id = 1

-- case: written as a column of a number
SELECT (1).bump

-- case: variadic
SELECT app.wipe_all(1, 2, 3)

-- case: variadic, of an array
SELECT app.wipe_all(VARIADIC ARRAY[1])

-- case: by an operator of a schema
SELECT 1 OPERATOR(app.!!!) 2

-- case: by an operator of a schema that looks like the server's
SELECT 1 OPERATOR(evil.+) 2

-- case: by an operator in ANY
SELECT 1 OPERATOR(evil.+) ANY (ARRAY[1])

-- case: by an aggregate
SELECT app.sweep(value::int) FROM app.counters

-- case: by an aggregate as a window
SELECT app.sweep(value::int) OVER () FROM app.counters

-- case: by a name of the server's in another schema
SELECT evil.lower('A')

-- case: by a name of the server's with another type
SELECT evil.count(1)

-- case: by a cast to a domain
SELECT 'x'::app.trap

-- case: by a cast to a domain without schema
SELECT 'x'::snare

-- case: by CAST
SELECT CAST('x' AS app.trap)

-- case: by a typed literal
SELECT app.trap 'x'

-- case: by a cast of an array
SELECT ARRAY['x']::app.trap[]

-- case: by a cast with a function of its own
SELECT 1::app.pair

-- case: by a column definition
SELECT * FROM jsonb_to_record('{"a": "x"}') AS r (a app.trap)

-- case: by a type of a column in XMLTABLE
SELECT * FROM xmltable('/a' PASSING '<a>x</a>' COLUMNS b app.trap PATH '.')

-- case: by a procedure
CALL app.purge()

-- case: by a procedure with an argument that comes back
CALL app.purge(1)

-- case: by a procedure with its argument's name
CALL app.purge(n => 1)

-- case: a text that a function runs
SELECT app.wipe_text('DELETE FROM hr.people')

-- case: a text that a function of the server runs
SELECT query_to_xml('select app.wipe()', true, true, '')

-- case: a text that text search runs
SELECT * FROM ts_stat('select to_tsvector(app.wipe()::text)')

-- case: a text that text search rewrites by
SELECT ts_rewrite('a & b'::tsquery, 'select ''a''::tsquery, to_tsquery(app.wipe()::text)')

-- case: a cursor that the server reads
DECLARE c CURSOR FOR SELECT app.wipe()
-- then
SELECT cursor_to_xml('c', 10, true, true, '')

-- case: by a quoted name with the server's own beside it
SELECT lower('a'), "app"."wipe"(), upper('b')

-- case: thirty levels down
SELECT abs(abs(abs(abs(abs(abs(abs(abs(abs(abs(abs(abs(abs(abs(abs(abs(abs(abs(abs(abs(abs(abs(abs(abs(abs(abs(abs(abs(abs(abs(app.wipe()))))))))))))))))))))))))))))))

-- case: on the far side of AND
SELECT 1 WHERE true AND (false OR app.wipe() = 1)
