//! What can go wrong while finding and labelling cgroups.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::intercept::InterceptError;
use crate::model::Pid;

/// Why enrolment cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// A system call failed.
    #[error("{call} on {}: {source}", .path.display())]
    Call {
        /// The system call.
        call: &'static str,
        /// What it was about.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// A glob of the configuration is none.
    #[error("cgroup glob {glob:?} of workload {workload}: {error}")]
    Glob {
        /// Whose.
        workload: Arc<str>,
        /// Which.
        glob: String,
        /// What is wrong with it.
        error: String,
    },
    /// No such workload.
    #[error("there is no workload named {0:?} in the configuration")]
    NoWorkload(String),
    /// The name would lead out of the directory.
    #[error("the workload name {0:?} cannot be part of a cgroup's name: use letters, digits, '-', '_' and '.'")]
    Name(Arc<str>),
    /// The cgroup was not made for `exec`, or is gone.
    #[error("{} was not made for exec, or is gone", .0.display())]
    NotForExec(PathBuf),
    /// The process belongs to another workload already: it may not change sides.
    #[error("process {pid} already belongs to workload {holds}: it cannot become {wants}")]
    Another {
        /// Which.
        pid: Pid,
        /// Where it is.
        holds: Arc<str>,
        /// Where it was to go.
        wants: Arc<str>,
    },
    /// The process is gone, or not to be seen.
    #[error("process {0} is not in this cgroup hierarchy, or gone")]
    NoProcess(Pid),
    /// A cgroup lies deeper than the kernel programs look.
    #[error("{} lies deeper than {most} levels: labels are not seen there", .path.display())]
    TooDeep {
        /// Which.
        path: PathBuf,
        /// How deep they look.
        most: u32,
    },
    /// Putting or taking a label, or listening, failed.
    #[error(transparent)]
    Govern(#[from] InterceptError),
}

impl EnrolError {
    pub(super) fn call(
        call: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| EnrolError::Call { call, path, source }
    }
}
