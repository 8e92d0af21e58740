//! Which catalogue a session is given: shared by the sessions of one role on one database of one
//! server, read anew when it is old, in doubt, or known to be behind.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::time::timeout;

use crate::model::TargetName;
use crate::wire::{BackLogin, Wire};

use super::catalogue::{Catalogue, CatalogueError, fetch};
use super::dial::Endpoint;

/// How long a catalogue is believed without asking again.
const BELIEVED: Duration = Duration::from_secs(30);
/// The shortest time between two readings that a workload can cause to others.
const AT_MOST_EVERY: Duration = Duration::from_millis(250);
/// Readings for the sake of other sessions' definitions take at most one part in so many of the
/// time: one session that defines all day does not keep the others waiting.
const SHARE: u32 = 8;
/// How long one reading may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a failure stands for the attempts that would follow it.
const FAILURE_STANDS: Duration = Duration::from_secs(1);

/// One session's view of its database's catalogue.
///
/// A session never sees a catalogue older than its own definitions. Definitions of others it sees
/// a little later, unless it meets a name or an origin that it does not know.
#[derive(Debug)]
pub struct Lookup {
    shelf: Arc<Shelf>,
    /// The number of the latest definition by this session.
    own: AtomicU64,
}

impl Lookup {
    /// The catalogue, read if there is none yet, or it is old, or behind.
    ///
    /// # Errors
    /// It cannot be read, or could not a moment ago.
    pub async fn current<W: Wire>(&self) -> Result<Arc<Catalogue>, CatalogueError> {
        let want = Want::Current;
        let read = |version| self.shelf.fetch::<W>(version);
        self.shelf.get(self.at_least(), want, read).await
    }

    /// A newer catalogue than `seen`: something was met that it does not know. Bounded in rate; the
    /// same catalogue comes back when it was read just now and nothing is known to have changed.
    ///
    /// # Errors
    /// As `current`.
    pub async fn newer<W: Wire>(&self, seen: u64) -> Result<Arc<Catalogue>, CatalogueError> {
        let want = Want::Newer(seen);
        // What is in doubt may be what another session just defined.
        let at_least = self.shelf.changes.load(Ordering::Acquire);
        let read = |version| self.shelf.fetch::<W>(version);
        self.shelf.get(at_least, want, read).await
    }

    /// This session changed the catalogue.
    pub fn changed(&self) {
        let number = self.shelf.changes.fetch_add(1, Ordering::AcqRel) + 1;
        self.own.store(number, Ordering::Release);
    }

    fn at_least(&self) -> u64 {
        self.own.load(Ordering::Acquire)
    }
}

/// What would do.
#[derive(Clone, Copy, Debug)]
enum Want {
    /// One that is believed.
    Current,
    /// One of another version than this, or one that was read just now.
    Newer(u64),
}

/// A catalogue as it was read.
#[derive(Debug)]
struct Reading {
    catalogue: Arc<Catalogue>,
    /// How many definitions it is sure to show.
    covers: u64,
    begun: Instant,
    ended: Instant,
}

/// One catalogue, with what its reading takes.
#[derive(Debug)]
struct Shelf {
    /// Where and as whom to read: as the session that was opened last.
    access: Mutex<(Endpoint, BackLogin)>,
    newest: ArcSwapOption<Reading>,
    /// How many definitions sessions have reported.
    changes: AtomicU64,
    /// Held by the one reader; the version that was begun last.
    reading: tokio::sync::Mutex<u64>,
    failed: Mutex<Option<(Instant, CatalogueError)>>,
}

impl Shelf {
    fn new(endpoint: &Endpoint, login: &BackLogin) -> Self {
        Shelf {
            access: Mutex::new((endpoint.clone(), own(login))),
            newest: ArcSwapOption::empty(),
            changes: AtomicU64::new(0),
            reading: tokio::sync::Mutex::new(0),
            failed: Mutex::new(None),
        }
    }

    /// A session was opened with this login, so it is good now.
    fn opened(&self, endpoint: &Endpoint, login: &BackLogin) {
        *self.access.lock().unwrap_or_else(PoisonError::into_inner) =
            (endpoint.clone(), own(login));
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The catalogue that shows at least so many definitions. One reader at a time; who waited for
    /// a reading shares what came of it, also its failure.
    async fn get<F>(
        &self,
        at_least: u64,
        want: Want,
        read: impl FnOnce(u64) -> F,
    ) -> Result<Arc<Catalogue>, CatalogueError>
    where
        F: Future<Output = Result<Catalogue, CatalogueError>>,
    {
        if let Some(good) = self.good(at_least, want) {
            return Ok(good);
        }
        let mut version = self.reading.lock().await;
        if let Some(good) = self.good(at_least, want) {
            return Ok(good); // another session read it meanwhile
        }
        if let Some(error) = self.failure() {
            return Err(error);
        }
        *version += 1;
        // Counted before reading: a definition during the reading may not be seen by it.
        let covers = self.changes.load(Ordering::Acquire);
        let begun = Instant::now();
        let read = timeout(PATIENCE, read(*version)).await;
        let ended = Instant::now();
        let read = read.unwrap_or_else(|_elapsed| {
            let words = "the database took too long";
            Err(CatalogueError::Unreachable(words.into()))
        });
        match read {
            Ok(catalogue) => {
                let catalogue = Arc::new(catalogue);
                self.newest.store(Some(Arc::new(Reading {
                    catalogue: catalogue.clone(),
                    covers,
                    begun,
                    ended,
                })));
                Ok(catalogue)
            }
            Err(error) => {
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some((ended, error.clone()));
                Err(error)
            }
        }
    }

    fn good(&self, at_least: u64, want: Want) -> Option<Arc<Catalogue>> {
        let newest = self.newest.load();
        let newest = newest.as_ref()?;
        if newest.covers < at_least || newest.begun.elapsed() >= BELIEVED {
            return None;
        }
        let good = match want {
            Want::Current => {
                let pause = AT_MOST_EVERY.max((newest.ended - newest.begun) * SHARE);
                newest.covers >= self.changes.load(Ordering::Acquire)
                    || newest.ended.elapsed() < pause
            }
            Want::Newer(seen) => {
                newest.catalogue.version() > seen || newest.begun.elapsed() < AT_MOST_EVERY
            }
        };
        good.then(|| newest.catalogue.clone())
    }

    fn failure(&self) -> Option<CatalogueError> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let (when, error) = failed.as_ref()?;
        (when.elapsed() < FAILURE_STANDS).then(|| error.clone())
    }

    async fn fetch<W: Wire>(&self, version: u64) -> Result<Catalogue, CatalogueError> {
        let (endpoint, login) = self
            .access
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        fetch::<W>(&endpoint, login, version).await
    }

    /// Somebody may still ask for what is on it.
    fn wanted(&self) -> bool {
        let newest = self.newest.load();
        newest
            .as_ref()
            .is_some_and(|newest| newest.begun.elapsed() < BELIEVED)
    }
}

/// A session's login, without what only its client asked for.
fn own(login: &BackLogin) -> BackLogin {
    BackLogin {
        settings: Vec::new(),
        ..login.clone()
    }
}

/// What tells one catalogue from another. The server belongs to it: behind one target there can
/// be many, and the same object id means another table on each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    target: TargetName,
    address: SocketAddr,
    server_name: String,
    database: String,
    role: String,
}

/// The catalogues of all databases that sessions have asked for.
#[derive(Debug, Default)]
pub struct Catalogues {
    open: Mutex<HashMap<Key, Arc<Shelf>>>,
}

impl Catalogues {
    /// The catalogue of one database of one server as one role sees it, for a session that was
    /// just opened there. Catalogues that no session has any more go when they are old.
    pub fn of(&self, target: &TargetName, endpoint: &Endpoint, login: &BackLogin) -> Arc<Lookup> {
        let key = Key {
            target: target.clone(),
            address: endpoint.address.0,
            server_name: endpoint.server_name.clone(),
            database: login.database.clone(),
            role: login.user.clone(),
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|known, shelf| *known == key || Arc::strong_count(shelf) > 1 || shelf.wanted());
        let shelf = open
            .entry(key)
            .and_modify(|shelf| shelf.opened(endpoint, login))
            .or_insert_with(|| Arc::new(Shelf::new(endpoint, login)))
            .clone();
        Arc::new(Lookup {
            shelf,
            own: AtomicU64::new(0),
        })
    }
}

#[cfg(test)]
mod tests {
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
            proven: false,
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
}
