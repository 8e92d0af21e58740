//! Dials where its test says, inside the cgroup it was started in, and passes the sockets back.
#![allow(clippy::print_stderr, reason = "a program's words")]

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, IoSlice, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use node_agent_tests::client::{Raw, mingle, startup};
use node_agent_tests::pg::{DATABASE, SERVICE};
use node_agent_tests::world::WORTHLESS;
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
            ["storm", address, rate, millis] => storm(
                &talk,
                address.parse()?,
                rate.parse()?,
                Duration::from_millis(millis.parse()?),
            )?,
            ["mingle", address, clients] => {
                let (address, clients) = (address.parse()?, clients.parse()?);
                let stop = AtomicBool::new(false);
                let notes = std::thread::scope(|scope| -> Result<_> {
                    let mingling = scope.spawn(|| mingle(address, clients, &stop));
                    // Whatever the next line is.
                    let next = lines.next();
                    stop.store(true, Ordering::Relaxed);
                    next.context("no next line")??;
                    Ok(mingling.join().unwrap_or_default())
                })?;
                let mut text: String = notes.iter().map(|noted| format!("{noted}\n")).collect();
                text.push_str("done\n");
                (&mut &talk).write_all(text.as_bytes())?;
            }
            ["hoard", address, count, rate] => {
                let (address, count): (SocketAddr, usize) = (address.parse()?, count.parse()?);
                let (met, rate, stop) = (Met::default(), rate.parse()?, AtomicBool::new(false));
                raise_files()?;
                std::thread::scope(|scope| -> Result<()> {
                    for _ in 0..HOARDERS {
                        scope.spawn(|| hoard(address, count / HOARDERS, rate, &met, &stop));
                    }
                    // Whatever the next line is.
                    let next = lines.next();
                    stop.store(true, Ordering::Relaxed);
                    next.context("no next line")??;
                    Ok(())
                })?;
                answer(&talk, met)?;
            }
            _ => bail!(
                "{line}: dial ADDRESS, churn ADDRESS COUNT, storm ADDRESS RATE MILLIS, hoard ADDRESS COUNT RATE, or mingle ADDRESS CLIENTS"
            ),
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

/// How long a connection is listened to before it is dropped.
const LISTENED: Duration = Duration::from_millis(50);

/// What a storm met with.
#[derive(Default)]
struct Met {
    opened: AtomicUsize,
    refused: AtomicUsize,
    greeted: AtomicUsize,
    other: AtomicUsize,
    cut: AtomicUsize,
}

/// Connects at this rate, whatever becomes of it, and hears who speaks first: a database that
/// does is reached, the agent never does.
fn storm(talk: &UnixStream, address: SocketAddr, rate: u32, lasts: Duration) -> Result<()> {
    const WORKERS: u32 = 8;
    let met = Met::default();
    let pause = Duration::from_secs(1) * WORKERS / rate.max(1);
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| one_worker(address, pause, lasts, &met));
        }
    });
    answer(talk, met)
}

fn answer(talk: &UnixStream, met: Met) -> Result<()> {
    let Met {
        opened,
        refused,
        greeted,
        other,
        cut,
    } = met;
    Ok(writeln!(
        &mut &*talk,
        "{} {} {} {} {}",
        opened.into_inner(),
        refused.into_inner(),
        greeted.into_inner(),
        other.into_inner(),
        cut.into_inner()
    )?)
}

const HOARDERS: usize = 4;

/// Opens connections at this rate a second and keeps them, without a byte, also when the other side
/// has enough of them. What is refused is not tried again.
fn hoard(address: SocketAddr, count: usize, rate: u32, met: &Met, stop: &AtomicBool) {
    use std::io::ErrorKind;
    let pause = Duration::from_secs(1) * u32::try_from(HOARDERS).unwrap_or(1) / rate.max(1);
    let mut held = Vec::new();
    let mut next = Instant::now();
    for _ in 0..count {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        next += pause;
        let count = match TcpStream::connect_timeout(&address, Duration::from_secs(5)) {
            Ok(stream) => {
                held.push(stream);
                &met.opened
            }
            Err(error) => match error.kind() {
                ErrorKind::PermissionDenied
                | ErrorKind::ConnectionRefused
                | ErrorKind::ConnectionReset => &met.refused,
                _ => &met.other,
            },
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// As many open files as this process may have.
fn raise_files() -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let all = Rlimit {
        current: maximum,
        maximum,
    };
    Ok(setrlimit(Resource::Nofile, all)?)
}

fn one_worker(address: SocketAddr, pause: Duration, lasts: Duration, met: &Met) {
    use std::io::ErrorKind;
    let begun = Instant::now();
    let mut next = begun;
    let mut held: VecDeque<(Instant, TcpStream)> = VecDeque::new();
    let hear = |mut stream: TcpStream| {
        let mut said = [0; 16];
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        let count = match stream.read(&mut said) {
            Ok(0) => &met.cut,
            Ok(_) => &met.greeted,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(_) => &met.cut,
        };
        count.fetch_add(1, Ordering::Relaxed);
    };
    while begun.elapsed() < lasts {
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        next += pause;
        match TcpStream::connect_timeout(&address, Duration::from_secs(5)) {
            Ok(stream) => {
                met.opened.fetch_add(1, Ordering::Relaxed);
                held.push_back((Instant::now(), stream));
            }
            Err(error) => {
                let count = match error.kind() {
                    ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => &met.refused,
                    _ => &met.other,
                };
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
        while held.front().is_some_and(|(at, _)| at.elapsed() > LISTENED) {
            if let Some((_, stream)) = held.pop_front() {
                hear(stream);
            }
        }
    }
    std::thread::sleep(LISTENED);
    held.into_iter().for_each(|(_, stream)| hear(stream));
}

/// Half a start-up message, an SSLRequest, and bytes that are nothing.
const BEGINNINGS: [&[u8]; 4] = [
    b"",
    b"\0\0\0\x40\0\x03\0\0user\0",
    b"\0\0\0\x08\x04\xd2\x16\x2f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
];

/// One connection of its kind; the kinds follow no simple rhythm.
fn open_and_drop(address: SocketAddr, number: usize) -> bool {
    let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_secs(10)) else {
        return false;
    };
    let mixed = number.wrapping_mul(2_654_435_761) >> 7;
    // A client that fails in the middle is what this is for.
    let _ = match mixed % 8 {
        0 => far(stream, mixed / 8),
        _ => near(stream, mixed / 8),
    };
    true
}

/// Ends before there is a session.
fn near(mut stream: TcpStream, kind: usize) -> Result<()> {
    stream.write_all(BEGINNINGS.get(kind % 4).copied().unwrap_or_default())?;
    match kind / 4 % 4 {
        0 => {
            stream.shutdown(Shutdown::Write)?;
            stream.set_read_timeout(Some(Duration::from_millis(200)))?;
            let _ = stream.read(&mut [0; 64]);
        }
        1 => reset(&stream)?,
        2 => {
            stream.set_read_timeout(Some(Duration::from_millis(5)))?;
            let _ = stream.read(&mut [0; 64]);
        }
        _ => {}
    }
    Ok(())
}

/// Ends in the login, or after it, or in the middle of a statement.
fn far(stream: TcpStream, kind: usize) -> Result<()> {
    let mut client = Raw::new(stream)?;
    if kind.is_multiple_of(8) {
        client.send(&startup(
            (3, 0),
            &[("user", SERVICE), ("database", DATABASE)],
        ))?;
        return Ok(());
    }
    client.login(SERVICE, DATABASE, WORTHLESS)?;
    match kind % 8 {
        1 => client.message(b'X', b"")?,
        2 => {}
        3 => reset(client.stream())?,
        // Running, and nobody waits for it.
        4 => client.ask("select pg_sleep(60)")?,
        // In the middle of much data.
        5 => {
            client.ask("select repeat('x', 1000) from generate_series(1, 100000)")?;
            client.next()?;
            reset(client.stream())?;
        }
        // Half a message, in a transaction.
        6 => {
            client.query("begin")?;
            client.send(b"Q\0\0\0\x10sel")?;
        }
        // A copy that stays open.
        _ => {
            client.query("create temporary table sink (line text)")?;
            client.ask("copy sink from stdin")?;
            client.up_to(b'G')?;
            client.message(b'd', b"a line\n")?;
        }
    }
    Ok(())
}

/// It will end with a reset instead of an orderly end.
fn reset(stream: &TcpStream) -> Result<()> {
    Ok(rustix::net::sockopt::set_socket_linger(
        stream,
        Some(Duration::ZERO),
    )?)
}
