//! Program and map names, one spelling for both sides.

/// Changes whenever a pinned map's meaning or layout changes. It is part of every pinned map's
/// name, so that an agent never reads another version's bytes as its own.
pub const ABI: u32 = 3;

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
/// LPM trie: port, then prefix → 1. What labelled workloads reach besides databases where all else
/// is refused. Port 0 stands for every port. Written by the agent only.
pub const ALLOWED: &str = "ALLOWED";
/// Hash: label → `flow::Share`. Written by the kernel only.
pub const SHARES: &str = "SHARES";
/// Hash: label → how many of its origins the agent took out of the table. Written by the agent
/// only.
pub const TAKEN: &str = "TAKEN";
/// Hash: network namespace cookie → `flow::HEARD_*`. Ends the wait of the first SYNs, filters
/// sightings, and keeps the agent's port free of others. Written by the agent only.
pub const HEARD: &str = "HEARD";
/// Hash: interface number → `flow::Wire`, for host's ends of wires with a filter on them. Written
/// by the agent only.
pub const WIRES: &str = "WIRES";
/// LRU hash: `flow::Inward` → 1, connections that came in over such a wire. Written by the kernel
/// only, and only where labelled workloads reach nothing but databases.
pub const INWARD: &str = "INWARD";
/// Hash: `layer::UnixName` → 1. Which unix sockets labelled workloads reach, where that is bounded.
/// Written by the agent only.
pub const UNIX_NAMES: &str = "UNIX_NAMES";
/// Array of `layer::CELL_*`. Written by the kernel only.
pub const LAYER_CELLS: &str = "LAYER_CELLS";
/// Hash: cgroup id → 1. Agents that were succeeded and still serve their sessions. Written by the
/// agent only, and not pinned: the next one is told by the one before.
pub const BEFORE: &str = "BEFORE";
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
/// Connects refused because their workload had too many waiting; also counted as refused.
pub const COUNTER_QUOTA: u32 = 6;
/// Packets to a guarded place that no connect hook had led to the agent; dropped.
pub const COUNTER_BYPASS_PACKET: u32 = 7;
/// Packets with IP options or a routing header; dropped.
pub const COUNTER_BYPASS_HEADER: u32 = 8;
/// Connections opened inwards from a protected address; dropped.
pub const COUNTER_BYPASS_INWARD: u32 = 9;
/// Attempts to set IP options or a routing header; refused.
pub const COUNTER_BYPASS_OPTION: u32 = 10;
/// Packets to a guarded place dropped at the host's end of a labelled workload's wire.
pub const COUNTER_BYPASS_WIRE: u32 = 11;
/// Packets to a protected address that somebody else than the agent sent, dropped on their way out
/// of the node.
pub const COUNTER_BYPASS_NODE: u32 = 12;
/// Connections on which a PostgreSQL session was begun where no database is declared.
pub const COUNTER_UNDECLARED_POSTGRES: u32 = 13;
/// Connections on which a MySQL server greeted where no database is declared.
pub const COUNTER_UNDECLARED_MYSQL: u32 = 14;
/// How many counters.
pub const COUNTER_COUNT: u32 = 15;

/// Global: the agent's listening port, host order.
pub const LISTEN_PORT: &str = "LISTEN_PORT";
/// Global: the cgroup id of the agent itself.
pub const AGENT_CGROUP: &str = "AGENT_CGROUP";
/// Global: how many origins of one label may wait in the table.
pub const QUOTA: &str = "QUOTA";
/// Global: not zero where labelled workloads reach databases and `ALLOWED` only.
pub const CLOSED: &str = "CLOSED";
/// Global: `watch::UNDECLARED_*`.
pub const UNDECLARED: &str = "UNDECLARED";
