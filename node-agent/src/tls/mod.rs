//! IO. Certificates, the acceptor for clients, the connector to databases.
//!
//! Two legs, two settings. Towards the workload the agent stands in for the database: the node's
//! own authority (`NodeCa`) signs a short-lived leaf for the name or the address that the client
//! dialled, so `verify-full` works for a client that trusts it (`ClientTls`). Towards the database
//! the target decides (`UpstreamTls`), and nothing falls back to less than it asks for.
//!
//! One crypto library: aws-lc-rs. The provider is passed explicitly wherever rustls takes one, so
//! nothing here depends on `install_provider` having been called; other crates in the process do.

mod authority;
mod endpoint;
mod inbound;
mod leaf;
mod outbound;
mod prefixed;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use authority::NodeCa;
pub use endpoint::tls_server_end_point;
pub use inbound::{ClientTls, Opening};
pub use outbound::{UpstreamConnector, UpstreamTls};
pub use prefixed::Prefixed;

/// What goes wrong with certificates and handshakes. No variant holds key material.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or key file cannot be used.
    #[error("{path}: {what}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong, with the mend.
        what: String,
    },
    /// A certificate cannot be made.
    #[error("a certificate for {what} cannot be made: {why}")]
    Mint {
        /// What it was for.
        what: String,
        /// The library's word.
        why: rcgen::Error,
    },
    /// The settings do not fit together.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
    /// The name to verify is neither a host name nor an address.
    #[error("{0:?} is neither a host name nor an address: a certificate cannot be checked for it")]
    Name(String),
    /// The handshake failed.
    #[error("the TLS handshake with {who} failed: {why}")]
    Handshake {
        /// `the client` or `the database`.
        who: &'static str,
        /// rustls' or the socket's word.
        why: io::Error,
    },
    /// A direct TLS client did not ask for the protocol it must ask for.
    #[error(
        "direct TLS needs ALPN \"postgresql\", which this client did not offer: use a libpq of \
         version 17 or newer, or sslnegotiation=postgres"
    )]
    Alpn,
}

/// Makes aws-lc-rs the process-wide provider of rustls and of jsonwebtoken. Call it once at
/// start-up; calling it again changes nothing.
pub fn install_provider() {
    // An error only says that a provider is installed already, which is what is wanted: every
    // build of this workspace has one provider, and the ban on others is cargo-deny's.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
}

/// The one provider, for the configurations made in this room.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests;
