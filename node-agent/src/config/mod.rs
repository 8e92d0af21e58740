//! Pure. Text to `Config`: `raw.rs` (as written) → `check/` → the resolved types below.
//!
//! Reading the file is the caller's business, so that a test, a reload and `config check` share
//! one path. Every fault names its key and place and says what to write instead; all faults of one
//! text are reported together.

mod check;
mod error;
mod hosts;
mod prefix;
mod raw;
mod reference;
mod scalars;
mod types;
mod yaml;

pub use error::ConfigError;
pub use hosts::HostTable;
pub use prefix::{BadPrefix, Prefix};
pub use raw::Key;
pub use reference::{Section, reference};
pub use types::{
    Approvals, CgroupRoot, ClientTls, Config, Credential, Credentials, Egress, Guard, HostPort,
    Issuer, Listen, Log, LogFormat, OnFailure, PasswordSource, Recording, RowsMode, Target,
    TargetLimits, Tls, TokenSource, Upstream, UpstreamTlsMode, WorkloadRule,
};

/// Where the configuration is read from when nobody says otherwise.
pub const DEFAULT_PATH: &str = "/etc/node-agent/config.yaml";

impl Config {
    /// Parses and checks a configuration.
    ///
    /// `source_name` stands before the line number in every error (the file's path).
    ///
    /// # Errors
    /// Every fault found. YAML that cannot be read yields exactly one.
    pub fn parse(text: &str, source_name: &str) -> Result<Config, Vec<ConfigError>> {
        let raw = yaml::from_yaml(text, source_name).map_err(|error| vec![error])?;
        check::check(raw, source_name)
    }
}

#[cfg(test)]
mod tests;
