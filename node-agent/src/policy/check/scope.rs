//! Whether one pattern, subject or document is about everything that another one is about.

use std::collections::BTreeMap;

use crate::policy::document::{Document, Mode, Subject};
use crate::policy::pattern::{ColumnName, FunctionPattern, Glob, TablePattern};

/// Whether every name that the second matches is matched by the first: a star of the second is a
/// letter that only a star of the first can take in.
pub(super) fn glob(wide: &Glob, narrow: &Glob) -> bool {
    wide.matches(&narrow.to_string())
}

pub(super) fn table(wide: &TablePattern, narrow: &TablePattern) -> bool {
    glob(&wide.schema, &narrow.schema) && glob(&wide.table, &narrow.table)
}

pub(super) fn column(wide: &ColumnName, narrow: &ColumnName) -> bool {
    table(&wide.of, &narrow.of) && glob(&wide.column, &narrow.column)
}

pub(super) fn function(wide: &FunctionPattern, narrow: &FunctionPattern) -> bool {
    match (wide, narrow) {
        (FunctionPattern::Every, _) => true,
        (FunctionPattern::Named { .. }, FunctionPattern::Every) => false,
        (
            FunctionPattern::Named { schema, name },
            FunctionPattern::Named { schema: s, name: n },
        ) => glob(schema, s) && glob(name, n),
    }
}

/// Whether each of the second is covered by one of the first.
pub(super) fn tables(wide: &[TablePattern], narrow: &[TablePattern]) -> bool {
    narrow.iter().all(|one| wide.iter().any(|w| table(w, one)))
}

fn globs(wide: &[Glob], narrow: &[Glob]) -> bool {
    narrow.iter().all(|one| wide.iter().any(|w| glob(w, one)))
}

/// Whether everybody whom the second is, the first is too.
pub(super) fn subject(wide: &Subject, narrow: &Subject) -> bool {
    fn list(wide: &Option<Vec<Glob>>, narrow: &Option<Vec<Glob>>) -> bool {
        match (wide, narrow) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(wide), Some(narrow)) => globs(wide, narrow),
        }
    }
    fn map(wide: &Option<BTreeMap<String, Glob>>, narrow: &Option<BTreeMap<String, Glob>>) -> bool {
        wide.iter().flatten().all(|(key, w)| {
            let other = narrow.as_ref().and_then(|narrow| narrow.get(key));
            other.is_some_and(|n| glob(w, n))
        })
    }
    // Everybody has a workload, an issuer and a subject: a `*` there says nothing.
    let said =
        |globs: &Option<Vec<Glob>>| globs.clone().filter(|globs| !globs.contains(&Glob::Any));
    list(&wide.groups, &narrow.groups)
        && list(&said(&wide.users), &narrow.users)
        && list(&said(&wide.issuers), &narrow.issuers)
        && list(&said(&wide.workloads), &narrow.workloads)
        && list(&said(&wide.databases), &narrow.databases)
        && list(&said(&wide.roles), &narrow.roles)
        && map(&wide.labels, &narrow.labels)
        && map(&wide.claims, &narrow.claims)
}

/// Whether the first is in force wherever the second is, and for everybody whom it is about.
pub(super) fn document(wide: &Document, narrow: &Document) -> bool {
    let bites = wide.mode == Mode::Enforce || narrow.mode == Mode::Observe;
    // What is granted is not there for everybody whom it is about.
    let always = wide.access.is_none() || wide.metadata.name == narrow.metadata.name;
    bites
        && always
        && globs(&wide.targets, &narrow.targets)
        && narrow
            .subjects
            .iter()
            .all(|one| wide.subjects.iter().any(|w| subject(w, one)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_pattern_covers_another() {
        for (wide, narrow, covers) in [
            ("*", "*", true),
            ("*", "a*", true),
            ("a*", "*", false),
            ("a*", "ab*", true),
            ("ab*", "a*", false),
            ("*a*", "ba*", true),
            ("a*b", "a*cb", true),
            ("a*cb", "a*b", false),
            ("abc", "abc", true),
            ("a", "a*", false),
        ] {
            assert_eq!(
                glob(&Glob::new(wide), &Glob::new(narrow)),
                covers,
                "{wide} {narrow}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_covers_matches_whatever_the_covered_matches(
            wide in "[ab*]{1,5}", narrow in "[ab*]{1,5}", name in "[ab]{0,6}",
        ) {
            let (wide, narrow) = (Glob::new(&wide), Glob::new(&narrow));
            if glob(&wide, &narrow) && narrow.matches(&name) {
                prop_assert!(wide.matches(&name));
            }
        }
    }
}
