//! Pure. An issuer's keys (RFC 7517): which of them may check which signature.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use super::json;
use super::rules::Algorithm;

/// How many keys a set may have.
const MOST: usize = 100;
/// The longest `kid`, bytes.
pub(super) const LONGEST_KID: usize = 256;
/// RSA moduli, bytes: 2048 to 8192 bits.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=1024;

/// What a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyKind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

/// One key, fit for checking signatures.
#[derive(Clone, Debug)]
pub(super) struct Key {
    kid: Option<String>,
    kind: KeyKind,
    /// Its owner says that it is for this algorithm only.
    only: Option<Algorithm>,
    pub(super) decoding: DecodingKey,
}

impl Key {
    fn fits(&self, algorithm: Algorithm) -> bool {
        self.kind == algorithm.key_kind() && self.only.is_none_or(|only| only == algorithm)
    }
}

/// The keys of one issuer.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

/// The document holds no set of keys that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a set of keys: {0}")]
pub struct BadKeys(&'static str);

/// Which key a token asks for.
pub(super) enum Found<'a> {
    /// It may be one of these.
    Candidates(Vec<&'a Key>),
    /// No key has that name; a newer set may.
    Unknown,
    /// The key is there, but not for this algorithm; or no name was given where one is needed.
    Unfit,
}

impl KeySet {
    /// Reads a JWK set. Keys of unknown or unfit kinds are left out, as RFC 7517, section 5, asks;
    /// so are symmetric and private ones.
    ///
    /// # Errors
    /// It is not a JWK set, or no key in it can be used: an empty set never replaces a good one.
    pub fn parse(document: &[u8]) -> Result<KeySet, BadKeys> {
        let members = json::object(document).ok_or(BadKeys("not a JSON object"))?;
        let Some(Value::Array(list)) = members.get("keys") else {
            return Err(BadKeys("it has no list \"keys\""));
        };
        if list.len() > MOST {
            return Err(BadKeys("it has more than 100 keys"));
        }
        let keys: Vec<Key> = list
            .iter()
            .filter_map(|item| item.as_object().and_then(key))
            .collect();
        if keys.is_empty() {
            return Err(BadKeys("no key in it can check a signature"));
        }
        Ok(KeySet { keys })
    }

    /// How many keys can be used.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys that may have signed a token of this algorithm and key name. The name is opaque:
    /// it is compared, never opened, fetched or printed whole.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Found<'_> {
        let fit = |key: &&Key| key.fits(algorithm);
        match kid {
            Some(kid) => {
                let mut named = self
                    .keys
                    .iter()
                    .filter(|key| key.kid.as_deref() == Some(kid))
                    .peekable();
                if named.peek().is_none() {
                    return Found::Unknown;
                }
                some(named.filter(fit).collect())
            }
            // Without a name there is nothing to choose by: fine only where there is no choice.
            None => {
                let fitting: Vec<&Key> = self.keys.iter().filter(fit).collect();
                if fitting.len() == 1 {
                    Found::Candidates(fitting)
                } else {
                    Found::Unfit
                }
            }
        }
    }
}

fn some(keys: Vec<&Key>) -> Found<'_> {
    if keys.is_empty() {
        Found::Unfit
    } else {
        Found::Candidates(keys)
    }
}

fn key(jwk: &Map<String, Value>) -> Option<Key> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    if jwk.contains_key("d") || jwk.contains_key("k") {
        return None; // whoever publishes a secret key has lost it
    }
    match jwk.get("use") {
        None => {}
        Some(Value::String(usage)) if usage == "sig" => {}
        Some(_) => return None,
    }
    match jwk.get("key_ops") {
        None => {}
        Some(Value::Array(operations)) if operations.iter().any(|o| o == "verify") => {}
        Some(_) => return None,
    }
    let kid = match jwk.get("kid") {
        None => None,
        Some(Value::String(kid)) if kid.len() <= LONGEST_KID => Some(kid.clone()),
        Some(_) => return None,
    };
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
    let (kind, decoding) = match (text("kty")?, text("crv")) {
        ("RSA", _) => {
            let (n, e) = (bytes("n")?, bytes("e")?);
            if !MODULUS.contains(&n.len()) || n.first() == Some(&0) {
                return None;
            }
            (KeyKind::Rsa, DecodingKey::from_rsa_raw_components(&n, &e))
        }
        ("EC", Some("P-256")) => (KeyKind::P256, point(&bytes("x")?, &bytes("y")?, 32)?),
        ("EC", Some("P-384")) => (KeyKind::P384, point(&bytes("x")?, &bytes("y")?, 48)?),
        ("OKP", Some("Ed25519")) => {
            let x = bytes("x")?;
            if x.len() != 32 {
                return None;
            }
            (KeyKind::Ed25519, DecodingKey::from_ed_der(&x))
        }
        _ => return None,
    };
    let only = match jwk.get("alg") {
        None => None,
        // A key for an algorithm that the agent does not know is not for it.
        Some(alg) => Some(alg.as_str()?.parse().ok()?),
    };
    Some(Key {
        kid,
        kind,
        only,
        decoding,
    })
}

/// An uncompressed point (SEC 1, section 2.3.3). Whether it is on the curve is checked when it is
/// used.
fn point(x: &[u8], y: &[u8], size: usize) -> Option<DecodingKey> {
    if x.len() != size || y.len() != size {
        return None;
    }
    let mut bytes = Vec::with_capacity(1 + 2 * size);
    bytes.push(4);
    bytes.extend_from_slice(x);
    bytes.extend_from_slice(y);
    Some(DecodingKey::from_ec_der(&bytes))
}
