//! Masks whose columns are not in a database any more: a mask that matches nothing protects nothing, and
//! nobody would notice.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::policy::{MaskRule, RuleRef};

use super::catalogue::Catalogue;

/// A pattern or tag of a mask that matched columns in an earlier reading, and matches none now.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lost {
    /// Policy and mask.
    pub rule: RuleRef,
    /// As the policy writes it.
    pub what: String,
}

/// What masks have matched in one database.
#[derive(Debug, Default)]
pub(super) struct Guard(Mutex<Watched>);

#[derive(Debug, Default)]
struct Watched {
    /// The catalogue and the policies that were looked at last.
    seen: Option<(u64, Arc<str>)>,
    matched: HashSet<Lost>,
}

impl Guard {
    /// What these masks lost since another reading was looked at. Said to one of all sessions, once.
    pub(super) fn look<'a>(
        &self,
        catalogue: &Catalogue,
        policies: &Arc<str>,
        masks: impl Iterator<Item = &'a MaskRule>,
    ) -> Vec<Lost> {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = (catalogue.version(), policies.clone());
        match &watched.seen {
            // A session may still hold an older reading.
            Some((version, known)) if *version >= seen.0 && *known == seen.1 => return Vec::new(),
            Some(_) | None => {}
        }
        watched.seen = Some(seen);
        let (mut matched, mut idle) = (HashSet::new(), Vec::new());
        for mask in masks {
            for (what, matches) in catalogue.matches(mask) {
                let rule = mask.rule.clone();
                let part = Lost { rule, what };
                if matches {
                    matched.insert(part);
                } else {
                    idle.push(part);
                }
            }
        }
        idle.retain(|part| watched.matched.contains(part));
        watched.matched = matched;
        idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TargetName;
    use crate::policy::{PolicySet, parse};

    fn policies(mask: &str) -> PolicySet {
        let text = format!(
            "apiVersion: node-agent/v1\nkind: Policy\nmetadata: {{ name: p }}\n\
             subjects: [ {{ groups: [ai-agents] }} ]\ntargets: [ orders ]\n\
             masks: [ {{ name: m, {mask}, with: redact }} ]\n"
        );
        PolicySet::compile(parse(&text, "p.yaml").unwrap()).unwrap()
    }

    fn catalogue(version: u64, table: &str, column: &str, comment: &str) -> Catalogue {
        Catalogue::of(version, &[("app", table)], &[], &[]).commented(table, column, comment)
    }

    #[test]
    fn what_a_mask_does_not_match_any_more_is_told_once() {
        let guard = Guard::default();
        let look = |policies: &PolicySet, catalogue: &Catalogue| {
            let target = TargetName("orders".into());
            let masks = policies.masks_on(&target);
            let lost = guard.look(catalogue, &policies.version(), masks);
            let mut lost: Vec<String> = lost.into_iter().map(|part| part.what).collect();
            lost.sort();
            lost
        };
        let set = policies("columns: [app.t.ssn, app.never.x, '*.*.s?n*'], tags: ['pii:*']");
        for (version, table, column, comment, want) in [
            (1, "t", "ssn", "pii:ssn", &[][..]),
            (1, "t", "ssn", "pii:ssn", &[]),
            (2, "t", "social", "pii:ssn", &["app.t.ssn"]),
            (3, "t", "social", "pii:ssn", &[]),
            (4, "t", "ssn", "", &["pii:*"]),
            (5, "u", "ssn", "pii:ssn", &["app.t.ssn"]),
            // An older reading says nothing.
            (3, "t", "social", "", &[]),
        ] {
            let found = look(&set, &catalogue(version, table, column, comment));
            assert_eq!(found, want, "{version}");
        }
        // What other policies name was never seen.
        let other = policies("columns: [app.x.y]");
        assert_eq!(look(&other, &catalogue(6, "t", "ssn", "")), [""; 0]);
    }
}
