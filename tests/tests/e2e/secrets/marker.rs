//! Values that are to stay hidden, and how any piece of one is found again.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A piece shorter than this may be chance.
const PIECE: usize = 6;

/// Texts of the seed's masked cells.
pub(super) const TEXTS: [&str; 17] = [
    "Qx7Kz9Vw3LpHm",
    "Jd4Rn8Tb6YcSf",
    "Mk2Gv5XsBq9Nz",
    "vq9wzxkjhgtrbn@mfdpqz",
    "7391846205173",
    "8420573916284",
    // Of a day, for the year may be shown.
    "73-09-27",
    "c7e1b94a-53d2-4f86-9a0e-7db1865f3c24",
    "Zt5Gh2NkWq8Xe",
    "Ub3Fm9PxLd7Cv",
    "Ey6Ws2HqRa4Jn",
    "Oi8Mb5KtVz1Dg",
    "Xp2Lc7QyTn9Ws",
    "Rf4Jx8Bd2VgMk",
    "Wq7Tz3NmXc5Lb",
    "5928174630291",
    "8b4d:17e9:3c5f",
];

/// The pieces of all markers: as they are, backwards, in capitals or not, as hexadecimal digits, in
/// base 64, and as a binary number or UUID.
pub(super) struct Markers {
    /// By length: letters are small.
    pieces: Vec<(usize, HashSet<Vec<u8>>)>,
    /// Base 64, in which capitals count.
    coded: HashSet<Vec<u8>>,
}

const CODED: usize = 8;
const HEX: usize = 2 * PIECE;
const NUMBER: usize = 8;

impl Markers {
    pub(super) fn new() -> Self {
        let (mut plain, mut hex, mut numbers) = (HashSet::new(), HashSet::new(), HashSet::new());
        let mut coded = HashSet::new();
        let add = |set: &mut HashSet<Vec<u8>>, text: &[u8], size: usize| {
            set.extend(text.windows(size).map(<[u8]>::to_vec));
        };
        for text in TEXTS {
            let small = text.to_lowercase();
            add(&mut plain, small.as_bytes(), PIECE);
            let backwards: String = small.chars().rev().collect();
            add(&mut plain, backwards.as_bytes(), PIECE);
            for cased in [text.to_owned(), small.clone(), text.to_uppercase()] {
                let digits: String = cased.bytes().map(|byte| format!("{byte:02x}")).collect();
                add(&mut hex, digits.as_bytes(), HEX);
                for cut in 0..3.min(cased.len()) {
                    let whole = &cased.as_bytes()[cut..];
                    let whole = &whole[..whole.len() / 3 * 3];
                    add(&mut coded, STANDARD.encode(whole).as_bytes(), CODED);
                }
            }
            if let Ok(number) = text.parse::<i64>() {
                numbers.insert(number.to_be_bytes().to_ascii_lowercase());
                add(&mut plain, format!("{number:x}").as_bytes(), PIECE);
            }
            if text.len() == 36 {
                let digits = text.replace('-', "");
                let raw: Vec<u8> = (0..digits.len())
                    .step_by(2)
                    .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
                    .collect();
                numbers.extend(raw.to_ascii_lowercase().windows(NUMBER).map(<[u8]>::to_vec));
            }
        }
        Markers {
            pieces: vec![(PIECE, plain), (HEX, hex), (NUMBER, numbers)],
            coded,
        }
    }

    /// The first piece in there, with what is around it.
    pub(super) fn found(&self, bytes: &[u8]) -> Option<String> {
        let small = bytes.to_ascii_lowercase();
        let at = self
            .pieces
            .iter()
            .find_map(|(size, set)| {
                let mut windows = small.windows(*size);
                windows.position(|window| set.contains(window))
            })
            .or_else(|| {
                let mut windows = bytes.windows(CODED);
                windows.position(|window| self.coded.contains(window))
            })?;
        let around = &bytes[at.saturating_sub(40)..(at + 40).min(bytes.len())];
        Some(String::from_utf8_lossy(around).escape_debug().to_string())
    }
}

#[test]
fn a_marker_is_found_however_it_is_spelled_and_nothing_else_is() {
    let markers = Markers::new();
    for text in [
        "a Qx7Kz9 b",
        "xKZ9VW3L",
        "mHpL3wV9zKx",
        "\\x5178374b7a39567733",
        "UXg3S3o5Vnc=",
        "391846 20",
        "6B90C5E06F5",
    ] {
        assert!(markers.found(text.as_bytes()).is_some(), "{text}");
    }
    assert!(
        markers
            .found(&7_391_846_205_173_i64.to_be_bytes())
            .is_some()
    );
    for text in [
        "Qx7Kz",
        "***",
        "73918",
        "1873-01-01",
        "select ssn from pii.people",
    ] {
        assert_eq!(markers.found(text.as_bytes()), None, "{text}");
    }
}
