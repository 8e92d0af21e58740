//! PostgreSQL: the server's grammar (`pg_query`), then our own walk of its tree.

use std::ops::Range;

use pg_query::protobuf::node::Node as N;

use super::second::{self, First, Known};
use super::{Analysis, CopyOut, StatementKind, Sureness};

mod attribute;
mod copied;
mod expression;
mod failing;
pub(in crate::sql) mod names;
mod query;
mod settings;
pub(in crate::sql) mod types;
mod utility;
mod walk;

use walk::Walk;

/// Facts (names, columns) one statement may yield before it is called opaque: policy looks at
/// each of them.
const MAX_FACTS: usize = 20_000;

/// The tree of a text; `None`: it does not parse, or would take too long to.
pub(super) fn tree(text: &str) -> Option<pg_query::ParseResult> {
    scans_fast(text).then(|| pg_query::parse(text, 0).ok())?
}

/// Parses and walks. The parser's recursion limits (the grammar's own stack check, and the depth
/// limit of the tree's decoding) come back as errors, so the walk below is bounded too.
pub(super) fn analyze(text: &str, known: Known) -> Analysis {
    if !scans_fast(text) {
        return Analysis::opaque(
            "a run of operator or comment signs is too long to be analysed".to_owned(),
        );
    }
    let parsed = match pg_query::parse(text, 0) {
        Ok(parsed) => parsed,
        Err(error) => return Analysis::opaque(reason(&error)),
    };
    let mut analysis = Analysis::default();
    let mut misread = Vec::with_capacity(parsed.protobuf.stmts.len());
    for raw in &parsed.protobuf.stmts {
        let span = span(text, raw.stmt_location, raw.stmt_len);
        let mut walk = Walk::new();
        walk.optional(raw.stmt.as_deref());
        misread.push(walk.misread);
        let (mut facts, doubt) = walk.finish(span);
        if let Some(N::CopyStmt(copy)) = raw.stmt.as_deref().and_then(|stmt| stmt.node.as_ref())
            && facts.kinds.contains(&StatementKind::CopyOut)
        {
            facts.copy = Some(match parsed.protobuf.stmts.len() {
                1 => copied::copied(text, copy, &facts),
                _ => CopyOut::Otherwise("it stands in one text with other statements"),
            });
        }
        if facts.columns.len() + facts.relations.len() + facts.functions.len() > MAX_FACTS {
            return Analysis::opaque(format!("a statement has more than {MAX_FACTS} names"));
        }
        analysis.statements.push(facts);
        if let Some(doubt) = doubt {
            analysis.sureness = Sureness::Opaque(doubt);
        }
    }
    let first: Vec<First<'_>> = analysis
        .statements
        .iter()
        .zip(misread)
        .map(|(facts, misread)| First { facts, misread })
        .collect();
    let second = second::hear(text, &analysis.sureness, &first, known);
    analysis.second = second;
    analysis
}

/// Whether the grammar's scanner gets through in time. It matches a run of operator signs whole,
/// takes one sign or one `/*` of it, and matches the rest again: 256 KiB of `/*` would take it
/// minutes.
fn scans_fast(text: &str) -> bool {
    /// Shorter runs are in every banner of a comment, and cost nothing.
    const SHORT: usize = 256;
    /// Some 50 ms.
    const MOST: usize = 16 << 20;
    let mut cost = 0_usize;
    let mut run = 0_usize;
    for byte in text.bytes().chain([b' ']) {
        if b"~!@#^&|`?+-*/%<>=".contains(&byte) {
            run += 1;
        } else if run > 0 {
            if run > SHORT {
                cost = cost.saturating_add(run.saturating_mul(run));
            }
            run = 0;
        }
    }
    cost <= MOST
}

/// Why the parser gave up, without quoting the text: its messages may hold literals.
fn reason(error: &pg_query::Error) -> String {
    match error {
        pg_query::Error::Conversion(_) => "the text has a NUL character".to_owned(),
        pg_query::Error::Decode(_) => "the text is nested too deeply to be analysed".to_owned(),
        pg_query::Error::Parse(message) => {
            // `syntax error at or near "…"` quotes a piece of the text, possibly a secret.
            match message.split_once(" at or near ") {
                Some((what, _)) => format!("the text does not parse: {what}"),
                None if message.starts_with("syntax error") => {
                    "the text does not parse: syntax error".to_owned()
                }
                None if message.contains("stack depth") => {
                    "the text is nested too deeply to be analysed".to_owned()
                }
                None => "the text does not parse".to_owned(),
            }
        }
        pg_query::Error::InvalidJson(_)
        | pg_query::Error::InvalidPointer
        | pg_query::Error::Scan(_)
        | pg_query::Error::IsUtility(_)
        | pg_query::Error::Split(_) => "the text does not parse".to_owned(),
    }
}

/// The grammar's location and length (0: to the end), trimmed of white space and clamped.
fn span(text: &str, location: i32, length: i32) -> Range<usize> {
    let start = usize::try_from(location).unwrap_or(0).min(text.len());
    let end = match usize::try_from(length) {
        Ok(0) | Err(_) => text.len(),
        Ok(length) => start.saturating_add(length).min(text.len()),
    };
    match text.get(start..end) {
        Some(piece) => {
            let lead = piece.len() - piece.trim_start().len();
            let tail = piece.len() - piece.trim_end().trim_end_matches(';').len();
            let start = start + lead;
            start..end.saturating_sub(tail).max(start)
        }
        // Never inside a character in practice; the whole text is the safe answer.
        None => 0..text.len(),
    }
}
