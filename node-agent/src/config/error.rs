//! One fault in a configuration.

use std::fmt;
use std::sync::Arc;

/// A fault: where, which key, what is wrong, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The file, as the caller named it.
    pub source_name: Arc<str>,
    /// From 1; 0 when the place is not known.
    pub line: u64,
    /// From 1, in characters; 0 when the place is not known.
    pub column: u64,
    /// The key's path, such as `targets[0].port`. Empty when the YAML itself is at fault.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What to write instead. Empty when the problem says it.
    pub mend: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source_name)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.problem)?;
        if !self.mend.is_empty() {
            write!(f, "; {}", self.mend)?;
        }
        Ok(())
    }
}
