//! The system calls that no safe crate at hand offers, each wrapped once.

#![expect(
    unsafe_code,
    reason = "bpf(2), SO_NETNS_COOKIE, mount(2) and clock_gettime(2)"
)]

use std::ffi::CString;
use std::fs;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aya::Pod;
use tokio::io::unix::AsyncFd;

use super::InterceptError;
use crate::model::{CgroupId, KernelCount, NetnsCookie};

/// `CGROUP2_SUPER_MAGIC`.
const CGROUP2: rustix::fs::FsWord = 0x6367_7270;
/// `BPF_FS_MAGIC`.
const BPFFS: rustix::fs::FsWord = 0xcafe_4a11;

const MAP_LOOKUP: libc::c_int = 1;
const MAP_LOOKUP_AND_DELETE: libc::c_int = 21;
const PROG_LOAD: libc::c_int = 5;
const OBJ_PIN: libc::c_int = 6;
const OBJ_GET: libc::c_int = 7;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const RAW_TRACEPOINT_OPEN: libc::c_int = 17;
const LINK_CREATE: libc::c_int = 28;
const LINK_UPDATE: libc::c_int = 29;
const LINK_DETACH: libc::c_int = 34;

/// The parts of `union bpf_attr` used here, each padded to the union's alignment.
#[repr(C)]
#[derive(Clone, Copy)]
struct Attributes<T: Copy> {
    body: T,
}

fn bpf<T: Copy>(command: libc::c_int, attributes: &mut Attributes<T>) -> io::Result<i64> {
    // SAFETY: the structure is laid out as the command's part of `union bpf_attr`, lives across
    // the call, and its size is given; pointers in it are made from live references by callers.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attributes),
            size_of::<Attributes<T>>(),
        )
    };
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(answer)
    }
}

fn owned(answer: i64) -> io::Result<OwnedFd> {
    let fd = i32::try_from(answer).map_err(io::Error::other)?;
    // SAFETY: the kernel just made this descriptor for us (close-on-exec is the bpf default).
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// An attachment to a cgroup.
#[derive(Debug)]
pub(super) struct Link(OwnedFd);

/// What the kernel says about a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkFacts {
    pub(super) id: u32,
    pub(super) program: u32,
    pub(super) cgroup: CgroupId,
    pub(super) attach_type: u32,
}

impl Link {
    /// `BPF_LINK_CREATE`.
    pub(super) fn create(
        program: BorrowedFd<'_>,
        cgroup: BorrowedFd<'_>,
        attach_type: u32,
    ) -> io::Result<Self> {
        #[repr(C)]
        #[derive(Clone, Copy)]
        struct Body {
            program: i32,
            target: i32,
            attach_type: u32,
            flags: u32,
        }
        let body = Body {
            program: program.as_raw_fd(),
            target: cgroup.as_raw_fd(),
            attach_type,
            flags: 0,
        };
        bpf(LINK_CREATE, &mut Attributes { body })
            .and_then(owned)
            .map(Link)
    }

    /// `BPF_LINK_CREATE` on a device of the calling thread's network namespace, before whatever is
    /// attached there already (`tcx`, Linux 6.6).
    pub(super) fn on_device(
        program: BorrowedFd<'_>,
        device: u32,
        attach_type: u32,
    ) -> io::Result<Self> {
        /// `BPF_F_BEFORE`, which without another program means before all.
        const BEFORE: u32 = 1 << 3;
        #[repr(C)]
        #[derive(Clone, Copy)]
        struct Body {
            program: i32,
            target: u32,
            attach_type: u32,
            flags: u32,
            relative: u64,
            revision: u64,
        }
        let body = Body {
            program: program.as_raw_fd(),
            target: device,
            attach_type,
            flags: BEFORE,
            relative: 0,
            revision: 0,
        };
        bpf(LINK_CREATE, &mut Attributes { body })
            .and_then(owned)
            .map(Link)
    }

    /// `BPF_RAW_TRACEPOINT_OPEN` without a name: a program that was loaded for one hook is attached
    /// to it.
    pub(super) fn to_its_hook(program: BorrowedFd<'_>) -> io::Result<Self> {
        #[repr(C)]
        #[derive(Clone, Copy)]
        struct Body {
            name: u64,
            program: i32,
            pad: u32,
        }
        let body = Body {
            name: 0,
            program: program.as_raw_fd(),
            pad: 0,
        };
        bpf(RAW_TRACEPOINT_OPEN, &mut Attributes { body })
            .and_then(owned)
            .map(Link)
    }

    /// `BPF_LINK_UPDATE`: another program takes the place of the one attached, atomically.
    pub(super) fn update(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        #[repr(C)]
        #[derive(Clone, Copy)]
        struct Body {
            link: i32,
            program: i32,
            flags: u32,
            old: u32,
        }
        let body = Body {
            link: self.0.as_raw_fd(),
            program: program.as_raw_fd(),
            flags: 0,
            old: 0,
        };
        bpf(LINK_UPDATE, &mut Attributes { body }).map(drop)
    }

    /// `BPF_LINK_DETACH`: ends the attachment whoever else holds the link.
    pub(super) fn detach(&self) -> io::Result<()> {
        bpf(
            LINK_DETACH,
            &mut Attributes {
                body: [self.0.as_raw_fd(), 0],
            },
        )
        .map(drop)
    }

    /// `BPF_OBJ_PIN`.
    pub(super) fn pin(&self, path: &Path) -> io::Result<()> {
        pin(self.0.as_fd(), path)
    }

    /// Is it a link at all? What is pinned where a link should be can be a map or a program, whose
    /// facts read like a link's.
    pub(super) fn is_one(&self) -> bool {
        path_of(self.0.as_fd()).is_ok_and(|kind| kind.to_string_lossy().contains("link"))
    }

    /// `BPF_OBJ_GET`; `None` when nothing is pinned there.
    pub(super) fn pinned(path: &Path) -> io::Result<Option<Self>> {
        let c = c_path(path)?;
        let body = Pin {
            path: c.as_ptr() as u64,
            fd: [0, 0],
        };
        match bpf(OBJ_GET, &mut Attributes { body }).and_then(owned) {
            Ok(fd) => Ok(Some(Link(fd))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// `BPF_OBJ_GET_INFO_BY_FD`. A link whose cgroup is gone has cgroup 0.
    pub(super) fn facts(&self) -> io::Result<LinkFacts> {
        /// `struct bpf_link_info` as far as a cgroup link goes.
        #[repr(C)]
        #[derive(Clone, Copy, Default)]
        struct Info {
            kind: u32,
            id: u32,
            program: u32,
            pad: u32,
            cgroup: u64,
            attach_type: u32,
            rest: [u32; 9],
        }
        #[repr(C)]
        #[derive(Clone, Copy)]
        struct Body {
            fd: i32,
            length: u32,
            info: u64,
        }
        let mut info = Info::default();
        let length = u32::try_from(size_of::<Info>()).unwrap_or(u32::MAX);
        let pointer = std::ptr::from_mut(&mut info) as u64;
        let body = Body {
            fd: self.0.as_raw_fd(),
            length,
            info: pointer,
        };
        bpf(OBJ_GET_INFO_BY_FD, &mut Attributes { body })?;
        // SAFETY: `info` is ours and initialised; the kernel wrote through the pointer above, so
        // the read must not be taken for the earlier default.
        let info = unsafe { std::ptr::read_volatile(&raw const info) };
        Ok(LinkFacts {
            id: info.id,
            program: info.program,
            cgroup: CgroupId(info.cgroup),
            attach_type: info.attach_type,
        })
    }
}

impl Link {
    /// `BPF_OBJ_GET_INFO_BY_FD` of a link to a device: its number, 0 when it is gone.
    pub(super) fn device(&self) -> io::Result<u32> {
        /// `struct bpf_link_info` as far as `tcx` goes.
        #[repr(C)]
        #[derive(Clone, Copy, Default)]
        struct Info {
            head: [u32; 4],
            device: u32,
            attach_type: u32,
            rest: [u32; 10],
        }
        #[repr(C)]
        #[derive(Clone, Copy)]
        struct Body {
            fd: i32,
            length: u32,
            info: u64,
        }
        let mut info = Info::default();
        let body = Body {
            fd: self.0.as_raw_fd(),
            length: u32::try_from(size_of::<Info>()).unwrap_or(u32::MAX),
            info: std::ptr::from_mut(&mut info) as u64,
        };
        bpf(OBJ_GET_INFO_BY_FD, &mut Attributes { body })?;
        // SAFETY: as in `facts`.
        let info = unsafe { std::ptr::read_volatile(&raw const info) };
        Ok(info.device)
    }
}

/// `BPF_OBJ_PIN` of a link or a map.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let body = Pin {
        path: path.as_ptr() as u64,
        fd: [object.as_raw_fd(), 0],
    };
    bpf(OBJ_PIN, &mut Attributes { body }).map(drop)
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Pin {
    path: u64,
    fd: [i32; 2],
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// A program to be loaded without a loader.
#[derive(Clone, Copy, Debug)]
pub(super) struct Assembled<'a> {
    pub(super) name: &'static str,
    pub(super) code: &'a [u64],
    pub(super) license: &'a std::ffi::CStr,
    /// `enum bpf_prog_type`.
    pub(super) kind: u32,
    /// `enum bpf_attach_type`.
    pub(super) attach_type: u32,
    /// The number of the kernel's function that is hooked; 0 for none.
    pub(super) hooked: u32,
}

/// `BPF_PROG_LOAD`. The error has the end of what the verifier said.
pub(super) fn load_program(program: &Assembled<'_>) -> io::Result<OwnedFd> {
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Body {
        kind: u32,
        count: u32,
        code: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        kernel: u32,
        flags: u32,
        name: [u8; 16],
        device: u32,
        attach_type: u32,
        types: u32,
        function_size: u32,
        functions: u64,
        function_count: u32,
        line_size: u32,
        lines: u64,
        line_count: u32,
        hooked: u32,
        hooked_in: u32,
        pad: u32,
    }
    const LOG: usize = 64 * 1_024;
    let mut name = [0; 16];
    for (to, from) in name.iter_mut().take(15).zip(program.name.bytes()) {
        *to = from;
    }
    let mut log = vec![0_u8; LOG];
    let body = Body {
        kind: program.kind,
        count: u32::try_from(program.code.len()).unwrap_or(u32::MAX),
        code: program.code.as_ptr() as u64,
        license: program.license.as_ptr() as u64,
        log_level: 1,
        log_size: LOG as u32,
        log: log.as_mut_ptr() as u64,
        kernel: 0,
        flags: 0,
        name,
        device: 0,
        attach_type: program.attach_type,
        types: 0,
        function_size: 0,
        functions: 0,
        function_count: 0,
        line_size: 0,
        lines: 0,
        line_count: 0,
        hooked: program.hooked,
        hooked_in: 0,
        pad: 0,
    };
    match bpf(PROG_LOAD, &mut Attributes { body }).and_then(owned) {
        Ok(fd) => Ok(fd),
        Err(error) => {
            let said = log.split(|byte| *byte == 0).next().unwrap_or_default();
            let said = String::from_utf8_lossy(said);
            let lines: Vec<&str> = said
                .lines()
                .filter(|line| !line.starts_with("processed "))
                .collect();
            match lines.last() {
                Some(last) => Err(io::Error::new(error.kind(), format!("{error}: {last}"))),
                None => Err(error),
            }
        }
    }
}

/// `BPF_MAP_LOOKUP_AND_DELETE_ELEM`: reads an entry and removes it, as one step, so that it is
/// had once. `None` when there is none.
pub(super) fn take<K: Pod, V: Pod>(map: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>> {
    read_entry(MAP_LOOKUP_AND_DELETE, map, key)
}

/// `BPF_MAP_LOOKUP_ELEM`. `None` when there is none.
pub(super) fn look_up<K: Pod, V: Pod>(map: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>> {
    read_entry(MAP_LOOKUP, map, key)
}

fn read_entry<K: Pod, V: Pod>(
    command: libc::c_int,
    map: BorrowedFd<'_>,
    key: &K,
) -> io::Result<Option<V>> {
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Body {
        map: u32,
        pad: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    // SAFETY: `V` is plain old data: all zeroes is a value.
    let mut value: V = unsafe { zeroed() };
    let body = Body {
        map: map.as_raw_fd().cast_unsigned(),
        pad: 0,
        key: std::ptr::from_ref(key) as u64,
        value: std::ptr::from_mut(&mut value) as u64,
        flags: 0,
    };
    match bpf(command, &mut Attributes { body }) {
        // SAFETY: ours and initialised; volatile because the kernel wrote it.
        Ok(_) => Ok(Some(unsafe { std::ptr::read_volatile(&raw const value) })),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// `SO_NETNS_COOKIE` of a socket.
pub(super) fn netns_cookie(socket: impl AsFd) -> io::Result<NetnsCookie> {
    let mut cookie = 0u64;
    let mut length = 8 as libc::socklen_t;
    // SAFETY: the buffer is 8 bytes as the length says, and lives across the call.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            71,
            std::ptr::from_mut(&mut cookie).cast(),
            &raw mut length,
        )
    };
    if answer == 0 {
        Ok(NetnsCookie(cookie))
    } else {
        Err(io::Error::last_os_error())
    }
}

/// What a TCP connection carried, by `TCP_INFO` (`struct tcp_info` of the kernel's uapi, since 4.19)
/// and `FIONREAD`. `read` is what its holder took.
///
/// The kernel answers neither question nor its parts in one moment: it looks at the connection's state before it
/// locks it and counts. So both are asked until two answers in a row agree, and then the first of them is whole.
/// Nobody reads meanwhile, so what is unread only grows, to the end of its buffer at most, and states only go on.
pub(super) fn counted(socket: BorrowedFd<'_>, read: u64) -> io::Result<KernelCount> {
    let ask = || {
        let unread = rustix::io::ioctl_fionread(socket)?;
        Ok::<_, io::Error>((unread, TcpInfo::of(socket)?))
    };
    let mut first = ask()?;
    loop {
        let second = ask()?;
        let (unread, info) = first;
        if unread == second.0 && info.state == second.1.state {
            return Ok(info.counted(read, unread));
        }
        first = second;
    }
}

/// What is needed of `struct tcp_info`.
#[derive(Clone, Copy)]
struct TcpInfo {
    state: u8,
    received: u64,
    not_sent: u32,
    sent: u64,
    sent_again: u64,
}

impl TcpInfo {
    fn of(socket: BorrowedFd<'_>) -> io::Result<TcpInfo> {
        const RECEIVED: usize = 128;
        const NOT_SENT: usize = 144;
        const SENT: usize = 200;
        const SENT_AGAIN: usize = 208;
        let mut info = [0_u8; SENT_AGAIN + 8];
        let mut length = info.len() as libc::socklen_t;
        // SAFETY: the buffer is as long as the length says, and lives across the call.
        let answer = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                info.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if answer != 0 {
            return Err(io::Error::last_os_error());
        }
        let known = info.get(..length as usize).unwrap_or_default();
        let old = || io::Error::from(io::ErrorKind::Unsupported);
        let long = |at: usize| {
            let bytes = known.get(at..).and_then(|rest| rest.first_chunk());
            bytes
                .map(|bytes| u64::from_ne_bytes(*bytes))
                .ok_or_else(old)
        };
        let not_sent = known.get(NOT_SENT..).and_then(|rest| rest.first_chunk());
        Ok(TcpInfo {
            state: *known.first().ok_or_else(old)?,
            received: long(RECEIVED)?,
            not_sent: u32::from_ne_bytes(*not_sent.ok_or_else(old)?),
            sent: long(SENT)?,
            sent_again: long(SENT_AGAIN)?,
        })
    }

    fn counted(self, read: u64, unread: u64) -> KernelCount {
        let came = self.received.saturating_sub(unread);
        // The peer's end counts as a byte that came. These are the states after it; of a connection that
        // is closed altogether, as by a reset, only the count says whether it came.
        let ended = match self.state {
            6 | 8 | 9 | 11 => true, // TIME_WAIT, CLOSE_WAIT, LAST_ACK, CLOSING
            7 => came == read + 1,
            _ => false,
        };
        KernelCount {
            received: came.saturating_sub(u64::from(ended)),
            sent: (self.sent + u64::from(self.not_sent)).saturating_sub(self.sent_again),
        }
    }
}

/// `SIOCGSKNS`: the network namespace a socket is in, which need not be its holder's.
pub(super) fn socket_netns(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: the request takes nothing and gives a descriptor.
    let fd = unsafe { libc::ioctl(socket.as_raw_fd(), 0x894c) };
    if fd < 0 {
        Err(io::Error::last_os_error())
    } else {
        owned(fd.into())
    }
}

/// Marks every descriptor but the standard three to be closed when another program is started.
pub(super) fn inherit_nothing() -> io::Result<()> {
    const FIRST: libc::c_uint = 3;
    // SAFETY: numbers only; the descriptors stay open.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            FIRST,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A descriptor that the runtime waits for.
pub(super) fn waited(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is one and the same open descriptor until it is dropped, and `AsyncFd`
    // gives it back only after it is no longer waited for.
    Ok(unsafe { AsyncFd::register(socket) }?)
}

/// Puts the calling thread, and nobody else, into a network namespace of its own.
pub(super) fn leave_network() -> io::Result<()> {
    // SAFETY: takes a number. What this thread does from here on is its caller's.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Do two tasks have one table of descriptors? `None` where the kernel cannot tell.
pub(super) fn same_files(one: u32, other: u32) -> Option<bool> {
    const FILES: libc::c_int = 2;
    // SAFETY: numbers only.
    let answer = unsafe { libc::syscall(libc::SYS_kcmp, one, other, FILES, 0, 0) };
    (answer >= 0).then_some(answer == 0)
}

/// Does the kernel know io_uring? Asked by a call that cannot succeed.
pub(super) fn has_io_uring() -> bool {
    // SAFETY: no entries and no parameters: refused before anything is made or read.
    let answer = unsafe { libc::syscall(libc::SYS_io_uring_setup, 0, 0) };
    answer >= 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ENOSYS)
}

/// The path an open directory has now.
pub(super) fn path_of(directory: BorrowedFd<'_>) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd()))
}

/// `CLOCK_MONOTONIC`, the clock of `bpf_ktime_get_ns`.
pub(super) fn monotonic() -> Duration {
    // SAFETY: a structure of integers, filled by the call.
    let mut now: libc::timespec = unsafe { zeroed() };
    // SAFETY: as above. The clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), nanos)
}

/// Mounts a bpffs that only its owner enters.
pub(super) fn mount_bpffs(at: &Path) -> io::Result<()> {
    let path = c_path(at)?;
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // SAFETY: NUL-terminated strings that live across the call.
    let answer = unsafe {
        libc::mount(
            c"bpf".as_ptr(),
            path.as_ptr(),
            c"bpf".as_ptr(),
            flags,
            c"mode=0700".as_ptr().cast(),
        )
    };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Unmounts what `mount_bpffs` mounted.
pub(super) fn unmount(at: &Path) -> io::Result<()> {
    let path = c_path(at)?;
    // SAFETY: a NUL-terminated string that lives across the call.
    let answer = unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

pub(super) fn is_bpffs(path: &Path) -> io::Result<bool> {
    Ok(rustix::fs::statfs(path)?.f_type == BPFFS)
}

/// The id of the cgroup a directory stands for: its inode.
pub(super) fn cgroup_id(directory: &Path) -> Result<CgroupId, InterceptError> {
    let name = directory.display();
    let missing = "does the directory exist?";
    let kind = rustix::fs::statfs(directory)
        .map_err(|e| InterceptError::call("statfs", &name, missing)(e.into()))?
        .f_type;
    if kind != CGROUP2 {
        return Err(InterceptError::NotCgroup2(directory.to_owned()));
    }
    let facts = fs::metadata(directory).map_err(InterceptError::call(
        "stat",
        &directory.display(),
        missing,
    ))?;
    Ok(CgroupId(facts.ino()))
}

/// Opens the directory of a cgroup by its id, with any directory of the same mount.
pub(super) fn open_cgroup(mount: impl AsFd, cgroup: CgroupId) -> io::Result<OwnedFd> {
    /// `struct file_handle` with a kernfs id in it (`FILEID_KERNFS`).
    #[repr(C)]
    struct Handle {
        bytes: u32,
        kind: i32,
        id: [u8; 8],
    }
    let mut handle = Handle {
        bytes: 8,
        kind: 0xfe,
        id: cgroup.0.to_ne_bytes(),
    };
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: the handle says its own length and lives across the call.
    let fd = unsafe {
        libc::open_by_handle_at(
            mount.as_fd().as_raw_fd(),
            std::ptr::from_mut(&mut handle).cast(),
            flags,
        )
    };
    if fd < 0 {
        Err(io::Error::last_os_error())
    } else {
        owned(fd.into())
    }
}

/// The cgroup2 mount: the first in the mount table whose root is the hierarchy's own.
pub(super) fn cgroup_root() -> Result<PathBuf, InterceptError> {
    let path = "/proc/self/mountinfo";
    let table =
        fs::read_to_string(path).map_err(InterceptError::call("read", &path, "mount /proc"))?;
    table
        .lines()
        .find_map(cgroup2_mount)
        .ok_or(InterceptError::NoCgroup2)
}

/// proc(5): `id parent major:minor root mountpoint options … - type source options`.
fn cgroup2_mount(line: &str) -> Option<PathBuf> {
    let (before, after) = line.split_once(" - ")?;
    if after.split(' ').next()? != "cgroup2" {
        return None;
    }
    let mut fields = before.split(' ').skip(3);
    (fields.next()? == "/").then_some(())?;
    fields
        .next()
        .map(|at| PathBuf::from(at.replace("\\040", " ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup2_mount_is_found_also_in_hybrid_mode() {
        for (line, want) in [
            (
                "30 24 0:26 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw",
                Some("/sys/fs/cgroup/unified"),
            ),
            (
                "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate",
                Some("/sys/fs/cgroup"),
            ),
            (
                "31 24 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu",
                None,
            ),
            (
                "32 24 0:26 /kubepods/x /sys/fs/cgroup ro - cgroup2 cgroup2 rw",
                None,
            ),
        ] {
            assert_eq!(
                cgroup2_mount(line).as_deref(),
                want.map(Path::new),
                "{line}"
            );
        }
    }
}
