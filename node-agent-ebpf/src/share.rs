//! What each label has of what all share: room in the table of origins, and in the news.

use core::arch::asm;

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use node_agent_common::flow::Share;
use node_agent_common::rule::{Label, TOLD_PER_SECOND};

use crate::context;
use crate::maps::{SHARES, TAKEN};

const SECOND: u64 = 1_000_000_000;

#[inline(always)]
fn of(label: Label) -> Option<*mut Share> {
    if let Some(share) = SHARES.get_ptr_mut(label) {
        return Some(share);
    }
    let empty = Share {
        published: 0,
        since: 0,
        told: 0,
    };
    // Another CPU may have been first: then its entry is found.
    let _ = SHARES.insert(label, empty, u64::from(BPF_NOEXIST));
    SHARES.get_ptr_mut(label)
}

/// May one more connect of this label wait for the agent? Without an entry to count in, none may.
#[inline(always)]
pub fn has_room(label: Label) -> bool {
    let Some(share) = of(label) else {
        return false;
    };
    // SAFETY: checked for null; one aligned word.
    let published = unsafe { core::ptr::read_volatile(&raw const (*share).published) };
    let taken = match TAKEN.get_ptr(label) {
        // SAFETY: as above.
        Some(taken) => unsafe { core::ptr::read_volatile(taken) },
        None => 0,
    };
    // The agent takes before it counts, and the two are read one after the other: a difference
    // below zero is none.
    (published.wrapping_sub(taken) as i64) < i64::from(context::quota())
}

/// An origin of this label came into the table, or went.
#[inline(always)]
pub fn add(label: Label, difference: i64) {
    let Some(share) = of(label) else { return };
    // Atomic, for other CPUs and interrupts add to it as well. The language's own atomics are not
    // there on the oldest instruction set, whose addition without an answer is all that is needed.
    // SAFETY: checked for null; one aligned word, added to and nothing else.
    unsafe {
        asm!(
            "lock *(u64 *)({at} + 0) += {difference}",
            at = in(reg) &raw mut (*share).published,
            difference = in(reg) difference,
            options(nostack),
        );
    }
}

/// May another attempt of this label be told of in this second? A race between CPUs tells of one
/// more or less.
#[inline(always)]
pub fn may_tell(label: Label) -> bool {
    let Some(share) = of(label) else {
        return false;
    };
    // SAFETY: checked for null; the helper takes nothing.
    unsafe {
        let now = bpf_ktime_get_ns();
        if now.wrapping_sub((*share).since) > SECOND {
            (*share).since = now;
            (*share).told = 0;
        }
        (*share).told += 1;
        (*share).told <= TOLD_PER_SECOND
    }
}
