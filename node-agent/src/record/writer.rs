//! IO. The one thread that writes. It takes what the sessions pushed, once a tick; encodes, packs
//! and chains it; and writes a block when there is much or when the oldest event in it is due.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::chain::{BLOCK_CAP, Chain, Header};
use super::codec::Encoder;
use super::frames::RowReader;
use super::lane::{Batch, Held, Item, Lane, Rest, Shared};
use super::ledger::{Flushed, Ticket, Told, Witness};
use super::recorder::Health;
use super::sealed::Recipients;
use super::sealer::{Packed, Sealer};
use super::shelf::{Shelf, Volume};
use super::{Closed, Finished, Note, NoteFrom, RecordedCell, Standing};
use tokio::sync::oneshot;

use crate::clock;
use crate::model::{ResultHead, SessionId, StatementSeq};

/// A block is written when its lines reach this.
pub(super) const BLOCK: usize = 256 << 10;
/// The most lines of one block, bytes, unless one alone is longer: a reader believes no block of more
/// than twice this. They come together while a block waits for its disk or for the ledger.
const MOST: usize = BLOCK_CAP / 2;
/// How often a write that failed is tried again.
const RETRY: Duration = Duration::from_millis(250);
/// How many ticks without work until the writer parks.
const IDLE_TICKS: u32 = 16;
/// zstd's fast end: the writer shares the machine with the sessions.
pub(super) const LEVEL: i32 = 1;

pub(super) struct Writer {
    shared: Arc<Shared>,
    shelf: Box<dyn Shelf>,
    packer: zstd::bulk::Compressor<'static>,
    packed: Vec<u8>,
    sessions: HashMap<SessionId, Recording>,
    witness: Witness,
    /// Those that the ledger is to tell of before they are written.
    held: Vec<SessionId>,
    /// Those with something to take, to write or to close.
    active: Vec<SessionId>,
    /// Who waits until the ledger has what it was told besides recordings.
    asides: Vec<(Ticket, oneshot::Sender<()>)>,
    idle_ticks: u32,
}

/// One session's file in the making.
struct Recording {
    lane: Arc<Lane>,
    volume: Option<Box<dyn Volume>>,
    offset: u64,
    chain: Option<Chain>,
    encoder: Encoder,
    rows: RowsUnderWay,
    standing: Standing,
    sealer: Sealer,
    workload: Arc<str>,
    told: Told,
    /// Lines not yet in a block, and since when.
    lines: Vec<u8>,
    /// What stands in the last block, and how that changes with the lines: after so many bytes of them.
    stood: Standing,
    steps: Vec<(usize, Standing)>,
    since: Option<Instant>,
    /// Sealed and not yet on disk. While this is not empty nothing more is sealed.
    sealed: Vec<u8>,
    /// What hangs on the lines, and on what is sealed.
    held: Vec<Held>,
    held_sealed: Vec<Held>,
    retry_at: Option<Instant>,
    dirty: bool,
    active: bool,
    closing: bool,
    /// Given up.
    broken: bool,
}

/// The rows of the statement that is being answered.
struct RowsUnderWay {
    seq: StatementSeq,
    head: Option<Arc<ResultHead>>,
    reader: RowReader,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        shelf: Box<dyn Shelf>,
        witness: Witness,
    ) -> io::Result<Self> {
        Ok(Writer {
            witness,
            held: Vec::new(),
            shared,
            shelf,
            packer: zstd::bulk::Compressor::new(LEVEL)?,
            packed: Vec::new(),
            sessions: HashMap::new(),
            active: Vec::new(),
            asides: Vec::new(),
            idle_ticks: 0,
        })
    }

    pub(super) fn run(mut self) {
        let tick = (self.shared.settings.block_interval / 4)
            .clamp(Duration::from_millis(1), Duration::from_millis(20));
        loop {
            let stopping = self.shared.stopping();
            self.gather();
            if stopping {
                self.take_from_all();
            }
            self.work(stopping);
            if stopping {
                break;
            }
            if !self.active.is_empty() || !self.asides.is_empty() {
                self.idle_ticks = 0;
            }
            self.idle_ticks = self.idle_ticks.saturating_add(1);
            if self.idle_ticks < IDLE_TICKS {
                self.shared.rest(tick);
            } else {
                self.shared.park();
            }
        }
        self.farewell();
    }

    /// Notes who has something for us.
    fn gather(&mut self) {
        for lane in self.shared.take_dirty() {
            let id = lane.session;
            let recording = self.sessions.entry(id).or_insert_with(|| {
                self.shared.counters.open.fetch_add(1, Ordering::Relaxed);
                let settings = &self.shared.settings;
                let sealed_to = settings.recipients.clone();
                Recording::new(Arc::clone(&lane), settings.cell_cap, sealed_to)
            });
            if !Arc::ptr_eq(&recording.lane, &lane) {
                // Two sessions of one name: the later one is not recorded, so it may not run.
                lane.break_off("a session of this name is being recorded already".into());
                let batch = lane.take();
                self.shared.release(batch.cost);
                batch.held.into_iter().for_each(Held::keep);
                continue;
            }
            recording.dirty = true;
            if !recording.active {
                recording.active = true;
                self.active.push(id);
            }
        }
    }

    /// A push may be in its lane before its mark is in the list.
    fn take_from_all(&mut self) {
        self.active = self.sessions.keys().copied().collect();
        for recording in self.sessions.values_mut() {
            recording.dirty = true;
        }
    }

    /// One round over all that are active, then the ledger, then those that waited for it. `all`:
    /// whatever is there is written now.
    fn work(&mut self, all: bool) {
        let now = Instant::now();
        let mut active = std::mem::take(&mut self.active);
        self.round(&mut active, now, all);
        self.tell_asides();
        loop {
            let mut held = std::mem::take(&mut self.held);
            match self.shared.timed(|| self.witness.flush(now, all)) {
                Ok(Flushed::Wrote) if !held.is_empty() => {
                    let waiting: HashSet<_> = held.iter().copied().collect();
                    active.retain(|id| !waiting.contains(id));
                    self.round(&mut held, now, all);
                    active.append(&mut held);
                }
                Ok(Flushed::Wrote | Flushed::Nothing) => break,
                Err(error) => {
                    self.failed("the ledger", &error);
                    break;
                }
            }
        }
        self.active = active;
        self.asides_written();
        self.mend();
        if let (Some(_), Some(journal)) = (&self.shared.settings.recipients, &self.shared.journal) {
            journal.wipe();
        }
    }

    /// The ledger is told what it is to have besides recordings.
    fn tell_asides(&mut self) {
        for aside in self.shared.take_asides() {
            let told = aside.entries.iter().map(|entry| self.witness.tell(entry));
            match told.last().flatten() {
                Some(last) => self.asides.push((last, aside.written)),
                None => {
                    let _ = aside.written.send(()); // who waited may have given up
                }
            }
        }
    }

    fn asides_written(&mut self) {
        let witness = &self.witness;
        let written = self.asides.extract_if(.., |(last, _)| witness.has(*last));
        for (_, waiting) in written {
            let _ = waiting.send(()); // who waited may have given up
        }
    }

    fn round(&mut self, active: &mut Vec<SessionId>, now: Instant, all: bool) {
        let mut freed = false;
        active.retain(|id| {
            let Some(mut recording) = self.sessions.remove(id) else {
                return false;
            };
            freed |= self.advance(&mut recording, now, all);
            if recording.over() {
                self.shared.counters.open.fetch_sub(1, Ordering::Relaxed);
                self.shared
                    .counters
                    .sessions
                    .fetch_add(1, Ordering::Relaxed);
                if let Some(volume) = recording.volume.take() {
                    volume.close();
                }
                if let Some(usage) = &recording.lane.usage {
                    usage.sub(recording.offset);
                }
                return false;
            }
            recording.active = recording.dirty
                || !recording.sealed.is_empty()
                || !recording.lines.is_empty()
                || recording.closing;
            let stays = recording.active;
            if !stays {
                // An idle session holds nothing for lines to come.
                recording.lines = Vec::new();
            }
            self.sessions.insert(*id, recording);
            stays
        });
        if freed {
            self.shared.space.notify_waiters();
        }
    }

    fn advance(&mut self, recording: &mut Recording, now: Instant, all: bool) -> bool {
        let mut freed = false;
        if recording.retry_at.is_some_and(|at| now < at) && !all {
            return freed;
        }
        // While its disk fails a session is read no further than one block.
        while recording.dirty && (recording.sealed.is_empty() || recording.lines.len() < BLOCK) {
            recording.dirty = false;
            let batch = recording.lane.take();
            self.shared.release(batch.cost);
            freed = true;
            if let Err(error) = self.encode(recording, batch, now) {
                self.give_up(recording, &error);
                return freed;
            }
        }
        let due = recording
            .since
            .is_some_and(|since| now.duration_since(since) >= self.shared.settings.block_interval);
        // A statement that is waited for comes last: nothing follows it before it ran.
        let due = due || matches!(recording.held.last(), Some(Held::Waited(_)));
        let written = recording.lines.is_empty();
        if due || all || recording.closing || !recording.sealed.is_empty() || written {
            self.write_out(recording);
        }
        freed
    }

    fn encode(
        &mut self,
        recording: &mut Recording,
        batch: Batch,
        now: Instant,
    ) -> Result<(), io::Error> {
        if batch.items.is_empty() && batch.lost == 0 {
            return Ok(());
        }
        recording.since.get_or_insert(now);
        let mut encoded = match batch.lost {
            0 => Ok(()),
            lost => recording.tell(format!(
                "recording failed for a time, and the configuration says continue: {lost} events \
                 are missing here"
            )),
        };
        for item in batch.items {
            if encoded.is_err() || recording.broken {
                break;
            }
            if matches!(item, Item::Decided(_)) {
                self.shared
                    .counters
                    .statements
                    .fetch_add(1, Ordering::Relaxed);
            }
            encoded = recording.encode(item, &batch.data);
            recording.step();
            if recording.lines.len() >= BLOCK && recording.sealed.is_empty() {
                self.write_out(recording);
            }
        }
        // Only now: a block that was written on the way does not hold all of these.
        recording.held.extend(batch.held);
        if recording.broken {
            recording.keep_in_the_journal();
        }
        encoded
    }

    /// Writes what is sealed, then seals and writes what is not.
    fn write_out(&mut self, recording: &mut Recording) {
        while !recording.sealed.is_empty() || !recording.lines.is_empty() {
            if recording.sealed.is_empty()
                && let Err(error) = self.seal(recording)
            {
                self.give_up(recording, &error);
                return;
            }
            if let Some(chain) = &recording.chain {
                let (id, told) = (recording.lane.session, &mut recording.told);
                if !(self.witness).may_write(id, &recording.workload, chain, told) {
                    self.held.push(id);
                    return;
                }
            }
            let shared = Arc::clone(&self.shared);
            match shared.timed(|| recording.write(&mut *self.shelf)) {
                Ok(()) => {
                    let counters = &self.shared.counters;
                    counters.blocks.fetch_add(1, Ordering::Relaxed);
                    counters
                        .bytes
                        .fetch_add(recording.sealed.len() as u64, Ordering::Relaxed);
                    recording.offset += recording.sealed.len() as u64;
                    if let Some(usage) = &recording.lane.usage {
                        usage.add(recording.sealed.len() as u64);
                    }
                    if let Some(chain) = &recording.chain {
                        let told = &mut recording.told;
                        self.witness.wrote(recording.lane.session, chain, told);
                    }
                    recording.sealed = Vec::new();
                    recording.held_sealed.drain(..).for_each(Held::written);
                    recording.retry_at = None;
                }
                Err(error)
                    if recording.volume.is_none()
                        && error.kind() == io::ErrorKind::AlreadyExists =>
                {
                    self.give_up(recording, &error);
                    return;
                }
                Err(error) => {
                    self.fail(recording, &error);
                    return;
                }
            }
        }
        // A batch that fills a block to its end was written before what hangs on it was known.
        recording.held.drain(..).for_each(Held::written);
    }

    fn seal(&mut self, recording: &mut Recording) -> io::Result<()> {
        let at = clock::now();
        let lines = whole_lines(&recording.lines);
        let raw = lines.len();
        let rest = recording.lines.len() - raw;
        self.packed.clear();
        self.packed.reserve(zstd::zstd_safe::compress_bound(raw));
        self.packer.compress_to_buffer(lines, &mut self.packed)?;
        let standing = recording.standing_after(raw);
        let chain = match &mut recording.chain {
            Some(chain) => chain,
            empty => {
                let header = Header {
                    session: recording.lane.session,
                    began: at,
                };
                let (chain, bytes) = recording.sealer.create(header);
                recording.sealed.extend_from_slice(&bytes);
                empty.insert(chain)
            }
        };
        // What was pushed before the close is in these lines; nothing can be pushed after it.
        let packed = Packed {
            bytes: &mut self.packed,
            raw,
            at,
            last: recording.closing && rest == 0,
        };
        (recording.sealer).seal(chain, packed, &standing, &mut recording.sealed)?;
        recording.lines.drain(..raw);
        if rest == 0 {
            // What hangs on them hangs on the last of several blocks.
            recording.held_sealed.append(&mut recording.held);
            // While a session is at work its next block takes the same place.
            recording.lines.shrink_to(BLOCK);
            recording.since = None;
        }
        Ok(())
    }

    /// A write failed: nothing may start until it succeeds.
    fn fail(&mut self, recording: &mut Recording, error: &io::Error) {
        recording.retry_at = Some(Instant::now() + RETRY);
        self.failed(recording.lane.session, error);
    }

    /// `what` could not be written.
    fn failed(&mut self, what: impl std::fmt::Display, error: &io::Error) {
        self.shared
            .counters
            .failures
            .fetch_add(1, Ordering::Relaxed);
        let full = matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        );
        let health = Health::Failed {
            full,
            why: error.to_string().into(),
        };
        if *self.shared.health.borrow() != health {
            tracing::error!(%error, %what, "recording fails");
            self.shared.set_failing(health);
        }
    }

    /// Recording works when nothing is left that could not be written.
    fn mend(&mut self) {
        if *self.shared.health.borrow() != Health::Working
            && self.witness.works()
            && !self
                .sessions
                .values()
                .any(|recording| recording.retry_at.is_some())
        {
            tracing::info!("recording works again");
            self.shared.set_failing(Health::Working);
        }
    }

    /// This one session cannot be recorded whatever the disk does; so it may do nothing more.
    fn give_up(&mut self, recording: &mut Recording, error: &io::Error) {
        tracing::error!(%error, session = %recording.lane.session, "a session cannot be recorded");
        self.witness
            .gave_up(recording.lane.session, &recording.told);
        recording.lane.break_off(error.to_string().into());
        self.shared.release(recording.take_for_good());
        recording.keep_in_the_journal();
        recording.lines.clear();
        recording.sealed.clear();
        recording.since = None;
        recording.retry_at = None;
        recording.dirty = false;
        recording.broken = true;
    }

    fn farewell(&mut self) {
        self.witness.stop();
        let mut unwritten = 0;
        for recording in self.sessions.values_mut() {
            if recording.sealed.is_empty() && recording.lines.is_empty() {
                continue;
            }
            unwritten += 1;
            self.shared.release(recording.take_for_good());
            recording.keep_in_the_journal();
        }
        if unwritten > 0 {
            tracing::error!(
                sessions = unwritten,
                "the record stops with events unwritten"
            );
        }
        self.shared.space.notify_waiters();
    }
}

impl Recording {
    fn new(lane: Arc<Lane>, cell_cap: usize, sealed_to: Option<Recipients>) -> Self {
        let reader = RowReader::new(lane.dialect, cell_cap);
        Recording {
            lane,
            volume: None,
            offset: 0,
            chain: None,
            encoder: Encoder::new(),
            rows: RowsUnderWay {
                seq: StatementSeq::default(),
                head: None,
                reader,
            },
            standing: Standing::default(),
            sealer: Sealer::new(sealed_to),
            workload: Arc::from(""),
            told: Told::default(),
            lines: Vec::new(),
            stood: Standing::default(),
            steps: Vec::new(),
            since: None,
            sealed: Vec::new(),
            held: Vec::new(),
            held_sealed: Vec::new(),
            retry_at: None,
            dirty: false,
            active: false,
            closing: false,
            broken: false,
        }
    }

    fn step(&mut self) {
        let before = self
            .steps
            .last()
            .map_or(&self.stood, |(_, standing)| standing);
        if *before != self.standing {
            self.steps.push((self.lines.len(), self.standing));
        }
    }

    /// How far it has come with so many bytes of its lines, which become a block. A block that says more
    /// than is in it would keep the next agent from adding the rest.
    fn standing_after(&mut self, raw: usize) -> Standing {
        let within = self.steps.partition_point(|(end, _)| *end <= raw);
        if let Some((_, standing)) = self.steps.drain(..within).next_back() {
            self.stood = standing;
        }
        for (end, _) in &mut self.steps {
            *end -= raw;
        }
        self.stood
    }

    /// Everything is on disk and nothing will come.
    fn over(&self) -> bool {
        self.broken || self.closing && self.sealed.is_empty() && self.lines.is_empty()
    }

    /// Takes what lies in its queue and will not be written; gives what that cost.
    fn take_for_good(&mut self) -> usize {
        let batch = self.lane.take();
        self.held.extend(batch.held);
        batch.cost
    }

    /// What will not be written here is never given back: the journal stays for the next agent.
    fn keep_in_the_journal(&mut self) {
        let held = self.held_sealed.drain(..).chain(self.held.drain(..));
        held.for_each(Held::keep);
    }

    fn write(&mut self, shelf: &mut dyn Shelf) -> io::Result<()> {
        let volume = match &mut self.volume {
            Some(volume) => volume,
            empty => empty.insert(shelf.create(self.lane.session)?),
        };
        volume.write_at(&self.sealed, self.offset)
    }

    fn encode(&mut self, item: Item, data: &[u8]) -> Result<(), io::Error> {
        match item {
            Item::Began(began) => {
                self.workload = Arc::clone(&began.workload.name);
                self.standing.began = true;
                self.encoder.began(&began, &mut self.lines)?;
            }
            Item::Login(login) => {
                self.standing.login = true;
                self.encoder.login(&login, &mut self.lines)?;
            }
            Item::Decided(decided) => {
                self.standing.last = self.standing.last.max(decided.seq);
                self.standing.totals.decided(&decided.decision);
                self.encoder.decided(decided, &mut self.lines)?;
            }
            Item::Rows {
                seq,
                head,
                data: range,
            } => {
                let bytes = data.get(range).unwrap_or_default();
                self.rows(seq, head, bytes)?;
            }
            Item::Beyond { seq, rest } => self.end_rows(seq, Some(&rest))?,
            Item::Finished(finished) => {
                self.end_rows(finished.seq, None)?;
                self.standing.totals.finished(&finished);
                self.encoder.finished(&finished, &mut self.lines)?;
            }
            Item::Note(mut note) => {
                shorten(&mut note.text);
                self.encoder.note(&note, &mut self.lines)?;
            }
            Item::Closed { at, why, carried } => {
                self.end_rows(self.rows.seq, None)?;
                let closed = Closed {
                    at,
                    why,
                    totals: self.standing.totals,
                    carried,
                };
                self.encoder.closed(&closed, &mut self.lines)?;
                self.closing = true;
            }
        }
        Ok(())
    }

    fn rows(
        &mut self,
        seq: StatementSeq,
        head: Option<Arc<ResultHead>>,
        bytes: &[u8],
    ) -> Result<(), io::Error> {
        if seq != self.rows.seq || head.is_some() {
            self.end_rows(self.rows.seq, None)?;
            // A head without rows is recorded too: an empty result has columns.
            let empty = head.is_some() && bytes.is_empty();
            self.rows.seq = seq;
            self.rows.head = head;
            if empty {
                let head = self.rows.head.as_ref();
                self.encoder.rows(seq, head, &[], None, &mut self.lines)?;
            }
        }
        let mut cells = Vec::new();
        self.rows
            .reader
            .feed(self.rows.head.as_deref(), bytes, &mut cells);
        self.line_of_rows(seq, &cells, None)
    }

    /// Tells what is there of a row that the cap cut, and how much came after it.
    fn end_rows(&mut self, seq: StatementSeq, rest: Option<&Rest>) -> Result<(), io::Error> {
        let mut cells = Vec::new();
        if seq == self.rows.seq {
            self.rows.reader.end(self.rows.head.as_deref(), &mut cells);
        }
        self.line_of_rows(seq, &cells, rest)
    }

    fn line_of_rows(
        &mut self,
        seq: StatementSeq,
        rows: &[Vec<RecordedCell>],
        rest: Option<&Rest>,
    ) -> Result<(), io::Error> {
        if rows.is_empty() && rest.is_none() {
            return Ok(());
        }
        let head = self.rows.head.as_ref().filter(|_| seq == self.rows.seq);
        Ok(self.encoder.rows(seq, head, rows, rest, &mut self.lines)?)
    }

    fn tell(&mut self, text: String) -> Result<(), io::Error> {
        let note = Note {
            at: clock::now(),
            seq: None,
            from: NoteFrom::Agent,
            code: None,
            text,
            approval: None,
        };
        Ok(self.encoder.note(&note, &mut self.lines)?)
    }
}

/// As many whole lines as go into one block.
fn whole_lines(lines: &[u8]) -> &[u8] {
    let Some((most, rest)) = lines.split_at_checked(MOST) else {
        return lines;
    };
    let end = memchr::memrchr(b'\n', most).or_else(|| Some(MOST + memchr::memchr(b'\n', rest)?));
    end.and_then(|end| lines.get(..=end)).unwrap_or(lines)
}

/// A line has a bound; tags of a text of many statements, and errors, are cut to it.
pub(super) fn bound(finished: &mut Finished) {
    const TAGS: usize = 1000;
    if let Some(more) = finished
        .tags
        .len()
        .checked_sub(TAGS)
        .filter(|more| *more > 0)
    {
        finished.tags.truncate(TAGS);
        finished.tags.push(format!("… and {more} more"));
    }
    if let Some((_, message)) = &mut finished.error {
        shorten(message);
    }
}

fn shorten(text: &mut String) {
    const CAP: usize = 64 << 10;
    if text.len() > CAP {
        let whole = text.len();
        text.truncate(text.floor_char_boundary(CAP));
        text.push_str(&format!("… ({whole} bytes in all)"));
        // What was cut off is not kept in the queue either.
        text.shrink_to_fit();
    }
}
