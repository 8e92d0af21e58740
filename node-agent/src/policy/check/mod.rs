//! What a policy says that it cannot have meant: rules that never speak, words without effect,
//! patterns that match nothing in a database. None of it changes a decision.

use serde::Serialize;

use super::document::Document;
use super::inventory::Inventory;
use super::places::Step;

mod alone;
mod catalogue;
mod never;
mod scope;
mod shadow;

/// One thing that cannot have been meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file's name as given.
    #[serde(rename = "file")]
    pub source_name: String,
    /// From 1; 0: not known.
    pub line: u64,
    /// From 1; 0: not known.
    pub column: u64,
    /// `metadata.name`.
    pub policy: String,
    /// What kind of finding it is: a short name that stays the same.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Finding {
            source_name,
            line,
            column,
            policy,
            code,
            message,
        } = self;
        write!(
            f,
            "{source_name}:{line}:{column}: warning: policy `{policy}`: {message} [{code}]"
        )
    }
}

/// Where findings go, with what they are about.
struct Found<'a> {
    document: &'a Document,
    list: &'a mut Vec<Finding>,
}

impl Found<'_> {
    fn note(&mut self, path: &[Step<'_>], code: &'static str, message: String) {
        let place = self.document.places.at(path);
        self.list.push(Finding {
            source_name: self.document.source_name.clone(),
            line: place.line,
            column: place.column,
            policy: self.document.metadata.name.clone(),
            code,
            message,
        });
    }
}

/// What documents that are in force together cannot have meant, in the order of the files.
pub fn check(documents: &[Document]) -> Vec<Finding> {
    let mut list = Vec::new();
    for document in documents {
        let mut found = Found {
            document,
            list: &mut list,
        };
        alone::check(&mut found);
        never::check(&mut found);
        shadow::check(&mut found, documents);
    }
    sorted(list)
}

/// What in the documents about a target matches nothing in its database, and columns that masks
/// leave out. Without `target` every document is held against the database.
pub fn check_against(
    documents: &[Document],
    inventory: &Inventory,
    target: Option<&str>,
) -> Vec<Finding> {
    let mut list = Vec::new();
    let about: Vec<&Document> = documents
        .iter()
        .filter(|d| target.is_none_or(|name| d.targets.iter().any(|t| t.matches(name))))
        .collect();
    for document in &about {
        let mut found = Found {
            document,
            list: &mut list,
        };
        catalogue::check(&mut found, &about, inventory);
    }
    sorted(list)
}

fn sorted(mut list: Vec<Finding>) -> Vec<Finding> {
    list.sort_by(|a, b| {
        let key = |f: &Finding| {
            (
                f.source_name.clone(),
                f.line,
                f.column,
                f.code,
                f.message.clone(),
            )
        };
        key(a).cmp(&key(b))
    });
    list.dedup();
    list
}

#[cfg(test)]
mod tests;
