//! IO. A note beside the recordings of what lies in the archive too. Only a cache: without it the
//! archive is asked again, and a line in it counts only while the recording is the file it was.

use std::collections::HashMap;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::ledger::give_to_owner;
use crate::model::{SessionId, UnixMillis};

/// The largest note that is read, bytes; what is beyond is asked of the archive.
const LARGEST: u64 = 128 << 20;

/// What a file was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Its number on its file system.
    pub inode: u64,
    /// Its length.
    pub bytes: u64,
    /// When it or anything about it was changed last, nanoseconds since 1970.
    pub changed: i64,
}

impl Stamp {
    /// Of a file as it is.
    pub fn of(about: &Metadata) -> Stamp {
        let seconds = about.mtime().saturating_mul(1_000_000_000);
        Stamp {
            inode: about.ino(),
            bytes: about.len(),
            changed: seconds.saturating_add(about.mtime_nsec()),
        }
    }
}

/// A recording that lies in the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// Whose.
    pub session: SessionId,
    /// What the file was then.
    #[serde(flatten)]
    pub stamp: Stamp,
    /// When it was known to lie there.
    pub at: UnixMillis,
    /// Under which name.
    pub object: Arc<str>,
}

/// What lies in the archive, as noted.
#[derive(Debug, Default)]
pub struct Copies {
    held: HashMap<SessionId, Copied>,
    lines: usize,
}

impl Copies {
    /// Reads the note of a directory. None, or one that cannot be understood, says nothing.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn read(dir: &Path) -> io::Result<Copies> {
        match File::open(note_path(dir)) {
            Ok(file) => Copies::from(&file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Copies::default()),
            Err(error) => Err(error),
        }
    }

    fn from(file: &File) -> io::Result<Copies> {
        let mut text = Vec::new();
        file.take(LARGEST).read_to_end(&mut text)?;
        let mut copies = Copies::default();
        for line in text.split(|byte| *byte == b'\n') {
            // A line that was cut when its writer was killed says nothing.
            if let Ok(copied) = serde_json::from_slice::<Copied>(line) {
                copies.held.insert(copied.session, copied);
            }
            copies.lines += 1;
        }
        Ok(copies)
    }

    /// The copy of a recording, if the file is still what was copied.
    pub fn of(&self, session: SessionId, stamp: Stamp) -> Option<&Copied> {
        self.held
            .get(&session)
            .filter(|copied| copied.stamp == stamp)
    }

    /// What was noted of a session, whatever its file is now.
    pub fn noted(&self, session: SessionId) -> Option<&Copied> {
        self.held.get(&session)
    }
}

/// The note while its writer has it: one archiver of a directory at a time.
#[derive(Debug)]
pub struct Note {
    file: File,
    copies: Copies,
}

impl Note {
    /// Takes the note of a directory. `None`: another process is at it.
    ///
    /// # Errors
    /// It cannot be made or read.
    pub fn take(dir: &Path) -> io::Result<Option<Note>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(note_path(dir))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        give_to_owner(&file, dir)?;
        let copies = Copies::from(&file)?;
        Ok(Some(Note { file, copies }))
    }

    /// What is noted.
    pub fn copies(&self) -> &Copies {
        &self.copies
    }

    /// Notes a copy.
    ///
    /// # Errors
    /// The disk's. What was not noted is asked of the archive again.
    pub fn add(&mut self, copied: Copied) -> io::Result<()> {
        let mut line = vec![b'\n']; // behind a line that may have been cut
        line.extend_from_slice(&serde_json::to_vec(&copied)?);
        line.push(b'\n');
        self.file.seek(SeekFrom::End(0))?;
        self.file.write_all(&line)?;
        self.copies.held.insert(copied.session, copied);
        self.copies.lines += 2;
        Ok(())
    }

    /// Forgets what is not to be kept. The note is written anew when much of it is stale.
    ///
    /// # Errors
    /// The disk's.
    pub fn retain(&mut self, mut keep: impl FnMut(&Copied) -> bool) -> io::Result<()> {
        let before = self.copies.held.len();
        self.copies.held.retain(|_, copied| keep(copied));
        let stale = self.copies.lines > 4 * self.copies.held.len() + 256;
        if before == self.copies.held.len() && !stale {
            return Ok(());
        }
        let mut text = Vec::new();
        for copied in self.copies.held.values() {
            serde_json::to_writer(&mut text, copied)?;
            text.push(b'\n');
        }
        self.copies.lines = self.copies.held.len();
        // Not replaced by renaming, since its lock is on this file. Killed in between, it knows less.
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&text)
    }
}

fn note_path(dir: &Path) -> PathBuf {
    dir.join("archive.note")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copied(session: u64, bytes: u64) -> Copied {
        Copied {
            session: SessionId(session),
            stamp: Stamp {
                inode: 7,
                bytes,
                changed: 9,
            },
            at: UnixMillis(1),
            object: "node/2026/01/02/a.rec".into(),
        }
    }

    #[test]
    fn a_note_outlives_its_writer_and_counts_only_for_the_file_that_was_copied() {
        let dir = tempfile::tempdir().unwrap();
        let mut note = Note::take(dir.path()).unwrap().unwrap();
        assert!(
            Note::take(dir.path()).unwrap().is_none(),
            "one writer at a time"
        );
        note.add(copied(1, 10)).unwrap();
        note.add(copied(2, 20)).unwrap();
        drop(note);
        // Its last writer was killed in the middle of a line.
        let path = note_path(dir.path());
        let mut text = std::fs::read(&path).unwrap();
        text.extend_from_slice(b"{\"session\":\"s-0000");
        std::fs::write(&path, text).unwrap();

        let mut note = Note::take(dir.path()).unwrap().unwrap();
        note.add(copied(3, 30)).unwrap();
        let read = Copies::read(dir.path()).unwrap();
        for session in [1, 2, 3] {
            let own = copied(session, session * 10);
            assert_eq!(read.of(own.session, own.stamp), Some(&own));
            let changed = Stamp {
                changed: 10,
                ..own.stamp
            };
            assert_eq!(read.of(own.session, changed), None);
        }
        note.retain(|copied| copied.session != SessionId(2))
            .unwrap();
        let read = Copies::read(dir.path()).unwrap();
        assert!(read.noted(SessionId(2)).is_none() && read.noted(SessionId(3)).is_some());
        assert_eq!(read.lines, 3);
    }
}
