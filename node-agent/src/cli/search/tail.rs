//! `sessions tail`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use node_agent::replay::{self, Style};
use tokio::signal::unix::{SignalKind, signal};

use super::super::sessions::Place;
use super::super::{Answer, out};
use super::{Opening, Which, unless_gone};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Of sessions that are open, what happens from now on; of those that begin meanwhile, \
                  everything. With SESSIONs it ends when they have ended. With --min-rows or --error a \
                  statement is shown when it is over.\n\n\
                  Examples:\n  node-agent sessions tail\n  node-agent sessions tail --decision deny\n  \
                  node-agent sessions tail s-00c0 --json | jq ."
)]
pub(crate) struct Tail {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    opening: Opening,
    /// Only these sessions (default: all that fit)
    sessions: Vec<String>,
    /// One JSON object a line: events as they are recorded, without rows
    #[arg(long)]
    json: bool,
    // Last: its heading stands over what follows.
    #[command(flatten)]
    which: Which,
}

impl Tail {
    pub(crate) fn run(self) -> anyhow::Result<Answer> {
        let only = self
            .sessions
            .iter()
            .map(|name| self.place.find(name))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let dir = match only.first().and_then(|path| path.parent()) {
            Some(dir) => dir.to_owned(),
            None => self.place.dir()?,
        };
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let guard = runtime.enter();
        let (mut interrupt, mut terminate) = (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        );
        drop(guard);
        runtime.spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            stopped.store(true, Ordering::Relaxed);
        });
        let style = if self.json { Style::Json } else { Style::Text };
        let filter = self.which.filter();
        unless_gone(replay::tail(
            &dir,
            &only,
            &self.opening.identities()?,
            &filter,
            style,
            &stop,
            &mut out::stdout(),
        ))?;
        Ok(Answer::Good)
    }
}
