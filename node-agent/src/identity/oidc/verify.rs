//! Pure. Token, keys and the time in; a `User` out, or the reason why not.
//!
//! This is the only place that makes a `User`. Every check is against the configuration; nothing
//! in the token chooses how it is checked, except among what the configuration allows.

use std::collections::BTreeMap;

use jsonwebtoken::crypto::aws_lc;
use serde_json::{Map, Value};

use super::keys::{Found, KeySet};
use super::rules::{Algorithm, IssuerRules};
use super::token::{Unverified, excerpt};
use crate::model::{Secret, UnixMillis, User};

/// How far the clocks of issuer and agent may differ, seconds.
const SKEW: i64 = 30;
/// The last second of the year 9999, as RFC 3339 ends: later "times" are errors or attacks.
const LAST_SECOND: i64 = 253_402_300_799;
/// The longest subject or group, bytes, and how many groups.
const LONGEST_NAME: usize = 1024;
const MOST_GROUPS: usize = 1000;
/// Who acts for whom for whom: so many of a chain are looked at.
const MOST_ACTORS: usize = 8;

/// Why a token was refused. Says nothing of what the token holds, except short, escaped excerpts
/// of its header (the algorithm's and the key's name).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// Longer than 16 KiB.
    #[error("the token is longer than 16 KiB")]
    TooLong,
    /// Not three parts.
    #[error("the token is not a signed JWT: it must have three parts with dots between")]
    Shape,
    /// A JWE, or compressed.
    #[error("the token is encrypted or compressed; the agent takes signed tokens only")]
    Encrypted,
    /// No signature.
    #[error("the token is not signed")]
    Unsigned,
    /// Not canonical base64url.
    #[error("the token is not in canonical base64url")]
    Base64,
    /// Not one JSON object without duplicate names.
    #[error("the token's {0} is not a JSON object with each name once")]
    Json(&'static str),
    /// `cty`.
    #[error("the token holds another token; nested tokens are not taken")]
    Nested,
    /// `crit` or `b64`.
    #[error("the token demands extensions (crit) that the agent does not have")]
    Critical,
    /// `typ` is of another kind of token.
    #[error("the token was made for another end than access (typ)")]
    Type,
    /// The algorithm is none the agent knows.
    #[error("the token's algorithm ({0}) is not an accepted one")]
    Algorithm(String),
    /// The algorithm is not in the issuer's configured list.
    #[error("the token's algorithm {0} is not in the list configured for its issuer")]
    AlgorithmNotListed(Algorithm),
    /// `kid` is not a string of at most 256 bytes.
    #[error("the token's key name (kid) is not a string of at most 256 bytes")]
    KeyName,
    /// The issuer has no key of that name.
    #[error("the issuer has no key named \"{0}\"")]
    KeyUnknown(String),
    /// The key does not go with the algorithm, or none is named where there are several.
    #[error("no key of the issuer goes with the token's algorithm and key name")]
    KeyUnfit,
    /// The signature is wrong.
    #[error("the token's signature is wrong")]
    Signature,
    /// `iss` is not the issuer.
    #[error("the token is not from the expected issuer")]
    Issuer,
    /// `aud` is not the audience, or not only it.
    #[error(
        "the token is not for this agent alone: its audience must be exactly the configured one"
    )]
    Audience,
    /// `exp` has passed.
    #[error("the token expired {seconds} s ago")]
    Expired {
        /// How long ago.
        seconds: i64,
    },
    /// The agent's own limit on a token's life has passed.
    #[error("the token was issued too long ago")]
    TooOld,
    /// `nbf` or `iat` is ahead.
    #[error("the token is not valid yet; compare the clocks of the issuer and of this node")]
    NotYet,
    /// A claim is missing or of the wrong form.
    #[error("the token's claim \"{name}\" must be {want}")]
    Claim {
        /// Which, as the RFC or the configuration names it.
        name: String,
        /// What it must be.
        want: &'static str,
    },
}

impl TokenRefused {
    /// The mend, for the person behind the client.
    pub fn hint(&self) -> &'static str {
        match self {
            TokenRefused::Expired { .. } | TokenRefused::TooOld => {
                "get a new token and connect again"
            }
            TokenRefused::NotYet => "set the clock, or wait and connect again",
            TokenRefused::Audience | TokenRefused::Issuer => {
                "ask the issuer for a token with this agent as its only audience"
            }
            TokenRefused::Algorithm(_) | TokenRefused::AlgorithmNotListed(_) => {
                "the accepted algorithms are in the agent's configuration, under identity.issuers"
            }
            TokenRefused::TooLong
            | TokenRefused::Shape
            | TokenRefused::Encrypted
            | TokenRefused::Unsigned
            | TokenRefused::Base64
            | TokenRefused::Json(_)
            | TokenRefused::Nested
            | TokenRefused::Critical
            | TokenRefused::Type
            | TokenRefused::KeyName
            | TokenRefused::KeyUnknown(_)
            | TokenRefused::KeyUnfit
            | TokenRefused::Signature
            | TokenRefused::Claim { .. } => "present an access token (JWT) of a trusted issuer",
        }
    }
}

/// Verifies a token against one issuer's rules and keys.
///
/// # Errors
/// The first check that fails. Claims are checked before the signature, so that a token which is
/// refused anyway never makes anybody look for its key.
pub fn verify(
    token: &Secret<String>,
    issuer: &IssuerRules,
    keys: &KeySet,
    now: UnixMillis,
) -> Result<User, TokenRefused> {
    check(&Unverified::parse(token)?, issuer, keys, now)
}

pub(super) fn check(
    token: &Unverified<'_>,
    issuer: &IssuerRules,
    keys: &KeySet,
    now: UnixMillis,
) -> Result<User, TokenRefused> {
    let user = judge(token, issuer, now)?;
    let candidates = match keys.find(token.kid.as_deref(), token.algorithm) {
        Found::Candidates(keys) => keys,
        Found::Unknown => {
            let kid = token.kid.as_deref().unwrap_or_default();
            return Err(TokenRefused::KeyUnknown(excerpt(kid)));
        }
        Found::Unfit => return Err(TokenRefused::KeyUnfit),
    };
    // The library's own claim checks read the clock; only its signature check is used, and with
    // its provider named, so nothing depends on what the process has installed.
    let signed = candidates.into_iter().any(|key| {
        (aws_lc::DEFAULT_PROVIDER.verifier_factory)(&token.algorithm.library(), &key.decoding)
            .is_ok_and(|verifier| verifier.verify(token.signed, &token.signature).is_ok())
    });
    if signed {
        Ok(user)
    } else {
        Err(TokenRefused::Signature)
    }
}

/// Everything but the key and the signature. What it gives must not be used before those are
/// checked too.
pub(super) fn judge(
    token: &Unverified<'_>,
    issuer: &IssuerRules,
    now: UnixMillis,
) -> Result<User, TokenRefused> {
    let claims = &token.claims;
    if claims.get("iss").and_then(Value::as_str) != Some(issuer.url.as_str()) {
        return Err(TokenRefused::Issuer);
    }
    if !is_only_audience(claims, &issuer.audience) {
        return Err(TokenRefused::Audience);
    }
    if !issuer.algorithms.contains(&token.algorithm) {
        return Err(TokenRefused::AlgorithmNotListed(token.algorithm));
    }
    let expires = lifetime(claims, issuer, now)?;
    let subject = match claims.get("sub") {
        Some(Value::String(sub)) if !sub.is_empty() && sub.len() <= LONGEST_NAME => sub.clone(),
        Some(_) | None => {
            let want = "a string of 1 to 1024 bytes";
            return Err(TokenRefused::Claim {
                name: "sub".to_owned(),
                want,
            });
        }
    };
    let groups = groups(claims, &issuer.groups_claim)?;
    let kept: BTreeMap<String, Value> = issuer
        .claims
        .iter()
        .filter_map(|name| claims.get(name).map(|value| (name.clone(), value.clone())))
        .collect();
    Ok(User {
        issuer: issuer.url.clone(),
        subject,
        groups,
        claims: kept,
        also: other_names(claims),
        expires,
    })
}

/// What names the person beside the subject, and who acts in their place (RFC 8693, section 4.1). A name that is
/// too long to be one is none: nothing opens by these, they only keep people from deciding about themselves.
fn other_names(claims: &Map<String, Value>) -> Vec<String> {
    const NAMING: [&str; 3] = ["email", "preferred_username", "upn"];
    let own = NAMING.iter().map(|name| claims.get(*name));
    let actors = std::iter::successors(claims.get("act"), |act| act.get("act"));
    let actors = actors.take(MOST_ACTORS);
    let acting = actors.flat_map(|act| ["sub", "email"].map(|name| act.get(name)));
    own.chain(acting)
        .filter_map(|name| name?.as_str())
        .filter(|name| !name.is_empty() && name.len() <= LONGEST_NAME)
        .map(str::to_owned)
        .collect()
}

/// Whether the token is for `audience` and nobody else.
pub(super) fn is_only_audience(claims: &Map<String, Value>, audience: &str) -> bool {
    match claims.get("aud") {
        Some(Value::String(only)) => only == audience,
        Some(Value::Array(list)) => {
            matches!(list.as_slice(), [Value::String(only)] if only == audience)
        }
        Some(_) | None => false,
    }
}

/// Checks `exp`, `nbf` and `iat`. Gives the moment at which the token is over for the agent.
fn lifetime(
    claims: &Map<String, Value>,
    issuer: &IssuerRules,
    now: UnixMillis,
) -> Result<UnixMillis, TokenRefused> {
    let missing = || TokenRefused::Claim {
        name: "exp".to_owned(),
        want: "a whole number of seconds since 1970",
    };
    let now = now.0.div_euclid(1000);
    let expires = seconds(claims, "exp")?.ok_or_else(missing)?;
    if now >= expires.saturating_add(SKEW) {
        return Err(TokenRefused::Expired {
            seconds: now.saturating_sub(expires),
        });
    }
    if seconds(claims, "nbf")?.is_some_and(|from| from > now.saturating_add(SKEW)) {
        return Err(TokenRefused::NotYet);
    }
    let longest = issuer.longest_life_seconds;
    let end = match seconds(claims, "iat")? {
        Some(issued) if issued > now.saturating_add(SKEW) => return Err(TokenRefused::NotYet),
        Some(issued) => {
            let end = expires.min(issued.saturating_add(longest));
            if now >= end.saturating_add(SKEW) {
                return Err(TokenRefused::TooOld);
            }
            end
        }
        // Without a date of issue nothing shows how old it is: only a short rest is believed.
        None if expires > now.saturating_add(longest) => {
            let want = "there, for a token that lives this long";
            return Err(TokenRefused::Claim {
                name: "iat".to_owned(),
                want,
            });
        }
        None => expires,
    };
    Ok(UnixMillis(end.saturating_mul(1000)))
}

/// A time claim: a whole number within 1970 to 9999. Floats and strings are refused even where
/// they would be whole, because verifiers differ on them.
fn seconds(claims: &Map<String, Value>, name: &str) -> Result<Option<i64>, TokenRefused> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    match value.as_i64() {
        Some(seconds) if (0..=LAST_SECOND).contains(&seconds) => Ok(Some(seconds)),
        Some(_) | None => Err(TokenRefused::Claim {
            name: name.to_owned(),
            want: "a whole number of seconds since 1970",
        }),
    }
}

fn groups(claims: &Map<String, Value>, name: &str) -> Result<Vec<String>, TokenRefused> {
    let wrong = || TokenRefused::Claim {
        name: name.to_owned(),
        want: "a string or a list of at most 1000 strings, each of at most 1024 bytes",
    };
    let one = |value: &Value| match value {
        Value::String(group) if group.len() <= LONGEST_NAME => Ok(group.clone()),
        _ => Err(wrong()),
    };
    match claims.get(name) {
        // No claim: in no group. Rules for groups then do not allow anything.
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) if list.len() <= MOST_GROUPS => list.iter().map(one).collect(),
        Some(value) => one(value).map(|group| vec![group]),
    }
}
