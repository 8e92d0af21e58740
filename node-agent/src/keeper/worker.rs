//! A worker as the keeper sees it, and what the operator signals meanwhile.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::channel::{ChannelError, Ear, Mouth};
use super::keep::{KeeperError, own};
use super::message::{ToKeeper, ToWorker};
use crate::intercept::Prefix;

/// How long a worker that closed its socket may take to say why, and any to take an order.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long one may take until it can serve: issuers and name servers that do not answer take their
/// part of it.
const BEGIN: Duration = Duration::from_secs(180);
const SLOW: &str = "it could not serve within three minutes";

/// A worker that was started.
pub(super) struct Worker {
    pub(super) mouth: Mouth<ToWorker>,
    pub(super) ear: Ear<ToKeeper>,
    pub(super) ended: Ending,
}

/// The task that ends with the worker; dropping it ends the worker.
pub(super) struct Ending(pub(super) JoinHandle<Result<(), String>>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Ending {
    pub(super) async fn why(&mut self) -> Result<(), String> {
        (&mut self.0)
            .await
            .unwrap_or_else(|died| Err(died.to_string()))
    }
}

/// How it went with a worker.
pub(super) enum Went {
    /// The operator stopped the agent, and the worker ended.
    Stopped,
    /// It ended without being told to.
    Died(String),
}

pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

pub(super) enum Signalled {
    Stop,
    Reload,
}

impl Signals {
    pub(super) fn new() -> Result<Self, KeeperError> {
        let one = |kind| signal(kind).map_err(own("signals"));
        Ok(Signals {
            terminate: one(SignalKind::terminate())?,
            interrupt: one(SignalKind::interrupt())?,
            hangup: one(SignalKind::hangup())?,
        })
    }

    pub(super) async fn next(&mut self) -> Signalled {
        tokio::select! {
            _ = self.terminate.recv() => Signalled::Stop,
            _ = self.interrupt.recv() => Signalled::Stop,
            _ = self.hangup.recv() => Signalled::Reload,
        }
    }

    pub(super) async fn stop(&mut self) {
        while let Signalled::Reload = self.next().await {}
    }
}

/// Gives the worker the configuration and waits for its first word: whether it can serve.
pub(super) async fn ready(
    configured: &ToWorker,
    mouth: &Mouth<ToWorker>,
    ear: &mut Ear<ToKeeper>,
) -> Result<Vec<Prefix>, KeeperError> {
    mouth.say(configured, &[]).await?;
    let heard = match timeout(BEGIN, ear.hear()).await {
        Ok(heard) => heard?,
        Err(_) => return Err(KeeperError::Worker(SLOW.to_owned())),
    };
    match heard {
        Some((ToKeeper::Ready { protect }, _)) => Ok(protect),
        Some((ToKeeper::Failed { why }, _)) => Err(KeeperError::Worker(why)),
        Some((ToKeeper::Ended { .. } | ToKeeper::Ask { .. } | ToKeeper::Beat { .. }, _)) => {
            Err(ChannelError::Malformed("a question before ready".to_owned()).into())
        }
        None => Err(ChannelError::Socket(io::ErrorKind::UnexpectedEof.into()).into()),
    }
}

/// The socket ended before the worker did: what the worker says of it is the better reason.
pub(super) async fn ending_words(ended: &mut Ending) -> String {
    match timeout(LAST_WORDS, ended.why()).await {
        Ok(Err(why)) => why,
        Ok(Ok(())) => "it ended by itself".to_owned(),
        Err(_) => "it closed its socket".to_owned(),
    }
}
