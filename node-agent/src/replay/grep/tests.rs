//! What is in a recording is found, wherever it stands, and nothing that was changed is shown.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::model::{ColumnHead, ColumnOrigin, Format, ResultHead};
use crate::record::fixtures::{allow, began, data_row, decided, delivered, finished, head};
use crate::record::{
    Finished, Note, NoteFrom, RecordedCell, RecordedText, Recorder, SessionRecorder, Why, path_of,
};
use crate::replay::tests::{denial, login, recorder};
use crate::replay::{Style, TablePattern, all};
use crate::sql::{Analysis, Purpose, RelationName, RelationUse, StatementFacts, Touch};

fn table(schema: &str, name: &str, touch: Touch) -> Arc<Analysis> {
    let relation = RelationName {
        schema: Some(schema.into()),
        name: name.into(),
    };
    let facts = StatementFacts {
        relations: vec![RelationUse { relation, touch }],
        ..StatementFacts::default()
    };
    Arc::new(Analysis {
        statements: vec![facts],
        ..Analysis::default()
    })
}

/// Each word stands in one place of one session.
async fn session(recorder: &Recorder, id: u64) -> SessionRecorder {
    let session = recorder.begin(began(id)).unwrap();
    session.login(login("alice"));
    let mut first = decided(
        1,
        "SELECT 'quoted \"text\"\nnew line' FROM customers",
        allow(),
    );
    first.analysis = table("sales", "customers", Touch::Read);
    first.params = vec![
        RecordedCell::Text("parameter-word".into()),
        RecordedCell::Null,
    ];
    first.purpose = Some(Arc::new(Purpose {
        ticket: Some("OPS-77".into()),
        ..Purpose::default()
    }));
    let analysis = Arc::clone(&first.analysis);
    let decision = Arc::clone(&first.decision);
    let _ = session.decided(first).await.unwrap();
    let rows = [
        data_row(&[Some(b"1"), Some("Adaé".as_bytes())]),
        data_row(&[Some(b"2"), Some(b"Ada2")]),
    ];
    let first_head = head(&["id", "name"]);
    session
        .delivered(delivered(1, Some(Arc::clone(&first_head)), rows.concat()))
        .await
        .unwrap();
    session
        .delivered(delivered(
            1,
            Some(first_head),
            data_row(&[None, Some(b"Ada3")]),
        ))
        .await
        .unwrap();
    session.finished(finished(1, 3));
    // The same again, and one alike.
    for seq in 2..=3 {
        let mut again = decided(
            seq,
            "SELECT 'quoted \"text\"\nnew line' FROM customers",
            Arc::clone(&decision),
        );
        again.analysis = Arc::clone(&analysis);
        again.params = Vec::new();
        if seq == 3 {
            again.text = RecordedText::Plain("SELECT like-word FROM customers".into());
        }
        let _ = session.decided(again).await.unwrap();
        session.finished(finished(seq, 0));
    }
    let _ = session
        .decided(decided(4, "DROP TABLE t", denial()))
        .await
        .unwrap();
    let _ = session
        .decided(decided(5, "SELECT 5", allow()))
        .await
        .unwrap();
    let binary = Arc::new(ResultHead {
        columns: [(25, "text"), (23, "number")]
            .map(|(type_id, name)| ColumnHead {
                name: name.into(),
                origin: ColumnOrigin::Unknown,
                type_id,
                format: Format::Binary,
            })
            .into(),
    });
    let row = data_row(&[Some(b"binary-word"), Some(&[0, 0, 0x30, 0x39])]);
    session
        .delivered(delivered(5, Some(binary), row))
        .await
        .unwrap();
    session.finished(Finished {
        error: Some(("42P01".into(), "error-word \u{1b}[31m".into())),
        ..finished(5, 1)
    });
    let note = Note {
        at: UnixMillis(1_700_000_000_900),
        seq: Some(StatementSeq(5)),
        from: NoteFrom::Server,
        code: None,
        text: "notice-word".into(),
        approval: None,
    };
    session.note(note).await.unwrap();
    session
}

fn ask(pattern: &str) -> Question {
    Question {
        pattern: Pattern::new(pattern, Syntax::Literal, Case::Counts).unwrap(),
        places: Vec::new(),
        filter: Filter::default(),
    }
}

fn found(dir: &Path, question: &Question) -> Vec<String> {
    let mut lines = Vec::new();
    grep(
        &all(dir).unwrap(),
        &Identities::none(),
        question,
        Within::All,
        &mut |found| {
            lines.push(match found {
                Found::Hit(hit) => format!(
                    "{}#{} {} {}{}",
                    hit.who.session.0,
                    hit.seq,
                    hit.place.word(),
                    hit.excerpt.found,
                    if hit.more > 0 {
                        format!("+{}", hit.more)
                    } else {
                        String::new()
                    }
                ),
                Found::Unsearched(sentence) => sentence,
            });
            Ok(ControlFlow::Continue(()))
        },
    )
    .unwrap();
    lines
}

#[tokio::test]
async fn a_word_is_found_wherever_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = recorder(dir.path());
    session(&recorder, 1).await.close(Why::ClientQuit);
    recorder.stop();
    for (word, want) in [
        (
            "quoted \"text\"\nnew",
            vec![
                "1#1 statement quoted \"text\"\nnew",
                "1#2 statement quoted \"text\"\nnew",
            ],
        ),
        ("parameter-word", vec!["1#1 parameter parameter-word"]),
        (
            "sales.cust",
            vec![
                "1#1 table sales.cust",
                "1#2 table sales.cust",
                "1#3 table sales.cust",
            ],
        ),
        ("OPS-77", vec!["1#1 reason OPS-77"]),
        ("Ada", vec!["1#1 value Ada+1"]),
        ("Adaé", vec!["1#1 value Adaé"]),
        ("like-word", vec!["1#3 statement like-word"]),
        ("DROP is not", vec!["1#4 refusal DROP is not"]),
        ("binary-word", vec!["1#5 value binary-word"]),
        ("12345", vec!["1#5 value 12345"]),
        ("error-word", vec!["1#5 error error-word"]),
        ("42P01", vec!["1#5 error 42P01"]),
        ("notice-word", vec!["1#5 notice notice-word"]),
        ("\"event\"", vec![]),
        ("decided", vec![]),
        ("plain", vec![]),
    ] {
        assert_eq!(found(dir.path(), &ask(word)), want, "{word}");
    }
}

#[tokio::test]
async fn what_is_asked_for_can_be_narrowed() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = recorder(dir.path());
    for id in 1..=3 {
        session(&recorder, id).await.close(Why::ClientQuit);
    }
    recorder.stop();
    let count = |question: Question| found(dir.path(), &question).len();
    let customers = || ask("customers");
    assert_eq!(count(customers()), 18);
    assert_eq!(
        count(Question {
            places: vec![Place::Tables],
            ..customers()
        }),
        9
    );
    assert_eq!(
        count(Question {
            places: vec![Place::Values],
            ..customers()
        }),
        0
    );
    let deny = Filter {
        decision: Some(Ruling::Deny),
        ..Filter::default()
    };
    assert_eq!(
        count(Question {
            filter: deny.clone(),
            ..customers()
        }),
        0
    );
    assert_eq!(
        count(Question {
            filter: deny,
            ..ask("DROP")
        }),
        6,
        "text and refusal"
    );
    let sales = Filter {
        table: Some(TablePattern("sales.*".into())),
        ..Filter::default()
    };
    assert_eq!(
        count(Question {
            filter: sales.clone(),
            ..ask("Ada")
        }),
        3
    );
    assert_eq!(
        count(Question {
            filter: sales,
            ..ask("binary-word")
        }),
        0
    );
    let later = Filter {
        since: Some(UnixMillis(1_700_000_000_003)),
        ..Filter::default()
    };
    assert_eq!(
        count(Question {
            filter: later,
            ..customers()
        }),
        6,
        "#3 alone"
    );
    let regex = Pattern::new("^(?i)drop\\s+table", Syntax::Regex, Case::Counts).unwrap();
    assert_eq!(
        count(Question {
            pattern: regex,
            ..ask("")
        }),
        3
    );
    let ignored = Pattern::new("ADAÉ", Syntax::Literal, Case::Ignored).unwrap();
    assert_eq!(
        count(Question {
            pattern: ignored,
            ..ask("")
        }),
        3
    );
}

#[tokio::test]
async fn nothing_that_was_changed_is_shown_and_what_is_not_searched_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = recorder(dir.path());
    for id in 1..=3 {
        session(&recorder, id).await.close(Why::ClientQuit);
    }
    recorder.stop();
    let path = path_of(dir.path(), SessionId(2));
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    fs::write(path_of(dir.path(), SessionId(4)), b"not a recording").unwrap();
    let lines = found(dir.path(), &ask("OPS-77"));
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert_eq!(
        [&lines[0], &lines[2]],
        ["1#1 reason OPS-77", "3#1 reason OPS-77"]
    );
    assert!(
        lines[1].contains("s-0000000000000002: DAMAGED"),
        "{lines:?}"
    );
    assert!(lines[3].contains("not a recording"), "{lines:?}");
}

#[tokio::test]
async fn hits_come_in_order_and_the_end_may_come_early() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = recorder(dir.path());
    for id in 1..=40 {
        let session = recorder.begin(began(id)).unwrap();
        let decision = allow();
        for seq in 1..=200 {
            let _ = session
                .decided(decided(seq, "SELECT needle", Arc::clone(&decision)))
                .await
                .unwrap();
        }
        session.close(Why::ClientQuit);
    }
    recorder.stop();
    let paths = all(dir.path()).unwrap();
    let told = |telling, limit| {
        let mut out = Vec::new();
        let searched = tell(
            &paths,
            &Identities::none(),
            &ask("needle"),
            (telling, limit),
            (Style::Text, Colour::Never),
            &mut out,
        )
        .unwrap();
        assert_eq!(searched.unsearched, Vec::<String>::new());
        (searched.found, String::from_utf8(out).unwrap())
    };
    let (count, lines) = told(Telling::Hits, None);
    assert_eq!((count, lines.lines().count()), (8000, 8000));
    let order: Vec<_> = lines
        .lines()
        .map(|line| line.split("  ").next().unwrap())
        .collect();
    assert_eq!(order[0], "s-0000000000000001#1");
    assert_eq!(order[7999], "s-0000000000000028#200");
    assert!(
        order
            .chunks(200)
            .all(|one| one.iter().all(|hit| hit[..18] == one[0][..18]))
    );
    let (_, lines) = told(Telling::Hits, Some(250));
    assert_eq!(lines.lines().count(), 250);
    assert!(
        lines
            .lines()
            .last()
            .unwrap()
            .starts_with("s-0000000000000002#50 ")
    );
    let (count, lines) = told(Telling::Sessions, None);
    assert_eq!((count, lines.lines().count()), (40, 40));
    let (_, lines) = told(Telling::Counts, None);
    assert_eq!(lines.lines().last().unwrap(), "s-0000000000000028: 200");
    assert_eq!(lines.lines().count(), 40);
    assert_eq!(
        told(Telling::Counts, Some(2)).1,
        "s-0000000000000001: 200\ns-0000000000000002: 200\n"
    );
    assert_eq!(told(Telling::Hits, Some(0)).1, "");
}

#[tokio::test]
async fn a_line_is_shown_so_that_nothing_in_it_acts() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = recorder(dir.path());
    session(&recorder, 1).await.close(Why::ClientQuit);
    recorder.stop();
    let told = |word: &str, style, colour| {
        let mut out = Vec::new();
        tell(
            &all(dir.path()).unwrap(),
            &Identities::none(),
            &ask(word),
            (Telling::Hits, None),
            (style, colour),
            &mut out,
        )
        .unwrap();
        String::from_utf8(out).unwrap()
    };
    insta::assert_snapshot!(told("Ada", Style::Text, Colour::Never) + &told("new", Style::Text, Colour::Never) + &told("error-word", Style::Text, Colour::Never), @r#"
    s-0000000000000001#1  2023-11-14 22:13:20.001 UTC  claude/alice  allow  value name: Adaé (+1)  in  SELECT 'quoted "text" new line' FROM customers
    s-0000000000000001#1  2023-11-14 22:13:20.001 UTC  claude/alice  allow  SELECT 'quoted "text"\nnew line' FROM customers
    s-0000000000000001#2  2023-11-14 22:13:20.002 UTC  claude/alice  allow  SELECT 'quoted "text"\nnew line' FROM customers
    s-0000000000000001#5  2023-11-14 22:13:20.005 UTC  claude/alice  allow  error: error-word \x1b[31m  in  SELECT 5
    "#);
    let coloured = told("error-word", Style::Text, Colour::Always);
    assert!(
        coloured.contains("\u{1b}[1;31merror-word\u{1b}[m \\x1b[31m"),
        "{coloured:?}"
    );
    let json = told("error-word", Style::Json, Colour::Never);
    let hit: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&hit["in"], &hit["found"]),
        (&"error".into(), &"error-word".into())
    );
    assert_eq!(hit["after"], " \u{1b}[31m");
    assert!(!json.trim_end().contains(char::is_control));
}

#[tokio::test]
async fn a_refused_login_is_found_and_is_no_statement() {
    use crate::model::{Refusal, RefusalCode};
    let dir = tempfile::tempdir().unwrap();
    let recorder = recorder(dir.path());
    let session = recorder.begin(began(1)).unwrap();
    session.login(crate::record::Login::Refused(Refusal::new(
        RefusalCode::Identity,
        "no token here",
    )));
    session.close(Why::LoginRefused);
    recorder.stop();
    assert_eq!(
        found(dir.path(), &ask("no token")),
        ["1#0 refusal no token"]
    );
    let of_a_rule = Filter {
        rule: Some(crate::replay::RulePattern("x".into())),
        ..Filter::default()
    };
    assert!(
        found(
            dir.path(),
            &Question {
                filter: of_a_rule,
                ..ask("no token")
            }
        )
        .is_empty()
    );
}
