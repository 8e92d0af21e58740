//! What is there from the first worker to the last, and one worker's time in it.

use std::os::fd::AsFd;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant as Clock};

use tokio::net::UnixListener;
use tokio::sync::{OwnedRwLockWriteGuard, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::accept::{AT_ONCE, Inlets, accept};
use super::attend::{Answers, Door, Present};
use super::enter;
use super::give::{Has, Succession};
use super::inherit::{Before, outlive};
use super::keep::{KeeperError, admin_socket, own};
use super::message::{Order, ToWorker};
use super::named::Named;
use super::settings::{cgroup2, dialled_port, enrol_rules, unix_names};
use super::tickets::Tickets;
use super::worker::{LAST_WORDS, Signalled, Signals, Went, Worker, ending_words};
use crate::config::Config;
use crate::enrol::{Canary, EnrolSettings, Enrolment};
use crate::identity::TokenFiles;
use crate::intercept::{Estate, Event, Listener, Loaded, Prefix, Right, WorkloadIndex};
use crate::origin::{Digests, Origins};

/// How long a worker may take to drain before it is ended: a little longer than it says itself.
const DRAIN: Duration = Duration::from_secs(45);

/// How often an agent that was succeeded looks whether its last session is over.
const LOOK: Duration = Duration::from_millis(200);

/// What is there from the first worker to the last.
pub(super) struct Governing {
    pub(super) answers: Arc<Answers>,
    /// The listeners; dropped, they are closed.
    accepting: Option<JoinSet<()>>,
    /// Whether a worker takes connections now.
    taken: watch::Sender<bool>,
    /// Closed: the agent stops.
    running: Option<watch::Sender<()>>,
    _telling: JoinSet<()>,
    /// How long sessions go on after another agent took over.
    linger: Duration,
    /// Holds off what would still be accepted once another agent has the listeners.
    held: Option<OwnedRwLockWriteGuard<()>>,
}

/// What a governing agent starts from.
pub(super) struct Begin {
    pub(super) loaded: Loaded,
    pub(super) right: Right,
    pub(super) estate: Estate,
    pub(super) before: Arc<Vec<Before>>,
}

/// How far an agent is on its way to its end.
#[derive(Clone, Copy)]
enum Leaving {
    Not,
    /// Another took over; sessions go on until then.
    Succeeded(Instant),
    /// It drains, and the worker is ended then.
    Draining(Instant),
}

impl Governing {
    /// What decides is there: now what listens, and last what redirects.
    pub(super) fn start(
        config: &Config,
        protect: &[Prefix],
        begin: Begin,
    ) -> Result<Self, KeeperError> {
        let Begin {
            loaded,
            right,
            estate,
            before,
        } = begin;
        let (mount, base) = cgroup2(config)?;
        let interceptor = Arc::new(loaded.attach(Some(right), estate)?);
        let canary = Arc::new(Canary::make(&base, interceptor.clone())?);
        let declared = config.targets.iter().flat_map(|target| &target.addresses);
        let door = Arc::new(Door {
            origins: Origins::Kernel {
                interceptor: interceptor.clone(),
                cgroup_root: mount.clone(),
                digests: Digests::default(),
            },
            inlets: Inlets::default(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            worker: watch::Sender::new(None),
            workloads: config.workloads.len(),
            canary: canary.clone(),
            unread: AtomicU64::new(0),
            unconfirmed: AtomicU64::new(0),
        });
        let declared: Vec<Prefix> = declared
            .filter_map(|prefix| Prefix::new(prefix.addr, prefix.len))
            .collect();
        let mut there = interceptor.protected()?;
        there.retain(|prefix| !declared.contains(prefix));
        let answers = Arc::new(Answers {
            door: door.clone(),
            interceptor: interceptor.clone(),
            enrolment: RwLock::new(None),
            tokens: TokenFiles::new(mount),
            workloads: config.workloads.clone(),
            declared,
            named: Mutex::new(Named::found(there, Clock::now())),
            replaced: AtomicU64::new(0),
        });
        answers.protect(protect)?;
        let mut accepting = JoinSet::new();
        if let Some(listeners) = interceptor.take_listeners() {
            accepting.spawn(accept_all(door, listeners));
        }
        let enrolment = Arc::new(Enrolment::start(
            EnrolSettings {
                unix_names: unix_names(config),
                ..EnrolSettings::new(base, enrol_rules(config))
            },
            interceptor.clone(),
            interceptor.take_sightings(),
        )?);
        // What was inherited and is nobody's place any more.
        interceptor.forget_inherited();
        *answers
            .enrolment
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(enrolment);
        let mut telling = JoinSet::new();
        let callers = admin_socket(&enter::socket(&config.listen.admin_socket))?;
        let callers = UnixListener::from_std(callers).map_err(own("the socket of exec"))?;
        telling.spawn(enter::hear(answers.clone(), callers));
        let (taken, is_taken) = watch::channel(false);
        let (running, mut runs) = watch::channel(());
        telling.spawn(canary.watch(
            config.guard.canary_every,
            dialled_port(config),
            is_taken,
            async move { while runs.changed().await.is_ok() {} },
        ));
        if let Some(events) = interceptor.take_events() {
            let names = config.workloads.iter().map(|rule| rule.name.clone());
            telling.spawn(tell_events(names.collect(), events));
        }
        let ours = interceptor.settings().agent_cgroup;
        telling.spawn(outlive(before, ours, interceptor));
        Ok(Governing {
            held: None,
            linger: config.worker.linger,
            answers,
            accepting: Some(accepting),
            taken,
            running: Some(running),
            _telling: telling,
        })
    }

    /// Is what is pinned this agent's to change?
    pub(super) fn governs(&self) -> bool {
        self.answers.interceptor.governs()
    }

    /// From now on nothing that is pinned is changed: canary, enrolment and mends rest, and the
    /// right is let go.
    pub(super) async fn rest(&mut self) {
        self.running = None;
        if let Some(enrolment) = self.answers.enrolment() {
            // Behind whatever it is doing.
            let _ = tokio::task::spawn_blocking(move || enrolment.rest()).await;
        }
    }

    /// Closes the listeners. With the guard nothing is accepted until they are.
    pub(super) fn stop_listening(&mut self, held: Option<OwnedRwLockWriteGuard<()>>) {
        // First: a canary that is not answered from here on is not told of.
        self.running = None;
        self.held = held;
        self.accepting = None;
    }

    /// Lets this worker serve until it ends.
    pub(super) async fn serve(
        &mut self,
        worker: Worker,
        signals: &mut Signals,
        succession: &mut Succession,
    ) -> Result<Went, KeeperError> {
        let Worker {
            mouth,
            mut ear,
            mut ended,
        } = worker;
        let operators = succession.operators.as_ref();
        let beside = operators.map(|it| [it.admin.as_fd(), it.pages.as_fd()]);
        let beside = beside.as_ref().map_or(&[][..], |both| &both[..]);
        mouth.say(&ToWorker::Governing, beside).await?;
        let present = Arc::new(Present {
            mouth,
            tickets: Arc::new(Tickets::default()),
        });
        let answers = self.answers.clone();
        let worker = &answers.door.worker;
        worker.send_replace(Some(present.clone()));
        let taken = self.taken.clone();
        taken.send_replace(true);
        // Whatever ends this: the listeners hand nothing more to this worker.
        let _gone = Absent(worker, &taken);
        let attending = answers.attend(&present, &mut ear);
        tokio::pin!(attending);
        let mut leaving = Leaving::Not;
        let mut hears = true;
        loop {
            let at = match leaving {
                Leaving::Not => None,
                // Also when the last session is over.
                Leaving::Succeeded(until) => {
                    Some(until.min(Instant::now().checked_add(LOOK).unwrap_or(until)))
                }
                Leaving::Draining(until) => Some(until),
            };
            let due = at.unwrap_or_else(Instant::now);
            tokio::select! {
                biased;
                ended = ended.why() => return Ok(match (ended, leaving) {
                    (Ok(()), Leaving::Succeeded(_) | Leaving::Draining(_)) => Went::Stopped,
                    (Err(why), Leaving::Succeeded(_) | Leaving::Draining(_)) => {
                        tracing::error!(why, "the worker did not end as it should");
                        Went::Stopped
                    }
                    (Ok(()), Leaving::Not) => Went::Died("it ended by itself".to_owned()),
                    (Err(why), Leaving::Not) => Went::Died(why),
                }),
                signalled = signals.next() => match (signalled, leaving) {
                    (Signalled::Reload, _) => say(&present, Order::Reload).await,
                    (Signalled::Stop, Leaving::Not | Leaving::Succeeded(_)) => {
                        self.stop_listening(None);
                        self.rest().await;
                        leaving = drain(&present).await;
                    }
                    (Signalled::Stop, Leaving::Draining(_)) => say(&present, Order::Stop).await,
                },
                next = succession.asked() => {
                    let has = match leaving {
                        Leaving::Not => Has::All,
                        Leaving::Succeeded(_) | Leaving::Draining(_) => Has::Rest,
                    };
                    if self.give(next, succession, has).await {
                        say(&present, Order::Retire).await;
                        if let (Leaving::Not, Some(until)) =
                            (leaving, Instant::now().checked_add(self.linger))
                        {
                            leaving = Leaving::Succeeded(until);
                        }
                    }
                }
                attended = &mut attending, if hears => {
                    hears = false;
                    if let Err(error) = attended {
                        let why = error.to_string();
                        return Ok(match leaving {
                            Leaving::Succeeded(_) | Leaving::Draining(_) => {
                                tracing::error!(why, "the worker did not end as it should");
                                Went::Stopped
                            }
                            Leaving::Not => Went::Died(why),
                        });
                    }
                    // Its end of the socket is closed: without orders it is of no use any more.
                    if matches!(leaving, Leaving::Not) {
                        return Ok(Went::Died(ending_words(&mut ended).await));
                    }
                }
                () = sleep_until(due), if at.is_some() => match leaving {
                    Leaving::Not => {}
                    Leaving::Succeeded(until) => {
                        if present.tickets.is_empty() || Instant::now() >= until {
                            leaving = drain(&present).await;
                        }
                    }
                    Leaving::Draining(_) => {
                        tracing::error!("the worker takes too long to end, and is ended");
                        return Ok(Went::Stopped);
                    }
                },
            }
        }
    }
}

async fn drain(present: &Present) -> Leaving {
    say(present, Order::Drain).await;
    let now = Instant::now();
    Leaving::Draining(now.checked_add(DRAIN).unwrap_or(now))
}

/// Takes the worker out of the listeners' sight.
struct Absent<'a>(
    &'a watch::Sender<Option<Arc<Present>>>,
    &'a watch::Sender<bool>,
);

impl Drop for Absent<'_> {
    fn drop(&mut self) {
        self.0.send_replace(None);
        self.1.send_replace(false);
    }
}

/// A worker that does not even listen holds up nothing: the deadline of a stop counts all the same.
async fn say(present: &Present, order: Order) {
    let message = ToWorker::Order(order);
    match timeout(LAST_WORDS, present.mouth.say(&message, &[])).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, ?order, "the worker could not be told"),
        Err(_) => tracing::warn!(?order, "the worker does not listen"),
    }
}

/// Accepts on every listener the kernel side hands over.
async fn accept_all(door: Arc<Door>, mut listeners: mpsc::Receiver<Listener>) {
    let mut accepting = JoinSet::new();
    loop {
        let listener = tokio::select! {
            biased;
            Some(_) = accepting.join_next() => continue,
            listener = listeners.recv() => match listener {
                Some(listener) => listener,
                None => break,
            },
        };
        let netns = listener.netns;
        for listening in std::iter::once(listener.v4).chain(listener.v6) {
            let closed = listener.closed.clone();
            accepting.spawn(accept(door.clone(), listening, netns, closed));
        }
    }
    while accepting.join_next().await.is_some() {}
}

/// Tells the log what the kernel programs saw. `names` are the workloads', by their number.
async fn tell_events(names: Vec<Arc<str>>, mut events: mpsc::Receiver<Event>) {
    let name = |index: WorkloadIndex| {
        let rule = usize::try_from(index.0).ok();
        rule.and_then(|at| names.get(at))
            .map_or("?", |name| &**name)
    };
    while let Some(event) = events.recv().await {
        match event {
            Event::RefusedUnix(socket, dial) => tracing::warn!(
                socket, workload = name(dial.workload), cgroup = %dial.cgroup, pid = %dial.pid,
                program = dial.comm, uid = dial.uid,
                "a unix socket was refused that guard.unix_allow does not name so"
            ),
            Event::Redirected(_) | Event::Refused(..) => tracing::debug!(?event, "kernel"),
            Event::Undeclared(met, dial) => tracing::warn!(
                database = %met.database, refused = met.refused, destination = %dial.destination,
                workload = name(dial.workload), cgroup = %dial.cgroup, pid = %dial.pid,
                program = dial.comm, uid = dial.uid,
                "a database that no target declares: declare it, or set guard.undeclared"
            ),
            Event::Bypass(how, dial) => tracing::warn!(
                ?how, destination = %dial.destination, workload = name(dial.workload),
                cgroup = %dial.cgroup, pid = %dial.pid, program = dial.comm, uid = dial.uid,
                "stopped an attempt to get round the agent"
            ),
        }
    }
}
