//! Pure. Keyed stand-ins of the same shape.
//!
//! The same value gets the same stand-in under the same key, so joins and counts still work, and
//! frequencies still show. The mapping is one-way (a keyed hash), not a permutation: two values can
//! share a stand-in, and short ones do.

use std::fmt::Write;

use bytes::{BufMut, BytesMut};

use super::cell::Written;
use super::key::MaskKey;
use super::types::Width;
use crate::model::Format;

const TEXT: u8 = b't';
const INT: u8 = b'i';
const UUID: u8 = b'u';

/// A digit for a digit, a letter for a letter of the same case, `x`-like letters for all that is
/// not ASCII; ASCII punctuation and blanks stay.
pub(super) fn text(key: &MaskKey, value: &[u8], out: &mut BytesMut) -> Written {
    let Ok(text) = std::str::from_utf8(value) else {
        return Written::Null;
    };
    let mut stream = key.stream(TEXT, value);
    let mut block = [0; 64];
    let mut left = 0;
    out.reserve(value.len());
    for character in text.chars() {
        let (from, count) = match character {
            '0'..='9' => (b'0', 10),
            'A'..='Z' => (b'A', 26),
            'a'..='z' => (b'a', 26),
            other if other.is_ascii() => {
                // In ASCII a character is its byte.
                out.put_u8(u8::try_from(other).unwrap_or(b'?'));
                continue;
            }
            _ => (b'a', 26),
        };
        if left == 0 {
            stream.fill(&mut block);
            left = block.len();
        }
        left -= 1;
        let random = block.get(left).copied().unwrap_or_default();
        out.put_u8(from + random % count);
    }
    Written::Value
}

/// A number from 0 to the largest of its type.
pub(super) fn int(
    key: &MaskKey,
    width: Width,
    format: Format,
    value: &[u8],
    out: &mut BytesMut,
) -> Written {
    let number: Option<i64> = match (format, width) {
        (Format::Text, _) => std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse().ok()),
        (Format::Binary, Width::Two) => {
            value.try_into().ok().map(i16::from_be_bytes).map(i64::from)
        }
        (Format::Binary, Width::Four) => {
            value.try_into().ok().map(i32::from_be_bytes).map(i64::from)
        }
        (Format::Binary, Width::Eight) => value.try_into().ok().map(i64::from_be_bytes),
    };
    let Some(number) = number else {
        return Written::Null;
    };
    let mut random = [0; 8];
    key.stream(INT, &number.to_be_bytes()).fill(&mut random);
    let random = u64::from_be_bytes(random);
    let largest = match width {
        Width::Two => i16::MAX as u64,
        Width::Four => i32::MAX as u64,
        Width::Eight => i64::MAX as u64,
    };
    let bytes = (random & largest).to_be_bytes();
    let tail = match (format, width) {
        (Format::Text, _) => {
            // Writing to a buffer that grows does not fail.
            return match write!(out, "{}", random & largest) {
                Ok(()) => Written::Value,
                Err(_) => Written::Null,
            };
        }
        (Format::Binary, Width::Two) => bytes.get(6..),
        (Format::Binary, Width::Four) => bytes.get(4..),
        (Format::Binary, Width::Eight) => bytes.get(..),
    };
    out.put_slice(tail.unwrap_or_default());
    Written::Value
}

/// A UUID of version 8 (RFC 9562, section 5.8: custom), so that nobody takes it for a real one.
pub(super) fn uuid(key: &MaskKey, format: Format, value: &[u8], out: &mut BytesMut) -> Written {
    let real: Option<[u8; 16]> = match format {
        Format::Binary => value.try_into().ok(),
        Format::Text => hex(value),
    };
    let Some(real) = real else {
        return Written::Null;
    };
    let mut stand_in = [0; 16];
    key.stream(UUID, &real).fill(&mut stand_in);
    let mut number = u128::from_be_bytes(stand_in);
    number = number & !(0xf << 76) | (8 << 76);
    number = number & !(0b11 << 62) | (0b10 << 62);
    match format {
        Format::Binary => out.put_slice(&number.to_be_bytes()),
        Format::Text => {
            let part = |shift: u32, bits: u32| (number >> shift) & ((1 << bits) - 1);
            let written = write!(
                out,
                "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
                part(96, 32),
                part(80, 16),
                part(64, 16),
                part(48, 16),
                part(0, 48)
            );
            if written.is_err() {
                return Written::Null;
            }
        }
    }
    Written::Value
}

/// The form the server writes: 32 hex digits in groups of 8-4-4-4-12.
fn hex(value: &[u8]) -> Option<[u8; 16]> {
    if value.len() != 36 {
        return None;
    }
    let mut number: u128 = 0;
    for (at, byte) in value.iter().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            if *byte != b'-' {
                return None;
            }
            continue;
        }
        let digit = char::from(*byte).to_digit(16)?;
        number = number << 4 | u128::from(digit);
    }
    Some(number.to_be_bytes())
}
