//! One issuer's keys, kept: fetched rarely, used while good, refused when too old.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::discover::Fetcher;
use super::keys::KeySet;

/// How long keys are used and how often they are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyTimes {
    /// Older keys are asked for again, in the background, when somebody logs in.
    pub refresh: Duration,
    /// Older keys are not used: the issuer was out of reach for too long to know whether it has
    /// withdrawn one.
    pub stale: Duration,
    /// The least time between two fetches, whatever tokens come.
    pub between: Duration,
    /// The same while there are no usable keys at all, when nobody can log in anyway.
    pub between_without: Duration,
}

impl Default for KeyTimes {
    fn default() -> Self {
        KeyTimes {
            refresh: Duration::from_secs(300),
            stale: Duration::from_secs(4 * 3600),
            between: Duration::from_secs(30),
            between_without: Duration::from_secs(5),
        }
    }
}

/// Reads the monotonic clock. A value, so that tests let hours pass without waiting.
pub(super) type Monotonic = Arc<dyn Fn() -> Instant + Send + Sync>;

/// A set and when it came.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) keys: KeySet,
    came: Instant,
}

/// What the last fetch left behind; the lock on it makes fetches single-flight.
#[derive(Debug, Default)]
struct Last {
    tried: Option<Instant>,
    failure: Option<String>,
}

/// The keys of one issuer.
pub(super) struct KeyCache {
    fetcher: Fetcher,
    now: Monotonic,
    times: KeyTimes,
    held: ArcSwapOption<Held>,
    last: Arc<Mutex<Last>>,
}

impl fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyCache")
            .field("issuer", &self.fetcher.issuer())
            .finish_non_exhaustive()
    }
}

impl KeyCache {
    pub(super) fn new(fetcher: Fetcher, times: KeyTimes, now: Monotonic) -> Arc<KeyCache> {
        Arc::new(KeyCache {
            fetcher,
            now,
            times,
            held: ArcSwapOption::empty(),
            last: Arc::default(),
        })
    }

    /// Keys that may be used now. Waits for a fetch only when there are none.
    ///
    /// # Errors
    /// Why there are none. No keys never means that nothing needs checking.
    pub(super) async fn usable(self: &Arc<Self>) -> Result<Arc<Held>, String> {
        if let Some(held) = self.fresh_enough() {
            if self.age(held.came) > self.times.refresh
                && let Ok(last) = Arc::clone(&self.last).try_lock_owned()
                && self.due(&last, self.times.between)
            {
                drop(self.begin(last));
            }
            return Ok(held);
        }
        let last = Arc::clone(&self.last).lock_owned().await;
        // Somebody else may have fetched while this one waited.
        if let Some(held) = self.fresh_enough() {
            return Ok(held);
        }
        if !self.due(&last, self.times.between_without) {
            return Err(failure(&last));
        }
        self.fetched(last).await?;
        self.fresh_enough()
            .ok_or_else(|| "the fetched keys are already too old".to_owned())
    }

    /// Keys newer than `seen`, for a token whose key is not in `seen`. At most one fetch per
    /// `between`, whoever asks and however often; `None` when there is nothing newer.
    pub(super) async fn newer_than(self: &Arc<Self>, seen: &Arc<Held>) -> Option<Arc<Held>> {
        let last = Arc::clone(&self.last).lock_owned().await;
        let newer = |held: &Arc<Held>| !Arc::ptr_eq(held, seen);
        if let Some(held) = self.fresh_enough().filter(newer) {
            return Some(held);
        }
        if !self.due(&last, self.times.between) {
            return None;
        }
        // A failure is logged where it happens; the old keys stay in use for who they know.
        self.fetched(last).await.ok();
        self.fresh_enough().filter(newer)
    }

    fn age(&self, of: Instant) -> Duration {
        (self.now)().saturating_duration_since(of)
    }

    fn fresh_enough(&self) -> Option<Arc<Held>> {
        self.held
            .load_full()
            .filter(|held| self.age(held.came) <= self.times.stale)
    }

    fn due(&self, last: &Last, between: Duration) -> bool {
        last.tried.is_none_or(|tried| self.age(tried) >= between)
    }

    /// Fetches and waits for it. The fetch itself goes on when the caller goes away: a client that
    /// hangs up must not waste the one fetch that the others wait for.
    async fn fetched(self: &Arc<Self>, last: OwnedMutexGuard<Last>) -> Result<(), String> {
        match self.begin(last).await {
            Ok(done) => done,
            Err(died) => Err(format!("the fetch ended early: {died}")),
        }
    }

    fn begin(
        self: &Arc<Self>,
        mut last: OwnedMutexGuard<Last>,
    ) -> tokio::task::JoinHandle<Result<(), String>> {
        let cache = Arc::clone(self);
        tokio::spawn(async move {
            last.tried = Some((cache.now)());
            match cache.fetcher.fetch().await {
                Ok(keys) => {
                    tracing::info!(
                        issuer = cache.fetcher.issuer(),
                        keys = keys.len(),
                        "keys fetched"
                    );
                    cache.held.store(Some(Arc::new(Held {
                        keys,
                        came: (cache.now)(),
                    })));
                    last.failure = None;
                    Ok(())
                }
                Err(why) => {
                    tracing::warn!(issuer = cache.fetcher.issuer(), %why, "keys not fetched");
                    last.failure = Some(why.clone());
                    Err(why)
                }
            }
        })
    }
}

fn failure(last: &Last) -> String {
    last.failure
        .clone()
        .unwrap_or_else(|| "not fetched yet".to_owned())
}
