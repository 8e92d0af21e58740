//! Pure. The key of `hash` and `token`.

use std::fmt;
use std::sync::Arc;

use crate::model::Secret;

/// The key under which values are hashed and replaced. One per installation: the same value gives
/// the same token on every node that has it, and nobody without it can try values out.
#[derive(Clone)]
pub struct MaskKey(Arc<Derived>);

struct Derived {
    hash: Secret<[u8; 32]>,
    token: Secret<[u8; 32]>,
}

impl MaskKey {
    /// From 32 random bytes that are kept with the agent's state.
    pub fn new(secret: &Secret<[u8; 32]>) -> Self {
        let derive = |purpose| Secret::new(blake3::derive_key(purpose, secret.expose()));
        MaskKey(Arc::new(Derived {
            hash: derive("node-agent 2026-11 mask hash"),
            token: derive("node-agent 2026-11 mask token"),
        }))
    }

    /// The keyed hash of a value.
    pub(super) fn hash(&self, value: &[u8]) -> blake3::Hash {
        blake3::keyed_hash(self.0.hash.expose(), value)
    }

    /// A keyed hash of a value that comes in pieces.
    pub(super) fn begin_hash(&self) -> blake3::Hasher {
        blake3::Hasher::new_keyed(self.0.hash.expose())
    }

    /// A keyed stream for a value that comes in pieces. `kind` keeps values of different types apart.
    pub(super) fn begin(&self, kind: u8) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new_keyed(self.0.token.expose());
        hasher.update(&[kind]);
        hasher
    }

    /// An endless keyed stream for a value. `kind` keeps values of different types apart.
    pub(super) fn stream(&self, kind: u8, value: &[u8]) -> blake3::OutputReader {
        let mut hasher = self.begin(kind);
        hasher.update(value);
        hasher.finalize_xof()
    }
}

impl fmt::Debug for MaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MaskKey(…)")
    }
}

impl PartialEq for MaskKey {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.hash.expose() == other.0.hash.expose()
                && self.0.token.expose() == other.0.token.expose())
    }
}

impl Eq for MaskKey {}
