-- Several statements in one text: the first is what one sees.

-- case: a look, then a deletion
SELECT 1; DELETE FROM hr.people

-- case: many looks, then a deletion
SELECT 1; SELECT 2; SELECT 3; SELECT 4; SELECT 5; SELECT 6; SELECT 7; SELECT 8; DELETE FROM hr.people

-- case: empty statements in front
;;; ; DELETE FROM hr.people

-- case: an allowed change, then another
UPDATE app.counters SET value = value WHERE name = 'none'; DELETE FROM hr.people

-- case: the deletion first, the look last
DELETE FROM hr.people; SELECT 'nothing happened'

-- case: between two looks
SELECT 1; TRUNCATE hr.people; SELECT 1

-- case: behind a BEGIN, with its COMMIT
-- control: committed
BEGIN; DELETE FROM hr.people; COMMIT

-- case: behind a transaction that is rolled back
-- control: committed
BEGIN; SELECT 1; ROLLBACK; DELETE FROM hr.people

-- case: in a transaction, behind a savepoint that is gone back to
-- control: committed
BEGIN; SAVEPOINT a; SELECT 1; ROLLBACK TO a; DELETE FROM hr.people; COMMIT AND CHAIN; COMMIT

-- case: committed before an error
-- control: committed
BEGIN; DELETE FROM hr.people; COMMIT; SELECT 1 / 0

-- case: read only, then no longer
-- control: committed
BEGIN READ ONLY; SELECT 1; COMMIT; BEGIN READ WRITE; DELETE FROM hr.people; COMMIT

-- case: behind a setting
SET search_path = hr; DELETE FROM people

-- case: behind a COPY whose data would hide it
COPY app.old FROM STDIN; DELETE FROM hr.people

-- case: behind a COPY to the client
COPY app.counters TO STDOUT; DELETE FROM hr.people

-- case: behind a COPY from the client, with data that fit
-- data: 7
COPY app.old (n) FROM STDIN WITH (FORMAT csv); DELETE FROM hr.people

-- case: behind SHOW
SHOW server_version; DROP VIEW hr.everybody

-- case: behind EXPLAIN
EXPLAIN DELETE FROM app.counters WHERE name = 'x'; DELETE FROM hr.people

-- case: behind PREPARE and EXECUTE of something harmless
PREPARE harmless AS SELECT 1; EXECUTE harmless; DELETE FROM hr.people

-- case: behind a cursor
BEGIN; DECLARE c CURSOR FOR SELECT 1; FETCH c; CLOSE c; DELETE FROM hr.people

-- case: behind LISTEN
LISTEN somebody; DELETE FROM hr.people

-- case: behind a text with a semicolon in it
SELECT ';'; DELETE FROM hr.people

-- case: behind a case expression's END
SELECT CASE WHEN true THEN 1 END; DELETE FROM hr.people

-- case: behind a body of BEGIN ATOMIC
CREATE FUNCTION pg_temp.f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END; DELETE FROM hr.people

-- case: with a carriage return and a line feed between
-- bytes: yes
SELECT 1;\x0d\x0aDELETE FROM hr.people;\x0d\x0a

-- case: a NUL behind the look, and the deletion behind it
-- bytes: yes
-- control: none, because the server calls it a broken message
SELECT 1\x00; DELETE FROM hr.people

-- case: a long look, then a deletion
SELECT '................................................................................................................................................................................................................................................................................................................................................................................................................................................................................................................'; DELETE FROM hr.people

-- case: an allowed insert, then the whole table
INSERT INTO app.counters VALUES ('new', 1); DELETE FROM app.counters

-- case: two changes of which each is small enough and both together are not
UPDATE app.orders SET note = 'x' WHERE id <= 800; UPDATE app.orders SET note = 'y' WHERE id > 800
