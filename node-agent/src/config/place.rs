//! A place on the network: addresses and a port.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use super::Prefix;

/// Addresses, and one of their ports or all, such as `10.0.7.0/24:443`, `[2001:db8::/32]:443` or
/// `10.0.0.53:*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The addresses.
    pub prefix: Prefix,
    /// The port; `None` for every port.
    pub port: Option<NonZeroU16>,
}

/// Why a text is no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPlace {
    /// No port behind it, or not a number above zero.
    #[error("write ADDRESS/LENGTH:PORT, IPv6 in brackets, and * for every port")]
    Port,
    /// What stands before the port.
    #[error(transparent)]
    Prefix(#[from] super::prefix::BadPrefix),
}

impl FromStr for Place {
    type Err = BadPlace;

    fn from_str(text: &str) -> Result<Self, BadPlace> {
        let (prefix, port) = text.rsplit_once(':').ok_or(BadPlace::Port)?;
        let bare = prefix.strip_prefix('[').and_then(|p| p.strip_suffix(']'));
        // Without brackets, the last group of an IPv6 address would be taken for the port.
        let prefix = match bare {
            Some(prefix) => prefix,
            None if prefix.contains(':') => return Err(BadPlace::Port),
            None => prefix,
        };
        let port = match port {
            "*" => None,
            port => Some(port.parse().map_err(|_| BadPlace::Port)?),
        };
        Ok(Place {
            prefix: prefix.parse()?,
            port,
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.prefix.addr.is_ipv6() {
            ("[", "]")
        } else {
            ("", "")
        };
        write!(f, "{open}{}{close}:", self.prefix)?;
        match self.port {
            Some(port) => write!(f, "{port}"),
            None => f.write_str("*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_read_as_they_are_meant() {
        for (text, want) in [
            ("10.0.7.0/24:443", Some("10.0.7.0/24:443")),
            ("10.0.0.53:*", Some("10.0.0.53/32:*")),
            ("[2001:db8::/32]:443", Some("[2001:db8::/32]:443")),
            ("[::1]:*", Some("[::1/128]:*")),
            ("10.0.7.0/24", None),
            ("10.0.7.0/24:", None),
            ("10.0.7.0/24:0", None),
            ("10.0.7.0/24:70000", None),
            ("2001:db8::1:443", None),
            ("::1", None),
            ("10.0.7.1/24:443", None),
            ("db.internal:443", None),
            ("", None),
        ] {
            let got = text.parse::<Place>().ok().map(|place| place.to_string());
            assert_eq!(got.as_deref(), want, "{text}");
        }
    }
}
