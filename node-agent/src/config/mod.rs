//! Pure. The configuration file: `raw.rs` as written, `check.rs` resolves it into `Config`; every
//! error names file, line, column, key and the mend.

mod check;
mod place;
mod prefix;
mod raw;
mod resolved;
mod scalars;
mod webhook_url;
mod words;
mod yaml;

pub use place::{BadPlace, Place};
pub use prefix::{BadPrefix, Prefix};
pub use resolved::{
    Approvals, Archive, CgroupRoot, ClientTlsMode, Config, Console, Credential, Credentials,
    Egress, Guard, HostPort, HostTable, Issuer, Listen, LocalReviewer, Log, NodeWide, OnFailure,
    PasswordSource, Recording, RowsMode, SealTo, Target, TargetLimits, Tls, TokenSource,
    Undeclared, UnixSockets, Upstream, UpstreamTlsMode, User, Webhook, WebhookStep,
    WebhookTemplate, WebhookUrl, Worker, WorkloadRule,
};
pub use webhook_url::webhook_url;
pub use words::{KEYS, Key};
pub use yaml::from_yaml;

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct ConfigError {
    /// `file:line:column: key`; without a key where the YAML itself is at fault, without a line
    /// where the fault is something that stands nowhere.
    pub place: String,
    /// What is wrong and how to mend it.
    pub what: String,
}

impl Config {
    /// Parses and checks a configuration file's text. `source` is what errors call it.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the file; a syntax error hides what is behind it.
    pub fn parse(text: &str, source: &str) -> Result<Config, Vec<ConfigError>> {
        let raw = from_yaml(text, source).map_err(|error| vec![error])?;
        check::check(raw, source)
    }
}

#[cfg(test)]
mod tests;
