//! Counting and telling. Nothing here decides anything: news may be lost, and is then counted.

use aya_ebpf::maps::RingBuf;
use node_agent_common::flow::{FlowEvent, OriginRecord};
use node_agent_common::names::{COUNTER_LOST_EVENTS, COUNTER_LOST_SIGHTINGS};
use node_agent_common::sighting::Sighting;

use crate::maps::{COUNTERS, EVENTS, SIGHTINGS};

#[inline(always)]
pub fn count(which: u32) {
    if let Some(cell) = COUNTERS.get_ptr_mut(which) {
        // SAFETY: this CPU's own cell.
        unsafe { *cell += 1 };
    }
}

#[inline(always)]
pub fn tell(kind: u32, protocol: u32, netns: u64, origin: &OriginRecord) {
    send(&EVENTS, FlowEvent { kind, protocol, netns, origin: *origin }, COUNTER_LOST_EVENTS);
}

#[inline(always)]
pub fn sight(kind: u32, pid: u32, netns: u64) {
    send(&SIGHTINGS, Sighting { kind, pid, netns }, COUNTER_LOST_SIGHTINGS);
}

#[inline(always)]
fn send<T: 'static>(ring: &RingBuf, value: T, lost: u32) {
    match ring.reserve::<T>(0) {
        Some(mut entry) => {
            entry.write(value);
            entry.submit(0);
        }
        None => count(lost),
    }
}
