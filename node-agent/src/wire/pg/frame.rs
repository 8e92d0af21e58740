//! Pure. Frames: a type byte, a length that counts itself, a body. Nothing here allocates by the
//! length that a peer claims.

use bytes::{BufMut, BytesMut};

use crate::wire::{Garbled, Peer};

/// The type byte and the length.
pub(super) const HEADER: usize = 5;

/// PostgreSQL's own bound on the messages that carry no user data (PQ_SMALL_MESSAGE_LIMIT).
pub(super) const SMALL: usize = 10_000;

/// PostgreSQL's own bound on a message (MaxAllocSize, 1 GiB less one).
pub(super) const HUGE: usize = (1 << 30) - 1;

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The type byte.
    pub(super) kind: u8,
    /// Bytes of the frame, this header included.
    pub(super) len: usize,
}

/// Reads the head of the frame at the front of `input`; `None` when fewer than five bytes are there.
///
/// A length below 4 or beyond 1 GiB (negative ones too) is garbled: no peer means it.
pub(super) fn header(who: Peer, input: &[u8]) -> Result<Option<Header>, Garbled> {
    let Some(&[kind, a, b, c, d]) = input.first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let claimed = u32::from_be_bytes([a, b, c, d]) as usize;
    if !(4..=HUGE).contains(&claimed) {
        return Err(Garbled {
            who,
            expected: "a message length between 4 and 1 GiB",
            seen: format!("message {} of length {claimed}", printable(kind)),
        });
    }
    Ok(Some(Header {
        kind,
        len: claimed + 1,
    }))
}

/// How many bytes the first `count` frames take, of `frames` that are whole.
pub(super) fn span_of(frames: &[u8], count: u64) -> usize {
    let mut rest = frames;
    for _ in 0..count {
        let Some(&[_, a, b, c, d]) = rest.first_chunk::<HEADER>() else {
            break;
        };
        let len = (u32::from_be_bytes([a, b, c, d]) as usize).saturating_add(1);
        rest = rest.get(len..).unwrap_or_default();
    }
    frames.len() - rest.len()
}

/// The body of a frame of which `frame` holds every byte.
pub(super) fn body(frame: &[u8]) -> &[u8] {
    frame.get(HEADER..).unwrap_or_default()
}

/// A type byte as it may be shown in an error.
pub(super) fn printable(kind: u8) -> String {
    if kind.is_ascii_graphic() {
        format!("'{}'", char::from(kind))
    } else {
        format!("0x{kind:02x}")
    }
}

/// Appends a frame of type `kind` whose body `fill` writes.
pub(super) fn message(out: &mut BytesMut, kind: u8, fill: impl FnOnce(&mut BytesMut)) {
    out.put_u8(kind);
    untyped(out, fill);
}

/// As `message`, without a type byte: the start-up packets.
pub(super) fn untyped(out: &mut BytesMut, fill: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_i32(0);
    fill(out);
    // What we write ourselves is far below 4 GiB.
    let len = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&len.to_be_bytes());
    }
}

/// Appends a string and its NUL. A NUL inside would end it early for the reader, so it is left out.
pub(super) fn text(out: &mut BytesMut, text: &str) {
    for part in text.split('\0') {
        out.put_slice(part.as_bytes());
    }
    out.put_u8(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_lengths_are_garbled_before_anything_is_read() {
        for claimed in [0_u32, 3, 1 << 30, 0x8000_0000, u32::MAX] {
            let mut bytes = vec![b'Q'];
            bytes.extend_from_slice(&claimed.to_be_bytes());
            assert!(header(Peer::Client, &bytes).is_err(), "{claimed}");
        }
        assert_eq!(header(Peer::Client, b"Q\0\0\0").unwrap(), None);
        assert_eq!(
            header(Peer::Client, b"Q\0\0\0\x04").unwrap(),
            Some(Header { kind: b'Q', len: 5 })
        );
    }

    #[test]
    fn the_first_frames_are_cut_off_where_they_end() {
        let frames = b"D\0\0\0\x04D\0\0\0\x05aD\0\0\0\x04";
        for (count, span) in [(0, 0), (1, 5), (2, 11), (3, 16), (9, 16)] {
            assert_eq!(span_of(frames, count), span);
        }
    }

    #[test]
    fn a_nul_cannot_split_a_string_of_ours() {
        let mut out = BytesMut::new();
        message(&mut out, b'N', |out| text(out, "a\0b"));
        assert_eq!(&out[..], b"N\0\0\0\x07ab\0");
    }
}
