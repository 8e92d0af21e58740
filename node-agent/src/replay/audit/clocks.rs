//! Pure. Whether the wall clock was set: every block of the ledger has it beside a clock that cannot
//! be set.

use crate::model::UnixMillis;
use crate::record::ledger::{Entry, Place, SegmentId};

/// A difference below this is no setting.
const TOLERANCE: u64 = 1000;
/// How far a clock that is being steered gently may stray, parts of the time that went by.
const STEERED: u64 = 1000;
/// How many are told of.
const CAP: usize = 100;

/// The wall clock did not go as time did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Jump {
    /// Seen at this block, against the one before it.
    pub(super) segment: SegmentId,
    pub(super) block: u64,
    /// By how much, milliseconds; below nothing: it was set back.
    pub(super) millis: i64,
    /// The machine was started between the two, so that only a step back shows.
    pub(super) restarted: bool,
}

/// Follows the clocks through the ledger.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    last: Option<(SegmentId, UnixMillis, u64)>,
    pub(super) jumps: Vec<Jump>,
    pub(super) more: u64,
}

impl Clocks {
    pub(super) fn look(&mut self, place: Place, entry: &Entry) {
        let Entry::Clock { at, boot } = entry else {
            return;
        };
        let before = self.last.replace((place.segment, *at, *boot));
        let Some((segment, last_at, last_boot)) = before else {
            return;
        };
        if segment != place.segment {
            return;
        }
        let wall = at.0.saturating_sub(last_at.0);
        let restarted = *boot < last_boot;
        let jumped = if restarted {
            wall.min(0)
        } else {
            let passed = boot.saturating_sub(last_boot);
            let strayed = wall.saturating_sub(i64::try_from(passed).unwrap_or(i64::MAX));
            if strayed.unsigned_abs() <= TOLERANCE.max(passed / STEERED) {
                0
            } else {
                strayed
            }
        };
        if jumped == 0 {
            return;
        }
        if self.jumps.len() >= CAP {
            self.more += 1;
            return;
        }
        self.jumps.push(Jump {
            segment,
            block: place.block,
            millis: jumped,
            restarted,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_is_named_and_one_that_was_steered_is_not() {
        // Wall clock and clock of the machine, block by block; what is found at which block.
        type Seen = [(i64, u64)];
        type Told = [(u64, i64, bool)];
        let cases: [(&Seen, &Told); 6] = [
            (&[(1000, 10), (2000, 1010), (9000, 8010)], &[]),
            (&[(1000, 10), (2900, 1010)], &[]),
            (
                &[(1000, 10), (3_600_000 + 2000, 1010)],
                &[(1, 3_600_000, false)],
            ),
            (
                &[(5000, 10), (2000, 1010), (3000, 2010)],
                &[(1, -4000, false)],
            ),
            // An hour in which it was steered by 2 s.
            (&[(0, 0), (3_602_000, 3_600_000)], &[]),
            // Off for a time, then with an older clock.
            (
                &[(9000, 5000), (20_000, 10), (8000, 20)],
                &[(2, -12_010, false)],
            ),
        ];
        for (clocks, want) in cases {
            let mut followed = Clocks::default();
            for (block, (at, boot)) in clocks.iter().enumerate() {
                let at = UnixMillis(*at);
                let place = Place {
                    segment: SegmentId(1),
                    block: block as u64,
                    at,
                };
                followed.look(place, &Entry::Clock { at, boot: *boot });
            }
            let got: Vec<_> = followed
                .jumps
                .iter()
                .map(|jump| (jump.block, jump.millis, jump.restarted))
                .collect();
            assert_eq!(got, want, "{clocks:?}");
        }
        let mut followed = Clocks::default();
        for (block, (at, boot)) in [(9000, 5000), (8000, 10)].into_iter().enumerate() {
            let at = UnixMillis(at);
            let segment = SegmentId(1);
            let block = block as u64;
            followed.look(Place { segment, block, at }, &Entry::Clock { at, boot });
        }
        let jump = followed.jumps.first().unwrap();
        assert_eq!((jump.millis, jump.restarted), (-1000, true));
    }
}
