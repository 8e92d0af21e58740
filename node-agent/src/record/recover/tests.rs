use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::num::NonZeroUsize;
use std::process::{Command, Stdio};
use std::{env, fs};

use super::*;
use crate::config::SealTo;
use crate::record::journal::{self, Journal};
use crate::record::tests::{allow, began, decided, finished, read, read_with};
use crate::record::{
    Blocks, Closed, Ending, Event, HEADER, Identities, Identity, Recorder, RecorderSettings,
    Settle, Step, Why,
};

fn settings(dir: &Path) -> RecorderSettings {
    RecorderSettings {
        recipients: env::var(SEALED_TO).ok().and_then(|key| recipients(&key)),
        settle: Settle::Never,
        journal: Some(dir.join("journal")),
        ..RecorderSettings::new(dir)
    }
}

fn recover_in(dir: &Path) -> Recovered {
    recover(
        dir,
        Some(&dir.join("journal")),
        &mut Vouching::new(dir, None),
    )
    .unwrap()
}

fn recipients(key: &str) -> Option<Recipients> {
    Recipients::read(&[SealTo::Key(key.parse().unwrap())]).unwrap()
}

fn seqs(events: &[Event]) -> Vec<u64> {
    let seq = |event: &Event| match event {
        Event::Decided(decided) => Some(decided.seq.0),
        _ => None,
    };
    events.iter().filter_map(seq).collect()
}

fn last_words(events: &[Event]) -> (String, Closed) {
    match events {
        [.., Event::Note(note), Event::Closed(closed)] => (note.text.clone(), closed.clone()),
        other => panic!("{:?}", other.last()),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

/// Where the child of the next test records; it is the same test, run once more.
const CHILD: &str = "NODE_AGENT_TEST_JOURNALS_IN";
/// To whom it seals what it records.
const SEALED_TO: &str = "NODE_AGENT_TEST_SEALED_TO";

/// Three sessions take turns, and each of their decisions is told once it may run.
fn record_for_ever(dir: &Path) {
    runtime().block_on(async {
        let recorder = Recorder::open(settings(dir)).unwrap();
        let open = |number| recorder.begin(began(number)).unwrap();
        let mut sessions: Vec<_> = (1..=3).map(|number| (open(number), 0)).collect();
        let (decision, mut next) = (allow(), 4);
        for turn in 0_u64.. {
            let which = (turn % 3) as usize;
            let (session, seq) = &mut sessions[which];
            *seq += 1;
            // Now and then one that is too long for the journal.
            let text = match turn % 97 {
                96 => "x".repeat(journal::LINE_CAP + 1),
                _ => format!("SELECT {}", turn % 1000),
            };
            let one = decided(*seq, &text, Arc::clone(&decision));
            let receipt = session.decided(one).await.unwrap();
            println!("ran {} {}", receipt.reference().session.0, seq);
            session.finished(finished(*seq, 0));
            // Sessions come and go.
            if turn % 50 == 49 {
                if turn % 100 == 99 {
                    session.close(Why::ClientQuit);
                }
                sessions[which] = (open(next), 0);
                next += 1;
            }
        }
    });
}

#[test]
fn whatever_ran_before_a_kill_is_on_the_record_after_it() {
    if let Some(dir) = env::var_os(CHILD) {
        return record_for_ever(Path::new(&dir));
    }
    let name = "record::recover::tests::whatever_ran_before_a_kill_is_on_the_record_after_it";
    let mut from_journals = 0;
    for round in 0..12_u64 {
        let dir = tempfile::tempdir().unwrap();
        // Every other time what is recorded is sealed, and whoever recovers it cannot read it.
        let identity = (round % 2 == 1).then(|| Identity::make().unwrap());
        let sealed_to = identity
            .as_ref()
            .map(|identity| identity.recipient().to_string());
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, dir.path())
            .envs(sealed_to.iter().map(|key| (SEALED_TO, key)))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut told = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut ran: BTreeMap<u64, u64> = BTreeMap::new();
        let hear = |line: String, ran: &mut BTreeMap<u64, u64>| {
            let mut words = line.strip_prefix("ran ")?.split(' ');
            let session = words.next()?.parse().ok()?;
            // Killed within a line, its number may lack digits, and is no more than it was.
            let seq: u64 = words.next()?.parse().ok()?;
            let last = ran.entry(session).or_default();
            *last = seq.max(*last);
            Some(())
        };
        let mut heard = 0;
        while heard < 1 + round * round * 20 {
            let line = told.next().expect("the child records").unwrap();
            heard += u64::from(hear(line, &mut ran).is_some());
        }
        child.kill().unwrap(); // SIGKILL
        // What it had told is in the pipe still.
        for line in told {
            hear(line.unwrap(), &mut ran);
        }
        child.wait().unwrap();
        let recipients = sealed_to.as_deref().and_then(recipients);
        let mut vouching = Vouching::new(dir.path(), None).sealing(&recipients);
        let done = recover(dir.path(), Some(&dir.path().join("journal")), &mut vouching).unwrap();
        assert_eq!(done.left, 0);
        let identities = Identities::of(identity);
        assert!(done.closed >= 1, "{done:?}");
        from_journals += done.remembered;
        for (session, last) in ran {
            let path = path_of(dir.path(), SessionId(session));
            let (events, ending) = read_with(&path, identities.clone());
            assert_eq!(ending.unwrap(), Ending::Closed);
            if !identities.is_empty() {
                let bytes = fs::read(&path).unwrap();
                let told = b"the next one closed this recording";
                assert!(memchr::memmem::find(&bytes, told).is_none());
            }
            assert!(matches!(events[0], Event::Began(_)), "{:?}", events[0]);
            let seqs = seqs(&events);
            assert!(
                seqs.len() as u64 >= last,
                "{session}: {} of {last}",
                seqs.len()
            );
            assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
            let Some(Event::Closed(closed)) = events.last() else {
                panic!("{:?}", events.last())
            };
            assert_eq!(closed.totals.statements, seqs.len() as u64);
        }
        assert_eq!(fs::read_dir(dir.path().join("journal")).unwrap().count(), 0);
        assert_eq!(
            recover_in(dir.path()),
            Recovered::default(),
            "once is enough"
        );
    }
    assert!(
        from_journals > 0,
        "no kill came between a decision and its block"
    );
}

/// A recording whose end is cut off, at this many bytes before it.
fn cut_by(dir: &Path, bytes: u64) -> PathBuf {
    let recorder = Recorder::open(settings(dir)).unwrap();
    let session = recorder.begin(began(1)).unwrap();
    runtime().block_on(async {
        for seq in 1..=3 {
            let _ = session
                .decided(decided(seq, "SELECT 1", allow()))
                .await
                .unwrap();
        }
    });
    // Its end comes in a block of its own.
    while recorder.stats().blocks == 0 {
        thread::yield_now();
    }
    session.close(Why::ClientQuit);
    recorder.stop();
    let path = path_of(dir, SessionId(1));
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(file.metadata().unwrap().len() - bytes)
        .unwrap();
    path
}

#[test]
fn a_torn_block_is_left_out_and_said_and_what_the_journal_knows_follows() {
    let dir = tempfile::tempdir().unwrap();
    let path = cut_by(dir.path(), 5);
    let journal = dir.path().join("journal");
    let place = journal::place_of(dir.path());
    let written = Journal::create(&journal, NonZeroUsize::MIN, place).unwrap();
    for seq in 2..=5 {
        // Two of them are in the recording already.
        let one = decided(seq, &format!("SELECT {seq}"), allow());
        std::mem::forget(written.decided(SessionId(1), &one).unwrap());
    }
    // Of a session that was killed before its first block.
    std::mem::forget(written.began(&began(2)).unwrap());
    std::mem::forget(
        written
            .decided(SessionId(2), &decided(1, "SELECT 1", allow()))
            .unwrap(),
    );
    drop(written);
    let expected = Recovered {
        closed: 2,
        remembered: 3,
        left: 0,
    };
    assert_eq!(recover_in(dir.path()), expected);
    let (events, ending) = read(&path);
    assert_eq!(
        (ending.unwrap(), seqs(&events)),
        (Ending::Closed, vec![1, 2, 3, 4, 5])
    );
    let (words, closed) = last_words(&events);
    assert!(
        words.contains("the last 2 decisions before this come from its journal"),
        "{words}"
    );
    assert!(
        words.contains("bytes of a block that was not whole are left out"),
        "{words}"
    );
    assert_eq!((closed.why, closed.totals.statements), (Why::AgentDied, 5));
    let (events, ending) = read(&path_of(dir.path(), SessionId(2)));
    assert_eq!((ending.unwrap(), seqs(&events)), (Ending::Closed, vec![1]));
    assert!(matches!(
        &events[..],
        [
            Event::Began(_),
            Event::Decided(_),
            Event::Note(_),
            Event::Closed(_)
        ]
    ));
}

#[test]
fn a_recording_that_was_removed_since_is_not_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal");
    let place = journal::place_of(dir.path());
    let written = Journal::create(&journal, NonZeroUsize::MIN, place).unwrap();
    // The first is in its recording, which was too old by and by; the other is not.
    drop(written.began(&began(1)).unwrap());
    let decision = allow();
    for session in [1, 2] {
        let one = decided(1, "SELECT 1", Arc::clone(&decision));
        let ticket = written.decided(SessionId(session), &one).unwrap();
        match session {
            1 => drop(ticket),
            _ => std::mem::forget(ticket),
        }
    }
    drop(written);
    let done = recover_in(dir.path());
    assert_eq!((done.closed, done.remembered), (1, 1));
    assert!(!path_of(dir.path(), SessionId(1)).exists());
    let (events, _) = read(&path_of(dir.path(), SessionId(2)));
    assert_eq!(seqs(&events), [1]);
}

#[test]
fn a_recording_that_was_changed_stays_as_it_is_and_the_others_are_closed() {
    let dir = tempfile::tempdir().unwrap();
    let path = cut_by(dir.path(), 1);
    let other = path_of(dir.path(), SessionId(9));
    // The same under another name, and with a byte changed.
    fs::copy(&path, &other).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[200] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let empty = path_of(dir.path(), SessionId(10));
    fs::write(&empty, b"\x89NAR").unwrap();
    let renamed = fs::read(&other).unwrap();
    let expected = Recovered {
        closed: 1,
        remembered: 0,
        left: 2,
    };
    assert_eq!(recover_in(dir.path()), expected);
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert_eq!(fs::read(&other).unwrap(), renamed);
    let (events, ending) = read(&empty);
    assert_eq!(ending.unwrap(), Ending::Closed);
    assert!(last_words(&events).0.starts_with("the agent died"));
}

#[test]
fn what_somebody_writes_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(settings(dir.path())).unwrap();
    let session = recorder.begin(began(1)).unwrap();
    while recorder.stats().blocks == 0 {
        thread::yield_now();
    }
    assert_eq!(recover_in(dir.path()), Recovered::default());
    session.close(Why::ClientQuit);
    recorder.stop();
    let (events, ending) = read(&path_of(dir.path(), SessionId(1)));
    assert_eq!((ending.unwrap(), events.len()), (Ending::Closed, 2));
}

/// A journal with decisions that are in no recording, as its process left it, and what still holds it.
fn left(dir: &Path, session: u64, seqs: std::ops::RangeInclusive<u64>) -> Journal {
    let place = journal::place_of(dir);
    let written = Journal::create(&dir.join("journal"), NonZeroUsize::MIN, place).unwrap();
    for seq in seqs {
        let one = decided(seq, &format!("SELECT {seq}"), allow());
        std::mem::forget(written.decided(SessionId(session), &one).unwrap());
    }
    written
}

#[test]
fn what_a_process_that_is_just_ending_left_in_its_journal_is_not_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = cut_by(dir.path(), 1);
    // It let go of its recordings already, and not yet of its journal.
    let journal = left(dir.path(), 1, 2..=6);
    assert_eq!(recover_in(dir.path()).closed, 1);
    let (events, ending) = read(&path);
    assert_eq!(
        (ending.unwrap(), seqs(&events)),
        (Ending::Closed, vec![1, 2, 3, 4, 5, 6])
    );
    drop(journal);
    assert_eq!(recover_in(dir.path()), Recovered::default());
    assert_eq!(fs::read_dir(dir.path().join("journal")).unwrap().count(), 0);
    assert_eq!(seqs(&read(&path).0), [1, 2, 3, 4, 5, 6]);
}

/// All recordings but this one: its session's name, its decisions, its last words.
fn others(dir: &Path, but: &Path) -> Vec<(Vec<u64>, String)> {
    let mut found = Vec::new();
    for path in recordings(dir).unwrap() {
        if path != but {
            let (events, ending) = read(&path);
            assert_eq!(ending.unwrap(), Ending::Closed);
            assert!(matches!(events[0], Event::Began(_)), "{:?}", events[0]);
            found.push((seqs(&events), last_words(&events).0));
        }
    }
    found
}

#[test]
fn decisions_of_a_recording_that_was_changed_come_to_lie_in_one_of_their_own() {
    // Changed in its first block, in a later one, and closed by somebody who is not the writer.
    for (cut, change) in [(1, Some(0)), (1, Some(1)), (0, None)] {
        let dir = tempfile::tempdir().unwrap();
        let path = cut_by(dir.path(), cut);
        let mut bytes = fs::read(&path).unwrap();
        let first = u32::from_le_bytes(bytes[HEADER..HEADER + 4].try_into().unwrap()) as usize;
        if let Some(block) = change {
            let begins = HEADER + block * (BLOCK_HEAD + first + BLOCK_TAIL);
            bytes[begins + 10] ^= 1;
            fs::write(&path, &bytes).unwrap();
        }
        let before = fs::read(&path).unwrap();
        let journal = left(dir.path(), 1, 4..=6);
        if change == Some(0) {
            std::mem::forget(journal.began(&began(1)).unwrap());
        }
        drop(journal);
        let done = recover_in(dir.path());
        assert_eq!((done.remembered, done.left), (3, 1), "{cut} {change:?}");
        assert_eq!(fs::read(&path).unwrap(), before, "it is evidence");
        let others = others(dir.path(), &path);
        assert_eq!(others.len(), 1);
        assert_eq!(others[0].0, [4, 5, 6]);
        assert!(
            others[0].1.contains("s-0000000000000001"),
            "{}",
            others[0].1
        );
        assert_eq!(fs::read_dir(dir.path().join("journal")).unwrap().count(), 0);
        assert_eq!(recover_in(dir.path()).remembered, 0, "once is enough");
    }
}

#[test]
fn what_lies_apart_is_sealed_where_recordings_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = cut_by(dir.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    bytes[HEADER + 10] ^= 1;
    fs::write(&path, &bytes).unwrap();
    drop(left(dir.path(), 1, 4..=6));
    let identity = Identity::make().unwrap();
    let recipients = recipients(&identity.recipient().to_string());
    let mut vouching = Vouching::new(dir.path(), None).sealing(&recipients);
    let journals = dir.path().join("journal");
    let done = recover(dir.path(), Some(&journals), &mut vouching).unwrap();
    assert_eq!((done.remembered, done.left), (3, 1));
    let own = path_of(dir.path(), apart_of(SessionId(1)));
    let bytes = fs::read(&own).unwrap();
    let mut blocks = Blocks::open(&bytes[..], Identities::none()).unwrap();
    let Step::Sealed(_, standing) = blocks.next().unwrap() else {
        panic!("it lies in clear");
    };
    assert_eq!(standing.last.0, 6);
    let (events, ending) = read_with(&own, Identities::of(Some(identity)));
    assert_eq!(ending.unwrap(), Ending::Closed);
    assert_eq!(seqs(&events), [4, 5, 6]);
    assert!(last_words(&events).0.contains("s-0000000000000001"));
}

#[test]
fn a_file_that_cannot_be_taken_up_keeps_no_other_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = cut_by(dir.path(), 1);
    fs::create_dir(path_of(dir.path(), SessionId(2))).unwrap();
    // What a link leads to is not ours to write.
    let elsewhere = dir.path().join("elsewhere");
    fs::write(&elsewhere, b"").unwrap();
    std::os::unix::fs::symlink(&elsewhere, path_of(dir.path(), SessionId(3))).unwrap();
    drop(left(dir.path(), 1, 4..=4));
    let done = recover_in(dir.path());
    assert_eq!((done.closed, done.remembered, done.left), (1, 1, 2));
    assert_eq!(seqs(&read(&path).0), [1, 2, 3, 4]);
    assert_eq!(fs::read(&elsewhere).unwrap(), b"");
}

#[test]
fn another_way_to_write_the_directory_is_no_other_directory() {
    let dir = tempfile::tempdir().unwrap();
    let path = cut_by(dir.path(), 1);
    drop(left(&dir.path().join("."), 1, 4..=4));
    assert_eq!(
        recover_in(&dir.path().join("../").join(dir.path().file_name().unwrap())).remembered,
        1
    );
    assert_eq!(seqs(&read(&path).0), [1, 2, 3, 4]);
}

#[test]
fn a_file_that_was_just_made_is_left_to_its_writer() {
    let dir = tempfile::tempdir().unwrap();
    let (made, killed) = (
        path_of(dir.path(), SessionId(1)),
        path_of(dir.path(), SessionId(2)),
    );
    fs::write(&made, b"").unwrap();
    // Of this one it is known that its writer is gone.
    fs::write(&killed, b"").unwrap();
    drop(left(dir.path(), 2, 1..=2));
    let done = recover_in(dir.path());
    assert_eq!((done.closed, done.remembered, done.left), (1, 2, 0));
    assert_eq!(fs::read(&made).unwrap(), b"");
    assert_eq!(seqs(&read(&killed).0), [1, 2]);
}

#[test]
fn what_lies_apart_is_made_whole_however_far_it_had_come() {
    let dir = tempfile::tempdir().unwrap();
    let path = cut_by(dir.path(), 0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[HEADER + 10] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let again = || {
        let journal = left(dir.path(), 1, 4..=6);
        std::mem::forget(journal.began(&began(1)).unwrap());
        drop(journal);
        recover_in(dir.path())
    };
    again();
    let own = path_of(dir.path(), apart_of(SessionId(1)));
    let whole = fs::metadata(&own).unwrap().len();
    for length in [whole, whole - 1, whole / 2, HEADER as u64, 5, 0] {
        let file = OpenOptions::new().write(true).open(&own).unwrap();
        file.set_len(length).unwrap();
        let done = again();
        let remembered = if length == whole { 0 } else { 3 };
        assert_eq!((done.remembered, done.left), (remembered, 1), "{length}");
        assert_eq!(others(dir.path(), &path)[0].0, [4, 5, 6], "{length}");
    }
}
