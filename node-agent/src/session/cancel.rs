//! Our own cancel keys, and the database's behind them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::upstream::{Endpoint, cancel};
use crate::wire::{Back, CancelKey};

/// What a cancel key of ours stands for.
#[derive(Debug)]
struct Cancellable {
    /// Only the workload that holds the session may cancel it.
    workload: Arc<str>,
    endpoint: Endpoint,
    process: u32,
    secret: Vec<u8>,
    /// One request at a time per session: a flood of cancels becomes one.
    busy: Arc<tokio::sync::Semaphore>,
    /// A statement waits for a human: a request withdraws it, and the database hears nothing.
    held: Option<oneshot::Sender<()>>,
    /// A request was sent, or is about to be. Whether the database has acted on it, nobody knows for certain.
    sent: bool,
}

/// Whom to ask to cancel what.
#[derive(Debug)]
struct Wanted {
    endpoint: Endpoint,
    process: u32,
    secret: Vec<u8>,
    busy: Arc<tokio::sync::Semaphore>,
}

/// All live cancel keys.
#[derive(Debug, Default)]
pub struct Cancels {
    keys: Mutex<HashMap<CancelKey, Cancellable>>,
}

/// Removes the key when the session ends.
#[derive(Debug)]
pub(super) struct CancelGuard {
    all: Arc<super::Shared>,
    key: CancelKey,
}

impl CancelGuard {
    /// Ends the key before its session's connection goes to another: whether no request was ever sent for it.
    /// From here on none is, since the key is looked up and marked under one lock.
    pub(super) fn retire(&self) -> bool {
        let gone = self.all.cancels.lock().remove(&self.key);
        gone.is_some_and(|key| !key.sent)
    }
}

impl CancelGuard {
    /// A statement waits for a human from here on, until what this gives is dropped: told when the client
    /// cancels it.
    pub(super) fn held(&self) -> oneshot::Receiver<()> {
        let (told, cancelled) = oneshot::channel();
        if let Some(key) = self.all.cancels.lock().get_mut(&self.key) {
            key.held = Some(told);
        }
        cancelled
    }
}

impl Drop for CancelGuard {
    fn drop(&mut self) {
        self.all.cancels.lock().remove(&self.key);
    }
}

impl Cancels {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<CancelKey, Cancellable>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a session's key.
    pub(super) fn register(
        shared: &Arc<super::Shared>,
        key: CancelKey,
        workload: Arc<str>,
        endpoint: Endpoint,
        process: u32,
        secret: Vec<u8>,
    ) -> CancelGuard {
        let busy = Arc::new(tokio::sync::Semaphore::new(1));
        let entry = Cancellable {
            workload,
            endpoint,
            process,
            secret,
            busy,
            held: None,
            sent: false,
        };
        shared.cancels.lock().insert(key.clone(), entry);
        CancelGuard {
            all: shared.clone(),
            key,
        }
    }

    /// What a key stands for, marked as used.
    fn asked(&self, key: &CancelKey, workload: &str) -> Option<Wanted> {
        let mut keys = self.lock();
        let found = keys.get_mut(key).filter(|c| &*c.workload == workload)?;
        if let Some(held) = found.held.take()
            && held.send(()).is_ok()
        {
            return None;
        }
        found.sent = true;
        Some(Wanted {
            endpoint: found.endpoint.clone(),
            process: found.process,
            secret: found.secret.clone(),
            busy: found.busy.clone(),
        })
    }

    /// Acts on a cancel request. An unknown key, or one of another workload's session, is ignored
    /// without a word, as a server does: the answer must not tell a guess from a hit.
    pub(super) async fn request<B: Back>(&self, key: &CancelKey, workload: &str) {
        let Some(found) = self.asked(key, workload) else {
            return;
        };
        let Ok(_one_at_a_time) = found.busy.clone().try_acquire_owned() else {
            return;
        };
        if let Err(error) = cancel::<B>(&found.endpoint, found.process, &found.secret).await {
            tracing::warn!(%error, "a cancel request did not reach the database");
        }
    }
}
