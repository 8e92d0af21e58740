//! IO. The desk: one task that knows all requests. What it changes it writes down, in its store and in
//! the signed ledger, before it tells anybody: a grant that is not on record is none (fail closed).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::book::{Book, Bounds, Change, Found};
use super::case::{Case, Lapse, NotCounted, Says};
use super::preview::Previews;
use super::ruling::{Asked, Grant, Pending, Told, refusal};
use super::store::{Store, StoreError, Writes};
use super::{Binding, Changed, Request, Reviewer, Waits, access};
use crate::clock;
use crate::model::{ApprovalId, Reference, Refusal, SessionId, UnixMillis};
use crate::policy::{Obligations, RuleRef};
use crate::record::Recorder;

/// Words that may wait for the desk.
const QUEUE: usize = 1024;
/// Words that are answered with one write.
const AT_ONCE: usize = 256;
/// How long a session waits for the desk's answer. A desk that hangs, on its disk say, is none.
pub(super) const PATIENCE: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 20_000 });
/// How often the store is tried again, while another agent has it or its disk fails.
const RETRY: Duration = Duration::from_secs(1);
/// Nothing sleeps longer: the wall clock can be set, and lapses go by it.
const LOOK: Duration = Duration::from_secs(1);
/// Changes that are kept for followers who are behind.
const KEPT_CHANGES: u64 = 50_000;

/// How the desk is set up.
#[derive(Clone, Debug)]
pub struct DeskSettings {
    /// Where its store lies.
    pub dir: PathBuf,
    /// How long a statement waits whose rule does not say.
    pub timeout: Duration,
    /// Bounds.
    pub bounds: Bounds,
}

/// Where held statements are brought, and where humans decide. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Desk {
    orders: mpsc::Sender<Order>,
    moved: watch::Receiver<u64>,
    timeout: Duration,
    pub(super) previews: Arc<Previews>,
    /// The access in force.
    pub(super) board: access::Board,
    refusals: Arc<access::Refusals>,
}

/// A word to the desk.
#[derive(Debug)]
pub(super) enum Order {
    Ask {
        request: Box<Request>,
        obligations: Arc<Obligations>,
        answer: oneshot::Sender<Asked>,
    },
    Take {
        id: ApprovalId,
        bound: Binding,
        obligations: Arc<Obligations>,
        answer: oneshot::Sender<Result<Grant, Refusal>>,
    },
    Withdraw {
        id: ApprovalId,
        why: Lapse,
    },
    Vote {
        id: ApprovalId,
        reviewer: Reviewer,
        says: Says,
        note: Option<String>,
        answer: oneshot::Sender<Result<Case, NotCounted>>,
    },
    Revoke {
        id: ApprovalId,
        reviewer: Reviewer,
        answer: oneshot::Sender<Result<Case, NotCounted>>,
    },
    /// Whether reviewers would be asked for this now.
    WouldAsk {
        request: Box<Request>,
        answer: oneshot::Sender<bool>,
    },
    MayPreview {
        id: ApprovalId,
        reviewer: Reviewer,
        answer: oneshot::Sender<Result<Case, NotCounted>>,
    },
    Previewed {
        id: ApprovalId,
        by: String,
        tables: Vec<Changed>,
        failed: Option<String>,
        answer: oneshot::Sender<Result<Case, NotCounted>>,
    },
    SessionOver(SessionId),
    List {
        all: bool,
        most: usize,
        answer: oneshot::Sender<Vec<Case>>,
    },
    Find {
        id: ApprovalId,
        answer: oneshot::Sender<Option<Case>>,
    },
    Changes {
        after: u64,
        most: usize,
        answer: oneshot::Sender<Vec<Change>>,
    },
    Cursor {
        reader: String,
        answer: oneshot::Sender<Option<u64>>,
    },
    Follow {
        reader: String,
        answer: oneshot::Sender<Option<u64>>,
    },
    SetCursor {
        reader: String,
        at: u64,
    },
    Access(access::Order),
    Retire,
}

impl Desk {
    /// Starts the desk. Ends when the last handle is gone.
    pub fn start(settings: DeskSettings, record: Arc<Recorder>) -> Desk {
        let (orders, heard) = mpsc::channel(QUEUE);
        let (moved, follow) = watch::channel(0);
        let timeout = settings.timeout;
        let board = access::Board::default();
        let work = Work {
            settings,
            record,
            book: Book::default(),
            store: None,
            retired: false,
            waiting: HashMap::new(),
            moved,
            orders: orders.downgrade(),
            cursors: Vec::new(),
            unrecorded: HashSet::new(),
            board: board.clone(),
            contents: None,
        };
        tokio::spawn(work.run(heard));
        Desk {
            orders,
            moved: follow,
            timeout,
            previews: Arc::default(),
            board,
            refusals: Arc::default(),
        }
    }

    /// How long a statement waits whose rule does not say.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Brings a statement that a rule holds. `obligations` are those of the hold, as if granted.
    pub async fn ask(&self, request: Request, obligations: Arc<Obligations>) -> Asked {
        let rule = request.rule.clone();
        let (answer, asked) = oneshot::channel();
        let order = Order::Ask {
            request: Box::new(request),
            obligations,
            answer,
        };
        // Nobody to ask is nobody to say yes.
        let nobody = || Asked::Refused(refusal(&rule, Lapse::AgentStopped.words()));
        let answered = async {
            self.orders.send(order).await.ok()?;
            asked.await.ok()
        };
        match timeout(PATIENCE, answered).await {
            Ok(asked) => asked.unwrap_or_else(nobody),
            // What comes after all finds nobody, and is withdrawn.
            Err(_) => Asked::Refused(refusal(&rule, NO_ANSWER)),
        }
    }

    /// A reviewer's word.
    ///
    /// # Errors
    /// It does not count; says why.
    pub async fn vote(
        &self,
        id: ApprovalId,
        reviewer: Reviewer,
        says: Says,
        note: Option<String>,
    ) -> Result<Case, NotCounted> {
        let order = |answer| Order::Vote {
            id,
            reviewer,
            says,
            note,
            answer,
        };
        self.asked(order).await.unwrap_or_else(|| Err(stopped()))
    }

    /// Takes an approval back that is in force, or a request that waits.
    ///
    /// # Errors
    /// The reviewer may not, or there is nothing to take back.
    pub async fn revoke(&self, id: ApprovalId, reviewer: Reviewer) -> Result<Case, NotCounted> {
        let order = |answer| Order::Revoke {
            id,
            reviewer,
            answer,
        };
        self.asked(order).await.unwrap_or_else(|| Err(stopped()))
    }

    /// A session that brought something is over.
    pub async fn session_over(&self, session: SessionId) {
        let _ = self.orders.send(Order::SessionOver(session)).await; // the desk ends with the agent
    }

    /// Open requests, oldest first; with `all` those that are over too, behind them and latest first.
    pub async fn list(&self, all: bool, most: usize) -> Vec<Case> {
        self.asked(|answer| Order::List { all, most, answer })
            .await
            .unwrap_or_default()
    }

    /// One request.
    pub async fn find(&self, id: ApprovalId) -> Option<Case> {
        self.asked(|answer| Order::Find { id, answer }).await?
    }

    /// What happened behind change `after`, oldest first, at most so many.
    pub async fn changes(&self, after: u64, most: usize) -> Vec<Change> {
        self.asked(|answer| Order::Changes {
            after,
            most,
            answer,
        })
        .await
        .unwrap_or_default()
    }

    /// Moves whenever something changed; its value is the number of the last change.
    pub fn moved(&self) -> watch::Receiver<u64> {
        self.moved.clone()
    }

    /// How far a follower has come, as it last said.
    pub async fn cursor(&self, reader: &str) -> Option<u64> {
        let reader = reader.to_owned();
        self.asked(|answer| Order::Cursor { reader, answer })
            .await?
    }

    /// Where a follower goes on: behind what it last said, and one that was never here behind what has
    /// happened so far, which is kept from then on. `None`: it cannot be said yet, as while another
    /// agent has the store.
    pub async fn follow(&self, reader: &str) -> Option<u64> {
        let reader = reader.to_owned();
        self.asked(|answer| Order::Follow { reader, answer })
            .await?
    }

    /// A follower has dealt with all changes up to this one, and wants to know it after a restart.
    pub async fn set_cursor(&self, reader: &str, at: u64) {
        let reader = reader.to_owned();
        let _ = self.orders.send(Order::SetCursor { reader, at }).await; // the desk ends with the agent
    }

    /// Another agent takes over: what waits here lapses, nothing more is approved here, and the store is
    /// given over.
    pub async fn retire(&self) {
        // At once: what the next one takes back would not end here.
        self.board.store(Arc::default());
        let _ = self.orders.send(Order::Retire).await; // the desk ends with the agent
    }

    /// One that never answers, and what it is asked.
    #[cfg(test)]
    pub(super) fn silent() -> (Desk, mpsc::Receiver<Order>) {
        let (orders, heard) = mpsc::channel(QUEUE);
        let (_, moved) = watch::channel(0);
        let timeout = Duration::from_secs(1);
        (
            Desk {
                orders,
                moved,
                timeout,
                previews: Arc::default(),
                board: access::Board::default(),
                refusals: Arc::default(),
            },
            heard,
        )
    }

    /// What was refused lately and could be asked for.
    pub fn refusals(&self) -> &access::Refusals {
        &self.refusals
    }

    pub(super) async fn order(&self, order: Order) {
        let _ = self.orders.send(order).await; // the desk ends with the agent
    }

    pub(super) fn try_order(&self, order: Order) -> bool {
        self.orders.try_send(order).is_ok()
    }

    pub(super) async fn asked<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<T>) -> Order,
    ) -> Option<T> {
        let (answer, told) = oneshot::channel();
        self.orders.send(order(answer)).await.ok()?;
        told.await.ok()
    }
}

pub(super) fn stopped() -> NotCounted {
    NotCounted::Unrecorded("the agent is stopping".to_owned())
}

/// Why nothing can be asked now.
const NO_STORE: &str =
    "approvals cannot be kept now; the agent's log says why. Try again in a moment";
/// Why nothing runs while the desk does not answer.
pub(super) const NO_ANSWER: &str =
    "approvals are not answered now; the agent's log may say why. Try again in a moment";
const RETIRED: &str =
    "another agent took over, and approvals are asked for there; connect again and repeat it";

/// The desk's own side.
pub(super) struct Work {
    pub(super) settings: DeskSettings,
    record: Arc<Recorder>,
    pub(super) book: Book,
    store: Option<Arc<Store>>,
    retired: bool,
    /// Sessions that wait for a ruling.
    waiting: HashMap<ApprovalId, (RuleRef, oneshot::Sender<Told>)>,
    moved: watch::Sender<u64>,
    orders: mpsc::WeakSender<Order>,
    cursors: Vec<(String, u64)>,
    /// What may be in the store and not in the ledger.
    unrecorded: HashSet<ApprovalId>,
    /// Where the access in force is put up.
    pub(super) board: access::Board,
    /// What the policies that can be granted say now; `None`: nobody has said it yet.
    pub(super) contents: Option<BTreeMap<Arc<str>, Arc<str>>>,
}

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

impl Work {
    async fn run(mut self, mut heard: mpsc::Receiver<Order>) {
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

    fn tell_lapsed(&mut self, id: ApprovalId, why: Lapse) {
        if let Some((rule, tell)) = self.waiting.remove(&id) {
            let _ = tell.send(Told::Refused(refusal(&rule, why.words()))); // it may have gone
        }
    }

    /// Writes down what has changed, then gives the answers. Where it cannot be written, what could run
    /// by it lapses, and the answers are refusals.
    async fn settle(&mut self, answers: Vec<Answer>) {
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

    async fn retire(&mut self, now: UnixMillis) {
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
