//! Pure. What the configuration says about an issuer.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::keys::KeyKind;

/// A signature algorithm of RFC 7518 or RFC 8037. There is no symmetric one and no `none`: a key
/// that the agent could sign with proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named as in the RFC")]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Algorithm; 9] = [
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
    ];

    /// The spelling of the RFC.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::RS256 => "RS256",
            Algorithm::RS384 => "RS384",
            Algorithm::RS512 => "RS512",
            Algorithm::PS256 => "PS256",
            Algorithm::PS384 => "PS384",
            Algorithm::PS512 => "PS512",
            Algorithm::ES256 => "ES256",
            Algorithm::ES384 => "ES384",
            Algorithm::EdDSA => "EdDSA",
        }
    }

    /// The only kind of key it works with.
    pub(super) fn key_kind(self) -> KeyKind {
        match self {
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512 => KeyKind::Rsa,
            Algorithm::ES256 => KeyKind::P256,
            Algorithm::ES384 => KeyKind::P384,
            Algorithm::EdDSA => KeyKind::Ed25519,
        }
    }

    pub(super) fn library(self) -> jsonwebtoken::Algorithm {
        match self {
            Algorithm::RS256 => jsonwebtoken::Algorithm::RS256,
            Algorithm::RS384 => jsonwebtoken::Algorithm::RS384,
            Algorithm::RS512 => jsonwebtoken::Algorithm::RS512,
            Algorithm::PS256 => jsonwebtoken::Algorithm::PS256,
            Algorithm::PS384 => jsonwebtoken::Algorithm::PS384,
            Algorithm::PS512 => jsonwebtoken::Algorithm::PS512,
            Algorithm::ES256 => jsonwebtoken::Algorithm::ES256,
            Algorithm::ES384 => jsonwebtoken::Algorithm::ES384,
            Algorithm::EdDSA => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name is of no algorithm that the agent accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an accepted signature algorithm: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 \
     and EdDSA are"
)]
pub struct UnknownAlgorithm;

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    /// Exact spelling, as in the RFC: `None` and `rs256` are not names of anything.
    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        Algorithm::ALL
            .into_iter()
            .find(|a| a.name() == text)
            .ok_or(UnknownAlgorithm)
    }
}

/// One trusted issuer for one audience.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerRules {
    /// Its URL: compared with `iss` byte by byte, and where discovery begins.
    pub url: String,
    /// `aud` must be this: a string, or a list of only this. A token for several audiences can be
    /// replayed by each of them, so it is refused.
    pub audience: String,
    /// The algorithms accepted. Never taken from the token or from the issuer's documents.
    pub algorithms: Vec<Algorithm>,
    /// The top-level claim that holds the groups: a string, or a list of strings.
    pub groups_claim: String,
    /// Authorities trusted for the issuer's own TLS (PEM); without it the public web's.
    pub ca_file: Option<PathBuf>,
    /// Claims kept beside subject and groups, for policy conditions and the record.
    pub claims: Vec<String>,
    /// Allows `http://127.0.0.1…` and `http://[::1]…`, for trying things. Never any other host.
    pub allow_http_loopback: bool,
    /// The longest life of a token, seconds from `iat` (or, without `iat`, from now to `exp`). A
    /// token that claims to live longer ends for the agent when this is over.
    pub longest_life_seconds: i64,
}

impl IssuerRules {
    /// The rules with the usual settings: RS256, PS256, ES256 and EdDSA, the claim `groups`, a
    /// longest life of a day.
    pub fn new(url: impl Into<String>, audience: impl Into<String>) -> Self {
        IssuerRules {
            url: url.into(),
            audience: audience.into(),
            algorithms: vec![
                Algorithm::RS256,
                Algorithm::PS256,
                Algorithm::ES256,
                Algorithm::EdDSA,
            ],
            groups_claim: "groups".to_owned(),
            ca_file: None,
            claims: Vec::new(),
            allow_http_loopback: false,
            longest_life_seconds: 24 * 3600,
        }
    }
}
