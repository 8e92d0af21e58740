//! What this kernel and host can do, found by trying, never by reading a version number.

use std::fs;
use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::devices::{self, Held};
use super::diag::{self, Diag};
use super::layers::{self, LayerState};
use super::netlink::Route;
use super::object::{self, TRACEPOINTS, WIRE};
use super::pins::Mounts;
use super::{InterceptError, Settings, pins, sys};
use crate::model::CgroupId;

/// How well something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Good,
    /// The agent works, with less.
    Degraded,
    /// The agent cannot govern workloads here.
    Missing,
}

/// One line of `node-agent doctor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, and what was seen.
    pub what: String,
    /// How well it is there.
    pub state: State,
    /// What to do, unless it is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl Finding {
    fn good(what: impl Into<String>) -> Self {
        Finding {
            what: what.into(),
            state: State::Good,
            mend: None,
        }
    }

    fn degraded(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Finding {
            what: what.into(),
            state: State::Degraded,
            mend: Some(mend.into()),
        }
    }

    fn missing(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Finding {
            what: what.into(),
            state: State::Missing,
            mend: Some(mend.into()),
        }
    }
}

/// Looks at everything interception needs. Attaches nothing to any cgroup and leaves nothing
/// behind.
pub fn probe() -> Vec<Finding> {
    let mut findings = grounds();
    programs(&mut findings);
    findings
}

/// The same without the programs, each of which takes the kernel a while to verify.
pub fn grounds() -> Vec<Finding> {
    vec![
        cgroup2(),
        privileges(),
        loopback(),
        bpffs(),
        own_mounts(),
        types(),
        jit(),
        asking(),
        ending(),
        io_uring(),
    ]
}

fn cgroup2() -> Finding {
    match sys::cgroup_root() {
        Ok(root) if root == Path::new("/sys/fs/cgroup") => {
            Finding::good("cgroup2 is mounted at /sys/fs/cgroup")
        }
        Ok(root) => Finding::good(format!(
            "cgroup2 is mounted at {}, beside the first version's controllers",
            root.display()
        )),
        Err(error) => Finding::missing(
            "no cgroup2 mount",
            match error {
                InterceptError::NoCgroup2 => {
                    "mount -t cgroup2 none /sys/fs/cgroup/unified, or boot with \
                     systemd.unified_cgroup_hierarchy=1"
                        .to_owned()
                }
                other => other.to_string(),
            },
        ),
    }
}

/// capabilities(7), by number.
const NEEDED: [(u32, &str); 7] = [
    (2, "CAP_DAC_READ_SEARCH"),
    (12, "CAP_NET_ADMIN"),
    (19, "CAP_SYS_PTRACE"),
    (21, "CAP_SYS_ADMIN"),
    (38, "CAP_PERFMON"),
    (39, "CAP_BPF"),
    (1, "CAP_DAC_OVERRIDE"),
];

fn privileges() -> Finding {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    let lacking: Vec<&str> = NEEDED
        .iter()
        .filter(|(number, _)| effective & (1 << number) == 0)
        .map(|(_, name)| *name)
        .collect();
    if lacking.is_empty() {
        Finding::good("the privileges to load and attach programs")
    } else {
        Finding::missing(
            format!("privileges: lacking {}", lacking.join(", ")),
            "run as root, or give the service these capabilities",
        )
    }
}

fn loopback() -> Finding {
    let mend = "ip link set lo up";
    let flags = fs::read_to_string("/sys/class/net/lo/flags").unwrap_or_default();
    let flags = flags.trim().trim_start_matches("0x");
    match u32::from_str_radix(flags, 16) {
        Ok(flags) if flags & 1 == 1 => Finding::good("the loopback interface is up"),
        Ok(_) => Finding::missing("the loopback interface is down", mend),
        Err(_) => Finding::degraded("the loopback interface could not be looked at", mend),
    }
}

fn bpffs() -> Finding {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if known
        .lines()
        .any(|line| line.split_whitespace().last() == Some("bpf"))
    {
        Finding::good("bpffs, which keeps the redirect when the agent is gone")
    } else {
        Finding::missing(
            "no bpffs in this kernel: a dead agent would let workloads through",
            "use a kernel with CONFIG_BPF_SYSCALL",
        )
    }
}

fn own_mounts() -> Finding {
    let outside = "mount a bpffs for the pins outside, where the agent sees it: mount -t bpf \
                   -o nosuid,nodev,noexec,mode=0700 bpf STATE_DIR/bpf";
    match pins::mounts() {
        Mounts::First => Finding::good("mounts that stay: a bpffs for the pins can be mounted here"),
        Mounts::Own => Finding::degraded(
            "mounts of this process's own: what it mounts ends with them, and the agent mounts no \
             bpffs here",
            outside,
        ),
        Mounts::Unknown(error) => Finding::degraded(
            format!(
                "whose mounts these are is not known ({error}): a bpffs that is \
                 mounted here may end with the agent, and the redirect with it"
            ),
            format!(
                "the node's process namespace (hostPID), CAP_SYS_PTRACE and /proc without hidepid; \
                 or {outside}"
            ),
        ),
    }
}

fn types() -> Finding {
    if Path::new("/sys/kernel/btf/vmlinux").exists() {
        Finding::good("the kernel's type information (BTF)")
    } else {
        Finding::degraded(
            "no /sys/kernel/btf/vmlinux: tools will show less of the programs and maps",
            "use a kernel with CONFIG_DEBUG_INFO_BTF",
        )
    }
}

fn jit() -> Finding {
    match fs::read_to_string("/proc/sys/net/core/bpf_jit_enable") {
        Ok(value) if value.trim() == "0" => Finding::degraded(
            "the BPF compiler is off: every connect of this machine takes longer",
            "sysctl -w net.core.bpf_jit_enable=1",
        ),
        Ok(_) => Finding::good("the BPF compiler is on"),
        Err(_) => Finding::good("the BPF compiler cannot be switched off here"),
    }
}

/// Both are tried on a connection of this process's own.
fn connection() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    Ok((near, far))
}

fn asking() -> Finding {
    let asked = || {
        let (near, _far) = connection()?;
        let (local, remote) = (near.local_addr()?, near.peer_addr()?);
        let cookie = rustix::net::sockopt::socket_cookie(&near)?;
        let seen = Diag::here()?.find(local, remote)?;
        if seen.is_some_and(|seen| seen.cookie == cookie) {
            Ok(())
        } else {
            Err(io::Error::other("its answer is about another socket"))
        }
    };
    match asked() {
        Ok(()) => Finding::good("the kernel tells of sockets (sock_diag)"),
        Err(error) => Finding::missing(
            format!(
                "the kernel does not tell of sockets ({error}): no connection can be proved to be \
                 the one that was redirected"
            ),
            "use a kernel with CONFIG_INET_DIAG, or `modprobe inet_diag tcp_diag`",
        ),
    }
}

fn ending() -> Finding {
    let ended = || {
        let (mut near, _far) = connection()?;
        let (local, remote) = (near.local_addr()?, near.peer_addr()?);
        let cookie = rustix::net::sockopt::socket_cookie(&near)?;
        Diag::here()?.destroy(diag::TCP, local, remote, cookie)?;
        near.set_read_timeout(Some(Duration::from_secs(1)))?;
        match near.read(&mut [0]) {
            Err(error) if error.raw_os_error() == Some(libc::ECONNABORTED) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(io::Error::other("the connection goes on")),
        }
    };
    match ended() {
        Ok(()) => Finding::good("the kernel ends sockets on demand (SOCK_DESTROY)"),
        Err(error) => Finding::degraded(
            format!(
                "the kernel does not end sockets ({error}): connections from before a label are \
                 shut down by hand, and who dials an undeclared database waits for an answer"
            ),
            "use a kernel with CONFIG_INET_DIAG_DESTROY",
        ),
    }
}

fn io_uring() -> Finding {
    let mend = "sysctl -w kernel.io_uring_disabled=2 where nothing needs it, or deny io_uring_setup \
                by the workloads' seccomp profile";
    match fs::read_to_string("/proc/sys/kernel/io_uring_disabled") {
        Ok(value) if value.trim() == "2" => Finding::good("io_uring is switched off"),
        Ok(value) if value.trim() == "1" => Finding::degraded(
            "io_uring is open to its group and to root: a ring that is handed into a label acts for \
             who made it",
            mend,
        ),
        Ok(_) => Finding::degraded(
            "io_uring is open to everybody: a ring that is handed into a label acts for who made it",
            mend,
        ),
        Err(_) if sys::has_io_uring() => Finding::degraded(
            "io_uring is open to everybody, and this kernel has no switch for it: a ring that is \
             handed into a label acts for who made it",
            "deny io_uring_setup by the workloads' seccomp profile",
        ),
        Err(_) => Finding::good("no io_uring in this kernel"),
    }
}

fn programs(findings: &mut Vec<Finding>) {
    // Loaded, not attached: the kernel's verifier answers for every helper and hook.
    let mut ebpf = match object::load(&Settings::new("/", 1, CgroupId(0))) {
        Ok(ebpf) => ebpf,
        Err(error) => {
            findings.push(Finding::missing(
                "the kernel programs do not load",
                error.to_string(),
            ));
            return;
        }
    };
    findings.push(Finding::good("the kernel programs load"));
    for layer in layers::try_all(&mut ebpf) {
        findings.push(match layer.state {
            LayerState::Present | LayerState::Off => {
                Finding::good(format!("optional layer: {}", layer.what))
            }
            LayerState::Absent => {
                let why = layer.why.unwrap_or_default();
                let (error, mend) = why.split_once("; ").unwrap_or((&why, ""));
                Finding::degraded(
                    format!("optional layer, absent: {} ({error})", layer.what),
                    mend,
                )
            }
        });
    }
    findings.push(filters(&mut ebpf));
    for (program, tracepoint) in TRACEPOINTS {
        findings.push(match object::trace(&mut ebpf, program, tracepoint) {
            Ok(()) => Finding::good(format!("the tracepoint {tracepoint}")),
            Err(error) => Finding::degraded(
                format!("the tracepoint {tracepoint}: new network namespaces are found late"),
                error.to_string(),
            ),
        });
    }
}

/// Tried on the loopback device of a network namespace that is made for it and ends with it.
fn filters(ebpf: &mut aya::Ebpf) -> Finding {
    let without = "no filters on devices: packets made by hand leave a workload's network, and \
                   guard.node_wide is not possible";
    if let Err(error) = object::load_devices(ebpf) {
        return Finding::degraded(without, error.to_string());
    }
    let ebpf = &*ebpf;
    let tried = std::thread::scope(|scope| {
        scope
            .spawn(|| -> Result<Held, InterceptError> {
                let failed =
                    |call| InterceptError::call(call, &"a new network namespace", "run as root");
                sys::leave_network().map_err(failed("unshare"))?;
                let route = Route::here().map_err(failed("socket(NETLINK_ROUTE)"))?;
                devices::hold(ebpf, &route, &WIRE, 1, 1, None)
            })
            .join()
            .unwrap_or(Err(InterceptError::Thread("tries filters on devices")))
    });
    match tried {
        Ok(Held::Link { .. }) => Finding::good("filters on devices, by links (tcx)"),
        Ok(Held::Filter { .. }) => {
            Finding::good("filters on devices, by traffic control (this kernel has no tcx)")
        }
        Err(error) => Finding::degraded(without, error.to_string()),
    }
}
