-- What drivers ask by themselves, and as their users write: asyncpg, psycopg, Npgsql, pgx and GORM,
-- node-postgres with Knex, TypeORM, Sequelize and Drizzle, Ecto, Diesel, PDO with Doctrine and Eloquent.

-- case: asyncpg asks for types
-- with: {25,1184}
WITH RECURSIVE typeinfo_tree(oid, ns, name, kind, basetype, elemtype, elemdelim, range_subtype, attrtypoids, attrnames, depth) AS (SELECT ti.oid, ti.ns, ti.name, ti.kind, ti.basetype, ti.elemtype, ti.elemdelim, ti.range_subtype, ti.attrtypoids, ti.attrnames, 0 FROM (SELECT t.oid AS oid, ns.nspname AS ns, t.typname AS name, t.typtype AS kind, (CASE WHEN t.typtype = 'd' THEN (WITH RECURSIVE typebases(oid, depth) AS (SELECT t2.typbasetype AS oid, 0 AS depth FROM pg_type t2 WHERE t2.oid = t.oid UNION ALL SELECT t2.typbasetype AS oid, tb.depth + 1 AS depth FROM pg_type t2, typebases tb WHERE tb.oid = t2.oid AND t2.typbasetype != 0) SELECT oid FROM typebases ORDER BY depth DESC LIMIT 1) ELSE NULL END) AS basetype, t.typelem AS elemtype, elem_t.typdelim AS elemdelim, range_t.rngsubtype AS range_subtype, (CASE WHEN t.typtype = 'c' THEN (SELECT array_agg(ia.atttypid ORDER BY ia.attnum) FROM pg_attribute ia INNER JOIN pg_class c ON (ia.attrelid = c.oid) WHERE ia.attnum > 0 AND NOT ia.attisdropped AND c.reltype = t.oid) ELSE NULL END) AS attrtypoids, (CASE WHEN t.typtype = 'c' THEN (SELECT array_agg(ia.attname::text ORDER BY ia.attnum) FROM pg_attribute ia INNER JOIN pg_class c ON (ia.attrelid = c.oid) WHERE ia.attnum > 0 AND NOT ia.attisdropped AND c.reltype = t.oid) ELSE NULL END) AS attrnames FROM pg_catalog.pg_type AS t INNER JOIN pg_catalog.pg_namespace ns ON (ns.oid = t.typnamespace) LEFT JOIN pg_type elem_t ON (t.typlen = -1 AND t.typelem != 0 AND t.typelem = elem_t.oid) LEFT JOIN pg_range range_t ON (t.oid = range_t.rngtypid)) AS ti WHERE ti.oid = any($1::oid[])) SELECT DISTINCT *, basetype::regtype::text AS basetype_name, elemtype::regtype::text AS elemtype_name FROM typeinfo_tree ORDER BY depth DESC, 1

-- case: asyncpg brings a connection back
-- by: simple
SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;

-- case: asyncpg switches the compiler off for its own questions
SELECT current_setting('jit') AS cur, set_config('jit', 'off', false) AS new

-- case: asyncpg begins
BEGIN ISOLATION LEVEL READ COMMITTED
-- then
SAVEPOINT __asyncpg_savepoint_1__
-- then
RELEASE SAVEPOINT __asyncpg_savepoint_1__
-- then
COMMIT

-- case: asyncpg reads with a parameter that is an array
-- with: {1,2,3}
SELECT id, name FROM app.customers WHERE id = ANY($1::int[]) ORDER BY id

-- case: asyncpg copies to the client
-- by: simple
COPY "app"."counters"("name", "value") TO STDOUT WITH (FORMAT text)

-- case: asyncpg copies from the client
-- by: simple
-- data: copied\t1
COPY "app"."counters"("name", "value") FROM STDIN WITH (FORMAT text)

-- case: asyncpg copies a query's rows
-- by: simple
COPY (SELECT id, name FROM app.customers ORDER BY id LIMIT 3) TO STDOUT WITH (FORMAT csv, HEADER true)

-- case: psycopg registers a composite type
-- with: app.pair
SELECT t.typname AS name, t.oid AS oid, t.typarray AS array_oid, t.oid::regtype::text AS regtype, coalesce(a.fnames, '{}') AS field_names, coalesce(a.ftypes, '{}') AS field_types FROM pg_type t LEFT JOIN (SELECT attrelid, array_agg(attname) AS fnames, array_agg(atttypid) AS ftypes FROM (SELECT a.attrelid, a.attname, a.atttypid FROM pg_attribute a JOIN pg_type t ON t.typrelid = a.attrelid WHERE t.oid = to_regtype($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) x GROUP BY attrelid) a ON a.attrelid = t.typrelid WHERE t.oid = to_regtype($1)

-- case: psycopg calls a cursor by a name
-- by: simple
-- answers: error, because the cursor does not go back
BEGIN
-- then
DECLARE "mine" NO SCROLL CURSOR FOR SELECT * FROM app.customers ORDER BY id
-- then
FETCH FORWARD ALL FROM "mine"
-- then
MOVE ABSOLUTE 0 IN "mine"

-- case: psycopg2 asks for JSON types
SELECT t.oid, typarray FROM pg_type t JOIN pg_namespace ns ON typnamespace = ns.oid WHERE typname = 'jsonb'

-- case: Npgsql loads types
SELECT ns.nspname, t.oid, t.typname, t.typtype, t.typnotnull, t.elemtypoid FROM (SELECT typ.oid, typ.typnamespace, typ.typname, typ.typtype, typ.typrelid, typ.typnotnull, typ.relkind, elemtyp.oid AS elemtypoid, elemtyp.typname AS elemtypname, elemcls.relkind AS elemrelkind, CASE WHEN elemproc.proname='array_recv' THEN 'a' ELSE elemtyp.typtype END AS elemtyptype FROM (SELECT typ.oid, typnamespace, typname, typrelid, typnotnull, relkind, typelem AS elemoid, CASE WHEN proc.proname='array_recv' THEN 'a' ELSE typ.typtype END AS typtype, CASE WHEN proc.proname='array_recv' THEN typ.typelem WHEN typ.typtype='r' THEN rngsubtype WHEN typ.typtype='m' THEN (SELECT rngtypid FROM pg_range WHERE rngmultitypid = typ.oid) WHEN typ.typtype='d' THEN typ.typbasetype END AS elemtypoid FROM pg_type AS typ LEFT JOIN pg_class AS cls ON (cls.oid = typ.typrelid) LEFT JOIN pg_proc AS proc ON proc.oid = typ.typreceive LEFT JOIN pg_range ON (pg_range.rngtypid = typ.oid)) AS typ LEFT JOIN pg_type AS elemtyp ON elemtyp.oid = elemtypoid LEFT JOIN pg_class AS elemcls ON (elemcls.oid = elemtyp.typrelid) LEFT JOIN pg_proc AS elemproc ON elemproc.oid = elemtyp.typreceive) AS t JOIN pg_namespace AS ns ON (ns.oid = typnamespace) WHERE typtype IN ('b', 'r', 'm', 'e', 'd') OR (typtype = 'c' AND relkind='c') OR (typtype = 'p' AND typname IN ('record', 'void')) ORDER BY t.oid

-- case: Npgsql loads the fields of composite types
SELECT typ.oid, att.attname, att.atttypid FROM pg_type AS typ JOIN pg_namespace AS ns ON (ns.oid = typ.typnamespace) JOIN pg_class AS cls ON (cls.oid = typ.typrelid) JOIN pg_attribute AS att ON (att.attrelid = typ.typrelid) WHERE (typ.typtype = 'c' AND cls.relkind='c') AND attnum > 0 AND NOT attisdropped ORDER BY typ.oid, att.attnum

-- case: Npgsql loads enumerations
SELECT pg_type.oid, enumlabel FROM pg_enum JOIN pg_type ON pg_type.oid=enumtypid ORDER BY oid, enumsortorder

-- case: Npgsql brings a connection back
DISCARD ALL

-- case: Entity Framework reads
-- with: 1
SELECT o."id", o."note", c."id" AS "Id0" FROM app.orders AS o LEFT JOIN app.customers AS c ON o.customer_id = c.id WHERE o."id" = $1 LIMIT 2

-- case: Entity Framework writes
-- with: ef | 1
INSERT INTO app.counters (name, value) VALUES ($1, $2) RETURNING value

-- case: Entity Framework asks for its history
SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid=c.relnamespace WHERE n.nspname='public' AND c.relname='__EFMigrationsHistory')

-- case: pgx pings
-- by: simple
-- ping

-- case: GORM finds the first
-- with: 1 | 1
SELECT * FROM "app"."customers" WHERE "customers"."id" = $1 AND "customers"."updated_at" IS NULL ORDER BY "customers"."id" LIMIT $2

-- case: GORM creates
-- with: gorm | 3
INSERT INTO "counters" ("name","value") VALUES ($1,$2) ON CONFLICT ("name") DO UPDATE SET "value"="excluded"."value" RETURNING "name"

-- case: GORM deletes softly
-- with: 11
UPDATE "customers" SET "updated_at"='2026-05-05 00:00:00' WHERE "customers"."id" = $1 AND "customers"."updated_at" IS NULL

-- case: GORM looks for a table
-- with: orders | BASE TABLE
SELECT count(*) FROM information_schema.tables WHERE table_schema = CURRENT_SCHEMA() AND table_name = $1 AND table_type = $2

-- case: Knex selects
-- with: paid | 3
select "o"."id", "c"."name" as "who" from "app"."orders" as "o" inner join "app"."customers" as "c" on "c"."id" = "o"."customer_id" where "o"."state" = $1 order by "o"."id" asc limit $2

-- case: Knex inserts
-- with: knex | 1
insert into "counters" ("name", "value") values ($1, $2) returning "name"

-- case: Knex locks its migrations
-- by: simple
BEGIN;
-- then
select * from "schema_migrations" for update
-- then
COMMIT;

-- case: TypeORM selects
-- with: 1
SELECT DISTINCT "distinctAlias"."Customer_id" AS "ids_Customer_id" FROM (SELECT "Customer"."id" AS "Customer_id", "Customer"."name" AS "Customer_name", "Customer__orders"."id" AS "Customer__orders_id" FROM "app"."customers" "Customer" LEFT JOIN "app"."orders" "Customer__orders" ON "Customer__orders"."customer_id"="Customer"."id" WHERE (("Customer"."id" = $1))) "distinctAlias" ORDER BY "Customer_id" ASC LIMIT 1

-- case: TypeORM begins
-- by: simple
START TRANSACTION
-- then
INSERT INTO "app"."counters"("name", "value") VALUES ('typeorm', DEFAULT) RETURNING "value"
-- then
COMMIT

-- case: TypeORM asks where it is
SELECT * FROM current_schema()
-- then
SELECT version()
-- then
SHOW server_version

-- case: TypeORM describes
SELECT "table_schema", "table_name", obj_description(('"' || "table_schema" || '"."' || "table_name" || '"')::regclass, 'pg_class') AS table_comment FROM "information_schema"."tables" WHERE ("table_schema" = 'app' AND "table_name" = 'orders')

-- case: Sequelize finds all
SELECT "id", "firstName", "createdAt" FROM "Users" AS "User" WHERE ("User"."firstName" LIKE 'A%' OR "User"."id" > 1) ORDER BY "User"."createdAt" DESC, "User"."id" LIMIT 10 OFFSET 0

-- case: Sequelize creates
-- with: Lin | 2026-01-02
INSERT INTO "Users" ("id","firstName","createdAt") VALUES (DEFAULT,$1,$2) RETURNING "id","firstName","createdAt"

-- case: Sequelize updates
-- with: Max | 2
UPDATE "Users" SET "firstName"=$1 WHERE "id" = $2

-- case: Sequelize begins
START TRANSACTION
-- then
SET TRANSACTION ISOLATION LEVEL READ COMMITTED
-- then
COMMIT

-- case: Sequelize asks which fields a key has
SELECT i.relname AS name, ix.indisprimary AS primary, ix.indisunique AS unique, ix.indkey AS indkey, array_agg(a.attnum) as column_indexes, array_agg(a.attname) AS column_names, pg_get_indexdef(ix.indexrelid) AS definition FROM pg_class t, pg_class i, pg_index ix, pg_attribute a WHERE t.oid = ix.indrelid AND i.oid = ix.indexrelid AND a.attrelid = t.oid AND t.relkind = 'r' and t.relname = 'Users' GROUP BY i.relname, ix.indexrelid, ix.indisprimary, ix.indisunique, ix.indkey ORDER BY i.relname

-- case: Drizzle selects with relations
-- with: 2
select "customers"."id", "customers"."name", "customers_orders"."data" as "orders" from "app"."customers" "customers" left join lateral (select coalesce(json_agg(json_build_array("customers_orders"."id", "customers_orders"."note") order by "customers_orders"."id"), '[]'::json) as "data" from "app"."orders" "customers_orders" where "customers_orders"."customer_id" = "customers"."id") "customers_orders" on true order by 1 limit $1

-- case: Ecto selects
-- with: t | 5
SELECT c0."id", c0."name", c0."tags" FROM "app"."customers" AS c0 WHERE (c0."active" = $1) ORDER BY c0."id" LIMIT $2

-- case: Ecto inserts
-- with: ecto
INSERT INTO "app"."counters" AS c0 ("name") VALUES ($1) ON CONFLICT ("name") DO UPDATE SET "value" = c0."value" + 1 RETURNING "value"

-- case: Ecto loads types
SELECT t.oid, t.typname, t.typsend, t.typreceive, t.typoutput, t.typinput, coalesce(d.typelem, t.typelem), coalesce(r.rngsubtype, 0), ARRAY (SELECT a.atttypid FROM pg_attribute AS a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) FROM pg_type AS t LEFT JOIN pg_type AS d ON t.typbasetype = d.oid LEFT JOIN pg_range AS r ON r.rngtypid = t.oid OR r.rngmultitypid = t.oid OR (t.typbasetype <> 0 AND r.rngtypid = t.typbasetype) WHERE (t.typrelid = 0) AND (t.typelem = 0 OR NOT EXISTS (SELECT 1 FROM pg_catalog.pg_type s WHERE s.typrelid != 0 AND s.oid = t.typelem)) ORDER BY t.oid

-- case: Diesel loads
-- with: 1
SELECT "customers"."id", "customers"."name" FROM "customers" WHERE ("customers"."id" = $1) LIMIT 1

-- case: Diesel asks for its own settings
SET TIME ZONE 'UTC'
-- then
SET CLIENT_ENCODING TO 'UTF8'

-- case: SQLx asks about what may be null
-- with: 1 | 1
SELECT NOT pg_attribute.attnotnull FROM (VALUES ($1::int4, $2::int2)) AS col(idx, table_column) LEFT JOIN pg_catalog.pg_attribute ON attrelid = 'app.orders'::regclass AND attnum = table_column ORDER BY col.idx

-- case: Doctrine selects
-- with: 1
SELECT t0.id AS id_1, t0.name AS name_2 FROM app.customers t0 WHERE t0.id = $1

-- case: Doctrine asks for sequences
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'S' ORDER BY 1

-- case: PDO asks for the last number
SELECT NEXTVAL('app.tickets')
-- then
SELECT LASTVAL()
-- then
SELECT CURRVAL('app.tickets')

-- case: Eloquent selects
-- with: 1
select * from "customers" where "customers"."id" = $1 limit 1

-- case: Eloquent asks whether there is one
-- with: 3
select exists(select * from "orders" where "customer_id" = $1) as "exists"

-- case: Eloquent deletes by ctid
delete from "counters" where "ctid" in (select "a"."ctid" from "counters" as "a" where "name" = 'counter 5' limit 1)

-- case: Laravel names the session
set application_name to 'laravel'
-- then
set time zone 'Europe/Berlin'
