//! IO. The desk, as sessions, reviewers and followers have it: a handle that is cheap to clone, and the words that
//! may be said to the one task behind it.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::book::{Book, Bounds, Change};
use super::case::{Case, Lapse, NotCounted, Says};
use super::clerk::Clerk;
use super::preview::Previews;
use super::ruling::{Asked, Grant, refusal};
use super::{Binding, Changed, Request, Reviewer, access};
use crate::model::{ApprovalId, Refusal, SessionId};
use crate::policy::Obligations;
use crate::record::Recorder;

/// Words that may wait for the desk.
const QUEUE: usize = 1024;
/// How long a session waits for the desk's answer. A desk that hangs, on its disk say, is none.
pub(super) const PATIENCE: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 20_000 });

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
    /// The access in force.
    pub(super) board: access::Board,
    refusals: Arc<access::Refusals>,
    pub(super) previews: Arc<Previews>,
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
        let clerk = Clerk {
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
        tokio::spawn(clerk.run(heard));
        Desk {
            orders,
            moved: follow,
            timeout,
            board,
            refusals: Arc::default(),
            previews: Arc::default(),
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
                board: access::Board::default(),
                refusals: Arc::default(),
                previews: Arc::default(),
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
pub(super) const NO_STORE: &str =
    "approvals cannot be kept now; the agent's log says why. Try again in a moment";
/// Why nothing runs while the desk does not answer.
pub(super) const NO_ANSWER: &str =
    "approvals are not answered now; the agent's log may say why. Try again in a moment";
/// Why nothing is asked here any more.
pub(super) const RETIRED: &str =
    "another agent took over, and approvals are asked for there; connect again and repeat it";
