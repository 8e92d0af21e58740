//! IPv6 addresses that stand for IPv4 ones: a translator or a tunnel's end behind the node makes the
//! one of the other, so who protects the IPv4 address means these as well.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Prefix;

/// How an IPv4 address lies in an IPv6 one: what stands before it, how long that is, and whether
/// bits 64 to 71 are left out (RFC 6052, 2.2).
struct Form {
    head: Ipv6Addr,
    length: u8,
    gap: Gap,
}

#[derive(Clone, Copy)]
enum Gap {
    None,
    Octet,
}

const fn form(head: [u16; 8], length: u8, gap: Gap) -> Form {
    let [a, b, c, d, e, f, g, h] = head;
    Form {
        head: Ipv6Addr::new(a, b, c, d, e, f, g, h),
        length,
        gap,
    }
}

/// Of the prefix for local use the shortest of each length is known here; others of it, and those
/// of an operator's own, are nobody's to guess.
const FORMS: [Form; 8] = [
    // NAT64's well-known prefix (RFC 6052, 2.1).
    form([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96, Gap::None),
    // NAT64 for local use (RFC 8215), by each length that fits (RFC 6052, 2.2).
    form([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 96, Gap::None),
    form([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 64, Gap::Octet),
    form([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 56, Gap::Octet),
    form([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, Gap::Octet),
    // 6to4 (RFC 3056, 2): all of the site behind the address.
    form([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, Gap::None),
    // IPv4-translated (RFC 2765, 2.1).
    form([0, 0, 0, 0, 0xffff, 0, 0, 0], 96, Gap::None),
    // IPv4-compatible (RFC 4291, 2.5.5.1), for automatic tunnels.
    form([0, 0, 0, 0, 0, 0, 0, 0], 96, Gap::None),
];

/// The IPv6 prefixes that stand for an IPv4 one; none for any other.
pub(super) fn forms(prefix: Prefix) -> Vec<Prefix> {
    let IpAddr::V4(v4) = prefix.address() else {
        return Vec::new();
    };
    // IPv4-compatible, the first network would be loopback and "no address".
    let compatible = v4.octets().first() != Some(&0);
    FORMS
        .iter()
        .filter(|form| form.length != 96 || form.head != Ipv6Addr::UNSPECIFIED || compatible)
        .filter_map(|form| form.of(v4, prefix.length()))
        .collect()
}

impl Form {
    fn of(&self, v4: Ipv4Addr, length: u8) -> Option<Prefix> {
        let (mut bits, mut end) = (self.head.to_bits(), self.length);
        for bit in 0..length.min(32) {
            if matches!(self.gap, Gap::Octet) && end == 64 {
                end = end.checked_add(8)?;
            }
            let set = v4.to_bits() >> 31_u8.checked_sub(bit)? & 1;
            bits |= u128::from(set) << 127_u8.checked_sub(end)?;
            end = end.checked_add(1)?;
        }
        Prefix::new(Ipv6Addr::from_bits(bits).into(), end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(prefix: &str) -> Vec<String> {
        let all = forms(prefix.parse().unwrap());
        all.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_ipv4_address_has_every_form_it_is_given_in_ipv6() {
        // The examples of RFC 6052, 2.4, with the prefix for local use in the place of theirs.
        assert_eq!(
            shown("192.0.2.33"),
            [
                "64:ff9b::c000:221/128",
                "64:ff9b:1::c000:221/128",
                "64:ff9b:1:0:c0:2:2100:0/104",
                "64:ff9b:1:c0:0:221::/96",
                "64:ff9b:1:c000:2:2100::/88",
                "2002:c000:221::/48",
                "::ffff:0:c000:221/128",
                "::c000:221/128",
            ]
        );
    }

    #[test]
    fn a_prefix_ends_where_its_last_bit_lies() {
        assert_eq!(
            shown("10.7.0.0/16"),
            [
                "64:ff9b::a07:0/112",
                "64:ff9b:1::a07:0/112",
                "64:ff9b:1:0:a:700::/88",
                "64:ff9b:1:a:7::/80",
                "64:ff9b:1:a07::/64",
                "2002:a07::/32",
                "::ffff:0:a07:0/112",
                "::a07:0/112",
            ]
        );
        assert_eq!(shown("2001:db8::/32"), Vec::<String>::new());
        // Loopback's own address is no form of anything.
        assert_eq!(shown("0.0.0.0/0").len(), 7);
    }
}
