//! The maps, as the agent uses them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aya::maps::lpm_trie::Key;
use aya::maps::{HashMap, LpmTrie, MapData, MapError, PerCpuArray};
use node_agent_common::flow::{self, Address, FlowEvent, FlowKey};
use node_agent_common::names;
use node_agent_common::rule::Label;
use serde::{Deserialize, Serialize};

use super::{Allowed, InterceptError, Prefix, WorkloadIndex, embedded, sys};
use crate::model::{CgroupId, NetnsCookie, Pid};

/// Where a redirected connection was going, and who dialled, as the kernel recorded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginRecord {
    /// The destination; IPv4-mapped addresses are IPv4, unspecified ones loopback.
    pub destination: SocketAddr,
    /// The client socket's cookie.
    pub socket: u64,
    /// The cgroup of the task that called connect().
    pub cgroup: CgroupId,
    /// The workload its label stands for.
    pub workload: WorkloadIndex,
    /// The thread group.
    pub pid: Pid,
    /// Its user.
    pub uid: u32,
    /// Its name as the kernel keeps it.
    pub comm: String,
    /// Since boot, on the monotonic clock.
    pub time: Duration,
}

impl OriginRecord {
    fn read(raw: &flow::OriginRecord) -> Self {
        OriginRecord {
            destination: socket_addr(raw.destination, raw.port),
            socket: raw.socket,
            cgroup: CgroupId(raw.cgroup),
            workload: WorkloadIndex(raw.workload),
            pid: Pid(raw.pid),
            uid: raw.uid,
            comm: comm_text(&raw.comm),
            time: Duration::from_nanos(raw.time),
        }
    }
}

/// Totals since the programs were loaded by this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Connects sent to the agent.
    pub redirected: u64,
    /// Connects, datagrams, binds and sockets refused, for whatever reason.
    pub refused: u64,
    /// Connects refused because the table of origins was full (also in `refused`).
    pub map_full: u64,
    /// Events lost in the kernel or unread by the agent.
    pub lost_events: u64,
    /// Sightings lost in the kernel; each loss makes enrolment look at everything.
    pub lost_sightings: u64,
    /// Connections that reached the agent without an origin because it could not be published.
    pub unpublished: u64,
    /// Connects refused because too many of their workload waited (also in `refused`).
    pub quota: u64,
    /// Attempts to get round the agent that the second gate stopped.
    pub bypass: Bypasses,
    /// Connections on which PostgreSQL was met where no database is declared.
    pub undeclared_postgres: u64,
    /// The same of MySQL.
    pub undeclared_mysql: u64,
    /// Sockets refused because their family leads off the node.
    pub refused_families: u64,
    /// Unix sockets refused because they are not allowed.
    pub refused_unix: u64,
}

/// Attempts to get round the agent, by kind. Each was stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bypasses {
    /// Packets to a guarded place that no connect had led to the agent.
    pub packet: u64,
    /// Packets with IP options or a routing header.
    pub header: u64,
    /// Connections opened inwards from a protected address.
    pub inward: u64,
    /// Socket options that choose a packet's route.
    pub option: u64,
    /// Packets to a guarded place at the host's end of a workload's wire.
    pub wire: u64,
    /// Packets to a protected address, on their way out of the node, that were not the agent's.
    pub node: u64,
}

/// How many entries each map holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entries {
    /// Labelled cgroups.
    pub labels: usize,
    /// Guarded ports.
    pub ports: usize,
    /// Protected prefixes, the forms of each counted as one.
    pub prefixes: usize,
    /// Origins that wait to be taken.
    pub flows: usize,
    /// Network namespaces with a listener.
    pub listening: usize,
}

/// The typed maps. Each behind its own lock: an update of many prefixes holds up no `take`.
pub(super) struct Tables {
    pub(super) labels: Mutex<HashMap<MapData, u64, Label>>,
    pub(super) ports: Mutex<HashMap<MapData, u16, u8>>,
    pub(super) prefixes: Mutex<LpmTrie<MapData, [u32; 4], u8>>,
    pub(super) flows: Mutex<HashMap<MapData, FlowKey, flow::OriginRecord>>,
    pub(super) flows_fd: OwnedFd,
    pub(super) allowed: Mutex<LpmTrie<MapData, [u32; 5], u8>>,
    pub(super) shares: Mutex<HashMap<MapData, Label, flow::Share>>,
    /// Also held while an origin is taken, so that nobody counts between the two.
    pub(super) taken: Mutex<HashMap<MapData, Label, u64>>,
    pub(super) heard: Mutex<HashMap<MapData, u64, u8>>,
    pub(super) wires: Mutex<HashMap<MapData, u32, flow::Wire>>,
    pub(super) before: Mutex<HashMap<MapData, u64, u8>>,
    pub(super) counters: Mutex<PerCpuArray<MapData, u64>>,
    /// Another agent may have the right by now: nothing is swept.
    pub(super) at_rest: AtomicBool,
    /// What the tables of places should hold, as far as this agent put it there. Each is locked before
    /// its table, for as long as both change.
    pub(super) wanted: Wanted,
}

/// What the tables of places should hold.
#[derive(Default)]
pub(super) struct Wanted {
    ports: Mutex<BTreeSet<u16>>,
    prefixes: Mutex<BTreeSet<(u32, [u32; 4])>>,
    allowed: Mutex<BTreeSet<(u32, [u32; 5])>>,
}

/// A table of places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Places {
    Ports,
    Prefixes,
    Allowed,
}

impl Places {
    pub(super) const ALL: [Places; 3] = [Places::Ports, Places::Prefixes, Places::Allowed];

    pub(super) fn name(self) -> &'static str {
        match self {
            Places::Ports => names::PORTS,
            Places::Prefixes => names::PREFIXES,
            Places::Allowed => names::ALLOWED,
        }
    }
}

impl Tables {
    pub(super) fn label(&self, cgroup: CgroupId, to: WorkloadIndex) -> Result<(), InterceptError> {
        // Id 1 is the hierarchy's root, id 0 is none.
        if cgroup.0 <= 1 {
            return Err(InterceptError::Root);
        }
        // A label is the number plus one: zero is nobody's.
        let label: Label = to.0.checked_add(1).ok_or(InterceptError::Workload(to.0))?;
        locked(&self.labels)
            .insert(cgroup.0, label, 0)
            .map_err(full_or(names::LABELS))
    }

    pub(super) fn unlabel(&self, cgroup: CgroupId) -> Result<(), InterceptError> {
        gone_is_fine(locked(&self.labels).remove(&cgroup.0))
            .map_err(InterceptError::map(names::LABELS))
    }

    pub(super) fn labelled(&self) -> Result<Vec<(CgroupId, WorkloadIndex)>, InterceptError> {
        locked(&self.labels)
            .iter()
            .map(|entry| {
                entry.map(|(id, label)| (CgroupId(id), WorkloadIndex(label.saturating_sub(1))))
            })
            .collect::<Result<_, _>>()
            .map_err(InterceptError::map(names::LABELS))
    }

    /// Exactly these ports. New ones first, so that nothing that stays is ever missing.
    pub(super) fn set_ports(&self, ports: &BTreeSet<u16>) -> Result<(), InterceptError> {
        let mut wanted = locked(&self.wanted.ports);
        let mut map = locked(&self.ports);
        for port in ports {
            map.insert(port, 1, 0).map_err(full_or(names::PORTS))?;
        }
        let old: Vec<u16> = map
            .keys()
            .collect::<Result<_, _>>()
            .map_err(InterceptError::map(names::PORTS))?;
        for port in old.iter().filter(|port| !ports.contains(port)) {
            gone_is_fine(map.remove(port)).map_err(InterceptError::map(names::PORTS))?;
        }
        wanted.clone_from(ports);
        Ok(())
    }

    /// These prefixes besides those there are, in all their forms.
    pub(super) fn add_prefixes(&self, prefixes: &[Prefix]) -> Result<(), InterceptError> {
        let mut wanted = locked(&self.wanted.prefixes);
        let prefixes = in_all_forms(prefixes);
        self.insert_prefixes(&prefixes)?;
        wanted.extend(prefixes);
        Ok(())
    }

    fn insert_prefixes(&self, prefixes: &BTreeSet<(u32, [u32; 4])>) -> Result<(), InterceptError> {
        let mut map = locked(&self.prefixes);
        for (length, words) in prefixes {
            map.insert(&Key::new(*length, *words), 1, 0)
                .map_err(full_or(names::PREFIXES))?;
        }
        Ok(())
    }

    /// The prefixes that there are, but for those that are another's form.
    pub(super) fn prefixes(&self) -> Result<Vec<Prefix>, InterceptError> {
        let map = locked(&self.prefixes);
        let keys: Result<Vec<_>, _> = map.keys().collect();
        let keys = keys.map_err(InterceptError::map(names::PREFIXES))?;
        let mut all: Vec<Prefix> = keys.iter().filter_map(prefix).collect();
        let forms: BTreeSet<Prefix> = all.iter().copied().flat_map(embedded::forms).collect();
        all.retain(|prefix| !forms.contains(prefix));
        Ok(all)
    }

    /// Exactly these prefixes, in all their forms. New ones first.
    pub(super) fn set_prefixes(&self, prefixes: &[Prefix]) -> Result<(), InterceptError> {
        let mut wanted = locked(&self.wanted.prefixes);
        let keep = in_all_forms(prefixes);
        self.insert_prefixes(&keep)?;
        let mut map = locked(&self.prefixes);
        let old: Vec<Key<[u32; 4]>> = map
            .keys()
            .collect::<Result<_, _>>()
            .map_err(InterceptError::map(names::PREFIXES))?;
        for key in old.iter().filter(|key| !keep.contains(&parts(key))) {
            gone_is_fine(map.remove(key)).map_err(InterceptError::map(names::PREFIXES))?;
        }
        *wanted = keep;
        Ok(())
    }

    /// Exactly these places stay open where everything else is refused. New ones first.
    pub(super) fn set_allowed(&self, places: &[Allowed]) -> Result<(), InterceptError> {
        let mut wanted = locked(&self.wanted.allowed);
        let keep = places.iter().map(|place| place_key(*place));
        let keep = keep.map(|key| (key.prefix_len(), key.data())).collect();
        self.keep_allowed(&keep)?;
        *wanted = keep;
        Ok(())
    }

    fn keep_allowed(&self, keep: &BTreeSet<(u32, [u32; 5])>) -> Result<(), InterceptError> {
        let mut map = locked(&self.allowed);
        for (length, words) in keep {
            map.insert(&Key::new(*length, *words), 1, 0)
                .map_err(full_or(names::ALLOWED))?;
        }
        let old: Vec<Key<[u32; 5]>> = map
            .keys()
            .collect::<Result<_, _>>()
            .map_err(InterceptError::map(names::ALLOWED))?;
        for key in old
            .iter()
            .filter(|key| !keep.contains(&(key.prefix_len(), key.data())))
        {
            gone_is_fine(map.remove(key)).map_err(InterceptError::map(names::ALLOWED))?;
        }
        Ok(())
    }

    /// Does a table hold what was put there? More than that is only looked for where it opens
    /// something: more ports and prefixes than that only refuse.
    pub(super) fn holds(&self, places: Places) -> io::Result<bool> {
        let there = |answer: Result<u8, MapError>| match answer {
            Ok(_) => Ok(true),
            Err(MapError::KeyNotFound) => Ok(false),
            Err(error) => Err(io::Error::other(error)),
        };
        match places {
            Places::Ports => {
                let (wanted, map) = (locked(&self.wanted.ports), locked(&self.ports));
                for port in wanted.iter() {
                    if !there(map.get(port, 0))? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Places::Prefixes => {
                let (wanted, map) = (locked(&self.wanted.prefixes), locked(&self.prefixes));
                for (length, words) in wanted.iter() {
                    // A wider one in its place does as well.
                    if !there(map.get(&Key::new(*length, *words), 0))? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Places::Allowed => {
                let (wanted, map) = (locked(&self.wanted.allowed), locked(&self.allowed));
                let keys = map
                    .keys()
                    .map(|key| key.map(|key| (key.prefix_len(), key.data())));
                let there: BTreeSet<(u32, [u32; 5])> =
                    keys.collect::<Result<_, _>>().map_err(io::Error::other)?;
                Ok(there == *wanted)
            }
        }
    }

    /// Puts back what a table should hold.
    pub(super) fn hold(&self, places: Places) -> Result<(), InterceptError> {
        match places {
            Places::Ports => {
                let wanted = locked(&self.wanted.ports);
                let mut map = locked(&self.ports);
                wanted
                    .iter()
                    .try_for_each(|port| map.insert(port, 1, 0).map_err(full_or(names::PORTS)))
            }
            Places::Prefixes => self.insert_prefixes(&locked(&self.wanted.prefixes)),
            Places::Allowed => self.keep_allowed(&locked(&self.wanted.allowed)),
        }
    }

    /// The origin of the connection whose peer is `client`, had once.
    pub(super) fn take(
        &self,
        netns: NetnsCookie,
        client: SocketAddr,
    ) -> io::Result<Option<OriginRecord>> {
        let key = FlowKey {
            netns: netns.0,
            address: address(client.ip()),
            port: client.port(),
            zero: [0; 3],
        };
        let mut taken = locked(&self.taken);
        let raw: Option<flow::OriginRecord> = sys::take(self.flows_fd.as_fd(), &key)?;
        if let Some(raw) = &raw {
            let label = raw.workload.wrapping_add(1);
            let before = taken.get(&label, 0).unwrap_or(0);
            // Not counted, the workload has room for one less until all are counted again.
            if let Err(error) = taken.insert(label, before.wrapping_add(1), 0) {
                tracing::warn!(%error, "counting an origin that was taken");
            }
        }
        drop(taken);
        Ok(raw.map(|raw| OriginRecord::read(&raw)))
    }

    /// The label of this very cgroup, if it has one.
    pub(super) fn label_at(&self, cgroup: CgroupId) -> Option<WorkloadIndex> {
        let label = locked(&self.labels).get(&cgroup.0, 0).ok()?;
        Some(WorkloadIndex(label.saturating_sub(1)))
    }

    /// Is it on a guarded port, or a protected address?
    pub(super) fn guards(&self, at: SocketAddr) -> io::Result<bool> {
        let found = |answer: Result<u8, MapError>| match answer {
            Ok(_) => Ok(true),
            Err(MapError::KeyNotFound) => Ok(false),
            Err(error) => Err(io::Error::other(error)),
        };
        if found(locked(&self.ports).get(&at.port(), 0))? {
            return Ok(true);
        }
        let Address(words) = address(at.ip());
        found(locked(&self.prefixes).get(&Key::new(128, words), 0))
    }

    /// Is it open where everything but databases is refused? As the kernel's own question.
    pub(super) fn allows(&self, at: SocketAddr) -> io::Result<bool> {
        let map = locked(&self.allowed);
        let Address([a, b, c, d]) = address(at.ip());
        for port in [at.port(), 0] {
            match map.get(&Key::new(160, [u32::from(port), a, b, c, d]), 0) {
                Ok(_) => return Ok(true),
                Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }

    /// Removes origins that waited longer than `age`.
    pub(super) fn sweep(&self, age: Duration) {
        let now = sys::monotonic();
        let old: Vec<FlowKey> = locked(&self.flows)
            .iter()
            .flatten()
            .filter(|(_, origin)| now.saturating_sub(Duration::from_nanos(origin.time)) > age)
            .map(|(key, _)| key)
            .collect();
        for key in old {
            // Taken by somebody since: that is what entries are for.
            let _ = locked(&self.flows).remove(&key);
        }
        self.count_again();
    }

    /// Brings what is counted as taken in line with what waits: after an agent that died between
    /// taking and counting, or an entry that was swept. A label that dials meanwhile is left for
    /// the next time.
    pub(super) fn count_again(&self) {
        let published = || -> BTreeMap<Label, u64> {
            let shares = locked(&self.shares);
            let pairs = shares.iter().flatten();
            pairs
                .map(|(label, share)| (label, share.published))
                .collect()
        };
        let mut taken = locked(&self.taken);
        let before = published();
        let mut waiting: BTreeMap<Label, u64> = BTreeMap::new();
        for (_, origin) in locked(&self.flows).iter().flatten() {
            let count = waiting.entry(origin.workload.wrapping_add(1)).or_default();
            *count = count.saturating_add(1);
        }
        for (label, after) in published() {
            if before.get(&label) == Some(&after) {
                let waiting = waiting.get(&label).copied().unwrap_or(0);
                if let Err(error) = taken.insert(label, after.wrapping_sub(waiting), 0) {
                    tracing::warn!(%error, "counting the origins that wait");
                }
            }
        }
    }

    /// An agent of another cgroup serves on, as exempt as this one.
    pub(super) fn exempt(&self, cgroup: CgroupId) -> Result<(), InterceptError> {
        locked(&self.before)
            .insert(cgroup.0, 1, 0)
            .map_err(full_or(names::BEFORE))
    }

    /// It does not any more.
    pub(super) fn exempt_no_more(&self, cgroup: CgroupId) -> Result<(), InterceptError> {
        gone_is_fine(locked(&self.before).remove(&cgroup.0))
            .map_err(InterceptError::map(names::BEFORE))
    }

    /// Nobody listens anywhere yet but in these; where an earlier agent did its port stays kept.
    pub(super) fn nobody_listens(&self, but: &[NetnsCookie]) -> Result<(), InterceptError> {
        let mut map = locked(&self.heard);
        let before: Vec<u64> = map
            .keys()
            .collect::<Result<_, _>>()
            .map_err(InterceptError::map(names::HEARD))?;
        for netns in before {
            if but.contains(&NetnsCookie(netns)) {
                continue;
            }
            map.insert(netns, flow::HEARD_BEFORE, 0)
                .map_err(full_or(names::HEARD))?;
        }
        Ok(())
    }

    /// Forgets namespaces of an earlier agent which this one had no reason to enter.
    pub(super) fn forget_unheard(&self) {
        let mut map = locked(&self.heard);
        let before = map
            .iter()
            .flatten()
            .filter(|(_, state)| *state == flow::HEARD_BEFORE);
        let before: Vec<u64> = before.map(|(netns, _)| netns).collect();
        for netns in before {
            // It stays until the next time when it cannot be removed: a port that is kept.
            let _ = map.remove(&netns);
        }
    }

    pub(super) fn hear(&self, netns: NetnsCookie) -> Result<(), InterceptError> {
        locked(&self.heard)
            .insert(netns.0, flow::HEARD_NOW, 0)
            .map_err(full_or(names::HEARD))
    }

    pub(super) fn unhear(&self, netns: NetnsCookie) -> Result<(), InterceptError> {
        gone_is_fine(locked(&self.heard).remove(&netns.0))
            .map_err(InterceptError::map(names::HEARD))
    }

    /// The devices with programs on them, and whose they are.
    pub(super) fn wires(&self) -> Result<Vec<(u32, flow::Wire)>, InterceptError> {
        let map = locked(&self.wires);
        map.iter()
            .collect::<Result<_, _>>()
            .map_err(InterceptError::map(names::WIRES))
    }

    pub(super) fn wire(&self, device: u32, wire: flow::Wire) -> Result<(), InterceptError> {
        locked(&self.wires)
            .insert(device, wire, 0)
            .map_err(full_or(names::WIRES))
    }

    pub(super) fn forget_wire(&self, device: u32) -> Result<(), InterceptError> {
        gone_is_fine(locked(&self.wires).remove(&device)).map_err(InterceptError::map(names::WIRES))
    }

    pub(super) fn lost_sightings(&self) -> u64 {
        self.count(names::COUNTER_LOST_SIGHTINGS).unwrap_or(0)
    }

    pub(super) fn counters(&self) -> Result<Counters, InterceptError> {
        Ok(Counters {
            redirected: self.count(names::COUNTER_REDIRECTED)?,
            refused: self.count(names::COUNTER_REFUSED)?,
            map_full: self.count(names::COUNTER_FULL)?,
            lost_events: self.count(names::COUNTER_LOST_EVENTS)?,
            lost_sightings: self.count(names::COUNTER_LOST_SIGHTINGS)?,
            unpublished: self.count(names::COUNTER_UNPUBLISHED)?,
            quota: self.count(names::COUNTER_QUOTA)?,
            bypass: Bypasses {
                packet: self.count(names::COUNTER_BYPASS_PACKET)?,
                header: self.count(names::COUNTER_BYPASS_HEADER)?,
                inward: self.count(names::COUNTER_BYPASS_INWARD)?,
                option: self.count(names::COUNTER_BYPASS_OPTION)?,
                wire: self.count(names::COUNTER_BYPASS_WIRE)?,
                node: self.count(names::COUNTER_BYPASS_NODE)?,
            },
            undeclared_postgres: self.count(names::COUNTER_UNDECLARED_POSTGRES)?,
            undeclared_mysql: self.count(names::COUNTER_UNDECLARED_MYSQL)?,
            refused_families: 0,
            refused_unix: 0,
        })
    }

    fn count(&self, which: u32) -> Result<u64, InterceptError> {
        let cells = locked(&self.counters)
            .get(&which, 0)
            .map_err(InterceptError::map(names::COUNTERS))?;
        Ok(cells.iter().copied().fold(0, u64::saturating_add))
    }

    pub(super) fn entries(&self) -> Result<Entries, InterceptError> {
        fn size<K>(
            map: &'static str,
            keys: impl Iterator<Item = Result<K, MapError>>,
        ) -> Result<usize, InterceptError> {
            keys.map(|key| key.map(drop))
                .try_fold(0usize, |n, key| key.map(|()| n.saturating_add(1)))
                .map_err(InterceptError::map(map))
        }
        Ok(Entries {
            labels: size(names::LABELS, locked(&self.labels).keys())?,
            ports: size(names::PORTS, locked(&self.ports).keys())?,
            prefixes: self.prefixes()?.len(),
            flows: size(names::FLOWS, locked(&self.flows).keys())?,
            listening: locked(&self.heard)
                .iter()
                .flatten()
                .filter(|(_, state)| *state == flow::HEARD_NOW)
                .count(),
        })
    }
}

/// The lock, also after a panic elsewhere: the kernel holds the state, the guard only the way to it.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn gone_is_fine(done: Result<(), MapError>) -> Result<(), MapError> {
    match done {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(e)) if e.io_error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(()) | Err(_) => done,
    }
}

fn full_or(map: &'static str) -> impl Fn(MapError) -> InterceptError {
    move |error| match &error {
        MapError::SyscallError(e)
            if matches!(e.io_error.raw_os_error(), Some(libc::E2BIG | libc::ENOSPC)) =>
        {
            InterceptError::Full {
                map,
                room: super::object::room(map),
            }
        }
        _ => InterceptError::map(map)(error),
    }
}

fn key(prefix: Prefix) -> Key<[u32; 4]> {
    let Address(words) = address(prefix.address());
    let mapped = if prefix.address().is_ipv4() { 96 } else { 0 };
    Key::new(mapped + u32::from(prefix.length()), words)
}

/// The prefix that a key stands for. Every key that was put there stands for one.
fn prefix(key: &Key<[u32; 4]>) -> Option<Prefix> {
    let mut octets = [0; 16];
    let words = key.data();
    for (octet, byte) in octets
        .iter_mut()
        .zip(words.iter().flat_map(|word| word.to_ne_bytes()))
    {
        *octet = byte;
    }
    Prefix::new(
        Ipv6Addr::from(octets).into(),
        u8::try_from(key.prefix_len()).ok()?,
    )
}

fn place_key(place: Allowed) -> Key<[u32; 5]> {
    let inner = key(place.prefix);
    let [a, b, c, d] = inner.data();
    let port = place.port.map_or(0, |port| u32::from(port.get()));
    Key::new(inner.prefix_len().saturating_add(32), [port, a, b, c, d])
}

fn in_all_forms(prefixes: &[Prefix]) -> BTreeSet<(u32, [u32; 4])> {
    let forms = prefixes.iter().copied().flat_map(embedded::forms);
    let all = prefixes.iter().copied().chain(forms);
    all.map(|prefix| parts(&key(prefix))).collect()
}

fn parts(key: &Key<[u32; 4]>) -> (u32, [u32; 4]) {
    (key.prefix_len(), key.data())
}

/// The kernel's form of an address.
pub(super) fn address(ip: IpAddr) -> Address {
    let v6 = match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = v6.octets();
    Address([
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
        u32::from_ne_bytes([i, j, k, l]),
        u32::from_ne_bytes([m, n, o, p]),
    ])
}

/// Ours of the kernel's.
pub(super) fn socket_addr(address: Address, port: u16) -> SocketAddr {
    let Address([a, b, c, d]) = address;
    let ip = if address.is_v4() {
        IpAddr::V4(Ipv4Addr::from_bits(u32::from_be(d)))
    } else {
        let word = |w: u32| u128::from(u32::from_be(w));
        IpAddr::V6(Ipv6Addr::from_bits(
            word(a) << 96 | word(b) << 64 | word(c) << 32 | word(d),
        ))
    };
    SocketAddr::new(ip, port)
}

/// A task's name up to its first zero byte. Bytes that are no UTF-8 are shown as U+FFFD: the name
/// is the workload's own to choose and proves nothing.
pub(super) fn comm_text(comm: &[u8]) -> String {
    let text = comm.split(|b| *b == 0).next().unwrap_or(comm);
    String::from_utf8_lossy(text).into_owned()
}

/// A ring's bytes, which are not aligned for the structure.
pub(super) fn read_event(bytes: &[u8; size_of::<FlowEvent>()]) -> Option<FlowEvent> {
    let mut at = Fields(bytes);
    Some(FlowEvent {
        kind: at.u32()?,
        protocol: at.u32()?,
        netns: at.u64()?,
        origin: flow::OriginRecord {
            destination: Address([at.u32()?, at.u32()?, at.u32()?, at.u32()?]),
            port: at.u16()?,
            zero: [at.u16()?, at.u16()?, at.u16()?],
            socket: at.u64()?,
            cgroup: at.u64()?,
            time: at.u64()?,
            workload: at.u32()?,
            pid: at.u32()?,
            uid: at.u32()?,
            zero2: at.u32()?,
            comm: at.bytes()?,
        },
    })
}

/// Reads one field after the other.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    pub(super) fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.bytes().map(u16::from_ne_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_ne_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_ne_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_the_way_to_the_kernel_and_back() {
        for (text, back) in [
            ("10.0.7.1:5432", "10.0.7.1:5432"),
            ("[::ffff:10.0.7.1]:5432", "10.0.7.1:5432"),
            ("[2001:db8::7]:3306", "[2001:db8::7]:3306"),
            ("[::1]:1", "[::1]:1"),
        ] {
            let given: SocketAddr = text.parse().unwrap();
            assert_eq!(
                socket_addr(address(given.ip()), given.port()).to_string(),
                back
            );
        }
    }

    #[test]
    fn an_ipv4_prefix_is_a_mapped_one_to_the_kernel() {
        for (text, length) in [
            ("10.0.0.0/8", 104),
            ("10.0.7.1", 128),
            ("2001:db8::/32", 32),
        ] {
            assert_eq!(key(text.parse().unwrap()).prefix_len(), length, "{text}");
        }
    }

    #[test]
    fn a_task_name_ends_at_its_first_zero() {
        assert_eq!(comm_text(b"psql\0\0\0\0\0\0\0\0\0\0\0\0"), "psql");
        assert_eq!(comm_text(b"abcdefghijklmnop"), "abcdefghijklmnop");
        assert_eq!(comm_text(b"\xff\0aa"), "\u{fffd}");
    }
}
