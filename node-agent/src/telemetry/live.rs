//! The register of live sessions: what `sessions ls --live` shows, and the hand that ends one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::model::{Pid, SessionId, UnixMillis};

/// A session, as it stood at its login.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "self-explanatory")]
pub struct LiveSession {
    pub id: SessionId,
    pub workload: String,
    pub user: String,
    pub target: String,
    pub database: String,
    pub pid: Pid,
    pub since: UnixMillis,
}

/// A session and what it has done so far.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "self-explanatory")]
pub struct Seen {
    #[serde(flatten)]
    pub session: LiveSession,
    pub statements: u64,
    pub denied: u64,
    pub rows: u64,
}

#[derive(Debug)]
struct Entry {
    session: LiveSession,
    statements: AtomicU64,
    denied: AtomicU64,
    rows: AtomicU64,
    killed: watch::Sender<bool>,
}

/// All live sessions.
#[derive(Debug, Default)]
pub struct Registry {
    live: Mutex<HashMap<SessionId, Arc<Entry>>>,
}

impl Registry {
    /// Enters a session; the guard takes it out again.
    pub fn register(self: &Arc<Self>, session: LiveSession) -> LiveGuard {
        let id = session.id;
        let entry = Arc::new(Entry {
            session,
            statements: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            killed: watch::Sender::new(false),
        });
        self.lock().insert(id, entry.clone());
        LiveGuard {
            registry: self.clone(),
            entry,
        }
    }

    /// Ends a session; false: there is none of that name.
    pub fn kill(&self, id: SessionId) -> bool {
        let entry = self.lock().get(&id).cloned();
        entry.is_some_and(|entry| {
            entry.killed.send_replace(true);
            true
        })
    }

    /// All of them, oldest first.
    pub fn list(&self) -> Vec<Seen> {
        let mut all: Vec<Seen> = self
            .lock()
            .values()
            .map(|entry| Seen {
                session: entry.session.clone(),
                statements: entry.statements.load(Ordering::Relaxed),
                denied: entry.denied.load(Ordering::Relaxed),
                rows: entry.rows.load(Ordering::Relaxed),
            })
            .collect();
        all.sort_by_key(|seen| (seen.session.since, seen.session.id));
        all
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.lock().len() as u64
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SessionId, Arc<Entry>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's place in the register.
#[derive(Debug)]
pub struct LiveGuard {
    registry: Arc<Registry>,
    entry: Arc<Entry>,
}

impl LiveGuard {
    /// A statement may run.
    pub fn statement(&self) {
        self.entry.statements.fetch_add(1, Ordering::Relaxed);
    }

    /// A statement was refused.
    pub fn denied(&self) {
        self.entry.denied.fetch_add(1, Ordering::Relaxed);
    }

    /// Rows were delivered.
    pub fn rows(&self, count: u64) {
        self.entry.rows.fetch_add(count, Ordering::Relaxed);
    }

    /// Resolves when an operator ends this session.
    pub fn killed(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut killed = self.entry.killed.subscribe();
        let entry = self.entry.clone();
        async move {
            // The entry is held, so its sender lives as long as this wait.
            let _ = killed.wait_for(|killed| *killed).await;
            drop(entry);
        }
    }
}

impl Drop for LiveGuard {
    fn drop(&mut self) {
        self.registry.lock().remove(&self.entry.session.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_session_is_listed_while_its_guard_lives_and_can_be_killed() {
        let registry = Arc::new(Registry::default());
        let session = LiveSession {
            id: SessionId(7),
            workload: "w".to_owned(),
            user: "u".to_owned(),
            target: "t".to_owned(),
            database: "d".to_owned(),
            pid: Pid(1),
            since: UnixMillis(0),
        };
        let guard = registry.register(session);
        let killed = guard.killed();
        assert_eq!(registry.list().len(), 1);
        assert!(registry.kill(SessionId(7)));
        assert!(!registry.kill(SessionId(8)));
        killed.await;
        drop(guard);
        assert_eq!(registry.count(), 0);
    }
}
