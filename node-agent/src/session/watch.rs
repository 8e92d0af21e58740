//! The reasons to end that come from outside the dialogue: drain, kill, expiry, a record that
//! fails, a statement that runs too long. Polled before any byte moves.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep, sleep_until};

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
///
/// Bytes wake the session's task far more often than any of these, and looking at all of them costs
/// as much as judging a known statement. So they wake it through a [`Nudge`], and are looked at when
/// there was one.
pub(super) struct Watch {
    outside: Waiting,
    /// Draining was announced; the session ends when idle.
    soon: Arc<AtomicBool>,
    nudge: Arc<Nudge>,
    nudged: Waker,
    /// The session's task, as the nudge knows it.
    task: Waker,
    /// Armed for the current statement, or an earlier one: a statement that is timed after a short one
    /// finds it armed, and moves it only when it fires.
    alarm: Option<Pin<Box<Sleep>>>,
    /// When the current statement passes its time.
    overdue: Option<Instant>,
    timed: Option<StatementSeq>,
}

/// Wakes the session's task, and says that it was for the watch.
struct Nudge {
    due: AtomicBool,
    task: Mutex<Waker>,
}

impl Nudge {
    fn task(&self) -> std::sync::MutexGuard<'_, Waker> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Nudge {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // First said, then woken: the poll that follows sees it, and so does one by a new waker that
        // is put here in between.
        self.due.store(true, Ordering::SeqCst);
        self.task().wake_by_ref();
    }
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
        Watch::of(
            Box::pin(outside(drain, soon.clone(), health, killed, left)),
            soon,
        )
    }

    fn of(outside: Waiting, soon: Arc<AtomicBool>) -> Self {
        let nudge = Arc::new(Nudge {
            // Nothing was looked at yet.
            due: AtomicBool::new(true),
            task: Mutex::new(Waker::noop().clone()),
        });
        Watch {
            outside,
            soon,
            nudged: Waker::from(nudge.clone()),
            nudge,
            task: Waker::noop().clone(),
            alarm: None,
            overdue: None,
            timed: None,
        }
    }

    /// The statement the database is at, and how long it may take. Its time begins when it is
    /// first named here; the same one again changes nothing.
    pub(super) fn time(&mut self, running: Option<(StatementSeq, Duration)>) {
        let seq = running.map(|(seq, _)| seq);
        if self.timed == seq {
            return;
        }
        self.timed = seq;
        // A limit beyond all time is none.
        self.overdue = running.and_then(|(_, limit)| Instant::now().checked_add(limit));
        let Some(overdue) = self.overdue else { return };
        match &mut self.alarm {
            Some(alarm) if alarm.deadline() <= overdue => return,
            Some(alarm) => alarm.as_mut().reset(overdue),
            None => self.alarm = Some(Box::pin(sleep_until(overdue))),
        }
        // It must be polled to be heard.
        self.nudge.due.store(true, Ordering::SeqCst);
    }

    /// Waits for what ends the session whatever it is doing.
    pub(super) async fn over(&mut self) -> Ended {
        poll_fn(|cx| {
            let ended = self.heard(cx).then(|| self.look());
            // An alarm that is not waited for here must be heard later.
            self.nudge
                .due
                .fetch_or(self.alarm.is_some(), Ordering::SeqCst);
            ended.unwrap_or(Poll::Pending)
        })
        .await
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>, idle: bool) -> Poll<Ended> {
        let nudged = self.heard(cx);
        if nudged && let Poll::Ready(ended) = self.look() {
            return Poll::Ready(ended);
        }
        if idle && self.soon.load(Ordering::Relaxed) {
            return Poll::Ready(Ended::DrainSoon);
        }
        if nudged && self.rings() {
            return Poll::Ready(Ended::Overdue);
        }
        Poll::Pending
    }

    /// Whether there was a nudge since the last time; the next one wakes this task.
    fn heard(&mut self, cx: &Context<'_>) -> bool {
        if !self.task.will_wake(cx.waker()) {
            self.task = cx.waker().clone();
            *self.nudge.task() = cx.waker().clone();
        }
        // A plain look first: it is what nearly every poll comes to.
        self.nudge.due.load(Ordering::SeqCst) && self.nudge.due.swap(false, Ordering::SeqCst)
    }

    fn look(&mut self) -> Poll<Ended> {
        let mut cx = Context::from_waker(&self.nudged);
        self.outside.as_mut().poll(&mut cx)
    }

    /// The current statement has passed its time: said once.
    fn rings(&mut self) -> bool {
        let mut cx = Context::from_waker(&self.nudged);
        while let Some(alarm) = &mut self.alarm
            && alarm.as_mut().poll(&mut cx).is_ready()
        {
            match self.overdue {
                Some(overdue) if overdue <= Instant::now() => {
                    (self.alarm, self.overdue) = (None, None);
                    return true;
                }
                // It was armed for a statement that is over.
                Some(overdue) => alarm.as_mut().reset(overdue),
                None => self.alarm = None,
            }
        }
        false
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::oneshot;
    use tokio::time::advance;

    use super::*;

    fn watching() -> (Watch, oneshot::Sender<()>, Arc<AtomicUsize>) {
        let (end, ended) = oneshot::channel::<()>();
        let polls = Arc::new(AtomicUsize::new(0));
        let seen = polls.clone();
        let mut ended = Box::pin(async {
            let _ = ended.await;
            Ended::Killed
        });
        let outside = poll_fn(move |cx| {
            seen.fetch_add(1, Ordering::Relaxed);
            ended.as_mut().poll(cx)
        });
        (Watch::of(Box::pin(outside), Arc::default()), end, polls)
    }

    async fn once(watch: &mut Watch) -> Option<Ended> {
        poll_fn(|cx| match watch.poll(cx, false) {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    async fn ended(watch: &mut Watch) -> Ended {
        poll_fn(|cx| watch.poll(cx, false)).await
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn statement(seq: u64, limit: Duration) -> Option<(StatementSeq, Duration)> {
        Some((StatementSeq(seq), limit))
    }

    #[tokio::test]
    async fn reasons_are_looked_at_once_and_then_when_one_of_them_wakes_the_task() {
        let (mut watch, end, polls) = watching();
        for _ in 0..10 {
            assert!(once(&mut watch).await.is_none());
        }
        assert_eq!(polls.load(Ordering::Relaxed), 1);
        let waiting = tokio::spawn(async move { ended(&mut watch).await });
        tokio::task::yield_now().await;
        end.send(()).unwrap();
        assert!(matches!(waiting.await.unwrap(), Ended::Killed));
        assert_eq!(polls.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_task_that_takes_the_watch_over_is_the_one_that_is_woken() {
        let (mut watch, end, _) = watching();
        assert!(once(&mut watch).await.is_none());
        let waiting = tokio::spawn(async move { watch.over().await });
        tokio::task::yield_now().await;
        end.send(()).unwrap();
        assert!(matches!(waiting.await.unwrap(), Ended::Killed));
    }

    #[tokio::test(start_paused = true)]
    async fn a_statement_is_overdue_after_its_own_time_whatever_was_timed_before() {
        let table: &[(&[u64], u64)] = &[
            (&[5], 5),
            (&[5, 5, 5], 5),
            (&[60, 2], 2),
            (&[2, 60], 60),
            (&[3, 9, 4], 4),
        ];
        for (limits, last) in table {
            let (mut watch, _end, _) = watching();
            for (seq, limit) in (1..).zip(*limits) {
                watch.time(statement(seq, SECOND * u32::try_from(*limit).unwrap()));
                assert!(once(&mut watch).await.is_none());
                if seq < limits.len() as u64 {
                    advance(SECOND).await;
                }
            }
            let begun = Instant::now();
            assert!(
                matches!(ended(&mut watch).await, Ended::Overdue),
                "{limits:?}"
            );
            let took = begun.elapsed();
            let last = SECOND * u32::try_from(*last).unwrap();
            assert!(
                took >= last && took < last + SECOND / 2,
                "{limits:?} {took:?}"
            );
            // Said once.
            advance(SECOND * 100).await;
            assert!(once(&mut watch).await.is_none(), "{limits:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_statement_that_is_over_is_never_overdue() {
        let (mut watch, _end, _) = watching();
        watch.time(statement(1, SECOND));
        assert!(once(&mut watch).await.is_none());
        watch.time(None);
        advance(SECOND * 5).await;
        assert!(once(&mut watch).await.is_none());
        watch.time(statement(2, SECOND * 3));
        assert!(once(&mut watch).await.is_none());
        assert!(matches!(ended(&mut watch).await, Ended::Overdue));
    }
}
