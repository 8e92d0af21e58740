//! How interception starts: loaded first, attached then.

use std::collections::HashMap as StdHashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};

use aya::Ebpf;
use aya::maps::{HashMap, LpmTrie, Map, MapError, PerCpuArray, RingBuf};
use node_agent_common::names;
use tokio::sync::mpsc;

use super::events::{Ear, Rings};
use super::inherited::Inherited;
use super::layers;
use super::node::{Needs, NodeWide as Node};
use super::object::{self, TRACEPOINTS};
use super::right::Owned;
use super::tables::{Tables, Wanted};
use super::undeclared::Places;
use super::wires::Wires;
use super::{InterceptError, Interceptor, NodeWide, Right, Settings, pins, sys};
use crate::model::CgroupId;

/// How many new listeners wait for the accept side. It never falls that far behind.
const LISTENERS: usize = 1_024;

/// The kernel programs, attached nowhere yet.
#[derive(Debug)]
pub struct Loaded {
    settings: Settings,
    id: CgroupId,
    cgroup: File,
    ebpf: Ebpf,
    devices: Result<(), InterceptError>,
}

/// What an agent before this one gave, besides the right to the pins.
#[derive(Debug, Default)]
pub struct Estate {
    /// Listening sockets. What is not one of an agent's with the same port is closed.
    pub listening: Vec<OwnedFd>,
    /// The cgroups of those that still serve.
    pub before: Vec<CgroupId>,
}

impl Interceptor {
    /// Loads the programs, makes or re-uses the maps, and attaches. Nothing is labelled by it
    /// that was not labelled before.
    ///
    /// # Errors
    /// When anything but the tracepoints cannot be set up. With a pin directory, what was attached
    /// by then stays: it can only refuse, and the next start goes on from it.
    pub fn start(settings: Settings) -> Result<Self, InterceptError> {
        let right = settings.pin.as_deref().map(Right::wait).transpose()?;
        Interceptor::load(settings)?.attach(right, Estate::default())
    }

    /// The first half of it: nothing that governs is changed. For one that takes over, so that
    /// what takes long, and what can fail, is done before.
    ///
    /// # Errors
    /// What is pinned is of another version, or the kernel refuses the programs.
    pub fn load(settings: Settings) -> Result<Loaded, InterceptError> {
        let id = sys::cgroup_id(&settings.attach)?;
        let cgroup = File::open(&settings.attach).map_err(InterceptError::call(
            "open",
            &settings.attach.display(),
            "does the directory exist?",
        ))?;
        if let Some(directory) = &settings.pin {
            pins::prepare(directory)?;
        }
        let mut ebpf = object::load(&settings)?;
        let devices = object::load_devices(&mut ebpf);
        Ok(Loaded {
            settings,
            id,
            cgroup,
            ebpf,
            devices,
        })
    }
}

impl Loaded {
    /// The second half: from now on this agent governs.
    ///
    /// # Errors
    /// As [`Interceptor::start`].
    pub fn attach(
        self,
        right: Option<Right>,
        estate: Estate,
    ) -> Result<Interceptor, InterceptError> {
        let Loaded {
            settings,
            id,
            cgroup,
            mut ebpf,
            devices,
        } = self;
        if settings.pin.is_some() && right.is_none() {
            return Err(InterceptError::LetGo);
        }
        let held = layers::Held::of(&ebpf, settings.agent_cgroup)?;
        let (tables, rings) = tables(&mut ebpf)?;
        // Who serves on must not be held up by programs that do not know it.
        for cgroup in &estate.before {
            tables.exempt(*cgroup)?;
        }
        let inherited = Inherited::sorted(estate.listening, settings.listen_port);
        // Guarded first, attached then: the programs never run with less than they should know.
        // Pinned prefixes stay until somebody says what replaces them.
        tables.set_ports(&settings.ports.iter().copied().collect())?;
        tables.add_prefixes(&settings.protected)?;
        let sockets = match ebpf.map(names::SOCKETS) {
            Some(Map::SkStorage(map)) => map.fd().as_fd().try_clone_to_owned().ok(),
            Some(_) | None => None,
        };
        tables.set_allowed(settings.allowed.as_deref().unwrap_or_default())?;
        tables.nobody_listens(&inherited.namespaces())?;
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
            owned: Owned::new(right),
            gaps: AtomicU64::new(0),
            audited: AtomicU64::new(0),
            ear,
            inherited,
            before: Mutex::new(estate.before.into_iter().collect()),
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
        before: Mutex::new(typed::<HashMap<_, _, _>>(ebpf, names::BEFORE)?),
        counters: Mutex::new(typed::<PerCpuArray<_, _>>(ebpf, names::COUNTERS)?),
        at_rest: AtomicBool::new(false),
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
