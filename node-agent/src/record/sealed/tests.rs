use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use memchr::memmem;

use super::*;
use crate::config::SealTo;
use crate::model::{Recipient, SessionId};
use crate::record::chain::{Chain, Shape};
use crate::record::fixtures::{allow, began, data_row, decided, delivered, finished, head};
use crate::record::tests::{
    ending_of, ending_with, every_flipped_bit_is_found, every_order_but_its_own_is_found, parts_of,
    read_with, settings, some_recording_by,
};
use crate::record::{
    BLOCK_HEAD, BLOCK_TAIL, BlockError, Blocks, Body, Damage, Ending, Event, HEADER, Recorder,
    RecorderSettings, Standing, Step, Totals, Why, Wrong, path_of,
};

const MARKERS: [&str; 3] = [
    "marker_of_a_text",
    "marker_of_a_value",
    "marker_of_a_column",
];

fn to(identities: &[&Identity]) -> Option<Recipients> {
    let named: Vec<_> = identities
        .iter()
        .map(|identity| SealTo::Key(identity.recipient()))
        .collect();
    Recipients::read(&named).unwrap()
}

fn sealing(dir: &Path, identities: &[&Identity]) -> RecorderSettings {
    RecorderSettings {
        recipients: to(identities),
        ..settings(dir)
    }
}

fn copy(identity: &Identity) -> Identities {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    identity.write(&file).unwrap();
    Identities::read(&[file]).unwrap()
}

#[tokio::test]
async fn each_recipient_reads_what_was_recorded_and_nobody_else_sees_a_word_of_it() {
    let (one, other) = (Identity::make().unwrap(), Identity::make().unwrap());
    let stranger = Identity::make().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(sealing(dir.path(), &[&one, &other])).unwrap();
    let session = recorder.begin(began(1)).unwrap();
    for seq in 1..=20 {
        let text = format!("SELECT {}, {seq}", MARKERS[0]);
        let _ = session.decided(decided(seq, &text, allow())).await.unwrap();
        let row = data_row(&[Some(MARKERS[1].as_bytes())]);
        let rows = delivered(seq, Some(head(&[MARKERS[2]])), row);
        session.delivered(rows).await.unwrap();
        session.finished(finished(seq, 1));
    }
    session.close(Why::ClientQuit);
    recorder.stop();
    let path = path_of(dir.path(), SessionId(1));
    let bytes = fs::read(&path).unwrap();
    for marker in MARKERS {
        assert!(memmem::find(&bytes, marker.as_bytes()).is_none());
    }
    let mut told = Vec::new();
    for identity in [&one, &other] {
        let (events, ending) = read_with(&path, copy(identity));
        assert_eq!(ending.unwrap(), Ending::Closed);
        told.push(serde_json::to_string(&events).unwrap());
    }
    assert_eq!(told[0], told[1]);
    assert!(MARKERS.iter().all(|marker| told[0].contains(marker)));
    for identities in [Identities::none(), copy(&stranger)] {
        let mut blocks = Blocks::open(&bytes[..], identities).unwrap();
        let mut last = Standing::default();
        loop {
            match blocks.next().unwrap() {
                Step::Sealed(_, standing) => last = standing,
                Step::Block(..) => panic!("opened"),
                Step::End(ending) => break assert_eq!(ending, Ending::Closed),
            }
        }
        let mut names = to(&[&one, &other]).unwrap().ids();
        names.sort();
        let mut found = blocks.recipients().unwrap().to_vec();
        found.sort();
        assert_eq!(found, names);
        let expected = Standing {
            last: crate::model::StatementSeq(20),
            began: true,
            login: false,
            totals: Totals {
                statements: 20,
                rows: 20,
                bytes: 200,
                ..Totals::default()
            },
        };
        assert_eq!(last, expected);
    }
}

#[tokio::test]
async fn without_any_key_whatever_was_changed_is_found() {
    let identity = Identity::make().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let good = some_recording_by(sealing(dir.path(), &[&identity])).await;
    assert_eq!(
        u16::from_le_bytes(good[8..10].try_into().unwrap()),
        2,
        "layout"
    );
    every_flipped_bit_is_found(&good, 3);
    every_order_but_its_own_is_found(&good);
    let (all, _) = ending_of(&good).unwrap();
    for length in HEADER..good.len() {
        let (blocks, ending) = ending_of(&good[..length]).unwrap();
        assert!(blocks < all && ending != Ending::Closed, "cut to {length}");
    }
}

/// The same file with another payload in one block, and a chain that was computed anew: what somebody does
/// who knows the layout and has no key.
fn forged(good: &[u8], at: usize, change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let parts = parts_of(good);
    let (mut old, _) = Chain::open(parts[0].try_into().unwrap()).unwrap();
    let mut new = old.clone();
    let mut out = parts[0].to_vec();
    for (number, block) in parts[1..].iter().enumerate() {
        let (head, rest) = block.split_first_chunk::<BLOCK_HEAD>().unwrap();
        let (payload, tail) = rest.split_at(rest.len() - BLOCK_TAIL);
        let read = old.head(head).unwrap();
        old.body(&read, head, payload, tail.try_into().unwrap())
            .unwrap();
        let mut payload = payload.to_vec();
        if number == at {
            change(&mut payload);
        }
        let shape = Shape {
            body: read.body,
            payload: payload.len(),
            raw: read.raw,
            at: read.at,
            last: read.last,
        };
        new.seal_as(&shape, &payload, &mut out);
    }
    out
}

#[tokio::test]
async fn who_makes_the_chain_anew_without_the_key_is_found_out_by_who_has_one() {
    let (one, other) = (Identity::make().unwrap(), Identity::make().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let good = some_recording_by(sealing(dir.path(), &[&one, &other])).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let foreign = some_recording_by(sealing(elsewhere.path(), &[&one, &other])).await;
    let section = section_bytes(&to(&[&one, &other]).unwrap());
    let wrong = |bytes: &[u8], identity: &Identity| -> Option<Wrong> {
        assert!(ending_of(bytes).is_ok(), "the chain is whole");
        ending_with(bytes, copy(identity))
            .err()
            .map(|damage: Damage| damage.what)
    };
    // Nothing changed is nothing found: the chain comes out the same.
    assert_eq!(forged(&good, 0, |_| {}), good);
    // Each byte of the section: of the commitment for both, of a wrap for the one whose it is.
    let mut found = 0;
    for at in (0..section).filter(|at| !(32..34).contains(at)) {
        let bad = forged(&good, 0, |payload| payload[at] ^= 1);
        let both = [wrong(&bad, &one), wrong(&bad, &other)];
        // A recipient whose name was changed finds nothing for it, and cannot read; the other one
        // finds that what comes after was sealed behind another block.
        let name = at >= 34 && (at - 34) % 96 < 16;
        if name {
            assert!(
                both.contains(&None) && both.contains(&Some(Wrong::Sealed)),
                "{both:?}"
            );
        } else {
            assert!(both.contains(&Some(Wrong::Wrap)), "byte {at}: {both:?}");
            found += 1;
        }
    }
    assert!(found > 150);
    let theirs = parts_of(&foreign)[1][BLOCK_HEAD..][..section].to_vec();
    let swapped = forged(&good, 0, |payload| {
        payload[..section].copy_from_slice(&theirs)
    });
    assert_eq!(wrong(&swapped, &one), Some(Wrong::Wrap));
    // What is sealed, and what it says in clear.
    for (block, at) in [
        (0, section),
        (0, section + 64),
        (1, 0),
        (1, 8),
        (1, 70),
        (2, 64),
    ] {
        let bad = forged(&good, block, |payload| payload[at] ^= 0x40);
        assert_eq!(
            wrong(&bad, &other),
            Some(Wrong::Sealed),
            "block {block}, byte {at}"
        );
    }
    // A section that makes no sense is found by anybody.
    for count in [0_u16, 1, 3, 65, u16::MAX] {
        let bad = forged(&good, 0, |payload| {
            payload[32..34].copy_from_slice(&count.to_le_bytes())
        });
        let found: Vec<_> = [&one, &other]
            .iter()
            .filter_map(|identity| ending_with(&bad, copy(identity)).err())
            .collect();
        // Whoever is not among those that are left cannot read.
        assert!(!found.is_empty(), "{count} recipients");
        let known =
            |damage: &Damage| matches!(damage.what, Wrong::Keys | Wrong::Wrap | Wrong::Sealed);
        assert!(found.iter().all(known), "{found:?}");
    }
    let parts = parts_of(&good);
    let (mut chain, _) = Chain::open(parts[0].try_into().unwrap()).unwrap();
    let mut keyless = parts[0].to_vec();
    let shape = Shape {
        body: Body::Sealed,
        payload: 100,
        raw: 10,
        at: crate::model::UnixMillis(1),
        last: true,
    };
    chain.seal_as(&shape, &[7; 100], &mut keyless);
    assert_eq!(ending_of(&keyless).unwrap_err().what, Wrong::Keys);
}

#[test]
fn what_the_journal_held_is_gone_when_it_lies_in_a_recording() {
    let identity = Identity::make().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal");
    let settings = RecorderSettings {
        journal: Some(journal.clone()),
        threads: NonZeroUsize::new(2).unwrap(),
        // Longer than it takes to look into the journal.
        block_interval: std::time::Duration::from_millis(400),
        ..sealing(dir.path(), &[&identity])
    };
    let recorder = Recorder::open(settings).unwrap();
    let session = recorder.begin(began(1)).unwrap();
    let held = || {
        let file = fs::read_dir(&journal).unwrap().next().unwrap().unwrap();
        memmem::find(&fs::read(file.path()).unwrap(), MARKERS[0].as_bytes()).is_some()
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for seq in 1..=3 {
        let text = format!("SELECT {}", MARKERS[0]);
        let decided = session.decided(decided(seq, &text, allow()));
        let _ = runtime.block_on(decided).unwrap();
        assert!(held(), "it is not in the journal, and in no block");
        let blocks = recorder.stats().blocks;
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while held() {
            assert!(std::time::Instant::now() < deadline, "it is not wiped");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(
            recorder.stats().blocks > blocks,
            "wiped before it was written"
        );
    }
    session.close(Why::ClientQuit);
    recorder.stop();
    let (events, ending) = read_with(&path_of(dir.path(), SessionId(1)), copy(&identity));
    assert_eq!(ending.unwrap(), Ending::Closed);
    let decided = |event: &&Event| matches!(event, Event::Decided(_));
    assert_eq!(events.iter().filter(decided).count(), 3);
}

#[test]
fn keys_are_kept_for_their_owner_and_refused_where_they_are_wrong() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let identity = Identity::make().unwrap();
    identity.write(&at("key")).unwrap();
    let mode = fs::metadata(at("key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = identity.write(&at("key")).unwrap_err().to_string();
    assert!(again.contains("is there already"), "{again}");
    let text = fs::read_to_string(at("key")).unwrap();
    let said = |content: &str, mode: u32| {
        let file = at("tried");
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        Identities::read(&[file]).unwrap_err().to_string()
    };
    assert!(said(&text, 0o640).contains("chmod 600"));
    assert!(said("# nothing\n", 0o600).contains("no private key in it"));
    assert!(said(&identity.recipient().to_string(), 0o600).contains("public key"));
    let slip = text.trim_end().to_owned();
    assert!(said(&slip[..slip.len() - 1], 0o600).contains("no private key as"));
    // The other side.
    let refused = |content: &str| {
        let file = at("recipients");
        fs::write(&file, content).unwrap();
        Recipients::read(&[SealTo::File(file)])
            .unwrap_err()
            .to_string()
    };
    let public = identity.recipient().to_string();
    assert!(
        refused(&format!("# ours\n{public}\n\n{}", &text)).contains(":7: this is a private key")
    );
    assert!(refused("").contains("holds no key"));
    assert!(refused(&public[..60]).contains("damaged"));
    let gone = Recipients::read(&[SealTo::File(at("gone"))])
        .unwrap_err()
        .to_string();
    assert!(
        gone.contains("cannot read") && gone.contains("gone"),
        "{gone}"
    );
    // A point to which everything is sealed with the same secret.
    let weak = Recipients::read(&[SealTo::Key(Recipient([0; 32]))]).unwrap_err();
    assert!(matches!(weak, RecipientsError::Unusable(_)), "{weak}");
    let twice = [
        SealTo::Key(identity.recipient()),
        SealTo::Key(identity.recipient()),
    ];
    assert_eq!(Recipients::read(&twice).unwrap().unwrap().keys().len(), 1);
    assert!(Recipients::read(&[]).unwrap().is_none());
}

#[test]
fn a_begun_file_is_begun_whether_or_not_it_is_to_be_sealed() {
    let (_, header) = Chain::create_sealed(crate::record::Header {
        session: SessionId(1),
        began: crate::model::UnixMillis(1),
    });
    for length in 0..HEADER {
        let begun = Blocks::open(&header[..length], Identities::none()).unwrap_err();
        assert!(matches!(begun, BlockError::Begun { .. }));
    }
}
