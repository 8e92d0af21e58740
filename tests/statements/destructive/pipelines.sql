-- What is sent behind something else before that is answered.

-- case: behind a harmless look
-- on the wire
query SELECT 1
query DELETE FROM hr.people

-- case: behind many harmless looks
-- on the wire
query SELECT 1
query SELECT 2
query SELECT 3
query SELECT 4
query DELETE FROM hr.people
query SELECT 5

-- case: behind a Flush
-- on the wire
parse - SELECT 1
bind - -
execute -
flush
parse - DELETE FROM hr.people
bind - -
execute -
sync

-- case: behind an error, after its Sync
-- control: committed
-- on the wire
parse - SELECT 1 / 0
bind - -
execute -
parse - SELECT 2
bind - -
execute -
sync
parse - DELETE FROM hr.people
bind - -
execute -
sync

-- case: a harmless look, a deletion and a COMMIT
-- control: committed
-- on the wire
parse - BEGIN
bind - -
execute -
parse - DELETE FROM hr.people
bind - -
execute -
parse - COMMIT
bind - -
execute -
sync

-- case: executed twice
-- on the wire
parse p DELETE FROM hr.people
bind a p
bind b p
execute a
execute b
sync

-- case: executed with a limit of rows
-- on the wire
parse - WITH gone AS (DELETE FROM hr.people RETURNING *) SELECT * FROM gone
bind - -
execute - 1
sync

-- case: described only, then executed behind its Sync in a transaction
-- control: committed
-- on the wire
query BEGIN
parse p DELETE FROM hr.people
describe S p
sync
bind c p
describe P c
sync
execute c
query COMMIT

-- case: a Query between Parse and Bind
-- on the wire
parse p DELETE FROM hr.people
query SELECT 1
bind - p
execute -
sync

-- case: too many rows, each statement small, and a Sync at the end
-- on the wire
parse - UPDATE app.orders SET note = 'x' WHERE id > 0
bind - -
execute -
parse - SELECT 1
bind - -
execute -
sync

-- case: too many rows in a transaction, and its COMMIT in the same breath
-- control: committed
-- on the wire
query BEGIN
query DELETE FROM app.orders WHERE id > 0
query COMMIT

-- case: too many rows behind a savepoint, which is released in the same breath
-- control: committed
-- on the wire
query BEGIN
query SAVEPOINT a
query UPDATE app.orders SET note = 'x' WHERE id > 0
query RELEASE a
query COMMIT
