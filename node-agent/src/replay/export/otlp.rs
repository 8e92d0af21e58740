//! IO. OCSF events to an OTLP receiver: OTLP/HTTP, JSON encoding (OTLP 1.3, `POST /v1/logs`).
//!
//! In batches, one after the other: what is not acknowledged is sent again, with growing pauses, where
//! the protocol allows it; after a bounded time sending ends with an error. Nothing is dropped in
//! silence.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use serde_json::{Value, json};

/// Records of one request.
const BATCH: usize = 256;
/// Bytes of records in one request, about.
const BATCH_BYTES: usize = 1 << 20;
/// Bytes of an answer that are read.
const ANSWER: usize = 64 << 10;

/// How long to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// One request, connecting included.
    pub request: Duration,
    /// The first pause; each is twice the one before, up to 16 times the first.
    pub pause: Duration,
    /// One batch, all attempts together.
    pub batch: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            request: Duration::from_secs(10),
            pause: Duration::from_millis(500),
            batch: Duration::from_secs(60),
        }
    }
}

/// The receiver does not take what it is sent.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// The address cannot be used.
    #[error("{0}")]
    Address(String),
    /// It says no, and that asking again is no use.
    #[error("the receiver answers {status}: {said}; {sent} events were taken before")]
    Refused {
        /// The status of HTTP.
        status: u16,
        /// What it says, its beginning.
        said: String,
        /// Events that were taken.
        sent: u64,
    },
    /// It did not take it in time.
    #[error("the receiver took nothing within {tried:?}: {last}; {sent} events were taken before")]
    GaveUp {
        /// How long it was tried.
        tried: Duration,
        /// What came last.
        last: String,
        /// Events that were taken.
        sent: u64,
    },
}

/// A receiver.
#[derive(Debug)]
pub struct Otlp {
    client: Client,
    url: Url,
    runtime: tokio::runtime::Runtime,
    patience: Patience,
    batch: Vec<Value>,
    bytes: usize,
    sent: u64,
    rejected: u64,
    said: Option<String>,
}

enum Answer {
    Taken {
        rejected: u64,
        said: Option<String>,
    },
    Later {
        last: String,
        after: Option<Duration>,
    },
    Never {
        status: u16,
        said: String,
    },
}

impl Otlp {
    /// A receiver at a base URL (`/v1/logs` is added unless it is there), with further headers. HTTP
    /// without TLS is for this host only: what is sent is what the sessions saw.
    pub fn new(
        url: &str,
        headers: &[(String, String)],
        patience: Patience,
    ) -> Result<Self, OtlpError> {
        let url = address(url)?;
        let bad = |error: String| OtlpError::Address(error);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| bad(e.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let wrong = || bad(format!("{name:?} cannot be a header"));
            let name = HeaderName::try_from(name.trim()).map_err(|_| wrong())?;
            let mut value = HeaderValue::try_from(value.trim()).map_err(|_| wrong())?;
            value.set_sensitive(true);
            map.insert(name, value);
        }
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(Policy::none()) // it would send the sessions somewhere else
            .no_proxy()
            .timeout(patience.request)
            .default_headers(map)
            .build()
            .map_err(|e| bad(e.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| bad(e.to_string()))?;
        Ok(Otlp {
            client,
            url,
            runtime,
            patience,
            batch: Vec::new(),
            bytes: 0,
            sent: 0,
            rejected: 0,
            said: None,
        })
    }

    /// Events that were taken.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Events that the receiver got and did not want, and what it said of them.
    pub fn rejected(&self) -> Option<(u64, &str)> {
        (self.rejected > 0).then(|| (self.rejected, self.said.as_deref().unwrap_or("")))
    }

    /// Adds an OCSF event; sends when there are enough.
    pub(super) fn push(&mut self, event: Value) -> Result<(), OtlpError> {
        let record = record(&event);
        self.bytes += record.to_string().len();
        self.batch.push(record);
        if self.batch.len() >= BATCH || self.bytes >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Sends what is left.
    pub(super) fn flush(&mut self) -> Result<(), OtlpError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let records = std::mem::take(&mut self.batch);
        let count = records.len() as u64;
        self.bytes = 0;
        let attribute =
            |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
        let body = json!({ "resourceLogs": [{
            "resource": { "attributes": [
                attribute("service.name", "node-agent"),
                attribute("service.version", env!("CARGO_PKG_VERSION")),
            ] },
            "scopeLogs": [{
                "scope": { "name": "node-agent.sessions", "version": env!("CARGO_PKG_VERSION") },
                "logRecords": records,
            }],
        }] });
        let body = body.to_string();
        let begun = Instant::now();
        let mut pause = self.patience.pause;
        loop {
            let answer = self.runtime.block_on(ask(&self.client, &self.url, &body));
            let (last, after) = match answer {
                Answer::Taken { rejected, said } => {
                    let rejected = rejected.min(count);
                    self.sent += count - rejected;
                    self.rejected += rejected;
                    self.said = said.or(self.said.take());
                    return Ok(());
                }
                Answer::Never { status, said } => {
                    let sent = self.sent;
                    return Err(OtlpError::Refused { status, said, sent });
                }
                Answer::Later { last, after } => (last, after),
            };
            let wait = after.unwrap_or(pause).max(pause);
            if begun.elapsed() + wait >= self.patience.batch {
                return Err(OtlpError::GaveUp {
                    tried: begun.elapsed(),
                    last,
                    sent: self.sent,
                });
            }
            std::thread::sleep(wait);
            pause = (pause * 2).min(self.patience.pause * 16);
        }
    }
}

async fn ask(client: &Client, url: &Url, body: &str) -> Answer {
    let request = client
        .post(url.clone())
        .header(reqwest::header::CONTENT_TYPE, "application/json")
        .body(body.to_owned());
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) => {
            let last = if error.is_timeout() {
                "no answer in time".to_owned()
            } else {
                cause(&error)
            };
            return Answer::Later { last, after: None };
        }
    };
    let status = response.status();
    let after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(Duration::from_secs);
    let mut said = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        said.extend_from_slice(&chunk);
        if said.len() > ANSWER {
            break;
        }
    }
    if status.is_success() {
        let answer: Value = serde_json::from_slice(&said).unwrap_or_default();
        let partial = answer.get("partialSuccess");
        let rejected = partial.and_then(|p| p.get("rejectedLogRecords"));
        // A 64-bit number of this encoding is a string; some write a number.
        let rejected = rejected.and_then(|n| n.as_u64().or_else(|| n.as_str()?.parse().ok()));
        let said = partial.and_then(|p| p.get("errorMessage")?.as_str().map(str::to_owned));
        return Answer::Taken {
            rejected: rejected.unwrap_or(0),
            said,
        };
    }
    // The four that the protocol lets a client repeat.
    if [429, 502, 503, 504].contains(&status.as_u16()) {
        let last = format!("it answers {status}");
        return Answer::Later { last, after };
    }
    let said = String::from_utf8_lossy(&said).chars().take(200).collect();
    Answer::Never {
        status: status.as_u16(),
        said,
    }
}

/// The innermost cause says what happened; the outer ones repeat the address.
fn cause(error: &reqwest::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

fn address(text: &str) -> Result<Url, OtlpError> {
    let wrong = |why: &str| OtlpError::Address(format!("{text}: {why}"));
    let mut url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong(
            "no user or password in the address: put them into a header",
        ));
    }
    let host = url
        .host_str()
        .unwrap_or("")
        .trim_matches(['[', ']'])
        .to_owned();
    let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match url.scheme() {
        "https" => {}
        "http" if here => {}
        "http" => return Err(wrong("without TLS only to this host; say https://")),
        _ => {
            return Err(wrong(
                "say https://HOST, or http:// to a collector on this host",
            ));
        }
    }
    let path = url.path().trim_end_matches('/').to_owned();
    if !path.ends_with("/v1/logs") {
        url.set_path(&format!("{path}/v1/logs"));
    }
    Ok(url)
}

/// One OCSF event as a log record: the event is its body.
fn record(event: &Value) -> Value {
    let time = event.get("time").and_then(Value::as_i64).unwrap_or(0);
    let nanos = (i128::from(time) * 1_000_000).to_string();
    // The data model's severity numbers: INFO, WARN.
    let (number, text) = match event.get("severity_id").and_then(Value::as_u64) {
        Some(0..=2) | None => (9, "INFO"),
        Some(_) => (13, "WARN"),
    };
    let name = event.get("type_name").and_then(Value::as_str).unwrap_or("");
    json!({
        "timeUnixNano": nanos,
        "observedTimeUnixNano": nanos,
        "severityNumber": number,
        "severityText": text,
        "body": any(event),
        "attributes": [
            { "key": "event.name", "value": { "stringValue": "ocsf.datastore_activity" } },
            { "key": "ocsf.type_name", "value": { "stringValue": name } },
        ],
    })
}

/// As `AnyValue`; a 64-bit number is a string in this encoding.
fn any(value: &Value) -> Value {
    match value {
        Value::Null => json!({}),
        Value::Bool(yes) => json!({ "boolValue": yes }),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => json!({ "intValue": whole.to_string() }),
            None => json!({ "doubleValue": number.as_f64() }),
        },
        Value::String(text) => json!({ "stringValue": text }),
        Value::Array(values) => {
            let values: Vec<_> = values.iter().map(any).collect();
            json!({ "arrayValue": { "values": values } })
        }
        Value::Object(map) => {
            let values: Vec<_> = map
                .iter()
                .map(|(key, value)| json!({ "key": key, "value": any(value) }))
                .collect();
            json!({ "kvlistValue": { "values": values } })
        }
    }
}
