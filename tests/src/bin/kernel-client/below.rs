//! Datagrams that pass below the hooks of sockets: in frames made by hand, with whatever may stand in
//! one, or to a place that somebody rewrites.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::OwnedFd;

use super::routes::{PATIENCE, checksum};
use super::{calls, xdp};

const DEVICE: &str = "wire";

/// A UDP datagram with its IPv4 header.
fn datagram(from: SocketAddrV4, to: SocketAddrV4) -> Vec<u8> {
    let mut bytes = vec![0x45, 0, 0, 29, 0, 0, 0x40, 0, 64, 17, 0, 0];
    bytes.extend(from.ip().octets());
    bytes.extend(to.ip().octets());
    let sum = checksum(&bytes).to_be_bytes();
    bytes[10..12].copy_from_slice(&sum);
    bytes.extend(from.port().to_be_bytes());
    bytes.extend(to.port().to_be_bytes());
    bytes.extend([0, 9, 0, 0, b'?']);
    bytes
}

fn v4(to: SocketAddr) -> io::Result<SocketAddrV4> {
    match to {
        SocketAddr::V4(v4) => Ok(v4),
        SocketAddr::V6(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn index(socket: &OwnedFd) -> io::Result<u32> {
    Ok(rustix::net::netdevice::name_to_index(socket, DEVICE)?)
}

/// Where the answer to a datagram comes to.
fn ear() -> io::Result<(UdpSocket, SocketAddrV4)> {
    let ear = UdpSocket::bind(("192.0.2.1", 0))?;
    ear.set_read_timeout(Some(PATIENCE))?;
    let here = v4(ear.local_addr()?)?;
    Ok((ear, here))
}

fn hear(ear: &UdpSocket) -> io::Result<String> {
    let mut bytes = [0; 64];
    let length = ear.recv(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes[..length]).trim().into())
}

/// What stands between the Ethernet header's addresses and the packet.
fn framed(packet: &[u8], between: &[u8]) -> Vec<u8> {
    // The tests give the wire's other end this address.
    let mut frame = vec![2, 0, 0, 0, 0, 0xfe];
    frame.extend([2, 0, 0, 0, 0, 9]);
    frame.extend(between);
    frame.extend(packet);
    frame
}

const IPV4: [u8; 2] = [8, 0];

/// A whole frame by a packet socket, past the queues of its own namespace (`PACKET_QDISC_BYPASS`).
/// With `tagged`, of a virtual LAN; with `options`, with IPv4 options in it; with `later`, said to
/// be a later fragment; with `snap` or `stp`, a length in the place of a type (IEEE 802.3), and the
/// packet behind the header of RFC 1042 or of the spanning tree; with `mpls`, behind a label; with
/// `eapol`, said to be 802.1X's; with `reset`, a TCP reset.
pub(super) fn frame(to: SocketAddr, shape: &str) -> io::Result<String> {
    const BYPASS: i32 = 20;
    let to = v4(to)?;
    let socket = calls::socket(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
    if shape != "frame-queued" {
        calls::set(&socket, libc::SOL_PACKET, BYPASS, &1_i32.to_ne_bytes())?;
    }
    let (ear, here) = ear()?;
    let packet = datagram(here, to);
    let frames = match shape {
        "frame" | "frame-queued" => vec![framed(&packet, &IPV4)],
        "frame-tagged" => vec![framed(&packet, &[0x81, 0, 0, 0, 8, 0])],
        "frame-options" => vec![framed(&with_options(&packet), &IPV4)],
        "frame-fragments" => fragments(&packet)
            .iter()
            .map(|packet| framed(packet, &IPV4))
            .collect(),
        "frame-snap" | "frame-stp" => {
            let length = (packet.len() as u16 + 8).to_be_bytes();
            let sap = if shape == "frame-stp" { 0x42 } else { 0xaa };
            let head = [length[0], length[1], sap, sap, 3, 0, 0, 0, 8, 0];
            vec![framed(&packet, &head)]
        }
        "frame-mpls" => vec![framed(&packet, &[0x88, 0x47, 0, 0, 0x11, 64])],
        "frame-eapol" => vec![framed(&packet, &[0x88, 0x8e])],
        "frame-reset" => vec![framed(&reset(here, to, b""), &IPV4)],
        "frame-reset-data" => vec![framed(&reset(here, to, b"tell"), &IPV4)],
        _ => return Err(io::ErrorKind::Unsupported.into()),
    };
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_IP as u16).to_be(),
        sll_ifindex: index(&socket)? as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [0xff; 8],
    };
    for frame in frames {
        calls::send_frame(&socket, &frame, &address)?;
    }
    hear(&ear)
}

/// A TCP reset, which needs no sum to be seen on its way.
fn reset(from: SocketAddrV4, to: SocketAddrV4, data: &[u8]) -> Vec<u8> {
    let mut bytes = datagram(from, to);
    bytes.truncate(24);
    bytes[3] = 40 + data.len() as u8;
    bytes[9] = 6;
    bytes[10..12].copy_from_slice(&[0, 0]);
    let sum = checksum(&bytes[..20]).to_be_bytes();
    bytes[10..12].copy_from_slice(&sum);
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 4, 0, 0, 0, 0, 0, 0]);
    bytes.extend(data);
    bytes
}

/// Three no-operations and an end (RFC 791, 3.1).
fn with_options(packet: &[u8]) -> Vec<u8> {
    let mut bytes = packet.to_vec();
    bytes.splice(20..20, [1, 1, 1, 0]);
    bytes[0] = 0x46;
    bytes[3] = 33;
    bytes[10..12].copy_from_slice(&[0, 0]);
    let sum = checksum(&bytes[..24]).to_be_bytes();
    bytes[10..12].copy_from_slice(&sum);
    bytes
}

/// The ports in one, the data in the other.
fn fragments(packet: &[u8]) -> [Vec<u8>; 2] {
    let part = |offset: u8, more: u8, data: &[u8]| {
        let mut bytes = packet[..20].to_vec();
        bytes[3] = 20 + data.len() as u8;
        bytes[5] = 77; // the same datagram
        bytes[6] = more;
        bytes[7] = offset;
        bytes[10..12].copy_from_slice(&[0, 0]);
        let sum = checksum(&bytes).to_be_bytes();
        bytes[10..12].copy_from_slice(&sum);
        bytes.extend(data);
        bytes
    };
    [part(0, 0x20, &packet[20..28]), part(1, 0, &packet[28..])]
}

/// The same by a ring of AF_XDP, which passes every queue of its own namespace.
pub(super) fn xdp(to: SocketAddr) -> io::Result<String> {
    let to = v4(to)?;
    let (ear, here) = ear()?;
    let any = calls::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    let mut ring = xdp::Transmit::new(index(&any)?)?;
    ring.send(&framed(&datagram(here, to), &IPV4))?;
    hear(&ear)
}

/// To a harmless place, in the hope that somebody rewrites it: the answer comes from whoever it
/// reached.
pub(super) fn decoy(to: SocketAddr) -> io::Result<String> {
    const NO_CHECKSUM: i32 = 11; // SO_NO_CHECK
    let (ear, _) = ear()?;
    calls::set(&ear, libc::SOL_SOCKET, NO_CHECKSUM, &1_i32.to_ne_bytes())?;
    ear.send_to(b"?", to)?;
    hear(&ear)
}
