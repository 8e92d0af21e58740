//! Pure. What objects are called.

use std::path::Path;

use crate::model::{SessionId, UnixMillis};
use crate::record::ledger::SegmentId;

/// The session of a recording by its file's name, here or there.
pub(super) fn session_of(path: &Path) -> Option<SessionId> {
    path.file_name()?
        .to_str()?
        .strip_suffix(".rec")?
        .parse()
        .ok()
}

/// The same of a segment of the ledger.
pub(super) fn segment_of(path: &Path) -> Option<SegmentId> {
    path.file_name()?
        .to_str()?
        .strip_suffix(".led")?
        .parse()
        .ok()
}

/// The name of a recording below the node's: by the day on which it began, UTC.
pub(super) fn object_of(session: SessionId, began: UnixMillis) -> String {
    let day = time::OffsetDateTime::from_unix_timestamp(began.0.div_euclid(1000))
        .map_or(time::Date::MIN, time::OffsetDateTime::date);
    let (year, month) = (day.year().max(0), u8::from(day.month()));
    format!("{year:04}/{month:02}/{:02}/{session}.rec", day.day())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_lies_under_the_day_on_which_it_began() {
        for (millis, day) in [
            (0, "1970/01/01"),
            (-1, "1969/12/31"),
            (1_767_225_599_999, "2025/12/31"),
            (1_767_225_600_000, "2026/01/01"),
            (i64::MAX, "0000/01/01"),
        ] {
            let object = object_of(SessionId(0xc0ffee), UnixMillis(millis));
            assert_eq!(object, format!("{day}/s-0000000000c0ffee.rec"), "{millis}");
            assert_eq!(session_of(Path::new(&object)), Some(SessionId(0xc0ffee)));
        }
    }
}
