//! Which connections the worker has: what it may ask about, and how many it may have.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedSemaphorePermit;

use super::message::TicketNumber;
use crate::intercept::WorkloadIndex;
use crate::model::{CgroupId, Pid};

/// Places among the connections: of all, and of one network namespace.
pub(super) type Places = (OwnedSemaphorePermit, OwnedSemaphorePermit);

/// What is kept of a connection that the worker has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dialled {
    pub(super) pid: Pid,
    pub(super) cgroup: CgroupId,
    pub(super) workload: WorkloadIndex,
}

/// The connections of one worker. Dropping them gives all places back.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    held: Mutex<HashMap<TicketNumber, (Dialled, Option<Places>)>>,
}

impl Tickets {
    fn held(&self) -> MutexGuard<'_, HashMap<TicketNumber, (Dialled, Option<Places>)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A ticket for a connection that is about to be handed over.
    pub(super) fn issue(self: &Arc<Self>, dialled: Dialled, places: Places) -> Issued {
        // One count for the keeper's life: what a dead worker had is nothing to the next.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = TicketNumber(NEXT.fetch_add(1, Ordering::Relaxed));
        self.held().insert(number, (dialled, Some(places)));
        Issued {
            of: Some(self.clone()),
            number,
        }
    }

    /// What is known of a connection; `None`: this worker does not have it.
    pub(super) fn of(&self, number: TicketNumber) -> Option<Dialled> {
        self.held().get(&number).map(|(dialled, _)| *dialled)
    }

    /// Are all over?
    pub(super) fn is_empty(&self) -> bool {
        self.held().is_empty()
    }

    /// These connections are over. Those it never had are nobody's.
    pub(super) fn give_back(&self, numbers: &[TicketNumber]) {
        let mut held = self.held();
        for number in numbers {
            held.remove(number);
        }
    }
}

/// A ticket that goes away again unless the connection was handed over.
#[derive(Debug)]
pub(super) struct Issued {
    of: Option<Arc<Tickets>>,
    pub(super) number: TicketNumber,
}

impl Issued {
    /// The worker has it.
    pub(super) fn handed(mut self) {
        self.of = None;
    }

    /// The worker could not be reached: the places, for another try.
    pub(super) fn back(mut self) -> Option<Places> {
        let of = self.of.take()?;
        let (_, places) = of.held().remove(&self.number)?;
        places
    }
}

impl Drop for Issued {
    fn drop(&mut self) {
        if let Some(of) = self.of.take() {
            of.give_back(&[self.number]);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    #[test]
    fn a_place_comes_back_with_its_ticket_however_that_ends() {
        let (all, own) = (Arc::new(Semaphore::new(2)), Arc::new(Semaphore::new(2)));
        let places = || {
            let all = all.clone().try_acquire_owned().unwrap();
            (all, own.clone().try_acquire_owned().unwrap())
        };
        let dialled = Dialled {
            pid: Pid(1),
            cgroup: CgroupId(2),
            workload: WorkloadIndex(0),
        };
        let tickets = Arc::new(Tickets::default());
        drop(tickets.issue(dialled, places()));
        assert_eq!(all.available_permits(), 2, "never handed over");
        let issued = tickets.issue(dialled, places());
        drop(issued.back().unwrap());
        assert_eq!(all.available_permits(), 2, "taken back");

        let issued = tickets.issue(dialled, places());
        let number = issued.number;
        issued.handed();
        assert_eq!(tickets.of(number), Some(dialled));
        assert_eq!(own.available_permits(), 1);
        tickets.give_back(&[number, number, TicketNumber(u64::MAX)]);
        assert_eq!(tickets.of(number), None);
        assert_eq!(own.available_permits(), 2);

        tickets.issue(dialled, places()).handed();
        drop(tickets);
        assert_eq!(all.available_permits(), 2, "the worker is gone");
    }
}
