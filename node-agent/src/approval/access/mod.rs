//! Pure but for `desk.rs` and the locks of what is shared. Access: a policy that is in force for nobody is
//! granted to one identity for a time. It is asked for and decided on as a held statement is, by the same
//! desk and in the same book; what is in force, sessions read in a list that the desk puts up.

mod desk;
mod refused;
mod standing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::case::{Lapse, NotCounted, Says, Scope, State, Terms};
use super::{Binder, Binding, Case, Matter, Request, Requester, Shown};
use crate::policy::OnRequest;

pub use desk::Wants;
pub(super) use desk::{Order, Told};
pub use refused::{Refusals, Refused};
pub(super) use standing::Board;
pub use standing::InForce;

/// The rule that stands beside a request for access: no rule of the policy, but the policy itself.
pub const RULE: &str = "access";

/// A policy that somebody wants to be in force for them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wanted {
    /// Its name.
    pub policy: Arc<str>,
    /// Stands for all that it said when it was asked for. A grant is for that, and for no other text.
    pub content: Arc<str>,
    /// What it allows, a line each.
    pub rules: Vec<String>,
    /// The longest that it may be granted for, milliseconds.
    pub longest: u64,
    /// For how long where a reviewer does not say, milliseconds.
    pub usual: u64,
    /// The one workload that it would be in force in; `None`: in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Arc<str>>,
    /// The statement that was refused without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Shown>,
    /// Why that statement is not shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unshown: Option<String>,
    /// The reviewer who granted it unasked, as recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

impl Wanted {
    /// Of a policy, in one workload or in all.
    pub fn of(policy: &OnRequest, workload: Option<Arc<str>>) -> Wanted {
        Wanted {
            policy: policy.policy.clone(),
            content: policy.content.clone(),
            rules: policy.rules.clone(),
            longest: policy.longest,
            usual: policy.usual,
            workload,
            refused: None,
            unshown: None,
            by: None,
        }
    }

    /// Stands for what is wanted by whom: what is asked twice is asked once.
    pub fn binding(&self, by: &Requester) -> Binding {
        let bound = Binder::default()
            .with("access", self.policy.as_bytes())
            .with("content", self.content.as_bytes())
            .with("issuer", &by.issuer)
            .with("subject", &by.subject);
        match &self.workload {
            Some(workload) => bound.with("workload", workload.as_bytes()),
            None => bound.with("every workload", ""),
        }
        .bound()
    }
}

/// To what access is wanted, and for whom: what the ledger keeps of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForWhom {
    /// The policy.
    pub policy: Arc<str>,
    /// Stands for all that it said.
    pub content: Arc<str>,
    /// Whose user.
    pub issuer: String,
    /// The user.
    pub subject: String,
    /// The one workload; `None`: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Arc<str>>,
}

impl Request {
    /// Who asked: a reviewer, where access is given unasked.
    pub(super) fn asked_by(&self) -> &str {
        let by = self.access().and_then(|wanted| wanted.by.as_deref());
        by.unwrap_or(&self.requester.subject)
    }

    pub(super) fn for_whom(&self) -> Option<ForWhom> {
        let wanted = self.access()?;
        Some(ForWhom {
            policy: wanted.policy.clone(),
            content: wanted.content.clone(),
            issuer: self.requester.issuer.clone(),
            subject: self.requester.subject.clone(),
            workload: wanted.workload.clone(),
        })
    }

    /// What of access it asks for, if it does.
    pub fn access(&self) -> Option<&Wanted> {
        match &self.matter {
            Matter::Access(wanted) => Some(wanted),
            Matter::Statement(_) | Matter::Commit(_) => None,
        }
    }

    /// Whether it asks for the same policy for the same identity.
    fn wants_as(&self, other: &Request) -> bool {
        let (Some(own), Some(theirs)) = (self.access(), other.access()) else {
            return false;
        };
        own.policy == theirs.policy
            && own.content == theirs.content
            && self.requester.issuer == other.requester.issuer
            && self.requester.subject == other.requester.subject
    }
}

impl Case {
    /// What a reviewer means who names no terms of access: those of the reviewers before, else the usual
    /// time.
    pub(super) fn meant(&self, says: Says) -> Says {
        let Some(wanted) = self.request.access() else {
            return says;
        };
        match says {
            Says::Approve(terms) if terms.scope == Scope::Once => {
                let scope = match self.terms() {
                    Some(agreed) => agreed.scope,
                    None => Scope::Access(wanted.usual),
                };
                Says::Approve(Terms { scope, ..terms })
            }
            says => says,
        }
    }

    /// Whether these terms can be granted, where it is about access (`None`: it is not).
    pub(super) fn access_offered(&self, terms: Terms) -> Option<Result<(), NotCounted>> {
        let wanted = self.request.access()?;
        let Scope::Access(time) = terms.scope else {
            return Some(Err(NotCounted::NotOffered(
                "anything but a time: access to a policy is granted for one",
            )));
        };
        if time == 0 || time > wanted.longest {
            return Some(Err(NotCounted::NotOffered("access for so long a time")));
        }
        if terms.unmasked || terms.max_rows.is_some() {
            return Some(Err(NotCounted::NotOffered(
                "terms beside the time: what the policies say of rows and masks holds",
            )));
        }
        Some(Ok(()))
    }

    /// What has become of it, in words, where it is about access.
    pub(super) fn access_told(&self, yes: &str) -> Option<String> {
        self.request.access()?;
        match &self.state {
            State::Approved { .. } => Some(format!(
                "granted by {yes}{}",
                if self.runs > 0 { ", and used" } else { "" }
            )),
            State::Over { why } => Some(
                match why {
                    Lapse::PolicyChanged => "its policy was changed",
                    Lapse::Revoked => "it was taken back",
                    why => why.words(),
                }
                .to_owned(),
            ),
            State::Pending | State::Used | State::Refused => None,
        }
    }
}

/// A time as people say it: `45 s`, `30 min`, `4 h`.
pub fn time(milliseconds: u64) -> String {
    match milliseconds.div_ceil(1000) {
        seconds if seconds >= 7200 && seconds.is_multiple_of(3600) => {
            format!("{} h", seconds / 3600)
        }
        seconds @ 120.. => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{seconds} s"),
    }
}
