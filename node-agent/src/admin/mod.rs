//! IO. For operators: health, readiness and metrics over loopback; status and live
//! sessions over a unix socket that knows who asks.

mod access;
mod approvals;
mod console;
mod pages;
mod serve;
mod socket;
mod status;

use std::sync::Arc;

use crate::approval::{Desk, Webhooks};
use crate::archive::Watch;
use crate::config::LocalReviewer;
use crate::feed::{Policies, PolicyTrouble};
use crate::keeper::Link;
use crate::record::Recorder;
use crate::session::Drain;
use crate::telemetry::{Metrics, Registry};
use crate::upstream::Warm;

pub use crate::keeper::Governed;
pub use access::Gift;
pub use approvals::{Listed, Word};
pub use console::Console;
pub use pages::serve_pages;
pub use socket::{AdminError, ask, serve_socket};
pub use status::Status;

/// What the admin pages look at.
#[derive(Debug)]
pub struct Admin {
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Live sessions.
    pub live: Arc<Registry>,
    /// Connections that are kept for the next session.
    pub warm: Arc<Warm>,
    /// The record.
    pub recorder: Arc<Recorder>,
    /// Held statements.
    pub desk: Desk,
    /// Users of this host who may decide.
    pub local: Vec<LocalReviewer>,
    /// The issuers that may vouch for a user, by their URLs.
    pub issuers: Vec<String>,
    /// How the archive stands; `None`: there is none.
    pub archive: Option<Arc<Watch>>,
    /// The policies of this moment.
    pub policies: Policies,
    /// Why the newest policy files are not in force.
    pub trouble: PolicyTrouble,
    /// Where the steps of requests for approval are told.
    pub webhooks: Webhooks,
    /// The keeper; `None` where the agent runs without the kernel.
    pub keeper: Option<Arc<Link>>,
    /// Whether the agent is on its way to a stop.
    pub drain: tokio::sync::watch::Receiver<Drain>,
}
