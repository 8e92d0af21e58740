-- A WHERE that is none, or that is true of everything. The policy lets some rows be changed at a
-- time; app.orders has more.

-- case: DELETE without WHERE
DELETE FROM app.orders

-- case: UPDATE without WHERE
UPDATE app.orders SET total = 0

-- case: a WHERE that is true
DELETE FROM app.orders WHERE true

-- case: a WHERE that is true by numbers
DELETE FROM app.orders WHERE 1 = 1

-- case: a WHERE that is true by texts
DELETE FROM app.orders WHERE 'a' <> 'b'

-- case: NOT false
DELETE FROM app.orders WHERE NOT false

-- case: a text that is true
DELETE FROM app.orders WHERE 't'

-- case: a cast that is true
DELETE FROM app.orders WHERE 1::boolean

-- case: IS NOT NULL of a constant
UPDATE app.orders SET note = '' WHERE 1 IS NOT NULL

-- case: OR true behind a condition
DELETE FROM app.orders WHERE id = 1 OR true

-- case: OR 1 = 1 behind a condition
UPDATE app.orders SET note = 'x' WHERE id = 1 OR 1 = 1

-- case: a column equals itself
DELETE FROM app.orders WHERE id = id

-- case: a key that is never null
DELETE FROM app.orders WHERE id IS NOT NULL

-- case: a range that everything is in
UPDATE app.orders SET total = 0 WHERE id > 0

-- case: a range in two parts
UPDATE app.orders SET total = 0 WHERE id < 5 OR id >= 5

-- case: LIKE anything
DELETE FROM app.orders WHERE note LIKE '%'

-- case: a pattern that matches anything
DELETE FROM app.orders WHERE note ~ ''

-- case: an EXISTS of something else
DELETE FROM app.orders WHERE EXISTS (SELECT 1)

-- case: an EXISTS of another table
UPDATE app.orders SET note = '' WHERE EXISTS (SELECT 1 FROM app.customers)

-- case: IN a subquery of itself
DELETE FROM app.orders WHERE id IN (SELECT id FROM app.orders)

-- case: ANY of an array of everything
DELETE FROM app.orders WHERE id = ANY (ARRAY(SELECT id FROM app.orders))

-- case: NOT IN nothing
DELETE FROM app.orders WHERE id NOT IN (SELECT id FROM app.orders WHERE false)

-- case: NOT EXISTS nothing
DELETE FROM app.orders WHERE NOT EXISTS (SELECT 1 WHERE false)

-- case: COALESCE to true
DELETE FROM app.orders WHERE coalesce(id = 0, true) OR id <> 0

-- case: CASE to true
DELETE FROM app.orders WHERE CASE WHEN id > 0 THEN true ELSE true END

-- case: IS DISTINCT FROM something impossible
UPDATE app.orders SET note = 'z' WHERE note IS DISTINCT FROM 'impossible'

-- case: a parameter that is true
-- with: t
-- by: extended
DELETE FROM app.orders WHERE $1

-- case: two parameters that are the same
-- with: 1 | 1
-- by: prepared
DELETE FROM app.orders WHERE $1::int = $2::int

-- case: a parameter beside a column
-- with: 0
-- by: extended
DELETE FROM app.orders WHERE id > $1

-- case: a pattern as parameter
-- with: %
-- by: prepared
UPDATE app.orders SET total = 0 WHERE note LIKE $1

-- case: a condition on the clock
DELETE FROM app.orders WHERE now() > '2000-01-01'

-- case: a condition on chance
DELETE FROM app.orders WHERE random() >= 0

-- case: a condition on the session
DELETE FROM app.orders WHERE current_user IS NOT NULL

-- case: USING the table itself
DELETE FROM app.orders o USING app.orders p WHERE o.id = p.id

-- case: FROM the table itself
UPDATE app.orders o SET note = '' FROM app.orders p WHERE o.id = p.id

-- case: a join with a series
UPDATE app.orders SET note = g::text FROM generate_series(1, 2000) g WHERE id = g

-- case: the condition on another table only
UPDATE app.orders o SET note = '' FROM app.counters c WHERE c.name = 'counter 1'

-- case: USING another table with a condition on that one only
DELETE FROM app.orders USING app.counters c WHERE c.value > 0

-- case: all rows by their place
DELETE FROM app.orders WHERE ctid IS NOT NULL

-- case: all rows by the table they are in
DELETE FROM app.orders WHERE tableoid = 'app.orders'::regclass

-- case: all rows by the row itself
DELETE FROM app.orders o WHERE o IS NOT NULL OR o IS NULL OR o.id > 0

-- case: a WHERE in a subquery, none outside
DELETE FROM app.orders WHERE (SELECT true FROM app.customers WHERE id = 1)

-- case: a LATERAL subquery that says nothing
UPDATE app.orders SET note = x.n FROM (SELECT 'n' AS n WHERE 1 = 1) x

-- case: a WHERE in the assigned value, none for the rows
UPDATE app.orders SET note = (SELECT name FROM app.customers WHERE id = 1)

-- case: RETURNING as if it were a look
DELETE FROM app.orders WHERE id > 0 RETURNING id, note

-- case: a parent with all that hangs on it
DELETE FROM app.orders WHERE id <= 1400

-- case: WHERE CURRENT OF in a loop is one row; this is not
DELETE FROM app.orders WHERE id BETWEEN -9223372036854775808 AND 9223372036854775807

-- case: a view that stands for the table
DELETE FROM app.open_orders WHERE id > 0

-- case: a view without WHERE
UPDATE app.open_orders SET note = ''

-- case: ONLY, without WHERE
DELETE FROM ONLY app.orders

-- case: an alias, without WHERE
DELETE FROM app.orders AS o

-- case: a star, without WHERE
DELETE FROM app.orders *

-- case: several columns at once, without WHERE
UPDATE app.orders SET (note, total) = ('', 0)

-- case: several columns from a subquery, without WHERE
UPDATE app.orders SET (note, total) = (SELECT 'x', 1 WHERE true)

-- case: a merge that matches everything
MERGE INTO app.orders o USING app.orders p ON o.id = p.id WHEN MATCHED THEN UPDATE SET note = ''

-- case: a merge that deletes everything
MERGE INTO app.orders o USING (SELECT 1) x ON true WHEN MATCHED THEN DELETE

-- case: an upsert of everything
INSERT INTO app.orders (id, note) SELECT id, 'x' FROM app.orders ON CONFLICT (id) DO UPDATE SET note = excluded.note

-- case: an upsert with a WHERE that is true
INSERT INTO app.orders (id, note) SELECT id, 'x' FROM app.orders ON CONFLICT (id) DO UPDATE SET note = excluded.note WHERE orders.id > 0
