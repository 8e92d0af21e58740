//! Pure. Moments as text, in UTC.

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::model::UnixMillis;

const FULL: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:3] UTC");
const SHORT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
const CLOCK: &[BorrowedFormatItem<'_>] =
    format_description!("[hour]:[minute]:[second].[subsecond digits:3]");

fn format(at: UnixMillis, as_: &[BorrowedFormatItem<'_>]) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000)
        .ok()
        .and_then(|moment| moment.format(as_).ok())
        // A moment beyond the calendar is shown as the number it is.
        .unwrap_or_else(|| format!("{} ms", at.0))
}

/// `2026-01-31 12:00:00.123 UTC`.
pub(crate) fn full(at: UnixMillis) -> String {
    format(at, FULL)
}

/// `2026-01-31 12:00:00`.
pub(super) fn short(at: UnixMillis) -> String {
    format(at, SHORT)
}

/// `12:00:00.123`.
pub(super) fn clock(at: UnixMillis) -> String {
    format(at, CLOCK)
}

/// `412 µs`, `1.2 ms`, `3.40 s`.
pub(super) fn took(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        _ => format!("{:.2} s", micros as f64 / 1e6),
    }
}

/// How long a session took, from milliseconds: `640 ms`, `12.3 s`, `3 min 2 s`, `5 h 20 min`.
pub(super) fn lasted(millis: u64) -> String {
    let seconds = millis / 1_000;
    match seconds {
        0 => format!("{millis} ms"),
        1..60 => format!("{:.1} s", millis as f64 / 1e3),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
    }
}

const POSTGRES_EPOCH: OffsetDateTime = time::macros::datetime!(2000-01-01 00:00 UTC);

/// PostgreSQL's binary `date`: days since 2000.
pub(super) fn day(days: i32) -> Option<String> {
    let moment = POSTGRES_EPOCH.checked_add(time::Duration::days(days.into()))?;
    moment
        .format(format_description!("[year]-[month]-[day]"))
        .ok()
}

/// PostgreSQL's binary `timestamp`: microseconds since 2000.
pub(super) fn micros(micros: i64) -> Option<String> {
    let moment = POSTGRES_EPOCH.checked_add(time::Duration::microseconds(micros))?;
    let text = moment.format(SHORT).ok()?;
    Some(match moment.microsecond() {
        0 => text,
        fraction => format!("{text}.{fraction:06}"),
    })
}

/// `2026-01-31T12:00:00.123Z` (RFC 3339).
pub(super) fn rfc3339(at: UnixMillis) -> String {
    format(
        at,
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"),
    )
}
