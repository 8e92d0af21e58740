//! Databases that nobody declared: the first bytes of every other connection that a labelled
//! workload opens, whatever its port. What its client says is seen on the way out, what its server
//! says on the way in. Kept with the socket's state until it is known what they are; from then on a
//! packet costs a look-up.
//!
//! It finds and does not wall off: bytes inside TLS, or another protocol, are not seen.
//!
//! Asked by the second gate for what it lets pass.

use core::ptr;

use aya_ebpf::bindings::{BPF_RB_FORCE_WAKEUP, bpf_sock};
use aya_ebpf::programs::SkBuffContext;
use node_agent_common::flow::{Address, FlowEvent, SOCKET_IDLE, SocketState};
use node_agent_common::names::{COUNTER_UNDECLARED_MYSQL, COUNTER_UNDECLARED_POSTGRES};
use node_agent_common::rule;
use node_agent_common::watch::{
    EVENT_UNDECLARED_MYSQL, EVENT_UNDECLARED_POSTGRES, KEPT, Part, SIDE_DONE, SIDE_IDLE, SIDE_OPEN,
    SIDE_REFUSED, Said, Side, UNDECLARED_IGNORE, UNDECLARED_REFUSE, Undeclared, Watch, client_says,
    part, server_says,
};

use crate::context;
use crate::gate::{self, DROP, LISTEN, PASS, SYN_SENT};
use crate::news;
use crate::packet::{Packet, Way, load};
use crate::share;

/// `AF_INET`.
const INET: u32 = 2;

/// A packet on its way out.
#[inline(always)]
pub fn egress(ctx: &SkBuffContext, packet: &Packet) -> i32 {
    let Some((sk, state)) = watched(ctx, packet) else {
        return PASS;
    };
    let watch = if state == SYN_SENT {
        // A socket in this state sends nothing but its SYN.
        match begin(sk, packet) {
            Begun::Watched(watch) => watch,
            Begun::Unwatched => return PASS,
            Begun::NoRoom => return DROP,
        }
    } else {
        match context::state(sk) {
            Some(state) => watch(state),
            None => return PASS,
        }
    };
    // SAFETY: the kernel's storage of this socket, checked for null.
    match unsafe { (*watch).out.stage } {
        SIDE_OPEN => look(ctx, sk, watch, packet, Way::Out),
        SIDE_REFUSED => reset_only(packet),
        _ => PASS,
    }
}

/// A packet on its way in.
#[inline(always)]
pub fn ingress(ctx: &SkBuffContext, packet: &Packet) -> i32 {
    let Some((sk, _)) = watched(ctx, packet) else {
        return PASS;
    };
    let Some(state) = context::state(sk) else {
        return PASS;
    };
    let watch = watch(state);
    // SAFETY: as above.
    match unsafe { (*watch).inward.stage } {
        SIDE_OPEN => look(ctx, sk, watch, packet, Way::In),
        SIDE_REFUSED => reset_only(packet),
        _ => PASS,
    }
}

/// The socket of a TCP packet and TCP's state, unless nobody looks. A socket that listens opened
/// nothing: what is left with it is of a connection it had before.
#[inline(always)]
fn watched(ctx: &SkBuffContext, packet: &Packet) -> Option<(*mut bpf_sock, u32)> {
    if packet.protocol != rule::TCP || context::undeclared() == UNDECLARED_IGNORE {
        return None;
    }
    let sk = gate::socket(ctx);
    if sk.is_null() {
        return None;
    }
    // SAFETY: checked for null.
    let state = unsafe { (*sk).state };
    if state == LISTEN {
        return None;
    }
    Some((sk, state))
}

#[inline(always)]
fn watch(state: *mut SocketState) -> *mut Watch {
    // SAFETY: the kernel's storage of a socket, checked for null by the caller.
    unsafe { &raw mut (*state).watch }
}

enum Begun {
    Watched(*mut Watch),
    Unwatched,
    /// Nothing can be kept beside the socket, and what is not watched would not be refused. The
    /// kernel sends the SYN again a little later.
    NoRoom,
}

/// A SYN: from here on this connection is watched, unless it leads to the agent. A socket that a
/// labelled task made has the room for it from birth; one from before the label, or that the kernel
/// made for multipath TCP, gets it now.
#[inline(always)]
fn begin(sk: *mut bpf_sock, packet: &Packet) -> Begun {
    if !rule::opens(packet.flags) {
        return Begun::Unwatched;
    }
    let Some(state) = context::state_or_new(sk) else {
        return if context::undeclared() == UNDECLARED_REFUSE {
            Begun::NoRoom
        } else {
            Begun::Unwatched
        };
    };
    let watch = watch(state);
    // SAFETY: as above.
    if unsafe { (*state).stage } != SOCKET_IDLE {
        // An earlier connection of the same socket may have been watched.
        close(watch, SIDE_IDLE);
        return Begun::Unwatched;
    }
    let first = packet.sequence.wrapping_add(1);
    // SAFETY: as above.
    unsafe {
        // The same SYN once more begins nothing.
        if (*watch).out.stage == SIDE_IDLE || (*watch).out.first != first {
            (*watch).out.first = first;
            (*watch).out.have = 0;
            (*watch).inward.have = 0;
            (*watch).answered = 0;
            close(watch, SIDE_OPEN);
        }
    }
    Begun::Watched(watch)
}

/// Looks at what a packet says, and decides when that is enough.
#[inline(always)]
fn look(
    ctx: &SkBuffContext,
    sk: *mut bpf_sock,
    watch: *mut Watch,
    packet: &Packet,
    way: Way,
) -> i32 {
    let at = packet.data;
    // SAFETY: a field of the hook's context.
    let length = unsafe { (*ctx.skb.skb).len }.wrapping_sub(at);
    let syn = packet.flags & rule::SYN != 0;
    // Most packets of a handshake, and every receipt.
    if length as i32 <= 0 && !(syn && matches!(way, Way::In)) {
        return PASS;
    }
    // A SYN has a number of its own, before that of the first byte.
    let begins = packet.sequence.wrapping_add(u32::from(syn));
    // SAFETY: the kernel's storage of this socket, checked for null by the caller.
    let side: *mut Side = unsafe {
        match way {
            Way::Out => &raw mut (*watch).out,
            Way::In => {
                // Until the connection stands the last answer counts: an earlier one was not for
                // this connection.
                if syn && (*sk).state == SYN_SENT {
                    (*watch).inward.first = begins;
                    (*watch).inward.have = 0;
                    (*watch).answered = 1;
                }
                if (*watch).answered == 0 || length as i32 <= 0 {
                    return PASS;
                }
                &raw mut (*watch).inward
            }
        }
    };
    // SAFETY: as above.
    let said = unsafe {
        match keep(ctx, side, begins, at, length) {
            Part::Next(_) => {}
            Part::Old => return PASS,
            // Sent again a little later, when those before are known: what cannot be looked at now
            // would not be looked at again.
            Part::Ahead if context::undeclared() == UNDECLARED_REFUSE => return DROP,
            Part::Ahead => return PASS,
        }
        let have = u64::from((*side).have);
        match way {
            Way::Out => client_says(&(*side).bytes, have),
            Way::In => server_says(&(*side).bytes, have),
        }
    };
    match said {
        Said::More => PASS,
        Said::Postgres | Said::Mysql => found(ctx, sk, watch, packet, said),
        // Whole in one packet, as any client sends it, or not known.
        Said::Tls if asks_for_postgres(ctx, at) => found(ctx, sk, watch, packet, Said::Postgres),
        Said::Tls | Said::Nothing => {
            // SAFETY: as above.
            unsafe { (*side).stage = SIDE_DONE };
            PASS
        }
    }
}

/// Puts what a packet has of the first bytes to their places, in order.
///
/// # Safety
/// `side` is in the kernel's storage of a socket.
#[inline(always)]
unsafe fn keep(ctx: &SkBuffContext, side: *mut Side, begins: u32, at: u32, length: u32) -> Part {
    // SAFETY: as the caller says; every index is below `KEPT`.
    unsafe {
        let mut have = u64::from((*side).have);
        let part = part((*side).first, have, begins, length);
        let Part::Next(from) = part else {
            return part;
        };
        if from == 0 && have == 0 && length >= KEPT as u32 {
            let Some(bytes) = load::<[u8; KEPT]>(ctx.skb.skb, at) else {
                return Part::Old;
            };
            (*side).bytes = bytes;
            (*side).have = KEPT as u16;
            return part;
        }
        let mut from = at.wrapping_add(from);
        let end = at.wrapping_add(length);
        for _ in 0..KEPT {
            if have >= KEPT as u64 || from >= end {
                break;
            }
            let Some([byte]) = load::<[u8; 1]>(ctx.skb.skb, from) else {
                break;
            };
            let place = core::hint::black_box(have) & (KEPT as u64 - 1);
            (*side).bytes.as_mut_ptr().add(place as usize).write(byte);
            have += 1;
            from = from.wrapping_add(1);
        }
        (*side).have = have as u16;
        part
    }
}

/// Does a TLS ClientHello offer the application protocol `postgresql` (RFC 8446, 4.1.2; RFC 7301,
/// 3.1)? Read as far as this packet holds it.
#[inline(always)]
fn asks_for_postgres(ctx: &SkBuffContext, at: u32) -> bool {
    const CLIENT_HELLO: u8 = 1;
    const ALPN: u16 = 16;
    /// As many as clients send.
    const EXTENSIONS: u32 = 20;
    const PROTOCOLS: u32 = 4;

    // Record, handshake, version and random: 5 + 4 + 2 + 32 bytes.
    let Some([kind]) = load::<[u8; 1]>(ctx.skb.skb, at + 5) else {
        return false;
    };
    let Some([session]) = load::<[u8; 1]>(ctx.skb.skb, at + 43) else {
        return false;
    };
    if kind != CLIENT_HELLO {
        return false;
    }
    let mut at = at + 44 + u32::from(session);
    let Some(suites) = load::<[u8; 2]>(ctx.skb.skb, at) else {
        return false;
    };
    at += 2 + u32::from(u16::from_be_bytes(suites));
    let Some([compressions]) = load::<[u8; 1]>(ctx.skb.skb, at) else {
        return false;
    };
    at += 1 + u32::from(compressions) + 2;
    for _ in 0..EXTENSIONS {
        let Some([a, b, c, d]) = load::<[u8; 4]>(ctx.skb.skb, at) else {
            return false;
        };
        let (extension, length) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        at += 4;
        if extension != ALPN {
            at += u32::from(length);
            continue;
        }
        at += 2;
        for _ in 0..PROTOCOLS {
            let Some([length]) = load::<[u8; 1]>(ctx.skb.skb, at) else {
                return false;
            };
            if length == 10 && load::<[u8; 10]>(ctx.skb.skb, at + 1) == Some(*b"postgresql") {
                return true;
            }
            at += 1 + u32::from(length);
        }
        return false;
    }
    false
}

/// A database that nobody declared: told of, and refused where that is wished.
#[inline(always)]
fn found(
    ctx: &SkBuffContext,
    sk: *mut bpf_sock,
    watch: *mut Watch,
    packet: &Packet,
    said: Said,
) -> i32 {
    let Some((cgroup, label)) = gate::culprit(ctx) else {
        close(watch, SIDE_DONE);
        return PASS;
    };
    let refused = context::undeclared() == UNDECLARED_REFUSE;
    close(watch, if refused { SIDE_REFUSED } else { SIDE_DONE });
    let (kind, counter) = match said {
        Said::Mysql => (EVENT_UNDECLARED_MYSQL, COUNTER_UNDECLARED_MYSQL),
        Said::Postgres | Said::More | Said::Nothing | Said::Tls => {
            (EVENT_UNDECLARED_POSTGRES, COUNTER_UNDECLARED_POSTGRES)
        }
    };
    news::count(counter);

    let (origin, netns) = gate::attempt(ctx, packet, cgroup, label);
    let (local, port, device) = near_end(sk);
    // Every refused one is told to the agent, which ends the socket, so that its owner does not
    // wait for an answer; at once, and not when there is more to read.
    news::send_undeclared(
        Undeclared {
            event: FlowEvent {
                kind,
                protocol: rule::TCP,
                netns,
                origin,
            },
            local,
            port,
            refused: u16::from(refused),
            told: u32::from(share::may_tell(label)),
            device,
            zero: 0,
        },
        u64::from(BPF_RB_FORCE_WAKEUP),
    );
    if refused { DROP } else { PASS }
}

/// Of a refused connection a reset without data passes: it tells either side of the end.
#[inline(always)]
fn reset_only(packet: &Packet) -> i32 {
    if packet.ends() { PASS } else { DROP }
}

/// The address, port and device of the connection's near end.
#[inline(always)]
fn near_end(sk: *mut bpf_sock) -> (Address, u16, u32) {
    // Both forms are read and one is chosen, as the verifier wants fixed offsets.
    // SAFETY: fields of a full socket, one word at a time.
    unsafe {
        let v4 = ptr::read_volatile(&raw const (*sk).src_ip4);
        let v6 = [
            ptr::read_volatile(&raw const (*sk).src_ip6[0]),
            ptr::read_volatile(&raw const (*sk).src_ip6[1]),
            ptr::read_volatile(&raw const (*sk).src_ip6[2]),
            ptr::read_volatile(&raw const (*sk).src_ip6[3]),
        ];
        let address = if (*sk).family == INET {
            Address::v4(v4)
        } else {
            Address(v6)
        };
        (address, (*sk).src_port as u16, (*sk).bound_dev_if)
    }
}

#[inline(always)]
fn close(watch: *mut Watch, stage: u16) {
    // SAFETY: the kernel's storage of a socket, checked for null by the caller.
    unsafe {
        (*watch).out.stage = stage;
        (*watch).inward.stage = stage;
    }
}
