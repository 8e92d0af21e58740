//! IO. What the journals of others know.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::super::journal::{self, Contents, Found, Remembered, Unreadable};
use super::apart_of;
use crate::model::SessionId;

/// The largest journal that is read, bytes.
const JOURNAL_CAP: u64 = 64 << 20;

/// The journals of a directory, as far as they are of certain recordings.
pub(super) struct Journals<'a> {
    journals: Option<&'a Path>,
    place: u64,
    /// Those whose process is gone. They are held until they are removed.
    left: Vec<(PathBuf, File)>,
    known: HashMap<SessionId, Remembered>,
    apart: HashSet<SessionId>,
    /// What the others said at the last look.
    living: HashMap<SessionId, Remembered>,
    /// Those that are not for us, or cannot be read.
    passed: HashSet<PathBuf>,
    unreadable: u64,
}

impl<'a> Journals<'a> {
    /// Of the recordings in `dir`.
    pub(super) fn of(dir: &Path, journals: Option<&'a Path>) -> Self {
        Journals {
            journals,
            place: journal::place_of(dir),
            left: Vec::new(),
            known: HashMap::new(),
            apart: HashSet::new(),
            living: HashMap::new(),
            passed: HashSet::new(),
            unreadable: 0,
        }
    }

    /// Reads what was not read before, and once more what others hold: one of them may be ending at
    /// this moment, and have let go of its recordings and not of its journal.
    pub(super) fn look(&mut self) -> io::Result<()> {
        self.living.clear();
        let Some(dir) = self.journals else {
            return Ok(());
        };
        for found in journal::others(dir)? {
            let read = self.left.iter().any(|(path, _)| *path == found.path);
            if !read && !self.passed.contains(&found.path) {
                self.read(found)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, found: Found) -> io::Result<()> {
        let Found { path, file, left } = found;
        let mut bytes = Vec::new();
        (&file).take(JOURNAL_CAP).read_to_end(&mut bytes)?;
        match journal::read(&bytes, self.place) {
            Ok(contents) if left => {
                if contents.damaged > 0 {
                    tracing::error!(entries = contents.damaged, journal = %path.display(),
                        "a journal has entries that make no sense");
                }
                self.apart
                    .extend(contents.sessions.keys().map(|id| apart_of(*id)));
                merge(&mut self.known, contents);
                self.left.push((path, file));
            }
            // Entries that make no sense are being written.
            Ok(contents) => merge(&mut self.living, contents),
            Err(_) if !left => {}
            Err(error) => {
                match error {
                    Unreadable::Foreign => {
                        tracing::info!(journal = %path.display(), "a journal of other recordings");
                    }
                    Unreadable::Magic | Unreadable::Layout(_) | Unreadable::Header => {
                        tracing::error!(%error, journal = %path.display(), "a journal is left as it is");
                        self.unreadable += 1;
                    }
                }
                self.passed.insert(path);
            }
        }
        Ok(())
    }

    /// Whether a process that is gone knew of it.
    pub(super) fn has(&self, session: SessionId) -> bool {
        self.known.contains_key(&session)
    }

    /// Whether what is known of another session lies under this name, or may.
    pub(super) fn is_apart(&self, session: SessionId) -> bool {
        self.apart.contains(&session)
    }

    /// What is known of a session whose recording nobody writes.
    pub(super) fn take(&mut self, session: SessionId) -> Remembered {
        let known = self.known.remove(&session);
        known
            .or_else(|| self.living.remove(&session))
            .unwrap_or_default()
    }

    /// What processes that are gone knew and nobody has taken.
    pub(super) fn rest(&mut self) -> HashMap<SessionId, Remembered> {
        std::mem::take(&mut self.known)
    }

    /// How many could not be read.
    pub(super) fn left(&self) -> u64 {
        self.unreadable
    }

    /// All that was known is in recordings.
    pub(super) fn remove(self) -> io::Result<()> {
        for (path, _locked) in self.left {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

fn merge(known: &mut HashMap<SessionId, Remembered>, contents: Contents) {
    for (session, remembered) in contents.sessions {
        known.entry(session).or_default().add(remembered);
    }
}
