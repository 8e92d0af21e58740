use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;

use super::*;

fn get(idp: &Idp, path: &str) -> String {
    let host = idp.url().trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).unwrap();
    // A server that is down may have closed already.
    let _ = write!(stream, "GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n");
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text.split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned())
        .unwrap_or_default()
}

fn keys(idp: &Idp) -> JwkSet {
    serde_json::from_str(&get(idp, "/jwks.json")).unwrap()
}

fn verified(idp: &Idp, alg: Algorithm, token: &str) -> bool {
    let header = jsonwebtoken::decode_header(token).unwrap();
    let set = keys(idp);
    let Some(jwk) = set.find(&header.kid.unwrap()) else {
        return false;
    };
    let mut rules = Validation::new(alg);
    rules.set_audience(&["node-agent"]);
    rules.set_issuer(&[idp.url()]);
    rules.leeway = 0;
    decode::<Value>(token, &DecodingKey::from_jwk(jwk).unwrap(), &rules).is_ok()
}

#[test]
fn its_tokens_verify_with_its_published_keys_in_every_algorithm() {
    let idp = Idp::start().unwrap();
    let found: Value =
        serde_json::from_str(&get(&idp, "/.well-known/openid-configuration")).unwrap();
    assert_eq!(found["issuer"], idp.url());
    for (alg, theirs) in [
        (Alg::RS256, Algorithm::RS256),
        (Alg::ES256, Algorithm::ES256),
        (Alg::EdDSA, Algorithm::EdDSA),
    ] {
        let good = idp.sign(alg, &idp.claims("alice", &["dba"], 60));
        assert!(verified(&idp, theirs, &good), "{alg:?}");
        let stale = idp.sign(alg, &idp.claims("alice", &["dba"], -5));
        assert!(!verified(&idp, theirs, &stale), "{alg:?}");
    }
    assert_eq!(idp.fetches(), 6);
    let old = idp.token("alice", &[], 60);
    idp.rotate().unwrap();
    assert!(!verified(&idp, Algorithm::RS256, &old));
}

#[test]
fn its_faults_show_and_end() {
    let idp = Idp::start().unwrap();
    idp.fail(Fault::Down);
    assert_eq!(get(&idp, "/jwks.json"), "");
    idp.fail(Fault::Rubbish);
    assert!(get(&idp, "/jwks.json").contains("It works"));
    idp.fail(Fault::NoKeys);
    assert!(keys(&idp).keys.is_empty());
    idp.fail(Fault::None);
    assert_eq!(keys(&idp).keys.len(), 3);
}
