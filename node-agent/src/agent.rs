//! IO. The composition root: builds each thing once, starts and stops them in order.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::accept::{Listeners, permits};
use crate::admin::{self, Admin};
use crate::approval::Desk;
use crate::config::{Config, TargetTls};
use crate::connection::Gate;
use crate::feed;
use crate::identity::{Issuers, TokenFiles};
use crate::mask::MaskKey;
use crate::model::Secret;
use crate::record::{Recorder, RecorderSettings};
use crate::session::{Analyses, Cancels, Drain, Reachable, Shared};
use crate::telemetry::{Metrics, Registry};
use crate::tls::{ClientTls, NodeCa, UpstreamConnector, UpstreamTls};
use crate::upstream::Catalogues;

/// How long sessions may go on after SIGTERM before they are ended in the middle.
const GRACE: Duration = Duration::from_secs(25);
/// How long ended sessions may take to say goodbye.
const PARTING: Duration = Duration::from_secs(5);
