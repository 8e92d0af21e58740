//! Pure. All requests, and what each word about them changes. Time is given; what changes is written down
//! by the caller before anybody is told.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::access::ForWhom;
use super::case::{Lapse, NotCounted, Says, Scope, State, Terms};
use super::{Case, Changed, Request, Reviewer, Waits};
use crate::model::{ApprovalId, Reference, SessionId, UnixMillis};

/// Open requests of the whole node. More are refused.
const MOST_OPEN: usize = 4096;
/// Requests that are over and kept, for lists.
const MOST_OVER: usize = 10_000;
/// What the open ones and those that are over may take, bytes as they are written: all of them together are
/// still one answer to the command line.
const MOST_OPEN_BYTES: usize = 32 << 20;
const MOST_OVER_BYTES: usize = 16 << 20;
/// What the open ones of one identity may take: nobody takes the place of others.
const MOST_OWN_BYTES: usize = MOST_OPEN_BYTES / 8;
/// How long a request that its own client withdrew still counts as one of its identity, milliseconds: who asks
/// and withdraws by turns keeps no reviewer, and no webhook, from what others ask.
const WITHDRAWN: i64 = 60_000;

/// What happened to a request, for whoever follows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Its number, from 1, without gaps.
    pub seq: u64,
    /// When.
    pub at: UnixMillis,
    /// To which.
    pub id: ApprovalId,
    /// Of which statement.
    pub reference: Reference,
    /// What.
    #[serde(flatten)]
    pub step: Step,
}

/// One step of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// It was asked.
    Asked {
        /// By whom: the token's subject.
        by: String,
        /// From which workload.
        workload: String,
        /// It is about access: to what, and for whom.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        access: Option<Box<ForWhom>>,
    },
    /// A reviewer approved it, and others must too.
    Voted {
        /// Who.
        by: String,
    },
    /// It is approved.
    Approved {
        /// By whom.
        by: Vec<String>,
        /// On which terms.
        terms: Terms,
        /// In their words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// It is refused.
    Refused {
        /// By whom.
        by: String,
        /// In their words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// A reviewer had it run and rolled back, to see what it would do.
    Previewed {
        /// Who.
        by: String,
        /// How many rows of which tables it was about.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tables: Vec<Changed>,
        /// Why nobody knows what it would do, or that it would fail.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failed: Option<String>,
    },
    /// A statement runs by it.
    Used {
        /// Which.
        by: Reference,
    },
    /// It ended.
    Over {
        /// Why.
        why: Lapse,
        /// Who took it back, where somebody did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
}

/// How many requests one identity may have open.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Open at once, of one identity; those count that its clients withdrew within the last minute.
    pub per_identity: usize,
    /// How long an approval may wait to be used, milliseconds.
    pub ticket: i64,
}

/// What an ask finds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Found {
    /// An approval in force: this one; it is used now.
    InForce(ApprovalId),
    /// It waits.
    Waits(ApprovalId),
    /// The same was asked before, and still waits.
    StillWaits(ApprovalId),
    /// The same was asked a moment ago, and the answer was no.
    Refused(ApprovalId, String),
    /// There is no room for it.
    TooMany(String),
}

/// All requests.
#[derive(Debug, Default)]
pub(super) struct Book {
    cases: HashMap<ApprovalId, Case>,
    /// Those that something can still come of, and their sizes.
    open: BTreeMap<ApprovalId, usize>,
    /// Those that are over, oldest first, and their sizes.
    over: BTreeMap<(UnixMillis, ApprovalId), usize>,
    over_bytes: usize,
    last_change: u64,
    changes: Vec<Change>,
    touched: BTreeMap<ApprovalId, ()>,
    forgotten: Vec<ApprovalId>,
}

impl Book {
    /// As it was stored, by an agent that is gone: what hung on its sessions lapses.
    pub(super) fn stored(cases: Vec<Case>, last_change: u64, now: UnixMillis) -> Book {
        let mut book = Book {
            last_change,
            ..Book::default()
        };
        for case in cases {
            let id = case.request.id;
            let size = size(&case);
            if case.open() {
                book.open.insert(id, size);
            } else {
                book.is_over(case.changed, id, size);
            }
            book.cases.insert(id, case);
        }
        book.forget();
        let hanging: Vec<ApprovalId> = book
            .open()
            .filter(|case| case.hangs_on().is_some())
            .map(|case| case.request.id)
            .collect();
        for id in hanging {
            book.lapse(id, Lapse::AgentStopped, None, now);
        }
        book
    }

    pub(super) fn case(&self, id: ApprovalId) -> Option<&Case> {
        self.cases.get(&id)
    }

    pub(super) fn open(&self) -> impl Iterator<Item = &Case> {
        self.open.keys().filter_map(|id| self.cases.get(id))
    }

    /// The open ones, oldest first; with `all` those that are over too, the latest first behind them.
    pub(super) fn list(&self, all: bool, most: usize) -> Vec<Case> {
        let mut open: Vec<&Case> = self.open().collect();
        open.sort_by_key(|case| (case.request.at, case.request.id));
        let over = self.over.keys().rev().filter(|_| all);
        let over = over.filter_map(|(_, id)| self.cases.get(id));
        open.into_iter().chain(over).take(most).cloned().collect()
    }

    /// When something lapses next.
    pub(super) fn next_lapse(&self) -> Option<UnixMillis> {
        let ends = self.open().map(|case| match case.state {
            State::Approved { until } => until,
            _ => case.request.lapses,
        });
        ends.min()
    }

    /// What has changed since the last call: cases, cases that are forgotten, and the steps.
    pub(super) fn changed(&mut self) -> (Vec<Case>, Vec<ApprovalId>, Vec<Change>) {
        let touched = std::mem::take(&mut self.touched);
        let cases = touched
            .keys()
            .filter_map(|id| self.cases.get(id).cloned())
            .collect();
        (
            cases,
            std::mem::take(&mut self.forgotten),
            std::mem::take(&mut self.changes),
        )
    }

    pub(super) fn last_change(&self) -> u64 {
        self.last_change
    }

    fn step(&mut self, id: ApprovalId, reference: Reference, step: Step, at: UnixMillis) {
        self.last_change += 1;
        self.changes.push(Change {
            seq: self.last_change,
            at,
            id,
            reference,
            step,
        });
        self.touched.insert(id, ());
        let Some(case) = self.cases.get(&id) else {
            return;
        };
        let (open, changed, size) = (case.open(), case.changed, size(case));
        if open {
            self.open.insert(id, size);
        } else if self.open.remove(&id).is_some() {
            self.is_over(changed, id, size);
            self.forget();
        }
    }

    fn is_over(&mut self, changed: UnixMillis, id: ApprovalId, size: usize) {
        self.over.insert((changed, id), size);
        self.over_bytes = self.over_bytes.saturating_add(size);
    }

    /// What is over is kept within bounds: the oldest go.
    fn forget(&mut self) {
        while self.over.len() > MOST_OVER || self.over_bytes > MOST_OVER_BYTES {
            let Some(((_, oldest), size)) = self.over.pop_first() else {
                break;
            };
            self.over_bytes = self.over_bytes.saturating_sub(size);
            self.cases.remove(&oldest);
            self.touched.remove(&oldest);
            self.forgotten.push(oldest);
        }
    }

    /// A rule holds a statement.
    pub(super) fn ask(&mut self, request: Request, bounds: Bounds, now: UnixMillis) -> Found {
        if let Some(found) = self.asked_before(&request, now) {
            return found;
        }
        let case = Case::new(request);
        let size = size(&case);
        if let Err(why) = self.room(&case, size, bounds, now) {
            return Found::TooMany(why);
        }
        let request = &case.request;
        let id = request.id;
        let step = Step::Asked {
            by: request.asked_by().to_owned(),
            workload: request.requester.workload.name.to_string(),
            access: request.for_whom().map(Box::new),
        };
        let reference = request.reference;
        self.cases.insert(id, case);
        self.open.insert(id, size);
        self.step(id, reference, step, now);
        Found::Waits(id)
    }

    /// Those that their own clients withdrew a moment ago.
    fn just_withdrawn(&self, now: UnixMillis) -> impl Iterator<Item = &Case> {
        let over = self.over.keys().rev();
        over.take_while(move |(changed, _)| now.0.saturating_sub(changed.0) < WITHDRAWN)
            .filter_map(|(_, id)| self.cases.get(id))
            .filter(|case| match case.state {
                State::Over { why } => matches!(
                    why,
                    Lapse::ClientGone | Lapse::Cancelled | Lapse::SessionOver
                ),
                State::Pending | State::Approved { .. } | State::Used | State::Refused => false,
            })
    }

    /// Whether there is room for one more of this user, and why not.
    fn room(
        &self,
        case: &Case,
        size: usize,
        bounds: Bounds,
        now: UnixMillis,
    ) -> Result<(), String> {
        let request = &case.request;
        let same = |case: &&Case| {
            let (theirs, own) = (&case.request.requester, &request.requester);
            theirs.issuer == own.issuer && theirs.subject == own.subject
        };
        let open = self.open().filter(same).count();
        let withdrawn = self.just_withdrawn(now).filter(same).count();
        if open + withdrawn >= bounds.per_identity {
            return Err(format!(
                "{open} requests of the same user are open, and {withdrawn} were withdrawn within the last \
                 minute, which is the most there may be"
            ));
        }
        let sizes = self.open.iter();
        let own: usize = sizes
            .filter_map(|(id, size)| same(&self.cases.get(id)?).then_some(size))
            .sum();
        if own.saturating_add(size) > MOST_OWN_BYTES {
            return Err("the open requests of the same user are too long together".to_owned());
        }
        let all: usize = self.open.values().sum();
        if self.open.len() >= MOST_OPEN || all.saturating_add(size) > MOST_OPEN_BYTES {
            return Err("too many requests of others are open".to_owned());
        }
        Ok(())
    }

    /// Whether reviewers would be asked for it now: nothing is in force for it, and there is room.
    pub(super) fn would_ask(&self, request: Request, bounds: Bounds, now: UnixMillis) -> bool {
        if self.asked_before(&request, now).is_some() {
            return false;
        }
        let case = Case::new(request);
        self.room(&case, size(&case), bounds, now).is_ok()
    }

    fn asked_before(&self, request: &Request, now: UnixMillis) -> Option<Found> {
        // An approval that is in force for it.
        let mut in_force = self.open().filter(|case| covers(case, request, now));
        if let Some(id) = in_force.next().map(|case| case.request.id) {
            return Some(Found::InForce(id));
        }
        // One that is waited for on a connection is another one's.
        let same = |case: &&Case| {
            case.request.waits == Waits::Retry && case.request.binding == request.binding
        };
        if let Some(case) = self.open().find(same) {
            return Some(Found::StillWaits(case.request.id));
        }
        // Who was told no asks again when the time of that request is over.
        let over = self
            .over
            .keys()
            .rev()
            .filter_map(|(_, id)| self.cases.get(id));
        let refused = over
            .take_while(|case| now.0.saturating_sub(case.changed.0) < AGAIN)
            .find(|case| case.request.binding == request.binding && case.state == State::Refused)?;
        Some(Found::Refused(refused.request.id, refused.told()))
    }

    /// A reviewer's word.
    pub(super) fn vote(
        &mut self,
        id: ApprovalId,
        reviewer: &Reviewer,
        says: Says,
        note: Option<&str>,
        bounds: Bounds,
        now: UnixMillis,
    ) -> Result<Case, NotCounted> {
        let case = self.cases.get_mut(&id).ok_or(NotCounted::Unknown)?;
        let says = case.meant(says);
        case.vote(reviewer, says, note, now, bounds.ticket)?;
        let case = case.clone();
        let by = reviewer.recorded();
        let note = case.votes.last().and_then(|vote| vote.note.clone());
        let step = match (&case.state, says) {
            (State::Approved { .. }, Says::Approve(terms)) => Step::Approved {
                by: case.votes.iter().map(|vote| vote.by.clone()).collect(),
                terms,
                note,
            },
            (_, Says::Approve(_)) => Step::Voted { by },
            (_, Says::Refuse) => Step::Refused { by, note },
        };
        self.step(id, case.request.reference, step, now);
        Ok(case)
    }

    /// A reviewer had it previewed. False: it is not known any more.
    pub(super) fn previewed(
        &mut self,
        id: ApprovalId,
        by: String,
        tables: Vec<Changed>,
        failed: Option<String>,
        now: UnixMillis,
    ) -> bool {
        let Some(case) = self.cases.get(&id) else {
            return false;
        };
        let reference = case.request.reference;
        self.step(id, reference, Step::Previewed { by, tables, failed }, now);
        true
    }

    /// A statement is about to run by an approval: from here on it is used. `None`: it may not.
    pub(super) fn take(&mut self, id: ApprovalId, by: Reference, now: UnixMillis) -> Option<&Case> {
        let case = self.cases.get_mut(&id)?;
        if !case.used(now) {
            return None;
        }
        let reference = case.request.reference;
        self.step(id, reference, Step::Used { by }, now);
        self.cases.get(&id)
    }

    /// It ends. False: it was over.
    pub(super) fn lapse(
        &mut self,
        id: ApprovalId,
        why: Lapse,
        by: Option<String>,
        now: UnixMillis,
    ) -> bool {
        let Some(case) = self.cases.get_mut(&id) else {
            return false;
        };
        if !case.lapse(why, now) {
            return false;
        }
        let reference = case.request.reference;
        self.step(id, reference, Step::Over { why, by }, now);
        true
    }

    /// What should be over by now, is.
    pub(super) fn lapse_overdue(&mut self, now: UnixMillis) -> Vec<(ApprovalId, Lapse)> {
        let overdue = self.open().filter_map(|case| {
            let why = case.overdue(now)?;
            Some((case.request.id, why))
        });
        let overdue: Vec<_> = overdue.collect();
        for (id, why) in &overdue {
            self.lapse(*id, *why, None, now);
        }
        overdue
    }

    /// A session is over, and what hangs on it.
    pub(super) fn session_over(&mut self, session: SessionId, now: UnixMillis) {
        let hanging = self.open().filter(|case| case.hangs_on() == Some(session));
        let hanging: Vec<ApprovalId> = hanging.map(|case| case.request.id).collect();
        for id in hanging {
            self.lapse(id, Lapse::SessionOver, None, now);
        }
    }
}

/// What a case takes, bytes as it is written. One that cannot be written has no place.
fn size(case: &Case) -> usize {
    struct Counted(usize);
    impl std::io::Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.saturating_add(bytes.len());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counted = Counted(0);
    match serde_json::to_writer(&mut counted, case) {
        Ok(()) => counted.0,
        Err(_) => usize::MAX,
    }
}

/// How long somebody who was told no is told so again without a new request, milliseconds.
const AGAIN: i64 = 10 * 60 * 1000;

/// Whether an approval is in force for what is asked: everything that it is bound to must be the same.
fn covers(case: &Case, request: &Request, now: UnixMillis) -> bool {
    let State::Approved { until } = case.state else {
        return false;
    };
    let Some(terms) = case.terms() else {
        return false;
    };
    let own = &case.request;
    let same_rule = own.rule == request.rule && own.policy_version == request.policy_version;
    let same_user = own.requester.issuer == request.requester.issuer
        && own.requester.subject == request.requester.subject
        && own.requester.workload.name == request.requester.workload.name;
    if now >= until || !same_rule || !same_user || own.asks != request.asks {
        return false;
    }
    match terms.scope {
        // What is held on a connection is taken by that one alone.
        Scope::Once => own.waits == Waits::Retry && own.binding == request.binding,
        Scope::Session => own.reference.session == request.reference.session,
        Scope::Shape(_) => own.shape.is_some() && own.shape == request.shape,
        // No statement runs by it as by an approval: policy decides.
        Scope::Access(_) => false,
    }
}
