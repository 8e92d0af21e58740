//! Are the attachments still the ones that were made? Whoever detaches a link or puts another
//! program in its place is not stopped by this, but noticed, and what he did is undone.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::atomic::Ordering;

use aya::maps::MapInfo;

use super::interceptor::Interceptor;
use super::object::{self, DeviceHook, GATES, HOOKS, Hook, NODE};
use super::sys::{self, Link};
use super::tables::{Places, locked};
use super::{InterceptError, Sighting, pins};
use crate::model::CgroupId;

/// One thing that is not as it was made.
#[derive(Clone, Debug)]
pub struct Fault {
    part: Part,
    wrong: Wrong,
}

/// Where.
#[derive(Clone, Debug)]
enum Part {
    /// Of the first gate, by its place among the hooks.
    Hook(usize, &'static Hook),
    /// Of the second gate of a labelled cgroup, by its place among the gates.
    Gate(CgroupId, usize, &'static Hook, String),
    /// Of an optional layer, by its place among those attached.
    Layer(usize, &'static Hook),
    /// At the host's end of a wire, by the device and the place among its programs.
    Wire(u32, usize, DeviceHook),
    /// What asks the node's sockets.
    Node,
    /// On a device of the node.
    NodeDevice(u32, DeviceHook),
    /// The pin of a map.
    Map(usize, &'static str),
    /// A label.
    Label(CgroupId, String),
    /// What a table of places holds.
    Places(Places),
}

/// What.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    Detached,
    Replaced(String),
    Unpinned,
    OtherPin,
    Unlabelled,
    Changed,
}

impl Fault {
    /// A program that was found to be gone from a device which is there, and put back at once.
    pub(super) fn of_wire(device: u32, at: usize, hook: DeviceHook) -> Self {
        let part = Part::Wire(device, at, hook);
        let wrong = Wrong::Detached;
        Fault { part, wrong }
    }

    /// The same of a device of the node.
    pub(super) fn of_node(device: u32, hook: DeviceHook) -> Self {
        let part = Part::NodeDevice(device, hook);
        let wrong = Wrong::Detached;
        Fault { part, wrong }
    }

    /// Does what got past the gate go on, because nobody can end it? Streams and datagrams of IP are
    /// found and ended, and packets are asked one by one; a unix socket is not.
    pub fn lasts(&self) -> bool {
        matches!(self.part, Part::Layer(..)) && self.opened()
    }

    /// May a connect have got past the gate that this concerns?
    pub fn opened(&self) -> bool {
        match self.wrong {
            Wrong::Detached | Wrong::Replaced(_) | Wrong::Unlabelled | Wrong::Changed => true,
            Wrong::Unpinned | Wrong::OtherPin => false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = match &self.part {
            Part::Hook(_, hook) | Part::Layer(_, hook) => hook.program.to_owned(),
            Part::Wire(device, _, hook) | Part::NodeDevice(device, hook) => {
                format!("{} on device {device}", hook.program)
            }
            Part::Node => NODE.program.to_owned(),
            Part::Gate(_, _, gate, at) => format!("{} at {at}", gate.program),
            Part::Map(_, map) => format!("the map {map}"),
            Part::Label(_, at) => at.clone(),
            Part::Places(places) => format!("the map {}", places.name()),
        };
        match &self.wrong {
            Wrong::Detached => write!(f, "the link of {part} is detached"),
            Wrong::Replaced(by) => {
                write!(f, "another program, {by}, stands in the place of {part}")
            }
            Wrong::Unpinned => write!(f, "the pin of {part} is gone"),
            Wrong::OtherPin => write!(f, "something else is pinned in the place of {part}"),
            Wrong::Unlabelled => write!(f, "the label of {part} is gone or another's"),
            Wrong::Changed => write!(f, "somebody changed what {part} holds"),
        }
    }
}

/// A program and where it belongs.
struct Belongs<'a> {
    program: u32,
    pin: Option<&'a Path>,
}

impl Interceptor {
    /// What does not stand as it was made: links, the programs behind them and the pins of both
    /// gates, the pins of the maps, and the labels. Empty: all stands.
    ///
    /// # Errors
    /// The kernel does not tell, or there is nothing left to ask about: in words.
    pub fn faults(&self) -> Result<Vec<Fault>, String> {
        let silent = |error: io::Error| format!("the kernel does not tell of the links: {error}");
        if locked(&self.ebpf).is_none() {
            return Err(InterceptError::Uninstalled.to_string());
        }
        // What stands there is another agent's work once this one has let go.
        let Ok(_holding) = self.holding() else {
            return Ok(Vec::new());
        };
        let directory = self.settings().pin.as_deref();
        let mut faults = Vec::new();
        for (at, (link, hook)) in locked(&self.links).iter().zip(&HOOKS).enumerate() {
            let pin = directory.map(|directory| directory.join(hook.pin));
            let belongs = self.belongs(hook, pin.as_deref());
            if let Some(wrong) = belongs.wrong(link).map_err(silent)? {
                let part = Part::Hook(at, hook);
                faults.push(Fault { part, wrong });
            }
        }
        for (cgroup, links) in locked(&self.gates).iter() {
            for (at, (link, gate)) in links.iter().zip(&GATES).enumerate() {
                let pin = directory.map(|directory| directory.join(pins::gate_pin(gate, *cgroup)));
                let belongs = self.belongs(gate, pin.as_deref());
                let Some(wrong) = belongs.wrong(link).map_err(silent)? else {
                    continue;
                };
                // A cgroup that was removed takes its attachments with it.
                let Some(place) = self.still_there(*cgroup) else {
                    continue;
                };
                let part = Part::Gate(*cgroup, at, gate, place);
                faults.push(Fault { part, wrong });
            }
        }
        self.optional_faults(directory, &mut faults)
            .map_err(silent)?;
        for (cgroup, workload) in locked(&self.labels).iter() {
            if self.tables.label_at(*cgroup) != Some(*workload)
                && let Some(place) = self.still_there(*cgroup)
            {
                let part = Part::Label(*cgroup, place);
                let wrong = Wrong::Unlabelled;
                faults.push(Fault { part, wrong });
            }
        }
        for places in Places::ALL {
            if !self.tables.holds(places).map_err(silent)? {
                let part = Part::Places(places);
                let wrong = Wrong::Changed;
                faults.push(Fault { part, wrong });
            }
        }
        if let Some(directory) = directory {
            for (at, (map, kept)) in self.maps.iter().enumerate() {
                let path = directory.join(object::map_pin(map));
                let ours = kept.info().map(|info| info.id());
                let pinned = MapInfo::from_pin(&path).map(|info| info.id());
                let wrong = match (ours, pinned) {
                    (Ok(ours), Ok(pinned)) if ours == pinned => continue,
                    _ if !path.exists() => Wrong::Unpinned,
                    _ => Wrong::OtherPin,
                };
                let part = Part::Map(at, map);
                faults.push(Fault { part, wrong });
            }
        }
        Ok(faults)
    }

    /// What not every kernel or configuration has: layers, wires, the whole node.
    fn optional_faults(&self, directory: Option<&Path>, faults: &mut Vec<Fault>) -> io::Result<()> {
        for (at, layer) in locked(&self.layers).links.iter().enumerate() {
            let pin = directory.map(|directory| directory.join(layer.hook.pin));
            let belongs = Belongs {
                program: layer.number,
                pin: pin.as_deref(),
            };
            if let Some(wrong) = belongs.wrong(&layer.link)? {
                let part = Part::Layer(at, layer.hook);
                faults.push(Fault { part, wrong });
            }
        }
        let number = |hook: &DeviceHook| self.programs.get(hook.program).copied().unwrap_or(0);
        for (device, at, hook, wrong) in self.wire_faults(number)? {
            let part = Part::Wire(device, at, hook);
            faults.push(Fault { part, wrong });
        }
        faults.extend(self.wires.lost());
        if let Some(node) = locked(&self.node).as_ref() {
            let pin = directory.map(|directory| directory.join(NODE.pin));
            let belongs = self.belongs(&NODE, pin.as_deref());
            if let Some(wrong) = belongs.wrong(node.link())? {
                let part = Part::Node;
                faults.push(Fault { part, wrong });
            }
            for (device, hook, wrong) in node.wrong(number)? {
                let part = Part::NodeDevice(device, hook);
                faults.push(Fault { part, wrong });
            }
            faults.extend(node.lost());
        }
        Ok(())
    }

    /// Makes it stand again as it was made, and has what got through meanwhile looked for. What
    /// somebody put into the place of a part is taken away: the caller says so before.
    ///
    /// # Errors
    /// The first part that cannot be put back; the rest is not tried.
    pub fn put_back(&self, faults: &[Fault]) -> Result<(), InterceptError> {
        let _holding = self.holding()?;
        let directory = self.settings().pin.as_deref();
        if let Some(directory) = directory {
            // The whole mount may be gone.
            pins::mounted(directory)?;
        }
        for fault in faults {
            match &fault.part {
                Part::Hook(at, hook) => {
                    let mut links = locked(&self.links);
                    let Some(link) = links.get_mut(*at) else {
                        continue;
                    };
                    let pin = directory.map(|directory| directory.join(hook.pin));
                    self.mend(link, hook, self.mount.as_fd(), pin.as_deref(), &fault.wrong)?;
                }
                Part::Layer(at, hook) => {
                    let mut layers = locked(&self.layers);
                    // Uninstalled by now?
                    let Some(layer) = layers.links.get_mut(*at) else {
                        continue;
                    };
                    let place = self.mount.as_fd();
                    let (link, program) = (&mut layer.link, layer.program.as_fd());
                    stand(link, hook, program, place, &fault.wrong)?;
                    let pin = directory.map(|directory| directory.join(hook.pin));
                    pin_where_missing(&layer.link, pin.as_deref())?;
                }
                Part::Wire(device, at, _) => self.mend_wire(*device, *at, &fault.wrong)?,
                Part::Node => {
                    if let Some(node) = locked(&self.node).as_mut() {
                        let pin = directory.map(|directory| directory.join(NODE.pin));
                        let place = self.mount.as_fd();
                        let link = node.link_mut();
                        self.mend(link, &NODE, place, pin.as_deref(), &fault.wrong)?;
                    }
                }
                Part::NodeDevice(device, _) => {
                    if let Some(node) = locked(&self.node).as_ref() {
                        let ebpf = locked(&self.ebpf);
                        let ebpf = ebpf.as_ref().ok_or(InterceptError::Uninstalled)?;
                        node.mend(ebpf, *device, &fault.wrong)?;
                    }
                }
                Part::Gate(cgroup, at, gate, _) => {
                    let mut gates = locked(&self.gates);
                    // Unlabelled by now?
                    let Some(link) = gates.get_mut(cgroup).and_then(|links| links.get_mut(*at))
                    else {
                        continue;
                    };
                    let place = sys::open_cgroup(&self.mount, *cgroup);
                    let Ok(place) = place else { continue };
                    let pin =
                        directory.map(|directory| directory.join(pins::gate_pin(gate, *cgroup)));
                    let done = self.mend(link, gate, place.as_fd(), pin.as_deref(), &fault.wrong);
                    if let Err(error) = done
                        && self.still_there(*cgroup).is_some()
                    {
                        return Err(error);
                    }
                }
                Part::Label(cgroup, _) => {
                    let labels = locked(&self.labels);
                    // Unlabelled by now?
                    if let Some(workload) = labels.get(cgroup) {
                        self.tables.label(*cgroup, *workload)?;
                    }
                }
                Part::Places(places) => self.tables.hold(*places)?,
                Part::Map(at, map) => {
                    if let (Some((_, kept)), Some(directory)) = (self.maps.get(*at), directory) {
                        let path = directory.join(object::map_pin(map));
                        pin_again(&path, |path| sys::pin(kept.fd().as_fd(), path))?;
                    }
                }
            }
        }
        if faults.iter().any(Fault::opened) {
            self.gaps.fetch_add(1, Ordering::AcqRel);
            self.ask_for_audit();
        }
        Ok(())
    }

    /// Is what got through a gap still being looked for?
    pub fn unaudited(&self) -> bool {
        self.audited.load(Ordering::Acquire) < self.gaps.load(Ordering::Acquire)
    }

    /// Asks enrolment to look for what got through the gaps so far.
    pub fn ask_for_audit(&self) {
        let gap = Sighting::Gap(self.gaps.load(Ordering::Acquire));
        // Full: it is asked again.
        let _ = self.ear.sightings.try_send(gap);
    }

    fn belongs<'a>(&self, hook: &'static Hook, pin: Option<&'a Path>) -> Belongs<'a> {
        Belongs {
            program: self.programs.get(hook.program).copied().unwrap_or(0),
            pin,
        }
    }

    fn mend(
        &self,
        link: &mut Link,
        hook: &'static Hook,
        place: BorrowedFd<'_>,
        pin: Option<&Path>,
        wrong: &Wrong,
    ) -> Result<(), InterceptError> {
        let ebpf = locked(&self.ebpf);
        let ebpf = ebpf.as_ref().ok_or(InterceptError::Uninstalled)?;
        object::with_program(ebpf, hook.program, |program| {
            stand(link, hook, program, place, wrong)
        })?;
        pin_where_missing(link, pin)
    }

    /// Where a cgroup is, as long as it is there.
    fn still_there(&self, cgroup: CgroupId) -> Option<String> {
        let directory = sys::open_cgroup(&self.mount, cgroup).ok()?;
        let path = sys::path_of(directory.as_fd()).ok()?;
        let text = path.to_string_lossy();
        (!text.ends_with(" (deleted)")).then(|| text.into_owned())
    }
}

impl Belongs<'_> {
    fn wrong(&self, link: &Link) -> io::Result<Option<Wrong>> {
        let facts = link.facts()?;
        if facts.cgroup.0 == 0 {
            return Ok(Some(Wrong::Detached));
        }
        if facts.program != self.program {
            return Ok(Some(Wrong::Replaced(named(facts.program))));
        }
        Ok(self.pin.and_then(|path| pin_of_link(link, path)))
    }
}

/// Makes a link stand with its own program.
fn stand(
    link: &mut Link,
    hook: &Hook,
    program: BorrowedFd<'_>,
    place: BorrowedFd<'_>,
    wrong: &Wrong,
) -> Result<(), InterceptError> {
    match wrong {
        Wrong::Detached => *link = pins::create(hook, program, place)?,
        Wrong::Replaced(_) => {
            let failed = InterceptError::call(
                "bpf(BPF_LINK_UPDATE)",
                &hook.program,
                "restart the agent, which attaches anew",
            );
            link.update(program).map_err(failed)?;
        }
        Wrong::Unpinned | Wrong::OtherPin | Wrong::Unlabelled | Wrong::Changed => {}
    }
    Ok(())
}

/// What is wrong with the pin of a link that stands.
pub(super) fn pin_of_link(link: &Link, path: &Path) -> Option<Wrong> {
    match Link::pinned(path) {
        Ok(None) => Some(Wrong::Unpinned),
        Ok(Some(pinned)) => {
            let same = pinned.is_one()
                && matches!((pinned.facts(), link.facts()), (Ok(a), Ok(b)) if a.id == b.id);
            (!same).then_some(Wrong::OtherPin)
        }
        // A directory, say.
        Err(error) => {
            tracing::debug!(%error, path = %path.display(), "a pin that is none");
            Some(Wrong::OtherPin)
        }
    }
}

fn pin_where_missing(link: &Link, pin: Option<&Path>) -> Result<(), InterceptError> {
    match pin {
        Some(path) if pin_of_link(link, path).is_some() => pin_again(path, |path| link.pin(path)),
        Some(_) | None => Ok(()),
    }
}

/// Pins in the place of whatever is there.
pub(super) fn pin_again(
    path: &Path,
    pin: impl FnOnce(&Path) -> io::Result<()>,
) -> Result<(), InterceptError> {
    let at = |call| InterceptError::call(call, &path.display(), "remove it by hand");
    let removed = match fs::symlink_metadata(path) {
        Ok(there) if there.is_dir() => fs::remove_dir(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    };
    removed.map_err(at("unlink"))?;
    pin(path).map_err(at("bpf(BPF_OBJ_PIN)"))
}

/// A program by its number, for a reader.
pub(super) fn named(number: u32) -> String {
    let name = aya::programs::loaded_programs()
        .flatten()
        .find(|info| info.id() == number)
        .and_then(|info| info.name_as_str().map(str::to_owned));
    match name {
        // Whoever loaded it chose the name.
        Some(name) => format!("{:?} (id {number})", name),
        None => format!("id {number}"),
    }
}
