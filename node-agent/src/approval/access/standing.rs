//! The access that is in force, as sessions read it at every statement: put up whole by the desk once it is
//! written down, and read without waiting for anybody.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use crate::approval::case::State;
use crate::approval::request::names;
use crate::approval::reviewer::same as same_name;
use crate::approval::{Case, Vote};
use crate::model::{ApprovalId, Principal, UnixMillis};
use crate::policy::{Granted, PolicySet};

/// Where the desk puts up what is in force.
pub(in crate::approval) type Board = Arc<ArcSwap<InForce>>;

/// A list that is older says nothing: the desk puts one up each second, and one that hangs (on its disk, say)
/// could take nothing back.
const STALE: Duration = Duration::from_secs(30);

/// What is in force, by issuer and subject.
#[derive(Debug)]
pub struct InForce {
    all: HashMap<String, HashMap<String, Vec<Standing>>>,
    /// When it was put up.
    at: Instant,
}

impl Default for InForce {
    fn default() -> Self {
        InForce {
            all: HashMap::new(),
            at: Instant::now(),
        }
    }
}

/// One grant.
#[derive(Debug)]
struct Standing {
    id: ApprovalId,
    policy: Arc<str>,
    content: Arc<str>,
    /// The one workload that it is for.
    workload: Option<Arc<str>>,
    until: UnixMillis,
    /// All names of those who granted it.
    by: Vec<String>,
    /// Somebody has told the desk that a statement ran by it.
    used: AtomicBool,
}

impl InForce {
    /// Of cases, as they stand now.
    pub(super) fn of<'a>(cases: impl Iterator<Item = &'a Case>) -> InForce {
        let mut all = InForce::default();
        for case in cases {
            let (Some(wanted), State::Approved { until }) = (case.request.access(), &case.state)
            else {
                continue;
            };
            let who = &case.request.requester;
            let own = all.all.entry(who.issuer.clone()).or_default();
            own.entry(who.subject.clone()).or_default().push(Standing {
                id: case.request.id,
                policy: wanted.policy.clone(),
                content: wanted.content.clone(),
                workload: wanted.workload.clone(),
                until: *until,
                by: {
                    let names = case.votes.iter().flat_map(Vote::known_as);
                    names.map(str::to_owned).collect()
                },
                used: AtomicBool::new(case.runs > 0),
            });
        }
        all
    }

    /// Whether nobody has renewed it for too long, at a moment.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) > STALE
    }

    /// Without what another list does not hold.
    pub(super) fn only(mut self, held: &InForce) -> InForce {
        let all = || held.all.values().flat_map(|own| own.values()).flatten();
        let ids: HashSet<ApprovalId> = all().map(|standing| standing.id).collect();
        for standings in self.all.values_mut().flat_map(|own| own.values_mut()) {
            standings.retain(|standing| ids.contains(&standing.id));
        }
        self
    }

    /// What is in force for somebody at a moment, by these policies. A policy that says something else
    /// than when it was granted is not; nor is what somebody granted themselves under another name.
    pub fn granted(
        &self,
        principal: &Principal,
        policies: &PolicySet,
        now: UnixMillis,
    ) -> Vec<Granted> {
        let mut found: Vec<Granted> = Vec::new();
        for standing in self.own(principal) {
            if self.is_stale(Instant::now()) {
                break;
            }
            let content = policies.on_request(&standing.policy);
            let same = content.is_some_and(|known| known.content == standing.content);
            let here = standing
                .workload
                .as_ref()
                .is_none_or(|workload| *workload == principal.workload.name);
            let own = || {
                let user = &principal.user;
                names(&user.subject, &user.claims, &user.also)
                    .any(|name| standing.by.iter().any(|by| same_name(by, name)))
            };
            let twice = || found.iter().any(|one| one.policy == standing.policy);
            if now < standing.until && same && here && !own() && !twice() {
                found.push(Granted {
                    policy: standing.policy.clone(),
                    by: Some(standing.id),
                });
            }
        }
        found
    }

    /// A statement runs by it. True: it is the first, and the desk is to know.
    pub fn first_use(&self, principal: &Principal, id: ApprovalId) -> bool {
        let mut own = self.own(principal);
        own.any(|standing| standing.id == id && !standing.used.swap(true, Ordering::Relaxed))
    }

    fn own(&self, principal: &Principal) -> impl Iterator<Item = &Standing> {
        let user = &principal.user;
        let own = self
            .all
            .get(&user.issuer)
            .and_then(|own| own.get(&user.subject));
        own.into_iter().flatten()
    }
}
