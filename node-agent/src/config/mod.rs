//! Pure. The configuration file: `raw.rs` as written, `check.rs` resolves it into `Config`; every
//! error names file, line, column, key and the mend.

mod check;
mod raw;
mod resolved;
mod words;
mod yaml;

pub use resolved::{
    Approvals, CgroupRoot, ClientTlsMode, Config, Credential, Credentials, Egress, Guard, HostPort,
    HostTable, Issuer, Listen, Log, OnFailure, PasswordSource, Prefix, Recording, RowsMode, Target,
    TargetLimits, Tls, TokenSource, Upstream, UpstreamTlsMode, WorkloadRule,
};
pub use words::{KEYS, Key};
pub use yaml::from_yaml;

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct ConfigError {
    /// `file:line:column`, or `file: key` where the place is a key.
    pub place: String,
    /// What is wrong and how to mend it.
    pub what: String,
}
