use std::collections::VecDeque;
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::*;
use crate::model::{Refusal, RefusalCode, StatementSeq, UnixMillis};
use crate::record::codec::Told;
use crate::record::tests::{allow, began, decided};
use crate::record::{Login, RecordedText};

const PLACE: u64 = 7;

fn journal(dir: &Path) -> Journal {
    Journal::create(dir, NonZeroUsize::MIN, PLACE).unwrap()
}

/// What the next process would find at this moment.
fn found(journal: &Journal) -> Contents {
    read(&fs::read(&journal.path).unwrap(), PLACE).unwrap()
}

fn texts(contents: &Contents, session: u64) -> Vec<(u64, String)> {
    let told = &contents.sessions[&SessionId(session)].told;
    let text = |told: &Told| match told {
        Told::Began(_) => (0, "began".to_owned()),
        Told::Login(_) => (0, "login".to_owned()),
        Told::Decided(decided) => match &decided.text {
            RecordedText::Plain(text) => (decided.seq.0, text.clone()),
            other => (decided.seq.0, format!("{other:?}")),
        },
    };
    told.iter().map(text).collect()
}

#[test]
fn what_was_decided_is_found_by_the_next_process() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let mut tickets = Vec::new();
    for session in [1, 2] {
        tickets.push(journal.began(&began(session)).unwrap());
    }
    let login = Login::Refused(Refusal::new(RefusalCode::Identity, "no token"));
    let login = LoggedIn {
        at: UnixMillis(5),
        login,
    };
    tickets.push(journal.login(SessionId(2), &login).unwrap());
    let (one, other) = (
        decided(1, "SELECT 1", allow()),
        decided(1, "é\n\u{0}", allow()),
    );
    tickets.push(journal.decided(SessionId(1), &one).unwrap());
    for seq in 1..=50 {
        // Of one judgement with the first; the numbers come in no order.
        let mut like = one.clone();
        like.seq = StatementSeq(52 - seq);
        like.text = RecordedText::Plain(format!("SELECT {}", 52 - seq));
        tickets.push(journal.decided(SessionId(1), &like).unwrap());
    }
    tickets.push(journal.decided(SessionId(2), &other).unwrap());
    let contents = found(&journal);
    assert_eq!((contents.damaged, contents.sessions.len()), (0, 2));
    let expected: Vec<_> = std::iter::once((0, "began".to_owned()))
        .chain((1..=51).map(|seq| (seq, format!("SELECT {seq}"))))
        .collect();
    assert_eq!(texts(&contents, 1), expected);
    let expected = [(0, "began"), (0, "login"), (1, "é\n\u{0}")];
    assert_eq!(
        texts(&contents, 2),
        expected.map(|(seq, text)| (seq, text.to_owned()))
    );
    // Alike means that all the rest is the same.
    let Told::Decided(last) = contents.sessions[&SessionId(1)].told.last().unwrap() else {
        panic!("no decision")
    };
    assert_eq!(
        (&last.decision, &last.analysis),
        (&one.decision, &one.analysis)
    );
    assert_eq!(last.params, one.params);
    // What lies in its recording is told no more, and what refers to it is.
    let rest = tickets.split_off(5);
    drop(tickets);
    assert_eq!(
        texts(&found(&journal), 1).first(),
        Some(&(2, "SELECT 2".to_owned()))
    );
    let tickets = rest;
    // Unsettled, the file stays; settled, it goes.
    let path = journal.path.clone();
    assert!(
        others(dir.path()).unwrap().iter().all(|found| !found.left),
        "somebody writes it"
    );
    drop(tickets);
    drop(journal);
    assert!(!path.exists());
}

#[test]
fn a_half_is_used_again_when_nothing_in_it_is_needed_and_never_before() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let long = "x".repeat(100_000);
    let mut tickets = Vec::new();
    let mut seq = 0;
    while let Some(ticket) = journal.decided(SessionId(1), &decided(seq + 1, &long, allow())) {
        seq += 1;
        tickets.push(ticket);
        assert!(seq < 1000, "never full");
    }
    assert!(seq >= 16, "two halves of a megabyte hold {seq} of 100 kB");
    let seqs = |contents: &Contents| -> Vec<u64> {
        texts(contents, 1).into_iter().map(|(seq, _)| seq).collect()
    };
    assert_eq!(seqs(&found(&journal)), (1..=seq).collect::<Vec<_>>());
    // The first half is settled but for one.
    let mut rest = tickets.split_off(1);
    let second = rest.split_off(rest.len() / 2 + 1);
    drop(rest);
    assert!(
        journal
            .decided(SessionId(1), &decided(seq + 1, &long, allow()))
            .is_none()
    );
    drop(tickets);
    let _ticket = journal
        .decided(SessionId(1), &decided(seq + 1, &long, allow()))
        .unwrap();
    let now = seqs(&found(&journal));
    assert_eq!(now.last(), Some(&(seq + 1)));
    assert!(
        now.len() < seq as usize && now.len() > second.len(),
        "{now:?}"
    );
    // What is too long for here is not cut: its session waits for the writer.
    let longer = "x".repeat(LINE_CAP);
    assert!(
        journal
            .decided(SessionId(1), &decided(99, &longer, allow()))
            .is_none()
    );
    drop(second);
}

#[test]
fn at_any_moment_all_that_was_put_is_found_whole() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Arc::new(journal(dir.path()));
    let put = Arc::new(AtomicU64::new(0));
    let writer = thread::spawn({
        let (journal, put) = (Arc::clone(&journal), Arc::clone(&put));
        move || {
            let (decision, mut last) = (allow(), VecDeque::new());
            for seq in 1..=30_000_u64 {
                let text = "s".repeat((seq * 7 % 300) as usize);
                let one = decided(seq, &text, Arc::clone(&decision));
                // Settled once a thousand others are there.
                last.push_back(journal.decided(SessionId(1), &one).unwrap());
                if last.len() == 1000 {
                    last.pop_front();
                }
                put.store(seq, Ordering::SeqCst);
            }
            drop(last);
        }
    });
    let mut looks = 0;
    while !writer.is_finished() {
        let before = put.load(Ordering::SeqCst);
        let contents = found(&journal);
        assert_eq!(contents.damaged, 0, "after {before}");
        let after = put.load(Ordering::SeqCst);
        // A look takes a while: what was needed when it began may have been settled and written over
        // by its end, but only by as much as was put meanwhile.
        if before > 0 && after - before < 900 {
            let told = contents.sessions[&SessionId(1)].told.iter();
            let seqs: Vec<_> = told.map(|told| told.order().1.0).collect();
            assert!(seqs.contains(&before), "{before} is not there");
            looks += 1;
        }
    }
    writer.join().unwrap();
    assert!(looks > 0);
}

#[test]
fn a_journal_that_is_none_or_another_s_is_refused_and_damage_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let _tickets = [
        journal.began(&began(1)).unwrap(),
        journal
            .decided(SessionId(1), &decided(1, "SELECT 1", allow()))
            .unwrap(),
    ];
    let good = fs::read(&journal.path).unwrap();
    let refused = |change: &dyn Fn(&mut Vec<u8>), place| {
        let mut bytes = good.clone();
        change(&mut bytes);
        read(&bytes, place).unwrap_err()
    };
    assert_eq!(refused(&|_| {}, PLACE + 1), Unreadable::Foreign);
    assert_eq!(refused(&|b| b[0] = 0, PLACE), Unreadable::Magic);
    assert_eq!(refused(&|b| b[WORD] = 9, PLACE), Unreadable::Layout(9));
    assert_eq!(refused(&|b| b[3 * WORD] = 0, PLACE), Unreadable::Header);
    assert_eq!(refused(&|b| b[2 * WORD + 7] = 1, PLACE), Unreadable::Header);
    assert_eq!(
        refused(&|b| b.truncate(HEADER * WORD), PLACE),
        Unreadable::Header
    );
    // A byte of the first line: that one is nonsense, and the next is still there.
    let mut bytes = good.clone();
    bytes[(HEADER + 1 + 3) * WORD] = b'!';
    let contents = read(&bytes, PLACE).unwrap();
    assert_eq!((contents.damaged, texts(&contents, 1).len()), (1, 1));
}

#[test]
fn fuzz_journal() {
    let header: Vec<u8> = [MAGIC, LAYOUT, 64, 2, PLACE, 0, 0, 0]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    bolero::check!().for_each(|bytes: &[u8]| {
        let _ = read(bytes, PLACE);
        let mut whole = header.clone();
        whole.extend_from_slice(bytes);
        whole.resize(whole.len().max((HEADER + 128) * WORD), 0);
        // The first half has a generation, so that what follows is read.
        whole[HEADER * WORD..(HEADER + 1) * WORD].copy_from_slice(&1_u64.to_le_bytes());
        let _ = read(&whole, PLACE);
    });
}

#[test]
fn a_place_is_memory_by_its_file_system_and_not_by_its_name() {
    use std::path::Path;
    // The kernel's own, which no disk backs either, is none that keeps files.
    assert!(!lies_in_memory(Path::new("/proc/self/journal")).unwrap());
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let mounted = mounts.lines().rev().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    // The last mount at a place is the one that is seen there.
    let mut seen = std::collections::HashSet::new();
    let seen = mounted.filter(|(place, _)| seen.insert(*place));
    let held = |kind: &str| matches!(kind, "tmpfs" | "ramfs");
    let mut looked = 0;
    for (place, kind) in seen.filter(|(place, kind)| {
        Path::new(place).is_dir() && (held(kind) || matches!(*kind, "ext4" | "xfs" | "overlay"))
    }) {
        let there = Path::new(place).join("not/there/yet");
        assert_eq!(
            lies_in_memory(&there).unwrap(),
            held(kind),
            "{place} {kind}"
        );
        looked += 1;
    }
    assert!(looked > 0, "{mounts}");
}

#[test]
fn how_full_it_is_follows_what_is_put_in_and_what_is_settled() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let whole = (2 * HALF * WORD) as u64;
    assert_eq!(journal.extent(), (whole, 0, 0));
    let first = journal.began(&began(1)).unwrap();
    let (_, little, needed) = journal.extent();
    assert!(little > 0 && little < whole && needed == 1, "{little}");
    let second = journal.decided(SessionId(1), &decided(1, "SELECT 1", allow()));
    let (_, more, needed) = journal.extent();
    assert!(more > little && needed == 2);
    drop(first);
    assert_eq!(journal.extent(), (whole, more, 1));
    drop(second.unwrap());
    assert_eq!(journal.extent().2, 0);
    // Full, while nothing is settled: no room is left to tell.
    let mut tickets = Vec::new();
    for seq in 1.. {
        let text = format!("SELECT '{}'", "x".repeat(10_000));
        match journal.decided(SessionId(1), &decided(seq, &text, allow())) {
            Some(ticket) => tickets.push(ticket),
            None => break,
        }
    }
    let (_, used, needed) = journal.extent();
    assert_eq!(needed, tickets.len() as u64);
    assert!(used > whole * 9 / 10, "{used} of {whole}");
}
