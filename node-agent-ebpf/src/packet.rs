//! Reading a packet's headers, wherever the kernel keeps them.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::bpf_skb_load_bytes;
use aya_ebpf::programs::SkBuffContext;
use node_agent_common::flow::Address;
use node_agent_common::rule;

/// Which end of the packet is the other side.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Out,
    In,
}

/// What the gates ask of a packet.
pub struct Packet {
    /// The other side.
    pub remote: Address,
    /// This side.
    pub local: Address,
    /// Its port, as `port`.
    pub local_port: u16,
    /// Its port, host order; 0 where the protocol has none, or this fragment does not hold it.
    pub port: u16,
    /// The IP protocol.
    pub protocol: u32,
    /// Where its header begins.
    pub at: u32,
    /// TCP's flags; 0 for others.
    pub flags: u8,
    /// TCP's sequence number; 0 for others.
    pub sequence: u32,
    /// Where TCP's data begins, if there is any; the header's own place for others.
    pub data: u32,
    /// It has IPv4 options, an IPv6 routing header, or more headers than are read here.
    pub odd: bool,
    /// A later fragment, whose ports are in the first one.
    pub later: bool,
    /// TCP without a byte of data.
    pub empty: bool,
}

impl Packet {
    /// Does it end a connection, and nothing else? With data it could tell somebody something.
    #[inline(always)]
    pub fn ends(&self) -> bool {
        self.flags & (rule::RST | rule::SYN) == rule::RST && self.empty
    }
}

/// How many IPv6 extension headers are followed. Senders have no use for more.
const EXTENSIONS: u32 = 6;

/// `ETH_P_IP`, `ETH_P_IPV6`.
pub const IPV4: u16 = 0x0800;
pub const IPV6: u16 = 0x86dd;

// IPv6's extension headers (RFC 8200, 4.1).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

/// The headers of a packet; `None` when they cannot be read.
#[inline(always)]
pub fn read(ctx: &SkBuffContext, way: Way) -> Option<Packet> {
    // SAFETY: a field of the hook's context, network order in its low 16 bits.
    let kind = u16::from_be(unsafe { (*ctx.skb.skb).protocol } as u16);
    match kind {
        IPV4 => v4(ctx.skb.skb, 0, way),
        IPV6 => v6(ctx.skb.skb, 0, way),
        _ => None,
    }
}

/// An IPv4 packet whose header begins at that byte.
#[inline(always)]
pub fn v4(skb: *mut __sk_buff, base: u32, way: Way) -> Option<Packet> {
    let header: [u32; 5] = load(skb, base)?;
    let first = header[0].to_ne_bytes();
    let second = header[1].to_ne_bytes();
    let third = header[2].to_ne_bytes();
    let length = u32::from(first[0] & 0x0f) * 4;
    let total = u32::from(u16::from_be_bytes([first[2], first[3]]));
    let later = u16::from_be_bytes([second[2], second[3]]) & 0x1fff != 0;
    let protocol = u32::from(third[1]);
    let (source, destination) = (Address::v4(header[3]), Address::v4(header[4]));
    let (remote, local) = match way {
        Way::Out => (destination, source),
        Way::In => (source, destination),
    };
    let upper = if later {
        Upper::NONE
    } else {
        upper(skb, way, protocol, base + length)?
    };
    Some(Packet {
        remote,
        local,
        local_port: upper.local,
        port: upper.remote,
        protocol,
        flags: upper.flags,
        sequence: upper.sequence,
        data: base + length + upper.header,
        at: base + length,
        odd: length > 20,
        later,
        empty: upper.header != 0 && length + upper.header == total,
    })
}

/// An IPv6 packet whose header begins at that byte.
#[inline(always)]
pub fn v6(skb: *mut __sk_buff, base: u32, way: Way) -> Option<Packet> {
    let header: [u32; 10] = load(skb, base)?;
    let second = header[1].to_ne_bytes();
    let mut next = second[2];
    let total = 40 + u32::from(u16::from_be_bytes([second[0], second[1]]));
    let source = Address([header[2], header[3], header[4], header[5]]);
    let destination = Address([header[6], header[7], header[8], header[9]]);
    let (remote, local) = match way {
        Way::Out => (destination, source),
        Way::In => (source, destination),
    };
    let mut at = 40_u32;
    let mut odd = false;
    let mut first = true;
    for _ in 0..EXTENSIONS {
        if next == ROUTING {
            odd = true;
        }
        if next == HOP_BY_HOP || next == DESTINATION || next == ROUTING {
            let [following, length]: [u8; 2] = load(skb, base + at)?;
            next = following;
            at += (u32::from(length) + 1) * 8;
        } else if next == FRAGMENT {
            let [following, _, high, low]: [u8; 4] = load(skb, base + at)?;
            next = following;
            at += 8;
            first = u16::from_be_bytes([high, low]) & 0xfff8 == 0;
            if !first {
                break;
            }
        } else {
            break;
        }
    }
    // Still not at the end: what such a packet is cannot be told, so it is as odd as any.
    let unread = next == HOP_BY_HOP || next == DESTINATION || next == ROUTING || next == FRAGMENT;
    odd |= first && unread;
    let protocol = u32::from(next);
    let upper = if first && !unread {
        upper(skb, way, protocol, base + at)?
    } else {
        Upper::NONE
    };
    Some(Packet {
        remote,
        local,
        local_port: upper.local,
        port: upper.remote,
        protocol,
        flags: upper.flags,
        sequence: upper.sequence,
        data: base + at + upper.header,
        at: base + at,
        odd,
        later: !first,
        empty: upper.header != 0 && at + upper.header == total,
    })
}

/// What the header behind IP's says.
struct Upper {
    local: u16,
    remote: u16,
    flags: u8,
    sequence: u32,
    /// The length of TCP's header; 0 for others.
    header: u32,
}

impl Upper {
    const NONE: Upper = Upper {
        local: 0,
        remote: 0,
        flags: 0,
        sequence: 0,
        header: 0,
    };
}

/// The ports of both sides, and what TCP says besides. Its header is read at once: asking for bytes
/// is most of what a packet costs.
#[inline(always)]
fn upper(skb: *mut __sk_buff, way: Way, protocol: u32, at: u32) -> Option<Upper> {
    if protocol == rule::TCP {
        let [ports, sequence, _, rest]: [u32; 4] = load(skb, at)?;
        let (local, remote) = of_both(way, ports);
        let [length, flags, ..] = rest.to_ne_bytes();
        return Some(Upper {
            local,
            remote,
            flags,
            sequence: u32::from_be(sequence),
            header: u32::from(length >> 4) * 4,
        });
    }
    if !rule::has_ports(protocol) {
        return Some(Upper::NONE);
    }
    let [ports]: [u32; 1] = load(skb, at)?;
    let (local, remote) = of_both(way, ports);
    Some(Upper {
        local,
        remote,
        ..Upper::NONE
    })
}

/// The ports of this side and of the other, from the word that holds source and destination.
#[inline(always)]
fn of_both(way: Way, ports: u32) -> (u16, u16) {
    let [a, b, c, d] = ports.to_ne_bytes();
    let (source, destination) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    match way {
        Way::Out => (source, destination),
        Way::In => (destination, source),
    }
}

/// So many bytes of a packet from that one on.
#[inline(always)]
pub fn load<T: Copy>(skb: *mut __sk_buff, at: u32) -> Option<T> {
    let mut into = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes all of it or fails, and then nothing is read. Every `T` here is an
    // array of integers.
    unsafe {
        let done = bpf_skb_load_bytes(
            skb.cast(),
            at,
            into.as_mut_ptr().cast(),
            size_of::<T>() as u32,
        );
        if done == 0 {
            Some(into.assume_init())
        } else {
            None
        }
    }
}
