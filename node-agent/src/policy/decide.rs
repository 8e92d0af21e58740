//! The front door of a decision: which documents speak, and whether they only observe.
//!
//! What observes cannot block, by the shape of this file: the decision is made by a judge that is
//! given the enforcing documents and no others, and what all documents together would have said
//! reaches it as a `Margin`, which has no place for a decision.

use std::sync::Arc;

use super::compile::Compiled;
use super::document::Mode;
use super::judge::Judge;
use super::{Allow, Decision, Obligations, PolicySet, Question, Watched};
use super::{refuse, suggest};

/// Judges. Pure, total, deterministic.
///
/// Documents in observe mode never block and never mask: where one of them (together with the
/// enforced ones) would not have allowed the statement, the allow carries that in `observed`. A
/// denial names a small change that would be allowed, if there is one.
pub fn decide(set: &PolicySet, question: &Question) -> Decision {
    let mut decision = judged(set, question);
    if let Decision::Deny(denial) = &mut decision {
        suggest::complete(set, question, denial);
    }
    decision
}

/// The decision, without a suggestion.
pub(super) fn judged(set: &PolicySet, question: &Question) -> Decision {
    let documents: Vec<&Compiled> = set.applicable(question).collect();
    if documents.is_empty() {
        return Decision::Deny(*refuse::no_policy(&question.target.0));
    }
    let enforcing: Vec<&Compiled> = documents
        .iter()
        .copied()
        .filter(|document| document.mode == Mode::Enforce)
        .collect();
    // Where all others only observe, everything runs: what is granted takes nothing of that away.
    let only_granted = enforcing.iter().all(|document| document.access.is_some());
    let observing = enforcing.len() < documents.len();
    let mut decision = if enforcing.is_empty() || (only_granted && observing) {
        Decision::Allow(Allow {
            rules: Vec::new(),
            obligations: Arc::new(Obligations::default()),
            observed: None,
            watched: None,
            fleeting: false,
        })
    } else {
        Judge::new(&enforcing, question).judge()
    };
    if observing && let Decision::Allow(allow) = &mut decision {
        let margin = Margin {
            obligations: &allow.obligations,
            observed: &mut allow.observed,
            watched: &mut allow.watched,
            fleeting: &mut allow.fleeting,
        };
        margin.note(Judge::new(&documents, question).judge());
    }
    decision
}

/// Where observing documents may write: beside an allow, whose rules and obligations they can only
/// read.
struct Margin<'a> {
    obligations: &'a Obligations,
    observed: &'a mut Option<Box<Decision>>,
    watched: &'a mut Option<Arc<Watched>>,
    fleeting: &'a mut bool,
}

impl Margin<'_> {
    fn note(self, together: Decision) {
        match together {
            Decision::Allow(seen) => {
                *self.fleeting |= seen.fleeting;
                let own = self.obligations;
                let all = Obligations::clone(&seen.obligations);
                let mut budgets = all.budgets;
                budgets.retain(|budget| !own.budgets.contains(budget));
                if all.limits != own.limits || !budgets.is_empty() {
                    *self.watched = Some(Arc::new(Watched {
                        limits: all.limits,
                        budgets,
                    }));
                }
            }
            Decision::Deny(denial) => {
                *self.fleeting |= denial.fleeting;
                *self.observed = Some(Box::new(Decision::Deny(denial)));
            }
            Decision::Hold(hold) => {
                // Whether a condition was read is not kept in a hold: not cached.
                *self.fleeting = true;
                *self.observed = Some(Box::new(Decision::Hold(hold)));
            }
        }
    }
}
