//! TCP by hand, as far as a greeting needs it, over whatever carries whole IP packets: packet
//! sockets, the rings of AF_XDP, a TUN device. No hook on a socket sees such a connection.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use super::routes::checksum;
use super::{calls, xdp};

const PATIENCE: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(300);

const SOL_PACKET: i32 = 263;
const PACKET_QDISC_BYPASS: i32 = 20;
const IP_MINTTL: i32 = 21;

const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// What carries IP packets.
trait Carrier {
    fn send(&mut self, packet: &[u8]) -> io::Result<()>;
    /// The next one; `None` when none came for a moment.
    fn receive(&mut self) -> io::Result<Option<Vec<u8>>>;
}

/// How the packets leave.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Packet,
    /// Past the queueing discipline, and what filters there.
    PacketBypass,
    Xdp,
}

/// Connects from this host's own address on that device.
pub(super) fn by_device(way: Way, device: &str, to: SocketAddr) -> io::Result<String> {
    let to = v4(to)?;
    let from = source(to)?;
    // The kernel would answer the other side's packets with a reset. A listener which takes only
    // what no router passed on drops them unanswered.
    let deaf = TcpListener::bind((from, 0))?;
    calls::set(&deaf, libc::IPPROTO_IP, IP_MINTTL, &255_i32.to_ne_bytes())?;
    let from = SocketAddrV4::new(from, deaf.local_addr()?.port());
    let index = {
        let any = calls::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
        rustix::net::netdevice::name_to_index(&any, device)?
    };
    let mac = neighbour(index, device, *from.ip(), *to.ip())?;
    let ear = calls::socket(
        libc::AF_PACKET,
        libc::SOCK_DGRAM,
        i32::from((libc::ETH_P_IP as u16).to_be()),
    )?;
    calls::bind_device(&ear, &device_address(index, libc::ETH_P_IP, mac))?;
    short(&ear)?;
    let mut carrier = Device {
        mouth: match way {
            Way::Packet => Mouth::Packet,
            Way::PacketBypass => {
                calls::set(&ear, SOL_PACKET, PACKET_QDISC_BYPASS, &1_i32.to_ne_bytes())?;
                Mouth::Packet
            }
            Way::Xdp => Mouth::Xdp(Box::new(xdp::Transmit::new(index)?), own_mac(device)?),
        },
        ear,
        index,
        mac,
    };
    greeting(&mut carrier, from, to)
}

enum Mouth {
    Packet,
    Xdp(Box<xdp::Transmit>, [u8; 6]),
}

struct Device {
    mouth: Mouth,
    ear: OwnedFd,
    index: u32,
    mac: [u8; 6],
}

impl Carrier for Device {
    fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        match &mut self.mouth {
            Mouth::Packet => {
                let address = device_address(self.index, libc::ETH_P_IP, self.mac);
                calls::send_frame(&self.ear, packet, &address)
            }
            Mouth::Xdp(ring, own) => {
                let mut frame = [self.mac, *own].concat();
                frame.extend((libc::ETH_P_IP as u16).to_be_bytes());
                frame.extend(packet);
                ring.send(&frame)
            }
        }
    }

    fn receive(&mut self) -> io::Result<Option<Vec<u8>>> {
        receive(&self.ear)
    }
}

/// Connects from an address that a stack of this process's own has, behind a TUN device. The kernel
/// routes the packets on, and no socket of it is in them.
pub(super) fn by_tun(device: &str, to: SocketAddr) -> io::Result<String> {
    const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
    let to = v4(to)?;
    let [a, b, c, _] = to.ip().octets();
    let own = Ipv4Addr::new(a, b, c, 77);
    let tun = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")?;
    let mut request = [0_u8; 40];
    request[..4].copy_from_slice(b"own0");
    // IFF_TUN without a header of its own.
    request[16..18].copy_from_slice(&0x1001_u16.to_ne_bytes());
    calls::control(&tun, TUNSETIFF, &mut request)?;
    rustix::io::ioctl_fionbio(&tun, true)?;
    for arguments in [
        "link set own0 up".to_owned(),
        format!("route add {own}/32 dev own0"),
    ] {
        let done = Command::new("ip").args(arguments.split(' ')).output()?;
        if !done.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&done.stderr)));
        }
    }
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
    let proxy = format!("/proc/sys/net/ipv4/conf/{device}/proxy_arp");
    std::fs::write(proxy, "1")?;
    let delay = format!("/proc/sys/net/ipv4/neigh/{device}/proxy_delay");
    std::fs::write(delay, "0")?;
    let from = SocketAddrV4::new(own, 61_000 + std::process::id() as u16 % 4_000);
    greeting(&mut Tun(tun), from, to)
}

struct Tun(std::fs::File);

impl Carrier for Tun {
    fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        self.0.write_all(packet)
    }

    fn receive(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; 2_048];
        match self.0.read(&mut bytes) {
            Ok(length) => {
                bytes.truncate(length);
                Ok(Some(bytes))
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(5));
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }
}

/// SYN, ACK, and what the other side says up to the end of its line.
fn greeting(
    carrier: &mut impl Carrier,
    from: SocketAddrV4,
    to: SocketAddrV4,
) -> io::Result<String> {
    let (mut sequence, mut next, mut agreed) = (1_000_u32, 0_u32, false);
    let mut said = Vec::new();
    let until = Instant::now() + PATIENCE;
    let mut asked = None;
    while Instant::now() < until {
        let due = asked.is_none_or(|at: Instant| at.elapsed() > RETRY);
        if !agreed && due {
            carrier.send(&segment(from, to, sequence, 0, SYN))?;
            asked = Some(Instant::now());
        }
        let Some(packet) = carrier.receive()? else {
            continue;
        };
        let Some(heard) = Heard::read(&packet, from, to) else {
            continue;
        };
        if heard.flags & RST != 0 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if heard.flags & SYN != 0 {
            if !agreed {
                (agreed, next) = (true, heard.sequence.wrapping_add(1));
                sequence += 1;
            }
            carrier.send(&segment(from, to, sequence, next, ACK))?;
        } else if agreed && heard.sequence == next && !heard.data.is_empty() {
            next = next.wrapping_add(heard.data.len() as u32);
            said.extend(heard.data);
            if said.ends_with(b"\n") {
                carrier.send(&segment(from, to, sequence, next, RST | ACK))?;
                return Ok(String::from_utf8_lossy(&said).trim().into());
            }
            carrier.send(&segment(from, to, sequence, next, ACK))?;
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

struct Heard<'a> {
    sequence: u32,
    flags: u8,
    data: &'a [u8],
}

impl<'a> Heard<'a> {
    /// A segment of this connection, from the other side.
    fn read(packet: &'a [u8], from: SocketAddrV4, to: SocketAddrV4) -> Option<Heard<'a>> {
        let header = usize::from(packet.first()? & 0x0f) * 4;
        let whole = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
        let ours = packet[0] >> 4 == 4
            && *packet.get(9)? == 6
            && packet.get(12..16)? == to.ip().octets()
            && packet.get(16..20)? == from.ip().octets();
        let tcp = packet.get(header..whole)?;
        let ours = ours
            && tcp.get(0..2)? == to.port().to_be_bytes()
            && tcp.get(2..4)? == from.port().to_be_bytes();
        ours.then_some(())?;
        Some(Heard {
            sequence: u32::from_be_bytes(tcp.get(4..8)?.try_into().ok()?),
            flags: *tcp.get(13)?,
            data: tcp.get(usize::from(tcp.get(12)? >> 4) * 4..)?,
        })
    }
}

fn segment(from: SocketAddrV4, to: SocketAddrV4, sequence: u32, next: u32, flags: u8) -> Vec<u8> {
    let mut tcp = Vec::new();
    tcp.extend(from.port().to_be_bytes());
    tcp.extend(to.port().to_be_bytes());
    tcp.extend(sequence.to_be_bytes());
    tcp.extend(next.to_be_bytes());
    tcp.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    let mut pseudo = [from.ip().octets(), to.ip().octets()].concat();
    pseudo.extend([0, 6, 0, 20]);
    pseudo.extend(&tcp);
    tcp[16..18].copy_from_slice(&checksum(&pseudo).to_be_bytes());
    let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0];
    packet.extend(from.ip().octets());
    packet.extend(to.ip().octets());
    let sum = checksum(&packet).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
    packet.extend(tcp);
    packet
}

/// Who has that address on the wire: asked by ARP (RFC 826), not by the kernel, for it would have
/// to be told to send something there.
fn neighbour(index: u32, device: &str, from: Ipv4Addr, to: Ipv4Addr) -> io::Result<[u8; 6]> {
    let protocol = i32::from((libc::ETH_P_ARP as u16).to_be());
    let socket = calls::socket(libc::AF_PACKET, libc::SOCK_DGRAM, protocol)?;
    let all = device_address(index, libc::ETH_P_ARP, [0xff; 6]);
    calls::bind_device(&socket, &all)?;
    short(&socket)?;
    let mut question = vec![0, 1, 8, 0, 6, 4, 0, 1];
    question.extend(own_mac(device)?);
    question.extend(from.octets());
    question.extend([0; 6]);
    question.extend(to.octets());
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        calls::send_frame(&socket, &question, &all)?;
        while let Some(answer) = receive(&socket)? {
            if answer.len() >= 28 && answer[6..8] == [0, 2] && answer[14..18] == to.octets() {
                let mut mac = [0; 6];
                mac.copy_from_slice(&answer[8..14]);
                return Ok(mac);
            }
        }
    }
    Err(io::ErrorKind::HostUnreachable.into())
}

fn own_mac(device: &str) -> io::Result<[u8; 6]> {
    const SIOCGIFHWADDR: libc::c_ulong = 0x8927;
    let socket = calls::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    let mut request = [0_u8; 40];
    request[..device.len()].copy_from_slice(device.as_bytes());
    calls::control(&socket, SIOCGIFHWADDR, &mut request)?;
    let mut mac = [0; 6];
    mac.copy_from_slice(&request[18..24]);
    Ok(mac)
}

fn device_address(index: u32, protocol: i32, mac: [u8; 6]) -> libc::sockaddr_ll {
    let [a, b, c, d, e, f] = mac;
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (protocol as u16).to_be(),
        sll_ifindex: index as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [a, b, c, d, e, f, 0, 0],
    }
}

fn short(socket: &OwnedFd) -> io::Result<()> {
    let option = rustix::net::sockopt::Timeout::Recv;
    let patience = Some(Duration::from_millis(50));
    Ok(rustix::net::sockopt::set_socket_timeout(
        socket, option, patience,
    )?)
}

fn receive(socket: &impl AsRawFd) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; 2_048];
    match calls::receive(socket, &mut bytes) {
        Ok(length) => {
            bytes.truncate(length);
            Ok(Some(bytes))
        }
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(e) => Err(e),
    }
}

/// The address this side has towards there, asked by way of a neighbour that nobody guards.
fn source(to: SocketAddrV4) -> io::Result<Ipv4Addr> {
    let [a, b, c, _] = to.ip().octets();
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect((Ipv4Addr::new(a, b, c, 250), 9))?;
    match socket.local_addr()?.ip() {
        IpAddr::V4(v4) => Ok(v4),
        IpAddr::V6(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn v4(to: SocketAddr) -> io::Result<SocketAddrV4> {
    match to {
        SocketAddr::V4(v4) => Ok(v4),
        SocketAddr::V6(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}
