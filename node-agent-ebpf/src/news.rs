//! Counting and telling. Nothing here decides anything: news may be lost, and is then counted.

use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_ebpf::maps::RingBuf;
use node_agent_common::flow::{FlowEvent, OriginRecord};
use node_agent_common::names::{COUNTER_LOST_EVENTS, COUNTER_LOST_SIGHTINGS};
use node_agent_common::sighting::Sighting;
use node_agent_common::watch::Undeclared;

use crate::maps::{COUNTERS, EVENTS, SIGHTINGS};

/// Bytes of unread events at which their reader is woken: a quarter of the ring.
const WAKE_AT: u64 = 64 * 1024;

#[inline(always)]
pub fn count(which: u32) {
    if let Some(cell) = COUNTERS.get_ptr_mut(which) {
        // SAFETY: this CPU's own cell.
        unsafe { *cell += 1 };
    }
}

/// Waking the reader costs more than all the rest of a connect, so it sleeps until there is much
/// to read, and looks by itself now and then.
#[inline(always)]
pub fn tell(kind: u32, protocol: u32, netns: u64, origin: &OriginRecord) {
    let event = FlowEvent {
        kind,
        protocol,
        netns,
        origin: *origin,
    };
    let waiting = EVENTS.query(u64::from(BPF_RB_AVAIL_DATA));
    let wake = if waiting > WAKE_AT {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    };
    send(&EVENTS, event, u64::from(wake), COUNTER_LOST_EVENTS);
}

/// A sighting wakes its reader at once: a workload may be waiting.
#[inline(always)]
pub fn sight(kind: u32, pid: u32, netns: u64) {
    send(
        &SIGHTINGS,
        Sighting { kind, pid, netns },
        0,
        COUNTER_LOST_SIGHTINGS,
    );
}

/// Told apart from connects by its kind, and longer.
#[inline(always)]
pub fn send_undeclared(event: Undeclared, wake: u64) {
    send(&EVENTS, event, wake, COUNTER_LOST_EVENTS);
}

#[inline(always)]
fn send<T: 'static>(ring: &RingBuf, value: T, wake: u64, lost: u32) {
    match ring.reserve::<T>(0) {
        Some(mut entry) => {
            entry.write(value);
            entry.submit(wake);
        }
        None => count(lost),
    }
}
