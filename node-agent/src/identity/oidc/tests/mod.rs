//! The attacks on tokens, and what they get; the issuer being slow, down, or hostile.

mod attacks;
mod issuer_faults;
mod keys;

use serde_json::{Value, json};

use self::keys::Signer;
use super::{Algorithm, IssuerRules, KeySet, TokenRefused, verify};
use crate::model::{Secret, UnixMillis, User};

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "node-agent";
/// The moment of these tests, seconds.
const NOW: i64 = 1_800_000_000;

fn rules() -> IssuerRules {
    IssuerRules::new(ISSUER, AUDIENCE)
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "groups": ["ai-agents", "dev"],
        "iat": NOW - 60, "nbf": NOW - 60, "exp": NOW + 600, "email": "alice@example.org"
    })
}

/// The usual claims with some replaced; `Value::Null` takes one away.
fn claims_with(changes: Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

fn judged(token: &str, keys: &KeySet) -> Result<User, TokenRefused> {
    judged_by(token, &rules(), keys)
}

fn judged_by(token: &str, rules: &IssuerRules, keys: &KeySet) -> Result<User, TokenRefused> {
    verify(
        &Secret::new(token.to_owned()),
        rules,
        keys,
        UnixMillis(NOW * 1000),
    )
}

#[test]
fn a_good_token_gives_its_user_under_each_algorithm() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm, "k1");
        let keys = KeySet::parse(keys::jwks(&[&signer]).as_bytes()).unwrap();
        let token = signer.token(&claims());
        let rules = IssuerRules {
            algorithms: vec![algorithm],
            claims: vec!["email".to_owned(), "phone".to_owned()],
            ..rules()
        };
        let user = judged_by(&token, &rules, &keys).unwrap();
        assert_eq!(user.issuer, ISSUER);
        assert_eq!(user.subject, "alice");
        assert_eq!(user.groups, ["ai-agents", "dev"]);
        assert_eq!(user.expires, UnixMillis((NOW + 600) * 1000));
        assert_eq!(
            user.claims.keys().collect::<Vec<_>>(),
            ["email"],
            "only what is listed is kept"
        );
    }
}

#[test]
fn other_names_of_a_person_are_known_whatever_claims_are_kept() {
    let signer = Signer::new(Algorithm::ES256, "k1");
    let keys = KeySet::parse(keys::jwks(&[&signer]).as_bytes()).unwrap();
    let actor =
        json!({ "sub": "bot", "email": 7, "act": { "sub": "before", "email": "b@example.org" } });
    let changes = json!({ "preferred_username": "ally", "upn": "x".repeat(1025), "act": actor });
    let user = judged(&signer.token(&claims_with(changes)), &keys).unwrap();
    assert!(user.claims.is_empty());
    assert_eq!(
        user.also,
        [
            "alice@example.org",
            "ally",
            "bot",
            "before",
            "b@example.org"
        ]
    );
    let recorded = serde_json::to_string(&user).unwrap();
    assert!(!recorded.contains("ally"), "{recorded}");
}

#[test]
fn any_bytes_as_a_token_are_refused_without_a_panic() {
    bolero::check!().for_each(|bytes: &[u8]| super::fuzz_token(bytes));
}

#[test]
fn algorithms_are_spelled_exactly() {
    for algorithm in Algorithm::ALL {
        assert_eq!(algorithm.name().parse(), Ok(algorithm));
    }
    for name in ["none", "None", "", "HS256", "rs256", "ES256K", "ES512"] {
        assert!(name.parse::<Algorithm>().is_err(), "{name}");
    }
}
