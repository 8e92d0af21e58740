//! What is labelled, kept in step with the directories.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use node_agent_common::rule::MAX_DEPTH;

use super::canary::{self, CANARY};
use super::members::Members;
use super::names::Names;
use super::namespaces::{self, Inode, Namespaces};
use super::rules::Rules;
use super::tree::{Change, Tree};
use super::wires::{Again, Wires};
use super::{Because, EnrolError, Governs, LabelledCgroup, WorkloadIndex};
use crate::intercept::{cgroup_id, cgroup_root};
use crate::model::{CgroupId, Pid};

/// One labelled cgroup.
#[derive(Clone, Debug)]
pub(super) struct Labelled {
    pub(super) id: CgroupId,
    pub(super) workload: Arc<str>,
    pub(super) index: WorkloadIndex,
    pub(super) because: Because,
    /// Why the label could not be put. Tried again each round.
    pub(super) problem: Option<String>,
}

/// The state, behind the enrolment's lock.
pub(super) struct State {
    pub(super) root: PathBuf,
    /// How many levels the root lies below the hierarchy's own.
    depth: u32,
    pub(super) rules: Rules,
    pub(super) governs: Arc<dyn Governs>,
    pub(super) tree: Tree,
    pub(super) labelled: BTreeMap<PathBuf, Labelled>,
    pub(super) namespaces: Namespaces,
    pub(super) wires: Wires,
    /// Cgroups made for `exec`: whether a process was ever in them.
    pub(super) exec: BTreeMap<PathBuf, super::exec::Use>,
    pub(super) exec_parent: PathBuf,
    /// The processes in labelled cgroups.
    pub(super) members: Members,
    pub(super) names: Names,
    /// The hierarchy's own mount, from which /proc names places.
    pub(super) mount: PathBuf,
    reconcile: Duration,
    /// Set once all labels are this agent's. Nothing is listened for before: no origin that bears
    /// an earlier agent's numbering is ever accepted.
    settled: bool,
}

impl State {
    pub(super) fn open(
        settings: super::EnrolSettings,
        governs: Arc<dyn Governs>,
    ) -> Result<Self, EnrolError> {
        let super::EnrolSettings {
            root,
            rules,
            exec_parent,
            reconcile,
            unix_names,
        } = settings;
        let rules = Rules::compile(rules)?;
        let tree = Tree::open(&root).map_err(EnrolError::call("inotify_init", &root))?;
        let above = cgroup_root().ok();
        let depth = above
            .as_ref()
            .and_then(|above| root.strip_prefix(above).ok().map(levels))
            .unwrap_or(0);
        Ok(State {
            mount: above.unwrap_or_else(|| root.clone()),
            members: Members::default(),
            names: Names::new(unix_names),
            root,
            depth,
            rules,
            governs,
            tree,
            labelled: BTreeMap::new(),
            namespaces: Namespaces::default(),
            wires: Wires::default(),
            exec: BTreeMap::new(),
            exec_parent,
            reconcile,
            settled: false,
        })
    }

    /// The first look: labels everywhere, then listeners.
    pub(super) fn settle(&mut self) -> Result<(), EnrolError> {
        self.read_all()?;
        self.namespaces.own(&*self.governs)?;
        self.wires.settle(&*self.governs);
        self.settled = true;
        self.look();
        Ok(())
    }

    /// Reads the whole tree, then takes away the labels nothing in it stands for: those of cgroups
    /// that went while no agent ran.
    pub(super) fn read_all(&mut self) -> Result<(), EnrolError> {
        let gone: Vec<PathBuf> = self
            .labelled
            .keys()
            .filter(|path| !self.root.join(path).is_dir())
            .cloned()
            .collect();
        for path in gone {
            self.forget(&path);
        }
        self.grow(Path::new(""))?;
        let mine: BTreeSet<CgroupId> = self.labelled.values().map(|l| l.id).collect();
        for (id, index) in self.governs.labelled()? {
            // The canary's label is its own keeper's.
            if !mine.contains(&id) && index != CANARY {
                self.governs.unlabel(id)?;
            }
        }
        Ok(())
    }

    /// Brings the state up to a change.
    pub(super) fn change(&mut self, change: Change) -> Result<(), EnrolError> {
        match change {
            Change::Made(path) => self.grow(&path),
            Change::Gone(path) => {
                // Made again in the meantime? Then its own change says so, and the id differs.
                self.forget(&path);
                Ok(())
            }
            Change::Attributes(path) => {
                self.judge(&path);
                Ok(())
            }
            Change::Populated(_) => Ok(()),
            Change::Lost => self.read_all(),
        }
    }

    fn grow(&mut self, path: &Path) -> Result<(), EnrolError> {
        let (found, done) = self.tree.grow(path);
        for path in found {
            self.judge(&path);
        }
        done.map_err(|source| EnrolError::Watch {
            path: self.root.join(path),
            source,
        })
    }

    /// Puts, keeps or takes away one cgroup's label. The outermost label of a branch is the only
    /// one: what is inside a workload cannot make itself another.
    pub(super) fn judge(&mut self, path: &Path) {
        let wants = self.wants(path);
        match wants {
            Some(wants) => {
                let same = self.labelled.get(path).is_some_and(|has| {
                    has.id == wants.id && has.index == wants.index && has.problem.is_none()
                });
                if !same {
                    self.put(path, wants);
                }
            }
            None => {
                if self.labelled.contains_key(path) {
                    self.take_away(path);
                    // What lies below may have a label of its own now.
                    let below = self.labels_below(path);
                    for path in below {
                        self.judge(&path);
                    }
                }
            }
        }
    }

    fn wants(&self, path: &Path) -> Option<Labelled> {
        if self.above(path).is_some() || path.file_name().is_some_and(|name| name == canary::NAME) {
            return None;
        }
        let (rule, because) = match self.exec.get(path) {
            Some(made) => (self.rules.named(&made.workload)?, Because::Exec),
            None => {
                let attribute = self.tree.attribute(path);
                let found = self.rules.of(path, attribute.as_deref());
                if let (None, Some(name)) = (found, &attribute) {
                    tracing::warn!(
                        cgroup = %path.display(), workload = name,
                        "the workload attribute names no configured workload: the cgroup is not governed"
                    );
                }
                let (rule, because) = found?;
                // Made by an earlier agent for exec: the attribute tells, the place says why.
                let because = if path.starts_with(&self.exec_parent) {
                    Because::Exec
                } else {
                    because
                };
                (rule, because)
            }
        };
        let id = cgroup_id(&self.root.join(path)).ok()?;
        let deep = self.depth.saturating_add(levels(path)) > MAX_DEPTH;
        let problem = deep.then(|| {
            EnrolError::TooDeep {
                path: self.root.join(path),
                most: MAX_DEPTH,
            }
            .to_string()
        });
        Some(Labelled {
            id,
            workload: Arc::clone(&rule.name),
            index: rule.index,
            because,
            problem,
        })
    }

    /// The labelled cgroup a path lies in, not counting itself.
    fn above(&self, path: &Path) -> Option<&Labelled> {
        path.ancestors()
            .skip(1)
            .find_map(|above| self.labelled.get(above))
    }

    /// The label that counts for a path: its own or the one above it.
    pub(super) fn label_of(&self, path: &Path) -> Option<&Labelled> {
        path.ancestors().find_map(|at| self.labelled.get(at))
    }

    fn put(&mut self, path: &Path, mut wants: Labelled) {
        // Another cgroup may have had the name before.
        if let Some(has) = self.labelled.get(path)
            && has.id != wants.id
        {
            self.take_away(path);
        }
        if wants.problem.is_none()
            && let Err(error) = self.governs.label(wants.id, wants.index)
        {
            wants.problem = Some(error.to_string());
        }
        match &wants.problem {
            None => tracing::info!(
                cgroup = %path.display(), workload = %wants.workload, because = ?wants.because,
                "labelled a cgroup"
            ),
            Some(problem) => tracing::error!(
                cgroup = %path.display(), workload = %wants.workload, %problem,
                "a cgroup is NOT governed"
            ),
        }
        let governed = wants.problem.is_none();
        self.labelled.insert(path.to_owned(), wants);
        self.tree.watch_events(path);
        if governed {
            // Only now: below, the label above already counts.
            for below in self.labels_below(path) {
                if self.labelled.contains_key(&below) {
                    self.take_away(&below);
                }
            }
            if self.settled {
                self.meet_all(path);
                self.purge(path);
            }
        }
    }

    fn take_away(&mut self, path: &Path) {
        let Some(has) = self.labelled.get(path) else {
            return;
        };
        match self.governs.unlabel(has.id) {
            Ok(()) => {
                tracing::info!(cgroup = %path.display(), workload = %has.workload, "a cgroup is no longer labelled");
                self.labelled.remove(path);
                self.members.forget(path);
            }
            Err(error) => {
                // Fail closed: it stays governed, and is tried again each round.
                tracing::error!(cgroup = %path.display(), %error, "a label cannot be taken away");
            }
        }
    }

    /// Forgets a cgroup that went, and everything below it.
    fn forget(&mut self, path: &Path) {
        let mut gone = self.labels_below(path);
        gone.push(path.to_owned());
        for path in gone {
            if self.labelled.contains_key(&path) {
                self.take_away(&path);
            }
            self.exec.remove(&path);
        }
    }

    /// The paths with a label, or that could have one, strictly below.
    fn labels_below(&self, path: &Path) -> Vec<PathBuf> {
        let mut below: Vec<PathBuf> = self
            .labelled
            .keys()
            .filter(|at| *at != path && at.starts_with(path))
            .cloned()
            .collect();
        let mut open = vec![path.to_owned()];
        while let Some(at) = open.pop() {
            for name in super::tree::children(&self.root.join(&at)) {
                let child = at.join(name);
                if !below.contains(&child) {
                    below.push(child.clone());
                }
                open.push(child);
            }
        }
        below.sort();
        below
    }

    /// Listens wherever the tasks of a cgroup are.
    fn meet_all(&mut self, path: &Path) {
        for pid in namespaces::processes(&self.root.join(path)) {
            self.meet(pid);
        }
    }

    /// Looks for tasks in namespaces nobody listens in, for new ones and for those who left,
    /// everywhere.
    pub(super) fn look(&mut self) {
        self.survey(Again::Unless);
        self.tell_standings();
    }

    fn survey(&mut self, again: Again) -> BTreeSet<Inode> {
        let paths: Vec<PathBuf> = self.labelled.keys().cloned().collect();
        let mut present = BTreeSet::new();
        let mut inodes = BTreeSet::new();
        let mut wired = BTreeSet::new();
        for path in paths {
            let pids = namespaces::processes(&self.root.join(&path));
            for pid in pids {
                let inode = self.namespaces.meet(&*self.governs, pid);
                inodes.extend(inode);
                // One process of each cgroup and namespace stands for all.
                if inode.is_some_and(|inode| wired.insert((path.clone(), inode))) {
                    self.wire(&path, pid, again);
                }
                self.attend(&path, pid);
                present.insert(pid);
            }
        }
        self.missing(&present);
        inodes
    }

    /// Once each interval: what gave no sign, and what failed.
    pub(super) fn round(&mut self) {
        let failed: Vec<PathBuf> = self
            .labelled
            .iter()
            .filter(|(path, has)| has.problem.is_some() || self.above(path).is_some())
            .map(|(path, _)| path.clone())
            .collect();
        for path in failed {
            self.judge(&path);
        }
        self.sweep_exec();
        let wanted = self.survey(Again::Always);
        self.wires_round();
        self.namespaces
            .round(&*self.governs, &wanted, self.reconcile);
        self.second_looks();
    }

    /// A labelled process was seen somewhere new.
    pub(super) fn meet(&mut self, pid: Pid) {
        let _ = self.namespaces.meet(&*self.governs, pid);
        self.wire_of(pid);
    }

    pub(super) fn snapshot(&self) -> Vec<LabelledCgroup> {
        self.labelled
            .iter()
            .map(|(path, has)| {
                let pids = namespaces::processes(&self.root.join(path));
                let inodes: BTreeSet<Inode> = pids.iter().filter_map(|pid| inode(*pid)).collect();
                let (standing, found) = self.standing(path);
                LabelledCgroup {
                    standing,
                    found,
                    path: path.clone(),
                    id: has.id,
                    workload: Arc::clone(&has.workload),
                    index: has.index,
                    because: has.because,
                    processes: pids.len(),
                    namespaces: inodes
                        .into_iter()
                        .map(|inode| self.namespaces.describe(inode))
                        .collect(),
                    problem: has.problem.clone(),
                }
            })
            .collect()
    }
}

pub(super) fn inode(pid: Pid) -> Option<Inode> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(format!("/proc/{pid}/ns/net"))
        .ok()
        .map(|facts| Inode(facts.ino()))
}

fn levels(path: &Path) -> u32 {
    u32::try_from(path.components().count()).unwrap_or(u32::MAX)
}
