//! What somebody with all privileges does to a redirect: its links by their pins.

use std::ffi::CString;
use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

const PROG_LOAD: i32 = 5;
const OBJ_GET: i32 = 7;
const MAP_UPDATE: i32 = 2;
const MAP_DELETE: i32 = 3;
const LINK_UPDATE: i32 = 29;
const LINK_DETACH: i32 = 34;
/// `BPF_PROG_TYPE_CGROUP_SOCK_ADDR`, `BPF_CGROUP_INET4_CONNECT`.
const SOCK_ADDR: u32 = 18;
const CONNECT4: u32 = 10;
/// `BPF_PROG_TYPE_SCHED_CLS`, `TCX_NEXT`.
const SCHED_CLS: u32 = 3;
const NEXT: i32 = -1;

/// `detach`, `replace` (of connect4: by a program that lets everything pass), or `replace-device`
/// (the same of a device's), by the pin.
pub(super) fn go(what: &str, pin: &str) -> io::Result<String> {
    let link = get(pin)?;
    match what {
        "detach" => {
            bpf(LINK_DETACH, &mut [link.as_raw_fd(), 0])?;
            Ok("detached".to_owned())
        }
        "replace" | "replace-device" => {
            let open = match what {
                "replace" => load(SOCK_ADDR, CONNECT4, 1)?,
                _ => load(SCHED_CLS, 0, NEXT)?,
            };
            bpf(LINK_UPDATE, &mut [link.as_raw_fd(), open.as_raw_fd(), 0, 0])?;
            Ok("replaced".to_owned())
        }
        // `forget:KEY`, in hexadecimal, with the pin of any map.
        _ if what.starts_with("forget:") => {
            let bytes = super::talk::bytes(&what["forget:".len()..])?;
            let map = u64::from(link.as_raw_fd().cast_unsigned());
            bpf(MAP_DELETE, &mut [map, bytes.as_ptr() as u64, 0, 0])?;
            Ok("forgotten".to_owned())
        }
        // `add:KEY` with the value 1 of one byte, in the same way.
        _ if what.starts_with("add:") => {
            let bytes = super::talk::bytes(&what["add:".len()..])?;
            let (map, value) = (u64::from(link.as_raw_fd().cast_unsigned()), [1_u8]);
            bpf(MAP_UPDATE, &mut [map, bytes.as_ptr() as u64, value.as_ptr() as u64, 0])?;
            Ok("added".to_owned())
        }
        // `unlabel:CGROUP`, with the pin of the map.
        _ => match what.strip_prefix("unlabel:").map(str::parse::<u64>) {
            Some(Ok(cgroup)) => {
                let key = ptr::from_ref(&cgroup) as u64;
                let map = u64::from(link.as_raw_fd().cast_unsigned());
                bpf(MAP_DELETE, &mut [map, key, 0, 0])?;
                Ok("unlabelled".to_owned())
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        },
    }
}

fn get(pin: &str) -> io::Result<OwnedFd> {
    let path = CString::new(pin)?;
    let mut attributes = [path.as_ptr() as u64, 0];
    owned(bpf(OBJ_GET, &mut attributes)?)
}

/// `r0 = answer; exit`.
fn load(kind: u32, attached_as: u32, answer: i32) -> io::Result<OwnedFd> {
    let code: [u64; 2] = [two(0xb7, answer.cast_unsigned()), 0x0000_0000_0000_0095];
    let license = c"GPL";
    let mut attributes = [0_u64; 9];
    attributes[0] = two(kind, 2);
    attributes[1] = code.as_ptr() as u64;
    attributes[2] = license.as_ptr() as u64;
    // Its name, from byte 48 on; what it is to be attached as, at byte 68.
    attributes[6] = two(u32::from_ne_bytes(*b"open"), 0);
    attributes[8] = two(0, attached_as);
    owned(bpf(PROG_LOAD, &mut attributes)?)
}

/// Two fields of 32 bits, as they lie in memory.
fn two(first: u32, second: u32) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

fn bpf<T>(command: i32, attributes: &mut [T]) -> io::Result<i64> {
    // SAFETY: the command's part of `union bpf_attr`, with its size; pointers in it are made from
    // what the callers hold across the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attributes.as_mut_ptr(),
            size_of_val(attributes),
        )
    };
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(answer)
    }
}

fn owned(answer: i64) -> io::Result<OwnedFd> {
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(answer as i32) })
}
