//! Every way to reach a database that a workload can try on its own, by name.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::time::{Duration, Instant};

use super::{below, calls, ring};

/// How long an answer may take. What is dropped is waited for in vain for that long.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

const UDP_LITE: i32 = 136;
const MPTCP: i32 = 262;

/// Goes that way and gives what came back: the greeting, or `set` for a socket option that was
/// taken.
pub(super) fn go(route: &str, to: SocketAddr) -> io::Result<String> {
    let family = if to.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let stream = || impatient(family);
    let datagram = |protocol| calls::socket(family, libc::SOCK_DGRAM, protocol);
    let connected = |socket: OwnedFd| -> io::Result<OwnedFd> {
        calls::connect(&socket, to)?;
        Ok(socket)
    };
    match route {
        "connect" => greeting(connected(stream()?)?),
        "non-blocking" => {
            let socket = calls::socket(family, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
            match calls::connect(&socket, to) {
                Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {}
                done => done?,
            }
            greeting_when_there(socket)
        }
        "twice" => {
            let socket = connected(stream()?)?;
            calls::disconnect(&socket)?;
            greeting(connected(socket)?)
        }
        "bound" => {
            let socket = stream()?;
            let any: IpAddr = if to.is_ipv4() {
                Ipv4Addr::UNSPECIFIED.into()
            } else {
                std::net::Ipv6Addr::UNSPECIFIED.into()
            };
            rustix::net::bind(&socket, &SocketAddr::new(any, 0))?;
            greeting(connected(socket)?)
        }
        "mark" => {
            let socket = stream()?;
            let mark = 0x539_u32.to_ne_bytes();
            calls::set(&socket, libc::SOL_SOCKET, libc::SO_MARK, &mark)?;
            greeting(connected(socket)?)
        }
        "bound-to-device" => {
            let socket = stream()?;
            let device = if to.ip().is_loopback() { "lo" } else { "wire" };
            let option = libc::SO_BINDTODEVICE;
            calls::set(&socket, libc::SOL_SOCKET, option, device.as_bytes())?;
            rustix::io::ioctl_fionbio(&socket, true)?;
            match calls::connect(&socket, to) {
                Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {}
                done => done?,
            }
            greeting_when_there(socket)
        }
        "int-0x80" => greeting(calls::connect_32(to)?),
        "address-form" => {
            // An IPv6 socket that turns into an IPv4 one, which keeps the hooks of neither.
            let SocketAddr::V4(v4) = to else {
                return Err(io::ErrorKind::Unsupported.into());
            };
            let socket = calls::socket(libc::AF_INET6, libc::SOCK_STREAM, 0)?;
            let mapped = SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port());
            calls::connect(&socket, mapped)?;
            let family = libc::AF_INET.to_ne_bytes();
            calls::set(&socket, libc::IPPROTO_IPV6, libc::IPV6_ADDRFORM, &family)?;
            calls::disconnect(&socket)?;
            greeting(connected(socket)?)
        }
        "fast-open-sendto" => {
            let socket = stream()?;
            calls::send_to(&socket, b"?", to, libc::MSG_FASTOPEN, None)?;
            greeting(socket)
        }
        "fast-open-sendmsg" => {
            let socket = stream()?;
            calls::send_message(&socket, b"?", to, libc::MSG_FASTOPEN, None)?;
            greeting(socket)
        }
        "fast-open-connect" => {
            let socket = stream()?;
            let on = 1_i32.to_ne_bytes();
            let option = libc::TCP_FASTOPEN_CONNECT;
            calls::set(&socket, libc::IPPROTO_TCP, option, &on)?;
            let mut socket = TcpStream::from(connected(socket)?);
            socket.write_all(b"?")?;
            greeting(socket.into())
        }
        "mptcp" => greeting(connected(calls::socket(family, libc::SOCK_STREAM, MPTCP)?)?),
        "mptcp-fast-open" => {
            let socket = calls::socket(family, libc::SOCK_STREAM, MPTCP)?;
            calls::send_to(&socket, b"?", to, libc::MSG_FASTOPEN, None)?;
            greeting(socket)
        }
        "io-uring-connect" => greeting(ring::connect(to, false, false)?),
        "io-uring-socket" => greeting(ring::connect(to, true, false)?),
        "io-uring-polled" => greeting(ring::connect(to, true, true)?),
        "udp-sendto" => {
            let socket = datagram(0)?;
            calls::send_to(&socket, b"?", to, 0, None)?;
            answer(socket)
        }
        "udp-family-0" => {
            let socket = datagram(0)?;
            calls::send_to(&socket, b"?", to, 0, Some(0))?;
            answer(socket)
        }
        "udp-connect" => {
            let socket = UdpSocket::from(connected(datagram(0)?)?);
            socket.send(b"?")?;
            answer(socket.into())
        }
        "udp-lite" => {
            let socket = UdpSocket::from(connected(datagram(UDP_LITE)?)?);
            socket.send(b"?")?;
            answer(socket.into())
        }
        "udp-ip-options" => {
            // Three no-operations and an end: harmless, and still options.
            let socket = datagram(0)?;
            let options = [1, 1, 1, 0];
            let control = (libc::IPPROTO_IP, libc::IP_RETOPTS, options.as_slice());
            calls::send_message(&socket, b"?", to, 0, Some(control))?;
            answer(socket)
        }
        "ping" => ping(datagram(libc::IPPROTO_ICMP)?, to, 0),
        "raw-icmp" => {
            let socket = calls::socket(family, libc::SOCK_RAW, libc::IPPROTO_ICMP)?;
            ping(socket, to, 20)
        }
        "raw-tcp" => raw_tcp(to, false),
        "raw-tcp-connect" => raw_tcp(to, true),
        "frame" | "frame-queued" | "frame-tagged" | "frame-options" | "frame-fragments"
        | "frame-snap" | "frame-stp" | "frame-mpls" | "frame-eapol" | "frame-reset" | "frame-reset-data" => {
            below::frame(to, route)
        }
        "xdp" => below::xdp(to),
        "decoy" => below::decoy(to),
        "loose-source-route" => {
            let SocketAddr::V4(v4) = to else {
                return Err(io::ErrorKind::Unsupported.into());
            };
            let [a, b, c, d] = v4.ip().octets();
            // LSRR by way of the database: type, length, pointer, one hop, end.
            let options = [131, 7, 4, a, b, c, d, 0];
            set_only(&stream()?, libc::IPPROTO_IP, 4, &options)
        }
        "routing-header" => {
            let IpAddr::V6(v6) = to.ip() else {
                return Err(io::ErrorKind::Unsupported.into());
            };
            // Type 4, one segment (RFC 8754, 2).
            let mut header = vec![0, 2, 4, 0, 0, 0, 0, 0];
            header.extend(v6.octets());
            set_only(&stream()?, libc::IPPROTO_IPV6, libc::IPV6_RTHDR, &header)
        }
        "vsock" => calls::socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0).map(|_| "set".into()),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// A TCP socket whose connect ends where nobody answers; later than a new device's IPv6 address
/// may take to be usable.
pub(super) fn impatient(family: i32) -> io::Result<OwnedFd> {
    let socket = calls::socket(family, libc::SOCK_STREAM, 0)?;
    let option = rustix::net::sockopt::Timeout::Send;
    rustix::net::sockopt::set_socket_timeout(&socket, option, Some(Duration::from_secs(6)))?;
    Ok(socket)
}

fn set_only(socket: &OwnedFd, level: i32, option: i32, value: &[u8]) -> io::Result<String> {
    calls::set(socket, level, option, value).map(|()| "set".into())
}

/// Waits for a connect that goes on by itself.
fn greeting_when_there(socket: OwnedFd) -> io::Result<String> {
    let socket = TcpStream::from(socket);
    let until = Instant::now() + PATIENCE;
    while socket.peer_addr().is_err() {
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        if Instant::now() > until {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    socket.set_nonblocking(false)?;
    greeting(socket.into())
}

/// The first line that the other side of a stream says. What was agreed on before is read first.
pub(super) fn greeting(socket: OwnedFd) -> io::Result<String> {
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte)? == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// The datagram that comes back.
fn answer(socket: OwnedFd) -> io::Result<String> {
    let socket = UdpSocket::from(socket);
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut bytes = [0; 64];
    let length = socket.recv(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes[..length]).trim().into())
}

/// An echo request, which carries data as well as anything does.
fn ping(socket: OwnedFd, to: SocketAddr, skip: usize) -> io::Result<String> {
    let mut request = vec![8, 0, 0, 0, 0x12, 0x34, 0, 1];
    request.extend(b"DATABASE");
    let sum = checksum(&request).to_be_bytes();
    request[2..4].copy_from_slice(&sum);
    calls::send_to(&socket, &request, SocketAddr::new(to.ip(), 0), 0, None)?;
    let socket = UdpSocket::from(socket);
    socket.set_read_timeout(Some(PATIENCE))?;
    let until = Instant::now() + PATIENCE;
    loop {
        let mut bytes = [0; 256];
        let length = socket.recv(&mut bytes)?;
        // An echo reply; on loopback a raw socket sees the request as well.
        if bytes[skip] == 0 && bytes[..length].ends_with(b"DATABASE") {
            return Ok("DATABASE".into());
        }
        if Instant::now() > until {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

/// A SYN made by hand; the answer to it proves that it arrived.
fn raw_tcp(to: SocketAddr, connect: bool) -> io::Result<String> {
    let SocketAddr::V4(v4) = to else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let socket = calls::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_TCP)?;
    let from = source(to)?;
    let port = 61_000 + std::process::id() as u16 % 4_000;
    let mut segment = Vec::new();
    segment.extend(port.to_be_bytes());
    segment.extend(to.port().to_be_bytes());
    segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    let mut pseudo = [from.octets(), v4.ip().octets()].concat();
    pseudo.extend([0, 6, 0, 20]);
    pseudo.extend(&segment);
    let sum = checksum(&pseudo).to_be_bytes();
    segment[16..18].copy_from_slice(&sum);
    if connect {
        calls::connect(&socket, to)?;
        UdpSocket::from(socket.try_clone()?).send(&segment)?;
    } else {
        calls::send_to(&socket, &segment, to, 0, None)?;
    }
    let socket = UdpSocket::from(socket);
    socket.set_read_timeout(Some(PATIENCE))?;
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let mut bytes = [0; 256];
        let length = socket.recv(&mut bytes)?;
        let header = usize::from(bytes[0] & 0x0f) * 4;
        let tcp = &bytes[header..length];
        if tcp[0..2] == to.port().to_be_bytes() && tcp[2..4] == port.to_be_bytes() {
            let agreed = tcp[13] & 0x12 == 0x12;
            return Ok(if agreed { "DATABASE" } else { "reset" }.into());
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// The address this side would have.
fn source(to: SocketAddr) -> io::Result<Ipv4Addr> {
    if to.ip().is_loopback() {
        return Ok(Ipv4Addr::LOCALHOST);
    }
    // The neighbour's port of nobody: no guarded place is asked for.
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect("192.0.2.250:9")?;
    match socket.local_addr()?.ip() {
        IpAddr::V4(v4) => Ok(v4),
        IpAddr::V6(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// RFC 1071.
pub(super) fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Says `DATABASE` to everybody who comes to these ports, by every protocol there is here.
pub(super) fn database(ports: &[u16]) -> io::Result<()> {
    for port in ports {
        for at in ["0.0.0.0", "::"] {
            let any = at.parse::<IpAddr>().map_err(io::Error::other)?;
            let family = if any.is_ipv4() {
                libc::AF_INET
            } else {
                libc::AF_INET6
            };
            let address = SocketAddr::new(any, *port);
            let bound = |kind, protocol| -> io::Result<OwnedFd> {
                let socket = calls::socket(family, kind, protocol)?;
                if any.is_ipv6() {
                    rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
                }
                rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
                rustix::net::bind(&socket, &address)?;
                Ok(socket)
            };
            let listener = bound(libc::SOCK_STREAM, 0)?;
            rustix::net::listen(&listener, 64)?;
            let listener = TcpListener::from(listener);
            std::thread::spawn(move || {
                for mut stream in listener.incoming().flatten() {
                    std::thread::spawn(move || {
                        let _ = stream.write_all(b"DATABASE\n");
                        // Held until the other side is done: a reset would take the greeting away.
                        while matches!(stream.read(&mut [0; 64]), Ok(1..)) {
                            let _ = stream.write_all(b"ECHO\n");
                        }
                    });
                }
            });
            for protocol in [0, UDP_LITE] {
                let Ok(socket) = bound(libc::SOCK_DGRAM, protocol) else {
                    continue;
                };
                let socket = UdpSocket::from(socket);
                std::thread::spawn(move || {
                    let mut bytes = [0; 64];
                    while let Ok((_, from)) = socket.recv_from(&mut bytes) {
                        let _ = socket.send_to(b"DATABASE", from);
                    }
                });
            }
        }
    }
    Ok(())
}

/// Waits for somebody to connect here and gives what he says.
pub(super) fn serve(at: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(at)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

pub(super) fn visited(listener: &TcpListener) -> io::Result<String> {
    match listener.accept() {
        Ok((_, from)) => Ok(format!("visited={from}")),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok("nobody".into()),
        Err(e) => Err(e),
    }
}

/// A socket of another process, connected by this one.
pub(super) fn borrow(pid: i32, fd: i32, to: SocketAddr) -> io::Result<String> {
    let socket = calls::take_descriptor(pid, fd)?;
    calls::connect(&socket, to)?;
    greeting(socket)
}

/// Makes a socket to be taken by others, and says which number it has.
pub(super) fn lend(to: SocketAddr) -> io::Result<i32> {
    let family = if to.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    Ok(calls::socket(family, libc::SOCK_STREAM, 0)?.into_raw_fd())
}

/// As many half-open connections as can be had; how many there are in the end.
pub(super) fn flood(count: u64, to: SocketAddr, held: &mut Vec<OwnedFd>) -> io::Result<u64> {
    let mut opened = 0;
    for _ in 0..count {
        let socket = calls::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
        match calls::connect(&socket, to) {
            Ok(()) => {}
            Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(e) if e.raw_os_error() == Some(libc::EPERM) => continue,
            Err(e) => return Err(e),
        }
        opened += 1;
        held.push(socket);
    }
    Ok(opened)
}

/// How long connects to a listener of this process take, and how long the making of a socket and its
/// connect: two medians in nanoseconds. One thread does both sides, so that no scheduling is measured.
pub(super) fn measure(count: u64, at: SocketAddr) -> io::Result<(u128, u128)> {
    let listener = TcpListener::bind(at)?;
    let (mut connects, mut wholes) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let began = Instant::now();
        let socket = calls::socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
        let made = Instant::now();
        calls::connect(&socket, at)?;
        connects.push(made.elapsed().as_nanos());
        wholes.push(began.elapsed().as_nanos());
        // The listener's side goes first, and the other side's port is free at once.
        drop(listener.accept()?);
    }
    let middle = |mut times: Vec<u128>| {
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or(0)
    };
    Ok((middle(connects), middle(wholes)))
}
