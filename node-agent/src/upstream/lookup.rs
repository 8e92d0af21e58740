//! Which catalogue a session is given: shared by the sessions of one role on one database of one
//! server, read anew when it is old, in doubt, or known to be behind.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::time::timeout;

use crate::model::TargetName;
use crate::policy::PolicySet;
use crate::wire::{BackLogin, Wire};

use super::catalogue::{Catalogue, CatalogueError, Kept, feel, fetch};
use super::dial::Endpoint;
use super::guard::{Guard, Lost};

/// How long a catalogue is believed without reading it again.
const BELIEVED: Duration = Duration::from_secs(30);
/// How long it is believed without asking whether anything changed. What is changed beside the agent is
/// noticed after so long.
const CONFIRMED: Duration = Duration::from_secs(1);
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
/// A session never sees a catalogue older than its own definitions. Definitions of others, and what is
/// changed beside the agent, it sees at most `CONFIRMED` later (a large database, which takes long to say whether
/// anything changed, is asked less often), and at once where it meets a name or an origin that it does not know.
#[derive(Debug)]
pub struct Lookup {
    shelf: Arc<Shelf>,
    /// The number of the latest definition by this session.
    own: AtomicU64,
}

impl Drop for Lookup {
    fn drop(&mut self) {
        if self.shelf.users.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shelf.keep(None);
        }
    }
}

impl Lookup {
    /// The catalogue, read if there is none yet, or it is old, or behind.
    ///
    /// # Errors
    /// It cannot be read, or could not a moment ago.
    pub async fn current<W: Wire>(&self) -> Result<Arc<Catalogue>, CatalogueError> {
        if self.shelf.wants_refresh() {
            let shelf = self.shelf.clone();
            tokio::spawn(async move {
                // A failure is met by whoever needs a catalogue next.
                let _ = shelf.ask::<W>(0, Want::Refreshed).await;
                shelf.refreshing.store(false, Ordering::Release);
            });
        }
        self.shelf.ask::<W>(self.at_least(), Want::Current).await
    }

    /// A newer catalogue than `seen`: something was met that it does not know. Bounded in rate; the
    /// same catalogue comes back when it was read just now and nothing is known to have changed.
    ///
    /// # Errors
    /// As `current`.
    pub async fn newer<W: Wire>(&self, seen: u64) -> Result<Arc<Catalogue>, CatalogueError> {
        // What is in doubt may be what another session just defined.
        let at_least = self.shelf.changes.load(Ordering::Acquire);
        self.shelf.ask::<W>(at_least, Want::Newer(seen)).await
    }

    /// What masks that are in force on this target lost in this catalogue since an earlier one. Each is
    /// told to one session only.
    pub fn lost(&self, catalogue: &Catalogue, policies: &PolicySet) -> Vec<Lost> {
        let masks = policies.masks_on(&self.shelf.target);
        self.shelf.guard.look(catalogue, &policies.version(), masks)
    }

    /// Where and as whom the session that was opened last on this database was let in: of the same role, and
    /// the login that is good now. Without what only its client asked for.
    pub fn access(&self) -> (Endpoint, BackLogin) {
        self.shelf.access()
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
    /// The same, before anybody has to wait for it.
    Refreshed,
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
    /// When it was asked for the last time whether anything changed, and nothing had.
    confirmed: Instant,
    /// How long the answer took.
    took: Duration,
}

impl Reading {
    /// How long it is believed since it was confirmed.
    fn stands(&self) -> Duration {
        CONFIRMED.max(self.took * SHARE).min(BELIEVED)
    }
}

/// One catalogue, with what its reading takes.
#[derive(Debug)]
struct Shelf {
    target: TargetName,
    guard: Guard,
    /// Where and as whom to read: as the session that was opened last.
    access: Mutex<(Endpoint, BackLogin)>,
    newest: ArcSwapOption<Reading>,
    /// How many definitions sessions have reported.
    changes: AtomicU64,
    /// Sessions that have it.
    users: AtomicUsize,
    /// What it was last confirmed on, while there are any.
    kept: Mutex<Option<Kept>>,
    /// Somebody is at it that it stays confirmed.
    refreshing: AtomicBool,
    /// Held by the one reader; the version that was begun last.
    reading: tokio::sync::Mutex<u64>,
    failed: Mutex<Option<(Instant, CatalogueError)>>,
}

impl Shelf {
    fn new(target: &TargetName, endpoint: &Endpoint, login: &BackLogin) -> Self {
        Shelf {
            target: target.clone(),
            guard: Guard::default(),
            access: Mutex::new((endpoint.clone(), own(login))),
            newest: ArcSwapOption::empty(),
            changes: AtomicU64::new(0),
            users: AtomicUsize::new(0),
            kept: Mutex::default(),
            refreshing: AtomicBool::new(false),
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

    async fn ask<W: Wire>(
        &self,
        at_least: u64,
        want: Want,
    ) -> Result<Arc<Catalogue>, CatalogueError> {
        if let Some(good) = self.good(at_least, want) {
            return Ok(good);
        }
        // A reading is rare, and what it needs is large: no session keeps room for it.
        let read = |version| self.fetch::<W>(version);
        Box::pin(self.get(at_least, want, || self.feel::<W>(), read)).await
    }

    /// Whether it is time to have it confirmed, so that nobody waits for that; said to one only.
    fn wants_refresh(&self) -> bool {
        let newest = self.newest.load();
        let due = |newest: &Reading| {
            newest.confirmed.elapsed() > newest.stands() / 2 && newest.begun.elapsed() < BELIEVED
        };
        newest.as_ref().is_some_and(|newest| due(newest))
            && !self.refreshing.swap(true, Ordering::AcqRel)
    }

    /// The catalogue that shows at least so many definitions. One reader at a time; who waited for
    /// a reading shares what came of it, also its failure.
    async fn get<F, G>(
        &self,
        at_least: u64,
        want: Want,
        feel: impl FnOnce() -> G,
        read: impl FnOnce(u64) -> F,
    ) -> Result<Arc<Catalogue>, CatalogueError>
    where
        F: Future<Output = Result<Catalogue, CatalogueError>>,
        G: Future<Output = Result<String, CatalogueError>>,
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
        // What would do, if only it were certain that nothing changed since.
        let newest = self.newest.load_full();
        if let Some(newest) = newest.filter(|newest| self.would_do(newest, at_least, want)) {
            let asked = Instant::now();
            match in_time(feel()).await {
                Ok(pulse) if pulse == newest.catalogue.pulse() => {
                    let catalogue = newest.catalogue.clone();
                    self.newest.store(Some(Arc::new(Reading {
                        catalogue: catalogue.clone(),
                        confirmed: asked,
                        took: asked.elapsed(),
                        ..*newest
                    })));
                    return Ok(catalogue);
                }
                Ok(_changed) => {}
                // It could be another by now: nothing is decided by it.
                Err(error) => return Err(self.fails(error)),
            }
        }
        *version += 1;
        // Counted before reading: a definition during the reading may not be seen by it.
        let covers = self.changes.load(Ordering::Acquire);
        let begun = Instant::now();
        let read = in_time(read(*version)).await;
        let ended = Instant::now();
        match read {
            Ok(mut catalogue) => {
                let before = self.newest.load();
                catalogue.follow(before.as_ref().map(|reading| &*reading.catalogue));
                let catalogue = Arc::new(catalogue);
                self.newest.store(Some(Arc::new(Reading {
                    catalogue: catalogue.clone(),
                    covers,
                    begun,
                    ended,
                    confirmed: begun,
                    took: Duration::ZERO,
                })));
                Ok(catalogue)
            }
            Err(error) => Err(self.fails(error)),
        }
    }

    fn fails(&self, error: CatalogueError) -> CatalogueError {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), error.clone()));
        error
    }

    fn good(&self, at_least: u64, want: Want) -> Option<Arc<Catalogue>> {
        let newest = self.newest.load();
        let newest = newest.as_ref()?;
        let stands = match want {
            Want::Current | Want::Newer(_) => newest.stands(),
            Want::Refreshed => newest.stands() / 2,
        };
        let good = newest.confirmed.elapsed() < stands && self.would_do(newest, at_least, want);
        good.then(|| newest.catalogue.clone())
    }

    /// Whether a reading would do, if nothing changed beside the agent.
    fn would_do(&self, newest: &Reading, at_least: u64, want: Want) -> bool {
        if newest.covers < at_least || newest.begun.elapsed() >= BELIEVED {
            return false;
        }
        match want {
            Want::Current | Want::Refreshed => {
                let pause = AT_MOST_EVERY.max((newest.ended - newest.begun) * SHARE);
                newest.covers >= self.changes.load(Ordering::Acquire)
                    || newest.ended.elapsed() < pause
            }
            Want::Newer(seen) => {
                newest.catalogue.version() > seen || newest.begun.elapsed() < AT_MOST_EVERY
            }
        }
    }

    fn failure(&self) -> Option<CatalogueError> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let (when, error) = failed.as_ref()?;
        (when.elapsed() < FAILURE_STANDS).then(|| error.clone())
    }

    async fn fetch<W: Wire>(&self, version: u64) -> Result<Catalogue, CatalogueError> {
        let (endpoint, login) = self.access();
        fetch::<W>(&endpoint, login, version).await
    }

    async fn feel<W: Wire>(&self) -> Result<String, CatalogueError> {
        let (endpoint, login) = self.access();
        let kept = self.keep(None);
        let (pulse, kept) = feel::<W>(kept, &endpoint, login).await?;
        self.keep(Some(kept));
        if self.users.load(Ordering::Acquire) == 0 {
            self.keep(None);
        }
        Ok(pulse)
    }

    /// Keeps a connection, or none, in place of the one that was kept.
    fn keep(&self, kept: Option<Kept>) -> Option<Kept> {
        let mut place = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *place, kept)
    }

    fn access(&self) -> (Endpoint, BackLogin) {
        let access = self.access.lock();
        access.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Somebody may still ask for what is on it.
    fn wanted(&self) -> bool {
        let newest = self.newest.load();
        newest
            .as_ref()
            .is_some_and(|newest| newest.begun.elapsed() < BELIEVED)
    }
}

async fn in_time<T>(
    answer: impl Future<Output = Result<T, CatalogueError>>,
) -> Result<T, CatalogueError> {
    let answer = timeout(PATIENCE, answer).await;
    answer.unwrap_or_else(|_elapsed| {
        let words = "the database took too long";
        Err(CatalogueError::Unreachable(words.into()))
    })
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
            .or_insert_with(|| Arc::new(Shelf::new(target, endpoint, login)))
            .clone();
        shelf.users.fetch_add(1, Ordering::AcqRel);
        Arc::new(Lookup {
            shelf,
            own: AtomicU64::new(0),
        })
    }
}

#[cfg(test)]
mod tests {
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
        /// How often it was asked whether anything changed.
        asked: AtomicUsize,
        /// What it says then.
        pulse: Mutex<String>,
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
            Ok(Catalogue::of_version(version, &self.pulse.lock().unwrap()))
        }

        async fn feel(&self) -> Result<String, CatalogueError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            if self.down {
                return Err(CatalogueError::Unreachable("down".into()));
            }
            Ok(self.pulse.lock().unwrap().clone())
        }

        async fn current(&self, lookup: &Lookup) -> Result<u64, CatalogueError> {
            let read = |version| self.read(version);
            let got = lookup
                .shelf
                .get(lookup.at_least(), Want::Current, || self.feel(), read)
                .await;
            got.map(|catalogue| catalogue.version())
        }

        async fn newer(&self, lookup: &Lookup, seen: u64) -> u64 {
            let at_least = lookup.shelf.changes.load(Ordering::Acquire);
            let read = |version| self.read(version);
            let want = Want::Newer(seen);
            let got = lookup.shelf.get(at_least, want, || self.feel(), read).await;
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
            confirmed: newest.confirmed - by,
            took: newest.took,
        })));
    }

    #[tokio::test]
    async fn what_is_changed_beside_the_agent_is_noticed_within_a_second() {
        let [lookup, _] = two_sessions();
        let source = Source::default();
        assert_eq!(source.current(&lookup).await.unwrap(), 1);
        let asked = || source.asked.load(Ordering::Relaxed);
        // Nothing changed: it is asked, and not read.
        assert_eq!((source.current(&lookup).await.unwrap(), asked()), (1, 0));
        age(&lookup, CONFIRMED);
        assert_eq!((source.current(&lookup).await.unwrap(), asked()), (1, 1));
        assert_eq!((source.current(&lookup).await.unwrap(), asked()), (1, 1));
        // Something changed.
        *source.pulse.lock().unwrap() = "other".to_owned();
        assert_eq!((source.current(&lookup).await.unwrap(), asked()), (1, 1));
        age(&lookup, CONFIRMED);
        assert_eq!((source.current(&lookup).await.unwrap(), asked()), (2, 2));
        assert_eq!((source.current(&lookup).await.unwrap(), asked()), (2, 2));
        // A reading that only was old says nothing else.
        age(&lookup, BELIEVED);
        assert_eq!(source.current(&lookup).await.unwrap(), 3);
        let newest = lookup.shelf.newest.load_full().unwrap();
        let changed = [1, 2, 3].map(|version| newest.catalogue.changed_since(version));
        assert_eq!(changed, [true, false, false]);
    }

    #[tokio::test]
    async fn nobody_decides_by_what_cannot_be_confirmed() {
        let [lookup, _] = two_sessions();
        assert_eq!(Source::default().current(&lookup).await.unwrap(), 1);
        let gone = Source {
            down: true,
            ..Source::default()
        };
        assert_eq!(gone.current(&lookup).await.unwrap(), 1);
        age(&lookup, CONFIRMED);
        assert!(gone.current(&lookup).await.is_err());
        assert_eq!(gone.readings(), 0);
    }

    #[tokio::test]
    async fn a_database_that_takes_long_to_say_whether_it_changed_is_asked_less_often() {
        let [lookup, _] = two_sessions();
        let source = Source::default();
        assert_eq!(source.current(&lookup).await.unwrap(), 1);
        let newest = lookup.shelf.newest.load_full().unwrap();
        for (took, stands) in [(0, 1000), (100, 1000), (500, 4000), (60_000, 30_000)] {
            let reading = Reading {
                catalogue: newest.catalogue.clone(),
                took: Duration::from_millis(took),
                ..*newest
            };
            assert_eq!(reading.stands(), Duration::from_millis(stands), "{took}");
        }
    }

    #[test]
    fn one_session_of_all_has_the_catalogue_confirmed_before_anybody_waits() {
        let [first, second] = two_sessions();
        assert!(!first.shelf.wants_refresh(), "there is none");
        let now = Instant::now();
        first.shelf.newest.store(Some(Arc::new(Reading {
            catalogue: Arc::new(Catalogue::of_version(1, "")),
            covers: 0,
            begun: now,
            ended: now,
            confirmed: now,
            took: Duration::ZERO,
        })));
        assert!(!first.shelf.wants_refresh(), "it is fresh");
        age(&first, CONFIRMED * 3 / 4);
        assert!(first.shelf.wants_refresh());
        assert!(!second.shelf.wants_refresh(), "somebody is at it");
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
            confirmed: Instant::now(),
            took: Duration::ZERO,
        })));
        assert_eq!(source.current(&other).await.unwrap(), 1);
        assert_eq!(source.current(&busy).await.unwrap(), 2);
    }
}
