//! The one place that names the YAML library, so that it can be replaced.

use serde::de::DeserializeOwned;
use serde_saphyr::{DuplicateKeyPolicy, Error, MergeKeyPolicy};

use super::error::ConfigError;

/// Larger than any configuration a person writes; bounds what a wrong path can make us read.
const LARGEST: usize = 1 << 20;

/// Reads one YAML document. Duplicate keys, merge keys, aliases by the thousand, a second document
/// and unknown keys are errors.
pub(super) fn from_yaml<T: DeserializeOwned>(
    text: &str,
    source_name: &str,
) -> Result<T, ConfigError> {
    let fault = |line, column, problem: String| ConfigError {
        source_name: source_name.into(),
        line,
        column,
        key: String::new(),
        problem,
        mend: String::new(),
    };
    if text.len() > LARGEST {
        return Err(fault(
            0,
            0,
            format!("longer than {LARGEST} bytes: this is no configuration"),
        ));
    }
    if text.trim().is_empty() {
        return Err(fault(1, 1, "the file is empty".to_owned()));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            flow_nesting_limit: 16,
            max_events: 100_000,
            max_aliases: 100,
            max_anchors: 100,
            max_recorded_anchor_events: 10_000,
            max_recorded_anchor_bytes: LARGEST,
            max_depth: 16,
            max_inclusion_depth: 0,
            max_documents: 1,
            max_nodes: 50_000,
            max_total_scalar_bytes: LARGEST,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let (line, column) = error
            .location()
            .map_or((0, 0), |at| (at.line(), at.column()));
        fault(line, column, wording(&error))
    })
}

/// The library's words without its own place at the end: ours stands in front.
fn wording(error: &Error) -> String {
    let mut text = error.without_snippet().to_string();
    if let Some(at) = error.location() {
        for tail in [
            format!(" at line {}, column {}", at.line(), at.column()),
            format!("line {} column {}: ", at.line(), at.column()),
        ] {
            text = text.replace(&tail, "");
        }
    }
    text
}
