//! What the kernel says of sockets it did not tell us of itself: sock_diag(7) over netlink, asked
//! in the network namespace the socket is in.
//!
//! The answers come from the kernel's own tables of sockets, so they are a second source beside
//! the table of origins: one cannot be stale where the other is fresh.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::tables::locked;
use crate::model::CgroupId;

/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// `SOCK_DESTROY`.
const DESTROY: u16 = 21;
/// `NLMSG_ERROR`.
const ERROR: u16 = 2;
/// `NLM_F_REQUEST`, `NLM_F_ACK`.
const REQUEST: u16 = 1;
const ACK: u16 = 4;
/// `TCP_ESTABLISHED`.
const ESTABLISHED: u8 = 1;
/// `INET_DIAG_CGROUP_ID`.
const CGROUP_ID: u16 = 21;
const INET: u8 = 2;
const INET6: u8 = 10;
/// `IPPROTO_TCP`, `IPPROTO_UDP`.
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
/// `INET_DIAG_NOCOOKIE`: whatever socket has the addresses.
const ANY: u64 = u64::MAX;

/// A socket as sock_diag tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Its cookie. Zero for what is no full socket any more.
    pub(super) cookie: u64,
    /// The cgroup it was made in. `None` from a kernel that does not say.
    pub(super) cgroup: Option<CgroupId>,
    /// It is connected, and neither end has closed.
    pub(super) open: bool,
}

/// A way to ask in one network namespace.
#[derive(Debug)]
pub(super) struct Diag(Mutex<Asking>);

#[derive(Debug)]
struct Asking {
    socket: OwnedFd,
    /// A question failed half-way: its answer may still come, and is not the next one's.
    stale: bool,
}

/// Where a request has the number of a device: behind both headers, ports and addresses.
const DEVICE: usize = 16 + 8 + 4 + 32;

/// An answer is a message of 88 bytes and some attributes.
const ROOM: usize = 1_024;

impl Diag {
    /// In the namespace of the calling thread.
    pub(super) fn here() -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::SOCK_DIAG),
        )?;
        Ok(Diag(Mutex::new(Asking {
            socket,
            stale: false,
        })))
    }

    /// In the namespace behind the descriptor, which a thread of its own enters.
    pub(super) fn inside(netns: BorrowedFd<'_>) -> io::Result<Self> {
        let netns = netns.try_clone_to_owned()?;
        std::thread::Builder::new()
            .name("netns-diag".into())
            .spawn(move || {
                move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))?;
                Diag::here()
            })?
            .join()
            .map_err(|_| io::Error::other("the thread that enters a namespace ended"))?
    }

    /// The TCP socket with these two ends; `None` when there is none.
    pub(super) fn find(&self, local: SocketAddr, remote: SocketAddr) -> io::Result<Option<Seen>> {
        let request = request(BY_FAMILY, REQUEST, TCP, local, remote, ANY);
        let answer = self.ask(&request)?;
        match kind(&answer) {
            Some(BY_FAMILY) => seen(&answer).map(Some).ok_or_else(malformed),
            Some(ERROR) => match error(&answer) {
                Some(libc::ENOENT) => Ok(None),
                Some(code) => Err(io::Error::from_raw_os_error(code)),
                None => Err(malformed()),
            },
            Some(_) | None => Err(malformed()),
        }
    }

    /// Ends the socket with these ends and this cookie as if its peer had reset it
    /// (`SOCK_DESTROY`): its owner gets ECONNABORTED. One that is gone is no error.
    pub(super) fn destroy(
        &self,
        protocol: u8,
        local: SocketAddr,
        remote: SocketAddr,
        cookie: u64,
    ) -> io::Result<()> {
        self.destroy_on(protocol, local, remote, cookie, 0)
    }

    /// The same for a socket that is bound to a device, by the device's number; 0 for none.
    pub(super) fn destroy_on(
        &self,
        protocol: u8,
        local: SocketAddr,
        remote: SocketAddr,
        cookie: u64,
        device: u32,
    ) -> io::Result<()> {
        let mut request = request(DESTROY, REQUEST | ACK, protocol, local, remote, cookie);
        if let Some(place) = request.get_mut(DEVICE..DEVICE + 4) {
            place.copy_from_slice(&device.to_ne_bytes());
        }
        let answer = self.ask(&request)?;
        match (kind(&answer), error(&answer)) {
            (Some(ERROR), Some(0 | libc::ENOENT)) => Ok(()),
            (Some(ERROR), Some(code)) => Err(io::Error::from_raw_os_error(code)),
            (Some(_) | None, _) => Err(malformed()),
        }
    }

    /// One question, one answer: the kernel has it ready when `send` returns.
    fn ask(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        let mut asking = locked(&self.0);
        let mut room = [0; ROOM];
        while asking.stale {
            asking.stale = recv(&asking.socket, room.as_mut_slice(), RecvFlags::DONTWAIT).is_ok();
        }
        asking.stale = true;
        send(&asking.socket, request, SendFlags::empty())?;
        let (length, _) = recv(&asking.socket, room.as_mut_slice(), RecvFlags::DONTWAIT)?;
        asking.stale = false;
        room.get(..length).map(<[u8]>::to_vec).ok_or_else(malformed)
    }
}

fn malformed() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "sock_diag's answer is not understood",
    )
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2` (linux/inet_diag.h).
fn request(
    kind: u16,
    flags: u16,
    protocol: u8,
    local: SocketAddr,
    remote: SocketAddr,
    cookie: u64,
) -> Vec<u8> {
    const LENGTH: u32 = 16 + 8 + 48;
    // A mapped address is in the tables of IPv4.
    let (from, to) = (local.ip().to_canonical(), remote.ip().to_canonical());
    let family = if from.is_ipv4() && to.is_ipv4() {
        INET
    } else {
        INET6
    };
    let mut bytes = Vec::with_capacity(LENGTH as usize);
    bytes.extend(LENGTH.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]); // sequence, port
    bytes.extend([family, protocol, 0, 0]);
    bytes.extend(u32::MAX.to_ne_bytes()); // in any state
    bytes.extend(local.port().to_be_bytes());
    bytes.extend(remote.port().to_be_bytes());
    for ip in [from, to] {
        bytes.extend(match (ip, family) {
            (IpAddr::V4(v4), INET) => {
                let mut octets = [0; 16];
                for (place, octet) in octets.iter_mut().zip(v4.octets()) {
                    *place = octet;
                }
                octets
            }
            (IpAddr::V4(v4), _) => v4.to_ipv6_mapped().octets(),
            (IpAddr::V6(v6), _) => v6.octets(),
        });
    }
    bytes.extend(0_u32.to_ne_bytes()); // on any interface
    bytes.extend(cookie.to_ne_bytes());
    bytes
}

fn at<const N: usize>(bytes: &[u8], from: usize) -> Option<[u8; N]> {
    bytes.get(from..)?.first_chunk::<N>().copied()
}

fn kind(answer: &[u8]) -> Option<u16> {
    at(answer, 4).map(u16::from_ne_bytes)
}

/// The errno of an `NLMSG_ERROR`, positive; 0 is the acknowledgement.
fn error(answer: &[u8]) -> Option<i32> {
    at(answer, 16)
        .map(i32::from_ne_bytes)
        .and_then(i32::checked_neg)
}

/// `struct inet_diag_msg` and the attributes after it.
fn seen(answer: &[u8]) -> Option<Seen> {
    const MESSAGE: usize = 16;
    const STATE: usize = MESSAGE + 1;
    const COOKIE: usize = MESSAGE + 4 + 40;
    const ATTRIBUTES: usize = MESSAGE + 72;
    let length = usize::try_from(u32::from_ne_bytes(at(answer, 0)?)).ok()?;
    let answer = answer.get(..length)?;
    let cookie = u64::from_ne_bytes(at(answer, COOKIE)?);
    let mut attributes = answer.get(ATTRIBUTES..)?;
    let mut cgroup = None;
    while attributes.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes(at(attributes, 0)?));
        if length < 4 {
            return None;
        }
        if u16::from_ne_bytes(at(attributes, 2)?) == CGROUP_ID {
            cgroup = Some(CgroupId(u64::from_ne_bytes(at(attributes, 4)?)));
        }
        attributes = attributes
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    let open = at(answer, STATE)? == [ESTABLISHED];
    Some(Seen {
        cookie,
        cgroup,
        open,
    })
}

/// The agent's end of a redirected connection, as its peer names it.
pub(super) fn agents_end(client: SocketAddr, port: u16) -> SocketAddr {
    match client.ip().to_canonical() {
        IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        IpAddr::V6(_) => SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_is_found_by_its_ends_and_by_nothing_else() {
        for host in ["127.0.0.1", "::1"] {
            let Ok(listener) = TcpListener::bind((host, 0)) else {
                continue; // no IPv6 here
            };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (local, remote) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
            let diag = Diag::here().unwrap();
            let seen = diag.find(local, remote).unwrap().unwrap();
            let cookie = rustix::net::sockopt::socket_cookie(&client).unwrap();
            assert_eq!((seen.cookie, seen.open), (cookie, true), "{host}");
            let mut other = local;
            other.set_port(local.port() ^ 1);
            let found = diag.find(other, remote).unwrap();
            assert!(found.is_none_or(|seen| seen.cookie != cookie));
            // Whose owner is done with it, though the other end holds on.
            let (held, _) = listener.accept().unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            let left = diag.find(local, remote).unwrap();
            assert!(left.is_none_or(|seen| !seen.open), "{host}");
            drop(held);
        }
    }

    #[test]
    fn a_mapped_address_is_asked_for_as_what_it_stands_for() {
        let local: SocketAddr = "[::ffff:127.0.0.1]:7".parse().unwrap();
        let bytes = request(BY_FAMILY, REQUEST, TCP, local, local, ANY);
        assert_eq!(bytes.len(), 72);
        assert_eq!(bytes[16], INET);
        assert_eq!(agents_end(local, 9).to_string(), "127.0.0.1:9");
    }

    #[test]
    fn a_cut_answer_is_not_read_beyond_its_end() {
        let mut answer = request(
            BY_FAMILY,
            0,
            TCP,
            ([1, 2, 3, 4], 5).into(),
            ([1, 2, 3, 4], 5).into(),
            7,
        );
        answer.resize(88, 0);
        answer[..4].copy_from_slice(&88_u32.to_ne_bytes());
        assert!(seen(&answer).is_some());
        for length in 0..88 {
            assert_eq!(seen(&answer[..length]), None, "{length}");
        }
        answer.extend([0, 0, 21, 0]);
        answer[..4].copy_from_slice(&92_u32.to_ne_bytes());
        assert_eq!(seen(&answer), None, "an attribute without a length");
    }
}
