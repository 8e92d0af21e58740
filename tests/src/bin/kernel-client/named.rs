//! Unix sockets by every spelling of their names.

use std::io::{self, Read, Write};
use std::mem::{offset_of, size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use super::calls;

const PATIENCE: Duration = Duration::from_secs(2);
const HEAD: usize = offset_of!(libc::sockaddr_un, sun_path);

/// A name and how much of the structure is given. `@` begins an abstract one.
fn address(name: &str, more: usize, junk: u8) -> (libc::sockaddr_un, libc::socklen_t) {
    // SAFETY: all zero is a value.
    let mut address: libc::sockaddr_un = unsafe { zeroed() };
    address.sun_family = libc::AF_UNIX as u16;
    let bytes = name.as_bytes();
    let length = (bytes.len() + more).min(address.sun_path.len());
    for (at, to) in address.sun_path.iter_mut().enumerate() {
        *to = match bytes.get(at) {
            Some(b'@') if at == 0 => 0,
            Some(byte) => *byte as libc::c_char,
            None if at > bytes.len() => junk as libc::c_char,
            None => 0,
        };
    }
    (address, (HEAD + length) as libc::socklen_t)
}

fn call(answer: i32) -> io::Result<()> {
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Reaches a socket in one of several ways, and gives what comes back.
pub(super) fn reach(how: &str, name: &str) -> io::Result<String> {
    let whole = size_of::<libc::sockaddr_un>() - HEAD;
    let kind = match how {
        "datagram" | "datagram-to" => libc::SOCK_DGRAM,
        "sequence" => libc::SOCK_SEQPACKET,
        _ => libc::SOCK_STREAM,
    };
    let held;
    let spelt = if how == "descriptor" {
        let path = std::ffi::CString::new(name).map_err(io::Error::other)?;
        // SAFETY: a string that lives across the call; a descriptor that is nobody else's.
        held = unsafe {
            let fd = libc::open(path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC);
            call(fd)?;
            OwnedFd::from_raw_fd(fd)
        };
        format!("/proc/self/fd/{}", held.as_raw_fd())
    } else {
        name.to_owned()
    };
    let (address, length) = match how {
        // As long as it can be, with what happened to lie there.
        "junk" => address(&spelt, whole, b'x'),
        "zeroes" => address(&spelt, whole, 0),
        "longer" => address(&spelt, 1, 0),
        _ => address(&spelt, 0, 0),
    };
    if how == "ring" {
        return greeting(super::ring::connect_unix(&address, length)?);
    }
    let socket = calls::socket(libc::AF_UNIX, kind, 0)?;
    let at = std::ptr::from_ref(&address).cast::<libc::sockaddr>();
    if how == "datagram-to" {
        // SAFETY: address and data live until the call returns.
        let sent =
            unsafe { libc::sendto(socket.as_raw_fd(), b"?".as_ptr().cast(), 1, 0, at, length) };
        return call(sent as i32).map(|()| "got=sent".to_owned());
    }
    // SAFETY: the address lives until the call returns.
    call(unsafe { libc::connect(socket.as_raw_fd(), at, length) })?;
    if kind == libc::SOCK_STREAM {
        greeting(socket)
    } else {
        Ok("got=connected".to_owned())
    }
}

fn greeting(socket: OwnedFd) -> io::Result<String> {
    let mut stream = UnixStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut heard = [0; 64];
    let length = stream.read(&mut heard)?;
    let text = String::from_utf8_lossy(&heard[..length]);
    Ok(format!("got={}", text.trim()))
}

/// Two ends that have no name.
pub(super) fn pair() -> io::Result<String> {
    let (mut one, other) = UnixStream::pair()?;
    one.write_all(b"DATABASE\n")?;
    greeting(other.into())
}

/// Greets whoever comes; a datagram or sequence socket stands beside it under `NAME.dgram` and
/// `NAME.seq`.
pub(super) fn stand(name: &str) -> io::Result<()> {
    let listening = |kind: i32, name: &str| -> io::Result<OwnedFd> {
        let socket = calls::socket(libc::AF_UNIX, kind, 0)?;
        let (address, length) = address(name, 0, 0);
        let at = std::ptr::from_ref(&address).cast();
        // SAFETY: the address lives until the call returns.
        call(unsafe { libc::bind(socket.as_raw_fd(), at, length) })?;
        if kind != libc::SOCK_DGRAM {
            // SAFETY: no pointers.
            call(unsafe { libc::listen(socket.as_raw_fd(), 16) })?;
        }
        Ok(socket)
    };
    let listener = UnixListener::from(listening(libc::SOCK_STREAM, name)?);
    let beside = [
        listening(libc::SOCK_DGRAM, &format!("{name}.dgram"))?,
        listening(libc::SOCK_SEQPACKET, &format!("{name}.seq"))?,
    ];
    std::thread::spawn(move || {
        let _beside = beside;
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"DATABASE\n");
        }
    });
    Ok(())
}
