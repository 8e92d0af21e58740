//! Pure. What a decision was made of besides what stands beside it in the record, and how the statement
//! was sent: so that a recording can be judged again, and run again.

use std::sync::Arc;

use bytes::Bytes;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use crate::model::UnixMillis;
use crate::policy::{Decision, Granted, ResolvedNames};

/// What a decision was made of besides text, principal and purpose. All of it is empty in recordings of
/// versions that did not keep it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Basis {
    /// What the statement's names stood for.
    #[serde(skip_serializing_if = "Names::is_unrecorded")]
    pub names: Names,
    /// The moment that was judged by, where the decision may hang on it and it is another than the one
    /// of the record (a statement that was held is recorded when it is let go).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judged: Option<UnixMillis>,
    /// What policy said, where the agent refused all the same: a budget was spent, or what policy
    /// asked for could not be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Arc<Decision>>,
    /// The policies that were granted to who asked, and in force for it then.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub access: Vec<Granted>,
    /// How the statement was sent.
    #[serde(skip_serializing_if = "Sent::is_unrecorded")]
    pub sent: Sent,
    /// It goes on with an answer that was suspended: it was judged and recorded before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub resumed: bool,
}

impl Basis {
    /// Whether nothing of it is known.
    pub fn is_unrecorded(&self) -> bool {
        *self == Basis::default()
    }

    /// Whether all is the same but for the moment and whether it goes on.
    pub(in crate::record) fn is_like(&self, other: &Basis) -> bool {
        self.names.are(&other.names)
            && same(&self.policy, &other.policy)
            && self.access == other.access
            && self.sent == other.sent
    }
}

/// The names of a statement, as it was judged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Names {
    /// The recording does not say.
    #[default]
    Unrecorded,
    /// They were not looked up: nothing that was decided hung on them, or the catalogue could not be
    /// read.
    NotLookedUp,
    /// They stood for these.
    Found(Arc<ResolvedNames>),
}

impl Names {
    fn is_unrecorded(&self) -> bool {
        matches!(self, Names::Unrecorded)
    }

    fn are(&self, other: &Names) -> bool {
        match (self, other) {
            (Names::Found(one), Names::Found(two)) => Arc::ptr_eq(one, two) || one == two,
            (one, two) => one == two,
        }
    }

    /// How much they take in memory, about, bytes. Names that nobody else holds are counted by their
    /// number: most are a few short words.
    pub(super) fn weight(&self) -> usize {
        let Names::Found(names) = self else { return 0 };
        let many = names.relations.len()
            + names.reaches.len()
            + names.views.len()
            + names.sets_off.len()
            + names.calls.len()
            + names.operators.len()
            + names.types.len()
            + names.fields.len()
            + names.classified.len()
            + names.elsewhere.len();
        many.saturating_mul(256)
    }
}

fn same(one: &Option<Arc<Decision>>, two: &Option<Arc<Decision>>) -> bool {
    match (one, two) {
        (None, None) => true,
        (Some(one), Some(two)) => Arc::ptr_eq(one, two) || one == two,
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// How a statement was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sent {
    /// The recording does not say.
    #[default]
    Unrecorded,
    /// As a text of one message.
    Text,
    /// Prepared first, then run with parameters of these types, as far as the client fixed them.
    Prepared(Types),
}

impl Sent {
    fn is_unrecorded(&self) -> bool {
        matches!(self, Sent::Unrecorded)
    }
}

/// The types that a client fixed for parameters, by the database's own numbers; 0: it left that one
/// open. Written as a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Types(Bytes);

impl Types {
    /// As they stand in the message: four bytes each, big-endian.
    pub fn of(bytes: Bytes) -> Self {
        Types(bytes)
    }

    /// The numbers.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let (fours, _) = self.0.as_chunks::<4>();
        fours.iter().map(|four| u32::from_be_bytes(*four))
    }
}

impl Serialize for Types {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Types {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Numbers;
        impl<'de> Visitor<'de> for Numbers {
            type Value = Types;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of type numbers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Types, A::Error> {
                let mut bytes = Vec::new();
                while let Some(number) = numbers.next_element::<u32>()? {
                    bytes.extend_from_slice(&number.to_be_bytes());
                }
                Ok(Types(bytes.into()))
            }
        }
        deserializer.deserialize_seq(Numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_basis_comes_back_as_it_was_written_and_an_empty_one_takes_no_room() {
        let names = ResolvedNames {
            bare: vec!["pg_authid".to_owned()],
            ..ResolvedNames::default()
        };
        for (basis, text) in [
            (Basis::default(), "{}"),
            (
                Basis {
                    names: Names::NotLookedUp,
                    sent: Sent::Text,
                    ..Basis::default()
                },
                r#"{"names":"not_looked_up","sent":"text"}"#,
            ),
            (
                Basis {
                    names: Names::Found(Arc::new(names)),
                    judged: Some(UnixMillis(7)),
                    sent: Sent::Prepared(Types::of(Bytes::from_static(&[0, 0, 0, 23, 0, 0, 1, 0]))),
                    resumed: true,
                    policy: None,
                    access: vec![Granted {
                        policy: "oncall".into(),
                        by: Some(crate::model::ApprovalId(12)),
                    }],
                },
                r#"{"names":{"found":{"relations":[],"bare":["pg_authid"]}},"judged":7,"access":[{"policy":"oncall","by":"a-000000000000000c"}],"sent":{"prepared":[23,256]},"resumed":true}"#,
            ),
        ] {
            let written = serde_json::to_string(&basis).unwrap();
            assert_eq!(written, text);
            let read: Basis = serde_json::from_str(&written).unwrap();
            assert_eq!(read, basis);
        }
    }
}
