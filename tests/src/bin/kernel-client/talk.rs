//! A client and a server that say what they are told to, in pieces of any size.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::calls;

const MPTCP: i32 = 262;

/// How long an answer is waited for. What is refused ends sooner, or the test fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);

/// The same of multipath TCP, whose end nobody tells its owner of.
const LITTLE: Duration = Duration::from_millis(700);

/// Between two pieces, so that each goes in a segment of its own.
const PAUSE: Duration = Duration::from_millis(2);

pub(super) fn bytes(hex: &str) -> io::Result<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            let text = std::str::from_utf8(pair).map_err(io::Error::other)?;
            u8::from_str_radix(text, 16).map_err(io::Error::other)
        })
        .collect()
}

fn socket(to: SocketAddr, how: &str) -> io::Result<OwnedFd> {
    let family = if to.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let protocol = if how.starts_with("mptcp") { MPTCP } else { 0 };
    calls::socket(family, libc::SOCK_STREAM, protocol)
}

fn say(stream: &mut TcpStream, what: &[u8], piece: usize) -> io::Result<()> {
    for part in what.chunks(piece.max(1)) {
        stream.write_all(part)?;
        if part.len() < what.len() {
            std::thread::sleep(PAUSE);
        }
    }
    Ok(())
}

/// What the other side says, up to a line's end or its own.
pub(super) fn hear(stream: &mut TcpStream) -> io::Result<String> {
    let mut heard = Vec::new();
    let mut byte = [0];
    // MySQL's greeting has a line's end among its first bytes.
    while stream.read(&mut byte)? == 1 && (byte[0] != b'\n' || heard.len() < 8) {
        heard.push(byte[0]);
    }
    let text: String = heard
        .iter()
        .map(|byte| match byte {
            b'!'..=b'~' => char::from(*byte),
            _ => '.',
        })
        .collect();
    Ok(format!("got={text}"))
}

/// Connects that way, says it in pieces, and gives the answer.
pub(super) fn dial(how: &str, to: SocketAddr, piece: usize, what: &[u8]) -> io::Result<String> {
    let socket = socket(to, how)?;
    let on = 1_i32.to_ne_bytes();
    calls::set(&socket, libc::IPPROTO_TCP, libc::TCP_NODELAY, &on)?;
    if how.ends_with("bound-to-device") {
        calls::set(&socket, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, b"wire")?;
    }
    let rest = if how.ends_with("fast-open") {
        let (first, rest) = what.split_at(piece.min(what.len()));
        calls::send_to(&socket, first, to, libc::MSG_FASTOPEN, None)?;
        rest
    } else {
        calls::connect(&socket, to)?;
        what
    };
    let mut stream = TcpStream::from(socket);
    let patience = if how.starts_with("mptcp") {
        LITTLE
    } else {
        PATIENCE
    };
    stream.set_read_timeout(Some(patience))?;
    if how.ends_with("twice") {
        // The same socket once more, for something else.
        let _ = say(&mut stream, rest, piece);
        let first = hear(&mut stream);
        calls::disconnect(&stream)?;
        calls::connect(&stream, to)?;
        say(&mut stream, b"HELLO SERVER, HERE I AM\n", 100)?;
        let second = hear(&mut stream)?;
        let first = first.unwrap_or_else(|_| "refused".to_owned());
        return Ok(format!("{first} {second}"));
    }
    say(&mut stream, rest, piece)?;
    hear(&mut stream)
}

/// What a server does.
#[derive(Clone)]
pub(super) enum Part {
    /// Hears so many bytes, then says `DATABASE`.
    Answers(usize),
    /// Says that in pieces, then a line's end.
    Greets(usize, Vec<u8>),
}

/// Stands at an address, of both families when it is `[::]`, for as long as the process lives.
pub(super) fn stand(how: &str, at: SocketAddr, part: &Part) -> io::Result<()> {
    let socket = socket(at, how)?;
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &at)?;
    rustix::net::listen(&socket, 64)?;
    let (listener, part) = (TcpListener::from(socket), part.clone());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let part = part.clone();
            std::thread::spawn(move || {
                let _ = stream.set_nodelay(true);
                let done = match part {
                    Part::Answers(count) => {
                        let mut heard = vec![0; count];
                        stream
                            .read_exact(&mut heard)
                            .and_then(|()| stream.write_all(b"DATABASE\n"))
                    }
                    Part::Greets(piece, what) => {
                        say(&mut stream, &what, piece).and_then(|()| stream.write_all(b"\n"))
                    }
                };
                // Held until the other side is done: a reset would take the answer away.
                while done.is_ok() && matches!(stream.read(&mut [0; 64]), Ok(1..)) {}
            });
        }
    });
    Ok(())
}
