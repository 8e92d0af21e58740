//! The end of a session: the reason, the last words to the client, the goodbye to the database.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::model::{Refusal, RefusalCode};
use crate::record::Why;
use crate::upstream::Leg;
use crate::wire::{Talk, Wire};

use super::execution::Execution;
use super::pump::Session;
use super::verdict::Prepared;
use super::watch::Ended;

/// How long a parting word may take.
const PARTING: Duration = Duration::from_secs(2);
/// How long the database may take to take a cancel request.
const CANCELLING: Duration = Duration::from_secs(10);
/// How often the database is asked to cancel what still runs when its session is over, and how long
/// it is waited for after each. A request that comes before its statement has begun does nothing.
const CANCELS: usize = 8;
const BETWEEN: Duration = Duration::from_millis(500);

impl<W: Wire> Session<W> {
    pub(super) fn ended(&mut self, ended: Ended) -> Result<(), Why> {
        let (refusal, why) = match ended {
            // Draining lets a transaction finish; the pump asks again at the next idle moment.
            Ended::DrainSoon if !self.link.idle() => return Ok(()),
            Ended::DrainSoon | Ended::DrainNow => (
                Refusal::fatal(
                    RefusalCode::Draining,
                    "the gateway is stopping; connect again in a moment",
                ),
                Why::Drained,
            ),
            Ended::Expired => (
                Refusal::fatal(
                    RefusalCode::Identity,
                    "the identity token has expired; a session does not outlive its token",
                )
                .hint("connect again with a fresh token"),
                Why::IdentityExpired,
            ),
            Ended::Killed => (
                Refusal::fatal(RefusalCode::Policy, "an operator ended this session"),
                Why::Killed,
            ),
            Ended::RecordFailed(words) => (
                Refusal::fatal(
                    RefusalCode::RecordFault,
                    "the session can no longer be recorded, so it ends",
                ),
                Why::RecordFailed(words),
            ),
            Ended::Overdue => {
                self.stop_overdue();
                return Ok(());
            }
        };
        self.last_word(refusal);
        Err(why)
    }

    /// The database went away: the client is told, unless the database did so itself.
    pub(super) fn upstream_gone(&mut self) -> Why {
        if !self.told {
            self.last_word(Refusal::fatal(
                RefusalCode::Upstream,
                "the database closed the connection",
            ));
        }
        Why::UpstreamGone
    }

    /// An answer cannot be passed on. The client learns that, and the log the details: those may
    /// quote what it is not to see.
    pub(super) fn withhold(&mut self, why: &Why) {
        tracing::warn!(session = %self.id, ?why, "an answer is withheld and its session ended");
        let (code, words) = match why {
            Why::RecordFailed(_) => (
                RefusalCode::RecordFault,
                "the session can no longer be recorded, so it ends",
            ),
            _ => (
                RefusalCode::Upstream,
                "the database's answer cannot be judged, so none of it is passed on; \
                 the gateway's log says why",
            ),
        };
        self.last_word(Refusal::fatal(code, words));
    }

    /// Writes the error that ends the session. Behind half a message there is no place for one: the
    /// client would read it as data.
    pub(super) fn last_word(&mut self, refusal: Refusal) {
        if self.link.inside_message() {
            return;
        }
        W::Talk::<Arc<Prepared>, Execution>::write_refusal(
            &refusal.at(self.reference()),
            &mut self.out,
        );
    }

    /// Asks the database to cancel what runs, by its own key, off this task.
    pub(super) fn cancel_running(&mut self) {
        if !self.cancelling.is_empty() {
            return;
        }
        self.cancelled = true;
        let endpoint = self.endpoint.clone();
        let (process, secret) = self.server_key.clone();
        self.cancelling.spawn(async move {
            let sent = crate::upstream::cancel::<W::Back>(&endpoint, process, &secret);
            match timeout(CANCELLING, sent).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%error, "a running statement could not be cancelled");
                }
                Err(late) => {
                    tracing::warn!(error = %late, "a running statement could not be cancelled");
                }
            }
        });
    }

    /// Says goodbye to a database that is busy, off this task: cancels until it has closed its side.
    fn see_out(&mut self) -> tokio::task::JoinHandle<()> {
        let endpoint = self.endpoint.clone();
        let (process, secret) = self.server_key.clone();
        let goodbye = self.link.outgoing().bytes().to_vec();
        let upstream = std::mem::replace(&mut self.upstream, Leg::Closed);
        let parting = self.shared.partings.begin();
        tokio::spawn(async move {
            let _until_said = parting;
            let (mut from, mut to) = tokio::io::split(upstream);
            let say = async {
                let _ = to.write_all(&goodbye).await;
                let _ = to.shutdown().await;
            };
            // What is still coming is read and dropped, or the database could not end.
            let mut nowhere = tokio::io::sink();
            let hear = tokio::io::copy(&mut from, &mut nowhere);
            let mut closed = pin!(async { tokio::join!(say, hear) });
            for _ in 0..CANCELS {
                let cancelled = crate::upstream::cancel::<W::Back>(&endpoint, process, &secret);
                tokio::select! {
                    biased;
                    _ = closed.as_mut() => return,
                    sent = cancelled => if let Err(error) = sent {
                        tracing::warn!(%error, "a running statement could not be cancelled");
                    },
                }
                if timeout(BETWEEN, closed.as_mut()).await.is_ok() {
                    return;
                }
            }
        })
    }

    /// Tells the client and the database that this is over.
    pub(super) async fn part(&mut self, why: &Why) {
        tracing::debug!(session = %self.id, ?why, "session ends");
        let running = !self.link.idle();
        let keeping = self.keeps(why);
        let kept = keeping.is_some();
        self.link.farewell();
        // A running statement would notice late that its client has gone. By a task of its own: a
        // client that does not read must not keep the database waiting.
        let seen_out = running.then(|| self.see_out());
        let parting = async {
            if !self.out.is_empty() && !matches!(why, Why::ClientGone) {
                let _ = self.client.write_all(&self.out).await;
                let _ = self.client.flush().await;
            }
            let _ = self.client.shutdown().await;
            if !running && !kept {
                // An open transaction is rolled back by the database when its client goes.
                let goodbye = self.link.outgoing().bytes().to_vec();
                let _ = self.upstream.write_all(&goodbye).await;
                let _ = self.upstream.shutdown().await;
            }
        };
        let seeing_out = async {
            if let Some(seen_out) = seen_out {
                // An agent that stops waits for its sessions, so that none of them leaves a
                // statement running; what takes longer goes on without it.
                let _ = timeout(PARTING, seen_out).await;
            }
        };
        let _ = tokio::join!(timeout(PARTING, parting), seeing_out);
        if let Some(keeping) = keeping {
            self.hand_over(keeping);
        }
        self.cancelling.detach_all();
    }
}
