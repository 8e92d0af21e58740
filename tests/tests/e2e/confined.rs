//! What who has taken over a worker may ask of the kernel: each call tried from within.
#![allow(unsafe_code, reason = "calls that no safe function would make")]

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result};
use libc::c_long;
use node_agent::keeper::{Reach, account, confine, gaps};
use rustix::process::geteuid;

/// Names the call to be tried.
const TRY: &str = "NODE_AGENT_TEST_CONFINED";

/// Where the files are that are tried.
const PLACE: &str = "NODE_AGENT_TEST_PLACE";

/// What is to become of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It works.
    Works,
    /// It fails with this.
    Fails(i32),
    /// The process ends.
    Ends,
}

struct Try {
    name: &'static str,
    fate: Fate,
    call: Call,
}

#[derive(Clone, Copy)]
enum Call {
    Any(fn() -> c_long),
    /// Setting this option, by its level and number, of what is no socket.
    Option(i32, i32),
}

impl Call {
    fn make(self) -> c_long {
        match self {
            Call::Any(call) => call(),
            // SAFETY: numbers; the value is nowhere, and of no length.
            Call::Option(level, name) => unsafe {
                libc::syscall(libc::SYS_setsockopt, 0, level, name, 0, 0)
            },
        }
    }
}

const fn try_(name: &'static str, fate: Fate, call: fn() -> c_long) -> Try {
    let call = Call::Any(call);
    Try { name, fate, call }
}

const fn option(name: &'static str, fate: Fate, level: i32, number: i32) -> Try {
    let call = Call::Option(level, number);
    Try { name, fate, call }
}

/// A call with up to six numbers.
macro_rules! call {
    ($number:expr $(, $argument:expr)*) => {
        // SAFETY: none of the addresses that are given is one of this process's data, or it is
        // data that the call only reads.
        || unsafe { libc::syscall($number $(, $argument as c_long)*) }
    };
}

const REFUSED: Fate = Fate::Fails(libc::EPERM);
/// It got as far as the kernel's own look at what it was given.
const NO_SOCKET: Fate = Fate::Fails(libc::ENOTSOCK);
const ANON: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
const CODE: i32 = libc::PROT_READ | libc::PROT_EXEC;
const FORK: i32 = libc::SIGCHLD;

const TRIES: &[Try] = &[
    // What serving takes.
    try_(
        "tcp",
        Fate::Works,
        call!(
            libc::SYS_socket,
            libc::AF_INET,
            libc::SOCK_STREAM | libc::SOCK_CLOEXEC,
            0
        ),
    ),
    try_(
        "udp",
        Fate::Works,
        call!(
            libc::SYS_socket,
            libc::AF_INET6,
            libc::SOCK_DGRAM,
            libc::IPPROTO_UDP
        ),
    ),
    try_(
        "read a file",
        Fate::Works,
        call!(
            libc::SYS_openat,
            libc::AT_FDCWD,
            c"/etc/passwd".as_ptr(),
            libc::O_RDONLY
        ),
    ),
    try_(
        "memory",
        Fate::Works,
        call!(
            libc::SYS_mmap,
            0,
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            ANON,
            -1,
            0
        ),
    ),
    try_("a thread", Fate::Works, || {
        std::thread::spawn(|| 0).join().unwrap_or(-1)
    }),
    try_(
        "clone3",
        Fate::Fails(libc::ENOSYS),
        call!(libc::SYS_clone3, 0, 0),
    ),
    // Other processes, and becoming another.
    try_(
        "ptrace",
        Fate::Ends,
        call!(libc::SYS_ptrace, libc::PTRACE_ATTACH, libc::getppid()),
    ),
    try_(
        "process_vm_readv",
        Fate::Ends,
        call!(libc::SYS_process_vm_readv, libc::getppid(), 0, 0, 0, 0, 0),
    ),
    try_(
        "process_vm_writev",
        Fate::Ends,
        call!(libc::SYS_process_vm_writev, libc::getppid(), 0, 0, 0, 0, 0),
    ),
    try_(
        "pidfd_open",
        Fate::Ends,
        call!(libc::SYS_pidfd_open, libc::getppid(), 0),
    ),
    try_(
        "pidfd_getfd",
        Fate::Ends,
        call!(libc::SYS_pidfd_getfd, 0, 0, 0),
    ),
    try_(
        "execve",
        Fate::Ends,
        call!(libc::SYS_execve, c"/bin/true".as_ptr(), 0, 0),
    ),
    try_(
        "execveat",
        Fate::Ends,
        call!(
            libc::SYS_execveat,
            libc::AT_FDCWD,
            c"/bin/true".as_ptr(),
            0,
            0,
            0
        ),
    ),
    try_("a fork", REFUSED, call!(libc::SYS_clone, FORK, 0, 0, 0, 0)),
    try_(
        "a user namespace",
        REFUSED,
        call!(libc::SYS_clone, FORK | libc::CLONE_NEWUSER, 0, 0, 0, 0),
    ),
    try_("kill", REFUSED, call!(libc::SYS_kill, libc::getppid(), 0)),
    try_(
        "tgkill",
        REFUSED,
        call!(libc::SYS_tgkill, libc::getppid(), libc::getppid(), 0),
    ),
    try_("setresuid", REFUSED, call!(libc::SYS_setresuid, 0, 0, 0)),
    try_("capset", REFUSED, call!(libc::SYS_capset, 0, 0)),
    try_(
        "a dump",
        REFUSED,
        call!(libc::SYS_prctl, libc::PR_SET_DUMPABLE, 1),
    ),
    try_(
        "a limit",
        REFUSED,
        call!(libc::SYS_prlimit64, 0, libc::RLIMIT_CORE, 1, 0),
    ),
    try_(
        "the limit of another",
        REFUSED,
        call!(
            libc::SYS_prlimit64,
            libc::getppid(),
            libc::RLIMIT_CORE,
            0,
            0
        ),
    ),
    // Code.
    try_(
        "memory to run",
        REFUSED,
        call!(libc::SYS_mmap, 0, 4096, CODE, ANON, -1, 0),
    ),
    try_(
        "to run what is there",
        REFUSED,
        call!(libc::SYS_mprotect, 0, 4096, CODE),
    ),
    try_(
        "a file in memory",
        REFUSED,
        call!(libc::SYS_memfd_create, c"x".as_ptr(), 0),
    ),
    // The kernel.
    try_("bpf", Fate::Ends, call!(libc::SYS_bpf, 0, 0, 0)),
    try_(
        "perf_event_open",
        Fate::Ends,
        call!(libc::SYS_perf_event_open, 0, 0, 0, 0, 0),
    ),
    try_(
        "io_uring",
        Fate::Ends,
        call!(libc::SYS_io_uring_setup, 1, 0),
    ),
    try_("userfaultfd", Fate::Ends, call!(libc::SYS_userfaultfd, 0)),
    try_("keyctl", Fate::Ends, call!(libc::SYS_keyctl, 0, 0, 0, 0, 0)),
    try_(
        "a module",
        Fate::Ends,
        call!(libc::SYS_init_module, 0, 0, 0),
    ),
    try_("kexec", Fate::Ends, call!(libc::SYS_kexec_load, 0, 0, 0, 0)),
    try_(
        "personality",
        Fate::Ends,
        call!(libc::SYS_personality, 0x0004_0000),
    ),
    // Places.
    try_("mount", Fate::Ends, call!(libc::SYS_mount, 0, 0, 0, 0, 0)),
    try_(
        "umount",
        Fate::Ends,
        call!(libc::SYS_umount2, c"/".as_ptr(), 0),
    ),
    try_("setns", Fate::Ends, call!(libc::SYS_setns, 0, 0)),
    try_(
        "unshare",
        Fate::Ends,
        call!(libc::SYS_unshare, libc::CLONE_NEWUSER),
    ),
    try_("chroot", Fate::Ends, call!(libc::SYS_chroot, c"/".as_ptr())),
    try_("pivot_root", Fate::Ends, call!(libc::SYS_pivot_root, 0, 0)),
    try_(
        "open_by_handle_at",
        Fate::Ends,
        call!(libc::SYS_open_by_handle_at, 0, 0, 0),
    ),
    try_(
        "a link",
        REFUSED,
        call!(
            libc::SYS_symlinkat,
            c"/".as_ptr(),
            libc::AT_FDCWD,
            c"/tmp/x".as_ptr()
        ),
    ),
    try_(
        "a mode",
        REFUSED,
        call!(libc::SYS_fchmodat, libc::AT_FDCWD, c"/tmp".as_ptr(), 0o777),
    ),
    // Sockets that nothing here needs.
    try_(
        "a unix socket",
        REFUSED,
        call!(libc::SYS_socket, libc::AF_UNIX, libc::SOCK_STREAM, 0),
    ),
    try_(
        "netlink",
        REFUSED,
        call!(libc::SYS_socket, libc::AF_NETLINK, libc::SOCK_RAW, 0),
    ),
    try_(
        "packets",
        REFUSED,
        call!(libc::SYS_socket, libc::AF_PACKET, libc::SOCK_RAW, 0),
    ),
    try_(
        "the kernel's ciphers",
        REFUSED,
        call!(libc::SYS_socket, libc::AF_ALG, libc::SOCK_SEQPACKET, 0),
    ),
    try_(
        "vsock",
        REFUSED,
        call!(libc::SYS_socket, libc::AF_VSOCK, libc::SOCK_STREAM, 0),
    ),
    try_(
        "raw",
        REFUSED,
        call!(libc::SYS_socket, libc::AF_INET, libc::SOCK_RAW, 0),
    ),
    try_(
        "ping",
        REFUSED,
        call!(
            libc::SYS_socket,
            libc::AF_INET,
            libc::SOCK_DGRAM,
            libc::IPPROTO_ICMP
        ),
    ),
    try_(
        "multipath",
        REFUSED,
        call!(libc::SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 262),
    ),
    try_("bind", REFUSED, call!(libc::SYS_bind, 0, 0, 0)),
    try_("listen", REFUSED, call!(libc::SYS_listen, 0, 0)),
    // Unconnected, it could be connected to any socket of datagrams: the journal's, the init's.
    try_("a pair of datagrams", REFUSED, || {
        let mut pair = [0; 2];
        // SAFETY: the kernel writes two numbers there.
        unsafe {
            libc::syscall(
                libc::SYS_socketpair,
                libc::AF_UNIX,
                libc::SOCK_DGRAM,
                0,
                pair.as_mut_ptr(),
            )
        }
    }),
    try_("a pair of streams", Fate::Works, || {
        std::os::unix::net::UnixStream::pair().map_or(-1, |_| 0)
    }),
    option("another level", REFUSED, libc::SOL_NETLINK, 1),
    // Options: of a socket there is none, so those that are let through say so.
    option(
        "a protocol above TCP",
        REFUSED,
        libc::IPPROTO_TCP,
        libc::TCP_ULP,
    ),
    option(
        "a connection that goes on elsewhere",
        REFUSED,
        libc::IPPROTO_TCP,
        libc::TCP_REPAIR,
    ),
    option(
        "another way to send",
        REFUSED,
        libc::IPPROTO_TCP,
        libc::TCP_CONGESTION,
    ),
    option("fast open", REFUSED, libc::IPPROTO_TCP, libc::TCP_FASTOPEN),
    option(
        "a filter",
        REFUSED,
        libc::SOL_SOCKET,
        libc::SO_ATTACH_FILTER,
    ),
    option("a program", REFUSED, libc::SOL_SOCKET, libc::SO_ATTACH_BPF),
    option(
        "a program for a shared port",
        REFUSED,
        libc::SOL_SOCKET,
        libc::SO_ATTACH_REUSEPORT_EBPF,
    ),
    option("a device", REFUSED, libc::SOL_SOCKET, libc::SO_BINDTODEVICE),
    option("a mark", REFUSED, libc::SOL_SOCKET, libc::SO_MARK),
    option(
        "a shared port",
        REFUSED,
        libc::SOL_SOCKET,
        libc::SO_REUSEPORT,
    ),
    option("credentials", REFUSED, libc::SOL_SOCKET, libc::SO_PASSCRED),
    option(
        "memory of its choice",
        REFUSED,
        libc::SOL_SOCKET,
        libc::SO_SNDBUFFORCE,
    ),
    option(
        "a foreign address",
        REFUSED,
        libc::IPPROTO_IP,
        libc::IP_TRANSPARENT,
    ),
    option(
        "a route of its choice",
        REFUSED,
        libc::IPPROTO_IP,
        libc::IP_OPTIONS,
    ),
    option(
        "headers of its own",
        REFUSED,
        libc::IPPROTO_IP,
        libc::IP_HDRINCL,
    ),
    option(
        "a group",
        REFUSED,
        libc::IPPROTO_IP,
        libc::IP_ADD_MEMBERSHIP,
    ),
    option("tables of packets", REFUSED, libc::IPPROTO_IP, 64),
    option(
        "another family",
        REFUSED,
        libc::IPPROTO_IPV6,
        libc::IPV6_ADDRFORM,
    ),
    option(
        "a routing header",
        REFUSED,
        libc::IPPROTO_IPV6,
        libc::IPV6_RTHDR,
    ),
    option(
        "a foreign address, IPv6",
        REFUSED,
        libc::IPPROTO_IPV6,
        libc::IPV6_TRANSPARENT,
    ),
    option("no delay", NO_SOCKET, libc::IPPROTO_TCP, libc::TCP_NODELAY),
    option(
        "signs of life",
        NO_SOCKET,
        libc::SOL_SOCKET,
        libc::SO_KEEPALIVE,
    ),
    option(
        "a server that is not there",
        NO_SOCKET,
        libc::IPPROTO_IP,
        libc::IP_RECVERR,
    ),
    try_(
        "typing for others",
        REFUSED,
        call!(libc::SYS_ioctl, 0, libc::TIOCSTI, 0),
    ),
    try_(
        "signals for others",
        REFUSED,
        call!(libc::SYS_fcntl, 0, libc::F_SETOWN, 1),
    ),
    #[cfg(target_arch = "x86_64")]
    try_(
        "the calls of x32",
        REFUSED,
        call!(libc::SYS_getpid | 0x4000_0000),
    ),
    #[cfg(target_arch = "x86_64")]
    try_("the calls of 32 bits", Fate::Ends, || {
        let mut number = 20_i64;
        // SAFETY: getpid(), which touches nothing.
        unsafe { std::arch::asm!("int 0x80", inout("rax") number) };
        number
    }),
];

/// Starts a test of this file once more, to be its own worker in a process that does not survive it.
fn again(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("e2e::confined::{test}"), "--nocapture"]);
    command
}

/// What such a process said became of what it did; `None` when it said nothing.
fn fate(output: &Output) -> Option<String> {
    let out = String::from_utf8_lossy(&output.stdout);
    let said = out.lines().find_map(|line| line.strip_prefix("FATE "));
    said.map(str::to_owned)
}

fn place() -> Result<PathBuf> {
    Ok(PathBuf::from(std::env::var(PLACE)?))
}

/// Makes the call whose name the environment has, as a worker would.
fn one_call(name: &str) -> Result<()> {
    let tried = TRIES.iter().find(|tried| tried.name == name);
    let tried = tried.context("no such call")?;
    let reach = Reach {
        reads: vec!["/etc".into()],
        writes: Vec::new(),
    };
    confine(account(None)?, &reach)?;
    let answer = tried.call.make();
    let fate = match (answer, io::Error::last_os_error().raw_os_error()) {
        (-1, Some(errno)) => format!("{:?}", Fate::Fails(errno)),
        _ => format!("{:?}", Fate::Works),
    };
    println!("\nFATE {fate}");
    Ok(())
}

#[test]
fn nothing_but_what_serving_takes_is_to_be_had_from_within_a_worker() -> Result<()> {
    if let Ok(name) = std::env::var(TRY) {
        return one_call(&name);
    }
    let name = "nothing_but_what_serving_takes_is_to_be_had_from_within_a_worker";
    let mut wrong = Vec::new();
    for tried in TRIES {
        let output = again(name).env(TRY, tried.name).output()?;
        let fate = match (fate(&output), output.status.signal()) {
            (Some(said), None) => said,
            (None, Some(libc::SIGSYS)) => format!("{:?}", Fate::Ends),
            _ => format!(
                "{:?} {}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            ),
        };
        if fate != format!("{:?}", tried.fate) {
            wrong.push(format!("{}: {fate}", tried.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// What is done with a file, and whether a worker may.
struct Deed {
    name: &'static str,
    may: bool,
    does: fn(&Path) -> io::Result<()>,
}

const fn deed(name: &'static str, may: bool, does: fn(&Path) -> io::Result<()>) -> Deed {
    Deed { name, may, does }
}

fn read(path: PathBuf) -> io::Result<()> {
    fs::read(path).map(drop)
}

fn make(path: PathBuf) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .map(drop)
}

/// By their modes all of these could be done, but where it says so.
const DEEDS: &[Deed] = &[
    deed("read what is within reach", true, |at| {
        read(at.join("policies/new.yaml"))
    }),
    deed("list it", true, |at| {
        fs::read_dir(at.join("policies")).map(drop)
    }),
    deed("read a key", true, |at| read(at.join("state/mask.key"))),
    deed("make a recording", true, |at| {
        make(at.join("state/recordings/new"))
    }),
    deed("make a directory of them", true, |at| {
        fs::create_dir(at.join("state/recordings/day"))
    }),
    deed("shorten a recording", true, |at| {
        OpenOptions::new()
            .write(true)
            .open(at.join("state/recordings/old"))?
            .set_len(1)
    }),
    deed("remove a recording", true, |at| {
        fs::remove_file(at.join("state/recordings/old"))
    }),
    deed("look a name up", true, |_| {
        std::net::ToSocketAddrs::to_socket_addrs("localhost:1").map(drop)
    }),
    deed("read the users", true, |_| read("/etc/passwd".into())),
    // By its mode alone.
    deed("read their passwords", false, |_| {
        read("/etc/shadow".into())
    }),
    deed("read the token of a workload", false, |at| {
        read(at.join("workload/token"))
    }),
    deed("read what is beside the key", false, |at| {
        read(at.join("state/other"))
    }),
    deed("list what is beside the key", false, |at| {
        fs::read_dir(at.join("state")).map(drop)
    }),
    deed("list the pins", false, |at| {
        fs::read_dir(at.join("state/bpf")).map(drop)
    }),
    deed("write to the key", false, |at| {
        OpenOptions::new()
            .write(true)
            .open(at.join("state/mask.key"))
            .map(drop)
    }),
    deed("remove the key", false, |at| {
        fs::remove_file(at.join("state/mask.key"))
    }),
    deed("make a file beside the recordings", false, |at| {
        make(at.join("state/new"))
    }),
    deed("make a policy", false, |at| {
        make(at.join("policies/mine.yaml"))
    }),
    deed("shorten a policy", false, |at| {
        OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(at.join("policies/new.yaml"))
            .map(drop)
    }),
    deed("make a file anywhere", false, |at| make(at.join("mine"))),
    deed("read of another process", false, |_| {
        read("/proc/1/cmdline".into())
    }),
    deed("read of its own process", false, |_| {
        read("/proc/self/maps".into())
    }),
    deed("open a device", false, |_| {
        File::open("/dev/zero").map(drop)
    }),
    deed("read what the kernel says", false, |_| {
        read("/sys/kernel/mm/transparent_hugepage/enabled".into())
    }),
];

/// Does the deed whose name the environment has, as a worker would.
fn one_deed(name: &str, at: &Path) -> Result<()> {
    let deed = DEEDS.iter().find(|deed| deed.name == name);
    let deed = deed.context("no such deed")?;
    let reach = Reach {
        reads: [
            "/etc".into(),
            at.join("policies"),
            at.join("state/mask.key"),
        ]
        .into(),
        writes: vec![at.join("state/recordings")],
    };
    confine(account(None)?, &reach)?;
    println!("\nFATE {:?}", (deed.does)(at).map_err(|error| error.kind()));
    Ok(())
}

/// Files that everybody may use, so that what is refused is not refused by their modes.
fn open_to_all(at: &Path) -> Result<()> {
    for directory in [
        "policies",
        "workload",
        "state",
        "state/bpf",
        "state/recordings",
    ] {
        fs::create_dir(at.join(directory))?;
        fs::set_permissions(at.join(directory), fs::Permissions::from_mode(0o777))?;
    }
    for file in [
        "policies/new.yaml",
        "workload/token",
        "state/mask.key",
        "state/other",
        "state/recordings/old",
    ] {
        fs::write(at.join(file), "text")?;
        fs::set_permissions(at.join(file), fs::Permissions::from_mode(0o666))?;
    }
    Ok(fs::set_permissions(at, fs::Permissions::from_mode(0o777))?)
}

#[test]
fn a_worker_uses_no_file_but_those_that_serving_takes_whatever_their_modes() -> Result<()> {
    if let Ok(name) = std::env::var(TRY) {
        return one_deed(&name, &place()?);
    }
    let name = "a_worker_uses_no_file_but_those_that_serving_takes_whatever_their_modes";
    if gaps().iter().any(|gap| gap.contains("no landlock")) {
        node_agent_tests::parts::skip("this kernel has no landlock");
        return Ok(());
    }
    let mut wrong = Vec::new();
    for deed in DEEDS {
        let place = tempfile::tempdir()?;
        open_to_all(place.path())?;
        if deed.name == "read their passwords" && !geteuid().is_root() {
            continue;
        }
        let output = again(name)
            .env(TRY, deed.name)
            .env(PLACE, place.path())
            .output()?;
        let said = fate(&output);
        let expected = if deed.may {
            "Ok(())"
        } else {
            "Err(PermissionDenied)"
        };
        if said.as_deref() != Some(expected) {
            let errors = String::from_utf8_lossy(&output.stderr);
            wrong.push(format!("{}: {said:?} {errors}", deed.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Has the kernel say, from now on, that it has no landlock.
fn without_landlock() -> Result<()> {
    const FIRST: u32 = 444; // landlock_create_ruleset, on every architecture
    let one = |code: u32, jt, jf, k| libc::sock_filter {
        code: u16::try_from(code).unwrap(),
        jt,
        jf,
        k,
    };
    let missing = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    let mut filter = [
        one(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        one(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, FIRST),
        one(libc::BPF_RET | libc::BPF_K, 0, 0, missing),
        one(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: 4,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: numbers, and a program that is there until the kernel has copied it.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            | libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program)
    };
    anyhow::ensure!(done == 0, "no filter: {}", io::Error::last_os_error());
    Ok(())
}

/// Becomes a worker where there is no landlock.
fn one_without_landlock(at: &Path) -> Result<()> {
    without_landlock()?;
    let said = gaps();
    confine(account(None)?, &Reach::default())?;
    let token = fs::read_to_string(at.join("workload/token"))?;
    println!("\nFATE {said:?} {token}");
    Ok(())
}

#[test]
fn where_there_is_no_landlock_a_worker_serves_all_the_same_and_it_is_said() -> Result<()> {
    if std::env::var_os(PLACE).is_some() {
        return one_without_landlock(&place()?);
    }
    let name = "where_there_is_no_landlock_a_worker_serves_all_the_same_and_it_is_said";
    let place = tempfile::tempdir()?;
    open_to_all(place.path())?;
    let output = again(name).env(PLACE, place.path()).output()?;
    let said = fate(&output);
    let said = said.with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    assert!(
        said.contains("this kernel has no landlock") && said.ends_with("text"),
        "{said}"
    );
    Ok(())
}
