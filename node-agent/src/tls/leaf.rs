//! Leaves for what clients dial: minted when asked for, kept until half their life is over.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use time::{Duration, OffsetDateTime};

use super::{NodeCa, TlsError, provider};
use crate::clock;

/// How long a leaf is good for.
const LIFETIME_SECONDS: i64 = 7 * 24 * 3600;
/// A client may choose names freely, so what is kept is bounded; beyond it leaves are minted anew.
const KEPT: u64 = 1024;
/// How many configured names one leaf carries at most.
const NAMES: usize = 64;
/// ub-common-name of RFC 5280.
const COMMON_NAME: usize = 64;

/// What a leaf is good for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Dialled {
    /// The name the client sent (SNI), else the names the target has in the configuration.
    names: Vec<String>,
    /// Where the client was going.
    address: IpAddr,
}

#[derive(Clone)]
struct Leaf {
    key: Arc<CertifiedKey>,
    renew_at: i64,
}

/// Mints and keeps leaves.
pub(super) struct Leaves {
    ca: NodeCa,
    kept: moka::sync::Cache<Dialled, Leaf>,
}

impl fmt::Debug for Leaves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaves")
            .field("ca", &self.ca)
            .finish_non_exhaustive()
    }
}

impl Leaves {
    pub(super) fn new(ca: NodeCa) -> Self {
        Leaves {
            ca,
            kept: moka::sync::Cache::new(KEPT),
        }
    }

    pub(super) fn ca(&self) -> &NodeCa {
        &self.ca
    }

    fn leaf(&self, dialled: Dialled) -> Result<Arc<CertifiedKey>, TlsError> {
        let now = clock::now().0 / 1000;
        if let Some(leaf) = self.kept.get(&dialled)
            && now < leaf.renew_at
        {
            return Ok(leaf.key);
        }
        let ends = now.saturating_add(LIFETIME_SECONDS).min(self.ca.expires());
        let key = mint(&self.ca, &dialled, now, ends)?;
        // Half the life; also when the clock was set back a leaf is replaced in time, because
        // `renew_at` is compared with the same clock that its validity is.
        let renew_at = now.saturating_add(ends.saturating_sub(now) / 2);
        self.kept.insert(
            dialled,
            Leaf {
                key: Arc::clone(&key),
                renew_at,
            },
        );
        Ok(key)
    }
}

fn mint(
    ca: &NodeCa,
    dialled: &Dialled,
    now: i64,
    ends: i64,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let what = || {
        dialled
            .names
            .first()
            .cloned()
            .unwrap_or_else(|| dialled.address.to_string())
    };
    let failed = |why| TlsError::Mint { what: what(), why };
    let moment = |seconds| {
        OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| failed(rcgen::Error::Time))
    };
    let mut params = CertificateParams::default();
    params.not_before = moment(now)? - Duration::hours(1);
    params.not_after = moment(ends)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Strict verifiers (OpenSSL's X509_V_FLAG_X509_STRICT) ask for it.
    params.use_authority_key_identifier_extension = true;
    for name in &dialled.names {
        let name = name.as_str().try_into().map_err(failed)?;
        params.subject_alt_names.push(SanType::DnsName(name));
    }
    params
        .subject_alt_names
        .push(SanType::IpAddress(dialled.address));
    let mut subject = DistinguishedName::new();
    // libpq before 15 knows no addresses in certificates and compares this instead.
    let common = what();
    if common.len() <= COMMON_NAME {
        subject.push(DnType::CommonName, common);
    }
    params.distinguished_name = subject;

    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.signed_by(&key, ca.issuer()).map_err(failed)?;
    let chain = vec![certificate.der().clone(), ca.certificate().clone()];
    let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Ok(Arc::new(CertifiedKey::from_der(
        chain,
        secret,
        &provider(),
    )?))
}

/// Chooses the leaf for one original destination. The authority is trusted by this node's
/// workloads only, and they reach the agent only by dialling a database, so any name they send is
/// answered with a leaf for it.
#[derive(Debug)]
pub(super) struct LeafFor {
    leaves: Arc<Leaves>,
    address: IpAddr,
    names: Vec<String>,
}

impl LeafFor {
    pub(super) fn new(leaves: Arc<Leaves>, address: IpAddr, names: &[String]) -> Self {
        // Names that no certificate can carry are left out: they cannot have been dialled.
        let names = names
            .iter()
            .map(|name| name.trim_end_matches('.').to_ascii_lowercase())
            .filter(|name| rustls_pki_types::DnsName::try_from(name.as_str()).is_ok())
            .take(NAMES)
            .collect();
        LeafFor {
            leaves,
            address,
            names,
        }
    }
}

impl ResolvesServerCert for LeafFor {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let names = match hello.server_name() {
            Some(name) => vec![name.to_ascii_lowercase()],
            None => self.names.clone(),
        };
        match self.leaves.leaf(Dialled {
            names,
            address: self.address,
        }) {
            Ok(key) => Some(key),
            // No certificate fails the handshake; the client is never left without cover.
            Err(error) => {
                tracing::error!(%error, "no certificate for a client");
                None
            }
        }
    }
}
