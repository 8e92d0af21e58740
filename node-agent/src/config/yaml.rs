//! The one way from YAML text to typed values: tight budgets, no duplicate keys, no unknown ones.

use serde::de::DeserializeOwned;
use serde_saphyr::options::DuplicateKeyPolicy;

use super::ConfigError;

/// The largest file that is read, bytes.
const LARGEST: usize = 4 << 20;

/// Parses one document.
///
/// # Errors
/// The first fault, as `source:line:column`.
pub fn from_yaml<T: DeserializeOwned>(text: &str, source: &str) -> Result<T, ConfigError> {
    if text.len() > LARGEST {
        return Err(ConfigError {
            place: source.to_owned(),
            what: format!("the file is larger than {LARGEST} bytes"),
        });
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 64,
            max_nodes: 250_000,
            max_anchors: 0,
            max_aliases: 0,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = match error.location() {
            Some(at) => format!("{source}:{}:{}", at.line(), at.column()),
            None => source.to_owned(),
        };
        let words = error.without_snippet().to_string();
        ConfigError { place, what: words.lines().next().unwrap_or_default().to_owned() }
    })
}
