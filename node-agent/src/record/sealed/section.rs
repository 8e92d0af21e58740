//! IO. A key section, and what is sealed with its data key.
//!
//! ```text
//! key section     commitment 32 · count u16 · for each recipient: name 16 · encapsulated 32 · wrapped 48
//! sealed payload  standing 64 (`standing.rs`) · ciphertext · tag 16
//! ```
//!
//! A wrap's associated data is the section's *position*: the hash before it and the head of its block.
//! That of a sealed payload is its position, and the standing. The nonce is the block's number: no
//! data key seals two blocks of one number, since whoever goes on with a recording begins with a
//! section of its own. The commitment is what BLAKE3 derives from the data key: no section gives
//! two recipients two different keys.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256 as SUITE;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey};
use zeroize::Zeroizing;

use super::{Identities, Recipients};
use crate::model::{Recipient, RecipientId};

/// What a wrap is for.
const INFO: &[u8] = b"node-agent recording, data key";
/// What the commitment is derived for.
const COMMITMENT: &str = "node-agent recording 2026 commitment to a data key";
/// Bytes of a data key.
const KEY: usize = 32;
/// Bytes of a tag.
const TAG: usize = 16;
/// Bytes before the wraps.
const BEFORE: usize = 34;
/// Bytes of one recipient's name, encapsulated secret and wrapped key.
const WRAP: usize = 16 + 32 + KEY + TAG;
/// The most wraps that a reader believes.
const MOST: usize = 64;

/// Bytes of a key section.
pub(in crate::record) fn section_bytes(recipients: &Recipients) -> usize {
    BEFORE + recipients.keys().len() * WRAP
}

/// A key that blocks are sealed with.
pub(in crate::record) struct DataKey(LessSafeKey);

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DataKey")
    }
}

/// The system gives no randomness, or a key was refused: nothing can be sealed.
#[derive(Debug, thiserror::Error)]
#[error("nothing can be sealed: the system gives no randomness, or refuses a key")]
pub(in crate::record) struct Unsealable;

impl From<Unsealable> for std::io::Error {
    fn from(error: Unsealable) -> Self {
        std::io::Error::other(error)
    }
}

impl DataKey {
    /// A new key and its section's bytes, for the block at this position.
    pub(in crate::record) fn fresh(
        recipients: &Recipients,
        position: &[u8],
    ) -> Result<(DataKey, Vec<u8>), Unsealable> {
        let mut secret = Zeroizing::new([0; KEY]);
        aws_lc_rs::rand::fill(&mut *secret).map_err(|_| Unsealable)?;
        let mut section = Vec::with_capacity(section_bytes(recipients));
        section.extend_from_slice(&commitment(&secret));
        let count = u16::try_from(recipients.keys().len()).map_err(|_| Unsealable)?;
        section.extend_from_slice(&count.to_le_bytes());
        for recipient in recipients.keys() {
            let (enc, wrapped) = wrap(recipient, position, &*secret).ok_or(Unsealable)?;
            section.extend_from_slice(&recipient.id().0);
            section.extend_from_slice(&enc);
            section.extend_from_slice(&wrapped);
        }
        Ok((DataKey::of(&secret).ok_or(Unsealable)?, section))
    }

    fn of(secret: &[u8; KEY]) -> Option<DataKey> {
        let key = UnboundKey::new(&AES_256_GCM, secret).ok()?;
        Some(DataKey(LessSafeKey::new(key)))
    }

    /// Bytes of what seals so many.
    pub(in crate::record) fn sealed_bytes(plain: usize) -> usize {
        plain + TAG
    }

    /// Seals these bytes in their place, and puts the tag behind them.
    pub(in crate::record) fn seal(
        &self,
        number: u64,
        bound: &[u8],
        bytes: &mut Vec<u8>,
    ) -> Result<(), Unsealable> {
        self.0
            .seal_in_place_append_tag(nonce(number), Aad::from(bound), bytes)
            .map_err(|_| Unsealable)
    }

    /// Opens what was sealed. `None`: it was not, with this key, at this place.
    pub(in crate::record) fn open(
        &self,
        number: u64,
        bound: &[u8],
        mut bytes: Vec<u8>,
    ) -> Option<Vec<u8>> {
        let plain = self
            .0
            .open_in_place(nonce(number), Aad::from(bound), &mut bytes)
            .ok()?
            .len();
        bytes.truncate(plain);
        Some(bytes)
    }
}

fn nonce(number: u64) -> Nonce {
    let mut nonce = [0; 12];
    if let Some(room) = nonce.first_chunk_mut() {
        *room = number.to_le_bytes();
    }
    Nonce::assume_unique_for_key(nonce)
}

fn commitment(secret: &[u8; KEY]) -> [u8; 32] {
    blake3::derive_key(COMMITMENT, secret)
}

fn wrap(recipient: &Recipient, position: &[u8], secret: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let public = HpkePublicKey(recipient.0.to_vec());
    let (enc, wrapped) = SUITE.seal(INFO, position, secret, &public).ok()?;
    (enc.0.len() == 32 && wrapped.len() == KEY + TAG).then_some((enc.0, wrapped))
}

/// Whether something can be sealed to it at all.
pub(super) fn usable(recipient: &Recipient) -> bool {
    wrap(recipient, b"", &[0; KEY]).is_some()
}

/// A new pair. `None`: no randomness.
pub(super) fn pair() -> Option<(HpkePublicKey, HpkePrivateKey)> {
    SUITE.generate_key_pair().ok()
}

/// A key section, read.
#[derive(Clone, Debug)]
pub(in crate::record) struct Section {
    /// To whom.
    pub(in crate::record) recipients: Arc<[RecipientId]>,
    /// Its key, if one of the identities at hand opens it.
    pub(in crate::record) key: Option<Arc<DataKey>>,
}

/// What came of a key section.
#[derive(Debug)]
pub(in crate::record) enum Opened {
    /// It is one.
    Section(Section),
    /// It is none.
    Malformed,
    /// One of its wraps is for an identity at hand, and is not what was written.
    Forged,
}

impl Section {
    /// Takes a section from the beginning of these bytes, and opens it if one of the identities can.
    pub(in crate::record) fn take(
        bytes: &mut &[u8],
        position: &[u8],
        identities: &Identities,
    ) -> Opened {
        let Some((commitment_bytes, rest)) = bytes.split_first_chunk::<32>() else {
            return Opened::Malformed;
        };
        let Some((count, rest)) = rest.split_first_chunk::<2>() else {
            return Opened::Malformed;
        };
        let count = usize::from(u16::from_le_bytes(*count));
        let wraps = rest.split_at_checked(count * WRAP);
        let Some((mut wraps, after)) = wraps.filter(|_| (1..=MOST).contains(&count)) else {
            return Opened::Malformed;
        };
        *bytes = after;
        let mut recipients = Vec::with_capacity(count);
        let mut key = None;
        while let Some((wrap, others)) = wraps.split_first_chunk::<WRAP>() {
            wraps = others;
            let (name, sealed) = wrap.split_at(16);
            let (enc, wrapped) = sealed.split_at(32);
            let id = RecipientId(name.try_into().unwrap_or_default());
            recipients.push(id);
            let Some(identity) = identities.of_recipient(id).filter(|_| key.is_none()) else {
                continue;
            };
            let enc = EncapsulatedSecret(enc.to_vec());
            let opened = SUITE.open(&enc, INFO, position, wrapped, &identity.secret);
            let Some(secret) = opened.ok().map(Zeroizing::new) else {
                return Opened::Forged;
            };
            let secret: Option<&[u8; KEY]> = secret.as_slice().try_into().ok();
            match secret.filter(|secret| commitment(secret) == *commitment_bytes) {
                Some(secret) => key = DataKey::of(secret).map(Arc::new),
                None => return Opened::Forged,
            }
        }
        Opened::Section(Section {
            recipients: recipients.into(),
            key,
        })
    }
}
