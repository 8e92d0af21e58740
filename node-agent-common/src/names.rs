//! Program and map names, one spelling for both sides.

/// Changes whenever a pinned map's meaning or layout changes. It is part of every pinned map's
/// name, so that an agent never reads another version's bytes as its own.
pub const ABI: u32 = 1;

/// Hash: cgroup id → `rule::Label`. Written by the agent only.
pub const LABELS: &str = "LABELS";
/// Hash: port → 1. Any destination on such a port is intercepted. Written by the agent only.
pub const PORTS: &str = "PORTS";
/// LPM trie: prefix → 1. Any port of such an address is intercepted. Written by the agent only.
pub const PREFIXES: &str = "PREFIXES";
/// Hash: `FlowKey` → `OriginRecord`. Written by the kernel before the SYN; deleted by the agent
/// when it takes the record, by the kernel at close and at the socket's next connect.
pub const FLOWS: &str = "FLOWS";
/// Socket storage: `SocketState`. Written by the kernel only, gone with the socket.
pub const SOCKETS: &str = "SOCKETS";
/// Hash: network namespace cookie → 1 where the agent listens. Filters sightings, decides nothing.
pub const HEARD: &str = "HEARD";
/// Per-CPU array of counters, see `COUNTER_*`.
pub const COUNTERS: &str = "COUNTERS";
/// Ring buffer of `FlowEvent`.
pub const EVENTS: &str = "EVENTS";
/// Ring buffer of `Sighting`; its own, so that a flood of connects cannot hide a new namespace.
pub const SIGHTINGS: &str = "SIGHTINGS";

/// Connects redirected.
pub const COUNTER_REDIRECTED: u32 = 0;
/// Connects, sends, binds and sockets refused, for whatever reason.
pub const COUNTER_REFUSED: u32 = 1;
/// Connects refused because the table of origins was full; also counted as refused.
pub const COUNTER_FULL: u32 = 2;
/// Flow events lost because their ring was full.
pub const COUNTER_LOST_EVENTS: u32 = 3;
/// Sightings lost because their ring was full.
pub const COUNTER_LOST_SIGHTINGS: u32 = 4;
/// Origins that could not be published although the connect was let go: the agent closes those.
pub const COUNTER_UNPUBLISHED: u32 = 5;
/// How many counters.
pub const COUNTER_COUNT: u32 = 6;

/// Global: the agent's listening port, host order.
pub const LISTEN_PORT: &str = "LISTEN_PORT";
/// Global: the cgroup id of the agent itself.
pub const AGENT_CGROUP: &str = "AGENT_CGROUP";
