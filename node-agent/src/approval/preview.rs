//! IO. What a statement would do, for a reviewer who asks: the session that holds it runs it and rolls it back.
//! What it finds is given to who asked and kept nowhere; that it was asked, by whom, and how many rows of which
//! table it was about is a step like any other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, mpsc, oneshot};

use super::case::{Case, NotCounted};
use super::desk::{Order, stopped};
use super::{Changed, Desk, Matter, Request, Reviewer, Waits};
use crate::model::{ApprovalId, TargetName, UnixMillis};
use crate::policy::Gate;
use crate::record::RecordedCell;

/// How often one request may be previewed.
const MOST: u32 = 5;
/// Previews at once on one target.
const AT_ONCE: usize = 2;
/// Estimates at once of the whole node.
const ESTIMATES: usize = 8;

/// What a statement did before it was rolled back. Its cells went through the masks of who wants to run it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preview {
    /// Of which request.
    pub id: ApprovalId,
    /// When.
    pub at: UnixMillis,
    /// It would fail, or nobody knows what it would do: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Tables of which it changed rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<Previewed>,
}

/// One table of a preview.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Previewed {
    /// How many rows.
    #[serde(flatten)]
    pub changed: Changed,
    /// Some of the rows as they are, of those that would be updated or deleted.
    pub before: Sample,
    /// Some of the rows as they would be, of those inserted or updated.
    pub after: Sample,
}

/// A few rows of a table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The columns that are shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Columns that are not: of whose values nobody can say whether a mask is on them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<String>,
    /// Cells, one for each column that is shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<Vec<RecordedCell>>,
    /// Why there are none, or fewer than there could be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Why there is no preview.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPreviewed {
    /// Who asks may not decide it, or there is nothing to decide (any more).
    #[error(transparent)]
    NotCounted(#[from] NotCounted),
    /// No session holds it.
    #[error(
        "its client does not wait for it, so nothing holds the statement that could be previewed"
    )]
    NotHeld,
    /// One is under way.
    #[error("a preview of it is under way; wait for its end")]
    Busy,
    /// Often enough.
    #[error("it was previewed {MOST} times, which is the most there may be")]
    Often,
    /// The target has enough to do.
    #[error(
        "{AT_ONCE} previews are under way on this target, which is the most there may be; try again in a moment"
    )]
    Full,
    /// It ended.
    #[error("the request ended before its preview did")]
    Ended,
    /// The session cannot.
    #[error("it cannot be previewed: {0}")]
    Unfit(String),
}

/// A reviewer whom the rule asks wants this statement to be run and rolled back. Made by the desk only; worth
/// one run that is not committed.
#[derive(Debug)]
pub struct Leave {
    id: ApprovalId,
    by: String,
}

impl Leave {
    /// For tests of what takes it.
    #[cfg(test)]
    pub(crate) fn of_test(id: ApprovalId, by: &str) -> Leave {
        let by = by.to_owned();
        Leave { id, by }
    }

    /// Of which request.
    pub fn id(&self) -> ApprovalId {
        self.id
    }

    /// Who asks, as recorded.
    pub fn by(&self) -> &str {
        &self.by
    }
}

/// A wish for a preview, on its way to the session that can make one.
#[derive(Debug)]
pub struct Wish {
    /// The right to it.
    pub leave: Leave,
    /// Where the answer goes; an error says why nothing was run.
    pub answer: oneshot::Sender<Result<Preview, String>>,
}

/// A statement that is held where it can be previewed.
#[derive(Debug)]
struct Held {
    wishes: mpsc::Sender<Wish>,
    left: u32,
    busy: Arc<Semaphore>,
}

/// The sessions that hold statements, and what is done beside them.
#[derive(Debug)]
pub(super) struct Previews {
    held: Mutex<HashMap<ApprovalId, Held>>,
    targets: Mutex<HashMap<TargetName, Arc<Semaphore>>>,
    estimates: Semaphore,
}

impl Default for Previews {
    fn default() -> Self {
        Previews {
            held: Mutex::default(),
            targets: Mutex::default(),
            estimates: Semaphore::new(ESTIMATES),
        }
    }
}

/// A session's ear for wishes. Dropped, there are none any more.
#[derive(Debug)]
pub struct Wishes {
    id: ApprovalId,
    all: Arc<Previews>,
    heard: mpsc::Receiver<Wish>,
}

impl Wishes {
    /// The next wish; never `None` while the session listens.
    pub async fn next(&mut self) -> Option<Wish> {
        self.heard.recv().await
    }
}

impl Drop for Wishes {
    fn drop(&mut self) {
        self.all.held().remove(&self.id);
    }
}

/// What a preview takes while it is under way.
#[derive(Debug)]
pub(super) struct Going {
    wishes: mpsc::Sender<Wish>,
    _of_request: OwnedSemaphorePermit,
    _of_target: OwnedSemaphorePermit,
}

impl Going {
    /// Asks the session, and waits for what it says.
    pub(super) async fn wish(&self, id: ApprovalId, by: &str) -> Result<Preview, NotPreviewed> {
        let (answer, told) = oneshot::channel();
        let leave = Leave {
            id,
            by: by.to_owned(),
        };
        let wish = Wish { leave, answer };
        let sent = self.wishes.send(wish).await;
        sent.map_err(|_| NotPreviewed::Ended)?;
        match told.await {
            Ok(Ok(preview)) => Ok(preview),
            Ok(Err(why)) => Err(NotPreviewed::Unfit(why)),
            Err(_gone) => Err(NotPreviewed::Ended),
        }
    }
}

impl Previews {
    fn held(&self) -> MutexGuard<'_, HashMap<ApprovalId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session holds this from here on.
    pub(super) fn holds(self: &Arc<Self>, id: ApprovalId) -> Wishes {
        let (wishes, heard) = mpsc::channel(1);
        let held = Held {
            wishes,
            left: MOST,
            busy: Arc::new(Semaphore::new(1)),
        };
        self.held().insert(id, held);
        Wishes {
            id,
            all: self.clone(),
            heard,
        }
    }

    /// Room for one preview of it.
    pub(super) fn begin(&self, id: ApprovalId, target: &TargetName) -> Result<Going, NotPreviewed> {
        let mut held = self.held();
        let one = held.get_mut(&id).ok_or(NotPreviewed::NotHeld)?;
        let of_request = one.busy.clone().try_acquire_owned();
        let of_request = of_request.map_err(|_| NotPreviewed::Busy)?;
        let left = one.left.checked_sub(1).ok_or(NotPreviewed::Often)?;
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        let target = targets
            .entry(target.clone())
            .or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE)));
        let of_target = target.clone().try_acquire_owned();
        let of_target = of_target.map_err(|_| NotPreviewed::Full)?;
        one.left = left;
        Ok(Going {
            wishes: one.wishes.clone(),
            _of_request: of_request,
            _of_target: of_target,
        })
    }

    /// Room for an estimate; `None`: others are at so many.
    pub(super) fn estimate(&self) -> Option<SemaphorePermit<'_>> {
        self.estimates.try_acquire().ok()
    }
}

impl Desk {
    /// Whether reviewers would be asked for this now, so that it is worth finding out more about it; with room
    /// to do so, which is given back when it is dropped.
    pub async fn would_ask(&self, request: &Request) -> Option<SemaphorePermit<'_>> {
        let request = Box::new(request.clone());
        let would = self
            .asked(|answer| Order::WouldAsk { request, answer })
            .await?;
        self.previews.estimate().filter(|_| would)
    }

    /// A session holds this: what it is given hears who wants it previewed.
    pub fn holds(&self, id: ApprovalId) -> Wishes {
        self.previews.holds(id)
    }

    /// Has the session that holds it run it and roll it back, for a reviewer who may decide it. That it was done
    /// is written down before anything of it is given.
    ///
    /// # Errors
    /// Why there is no preview.
    pub async fn preview(
        &self,
        id: ApprovalId,
        reviewer: Reviewer,
    ) -> Result<Preview, NotPreviewed> {
        let by = reviewer.recorded();
        let order = |answer| Order::MayPreview {
            id,
            reviewer,
            answer,
        };
        let case = self.asked(order).await.unwrap_or_else(|| Err(stopped()))?;
        if !case.is_held() {
            return Err(NotPreviewed::NotHeld);
        }
        let going = self.previews.begin(id, &case.request.target)?;
        let desk = self.clone();
        // Who asked may go; what was done is written down all the same.
        let done = tokio::spawn(async move {
            let said = going.wish(id, &by).await;
            let (tables, failed) = match &said {
                Ok(preview) => (preview.counts(), preview.failed.clone()),
                Err(why) => (Vec::new(), Some(why.to_string())),
            };
            let order = |answer| Order::Previewed {
                id,
                by,
                tables,
                failed,
                answer,
            };
            desk.asked(order).await.unwrap_or_else(|| Err(stopped()))?;
            said
        });
        done.await.unwrap_or(Err(NotPreviewed::Ended))
    }
}

impl Case {
    /// Whether this reviewer may have it previewed now: who may decide it may.
    ///
    /// # Errors
    /// Why not.
    pub fn may_preview(&self, reviewer: &Reviewer, now: UnixMillis) -> Result<(), NotCounted> {
        self.may_decide(reviewer, now)?;
        let asks = &self.request.asks;
        let statement = matches!(self.request.matter, Matter::Statement(_));
        if !asks.offers.preview || asks.gate != Gate::Statement || !statement {
            return Err(NotCounted::NotOffered("a preview"));
        }
        Ok(())
    }

    /// Whether a session holds the statement.
    pub(super) fn is_held(&self) -> bool {
        self.request.waits == Waits::Held
    }
}

impl Preview {
    /// How many rows of which tables.
    pub fn counts(&self) -> Vec<Changed> {
        self.tables.iter().map(|one| one.changed.clone()).collect()
    }

    /// In words, without any value: for the record.
    pub fn words(&self) -> String {
        if let Some(why) = &self.failed {
            return format!("rolled back; {why}");
        }
        let one = |one: &Previewed| {
            let Changed {
                table,
                inserted,
                updated,
                deleted,
            } = &one.changed;
            format!("{table}: {inserted} inserted, {updated} updated, {deleted} deleted")
        };
        match self.tables.as_slice() {
            [] => "rolled back; no rows changed".to_owned(),
            tables => format!(
                "rolled back; {}",
                tables.iter().map(one).collect::<Vec<_>>().join("; ")
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str) -> TargetName {
        TargetName(name.into())
    }

    #[tokio::test]
    async fn one_at_a_time_a_few_of_each_and_two_of_a_target() {
        let all = Arc::new(Previews::default());
        let (a, b) = (target("a"), target("b"));
        let ids = [1, 2, 3, 4].map(ApprovalId);
        assert_eq!(all.begin(ids[0], &a).unwrap_err(), NotPreviewed::NotHeld);
        let ears = ids.map(|id| all.holds(id));
        let first = all.begin(ids[0], &a).unwrap();
        assert_eq!(all.begin(ids[0], &a).unwrap_err(), NotPreviewed::Busy);
        let _second = all.begin(ids[1], &a).unwrap();
        assert_eq!(all.begin(ids[2], &a).unwrap_err(), NotPreviewed::Full);
        let _elsewhere = all.begin(ids[3], &b).unwrap();
        drop(first);
        // What found no room does not count.
        for _ in 1..MOST {
            all.begin(ids[0], &a).unwrap();
        }
        assert_eq!(all.begin(ids[0], &a).unwrap_err(), NotPreviewed::Often);
        drop(ears);
        assert_eq!(all.begin(ids[2], &b).unwrap_err(), NotPreviewed::NotHeld);
    }

    #[tokio::test]
    async fn a_session_that_goes_ends_what_is_asked_of_it() {
        let all = Arc::new(Previews::default());
        let id = ApprovalId(7);
        let mut ear = all.holds(id);
        let going = all.begin(id, &target("a")).unwrap();
        let session = async {
            let wish = ear.next().await.unwrap();
            assert_eq!((wish.leave.id(), wish.leave.by()), (id, "olga (this host)"));
            drop(wish);
        };
        let (said, ()) = tokio::join!(going.wish(id, "olga (this host)"), session);
        assert_eq!(said.unwrap_err(), NotPreviewed::Ended);
        drop(ear);
        assert_eq!(
            going.wish(id, "olga").await.unwrap_err(),
            NotPreviewed::Ended
        );
    }
}
