//! Pure. Keyed stand-ins of network addresses, out of ranges that belong to nobody: 10.0.0.0/8
//! (RFC 1918), 2001:db8::/32 (RFC 3849), and hardware addresses that are locally administered and of
//! one station (IEEE 802).
//!
//! Binary forms: `network_send` in PostgreSQL's `network.c` (family, bits, whether a cidr, count of
//! bytes, one byte each, then the address), `macaddr_send` in `mac.c` and `macaddr8_send` in `mac8.c`
//! (the bytes).

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::{BufMut, BytesMut};

use super::cell::Written;
use super::key::MaskKey;
use super::types::Address;
use crate::model::Format;

const NETWORK: u8 = b'a';
const HARDWARE: u8 = b'm';

/// `PGSQL_AF_INET` and `PGSQL_AF_INET6` of PostgreSQL's `inet.h`, on every system.
const FAMILY_4: u8 = 2;
const FAMILY_6: u8 = 3;

/// Appends a keyed address of the same family for an address. A network's becomes that of one host.
pub(super) fn token(
    key: &MaskKey,
    kind: Address,
    format: Format,
    value: &[u8],
    out: &mut BytesMut,
) -> Written {
    let written = match kind {
        Address::Inet | Address::Cidr => network(key, kind, format, value, out),
        Address::Mac => hardware::<6>(key, format, value, out),
        Address::Mac8 => hardware::<8>(key, format, value, out),
    };
    written.map_or(Written::Null, |()| Written::Value)
}

fn network(
    key: &MaskKey,
    kind: Address,
    format: Format,
    value: &[u8],
    out: &mut BytesMut,
) -> Option<()> {
    let (real, bits) = match format {
        Format::Text => from_text(value)?,
        Format::Binary => from_binary(value)?,
    };
    let mut hasher = key.begin(NETWORK);
    hasher.update(&[bits]);
    match real {
        IpAddr::V4(real) => hasher.update(&real.octets()),
        IpAddr::V6(real) => hasher.update(&real.octets()),
    };
    let mut random = [0; 12];
    hasher.finalize_xof().fill(&mut random);
    let [a, b, c, ..] = random;
    let stand_in = match real {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(10, a, b, c)),
        IpAddr::V6(_) => {
            let low = random
                .iter()
                .fold(0_u128, |low, byte| low << 8 | u128::from(*byte));
            IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8 << 96 | low))
        }
    };
    match format {
        Format::Text => put_text(kind, stand_in, out),
        Format::Binary => {
            put_binary(kind, stand_in, out);
            Some(())
        }
    }
}

/// The address, and its bits if they are not all.
fn from_text(value: &[u8]) -> Option<(IpAddr, u8)> {
    let text = std::str::from_utf8(value).ok()?;
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let most = width(address);
    let bits = bits.unwrap_or(most);
    (bits <= most).then_some((address, bits))
}

fn from_binary(value: &[u8]) -> Option<(IpAddr, u8)> {
    let (&[family, bits, _, count], bytes) = value.split_first_chunk::<4>()?;
    if usize::from(count) != bytes.len() {
        return None;
    }
    let address = match family {
        FAMILY_4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        FAMILY_6 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => return None,
    };
    (bits <= width(address)).then_some((address, bits))
}

fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn put_text(kind: Address, address: IpAddr, out: &mut BytesMut) -> Option<()> {
    match kind {
        // The server writes the bits of a network always.
        Address::Cidr => write!(out, "{address}/{}", width(address)).ok(),
        Address::Inet | Address::Mac | Address::Mac8 => write!(out, "{address}").ok(),
    }
}

fn put_binary(kind: Address, address: IpAddr, out: &mut BytesMut) {
    let is_cidr = u8::from(kind == Address::Cidr);
    match address {
        IpAddr::V4(address) => {
            out.put_slice(&[FAMILY_4, 32, is_cidr, 4]);
            out.put_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            out.put_slice(&[FAMILY_6, 128, is_cidr, 16]);
            out.put_slice(&address.octets());
        }
    }
}

fn hardware<const N: usize>(
    key: &MaskKey,
    format: Format,
    value: &[u8],
    out: &mut BytesMut,
) -> Option<()> {
    let real: [u8; N] = match format {
        Format::Binary => value.try_into().ok()?,
        Format::Text => from_hex(value)?,
    };
    let mut hasher = key.begin(HARDWARE);
    hasher.update(&real);
    let mut stand_in = [0; N];
    hasher.finalize_xof().fill(&mut stand_in);
    if let Some(first) = stand_in.first_mut() {
        *first = *first & !0b11 | 0b10;
    }
    match format {
        Format::Binary => out.put_slice(&stand_in),
        Format::Text => {
            for (at, byte) in stand_in.iter().enumerate() {
                let colon = if at == 0 { "" } else { ":" };
                write!(out, "{colon}{byte:02x}").ok()?;
            }
        }
    }
    Some(())
}

/// The form the server writes: pairs of hex digits between colons.
fn from_hex<const N: usize>(value: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let mut pairs = value.split(|byte| *byte == b':');
    for byte in &mut bytes {
        let &[high, low] = pairs.next()? else {
            return None;
        };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        *byte = u8::try_from(digit(high)? << 4 | digit(low)?).ok()?;
    }
    pairs.next().is_none().then_some(bytes)
}
