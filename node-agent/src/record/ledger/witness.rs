//! IO. The ledger as the writer of the recordings sees it: what may be written already, and what is
//! to be told of it.
//!
//! The ledger goes first: a session's name before its file, its end before its last block. So a
//! file that is missing, cut, or closed behind its back is never the work of a writer that was killed
//! at a bad moment, but for what the very last block of its ledger announces.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::entry::{Entry, Mark};
use super::write::{Ledger, Ticket};
use crate::model::SessionId;
use crate::record::chain::Chain;

/// How often open recordings that grew are told of.
const HEADS_EVERY: Duration = Duration::from_secs(5);
/// How many of them at once: what a thousand busy sessions cost the ledger has a bound.
const HEADS: usize = 256;
/// How often a write that failed is tried again, as for recordings.
const RETRY: Duration = Duration::from_millis(250);

/// What was told of one session.
#[derive(Clone, Debug, Default)]
pub(in crate::record) struct Told {
    began: Option<Ticket>,
    ends: Option<Ticket>,
    /// The head of what is on disk.
    written: Option<Mark>,
}

/// What a flush did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::record) enum Flushed {
    /// What waited for the ledger may be written now.
    Wrote,
    /// There was nothing to write, or it is not yet time to try again.
    Nothing,
}

/// The ledger, where there is one.
#[derive(Debug)]
pub(in crate::record) struct Witness {
    ledger: Option<Ledger>,
    grown: BTreeMap<SessionId, Mark>,
    /// Whose head was told last: the others come first.
    last: SessionId,
    heads_at: Instant,
    retry_at: Option<Instant>,
    /// Announced and not written yet.
    announced: BTreeSet<SessionId>,
    /// Something was announced since it was last said that all of that is written.
    unconfirmed: bool,
    /// A recording ended: what is told of it goes to the disk as the recording does.
    ended: bool,
}

impl Witness {
    pub(in crate::record) fn new(ledger: Option<Ledger>) -> Witness {
        Witness {
            ledger,
            grown: BTreeMap::new(),
            last: SessionId(0),
            heads_at: Instant::now() + HEADS_EVERY,
            retry_at: None,
            announced: BTreeSet::new(),
            unconfirmed: false,
            ended: false,
        }
    }

    /// May what is sealed be written? If not, it is told of, and may be after the next flush.
    /// `chain` is the chain with what is sealed.
    pub(in crate::record) fn may_write(
        &mut self,
        session: SessionId,
        workload: &Arc<str>,
        chain: &Chain,
        told: &mut Told,
    ) -> bool {
        let Some(ledger) = &mut self.ledger else {
            return true;
        };
        if told.began.is_none() || chain.ended() && told.ends.is_none() {
            self.announced.insert(session);
            self.unconfirmed = true;
        }
        let began = *told.began.get_or_insert_with(|| {
            ledger.tell(&Entry::Began {
                session,
                workload: Arc::clone(workload),
            })
        });
        if !chain.ended() {
            return ledger.has(began);
        }
        let ends = *told.ends.get_or_insert_with(|| {
            let mark = Mark::of(chain);
            self.ended = true;
            ledger.tell(&Entry::Closed { session, mark })
        });
        self.grown.remove(&session);
        ledger.has(ends)
    }

    /// What was sealed is on disk.
    pub(in crate::record) fn wrote(&mut self, session: SessionId, chain: &Chain, told: &mut Told) {
        if self.ledger.is_some() {
            let mark = Mark::of(chain);
            told.written = Some(mark);
            self.announced.remove(&session);
            if !chain.ended() {
                self.grown.insert(session, mark);
            }
        }
    }

    /// This recording does not go on.
    pub(in crate::record) fn gave_up(&mut self, session: SessionId, told: &Told) {
        self.grown.remove(&session);
        self.announced.remove(&session);
        if let Some(ledger) = &mut self.ledger {
            let last = told.written;
            ledger.tell(&Entry::GivenUp { session, last });
        }
    }

    /// Something besides recordings is told of. `None`: there is no ledger.
    pub(in crate::record) fn tell(&mut self, entry: &Entry) -> Option<Ticket> {
        Some(self.ledger.as_mut()?.tell(entry))
    }

    /// Whether what was told is written.
    pub(in crate::record) fn has(&self, told: Ticket) -> bool {
        self.ledger.as_ref().is_none_or(|ledger| ledger.has(told))
    }

    /// Writes what was told. An error is told once an attempt; attempts are `RETRY` apart unless
    /// it is `now_or_never`.
    pub(in crate::record) fn flush(
        &mut self,
        now: Instant,
        now_or_never: bool,
    ) -> io::Result<Flushed> {
        let Some(ledger) = &mut self.ledger else {
            return Ok(Flushed::Nothing);
        };
        if self.retry_at.is_some_and(|at| now < at) && !now_or_never {
            return Ok(Flushed::Nothing);
        }
        if now >= self.heads_at {
            self.heads_at = now + HEADS_EVERY;
            for _ in 0..HEADS {
                let after = (Bound::Excluded(self.last), Bound::Unbounded);
                let next = self.grown.range(after).next();
                let Some(session) = next.or(self.grown.first_key_value()).map(|(id, _)| *id) else {
                    break;
                };
                let Some(mark) = self.grown.remove(&session) else {
                    break;
                };
                self.last = session;
                ledger.tell(&Entry::Head { session, mark });
            }
            // In a block of its own or before what is announced next: from here on nothing that
            // was announced is forgiven for not being there.
            if self.unconfirmed && self.announced.is_empty() {
                self.unconfirmed = false;
                ledger.tell(&Entry::Written);
            }
        }
        match ledger.flush() {
            Ok(wrote) => {
                self.retry_at = None;
                if wrote && std::mem::take(&mut self.ended) {
                    ledger.settle();
                }
                Ok(if wrote {
                    Flushed::Wrote
                } else {
                    Flushed::Nothing
                })
            }
            Err(error) => {
                self.retry_at = Some(now + RETRY);
                Err(error)
            }
        }
    }

    /// The last attempt succeeded.
    pub(in crate::record) fn works(&self) -> bool {
        self.retry_at.is_none()
    }

    /// The writer ends.
    pub(in crate::record) fn stop(&mut self) {
        let Some(ledger) = &mut self.ledger else {
            return;
        };
        for (session, mark) in std::mem::take(&mut self.grown) {
            ledger.tell(&Entry::Head { session, mark });
        }
        if let Err(error) = ledger.stop() {
            tracing::error!(%error, "the ledger stops with entries unwritten");
        }
    }
}
