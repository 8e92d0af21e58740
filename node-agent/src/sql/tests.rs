use super::*;

fn facts(text: &str) -> StatementFacts {
    let analysis = analyze(Dialect::Postgres, text);
    assert_eq!(analysis.sureness, Sureness::Complete, "{text}");
    assert_eq!(analysis.statements.len(), 1, "{text}");
    analysis.statements.into_iter().next().unwrap()
}

fn kinds(text: &str) -> Vec<StatementKind> {
    facts(text).kinds
}

/// `read:schema.table …`, sorted.
fn touched(text: &str) -> Vec<String> {
    let mut list: Vec<String> = facts(text)
        .relations
        .iter()
        .map(|u| {
            let schema = u
                .relation
                .schema
                .as_ref()
                .map(|s| format!("{s}."))
                .unwrap_or_default();
            format!("{:?}:{schema}{}", u.touch, u.relation.name).to_lowercase()
        })
        .collect();
    list.sort();
    list
}

fn predicate_names(text: &str) -> Vec<String> {
    let mut names: Vec<String> = facts(text)
        .columns
        .into_iter()
        .filter(|c| c.role == ColumnRole::Predicate)
        .map(|c| c.name)
        .collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn relations_are_found_wherever_they_stand() {
    // (text, touched)
    let table: &[(&str, &[&str])] = &[
        ("SELECT * FROM ONLY secret", &["read:secret"]),
        ("SELECT 1 UNION ALL TABLE secret", &["read:secret"]),
        (
            "CREATE TABLE n AS TABLE secret",
            &["define:n", "read:secret"],
        ),
        ("SELECT 1 LIMIT (SELECT x FROM secret)", &["read:secret"]),
        (
            "SELECT count(*) FILTER (WHERE EXISTS (SELECT 1 FROM secret)) FROM a",
            &["read:a", "read:secret"],
        ),
        (
            "SELECT sum(a) OVER (ORDER BY (SELECT b FROM secret)) FROM t",
            &["read:secret", "read:t"],
        ),
        (
            "INSERT INTO t VALUES ((SELECT x FROM secret))",
            &["insert:t", "read:secret"],
        ),
        (
            "INSERT INTO t(a) VALUES (1) ON CONFLICT (a) DO UPDATE SET b=(SELECT x FROM secret) RETURNING (SELECT y FROM other)",
            &[
                "insert:t",
                "read:other",
                "read:secret",
                "read:t",
                "update:t",
            ],
        ),
        (
            "SELECT DISTINCT ON ((SELECT x FROM secret)) a FROM t",
            &["read:secret", "read:t"],
        ),
        ("PREPARE p AS SELECT * FROM secret", &["read:secret"]),
        (
            "DECLARE c CURSOR FOR SELECT * FROM secret",
            &["read:secret"],
        ),
        (
            "WITH secret AS (SELECT * FROM secret) SELECT * FROM secret",
            &["read:secret"],
        ),
        ("WITH s AS (SELECT 1) SELECT * FROM s", &[]),
        (
            "WITH s AS (SELECT 1) SELECT * FROM public.s",
            &["read:public.s"],
        ),
        (
            "WITH RECURSIVE s AS (SELECT 1 UNION ALL SELECT * FROM s) SELECT * FROM s",
            &[],
        ),
        (
            "WITH a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM a, b",
            &["read:b"],
        ),
        (
            "SELECT * FROM (WITH x AS (SELECT 1) SELECT * FROM x) q, x",
            &["read:x"],
        ),
        (
            "WITH d AS (DELETE FROM secret RETURNING *) SELECT * FROM d",
            &["delete:secret", "read:secret"],
        ),
        (
            "WITH t AS (SELECT 1) INSERT INTO t SELECT * FROM t",
            &["insert:t"],
        ),
        ("COPY secret TO STDOUT", &["read:secret"]),
        ("COPY (SELECT * FROM secret) TO STDOUT", &["read:secret"]),
        ("COPY secret FROM STDIN", &["insert:secret"]),
        ("DROP TABLE a.b, c", &["define:a.b", "define:c"]),
        ("DROP SCHEMA sales CASCADE", &["define:sales.*"]),
        ("DROP TRIGGER t ON a.b", &["define:a.b"]),
        ("TRUNCATE a, b.c", &["truncate:a", "truncate:b.c"]),
        (
            "GRANT SELECT ON ALL TABLES IN SCHEMA sales TO x",
            &["define:sales.*"],
        ),
        ("CREATE TABLE a (LIKE secret)", &["define:a", "read:secret"]),
        (
            "CREATE TABLE a (x int REFERENCES secret)",
            &["define:a", "read:secret"],
        ),
        (
            "CREATE TABLE a () INHERITS (secret)",
            &["define:a", "define:secret"],
        ),
        (
            "ALTER TABLE a ATTACH PARTITION secret FOR VALUES IN (1)",
            &["define:a", "define:secret"],
        ),
        ("EXPLAIN DELETE FROM t", &["read:t"]),
        ("EXPLAIN ANALYZE DELETE FROM t", &["delete:t"]),
        ("EXPLAIN (ANALYZE off) DELETE FROM t", &["read:t"]),
        (
            "EXPLAIN (ANALYZE $$off$$, ANALYZE on) DELETE FROM t",
            &["delete:t"],
        ),
        (
            "MERGE INTO t USING s ON t.a=s.a WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (1)",
            &["delete:t", "insert:t", "read:s"],
        ),
        (
            "SELECT * FROM a JOIN b USING (x) FOR UPDATE OF a",
            &["lock:a", "read:a", "read:b"],
        ),
        ("LOCK TABLE a", &["lock:a"]),
        ("VACUUM a", &["define:a"]),
        ("COMMENT ON COLUMN s.t.c IS 'x'", &["define:s.t"]),
        (
            "CREATE VIEW v AS SELECT * FROM secret",
            &["define:v", "read:secret"],
        ),
        ("SELECT * FROM t TABLESAMPLE system (1)", &["read:t"]),
        (
            "UPDATE t SET a = s.b FROM secret s WHERE t.id = s.id",
            &["read:secret", "update:t"],
        ),
        ("SELECT JSON_ARRAY(SELECT a FROM secret)", &["read:secret"]),
        ("CREATE TEMP TABLE x (a int)", &["define:pg_temp.x"]),
    ];
    for (text, want) in table {
        assert_eq!(touched(text), *want, "{text}");
    }
}

#[test]
fn kinds_are_outermost_first() {
    use StatementKind as K;
    let table: &[(&str, &[K])] = &[
        ("SELECT 1", &[K::Select]),
        ("VALUES (1)", &[K::Select]),
        ("INSERT INTO t VALUES (1)", &[K::Insert]),
        ("INSERT INTO t SELECT 1", &[K::Insert, K::Select]),
        (
            "WITH d AS (DELETE FROM t WHERE a=1 RETURNING *) SELECT * FROM d",
            &[K::Select, K::Delete],
        ),
        ("SELECT * INTO n FROM t", &[K::Select, K::Create]),
        ("CREATE TABLE n AS SELECT 1", &[K::Create, K::Select]),
        ("EXPLAIN DELETE FROM t", &[K::Explain]),
        ("EXPLAIN ANALYZE DELETE FROM t", &[K::Explain, K::Delete]),
        ("EXPLAIN EXECUTE p", &[K::Explain, K::Execute]),
        (
            "PREPARE p AS DELETE FROM t WHERE a=$1",
            &[K::Prepare, K::Delete],
        ),
        ("COPY t TO PROGRAM 'sh'", &[K::CopyProgram]),
        ("COPY t FROM '/etc/passwd'", &[K::CopyFile]),
        ("COPY t TO STDOUT", &[K::CopyOut]),
        ("COPY t FROM STDIN", &[K::CopyIn]),
        ("SET search_path TO a, b", &[K::Set]),
        ("SET ROLE x", &[K::SetIdentity]),
        ("RESET ROLE", &[K::SetIdentity]),
        ("SET SESSION AUTHORIZATION x", &[K::SetIdentity]),
        ("SET NAMES 'SJIS'", &[K::SetIdentity]),
        ("SET client_encoding = 'UTF8'", &[K::Set]),
        ("SET standard_conforming_strings = off", &[K::SetIdentity]),
        ("SET standard_conforming_strings = on", &[K::Set]),
        ("SET backslash_quote = on", &[K::SetIdentity]),
        ("SET app.tenant = 'x'", &[K::SetIdentity]),
        (
            "SELECT set_config('role', 'x', false)",
            &[K::Select, K::SetIdentity],
        ),
        (
            "SELECT pg_catalog.set_config('search_path', '', false)",
            &[K::Select, K::Set],
        ),
        (
            "SELECT set_config(a, b, false) FROM t",
            &[K::Select, K::SetIdentity],
        ),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE", &[K::Transaction]),
        ("SET TRANSACTION READ ONLY", &[K::Transaction]),
        ("SAVEPOINT a", &[K::Transaction]),
        ("PREPARE TRANSACTION 'x'", &[K::TwoPhase]),
        ("SHOW search_path", &[K::Show]),
        ("SHOW hba_file", &[K::Show, K::Admin]),
        ("SHOW \"HBA_File\"", &[K::Show, K::Admin]),
        ("SELECT current_setting('Hba_File')", &[K::Select, K::Admin]),
        (
            "SELECT current_setting(name) FROM t",
            &[K::Select, K::Admin],
        ),
        ("SELECT current_setting('work_mem', true)", &[K::Select]),
        ("DO $$ BEGIN END $$", &[K::Do]),
        ("CALL p(1)", &[K::Call]),
        (
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'select 1'",
            &[K::Create, K::DefineCode],
        ),
        ("CREATE EXTENSION x", &[K::Admin, K::Create]),
        ("ALTER SYSTEM SET x = 1", &[K::Admin, K::Alter]),
        ("ALTER ROLE x PASSWORD 'p'", &[K::Role]),
        ("LOAD 'x'", &[K::Admin]),
        ("LISTEN x", &[K::Listen]),
        ("UNLISTEN *", &[K::Discard]),
        ("NOTIFY x, 'y'", &[K::Notify]),
        ("FETCH 1 FROM c", &[K::Fetch]),
        ("CLOSE ALL", &[K::CloseCursor]),
        ("DISCARD ALL", &[K::Discard]),
        ("SELECT 1 FOR UPDATE", &[K::Select, K::Lock]),
        (
            "ALTER TABLE t DISABLE ROW LEVEL SECURITY",
            &[K::Alter, K::DefineCode],
        ),
    ];
    for (text, want) in table {
        assert_eq!(kinds(text), *want, "{text}");
    }
}

#[test]
fn functions_are_found_in_from_and_in_operators() {
    let names = |text: &str| -> Vec<String> {
        facts(text)
            .functions
            .into_iter()
            .map(|f| format!("{}/{}", f.name, f.args))
            .collect()
    };
    assert_eq!(
        names("SELECT f FROM pg_read_file('x') f"),
        ["pg_read_file/1"]
    );
    assert_eq!(
        names("SELECT 1 FROM t, LATERAL pg_read_file(t.a) f"),
        ["pg_read_file/1"]
    );
    assert_eq!(
        names("SELECT * FROM ROWS FROM (a(1), b(2,3)) x"),
        ["a/1", "b/2"]
    );
    assert_eq!(names("SELECT 1 OPERATOR(evil.+) 2"), ["+/2"]);
    assert_eq!(names("SELECT 1 OPERATOR(pg_catalog.+) 2"), [] as [&str; 0]);
    assert_eq!(
        names("SELECT set_config('a.b', 'c', true)"),
        [] as [&str; 0]
    );
    assert_eq!(
        names("SELECT set_config('application_name', (SELECT ssn FROM t), true)"),
        ["set_config/3"]
    );
    assert_eq!(names("CALL app.p(1)"), ["p/1"]);
    assert_eq!(names("SELECT * FROM t TABLESAMPLE evil (1)"), ["evil/1"]);
}

#[test]
fn a_where_that_reads_no_column_is_missing() {
    for (text, missing) in [
        ("DELETE FROM t", true),
        ("DELETE FROM t WHERE true", true),
        ("DELETE FROM t WHERE 1=1", true),
        ("DELETE FROM t WHERE a=1", false),
        ("DELETE FROM t WHERE a=$1", false),
        ("UPDATE t SET a=1", true),
        ("WITH d AS (DELETE FROM t) SELECT 1", true),
        ("DELETE FROM t WHERE CURRENT OF c", false),
        ("EXPLAIN DELETE FROM t", false),
        ("EXPLAIN ANALYZE DELETE FROM t", true),
    ] {
        assert_eq!(facts(text).missing_where, missing, "{text}");
    }
}

#[test]
fn columns_that_decide_are_predicates() {
    for (text, want) in [
        ("SELECT a FROM t WHERE b = 1", vec!["b"]),
        ("SELECT a FROM t ORDER BY 1", vec!["a"]),
        ("SELECT DISTINCT a FROM t", vec!["a"]),
        ("SELECT a FROM t UNION SELECT b FROM s", vec!["a", "b"]),
        ("SELECT a FROM t UNION ALL SELECT b FROM s", vec![]),
        ("SELECT a FROM t INTERSECT SELECT b FROM s", vec!["a", "b"]),
        ("SELECT CASE WHEN a = 1 THEN b ELSE c END FROM t", vec!["a"]),
        ("SELECT a = 1 FROM t", vec!["a"]),
        ("SELECT a || 'x' FROM t", vec![]),
        ("SELECT * FROM t NATURAL JOIN s", vec!["*"]),
        ("SELECT 1 FROM t JOIN s USING (a)", vec!["a"]),
        ("SELECT a, count(*) FROM t GROUP BY 1", vec!["a"]),
        ("SELECT count(DISTINCT a) FROM t", vec!["a"]),
        ("SELECT generate_series(1, a) FROM t", vec!["a"]),
        ("SELECT (c).ssn FROM t c WHERE (c).x = 1", vec!["c", "x"]),
    ] {
        assert_eq!(predicate_names(text), want, "{text}");
    }
}

#[test]
fn a_renamed_column_is_carried() {
    let carries = |text: &str| -> Vec<(String, Vec<String>)> {
        facts(text)
            .carries
            .into_iter()
            .map(|c| (c.to, c.from))
            .collect()
    };
    let want = |to: &str, from: &[&str]| {
        (
            to.to_owned(),
            from.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>(),
        )
    };
    assert!(
        carries("SELECT 1 FROM (SELECT ssn AS x FROM c) t WHERE x = '1'")
            .contains(&want("x", &["ssn"]))
    );
    assert!(
        carries("WITH w(x) AS (SELECT ssn FROM c) SELECT 1 FROM w").contains(&want("x", &["ssn"]))
    );
    assert!(carries("SELECT 1 FROM c AS t(a, b)").contains(&want("b", &["*"])));
    assert!(
        carries("SELECT id AS x FROM c UNION ALL SELECT ssn FROM c")
            .iter()
            .any(|(to, from)| to == "x" && from.contains(&"ssn".to_owned()))
    );
    assert!(
        carries("SELECT 1 FROM (VALUES ((SELECT ssn FROM c))) v WHERE column1 = ''")
            .iter()
            .any(|(to, from)| to == "column1" && from.contains(&"ssn".to_owned()))
    );
    assert!(carries("SELECT upper(ssn) FROM c").contains(&want("upper", &["ssn"])));
}

#[test]
fn what_cannot_be_parsed_is_opaque_and_not_quoted() {
    for text in [
        "SELEC 'hunter2'",
        "SELECT 'hunter2",
        "SELECT \u{0}1",
        &format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000)),
        &format!("SELECT {}1", "1+".repeat(5_000)),
        &"x".repeat(MAX_TEXT + 1),
    ] {
        let analysis = analyze(Dialect::Postgres, text);
        let Sureness::Opaque(reason) = analysis.sureness else {
            panic!("{text:.40}")
        };
        assert!(!reason.contains("hunter2"), "{reason}");
    }
    assert_eq!(
        analyze(Dialect::Postgres, " -- nothing\n;;")
            .statements
            .len(),
        0
    );
    assert_eq!(analyze(Dialect::Postgres, "").sureness, Sureness::Complete);
}

#[test]
fn spans_cut_the_text_into_its_statements() {
    let text = "SELECT 1; /* é */ DELETE FROM t ;\n INSERT INTO t VALUES ('é') ";
    let spans: Vec<&str> = analyze(Dialect::Postgres, text)
        .statements
        .iter()
        .map(|s| &text[s.span.clone()])
        .collect();
    assert_eq!(
        spans,
        ["SELECT 1", "DELETE FROM t", "INSERT INTO t VALUES ('é')"]
    );
}

#[test]
fn secrets_are_marked() {
    for text in [
        "ALTER ROLE x PASSWORD 'p'",
        "CREATE USER x WITH ENCRYPTED PASSWORD 'p'",
        "CREATE SUBSCRIPTION s CONNECTION 'password=p' PUBLICATION p",
        "CREATE USER MAPPING FOR x SERVER s OPTIONS (password 'p')",
    ] {
        assert!(facts(text).secret, "{text}");
    }
    assert!(!facts("CREATE ROLE x").secret);
}

#[test]
fn execute_becomes_what_was_prepared() {
    let prepared = facts("PREPARE p AS DELETE FROM t");
    let Some(Effect::Prepares { inner, .. }) = prepared.effects.first() else {
        panic!()
    };
    let execute = analyze(Dialect::Postgres, "EXECUTE p");
    let expanded = expand_named(&execute, |name| {
        (name == Named::Statement("p")).then_some(inner.as_ref())
    });
    assert_eq!(expanded.sureness, Sureness::Complete);
    assert_eq!(
        expanded.statements[0].kinds,
        [StatementKind::Execute, StatementKind::Delete]
    );
    assert!(expanded.statements[0].missing_where);
    assert!(matches!(
        expand_named(&execute, |_| None).sureness,
        Sureness::Partial(_)
    ));
}

#[test]
fn fuzz_analysis() {
    bolero::check!().for_each(fuzzing::fuzz_analyze);
}

#[test]
fn fuzz_purpose() {
    bolero::check!().for_each(fuzzing::fuzz_purpose);
}

#[test]
fn fuzz_analysis_of_words() {
    bolero::check!().for_each(fuzzing::fuzz_analyze_words);
}

#[test]
fn fuzz_analysis_of_changed_statements() {
    bolero::check!().for_each(fuzzing::fuzz_analyze_changed);
}

#[test]
fn a_text_that_changes_how_texts_are_read_is_known() {
    for (text, setting) in [
        (
            "SET standard_conforming_strings = off",
            Some("standard_conforming_strings"),
        ),
        (
            "select 1; set local standard_conforming_strings to 'no'",
            Some("standard_conforming_strings"),
        ),
        (
            "select set_config('CLIENT_ENCODING', 'sjis', false)",
            Some("client_encoding"),
        ),
        ("set names 'latin1'", Some("client_encoding")),
        (
            "update pg_settings set setting = 'off' where name = 'x'",
            Some("client_encoding"),
        ),
        ("set client_encoding to 'utf-8'", None),
        ("set standard_conforming_strings = true", None),
        ("reset standard_conforming_strings", None),
        ("set role x", None),
    ] {
        assert_eq!(
            changes_reading(&analyze(Dialect::Postgres, text)),
            setting,
            "{text}"
        );
    }
}
