//! Whether a worker is alive, and not merely there: it answers a word, from the tasks that serve.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::channel::Mouth;
use super::message::ToWorker;

/// How often the word is said.
const EVERY: Duration = Duration::from_secs(2);
/// A worker that lets so many go by in silence hangs: it is found out within fifteen seconds.
const MISSED: u32 = 6;
/// A round that took the keeper itself so long says nothing of the worker: the machine had no time for
/// either.
const STARVED: Duration = Duration::from_secs(4);

/// The last word that the worker answered.
#[derive(Debug, Default)]
pub(super) struct Pulse(AtomicU64);

impl Pulse {
    /// The worker answered this one.
    pub(super) fn heard(&self, number: u64) {
        self.0.fetch_max(number, Ordering::Relaxed);
    }

    /// Ends when the worker has stopped answering.
    pub(super) async fn stops(&self, mouth: &Mouth<ToWorker>) {
        let mut silence = Silence::default();
        let mut last = Instant::now();
        for number in 1.. {
            let next = last.checked_add(EVERY).unwrap_or(last);
            // A socket that takes no more is a worker that does not listen. One that is broken ends
            // the worker's time elsewhere.
            let _ = timeout(EVERY, mouth.say(&ToWorker::Beat { number }, &[])).await;
            sleep_until(next).await;
            let now = Instant::now();
            let took = now.saturating_duration_since(last);
            if silence.lasts(self.0.load(Ordering::Relaxed), took) {
                return;
            }
            last = now;
        }
    }
}

/// How long nothing new was answered.
#[derive(Debug, Default)]
struct Silence {
    answered: u64,
    missed: u32,
}

impl Silence {
    /// After a round that took this long: is it too long now? Any progress counts, also that of a
    /// worker that answers late.
    fn lasts(&mut self, answered: u64, took: Duration) -> bool {
        if answered > self.answered {
            self.answered = answered;
            self.missed = 0;
        } else if took < STARVED {
            self.missed = self.missed.saturating_add(1);
        }
        self.missed >= MISSED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_silence_while_the_keeper_itself_had_its_time_is_a_worker_that_hangs() {
        let slow = STARVED + Duration::from_millis(1);
        let rounds = |rounds: &[(u64, Duration)]| {
            let mut silence = Silence::default();
            rounds
                .iter()
                .any(|(answered, took)| silence.lasts(*answered, *took))
        };
        let silent = |took| vec![(0, took); 20];
        assert!(rounds(&silent(EVERY)));
        assert!(!rounds(&silent(EVERY)[..5]), "a few may be missed");
        assert!(!rounds(&silent(slow)), "a machine without time");
        let late: Vec<_> = (0..100).map(|round| (round / 4, EVERY)).collect();
        assert!(!rounds(&late), "one that answers late, and ever later");
        let stopped: Vec<_> = (1..100).map(|round: u64| (round.min(9), EVERY)).collect();
        assert!(rounds(&stopped), "one that answered for a while");
        let within = EVERY * (MISSED + 1);
        assert!(within < Duration::from_secs(15), "{within:?}");
    }
}
