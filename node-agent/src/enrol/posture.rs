//! IO. What a labelled process may do that leads round the agent.

use std::collections::HashMap;
use std::fs;

use super::process::{self, Capabilities};
use super::reason::Reason;
use crate::model::Pid;

/// Capabilities that open a way whatever else holds.
const ALWAYS: [(u32, Reason); 6] = [
    (12, Reason::NetAdmin),
    (16, Reason::Modules),
    (17, Reason::RawIo),
    (21, Reason::SysAdmin),
    (38, Reason::Perfmon),
    (39, Reason::Bpf),
];
pub(super) const NET_RAW: u32 = 13;
const SYS_PTRACE: u32 = 19;
/// What lets a process send signals to any other, at once or by becoming its user.
const SIGNALS: [u32; 2] = [5, 7];
const DAC_OVERRIDE: u32 = 1;

/// Sockets by which a container runtime takes orders.
const RUNTIMES: [&str; 5] = [
    "docker.sock",
    "containerd.sock",
    "crio.sock",
    "podman.sock",
    "cri-dockerd.sock",
];

/// Programs that are another kernel to what runs in them.
const MACHINES: [&str; 7] = [
    "qemu-",
    "cloud-hypervisor",
    "firecracker",
    "runsc",
    "kata-",
    "crosvm",
    "virtiofsd",
];

/// What a mount namespace shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mounts {
    writable_cgroups: bool,
    bpf: bool,
    runtime: bool,
    devices: bool,
}

/// What is the same for all processes of this host, and mount tables read a moment ago.
#[derive(Debug)]
pub(super) struct Host {
    net: Option<u64>,
    pid: Option<u64>,
    user: Option<u64>,
    mnt: Option<u64>,
    io_uring: IoUring,
    mounts: HashMap<u64, Mounts>,
}

/// `kernel.io_uring_disabled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IoUring {
    Open,
    Privileged,
    Off,
}

impl Host {
    /// Of this moment; good for as long as mounts may be taken to stay.
    pub(super) fn look() -> Self {
        let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
        Host {
            net: process::own_namespace("net"),
            pid: process::own_namespace("pid"),
            user: process::own_namespace("user"),
            mnt: process::own_namespace("mnt"),
            io_uring: match disabled.as_deref().map(str::trim) {
                Ok("2") => IoUring::Off,
                Ok("1") => IoUring::Privileged,
                Ok(_) | Err(_) => IoUring::Open,
            },
            mounts: HashMap::new(),
        }
    }

    /// What this process may do; empty when it is gone.
    pub(super) fn posture(&mut self, pid: Pid) -> Vec<Reason> {
        let Some(may) = process::credentials(pid) else {
            return Vec::new();
        };
        let mut reasons = Vec::new();
        let has = may.permitted;
        let same = |own: Option<u64>, which| own.is_some() && process::namespace(pid, which) == own;
        // In a user namespace of its own a capability is one over that namespace's things only;
        // rewriting its own packets is among them.
        let ours = same(self.user, "user");
        for (number, reason) in ALWAYS {
            if has.has(number) && (ours || reason == Reason::NetAdmin) {
                reasons.push(reason);
            }
        }
        if has.has(NET_RAW) && same(self.net, "net") {
            reasons.push(Reason::RawPackets);
        }
        let processes = ours && same(self.pid, "pid");
        if has.has(SYS_PTRACE) && processes {
            reasons.push(Reason::Ptrace);
        }
        // Root without a capability, too: as the owner of a descriptor it has any signal sent.
        if processes && (may.fsuid == 0 || SIGNALS.iter().any(|one| has.has(*one))) {
            reasons.push(Reason::Signals);
        }
        let root = ours && (may.fsuid == 0 || has.has(DAC_OVERRIDE));
        let mnt = process::namespace(pid, "mnt");
        let mounts = match mnt {
            Some(mnt) => *self.mounts.entry(mnt).or_insert_with(|| mounts(pid)),
            None => Mounts::default(),
        };
        for (there, reason) in [
            (root && mounts.writable_cgroups, Reason::WritableCgroups),
            (root && mounts.bpf, Reason::PinnedPrograms),
            (root && mounts.devices && mnt != self.mnt, Reason::Devices),
            (mounts.runtime, Reason::RuntimeSocket),
            (root && mnt.is_some() && mnt == self.mnt, Reason::HostRoot),
            (is_machine(pid), Reason::VirtualMachine),
            (self.rings(has) && !may.filtered, Reason::IoUring),
            (!may.filtered, Reason::Vsock),
        ] {
            if there {
                reasons.push(reason);
            }
        }
        reasons
    }

    fn rings(&self, has: Capabilities) -> bool {
        match self.io_uring {
            IoUring::Open => true,
            IoUring::Privileged => has.has(21),
            IoUring::Off => false,
        }
    }
}

fn is_machine(pid: Pid) -> bool {
    let Ok(executable) = fs::read_link(format!("/proc/{pid}/exe")) else {
        return false;
    };
    let name = executable.file_name().unwrap_or_default().to_string_lossy();
    MACHINES.iter().any(|machine| name.starts_with(machine))
}

fn mounts(pid: Pid) -> Mounts {
    match fs::read_to_string(format!("/proc/{pid}/mountinfo")) {
        Ok(table) => read_mounts(&table),
        // Gone, or hidden: what cannot be seen may all be there.
        Err(_) => Mounts {
            writable_cgroups: true,
            bpf: true,
            runtime: true,
            devices: true,
        },
    }
}

/// proc(5): `id parent major:minor root mountpoint options … - type source superoptions`.
fn read_mounts(table: &str) -> Mounts {
    let mut seen = Mounts::default();
    for line in table.lines() {
        let Some((before, after)) = line.split_once(" - ") else {
            continue;
        };
        let mut fields = before.split(' ').skip(3);
        let (root, at) = (
            fields.next().unwrap_or_default(),
            fields.next().unwrap_or_default(),
        );
        let writable = fields
            .next()
            .is_some_and(|options| options.split(',').any(|o| o == "rw"));
        match after.split(' ').next() {
            Some("cgroup2") => seen.writable_cgroups |= writable,
            Some("bpf") => seen.bpf = true,
            Some("devtmpfs") => seen.devices = true,
            _ => {}
        }
        seen.runtime |= RUNTIMES
            .iter()
            .any(|socket| root.ends_with(socket) || at.ends_with(socket));
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_s_mounts_are_told_from_a_privileged_one_s() {
        let container = "\
1 0 0:1 / / rw,relatime master:1 - overlay overlay rw
2 1 0:2 / /proc rw,nosuid - proc proc rw
3 1 0:3 / /dev rw,nosuid - tmpfs tmpfs rw
4 1 0:4 /pods/x /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw";
        assert_eq!(read_mounts(container), Mounts::default());
        let privileged = format!(
            "{}\n5 1 0:5 / /sys/fs/bpf rw - bpf bpf rw\n6 1 0:6 / /dev rw - devtmpfs udev rw\n\
             7 1 0:7 /docker.sock /var/run/docker.sock rw - tmpfs tmpfs rw",
            container.replace("ro,nosuid - cgroup2", "rw,nosuid - cgroup2")
        );
        assert_eq!(
            read_mounts(&privileged),
            Mounts {
                writable_cgroups: true,
                bpf: true,
                runtime: true,
                devices: true,
            }
        );
    }
}
