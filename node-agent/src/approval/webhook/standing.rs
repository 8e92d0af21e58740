//! IO. How a webhook is doing, for `status` and metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

/// How one webhook is doing.
#[derive(Debug)]
pub(super) struct Standing {
    name: String,
    sent: AtomicU64,
    failed: AtomicU64,
    missed: AtomicU64,
    /// The last change that is dealt with.
    at: AtomicU64,
    moved: watch::Receiver<u64>,
    trouble: ArcSwapOption<String>,
}

/// What was delivered to one webhook since the agent started, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Which.
    pub name: String,
    /// Deliveries that the receiver took.
    pub sent: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Changes that were not kept until they could be delivered.
    pub missed: u64,
    /// Changes that wait.
    pub behind: u64,
}

impl Standing {
    pub(super) fn new(name: &str, moved: watch::Receiver<u64>) -> Standing {
        Standing {
            name: name.to_owned(),
            sent: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            // Nothing is late before it is known where this webhook has come.
            at: AtomicU64::new(u64::MAX),
            moved,
            trouble: ArcSwapOption::empty(),
        }
    }

    pub(super) fn sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.trouble.store(None);
    }

    pub(super) fn failed(&self, why: &str) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let told = format!(
            "webhook {}: reviewers are not told there: {why}; it is tried again",
            self.name
        );
        self.trouble.store(Some(told.into()));
    }

    pub(super) fn missed(&self, count: u64) {
        self.missed.fetch_add(count, Ordering::Relaxed);
    }

    /// All up to this change is dealt with.
    pub(super) fn at(&self, change: u64) {
        self.at.store(change, Ordering::Relaxed);
    }

    /// Why the last attempt failed; none: it did not.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.load_full().map(|told| (*told).clone())
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            name: self.name.clone(),
            sent: self.sent.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            missed: self.missed.load(Ordering::Relaxed),
            behind: self
                .moved
                .borrow()
                .saturating_sub(self.at.load(Ordering::Relaxed)),
        }
    }
}
