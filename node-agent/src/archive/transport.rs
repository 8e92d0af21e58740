//! IO. What requests to the archive are made with: TLS of this agent's own choosing, and nothing that the
//! environment says of proxies.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::ClientOptions;
use object_store::client::{HttpClient, HttpConnector};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::{ArchiveError, Settings};

/// Gives the storage's library our client.
#[derive(Clone, Debug)]
pub(super) struct Connector(pub(super) HttpClient);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(self.0.clone())
    }
}

/// What requests are made with. Connections live as long as it.
pub(super) fn client(settings: &Settings) -> Result<HttpClient, ArchiveError> {
    let tls = |error: &dyn std::fmt::Display| ArchiveError::Tls(error.to_string());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| tls(&error))?
        .with_root_certificates(roots(settings.at.ca_file.as_deref())?)
        .with_no_client_auth();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .redirect(reqwest::redirect::Policy::none()) // a signature is for one host
        .no_proxy()
        .https_only(true)
        .connect_timeout(Duration::from_secs(5))
        .pool_max_idle_per_host(2)
        .build()
        .map_err(|error| tls(&error))?;
    Ok(HttpClient::new(client))
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, ArchiveError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca_file else {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        return Ok(roots);
    };
    let bad =
        |what: &dyn std::fmt::Display| ArchiveError::Tls(format!("{}: {what}", path.display()));
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| bad(&error))?;
    for certificate in certificates {
        roots.add(certificate).map_err(|error| bad(&error))?;
    }
    if roots.is_empty() {
        return Err(bad(&"no certificate in it"));
    }
    Ok(roots)
}
