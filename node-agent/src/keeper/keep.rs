//! The keeper at work: starts what governs once a worker can serve, and sees to it that there
//! always is a worker.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::channel::{Channel, ChannelError, pair};
use super::give::Succession;
use super::governing::{Begin, Governing};
use super::hatch::{self, Hatch};
use super::inherit::{NotGiven, Operators, ask, fitting};
use super::message::{TO_KEEPER, ToKeeper, ToWorker};
use super::settings::{cgroup2, pin_directory, settings};
use super::succession::same_numbers;
use super::worker::{Ending, Signals, Went, Worker, ending_words, ready};
use crate::config::Config;
use crate::enrol::{CanaryError, EnrolError};
use crate::intercept::{Estate, InterceptError, Interceptor, Prefix, Right};

/// The pause before another worker is started, and the longest it grows to when they die at once.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long what an earlier agent had may take to come free.
const LEAVING: Duration = Duration::from_secs(5);
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
    /// The canary.
    #[error(transparent)]
    Canary(#[from] CanaryError),
    /// The talk with the worker.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The agent before this one.
    #[error(transparent)]
    NotGiven(#[from] NotGiven),
    /// The first worker could not start, in its own words.
    #[error("{0}")]
    Worker(String),
}

pub(super) fn own(what: impl Into<String>) -> impl FnOnce(io::Error) -> KeeperError {
    let what = what.into();
    move |source| KeeperError::Own { what, source }
}

/// How a worker is started on its end of the socket. The task ends when the worker does: with an
/// error, in words, when it did not mean to. Aborting it ends the worker.
pub type Hire = Box<dyn Fn(OwnedFd) -> io::Result<JoinHandle<Result<(), String>>> + Send + Sync>;

/// How an agent starts beside one that governs by the same pins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It refuses, unless that one is stopping.
    Alone,
    /// It takes over from it.
    TakeOver,
}

/// What an agent starts with, before it touches anything.
#[derive(Debug)]
pub struct Claim(
    /// `None`: the agent that governs is to give it.
    Option<Right>,
);

impl Claim {
    /// Nothing but the pin directory is made yet.
    ///
    /// # Errors
    /// Another agent governs, and is not to be followed or cannot be asked.
    pub fn make(config: &Config, start: Start) -> Result<Self, KeeperError> {
        let pins = pin_directory(config);
        let right = match start {
            Start::Alone => Some(Right::wait(&pins)?),
            Start::TakeOver => Right::at_once(&pins)?,
        };
        if right.is_none() && !hatch::answers(&config.state_dir)? {
            return Err(NotGiven::Nobody.into());
        }
        Ok(Claim(right))
    }

    /// Does another agent govern yet?
    pub fn is_another_s(&self) -> bool {
        self.0.is_none()
    }
}

/// The privileged half.
pub struct Keeper {
    config: Config,
    /// The configuration as each worker gets it.
    configured: ToWorker,
    hire: Hire,
    signals: Signals,
    claim: Claim,
    /// `None` until the first worker can serve.
    governing: Option<(Governing, Succession)>,
}

impl Keeper {
    /// Nothing is started yet. `text` is what `config` was read from, and `file` where.
    ///
    /// # Errors
    /// Signals cannot be awaited.
    pub fn new(
        config: Config,
        file: PathBuf,
        text: String,
        hire: Hire,
        claim: Claim,
    ) -> Result<Self, KeeperError> {
        Ok(Keeper {
            config,
            configured: ToWorker::Configured { file, text },
            hire,
            signals: Signals::new()?,
            claim,
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
            ready = ready(&self.configured, &worker.mouth, &mut worker.ear) => match ready {
                Ok(protect) => protect,
                Err(KeeperError::Channel(ChannelError::Socket(_))) => {
                    return Err(KeeperError::Worker(ending_words(&mut worker.ended).await));
                }
                Err(error) => return Err(error),
            },
            () = self.signals.stop() => return Ok(Went::Stopped),
        };
        let (governing, succession) = match &mut self.governing {
            Some(both) => {
                let answers = &both.0.answers;
                answers.replaced.fetch_add(1, Ordering::Relaxed);
                answers.protect(&protect)?;
                both
            }
            none => none.insert(govern(&self.config, &mut self.claim, &protect).await?),
        };
        tracing::info!(port = self.config.listen.port, "node-agent is ready");
        governing.serve(worker, &mut self.signals, succession).await
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

/// Everything that takes long comes first, then what an agent before gives, and last what governs.
async fn govern(
    config: &Config,
    claim: &mut Claim,
    protect: &[Prefix],
) -> Result<(Governing, Succession), KeeperError> {
    let (mount, base) = cgroup2(config)?;
    let settings = settings(config, &mount, &base)?;
    let own = settings.agent_cgroup;
    let loaded = Interceptor::load(settings)?;
    let workloads: Vec<String> = config
        .workloads
        .iter()
        .map(|rule| rule.name.to_string())
        .collect();

    let mut given = match hatch::reach(&config.state_dir)? {
        Some(reached) => match ask(reached).await {
            Ok(given) => Some(given),
            // It stops, and has let go of what counts.
            Err(error) if claim.0.is_some() => {
                tracing::warn!(%error, "what an agent that stops still has is not given");
                None
            }
            Err(error) => return Err(error.into()),
        },
        None if claim.0.is_some() => None,
        None => return Err(NotGiven::Nobody.into()),
    };
    let begun = async {
        let pins = pin_directory(config);
        let handed = match &mut given {
            Some(given) => given.right(&pins)?,
            None => None,
        };
        let right = match claim.0.take().or(handed) {
            Some(right) => right,
            // It was stopping, and lets go of it by itself.
            None => Right::wait(&pins)?,
        };
        let mut estate = Estate::default();
        if let Some(given) = &mut given {
            estate = given.estate(own);
            if !same_numbers(&given.workloads, &workloads) {
                tracing::warn!(
                    "the workloads are others, or in another order, than those of the agent before: \
                     connections that wait to be accepted are reset"
                );
                estate.listening.clear();
            }
        }
        let operators = given.as_mut().and_then(|given| given.operators.take());
        let (admin, desk) = fitting(operators, config);
        let operators = Operators {
            admin: match admin {
                Some(admin) => admin,
                None => admin_socket(&config.listen.admin_socket)?,
            },
            pages: match desk {
                Some(pages) => pages,
                None => pages(config.listen.admin).await?,
            },
        };
        let before = Arc::new(given.take().map_or_else(Vec::new, |given| given.before));
        let begin = Begin {
            loaded,
            right,
            estate,
            before: before.clone(),
        };
        let governing = Governing::start(config, protect, begin)?;
        let succession = Succession {
            hatch: Some(Hatch::open(&config.state_dir)?),
            operators: Some(operators),
            before,
            cgroup: own,
            workloads,
            _next: None,
        };
        Ok((governing, succession))
    };
    begun.await.inspect_err(|_| {
        tracing::error!(
            "what governs could not be started, and what was handed over is closed: connects of \
             labelled workloads are refused until an agent runs"
        );
    })
}

/// Binds where the pages are. The worker of an agent that was killed a moment ago may have the port
/// a little longer than its keeper lived.
async fn pages(address: SocketAddr) -> Result<TcpListener, KeeperError> {
    let until = Instant::now().checked_add(LEAVING);
    loop {
        match TcpListener::bind(address) {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && until.is_some_and(|until| Instant::now() < until) =>
            {
                sleep(PAUSE).await;
            }
            Err(error) => return Err(own(format!("listen.admin {address}"))(error)),
            Ok(bound) => {
                bound.set_nonblocking(true).map_err(own("listen.admin"))?;
                return Ok(bound);
            }
        }
    }
}

/// Makes the socket for the command line; a stale one is replaced. Anybody may put itself under
/// the gateway; what else may be done, the caller's uid says.
pub(super) fn admin_socket(path: &Path) -> Result<UnixListener, KeeperError> {
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
        // Else it is the next agent's.
        if let Some((governing, _)) = &self.governing
            && governing.governs()
        {
            let _ = std::fs::remove_file(&self.config.listen.admin_socket);
        }
    }
}
