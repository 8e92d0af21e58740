//! Pure. How long after a failure the next attempt is made.

use std::time::Duration;

/// After the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// Never longer, and at once so long where the receiver says that it will not take it.
const LONGEST: Duration = Duration::from_secs(5 * 60);
/// A receiver may ask for so much patience.
const LONGEST_ASKED: Duration = Duration::from_secs(60 * 60);

/// Why an attempt failed, as far as the next one hangs on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// It may be over soon.
    ForNow,
    /// The receiver said when to come again.
    Until(Duration),
    /// It stays until somebody mends it.
    UntilMended,
}

/// The wait before the next attempt, where so many (from 1) have failed. `random` is any number; it
/// spreads the attempts of many agents over the second half of the wait.
pub(super) fn wait(failed: Failed, times: u32, random: u32) -> Duration {
    let most = match failed {
        Failed::Until(asked) => return asked.clamp(FIRST, LONGEST_ASKED),
        Failed::UntilMended => LONGEST,
        Failed::ForNow => {
            let doublings = times.saturating_sub(1).min(16);
            FIRST.saturating_mul(1 << doublings).min(LONGEST)
        }
    };
    let half = most / 2;
    half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
}
