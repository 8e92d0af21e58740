//! Fetches an issuer's documents: OpenID Connect Discovery 1.0, section 4, then the key set.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Map, Value};

use super::json;
use super::keys::KeySet;
use super::rules::IssuerRules;
use crate::model::Secret;

/// How long one document may take, connecting included.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest document, bytes.
const LARGEST: usize = 256 * 1024;

/// Fetches one issuer's keys.
#[derive(Clone, Debug)]
pub(super) struct Fetcher {
    client: Client,
    issuer: String,
    discovery: Url,
    http_loopback: bool,
}

impl Fetcher {
    /// # Errors
    /// What is wrong with the configuration, with the mend.
    pub(super) fn new(rules: &IssuerRules) -> Result<Fetcher, String> {
        let url = allowed(&rules.url, rules.allow_http_loopback)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err("an issuer's URL has no query and no fragment".to_owned());
        }
        let discovery = format!(
            "{}/.well-known/openid-configuration",
            rules.url.trim_end_matches('/')
        );
        let discovery = allowed(&discovery, rules.allow_http_loopback)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots(rules.ca_file.as_deref())?)
            .with_no_client_auth();
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(Policy::none()) // a redirect would let the issuer's host choose another
            .no_proxy()
            .timeout(PATIENCE)
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|e| e.to_string())?;
        let issuer = rules.url.clone();
        Ok(Fetcher {
            client,
            issuer,
            discovery,
            http_loopback: rules.allow_http_loopback,
        })
    }

    /// Its URL, for logs.
    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Discovery, then the keys.
    ///
    /// # Errors
    /// One sentence about which document and what about it.
    pub(super) async fn fetch(&self) -> Result<KeySet, String> {
        let members = self.discover().await?;
        let keys = self.endpoint(&members, "jwks_uri")?;
        let document = self.document(&keys).await?;
        KeySet::parse(&document).map_err(|e| format!("{keys}: {e}"))
    }

    /// The members of the discovery document.
    pub(super) async fn discover(&self) -> Result<Map<String, Value>, String> {
        let document = self.document(&self.discovery).await?;
        let members = json::object(&document)
            .ok_or_else(|| format!("{} is not a JSON object", self.discovery))?;
        // Section 4.3: must be identical. Else one issuer could vouch for another.
        if members.get("issuer").and_then(Value::as_str) != Some(self.issuer.as_str()) {
            return Err(format!(
                "{} names another issuer than its own URL",
                self.discovery
            ));
        }
        Ok(members)
    }

    /// An endpoint that the discovery document names, where it may be used.
    pub(super) fn endpoint(
        &self,
        members: &Map<String, Value>,
        name: &'static str,
    ) -> Result<Url, String> {
        let endpoint = members
            .get(name)
            .and_then(Value::as_str)
            .ok_or_else(|| format!("{} names no {name}", self.discovery))?;
        allowed(endpoint, self.http_loopback).map_err(|e| format!("its {name}: {e}"))
    }

    /// Sends a form, and gives the status and the body of the answer.
    pub(super) async fn send(
        &self,
        url: &Url,
        authorization: Option<&Secret<String>>,
        form: &Secret<String>,
    ) -> Result<(StatusCode, Vec<u8>), String> {
        let mut request = self
            .client
            .post(url.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(form.expose().clone());
        if let Some(authorization) = authorization {
            let mut value =
                HeaderValue::from_str(authorization.expose()).map_err(|e| e.to_string())?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let response = request.send().await.map_err(|e| failed(url, &e))?;
        let status = response.status();
        Ok((status, body(url, response).await?))
    }

    async fn document(&self, url: &Url) -> Result<Vec<u8>, String> {
        let sent = self.client.get(url.clone()).send().await;
        let response = sent.map_err(|e| failed(url, &e))?;
        if response.status() != StatusCode::OK {
            return Err(format!(
                "{url}: answered with status {}",
                response.status().as_u16()
            ));
        }
        body(url, response).await
    }
}

async fn body(url: &Url, mut response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| failed(url, &e))? {
        if body.len() + chunk.len() > LARGEST {
            return Err(format!("{url}: longer than 256 KiB"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn failed(url: &Url, error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("{url}: no answer within 5 s");
    }
    // The innermost cause says most ("connection refused").
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    format!("{url}: {cause}")
}

/// A URL that may be fetched: https, or where that is allowed http to this very machine by number
/// (a name such as `localhost` is what the resolver says it is).
fn allowed(text: &str, http_loopback: bool) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|e| format!("not a URL: {e}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL with a user name or a password in it is not used".to_owned());
    }
    let loopback = url
        .host_str()
        .map(|host| host.trim_start_matches('[').trim_end_matches(']'))
        .and_then(|host| host.parse::<IpAddr>().ok())
        .is_some_and(|address| address.is_loopback());
    match url.scheme() {
        "https" => Ok(url),
        "http" if http_loopback && loopback => Ok(url),
        _ => Err(
            "must be https (http only to 127.0.0.1 or [::1], where the configuration \
                  allows it)"
                .to_owned(),
        ),
    }
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca_file else {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        return Ok(roots);
    };
    let bad = |what: String| format!("{}: {what}", path.display());
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| bad(e.to_string()))?;
    for certificate in certificates {
        roots.add(certificate).map_err(|e| bad(e.to_string()))?;
    }
    if roots.is_empty() {
        Err(bad("no certificate in it".to_owned()))
    } else {
        Ok(roots)
    }
}

#[cfg(test)]
mod tests {
    use super::allowed;

    #[test]
    fn only_https_or_this_machine_by_number() {
        for (url, strict, loopback) in [
            ("https://issuer.example", true, true),
            ("https://issuer.example/realms/x", true, true),
            ("http://127.0.0.1:8080/x", false, true),
            ("http://[::1]:8080", false, true),
            ("http://localhost:8080", false, false),
            ("http://10.0.0.1", false, false),
            ("http://127.0.0.1.evil.example", false, false),
            ("http://127.0.0.1@evil.example", false, false),
            ("https://user:pw@issuer.example", false, false),
            ("ftp://127.0.0.1", false, false),
            ("file:///etc/passwd", false, false),
            ("issuer.example", false, false),
        ] {
            assert_eq!(allowed(url, false).is_ok(), strict, "{url}");
            assert_eq!(allowed(url, true).is_ok(), loopback, "{url}");
        }
    }
}
