//! IO. What a labelled process holds from before its label. Connections that lead past the agent
//! are ended; what cannot be ended or might yet lead past it is told.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::process;
use super::reason::Reason;
use crate::intercept::{Ended, Governs, SocketSeen, same_files};
use crate::model::Pid;

/// A connection past the agent that was ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) fd: u32,
    pub(super) destination: SocketAddr,
    pub(super) how: Ended,
    /// Why it was.
    pub(super) led: Led,
}

/// Where a connection that was ended led.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Led {
    /// To a database, past the agent.
    Past,
    /// To where the workload may not go.
    Elsewhere,
}

/// What looking at a process's descriptors gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) reasons: BTreeSet<Reason>,
    pub(super) cut: Vec<Cut>,
    /// Sockets that were ended, by cookie: they stay in the process until it notices, and lead
    /// nowhere.
    pub(super) ended: BTreeSet<u64>,
}

/// Looks at every descriptor of a process, its threads' own tables among them, and ends what
/// leads past the agent. `known` are sockets that were ended before.
pub(super) fn audit(governs: &dyn Governs, pid: Pid, known: &BTreeSet<u64>) -> Held {
    let mut held = Held {
        ended: known.clone(),
        ..Held::default()
    };
    for thread in tables(pid) {
        if let Err(error) = one_table(governs, pid, thread, &mut held)
            && process::started(pid).is_some()
        {
            tracing::debug!(%pid, thread, %error, "descriptors that cannot be looked at");
            held.reasons.insert(Reason::Unseen);
        }
    }
    held
}

/// One thread for each table of descriptors: nearly always there is one table.
fn tables(pid: Pid) -> Vec<u32> {
    let mut tables = vec![pid.0];
    for thread in process::threads(pid) {
        if thread != pid.0
            && !tables
                .iter()
                .any(|other| same_files(*other, thread) == Some(true))
        {
            tables.push(thread);
        }
    }
    tables
}

fn one_table(governs: &dyn Governs, pid: Pid, thread: u32, held: &mut Held) -> io::Result<()> {
    let directory = format!("/proc/{pid}/task/{thread}/fd");
    let directory = Path::new(&directory);
    let mut opened: Option<OwnedFd> = None;
    for fd in fs::read_dir(directory)? {
        let Some(fd) = fd
            .ok()
            .and_then(|entry| entry.file_name().to_str()?.parse().ok())
        else {
            continue;
        };
        let Ok(target) = fs::read_link(directory.join(fd_name(fd))) else {
            continue; // closed since
        };
        let target = target.to_string_lossy();
        if target == "anon_inode:[io_uring]" {
            held.reasons.insert(Reason::Ring { fd });
        } else if target.starts_with("socket:[") {
            if opened.is_none() {
                opened = Some(open(thread)?);
            }
            let Some(process) = &opened else { continue };
            match copy(process.as_fd(), fd)? {
                Some(socket) => judge(governs, fd, socket.as_fd(), held),
                None => continue,
            }
        }
    }
    Ok(())
}

fn fd_name(fd: u32) -> String {
    fd.to_string()
}

fn open(thread: u32) -> io::Result<OwnedFd> {
    // `PIDFD_THREAD`, Linux 6.9: for a thread with a table of its own. The leader needs no flag.
    const THREAD: u32 = 0o200;
    let raw = i32::try_from(thread).map_err(io::Error::other)?;
    let number = rustix::process::Pid::from_raw(raw).ok_or(io::ErrorKind::NotFound)?;
    match pidfd_open(number, PidfdFlags::empty()) {
        Ok(fd) => Ok(fd),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {
            Ok(pidfd_open(number, PidfdFlags::from_bits_retain(THREAD))?)
        }
        Err(e) => Err(e.into()),
    }
}

/// A second descriptor for the process's socket; `None` when it was closed since.
fn copy(process: BorrowedFd<'_>, fd: u32) -> io::Result<Option<OwnedFd>> {
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    match pidfd_getfd(process, fd, PidfdGetfdFlags::empty()) {
        Ok(socket) => Ok(Some(socket)),
        Err(rustix::io::Errno::BADF | rustix::io::Errno::SRCH) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn judge(governs: &dyn Governs, fd: u32, socket: BorrowedFd<'_>, held: &mut Held) {
    let cookie = rustix::net::sockopt::socket_cookie(socket).unwrap_or(0);
    match governs.look_at(socket) {
        Ok(SocketSeen::Governed | SocketSeen::Elsewhere | SocketSeen::Harmless) => {}
        Ok(SocketSeen::Unconnected) => {
            if !held.ended.contains(&cookie) {
                held.reasons.insert(Reason::UnconnectedSocket { fd });
            }
        }
        Ok(SocketSeen::Ungoverned(kind)) => {
            held.reasons.insert(Reason::UngovernedSocket { fd, kind });
        }
        Ok(SocketSeen::Past(to)) => end(governs, fd, socket, to, Led::Past, held),
        Ok(SocketSeen::Forbidden(to)) => end(governs, fd, socket, to, Led::Elsewhere, held),
        Err(error) => {
            tracing::debug!(fd, %error, "a socket that cannot be looked at");
            held.reasons.insert(Reason::Unseen);
        }
    }
}

fn end(
    governs: &dyn Governs,
    fd: u32,
    socket: BorrowedFd<'_>,
    destination: SocketAddr,
    led: Led,
    held: &mut Held,
) {
    let cookie = rustix::net::sockopt::socket_cookie(socket).unwrap_or(0);
    match governs.end(socket) {
        Ok(how) => {
            // A stream that was shut down by hand still names its peer.
            if held.ended.insert(cookie) {
                held.cut.push(Cut {
                    fd,
                    destination,
                    how,
                    led,
                });
            }
        }
        Err(error) => {
            tracing::error!(fd, %destination, %error, "a connection past the agent cannot be ended");
            held.reasons.insert(Reason::NotEnded { fd, destination });
        }
    }
}
