//! Listening sockets that an agent before this one gave: connections that wait in them are lost to
//! nobody.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use rustix::net::sockopt;

use super::sys;
use super::tables::locked;
use crate::model::NetnsCookie;

/// Those of one namespace.
#[derive(Debug, Default)]
pub(super) struct Pair {
    pub(super) v4: Option<TcpListener>,
    pub(super) v6: Option<TcpListener>,
}

/// Those that nobody asked for yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Inherited(Arc<Mutex<HashMap<NetnsCookie, Pair>>>);

impl Inherited {
    /// What each is, the kernel says. One that does not listen on loopback at this port is closed.
    pub(super) fn sorted(sockets: Vec<OwnedFd>, port: u16) -> Self {
        let mut pairs: HashMap<NetnsCookie, Pair> = HashMap::new();
        for socket in sockets {
            if !sockopt::socket_acceptconn(&socket).unwrap_or(false) {
                continue;
            }
            let Ok(netns) = sys::netns_cookie(&socket) else {
                continue;
            };
            let listener = TcpListener::from(socket);
            let pair = pairs.entry(netns).or_default();
            match listener.local_addr() {
                Ok(at) if at == SocketAddr::from((Ipv4Addr::LOCALHOST, port)) => {
                    pair.v4 = Some(listener);
                }
                Ok(at) if at == SocketAddr::from((Ipv6Addr::LOCALHOST, port)) => {
                    pair.v6 = Some(listener);
                }
                Ok(_) | Err(_) => {}
            }
        }
        Inherited(Arc::new(Mutex::new(pairs)))
    }

    /// Where there are any.
    pub(super) fn namespaces(&self) -> Vec<NetnsCookie> {
        locked(&self.0).keys().copied().collect()
    }

    /// Those of a namespace, once.
    pub(super) fn take(&self, netns: NetnsCookie) -> Pair {
        locked(&self.0).remove(&netns).unwrap_or_default()
    }

    /// Closes all that are left, and says where they were.
    pub(super) fn close(&self) -> Vec<NetnsCookie> {
        locked(&self.0).drain().map(|(netns, _)| netns).collect()
    }
}
