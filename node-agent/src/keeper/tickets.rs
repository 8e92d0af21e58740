//! Which connections the worker has: what it may ask about, and how many it may have.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;

use super::message::TicketNumber;
use crate::intercept::WorkloadIndex;
use crate::model::{CgroupId, ClientAddr, NetnsCookie, Pid};

/// Places among the connections: of all, and of one network namespace.
pub(super) type Places = (OwnedSemaphorePermit, OwnedSemaphorePermit);

/// What is kept of a connection that the worker has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dialled {
    pub(super) pid: Pid,
    pub(super) cgroup: CgroupId,
    pub(super) workload: WorkloadIndex,
    /// Where the client's socket is, its address there, and its cookie.
    pub(super) netns: NetnsCookie,
    pub(super) client: ClientAddr,
    pub(super) socket: u64,
}

/// How long after it was handed over a connection may still be one that logs in: more than a login
/// may take, greeting and opening together.
pub(super) const LOGIN: Duration = Duration::from_secs(60);

/// What is held of one connection.
#[derive(Debug)]
struct Held {
    dialled: Dialled,
    places: Option<Places>,
    since: Instant,
}

/// The connections of one worker. Dropping them gives all places back.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    held: Mutex<HashMap<TicketNumber, Held>>,
}

impl Tickets {
    fn held(&self) -> MutexGuard<'_, HashMap<TicketNumber, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A ticket for a connection that is about to be handed over.
    pub(super) fn issue(self: &Arc<Self>, dialled: Dialled, places: Places) -> Issued {
        // One count for the keeper's life: what a dead worker had is nothing to the next.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = TicketNumber(NEXT.fetch_add(1, Ordering::Relaxed));
        let held = Held {
            dialled,
            places: Some(places),
            since: Instant::now(),
        };
        self.held().insert(number, held);
        Issued {
            of: Some(self.clone()),
            number,
        }
    }

    /// What is known of a connection that may be logging in at that moment. `None`: this worker does
    /// not have it, or has had it for so long that it has logged in or never will.
    pub(super) fn logging_in(&self, number: TicketNumber, now: Instant) -> Option<Dialled> {
        let held = self.held();
        let held = held.get(&number)?;
        (now.saturating_duration_since(held.since) <= LOGIN).then_some(held.dialled)
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
        of.held().remove(&self.number)?.places
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
            netns: NetnsCookie(3),
            client: ClientAddr(([127, 0, 0, 1], 4).into()),
            socket: 5,
        };
        let now = Instant::now();
        let tickets = Arc::new(Tickets::default());
        drop(tickets.issue(dialled, places()));
        assert_eq!(all.available_permits(), 2, "never handed over");
        let issued = tickets.issue(dialled, places());
        drop(issued.back().unwrap());
        assert_eq!(all.available_permits(), 2, "taken back");

        let issued = tickets.issue(dialled, places());
        let number = issued.number;
        issued.handed();
        assert_eq!(tickets.logging_in(number, now), Some(dialled));
        let late = now + LOGIN + Duration::from_secs(1);
        assert_eq!(tickets.logging_in(number, late), None, "a session by now");
        assert_eq!(own.available_permits(), 1);
        tickets.give_back(&[number, number, TicketNumber(u64::MAX)]);
        assert_eq!(tickets.logging_in(number, now), None);
        assert_eq!(own.available_permits(), 2);

        tickets.issue(dialled, places()).handed();
        drop(tickets);
        assert_eq!(all.available_permits(), 2, "the worker is gone");
    }
}
