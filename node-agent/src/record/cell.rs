//! Pure. Values on their way into a recording: capped, and withheld where they are secret.

use std::fmt::Write as _;

use super::{RecordedCell, RecordedText};
use crate::model::{Format, Secret};

/// The longest text that is kept whole, bytes.
pub const TEXT_CAP: usize = 1 << 20;

impl RecordedText {
    /// A statement's text for the record.
    ///
    /// `secret`: it carries a password or the like. `understood`: it was parsed, so that "carries
    /// no secret" is knowledge. A text that is secret, or of which nobody can say, is withheld:
    /// only its length and its hash under `key` are kept.
    pub fn from(text: &str, secret: bool, understood: bool, key: &TextKey) -> Self {
        if secret || !understood {
            return RecordedText::Withheld {
                hash: key.hash(text),
                length: text.len() as u64,
            };
        }
        if text.len() <= TEXT_CAP {
            return RecordedText::Plain(text.to_owned());
        }
        RecordedText::cut(text, TEXT_CAP)
    }

    /// How a text begins that is longer than this many bytes, and what tells the rest.
    pub(super) fn cut(text: &str, most: usize) -> Self {
        let head = text.get(..text.floor_char_boundary(most));
        RecordedText::Cut {
            head: head.unwrap_or_default().to_owned(),
            hash: blake3::hash(text.as_bytes()).to_hex().as_str().to_owned(),
            length: text.len() as u64,
        }
    }

    /// How many bytes it takes in memory, about.
    pub(super) fn weight(&self) -> usize {
        match self {
            RecordedText::Plain(text) => text.len(),
            RecordedText::Cut { head, .. } => head.len() + 64,
            RecordedText::Withheld { .. } => 64,
        }
    }
}

/// The key under which withheld texts are hashed.
#[derive(Debug)]
pub struct TextKey(Secret<[u8; 32]>);

impl TextKey {
    /// From 32 random bytes that are kept with the agent's state.
    pub fn new(secret: &Secret<[u8; 32]>) -> Self {
        let purpose = "node-agent 2026-11 withheld text";
        TextKey(Secret::new(blake3::derive_key(purpose, secret.expose())))
    }

    fn hash(&self, text: &str) -> String {
        let hash = blake3::keyed_hash(self.0.expose(), text.as_bytes());
        hash.to_hex().as_str().to_owned()
    }
}

impl RecordedCell {
    /// A cell or parameter for the record. `None` is NULL; longer than `cap` bytes, only the length
    /// is kept. A text that is not UTF-8 is kept in hex.
    pub fn from(format: Format, value: Option<&[u8]>, cap: usize) -> Self {
        let Some(value) = value else {
            return RecordedCell::Null;
        };
        if value.len() > cap {
            return RecordedCell::Long(value.len() as u64);
        }
        match format {
            Format::Text => match std::str::from_utf8(value) {
                Ok(text) => RecordedCell::Text(text.to_owned()),
                Err(_) => RecordedCell::Binary(hex(value)),
            },
            Format::Binary => RecordedCell::Binary(hex(value)),
        }
    }

    /// A delivered cell for the record, of `length` bytes of which `value` are at hand. Of a text that is
    /// longer than `cap`, or not all there, the beginning is kept.
    pub(super) fn delivered(format: Format, value: &[u8], length: usize, cap: usize) -> Self {
        if value.len() == length && length <= cap {
            return RecordedCell::from(format, Some(value), cap);
        }
        let text = match format {
            Format::Text => beginning(value.get(..cap).unwrap_or(value)),
            Format::Binary => None,
        };
        let length = length as u64;
        match text {
            Some(text) => RecordedCell::Begins {
                text: text.to_owned(),
                length,
            },
            None => RecordedCell::Long(length),
        }
    }

    /// How many bytes it takes in memory, about.
    pub(super) fn weight(&self) -> usize {
        match self {
            RecordedCell::Null | RecordedCell::Long(_) => 32,
            RecordedCell::Text(text)
            | RecordedCell::Binary(text)
            | RecordedCell::Begins { text, .. } => 32 + text.len(),
        }
    }
}

/// The text that these bytes are, but for a character that was cut at their end. `None`: they are none, or
/// nothing is left.
fn beginning(bytes: &[u8]) -> Option<&str> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(bytes.get(..error.valid_up_to())?).ok()?
        }
        Err(_) => return None,
    };
    (!text.is_empty()).then_some(text)
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> TextKey {
        TextKey::new(&Secret::new([byte; 32]))
    }

    #[test]
    fn a_withheld_text_is_recognised_under_the_key_alone() {
        let hash = |text, key: TextKey| match RecordedText::from(text, true, true, &key) {
            RecordedText::Withheld { hash, .. } => hash,
            other => panic!("{other:?}"),
        };
        let text = "ALTER ROLE a PASSWORD 'hunter2'";
        assert_eq!(hash(text, key(1)), hash(text, key(1)));
        assert_ne!(hash(text, key(1)), hash(text, key(2)));
        let plain = blake3::hash(text.as_bytes());
        assert_ne!(hash(text, key(1)), plain.to_hex().as_str());
        assert!(!format!("{:?}", key(1)).contains('1'), "{:?}", key(1));
    }

    #[test]
    fn a_secret_text_leaves_only_hash_and_length() {
        let text = "ALTER ROLE a PASSWORD 'hunter2'";
        for (secret, understood) in [(true, true), (true, false), (false, false)] {
            let kept = RecordedText::from(text, secret, understood, &key(1));
            assert!(
                matches!(kept, RecordedText::Withheld { length: 31, .. }),
                "{kept:?}"
            );
            assert!(!format!("{kept:?}").contains("hunter2"));
        }
        assert_eq!(
            RecordedText::from("SELECT 1", false, true, &key(1)),
            RecordedText::Plain("SELECT 1".into())
        );
    }

    #[test]
    fn a_giant_text_is_cut_on_a_character() {
        let text = "é".repeat(TEXT_CAP);
        let RecordedText::Cut { head, length, .. } =
            RecordedText::from(&text, false, true, &key(1))
        else {
            panic!("not cut");
        };
        assert!(head.len() <= TEXT_CAP && head.len() >= TEXT_CAP - 1);
        assert_eq!(length, text.len() as u64);
    }

    #[test]
    fn cells_keep_what_fits() {
        let cases: [(Format, Option<&[u8]>, RecordedCell); 5] = [
            (Format::Text, None, RecordedCell::Null),
            (Format::Text, Some(b"abc"), RecordedCell::Text("abc".into())),
            (
                Format::Text,
                Some(b"\xff"),
                RecordedCell::Binary("ff".into()),
            ),
            (
                Format::Binary,
                Some(b"\x00\x2a"),
                RecordedCell::Binary("002a".into()),
            ),
            (Format::Text, Some(b"12345"), RecordedCell::Long(5)),
        ];
        for (format, value, kept) in cases {
            assert_eq!(RecordedCell::from(format, value, 4), kept);
        }
    }
}
