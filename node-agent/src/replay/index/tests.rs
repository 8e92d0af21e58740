//! The index is believed only while the files are what they were.

use std::fs;
use std::path::Path;

use super::*;
use crate::model::SessionId;
use crate::record::{Why, path_of};
use crate::replay::tests::{a_session, recorder};

fn silent(_: usize, _: usize) {}

fn known(dir: &Path, trust: Trust) -> (Vec<u64>, Coverage) {
    let found = catalogue(dir, &Identities::none(), &Filter::default(), trust, &silent).unwrap();
    let sessions = found
        .entries
        .iter()
        .map(|(_, entry)| entry.session.0)
        .collect();
    (sessions, found.coverage)
}

fn coverage(known: usize, read: usize) -> Coverage {
    Coverage {
        known,
        read,
        unopened: 0,
        unreadable: 0,
    }
}

async fn five(dir: &Path) {
    let recorder = recorder(dir);
    for id in 1..=5 {
        a_session(&recorder, id, "SELECT 1")
            .await
            .close(Why::ClientQuit);
    }
    recorder.stop();
}

#[tokio::test]
async fn what_is_known_is_not_read_again_and_what_changed_is() {
    let dir = tempfile::tempdir().unwrap();
    five(dir.path()).await;
    let all = vec![1, 2, 3, 4, 5];
    assert_eq!(
        known(dir.path(), Trust::Unchanged),
        (all.clone(), coverage(0, 5))
    );
    assert_eq!(
        known(dir.path(), Trust::Unchanged),
        (all.clone(), coverage(5, 0))
    );
    assert_eq!(
        known(dir.path(), Trust::Nothing),
        (all.clone(), coverage(0, 5))
    );
    assert_eq!(known(dir.path(), Trust::Unchanged), (all, coverage(5, 0)));
    // As another file of the same length, with the times that it had.
    let path = path_of(dir.path(), SessionId(3));
    let times = fs::metadata(&path).unwrap().modified().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[200] ^= 1;
    fs::write(&path, bytes).unwrap();
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(times)
        .unwrap();
    fs::remove_file(path_of(dir.path(), SessionId(4))).unwrap();
    let found = catalogue(
        dir.path(),
        &Identities::none(),
        &Filter::default(),
        Trust::Unchanged,
        &silent,
    )
    .unwrap();
    assert_eq!(found.coverage, coverage(3, 1));
    let damaged = found.entries.iter().filter(|(_, entry)| entry.damaged);
    let damaged: Vec<_> = damaged.map(|(_, entry)| entry.session.0).collect();
    assert_eq!(damaged, [3]);
}

#[tokio::test]
async fn an_index_that_is_wrong_in_any_way_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    five(dir.path()).await;
    let (all, _) = known(dir.path(), Trust::Unchanged);
    let path = dir.path().join("sessions.index");
    let good = fs::read(&path).unwrap();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..150 {
        let mut bytes = good.clone();
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let at = (random >> 33) as usize % bytes.len();
        match round % 5 {
            0 => bytes[at] ^= 1 << (random & 7),
            1 => bytes.truncate(at),
            2 => bytes = b"node-agent sessions index 2\n".to_vec(),
            3 => bytes.extend_from_slice(&good[at..]),
            _ => bytes[at..].reverse(),
        }
        fs::write(&path, &bytes).unwrap();
        let found = catalogue(
            dir.path(),
            &Identities::none(),
            &Filter::default(),
            Trust::Unchanged,
            &silent,
        )
        .unwrap();
        let sessions: Vec<_> = found
            .entries
            .iter()
            .map(|(_, entry)| entry.session.0)
            .collect();
        assert_eq!(sessions, all, "round {round}");
        assert!(
            found
                .entries
                .iter()
                .all(|(path, entry)| Entry::of(path, &Identities::none()).unwrap() == *entry)
        );
        assert_eq!(
            known(dir.path(), Trust::Unchanged).1,
            coverage(5, 0),
            "round {round}: mended"
        );
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(known(dir.path(), Trust::Unchanged), (all, coverage(0, 5)));
}

#[tokio::test]
async fn who_finds_it_locked_works_without_waiting_and_without_writing() {
    let dir = tempfile::tempdir().unwrap();
    five(dir.path()).await;
    let (all, _) = known(dir.path(), Trust::Unchanged);
    let path = dir.path().join("sessions.index");
    let before = fs::read(&path).unwrap();
    let held = fs::File::open(&path).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let recorder = recorder(dir.path());
    a_session(&recorder, 6, "SELECT 1")
        .await
        .close(Why::ClientQuit);
    recorder.stop();
    let six = [all, vec![6]].concat();
    assert_eq!(
        known(dir.path(), Trust::Unchanged),
        (six.clone(), coverage(5, 1))
    );
    assert_eq!(fs::read(&path).unwrap(), before);
    drop(held);
    assert_eq!(
        known(dir.path(), Trust::Unchanged),
        (six.clone(), coverage(5, 1))
    );
    assert_eq!(known(dir.path(), Trust::Unchanged), (six, coverage(6, 0)));
}

#[tokio::test]
async fn recordings_that_are_gone_leave_the_index_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = recorder(dir.path());
    for id in 1..=250 {
        recorder
            .begin(crate::record::fixtures::began(id))
            .unwrap()
            .close(Why::ClientQuit);
    }
    recorder.stop();
    known(dir.path(), Trust::Unchanged);
    let path = dir.path().join("sessions.index");
    let full = fs::metadata(&path).unwrap().len();
    for id in 1..=240 {
        fs::remove_file(path_of(dir.path(), SessionId(id))).unwrap();
    }
    assert_eq!(known(dir.path(), Trust::Unchanged).1, coverage(10, 0));
    assert!(fs::metadata(&path).unwrap().len() < full / 10);
    assert_eq!(known(dir.path(), Trust::Unchanged).1, coverage(10, 0));
}

#[tokio::test]
async fn an_open_session_is_read_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = recorder(dir.path());
    let session = a_session(&recorder, 1, "SELECT 1").await;
    while recorder.stats().blocks == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    for _ in 0..2 {
        let found = catalogue(
            dir.path(),
            &Identities::none(),
            &Filter::default(),
            Trust::Unchanged,
            &silent,
        )
        .unwrap();
        assert_eq!(found.coverage, coverage(0, 1));
        assert!(found.entries[0].1.live);
    }
    session.close(Why::ClientQuit);
    recorder.stop();
}

#[tokio::test]
async fn what_a_session_came_to_is_what_its_close_says() {
    use crate::record::fixtures::{allow, began, decided, finished};
    use crate::record::{Event, Finished};
    use crate::replay::tests::{denial, login};
    use crate::replay::{ErrorCode, Recording, RulePattern, Ruling, Said};

    let dir = tempfile::tempdir().unwrap();
    let recorder = recorder(dir.path());
    let session = recorder.begin(began(1)).unwrap();
    session.login(login("alice"));
    let (allowed, denied) = (allow(), denial());
    for seq in 1..=1000 {
        let decision = if seq % 7 == 0 { &denied } else { &allowed };
        let text = format!("SELECT {}", seq % 40);
        let _ = session
            .decided(decided(seq, &text, std::sync::Arc::clone(decision)))
            .await
            .unwrap();
        if seq % 7 != 0 {
            let error = (seq % 50 == 1).then(|| ("42P01".to_owned(), "no such table".to_owned()));
            session.finished(Finished {
                error,
                ..finished(seq, seq % 90)
            });
        }
    }
    session.close(Why::ClientQuit);
    recorder.stop();
    let path = path_of(dir.path(), SessionId(1));
    let mut recording = Recording::open(&path, &Identities::none()).unwrap();
    let mut closed = None;
    while let Said::Event(event) = recording.next().unwrap() {
        if let Event::Closed(last) = *event {
            closed = Some(last);
        }
    }
    let closed = closed.unwrap();
    let entry = Entry::of(&path, &Identities::none()).unwrap();
    assert_eq!(entry.totals, closed.totals);
    assert_eq!(
        (entry.why.as_ref(), entry.ended),
        (Some(&closed.why), Some(closed.at))
    );
    assert_eq!(entry.rules["claude-orders/never"], 142);
    assert_eq!(entry.most_rows, 89);
    assert_eq!(entry.errors["42P01"], closed.totals.failed);
    assert_eq!(
        (&*entry.workload, entry.user.as_deref()),
        ("claude", Some("alice"))
    );
    for (filter, fits) in [
        (
            Filter {
                min_rows: Some(89),
                ..Filter::default()
            },
            true,
        ),
        (
            Filter {
                min_rows: Some(90),
                ..Filter::default()
            },
            false,
        ),
        (
            Filter {
                error: Some(ErrorCode("42".into())),
                ..Filter::default()
            },
            true,
        ),
        (
            Filter {
                error: Some(ErrorCode("08".into())),
                ..Filter::default()
            },
            false,
        ),
        (
            Filter {
                rule: Some(RulePattern("never".into())),
                ..Filter::default()
            },
            true,
        ),
        (
            Filter {
                decision: Some(Ruling::Hold),
                ..Filter::default()
            },
            false,
        ),
        (
            Filter {
                why: Some("client_quit".into()),
                ..Filter::default()
            },
            true,
        ),
        (
            Filter {
                group: Some("ai-agents".into()),
                ..Filter::default()
            },
            true,
        ),
        (
            Filter {
                database: Some("other".into()),
                ..Filter::default()
            },
            false,
        ),
        (
            Filter {
                until: Some(entry.began),
                ..Filter::default()
            },
            false,
        ),
    ] {
        assert_eq!(filter.session(&entry), fits, "{filter:?}");
    }
}
