//! The node-wide mode: only the agent's own cgroup sends to protected addresses. A program at the
//! cgroup the others are attached to asks each socket's packets, one on each device what sockets
//! of this node did not send: forwarded packets, and those made below the sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};

use aya::Ebpf;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::devices::{self, Held, Spot};
use super::intact::Wrong;
use super::netlink::{Carries, Device, Route, Side};
use super::object::{self, DeviceHook, NODE, NODE_FRAME, NODE_PACKET};
use super::sys::Link;
use super::tables::{Tables, locked};
use super::wires;
use super::{Fault, InterceptError, pins};
use crate::model::CgroupId;
use node_agent_common::flow;

/// Devices that come are told of; this often all are looked at even so.
const LOOK: Timespec = Timespec {
    tv_sec: 2,
    tv_nsec: 0,
};

/// How often a look is begun again because a device came or went meanwhile.
const LOOKS: usize = 16;

/// The mode at work.
#[derive(Debug)]
pub(super) struct NodeWide {
    /// At the cgroup.
    link: Link,
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
    stop: Arc<OwnedFd>,
}

#[derive(Debug)]
struct Shared {
    route: Route,
    handle: u32,
    pin: Option<std::path::PathBuf>,
    held: Mutex<BTreeMap<u32, (DeviceHook, Held)>>,
    /// What was found to be gone and put back, until somebody was told.
    lost: Mutex<Vec<Fault>>,
    /// What stands against it now.
    trouble: Mutex<Option<String>>,
}

/// The objects a look at the devices needs.
pub(super) struct Needs {
    pub(super) ebpf: Arc<Mutex<Option<Ebpf>>>,
    pub(super) tables: Arc<Tables>,
}

fn hook(device: &Device) -> Result<Option<DeviceHook>, InterceptError> {
    Ok(match device.carries {
        Carries::Frames => Some(NODE_FRAME),
        Carries::Packets => Some(NODE_PACKET),
        // What goes to loopback comes from a socket of this node, and is asked with it.
        Carries::Loopback | Carries::Nothing => None,
        // Attached to and not understood, it would let everything out.
        Carries::Unread => {
            let mend = "guard.node_wide: off on this node, or take the device down (`ip link set down`)";
            let unread = std::io::Error::other("what its packets begin with is not known here");
            return Err(InterceptError::call("attach", &device.name, mend)(unread));
        }
    })
}

impl NodeWide {
    /// Attaches everywhere. All or nothing: half of it would be a promise that is not kept.
    pub(super) fn start(
        needs: Needs,
        cgroup: BorrowedFd<'_>,
        id: CgroupId,
        pin: Option<&Path>,
        handle: u32,
    ) -> Result<Self, InterceptError> {
        let failed = |e| {
            let mend = "raise the limit of open files";
            InterceptError::call("socket(NETLINK_ROUTE)", &"devices", mend)(e)
        };
        // Told first, looked at then: no device comes in between.
        let told = Route::told().map_err(failed)?;
        let shared = Arc::new(Shared {
            route: Route::here().map_err(failed)?,
            handle,
            pin: pin.map(Path::to_owned),
            held: Mutex::default(),
            lost: Mutex::default(),
            trouble: Mutex::default(),
        });
        let before = needs.tables.wires()?;
        {
            let ebpf = locked(&needs.ebpf);
            let ebpf = ebpf.as_ref().ok_or(InterceptError::Uninstalled)?;
            shared.look(ebpf, &needs.tables)?;
        }
        shared.clear_up(&needs.tables, &before)?;
        let link = {
            let ebpf = locked(&needs.ebpf);
            let ebpf = ebpf.as_ref().ok_or(InterceptError::Uninstalled)?;
            object::with_program(ebpf, NODE.program, |program| match pin {
                None => pins::create(&NODE, program, cgroup),
                Some(pin) => pins::pinned(&NODE, program, cgroup, id, pin),
            })?
        };
        let stop = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC);
        let stop = Arc::new(stop.map_err(|e| failed(e.into()))?);
        let thread = {
            let (shared, stop) = (Arc::downgrade(&shared), Arc::clone(&stop));
            std::thread::Builder::new()
                .name("node-devices".into())
                .spawn(move || follow(&shared, &needs, &told, &stop))
                .map_err(failed)?
        };
        Ok(NodeWide {
            link,
            shared,
            thread: Some(thread),
            stop,
        })
    }

    /// Why it is not whole at this moment, if so.
    pub(super) fn trouble(&self) -> Option<String> {
        match self.link.facts() {
            Ok(facts) if facts.cgroup.0 != 0 => locked(&self.shared.trouble).clone(),
            Ok(_) => Some("the program that asks the node's sockets is detached".to_owned()),
            Err(error) => Some(format!("the kernel does not tell of its link: {error}")),
        }
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    pub(super) fn link_mut(&mut self) -> &mut Link {
        &mut self.link
    }

    /// What was found to be gone and put back since this was asked the last time.
    pub(super) fn lost(&self) -> Vec<Fault> {
        std::mem::take(&mut *locked(&self.shared.lost))
    }

    /// What is not as it was made, of devices that are there.
    pub(super) fn wrong(
        &self,
        program: impl Fn(&DeviceHook) -> u32,
    ) -> std::io::Result<Vec<(u32, DeviceHook, Wrong)>> {
        let (route, held) = (&self.shared.route, locked(&self.shared.held));
        let mut faults = Vec::new();
        for (device, (hook, held)) in held.iter() {
            if let Some(wrong) = devices::wrong(route, held, *device, program(hook))? {
                faults.push((*device, *hook, wrong));
            }
        }
        if !faults.is_empty() {
            let there = route.devices()?;
            faults.retain(|(at, ..)| there.iter().any(|device| device.index == *at));
        }
        Ok(faults)
    }

    /// Puts one back, unless that was done since.
    pub(super) fn mend(
        &self,
        ebpf: &Ebpf,
        device: u32,
        wrong: &Wrong,
    ) -> Result<(), InterceptError> {
        let shared = &self.shared;
        let mut all = locked(&shared.held);
        let Some((hook, held)) = all.get_mut(&device) else {
            return Ok(());
        };
        if *wrong == Wrong::Detached && devices::holds(&shared.route, held, device) {
            return Ok(());
        }
        let spot = Spot {
            hook,
            device,
            handle: shared.handle,
            pin: shared.pin.as_deref(),
        };
        devices::mend(ebpf, &shared.route, spot, held, wrong)
    }

    /// Takes it all away.
    pub(super) fn let_go(&mut self, tables: &Tables) -> Result<(), InterceptError> {
        self.halt();
        let failed = |e| {
            let mend = "uninstall again";
            InterceptError::call("detach", &"the node's devices", mend)(e)
        };
        pins::detach(&self.link).map_err(failed)?;
        for (device, (_, held)) in std::mem::take(&mut *locked(&self.shared.held)) {
            devices::let_go(&self.shared.route, held).map_err(failed)?;
            tables.forget_wire(device | wires::NODE)?;
        }
        Ok(())
    }

    /// Follows the devices no more, and is not in the middle of it either.
    pub(super) fn halt(&mut self) {
        let told = rustix::io::write(&*self.stop, &1u64.to_ne_bytes());
        if let (Ok(_), Some(thread)) = (told, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

/// Takes away what an earlier agent left on a device of the node, as the table of wires names it.
pub(super) fn forget(
    route: &Route,
    tables: &Tables,
    pin: Option<&Path>,
    entry: u32,
    handle: u32,
) -> Result<(), InterceptError> {
    let device = entry & !wires::NODE;
    if let Some(pin) = pin {
        for hook in [NODE_FRAME, NODE_PACKET] {
            pins::remove_link(&pin.join(devices::pin_of(&hook, device)))?;
        }
    }
    route
        .unfilter(device, Side::Sent, handle)
        .map_err(InterceptError::call("tc filter", &device, "`ip link`"))?;
    tables.forget_wire(entry)
}

impl Drop for NodeWide {
    fn drop(&mut self) {
        self.halt();
        if self.shared.pin.is_none() {
            for (device, (_, held)) in std::mem::take(&mut *locked(&self.shared.held)) {
                if let Err(error) = devices::let_go(&self.shared.route, held) {
                    tracing::warn!(%error, device, "a filter stays");
                }
            }
        }
    }
}

enum Seen {
    All,
    Changed,
}

impl Shared {
    /// Looks until the devices stay as they are while they are looked at.
    fn look(&self, ebpf: &Ebpf, tables: &Tables) -> Result<(), InterceptError> {
        for _ in 0..LOOKS {
            match self.look_once(ebpf, tables)? {
                Seen::All => return Ok(()),
                Seen::Changed => {}
            }
        }
        let unsteady = std::io::Error::other("they change faster than they can be looked at");
        Err(InterceptError::call("rtnetlink", &"devices", "start again")(unsteady))
    }

    /// What an earlier agent left and this one has not taken over: devices that are gone, and
    /// filters under another handle, which still exempt that agent's cgroup and not this one's.
    fn clear_up(
        &self,
        tables: &Tables,
        before: &[(u32, flow::Wire)],
    ) -> Result<(), InterceptError> {
        for (entry, record) in before.iter().filter(|(entry, _)| entry & wires::NODE != 0) {
            let device = entry & !wires::NODE;
            if !locked(&self.held).contains_key(&device) {
                forget(
                    &self.route,
                    tables,
                    self.pin.as_deref(),
                    *entry,
                    record.filter,
                )?;
            } else if record.filter != self.handle {
                self.route
                    .unfilter(device, Side::Sent, record.filter)
                    .map_err(InterceptError::call("tc filter", &device, "`ip link`"))?;
            }
        }
        Ok(())
    }

    /// Attaches to devices that are new, and forgets those that went.
    fn look_once(&self, ebpf: &Ebpf, tables: &Tables) -> Result<Seen, InterceptError> {
        let devices = self.route.devices().map_err(InterceptError::call(
            "rtnetlink",
            &"devices",
            "the agent needs CAP_NET_ADMIN",
        ))?;
        let mut held = locked(&self.held);
        let mut there = BTreeSet::new();
        let mut failure = None;
        for device in &devices {
            let hook = match hook(device) {
                Ok(Some(hook)) => hook,
                Ok(None) => continue,
                Err(error) => {
                    failure = Some(error);
                    continue;
                }
            };
            there.insert(device.index);
            let at_work = held
                .get(&device.index)
                .is_some_and(|(_, held)| devices::holds(&self.route, held, device.index));
            if at_work {
                continue;
            }
            if let Some((hook, _)) = held.get(&device.index) {
                // The device is there: somebody took the program away.
                locked(&self.lost).push(Fault::of_node(device.index, *hook));
            }
            let record = flow::Wire {
                netns: 0,
                cgroup: 0,
                label: 0,
                filter: self.handle,
            };
            let done = tables
                .wire(device.index | wires::NODE, record)
                .and_then(|()| {
                    let pin = self.pin.as_deref();
                    devices::hold(ebpf, &self.route, &hook, device.index, self.handle, pin)
                });
            match done {
                Ok(new) => drop(held.insert(device.index, (hook, new))),
                // It may be gone again: the others are attached to all the same.
                Err(error) => failure = Some(error),
            }
        }
        let gone: Vec<u32> = held
            .keys()
            .filter(|device| !there.contains(device))
            .copied()
            .collect();
        for device in gone {
            if let Some((_, gone)) = held.remove(&device)
                && let Err(error) = devices::let_go(&self.route, gone)
            {
                tracing::debug!(%error, device, "a device went with its filter");
            }
            tables.forget_wire(device | wires::NODE)?;
        }
        match failure {
            // A device that went while it was looked at is no failure: then the next look is due.
            Some(error) => match self.route.devices() {
                Ok(now) if now != devices => Ok(Seen::Changed),
                Ok(_) | Err(_) => Err(error),
            },
            None => Ok(Seen::All),
        }
    }
}

/// Until told to stop: whenever devices changed, and every now and then.
fn follow(shared: &Weak<Shared>, needs: &Needs, told: &Route, stop: &OwnedFd) {
    loop {
        let mut fds = [
            PollFd::new(stop, PollFlags::IN),
            PollFd::from_borrowed_fd(told.as_fd(), PollFlags::IN),
        ];
        match poll(&mut fds, Some(&LOOK)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                tracing::error!(%error, "new devices of the node are not followed any more");
                return;
            }
        }
        let [stopped, _] = &fds;
        if !stopped.revents().is_empty() {
            return;
        }
        told.drain();
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let ebpf = locked(&needs.ebpf);
        let Some(ebpf) = ebpf.as_ref() else { return };
        let now = shared.look(ebpf, &needs.tables).err();
        let now = now.map(|error| error.to_string());
        let mut trouble = locked(&shared.trouble);
        if *trouble != now {
            match &now {
                Some(error) => {
                    tracing::error!(error, "not every device of the node keeps to the agent")
                }
                None => tracing::info!("every device of the node keeps to the agent again"),
            }
        }
        *trouble = now;
    }
}
