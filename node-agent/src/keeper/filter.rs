//! Which system calls a worker may make: those that serving takes, and no other.
//!
//! What is not listed fails with EPERM, so that a library that merely tries goes on without. What
//! nothing here would ever try ends the process: whoever asks for that has taken it over.

use std::collections::BTreeMap;
use std::io;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

/// Whatever the arguments.
const ALLOWED: &[c_long] = &[
    // Talking: to clients, databases and issuers, each connection made by `connect` or `accept4`.
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_shutdown,
    // Waiting.
    libc::SYS_clock_nanosleep,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_futex,
    libc::SYS_nanosleep,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    // Files: recordings, policies, passwords, what the resolver reads.
    libc::SYS_close,
    libc::SYS_fallocate,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_statx,
    libc::SYS_syncfs,
    libc::SYS_unlinkat,
    libc::SYS_write,
    libc::SYS_writev,
    // Memory. What makes it executable is below.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Threads and the process itself.
    libc::SYS_clone3,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    // Time, where the kernel's page for it cannot tell.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
];

/// The older names that this architecture has besides.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_epoll_wait,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_stat,
    libc::SYS_time,
    libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[c_long] = &[];

/// What serving sets of a socket. Filters, routes, marks, devices, other protocols above TCP and ports
/// that are shared are none of it.
const OPTIONS: &[(libc::c_int, libc::c_int)] = &[
    (libc::IPPROTO_TCP, libc::TCP_NODELAY),
    // The canary, which is held as a worker is, waits for an answer no longer than that.
    (libc::SOL_SOCKET, libc::SO_RCVTIMEO),
    // What fetches an issuer's keys looks whether it is still there.
    (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
    (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
    (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
    (libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
    (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT),
    // The C library's resolver hears of servers that are not there.
    (libc::IPPROTO_IP, libc::IP_RECVERR),
    (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
];

/// Nothing in a worker tries these.
const DEADLY: &[c_long] = &[
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_delete_module,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_finit_module,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_personality,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pivot_root,
    libc::SYS_process_madvise,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setns,
    libc::SYS_swapon,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

/// Lets this thread, and every one it starts, make no other calls from now on. It cannot be undone.
///
/// # Errors
/// The kernel has no such filters; nothing may be served then.
pub(super) fn close() -> io::Result<()> {
    let deadly = DEADLY.iter().map(|call| (*call, Vec::new())).collect();
    apply(deadly, SeccompAction::Allow, SeccompAction::KillProcess)?;
    // Its flags are where a filter cannot read them. The C library takes the older call instead.
    let missing = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let unread = [(libc::SYS_clone3, Vec::new())].into();
    apply(unread, SeccompAction::Allow, missing)?;
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    // Last: applying one takes calls that it does not let through.
    apply(
        allowed().map_err(io::Error::other)?,
        refused,
        SeccompAction::Allow,
    )
}

fn apply(
    rules: BTreeMap<c_long, Vec<SeccompRule>>,
    else_: SeccompAction,
    then: SeccompAction,
) -> io::Result<()> {
    let arch = std::env::consts::ARCH;
    let program = TargetArch::try_from(arch)
        .and_then(|arch| SeccompFilter::new(rules, else_, then, arch))
        .and_then(BpfProgram::try_from)
        .map_err(io::Error::other)?;
    apply_filter(&program).map_err(io::Error::other)
}

type Fault = seccompiler::BackendError;

/// A word of four bytes as the kernel reads it.
fn word(value: libc::c_int) -> u64 {
    u64::from(value.cast_unsigned())
}

fn is(argument: u8, value: u64) -> Result<SeccompCondition, Fault> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

fn masked(argument: u8, mask: u64, value: u64) -> Result<SeccompCondition, Fault> {
    let like = SeccompCmpOp::MaskedEq(mask);
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, like, value)
}

/// One rule for each of some values of an argument.
fn one_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, Fault> {
    let rule = |value: &u64| SeccompRule::new(vec![is(argument, *value)?]);
    values.iter().map(rule).collect()
}

fn allowed() -> Result<BTreeMap<c_long, Vec<SeccompRule>>, Fault> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> = ALLOWED
        .iter()
        .chain(ALLOWED_HERE)
        .map(|call| (*call, Vec::new()))
        .collect();
    rules.insert(libc::SYS_socket, sockets()?);
    // The runtime's own, to be woken by. Connected for good: one of datagrams could be connected to
    // any other of this host later.
    const KIND: u64 = 0xf;
    let stream = masked(1, KIND, word(libc::SOCK_STREAM))?;
    let pair = SeccompRule::new(vec![is(0, word(libc::AF_UNIX))?, stream])?;
    rules.insert(libc::SYS_socketpair, vec![pair]);
    let option = |(level, name): &(libc::c_int, libc::c_int)| {
        SeccompRule::new(vec![is(1, word(*level))?, is(2, word(*name))?])
    };
    rules.insert(
        libc::SYS_setsockopt,
        OPTIONS.iter().map(option).collect::<Result<_, _>>()?,
    );
    rules.insert(
        libc::SYS_ioctl,
        one_of(
            1,
            &[libc::FIONBIO, libc::FIONREAD, libc::FIOCLEX, libc::TCGETS],
        )?,
    );
    rules.insert(
        libc::SYS_fcntl,
        one_of(
            1,
            &[
                libc::F_GETFD,
                libc::F_SETFD,
                libc::F_GETFL,
                libc::F_SETFL,
                libc::F_DUPFD_CLOEXEC,
                // Locks of a file's ranges, by which the approvals are one agent's at a time.
                libc::F_OFD_GETLK,
                libc::F_OFD_SETLK,
            ]
            .map(word),
        )?,
    );
    rules.insert(libc::SYS_prctl, one_of(0, &[word(libc::PR_SET_NAME)])?);
    // A thread of this process: never another process.
    let thread = word(libc::CLONE_THREAD);
    rules.insert(
        libc::SYS_clone,
        vec![SeccompRule::new(vec![masked(0, thread, thread)?])?],
    );
    // To end itself by a signal, which is how a panic in the middle of one ends.
    let own = u64::from(std::process::id());
    rules.insert(libc::SYS_tgkill, one_of(0, &[own])?);
    // To read a limit, of itself: a new one is behind a pointer.
    let none = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?;
    rules.insert(
        libc::SYS_prlimit64,
        vec![SeccompRule::new(vec![is(0, 0)?, none])?],
    );
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        let data = masked(2, word(libc::PROT_EXEC), 0)?;
        rules.insert(call, vec![SeccompRule::new(vec![data])?]);
    }
    Ok(rules)
}

/// TCP, and UDP for the resolver.
fn sockets() -> Result<Vec<SeccompRule>, Fault> {
    const KIND: u64 = 0xf; // beside it: non-blocking, close on exec
    let mut rules = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        for (kind, protocol) in [
            (libc::SOCK_STREAM, 0),
            (libc::SOCK_STREAM, libc::IPPROTO_TCP),
            (libc::SOCK_DGRAM, 0),
            (libc::SOCK_DGRAM, libc::IPPROTO_UDP),
        ] {
            rules.push(SeccompRule::new(vec![
                is(0, word(family))?,
                masked(1, KIND, word(kind))?,
                is(2, word(protocol))?,
            ])?);
        }
    }
    Ok(rules)
}
