//! Directories with a ledger, damaged in every way that came to mind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::UnixMillis;
use crate::record::fixtures::{allow, began, decided, finished, rolling};
use crate::record::ledger::{By, NodeKey, segment_path};
use crate::record::{
    BLOCK_HEAD, BLOCK_TAIL, Blocks, Chain, HEADER, Header, Keep, Kind, Recorder, RecorderSettings,
    SessionRecorder, Settle, Step, Tombstones, Why, prune, prune_wanting,
};

fn key(state: &Path) -> Arc<NodeKey> {
    Arc::new(NodeKey::open_or_make(state).unwrap())
}

fn settings(dir: &Path, key: &Arc<NodeKey>) -> RecorderSettings {
    RecorderSettings {
        settle: Settle::Never,
        block_interval: Duration::from_millis(4),
        key: Some(Arc::clone(key)),
        ..RecorderSettings::new(dir)
    }
}

/// Verifies a directory: the verdict, and what was said.
fn verified(dir: &Path, keys: &[PublicKey]) -> (Verdict, String) {
    let mut out = Vec::new();
    let scope = Scope {
        identities: &Identities::none(),
        dir,
        keys,
        only: None,
        copy: false,
    };
    let verdict = audit(&scope, Style::Text, &mut |_, _| {}, &mut out).unwrap();
    let mut json = Vec::new();
    let same = audit(&scope, Style::Json, &mut |_, _| {}, &mut json).unwrap();
    assert_eq!(verdict, same, "both styles say the same");
    for line in String::from_utf8(json).unwrap().lines() {
        let _: serde_json::Value = serde_json::from_str(line).unwrap();
    }
    (verdict, String::from_utf8(out).unwrap())
}

/// Some blocks, one after the other.
fn record(recorder: &Recorder, session: &SessionRecorder, blocks: u64) {
    for seq in 1..=blocks {
        let before = recorder.stats().blocks;
        let taken = session.try_decided(decided(seq, "SELECT 1", allow()));
        assert!(matches!(taken, Ok(crate::record::Pushed::Done(_))));
        session.finished(finished(seq, 0));
        while recorder.stats().blocks == before {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn whole_session(recorder: &Recorder, id: u64, blocks: u64) {
    let session = recorder.begin(began(id)).unwrap();
    record(recorder, &session, blocks);
    session.close(Why::ClientQuit);
}

/// Two lives of an agent, five sessions, a ledger of several segments; and the ledger as it was after
/// the first life.
struct Evidence {
    _state: tempfile::TempDir,
    key: Arc<NodeKey>,
    dir: tempfile::TempDir,
    earlier: tempfile::TempDir,
}

static EVIDENCE: LazyLock<Evidence> = LazyLock::new(|| {
    let state = tempfile::tempdir().unwrap();
    let (dir, earlier) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let key = key(state.path());
    let first = rolling(settings(dir.path(), &key), 1500);
    for id in 1..=3 {
        whole_session(&first, id, 2 + id % 2);
    }
    first.stop();
    copy(dir.path(), earlier.path());
    let second = rolling(settings(dir.path(), &key), 1500);
    for id in 4..=5 {
        whole_session(&second, id, 2);
    }
    second.stop();
    Evidence {
        _state: state,
        key,
        dir,
        earlier,
    }
});

impl Evidence {
    fn keys(&self) -> [PublicKey; 1] {
        [self.key.public()]
    }

    /// A copy to be damaged.
    fn copied(&self) -> tempfile::TempDir {
        let to = tempfile::tempdir().unwrap();
        copy(self.dir.path(), to.path());
        to
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Recordings first, then segments.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = find::all(dir).unwrap();
    all.extend(segments(&ledger_dir(dir)).unwrap());
    all
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap().to_string_lossy().into_owned()
}

/// The header, then each block.
fn parts(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = vec![bytes[..HEADER].to_vec()];
    let mut rest = &bytes[HEADER..];
    while !rest.is_empty() {
        let payload = u32::from_le_bytes(rest[..4].try_into().unwrap()) as usize;
        let (block, after) = rest.split_at(BLOCK_HEAD + payload + BLOCK_TAIL);
        parts.push(block.to_vec());
        rest = after;
    }
    parts
}

#[derive(Clone, Debug)]
enum Harm {
    Flip(usize, usize, u8),
    Remove(usize, usize),
    Exchange(usize, usize, usize),
    Repeat(usize, usize),
    Cut(usize, usize),
    CutAtABorder(usize, usize),
    Append(usize, Vec<u8>),
    Delete(usize),
    Swap(usize, usize),
}

fn harm() -> impl Strategy<Value = Harm> {
    let number = any::<usize>;
    prop_oneof![
        6 => (number(), number(), 1_u8..).prop_map(|(f, at, xor)| Harm::Flip(f, at, xor)),
        2 => (number(), number()).prop_map(|(f, at)| Harm::Remove(f, at)),
        2 => (number(), number(), number()).prop_map(|(f, a, b)| Harm::Exchange(f, a, b)),
        1 => (number(), number()).prop_map(|(f, at)| Harm::Repeat(f, at)),
        4 => (number(), number()).prop_map(|(f, at)| Harm::Cut(f, at)),
        2 => (number(), number()).prop_map(|(f, at)| Harm::CutAtABorder(f, at)),
        1 => (number(), prop::collection::vec(any::<u8>(), 1..300)).prop_map(|(f, b)| Harm::Append(f, b)),
        1 => number().prop_map(Harm::Delete),
        1 => (number(), number()).prop_map(|(a, b)| Harm::Swap(a, b)),
    ]
}

/// Does it. Gives the names of what was touched; none: it came out the same.
fn inflict(dir: &Path, harm: &Harm) -> Vec<String> {
    let all = files(dir);
    let of = |index: &usize| all[index % all.len()].clone();
    let rewrite = |index: &usize, how: &dyn Fn(&[u8]) -> Vec<u8>| {
        let path = of(index);
        let before = fs::read(&path).unwrap();
        let after = how(&before);
        if before == after {
            return Vec::new();
        }
        fs::write(&path, after).unwrap();
        vec![name(&path)]
    };
    match harm {
        Harm::Flip(file, at, xor) => rewrite(file, &|bytes| {
            let mut bytes = bytes.to_vec();
            let at = at % bytes.len();
            bytes[at] ^= xor;
            bytes
        }),
        Harm::Remove(file, at) => rewrite(file, &|bytes| {
            let mut parts = parts(bytes);
            parts.remove(at % parts.len());
            parts.concat()
        }),
        Harm::Exchange(file, a, b) => rewrite(file, &|bytes| {
            let mut parts = parts(bytes);
            let count = parts.len();
            parts.swap(a % count, b % count);
            parts.concat()
        }),
        Harm::Repeat(file, at) => rewrite(file, &|bytes| {
            let mut parts = parts(bytes);
            let at = at % parts.len();
            parts.insert(at, parts[at].clone());
            parts.concat()
        }),
        Harm::Cut(file, at) => rewrite(file, &|bytes| bytes[..at % bytes.len()].to_vec()),
        Harm::CutAtABorder(file, at) => rewrite(file, &|bytes| {
            let parts = parts(bytes);
            parts[..at % parts.len()].concat()
        }),
        Harm::Append(file, more) => rewrite(file, &|bytes| [bytes, more].concat()),
        Harm::Delete(file) => {
            fs::remove_file(of(file)).unwrap();
            vec![name(&of(file))]
        }
        Harm::Swap(a, b) => {
            let (a, b) = (of(a), of(b));
            let (of_a, of_b) = (fs::read(&a).unwrap(), fs::read(&b).unwrap());
            if a == b {
                return Vec::new();
            }
            fs::write(&a, of_b).unwrap();
            fs::write(&b, of_a).unwrap();
            vec![name(&a), name(&b)]
        }
    }
}

/// The last thing in the newest segment is that the agent stopped. Who cuts no more than that, or adds
/// what is no block, leaves what a killed agent leaves: it is said, and nothing is lost.
fn only_the_stop_is_gone(dir: &Path) -> bool {
    let mut last: BTreeMap<SegmentId, Vec<String>> = BTreeMap::new();
    for path in segments(&ledger_dir(dir)).unwrap() {
        let mut lines = Vec::new();
        let stretch = read_segment(&path, Some(&EVIDENCE.keys()), &mut |_, entry| {
            lines.push(serde_json::to_string(&entry).unwrap());
        });
        last.insert(stretch.unwrap().segment, lines);
    }
    let mut whole: BTreeMap<SegmentId, Vec<String>> = BTreeMap::new();
    for path in segments(&ledger_dir(EVIDENCE.dir.path())).unwrap() {
        let mut lines = Vec::new();
        let stretch = read_segment(&path, Some(&EVIDENCE.keys()), &mut |_, entry| {
            lines.push(serde_json::to_string(&entry).unwrap());
        });
        whole.insert(stretch.unwrap().segment, lines);
    }
    let strip = |all: &BTreeMap<SegmentId, Vec<String>>| -> Vec<String> {
        let of_sessions = |line: &&String| line.contains("\"session\"") || line.contains("sees");
        all.values()
            .flatten()
            .filter(of_sessions)
            .cloned()
            .collect()
    };
    last.len() == whole.len() && strip(&last) == strip(&whole)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn whatever_is_done_to_the_files_is_found_and_named(harm in harm()) {
        let dir = EVIDENCE.copied();
        let touched = inflict(dir.path(), &harm);
        let (verdict, said) = verified(dir.path(), &EVIDENCE.keys());
        if touched.is_empty() {
            prop_assert_eq!(verdict, Verdict::Good, "{}", said);
            return Ok(());
        }
        if verdict == Verdict::Good {
            prop_assert!(only_the_stop_is_gone(dir.path()), "{:?}: {}", harm, said);
            prop_assert!(said.contains("ends without a stop"), "{:?}: {}", harm, said);
        }
        // A segment that nobody has seen yet and that is gone is told of by its sessions.
        let by_name = touched.iter().all(|name| said.contains(name));
        let by_sessions = matches!(harm, Harm::Delete(_)) && said.contains("UNKNOWN");
        prop_assert!(by_name || by_sessions, "{:?} {:?}: {}", harm, touched, said);
    }
}

#[test]
fn what_nobody_touched_is_good() {
    let evidence = &*EVIDENCE;
    assert!(segments(&ledger_dir(evidence.dir.path())).unwrap().len() >= 3);
    let (verdict, said) = verified(evidence.dir.path(), &evidence.keys());
    assert_eq!(verdict, Verdict::Good, "{said}");
    let last = said.lines().last().unwrap();
    assert!(
        last.starts_with("good: 5 recordings, 0 of them") && last.contains("signed by"),
        "{said}"
    );
    assert!(!said.contains("ends without"), "{said}");
}

#[test]
fn each_kind_of_harm_has_its_word() {
    let evidence = &*EVIDENCE;
    let third = |dir: &Path| path_of(dir, SessionId(3));
    type Doing = fn(&Path);
    let cases: [(&str, Doing, &str); 8] = [
        (
            "a closed recording cut at the border of a block",
            |dir| {
                let path = path_of(dir, SessionId(3));
                let parts = parts(&fs::read(&path).unwrap());
                fs::write(&path, parts[..parts.len() - 1].concat()).unwrap();
            },
            "s-0000000000000003: TRUNCATED: the ledger knows",
        ),
        (
            "a deleted recording",
            |dir| fs::remove_file(path_of(dir, SessionId(3))).unwrap(),
            "s-0000000000000003: DELETED: it is gone, without a tombstone; begun 20",
        ),
        (
            "a recording made anew, its chain sound",
            |dir| {
                let path = path_of(dir, SessionId(3));
                let bytes = fs::read(&path).unwrap();
                let mut changed = parts(&bytes);
                changed[2][24] ^= 1; // when it was sealed
                let anew = rebuilt(&changed.concat(), Kind::Recording, &bytes[..HEADER]);
                fs::write(&path, anew).unwrap();
            },
            "s-0000000000000003: CHANGED: it is not the recording that the ledger has signed",
        ),
        (
            "a recording that was put there",
            |dir| {
                let (from, to) = (path_of(dir, SessionId(3)), path_of(dir, SessionId(77)));
                let header = Header {
                    session: SessionId(77),
                    began: UnixMillis(1),
                };
                let bytes = fs::read(from).unwrap();
                let (_, mut new) = Chain::create(header);
                new[24..32].copy_from_slice(&bytes[24..32]);
                fs::write(to, rebuilt(&bytes, Kind::Recording, &new)).unwrap();
            },
            "s-000000000000004d: UNKNOWN: the ledger does not know it",
        ),
        (
            "a ledger that is gone",
            |dir| fs::remove_dir_all(ledger_dir(dir)).unwrap(),
            "ledger: GONE",
        ),
        (
            "a segment that is gone",
            |dir| fs::remove_file(oldest(dir)).unwrap(),
            "DELETED: it is gone, without a tombstone; l-",
        ),
        (
            "a segment made anew without a block, its chain sound, its lines as they were signed",
            |dir| {
                let path = oldest(dir);
                let bytes = fs::read(&path).unwrap();
                let mut left = parts(&bytes);
                left.remove(2);
                let anew = rebuilt(&left.concat(), Kind::Ledger, &bytes[..HEADER]);
                fs::write(&path, anew).unwrap();
            },
            "its signature is not by the node's key",
        ),
        (
            "an older copy of the ledger",
            |dir| {
                fs::remove_dir_all(ledger_dir(dir)).unwrap();
                copy(&ledger_dir(EVIDENCE.earlier.path()), &ledger_dir(dir));
            },
            "s-0000000000000005: UNKNOWN: the ledger does not know it",
        ),
    ];
    for (what, doing, word) in cases {
        let dir = evidence.copied();
        assert!(third(dir.path()).exists());
        doing(dir.path());
        let (verdict, said) = verified(dir.path(), &evidence.keys());
        assert_eq!(verdict, Verdict::Bad, "{what}: {said}");
        assert!(said.contains(word), "{what}: {said}");
    }
}

/// The segment that was written first: others have seen it.
fn oldest(dir: &Path) -> PathBuf {
    let began = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap();
        Blocks::open_as(Kind::Ledger, &bytes[..])
            .unwrap()
            .header()
            .began
    };
    let seen = |path: &PathBuf| {
        let keys = EVIDENCE.keys();
        let mut seen = BTreeSet::new();
        for other in segments(&ledger_dir(dir)).unwrap() {
            let mut look = |_, entry| {
                if let crate::record::ledger::Entry::Sees { segment, .. } = entry {
                    seen.insert(segment.to_string());
                }
            };
            let _ = read_segment(&other, Some(&keys), &mut look).unwrap();
        }
        seen.contains(&name(path))
    };
    let mut all = segments(&ledger_dir(dir)).unwrap();
    all.retain(seen);
    all.into_iter().min_by_key(began).unwrap()
}

/// The blocks' contents, chained anew behind this header.
fn rebuilt(bytes: &[u8], kind: Kind, header: &[u8]) -> Vec<u8> {
    let (mut chain, _) = Chain::open_as(kind, header.try_into().unwrap()).unwrap();
    let mut out = header.to_vec();
    for part in &parts(bytes)[1..] {
        let field = |at: usize| u32::from_le_bytes(part[at..at + 4].try_into().unwrap());
        let at = i64::from_le_bytes(part[24..32].try_into().unwrap());
        let payload = &part[BLOCK_HEAD..part.len() - BLOCK_TAIL];
        chain.seal(
            payload,
            field(4) as usize,
            UnixMillis(at),
            field(8) == 1,
            &mut out,
        );
    }
    out
}

/// The bound of what a file system can tell by itself: an earlier moment, put back whole, was good
/// then. What is known elsewhere, such as a later head, is not in it.
#[test]
fn a_whole_directory_put_back_to_an_earlier_moment_is_that_moment() {
    let (verdict, said) = verified(EVIDENCE.earlier.path(), &EVIDENCE.keys());
    assert_eq!(verdict, Verdict::Good, "{said}");
    assert!(said.contains("good: 3 recordings"), "{said}");
}

#[test]
fn another_nodes_ledger_is_not_this_ones() {
    let state = tempfile::tempdir().unwrap();
    let other = key(state.path()).public();
    let (verdict, said) = verified(EVIDENCE.dir.path(), &[other]);
    assert_eq!(verdict, Verdict::Bad);
    assert!(
        said.contains("its signature is not by the node's key"),
        "{said}"
    );
    let both = [other, EVIDENCE.key.public()];
    assert_eq!(verified(EVIDENCE.dir.path(), &both).0, Verdict::Good);
    let none = Scope {
        identities: &Identities::none(),
        dir: EVIDENCE.dir.path(),
        keys: &[],
        only: None,
        copy: false,
    };
    let error = audit(&none, Style::Text, &mut |_, _| {}, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, ReplayError::NoKey { .. }), "{error}");
}

#[test]
fn one_session_is_asked_for_also_if_it_is_gone() {
    let dir = EVIDENCE.copied();
    let ask = |id| {
        let only = [path_of(dir.path(), SessionId(id))];
        let scope = Scope {
            identities: &Identities::none(),
            dir: dir.path(),
            keys: &EVIDENCE.keys(),
            only: Some(&only),
            copy: false,
        };
        let mut out = Vec::new();
        let verdict = audit(&scope, Style::Text, &mut |_, _| {}, &mut out);
        (verdict, String::from_utf8(out).unwrap())
    };
    fs::remove_file(path_of(dir.path(), SessionId(2))).unwrap();
    assert!(matches!(ask(1), (Ok(Verdict::Good), _)));
    let (verdict, said) = ask(2);
    assert!(
        matches!(verdict, Ok(Verdict::Bad)) && said.contains("DELETED"),
        "{said}"
    );
    assert!(matches!(ask(99), (Err(ReplayError::Read { .. }), _)));
}

#[test]
fn two_agents_write_side_by_side_and_a_third_goes_on() {
    let (state, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let key = key(state.path());
    let keys = [key.public()];
    let old = Recorder::open(settings(dir.path(), &key)).unwrap();
    let lasting = old.begin(began(1)).unwrap();
    record(&old, &lasting, 2);
    let new = Recorder::open(settings(dir.path(), &key)).unwrap();
    whole_session(&new, 2, 2);
    record(&old, &lasting, 2);
    // While both write.
    let (verdict, said) = verified(dir.path(), &keys);
    assert_eq!(verdict, Verdict::Good, "{said}");
    lasting.close(Why::ClientQuit);
    old.stop();
    new.stop();
    assert_eq!(segments(&ledger_dir(dir.path())).unwrap().len(), 2);
    let third = Recorder::open(settings(dir.path(), &key)).unwrap();
    whole_session(&third, 3, 1);
    third.stop();
    let all = segments(&ledger_dir(dir.path())).unwrap();
    assert_eq!(all.len(), 2, "one of them goes on");
    let (verdict, said) = verified(dir.path(), &keys);
    assert_eq!(verdict, Verdict::Good, "{said}");
    // Each of them has been seen by the other, or its sessions are missed.
    for path in all {
        let harmed = tempfile::tempdir().unwrap();
        copy(dir.path(), harmed.path());
        fs::remove_file(ledger_dir(harmed.path()).join(path.file_name().unwrap())).unwrap();
        assert_eq!(verified(harmed.path(), &keys).0, Verdict::Bad);
    }
}

#[test]
fn what_is_removed_in_order_has_a_tombstone_also_while_an_agent_runs() {
    let (state, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let key = key(state.path());
    let keys = [key.public()];
    let recorder = Recorder::open(settings(dir.path(), &key)).unwrap();
    for id in 1..=4 {
        whole_session(&recorder, id, 1);
    }
    let live = recorder.begin(began(5)).unwrap();
    record(&recorder, &live, 1);
    while recorder.stats().sessions < 4 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let tombstones = Tombstones {
        key: Arc::clone(&key),
        by: By::Operator,
    };
    let bytes =
        |id| fs::metadata(path_of(dir.path(), SessionId(id))).map_or(0, |about| about.len());
    while bytes(5) == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let keep = Keep {
        max_bytes: Some(bytes(3) + bytes(4) + bytes(5)),
        ..Keep::default()
    };
    let now = crate::clock::now();
    let pruned = prune(dir.path(), keep, now, Some(&tombstones)).unwrap();
    assert_eq!(pruned.removed.len(), 2);
    let (verdict, said) = verified(dir.path(), &keys);
    assert_eq!(verdict, Verdict::Good, "{said}");
    assert!(said.contains("0 deleted, 2 removed in order"), "{said}");
    // Of one workload, and never what is live.
    let keep = Keep {
        workload_max_bytes: Some(1),
        ..Keep::default()
    };
    let pruned = prune(dir.path(), keep, now, Some(&tombstones)).unwrap();
    assert_eq!(pruned.removed.len(), 2);
    assert!(path_of(dir.path(), SessionId(5)).exists());
    live.close(Why::ClientQuit);
    recorder.stop();
    let (verdict, said) = verified(dir.path(), &keys);
    assert_eq!(verdict, Verdict::Good, "{said}");
    assert!(said.contains("0 deleted, 4 removed in order"), "{said}");
    // One that is removed by hand has none.
    fs::remove_file(path_of(dir.path(), SessionId(5))).unwrap();
    assert_eq!(verified(dir.path(), &keys).0, Verdict::Bad);
}

#[test]
fn a_tombstone_does_not_cover_what_was_changed_before() {
    let (state, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let key = key(state.path());
    let keys = [key.public()];
    let recorder = Recorder::open(settings(dir.path(), &key)).unwrap();
    for id in [1, 2] {
        whole_session(&recorder, id, 3);
    }
    recorder.stop();
    // What ran last is cut away, and the rest made old enough to go.
    let path = path_of(dir.path(), SessionId(1));
    let mut all = parts(&fs::read(&path).unwrap());
    all.pop();
    fs::write(&path, all.concat()).unwrap();
    let tombstones = Tombstones { key, by: By::Agent };
    let keep = Keep {
        max_bytes: Some(0),
        ..Keep::default()
    };
    let now = crate::clock::now();
    let pruned = prune(dir.path(), keep, now, Some(&tombstones)).unwrap();
    assert_eq!(pruned.removed.len(), 2);
    let (verdict, said) = verified(dir.path(), &keys);
    assert_eq!(verdict, Verdict::Bad, "{said}");
    assert!(said.contains("s-0000000000000001: CHANGED"), "{said}");
    assert!(said.contains("1 removed in order"), "{said}");
}

#[test]
fn no_time_in_a_file_makes_it_older_than_the_ledger_says() {
    let (state, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let key = key(state.path());
    let recorder = Recorder::open(settings(dir.path(), &key)).unwrap();
    whole_session(&recorder, 1, 3);
    recorder.stop();
    // The last block is of 1970, and the file, too; its hash is what the ledger has signed.
    let path = path_of(dir.path(), SessionId(1));
    let mut all = parts(&fs::read(&path).unwrap());
    all.last_mut().unwrap()[24..32].fill(0);
    fs::write(&path, all.concat()).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    let tombstones = Tombstones { key, by: By::Agent };
    let keep = Keep {
        max_age: Some(Duration::from_mins(1)),
        ..Keep::default()
    };
    let now = crate::clock::now();
    let pruned = |now| prune(dir.path(), keep, now, Some(&tombstones)).unwrap();
    assert!(pruned(now).removed.is_empty());
    assert_eq!(pruned(UnixMillis(now.0 + 61_000)).removed, [path]);
}

#[test]
fn where_there_is_an_archive_what_is_not_there_stays_until_nothing_else_makes_room() {
    use crate::record::{ArchiveNote, Copied, KeepArchived, Stamp};
    let (state, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let key = key(state.path());
    let keys = [key.public()];
    let recorder = Recorder::open(settings(dir.path(), &key)).unwrap();
    for id in 1..=4 {
        whole_session(&recorder, id, 1);
    }
    while recorder.stats().sessions < 4 {
        std::thread::sleep(Duration::from_millis(1));
    }
    recorder.stop();
    let path = |id| path_of(dir.path(), SessionId(id));
    let stamp = |id| Stamp::of(&fs::metadata(path(id)).unwrap());
    let tombstones = Tombstones {
        key: Arc::clone(&key),
        by: By::Agent,
    };
    let mut note = ArchiveNote::take(dir.path()).unwrap().unwrap();
    let mut copied = |id, stamp| {
        let (session, at) = (SessionId(id), UnixMillis(1));
        let object = format!("node/{session}.rec").into();
        note.add(Copied {
            session,
            stamp,
            at,
            object,
        })
        .unwrap();
    };
    copied(2, stamp(2));
    copied(3, stamp(3));
    // A note of what it was before counts for nothing.
    copied(
        4,
        Stamp {
            inode: 0,
            ..stamp(4)
        },
    );
    let archive = Some(KeepArchived {
        local: Some(Duration::from_hours(1)),
    });
    let later = UnixMillis(crate::clock::now().0 + 7_200_000);
    let pruned = |keep, wanting| {
        let pruned = prune_wanting(dir.path(), keep, wanting, later, Some(&tombstones)).unwrap();
        let mut removed = pruned.removed;
        removed.sort();
        removed
    };
    let local = Keep {
        archive,
        ..Keep::default()
    };
    let room = stamp(4).bytes;
    // Where room is wanting, one that is elsewhere goes first.
    let archive = Some(KeepArchived { local: None });
    let roomless = Keep {
        archive,
        ..Keep::default()
    };
    assert!(pruned(roomless, 0).is_empty());
    assert_eq!(pruned(roomless, 1), [path(2)]);
    assert_eq!(pruned(local, 0), [path(3)]);
    // Too old, and nowhere else.
    let old = Keep {
        max_age: Some(Duration::from_secs(1)),
        ..local
    };
    assert!(pruned(old, 0).is_empty());
    // Too much: then the oldest goes.
    let much = Keep {
        max_bytes: Some(room),
        ..old
    };
    assert_eq!(pruned(much, 0), [path(1)]);
    let (verdict, said) = verified(dir.path(), &keys);
    assert_eq!(verdict, Verdict::Good, "{said}");
    let mut json = Vec::new();
    let scope = Scope {
        identities: &Identities::none(),
        dir: dir.path(),
        keys: &keys,
        only: None,
        copy: false,
    };
    let _ = audit(&scope, Style::Json, &mut |_, _| {}, &mut json).unwrap();
    let said = String::from_utf8(json).unwrap();
    for words in [
        "for recording.archive.keep_local by the agent; archived 1970-01-01",
        "as node/s-0000000000000003.rec",
        "for a disk that was nearly full by the agent; archived 1970-01-01",
        "as node/s-0000000000000002.rec",
        "for recording.max_bytes by the agent; it was NOT archived",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    // In a copy, what is not there was not copied; what is, is verified.
    fs::remove_file(path(4)).unwrap();
    assert_eq!(verified(dir.path(), &keys).0, Verdict::Bad);
    let scope = Scope {
        copy: true,
        ..scope
    };
    let mut said = Vec::new();
    let verdict = audit(&scope, Style::Text, &mut |_, _| {}, &mut said).unwrap();
    let said = String::from_utf8(said).unwrap();
    assert_eq!(verdict, Verdict::Good, "{said}");
    assert!(
        said.contains("knows 1 more recordings, which are not in this copy"),
        "{said}"
    );
}

#[test]
fn where_the_clock_went_back_is_named_in_a_recording() {
    let dir = tempfile::tempdir().unwrap();
    let header = Header {
        session: SessionId(1),
        began: UnixMillis(5000),
    };
    let (mut chain, bytes) = Chain::create(header);
    let mut out = bytes.to_vec();
    let lines = b"{\"event\":\"later\"}\n";
    let payload = zstd::bulk::compress(lines, 1).unwrap();
    for (at, last) in [(5000, false), (9000, false), (2500, false), (2400, true)] {
        chain.seal(&payload, lines.len(), UnixMillis(at), last, &mut out);
    }
    let path = path_of(dir.path(), SessionId(1));
    fs::write(&path, out).unwrap();
    let (state, _) = whole(&path, &Identities::none(), []).unwrap();
    assert_eq!(state.verdict(), Verdict::Good);
    assert!(
        state
            .sentence()
            .contains("the clock went back by 6.500 s at block 2, and 1 more times by less"),
        "{}",
        state.sentence()
    );
}

/// Where the child of the next test records; it is the same test, run once more.
const CHILD: &str = "NODE_AGENT_TEST_LEDGER_DIR";

/// Sessions that come and go, until it is killed.
fn come_and_go(dir: &Path) {
    let key = key(&dir.join("state"));
    let recorder = Recorder::open(settings(&dir.join("recordings"), &key)).unwrap();
    let lasting = recorder.begin(began(rand_id(0))).unwrap();
    let mut open = Vec::new();
    for id in 1.. {
        let _ = lasting.try_decided(decided(id, "SELECT 1", allow()));
        lasting.finished(finished(id, 0));
        let session = recorder.begin(began(rand_id(id))).unwrap();
        let _ = session.try_decided(decided(1, "SELECT 1", allow()));
        session.finished(finished(1, 0));
        open.push(session);
        if open.len() > 5 {
            open.remove(0).close(Why::ClientQuit);
        }
        println!("at {id}");
        std::thread::sleep(Duration::from_micros(300));
    }
}

/// Another name in each life.
fn rand_id(id: u64) -> u64 {
    (u64::from(std::process::id()) << 32) | id
}

#[test]
fn what_a_killed_agent_leaves_is_good_and_what_is_taken_from_it_is_missed() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return come_and_go(Path::new(&dir));
    }
    let name = "replay::audit::tests::what_a_killed_agent_leaves_is_good_and_what_is_taken_from_it_is_missed";
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("state")).unwrap();
    let keys = [key(&dir.path().join("state")).public()];
    let recordings = dir.path().join("recordings");
    for life in 0..8_u64 {
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
        while told.next().expect("the child records") < 40 + 13 * life {}
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        let (verdict, said) = verified(&recordings, &keys);
        assert_eq!(verdict, Verdict::Good, "life {life}: {said}");
    }
    // One of the writer, and one of what takes up what the one before left.
    assert!(segments(&ledger_dir(&recordings)).unwrap().len() <= 2);
    // One that was left open, and one that is closed.
    let scope = Scope {
        identities: &Identities::none(),
        dir: &recordings,
        keys: &keys,
        only: None,
        copy: false,
    };
    let heard = hear(&scope, None).unwrap().unwrap();
    let mut open_and_closed = [None, None];
    for path in find::all(&recordings).unwrap() {
        let known = &heard.ledgered.sessions[&find::session_of(&path).unwrap()];
        let closed = known.end == crate::record::ledger::KnownEnd::Closed;
        // What was announced at the very last may be gone; what was taken up is closed.
        let closed = closed || known.taken_up.is_some();
        if path.exists() && !heard.last_word(known.begun_in) {
            open_and_closed[usize::from(closed)].get_or_insert(path);
        }
    }
    assert!(open_and_closed.iter().all(Option::is_some));
    for path in open_and_closed.into_iter().flatten() {
        let kept = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let (verdict, said) = verified(&recordings, &keys);
        assert_eq!(verdict, Verdict::Bad);
        let session = find::session_of(&path).unwrap();
        assert!(said.contains(&format!("{session}: DELETED")), "{said}");
        fs::write(&path, kept).unwrap();
    }
    assert_eq!(verified(&recordings, &keys).0, Verdict::Good);
}

/// On a slow disk a file comes long after the ledger has announced it.
#[test]
fn what_a_living_writer_has_just_announced_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("state")).unwrap();
    let key = key(&dir.path().join("state"));
    let keys = [key.public()];
    let recordings = dir.path().join("recordings");
    let recorder = Recorder::open(settings(&recordings, &key)).unwrap();
    let session = recorder.begin(began(1)).unwrap();
    record(&recorder, &session, 1);
    let path = path_of(&recordings, SessionId(1));
    let scope = Scope {
        identities: &Identities::none(),
        dir: &recordings,
        keys: &keys,
        only: None,
        copy: false,
    };
    let heard = hear(&scope, None).unwrap().unwrap();
    assert!(heard.may_come(SessionId(1)));
    assert!(path.exists());
    let aside = dir.path().join("aside");
    fs::rename(&path, &aside).unwrap();
    let comes = std::thread::spawn(move || {
        // Several moments later: it was looked for, and was not there.
        std::thread::sleep(4 * MOMENT);
        fs::rename(&aside, &path).unwrap();
    });
    let (verdict, said) = verified(&recordings, &keys);
    comes.join().unwrap();
    assert_eq!(verdict, Verdict::Good, "{said}");
    assert!(!said.contains("DELETED"), "{said}");
}

/// An agent that takes up what a killed one left signs what it finds. Who changed that meanwhile is
/// found by what the killed one had said.
#[test]
fn what_was_changed_before_it_was_taken_up_is_found_all_the_same() {
    use crate::record::ledger::{Entry, Ledger, Sum, Writing};
    let (state, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let key = key(state.path());
    let header = Header {
        session: SessionId(1),
        began: UnixMillis(5000),
    };
    let payload = zstd::bulk::compress(b"{}\n", 1).unwrap();
    let (mut chain, bytes) = Chain::create(header);
    let mut file = bytes.to_vec();
    let mark = |chain: &Chain| Mark {
        blocks: chain.blocks(),
        bytes: chain.offset(),
        hash: Sum(*chain.hash()),
    };
    let mut marks = Vec::new();
    for block in 0..4 {
        chain.seal(&payload, 3, UnixMillis(5000), block == 3, &mut file);
        marks.push(mark(&chain));
    }
    fs::write(path_of(dir.path(), SessionId(1)), file).unwrap();
    let other = Mark {
        hash: Sum([7; 32]),
        ..marks[1]
    };
    for (told, good) in [(marks[1], true), (other, false)] {
        let _ = fs::remove_dir_all(ledger_dir(dir.path()));
        let open = || Ledger::open(Writing::new(dir.path(), Arc::clone(&key), By::Agent)).unwrap();
        let mut killed = open();
        let (session, workload) = (SessionId(1), "claude".into());
        killed.tell(&Entry::Began { session, workload });
        killed.flush().unwrap();
        killed.tell(&Entry::Head {
            session,
            mark: told,
        });
        killed.flush().unwrap();
        drop(killed);
        let mut next = open();
        next.recovered(session, marks[3], 17);
        next.stop().unwrap();
        let (verdict, said) = verified(dir.path(), &[key.public()]);
        assert_eq!(verdict == Verdict::Good, good, "{said}");
        assert_eq!(said.contains("CHANGED"), !good, "{said}");
    }
}

#[test]
fn segments_hold_what_their_names_say() {
    let dir = EVIDENCE.dir.path();
    for path in segments(&ledger_dir(dir)).unwrap() {
        let stretch = read_segment(&path, Some(&EVIDENCE.keys()), &mut |_, _| {}).unwrap();
        assert_eq!(segment_path(&ledger_dir(dir), stretch.segment), path);
        assert_eq!(fs::metadata(&path).unwrap().len(), stretch.mark.bytes);
        let bytes = fs::read(&path).unwrap();
        let mut blocks = Blocks::open_as(Kind::Ledger, &bytes[..]).unwrap();
        while let Step::Block(..) = blocks.next().unwrap() {}
    }
}
