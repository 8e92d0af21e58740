//! IO. Loads and attaches the kernel programs and owns their maps. The only `unsafe`, and so also the
//! place of what maps memory ([`SharedWords`]).
//!
//! [`Interceptor::start`] puts the programs on a cgroup2 directory. From then on a connect by a
//! *labelled* task (or with a labelled socket) that leads to a guarded port or a protected address
//! arrives at the agent's listener in the same network namespace instead, and
//! [`Interceptor::take`] tells once where it was going. Unlabelled tasks are never touched.
//!
//! Everything fails closed. The links and the maps they need are pinned when a pin directory is
//! given: with the agent gone the redirect stays and leads to a port where nobody listens. Only
//! [`Interceptor::uninstall`] takes it away.

mod assembled;
mod devices;
mod diag;
mod embedded;
mod error;
mod events;
mod foreign;
mod inherited;
mod intact;
mod interceptor;
mod layers;
mod listen;
mod netlink;
mod node;
mod object;
mod pins;
mod probe;
mod right;
mod settings;
mod shared;
mod start;
mod sys;
mod tables;
mod types;
mod undeclared;
mod unix;
mod wires;

pub use error::InterceptError;
pub use events::{Bypass, Dial, Event, RefusedBecause, Sighting};
pub use foreign::{Ended, Peer, SocketSeen};
pub use intact::Fault;
pub use interceptor::{Governs, Interceptor};
pub use layers::{Layer, LayerState};
pub use listen::{Closed, Listener};
pub use probe::{Finding, State, grounds, probe};
pub use right::Right;
pub use settings::{Allowed, NodeWide, NotAPrefix, OnUndeclared, Prefix, Settings};
pub use shared::SharedWords;
pub use start::{Estate, Loaded};
pub use tables::{Bypasses, Counters, Entries, OriginRecord};
pub use undeclared::{Database, Undeclared};
pub use unix::{NotAUnixPath, UnixPath};
pub use wires::{Owner, Unfiltered};

use serde::{Deserialize, Serialize};

/// Which workload a label stands for: its position in the configuration the agent runs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkloadIndex(pub u32);

/// The cgroup a directory of the cgroup2 hierarchy stands for.
///
/// # Errors
/// When the directory cannot be read, or is not on cgroup2.
pub fn cgroup_id(directory: &std::path::Path) -> Result<crate::model::CgroupId, InterceptError> {
    sys::cgroup_id(directory)
}

/// A descriptor for the runtime to wait for. It must be non-blocking.
///
/// # Errors
/// It cannot be waited for: it is a file, or is waited for already.
pub(crate) fn waited(
    socket: std::os::fd::OwnedFd,
) -> std::io::Result<tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>> {
    sys::waited(socket)
}

/// Sees to it that programs which this process starts from now on get of its descriptors only what they
/// are given: the standard three.
///
/// # Errors
/// The kernel is older than 5.11.
pub(crate) fn inherit_nothing() -> std::io::Result<()> {
    sys::inherit_nothing()
}

/// Where this host mounts cgroup2, also beside the first version's controllers.
///
/// # Errors
/// When the mount table cannot be read or has no cgroup2 in it.
pub fn cgroup_root() -> Result<std::path::PathBuf, InterceptError> {
    sys::cgroup_root()
}

/// Do two tasks have one table of descriptors? `None` where the kernel cannot tell.
pub fn same_files(one: u32, other: u32) -> Option<bool> {
    sys::same_files(one, other)
}

/// The cgroup this process runs in.
///
/// # Errors
/// When the process is in no cgroup2 hierarchy that is mounted here.
pub fn own_cgroup() -> Result<crate::model::CgroupId, InterceptError> {
    let table = "/proc/self/cgroup";
    let text = std::fs::read_to_string(table).map_err(InterceptError::call(
        "read",
        &table,
        "mount /proc",
    ))?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"));
    cgroup_id(&cgroup_root()?.join(path.ok_or(InterceptError::NoCgroup2)?))
}
