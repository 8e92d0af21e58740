//! Pure. Intervals and times of day, cut.
//!
//! Binary forms: `interval_send` in PostgreSQL's `timestamp.c` (microseconds, eight bytes; days and
//! months, four each), `time_send` and `timetz_send` in `date.c` (microseconds; and seconds west of
//! UTC). Text of an interval is cut as it is written in the styles `postgres` and `iso_8601`
//! (`EncodeInterval` in `datetime.c`); in any other it becomes NULL, and so does `infinity`.

use bytes::{BufMut, BytesMut};

use super::cell::Written;
use super::date::zone_of;
use super::types::Clock;
use crate::model::Format;
use crate::policy::DateUnit;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Appends midnight, in UTC: of a time of day, a day keeps nothing.
pub(super) fn midnight(kind: Clock, format: Format, value: &[u8], out: &mut BytesMut) -> Written {
    let known = match (format, kind) {
        (Format::Text, _) => std::str::from_utf8(value).ok().and_then(zone_of).is_some(),
        (Format::Binary, Clock::Time) => value.len() == 8 && of_day(value),
        (Format::Binary, Clock::TimeTz) => value.len() == 12 && of_day(value),
    };
    if !known {
        return Written::Null;
    }
    match (format, kind) {
        (Format::Text, Clock::Time) => out.put_slice(b"00:00:00"),
        (Format::Text, Clock::TimeTz) => out.put_slice(b"00:00:00+00"),
        (Format::Binary, Clock::Time) => out.put_i64(0),
        (Format::Binary, Clock::TimeTz) => out.put_slice(&[0; 12]),
    }
    Written::Value
}

fn of_day(value: &[u8]) -> bool {
    let micros = value.first_chunk().map(|bytes| i64::from_be_bytes(*bytes));
    micros.is_some_and(|micros| (0..=MICROS_PER_DAY).contains(&micros))
}

/// Appends an interval, cut.
pub(super) fn cut(unit: DateUnit, format: Format, value: &[u8], out: &mut BytesMut) -> Written {
    let written = match format {
        Format::Binary => cut_binary(unit, value, out),
        Format::Text => std::str::from_utf8(value).ok().and_then(|text| {
            if text.starts_with('P') {
                cut_iso(unit, text, out)
            } else {
                cut_words(unit, text, out)
            }
        }),
    };
    written.map_or(Written::Null, |()| Written::Value)
}

fn cut_binary(unit: DateUnit, value: &[u8], out: &mut BytesMut) -> Option<()> {
    let value: &[u8; 16] = value.try_into().ok()?;
    let (micros, rest) = value.split_first_chunk::<8>()?;
    let (days, months) = rest.split_first_chunk::<4>()?;
    let micros = i64::from_be_bytes(*micros);
    let days = i32::from_be_bytes(*days);
    let months = i32::from_be_bytes(months.try_into().ok()?);
    let endless = [(i64::MAX, i32::MAX), (i64::MIN, i32::MIN)];
    if endless
        .iter()
        .any(|(wide, narrow)| micros == *wide && days == *narrow && months == *narrow)
    {
        return None;
    }
    let (days, months) = match unit {
        DateUnit::Year => (0, months - months % 12),
        DateUnit::Month => (0, months),
        DateUnit::Day => (days, months),
    };
    out.put_i64(0);
    out.put_i32(days);
    out.put_i32(months);
    Some(())
}

/// How coarse a part is, coarsest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Years,
    Months,
    Days,
    Time,
}

impl Part {
    fn kept(self, unit: DateUnit) -> bool {
        self <= match unit {
            DateUnit::Year => Part::Years,
            DateUnit::Month => Part::Months,
            DateUnit::Day => Part::Days,
        }
    }
}

/// `1 year 2 mons -3 days +04:05:06.7`: what is kept is the beginning.
fn cut_words(unit: DateUnit, text: &str, out: &mut BytesMut) -> Option<()> {
    let mut last = None;
    let (mut at, mut kept) = (0, 0);
    let mut words = text.split(' ');
    while let Some(word) = words.next() {
        let (part, length) = if word.contains(':') {
            is_clock(word).then_some((Part::Time, word.len()))?
        } else {
            let name = words.next()?;
            let part = match name {
                "year" | "years" => Part::Years,
                "mon" | "mons" => Part::Months,
                "day" | "days" => Part::Days,
                _ => return None,
            };
            is_number(word).then_some((part, word.len() + 1 + name.len()))?
        };
        if last.is_some_and(|last| last >= part) {
            return None;
        }
        last = Some(part);
        at += length;
        if part.kept(unit) {
            kept = at;
        }
        at += 1;
    }
    match text.get(..kept)? {
        "" => out.put_slice(b"00:00:00"),
        text => out.put_slice(text.as_bytes()),
    }
    Some(())
}

/// `P1Y2M-3DT4H5M6.7S`: likewise.
fn cut_iso(unit: DateUnit, text: &str, out: &mut BytesMut) -> Option<()> {
    let (date, time) = match text.strip_prefix('P')?.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (text.strip_prefix('P')?, None),
    };
    let shape = |c: char| c.is_ascii_digit() || matches!(c, 'H' | 'M' | 'S' | '-' | '.');
    if time.is_some_and(|time| time.is_empty() || !time.chars().all(shape)) {
        return None;
    }
    let mut last = None;
    let (mut rest, mut kept) = (date, 0);
    while !rest.is_empty() {
        let end = rest.find(['Y', 'M', 'D'])?;
        let (number, behind) = rest.split_at_checked(end)?;
        let part = match behind.chars().next()? {
            'Y' => Part::Years,
            'M' => Part::Months,
            _ => Part::Days,
        };
        if !is_number(number) || last.is_some_and(|last| last >= part) {
            return None;
        }
        last = Some(part);
        rest = behind.get(1..)?;
        if part.kept(unit) {
            kept = date.len() - rest.len();
        }
    }
    if last.is_none() && time.is_none() {
        return None;
    }
    match date.get(..kept)? {
        "" => out.put_slice(b"PT0S"),
        date => {
            out.put_u8(b'P');
            out.put_slice(date.as_bytes());
        }
    }
    Some(())
}

fn is_number(word: &str) -> bool {
    let digits = word.strip_prefix(['+', '-']).unwrap_or(word);
    (1..=10).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Hours (any number of digits), minutes, seconds with a fraction.
fn is_clock(word: &str) -> bool {
    let clock = word.strip_prefix(['+', '-']).unwrap_or(word);
    let mut parts = clock.split(':');
    let (hours, minutes, seconds) = (parts.next(), parts.next(), parts.next());
    let number = |text: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let (seconds, fraction) = match seconds.and_then(|seconds| seconds.split_once('.')) {
        Some((seconds, fraction)) => (Some(seconds), Some(fraction)),
        None => (seconds, None),
    };
    parts.next().is_none()
        && hours.is_some_and(|text| number(text, 2..=10))
        && minutes.is_some_and(|text| number(text, 2..=2))
        && seconds.is_some_and(|text| number(text, 2..=2))
        && fraction.is_none_or(|text| number(text, 1..=6))
}
