//! Reading a packet's headers, wherever the kernel keeps them.

use aya_ebpf::EbpfContext;
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
    /// Its port, host order; 0 where the protocol has none, or this fragment does not hold it.
    pub port: u16,
    /// The IP protocol.
    pub protocol: u32,
    /// Where its header begins.
    pub at: u32,
    /// TCP's flags; 0 for others.
    pub flags: u8,
    /// It has IPv4 options, an IPv6 routing header, or more headers than are read here.
    pub odd: bool,
}

/// How many IPv6 extension headers are followed. Senders have no use for more.
const EXTENSIONS: u32 = 6;

/// `ETH_P_IP`, `ETH_P_IPV6`.
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

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
        IPV4 => v4(ctx, way),
        IPV6 => v6(ctx, way),
        _ => None,
    }
}

#[inline(always)]
fn v4(ctx: &SkBuffContext, way: Way) -> Option<Packet> {
    let header: [u32; 5] = load(ctx, 0)?;
    let first = header[0].to_ne_bytes();
    let second = header[1].to_ne_bytes();
    let third = header[2].to_ne_bytes();
    let length = u32::from(first[0] & 0x0f) * 4;
    let fragment = u16::from_be_bytes([second[2], second[3]]) & 0x1fff;
    let protocol = u32::from(third[1]);
    let remote = Address::v4(match way {
        Way::Out => header[4],
        Way::In => header[3],
    });
    let (port, flags) = if fragment == 0 {
        ports(ctx, way, protocol, length)?
    } else {
        (0, 0)
    };
    Some(Packet {
        remote,
        port,
        protocol,
        at: length,
        flags,
        odd: length > 20,
    })
}

#[inline(always)]
fn v6(ctx: &SkBuffContext, way: Way) -> Option<Packet> {
    let header: [u32; 10] = load(ctx, 0)?;
    let mut next = header[1].to_ne_bytes()[2];
    let remote = Address(match way {
        Way::Out => [header[6], header[7], header[8], header[9]],
        Way::In => [header[2], header[3], header[4], header[5]],
    });
    let mut at = 40_u32;
    let mut odd = false;
    let mut first = true;
    for _ in 0..EXTENSIONS {
        if next == ROUTING {
            odd = true;
        }
        if next == HOP_BY_HOP || next == DESTINATION || next == ROUTING {
            let [following, length]: [u8; 2] = load(ctx, at)?;
            next = following;
            at += (u32::from(length) + 1) * 8;
        } else if next == FRAGMENT {
            let [following, _, high, low]: [u8; 4] = load(ctx, at)?;
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
    let (port, flags) = if first && !unread {
        ports(ctx, way, protocol, at)?
    } else {
        (0, 0)
    };
    Some(Packet {
        remote,
        port,
        protocol,
        at,
        flags,
        odd,
    })
}

/// The other side's port, and TCP's flags.
#[inline(always)]
fn ports(ctx: &SkBuffContext, way: Way, protocol: u32, at: u32) -> Option<(u16, u8)> {
    if !rule::has_ports(protocol) {
        return Some((0, 0));
    }
    let [a, b, c, d]: [u8; 4] = load(ctx, at)?;
    let port = match way {
        Way::Out => u16::from_be_bytes([c, d]),
        Way::In => u16::from_be_bytes([a, b]),
    };
    let flags = if protocol == rule::TCP {
        let [flags]: [u8; 1] = load(ctx, at + 13)?;
        flags
    } else {
        0
    };
    Some((port, flags))
}

#[inline(always)]
pub fn load<T: Copy>(ctx: &SkBuffContext, at: u32) -> Option<T> {
    let mut into = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes all of it or fails, and then nothing is read. Every `T` here is an
    // array of integers.
    unsafe {
        let done = bpf_skb_load_bytes(
            ctx.as_ptr(),
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
