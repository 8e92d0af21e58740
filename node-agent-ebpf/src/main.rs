//! The kernel programs: entry points only, and the licence.
//!
//! `connect` redirects and refuses, `established` publishes and withdraws the origin, `socket`
//! labels sockets at birth, `gate` drops what got past `connect` (`packet` reads for it) and asks
//! `startup`, which knows a database nobody declared, `wire` drops what got past every hook on
//! sockets, `share` keeps one workload's flood from the others, `wait` gives the agent time to
//! listen, `sighting` tells enrolment where to look, `maps` documents every map.
#![no_std]
#![no_main]
// For one atomic addition. Only this crate's compiler has the target at all.
#![feature(asm_experimental_arch)]

mod connect;
mod context;
mod established;
mod gate;
mod maps;
mod news;
mod packet;
mod share;
mod sighting;
mod socket;
mod startup;
mod wait;
mod wire;

use aya_ebpf::macros::{
    cgroup_skb, cgroup_sock, cgroup_sock_addr, cgroup_sockopt, classifier, raw_tracepoint, sock_ops,
};
use aya_ebpf::programs::{
    RawTracePointContext, SkBuffContext, SockAddrContext, SockContext, SockOpsContext,
    SockoptContext, TcContext,
};

#[cgroup_sock_addr(connect4)]
pub fn on_connect4(ctx: SockAddrContext) -> i32 {
    connect::connect(&ctx, context::Family::V4)
}

#[cgroup_sock_addr(connect6)]
pub fn on_connect6(ctx: SockAddrContext) -> i32 {
    connect::connect(&ctx, context::Family::V6)
}

#[cgroup_sock_addr(sendmsg4)]
pub fn on_sendmsg4(ctx: SockAddrContext) -> i32 {
    connect::send(&ctx, context::Family::V4)
}

#[cgroup_sock_addr(sendmsg6)]
pub fn on_sendmsg6(ctx: SockAddrContext) -> i32 {
    connect::send(&ctx, context::Family::V6)
}

#[cgroup_sock_addr(getpeername4)]
pub fn on_getpeername4(ctx: SockAddrContext) -> i32 {
    connect::peer_name(&ctx, context::Family::V4)
}

#[cgroup_sock_addr(getpeername6)]
pub fn on_getpeername6(ctx: SockAddrContext) -> i32 {
    connect::peer_name(&ctx, context::Family::V6)
}

#[cgroup_sock_addr(bind4)]
pub fn on_bind4(ctx: SockAddrContext) -> i32 {
    socket::bind(&ctx)
}

#[cgroup_sock_addr(bind6)]
pub fn on_bind6(ctx: SockAddrContext) -> i32 {
    socket::bind(&ctx)
}

#[cgroup_sock(sock_create)]
pub fn on_socket(ctx: SockContext) -> i32 {
    socket::create(&ctx)
}

#[sock_ops]
pub fn on_sock_ops(ctx: SockOpsContext) -> u32 {
    established::sock_ops(&ctx)
}

#[cgroup_skb(egress)]
pub fn on_egress(ctx: SkBuffContext) -> i32 {
    gate::egress(&ctx)
}

#[cgroup_skb(egress)]
pub fn on_wait(ctx: SkBuffContext) -> i32 {
    wait::egress(&ctx)
}

#[cgroup_skb(ingress)]
pub fn on_ingress(ctx: SkBuffContext) -> i32 {
    gate::ingress(&ctx)
}

#[classifier]
pub fn on_wire(ctx: TcContext) -> i32 {
    wire::out(&ctx)
}

#[classifier]
pub fn on_wire_in(ctx: TcContext) -> i32 {
    wire::into(&ctx)
}

#[cgroup_skb(egress)]
pub fn on_node(ctx: SkBuffContext) -> i32 {
    wire::node_socket(&ctx)
}

#[classifier]
pub fn on_node_frame(ctx: TcContext) -> i32 {
    wire::node_device(&ctx, wire::Layer::Frame)
}

#[classifier]
pub fn on_node_packet(ctx: TcContext) -> i32 {
    wire::node_device(&ctx, wire::Layer::Packet)
}

#[cgroup_sockopt(setsockopt)]
pub fn on_setsockopt(ctx: SockoptContext) -> i32 {
    gate::set_option(&ctx)
}

#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn on_exec(ctx: RawTracePointContext) -> i32 {
    sighting::exec(&ctx)
}

#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn on_fork(ctx: RawTracePointContext) -> i32 {
    sighting::fork(&ctx)
}

#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn on_exit(ctx: RawTracePointContext) -> i32 {
    sighting::exit(&ctx)
}

#[raw_tracepoint(tracepoint = "cgroup_attach_task")]
pub fn on_attach_task(ctx: RawTracePointContext) -> i32 {
    sighting::moved(&ctx)
}

/// Only helpers open to every licence are used.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 11] = *b"Apache-2.0\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
