//! Ties the remembered destination to what the listener will see: published before the SYN, so
//! before any accept; withdrawn at close.

use aya_ebpf::bindings::{
    BPF_ANY, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB,
    BPF_SOCK_OPS_TIMEOUT_INIT, BPF_TCP_CLOSE,
};
use aya_ebpf::programs::SockOpsContext;
use core::ptr;
use node_agent_common::flow::{
    Address, FlowKey, SOCKET_IDLE, SOCKET_PUBLISHED, SOCKET_REDIRECTED, SocketState,
};
use node_agent_common::names::COUNTER_UNPUBLISHED;

use crate::context;
use crate::maps::FLOWS;
use crate::news;
use crate::share;
use crate::wait;

/// `AF_INET`.
const INET: u32 = 2;

#[inline(always)]
pub fn sock_ops(ctx: &SockOpsContext) -> u32 {
    let op = ctx.op();
    if op == BPF_SOCK_OPS_TCP_CONNECT_CB {
        if let Some(state) = state(ctx) {
            publish(ctx, state);
        }
    } else if op == BPF_SOCK_OPS_TIMEOUT_INIT {
        if let Some(state) = state(ctx) {
            ctx.set_reply(wait::first_timeout(state));
        }
    } else if op == BPF_SOCK_OPS_STATE_CB && ctx.arg(1) == BPF_TCP_CLOSE {
        if let Some(state) = state(ctx) {
            withdraw(state);
        }
    }
    1
}

#[inline(always)]
fn state(ctx: &SockOpsContext) -> Option<*mut SocketState> {
    // SAFETY: fields of the hook's context; the pointer is null for what is no full socket.
    let sk = unsafe { (*ctx.ops).__bindgen_anon_2.sk };
    if sk.is_null() {
        None
    } else {
        context::state(sk)
    }
}

#[inline(always)]
fn publish(ctx: &SockOpsContext, state: *mut SocketState) {
    // SAFETY: the kernel's storage of this socket, checked for null.
    unsafe {
        if (*state).stage != SOCKET_REDIRECTED {
            return;
        }
        let key = FlowKey {
            netns: (*state).key.netns,
            address: local(ctx),
            port: ctx.local_port() as u16,
            zero: [0; 3],
        };
        // First make sure of hearing of the close: an entry nobody would delete is not made.
        let flags = ctx.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG;
        if ctx.set_cb_flags(flags as i32).is_err() {
            news::count(COUNTER_UNPUBLISHED);
            return;
        }
        let origin = (*state).origin;
        let label = origin.workload + 1;
        // Counted first: an entry that was taken is never counted after it.
        share::add(label, 1);
        if FLOWS.insert(&key, &origin, u64::from(BPF_ANY)).is_err() {
            share::add(label, -1);
            news::count(COUNTER_UNPUBLISHED);
            return;
        }
        (*state).key = key;
        (*state).stage = SOCKET_PUBLISHED;
    }
}

/// Removes the socket's entry, if it is still there and still its own. The stage stays: the peer
/// name of a socket that is closing is still the one it asked for.
#[inline(always)]
pub fn withdraw(state: *mut SocketState) {
    // SAFETY: the kernel's storage of this socket, checked for null by the caller.
    unsafe {
        if (*state).stage != SOCKET_PUBLISHED {
            return;
        }
        let key = (*state).key;
        if let Some(entry) = FLOWS.get_ptr(&key) {
            if (*entry).socket == (*state).origin.socket {
                // The agent may take it at this moment: whoever removes it counts it.
                if FLOWS.remove(&key).is_ok() {
                    share::add((*state).origin.workload + 1, -1);
                }
            }
        }
        (*state).stage = SOCKET_IDLE;
    }
}

/// The local address as the listener will see it. An IPv6 socket on its way to an IPv4-mapped
/// address already has its own address in mapped form.
#[inline(always)]
fn local(ctx: &SockOpsContext) -> Address {
    let ops = ctx.ops;
    // Both forms are read and one is chosen: were the reads in two branches, the compiler would
    // merge them into one at a computed offset, which the verifier refuses in a context.
    // SAFETY: fields of the hook's context, one word at a time.
    let (v4, v6) = unsafe {
        (
            ptr::read_volatile(&raw const (*ops).local_ip4),
            [
                ptr::read_volatile(&raw const (*ops).local_ip6[0]),
                ptr::read_volatile(&raw const (*ops).local_ip6[1]),
                ptr::read_volatile(&raw const (*ops).local_ip6[2]),
                ptr::read_volatile(&raw const (*ops).local_ip6[3]),
            ],
        )
    };
    if ctx.family() == INET {
        Address::v4(v4)
    } else {
        Address(v6)
    }
}
