//! What a token says.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

/// A token's body.
#[derive(Clone, Debug)]
pub struct Claims(Map<String, Value>);

impl Claims {
    /// The ordinary claims, for the audience `node-agent`. A token with a negative `ttl` was issued an
    /// hour before its end.
    pub fn new(issuer: &str, subject: &str, groups: &[&str], ttl: i64) -> Self {
        let now = now();
        let expires = now + ttl;
        let issued = now.min(expires - 3600 * i64::from(ttl < 0));
        let body = json!({
            "iss": issuer, "aud": "node-agent", "sub": subject, "groups": groups,
            "iat": issued, "nbf": issued, "exp": expires, "jti": format!("{now}-{subject}"),
        });
        match body {
            Value::Object(map) => Self(map),
            other => unreachable!("an object was written, not {other}"),
        }
    }

    /// With this claim instead, or in addition.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// Without this claim.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.0.remove(name);
        self
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        Value::Object(self.0.clone())
    }
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
}
