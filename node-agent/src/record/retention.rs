//! IO. Old recordings make room. Live ones never go, and each that goes leaves a tombstone.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::chain::Kind;
use super::ledger::{
    By, Entry, Ledger, Ledgered, NodeKey, Rule, Writing, ledger_dir, look, read_segment, retire,
    segments,
};
use super::shelf::is_live;
use super::{Blocks, Decoder, Event, Identities, Step};
use crate::config::Recording;
use crate::model::{SessionId, UnixMillis};

/// What may stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Not what ended longer ago than this.
    pub max_age: Option<Duration>,
    /// Not more than this in all, bytes; the oldest go first.
    pub max_bytes: Option<u64>,
    /// Not more than this of one workload, bytes; its oldest go first.
    pub workload_max_bytes: Option<u64>,
}

impl Keep {
    /// What the configuration lets stay.
    pub fn by(recording: &Recording) -> Keep {
        Keep {
            max_age: recording.retention,
            max_bytes: recording.max_bytes,
            workload_max_bytes: recording.workload_max_bytes,
        }
    }

    /// Everything may stay.
    pub fn all(&self) -> bool {
        *self == Keep::default()
    }
}

/// Who removes, and what signs the tombstones.
#[derive(Clone, Debug)]
pub struct Tombstones {
    /// The node's key.
    pub key: Arc<NodeKey>,
    /// Who.
    pub by: By,
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

/// One recording.
struct Lying {
    changed: i64,
    bytes: u64,
    path: PathBuf,
    session: Option<SessionId>,
    /// Where there is a quota.
    workload: Option<Arc<str>>,
}

/// Removes closed recordings that are too old or too much, oldest first by their last change.
/// Without `tombstones` nothing is told of it, and `sessions verify` will say that they were deleted.
///
/// # Errors
/// A directory cannot be read, a tombstone not written, a file not removed.
pub fn prune(
    dir: &Path,
    keep: Keep,
    now: UnixMillis,
    tombstones: Option<&Tombstones>,
) -> io::Result<Pruned> {
    let mut all = lying(dir)?;
    let mut of_workload: HashMap<Arc<str>, u64> = HashMap::new();
    let whole: u64 = all.iter().map(|one| one.bytes).sum();
    // As long as all together take less, one of them does not take more.
    if keep.workload_max_bytes.is_some_and(|max| whole > max) {
        name_workloads(dir, &mut all)?;
        for one in &all {
            if let Some(workload) = &one.workload {
                *of_workload.entry(Arc::clone(workload)).or_default() += one.bytes;
            }
        }
    }
    let mut pruned = Pruned {
        left: whole,
        ..Pruned::default()
    };
    let mut going = Vec::new();
    for one in all {
        let age = Duration::from_millis(now.0.saturating_sub(one.changed).max(0).unsigned_abs());
        let of_its_workload = one.workload.as_ref().and_then(|w| of_workload.get_mut(w));
        let much = |max: Option<u64>, bytes: u64| max.is_some_and(|max| bytes > max);
        let rule = if keep.max_age.is_some_and(|max| age > max) {
            Rule::Age
        } else if much(keep.max_bytes, pruned.left) {
            Rule::Size
        } else if of_its_workload
            .as_ref()
            .is_some_and(|bytes| much(keep.workload_max_bytes, **bytes))
        {
            Rule::Quota
        } else {
            continue;
        };
        if File::open(&one.path).map_or(true, |file| is_live(&file)) {
            continue;
        }
        if let Some(bytes) = of_its_workload {
            *bytes = bytes.saturating_sub(one.bytes);
        }
        pruned.left -= one.bytes;
        going.push((one, rule));
    }
    if let Some(tombstones) = tombstones.filter(|_| !going.is_empty()) {
        bury(dir, &going, tombstones)?;
    }
    for (one, _) in going {
        match fs::remove_file(&one.path) {
            Ok(()) => {
                pruned.bytes += one.bytes;
                pruned.removed.push(one.path);
            }
            // Another one was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(pruned)
}

/// All recordings, oldest first.
fn lying(dir: &Path) -> io::Result<Vec<Lying>> {
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
            .map_or(0, |since| {
                i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
            });
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        all.push(Lying {
            changed,
            bytes: about.len(),
            session: stem.and_then(|stem| stem.parse().ok()),
            path,
            workload: None,
        });
    }
    all.sort_by(|a, b| (a.changed, a.bytes, &a.path).cmp(&(b.changed, b.bytes, &b.path)));
    Ok(all)
}

/// The tombstones of all that goes, in one go, before the first of them goes: what is gone without
/// one was deleted.
fn bury(dir: &Path, going: &[(Lying, Rule)], tombstones: &Tombstones) -> io::Result<()> {
    let Tombstones { key, by } = tombstones;
    let mut ledger = Ledger::open(Writing::new(dir, Arc::clone(key), *by))?;
    for (one, rule) in going {
        let Some(session) = one.session else { continue };
        let looked = match look(&one.path, Kind::Recording) {
            Ok(looked) => looked,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        ledger.tell(&Entry::Pruned {
            session,
            rule: *rule,
            by: *by,
            last: looked.map(|looked| looked.mark),
        });
    }
    ledger.flush()?;
    retire(dir, &mut ledger)?;
    ledger.stop()
}

/// Whose recordings they are: by the ledger, and where that does not know by their first block.
fn name_workloads(dir: &Path, all: &mut [Lying]) -> io::Result<()> {
    let mut known = Ledgered::default();
    for path in segments(&ledger_dir(dir))? {
        read_segment(&path, None, &mut |place, entry| known.take(place, entry))?;
    }
    for one in all {
        one.workload = one
            .session
            .and_then(|session| known.workload(session).cloned())
            .or_else(|| first_said(&one.path));
    }
    Ok(())
}

fn first_said(path: &Path) -> Option<Arc<str>> {
    let file = File::open(path).ok()?;
    let mut blocks = Blocks::open(io::BufReader::new(file), Identities::none()).ok()?;
    let Ok(Step::Block(_, lines)) = blocks.next() else {
        return None;
    };
    let first = lines.split(|byte| *byte == b'\n').next()?;
    match Decoder::default().read(first) {
        Event::Began(began) => Some(Arc::clone(&began.workload.name)),
        _ => None,
    }
}
