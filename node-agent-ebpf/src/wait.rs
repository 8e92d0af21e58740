//! Patience with the agent: a workload may dial the moment its network namespace exists, before
//! the agent can listen in it. Its first SYNs are held back then, and sent again by the kernel
//! when the agent is there. Decides nothing about who may go where: with or without it, a
//! redirected connection reaches the agent or nobody.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::programs::SkBuffContext;
use node_agent_common::flow::{HEARD_NOW, SOCKET_IDLE, SocketState};
use node_agent_common::rule::{SYN_PATIENCE_NANOS, SYN_RETRY_JIFFIES};

use crate::context;
use crate::gate::{self, DROP, PASS, SYN_SENT};
use crate::maps::HEARD;

/// A packet on its way out: does it go now?
#[inline(always)]
pub fn egress(ctx: &SkBuffContext) -> i32 {
    let sk = gate::socket(ctx);
    // SAFETY: checked for null first. Nearly every packet ends here.
    if sk.is_null() || unsafe { (*sk).state } != SYN_SENT {
        return PASS;
    }
    match context::state(sk) {
        Some(state) if unheard(state) => DROP,
        Some(_) | None => PASS,
    }
}

/// Does the agent listen in that namespace?
#[inline(always)]
pub fn heard(netns: u64) -> bool {
    match HEARD.get_ptr(netns) {
        // SAFETY: checked for null; one byte.
        Some(value) => unsafe { *value == HEARD_NOW },
        None => false,
    }
}

/// How long the first SYN waits for its answer, in jiffies; 0 is the kernel's own second.
#[inline(always)]
pub fn first_timeout(state: *mut SocketState) -> u32 {
    if unheard(state) { SYN_RETRY_JIFFIES } else { 0 }
}

/// Is it a redirected connection, young, from where the agent does not listen yet?
#[inline(always)]
fn unheard(state: *mut SocketState) -> bool {
    // SAFETY: the kernel's storage of this socket, checked for null by the caller.
    let (stage, netns, since) =
        unsafe { ((*state).stage, (*state).key.netns, (*state).origin.time) };
    if stage == SOCKET_IDLE || heard(netns) {
        return false;
    }
    // SAFETY: takes nothing.
    let now = unsafe { bpf_ktime_get_ns() };
    now.wrapping_sub(since) < SYN_PATIENCE_NANOS
}
