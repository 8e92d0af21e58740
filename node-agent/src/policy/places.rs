//! Where each part of a policy stands in its file, so that what is found long after the YAML was
//! read still has a line and a column.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// A line and a column, from 1; 0: not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Place {
    /// The line.
    pub line: u64,
    /// The column.
    pub column: u64,
}

/// One step down into a document.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    /// The value of a key.
    Key(&'a str),
    /// An element of a list.
    Item(usize),
}

/// The places of one document.
#[derive(Clone, Debug, Default)]
pub struct Places(Option<Spanned<Tree>>);

#[derive(Clone, Debug)]
enum Tree {
    Leaf,
    List(Vec<Spanned<Tree>>),
    Map(Vec<(String, Spanned<Tree>)>),
}

impl Places {
    /// The places of all documents of a text that reads as policies.
    pub(super) fn of(text: &str) -> Vec<Places> {
        let trees = serde_saphyr::from_multiple::<Spanned<Tree>>(text).unwrap_or_default();
        trees.into_iter().map(|tree| Places(Some(tree))).collect()
    }

    /// Where a part stands; where the nearest part around it does, if it is not written.
    pub(super) fn at(&self, path: &[Step<'_>]) -> Place {
        let Some(mut node) = self.0.as_ref() else {
            return Place::default();
        };
        for step in path {
            let next = match (step, &node.value) {
                (Step::Key(key), Tree::Map(entries)) => {
                    entries.iter().find(|(k, _)| k == key).map(|(_, v)| v)
                }
                (Step::Item(at), Tree::List(items)) => items.get(*at),
                (_, Tree::Leaf | Tree::List(_) | Tree::Map(_)) => None,
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        Place {
            line: node.referenced.line(),
            column: node.referenced.column(),
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        macro_rules! leaf {
            ($($visit:ident: $of:ty),*) => {
                $(fn $visit<E: de::Error>(self, _: $of) -> Result<Tree, E> {
                    Ok(Tree::Leaf)
                })*
            };
        }
        impl<'de> Visitor<'de> for Any {
            type Value = Tree;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }
            leaf!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_i128: i128,
                  visit_u128: u128, visit_f64: f64, visit_str: &str, visit_bytes: &[u8]);
            fn visit_unit<E: de::Error>(self) -> Result<Tree, E> {
                Ok(Tree::Leaf)
            }
            fn visit_none<E: de::Error>(self) -> Result<Tree, E> {
                Ok(Tree::Leaf)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tree, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Tree::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Tree::Map(entries))
            }
        }
        from.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_every_document_has_its_place() {
        let text =
            "a: 1\nrules:\n  - { name: x, tables: [b, \"c.*\"] }\n  - name: y\n---\na:\n  b: z\n";
        let places = Places::of(text);
        assert_eq!(places.len(), 2);
        let at = |document: usize, path: &[Step<'_>]| {
            let Place { line, column } = places[document].at(path);
            (line, column)
        };
        use Step::{Item, Key};
        assert_eq!(at(0, &[]), (1, 1));
        assert_eq!(at(0, &[Key("rules"), Item(0)]), (3, 5));
        assert_eq!(
            at(0, &[Key("rules"), Item(0), Key("tables"), Item(1)]),
            (3, 28)
        );
        assert_eq!(at(0, &[Key("rules"), Item(1), Key("name")]), (4, 11));
        // What is not written has the place of what is around it.
        assert_eq!(
            at(0, &[Key("rules"), Item(1), Key("tables"), Item(7)]),
            (4, 5)
        );
        assert_eq!(at(1, &[Key("a"), Key("b")]), (7, 6));
        assert_eq!(Places::default().at(&[]), Place::default());
    }
}
