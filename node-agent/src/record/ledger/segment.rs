//! IO. One segment of the ledger while it is written.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use super::entry::{Mark, Seat, SegmentId};
use super::key::NodeKey;
use crate::clock;
use crate::model::{SessionId, UnixMillis};
use crate::record::chain::{Chain, Header, Kind};
use crate::record::shelf::{Volume, lock};

/// zstd's fast end, as for recordings.
const LEVEL: i32 = 1;

/// Where the ledger of a directory of recordings lies.
pub fn ledger_dir(dir: &Path) -> PathBuf {
    dir.join("ledger")
}

/// The path of a segment in the directory of a ledger.
pub fn segment_path(ledger: &Path, segment: SegmentId) -> PathBuf {
    ledger.join(format!("{segment}.led"))
}

/// What a ledger takes on disk. What cannot be read counts as nothing: this is for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::record) struct Extent {
    pub(in crate::record) bytes: u64,
    pub(in crate::record) segments: u64,
    /// Since the last block, every one of which is signed, was written.
    pub(in crate::record) signed_seconds: u64,
}

/// The extent of the ledger of a directory of recordings.
pub(in crate::record) fn extent(dir: &Path) -> Extent {
    let mut extent = Extent::default();
    let mut youngest = None;
    for path in super::read::segments(&ledger_dir(dir)).unwrap_or_default() {
        let Ok(about) = fs::metadata(&path) else {
            continue;
        };
        extent.bytes += about.len();
        extent.segments += 1;
        youngest = youngest.max(about.modified().ok());
    }
    // A clock that was set back makes it young.
    let age = youngest.and_then(|written| written.elapsed().ok());
    extent.signed_seconds = age.map_or(0, |age| age.as_secs());
    extent
}

/// The segment that a file name stands for.
pub(super) fn segment_of(path: &Path) -> Option<SegmentId> {
    path.file_name()?
        .to_str()?
        .strip_suffix(".led")?
        .parse()
        .ok()
}

/// A segment with its end in hand.
pub(super) struct Segment {
    pub(super) id: SegmentId,
    volume: Box<dyn Volume>,
    chain: Chain,
    /// Sealed and not yet on disk, and where it goes.
    sealed: Vec<u8>,
    offset: u64,
}

impl Segment {
    /// A new one, with nothing on disk yet but its name.
    pub(super) fn create(
        ledger: &Path,
        make: &mut dyn FnMut(File) -> Box<dyn Volume>,
    ) -> io::Result<Segment> {
        make_dir(ledger)?;
        let mut bytes = [0; 8];
        aws_lc_rs::rand::fill(&mut bytes)
            .map_err(|_| io::Error::other("the system gives no randomness"))?;
        let id = SegmentId(u64::from_le_bytes(bytes));
        let path = segment_path(ledger, id);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let ready = lock(&file).and_then(|()| give_to_owner(&file, ledger));
        if let Err(error) = ready {
            let _ = fs::remove_file(&path); // empty, and nobody's
            return Err(error);
        }
        let header = Header {
            session: SessionId(id.0),
            began: clock::now(),
        };
        let (chain, bytes) = Chain::create_as(Kind::Ledger, header);
        Ok(Segment {
            id,
            volume: make(file),
            chain,
            sealed: bytes.to_vec(),
            offset: 0,
        })
    }

    /// One that was read to its end, to be continued there. Its file is locked by the caller.
    pub(super) fn resume(id: SegmentId, volume: Box<dyn Volume>, chain: Chain) -> Segment {
        let offset = chain.offset();
        Segment {
            id,
            volume,
            chain,
            sealed: Vec::new(),
            offset,
        }
    }

    /// Its head, with what is sealed.
    pub(super) fn mark(&self) -> Mark {
        Mark::of(&self.chain)
    }

    /// Nothing more goes into it.
    pub(super) fn ended(&self) -> bool {
        self.chain.ended()
    }

    /// Seals lines into a block. Only when nothing is waiting to be written but a header.
    pub(super) fn seal(
        &mut self,
        key: &NodeKey,
        lines: &[u8],
        at: UnixMillis,
        last: bool,
    ) -> io::Result<()> {
        let seat = Seat {
            previous: *self.chain.hash(),
            number: self.chain.blocks(),
            at,
            last,
        };
        let signed = seat.sign(key, lines);
        let packed = zstd::bulk::compress(&signed, LEVEL)?;
        self.chain
            .seal(&packed, signed.len(), at, last, &mut self.sealed);
        Ok(())
    }

    /// Writes what is sealed; after an error the same bytes are written there again.
    pub(super) fn write(&mut self) -> io::Result<()> {
        if self.sealed.is_empty() {
            return Ok(());
        }
        self.volume.write_at(&self.sealed, self.offset)?;
        self.offset += self.sealed.len() as u64;
        self.sealed = Vec::new();
        Ok(())
    }

    /// Something is sealed and not on disk.
    pub(super) fn waits(&self) -> bool {
        !self.sealed.is_empty()
    }

    /// Brings it to the disk, soon and elsewhere.
    pub(super) fn settle(&self) {
        self.volume.settle();
    }

    pub(super) fn close(self) {
        self.volume.close();
    }
}

/// Makes the ledger's directory, for its owner only.
fn make_dir(ledger: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(ledger) {
        Ok(()) => {
            let dir = File::open(ledger)?;
            give_to_owner(&dir, ledger.parent().unwrap_or(ledger))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// A command of root must not leave what the agent, which is not root, cannot go on with.
pub(in crate::record) fn give_to_owner(file: &File, directory: &Path) -> io::Result<()> {
    let (wanted, about) = (fs::metadata(directory)?, file.metadata()?);
    if (wanted.uid(), wanted.gid()) == (about.uid(), about.gid()) {
        return Ok(());
    }
    if rustix::process::geteuid().is_root() {
        fchown(file, Some(wanted.uid()), Some(wanted.gid()))?;
    }
    Ok(())
}
