//! The acceptor for workloads.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::leaf::{LeafFor, Leaves};
use super::{NodeCa, TlsError, provider};

/// The protocol name of PostgreSQL's direct TLS (IANA's ALPN registry).
const POSTGRESQL: &[u8] = b"postgresql";
/// Sessions kept for resumption, all destinations together.
const SESSIONS: usize = 4096;
/// Settings kept, one per destination and opening.
const SETTINGS: u64 = 256;

/// How the client came to TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opening {
    /// It asked in the database's own protocol (`SSLRequest`, MySQL's capability flag).
    Asked,
    /// The first byte was a TLS record; ALPN `postgresql` is required, anything else is refused
    /// (a web request must not be talked into speaking to a database).
    Direct,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Destination {
    address: IpAddr,
    names: Vec<String>,
    opening: Opening,
}

/// TLS towards workloads.
#[derive(Debug)]
pub struct ClientTls {
    leaves: Arc<Leaves>,
    sessions: Arc<dyn StoresServerSessions>,
    settings: moka::sync::Cache<Destination, Arc<ServerConfig>>,
}

impl ClientTls {
    /// With the authority that signs the leaves.
    pub fn new(ca: NodeCa) -> Self {
        ClientTls {
            leaves: Arc::new(Leaves::new(ca)),
            sessions: ServerSessionMemoryCache::new(SESSIONS),
            settings: moka::sync::Cache::new(SETTINGS),
        }
    }

    /// The authority's certificate in PEM, for workloads to trust.
    pub fn ca_pem(&self) -> &str {
        self.leaves.ca().ca_pem()
    }

    /// An acceptor for a client that dialled `original_dst`. Its leaf is for the name the client
    /// sends (SNI) and that address; without a name, for the address and `fallback_names` (the
    /// target's configured host names).
    ///
    /// For `Opening::Direct` the caller must still check what was agreed; `accept` does both.
    ///
    /// # Errors
    /// rustls refuses the settings.
    pub fn acceptor(
        &self,
        original_dst: IpAddr,
        fallback_names: &[String],
        opening: Opening,
    ) -> Result<TlsAcceptor, TlsError> {
        let address = original_dst.to_canonical();
        let destination = Destination {
            address,
            names: fallback_names.to_vec(),
            opening,
        };
        if let Some(config) = self.settings.get(&destination) {
            return Ok(TlsAcceptor::from(config));
        }
        let leaf = LeafFor::new(Arc::clone(&self.leaves), address, fallback_names);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(leaf));
        // One store for all destinations: a resumed session proves nothing about who is calling,
        // identity comes after TLS.
        config.session_storage = Arc::clone(&self.sessions);
        config.send_tls13_tickets = 1;
        config.alpn_protocols = match opening {
            Opening::Asked => Vec::new(),
            Opening::Direct => vec![POSTGRESQL.to_vec()],
        };
        let config = Arc::new(config);
        self.settings.insert(destination, Arc::clone(&config));
        Ok(TlsAcceptor::from(config))
    }

    /// Takes the handshake. The caller bounds its time.
    ///
    /// # Errors
    /// `Handshake`, or `Alpn` for a direct client that did not offer `postgresql`.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        original_dst: IpAddr,
        fallback_names: &[String],
        opening: Opening,
    ) -> Result<TlsStream<S>, TlsError> {
        let acceptor = self.acceptor(original_dst, fallback_names, opening)?;
        let stream = acceptor
            .accept(stream)
            .await
            .map_err(|why| TlsError::Handshake {
                who: "the client",
                why,
            })?;
        // A client with other protocols was refused by rustls; one that offered none was not.
        match (opening, stream.get_ref().1.alpn_protocol()) {
            (Opening::Asked, _) | (Opening::Direct, Some(POSTGRESQL)) => Ok(stream),
            (Opening::Direct, Some(_) | None) => Err(TlsError::Alpn),
        }
    }
}
