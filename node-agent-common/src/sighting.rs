//! News for enrolment: something about labelled tasks or their network namespaces may have
//! changed. A sighting says where to look, never what to believe.

use core::mem::size_of;

/// One sighting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Sighting {
    /// `SIGHTING_*`.
    pub kind: u32,
    /// The thread group concerned; 0 when unknown.
    pub pid: u32,
    /// The network namespace's cookie; for `SIGHTING_LEFT` the cgroup that was left; else 0.
    pub netns: u64,
}

/// A labelled task started a program: it may be in a network namespace nobody looked at yet.
pub const SIGHTING_EXEC: u32 = 1;
/// A labelled task made a socket, or was redirected, in a namespace without a listener.
pub const SIGHTING_SOCKET: u32 = 2;
/// Some task was moved between cgroups; the thread group is its mover's.
pub const SIGHTING_MOVED: u32 = 3;
/// A task that was labelled was moved, or runs a program where it is not labelled. Whether it is
/// labelled now too, enrolment sees.
pub const SIGHTING_LEFT: u32 = 4;
/// A labelled task made another, which may be in another cgroup.
pub const SIGHTING_FORKED: u32 = 5;

const _: () = assert!(size_of::<Sighting>() == 16);
