//! What is said of how well a cgroup is governed, and how often: many short processes with
//! privileges would say it twice each. `status` and the metric show each moment as it is.

use std::time::{Duration, Instant};

use super::reason::Standing;

/// No more than one line about a cgroup in so long, unless it is not governed at all.
const QUIET: Duration = Duration::from_secs(60);

/// One cgroup.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    now: Standing,
    /// What was said last, and when. `None`: nothing yet.
    said: Option<(Standing, Instant)>,
    /// Changes since then.
    changes: u32,
}

/// What is to be said: how often it changed since it was said last, this time included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Say {
    pub(super) changes: u32,
}

impl Told {
    /// A cgroup that was just labelled. That it is governed needs no word.
    pub(super) fn new() -> Self {
        Told {
            now: Standing::Governed,
            said: None,
            changes: 0,
        }
    }

    /// It is so at this moment.
    pub(super) fn see(&mut self, now: Standing, at: Instant) -> Option<Say> {
        if now != self.now {
            self.now = now;
            self.changes = self.changes.saturating_add(1);
        }
        let due = match self.said {
            None => true,
            Some((_, since)) => at.saturating_duration_since(since) >= QUIET,
        };
        let worst = now == Standing::Not && self.said.is_none_or(|(said, _)| said != now);
        if self.changes == 0 || !(due || worst) {
            return None;
        }
        self.said = Some((now, at));
        let changes = std::mem::take(&mut self.changes);
        Some(Say { changes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_said_at_once_and_many_changes_once_a_minute_with_their_number() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut told = Told::new();
        let said = |changes| Some(Say { changes });
        assert_eq!(told.see(Standing::Governed, at(0)), None);
        assert_eq!(told.see(Standing::Partly, at(1)), said(1));
        for second in 2..60 {
            let now = if second % 2 == 0 {
                Standing::Governed
            } else {
                Standing::Partly
            };
            assert_eq!(told.see(now, at(second)), None, "{second}");
        }
        assert_eq!(told.see(Standing::Governed, at(61)), said(59));
        // What stays is said once.
        assert_eq!(told.see(Standing::Governed, at(500)), None);
        assert_eq!(told.see(Standing::Partly, at(501)), said(1));
        // The last state is said in the end.
        assert_eq!(told.see(Standing::Governed, at(502)), None);
        assert_eq!(told.see(Standing::Governed, at(561)), said(1));
    }

    #[test]
    fn not_governed_is_always_said_at_once() {
        let begun = Instant::now();
        let mut told = Told::new();
        assert!(told.see(Standing::Partly, begun).is_some());
        assert_eq!(told.see(Standing::Not, begun), Some(Say { changes: 1 }));
        assert_eq!(told.see(Standing::Not, begun), None);
    }
}
