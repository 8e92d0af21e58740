//! Children that go somewhere else first: into a cgroup at birth, into another one afterwards, into
//! namespaces of their own.

use std::io::{self, Read, Write};
use std::mem::size_of;
use std::os::fd::AsRawFd;

/// How a child is made.
#[derive(Clone, Copy)]
pub(super) enum Birth<'a> {
    Fork,
    /// Born in that cgroup.
    Into(&'a std::fs::File),
}

/// Lets a child do it and gives what came out.
pub(super) fn in_child(
    birth: Birth<'_>,
    work: impl FnOnce() -> io::Result<String>,
) -> io::Result<String> {
    let (mut ours, mut theirs) = std::os::unix::net::UnixStream::pair()?;
    // SAFETY: the child of a process with a single thread, which ends before it returns.
    let pid = unsafe { born(birth)? };
    if pid == 0 {
        let said = match work() {
            Ok(text) => format!("+{text}"),
            Err(error) => match error.raw_os_error() {
                Some(code) => format!("!{code}"),
                None => format!("?{:?}", error.kind()),
            },
        };
        let _ = theirs.write_all(said.as_bytes());
        // SAFETY: nothing of the parent's is to be cleaned up here.
        unsafe { libc::_exit(0) };
    }
    drop(theirs);
    let mut said = String::new();
    let read = ours.read_to_string(&mut said);
    // SAFETY: our own child.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    read?;
    match said.split_at_checked(1) {
        Some(("+", text)) => Ok(text.to_owned()),
        Some(("!", code)) => Err(io::Error::from_raw_os_error(
            code.parse().map_err(io::Error::other)?,
        )),
        Some(("?", "TimedOut")) => Err(io::ErrorKind::TimedOut.into()),
        _ => Err(io::Error::other(said)),
    }
}

/// As fork(2).
unsafe fn born(birth: Birth<'_>) -> io::Result<i32> {
    const INTO_CGROUP: u64 = 1 << 33;
    let answer = match birth {
        // SAFETY: as our caller says.
        Birth::Fork => unsafe { libc::fork().into() },
        Birth::Into(cgroup) => {
            // flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
            // set_tid_size, cgroup.
            let mut arguments = [0_u64; 11];
            arguments[0] = INTO_CGROUP;
            arguments[4] = libc::SIGCHLD as u64;
            arguments[10] = cgroup.as_raw_fd() as u64;
            // SAFETY: as our caller says; the arguments live until the call returns.
            unsafe {
                let size = size_of::<[u64; 11]>();
                libc::syscall(libc::SYS_clone3, arguments.as_ptr(), size)
            }
        }
    };
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(answer as i32)
    }
}

/// A user namespace, and a network of its own, for this process.
pub(super) fn alone_as_nobody() -> io::Result<()> {
    // SAFETY: no pointers.
    let answer = unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET) };
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Leaves this process behind and goes on as its child, with the same standard input and output.
/// What the two share stays shared.
pub(super) fn go_on_as_child() -> io::Result<()> {
    // SAFETY: this process has one thread. The parent does nothing more but wait for its end.
    unsafe {
        let child = born(Birth::Fork)?;
        if child != 0 {
            libc::waitpid(child, std::ptr::null_mut(), 0);
            libc::_exit(0);
        }
        // A killed parent takes the child along.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
    Ok(())
}
