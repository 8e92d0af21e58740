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
    /// The network namespace's cookie; 0 when unknown.
    pub netns: u64,
}

/// A labelled task started a program: it may be in a network namespace nobody looked at yet.
pub const SIGHTING_EXEC: u32 = 1;
/// A labelled task made a socket in a namespace without a listener.
pub const SIGHTING_SOCKET: u32 = 2;
/// Some task was moved between cgroups.
pub const SIGHTING_MOVED: u32 = 3;

const _: () = assert!(size_of::<Sighting>() == 16);
