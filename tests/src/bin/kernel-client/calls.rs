//! System calls that no safe crate at hand offers, for routes that only a determined workload
//! takes.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

/// An address as the kernel reads it, and its length.
pub(super) fn raw_address(to: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: all zero is a value of these structures; the larger one holds the smaller ones.
    unsafe {
        let mut all: libc::sockaddr_storage = zeroed();
        let length = match to {
            SocketAddr::V4(v4) => {
                let at = ptr::from_mut(&mut all).cast::<libc::sockaddr_in>();
                (*at).sin_family = libc::AF_INET as u16;
                (*at).sin_port = v4.port().to_be();
                (*at).sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
                size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                let at = ptr::from_mut(&mut all).cast::<libc::sockaddr_in6>();
                (*at).sin6_family = libc::AF_INET6 as u16;
                (*at).sin6_port = v6.port().to_be();
                (*at).sin6_addr.s6_addr = v6.ip().octets();
                size_of::<libc::sockaddr_in6>()
            }
        };
        (all, length as libc::socklen_t)
    }
}

fn done(answer: libc::c_long) -> io::Result<i32> {
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(answer as i32)
    }
}

pub(super) fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers; a descriptor that is nobody else's.
    unsafe {
        let fd = done(libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol).into())?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

pub(super) fn connect(socket: &impl AsRawFd, to: SocketAddr) -> io::Result<()> {
    let (address, length) = raw_address(to);
    let at = ptr::from_ref(&address).cast();
    // SAFETY: the address lives until the call returns.
    done(unsafe { libc::connect(socket.as_raw_fd(), at, length) }.into()).map(drop)
}

/// Undoes a connect.
pub(super) fn disconnect(socket: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: all zero is AF_UNSPEC; as above.
    unsafe {
        let nobody: libc::sockaddr = zeroed();
        let length = size_of::<libc::sockaddr>() as libc::socklen_t;
        done(libc::connect(socket.as_raw_fd(), &raw const nobody, length).into()).map(drop)
    }
}

pub(super) fn set(socket: &impl AsRawFd, level: i32, option: i32, value: &[u8]) -> io::Result<()> {
    let length = value.len() as libc::socklen_t;
    // SAFETY: the value lives until the call returns.
    let answer = unsafe {
        let at = value.as_ptr().cast();
        libc::setsockopt(socket.as_raw_fd(), level, option, at, length)
    };
    done(answer.into()).map(drop)
}

/// getsockopt(2); gives how much of `value` was written.
pub(super) fn get(
    socket: &impl AsRawFd,
    level: i32,
    option: i32,
    value: &mut [u8],
) -> io::Result<usize> {
    let mut length = value.len() as libc::socklen_t;
    // SAFETY: as much room as is said.
    let answer = unsafe {
        let at = value.as_mut_ptr().cast();
        libc::getsockopt(socket.as_raw_fd(), level, option, at, &raw mut length)
    };
    done(answer.into()).map(|_| length as usize)
}

/// ioctl(2) with a request of a device's name and something beside it.
pub(super) fn control(
    file: &impl AsRawFd,
    request: libc::c_ulong,
    value: &mut [u8; 40],
) -> io::Result<()> {
    // SAFETY: the largest request about a network device has 40 bytes.
    done(unsafe { libc::ioctl(file.as_raw_fd(), request as _, value.as_mut_ptr()) }.into())
        .map(drop)
}

/// Hears one device only.
pub(super) fn bind_device(socket: &impl AsRawFd, at: &libc::sockaddr_ll) -> io::Result<()> {
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address lives until the call returns.
    let answer = unsafe { libc::bind(socket.as_raw_fd(), ptr::from_ref(at).cast(), length) };
    done(answer.into()).map(drop)
}

pub(super) fn receive(socket: &impl AsRawFd, into: &mut [u8]) -> io::Result<usize> {
    // SAFETY: as much room as is said.
    let answer = unsafe { libc::recv(socket.as_raw_fd(), into.as_mut_ptr().cast(), into.len(), 0) };
    done(answer as libc::c_long).map(|length| length as usize)
}

pub(super) fn send(socket: &impl AsRawFd, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: the bytes live until the call returns.
    let answer = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
    done(answer as libc::c_long).map(drop)
}

/// sendto(2), with a family of the caller's choice in the address.
pub(super) fn send_to(
    socket: &impl AsRawFd,
    bytes: &[u8],
    to: SocketAddr,
    flags: i32,
    family: Option<u16>,
) -> io::Result<()> {
    let (mut address, length) = raw_address(to);
    if let Some(family) = family {
        address.ss_family = family;
    }
    // SAFETY: as above.
    let answer = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            flags,
            ptr::from_ref(&address).cast(),
            length,
        )
    };
    done(answer as libc::c_long).map(drop)
}

/// sendmsg(2) with one control message.
pub(super) fn send_message(
    socket: &impl AsRawFd,
    bytes: &[u8],
    to: SocketAddr,
    flags: i32,
    control: Option<(i32, i32, &[u8])>,
) -> io::Result<()> {
    let (mut address, length) = raw_address(to);
    let mut room = [0u64; 16];
    // SAFETY: every pointer leads to something that lives until the call returns; the control
    // message fits into its room, which is aligned for its header.
    unsafe {
        let mut io = libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        let mut message: libc::msghdr = zeroed();
        message.msg_name = ptr::from_mut(&mut address).cast();
        message.msg_namelen = length;
        message.msg_iov = &raw mut io;
        message.msg_iovlen = 1;
        if let Some((level, kind, value)) = control {
            assert!(value.len() <= 64);
            message.msg_control = room.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(value.len() as u32) as usize;
            let head = libc::CMSG_FIRSTHDR(&raw const message);
            (*head).cmsg_level = level;
            (*head).cmsg_type = kind;
            (*head).cmsg_len = libc::CMSG_LEN(value.len() as u32) as usize;
            ptr::copy_nonoverlapping(value.as_ptr(), libc::CMSG_DATA(head), value.len());
        }
        done(libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) as libc::c_long).map(drop)
    }
}

/// A frame's payload, put on a device.
pub(super) fn send_frame(
    socket: &impl AsRawFd,
    bytes: &[u8],
    to: &libc::sockaddr_ll,
) -> io::Result<()> {
    // SAFETY: as above.
    let answer = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            0,
            ptr::from_ref(to).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    done(answer as libc::c_long).map(drop)
}

/// A descriptor of another process.
pub(super) fn take_descriptor(pid: i32, fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers; descriptors that are nobody else's.
    unsafe {
        let process = done(libc::syscall(libc::SYS_pidfd_open, pid, 0))?;
        let process = OwnedFd::from_raw_fd(process);
        let fd = done(libc::syscall(
            libc::SYS_pidfd_getfd,
            process.as_raw_fd(),
            fd,
            0,
        ))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// The network namespace of another process becomes this one's.
pub(super) fn enter(pid: i32) -> io::Result<()> {
    let namespace = std::fs::File::open(format!("/proc/{pid}/ns/net"))?;
    // SAFETY: no pointers.
    done(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }.into()).map(drop)
}

/// What a container gets unless somebody asks for more: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL,
/// SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, NET_RAW, SYS_CHROOT, MKNOD, AUDIT_WRITE, SETFCAP.
const CONTAINER: u64 = 1
    | 1 << 1
    | 1 << 3
    | 1 << 4
    | 1 << 5
    | 1 << 6
    | 1 << 7
    | 1 << 8
    | 1 << 10
    | 1 << 13
    | 1 << 18
    | 1 << 27
    | 1 << 29
    | 1 << 31;

/// Gives privileges up for good.
pub(super) fn become_one(who: &str) -> io::Result<()> {
    let keep = match who {
        "root" => return Ok(()),
        "container" => CONTAINER,
        "nobody" => 0,
        _ => return Err(io::ErrorKind::Unsupported.into()),
    };
    #[repr(C)]
    struct Head {
        version: u32,
        pid: i32,
    }
    let words = [keep as u32, (keep >> 32) as u32];
    // Effective, permitted, inheritable; for each half.
    let sets = [words[0], words[0], 0, words[1], words[1], 0];
    let head = Head {
        version: 0x2008_0522,
        pid: 0,
    };
    // SAFETY: the structures live until the calls return.
    unsafe {
        for capability in (0..=40).filter(|bit| keep & (1 << bit) == 0) {
            // Newer capabilities are not known to every kernel.
            libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
        }
        if who == "nobody" {
            done(libc::setgroups(0, ptr::null()).into())?;
            done(libc::setresgid(65_534, 65_534, 65_534).into())?;
            done(libc::setresuid(65_534, 65_534, 65_534).into())?;
        }
        done(libc::syscall(
            libc::SYS_capset,
            &raw const head,
            sets.as_ptr(),
        ))
        .map(drop)
    }
}

/// connect(2) by the 32-bit door of a 64-bit kernel.
#[cfg(target_arch = "x86_64")]
pub(super) fn connect_32(to: SocketAddr) -> io::Result<OwnedFd> {
    fn call(number: u64, a: u64, b: u64, c: u64) -> io::Result<i32> {
        let mut answer = number;
        // SAFETY: the kernel reads three numbers, of which one may be an address below 4 GiB; rbx
        // is put back.
        unsafe {
            std::arch::asm!(
                "xchg {a}, rbx",
                "int 0x80",
                "xchg {a}, rbx",
                a = inout(reg) a => _,
                inout("rax") answer,
                in("rcx") b,
                in("rdx") c,
                out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            );
        }
        let answer = answer as i32;
        if answer < 0 {
            Err(io::Error::from_raw_os_error(-answer))
        } else {
            Ok(answer)
        }
    }
    let (address, length) = raw_address(to);
    // SAFETY: a page of our own, large enough for the address.
    let low = unsafe {
        let page = libc::mmap(
            ptr::null_mut(),
            4_096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
            -1,
            0,
        );
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        ptr::copy_nonoverlapping(&raw const address, page.cast(), 1);
        page as u64
    };
    let family = if to.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let fd = call(359, family as u64, libc::SOCK_STREAM as u64, 0)?;
    // SAFETY: just made.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    call(362, fd as u64, low, u64::from(length))?;
    Ok(socket)
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn connect_32(_: SocketAddr) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}
