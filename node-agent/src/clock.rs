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

/// Milliseconds since the machine was started, sleep included. It cannot be set, so that it shows
/// when the wall clock was.
pub fn since_boot() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let millis = now.tv_sec.max(0).unsigned_abs() * 1000;
    millis + now.tv_nsec.max(0).unsigned_abs() / 1_000_000
}
