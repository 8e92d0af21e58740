//! Below every socket: packets on their way out of a labelled workload's network namespace, at the
//! host's end of its wire; and, where the whole node is to keep to it, packets to protected
//! addresses that are not the agent's.
//!
//! The first asks the packet alone, whatever made it: a packet socket, a ring of the kernel's, a
//! stack in user space, a socket from elsewhere. A governed connection ends at the agent's listener
//! *inside* the namespace, so nothing that should reach a protected place ever comes by here.
//!
//! Only the outer header is read. A tunnel is a packet to the tunnel's other end.

use aya_ebpf::bindings::{__sk_buff, BPF_ANY};
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_skb_cgroup_id};
use aya_ebpf::programs::{SkBuffContext, TcContext};
use node_agent_common::flow::{Address, EVENT_BYPASS_NODE, EVENT_BYPASS_WIRE, Inward};
use node_agent_common::names::{COUNTER_BYPASS_NODE, COUNTER_BYPASS_WIRE};
use node_agent_common::rule::{self, NOBODY};

use crate::connect::{allowed, guarded_address, guarded_port};
use crate::context;
use crate::gate;
use crate::maps::{INWARD, WIRES};
use crate::news;
use crate::packet::{self, IPV4, IPV6, Packet, Way};
use crate::share;

/// `TC_ACT_UNSPEC`, `TCX_NEXT`: whatever else is attached there goes on.
const PASS: i32 = -1;
/// `TC_ACT_SHOT`.
const DROP: i32 = 2;

/// The length of an Ethernet header.
const FRAME: u32 = 14;
/// Tags of virtual LANs (802.1Q, 802.1ad), four bytes each. The kernel has taken off the first.
const TAG: u16 = 0x8100;
const SERVICE_TAG: u16 = 0x88a8;
const TAGS: u32 = 3;
/// Types below this one are lengths (802.3). What follows says what is in the frame: an IP packet as
/// well (RFC 1042), which not this kernel but many a host behind a bridge takes. Only the spanning
/// tree's own is known to hold none.
const TYPES: u16 = 0x0600;
const SPANNING_TREE: [u8; 2] = [0x42, 0x42];
const ARP: u16 = 0x0806;
/// Link-layer discovery.
const LLDP: u16 = 0x88cc;
/// What keeps a link up and holds no packet that could be read on the way: reverse ARP, 802.1X, link
/// aggregation, precise time, connectivity faults, MACsec, whose inside was asked at its own device.
const CONTROL: [u16; 6] = [0x8035, 0x888e, 0x8809, 0x88f7, 0x8902, 0x88e5];

/// The cgroup of the kernel's own sockets: the hierarchy's root. 0 is that of none.
const ROOT: u64 = 1;

const ICMP6: u32 = 58;
const IGMP: u32 = 2;

/// What a device's packets begin with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// An Ethernet header.
    Frame,
    /// The IP header.
    Packet,
}

/// What is in a frame.
enum Inside {
    Ip(Packet),
    /// Addresses of the link itself, and the like.
    Link,
    /// What hosts of a link tell each other to keep it up. A workload has nothing to say there.
    Control,
    /// Something that could hold an IP packet, and is not read here; or headers that are cut off.
    Unknown,
}

/// A packet that comes out of a namespace.
#[inline(always)]
pub fn out(ctx: &TcContext) -> i32 {
    let skb = ctx.skb.skb;
    let packet = match inside(skb, Layer::Frame, Way::Out) {
        Inside::Ip(packet) => packet,
        Inside::Link => return PASS,
        Inside::Control | Inside::Unknown => return lose(COUNTER_BYPASS_WIRE),
    };
    // Multicast on the link itself: groups are joined with an option in IPv4.
    let odd = packet.odd && !(packet.protocol == IGMP && on_link(packet.remote));
    let guarded = guarded(&packet);
    if odd {
        return stop(ctx, &packet);
    }
    if guarded {
        // As at the second gate: the database should hear that a connection is over.
        if packet.ends() {
            return PASS;
        }
        return stop(ctx, &packet);
    }
    if context::closed() && !open(ctx, &packet) {
        return stop(ctx, &packet);
    }
    PASS
}

#[inline(always)]
fn guarded(packet: &Packet) -> bool {
    guarded_address(packet.remote) || (packet.port != 0 && guarded_port(packet.port))
}

/// Where everything is refused but databases and what is allowed: may this one go?
#[inline(always)]
fn open(ctx: &TcContext, packet: &Packet) -> bool {
    // A later fragment does not say its port: it goes where every port is open.
    if allowed(packet.remote, packet.port) || link_only(ctx, packet) {
        return true;
    }
    if packet.protocol != rule::TCP || rule::opens(packet.flags) || packet.later {
        return false;
    }
    INWARD.get_ptr(inward(ctx, packet)).is_some()
}

/// What a host needs to be on its link at all, and what leads nowhere else.
#[inline(always)]
fn link_only(ctx: &TcContext, packet: &Packet) -> bool {
    const BROADCAST: Address = Address::v4(0xffff_ffff);
    if packet.protocol == rule::UDP {
        // Asking for an address: DHCP, DHCPv6.
        return (packet.remote == BROADCAST && packet.local_port == 68 && packet.port == 67)
            || (on_link(packet.remote) && packet.local_port == 546 && packet.port == 547);
    }
    if packet.protocol == IGMP {
        return on_link(packet.remote);
    }
    packet.protocol == ICMP6 && (on_link(packet.remote) || neighbour(ctx, packet))
}

/// Is it a multicast address that no router sends on?
#[inline(always)]
fn on_link(address: Address) -> bool {
    let Address([first, ..]) = address;
    if address.is_v4() {
        u32::from_be(address.v4_word()) >> 8 == 0x00e0_0000
    } else {
        u32::from_be(first) >> 16 == 0xff02
    }
}

/// Is it one of the messages by which neighbours find each other (RFC 4861, 4)? They are void when
/// a router sent them on, which the hop limit shows.
#[inline(always)]
fn neighbour(ctx: &TcContext, packet: &Packet) -> bool {
    let skb = ctx.skb.skb;
    let Some(header): Option<[u8; 8]> = packet::load(skb, FRAME) else {
        return false;
    };
    let Some([kind]): Option<[u8; 1]> = packet::load(skb, FRAME + 40) else {
        return false;
    };
    let [_, _, _, _, _, _, next, hops] = header;
    // Behind a tag, or further headers, something else would be at these places.
    packet.at == FRAME + 40
        && u32::from(next) == ICMP6
        && hops == 255
        && matches!(kind, 133 | 135 | 136)
}

/// A packet on its way into a namespace. From a guarded place there is no answer to anything that
/// may go out: it answers what left unseen, in a tunnel that this node ends, say. Where all but
/// databases is refused, answers to what is opened from outside may go out.
#[inline(always)]
pub fn into(ctx: &TcContext) -> i32 {
    let packet = match inside(ctx.skb.skb, Layer::Frame, Way::In) {
        Inside::Ip(packet) => packet,
        Inside::Link | Inside::Control | Inside::Unknown => return PASS,
    };
    if guarded(&packet) {
        return if packet.ends() {
            PASS
        } else {
            stop(ctx, &packet)
        };
    }
    let opens = packet.protocol == rule::TCP && rule::opens(packet.flags) && !packet.later;
    if opens && context::closed() {
        let _ = INWARD.insert(inward(ctx, &packet), 1, u64::from(BPF_ANY));
    }
    PASS
}

#[inline(always)]
fn inward(ctx: &TcContext, packet: &Packet) -> Inward {
    Inward {
        remote: packet.remote,
        local: packet.local,
        remote_port: packet.port,
        local_port: packet.local_port,
        // SAFETY: a field of the hook's context.
        interface: unsafe { (*ctx.skb.skb).ifindex },
    }
}

/// What a frame or packet holds. The type is read from the frame, where the sender cannot have it
/// different from what the other end will read.
#[inline(always)]
fn inside(skb: *mut __sk_buff, layer: Layer, way: Way) -> Inside {
    let (kind, base) = match layer {
        Layer::Frame => {
            let Some([high, low]): Option<[u8; 2]> = packet::load(skb, FRAME - 2) else {
                return Inside::Unknown;
            };
            let mut kind = u16::from_be_bytes([high, low]);
            let mut base = FRAME;
            for _ in 0..TAGS {
                if kind != TAG && kind != SERVICE_TAG {
                    break;
                }
                let Some([_, _, high, low]): Option<[u8; 4]> = packet::load(skb, base) else {
                    return Inside::Unknown;
                };
                kind = u16::from_be_bytes([high, low]);
                base += 4;
            }
            (kind, base)
        }
        Layer::Packet => {
            let Some([first]): Option<[u8; 1]> = packet::load(skb, 0) else {
                return Inside::Unknown;
            };
            match first >> 4 {
                4 => (IPV4, 0),
                6 => (IPV6, 0),
                _ => return Inside::Unknown,
            }
        }
    };
    let packet = match kind {
        IPV4 => packet::v4(skb, base, way),
        IPV6 => packet::v6(skb, base, way),
        ARP | LLDP => return Inside::Link,
        kind if CONTROL.contains(&kind) => return Inside::Control,
        length if length < TYPES && packet::load(skb, base) == Some(SPANNING_TREE) => {
            return Inside::Link;
        }
        _ => None,
    };
    match packet {
        Some(packet) => Inside::Ip(packet),
        None => Inside::Unknown,
    }
}

/// Drops what cannot be read.
#[inline(always)]
fn lose(counter: u32) -> i32 {
    news::count(counter);
    DROP
}

/// Drops the packet, in the name of the workload whose wire it is.
#[inline(always)]
fn stop(ctx: &TcContext, packet: &Packet) -> i32 {
    news::count(COUNTER_BYPASS_WIRE);
    // SAFETY: a field of the hook's context.
    let interface = unsafe { (*ctx.skb.skb).ifindex };
    let Some(wire) = WIRES.get_ptr(interface) else {
        return DROP;
    };
    // SAFETY: checked for null; a torn u32 does not exist.
    let label = unsafe { (*wire).label };
    if label != NOBODY && share::may_tell(label) {
        tell(ctx.skb.skb, EVENT_BYPASS_WIRE, packet, label - 1);
    }
    DROP
}

#[inline(always)]
fn tell(skb: *mut __sk_buff, kind: u32, packet: &Packet, workload: u32) {
    let mut origin = gate::nobody();
    origin.destination = packet.remote;
    origin.port = packet.port;
    origin.workload = workload;
    // SAFETY: helpers on the hook's context or on nothing.
    unsafe {
        origin.cgroup = bpf_skb_cgroup_id(skb);
        origin.time = bpf_ktime_get_ns();
    }
    news::tell(kind, packet.protocol, 0, &origin);
}

/// A packet of some socket of this node.
#[inline(always)]
pub fn node_socket(ctx: &SkBuffContext) -> i32 {
    const PASS: i32 = 1;
    const DROP: i32 = 0;
    // Headers that cannot be read could be those of any packet.
    let Some(packet) = packet::read(ctx, Way::Out) else {
        news::count(COUNTER_BYPASS_NODE);
        return DROP;
    };
    if node(ctx.skb.skb, &packet) {
        DROP
    } else {
        PASS
    }
}

/// A packet that leaves by a device: forwarded, or made below the sockets.
#[inline(always)]
pub fn node_device(ctx: &TcContext, layer: Layer) -> i32 {
    match inside(ctx.skb.skb, layer, Way::Out) {
        Inside::Ip(packet) if node(ctx.skb.skb, &packet) => DROP,
        Inside::Ip(_) | Inside::Link | Inside::Control => PASS,
        Inside::Unknown => lose(COUNTER_BYPASS_NODE),
    }
}

/// Is it to be dropped, for it leads to a protected place and is not the agent's?
#[inline(always)]
fn node(skb: *mut __sk_buff, packet: &Packet) -> bool {
    let port = packet.port != 0 && guarded_port(packet.port);
    // A database on this very node shares its address with all else there, and answers from it.
    // There the port alone decides, as it does for loopback.
    let guarded = if rule::is_loopback(packet.remote) || packet.local == packet.remote {
        port
    } else {
        guarded_address(packet.remote)
    };
    if !guarded || packet.ends() {
        return false;
    }
    // SAFETY: the helper takes the hook's context.
    let cgroup = unsafe { bpf_skb_cgroup_id(skb) };
    if context::is_agents(cgroup) {
        return false;
    }
    // What opens nothing and carries nothing, of no process's socket and from no other device, is the
    // kernel's, which ends connections without the socket they were made by. Of anybody else it may be
    // the receipt for what the database sends on a connection from before.
    // SAFETY: a field of the hook's context.
    let made_here = unsafe { (*skb).ingress_ifindex } == 0;
    if made_here && cgroup <= ROOT && packet.empty && packet.flags & rule::SYN == 0 {
        return false;
    }
    news::count(COUNTER_BYPASS_NODE);
    if share::may_tell(NOBODY) {
        tell(skb, EVENT_BYPASS_NODE, packet, u32::MAX);
    }
    true
}
