//! IO. The archive: closed recordings, the ledger that vouches for them and the node's public key,
//! copied to object storage, and brought back from there.
//!
//! Nothing of it is on a session's path: a thread of its own (`keep.rs`) looks now and then for what is
//! not there yet and sends it (`round.rs`), two recordings at a time and a part of each in memory. What
//! lies there already is never replaced by something else: who changes recordings here does not
//! change them there. Whatever the storage does, recordings stay until it has them (docs/decisions/0032).

mod credential;
mod fetch;
mod keep;
mod place;
mod round;
mod sound;
mod store;
mod transport;
mod vouch;

use std::path::PathBuf;

use crate::config::{self, Config};
use crate::record::ledger::NodeKey;

pub use fetch::{Fetched, Which, fetch};
pub use keep::{Figures, Keeping, Watch};
pub use round::{Archiver, Round, Told};

/// What to archive, and where.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The directory of the recordings.
    pub dir: PathBuf,
    /// The node's public key.
    pub key_file: PathBuf,
    /// What this node's part is called.
    pub node: String,
    /// The storage.
    pub at: config::Archive,
}

impl Settings {
    /// By the configuration; `None`: there is no archive.
    pub fn by(config: &Config) -> Option<Settings> {
        let at = config.recording.archive.clone()?;
        let node = at.node.clone().unwrap_or_else(|| {
            let host = rustix::system::uname();
            plain(&host.nodename().to_string_lossy())
        });
        Some(Settings {
            dir: config.recording.dir.clone(),
            key_file: NodeKey::public_file(&config.state_dir),
            node,
            at,
        })
    }

    /// What every name of this node's begins with, without a slash at its end.
    pub(crate) fn root(&self) -> String {
        match self.at.prefix.as_str() {
            "" => self.node.clone(),
            prefix => format!("{prefix}/{}", self.node),
        }
    }
}

/// A host's name as part of an object's.
fn plain(host: &str) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let plain: String = host
        .chars()
        .map(|c| if legal(c) { c } else { '_' })
        .take(64)
        .collect();
    match plain.trim_start_matches('.') {
        "" => "node".to_owned(),
        plain => plain.to_owned(),
    }
}

/// Why the archive cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The storage did not do it, or did not answer.
    #[error("{what}: {why}")]
    Store {
        /// What was asked of it.
        what: String,
        /// Its words, or what went wrong on the way.
        why: String,
    },
    /// What is asked for is not in it.
    #[error("{0} is not in the archive")]
    NotThere(String),
    /// No credential.
    #[error(
        "no credential for the archive: {0}; give recording.archive.credentials_file, or \
         AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment"
    )]
    Credential(String),
    /// TLS cannot be set up.
    #[error("TLS to the archive cannot be set up: {0}")]
    Tls(String),
    /// A file of this node.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process archives this directory.
    #[error(
        "another process is archiving these recordings at this moment, the agent perhaps; it goes \
         on with them, and this can be tried again"
    )]
    Busy,
    /// What came back is not what was sent.
    #[error("{object}: what the archive holds is not what was sent there: {why}")]
    Differs {
        /// Which object.
        object: String,
        /// How.
        why: String,
    },
}

impl ArchiveError {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> ArchiveError {
        let path = path.into();
        move |source| ArchiveError::File { path, source }
    }
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn a_host_s_name_is_one_part_of_a_path() {
        for (host, part) in [
            ("db-1.example", "db-1.example"),
            ("a/b", "a_b"),
            ("..", "node"),
            ("", "node"),
            ("..hidden", "hidden"),
        ] {
            assert_eq!(plain(host), part, "{host}");
        }
    }
}
