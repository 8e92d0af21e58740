//! A workload to order: reads one command a line, does it, answers in one line. The kernel tests
//! start it, put it into a cgroup, and only then tell it what to do.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unsafe_code,
    reason = "a test's other half, which takes ways that no safe interface offers"
)]

mod below;
mod bpf;
mod calls;
mod far;
mod named;
mod nft;
mod process;
mod ring;
mod routes;
mod stack;
mod talk;
mod tamper;
mod unix;
mod xdp;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Client {
    streams: Vec<TcpStream>,
    listeners: Vec<TcpListener>,
    datagrams: Vec<UdpSocket>,
    half_open: Vec<OwnedFd>,
    listener: Option<TcpListener>,
    socket: Option<OwnedFd>,
    /// What has to stay for as long as the client does.
    kept: Vec<OwnedFd>,
    ring: Option<ring::Shared>,
}

fn main() {
    let mut client = Client::default();
    for line in io::stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = client.run(&words).unwrap_or_else(|e| {
            let code = e.raw_os_error().map_or_else(
                || format!("{:?}", e.kind()),
                |code| rustix::io::Errno::from_raw_os_error(code).to_string(),
            );
            format!("error={}", code.replace(' ', "-"))
        });
        println!("{answer}");
        io::stdout().flush().unwrap();
    }
}

impl Client {
    fn run(&mut self, words: &[&str]) -> io::Result<String> {
        match *words {
            ["connect", to] => {
                let stream = TcpStream::connect_timeout(&address(to)?, PATIENCE)?;
                self.greet(stream)
            }
            ["socket", family] => {
                self.socket = Some(socket(address(family)?)?);
                Ok("made".into())
            }
            ["dial", to] => {
                let socket = self.socket.take().ok_or(io::ErrorKind::NotConnected)?;
                rustix::net::connect(&socket, &address(to)?)?;
                self.greet(TcpStream::from(socket))
            }
            ["connect-from", from, to] => {
                let socket = socket(address(from)?)?;
                sockopt::set_socket_reuseaddr(&socket, true)?;
                rustix::net::bind(&socket, &address(from)?)?;
                rustix::net::connect(&socket, &address(to)?)?;
                self.greet(TcpStream::from(socket))
            }
            ["open", to] => {
                self.streams
                    .push(TcpStream::connect_timeout(&address(to)?, PATIENCE)?);
                Ok("open".into())
            }
            ["drop"] => {
                self.streams.clear();
                Ok("dropped".into())
            }
            ["churn", count, seed, ref to @ ..] => {
                churn(number(count)?, number(seed)?, to).map(|n| format!("connected={n}"))
            }
            ["mptcp", to] => {
                let to = address(to)?;
                let socket =
                    rustix::net::socket(family(to), SocketType::STREAM, Some(ipproto::MPTCP))?;
                rustix::net::connect(&socket, &to)?;
                self.greet(TcpStream::from(socket))
            }
            // Ends the last connection, keeping its socket for the next dial.
            ["disconnect"] => {
                let stream = self.streams.pop().ok_or(io::ErrorKind::NotConnected)?;
                rustix::net::connect_unspec(&stream)?;
                self.socket = Some(stream.into());
                Ok("disconnected".into())
            }
            ["udp-connect", to] => {
                let socket = UdpSocket::bind(any(address(to)?))?;
                socket.connect(address(to)?).map(|()| "connected".into())
            }
            ["udp-send", to] => {
                let socket = UdpSocket::bind(any(address(to)?))?;
                socket
                    .send_to(b"?", address(to)?)
                    .map(|n| format!("sent={n}"))
            }
            ["raw"] => {
                rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP))
                    .map(|_| "made".into())
                    .map_err(Into::into)
            }
            // What became of the last connection.
            ["read"] => {
                let stream = self.streams.last().ok_or(io::ErrorKind::NotConnected)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                let mut line = [0; 256];
                (&mut &*stream).read(&mut line).map(|n| format!("read={n}"))
            }
            ["listen", at] => {
                self.listeners.push(TcpListener::bind(address(at)?)?);
                Ok("listening".into())
            }
            ["accept"] => {
                let listener = self.listeners.last().ok_or(io::ErrorKind::NotFound)?;
                self.streams.push(listener.accept()?.0);
                Ok("accepted".into())
            }
            ["udp-open", to] => {
                let socket = UdpSocket::bind(any(address(to)?))?;
                socket.connect(address(to)?)?;
                self.datagrams.push(socket);
                Ok("open".into())
            }
            ["udp-peer"] => {
                let socket = self.datagrams.last().ok_or(io::ErrorKind::NotFound)?;
                socket.peer_addr().map(|peer| format!("peer={peer}"))
            }
            // Leaves its cgroup for another one.
            ["move", cgroup] => {
                std::fs::write(format!("{cgroup}/cgroup.procs"), "0")?;
                Ok("moved".into())
            }
            ["bind", at] => TcpListener::bind(address(at)?).map(|_| "bound".into()),
            ["route", name, to] => routes::go(name, address(to)?).map(|who| format!("got={who}")),
            ["database", ref ports @ ..] => {
                let ports: Vec<u16> = ports
                    .iter()
                    .map(|port| port.parse().map_err(io::Error::other))
                    .collect::<io::Result<_>>()?;
                routes::database(&ports).map(|()| "open".into())
            }
            // A ring with a thread of the kernel, shared with the child that goes on from here.
            ["ring-fork"] => {
                self.ring = Some(ring::Shared::make()?);
                process::go_on_as_child().map(|()| "forked".into())
            }
            ["ring-dial", to] => {
                let ring = self.ring.as_ref().ok_or(io::ErrorKind::NotFound)?;
                ring.dial(address(to)?).map(|who| format!("got={who}"))
            }
            ["born-in", cgroup, route, to] => {
                let (cgroup, to) = (std::fs::File::open(cgroup)?, address(to)?);
                let birth = process::Birth::Into(&cgroup);
                process::in_child(birth, || routes::go(route, to)).map(|who| format!("got={who}"))
            }
            // Rewrites what a device here sends or receives.
            ["rewrite", device, way, from, to] => {
                let (from, to) = (from.parse(), to.parse());
                let (from, to) = (
                    from.map_err(io::Error::other)?,
                    to.map_err(io::Error::other)?,
                );
                let any = calls::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
                let index = rustix::net::netdevice::name_to_index(&any, device)?;
                let held = bpf::redirect_packets(index, way == "sent", from, to)?;
                self.kept.push(held);
                Ok("rewriting".into())
            }
            ["become", who] => calls::become_one(who).map(|()| "so".into()),
            ["tamper", what, pin] => tamper::go(what, pin),
            ["enter", pid] => {
                calls::enter(pid.parse().map_err(io::Error::other)?).map(|()| "there".into())
            }
            ["join", cgroup] => std::fs::write(cgroup, "0").map(|()| "joined".into()),
            ["lend", to] => routes::lend(address(to)?).map(|fd| fd.to_string()),
            ["borrow", pid, fd, to] => {
                let (pid, fd) = (pid.parse(), fd.parse());
                let (pid, fd) = (
                    pid.map_err(io::Error::other)?,
                    fd.map_err(io::Error::other)?,
                );
                routes::borrow(pid, fd, address(to)?).map(|who| format!("got={who}"))
            }
            // Connects and speaks later, when the label may have come in between.
            ["dial-first", to] => {
                let to = address(to)?;
                let connected = socket(to)?;
                rustix::net::connect(&connected, &to)?;
                self.socket = Some(connected);
                Ok("connected".into())
            }
            ["speak-later"] => {
                let socket = self.socket.take().ok_or(io::ErrorKind::NotConnected)?;
                let mut stream = TcpStream::from(socket);
                stream.write_all(b"?")?;
                stream.set_read_timeout(Some(Duration::from_secs(1)))?;
                let mut echo = [0; 64];
                let mut heard = Vec::new();
                while !heard.ends_with(b"ECHO\n") {
                    let length = stream.read(&mut echo)?;
                    if length == 0 {
                        break;
                    }
                    heard.extend(&echo[..length]);
                }
                Ok(format!(
                    "got={}",
                    String::from_utf8_lossy(&heard).trim().replace('\n', "+")
                ))
            }
            // Connects to where nothing may answer.
            ["reach", to] => {
                let patience = Duration::from_millis(700);
                let stream = TcpStream::connect_timeout(&address(to)?, patience)?;
                self.streams.push(stream);
                Ok("reached".into())
            }
            ["serve", at] => {
                self.listener = Some(routes::serve(address(at)?)?);
                Ok("listening".into())
            }
            ["visited"] => {
                let listener = self.listener.as_ref().ok_or(io::ErrorKind::NotConnected)?;
                routes::visited(listener)
            }
            ["say", how, to, piece, what] => {
                let piece = piece.parse().map_err(io::Error::other)?;
                talk::dial(how, address(to)?, piece, &talk::bytes(what)?)
            }
            ["unix", how, name] => named::reach(how, name),
            ["unix-pair"] => named::pair(),
            ["unix-serve", name] => named::stand(name).map(|()| "open".into()),
            ["family", family] => {
                let family = family.parse().map_err(io::Error::other)?;
                let kinds = [libc::SOCK_DGRAM, libc::SOCK_STREAM, libc::SOCK_SEQPACKET];
                let mut last = io::ErrorKind::Unsupported.into();
                for kind in kinds {
                    match calls::socket(family, kind, 0) {
                        Ok(_) => return Ok("made".into()),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
            ["chdir", to] => std::env::set_current_dir(to).map(|()| "there".into()),
            // More on the connection of `dial-first`.
            ["utter", what] => {
                let socket = self.socket.take().ok_or(io::ErrorKind::NotConnected)?;
                let mut stream = TcpStream::from(socket);
                stream.set_nodelay(true)?;
                stream.write_all(&talk::bytes(what)?)?;
                self.socket = Some(stream.into());
                Ok("said".into())
            }
            ["hear"] => {
                let socket = self.socket.take().ok_or(io::ErrorKind::NotConnected)?;
                let mut stream = TcpStream::from(socket);
                stream.set_read_timeout(Some(talk::PATIENCE))?;
                talk::hear(&mut stream)
            }
            ["answer-after", how, at, count] => {
                let count = count.parse().map_err(io::Error::other)?;
                talk::stand(how, address(at)?, &talk::Part::Answers(count)).map(|()| "open".into())
            }
            ["greet-with", how, at, piece, what] => {
                let piece = piece.parse().map_err(io::Error::other)?;
                let part = talk::Part::Greets(piece, talk::bytes(what)?);
                talk::stand(how, address(at)?, &part).map(|()| "open".into())
            }
            ["flood", count, to] => {
                let opened = routes::flood(number(count)?, address(to)?, &mut self.half_open)?;
                Ok(format!("opened={opened}"))
            }
            ["measure", count, to] => {
                let (connect, whole) = routes::measure(number(count)?, address(to)?)?;
                Ok(format!("{connect} {whole}"))
            }
            ["unshare"] => {
                #[allow(
                    deprecated,
                    reason = "the namespace is entered before any thread starts"
                )]
                rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET)?;
                Ok("alone".into())
            }
            ["run", program, ref arguments @ ..] => {
                let done = Command::new(program).args(arguments).output()?;
                Ok(format!("status={}", done.status.code().unwrap_or(-1)))
            }
            _ => far::run(words, &mut self.kept),
        }
    }

    /// Reads what the other side says first: the proof of who it is.
    fn greet(&mut self, stream: TcpStream) -> io::Result<String> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let peer = stream.peer_addr()?;
        let local = stream.local_addr()?;
        let mut greeting = String::new();
        BufReader::new(&stream).read_line(&mut greeting)?;
        self.streams.push(stream);
        Ok(format!(
            "greeting={} peer={peer} local={local}",
            greeting.trim()
        ))
    }
}

/// Opens connections and drops them in every way there is: at once, after the greeting, with data
/// unread (RST), many at a time. Gives how many were established.
fn churn(count: u64, seed: u64, to: &[&str]) -> io::Result<u64> {
    let to: Vec<SocketAddr> = to.iter().map(|a| address(a)).collect::<io::Result<_>>()?;
    let mut random = seed | 1;
    let mut held: Vec<TcpStream> = Vec::new();
    let mut done = 0;
    for _ in 0..count {
        // xorshift64: the same seed gives the same run.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let pick = usize::try_from(random >> 8).unwrap_or(0) % to.len();
        let Some(at) = to.get(pick) else { continue };
        let stream = match random % 4 {
            0 => {
                // Not waited for: dropped while it connects.
                let socket = socket(*at)?;
                rustix::io::ioctl_fionbio(&socket, true)?;
                let _ = rustix::net::connect(&socket, at);
                continue;
            }
            _ => TcpStream::connect_timeout(at, PATIENCE)?,
        };
        done += 1;
        match random % 3 {
            0 => drop(stream),
            1 => {
                let mut byte = [0];
                stream.set_read_timeout(Some(PATIENCE))?;
                let _ = (&stream).read(&mut byte);
            }
            _ => held.push(stream),
        }
        if held.len() > 50 {
            held.clear();
        }
    }
    Ok(done)
}

fn socket(like: SocketAddr) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    Ok(rustix::net::socket_with(
        family(like),
        SocketType::STREAM,
        flags,
        None,
    )?)
}

fn family(like: SocketAddr) -> AddressFamily {
    if like.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    }
}

fn any(like: SocketAddr) -> &'static str {
    if like.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    }
}

fn address(text: &str) -> io::Result<SocketAddr> {
    text.parse().map_err(io::Error::other)
}

fn number(text: &str) -> io::Result<u64> {
    text.parse().map_err(io::Error::other)
}
