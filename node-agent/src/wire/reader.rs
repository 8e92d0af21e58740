//! A cursor that cannot leave the bytes it was given: the only place of the wire that slices.
//!
//! It is handed exactly one frame's body, so no field can be read out of the next frame, and
//! `end` refuses a body that was not consumed whole.

use std::ops::Range;

use bytes::Bytes;

use super::{Garbled, Peer};

/// Reads one message's body.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    who: Peer,
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// A cursor at the start of `bytes`; `what` names the message in errors.
    pub(crate) fn new(who: Peer, what: &'static str, bytes: &'a [u8]) -> Self {
        Reader {
            bytes,
            at: 0,
            who,
            what,
        }
    }

    /// Where the cursor stands, from the start of the body.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// How much is left.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// The error for a field that is there but makes no sense.
    pub(crate) fn garbled(&self, seen: &str) -> Garbled {
        Garbled {
            who: self.who,
            expected: self.what,
            seen: format!("{seen} at byte {} of {}", self.at, self.bytes.len()),
        }
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Garbled> {
        let end = self.at.checked_add(count);
        match end.and_then(|end| self.bytes.get(self.at..end)) {
            Some(part) => {
                self.at += count;
                Ok(part)
            }
            None => Err(self.garbled("a field cut short")),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Garbled> {
        match self
            .bytes
            .get(self.at..)
            .and_then(|rest| rest.first_chunk::<N>())
        {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(self.garbled("a field cut short")),
        }
    }

    /// One byte.
    pub(crate) fn u8(&mut self) -> Result<u8, Garbled> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Two bytes, network order.
    pub(crate) fn u16(&mut self) -> Result<u16, Garbled> {
        self.array().map(u16::from_be_bytes)
    }

    /// Two bytes, network order, signed.
    pub(crate) fn i16(&mut self) -> Result<i16, Garbled> {
        self.array().map(i16::from_be_bytes)
    }

    /// Four bytes, network order.
    pub(crate) fn u32(&mut self) -> Result<u32, Garbled> {
        self.array().map(u32::from_be_bytes)
    }

    /// Four bytes, network order, signed.
    pub(crate) fn i32(&mut self) -> Result<i32, Garbled> {
        self.array().map(i32::from_be_bytes)
    }

    /// A string up to its NUL, which is consumed and not part of the result.
    pub(crate) fn text(&mut self) -> Result<&'a [u8], Garbled> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        match memchr::memchr(0, rest).and_then(|end| rest.get(..end)) {
            Some(text) => {
                self.at += text.len() + 1;
                Ok(text)
            }
            None => Err(self.garbled("a string without its end")),
        }
    }

    /// As `text`, for what the peer must spell in UTF-8.
    pub(crate) fn utf8(&mut self) -> Result<&'a str, Garbled> {
        let text = self.text()?;
        std::str::from_utf8(text).map_err(|_| self.garbled("a string that is not UTF-8"))
    }

    /// The body must end here.
    pub(crate) fn end(self) -> Result<(), Garbled> {
        match self.left() {
            0 => Ok(()),
            _ => Err(self.garbled("bytes behind the last field")),
        }
    }
}

/// A part of a frame that keeps the frame alive; empty when the range does not fit, which a range
/// read by a `Reader` of the same frame always does.
pub(crate) fn part(frame: &Bytes, range: Range<usize>) -> Bytes {
    if range.start <= range.end && range.end <= frame.len() {
        frame.slice(range)
    } else {
        Bytes::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(bytes: &[u8]) -> Reader<'_> {
        Reader::new(Peer::Client, "a test", bytes)
    }

    #[test]
    fn a_field_never_reads_past_the_body() {
        assert!(reader(&[0, 1]).i32().is_err());
        assert!(reader(b"no end").text().is_err());
        assert!(reader(&[1]).take(usize::MAX).is_err());
        assert!(reader(&[]).u8().is_err());
    }

    #[test]
    fn what_is_left_over_is_an_error() {
        let mut r = reader(b"a\0b");
        assert_eq!(r.text().unwrap(), b"a");
        assert!(r.end().is_err());
    }

    #[test]
    fn a_part_outside_its_frame_is_empty() {
        let frame = Bytes::from_static(b"abc");
        assert_eq!(part(&frame, 1..3), &b"bc"[..]);
        assert_eq!(part(&frame, 2..9), &b""[..]);
    }
}
