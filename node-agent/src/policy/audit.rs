//! Which mask is about which column of a database, and which columns look as if one should be.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::document::{Document, Mask, Mode, Predicates, Subject};
use super::inventory::{Column, Inventory, Table};
use super::likeness::looks_like;
use super::{Masker, Tag};

/// What came of holding a database against policies.
#[derive(Clone, Debug, Serialize)]
pub struct Audit {
    /// Every column of every relation, in the order of schema, relation and position.
    pub columns: Vec<AuditedColumn>,
    /// What masks name, and no column has.
    pub idle: Vec<Idle>,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AuditedColumn {
    /// Its relation's schema.
    pub schema: String,
    /// Its relation.
    pub table: String,
    /// `table`, `view`, …
    pub kind: String,
    /// Its name.
    pub column: String,
    /// Its type, as the server writes it.
    #[serde(rename = "type")]
    pub of: String,
    /// Its tags, with those of its relation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// The masks that are about it.
    pub masks: Vec<AuditedMask>,
    /// `schema.table` of views and parents that read its relation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub read_by: Vec<String>,
    /// What its name looks like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub looks_like: Option<&'static str>,
    /// What its values look like, where some were read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub found: Vec<Share>,
    /// It looks like personal data or a secret, and no mask is about it.
    pub unruled: bool,
}

/// How many of the values that were read look like something.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Share {
    /// Like what.
    pub detector: &'static str,
    /// Of all that are not NULL, from 0 to 1.
    pub share: f64,
}

/// A mask that is about a column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditedMask {
    /// `metadata.name`.
    pub policy: String,
    /// The mask's name.
    pub mask: String,
    /// The pattern, or the tag.
    pub by: String,
    /// The relation on which it meets that, where it is another: what a view reads, or a parent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub through: Option<String>,
    /// The relation reads what is masked under another name: unless it can be shown where a value comes from, the
    /// column is masked whole.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub whole: bool,
    /// What replaces a value.
    pub with: Masker,
    /// Whether a statement may decide by the column.
    pub predicates: Predicates,
    /// For whom, in words.
    pub subjects: Vec<String>,
    /// Who sees the values, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unless: Option<String>,
    /// Its policy only observes: nothing is masked.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub observes: bool,
}

/// A pattern or tag that no column has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Idle {
    /// `metadata.name`.
    pub policy: String,
    /// The mask's name.
    pub mask: String,
    /// As it is written.
    pub by: String,
}

/// Holds documents about a target (without one: all) against its database.
pub fn audit(documents: &[Document], inventory: &Inventory, target: Option<&str>) -> Audit {
    let about = |d: &&Document| target.is_none_or(|t| d.targets.iter().any(|one| one.matches(t)));
    let masks: Vec<(&Document, &Mask)> = documents
        .iter()
        .filter(about)
        .flat_map(|document| document.masks.iter().map(move |mask| (document, mask)))
        .collect();
    let tables: BTreeMap<(&str, &str), &Table> = inventory
        .relations
        .iter()
        .map(|table| ((table.schema.as_str(), table.name.as_str()), table))
        .collect();
    let mut readers: BTreeMap<(&str, &str), BTreeSet<String>> = BTreeMap::new();
    for table in &inventory.relations {
        for (schema, name) in &table.reaches {
            let own = format!("{}.{}", table.schema, table.name);
            readers.entry((schema, name)).or_default().insert(own);
        }
    }
    let mut columns = Vec::new();
    for table in &inventory.relations {
        // Itself first, so that a mask that is about it by its own name says so.
        let reached = table.reaches.iter();
        let sources: Vec<&Table> = std::iter::once(table)
            .chain(reached.filter_map(|(s, n)| tables.get(&(s.as_str(), n.as_str())).copied()))
            .collect();
        let own = (table.schema.as_str(), table.name.as_str());
        for column in &table.columns {
            let mut found: Vec<AuditedMask> = Vec::new();
            for (document, mask) in &masks {
                let on = sources.iter().find_map(|source| {
                    let by = named(mask, source, &column.name)?;
                    Some((*source, by, false))
                });
                // Of a view any column may come from any that it reads.
                let on = on.or_else(|| {
                    let reads = table.kind.ends_with("view") || table.kind == "foreign table";
                    let mut below = sources.iter().skip(1).filter(|_| reads);
                    below.find_map(|source| {
                        let mut theirs = source.columns.iter();
                        let by = theirs.find_map(|one| named(mask, source, &one.name))?;
                        Some((*source, by, true))
                    })
                });
                let Some((source, by, whole)) = on else {
                    continue;
                };
                let elsewhere = !std::ptr::eq(source, table);
                found.push(AuditedMask {
                    policy: document.metadata.name.clone(),
                    mask: mask.name.clone(),
                    by,
                    through: elsewhere.then(|| format!("{}.{}", source.schema, source.name)),
                    whole,
                    with: mask.with.clone(),
                    predicates: mask.predicates,
                    subjects: document.subjects.iter().map(words).collect(),
                    unless: mask.unless.as_ref().map(words),
                    observes: document.mode == Mode::Observe,
                });
            }
            let looks_like = looks_like(&column.name, &column.of);
            // What a view shows is ruled where it is stored, unless code makes it.
            let stored = !table.kind.ends_with("view") || table.by_code;
            let masked = found.iter().any(|mask| !mask.observes);
            columns.push(AuditedColumn {
                schema: table.schema.clone(),
                table: table.name.clone(),
                kind: table.kind.clone(),
                column: column.name.clone(),
                of: column.of.clone(),
                tags: tags(table, column),
                masks: found,
                read_by: readers.get(&own).into_iter().flatten().cloned().collect(),
                looks_like,
                found: Vec::new(),
                unruled: looks_like.is_some() && stored && !masked,
            });
        }
    }
    let idle = masks
        .iter()
        .flat_map(|(document, mask)| {
            let all = mask.columns.iter().map(ToString::to_string);
            let all = all.chain(mask.tags.iter().map(ToString::to_string));
            all.map(move |by| (*document, *mask, by))
        })
        .filter(|(_, mask, by)| !anywhere(mask, by, inventory))
        .map(|(document, mask, by)| Idle {
            policy: document.metadata.name.clone(),
            mask: mask.name.clone(),
            by,
        })
        .collect();
    Audit { columns, idle }
}

/// From this share on values say what a column is.
const TELLING: f64 = 0.1;

impl AuditedColumn {
    /// Adds what came of so many values: for each detector, how many it was.
    pub fn sampled(&mut self, values: u32, found: impl IntoIterator<Item = (&'static str, u32)>) {
        let share = |(detector, count): (&'static str, u32)| Share {
            detector,
            share: f64::from(count) / f64::from(values.max(1)),
        };
        self.found = found.into_iter().map(share).collect();
        self.found.sort_by(|a, b| b.share.total_cmp(&a.share));
        let masked = self.masks.iter().any(|mask| !mask.observes);
        self.unruled |= !masked && self.found.iter().any(|found| found.share >= TELLING);
    }
}

/// Whether one pattern or tag of a mask is met by any column.
fn anywhere(mask: &Mask, by: &str, inventory: &Inventory) -> bool {
    let column = mask
        .columns
        .iter()
        .find(|pattern| pattern.to_string() == by);
    let tag = mask.tags.iter().find(|tag| tag.to_string() == by);
    inventory.relations.iter().any(|table| {
        table.columns.iter().any(|one| {
            column.is_some_and(|column| column.matches(&table.schema, &table.name, &one.name))
                || tag.is_some_and(|tag| tags(table, one).iter().any(|found| tag.matches(found)))
        })
    })
}

/// By which pattern or tag a mask is about a column of that name of a relation.
fn named(mask: &Mask, table: &Table, column: &str) -> Option<String> {
    let mut patterns = mask.columns.iter();
    let pattern = patterns.find(|pattern| pattern.matches(&table.schema, &table.name, column));
    pattern.map(ToString::to_string).or_else(|| {
        let column = table.columns.iter().find(|one| one.name == column)?;
        let found = tags(table, column);
        let mut tags = mask.tags.iter();
        let tag = tags.find(|pattern| found.iter().any(|tag| pattern.matches(tag)));
        tag.map(ToString::to_string)
    })
}

/// A column's own tags, and its relation's.
fn tags(table: &Table, column: &Column) -> Vec<Tag> {
    let all: BTreeSet<&Tag> = table.tags.iter().chain(&column.tags).collect();
    all.into_iter().cloned().collect()
}

/// A subject in words: `groups ai-agents, workloads claude`.
fn words(subject: &Subject) -> String {
    let lists = [
        ("groups", &subject.groups),
        ("users", &subject.users),
        ("issuers", &subject.issuers),
        ("workloads", &subject.workloads),
        ("databases", &subject.databases),
        ("roles", &subject.roles),
    ];
    let lists = lists.into_iter().filter_map(|(key, globs)| {
        let globs: Vec<String> = globs.as_ref()?.iter().map(ToString::to_string).collect();
        Some(format!("{key} {}", globs.join(" or ")))
    });
    let maps = [("label", &subject.labels), ("claim", &subject.claims)];
    let maps = maps.into_iter().flat_map(|(key, map)| {
        let all = map.iter().flatten();
        all.map(move |(name, glob)| format!("{key} {name}={glob}"))
    });
    lists.chain(maps).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::parse;

    const INVENTORY: &str = r#"{
        "apiVersion": "node-agent/v1", "kind": "Catalogue", "database": "app",
        "relations": [
            { "schema": "hr", "name": "people", "kind": "table", "columns": [
                { "name": "id", "type": "bigint" },
                { "name": "ssn", "type": "text", "tags": ["pii:ssn"] },
                { "name": "email", "type": "text" },
                { "name": "phone", "type": "text" } ] },
            { "schema": "hr", "name": "vault", "kind": "table", "tags": ["secret:all"], "columns": [
                { "name": "payload", "type": "bytea" } ] },
            { "schema": "hr", "name": "v", "kind": "view", "reaches": [["hr", "people"]], "columns": [
                { "name": "ssn", "type": "text" },
                { "name": "phone", "type": "text" },
                { "name": "x", "type": "text" } ] },
            { "schema": "hr", "name": "by_code", "kind": "view", "by_code": true, "columns": [
                { "name": "iban", "type": "text" } ] } ] }"#;

    const POLICY: &str = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: p }
subjects: [ { groups: [ai-agents], workloads: [claude] } ]
targets: [ orders ]
masks:
  - { name: tagged, tags: ['pii:*', 'secret:*', 'gdpr:*'], with: redact, unless: { groups: [dpo] } }
  - { name: mail, columns: [hr.people.email, hr.gone.email], with: token }
---
apiVersion: node-agent/v1
kind: Policy
metadata: { name: seen }
mode: observe
subjects: [ { workloads: ['*'] } ]
targets: [ orders ]
masks: [ { name: phone, columns: ['*.*.phone'], with: redact } ]
";

    #[test]
    fn every_column_is_listed_with_what_masks_it_and_what_it_looks_like() {
        let documents = parse(POLICY, "p.yaml").unwrap();
        let inventory = Inventory::read(INVENTORY).unwrap();
        let audit = audit(&documents, &inventory, Some("orders"));
        let lines: Vec<String> = audit
            .columns
            .iter()
            .map(|column| {
                let masks = column.masks.iter().map(|mask| {
                    let through = mask.through.clone().unwrap_or_default();
                    let whole = if mask.whole { " whole" } else { "" };
                    format!("{} by {} {through}{whole}", mask.mask, mask.by)
                });
                format!(
                    "{}.{} [{}] {} {}",
                    column.table,
                    column.column,
                    masks.collect::<Vec<_>>().join("; "),
                    column.looks_like.unwrap_or("-"),
                    if column.unruled { "UNRULED" } else { "" }
                )
            })
            .collect();
        assert_eq!(
            lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>(),
            [
                "people.id [] -",
                "people.ssn [tagged by pii:* ] national number",
                "people.email [mail by hr.people.email ] e-mail",
                "people.phone [phone by *.*.phone ] phone UNRULED",
                "vault.payload [tagged by secret:* ] -",
                "v.ssn [tagged by pii:* hr.people; mail by hr.people.email hr.people whole; \
                 phone by *.*.phone hr.people whole] national number",
                "v.phone [tagged by pii:* hr.people whole; mail by hr.people.email hr.people whole; \
                 phone by *.*.phone ] phone",
                "v.x [tagged by pii:* hr.people whole; mail by hr.people.email hr.people whole; \
                 phone by *.*.phone hr.people whole] -",
                "by_code.iban [] bank account UNRULED",
            ]
        );
        let people = &audit.columns[1];
        assert_eq!(people.read_by, ["hr.v"]);
        assert_eq!(
            people.masks[0].subjects,
            ["groups ai-agents, workloads claude"]
        );
        assert_eq!(people.masks[0].unless.as_deref(), Some("groups dpo"));
        let idle: Vec<&str> = audit.idle.iter().map(|idle| &*idle.by).collect();
        assert_eq!(idle, ["gdpr:*", "hr.gone.email"]);
        // Of another target nothing is masked.
        let other = super::audit(&documents, &inventory, Some("other"));
        assert!(other.columns.iter().all(|column| column.masks.is_empty()));
    }
}
