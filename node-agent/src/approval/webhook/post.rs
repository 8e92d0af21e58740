//! IO. One attempt to deliver: bounded in time, in what is read, and in where it may lead.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::task::spawn_blocking;

use super::sign::signature;
use super::wait::Failed;
use crate::clock;
use crate::config::{Webhook, WebhookTemplate, WebhookUrl, webhook_url};
use crate::model::Secret;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long the whole may take, connecting included.
const PATIENCE: Duration = Duration::from_secs(10);
/// So much of an answer is read, and forgotten, that the connection can be used again.
const ANSWER: usize = 64 << 10;
/// The largest file of a secret, bytes.
const LARGEST: u64 = 16 << 10;
/// The shortest key that signs, bytes.
const SHORTEST_KEY: usize = 16;

/// Delivers to one receiver.
#[derive(Debug)]
pub(super) struct Post {
    client: Client,
    hook: Arc<Webhook>,
}

/// What is read for each delivery, so that it can be replaced while the agent runs.
struct Files {
    url: Secret<String>,
    secret: Option<Secret<String>>,
    headers: HeaderMap,
}

/// Why an attempt failed.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) failed: Failed,
    /// For people. Never the address, which may be the secret.
    pub(super) why: String,
}

impl Fault {
    fn own(why: String) -> Fault {
        Fault {
            failed: Failed::UntilMended,
            why,
        }
    }
}

impl Post {
    /// # Errors
    /// What is wrong with the configuration.
    pub(super) fn new(hook: &Webhook) -> Result<Post, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots(hook.ca_file.as_deref())?)
            .with_no_client_auth();
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(Policy::none()) // a redirect would let the receiver choose another
            .no_proxy()
            .connect_timeout(CONNECT)
            .timeout(PATIENCE)
            .pool_max_idle_per_host(1)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Post {
            client,
            hook: Arc::new(hook.clone()),
        })
    }

    /// Delivers. `body` is made with the secret, where the template needs it.
    ///
    /// # Errors
    /// It did not arrive, or the receiver did not take it.
    pub(super) async fn send(
        &self,
        id: &str,
        body: impl FnOnce(Option<&str>) -> Vec<u8>,
    ) -> Result<(), Fault> {
        let hook = self.hook.clone();
        let files = spawn_blocking(move || Files::read(&hook)).await;
        let files = files
            .map_err(|error| Fault::own(error.to_string()))?
            .map_err(Fault::own)?;
        let secret = files.secret.as_ref().map(|secret| secret.expose().as_str());
        let body = body(secret);
        let url = Url::parse(files.url.expose())
            .map_err(|_| Fault::own("its address cannot be read".to_owned()))?;
        let mut request = self
            .client
            .post(url)
            .headers(files.headers)
            .header("content-type", "application/json")
            .header("accept", "*/*")
            .header("user-agent", "node-agent")
            .header("x-node-agent-delivery", id);
        if let Some(key) = secret
            && self.hook.template != WebhookTemplate::PagerDuty
        {
            let seconds = clock::now().0.div_euclid(1000);
            let signed = signature(key.as_bytes(), seconds, &body);
            request = request.header("x-node-agent-signature", signed);
        }
        match request.body(body).send().await {
            Ok(response) => taken(response).await,
            Err(error) => Err(Fault {
                failed: Failed::ForNow,
                why: why(error),
            }),
        }
    }
}

/// Whether the receiver took it.
async fn taken(mut response: Response) -> Result<(), Fault> {
    let status = response.status();
    let after = response.headers().get(RETRY_AFTER).and_then(seconds);
    // What it says is nobody's to read; a body that ends lets the connection be used again.
    let mut read = 0;
    while read < ANSWER {
        match response.chunk().await {
            Ok(Some(chunk)) => read += chunk.len(),
            Ok(None) | Err(_) => break,
        }
    }
    if status.is_success() {
        return Ok(());
    }
    let failed = match (status, after) {
        (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, Some(after)) => {
            Failed::Until(after)
        }
        _ if lasting(status) => Failed::UntilMended,
        _ => Failed::ForNow,
    };
    Err(Fault {
        failed,
        why: format!("the receiver answered with status {}", status.as_u16()),
    })
}

/// Whether the receiver will say the same again: what was sent is wrong there, or who sends it.
fn lasting(status: StatusCode) -> bool {
    let named = matches!(
        status,
        StatusCode::BAD_REQUEST
            | StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::GONE
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNPROCESSABLE_ENTITY
    );
    named || status.is_redirection()
}

/// RFC 9110, 10.2.3, in seconds; a date is not read, and its receiver is asked as one without.
fn seconds(value: &HeaderValue) -> Option<Duration> {
    let seconds = value.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn why(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer within 10 s".to_owned();
    }
    // The innermost cause says most ("connection refused"), and holds no address.
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

impl Files {
    fn read(hook: &Webhook) -> Result<Files, String> {
        let url = match &hook.url {
            WebhookUrl::Given(url) => Secret::new(url.clone()),
            WebhookUrl::File(path) => line(path)?,
        };
        if let Err((problem, mend)) = webhook_url(url.expose()) {
            return Err(format!("its address {problem}; {mend}"));
        }
        let secret = hook.secret_file.as_deref().map(line).transpose()?;
        if let Some(secret) = &secret
            && secret.expose().len() < SHORTEST_KEY
        {
            return Err(format!("its secret is shorter than {SHORTEST_KEY} bytes"));
        }
        let mut headers = HeaderMap::new();
        for (name, path) in &hook.headers {
            let bad = |_| format!("{}: no value for a header", path.display());
            let mut value = HeaderValue::from_str(line(path)?.expose()).map_err(bad)?;
            value.set_sensitive(true);
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| format!("`{name}` is no name of a header"))?;
            headers.append(name, value);
        }
        Ok(Files {
            url,
            secret,
            headers,
        })
    }
}

/// The first line of a file, without what surrounds it.
fn line(path: &Path) -> Result<Secret<String>, String> {
    let bad = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
    let file = std::fs::File::open(path).map_err(|error| bad(&error))?;
    let read = std::io::read_to_string(file.take(LARGEST)).map(Secret::new);
    let read = read.map_err(|error| bad(&error))?;
    match read.expose().lines().next().map(str::trim) {
        None | Some("") => Err(bad(&"its first line is empty")),
        Some(first) => Ok(Secret::new(first.to_owned())),
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
        .map_err(|error| bad(error.to_string()))?;
    for certificate in certificates {
        roots
            .add(certificate)
            .map_err(|error| bad(error.to_string()))?;
    }
    match roots.is_empty() {
        true => Err(bad("no certificate in it".to_owned())),
        false => Ok(roots),
    }
}
