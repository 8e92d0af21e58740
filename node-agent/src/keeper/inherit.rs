//! The next agent's side of a succession: asks for all that the one before has.

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::channel::ChannelError;
use super::hatch::{Reached, WithBefore};
use super::keep::KeeperError;
use super::succession::{ToBefore, ToNext, VERSION};
use crate::config::Config;
use crate::intercept::{Estate, Interceptor, Right};
use crate::model::CgroupId;

/// How long all of it may take. Connections wait meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);

/// The listening sockets for the command line and for the pages.
#[derive(Debug)]
pub(super) struct Operators {
    pub(super) admin: UnixListener,
    pub(super) pages: TcpListener,
}

/// An agent that was succeeded and still serves. It has ended when its socket has.
#[derive(Debug)]
pub(super) struct Before {
    pub(super) cgroup: CgroupId,
    pub(super) talk: OwnedFd,
}

/// What the agent before gave.
pub(super) struct Given {
    pub(super) workloads: Vec<String>,
    pub(super) listening: Vec<OwnedFd>,
    pub(super) operators: Option<Operators>,
    /// The right to the pins, not looked at yet.
    pub(super) right: Option<OwnedFd>,
    /// Itself and those before it.
    pub(super) before: Vec<Before>,
}

/// Why nothing was given.
#[derive(Debug, thiserror::Error)]
pub enum NotGiven {
    /// It said no.
    #[error("the agent that governs does not hand over: {0}")]
    Refused(String),
    /// It broke off, or said what is not understood.
    #[error("the agent that governs broke off: {0}; stop it first (systemctl stop node-agent)")]
    Broken(#[from] ChannelError),
    /// It did not say all of it in time.
    #[error("the agent that governs does not answer: stop it first (systemctl stop node-agent)")]
    Silent,
    /// There is none to be asked.
    #[error(
        "an agent governs by what is pinned there, and cannot be asked: it is still starting, or of \
         a version that does not hand over: stop it first (systemctl stop node-agent)"
    )]
    Nobody,
    /// The right to the pins is another one.
    #[error("the agent that governs gave no right to what is pinned: stop it first")]
    NoRight,
}

/// Asks, and takes all there is.
///
/// # Errors
/// It was not all given. What was is closed by that.
pub(super) async fn ask(reached: Reached) -> Result<Given, NotGiven> {
    timeout(PATIENCE, all(reached))
        .await
        .unwrap_or(Err(NotGiven::Silent))
}

async fn all(reached: Reached) -> Result<Given, NotGiven> {
    let Reached { mut talk, socket } = reached;
    let asking = ToBefore::TakeOver { version: VERSION };
    talk.mouth.say(&asking, &[]).await?;
    let odd = |what: &str| NotGiven::Broken(ChannelError::Malformed(what.to_owned()));
    let ended = || NotGiven::Broken(ChannelError::Socket(io::ErrorKind::UnexpectedEof.into()));
    let (cgroup, workloads) = match talk.ear.hear().await?.ok_or_else(ended)?.0 {
        ToNext::Yes {
            version: VERSION,
            cgroup,
            workloads,
        } => (cgroup, workloads),
        ToNext::No { why } => return Err(NotGiven::Refused(why)),
        ToNext::Yes { .. }
        | ToNext::Before { .. }
        | ToNext::Listening
        | ToNext::Operators
        | ToNext::All => return Err(odd("its first word")),
    };
    let (mut listening, mut operators) = (Vec::new(), None);
    let mut before = vec![Before {
        cgroup,
        talk: socket,
    }];
    loop {
        let (said, mut beside) = talk.ear.hear().await?.ok_or_else(ended)?;
        match said {
            ToNext::No { why } => return Err(NotGiven::Refused(why)),
            ToNext::Yes { .. } => return Err(odd("it began twice")),
            ToNext::Before { cgroup } => {
                let talk = beside
                    .pop()
                    .ok_or_else(|| odd("an agent without its socket"))?;
                before.push(Before { cgroup, talk });
            }
            ToNext::Listening => listening.append(&mut beside),
            ToNext::Operators => {
                let (Some(pages), Some(admin), None) = (beside.pop(), beside.pop(), beside.pop())
                else {
                    return Err(odd("not two sockets for operators"));
                };
                operators = Some(Operators {
                    admin: admin.into(),
                    pages: pages.into(),
                });
            }
            ToNext::All => {
                return Ok(Given {
                    workloads,
                    listening,
                    operators,
                    right: beside.pop(),
                    before,
                });
            }
        }
    }
}

impl Given {
    /// The right to the pins in this directory, if it was given.
    ///
    /// # Errors
    /// What was given is not that.
    pub(super) fn right(&mut self, directory: &Path) -> Result<Option<Right>, KeeperError> {
        match self.right.take() {
            None => Ok(None),
            Some(given) => match Right::given(given, directory) {
                Some(right) => Ok(Some(right)),
                None => Err(NotGiven::NoRight.into()),
            },
        }
    }

    /// What the kernel side goes on with. `own` is this agent's cgroup, exempt anyway.
    pub(super) fn estate(&mut self, own: CgroupId) -> Estate {
        let before = self.before.iter().map(|before| before.cgroup);
        Estate {
            listening: std::mem::take(&mut self.listening),
            before: before.filter(|cgroup| *cgroup != own).collect(),
        }
    }
}

/// The sockets for operators that were given, as far as they are where this configuration has
/// them. What is not is closed, and no file of it is left.
pub(super) fn fitting(
    given: Option<Operators>,
    config: &Config,
) -> (Option<UnixListener>, Option<TcpListener>) {
    let Some(Operators { admin, pages }) = given else {
        return (None, None);
    };
    let at = admin.local_addr().ok();
    let path = at.as_ref().and_then(|at| at.as_pathname());
    let admin = if path == Some(config.listen.admin_socket.as_path()) {
        Some(admin)
    } else {
        if let Some(path) = path {
            let _ = std::fs::remove_file(path);
        }
        None
    };
    let here = pages.local_addr().is_ok_and(|at| at == config.listen.admin);
    (admin, here.then_some(pages))
}

/// Waits until those before have ended: their exemption ends with them. Their sockets are kept so
/// long, and given to whoever succeeds this agent.
pub(super) async fn outlive(
    before: Arc<Vec<Before>>,
    own: CgroupId,
    interceptor: Arc<Interceptor>,
) {
    let mut waiting = tokio::task::JoinSet::new();
    for at in before.iter() {
        let (cgroup, talk) = (at.cgroup, at.talk.try_clone());
        waiting.spawn(async move {
            if let Ok(Ok(mut talk)) = talk.map(|talk| WithBefore::new(talk, 0)) {
                // It has nothing more to say; the end is all there is to hear.
                let _ = talk.ear.hear().await;
            }
            cgroup
        });
    }
    let mut serving: Vec<CgroupId> = before.iter().map(|before| before.cgroup).collect();
    while let Some(Ok(ended)) = waiting.join_next().await {
        if let Some(at) = serving.iter().position(|cgroup| *cgroup == ended) {
            serving.swap_remove(at);
        }
        // Others of the same cgroup may serve on.
        if ended != own && !serving.contains(&ended) {
            interceptor.ended_before(ended);
        }
    }
}
