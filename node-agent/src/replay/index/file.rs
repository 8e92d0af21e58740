//! IO. The index's file: a line that says what it is, then what is kept of recordings, one after the
//! other, each with a checksum. A later one stands for an earlier one of the same name.
//!
//! ```text
//! entry  length u32 · check 16 (BLAKE3 of the payload) · payload (JSON: name, stamp, entry)
//! ```

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use serde::{Deserialize, Serialize};

use super::Kept;

/// The file's name, beside the recordings.
const NAME: &str = "sessions.index";
/// What it begins with. Another number: another layout, or entries that mean something else.
const MAGIC: &[u8] = b"node-agent sessions index 1\n";
/// A larger file is no index.
const LARGEST: u64 = 1 << 30;
/// A larger entry is damage.
const LARGEST_ENTRY: usize = 16 << 20;

#[derive(Serialize, Deserialize)]
struct Line<N, K> {
    name: N,
    kept: K,
}

/// What is kept, and what is new.
pub(super) struct Index {
    path: PathBuf,
    kept: HashMap<String, Kept>,
    /// Bytes of the file, if all of them could be read.
    whole: Option<u64>,
    /// Entries in the file, superseded ones too.
    written: usize,
    fresh: Vec<String>,
}

impl Index {
    /// Knows nothing, and replaces what is there.
    pub(super) fn none(dir: &Path) -> Self {
        Index {
            path: dir.join(NAME),
            kept: HashMap::new(),
            whole: None,
            written: 0,
            fresh: Vec::new(),
        }
    }

    /// What is there, as far as it can be read.
    pub(super) fn read(dir: &Path) -> Self {
        let mut index = Index::none(dir);
        let Some(bytes) = bytes(&index.path) else {
            return index;
        };
        let Some(mut rest) = bytes.strip_prefix(MAGIC) else {
            return index;
        };
        while let Some((line, after)) = entry(rest) {
            index.kept.insert(line.name, line.kept);
            index.written += 1;
            rest = after;
        }
        if rest.is_empty() {
            index.whole = Some(bytes.len() as u64);
        }
        index
    }

    pub(super) fn get(&self, name: &str) -> Option<&Kept> {
        self.kept.get(name)
    }

    pub(super) fn add(&mut self, name: &str, kept: Kept) {
        self.kept.insert(name.to_owned(), kept);
        self.fresh.push(name.to_owned());
    }

    /// Writes what is new, or all anew where much of the file is damaged or no longer true. Does nothing
    /// when another is writing, or when it cannot.
    pub(super) fn write(mut self, exists: impl Fn(&str) -> bool) {
        self.kept.retain(|name, _| exists(name));
        let stale = (self.written + self.fresh.len()).saturating_sub(self.kept.len());
        let done = match self.whole {
            Some(_) if stale > 100 + self.kept.len() => self.replace(),
            Some(_) if self.fresh.is_empty() => Ok(()),
            Some(length) => self.append(length),
            None => self.replace(),
        };
        if let Err(error) = done {
            tracing::debug!(%error, "the index of sessions was not written");
        }
    }

    fn append(&self, length: u64) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .append(true)
            .custom_flags(nofollow())
            .open(&self.path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let (mine, theirs) = (file.metadata()?, fs::metadata(&self.path)?);
        // Shorter: replaced by another, who has read the recordings as well.
        if mine.ino() != theirs.ino() || mine.len() < length {
            return Ok(());
        }
        let mut out = Vec::new();
        for name in &self.fresh {
            if let Some(kept) = self.kept.get(name) {
                put(name, kept, &mut out)?;
            }
        }
        file.write_all(&out)
    }

    /// By another file, moved into its place: who reads the old one reads it to its end.
    fn replace(&self) -> io::Result<()> {
        let beside = self
            .path
            .with_extension(format!("index.{}", std::process::id()));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(nofollow())
            .open(&beside)?;
        let mut write = || {
            let mut out = MAGIC.to_vec();
            for (name, kept) in &self.kept {
                put(name, kept, &mut out)?;
                if out.len() > 1 << 20 {
                    file.write_all(&out)?;
                    out.clear();
                }
            }
            file.write_all(&out)?;
            fs::rename(&beside, &self.path)
        };
        write().inspect_err(|_| {
            let _ = fs::remove_file(&beside); // or it would lie there for ever
        })
    }
}

fn nofollow() -> i32 {
    // The bits are few and positive.
    i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0)
}

fn bytes(path: &Path) -> Option<Vec<u8>> {
    let file: File = OpenOptions::new()
        .read(true)
        .custom_flags(nofollow())
        .open(path)
        .ok()?;
    let about = file.metadata().ok()?;
    if !about.is_file() || about.len() > LARGEST {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn check(payload: &[u8]) -> [u8; 16] {
    let hash = blake3::hash(payload);
    hash.as_bytes().first_chunk().copied().unwrap_or_default()
}

fn put(name: &str, kept: &Kept, out: &mut Vec<u8>) -> io::Result<()> {
    let payload = serde_json::to_vec(&Line { name, kept })?;
    let Ok(length) = u32::try_from(payload.len()) else {
        return Ok(()); // read again each time, then
    };
    if payload.len() > LARGEST_ENTRY {
        return Ok(());
    }
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&check(&payload));
    out.extend_from_slice(&payload);
    Ok(())
}

/// The next entry and what follows it.
fn entry(bytes: &[u8]) -> Option<(Line<String, Kept>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > LARGEST_ENTRY {
        return None;
    }
    let (sum, rest) = rest.split_first_chunk::<16>()?;
    let (payload, rest) = rest.split_at_checked(length)?;
    if *sum != check(payload) {
        return None;
    }
    Some((serde_json::from_slice(payload).ok()?, rest))
}
