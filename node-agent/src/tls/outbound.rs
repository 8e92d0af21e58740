//! The connector to databases: verified whole, or encrypted and said to be no more.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{TlsError, provider, tls_server_end_point};

/// How a target wants the leg to its database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamTls {
    /// In clear. Only ever because the target says so.
    Disable,
    /// Encrypted, the server's certificate not checked: safe from listeners, not from impostors.
    Require,
    /// Encrypted, and the certificate is for the dialled name and signed by a trusted authority.
    VerifyFull,
}

/// Makes TLS connections to one target's database.
#[derive(Clone)]
pub struct UpstreamConnector {
    connector: TlsConnector,
    verified: bool,
}

impl fmt::Debug for UpstreamConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamConnector")
            .field("verified", &self.verified)
            .finish()
    }
}

impl UpstreamConnector {
    /// A connector, or `None` where the target says `disable`.
    ///
    /// `ca_file` (PEM) holds the authorities trusted for `VerifyFull`, or the server's own
    /// self-signed certificate; without it the public web's are (webpki-roots). `Require` checks
    /// nothing against it.
    ///
    /// # Errors
    /// `ca_file` cannot be read or holds no certificate.
    pub fn new(mode: UpstreamTls, ca_file: Option<&Path>) -> Result<Option<Self>, TlsError> {
        let provider = provider();
        let verifier: Arc<dyn ServerCertVerifier> = match mode {
            UpstreamTls::Disable => return Ok(None),
            UpstreamTls::Require => Arc::new(DangerNotAuthenticated {
                provider: Arc::clone(&provider),
            }),
            UpstreamTls::VerifyFull => Arc::new(Trusted::new(ca_file, Arc::clone(&provider))?),
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous() // rustls' word for "with a verifier of our own"
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(Some(UpstreamConnector {
            connector: TlsConnector::from(Arc::new(config)),
            verified: mode == UpstreamTls::VerifyFull,
        }))
    }

    /// The server is proven to be the one dialled: a password may be sent in clear inside.
    pub fn verified(&self) -> bool {
        self.verified
    }

    /// Makes the handshake with the server dialled as `name` (host name or address). The caller
    /// bounds its time.
    ///
    /// # Errors
    /// `Name` or `Handshake`.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        name: &str,
    ) -> Result<TlsStream<S>, TlsError> {
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| TlsError::Name(name.escape_debug().take(80).collect()))?;
        self.connector
            .connect(server, stream)
            .await
            .map_err(|why| TlsError::Handshake {
                who: "the database",
                why,
            })
    }

    /// The `tls-server-end-point` hash of a connection's server certificate, for SCRAM's channel
    /// binding; `None` where RFC 5929 defines none.
    pub fn end_point<S>(stream: &TlsStream<S>) -> Option<Vec<u8>> {
        let leaf = stream.get_ref().1.peer_certificates()?.first()?;
        tls_server_end_point(leaf)
    }
}

/// webpki's verification, and beside it what OpenSSL's users rely on: a self-signed server
/// certificate that is itself in the trusted file. webpki takes no authority's certificate for a
/// server's, and `openssl req -x509` makes nothing else.
#[derive(Debug)]
struct Trusted {
    chain: Arc<WebPkiServerVerifier>,
    pinned: Vec<CertificateDer<'static>>,
}

impl Trusted {
    fn new(ca_file: Option<&Path>, provider: Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        let mut pinned = Vec::new();
        match ca_file {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(path) => {
                let bad = |what: String| TlsError::File {
                    path: path.to_owned(),
                    what,
                };
                let certificates = CertificateDer::pem_file_iter(path)
                    .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                    .map_err(|e| bad(e.to_string()))?;
                if certificates.is_empty() {
                    return Err(bad("no certificate in it".to_owned()));
                }
                for certificate in certificates {
                    roots
                        .add(certificate.clone())
                        .map_err(|e| bad(e.to_string()))?;
                    pinned.push(certificate);
                }
            }
        }
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|e| Error::General(e.to_string()))?;
        Ok(Trusted { chain, pinned })
    }

    /// Whether the leaf itself is trusted, byte for byte; then its name and its dates must fit too.
    fn pinned(
        &self,
        leaf: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<bool, Error> {
        if !self
            .pinned
            .iter()
            .any(|trusted| trusted.as_ref() == leaf.as_ref())
        {
            return Ok(false);
        }
        verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
        let (_, parsed) = X509Certificate::from_der(leaf)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if now < parsed.validity().not_before.timestamp() {
            return Err(Error::InvalidCertificate(CertificateError::NotValidYet));
        }
        if now > parsed.validity().not_after.timestamp() {
            return Err(Error::InvalidCertificate(CertificateError::Expired));
        }
        Ok(true)
    }
}

impl ServerCertVerifier for Trusted {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.pinned(leaf, name, now)? {
            return Ok(ServerCertVerified::assertion());
        }
        self.chain
            .verify_server_cert(leaf, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Takes any certificate. Encryption without authentication: what `require` means, and nothing
/// else may use it. The handshake's signature is still checked, so the peer at least holds the
/// key of the certificate it shows.
#[derive(Debug)]
struct DangerNotAuthenticated {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for DangerNotAuthenticated {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, leaf, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
