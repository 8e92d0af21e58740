//! Where agents of one state directory meet: a socket in a directory that their user alone enters.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
    socket_with, sockopt,
};
use rustix::process::geteuid;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::channel::Channel;
use super::keep::{KeeperError, own};
use super::succession::{BOUND, ToBefore, ToNext, VERSION};
use crate::intercept::waited;

const DIRECTORY: &str = "hand-over";
const SOCKET: &str = "socket";
/// Who asks says so at once.
const FIRST_WORD: Duration = Duration::from_secs(2);
/// Those that wait to be heard.
const WAITING: i32 = 8;
/// The pause after accept() fails for want of descriptors.
const BACKOFF: Duration = Duration::from_millis(50);

/// The talk with the next agent, as the one before has it.
pub(super) type WithNext = Channel<ToNext, ToBefore>;
/// The talk with the one before.
pub(super) type WithBefore = Channel<ToBefore, ToNext>;

/// Where the next agent asks.
pub(super) struct Hatch {
    /// Those who asked to take over.
    pub(super) asked: mpsc::Receiver<WithNext>,
    listening: JoinHandle<()>,
}

impl Drop for Hatch {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

fn directory(state: &Path) -> PathBuf {
    state.join(DIRECTORY)
}

fn address(state: &Path) -> Result<SocketAddrUnix, KeeperError> {
    let path = directory(state).join(SOCKET);
    let name = path.display().to_string();
    SocketAddrUnix::new(path).map_err(|errno| own(name)(errno.into()))
}

fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags,
        None,
    )?)
}

/// Is a process of this user at the other end?
fn is_ours(peer: &OwnedFd) -> bool {
    sockopt::socket_peercred(peer).is_ok_and(|peer| peer.uid == geteuid())
}

impl Hatch {
    /// Listens. Whatever was there is an agent's that has ended or gave all it had.
    ///
    /// # Errors
    /// The directory or socket cannot be made.
    pub(super) fn open(state: &Path) -> Result<Self, KeeperError> {
        let directory = directory(state);
        let failed = |source| own(directory.display().to_string())(source);
        private(&directory).map_err(failed)?;
        let path = directory.join(SOCKET);
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let address = address(state)?;
        let listening = || -> io::Result<OwnedFd> {
            let socket = socket()?;
            bind(&socket, &address)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
            listen(&socket, WAITING)?;
            Ok(socket)
        };
        let listening = listening().map_err(failed)?;
        // One at a time: who asked waits for an answer before another is heard.
        let (ask, asked) = mpsc::channel(1);
        let listening = waited(listening).map_err(failed)?;
        Ok(Hatch {
            asked,
            listening: tokio::spawn(async move {
                loop {
                    let accepted = listening.async_io(tokio::io::Interest::READABLE, |listening| {
                        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                        accept_with(listening.as_fd(), flags).map_err(io::Error::from)
                    });
                    let peer = match accepted.await {
                        Ok(peer) => peer,
                        Err(error) => {
                            tracing::warn!(%error, "accept failed");
                            sleep(BACKOFF).await;
                            continue;
                        }
                    };
                    if let Some(talk) = heard(peer).await
                        && ask.send(talk).await.is_err()
                    {
                        return;
                    }
                }
            }),
        })
    }
}

/// Made for this user alone, and no other's that was put there.
fn private(directory: &Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let about = std::fs::symlink_metadata(directory)?;
    if !about.is_dir() || about.uid() != geteuid().as_raw() {
        return Err(io::Error::other(
            "it is not a directory of the agent's own user: remove it",
        ));
    }
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))
}

/// The talk with a peer that asks for all in words that are understood. Whoever else comes learns
/// nothing, and changes nothing.
async fn heard(peer: OwnedFd) -> Option<WithNext> {
    if !is_ours(&peer) {
        tracing::warn!("another user asked for what this agent governs by, and got no answer");
        return None;
    }
    let mut talk = WithNext::new(peer, BOUND).ok()?;
    match timeout(FIRST_WORD, talk.ear.hear()).await {
        Ok(Ok(Some((ToBefore::TakeOver { version: VERSION }, _)))) => Some(talk),
        Ok(Ok(Some((ToBefore::TakeOver { version }, _)))) => {
            let why = format!(
                "it hands over in words of version {VERSION}, and {version} was asked for: stop \
                 it first, and start the next one then"
            );
            refuse(&talk, why).await;
            None
        }
        // Somebody looked whether an agent is here.
        Ok(Ok(None)) => None,
        Ok(Err(error)) => {
            tracing::warn!(%error, "what asked to take over is not understood");
            None
        }
        Err(_) => {
            tracing::warn!("what came to take over says nothing");
            None
        }
    }
}

/// Says no.
pub(super) async fn refuse(talk: &WithNext, why: String) {
    tracing::warn!(why, "another agent asked to take over, and was refused");
    // Who is gone by now needs no answer.
    let _ = timeout(FIRST_WORD, talk.mouth.say(&ToNext::No { why }, &[])).await;
}

/// An agent that listens there, not asked anything yet.
pub(super) struct Reached {
    pub(super) talk: WithBefore,
    /// The same socket: it ends with that agent.
    pub(super) socket: OwnedFd,
}

/// Is there an agent to be asked?
///
/// # Errors
/// It cannot be known.
pub(super) fn answers(state: &Path) -> Result<bool, KeeperError> {
    Ok(connected(state)?.is_some())
}

/// Reaches the agent before this one. `None`: there is none to be asked.
///
/// # Errors
/// It cannot be known.
pub(super) fn reach(state: &Path) -> Result<Option<Reached>, KeeperError> {
    let Some(socket) = connected(state)? else {
        return Ok(None);
    };
    let talk = |socket: &OwnedFd| WithBefore::new(socket.try_clone()?, BOUND);
    let talk = talk(&socket).map_err(own("the agent that governs"))?;
    Ok(Some(Reached { talk, socket }))
}

fn connected(state: &Path) -> Result<Option<OwnedFd>, KeeperError> {
    let failed = |source| own("the agent that governs")(source);
    let address = address(state)?;
    let socket = socket().map_err(failed)?;
    match connect(&socket, &address) {
        Ok(()) if is_ours(&socket) => {}
        Ok(()) => {
            let other = "another user listens in its place: find out who, and remove it";
            return Err(failed(io::Error::other(other)));
        }
        Err(Errno::NOENT | Errno::CONNREFUSED) => return Ok(None),
        // Others wait there already.
        Err(errno) => return Err(failed(errno.into())),
    }
    Ok(Some(socket))
}
