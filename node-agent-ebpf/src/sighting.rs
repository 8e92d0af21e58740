//! Where enrolment should look. Tracepoints see every task of the machine; only labelled ones
//! are told of, and those that were labelled a moment ago.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_get_current_cgroup_id;
use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::RawTracePointContext;
use node_agent_common::rule::NOBODY;
use node_agent_common::sighting::{SIGHTING_EXEC, SIGHTING_FORKED, SIGHTING_LEFT, SIGHTING_MOVED};

use crate::context;
use crate::news;

/// A task that was labelled when it was last seen.
#[derive(Clone, Copy)]
#[repr(C)]
struct Task {
    /// Its thread group; 0 until it runs a program or forks itself.
    tgid: u32,
    zero: u32,
    /// Where it was.
    cgroup: u64,
}

/// The kernel's address of a labelled task, as a number and never followed → what was seen of it.
/// Only so can a move be told that its mover did not make of himself, for a task's number cannot
/// be read here. The kernel writes; it deletes when the task ends. News only: full, it is not news.
#[map]
static TASKS: HashMap<u64, Task> = HashMap::with_max_entries(65_536, 0);

#[inline(always)]
fn argument(ctx: &RawTracePointContext, at: usize) -> u64 {
    // SAFETY: `struct bpf_raw_tracepoint_args` is an array of words, as many as the tracepoint has.
    unsafe { *ctx.as_ptr().cast::<u64>().add(at) }
}

#[inline(always)]
fn tgid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

#[inline(always)]
fn cgroup() -> u64 {
    // SAFETY: takes nothing.
    unsafe { bpf_get_current_cgroup_id() }
}

#[inline(always)]
fn keep(task: u64, tgid: u32) {
    let seen = Task {
        tgid,
        zero: 0,
        cgroup: cgroup(),
    };
    let _ = TASKS.insert(&task, &seen, 0);
}

/// `sched_process_exec(task, …)`, in the task itself.
#[inline(always)]
pub fn exec(ctx: &RawTracePointContext) -> i32 {
    let task = argument(ctx, 0);
    if context::task_label() != NOBODY {
        keep(task, tgid());
        news::sight(SIGHTING_EXEC, tgid(), 0);
        return 0;
    }
    if let Some(seen) = TASKS.get_ptr(&task) {
        // SAFETY: checked for null.
        let was = unsafe { (*seen).cgroup };
        let _ = TASKS.remove(&task);
        // Where it was, and unlabelled: the label went, not the task.
        if was != cgroup() {
            news::sight(SIGHTING_LEFT, tgid(), was);
        }
    }
    0
}

/// `sched_process_fork(parent, child)`, in the parent. The child may be in another cgroup from
/// its first instruction on, which only enrolment can see.
#[inline(always)]
pub fn fork(ctx: &RawTracePointContext) -> i32 {
    if context::task_label() != NOBODY {
        keep(argument(ctx, 0), tgid());
        keep(argument(ctx, 1), 0);
        news::sight(SIGHTING_FORKED, tgid(), 0);
    }
    0
}

/// `sched_process_exit(task, …)`.
#[inline(always)]
pub fn exit(ctx: &RawTracePointContext) -> i32 {
    let _ = TASKS.remove(&argument(ctx, 0));
    0
}

/// `cgroup_attach_task(cgroup, path, task, threadgroup)`, after the move, in whoever moved it.
#[inline(always)]
pub fn moved(ctx: &RawTracePointContext) -> i32 {
    match TASKS.get_ptr(&argument(ctx, 2)) {
        Some(seen) => {
            // SAFETY: checked for null.
            let (known, was) = unsafe { ((*seen).tgid, (*seen).cgroup) };
            // One that never ran a program has mostly moved itself.
            let who = if known == 0 { tgid() } else { known };
            news::sight(SIGHTING_LEFT, who, was);
        }
        None => news::sight(SIGHTING_MOVED, tgid(), 0),
    }
    0
}
