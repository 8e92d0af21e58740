//! What classifies a column besides its name: tags in the comments of the catalogue, and the names that it
//! had before.
//!
//! A tag is two or more words with a colon between each: letters, digits, `_` and `-`, of which the first
//! is a letter. Any other character parts one tag from the next, so that `Tax number (pii:ssn, gdpr:art9).`
//! has two. Case makes no difference.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::compile::CompiledMask;
use super::pattern::{ColumnName, Glob, TablePattern};
use super::{ColumnPattern, MaskRule};

/// A tag, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tag(Box<str>);

/// The most bytes of one tag; what is longer is none.
const LONGEST: usize = 256;

impl Tag {
    /// The tags in a comment, each once.
    pub fn all_in(comment: &str) -> Vec<Tag> {
        let mut tags: Vec<Tag> = Vec::new();
        for piece in comment.split(|c: char| !of_word(c) && c != ':') {
            // What only ends a sentence or opens a list is no part of it.
            let piece = piece.trim_matches(':');
            let letter = piece.starts_with(char::is_alphabetic);
            let whole = piece.split(':').all(|word| !word.is_empty());
            if letter && whole && piece.contains(':') && piece.len() <= LONGEST {
                let tag = Tag(piece.to_lowercase().into());
                if !tags.contains(&tag) {
                    tags.push(tag);
                }
            }
        }
        tags
    }

    /// As it is compared.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a character may be in a tag's words.
pub(super) fn of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}

/// A column that the catalogue classifies besides its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Classified {
    /// The relation's schema.
    pub schema: String,
    /// The relation.
    pub table: String,
    /// The column; `*`: all of them.
    pub column: String,
    /// Tags of its comment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// `[schema, table, column]` that it was called before, as far as the agent saw it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub formerly: Vec<[String; 3]>,
}

impl Classified {
    /// The pattern that is about it and nothing else. (A star in a name stands for more than itself then:
    /// more is masked, never less.)
    fn pattern(&self) -> ColumnPattern {
        ColumnPattern {
            schema: self.schema.clone(),
            table: self.table.clone(),
            column: self.column.clone(),
        }
    }
}

impl MaskRule {
    /// Whether it is about a column for what the catalogue says of it.
    pub fn classifies(&self, column: &Classified) -> bool {
        let tagged = |tag| self.tags.iter().any(|pattern| pattern.matches(tag));
        let named = |[schema, table, column]: &[String; 3]| {
            let mut patterns = self.columns.iter();
            patterns.any(|pattern| pattern.covers(schema, table, column))
        };
        column.tags.iter().any(tagged) || column.formerly.iter().any(named)
    }

    /// With these columns beside its own, as far as it is about them.
    pub fn with_classified<'a>(
        &self,
        columns: impl Iterator<Item = &'a Classified>,
    ) -> Cow<'_, Self> {
        let mut whole = Cow::Borrowed(self);
        for column in columns.filter(|column| self.classifies(column)) {
            let pattern = column.pattern();
            if !whole.columns.contains(&pattern) {
                whole.to_mut().columns.push(pattern);
            }
        }
        whole
    }
}

impl ColumnPattern {
    /// Whether it is about what a column was called. A name that is `*` stands for all.
    fn covers(&self, schema: &str, table: &str, column: &str) -> bool {
        let meets = |pattern: &str, name: &str| Glob::new(pattern).meets(name);
        meets(&self.schema, schema) && meets(&self.table, table) && meets(&self.column, column)
    }
}

impl CompiledMask {
    /// The mask as it holds for relations of which the catalogue says so much: a column that is classified
    /// counts as one that is named.
    pub(super) fn within<'a>(&'a self, columns: &[Classified]) -> Cow<'a, CompiledMask> {
        let mut whole = Cow::Borrowed(self);
        for column in columns.iter().filter(|column| self.mask.classifies(column)) {
            let exact = |name: &str| Glob::Exact(name.into());
            let named = ColumnName {
                of: TablePattern {
                    schema: exact(&column.schema),
                    table: exact(&column.table),
                },
                column: match &*column.column {
                    "*" => Glob::Any,
                    name => exact(name),
                },
            };
            if !whole.columns.contains(&named) {
                let whole = whole.to_mut();
                whole.mask.columns.push(column.pattern());
                whole.columns.push(named);
            }
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::cases::Asker;
    use crate::policy::{Decision, PolicySet, Question, ResolvedNames, decide, parse};
    use crate::sql::RelationName;

    #[test]
    fn a_comment_has_the_tags_that_its_words_make() {
        for (comment, want) in [
            ("", &[][..]),
            ("The social security number", &[]),
            ("pii:ssn", &["pii:ssn"]),
            (
                "Tax number (pii:ssn, gdpr:art9).",
                &["pii:ssn", "gdpr:art9"],
            ),
            ("[PII:SSN] and again pii:ssn", &["pii:ssn"]),
            (
                "pii:ssn; \"pii:e-mail\"\n{a_b:c}",
                &["pii:ssn", "pii:e-mail", "a_b:c"],
            ),
            ("pii:ssn:us", &["pii:ssn:us"]),
            ("tags: pii:ssn: old", &["pii:ssn"]),
            ("see https://x.example at 12:30, note: none", &[]),
            ("pii::ssn :pii", &[]),
            ("größe:Ä", &["größe:ä"]),
        ] {
            let found = Tag::all_in(comment);
            let found: Vec<&str> = found.iter().map(Tag::as_str).collect();
            assert_eq!(found, want, "{comment}");
        }
        let long = format!("pii:{}", "x".repeat(LONGEST));
        assert_eq!(Tag::all_in(&long), []);
    }

    fn classified(column: &str, tags: &str, formerly: &[[&str; 3]]) -> Classified {
        Classified {
            schema: "sales".to_owned(),
            table: "customers".to_owned(),
            column: column.to_owned(),
            tags: Tag::all_in(tags),
            formerly: formerly.iter().map(|one| one.map(str::to_owned)).collect(),
        }
    }

    fn set(mask: &str) -> PolicySet {
        let text = format!(
            "apiVersion: node-agent/v1\nkind: Policy\nmetadata: {{ name: p }}\n\
             subjects: [ {{ groups: [ai-agents] }} ]\ntargets: [ '*' ]\n\
             rules: [ {{ name: all, effect: allow, statements: ['*'], tables: ['*.*'], without_where: true }} ]\n\
             masks: [ {{ name: m, {mask}, with: redact }} ]\n"
        );
        PolicySet::compile(parse(&text, "p.yaml").unwrap()).unwrap()
    }

    fn question(text: &str, column: &Classified) -> Question {
        let question = Asker::default().question(text).unwrap();
        let relation = |schema: Option<&str>| RelationName {
            schema: schema.map(str::to_owned),
            name: "customers".to_owned(),
        };
        let view = RelationName {
            schema: Some("app".to_owned()),
            name: "v".to_owned(),
        };
        let names = ResolvedNames {
            relations: vec![
                (relation(None), vec!["sales".to_owned()]),
                (view.clone(), vec!["app".to_owned()]),
            ],
            reaches: vec![(view, vec![("sales".to_owned(), "customers".to_owned())])],
            classified: vec![column.clone()],
            ..ResolvedNames::default()
        };
        Question {
            names: std::sync::Arc::new(names),
            ..question
        }
    }

    /// What becomes of a statement: refused, or whether it touches what is masked.
    fn decided(set: &PolicySet, text: &str, column: &Classified) -> Result<bool, String> {
        match decide(set, &question(text, column)) {
            Decision::Allow(allow) => Ok(allow.obligations.touches_masked),
            Decision::Deny(denial) => Err(denial.refusal.message),
            Decision::Hold(_) => panic!("{text}"),
        }
    }

    #[test]
    fn a_column_that_is_classified_is_masked_as_one_that_is_named() {
        let tags = set("tags: ['pii:*']");
        let names = set("columns: [sales.customers.ssn]");
        let either = set("columns: [hr.people.nin], tags: ['x:y', 'pii:ssn']");
        let tagged = classified("ssn", "pii:ssn", &[]);
        let none = classified("ssn", "gdpr:art9", &[]);
        for text in [
            "select ssn from sales.customers",
            "select id from customers",
            "select upper(ssn) from app.v",
            "select id from sales.customers where ssn = 'x'",
            "select id from customers where id = 1",
            "select s from (select ssn as s from customers) x order by s",
            "insert into app.t select ssn from sales.customers",
            "copy sales.customers to stdout",
            "alter table sales.customers rename column ssn to s",
            "select 1 from app.t where ssn = 'x'",
            "select v from app.other",
        ] {
            let named = decided(&names, text, &none);
            for set in [&tags, &either] {
                assert_eq!(decided(set, text, &tagged), named, "{text}");
            }
            assert_eq!(
                decided(&tags, text, &none).ok(),
                decided(&names, "select 1 from app.t", &none).ok(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_mask_follows_a_column_that_got_another_name() {
        let names = set("columns: [sales.people.ssn]");
        let moved = classified("social", "", &[["sales", "people", "ssn"]]);
        for (text, want) in [
            ("select social from sales.customers", Ok(true)),
            ("select id from sales.customers where id = 1", Ok(true)),
            ("select id from app.t", Ok(false)),
        ] {
            assert_eq!(decided(&names, text, &moved), want, "{text}");
        }
        let refused = decided(
            &names,
            "select id from customers where social = 'x'",
            &moved,
        );
        assert!(refused.is_err());
    }

    #[test]
    fn a_tag_is_not_commented_away() {
        let tags = set("tags: ['pii:ssn']");
        let tagged = classified("ssn", "pii:ssn", &[]);
        for text in [
            "comment on column sales.customers.ssn is ''",
            "comment on column customers.ssn is null",
            "comment on table sales.customers is 'x'",
        ] {
            let refused = decided(&tags, text, &tagged).unwrap_err();
            assert!(refused.contains("comment"), "{text}: {refused}");
        }
        for text in [
            "comment on column sales.orders.note is 'x'",
            "comment on table app.t is 'x'",
        ] {
            assert_eq!(decided(&tags, text, &tagged), Ok(false), "{text}");
        }
        // A mask by names does not hang on comments.
        let names = set("columns: [sales.customers.ssn]");
        let text = "comment on column sales.customers.ssn is 'x'";
        assert_eq!(decided(&names, text, &tagged), Ok(true));
    }
}
