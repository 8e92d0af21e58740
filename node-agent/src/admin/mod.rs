//! IO. For operators: health, readiness and metrics over loopback; status, live sessions and
//! `exec` over a unix socket that knows who asks.

mod pages;
mod socket;
mod status;

use std::sync::Arc;

use crate::enrol::{Canary, Enrolment};
use crate::feed::{Policies, PolicyTrouble};
use crate::intercept::{Interceptor, Layer};
use crate::record::Recorder;
use crate::session::Drain;
use crate::telemetry::{Metrics, Registry};

pub use pages::serve_pages;
pub use socket::{AdminError, ExecAnswer, ExecAsk, ask, serve_socket};
pub use status::{Governed, Status};

/// What the admin pages look at.
#[derive(Debug)]
pub struct Admin {
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Live sessions.
    pub live: Arc<Registry>,
    /// The record.
    pub recorder: Arc<Recorder>,
    /// The policies of this moment.
    pub policies: Policies,
    /// Why the newest policy files are not in force.
    pub trouble: PolicyTrouble,
    /// Labelled cgroups; `None` where the agent runs without the kernel.
    pub enrolment: Option<Arc<Enrolment>>,
    /// What tries the redirect, where the agent runs with one.
    pub canary: Option<Arc<Canary>>,
    /// The kernel programs, where the agent runs with them.
    pub interceptor: Option<Arc<Interceptor>>,
    /// Whether the agent is on its way to a stop.
    pub drain: tokio::sync::watch::Receiver<Drain>,
    /// What this kernel cannot do, in words.
    pub degraded: Vec<String>,
    /// What not every kernel has, and whether this one does.
    pub layers: Vec<Layer>,
}
