//! Filters at the host's ends of the wires that lead to labelled tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use super::namespaces::{self, Inode};
use super::reason::Reason;
use super::state::State;
use super::{Governs, WorkloadIndex};
use crate::intercept::{Owner, Unfiltered};
use crate::model::{CgroupId, Pid};

/// What is known of a namespace's wires.
#[derive(Debug)]
struct Known {
    /// The labelled cgroups that had tasks in it. The filters stay while one of these labels does:
    /// a process that moves out of its cgroup does not take them away by it.
    cgroups: BTreeSet<CgroupId>,
    /// In whose name packets are dropped.
    owner: Option<Owner>,
    outcome: Result<Vec<Unfiltered>, String>,
    looked: Instant,
}

/// The wires of all namespaces but the agent's own.
#[derive(Debug, Default)]
pub(super) struct Wires {
    known: BTreeMap<Inode, Known>,
    own: Option<Inode>,
}

/// How often a namespace may be looked at for its own sake, however many programs start there.
const REST: Duration = Duration::from_millis(90);

/// When a namespace is looked at though it was before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// Whatever was found.
    Always,
    /// When not all of its devices are filtered, or none is there yet.
    Unless,
}

impl Wires {
    /// The agent's own namespace has no wire to be filtered at; filters of an earlier agent stay
    /// for as long as their labels do.
    pub(super) fn settle(&mut self, governs: &dyn Governs) {
        self.own = namespaces::open(Path::new("/proc/self/ns/net"))
            .ok()
            .map(|(inode, _)| inode);
        for (netns, cgroup) in governs.filtered() {
            let known = self.known.entry(Inode(netns)).or_insert_with(|| Known {
                cgroups: BTreeSet::new(),
                owner: None,
                outcome: Ok(Vec::new()),
                looked: Instant::now(),
            });
            known.cgroups.insert(cgroup);
        }
    }

    /// Filters what leads to a labelled process. True when what is known of its namespace changed.
    fn look(
        &mut self,
        governs: &dyn Governs,
        pid: Pid,
        cgroup: CgroupId,
        workload: WorkloadIndex,
        again: Again,
    ) -> bool {
        let path = format!("/proc/{pid}/ns/net");
        let Ok((inode, netns)) = namespaces::open(Path::new(&path)) else {
            return false;
        };
        if Some(inode) == self.own {
            return false;
        }
        let before = self.known.get_mut(&inode);
        let mut owner = Owner {
            netns: inode.0,
            cgroup,
            workload,
        };
        if let Some(known) = before {
            known.cgroups.insert(cgroup);
            // Several workloads may share a namespace: the first one stands for all.
            owner = known.owner.unwrap_or(owner);
            let whole = known.owner.is_some() && known.outcome.as_ref().is_ok_and(Vec::is_empty);
            // What is known may be of a namespace that is gone and had the same number, or from
            // before it had a wire.
            let rest = known.looked.elapsed() < REST;
            if again == Again::Unless && (rest || (whole && governs.filters(inode.0))) {
                return false;
            }
        }
        let outcome = governs
            .filter(netns.as_fd(), owner)
            .map_err(|error| error.to_string());
        let cgroups = match self.known.remove(&inode) {
            Some(known) if known.outcome == outcome => {
                let known = Known {
                    looked: Instant::now(),
                    owner: Some(owner),
                    ..known
                };
                self.known.insert(inode, known);
                return false;
            }
            Some(known) => known.cgroups,
            None => BTreeSet::from([cgroup]),
        };
        match &outcome {
            Ok(past) if past.is_empty() => {}
            Ok(past) => {
                tracing::warn!(%pid, ?past, "devices of a labelled namespace are not governed at packet level");
            }
            Err(error) => {
                tracing::error!(%pid, error, "the wires of a labelled namespace are not governed at packet level");
            }
        }
        let known = Known {
            cgroups,
            owner: Some(owner),
            outcome,
            looked: Instant::now(),
        };
        self.known.insert(inode, known);
        true
    }

    /// Takes the filters away where no label stands for them any more.
    fn round(&mut self, governs: &dyn Governs, labelled: &BTreeSet<CgroupId>) {
        let there: BTreeSet<u64> = governs.filtered().into_iter().map(|(at, _)| at).collect();
        self.known.retain(|inode, known| {
            known.cgroups.retain(|cgroup| labelled.contains(cgroup));
            if known.owner.is_some_and(|owner| !labelled.contains(&owner.cgroup)) {
                known.owner = None;
            }
            if !known.cgroups.is_empty() {
                // A namespace that went took its devices with it, and its number may be another's.
                return there.contains(&inode.0) || known.looked.elapsed() < FORGOTTEN;
            }
            match governs.unfilter(inode.0) {
                Ok(()) => false,
                Err(error) => {
                    tracing::error!(%error, "a filter at the host's end of a wire cannot be taken away");
                    true
                }
            }
        });
    }

    /// What stands against a process, by the namespace it is in. `raw`: it may make packets by
    /// hand.
    pub(super) fn reasons(&self, inode: Option<Inode>, raw: bool) -> Vec<Reason> {
        let Some(inode) = inode else {
            return Vec::new(); // it ended
        };
        if self.own == Some(inode) {
            return vec![Reason::HostNetwork];
        }
        let known = self.known.get(&inode);
        let mut reasons: Vec<Reason> = match known.map(|known| &known.outcome) {
            Some(Ok(past)) => past
                .iter()
                .map(|Unfiltered { device, why }| Reason::NoWire {
                    device: device.clone(),
                    because: why.clone(),
                })
                .collect(),
            Some(Err(error)) => vec![Reason::NoWire {
                device: "its network".to_owned(),
                because: error.clone(),
            }],
            None => vec![Reason::NoWire {
                device: "its network".to_owned(),
                because: "not looked at yet".to_owned(),
            }],
        };
        if raw && !reasons.is_empty() {
            reasons.push(Reason::RawPackets);
        }
        reasons
    }
}

/// So long after the last look a namespace without filtered devices is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(600);

impl State {
    /// Filters at the wires of a process in a labelled cgroup.
    pub(super) fn wire(&mut self, under: &Path, pid: Pid, again: Again) {
        let Some(has) = self.labelled.get(under) else {
            return;
        };
        let (id, index) = (has.id, has.index);
        self.wires.look(&*self.governs, pid, id, index, again);
    }

    /// A labelled process was seen somewhere new, or runs a program, before which its namespace
    /// was made ready.
    pub(super) fn wire_of(&mut self, pid: Pid) {
        if let Some(under) = self.under_of(pid) {
            self.wire(&under, pid, Again::Unless);
        }
    }

    /// Once each interval.
    pub(super) fn wires_round(&mut self) {
        let labelled: BTreeSet<CgroupId> = self.labelled.values().map(|has| has.id).collect();
        self.wires.round(&*self.governs, &labelled);
    }
}
