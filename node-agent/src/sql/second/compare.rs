//! Two opinions on one text, held against each other.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::statements::{Seen, Told};
use super::{Difference, Differing, First, Misread, Second};
use crate::sql::{RelationUse, StatementFacts, StatementKind, Touch};
use StatementKind as K;

/// Kinds that change something: both must see the same of these.
const CHANGES: &[StatementKind] = &[
    K::Insert,
    K::Update,
    K::Delete,
    K::Merge,
    K::Truncate,
    K::CopyOut,
    K::CopyIn,
    K::CopyFile,
    K::CopyProgram,
    K::Drop,
    K::Create,
    K::Alter,
    K::Do,
    K::Call,
    K::Execute,
];

/// The most names in a sentence, and of each name the most characters.
const SHOWN: usize = 4;
const LONGEST: usize = 64;

/// What the second sees beside the first.
pub(super) fn compare(first: &[First<'_>], seen: &[Seen]) -> Second {
    if first.len() != seen.len() {
        return Second::Differs(Box::new(Differing {
            about: vec![Difference::Count],
            what: format!(
                "a second parser finds {} statements where there are {}",
                seen.len(),
                first.len()
            ),
            adds: seen
                .iter()
                .map(|seen| own(seen, seen.relations.clone(), 0..0))
                .collect(),
        }));
    }
    let mut differing = Differing::default();
    let mut misread = None;
    for (first, seen) in first.iter().zip(seen) {
        match first.misread {
            Some(Misread::Statement(why) | Misread::Text(why)) => {
                misread.get_or_insert(why);
            }
            None => one(first.facts, seen, &mut differing),
        }
    }
    if !differing.about.is_empty() {
        differing.about.sort_unstable();
        differing.about.dedup();
        return Second::Differs(Box::new(differing));
    }
    misread.map_or(Second::Agrees, |why| Second::Alone(Cow::Borrowed(why)))
}

/// A relation by name, and how it is changed. Temporary relations are named without their schema.
type Named<'a> = (Option<&'a str>, &'a str, Option<Touch>);

fn named(used: &RelationUse, touch: Option<Touch>) -> Named<'_> {
    let schema = used
        .relation
        .schema
        .as_deref()
        .filter(|schema| *schema != "pg_temp");
    (schema, &used.relation.name, touch)
}

/// Every relation by name alone, and once more for each way in which it is changed.
fn names(relations: &[RelationUse]) -> BTreeSet<Named<'_>> {
    let mut names = BTreeSet::new();
    for used in relations.iter().filter(|used| used.relation.name != "*") {
        names.insert(named(used, None));
        match used.touch {
            Touch::Insert | Touch::Update | Touch::Delete | Touch::Truncate => {
                names.insert(named(used, Some(used.touch)));
            }
            Touch::Read | Touch::Lock | Touch::Define => {}
        }
    }
    names
}

fn one(first: &StatementFacts, seen: &Seen, differing: &mut Differing) {
    let mut about = Vec::new();
    let told = seen.told == Told::All;
    let extra_kind = seen.kinds.iter().find(|kind| !has(&first.kinds, **kind));
    let missing_kind = CHANGES
        .iter()
        .find(|kind| told && first.kinds.contains(*kind) && !seen.kinds.contains(*kind));
    if let Some(kind) = extra_kind.or(missing_kind) {
        about.push(Difference::Class);
        let verb = if extra_kind.is_some() {
            "finds"
        } else {
            "does not find"
        };
        say(differing, &format!("{verb} {}", word(*kind)));
    }
    let (ours, theirs) = (names(&first.relations), names(&seen.relations));
    let extra: Vec<&Named<'_>> = theirs.difference(&ours).collect();
    let missing: Vec<&Named<'_>> = ours.difference(&theirs).filter(|_| told).collect();
    if !extra.is_empty() {
        say(differing, &format!("finds {}", listed(&extra)));
    }
    if !missing.is_empty() {
        say(differing, &format!("does not find {}", listed(&missing)));
    }
    if !extra.is_empty() || !missing.is_empty() {
        about.push(Difference::Relations);
    }
    if seen.missing_where && !first.missing_where {
        about.push(Difference::Where);
        say(differing, "finds a change of rows without WHERE");
    }
    if about.is_empty() {
        return;
    }
    let relations = if extra_kind.is_some() || about.contains(&Difference::Where) {
        seen.relations.clone()
    } else {
        let new = |used: &&RelationUse| {
            extra
                .iter()
                .any(|(schema, name, _)| (*schema, *name, None) == named(used, None))
        };
        seen.relations.iter().filter(new).cloned().collect()
    };
    if extra_kind.is_some() || !relations.is_empty() {
        differing
            .adds
            .push(own(seen, relations, first.span.clone()));
    }
    differing.about.extend(about);
}

/// What the second sees, as a statement.
fn own(seen: &Seen, relations: Vec<RelationUse>, span: std::ops::Range<usize>) -> StatementFacts {
    StatementFacts {
        kinds: seen.kinds.clone(),
        relations,
        missing_where: seen.missing_where,
        span,
        ..StatementFacts::default()
    }
}

/// Whether the first found this kind too. What SET sets, the second does not judge.
fn has(kinds: &[StatementKind], kind: StatementKind) -> bool {
    let alike: &[StatementKind] = match kind {
        K::Set => &[K::Set, K::SetIdentity, K::Transaction],
        K::Transaction => &[K::Transaction, K::TwoPhase],
        K::Create => &[K::Create, K::Role],
        K::CopyFile => &[K::CopyFile],
        _ => return kinds.contains(&kind),
    };
    kinds.iter().any(|known| alike.contains(known))
}

fn say(differing: &mut Differing, what: &str) {
    // The first few differences tell enough.
    if differing.what.len() > 200 {
        return;
    }
    let lead = if differing.what.is_empty() {
        "a second parser"
    } else {
        ", and"
    };
    let _ = write!(differing.what, "{lead} {what}");
}

fn listed(names: &[&Named<'_>]) -> String {
    let mut list: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|(schema, name, touch)| {
            let name: String = match schema {
                Some(schema) => format!("{schema}.{name}"),
                None => (*name).to_owned(),
            }
            .chars()
            .take(LONGEST)
            .collect();
            match touch {
                Some(touch) => format!("{} of {name}", changed(*touch)),
                None => format!("relation {name}"),
            }
        })
        .collect();
    if names.len() > SHOWN {
        list.push("…".to_owned());
    }
    list.join(", ")
}

fn changed(touch: Touch) -> &'static str {
    match touch {
        Touch::Read => "read",
        Touch::Insert => "insert",
        Touch::Update => "update",
        Touch::Delete => "delete",
        Touch::Truncate => "truncate",
        Touch::Lock => "lock",
        Touch::Define => "definition",
    }
}

fn word(kind: StatementKind) -> String {
    format!("{kind:?}").to_lowercase()
}
