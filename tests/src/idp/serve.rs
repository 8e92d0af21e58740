//! The issuer's two documents over HTTP/1.1, one thread a connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;

use super::signin;
use super::{Fault, KeySet};
use crate::ca::Leaf;

/// What the server and its owner share.
pub(super) struct Shared {
    url: String,
    address: SocketAddr,
    keys: Mutex<KeySet>,
    fault: Mutex<Fault>,
    pub(super) fetches: AtomicUsize,
    pub(super) discoveries: AtomicUsize,
    desk: Mutex<signin::Desk>,
    stopped: AtomicBool,
}

impl Shared {
    pub(super) fn new(url: String, keys: KeySet, address: SocketAddr) -> Self {
        Self {
            url,
            address,
            keys: Mutex::new(keys),
            fault: Mutex::new(Fault::None),
            fetches: AtomicUsize::new(0),
            discoveries: AtomicUsize::new(0),
            desk: Mutex::default(),
            stopped: AtomicBool::new(false),
        }
    }

    pub(super) fn keys(&self) -> KeySet {
        self.keys.lock().expect("no holder panics").clone()
    }

    pub(super) fn replace(&self, keys: KeySet) {
        *self.keys.lock().expect("no holder panics") = keys;
    }

    pub(super) fn fail(&self, fault: Fault) {
        *self.fault.lock().expect("no holder panics") = fault;
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn desk(&self) -> MutexGuard<'_, signin::Desk> {
        self.desk.lock().expect("no holder panics")
    }

    fn fault(&self) -> Fault {
        *self.fault.lock().expect("no holder panics")
    }

    /// Ends the accepting thread, which waits for one more connection.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

/// The server's side of TLS with this certificate.
pub(super) fn tls(leaf: &Leaf) -> Result<Arc<ServerConfig>> {
    let certificate = CertificateDer::from_pem_slice(leaf.certificate.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    Ok(Arc::new(config))
}

pub(super) fn start(listener: TcpListener, shared: Arc<Shared>, tls: Option<Arc<ServerConfig>>) {
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if shared.stopped.load(Ordering::SeqCst) {
                return;
            }
            let (shared, tls) = (Arc::clone(&shared), tls.clone());
            // A client that goes away in the middle concerns nobody.
            thread::spawn(move || drop(talk(stream, &shared, tls)));
        }
    });
}

fn talk(stream: TcpStream, shared: &Shared, tls: Option<Arc<ServerConfig>>) -> Result<()> {
    if shared.fault() == Fault::Down {
        return Ok(());
    }
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    match tls {
        Some(config) => answer(
            StreamOwned::new(ServerConnection::new(config)?, stream),
            shared,
        ),
        None => answer(stream, shared),
    }
}

fn answer<S: Read + Write>(stream: S, shared: &Shared) -> Result<()> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.by_ref().take(8192).read_line(&mut first)?;
    let (mut line, mut length, mut authorization) = (String::new(), 0, None);
    while reader.by_ref().take(8192).read_line(&mut line)? > 2 {
        if let Some((name, value)) = line.split_once(':') {
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse::<usize>()?.min(64 << 10),
                "authorization" => authorization = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        line.clear();
    }
    let mut form = vec![0; length];
    reader.read_exact(&mut form)?;
    let path = first.split(' ').nth(1).context("no request")?.to_owned();
    let (mut status, mut body, mut more) = ("302 Found", String::new(), String::new());
    if let Some(query) = path.strip_prefix("/authorize?") {
        let location = shared.desk().authorize(&shared.url, &signin::pairs(query));
        more = format!("location: {location}\r\n");
    } else if path == "/token" {
        let form = signin::pairs(std::str::from_utf8(&form)?);
        (status, body) = shared
            .desk()
            .token(shared, &form, authorization.as_deref())?;
    } else {
        (status, body) = document(&path, shared)?;
    }
    let stream = reader.get_mut();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{more}content-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    Ok(stream.flush()?)
}

fn document(path: &str, shared: &Shared) -> Result<(&'static str, String)> {
    let fault = shared.fault();
    if let Fault::Slow(pause) = fault {
        thread::sleep(pause); // the fault itself, not a wait for something
    }
    let body = match path {
        "/.well-known/openid-configuration" => {
            shared.discoveries.fetch_add(1, Ordering::SeqCst);
            let issuer = match fault {
                Fault::OtherIssuer => "https://another.example",
                Fault::None
                | Fault::Down
                | Fault::Rubbish
                | Fault::NoKeys
                | Fault::Huge
                | Fault::Slow(_) => &shared.url,
            };
            json!({
                "issuer": issuer,
                "jwks_uri": format!("{}/jwks.json", shared.url),
                "authorization_endpoint": format!("{}/authorize", shared.url),
                "token_endpoint": format!("{}/token", shared.url),
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256", "ES256", "EdDSA"],
            })
            .to_string()
        }
        "/jwks.json" => {
            shared.fetches.fetch_add(1, Ordering::SeqCst);
            match fault {
                Fault::NoKeys => r#"{"keys":[]}"#.to_owned(),
                Fault::Huge => format!(r#"{{"keys":[],"fill":"{}"}}"#, "x".repeat(4 << 20)),
                Fault::None
                | Fault::Down
                | Fault::Rubbish
                | Fault::Slow(_)
                | Fault::OtherIssuer => shared.keys().public()?.to_string(),
            }
        }
        _ => return Ok(("404 Not Found", "{}".to_owned())),
    };
    Ok(match fault {
        Fault::Rubbish => ("200 OK", "<html>It works!</html>".to_owned()),
        Fault::None
        | Fault::Down
        | Fault::NoKeys
        | Fault::Huge
        | Fault::Slow(_)
        | Fault::OtherIssuer => ("200 OK", body),
    })
}
