//! Pure. What a grant is bound to: a digest over the exact statement and all that gives it its meaning.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::policy::ResolvedNames;

/// BLAKE3 over a statement in its circumstances.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Binding([u8; 32]);

/// Begins what is hashed, so that it is never the hash of anything else.
const DOMAIN: &str = "node-agent approval 2026-11 binding";

/// Collects what a statement is bound to. Each part is hashed with its name and length, so that no two
/// different lists of parts are the same bytes.
#[derive(Clone, Debug)]
pub struct Binder(blake3::Hasher);

impl Default for Binder {
    fn default() -> Self {
        Binder(blake3::Hasher::new_derive_key(DOMAIN))
    }
}

impl Binder {
    /// Adds one part.
    #[must_use]
    pub fn with(mut self, name: &str, part: impl AsRef<[u8]>) -> Self {
        let part = part.as_ref();
        for piece in [name.as_bytes(), part] {
            self.0.update(&(piece.len() as u64).to_le_bytes());
            self.0.update(piece);
        }
        self
    }

    /// Adds what the names stand for. `None`: they were not looked up.
    ///
    /// # Errors
    /// It cannot be written down, and what cannot be compared cannot be approved.
    pub fn names(self, names: Option<&ResolvedNames>) -> Result<Self, serde_json::Error> {
        let known = serde_json::to_vec(&names)?;
        Ok(self.with("names", known))
    }

    /// The digest.
    pub fn bound(self) -> Binding {
        Binding(*self.0.finalize().as_bytes())
    }
}

impl AsRef<[u8]> for Binding {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Binding {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Binding {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        let hash = blake3::Hash::from_hex(text.as_bytes()).map_err(serde::de::Error::custom)?;
        Ok(Binding(*hash.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cannot_be_moved_between_each_other() {
        let bound = |parts: &[(&str, &str)]| {
            let all = parts
                .iter()
                .fold(Binder::default(), |binder, (name, part)| {
                    binder.with(name, part)
                });
            all.bound()
        };
        let one = bound(&[("text", "delete from t"), ("role", "app")]);
        assert_eq!(one, bound(&[("text", "delete from t"), ("role", "app")]));
        for other in [
            bound(&[("text", "delete from tapp"), ("role", "")]),
            bound(&[("text", "delete from t"), ("role", "app"), ("x", "")]),
            bound(&[("role", "app"), ("text", "delete from t")]),
            bound(&[("text", "delete from t")]),
        ] {
            assert_ne!(one, other);
        }
        let text = serde_json::to_string(&one).unwrap();
        assert_eq!(serde_json::from_str::<Binding>(&text).unwrap(), one);
    }
}
