//! Every map: what it holds, who writes, who deletes. Sizes here are defaults; the agent sets its
//! own when it loads the object.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::btf_maps::SkStorage;
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf};
use node_agent_common::flow::{FlowKey, Inward, OriginRecord, Share, SocketState, Wire};
use node_agent_common::layer::{CELLS, UnixName};
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

/// Port and prefix → 1: what labelled workloads reach besides databases, where everything else is
/// refused. The agent writes.
#[map]
pub static ALLOWED: LpmTrie<[u32; 5], u8> = LpmTrie::with_max_entries(16_384, 0);

/// Key of a redirected connection → where it was going. The kernel writes before the SYN. The
/// agent deletes what it takes; the kernel deletes at close and at the socket's next connect.
///
/// Not LRU: one workload's flood must not push out another's origins. Not preallocated: an
/// element is reused only after a grace period, so a reader never sees two records mixed.
#[map]
pub static FLOWS: HashMap<FlowKey, OriginRecord> =
    HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// Beside each socket: its label from birth, its last redirected connect, and the first bytes of a
/// connection that it opens elsewhere. Gone with the socket, so nothing here can leak.
#[btf_map]
pub static SOCKETS: SkStorage<SocketState> = SkStorage::new();

/// Label → what it has of the table of origins. The kernel writes; a workload's flood is refused
/// before it takes the others' room.
#[map]
pub static SHARES: HashMap<Label, Share> = HashMap::with_max_entries(16_384, BPF_F_NO_PREALLOC);

/// Label → how many of its origins the agent took. The agent alone writes, so that neither side
/// has to change what the other counts.
#[map]
pub static TAKEN: HashMap<Label, u64> = HashMap::with_max_entries(16_384, BPF_F_NO_PREALLOC);

/// Network namespace cookie → `HEARD_*`. Ends the wait of the first SYNs, filters sightings, and
/// keeps the agent's port free of others, also between one agent and the next. The agent writes.
#[map]
pub static HEARD: HashMap<u64, u8> = HashMap::with_max_entries(16_384, 0);

/// Cgroups of agents that were succeeded and still serve → 1. The agent writes.
#[map]
pub static BEFORE: HashMap<u64, u8> = HashMap::with_max_entries(16, 0);

/// Number of an interface → the wire whose host's end it is. The agent writes. What is not in it and
/// has the filter all the same is filtered, and nobody's name is known for it.
#[map]
pub static WIRES: HashMap<u32, Wire> = HashMap::with_max_entries(16_384, 0);

/// Connections that came in over a wire, whose answers may go out where all else is refused. The
/// oldest is forgotten for a new one: then its answers are dropped.
#[map]
pub static INWARD: LruHashMap<Inward, u8> = LruHashMap::with_max_entries(16_384, 0);

/// Which unix sockets labelled workloads reach, where that is bounded. The agent writes; read by
/// a program that is not in this object.
#[map]
pub static UNIX_NAMES: HashMap<UnixName, u8> = HashMap::with_max_entries(1_024, BPF_F_NO_PREALLOC);

/// `layer::CELL_*`, for the programs that are not in this object.
#[map]
pub static LAYER_CELLS: Array<u64> = Array::with_max_entries(CELLS, 0);

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
