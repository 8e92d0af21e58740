//! IO. Writing down what the desk has changed, in its store and in the signed ledger, before anybody is told: a
//! grant that is not on record is none (fail closed).

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::access;
use super::book::Change;
use super::case::{Case, Lapse, NotCounted};
use super::clerk::Clerk;
use super::desk::{NO_STORE, RETIRED};
use super::ruling::{Asked, Grant, Told, refusal};
use super::store::{Store, Writes};
use crate::clock;
use crate::model::{ApprovalId, Refusal, UnixMillis};
use crate::policy::RuleRef;

/// Changes that are kept for followers who are behind.
const KEPT_CHANGES: u64 = 50_000;

/// An answer that is given once what it rests on is written down; and what is said if it cannot be.
pub(super) enum Answer {
    Wants(access::Told),
    Asked(oneshot::Sender<Asked>, Asked, RuleRef),
    Taken(
        oneshot::Sender<Result<Grant, Refusal>>,
        Result<Grant, Refusal>,
        RuleRef,
    ),
    Counted(
        oneshot::Sender<Result<Case, NotCounted>>,
        Box<Result<Case, NotCounted>>,
    ),
}

impl Clerk {
    pub(super) fn tell_lapsed(&mut self, id: ApprovalId, why: Lapse) {
        if let Some((rule, tell)) = self.waiting.remove(&id) {
            let _ = tell.send(Told::Refused(refusal(&rule, why.words()))); // it may have gone
        }
    }

    /// Writes down what has changed, then gives the answers. Where it cannot be written, what could run
    /// by it lapses, and the answers are refusals.
    pub(super) async fn settle(&mut self, answers: Vec<Answer>) {
        self.take_down();
        let (cases, forgotten, changes) = self.book.changed();
        let writes = Writes {
            keep_from: self.book.last_change().saturating_sub(KEPT_CHANGES),
            cursors: std::mem::take(&mut self.cursors),
            cases,
            forgotten,
            changes: changes.clone(),
        };
        let kept = match (&self.store, writes.is_empty()) {
            (_, true) => Ok(()),
            (None, false) => Err(NO_STORE.to_owned()),
            (Some(store), false) => self.keep(store.clone(), writes).await,
        };
        let why = match kept {
            Ok(()) => None,
            Err(why) => {
                tracing::error!(%why, "approvals cannot be kept; nothing is approved");
                let now = clock::now();
                // Nothing may run by what is not on record. (What could not be written before cannot
                // be now; it is read again, as it was, when the store is opened anew.)
                for change in &changes {
                    self.unrecorded.insert(change.id);
                    self.book.lapse(change.id, Lapse::Unrecorded, None, now);
                    self.tell_lapsed(change.id, Lapse::Unrecorded);
                }
                let _ = self.book.changed();
                self.store = None;
                Some(why)
            }
        };
        // Before anybody is told: who hears that access was taken back can rely on it.
        self.put_up();
        for answer in answers {
            answer.give(why.as_deref());
        }
        if why.is_none() {
            self.tell_decided(&changes);
        }
        let last = self.book.last_change();
        self.moved.send_if_modified(|seen| {
            let moved = *seen != last;
            *seen = last;
            moved
        });
    }

    async fn keep(&self, store: Arc<Store>, writes: Writes) -> Result<(), String> {
        let changes = writes.changes.clone();
        let written = spawn_blocking(move || store.write(&writes)).await;
        written
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        self.record
            .approvals(changes.into_iter().map(|change| {
                let step = serde_json::to_value(&change.step);
                (change.id, change.reference, step.unwrap_or_default())
            }))
            .await
            .map_err(|error| error.to_string())
    }

    /// Sessions learn of what was decided.
    fn tell_decided(&mut self, changes: &[Change]) {
        for change in changes {
            let Some(case) = self.book.case(change.id) else {
                continue;
            };
            let told = match &case.state {
                super::State::Approved { .. } => Told::Approved,
                super::State::Refused => {
                    let note = case.votes.last().and_then(|vote| vote.note.as_deref());
                    let note = note.map(|note| format!(": {note}")).unwrap_or_default();
                    Told::Refused(refusal(
                        &case.request.rule,
                        &format!("{}{note}", case.told()),
                    ))
                }
                super::State::Pending | super::State::Used | super::State::Over { .. } => continue,
            };
            if let Some((_, tell)) = self.waiting.remove(&change.id) {
                let _ = tell.send(told); // it may have gone
            }
        }
    }

    pub(super) async fn retire(&mut self, now: UnixMillis) {
        self.retired = true;
        let waiting: Vec<ApprovalId> = self.waiting.keys().copied().collect();
        for id in waiting {
            self.book.lapse(id, Lapse::AgentStopped, None, now);
            if let Some((rule, tell)) = self.waiting.remove(&id) {
                let _ = tell.send(Told::Refused(refusal(&rule, RETIRED))); // it may have gone
            }
        }
        self.settle(Vec::new()).await;
        self.store = None;
        self.put_up();
    }
}

impl Answer {
    /// `unkept`: why what it rests on is not written down.
    fn give(self, unkept: Option<&str>) {
        match (self, unkept) {
            // Dropped, a `Pending` is withdrawn.
            (Answer::Asked(to, Asked::Granted(_) | Asked::Waiting(_), rule), Some(why)) => {
                let _ = to.send(Asked::Refused(refusal(&rule, why))); // it may have gone
            }
            (Answer::Asked(to, asked, _), _) => {
                let _ = to.send(asked); // it may have gone; then it is withdrawn
            }
            (Answer::Taken(to, Ok(_), rule), Some(why)) => {
                let _ = to.send(Err(refusal(&rule, why))); // it may have gone
            }
            (Answer::Taken(to, taken, _), _) => {
                let _ = to.send(taken); // it may have gone; it counts as used
            }
            (Answer::Wants(told), unkept) => told.give(unkept),
            (Answer::Counted(to, counted), unkept) => {
                let counted = match (*counted, unkept) {
                    (Ok(_), Some(why)) => Err(NotCounted::Unrecorded(why.to_owned())),
                    (counted, _) => counted,
                };
                let _ = to.send(counted); // it may have gone
            }
        }
    }
}
