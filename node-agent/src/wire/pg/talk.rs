//! Pure. The dialogue after login: what is kept between messages, and what the session may ask.
//! The client's half is in `hear`, the database's in `listen`.

use std::cell::OnceCell;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};

use crate::mask::{MaskedRows, Undecodable};
use crate::model::{Refusal, ResultHead};
use crate::wire::{
    Answer, Asked, Copied, CursorLife, FrontLimits, Garbled, Heard, Own, Params, Phase, Settled,
    Transaction, Wants,
};

use super::answer::{Described, HeadCache, with_formats};
use super::bulk::{Bulk, CopyIn};
use super::command::{self, Formats, Which};
use super::instead::Instead;
use super::prepared::{Found, Names};
use super::queue::{Due, Protocol, Queue, Running};
use super::{copied, deny, frame, refusal};

/// The dialogue with PostgreSQL after login.
pub struct Talk<S, E> {
    pub(super) limits: FrontLimits,
    pub(super) statements: Names<Prepared<S>>,
    pub(super) portals: Names<Portal<S>>,
    pub(super) queue: Queue<E>,
    pub(super) bulk: Bulk,
    /// Copy data came before it was known whether a copy begins, or may still come behind a
    /// refused statement.
    pub(super) copy_early: bool,
    /// The client's messages are dropped up to its next Sync.
    pub(super) skip: Option<Skip>,
    /// What the client asked has not been answered by the session yet.
    pub(super) asked: bool,
    /// The client said goodbye or was told that it is over.
    pub(super) over: bool,
    /// The latest error answered a Parse.
    pub(super) failed_text: bool,
    /// The next message hangs on an answer.
    pub(super) stalled: bool,
    /// Something of the extended protocol was sent since the last Sync …
    pub(super) unsynced: bool,
    /// … among it an Execute …
    pub(super) executed: bool,
    /// … and nothing after it makes the database send its answers.
    pub(super) unflushed: bool,
    /// Something was sent that may have ended the transaction of the last ReadyForQuery.
    pub(super) unsettled: bool,
    /// A BEGIN was sent in the group under way: what follows it there runs in its transaction, or not at all.
    pub(super) begun: bool,
    /// Counts the client's Syncs.
    pub(super) segment: u64,
    /// Bytes that named statements and portals hold.
    pub(super) held: Arc<AtomicUsize>,
    pub(super) next_statement: u64,

    pub(super) transaction: Transaction,
    pub(super) cache: HeadCache,
    /// Heads by Describe of a statement.
    pub(super) heads: HashMap<u64, Arc<Described>>,
    /// The head of the result now coming.
    pub(super) shown: Shown,
    pub(super) patched: OnceCell<Arc<ResultHead>>,
    /// A frame that is delivered in pieces.
    pub(super) streaming: Option<Streaming>,
    pub(super) owner: Owner,
    pub(super) ended: Option<E>,
    pub(super) skipped: VecDeque<E>,
}

/// A prepared statement.
pub(super) struct Prepared<S> {
    pub(super) kept: S,
    pub(super) id: u64,
    /// The types of its parameters, as far as its Parse fixed them.
    pub(super) types: Bytes,
    pub(super) _held: Option<Held>,
}

/// A portal: a statement bound to parameters, or a cursor.
pub(super) struct Portal<S> {
    pub(super) kept: S,
    /// The statement's id; 0 for a cursor.
    pub(super) statement: u64,
    pub(super) formats: Formats,
    /// Handed to the session with the first Execute.
    pub(super) params: Params,
    /// Those of its statement.
    pub(super) types: Bytes,
    pub(super) _held: Option<Held>,
    pub(super) executed: bool,
    /// A Describe of it is on the way.
    pub(super) describing: bool,
    pub(super) described: Option<Arc<Described>>,
    pub(super) life: CursorLife,
}

/// Counts bytes while they are held.
pub(super) struct Held {
    total: Arc<AtomicUsize>,
    bytes: usize,
}

impl Held {
    pub(super) fn new(total: &Arc<AtomicUsize>, bytes: usize) -> Self {
        total.fetch_add(bytes, Ordering::Relaxed);
        Held {
            total: Arc::clone(total),
            bytes,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Why the client's messages are dropped, and who answers the Sync that ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skip {
    /// We refused, and the database knows nothing of it: we answer.
    Local,
    /// The database failed, or will: it answers.
    Upstream,
}

/// What is known of the result now coming.
pub(super) enum Shown {
    Nothing,
    /// The very head.
    Exact(Arc<Described>),
    /// The head of the prepared statement, which knows no formats.
    OfStatement(Arc<Described>, Formats),
}

/// A frame that is delivered in pieces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streaming {
    pub(super) left: usize,
    pub(super) row: bool,
}

/// Whom the latest answer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Nobody,
    /// The execution at the front of the queue.
    Running,
    /// The one that just ended.
    Ended,
}

impl<S: Clone, E> Talk<S, E> {
    /// Nothing is outstanding, nothing half sent and no transaction open: an error can be answered
    /// here without the database ever knowing.
    pub(super) fn alone(&self) -> bool {
        self.queue.is_empty()
            && !self.unsynced
            && self.transaction == Transaction::Idle
            && self.bulk.copy != CopyIn::Open
    }

    /// Answers must come in before more can be heard. Not during a copy, whose answer waits for
    /// the client.
    pub(super) fn held_up(&self) -> bool {
        let full = self.queue.len() >= self.limits.pending || self.counts();
        self.stalled || (full && self.bulk.copy != CopyIn::Open)
    }

    /// A Query goes up: it ends the unnamed statement and the unnamed portal.
    pub(super) fn query_goes_up(&mut self) {
        self.statements.change(b"", self.segment, None);
        self.portals.change(b"", self.segment, None);
        self.unflushed = false;
        // The transaction of what no Sync has ended ends with it.
        self.executed = false;
        self.begun = false;
    }

    /// A Query is over.
    pub(super) fn confirm_query(&mut self) {
        let old = self.statements.confirm(b"");
        self.forget(old);
        self.portals.confirm(b"");
        self.shown = Shown::Nothing;
    }

    /// Asks for the head of the portal that runs next, if it is wanted and not known.
    pub(super) fn describe_first(&mut self, portal: &[u8], head: bool, up: &mut BytesMut) {
        let mut describe = false;
        if let Found::Known { value, .. } = self.portals.find(portal, self.segment) {
            value.executed = true;
            describe = head && value.described.is_none() && !value.describing;
            value.describing |= describe;
        }
        if describe {
            deny::describe_portal(portal, up);
            self.extended_goes_up(Due::Describe {
                which: Which::Portal,
                name: portal.into(),
                hidden: true,
                parameters: false,
            });
        }
    }

    /// Something of the extended protocol goes up.
    pub(super) fn extended_goes_up(&mut self, due: Due<E>) {
        // What a Sync has ended does not count any more.
        let before = self.executed && self.unsynced;
        self.executed = before || matches!(due, Due::Execute { .. } | Due::Counted(_));
        self.queue.push(due);
        self.unsynced = true;
        self.unflushed = true;
    }

    /// Forgets what a statement that is no more was described as.
    pub(super) fn forget(&mut self, statement: Option<Prepared<S>>) {
        if let Some(statement) = statement {
            self.heads.remove(&statement.id);
        }
    }

    pub(super) fn statement_id(&mut self) -> u64 {
        self.next_statement += 1;
        self.next_statement
    }
}

impl<S: Clone + Send + 'static, E: Send + 'static> crate::wire::Talk<S, E> for Talk<S, E> {
    const PIECE: usize = 64 << 10;

    fn new(limits: FrontLimits) -> Self {
        Talk {
            limits,
            statements: Names::default(),
            portals: Names::default(),
            queue: Queue::default(),
            bulk: Bulk::new(),
            copy_early: false,
            skip: None,
            asked: false,
            over: false,
            failed_text: false,
            stalled: false,
            unsynced: false,
            executed: false,
            unflushed: false,
            unsettled: false,
            begun: false,
            segment: 0,
            held: Arc::default(),
            next_statement: 0,
            transaction: Transaction::Idle,
            cache: HeadCache::default(),
            heads: HashMap::new(),
            shown: Shown::Nothing,
            patched: OnceCell::new(),
            streaming: None,
            owner: Owner::Nobody,
            ended: None,
            skipped: VecDeque::new(),
        }
    }

    fn hear(
        &mut self,
        input: &mut BytesMut,
        up: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<Option<Heard<S>>, Garbled> {
        self.take_message(input, up, out)
    }

    fn copies_in(&self) -> bool {
        self.bulk.copy == CopyIn::Open
    }

    fn inside_message(&self) -> bool {
        self.streaming.is_some()
    }

    fn full(&self) -> bool {
        self.held_up()
    }

    fn send(&mut self, asked: Asked<S>, execution: E, wants: Wants, up: &mut BytesMut) {
        self.asked = false;
        if self.skip.is_some() {
            // Something before it failed while it was judged: the database would not run it.
            self.skipped.push_back(execution);
            return;
        }
        self.turns(wants.turn, &asked.phase);
        if wants.count {
            return self.send_counted(asked, execution, wants, up);
        }
        let mut run = Running::new(execution, wants.whole, wants.names);
        run.turn = wants.turn;
        match asked.phase {
            Phase::Run { .. } => {
                self.query_goes_up();
                match wants.instead {
                    Some(text) => frame::message(up, b'Q', |up| frame::text(up, text.as_str())),
                    None => up.extend_from_slice(&asked.frame),
                }
                self.queue.push(Due::Run { run });
            }
            Phase::Execute { portal, .. } => {
                match wants.instead {
                    Some(text) => {
                        self.describe_first(&portal, false, up);
                        run.instead = Some(Box::new(Instead::ask(text.as_str(), up)));
                    }
                    None => {
                        self.describe_first(&portal, wants.head, up);
                        up.extend_from_slice(&asked.frame);
                    }
                }
                self.extended_goes_up(Due::Execute {
                    portal: portal[..].into(),
                    run,
                });
            }
            Phase::Prepare { .. } => {
                // A Parse runs nothing, so there is nothing an execution could belong to. The
                // statement is not sent: `prepare` is the way.
                self.skipped.extend(run.execution);
            }
        }
    }

    fn prepare(&mut self, asked: Asked<S>, statement: S, up: &mut BytesMut) {
        self.asked = false;
        let Phase::Prepare { text, name } = asked.phase else {
            return;
        };
        if self.skip.is_some() {
            return;
        }
        let held = (!name.is_empty()).then(|| Held::new(&self.held, text.as_str().len()));
        let prepared = Prepared {
            kept: statement,
            id: self.statement_id(),
            // A named statement may live long, and must not keep a read buffer alive.
            types: Bytes::copy_from_slice(&command::types(&asked.frame)),
            _held: held,
        };
        self.statements.change(&name, self.segment, Some(prepared));
        up.extend_from_slice(&asked.frame);
        self.extended_goes_up(Due::Parse(name[..].into()));
    }

    fn refuse(
        &mut self,
        asked: Asked<S>,
        refusal: &Refusal,
        up: &mut BytesMut,
        out: &mut BytesMut,
    ) {
        self.asked = false;
        // Had it been a copy, its data may be on the way already.
        self.copy_early = true;
        if self.skip.is_some() {
            // Something before it failed: that is the error the client sees.
            return;
        }
        let protocol = match asked.phase {
            Phase::Run { .. } => Protocol::Simple,
            Phase::Prepare { .. } | Phase::Execute { .. } => Protocol::Extended,
        };
        self.deny(protocol, refusal, up, out);
    }

    fn listen(&mut self, input: &[u8]) -> Result<Option<(usize, Answer)>, Garbled> {
        self.take_answer(input, Self::PIECE)
    }

    fn current(&mut self) -> Option<&mut E> {
        match self.owner {
            Owner::Nobody => None,
            Owner::Running => self.queue.running()?.execution.as_mut(),
            Owner::Ended => self.ended.as_mut(),
        }
    }

    fn running(&mut self) -> Option<&mut E> {
        self.queue.oldest()
    }

    fn failed_text(&self) -> bool {
        self.failed_text
    }

    fn break_off(&mut self) -> bool {
        match self.queue.next() {
            // A Query ends with its ReadyForQuery, error or not.
            Some(Due::Run { .. }) => self.owner == Owner::Running,
            Some(Due::Sync) => true,
            Some(
                Due::Parse(_)
                | Due::Bind(_)
                | Due::Close(..)
                | Due::Describe { .. }
                | Due::Execute { .. }
                | Due::Counted(_)
                | Due::Own(_)
                | Due::Poison { .. },
            ) => false,
            // The client's Sync is still to come, and the database will answer it.
            None => {
                self.skip.get_or_insert(Skip::Upstream);
                true
            }
        }
    }

    fn can_count(&self, asked: &Asked<S>) -> bool {
        self.countable(asked)
    }

    fn counting(&self) -> bool {
        self.counts()
    }

    fn settle(
        &mut self,
        refusal: Option<&Refusal>,
        up: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Settled {
        self.judge_count(refusal, up, out)
    }

    fn advance(&mut self, up: &mut BytesMut) {
        self.go_on(up);
    }

    fn surely_inside(&self) -> bool {
        self.inside()
    }

    fn drained(&mut self, up: &mut BytesMut) -> bool {
        self.is_drained(up)
    }

    fn skips(&self) -> bool {
        self.skip.is_some()
    }

    fn put(&mut self, own: Own, up: &mut BytesMut) {
        self.put_own(own, up);
    }

    fn commit_failed(&mut self, asked: Asked<S>, out: &mut BytesMut) {
        self.fail_commit(&asked.phase, out);
    }

    fn finished(&mut self) -> Option<E> {
        self.ended.take()
    }

    fn skipped(&mut self) -> Option<E> {
        self.skipped.pop_front()
    }

    fn abandoned(&mut self) -> Option<E> {
        self.queue.abandon()
    }

    fn hold_rows(&mut self, whole: bool) {
        if let Some(run) = self.queue.running() {
            run.whole = whole;
        }
    }

    fn copy_begins(copied: &Copied, out: &mut BytesMut) {
        copied::begin(copied, out);
    }

    fn copy_rows(
        copied: &Copied,
        rows: &MaskedRows,
        out: &mut BytesMut,
    ) -> Result<(), Undecodable> {
        copied::rows(copied, rows, out)
    }

    fn copy_ends(rows: u64, out: &mut BytesMut) {
        copied::end(rows, out);
    }

    fn span_of(frames: &[u8], count: u64) -> usize {
        frame::span_of(frames, count)
    }

    fn head(&self) -> Option<&Arc<ResultHead>> {
        match &self.shown {
            Shown::Nothing => None,
            Shown::Exact(described) => Some(&described.head),
            Shown::OfStatement(described, formats) => Some(
                self.patched
                    .get_or_init(|| Arc::new(with_formats(&described.head, formats))),
            ),
        }
    }

    fn named(&self, name: &str) -> Option<&S> {
        if self.queue.changing_names() > 0 {
            return None;
        }
        self.statements
            .certain(name.as_bytes(), self.segment)
            .map(|prepared| &prepared.kept)
    }

    fn set_named(&mut self, name: &str, statement: Option<S>) {
        let prepared = statement.map(|kept| Prepared {
            kept,
            id: self.statement_id(),
            types: Bytes::new(),
            _held: None,
        });
        // Beyond the bound the name stays unknown, and its use is refused.
        let prepared = prepared.filter(|_| self.statements.len() < self.limits.names);
        let old = self.statements.set(name.as_bytes(), prepared);
        self.forget(old);
    }

    fn forget_names(&mut self) {
        let heads = &mut self.heads;
        self.statements.retain(|name, statement| {
            // DEALLOCATE ALL leaves the unnamed statement.
            let keep = name.is_empty();
            if !keep {
                heads.remove(&statement.id);
            }
            keep
        });
    }

    fn cursor(&self, name: &str) -> Option<&S> {
        if self.queue.changing_names() > 0 || self.queue.boundaries() > 0 {
            return None;
        }
        self.portals
            .certain(name.as_bytes(), self.segment)
            .map(|portal| &portal.kept)
    }

    fn set_cursor(&mut self, name: &str, statement: Option<S>, life: CursorLife) {
        let portal = statement.map(|kept| Portal {
            kept,
            statement: 0,
            formats: Formats::Text,
            params: Params::default(),
            types: Bytes::new(),
            _held: None,
            executed: false,
            describing: false,
            described: None,
            life,
        });
        let portal = portal.filter(|_| self.portals.len() < self.limits.names);
        self.portals.set(name.as_bytes(), portal);
    }

    fn forget_cursors(&mut self) {
        self.portals.retain(|_, _| false);
    }

    fn idle(&self) -> bool {
        self.alone() && self.skip.is_none() && !self.asked && self.streaming.is_none()
    }

    fn transaction(&self) -> Transaction {
        self.transaction
    }

    fn write_refusal(refusal: &Refusal, out: &mut BytesMut) {
        refusal::refuse(refusal, out);
    }

    fn write_failure(severity: &str, code: &str, message: &str, out: &mut BytesMut) {
        refusal::failure(severity, code, message, out);
    }

    fn tell(message: &str, detail: Option<&str>, out: &mut BytesMut) {
        refusal::notice(message, detail, out);
    }

    fn write_goodbye(up: &mut BytesMut) {
        frame::message(up, b'X', |_| {});
    }
}
