//! Sockets in the hands of labelled processes that were made before the label, or by somebody
//! else: what they are, whether they lead round the agent, and how they are ended.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use node_agent_common::flow::{SOCKET_IDLE, SocketState};
use rustix::net::{AddressFamily, Shutdown, SocketType, sockopt};

use super::diag::{self, Diag};
use super::interceptor::Interceptor;
use super::sys;
use crate::model::CgroupId;

/// What a socket in a labelled process is to the redirect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketSeen {
    /// Made by a labelled task, or redirected: every way out of it runs a hook.
    Governed,
    /// Connected past the agent to a guarded place.
    Past(SocketAddr),
    /// Connected to a place that is not allowed, where only databases and what is allowed are.
    Forbidden(SocketAddr),
    /// Connected elsewhere, or listening: it leads to nothing that is guarded.
    Elsewhere,
    /// Made before the label, and not connected.
    Unconnected,
    /// Of a kind that no hook sees, made before the label.
    Ungoverned(&'static str),
    /// Unix sockets, netlink and the like: no way to an address.
    Harmless,
}

/// How a socket that led past the agent was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// `SOCK_DESTROY`.
    Destroyed,
    /// By its own descriptor: this kernel has no `SOCK_DESTROY`.
    ShutDown,
}

impl Interceptor {
    /// Does a connection to there go to the agent?
    ///
    /// # Errors
    /// The maps cannot be read; the caller then takes it for guarded.
    pub fn guards(&self, destination: SocketAddr) -> io::Result<bool> {
        self.tables.guards(destination)
    }

    /// What a descriptor of a labelled process is.
    ///
    /// # Errors
    /// It is no socket, or nothing can be learnt of it.
    pub fn look_at(&self, socket: BorrowedFd<'_>) -> io::Result<SocketSeen> {
        // The peer first: were it connected in between, what is kept beside it says how, for the
        // hook writes that down before there is a connection.
        let family = sockopt::socket_domain(socket)?;
        let connected = match family {
            AddressFamily::INET | AddressFamily::INET6 => peer(socket)?,
            _ => None,
        };
        let kept = self.kept(socket)?;
        // A redirected one names the database as its peer; that is why this is asked first.
        if kept.is_some_and(|state| state.stage != SOCKET_IDLE) {
            return Ok(SocketSeen::Governed);
        }
        let ours = kept.is_some_and(|state| state.label != node_agent_common::rule::NOBODY);
        if family != AddressFamily::INET && family != AddressFamily::INET6 {
            return Ok(match family {
                _ if ours => SocketSeen::Governed,
                AddressFamily::PACKET => SocketSeen::Ungoverned("AF_PACKET"),
                AddressFamily::VSOCK => SocketSeen::Ungoverned("AF_VSOCK"),
                AddressFamily::XDP => SocketSeen::Ungoverned("AF_XDP"),
                _ => SocketSeen::Harmless,
            });
        }
        let kind = sockopt::socket_type(socket)?;
        if kind != SocketType::STREAM && kind != SocketType::DGRAM {
            return Ok(if ours {
                SocketSeen::Governed
            } else {
                SocketSeen::Ungoverned("a raw IP socket")
            });
        }
        if sockopt::socket_acceptconn(socket)? {
            return Ok(SocketSeen::Elsewhere);
        }
        match connected {
            // Also one of the label's own: connected, and yet not redirected. What it leads to
            // became guarded later.
            Some(peer) if self.guards(peer)? => Ok(SocketSeen::Past(peer)),
            Some(peer) if self.forbids(socket, kind, peer)? => Ok(SocketSeen::Forbidden(peer)),
            Some(_) => Ok(SocketSeen::Elsewhere),
            None if ours => Ok(SocketSeen::Governed),
            None => Ok(SocketSeen::Unconnected),
        }
    }

    /// Would a connect to there be refused, because only databases and what is allowed are open? A
    /// connection that came in from there was not dialled: its port here is one that is listened on.
    fn forbids(
        &self,
        socket: BorrowedFd<'_>,
        kind: SocketType,
        peer: SocketAddr,
    ) -> io::Result<bool> {
        if self.settings().allowed.is_none() || self.tables.allows(peer)? {
            return Ok(false);
        }
        Ok(kind != SocketType::STREAM || !came_in(socket)?)
    }

    fn kept(&self, socket: BorrowedFd<'_>) -> io::Result<Option<SocketState>> {
        let map = self
            .sockets
            .as_ref()
            .ok_or_else(|| io::Error::other("what is kept beside sockets cannot be read"))?;
        sys::look_up(map.as_fd(), &socket_key(socket))
    }

    /// Ends a socket that `look_at` called `Past` or `Forbidden`.
    ///
    /// # Errors
    /// It is still connected: neither way could end it.
    pub fn end(&self, socket: BorrowedFd<'_>) -> io::Result<Ended> {
        let Some(remote) = peer(socket)? else {
            return Ok(Ended::Destroyed); // gone by itself
        };
        let destroyed = destroy(socket, remote);
        let redirected = |state: SocketState| state.stage != SOCKET_IDLE;
        if peer(socket)?.is_none() || self.kept(socket)?.is_some_and(redirected) {
            return Ok(Ended::Destroyed); // and dialled again by now, as it should be
        }
        // A stream ends both ways; a datagram socket forgets its peer, and whereto it sends next
        // is asked by the hook.
        let by_hand = match sockopt::socket_type(socket)? {
            SocketType::STREAM => rustix::net::shutdown(socket, Shutdown::Both),
            _ => rustix::net::connect_unspec(socket),
        };
        match (destroyed, by_hand) {
            (_, Ok(()) | Err(rustix::io::Errno::NOTCONN)) => Ok(Ended::ShutDown),
            (Err(error), Err(_)) => Err(error),
            (Ok(()), Err(error)) => Err(error.into()),
        }
    }

    /// Is the peer of a connection that was just accepted the socket that the origin's entry
    /// names, made where the entry's workload is? The cookie of a socket is never given twice, so
    /// a stale entry, or one for another's tuple, does not fit.
    ///
    /// # Errors
    /// Nothing can be asked in that namespace: no answer is no proof.
    pub fn same_socket(
        &self,
        netns: crate::model::NetnsCookie,
        client: SocketAddr,
        origin: &super::OriginRecord,
    ) -> io::Result<Peer> {
        let diag = self
            .diag(netns)
            .ok_or_else(|| io::Error::other("sock_diag is not open in this namespace"))?;
        let here = diag::agents_end(client, self.settings().listen_port);
        let Some(seen) = diag.find(client, here)? else {
            return Ok(Peer::Gone);
        };
        if seen.cookie != origin.socket {
            return Ok(Peer::Another);
        }
        match seen.cgroup {
            None => Ok(Peer::Same), // before Linux 5.8: the cookie is the proof
            Some(cgroup) if cgroup == origin.cgroup => Ok(Peer::Same),
            // Made in one cgroup and dialled from another: one of the two has the label.
            Some(cgroup) => {
                let fits = [cgroup, origin.cgroup]
                    .into_iter()
                    .any(|at| self.workload_of(at) == Some(origin.workload));
                Ok(if fits {
                    Peer::Same
                } else {
                    Peer::Elsewhere(cgroup)
                })
            }
        }
    }

    /// Is the client's end of a redirected connection, which is the socket with this cookie, still
    /// open? Whoever holds the agent's end may hold it for as long as it likes.
    ///
    /// # Errors
    /// Nothing can be asked in that namespace: no answer is no proof.
    pub fn is_open(
        &self,
        netns: crate::model::NetnsCookie,
        client: SocketAddr,
        socket: u64,
    ) -> io::Result<bool> {
        let diag = self
            .diag(netns)
            .ok_or_else(|| io::Error::other("sock_diag is not open in this namespace"))?;
        let here = diag::agents_end(client, self.settings().listen_port);
        let seen = diag.find(client, here)?;
        Ok(seen.is_some_and(|seen| seen.cookie == socket && seen.open))
    }

    /// The workload whose label counts in a cgroup: the outermost one. Walks the directories: for
    /// rare questions.
    fn workload_of(&self, cgroup: CgroupId) -> Option<super::WorkloadIndex> {
        let directory = sys::open_cgroup(&self.mount, cgroup).ok()?;
        let path = sys::path_of(directory.as_fd()).ok()?;
        let ids = path.ancestors().map_while(|at| sys::cgroup_id(at).ok());
        ids.filter_map(|id| self.tables.label_at(id)).last()
    }
}

/// What sock_diag says of the peer of an accepted connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The one the entry names.
    Same,
    /// There is none any more.
    Gone,
    /// Another socket has these ends.
    Another,
    /// The right one, but neither it nor who dialled is where the entry's workload is.
    Elsewhere(CgroupId),
}

fn socket_key(socket: BorrowedFd<'_>) -> i32 {
    use std::os::fd::AsRawFd;
    socket.as_raw_fd()
}

/// The other end; `None` when there is none.
fn peer(socket: BorrowedFd<'_>) -> io::Result<Option<SocketAddr>> {
    match rustix::net::getpeername(socket) {
        Ok(Some(address)) => Ok(SocketAddr::try_from(address).ok().map(canonical)),
        Ok(None) | Err(rustix::io::Errno::NOTCONN | rustix::io::Errno::INVAL) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Is the port of this end listened on in the socket's namespace?
fn came_in(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let local = local(socket)?;
    let any = match local.ip() {
        IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        IpAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let netns = sys::socket_netns(socket)?;
    let listening = Diag::inside(netns.as_fd())?.find(local, any)?;
    Ok(listening.is_some())
}

/// This end.
fn local(socket: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let local = rustix::net::getsockname(socket)?;
    SocketAddr::try_from(local)
        .map(canonical)
        .map_err(io::Error::other)
}

fn destroy(socket: BorrowedFd<'_>, remote: SocketAddr) -> io::Result<()> {
    let cookie = sockopt::socket_cookie(socket)?;
    let local = local(socket)?;
    let protocol = match sockopt::socket_type(socket)? {
        SocketType::STREAM => diag::TCP,
        _ => diag::UDP,
    };
    // The socket's own namespace, which need not be its holder's.
    let netns = sys::socket_netns(socket)?;
    Diag::inside(netns.as_fd())?.destroy(protocol, local, remote, cookie)
}
