//! The agent's own log, to standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not one.
    #[error("log.level: {0}; write a level such as info, or a filter such as node_agent=debug")]
    Filter(String),
    /// Something else set it up before.
    #[error("the log is set up already")]
    Twice,
}

/// Starts the log: one JSON object a line, or text.
///
/// # Errors
/// A filter that does not parse; a second call.
pub fn start_log(json: bool, level: &str) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(level).map_err(|e| LogError::Filter(e.to_string()))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder
            .with_ansi(std::io::stderr().is_terminal())
            .try_init()
    };
    started.map_err(|_| LogError::Twice)
}
