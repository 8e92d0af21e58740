//! Pure. Why a workload is less than governed: a closed list, each with what to do about it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// How much a reason takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// Nothing: the redirect covers it. It is said because an operator may want it shut.
    Said,
    /// There is a way round the agent, or may be.
    Partly,
}

/// One thing that a labelled process has or may do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case", tag = "why")]
pub enum Reason {
    /// A TCP or UDP socket from before the label, not connected.
    UnconnectedSocket {
        /// The descriptor.
        fd: u32,
    },
    /// A socket from before the label that no hook sees.
    UngovernedSocket {
        /// The descriptor.
        fd: u32,
        /// Which kind.
        kind: &'static str,
    },
    /// An io_uring instance from before the label: its requests may run as whoever made it.
    Ring {
        /// The descriptor.
        fd: u32,
    },
    /// A connection past the agent that could not be ended.
    NotEnded {
        /// The descriptor.
        fd: u32,
        /// Whereto.
        destination: SocketAddr,
    },
    /// Descriptors that could not be looked at.
    Unseen,
    /// It is in the host's own network, where no wire ends.
    HostNetwork,
    /// A device of its network that has no filter on its other end.
    NoWire {
        /// Its name in there.
        device: String,
        /// Why not.
        because: String,
    },
    /// `CAP_NET_RAW` in the host's network namespace, or where a device is not filtered.
    RawPackets,
    /// `CAP_NET_ADMIN`.
    NetAdmin,
    /// `CAP_BPF`.
    Bpf,
    /// `CAP_PERFMON`.
    Perfmon,
    /// `CAP_SYS_ADMIN`.
    SysAdmin,
    /// `CAP_SYS_PTRACE` in the host's process namespace.
    Ptrace,
    /// `CAP_SYS_MODULE`.
    Modules,
    /// `CAP_SYS_RAWIO`.
    RawIo,
    /// It may write to cgroupfs.
    WritableCgroups,
    /// It sees a BPF file system.
    PinnedPrograms,
    /// It sees a container runtime's socket.
    RuntimeSocket,
    /// It sees the host's devices.
    Devices,
    /// It runs as root in the host's file systems.
    HostRoot,
    /// It runs another kernel.
    VirtualMachine,
    /// It may end the agent's processes.
    Signals,
    /// It may use io_uring.
    IoUring,
    /// It may make AF_VSOCK sockets.
    Vsock,
    /// It can put another socket at a name that `guard.unix_allow` opens, or that is not known.
    UnixNames {
        /// Which.
        name: String,
        /// How.
        because: String,
    },
}

impl Reason {
    /// How much it takes away.
    pub fn weight(&self) -> Weight {
        match self {
            // The hooks on sockets cover both; what passes below those needs a privilege, which is
            // a reason of its own.
            // Without the agent's processes everything is refused.
            Reason::HostNetwork
            | Reason::NoWire { .. }
            | Reason::Signals
            | Reason::IoUring
            | Reason::Vsock => Weight::Said,
            Reason::UnconnectedSocket { .. }
            | Reason::UngovernedSocket { .. }
            | Reason::Ring { .. }
            | Reason::NotEnded { .. }
            | Reason::Unseen
            | Reason::RawPackets
            | Reason::NetAdmin
            | Reason::Bpf
            | Reason::Perfmon
            | Reason::SysAdmin
            | Reason::Ptrace
            | Reason::Modules
            | Reason::RawIo
            | Reason::WritableCgroups
            | Reason::PinnedPrograms
            | Reason::RuntimeSocket
            | Reason::Devices
            | Reason::HostRoot
            | Reason::VirtualMachine
            | Reason::UnixNames { .. } => Weight::Partly,
        }
    }

    /// One sentence: what it is and why it matters.
    pub fn sentence(&self) -> String {
        match self {
            Reason::UnconnectedSocket { fd } => format!(
                "descriptor {fd} is a socket from before the label: handed to another process it dials past the agent"
            ),
            Reason::UngovernedSocket { fd, kind } => format!(
                "descriptor {fd} is {kind} from before the label, which passes below every hook"
            ),
            Reason::Ring { fd } => format!(
                "descriptor {fd} is an io_uring from before the label, whose requests may count as its maker's"
            ),
            Reason::NotEnded { fd, destination } => format!(
                "descriptor {fd} is connected to {destination} past the agent and could not be ended"
            ),
            Reason::Unseen => "not all of its descriptors could be looked at".to_owned(),
            Reason::HostNetwork => {
                "not governed at packet level: the host's own network has no wire to filter at"
                    .to_owned()
            }
            Reason::NoWire { device, because } => {
                format!("not governed at packet level: {device}: {because}")
            }
            Reason::RawPackets => {
                "CAP_NET_RAW where no wire is filtered: packets made by hand pass below the hooks"
                    .to_owned()
            }
            Reason::NetAdmin => "CAP_NET_ADMIN: it can rewrite addresses on its way out".to_owned(),
            Reason::Bpf => "CAP_BPF: it can load kernel programs of its own".to_owned(),
            Reason::Perfmon => "CAP_PERFMON: with kernel programs it can read memory".to_owned(),
            Reason::SysAdmin => "CAP_SYS_ADMIN: it can detach the kernel programs".to_owned(),
            Reason::Ptrace => {
                "CAP_SYS_PTRACE over the host's processes: it can act as any of them".to_owned()
            }
            Reason::Modules => "CAP_SYS_MODULE: it can change the kernel".to_owned(),
            Reason::RawIo => "CAP_SYS_RAWIO: it can write to devices and memory".to_owned(),
            Reason::WritableCgroups => {
                "it may write to cgroupfs, and so move out of its label".to_owned()
            }
            Reason::PinnedPrograms => {
                "root that sees a BPF file system: whoever opens a pin can detach it".to_owned()
            }
            Reason::RuntimeSocket => {
                "it sees a container runtime's socket, which starts anything anywhere".to_owned()
            }
            Reason::Devices => "root that sees the host's devices".to_owned(),
            Reason::HostRoot => {
                "root in the host's own file systems: it can start what it likes outside".to_owned()
            }
            Reason::VirtualMachine => {
                "it runs a kernel of its own, whose sockets this kernel never sees".to_owned()
            }
            Reason::Signals => {
                "it sees the host's processes, as root or with CAP_KILL or CAP_SETUID: it can end the agent, \
                 and is refused then".to_owned()
            }
            Reason::IoUring => {
                "io_uring is open to it; connects by it are redirected like any other".to_owned()
            }
            Reason::Vsock => "AF_VSOCK is open to it: a hypervisor's host could relay".to_owned(),
            Reason::UnixNames { name, because } => {
                format!("{name} may lead to any unix socket it sees: {because}")
            }
        }
    }

    /// What to do about it.
    pub fn mend(&self) -> &'static str {
        match self {
            Reason::UnconnectedSocket { .. }
            | Reason::UngovernedSocket { .. }
            | Reason::Ring { .. }
            | Reason::NotEnded { .. } => "restart the process, so that it starts inside its cgroup",
            Reason::Unseen => "give the agent CAP_SYS_PTRACE, or restart the process",
            Reason::HostNetwork => {
                "keep NET_RAW from it, or give it a network namespace of its own"
            }
            Reason::NoWire { .. } => {
                "keep NET_RAW from it, or connect it by a veth pair that ends on the host"
            }
            Reason::RawPackets => "drop NET_RAW, or give it a network namespace of its own",
            Reason::NetAdmin => "drop NET_ADMIN",
            Reason::Bpf => "drop BPF",
            Reason::Perfmon => "drop PERFMON",
            Reason::SysAdmin => "drop SYS_ADMIN; no privileged containers",
            Reason::Ptrace => "drop SYS_PTRACE, or give it a process namespace of its own",
            Reason::Modules => "drop SYS_MODULE",
            Reason::RawIo => "drop SYS_RAWIO",
            Reason::WritableCgroups => {
                "mount cgroupfs read-only, or run it as a user who does not own it"
            }
            Reason::PinnedPrograms => "mount no BPF file system into it",
            Reason::RuntimeSocket => "mount no runtime socket into it",
            Reason::Devices => "mount no devtmpfs into it",
            Reason::HostRoot => "run it as another user, or in a container",
            Reason::VirtualMachine => {
                "use a runtime class that shares this kernel, or filter at the host's end of its wire"
            }
            Reason::Signals => "give it a process namespace of its own",
            Reason::IoUring => "sysctl -w kernel.io_uring_disabled=2, or deny it by seccomp",
            Reason::Vsock => "deny AF_VSOCK by seccomp",
            Reason::UnixNames { .. } => {
                "let guard.unix_allow name sockets in directories it cannot write to, drop SYS_CHROOT and \
                 SYS_ADMIN, deny user namespaces by seccomp; or mount no database's socket where it sees it"
            }
        }
    }
}

/// A reason, and the processes it holds for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// What.
    #[serde(flatten)]
    pub reason: Reason,
    /// Of how many processes.
    pub processes: usize,
    /// One of them.
    pub pid: crate::model::Pid,
    /// Its name.
    pub program: String,
}

impl Found {
    /// For a reader: who, what, and what to do.
    pub fn text(&self) -> String {
        let others = match self.processes.saturating_sub(1) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!(
            "process {} ({}){others}: {}: {}",
            self.pid,
            self.program,
            self.reason.sentence(),
            self.reason.mend()
        )
    }
}

/// How well a workload is governed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Every way to a database leads to the agent.
    Governed,
    /// There are ways round it, or may be.
    Partly,
    /// It is not: the label could not be put, or the redirect does not work.
    Not,
}

impl Standing {
    /// As `status` and the metric spell it.
    pub const fn word(self) -> &'static str {
        match self {
            Standing::Governed => "governed",
            Standing::Partly => "partly governed",
            Standing::Not => "not governed",
        }
    }

    /// All of them.
    pub const ALL: [Standing; 3] = [Standing::Governed, Standing::Partly, Standing::Not];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_says_who_what_and_the_mend() {
        let found = Found {
            reason: Reason::RawPackets,
            processes: 3,
            pid: crate::model::Pid(7),
            program: "claude".to_owned(),
        };
        assert_eq!(
            found.text(),
            "process 7 (claude) and 2 more: CAP_NET_RAW where no wire is filtered: packets made by \
             hand pass below the hooks: drop NET_RAW, or give it a network namespace of its own"
        );
        let said = serde_json::to_value(&found).unwrap();
        assert_eq!(said["why"], "raw_packets");
    }
}
