//! IO. Writes the ledger: continues the segment that nobody writes, or begins one.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::entry::{By, Entry, Mark, SegmentId};
use super::key::NodeKey;
use super::look::look;
use super::read::{StretchEnd, follow, segments};
use super::segment::{Segment, ledger_dir, segment_of};
use crate::clock;
use crate::record::chain::Kind;
use crate::record::is_live;
use crate::record::shelf::{Volume, lock};

/// A segment that reaches this is followed by another one.
const SEGMENT: u64 = 16 << 20;
/// Lines of one block, about.
const BLOCK: usize = 1 << 20;

/// Entries that were told are numbered; one is on disk when all up to its number are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// How to write a ledger.
pub struct Writing {
    /// The directory of the recordings.
    pub dir: PathBuf,
    /// What signs.
    pub key: Arc<NodeKey>,
    /// Who writes.
    pub by: By,
    make: Box<dyn FnMut(File) -> Box<dyn Volume> + Send>,
    segment_bytes: u64,
}

impl Writing {
    /// Into the ledger of this directory of recordings.
    pub fn new(dir: &Path, key: Arc<NodeKey>, by: By) -> Writing {
        Writing {
            dir: dir.to_owned(),
            key,
            by,
            make: Box::new(crate::record::shelf::unsettled),
            segment_bytes: SEGMENT,
        }
    }

    /// Through these volumes.
    pub(in crate::record) fn through(
        mut self,
        make: impl FnMut(File) -> Box<dyn Volume> + Send + 'static,
    ) -> Writing {
        self.make = Box::new(make);
        self
    }

    /// With segments of this size.
    #[cfg(test)]
    pub(in crate::record) fn rolling_at(mut self, bytes: u64) -> Writing {
        self.segment_bytes = bytes;
        self
    }
}

/// The ledger, for one writer of it.
pub struct Ledger {
    writing: Writing,
    ledger: PathBuf,
    segment: Option<Segment>,
    /// What this segment says of others.
    seen: HashMap<SegmentId, Mark>,
    /// Lines that are not yet in a block.
    pending: Vec<u8>,
    told: u64,
    /// Entries up to this one are sealed; up to that one they are on disk.
    sealed: u64,
    written: u64,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger")
            .field("ledger", &self.ledger)
            .field("told", &self.told)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

impl Ledger {
    /// Finds the segment to continue. Writes nothing yet.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn open(mut writing: Writing) -> io::Result<Ledger> {
        let ledger = ledger_dir(&writing.dir);
        let (mut segment, mut seen, mut torn) = (None, HashMap::new(), 0);
        for path in segments(&ledger)? {
            if let Some(found) = take_up(&path, &mut writing)? {
                (segment, seen, torn) = (Some(found.segment), found.seen, found.torn);
                break;
            }
        }
        let mut opened = Ledger {
            ledger,
            segment,
            seen,
            pending: Vec::new(),
            told: 0,
            sealed: 0,
            written: 0,
            writing,
        };
        let started = Entry::Started {
            by: opened.writing.by,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            torn,
        };
        opened.tell(&started);
        if opened.segment.is_some() {
            let others = opened.others()?;
            opened.tell_of(&others);
        }
        Ok(opened)
    }

    /// Takes an entry, to be written with the next `flush`.
    pub fn tell(&mut self, entry: &Entry) -> Ticket {
        push(&mut self.pending, entry);
        self.told += 1;
        Ticket(self.told)
    }

    /// A recording that a killed agent left was taken up: its head from now on, and how many bytes
    /// of a torn block were taken away.
    pub fn recovered(&mut self, session: crate::model::SessionId, mark: Mark, torn: u64) -> Ticket {
        self.tell(&Entry::Recovered {
            session,
            mark,
            torn,
        })
    }

    /// The entry is written.
    pub(super) fn has(&self, ticket: Ticket) -> bool {
        self.written >= ticket.0
    }

    /// Writes what was told; `true`: there was something. After an error the same is tried again
    /// by the next call.
    ///
    /// # Errors
    /// The disk's.
    pub fn flush(&mut self) -> io::Result<bool> {
        let mut wrote = false;
        loop {
            if self.pending.is_empty() && !self.segment.as_ref().is_some_and(Segment::waits) {
                return Ok(wrote);
            }
            if self
                .segment
                .as_ref()
                .is_none_or(|segment| segment.ended() && !segment.waits())
            {
                self.renew()?;
            }
            let Some(segment) = &mut self.segment else {
                return Err(io::Error::other("the segment just begun is gone"));
            };
            if !segment.waits() {
                let (lines, entries) = cut(&self.pending);
                // One that is full is rolled by the block that fills it.
                let full = segment.mark().bytes + lines.len() as u64 >= self.writing.segment_bytes;
                let at = clock::now();
                let mut block = clock_line(at);
                block.extend_from_slice(lines);
                if full {
                    push(&mut block, &Entry::Rolled);
                }
                segment.seal(&self.writing.key, &block, at, full)?;
                let length = lines.len();
                self.pending.drain(..length);
                self.sealed += entries;
            }
            segment.write()?;
            self.written = self.sealed;
            wrote = true;
        }
    }

    /// Brings what is written to the disk, soon and elsewhere.
    pub(super) fn settle(&self) {
        if let Some(segment) = &self.segment {
            segment.settle();
        }
    }

    /// Says that this writer stops, and gives the segment free.
    ///
    /// # Errors
    /// The disk's; what was told is then not all there.
    pub fn stop(&mut self) -> io::Result<()> {
        self.tell(&Entry::Stopped);
        self.flush()?;
        if let Some(segment) = self.segment.take() {
            segment.settle();
            segment.close();
        }
        Ok(())
    }

    /// The ledger's segments but the one that is being written here.
    pub(super) fn own(&self) -> Option<SegmentId> {
        self.segment.as_ref().map(|segment| segment.id)
    }

    /// Begins a segment. Its first block names the heads of all others: one that is missing
    /// later, and has no tombstone, was deleted.
    fn renew(&mut self) -> io::Result<()> {
        let mut others = self.others()?;
        if let Some(full) = &self.segment {
            others.push((full.id, full.mark()));
        }
        let mut segment = Segment::create(&self.ledger, &mut self.writing.make)?;
        let at = clock::now();
        let mut block = Vec::new();
        let opened = Entry::Opened {
            segment: segment.id,
            key: self.writing.key.public().fingerprint(),
        };
        push(&mut block, &opened);
        block.extend_from_slice(&clock_line(at));
        self.seen.clear();
        for (id, mark) in others {
            let segment = id;
            push(&mut block, &Entry::Sees { segment, mark });
            self.seen.insert(id, mark);
        }
        segment.seal(&self.writing.key, &block, at, false)?;
        if let Some(full) = self.segment.replace(segment) {
            full.close();
        }
        Ok(())
    }

    /// The heads of all segments that nobody writes.
    fn others(&self) -> io::Result<Vec<(SegmentId, Mark)>> {
        let mut found = Vec::new();
        for path in segments(&self.ledger)? {
            let Some(id) = segment_of(&path).filter(|id| Some(*id) != self.own()) else {
                continue;
            };
            let live = match File::open(&path) {
                Ok(file) => is_live(&file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if live {
                continue;
            }
            if let Some(looked) = look(&path, Kind::Ledger)? {
                found.push((id, looked.mark));
            }
        }
        Ok(found)
    }

    /// Tells what is not told in this segment already.
    fn tell_of(&mut self, others: &[(SegmentId, Mark)]) {
        for (segment, mark) in others {
            if self.seen.insert(*segment, *mark) != Some(*mark) {
                let (segment, mark) = (*segment, *mark);
                self.tell(&Entry::Sees { segment, mark });
            }
        }
    }
}

/// A segment that can be continued.
struct Found {
    segment: Segment,
    seen: HashMap<SegmentId, Mark>,
    torn: u64,
}

/// Takes a segment that nobody writes, that has room, and is by the same key. What else is there is
/// left as it is, damage too: that is for `sessions verify` to name.
fn take_up(path: &Path, writing: &mut Writing) -> io::Result<Option<Found>> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    if is_live(&file) {
        return Ok(None);
    }
    if look(path, Kind::Ledger)?
        .is_none_or(|looked| looked.last || looked.mark.bytes >= writing.segment_bytes)
        || lock(&file).is_err()
    {
        return Ok(None);
    }
    let own = writing.key.public().fingerprint();
    let (mut seen, mut ours) = (HashMap::new(), false);
    let (stretch, chain) =
        follow(
            path,
            BufReader::new(&file),
            false,
            None,
            &mut |_, entry| match entry {
                Entry::Opened { key, .. } => ours = key == own,
                Entry::Sees { segment, mark } => {
                    seen.insert(segment, mark);
                }
                _ => {}
            },
        )?;
    let torn = match stretch.end {
        StretchEnd::Stopped | StretchEnd::Open | StretchEnd::Live => 0,
        StretchEnd::Torn { bytes } => bytes,
        StretchEnd::Rolled => return Ok(None),
        StretchEnd::Damaged(damage) => {
            tracing::error!(segment = %stretch.segment, %damage, "the ledger is damaged");
            return Ok(None);
        }
    };
    let Some(chain) = chain.filter(|_| ours) else {
        return Ok(None);
    };
    if torn > 0 {
        file.set_len(chain.offset())?;
    }
    let segment = Segment::resume(stretch.segment, (writing.make)(file), chain);
    Ok(Some(Found {
        segment,
        seen,
        torn,
    }))
}

fn push(lines: &mut Vec<u8>, entry: &Entry) {
    // An entry holds numbers and texts: it is always JSON.
    if let Ok(line) = serde_json::to_vec(entry) {
        lines.extend_from_slice(&line);
        lines.push(b'\n');
    }
}

fn clock_line(at: crate::model::UnixMillis) -> Vec<u8> {
    let mut line = Vec::new();
    let boot = clock::since_boot();
    push(&mut line, &Entry::Clock { at, boot });
    line
}

/// As many whole lines as go into one block, and how many they are.
fn cut(pending: &[u8]) -> (&[u8], u64) {
    let whole = pending.len() <= BLOCK;
    let end = if whole {
        pending.len()
    } else {
        let within = pending.get(..BLOCK).unwrap_or(pending);
        memchr::memrchr(b'\n', within).map_or(pending.len(), |at| at + 1)
    };
    let lines = pending.get(..end).unwrap_or(pending);
    let entries = lines.iter().filter(|byte| **byte == b'\n').count() as u64;
    (lines, entries)
}
