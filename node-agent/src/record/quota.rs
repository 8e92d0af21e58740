//! Pure. What the open recordings of one workload may take together.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// One workload's open recordings.
#[derive(Debug)]
pub(super) struct Usage {
    bytes: AtomicU64,
    max: u64,
}

impl Usage {
    /// Its open recordings alone take more than all of its recordings may: nothing can be removed
    /// to make room.
    pub(super) fn exceeded(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.max
    }

    pub(super) fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn sub(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// All workloads'.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    max: Option<u64>,
    open: Mutex<HashMap<Arc<str>, Weak<Usage>>>,
}

impl Quotas {
    pub(super) fn new(max: Option<u64>) -> Quotas {
        Quotas {
            max,
            open: Mutex::default(),
        }
    }

    /// The usage of a workload; `None`: there is no quota.
    pub(super) fn of(&self, workload: &Arc<str>) -> Option<Arc<Usage>> {
        let max = self.max?;
        // Nothing that it guards is left half done by a panic, so a poisoned lock is good.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(usage) = open.get(workload).and_then(Weak::upgrade) {
            return Some(usage);
        }
        open.retain(|_, usage| usage.strong_count() > 0);
        let usage = Arc::new(Usage {
            bytes: AtomicU64::new(0),
            max,
        });
        open.insert(Arc::clone(workload), Arc::downgrade(&usage));
        Some(usage)
    }
}
