//! What can go wrong, each with the system call and the mend.

use std::io;
use std::path::PathBuf;

use aya::maps::MapError;

use super::Prefix;
use crate::model::CgroupId;

/// Why interception could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum InterceptError {
    /// The binary has no kernel programs in it.
    #[error("this build has no kernel programs in it: build with the feature `kernel`")]
    NotBuilt,
    /// A system call failed.
    #[error("{call} on {object}: {source}; {mend}")]
    Call {
        /// The system call.
        call: &'static str,
        /// What it was about.
        object: String,
        /// What to do.
        mend: &'static str,
        /// The kernel's word.
        source: io::Error,
    },
    /// The kernel refused the object or one of its programs.
    #[error("bpf(BPF_PROG_LOAD) of {program}: {error}; {mend}")]
    Program {
        /// Which one.
        program: String,
        /// The kernel's word, with the verifier's when it gave one.
        error: String,
        /// What to do.
        mend: &'static str,
    },
    /// A map operation failed.
    #[error("map {map}: {source}")]
    Map {
        /// Which one.
        map: &'static str,
        /// aya's word, which names the system call.
        source: Box<MapError>,
    },
    /// A table has no room for one entry more.
    #[error("map {map} is full ({room} entries): fewer cgroups, ports or prefixes are needed")]
    Full {
        /// Which one.
        map: &'static str,
        /// How many it holds.
        room: u32,
    },
    /// The directory is not on a cgroup2 mount.
    #[error("{} is not on cgroup2: mount it (`mount -t cgroup2 none DIR`) and name it", .0.display())]
    NotCgroup2(PathBuf),
    /// There is no cgroup2 mount at all.
    #[error(
        "no cgroup2 is mounted: `mount -t cgroup2 none /sys/fs/cgroup/unified` or boot with systemd.unified_cgroup_hierarchy=1"
    )]
    NoCgroup2,
    /// The pin directory belongs to something else.
    #[error("{} holds {found}, which this version did not pin: run uninstall with the version that did, or choose another directory", .path.display())]
    OtherPins {
        /// The directory.
        path: PathBuf,
        /// What was found there.
        found: String,
    },
    /// What would be mounted ends with the agent.
    #[error("{dir} is not on a bpffs, and one that is mounted here ends with this mount namespace: the redirect would end with the agent. Mount one outside, where the agent sees it: mount -t bpf -o nosuid,nodev,noexec,mode=0700 bpf {dir}", dir = .0.display())]
    OwnMounts(PathBuf),
    /// Another agent governs by these pins.
    #[error("another agent governs by what is pinned in {}: stop it first (systemctl stop node-agent), take over from it (node-agent run --take-over), or give this one a state_dir of its own", .0.display())]
    Owned(PathBuf),
    /// This agent stops, and the pins are the next one's.
    #[error(
        "this agent is stopping and changes nothing any more: ask again when the next one runs"
    )]
    LetGo,
    /// The whole hierarchy, or nothing, was to be labelled.
    #[error("the root of the hierarchy cannot be labelled: label the cgroups below it")]
    Root,
    /// The agent's own cgroup was to be labelled: its processes are exempt, so nothing in it would
    /// be governed.
    #[error(
        "cgroup {0} is the agent's own and cannot be labelled: run the agent in a cgroup of its own"
    )]
    AgentsOwn(CgroupId),
    /// A label's number cannot be kept.
    #[error("workload number {0} is too large")]
    Workload(u32),
    /// A prefix is longer than its address.
    #[error("{0} is not a prefix: the length is larger than the address")]
    Prefix(Prefix),
    /// A thread of the agent ended before it answered.
    #[error("the thread that {0} ended without an answer")]
    Thread(&'static str),
    /// The interceptor was uninstalled.
    #[error("the kernel programs were uninstalled")]
    Uninstalled,
}

impl InterceptError {
    /// Has somebody else the port?
    pub fn is_taken(&self) -> bool {
        matches!(self, InterceptError::Call { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
    }

    pub(super) fn call(
        call: &'static str,
        object: &dyn ToString,
        mend: &'static str,
    ) -> impl FnOnce(io::Error) -> Self + use<> {
        let object = object.to_string();
        move |source| InterceptError::Call {
            call,
            object,
            mend,
            source,
        }
    }

    pub(super) fn map(map: &'static str) -> impl Fn(MapError) -> Self {
        move |source| InterceptError::Map {
            map,
            source: Box::new(source),
        }
    }
}
