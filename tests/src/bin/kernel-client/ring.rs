//! io_uring(7), as far as a connect needs it.

use std::io;
use std::mem::zeroed;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::calls;

const SQPOLL: u32 = 1 << 1;
const ENTER_GETEVENTS: u32 = 1;
const ENTER_WAKEUP: u32 = 2;
const CONNECT: u8 = 16;
const SOCKET: u8 = 45;
const RECEIVE: u8 = 27;

#[repr(C)]
struct SqOffsets {
    head: u32,
    tail: u32,
    mask: u32,
    entries: u32,
    flags: u32,
    dropped: u32,
    array: u32,
    zero: u32,
    address: u64,
}

#[repr(C)]
struct CqOffsets {
    head: u32,
    tail: u32,
    mask: u32,
    entries: u32,
    overflow: u32,
    cqes: u32,
    flags: u32,
    zero: u32,
    address: u64,
}

#[repr(C)]
struct Parameters {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
    cpu: u32,
    idle: u32,
    features: u32,
    wq: u32,
    zero: [u32; 3],
    sq: SqOffsets,
    cq: CqOffsets,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Submission {
    opcode: u8,
    flags: u8,
    priority: u16,
    fd: i32,
    offset: u64,
    address: u64,
    length: u32,
    rest: [u32; 9],
}

#[repr(C)]
struct Completion {
    data: u64,
    result: i32,
    flags: u32,
}

struct Ring {
    fd: OwnedFd,
    sq: *mut u8,
    cq: *mut u8,
    sqes: *mut Submission,
    parameters: Parameters,
}

impl Ring {
    fn new(flags: u32) -> io::Result<Ring> {
        // SAFETY: the kernel's own structure; three mappings of the ring it gives, of the sizes it
        // names. They end with the process.
        unsafe {
            let mut parameters: Parameters = zeroed();
            parameters.flags = flags;
            parameters.idle = 1_000;
            let fd = libc::syscall(libc::SYS_io_uring_setup, 4, &raw mut parameters);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            let fd = OwnedFd::from_raw_fd(fd as i32);
            let map = |offset: i64| {
                let at = libc::mmap(
                    ptr::null_mut(),
                    4_096,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_SHARED,
                    fd.as_raw_fd(),
                    offset,
                );
                if at == libc::MAP_FAILED {
                    Err(io::Error::last_os_error())
                } else {
                    Ok(at)
                }
            };
            let sq = map(0)?.cast();
            let cq = map(0x0800_0000)?.cast();
            let sqes = map(0x1000_0000)?.cast();
            Ok(Ring {
                fd,
                sq,
                cq,
                sqes,
                parameters,
            })
        }
    }

    /// Does one thing and waits for its result.
    fn run(&self, what: Submission) -> io::Result<i32> {
        // SAFETY: words of the mapped rings at the offsets the kernel gave; this thread alone
        // writes the submission's tail and the completion's head.
        unsafe {
            let word = |base: *mut u8, offset: u32| &*base.add(offset as usize).cast::<AtomicU32>();
            let tail = word(self.sq, self.parameters.sq.tail);
            let at = tail.load(Ordering::Relaxed);
            let slot = at & word(self.sq, self.parameters.sq.mask).load(Ordering::Relaxed);
            *self.sqes.add(slot as usize) = what;
            let array = self.sq.add(self.parameters.sq.array as usize).cast::<u32>();
            *array.add(slot as usize) = slot;
            tail.store(at.wrapping_add(1), Ordering::Release);
            let polled = self.parameters.flags & SQPOLL != 0;
            let (submit, flags) = if polled {
                (0, ENTER_WAKEUP)
            } else {
                (1, ENTER_GETEVENTS)
            };
            let none = ptr::null::<u8>();
            let fd = self.fd.as_raw_fd();
            let least = u32::from(!polled);
            let done = libc::syscall(libc::SYS_io_uring_enter, fd, submit, least, flags, none, 0);
            if done < 0 {
                return Err(io::Error::last_os_error());
            }
            let head = word(self.cq, self.parameters.cq.head);
            let seen = head.load(Ordering::Relaxed);
            let until = Instant::now() + Duration::from_secs(5);
            while word(self.cq, self.parameters.cq.tail).load(Ordering::Acquire) == seen {
                if Instant::now() > until {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            let slot = seen & word(self.cq, self.parameters.cq.mask).load(Ordering::Relaxed);
            let cqes = self.cq.add(self.parameters.cq.cqes as usize);
            let result = (*cqes.cast::<Completion>().add(slot as usize)).result;
            head.store(seen.wrapping_add(1), Ordering::Release);
            if result < 0 {
                Err(io::Error::from_raw_os_error(-result))
            } else {
                Ok(result)
            }
        }
    }
}

const EMPTY: Submission = Submission {
    opcode: 0,
    flags: 0,
    priority: 0,
    fd: -1,
    offset: 0,
    address: 0,
    length: 0,
    rest: [0; 9],
};

/// A connect of a unix socket by the ring.
pub(super) fn connect_unix(
    address: &libc::sockaddr_un,
    length: libc::socklen_t,
) -> io::Result<OwnedFd> {
    let ring = Ring::new(0)?;
    let socket = calls::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)?;
    ring.run(Submission {
        opcode: CONNECT,
        fd: socket.as_raw_fd(),
        offset: u64::from(length),
        address: ptr::from_ref(address) as u64,
        ..EMPTY
    })?;
    Ok(socket)
}

/// A connect by the ring; with `make`, the socket comes from it as well; with `polled`, a thread of
/// the kernel does it.
pub(super) fn connect(to: SocketAddr, make: bool, polled: bool) -> io::Result<OwnedFd> {
    let ring = Ring::new(if polled { SQPOLL } else { 0 })?;
    let family = if to.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let socket = if make {
        let fd = ring.run(Submission {
            opcode: SOCKET,
            fd: family,
            offset: libc::SOCK_STREAM as u64,
            ..EMPTY
        })?;
        // SAFETY: just made.
        unsafe { OwnedFd::from_raw_fd(fd) }
    } else {
        calls::socket(family, libc::SOCK_STREAM, 0)?
    };
    let (address, length) = calls::raw_address(to);
    ring.run(Submission {
        opcode: CONNECT,
        fd: socket.as_raw_fd(),
        offset: u64::from(length),
        address: ptr::from_ref(&address) as u64,
        ..EMPTY
    })?;
    Ok(socket)
}

/// A ring whose kernel thread belongs to whoever made it and has its files, also when a child gives
/// the order, and memory that the thread sees as well.
pub(super) struct Shared {
    ring: Ring,
    memory: *mut u8,
}

impl Shared {
    pub(super) fn make() -> io::Result<Shared> {
        let ring = Ring::new(SQPOLL)?;
        // SAFETY: a page that ends with the process and its children.
        let memory = unsafe {
            libc::mmap(
                ptr::null_mut(),
                4_096,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Shared {
            ring,
            memory: memory.cast(),
        })
    }

    /// Makes a socket, connects it and reads, all by the maker's thread: the socket is the maker's.
    pub(super) fn dial(&self, to: SocketAddr) -> io::Result<String> {
        let family = if to.is_ipv4() {
            libc::AF_INET
        } else {
            libc::AF_INET6
        };
        let socket = self.ring.run(Submission {
            opcode: SOCKET,
            fd: family,
            offset: libc::SOCK_STREAM as u64,
            ..EMPTY
        })?;
        let (address, length) = calls::raw_address(to);
        // SAFETY: the page holds both, one after the other.
        unsafe { ptr::copy_nonoverlapping(&raw const address, self.memory.cast(), 1) };
        self.ring.run(Submission {
            opcode: CONNECT,
            fd: socket,
            offset: u64::from(length),
            address: self.memory as u64,
            ..EMPTY
        })?;
        // SAFETY: within the page.
        let heard = unsafe { self.memory.add(1_024) };
        let length = self.ring.run(Submission {
            opcode: RECEIVE,
            fd: socket,
            address: heard as u64,
            length: 64,
            ..EMPTY
        })?;
        // SAFETY: the kernel wrote so many bytes.
        let bytes = unsafe { std::slice::from_raw_parts(heard, length as usize) };
        Ok(String::from_utf8_lossy(bytes).trim().to_owned())
    }
}
