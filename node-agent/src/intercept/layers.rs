//! Layers that not every kernel has. Each is there when its program loads and is seen at work, and
//! said to be absent otherwise, with the reason: no version number and no list is believed.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, MapData};
use node_agent_common::layer::{self, UnixName};
use node_agent_common::names;
use serde::{Deserialize, Serialize};

use super::assembled::{self, LAYOUT_ROOM, Layout, Parts};
use super::object::{Hook, SOCKETS_OF_FAMILIES, UNIX_CONNECT, UNIX_SEND};
use super::sys::{self, Assembled, Link};
use super::types::Types;
use super::{InterceptError, Settings, pins};
use crate::model::CgroupId;

/// Whether a layer is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerState {
    /// It is.
    Present,
    /// This kernel does not have it.
    Absent,
    /// The configuration does not ask for it.
    Off,
}

/// A layer that not every kernel has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// What it keeps from a labelled workload.
    pub what: String,
    /// Whether it does.
    pub state: LayerState,
    /// Why it does not, and what to do.
    pub why: Option<String>,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            LayerState::Present => "present",
            LayerState::Absent => "absent",
            LayerState::Off => "off",
        };
        write!(f, "{state}: {}", self.what)?;
        match &self.why {
            Some(why) => write!(f, ": {why}"),
            None => Ok(()),
        }
    }
}

/// `BPF_PROG_TYPE_LSM`, `BPF_PROG_TYPE_CGROUP_SOCK_ADDR`.
const LSM: u32 = 29;
const SOCK_ADDR: u32 = 18;

const FAMILIES: &str = "AF_PACKET, AF_VSOCK and other ways off the node beside IP (BPF LSM)";
const UNIX: &str = "unix sockets, but for those allowed";

const FAMILIES_MEND: &str = "drop CAP_NET_RAW, deny AF_VSOCK by seccomp; or boot a kernel with \
                             CONFIG_BPF_LSM and `bpf` in its lsm= list";
const UNIX_MEND: &str = "Linux 6.7 or newer with BTF has the hook; or guard.unix: open, and mount \
                         no directory with a database's socket";

/// What is attached, and what is not.
pub(super) struct Layers {
    pub(super) all: Vec<Layer>,
    pub(super) links: Vec<Attached>,
    pub(super) cells: Array<MapData, u64>,
}

/// A layer's program, where it is attached.
pub(super) struct Attached {
    pub(super) hook: &'static Hook,
    /// Held, to be attached again.
    pub(super) program: OwnedFd,
    /// The kernel's number of it.
    pub(super) number: u32,
    pub(super) link: Link,
}

impl Attached {
    fn of(hook: &'static Hook, program: OwnedFd, link: Link) -> Result<Self, InterceptError> {
        let mend = "restart the agent";
        let facts = link.facts().map_err(InterceptError::call(
            "bpf(BPF_OBJ_GET_INFO_BY_FD)",
            &hook.program,
            mend,
        ))?;
        Ok(Attached {
            hook,
            program,
            number: facts.program,
            link,
        })
    }
}

/// Loads and attaches what there is of the layers.
///
/// # Errors
/// When a layer that the configuration asks for is not there: the workloads would be governed by
/// half. When a pin cannot be written.
pub(super) fn start(
    held: &Held,
    ebpf: &mut Ebpf,
    settings: &Settings,
    cgroup: &File,
    id: CgroupId,
) -> Result<Layers, InterceptError> {
    let mut layers = Layers {
        all: Vec::new(),
        links: Vec::new(),
        cells: cells(ebpf)?,
    };
    let pin = settings.pin.as_deref();
    match families(&held.parts(), &layers.cells) {
        Ok((program, link)) => {
            if let Some(directory) = pin {
                pins::keep(&SOCKETS_OF_FAMILIES, &link, directory)?;
            }
            let attached = Attached::of(&SOCKETS_OF_FAMILIES, program, link)?;
            layers.links.push(attached);
            layers.tell(FAMILIES, LayerState::Present, None);
        }
        Err(why) => {
            if let Some(directory) = pin {
                pins::drop_layer(&SOCKETS_OF_FAMILIES, directory)?;
            }
            let why = format!("{why}; {FAMILIES_MEND}");
            layers.tell(FAMILIES, LayerState::Absent, Some(why));
        }
    }
    let Some(allowed) = &settings.unix else {
        if let Some(directory) = pin {
            pins::drop_layer(&UNIX_CONNECT, directory)?;
            pins::drop_layer(&UNIX_SEND, directory)?;
        }
        layers.tell(UNIX, LayerState::Off, Some("guard.unix is open".to_owned()));
        return Ok(layers);
    };
    if let Some(map) = ebpf.map_mut(names::UNIX_NAMES) {
        let mut map: HashMap<_, UnixName, u8> =
            HashMap::try_from(map).map_err(InterceptError::map(names::UNIX_NAMES))?;
        for path in allowed {
            map.insert(path.key(), 1, 0)
                .map_err(InterceptError::map(names::UNIX_NAMES))?;
        }
    }
    for hook in [&UNIX_CONNECT, &UNIX_SEND] {
        let program = unix(&held.parts(), hook).map_err(|error| InterceptError::Program {
            program: format!("{} (guard.unix: allow-only)", hook.program),
            error: error.to_string(),
            mend: UNIX_MEND,
        })?;
        let link = pins::layer(hook, program.as_fd(), cgroup.as_fd(), id, pin)?;
        layers.links.push(Attached::of(hook, program, link)?);
    }
    layers.tell(UNIX, LayerState::Present, None);
    Ok(layers)
}

impl Layers {
    /// How many sockets were refused for their family, and how many unix sockets.
    pub(super) fn refused(&self) -> (u64, u64) {
        let count = |cell| self.cells.get(&cell, 0).unwrap_or(0);
        (count(layer::CELL_FAMILIES), count(layer::CELL_UNIX))
    }

    fn tell(&mut self, what: &str, state: LayerState, why: Option<String>) {
        self.all.push(Layer {
            what: what.to_owned(),
            state,
            why,
        });
    }
}

/// What of the layers loads, a line each; attaches the first for a moment, to see whether it is run.
pub(super) fn try_all(ebpf: &mut Ebpf) -> Vec<Layer> {
    let absent = |what: &str, why: String| Layer {
        what: what.to_owned(),
        state: LayerState::Absent,
        why: Some(why),
    };
    let present = |what: &str| Layer {
        what: what.to_owned(),
        state: LayerState::Present,
        why: None,
    };
    let found = cells(ebpf).and_then(|cells| Ok((cells, Held::of(ebpf, CgroupId(0))?)));
    let (cells, held) = match found {
        Ok(found) => found,
        Err(error) => return vec![absent(FAMILIES, error.to_string())],
    };
    let parts = held.parts();
    let families = match families(&parts, &cells) {
        Ok(_) => present(FAMILIES),
        Err(why) => absent(FAMILIES, format!("{why}; {FAMILIES_MEND}")),
    };
    let unix = [&UNIX_CONNECT, &UNIX_SEND]
        .into_iter()
        .try_for_each(|hook| unix(&parts, hook).map(drop));
    let unix = match unix {
        Ok(()) => present(UNIX),
        Err(why) => absent(UNIX, format!("{why}; {UNIX_MEND}")),
    };
    vec![families, unix]
}

/// The LSM program, attached and seen at work.
fn families(parts: &Parts<'_>, cells: &Array<MapData, u64>) -> io::Result<(OwnedFd, Link)> {
    let hook = Types::of_kernel()?.function("bpf_lsm_socket_create");
    let missing = || io::Error::other("this kernel has no BPF LSM");
    let program = sys::load_program(&Assembled {
        name: SOCKETS_OF_FAMILIES.program,
        code: &assembled::socket_create(parts),
        license: assembled::LICENSE,
        kind: LSM,
        attach_type: SOCKETS_OF_FAMILIES.attach_type,
        hooked: hook.ok_or_else(missing)?,
    })?;
    let link = Link::to_its_hook(program.as_fd())?;
    // A kernel that was not told to run BPF's LSM takes the program and never runs it.
    let count = || cells.get(&layer::CELL_ODD, 0).map_err(io::Error::other);
    let before = count()?;
    odd_socket();
    if count()? == before {
        return Err(io::Error::other(
            "the program loads, and this kernel does not run it",
        ));
    }
    Ok((program, link))
}

/// Asks for a socket of a family that the program looks at. Whether there is one does not matter.
fn odd_socket() {
    use rustix::net::{AddressFamily, SocketType, socket};
    drop(socket(AddressFamily::PACKET, SocketType::DGRAM, None));
}

fn unix(parts: &Parts<'_>, hook: &Hook) -> io::Result<OwnedFd> {
    let types = Types::of_kernel()?;
    let place = |member| {
        types
            .member("bpf_sock_addr_kern", member)
            .filter(|at| *at <= LAYOUT_ROOM - 8 && at.is_multiple_of(4))
            .ok_or_else(|| {
                io::Error::other("this kernel does not say where a call has its address")
            })
    };
    let layout = Layout {
        address: place("uaddr").and_then(|at| {
            let whole = at.is_multiple_of(8);
            whole.then_some(at).ok_or(io::ErrorKind::InvalidData.into())
        })?,
        length: place("uaddrlen")?,
    };
    sys::load_program(&Assembled {
        name: hook.program,
        code: &assembled::unix(parts, layout),
        license: assembled::LICENSE,
        kind: SOCK_ADDR,
        attach_type: hook.attach_type,
        hooked: 0,
    })
}

/// Descriptors of the maps that the programs have built in, held until they are loaded.
pub(super) struct Held {
    labels: OwnedFd,
    cells: OwnedFd,
    events: OwnedFd,
    paths: OwnedFd,
    agent: u64,
}

impl Held {
    pub(super) fn of(ebpf: &Ebpf, agent: CgroupId) -> Result<Self, InterceptError> {
        Ok(Held {
            labels: descriptor(ebpf, names::LABELS)?,
            cells: descriptor(ebpf, names::LAYER_CELLS)?,
            events: descriptor(ebpf, names::EVENTS)?,
            paths: descriptor(ebpf, names::UNIX_NAMES)?,
            agent: agent.0,
        })
    }

    fn parts(&self) -> Parts<'_> {
        Parts {
            labels: self.labels.as_fd(),
            cells: self.cells.as_fd(),
            events: self.events.as_fd(),
            paths: self.paths.as_fd(),
            agent: self.agent,
        }
    }
}

fn descriptor(ebpf: &Ebpf, name: &'static str) -> Result<OwnedFd, InterceptError> {
    let fd: io::Result<BorrowedFd<'_>> = match ebpf.map(name) {
        Some(Map::HashMap(map) | Map::Array(map) | Map::RingBuf(map)) => Ok(map.fd().as_fd()),
        Some(_) | None => Err(io::Error::other("not in the object")),
    };
    fd.and_then(|fd| fd.try_clone_to_owned())
        .map_err(InterceptError::call(
            "dup",
            &name,
            "raise the limit of open files",
        ))
}

fn cells(ebpf: &Ebpf) -> Result<Array<MapData, u64>, InterceptError> {
    let name = names::LAYER_CELLS;
    let fd = descriptor(ebpf, name)?;
    let map = MapData::from_fd(fd).map_err(InterceptError::map(name))?;
    Array::try_from(Map::Array(map)).map_err(InterceptError::map(name))
}
