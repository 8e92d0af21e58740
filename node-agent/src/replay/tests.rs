//! Recordings made by the real recorder, shown.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::model::{
    Carried, KernelCount, Principal, Refusal, RefusalCode, SessionId, UnixMillis, User, Workload,
};
use crate::policy::{Decision, Denial, RuleRef};
use crate::record::fixtures::{allow, began, data_row, decided, delivered, finished, head};
use crate::record::{
    Login, Note, NoteFrom, Recorder, RecorderSettings, SessionRecorder, Settle, Why, path_of,
};

pub(super) fn recorder(dir: &Path) -> Recorder {
    Recorder::open(RecorderSettings {
        settle: Settle::Never,
        ..RecorderSettings::new(dir)
    })
    .unwrap()
}

/// OSC 52, a title, bidi, carriage return, bell, NUL.
const NASTY: &str = "\x1b]52;c;aGk=\x07\x1b]0;pwned\x07a\u{202e}b\rc\0\u{9b}31m";

pub(super) fn login(subject: &str) -> Login {
    Login::Admitted {
        principal: Principal {
            workload: Workload {
                name: "claude".into(),
                labels: Default::default(),
            },
            user: User {
                issuer: "https://issuer.example".into(),
                subject: subject.into(),
                groups: vec!["ai-agents".into()],
                claims: Default::default(),
                also: Vec::new(),
                expires: UnixMillis(2_000_000_000_000),
            },
        },
        wished_role: "alice".into(),
        database: "orders".into(),
        role: "svc".into(),
        application: Some(NASTY.into()),
        tls: true,
        kept: Some(crate::record::KeptFrom {
            session: SessionId(0xabc),
            process: 4711,
        }),
        settings: Vec::new(),
        upstream: None,
    }
}

pub(super) fn denial() -> Arc<Decision> {
    Arc::new(Decision::Deny(Denial {
        rule: Some(RuleRef {
            policy: "claude-orders".into(),
            rule: "never".into(),
        }),
        refusal: Refusal::new(RefusalCode::Policy, "DROP is not allowed").hint("ask the owner"),
        fleeting: false,
    }))
}

pub(super) async fn a_session(recorder: &Recorder, id: u64, text: &str) -> SessionRecorder {
    let session = recorder.begin(began(id)).unwrap();
    session.login(login("alice"));
    let _ = session.decided(decided(1, text, allow())).await.unwrap();
    let mut rows = data_row(&[Some(b"1"), Some(NASTY.as_bytes())]);
    rows.extend(data_row(&[Some(b"22"), None]));
    session
        .delivered(delivered(1, Some(head(&["id", "name"])), rows))
        .await
        .unwrap();
    session.finished(finished(1, 2));
    let _ = session
        .decided(decided(2, "DROP TABLE t", denial()))
        .await
        .unwrap();
    let at = UnixMillis(1_700_000_000_900);
    let note = Note {
        at,
        seq: None,
        from: NoteFrom::Server,
        code: None,
        text: NASTY.into(),
        approval: None,
    };
    session.note(note).await.unwrap();
    session
}

fn played(path: &Path, style: Style) -> (Verdict, String) {
    let mut out = Vec::new();
    let verdict = play(
        path,
        &Identities::none(),
        &Options {
            style,
            ..Options::default()
        },
        &mut out,
    )
    .unwrap();
    (verdict, String::from_utf8(out).unwrap())
}

#[tokio::test]
async fn the_story_tells_what_happened() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = recorder(dir.path());
    let session = a_session(&recorder, 1, "SELECT id,\n\tname FROM t").await;
    session.close(Why::ClientQuit);
    recorder.stop();
    let (verdict, story) = played(&path_of(dir.path(), SessionId(1)), Style::Text);
    assert_eq!(verdict, Verdict::Good);
    insta::assert_snapshot!(
        story
            .lines()
            .filter(|line| !line.starts_with("closed at") && !line.starts_with("  chain"))
            .collect::<Vec<_>>()
            .join("\n"),
        @r"
        session s-0000000000000001
          began     2023-11-14 22:13:20.000 UTC
          workload  claude
          process   psql, pid 42, uid 1000
          path      10.0.0.5:50000 → 10.0.7.3:5432 (target orders, postgres)
          user      alice of https://issuer.example; groups ai-agents
          database  orders as svc (wished for alice); application \x1b]52;c;aGk=\x07\x1b]0;pwned\x07a\u{202e}b\rc\x00\u{9b}31m; TLS
                    kept from s-0000000000000abc, server process 4711

        #1  22:13:20.001  allowed
            │ SELECT id,
            │     name FROM t
            $1 = 1
             id │ name
             ───┼─────────────────────────────────────────────────────────────
              1 │ \x1b]52;c;aGk=\x07\x1b]0;pwned\x07a\u{202e}b\rc\x00\u{9b}31m
             22 │ NULL
            #1 SELECT 2 · 2 rows, 20 bytes · 1.2 ms

        #2  22:13:20.002  DENIED by claude-orders/never
            │ DROP TABLE t
            $1 = 2
            refused: DROP is not allowed
            hint: ask the owner
            note from the database: \x1b]52;c;aGk=\x07\x1b]0;pwned\x07a\u{202e}b\rc\x00\u{9b}31m

          2 statements, 1 denied, 0 held, 0 failed; 2 rows, 20 bytes

        recording: 1 block, unbroken, closed
        "
    );
}

#[tokio::test]
async fn nothing_shown_can_steer_a_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = recorder(dir.path());
    let session = a_session(&recorder, 1, NASTY).await;
    session.close(Why::Fault(NASTY.into()));
    recorder.stop();
    let path = path_of(dir.path(), SessionId(1));
    let mut shown = vec![played(&path, Style::Text).1, played(&path, Style::Json).1];
    for style in [Style::Text, Style::Json] {
        let mut out = Vec::new();
        assert_eq!(
            show(&path, &Identities::none(), style, &mut out).unwrap(),
            Verdict::Good
        );
        list(
            dir.path(),
            &Identities::none(),
            &Filter::default(),
            style,
            &mut out,
        )
        .unwrap();
        shown.push(String::from_utf8(out).unwrap());
    }
    for text in &shown {
        for line in text.split('\n') {
            assert_eq!(visible(line), line, "nothing is left to be made visible");
        }
    }
    assert!(shown[0].contains("\\x1b]52;c;aGk=\\x07"));
    // JSON says the same exactly.
    let texts: Vec<serde_json::Value> = shown[1]
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let decided = texts
        .iter()
        .find(|value| value["event"] == "decided")
        .unwrap();
    assert_eq!(decided["text"]["plain"], NASTY);
    assert_eq!(texts.last().unwrap()["end"], "closed");
}

#[tokio::test]
async fn an_open_session_is_read_up_to_its_last_block() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = recorder(dir.path());
    let session = a_session(&recorder, 1, "SELECT 1").await;
    while recorder.stats().blocks == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (verdict, story) = played(&path_of(dir.path(), SessionId(1)), Style::Text);
    assert_eq!(verdict, Verdict::Good);
    assert!(
        story.contains("unbroken so far; the session is open"),
        "{story}"
    );
    let open = Filter {
        open: true,
        ..Filter::default()
    };
    assert_eq!(
        entries(dir.path(), &Identities::none(), &open)
            .unwrap()
            .len(),
        1
    );
    session.close(Why::ClientQuit);
    recorder.stop();
    assert_eq!(
        entries(dir.path(), &Identities::none(), &open)
            .unwrap()
            .len(),
        0
    );
}

#[tokio::test]
async fn bytes_that_the_record_did_not_see_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = recorder(dir.path());
    for (id, read) in [(1, 100), (2, 90)] {
        let session = a_session(&recorder, id, "SELECT 1").await;
        let kernel = KernelCount {
            received: 100,
            sent: 50,
        };
        let carried = Carried {
            read,
            written: 50,
            kernel: Some(kernel),
        };
        session.close_with(Why::ClientQuit, Some(carried));
    }
    recorder.stop();
    let mut out = Vec::new();
    let verdict = verify(
        &all(dir.path()).unwrap(),
        &Identities::none(),
        Style::Text,
        &mut out,
    )
    .unwrap();
    assert_eq!(verdict, Verdict::Bad);
    let out = String::from_utf8(out).unwrap();
    let [one, other] = out.lines().collect::<Vec<_>>()[..] else {
        panic!("{out}")
    };
    assert!(
        one.contains("all 100 bytes from the client and 50 to it"),
        "{one}"
    );
    assert!(
        other.contains("INCOMPLETE: the kernel counted 10 bytes more from the client"),
        "{other}"
    );
}

#[tokio::test]
async fn verify_names_what_was_changed() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = recorder(dir.path());
    for id in 1..=6 {
        a_session(&recorder, id, "SELECT 1")
            .await
            .close(Why::ClientQuit);
    }
    recorder.stop();
    let path = |id| path_of(dir.path(), SessionId(id));
    let change = |id, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(path(id)).unwrap();
        change(&mut bytes);
        fs::write(path(id), bytes).unwrap();
    };
    change(2, &|bytes| bytes[200] ^= 1);
    change(3, &|bytes| bytes.truncate(bytes.len() - 1));
    change(4, &|bytes| *bytes = b"other".to_vec());
    change(6, &|bytes| bytes.truncate(5));
    fs::copy(path(1), path(5)).unwrap();
    let mut out = Vec::new();
    let verdict = verify(
        &all(dir.path()).unwrap(),
        &Identities::none(),
        Style::Text,
        &mut out,
    )
    .unwrap();
    assert_eq!(verdict, Verdict::Bad);
    let out = String::from_utf8(out).unwrap();
    let lines: Vec<_> = out.lines().collect();
    for (line, says) in lines.iter().zip([
        "unbroken, closed",
        "DAMAGED: block 0 (byte 32): its contents were changed",
        "ends without close, with",
        "this is not a recording",
        "the file was renamed",
        "nothing was recorded",
    ]) {
        assert!(line.contains(says), "{line} / {says}");
    }
    // A torn end alone is said and is not a failure, wherever it is; nor is one that was removed.
    for torn in [path(3), path(6), path(7)] {
        assert_eq!(
            verify(&[torn], &Identities::none(), Style::Json, &mut Vec::new()).unwrap(),
            Verdict::Good
        );
    }
}

#[tokio::test]
async fn the_list_is_filtered_and_sorted() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = recorder(dir.path());
    for (id, user) in [(3, "alice"), (1, "bob"), (2, "alice")] {
        let session = recorder.begin(began(id)).unwrap();
        session.login(login(user));
        if id == 2 {
            let _ = session
                .decided(decided(1, "DROP TABLE t", denial()))
                .await
                .unwrap();
        }
        session.close(Why::ClientQuit);
    }
    recorder.stop();
    let ids = |filter: Filter| -> Vec<u64> {
        entries(dir.path(), &Identities::none(), &filter)
            .unwrap()
            .iter()
            .map(|entry| entry.session.0)
            .collect()
    };
    assert_eq!(ids(Filter::default()), [1, 2, 3]);
    assert_eq!(
        ids(Filter {
            user: Some("alice".into()),
            ..Filter::default()
        }),
        [2, 3]
    );
    assert_eq!(
        ids(Filter {
            denied: true,
            ..Filter::default()
        }),
        [2]
    );
    assert_eq!(
        ids(Filter {
            target: Some("x".into()),
            ..Filter::default()
        })
        .len(),
        0
    );
    let mut out = Vec::new();
    assert_eq!(
        list(
            dir.path(),
            &Identities::none(),
            &Filter::default(),
            Style::Text,
            &mut out
        )
        .unwrap(),
        3
    );
    insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r"
    SESSION             BEGAN (UTC)          WORKLOAD  USER   TARGET  STATEMENTS  DENIED  ROWS  END
    s-0000000000000001  2023-11-14 22:13:20  claude    bob    orders           0       0     0  quit
    s-0000000000000002  2023-11-14 22:13:20  claude    alice  orders           1       1     0  quit
    s-0000000000000003  2023-11-14 22:13:20  claude    alice  orders           0       0     0  quit
    ");
}

#[tokio::test]
async fn a_recording_is_found_by_the_beginning_of_its_name() {
    let dir = tempfile::tempdir().unwrap();
    for id in [
        0xab00_0000_0000_0001_u64,
        0xab00_0000_0000_0002,
        0xcd00_0000_0000_0000,
    ] {
        fs::write(path_of(dir.path(), SessionId(id)), b"").unwrap();
    }
    let found = |name: &str| find(dir.path(), name).map(|path| find::session_of(&path).unwrap().0);
    assert_eq!(found("s-cd").unwrap(), 0xcd00_0000_0000_0000);
    assert_eq!(found("CD").unwrap(), 0xcd00_0000_0000_0000);
    assert_eq!(found("s-ab00000000000002").unwrap(), 0xab00_0000_0000_0002);
    assert!(matches!(found("ab"), Err(ReplayError::Ambiguous { .. })));
    assert!(matches!(found("ef"), Err(ReplayError::NotFound(_))));
    for name in [
        "",
        "s-",
        "../../etc/passwd",
        "s-cd/../x",
        "s-ab000000000000021",
    ] {
        assert!(
            matches!(found(name), Err(ReplayError::NotAName(_))),
            "{name}"
        );
    }
}

#[test]
fn played_at_speed_the_pauses_are_kept_in_proportion() {
    let mut pace = Pace {
        speed: Some(1000.0),
        last: None,
    };
    let begun = std::time::Instant::now();
    assert!(!pace.wait(Some(UnixMillis(0))));
    assert!(pace.wait(Some(UnixMillis(20_000))));
    assert!(begun.elapsed() >= Duration::from_millis(20));
    assert!(
        !pace.wait(Some(UnixMillis(10_000))),
        "a clock that went back costs nothing"
    );
    assert!(!pace.wait(None));
}

#[tokio::test]
async fn an_open_session_is_told_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = recorder(dir.path());
    let session = a_session(&recorder, 1, "SELECT 1").await;
    while recorder.stats().blocks == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let path = path_of(dir.path(), SessionId(1));
    let told = std::thread::spawn(move || {
        let mut out = Vec::new();
        let options = Options {
            follow: true,
            ..Options::default()
        };
        let verdict = play(&path, &Identities::none(), &options, &mut out).unwrap();
        (verdict, String::from_utf8(out).unwrap())
    });
    let _ = session
        .decided(decided(3, "SELECT 'later'", allow()))
        .await
        .unwrap();
    session.close(Why::ClientQuit);
    recorder.stop();
    let (verdict, told) = told.join().unwrap();
    assert_eq!(verdict, Verdict::Good);
    assert!(
        told.contains("SELECT 'later'") && told.contains("unbroken, closed"),
        "{told}"
    );
}

#[tokio::test]
async fn a_sealed_recording_is_read_from_any_mark_and_leaves_nothing_in_the_index() {
    let identity = crate::record::Identity::make().unwrap();
    let to = crate::config::SealTo::Key(identity.recipient());
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(RecorderSettings {
        recipients: crate::record::Recipients::read(&[to]).unwrap(),
        block_interval: Duration::from_millis(5),
        settle: Settle::Never,
        ..RecorderSettings::new(dir.path())
    })
    .unwrap();
    let session = recorder.begin(began(1)).unwrap();
    for seq in 1..=8 {
        let blocks = recorder.stats().blocks;
        let one = decided(seq, &format!("SELECT 'marker_{seq}'"), allow());
        let _ = session.decided(one).await.unwrap();
        while recorder.stats().blocks == blocks {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    session.close(Why::ClientQuit);
    recorder.stop();
    let identities = Identities::of([identity]);
    let path = all(dir.path()).unwrap().remove(0);
    let told = |recording: &mut Recording| {
        let mut told = Vec::new();
        while let Said::Event(event) = recording.next().unwrap() {
            told.push(serde_json::to_string(&*event).unwrap());
        }
        assert_eq!(recording.state().verdict(), Verdict::Good);
        assert_eq!(recording.state().progress.sealed, 0);
        told
    };
    let whole = told(&mut Recording::open(&path, &identities).unwrap());
    // Another reader goes to each place between two blocks, forward and back.
    let mut ahead = Recording::open(&path, &identities).unwrap();
    let mut marks = vec![ahead.mark().unwrap()];
    while let Said::Event(_) = ahead.next().unwrap() {
        marks.extend(ahead.mark());
    }
    assert!(marks.len() > 8, "{}", marks.len());
    let mut behind = Recording::open(&path, &identities).unwrap();
    for mark in marks.iter().rev().chain(&marks) {
        behind.go(mark).unwrap();
        assert_eq!(told(&mut behind), whole[mark.events() as usize..]);
    }
    // Without a key it is an error that says what to do, and a verification all the same.
    let mut closed = Recording::open(&path, &Identities::none()).unwrap();
    let said = closed.next().unwrap_err().to_string();
    assert!(said.contains("--identity FILE"), "{said}");
    let report = Report::of(&path, &Identities::none()).unwrap();
    assert_eq!(report.verdict(), Verdict::Good);
    for identities in [&identities, &Identities::none()] {
        let found = catalogue(
            dir.path(),
            identities,
            &Filter::default(),
            Trust::Unchanged,
            &|_, _| {},
        )
        .unwrap();
        assert_eq!((found.coverage.known, found.coverage.read), (0, 1));
        let (_, entry) = &found.entries[0];
        assert_eq!((entry.totals.statements, entry.sealed_to.len()), (8, 1));
        assert_eq!(entry.unopened, identities.is_empty());
        // What is asked of what nobody could read is answered by showing it.
        let asked = Filter {
            user: Some("nobody".into()),
            ..Filter::default()
        };
        assert_eq!(asked.session(entry), identities.is_empty());
        let denied = Filter {
            denied: true,
            ..Filter::default()
        };
        assert!(!denied.session(entry));
    }
    for entry in fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap_or_default();
        assert!(memchr::memmem::find(&bytes, b"marker_").is_none());
        assert!(memchr::memmem::find(&bytes, b"s-0000000000000001").is_none());
    }
}
