//! Who is calling: the kernel's word for the workload, the issuer's word for the person.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{CgroupId, NetnsCookie, Pid, UnixMillis};

/// A labelled workload, from kernel facts only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// The name in the configuration.
    pub name: Arc<str>,
    /// The labels in the configuration.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// What the connect hook stored about the process that dialled, and what was read of it on accept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessFacts {
    /// The thread group that called connect().
    pub pid: Pid,
    /// Its user.
    pub uid: u32,
    /// Its 15-byte name as the kernel keeps it.
    pub comm: String,
    /// Its cgroup at that moment.
    pub cgroup: CgroupId,
    /// Its network namespace.
    pub netns: NetnsCookie,
    /// The executable's path in its own mount namespace, where it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<String>,
    /// The digest of the executable's content. `None`: nobody looked, in a world without kernel programs
    /// or by an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// What a process runs, by its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Digest {
    /// BLAKE3 of the file that the process was started from, hex. Of a script it is its interpreter's.
    Blake3(Arc<str>),
    /// There is none.
    NotTaken(NotTaken),
}

/// Why there is no digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotTaken {
    /// The process was gone, or in another cgroup.
    Gone,
    /// The file cannot be read.
    Unreadable,
    /// The file is larger than what is read.
    Large,
    /// It was changed, or the process became another program, while it was read.
    Changed,
    /// The file was new, and accepting a connection did not wait for it. The next connection has it.
    Late,
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Digest::Blake3(hex) => write!(f, "BLAKE3 {hex}"),
            Digest::NotTaken(why) => write!(f, "no digest was taken: {why}"),
        }
    }
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotTaken::Gone => "the process was gone",
            NotTaken::Unreadable => "the file could not be read",
            NotTaken::Large => "the file is too large",
            NotTaken::Changed => "the file was changed meanwhile",
            NotTaken::Late => "the file was new, and not waited for",
        })
    }
}

/// Somebody an issuer vouches for. Built only by `identity/oidc/verify.rs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// `iss`.
    pub issuer: String,
    /// `sub`.
    pub subject: String,
    /// The groups claim, as configured for the issuer.
    pub groups: Vec<String>,
    /// The claims that may be kept (an allow-list), for policy conditions and the record.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, serde_json::Value>,
    /// Other names of the same person, and who acts for them, whatever claims are kept: nobody is to decide
    /// about their own wish under another name. Not on the record.
    #[serde(skip)]
    pub also: Vec<String>,
    /// `exp`: no statement starts after it (plus skew).
    pub expires: UnixMillis,
}

/// Workload and user joined, once, at login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// The kernel's word.
    pub workload: Workload,
    /// The issuer's word.
    pub user: User,
}
