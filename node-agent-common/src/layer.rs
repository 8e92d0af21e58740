//! What the programs of the optional layers tell and count.

use core::mem::{offset_of, size_of};

/// A unix socket's name as the kernel compares it: the key of the map of allowed ones.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(C)]
pub struct UnixName {
    /// How long an abstract name is, with the zero byte it begins with; 0 for a path, which ends
    /// at its first zero byte.
    pub length: u32,
    /// Zero.
    pub zero: u32,
    /// The name, zeroes behind it.
    pub name: [u8; 112],
}

/// The longest name a `sockaddr_un` holds.
pub const LONGEST: usize = 108;

/// A refusal of an optional layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Refusal {
    /// `EVENT_REFUSED_*`.
    pub kind: u32,
    /// The socket's family, or the length of the name in `name`.
    pub number: u32,
    /// The cgroup of the task.
    pub cgroup: u64,
    /// Its label.
    pub label: u32,
    /// Its thread group.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Zero.
    pub zero: u32,
    /// Its name, padded with zero bytes.
    pub comm: [u8; 16],
    /// A unix socket's name as it was given.
    pub name: [u8; 112],
}

/// A socket of a family that leads off the node was refused.
pub const EVENT_REFUSED_FAMILY: u32 = 40;
/// A unix socket that is not allowed was refused.
pub const EVENT_REFUSED_UNIX: u32 = 41;

/// Sockets of such families that anybody asked for: a program that is attached and does not count
/// them is not run.
pub const CELL_ODD: u32 = 0;
/// When a refusal was last told of, `CLOCK_MONOTONIC` in nanoseconds.
pub const CELL_TOLD: u32 = 1;
/// Refused for their family.
pub const CELL_FAMILIES: u32 = 2;
/// Refused unix sockets.
pub const CELL_UNIX: u32 = 3;
/// How many cells.
pub const CELLS: u32 = 4;

/// At most ten refusals in a second are told of.
pub const TOLD_EVERY_NANOS: i32 = 100_000_000;

const _: () = {
    assert!(size_of::<UnixName>() == 120 && offset_of!(UnixName, name) == 8);
    assert!(size_of::<Refusal>() == 160 && offset_of!(Refusal, name) == 48);
    assert!(LONGEST < 112);
};
