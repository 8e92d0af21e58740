//! Cgroups made to order, for `node-agent exec`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::enrolment::Enrolment;
use super::state::State;
use super::{ATTRIBUTE, EnrolError};
use crate::intercept::cgroup_id;
use crate::model::{CgroupId, Pid};

/// A cgroup that waits for its process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExecCgroup {
    /// The directory.
    pub path: PathBuf,
    /// The kernel's id of it.
    pub id: CgroupId,
}

/// What is known of a cgroup made by this agent.
#[derive(Clone, Debug)]
pub(super) struct Use {
    pub(super) workload: Arc<str>,
    /// Empty and never used, it is kept until then.
    keep_until: Instant,
    moved_in: bool,
}

/// How long a cgroup waits for its process.
const WAIT: Duration = Duration::from_secs(60);

impl Enrolment {
    /// Makes a labelled cgroup for one command. It is labelled before this returns, and removed
    /// when its last process ends (or after a minute, if none ever comes).
    ///
    /// # Errors
    /// When there is no such workload, or the cgroup cannot be made or labelled; none is left then.
    pub fn create_for_exec(&self, workload: &str) -> Result<ExecCgroup, EnrolError> {
        self.with(|state| state.create_for_exec(workload))
    }

    /// Moves a process into a cgroup that `create_for_exec` made, and makes sure that the agent
    /// is reachable from where the process is.
    ///
    /// # Errors
    /// When the process already belongs to another workload, or is gone; when the cgroup was not
    /// made for this. The process is then where it was.
    pub fn move_pid(&self, cgroup: &ExecCgroup, pid: Pid) -> Result<(), EnrolError> {
        self.with(|state| state.move_pid(cgroup, pid))
    }
}

impl State {
    fn create_for_exec(&mut self, workload: &str) -> Result<ExecCgroup, EnrolError> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let rule = self
            .rules
            .named(workload)
            .ok_or_else(|| EnrolError::NoWorkload(workload.to_owned()))?;
        let name = Arc::clone(&rule.name);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !name.chars().all(plain) || name.starts_with('.') || name.len() > 100 {
            return Err(EnrolError::Name(name));
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = self
            .exec_parent
            .join(format!("{name}-{}-{number}", std::process::id()));
        let full = self.root.join(&path);
        let parent = self.root.join(&self.exec_parent);
        fs::create_dir_all(&parent).map_err(EnrolError::call("mkdir", &parent))?;
        fs::create_dir(&full).map_err(EnrolError::call("mkdir", &full))?;
        self.exec.insert(
            path.clone(),
            Use {
                workload: Arc::clone(&name),
                keep_until: Instant::now()
                    .checked_add(WAIT)
                    .unwrap_or_else(Instant::now),
                moved_in: false,
            },
        );
        let done = self.dress(&path, &full, &name);
        if done.is_err() {
            // Nothing is in it yet, so nothing is lost.
            let _ = fs::remove_dir(&full);
            self.exec.remove(&path);
        }
        done
    }

    fn dress(&mut self, path: &Path, full: &Path, name: &str) -> Result<ExecCgroup, EnrolError> {
        // For the agent that comes after this one.
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(full, ATTRIBUTE, name.as_bytes(), flags)
            .map_err(|e| EnrolError::call("setxattr", full)(e.into()))?;
        self.judge(path);
        let has = self
            .label_of(path)
            .ok_or_else(|| EnrolError::NotForExec(full.to_owned()))?;
        if let Some(problem) = &has.problem {
            return Err(EnrolError::call("label", full)(io::Error::other(
                problem.clone(),
            )));
        }
        Ok(ExecCgroup {
            path: full.to_owned(),
            id: has.id,
        })
    }

    fn move_pid(&mut self, cgroup: &ExecCgroup, pid: Pid) -> Result<(), EnrolError> {
        let not_ours = || EnrolError::NotForExec(cgroup.path.clone());
        let path = cgroup
            .path
            .strip_prefix(&self.root)
            .map_err(|_| not_ours())?
            .to_owned();
        let wants = self
            .exec
            .get(&path)
            .map(|made| Arc::clone(&made.workload))
            .ok_or_else(not_ours)?;
        if cgroup_id(&cgroup.path)? != cgroup.id {
            return Err(not_ours());
        }
        let now = self.place_of(pid)?;
        if let Some(has) = now.and_then(|now| self.label_of(&now))
            && has.workload != wants
        {
            let holds = Arc::clone(&has.workload);
            return Err(EnrolError::Another { pid, holds, wants });
        }
        let procs = cgroup.path.join("cgroup.procs");
        fs::write(&procs, pid.to_string()).map_err(EnrolError::call("write", &procs))?;
        if let Some(made) = self.exec.get_mut(&path) {
            made.moved_in = true;
        }
        self.runs(pid);
        Ok(())
    }

    /// Where a process is, below the root; `None` when it is elsewhere in the hierarchy.
    pub(super) fn place_of(&self, pid: Pid) -> Result<Option<PathBuf>, EnrolError> {
        let table = fs::read_to_string(format!("/proc/{pid}/cgroup"))
            .map_err(|_| EnrolError::NoProcess(pid))?;
        let path = table.lines().find_map(|line| line.strip_prefix("0::/"));
        let path = path.ok_or(EnrolError::NoProcess(pid))?;
        let mount = crate::intercept::cgroup_root()?;
        Ok(mount
            .join(path)
            .strip_prefix(&self.root)
            .ok()
            .map(Path::to_owned))
    }

    /// Removes the cgroups whose command ended, also those an earlier agent made.
    pub(super) fn sweep_exec(&mut self) {
        let parent = self.root.join(&self.exec_parent);
        for name in super::tree::children(&parent) {
            let path = self.exec_parent.join(&name);
            let waits = self
                .exec
                .get(&path)
                .is_some_and(|made| !made.moved_in && Instant::now() < made.keep_until);
            if !waits && remove_empty(&self.root.join(&path)).is_ok() {
                self.exec.remove(&path);
            }
        }
        let _ = fs::remove_dir(&parent);
    }
}

/// Removes a cgroup and those its command made in it. The kernel refuses while a process is left
/// in one of them: that is the test.
fn remove_empty(path: &Path) -> io::Result<()> {
    let events = fs::read_to_string(path.join("cgroup.events"))?;
    if events.lines().any(|line| line == "populated 1") {
        return Err(io::ErrorKind::ResourceBusy.into());
    }
    for name in super::tree::children(path) {
        remove_empty(&path.join(name))?;
    }
    fs::remove_dir(path)
}
