//! What the catalogue says of columns besides their names: tags in comments, and names from before.

use std::collections::HashMap;
use std::sync::Arc;

use crate::policy::{Classified, Tag};

use super::catalogue::Relation;

/// The most names from before that one thing is known by. The oldest are kept: policies are older than what
/// happens beside the agent.
const NAMES: usize = 64;

/// The tags of comments, by relation and attribute number (0: the relation itself).
#[derive(Debug, Default)]
pub(super) struct Comments(HashMap<u32, HashMap<i16, Vec<Tag>>>);

impl Comments {
    /// One row of `probe::COMMENTS`.
    pub(super) fn row(&mut self, cells: &[Option<&str>]) {
        let [Some(oid), Some(number), Some(comment)] = cells else {
            return;
        };
        if let (Ok(oid), Ok(number)) = (oid.parse(), number.parse()) {
            self.put(oid, number, &plain(comment));
        }
    }

    pub(super) fn put(&mut self, oid: u32, number: i16, comment: &str) {
        let tags = Tag::all_in(comment);
        if !tags.is_empty() {
            self.0.entry(oid).or_default().insert(number, tags);
        }
    }

    /// The tags of a relation's column, or (0) of the relation.
    pub(super) fn tags(&self, oid: u32, number: i16) -> &[Tag] {
        let of = self.0.get(&oid).and_then(|columns| columns.get(&number));
        of.map(Vec::as_slice).unwrap_or_default()
    }

    /// What is classified, by relation.
    pub(super) fn classify(
        &self,
        former: &Former,
        relations: &HashMap<u32, Relation>,
    ) -> HashMap<u32, Vec<Classified>> {
        let mut all: HashMap<u32, Vec<Classified>> = HashMap::new();
        let known = self.0.keys().chain(former.tables.keys());
        for oid in known.chain(former.columns.keys()) {
            if all.contains_key(oid) {
                continue;
            }
            let Some(relation) = relations.get(oid) else {
                continue;
            };
            let classified = |column: &str, tags: &[Tag], formerly| Classified {
                schema: relation.schema.to_string(),
                table: relation.name.to_string(),
                column: column.to_owned(),
                tags: tags.to_vec(),
                formerly,
            };
            let mut found = Vec::new();
            if !self.tags(*oid, 0).is_empty() {
                found.push(classified("*", self.tags(*oid, 0), Vec::new()));
            }
            for (number, column) in &relation.columns {
                let tags = self.tags(*oid, *number);
                let formerly = former.of(*oid, *number, relation, column);
                if !tags.is_empty() || !formerly.is_empty() {
                    found.push(classified(column, tags, formerly));
                }
            }
            found.sort_unstable_by(|a, b| a.column.cmp(&b.column));
            all.insert(*oid, found);
        }
        all
    }
}

/// A text of hexadecimal digits; what is no UTF-8 in it parts words.
fn plain(hexadecimal: &str) -> String {
    let digits = hexadecimal.as_bytes().chunks_exact(2);
    let byte = |two: &[u8]| {
        let two = std::str::from_utf8(two).ok()?;
        u8::from_str_radix(two, 16).ok()
    };
    let bytes: Vec<u8> = digits.filter_map(byte).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A schema and a relation in it.
type Named = (Arc<str>, Arc<str>);

/// Names that relations and columns had, by their numbers, which no renaming changes.
#[derive(Debug, Default)]
pub(super) struct Former {
    tables: HashMap<u32, Vec<Named>>,
    columns: HashMap<u32, HashMap<i16, Vec<Arc<str>>>>,
}

impl Former {
    /// With what a newer reading calls otherwise than an older one. What is gone is forgotten.
    pub(super) fn grown(
        &self,
        before: &HashMap<u32, Relation>,
        now: &HashMap<u32, Relation>,
    ) -> Former {
        let mut grown = Former::default();
        for (oid, relation) in now {
            let Some(old) = before.get(oid) else {
                continue;
            };
            let mut names = self.tables.get(oid).cloned().unwrap_or_default();
            if (&old.schema, &old.name) != (&relation.schema, &relation.name) {
                add(&mut names, (old.schema.clone(), old.name.clone()));
            }
            if !names.is_empty() {
                grown.tables.insert(*oid, names);
            }
            let known = self.columns.get(oid);
            for (number, column) in &relation.columns {
                let known = known.and_then(|columns| columns.get(number));
                let mut names = known.cloned().unwrap_or_default();
                if let Some(old) = old.columns.get(number).filter(|old| *old != column) {
                    add(&mut names, old.clone());
                }
                if !names.is_empty() {
                    grown
                        .columns
                        .entry(*oid)
                        .or_default()
                        .insert(*number, names);
                }
            }
        }
        grown
    }

    /// Every name that a column had before.
    fn of(
        &self,
        oid: u32,
        number: i16,
        relation: &Relation,
        column: &Arc<str>,
    ) -> Vec<[String; 3]> {
        let tables = self.tables.get(&oid).into_iter().flatten();
        let columns = self
            .columns
            .get(&oid)
            .and_then(|columns| columns.get(&number));
        let columns: Vec<&Arc<str>> = columns.into_iter().flatten().chain([column]).collect();
        let own = (relation.schema.clone(), relation.name.clone());
        let mut names = Vec::new();
        for (schema, table) in tables.chain([&own]) {
            for name in &columns {
                if (schema, table, *name) != (&own.0, &own.1, column) {
                    names.push([schema.to_string(), table.to_string(), name.to_string()]);
                }
            }
        }
        names
    }
}

fn add<T: PartialEq>(names: &mut Vec<T>, name: T) {
    if names.len() < NAMES && !names.contains(&name) {
        names.push(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relation(schema: &str, name: &str, columns: &[(i16, &str)]) -> Relation {
        Relation::of(schema, name, columns)
    }

    fn at(relation: Relation) -> HashMap<u32, Relation> {
        HashMap::from([(7, relation)])
    }

    #[test]
    fn a_comment_is_read_whatever_its_bytes_are() {
        let mut comments = Comments::default();
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        for (number, text) in [
            ("0", hex(b"all of it: pii:person")),
            ("1", hex(b"pii:ssn")),
            ("2", hex(b"caf\xe9pii:ssn")),
            ("3", hex(b"nothing: here")),
            ("x", hex(b"pii:ssn")),
        ] {
            comments.row(&[Some("7"), Some(number), Some(&text)]);
        }
        let tags = |number| {
            let tags = comments.tags(7, number).iter();
            tags.map(Tag::as_str).collect::<Vec<_>>()
        };
        assert_eq!(tags(0), ["pii:person"]);
        assert_eq!(tags(1), ["pii:ssn"]);
        assert_eq!(tags(2), ["pii:ssn"]);
        assert_eq!(tags(3), [""; 0]);
        let relations = at(relation("s", "t", &[(1, "ssn"), (2, "b"), (3, "c")]));
        let found = comments.classify(&Former::default(), &relations);
        let columns: Vec<&str> = found[&7].iter().map(|one| &*one.column).collect();
        assert_eq!(columns, ["*", "b", "ssn"]);
    }

    #[test]
    fn what_is_renamed_is_known_by_every_name_it_had() {
        let readings = [
            at(relation("s", "t", &[(1, "id"), (2, "ssn")])),
            at(relation("s", "t", &[(1, "id"), (2, "social")])),
            at(relation("s", "t", &[(1, "id"), (2, "social")])),
            at(relation("s", "u", &[(1, "id"), (2, "x"), (3, "ssn")])),
        ];
        let mut former = Former::default();
        for pair in readings.windows(2) {
            former = former.grown(&pair[0], &pair[1]);
        }
        let found = Comments::default().classify(&former, &readings[3]);
        let of = |column: &str| {
            let one = found[&7].iter().find(|one| one.column == column).unwrap();
            let mut names: Vec<String> = one.formerly.iter().map(|name| name.join(".")).collect();
            names.sort();
            names
        };
        assert_eq!(of("id"), ["s.t.id"]);
        assert_eq!(
            of("x"),
            ["s.t.social", "s.t.ssn", "s.t.x", "s.u.social", "s.u.ssn"]
        );
        // It came later: its table had another name, and so might it have.
        assert_eq!(of("ssn"), ["s.t.ssn"]);
        // A table that is gone takes its names along, whoever gets its number.
        let gone = former.grown(&readings[3], &HashMap::new());
        let again = gone.grown(&HashMap::new(), &readings[0]);
        assert!(again.tables.is_empty() && again.columns.is_empty());
    }

    #[test]
    fn the_oldest_names_are_kept() {
        let mut former = Former::default();
        for round in 0..100 {
            let [before, now] =
                [round, round + 1].map(|n| at(relation("s", "t", &[(1, &format!("c{n}"))])));
            former = former.grown(&before, &now);
        }
        let names = &former.columns[&7][&1];
        assert_eq!((names.len(), &*names[0]), (NAMES, "c0"));
    }
}
