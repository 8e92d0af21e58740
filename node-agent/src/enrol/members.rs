//! The processes of labelled cgroups: what each holds and may do, and which of them left.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::audit::{self, Led};
use super::namespaces::Inode;
use super::posture::{Host, NET_RAW};
use super::process;
use super::reason::{Found, Reason, Standing, Weight};
use super::standings::{Say, Told};
use super::state::State;
use super::wires::Wires;
use crate::model::{CgroupId, Pid, UnixMillis};

/// A process that was labelled and is no longer, though its label still stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Which.
    pub pid: Pid,
    /// Its name.
    pub program: String,
    /// The workload it belonged to.
    pub workload: String,
    /// Where it was, below the root.
    pub from: String,
    /// Where it is now, from the hierarchy's root.
    pub to: String,
    /// When it was noticed.
    pub at: UnixMillis,
}

/// One process of a labelled cgroup.
#[derive(Debug)]
struct Member {
    started: u64,
    name: String,
    /// The labelled cgroup it is in or below.
    under: PathBuf,
    workload: Arc<str>,
    /// What it held from before its label: it stays said until the process ends, for a descriptor
    /// can be out of sight, on its way through a unix socket, and come back.
    held: BTreeSet<Reason>,
    ended: BTreeSet<u64>,
    may: Vec<Reason>,
    /// Its network namespace, and whether it may make packets by hand there.
    net: Option<Inode>,
    raw: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Members {
    known: BTreeMap<Pid, Member>,
    host: Option<Host>,
    /// Where the round-robin of second looks goes on.
    next: Option<Pid>,
    window: Option<(Instant, u32)>,
    /// Parents whose children are to be looked at in the next round.
    owed: BTreeSet<Pid>,
    left: VecDeque<(Instant, u64, Left)>,
    left_total: u64,
    cut_total: u64,
    standings: BTreeMap<PathBuf, Told>,
}

/// Looks at single processes in one second; what is more waits for the next round.
const AT_ONCE: u32 = 500;
/// Second looks in one round.
const AGAIN: usize = 64;
/// Parents that wait for a round.
const OWED: usize = 4_096;
/// How often a cgroup is looked at again while connections are still being cut in it.
const PASSES: usize = 4;
/// How many leavings are shown, and for how long.
const SHOWN: usize = 64;
const SHOWN_FOR: Duration = Duration::from_secs(3_600);

impl Members {
    /// May one more process be looked at now?
    fn afford(&mut self) -> bool {
        let now = Instant::now();
        let (since, spent) = self.window.get_or_insert((now, 0));
        if now.saturating_duration_since(*since) > Duration::from_secs(1) {
            (*since, *spent) = (now, 0);
        }
        *spent = spent.saturating_add(1);
        *spent <= AT_ONCE
    }

    /// Of a label that was taken away: its processes did not leave.
    pub(super) fn forget(&mut self, under: &Path) {
        self.known.retain(|_, member| member.under != under);
        self.standings.remove(under);
    }

    pub(super) fn left(&self) -> Vec<Left> {
        self.left
            .iter()
            .filter(|(since, _, _)| since.elapsed() < SHOWN_FOR)
            .map(|(_, _, left)| left.clone())
            .collect()
    }

    /// How many ever left, and how many connections were ever cut.
    pub(super) fn totals(&self) -> (u64, u64) {
        (self.left_total, self.cut_total)
    }

    /// What stands against a cgroup, each reason once.
    pub(super) fn found(&self, under: &Path, wires: &Wires) -> Vec<Found> {
        let mut found: BTreeMap<Reason, Found> = BTreeMap::new();
        for (pid, member) in self.known.iter().filter(|(_, m)| m.under == under) {
            let below: BTreeSet<Reason> = wires
                .reasons(member.net, member.raw)
                .into_iter()
                .filter(|reason| !member.may.contains(reason))
                .collect();
            for reason in member.held.iter().chain(&member.may).chain(&below) {
                found
                    .entry(reason.clone())
                    .and_modify(|found| found.processes = found.processes.saturating_add(1))
                    .or_insert_with(|| Found {
                        reason: reason.clone(),
                        processes: 1,
                        pid: *pid,
                        program: member.name.clone(),
                    });
            }
        }
        found.into_values().collect()
    }
}

impl State {
    /// Where a process is, from the hierarchy's root and, when it is there, below this root.
    fn place(&self, pid: Pid) -> Option<(PathBuf, Option<PathBuf>)> {
        let path = process::cgroup(pid)?;
        let full = self.mount.join(path.strip_prefix("/").unwrap_or(&path));
        let below = full.strip_prefix(&self.root).ok().map(Path::to_owned);
        Some((path, below))
    }

    /// The labelled cgroup a place is in or below.
    fn under(&self, below: Option<&Path>) -> Option<(PathBuf, Arc<str>)> {
        below?.ancestors().find_map(|at| {
            let has = self.labelled.get(at)?;
            Some((at.to_owned(), Arc::clone(&has.workload)))
        })
    }

    /// The labelled cgroup a process is in or below.
    pub(super) fn under_of(&self, pid: Pid) -> Option<PathBuf> {
        let (_, below) = self.place(pid)?;
        self.under(below.as_deref()).map(|(under, _)| under)
    }

    /// Looks at a process for the first time, or again. True when something was cut.
    fn examine(&mut self, pid: Pid) -> bool {
        let Some(started) = process::started(pid) else {
            return false;
        };
        let Some((under, workload)) = self
            .place(pid)
            .and_then(|(_, below)| self.under(below.as_deref()))
        else {
            return false;
        };
        let before = self
            .members
            .known
            .remove(&pid)
            .filter(|member| member.started == started);
        let (mut sticks, ended) = before.map_or_else(Default::default, |m| (m.held, m.ended));
        let held = audit::audit(&*self.governs, pid, &ended);
        let host = self.members.host.get_or_insert_with(Host::look);
        let mut may = host.posture(pid);
        may.extend(self.names.reasons(pid));
        let raw = process::credentials(pid).is_some_and(|has| has.permitted.has(NET_RAW));
        let net = super::state::inode(pid);
        let name = process::name(pid);
        for cut in &held.cut {
            self.members.cut_total = self.members.cut_total.saturating_add(1);
            let (fd, destination, how) = (cut.fd, cut.destination, cut.how);
            match cut.led {
                Led::Past => tracing::warn!(
                    %pid, program = name, fd, %destination, ?how,
                    workload = %workload, cgroup = %under.display(),
                    "ended a connection that led past the agent"
                ),
                Led::Elsewhere => tracing::warn!(
                    %pid, program = name, fd, %destination, ?how,
                    workload = %workload, cgroup = %under.display(),
                    mend = "add the place to guard.allow if the workload needs it",
                    "ended a connection from before the label: only databases are open to it"
                ),
            }
        }
        for reason in held.reasons.difference(&sticks) {
            tracing::warn!(
                %pid, program = name, reason = reason.sentence(), mend = reason.mend(),
                workload = %workload, cgroup = %under.display(),
                "a process brings something from before its label"
            );
        }
        sticks.extend(held.reasons);
        self.members.known.insert(
            pid,
            Member {
                started,
                name,
                under,
                workload,
                held: sticks,
                ended: held.ended,
                may,
                net,
                raw,
            },
        );
        !held.cut.is_empty()
    }

    /// A process was seen in a labelled cgroup: looked at once, and then in its turn.
    pub(super) fn attend(&mut self, under: &Path, pid: Pid) -> bool {
        match self.members.known.get(&pid) {
            Some(member) if member.under == under => false,
            Some(_) | None => self.examine(pid),
        }
    }

    /// A cgroup was just labelled: until nothing is left to cut, for a process may hand a socket
    /// to another one while they are looked at.
    pub(super) fn purge(&mut self, under: &Path) {
        self.cut_in(under);
        self.tell_standings();
    }

    /// The same of every labelled cgroup: the redirect was open for a moment.
    pub(super) fn purge_all(&mut self) {
        let labelled: Vec<PathBuf> = self.labelled.keys().cloned().collect();
        for under in labelled {
            self.cut_in(&under);
        }
        self.tell_standings();
    }

    fn cut_in(&mut self, under: &Path) {
        for _ in 0..PASSES {
            let mut cut = false;
            for pid in super::namespaces::processes(&self.root.join(under)) {
                cut |= self.examine(pid);
            }
            if !cut {
                break;
            }
        }
    }

    /// It runs a program, with which what it may do can change.
    pub(super) fn runs(&mut self, pid: Pid) {
        self.meet(pid);
        if self.members.afford() {
            self.examine(pid);
        }
    }

    /// Its children may be elsewhere from their first instruction on.
    pub(super) fn strays(&mut self, parent: Pid) {
        if self.members.afford() {
            self.look_for_strays(parent);
        } else if self.members.owed.len() < OWED {
            self.members.owed.insert(parent);
        }
    }

    fn look_for_strays(&mut self, parent: Pid) {
        let Some((_, Some(place))) = self.place(parent) else {
            return;
        };
        let Some((_, workload)) = self.under(Some(&place)) else {
            return;
        };
        for child in process::children(parent) {
            // Those are missed by name should they go.
            if self.members.known.contains_key(&child) {
                continue;
            }
            let Some((to, below)) = self.place(child) else {
                continue;
            };
            if self.under(below.as_deref()).is_none() {
                self.alarm(child, place.display().to_string(), &workload, &to);
            }
        }
    }

    /// The kernel says that this process was in a labelled cgroup and was moved.
    pub(super) fn moved_out(&mut self, pid: Pid, cgroup: CgroupId) {
        let Some((to, below)) = self.place(pid) else {
            tracing::debug!(%pid, %cgroup, "a process that was moved is gone");
            return;
        };
        if self.under(below.as_deref()).is_some() {
            return;
        }
        let known = self.members.known.get(&pid);
        let by_id = || self.labelled.iter().find(|(_, has)| has.id == cgroup);
        let (from, workload) = match known {
            Some(member) => (
                member.under.display().to_string(),
                Arc::clone(&member.workload),
            ),
            None => match by_id() {
                Some((path, has)) => (path.display().to_string(), Arc::clone(&has.workload)),
                None => (format!("a cgroup below a label (id {cgroup})"), "?".into()),
            },
        };
        self.alarm(pid, from, &workload, &to);
    }

    /// After a look at all labelled cgroups: who was there and is not?
    pub(super) fn missing(&mut self, present: &BTreeSet<Pid>) {
        let gone: Vec<Pid> = self
            .members
            .known
            .keys()
            .filter(|pid| !present.contains(pid))
            .copied()
            .collect();
        for pid in gone {
            let Some(member) = self.members.known.get(&pid) else {
                continue;
            };
            let (from, workload) = (member.under.clone(), Arc::clone(&member.workload));
            let alive = process::started(pid) == Some(member.started);
            match self.place(pid) {
                Some((to, below)) if alive => match self.under(below.as_deref()) {
                    // It was just in between two looks at directories.
                    Some(_) => continue,
                    None => self.alarm(pid, from.display().to_string(), &workload, &to),
                },
                Some(_) | None => {}
            }
            self.members.known.remove(&pid);
        }
    }

    fn alarm(&mut self, pid: Pid, from: String, workload: &Arc<str>, to: &Path) {
        let started = process::started(pid).unwrap_or(0);
        let known = |(_, at, left): &(Instant, u64, Left)| *at == started && left.pid == pid;
        if self.members.left.iter().any(known) {
            return;
        }
        let left = Left {
            pid,
            program: process::name(pid),
            workload: workload.to_string(),
            from,
            to: to.display().to_string(),
            at: crate::clock::now(),
        };
        tracing::warn!(
            %pid, program = left.program, workload = left.workload, from = left.from, to = left.to,
            "a process left its labelled cgroup and is no longer governed: end it, and mount cgroupfs read-only for its workload"
        );
        self.members.known.remove(&pid);
        self.members.left_total = self.members.left_total.saturating_add(1);
        self.members.left.push_back((Instant::now(), started, left));
        if self.members.left.len() > SHOWN {
            self.members.left.pop_front();
        }
    }

    /// Once each interval: a share of the processes is looked at again, for what gives no sign.
    pub(super) fn second_looks(&mut self) {
        self.members.host = None;
        for parent in std::mem::take(&mut self.members.owed) {
            self.look_for_strays(parent);
        }
        let from = self.members.next.unwrap_or_default();
        let (after, before): (Vec<Pid>, Vec<Pid>) =
            self.members.known.keys().partition(|pid| **pid > from);
        let turn: Vec<Pid> = after.into_iter().chain(before).take(AGAIN).collect();
        self.members.next = turn.last().copied();
        for pid in turn {
            self.examine(pid);
        }
        self.tell_standings();
    }

    /// How well a labelled cgroup is governed, and what stands against it.
    pub(super) fn standing(&self, path: &Path) -> (Standing, Vec<Found>) {
        let found = self.members.found(path, &self.wires);
        let problem = self
            .labelled
            .get(path)
            .is_none_or(|has| has.problem.is_some());
        let standing = if problem {
            Standing::Not
        } else if found.iter().any(|f| f.reason.weight() == Weight::Partly) {
            Standing::Partly
        } else {
            Standing::Governed
        };
        (standing, found)
    }

    /// Says what changed since it was last said, not more often than is good for a log.
    pub(super) fn tell_standings(&mut self) {
        let now: Vec<_> = self
            .labelled
            .iter()
            .map(|(path, has)| {
                let (standing, found) = self.standing(path);
                let reasons: Vec<String> = found
                    .iter()
                    .filter(|found| found.reason.weight() == Weight::Partly)
                    .map(Found::text)
                    .collect();
                (path.clone(), Arc::clone(&has.workload), standing, reasons)
            })
            .collect();
        let at = Instant::now();
        for (path, workload, standing, reasons) in now {
            let cgroup = path.display().to_string();
            let told = self.members.standings.entry(path).or_insert_with(Told::new);
            let Some(Say { changes }) = told.see(standing, at) else {
                continue;
            };
            let state = standing.word();
            match standing {
                Standing::Governed => {
                    tracing::info!(cgroup, %workload, state, changes, "a workload's standing changed");
                }
                Standing::Partly | Standing::Not => {
                    tracing::warn!(cgroup, %workload, state, changes, ?reasons, "a workload's standing changed");
                }
            }
        }
    }
}
