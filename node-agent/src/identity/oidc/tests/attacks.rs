//! Tokens as attackers write them.

use aws_lc_rs::hmac;
use serde_json::{Value, json};

use super::keys::{Signer, b64, jwks};
use super::{NOW, claims, claims_with, judged, judged_by, rules};
use crate::identity::oidc::{Algorithm, IssuerRules, KeySet, TokenRefused};
use crate::identity::{IdentityError, Issuers, KeyTimes};

fn set(signers: &[&Signer]) -> KeySet {
    KeySet::parse(jwks(signers).as_bytes()).unwrap()
}

#[test]
fn an_unsigned_token_is_refused() {
    let signer = Signer::new(Algorithm::EdDSA, "k1");
    let keys = set(&[&signer]);
    let body = b64(claims().to_string().as_bytes());
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let header = b64(json!({ "alg": alg, "kid": "k1" }).to_string().as_bytes());
        assert_eq!(
            judged(&format!("{header}.{body}."), &keys),
            Err(TokenRefused::Unsigned)
        );
        let refused = judged(&format!("{header}.{body}.AAAA"), &keys);
        assert!(
            matches!(refused, Err(TokenRefused::Algorithm(_))),
            "{alg}: {refused:?}"
        );
    }
    // A good header without its signature, or with another's.
    let token = signer.token(&claims());
    let (signed, _) = token.rsplit_once('.').unwrap();
    assert_eq!(
        judged(&format!("{signed}."), &keys),
        Err(TokenRefused::Unsigned)
    );
    assert_eq!(
        judged(&format!("{signed}.AAAA"), &keys),
        Err(TokenRefused::Signature)
    );
    let stranger = Signer::new(Algorithm::EdDSA, "k1").token(&claims());
    assert_eq!(judged(&stranger, &keys), Err(TokenRefused::Signature));
}

#[test]
fn a_public_key_used_as_a_shared_secret_is_refused() {
    let signer = Signer::new(Algorithm::RS256, "k1");
    let keys = set(&[&signer]);
    let header = b64(json!({ "alg": "HS256", "kid": "k1" })
        .to_string()
        .as_bytes());
    let signed = format!("{header}.{}", b64(claims().to_string().as_bytes()));
    let secret = hmac::Key::new(hmac::HMAC_SHA256, &signer.public_bytes());
    let token = format!(
        "{signed}.{}",
        b64(hmac::sign(&secret, signed.as_bytes()).as_ref())
    );
    assert_eq!(
        judged(&token, &keys),
        Err(TokenRefused::Algorithm("HS256".to_owned()))
    );
    // Nor does a symmetric key in the set help.
    let symmetric = json!({ "keys": [{ "kty": "oct", "k": "AAAA", "kid": "k1" }] }).to_string();
    assert!(KeySet::parse(symmetric.as_bytes()).is_err());
}

#[test]
fn the_key_decides_which_algorithm_may_be_used_with_it() {
    let rsa = Signer::new(Algorithm::RS256, "k1");
    let ec = Signer::new(Algorithm::ES256, "k2");
    let keys = set(&[&rsa, &ec]);
    // Signed by the RSA key, said to be signed by the other one, and the other way round.
    let confused = rsa.token_with(&json!({ "alg": "RS256", "kid": "k2" }), &claims());
    assert_eq!(judged(&confused, &keys), Err(TokenRefused::KeyUnfit));
    let confused = ec.token_with(&json!({ "alg": "ES256", "kid": "k1" }), &claims());
    assert_eq!(judged(&confused, &keys), Err(TokenRefused::KeyUnfit));
    // A key published for one algorithm only.
    let mut jwk = rsa.jwk();
    jwk["alg"] = "PS256".into();
    let only = KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap();
    assert_eq!(
        judged(&rsa.token(&claims()), &only),
        Err(TokenRefused::KeyUnfit)
    );
    // An algorithm that the configuration does not list for this issuer.
    let rules = IssuerRules {
        algorithms: vec![Algorithm::ES256],
        ..rules()
    };
    let refused = judged_by(&rsa.token(&claims()), &rules, &keys);
    assert_eq!(
        refused,
        Err(TokenRefused::AlgorithmNotListed(Algorithm::RS256))
    );
    assert!(judged_by(&ec.token(&claims()), &rules, &keys).is_ok());
}

#[test]
fn a_key_name_is_opaque_and_header_keys_are_ignored() {
    let signer = Signer::new(Algorithm::ES256, "k1");
    let keys = set(&[&signer]);
    let with = |header: Value| judged(&signer.token_with(&header, &claims()), &keys);
    for kid in [
        "../../etc/passwd",
        "https://evil.example/k",
        "' OR 1=1 --",
        "K1",
        "k1 ",
        "",
    ] {
        let refused = with(json!({ "alg": "ES256", "kid": kid }));
        assert!(
            matches!(refused, Err(TokenRefused::KeyUnknown(_))),
            "{kid}: {refused:?}"
        );
    }
    let long = with(json!({ "alg": "ES256", "kid": "k".repeat(10_000) }));
    assert_eq!(long, Err(TokenRefused::KeyName));
    assert_eq!(
        with(json!({ "alg": "ES256", "kid": 1 })),
        Err(TokenRefused::KeyName)
    );
    // What is printed of it is short and safe.
    let said = with(json!({ "alg": "ES256", "kid": "a\n\u{1b}[31mbcdefghijklmnopqrstuv" }));
    let said = said.unwrap_err().to_string();
    assert!(
        !said.contains('\n') && !said.contains('\u{1b}') && !said.contains("qrst"),
        "{said}"
    );
    // Without a name only where there is no choice.
    assert!(with(json!({ "alg": "ES256" })).is_ok());
    let two = set(&[&signer, &Signer::new(Algorithm::ES256, "k2")]);
    let unnamed = signer.token_with(&json!({ "alg": "ES256" }), &claims());
    assert_eq!(judged(&unnamed, &two), Err(TokenRefused::KeyUnfit));

    // A stranger who brings the key along.
    let stranger = Signer::new(Algorithm::ES256, "k1");
    let header = json!({
        "alg": "ES256", "kid": "k1", "jwk": stranger.jwk(), "jku": "https://evil.example/jwks",
        "x5u": "https://evil.example/x5u", "x5c": ["AAAA"]
    });
    let brought = stranger.token_with(&header, &claims());
    assert_eq!(judged(&brought, &keys), Err(TokenRefused::Signature));
    // The same headers on a good token change nothing.
    assert!(judged(&signer.token_with(&header, &claims()), &keys).is_ok());

    for header in [
        json!({ "alg": "ES256", "kid": "k1", "crit": ["exp"], "exp": 1 }),
        json!({ "alg": "ES256", "kid": "k1", "crit": [] }),
        json!({ "alg": "ES256", "kid": "k1", "b64": true }),
    ] {
        assert_eq!(with(header), Err(TokenRefused::Critical));
    }
}

#[test]
fn issuer_and_audience_must_both_be_exact() {
    let signer = Signer::new(Algorithm::EdDSA, "k1");
    let keys = set(&[&signer]);
    let with = |changes: Value| judged(&signer.token(&claims_with(changes)), &keys);
    for aud in [
        json!("other"),
        json!("node-agent "),
        json!("NODE-AGENT"),
        json!(["node-agent", "other"]),
        json!(["other", "node-agent"]),
        json!(["node-agent", "node-agent"]),
        json!([]),
        json!({ "node-agent": 1 }),
        json!(1),
        Value::Null,
    ] {
        assert_eq!(
            with(json!({ "aud": aud })),
            Err(TokenRefused::Audience),
            "{aud}"
        );
    }
    assert!(with(json!({ "aud": ["node-agent"] })).is_ok());
    for iss in [
        json!("https://other.example"),
        json!("https://issuer.example/"),
        json!("HTTPS://issuer.example"),
        json!(["https://issuer.example"]),
        Value::Null,
    ] {
        assert_eq!(
            with(json!({ "iss": iss })),
            Err(TokenRefused::Issuer),
            "{iss}"
        );
    }
}

#[tokio::test]
async fn a_token_of_one_trusted_issuer_is_not_taken_for_another_audience() {
    // Two issuers, each trusted for its own audience. Nothing is fetched: the pair is judged first.
    let issuers = Issuers::new(
        vec![
            IssuerRules::new("https://one.example", "one"),
            IssuerRules::new("https://two.example", "two"),
        ],
        KeyTimes::default(),
    )
    .unwrap();
    let signer = Signer::new(Algorithm::EdDSA, "k1");
    let asked = async |iss: &str, aud: &str| {
        let token = signer.token(&claims_with(json!({ "iss": iss, "aud": aud })));
        issuers
            .authenticate(&crate::model::Secret::new(token))
            .await
            .unwrap_err()
    };
    let crossed = asked("https://one.example", "two").await;
    assert!(
        matches!(crossed, IdentityError::Refused(TokenRefused::Audience)),
        "{crossed}"
    );
    let stranger = asked("https://three.example", "one").await;
    assert!(
        matches!(stranger, IdentityError::UnknownIssuer),
        "{stranger}"
    );
}

#[test]
fn what_is_not_strictly_a_signed_token_is_refused() {
    let signer = Signer::new(Algorithm::ES256, "k1");
    let keys = set(&[&signer]);
    let good = signer.token(&claims());
    let part: Vec<&str> = good.split('.').collect();
    let (h, p, s) = (part[0], part[1], part[2]);
    for (token, why) in [
        (String::new(), TokenRefused::Shape),
        ("a".to_owned(), TokenRefused::Shape),
        ("a.b".to_owned(), TokenRefused::Shape),
        ("a.b.c.d".to_owned(), TokenRefused::Shape),
        ("a.b.c.d.e".to_owned(), TokenRefused::Encrypted),
        ("a.b.c.d.e.f".to_owned(), TokenRefused::Shape),
        ("..".to_owned(), TokenRefused::Unsigned),
        (format!("{h}=.{p}.{s}"), TokenRefused::Base64),
        (format!("{h}.{p}.{s}="), TokenRefused::Base64),
        (format!(" {h}.{p}.{s}"), TokenRefused::Base64),
        (format!("{h}.{p}.{s}\n"), TokenRefused::Base64),
        (
            format!("{h}.{p}.{}", s.replace(['-', '_'], "+") + "+"),
            TokenRefused::Base64,
        ),
        ("x".repeat(16 * 1024 + 1), TokenRefused::TooLong),
        ("x".repeat(1 << 20), TokenRefused::TooLong),
    ] {
        assert_eq!(judged(&token, &keys), Err(why), "{token:.60}");
    }
    // The last character of 64 signature bytes carries four unused bits: one spelling is taken.
    let (body, last) = s.split_at(s.len() - 1);
    let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let at = letters.find(last).unwrap();
    let other = &letters[at + 1..at + 2];
    assert_eq!(
        judged(&format!("{h}.{p}.{body}{other}"), &keys),
        Err(TokenRefused::Base64)
    );

    let of = |header: &str, claims: &str| judged(&signer.token_of(header, claims), &keys);
    let header = signer.header().to_string();
    let body = claims().to_string();
    for (h, p, why) in [
        (
            r#"{"alg":"ES256","alg":"ES256","kid":"k1"}"#,
            body.as_str(),
            TokenRefused::Json("header"),
        ),
        ("[]", &body, TokenRefused::Json("header")),
        (
            r#"{"alg":"ES256","kid":"k1","zip":"DEF"}"#,
            &body,
            TokenRefused::Encrypted,
        ),
        (
            r#"{"alg":"ES256","kid":"k1","enc":"A256GCM"}"#,
            &body,
            TokenRefused::Encrypted,
        ),
        (
            r#"{"alg":"ES256","kid":"k1","cty":"JWT"}"#,
            &body,
            TokenRefused::Nested,
        ),
        (
            r#"{"alg":"ES256","kid":"k1","typ":"logout+jwt"}"#,
            &body,
            TokenRefused::Type,
        ),
        (
            r#"{"alg":"ES256","kid":"k1","typ":7}"#,
            &body,
            TokenRefused::Type,
        ),
        (&header, "\"text\"", TokenRefused::Json("payload")),
        (&header, "", TokenRefused::Json("payload")),
        (
            &header,
            &body.replacen('{', r#"{"sub":"root","#, 1),
            TokenRefused::Json("payload"),
        ),
        (
            &header,
            &format!("{body}{body}"),
            TokenRefused::Json("payload"),
        ),
        (&header, &good, TokenRefused::Json("payload")),
    ] {
        assert_eq!(of(h, p), Err(why), "{h:.60} {p:.60}");
    }
    assert!(of(r#"{"alg":"ES256","kid":"k1","typ":"at+jwt"}"#, &body).is_ok());
    assert!(
        of(
            r#"{"alg":"ES256","kid":"k1","typ":"application/at+JWT"}"#,
            &body
        )
        .is_ok()
    );
}

#[test]
fn a_token_is_taken_only_in_its_time() {
    let signer = Signer::new(Algorithm::EdDSA, "k1");
    let keys = set(&[&signer]);
    let with = |changes: Value| judged(&signer.token(&claims_with(changes)), &keys);
    let claim = |name: &str| {
        let name = name.to_owned();
        move |refused: &TokenRefused| matches!(refused, TokenRefused::Claim { name: n, .. } if *n == name)
    };
    assert_eq!(
        with(json!({ "exp": NOW - 40 })),
        Err(TokenRefused::Expired { seconds: 40 })
    );
    assert_eq!(
        with(json!({ "exp": NOW - 30 })),
        Err(TokenRefused::Expired { seconds: 30 })
    );
    assert!(with(json!({ "exp": NOW - 29 })).is_ok(), "within the skew");
    assert_eq!(with(json!({ "nbf": NOW + 31 })), Err(TokenRefused::NotYet));
    assert!(with(json!({ "nbf": NOW + 30 })).is_ok(), "within the skew");
    assert_eq!(with(json!({ "iat": NOW + 31 })), Err(TokenRefused::NotYet));
    assert_eq!(
        with(json!({ "iat": NOW - 100_000 })),
        Err(TokenRefused::TooOld)
    );
    assert_eq!(with(json!({ "iat": 0 })), Err(TokenRefused::TooOld));
    assert!(claim("exp")(&with(json!({ "exp": null })).unwrap_err()));
    assert!(with(json!({ "nbf": null, "iat": null })).is_ok());
    let forever = with(json!({ "iat": null, "exp": NOW + 10 * 365 * 86_400 }));
    assert!(claim("iat")(&forever.unwrap_err()));
    for name in ["exp", "nbf", "iat"] {
        let bad = [
            "1e300",
            "1800000000.0",
            "1800000000.5",
            "\"1800000000\"",
            "-1",
            "99999999999999",
            "18446744073709551616",
            "[]",
            "true",
            "null",
        ];
        for value in bad {
            let mut claims = claims();
            claims[name] = "MARK".into();
            let text = claims.to_string().replace("\"MARK\"", value);
            let refused = judged(&signer.token_of(&signer.header().to_string(), &text), &keys);
            assert!(
                claim(name)(refused.as_ref().unwrap_err()),
                "{name} {value}: {refused:?}"
            );
        }
    }
    // The clock of the node set back: the token is from the future.
    let early = super::super::verify(
        &crate::model::Secret::new(signer.token(&claims())),
        &rules(),
        &keys,
        crate::model::UnixMillis((NOW - 86_400) * 1000),
    );
    assert_eq!(early, Err(TokenRefused::NotYet));
    // A token that claims a long life ends with the agent's own limit.
    let long = with(json!({ "exp": NOW + 10 * 86_400 })).unwrap();
    assert_eq!(long.expires.0, (NOW - 60 + 86_400) * 1000);
}

#[test]
fn subject_and_groups_have_one_form() {
    let signer = Signer::new(Algorithm::EdDSA, "k1");
    let keys = set(&[&signer]);
    let with = |changes: Value| judged(&signer.token(&claims_with(changes)), &keys);
    for sub in [
        Value::Null,
        json!(""),
        json!(7),
        json!(["alice"]),
        json!("x".repeat(1025)),
    ] {
        assert!(with(json!({ "sub": sub })).is_err(), "{sub}");
    }
    for (groups, want) in [
        (json!("dba"), vec!["dba"]),
        (json!([]), vec![]),
        (json!(["a", "b"]), vec!["a", "b"]),
        (Value::Null, vec![]),
    ] {
        assert_eq!(with(json!({ "groups": groups })).unwrap().groups, want);
    }
    for groups in [
        json!(1),
        json!({ "dba": true }),
        json!(["dba", 1]),
        json!([["dba"]]),
    ] {
        assert!(with(json!({ "groups": groups })).is_err(), "{groups}");
    }
}

#[test]
fn no_refusal_repeats_the_token() {
    let signer = Signer::new(Algorithm::ES256, "k1");
    let keys = set(&[&signer]);
    let marker = "MARKER-7f3a";
    let tokens = [
        signer.token(&claims_with(json!({ "sub": marker, "iss": marker }))),
        signer.token(&claims_with(json!({ "aud": marker }))),
        signer.token(&claims_with(json!({ "exp": marker }))),
        signer.token(&claims_with(json!({ "groups": { marker: marker } }))),
        signer.token(&claims_with(json!({ "sub": [marker] }))),
        signer.token_with(
            &json!({ "alg": "ES256", "kid": "k1", "typ": marker }),
            &claims(),
        ),
        signer.token_with(
            &json!({ "alg": "ES256", "kid": "k1", "crit": [marker] }),
            &claims(),
        ),
        signer.token_of("{\"alg\":\"ES256\", MARKER-7f3a", "{}"),
        format!("{marker}.{marker}.{marker}"),
        marker.to_owned(),
    ];
    for token in tokens {
        let error = IdentityError::from(judged(&token, &keys).unwrap_err());
        let refusal = error.refusal();
        for said in [
            error.to_string(),
            format!("{error:?}"),
            format!("{refusal:?}"),
        ] {
            assert!(!said.contains(marker), "{said}");
            assert!(token.len() < 20 || !said.contains(&token[..20]), "{said}");
        }
        assert!(refusal.fatal);
    }
}

#[test]
fn a_key_set_is_read_strictly_and_unfit_keys_are_left_out() {
    let rsa = Signer::new(Algorithm::RS256, "k1");
    let good = rsa.jwk();
    let count = |keys: Vec<Value>| {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).map_or(0, |set| set.len())
    };
    let changed = |name: &str, value: Value| {
        let mut jwk = good.clone();
        jwk[name] = value;
        jwk
    };
    assert_eq!(count(vec![good.clone()]), 1);
    for unfit in [
        changed("use", json!("enc")),
        changed("key_ops", json!(["sign"])),
        changed("kty", json!("DSA")),
        changed("d", json!("AAAA")),
        changed("n", json!("AQAB")),
        changed("n", json!("not base64!")),
        changed("kid", json!(7)),
        changed("kid", json!("k".repeat(300))),
        changed("alg", json!("HS256")),
        changed("alg", json!("RSA-OAEP")),
        json!({ "kty": "EC", "crv": "P-521", "x": "AA", "y": "AA" }),
        json!({ "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA" }),
        json!({ "kty": "OKP", "crv": "X25519", "x": "AA" }),
        json!("key"),
    ] {
        assert_eq!(count(vec![unfit.clone()]), 0, "{unfit}");
        assert_eq!(count(vec![unfit, good.clone()]), 1);
    }
    assert_eq!(count(vec![good.clone(); 101]), 0, "too many");
    for rubbish in [
        "",
        "<html>",
        "[]",
        "{}",
        r#"{"keys":{}}"#,
        r#"{"keys":[],"keys":[]}"#,
    ] {
        assert!(KeySet::parse(rubbish.as_bytes()).is_err(), "{rubbish}");
    }
}
