//! OpenID Connect: who the trusted issuers are, their keys, and the check of a token.
//!
//! An own small client instead of a library: it needs discovery, the key set and nothing else, and
//! every bound in it is a decision (sizes, times, how often, how long without the issuer).

mod cache;
mod discover;
mod json;
mod keys;
mod rules;
mod signin;
mod token;
mod verify;

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use self::cache::{KeyCache, Monotonic};
use self::discover::Fetcher;
use self::token::Unverified;
use super::IdentityError;
use crate::clock;
use crate::model::{Secret, User};

pub use cache::KeyTimes;
pub use keys::{BadKeys, KeySet};
pub use rules::{Algorithm, IssuerRules, UnknownAlgorithm};
pub use signin::{Begun, Finished, SignIn, SignInError};
pub use verify::{TokenRefused, verify};

/// The trusted issuers with their keys.
#[derive(Clone, Debug)]
pub struct Issuers {
    all: Arc<[Issuer]>,
}

#[derive(Debug)]
struct Issuer {
    rules: IssuerRules,
    /// Shared by the rules of one issuer for several audiences.
    keys: Arc<KeyCache>,
}

impl Issuers {
    /// Checks the rules. Nothing is fetched yet.
    ///
    /// # Errors
    /// `Setup`: a rule cannot be used, or two contradict each other.
    pub fn new(rules: Vec<IssuerRules>, times: KeyTimes) -> Result<Issuers, IdentityError> {
        Issuers::with_clock(rules, times, Arc::new(Instant::now))
    }

    fn with_clock(
        rules: Vec<IssuerRules>,
        times: KeyTimes,
        now: Monotonic,
    ) -> Result<Issuers, IdentityError> {
        let mut all: Vec<Issuer> = Vec::with_capacity(rules.len());
        for rules in rules {
            let setup = |what: String| IdentityError::Setup {
                issuer: rules.url.clone(),
                what,
            };
            if rules.algorithms.is_empty() {
                return Err(setup("no algorithm is listed for it".to_owned()));
            }
            if rules.audience.is_empty() {
                return Err(setup("its audience is empty".to_owned()));
            }
            if rules.longest_life_seconds <= 0 {
                return Err(setup(
                    "the longest life of its tokens must be positive".to_owned(),
                ));
            }
            let same = all.iter().find(|other| other.rules.url == rules.url);
            let keys = match same {
                None => KeyCache::new(
                    Fetcher::new(&rules).map_err(setup)?,
                    times,
                    Arc::clone(&now),
                ),
                Some(other) if contradicts(&other.rules, &rules) => {
                    let what = "it is listed twice with different ca_file or loopback settings";
                    return Err(setup(what.to_owned()));
                }
                Some(other) => Arc::clone(&other.keys),
            };
            let twice = |other: &Issuer| {
                other.rules.url == rules.url && other.rules.audience == rules.audience
            };
            if all.iter().any(twice) {
                return Err(setup(
                    "it is listed twice with the same audience".to_owned(),
                ));
            }
            all.push(Issuer { rules, keys });
        }
        Ok(Issuers { all: all.into() })
    }

    /// Fetches the keys of all issuers, so that the first login need not wait. Gives what failed;
    /// a failure is tried again when somebody logs in.
    pub async fn warm(&self) -> Vec<IdentityError> {
        let mut failed = Vec::new();
        for issuer in self.all.iter() {
            if let Err(error) = issuer.usable().await {
                failed.push(error);
            }
        }
        failed
    }

    /// Authenticates a token: the issuer is chosen by exact match of `iss` and `aud` with what is
    /// configured, then everything is checked with that issuer's rules and keys.
    ///
    /// # Errors
    /// Why nobody was authenticated; `IdentityError::refusal` words it for the client.
    pub async fn authenticate(&self, token: Secret<String>) -> Result<User, IdentityError> {
        let token = Unverified::parse(&token)?;
        let issuer = self.choose(&token)?;
        let now = clock::now();
        // Before anybody looks for a key: most bad tokens cost no lookup and none costs a fetch.
        verify::judge(&token, &issuer.rules, now)?;
        let held = issuer.usable().await?;
        match verify::check(&token, &issuer.rules, &held.keys, now) {
            Err(TokenRefused::KeyUnknown(kid)) => match issuer.keys.newer_than(&held).await {
                Some(newer) => Ok(verify::check(&token, &issuer.rules, &newer.keys, now)?),
                None => Err(TokenRefused::KeyUnknown(kid).into()),
            },
            other => Ok(other?),
        }
    }

    fn choose(&self, token: &Unverified<'_>) -> Result<&Issuer, IdentityError> {
        let named = token
            .claims
            .get("iss")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let mut of_issuer = self
            .all
            .iter()
            .filter(|issuer| issuer.rules.url == named)
            .peekable();
        if of_issuer.peek().is_none() {
            return Err(IdentityError::UnknownIssuer);
        }
        of_issuer
            .find(|issuer| verify::is_only_audience(&token.claims, &issuer.rules.audience))
            .ok_or(IdentityError::Refused(TokenRefused::Audience))
    }
}

impl Issuer {
    async fn usable(&self) -> Result<Arc<cache::Held>, IdentityError> {
        self.keys
            .usable()
            .await
            .map_err(|why| IdentityError::NoKeys {
                issuer: self.rules.url.clone(),
                why,
            })
    }
}

fn contradicts(one: &IssuerRules, other: &IssuerRules) -> bool {
    one.ca_file != other.ca_file || one.allow_http_loopback != other.allow_http_loopback
}

/// The body of the fuzz target: any bytes as a token, against a set with one key nobody holds the
/// other half of. Must neither panic nor accept.
#[cfg(any(test, feature = "fuzzing"))]
pub fn fuzz_token(bytes: &[u8]) {
    const KEYS: &[u8] = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    if let Ok(keys) = KeySet::parse(bytes) {
        assert!(!keys.is_empty());
    }
    let Ok(keys) = KeySet::parse(KEYS) else {
        return;
    };
    let Ok(text) = String::from_utf8(bytes.to_vec()) else {
        return;
    };
    let rules = IssuerRules::new("https://issuer.example", "node-agent");
    let refused = verify(
        &Secret::new(text),
        &rules,
        &keys,
        crate::model::UnixMillis(1_800_000_000_000),
    );
    assert!(refused.is_err());
}

#[cfg(test)]
mod tests;
