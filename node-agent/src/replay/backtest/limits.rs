//! Pure. What was recorded of an answer, held against limits that it did not have.

use crate::policy::Limits;
use crate::record::{End, Finished};

/// Whether an answer would have passed a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// None of those that are new.
    Nothing,
    /// This one: its key, and the sentence.
    Limit(&'static str, String),
    /// It was stopped before, and nobody knows how far it would have gone.
    Unknown,
}

/// Holds an answer against limits. Those that it had already are known to have been kept, or to have
/// stopped it: the record says so.
pub(super) fn passed(finished: &Finished, old: Limits, new: Limits) -> Passed {
    let stopped = match finished.end {
        End::Stopped | End::Undone => true,
        End::Done | End::Failed | End::Suspended | End::Skipped | End::Cut => false,
    };
    if old == new {
        return Passed::Nothing;
    }
    let changed = changed(finished);
    let beyond = [
        (
            "rows_returned",
            old.rows_returned,
            new.rows_returned,
            finished.rows,
            "rows returned",
        ),
        (
            "bytes_returned",
            old.bytes_returned,
            new.bytes_returned,
            finished.bytes,
            "bytes returned",
        ),
        (
            "statement_timeout",
            old.statement_timeout_ms,
            new.statement_timeout_ms,
            finished.micros / 1000,
            "ms",
        ),
        (
            "rows_affected",
            old.rows_affected,
            new.rows_affected,
            changed,
            "rows affected",
        ),
    ]
    .into_iter()
    .find_map(|(key, old, new, seen, what)| {
        let most = new.filter(|most| seen > *most && old != Some(*most))?;
        Some((key, format!("{seen} {what}, and the limit is {most}")))
    });
    match (beyond, stopped) {
        // Stopped it was, stopped it would be.
        (Some(_), true) => Passed::Nothing,
        (Some((key, why)), false) => Passed::Limit(key, why),
        (None, true) => Passed::Unknown,
        (None, false) => Passed::Nothing,
    }
}

/// Rows changed: as counted, else as its tags say, which leave out what it set off.
pub(super) fn changed(finished: &Finished) -> u64 {
    finished.changed.unwrap_or_else(|| {
        let rows = finished.tags.iter().map(|tag| {
            let mut words = tag.split(' ');
            match words.next() {
                Some("INSERT" | "UPDATE" | "DELETE" | "MERGE") => words
                    .next_back()
                    .and_then(|rows| rows.parse().ok())
                    .unwrap_or(0),
                Some(_) | None => 0,
            }
        });
        rows.fold(0, u64::saturating_add)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::fixtures;

    #[test]
    fn an_answer_is_held_against_the_limits_that_are_new() {
        let rows = |rows_returned| Limits {
            rows_returned,
            ..Limits::default()
        };
        let none = Limits::default();
        for (end, old, new, limit) in [
            (End::Done, none, rows(Some(9)), Some(true)),
            (End::Done, none, rows(Some(10)), Some(false)),
            (End::Done, rows(Some(100)), rows(Some(9)), Some(true)),
            // It had this one, and kept it.
            (End::Done, rows(Some(9)), rows(Some(9)), Some(false)),
            (End::Stopped, rows(Some(10)), rows(Some(10)), Some(false)),
            (End::Stopped, rows(Some(10)), rows(Some(5)), Some(false)),
            (End::Stopped, rows(Some(10)), rows(Some(50)), None),
            (End::Undone, rows(Some(10)), none, None),
        ] {
            let finished = Finished {
                end,
                ..fixtures::finished(1, 10)
            };
            let found = match passed(&finished, old, new) {
                Passed::Nothing => Some(false),
                Passed::Limit(key, _) => {
                    assert_eq!(key, "rows_returned");
                    Some(true)
                }
                Passed::Unknown => None,
            };
            assert_eq!(found, limit, "{end:?} {old:?} {new:?}");
        }
    }

    #[test]
    fn rows_changed_are_counted_or_read_of_the_tags() {
        for (tags, counted, expected) in [
            (&["UPDATE 3", "INSERT 0 4", "SELECT 9"][..], None, 7),
            (&["UPDATE 3"], Some(30), 30),
            (&["COMMIT"], None, 0),
        ] {
            let finished = Finished {
                tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
                changed: counted,
                ..fixtures::finished(1, 0)
            };
            assert_eq!(changed(&finished), expected);
        }
    }
}
