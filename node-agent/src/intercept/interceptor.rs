//! The running redirect.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap as StdHashMap};
use std::fmt;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use aya::Ebpf;
use aya::maps::{HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray, RingBuf};
use node_agent_common::names;
use tokio::sync::mpsc;

use super::diag::Diag;
use super::events::{Ear, Rings};
use super::layers::{self, Layers};
use super::listen::{self, Listener};
use super::node::{Needs, NodeWide as Node};
use super::object::{self, TRACEPOINTS};
use super::sys::{self, Link};
use super::tables::{Counters, Entries, OriginRecord, Tables, Wanted, locked};
use super::undeclared::Places;
use super::wires::Wires;
use super::{
    Ended, Event, InterceptError, Layer, NodeWide, Owner, Prefix, Settings, Sighting, SocketSeen,
    Unfiltered, WorkloadIndex, pins,
};
use crate::model::{CgroupId, NetnsCookie};

/// How many new listeners wait for the accept side. It never falls that far behind.
const LISTENERS: usize = 1_024;

/// What enrolment asks of whatever governs the workloads it finds.
pub trait Governs: Send + Sync + 'static {
    /// From now on the cgroup and everything below it is this workload.
    ///
    /// # Errors
    /// When the label cannot be put; the cgroup is then not governed.
    fn label(&self, cgroup: CgroupId, workload: WorkloadIndex) -> Result<(), InterceptError>;

    /// Takes the label away. None there is no error.
    ///
    /// # Errors
    /// When the label cannot be removed; the cgroup is then still governed.
    fn unlabel(&self, cgroup: CgroupId) -> Result<(), InterceptError>;

    /// All labels, also those an earlier agent left.
    ///
    /// # Errors
    /// When they cannot be read.
    fn labelled(&self) -> Result<Vec<(CgroupId, WorkloadIndex)>, InterceptError>;

    /// Makes the agent reachable in a network namespace. Called once for each.
    ///
    /// # Errors
    /// When it cannot be; connects there are then refused.
    fn listen(&self, netns: OwnedFd) -> Result<NetnsCookie, InterceptError>;

    /// Leaves a network namespace, so that it can end.
    fn leave(&self, netns: NetnsCookie);

    /// Filters at the host's ends of a namespace's wires; gives the devices that have none.
    ///
    /// # Errors
    /// When a filter cannot be attached, or the devices not be seen.
    fn filter(
        &self,
        netns: BorrowedFd<'_>,
        owner: Owner,
    ) -> Result<Vec<Unfiltered>, InterceptError>;

    /// Takes the filters of a namespace, by its inode, away. None there is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn unfilter(&self, netns: u64) -> Result<(), InterceptError>;

    /// The namespaces whose wires are filtered, also by an earlier agent, each with the labelled
    /// cgroup it is for. Those whose devices are gone are forgotten by it.
    fn filtered(&self) -> Vec<(u64, CgroupId)>;

    /// Is a wire of this namespace filtered at this moment? A namespace without any, and one whose
    /// number was another's before, is not.
    fn filters(&self, netns: u64) -> bool;

    /// What a descriptor of a labelled process is to the redirect.
    ///
    /// # Errors
    /// It is no socket, or nothing can be learnt of it.
    fn look_at(&self, socket: BorrowedFd<'_>) -> io::Result<SocketSeen>;

    /// Ends a socket that leads past the agent.
    ///
    /// # Errors
    /// It is still connected.
    fn end(&self, socket: BorrowedFd<'_>) -> io::Result<Ended>;

    /// What got through this gap ([`Sighting::Gap`]) was looked for.
    fn audited(&self, gap: u64);

    /// From now on another agent may govern by the same pins: this one changes nothing any more.
    fn let_go(&self);
}

/// The kernel programs at work. Share it as `Arc`.
///
/// Dropping it detaches everything, unless a pin directory was given: then the redirect stays, and
/// leads nowhere, until an agent starts again on the same directory or somebody uninstalls.
pub struct Interceptor {
    pub(super) tables: Arc<Tables>,
    /// What is kept beside each socket.
    pub(super) sockets: Option<OwnedFd>,
    pub(super) links: Mutex<Vec<Link>>,
    // Before the programs that it attaches, and whose maps it keeps.
    node: Mutex<Option<Node>>,
    pub(super) wires: Wires,
    pub(super) ebpf: Arc<Mutex<Option<Ebpf>>>,
    /// The kernel's numbers of the attached programs.
    pub(super) programs: StdHashMap<&'static str, u32>,
    /// The pinned maps.
    pub(super) maps: Vec<(&'static str, MapData)>,
    /// The right to the pins; `None`: there are none, or it was let go.
    owned: Mutex<Option<OwnedFd>>,
    /// Gaps there were, and the last one that was looked into.
    pub(super) gaps: AtomicU64,
    pub(super) audited: AtomicU64,
    pub(super) ear: Ear,
    open: Places,
    /// A directory of the cgroup2 mount.
    pub(super) mount: File,
    /// The second gate of each labelled cgroup.
    pub(super) gates: Mutex<StdHashMap<CgroupId, Vec<Link>>>,
    /// What the table of labels should hold, as far as this agent put it there.
    pub(super) labels: Mutex<StdHashMap<CgroupId, WorkloadIndex>>,
    waits: Mutex<StdHashMap<CgroupId, Link>>,
    degraded: Vec<String>,
    layers: Mutex<Layers>,
    listeners: mpsc::Sender<Listener>,
    listeners_out: Mutex<Option<mpsc::Receiver<Listener>>>,
    events_out: Mutex<Option<mpsc::Receiver<Event>>>,
    sightings_out: Mutex<Option<mpsc::Receiver<Sighting>>>,
    settings: Settings,
}

impl Interceptor {
    /// Loads the programs, makes or re-uses the maps, and attaches. Nothing is labelled by it
    /// that was not labelled before.
    ///
    /// # Errors
    /// When anything but the tracepoints cannot be set up. With a pin directory, what was attached
    /// by then stays: it can only refuse, and the next start goes on from it.
    pub fn start(settings: Settings) -> Result<Self, InterceptError> {
        let id = sys::cgroup_id(&settings.attach)?;
        let cgroup = File::open(&settings.attach).map_err(InterceptError::call(
            "open",
            &settings.attach.display(),
            "does the directory exist?",
        ))?;
        let owned = match &settings.pin {
            Some(directory) => {
                pins::mounted(directory)?;
                let owned = pins::own(directory)?;
                pins::prepare(directory)?;
                Some(owned)
            }
            None => None,
        };
        let mut ebpf = object::load(&settings)?;

        let devices = object::load_devices(&mut ebpf);
        let held = layers::Held::of(&ebpf, settings.agent_cgroup)?;
        let (tables, rings) = tables(&mut ebpf)?;
        // Guarded first, attached then: the programs never run with less than they should know.
        // Pinned prefixes stay until somebody says what replaces them.
        tables.set_ports(&settings.ports.iter().copied().collect())?;
        tables.add_prefixes(&settings.protected)?;
        let sockets = match ebpf.map(names::SOCKETS) {
            Some(Map::SkStorage(map)) => map.fd().as_fd().try_clone_to_owned().ok(),
            Some(_) | None => None,
        };
        tables.set_allowed(settings.allowed.as_deref().unwrap_or_default())?;
        tables.nobody_listens()?;
        tables.count_again();
        let programs = object::numbers(&ebpf)?;
        let maps = match &settings.pin {
            Some(directory) => pins::kept_maps(directory)?,
            None => Vec::new(),
        };
        let links = pins::attach(&ebpf, cgroup.as_fd(), id, settings.pin.as_deref())?;
        let layers = layers::start(&held, &mut ebpf, &settings, &cgroup, id)?;
        drop(held);
        let mut gates = match &settings.pin {
            Some(directory) => pins::take_over_gates(&ebpf, directory)?,
            None => StdHashMap::new(),
        };
        // Left by an agent that died while it took a label away.
        let labelled = tables.labelled()?;
        let idle: Vec<CgroupId> = gates
            .keys()
            .filter(|id| !labelled.iter().any(|(labelled, _)| labelled == *id))
            .copied()
            .collect();
        for id in idle {
            let links = gates.remove(&id).unwrap_or_default();
            pins::open_gates(links, id, settings.pin.as_deref())?;
        }

        let mut degraded: Vec<String> = handed_out(settings.listen_port).into_iter().collect();
        for (program, tracepoint) in TRACEPOINTS {
            if let Err(error) = object::trace(&mut ebpf, program, tracepoint) {
                degraded.push(error.to_string());
            }
        }
        let absent = match (devices, settings.node_wide) {
            (Ok(()), _) => None,
            (Err(error), NodeWide::On) => return Err(error),
            (Err(error), NodeWide::Off) => {
                degraded.push(format!("no filters at the host's ends of wires: {error}"));
                Some(error.to_string())
            }
        };
        let wires = Wires::new(settings.pin.is_some(), settings.listen_port.into(), absent)?;
        wires.take_over(&ebpf, &tables, &settings)?;
        let tables = Arc::new(tables);
        let ebpf = Arc::new(Mutex::new(Some(ebpf)));
        let node = match settings.node_wide {
            NodeWide::Off => None,
            NodeWide::On => {
                let needs = Needs {
                    ebpf: Arc::clone(&ebpf),
                    tables: Arc::clone(&tables),
                };
                let pin = settings.pin.as_deref();
                Some(Node::start(
                    needs,
                    cgroup.as_fd(),
                    id,
                    pin,
                    wires.node_handle(),
                )?)
            }
        };
        let open = Places::default();
        let (ear, events, sightings) = Ear::start(rings, Arc::clone(&tables), Arc::clone(&open))?;
        let (listeners, listeners_out) = mpsc::channel(LISTENERS);
        Ok(Interceptor {
            tables,
            sockets,
            links: Mutex::new(links),
            node: Mutex::new(node),
            wires,
            ebpf,
            programs,
            maps,
            owned: Mutex::new(owned),
            gaps: AtomicU64::new(0),
            audited: AtomicU64::new(0),
            ear,
            open,
            mount: cgroup,
            gates: Mutex::new(gates),
            labels: Mutex::default(),
            waits: Mutex::default(),
            degraded,
            layers: Mutex::new(layers),
            listeners,
            listeners_out: Mutex::new(Some(listeners_out)),
            events_out: Mutex::new(Some(events)),
            sightings_out: Mutex::new(Some(sightings)),
            settings,
        })
    }

    /// What it was started with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What could not be attached though it should be, a sentence each. Governing is not affected;
    /// new network namespaces are found later.
    pub fn degraded(&self) -> &[String] {
        &self.degraded
    }

    /// Why not the whole node keeps to the agent at this moment, though it should.
    pub fn node_trouble(&self) -> Option<String> {
        locked(&self.node).as_ref().and_then(Node::trouble)
    }

    pub(super) fn with_ebpf<T>(
        &self,
        then: impl FnOnce(&Ebpf) -> Result<T, InterceptError>,
    ) -> Result<T, InterceptError> {
        then(
            locked(&self.ebpf)
                .as_ref()
                .ok_or(InterceptError::Uninstalled)?,
        )
    }

    /// What not every kernel has, and whether this one does.
    pub fn layers(&self) -> Vec<Layer> {
        locked(&self.layers).all.clone()
    }

    /// Labels a cgroup and everything below it.
    ///
    /// # Errors
    /// For the hierarchy's root, the agent's own cgroup, a full table, and what the kernel refuses.
    pub fn label(&self, cgroup: CgroupId, workload: WorkloadIndex) -> Result<(), InterceptError> {
        self.holds()?;
        // What runs there is exempt: a label would promise what is not kept.
        if cgroup == self.settings.agent_cgroup {
            return Err(InterceptError::AgentsOwn(cgroup));
        }
        // The label first: the connect hooks ask for it, and the gates let pass what has none. A
        // cgroup whose gates cannot be closed keeps the label, which only ever refuses more, and is
        // not reported as governed.
        {
            let mut labels = locked(&self.labels);
            self.tables.label(cgroup, workload)?;
            labels.insert(cgroup, workload);
        }
        self.close_gates(cgroup)
    }

    fn close_gates(&self, cgroup: CgroupId) -> Result<(), InterceptError> {
        let (mut gates, mut waits) = (locked(&self.gates), locked(&self.waits));
        if gates.contains_key(&cgroup) && waits.contains_key(&cgroup) {
            return Ok(());
        }
        let directory = sys::open_cgroup(&self.mount, cgroup).map_err(InterceptError::call(
            "open_by_handle_at",
            &cgroup,
            "the agent needs CAP_DAC_READ_SEARCH",
        ))?;
        let ebpf = locked(&self.ebpf);
        let ebpf = ebpf.as_ref().ok_or(InterceptError::Uninstalled)?;
        if let Entry::Vacant(open) = gates.entry(cgroup) {
            let pin = self.settings.pin.as_deref();
            open.insert(pins::close_gates(ebpf, directory.as_fd(), cgroup, pin)?);
        }
        match pins::wait(ebpf, directory.as_fd()) {
            Ok(link) => drop(waits.insert(cgroup, link)),
            // Governed all the same: a connect that comes before the listener is refused.
            Err(error) => {
                tracing::warn!(%error, %cgroup, "connects of new network namespaces will not wait");
            }
        }
        Ok(())
    }

    /// Takes a label away. None there is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn unlabel(&self, cgroup: CgroupId) -> Result<(), InterceptError> {
        self.holds()?;
        {
            let mut labels = locked(&self.labels);
            self.tables.unlabel(cgroup)?;
            labels.remove(&cgroup);
        }
        locked(&self.waits).remove(&cgroup);
        let links = locked(&self.gates).remove(&cgroup).unwrap_or_default();
        pins::open_gates(links, cgroup, self.settings.pin.as_deref())
    }

    /// All labels there are.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn labelled(&self) -> Result<Vec<(CgroupId, WorkloadIndex)>, InterceptError> {
        self.tables.labelled()
    }

    /// Replaces the protected prefixes. What stays is never missing in between.
    ///
    /// # Errors
    /// When the table is full (then all that fitted is protected, and nothing was removed).
    pub fn set_protected(&self, prefixes: &[Prefix]) -> Result<(), InterceptError> {
        self.holds()?;
        self.tables.set_prefixes(prefixes)
    }

    /// Replaces the guarded ports. What stays is never missing in between.
    ///
    /// # Errors
    /// When the table is full.
    pub fn set_ports(&self, ports: &BTreeSet<u16>) -> Result<(), InterceptError> {
        self.holds()?;
        self.tables.set_ports(ports)
    }

    /// Where the connection from `client`, accepted in that namespace, was going: told once.
    /// `None`: nobody was redirected to us by that tuple. A failing look-up is `None` too, for
    /// without an origin the connection must be closed whatever the reason.
    pub fn take(&self, netns: NetnsCookie, client: SocketAddr) -> Option<OriginRecord> {
        if self.holds().is_err() {
            return None;
        }
        match self.tables.take(netns, client) {
            Ok(record) => record,
            Err(error) => {
                tracing::error!(%error, %netns, %client, "reading an origin failed");
                None
            }
        }
    }

    /// Totals.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn counters(&self) -> Result<Counters, InterceptError> {
        let mut counters = self.tables.counters()?;
        let unread = self.ear.dropped.load(Ordering::Relaxed);
        counters.lost_events = counters.lost_events.saturating_add(unread);
        (counters.refused_families, counters.refused_unix) = locked(&self.layers).refused();
        Ok(counters)
    }

    /// The sizes of the maps.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn entries(&self) -> Result<Entries, InterceptError> {
        self.tables.entries()
    }

    /// The events. `Some` the first time.
    pub fn take_events(&self) -> Option<mpsc::Receiver<Event>> {
        locked(&self.events_out).take()
    }

    /// The sightings, for enrolment. `Some` the first time.
    pub fn take_sightings(&self) -> Option<mpsc::Receiver<Sighting>> {
        locked(&self.sightings_out).take()
    }

    /// The listeners, one for each network namespace entered. `Some` the first time.
    pub fn take_listeners(&self) -> Option<mpsc::Receiver<Listener>> {
        locked(&self.listeners_out).take()
    }

    /// Opens listeners in the network namespace behind the descriptor (of `/proc/PID/ns/net`) and
    /// hands them to the receiver of `take_listeners`.
    ///
    /// # Errors
    /// When the namespace cannot be entered, the port is taken, or nobody receives listeners.
    pub fn listen(&self, netns: OwnedFd) -> Result<NetnsCookie, InterceptError> {
        self.holds()?;
        let (listener, open) = listen::open(netns, self.settings.listen_port)?;
        let cookie = listener.netns;
        // Nobody accepts in a namespace whose listener was not handed over: close it again.
        self.listeners
            .try_send(listener)
            .map_err(|_| InterceptError::Thread("accepts connections"))?;
        locked(&self.open).insert(cookie, open);
        if let Err(error) = self.tables.hear(cookie) {
            // Sightings from there go on; they are answered with a look and nothing else.
            tracing::warn!(%error, netns = %cookie, "a namespace is missing in the filter of sightings");
        }
        Ok(cookie)
    }

    /// Asks about sockets in a namespace the agent listens in.
    pub(super) fn diag(&self, netns: NetnsCookie) -> Option<Arc<Diag>> {
        locked(&self.open)
            .get(&netns)
            .map(|open| Arc::clone(&open.diag))
    }

    /// Tells the holder of that namespace's listener to close it.
    pub fn leave(&self, netns: NetnsCookie) {
        locked(&self.open).remove(&netns);
        if let Err(error) = self.tables.unhear(netns) {
            tracing::warn!(%error, %netns, "a closed namespace stays in the filter of sightings");
        }
    }

    /// Lets another agent govern by the pins: this one must change nothing any more.
    pub fn let_go(&self) {
        *locked(&self.owned) = None;
    }

    /// Nothing is labelled, listened for or taken by who let go: labels may be numbered in the next
    /// agent's way by then.
    pub(super) fn holds(&self) -> Result<(), InterceptError> {
        if self.settings.pin.is_some() && locked(&self.owned).is_none() {
            return Err(InterceptError::LetGo);
        }
        Ok(())
    }

    /// May this agent change what is pinned? After `let_go` only when nobody else took it.
    pub fn governs(&self) -> bool {
        let Some(directory) = &self.settings.pin else {
            return true;
        };
        let mut owned = locked(&self.owned);
        if owned.is_none() {
            *owned = pins::own_now(directory).ok().flatten();
        }
        owned.is_some()
    }

    /// Detaches everything and removes the pins: labelled workloads then reach databases directly.
    ///
    /// # Errors
    /// When something could not be detached or removed; the rest is not tried.
    pub fn uninstall(&self) -> Result<(), InterceptError> {
        for link in locked(&self.links).drain(..) {
            pins::detach(&link).map_err(InterceptError::call(
                "bpf(BPF_LINK_DETACH)",
                &"link",
                "uninstall again",
            ))?;
        }
        for link in locked(&self.layers).links.drain(..) {
            pins::detach(&link).map_err(InterceptError::call(
                "bpf(BPF_LINK_DETACH)",
                &"layer",
                "uninstall again",
            ))?;
        }
        locked(&self.waits).clear();
        self.let_all_wires_go()?;
        if let Some(mut node) = locked(&self.node).take() {
            node.let_go(&self.tables)?;
        }
        for (cgroup, links) in locked(&self.gates).drain() {
            pins::open_gates(links, cgroup, self.settings.pin.as_deref())?;
        }
        *locked(&self.ebpf) = None;
        locked(&self.open).clear();
        *locked(&self.owned) = None;
        match &self.settings.pin {
            Some(directory) => pins::remove(directory),
            None => Ok(()),
        }
    }

    /// Does the same for a pin directory whose agent no longer runs.
    ///
    /// # Errors
    /// As `uninstall`, and when an agent runs on it, which would put everything back.
    pub fn uninstall_pinned(directory: &Path) -> Result<(), InterceptError> {
        Interceptor::unfilter_pinned(directory)?;
        pins::remove(directory)
    }
}

impl fmt::Debug for Interceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interceptor")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Governs for Interceptor {
    fn label(&self, cgroup: CgroupId, workload: WorkloadIndex) -> Result<(), InterceptError> {
        Interceptor::label(self, cgroup, workload)
    }

    fn unlabel(&self, cgroup: CgroupId) -> Result<(), InterceptError> {
        Interceptor::unlabel(self, cgroup)
    }

    fn labelled(&self) -> Result<Vec<(CgroupId, WorkloadIndex)>, InterceptError> {
        Interceptor::labelled(self)
    }

    fn listen(&self, netns: OwnedFd) -> Result<NetnsCookie, InterceptError> {
        Interceptor::listen(self, netns)
    }

    fn leave(&self, netns: NetnsCookie) {
        Interceptor::leave(self, netns);
    }

    fn filter(
        &self,
        netns: BorrowedFd<'_>,
        owner: Owner,
    ) -> Result<Vec<Unfiltered>, InterceptError> {
        Interceptor::filter(self, netns, owner)
    }

    fn unfilter(&self, netns: u64) -> Result<(), InterceptError> {
        Interceptor::unfilter(self, netns)
    }

    fn filtered(&self) -> Vec<(u64, CgroupId)> {
        self.forget_gone_wires();
        Interceptor::filtered(self)
    }

    fn filters(&self, netns: u64) -> bool {
        Interceptor::filters(self, netns)
    }

    fn look_at(&self, socket: BorrowedFd<'_>) -> io::Result<SocketSeen> {
        Interceptor::look_at(self, socket)
    }

    fn end(&self, socket: BorrowedFd<'_>) -> io::Result<Ended> {
        Interceptor::end(self, socket)
    }

    fn audited(&self, gap: u64) {
        self.audited.fetch_max(gap, Ordering::AcqRel);
    }

    fn let_go(&self) {
        Interceptor::let_go(self);
    }
}

fn tables(ebpf: &mut Ebpf) -> Result<(Tables, Rings), InterceptError> {
    fn typed<T: TryFrom<Map, Error = MapError>>(
        ebpf: &mut Ebpf,
        name: &'static str,
    ) -> Result<T, InterceptError> {
        let missing = || MapError::InvalidName {
            name: name.to_owned(),
        };
        ebpf.take_map(name)
            .ok_or_else(missing)
            .and_then(T::try_from)
            .map_err(InterceptError::map(name))
    }
    let flows = match ebpf.map(names::FLOWS) {
        Some(Map::HashMap(map)) => map.fd().as_fd().try_clone_to_owned(),
        Some(_) | None => Err(io::Error::other("not a hash map")),
    };
    let flows_fd = flows.map_err(InterceptError::call(
        "dup",
        &names::FLOWS,
        "raise the limit of open files",
    ))?;
    let tables = Tables {
        labels: Mutex::new(typed::<HashMap<_, _, _>>(ebpf, names::LABELS)?),
        ports: Mutex::new(typed::<HashMap<_, _, _>>(ebpf, names::PORTS)?),
        prefixes: Mutex::new(typed::<LpmTrie<_, _, _>>(ebpf, names::PREFIXES)?),
        flows: Mutex::new(typed::<HashMap<_, _, _>>(ebpf, names::FLOWS)?),
        flows_fd,
        allowed: Mutex::new(typed::<LpmTrie<_, _, _>>(ebpf, names::ALLOWED)?),
        shares: Mutex::new(typed::<HashMap<_, _, _>>(ebpf, names::SHARES)?),
        taken: Mutex::new(typed::<HashMap<_, _, _>>(ebpf, names::TAKEN)?),
        heard: Mutex::new(typed::<HashMap<_, _, _>>(ebpf, names::HEARD)?),
        wires: Mutex::new(typed::<HashMap<_, _, _>>(ebpf, names::WIRES)?),
        counters: Mutex::new(typed::<PerCpuArray<_, _>>(ebpf, names::COUNTERS)?),
        wanted: Wanted::default(),
    };
    let rings = Rings {
        events: typed::<RingBuf<_>>(ebpf, names::EVENTS)?,
        sightings: typed::<RingBuf<_>>(ebpf, names::SIGHTINGS)?,
    };
    Ok((tables, rings))
}

/// Why a port is a bad one to listen on: the kernel may give it to a client that names none, which
/// then stands where the agent should, or connects to itself.
fn handed_out(port: u16) -> Option<String> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}"));
    let range = read("ip_local_port_range").ok()?;
    let mut ends = range
        .split_whitespace()
        .map_while(|end| end.parse::<u16>().ok());
    let (first, last) = (ends.next()?, ends.next()?);
    let reserved = read("ip_local_reserved_ports").unwrap_or_default();
    let kept = reserved.trim().split(',').any(|part| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        matches!((low.parse::<u16>(), high.parse::<u16>()), (Ok(low), Ok(high)) if (low..=high).contains(&port))
    });
    ((first..=last).contains(&port) && !kept).then(|| {
        format!(
            "port {port} lies in the range the kernel hands out ({first}-{last}): \
             sysctl -w net.ipv4.ip_local_reserved_ports={port}, or choose another listen.port"
        )
    })
}
