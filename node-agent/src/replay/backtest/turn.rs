//! Pure. Two decisions about one statement, held against each other.

use serde::Serialize;

use crate::policy::{Allow, Decision, Denial, Hold, Obligations, RuleRef};

/// What a decision comes to, from the freest to the strictest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Comes {
    /// It runs.
    Allow,
    /// It runs, and is stopped or undone by a limit.
    Stop,
    /// A human decides.
    Hold,
    /// It does not run.
    Deny,
}

impl Comes {
    pub(super) fn word(self) -> &'static str {
        match self {
            Comes::Allow => "allow",
            Comes::Stop => "stop",
            Comes::Hold => "hold",
            Comes::Deny => "deny",
        }
    }
}

/// A decision in words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Word {
    /// What it comes to.
    pub(super) decision: Comes,
    /// By which rule, mask, limit or budget; `default`: by none.
    pub(super) by: String,
}

impl Word {
    pub(super) fn of(decision: &Decision) -> Self {
        match decision {
            Decision::Allow(allow) => {
                let rules: Vec<String> = allow.rules.iter().map(rule).collect();
                Word {
                    decision: Comes::Allow,
                    by: match rules.is_empty() {
                        true => "default".to_owned(),
                        false => rules.join(", "),
                    },
                }
            }
            Decision::Hold(hold) => Word {
                decision: Comes::Hold,
                by: rule(&hold.rule),
            },
            Decision::Deny(denial) => Word {
                decision: Comes::Deny,
                by: denied_by(denial),
            },
        }
    }
}

pub(super) fn rule(rule: &RuleRef) -> String {
    format!("{}/{}", rule.policy, rule.rule)
}

fn denied_by(denial: &Denial) -> String {
    if let Some(by) = &denial.rule {
        return rule(by);
    }
    let said = denial.refusal.particulars.as_deref();
    match said.map(|said| (&said.policy, &said.rule)) {
        Some((Some(policy), Some(part))) => format!("{policy}/{part}"),
        Some(_) | None => "default".to_owned(),
    }
}

/// What enforcing everything would have said, where something only observes.
pub(super) fn enforced(decision: &Decision) -> &Decision {
    match decision {
        Decision::Allow(Allow {
            observed: Some(observed),
            ..
        }) => observed,
        Decision::Allow(_) | Decision::Hold(_) | Decision::Deny(_) => decision,
    }
}

/// The reason in the words that a client reads.
pub(super) fn reason(decision: &Decision) -> Option<String> {
    match decision {
        Decision::Allow(_) => None,
        Decision::Hold(hold) => Some(format!("{} would decide", hold.asks.reviewers)),
        Decision::Deny(denial) => Some(denial.refusal.message.clone()),
    }
}

/// What is other about two decisions that come to the same.
pub(super) fn other(old: &Decision, new: &Decision) -> Vec<&'static str> {
    let mut other = Vec::new();
    if Word::of(old).by != Word::of(new).by {
        other.push("rule");
    }
    match (old, new) {
        (Decision::Allow(old), Decision::Allow(new)) => {
            obligations(&old.obligations, &new.obligations, &mut other);
            if old.watched != new.watched {
                other.push("observed limits");
            }
        }
        (Decision::Hold(old), Decision::Hold(new)) => held(old, new, &mut other),
        (Decision::Deny(old), Decision::Deny(new)) => {
            let cause = |denial: &Denial| denial.refusal.particulars.as_ref().map(|p| p.cause);
            if cause(old) != cause(new) {
                other.push("reason");
            }
        }
        (Decision::Allow(_) | Decision::Hold(_) | Decision::Deny(_), _) => {}
    }
    other
}

fn held(old: &Hold, new: &Hold, other: &mut Vec<&'static str>) {
    let (was, is) = (&old.asks, &new.asks);
    for (differs, word) in [
        (was.reviewers != is.reviewers, "reviewers"),
        (was.timeout_seconds != is.timeout_seconds, "timeout"),
        (was.quorum != is.quorum, "quorum"),
        (was.gate != is.gate, "what is held"),
        (was.offers != is.offers, "offers"),
    ] {
        if differs {
            other.push(word);
        }
    }
    obligations(&old.obligations, &new.obligations, other);
}

fn obligations(old: &Obligations, new: &Obligations, other: &mut Vec<&'static str>) {
    if !same_set(&old.masks, &new.masks) || old.touches_masked != new.touches_masked {
        other.push("masks");
    }
    if !same_set(&old.content, &new.content) {
        other.push("content nets");
    }
    if old.limits != new.limits || old.rows_rule != new.rows_rule {
        other.push("limits");
    }
    if !same_set(&old.budgets, &new.budgets) {
        other.push("budgets");
    }
}

/// The same, in whatever order: files may have other names.
pub(super) fn same_set<T: PartialEq>(one: &[T], two: &[T]) -> bool {
    one.len() == two.len() && one.iter().all(|each| two.contains(each))
}
