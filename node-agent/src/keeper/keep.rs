//! The keeper at work: starts what governs once a worker can serve, and sees to it that there
//! always is a worker.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::accept::{AT_ONCE, accept};
use super::attend::{Answers, Door, Present};
use super::channel::{Channel, ChannelError, Ear, Mouth, pair};
use super::message::{Order, TO_KEEPER, ToKeeper, ToWorker};
use super::tickets::Tickets;
use crate::config::{CgroupRoot, Config};
use crate::enrol::{self, EnrolError, EnrolSettings, Enrolment};
use crate::identity::TokenFiles;
use crate::intercept::{
    Event, InterceptError, Interceptor, Listener, Prefix, Settings, WorkloadIndex, cgroup_id,
    cgroup_root,
};
use crate::origin::Origins;

/// How long a worker may take to drain before it is ended: a little longer than it says itself.
const DRAIN: Duration = Duration::from_secs(45);
/// The pause before another worker is started, and the longest it grows to when they die at once.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long a worker that closed its socket may take to say why, and any to take an order.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// A worker that lived so long was a good one.
const GOOD: Duration = Duration::from_secs(30);

/// The keeper cannot start, or cannot go on. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// A file, descriptor or signal of its own.
    #[error("{what}: {source}")]
    Own {
        /// Which.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// The kernel programs.
    #[error(transparent)]
    Intercept(#[from] InterceptError),
    /// Enrolment.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// The talk with the worker.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The first worker could not start, in its own words.
    #[error("{0}")]
    Worker(String),
}

fn own(what: impl Into<String>) -> impl FnOnce(io::Error) -> KeeperError {
    let what = what.into();
    move |source| KeeperError::Own { what, source }
}

/// How a worker is started on its end of the socket. The task ends when the worker does: with an
/// error, in words, when it did not mean to. Aborting it ends the worker.
pub type Hire = Box<dyn Fn(OwnedFd) -> io::Result<JoinHandle<Result<(), String>>> + Send + Sync>;

/// Where the kernel programs' links and maps are pinned, so that a dead agent means "connection
/// refused" and not "no gateway".
pub fn pin_directory(config: &Config) -> PathBuf {
    config.state_dir.join("bpf")
}

/// Where cgroup2 is mounted, and the directory at and below which this agent governs: globs are
/// relative to it and the kernel programs are attached to it.
///
/// # Errors
/// None is mounted.
pub fn cgroup2(config: &Config) -> Result<(PathBuf, PathBuf), InterceptError> {
    let mount = match &config.cgroup_root {
        CgroupRoot::Auto => cgroup_root()?,
        // A directory of the usual mount narrows what is governed; any other path is a mount.
        CgroupRoot::Path(path) => match cgroup_root() {
            Ok(mount) if path.starts_with(&mount) => mount,
            Ok(_) | Err(_) => path.clone(),
        },
    };
    let base = match (&config.attach, &config.cgroup_root) {
        // A relative path is below the mount; joining an absolute one leaves it as it is.
        (Some(attach), _) => mount.join(attach),
        (None, CgroupRoot::Path(path)) => path.clone(),
        (None, CgroupRoot::Auto) => mount.clone(),
    };
    Ok((mount, base))
}

/// The privileged half.
pub struct Keeper {
    config: Config,
    /// The configuration as each worker gets it.
    configured: ToWorker,
    /// Where the command line asks. Open as long as the keeper is: between two workers it waits.
    admin: UnixListener,
    hire: Hire,
    signals: Signals,
    /// `None` until the first worker can serve.
    governing: Option<Governing>,
}

/// What is there from the first worker to the last.
struct Governing {
    answers: Arc<Answers>,
    /// The listeners; dropped, they are closed.
    accepting: Option<JoinSet<()>>,
    _telling: JoinSet<()>,
}

/// A worker that was started.
struct Worker {
    mouth: Mouth<ToWorker>,
    ear: Ear<ToKeeper>,
    ended: Ending,
}

/// The task that ends with the worker; dropping it ends the worker.
struct Ending(JoinHandle<Result<(), String>>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Ending {
    async fn why(&mut self) -> Result<(), String> {
        (&mut self.0)
            .await
            .unwrap_or_else(|died| Err(died.to_string()))
    }
}

/// How it went with a worker.
enum Went {
    /// The operator stopped the agent, and the worker ended.
    Stopped,
    /// It ended without being told to.
    Died(String),
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

enum Signalled {
    Stop,
    Reload,
}

impl Signals {
    fn new() -> Result<Self, KeeperError> {
        let one = |kind| signal(kind).map_err(own("signals"));
        Ok(Signals {
            terminate: one(SignalKind::terminate())?,
            interrupt: one(SignalKind::interrupt())?,
            hangup: one(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Signalled {
        tokio::select! {
            _ = self.terminate.recv() => Signalled::Stop,
            _ = self.interrupt.recv() => Signalled::Stop,
            _ = self.hangup.recv() => Signalled::Reload,
        }
    }

    async fn stop(&mut self) {
        while let Signalled::Reload = self.next().await {}
    }
}

impl Keeper {
    /// Nothing is started yet. `text` is what `config` was read from, and `file` where.
    ///
    /// # Errors
    /// Signals cannot be awaited, or the admin socket cannot be made.
    pub fn new(
        config: Config,
        file: PathBuf,
        text: String,
        hire: Hire,
    ) -> Result<Self, KeeperError> {
        Ok(Keeper {
            admin: admin_socket(&config.listen.admin_socket)?,
            config,
            configured: ToWorker::Configured { file, text },
            hire,
            signals: Signals::new()?,
            governing: None,
        })
    }

    /// Runs until SIGTERM or SIGINT, then lets the worker drain: no new connections, sessions end
    /// at their next idle moment, the rest after a grace; a second signal ends them at once.
    /// SIGHUP has policies read again. The redirect stays: a stopped agent means refused
    /// connections.
    ///
    /// # Errors
    /// Anything that is missing at the start. Nothing is half governed: the redirect comes once a
    /// worker can serve. Later workers that cannot start are told of, and tried again.
    pub async fn run(mut self) -> Result<(), KeeperError> {
        let mut pause = PAUSE;
        loop {
            let started = Instant::now();
            let why = match self.one_worker().await {
                Ok(Went::Stopped) => return Ok(()),
                Ok(Went::Died(why)) => why,
                Err(error) if self.governing.is_none() => return Err(error),
                Err(error) => error.to_string(),
            };
            if started.elapsed() > GOOD {
                pause = PAUSE;
            }
            tracing::error!(
                why,
                again_in_ms = pause.as_millis(),
                "the worker ended; connections wait for the next one"
            );
            tokio::select! {
                () = sleep(pause) => {}
                () = self.signals.stop() => return Ok(()),
            }
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    /// Starts a worker and attends to it until it ends.
    async fn one_worker(&mut self) -> Result<Went, KeeperError> {
        let mut worker = self.hire()?;
        let protect = tokio::select! {
            biased;
            ended = worker.ended.why() => {
                let why = ended.err().unwrap_or_else(|| "it ended at once".to_owned());
                return Err(KeeperError::Worker(why));
            }
            ready = ready(
                &self.configured,
                self.admin.as_fd(),
                &worker.mouth,
                &mut worker.ear,
            ) => match ready {
                Ok(protect) => protect,
                Err(KeeperError::Channel(ChannelError::Socket(_))) => {
                    return Err(KeeperError::Worker(ending_words(&mut worker.ended).await));
                }
                Err(error) => return Err(error),
            },
            () = self.signals.stop() => return Ok(Went::Stopped),
        };
        let governing = match &mut self.governing {
            Some(governing) => {
                governing.answers.replaced.fetch_add(1, Ordering::Relaxed);
                governing.answers.protect(&protect)?;
                governing
            }
            none => none.insert(Governing::start(&self.config, &protect)?),
        };
        tracing::info!(port = self.config.listen.port, "node-agent is ready");
        governing.serve(worker, &mut self.signals).await
    }

    fn hire(&self) -> Result<Worker, KeeperError> {
        let (ours, theirs) = pair().map_err(own("a socket for the worker"))?;
        let Channel { mouth, ear } = Channel::<ToWorker, ToKeeper>::new(ours, TO_KEEPER)
            .map_err(own("a socket for the worker"))?;
        let ended = (self.hire)(theirs).map_err(own("starting the worker"))?;
        Ok(Worker {
            mouth,
            ear,
            ended: Ending(ended),
        })
    }
}

/// Makes the socket for the command line; a stale one is replaced. Anybody may put itself under
/// the gateway; what else may be done, the caller's uid says.
fn admin_socket(path: &Path) -> Result<UnixListener, KeeperError> {
    let name = || path.display().to_string();
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(own(directory.display().to_string()))?;
    }
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(own(name())(error)),
    }
    let listener = UnixListener::bind(path).map_err(own(name()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).map_err(own(name()))?;
    listener.set_nonblocking(true).map_err(own(name()))?;
    Ok(listener)
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.config.listen.admin_socket);
    }
}

/// Gives the worker the configuration and waits for its first word: whether it can serve.
async fn ready(
    configured: &ToWorker,
    admin: BorrowedFd<'_>,
    mouth: &Mouth<ToWorker>,
    ear: &mut Ear<ToKeeper>,
) -> Result<Vec<Prefix>, KeeperError> {
    mouth.say(configured, Some(admin)).await?;
    match ear.hear().await? {
        Some((ToKeeper::Ready { protect }, _)) => Ok(protect),
        Some((ToKeeper::Failed { why }, _)) => Err(KeeperError::Worker(why)),
        Some((ToKeeper::Ended { .. } | ToKeeper::Ask { .. }, _)) => {
            Err(ChannelError::Malformed("a question before ready".to_owned()).into())
        }
        None => Err(ChannelError::Socket(io::ErrorKind::UnexpectedEof.into()).into()),
    }
}

/// The socket ended before the worker did: what the worker says of it is the better reason.
async fn ending_words(ended: &mut Ending) -> String {
    match timeout(LAST_WORDS, ended.why()).await {
        Ok(Err(why)) => why,
        Ok(Ok(())) => "it ended by itself".to_owned(),
        Err(_) => "it closed its socket".to_owned(),
    }
}

impl Governing {
    /// What decides is there: now what listens, and last what redirects.
    fn start(config: &Config, protect: &[Prefix]) -> Result<Self, KeeperError> {
        let (mount, base) = cgroup2(config)?;
        let interceptor = Arc::new(Interceptor::start(settings(config, &mount, &base)?)?);
        let declared = config.targets.iter().flat_map(|target| &target.addresses);
        let door = Arc::new(Door {
            origins: Origins::Kernel {
                interceptor: interceptor.clone(),
                cgroup_root: mount.clone(),
            },
            places: Arc::new(Semaphore::new(AT_ONCE)),
            worker: watch::Sender::new(None),
            workloads: config.workloads.len(),
            unread: AtomicU64::new(0),
        });
        let answers = Arc::new(Answers {
            door: door.clone(),
            interceptor: interceptor.clone(),
            enrolment: RwLock::new(None),
            tokens: TokenFiles::new(mount),
            workloads: config.workloads.clone(),
            declared: declared
                .filter_map(|prefix| Prefix::new(prefix.addr, prefix.len))
                .collect(),
            replaced: AtomicU64::new(0),
        });
        answers.protect(protect)?;
        let mut accepting = JoinSet::new();
        if let Some(listeners) = interceptor.take_listeners() {
            accepting.spawn(accept_all(door, listeners));
        }
        let enrolment = Arc::new(Enrolment::start(
            EnrolSettings::new(base, enrol_rules(config)),
            interceptor.clone(),
            interceptor.take_sightings(),
        )?);
        *answers
            .enrolment
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(enrolment);
        let mut telling = JoinSet::new();
        if let Some(events) = interceptor.take_events() {
            telling.spawn(tell_events(events));
        }
        Ok(Governing {
            answers,
            accepting: Some(accepting),
            _telling: telling,
        })
    }

    /// Lets this worker serve until it ends.
    async fn serve(&mut self, worker: Worker, signals: &mut Signals) -> Result<Went, KeeperError> {
        let Worker {
            mouth,
            mut ear,
            mut ended,
        } = worker;
        mouth.say(&ToWorker::Governing, None).await?;
        let present = Arc::new(Present {
            mouth,
            tickets: Arc::new(Tickets::default()),
        });
        let worker = &self.answers.door.worker;
        worker.send_replace(Some(present.clone()));
        // Whatever ends this: the listeners hand nothing more to this worker.
        let _gone = Absent(worker);
        let attending = self.answers.attend(&present, &mut ear);
        tokio::pin!(attending);
        let mut deadline: Option<Instant> = None;
        let mut hears = true;
        loop {
            let at = deadline.unwrap_or_else(Instant::now);
            tokio::select! {
                biased;
                ended = ended.why() => return Ok(match (ended, deadline) {
                    (Ok(()), Some(_)) => Went::Stopped,
                    (Err(why), Some(_)) => {
                        tracing::error!(why, "the worker did not end as it should");
                        Went::Stopped
                    }
                    (Ok(()), None) => Went::Died("it ended by itself".to_owned()),
                    (Err(why), None) => Went::Died(why),
                }),
                signalled = signals.next() => match (signalled, deadline) {
                    (Signalled::Reload, _) => say(&present, Order::Reload).await,
                    (Signalled::Stop, None) => {
                        self.accepting = None;
                        deadline = Instant::now().checked_add(DRAIN);
                        say(&present, Order::Drain).await;
                    }
                    (Signalled::Stop, Some(_)) => say(&present, Order::Stop).await,
                },
                attended = &mut attending, if hears => {
                    hears = false;
                    if let Err(error) = attended {
                        return Ok(Went::Died(error.to_string()));
                    }
                    // Its end of the socket is closed: without orders it is of no use any more.
                    if deadline.is_none() {
                        return Ok(Went::Died(ending_words(&mut ended).await));
                    }
                }
                () = sleep_until(at), if deadline.is_some() => {
                    tracing::error!("the worker takes too long to end, and is ended");
                    return Ok(Went::Stopped);
                }
            }
        }
    }
}

/// Takes the worker out of the listeners' sight.
struct Absent<'a>(&'a watch::Sender<Option<Arc<Present>>>);

impl Drop for Absent<'_> {
    fn drop(&mut self) {
        self.0.send_replace(None);
    }
}

/// A worker that does not even listen holds up nothing: the deadline of a stop counts all the same.
async fn say(present: &Present, order: Order) {
    let message = ToWorker::Order(order);
    match timeout(LAST_WORDS, present.mouth.say(&message, None)).await {
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

/// Tells the log what the kernel programs saw.
async fn tell_events(mut events: mpsc::Receiver<Event>) {
    while let Some(event) = events.recv().await {
        tracing::debug!(?event, "kernel");
    }
}

fn enrol_rules(config: &Config) -> Vec<enrol::WorkloadRule> {
    let rules = config.workloads.iter().zip(0_u32..);
    rules
        .map(|(rule, index)| enrol::WorkloadRule {
            name: rule.name.clone(),
            globs: rule.cgroups.clone(),
            index: WorkloadIndex(index),
        })
        .collect()
}

fn settings(config: &Config, mount: &Path, base: &Path) -> Result<Settings, KeeperError> {
    let agents = own_cgroup(mount)?;
    let mut settings = Settings::new(base, config.listen.port, cgroup_id(&agents)?);
    settings.ports = config.guard.ports.clone();
    for target in &config.targets {
        if !settings.ports.contains(&target.port) {
            settings.ports.push(target.port);
        }
    }
    settings.pin = Some(pin_directory(config));
    Ok(settings)
}

/// The directory of the agent's own cgroup: the one exemption from the redirect.
fn own_cgroup(root: &Path) -> Result<PathBuf, KeeperError> {
    let path = "/proc/self/cgroup";
    let text = std::fs::read_to_string(path).map_err(own(path))?;
    let inside = text
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .unwrap_or_default();
    Ok(root.join(inside))
}
