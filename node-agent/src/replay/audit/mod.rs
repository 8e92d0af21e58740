//! IO. `sessions verify`: every recording against its own chain and against the ledger, and the
//! ledger against its signatures.
//!
//! The ledger is read first, then the recordings, which only grow: whoever writes meanwhile is never
//! found to have less than the ledger knew. What seems wrong all the same is looked at once more
//! with the ledger as it is then.

mod clocks;
mod judge;
mod tell;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use judge::Audited;

use self::clocks::Clocks;
use self::judge::{Heard, Lies};
use self::tell::Teller;
use super::read::State;
use super::verify::whole;
use super::{ReplayError, Style, Verdict, find};
use crate::model::SessionId;
use crate::record::ledger::{
    Ledgered, Mark, PublicKey, SegmentId, Stretch, StretchEnd, Sum, ledger_dir, read_segment,
    segments,
};
use crate::record::{BlockError, Damage, Identities, path_of};

/// What was announced to the ledger is written within less.
const MOMENT: Duration = Duration::from_millis(300);
/// And within this, where the disk is slow: while a writer that is alive has announced it last of all, it
/// may be at it. One that hangs for longer is reported with what is not there.
const PATIENCE: Duration = Duration::from_secs(20);

/// What to verify, and by what.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The directory of the recordings.
    pub dir: &'a Path,
    /// The node's public keys; none: only a directory without a ledger can be verified.
    pub keys: &'a [PublicKey],
    /// What opens recordings that are sealed; none: they are verified as they lie there.
    pub identities: &'a Identities,
    /// Only these files; `None`: all that are there, and those that should be.
    pub only: Option<&'a [PathBuf]>,
    /// It is a copy of some recordings: what is not there was not copied.
    pub copy: bool,
}

/// What one file was found to be.
pub(super) enum Found {
    Recording(Box<State>, Audited),
    Begun(usize, Audited),
    Other(Damage),
    Missing(Audited),
}

impl Found {
    fn audited(&self) -> Option<&Audited> {
        match self {
            Found::Recording(_, audited) | Found::Begun(_, audited) | Found::Missing(audited) => {
                Some(audited)
            }
            Found::Other(_) => None,
        }
    }

    fn bad(&self) -> bool {
        let damaged = match self {
            Found::Recording(state, _) => state.verdict() == Verdict::Bad,
            Found::Other(_) => true,
            Found::Begun(..) | Found::Missing(_) => false,
        };
        damaged || self.audited().is_some_and(Audited::bad)
    }
}

/// Verifies, and tells what was found, a line a recording. `progress` is called before each file with
/// how many were read and how many there are.
///
/// # Errors
/// Something cannot be read or written, or the key is missing.
pub fn audit(
    scope: &Scope<'_>,
    style: Style,
    progress: &mut dyn FnMut(usize, usize),
    out: &mut dyn Write,
) -> Result<Verdict, ReplayError> {
    let mut teller = Teller::new(style, out);
    let Some(heard) = hear(scope, Some(&mut teller))? else {
        return without_ledger(scope, teller, progress);
    };
    let paths = match scope.only {
        Some(only) => only.to_vec(),
        None => find::all(scope.dir)?,
    };
    let mut there = BTreeSet::new();
    let mut again = Vec::new();
    for (at, path) in paths.iter().enumerate() {
        progress(at, paths.len());
        let session = find::session_of(path);
        let found = look_at(path, scope.identities, session, &heard)?;
        there.extend(session);
        match found {
            Some(found) if found.bad() && session.is_some() => again.push(path.clone()),
            Some(found) => teller.file(path, session, &heard, &found)?,
            None if scope.only.is_some() => {
                let missing = io::Error::from(io::ErrorKind::NotFound);
                return Err(ReplayError::read(path, missing));
            }
            None => {}
        }
    }
    if scope.only.is_none() {
        let mut gone: Vec<SessionId> = heard.ledgered.sessions.keys().copied().collect();
        gone.retain(|session| !there.contains(session));
        gone.sort_unstable();
        for session in gone {
            let path = path_of(scope.dir, session);
            match heard.judge(session, &Lies::Nothing) {
                Some(audited) if scope.copy && !matches!(audited, Audited::Pruned { .. }) => {
                    teller.not_copied();
                }
                Some(audited) if audited.bad() => again.push(path),
                Some(audited) => {
                    teller.file(&path, Some(session), &heard, &Found::Missing(audited))?;
                }
                None => {}
            }
        }
    }
    // Somebody may have removed, begun or closed it in order since the ledger was read, or be about to
    // write what is announced.
    let mut heard = heard;
    let begun = Instant::now();
    while !again.is_empty() {
        let live = |stretch: &Stretch| stretch.end == StretchEnd::Live;
        if heard.stretches.values().any(live) {
            std::thread::sleep(MOMENT);
        }
        heard = hear(scope, None)?.unwrap_or(heard);
        let patient = begun.elapsed() < PATIENCE;
        let mut later = Vec::new();
        for path in again {
            let session = find::session_of(&path);
            let found = look_at(&path, scope.identities, session, &heard)?;
            let comes = session.is_some_and(|session| heard.may_come(session));
            match found {
                Some(found) if found.bad() && comes && patient => later.push(path),
                Some(found) => teller.file(&path, session, &heard, &found)?,
                None => {}
            }
        }
        again = later;
    }
    progress(paths.len(), paths.len());
    teller.end()
}

/// A directory that never had a ledger: each recording by itself.
fn without_ledger(
    scope: &Scope<'_>,
    teller: Teller<'_>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Verdict, ReplayError> {
    let paths = match scope.only {
        Some(only) => only.to_vec(),
        None => find::all(scope.dir)?,
    };
    progress(0, paths.len());
    let (style, out) = teller.back();
    let verdict = super::verify(&paths, scope.identities, style, out)?;
    if style == Style::Text && !paths.is_empty() {
        writeln!(
            out,
            "there is no ledger and no key: each recording was verified by itself, and none that is \
             missing was noticed"
        )?;
        out.flush()?;
    }
    Ok(verdict)
}

/// Reads the ledger, and tells of its segments. `None`: there is none, and no key to ask for one.
fn hear(
    scope: &Scope<'_>,
    mut teller: Option<&mut Teller<'_>>,
) -> Result<Option<Heard>, ReplayError> {
    let ledger = ledger_dir(scope.dir);
    let read = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| ReplayError::read(&path, source)
    };
    let paths = segments(&ledger).map_err(read(&ledger))?;
    if scope.keys.is_empty() {
        return match paths.is_empty() {
            true => Ok(None),
            false => Err(ReplayError::NoKey { ledger }),
        };
    }
    let mut ledgered = Ledgered::default();
    let mut clocks = Clocks::default();
    let mut stretches = BTreeMap::new();
    for path in &paths {
        let stretch = read_segment(path, Some(scope.keys), &mut |place, entry| {
            clocks.look(place, &entry);
            ledgered.take(place, entry);
        });
        let stretch = match stretch {
            Ok(stretch) => stretch,
            // It was retired since it was listed; if not, whoever saw it tells.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(read(path)(error)),
        };
        stretches.insert(stretch.segment, stretch);
    }
    let mut heard = Heard {
        damaged: false,
        ledgered,
        stretches,
    };
    let faults = faults(&heard);
    heard.damaged = !faults.is_empty()
        || heard
            .stretches
            .values()
            .any(|stretch| matches!(stretch.end, StretchEnd::Damaged(_)));
    if let Some(teller) = &mut teller {
        teller.ledger(&heard, &faults)?;
        teller.clocks(&clocks)?;
        if heard.stretches.is_empty() {
            teller.no_ledger(&ledger)?;
        }
    }
    Ok(Some(heard))
}

/// What segments know of each other and is not so.
pub(super) struct Fault {
    segment: SegmentId,
    what: Lost,
    /// Who saw it, and how far it had come.
    seen: (Mark, SegmentId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    Deleted,
    Truncated,
    Changed,
}

fn faults(heard: &Heard) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (segment, seen) in &heard.ledgered.seen {
        let what = match heard.stretches.get(segment) {
            None if heard.ledgered.retired.contains_key(segment) => continue,
            None => Lost::Deleted,
            Some(stretch) if matches!(stretch.end, StretchEnd::Damaged(_)) => continue,
            Some(stretch) if stretch.mark.blocks < seen.0.blocks => Lost::Truncated,
            Some(stretch)
                if stretch.mark.blocks == seen.0.blocks && stretch.mark.hash != seen.0.hash =>
            {
                Lost::Changed
            }
            Some(_) => continue,
        };
        faults.push(Fault {
            segment: *segment,
            what,
            seen: *seen,
        });
    }
    faults
}

/// Reads a file whole. `None`: it is not there, and nobody says that it should be.
fn look_at(
    path: &Path,
    identities: &Identities,
    session: Option<SessionId>,
    heard: &Heard,
) -> Result<Option<Found>, ReplayError> {
    let marks = session.map_or_else(Vec::new, |session| heard.marks(session));
    let judge = |session: Option<SessionId>, lies: &Lies<'_>| {
        session.and_then(|session| heard.judge(session, lies))
    };
    match whole(path, identities, marks) {
        Ok((state, agrees)) => {
            let own = session.or(Some(state.session));
            let audited = judge(own, &Lies::Whole(&state, agrees)).unwrap_or(Audited::Unknown);
            Ok(Some(Found::Recording(Box::new(state), audited)))
        }
        Err(ReplayError::Read { source, .. }) => match source {
            BlockError::Damage(damage) => Ok(Some(Found::Other(damage))),
            BlockError::Begun { bytes } => {
                let audited = judge(session, &Lies::Begun).unwrap_or(Audited::Unknown);
                Ok(Some(Found::Begun(bytes, audited)))
            }
            BlockError::Io(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(judge(session, &Lies::Nothing).map(Found::Missing))
            }
            source @ BlockError::Io(_) => Err(ReplayError::Read {
                path: path.to_owned(),
                source,
            }),
        },
        Err(error) => Err(error),
    }
}

/// The first digits of a hash, for people.
pub(super) fn short(sum: &Sum) -> String {
    sum.to_string().chars().take(16).collect()
}

#[cfg(test)]
mod tests;
