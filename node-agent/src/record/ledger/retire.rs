//! IO. Old segments make room, once no recording is left of the sessions that they tell of.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::entry::{Entry, Mark, SegmentId};
use super::read::{StretchEnd, read_segment, segments};
use super::segment::ledger_dir;
use super::write::Ledger;
use crate::model::SessionId;

/// A ledger below this stays whole, tombstones and all.
const KEEP: u64 = 64 << 20;

/// What a segment is needed for.
struct Holds {
    path: PathBuf,
    mark: Mark,
    bytes: u64,
    free: bool,
    /// Sessions that it tells of, other than that they were removed.
    tells: HashSet<SessionId>,
    /// Sessions that it has the tombstones of.
    buries: HashSet<SessionId>,
    /// Segments that it has seen, and those whose tombstones it has.
    sees: HashSet<SegmentId>,
    retires: HashSet<SegmentId>,
}

/// Removes what the ledger does not need any more, until it takes no more than it may; each leaves
/// a tombstone in `by`. A tombstone goes when nothing is left that speaks of what it stands for.
///
/// # Errors
/// The disk's.
pub(in crate::record) fn retire(dir: &Path, by: &mut Ledger) -> io::Result<usize> {
    retire_above(dir, by, KEEP)
}

pub(super) fn retire_above(dir: &Path, by: &mut Ledger, keep: u64) -> io::Result<usize> {
    let ledger = ledger_dir(dir);
    let mut bytes = 0;
    for path in segments(&ledger)? {
        bytes += fs::metadata(&path)?.len();
    }
    if bytes <= keep {
        return Ok(0);
    }
    let mut all = holdings(&ledger, by.own())?;
    let mut retired = 0;
    while bytes > keep {
        let Some(id) = needless(&all) else { break };
        let Some(gone) = all.remove(&id) else { break };
        by.tell(&Entry::Retired {
            segment: id,
            mark: gone.mark,
        });
        // The tombstone first: what is gone without one was deleted.
        by.flush()?;
        fs::remove_file(&gone.path)?;
        bytes = bytes.saturating_sub(gone.bytes);
        retired += 1;
    }
    Ok(retired)
}

fn holdings(ledger: &Path, own: Option<SegmentId>) -> io::Result<BTreeMap<SegmentId, Holds>> {
    let mut all = BTreeMap::new();
    for path in segments(ledger)? {
        let mut holds = Holds {
            bytes: fs::metadata(&path)?.len(),
            path,
            mark: Mark {
                blocks: 0,
                bytes: 0,
                hash: super::entry::Sum([0; 32]),
            },
            free: false,
            tells: HashSet::new(),
            buries: HashSet::new(),
            sees: HashSet::new(),
            retires: HashSet::new(),
        };
        let path = holds.path.clone();
        let stretch = read_segment(&path, None, &mut |_, entry| match entry {
            Entry::Began { session, .. }
            | Entry::Head { session, .. }
            | Entry::Closed { session, .. }
            | Entry::GivenUp { session, .. }
            | Entry::Recovered { session, .. } => {
                holds.tells.insert(session);
            }
            Entry::Pruned { session, .. } => {
                holds.buries.insert(session);
            }
            Entry::Sees { segment, .. } => {
                holds.sees.insert(segment);
            }
            Entry::Retired { segment, .. } => {
                holds.retires.insert(segment);
            }
            Entry::Opened { .. }
            | Entry::Started { .. }
            | Entry::Clock { .. }
            | Entry::Approval { .. }
            | Entry::Written
            | Entry::Rolled
            | Entry::Stopped
            | Entry::Unknown => {}
        })?;
        // Only what was ended in order. What is damaged, or was left by a killed writer, is evidence.
        holds.free = matches!(stretch.end, StretchEnd::Rolled | StretchEnd::Stopped)
            && Some(stretch.segment) != own;
        holds.mark = stretch.mark;
        all.insert(stretch.segment, holds);
    }
    Ok(all)
}

/// A segment without which the others say as much of what is there.
fn needless(all: &BTreeMap<SegmentId, Holds>) -> Option<SegmentId> {
    let mut told: HashMap<SessionId, usize> = HashMap::new();
    let mut seen: HashMap<SegmentId, usize> = HashMap::new();
    let mut buried: HashSet<SessionId> = HashSet::new();
    for holds in all.values() {
        for session in &holds.tells {
            *told.entry(*session).or_default() += 1;
        }
        for segment in &holds.sees {
            *seen.entry(*segment).or_default() += 1;
        }
        buried.extend(&holds.buries);
    }
    let needless = |holds: &Holds| {
        let elsewhere = |session: &SessionId| {
            let here = usize::from(holds.tells.contains(session));
            told.get(session).is_some_and(|count| *count > here)
        };
        let seen_elsewhere = |segment: &SegmentId| {
            let here = usize::from(holds.sees.contains(segment));
            seen.get(segment).is_some_and(|count| *count > here)
        };
        holds.free
            && holds.tells.iter().all(|session| buried.contains(session))
            && !holds.buries.iter().any(elsewhere)
            && !holds.retires.iter().any(seen_elsewhere)
    };
    all.iter()
        .find(|(_, holds)| needless(holds))
        .map(|(id, _)| *id)
}
