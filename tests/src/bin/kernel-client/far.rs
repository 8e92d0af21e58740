//! The ways that need more than a socket and an address: another process's help, a device, a
//! namespace, a program in the kernel, a privilege.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::time::{Duration, Instant};

use super::process::{Birth, alone_as_nobody, in_child};
use super::stack::{Way, by_device, by_tun};
use super::{address, bpf, calls, nft, ring, routes, unix};

const MPTCP: i32 = 262;

/// One command; what has to stay for as long as this process does goes to `kept`.
pub(super) fn run(words: &[&str], kept: &mut Vec<OwnedFd>) -> io::Result<String> {
    let got = |who: String| format!("got={who}");
    match *words {
        // TCP by hand, on that device.
        ["packet-tcp", device, to] => by_device(Way::Packet, device, address(to)?).map(got),
        ["packet-bypass", device, to] => {
            by_device(Way::PacketBypass, device, address(to)?).map(got)
        }
        ["xdp", device, to] => by_device(Way::Xdp, device, address(to)?).map(got),
        ["tun", device, to] => by_tun(device, address(to)?).map(got),
        // What other processes do for this one.
        ["relay", path, to] => unix::relay(path, address(to)?).map(|()| "open".into()),
        ["relay-at", at, to] => unix::relay_at(address(at)?, address(to)?).map(|()| "open".into()),
        ["through", path] => unix::through(path).map(got),
        ["hand", path, to] => unix::hand(path, address(to)?).map(|()| "open".into()),
        ["hand-made", path, like] => unix::hand_made(path, address(like)?).map(|()| "open".into()),
        ["receive-and-dial", path, to] => unix::receive_and_dial(path, address(to)?).map(got),
        ["receive", path] => unix::receive(path).map(got),
        ["lend-connected", to] => {
            let stream = TcpStream::connect_timeout(&address(to)?, Duration::from_secs(2))?;
            Ok(stream.into_raw_fd().to_string())
        }
        ["take", pid, fd] => {
            let socket = calls::take_descriptor(decimal(pid)?, decimal(fd)?)?;
            routes::greeting(socket).map(got)
        }
        ["ring-inherited", cgroup, who, to] => ring_inherited(cgroup, who, address(to)?).map(got),
        // Connections without a connect.
        ["repair-dump", to] => repair_dump(address(to)?),
        ["repair-restore", from, to, send, receive] => {
            let numbers = (decimal(send)?, decimal(receive)?);
            repair_restore(address(from)?, address(to)?, numbers).map(got)
        }
        ["mptcp-server", at] => subflow_server(address(at)?).map(|()| "open".into()),
        // Somewhere else first.
        ["user-namespace", when, to] => user_namespace(when, address(to)?).map(got),
        // Paths.
        ["unix-database", path] => unix::database(path).map(|()| "open".into()),
        ["unix", spelling, path] => unix::dial(spelling, path).map(got),
        // Families of sockets.
        ["family", family, kind, protocol] => {
            calls::socket(decimal(family)?, decimal(kind)?, decimal(protocol)?)
                .map(|_| "made".into())
        }
        // The kernel's own programs.
        ["translate", hook, service, to] => {
            let hook = match hook {
                "output" => nft::Hook::Output,
                "prerouting" => nft::Hook::Prerouting,
                _ => return Err(io::ErrorKind::Unsupported.into()),
            };
            let (SocketAddr::V4(service), SocketAddr::V4(to)) = (address(service)?, address(to)?)
            else {
                return Err(io::ErrorKind::Unsupported.into());
            };
            nft::translate(hook, service, to).map(|()| "translated".into())
        }
        ["rewrite", device, decoy, real] => {
            let any = calls::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
            let index = rustix::net::netdevice::name_to_index(&any, device)?;
            let (out, back) = bpf::rewrite(index, decimal(decoy)?, decimal(real)?)?;
            kept.extend([out, back]);
            Ok("rewritten".into())
        }
        ["redirect", cgroup, real] => {
            bpf::redirect(cgroup, decimal(real)?).map(|()| "redirected".into())
        }
        ["link-id", path] => bpf::link_id(path).map(|id| id.to_string()),
        ["detach", path] => bpf::detach_pin(path).map(|()| "detached".into()),
        ["detach-id", id] => bpf::detach_id(decimal(id)?).map(|()| "detached".into()),
        ["forget", map, key] => bpf::forget(map, decimal(key)?).map(|()| "forgotten".into()),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn decimal<T>(text: &str) -> io::Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    text.parse().map_err(io::Error::other)
}

/// The ring is this process's; a child that goes into that cgroup and becomes somebody else gives
/// the order, and reads from the socket.
fn ring_inherited(cgroup: &str, who: &str, to: SocketAddr) -> io::Result<String> {
    let shared = ring::Shared::make()?;
    in_child(Birth::Fork, || {
        std::fs::write(format!("{cgroup}/cgroup.procs"), "0")?;
        calls::become_one(who)?;
        shared.dial(to)
    })
}

/// In a user namespace anybody is root, over a network that leads nowhere. A socket from before
/// still belongs to the network it was made in.
fn user_namespace(when: &str, to: SocketAddr) -> io::Result<String> {
    in_child(Birth::Fork, || match when {
        "before" => {
            let socket = routes::impatient(libc::AF_INET)?;
            alone_as_nobody()?;
            calls::connect(&socket, to)?;
            routes::greeting(socket)
        }
        "after" => {
            alone_as_nobody()?;
            routes::go("connect", to)
        }
        _ => Err(io::ErrorKind::Unsupported.into()),
    })
}

const REPAIR: i32 = 19;
const REPAIR_QUEUE: i32 = 20;
const QUEUE_SEQUENCE: i32 = 21;
const RECEIVING: u32 = 1;
const SENDING: u32 = 2;

fn tcp(socket: &OwnedFd, option: i32, value: u32) -> io::Result<()> {
    calls::set(socket, libc::IPPROTO_TCP, option, &value.to_ne_bytes())
}

/// Makes a connection, hears its greeting, notes where both directions stand and lets go without a
/// word to the other side.
fn repair_dump(to: SocketAddr) -> io::Result<String> {
    let stream = TcpStream::connect_timeout(&to, Duration::from_secs(2))?;
    let from = stream.local_addr()?;
    let kept = stream.try_clone()?;
    let said = routes::greeting(stream.into())?;
    let socket = OwnedFd::from(kept);
    tcp(&socket, REPAIR, 1)?;
    let mut numbers = Vec::new();
    for queue in [SENDING, RECEIVING] {
        tcp(&socket, REPAIR_QUEUE, queue)?;
        let mut number = [0; 4];
        calls::get(&socket, libc::IPPROTO_TCP, QUEUE_SEQUENCE, &mut number)?;
        numbers.push(u32::from_ne_bytes(number));
    }
    Ok(format!("{said} {from} {} {}", numbers[0], numbers[1]))
}

/// Goes on with a connection that somebody else let go of: no packet is sent before the first data.
fn repair_restore(from: SocketAddr, to: SocketAddr, numbers: (u32, u32)) -> io::Result<String> {
    let socket = calls::socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    tcp(&socket, REPAIR, 1)?;
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &from)?;
    for (queue, number) in [(SENDING, numbers.0), (RECEIVING, numbers.1)] {
        tcp(&socket, REPAIR_QUEUE, queue)?;
        tcp(&socket, QUEUE_SEQUENCE, number)?;
    }
    calls::connect(&socket, to)?;
    tcp(&socket, REPAIR, 0)?;
    let mut stream = TcpStream::from(socket);
    stream.write_all(b"?")?;
    routes::greeting(stream.into())
}

/// A server by multipath TCP that says `DATABASE` to whoever came by a second way as well, and
/// `ALONE` to others.
fn subflow_server(at: SocketAddr) -> io::Result<()> {
    const SOL_MPTCP: i32 = 284;
    const MPTCP_INFO: i32 = 1;
    let family = if at.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let listener = calls::socket(family, libc::SOCK_STREAM, MPTCP)?;
    rustix::net::bind(&listener, &at)?;
    rustix::net::listen(&listener, 16)?;
    std::thread::spawn(move || {
        for mut stream in TcpListener::from(listener).incoming().flatten() {
            let until = Instant::now() + Duration::from_millis(1_500);
            let mut info = [0; 256];
            let mut joined = false;
            while !joined && Instant::now() < until {
                let read = calls::get(&stream, SOL_MPTCP, MPTCP_INFO, &mut info);
                joined = read.is_ok() && info[0] > 0;
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = stream.write_all(if joined { b"DATABASE\n" } else { b"ALONE\n" });
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    Ok(())
}
