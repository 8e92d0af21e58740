//! Sockets at birth and at bind.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{bpf_get_current_cgroup_id, bpf_get_netns_cookie};
use aya_ebpf::programs::{SockAddrContext, SockContext};
use node_agent_common::flow::{
    Address, EVENT_REFUSED_OWN_PORT, EVENT_REFUSED_SOCKET, OriginRecord,
};
use node_agent_common::names::COUNTER_REFUSED;
use node_agent_common::rule::{self, Label, NOBODY};
use node_agent_common::sighting::SIGHTING_SOCKET;

use crate::connect::{ALLOW, REFUSE, refuse};
use crate::context;
use crate::maps::HEARD;
use crate::news;
use crate::share;
use crate::wait;

/// A socket that a labelled task makes carries the label wherever it is handed to.
#[inline(always)]
pub fn create(ctx: &SockContext) -> i32 {
    let label = context::maker();
    if label == NOBODY {
        return ALLOW;
    }
    // SAFETY: fields of the hook's context.
    let (kind, protocol) = unsafe { ((*ctx.sock).type_, (*ctx.sock).protocol) };
    if !rule::may_make(kind, protocol) {
        news::count(COUNTER_REFUSED);
        if share::may_tell(label) {
            let origin = maker(ctx, label);
            // SAFETY: the helper takes the hook's context.
            let netns = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
            news::tell(EVENT_REFUSED_SOCKET, protocol, netns, &origin);
        }
        return REFUSE;
    }
    // A socket that cannot be labelled is not made: it could be handed out unlabelled.
    let Some(state) = context::state_or_new(ctx.sock) else {
        news::count(COUNTER_REFUSED);
        return REFUSE;
    };
    // SAFETY: the helpers take the hook's context or nothing; the kernel's storage of this socket,
    // checked for null.
    let netns = unsafe {
        let netns = bpf_get_netns_cookie(ctx.as_ptr());
        (*state).label = label;
        // Who made it: the second gate, which has no running task to ask, tells of them.
        (*state).key.netns = netns;
        (*state).origin = maker(ctx, label);
        netns
    };
    if !wait::heard(netns) {
        news::sight(SIGHTING_SOCKET, ctx.tgid(), netns);
    }
    ALLOW
}

/// Who makes the socket. It has no destination yet.
#[inline(always)]
fn maker(ctx: &SockContext, label: Label) -> OriginRecord {
    OriginRecord {
        destination: Address::UNSPECIFIED,
        port: 0,
        zero: [0; 3],
        socket: 0,
        // SAFETY: the helper takes nothing.
        cgroup: unsafe { bpf_get_current_cgroup_id() },
        time: 0,
        workload: label - 1,
        pid: ctx.tgid(),
        uid: ctx.uid(),
        zero2: 0,
        comm: ctx.command().unwrap_or([0; 16]),
    }
}

/// Nobody takes the agent's port where it listens, or did: neither to steal connections while the
/// agent is away, nor to connect to itself. A labelled task takes it nowhere.
#[inline(always)]
pub fn bind(ctx: &SockAddrContext) -> i32 {
    let port = context::port(ctx);
    if port != context::listen_port() {
        return ALLOW;
    }
    let label = context::caller(context::socket(ctx));
    if label == NOBODY {
        // SAFETY: the helper takes the hook's context.
        let netns = unsafe { bpf_get_netns_cookie(context::raw(ctx)) };
        let protocol = context::protocol(ctx);
        // Elsewhere the port is anybody's: other software has it in namespaces of its own.
        if context::is_agent()
            || (protocol != rule::TCP && protocol != rule::MPTCP)
            || HEARD.get_ptr(netns).is_none()
        {
            return ALLOW;
        }
        news::count(COUNTER_REFUSED);
        return REFUSE;
    }
    refuse(
        ctx,
        Address::UNSPECIFIED,
        port,
        label,
        EVENT_REFUSED_OWN_PORT,
    )
}
