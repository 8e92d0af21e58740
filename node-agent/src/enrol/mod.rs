//! IO. Which cgroups are labelled right now, and in which network namespaces their tasks are.
//!
//! A cgroup is labelled because a configured glob matches its path below the cgroup2 root, because
//! it carries the extended attribute `user.node-agent.workload`, or because it was made for
//! `node-agent exec`. A label covers everything below; what is below cannot change it.
//!
//! What a process brings into its label is looked at: connections that lead past the agent are
//! ended, and whatever else leads round it, or may, is said as a [`Reason`]. Who leaves is told of.
//! The [`Canary`] tries from the inside, again and again, whether the redirect holds.
//!
//! Below all sockets, what leaves a labelled task's network namespace is filtered at the other end
//! of its wire, where there is one.
//!
//! New cgroups are seen at once: every directory is watched *before* it is read, so nothing falls
//! between. How a label governs is not known here: [`Governs`] does it.

mod audit;
mod breaks;
mod canary;
mod enrolment;
mod error;
mod exec;
mod members;
mod names;
mod namespaces;
mod posture;
mod process;
mod reason;
mod rules;
mod standings;
mod state;
mod tree;
mod wires;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

pub use breaks::Broken;
pub use canary::{CANARY, Canary, CanaryError, Verdict, sing};
pub use enrolment::Enrolment;
pub use error::EnrolError;
pub use exec::ExecCgroup;
pub use members::Left;
pub use names::open_to_anybody;
pub use reason::{Found, Reason, Standing, Weight};

pub use crate::intercept::{Governs, WorkloadIndex};
use crate::model::{CgroupId, NetnsCookie};

/// The extended attribute that labels a cgroup. Its value is the workload's name. It counts only
/// where the directory belongs to root or to the agent's user: whoever was given a cgroup of his
/// own could otherwise name himself.
pub const ATTRIBUTE: &str = "user.node-agent.workload";

/// One workload of the configuration, as far as finding its cgroups goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadRule {
    /// The name, as the attribute and `exec` say it.
    pub name: Arc<str>,
    /// Globs over paths below the root; `*` and `?` do not match `/`, `**` does.
    pub globs: Vec<String>,
    /// What the label says.
    pub index: WorkloadIndex,
}

/// How enrolment is set up.
#[derive(Clone, Debug)]
pub struct EnrolSettings {
    /// The cgroup2 mount, or a directory of it.
    pub root: PathBuf,
    /// The workloads. Where several globs match, the first one counts.
    pub rules: Vec<WorkloadRule>,
    /// Below the root, where `exec` makes its cgroups.
    pub exec_parent: PathBuf,
    /// How often everything is looked at again, for what gives no sign: the last task leaving a
    /// namespace.
    pub reconcile: Duration,
    /// Paths of unix sockets that stay open to workloads while others are not. Whoever can put
    /// something else there is less than governed.
    pub unix_names: Vec<PathBuf>,
}

impl EnrolSettings {
    /// These workloads below this root; `exec` below `node-agent.exec`; a look around every 2 s.
    pub fn new(root: impl Into<PathBuf>, rules: Vec<WorkloadRule>) -> Self {
        EnrolSettings {
            root: root.into(),
            rules,
            exec_parent: PathBuf::from("node-agent.exec"),
            reconcile: Duration::from_secs(2),
            unix_names: Vec::new(),
        }
    }
}

/// Why a cgroup is labelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Because {
    /// It was made for `node-agent exec`.
    Exec,
    /// A configured glob matches its path.
    Glob,
    /// It carries the attribute.
    Attribute,
}

/// A network namespace with labelled tasks in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Namespace {
    /// Its inode, as `/proc/PID/ns/net` shows it.
    pub inode: u64,
    /// Its cookie, where the agent listens in it.
    pub cookie: Option<NetnsCookie>,
    /// Why the agent does not listen in it: connects there are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// One labelled cgroup, for `status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LabelledCgroup {
    /// Below the root.
    pub path: PathBuf,
    /// The kernel's id of it.
    pub id: CgroupId,
    /// The workload.
    pub workload: Arc<str>,
    /// Its number.
    pub index: WorkloadIndex,
    /// Why it is labelled.
    pub because: Because,
    /// How well it is governed.
    pub standing: Standing,
    /// What stands against it, and what is only said.
    pub found: Vec<Found>,
    /// Processes in it and below.
    pub processes: usize,
    /// Where those processes are.
    pub namespaces: Vec<Namespace>,
    /// Why it is *not* governed although it should be. Tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
