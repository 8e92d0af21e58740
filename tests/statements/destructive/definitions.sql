-- What changes the shape of the database, in its many forms.

-- case: DROP TABLE
DROP TABLE app.items

-- case: DROP TABLE IF EXISTS of many
DROP TABLE IF EXISTS nothing, app.items, hr.people CASCADE

-- case: DROP of a temporary table that is none
DROP TABLE app.old

-- case: DROP VIEW
DROP VIEW app.open_orders

-- case: DROP MATERIALIZED VIEW
DROP MATERIALIZED VIEW app.totals

-- case: DROP INDEX
DROP INDEX app.orders_by_customer

-- case: DROP INDEX CONCURRENTLY
-- control: committed
DROP INDEX CONCURRENTLY app.orders_by_customer

-- case: DROP SEQUENCE
DROP SEQUENCE app.tickets

-- case: DROP SCHEMA
DROP SCHEMA app CASCADE

-- case: DROP TYPE
DROP TYPE app.pair CASCADE

-- case: DROP DOMAIN
DROP DOMAIN app.sku CASCADE

-- case: DROP OPERATOR
DROP OPERATOR app.!!! (int, int)

-- case: DROP CAST
DROP CAST (int AS app.pair)

-- case: DROP AGGREGATE
DROP AGGREGATE app.sweep(int)

-- case: DROP PUBLICATION
DROP PUBLICATION news

-- case: DROP ROLE
DROP ROLE victim

-- case: DROP OWNED
DROP OWNED BY staff CASCADE

-- case: DROP DATABASE
-- control: none, because it would take the database of whoever asks
DROP DATABASE app WITH (FORCE)

-- case: DROP EXTENSION
DROP EXTENSION plpgsql CASCADE

-- case: TRUNCATE
TRUNCATE app.orders CASCADE

-- case: TRUNCATE without TABLE, several at once
TRUNCATE app.counters, public.settings RESTART IDENTITY

-- case: TRUNCATE ONLY
TRUNCATE ONLY app.counters

-- case: TRUNCATE of a view's table by its star
TRUNCATE TABLE app.counters *

-- case: CREATE TABLE
CREATE TABLE app.mine (a int)

-- case: CREATE UNLOGGED TABLE
CREATE UNLOGGED TABLE app.mine (a int)

-- case: CREATE TABLE AS
CREATE TABLE app.mine AS SELECT * FROM app.orders

-- case: CREATE TABLE AS TABLE
CREATE TABLE app.mine AS TABLE app.orders

-- case: CREATE TABLE AS EXECUTE
PREPARE p AS SELECT 1 AS a
-- then
CREATE TABLE app.mine AS EXECUTE p

-- case: CREATE TABLE IF NOT EXISTS
CREATE TABLE IF NOT EXISTS public.mine (LIKE app.orders INCLUDING ALL)

-- case: SELECT INTO
SELECT * INTO app.mine FROM app.orders

-- case: SELECT INTO a table in a subquery's shadow
SELECT id INTO TABLE public.mine FROM (SELECT id FROM app.orders) o

-- case: SELECT INTO UNLOGGED
SELECT INTO UNLOGGED app.mine FROM app.orders

-- case: CREATE SCHEMA with what is in it
CREATE SCHEMA mine CREATE TABLE t (a int) CREATE VIEW v AS SELECT 1 AS a

-- case: CREATE VIEW
CREATE VIEW app.mine AS SELECT 1 AS a

-- case: CREATE INDEX
CREATE INDEX ON app.orders (note)

-- case: CREATE INDEX CONCURRENTLY
-- control: committed
CREATE UNIQUE INDEX CONCURRENTLY mine ON app.orders (id)

-- case: CREATE SEQUENCE
CREATE SEQUENCE app.mine

-- case: CREATE TYPE
CREATE TYPE app.mine AS ENUM ('a')

-- case: CREATE DOMAIN
CREATE DOMAIN public.mine AS int

-- case: CREATE STATISTICS
CREATE STATISTICS app.mine ON id, note FROM app.orders

-- case: CREATE COLLATION
CREATE COLLATION app.mine FROM "C"

-- case: CREATE DATABASE
-- control: committed
-- undo: DROP DATABASE mine
CREATE DATABASE mine

-- case: CREATE EXTENSION
CREATE EXTENSION dblink

-- case: CREATE SERVER and a table behind it
CREATE EXTENSION postgres_fdw
-- then
CREATE SERVER mine FOREIGN DATA WRAPPER postgres_fdw

-- case: CREATE PUBLICATION
CREATE PUBLICATION mine FOR ALL TABLES

-- case: CREATE SUBSCRIPTION
CREATE SUBSCRIPTION mine CONNECTION 'host=198.51.100.1' PUBLICATION p WITH (connect = false)

-- case: CREATE TABLESPACE
-- control: committed
-- undo: DROP TABLESPACE mine
SET allow_in_place_tablespaces = on
-- then
CREATE TABLESPACE mine LOCATION ''

-- case: CREATE ACCESS METHOD
CREATE ACCESS METHOD mine TYPE TABLE HANDLER heap_tableam_handler

-- case: ALTER TABLE ADD COLUMN
ALTER TABLE app.orders ADD COLUMN mine int

-- case: ALTER TABLE DROP COLUMN
ALTER TABLE app.orders DROP COLUMN note CASCADE

-- case: ALTER TABLE RENAME
ALTER TABLE app.orders RENAME TO bygone

-- case: ALTER TABLE RENAME COLUMN
ALTER TABLE app.orders RENAME note TO remark

-- case: ALTER TABLE SET SCHEMA
ALTER TABLE hr.people SET SCHEMA app

-- case: ALTER VIEW on a table
ALTER VIEW app.open_orders SET SCHEMA hr

-- case: ALTER TABLE on a view
ALTER TABLE app.open_orders RENAME TO gone

-- case: ALTER TABLE OWNER
ALTER TABLE app.orders OWNER TO staff

-- case: ALTER TABLE SET UNLOGGED
ALTER TABLE app.counters SET UNLOGGED

-- case: ALTER TABLE DROP CONSTRAINT
ALTER TABLE app.items DROP CONSTRAINT items_order_id_fkey

-- case: ALTER TABLE DETACH PARTITION
ALTER TABLE app.measures DETACH PARTITION app.measures_2026

-- case: ALTER TABLE ATTACH PARTITION
CREATE TABLE hr.more (LIKE app.measures)
-- then
ALTER TABLE app.measures ATTACH PARTITION hr.more FOR VALUES FROM ('2030-01-01') TO ('2031-01-01')

-- case: ALTER TABLE INHERIT
ALTER TABLE app.old INHERIT hr.parent

-- case: ALTER TABLE REPLICA IDENTITY
ALTER TABLE app.orders REPLICA IDENTITY NOTHING

-- case: ALTER TABLE SET storage parameters
ALTER TABLE app.orders SET (autovacuum_enabled = off)

-- case: ALTER TYPE
ALTER TYPE app.state ADD VALUE 'lost'

-- case: ALTER TYPE RENAME VALUE
ALTER TYPE app.state RENAME VALUE 'new' TO 'old'

-- case: ALTER DOMAIN
ALTER DOMAIN app.sku DROP CONSTRAINT sku_check

-- case: ALTER SEQUENCE
ALTER SEQUENCE app.tickets RESTART WITH 999

-- case: ALTER SCHEMA
ALTER SCHEMA hr RENAME TO hidden

-- case: ALTER INDEX
ALTER INDEX app.orders_by_customer RENAME TO gone

-- case: ALTER EXTENSION
ALTER EXTENSION plpgsql ADD FUNCTION app.wipe()

-- case: ALTER LARGE OBJECT
ALTER LARGE OBJECT 424242 OWNER TO staff

-- case: ALTER STATISTICS and other maintenance
CREATE STATISTICS app.mine ON id, note FROM app.orders
-- then
ALTER STATISTICS app.mine SET STATISTICS 1000

-- case: COMMENT
COMMENT ON TABLE hr.people IS NULL

-- case: COMMENT on a table that may be changed
COMMENT ON COLUMN app.orders.note IS 'mine'

-- case: REFRESH MATERIALIZED VIEW
REFRESH MATERIALIZED VIEW app.totals

-- case: REFRESH of one of nobody's business
REFRESH MATERIALIZED VIEW hr.payroll WITH NO DATA

-- case: CLUSTER
CLUSTER app.orders USING orders_pkey

-- case: REINDEX
REINDEX TABLE app.orders

-- case: VACUUM FULL
-- control: committed
VACUUM FULL app.orders

-- case: ANALYZE
ANALYZE app.orders

-- case: LOCK in the strongest mode of a table of nobody's business
LOCK TABLE hr.people IN ACCESS EXCLUSIVE MODE

-- case: DECLARE and LOCK in one text
SELECT 1; LOCK hr.people

-- case: an insert into the catalogue
INSERT INTO pg_catalog.pg_description VALUES (1, 1, 0, 'mine')

-- case: an update of the catalogue
UPDATE pg_catalog.pg_class SET relname = 'gone' WHERE relname = 'people'

-- case: a deletion from the catalogue
DELETE FROM pg_catalog.pg_depend WHERE refclassid = 'pg_class'::regclass

-- case: an update of the catalogue without its schema
UPDATE pg_database SET datallowconn = false WHERE datname = 'postgres'

-- case: an update of who may come in
UPDATE pg_authid SET rolsuper = true WHERE rolname = 'victim'

-- case: an update of a view of the server's
UPDATE information_schema.sql_features SET is_supported = 'NO' WHERE feature_id = 'B011'
