//! Patterns over names. `*` stands for any run of characters; names are compared as the server
//! folds them: unquoted in lower case, quoted as they are.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{ColumnPattern, Tag};

/// A glob with `*` only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Glob {
    /// `*`
    Any,
    /// No star.
    Exact(Box<str>),
    /// With stars.
    Pattern(Box<str>),
}

impl Glob {
    /// Reads a pattern; case is kept.
    pub fn new(text: &str) -> Self {
        if !text.is_empty() && text.bytes().all(|b| b == b'*') {
            Glob::Any
        } else if text.contains('*') {
            Glob::Pattern(text.into())
        } else {
            Glob::Exact(text.into())
        }
    }

    /// Whether it matches the whole name.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Glob::Any => true,
            Glob::Exact(exact) => **exact == *name,
            Glob::Pattern(pattern) => glob(pattern.as_bytes(), name.as_bytes()),
        }
    }

    /// Whether it covers a name that itself may be `*`, standing for all.
    pub(super) fn covers(&self, name: &str) -> bool {
        if name == "*" {
            *self == Glob::Any
        } else {
            self.matches(name)
        }
    }

    /// Whether it may match a name that itself may be `*`, standing for any.
    pub(super) fn meets(&self, name: &str) -> bool {
        name == "*" || self.matches(name)
    }
}

/// Linear in the name for each star: keeps the last star to come back to.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            back = Some((p, n));
            p += 1;
        } else if pattern.get(p).is_some() && pattern.get(p) == name.get(n) {
            p += 1;
            n += 1;
        } else if let Some((star, from)) = back {
            p = star + 1;
            n = from + 1;
            back = Some((star, n));
        } else {
            return false;
        }
    }
    pattern.iter().skip(p).all(|b| *b == b'*')
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Glob::Any => "*",
            Glob::Exact(text) | Glob::Pattern(text) => text,
        })
    }
}

/// Parts between dots; a part in double quotes keeps its case and may hold a dot.
fn parts(text: &str) -> Result<Vec<Glob>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (part, tail) = if let Some(quoted) = rest.strip_prefix('"') {
            let (name, tail) = quoted
                .split_once('"')
                .ok_or_else(|| format!("`{text}` has an open quote"))?;
            // Within quotes a star is a star of the name; such names are not supported.
            if name.contains('*') {
                return Err(format!(
                    "`{text}`: a quoted part is exact and cannot hold `*`"
                ));
            }
            (Glob::Exact(name.into()), tail)
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            let (name, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
            if name.contains(|c: char| c.is_whitespace() || c == '"') {
                return Err(format!(
                    "`{text}` is not a name: quote what has spaces or quotes"
                ));
            }
            (Glob::new(&name.to_lowercase()), tail)
        };
        if part == Glob::Exact("".into()) {
            return Err(format!("`{text}` has an empty part"));
        }
        parts.push(part);
        match tail.strip_prefix('.') {
            Some(next) => rest = next,
            None if tail.is_empty() => return Ok(parts),
            None => return Err(format!("`{text}` is not a dotted name")),
        }
    }
}

/// `schema.table`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablePattern {
    /// The schema.
    pub schema: Glob,
    /// The table, view, sequence, …
    pub table: Glob,
}

impl TablePattern {
    /// `*.*`
    pub fn every() -> Self {
        TablePattern {
            schema: Glob::Any,
            table: Glob::Any,
        }
    }

    /// Whether it is `*.*`.
    pub fn is_every(&self) -> bool {
        self.schema == Glob::Any && self.table == Glob::Any
    }

    fn read(text: &str) -> Result<Self, String> {
        let parts = parts(text)?;
        match <[Glob; 2]>::try_from(parts) {
            Ok([schema, table]) => Ok(TablePattern { schema, table }),
            Err(_) => Err(format!(
                "`{text}` is not schema.table; in any schema it is `*.{}`",
                text.rsplit('.').next().unwrap_or("table")
            )),
        }
    }
}

impl fmt::Display for TablePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

/// `schema.table.column`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnName {
    /// Of the table.
    pub of: TablePattern,
    /// The column.
    pub column: Glob,
}

impl ColumnName {
    /// `*.*.*`
    pub(super) fn every() -> Self {
        ColumnName {
            of: TablePattern::every(),
            column: Glob::Any,
        }
    }

    /// Whether it is about a column.
    pub(super) fn matches(&self, schema: &str, table: &str, column: &str) -> bool {
        self.of.schema.matches(schema)
            && self.of.table.matches(table)
            && self.column.matches(column)
    }

    fn read(text: &str) -> Result<Self, String> {
        let parts = parts(text)?;
        match <[Glob; 3]>::try_from(parts) {
            Ok([schema, table, column]) => Ok(ColumnName {
                of: TablePattern { schema, table },
                column,
            }),
            Err(_) => Err(format!("`{text}` is not schema.table.column")),
        }
    }

    /// As the mask room wants it.
    pub(super) fn plain(&self) -> ColumnPattern {
        ColumnPattern {
            schema: self.of.schema.to_string(),
            table: self.of.table.to_string(),
            column: self.column.to_string(),
        }
    }
}

impl fmt::Display for ColumnName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.of, self.column)
    }
}

/// `schema.name(*)`, or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FunctionPattern {
    /// Every function there is, the dangerous ones too.
    Every,
    /// Those in a schema.
    Named {
        /// The schema.
        schema: Glob,
        /// The name.
        name: Glob,
    },
}

impl FunctionPattern {
    fn read(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(FunctionPattern::Every);
        }
        let name = text.strip_suffix("(*)").unwrap_or(text);
        let shape = || format!("`{text}` is not schema.name(*), nor `*` for every function");
        match <[Glob; 2]>::try_from(parts(name).map_err(|_| shape())?) {
            Ok([schema, name]) => Ok(FunctionPattern::Named { schema, name }),
            Err(_) => Err(shape()),
        }
    }

    /// Whether it covers a call. An unqualified call may reach any schema.
    pub(super) fn covers(&self, schema: Option<&str>, name: &str) -> bool {
        match self {
            FunctionPattern::Every => true,
            FunctionPattern::Named { schema: s, name: n } => {
                n.matches(name) && schema.map_or(*s == Glob::Any, |schema| s.matches(schema))
            }
        }
    }

    /// Whether it may be about a call.
    pub(super) fn meets(&self, schema: Option<&str>, name: &str) -> bool {
        match self {
            FunctionPattern::Every => true,
            FunctionPattern::Named { schema: s, name: n } => {
                n.matches(name) && schema.is_none_or(|schema| s.matches(schema))
            }
        }
    }
}

impl fmt::Display for FunctionPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FunctionPattern::Every => f.write_str("*"),
            FunctionPattern::Named { schema, name } => write!(f, "{schema}.{name}(*)"),
        }
    }
}

/// `word:word` of a tag, with `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagPattern(Glob);

impl TagPattern {
    fn read(text: &str) -> Result<Self, String> {
        let of_tag = |c: char| super::tags::of_word(c) || c == ':' || c == '*';
        if !text.contains(':') || !text.chars().all(of_tag) {
            return Err(format!(
                "`{text}` is not a tag such as `pii:ssn`, nor a pattern of tags such as `pii:*`"
            ));
        }
        Ok(TagPattern(Glob::new(&text.to_lowercase())))
    }

    /// Whether it is about a tag.
    pub fn matches(&self, tag: &Tag) -> bool {
        self.0.matches(tag.as_str())
    }
}

impl fmt::Display for TagPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! text_form {
    ($name:ident, $expecting:literal, $read:expr) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        let read: fn(&str) -> Result<$name, String> = $read;
                        read(text).map_err(E::custom)
                    }
                }
                from.deserialize_str(Visitor)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
    };
}

text_form!(Glob, "a name, with `*` for any run of characters", |t| {
    if t.is_empty() {
        Err("an empty name".to_owned())
    } else {
        Ok(Glob::new(t))
    }
});
text_form!(TablePattern, "schema.table", TablePattern::read);
text_form!(ColumnName, "schema.table.column", ColumnName::read);
text_form!(TagPattern, "a tag", TagPattern::read);
text_form!(
    FunctionPattern,
    "schema.name(*) or *",
    FunctionPattern::read
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_names() {
        for (pattern, name, want) in [
            ("*", "", true),
            ("a*", "abc", true),
            ("a*", "ba", false),
            ("*c", "abcc", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abde", false),
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("**", "x", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(name), want, "{pattern} {name}");
        }
    }

    #[test]
    fn table_patterns_fold_as_the_server_does() {
        let pattern = TablePattern::read("Sales.\"Orders.x\"").unwrap();
        assert_eq!(pattern.schema, Glob::Exact("sales".into()));
        assert_eq!(pattern.table, Glob::Exact("Orders.x".into()));
        for bad in ["orders", "a.b.c", "a..b", "\"a.b", "a b.c", "\"a*\".b", ""] {
            assert!(TablePattern::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pattern_of_tags_has_the_form_of_a_tag() {
        let tag = |text| Tag::all_in(text).remove(0);
        for (pattern, text, want) in [
            ("pii:ssn", "pii:ssn", true),
            ("PII:Ssn", "pii:SSN", true),
            ("pii:ssn", "pii:ssn-us", false),
            ("pii:*", "pii:ssn:us", true),
            ("*:ssn", "hr:ssn", true),
            ("pii:*", "pi:ssn", false),
        ] {
            let pattern = TagPattern::read(pattern).unwrap();
            assert_eq!(pattern.matches(&tag(text)), want, "{pattern} {text}");
        }
        for bad in ["pii", "*", "", "pii ssn:x", "pii:ssn,us", "pii.ssn"] {
            assert!(TagPattern::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_unqualified_call_is_covered_only_in_any_schema() {
        let named = FunctionPattern::read("app.price(*)").unwrap();
        assert!(named.covers(Some("app"), "price"));
        assert!(!named.covers(None, "price"));
        assert!(named.meets(None, "price"));
        assert!(
            FunctionPattern::read("*.price")
                .unwrap()
                .covers(None, "price")
        );
        assert!(FunctionPattern::read("price").is_err());
    }
}
