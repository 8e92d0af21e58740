//! The one way from YAML text to typed values: tight budgets, no duplicate keys, no unknown ones.

use serde::de::DeserializeOwned;
use serde_saphyr::Error;
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};

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
    if text.trim().is_empty() {
        let place = format!("{source}:1:1");
        return Err(ConfigError {
            place,
            what: "the file is empty".to_owned(),
        });
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 64,
            max_nodes: 250_000,
            max_anchors: 0,
            max_aliases: 0,
            max_documents: 1,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = match error.location() {
            Some(at) => format!("{source}:{}:{}", at.line(), at.column()),
            None => source.to_owned(),
        };
        ConfigError {
            place,
            what: wording(&error),
        }
    })
}

/// The library's words, without its own place at the end (ours stands in front) and without the
/// advice it has for programmers.
fn wording(error: &Error) -> String {
    let text = error.without_snippet().to_string();
    let mut line = text.lines().next().unwrap_or_default().to_owned();
    if let Some(at) = error.location() {
        line = line.replace(
            &format!(" at line {}, column {}", at.line(), at.column()),
            "",
        );
    }
    for (theirs, ours) in [
        (
            ", set DuplicateKeyPolicy in Options if acceptable",
            "; keep one of them",
        ),
        (
            "budget breached: Documents { documents: 2 }",
            "a second document; one file is one",
        ),
        (
            "budget breached: Anchors { anchors: 1 }",
            "anchors are not taken; write it out",
        ),
        (
            "budget breached: Aliases { aliases: 1 }",
            "aliases are not taken; write it out",
        ),
        ("invalid u16", "not a number from 0 to 65535"),
        (
            "expected mapping start",
            "a map is expected, such as { key: value }",
        ),
        (
            "expected sequence start",
            "a list is expected, such as [ value ]",
        ),
    ] {
        line = line.replace(theirs, ours);
    }
    line
}
