use std::time::Instant;

use super::super::*;
use super::compare::compare;
use super::statements::{Seen, Told};
use super::{First, Misread};

fn second(text: &str) -> Second {
    let analysis = analyze(Dialect::Postgres, text);
    assert_eq!(analysis.sureness, Sureness::Complete, "{text}");
    analysis.second
}

#[test]
fn ordinary_statements_are_agreed_on() {
    for text in [
        "",
        " -- nothing\n;;",
        "SELECT a, b FROM s.t WHERE c = 1 ORDER BY a LIMIT 5",
        "SELECT * FROM \"Mixed\".\"Case\" AS x, Folded f WHERE x.a = f.a",
        "INSERT INTO t (a) VALUES (1) RETURNING a",
        "INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = excluded.a",
        "INSERT INTO t SELECT * FROM u",
        "UPDATE t SET a = 1 FROM u WHERE t.x = u.x",
        "UPDATE t SET a = 1",
        "DELETE FROM t USING u WHERE t.x = u.x",
        "MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (1)",
        "WITH x AS (SELECT * FROM y) SELECT * FROM x JOIN z USING (a)",
        "WITH secret AS (SELECT * FROM secret) SELECT * FROM secret",
        "WITH RECURSIVE s AS (SELECT 1 UNION ALL SELECT * FROM s) SELECT * FROM s",
        "WITH a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM a, b",
        "WITH d AS (DELETE FROM t WHERE a = 1 RETURNING *) SELECT * FROM d",
        "WITH t AS (SELECT 1) INSERT INTO t SELECT * FROM t",
        "SELECT * FROM (WITH x AS (SELECT 1) SELECT * FROM x) q, x",
        "SELECT (SELECT max(a) FROM u) FROM t WHERE EXISTS (SELECT 1 FROM v) AND a IN (SELECT b FROM w)",
        "SELECT a FROM t WHERE b LIKE 'x' ESCAPE (SELECT e FROM u)",
        "SELECT count(*) FILTER (WHERE a > (SELECT 1 FROM u)) OVER (ORDER BY (SELECT 2 FROM v)) FROM t",
        "SELECT * FROM generate_series(1, 2) g, LATERAL unnest(ARRAY[1]) u",
        "SELECT 1 LIMIT (SELECT x FROM t) OFFSET (SELECT y FROM u)",
        "SELECT * FROM t FOR UPDATE OF t SKIP LOCKED",
        "VALUES (1, (SELECT a FROM t))",
        "BEGIN; SELECT 1; COMMIT",
        "SAVEPOINT a; RELEASE SAVEPOINT a; ROLLBACK TO SAVEPOINT a",
        "EXPLAIN DELETE FROM t",
        "EXPLAIN ANALYZE DELETE FROM t",
        "EXPLAIN (ANALYZE off, COSTS) DELETE FROM t",
        "EXPLAIN EXECUTE p",
        "PREPARE p AS SELECT * FROM t",
        "DECLARE c CURSOR FOR SELECT * FROM t",
        "EXECUTE p(1); DEALLOCATE p; FETCH 1 FROM c; CLOSE c",
        "COPY t TO STDOUT",
        "COPY (SELECT * FROM t) TO STDOUT",
        "COPY t TO PROGRAM 'sh'",
        "TRUNCATE a, b.c",
        "DROP TABLE a.b, c",
        "CREATE TABLE a (x int REFERENCES b, y text DEFAULT lower('A'))",
        "CREATE TABLE a AS SELECT * FROM b",
        "CREATE TEMP TABLE a (x int)",
        "CREATE VIEW v AS SELECT * FROM t",
        "CREATE INDEX i ON t (a)",
        "ALTER TABLE ONLY t ADD COLUMN a int",
        "LOCK TABLE a",
        "GRANT SELECT ON a TO b",
        "SET search_path TO a",
        "SHOW search_path",
        "SELECT set_config('search_path', '', false)",
        "LISTEN x; NOTIFY x; UNLISTEN *",
        "DISCARD ALL",
        "VACUUM a; ANALYZE a",
        "CALL p(1)",
    ] {
        assert_eq!(second(text), Second::Agrees, "{text}");
    }
}

#[test]
fn what_it_is_known_to_misread_is_not_held_against_a_statement() {
    for (text, why) in [
        ("SELECT * FROM ONLY secret", "ONLY"),
        ("DELETE FROM ONLY secret WHERE a = 1", "ONLY"),
        ("UPDATE ONLY (secret) SET a = 1", "ONLY"),
        ("PREPARE p AS SELECT * FROM ONLY secret", "ONLY"),
        ("SELECT 1 WHERE EXISTS (SELECT 1 FROM ONLY secret)", "ONLY"),
        ("COPY t FROM STDIN", "COPY"),
        ("COPY t FROM STDIN; DROP TABLE x; SELECT 1", "COPY"),
        ("SELECT INTO n FROM t", "INTO"),
        ("CREATE TABLE n (a int, LIKE secret)", "LIKE"),
        ("SELECT * FROM current_date", "CURRENT_DATE"),
        ("SELECT 1 UNION ALL TABLE secret", "TABLE"),
        ("CREATE TABLE n AS TABLE secret", "TABLE"),
        ("TABLE secret", "know the syntax"),
        ("DO $$ BEGIN END $$", "know the syntax"),
        ("SELECT f(VARIADIC a) FROM t", "know the syntax"),
    ] {
        match second(text) {
            Second::Alone(said) => assert!(said.contains(why), "{text}: {said}"),
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn a_misread_statement_says_so_for_the_whole_text() {
    assert!(matches!(
        second("SELECT * FROM ONLY a; SELECT 1"),
        Second::Alone(_)
    ));
}

fn first(text: &str) -> StatementFacts {
    analyze(Dialect::Postgres, text)
        .statements
        .into_iter()
        .next()
        .unwrap()
}

fn seen(text: &str) -> Seen {
    let facts = first(text);
    Seen {
        kinds: facts.kinds,
        relations: facts.relations,
        missing_where: facts.missing_where,
        told: Told::All,
    }
}

#[test]
#[allow(clippy::type_complexity, reason = "a table")]
fn each_kind_of_difference_is_found_and_what_only_the_second_sees_is_added() {
    use Difference as D;
    // (the first reads, the second reads, they differ about, what only the second sees)
    let table: &[(&[&str], &[&str], &[D], &[&str])] = &[
        (&["SELECT a FROM t"], &["SELECT a FROM t"], &[], &[]),
        (
            &["SELECT 1"],
            &["SELECT 1", "DROP TABLE x"],
            &[D::Count],
            &["", "x"],
        ),
        (&["SELECT 1", "SELECT 2"], &["SELECT 1"], &[D::Count], &[""]),
        (
            &["SELECT a FROM t"],
            &["DELETE FROM t WHERE a = 1"],
            &[D::Class, D::Relations],
            &["t"],
        ),
        (
            &["DELETE FROM t WHERE a = 1"],
            &["SELECT a FROM t"],
            &[D::Class, D::Relations],
            &["t"],
        ),
        (
            &["SELECT a FROM t"],
            &["SELECT a FROM t, u"],
            &[D::Relations],
            &["u"],
        ),
        (
            &["SELECT a FROM t, u"],
            &["SELECT a FROM t"],
            &[D::Relations],
            &[],
        ),
        (
            &["DELETE FROM t WHERE a = 1"],
            &["DELETE FROM t"],
            &[D::Where],
            &["t"],
        ),
        // A WHERE that reads no column is one to the second parser.
        (&["DELETE FROM t"], &["DELETE FROM t WHERE a = 1"], &[], &[]),
        (
            &["INSERT INTO a SELECT * FROM b"],
            &["INSERT INTO b SELECT * FROM a"],
            &[D::Relations],
            &["b"],
        ),
    ];
    for (ours, theirs, differ, adds) in table {
        let facts: Vec<StatementFacts> = ours.iter().map(|text| first(text)).collect();
        let firsts: Vec<First<'_>> = facts
            .iter()
            .map(|facts| First {
                facts,
                misread: None,
            })
            .collect();
        let theirs: Vec<Seen> = theirs.iter().map(|text| seen(text)).collect();
        match compare(&firsts, &theirs) {
            Second::Agrees => assert!(differ.is_empty(), "{ours:?}"),
            Second::Differs(found) => {
                assert_eq!(found.about, *differ, "{ours:?}");
                let added: Vec<String> = found
                    .adds
                    .iter()
                    .map(|facts| {
                        let names: Vec<&str> = facts
                            .relations
                            .iter()
                            .map(|r| r.relation.name.as_str())
                            .collect();
                        names.join(" ")
                    })
                    .collect();
                assert_eq!(added, *adds, "{ours:?}: {}", found.what);
                assert!(found.what.starts_with("a second parser "), "{}", found.what);
            }
            other => panic!("{other:?}"),
        }
    }
    let facts = first("SELECT 1");
    let misread = || First {
        facts: &facts,
        misread: Some(Misread::Statement("so")),
    };
    assert!(matches!(
        compare(&[misread()], &[seen("DROP TABLE t")]),
        Second::Alone(_)
    ));
    // It does not excuse its neighbour.
    let plain = First {
        facts: &facts,
        misread: None,
    };
    let both = [misread(), plain];
    assert!(matches!(
        compare(&both, &[seen("SELECT 2"), seen("SELECT 1")]),
        Second::Alone(_)
    ));
    assert!(matches!(
        compare(&both, &[seen("SELECT 2"), seen("DROP TABLE t")]),
        Second::Differs(_)
    ));
}

/// `#` is a name.
const NAMED: &[&str] = &[
    "SELECT # FROM t",
    "SELECT a, #, b FROM t JOIN u USING (c)",
    "SELECT t.# FROM t",
    "SELECT #.a FROM # JOIN u ON #.a = u.a",
    "SELECT a AS # FROM t",
    "SELECT a # FROM t",
    "SELECT f(#), (#) FROM t",
    "SELECT #(a) FROM t",
    "SELECT a FROM t WHERE # = 1",
    "SELECT a FROM t WHERE a = # AND b IN (SELECT # FROM u)",
    "SELECT a FROM t WHERE # IS NULL GROUP BY #, a ORDER BY #",
    "SELECT a FROM t ORDER BY # DESC LIMIT 1",
    "SELECT count(#) FILTER (WHERE # > 1) OVER (PARTITION BY #) FROM t",
    "SELECT CASE # WHEN 1 THEN # ELSE # END FROM t",
    "SELECT #::int, CAST(# AS text) FROM t",
    "SELECT * FROM #",
    "SELECT * FROM #, u",
    "SELECT * FROM # WHERE a = 1",
    "SELECT * FROM #.t",
    "SELECT * FROM s.#",
    "SELECT * FROM t #",
    "SELECT * FROM t #, u",
    "SELECT * FROM t # JOIN u ON true",
    "SELECT * FROM t # WHERE a = 1 ORDER BY b",
    "SELECT * FROM t AS # LEFT JOIN u AS x USING (a)",
    "SELECT * FROM (SELECT * FROM t) # WHERE a = 1",
    "SELECT * FROM f(1) #, u",
    "INSERT INTO # VALUES (1)",
    "INSERT INTO t (#, a) VALUES (1, 2) RETURNING #",
    "INSERT INTO t (a) SELECT # FROM u",
    "UPDATE # SET a = 1 WHERE b = 2",
    "UPDATE t SET # = 1, a = # WHERE # = 2",
    "UPDATE t AS # SET a = 1 FROM u WHERE b = 2",
    "DELETE FROM # WHERE a = 1",
    "DELETE FROM t AS # USING u WHERE #.a = u.a",
    "DELETE FROM t WHERE # < 1",
    "WITH # AS (SELECT 1) SELECT * FROM #, u",
    "CREATE TABLE # (a int)",
    "CREATE TABLE t (# int, b int REFERENCES u, c text)",
    "CREATE INDEX # ON t (a)",
    "CREATE VIEW # AS SELECT * FROM t",
    "ALTER TABLE t ADD COLUMN # int",
    "DROP TABLE #, u",
    "TRUNCATE #",
    "COPY # TO STDOUT",
    "COPY t (#) TO STDOUT",
    "LOCK TABLE #",
    "MERGE INTO t AS # USING u ON true WHEN MATCHED THEN UPDATE SET a = 1",
    "EXPLAIN SELECT # FROM #",
    "PREPARE # AS SELECT * FROM t",
    "SELECT 1 AS #; SELECT * FROM t",
];

/// Words that the server takes for a column's alias without AS, as nobody writes them: the second
/// parser takes them for operators, and the rest for what these work on. Such a text is refused.
const OPERATORS: &[&str] = &["AND", "COLLATE", "END", "ILIKE", "LIKE", "OR", "XOR"];

#[test]
fn no_name_makes_an_ordinary_statement_differ() {
    let mut differ = String::new();
    for word in sqlparser::keywords::ALL_KEYWORDS {
        for text in NAMED {
            let text = text.replace('#', &word.to_lowercase());
            let odd = OPERATORS.contains(word)
                && text.starts_with("SELECT a ")
                && text.ends_with("FROM t")
                && !text.contains(" AS ");
            let second = analyze(Dialect::Postgres, &text).second;
            if let Second::Differs(differing) = &second
                && !odd
            {
                differ.push_str(&format!("{text}: {}\n", differing.what));
            }
            assert!(
                !odd || matches!(second, Second::Differs(_)),
                "{text}: {second:?}"
            );
        }
    }
    assert!(differ.is_empty(), "{differ}");
}

/// Texts that are deep, long or strange, some of which the first parser accepts.
fn hostile() -> Vec<(&'static str, String)> {
    let nest = |open: &str, middle: &str, close: &str, times: usize| {
        format!("{}{middle}{}", open.repeat(times), close.repeat(times))
    };
    vec![
        ("or", format!("SELECT 1 WHERE {}a", "a or ".repeat(45_000))),
        (
            "and in a view",
            format!(
                "CREATE VIEW v AS SELECT 1 WHERE {}a",
                "a and ".repeat(10_000)
            ),
        ),
        ("plus", format!("SELECT {}1", "1+".repeat(100_000))),
        ("casts", format!("SELECT a{}", "::b".repeat(40_000))),
        ("dots", format!("SELECT a{}", ".b".repeat(100_000))),
        ("subscripts", format!("SELECT a{}", "[1]".repeat(60_000))),
        ("parens", format!("SELECT {}", nest("(", "1", ")", 10_000))),
        ("few parens", format!("SELECT {}", nest("(", "1", ")", 90))),
        (
            "many parens",
            format!("SELECT {}1", "((((((((((((((1)))))))))))))),".repeat(4_000)),
        ),
        (
            "from parens",
            format!("SELECT * FROM {}", nest("(", "a cross join b", ")", 90)),
        ),
        (
            "from often",
            format!(
                "SELECT * FROM {}c",
                "((((((a cross join b)))))),".repeat(4_000)
            ),
        ),
        (
            "queries",
            format!("SELECT * FROM {}", nest("(", "SELECT 1", ")", 300)),
        ),
        (
            "derived",
            format!("SELECT * FROM {}", nest("(SELECT * FROM ", "t", ") x", 300)),
        ),
        (
            "joins",
            format!("SELECT * FROM t {}", "natural join t ".repeat(15_000)),
        ),
        (
            "unions",
            format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(100_000)),
        ),
        (
            "some unions",
            format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(60)),
        ),
        ("not", format!("SELECT {}a", "NOT ".repeat(60_000))),
        ("minus", format!("SELECT {}a", "- ".repeat(100_000))),
        (
            "cases",
            format!("SELECT {}", nest("CASE WHEN ", "a", " THEN 1 END", 3_000)),
        ),
        ("explains", format!("{}SELECT 1", "EXPLAIN ".repeat(10_000))),
        (
            "prepares",
            format!("{}SELECT 1", "PREPARE a AS ".repeat(10_000)),
        ),
        (
            "in",
            format!("SELECT 1 WHERE a IN ({}1)", "1,".repeat(100_000)),
        ),
        (
            "rows",
            format!("INSERT INTO t VALUES {}(1)", "(1,2,'x'),".repeat(20_000)),
        ),
        ("statements", "SELECT 1;".repeat(25_000)),
        (
            "arrays",
            format!("SELECT {}", nest("ARRAY[", "1", "]", 2_000)),
        ),
        ("calls", format!("SELECT {}", nest("f(", "1", ")", 20_000))),
        (
            "named calls",
            format!("SELECT {}", nest("f(a=>", "1", ")", 20_000)),
        ),
        (
            "intervals",
            format!("SELECT {}'1'", "interval ".repeat(20_000)),
        ),
        (
            "collates",
            format!("SELECT a{}", " collate b".repeat(20_000)),
        ),
        (
            "types",
            format!("SELECT 1::{}", nest("a(", "1", ")", 5_000)),
        ),
        (
            "comments",
            format!("SELECT 1 {}{}", "/*".repeat(60_000), "*/".repeat(60_000)),
        ),
        ("pluses", format!("SELECT 1 {}1", "+".repeat(200_000))),
        ("compares", format!("SELECT 1 {}1", "<-".repeat(100_000))),
        ("dashes", format!("SELECT 1 -- {}", "-".repeat(100_000))),
        (
            "flat comments",
            format!("SELECT 1 {}", "/**/ ".repeat(50_000)),
        ),
        ("dollars", format!("SELECT {}", "$a$ $b$ ".repeat(20_000))),
        ("nul", "SELECT 1\0; DROP TABLE t".to_owned()),
        ("long", format!("SELECT '{}'", "x".repeat(10 << 20))),
        ("name", format!("SELECT * FROM {}", "é".repeat(100_000))),
        (
            "replaced bytes",
            String::from_utf8_lossy(b"SELECT '\xff\xfe' FROM t").into_owned(),
        ),
        (
            "strange letters",
            "SELECT \u{feff}1 FROM \u{202e}t\u{200b} --\u{2028}x\r y".to_owned(),
        ),
        (
            "unicode names",
            "SELECT U&\"\\0061\" FROM U&'\\0061'".to_owned(),
        ),
    ]
}

#[test]
fn no_text_takes_long_or_ends_the_process() {
    for (name, text) in hostile() {
        let begun = Instant::now();
        let analysis = analyze(Dialect::Postgres, &text);
        let took = begun.elapsed();
        assert!(
            !matches!(analysis.second, Second::Differs(_)) || name == "strange letters",
            "{name}: {:?}",
            analysis.second
        );
        // Generous: without optimisation, beside other tests.
        assert!(took.as_secs() < 10, "{name}: {took:?}");
        println!(
            "{name:16} {:8.1} ms {:?} {:.60}",
            took.as_secs_f64() * 1e3,
            analysis.sureness,
            format!("{:?}", analysis.second)
        );
    }
}

#[test]
fn a_small_stack_is_enough() {
    // The smallest that a thread of the agent has.
    let thread = std::thread::Builder::new().stack_size(2 << 20);
    let thread = thread.spawn(|| {
        for (_, text) in hostile() {
            analyze(Dialect::Postgres, &text);
        }
    });
    thread.unwrap().join().unwrap();
}

#[test]
fn what_one_analysis_costs_is_printed() {
    for (name, text) in [
        (
            "short",
            "SELECT abalance FROM pgbench_accounts WHERE aid = 12345;".to_owned(),
        ),
        (
            "medium",
            "SELECT c.id, c.name, o.total, sum(l.amount) FROM customers c JOIN orders o ON \
             o.customer = c.id LEFT JOIN lines l ON l.order_id = o.id WHERE c.country = 'NL' AND \
             o.made > now() - interval '30 days' GROUP BY c.id, c.name, o.total HAVING \
             sum(l.amount) > 10 ORDER BY o.total DESC LIMIT 50"
                .to_owned(),
        ),
        (
            "in list",
            format!("SELECT * FROM t WHERE a IN ({}1)", "1000,".repeat(1_000)),
        ),
        (
            "insert",
            format!(
                "INSERT INTO t VALUES {}(1)",
                "(1, 2, 'some text'),".repeat(1_000)
            ),
        ),
    ] {
        let timed = |run: &dyn Fn()| {
            let mut best = f64::MAX;
            for _ in 0..20 {
                let begun = Instant::now();
                run();
                best = best.min(begun.elapsed().as_secs_f64() * 1e6);
            }
            best
        };
        let both = timed(&|| drop(analyze(Dialect::Postgres, &text)));
        let alone = timed(&|| drop(super::read(&text)));
        println!("{name:8} {both:9.1} µs, of these {alone:8.1} for the second parser");
    }
}
