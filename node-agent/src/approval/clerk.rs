//! IO. The task behind the desk: it alone knows all requests, hears one word after another, and gives no answer
//! before what that rests on is written down (`settle`).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::book::{Book, Found};
use super::case::{Case, Lapse, NotCounted};
use super::desk::{DeskSettings, NO_STORE, Order, RETIRED};
use super::ruling::{Asked, Grant, Pending, Told, refusal};
use super::settle::Answer;
use super::store::{Store, StoreError};
use super::{Request, Reviewer, Waits, access};
use crate::clock;
use crate::model::{ApprovalId, Reference, UnixMillis};
use crate::policy::{Obligations, RuleRef};
use crate::record::Recorder;

/// Words that are answered with one write.
const AT_ONCE: usize = 256;
/// How often the store is tried again, while another agent has it or its disk fails.
const RETRY: Duration = Duration::from_secs(1);
/// Nothing sleeps longer: the wall clock can be set, and lapses go by it.
const LOOK: Duration = Duration::from_secs(1);

/// The desk's own side.
pub(super) struct Clerk {
    pub(super) settings: DeskSettings,
    pub(super) record: Arc<Recorder>,
    pub(super) book: Book,
    pub(super) store: Option<Arc<Store>>,
    pub(super) retired: bool,
    /// Sessions that wait for a ruling.
    pub(super) waiting: HashMap<ApprovalId, (RuleRef, oneshot::Sender<Told>)>,
    pub(super) moved: watch::Sender<u64>,
    pub(super) orders: mpsc::WeakSender<Order>,
    pub(super) cursors: Vec<(String, u64)>,
    /// What may be in the store and not in the ledger.
    pub(super) unrecorded: HashSet<ApprovalId>,
    /// Where the access in force is put up.
    pub(super) board: access::Board,
    /// What the policies that can be granted say now; `None`: nobody has said it yet.
    pub(super) contents: Option<BTreeMap<Arc<str>, Arc<str>>>,
}

impl Clerk {
    pub(super) async fn run(mut self, mut heard: mpsc::Receiver<Order>) {
        self.open().await;
        let mut orders = Vec::with_capacity(AT_ONCE);
        loop {
            let pause = match (&self.store, self.retired) {
                (None, false) => RETRY,
                _ => LOOK.min(self.until_next_lapse()),
            };
            tokio::select! {
                biased;
                came = heard.recv_many(&mut orders, AT_ONCE) => if came == 0 { break },
                () = sleep(pause) => {}
            }
            if self.store.is_none() && !self.retired {
                self.open().await;
            }
            let now = clock::now();
            let mut answers = Vec::new();
            for order in orders.drain(..) {
                self.hear(order, now, &mut answers).await;
            }
            for (id, why) in self.book.lapse_overdue(now) {
                self.tell_lapsed(id, why);
            }
            self.settle(answers).await;
        }
        // The last session is gone; what it left open is closed by whoever opens the store next.
    }

    fn until_next_lapse(&self) -> Duration {
        let Some(next) = self.book.next_lapse() else {
            return LOOK;
        };
        let left = next.0.saturating_sub(clock::now().0);
        Duration::from_millis(u64::try_from(left).unwrap_or(0))
    }

    async fn open(&mut self) {
        let dir = self.settings.dir.clone();
        let opened = spawn_blocking(move || {
            let store = Store::open(&dir)?;
            let cases = store.cases()?;
            let last = store.last_change()?;
            Ok::<_, StoreError>((store, cases, last))
        });
        match opened.await {
            Ok(Ok((store, cases, last))) => {
                let now = clock::now();
                self.store = Some(Arc::new(store));
                self.book = Book::stored(cases, last, now);
                // What was stored and could not be told to the ledger counts no more than what was not.
                for id in std::mem::take(&mut self.unrecorded) {
                    self.book.lapse(id, Lapse::Unrecorded, None, now);
                }
                let waiting: Vec<ApprovalId> = self.waiting.keys().copied().collect();
                for id in waiting {
                    self.tell_lapsed(id, Lapse::Unrecorded);
                }
                self.end_changed(now);
                self.book.lapse_overdue(now);
                self.settle(Vec::new()).await;
            }
            // As while one agent takes over from another.
            Ok(Err(StoreError::Held(path))) => {
                tracing::debug!(path = %path.display(), "the approvals are another agent's");
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "approvals cannot be kept; nothing is approved")
            }
            Err(error) => tracing::error!(%error, "opening the approvals failed"),
        }
    }

    async fn hear(&mut self, order: Order, now: UnixMillis, answers: &mut Vec<Answer>) {
        match order {
            Order::Ask {
                request,
                obligations,
                answer,
            } => {
                let rule = request.rule.clone();
                let asked = self.ask(*request, &obligations, now);
                answers.push(Answer::Asked(answer, asked, rule));
            }
            Order::Take {
                id,
                bound,
                obligations,
                answer,
            } => {
                let Some(case) = self.book.case(id) else {
                    return; // who asked hears that the desk has nothing for it
                };
                let (rule, reference) = (case.request.rule.clone(), case.request.reference);
                let taken = if case.request.binding == bound {
                    self.take(id, reference, &obligations, now)
                        .ok_or(Lapse::Unused)
                } else {
                    self.book.lapse(id, Lapse::NamesChanged, None, now);
                    Err(Lapse::NamesChanged)
                };
                let taken = taken.map_err(|why| refusal(&rule, why.words()));
                answers.push(Answer::Taken(answer, taken, rule));
            }
            Order::Withdraw { id, why } => {
                self.waiting.remove(&id);
                self.book.lapse(id, why, None, now);
            }
            Order::Vote {
                id,
                reviewer,
                says,
                note,
                answer,
            } => {
                let counted = self.can_keep().and_then(|()| {
                    let note = note.as_deref();
                    self.book
                        .vote(id, &reviewer, says, note, self.settings.bounds, now)
                });
                answers.push(Answer::Counted(answer, Box::new(counted)));
            }
            Order::Revoke {
                id,
                reviewer,
                answer,
            } => {
                let revoked = self
                    .can_keep()
                    .and_then(|()| self.revoke(id, &reviewer, now));
                answers.push(Answer::Counted(answer, Box::new(revoked)));
            }
            Order::WouldAsk { request, answer } => {
                let bounds = self.settings.bounds;
                let would = self.can_keep().is_ok() && self.book.would_ask(*request, bounds, now);
                let _ = answer.send(would); // who asked may be gone
            }
            Order::MayPreview {
                id,
                reviewer,
                answer,
            } => {
                let may = self.can_keep().and_then(|()| {
                    let case = self.book.case(id).ok_or(NotCounted::Unknown)?;
                    case.may_preview(&reviewer, now).map(|()| case.clone())
                });
                let _ = answer.send(may); // who asked may be gone
            }
            Order::Previewed {
                id,
                by,
                tables,
                failed,
                answer,
            } => {
                let written = self.can_keep().and_then(|()| {
                    let known = self.book.previewed(id, by, tables, failed, now);
                    let case = self.book.case(id).filter(|_| known);
                    case.cloned().ok_or(NotCounted::Unknown)
                });
                answers.push(Answer::Counted(answer, Box::new(written)));
            }
            Order::SessionOver(session) => self.book.session_over(session, now),
            Order::List { all, most, answer } => {
                let _ = answer.send(self.book.list(all, most)); // who asked may be gone
            }
            Order::Find { id, answer } => {
                let _ = answer.send(self.book.case(id).cloned()); // who asked may be gone
            }
            Order::Changes {
                after,
                most,
                answer,
            } => {
                let read = self.read(move |store| store.changes(after, most)).await;
                let _ = answer.send(read.unwrap_or_default()); // who asked may be gone
            }
            Order::Cursor { reader, answer } => {
                let read = self.read(move |store| store.cursor(&reader)).await;
                let _ = answer.send(read.flatten()); // who asked may be gone
            }
            Order::Follow { reader, answer } => {
                let name = reader.clone();
                let at = match self.read(move |store| store.cursor(&name)).await {
                    Some(None) => {
                        let last = self.book.last_change();
                        self.cursors.push((reader, last));
                        Some(last)
                    }
                    Some(at) => at,
                    None => None,
                };
                let _ = answer.send(at); // who asked may be gone
            }
            Order::SetCursor { reader, at } => self.cursors.push((reader, at)),
            Order::Access(order) => self.hear_access(order, now, answers),
            Order::Retire => {
                // What was said before is answered by what is written for it, and by nothing later.
                self.settle(std::mem::take(answers)).await;
                self.retire(now).await;
            }
        }
    }

    pub(super) fn can_keep(&self) -> Result<(), NotCounted> {
        match (&self.store, self.retired) {
            (Some(_), false) => Ok(()),
            (_, true) => Err(NotCounted::Unrecorded(RETIRED.to_owned())),
            (None, false) => Err(NotCounted::Unrecorded(NO_STORE.to_owned())),
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Option<T> {
        let store = self.store.clone()?;
        match spawn_blocking(move || read(&store)).await {
            Ok(Ok(read)) => Some(read),
            Ok(Err(error)) => {
                tracing::error!(%error, "the approvals cannot be read");
                None
            }
            Err(_) => None,
        }
    }

    fn ask(&mut self, request: Request, obligations: &Arc<Obligations>, now: UnixMillis) -> Asked {
        let rule = request.rule.clone();
        let refused = |why: &str| Asked::Refused(refusal(&rule, why));
        if self.retired {
            return refused(RETIRED);
        }
        if self.store.is_none() {
            return refused(NO_STORE);
        }
        let (reference, waits, lapses) = (request.reference, request.waits, request.lapses);
        let Some(desk) = self.orders.upgrade() else {
            return refused(Lapse::AgentStopped.words());
        };
        match self.book.ask(request, self.settings.bounds, now) {
            Found::InForce(id) => match self.take(id, reference, obligations, now) {
                Some(grant) => Asked::Granted(grant),
                None => refused(Lapse::Unused.words()),
            },
            Found::Waits(id) if waits == Waits::Held => {
                let (tell, told) = oneshot::channel();
                self.waiting.insert(id, (rule.clone(), tell));
                Asked::Waiting(Box::new(Pending::new(id, rule, told, desk)))
            }
            Found::Waits(id) => {
                let minutes = (lapses.0.saturating_sub(now.0) + 59_999) / 60_000;
                Asked::Refused(
                    refusal(&rule, &format!("reviewers were asked, as {id}")).hint(format!(
                        "Send exactly the same statement again once {id} is approved, within \
                         {minutes} minutes from now for the decision and {} for the run.",
                        self.settings.bounds.ticket / 60_000
                    )),
                )
            }
            Found::StillWaits(id) => Asked::Refused(
                refusal(
                    &rule,
                    &format!("it was asked for as {id}, and nobody has decided yet"),
                )
                .hint("Send exactly the same statement again once it is approved."),
            ),
            Found::Refused(id, told) => refused(&format!("{id} was {told}")),
            Found::TooMany(why) => refused(&why),
        }
    }

    fn take(
        &mut self,
        id: ApprovalId,
        by: Reference,
        obligations: &Arc<Obligations>,
        now: UnixMillis,
    ) -> Option<Grant> {
        let case = self.book.take(id, by, now)?;
        let who = case.votes.iter().map(|vote| vote.by.clone()).collect();
        let terms = case.terms().unwrap_or_default();
        Some(Grant::new(
            id,
            by,
            case.request.rule.clone(),
            terms,
            who,
            obligations,
        ))
    }

    fn revoke(
        &mut self,
        id: ApprovalId,
        reviewer: &Reviewer,
        now: UnixMillis,
    ) -> Result<Case, NotCounted> {
        let case = self.book.case(id).ok_or(NotCounted::Unknown)?;
        if !case.open() {
            return Err(NotCounted::NotInForce);
        }
        // To end something nobody needs to be another than the requester.
        if !reviewer.belongs_to(&case.request.asks.reviewers) {
            return Err(NotCounted::NotAsked {
                who: reviewer.name.clone(),
                asks: case.request.asks.reviewers.to_string(),
            });
        }
        self.book
            .lapse(id, Lapse::Revoked, Some(reviewer.recorded()), now);
        self.tell_lapsed(id, Lapse::Revoked);
        self.book.case(id).cloned().ok_or(NotCounted::Unknown)
    }
}
