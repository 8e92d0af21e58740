//! The running enrolment: one thread follows the directories, one the kernel's sightings.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tokio::sync::mpsc;

use super::state::State;
use super::tree::Change;
use super::{EnrolError, EnrolSettings, Governs, LabelledCgroup, Left};
use crate::intercept::Sighting;
use crate::model::Pid;

/// Keeps labels and listeners in step with cgroups and tasks until it is dropped. Dropping takes
/// no label away: what was governed stays governed.
#[derive(Debug)]
pub struct Enrolment {
    shared: Arc<Shared>,
    follower: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    wake: OwnedFd,
    stop: AtomicBool,
    look: AtomicBool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    fn with<T>(&self, then: impl FnOnce(&mut State) -> T) -> T {
        then(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Many moves are one look.
    fn look_soon(&self) {
        if !self.look.load(Ordering::Acquire) {
            self.tell(&self.look);
        }
    }

    /// Sets a flag and wakes the follower, which reads it.
    fn tell(&self, flag: &AtomicBool) {
        flag.store(true, Ordering::Release);
        // Full means it is awake already.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

/// After a listener could not be opened, so soon it is tried again.
const SOON: Duration = Duration::from_millis(100);

/// No more than one look at everything in so long: a workload that moves tasks without end costs
/// the agent no more than that.
const LOOK: Duration = Duration::from_millis(50);

impl Enrolment {
    /// Labels what is there, listens where it runs, and follows from then on. Everything that can
    /// be labelled is when this returns.
    ///
    /// # Errors
    /// When a glob is none, or the hierarchy cannot be watched or read. Labels are then as far as
    /// they came; none that should stay was taken away.
    pub fn start(
        settings: EnrolSettings,
        governs: Arc<dyn Governs>,
        sightings: Option<mpsc::Receiver<Sighting>>,
    ) -> Result<Self, EnrolError> {
        let every = settings.reconcile;
        let root = settings.root.clone();
        let mut state = State::open(settings, governs)?;
        state.settle()?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|e| EnrolError::call("eventfd", &root)(e.into()))?;
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            wake,
            stop: AtomicBool::new(false),
            look: AtomicBool::new(false),
        });
        let follower = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("enrolment".into())
                .spawn(move || follow(&shared, every))
                .map_err(EnrolError::call("clone", &root))?
        };
        if let Some(sightings) = sightings {
            let shared = Arc::downgrade(&shared);
            std::thread::Builder::new()
                .name("sightings".into())
                .spawn(move || look_where(&shared, sightings))
                .map_err(EnrolError::call("clone", &root))?;
        }
        Ok(Enrolment {
            shared,
            follower: Some(follower),
        })
    }

    /// Changes nothing from now on, so that another agent may: what is labelled stays labelled,
    /// what is new is that one's to label. For an agent that stops.
    pub fn rest(&self) {
        self.shared.tell(&self.shared.stop);
        // Behind whatever is being done.
        self.with(|state| state.governs.let_go());
    }

    /// What is labelled now, and where its tasks are.
    pub fn snapshot(&self) -> Vec<LabelledCgroup> {
        self.with(|state| state.snapshot())
    }

    /// The workload that a process belongs to now, or belonged to and left within the hour.
    ///
    /// # Errors
    /// It cannot be told: the process is gone, or is another user's than who is said to ask.
    pub fn workload_of(&self, pid: Pid, user: u32) -> Result<Option<Arc<str>>, String> {
        use std::os::unix::fs::MetadataExt;
        let gone = || format!("process {pid}, which asked, cannot be looked at");
        let owner = std::fs::metadata(format!("/proc/{pid}")).map_err(|_| gone())?;
        // It ended, and its number is another's: then at least it is no other user's process.
        if owner.uid() != user {
            return Err(gone());
        }
        let place = self.with(|state| state.place_of(pid)).map_err(|_| gone())?;
        if let Some(left) = self.left().iter().find(|left| left.pid == pid) {
            return Ok(Some(left.workload.as_str().into()));
        }
        let labelled = self.snapshot();
        let holds = |cgroup: &&LabelledCgroup| {
            place
                .as_ref()
                .is_some_and(|place| place.starts_with(&cgroup.path))
        };
        Ok(labelled
            .iter()
            .find(holds)
            .map(|cgroup| cgroup.workload.clone()))
    }

    /// The processes that left their labelled cgroups in the last hour, oldest first.
    pub fn left(&self) -> Vec<Left> {
        self.with(|state| state.members.left())
    }

    /// How many processes ever left, and how many connections past the agent were ever ended.
    pub fn totals(&self) -> (u64, u64) {
        self.with(|state| state.members.totals())
    }

    pub(super) fn with<T>(&self, then: impl FnOnce(&mut State) -> T) -> T {
        self.shared.with(then)
    }
}

impl Drop for Enrolment {
    fn drop(&mut self) {
        self.shared.tell(&self.shared.stop);
        if let Some(follower) = self.follower.take() {
            let _ = follower.join();
        }
    }
}

fn follow(shared: &Shared, every: Duration) {
    let notify = shared.with(|state| state.tree.fd().try_clone_to_owned());
    let notify = match notify {
        Ok(notify) => notify,
        Err(error) => {
            tracing::error!(%error, "new cgroups are not followed");
            return;
        }
    };
    let mut round = Instant::now();
    let mut looked = round;
    let mut look: Option<Instant> = None;
    loop {
        let now = Instant::now();
        if now >= round {
            let deaf = shared.with(|state| {
                state.round();
                state.namespaces.any_deaf()
            });
            round = now
                .checked_add(if deaf { every.min(SOON) } else { every })
                .unwrap_or(now);
            (looked, look) = (now, None);
        } else if look.is_some_and(|at| now >= at) {
            shared.with(State::look);
            (looked, look) = (now, None);
        }
        let next = look.map_or(round, |at| at.min(round));
        let wait = next.saturating_duration_since(Instant::now());
        let wait = Timespec::try_from(wait).unwrap_or(Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        });
        let mut fds = [
            PollFd::new(&shared.wake, PollFlags::IN),
            PollFd::new(&notify, PollFlags::IN),
        ];
        match poll(&mut fds, Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                tracing::error!(%error, "new cgroups are not followed any more");
                return;
            }
        }
        let _ = rustix::io::read(&shared.wake, &mut [0u8; 8]);
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        if shared.look.swap(false, Ordering::AcqRel) && look.is_none() {
            look = looked.checked_add(LOOK);
        }
        if shared.with(apply) {
            round = Instant::now();
        }
    }
}

/// Applies all changes there are. True when a cgroup became empty, or no longer is.
fn apply(state: &mut State) -> bool {
    let changes = match state.tree.changes() {
        Ok(changes) => changes,
        Err(error) => {
            tracing::error!(%error, "reading changes of cgroups failed; reading all again");
            vec![Change::Lost]
        }
    };
    let mut populated = false;
    for change in changes {
        populated |= matches!(change, Change::Populated(_));
        if let Err(error) = state.change(change) {
            tracing::error!(%error, "a change of the cgroups could not be followed");
        }
    }
    populated
}

fn look_where(shared: &Weak<Shared>, mut sightings: mpsc::Receiver<Sighting>) {
    while let Some(sighting) = sightings.blocking_recv() {
        let Some(shared) = shared.upgrade() else {
            return;
        };
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        match sighting {
            Sighting::Exec(pid) => shared.with(|state| state.runs(pid)),
            Sighting::Socket(pid, _) => shared.with(|state| state.meet(pid)),
            Sighting::Forked(pid) => shared.with(|state| state.strays(pid)),
            Sighting::Left(pid, cgroup) => {
                shared.with(|state| state.moved_out(pid, cgroup));
                shared.look_soon();
            }
            Sighting::Moved(mover) => {
                shared.with(|state| state.strays(mover));
                shared.look_soon();
            }
            Sighting::Lost => shared.look_soon(),
            Sighting::Gap(gap) => shared.with(|state| {
                state.purge_all();
                state.governs.audited(gap);
            }),
        }
    }
}
