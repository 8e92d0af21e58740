//! Pure. Copy data from the client: passed on in pieces, so that no size of frame is held.

use bytes::{Buf, BytesMut};

use crate::wire::{Garbled, Peer};

use super::frame;

/// A copy from the client, as the client sees it. The database may know better: its error can be
/// on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CopyIn {
    /// None. Copy data is a breach of the protocol.
    Closed,
    /// The client was told to send.
    Open,
    /// The client was told that the copy failed. What it sent before it heard is dropped, as the
    /// database drops it.
    Failed,
}

/// The frame that is only half through.
#[derive(Debug)]
pub(super) struct Bulk {
    pub(super) copy: CopyIn,
    passing: usize,
    dropping: usize,
}

impl Bulk {
    pub(super) fn new() -> Self {
        Bulk {
            copy: CopyIn::Closed,
            passing: 0,
            dropping: 0,
        }
    }

    /// Goes on with a frame that is half through. `false`: there is none.
    pub(super) fn go_on(&mut self, input: &mut BytesMut, up: &mut BytesMut) -> bool {
        if self.passing > 0 {
            let count = self.passing.min(input.len());
            up.extend_from_slice(input.get(..count).unwrap_or_default());
            input.advance(count);
            self.passing -= count;
            true
        } else if self.dropping > 0 {
            let count = self.dropping.min(input.len());
            input.advance(count);
            self.dropping -= count;
            true
        } else {
            false
        }
    }

    /// Passes on every copy data frame at the front of `input`, the last one perhaps in part.
    pub(super) fn pass(&mut self, input: &mut BytesMut, up: &mut BytesMut) -> Result<(), Garbled> {
        let mut through = 0;
        loop {
            let rest = input.get(through..).unwrap_or_default();
            if rest.first() != Some(&b'd') {
                break;
            }
            let header = match frame::header(Peer::Client, rest) {
                Ok(Some(header)) => header,
                Ok(None) => break,
                // What came before the bad frame is good and goes on; the frame is met again.
                Err(garbled) if through == 0 => return Err(garbled),
                Err(_) => break,
            };
            let here = header.len.min(rest.len());
            through += here;
            self.passing = header.len - here;
            if self.passing > 0 {
                break;
            }
        }
        up.extend_from_slice(input.get(..through).unwrap_or_default());
        input.advance(through);
        Ok(())
    }

    /// Drops a frame of `len` bytes, of which `input` may hold only the beginning.
    pub(super) fn drop(&mut self, len: usize, input: &mut BytesMut) {
        let here = len.min(input.len());
        input.advance(here);
        self.dropping = len - here;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(bytes: &[u8]) -> BytesMut {
        BytesMut::from(bytes)
    }

    #[test]
    fn copy_data_is_passed_on_as_it_comes() {
        let mut bulk = Bulk::new();
        let mut up = BytesMut::new();
        let mut input = bytes(b"d\0\0\0\x05ad\0\0\0\x08bc");
        bulk.pass(&mut input, &mut up).unwrap();
        assert_eq!(&up[..], b"d\0\0\0\x05ad\0\0\0\x08bc");
        assert!(input.is_empty());
        let mut input = bytes(b"deX");
        assert!(bulk.go_on(&mut input, &mut up));
        assert_eq!((&up[13..], &input[..]), (&b"de"[..], &b"X"[..]));
        assert!(!bulk.go_on(&mut input, &mut up));
    }

    #[test]
    fn a_bad_length_stops_exactly_before_its_frame() {
        let mut bulk = Bulk::new();
        let mut up = BytesMut::new();
        let mut input = bytes(b"d\0\0\0\x05ad\xff\xff\xff\xff");
        bulk.pass(&mut input, &mut up).unwrap();
        assert_eq!(&up[..], b"d\0\0\0\x05a");
        assert!(bulk.pass(&mut input, &mut up).is_err());
    }

    #[test]
    fn a_dropped_frame_takes_nothing_with_it() {
        let mut bulk = Bulk::new();
        let mut up = BytesMut::new();
        let mut input = bytes(b"d\0\0\0\x07a");
        bulk.drop(8, &mut input);
        let mut input = bytes(b"bcS");
        assert!(bulk.go_on(&mut input, &mut up));
        assert_eq!((&up[..], &input[..]), (&b""[..], &b"S"[..]));
    }
}
