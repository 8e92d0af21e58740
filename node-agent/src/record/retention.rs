//! IO. Old recordings make room. Live ones never go.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::shelf::is_live;
use crate::model::UnixMillis;

/// What may stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Not what ended longer ago than this.
    pub max_age: Option<Duration>,
    /// Not more than this in all, bytes; the oldest go first.
    pub max_bytes: Option<u64>,
}

/// What went, and what is left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The recordings that were removed, oldest first.
    pub removed: Vec<PathBuf>,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that are left, live ones included.
    pub left: u64,
}

/// Removes closed recordings that are too old or too much, oldest first by their last change.
pub fn prune(dir: &Path, keep: Keep, now: UnixMillis) -> io::Result<Pruned> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        let about = match entry.metadata() {
            Ok(about) if about.is_file() && path.extension().is_some_and(|e| e == "rec") => about,
            Ok(_) => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let changed = about
            .modified()?
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        all.push((changed, about.len(), path));
    }
    all.sort();
    let mut pruned = Pruned { left: all.iter().map(|(_, bytes, _)| bytes).sum(), ..Pruned::default() };
    for (changed, bytes, path) in all {
        let age = Duration::from_millis(now.0.saturating_sub(changed).max(0).unsigned_abs());
        let old = keep.max_age.is_some_and(|max| age > max);
        let much = keep.max_bytes.is_some_and(|max| pruned.left > max);
        if !(old || much) || File::open(&path).map_or(true, |file| is_live(&file)) {
            continue;
        }
        fs::remove_file(&path)?;
        pruned.left -= bytes;
        pruned.bytes += bytes;
        pruned.removed.push(path);
    }
    Ok(pruned)
}
