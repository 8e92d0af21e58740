//! IO. The node's key: made once, kept with the agent's state, and used for nothing but the ledger.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The private key, PKCS#8 in PEM.
const PRIVATE: &str = "node-key.pem";
/// The public key, for whoever verifies.
const PUBLIC: &str = "node-key.pub";
/// An Ed25519 key's SubjectPublicKeyInfo before its 32 bytes (RFC 8410, section 4).
const SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// A key cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}", path.display())]
pub struct KeyError {
    /// Which file.
    pub path: PathBuf,
    /// What is wrong, and what to do.
    pub what: String,
}

/// Signs the ledger.
pub struct NodeKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

/// Verifies the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 32]);

/// A short name of a public key: SHA-256 of its SubjectPublicKeyInfo, hex, as
/// `openssl pkey -pubin -in node-key.pub -outform DER | sha256sum` prints it.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NodeKey")
            .field(&self.public.fingerprint())
            .finish()
    }
}

impl NodeKey {
    /// The key kept in `state_dir` (`node-key.pem`, mode 0600), made on the first call. Its public
    /// half is written beside it as `node-key.pub`.
    ///
    /// # Errors
    /// The directory cannot be written; the kept file is readable by others or holds something
    /// else. A new key is never made in place of one that is there: what the old one signed would
    /// look forged.
    pub fn open_or_make(state_dir: &Path) -> Result<NodeKey, KeyError> {
        let path = state_dir.join(PRIVATE);
        if !path.exists() {
            make(state_dir, &path)?;
        }
        let key = NodeKey::from_file(&path)?;
        let public = state_dir.join(PUBLIC);
        let pem = key.public.pem();
        if fs::read(&public).ok().as_deref() != Some(pem.as_bytes()) {
            let temporary = write_new(state_dir, PUBLIC, pem.as_bytes(), 0o644)?;
            fs::rename(&temporary, &public).map_err(|e| wrong(&public, e))?;
        }
        Ok(key)
    }

    /// A key that is there.
    ///
    /// # Errors
    /// The file cannot be read, is readable by others, or holds something else.
    pub fn from_file(path: &Path) -> Result<NodeKey, KeyError> {
        let about = fs::metadata(path).map_err(|e| wrong(path, e))?;
        if about.mode() & 0o077 != 0 {
            return Err(wrong(
                path,
                "the key is readable by others, who could sign in its place; chmod 600 it",
            ));
        }
        let text = Zeroizing::new(fs::read(path).map_err(|e| wrong(path, e))?);
        PrivatePkcs8KeyDer::from_pem_slice(&text)
            .ok()
            .and_then(|der| Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der()).ok())
            .and_then(NodeKey::of)
            .ok_or_else(|| {
                wrong(
                    path,
                    "no Ed25519 key in it (PKCS#8, PEM); put the right one back, or, if it is lost, \
                     keep node-key.pub for what it signed and remove both: a new key is made",
                )
            })
    }

    fn of(pair: Ed25519KeyPair) -> Option<NodeKey> {
        let public = PublicKey(pair.public_key().as_ref().try_into().ok()?);
        Some(NodeKey { pair, public })
    }

    /// Where `open_or_make` keeps the key.
    pub fn key_file(state_dir: &Path) -> PathBuf {
        state_dir.join(PRIVATE)
    }

    /// Where `open_or_make` puts the public half.
    pub fn public_file(state_dir: &Path) -> PathBuf {
        state_dir.join(PUBLIC)
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    pub(super) fn sign(&self, message: &[u8]) -> String {
        STANDARD.encode(self.pair.sign(message).as_ref())
    }
}

impl PublicKey {
    /// All public keys of a file, PEM: several are one after the other.
    ///
    /// # Errors
    /// The file cannot be read, or holds no such key.
    pub fn from_file(path: &Path) -> Result<Vec<PublicKey>, KeyError> {
        let text = fs::read(path).map_err(|e| wrong(path, e))?;
        let found: Option<Vec<PublicKey>> = SubjectPublicKeyInfoDer::pem_slice_iter(&text)
            .map(|der| PublicKey::of_spki(der.ok()?.as_ref()))
            .collect();
        found.filter(|keys| !keys.is_empty()).ok_or_else(|| {
            wrong(
                path,
                "no Ed25519 public key in it (PEM); a node's is node-key.pub in its state_dir",
            )
        })
    }

    fn of_spki(der: &[u8]) -> Option<PublicKey> {
        Some(PublicKey(der.strip_prefix(&SPKI)?.try_into().ok()?))
    }

    fn spki(&self) -> Vec<u8> {
        [&SPKI[..], &self.0].concat()
    }

    fn pem(&self) -> String {
        pem("PUBLIC KEY", &self.spki())
    }

    /// Its short name.
    pub fn fingerprint(&self) -> Fingerprint {
        let sum = digest(&SHA256, &self.spki());
        Fingerprint(sum.as_ref().iter().map(|b| format!("{b:02x}")).collect())
    }

    pub(super) fn signed(&self, message: &[u8], signature: &str) -> bool {
        STANDARD.decode(signature).is_ok_and(|signature| {
            UnparsedPublicKey::new(&ED25519, &self.0)
                .verify(message, &signature)
                .is_ok()
        })
    }
}

fn make(state_dir: &Path, path: &Path) -> Result<(), KeyError> {
    let no_key = |_| wrong(path, "the system gives no randomness for the node's key");
    let pair = Ed25519KeyPair::generate().map_err(no_key)?;
    let der: Pkcs8V1Der<'_> = pair.as_der().map_err(no_key)?;
    let secret = Zeroizing::new(pem("PRIVATE KEY", der.as_ref()));
    let temporary = write_new(state_dir, PRIVATE, secret.as_bytes(), 0o600)?;
    // A link, not a rename: when two agents start at once the first one's key stays.
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary).map_err(|e| wrong(&temporary, e))?;
    match linked {
        Ok(()) => fs::File::open(state_dir)
            .and_then(|dir| dir.sync_all())
            .map_err(|e| wrong(state_dir, e)),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(wrong(path, e)),
    }
}

/// Writes a whole new file under a temporary name, synced; gives the name.
fn write_new(directory: &Path, name: &str, bytes: &[u8], mode: u32) -> Result<PathBuf, KeyError> {
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
        // The umask may have cut `mode`.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|e| wrong(&path, e))?;
    Ok(path)
}

fn pem(label: &str, der: &[u8]) -> String {
    // Both kinds of keys fit into one line of base64, or two.
    let body = Zeroizing::new(STANDARD.encode(der));
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

fn wrong(path: &Path, what: impl fmt::Display) -> KeyError {
    KeyError {
        path: path.to_owned(),
        what: what.to_string(),
    }
}
