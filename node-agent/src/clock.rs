//! IO. The one place that reads time.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::UnixMillis;

/// The wall clock, for events and token checks.
pub fn now() -> UnixMillis {
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the wall clock"
    )]
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    UnixMillis(since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
}
