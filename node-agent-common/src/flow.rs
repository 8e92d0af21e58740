//! The records of a redirected connection. All are `repr(C)` without padding, so that the same
//! bytes are a hash key on both sides.

use core::mem::{align_of, offset_of, size_of};

use crate::rule::Label;
use crate::watch::Watch;

/// An address as four words in network order, IPv4 in its IPv4-mapped form (RFC 4291, 2.5.5.2).
/// The words hold the bytes as they lie in the kernel's own address structures.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(transparent)]
pub struct Address(pub [u32; 4]);

/// The word that marks an IPv4-mapped address.
pub const MAPPED: u32 = 0x0000_ffff_u32.to_be();

impl Address {
    /// `::`.
    pub const UNSPECIFIED: Address = Address([0; 4]);
    /// `::1`.
    pub const LOOPBACK_V6: Address = Address([0, 0, 0, 1_u32.to_be()]);
    /// `::ffff:127.0.0.1`.
    pub const LOOPBACK_V4: Address = Address::v4(0x7f00_0001_u32.to_be());

    /// An IPv4 address given as the kernel gives it: one word in network order.
    #[inline(always)]
    pub const fn v4(word: u32) -> Address {
        Address([0, 0, MAPPED, word])
    }

    /// Is it the IPv4-mapped form?
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        let Address([a, b, c, _]) = *self;
        a == 0 && b == 0 && c == MAPPED
    }

    /// The IPv4 word, meaningful when `is_v4`.
    #[inline(always)]
    pub const fn v4_word(&self) -> u32 {
        let Address([_, _, _, d]) = *self;
        d
    }
}

/// Names one redirected connection as its listener sees the peer. Ports repeat between network
/// namespaces, so the namespace is part of the name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(C)]
pub struct FlowKey {
    /// The cookie of the network namespace the client's socket lives in.
    pub netns: u64,
    /// The client's local address.
    pub address: Address,
    /// The client's local port, host order.
    pub port: u16,
    /// Zero.
    pub zero: [u16; 3],
}

/// Where a redirected connection was going, and who dialled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct OriginRecord {
    /// The destination's address; `0.0.0.0` and `::` are already loopback.
    pub destination: Address,
    /// The destination's port, host order.
    pub port: u16,
    /// Zero.
    pub zero: [u16; 3],
    /// The client socket's cookie.
    pub socket: u64,
    /// The cgroup2 id of the task that called connect().
    pub cgroup: u64,
    /// `CLOCK_MONOTONIC` in nanoseconds.
    pub time: u64,
    /// Which workload.
    pub workload: u32,
    /// The thread group.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Zero.
    pub zero2: u32,
    /// Its name, padded with zero bytes.
    pub comm: [u8; 16],
}

/// What the programs keep beside a socket for as long as it lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct SocketState {
    /// The label of the task that made the socket.
    pub label: Label,
    /// `SOCKET_*`.
    pub stage: u32,
    /// Under which key the origin is published, when it is.
    pub key: FlowKey,
    /// The last redirected connect's origin. From birth, before any connect: who made the socket.
    pub origin: OriginRecord,
    /// The first bytes of the connection it opened, where that is not led to the agent.
    pub watch: Watch,
    /// Zero.
    pub zero: u32,
}

/// What one label has in the table of origins, and how much was told of it lately.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Share {
    /// Origins published, less those withdrawn by the kernel. Less those taken by the agent, that
    /// is how many wait.
    pub published: u64,
    /// When the present second of telling began, `CLOCK_MONOTONIC` in nanoseconds.
    pub since: u64,
    /// How many attempts were told of in it.
    pub told: u64,
}

/// An earlier agent listened in that namespace, this one does not yet.
pub const HEARD_BEFORE: u8 = 0;
/// The agent listens there.
pub const HEARD_NOW: u8 = 1;

/// No connect of this socket is redirected.
pub const SOCKET_IDLE: u32 = 0;
/// Rewritten, no SYN sent yet.
pub const SOCKET_REDIRECTED: u32 = 1;
/// The origin is in the table under `key`.
pub const SOCKET_PUBLISHED: u32 = 2;

/// One line of news about a connect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct FlowEvent {
    /// `EVENT_*`.
    pub kind: u32,
    /// The IP protocol of the socket.
    pub protocol: u32,
    /// The network namespace.
    pub netns: u64,
    /// Who and whereto.
    pub origin: OriginRecord,
}

/// A connect was redirected.
pub const EVENT_REDIRECTED: u32 = 1;
/// A connect was refused because its protocol cannot be redirected.
pub const EVENT_REFUSED_PROTOCOL: u32 = 2;
/// A connect was refused because the table of origins is full.
pub const EVENT_REFUSED_FULL: u32 = 3;
/// A direct dial to, or a bind of, the agent's own port was refused.
pub const EVENT_REFUSED_OWN_PORT: u32 = 4;
/// A socket was refused at creation because its kind cannot be governed.
pub const EVENT_REFUSED_SOCKET: u32 = 5;
/// A connect was refused because nothing could be kept beside the socket.
pub const EVENT_REFUSED_MEMORY: u32 = 6;
/// A connect was refused because too many of its workload wait for the agent.
pub const EVENT_REFUSED_QUOTA: u32 = 7;
/// A connect or a datagram was refused because it leads neither to a database nor to what is
/// allowed.
pub const EVENT_REFUSED_CLOSED: u32 = 8;
/// A packet to a guarded place that no connect hook had led to the agent was dropped.
pub const EVENT_BYPASS_PACKET: u32 = 9;
/// A packet with IP options or a routing header was dropped.
pub const EVENT_BYPASS_HEADER: u32 = 10;
/// A connection opened inwards from a protected address was dropped; the destination is that
/// address.
pub const EVENT_BYPASS_INWARD: u32 = 11;
/// Setting IP options or a routing header was refused.
pub const EVENT_BYPASS_OPTION: u32 = 12;

/// A packet to a guarded place was dropped at the host's end of a workload's wire. The cgroup is
/// that of the packet's socket where it is still known, else 0.
pub const EVENT_BYPASS_WIRE: u32 = 13;
/// A packet to a protected address was dropped on its way out of the node, for it was not the
/// agent's. There is no workload; the cgroup is as above.
pub const EVENT_BYPASS_NODE: u32 = 14;

/// A host's end of a wire into a network namespace with labelled tasks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Wire {
    /// The inode of the namespace at the other end.
    pub netns: u64,
    /// A labelled cgroup with tasks there: while its label stands, so does the filter.
    pub cgroup: u64,
    /// Its label, for the news; `NOBODY` for a device of the node itself.
    pub label: Label,
    /// The handle of a filter of traffic control, where there is no link.
    pub filter: u32,
}

/// A connection that was opened into a namespace over its wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Inward {
    /// Who opened it.
    pub remote: Address,
    /// To whom.
    pub local: Address,
    /// The opener's port, host order.
    pub remote_port: u16,
    /// The other port.
    pub local_port: u16,
    /// The number of the interface it went in by.
    pub interface: u32,
}

const _: () = {
    assert!(size_of::<Wire>() == 24 && size_of::<Inward>() == 40);
    assert!(size_of::<Address>() == 16 && align_of::<Address>() == 4);
    assert!(size_of::<FlowKey>() == 8 + 16 + 2 + 6);
    assert!(offset_of!(FlowKey, address) == 8 && offset_of!(FlowKey, port) == 24);
    assert!(size_of::<OriginRecord>() == 16 + 2 + 6 + 3 * 8 + 4 * 4 + 16);
    assert!(offset_of!(OriginRecord, socket) == 24 && offset_of!(OriginRecord, comm) == 64);
    assert!(size_of::<SocketState>() == 8 + 32 + 80 + 52 + 4);
    assert!(offset_of!(SocketState, key) == 8 && offset_of!(SocketState, origin) == 40);
    assert!(offset_of!(SocketState, watch) == 120);
    assert!(size_of::<FlowEvent>() == 16 + 80);
    assert!(size_of::<Share>() == 24);
};
