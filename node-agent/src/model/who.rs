//! Who is calling: the kernel's word for the workload, the issuer's word for the person.

use std::collections::BTreeMap;
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
