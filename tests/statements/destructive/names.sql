-- Prepared statements, cursors and portals: a harmless name for something else.

-- case: PREPARE, then EXECUTE
PREPARE p AS DELETE FROM hr.people
-- then
EXECUTE p

-- case: PREPARE with a parameter
PREPARE p (int) AS DELETE FROM hr.people WHERE id > $1
-- then
EXECUTE p (0)

-- case: both in one text
PREPARE p AS DELETE FROM hr.people; EXECUTE p

-- case: EXECUTE with an argument that changes
PREPARE p (int) AS SELECT $1
-- then
EXECUTE p (app.wipe())

-- case: a quoted name
PREPARE "select 1" AS DELETE FROM hr.people
-- then
EXECUTE "select 1"

-- case: a name made again for something else
PREPARE p AS SELECT 1
-- then
EXECUTE p
-- then
DEALLOCATE p
-- then
PREPARE p AS DELETE FROM hr.people
-- then
EXECUTE p

-- case: a name made again behind DEALLOCATE ALL
PREPARE p AS SELECT 1
-- then
DEALLOCATE ALL
-- then
PREPARE p AS DELETE FROM hr.people
-- then
EXECUTE p

-- case: a name made in a transaction that is rolled back stays
-- control: committed
BEGIN
-- then
PREPARE p AS DELETE FROM hr.people
-- then
ROLLBACK
-- then
EXECUTE p

-- case: EXECUTE in EXPLAIN ANALYZE
PREPARE p AS UPDATE hr.people SET salary = 0
-- then
EXPLAIN ANALYZE EXECUTE p

-- case: EXECUTE for a new table
PREPARE p AS SELECT app.wipe() AS n
-- then
CREATE TEMP TABLE t AS EXECUTE p

-- case: a prepared statement without WHERE
PREPARE p AS UPDATE app.orders SET note = $1
-- then
EXECUTE p ('')

-- case: a prepared statement with a WHERE that its argument makes true
PREPARE p (boolean) AS DELETE FROM app.orders WHERE $1 OR id = 0
-- then
EXECUTE p (true)

-- case: DECLARE of a query that changes, then FETCH
DECLARE c CURSOR FOR SELECT app.wipe()
-- then
FETCH ALL c

-- case: DECLARE WITH HOLD, which runs at the end of its transaction
-- control: committed
BEGIN
-- then
DECLARE c CURSOR WITH HOLD FOR SELECT app.wipe()
-- then
COMMIT

-- case: MOVE instead of FETCH
DECLARE c CURSOR FOR SELECT app.wipe()
-- then
MOVE ALL c

-- case: WHERE CURRENT OF a cursor on a table of nobody's business
DECLARE c CURSOR FOR SELECT * FROM hr.people FOR UPDATE
-- then
FETCH c
-- then
DELETE FROM hr.people WHERE CURRENT OF c

-- case: a statement named on the wire, run by SQL
-- on the wire
parse p DELETE FROM hr.people
sync
query EXECUTE p

-- case: a statement named by SQL, run on the wire
-- on the wire
query PREPARE p AS DELETE FROM hr.people
bind - p
execute -
sync

-- case: a cursor made by SQL, run on the wire
-- on the wire
query DECLARE c CURSOR FOR SELECT app.wipe()
execute c
sync

-- case: a portal made on the wire, read by SQL
-- on the wire
parse - SELECT app.wipe()
bind c -
query FETCH ALL c
sync

-- case: a name parsed again behind its Close
-- on the wire
parse p SELECT 1
bind - p
execute -
sync
close S p
parse p DELETE FROM hr.people
bind - p
execute -
sync

-- case: the unnamed statement parsed again before the Execute
-- on the wire
parse - SELECT 1
parse - DELETE FROM hr.people
bind - -
execute -
sync

-- case: two portals, the other one is run
-- on the wire
parse a SELECT 1
parse b DELETE FROM hr.people
bind one a
bind two b
execute two
sync

-- case: a portal bound before its statement is closed and made anew
-- on the wire
parse p DELETE FROM hr.people
bind c p
close S p
parse p SELECT 1
execute c
sync

-- case: a named statement that DEALLOCATE by SQL takes away, and made anew
-- on the wire
parse p SELECT 1
sync
query DEALLOCATE p
parse p DELETE FROM hr.people
bind - p
execute -
sync

-- case: a name with a quote in it
-- on the wire
parse a"b DELETE FROM hr.people
sync
query EXECUTE "a""b"

-- case: a name in capital letters, run by SQL
-- on the wire
parse P SELECT 1
parse p DELETE FROM hr.people
sync
query EXECUTE P
