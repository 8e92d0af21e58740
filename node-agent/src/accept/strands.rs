//! Threads that serve. A connection stays on the one that it was given to: its client, its database
//! and what they say to each other never go from one core to another, and no core is woken for it.

use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::keeper::Link;
use crate::pace::Pace;

/// Blocking work that hangs (a dead disk) does not hold up a thread's end any longer.
const LEAVE: Duration = Duration::from_secs(1);

/// The threads. Dropping them ends what they serve.
#[derive(Debug)]
pub struct Strands {
    all: Vec<Strand>,
    /// Tells the connections apart.
    next: AtomicU64,
}

#[derive(Debug)]
struct Strand {
    handle: Handle,
    /// `None`: there is no core to spare.
    pace: Option<Arc<Pace>>,
    /// Held by each connection that is served here.
    held: Arc<()>,
    /// Dropped: the thread ends.
    _stop: oneshot::Sender<()>,
}

impl Strands {
    /// So many threads.
    ///
    /// # Errors
    /// The system gives no more of them.
    pub fn start(count: NonZeroUsize) -> io::Result<Strands> {
        (0..count.get())
            .map(|number| Strand::start(number, count))
            .collect::<io::Result<_>>()
            .map(|all| Strands {
                all,
                next: AtomicU64::new(1),
            })
    }

    /// Serves on the thread that serves the fewest.
    pub(super) fn serve<F>(&self, serving: &mut JoinSet<()>, work: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(strand) = self
            .all
            .iter()
            .min_by_key(|strand| Arc::strong_count(&strand.held))
        else {
            return; // there is at least one
        };
        let held = strand.held.clone();
        let work = async move {
            let _held = held;
            work.await;
        };
        match &strand.pace {
            Some(pace) => {
                let who = self.next.fetch_add(1, Ordering::Relaxed);
                serving.spawn_on(pace.of(who, work), &strand.handle);
            }
            None => {
                serving.spawn_on(work, &strand.handle);
            }
        }
    }

    /// Answers the keeper's beats: each when all threads have come to it. One that hangs serves
    /// nobody that it was given, so it counts as the whole hanging.
    pub fn pulse(
        &self,
        keeper: Arc<Link>,
        mut beats: mpsc::Receiver<u64>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let handles = self.handles();
        async move {
            while let Some(number) = beats.recv().await {
                each(&handles).await;
                if keeper.beat(number).await.is_err() {
                    return; // the keeper is gone
                }
            }
        }
    }

    fn handles(&self) -> Vec<Handle> {
        self.all
            .iter()
            .map(|strand| strand.handle.clone())
            .collect()
    }
}

/// Over when each thread has come to it.
async fn each(handles: &[Handle]) {
    for handle in handles {
        // One that ends takes the task with it: it does not hang.
        let _ = handle.spawn(async {}).await;
    }
}

impl Strand {
    /// `of`: so many threads, one for each core.
    fn start(number: usize, of: NonZeroUsize) -> io::Result<Strand> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let pace = (of.get() > 1).then(Pace::new);
        if let Some(pace) = pace.clone() {
            runtime.spawn(async move { pace.keep().await });
        }
        let (stop, stopped) = oneshot::channel();
        thread::Builder::new()
            .name(format!("serve-{number}"))
            .spawn(move || {
                let _ = runtime.block_on(stopped);
                runtime.shutdown_timeout(LEAVE);
            })?;
        Ok(Strand {
            handle,
            pace,
            held: Arc::default(),
            _stop: stop,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn strands(count: usize) -> Strands {
        Strands::start(NonZeroUsize::new(count).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn connections_go_to_the_thread_with_the_fewest_and_stay_there() {
        let strands = strands(3);
        let mut serving = JoinSet::new();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (end, _) = tokio::sync::broadcast::channel::<()>(1);
        for _ in 0..9 {
            let (seen, mut end) = (seen.clone(), end.subscribe());
            strands.serve(&mut serving, async move {
                let before = thread::current().id();
                let _ = end.recv().await;
                seen.lock().unwrap().push((before, thread::current().id()));
            });
        }
        end.send(()).unwrap();
        serving.join_all().await;
        let seen = seen.lock().unwrap();
        assert!(seen.iter().all(|(before, after)| before == after));
        for (thread, _) in seen.iter() {
            let here = seen.iter().filter(|(before, _)| before == thread).count();
            assert_eq!(here, 3);
        }
    }

    #[tokio::test]
    async fn a_panic_ends_what_it_is_in_and_no_thread() {
        let strands = strands(1);
        let mut serving = JoinSet::new();
        strands.serve(&mut serving, async { panic!("a session") });
        assert!(serving.join_next().await.unwrap().is_err());
        strands.serve(&mut serving, async {});
        assert!(serving.join_next().await.unwrap().is_ok());
        // The place of the one that panicked is free again.
        assert_eq!(Arc::strong_count(&strands.all[0].held), 1);
    }

    #[tokio::test]
    async fn one_thread_that_hangs_is_noticed() {
        let strands = strands(2);
        let handles = strands.handles();
        each(&handles).await;
        let mut serving = JoinSet::new();
        let (go_on, waits) = std::sync::mpsc::channel::<()>();
        let (hangs, hung) = oneshot::channel();
        strands.serve(&mut serving, async move {
            hangs.send(()).unwrap();
            let _ = waits.recv(); // blocks the thread, as nothing may
        });
        hung.await.unwrap();
        let come = tokio::time::timeout(Duration::from_millis(100), each(&handles)).await;
        assert!(come.is_err(), "a thread answered that hangs");
        go_on.send(()).unwrap();
        each(&handles).await;
    }
}
