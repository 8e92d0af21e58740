-- Code that is put where it will run later, or that is changed; also code that looks like data.

-- case: a rule that turns reading into nothing
CREATE RULE "_RETURN" AS ON SELECT TO app.old DO INSTEAD SELECT 1 AS n

-- case: a rule that turns an insert into a deletion
CREATE RULE r AS ON INSERT TO app.counters DO INSTEAD DELETE FROM hr.people

-- case: a rule that deletes besides
CREATE OR REPLACE RULE r AS ON UPDATE TO app.counters DO ALSO DELETE FROM hr.people

-- case: a rule, then the insert that sets it off
CREATE RULE r AS ON INSERT TO app.counters DO INSTEAD DELETE FROM hr.people
-- then
INSERT INTO app.counters VALUES ('counter 1', 1)

-- case: a trigger with the owner's function
CREATE TRIGGER t BEFORE INSERT ON app.counters FOR EACH ROW EXECUTE FUNCTION evil.handler()

-- case: a constraint trigger, which runs at the end
CREATE CONSTRAINT TRIGGER t AFTER INSERT ON app.counters DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION evil.handler()

-- case: a trigger, then the insert that sets it off
CREATE TRIGGER t AFTER INSERT ON app.counters FOR EACH STATEMENT EXECUTE FUNCTION evil.handler()
-- then
INSERT INTO app.counters SELECT 'x', 1 WHERE false

-- case: an event trigger
CREATE FUNCTION evil.on_event() RETURNS event_trigger LANGUAGE plpgsql AS 'begin delete from hr.people; end'
-- then
CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION evil.on_event()

-- case: a function in SQL
CREATE FUNCTION app.more() RETURNS void LANGUAGE sql AS 'DELETE FROM hr.people'

-- case: a function, then its call
CREATE FUNCTION app.more() RETURNS void LANGUAGE sql AS 'DELETE FROM hr.people'
-- then
SELECT app.more()

-- case: a temporary function, then its call
CREATE FUNCTION pg_temp.more() RETURNS void LANGUAGE sql AS 'DELETE FROM hr.people'
-- then
SELECT pg_temp.more()

-- case: a function in the place of another
CREATE OR REPLACE FUNCTION public.bump(int) RETURNS int LANGUAGE sql AS 'DELETE FROM hr.people; SELECT 1'

-- case: a function with a body in standard SQL
CREATE FUNCTION app.more() RETURNS void BEGIN ATOMIC DELETE FROM hr.people; END

-- case: a function with a RETURN
CREATE FUNCTION app.more() RETURNS int RETURN app.wipe()

-- case: a procedure, then its call
CREATE PROCEDURE app.more() LANGUAGE plpgsql AS 'begin delete from hr.people; end'
-- then
CALL app.more()

-- case: a function with the owner's rights
ALTER FUNCTION app.wipe() SECURITY DEFINER

-- case: a function with another search path
ALTER FUNCTION app.wipe() SET search_path = evil

-- case: a function of another name
ALTER FUNCTION app.wipe() RENAME TO lower

-- case: a function that is dropped
DROP FUNCTION app.wipe() CASCADE

-- case: a routine that is dropped
DROP ROUTINE public.bump

-- case: a view over a function that changes
CREATE VIEW app.looks_harmless AS SELECT app.wipe() AS n

-- case: a view, then the look that sets it off
CREATE VIEW app.looks_harmless AS SELECT app.wipe() AS n
-- then
SELECT * FROM app.looks_harmless

-- case: a temporary view, then the look that sets it off
CREATE TEMP VIEW harmless AS SELECT app.wipe() AS n
-- then
SELECT * FROM harmless

-- case: a view in another's place
CREATE OR REPLACE VIEW app.open_orders AS SELECT * FROM app.orders

-- case: a materialized view that runs it when it is made
CREATE MATERIALIZED VIEW app.mine AS SELECT app.wipe() AS n

-- case: a default that runs it
ALTER TABLE app.counters ALTER COLUMN value SET DEFAULT app.wipe()

-- case: a default of a temporary table, then the insert
CREATE TEMP TABLE t (a int, b int DEFAULT app.wipe())
-- then
INSERT INTO pg_temp.t (a) VALUES (1)

-- case: a check that runs it
ALTER TABLE app.counters ADD CHECK (app.wipe(name) IS NOT NULL)

-- case: a check of a temporary table, then the insert
CREATE TEMP TABLE t (a int CHECK (app.wipe(a) > 0))
-- then
INSERT INTO pg_temp.t VALUES (1)

-- case: a check that is written without its function's schema
-- control: none, because the function is found by the session's search path only
CREATE TEMP TABLE t (a int CHECK (wipe(a) > 0))

-- case: an index that runs it
CREATE FUNCTION app.still(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'begin return app.wipe(); end'
-- then
CREATE INDEX ON app.old (app.still(n))

-- case: a generated column that runs it
CREATE FUNCTION app.still(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'begin return app.wipe(); end'
-- then
CREATE TEMP TABLE t (a int, b int GENERATED ALWAYS AS (app.still(a)) STORED)
-- then
INSERT INTO pg_temp.t VALUES (1)

-- case: a temporary table of a type that runs it
CREATE TEMP TABLE t (a app.trap)
-- then
INSERT INTO pg_temp.t VALUES ('x')

-- case: a column's change of type that runs it
ALTER TABLE app.counters ALTER COLUMN value TYPE bigint USING app.wipe(value)

-- case: a row policy
CREATE POLICY p ON app.counters USING (app.wipe() = 1)

-- case: row policies switched on
ALTER TABLE app.counters ENABLE ROW LEVEL SECURITY

-- case: row policies switched off for good
ALTER TABLE hr.people NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY

-- case: an operator over it
CREATE OPERATOR app.=== (FUNCTION = app.wipe_two, LEFTARG = int, RIGHTARG = int)

-- case: an aggregate over it
CREATE AGGREGATE app.gather (int) (SFUNC = evil.step, STYPE = int)

-- case: a cast over it
CREATE FUNCTION app.to_state(int) RETURNS app.state LANGUAGE sql AS 'select ''new''::app.state'
-- then
CREATE CAST (int AS app.state) WITH FUNCTION app.to_state(int) AS IMPLICIT

-- case: a domain with a check that runs it
CREATE DOMAIN app.snare AS int CHECK (app.wipe(VALUE) > 0)

-- case: a conversion of encodings in the server's place
CREATE DEFAULT CONVERSION app.c FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8

-- case: a text search configuration
CREATE TEXT SEARCH CONFIGURATION app.c (COPY = simple)

-- case: a language
CREATE LANGUAGE mine HANDLER plpgsql_call_handler

-- case: a trigger that is switched off
CREATE TRIGGER t BEFORE INSERT ON app.counters FOR EACH ROW EXECUTE FUNCTION evil.handler()
-- then
ALTER TABLE app.counters DISABLE TRIGGER ALL

-- case: constraints that are switched off
ALTER TABLE app.items DISABLE TRIGGER ALL
