//! Reading and writing what the kernel hands to a hook, word by word as the verifier wants it.

use core::ptr;

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock};
use aya_ebpf::helpers::generated::{
    bpf_get_current_ancestor_cgroup_id, bpf_get_current_cgroup_id, bpf_sk_storage_get,
};
use aya_ebpf::programs::SockAddrContext;
use node_agent_common::flow::{Address, SocketState};
use node_agent_common::rule::{self, Label, MAX_DEPTH, NOBODY};

use crate::maps::{BEFORE, LABELS, SOCKETS};

/// Which of the two hooks of a pair runs. An IPv4-mapped destination runs the IPv6 one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

#[unsafe(no_mangle)]
static LISTEN_PORT: u32 = 0;
#[unsafe(no_mangle)]
static AGENT_CGROUP: u64 = 0;
#[unsafe(no_mangle)]
static QUOTA: u32 = 0;
#[unsafe(no_mangle)]
static CLOSED: u32 = 0;

/// What becomes of a database that nobody declared. Set by the loader.
#[unsafe(no_mangle)]
static UNDECLARED: u32 = 0;

/// The agent's port. Set by the loader.
#[inline(always)]
pub fn listen_port() -> u16 {
    // SAFETY: a read of an initialised static; volatile because the loader rewrites it.
    unsafe { ptr::read_volatile(&raw const LISTEN_PORT) as u16 }
}

/// The agent's own cgroup. Set by the loader.
#[inline(always)]
pub fn agent_cgroup() -> u64 {
    // SAFETY: as above.
    unsafe { ptr::read_volatile(&raw const AGENT_CGROUP) }
}

/// How many connects of one label may wait for the agent. Set by the loader.
#[inline(always)]
pub fn quota() -> u32 {
    // SAFETY: as above.
    unsafe { ptr::read_volatile(&raw const QUOTA) }
}

/// Do labelled workloads reach databases and what is allowed, and nothing else? Set by the loader.
#[inline(always)]
pub fn closed() -> bool {
    // SAFETY: as above.
    unsafe { ptr::read_volatile(&raw const CLOSED) != 0 }
}

/// `watch::UNDECLARED_*`. Set by the loader.
#[inline(always)]
pub fn undeclared() -> u32 {
    // SAFETY: as above.
    unsafe { ptr::read_volatile(&raw const UNDECLARED) }
}

/// Is it the agent's own cgroup, or that of one before it which still serves its sessions? Exactly
/// those: a cgroup below is none.
#[inline(always)]
pub fn is_agents(cgroup: u64) -> bool {
    cgroup == agent_cgroup() || BEFORE.get_ptr(cgroup).is_some()
}

/// Is the running task in such a cgroup?
#[inline(always)]
pub fn is_agent() -> bool {
    // SAFETY: the helper takes nothing.
    is_agents(unsafe { bpf_get_current_cgroup_id() })
}

/// The label of the running task: of its outermost labelled ancestor, so that nobody changes a
/// label from the inside.
#[inline(always)]
pub fn task_label() -> Label {
    // Level 0 is the hierarchy's root, which is never labelled.
    for level in 1..=MAX_DEPTH {
        // SAFETY: the helper takes a number and gives 0 when the task has no such ancestor.
        let id = unsafe { bpf_get_current_ancestor_cgroup_id(level as i32) };
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

/// The caller's label, by task or by socket.
#[inline(always)]
pub fn caller(sk: *mut bpf_sock) -> Label {
    let socket = match state(sk) {
        // SAFETY: the kernel's storage of this socket, checked for null.
        Some(state) => unsafe { (*state).label },
        None => NOBODY,
    };
    rule::whose(task_label(), is_agent(), socket)
}

/// The task's label as it counts for a new socket: the agent's own sockets get none.
#[inline(always)]
pub fn maker() -> Label {
    rule::whose(task_label(), is_agent(), NOBODY)
}

/// What is kept beside the socket, if anything is.
#[inline(always)]
pub fn state(sk: *mut bpf_sock) -> Option<*mut SocketState> {
    let map = ptr::addr_of!(SOCKETS).cast_mut().cast();
    // SAFETY: `sk` is the hook's socket pointer, as the verifier demands.
    let found = unsafe { bpf_sk_storage_get(map, sk.cast(), ptr::null_mut(), 0) };
    if found.is_null() {
        None
    } else {
        Some(found.cast())
    }
}

/// The same, made (all zero) when there is none. `None` when the kernel has no memory for it.
#[inline(always)]
pub fn state_or_new(sk: *mut bpf_sock) -> Option<*mut SocketState> {
    let map = ptr::addr_of!(SOCKETS).cast_mut().cast();
    let create = u64::from(BPF_SK_STORAGE_GET_F_CREATE);
    // SAFETY: as above; a null value asks for zeroes.
    let found = unsafe { bpf_sk_storage_get(map, sk.cast(), ptr::null_mut(), create) };
    if found.is_null() {
        None
    } else {
        Some(found.cast())
    }
}

/// The hook's socket.
#[inline(always)]
pub fn socket(ctx: &SockAddrContext) -> *mut bpf_sock {
    // SAFETY: a field of the hook's context.
    unsafe { (*ctx.sock_addr).__bindgen_anon_1.sk }
}

/// The socket's protocol.
#[inline(always)]
pub fn protocol(ctx: &SockAddrContext) -> u32 {
    // SAFETY: a field of the hook's context.
    unsafe { (*ctx.sock_addr).protocol }
}

/// The port in the address given, host order.
#[inline(always)]
pub fn port(ctx: &SockAddrContext) -> u16 {
    // SAFETY: a field of the hook's context; network order in its low 16 bits.
    u16::from_be(unsafe { (*ctx.sock_addr).user_port } as u16)
}

/// The address given. `user_family` is not read: the kernel does not read it everywhere either.
#[inline(always)]
pub fn address(ctx: &SockAddrContext, family: Family) -> Address {
    let at = ctx.sock_addr;
    // SAFETY: fields of the hook's context, one word at a time.
    unsafe {
        match family {
            Family::V4 => Address::v4(ptr::read_volatile(&raw const (*at).user_ip4)),
            Family::V6 => Address([
                ptr::read_volatile(&raw const (*at).user_ip6[0]),
                ptr::read_volatile(&raw const (*at).user_ip6[1]),
                ptr::read_volatile(&raw const (*at).user_ip6[2]),
                ptr::read_volatile(&raw const (*at).user_ip6[3]),
            ]),
        }
    }
}

/// Puts another address and port (host order) in place of the one given.
#[inline(always)]
pub fn write(ctx: &SockAddrContext, family: Family, address: Address, port: u16) {
    let at = ctx.sock_addr;
    let Address([a, b, c, d]) = address;
    // SAFETY: writable fields of the hook's context, one word at a time.
    unsafe {
        match family {
            Family::V4 => ptr::write_volatile(&raw mut (*at).user_ip4, d),
            Family::V6 => {
                ptr::write_volatile(&raw mut (*at).user_ip6[0], a);
                ptr::write_volatile(&raw mut (*at).user_ip6[1], b);
                ptr::write_volatile(&raw mut (*at).user_ip6[2], c);
                ptr::write_volatile(&raw mut (*at).user_ip6[3], d);
            }
        }
        ptr::write_volatile(&raw mut (*at).user_port, u32::from(port.to_be()));
    }
}

/// The pointer the helpers want.
#[inline(always)]
pub fn raw(ctx: &SockAddrContext) -> *mut core::ffi::c_void {
    ctx.as_ptr()
}
