//! Why a question is answered as it is: for `policy explain`.

use serde::Serialize;

use super::document::Effect;
use super::judge::Judge;
use super::words::word;
use super::{Decision, PolicySet, Question, RuleRef, decide};

/// A decision with what led to it.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The answer.
    pub decision: Decision,
    /// What the statements are, in the policy's words.
    pub statements: Vec<String>,
    /// Every rule that is about this principal on this target.
    pub rules: Vec<RuleNote>,
    /// The masks in force.
    pub masks: Vec<RuleRef>,
    /// Policies that are about somebody or something else.
    pub other_policies: Vec<String>,
}

/// What one rule had to say.
#[derive(Clone, Debug, Serialize)]
pub struct RuleNote {
    /// Which.
    pub rule: RuleRef,
    /// What it says.
    pub effect: Effect,
    /// Whether it is about any of the statements.
    pub about_it: bool,
    /// `holds`, `does not hold`, `fails`; absent: no condition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<&'static str>,
}

/// Decides, and says why.
pub fn explain(set: &PolicySet, question: &Question) -> Explanation {
    let documents: Vec<_> = set.applicable(question).collect();
    let judge = Judge::new(&documents, question);
    Explanation {
        decision: decide(set, question),
        statements: question
            .analysis
            .statements
            .iter()
            .map(|facts| {
                let kinds: Vec<&str> = facts.kinds.iter().map(|k| word(*k)).collect();
                let relations: Vec<String> = facts
                    .relations
                    .iter()
                    .map(|used| {
                        let schema = used.relation.schema.as_deref();
                        let dot = if schema.is_some() { "." } else { "" };
                        let touch = format!("{:?}", used.touch).to_lowercase();
                        format!(
                            "{touch} {}{dot}{}",
                            schema.unwrap_or_default(),
                            used.relation.name
                        )
                    })
                    .collect();
                if relations.is_empty() {
                    kinds.join(" + ")
                } else {
                    format!("{}: {}", kinds.join(" + "), relations.join(", "))
                }
            })
            .collect(),
        rules: judge.notes(),
        masks: judge
            .masks
            .iter()
            .map(|mask| mask.mask.rule.clone())
            .collect(),
        other_policies: set
            .documents
            .iter()
            .filter(|d| !documents.iter().any(|a| std::ptr::eq(*a, *d)))
            .map(|d| d.name.to_string())
            .collect(),
    }
}
