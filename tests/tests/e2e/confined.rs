//! What who has taken over a worker may ask of the kernel: each call tried from within.
#![allow(unsafe_code, reason = "calls that no safe function would make")]

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use anyhow::{Context, Result};
use libc::c_long;
use node_agent::keeper::{account, confine};

/// Names the call to be tried.
const TRY: &str = "NODE_AGENT_TEST_CONFINED";

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
    call: fn() -> c_long,
}

const fn try_(name: &'static str, fate: Fate, call: fn() -> c_long) -> Try {
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
    try_(
        "another level",
        REFUSED,
        call!(libc::SYS_setsockopt, 0, libc::SOL_NETLINK, 1, 0, 0),
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

/// Makes the call whose name the environment has, as a worker would.
#[test]
#[ignore = "it ends its process: the test below starts it"]
fn one_call() -> Result<()> {
    let name = std::env::var(TRY)?;
    let tried = TRIES.iter().find(|tried| tried.name == name);
    let tried = tried.context("no such call")?;
    confine(account(None)?)?;
    let answer = (tried.call)();
    let fate = match (answer, io::Error::last_os_error().raw_os_error()) {
        (-1, Some(errno)) => format!("{:?}", Fate::Fails(errno)),
        _ => format!("{:?}", Fate::Works),
    };
    println!("\nFATE {fate}");
    Ok(())
}

#[test]
fn nothing_but_what_serving_takes_is_to_be_had_from_within_a_worker() -> Result<()> {
    let mut wrong = Vec::new();
    for tried in TRIES {
        let output = Command::new(std::env::current_exe()?)
            .args([
                "--exact",
                "e2e::confined::one_call",
                "--ignored",
                "--nocapture",
            ])
            .env(TRY, tried.name)
            .output()?;
        let out = String::from_utf8_lossy(&output.stdout);
        let said = out.lines().find_map(|line| line.strip_prefix("FATE "));
        let fate = match (said, output.status.signal()) {
            (Some(said), None) => said.to_owned(),
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
