-- Names without schema, and what they stand for when the path is another.

-- case: a path to another schema
SET search_path = hr
-- then
DELETE FROM orders WHERE id = 1

-- case: a path that begins with another schema
SET search_path TO hr, app, public
-- then
UPDATE orders SET note = 'x' WHERE id = 1

-- case: a path for this transaction
-- control: committed
BEGIN
-- then
SET LOCAL search_path = hr
-- then
DELETE FROM orders WHERE id = 1
-- then
COMMIT

-- case: a path by SET SCHEMA
SET SCHEMA 'hr'
-- then
DELETE FROM orders WHERE id = 1

-- case: a path by set_config
SELECT set_config('search_path', 'hr', false)
-- then
DELETE FROM orders WHERE id = 1

-- case: a path by set_config, put together
SELECT set_config('search' || '_path', 'h' || 'r', false)
-- then
DELETE FROM orders WHERE id = 1

-- case: a path by UPDATE of the settings
UPDATE pg_settings SET setting = 'hr' WHERE name = 'search_path'
-- then
DELETE FROM orders WHERE id = 1

-- case: a path in one text with the statement
SET search_path = hr; DELETE FROM orders WHERE id = 1

-- case: a path with a quoted name
SET search_path = "hr", 'app'
-- then
DELETE FROM orders WHERE id = 1

-- case: a path on which a function hides the server's
SET search_path = evil, pg_catalog
-- then
SELECT lower('A')

-- case: a path on which an operator hides the server's
SET search_path = evil, pg_catalog
-- then
SELECT 1 + 1

-- case: a path on which a function of no schema is found
SET search_path = app
-- then
SELECT wipe()

-- case: a path on which a type of no schema is found
SET search_path = app
-- then
SELECT 'x'::trap

-- case: a statement prepared under one path and run under another
SET search_path = app
-- then
PREPARE p AS DELETE FROM orders WHERE id = 1
-- then
SET search_path = hr
-- then
EXECUTE p

-- case: a statement parsed under one path and bound under another
-- on the wire
query SET search_path = app, public
parse p DELETE FROM orders WHERE id = 1
sync
query SET search_path = hr
bind - p
execute -
sync

-- case: a path that is set back to another by RESET
SET search_path = hr
-- then
SAVEPOINT a
-- then
DELETE FROM orders WHERE id = 2

-- case: a path in the pipeline of the statement
-- by: pipelined
SET search_path = hr
-- then
DELETE FROM orders WHERE id = 1

-- case: a temporary schema in front, with a function of the server's name
CREATE FUNCTION pg_temp.lower(text) RETURNS text LANGUAGE plpgsql AS 'begin delete from hr.people; return $1; end'
-- then
SELECT pg_temp.lower('A')

-- case: a role's own path, from the next session on
ALTER ROLE CURRENT_USER SET search_path = evil

-- case: a database's own path, from the next session on
ALTER DATABASE {database} SET search_path = evil
