//! IO. Connections whose sessions are over and that were made as new, for the next session of exactly the same
//! identity: which is whose, how many, and for how long.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::model::{Principal, SessionId, TargetName};
use crate::tls::UpstreamConnector;
use crate::wire::{BackLogin, Greeted};

use super::renew::Settings;
use super::{Endpoint, Leg};

/// As many of one identity: more than one agent's commands that overlap.
const MOST_OF_ONE: usize = 8;
/// As many in all; the oldest goes first.
const MOST: usize = 64;
/// A connection that was opened so long ago is not kept again, however often it is taken: what a database
/// changes for new sessions alone and does not show (passwords, its rules of access) comes to bear.
const LONGEST: Duration = Duration::from_secs(60);
/// How often it is looked whether one is due, or its server has said anything.
const SWEEP: Duration = Duration::from_millis(250);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// Whether a connection that was opened then is not kept any more.
pub fn too_old(opened: Instant) -> bool {
    opened.elapsed() > LONGEST
}

/// Everything that makes a connection what it is, and whose. Equal in all, or another one.
#[derive(Debug)]
pub struct Key {
    target: TargetName,
    address: SocketAddr,
    tls: Option<Arc<UpstreamConnector>>,
    server_name: String,
    user: String,
    /// A keyed digest: the password itself stays with the session.
    password: Option<[u8; 32]>,
    database: String,
    settings: Vec<(String, String)>,
    asks_tls: bool,
    proven: bool,
    issuer: String,
    subject: String,
    workload: Arc<str>,
    policies: Arc<str>,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.is_of_one_with(other) && self.settings == other.settings
    }
}

impl Key {
    /// The same identity at the same place, whatever settings it logs in with: those the client chooses.
    fn is_of_one_with(&self, other: &Self) -> bool {
        // Taken apart by name: a field that is added is compared, or this does not compile.
        let Key {
            target,
            address,
            tls,
            server_name,
            user,
            password,
            database,
            settings: _,
            asks_tls,
            proven,
            issuer,
            subject,
            workload,
            policies,
        } = self;
        let same_tls = match (tls, &other.tls) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        same_tls
            && *target == other.target
            && *address == other.address
            && *server_name == other.server_name
            && *user == other.user
            && *password == other.password
            && *database == other.database
            && *asks_tls == other.asks_tls
            && *proven == other.proven
            && *issuer == other.issuer
            && *subject == other.subject
            && *workload == other.workload
            && *policies == other.policies
    }
}

/// A connection between two sessions.
#[derive(Debug)]
pub struct Parked {
    /// Whose.
    pub key: Arc<Key>,
    /// The stream, idle.
    pub leg: Leg,
    /// What the database said when it was opened.
    pub greeted: Greeted,
    /// What its settings were made of.
    pub settings: Settings,
    /// When it was opened.
    pub opened: Instant,
    /// The session that had it last.
    pub from: SessionId,
    /// What it is ended with.
    pub goodbye: fn(&mut BytesMut),
}

impl Parked {
    /// Says goodbye. A server that does not take it notices by the end of the stream.
    pub async fn close(mut self) {
        let mut goodbye = BytesMut::new();
        (self.goodbye)(&mut goodbye);
        let said = async {
            let _ = self.leg.write_all(&goodbye).await;
            let _ = self.leg.shutdown().await;
            // Until the server has ended its session, and its place is free.
            let _ = tokio::io::copy(&mut self.leg, &mut tokio::io::sink()).await;
        };
        let _ = timeout(GOODBYE, said).await;
    }
}

#[derive(Debug, Default)]
struct Held {
    /// The agent is on its way to a stop.
    over: bool,
    /// In the order in which they came, each with when it is due.
    parked: VecDeque<(Instant, Parked)>,
}

/// All connections that are kept.
#[derive(Debug)]
pub struct Warm {
    held: Mutex<Held>,
    /// For digests of passwords; `None`: there is no randomness, so nothing is kept.
    secret: Option<[u8; 32]>,
    /// There is something to look after.
    some: Notify,
}

impl Default for Warm {
    fn default() -> Self {
        let mut secret = [0_u8; 32];
        let random = aws_lc_rs::rand::fill(&mut secret);
        Warm {
            held: Mutex::default(),
            secret: random.is_ok().then_some(secret),
            some: Notify::new(),
        }
    }
}

impl Warm {
    /// Whose a connection is. `policies`: their version. `None`: nothing can be kept.
    pub fn key(
        &self,
        target: &TargetName,
        endpoint: &Endpoint,
        login: &BackLogin,
        principal: &Principal,
        policies: Arc<str>,
    ) -> Option<Arc<Key>> {
        let secret = self.secret.as_ref()?;
        // Taken apart by name: what is added to either makes connections different, and belongs here.
        let Endpoint {
            address,
            tls,
            server_name,
        } = endpoint;
        let BackLogin {
            user,
            password,
            database,
            settings,
            tls: asks_tls,
            proven,
        } = login;
        let digest = |password: &crate::model::Secret<String>| {
            *blake3::keyed_hash(secret, password.expose().as_bytes()).as_bytes()
        };
        Some(Arc::new(Key {
            target: target.clone(),
            address: address.0,
            tls: tls.clone(),
            server_name: server_name.clone(),
            user: user.clone(),
            password: password.as_ref().map(digest),
            database: database.clone(),
            settings: settings.clone(),
            asks_tls: *asks_tls,
            proven: *proven,
            issuer: principal.user.issuer.clone(),
            subject: principal.user.subject.clone(),
            workload: principal.workload.name.clone(),
            policies,
        }))
    }

    /// A connection of this identity that is not due, the one that came last; nobody else has it from here on.
    pub fn take(&self, key: &Key) -> Option<Parked> {
        let now = Instant::now();
        let mut held = self.lock();
        let mine = |(due, parked): &(Instant, Parked)| now < *due && *parked.key == *key;
        let at = held.parked.iter().rposition(mine)?;
        held.parked.remove(at).map(|(_, parked)| parked)
    }

    /// Keeps a connection that was made as new for so long. Gives back those that have to be closed: this one,
    /// or one that it takes the place of.
    #[must_use]
    pub fn put(&self, parked: Parked, keep: Duration) -> Option<Parked> {
        let due = Instant::now() + keep;
        let mut held = self.lock();
        if held.over || too_old(parked.opened) {
            return Some(parked);
        }
        let of_one = |(_, other): &(Instant, Parked)| other.key.is_of_one_with(&parked.key);
        let too_many = held.parked.iter().filter(|one| of_one(one)).count() >= MOST_OF_ONE;
        let at = match too_many {
            true => held.parked.iter().position(of_one),
            false => (held.parked.len() >= MOST).then_some(0),
        };
        let oldest = at.and_then(|at| held.parked.remove(at));
        held.parked.push_back((due, parked));
        drop(held);
        self.some.notify_one();
        oldest.map(|(_, parked)| parked)
    }

    /// Closes what is kept of a target whose database has no room for another session, and waits until it has
    /// noticed. False: there was nothing to close.
    pub async fn make_room(&self, target: &TargetName) -> bool {
        let mine = {
            let mut held = self.lock();
            let (mine, others): (VecDeque<_>, _) = std::mem::take(&mut held.parked)
                .into_iter()
                .partition(|(_, parked)| parked.key.target == *target);
            held.parked = others;
            mine
        };
        let any = !mine.is_empty();
        close(mine.into_iter().map(|(_, parked)| parked)).await;
        any
    }

    /// How many are kept.
    pub fn count(&self) -> u64 {
        self.lock().parked.len() as u64
    }

    /// Closes those that are due, and those on which anything came: an idle server that speaks has ended its
    /// session, or says what no session would be told. Never over.
    pub async fn look_after(&self) {
        loop {
            self.some.notified().await;
            while self.count() > 0 {
                tokio::time::sleep(SWEEP).await;
                close(self.sweep(Instant::now())).await;
            }
        }
    }

    fn sweep(&self, now: Instant) -> Vec<Parked> {
        let mut held = self.lock();
        let mut gone = Vec::new();
        for (due, mut parked) in std::mem::take(&mut held.parked) {
            if due <= now || !parked.leg.is_quiet() {
                gone.push(parked);
            } else {
                held.parked.push_back((due, parked));
            }
        }
        gone
    }

    /// Closes all, and keeps nothing from here on.
    pub async fn end(&self) {
        let all = {
            let mut held = self.lock();
            held.over = true;
            std::mem::take(&mut held.parked)
        };
        close(all.into_iter().map(|(_, parked)| parked)).await;
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes them side by side: one that does not take it keeps nobody waiting but itself.
async fn close(all: impl IntoIterator<Item = Parked>) {
    let mut closing: JoinSet<()> = all.into_iter().map(Parked::close).collect();
    while closing.join_next().await.is_some() {}
}

#[cfg(test)]
pub(super) mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::model::{Secret, UnixMillis, UpstreamAddr, User, Workload};
    use crate::tls::UpstreamTls;
    use crate::wire::pg::Pg;
    use crate::wire::{Talk, Wire};

    const LONG: Duration = Duration::from_secs(60);

    fn goodbye(out: &mut BytesMut) {
        <Pg as Wire>::Talk::<(), ()>::write_goodbye(out);
    }

    /// A key of somebody's.
    pub(in crate::upstream) fn somebody(warm: &Warm) -> Arc<Key> {
        key(warm, &who())
    }

    struct Who {
        target: TargetName,
        endpoint: Endpoint,
        login: BackLogin,
        principal: Principal,
        policies: Arc<str>,
    }

    fn who() -> Who {
        Who {
            target: TargetName("orders".into()),
            endpoint: Endpoint {
                address: UpstreamAddr("10.0.0.1:5432".parse().unwrap()),
                tls: None,
                server_name: "db".to_owned(),
            },
            login: BackLogin {
                user: "svc".to_owned(),
                password: Some(Secret::new("secret".to_owned())),
                database: "orders".to_owned(),
                settings: vec![("application_name".to_owned(), "psql".to_owned())],
                tls: false,
                proven: false,
            },
            principal: Principal {
                workload: Workload {
                    name: "claude".into(),
                    labels: Default::default(),
                },
                user: User {
                    issuer: "https://issuer.example".to_owned(),
                    subject: "alice".to_owned(),
                    groups: Vec::new(),
                    claims: Default::default(),
                    also: Vec::new(),
                    expires: UnixMillis(0),
                },
            },
            policies: "1".into(),
        }
    }

    fn key(warm: &Warm, who: &Who) -> Arc<Key> {
        let policies = who.policies.clone();
        warm.key(
            &who.target,
            &who.endpoint,
            &who.login,
            &who.principal,
            policies,
        )
        .unwrap()
    }

    fn connector() -> Option<Arc<UpstreamConnector>> {
        crate::tls::install_provider();
        UpstreamConnector::new(UpstreamTls::Require, None)
            .unwrap()
            .map(Arc::new)
    }

    #[test]
    fn what_differs_in_anything_is_another_identity() {
        let warm = Warm::default();
        let own = key(&warm, &who());
        assert!(*own == *key(&warm, &who()));
        let password = |text: &str| Some(Secret::new(text.to_owned()));
        let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        type Change<'a> = (&'a str, Box<dyn Fn(&mut Who) + 'a>);
        let changes: Vec<Change<'_>> = vec![
            (
                "target",
                Box::new(|w| w.target = TargetName("other".into())),
            ),
            (
                "address",
                Box::new(|w| w.endpoint.address = UpstreamAddr("10.0.0.2:5432".parse().unwrap())),
            ),
            (
                "port",
                Box::new(|w| w.endpoint.address = UpstreamAddr("10.0.0.1:5433".parse().unwrap())),
            ),
            ("tls", Box::new(|w| w.endpoint.tls = connector())),
            ("server name", Box::new(|w| w.endpoint.server_name.clear())),
            ("user", Box::new(|w| w.login.user = "other".to_owned())),
            (
                "password",
                Box::new(|w| w.login.password = password("Secret")),
            ),
            ("no password", Box::new(|w| w.login.password = None)),
            (
                "empty password",
                Box::new(|w| w.login.password = password("")),
            ),
            ("database", Box::new(|w| w.login.database = "hr".to_owned())),
            (
                "application",
                Box::new(|w| w.login.settings = vec![setting("application_name", "other")]),
            ),
            ("no settings", Box::new(|w| w.login.settings.clear())),
            (
                "one more setting",
                Box::new(|w| w.login.settings.push(setting("TimeZone", "UTC"))),
            ),
            ("asks for tls", Box::new(|w| w.login.tls = true)),
            ("proven", Box::new(|w| w.login.proven = true)),
            ("issuer", Box::new(|w| w.principal.user.issuer.clear())),
            ("subject", Box::new(|w| w.principal.user.subject.clear())),
            (
                "workload",
                Box::new(|w| w.principal.workload.name = "other".into()),
            ),
            ("policies", Box::new(|w| w.policies = "2".into())),
        ];
        for (what, change) in changes {
            let mut other = who();
            change(&mut other);
            assert!(*own != *key(&warm, &other), "{what}");
        }
        // Two connectors may trust different authorities.
        let (mut one, mut two) = (who(), who());
        one.endpoint.tls = connector();
        two.endpoint.tls = connector();
        assert!(*key(&warm, &one) != *key(&warm, &two));
        two.endpoint.tls = one.endpoint.tls.clone();
        assert!(*key(&warm, &one) == *key(&warm, &two));
    }

    /// A parked connection and its server's end.
    pub(in crate::upstream) async fn parked(key: &Arc<Key>, from: u64) -> (Parked, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let leg = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (server, _) = listener.accept().await.unwrap();
        let parked = Parked {
            key: key.clone(),
            leg: Leg::Plain(leg.unwrap().into()),
            greeted: Greeted::default(),
            settings: Settings::of(""),
            opened: Instant::now(),
            from: SessionId(from),
            goodbye,
        };
        (parked, server)
    }

    /// All that the server hears to the end.
    pub(in crate::upstream) async fn said(mut server: TcpStream) -> Vec<u8> {
        let mut said = Vec::new();
        server.read_to_end(&mut said).await.unwrap();
        said
    }

    #[tokio::test]
    async fn a_connection_is_taken_once_by_its_own_identity_and_not_when_it_is_due() {
        let warm = Warm::default();
        let own = key(&warm, &who());
        let mut other = who();
        other.principal.user.subject = "bob".to_owned();
        let other = key(&warm, &other);
        let (first, _server) = parked(&own, 1).await;
        assert!(warm.put(first, LONG).is_none());
        assert!(warm.take(&other).is_none());
        assert_eq!(warm.take(&own).map(|p| p.from), Some(SessionId(1)));
        assert!(warm.take(&own).is_none());
        let (second, _server) = parked(&own, 2).await;
        assert!(warm.put(second, Duration::ZERO).is_none());
        assert!(warm.take(&own).is_none(), "it is due");
        assert_eq!(warm.count(), 1);
    }

    #[tokio::test]
    async fn the_oldest_gives_way_of_one_identity_and_of_all() {
        let warm = Warm::default();
        let own = key(&warm, &who());
        let mut servers = Vec::new();
        for from in 0..MOST_OF_ONE as u64 + 2 {
            let (one, server) = parked(&own, from).await;
            servers.push(server);
            let out = warm.put(one, LONG).map(|p| p.from.0);
            assert_eq!(out, from.checked_sub(MOST_OF_ONE as u64));
        }
        assert_eq!(warm.count(), MOST_OF_ONE as u64);
        let mut given = Vec::new();
        for from in 100..200 {
            let mut other = who();
            other.login.database = format!("d{from}");
            let (one, server) = parked(&key(&warm, &other), from).await;
            servers.push(server);
            given.extend(warm.put(one, LONG).map(|p| p.from.0));
        }
        assert_eq!(warm.count(), MOST as u64);
        assert_eq!(given.len(), 100 - (MOST - MOST_OF_ONE));
        assert!(given.starts_with(&[2, 3, 4]), "{given:?}");
    }

    #[tokio::test]
    async fn what_is_due_or_speaks_or_is_gone_is_closed_and_the_rest_stays() {
        let warm = Warm::default();
        let own = key(&warm, &who());
        let (due, of_due) = parked(&own, 1).await;
        let (speaks, mut of_speaks) = parked(&own, 2).await;
        let (gone, of_gone) = parked(&own, 3).await;
        let (stays, _of_stays) = parked(&own, 4).await;
        assert!(warm.put(due, Duration::ZERO).is_none());
        for one in [speaks, gone, stays] {
            assert!(warm.put(one, LONG).is_none());
        }
        of_speaks.write_all(b"N").await.unwrap();
        drop(of_gone);
        let mut swept = Vec::new();
        // The loop learns of bytes and ends in its own time.
        while swept.len() < 3 {
            tokio::task::yield_now().await;
            swept.extend(warm.sweep(Instant::now()));
        }
        let mut from: Vec<u64> = swept.iter().map(|p| p.from.0).collect();
        from.sort_unstable();
        assert_eq!(from, [1, 2, 3]);
        let (said, ()) = tokio::join!(said(of_due), close(swept));
        assert_eq!(said, b"X\0\0\0\x04");
        assert_eq!(warm.take(&own).map(|p| p.from), Some(SessionId(4)));
    }

    #[tokio::test]
    async fn an_end_says_goodbye_to_all_and_nothing_is_kept_after_it() {
        let warm = Warm::default();
        let own = key(&warm, &who());
        let (one, of_one) = parked(&own, 1).await;
        let (late, _of_late) = parked(&own, 2).await;
        assert!(warm.put(one, LONG).is_none());
        let (said, ()) = tokio::join!(said(of_one), warm.end());
        assert_eq!(said, b"X\0\0\0\x04");
        assert_eq!(warm.put(late, LONG).map(|p| p.from), Some(SessionId(2)));
        assert_eq!(warm.count(), 0);
    }

    #[tokio::test]
    async fn an_old_connection_is_not_kept_again() {
        let warm = Warm::default();
        let own = key(&warm, &who());
        let (mut one, _server) = parked(&own, 1).await;
        let Some(before) = Instant::now().checked_sub(LONGEST + SWEEP) else {
            return; // the machine has just begun
        };
        one.opened = before;
        assert!(warm.put(one, LONG).is_some());
    }
}
