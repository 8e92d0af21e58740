//! IO. Logs, metrics, and the register of live sessions.

mod live;
mod log;
mod metrics;

pub use live::{LiveGuard, LiveSession, Registry, Seen};
pub use log::{LogError, start_log};
pub use metrics::{METRICS, Meaning, Metrics, Scraped};
