//! A moment in time as plain data. Reading the clock is `clock.rs`'s business.

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// This moment and `seconds` more. Saturates.
    pub fn plus_seconds(self, seconds: i64) -> Self {
        UnixMillis(self.0.saturating_add(seconds.saturating_mul(1000)))
    }
}
