//! Listeners inside network namespaces. A redirect leads to loopback of the *caller's* namespace,
//! so the agent listens there, with sockets that it opened from inside and keeps.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::sync::watch;

use super::diag::Diag;
use super::inherited::Inherited;
use super::{InterceptError, sys};
use crate::model::NetnsCookie;

/// How many connections wait to be accepted. The kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4_096;

/// The agent's ears in one network namespace.
#[derive(Debug)]
pub struct Listener {
    /// Which namespace: half of the key under which origins are found.
    pub netns: NetnsCookie,
    /// On 127.0.0.1. Non-blocking, ready for `tokio::net::TcpListener::from_std`.
    pub v4: TcpListener,
    /// On `::1`; `None` where the namespace has no IPv6.
    pub v6: Option<TcpListener>,
    /// Says when to close both: an open listener keeps its namespace alive.
    pub closed: Closed,
}

/// Tells the holder of a [`Listener`] to drop it. Also told when the interceptor goes.
#[derive(Clone, Debug)]
pub struct Closed(watch::Receiver<()>);

impl Closed {
    /// Waits until the listener is to be closed.
    pub async fn wait(&mut self) {
        // Nothing is ever sent: the sender's end is the message.
        while self.0.changed().await.is_ok() {}
    }

    /// Is it to be closed already?
    pub fn is_closed(&self) -> bool {
        self.0.has_changed().is_err()
    }
}

/// Keeps a [`Listener`] open; dropping it tells the holder to close.
#[derive(Debug)]
pub(super) struct Open {
    _told: watch::Sender<()>,
    /// Asks about the peers of what is accepted there.
    pub(super) diag: Arc<Diag>,
}

/// Opens the listeners in the namespace behind `netns`, on a thread that enters it and ends; those
/// that were inherited are used again.
pub(super) fn open(
    netns: OwnedFd,
    port: u16,
    inherited: &Inherited,
) -> Result<(Listener, Open), InterceptError> {
    let inherited = inherited.clone();
    let work = move || -> Result<(Listener, Open), InterceptError> {
        use std::os::fd::AsFd;
        move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network)).map_err(
            |e| {
                InterceptError::call(
                    "setns",
                    &"network namespace",
                    "the agent needs CAP_SYS_ADMIN",
                )(e.into())
            },
        )?;
        let netns = cookie_here().map_err(InterceptError::call(
            "getsockopt(SO_NETNS_COOKIE)",
            &"network namespace",
            "Linux 5.15 or newer is needed",
        ))?;
        let had = inherited.take(netns);
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mend = "another program has the agent's port there: stop it, or change listen.port";
        let v4 = had.v4.map_or_else(|| listener(at), Ok);
        let v4 = v4.map_err(InterceptError::call("bind", &at, mend))?;
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        let v6 = match had.v6.map_or_else(|| listener(v6), Ok) {
            Ok(v6) => Some(v6),
            // No IPv6 in this kernel or namespace: then nobody there can connect by it either.
            Err(e)
                if matches!(
                    e.raw_os_error(),
                    Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::EACCES)
                ) =>
            {
                None
            }
            Err(e) => return Err(InterceptError::call("bind", &v6, mend)(e)),
        };
        let diag = Diag::here().map_err(InterceptError::call(
            "socket(NETLINK_SOCK_DIAG)",
            &"network namespace",
            "use a kernel with CONFIG_INET_DIAG: without it no peer can be verified",
        ))?;
        let (open, closed) = watch::channel(());
        Ok((
            Listener {
                netns,
                v4,
                v6,
                closed: Closed(closed),
            },
            Open {
                _told: open,
                diag: Arc::new(diag),
            },
        ))
    };
    // A thread of its own: the namespace is a property of the thread, and this one ends.
    std::thread::Builder::new()
        .name("netns-listen".into())
        .spawn(work)
        .map_err(InterceptError::call(
            "clone",
            &"netns-listen",
            "raise the limit of threads",
        ))?
        .join()
        .map_err(|_| InterceptError::Thread("opens listeners in a network namespace"))?
}

/// The cookie of the namespace that this thread is in.
fn cookie_here() -> io::Result<NetnsCookie> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    sys::netns_cookie(&socket)
}

fn listener(at: SocketAddr) -> io::Result<TcpListener> {
    let family = if at.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    // For connections of an earlier agent in TIME_WAIT. Two listeners still exclude each other;
    // SO_REUSEPORT, which would let another process in, stays off.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    match at.ip() {
        // The namespace's loopback may not be up yet; the address comes with it.
        IpAddr::V4(_) => sockopt::set_ip_freebind(&socket, true)?,
        IpAddr::V6(_) => {
            sockopt::set_ipv6_v6only(&socket, true)?;
            sockopt::set_ipv6_freebind(&socket, true)?;
        }
    }
    rustix::net::bind(&socket, &at)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}
