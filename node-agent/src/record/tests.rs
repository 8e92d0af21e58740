//! The record as a whole: sessions, one writer, files, faults.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::codec::Encoder;
use super::frames::tests::data_row;
use super::shelf::{Shelf, Volume};
use super::*;
use crate::clock;
use crate::config::SealTo;
use crate::mask::{MaskPlan, MaskedRows};
use crate::model::{
    CgroupId, ClientAddr, ColumnHead, ColumnOrigin, Dialect, Format, NetnsCookie, OriginalDst, Pid,
    ProcessFacts, ResultHead, Secret, SessionId, StatementSeq, TargetName, UnixMillis, Workload,
};
use crate::policy::{Allow, Decision, Obligations};
use crate::sql::{Analysis, Purpose};

pub(crate) fn began(session: u64) -> Began {
    Began {
        session: SessionId(session),
        at: UnixMillis(1_700_000_000_000),
        workload: Workload {
            name: "claude".into(),
            labels: BTreeMap::new(),
        },
        process: ProcessFacts {
            pid: Pid(42),
            uid: 1000,
            comm: "psql".into(),
            cgroup: CgroupId(7),
            netns: NetnsCookie(1),
            executable: None,
            digest: None,
        },
        client: ClientAddr("10.0.0.5:50000".parse().unwrap()),
        destination: OriginalDst("10.0.7.3:5432".parse().unwrap()),
        target: TargetName("orders".into()),
        dialect: Dialect::Postgres,
    }
}

pub(crate) fn allow() -> Arc<Decision> {
    Arc::new(Decision::Allow(Allow {
        rules: Vec::new(),
        obligations: Arc::new(Obligations::default()),
        observed: None,
        watched: None,
        fleeting: false,
    }))
}

pub(crate) fn decided(seq: u64, text: &str, decision: Arc<Decision>) -> Decided {
    Decided {
        seq: StatementSeq(seq),
        at: UnixMillis(1_700_000_000_000 + seq as i64),
        text: RecordedText::from(text, false, true, &TextKey::new(&Secret::new([7; 32]))),
        params: vec![RecordedCell::Text(seq.to_string())],
        purpose: None,
        analysis: Arc::new(Analysis::default()),
        decision,
        policy_version: "v1".into(),
        basis: Basis::default(),
    }
}

pub(crate) fn finished(seq: u64, rows: u64) -> Finished {
    Finished {
        seq: StatementSeq(seq),
        at: UnixMillis(1_700_000_000_500),
        micros: 1234,
        tags: vec![format!("SELECT {rows}")],
        rows,
        bytes: 10 * rows,
        error: None,
        masked: Vec::new(),
        found: Vec::new(),
        changed: None,
        observed: Vec::new(),
        end: End::Done,
    }
}

pub(crate) fn head(names: &[&str]) -> Arc<ResultHead> {
    let columns = names
        .iter()
        .map(|name| ColumnHead {
            name: (*name).into(),
            origin: ColumnOrigin::Unknown,
            type_id: 25,
            format: Format::Text,
        })
        .collect();
    Arc::new(ResultHead { columns })
}

pub(crate) fn delivered(seq: u64, head: Option<Arc<ResultHead>>, rows: Vec<u8>) -> Delivered {
    let rows = MaskedRows::pass(&MaskPlan::default(), Bytes::from(rows)).unwrap();
    Delivered {
        seq: StatementSeq(seq),
        head,
        rows,
    }
}

/// Everything in a file, and how it ends.
pub(crate) fn read(path: &Path) -> (Vec<Event>, Result<Ending, BlockError>) {
    read_with(path, Identities::none())
}

/// The same, with what opens it.
pub(crate) fn read_with(
    path: &Path,
    identities: Identities,
) -> (Vec<Event>, Result<Ending, BlockError>) {
    let mut events = Vec::new();
    let mut decoder = Decoder::default();
    let bytes = fs::read(path).unwrap();
    let mut blocks = match Blocks::open(&bytes[..], identities) {
        Ok(blocks) => blocks,
        Err(error) => return (events, Err(error)),
    };
    loop {
        match blocks.next() {
            Ok(Step::Block(_, lines)) => events.extend(
                lines
                    .split(|b| *b == b'\n')
                    .filter(|l| !l.is_empty())
                    .map(|l| decoder.read(l)),
            ),
            Ok(Step::Sealed(head, _)) => panic!("block {} is sealed", head.number),
            Ok(Step::End(ending)) => return (events, Ok(ending)),
            Err(error) => return (events, Err(error)),
        }
    }
}

pub(crate) fn settings(dir: &Path) -> RecorderSettings {
    RecorderSettings {
        block_interval: Duration::from_millis(10),
        settle: Settle::Never,
        ..RecorderSettings::new(dir)
    }
}

fn json(events: &[Event]) -> Vec<String> {
    events
        .iter()
        .map(|event| serde_json::to_string(event).unwrap())
        .collect()
}

#[tokio::test]
async fn a_session_reads_back_as_it_happened() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(settings(dir.path())).unwrap();
    let session = recorder.begin(began(1)).unwrap();
    session.login(Login::Refused(Refusal::new(
        RefusalCode::Identity,
        "no token",
    )));
    let decision = allow();
    let columns = head(&["a", "b"]);
    for seq in 1..=600 {
        // Every third text is a new one: more than the window of repeated statements holds.
        let text = if seq % 3 == 0 {
            format!("SELECT {seq}")
        } else {
            "SELECT $1".to_owned()
        };
        let receipt = session
            .decided(decided(seq, &text, Arc::clone(&decision)))
            .await
            .unwrap();
        assert_eq!(
            receipt.reference().to_string(),
            format!("s-0000000000000001#{seq}")
        );
        let row = data_row(&[Some(b"x"), None]);
        session
            .delivered(delivered(seq, Some(Arc::clone(&columns)), row))
            .await
            .unwrap();
        session.finished(finished(seq, 1));
    }
    session.close(Why::ClientQuit);
    session.close(Why::Killed); // the first reason stays
    drop(session);
    recorder.stop();

    let path = path_of(dir.path(), SessionId(1));
    let (events, ending) = read(&path);
    assert_eq!(ending.unwrap(), Ending::Closed);
    assert_eq!(events.len(), 2 + 3 * 600 + 1);
    let lines = json(&events);
    for seq in 1..=600_u64 {
        let at = 2 + 3 * (seq as usize - 1);
        let text = if seq % 3 == 0 {
            format!("SELECT {seq}")
        } else {
            "SELECT $1".to_owned()
        };
        let whole = Event::Decided(Box::new(decided(seq, &text, Arc::clone(&decision))));
        assert_eq!(lines[at], serde_json::to_string(&whole).unwrap());
        let Event::Rows(rows) = &events[at + 1] else {
            panic!("{:?}", events[at + 1])
        };
        assert_eq!(rows.head.as_ref(), Some(&columns));
        assert_eq!(
            rows.rows,
            [vec![RecordedCell::Text("x".into()), RecordedCell::Null]]
        );
        assert!(matches!(&events[at + 2], Event::Finished(f) if f.seq == StatementSeq(seq)));
    }
    let Some(Event::Closed(closed)) = events.last() else {
        panic!("no close")
    };
    assert_eq!(closed.why, Why::ClientQuit);
    assert_eq!((closed.totals.statements, closed.totals.rows), (600, 600));
    // Repetition is cheap: the whole of it is a few bytes a statement.
    assert!(fs::metadata(&path).unwrap().len() < 40_000);
}

#[tokio::test]
async fn an_error_s_words_are_cut_before_they_are_queued() {
    let mut failed = finished(1, 0);
    failed.error = Some(("P0001".to_owned(), "é".repeat(10 << 20)));
    writer::bound(&mut failed);
    let (_, message) = failed.error.as_ref().unwrap();
    assert!(message.capacity() < 70_000, "{}", message.capacity());
    assert!(message.ends_with("… (20971520 bytes in all)"));
    // And so it comes out, once.
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(settings(dir.path())).unwrap();
    let session = recorder.begin(began(1)).unwrap();
    session.finished(Finished {
        error: Some(("P0001".to_owned(), "é".repeat(10 << 20))),
        ..finished(1, 0)
    });
    session.close(Why::ClientQuit);
    recorder.stop();
    let (events, _) = read(&path_of(dir.path(), SessionId(1)));
    let same = |event: &Event| matches!(event, Event::Finished(one) if one.error == failed.error);
    assert!(events.iter().any(same));
}

#[tokio::test]
async fn rows_beyond_the_cap_are_counted_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let cap = RecorderSettings {
        rows_cap_bytes: 1000,
        ..settings(dir.path())
    };
    let recorder = Recorder::open(cap).unwrap();
    let session = recorder.begin(began(1)).unwrap();
    let _ = session
        .decided(decided(1, "SELECT", allow()))
        .await
        .unwrap();
    let row = data_row(&[Some(&[b'x'; 93])]);
    assert_eq!(row.len(), 104);
    session
        .delivered(delivered(1, Some(head(&["a"])), Vec::new()))
        .await
        .unwrap();
    for _ in 0..100 {
        session
            .delivered(delivered(1, None, row.clone()))
            .await
            .unwrap();
    }
    session.finished(finished(1, 100));
    drop(session);
    recorder.stop();
    let (events, _) = read(&path_of(dir.path(), SessionId(1)));
    let rows: Vec<_> = events
        .iter()
        .filter_map(|event| {
            if let Event::Rows(rows) = event {
                Some(rows)
            } else {
                None
            }
        })
        .collect();
    let cells: Vec<_> = rows
        .iter()
        .flat_map(|rows| rows.rows.iter().flatten())
        .collect();
    assert_eq!(cells.len(), 10);
    assert_eq!(
        cells.last(),
        Some(&&RecordedCell::Begins {
            text: "x".repeat(1000 - 9 * 104 - 11),
            length: 93,
        }),
        "the cap fell into it"
    );
    assert_eq!(
        rows.iter().map(|rows| rows.beyond).sum::<u64>(),
        104 * 100 - 1000
    );
    let all = row.repeat(100);
    let digest = blake3::hash(&all[1000..]).to_hex();
    let digests: Vec<_> = rows
        .iter()
        .filter_map(|rows| rows.digest.as_deref())
        .collect();
    assert_eq!(digests, [digest.as_str()], "of what is not kept");
    let Some(Event::Closed(closed)) = events.last() else {
        panic!("no close")
    };
    assert!(
        matches!(closed.why, Why::Fault(_)),
        "dropped without a reason"
    );
}

/// A sound, closed recording of a few blocks.
async fn some_recording(dir: &Path) -> Vec<u8> {
    some_recording_by(settings(dir)).await
}

/// The same, recorded so.
pub(crate) async fn some_recording_by(settings: RecorderSettings) -> Vec<u8> {
    let dir = settings.dir.clone();
    let recorder = Recorder::open(settings).unwrap();
    let session = recorder.begin(began(9)).unwrap();
    let path = path_of(&dir, SessionId(9));
    for seq in 1..=3 {
        let _ = session
            .decided(decided(seq, "SELECT 1", allow()))
            .await
            .unwrap();
        let blocks = recorder.stats().blocks;
        while recorder.stats().blocks == blocks {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    session.close(Why::ClientQuit);
    recorder.stop();
    fs::read(path).unwrap()
}

pub(crate) fn ending_of(bytes: &[u8]) -> Result<(u64, Ending), Damage> {
    ending_with(bytes, Identities::none())
}

/// The same, with what opens it.
pub(crate) fn ending_with(bytes: &[u8], identities: Identities) -> Result<(u64, Ending), Damage> {
    let mut blocks = match Blocks::open(bytes, identities) {
        Ok(blocks) => blocks,
        Err(BlockError::Damage(damage)) => return Err(damage),
        Err(error @ (BlockError::Begun { .. } | BlockError::Io(_))) => panic!("{error}"),
    };
    loop {
        match blocks.next() {
            Ok(Step::Block(..) | Step::Sealed(..)) => {}
            Ok(Step::End(ending)) => return Ok((blocks.chain().blocks(), ending)),
            Err(BlockError::Damage(damage)) => return Err(damage),
            Err(error @ (BlockError::Begun { .. } | BlockError::Io(_))) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn any_flipped_bit_is_found() {
    let dir = tempfile::tempdir().unwrap();
    every_flipped_bit_is_found(&some_recording(dir.path()).await, 1);
}

/// Of every so many bytes.
pub(crate) fn every_flipped_bit_is_found(good: &[u8], step: usize) {
    let (blocks, ending) = ending_of(good).unwrap();
    assert!(
        blocks >= 4 && ending == Ending::Closed,
        "{blocks} {ending:?}"
    );
    for at in (0..good.len()).step_by(step) {
        for bit in 0..8 {
            let mut bad = good.to_vec();
            bad[at] ^= 1 << bit;
            let damage = ending_of(&bad).expect_err(&format!("byte {at} bit {bit}"));
            // The header's fields are vouched for by the first block.
            assert!(
                damage.offset <= at.max(HEADER) as u64,
                "{damage} for byte {at}"
            );
        }
    }
}

#[tokio::test]
async fn a_cut_is_said_and_nothing_before_it_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let good = some_recording(dir.path()).await;
    let (all, _) = ending_of(&good).unwrap();
    let mut seen = 0;
    for length in HEADER..good.len() {
        let (blocks, ending) = ending_of(&good[..length]).unwrap();
        assert_ne!(ending, Ending::Closed, "cut to {length}");
        assert!(blocks < all && blocks >= seen);
        seen = blocks;
    }
    assert_eq!(seen, all - 1);
    for length in 0..HEADER {
        let begun = Blocks::open(&good[..length], Identities::none()).unwrap_err();
        assert!(matches!(begun, BlockError::Begun { bytes } if bytes == length));
    }
    assert_eq!(ending_of(b"\x89NAREd").unwrap_err().what, Wrong::Magic);
}

#[tokio::test]
async fn moved_removed_repeated_and_added_blocks_are_found() {
    let dir = tempfile::tempdir().unwrap();
    every_order_but_its_own_is_found(&some_recording(dir.path()).await);
}

/// The header, and each block.
pub(crate) fn parts_of(good: &[u8]) -> Vec<&[u8]> {
    let mut parts = vec![&good[..HEADER]];
    let mut rest = &good[HEADER..];
    while !rest.is_empty() {
        let payload = u32::from_le_bytes(rest[..4].try_into().unwrap()) as usize;
        let (block, after) = rest.split_at(BLOCK_HEAD + payload + BLOCK_TAIL);
        parts.push(block);
        rest = after;
    }
    parts
}

pub(crate) fn every_order_but_its_own_is_found(good: &[u8]) {
    let parts = parts_of(good);
    let count = parts.len();
    let build = |order: &[usize]| {
        order
            .iter()
            .flat_map(|i| parts[*i].to_vec())
            .collect::<Vec<_>>()
    };
    let straight: Vec<_> = (0..count).collect();
    assert!(ending_of(&build(&straight)).is_ok());
    for i in 1..count {
        let removed: Vec<_> = straight.iter().copied().filter(|part| *part != i).collect();
        let repeated = [&straight[..=i], &[i], &straight[i + 1..]].concat();
        // The last block removed is a file that ends without close; that is another test.
        if i + 1 < count {
            assert!(ending_of(&build(&removed)).is_err(), "removed {i}");
            let mut swapped = straight.clone();
            swapped.swap(i, i + 1);
            assert!(ending_of(&build(&swapped)).is_err(), "swapped {i}");
        }
        assert!(ending_of(&build(&repeated)).is_err(), "repeated {i}");
    }
    let added = [good, b"x"].concat();
    assert_eq!(ending_of(&added).unwrap_err().what, Wrong::AfterEnd);
}

#[test]
fn an_event_of_a_later_version_is_kept_and_shown_as_such() {
    let mut decoder = Decoder::default();
    for line in [
        r#"{"event":"teleported","to":"mars"}"#,
        r#"{"event":"note","at":1,"from":"oracle","text":"new source"}"#,
        r#"{"event":"again","seq":1,"at":1,"params":[],"of":77}"#,
        r#"{"event":"like","seq":1,"at":1,"text":{"plain":"select 1"},"params":[],"of":77}"#,
        "not json",
    ] {
        let Event::Unknown(unknown) = decoder.read(line.as_bytes()) else {
            panic!("{line}")
        };
        assert_eq!(unknown.line, line);
    }
}

#[test]
fn texts_with_one_analysis_and_one_decision_are_told_by_their_difference() {
    let analysis = Arc::new(Analysis::default());
    let decisions = [allow(), allow()];
    let policies: [Arc<str>; 2] = ["v1".into(), "v2".into()];
    let mut encoder = Encoder::new();
    let (mut told, mut wanted, mut like) = (Vec::new(), Vec::new(), 0);
    for seq in 1..2000_u64 {
        // Long enough, and with enough that is new in between, for the window to move on.
        let decision = decisions[usize::from(seq % 7 == 0)].clone();
        let mut one = decided(seq, &format!("select {}", seq % 300), decision);
        if seq % 5 != 0 {
            one.analysis = analysis.clone();
        }
        one.policy_version = policies[usize::from(seq > 1500)].clone();
        if seq % 11 == 0 {
            one.purpose = Some(Arc::new(Purpose::of_text("/*ticket='T-1'*/")));
        }
        encoder.decided(one.clone(), &mut told).unwrap();
        wanted.push(one);
    }
    let mut decoder = Decoder::default();
    let mut lines = told.split(|byte| *byte == b'\n');
    for one in wanted {
        let line = lines.next().unwrap();
        like += usize::from(line.starts_with(b"{\"event\":\"like\""));
        let Event::Decided(read) = decoder.read(line) else {
            panic!("{}", String::from_utf8_lossy(line))
        };
        let value = |decided| serde_json::to_value(decided).unwrap();
        assert_eq!(value(*read), value(one));
    }
    assert!(like > 500, "{like}");
}

#[test]
fn many_long_statements_are_not_all_kept_in_memory() {
    let mut encoder = Encoder::new();
    let (mut told, mut wanted) = (Vec::new(), Vec::new());
    let decision = allow();
    for seq in 1..1000_u64 {
        // Long ones, each with a short one that comes again.
        let text = match seq % 2 {
            0 => format!("select {}", seq % 6),
            _ => format!("select '{}{}'", seq % 300, "x".repeat(50_000)),
        };
        let one = decided(seq, &text, Arc::clone(&decision));
        encoder.decided(one.clone(), &mut told).unwrap();
        assert!(encoder.weight() <= 512 << 10, "{}", encoder.weight());
        wanted.push(one);
    }
    let mut decoder = Decoder::default();
    let mut again = 0;
    let lines = told.split(|byte| *byte == b'\n');
    for (line, one) in lines.zip(wanted) {
        again += usize::from(line.starts_with(b"{\"event\":\"again\""));
        let whole = Event::Decided(Box::new(one));
        assert_eq!(json(&[decoder.read(line)]), json(&[whole]));
    }
    assert!(again > 100, "{again}");
}

#[tokio::test]
async fn a_statement_too_long_for_a_line_keeps_its_decision() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(settings(dir.path())).unwrap();
    let session = recorder.begin(began(1)).unwrap();
    let mut long = decided(1, "SELECT 1", allow());
    let why = "x".repeat(10 << 20);
    let relation = crate::sql::RelationName {
        schema: None,
        name: why,
    };
    let touch = crate::sql::Touch::Read;
    long.analysis = Arc::new(Analysis {
        statements: vec![crate::sql::StatementFacts {
            relations: vec![crate::sql::RelationUse { relation, touch }],
            ..Default::default()
        }],
        ..Analysis::default()
    });
    let _ = session.decided(long).await.unwrap();
    session.close(Why::ClientQuit);
    recorder.stop();
    let (events, ending) = read(&path_of(dir.path(), SessionId(1)));
    assert_eq!(ending.unwrap(), Ending::Closed);
    assert!(matches!(&events[1], Event::Note(note) if note.text.contains("longer")));
    assert!(matches!(&events[2], Event::Decided(d) if matches!(*d.decision, Decision::Allow(_))));
}

#[test]
fn what_is_told_after_a_statement_too_long_for_a_line_is_what_was_said() {
    let mut encoder = Encoder::new();
    let mut told = Vec::new();
    let decision = allow();
    let mut long = decided(2, "select 2", Arc::clone(&decision));
    long.params = vec![RecordedCell::Text("\u{1}".repeat(1 << 20))];
    long.text = RecordedText::Plain("\u{1}".repeat(1 << 20));
    let mut said = vec![];
    for (seq, text) in [
        (1, "select 1"),
        (3, "delete from a"),
        (4, "select 4"),
        (5, "delete from a"),
    ] {
        if seq == 3 {
            encoder.decided(long.clone(), &mut told).unwrap();
            said.push((2, "…".to_owned()));
        }
        encoder
            .decided(decided(seq, text, Arc::clone(&decision)), &mut told)
            .unwrap();
        said.push((seq, text.to_owned()));
    }
    let mut decoder = Decoder::default();
    let lines = told
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    let read: Vec<_> = lines
        .filter_map(|line| match decoder.read(line) {
            Event::Decided(decided) => Some(match &decided.text {
                RecordedText::Plain(text) => (decided.seq.0, text.clone()),
                _ => (decided.seq.0, "…".to_owned()),
            }),
            _ => None,
        })
        .collect();
    said.sort();
    assert_eq!(read, said);
}

/// A statement with rows that are six times as long in a recording as on the wire.
async fn bulky(session: &SessionRecorder, seq: u64) {
    let _ = session
        .decided(decided(seq, "SELECT", allow()))
        .await
        .unwrap();
    let cell = [1; 4 << 10];
    let row = data_row(&[Some(&cell[..]); 15]);
    let delivered = delivered(seq, Some(head(&["a"; 15])), row);
    session.delivered(delivered).await.unwrap();
    session.finished(finished(seq, 1));
}

/// A recording of sixty such statements, more than one block may hold, that came while the writer was
/// at another session.
async fn much_at_once(recipients: Option<Recipients>) -> (tempfile::TempDir, PathBuf) {
    use super::ledger::{By, Ledger, NodeKey, Writing};
    let dir = tempfile::tempdir().unwrap();
    let key = Arc::new(NodeKey::open_or_make(dir.path()).unwrap());
    let ledger = Ledger::open(Writing::new(dir.path(), key, By::Agent)).unwrap();
    let disk = Faulty::default();
    let settings = RecorderSettings {
        recipients,
        ..settings(Path::new("/"))
    };
    let recorder = Recorder::on(Box::new(disk.clone()), settings, None, Some(ledger)).unwrap();
    disk.hold(1);
    let _other = recorder.begin(began(1)).unwrap();
    disk.written(1).await;
    let session = recorder.begin(began(2)).unwrap();
    for seq in 1..=60 {
        bulky(&session, seq).await;
    }
    session.close(Why::ClientQuit);
    disk.hold(0);
    recorder.stop();
    let path = dir.path().join("x");
    fs::write(&path, disk.file(2)).unwrap();
    (dir, path)
}

#[tokio::test]
async fn a_session_that_says_much_at_once_stays_readable() {
    let (_dir, path) = much_at_once(None).await;
    let (events, ending) = read(&path);
    assert_eq!(ending.unwrap(), Ending::Closed);
    let seqs: Vec<_> = events.iter().filter_map(seq_of).collect();
    assert_eq!(seqs, (1..=60).collect::<Vec<_>>());
}

#[tokio::test]
async fn no_sealed_block_says_in_clear_more_than_is_in_it() {
    let identity = Identity::make().unwrap();
    let recipients = Recipients::read(&[SealTo::Key(identity.recipient())]).unwrap();
    let (_dir, path) = much_at_once(recipients).await;
    let bytes = fs::read(&path).unwrap();
    let mut clear = Blocks::open(&bytes[..], Identities::none()).unwrap();
    let mut opened = Blocks::open(&bytes[..], Identities::of(Some(identity))).unwrap();
    let (mut decoder, mut counted) = (Decoder::default(), Standing::default());
    let mut seqs = Vec::new();
    let ending = loop {
        match (clear.next().unwrap(), opened.next().unwrap()) {
            (Step::Sealed(_, standing), Step::Block(_, lines)) => {
                for line in lines.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
                    counted.count(&decoder.read(line));
                }
                assert_eq!(standing, counted);
                seqs.push(standing.last.0);
            }
            (Step::End(ending), Step::End(_)) => break ending,
            others => panic!("{others:?}"),
        }
    };
    assert_eq!(ending, Ending::Closed);
    let cut = seqs.iter().any(|seq| (1..60).contains(seq));
    assert!(cut && seqs.last() == Some(&60), "{seqs:?}");
}

/// What the next agent would find in the journals.
fn in_journals(journals: &Path, recordings: &Path) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    // The thread that recovers ends when it comes by.
    let held = || {
        journal::others(journals)
            .unwrap()
            .iter()
            .any(|one| !one.left)
    };
    while held() {
        std::thread::sleep(Duration::from_millis(1));
    }
    for journal::Found { path, left, .. } in journal::others(journals).unwrap() {
        assert!(left, "somebody writes it");
        let place = journal::place_of(recordings);
        let contents = journal::read(&fs::read(path).unwrap(), place).unwrap();
        for (session, remembered) in contents.sessions {
            found.extend(remembered.told.iter().filter_map(|told| match told {
                codec::Told::Decided(decided) => Some((session.0, decided.seq.0)),
                _ => None,
            }));
        }
    }
    found.sort_unstable();
    found
}

#[tokio::test]
async fn a_recorder_that_stops_on_a_full_disk_leaves_what_ran_in_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let place = journal::place_of(Path::new("/"));
    let journal = journal::Journal::create(dir.path(), std::num::NonZeroUsize::MIN, place).unwrap();
    let disk = Faulty::default();
    let recorder = Recorder::on(
        Box::new(disk.clone()),
        settings(Path::new("/")),
        Some(journal),
        None,
    )
    .unwrap();
    let mut health = recorder.health();
    disk.hold(1);
    let _other = recorder.begin(began(1)).unwrap();
    disk.written(1).await;
    let session = recorder.begin(began(2)).unwrap();
    for seq in 1..=3 {
        bulky(&session, seq).await; // more than a block each
    }
    disk.hold(2);
    disk.written(2).await;
    // This one lies in the queue when the disk fails, and the writer takes nothing more.
    let _ = session
        .decided(decided(4, "SELECT 4", allow()))
        .await
        .unwrap();
    disk.set(libc::ENOSPC);
    disk.hold(0);
    until(&mut health, |health| {
        matches!(health, Health::Failed { .. })
    })
    .await;
    recorder.stop();
    drop((session, _other, recorder));
    assert_eq!(
        in_journals(dir.path(), Path::new("/")),
        [(2, 1), (2, 2), (2, 3), (2, 4)]
    );
}

#[tokio::test]
async fn a_writer_that_panics_is_a_record_that_fails_and_loses_no_decision() {
    let dir = tempfile::tempdir().unwrap();
    let place = journal::place_of(Path::new("/"));
    let journal = journal::Journal::create(dir.path(), std::num::NonZeroUsize::MIN, place).unwrap();
    let disk = Faulty::default();
    let recorder = Recorder::on(
        Box::new(disk.clone()),
        settings(Path::new("/")),
        Some(journal),
        None,
    )
    .unwrap();
    let mut health = recorder.health();
    disk.set(PANICS);
    let session = recorder.begin(began(1)).unwrap();
    let _ = session
        .decided(decided(1, "SELECT 1", allow()))
        .await
        .unwrap();
    until(&mut health, |health| {
        matches!(health, Health::Failed { .. })
    })
    .await;
    let refused = session.decided(decided(2, "SELECT 2", allow())).await;
    assert!(matches!(refused, Err(RecordError::Fault(_))), "{refused:?}");
    recorder.stop();
    drop((session, recorder));
    assert_eq!(in_journals(dir.path(), Path::new("/")), [(1, 1)]);
}

#[tokio::test]
async fn a_statement_that_was_waited_for_in_vain_is_not_on_record_as_run() {
    let dir = tempfile::tempdir().unwrap();
    let place = journal::place_of(Path::new("/"));
    let journal = journal::Journal::create(dir.path(), std::num::NonZeroUsize::MIN, place).unwrap();
    let disk = Faulty::default();
    let settings = RecorderSettings {
        patience: Duration::from_millis(50),
        ..settings(Path::new("/"))
    };
    let recorder = Recorder::on(Box::new(disk.clone()), settings, Some(journal), None).unwrap();
    let session = recorder.begin(began(1)).unwrap();
    disk.hold(1);
    let long = "x".repeat(journal::LINE_CAP + 1);
    let refused = session.decided(decided(1, &long, allow())).await;
    assert!(matches!(refused, Err(RecordError::Slow(_))), "{refused:?}");
    disk.hold(0);
    session.close(Why::ClientQuit);
    recorder.stop();
    fs::write(dir.path().join("x"), disk.file(1)).unwrap();
    let (events, _) = read(&dir.path().join("x"));
    let ends: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Finished(finished) => Some((finished.seq.0, finished.end)),
            _ => None,
        })
        .collect();
    assert_eq!(ends, [(1, End::Stopped)]);
    let said = |event: &Event| matches!(event, Event::Note(note) if note.text.contains("not run"));
    assert!(events.iter().any(said), "{events:?}");
}

/// Recordings in memory, on a disk that fails on demand.
#[derive(Clone, Default)]
struct Faulty(Arc<Disk>);

#[derive(Default)]
struct Disk {
    /// The errno of every write; 0: writes succeed.
    fails: AtomicI32,
    /// Writes hang.
    stuck: AtomicBool,
    /// Writes of this session hang.
    stuck_at: AtomicU64,
    writes: AtomicU64,
    files: Mutex<BTreeMap<SessionId, Vec<u8>>>,
}

/// Not an error of the disk: the writer itself fails.
const PANICS: i32 = -1;

struct FaultyVolume(Faulty, SessionId);

impl Faulty {
    fn set(&self, errno: i32) {
        self.0.fails.store(errno, Ordering::SeqCst);
    }

    /// Writes of this session hang from now on; of all others they go on.
    fn hold(&self, session: u64) {
        self.0.stuck_at.store(session, Ordering::SeqCst);
    }

    /// Waits for the writer to come by so often.
    async fn written(&self, times: u64) {
        while self.0.writes.load(Ordering::SeqCst) < times {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn file(&self, session: u64) -> Vec<u8> {
        self.0
            .files
            .lock()
            .unwrap()
            .get(&SessionId(session))
            .cloned()
            .unwrap_or_default()
    }
}

impl Shelf for Faulty {
    fn create(&mut self, session: SessionId) -> io::Result<Box<dyn Volume>> {
        Ok(Box::new(FaultyVolume(self.clone(), session)))
    }
}

impl Volume for FaultyVolume {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let disk = &self.0.0;
        disk.writes.fetch_add(1, Ordering::SeqCst);
        while disk.stuck.load(Ordering::SeqCst) || disk.stuck_at.load(Ordering::SeqCst) == self.1.0
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_ne!(disk.fails.load(Ordering::SeqCst), PANICS, "as it was told");
        let mut files = disk.files.lock().unwrap();
        let file = files.entry(self.1).or_default();
        file.truncate(offset as usize);
        match disk.fails.load(Ordering::SeqCst) {
            0 => file.extend_from_slice(bytes),
            errno => {
                // A full disk takes a part.
                file.extend_from_slice(&bytes[..bytes.len() / 2]);
                return Err(io::Error::from_raw_os_error(errno));
            }
        }
        Ok(())
    }

    fn close(self: Box<Self>) {}
}

async fn until(
    health: &mut tokio::sync::watch::Receiver<Health>,
    wanted: impl Fn(&Health) -> bool,
) {
    tokio::time::timeout(Duration::from_secs(10), health.wait_for(wanted))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_full_disk_refuses_statements_and_recovers_with_nothing_lost() {
    for (errno, full) in [
        (libc::ENOSPC, true),
        (libc::EDQUOT, true),
        (libc::EROFS, false),
        (libc::EIO, false),
    ] {
        let disk = Faulty::default();
        let recorder =
            Recorder::on(Box::new(disk.clone()), settings(Path::new("/")), None, None).unwrap();
        let mut health = recorder.health();
        let session = recorder.begin(began(1)).unwrap();
        let other = recorder.begin(began(2)).unwrap();
        let _ = session
            .decided(decided(1, "SELECT 1", allow()))
            .await
            .unwrap();

        disk.set(errno);
        // This one is taken before anybody knows.
        let _ = session
            .decided(decided(2, "SELECT 2", allow()))
            .await
            .unwrap();
        until(&mut health, |health| {
            matches!(health, Health::Failed { .. })
        })
        .await;
        for session in [&session, &other] {
            let error = session
                .decided(decided(3, "SELECT 3", allow()))
                .await
                .unwrap_err();
            assert_eq!(matches!(error, RecordError::Full(_)), full, "{error}");
            let code = error.refusal().code;
            let expected = if full { "record_full" } else { "record_fault" };
            assert_eq!(serde_json::to_value(code).unwrap(), expected);
            let running = session.delivered(delivered(2, None, vec![0; 100])).await;
            assert!(running.is_err(), "a running answer stops");
        }
        assert!(recorder.begin(began(3)).is_err());
        session.finished(finished(2, 0)); // the end of what was running is not lost

        disk.set(0);
        until(&mut health, |health| *health == Health::Working).await;
        let _ = session
            .decided(decided(4, "SELECT 4", allow()))
            .await
            .unwrap();
        session.close(Why::ClientQuit);
        recorder.stop();
        let (blocks, ending) = ending_of(&disk.file(1)).unwrap();
        assert!(blocks >= 2 && ending == Ending::Closed);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::write(&path, disk.file(1)).unwrap();
        let seqs: Vec<_> = read(&path).0.iter().filter_map(seq_of).collect();
        assert_eq!(seqs, [1, 2, 4]);
    }
}

/// A session that was begun is in the ledger before it has a file: while the ledger's disk fails
/// nothing runs, whatever the recordings' disk does.
#[tokio::test]
async fn a_ledger_that_cannot_be_written_refuses_statements_too() {
    use super::ledger::{By, Ledger, NodeKey, Writing, segments};
    let (state, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let key = Arc::new(NodeKey::open_or_make(state.path()).unwrap());
    let (disk, ledger_disk) = (Faulty::default(), Faulty::default());
    let through = ledger_disk.clone();
    let writing = Writing::new(dir.path(), Arc::clone(&key), By::Agent)
        .through(move |_| Box::new(FaultyVolume(through.clone(), SessionId(u64::MAX))));
    let ledger = Ledger::open(writing).unwrap();
    let recorder = Recorder::on(
        Box::new(disk.clone()),
        settings(dir.path()),
        None,
        Some(ledger),
    )
    .unwrap();
    let mut health = recorder.health();
    let session = recorder.begin(began(1)).unwrap();
    let _ = session
        .decided(decided(1, "SELECT 1", allow()))
        .await
        .unwrap();
    while disk.file(1).is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    ledger_disk.set(libc::ENOSPC);
    let other = recorder.begin(began(2)).unwrap();
    until(&mut health, |health| {
        matches!(health, Health::Failed { full: true, .. })
    })
    .await;
    assert!(disk.file(2).is_empty(), "not before the ledger knows it");
    for session in [&session, &other] {
        let refused = session.decided(decided(2, "SELECT 2", allow())).await;
        assert!(matches!(refused, Err(RecordError::Full(_))), "{refused:?}");
    }
    ledger_disk.set(0);
    until(&mut health, |health| *health == Health::Working).await;
    let _ = other
        .decided(decided(1, "SELECT 1", allow()))
        .await
        .unwrap();
    session.close(Why::ClientQuit);
    other.close(Why::ClientQuit);
    recorder.stop();
    for id in [1, 2] {
        assert_eq!(ending_of(&disk.file(id)).unwrap().1, Ending::Closed);
    }
    let path = segments(&ledger::ledger_dir(dir.path())).unwrap().remove(0);
    fs::write(&path, ledger_disk.file(u64::MAX)).unwrap();
    let mut known = ledger::Ledgered::default();
    let keys = [key.public()];
    let stretch = ledger::read_segment(&path, Some(&keys), &mut |place, entry| {
        known.take(place, entry)
    });
    assert_eq!(stretch.unwrap().end, ledger::StretchEnd::Stopped);
    for id in [1, 2] {
        let known = &known.sessions[&SessionId(id)];
        assert_eq!(known.end, ledger::KnownEnd::Closed);
        assert_eq!(
            known.furthest().unwrap().bytes,
            disk.file(id).len() as u64,
            "what was told is what there is"
        );
    }
}

#[tokio::test]
async fn a_workload_whose_open_recordings_fill_its_quota_is_refused_and_others_are_not() {
    for on_failure in [OnFailure::Refuse, OnFailure::Continue] {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::open(RecorderSettings {
            workload_max_bytes: Some(20_000),
            on_failure,
            ..settings(dir.path())
        })
        .unwrap();
        let greedy = recorder.begin(began(1)).unwrap();
        let mut seq = 0;
        let refused = loop {
            seq += 1;
            let noise: String = (0..400).map(|i| format!("{}, ", seq * i * 7919)).collect();
            match greedy.decided(decided(seq, &noise, allow())).await {
                Ok(_) => greedy.finished(finished(seq, 0)),
                Err(error) => break error,
            }
            assert!(seq < 10_000, "never refused");
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        assert!(matches!(refused, RecordError::Quota), "{refused}");
        assert_eq!(refused.refusal().code, RefusalCode::RecordFull);
        assert!(recorder.begin(began(2)).is_err(), "nor does a new one run");
        let mut of_another = began(3);
        of_another.workload.name = "other".into();
        let other = recorder.begin(of_another).unwrap();
        let _ = other
            .decided(decided(1, "SELECT 1", allow()))
            .await
            .unwrap();
        assert_eq!(*recorder.health().borrow(), Health::Working);
        // Room comes when it ends: what is closed can be removed.
        greedy.close(Why::ClientQuit);
        let fresh = loop {
            match recorder.begin(began(4)) {
                Ok(session) => break session,
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        };
        let _ = fresh
            .decided(decided(1, "SELECT 1", allow()))
            .await
            .unwrap();
        recorder.stop();
    }
}

fn seq_of(event: &Event) -> Option<u64> {
    if let Event::Decided(decided) = event {
        Some(decided.seq.0)
    } else {
        None
    }
}

#[tokio::test]
async fn if_the_configuration_says_continue_the_gap_is_told() {
    let disk = Faulty::default();
    let settings = RecorderSettings {
        on_failure: OnFailure::Continue,
        ..settings(Path::new("/"))
    };
    let recorder = Recorder::on(Box::new(disk.clone()), settings, None, None).unwrap();
    let mut health = recorder.health();
    let session = recorder.begin(began(1)).unwrap();
    disk.set(libc::ENOSPC);
    let _ = session
        .decided(decided(1, "SELECT 1", allow()))
        .await
        .unwrap();
    until(&mut health, |health| {
        matches!(health, Health::Failed { .. })
    })
    .await;
    let _ = session
        .decided(decided(2, "SELECT 2", allow()))
        .await
        .unwrap();
    assert_eq!(recorder.stats().lost, 1);
    disk.set(0);
    until(&mut health, |health| *health == Health::Working).await;
    session.close(Why::ClientQuit);
    recorder.stop();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("x"), disk.file(1)).unwrap();
    let (events, _) = read(&dir.path().join("x"));
    assert!(
        events
            .iter()
            .any(|e| matches!(e, Event::Note(n) if n.text.contains("1 events are")))
    );
}

#[tokio::test]
async fn a_full_queue_pushes_back_and_nothing_is_lost() {
    let disk = Faulty::default();
    let settings = RecorderSettings {
        queue_bytes: 64 << 10,
        ..settings(Path::new("/"))
    };
    let recorder = Recorder::on(Box::new(disk.clone()), settings, None, None).unwrap();
    let session = Arc::new(recorder.begin(began(1)).unwrap());
    let decision = allow();
    disk.0.stuck.store(true, Ordering::SeqCst);
    // The writer hangs in its first write; then the lane fills.
    let mut seq = 0;
    loop {
        seq += 1;
        let one = decided(seq, "SELECT 1", Arc::clone(&decision));
        match session.try_decided(one).unwrap() {
            Pushed::Done(_) if disk.0.writes.load(Ordering::SeqCst) == 0 => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Pushed::Done(_) => {}
            Pushed::Full(back) => {
                assert_eq!(back.seq.0, seq);
                break;
            }
        }
        assert!(seq < 100_000, "never full");
    }
    assert!(recorder.stats().queued_bytes <= 64 << 10);
    let waits = tokio::spawn({
        let (session, decision) = (Arc::clone(&session), Arc::clone(&decision));
        async move { session.decided(decided(seq, "SELECT 1", decision)).await }
    });
    // Another session is not kept waiting by this one's full lane.
    let other = recorder.begin(began(2)).unwrap();
    assert!(matches!(
        other
            .try_decided(decided(1, "SELECT 1", Arc::clone(&decision)))
            .unwrap(),
        Pushed::Done(_)
    ));
    assert!(!waits.is_finished());
    disk.0.stuck.store(false, Ordering::SeqCst);
    let _ = waits.await.unwrap().unwrap();
    session.close(Why::ClientQuit);
    recorder.stop();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("x"), disk.file(1)).unwrap();
    let seqs: Vec<_> = read(&dir.path().join("x"))
        .0
        .iter()
        .filter_map(seq_of)
        .collect();
    assert_eq!(seqs, (1..=seq).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_disk_that_hangs_refuses_statements() {
    let disk = Faulty::default();
    let settings = RecorderSettings {
        patience: Duration::from_millis(20),
        ..settings(Path::new("/"))
    };
    let recorder = Recorder::on(Box::new(disk.clone()), settings, None, None).unwrap();
    let session = recorder.begin(began(1)).unwrap();
    disk.0.stuck.store(true, Ordering::SeqCst);
    let mut seq = 0;
    let error = loop {
        seq += 1;
        match session.decided(decided(seq, "SELECT 1", allow())).await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, RecordError::Slow(_)), "{error}");
    disk.0.stuck.store(false, Ordering::SeqCst);
    while session
        .try_decided(decided(seq, "SELECT 1", allow()))
        .is_err()
    {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_session_whose_name_is_taken_does_not_run_unrecorded() {
    let (dir, journals) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(path_of(dir.path(), SessionId(1)), b"evidence").unwrap();
    let recorder = Recorder::open(RecorderSettings {
        journal: Some(journals.path().to_owned()),
        ..settings(dir.path())
    })
    .unwrap();
    let session = recorder.begin(began(1)).unwrap();
    let mut seq = 0;
    loop {
        seq += 1;
        if session
            .decided(decided(seq, "SELECT 1", allow()))
            .await
            .is_err()
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(
        *recorder.health().borrow(),
        Health::Working,
        "the others go on"
    );
    recorder.stop();
    drop((session, recorder));
    assert_eq!(
        fs::read(path_of(dir.path(), SessionId(1))).unwrap(),
        b"evidence"
    );
    let ran: Vec<_> = (1..seq).map(|seq| (1, seq)).collect();
    assert_eq!(in_journals(journals.path(), dir.path()), ran);
}

#[tokio::test]
async fn pruning_takes_the_oldest_closed_and_never_a_live_one() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(settings(dir.path())).unwrap();
    let live = recorder.begin(began(1)).unwrap();
    for id in 2..=4 {
        let session = recorder.begin(began(id)).unwrap();
        session.close(Why::ClientQuit);
    }
    while recorder.stats().sessions < 3 || recorder.stats().blocks < 4 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for id in 1..=4 {
        let moment = clock::now().0.unsigned_abs() + 1_000_000 * id;
        let moment = std::time::UNIX_EPOCH + Duration::from_millis(moment);
        let file = fs::File::options()
            .write(true)
            .open(path_of(dir.path(), SessionId(id)))
            .unwrap();
        file.set_modified(moment).unwrap();
    }
    let size = |id| {
        fs::metadata(path_of(dir.path(), SessionId(id)))
            .unwrap()
            .len()
    };
    let now = UnixMillis(clock::now().0 + 5_000_000);
    let none = prune(dir.path(), Keep::default(), now, None).unwrap();
    assert_eq!(none.removed.len(), 0);
    // 2 is too old, 1 is older but live.
    let old = Keep {
        max_age: Some(Duration::from_millis(2_500_000)),
        ..Keep::default()
    };
    assert_eq!(
        prune(dir.path(), old, now, None).unwrap().removed,
        [path_of(dir.path(), SessionId(2))]
    );
    // Too much: the oldest goes first, and no more than needed.
    let much = Keep {
        max_bytes: Some(size(1) + size(4)),
        ..Keep::default()
    };
    assert_eq!(
        prune(dir.path(), much, now, None).unwrap().removed,
        [path_of(dir.path(), SessionId(3))]
    );
    drop(live);
    recorder.stop();
}

#[tokio::test]
async fn a_recording_is_no_older_than_what_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    some_recording(dir.path()).await;
    let path = path_of(dir.path(), SessionId(9));
    let file = fs::File::options().write(true).open(&path).unwrap();
    // What `touch` can do.
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    drop(file);
    let old = Keep {
        max_age: Some(Duration::from_secs(60)),
        ..Keep::default()
    };
    let now = clock::now();
    assert_eq!(prune(dir.path(), old, now, None).unwrap().removed.len(), 0);
    let later = UnixMillis(now.0 + 61_000);
    assert_eq!(prune(dir.path(), old, later, None).unwrap().removed, [path]);
}

/// Where the child of the next test records; it is the same test, run once more.
const CHILD: &str = "NODE_AGENT_TEST_RECORD_DIR";

/// Records until it is killed.
fn record_for_ever(dir: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let recorder = Recorder::open(settings(dir)).unwrap();
        let session = recorder.begin(began(1)).unwrap();
        let decision = allow();
        for seq in 1.. {
            let text = format!("SELECT {}", seq % 1000);
            let _ = session
                .decided(decided(seq, &text, Arc::clone(&decision)))
                .await
                .unwrap();
            session.finished(finished(seq, 0));
            if seq % 100 == 0 {
                println!("at {seq}");
            }
        }
    });
}

#[test]
fn after_kill_minus_9_the_file_verifies_up_to_its_last_block() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return record_for_ever(Path::new(&dir));
    }
    let name = "record::tests::after_kill_minus_9_the_file_verifies_up_to_its_last_block";
    for round in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut told = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .filter_map(|line| line.unwrap().strip_prefix("at ")?.parse::<u64>().ok());
        // Once this many are on the disk, a kill must not cost one of them.
        let wanted = 500 + 700 * round;
        let path = path_of(dir.path(), SessionId(1));
        let on_disk = loop {
            told.next().expect("the child records");
            let seqs = path
                .exists()
                .then(|| read(&path).0.iter().filter_map(seq_of).count());
            if let Some(seqs) = seqs.filter(|seqs| *seqs as u64 >= wanted) {
                break seqs;
            }
        };
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        let (events, ending) = read(&path);
        assert!(matches!(
            ending.unwrap(),
            Ending::Unclosed | Ending::Torn { .. }
        ));
        let seqs: Vec<_> = events.iter().filter_map(seq_of).collect();
        assert!(seqs.len() >= on_disk);
        assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
        assert!(
            !is_live(&fs::File::open(&path).unwrap()),
            "the lock died with the process"
        );
    }
}

#[test]
fn any_bytes_are_read_as_a_recording_without_harm() {
    bolero::check!().for_each(|bytes: &[u8]| fuzz_recording(bytes));
}

#[tokio::test]
async fn damaged_recordings_are_read_without_harm() {
    let dir = tempfile::tempdir().unwrap();
    let good = some_recording(dir.path()).await;
    bolero::check!()
        .with_type::<Vec<(u16, u8)>>()
        .for_each(|flips: &Vec<(u16, u8)>| {
            let mut bytes = good.clone();
            for (at, xor) in flips {
                let at = usize::from(*at) % bytes.len();
                bytes[at] ^= xor;
            }
            fuzz_recording(&bytes);
            assert_eq!(ending_of(&bytes).is_ok(), bytes == good);
        });
}

#[tokio::test]
async fn an_idle_writer_is_woken_by_the_first_push() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(settings(dir.path())).unwrap();
    let session = recorder.begin(began(1)).unwrap();
    for seq in 1..=3 {
        // Longer than it takes to park.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let begun = clock::now();
        let blocks = recorder.stats().blocks;
        let _ = session
            .decided(decided(seq, "SELECT 1", allow()))
            .await
            .unwrap();
        while recorder.stats().blocks == blocks {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let took = clock::now().0 - begun.0;
        assert!(took < 900, "only the belt woke it, after {took} ms");
    }
}
