//! IO. Recordings that only some can read: the public keys they are sealed to, the private ones that
//! open them, and what lies between.
//!
//! A *key section* at the head of a block holds a data key, once for each recipient (HPKE, RFC 9180,
//! base mode: X25519, HKDF-SHA256, AES-256-GCM). The lines of that block and those after it are
//! sealed with that data key (AES-256-GCM). Both are bound to their place in the chain. The chain
//! itself is over what lies there, so that it is verified without any key.

mod identity;
mod recipients;
mod section;

pub use identity::{Identities, Identity, IdentityError};
pub use recipients::{Recipients, RecipientsError};
pub(super) use section::{DataKey, Opened, Section, section_bytes};

#[cfg(test)]
mod tests;
