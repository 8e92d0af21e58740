//! IO. The private keys that open recordings. They lie with those who may read, and never on a node.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::agreement::{PrivateKey, X25519};
use rustls::crypto::hpke::HpkePrivateKey;
use zeroize::Zeroizing;

use super::section;
use crate::model::{IDENTITY, Recipient, RecipientId, summed, unsummed};

/// The largest file of keys, bytes.
const LARGEST: u64 = 64 << 10;

/// One private key.
pub struct Identity {
    pub(super) secret: HpkePrivateKey,
    recipient: Recipient,
    id: RecipientId,
}

/// Private keys at hand. Cheap to copy.
#[derive(Clone, Debug, Default)]
pub struct Identities(Arc<[Identity]>);

/// A private key cannot be had, or not be made.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}", path.display())]
pub struct IdentityError {
    /// Which file.
    pub path: PathBuf,
    /// What is wrong, and what to do.
    pub what: String,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.id).finish()
    }
}

impl Identity {
    /// A new pair. `None`: the system gives no randomness.
    pub fn make() -> Option<Identity> {
        let (_, secret) = section::pair()?;
        Identity::of(secret.secret_bytes().try_into().ok()?)
    }

    fn of(secret: [u8; 32]) -> Option<Identity> {
        let secret = Zeroizing::new(secret);
        let private = PrivateKey::from_private_key(&X25519, &*secret).ok()?;
        let public = private.compute_public_key().ok()?;
        let recipient = Recipient(public.as_ref().try_into().ok()?);
        Some(Identity {
            secret: HpkePrivateKey::from(secret.to_vec()),
            id: recipient.id(),
            recipient,
        })
    }

    /// The public half.
    pub fn recipient(&self) -> Recipient {
        self.recipient
    }

    /// Writes it to a new file that only its owner can read.
    ///
    /// # Errors
    /// The file is there already: a key is never written over. Or it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), IdentityError> {
        let secret: &[u8] = self.secret.secret_bytes();
        let text = Zeroizing::new(format!(
            "# Opens the recordings that are sealed to\n# {}\n# Keep it away from nodes. Who loses it \
             loses them.\n{IDENTITY}{}\n",
            self.recipient,
            *Zeroizing::new(secret.try_into().map(summed).unwrap_or_default()),
        ));
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        let written = made.and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        written.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => wrong(
                path,
                "is there already, and what was sealed to it would be lost; name another file",
            ),
            _ => wrong(path, error),
        })
    }
}

impl Identities {
    /// None: only what is in clear can be read.
    pub fn none() -> Identities {
        Identities::default()
    }

    /// All private keys of these files.
    ///
    /// # Errors
    /// A file cannot be read, is readable by others, or holds something else.
    pub fn read(paths: &[PathBuf]) -> Result<Identities, IdentityError> {
        let mut all = Vec::new();
        for path in paths {
            all.extend(of_file(path)?);
        }
        Ok(Identities(all.into()))
    }

    /// These.
    pub fn of(identities: impl IntoIterator<Item = Identity>) -> Identities {
        Identities(identities.into_iter().collect())
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn of_recipient(&self, id: RecipientId) -> Option<&Identity> {
        self.0.iter().find(|identity| identity.id == id)
    }
}

fn of_file(path: &Path) -> Result<Vec<Identity>, IdentityError> {
    let file = File::open(path).map_err(|error| wrong(path, error))?;
    let about = file.metadata().map_err(|error| wrong(path, error))?;
    if about.is_file() && about.mode() & 0o077 != 0 {
        return Err(wrong(
            path,
            "this private key is readable by others; chmod 600 it",
        ));
    }
    let mut text = Zeroizing::new(String::new());
    let read = file.take(LARGEST).read_to_string(&mut text);
    read.map_err(|error| wrong(path, error))?;
    let mut all = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.parse::<Recipient>().is_ok() {
            return Err(wrong(
                path,
                "this is a public key, to which recordings are sealed; its private one opens them",
            ));
        }
        let key = line.strip_prefix(IDENTITY).and_then(unsummed);
        let identity = key.and_then(Identity::of).ok_or_else(|| {
            wrong(
                path,
                "no private key as `node-agent sessions keygen` writes it; a character may be \
                 missing or another",
            )
        })?;
        all.push(identity);
    }
    if all.is_empty() {
        return Err(wrong(path, "there is no private key in it"));
    }
    Ok(all)
}

fn wrong(path: &Path, what: impl fmt::Display) -> IdentityError {
    IdentityError {
        path: path.to_owned(),
        what: what.to_string(),
    }
}
