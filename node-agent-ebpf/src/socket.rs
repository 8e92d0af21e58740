//! Sockets at birth and at bind.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_get_netns_cookie;
use aya_ebpf::programs::{SockAddrContext, SockContext};
use node_agent_common::flow::{Address, EVENT_REFUSED_OWN_PORT};
use node_agent_common::names::COUNTER_REFUSED;
use node_agent_common::rule::{self, NOBODY};
use node_agent_common::sighting::SIGHTING_SOCKET;

use crate::connect::{ALLOW, REFUSE, refuse};
use crate::context;
use crate::maps::HEARD;
use crate::news;

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
        return REFUSE;
    }
    // A socket that cannot be labelled is not made: it could be handed out unlabelled.
    let Some(state) = context::state_or_new(ctx.sock) else {
        news::count(COUNTER_REFUSED);
        return REFUSE;
    };
    // SAFETY: the kernel's storage of this socket, checked for null.
    unsafe { (*state).label = label };
    // SAFETY: the helper takes the hook's context.
    let netns = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
    if HEARD.get_ptr(netns).is_none() {
        news::sight(SIGHTING_SOCKET, ctx.tgid(), netns);
    }
    ALLOW
}

/// A labelled task does not take the agent's port: neither to steal connections while the agent
/// is away, nor to connect to itself.
#[inline(always)]
pub fn bind(ctx: &SockAddrContext) -> i32 {
    let port = context::port(ctx);
    if port != context::listen_port() {
        return ALLOW;
    }
    let label = context::caller(context::socket(ctx));
    if label == NOBODY {
        return ALLOW;
    }
    refuse(ctx, Address::UNSPECIFIED, port, label, EVENT_REFUSED_OWN_PORT)
}
