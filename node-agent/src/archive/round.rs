//! IO. One round: whatever of this directory is closed and not in the archive yet goes there, then
//! the ledger, which so is never behind the recordings that it vouches for.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use object_store::PutMode;
use object_store::client::HttpClient;

use super::place::{object_of, session_of};
use super::sound::{self, Whole};
use super::store::{Lies, Store};
use super::transport;
use super::{ArchiveError, Settings};
use crate::clock;
use crate::model::{SessionId, UnixMillis};
use crate::record::ledger::{Ledgered, Mark, SegmentId, look};
use crate::record::{ArchiveNote, Copied, Kind, Stamp, is_live};

/// How many recordings are under way at once.
const AT_ONCE: usize = 2;
/// After so many failures a round ends: the storage is not there.
const FAILURES: usize = 3;
/// How often the note is held against what lies there.
const RECONCILE_EVERY: Duration = Duration::from_hours(6);

/// What became of one recording.
#[derive(Clone, Debug)]
pub enum Told {
    /// It was sent.
    Sent {
        /// Whose.
        session: SessionId,
        /// Under which name.
        object: String,
        /// How long it is.
        bytes: u64,
        /// Why it is not what it should be: it lies there as it is, and `sessions verify` names it.
        suspect: Option<String>,
    },
    /// It lay there already.
    There {
        /// Whose.
        session: SessionId,
        /// Under which name.
        object: String,
    },
    /// It would be sent.
    Would {
        /// Whose.
        session: SessionId,
        /// How long it is.
        bytes: u64,
    },
    /// Something else lies there, which stays: this file, or that one, was changed.
    Differs {
        /// Whose.
        session: SessionId,
        /// Under which name.
        object: String,
    },
    /// A part of the ledger here is not the continuation of what lies there, which stays.
    LedgerDiffers {
        /// Which.
        segment: SegmentId,
    },
    /// It could not be sent.
    Failed {
        /// Whose.
        session: SessionId,
        /// Why.
        why: String,
    },
}

/// What a round came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Recordings that were sent.
    pub sent: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Recordings that are not there, for a failure.
    pub waiting: u64,
    /// Recordings and segments of which something else lies there.
    pub differ: u64,
    /// Recordings that have no end: they are not archived.
    pub unclosed: u64,
    /// Uploads of killed processes that were given up.
    pub abandoned: usize,
    /// Why not all is there.
    pub failed: Option<String>,
}

/// What archives one directory.
#[derive(Debug)]
pub struct Archiver {
    pub(super) settings: Settings,
    http: HttpClient,
    reconciled: Option<Instant>,
    /// Of segments: how much of them lies there, and its checksum.
    pub(super) pushed: HashMap<SegmentId, Lies>,
    pub(super) key_is_there: bool,
    /// What differs from what lies there, as it was then.
    differ: HashMap<SessionId, Stamp>,
    /// The same of the ledger.
    pub(super) segments_differ: HashSet<SegmentId>,
}

/// A recording that is to be sent.
#[derive(Clone, Debug)]
struct Candidate {
    session: SessionId,
    path: PathBuf,
    stamp: Stamp,
}

/// What lies in a directory.
#[derive(Debug, Default)]
struct Found {
    candidates: Vec<Candidate>,
    all: HashSet<SessionId>,
    unclosed: u64,
    differ: u64,
}

impl Archiver {
    /// Looks at nothing yet.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(settings: Settings) -> Result<Archiver, ArchiveError> {
        Ok(Archiver {
            http: transport::client(&settings)?,
            settings,
            reconciled: None,
            pushed: HashMap::new(),
            key_is_there: false,
            differ: HashMap::new(),
            segments_differ: HashSet::new(),
        })
    }

    /// One small question, to see whether the storage is there and takes the credential.
    ///
    /// # Errors
    /// It does not.
    pub async fn reach(&self) -> Result<(), ArchiveError> {
        let store = Store::open(&self.settings, &self.http)?;
        store.look("node-key.pub").await.map(drop)
    }

    /// Sends what is not there. `waiting` is told how many there are, `told` what became of each.
    /// With `dry` nothing is sent.
    ///
    /// # Errors
    /// Nothing could be tried. Of what was tried and failed, [`Round::failed`] tells.
    pub async fn round(
        &mut self,
        dry: bool,
        waiting: &dyn Fn(u64),
        told: &dyn Fn(&Told),
    ) -> Result<Round, ArchiveError> {
        let dir = self.settings.dir.clone();
        let here = |source| ArchiveError::file(&dir)(source);
        let Some(mut note) = ArchiveNote::take(&dir).map_err(here)? else {
            return Err(ArchiveError::Busy);
        };
        let store = Store::open(&self.settings, &self.http)?;
        let mut round = Round::default();
        let found = self.find(&note).map_err(here)?;
        note.retain(|copied| found.all.contains(&copied.session))
            .map_err(here)?;
        waiting(found.candidates.len() as u64);
        if !dry {
            let reconciled = self.reconcile(&store, &mut note, &mut round).await;
            if let Err(error) = reconciled {
                round.waiting = found.candidates.len() as u64;
                round.unclosed = found.unclosed;
                round.failed = Some(error.to_string());
                return Ok(round);
            }
        }
        // What was forgotten just now is to be sent again.
        let found = self.find(&note).map_err(here)?;
        round.unclosed = found.unclosed;
        round.differ = found.differ;
        waiting(found.candidates.len() as u64);
        if !found.candidates.is_empty() {
            let known = match dry {
                true => Ledgered::default(),
                false => sound::hear(&dir).map_err(here)?,
            };
            let sending = Sending {
                store: &store,
                known: &known,
                dry,
                queue: Mutex::new(found.candidates.into()),
                note: Mutex::new(&mut note),
                round: Mutex::new(&mut round),
                failures: Mutex::new(Vec::new()),
                differ: Mutex::new(&mut self.differ),
                waiting,
                told,
            };
            let mut lines = Vec::new();
            for _ in 0..AT_ONCE {
                lines.push(Box::pin(sending.line()));
            }
            all(lines).await;
            let failures = std::mem::take(&mut *lock(&sending.failures));
            let left = lock(&sending.queue).len();
            drop(sending);
            round.waiting = (failures.len() + left) as u64;
            round.failed = failures.into_iter().next();
        }
        if !dry {
            let vouched = self.vouch(&store, told).await;
            round.differ += self.segments_differ.len() as u64;
            if let Err(error) = vouched {
                round.failed.get_or_insert(error.to_string());
            }
        }
        Ok(round)
    }

    /// What is closed and not noted.
    fn find(&self, note: &ArchiveNote) -> io::Result<Found> {
        let mut found = Found::default();
        for entry in fs::read_dir(&self.settings.dir)? {
            let entry = entry?;
            let path = entry.path();
            let Some(session) = session_of(&path) else {
                continue;
            };
            let about = match entry.metadata() {
                Ok(about) if about.is_file() => about,
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            found.all.insert(session);
            let stamp = Stamp::of(&about);
            if note.copies().of(session, stamp).is_some() {
                continue;
            }
            if self.differ.get(&session) == Some(&stamp) {
                found.differ += 1;
                continue;
            }
            match ended(&path) {
                Ok(Ended::Not) => {}
                Ok(Ended::Abandoned) => found.unclosed += 1,
                Ok(Ended::InOrder) => found.candidates.push(Candidate {
                    session,
                    path,
                    stamp,
                }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        // The oldest first: they are the first to make room.
        found.candidates.sort_by_key(|one| one.stamp.changed);
        Ok(found)
    }

    /// Gives up what a killed process had begun to send, and forgets what is noted and not there.
    async fn reconcile(
        &mut self,
        store: &Store,
        note: &mut ArchiveNote,
        round: &mut Round,
    ) -> Result<(), ArchiveError> {
        if self
            .reconciled
            .is_some_and(|at| at.elapsed() < RECONCILE_EVERY)
        {
            return Ok(());
        }
        round.abandoned = store.abandon_uploads().await?;
        let mut there = HashSet::new();
        store
            .list("", &mut |name, bytes| {
                let Some(session) = session_of(Path::new(name)) else {
                    return;
                };
                let noted = note.copies().noted(session);
                if noted.is_some_and(|copied| copied.stamp.bytes == bytes) {
                    there.insert(session);
                }
            })
            .await?;
        note.retain(|copied| there.contains(&copied.session))
            .map_err(ArchiveError::file(&self.settings.dir))?;
        self.pushed.clear();
        self.reconciled = Some(Instant::now());
        Ok(())
    }
}

/// What two lines of sending share.
struct Sending<'a> {
    store: &'a Store,
    known: &'a Ledgered,
    dry: bool,
    queue: Mutex<VecDeque<Candidate>>,
    note: Mutex<&'a mut ArchiveNote>,
    round: Mutex<&'a mut Round>,
    failures: Mutex<Vec<String>>,
    differ: Mutex<&'a mut HashMap<SessionId, Stamp>>,
    waiting: &'a dyn Fn(u64),
    told: &'a dyn Fn(&Told),
}

/// Nothing that these guard is left half done by a panic, so a poisoned lock is good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sending<'_> {
    async fn line(&self) {
        loop {
            if lock(&self.failures).len() >= FAILURES {
                return;
            }
            let next = {
                let mut queue = lock(&self.queue);
                let next = queue.pop_front();
                (self.waiting)(queue.len() as u64 + u64::from(next.is_some()));
                next
            };
            let Some(one) = next else { return };
            let told = match self.send(&one).await {
                Ok(Some(told)) => told,
                Ok(None) => continue,
                Err(error) => {
                    let why = error.to_string();
                    lock(&self.failures).push(why.clone());
                    let session = one.session;
                    Told::Failed { session, why }
                }
            };
            match &told {
                Told::Sent { bytes, .. } => {
                    let mut round = lock(&self.round);
                    round.sent += 1;
                    round.bytes += bytes;
                }
                Told::Differs { session, .. } => {
                    lock(&self.round).differ += 1;
                    lock(&self.differ).insert(*session, one.stamp);
                }
                Told::There { .. }
                | Told::Would { .. }
                | Told::LedgerDiffers { .. }
                | Told::Failed { .. } => {}
            }
            (self.told)(&told);
        }
    }

    /// `None`: it was removed, or is another file by now.
    async fn send(&self, one: &Candidate) -> Result<Option<Told>, ArchiveError> {
        let here = || ArchiveError::file(&one.path);
        let file = match File::open(&one.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(here()(error)),
        };
        let (file, whole) = self.read(one.session, file).await.map_err(here())?;
        if Stamp::of(&file.metadata().map_err(here())?) != one.stamp
            || whole.bytes != one.stamp.bytes
        {
            return Ok(None);
        }
        let session = one.session;
        let began = whole
            .began
            .unwrap_or(UnixMillis(one.stamp.changed / 1_000_000));
        let object = object_of(session, began);
        let told = match self.store.look(&object).await? {
            Some(lies)
                if lies.bytes == whole.bytes && lies.sha256.as_deref() == Some(&*whole.sha256) =>
            {
                Told::There {
                    session,
                    object: object.clone(),
                }
            }
            Some(_) => return Ok(Some(Told::Differs { session, object })),
            None if self.dry => {
                let bytes = whole.bytes;
                return Ok(Some(Told::Would { session, bytes }));
            }
            None => {
                let sent =
                    self.store
                        .send(&object, &file, whole.bytes, &whole.sha256, PutMode::Create);
                sent.await?;
                Told::Sent {
                    session,
                    object: object.clone(),
                    bytes: whole.bytes,
                    suspect: whole.suspect,
                }
            }
        };
        let copied = Copied {
            session,
            stamp: one.stamp,
            at: clock::now(),
            object: self.store.name(&object).into(),
        };
        lock(&self.note).add(copied).map_err(here())?;
        Ok(Some(told))
    }

    /// Away from what the other line is waiting for.
    async fn read(&self, session: SessionId, file: File) -> io::Result<(File, Whole)> {
        let known = self.known.sessions.get(&session);
        let marks: Option<Vec<Mark>> = known.map(|known| known.marks().collect());
        let read = tokio::task::spawn_blocking(move || {
            let whole = sound::read(&file, session, marks.as_deref())?;
            Ok((file, whole))
        });
        read.await.map_err(io::Error::other)?
    }
}

/// Waits for all, on this thread.
async fn all<F: Future<Output = ()> + Unpin>(mut futures: Vec<F>) {
    std::future::poll_fn(|context| {
        futures.retain_mut(|future| std::pin::Pin::new(future).poll(context).is_pending());
        match futures.is_empty() {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
}

enum Ended {
    /// It is being written.
    Not,
    /// Its writer was killed; the next agent closes it, unless it was changed.
    Abandoned,
    InOrder,
}

fn ended(path: &Path) -> io::Result<Ended> {
    if is_live(&File::open(path)?) {
        return Ok(Ended::Not);
    }
    Ok(match look(path, Kind::Recording)? {
        Some(looked) if looked.last => Ended::InOrder,
        Some(_) | None => Ended::Abandoned,
    })
}
