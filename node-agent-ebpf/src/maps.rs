//! Every map: what it holds, who writes, who deletes. Sizes here are defaults; the agent sets its
//! own when it loads the object.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::btf_maps::SkStorage;
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::{HashMap, LpmTrie, PerCpuArray, RingBuf};
use node_agent_common::flow::{FlowKey, OriginRecord, SocketState};
use node_agent_common::rule::Label;

/// Cgroup id → label. The agent writes; it outlives the agent, so that a dead agent means
/// refused connections and not free ones.
#[map]
pub static LABELS: HashMap<u64, Label> = HashMap::with_max_entries(16_384, 0);

/// Guarded port → 1. The agent writes.
#[map]
pub static PORTS: HashMap<u16, u8> = HashMap::with_max_entries(1_024, 0);

/// Protected prefix → 1. The agent writes.
#[map]
pub static PREFIXES: LpmTrie<[u32; 4], u8> = LpmTrie::with_max_entries(16_384, 0);

/// Key of a redirected connection → where it was going. The kernel writes before the SYN. The
/// agent deletes what it takes; the kernel deletes at close and at the socket's next connect.
///
/// Not LRU: one workload's flood must not push out another's origins. Not preallocated: an
/// element is reused only after a grace period, so a reader never sees two records mixed.
#[map]
pub static FLOWS: HashMap<FlowKey, OriginRecord> =
    HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// Beside each socket: its label from birth, and its last redirected connect. Gone with the
/// socket, so nothing here can leak.
#[btf_map]
pub static SOCKETS: SkStorage<SocketState> = SkStorage::new();

/// Network namespace cookie → 1 where the agent listens. Filters sightings, decides nothing.
#[map]
pub static HEARD: HashMap<u64, u8> = HashMap::with_max_entries(16_384, 0);

/// `names::COUNTER_*`.
#[map]
pub static COUNTERS: PerCpuArray<u64> =
    PerCpuArray::with_max_entries(node_agent_common::names::COUNTER_COUNT, 0);

/// News of connects for the agent's log and metrics.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(256 * 1024, 0);

/// News for enrolment.
#[map]
pub static SIGHTINGS: RingBuf = RingBuf::with_byte_size(64 * 1024, 0);
