//! IO. Keeps the archive up to date while the agent runs, on a thread of its own. What the storage
//! does is told once when it begins to fail, and once when it works again.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;

use super::{ArchiveError, Archiver, Round, Settings, Told};
use crate::clock;
use crate::model::UnixMillis;

/// The longest pause after failures.
const LONGEST: Duration = Duration::from_secs(300);

/// What is known of the archive at this moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Closed recordings that are not there yet.
    pub waiting: u64,
    /// Recordings without an end, which stay here.
    pub unclosed: u64,
    /// Recordings and segments of which something else lies there.
    pub differ: u64,
    /// Recordings sent since the agent started.
    pub sent: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of those, recordings that were not what the ledger says.
    pub suspect: u64,
    /// Rounds that failed.
    pub failures: u64,
    /// Since when all rounds have failed, and why the last one did.
    pub failing: Option<(UnixMillis, String)>,
}

/// The figures, for `status` and metrics.
#[derive(Debug, Default)]
pub struct Watch(Mutex<Figures>);

impl Watch {
    /// As they are now.
    pub fn now(&self) -> Figures {
        self.with(|figures| figures.clone())
    }

    fn with<T>(&self, act: impl FnOnce(&mut Figures) -> T) -> T {
        // Nothing is left half done by a panic, so a poisoned lock is good.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The thread. Dropping it tells it to stop, and does not wait: what it was sending is given up by
/// the next one.
#[derive(Debug)]
pub struct Keeping {
    watch: Arc<Watch>,
    _stop: watch::Sender<()>,
}

impl Keeping {
    /// Starts it.
    ///
    /// # Errors
    /// TLS cannot be set up, or there is no thread.
    pub fn start(settings: Settings) -> Result<Keeping, ArchiveError> {
        let every = settings.at.every;
        let archiver = Archiver::new(settings)?;
        let watch = Arc::new(Watch::default());
        let (stop, stopped) = watch::channel(());
        let told = Arc::clone(&watch);
        let failed = |source: io::Error| ArchiveError::file("the archive's thread")(source);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(4)
            .build()
            .map_err(failed)?;
        thread::Builder::new()
            .name("archive".to_owned())
            .spawn(move || {
                runtime.block_on(keep(archiver, every, &told, stopped));
                runtime.shutdown_background();
            })
            .map_err(failed)?;
        Ok(Keeping { watch, _stop: stop })
    }

    /// How it stands.
    pub fn watch(&self) -> Arc<Watch> {
        Arc::clone(&self.watch)
    }
}

async fn keep(
    mut archiver: Archiver,
    every: Duration,
    watch: &Watch,
    mut stopped: watch::Receiver<()>,
) {
    let mut failures = 0;
    loop {
        let round = async {
            let waiting = |count| watch.with(|figures| figures.waiting = count);
            archiver
                .round(false, &waiting, &|told| tell(watch, told))
                .await
        };
        let round = tokio::select! {
            round = round => round,
            _ = stopped.changed() => return,
        };
        failures = match note(watch, round) {
            true => 0,
            false => failures + 1,
        };
        let pause = pause(every, failures, jitter());
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stopped.changed() => return,
        }
    }
}

/// What a round came to; `true`: it was good.
fn note(watch: &Watch, round: Result<Round, ArchiveError>) -> bool {
    let (round, failed) = match round {
        // The other one sends them.
        Err(ArchiveError::Busy) => return true,
        Err(error) => (None, Some(error.to_string())),
        Ok(round) => {
            let failed = round.failed.clone();
            (Some(round), failed)
        }
    };
    if let Some(abandoned) = round.as_ref().map(|round| round.abandoned)
        && abandoned > 0
    {
        tracing::info!(
            abandoned,
            "unfinished uploads of an agent that was killed were given up"
        );
    }
    let before = watch.with(|figures| {
        if let Some(round) = &round {
            figures.sent += round.sent;
            figures.bytes += round.bytes;
            figures.waiting = round.waiting;
            figures.unclosed = round.unclosed;
            figures.differ = round.differ;
        }
        let before = figures.failing.clone();
        figures.failing = failed.as_ref().map(|why| {
            let since = before.as_ref().map_or_else(clock::now, |(at, _)| *at);
            (since, why.clone())
        });
        figures.failures += u64::from(failed.is_some());
        before
    });
    match (&before, &failed) {
        (None, Some(error)) => tracing::warn!(
            %error,
            "the archive cannot be written; recordings stay here until it can"
        ),
        (Some(_), None) => tracing::info!("the archive is written again"),
        (None, None) | (Some(_), Some(_)) => {}
    }
    failed.is_none()
}

fn tell(watch: &Watch, told: &Told) {
    match told {
        Told::Sent {
            session,
            suspect: Some(why),
            ..
        } => {
            watch.with(|figures| figures.suspect += 1);
            tracing::error!(
                %session, why,
                "a recording that was archived is not what it should be: `sessions verify` names it"
            );
        }
        Told::Sent { session, .. } => tracing::debug!(%session, "archived"),
        Told::Differs { session, object } => tracing::error!(
            %session, object,
            "a recording differs from what lies in the archive, which stays as it is: one of them \
             was changed"
        ),
        Told::LedgerDiffers { segment } => tracing::error!(
            %segment,
            "the ledger is not the continuation of what lies in the archive, which stays as it is: \
             one of them was changed"
        ),
        Told::Failed { session, why } => tracing::debug!(%session, why, "not archived yet"),
        Told::There { .. } | Told::Would { .. } => {}
    }
}

/// Twice as long after each failure, and never the same for two nodes. `jitter` is 0 to 255.
fn pause(every: Duration, failures: u32, jitter: u8) -> Duration {
    if failures == 0 {
        return every;
    }
    let longest = LONGEST.max(every);
    let doubled = every.saturating_mul(1 << failures.min(16)).min(longest);
    doubled / 2 + (doubled / 2).mul_f64(f64::from(jitter) / 255.0)
}

fn jitter() -> u8 {
    let mut byte = [0];
    match aws_lc_rs::rand::fill(&mut byte) {
        Ok(()) => byte[0],
        Err(_) => 128,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_are_the_usual_one_when_it_works() {
        let every = Duration::from_secs(30);
        assert_eq!(pause(every, 0, 200), every);
        assert_eq!(pause(every, 1, 0), every);
        assert_eq!(pause(every, 1, 255), every * 2);
        assert_eq!(pause(every, 60, 255), LONGEST);
        assert_eq!(pause(every, 60, 0), LONGEST / 2);
        let hourly = Duration::from_hours(1);
        assert_eq!(pause(hourly, 3, 255), hourly);
    }

    #[test]
    fn a_failure_stands_from_the_first_round_that_failed_to_the_first_that_did_not() {
        let watch = Watch::default();
        let failing = |why: &str| Round {
            waiting: 3,
            failed: Some(why.to_owned()),
            ..Round::default()
        };
        assert!(!note(&watch, Ok(failing("one"))));
        let (since, _) = watch.now().failing.unwrap();
        assert!(!note(&watch, Ok(failing("two"))));
        let now = watch.now();
        assert_eq!(now.failing, Some((since, "two".to_owned())));
        assert_eq!((now.waiting, now.failures), (3, 2));
        // Another process at it is no failure, and mends none.
        assert!(note(&watch, Err(ArchiveError::Busy)));
        assert!(watch.now().failing.is_some());
        assert!(note(&watch, Ok(Round::default())));
        assert_eq!((watch.now().failing, watch.now().waiting), (None, 0));
    }
}
