//! Ways out of a network namespace that pass below its sockets' hooks, or round them: frames made
//! by hand, rings of the kernel's, a stack of one's own, packets rewritten on their way, a ring or
//! a child in another cgroup.

use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::{Duration, Instant};

use super::calls;
use super::routes::{self, PATIENCE, checksum};

const DEVICE: &str = "wire";

fn done(answer: libc::c_long) -> io::Result<i32> {
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(answer as i32)
    }
}

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
/// packet behind the header of RFC 1042 or of the spanning tree; with `reset`, a TCP reset.
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

/// A frame by a ring of AF_XDP, which passes every queue of its own namespace (linux/if_xdp.h).
pub(super) fn xdp(to: SocketAddr) -> io::Result<String> {
    const AF_XDP: i32 = 44;
    const SOL_XDP: i32 = 283;
    const OFFSETS: i32 = 1;
    const TX_RING: i32 = 3;
    const REGISTER: i32 = 4;
    const FILL_RING: i32 = 5;
    const COMPLETION_RING: i32 = 6;
    const COPY: u16 = 2;
    const TX_PAGE: i64 = 0x8000_0000;
    const ENTRIES: u32 = 16;
    const CHUNK: u32 = 2_048;
    #[repr(C)]
    struct Register {
        address: u64,
        length: u64,
        chunk: u32,
        headroom: u32,
        flags: u32,
        zero: u32,
    }
    #[repr(C)]
    struct Offsets {
        rings: [[u64; 4]; 4], // producer, consumer, descriptors, flags
    }
    #[repr(C)]
    struct Address {
        family: u16,
        flags: u16,
        index: u32,
        queue: u32,
        shared: u32,
    }
    let to = v4(to)?;
    let (ear, here) = ear()?;
    let frame = framed(&datagram(here, to), &IPV4);
    let socket = calls::socket(AF_XDP, libc::SOCK_RAW, 0)?;
    let inet = calls::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    // SAFETY: two mappings of the sizes asked for, used no more once they are taken back; the kernel's
    // own structures, which live until the calls return.
    unsafe {
        let size = (ENTRIES * CHUNK) as usize;
        let memory = libc::mmap(
            ptr::null_mut(),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let register = Register {
            address: memory as u64,
            length: size as u64,
            chunk: CHUNK,
            headroom: 0,
            flags: 0,
            zero: 0,
        };
        let bytes = std::slice::from_raw_parts(
            ptr::from_ref(&register).cast::<u8>(),
            size_of::<Register>(),
        );
        calls::set(&socket, SOL_XDP, REGISTER, bytes)?;
        for ring in [FILL_RING, COMPLETION_RING, TX_RING] {
            calls::set(&socket, SOL_XDP, ring, &ENTRIES.to_ne_bytes())?;
        }
        let mut offsets: Offsets = zeroed();
        let mut length = size_of::<Offsets>() as libc::socklen_t;
        done(
            libc::getsockopt(
                socket.as_raw_fd(),
                SOL_XDP,
                OFFSETS,
                ptr::from_mut(&mut offsets).cast(),
                &raw mut length,
            )
            .into(),
        )?;
        let [producer, _, descriptors, _] = offsets.rings[1];
        let ring = libc::mmap(
            ptr::null_mut(),
            4_096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_POPULATE,
            socket.as_raw_fd(),
            TX_PAGE,
        );
        if ring == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let address = Address {
            family: AF_XDP as u16,
            flags: COPY,
            index: index(&inet)?,
            queue: 0,
            shared: 0,
        };
        done(
            libc::bind(
                socket.as_raw_fd(),
                ptr::from_ref(&address).cast(),
                size_of::<Address>() as libc::socklen_t,
            )
            .into(),
        )?;
        ptr::copy_nonoverlapping(frame.as_ptr(), memory.cast(), frame.len());
        let ring = ring.cast::<u8>();
        // Offset in the memory, length, options.
        let slot = ring.add(descriptors as usize).cast::<u32>();
        for (place, word) in [0, 0, frame.len() as u32, 0].into_iter().enumerate() {
            ptr::write_volatile(slot.add(place), word);
        }
        ptr::write_volatile(ring.add(producer as usize).cast::<u32>(), 1);
        let sent = libc::sendto(
            socket.as_raw_fd(),
            ptr::null(),
            0,
            libc::MSG_DONTWAIT,
            ptr::null(),
            0,
        );
        done(sent as libc::c_long)?;
        let answer = hear(&ear);
        // They keep the socket, and that the device's queue, also once its descriptor is closed.
        libc::munmap(ring.cast(), 4_096);
        libc::munmap(memory, size);
        answer
    }
}

/// A stack of one's own behind a TUN device, whose packets the namespace forwards.
pub(super) fn tun(to: SocketAddr) -> io::Result<String> {
    const SET: libc::c_ulong = 0x4004_54ca; // TUNSETIFF
    const TUN: libc::c_short = 1;
    const NO_HEAD: libc::c_short = 0x1000;
    let own = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 100), 4_321);
    let to = v4(to)?;
    let mut device = File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")?;
    // SAFETY: the kernel's own structure, which lives until the call returns.
    unsafe {
        let mut request: libc::ifreq = zeroed();
        for (place, byte) in request.ifr_name.iter_mut().zip(b"tun7") {
            *place = *byte as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = TUN | NO_HEAD;
        done(libc::ioctl(device.as_raw_fd(), SET, &raw mut request).into())?;
    }
    for arguments in [
        "ip link set tun7 up",
        "ip route replace 192.0.2.100/32 dev tun7",
        "sysctl -qw net.ipv4.neigh.wire.proxy_delay=0",
        "sysctl -qw net.ipv4.ip_forward=1",
        "sysctl -qw net.ipv4.conf.wire.proxy_arp=1",
        "sysctl -qw net.ipv4.conf.all.rp_filter=0",
        "sysctl -qw net.ipv4.conf.tun7.rp_filter=0",
    ] {
        run(arguments)?;
    }
    device.write_all(&datagram(own, to))?;
    let until = Instant::now() + PATIENCE;
    let mut bytes = [0; 2_048];
    rustix::io::ioctl_fionbio(&device, true)?;
    while Instant::now() < until {
        match device.read(&mut bytes) {
            // Whatever else the namespace sends there is no answer.
            Ok(length) if bytes[9] == 17 && bytes[12..16] == to.ip().octets() => {
                return Ok(String::from_utf8_lossy(&bytes[28..length]).into_owned());
            }
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(e) => return Err(e),
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

fn run(line: &str) -> io::Result<()> {
    let mut words = line.split(' ');
    let program = words.next().ok_or(io::ErrorKind::InvalidInput)?;
    let words: Vec<&str> = words.collect();
    let status = match (program, words.as_slice()) {
        // Not everywhere is there such a program.
        ("sysctl", [_, setting]) => {
            let (name, value) = setting.split_once('=').ok_or(io::ErrorKind::InvalidInput)?;
            return std::fs::write(format!("/proc/sys/{}", name.replace('.', "/")), value);
        }
        _ => std::process::Command::new(program).args(words).status()?,
    };
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("{line} failed")))
    }
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

/// Rewrites what a device sends (47) or receives (46) from one address to another, for as long as
/// the descriptor is held: a program of traffic control of one's own.
pub(super) fn rewrite(
    device: u32,
    attach_type: u32,
    from: Ipv4Addr,
    to: Ipv4Addr,
) -> io::Result<[OwnedFd; 2]> {
    const PROG_LOAD: libc::c_int = 5;
    const LINK_CREATE: libc::c_int = 28;
    /// One instruction: operation, registers (target, then source in the high half), offset, value.
    fn step(op: u8, registers: u8, offset: i16, value: i32) -> [u8; 8] {
        let [a, b] = offset.to_ne_bytes();
        let [c, d, e, f] = value.to_ne_bytes();
        [op, registers, a, b, c, d, e, f]
    }
    let word = |ip: Ipv4Addr| i32::from_ne_bytes(ip.octets());
    let program: Vec<u8> = [
        step(0xbf, 0x16, 0, 0),          // r6 = context
        step(0xb7, 0x02, 0, 30),         // the destination's place in the frame
        step(0xbf, 0xa3, 0, 0),          // onto the stack
        step(0x07, 0x03, 0, -4),         //
        step(0xb7, 0x04, 0, 4),          //
        step(0x85, 0, 0, 26),            // skb_load_bytes
        step(0x55, 0x00, 17, 0),         // it failed: end
        step(0x61, 0xa7, -4, 0),         // r7 = destination
        step(0xb4, 0x08, 0, word(from)), // r8
        step(0x5d, 0x87, 14, 0),         // another: end
        step(0x62, 0x0a, -4, word(to)),  //
        step(0xbf, 0x61, 0, 0),          //
        step(0xb7, 0x02, 0, 24),         // the checksum's place
        step(0xbf, 0x73, 0, 0),          //
        step(0xb4, 0x04, 0, word(to)),   //
        step(0xb7, 0x05, 0, 4),          //
        step(0x85, 0, 0, 10),            // l3_csum_replace
        step(0xbf, 0x61, 0, 0),          //
        step(0xb7, 0x02, 0, 30),         //
        step(0xbf, 0xa3, 0, 0),          //
        step(0x07, 0x03, 0, -4),         //
        step(0xb7, 0x04, 0, 4),          //
        step(0xb7, 0x05, 0, 0),          //
        step(0x85, 0, 0, 9),             // skb_store_bytes
        step(0xb7, 0x00, 0, -1),         // go on
        step(0x95, 0, 0, 0),
    ]
    .concat();
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        program: u64,
        license: u64,
        rest: [u64; 13],
    }
    let load = Load {
        kind: 3, // BPF_PROG_TYPE_SCHED_CLS
        count: (program.len() / 8) as u32,
        program: program.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        rest: [0; 13],
    };
    let call = |command: libc::c_int, at: *const u8, size: usize| -> io::Result<OwnedFd> {
        // SAFETY: the structures live until the call returns; a new descriptor.
        unsafe {
            let fd = done(libc::syscall(libc::SYS_bpf, command, at, size))?;
            Ok(OwnedFd::from_raw_fd(fd))
        }
    };
    let loaded = call(PROG_LOAD, ptr::from_ref(&load).cast(), size_of::<Load>())?;
    let link: [u32; 8] = [
        loaded.as_raw_fd() as u32,
        device,
        attach_type,
        0,
        0,
        0,
        0,
        0,
    ];
    let link = call(LINK_CREATE, link.as_ptr().cast(), size_of::<[u32; 8]>())?;
    Ok([loaded, link])
}

/// The number of a device here.
pub(super) fn device(name: &str) -> io::Result<u32> {
    let socket = calls::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    Ok(rustix::net::netdevice::name_to_index(&socket, name)?)
}

/// A child born in another cgroup goes a route (clone3(2), `CLONE_INTO_CGROUP`).
pub(super) fn born_in(cgroup: &str, route: &str, to: SocketAddr) -> io::Result<String> {
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    #[repr(C)]
    struct Clone {
        flags: u64,
        pidfd: u64,
        child: u64,
        parent: u64,
        signal: u64,
        rest: [u64; 5],
        cgroup: u64,
    }
    let directory = File::open(cgroup)?;
    let (mut read, write) = pipe()?;
    let clone = Clone {
        flags: INTO_CGROUP,
        pidfd: 0,
        child: 0,
        parent: 0,
        signal: libc::SIGCHLD as u64,
        rest: [0; 5],
        cgroup: directory.as_raw_fd() as u64,
    };
    // SAFETY: this process has one thread; the child goes its route, writes and ends.
    let child = unsafe {
        done(libc::syscall(
            libc::SYS_clone3,
            &raw const clone,
            size_of::<Clone>(),
        ))?
    };
    if child == 0 {
        let answer = routes::go(route, to).unwrap_or_else(|e| format!("error:{e}"));
        let _ = File::from(write).write_all(answer.as_bytes());
        // SAFETY: takes nothing.
        unsafe { libc::_exit(0) };
    }
    drop(write);
    let mut answer = String::new();
    read.read_to_string(&mut answer)?;
    wait(child);
    Ok(answer)
}

fn pipe() -> io::Result<(File, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe()?;
    Ok((File::from(read), write))
}

fn wait(child: RawFd) {
    // SAFETY: no status is asked for.
    unsafe { libc::waitpid(child, ptr::null_mut(), 0) };
}

/// Leaves this process behind and goes on as its child, with the same standard input and output.
/// What the two share stays shared.
pub(super) fn go_on_as_child() -> io::Result<()> {
    // SAFETY: this process has one thread. The parent does nothing more but wait for its end.
    unsafe {
        let child = done(libc::fork().into())?;
        if child != 0 {
            wait(child);
            libc::_exit(0);
        }
        // A killed parent takes the child along.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
    Ok(())
}
