//! IO. Where was this connection really going? Asked once for each accepted connection, before a
//! byte of it is read.
//!
//! The entry is what the kernel programs wrote; the kernel's own table of sockets must confirm it,
//! so that an entry that went stale is nobody's.
//!
//! No entry, or one that does not fit, means that nobody was redirected to us by that tuple: the
//! connection is closed. There is no guess and no default, for a wrong origin is a wrong identity.

mod digest;

pub use digest::Digests;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::intercept::{Interceptor, OriginRecord, Peer, WorkloadIndex, cgroup_id};
use crate::model::{
    CgroupId, ClientAddr, Digest, NetnsCookie, NotTaken, OriginalDst, Pid, ProcessFacts,
};

/// What an accepted connection really is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// Where the workload was going.
    pub destination: OriginalDst,
    /// Whose connection it is, by position in the configuration.
    pub workload: WorkloadIndex,
    /// Which process dialled.
    pub process: ProcessFacts,
}

/// A connection's origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// What the connection is.
    pub flow: Flow,
    /// The cookie of the client's socket, never given twice; 0 in a world without kernel programs.
    pub socket: u64,
}

/// Why a connection has no origin. It is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoOrigin {
    /// Nobody was redirected by this tuple: it dialled the agent itself, or the entry was taken.
    #[error("no redirected connection from {client} in network namespace {netns}")]
    NoEntry {
        /// The namespace.
        netns: NetnsCookie,
        /// The peer.
        client: ClientAddr,
    },
    /// sock_diag does not confirm the entry: the peer is another socket, gone, or not where its
    /// workload is.
    #[error("the kernel's sockets do not confirm {client} in network namespace {netns}: {peer:?}")]
    Unconfirmed {
        /// The namespace.
        netns: NetnsCookie,
        /// The peer.
        client: ClientAddr,
        /// What was found.
        peer: Peer,
    },
    /// sock_diag could not be asked: nothing is taken on trust.
    #[error("the kernel could not be asked about {client} in network namespace {netns}: {why}")]
    Unasked {
        /// The namespace.
        netns: NetnsCookie,
        /// The peer.
        client: ClientAddr,
        /// Why.
        why: std::io::ErrorKind,
    },
    /// The destination is the agent: dialling on would come back here.
    #[error("{0} is the agent's own address")]
    OwnAddress(OriginalDst),
    /// The destination has no port or no address.
    #[error("{0} is no address that can be dialled")]
    NotAnAddress(OriginalDst),
}

/// Knows where connections were going.
#[derive(Clone, Debug)]
pub enum Origins {
    /// From the kernel programs.
    Kernel {
        /// Which ask.
        interceptor: Arc<Interceptor>,
        /// The cgroup2 mount, to see that a process is still where it was when it dialled.
        cgroup_root: PathBuf,
        /// What was seen to run.
        digests: Digests,
    },
    /// Every connection has this one: for a world without kernel programs.
    Fixed(Flow),
}

impl Origins {
    /// The origin of the connection from `client`, accepted in `netns`. Had once: a second call
    /// finds none.
    ///
    /// # Errors
    /// When there is none, or none that makes sense. The caller closes the connection unread.
    pub fn take(&self, netns: NetnsCookie, client: ClientAddr) -> Result<Origin, NoOrigin> {
        match self {
            Origins::Fixed(flow) => Ok(Origin {
                flow: flow.clone(),
                socket: 0,
            }),
            Origins::Kernel {
                interceptor,
                cgroup_root,
                digests,
            } => {
                let record = interceptor
                    .take(netns, client.0)
                    .ok_or(NoOrigin::NoEntry { netns, client })?;
                match interceptor.same_socket(netns, client.0, &record) {
                    Ok(Peer::Same) => {}
                    Ok(peer @ (Peer::Gone | Peer::Another | Peer::Elsewhere(_))) => {
                        return Err(NoOrigin::Unconfirmed {
                            netns,
                            client,
                            peer,
                        });
                    }
                    Err(error) => {
                        let why = error.kind();
                        return Err(NoOrigin::Unasked { netns, client, why });
                    }
                }
                let destination = destination(&record, interceptor.settings().listen_port)?;
                let running = running(cgroup_root, digests, record.pid, record.cgroup);
                let (executable, digest) = running.unzip();
                let flow = Flow {
                    destination,
                    workload: record.workload,
                    process: ProcessFacts {
                        pid: record.pid,
                        uid: record.uid,
                        comm: record.comm,
                        cgroup: record.cgroup,
                        netns,
                        executable,
                        digest: Some(digest.unwrap_or(Digest::NotTaken(NotTaken::Gone))),
                    },
                };
                Ok(Origin {
                    flow,
                    socket: record.socket,
                })
            }
        }
    }
}

fn destination(record: &OriginRecord, listen_port: u16) -> Result<OriginalDst, NoOrigin> {
    let address = SocketAddr::new(
        record.destination.ip().to_canonical(),
        record.destination.port(),
    );
    let destination = OriginalDst(address);
    if address.port() == listen_port && address.ip().is_loopback() {
        return Err(NoOrigin::OwnAddress(destination));
    }
    if address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() {
        return Err(NoOrigin::NotAnAddress(destination));
    }
    Ok(destination)
}

/// The executable of the process that dialled, in its own mount namespace, and the digest of its content.
/// Read first, then the cgroup is compared: were the pid another's by now, it would be in another
/// cgroup. `None` when the process is gone or moved; both are facts for the record, never an identity.
fn running(
    cgroup_root: &std::path::Path,
    digests: &Digests,
    pid: Pid,
    cgroup: CgroupId,
) -> Option<(String, Digest)> {
    let here = || {
        let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let path = table.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let now = cgroup_id(&cgroup_root.join(path)).ok()?;
        (now == cgroup).then_some(())
    };
    // Nothing is read for who is not there.
    here()?;
    let exe = format!("/proc/{pid}/exe");
    let executable = fs::read_link(&exe).ok()?;
    let digest = digests.of(pid, cgroup);
    // It may have become another program in between: then the two do not belong together.
    let same = fs::read_link(&exe).ok().as_ref() == Some(&executable);
    here()?;
    let digest = if same {
        digest
    } else {
        Digest::NotTaken(NotTaken::Changed)
    };
    Some((executable.to_string_lossy().into_owned(), digest))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn record(destination: &str) -> OriginRecord {
        OriginRecord {
            destination: destination.parse().unwrap(),
            socket: 1,
            cgroup: CgroupId(7),
            workload: WorkloadIndex(0),
            pid: Pid(1),
            uid: 0,
            comm: "psql".into(),
            time: Duration::ZERO,
        }
    }

    #[test]
    fn an_origin_that_cannot_be_dialled_is_none() {
        for (given, want) in [
            ("10.0.7.1:5432", Ok("10.0.7.1:5432")),
            ("[::ffff:10.0.7.1]:5432", Ok("10.0.7.1:5432")),
            ("[2001:db8::1]:5432", Ok("[2001:db8::1]:5432")),
            ("127.0.0.1:5432", Ok("127.0.0.1:5432")),
            ("10.0.7.1:15001", Ok("10.0.7.1:15001")),
            (
                "127.0.0.1:15001",
                Err("127.0.0.1:15001 is the agent's own address"),
            ),
            (
                "127.8.8.8:15001",
                Err("127.8.8.8:15001 is the agent's own address"),
            ),
            ("[::1]:15001", Err("[::1]:15001 is the agent's own address")),
            (
                "[::ffff:127.0.0.1]:15001",
                Err("127.0.0.1:15001 is the agent's own address"),
            ),
            (
                "10.0.7.1:0",
                Err("10.0.7.1:0 is no address that can be dialled"),
            ),
            (
                "0.0.0.0:5432",
                Err("0.0.0.0:5432 is no address that can be dialled"),
            ),
        ] {
            let got = destination(&record(given), 15001);
            let got = got.map(|d| d.to_string()).map_err(|e| e.to_string());
            assert_eq!(
                got,
                want.map(str::to_owned).map_err(str::to_owned),
                "{given}"
            );
        }
    }
}
