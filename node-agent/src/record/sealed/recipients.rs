//! IO. To whom recordings are sealed, read once at the start.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::section;
use crate::config::SealTo;
use crate::model::{NotARecipient, Recipient, RecipientId};

/// The largest file of keys, bytes.
const LARGEST: u64 = 64 << 10;
/// The most recipients: each costs 96 bytes and two multiplications on a curve in each recording.
pub(super) const MOST: usize = 16;

/// Public keys that a recording is sealed to, each of which opens it.
#[derive(Clone, Debug)]
pub struct Recipients(Arc<[Recipient]>);

/// The keys cannot be had; nothing may be recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecipientsError {
    /// A file cannot be read.
    #[error(
        "recording.encrypt_to: cannot read {}: {source}; it must be there and readable by the \
         worker's user", path.display()
    )]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line of a file is no public key.
    #[error(
        "recording.encrypt_to: {}:{line}: {what}; put the public key there, as `node-agent \
         sessions keygen` printed it", path.display()
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What it is.
        what: NotARecipient,
    },
    /// A file has no key.
    #[error(
        "recording.encrypt_to: {} holds no key; put a public key there, one a line, as `node-agent \
         sessions keygen` printed it", .0.display()
    )]
    Empty(PathBuf),
    /// Together they are too many.
    #[error("recording.encrypt_to: the files hold more than {MOST} keys; leave some out")]
    Many,
    /// Nothing can be sealed to it: its bytes are no point of use.
    #[error(
        "recording.encrypt_to: nothing can be sealed to {0}; make a new pair with `node-agent \
         sessions keygen`"
    )]
    Unusable(Recipient),
}

impl Recipients {
    /// Reads what the configuration names, and seals something to each of them, to see that it can be
    /// done. `None`: it names nobody.
    ///
    /// # Errors
    /// A key that cannot be had or used. Nothing may be recorded then.
    pub fn read(named: &[SealTo]) -> Result<Option<Recipients>, RecipientsError> {
        let mut all = Vec::new();
        for seal_to in named {
            match seal_to {
                SealTo::Key(key) => all.push(*key),
                SealTo::File(path) => all.extend(of_file(path)?),
            }
        }
        all.sort();
        all.dedup();
        if all.len() > MOST {
            return Err(RecipientsError::Many);
        }
        match all.iter().find(|key| !section::usable(key)) {
            Some(key) => Err(RecipientsError::Unusable(*key)),
            None if all.is_empty() => Ok(None),
            None => Ok(Some(Recipients(all.into()))),
        }
    }

    /// The keys.
    pub fn keys(&self) -> &[Recipient] {
        &self.0
    }

    /// Their short names.
    pub fn ids(&self) -> Vec<RecipientId> {
        self.0.iter().map(Recipient::id).collect()
    }
}

fn of_file(path: &Path) -> Result<Vec<Recipient>, RecipientsError> {
    let mut text = String::new();
    let read = |source| RecipientsError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(read)?;
    file.take(LARGEST).read_to_string(&mut text).map_err(read)?;
    let mut keys = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key = line.parse().map_err(|what| RecipientsError::Line {
            path: path.to_owned(),
            line: at + 1,
            what,
        })?;
        keys.push(key);
    }
    if keys.is_empty() {
        return Err(RecipientsError::Empty(path.to_owned()));
    }
    Ok(keys)
}
