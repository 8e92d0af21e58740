//! Sockets between processes of one machine: relays, connections that are handed over, a database
//! that listens on a path.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::{calls, routes};

const PATIENCE: Duration = Duration::from_secs(2);

/// Everybody may come.
fn open_to_all(path: &str) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777))?;
    Ok(listener)
}

/// Passes both ways on between whoever comes and `to`.
fn pass<S>(near: S, far: TcpStream, split: impl Fn(&S) -> io::Result<S>) -> io::Result<()>
where
    S: Read + Write + Send + 'static,
{
    let (mut from, mut into) = (split(&near)?, near);
    let (mut far_from, mut far_into) = (far.try_clone()?, far);
    std::thread::spawn(move || io::copy(&mut from, &mut far_into));
    std::thread::spawn(move || io::copy(&mut far_from, &mut into));
    Ok(())
}

/// A relay at a path.
pub(super) fn relay(path: &str, to: SocketAddr) -> io::Result<()> {
    let listener = open_to_all(path)?;
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            if let Ok(far) = TcpStream::connect_timeout(&to, PATIENCE) {
                let _ = pass(near, far, UnixStream::try_clone);
            }
        }
    });
    Ok(())
}

/// A relay at an address.
pub(super) fn relay_at(at: SocketAddr, to: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(at)?;
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            if let Ok(far) = TcpStream::connect_timeout(&to, PATIENCE) {
                let _ = pass(near, far, TcpStream::try_clone);
            }
        }
    });
    Ok(())
}

/// The first line of whoever listens at a path.
pub(super) fn through(path: &str) -> io::Result<String> {
    first_line(UnixStream::connect(path)?)
}

fn first_line(mut stream: UnixStream) -> io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte)? == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// Gives a connection of its own to whoever comes.
pub(super) fn hand(path: &str, to: SocketAddr) -> io::Result<()> {
    hand_each(path, move || {
        TcpStream::connect_timeout(&to, PATIENCE).map(OwnedFd::from)
    })
}

/// Gives a socket of its own to whoever comes, not connected.
pub(super) fn hand_made(path: &str, like: SocketAddr) -> io::Result<()> {
    let family = if like.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    hand_each(path, move || routes::impatient(family))
}

fn hand_each(
    path: &str,
    made: impl Fn() -> io::Result<OwnedFd> + Send + 'static,
) -> io::Result<()> {
    let listener = open_to_all(path)?;
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let Ok(given) = made() else { continue };
            let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut room);
            let files = [given.as_fd()];
            ancillary.push(SendAncillaryMessage::ScmRights(&files));
            let bytes = [io::IoSlice::new(b"x")];
            let _ = sendmsg(&near, &bytes, &mut ancillary, SendFlags::empty());
        }
    });
    Ok(())
}

/// Takes a connection that somebody else made, and reads from it.
pub(super) fn receive(path: &str) -> io::Result<String> {
    routes::greeting(given(path)?)
}

/// Takes a socket that somebody else made, connects it, and reads from it.
pub(super) fn receive_and_dial(path: &str, to: SocketAddr) -> io::Result<String> {
    let socket = given(path)?;
    calls::connect(&socket, to)?;
    routes::greeting(socket)
}

fn given(path: &str) -> io::Result<OwnedFd> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut room);
    let mut byte = [0];
    recvmsg(
        &stream,
        &mut [io::IoSliceMut::new(&mut byte)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let given = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    given.ok_or(io::ErrorKind::NotFound.into())
}

/// A database that listens on a path as well.
pub(super) fn database(path: &str) -> io::Result<()> {
    let listener = open_to_all(path)?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = stream.write_all(b"DATABASE\n");
                let _ = stream.read(&mut [0; 64]);
            });
        }
    });
    Ok(())
}

/// Dials a path, spelt in one of the ways there are.
pub(super) fn dial(spelling: &str, path: &str) -> io::Result<String> {
    let beside = format!("{path}-{}", std::process::id());
    match spelling {
        "direct" => first_line(UnixStream::connect(path)?),
        "root" => first_line(UnixStream::connect(format!("/proc/self/root{path}"))?),
        "symbolic-link" => {
            std::os::unix::fs::symlink(path, &beside)?;
            let stream = UnixStream::connect(&beside);
            std::fs::remove_file(&beside)?;
            first_line(stream?)
        }
        "hard-link" => {
            std::fs::hard_link(path, &beside)?;
            let stream = UnixStream::connect(&beside);
            std::fs::remove_file(&beside)?;
            first_line(stream?)
        }
        "descriptor" => {
            use rustix::fs::{Mode, OFlags, open};
            let at = open(path, OFlags::PATH, Mode::empty())?;
            let path = format!("/proc/self/fd/{}", at.as_raw_fd());
            first_line(UnixStream::connect(path)?)
        }
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}
