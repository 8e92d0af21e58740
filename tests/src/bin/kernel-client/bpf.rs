//! bpf(2), as somebody uses it who wants to undo the redirect, or to outwit it with programs of his
//! own.

use std::ffi::CString;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const MAP_DELETE: u32 = 3;
const PROG_LOAD: u32 = 5;
const OBJ_GET: u32 = 7;
const PROG_ATTACH: u32 = 8;
const INFO_BY_FD: u32 = 15;
const LINK_CREATE: u32 = 28;
const LINK_BY_ID: u32 = 30;
const LINK_DETACH: u32 = 34;

const SCHED_CLS: u32 = 3;
const CGROUP_SOCK_ADDR: u32 = 18;
const CONNECT4: u32 = 10;
const TCX_INGRESS: u32 = 46;
const TCX_EGRESS: u32 = 47;
const ALLOW_MULTI: u32 = 2;

/// One call; its attributes are words of 32 bits at their places.
fn bpf(command: u32, attributes: &mut [u32; 32]) -> io::Result<i32> {
    // SAFETY: attributes of the size that is said; what they point to lives with the caller.
    let answer = unsafe {
        let size = size_of_val(attributes);
        libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size)
    };
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(answer as i32)
    }
}

fn place(attributes: &mut [u32; 32], at: usize, pointer: u64) {
    attributes[at] = pointer as u32;
    attributes[at + 1] = (pointer >> 32) as u32;
}

fn descriptor(fd: i32) -> OwnedFd {
    // SAFETY: just made, nobody else's.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn pinned(path: &str) -> io::Result<OwnedFd> {
    let path = CString::new(Path::new(path).as_os_str().as_bytes())?;
    let mut attributes = [0; 32];
    place(&mut attributes, 0, path.as_ptr() as u64);
    bpf(OBJ_GET, &mut attributes).map(descriptor)
}

/// The number of a pinned link.
pub(super) fn link_id(path: &str) -> io::Result<u32> {
    let link = pinned(path)?;
    let mut info = [0_u32; 16];
    let mut attributes = [0; 32];
    attributes[0] = link.as_raw_fd() as u32;
    attributes[1] = size_of_val(&info) as u32;
    place(&mut attributes, 2, info.as_mut_ptr() as u64);
    bpf(INFO_BY_FD, &mut attributes)?;
    Ok(info[1])
}

fn detach(link: &OwnedFd) -> io::Result<()> {
    let mut attributes = [0; 32];
    attributes[0] = link.as_raw_fd() as u32;
    bpf(LINK_DETACH, &mut attributes).map(drop)
}

pub(super) fn detach_pin(path: &str) -> io::Result<()> {
    detach(&pinned(path)?)
}

pub(super) fn detach_id(id: u32) -> io::Result<()> {
    let mut attributes = [0; 32];
    attributes[0] = id;
    detach(&descriptor(bpf(LINK_BY_ID, &mut attributes)?))
}

/// Deletes what a pinned map has for a key of 64 bits.
pub(super) fn forget(path: &str, key: u64) -> io::Result<()> {
    let map = pinned(path)?;
    let mut attributes = [0; 32];
    attributes[0] = map.as_raw_fd() as u32;
    place(&mut attributes, 2, &raw const key as u64);
    bpf(MAP_DELETE, &mut attributes).map(drop)
}

/// An instruction: operation, registers (source, destination), offset, number.
const fn op(code: u8, source: u8, destination: u8, offset: i16, number: i32) -> u64 {
    code as u64
        | (destination as u64) << 8
        | (source as u64) << 12
        | (offset as u16 as u64) << 16
        | (number as u32 as u64) << 32
}

const MOVE: u8 = 0xb7;
const MOVE32: u8 = 0xb4;
const COPY: u8 = 0xbf;
const ADD: u8 = 0x07;
const LOAD32: u8 = 0x61;
const STORE32: u8 = 0x63;
const JUMP_NOT_EQUAL32: u8 = 0x5e;
const JUMP_NOT: u8 = 0x55;
const CALL: u8 = 0x85;
const END: u8 = 0x95;

fn load(kind: u32, attach: u32, program: &[u64]) -> io::Result<OwnedFd> {
    let licence = c"GPL";
    let mut attributes = [0; 32];
    attributes[0] = kind;
    attributes[1] = program.len() as u32;
    place(&mut attributes, 2, program.as_ptr() as u64);
    place(&mut attributes, 4, licence.as_ptr() as u64);
    attributes[17] = attach;
    bpf(PROG_LOAD, &mut attributes).map(descriptor)
}

fn raw(address: Ipv4Addr) -> i32 {
    i32::from_ne_bytes(address.octets())
}

/// A connect hook of one's own at a cgroup: whatever is dialled, this address it becomes.
pub(super) fn redirect(cgroup: &str, to: Ipv4Addr) -> io::Result<()> {
    let program = [
        op(MOVE32, 0, 2, 0, raw(to)),
        op(STORE32, 2, 1, 4, 0), // user_ip4
        op(MOVE, 0, 0, 0, 1),
        op(END, 0, 0, 0, 0),
    ];
    let program = load(CGROUP_SOCK_ADDR, CONNECT4, &program)?;
    let cgroup = std::fs::File::open(cgroup)?;
    let mut attributes = [0; 32];
    attributes[0] = cgroup.as_raw_fd() as u32;
    attributes[1] = program.as_raw_fd() as u32;
    attributes[2] = CONNECT4;
    attributes[3] = ALLOW_MULTI;
    bpf(PROG_ATTACH, &mut attributes).map(drop)
}

/// What the socket calls `decoy` is `real` on the wire, both ways: filters of one's own on one's
/// own device. The links are to be kept.
pub(super) fn rewrite(
    index: u32,
    decoy: Ipv4Addr,
    real: Ipv4Addr,
) -> io::Result<(OwnedFd, OwnedFd)> {
    Ok((
        one_way(index, TCX_EGRESS, 30, decoy, real)?,
        one_way(index, TCX_INGRESS, 26, real, decoy)?,
    ))
}

/// Packets that a device sends (or receives) to `decoy` go to `real`, as long as the link is kept.
pub(super) fn redirect_packets(
    index: u32,
    sent: bool,
    decoy: Ipv4Addr,
    real: Ipv4Addr,
) -> io::Result<OwnedFd> {
    let attach = if sent { TCX_EGRESS } else { TCX_INGRESS };
    one_way(index, attach, 30, decoy, real)
}

fn one_way(
    index: u32,
    attach: u32,
    field: i32,
    from: Ipv4Addr,
    to: Ipv4Addr,
) -> io::Result<OwnedFd> {
    let program = load(SCHED_CLS, 0, &replace(field, raw(from), raw(to)))?;
    let mut attributes = [0; 32];
    attributes[0] = program.as_raw_fd() as u32;
    attributes[1] = index;
    attributes[2] = attach;
    bpf(LINK_CREATE, &mut attributes).map(descriptor)
}

/// Replaces an address at that place of an Ethernet frame, and mends both checksums: that of TCP,
/// for a datagram here has none.
fn replace(field: i32, from: i32, to: i32) -> Vec<u64> {
    const LOAD_BYTES: i32 = 26;
    const STORE_BYTES: i32 = 9;
    const L3_SUM: i32 = 10;
    const L4_SUM: i32 = 11;
    // With the pseudo header; 4 bytes.
    const PSEUDO: i32 = 1 << 4 | 4;
    let sum = |offset, flags, helper| {
        [
            op(COPY, 6, 1, 0, 0),
            op(MOVE, 0, 2, 0, offset),
            op(MOVE32, 0, 3, 0, from),
            op(MOVE32, 0, 4, 0, to),
            op(MOVE, 0, 5, 0, flags),
            op(CALL, 0, 0, 0, helper),
        ]
    };
    let mut body = Vec::new();
    body.extend(sum(14 + 20 + 16, PSEUDO, L4_SUM));
    body.extend(sum(14 + 10, 4, L3_SUM));
    body.extend([
        op(MOVE32, 0, 1, 0, to),
        op(STORE32, 1, 10, -4, 0),
        op(COPY, 6, 1, 0, 0),
        op(MOVE, 0, 2, 0, field),
        op(COPY, 10, 3, 0, 0),
        op(ADD, 0, 3, 0, -4),
        op(MOVE, 0, 4, 0, 4),
        op(MOVE, 0, 5, 0, 0),
        op(CALL, 0, 0, 0, STORE_BYTES),
    ]);
    let rest = body.len() as i16;
    let mut program = vec![
        op(COPY, 1, 6, 0, 0),
        op(MOVE, 0, 2, 0, field),
        op(COPY, 10, 3, 0, 0),
        op(ADD, 0, 3, 0, -4),
        op(MOVE, 0, 4, 0, 4),
        op(CALL, 0, 0, 0, LOAD_BYTES),
        op(JUMP_NOT, 0, 0, rest + 3, 0),
        op(LOAD32, 10, 1, -4, 0),
        op(MOVE32, 0, 2, 0, from),
        op(JUMP_NOT_EQUAL32, 2, 1, rest, 0),
    ];
    program.extend(body);
    // Whoever comes next is asked as well.
    program.extend([op(MOVE, 0, 0, 0, -1), op(END, 0, 0, 0, 0)]);
    program
}
