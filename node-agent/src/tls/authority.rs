//! The node's own certificate authority: made once and kept, or given.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::TlsError;
use crate::clock;

/// Key and certificate of a made authority, in one file so that they appear together or not at all.
const PRIVATE: &str = "node-ca.pem";
/// The certificate alone, for handing to workloads.
const PUBLIC: &str = "ca.pem";
/// How long a made authority lives. It never leaves the node and has no revocation; replacing it
/// means giving workloads a new `ca.pem`, so it is long.
const LIFETIME: Duration = Duration::days(3650);

/// Signs the leaves that the agent shows to workloads.
pub struct NodeCa {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
    expires: i64,
}

impl fmt::Debug for NodeCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeCa")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl NodeCa {
    /// The authority kept in `state_dir`, made on the first call (`node-ca.pem`, mode 0600). The
    /// certificate alone is written beside it as `ca.pem`.
    ///
    /// # Errors
    /// The directory cannot be written, the kept file is readable by others, damaged or expired.
    pub fn open_or_make(state_dir: &Path) -> Result<NodeCa, TlsError> {
        let path = state_dir.join(PRIVATE);
        if !path.exists() {
            make(state_dir, &path)?;
        }
        let ca = NodeCa::from_files(&path, &path)?;
        let public = state_dir.join(PUBLIC);
        if fs::read(&public).ok().as_deref() != Some(ca.pem.as_bytes()) {
            let temporary = write_new(state_dir, PUBLIC, ca.pem.as_bytes(), 0o644)?;
            fs::rename(&temporary, &public).map_err(|e| file(&public, &e.to_string()))?;
        }
        Ok(ca)
    }

    /// Where `open_or_make` keeps the key.
    pub fn key_file(state_dir: &Path) -> PathBuf {
        state_dir.join(PRIVATE)
    }

    /// Where `open_or_make` puts the certificate for workloads.
    pub fn certificate_file(state_dir: &Path) -> PathBuf {
        state_dir.join(PUBLIC)
    }

    /// A given authority: PEM files (possibly one and the same) with its certificate and its key.
    /// Leaves are signed by it directly; of several certificates in the file the first is meant.
    ///
    /// # Errors
    /// A file cannot be read, the key is readable by others, does not belong to the certificate,
    /// or the certificate is no authority or not valid now.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<NodeCa, TlsError> {
        let der = CertificateDer::from_pem_file(certificate)
            .map_err(|e| file(certificate, &format!("no certificate in it: {e}")))?;
        let expires = check(certificate, &der)?;
        let about = fs::metadata(key).map_err(|e| file(key, &e.to_string()))?;
        if about.mode() & 0o077 != 0 {
            // Whoever reads this key can stand in for every database towards these workloads.
            return Err(file(key, "the key is readable by others; chmod 600 it"));
        }
        let text = Zeroizing::new(fs::read_to_string(key).map_err(|e| file(key, &e.to_string()))?);
        let pair = key_in(&text)
            .ok_or_else(|| file(key, "no private key in it that aws-lc-rs can sign with"))?;
        let belongs = X509Certificate::from_der(&der)
            .is_ok_and(|(_, c)| c.public_key().subject_public_key.data == pair.public_key_raw());
        if !belongs {
            return Err(file(key, "the key does not belong to the certificate"));
        }
        let issuer = Issuer::from_ca_cert_der(&der, pair)
            .map_err(|e| file(certificate, &format!("not usable as an authority: {e}")))?;
        let pem = pem_of(&der);
        Ok(NodeCa {
            issuer,
            certificate: der,
            pem,
            expires,
        })
    }

    /// The certificate in PEM, for workloads to trust (`sslrootcert`).
    pub fn ca_pem(&self) -> &str {
        &self.pem
    }

    /// The certificate.
    pub(super) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// What rcgen signs with.
    pub(super) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// When it ends, seconds since 1970.
    pub(super) fn expires(&self) -> i64 {
        self.expires
    }
}

/// Checks that it may sign and is valid now. Gives its end, seconds since 1970.
fn check(path: &Path, der: &CertificateDer<'_>) -> Result<i64, TlsError> {
    let (_, parsed) = X509Certificate::from_der(der)
        .map_err(|e| file(path, &format!("not a certificate: {e}")))?;
    if !parsed.is_ca() {
        return Err(file(
            path,
            "not the certificate of an authority (basicConstraints CA)",
        ));
    }
    let now = clock::now().0 / 1000;
    let (from, to) = (
        parsed.validity().not_before.timestamp(),
        parsed.validity().not_after.timestamp(),
    );
    if now < from {
        return Err(file(path, "not valid yet; is this node's clock right?"));
    }
    if now >= to {
        return Err(file(
            path,
            "expired; remove it to have a new one made, and hand that out",
        ));
    }
    Ok(to)
}

fn make(state_dir: &Path, path: &Path) -> Result<(), TlsError> {
    let mint = |why| TlsError::Mint {
        what: "the node's authority".to_owned(),
        why,
    };
    let key = KeyPair::generate().map_err(mint)?;
    let now = OffsetDateTime::from_unix_timestamp(clock::now().0 / 1000).map_err(|_| {
        file(
            path,
            "this node's clock is beyond what certificates can say",
        )
    })?;
    let mut params = CertificateParams::default();
    params.not_before = now - Duration::hours(1);
    params.not_after = now + LIFETIME;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Verifiers look issuers up by name: nodes that share a trust store must differ in it.
    let mark: String = key
        .public_key_raw()
        .iter()
        .skip(1)
        .take(4)
        .map(|b| format!("{b:02x}"))
        .collect();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, format!("node-agent CA {mark}"));
    params.distinguished_name = name;
    let certificate = params.self_signed(&key).map_err(mint)?;

    let secret = Zeroizing::new(key.serialize_pem());
    let both = Zeroizing::new(format!("{}{}", certificate.pem(), secret.as_str()));
    let temporary = write_new(state_dir, PRIVATE, both.as_bytes(), 0o600)?;
    // A link, not a rename: when two agents start at once the first one's authority stays.
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary).map_err(|e| file(&temporary, &e.to_string()))?;
    match linked {
        Ok(()) => sync_directory(state_dir),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(file(path, &e.to_string())),
    }
}

/// Writes a whole new file under a temporary name, synced; gives the name.
fn write_new(directory: &Path, name: &str, bytes: &[u8], mode: u32) -> Result<PathBuf, TlsError> {
    let path = directory.join(format!(".{name}.{}.new", std::process::id()));
    let write = || -> io::Result<()> {
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path)?;
        // `mode` above is cut by the umask, which may be wider than wanted only for 0644.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|e| file(&path, &e.to_string()))?;
    Ok(path)
}

fn sync_directory(directory: &Path) -> Result<(), TlsError> {
    fs::File::open(directory)
        .and_then(|d| d.sync_all())
        .map_err(|e| file(directory, &e.to_string()))
}

/// The first private key among the PEM sections.
fn key_in(text: &str) -> Option<KeyPair> {
    use rustls_pki_types::PrivateKeyDer;
    let der = PrivateKeyDer::from_pem_slice(text.as_bytes()).ok()?;
    KeyPair::try_from(&der).ok()
}

fn pem_of(der: &CertificateDer<'_>) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let body = STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

fn file(path: &Path, what: &str) -> TlsError {
    TlsError::File {
        path: path.to_owned(),
        what: what.to_owned(),
    }
}
