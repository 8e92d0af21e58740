//! The authorization code flow with PKCE: a human sits there and is signed in at once.

use std::collections::HashMap;

use anyhow::Result;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::keys::{Alg, b64};
use super::serve::Shared;
use super::token::{Claims, now};

/// Who is at the browser.
#[derive(Clone, Debug, Default)]
pub struct Person {
    /// `sub`.
    pub subject: String,
    /// Their groups.
    pub groups: Vec<String>,
    /// `email`.
    pub email: Option<String>,
    /// How long ago they gave their credentials, seconds. Who is asked anew gives them now.
    pub ago: i64,
    /// The issuer never asks anew, whatever it is asked for.
    pub never_anew: bool,
}

impl Person {
    /// Somebody in these groups, who gave their credentials just now.
    pub fn new(subject: &str, groups: &[&str]) -> Self {
        Self {
            subject: subject.to_owned(),
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
            ..Self::default()
        }
    }
}

/// What the endpoints know.
#[derive(Default)]
pub(super) struct Desk {
    pub(super) person: Person,
    pub(super) change: Option<fn(Claims) -> Claims>,
    pub(super) secret: Option<String>,
    codes: HashMap<String, Given>,
}

struct Given {
    person: Person,
    at: i64,
    asked: HashMap<String, String>,
}

impl Desk {
    /// Where the browser goes from the authorization endpoint.
    pub(super) fn authorize(&mut self, issuer: &str, asked: &HashMap<String, String>) -> String {
        let get = |name: &str| asked.get(name).map_or("", String::as_str);
        let mut code = [0; 16];
        aws_lc_rs::rand::fill(&mut code).expect("randomness");
        let code = b64(code);
        let anew = get("prompt") == "login" && !self.person.never_anew;
        let given = Given {
            person: self.person.clone(),
            at: now() - if anew { 0 } else { self.person.ago },
            asked: asked.clone(),
        };
        let location = format!(
            "{}?code={code}&state={}&iss={}",
            get("redirect_uri"),
            get("state"),
            issuer.replace(':', "%3A").replace('/', "%2F")
        );
        self.codes.insert(code, given);
        location
    }

    /// The token endpoint's answer. A code is good once.
    pub(super) fn token(
        &mut self,
        shared: &Shared,
        form: &HashMap<String, String>,
        authorization: Option<&str>,
    ) -> Result<(&'static str, String)> {
        let get = |name: &str| form.get(name).map_or("", String::as_str);
        let no = |error: &str| {
            let body = json!({ "error": error, "error_description": "<b>no</b>" });
            Ok(("400 Bad Request", body.to_string()))
        };
        let Some(given) = self.codes.remove(get("code")) else {
            return no("invalid_grant");
        };
        let asked = |name: &str| given.asked.get(name).map_or("", String::as_str);
        let challenge = b64(digest(&SHA256, get("code_verifier").as_bytes()));
        let same = asked("code_challenge_method") == "S256"
            && asked("code_challenge") == challenge
            && get("code_verifier").len() >= 43
            && ["client_id", "redirect_uri"]
                .iter()
                .all(|name| asked(name) == get(name))
            && asked("scope").split(' ').any(|scope| scope == "openid")
            && get("grant_type") == "authorization_code";
        if !same {
            return no("invalid_grant");
        }
        if let Some(secret) = &self.secret {
            let basic = authorization.and_then(|given| given.strip_prefix("Basic "));
            let basic = basic.and_then(|basic| STANDARD.decode(basic).ok());
            let basic = basic.and_then(|basic| String::from_utf8(basic).ok());
            // RFC 6749, 2.3.1: both are form-encoded.
            let known = basic.as_deref().and_then(|basic| basic.split_once(':'));
            let known = known.is_some_and(|(client, given)| {
                decoded(client) == asked("client_id") && decoded(given) == *secret
            });
            if !known {
                return no("invalid_client");
            }
        }
        let groups: Vec<&str> = given.person.groups.iter().map(String::as_str).collect();
        let mut claims = Claims::new(shared.url(), &given.person.subject, &groups, 300)
            .with("aud", asked("client_id"))
            .with("nonce", asked("nonce"));
        if !asked("max_age").is_empty() {
            claims = claims.with("auth_time", given.at);
        }
        if let Some(email) = &given.person.email {
            claims = claims.with("email", email.as_str());
        }
        if let Some(change) = self.change {
            claims = change(claims);
        }
        let token = shared.keys().sign(Alg::RS256, &claims)?;
        let body = json!({ "access_token": "none", "token_type": "Bearer", "id_token": token });
        Ok(("200 OK", body.to_string()))
    }
}

/// The pairs of a query or a form.
pub(super) fn pairs(text: &str) -> HashMap<String, String> {
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), decoded(value)))
        .collect()
}

fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.bytes());
    while let Some(byte) = rest.next() {
        let hex = |byte: Option<u8>| char::from(byte.unwrap_or(b'?')).to_digit(16).unwrap_or(0);
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => u8::try_from(hex(rest.next()) * 16 + hex(rest.next())).expect("two digits"),
            plain => plain,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
