//! IO. The bounded queue between one session and the writer, and what all lanes share.

use std::mem;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot, watch};

use super::journal::{self, Journal, Ticket};
use super::ledger::Entry;
use super::quota::{Quotas, Usage};
use super::recorder::{Health, OnFailure, RecorderSettings};
use super::{Began, Decided, Finished, LoggedIn, Note, RecordError, Why};
use crate::model::{Carried, Dialect, ResultHead, SessionId, StatementSeq, UnixMillis};

/// One thing for the writer.
#[derive(Debug)]
pub(super) enum Item {
    Began(Box<Began>),
    Login(Box<LoggedIn>),
    Decided(Decided),
    /// Bytes of rows, a range of the batch's data.
    Rows {
        seq: StatementSeq,
        head: Option<Arc<ResultHead>>,
        data: Range<usize>,
    },
    /// Bytes of rows that were delivered and not kept.
    Beyond {
        seq: StatementSeq,
        rest: Rest,
    },
    Finished(Finished),
    Note(Note),
    Closed {
        at: UnixMillis,
        why: Why,
        carried: Option<Carried>,
    },
}

/// What was delivered beyond what is kept.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) bytes: u64,
    pub(super) digest: blake3::Hash,
}

/// What hangs on the block that will hold an item: dropped or told when it was written.
#[derive(Debug)]
pub(super) enum Held {
    /// Nothing: it may be lost with the process.
    Nothing,
    /// Its place in the journal.
    Ticket(Ticket),
    /// A statement that is not run before.
    Waited(oneshot::Sender<()>),
}

impl Held {
    /// The block was written.
    pub(super) fn written(self) {
        if let Held::Waited(waiting) = self {
            let _ = waiting.send(()); // who waited may have given up
        }
    }

    /// It will not be written by this process: what the journal has of it stays, and whoever waits
    /// learns of it.
    pub(super) fn keep(self) {
        if let Held::Ticket(ticket) = self {
            mem::forget(ticket);
        }
    }
}

/// What the writer takes at once.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) items: Vec<Item>,
    pub(super) data: Vec<u8>,
    /// What hangs on these items.
    pub(super) held: Vec<Held>,
    pub(super) cost: usize,
    /// Events that were let go while the disk failed (only where the configuration says so).
    pub(super) lost: u64,
}

impl Batch {
    fn hold(&mut self, held: Held) {
        match held {
            Held::Nothing => {}
            Held::Ticket(_) | Held::Waited(_) => self.held.push(held),
        }
    }
}

/// How much of the current statement's rows was kept.
#[derive(Debug, Default)]
struct Kept {
    seq: StatementSeq,
    bytes: usize,
    beyond: u64,
    /// Of what is beyond, from its first byte on.
    digest: Option<Box<blake3::Hasher>>,
}

#[derive(Debug, Default)]
struct Queue {
    batch: Batch,
    kept: Kept,
    /// The writer knows that there is something.
    marked: bool,
    closed: bool,
}

impl Queue {
    /// Looked at under the lock: the writer's last look, also under it, sees all that passed.
    fn check(&self, shared: &Shared) -> Result<(), RecordError> {
        if self.closed {
            return Err(RecordError::Closed);
        }
        if shared.stopping() {
            return Err(RecordError::Fault("the recorder has stopped".into()));
        }
        Ok(())
    }

    fn tell_beyond(&mut self) {
        let Kept {
            seq,
            beyond: bytes,
            digest,
            ..
        } = mem::take(&mut self.kept);
        if let Some(digest) = digest {
            let digest = digest.finalize();
            let rest = Rest { bytes, digest };
            self.batch.items.push(Item::Beyond { seq, rest });
        }
    }
}

/// One session's queue.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) session: SessionId,
    pub(super) dialect: Dialect,
    queue: Mutex<Queue>,
    /// Its beginning or its login found no room in the journal, and is in no block yet.
    forgettable: AtomicBool,
    /// This session alone can no longer be recorded (its file exists already, say).
    broken: OnceLock<Arc<str>>,
    /// Its workload's, where there is a quota.
    pub(super) usage: Option<Arc<Usage>>,
}

/// Whether there was room.
#[derive(Debug)]
pub(super) enum Room<T> {
    Taken,
    /// Given back: wait for space, then try again.
    Full(T),
}

/// Where the writer is, for those who may have to wake it.
const RUNNING: u8 = 0;
const RESTING: u8 = 1;
const PARKED: u8 = 2;

/// What the sessions and the writer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: RecorderSettings,
    pub(super) quotas: Quotas,
    pub(super) space: Notify,
    /// What the ledger is to be told besides recordings, and who waits for it.
    pub(super) asides: Mutex<Vec<Aside>>,
    pub(super) health: watch::Sender<Health>,
    pub(super) counters: Counters,
    /// Without one a decision is in memory alone until its block is written.
    pub(super) journal: Option<Journal>,
    failing: AtomicBool,
    stopping: AtomicBool,
    queued: AtomicUsize,
    dirty: Mutex<Vec<Arc<Lane>>>,
    state: AtomicU8,
    writer: OnceLock<Thread>,
    epoch: Instant,
    /// Milliseconds after `epoch`, plus one, when the write that is under way began; 0: none is.
    writing_since: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) open: AtomicU64,
    pub(super) sessions: AtomicU64,
    pub(super) statements: AtomicU64,
    pub(super) blocks: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) recovered: AtomicU64,
    pub(super) remembered: AtomicU64,
}

impl Lane {
    pub(super) fn new(session: SessionId, dialect: Dialect, usage: Option<Arc<Usage>>) -> Self {
        Lane {
            session,
            dialect,
            queue: Mutex::default(),
            forgettable: AtomicBool::new(false),
            broken: OnceLock::new(),
            usage,
        }
    }

    /// Nothing that a lane guards is left half done by a panic, so a poisoned lock is good.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take(&self) -> Batch {
        let mut queue = self.lock();
        queue.marked = false;
        mem::take(&mut queue.batch)
    }

    pub(super) fn break_off(&self, why: Arc<str>) {
        let _ = self.broken.set(why); // the first reason stays
    }

    /// Also where the configuration says `continue`: no workload gets out of the record by filling
    /// its own part of it.
    pub(super) fn check(&self) -> Result<(), RecordError> {
        if let Some(why) = self.broken.get() {
            return Err(RecordError::Fault(Arc::clone(why)));
        }
        match &self.usage {
            Some(usage) if usage.exceeded() => Err(RecordError::Quota),
            Some(_) | None => Ok(()),
        }
    }

    /// Pushes an item if there is room for `cost` bytes, and if `hold` finds what it needs.
    pub(super) fn push(
        self: &Arc<Self>,
        shared: &Shared,
        item: Item,
        cost: usize,
        hold: impl FnOnce(&Item) -> Option<Held>,
    ) -> Result<Room<Item>, RecordError> {
        self.check()?;
        if let Some(Lost) = shared.check()? {
            shared.counters.lost.fetch_add(1, Ordering::Relaxed);
            self.lock().batch.lost += 1;
            return Ok(Room::Taken);
        }
        let mut queue = self.lock();
        queue.check(shared)?;
        if !self.reserve(&queue, shared, cost) {
            return Ok(Room::Full(item));
        }
        let Some(held) = hold(&item) else {
            shared.release(cost);
            return Ok(Room::Full(item));
        };
        queue.batch.hold(held);
        queue.batch.cost += cost;
        queue.batch.items.push(item);
        self.pushed(queue, shared);
        Ok(Room::Taken)
    }

    /// Where a decision lies until its block is written. `None`: nowhere that survives this process.
    pub(super) fn keep(&self, shared: &Shared, decided: &Decided) -> Option<Held> {
        match &shared.journal {
            None => Some(Held::Nothing),
            // What nobody could tell whose it is does not help.
            Some(_) if self.forgettable.load(Ordering::Acquire) => None,
            Some(_) if decided.text.weight() > journal::LINE_CAP => None,
            Some(journal) => journal.decided(self.session, decided).map(Held::Ticket),
        }
    }

    /// All that was pushed is in blocks.
    pub(super) fn is_written(&self) {
        self.forgettable.store(false, Ordering::Release);
    }

    /// Pushes what must not wait and is bounded by what was let in before it: the end of a
    /// statement, a login, the close.
    pub(super) fn push_always(self: &Arc<Self>, shared: &Shared, item: Item) {
        let mut queue = self.lock();
        if queue.closed {
            return;
        }
        if let Item::Finished(finished) = &item
            && queue.kept.seq == finished.seq
        {
            queue.tell_beyond();
        }
        queue.closed = matches!(item, Item::Closed { .. });
        if let Some(journal) = &shared.journal {
            let ticket = match &item {
                Item::Began(began) => Some(journal.began(began)),
                Item::Login(login) => Some(journal.login(self.session, login)),
                Item::Decided(_)
                | Item::Rows { .. }
                | Item::Beyond { .. }
                | Item::Finished(_)
                | Item::Note(_)
                | Item::Closed { .. } => None,
            };
            match ticket {
                Some(Some(ticket)) => queue.batch.hold(Held::Ticket(ticket)),
                Some(None) => self.forgettable.store(true, Ordering::Release),
                None => {}
            }
        }
        queue.batch.items.push(item);
        self.pushed(queue, shared);
    }

    /// Counts bytes of a statement and keeps their digest alone.
    pub(super) fn push_digest(
        self: &Arc<Self>,
        shared: &Shared,
        seq: StatementSeq,
        bytes: &[u8],
    ) -> Result<(), RecordError> {
        // Nothing is kept, so there is room for it.
        self.push_capped(shared, seq, None, bytes, 0).map(drop)
    }

    /// Keeps rows up to the cap of their statement, counts the rest. `false`: no room.
    pub(super) fn push_rows(
        self: &Arc<Self>,
        shared: &Shared,
        seq: StatementSeq,
        head: Option<&Arc<ResultHead>>,
        bytes: &[u8],
    ) -> Result<bool, RecordError> {
        let cap = shared.settings.rows_cap_bytes;
        self.push_capped(shared, seq, head, bytes, cap)
    }

    fn push_capped(
        self: &Arc<Self>,
        shared: &Shared,
        seq: StatementSeq,
        head: Option<&Arc<ResultHead>>,
        bytes: &[u8],
        cap: usize,
    ) -> Result<bool, RecordError> {
        self.check()?;
        if shared.check()?.is_some() {
            return Ok(true); // the statement's decision counts as lost already
        }
        let mut queue = self.lock();
        queue.check(shared)?;
        let fresh = queue.kept.seq != seq;
        let kept = if fresh { 0 } else { queue.kept.bytes };
        let room = cap.saturating_sub(kept);
        let (keep, rest) = bytes.split_at(room.min(bytes.len()));
        if !keep.is_empty() || head.is_some() {
            let cost = size_of::<Item>() + keep.len();
            if !self.reserve(&queue, shared, cost) {
                return Ok(false);
            }
            queue.batch.cost += cost;
        }
        if fresh {
            queue.tell_beyond();
            queue.kept = Kept {
                seq,
                ..Kept::default()
            };
        }
        queue.kept.bytes += keep.len();
        if !rest.is_empty() {
            queue.kept.beyond += rest.len() as u64;
            queue.kept.digest.get_or_insert_default().update(rest);
        }
        if !keep.is_empty() || head.is_some() {
            let begins = queue.batch.data.len();
            queue.batch.data.extend_from_slice(keep);
            let data = begins..queue.batch.data.len();
            queue.batch.items.push(Item::Rows {
                seq,
                head: head.cloned(),
                data,
            });
            self.pushed(queue, shared);
        }
        Ok(true)
    }

    /// One session may use a quarter of the whole queue, and anything fits into an empty one: so
    /// no session keeps another waiting, and nothing waits for ever.
    fn reserve(&self, queue: &Queue, shared: &Shared, cost: usize) -> bool {
        let used = queue.batch.cost;
        if used > 0 && used + cost > shared.settings.queue_bytes / 4 {
            return false;
        }
        shared.reserve(cost, used == 0)
    }

    fn pushed(self: &Arc<Self>, mut queue: MutexGuard<'_, Queue>, shared: &Shared) {
        // Marked once a batch. (Two items may have come at once: their rows' rest, and the end.)
        let first = !mem::replace(&mut queue.marked, true);
        drop(queue);
        if first {
            shared.mark(self);
        }
        shared.press();
    }
}

/// Something for the ledger besides recordings.
#[derive(Debug)]
pub(super) struct Aside {
    pub(super) entries: Vec<Entry>,
    /// Told when they are written.
    pub(super) written: oneshot::Sender<()>,
}

/// An event is let go, by configuration.
pub(super) struct Lost;

impl Shared {
    pub(super) fn new(settings: RecorderSettings, journal: Option<Journal>) -> Self {
        Shared {
            quotas: Quotas::new(settings.workload_max_bytes),
            settings,
            journal,
            space: Notify::new(),
            asides: Mutex::default(),
            health: watch::Sender::new(Health::Working),
            counters: Counters::default(),
            failing: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            queued: AtomicUsize::new(0),
            dirty: Mutex::default(),
            state: AtomicU8::new(RUNNING),
            writer: OnceLock::new(),
            epoch: Instant::now(),
            writing_since: AtomicU64::new(0),
        }
    }

    /// Whether anything may be recorded now.
    pub(super) fn check(&self) -> Result<Option<Lost>, RecordError> {
        let patience = self.settings.patience;
        let since = self.writing_since.load(Ordering::Relaxed);
        let slow = since != 0 && self.millis().saturating_sub(since) > patience.as_millis() as u64;
        if !slow && !self.failing.load(Ordering::Acquire) {
            return Ok(None);
        }
        match (self.settings.on_failure, &*self.health.borrow()) {
            (OnFailure::Continue, _) => Ok(Some(Lost)),
            (OnFailure::Refuse, Health::Failed { full: true, why }) => {
                Err(RecordError::Full(Arc::clone(why)))
            }
            (OnFailure::Refuse, Health::Failed { full: false, why }) => {
                Err(RecordError::Fault(Arc::clone(why)))
            }
            (OnFailure::Refuse, Health::Working) => Err(RecordError::Slow(patience)),
        }
    }

    /// Hands something to the ledger besides recordings.
    pub(super) fn tell_aside(&self, aside: Aside) {
        let mut asides = self.asides.lock().unwrap_or_else(PoisonError::into_inner);
        asides.push(aside);
        drop(asides);
        self.wake();
    }

    pub(super) fn take_asides(&self) -> Vec<Aside> {
        let mut asides = self.asides.lock().unwrap_or_else(PoisonError::into_inner);
        mem::take(&mut *asides)
    }

    fn reserve(&self, cost: usize, lane_empty: bool) -> bool {
        let cap = self.settings.queue_bytes;
        let before = self.queued.fetch_add(cost, Ordering::Relaxed);
        // What is larger than its share goes in alone.
        if before.saturating_add(cost) <= cap || (before == 0 && lane_empty) {
            return true;
        }
        self.queued.fetch_sub(cost, Ordering::Relaxed);
        false
    }

    /// The writer took this much out of the lanes.
    pub(super) fn release(&self, cost: usize) {
        self.queued.fetch_sub(cost, Ordering::Relaxed);
    }

    pub(super) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    fn dirty(&self) -> MutexGuard<'_, Vec<Arc<Lane>>> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mark(&self, lane: &Arc<Lane>) {
        self.dirty().push(Arc::clone(lane));
        if self.state.load(Ordering::SeqCst) == PARKED {
            self.wake();
        }
    }

    /// Half the queue is used: do not wait for the tick.
    fn press(&self) {
        if self.queued() > self.settings.queue_bytes / 2
            && self.state.load(Ordering::Relaxed) != RUNNING
        {
            self.wake();
        }
    }

    pub(super) fn wake(&self) {
        if self.state.swap(RUNNING, Ordering::SeqCst) != RUNNING
            && let Some(writer) = self.writer.get()
        {
            writer.unpark();
        }
    }

    pub(super) fn set_writer(&self, writer: Thread) {
        let _ = self.writer.set(writer); // set once, right after the thread began
    }

    pub(super) fn take_dirty(&self) -> Vec<Arc<Lane>> {
        mem::take(&mut *self.dirty())
    }

    /// The writer rests for a tick: sessions at work do not wake it, only pressure does.
    pub(super) fn rest(&self, tick: Duration) {
        self.state.store(RESTING, Ordering::SeqCst);
        std::thread::park_timeout(tick);
        self.state.store(RUNNING, Ordering::SeqCst);
    }

    /// The writer has nothing to do: the first push wakes it.
    pub(super) fn park(&self) {
        self.state.store(PARKED, Ordering::SeqCst);
        // A push before the store is seen here, a push after it wakes us; the timeout is a belt.
        let asides = self.asides.lock().unwrap_or_else(PoisonError::into_inner);
        let nothing_aside = asides.is_empty();
        drop(asides);
        if self.dirty().is_empty() && nothing_aside && !self.stopping() {
            std::thread::park_timeout(Duration::from_secs(1));
        }
        self.state.store(RUNNING, Ordering::SeqCst);
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.wake();
    }

    pub(super) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    pub(super) fn set_failing(&self, health: Health) {
        self.failing
            .store(matches!(health, Health::Failed { .. }), Ordering::Release);
        self.health.send_replace(health);
        self.space.notify_waiters(); // those who wait must learn of it
    }

    fn millis(&self) -> u64 {
        self.epoch.elapsed().as_millis() as u64 + 1
    }

    /// Marks a write as under way while `work` runs.
    pub(super) fn timed<T>(&self, work: impl FnOnce() -> T) -> T {
        self.writing_since.store(self.millis(), Ordering::Relaxed);
        let done = work();
        self.writing_since.store(0, Ordering::Relaxed);
        done
    }
}
