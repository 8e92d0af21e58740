//! Why a question is answered as it is: for `policy explain`.

use serde::Serialize;

use super::document::Effect;
use super::judge::Judge;
use super::names::Candidates;
use super::words::word;
use super::{
    ContentRule, Decision, Masker, Mode, PolicySet, Predicates, Question, Reviewers, RuleRef,
    decide, offered,
};
use crate::sql::{FunctionClass, StatementFacts, Sureness, Touch, classify_function};

/// A decision with what led to it.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The answer.
    pub decision: Decision,
    /// Why the text, or a part of it, cannot be judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsure: Option<String>,
    /// What each statement does.
    pub statements: Vec<StatementNote>,
    /// Every rule that is about this principal on this target.
    pub rules: Vec<RuleNote>,
    /// The masks in force.
    pub masks: Vec<MaskNote>,
    /// The content nets in force.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub content: Vec<ContentRule>,
    /// Policies about it that are in force only while they are granted, and are not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub on_request: Vec<OnRequestNote>,
    /// Policies that are about somebody or something else.
    pub other_policies: Vec<String>,
}

/// One statement, in the policy's words.
#[derive(Clone, Debug, Serialize)]
pub struct StatementNote {
    /// What it is.
    pub kinds: Vec<&'static str>,
    /// What it touches.
    pub objects: Vec<ObjectNote>,
    /// What it calls.
    pub functions: Vec<FunctionNote>,
    /// The columns it names.
    pub columns: Vec<ColumnNote>,
    /// An UPDATE or DELETE in it has no WHERE.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub missing_where: bool,
}

/// A relation and how it is touched.
#[derive(Clone, Debug, Serialize)]
pub struct ObjectNote {
    /// As written.
    pub name: String,
    /// How.
    pub touch: Touch,
    /// The schemas that an unqualified name may be in; empty: nobody knows. Absent: it is written
    /// with its schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schemas: Option<Vec<String>>,
    /// The relations it reaches through views, partitions and inheritance.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reaches: Vec<String>,
}

/// A function.
#[derive(Clone, Debug, Serialize)]
pub struct FunctionNote {
    /// As written.
    pub name: String,
    /// With how many arguments.
    pub arguments: usize,
    /// `pure`; `unknown`: a policy must vouch for it; `refused`: only `*` reaches it.
    pub class: &'static str,
    /// Why it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'static str>,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ColumnNote {
    /// As written, with what stands before it.
    pub name: String,
    /// How it is used.
    pub role: crate::sql::ColumnRole,
}

/// What one rule had to say.
#[derive(Clone, Debug, Serialize)]
pub struct RuleNote {
    /// Which.
    pub rule: RuleRef,
    /// `file:line:column`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// What it says.
    pub effect: Effect,
    /// Whether its policy decides or only observes.
    pub mode: Mode,
    /// Whether it is about any of the statements.
    pub about_it: bool,
    /// Whether the decision names it.
    pub decided: bool,
    /// `holds`, `does not hold`, `fails`; absent: no condition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<&'static str>,
}

/// A policy that could be granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OnRequestNote {
    /// Which.
    pub policy: String,
    /// Whether it alone would let the statement run, or have a human decide.
    pub helps: bool,
    /// Who may grant it.
    pub reviewers: Reviewers,
    /// How many of them must agree.
    pub quorum: u32,
    /// The longest that it is granted for, milliseconds.
    pub longest: u64,
}

/// A mask in force.
#[derive(Clone, Debug, Serialize)]
pub struct MaskNote {
    /// Which.
    pub rule: RuleRef,
    /// `file:line:column`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Its columns, as written, and those that its tags found.
    pub columns: Vec<String>,
    /// Its tags, as written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What replaces a value.
    pub with: Masker,
    /// Whether a statement may decide by the column.
    pub predicates: Predicates,
    /// Whether it is about a relation that a statement touches, or may be.
    pub touched: bool,
}

/// Decides, and says why.
pub fn explain(set: &PolicySet, question: &Question) -> Explanation {
    let documents: Vec<_> = set.applicable(question).collect();
    let judge = Judge::new(&documents, question);
    let decision = decide(set, question);
    let mut named = Vec::new();
    rules_of(&decision, &mut named);
    let mut rules = judge.notes();
    for note in &mut rules {
        note.place = set.place(&note.rule).map(str::to_owned);
        note.decided = named.contains(&note.rule);
    }
    let helping = match &decision {
        Decision::Deny(_) => offered(set, question),
        Decision::Allow(_) | Decision::Hold(_) => Vec::new(),
    };
    let on_request = set
        .documents
        .iter()
        .filter(|document| !question.has(&document.name) && document.is_about(question));
    let on_request = on_request.filter_map(|document| document.access.as_ref());
    let on_request: Vec<OnRequestNote> = on_request
        .map(|access| OnRequestNote {
            policy: access.policy.to_string(),
            helps: helping.iter().any(|one| one.policy == access.policy),
            reviewers: access.asks.reviewers.clone(),
            quorum: access.asks.quorum,
            longest: access.longest,
        })
        .collect();
    let unsure = match &question.analysis.sureness {
        Sureness::Complete => None,
        Sureness::Opaque(why) | Sureness::Partial(why) => Some(why.clone()),
    };
    Explanation {
        decision,
        unsure,
        statements: question
            .analysis
            .statements
            .iter()
            .map(|facts| note(question, facts))
            .collect(),
        rules,
        masks: judge
            .masks
            .iter()
            .map(|mask| MaskNote {
                rule: mask.mask.rule.clone(),
                place: set.place(&mask.mask.rule).map(str::to_owned),
                columns: mask.columns.iter().map(ToString::to_string).collect(),
                tags: mask.mask.tags.iter().map(ToString::to_string).collect(),
                with: mask.mask.with.clone(),
                predicates: mask.predicates,
                touched: super::masked::touched(&judge, mask),
            })
            .collect(),
        content: judge.content(),
        other_policies: set
            .documents
            .iter()
            .filter(|d| !documents.iter().any(|a| std::ptr::eq(*a, *d)))
            .filter(|d| !on_request.iter().any(|one| one.policy == *d.name))
            .map(|d| d.name.to_string())
            .collect(),
        on_request,
    }
}

/// The rules that a decision names.
fn rules_of(decision: &Decision, named: &mut Vec<RuleRef>) {
    match decision {
        Decision::Allow(allow) => {
            named.extend(allow.rules.iter().cloned());
            if let Some(observed) = &allow.observed {
                rules_of(observed, named);
            }
        }
        Decision::Hold(hold) => named.push(hold.rule.clone()),
        Decision::Deny(denial) => named.extend(denial.rule.clone()),
    }
}

fn note(question: &Question, facts: &StatementFacts) -> StatementNote {
    let dotted = |schema: Option<&str>, name: &str| match schema {
        Some(schema) => format!("{schema}.{name}"),
        None => name.to_owned(),
    };
    let objects = facts.relations.iter().map(|used| {
        let relation = &used.relation;
        let schemas = match (&relation.schema, Candidates::of(question, relation)) {
            (Some(_), _) => None,
            (None, Candidates::One(schema)) => Some(vec![schema.to_owned()]),
            (None, Candidates::Many(schemas)) => Some(schemas.to_vec()),
            (None, Candidates::Unresolved) => Some(Vec::new()),
        };
        let reached = question.names.reached(relation);
        ObjectNote {
            name: dotted(relation.schema.as_deref(), &relation.name),
            touch: used.touch,
            schemas,
            reaches: reached.map(|(s, t)| format!("{s}.{t}")).collect(),
        }
    });
    let functions = facts.functions.iter().map(|function| {
        let schema = function.schema.as_deref();
        let (class, why) = match classify_function(schema, &function.name, function.args) {
            FunctionClass::Pure => ("pure", None),
            FunctionClass::Unknown => ("unknown", None),
            FunctionClass::Refused(why) => ("refused", Some(why)),
        };
        FunctionNote {
            name: dotted(schema, &function.name),
            arguments: function.args,
            class,
            why,
        }
    });
    let mut columns: Vec<ColumnNote> = Vec::new();
    for column in &facts.columns {
        let note = ColumnNote {
            name: column
                .qualifier
                .iter()
                .chain([&column.name])
                .cloned()
                .collect::<Vec<_>>()
                .join("."),
            role: column.role,
        };
        if !columns.contains(&note) {
            columns.push(note);
        }
    }
    StatementNote {
        kinds: facts.kinds.iter().map(|kind| word(*kind)).collect(),
        objects: objects.collect(),
        functions: functions.collect(),
        columns,
        missing_where: facts.missing_where,
    }
}
