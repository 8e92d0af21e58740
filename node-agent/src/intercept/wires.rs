//! Filters below the sockets, at the host's ends of the wires that lead into network namespaces
//! with labelled tasks. They ask the packet and nobody else, so it does not matter what made it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Mutex;

use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData};
use node_agent_common::{flow, names};

use super::devices::{self, Held, Spot, hold, holds, let_go, pin_of, pinned, stands};
use super::intact::Wrong;
use super::netlink::{self, Carries, Device, Route, Side};
use super::object::{self, DeviceHook, WIRE, WIRE_IN};
use super::tables::{Tables, locked};
use super::{Fault, InterceptError, Interceptor, NodeWide, Settings, WorkloadIndex, node, pins};
use crate::model::CgroupId;

/// A device of a labelled namespace that nothing is filtered at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unfiltered {
    /// Its name in there.
    pub device: String,
    /// Why not.
    pub why: String,
}

/// Whose wire it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The inode of the namespace.
    pub netns: u64,
    /// A labelled cgroup with tasks in it.
    pub cgroup: CgroupId,
    /// Its workload.
    pub workload: WorkloadIndex,
}

/// The programs on one device, and whose it is.
#[derive(Debug)]
struct Wire {
    owner: Owner,
    held: Vec<Held>,
}

/// All of them, by the device's number.
#[derive(Debug)]
pub(super) struct Wires {
    /// The namespace whose ends are filtered: that in which the agent was started.
    home: File,
    pub(super) route: Route,
    held: Mutex<BTreeMap<u32, Wire>>,
    /// What was found to be gone and put back, until somebody was told.
    lost: Mutex<Vec<Fault>>,
    /// Why there are no filters.
    absent: Option<String>,
    /// What tells this agent's filters of traffic control from another's.
    pub(super) handle: u32,
    stays: bool,
}

/// Where a device leads.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Leads {
    /// Nowhere but to its own namespace.
    Inside,
    /// To that device of the agent's namespace.
    Home(u32),
    /// Past every filter.
    Past(String),
}

/// Devices that lead to their own namespace when they lie upon nothing elsewhere.
const INSIDE: [&str; 24] = [
    "veth",
    "vlan",
    "macvlan",
    "macvtap",
    "ipvlan",
    "ipvtap",
    "macsec",
    "bridge",
    "bond",
    "team",
    "dummy",
    "ifb",
    "nlmon",
    "vrf",
    "ipip",
    "sit",
    "gre",
    "gretap",
    "erspan",
    "ip6tnl",
    "ip6gre",
    "ip6gretap",
    "ip6erspan",
    "vti",
];

fn leads(device: &Device, home: Option<i32>) -> Leads {
    if device.carries == Carries::Loopback {
        return Leads::Inside;
    }
    match (device.kind.as_str(), device.link, device.elsewhere) {
        ("veth", Some(peer), Some(number)) if Some(number) == home => Leads::Home(peer),
        ("veth", _, Some(_)) => Leads::Past("its other end is not on this host's network".into()),
        ("netkit", _, _) => Leads::Past("netkit is not known here".into()),
        (kind, _, None) if INSIDE.contains(&kind) || kind == "vti6" => Leads::Inside,
        ("", _, _) => Leads::Past("it is a device of its own, with no end on this host".into()),
        ("tun", _, _) => Leads::Past("its other end is whatever process holds it".into()),
        (kind, _, _) => Leads::Past(format!("{kind} has no end on this host's network")),
    }
}

impl Wires {
    pub(super) fn new(
        stays: bool,
        handle: u32,
        absent: Option<String>,
    ) -> Result<Self, InterceptError> {
        let at = "/proc/thread-self/ns/net";
        let mend = "mount /proc";
        let home = File::open(at).map_err(InterceptError::call("open", &at, mend))?;
        let route = Route::here().map_err(InterceptError::call(
            "socket(NETLINK_ROUTE)",
            &"devices",
            "raise the limit of open files",
        ))?;
        Ok(Wires {
            home,
            route,
            held: Mutex::default(),
            lost: Mutex::default(),
            absent,
            handle: 0x6e61_0000 | handle,
            stays,
        })
    }

    /// Takes over what an earlier agent left, with this agent's programs in the place of its own,
    /// and forgets what went with its device.
    pub(super) fn take_over(
        &self,
        ebpf: &Ebpf,
        tables: &Tables,
        settings: &Settings,
    ) -> Result<(), InterceptError> {
        let pin = settings.pin.as_deref();
        let node_wide = settings.node_wide == NodeWide::On;
        if let (Some(pin), false) = (pin, node_wide) {
            pins::remove_link(&pin.join(object::NODE.pin))?;
        }
        for (device, record) in tables.wires()? {
            if device & NODE != 0 {
                if !node_wide {
                    node::forget(&self.route, tables, pin, device, record.filter)?;
                }
                continue;
            }
            let owner = Owner {
                netns: record.netns,
                cgroup: CgroupId(record.cgroup),
                workload: WorkloadIndex(record.label.saturating_sub(1)),
            };
            let there = match pin {
                Some(pin) => pinned(&pin.join(pin_of(&WIRE, device)), device)?,
                None => false,
            };
            if self.absent.is_some() {
                continue; // what is there goes on with its own program
            }
            if there || self.route.has_filter(device, WIRE.side, record.filter) {
                let held = self.hold_all(ebpf, device, pin)?;
                locked(&self.held).insert(device, Wire { owner, held });
                if record.filter != self.handle {
                    for side in [Side::Received, Side::Sent] {
                        self.route
                            .unfilter(device, side, record.filter)
                            .map_err(InterceptError::call("tc filter", &device, "`ip link`"))?;
                    }
                    let filter = self.handle;
                    tables.wire(device, flow::Wire { filter, ..record })?;
                }
            } else {
                forget_pins(pin, device)?;
                tables.forget_wire(device)?;
            }
        }
        Ok(())
    }

    /// The handle of the filters of the node-wide mode, which share devices with those of wires.
    pub(super) fn node_handle(&self) -> u32 {
        self.handle ^ 0x0003_0000
    }

    fn hold_all(
        &self,
        ebpf: &Ebpf,
        device: u32,
        pin: Option<&Path>,
    ) -> Result<Vec<Held>, InterceptError> {
        ON_WIRE
            .iter()
            .map(|hook| hold(ebpf, &self.route, hook, device, self.handle, pin))
            .collect()
    }

    /// What was found to be gone and put back since this was asked the last time.
    pub(super) fn lost(&self) -> Vec<Fault> {
        std::mem::take(&mut *locked(&self.lost))
    }

    fn let_go(&self, held: Vec<Held>, device: u32) -> Result<(), InterceptError> {
        held.into_iter()
            .try_for_each(|held| let_go(&self.route, held))
            .map_err(InterceptError::call(
                "detach",
                &format!("device {device}"),
                "`node-agent uninstall`, then start again",
            ))
    }
}

impl Drop for Wires {
    fn drop(&mut self) {
        // A link ends with the process; a filter would not.
        if !self.stays {
            for (device, wire) in std::mem::take(&mut *locked(&self.held)) {
                if let Err(error) = self.let_go(wire.held, device) {
                    tracing::warn!(%error, device, "a filter stays");
                }
            }
        }
    }
}

/// What stands at a wire. What looks at answers comes first.
const ON_WIRE: [DeviceHook; 2] = [WIRE_IN, WIRE];

/// In the table of wires: a device of the node itself.
pub(super) const NODE: u32 = 1 << 31;

fn forget_pins(pin: Option<&Path>, device: u32) -> Result<(), InterceptError> {
    let Some(pin) = pin else { return Ok(()) };
    [WIRE, WIRE_IN]
        .iter()
        .try_for_each(|hook| pins::remove_link(&pin.join(pin_of(hook, device))))
}

impl Interceptor {
    /// Filters at the host's end of every wire of a namespace with labelled tasks, and says which
    /// of its devices have no such end. Call it again for devices that come later: what is
    /// filtered already is left alone.
    ///
    /// # Errors
    /// The namespace's devices cannot be listed, or a filter cannot be attached. What was attached
    /// by then stays. This agent let go.
    pub fn filter(
        &self,
        netns: BorrowedFd<'_>,
        owner: Owner,
    ) -> Result<Vec<Unfiltered>, InterceptError> {
        let _holding = self.holding()?;
        let wires = &self.wires;
        let listed = |e| {
            InterceptError::call(
                "rtnetlink",
                &"a workload's network namespace",
                "the agent needs CAP_SYS_ADMIN and CAP_NET_ADMIN",
            )(e)
        };
        let home: OwnedFd = wires.home.as_fd().try_clone_to_owned().map_err(listed)?;
        let same = wires.home.metadata().map_err(listed)?.ino() == owner.netns;
        if same {
            return Ok(Vec::new());
        }
        let (devices, home) = netlink::inside(netns, move |route| {
            Ok((route.devices()?, route.number_of(home.as_fd())?))
        })
        .map_err(listed)?;
        let mut past = Vec::new();
        let mut ends = BTreeSet::new();
        for device in &devices {
            match leads(device, home) {
                Leads::Inside => {}
                Leads::Home(end) => {
                    match &wires.absent {
                        None => self.filter_at(end, owner)?,
                        Some(why) => past.push(Unfiltered {
                            device: device.name.clone(),
                            why: why.clone(),
                        }),
                    }
                    ends.insert(end);
                }
                Leads::Past(why) => past.push(Unfiltered {
                    device: device.name.clone(),
                    why,
                }),
            }
        }
        let gone = |end: &u32, wire: &Wire| wire.owner.netns == owner.netns && !ends.contains(end);
        self.let_go_where(gone)?;
        Ok(past)
    }

    fn filter_at(&self, end: u32, owner: Owner) -> Result<(), InterceptError> {
        let wires = &self.wires;
        let mut held = locked(&wires.held);
        // The kernel is asked once.
        let at_work: Option<Vec<bool>> = held.get(&end).map(|wire| {
            let programs = wire.held.iter();
            programs.map(|held| holds(&wires.route, held, end)).collect()
        });
        let whole = at_work.as_ref().is_some_and(|all| all.iter().all(|it| *it));
        if whole && held.get(&end).is_some_and(|wire| wire.owner == owner) {
            return Ok(());
        }
        let label = owner
            .workload
            .0
            .checked_add(1)
            .ok_or(InterceptError::Workload(owner.workload.0))?;
        let record = flow::Wire {
            netns: owner.netns,
            cgroup: owner.cgroup.0,
            label,
            filter: wires.handle,
        };
        // In the table first: what is filtered is filtered in somebody's name.
        self.tables.wire(end, record)?;
        if whole {
            if let Some(wire) = held.get_mut(&end) {
                wire.owner = owner;
            }
            return Ok(());
        }
        let pin = self.settings().pin.as_deref();
        if let Some(at_work) = at_work {
            // Its other end is there, so it is: somebody took the filter away.
            let programs = at_work.iter().zip(&ON_WIRE).enumerate();
            let gone = programs.filter(|(_, (at_work, _))| !**at_work);
            locked(&wires.lost).extend(gone.map(|(at, (_, hook))| Fault::of_wire(end, at, *hook)));
        }
        let programs = self.with_ebpf(|ebpf| wires.hold_all(ebpf, end, pin))?;
        tracing::info!(
            device = end,
            workload = owner.workload.0,
            "filtering at the host's end of a wire"
        );
        held.insert(
            end,
            Wire {
                owner,
                held: programs,
            },
        );
        Ok(())
    }

    /// Takes the filters of a namespace away. None there is no error.
    ///
    /// # Errors
    /// When the kernel refuses, or this agent let go.
    pub fn unfilter(&self, netns: u64) -> Result<(), InterceptError> {
        let _holding = self.holding()?;
        self.let_go_where(|_, wire| wire.owner.netns == netns)
    }

    /// The namespaces with filters, with the labelled cgroup each has them for.
    pub fn filtered(&self) -> Vec<(u64, CgroupId)> {
        let held = locked(&self.wires.held);
        held.values()
            .map(|wire| (wire.owner.netns, wire.owner.cgroup))
            .collect()
    }

    /// Is a wire of this namespace filtered at this moment?
    pub fn filters(&self, netns: u64) -> bool {
        let wires = &self.wires;
        let held = locked(&wires.held);
        let mut these = held
            .iter()
            .filter(|(_, wire)| wire.owner.netns == netns)
            .flat_map(|(end, wire)| wire.held.iter().map(|held| (*end, held)))
            .peekable();
        these.peek().is_some() && these.all(|(end, held)| holds(&wires.route, held, end))
    }

    /// Forgets filters whose devices are gone.
    pub fn forget_gone_wires(&self) {
        // Numbers of devices that are gone may stand for the next agent's.
        let Ok(_holding) = self.holding() else {
            return;
        };
        let route = &self.wires.route;
        let up = |end: u32, wire: &Wire| wire.held.iter().any(|held| stands(route, held, end));
        let there = {
            let held = locked(&self.wires.held);
            if held.iter().all(|(end, wire)| up(*end, wire)) {
                return;
            }
            route.devices()
        };
        let there: BTreeSet<u32> = match there {
            Ok(devices) => devices.iter().map(|device| device.index).collect(),
            Err(error) => {
                tracing::warn!(%error, "devices that are gone are still remembered");
                return;
            }
        };
        // Of a device that is there somebody took the filter away, which is put back.
        let gone = |end: &u32, wire: &Wire| !up(*end, wire) && !there.contains(end);
        if let Err(error) = self.let_go_where(gone) {
            tracing::warn!(%error, "a filter whose device is gone is still remembered");
        }
    }

    /// What is not as it was made, of devices that are there: the device, which of its programs,
    /// and what.
    pub(super) fn wire_faults(
        &self,
        program: impl Fn(&DeviceHook) -> u32,
    ) -> std::io::Result<Vec<(u32, usize, DeviceHook, Wrong)>> {
        let (route, held) = (&self.wires.route, locked(&self.wires.held));
        let mut faults = Vec::new();
        for (end, wire) in held.iter() {
            for (at, (held, hook)) in wire.held.iter().zip(&ON_WIRE).enumerate() {
                if let Some(wrong) = devices::wrong(route, held, *end, program(hook))? {
                    faults.push((*end, at, *hook, wrong));
                }
            }
        }
        if !faults.is_empty() {
            let there = route.devices()?;
            faults.retain(|(end, ..)| there.iter().any(|device| device.index == *end));
        }
        Ok(faults)
    }

    /// Puts one back, unless that was done since, or nobody wants it any more.
    pub(super) fn mend_wire(
        &self,
        device: u32,
        at: usize,
        wrong: &Wrong,
    ) -> Result<(), InterceptError> {
        let wires = &self.wires;
        let mut all = locked(&wires.held);
        let Some(hook) = ON_WIRE.get(at) else {
            return Ok(());
        };
        let Some(held) = all.get_mut(&device).and_then(|wire| wire.held.get_mut(at)) else {
            return Ok(());
        };
        if *wrong == Wrong::Detached && holds(&wires.route, held, device) {
            return Ok(());
        }
        let spot = Spot {
            hook,
            device,
            handle: wires.handle,
            pin: self.settings().pin.as_deref(),
        };
        self.with_ebpf(|ebpf| devices::mend(ebpf, &wires.route, spot, held, wrong))
    }

    /// Takes away the filters of traffic control of an agent that no longer runs, as its pins tell
    /// of them. Links are pinned themselves.
    pub(super) fn unfilter_pinned(directory: &Path) -> Result<(), InterceptError> {
        let path = directory.join(object::map_pin(names::WIRES));
        if !path.exists() {
            return Ok(());
        }
        let map = MapData::from_pin(&path).map_err(InterceptError::map(names::WIRES))?;
        let map: HashMap<_, u32, flow::Wire> =
            HashMap::try_from(Map::HashMap(map)).map_err(InterceptError::map(names::WIRES))?;
        let failed = |e| InterceptError::call("tc filter", &"devices", "`tc filter del`")(e);
        let route = Route::here().map_err(failed)?;
        for (device, record) in map.iter().flatten() {
            for side in [Side::Received, Side::Sent] {
                route
                    .unfilter(device & !NODE, side, record.filter)
                    .map_err(failed)?;
            }
        }
        Ok(())
    }

    pub(super) fn let_all_wires_go(&self) -> Result<(), InterceptError> {
        self.let_go_where(|_, _| true)
    }

    fn let_go_where(&self, which: impl Fn(&u32, &Wire) -> bool) -> Result<(), InterceptError> {
        let wires = &self.wires;
        let mut held = locked(&wires.held);
        let these: Vec<u32> = held
            .iter()
            .filter(|(end, wire)| which(end, wire))
            .map(|(end, _)| *end)
            .collect();
        for end in these {
            if let Some(wire) = held.remove(&end) {
                wires.let_go(wire.held, end)?;
                self.tables.forget_wire(end)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_wire_to_the_agent_s_network_is_filtered_and_what_leads_past_it_is_said() {
        let device = |kind: &str, link, elsewhere| Device {
            index: 2,
            name: "eth0".into(),
            carries: Carries::Frames,
            kind: kind.into(),
            link,
            elsewhere,
        };
        let home = Some(4);
        for (kind, link, elsewhere, want) in [
            ("veth", Some(7), Some(4), Some(Leads::Home(7))),
            ("veth", Some(7), None, Some(Leads::Inside)),
            ("veth", Some(7), Some(5), None),
            ("veth", None, Some(4), None),
            ("macvlan", Some(7), Some(4), None),
            ("macvlan", Some(2), None, Some(Leads::Inside)),
            ("ipvlan", Some(7), Some(4), None),
            ("dummy", None, None, Some(Leads::Inside)),
            ("ipip", None, None, Some(Leads::Inside)),
            ("ipip", None, Some(4), None),
            ("tun", None, None, None),
            ("wireguard", None, None, None),
            ("netkit", Some(7), Some(4), None),
            ("", None, None, None),
        ] {
            let got = leads(&device(kind, link, elsewhere), home);
            match want {
                Some(want) => assert_eq!(got, want, "{kind} {link:?} {elsewhere:?}"),
                None => assert!(matches!(got, Leads::Past(_)), "{kind} {got:?}"),
            }
        }
        // Where the agent's network has no number nothing leads to it.
        let got = leads(&device("veth", Some(7), Some(4)), None);
        assert!(matches!(got, Leads::Past(_)), "{got:?}");
    }
}
