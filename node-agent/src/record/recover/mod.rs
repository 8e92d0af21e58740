//! IO. What a killed agent left: its recordings get what the journal knows and they lack, a sentence
//! that says so, and an end. Nothing that is in them is touched, but for a block that was torn.
//!
//! A recording that somebody changed is evidence and stays as it is; what the journal knows of it comes
//! to lie in a recording of its own (`apart`).

mod append;
mod known;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use self::append::{Outcome, finish};
use self::known::Journals;
use super::chain::{BLOCK_HEAD, BLOCK_TAIL, Chain, claims_last};
use super::codec::Told;
use super::journal::Remembered;
use super::lane::Shared;
use super::ledger::{By, Entry, Ledger, Mark, NodeKey, Writing};
use super::path_of;
use super::retention::beginning;
use super::sealed::Recipients;
use super::shelf::{recordings, session_of};
use crate::model::SessionId;

/// How soon what could not be written is tried again, at first and at last.
const RETRY: Duration = Duration::from_secs(2);
const RETRY_AT_LAST: Duration = Duration::from_secs(8);
/// How often the thread looks whether the recorder stops.
const LOOK: Duration = Duration::from_millis(100);
/// Recordings that are held at once.
const AT_ONCE: usize = 256;
/// How often a lock is tried that somebody else holds who only looks.
const TRIES: usize = 20;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Recovered {
    /// Recordings that were closed.
    pub(super) closed: u64,
    /// Decisions that were added to them.
    pub(super) remembered: u64,
    /// Recordings and journals that could not be dealt with; they are as they were.
    pub(super) left: u64,
}

/// Recovers in a thread of its own, until all is done: many recordings, or a full disk, keep nobody
/// from being served.
pub(super) fn in_background(shared: &Arc<Shared>) -> io::Result<()> {
    let shared = Arc::clone(shared);
    let recover = move || {
        let mut wait = RETRY;
        loop {
            let settings = &shared.settings;
            let mut vouching =
                Vouching::new(&settings.dir, settings.key.clone()).sealing(&settings.recipients);
            match recover(&settings.dir, settings.journal.as_deref(), &mut vouching) {
                Ok(done) => {
                    let counters = &shared.counters;
                    counters.recovered.fetch_add(done.closed, Ordering::Relaxed);
                    counters
                        .remembered
                        .fetch_add(done.remembered, Ordering::Relaxed);
                    if done.closed > 0 {
                        tracing::warn!(
                            recordings = done.closed,
                            decisions = done.remembered,
                            "closed recordings that an agent left open when it died"
                        );
                    }
                    return;
                }
                Err(error) => {
                    tracing::error!(%error, "recordings of an agent that died are not closed yet");
                }
            }
            let mut waited = Duration::ZERO;
            while waited < wait {
                if shared.stopping() {
                    return;
                }
                thread::park_timeout(LOOK);
                waited += LOOK;
            }
            wait = RETRY_AT_LAST.min(wait * 2);
        }
    };
    thread::Builder::new()
        .name("record-recover".to_owned())
        .spawn(recover)
        .map(drop)
}

/// Closes what nobody writes any more, with what the journals know of it.
///
/// # Errors
/// Something could not be read or written: nothing is lost, and it may be tried again.
pub(super) fn recover(
    dir: &Path,
    journals: Option<&Path>,
    vouching: &mut Vouching,
) -> io::Result<Recovered> {
    let mut done = Recovered::default();
    let mut known = Journals::of(dir, journals);
    known.look()?;
    let mut failed = None;
    let mut paths = recordings(dir)?.into_iter();
    loop {
        let mut open = Vec::new();
        for path in paths.by_ref() {
            let Some(session) = session_of(&path).filter(|session| path == path_of(dir, *session))
            else {
                continue;
            };
            if known.is_apart(session) {
                continue; // it is dealt with where it comes from
            }
            match left_open(&path, known.has(session)) {
                Ok(Some(file)) => open.push((path, file, session)),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, recording = %path.display(), "a recording is left as it is");
                    done.left += 1;
                }
            }
            if open.len() >= AT_ONCE {
                break;
            }
        }
        if open.is_empty() {
            break;
        }
        // After their locks were had: whoever let go of them says nothing more in its journal.
        known.look()?;
        for (path, file, session) in open {
            let remembered = known.take(session);
            let settled = settle(dir, &file, &path, session, remembered, vouching);
            done.note(settled, &path, &mut failed)?;
        }
    }
    // Those that were killed before their first block.
    for (session, remembered) in known.rest() {
        let path = path_of(dir, session);
        let settled = fresh(&path, true)
            .and_then(|file| settle(dir, &file, &path, session, remembered, vouching));
        done.note(settled, &path, &mut failed)?;
    }
    vouching.done()?;
    done.left += known.left();
    match failed {
        None => known.remove()?,
        Some(error) => return Err(error),
    }
    Ok(done)
}

/// Gives a recording its end, or what is known of it a recording of its own.
fn settle(
    dir: &Path,
    file: &File,
    path: &Path,
    session: SessionId,
    remembered: Remembered,
    vouching: &mut Vouching,
) -> io::Result<Recovered> {
    let (remembered, why) = match finish(file, session, None, remembered, vouching)? {
        Outcome::Done(done) => return Ok(done),
        Outcome::Left { remembered, why } => (remembered, why),
    };
    let mut done = Recovered {
        left: 1,
        ..Recovered::default()
    };
    let decided = |told: &&Told| matches!(told, Told::Decided(_));
    let decisions = remembered.told.iter().filter(decided).count();
    // Evidence of what somebody did: it stays as it is, and `verify` names it.
    tracing::error!(%why, recording = %path.display(), decisions,
        "a recording that an agent left was changed by somebody else");
    if decisions > 0 {
        done.add(apart(dir, path, session, remembered, vouching)?);
    }
    Ok(done)
}

/// The session under whose name lies what is known of this one and cannot lie in its recording.
fn apart_of(session: SessionId) -> SessionId {
    let mut hasher = blake3::Hasher::new_derive_key("node-agent 2026-11 recording apart");
    hasher.update(&session.0.to_le_bytes());
    let mut bytes = [0; 8];
    hasher.finalize_xof().fill(&mut bytes);
    SessionId(u64::from_le_bytes(bytes))
}

/// Writes what is known of a session into a recording of its own; tried again, into the same one.
fn apart(
    dir: &Path,
    changed: &Path,
    session: SessionId,
    mut remembered: Remembered,
    vouching: &mut Vouching,
) -> io::Result<Recovered> {
    let own = apart_of(session);
    let path = path_of(dir, own);
    if !matches!(remembered.told.first(), Some(Told::Began(_)))
        && let Some(began) = beginning(changed)
    {
        remembered.told.insert(0, Told::Began(began));
    }
    for told in &mut remembered.told {
        if let Told::Began(began) = told {
            began.session = own;
        }
    }
    let file = fresh(&path, false)?;
    match finish(&file, own, Some(session), remembered, vouching)? {
        Outcome::Done(done) => {
            tracing::error!(recording = %path.display(), of = %session,
                "its decisions that the journal knew lie in a recording of their own");
            Ok(done)
        }
        Outcome::Left { why, .. } => Err(io::Error::other(format!(
            "what a journal knows of {session} is in no recording, {} was changed too: {why}",
            path.display()
        ))),
    }
}

/// Makes a file for a recording; `new`: there is none of that name.
fn fresh(path: &Path, new: bool) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .create_new(new)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    super::shelf::lock(&file)?;
    Ok(file)
}

/// Opens a recording that nobody writes and that has no end, and keeps it from everybody else.
/// `anyway`: also one with an end.
fn left_open(path: &Path, anyway: bool) -> io::Result<Option<File>> {
    // A link may lead anywhere, a pipe would keep us waiting.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open(path);
    let file = match opened {
        Ok(file) => file,
        // It was too old, and is removed by now.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::other("this is no file"));
    }
    // One that has nothing yet may just have been made, and its writer about to take the lock.
    if about.len() == 0 && !anyway {
        return Ok(None);
    }
    if !is_left(&file) || !anyway && seems_closed(&file)? {
        return Ok(None);
    }
    Ok(Some(file))
}

/// Takes the lock of a file, if nobody writes it.
fn is_left(file: &File) -> bool {
    for _ in 0..TRIES {
        if flock(file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return true;
        }
        // Whoever only looks shares it, for a moment.
        if super::is_live(file) {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    false
}

/// Whether its last block says that it is the last. Whether that is true is for `verify` to say.
fn seems_closed(file: &File) -> io::Result<bool> {
    let length = file.metadata()?.len();
    let Some(tail) = length.checked_sub(BLOCK_TAIL as u64) else {
        return Ok(false);
    };
    let mut bytes = [0; BLOCK_TAIL];
    file.read_exact_at(&mut bytes, tail)?;
    let payload = u64::from(u32::from_le_bytes(bytes));
    let Some(head) = tail.checked_sub(payload + BLOCK_HEAD as u64) else {
        return Ok(false);
    };
    let mut bytes = [0; BLOCK_HEAD];
    file.read_exact_at(&mut bytes, head)?;
    Ok(claims_last(&bytes))
}

impl Recovered {
    fn add(&mut self, one: Recovered) {
        self.closed += one.closed;
        self.remembered += one.remembered;
        self.left += one.left;
    }

    /// One recording keeps no other from its end; but for a full disk, which is the same for all.
    fn note(
        &mut self,
        settled: io::Result<Recovered>,
        path: &Path,
        failed: &mut Option<io::Error>,
    ) -> io::Result<()> {
        match settled {
            Ok(one) => self.add(one),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                ) =>
            {
                return Err(error);
            }
            Err(error) => {
                tracing::error!(%error, recording = %path.display(), "a recording is not closed yet");
                failed.get_or_insert(error);
            }
        }
        Ok(())
    }
}

/// Tells the ledger of what is closed here, before it is.
pub(super) struct Vouching {
    dir: PathBuf,
    key: Option<Arc<NodeKey>>,
    ledger: Option<Ledger>,
    /// To whom what is added is sealed.
    recipients: Option<Recipients>,
}

impl Vouching {
    pub(super) fn new(dir: &Path, key: Option<Arc<NodeKey>>) -> Vouching {
        Vouching {
            dir: dir.to_owned(),
            key,
            ledger: None,
            recipients: None,
        }
    }

    /// Seals what is added.
    pub(super) fn sealing(mut self, recipients: &Option<Recipients>) -> Vouching {
        self.recipients.clone_from(recipients);
        self
    }

    /// `began`: the recording was made here, for a session of this workload.
    fn of(
        &mut self,
        session: SessionId,
        began: Option<Arc<str>>,
        chain: &Chain,
        torn: u64,
    ) -> io::Result<()> {
        let Some(key) = &self.key else { return Ok(()) };
        let ledger = match &mut self.ledger {
            Some(ledger) => ledger,
            empty => {
                let writing = Writing::new(&self.dir, Arc::clone(key), By::Agent);
                empty.insert(Ledger::open(writing)?)
            }
        };
        if let Some(workload) = began {
            ledger.tell(&Entry::Began { session, workload });
        }
        ledger.recovered(session, Mark::of(chain), torn);
        ledger.flush().map(drop)
    }

    fn done(&mut self) -> io::Result<()> {
        self.ledger
            .take()
            .map_or(Ok(()), |mut ledger| ledger.stop())
    }
}

#[cfg(test)]
mod tests;
