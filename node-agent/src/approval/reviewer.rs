//! Pure. Who decides: named by where they signed in, never by what they say of themselves.

use serde::{Deserialize, Serialize};

use super::{Requester, Vote};
use crate::policy::Reviewers;

/// A human who was identified, by an issuer or by the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reviewer {
    /// The name that rules and lists use: `sub`, or the name of the configuration's entry.
    pub name: String,
    /// The issuer of the token; `None`: a user of this host, by the kernel's word.
    pub issuer: Option<String>,
    /// Groups, by the issuer or by the configuration's entry.
    pub groups: Vec<String>,
    /// Other names of the same person (e-mail, user name), for comparison with the requester's and with those of
    /// who voted before.
    pub also: Vec<String>,
    /// Where the word is given.
    pub via: Via,
}

/// Where a reviewer's word was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// The command line, over the admin socket.
    Cli,
    /// The web console.
    Console,
    /// A signed callback of a chat.
    Callback,
}

impl Reviewer {
    /// Whether this is who asked. Any name in common counts, whoever issued it: one subject at two
    /// issuers may be two people, and then another one must decide.
    pub fn is(&self, requester: &Requester) -> bool {
        self.names()
            .any(|own| requester.names().any(|theirs| same(own, theirs)))
    }

    /// All names of this person.
    fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.name.as_str()).chain(self.also.iter().map(String::as_str))
    }

    /// The same, for a vote: whoever comes later by another way must be known again.
    pub(super) fn known_as(&self) -> Vec<String> {
        self.names().map(str::to_owned).collect()
    }

    /// Whether the rule names this person or one of the groups.
    pub fn belongs_to(&self, asked: &Reviewers) -> bool {
        asked.users.contains(&self.name)
            || self.groups.iter().any(|group| asked.groups.contains(group))
    }

    /// As it is recorded.
    pub fn recorded(&self) -> String {
        match &self.issuer {
            Some(issuer) => format!("{} ({issuer})", self.name),
            None => format!("{} (this host)", self.name),
        }
    }

    /// Whether an earlier word is this person's: any name in common, however they came.
    pub(super) fn gave(&self, vote: &Vote) -> bool {
        self.names()
            .any(|own| vote.known_as().any(|name| same(own, name)))
    }
}

impl Vote {
    /// All names of who gave it.
    pub(super) fn known_as(&self) -> impl Iterator<Item = &str> {
        // A vote of an earlier version has the name alone, before where it is from.
        let (by, _) = self.by.rsplit_once(" (").unwrap_or((&self.by, ""));
        std::iter::once(by).chain(self.names.iter().map(String::as_str))
    }
}

/// Names are the same person's in whatever case they are written.
pub(super) fn same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other) || one.to_lowercase() == other.to_lowercase()
}
