//! The content net: what is looked for in the texts of columns that no mask is on.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::document::Subject;
use super::pattern::ColumnName;
use super::{ColumnPattern, RuleRef};

/// What a text can look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detector {
    /// An e-mail address.
    Email,
    /// A phone number.
    Phone,
    /// A payment card's number.
    Card,
    /// A US social security number.
    Ssn,
    /// An international bank account number.
    Iban,
    /// A key, a token, a password beside its name.
    Secret,
}

impl Detector {
    /// All, in the order of the enum.
    pub const ALL: [Detector; 6] = [
        Detector::Email,
        Detector::Phone,
        Detector::Card,
        Detector::Ssn,
        Detector::Iban,
        Detector::Secret,
    ];

    /// As policies write it.
    pub const fn word(self) -> &'static str {
        match self {
            Detector::Email => "email",
            Detector::Phone => "phone",
            Detector::Card => "card",
            Detector::Ssn => "ssn",
            Detector::Iban => "iban",
            Detector::Secret => "secret",
        }
    }
}

impl fmt::Display for Detector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What covers a find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContentMasker {
    /// `***` stands for it; a bare number in JSON becomes `null`.
    #[default]
    Redact,
    /// `***` and its last n letters and digits, for numbers of cards, phones, people and accounts.
    KeepLast(u32),
    /// The whole cell is redacted.
    Cell,
}

/// What happens to finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContentMode {
    /// They are covered, and counted.
    #[default]
    Mask,
    /// They are counted.
    Report,
}

/// One content net, as written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// Unique in its document.
    pub name: String,
    /// What is looked for.
    #[serde(default = "everything")]
    pub detect: Vec<Detector>,
    /// In which columns: all when absent.
    #[serde(default = "every_column")]
    pub columns: Vec<ColumnName>,
    /// And in which not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<ColumnName>,
    /// What covers a find.
    #[serde(default)]
    pub with: ContentMasker,
    /// What happens to finds.
    #[serde(default)]
    pub mode: ContentMode,
    /// Who sees the values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unless: Option<Subject>,
}

fn everything() -> Vec<Detector> {
    Detector::ALL.to_vec()
}

fn every_column() -> Vec<ColumnName> {
    vec![ColumnName::every()]
}

/// A content net, as the mask room wants it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentRule {
    /// Policy and name.
    pub rule: RuleRef,
    /// What is looked for.
    pub detect: Vec<Detector>,
    /// In which columns. What nothing places may be any of them.
    pub columns: Vec<ColumnPattern>,
    /// And in which not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<ColumnPattern>,
    /// What covers a find.
    pub with: ContentMasker,
    /// What happens to finds.
    pub mode: ContentMode,
}

/// A content net, and who is exempt from it.
#[derive(Debug)]
pub(super) struct CompiledContent {
    pub(super) content: ContentRule,
    pub(super) unless: Option<Subject>,
}

impl CompiledContent {
    pub(super) fn new(written: Content, rule: RuleRef) -> Self {
        CompiledContent {
            content: ContentRule {
                rule,
                detect: written.detect,
                columns: written.columns.iter().map(ColumnName::plain).collect(),
                except: written.except.iter().map(ColumnName::plain).collect(),
                with: written.with,
                mode: written.mode,
            },
            unless: written.unless,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::Asker;
    use super::super::{Decision, PolicySet, decide, parse};
    use super::*;

    fn set(more: &str) -> PolicySet {
        let text = format!(
            "apiVersion: node-agent/v1\nkind: Policy\nmetadata: {{ name: p }}\n\
             subjects: [ {{ groups: [ai-agents] }} ]\ntargets: [ '*' ]\n\
             rules: [ {{ name: all, effect: allow, statements: [read], tables: ['*.*'] }} ]\n{more}\n"
        );
        PolicySet::compile(parse(&text, "test.yaml").unwrap()).unwrap()
    }

    fn in_force(more: &str) -> Vec<ContentRule> {
        let question = Asker::default().question("SELECT a FROM sales.t").unwrap();
        match decide(&set(more), &question) {
            Decision::Allow(allow) => allow.obligations.content.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_not_said_is_everything_everywhere_covered() {
        let rules = in_force("content: [ { name: net } ]");
        let [rule] = rules.as_slice() else {
            panic!("{rules:?}")
        };
        assert_eq!(rule.detect, Detector::ALL);
        assert_eq!(rule.columns, [ColumnName::every().plain()]);
        assert!(rule.except.is_empty());
        assert_eq!(
            (rule.with, rule.mode),
            (ContentMasker::Redact, ContentMode::Mask)
        );
        assert_eq!((&*rule.rule.policy, &*rule.rule.rule), ("p", "net"));
        assert!(in_force("").is_empty());
    }

    #[test]
    fn a_net_is_in_force_for_whom_nothing_exempts_and_never_where_its_policy_observes() {
        for (more, count) in [
            (
                "content: [ { name: net, unless: { groups: [ai-agents] } } ]",
                0,
            ),
            ("content: [ { name: net, unless: { groups: [dba] } } ]", 1),
            (
                "content: [ { name: a, detect: [card], with: { keep_last: 4 } }, { name: b, mode: report } ]",
                2,
            ),
        ] {
            assert_eq!(in_force(more).len(), count, "{more}");
        }
        let text = "apiVersion: node-agent/v1\nkind: Policy\nmetadata: { name: p }\nmode: observe\n\
                    subjects: [ { groups: [ai-agents] } ]\ntargets: [ '*' ]\ncontent: [ { name: net } ]\n";
        let set = PolicySet::compile(parse(text, "test.yaml").unwrap()).unwrap();
        let question = Asker::default().question("SELECT 1").unwrap();
        let Decision::Allow(allow) = decide(&set, &question) else {
            panic!("observing refuses");
        };
        assert!(!allow.obligations.plans());
    }

    #[test]
    fn what_cannot_have_been_meant_is_an_error_with_its_place() {
        for (net, told) in [
            ("{ name: '' }", "a name of its own"),
            ("{ name: all }", "a name of its own"),
            ("{ name: n, detect: [] }", "nothing to detect"),
            ("{ name: n, columns: [] }", "no columns"),
            ("{ name: n, unless: {} }", "nobody in particular"),
            (
                "{ name: n, unless: { roles: [r] } }",
                "people and workloads",
            ),
            ("{ name: n, detect: [emial] }", "email"),
            ("{ name: n, columns: [a.b] }", "schema.table.column"),
            ("{ name: n, on: mask }", "on"),
        ] {
            let text = format!(
                "apiVersion: node-agent/v1\nkind: Policy\nmetadata: {{ name: p }}\n\
                 subjects: [ {{ groups: [g] }} ]\ntargets: [ '*' ]\n\
                 rules: [ {{ name: all, effect: allow, statements: [read] }} ]\ncontent:\n  - {net}\n"
            );
            let errors = match parse(&text, "test.yaml") {
                Ok(documents) => PolicySet::compile(documents).unwrap_err(),
                Err(errors) => errors,
            };
            assert!(errors[0].to_string().contains(told), "{net}: {}", errors[0]);
            assert_eq!(errors[0].line, 8, "{net}: {}", errors[0]);
        }
    }
}
