//! IO. Decisions, from the moment they are made until the block that holds them is in its file: in
//! memory that a file keeps, so that whatever ends this process, the next one finds them
//! (`recover/`). A few hundred bytes are copied for a statement; nothing is waited for.
//!
//! Threads share few shards, each with two halves: one is written, and when it is full the other is
//! begun anew, if all that is in it lies in recordings by then. If not, there is no room: whoever
//! asked waits for the writer instead (`SessionRecorder::decided`).

mod layout;
mod shard;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};

pub(super) use self::layout::{Contents, Remembered, Unreadable, read};
use self::layout::{HEADER, LAYOUT, MAGIC, WORD};
use self::shard::Shard;
pub(super) use self::shard::{LINE_CAP, Ticket};
use super::{Began, Decided, LoggedIn};
use crate::intercept::SharedWords;
use crate::model::SessionId;

/// How a journal's file is called.
const SUFFIX: &str = "journal";
/// Words of a half: 1 MiB. The writer comes by every few milliseconds.
const HALF: usize = (1 << 20) / WORD;
/// The most shards: beyond this many threads a copy of a few hundred bytes waits for another.
const SHARDS: usize = 4;

/// One process's journal. Its file goes when it is dropped, if nothing in it is still needed.
#[derive(Debug)]
pub(super) struct Journal {
    shards: Vec<Shard>,
    path: PathBuf,
    /// Holds the lock by which others see that somebody writes here.
    _file: File,
}

impl Journal {
    /// Makes a journal in a directory, which is made if need be, for its owner only. `place` stands
    /// for the recordings (`place_of`). All of its space is taken at once: what is written later
    /// needs none.
    pub(super) fn create(dir: &Path, threads: NonZeroUsize, place: u64) -> io::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)?;
        let shards = threads.get().min(SHARDS);
        let words = HEADER + shards * 2 * HALF;
        let (path, file) = begin(dir)?;
        let made = || -> io::Result<_> {
            fallocate(&file, FallocateFlags::empty(), 0, (words * WORD) as u64)?;
            let memory = SharedWords::map(&file, words)?;
            let fields = [MAGIC, LAYOUT, HALF as u64, 2 * shards as u64, place];
            for (word, field) in memory.iter().zip(fields) {
                word.store(field.to_le(), Ordering::Release);
            }
            Ok(memory)
        };
        let memory = made().inspect_err(|_| {
            let _ = fs::remove_file(&path); // what went wrong says it by itself
        })?;
        let memory = Arc::new(memory);
        let shards = (0..shards)
            .map(|number| Shard::new(Arc::clone(&memory), HEADER + number * 2 * HALF, HALF))
            .collect();
        Ok(Journal {
            shards,
            path,
            _file: file,
        })
    }

    /// A session's first event. `None`: no room.
    pub(super) fn began(&self, began: &Began) -> Option<Ticket> {
        self.shard().began(began)
    }

    /// A session's login. `None`: no room.
    pub(super) fn login(&self, session: SessionId, login: &LoggedIn) -> Option<Ticket> {
        self.shard().login(session, login)
    }

    /// A decision. `None`: no room, or it is too large for here.
    pub(super) fn decided(&self, session: SessionId, decided: &Decided) -> Option<Ticket> {
        self.shard().decided(session, decided)
    }

    /// How much it can hold and what it does hold, bytes; and how many entries lie in no recording yet.
    pub(super) fn extent(&self) -> (u64, u64, u64) {
        let all = self.shards.iter().map(Shard::extent);
        all.fold((0, 0, 0), |(bytes, used, needed), shard| {
            (
                bytes + (shard.words * WORD) as u64,
                used + (shard.used * WORD) as u64,
                needed + shard.needed as u64,
            )
        })
    }

    /// Overwrites what lies in recordings by now, where nothing beside it is needed: at the latest when
    /// nothing waits for its block. Waits for nobody.
    pub(super) fn wipe(&self) {
        self.shards.iter().for_each(Shard::wipe);
    }

    /// Each thread keeps to one.
    fn shard(&self) -> &Shard {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static NUMBER: usize = THREADS.fetch_add(1, Ordering::Relaxed);
        }
        let number = NUMBER.with(|number| *number) % self.shards.len().max(1);
        #[expect(
            clippy::indexing_slicing,
            reason = "there is at least one shard, and the number is below"
        )]
        &self.shards[number]
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // What is in no recording yet is for the next agent to find.
        if self.shards.iter().all(Shard::settled) {
            let _ = fs::remove_file(&self.path); // left, it is found and holds nothing new
        } else {
            tracing::warn!("decisions that are in no recording yet stay in the journal");
        }
    }
}

/// The place of a journal is memory: nothing of it is written back to a disk, on which whoever
/// touches it could hang. Asked of what is there of the path.
///
/// # Errors
/// Nothing of it can be asked.
pub fn lies_in_memory(place: &Path) -> io::Result<bool> {
    const TMPFS: i128 = 0x0102_1994;
    const RAMFS: i128 = 0x8584_58f6;
    let there = place.ancestors().find(|path| path.exists());
    let about = rustix::fs::statfs(there.unwrap_or(Path::new("/")))?;
    // Its type differs between architectures.
    let kind = i128::from(about.f_type) & 0xffff_ffff;
    Ok(kind == TMPFS || kind == RAMFS)
}

/// A new file with its lock.
fn begin(dir: &Path) -> io::Result<(PathBuf, File)> {
    for _ in 0..20 {
        let mut random = [0; 8];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("no randomness"))?;
        let path = dir.join(format!("{:016x}.{SUFFIX}", u64::from_ne_bytes(random)));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok((path, file)),
            // Somebody looks whether it was left behind.
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::other(
        "somebody else takes the lock of every new journal",
    ))
}

/// Stands for a directory of recordings, however it is written.
pub(super) fn place_of(dir: &Path) -> u64 {
    let whole = dir.canonicalize();
    let dir = whole.as_deref().unwrap_or(dir);
    let hash = blake3::hash(dir.as_os_str().as_encoded_bytes());
    hash.as_bytes()
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// A journal that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) file: File,
    /// Its process is gone, and nobody else looks at it until this is dropped. If not, its process
    /// writes in it, or is about to end.
    pub(super) left: bool,
}

/// Journals of other processes, but for those that hold nothing.
pub(super) fn others(dir: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|ending| ending != SUFFIX) {
            continue;
        }
        let file = match File::open(&path) {
            Ok(file) => file,
            // Somebody else was done with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let left = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
        // An empty one is being made at this moment, or never was; it holds nothing either way.
        if file.metadata()?.len() > 0 {
            found.push(Found { path, file, left });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
