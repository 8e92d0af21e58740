//! The second gate: packets and socket options of labelled cgroups. Whatever the first gate, the
//! connect hooks, did not lead to the agent ends here: sockets that were connected before the
//! label, addresses that become a database's only below the socket (translation, source routes),
//! connections that the database's host opens inwards. Each is counted, and told of at a bounded
//! rate. What may pass is then asked for its first bytes, in the same program: each packet is read
//! once.
//!
//! Attached to each labelled cgroup, so that a packet of anything else costs nothing.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::bpf_sock;
use aya_ebpf::helpers::generated::{
    bpf_get_socket_cookie, bpf_ktime_get_ns, bpf_sk_fullsock, bpf_skb_ancestor_cgroup_id,
    bpf_skb_cgroup_id,
};
use aya_ebpf::programs::{SkBuffContext, SockoptContext};
use node_agent_common::flow::{
    Address, EVENT_BYPASS_HEADER, EVENT_BYPASS_INWARD, EVENT_BYPASS_OPTION, EVENT_BYPASS_PACKET,
    OriginRecord,
};
use node_agent_common::names::{
    COUNTER_BYPASS_HEADER, COUNTER_BYPASS_INWARD, COUNTER_BYPASS_OPTION, COUNTER_BYPASS_PACKET,
};
use node_agent_common::rule::{self, Label, MAX_DEPTH, NOBODY, Reach};

use crate::connect::{ALLOW, REFUSE, guarded_address, guarded_port};
use crate::context;
use crate::maps::LABELS;
use crate::news;
use crate::packet::{self, Packet, Way};
use crate::share;
use crate::startup;

pub const PASS: i32 = 1;
pub const DROP: i32 = 0;

/// `TCP_SYN_SENT`, `TCP_LISTEN`.
pub const SYN_SENT: u32 = 2;
pub const LISTEN: u32 = 10;

/// A packet on its way out.
#[inline(always)]
pub fn egress(ctx: &SkBuffContext) -> i32 {
    let Some(packet) = packet::read(ctx, Way::Out) else {
        // Neither IPv4 nor IPv6, or cut off inside its headers: whereto it leads is unknown.
        return DROP;
    };
    let loopback = rule::is_loopback(packet.remote);
    if packet.odd {
        return stop(ctx, &packet, EVENT_BYPASS_HEADER, COUNTER_BYPASS_HEADER);
    }
    // Loopback and the node's other services share the address: there the port alone decides.
    let guarded = (packet.port != 0 && guarded_port(packet.port))
        || (!loopback && guarded_address(packet.remote));
    match rule::reach(packet.remote, packet.port, context::listen_port(), guarded) {
        Reach::Elsewhere | Reach::Agent => startup::egress(ctx, &packet),
        // A reset without data. It tells the database that a connection from before the label is
        // over, which it should hear.
        Reach::Guarded if packet.ends() => PASS,
        Reach::Guarded => stop(ctx, &packet, EVENT_BYPASS_PACKET, COUNTER_BYPASS_PACKET),
    }
}

/// A packet on its way in: only one that opens a connection is asked whence it comes, for what was
/// opened from the inside went past the other gates.
#[inline(always)]
pub fn ingress(ctx: &SkBuffContext) -> i32 {
    let Some(packet) = packet::read(ctx, Way::In) else {
        return DROP;
    };
    if packet.protocol != rule::TCP
        || !rule::opens(packet.flags)
        || rule::is_loopback(packet.remote)
        || !guarded_address(packet.remote)
    {
        return startup::ingress(ctx, &packet);
    }
    stop(ctx, &packet, EVENT_BYPASS_INWARD, COUNTER_BYPASS_INWARD)
}

/// A socket option. Taking options away stays possible: servers do so to be safe.
#[inline(always)]
pub fn set_option(ctx: &SockoptContext) -> i32 {
    let at = ctx.sockopt;
    // SAFETY: fields of the hook's context.
    let (level, option, length) = unsafe { ((*at).level, (*at).optname, (*at).optlen) };
    if !rule::routes_itself(level, option) || length == 0 {
        // SAFETY: as above. Zero asks the kernel to take the caller's own bytes, also those beyond
        // the page that hooks are shown.
        unsafe { (*at).optlen = 0 };
        return ALLOW;
    }
    // SAFETY: as above.
    let sk = unsafe { (*at).__bindgen_anon_1.sk };
    let state = context::state(sk);
    let origin = match state {
        // SAFETY: the kernel's storage of this socket, checked for null.
        Some(state) => unsafe { (*state).origin },
        None => nobody(),
    };
    news::count(COUNTER_BYPASS_OPTION);
    let label = match state {
        // SAFETY: as above.
        Some(state) => unsafe { (*state).label },
        None => NOBODY,
    };
    // A socket from before the label is counted; who holds it is not known here.
    if label != NOBODY && share::may_tell(label) {
        news::tell(EVENT_BYPASS_OPTION, 0, 0, &origin);
    }
    REFUSE
}

/// The packet's socket; null for what has none, or only a part of one.
#[inline(always)]
pub fn socket(ctx: &SkBuffContext) -> *mut bpf_sock {
    // SAFETY: a field of the hook's context; null for what has no socket.
    let sk = unsafe { (*ctx.skb.skb).__bindgen_anon_2.sk };
    if sk.is_null() {
        return sk;
    }
    // SAFETY: checked for null as the verifier demands.
    unsafe { bpf_sk_fullsock(sk) }
}

/// Drops the packet, unless its cgroup is the agent's own or labelled no more.
#[inline(always)]
fn stop(ctx: &SkBuffContext, packet: &Packet, kind: u32, counter: u32) -> i32 {
    let Some((cgroup, label)) = culprit(ctx) else {
        return PASS;
    };
    news::count(counter);
    if !share::may_tell(label) {
        return DROP;
    }
    let (origin, netns) = attempt(ctx, packet, cgroup, label);
    news::tell(kind, packet.protocol, netns, &origin);
    DROP
}

/// The packet's cgroup and its label; `None` for what is labelled no more, and for an agent below a
/// labelled cgroup: this one, or one before it that still serves.
#[inline(always)]
pub fn culprit(ctx: &SkBuffContext) -> Option<(u64, Label)> {
    // SAFETY: the helper takes the hook's context.
    let cgroup = unsafe { bpf_skb_cgroup_id(ctx.skb.skb) };
    if context::is_agents(cgroup) {
        return None;
    }
    let label = label(ctx);
    if label == NOBODY {
        return None;
    }
    Some((cgroup, label))
}

/// Who sent or gets the packet, as far as that is known without a running task, and what is at the
/// other end of it; with the network namespace, or 0.
#[inline(always)]
pub fn attempt(
    ctx: &SkBuffContext,
    packet: &Packet,
    cgroup: u64,
    label: Label,
) -> (OriginRecord, u64) {
    let mut origin = nobody();
    let mut netns = 0;
    let sk = socket(ctx);
    if !sk.is_null() {
        if let Some(state) = context::state(sk) {
            // SAFETY: the kernel's storage of this socket, checked for null.
            unsafe {
                origin = (*state).origin;
                netns = (*state).key.netns;
            }
        }
    }
    origin.destination = packet.remote;
    origin.port = packet.port;
    // SAFETY: helpers on the hook's context or on nothing.
    unsafe {
        origin.socket = bpf_get_socket_cookie(ctx.as_ptr());
        origin.time = bpf_ktime_get_ns();
    }
    origin.cgroup = cgroup;
    origin.workload = label - 1;
    (origin, netns)
}

/// The label of the packet's cgroup: of its outermost labelled ancestor, as for tasks.
#[inline(always)]
fn label(ctx: &SkBuffContext) -> Label {
    for level in 1..=MAX_DEPTH {
        // SAFETY: the helper takes the context and a number, and gives 0 for no such ancestor.
        let id = unsafe { bpf_skb_ancestor_cgroup_id(ctx.skb.skb, level as i32) };
        if id == 0 {
            break;
        }
        if let Some(label) = LABELS.get_ptr(id) {
            // SAFETY: checked for null; a torn u32 does not exist.
            return unsafe { *label };
        }
    }
    NOBODY
}

#[inline(always)]
pub fn nobody() -> OriginRecord {
    OriginRecord {
        destination: Address::UNSPECIFIED,
        port: 0,
        zero: [0; 3],
        socket: 0,
        cgroup: 0,
        time: 0,
        workload: 0,
        pid: 0,
        uid: 0,
        zero2: 0,
        comm: [0; 16],
    }
}
