//! IO. The desk's part in access: who wants it, who gives it, and what is put up for sessions to read.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::InForce;
use crate::approval::book::Found;
use crate::approval::case::{Lapse, NotCounted, Says, State, Terms};
use crate::approval::clerk::Clerk;
use crate::approval::desk::{Desk, NO_ANSWER, Order as Word, PATIENCE};
use crate::approval::settle::Answer;
use crate::approval::{Case, Request, Reviewer};
use crate::model::{ApprovalId, Reference, UnixMillis};

/// A word to the desk about access.
#[derive(Debug)]
pub(in crate::approval) enum Order {
    Want {
        request: Box<Request>,
        answer: oneshot::Sender<Wants>,
    },
    Give {
        request: Box<Request>,
        reviewer: Reviewer,
        terms: Terms,
        note: Option<String>,
        answer: oneshot::Sender<Result<Case, NotCounted>>,
    },
    Used {
        id: ApprovalId,
        by: Reference,
    },
    Policies(BTreeMap<Arc<str>, Arc<str>>),
}

/// What the desk says to who wants access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wants {
    /// Reviewers are asked.
    Asked(ApprovalId, UnixMillis),
    /// They were asked before, and nobody has decided.
    Waits(ApprovalId, UnixMillis),
    /// It is granted, until then.
    Granted(ApprovalId, UnixMillis),
    /// They said no a moment ago.
    Refused(ApprovalId, String),
    /// It cannot be asked for now.
    No(String),
}

/// An answer that is given once it is written down.
pub(in crate::approval) struct Told {
    to: oneshot::Sender<Wants>,
    wants: Wants,
}

impl Told {
    /// `unkept`: why what it rests on is not written down.
    pub(in crate::approval) fn give(self, unkept: Option<&str>) {
        let wants = match (self.wants, unkept) {
            (Wants::Asked(..), Some(why)) => Wants::No(why.to_owned()),
            (wants, _) => wants,
        };
        let _ = self.to.send(wants); // it may have gone
    }
}

impl Desk {
    /// A name for a new request. `None`: the system gives no randomness, and a name that could be guessed,
    /// or met twice, is none.
    pub fn new_name() -> Option<ApprovalId> {
        let mut id = [0; 8];
        aws_lc_rs::rand::fill(&mut id).ok()?;
        Some(ApprovalId(u64::from_le_bytes(id)))
    }

    /// Somebody wants access: asks reviewers, or says how it stands.
    pub async fn want(&self, request: Request) -> Wants {
        let request = Box::new(request);
        let order = |answer| Word::Access(Order::Want { request, answer });
        match timeout(PATIENCE, self.asked(order)).await {
            Ok(told) => told.unwrap_or_else(|| Wants::No(Lapse::AgentStopped.words().to_owned())),
            Err(_) => Wants::No(NO_ANSWER.to_owned()),
        }
    }

    /// A reviewer gives access unasked, or agrees to what another reviewer gives.
    ///
    /// # Errors
    /// The reviewer may not, or it is in force already.
    pub async fn give(
        &self,
        request: Request,
        reviewer: Reviewer,
        terms: Terms,
        note: Option<String>,
    ) -> Result<Case, NotCounted> {
        let request = Box::new(request);
        let order = |answer| {
            Word::Access(Order::Give {
                request,
                reviewer,
                terms,
                note,
                answer,
            })
        };
        let stopped = || Err(NotCounted::Unrecorded("the agent is stopping".to_owned()));
        self.asked(order).await.unwrap_or_else(stopped)
    }

    /// A statement ran by access that nobody had used yet.
    pub fn access_used(&self, id: ApprovalId, by: Reference) {
        // A full queue leaves it to the recording alone, which has it in any case.
        let _ = self.try_order(Word::Access(Order::Used { id, by }));
    }

    /// Policies that can be granted, as they are from now on: a grant of one that is another now ends.
    pub async fn policies(&self, contents: BTreeMap<Arc<str>, Arc<str>>) {
        self.order(Word::Access(Order::Policies(contents))).await;
    }

    /// The access in force at this moment.
    pub fn access(&self) -> arc_swap::Guard<Arc<InForce>> {
        self.board.load()
    }
}

impl Clerk {
    /// Hears a word about access.
    pub(in crate::approval) fn hear_access(
        &mut self,
        order: Order,
        now: UnixMillis,
        answers: &mut Vec<Answer>,
    ) {
        match order {
            Order::Want { request, answer } => {
                let wants = self.want(*request, now);
                answers.push(Answer::Wants(Told { to: answer, wants }));
            }
            Order::Give {
                request,
                reviewer,
                terms,
                note,
                answer,
            } => {
                let given = self
                    .can_keep()
                    .and_then(|()| self.give(*request, &reviewer, terms, note.as_deref(), now));
                answers.push(Answer::Counted(answer, Box::new(given)));
            }
            Order::Used { id, by } => {
                let unused = |case: &Case| case.request.access().is_some() && case.runs == 0;
                if self.book.case(id).is_some_and(unused) {
                    self.book.take(id, by, now);
                }
            }
            Order::Policies(contents) => {
                self.contents = Some(contents);
                self.end_changed(now);
            }
        }
    }

    /// Ends what was asked or granted of policies that say something else now.
    pub(in crate::approval) fn end_changed(&mut self, now: UnixMillis) {
        let Some(contents) = &self.contents else {
            return;
        };
        let changed = self.book.open().filter(|case| {
            let wanted = case.request.access();
            wanted.is_some_and(|wanted| contents.get(&wanted.policy) != Some(&wanted.content))
        });
        let changed: Vec<ApprovalId> = changed.map(|case| case.request.id).collect();
        for id in changed {
            self.book.lapse(id, Lapse::PolicyChanged, None, now);
        }
    }

    /// Takes down what is over. Before it is written: a disk that hangs must not keep it in force.
    pub(in crate::approval) fn take_down(&self) {
        let left = InForce::of(self.book.open()).only(&self.board.load());
        self.board.store(Arc::new(left));
    }

    /// Puts up what is in force. What cannot be kept any more, and could not be taken back, is not.
    pub(in crate::approval) fn put_up(&self) {
        let in_force = match self.can_keep() {
            Ok(()) => InForce::of(self.book.open()),
            Err(_) => InForce::default(),
        };
        self.board.store(Arc::new(in_force));
    }

    /// Access that is in force and reaches whatever is asked for.
    fn in_force(&self, request: &Request, now: UnixMillis) -> Option<(ApprovalId, UnixMillis)> {
        let workload = request.access().and_then(|wanted| wanted.workload.clone());
        self.book.open().find_map(|case| {
            let State::Approved { until } = case.state else {
                return None;
            };
            let own = case.request.access()?;
            let reaches = own.workload.is_none() || own.workload == workload;
            (now < until && reaches && case.request.wants_as(request))
                .then_some((case.request.id, until))
        })
    }

    fn want(&mut self, request: Request, now: UnixMillis) -> Wants {
        if let Err(why) = self.can_keep() {
            return Wants::No(why.to_string());
        }
        if let Some((id, until)) = self.in_force(&request, now) {
            return Wants::Granted(id, until);
        }
        let lapses = request.lapses;
        match self.book.ask(request, self.settings.bounds, now) {
            Found::Waits(id) => Wants::Asked(id, lapses),
            Found::InForce(id) | Found::StillWaits(id) => {
                let lapses = self.book.case(id).map(|case| case.request.lapses);
                Wants::Waits(id, lapses.unwrap_or(now))
            }
            Found::Refused(id, told) => Wants::Refused(id, told),
            Found::TooMany(why) => Wants::No(why),
        }
    }

    fn give(
        &mut self,
        request: Request,
        reviewer: &Reviewer,
        terms: Terms,
        note: Option<&str>,
        now: UnixMillis,
    ) -> Result<Case, NotCounted> {
        let says = Says::Approve(terms);
        let bounds = self.settings.bounds;
        // Before anything is written: a word that does not count opens no request.
        let mut tried = Case::new(request.clone());
        let meant = tried.meant(says);
        tried.vote(reviewer, meant, note, now, bounds.ticket)?;
        if let Some((id, _)) = self.in_force(&request, now) {
            return Err(NotCounted::Over(format!(
                "it is granted already, as {id}; revoke that first"
            )));
        }
        let workload = |request: &Request| request.access().and_then(|one| one.workload.clone());
        let waits = self.book.open().find(|case| {
            case.pending()
                && case.request.wants_as(&request)
                && workload(&case.request) == workload(&request)
        });
        let id = match waits.map(|case| case.request.id) {
            Some(id) => id,
            None => match self.book.ask(request, bounds, now) {
                Found::Waits(id) => id,
                Found::InForce(id) | Found::StillWaits(id) => id,
                Found::Refused(_, why) | Found::TooMany(why) => {
                    return Err(NotCounted::NoRoom(why));
                }
            },
        };
        self.book.vote(id, reviewer, says, note, bounds, now)
    }
}
