//! Who shares a catalogue, and who waits for which reading.

use std::sync::atomic::AtomicUsize;

use super::*;
use crate::model::{Secret, UpstreamAddr};

fn target(name: &str) -> TargetName {
    TargetName(name.into())
}

fn endpoint(address: &str, server_name: &str) -> Endpoint {
    Endpoint {
        address: UpstreamAddr(address.parse().unwrap()),
        tls: None,
        server_name: server_name.to_owned(),
    }
}

fn login(user: &str, database: &str, password: &str) -> BackLogin {
    BackLogin {
        user: user.to_owned(),
        password: Some(Secret::new(password.to_owned())),
        database: database.to_owned(),
        settings: vec![("search_path".to_owned(), "x".to_owned())],
        tls: false,
        cleartext: false,
    }
}

fn two_sessions() -> [Arc<Lookup>; 2] {
    let catalogues = Catalogues::default();
    let orders = target("orders");
    [(); 2].map(|()| {
        catalogues.of(
            &orders,
            &endpoint("10.0.7.9:5432", "db"),
            &login("svc", "app", "p"),
        )
    })
}

/// Answers readings, and counts them.
#[derive(Default)]
struct Source {
    readings: AtomicUsize,
    down: bool,
}

impl Source {
    async fn read(&self, version: u64) -> Result<Catalogue, CatalogueError> {
        self.readings.fetch_add(1, Ordering::Relaxed);
        // Everybody else comes to wait first.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        if self.down {
            return Err(CatalogueError::Unreachable("down".into()));
        }
        Ok(Catalogue::of_version(version))
    }

    async fn current(&self, lookup: &Lookup) -> Result<u64, CatalogueError> {
        let read = |version| self.read(version);
        let got = lookup
            .shelf
            .get(lookup.at_least(), Want::Current, read)
            .await;
        got.map(|catalogue| catalogue.version())
    }

    async fn newer(&self, lookup: &Lookup, seen: u64) -> u64 {
        let at_least = lookup.shelf.changes.load(Ordering::Acquire);
        let read = |version| self.read(version);
        let got = lookup.shelf.get(at_least, Want::Newer(seen), read).await;
        got.unwrap().version()
    }

    fn readings(&self) -> usize {
        self.readings.load(Ordering::Relaxed)
    }
}

/// The newest reading lies so far back.
fn age(lookup: &Lookup, by: Duration) {
    let newest = lookup.shelf.newest.load_full().unwrap();
    lookup.shelf.newest.store(Some(Arc::new(Reading {
        catalogue: newest.catalogue.clone(),
        covers: newest.covers,
        begun: newest.begun - by,
        ended: newest.ended - by,
    })));
}

#[test]
fn servers_databases_and_roles_have_catalogues_of_their_own() {
    let catalogues = Catalogues::default();
    let orders = target("orders");
    let (here, who) = (endpoint("10.0.7.9:5432", "db"), login("svc", "app", "p"));
    let first = catalogues.of(&orders, &here, &who);
    let again = catalogues.of(&orders, &here, &who);
    assert!(Arc::ptr_eq(&first.shelf, &again.shelf));
    for (name, endpoint, login) in [
        ("orders", endpoint("10.0.7.10:5432", "db"), who.clone()),
        ("orders", endpoint("10.0.7.9:5433", "db"), who.clone()),
        ("orders", endpoint("10.0.7.9:5432", "db2"), who.clone()),
        ("orders", here.clone(), login("svc", "other", "p")),
        ("orders", here.clone(), login("admin", "app", "p")),
        ("others", here.clone(), who.clone()),
    ] {
        let other = catalogues.of(&target(name), &endpoint, &login);
        assert!(!Arc::ptr_eq(&first.shelf, &other.shelf), "{endpoint:?}");
    }
    // Those that nobody has any more are gone.
    let _last = catalogues.of(&orders, &here, &who);
    assert_eq!(catalogues.open.lock().unwrap().len(), 1);
}

#[test]
fn each_new_session_brings_the_login_that_is_good_now() {
    let catalogues = Catalogues::default();
    let orders = target("orders");
    let here = endpoint("10.0.7.9:5432", "db");
    let first = catalogues.of(&orders, &here, &login("svc", "app", "old"));
    *first.shelf.failed.lock().unwrap() = Some((
        Instant::now(),
        CatalogueError::Unreachable("password authentication failed".into()),
    ));
    let _second = catalogues.of(&orders, &here, &login("svc", "app", "new"));
    let stored = first.shelf.access.lock().unwrap().1.clone();
    assert_eq!(stored.password.unwrap().expose(), "new");
    assert!(stored.settings.is_empty());
    assert!(first.shelf.failure().is_none());
}

#[tokio::test]
async fn all_who_waited_for_a_reading_share_it_and_its_failure() {
    for down in [false, true] {
        let [lookup, _] = two_sessions();
        let source = Arc::new(Source {
            down,
            ..Source::default()
        });
        let mut waiters = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (source, lookup) = (source.clone(), lookup.clone());
            waiters.spawn(async move { source.current(&lookup).await });
        }
        for got in waiters.join_all().await {
            assert_eq!(got.is_err(), down);
        }
        assert_eq!(source.readings(), 1);
        // A failure stands for a moment, and not for ever.
        if down {
            assert!(source.current(&lookup).await.is_err());
            assert_eq!(source.readings(), 1);
            let mut failed = lookup.shelf.failed.lock().unwrap().clone().unwrap();
            failed.0 -= FAILURE_STANDS;
            *lookup.shelf.failed.lock().unwrap() = Some(failed);
            assert!(source.current(&lookup).await.is_err());
            assert_eq!(source.readings(), 2);
        }
    }
}

#[tokio::test]
async fn only_the_session_that_defines_waits_for_each_reading() {
    let [busy, other] = two_sessions();
    let source = Source::default();
    assert_eq!(source.current(&other).await.unwrap(), 1);
    for round in 2..6 {
        busy.changed();
        assert_eq!(source.current(&other).await.unwrap(), round - 1, "believed");
        assert_eq!(source.current(&busy).await.unwrap(), round, "its own");
        assert_eq!(source.current(&busy).await.unwrap(), round, "once");
    }
    // Others come to see it after a moment, at the latest when the catalogue is old.
    busy.changed();
    age(&other, AT_MOST_EVERY);
    assert_eq!(source.current(&other).await.unwrap(), 6);
    assert_eq!(source.current(&busy).await.unwrap(), 6, "shared");
    age(&other, BELIEVED);
    assert_eq!(source.current(&other).await.unwrap(), 7);
}

#[tokio::test]
async fn a_doubt_is_cleared_at_once_where_something_is_known_to_have_changed() {
    let [busy, other] = two_sessions();
    let source = Source::default();
    assert_eq!(source.current(&other).await.unwrap(), 1);
    assert_eq!(source.newer(&other, 1).await, 1, "read just now");
    busy.changed();
    assert_eq!(source.newer(&other, 1).await, 2);
    age(&other, AT_MOST_EVERY);
    assert_eq!(source.newer(&other, 1).await, 2, "newer than what was seen");
    assert_eq!(source.newer(&other, 2).await, 3);
}

#[tokio::test]
async fn slow_readings_for_the_sake_of_others_are_rare() {
    let [busy, other] = two_sessions();
    let source = Source::default();
    assert_eq!(source.current(&other).await.unwrap(), 1);
    busy.changed();
    // The reading took two seconds, and ended one second ago.
    let newest = other.shelf.newest.load_full().unwrap();
    let ended = Instant::now() - Duration::from_secs(1);
    other.shelf.newest.store(Some(Arc::new(Reading {
        catalogue: newest.catalogue.clone(),
        covers: newest.covers,
        begun: ended - Duration::from_secs(2),
        ended,
    })));
    assert_eq!(source.current(&other).await.unwrap(), 1);
    assert_eq!(source.current(&busy).await.unwrap(), 2);
}
