//! The network namespaces of labelled tasks, and where the agent listens.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{EnrolError, Governs, Namespace, tree};
use crate::model::{NetnsCookie, Pid};

/// A namespace as the file system of namespaces names it: its inode. While the agent listens in
/// it, it lives, and the number is not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Inode(pub(super) u64);

#[derive(Debug)]
enum Ear {
    Listening(NetnsCookie),
    Deaf { why: String, tried: Instant },
}

#[derive(Debug)]
struct Known {
    ear: Ear,
    /// Since when no labelled task was seen in it.
    idle: Option<Instant>,
}

/// So long after a failure nobody tries again, however many sockets a workload makes there.
const REST: Duration = Duration::from_millis(90);

/// Where the agent listens.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    known: BTreeMap<Inode, Known>,
    /// The agent's own: always listened in, for it is there anyway.
    own: Option<Inode>,
}

impl Namespaces {
    /// Listens in the agent's own namespace, for good. Comes before any `meet`.
    pub(super) fn own(&mut self, governs: &dyn Governs) -> Result<(), EnrolError> {
        let path = Path::new("/proc/self/ns/net");
        let (inode, fd) = open(path).map_err(EnrolError::call("open", path))?;
        let cookie = governs.listen(fd)?;
        self.known.insert(
            inode,
            Known {
                ear: Ear::Listening(cookie),
                idle: None,
            },
        );
        self.own = Some(inode);
        Ok(())
    }

    /// Makes sure the agent listens where the process is. Gives the namespace, `None` when the
    /// process is gone.
    pub(super) fn meet(&mut self, governs: &dyn Governs, pid: Pid) -> Option<Inode> {
        let path = format!("/proc/{pid}/ns/net");
        let inode = Inode(fs::metadata(&path).ok()?.ino());
        match self.known.get_mut(&inode) {
            Some(Known {
                ear: Ear::Listening(_),
                idle,
            }) => {
                *idle = None;
                return Some(inode);
            }
            Some(Known {
                ear: Ear::Deaf { tried, .. },
                ..
            }) if tried.elapsed() < REST => {
                return Some(inode);
            }
            Some(_) | None => {}
        }
        // The process may have moved on since: what is opened is what counts.
        let (inode, fd) = open(Path::new(&path)).ok()?;
        if matches!(
            self.known.get(&inode),
            Some(Known {
                ear: Ear::Listening(_),
                ..
            })
        ) {
            return Some(inode);
        }
        let ear = match governs.listen(fd) {
            Ok(cookie) => {
                tracing::info!(%pid, netns = %cookie, "listening in a network namespace");
                Ear::Listening(cookie)
            }
            // Fail closed: without a listener every guarded connect there is refused.
            Err(error) => {
                tracing::warn!(%pid, inode = inode.0, %error, "cannot listen in a network namespace; connects there are refused");
                Ear::Deaf {
                    why: error.to_string(),
                    tried: Instant::now(),
                }
            }
        };
        self.known.insert(inode, Known { ear, idle: None });
        Some(inode)
    }

    /// After a look at all labelled tasks: leaves the namespaces that had none for so long. Not at
    /// once: a shell that starts one command after the other is not deserted in between.
    pub(super) fn round(
        &mut self,
        governs: &dyn Governs,
        wanted: &BTreeSet<Inode>,
        long: Duration,
    ) {
        let own = self.own;
        self.known.retain(|inode, known| {
            if Some(*inode) == own || wanted.contains(inode) {
                known.idle = None;
                return true;
            }
            let idle = known.idle.get_or_insert_with(Instant::now);
            match &known.ear {
                // Nothing is held, and the number may be another namespace's tomorrow.
                Ear::Deaf { .. } => false,
                Ear::Listening(_) if idle.elapsed() < long => true,
                Ear::Listening(cookie) => {
                    tracing::info!(netns = %cookie, "leaving a network namespace without labelled tasks");
                    governs.leave(*cookie);
                    false
                }
            }
        });
    }

    /// Is there one where listening failed? Then it is worth trying again soon.
    pub(super) fn any_deaf(&self) -> bool {
        self.known
            .values()
            .any(|known| matches!(known.ear, Ear::Deaf { .. }))
    }

    pub(super) fn describe(&self, inode: Inode) -> Namespace {
        let (cookie, problem) = match self.known.get(&inode).map(|known| &known.ear) {
            Some(Ear::Listening(cookie)) => (Some(*cookie), None),
            Some(Ear::Deaf { why, .. }) => (None, Some(why.clone())),
            None => (None, Some("not looked at yet".to_owned())),
        };
        Namespace {
            inode: inode.0,
            cookie,
            problem,
        }
    }
}

pub(super) fn open(path: &Path) -> std::io::Result<(Inode, OwnedFd)> {
    let file = File::open(path)?;
    Ok((Inode(file.metadata()?.ino()), file.into()))
}

/// The processes of a cgroup and everything below it.
pub(super) fn processes(directory: &Path) -> Vec<Pid> {
    let mut pids = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(path) = open.pop() {
        // Gone, or a threaded cgroup, whose processes its domain above lists.
        let text = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
        // 0 stands for a process of another pid namespace.
        pids.extend(
            text.lines()
                .filter_map(|l| l.parse().ok())
                .filter(|p| *p != 0)
                .map(Pid),
        );
        open.extend(
            tree::children(&path)
                .into_iter()
                .map(|name| path.join(name)),
        );
    }
    pids
}
