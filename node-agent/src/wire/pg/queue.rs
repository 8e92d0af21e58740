//! Pure. The answers still expected, in order, and which message may come next.
//!
//! The database answers in the order it was asked. An error in the extended protocol makes it skip
//! everything up to the next Sync, without a word about what it skipped: `fail` takes the same
//! things out of the queue.

use std::collections::VecDeque;

use crate::model::Refusal;
use crate::wire::Turned;

use super::answer::Kind;
use super::command::Which;
use super::count::{Counted, Ending, How, Stage};
use super::instead::Instead;
use super::own::Question;
use super::prepared::Name;

/// One expected answer (or group of answers, for an execution).
#[derive(Debug)]
pub(super) enum Due<E> {
    /// ParseComplete.
    Parse(Name),
    /// BindComplete.
    Bind(Name),
    /// CloseComplete.
    Close(Which, Name),
    /// ParameterDescription (for a statement), then RowDescription or NoData.
    Describe {
        which: Which,
        name: Name,
        /// We asked, not the client.
        hidden: bool,
        /// ParameterDescription has come.
        parameters: bool,
    },
    /// Rows or copy data, then CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute { portal: Name, run: Running<E> },
    /// Any number of results, then ReadyForQuery.
    Run { run: Running<E> },
    /// As `Execute` or `Run`, with what is said around it to count what it changes.
    Counted(Box<Counted<E>>),
    /// What answers a question of the agent's own.
    Own(Box<Question>),
    /// ReadyForQuery.
    Sync,
    /// An error that we provoked.
    Poison {
        /// Ours, to be shown instead; `None`: the database's own words will do.
        refusal: Option<Box<Refusal>>,
        protocol: Protocol,
        /// The error has come (simple protocol: ReadyForQuery is still due).
        failed: bool,
    },
}

/// Which of the two sub-protocols: they differ in what follows an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// ReadyForQuery follows at once.
    Simple,
    /// Everything up to Sync is skipped.
    Extended,
}

/// An execution under way.
#[derive(Debug)]
pub(super) struct Running<E> {
    /// `None` once it was handed back.
    pub(super) execution: Option<E>,
    pub(super) flow: Flow,
    /// Rows are not to be delivered in pieces.
    pub(super) whole: bool,
    /// It may change what names stand for.
    pub(super) names: bool,
    /// What it does to its transaction.
    pub(super) turn: Turned,
    /// In the extended protocol: what is said around it, if rows are asked for in its place.
    pub(super) instead: Option<Box<Instead>>,
}

/// Where an execution stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// No answer yet.
    Fresh,
    /// A statement of a `Run` is finished; another or the end may follow.
    Between,
    /// A result's head or rows have come.
    Rows,
    /// The client is sending copy data.
    CopyIn,
    /// Copy data is coming.
    CopyOut,
    /// CopyDone has come, CommandComplete has not.
    CopyEnd,
    /// A `Run` failed; ReadyForQuery is due.
    Failed,
}

impl<E> Running<E> {
    pub(super) fn new(execution: E, whole: bool, names: bool) -> Self {
        Running {
            execution: Some(execution),
            flow: Flow::Fresh,
            whole,
            names,
            turn: Turned::Stays,
            instead: None,
        }
    }
}

/// What an answer meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<E> {
    Prepared(Name),
    Bound(Name),
    Closed(Which, Name),
    Parameters,
    /// An answer to what is said around rows that are asked for in place of a statement.
    Aside,
    Described {
        which: Which,
        name: Name,
        hidden: bool,
    },
    /// The head of a result inside a `Run`.
    Head,
    Row,
    /// A statement is finished. An `Execute` is over with it and gives its execution back.
    Done(Option<E>),
    Suspended(Option<E>),
    CopyIn,
    CopyOut,
    CopyRow,
    CopyEnd,
    Ready {
        /// The `Run` that ended.
        over: Option<E>,
        /// A Query ended, and with it the unnamed statement and portal.
        query: bool,
    },
}

/// What an error ended.
#[derive(Debug)]
pub(super) struct Fault<E> {
    /// The execution that failed.
    pub(super) over: Option<E>,
    /// It was provoked for this refusal.
    pub(super) refusal: Option<Box<Refusal>>,
    /// The entries that failed or were skipped, in order, the failed one first. A `Run` that
    /// failed stays in the queue until ReadyForQuery and is not among them.
    pub(super) dropped: Vec<Due<E>>,
    /// The client has not sent the Sync yet up to which the database skips.
    pub(super) open: bool,
    /// A copy from the client was under way.
    pub(super) copying: bool,
    /// It is no business of the client's: what it answered is said again.
    pub(super) hidden: bool,
}

/// Entries for which an empty queue keeps room.
const KEPT: usize = 64;

/// The queue.
#[derive(Debug)]
pub(super) struct Queue<E> {
    due: VecDeque<Due<E>>,
    boundaries: usize,
    names: usize,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Queue {
            due: VecDeque::new(),
            boundaries: 0,
            names: 0,
        }
    }
}

impl<E> Queue<E> {
    pub(super) fn len(&self) -> usize {
        self.due.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    /// How many ReadyForQuery are outstanding: a transaction may end at each.
    pub(super) fn boundaries(&self) -> usize {
        self.boundaries
    }

    /// How many executions are outstanding that may change what names stand for.
    pub(super) fn changing_names(&self) -> usize {
        self.names
    }

    fn weigh(due: &Due<E>) -> (usize, usize) {
        match due {
            Due::Run { run } => (1, usize::from(run.names)),
            Due::Execute { run, .. } => (0, usize::from(run.names)),
            Due::Counted(counted) => (
                usize::from(counted.how != How::Joined),
                usize::from(counted.run.names),
            ),
            Due::Sync | Due::Own(_) => (1, 0),
            Due::Poison { protocol, .. } => (usize::from(*protocol == Protocol::Simple), 0),
            Due::Parse(_) | Due::Bind(_) | Due::Close(..) | Due::Describe { .. } => (0, 0),
        }
    }

    pub(super) fn push(&mut self, due: Due<E>) {
        let (boundaries, names) = Self::weigh(&due);
        self.boundaries += boundaries;
        self.names += names;
        self.due.push_back(due);
    }

    fn pop(&mut self) -> Option<Due<E>> {
        let due = self.due.pop_front()?;
        let (boundaries, names) = Self::weigh(&due);
        self.boundaries = self.boundaries.saturating_sub(boundaries);
        self.names = self.names.saturating_sub(names);
        if self.due.is_empty() {
            // An idle session does not keep the room of its longest pipeline.
            self.due.shrink_to(KEPT);
        }
        Some(due)
    }

    /// Gives up what is outstanding, an execution a call.
    pub(super) fn abandon(&mut self) -> Option<E> {
        while let Some(due) = self.pop() {
            match due {
                Due::Execute { run, .. } | Due::Run { run } => {
                    if run.execution.is_some() {
                        return run.execution;
                    }
                }
                Due::Counted(counted) => {
                    if counted.run.execution.is_some() {
                        return counted.run.execution;
                    }
                }
                Due::Parse(_)
                | Due::Bind(_)
                | Due::Close(..)
                | Due::Describe { .. }
                | Due::Own(_)
                | Due::Sync
                | Due::Poison { .. } => {}
            }
        }
        None
    }

    /// The entry whose answer comes next.
    pub(super) fn front(&self) -> Option<&Due<E>> {
        self.due.front()
    }

    /// The entry whose answer comes next, but for what is still said behind rows that are over.
    pub(super) fn next(&self) -> Option<&Due<E>> {
        match self.due.front() {
            Some(Due::Execute { run, .. }) if run.execution.is_none() && run.instead.is_some() => {
                self.due.get(1)
            }
            front => front,
        }
    }

    /// The latest entry.
    pub(super) fn back(&self) -> Option<&Due<E>> {
        self.due.back()
    }

    /// The counted statement whose answers come next.
    pub(super) fn counted(&mut self) -> Option<&mut Counted<E>> {
        match self.due.front_mut()? {
            Due::Counted(counted) => Some(counted),
            Due::Parse(_)
            | Due::Bind(_)
            | Due::Close(..)
            | Due::Describe { .. }
            | Due::Execute { .. }
            | Due::Run { .. }
            | Due::Own(_)
            | Due::Sync
            | Due::Poison { .. } => None,
        }
    }

    /// Something outstanding may end the transaction it runs in.
    pub(super) fn may_end(&self) -> bool {
        self.due.iter().any(|due| match due {
            Due::Execute { run, .. } | Due::Run { run } => run.turn == Turned::MayEnd,
            Due::Counted(counted) => counted.run.turn == Turned::MayEnd,
            Due::Parse(_)
            | Due::Bind(_)
            | Due::Close(..)
            | Due::Describe { .. }
            | Due::Own(_)
            | Due::Sync
            | Due::Poison { .. } => false,
        })
    }

    /// The question of the agent's own whose answers come next.
    pub(super) fn own(&mut self) -> Option<&mut Question> {
        match self.due.front_mut()? {
            Due::Own(question) => Some(question),
            Due::Parse(_)
            | Due::Bind(_)
            | Due::Close(..)
            | Due::Describe { .. }
            | Due::Execute { .. }
            | Due::Run { .. }
            | Due::Counted(_)
            | Due::Sync
            | Due::Poison { .. } => None,
        }
    }

    /// That question is answered.
    pub(super) fn drop_own(&mut self) {
        if self.own().is_some() {
            self.pop();
        }
    }

    /// That statement is over, with everything around it.
    pub(super) fn drop_counted(&mut self) {
        if self.counted().is_some() {
            self.pop();
        }
    }

    /// The oldest execution that is not over, whatever is answered before it.
    pub(super) fn oldest(&mut self) -> Option<&mut E> {
        self.due.iter_mut().find_map(|due| match due {
            Due::Execute { run, .. } | Due::Run { run } => run.execution.as_mut(),
            Due::Counted(counted) => counted.run.execution.as_mut(),
            Due::Parse(_)
            | Due::Bind(_)
            | Due::Close(..)
            | Due::Describe { .. }
            | Due::Own(_)
            | Due::Sync
            | Due::Poison { .. } => None,
        })
    }

    /// The execution whose answer comes next.
    pub(super) fn running(&mut self) -> Option<&mut Running<E>> {
        match self.due.front_mut()? {
            Due::Execute { run, .. } | Due::Run { run } => Some(run),
            Due::Counted(counted) => Some(&mut counted.run),
            Due::Parse(_)
            | Due::Bind(_)
            | Due::Close(..)
            | Due::Describe { .. }
            | Due::Own(_)
            | Due::Sync
            | Due::Poison { .. } => None,
        }
    }

    /// The database said something that is neither an error nor unasked for. `Err` says what it
    /// should have said.
    pub(super) fn step(&mut self, kind: Kind) -> Result<Step<E>, &'static str> {
        let Some(front) = self.due.front_mut() else {
            return Err("nothing: no answer was outstanding");
        };
        match front {
            Due::Parse(name) => match kind {
                Kind::ParseComplete => {
                    let name = std::mem::take(name);
                    self.pop();
                    Ok(Step::Prepared(name))
                }
                _ => Err("ParseComplete"),
            },
            Due::Bind(name) => match kind {
                Kind::BindComplete => {
                    let name = std::mem::take(name);
                    self.pop();
                    Ok(Step::Bound(name))
                }
                _ => Err("BindComplete"),
            },
            Due::Close(which, name) => match kind {
                Kind::CloseComplete => {
                    let (which, name) = (*which, std::mem::take(name));
                    self.pop();
                    Ok(Step::Closed(which, name))
                }
                _ => Err("CloseComplete"),
            },
            Due::Describe {
                which,
                name,
                hidden,
                parameters,
            } => match (kind, *which, *parameters) {
                (Kind::ParameterDescription, Which::Statement, false) => {
                    *parameters = true;
                    Ok(Step::Parameters)
                }
                (Kind::RowDescription | Kind::NoData, Which::Portal, _)
                | (Kind::RowDescription | Kind::NoData, Which::Statement, true) => {
                    let (which, name, hidden) = (*which, std::mem::take(name), *hidden);
                    self.pop();
                    Ok(Step::Described {
                        which,
                        name,
                        hidden,
                    })
                }
                (_, Which::Statement, false) => Err("ParameterDescription"),
                (_, Which::Statement, true) | (_, Which::Portal, _) => {
                    Err("RowDescription or NoData")
                }
            },
            Due::Execute { run, .. } => match around_or_own(run, kind)? {
                Over::Not(step) => Ok(step),
                Over::Around => {
                    let over = run.instead.as_ref().is_none_or(|instead| instead.is_over());
                    if over {
                        self.pop();
                    }
                    Ok(Step::Aside)
                }
                Over::Done => {
                    let over = run.execution.take();
                    match &mut run.instead {
                        Some(instead) => instead.ran(),
                        None => {
                            self.pop();
                        }
                    }
                    Ok(Step::Done(over))
                }
                Over::Suspended => {
                    let over = run.execution.take();
                    self.pop();
                    Ok(Step::Suspended(over))
                }
            },
            Due::Run { run } => match kind {
                Kind::Ready => match run.flow {
                    Flow::Between | Flow::Failed => {
                        let over = run.execution.take();
                        self.pop();
                        Ok(Step::Ready { over, query: true })
                    }
                    Flow::Fresh | Flow::Rows | Flow::CopyIn | Flow::CopyOut | Flow::CopyEnd => {
                        Err("the end of a statement before ReadyForQuery")
                    }
                },
                kind => run_step(run, kind),
            },
            Due::Counted(counted) => match (counted.stage, counted.how) {
                (Stage::Running, How::Joined) => match execute(&mut counted.run, kind)? {
                    Over::Not(step) => Ok(step),
                    Over::Around => Err("what is said around a counted statement"),
                    // The execution stays until the count is known.
                    Over::Done => {
                        counted.stage = Stage::Ran;
                        Ok(Step::Done(None))
                    }
                    Over::Suspended => {
                        counted.stage = Stage::Ran;
                        Ok(Step::Suspended(None))
                    }
                },
                (Stage::Running, How::Inside | How::Own) => {
                    counted.copied_out = counted.run.flow == Flow::CopyEnd;
                    run_step(&mut counted.run, kind)
                }
                (_, _) => Err("what is said around a counted statement"),
            },
            // Taken before: see `own`.
            Due::Own(_) => Err("what answers the agent's own question"),
            Due::Sync => match kind {
                Kind::Ready => {
                    self.pop();
                    Ok(Step::Ready {
                        over: None,
                        query: false,
                    })
                }
                _ => Err("ReadyForQuery"),
            },
            // A poison that does anything but fail would be a refused statement that ran.
            Due::Poison { failed, .. } => match (kind, *failed) {
                (Kind::Ready, true) => {
                    self.pop();
                    Ok(Step::Ready {
                        over: None,
                        query: true,
                    })
                }
                (_, true) => Err("ReadyForQuery"),
                (_, false) => Err("an error, in place of a refused statement"),
            },
        }
    }

    /// The database reported an error.
    pub(super) fn fail(&mut self) -> Result<Fault<E>, &'static str> {
        let mut fault = Fault {
            over: None,
            refusal: None,
            dropped: Vec::new(),
            open: false,
            copying: false,
            hidden: false,
        };
        match self.due.front_mut() {
            None => return Err("no error: no answer was outstanding"),
            Some(Due::Run { run }) => {
                if run.flow == Flow::Failed {
                    return Err("ReadyForQuery");
                }
                fault.copying = run.flow == Flow::CopyIn;
                fault.over = run.execution.take();
                run.flow = Flow::Failed;
                return Ok(fault);
            }
            Some(Due::Counted(counted)) => {
                match (counted.how, counted.stage) {
                    (
                        _,
                        Stage::Syncing
                        | Stage::Estimating(_)
                        | Stage::Before(_)
                        | Stage::Running
                        | Stage::After(_),
                    )
                    | (
                        _,
                        Stage::Closing {
                            ending: Ending::Commit,
                            said: false,
                        },
                    ) => {
                        fault.copying = counted.copying();
                        fault.over = counted.run.execution.take();
                    }
                    // Cancelled. It is said until it is done.
                    (
                        _,
                        Stage::Closing {
                            ending: Ending::Rollback,
                            said: false,
                        },
                    ) => fault.hidden = true,
                    (_, Stage::Closing { said: true, .. } | Stage::Failed | Stage::Unestimated) => {
                        return Err("ReadyForQuery");
                    }
                    (
                        _,
                        Stage::Waiting
                        | Stage::Estimated
                        | Stage::Open
                        | Stage::Ran
                        | Stage::Counted
                        | Stage::Ending(_),
                    ) => return Err("no error: no answer was outstanding"),
                }
                if counted.how != How::Joined {
                    counted.stage = Stage::Failed;
                    return Ok(fault);
                }
            }
            Some(Due::Own(_)) => return Err("what answers the agent's own question"),
            // The commit at the end of an implicit transaction can fail (deferred constraints).
            Some(Due::Sync) => return Ok(fault),
            Some(Due::Poison {
                refusal,
                protocol,
                failed,
            }) => {
                if *failed {
                    return Err("ReadyForQuery");
                }
                fault.refusal = refusal.take();
                *failed = true;
                if *protocol == Protocol::Simple {
                    return Ok(fault);
                }
            }
            Some(Due::Execute { run, .. }) => {
                fault.copying = run.flow == Flow::CopyIn;
                fault.over = run.execution.take();
            }
            Some(Due::Describe { hidden: true, .. }) => {
                // Asked on behalf of the execution behind it, which fails with it.
                fault.dropped.extend(self.pop());
                match self.due.front_mut() {
                    Some(Due::Execute { run, .. }) => fault.over = run.execution.take(),
                    Some(Due::Counted(counted)) => fault.over = counted.run.execution.take(),
                    _ => {}
                }
            }
            Some(Due::Parse(_) | Due::Bind(_) | Due::Close(..) | Due::Describe { .. }) => {}
        }
        while !matches!(self.due.front(), None | Some(Due::Sync)) {
            fault.dropped.extend(self.pop());
        }
        fault.open = self.due.is_empty();
        Ok(fault)
    }

    /// A copy from the client began: the Syncs that were sent behind it are read, and ignored, as
    /// part of the copy.
    pub(super) fn copy_swallows_syncs(&mut self) {
        let before = self.due.len();
        self.due.retain(|due| !matches!(due, Due::Sync));
        self.boundaries = self.boundaries.saturating_sub(before - self.due.len());
    }
}

enum Over<E> {
    Not(Step<E>),
    /// It is about rows that are asked for in place of the statement.
    Around,
    Done,
    Suspended,
}

/// An answer to an Execute, or to what is said around the rows that are asked for in its place.
fn around_or_own<E>(run: &mut Running<E>, kind: Kind) -> Result<Over<E>, &'static str> {
    let Some(instead) = &mut run.instead else {
        return execute(run, kind);
    };
    match instead.step(kind) {
        Some(around) => around.map(|()| Over::Around),
        None => match execute(run, kind)? {
            Over::Suspended => Err("all rows, as they were asked for"),
            over @ (Over::Not(_) | Over::Around | Over::Done) => Ok(over),
        },
    }
}

/// An answer to an Execute. There is no head: that is Describe's.
fn execute<E>(run: &mut Running<E>, kind: Kind) -> Result<Over<E>, &'static str> {
    match (run.flow, kind) {
        (Flow::Fresh | Flow::Rows, Kind::DataRow) => {
            run.flow = Flow::Rows;
            Ok(Over::Not(Step::Row))
        }
        (Flow::Fresh | Flow::Rows | Flow::CopyIn | Flow::CopyEnd, Kind::CommandComplete) => {
            Ok(Over::Done)
        }
        (Flow::Fresh, Kind::EmptyQuery) => Ok(Over::Done),
        (Flow::Fresh | Flow::Rows, Kind::Suspended) => Ok(Over::Suspended),
        (flow, kind) => copy(run, flow, kind).map(Over::Not),
    }
}

/// An answer to a Query, but for ReadyForQuery.
fn run_step<E>(run: &mut Running<E>, kind: Kind) -> Result<Step<E>, &'static str> {
    match (run.flow, kind) {
        (Flow::Fresh | Flow::Between, Kind::RowDescription) => {
            run.flow = Flow::Rows;
            Ok(Step::Head)
        }
        (Flow::Rows, Kind::DataRow) => Ok(Step::Row),
        (
            Flow::Fresh | Flow::Between | Flow::Rows | Flow::CopyIn | Flow::CopyEnd,
            Kind::CommandComplete,
        )
        | (Flow::Fresh | Flow::Between, Kind::EmptyQuery) => {
            run.flow = Flow::Between;
            Ok(Step::Done(None))
        }
        (flow, kind) => copy(run, flow, kind),
    }
}

fn copy<E>(run: &mut Running<E>, flow: Flow, kind: Kind) -> Result<Step<E>, &'static str> {
    match (flow, kind) {
        (Flow::Fresh | Flow::Between, Kind::CopyIn) => {
            run.flow = Flow::CopyIn;
            Ok(Step::CopyIn)
        }
        (Flow::Fresh | Flow::Between, Kind::CopyOut) => {
            run.flow = Flow::CopyOut;
            Ok(Step::CopyOut)
        }
        (Flow::CopyOut, Kind::CopyData) => Ok(Step::CopyRow),
        (Flow::CopyOut, Kind::CopyDone) => {
            run.flow = Flow::CopyEnd;
            Ok(Step::CopyEnd)
        }
        (Flow::Fresh | Flow::Between, _) => Err("the answer to a statement"),
        (Flow::Rows, _) => Err("a row or the end of the result"),
        (Flow::CopyIn | Flow::CopyEnd, _) => Err("CommandComplete"),
        (Flow::CopyOut, _) => Err("copy data or its end"),
        (Flow::Failed, _) => Err("ReadyForQuery"),
    }
}
