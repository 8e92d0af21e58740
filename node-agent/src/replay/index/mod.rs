//! IO. What recordings came to, kept beside them, so that a listing need not read them all again.
//!
//! Only a cache: what is kept of a file holds while its inode, size and both its times are those it
//! had. Whatever is wrong with the index (missing, damaged, cut, of another version, locked, not
//! writable) costs time, never an answer. It proves nothing: `sessions verify` reads the recordings.
//!
//! Nobody waits for it: it is read without a lock, added to only if nobody else is at it, and
//! replaced as a whole.

mod file;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde::{Deserialize, Serialize};

use super::entry::Entry;
use super::filter::Filter;
use super::{ReplayError, all, find};
use crate::record::Identities;
use crate::record::ledger::{Ledgered, ledger_dir, read_segment, segments};

/// What a file must still be for what is kept of it to hold. A file's contents cannot be changed
/// without a new change time but by who can set the host's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: i128,
    changed: i128,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let about = fs::metadata(path).ok()?;
        let nanos =
            |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Some(Stamp {
            inode: about.ino(),
            size: about.len(),
            modified: nanos(about.mtime(), about.mtime_nsec()),
            changed: nanos(about.ctime(), about.ctime_nsec()),
        })
    }
}

/// What is kept of one recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    stamp: Stamp,
    entry: Entry,
}

/// How much of what was asked for was known already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// Recordings that were known.
    pub known: usize,
    /// Recordings that were read.
    pub read: usize,
    /// Recordings that are sealed, and were not opened.
    pub unopened: usize,
    /// Files that cannot be read as recordings.
    pub unreadable: usize,
}

/// Every session of a directory with its recording, by its beginning; those that fit the filter.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// Sessions and their recordings.
    pub entries: Vec<(PathBuf, Entry)>,
    /// How it was come by.
    pub coverage: Coverage,
}

/// Whether what is kept may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// As long as the files are what they were.
    Unchanged,
    /// No: read every recording, and keep what is found.
    Nothing,
}

/// The sessions of a directory that fit. What is no recording, or vanished meanwhile, is left out;
/// `verify` names it. `progress` is told how many of how many recordings have been read.
pub fn catalogue(
    dir: &Path,
    identities: &Identities,
    filter: &Filter,
    trust: Trust,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Catalogue, ReplayError> {
    let mut index = match trust {
        Trust::Unchanged => file::Index::read(dir),
        Trust::Nothing => file::Index::none(dir),
    };
    let paths = all(dir)?;
    let mut found = Catalogue::default();
    let mut unknown = Vec::new();
    let mut workloads = None;
    for path in paths {
        let name = name_of(&path);
        match index
            .get(name)
            .filter(|kept| Stamp::of(&path) == Some(kept.stamp))
        {
            Some(kept) => {
                let entry = kept.entry.clone();
                found.entries.push((path, entry));
            }
            None => unknown.push(path),
        }
    }
    found.coverage.known = found.entries.len();
    let read = read(&unknown, identities, progress);
    for (path, kept) in unknown.into_iter().zip(read) {
        let Some((stamp, mut entry)) = kept else {
            found.coverage.unreadable += 1;
            continue;
        };
        found.coverage.read += 1;
        if entry.unopened {
            found.coverage.unopened += 1;
            if entry.workload.is_empty() {
                let names = workloads.get_or_insert_with(|| names_in_ledger(dir));
                if let Some(name) = names.workload(entry.session) {
                    entry.workload = name.to_string();
                }
            }
        }
        // What is open changes with its next block. Of what is sealed nothing is kept in clear.
        let keeps = !entry.live && entry.sealed_to.is_empty();
        if let Some(stamp) = stamp.filter(|_| keeps) {
            index.add(
                name_of(&path),
                Kept {
                    stamp,
                    entry: entry.clone(),
                },
            );
        }
        found.entries.push((path, entry));
    }
    let names: HashMap<&str, ()> = found
        .entries
        .iter()
        .map(|(path, _)| (name_of(path), ()))
        .collect();
    index.write(|name| names.contains_key(name));
    found.entries.retain(|(_, entry)| filter.session(entry));
    found
        .entries
        .sort_by_key(|(_, entry)| (entry.began, entry.session));
    Ok(found)
}

/// Whose sessions the ledger says they are. Nothing is verified: `verify` does.
fn names_in_ledger(dir: &Path) -> Ledgered {
    let mut known = Ledgered::default();
    for path in segments(&ledger_dir(dir)).unwrap_or_default() {
        // A segment that cannot be read names nobody.
        let _ = read_segment(&path, None, &mut |place, entry| known.take(place, entry));
    }
    known
}

fn name_of(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("")
}

type Read = Option<(Option<Stamp>, Entry)>;

/// Reads recordings, with all cores. A stamp that changed meanwhile is none.
fn read(
    paths: &[PathBuf],
    identities: &Identities,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Vec<Read> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut read = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(path) = paths.get(at) else {
                return read;
            };
            progress(at, paths.len());
            read.push((at, one(path, identities)));
        }
    };
    let cores = super::cores().min(paths.len());
    let mut all: Vec<Read> = Vec::new();
    all.resize_with(paths.len(), || None);
    let mut take = |read: Vec<(usize, Read)>| {
        for (at, entry) in read {
            if let Some(place) = all.get_mut(at) {
                *place = entry;
            }
        }
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..cores).map(|_| scope.spawn(work)).collect();
        take(work());
        for other in others {
            // What a thread that failed had read is read as unreadable.
            take(other.join().unwrap_or_default());
        }
    });
    all
}

fn one(path: &Path, identities: &Identities) -> Read {
    let before = Stamp::of(path)?;
    let entry = Entry::of(path, identities).ok()?;
    let after = Stamp::of(path);
    Some((after.filter(|after| *after == before), entry))
}

/// The recordings of a directory by their headers' moments, without reading more of them.
pub fn by_header(dir: &Path) -> Result<Vec<PathBuf>, ReplayError> {
    let mut paths: Vec<_> = all(dir)?
        .into_iter()
        .map(|path| {
            (
                super::raw::Raw::open(&path, &Identities::none())
                    .ok()
                    .map(|raw| raw.header().began),
                path,
            )
        })
        .collect();
    paths.sort_by_key(|(began, path)| (*began, find::session_of(path).map(|id| id.0)));
    Ok(paths.into_iter().map(|(_, path)| path).collect())
}

#[cfg(test)]
mod tests;
