//! Fuzz bodies.

use super::{Analysis, Purpose, Second, StatementKind, Sureness, analyze};
use crate::model::Dialect;

/// Any bytes: no panic, spans inside the text, a kind for every statement, the same answer twice.
pub fn fuzz_analyze(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        holds(text);
    }
}

/// Bytes that choose words: texts that parsers get further into, and the second one too.
pub fn fuzz_analyze_words(data: &[u8]) {
    let mut text = String::new();
    for byte in data.iter().take(200) {
        let word = WORDS.get(usize::from(*byte) % WORDS.len());
        text.push_str(word.copied().unwrap_or_default());
        text.push(' ');
    }
    holds(&text);
}

/// Bytes that change a few words of a statement: most of these still are one.
pub fn fuzz_analyze_changed(data: &[u8]) {
    let Some((base, changes)) = data.split_first() else {
        return;
    };
    let base = STATEMENTS.get(usize::from(*base) % STATEMENTS.len());
    let mut words: Vec<&str> = base.copied().unwrap_or_default().split(' ').collect();
    for change in changes.chunks_exact(3).take(4) {
        let [how, at, word] = change else { continue };
        let word = WORDS.get(usize::from(*word) % WORDS.len());
        let word = word.copied().unwrap_or_default();
        let at = usize::from(*at) % words.len().max(1);
        match how % 4 {
            0 => words.insert(at, word),
            1 if words.len() > 1 => drop(words.remove(at)),
            2 => words.extend([";", word]),
            _ => {
                if let Some(old) = words.get_mut(at) {
                    *old = word;
                }
            }
        }
    }
    holds(&words.join(" "));
}

/// Any text, as a statement, a comment and a name: what is said of a purpose is short and plain.
pub fn fuzz_purpose(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let said = |purpose: &Purpose| {
        for word in [&purpose.reason, &purpose.ticket, &purpose.traceparent] {
            let word = word.as_deref().unwrap_or("x");
            assert!(!word.trim().is_empty() && word.chars().count() <= 200);
            assert!(!word.chars().any(char::is_control));
        }
    };
    for text in [
        text.to_owned(),
        format!("select 1 /*{text}*/"),
        format!("select a from t where b = 1 /*ticket='{text}',reason='{text}'*/"),
    ] {
        said(&Purpose::of_text(&text));
    }
    said(&Purpose::of_application(text));
}

/// What holds for the analysis of any text.
fn holds(text: &str) -> Analysis {
    let analysis = analyze(Dialect::Postgres, text);
    for statement in &analysis.statements {
        assert!(statement.span.start <= statement.span.end && statement.span.end <= text.len());
        assert!(!statement.kinds.is_empty());
        let opaque = statement.kinds.contains(&StatementKind::Opaque);
        assert!(!opaque || analysis.sureness != Sureness::Complete);
    }
    // The second parser is asked about what the first understood, and about nothing else.
    let asked = analysis.second != Second::Unasked;
    assert_eq!(asked, analysis.sureness == Sureness::Complete);
    if let Second::Differs(differing) = &analysis.second {
        assert!(!differing.about.is_empty() && !differing.what.is_empty());
    }
    assert_eq!(analysis, analyze(Dialect::Postgres, text));
    super::lineage::holds(text);
    analysis
}

const STATEMENTS: &[&str] = &[
    "SELECT a , b FROM t AS x WHERE c = 1 ORDER BY a LIMIT 1",
    "SELECT * FROM t , u AS y JOIN s.v USING ( a ) WHERE a IN ( SELECT b FROM w )",
    "WITH x AS ( SELECT * FROM y ) SELECT * FROM x JOIN z ON x . a = z . a",
    "WITH RECURSIVE x AS ( SELECT 1 UNION ALL SELECT a FROM x ) SELECT * FROM x",
    "WITH d AS ( DELETE FROM t WHERE a = 1 RETURNING * ) INSERT INTO u SELECT * FROM d",
    "INSERT INTO t AS x ( a , b ) VALUES ( 1 , 'x' ) ON CONFLICT ( a ) DO UPDATE SET b = 2 RETURNING a",
    "UPDATE t AS x SET a = 1 , b = ( SELECT c FROM u ) FROM v WHERE x . a = v . a RETURNING *",
    "DELETE FROM t AS x USING u WHERE x . a = u . a RETURNING x . b",
    "MERGE INTO t USING u ON t . a = u . a WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES ( 1 )",
    "SELECT count ( * ) FILTER ( WHERE a ) OVER ( PARTITION BY b ORDER BY c ) FROM t",
    "SELECT CASE WHEN a THEN b ELSE ( SELECT c FROM u ) END , CAST ( d AS int ) FROM t",
    "SELECT * FROM ( SELECT * FROM t ) AS x LEFT JOIN LATERAL f ( 1 ) AS y ON true",
    "SELECT a FROM t UNION SELECT b FROM u EXCEPT ( SELECT c FROM v )",
    "SELECT DISTINCT ON ( a ) a FROM t GROUP BY a , b HAVING c FOR UPDATE OF t",
    "EXPLAIN ( ANALYZE off , COSTS ) UPDATE t SET a = 1",
    "EXPLAIN ANALYZE DELETE FROM t",
    "PREPARE p AS SELECT * FROM t WHERE a = $1",
    "DECLARE c CURSOR FOR SELECT * FROM t",
    "COPY t ( a , b ) TO STDOUT",
    "COPY ( SELECT * FROM t ) TO PROGRAM 'x'",
    "CREATE TABLE t ( a int DEFAULT 1 , b text REFERENCES u )",
    "CREATE TEMP TABLE t AS SELECT * FROM u",
    "CREATE VIEW v AS SELECT * FROM t",
    "CREATE INDEX i ON t ( a , f ( b ) ) WHERE c",
    "ALTER TABLE t ADD COLUMN a int",
    "DROP TABLE t , u CASCADE",
    "TRUNCATE t , u CASCADE",
    "BEGIN ; SELECT 1 ; COMMIT",
    "SET search_path TO a , b",
    "VALUES ( 1 , ( SELECT a FROM t ) )",
];

#[rustfmt::skip]
const WORDS: &[&str] = &[
    "SELECT", "SELECT", "FROM", "FROM", "WHERE", "t", "u", "s.v", "a", "b", "c", "1", "'x'", "*",
    ",", ",", "(", ")", "(", ")", ";", "=", "<", "+", "||", "::", ".", "AND", "OR", "NOT", "IN",
    "EXISTS", "LIKE", "ESCAPE", "BETWEEN", "IS", "NULL", "CASE", "WHEN", "THEN", "ELSE", "END",
    "WITH", "RECURSIVE", "AS", "INSERT", "INTO", "VALUES", "UPDATE", "SET", "DELETE", "USING",
    "RETURNING", "ON", "CONFLICT", "DO", "NOTHING", "MERGE", "MATCHED", "JOIN", "LEFT", "NATURAL",
    "CROSS", "LATERAL", "ONLY", "TABLE", "UNION", "ALL", "EXCEPT", "ORDER", "BY", "GROUP",
    "HAVING", "LIMIT", "OFFSET", "FETCH", "FIRST", "ROWS", "FOR", "OF", "SHARE", "DISTINCT",
    "WINDOW", "OVER", "PARTITION", "FILTER", "ARRAY", "[", "]", "ROW", "INTERVAL", "CAST", "int",
    "text", "EXPLAIN", "ANALYZE", "PREPARE", "EXECUTE", "DECLARE", "CURSOR", "COPY", "TO", "STDIN",
    "STDOUT", "PROGRAM", "TRUNCATE", "DROP", "CREATE", "TEMP", "VIEW", "INDEX", "ALTER", "ADD",
    "COLUMN", "DEFAULT", "REFERENCES", "INHERITS", "LOCK", "GRANT", "BEGIN", "COMMIT", "f(",
    "pg_sleep(1)", "$1", "E'\\''", "$$x$$", "U&'x'", "\"A\"", "/* x */", "-- x\n", "x'1F'", "N'x'",
    "interval", "date", "current_date", "TABLESAMPLE", "ORDINALITY", "COLLATE", "AT", "TIME",
    "ZONE", "ANY", "SOME", "VARIADIC", "=>", ":=", "->", "->>", "@>", "?", "#", "~", "!", "%",
    "QUALIFY", "TOP", "FINAL", "PIVOT", "SAMPLE", "SETTINGS", "FORMAT", "GLOBAL", "ASOF", "PRIOR",
    "CONNECT", "START", "LAMBDA", "MAP", "STRUCT", "RLIKE", "REGEXP", "DIV", "XOR", "EXCLUDE",
    "REPLACE", "RENAME", "IGNORE", "OVERWRITE", "PARTITIONS", "USE", "SHOW", "KILL", "LOAD",
];
