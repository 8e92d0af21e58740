//! Pure. What is looked for, and what a line of a recording that holds it must hold as it is written.
//!
//! A recording is JSON as serde_json writes it: a character is itself, or one escape of its own. So a
//! text within a string is its escaped bytes within the line, and a line without them need not be
//! parsed.

use std::fmt::Write as _;

use regex::bytes;
use regex_syntax::hir::literal::{ExtractKind, Extractor, Seq};

/// Letters count as they are, or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "self-explanatory")]
pub enum Case {
    #[default]
    Counts,
    Ignored,
}

/// How a pattern is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Syntax {
    /// As it stands.
    #[default]
    Literal,
    /// As a regular expression (those of the `regex` crate: linear time, no look-around).
    Regex,
}

/// Not a regular expression, or one that would take too much memory.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotAPattern(Box<regex::Error>);

/// Something to look for.
#[derive(Debug)]
pub struct Pattern {
    exact: regex::Regex,
    /// Occurs in each line with a match; `None`: nothing is known to.
    line: Option<bytes::Regex>,
    /// Occurs in each line of a statement whose tables match.
    tables: Option<bytes::Regex>,
}

/// The longest compiled expression, bytes.
const SIZE: usize = 4 << 20;
/// More literals are shortened, so that they can be looked for all at once.
const FEW: usize = 16;

impl Pattern {
    /// Compiles it.
    pub fn new(text: &str, syntax: Syntax, case: Case) -> Result<Self, NotAPattern> {
        let text = match syntax {
            Syntax::Literal => regex::escape(text),
            Syntax::Regex => text.to_owned(),
        };
        let ignored = case == Case::Ignored;
        let wrong = |error| NotAPattern(Box::new(error));
        let exact = regex::RegexBuilder::new(&text)
            .case_insensitive(ignored)
            .size_limit(SIZE)
            .build()
            .map_err(wrong)?;
        let literals = literals(&text, ignored);
        let line = literals.as_ref().map(|found| written(found));
        let tables = literals.as_ref().map(|found| parts(found));
        Ok(Pattern {
            exact,
            // One that cannot be built tells nothing: then every line is parsed.
            line: line.and_then(|words| any(&words)),
            tables: tables.and_then(|words| any(&words)),
        })
    }

    /// The first match in a text, and how many more there are.
    pub(super) fn find(&self, text: &str) -> Option<(std::ops::Range<usize>, u64)> {
        let mut all = self.exact.find_iter(text);
        let first = all.next()?.range();
        Some((first, all.count() as u64))
    }

    /// The next place in a block, at or after `from`, that may be within a line with a match.
    pub(super) fn next(&self, block: &[u8], from: usize) -> Option<usize> {
        match &self.line {
            Some(line) if from <= block.len() => line.shortest_match_at(block, from),
            Some(_) => None,
            None => (from < block.len()).then_some(from + 1),
        }
    }

    /// May a statement's line name a table that matches? Schema and name stand apart in it.
    pub(super) fn in_tables(&self, line: &[u8]) -> bool {
        self.tables
            .as_ref()
            .is_none_or(|words| words.is_match(line))
    }
}

/// Bytes of which one at least is in every match: prefixes or suffixes, whichever say more.
fn literals(text: &str, ignored: bool) -> Option<Vec<Vec<u8>>> {
    let hir = regex_syntax::ParserBuilder::new()
        .case_insensitive(ignored)
        .build()
        .parse(text)
        .ok()?;
    let said = |kind: ExtractKind| {
        let mut seq = Extractor::new().kind(kind.clone()).extract(&hir);
        if seq.len().is_some_and(|count| count > FEW) {
            match kind {
                ExtractKind::Suffix => seq.keep_last_bytes(4),
                _ => seq.keep_first_bytes(4),
            }
            sort(&mut seq);
        }
        let found: Vec<Vec<u8>> = seq
            .literals()?
            .iter()
            .map(|literal| literal.as_bytes().to_vec())
            .collect();
        let shortest = found.iter().map(Vec::len).min()?;
        // A single byte is in every line.
        (shortest >= 2 && found.len() <= 256).then_some((shortest, found))
    };
    let (prefix, suffix) = (said(ExtractKind::Prefix), said(ExtractKind::Suffix));
    [prefix, suffix]
        .into_iter()
        .flatten()
        .max_by_key(|(shortest, found)| (*shortest, usize::MAX - found.len()))
        .map(|(_, found)| found)
}

fn sort(seq: &mut Seq) {
    seq.sort();
    seq.dedup();
}

/// As they stand in a line: within a text, or in hex within a binary value. What may be part of a binary
/// value that is shown as a number, a moment or the like makes every line with one worth a look.
fn written(found: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    for literal in found {
        words.push(escaped(literal));
        words.push(hex(literal));
    }
    if found.iter().any(|literal| computed(literal)) {
        words.push(b"{\"binary\":".to_vec());
    }
    words
}

/// The longest part between two dots.
fn parts(found: &[Vec<u8>]) -> Vec<Vec<u8>> {
    found
        .iter()
        .map(|literal| {
            let longest = literal.split(|b| *b == b'.').max_by_key(|part| part.len());
            escaped(longest.unwrap_or(literal))
        })
        .collect()
}

/// All of it can stand in the text form of a number, a truth value, a UUID, a moment or a row of hex.
fn computed(literal: &[u8]) -> bool {
    literal
        .iter()
        .all(|b| b.is_ascii_hexdigit() || b" .:+-\\xtTinNI".contains(b))
}

fn hex(bytes: &[u8]) -> Vec<u8> {
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}"); // a String takes everything
    }
    text.into_bytes()
}

/// As serde_json writes it within a string.
fn escaped(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 8);
    for byte in bytes {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(*byte),
        }
    }
    out
}

/// Any of these bytes.
fn any(words: &[Vec<u8>]) -> Option<bytes::Regex> {
    let mut text = String::from("(?-u)");
    for (at, word) in words.iter().enumerate() {
        if word.is_empty() {
            return None;
        }
        if at > 0 {
            text.push('|');
        }
        for byte in word {
            let _ = write!(text, "\\x{byte:02x}"); // a String takes everything
        }
    }
    bytes::RegexBuilder::new(&text)
        .size_limit(SIZE)
        .build()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str, syntax: Syntax, case: Case) -> Pattern {
        Pattern::new(text, syntax, case).unwrap()
    }

    #[test]
    fn what_matches_is_never_passed_over() {
        let (literal, regex) = (Syntax::Literal, Syntax::Regex);
        let (counts, ignored) = (Case::Counts, Case::Ignored);
        let table = [
            (
                pattern("a\"b\\c\nd\u{1b}é", literal, counts),
                "xa\"b\\c\nd\u{1b}éx",
            ),
            (pattern("customers", literal, ignored), "FROM CuStOmErS"),
            (pattern("straße", literal, ignored), "STRAẞE"),
            (pattern("k", literal, ignored), "\u{212a}"),
            (pattern("(Ada|Bruno) L.*", regex, counts), "Bruno Latour"),
            (pattern("^\\s+x$", regex, counts), "\n\tx"),
            (pattern("[0-9]{3}-[0-9]{2}", regex, counts), "123-45"),
            (pattern("x*", regex, counts), ""),
            (pattern("\u{7f}\u{202e}", literal, counts), "\u{7f}\u{202e}"),
        ];
        for (pattern, text) in table {
            assert!(pattern.find(text).is_some(), "{text:?}");
            let line = format!("{{\"text\":{}}}", serde_json::to_string(text).unwrap());
            assert!(pattern.next(line.as_bytes(), 0).is_some(), "{line}");
        }
        let never = pattern("abcdef", literal, counts);
        assert_eq!(never.next(b"{\"text\":\"abcde\"}", 0), None);
    }

    #[test]
    fn anything_taken_from_a_text_is_found_in_its_line() {
        bolero::check!()
            .with_type::<(String, usize, usize)>()
            .for_each(|(text, from, length)| {
                let chars: Vec<char> = text.chars().collect();
                let from = from % (chars.len() + 1);
                let needle: String = chars.iter().skip(from).take(length % 20).collect();
                for case in [Case::Counts, Case::Ignored] {
                    let pattern = pattern(&needle, Syntax::Literal, case);
                    assert!(pattern.find(text).is_some());
                    let line = serde_json::to_string(text).unwrap();
                    assert!(
                        pattern.next(line.as_bytes(), 0).is_some(),
                        "{needle:?} in {line}"
                    );
                }
            });
    }

    #[test]
    fn binary_values_are_worth_a_look_only_for_what_they_may_show() {
        let binary = b"{\"binary\":\"0000002a\"}";
        for (text, look) in [
            ("42", true),
            ("2026-01", true),
            ("Ada", true),
            ("Ada L", false),
            ("true", false),
        ] {
            let pattern = pattern(text, Syntax::Literal, Case::Counts);
            assert_eq!(pattern.next(binary, 0).is_some(), look, "{text}");
        }
        let pattern = pattern("Ada L", Syntax::Literal, Case::Counts);
        assert!(pattern.next(b"{\"binary\":\"0041646120\"}", 0).is_none());
        assert!(pattern.next(b"{\"binary\":\"00416461204c\"}", 0).is_some());
    }
}
