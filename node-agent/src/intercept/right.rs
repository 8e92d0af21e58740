//! The right to govern by what is pinned in a directory. Two agents on the same pins would undo each
//! other's work, and number workloads each in its own way.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock, fstat, stat};

use super::tables::locked;
use super::{InterceptError, pins};

/// How long one that begins to govern waits for one that stops: it lets go with its listeners.
const STOPPING: Duration = Duration::from_secs(5);

/// The right, until it is dropped: a lock of the pin directory. It belongs to what was opened and
/// not to a process: the descriptor can be given away, and with it the right.
#[derive(Debug)]
pub struct Right(OwnedFd);

impl Right {
    /// Waits a moment for an agent that stops.
    ///
    /// # Errors
    /// Another agent has it, or the directory cannot be made.
    pub fn wait(directory: &Path) -> Result<Self, InterceptError> {
        pins::mounted(directory)?;
        let until = Instant::now().checked_add(STOPPING);
        loop {
            match Right::now(directory)? {
                Some(right) => return Ok(right),
                None if until.is_some_and(|until| Instant::now() < until) => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                None => return Err(InterceptError::Owned(directory.to_owned())),
            }
        }
    }

    /// The same without waiting; `None`: another agent has it.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn at_once(directory: &Path) -> Result<Option<Self>, InterceptError> {
        pins::mounted(directory)?;
        Right::now(directory)
    }

    /// The same, for a directory that is there; `None`: another agent has it.
    ///
    /// # Errors
    /// The directory cannot be opened.
    pub(super) fn now(directory: &Path) -> Result<Option<Self>, InterceptError> {
        let at = |call| InterceptError::call(call, &directory.display(), "is it a directory?");
        let opened = OwnedFd::from(File::open(directory).map_err(at("open"))?);
        match flock(&opened, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Right(opened))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(at("flock")(e.into())),
        }
    }

    /// What another agent gave. `None`: it is not the right to this directory, or not held by it.
    pub fn given(descriptor: OwnedFd, directory: &Path) -> Option<Self> {
        let (one, other) = (fstat(&descriptor).ok()?, stat(directory).ok()?);
        let same = (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino);
        // Who has the lock by this very descriptor may lock again.
        let held = flock(&descriptor, FlockOperation::NonBlockingLockExclusive).is_ok();
        (same && held).then_some(Right(descriptor))
    }

    pub(super) fn to_give(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }
}

/// The right as an agent has it: held by whoever changes anything, and let go when nobody does.
///
/// Not a lock for readers and a writer: who holds it calls what holds it too, and would wait for a
/// writer that waits for him.
#[derive(Debug)]
pub(super) struct Owned {
    now: Mutex<Now>,
    idle: Condvar,
}

#[derive(Debug)]
struct Now {
    right: Option<Right>,
    held: usize,
}

/// While it is there, the right is not let go.
#[derive(Debug)]
pub(super) struct Holding<'a>(&'a Owned);

impl Owned {
    pub(super) fn new(right: Option<Right>) -> Self {
        let now = Mutex::new(Now { right, held: 0 });
        Owned {
            now,
            idle: Condvar::new(),
        }
    }

    /// Whether there is a right, and a guard that keeps it so.
    pub(super) fn hold(&self) -> (bool, Holding<'_>) {
        let mut now = locked(&self.now);
        now.held += 1;
        (now.right.is_some(), Holding(self))
    }

    /// Lets it go as soon as nobody holds it.
    pub(super) fn let_go(&self) {
        let now = locked(&self.now);
        let busy = |now: &mut Now| now.held > 0;
        let mut now = self
            .idle
            .wait_while(now, busy)
            .unwrap_or_else(PoisonError::into_inner);
        now.right = None;
    }

    /// Whether there is a right: there was, or nobody else has taken it; `told` hears which, in the
    /// latter case, before anybody lets it go again.
    pub(super) fn regain(&self, directory: &Path, told: impl FnOnce(bool)) -> bool {
        let mut now = locked(&self.now);
        if now.right.is_none() {
            now.right = Right::now(directory).ok().flatten();
            told(now.right.is_some());
        }
        now.right.is_some()
    }

    /// Once more, to be given away.
    pub(super) fn to_give(&self) -> io::Result<Option<OwnedFd>> {
        locked(&self.now)
            .right
            .as_ref()
            .map(Right::to_give)
            .transpose()
    }
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        let mut now = locked(&self.0.now);
        now.held = now.held.saturating_sub(1);
        if now.held == 0 {
            self.0.idle.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_it_may_hold_it_again_while_another_waits_to_let_it_go() {
        let place = tempfile::tempdir().unwrap();
        let owned = Owned::new(Right::now(place.path()).unwrap());
        let (there, outer) = owned.hold();
        assert!(there);
        std::thread::scope(|scope| {
            let letting_go = scope.spawn(|| owned.let_go());
            // However far that one is: it waits until both are gone.
            for _ in 0..1000 {
                let (there, _inner) = owned.hold();
                assert!(there && owned.regain(place.path(), |_| panic!("it was there")));
                std::thread::yield_now();
            }
            assert!(!letting_go.is_finished());
            drop(outer);
            letting_go.join().unwrap();
        });
        assert!(!owned.hold().0);
        assert!(owned.regain(place.path(), |regained| assert!(regained)));
    }

    #[test]
    fn the_right_is_one_agent_s_until_it_is_given() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = Right::now(here.path()).unwrap().unwrap();
        assert!(Right::now(here.path()).unwrap().is_none());
        let opened = || OwnedFd::from(File::open(here.path()).unwrap());
        assert!(
            Right::given(opened(), here.path()).is_none(),
            "another has it"
        );
        let given = first.to_give().unwrap();
        drop(first);
        assert!(
            Right::now(here.path()).unwrap().is_none(),
            "it is under way"
        );
        let elsewhere = given.try_clone().unwrap();
        assert!(Right::given(elsewhere, there.path()).is_none());
        let second = Right::given(given, here.path()).unwrap();
        assert!(Right::now(here.path()).unwrap().is_none());
        drop(second);
        assert!(Right::now(here.path()).unwrap().is_some());
    }
}
