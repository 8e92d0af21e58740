//! The right to govern by what is pinned in a directory. Two agents on the same pins would undo each
//! other's work, and number workloads each in its own way.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock, fstat, stat};

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

#[cfg(test)]
mod tests {
    use super::*;

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
