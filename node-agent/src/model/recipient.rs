//! Pure. To whom recordings are sealed: a public key, as text.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What a public key begins with, as text.
pub const RECIPIENT: &str = "node-agent-recipient-1:";
/// What a private key begins with, as text.
pub const IDENTITY: &str = "node-agent-identity-1:";

/// Bytes of either key.
const KEY: usize = 32;
/// Bytes of the sum behind it: a slip of the pen must not seal to a key that nobody has.
const SUM: usize = 4;

/// An X25519 public key that recordings are sealed to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Recipient(pub [u8; KEY]);

/// A short name of a recipient: 16 bytes of its key's BLAKE3, hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecipientId(pub [u8; 16]);

/// A text is no recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotARecipient {
    /// It is the other half.
    #[error("this is a private key, which must not lie on a node")]
    Private,
    /// It begins otherwise.
    #[error("this is no key: a public one begins with {RECIPIENT}")]
    Other,
    /// It was cut, or a character is another.
    #[error("the key is damaged: a character is missing or another")]
    Damaged,
}

impl Recipient {
    /// Its short name.
    pub fn id(&self) -> RecipientId {
        let hash = blake3::hash(&self.0);
        RecipientId(hash.as_bytes().first_chunk().copied().unwrap_or_default())
    }
}

impl FromStr for Recipient {
    type Err = NotARecipient;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.starts_with(IDENTITY) {
            return Err(NotARecipient::Private);
        }
        let body = text.strip_prefix(RECIPIENT).ok_or(NotARecipient::Other)?;
        unsummed(body).map(Recipient).ok_or(NotARecipient::Damaged)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{RECIPIENT}{}", summed(&self.0))
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for RecipientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RecipientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A key as text, with its sum.
pub fn summed(key: &[u8; KEY]) -> String {
    let hash = blake3::hash(key);
    let mut bytes = zeroize::Zeroizing::new(key.to_vec());
    bytes.extend(hash.as_bytes().iter().take(SUM));
    STANDARD.encode(&*bytes)
}

/// A key of its text, if the sum is right.
pub fn unsummed(text: &str) -> Option<[u8; KEY]> {
    let bytes = zeroize::Zeroizing::new(STANDARD.decode(text).ok()?);
    let (key, sum) = bytes.split_first_chunk::<KEY>()?;
    let hash = blake3::hash(key);
    (Some(sum) == hash.as_bytes().get(..SUM)).then_some(*key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written_and_a_slip_is_noticed() {
        let key = Recipient([7; KEY]);
        let text = key.to_string();
        assert_eq!(text.parse(), Ok(key));
        assert_eq!(format!(" {text}\n").parse(), Ok(key));
        for at in RECIPIENT.len()..text.len() {
            let mut slip = text.clone().into_bytes();
            slip[at] = if slip[at] == b'A' { b'B' } else { b'A' };
            let slip = String::from_utf8(slip).unwrap();
            assert_eq!(
                slip.parse::<Recipient>(),
                Err(NotARecipient::Damaged),
                "{slip}"
            );
            assert_eq!(text[..at].parse::<Recipient>(), Err(NotARecipient::Damaged));
        }
        let private = format!("{IDENTITY}{}", summed(&[7; KEY]));
        assert_eq!(private.parse::<Recipient>(), Err(NotARecipient::Private));
        assert_eq!("age1x".parse::<Recipient>(), Err(NotARecipient::Other));
    }
}
