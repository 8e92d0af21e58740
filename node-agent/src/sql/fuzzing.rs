//! Fuzz bodies.

use super::{StatementKind, analyze};
use crate::model::Dialect;

/// Any bytes: no panic, spans inside the text, a kind for every statement, the same answer twice.
pub fn fuzz_analyze(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let analysis = analyze(Dialect::Postgres, text);
    for statement in &analysis.statements {
        assert!(statement.span.start <= statement.span.end && statement.span.end <= text.len());
        assert!(!statement.kinds.is_empty());
        let opaque = statement.kinds.contains(&StatementKind::Opaque);
        assert!(!opaque || analysis.sureness != super::Sureness::Complete);
    }
    assert_eq!(analysis, analyze(Dialect::Postgres, text));
}
