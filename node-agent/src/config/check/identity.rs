//! `identity`.

use serde_saphyr::Spanned;

use super::Check;
use crate::config::raw::RawIssuer;
use crate::config::resolved::Issuer;

/// Every asymmetric JOSE algorithm that the verifier has. A symmetric one would make everybody who
/// can check a token able to make one.
const ALGORITHMS: [&str; 9] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
];

impl Check<'_> {
    pub(super) fn issuers(&mut self, raw: &[Spanned<RawIssuer>]) -> Vec<Issuer> {
        let mut issuers: Vec<Issuer> = Vec::new();
        for (index, issuer) in raw.iter().enumerate() {
            let key = format!("identity.issuers[{index}]");
            let made = self.issuer(&key, issuer);
            if !made.url.is_empty() && issuers.iter().any(|other| other.url == made.url) {
                self.fault(
                    issuer.referenced,
                    key,
                    format!("{} is declared twice", made.url),
                    "one entry an issuer: the token's iss must lead to one set of rules",
                );
            }
            issuers.push(made);
        }
        issuers
    }

    fn issuer(&mut self, key: &str, issuer: &Spanned<RawIssuer>) -> Issuer {
        let at = issuer.referenced;
        let raw = &issuer.value;
        let allow_http_loopback = raw.allow_http_loopback.as_ref().is_some_and(|b| b.value);
        let url = self.required(at, &format!("{key}.url"), raw.url.as_ref());
        if let Some(text) = raw.url.as_ref()
            && !url.trim().is_empty()
            && let Err((problem, mend)) = url_stands(&url, allow_http_loopback)
        {
            self.fault(text.referenced, format!("{key}.url"), problem, mend);
        }
        let mut algorithms = Vec::new();
        for algorithm in &raw.algorithms {
            if !ALGORITHMS.contains(&algorithm.value.as_str()) {
                let why = if algorithm.value.starts_with("HS") || algorithm.value == "none" {
                    "never counts: whoever can check such a token can make one"
                } else {
                    "is not known"
                };
                self.fault(
                    algorithm.referenced,
                    format!("{key}.algorithms"),
                    format!("`{}` {why}", algorithm.value),
                    format!("choose among {}", ALGORITHMS.join(", ")),
                );
            }
            algorithms.push(algorithm.value.clone());
        }
        if algorithms.is_empty() {
            algorithms = usual_algorithms();
        }
        Issuer {
            url,
            audience: self.required(at, &format!("{key}.audience"), raw.audience.as_ref()),
            algorithms,
            groups_claim: raw
                .groups_claim
                .as_ref()
                .map_or_else(|| "groups".to_owned(), |c| c.value.clone()),
            claims: raw.claims.iter().map(|c| c.value.clone()).collect(),
            ca_file: raw.ca_file.as_ref().map(|p| p.value.clone()),
            allow_http_loopback,
        }
    }
}

/// The algorithms of an issuer that names none.
pub(super) fn usual_algorithms() -> Vec<String> {
    ["RS256", "ES256", "EdDSA"].map(str::to_owned).to_vec()
}

/// Whether a URL can be an issuer's; else the problem and its mend. `http`: plain HTTP to this very
/// machine will do.
pub(super) fn url_stands(url: &str, http: bool) -> Result<(), (String, &'static str)> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| {
        (
            format!("`{url}` is no URL"),
            "write it as https://issuer.example",
        )
    })?;
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty() || host.contains('@') || rest.contains(['?', '#', ' ']) {
        return Err((
            format!("`{url}` cannot be an issuer"),
            "an issuer is scheme, host and path only (OpenID Connect Discovery 1.0, section 3)",
        ));
    }
    let name = match host.strip_prefix('[').and_then(|h| h.split_once(']')) {
        Some((v6, _)) => v6,
        None => host.split(':').next().unwrap_or_default(),
    };
    // By number: what a name leads to is the resolver's word, and plain HTTP would follow it.
    let loopback = name
        .parse::<std::net::IpAddr>()
        .is_ok_and(|addr| addr.is_loopback());
    match scheme {
        "https" => Ok(()),
        "http" if http && loopback => Ok(()),
        // Keys that come over plain HTTP are whoever's who sits on the way.
        "http" if loopback => Err((
            "plain HTTP".to_owned(),
            "write https, or set allow_http_loopback: true for trying things",
        )),
        "http" => Err(("plain HTTP to another host".to_owned(), "write https")),
        other => Err((
            format!("`{other}` is no scheme for an issuer"),
            "write https",
        )),
    }
}
