//! A range of addresses.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An address prefix, such as `10.0.7.0/24`. No bit behind the prefix is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    /// The first address.
    pub addr: IpAddr,
    /// How many bits count.
    pub len: u8,
}

/// Why a text is no prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPrefix {
    /// Not an address at all.
    #[error("not an address or a prefix; write it as 10.0.7.0/24 or 10.0.7.12")]
    Unreadable,
    /// More bits than the family has.
    #[error("the length is at most {0}")]
    TooLong(u8),
    /// Bits behind the prefix are set: probably not what was meant.
    #[error("bits are set behind the prefix; did you mean {0}?")]
    HostBits(Prefix),
}

impl Prefix {
    /// Whether the address lies in it. Families never match one another.
    pub fn holds(&self, addr: IpAddr) -> bool {
        width(addr) == width(self.addr) && bits(addr, self.len) == bits(self.addr, self.len)
    }
}

fn width(addr: IpAddr) -> u8 {
    match addr {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The address with everything behind the first `len` bits cleared, left-aligned in 128 bits.
fn bits(addr: IpAddr, len: u8) -> u128 {
    let whole = match addr {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    };
    match u32::from(len) {
        0 => 0,
        kept => whole & (u128::MAX << (128 - kept.min(128))),
    }
}

impl FromStr for Prefix {
    type Err = BadPrefix;

    fn from_str(text: &str) -> Result<Self, BadPrefix> {
        let (addr, len) = match text.split_once('/') {
            Some((addr, len)) => (addr, Some(len)),
            None => (text, None),
        };
        let addr: IpAddr = addr.parse().map_err(|_| BadPrefix::Unreadable)?;
        let addr = addr.to_canonical();
        let width = width(addr);
        let len = match len {
            None => width,
            Some(len) => len.parse::<u8>().map_err(|_| BadPrefix::Unreadable)?,
        };
        if len > width {
            return Err(BadPrefix::TooLong(width));
        }
        let kept = bits(addr, len);
        if kept != bits(addr, width) {
            let addr = match addr {
                IpAddr::V4(_) => IpAddr::V4(u32::try_from(kept >> 96).unwrap_or_default().into()),
                IpAddr::V6(_) => IpAddr::V6(kept.into()),
            };
            return Err(BadPrefix::HostBits(Prefix { addr, len }));
        }
        Ok(Prefix { addr, len })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_read_as_they_are_meant() {
        for (text, reads) in [
            ("10.0.7.0/24", Ok("10.0.7.0/24")),
            ("10.0.7.12", Ok("10.0.7.12/32")),
            ("::1", Ok("::1/128")),
            ("fd00::/8", Ok("fd00::/8")),
            ("0.0.0.0/0", Ok("0.0.0.0/0")),
            ("::ffff:10.0.0.1", Ok("10.0.0.1/32")),
            (
                "10.0.7.1/24",
                Err("bits are set behind the prefix; did you mean 10.0.7.0/24?"),
            ),
            (
                "fd00::1/64",
                Err("bits are set behind the prefix; did you mean fd00::/64?"),
            ),
            ("10.0.0.0/33", Err("the length is at most 32")),
            (
                "db.example",
                Err("not an address or a prefix; write it as 10.0.7.0/24 or 10.0.7.12"),
            ),
            (
                "10.0.0.0/",
                Err("not an address or a prefix; write it as 10.0.7.0/24 or 10.0.7.12"),
            ),
        ] {
            let seen = text
                .parse::<Prefix>()
                .map(|p| p.to_string())
                .map_err(|e| e.to_string());
            assert_eq!(
                seen,
                reads.map(str::to_owned).map_err(str::to_owned),
                "{text}"
            );
        }
    }

    #[test]
    fn a_prefix_holds_its_own_and_nothing_else() {
        for (prefix, addr, held) in [
            ("10.0.7.0/24", "10.0.7.255", true),
            ("10.0.7.0/24", "10.0.8.0", false),
            ("0.0.0.0/0", "10.0.8.0", true),
            ("0.0.0.0/0", "::1", false),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fc00::1", false),
            ("10.0.7.1", "10.0.7.1", true),
            ("10.0.7.1", "10.0.7.2", false),
        ] {
            let seen = prefix
                .parse::<Prefix>()
                .unwrap()
                .holds(addr.parse().unwrap());
            assert_eq!(seen, held, "{addr} in {prefix}");
        }
    }
}
