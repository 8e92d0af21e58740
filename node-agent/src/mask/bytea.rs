//! Pure. Keyed stand-ins of bytea, bit and varbit.
//!
//! Text forms of bytea: `\x` and hex digits, or (`bytea_output = escape`) the bytes themselves, a
//! backslash doubled, and three octal digits behind a backslash (`byteaout` in PostgreSQL's
//! `varlena.c`). Binary form of bits: how many, four bytes, then the bits, the first one highest, with
//! zeros up to a whole byte (`varbit_send` in `varbit.c`).

use bytes::{BufMut, BytesMut};

use super::cell::Written;
use super::key::MaskKey;
use crate::model::Format;

const TOKEN: u8 = b'b';
const BITS: u8 = b'v';

/// Bytes of a stand-in, whatever the length of what it stands for.
const LENGTH: usize = 16;

/// Appends the keyed hash of the bytes, sixteen bytes.
pub(super) fn hash(key: &MaskKey, format: Format, value: &[u8], out: &mut BytesMut) -> Written {
    stand_in(key.begin_hash(), format, value, out)
}

/// Appends sixteen keyed bytes for the bytes.
pub(super) fn token(key: &MaskKey, format: Format, value: &[u8], out: &mut BytesMut) -> Written {
    stand_in(key.begin(TOKEN), format, value, out)
}

fn stand_in(
    mut hasher: blake3::Hasher,
    format: Format,
    value: &[u8],
    out: &mut BytesMut,
) -> Written {
    let fed = match format {
        Format::Binary => {
            hasher.update(value);
            Some(())
        }
        Format::Text => feed_text(value, &mut hasher),
    };
    if fed.is_none() {
        return Written::Null;
    }
    let mut bytes = [0; LENGTH];
    hasher.finalize_xof().fill(&mut bytes);
    match format {
        Format::Binary => out.put_slice(&bytes),
        Format::Text => {
            out.put_slice(b"\\x");
            for byte in bytes {
                out.put_slice(&[hex(byte >> 4), hex(byte & 15)]);
            }
        }
    }
    Written::Value
}

fn hex(digit: u8) -> u8 {
    match digit {
        0..=9 => b'0' + digit,
        _ => b'a' + digit - 10,
    }
}

fn feed_text(value: &[u8], hasher: &mut blake3::Hasher) -> Option<()> {
    let mut block = Block::new(hasher);
    // A backslash alone is doubled in the other form, so `\x` begins none of it.
    if let Some(digits) = value.strip_prefix(b"\\x") {
        let (pairs, rest) = digits.as_chunks::<2>();
        for &[high, low] in pairs {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            block.push(u8::try_from(digit(high)? << 4 | digit(low)?).ok()?);
        }
        block.end();
        return rest.is_empty().then_some(());
    }
    let mut rest = value;
    loop {
        rest = match rest {
            [] => {
                block.end();
                return Some(());
            }
            [b'\\', b'\\', behind @ ..] => {
                block.push(b'\\');
                behind
            }
            [
                b'\\',
                a @ b'0'..=b'3',
                b @ b'0'..=b'7',
                c @ b'0'..=b'7',
                behind @ ..,
            ] => {
                block.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                behind
            }
            [b'\\', ..] => return None,
            [byte, behind @ ..] => {
                block.push(*byte);
                behind
            }
        };
    }
}

/// Gathers bytes, so that the hash is not fed one by one.
struct Block<'a> {
    hasher: &'a mut blake3::Hasher,
    bytes: [u8; 64],
    used: usize,
}

impl<'a> Block<'a> {
    fn new(hasher: &'a mut blake3::Hasher) -> Self {
        Block {
            hasher,
            bytes: [0; 64],
            used: 0,
        }
    }

    fn push(&mut self, byte: u8) {
        if self.used == self.bytes.len() {
            self.end();
        }
        if let Some(place) = self.bytes.get_mut(self.used) {
            *place = byte;
            self.used += 1;
        }
    }

    fn end(&mut self) {
        self.hasher
            .update(self.bytes.get(..self.used).unwrap_or_default());
        self.used = 0;
    }
}

/// Appends as many keyed bits for bits.
pub(super) fn bits(key: &MaskKey, format: Format, value: &[u8], out: &mut BytesMut) -> Written {
    let written = match format {
        Format::Text => bits_in_text(key, value, out),
        Format::Binary => bits_in_binary(key, value, out),
    };
    written.map_or(Written::Null, |()| Written::Value)
}

fn bits_in_text(key: &MaskKey, value: &[u8], out: &mut BytesMut) -> Option<()> {
    let mut hasher = key.begin(BITS);
    hasher.update(&u32::try_from(value.len()).ok()?.to_be_bytes());
    let mut block = Block::new(&mut hasher);
    for eight in value.chunks(8) {
        let mut byte = 0;
        for (at, bit) in eight.iter().enumerate() {
            byte |= match bit {
                b'0' => 0,
                b'1' => 0x80 >> at,
                _ => return None,
            };
        }
        block.push(byte);
    }
    block.end();
    let mut random = Keyed::new(&hasher);
    for eight in value.chunks(8) {
        let byte = random.next();
        for at in 0..eight.len() {
            out.put_u8(b'0' + (byte >> (7 - at) & 1));
        }
    }
    Some(())
}

fn bits_in_binary(key: &MaskKey, value: &[u8], out: &mut BytesMut) -> Option<()> {
    let (count, bytes) = value.split_first_chunk::<4>()?;
    let bits = u32::from_be_bytes(*count);
    if usize::try_from(bits.div_ceil(8)).ok()? != bytes.len() || i32::try_from(bits).is_err() {
        return None;
    }
    // What is beyond the last bit is zero.
    let over = match bits % 8 {
        0 => 0xff,
        used => !(0xff_u8 >> used),
    };
    if bytes.last().is_some_and(|last| last & !over != 0) {
        return None;
    }
    let mut hasher = key.begin(BITS);
    hasher.update(count);
    hasher.update(bytes);
    out.put_slice(count);
    let mut random = Keyed::new(&hasher);
    for at in 1..=bytes.len() {
        let byte = random.next();
        out.put_u8(if at == bytes.len() { byte & over } else { byte });
    }
    Some(())
}

/// An endless row of keyed bytes.
struct Keyed {
    stream: blake3::OutputReader,
    block: [u8; 64],
    used: usize,
}

impl Keyed {
    fn new(hasher: &blake3::Hasher) -> Self {
        Keyed {
            stream: hasher.finalize_xof(),
            block: [0; 64],
            used: 64,
        }
    }

    fn next(&mut self) -> u8 {
        if self.used == self.block.len() {
            self.stream.fill(&mut self.block);
            self.used = 0;
        }
        let byte = self.block.get(self.used).copied().unwrap_or_default();
        self.used += 1;
        byte
    }
}
