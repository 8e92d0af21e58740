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
use aya::maps::MapData;
use tokio::sync::mpsc;

use super::diag::Diag;
use super::events::Ear;
use super::inherited::Inherited;
use super::layers::Layers;
use super::listen::{self, Listener};
use super::node::NodeWide as Node;
use super::right::{Holding, Owned};
use super::sys::{self, Link};
use super::tables::{Counters, Entries, OriginRecord, Tables, locked};
use super::undeclared::Places;
use super::wires::Wires;
use super::{
    Ended, Event, InterceptError, Layer, Owner, Prefix, Settings, Sighting, SocketSeen, Unfiltered,
    WorkloadIndex, pins,
};
use crate::model::{CgroupId, NetnsCookie};

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
    pub(super) node: Mutex<Option<Node>>,
    pub(super) wires: Wires,
    pub(super) ebpf: Arc<Mutex<Option<Ebpf>>>,
    /// The kernel's numbers of the attached programs.
    pub(super) programs: StdHashMap<&'static str, u32>,
    /// The pinned maps.
    pub(super) maps: Vec<(&'static str, MapData)>,
    /// The right to the pins; `None`: there are none, or it was let go.
    pub(super) owned: Owned,
    /// Gaps there were, and the last one that was looked into.
    pub(super) gaps: AtomicU64,
    pub(super) audited: AtomicU64,
    pub(super) ear: Ear,
    /// Listening sockets of an agent before this one, until they are asked for.
    pub(super) inherited: Inherited,
    pub(super) open: Places,
    /// A directory of the cgroup2 mount.
    pub(super) mount: File,
    /// The second gate of each labelled cgroup.
    pub(super) gates: Mutex<StdHashMap<CgroupId, Vec<Link>>>,
    /// What the table of labels should hold, as far as this agent put it there.
    pub(super) labels: Mutex<StdHashMap<CgroupId, WorkloadIndex>>,
    pub(super) waits: Mutex<StdHashMap<CgroupId, Link>>,
    pub(super) degraded: Vec<String>,
    pub(super) layers: Mutex<Layers>,
    /// The cgroups of agents that were succeeded and still serve.
    pub(super) before: Mutex<BTreeSet<CgroupId>>,
    pub(super) listeners: mpsc::Sender<Listener>,
    pub(super) listeners_out: Mutex<Option<mpsc::Receiver<Listener>>>,
    pub(super) events_out: Mutex<Option<mpsc::Receiver<Event>>>,
    pub(super) sightings_out: Mutex<Option<mpsc::Receiver<Sighting>>>,
    pub(super) settings: Settings,
}

impl Interceptor {
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
        let _holding = self.holding()?;
        // What runs there is exempt: a label would promise what is not kept.
        if cgroup == self.settings.agent_cgroup || locked(&self.before).contains(&cgroup) {
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
        let _holding = self.holding()?;
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
        let _holding = self.holding()?;
        self.tables.set_prefixes(prefixes)
    }

    /// The protected prefixes, also those that an earlier agent left.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn protected(&self) -> Result<Vec<Prefix>, InterceptError> {
        self.tables.prefixes()
    }

    /// Replaces the guarded ports. What stays is never missing in between.
    ///
    /// # Errors
    /// When the table is full.
    pub fn set_ports(&self, ports: &BTreeSet<u16>) -> Result<(), InterceptError> {
        let _holding = self.holding()?;
        self.tables.set_ports(ports)
    }

    /// Where the connection from `client`, accepted in that namespace, was going: told once.
    /// `None`: nobody was redirected to us by that tuple. A failing look-up is `None` too, for
    /// without an origin the connection must be closed whatever the reason.
    pub fn take(&self, netns: NetnsCookie, client: SocketAddr) -> Option<OriginRecord> {
        let _holding = self.holding().ok()?;
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
        let _holding = self.holding()?;
        let port = self.settings.listen_port;
        let (listener, open) = listen::open(netns, port, &self.inherited)?;
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
        // The next agent may listen there by now.
        let Ok(_holding) = self.holding() else {
            return;
        };
        if let Err(error) = self.tables.unhear(netns) {
            tracing::warn!(%error, %netns, "a closed namespace stays in the filter of sightings");
        }
    }

    /// Lets another agent govern by the pins: this one changes nothing any more.
    pub fn let_go(&self) {
        // It would put its own programs back in the place of the next agent's. Waited for: with the
        // right goes the last chance to change anything.
        if let Some(node) = locked(&self.node).as_mut() {
            node.halt();
        }
        self.tables.at_rest.store(true, Ordering::Release);
        self.owned.let_go();
    }

    /// Nothing is labelled, listened for, taken, attached or detached by who let go: labels may be
    /// numbered in the next agent's way by then. The right is not let go while the guard is there.
    pub(super) fn holding(&self) -> Result<Holding<'_>, InterceptError> {
        let (there, holding) = self.owned.hold();
        if self.settings.pin.is_some() && !there {
            return Err(InterceptError::LetGo);
        }
        Ok(holding)
    }

    /// May this agent change what is pinned? After `let_go` only when nobody else took it.
    pub fn governs(&self) -> bool {
        let Some(directory) = &self.settings.pin else {
            return true;
        };
        self.owned.regain(directory, |governs| {
            self.tables.at_rest.store(!governs, Ordering::Release);
        })
    }

    /// The right to the pins once more, to be given to the agent that succeeds this one. `None`:
    /// there is none to give.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn right(&self) -> io::Result<Option<OwnedFd>> {
        self.owned.to_give()
    }

    /// Closes the listening sockets of an agent before this one that nobody asked for.
    pub fn forget_inherited(&self) {
        let holding = self.holding();
        for netns in self.inherited.close() {
            if holding.is_ok() && !locked(&self.open).contains_key(&netns) {
                let _ = self.tables.unhear(netns);
            }
        }
    }

    /// An agent that was succeeded has ended: its cgroup is nobody's now.
    pub fn ended_before(&self, cgroup: CgroupId) {
        if !locked(&self.before).remove(&cgroup) {
            return;
        }
        if let Err(error) = self.tables.exempt_no_more(cgroup) {
            tracing::error!(%error, %cgroup, "the cgroup of an agent that has ended is still exempt");
        }
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
        for layer in locked(&self.layers).links.drain(..) {
            pins::detach(&layer.link).map_err(InterceptError::call(
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
        self.let_go();
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
