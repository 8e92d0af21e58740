//! The front door of a decision: which documents speak, and whether they only observe.

use std::sync::Arc;

use super::compile::Compiled;
use super::document::Mode;
use super::judge::Judge;
use super::refuse;
use super::{Allow, Decision, Obligations, PolicySet, Question};

/// Judges. Pure, total, deterministic.
///
/// Documents in observe mode never block and never mask: where one of them (together with the
/// enforced ones) would not have allowed the statement, the allow carries that in `observed`.
pub fn decide(set: &PolicySet, question: &Question) -> Decision {
    let documents: Vec<&Compiled> = set.applicable(question).collect();
    if documents.is_empty() {
        return Decision::Deny(*refuse::no_policy(&question.target.0));
    }
    let together = Judge::new(&documents, question).judge();
    if documents
        .iter()
        .all(|document| document.mode == Mode::Enforce)
    {
        return together;
    }
    let enforced: Vec<&Compiled> = documents
        .iter()
        .copied()
        .filter(|document| document.mode == Mode::Enforce)
        .collect();
    let mut decision = if enforced.is_empty() {
        Decision::Allow(Allow {
            rules: Vec::new(),
            obligations: Arc::new(Obligations::default()),
            observed: None,
            fleeting: false,
        })
    } else {
        Judge::new(&enforced, question).judge()
    };
    if let Decision::Allow(allow) = &mut decision {
        match together {
            Decision::Allow(seen) => {
                allow.fleeting |= seen.fleeting;
                let (own, seen) = (
                    allow.obligations.limits.rows_affected,
                    seen.obligations.limits.rows_affected,
                );
                if seen.is_some() && seen != own {
                    let mut obligations = Obligations::clone(&allow.obligations);
                    obligations.watched_rows = seen;
                    allow.obligations = Arc::new(obligations);
                }
            }
            Decision::Deny(denial) => {
                allow.fleeting |= denial.fleeting;
                allow.observed = Some(Box::new(Decision::Deny(denial)));
            }
            Decision::Hold(hold) => {
                // Whether a condition was read is not kept in a hold: not cached.
                allow.fleeting = true;
                allow.observed = Some(Box::new(Decision::Hold(hold)));
            }
        }
    }
    decision
}
