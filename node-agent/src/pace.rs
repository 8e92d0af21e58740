//! IO. When a serving thread looks for news again at once in place of going to sleep.
//!
//! To wake a thread that sleeps costs its waker an interrupt to another core, and the thread some ten
//! microseconds until it runs: more than a statement is judged in, and each statement needs two (one by its client,
//! one by its database). One client that asks again as soon as it is answered feels nothing but that. So
//! while a thread has one session that is that quick, it stays awake between two messages; for any other pace, and for
//! any two sessions, sleeping is cheaper, because the core is somebody else's meanwhile. A stream of rows is no
//! such pace: its client and its database work side by side, and need the cores.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// News that come later than this behind the last are slept for.
const QUICK: Duration = Duration::from_micros(150);
/// So many turns of one session, each quick behind the last, make a pace.
const TURNS: u32 = 32;

thread_local! {
    /// The session whose turn it is moves more than questions and answers.
    static STREAMS: Cell<bool> = const { Cell::new(false) };
}

/// Said by a session in its turn: it streams.
pub fn streams() {
    STREAMS.set(true);
}

/// What a thread has been doing. Written by that thread alone; atomic because tasks are `Send`.
#[derive(Debug)]
pub struct Pace {
    epoch: Instant,
    /// Nanoseconds after `epoch`.
    last: AtomicU64,
    /// The session whose turn it was.
    who: AtomicU64,
    /// Its turns in a row, each quick behind the last.
    turns: AtomicU32,
    asleep: AtomicBool,
    wanted: Notify,
}

impl Pace {
    /// That of a thread that has done nothing yet.
    #[must_use]
    pub fn new() -> Arc<Pace> {
        Arc::new(Pace {
            epoch: Instant::now(),
            last: AtomicU64::new(0),
            who: AtomicU64::new(0),
            turns: AtomicU32::new(0),
            asleep: AtomicBool::new(true),
            wanted: Notify::new(),
        })
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// A session has its turn.
    fn turn(&self, who: u64, now: Duration) {
        let same = self.who.swap(who, Ordering::Relaxed) == who;
        let turns = match same && self.is_recent(now) {
            true => self.turns.load(Ordering::Relaxed).saturating_add(1),
            false => 0,
        };
        self.turns.store(turns, Ordering::Relaxed);
        let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.last.store(nanos, Ordering::Relaxed);
        if turns >= TURNS && self.asleep.swap(false, Ordering::Relaxed) {
            self.wanted.notify_one();
        }
    }

    fn is_recent(&self, now: Duration) -> bool {
        let last = Duration::from_nanos(self.last.load(Ordering::Relaxed));
        now.saturating_sub(last) < QUICK
    }

    /// Whether news are to be expected within less than it takes to wake up.
    fn is_quick(&self, now: Duration) -> bool {
        self.turns.load(Ordering::Relaxed) >= TURNS && self.is_recent(now)
    }

    /// Keeps the thread awake while that is worth it. Never over.
    pub async fn keep(&self) {
        loop {
            self.wanted.notified().await;
            while self.is_quick(self.now()) {
                // With nothing else to do the thread asks its sockets, and comes back here.
                tokio::task::yield_now().await;
            }
            self.asleep.store(true, Ordering::Relaxed);
        }
    }

    /// Work whose turns are counted as those of `who`.
    pub fn of<F: Future>(self: &Arc<Self>, who: u64, work: F) -> Paced<F> {
        Paced {
            pace: self.clone(),
            who,
            work: Box::pin(work),
        }
    }
}

/// A session's work.
#[derive(Debug)]
pub struct Paced<F> {
    pace: Arc<Pace>,
    who: u64,
    work: Pin<Box<F>>,
}

impl<F: Future> Future for Paced<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.pace.turn(self.who, self.pace.now());
        let polled = self.work.as_mut().poll(cx);
        if STREAMS.take() {
            self.pace.turns.store(0, Ordering::Relaxed);
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn one_session_that_asks_again_and_again_at_once_makes_a_pace() {
        let pace = Pace::new();
        for turn in 0..=u64::from(TURNS) {
            assert!(!pace.is_quick(micros(turn * 100)), "{turn}");
            pace.turn(1, micros(turn * 100));
        }
        let now = u64::from(TURNS) * 100;
        assert!(pace.is_quick(micros(now + 100)));
        // It takes its time once, and has to be quick again from the beginning.
        assert!(!pace.is_quick(micros(now + 150)));
        pace.turn(1, micros(now + 150));
        assert!(!pace.is_quick(micros(now + 151)));
    }

    #[test]
    fn two_sessions_make_none_however_quick() {
        let pace = Pace::new();
        for turn in 0..1000 {
            pace.turn(turn / 20, micros(turn));
            assert!(!pace.is_quick(micros(turn)));
        }
    }

    #[tokio::test]
    async fn what_streams_makes_none_either() {
        let pace = Pace::new();
        pace.turn(7, pace.now());
        for streaming in [true, false] {
            pace.turns.store(TURNS * 2, Ordering::Relaxed);
            pace.of(7, async {
                if streaming {
                    streams();
                }
            })
            .await;
            let none = pace.turns.load(Ordering::Relaxed) == 0;
            // Nothing of it is left for the next.
            assert!(none || !streaming);
            assert!(!STREAMS.get());
        }
    }

    #[tokio::test]
    async fn a_thread_stays_awake_for_news_and_sleeps_when_none_come() {
        let pace = Pace::new();
        let keeper = tokio::spawn({
            let pace = pace.clone();
            async move { pace.keep().await }
        });
        tokio::task::yield_now().await;
        assert!(pace.asleep.load(Ordering::Relaxed));
        // Another thread's clock could stop between two turns: they are told in one go.
        let now = pace.now();
        for _ in 0..=TURNS {
            pace.turn(1, now);
        }
        assert!(!pace.asleep.load(Ordering::Relaxed));
        while !pace.asleep.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
        assert!(pace.now() >= now + QUICK);
        keeper.abort();
    }
}
