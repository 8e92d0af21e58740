//! The reasons to end that come from outside the dialogue: drain, kill, expiry, a record that
//! fails, a statement that runs too long. Polled before any byte moves.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use crate::clock;
use crate::model::{StatementSeq, UnixMillis};
use crate::record::Health;
use crate::telemetry::LiveGuard;

use super::{Drain, Shared};

/// A token's `exp` is exceeded by no more than this before the session ends.
const SKEW: Duration = Duration::from_secs(1);

/// Why a session should end, or a statement stop.
#[derive(Debug)]
pub(super) enum Ended {
    /// At the next idle moment.
    DrainSoon,
    /// Now.
    DrainNow,
    /// The token's time is over.
    Expired,
    /// An operator said so.
    Killed,
    /// Nothing can be recorded any more.
    RecordFailed(String),
    /// The current statement passed its time.
    Overdue,
}

type Waiting = Pin<Box<dyn Future<Output = Ended> + Send>>;

/// What one session watches.
pub(super) struct Watch {
    outside: Waiting,
    /// Draining was announced; the session ends when idle.
    soon: Arc<AtomicBool>,
    deadline: Option<Pin<Box<Sleep>>>,
    /// The statement whose deadline was set; it has one, also when it is behind us.
    set_for: Option<StatementSeq>,
}

impl Watch {
    pub(super) fn new(shared: &Arc<Shared>, live: &LiveGuard, expires: UnixMillis) -> Self {
        let drain = shared.drain.clone();
        let health = shared.recorder.health();
        let killed = live.killed();
        let left = expires.0.saturating_sub(clock::now().0);
        // Measured on the monotonic clock from here on: setting the wall clock back gives no one
        // a longer session.
        let left = Duration::from_millis(u64::try_from(left).unwrap_or(0)).saturating_add(SKEW);
        let soon = Arc::new(AtomicBool::new(false));
        let outside = Box::pin(outside(drain, soon.clone(), health, killed, left));
        Watch {
            outside,
            soon,
            deadline: None,
            set_for: None,
        }
    }

    /// The statement that the database runs now, and its time: counted from here, so that one of
    /// many sent at once does not pay for those before it.
    pub(super) fn deadline(&mut self, current: Option<(StatementSeq, Duration)>) {
        let seq = current.map(|(seq, _)| seq);
        if self.set_for != seq {
            self.set_for = seq;
            self.deadline = current.map(|(_, limit)| Box::pin(sleep(limit)));
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>, idle: bool) -> Poll<Ended> {
        if let Poll::Ready(ended) = self.outside.as_mut().poll(cx) {
            return Poll::Ready(ended);
        }
        if idle && self.soon.load(Ordering::Relaxed) {
            return Poll::Ready(Ended::DrainSoon);
        }
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            self.deadline = None;
            return Poll::Ready(Ended::Overdue);
        }
        Poll::Pending
    }
}

async fn outside(
    mut drain: tokio::sync::watch::Receiver<Drain>,
    soon: Arc<AtomicBool>,
    mut health: tokio::sync::watch::Receiver<Health>,
    killed: impl Future<Output = ()>,
    left: Duration,
) -> Ended {
    let drained = async {
        // Announced inside this future's own poll, so the session sees it in the same poll.
        if drain
            .wait_for(|drain| *drain != Drain::Running)
            .await
            .is_ok()
        {
            soon.store(true, Ordering::Relaxed);
        }
        // A drain signal that is gone means the agent is going.
        let _ = drain.wait_for(|drain| *drain == Drain::Now).await;
        Ended::DrainNow
    };
    let failed = async {
        match health
            .wait_for(|health| matches!(health, Health::Failed { .. }))
            .await
            .as_deref()
        {
            Ok(Health::Failed { why, .. }) => Ended::RecordFailed(why.to_string()),
            Ok(Health::Working) | Err(_) => Ended::RecordFailed("the recorder is gone".to_owned()),
        }
    };
    tokio::select! {
        biased;
        () = killed => Ended::Killed,
        ended = failed => ended,
        () = sleep(left) => Ended::Expired,
        ended = drained => ended,
    }
}
