//! connect(), sendto() and getpeername(): what leads to a guarded place is sent to the agent in
//! the same network namespace, or refused; unlabelled callers are never touched.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{BPF_ANY, bpf_sock};
use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_ktime_get_ns,
};
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::programs::SockAddrContext;
use node_agent_common::flow::{
    Address, EVENT_REDIRECTED, EVENT_REFUSED_CLOSED, EVENT_REFUSED_FULL, EVENT_REFUSED_MEMORY,
    EVENT_REFUSED_OWN_PORT, EVENT_REFUSED_PROTOCOL, EVENT_REFUSED_QUOTA, FlowKey, OriginRecord,
    SOCKET_IDLE, SOCKET_REDIRECTED,
};
use node_agent_common::names::{COUNTER_FULL, COUNTER_QUOTA, COUNTER_REDIRECTED, COUNTER_REFUSED};
use node_agent_common::rule::{self, Label, NOBODY, Reach, Verdict};

use node_agent_common::sighting::SIGHTING_SOCKET;

use crate::context::{self, Family};
use crate::established;
use crate::maps::{ALLOWED, FLOWS, PORTS, PREFIXES};
use crate::news;
use crate::share;
use crate::wait;

/// What a cgroup hook answers: the call goes on, or fails with EPERM.
pub const ALLOW: i32 = 1;
pub const REFUSE: i32 = 0;

#[inline(always)]
pub fn connect(ctx: &SockAddrContext, family: Family) -> i32 {
    let sk = context::socket(ctx);
    // Whatever an earlier connect of this socket left is void from here on, whoever calls.
    if let Some(state) = context::state(sk) {
        established::withdraw(state);
        // SAFETY: the kernel's storage of this socket.
        unsafe { (*state).stage = SOCKET_IDLE };
    }

    let address = rule::normal(context::address(ctx, family));
    let port = context::port(ctx);
    let listen = context::listen_port();
    let reach = rule::reach(address, port, listen, guarded(address, port));
    // The cheap question first: most connects of a machine lead elsewhere.
    if matches!(reach, Reach::Elsewhere) && !context::closed() {
        return ALLOW;
    }
    let label = context::caller(sk);
    if label == NOBODY {
        return ALLOW;
    }
    let protocol = context::protocol(ctx);
    match rule::decide(reach, protocol) {
        Verdict::Pass if context::closed() => closed(ctx, address, port, label),
        Verdict::Pass => ALLOW,
        Verdict::RefuseProtocol => refuse(ctx, address, port, label, EVENT_REFUSED_PROTOCOL),
        Verdict::RefuseOwnPort => refuse(ctx, address, port, label, EVENT_REFUSED_OWN_PORT),
        Verdict::Redirect => redirect(ctx, family, sk, address, port, label),
    }
}

#[inline(always)]
fn redirect(
    ctx: &SockAddrContext,
    family: Family,
    sk: *mut bpf_sock,
    address: Address,
    port: u16,
    label: Label,
) -> i32 {
    let origin = origin(ctx, address, port, label);
    // SAFETY: the helper takes the hook's context.
    let netns = unsafe { bpf_get_netns_cookie(context::raw(ctx)) };

    // Room in the table is asked for here, where a connect can still be refused; by the time the
    // origin is published (and its key known) it cannot. The probe's key names no connection: no
    // socket has port 0. Should others take the room in between, publishing fails and the agent
    // closes the connection for want of an entry.
    if !share::has_room(label) {
        news::count(COUNTER_QUOTA);
        news::count(COUNTER_REFUSED);
        if share::may_tell(label) {
            news::tell(EVENT_REFUSED_QUOTA, rule::TCP, netns, &origin);
        }
        return REFUSE;
    }
    let probe = FlowKey {
        netns: origin.socket,
        address: Address::UNSPECIFIED,
        port: 0,
        zero: [0; 3],
    };
    if FLOWS.insert(&probe, &origin, u64::from(BPF_ANY)).is_err() {
        news::count(COUNTER_FULL);
        news::count(COUNTER_REFUSED);
        news::tell(EVENT_REFUSED_FULL, rule::TCP, netns, &origin);
        return REFUSE;
    }
    let _ = FLOWS.remove(&probe);

    let Some(state) = context::state_or_new(sk) else {
        news::count(COUNTER_REFUSED);
        news::tell(EVENT_REFUSED_MEMORY, rule::TCP, netns, &origin);
        return REFUSE;
    };
    // SAFETY: the kernel's storage of this socket, checked for null; the socket is locked.
    unsafe {
        (*state).origin = origin;
        (*state).key = FlowKey {
            netns,
            address: Address::UNSPECIFIED,
            port: 0,
            zero: [0; 3],
        };
        (*state).stage = SOCKET_REDIRECTED;
    }
    let to = match family {
        Family::V4 => Address::LOOPBACK_V4,
        Family::V6 => {
            if address.is_v4() {
                Address::LOOPBACK_V4
            } else {
                Address::LOOPBACK_V6
            }
        }
    };
    context::write(ctx, family, to, context::listen_port());
    if !wait::heard(netns) {
        news::sight(SIGHTING_SOCKET, origin.pid, netns);
    }
    news::count(COUNTER_REDIRECTED);
    news::tell(EVENT_REDIRECTED, rule::TCP, netns, &origin);
    ALLOW
}

/// A datagram to a guarded place: connected or not, it cannot be redirected.
#[inline(always)]
pub fn send(ctx: &SockAddrContext, family: Family) -> i32 {
    let address = rule::normal(context::address(ctx, family));
    let port = context::port(ctx);
    let guarded = guarded(address, port);
    if !guarded && !context::closed() {
        return ALLOW;
    }
    let label = context::caller(context::socket(ctx));
    if label == NOBODY {
        return ALLOW;
    }
    if guarded {
        refuse(ctx, address, port, label, EVENT_REFUSED_PROTOCOL)
    } else {
        closed(ctx, address, port, label)
    }
}

/// Neither a database nor the agent, where only what is allowed may be reached besides.
#[inline(always)]
fn closed(ctx: &SockAddrContext, address: Address, port: u16, label: Label) -> i32 {
    if allowed(address, port) {
        return ALLOW;
    }
    news::count(COUNTER_REFUSED);
    if share::may_tell(label) {
        let origin = origin(ctx, address, port, label);
        // SAFETY: the helper takes the hook's context.
        let netns = unsafe { bpf_get_netns_cookie(context::raw(ctx)) };
        news::tell(EVENT_REFUSED_CLOSED, context::protocol(ctx), netns, &origin);
    }
    REFUSE
}

/// May it be reached where all but databases is refused?
#[inline(always)]
pub fn allowed(address: Address, port: u16) -> bool {
    let Address([a, b, c, d]) = address;
    let at = |port: u16| ALLOWED.get(Key::new(160, [u32::from(port), a, b, c, d]));
    at(port).is_some() || at(0).is_some()
}

/// The workload sees the peer it asked for.
#[inline(always)]
pub fn peer_name(ctx: &SockAddrContext, family: Family) -> i32 {
    if let Some(state) = context::state(context::socket(ctx)) {
        // SAFETY: the kernel's storage of this socket, checked for null.
        let state = unsafe { &*state };
        if state.stage != SOCKET_IDLE {
            context::write(ctx, family, state.origin.destination, state.origin.port);
        }
    }
    ALLOW
}

#[inline(always)]
fn guarded(address: Address, port: u16) -> bool {
    guarded_port(port) || guarded_address(address)
}

#[inline(always)]
pub fn guarded_port(port: u16) -> bool {
    PORTS.get_ptr(port).is_some()
}

#[inline(always)]
pub fn guarded_address(address: Address) -> bool {
    let Address(words) = address;
    PREFIXES.get(Key::new(128, words)).is_some()
}

#[inline(always)]
pub fn refuse(ctx: &SockAddrContext, address: Address, port: u16, label: Label, why: u32) -> i32 {
    let origin = origin(ctx, address, port, label);
    // SAFETY: the helper takes the hook's context.
    let netns = unsafe { bpf_get_netns_cookie(context::raw(ctx)) };
    news::count(COUNTER_REFUSED);
    news::tell(why, context::protocol(ctx), netns, &origin);
    REFUSE
}

#[inline(always)]
fn origin(ctx: &SockAddrContext, address: Address, port: u16, label: Label) -> OriginRecord {
    OriginRecord {
        destination: address,
        port,
        zero: [0; 3],
        // SAFETY: helpers on the hook's context or on nothing.
        socket: unsafe { bpf_get_socket_cookie(context::raw(ctx)) },
        cgroup: unsafe { bpf_get_current_cgroup_id() },
        time: unsafe { bpf_ktime_get_ns() },
        workload: label - 1,
        pid: ctx.tgid(),
        uid: ctx.uid(),
        zero2: 0,
        comm: ctx.command().unwrap_or([0; 16]),
    }
}
