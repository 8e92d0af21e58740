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
    let skb = ctx.skb.skb;
    // SAFETY: a field of the hook's context, network order in its low 16 bits.
    let kind = u16::from_be(unsafe { (*skb).protocol } as u16);
    match kind {
        IPV4 => match plain_v4(skb, way) {
            Some(packet) => Some(packet),
            None => v4(skb, 0, way),
        },
        IPV6 => match plain_v6(skb, way) {
            Some(packet) => Some(packet),
            None => v6(skb, 0, way),
        },
        _ => None,
    }
}

/// TCP behind an IPv4 header without options, not a fragment, its headers in one place: nearly every
/// packet. Read where it lies, for asking for bytes is most of what a packet costs.
#[inline(always)]
fn plain_v4(skb: *mut __sk_buff, way: Way) -> Option<Packet> {
    let [a, b, c, d, e, ports, sequence, _, rest]: [u32; 9] = in_place(skb)?;
    let header = V4::of([a, b, c, d, e]);
    if header.length != 20 || header.later || header.protocol != rule::TCP {
        return None;
    }
    Some(header.packet(0, way, Upper::tcp(way, ports, sequence, rest)))
}

/// The same of IPv6, without extension headers.
#[inline(always)]
fn plain_v6(skb: *mut __sk_buff, way: Way) -> Option<Packet> {
    let words: [u32; 14] = in_place(skb)?;
    let [a, b, c, d, e, f, g, h, i, j, ports, sequence, _, rest] = words;
    let header = V6::of([a, b, c, d, e, f, g, h, i, j]);
    if u32::from(header.next) != rule::TCP {
        return None;
    }
    let chain = Chain {
        at: 40,
        protocol: rule::TCP,
        odd: false,
        later: false,
    };
    Some(header.packet(0, way, &chain, Upper::tcp(way, ports, sequence, rest)))
}

/// So many bytes from the packet's beginning on, if the kernel has them in one place.
#[inline(always)]
fn in_place<T: Copy>(skb: *mut __sk_buff) -> Option<T> {
    // SAFETY: fields of the hook's context; what lies between them is the packet's. Every `T` here
    // is an array of integers.
    unsafe {
        let begin = (*skb).data as usize;
        let end = (*skb).data_end as usize;
        if begin + size_of::<T>() > end {
            return None;
        }
        Some((begin as *const T).read_unaligned())
    }
}

/// What an IPv4 header says (RFC 791, 3.1).
struct V4 {
    length: u32,
    total: u32,
    later: bool,
    protocol: u32,
    source: Address,
    destination: Address,
}

impl V4 {
    #[inline(always)]
    fn of([first, second, third, source, destination]: [u32; 5]) -> V4 {
        let [length, _, high, low] = first.to_ne_bytes();
        let [_, _, flags, offset] = second.to_ne_bytes();
        let [_, protocol, ..] = third.to_ne_bytes();
        V4 {
            length: u32::from(length & 0x0f) * 4,
            total: u32::from(u16::from_be_bytes([high, low])),
            later: u16::from_be_bytes([flags, offset]) & 0x1fff != 0,
            protocol: u32::from(protocol),
            source: Address::v4(source),
            destination: Address::v4(destination),
        }
    }

    #[inline(always)]
    fn packet(&self, base: u32, way: Way, upper: Upper) -> Packet {
        let (local, remote) = match way {
            Way::Out => (self.source, self.destination),
            Way::In => (self.destination, self.source),
        };
        Packet {
            remote,
            local,
            local_port: upper.local,
            port: upper.remote,
            protocol: self.protocol,
            flags: upper.flags,
            sequence: upper.sequence,
            data: base + self.length + upper.header,
            at: base + self.length,
            odd: self.length > 20,
            later: self.later,
            empty: upper.header != 0 && self.length + upper.header == self.total,
        }
    }
}

/// An IPv4 packet whose header begins at that byte.
#[inline(always)]
pub fn v4(skb: *mut __sk_buff, base: u32, way: Way) -> Option<Packet> {
    let header = V4::of(load(skb, base)?);
    let upper = if header.later {
        Upper::NONE
    } else {
        upper(skb, way, header.protocol, base + header.length)?
    };
    Some(header.packet(base, way, upper))
}

/// What an IPv6 header says (RFC 8200, 3).
struct V6 {
    total: u32,
    next: u8,
    source: Address,
    destination: Address,
}

/// The headers between IPv6's and what it carries.
struct Chain {
    /// Where what is carried begins.
    at: u32,
    protocol: u32,
    odd: bool,
    later: bool,
}

impl V6 {
    #[inline(always)]
    fn of([_, second, a, b, c, d, e, f, g, h]: [u32; 10]) -> V6 {
        let [high, low, next, _] = second.to_ne_bytes();
        V6 {
            total: 40 + u32::from(u16::from_be_bytes([high, low])),
            next,
            source: Address([a, b, c, d]),
            destination: Address([e, f, g, h]),
        }
    }

    #[inline(always)]
    fn packet(&self, base: u32, way: Way, chain: &Chain, upper: Upper) -> Packet {
        let (local, remote) = match way {
            Way::Out => (self.source, self.destination),
            Way::In => (self.destination, self.source),
        };
        Packet {
            remote,
            local,
            local_port: upper.local,
            port: upper.remote,
            protocol: chain.protocol,
            flags: upper.flags,
            sequence: upper.sequence,
            data: base + chain.at + upper.header,
            at: base + chain.at,
            odd: chain.odd,
            later: chain.later,
            empty: upper.header != 0 && chain.at + upper.header == self.total,
        }
    }
}

/// An IPv6 packet whose header begins at that byte.
#[inline(always)]
pub fn v6(skb: *mut __sk_buff, base: u32, way: Way) -> Option<Packet> {
    let header = V6::of(load(skb, base)?);
    let mut next = header.next;
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
    let chain = Chain {
        at,
        protocol,
        odd,
        later: !first,
    };
    Some(header.packet(base, way, &chain, upper))
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

    /// Of TCP: the header's first, second and fourth word.
    #[inline(always)]
    fn tcp(way: Way, ports: u32, sequence: u32, rest: u32) -> Upper {
        let (local, remote) = of_both(way, ports);
        let [length, flags, ..] = rest.to_ne_bytes();
        Upper {
            local,
            remote,
            flags,
            sequence: u32::from_be(sequence),
            header: u32::from(length >> 4) * 4,
        }
    }
}

/// The ports of both sides, and what TCP says besides.
#[inline(always)]
fn upper(skb: *mut __sk_buff, way: Way, protocol: u32, at: u32) -> Option<Upper> {
    if protocol == rule::TCP {
        let [ports, sequence, _, rest]: [u32; 4] = load(skb, at)?;
        return Some(Upper::tcp(way, ports, sequence, rest));
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
