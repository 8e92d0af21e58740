//! Pure. Dates and timestamps cut to year, month or day.
//!
//! Text is cut as it is written: `DateStyle` ISO; any other style and `infinity` become NULL, and so
//! does what would be before the type's first day. What has an offset is cut in UTC, in both formats: the
//! session chooses its time zone, and a day that is another one in another zone would tell the time, as an
//! offset tells summer from winter.

use std::fmt::Write;

use bytes::{BufMut, BytesMut};

use super::cell::Written;
use super::types::Moment;
use crate::model::Format;
use crate::policy::DateUnit;

const MICROS_PER_DAY: i64 = 86_400_000_000;
/// 2000-01-01, PostgreSQL's day 0, counted from 1970-01-01.
const EPOCH: i64 = 10_957;
/// Julian day 0, the first date of the type (`DATETIME_MIN_JULIAN`), counted from day 0.
const FIRST_DAY: i64 = -2_451_545;

/// Appends the value, cut.
pub(super) fn cut(
    kind: Moment,
    unit: DateUnit,
    format: Format,
    value: &[u8],
    out: &mut BytesMut,
) -> Written {
    let written = match format {
        Format::Text => std::str::from_utf8(value)
            .ok()
            .and_then(|text| cut_text(kind, unit, text, out)),
        Format::Binary => cut_binary(kind, unit, value, out),
    };
    written.map_or(Written::Null, |()| Written::Value)
}

/// How date and time are set apart, and which zones there are besides an offset.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// As the server writes it.
    Server,
    /// As documents have it (RFC 3339): also with `T` and `Z`.
    Document,
}

/// Appends a date, or a date with a time, that stands in a document; none if it is neither.
pub(super) fn cut_in_document(unit: DateUnit, text: &str, out: &mut BytesMut) -> Option<()> {
    let kind = match text.len() {
        ..=10 => Moment::Date,
        _ => Moment::Timestamp,
    };
    cut_styled(kind, unit, Style::Document, text, out)
}

fn cut_text(kind: Moment, unit: DateUnit, text: &str, out: &mut BytesMut) -> Option<()> {
    cut_styled(kind, unit, Style::Server, text, out)
}

fn cut_styled(
    kind: Moment,
    unit: DateUnit,
    style: Style,
    text: &str,
    out: &mut BytesMut,
) -> Option<()> {
    let (text, era) = match text.strip_suffix(" BC") {
        Some(text) => (text, " BC"),
        None => (text, ""),
    };
    let (date, time) = match kind {
        Moment::Date => (text, None),
        Moment::Timestamp => {
            let gap = |c: char| c == ' ' || (c == 'T' && style == Style::Document);
            let at = text.find(gap)?;
            (
                text.get(..at)?,
                Some((text.get(at..=at)?, text.get(at + 1..)?)),
            )
        }
    };
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if parts.next().is_some()
        || !(4..=7).contains(&year.len())
        || month.len() != 2
        || day.len() != 2
        || ![year, month, day].into_iter().all(digits)
    {
        return None;
    }
    let zone = match time {
        None => "",
        Some((_, time)) => match time.strip_suffix('Z') {
            Some(time) if style == Style::Document => zone_of(time)?.is_empty().then_some("Z")?,
            Some(_) | None => zone_of(time)?,
        },
    };
    // The first day is 4714-11-24 BC: the first of its month and year came before it.
    if era == " BC"
        && year == "4714"
        && (unit == DateUnit::Year || (unit == DateUnit::Month && month == "11"))
    {
        return None;
    }
    if let (Some((gap, clock)), false) = (time, matches!(zone, "" | "Z")) {
        let seconds = seconds_of(clock)?.checked_sub(offset_of(zone)?)?;
        let number = |part: &str| part.parse::<i64>().ok();
        let (year, month, day) = (number(year)?, number(month)?, number(day)?);
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return None;
        }
        let year = if era.is_empty() { year } else { 1 - year };
        let days = days_of(year, month) + day - 1 + seconds.div_euclid(SECONDS_PER_DAY);
        let (year, month, day) = civil(cut_days(days - EPOCH, unit)? + EPOCH);
        let (year, era) = match year {
            1.. => (year, ""),
            _ => (1 - year, " BC"),
        };
        let zone = match style {
            Style::Server => "+00",
            Style::Document => "+00:00",
        };
        return write!(out, "{year:04}-{month:02}-{day:02}{gap}00:00:00{zone}{era}").ok();
    }
    let (month, day) = match unit {
        DateUnit::Year => ("01", "01"),
        DateUnit::Month => (month, "01"),
        DateUnit::Day => (month, day),
    };
    write!(out, "{year}-{month}-{day}").ok()?;
    if let Some((gap, _)) = time {
        write!(out, "{gap}00:00:00{zone}").ok()?;
    }
    out.put_slice(era.as_bytes());
    Some(())
}

const SECONDS_PER_DAY: i64 = 86_400;

/// The seconds of `HH[:MM[:SS]]`, and what may stand behind that.
fn seconds_of(clock: &str) -> Option<i64> {
    let part = |at: usize| match clock.get(at..at + 2) {
        None => Some(0),
        Some(digits) => digits.parse::<i64>().ok(),
    };
    Some(part(0)? * 3_600 + part(3)? * 60 + part(6)?)
}

/// The seconds of an offset from UTC, as `zone_of` gives it.
fn offset_of(zone: &str) -> Option<i64> {
    match zone.strip_prefix('-') {
        Some(west) => seconds_of(west).map(|seconds| -seconds),
        None => seconds_of(zone.strip_prefix('+')?),
    }
}

/// The offset behind `HH:MM:SS[.ffffff]`: empty, or `+HH[:MM[:SS]]`.
pub(super) fn zone_of(time: &str) -> Option<&str> {
    let (clock, rest) = time.split_at_checked(8)?;
    let shape = clock.bytes().enumerate().all(|(at, byte)| match at {
        2 | 5 => byte == b':',
        _ => byte.is_ascii_digit(),
    });
    let rest = match rest.strip_prefix('.') {
        None => rest,
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
    };
    let offset = rest.strip_prefix(['+', '-']);
    let fits = match offset {
        None => rest.is_empty(),
        Some(offset) => {
            matches!(offset.len(), 2 | 5 | 8)
                && offset.bytes().enumerate().all(|(at, byte)| match at {
                    2 | 5 => byte == b':',
                    _ => byte.is_ascii_digit(),
                })
        }
    };
    (shape && fits).then_some(rest)
}

fn cut_binary(kind: Moment, unit: DateUnit, value: &[u8], out: &mut BytesMut) -> Option<()> {
    // The largest and the smallest number stand for infinity.
    match kind {
        Moment::Date => {
            let days = i32::from_be_bytes(value.try_into().ok()?);
            if matches!(days, i32::MAX | i32::MIN) {
                return None;
            }
            out.put_i32(i32::try_from(cut_days(i64::from(days), unit)?).ok()?);
        }
        Moment::Timestamp => {
            let micros = i64::from_be_bytes(value.try_into().ok()?);
            if matches!(micros, i64::MAX | i64::MIN) {
                return None;
            }
            let days = cut_days(micros.div_euclid(MICROS_PER_DAY), unit)?;
            out.put_i64(days.checked_mul(MICROS_PER_DAY)?);
        }
    }
    Some(())
}

/// Days since 2000-01-01, cut in the proleptic Gregorian calendar.
fn cut_days(days: i64, unit: DateUnit) -> Option<i64> {
    let (year, month, _) = civil(days.checked_add(EPOCH)?);
    let cut = match unit {
        DateUnit::Year => days_of(year, 1) - EPOCH,
        DateUnit::Month => days_of(year, month) - EPOCH,
        DateUnit::Day => days,
    };
    (cut >= FIRST_DAY).then_some(cut)
}

/// Year, month and day of a day since 1970-01-01. Eras of 400 years, years that begin in March.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// The first day of a month, since 1970-01-01.
fn days_of(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * month + 2) / 5;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    era * 146_097 + of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::{civil, days_of};

    #[test]
    fn the_calendar_agrees_with_itself_over_eight_thousand_years() {
        let mut last = (0, 0, 0);
        for days in -1_500_000..1_500_000 {
            let (year, month, day) = civil(days);
            assert_eq!(days_of(year, month) + day - 1, days);
            assert!((year, month, day) > last || days == -1_500_000);
            last = (year, month, day);
        }
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(10_957), (2000, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
    }
}
