//! Where enrolment should look. Tracepoints see every task of the machine; only labelled ones
//! are told of, except moves, whose task is not the running one.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use node_agent_common::rule::NOBODY;
use node_agent_common::sighting::{SIGHTING_EXEC, SIGHTING_MOVED};

use crate::context;
use crate::news;

#[inline(always)]
pub fn exec() -> i32 {
    if context::task_label() != NOBODY {
        news::sight(SIGHTING_EXEC, (bpf_get_current_pid_tgid() >> 32) as u32, 0);
    }
    0
}

#[inline(always)]
pub fn moved() -> i32 {
    news::sight(SIGHTING_MOVED, 0, 0);
    0
}
