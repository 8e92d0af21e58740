//! IO. Old recordings make room. Live ones never go, and each that goes leaves a tombstone.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::chain::Kind;
use super::copies::{Copied, Copies, Stamp};
use super::ledger::{
    Archived, By, Entry, Ledger, Ledgered, NodeKey, Rule, Writing, ledger_dir, look, read_segment,
    retire, segments,
};
use super::shelf::{is_live, session_of};
use super::{Began, Blocks, Decoder, Event, Identities, Step};
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
    /// Where there is an archive.
    pub archive: Option<KeepArchived>,
}

/// What may stay where there is an archive. What lies there goes first. What does not stays beyond
/// its age; it makes room only when `max_bytes` or a quota is reached, or the disk is nearly full
/// and it is too old besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepArchived {
    /// Not what lies in the archive and ended longer ago than this.
    pub local: Option<Duration>,
}

impl Keep {
    /// What the configuration lets stay.
    pub fn by(recording: &Recording) -> Keep {
        Keep {
            max_age: recording.retention,
            max_bytes: recording.max_bytes,
            workload_max_bytes: recording.workload_max_bytes,
            archive: recording.archive.as_ref().map(|archive| KeepArchived {
                local: archive.keep_local,
            }),
        }
    }

    /// The shortest time after which a recording may go for its age.
    fn shortest(&self) -> Option<Duration> {
        let local = self.archive.and_then(|archive| archive.local);
        self.max_age.into_iter().chain(local).min()
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
    stamp: Stamp,
    /// In the archive.
    copied: Option<Copied>,
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
    let wanting = match keep.archive {
        Some(_) => wanting_room(dir)?,
        None => 0,
    };
    prune_wanting(dir, keep, wanting, now, tombstones)
}

/// As `prune`, where the file system lacks so many bytes: for an archive's sake alone.
pub(crate) fn prune_wanting(
    dir: &Path,
    keep: Keep,
    mut wanting: u64,
    now: UnixMillis,
    tombstones: Option<&Tombstones>,
) -> io::Result<Pruned> {
    let mut all = lying(dir)?;
    if keep.archive.is_some() {
        name_copies(dir, &mut all)?;
    }
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
    let known = match keep.shortest() {
        Some(max) if all.iter().any(|one| age(one.changed, now) > max) => hear(dir)?,
        Some(_) | None => Ledgered::default(),
    };
    let mut going = Vec::new();
    for one in all {
        let older = |max| {
            age(one.changed, now) > max
                && told_before(&known, one.session, now, max)
                && settled_before(&one.path, now, max)
        };
        let old = |max: Option<Duration>| max.is_some_and(older);
        let of_its_workload = one.workload.as_ref().and_then(|w| of_workload.get_mut(w));
        let much = |max: Option<u64>, bytes: u64| max.is_some_and(|max| bytes > max);
        let may_age = keep.archive.is_none() || one.copied.is_some() || wanting > 0;
        let rule = if may_age && old(keep.max_age) {
            Rule::Age
        } else if one.copied.is_some() && old(keep.archive.and_then(|archive| archive.local)) {
            Rule::Archive
        } else if one.copied.is_some() && wanting > 0 {
            Rule::Space
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
        wanting = wanting.saturating_sub(one.bytes);
        going.push((one, rule));
    }
    if let Some(tombstones) = tombstones.filter(|_| !going.is_empty()) {
        bury(dir, &going, keep.archive.is_some(), tombstones)?;
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

fn age(moment: i64, now: UnixMillis) -> Duration {
    Duration::from_millis(now.0.saturating_sub(moment).max(0).unsigned_abs())
}

/// Whether the ledger has not spoken of it since, either. Whoever may write a recording can put an
/// earlier time into its last block, too; into the ledger he cannot without being found.
fn told_before(
    known: &Ledgered,
    session: Option<SessionId>,
    now: UnixMillis,
    max: Duration,
) -> bool {
    let known = session.and_then(|session| known.sessions.get(&session));
    let told = known.and_then(|known| known.told_at);
    told.is_none_or(|at| age(at.0, now) > max)
}

/// Whether its last block is older than this, too: whoever may touch a file sets its time as he likes,
/// and a tombstone must not vouch for that.
fn settled_before(path: &Path, now: UnixMillis, max: Duration) -> bool {
    match look(path, Kind::Recording) {
        Ok(Some(looked)) => looked.at.is_none_or(|at| age(at.0, now) > max),
        // It has no block. What cannot be read is told where it is removed.
        Ok(None) | Err(_) => true,
    }
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
        all.push(Lying {
            changed,
            bytes: about.len(),
            session: session_of(&path),
            path,
            workload: None,
            stamp: Stamp::of(&about),
            copied: None,
        });
    }
    all.sort_by(|a, b| (a.changed, a.bytes, &a.path).cmp(&(b.changed, b.bytes, &b.path)));
    Ok(all)
}

/// The tombstones of all that goes, in one go, before the first of them goes: what is gone without
/// one was deleted.
fn bury(
    dir: &Path,
    going: &[(Lying, Rule)],
    has_archive: bool,
    tombstones: &Tombstones,
) -> io::Result<()> {
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
            archived: has_archive.then(|| match &one.copied {
                Some(copied) => Archived::Copy {
                    at: copied.at,
                    object: Arc::clone(&copied.object),
                },
                None => Archived::Not,
            }),
        });
    }
    ledger.flush()?;
    retire(dir, &mut ledger)?;
    ledger.stop()
}

/// Which of them lie in the archive: those come first, whatever rule asks for room.
fn name_copies(dir: &Path, all: &mut [Lying]) -> io::Result<()> {
    let copies = Copies::read(dir)?;
    for one in all.iter_mut() {
        one.copied = one
            .session
            .and_then(|session| copies.of(session, one.stamp))
            .cloned();
    }
    all.sort_by_key(|one| one.copied.is_none()); // stable: the oldest first among each
    Ok(())
}

/// How many bytes the file system lacks of one in twenty that should be free.
fn wanting_room(dir: &Path) -> io::Result<u64> {
    let about = rustix::fs::fstatvfs(&File::open(dir)?)?;
    let wanted = about.f_blocks / 20;
    Ok(wanted
        .saturating_sub(about.f_bavail)
        .saturating_mul(about.f_frsize))
}

/// What the ledger says; that nobody changed it is for `sessions verify` to find.
fn hear(dir: &Path) -> io::Result<Ledgered> {
    let mut known = Ledgered::default();
    for path in segments(&ledger_dir(dir))? {
        read_segment(&path, None, &mut |place, entry| known.take(place, entry))?;
    }
    Ok(known)
}

/// Whose recordings they are: by the ledger, and where that does not know by their first block.
fn name_workloads(dir: &Path, all: &mut [Lying]) -> io::Result<()> {
    let known = hear(dir)?;
    for one in all {
        one.workload = one
            .session
            .and_then(|session| known.workload(session).cloned())
            .or_else(|| Some(beginning(&one.path)?.workload.name));
    }
    Ok(())
}

/// What a recording says of its beginning.
pub(super) fn beginning(path: &Path) -> Option<Box<Began>> {
    let file = File::open(path).ok()?;
    let mut blocks = Blocks::open(io::BufReader::new(file), Identities::none()).ok()?;
    let Ok(Step::Block(_, lines)) = blocks.next() else {
        return None;
    };
    let first = lines.split(|byte| *byte == b'\n').next()?;
    match Decoder::default().read(first) {
        Event::Began(began) => Some(began),
        _ => None,
    }
}
