//! Pure. Cancel requests: a connection of their own that says a process id and a secret, and gets
//! no answer.

use bytes::{BufMut, Bytes, BytesMut};

use crate::wire::reader::Reader;
use crate::wire::{CancelKey, Garbled, Peer};

use super::frame;

/// The code in place of a protocol version.
pub(super) const CODE: u32 = 80_877_102;

/// The secret's size on protocol 3.0; on 3.2 up to `LONGEST`.
const SHORTEST: usize = 4;
const LONGEST: usize = 256;

/// Reads what stands behind the code.
pub(super) fn read(body: &[u8]) -> Result<CancelKey, Garbled> {
    let mut r = Reader::new(Peer::Client, "a cancel request", body);
    let process = r.u32()?;
    let secret = r.take(r.left())?;
    if !(SHORTEST..=LONGEST).contains(&secret.len()) {
        return Err(r.garbled("a secret that is not 4 to 256 bytes long"));
    }
    Ok(CancelKey {
        process,
        secret: secret.to_vec(),
    })
}

/// The packet that asks a database to cancel.
pub(super) fn request(process: u32, secret: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    frame::untyped(&mut out, |out| {
        out.put_u32(CODE);
        out.put_u32(process);
        out.put_slice(secret);
    });
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lengths_of_secret_are_read() {
        for len in [4, 32, 256] {
            let secret = vec![7; len];
            let packet = request(42, &secret);
            assert_eq!(
                read(&packet[8..]).unwrap(),
                CancelKey {
                    process: 42,
                    secret
                }
            );
        }
    }

    #[test]
    fn a_secret_too_short_or_too_long_is_garbled() {
        assert!(read(&[0, 0, 0, 1, 1, 2, 3]).is_err());
        assert!(read(&[0; 4 + 257]).is_err());
        assert!(read(&[0]).is_err());
    }

    #[test]
    fn the_request_is_spelled_as_the_protocol_says() {
        assert_eq!(
            request(0x0102_0304, &[9, 8, 7, 6]),
            &b"\0\0\0\x10\x04\xd2\x16\x2e\x01\x02\x03\x04\x09\x08\x07\x06"[..]
        );
    }
}
