-- Who may do what, and settings that outlast the session.

-- case: GRANT on a table
GRANT ALL ON hr.people TO PUBLIC

-- case: GRANT on all tables
GRANT SELECT ON ALL TABLES IN SCHEMA hr TO PUBLIC

-- case: GRANT of columns
GRANT SELECT (name), UPDATE (name) ON app.customers TO PUBLIC

-- case: GRANT on a schema
GRANT CREATE ON SCHEMA app TO PUBLIC

-- case: GRANT of a role
GRANT staff TO victim WITH ADMIN OPTION

-- case: GRANT of a role of the server's
GRANT pg_execute_server_program TO victim

-- case: GRANT on a setting
GRANT SET ON PARAMETER log_statement TO PUBLIC

-- case: GRANT on a large object
GRANT ALL ON LARGE OBJECT 424242 TO PUBLIC

-- case: REVOKE
REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC

-- case: REVOKE on a function of the server's
REVOKE EXECUTE ON FUNCTION pg_catalog.lower(text) FROM PUBLIC

-- case: default rights
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT ALL ON TABLES TO PUBLIC

-- case: a new role
CREATE ROLE mine SUPERUSER LOGIN PASSWORD 'x'

-- case: a new role by its other name
CREATE USER mine IN ROLE staff

-- case: a role that may do more
ALTER ROLE victim SUPERUSER LOGIN

-- case: a password
ALTER USER CURRENT_USER PASSWORD 'mine'

-- case: a role's name
ALTER ROLE victim RENAME TO winner

-- case: a group's members
ALTER GROUP staff ADD USER victim

-- case: what a role owns
REASSIGN OWNED BY CURRENT_USER TO staff

-- case: a role's settings
ALTER ROLE ALL SET statement_timeout = 1

-- case: a role's settings in a database
ALTER ROLE victim IN DATABASE {database} SET work_mem = '1GB'

-- case: a database's settings
ALTER DATABASE {database} SET default_transaction_read_only = on

-- case: a database's name
ALTER DATABASE template0 RENAME TO bygone

-- case: a database's connections
ALTER DATABASE template0 CONNECTION LIMIT 0

-- case: the server's settings
-- control: committed
-- undo: ALTER SYSTEM RESET ALL
ALTER SYSTEM SET log_statement = 'all'

-- case: the server's settings, all of them
-- control: none, because the server has none that could be taken away
ALTER SYSTEM RESET ALL

-- case: a security label
-- control: none, because the server has no provider of labels
SECURITY LABEL ON TABLE app.orders IS 'x'

-- case: as somebody else
SET ROLE by_cleartext
-- then
UPDATE hr.people SET salary = 0

-- case: as another session
SET SESSION AUTHORIZATION victim
-- then
RESET SESSION AUTHORIZATION
-- then
DELETE FROM hr.people

-- case: as a replica, whose triggers and foreign keys sleep
SET session_replication_role = replica
-- then
DELETE FROM app.customers WHERE id > 0
