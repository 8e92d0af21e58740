//! The ledger by itself: keys, segments, order, faults.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::retire::retire_above;
use super::*;
use crate::model::{SessionId, UnixMillis};
use crate::record::chain::{Chain, Header};

fn key(state: &Path) -> Arc<NodeKey> {
    Arc::new(NodeKey::open_or_make(state).unwrap())
}

fn began(session: u64) -> Entry {
    Entry::Began {
        session: SessionId(session),
        workload: "claude".into(),
    }
}

fn some_mark(blocks: u64) -> Mark {
    Mark {
        blocks,
        bytes: 100 * blocks,
        hash: Sum([blocks as u8; 32]),
    }
}

/// All segments' entries, and how they end; every signature must be the key's.
fn told(dir: &Path, key: &NodeKey) -> Vec<(Stretch, Vec<Entry>)> {
    let keys = [key.public()];
    let all = segments(&ledger_dir(dir)).unwrap();
    all.iter()
        .map(|path| {
            let mut entries = Vec::new();
            let stretch = read_segment(path, Some(&keys), &mut |_, entry| entries.push(entry));
            (stretch.unwrap(), entries)
        })
        .collect()
}

#[test]
fn a_key_is_made_once_and_what_is_not_a_key_is_said() {
    let state = tempfile::tempdir().unwrap();
    let made = NodeKey::open_or_make(state.path()).unwrap();
    let path = NodeKey::key_file(state.path());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    let again = NodeKey::open_or_make(state.path()).unwrap();
    assert_eq!(made.public(), again.public());
    // The public half is what others verify by; it is put back if it is gone.
    let public = NodeKey::public_file(state.path());
    fs::remove_file(&public).unwrap();
    NodeKey::open_or_make(state.path()).unwrap();
    assert_eq!(PublicKey::from_file(&public).unwrap(), [made.public()]);
    let names: Vec<_> = fs::read_dir(state.path()).unwrap().collect();
    assert_eq!(names.len(), 2, "nothing else is left behind");

    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = NodeKey::open_or_make(state.path()).unwrap_err();
    assert!(error.to_string().contains("chmod 600"), "{error}");
    for wrong in [
        "",
        "rubbish",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    ] {
        fs::remove_file(&path).unwrap();
        fs::write(&path, wrong).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let error = NodeKey::open_or_make(state.path()).unwrap_err();
        assert!(error.to_string().contains("no Ed25519 key"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), wrong.as_bytes(), "it stays");
    }
    assert!(PublicKey::from_file(&path).is_err());
}

#[test]
fn a_segment_is_continued_and_a_torn_end_is_taken_away_and_said() {
    let (state, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let key = key(state.path());
    let open = || Ledger::open(Writing::new(dir.path(), Arc::clone(&key), By::Agent)).unwrap();
    let mut first = open();
    let ticket = first.tell(&began(1));
    assert!(!first.has(ticket));
    assert!(first.flush().unwrap());
    assert!(first.has(ticket));
    assert!(!first.flush().unwrap(), "nothing is left to write");
    // Killed: no stop, and half a block.
    drop(first);
    let path = segments(&ledger_dir(dir.path())).unwrap().pop().unwrap();
    let whole = fs::read(&path).unwrap();
    fs::write(&path, [&whole[..], b"half a block"].concat()).unwrap();

    let mut second = open();
    second.tell(&began(2));
    second.stop().unwrap();
    let told = told(dir.path(), &key);
    assert_eq!(told.len(), 1);
    let (stretch, entries) = &told[0];
    assert_eq!(stretch.end, StretchEnd::Stopped);
    assert_eq!(stretch.signed_by, Some(key.public().fingerprint()));
    let torn = |entry: &&Entry| matches!(entry, Entry::Started { torn: 12, .. });
    assert_eq!(entries.iter().filter(torn).count(), 1, "{entries:?}");
    let mut known = Ledgered::default();
    let place = |block| Place {
        segment: stretch.segment,
        block,
        at: UnixMillis(0),
    };
    read_segment(&path, None, &mut |place, entry| known.take(place, entry)).unwrap();
    assert_eq!(known.sessions.len(), 2);
    // What the killed one announced last may not have come to pass.
    assert!(
        known
            .last_words
            .contains(&(stretch.segment, place(1).block))
    );
}

#[test]
fn another_key_begins_another_segment() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dir = tempfile::tempdir().unwrap();
    for state in [&one, &other, &one] {
        let key = key(state.path());
        let mut ledger = Ledger::open(Writing::new(dir.path(), key, By::Agent)).unwrap();
        ledger.stop().unwrap();
    }
    assert_eq!(segments(&ledger_dir(dir.path())).unwrap().len(), 2);
}

#[test]
fn a_full_segment_is_followed_by_one_that_names_its_head() {
    let (state, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let key = key(state.path());
    let writing = Writing::new(dir.path(), Arc::clone(&key), By::Agent).rolling_at(2000);
    let mut ledger = Ledger::open(writing).unwrap();
    for session in 1..=40 {
        ledger.tell(&began(session));
        ledger.flush().unwrap();
    }
    ledger.stop().unwrap();
    let told = told(dir.path(), &key);
    assert!(told.len() > 3);
    let mut known = Ledgered::default();
    for path in segments(&ledger_dir(dir.path())).unwrap() {
        read_segment(&path, None, &mut |place, entry| known.take(place, entry)).unwrap();
    }
    assert_eq!(known.sessions.len(), 40);
    for (stretch, _) in &told {
        match stretch.end {
            StretchEnd::Rolled => {
                assert_eq!(known.seen.get(&stretch.segment).unwrap().0, stretch.mark);
            }
            StretchEnd::Stopped => assert!(!known.seen.contains_key(&stretch.segment)),
            ref other => panic!("{other:?}"),
        }
    }
}

#[test]
fn many_entries_at_once_are_several_blocks_and_all_are_there() {
    let (state, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let key = key(state.path());
    let mut ledger = Ledger::open(Writing::new(dir.path(), Arc::clone(&key), By::Agent)).unwrap();
    for session in 0..30_000 {
        ledger.tell(&began(session));
    }
    ledger.stop().unwrap();
    let told = told(dir.path(), &key);
    assert!(told[0].0.mark.blocks > 2);
    let sessions = told[0]
        .1
        .iter()
        .filter(|entry| matches!(entry, Entry::Began { .. }));
    assert_eq!(sessions.count(), 30_000);
}

/// A chain with this many blocks.
fn chain(session: u64, blocks: u64, closed: bool) -> Chain {
    let header = Header {
        session: SessionId(session),
        began: UnixMillis(0),
    };
    let (mut chain, _) = Chain::create(header);
    for block in 1..=blocks {
        chain.seal(
            b"x",
            1,
            UnixMillis(0),
            closed && block == blocks,
            &mut Vec::new(),
        );
    }
    chain
}

#[test]
fn the_ledger_goes_first_and_heads_are_told_in_turn() {
    let (state, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let key = key(state.path());
    let ledger = Ledger::open(Writing::new(dir.path(), Arc::clone(&key), By::Agent)).unwrap();
    let mut witness = Witness::new(Some(ledger));
    let now = Instant::now();
    let workload: Arc<str> = "claude".into();
    let count = 300;
    let mut all: Vec<_> = (0..count).map(|_| Told::default()).collect();
    for (id, told) in all.iter_mut().enumerate() {
        let (id, chain) = (SessionId(id as u64), chain(id as u64, 1, false));
        assert!(
            !witness.may_write(id, &workload, &chain, told),
            "not before it is told"
        );
    }
    assert_eq!(witness.flush(now, false).unwrap(), Flushed::Wrote);
    for (id, told) in all.iter_mut().enumerate() {
        let (id, chain) = (SessionId(id as u64), chain(id as u64, 1, false));
        assert!(witness.may_write(id, &workload, &chain, told));
        witness.wrote(id, &chain, told);
    }
    assert_eq!(
        witness.flush(now, false).unwrap(),
        Flushed::Nothing,
        "no head yet"
    );
    // More than go at once: nobody waits for ever behind the others.
    let mut heads = |after: u64| {
        let flushed = witness
            .flush(now + Duration::from_secs(after), false)
            .unwrap();
        assert_eq!(flushed, Flushed::Wrote);
        for id in 0..10 {
            let told = &mut all[id as usize];
            witness.wrote(SessionId(id), &chain(id, 2, false), told);
        }
    };
    heads(6);
    heads(12);
    let last = chain(7, 3, true);
    assert!(!witness.may_write(SessionId(7), &workload, &last, &mut all[7]));
    witness.flush(now, false).unwrap();
    assert!(witness.may_write(SessionId(7), &workload, &last, &mut all[7]));
    witness.stop();
    let told = told(dir.path(), &key);
    let mut known = Ledgered::default();
    let path = segment_path(&ledger_dir(dir.path()), told[0].0.segment);
    read_segment(&path, None, &mut |place, entry| known.take(place, entry)).unwrap();
    assert_eq!(known.sessions.len(), count);
    assert!(
        known
            .sessions
            .values()
            .all(|known| known.furthest().is_some())
    );
    let seventh = &known.sessions[&SessionId(7)];
    assert_eq!(
        (seventh.end, seventh.furthest().unwrap().blocks),
        (KnownEnd::Closed, 3)
    );
    assert_eq!(known.sessions[&SessionId(3)].furthest().unwrap().blocks, 2);
}

#[test]
fn segments_of_which_nothing_is_left_make_room_and_tombstones_go_last() {
    let (state, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let key = key(state.path());
    let writing =
        |key: &Arc<NodeKey>| Writing::new(dir.path(), Arc::clone(key), By::Agent).rolling_at(2500);
    let mut ledger = Ledger::open(writing(&key)).unwrap();
    for session in 1..=60 {
        ledger.tell(&began(session));
        ledger.tell(&Entry::Closed {
            session: SessionId(session),
            mark: some_mark(1),
        });
        ledger.flush().unwrap();
    }
    let before = segments(&ledger_dir(dir.path())).unwrap().len();
    assert!(before > 4);
    assert_eq!(
        retire_above(dir.path(), &mut ledger, 0).unwrap(),
        0,
        "all are there"
    );
    for session in 1..=50 {
        ledger.tell(&Entry::Pruned {
            session: SessionId(session),
            rule: Rule::Age,
            by: By::Agent,
            last: None,
            archived: None,
        });
        ledger.flush().unwrap();
    }
    let retired = retire_above(dir.path(), &mut ledger, 0).unwrap();
    assert!(retired >= 3, "{retired}");
    ledger.stop().unwrap();
    let mut known = Ledgered::default();
    let mut there = Vec::new();
    for path in segments(&ledger_dir(dir.path())).unwrap() {
        let stretch = read_segment(&path, None, &mut |place, entry| known.take(place, entry));
        there.push(stretch.unwrap().segment);
    }
    for session in 1..=60 {
        let known = known.sessions.get(&SessionId(session));
        let has_a_tombstone = known.is_none_or(|known| known.pruned.is_some());
        let began = known.is_some_and(|known| known.began.is_some());
        // Nobody who is told of and was removed lacks a tombstone; who was not removed is told of.
        assert!(
            if session <= 50 {
                has_a_tombstone
            } else {
                began
            },
            "{session} {known:?}"
        );
    }
    for segment in known.seen.keys() {
        assert!(there.contains(segment) || known.retired.contains_key(segment));
    }
}
