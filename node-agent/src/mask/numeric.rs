//! Pure. Keyed stand-ins of numeric: whole numbers of a fixed range, whatever the size, sign and scale of what
//! they stand for. A float has none: how many of its digits the server writes, the session chooses
//! (`extra_float_digits`), and equal beginnings would show.
//!
//! Binary forms: `numeric_send` in PostgreSQL's `numeric.c` (count of digits, weight, sign and scale,
//! two bytes each, then digits to the base 10,000, the first counting 10,000^weight).

use std::fmt::Write;

use bytes::{BufMut, BytesMut};

use super::cell::Written;
use super::key::MaskKey;
use crate::model::Format;

const NUMERIC: u8 = b'n';

/// Stand-ins are below this: fifteen digits, which a double holds exactly.
const NUMERIC_RANGE: u64 = 1_000_000_000_000_000;

/// Appends a keyed number for a number.
pub(super) fn token(key: &MaskKey, format: Format, value: &[u8], out: &mut BytesMut) -> Written {
    numeric(key, format, value, out).map_or(Written::Null, |()| Written::Value)
}

/// A keyed number for a number as JSON writes it.
pub(super) fn token_of_json(key: &MaskKey, value: &[u8], out: &mut BytesMut) -> Option<()> {
    let mut hasher = key.begin(NUMERIC);
    if feed_text(value, &mut hasher).is_none() {
        // With an exponent: its own spelling is its value.
        hasher = key.begin(NUMERIC);
        hasher.update(value);
    }
    write!(out, "{}", below(&hasher, NUMERIC_RANGE)).ok()
}

fn numeric(key: &MaskKey, format: Format, value: &[u8], out: &mut BytesMut) -> Option<()> {
    let mut hasher = key.begin(NUMERIC);
    match format {
        Format::Text => feed_text(value, &mut hasher)?,
        Format::Binary => feed_binary(value, &mut hasher)?,
    }
    let number = below(&hasher, NUMERIC_RANGE);
    match format {
        Format::Text => write!(out, "{number}").ok(),
        Format::Binary => {
            put_numeric(number, out);
            Some(())
        }
    }
}

fn below(hasher: &blake3::Hasher, range: u64) -> u64 {
    let mut random = [0; 8];
    hasher.finalize_xof().fill(&mut random);
    u64::from_be_bytes(random) % range
}

/// Digits to the base 10,000 without zeros at either end, so that `1.50` and `1.5` are one value.
struct Digits<'a> {
    hasher: &'a mut blake3::Hasher,
    /// The power of 10,000 that the next digit counts.
    weight: i64,
    begun: bool,
    /// Zeros that matter only if another digit follows.
    held: u32,
}

impl<'a> Digits<'a> {
    fn new(hasher: &'a mut blake3::Hasher, sign: u8, weight: i64) -> Self {
        hasher.update(&[sign]);
        Digits {
            hasher,
            weight,
            begun: false,
            held: 0,
        }
    }

    fn push(&mut self, digit: u16) {
        if digit == 0 {
            if self.begun {
                self.held += 1;
            } else {
                self.weight -= 1;
            }
            return;
        }
        if !self.begun {
            self.hasher.update(&self.weight.to_be_bytes());
            self.begun = true;
        }
        for _ in 0..self.held {
            self.hasher.update(&[0, 0]);
        }
        self.held = 0;
        self.hasher.update(&digit.to_be_bytes());
    }
}

const NOT_A_NUMBER: u8 = b'?';
const INFINITY: u8 = b'>';
const MINUS_INFINITY: u8 = b'<';

/// As `numeric_out` writes it: no exponent, no blanks.
fn feed_text(value: &[u8], hasher: &mut blake3::Hasher) -> Option<()> {
    let special = match value {
        b"NaN" => Some(NOT_A_NUMBER),
        b"Infinity" => Some(INFINITY),
        b"-Infinity" => Some(MINUS_INFINITY),
        _ => None,
    };
    if let Some(special) = special {
        hasher.update(&[special]);
        return Some(());
    }
    let (sign, number) = match value.strip_prefix(b"-") {
        Some(number) => (b'-', number),
        None => (b'+', value),
    };
    let (whole, fraction) = match number.iter().position(|byte| *byte == b'.') {
        Some(dot) => (number.get(..dot)?, number.get(dot + 1..)?),
        None => (number, &b""[..]),
    };
    let digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let weight = i64::try_from(whole.len().div_ceil(4)).ok()? - 1;
    let mut to = Digits::new(hasher, sign, weight);
    // The first of the whole part may be short, and the last of the fraction.
    for part in whole.rchunks(4).rev() {
        to.push(decimal(part));
    }
    for part in fraction.chunks(4) {
        let missing = u32::try_from(4 - part.len()).ok()?;
        to.push(decimal(part) * 10_u16.pow(missing));
    }
    Some(())
}

/// Up to four digits.
fn decimal(digits: &[u8]) -> u16 {
    digits
        .iter()
        .fold(0, |number, digit| number * 10 + u16::from(digit - b'0'))
}

fn feed_binary(value: &[u8], hasher: &mut blake3::Hasher) -> Option<()> {
    let (head, digits) = value.split_first_chunk::<8>()?;
    let [c, ount, w, eight, s, ign, _, _] = *head;
    let (count, weight, sign) = (
        u16::from_be_bytes([c, ount]),
        i16::from_be_bytes([w, eight]),
        u16::from_be_bytes([s, ign]),
    );
    let (digits, rest) = digits.as_chunks::<2>();
    if digits.len() != usize::from(count) || !rest.is_empty() {
        return None;
    }
    let sign = match sign {
        0x0000 => b'+',
        0x4000 => b'-',
        special => {
            hasher.update(&[match special {
                0xC000 => NOT_A_NUMBER,
                0xD000 => INFINITY,
                0xF000 => MINUS_INFINITY,
                _ => return None,
            }]);
            return Some(());
        }
    };
    let mut to = Digits::new(hasher, sign, i64::from(weight));
    for digit in digits {
        let digit = u16::from_be_bytes(*digit);
        if digit >= 10_000 {
            return None;
        }
        to.push(digit);
    }
    Some(())
}

/// A whole number in the form of `numeric_send`, without zeros at the end, as the server sends it.
fn put_numeric(mut number: u64, out: &mut BytesMut) {
    let mut digits = [0_u16; 5];
    let mut used = 0_u16;
    let (mut last, mut count) = (0_u16, 0_u16);
    for place in &mut digits {
        if number == 0 {
            break;
        }
        *place = u16::try_from(number % 10_000).unwrap_or_default();
        number /= 10_000;
        if count == 0 && *place == 0 {
            last += 1;
        } else {
            count += 1;
        }
        used += 1;
    }
    out.put_u16(count);
    out.put_u16(used.saturating_sub(1));
    out.put_u16(0); // positive
    out.put_u16(0); // no digits behind the point
    let shown = digits.get(usize::from(last)..usize::from(used));
    for digit in shown.unwrap_or_default().iter().rev() {
        out.put_u16(*digit);
    }
}
