//! Pure. Counting in the dialogue: what goes out around a counted statement, and when.

use bytes::{BufMut, Bytes, BytesMut};

use crate::model::Refusal;
use crate::wire::{Answer, Asked, Garbled, Params, Peer, Phase, Settled, Transaction, Wants};

use super::answer::{self, Kind};
use super::bulk::CopyIn;
use super::count::{self, Counted, Ending, How, Stage};
use super::deny;
use super::estimate::Estimate;
use super::frame::{self, Header};
use super::hear::flush;
use super::listen::unexpected;
use super::prepared::Found;
use super::queue::{Due, Flow, Protocol, Running};
use super::refusal;
use super::talk::{Owner, Skip, Talk};

impl<S: Clone, E> Talk<S, E> {
    /// Whether what was asked can be counted. A Query behind an Execute that no Sync has ended shares
    /// its transaction, which cannot be ended for the Query alone.
    pub(super) fn countable(&self, asked: &Asked<S>) -> bool {
        match asked.phase {
            Phase::Run { .. } => !(self.unsynced && self.executed),
            Phase::Execute { .. } => true,
            Phase::Prepare { .. } => false,
        }
    }

    /// A counted statement is under way: nothing behind it goes on.
    pub(super) fn counts(&self) -> bool {
        matches!(self.queue.back(), Some(Due::Counted(_)))
    }

    /// Takes on a counted Query. It goes out by `go_on`.
    fn count_query(&mut self, counted: Counted<E>, up: &mut BytesMut) {
        if self.unflushed {
            // What is before it must be answered first.
            flush(up);
        }
        self.query_goes_up();
        self.queue.push(Due::Counted(Box::new(counted)));
    }

    /// Sends a counted Execute. An error of the reading before it makes the server skip it.
    fn count_execute(&mut self, mut counted: Counted<E>, up: &mut BytesMut) {
        match counted.estimate.take() {
            Some(estimate) => {
                counted.stage = Stage::Estimating(0);
                count::prepare_and_explain(&estimate, up);
            }
            None => execute_counted(&mut counted, up),
        }
        flush(up);
        self.extended_goes_up(Due::Counted(Box::new(counted)));
        self.unflushed = false;
    }

    /// Sends what a counted statement needs next.
    pub(super) fn go_on(&mut self, up: &mut BytesMut) {
        let transaction = self.transaction;
        let unsynced = self.unsynced;
        let Some(counted) = self.queue.counted() else {
            return;
        };
        match counted.stage {
            // Had one of the messages before it failed, the server would skip the Query, and it
            // would not be here. They are all well, and have run nothing: a Sync changes nothing,
            // and gives the state of the transaction.
            Stage::Waiting if unsynced && counted.how != How::Joined => {
                counted.stage = Stage::Syncing;
                frame::message(up, b'S', |_| {});
                self.unsynced = false;
            }
            Stage::Waiting if counted.how == How::Joined => {
                execute_counted(counted, up);
                flush(up);
            }
            Stage::Waiting => match transaction {
                Transaction::Idle if counted.estimate.is_some() => {
                    counted.how = How::Own;
                    counted.stage = Stage::Estimating(0);
                    if let Some(estimate) = counted.estimate.take() {
                        count::explain(&estimate, up);
                    }
                }
                Transaction::Idle => {
                    counted.how = How::Own;
                    counted.stage = Stage::Before(0);
                    count::read_first(counted.how, up);
                }
                Transaction::Open => {
                    counted.stage = Stage::Before(0);
                    count::read_first(counted.how, up);
                }
                // Nothing but an error can come of it, and a reading would be refused as well.
                Transaction::Failed => {
                    counted.stage = Stage::Running;
                    up.extend_from_slice(&std::mem::take(&mut counted.frame));
                }
            },
            Stage::Open => {
                counted.stage = Stage::Running;
                up.extend_from_slice(&std::mem::take(&mut counted.frame));
            }
            Stage::Ran => {
                counted.stage = Stage::After(0);
                match counted.how {
                    How::Joined => {
                        count::read_and_close(up);
                        flush(up);
                    }
                    How::Inside | How::Own => count::read_again(counted.how, up),
                }
            }
            Stage::Ending(ending) => {
                counted.stage = Stage::Closing {
                    ending,
                    said: false,
                };
                count::end(ending, up);
            }
            Stage::Syncing
            | Stage::Estimating(_)
            | Stage::Unestimated
            | Stage::Estimated
            | Stage::Before(_)
            | Stage::Running
            | Stage::After(_)
            | Stage::Counted
            | Stage::Closing { .. }
            | Stage::Failed => {}
        }
    }

    /// The row of a reading, which is ours alone.
    pub(super) fn reading(
        &mut self,
        kind: Kind,
        first: Header,
        input: &[u8],
    ) -> Result<Option<(usize, Answer)>, Garbled> {
        if first.len > self.limits.message {
            return Err(unexpected("counters within the limit of a message", kind));
        }
        let Some(frame) = input.get(..first.len) else {
            return Ok(None);
        };
        self.begin();
        if let Some(counted) = self.queue.counted() {
            counted
                .expect(kind)
                .map_err(|expected| unexpected(expected, kind))?;
            counted.read(frame)?;
        }
        Ok(Some((first.len, Answer::Hidden)))
    }

    /// Whether an answer belongs to what is said around a counted statement, and not to itself.
    pub(super) fn is_around(&mut self, kind: Kind) -> bool {
        self.queue
            .counted()
            .is_some_and(|counted| counted.stage != Stage::Running || kind == Kind::Ready)
    }

    /// Such an answer.
    pub(super) fn around(&mut self, kind: Kind, frame: &[u8]) -> Result<Answer, Garbled> {
        let tag = match kind {
            Kind::CommandComplete => answer::complete(frame)?.0,
            Kind::RowDescription => {
                self.cache.read(frame)?;
                String::new()
            }
            Kind::Ready => {
                self.transaction = answer::ready(frame)?;
                String::new()
            }
            _ => {
                answer::empty("an empty answer", frame)?;
                String::new()
            }
        };
        let transaction = self.transaction;
        let Some(counted) = self.queue.counted() else {
            return Err(unexpected("nothing: no answer was outstanding", kind));
        };
        match counted.stage {
            Stage::Syncing if kind == Kind::Ready => {
                counted.stage = Stage::Waiting;
                self.end_portals();
                Ok(Answer::Hidden)
            }
            Stage::Unestimated if kind == Kind::Ready && transaction == Transaction::Idle => {
                counted.stage = Stage::Waiting;
                Ok(Answer::Hidden)
            }
            Stage::Syncing | Stage::Unestimated => Err(unexpected("ReadyForQuery", kind)),
            Stage::Estimating(_) => {
                let last = counted.expect(kind);
                if !last.map_err(|expected| unexpected(expected, kind))? {
                    return Ok(Answer::Hidden);
                }
                if counted.how != How::Joined && transaction != Transaction::Idle {
                    return Err(lost(transaction));
                }
                match counted.estimated {
                    Some(rows) => {
                        counted.stage = Stage::Estimated;
                        self.owner = Owner::Running;
                        Ok(Answer::Estimated { rows })
                    }
                    None => {
                        counted.stage = Stage::Waiting;
                        Ok(Answer::Hidden)
                    }
                }
            }
            Stage::Before(_) => {
                let last = counted.expect(kind);
                if last.map_err(|expected| unexpected(expected, kind))? {
                    counted.stage = match counted.how {
                        How::Joined => Stage::Running,
                        How::Inside | How::Own if transaction == Transaction::Open => Stage::Open,
                        How::Inside | How::Own => return Err(lost(transaction)),
                    };
                }
                Ok(Answer::Hidden)
            }
            Stage::Running => match (kind, counted.run.flow, transaction) {
                (Kind::Ready, Flow::Between, Transaction::Open) if counted.how != How::Joined => {
                    counted.stage = Stage::Ran;
                    Ok(Answer::Hidden)
                }
                (Kind::Ready, Flow::Between, _) => Err(lost(transaction)),
                _ => Err(unexpected("the end of a counted statement", kind)),
            },
            Stage::After(_) => {
                let last = counted.expect(kind);
                if !last.map_err(|expected| unexpected(expected, kind))? {
                    return Ok(Answer::Hidden);
                }
                if counted.how != How::Joined && transaction != Transaction::Open {
                    return Err(lost(transaction));
                }
                counted.stage = Stage::Counted;
                let changed = counted.changed();
                self.owner = Owner::Running;
                Ok(Answer::Counted { changed })
            }
            Stage::Closing { ending, said } => {
                if said {
                    return self.closed(kind);
                }
                let answer = match (ending, kind, tag.as_str()) {
                    (Ending::Commit, Kind::CommandComplete, "COMMIT") => Answer::Kept,
                    (Ending::Rollback, Kind::CommandComplete, "ROLLBACK") => {
                        match counted.refusal.take() {
                            Some(refusal) => Answer::Refused(*refusal),
                            None => Answer::Hidden,
                        }
                    }
                    (Ending::Commit | Ending::Rollback, _, _) => {
                        return Err(unexpected("the end of the agent's own transaction", kind));
                    }
                };
                counted.stage = Stage::Closing { ending, said: true };
                self.ended = counted.run.execution.take();
                if self.ended.is_some() {
                    self.owner = Owner::Ended;
                }
                Ok(answer)
            }
            Stage::Failed => match (kind, counted.how, transaction) {
                (Kind::Ready, How::Own, Transaction::Open | Transaction::Failed) => {
                    if counted.rolls_back_again() {
                        Ok(Answer::Hidden)
                    } else {
                        Err(lost(transaction))
                    }
                }
                (Kind::Ready, How::Own, Transaction::Idle) if counted.refusal.is_none() => {
                    self.closed(kind)
                }
                (Kind::Ready, How::Inside, Transaction::Failed) => self.closed(kind),
                (Kind::Ready, How::Own | How::Inside | How::Joined, _) => Err(lost(transaction)),
                _ => Err(unexpected("ReadyForQuery", kind)),
            },
            Stage::Waiting
            | Stage::Estimated
            | Stage::Open
            | Stage::Ran
            | Stage::Counted
            | Stage::Ending(_) => Err(unexpected("nothing: no answer was outstanding", kind)),
        }
    }

    /// The ReadyForQuery that the client waits for.
    fn closed(&mut self, kind: Kind) -> Result<Answer, Garbled> {
        let Some(counted) = self.queue.counted() else {
            return Err(unexpected("nothing: no answer was outstanding", kind));
        };
        if kind != Kind::Ready {
            return Err(unexpected("ReadyForQuery", kind));
        }
        if counted.how == How::Own && self.transaction != Transaction::Idle {
            return Err(lost(self.transaction));
        }
        let over = counted.run.execution.take();
        self.queue.drop_counted();
        Ok(self.group_over(true, over))
    }

    /// The session has judged the count.
    pub(super) fn judge_count(
        &mut self,
        refusal: Option<&Refusal>,
        up: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Settled {
        let Some(counted) = self.queue.counted() else {
            return Settled::Now;
        };
        let how = counted.how;
        let ran = match counted.stage {
            Stage::Counted => true,
            Stage::Estimated => false,
            _ => return Settled::Later,
        };
        match (how, refusal) {
            (_, None) if !ran => {
                counted.stage = Stage::Waiting;
                return Settled::Later;
            }
            (How::Own, Some(refusal)) if !ran => {
                self.ended = counted.run.execution.take();
                self.owner = Owner::Ended;
                self.queue.drop_counted();
                self.confirm_query();
                self.end_portals();
                refusal::refuse(refusal, out);
                deny::ready(out);
                return Settled::Now;
            }
            (How::Own, None) => {
                counted.stage = Stage::Ending(Ending::Commit);
                return Settled::Later;
            }
            (How::Own, Some(refusal)) => {
                counted.refusal = Some(Box::new(refusal.clone()));
                counted.stage = Stage::Ending(Ending::Rollback);
                return Settled::Later;
            }
            (How::Joined | How::Inside, _) => {}
        }
        self.ended = counted.run.execution.take();
        self.owner = Owner::Ended;
        self.queue.drop_counted();
        match (how, refusal) {
            (How::Joined, None) | (How::Own, _) => {}
            (How::Joined, Some(refusal)) => {
                deny::poison_bind(refusal, up);
                self.extended_goes_up(deny::poison(Some(refusal), Protocol::Extended));
                flush(up);
                self.unflushed = false;
                self.skip = Some(Skip::Upstream);
            }
            (How::Inside, None) => {
                self.confirm_query();
                frame::message(out, b'Z', |out| out.put_u8(b'T'));
            }
            (How::Inside, Some(refusal)) => {
                self.confirm_query();
                deny::poison_query(refusal, up);
                self.query_goes_up();
                self.queue
                    .push(deny::poison(Some(refusal), Protocol::Simple));
            }
        }
        Settled::Now
    }

    /// The client has ended its copy. In the extended protocol the database says nothing of it
    /// before it is asked to, and the client's own asking waits for the count.
    pub(super) fn copy_ended(&mut self, up: &mut BytesMut) {
        let joined = self.queue.counted().is_some_and(|c| c.how == How::Joined);
        if joined && self.bulk.copy == CopyIn::Closed {
            flush(up);
        }
    }

    /// Sends what is to be counted, in its protocol.
    pub(super) fn send_counted(
        &mut self,
        asked: Asked<S>,
        execution: E,
        wants: Wants,
        up: &mut BytesMut,
    ) {
        let mut run = Running::new(execution, wants.whole, wants.names);
        run.turn = wants.turn;
        match asked.phase {
            Phase::Run { .. } => {
                let mut counted = Counted::simple(run, asked.frame);
                counted.estimate = wants.estimate.map(|text| {
                    Box::new(Estimate {
                        text,
                        types: Bytes::new(),
                        params: Params::default(),
                    })
                });
                self.count_query(counted, up);
            }
            Phase::Execute {
                portal,
                params,
                resumed,
                ..
            } => {
                let types = match self.portals.find(&portal, self.segment) {
                    Found::Known { value, .. } => value.types.clone(),
                    Found::Unknown { .. } | Found::Later => Bytes::new(),
                };
                self.describe_first(&portal, wants.head, up);
                let mut counted = Counted::joined(run, portal[..].into(), asked.frame);
                // What is resumed has run.
                counted.estimate = wants.estimate.filter(|_| !resumed).map(|text| {
                    Box::new(Estimate {
                        text,
                        types,
                        params,
                    })
                });
                self.count_execute(counted, up);
            }
            // A Parse runs nothing.
            Phase::Prepare { .. } => self.skipped.extend(run.execution),
        }
    }
}

/// The first reading of the extended protocol, and the Execute behind it.
fn execute_counted<E>(counted: &mut Counted<E>, up: &mut BytesMut) {
    counted.stage = Stage::Before(0);
    count::prepare_and_read(up);
    up.extend_from_slice(&std::mem::take(&mut counted.frame));
}

/// The transaction that was to hold a counted statement does not: nothing of it can be trusted.
fn lost(transaction: Transaction) -> Garbled {
    Garbled {
        who: Peer::Server,
        expected: "the transaction of a counted statement to be as it was left",
        seen: format!("{transaction:?}"),
    }
}
