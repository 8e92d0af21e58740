-- Functions of the server's own that change something, though it is a SELECT.

-- case: a large object that is removed
SELECT lo_unlink(424242)

-- case: a large object that is made
SELECT lo_create(0)

-- case: a large object that is made by its old name
SELECT pg_catalog.lo_creat(-1)

-- case: a large object from bytes
SELECT lo_from_bytea(0, 'mine')

-- case: a large object that is written over
SELECT lo_put(424242, 0, 'MINE')

-- case: a large object by its handle
SELECT lowrite(lo_open(424242, 131072), 'MINE')

-- case: a large object that is cut short
SELECT lo_truncate(lo_open(424242, 131072), 0)

-- case: a large object from a file
SELECT lo_import('{files}/kept.txt')

-- case: a large object into a file
SELECT lo_export(424242, '{files}/mine.txt')

-- case: every large object
SELECT lo_unlink(oid) FROM pg_largeobject_metadata

-- case: a sequence that is set
SELECT setval('app.tickets', 1000)

-- case: a sequence that is set, without a mark
SELECT pg_catalog.setval('hr.numbers', 7, false)

-- case: sequences that are set, all of them
SELECT setval(c.oid::regclass, 999) FROM pg_class c WHERE c.relkind = 'S' AND c.relname = 'tickets'

-- case: an advisory lock
SELECT pg_advisory_lock(1)

-- case: an advisory lock of two numbers, if it is to be had
SELECT pg_try_advisory_lock(1, 2)

-- case: an advisory lock for the transaction, in WHERE
SELECT name FROM app.counters WHERE pg_advisory_xact_lock(3) IS NOT NULL

-- case: another session that is ended
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'bystander'

-- case: another session that is ended, by its number in a subquery
SELECT pg_catalog.pg_terminate_backend((SELECT pid FROM pg_stat_get_activity(NULL) WHERE application_name = 'bystander'), 5000)

-- case: a slot of the log
-- undo: SELECT pg_drop_replication_slot('mine')
-- control: committed
SELECT pg_create_physical_replication_slot('mine')

-- case: a slot of the log, in FROM
-- control: committed
-- undo: SELECT pg_drop_replication_slot('mine')
SELECT * FROM pg_create_logical_replication_slot('mine', 'test_decoding')

-- case: an origin of replication
SELECT pg_replication_origin_create('mine')

-- case: collations from the system
SELECT pg_import_system_collations('hr')

-- case: counters of the server set back
SELECT pg_stat_reset()

-- case: a file that is written
CREATE EXTENSION adminpack
-- then
SELECT pg_file_write('{files}/mine.txt', 'mine', false)

-- case: a connection to itself
-- control: committed
CREATE EXTENSION dblink
-- then
SELECT dblink_exec('host={address} user=by_cleartext password={password} dbname={database}', 'DELETE FROM hr.people')

-- case: a call of the protocol's own kind
-- on the wire
call app.wipe()

-- case: a call of the protocol's own kind, of a function of the server's
-- on the wire
query SELECT 1
call app.wipe()
query SELECT 1

