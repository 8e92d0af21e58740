//! Pure. Moments as people say them, in UTC.

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime, Time};

use crate::model::UnixMillis;

/// This is no moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no moment: say 90s, 30m, 2h, 3d or 1w (ago), today, yesterday, 2026-01-31, \
     2026-01-31 12:00 or 2026-01-31T12:00:00Z; all in UTC"
)]
pub struct NotAMoment(pub String);

/// RFC 3339, a day, a day and a time of it, `today`, `yesterday`, or how long ago (`2h`). UTC where
/// nothing else is said; a day is its beginning.
pub fn since(text: &str, now: UnixMillis) -> Result<UnixMillis, NotAMoment> {
    let text = text.trim();
    let today = OffsetDateTime::from_unix_timestamp_nanos(i128::from(now.0) * 1_000_000)
        .map(OffsetDateTime::date)
        .ok();
    let found = match text {
        "now" => Some(now),
        "today" => today.and_then(midnight),
        "yesterday" => today.and_then(Date::previous_day).and_then(midnight),
        _ => ago(text, now).or_else(|| written(text)),
    };
    found.ok_or_else(|| NotAMoment(text.to_owned()))
}

fn ago(text: &str, now: UnixMillis) -> Option<UnixMillis> {
    let text = text.strip_suffix(" ago").unwrap_or(text).trim_end();
    let unit = text.chars().next_back()?;
    let seconds: i64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return None,
    };
    let count: i64 = text
        .strip_suffix(unit)
        .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?
        .parse()
        .ok()?;
    let millis = count.checked_mul(seconds)?.checked_mul(1000)?;
    Some(UnixMillis(now.0.saturating_sub(millis)))
}

fn written(text: &str) -> Option<UnixMillis> {
    if let Ok(moment) = OffsetDateTime::parse(text, &Rfc3339) {
        return at(moment);
    }
    let day = format_description!("[year]-[month]-[day]");
    if let Ok(day) = Date::parse(text, &day) {
        return midnight(day);
    }
    let minute = format_description!("[year]-[month]-[day] [hour]:[minute]");
    let second = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    let text = text.replacen('T', " ", 1);
    let moment = PrimitiveDateTime::parse(&text, &minute)
        .or_else(|_| PrimitiveDateTime::parse(&text, &second))
        .ok()?;
    at(moment.assume_utc())
}

fn midnight(day: Date) -> Option<UnixMillis> {
    at(PrimitiveDateTime::new(day, Time::MIDNIGHT).assume_utc())
}

fn at(moment: OffsetDateTime) -> Option<UnixMillis> {
    let millis = moment.unix_timestamp_nanos().div_euclid(1_000_000);
    i64::try_from(millis).ok().map(UnixMillis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_people_say_them() {
        let now = UnixMillis(1_769_860_800_000); // 2026-01-31 12:00:00 UTC
        let day = 86_400_000;
        for (text, want) in [
            ("2h", now.0 - 7_200_000),
            ("90s ago", now.0 - 90_000),
            ("1w", now.0 - 7 * day),
            ("today", now.0 - day / 2),
            ("yesterday", now.0 - day / 2 - day),
            ("2026-01-31", now.0 - day / 2),
            ("2026-01-31 12:00", now.0),
            ("2026-01-31T12:00:00", now.0),
            ("2026-01-31T12:00:00Z", now.0),
            ("2026-01-31T13:00:00.5+01:00", now.0 + 500),
            ("now", now.0),
        ] {
            assert_eq!(since(text, now), Ok(UnixMillis(want)), "{text}");
        }
        for text in [
            "",
            "h",
            "2",
            "-2h",
            "2y",
            "2é",
            "99999999999999999w",
            "31.1.2026",
            "later",
        ] {
            assert!(since(text, now).is_err(), "{text}");
        }
    }
}
