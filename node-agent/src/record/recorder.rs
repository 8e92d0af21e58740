//! IO. What sessions see of the record.

use std::future::Future;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout_at};

use super::journal::{Journal, place_of};
use super::lane::{Aside, Held, Item, Lane, Room, Shared};
use super::ledger::{By, Entry, Fingerprint, Ledger, NodeKey, Witness, Writing};
use super::recover;
use super::sealed::Recipients;
use super::shelf::{FileShelf, Shelf};
use super::writer::{Writer, bound};
use super::{
    Approval, Began, Decided, Delivered, End, Finished, LoggedIn, Login, Note, NoteFrom, OpenError,
    Receipt, RecordError, Stepped, Why,
};
use crate::clock;
use crate::model::{ApprovalId, Carried, RecipientId, Reference, SessionId, StatementSeq};

/// How to record.
#[derive(Clone, Debug)]
pub struct RecorderSettings {
    /// Where the recordings lie.
    pub dir: PathBuf,
    /// Where decisions lie until their block is written, so that the next agent finds them if this
    /// one is killed. Should be memory (tmpfs). `None`: they are lost then.
    pub journal: Option<PathBuf>,
    /// How many threads record.
    pub threads: NonZeroUsize,
    /// What all sessions together may have waiting for the writer, bytes. At least 64 KiB.
    pub queue_bytes: usize,
    /// How much of one statement's rows is kept, bytes as on the wire. At most 1 MiB.
    pub rows_cap_bytes: usize,
    /// How long a cell may be to be kept, bytes.
    pub cell_cap: usize,
    /// How long an event may stay in memory: what `kill -9` can cost, but for decisions, if there is
    /// a journal.
    pub block_interval: Duration,
    /// How long a session waits for the writer before its statement is refused.
    pub patience: Duration,
    /// When to bring recordings to the disk.
    pub settle: Settle,
    /// What happens to statements while recording fails.
    pub on_failure: OnFailure,
    /// What all open recordings of one workload may take, bytes.
    pub workload_max_bytes: Option<u64>,
    /// What signs the ledger. Without it there is none.
    pub key: Option<Arc<NodeKey>>,
    /// To whom recordings are sealed; `None`: they are written in clear.
    pub recipients: Option<Recipients>,
}

impl RecorderSettings {
    /// The defaults, in a directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        RecorderSettings {
            dir: dir.into(),
            journal: None,
            threads: NonZeroUsize::MIN,
            queue_bytes: 64 << 20,
            rows_cap_bytes: 64 << 10,
            cell_cap: 4 << 10,
            block_interval: Duration::from_millis(50),
            patience: Duration::from_secs(5),
            settle: Settle::OnClose,
            on_failure: OnFailure::Refuse,
            workload_max_bytes: None,
            key: None,
            recipients: None,
        }
    }

    fn bounded(mut self) -> Self {
        self.queue_bytes = self.queue_bytes.max(64 << 10);
        self.rows_cap_bytes = self.rows_cap_bytes.min(1 << 20);
        self.block_interval = self.block_interval.max(Duration::from_millis(1));
        self
    }
}

/// When to bring recordings to the disk (`fsync`). A crash of the agent costs nothing either way;
/// this is about a crash of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settle {
    /// Soon after each session's end.
    OnClose,
    /// When the kernel sees fit.
    Never,
}

/// What happens to statements while recording fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// They are refused, and running answers are stopped.
    Refuse,
    /// They run unrecorded. Counted in `Stats::lost`, and noted in the recording once it works
    /// again.
    Continue,
}

/// Whether recording works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Working,
    /// It does not: no statement may start, and running answers stop.
    Failed {
        /// For want of space or quota.
        full: bool,
        /// The system's words.
        why: Arc<str>,
    },
}

/// Whether there was room.
#[derive(Debug)]
pub enum Pushed<T, Back> {
    /// Done.
    Done(T),
    /// Not done, given back: wait (`decided`), or try again later.
    Full(Back),
}

/// Figures for metrics and `status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "self-explanatory")]
pub struct Stats {
    pub sessions_open: u64,
    pub sessions: u64,
    pub statements: u64,
    pub blocks: u64,
    /// As written.
    pub bytes: u64,
    pub queued_bytes: u64,
    /// Writes that failed.
    pub failures: u64,
    /// Events that were not recorded, by configuration.
    pub lost: u64,
    /// Recordings that a killed agent left and this one closed.
    pub recovered: u64,
    /// Decisions that were added to them from a journal.
    pub remembered: u64,
    /// What the journal can hold; 0: there is none.
    pub journal_bytes: u64,
    /// What it holds and cannot take anew.
    pub journal_used_bytes: u64,
    /// Entries of it whose block is not written yet.
    pub journal_unsettled: u64,
    /// What the ledger takes on disk.
    pub ledger_bytes: u64,
    /// In how many segments.
    pub ledger_segments: u64,
    /// How long ago a block of it was signed last, seconds; 0 also where there is none.
    pub ledger_signed_seconds: u64,
}

/// The record of this agent. Dropping it writes what is queued and ends the writer.
#[derive(Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Recorder {
    /// Opens the directory and starts the writer.
    pub fn open(settings: RecorderSettings) -> Result<Self, OpenError> {
        let failed = |dir: &PathBuf| {
            let dir = dir.clone();
            move |source| OpenError { dir, source }
        };
        let dir = settings.dir.clone();
        let shelf = FileShelf::open(&dir, settings.settle).map_err(failed(&dir))?;
        let journal = match &settings.journal {
            None => None,
            Some(place) => {
                let recordings = place_of(&dir);
                Some(Journal::create(place, settings.threads, recordings).map_err(failed(place))?)
            }
        };
        let ledger = match &settings.key {
            Some(key) => {
                let writing = Writing::new(&dir, Arc::clone(key), By::Agent);
                let mut ledger =
                    Ledger::open(writing.through(shelf.volumes())).map_err(failed(&dir))?;
                if let Err(error) = ledger.flush() {
                    // A disk that is full now may have room later: the writer tries again.
                    tracing::error!(%error, "the ledger cannot be written");
                }
                Some(ledger)
            }
            None => None,
        };
        let recorder =
            Recorder::on(Box::new(shelf), settings, journal, ledger).map_err(failed(&dir))?;
        recover::in_background(&recorder.shared).map_err(failed(&dir))?;
        Ok(recorder)
    }

    pub(super) fn on(
        shelf: Box<dyn Shelf>,
        settings: RecorderSettings,
        journal: Option<Journal>,
        ledger: Option<Ledger>,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::new(settings.bounded(), journal));
        let writer = Writer::new(Arc::clone(&shared), shelf, Witness::new(ledger))?;
        let ends = Ends(Arc::clone(&shared));
        let handle = thread::Builder::new()
            .name("record-writer".to_owned())
            .spawn(move || {
                let _ends = ends;
                writer.run();
            })?;
        shared.set_writer(handle.thread().clone());
        Ok(Recorder {
            shared,
            writer: Mutex::new(Some(handle)),
        })
    }

    /// Begins a session's recording.
    pub fn begin(&self, began: Began) -> Result<SessionRecorder, RecordError> {
        let usage = self.shared.quotas.of(&began.workload.name);
        let lane = Arc::new(Lane::new(began.session, began.dialect, usage));
        self.shared.check()?;
        lane.check()?;
        if self.shared.stopping() {
            return Err(RecordError::Fault("the recorder has stopped".into()));
        }
        lane.push_always(&self.shared, Item::Began(Box::new(began)));
        Ok(SessionRecorder {
            shared: Arc::clone(&self.shared),
            lane,
        })
    }

    /// Writes steps of requests for approval into the ledger: which request, of which statement, what.
    /// Done when they are written; at once where there is no ledger.
    ///
    /// # Errors
    /// They are not written in time, so nothing may hang on them.
    pub async fn approvals(
        &self,
        steps: impl IntoIterator<Item = (ApprovalId, Reference, serde_json::Value)>,
    ) -> Result<(), RecordError> {
        if self.shared.settings.key.is_none() {
            return Ok(());
        }
        let entries = steps
            .into_iter()
            .map(|(approval, of, step)| Entry::Approval { approval, of, step })
            .collect();
        let deadline = Instant::now() + self.shared.settings.patience;
        let (told, written) = oneshot::channel();
        self.shared.tell_aside(Aside {
            entries,
            written: told,
        });
        match timeout_at(deadline, written).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(RecordError::Fault("the recorder has stopped".into())),
            Err(_) => Err(RecordError::Slow(self.shared.settings.patience)),
        }
    }

    /// Changes whenever recording begins to fail or to work.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    /// Which key signs the ledger.
    pub fn node_key(&self) -> Option<Fingerprint> {
        let key = self.shared.settings.key.as_ref()?;
        Some(key.public().fingerprint())
    }

    /// To whom recordings are sealed; empty: to nobody.
    pub fn sealed_to(&self) -> Vec<RecipientId> {
        let recipients = self.shared.settings.recipients.as_ref();
        recipients.map_or_else(Vec::new, Recipients::ids)
    }

    /// Figures, taken one after the other.
    pub fn stats(&self) -> Stats {
        let counters = &self.shared.counters;
        let journal = self.shared.journal.as_ref();
        let (journal_bytes, journal_used_bytes, journal_unsettled) =
            journal.map_or((0, 0, 0), Journal::extent);
        let ledger = super::ledger::extent(&self.shared.settings.dir);
        Stats {
            sessions_open: counters.open.load(Ordering::Relaxed),
            sessions: counters.sessions.load(Ordering::Relaxed),
            statements: counters.statements.load(Ordering::Relaxed),
            blocks: counters.blocks.load(Ordering::Relaxed),
            bytes: counters.bytes.load(Ordering::Relaxed),
            queued_bytes: self.shared.queued() as u64,
            failures: counters.failures.load(Ordering::Relaxed),
            lost: counters.lost.load(Ordering::Relaxed),
            recovered: counters.recovered.load(Ordering::Relaxed),
            remembered: counters.remembered.load(Ordering::Relaxed),
            journal_bytes,
            journal_used_bytes,
            journal_unsettled,
            ledger_bytes: ledger.bytes,
            ledger_segments: ledger.segments,
            ledger_signed_seconds: ledger.signed_seconds,
        }
    }

    /// Writes what is queued and ends the writer. Blocks; nothing can be recorded afterwards.
    pub fn stop(&self) {
        self.shared.stop();
        let writer = self
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(writer) = writer {
            let _ = writer.join(); // a panic was told of by `Ends`
        }
    }
}

/// A writer that panics is a record that fails, for good: nothing runs unrecorded until its queue is
/// full.
struct Ends(Arc<Shared>);

impl Drop for Ends {
    fn drop(&mut self) {
        if thread::panicking() {
            tracing::error!("the writer of the record panicked");
            self.0.set_failing(Health::Failed {
                full: false,
                why: "its writer panicked; the agent must be started anew".into(),
            });
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop();
    }
}

/// One session's recording. Dropped without `close`, it says that no reason was given.
#[derive(Debug)]
pub struct SessionRecorder {
    shared: Arc<Shared>,
    lane: Arc<Lane>,
}

impl SessionRecorder {
    /// Whose recording this is.
    pub fn session(&self) -> SessionId {
        self.lane.session
    }

    /// Changes whenever recording begins to fail or to work. A session whose answers run for long
    /// stops them when this says `Failed` and the configuration says `refuse`.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    /// Login is over.
    pub fn login(&self, login: Login) {
        let item = Item::Login(Box::new(LoggedIn {
            at: clock::now(),
            login,
        }));
        self.lane.push_always(&self.shared, item);
    }

    /// Records a decision without waiting. It is given back when the queue or the journal is full,
    /// and when it is too large for the journal: then it must be waited for (`decided`).
    pub fn try_decided(&self, decided: Decided) -> Result<Pushed<Receipt, Decided>, RecordError> {
        self.push_decided(decided, |decided| self.lane.keep(&self.shared, decided))
    }

    fn push_decided(
        &self,
        decided: Decided,
        hold: impl FnOnce(&Decided) -> Option<Held>,
    ) -> Result<Pushed<Receipt, Decided>, RecordError> {
        let reference = Reference {
            session: self.lane.session,
            seq: decided.seq,
        };
        let decision = Arc::clone(&decided.decision);
        let cost = weight(&decided);
        let hold = |item: &Item| match item {
            Item::Decided(decided) => hold(decided),
            Item::Began(_)
            | Item::Login(_)
            | Item::Rows { .. }
            | Item::Beyond { .. }
            | Item::Finished(_)
            | Item::Note(_)
            | Item::Closed { .. } => None,
        };
        let item = Item::Decided(decided);
        match self.lane.push(&self.shared, item, cost, hold)? {
            Room::Taken => Ok(Pushed::Done(Receipt::new(reference, decision))),
            Room::Full(Item::Decided(decided)) => Ok(Pushed::Full(decided)),
            Room::Full(_) => Err(gave_back_another()),
        }
    }

    /// Records a decision: whatever ends this process, it is on the record. Waits while the queue is
    /// full; and for the writer, where the journal has no room for it.
    pub async fn decided(&self, decided: Decided) -> Result<Receipt, RecordError> {
        match self.try_decided(decided)? {
            Pushed::Done(receipt) => Ok(receipt),
            Pushed::Full(decided) => self.decided_in_a_block(decided).await,
        }
    }

    /// Records a decision and waits until the block that holds it was written.
    async fn decided_in_a_block(&self, decided: Decided) -> Result<Receipt, RecordError> {
        let deadline = Instant::now() + self.shared.settings.patience;
        let seq = decided.seq;
        let (told, written) = oneshot::channel();
        let mut told = Some(told);
        let push = |decided| self.push_decided(decided, |_| told.take().map(Held::Waited));
        let receipt = self.when_room(decided, push).await?;
        if told.is_some() {
            return Ok(receipt); // let go, by configuration
        }
        self.shared.wake();
        match (
            timeout_at(deadline, written).await,
            self.shared.settings.on_failure,
        ) {
            (Ok(Ok(())), _) => {
                self.lane.is_written();
                Ok(receipt)
            }
            // Nobody will write it: the session is given up, or the recorder has stopped.
            (Ok(Err(_)), _) => Err(RecordError::Fault("it was not written".into())),
            (Err(_), OnFailure::Refuse) => {
                let slow = RecordError::Slow(self.shared.settings.patience);
                self.not_run(seq, &slow);
                Err(slow)
            }
            (Err(_), OnFailure::Continue) => Ok(receipt),
        }
    }

    /// Records rows as delivered, before or while they go to the client, without waiting.
    pub fn try_delivered(
        &self,
        delivered: Delivered,
    ) -> Result<Pushed<(), Delivered>, RecordError> {
        let Delivered { seq, head, rows } = &delivered;
        let taken = self
            .lane
            .push_rows(&self.shared, *seq, head.as_ref(), rows.bytes())?;
        Ok(if taken {
            Pushed::Done(())
        } else {
            Pushed::Full(delivered)
        })
    }

    /// Records rows as delivered; waits while the queue is full. An error means that the answer
    /// stops here.
    pub async fn delivered(&self, delivered: Delivered) -> Result<(), RecordError> {
        match self.try_delivered(delivered)? {
            Pushed::Done(()) => Ok(()),
            Pushed::Full(delivered) => {
                self.when_room(delivered, |delivered| self.try_delivered(delivered))
                    .await
            }
        }
    }

    /// Records of these bytes of a statement how many there were, and their digest. Never waits.
    pub fn digested(&self, seq: StatementSeq, bytes: &[u8]) -> Result<(), RecordError> {
        self.lane.push_digest(&self.shared, seq, bytes)
    }

    /// An execution is over. Never waits: its room was taken with its decision.
    pub fn finished(&self, mut finished: Finished) {
        // A database's words may be of any length, and no room was taken for them.
        bound(&mut finished);
        self.lane
            .push_always(&self.shared, Item::Finished(finished));
    }

    /// A statement whose decision is in the queue, or on record, is refused after all. Never waits.
    pub fn not_run(&self, seq: StatementSeq, why: &RecordError) {
        let at = clock::now();
        let note = Note {
            at,
            seq: Some(seq),
            from: NoteFrom::Agent,
            code: None,
            text: format!("this statement was refused after all, and not run: {why}"),
            approval: None,
        };
        self.lane.push_always(&self.shared, Item::Note(note));
        self.finished(Finished {
            seq,
            at,
            micros: 0,
            tags: Vec::new(),
            rows: 0,
            bytes: 0,
            error: None,
            masked: Vec::new(),
            found: Vec::new(),
            changed: None,
            observed: Vec::new(),
            end: End::Stopped,
        });
    }

    /// Records something said besides answers; waits while the queue is full.
    pub async fn note(&self, note: Note) -> Result<(), RecordError> {
        match self.try_note(note)? {
            Pushed::Done(()) => Ok(()),
            Pushed::Full(note) => self.when_room(note, |note| self.try_note(note)).await,
        }
    }

    /// Records something said besides answers, without waiting.
    pub fn try_note(&self, note: Note) -> Result<Pushed<(), Note>, RecordError> {
        let cost = size_of::<Item>() + note.text.len();
        let hold = |_: &Item| Some(Held::Nothing);
        match self.lane.push(&self.shared, Item::Note(note), cost, hold)? {
            Room::Taken => Ok(Pushed::Done(())),
            Room::Full(Item::Note(note)) => Ok(Pushed::Full(note)),
            Room::Full(_) => Err(gave_back_another()),
        }
    }

    /// Records a step of a request for approval, and waits until the block that holds it is written: it
    /// is not in the journal.
    ///
    /// # Errors
    /// It is not on record, so nothing runs by it.
    pub async fn stepped(
        &self,
        seq: StatementSeq,
        approval: Approval,
    ) -> Result<Stepped, RecordError> {
        let reference = Reference {
            session: self.lane.session,
            seq,
        };
        let stepped = Stepped::new(reference, approval.id);
        let note = Note {
            at: clock::now(),
            seq: Some(seq),
            from: NoteFrom::Agent,
            code: None,
            text: approval.words(),
            approval: Some(Box::new(approval)),
        };
        let deadline = Instant::now() + self.shared.settings.patience;
        let (told, written) = oneshot::channel();
        let mut told = Some(told);
        let push = |note: Note| {
            let cost = size_of::<Item>() + 2 * note.text.len();
            let hold = |_: &Item| told.take().map(Held::Waited);
            match self.lane.push(&self.shared, Item::Note(note), cost, hold)? {
                Room::Taken => Ok(Pushed::Done(())),
                Room::Full(Item::Note(note)) => Ok(Pushed::Full(note)),
                Room::Full(_) => Err(gave_back_another()),
            }
        };
        self.when_room(note, push).await?;
        if told.is_some() {
            return Ok(stepped); // let go, by configuration
        }
        self.shared.wake();
        match (
            timeout_at(deadline, written).await,
            self.shared.settings.on_failure,
        ) {
            (Ok(Ok(())), _) => {
                self.lane.is_written();
                Ok(stepped)
            }
            (Ok(Err(_)), _) => Err(RecordError::Fault("it was not written".into())),
            (Err(_), OnFailure::Refuse) => Err(RecordError::Slow(self.shared.settings.patience)),
            (Err(_), OnFailure::Continue) => Ok(stepped),
        }
    }

    /// The session is over. The first reason stays; nothing is recorded after it.
    pub fn close(&self, why: Why) {
        self.close_with(why, None);
    }

    /// The same, with what passed over the client's connection.
    pub fn close_with(&self, why: Why, carried: Option<Carried>) {
        self.lane.push_always(
            &self.shared,
            Item::Closed {
                at: clock::now(),
                why,
                carried,
            },
        );
    }

    async fn when_room<T, B>(
        &self,
        mut waiting: B,
        mut push: impl FnMut(B) -> Result<Pushed<T, B>, RecordError>,
    ) -> Result<T, RecordError> {
        let deadline = Instant::now() + self.shared.settings.patience;
        loop {
            let space = self.shared.space.notified();
            tokio::pin!(space);
            // Listen first, then look again: room that comes in between is not missed.
            space.as_mut().enable();
            self.shared.wake();
            match push(waiting)? {
                Pushed::Done(done) => return Ok(done),
                Pushed::Full(back) => waiting = back,
            }
            expect_within(deadline, space, self.shared.settings.patience).await?;
        }
    }
}

fn gave_back_another() -> RecordError {
    RecordError::Fault("the queue gave back another event".into())
}

async fn expect_within(
    deadline: Instant,
    space: impl Future<Output = ()>,
    patience: Duration,
) -> Result<(), RecordError> {
    timeout_at(deadline, space)
        .await
        .map_err(|_| RecordError::Slow(patience))
}

impl Drop for SessionRecorder {
    fn drop(&mut self) {
        self.close(Why::Fault(
            "the session ended without giving a reason".to_owned(),
        ));
    }
}

/// What a decision costs the queue, with the room that its end will need.
fn weight(decided: &Decided) -> usize {
    let params: usize = decided.params.iter().map(super::RecordedCell::weight).sum();
    // An analysis that nobody else holds is a few times its text.
    1024 + 3 * decided.text.weight() + params + decided.basis.names.weight()
}
