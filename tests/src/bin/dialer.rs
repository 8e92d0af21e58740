//! Dials where its test says, inside the cgroup it was started in, and passes the sockets back.
#![allow(clippy::print_stderr, reason = "a program's words")]

use std::io::{BufRead as _, BufReader, IoSlice, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dialer: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<()> {
    let socket = std::env::args_os().nth(1).context("usage: dialer SOCKET")?;
    let talk = UnixStream::connect(socket)?;
    let mut lines = BufReader::new(talk.try_clone()?).lines();
    while let Some(line) = lines.next().transpose()? {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["dial", address] => dial(&talk, address.parse()?)?,
            ["churn", address, count] => churn(&talk, address.parse()?, count.parse()?)?,
            _ => bail!("{line}: dial ADDRESS, or churn ADDRESS COUNT"),
        }
    }
    Ok(())
}

fn dial(talk: &UnixStream, address: SocketAddr) -> Result<()> {
    let stream = match TcpStream::connect_timeout(&address, Duration::from_secs(10)) {
        Ok(stream) => stream,
        Err(error) => return Ok(writeln!(&mut &*talk, "!{error}")?),
    };
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let files = [stream.as_fd()];
    if !ancillary.push(SendAncillaryMessage::ScmRights(&files)) {
        bail!("no room for a descriptor");
    }
    sendmsg(
        talk,
        &[IoSlice::new(b"k")],
        &mut ancillary,
        SendFlags::empty(),
    )?;
    Ok(())
}

/// Half a start-up message, an SSLRequest, and bytes that are nothing.
const BEGINNINGS: [&[u8]; 4] = [
    b"",
    b"\0\0\0\x40\0\x03\0\0user\0",
    b"\0\0\0\x08\x04\xd2\x16\x2f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
];

fn churn(talk: &UnixStream, address: SocketAddr, count: usize) -> Result<()> {
    const WORKERS: usize = 16;
    let (opened, refused, next) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    let outcome = if open_and_drop(address, number) {
                        &opened
                    } else {
                        &refused
                    };
                    outcome.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let (opened, refused) = (opened.into_inner(), refused.into_inner());
    Ok(writeln!(&mut &*talk, "{opened} {refused}")?)
}

/// One connection of its kind; the kinds follow no simple rhythm.
fn open_and_drop(address: SocketAddr, number: usize) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(10)) else {
        return false;
    };
    let mixed = number.wrapping_mul(2_654_435_761) >> 7;
    // A client that fails in the middle is what this is for.
    let _ = stream.write_all(BEGINNINGS.get(mixed % 4).copied().unwrap_or_default());
    match mixed / 4 % 4 {
        0 => {
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
            let _ = stream.read(&mut [0; 64]);
        }
        1 => {
            // A reset instead of an orderly end.
            let _ = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
        }
        2 => {
            let _ = stream.set_read_timeout(Some(Duration::from_millis(5)));
            let _ = stream.read(&mut [0; 64]);
        }
        _ => {}
    }
    true
}
