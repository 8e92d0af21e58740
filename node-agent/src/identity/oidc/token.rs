//! Pure. A token taken apart, nothing of it believed.
//!
//! Strict before any cryptography: the compact form of RFC 7515 with exactly three parts, one
//! spelling of base64url, one spelling of JSON, and no header that would make a verifier fetch,
//! decrypt or skip something.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::json;
use super::keys::LONGEST_KID;
use super::rules::Algorithm;
use super::verify::TokenRefused;
use crate::model::Secret;

/// The longest token, bytes.
const LONGEST: usize = 16 * 1024;

/// A token that is well formed. Borrowed from the text; lives as long as the check.
pub(super) struct Unverified<'a> {
    /// What was signed: header, dot, payload, as they came.
    pub(super) signed: &'a [u8],
    pub(super) signature: Vec<u8>,
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    pub(super) claims: Map<String, Value>,
}

impl<'a> Unverified<'a> {
    /// Takes a token apart.
    pub(super) fn parse(token: &'a Secret<String>) -> Result<Self, TokenRefused> {
        let text = token.expose().as_str();
        if text.len() > LONGEST {
            return Err(TokenRefused::TooLong);
        }
        let mut parts = text.split('.');
        let (header, payload, signature) = match (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) {
            (Some(h), Some(p), Some(s), None, None) => (h, p, s),
            (Some(_), Some(_), Some(_), Some(_), Some(_)) if parts.next().is_none() => {
                return Err(TokenRefused::Encrypted);
            }
            _ => return Err(TokenRefused::Shape),
        };
        let signed_length = header.len() + 1 + payload.len();
        let signed = text.as_bytes().get(..signed_length).unwrap_or_default();
        if signature.is_empty() {
            return Err(TokenRefused::Unsigned);
        }
        let header = json::object(&decode(header)?).ok_or(TokenRefused::Json("header"))?;
        let (algorithm, kid) = judge_header(&header)?;
        let claims = json::object(&decode(payload)?).ok_or(TokenRefused::Json("payload"))?;
        let signature = decode(signature)?.to_vec();
        Ok(Unverified {
            signed,
            signature,
            algorithm,
            kid,
            claims,
        })
    }
}

/// Canonical base64url without padding: unused bits of the last character must be zero, so one
/// token has one spelling.
fn decode(part: &str) -> Result<Zeroizing<Vec<u8>>, TokenRefused> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map(Zeroizing::new)
        .map_err(|_| TokenRefused::Base64)
}

fn judge_header(header: &Map<String, Value>) -> Result<(Algorithm, Option<String>), TokenRefused> {
    if header.contains_key("enc") || header.contains_key("zip") {
        return Err(TokenRefused::Encrypted);
    }
    // `cty` says that the payload is something else than claims, usually another token.
    if header.contains_key("cty") {
        return Err(TokenRefused::Nested);
    }
    // Extensions that must be understood: none is (RFC 7515, section 4.1.11). `b64` is one.
    if header.contains_key("crit") || header.contains_key("b64") {
        return Err(TokenRefused::Critical);
    }
    // Tokens made for other ends (logout, proof of possession, …) are signed by the same keys.
    match header.get("typ") {
        None => {}
        Some(Value::String(kind)) if is_access(kind) => {}
        Some(_) => return Err(TokenRefused::Type),
    }
    let algorithm = match header.get("alg") {
        Some(Value::String(name)) => name
            .parse()
            .map_err(|_| TokenRefused::Algorithm(excerpt(name)))?,
        Some(_) | None => return Err(TokenRefused::Algorithm("none given".to_owned())),
    };
    let kid = match header.get("kid") {
        None => None,
        Some(Value::String(kid)) if kid.len() <= LONGEST_KID => Some(kid.clone()),
        Some(_) => return Err(TokenRefused::KeyName),
    };
    // `jku`, `jwk`, `x5u`, `x5c` and the like are not looked at: keys come from the issuer only.
    Ok((algorithm, kid))
}

fn is_access(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    let kind = kind.strip_prefix("application/").unwrap_or(&kind);
    matches!(kind, "jwt" | "at+jwt")
}

/// At most 16 characters of something that the token says, safe to print.
pub(super) fn excerpt(text: &str) -> String {
    let mut safe: String = text
        .chars()
        .take(16)
        .flat_map(char::escape_default)
        .take(48)
        .collect();
    if text.chars().nth(16).is_some() {
        safe.push('…');
    }
    safe
}
