//! Pure. IBANs (ISO 13616): a country, its length, and a remainder of one.

use super::scan::Text;

/// Countries and how long their IBANs are, from the register that SWIFT keeps.
const COUNTRIES: &[(&[u8; 2], usize)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

/// The longest of them.
const LONGEST: usize = 33;

/// Where the IBAN ends that begins here: as one word, or in groups of four.
pub(super) fn at(text: Text<'_>, start: usize) -> Option<usize> {
    let [a, b, c, d, ..] = text.behind(start) else {
        return None;
    };
    if !(c.is_ascii_digit() && d.is_ascii_digit()) || text.before(start).next() == Some(b'*') {
        return None;
    }
    let country = [a.to_ascii_uppercase(), b.to_ascii_uppercase()];
    let known = COUNTRIES.binary_search_by(|(name, _)| (*name).cmp(&country));
    let (_, length) = known.ok().and_then(|found| COUNTRIES.get(found))?;
    let mut read = [0; LONGEST];
    let mut at = start;
    for (count, place) in read.iter_mut().take(*length).enumerate() {
        let mut byte = text.at(at)?;
        if count > 0 && count % 4 == 0 && matches!(byte, b' ' | b'-') {
            at += 1;
            byte = text.at(at)?;
        }
        if !byte.is_ascii_alphanumeric() {
            return None;
        }
        *place = byte.to_ascii_uppercase();
        at += 1;
    }
    let read = read.get(..*length)?;
    (text.is_end(at) && remainder(read) == 1).then_some(at)
}

/// Modulo 97, the first four behind the rest, letters as 10 to 35.
fn remainder(read: &[u8]) -> u32 {
    let (head, tail) = read.split_at_checked(4).unwrap_or((read, &[]));
    tail.iter().chain(head).fold(0, |rest, byte| {
        let value = char::from(*byte).to_digit(36).unwrap_or(0);
        if value < 10 {
            (rest * 10 + value) % 97
        } else {
            (rest * 100 + value) % 97
        }
    })
}

#[cfg(test)]
mod tests {
    use super::{COUNTRIES, LONGEST};

    #[test]
    fn the_countries_are_in_order_and_none_is_longer_than_the_longest() {
        assert!(COUNTRIES.windows(2).all(|two| two[0].0 < two[1].0));
        assert_eq!(COUNTRIES.iter().map(|(_, n)| *n).max(), Some(LONGEST));
    }
}
