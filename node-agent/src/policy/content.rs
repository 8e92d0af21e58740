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
