//! IO. `sessions grep`: what was asked, touched, delivered and said, searched in all recordings.
//!
//! Recordings are unpacked and looked through as they are written, with all cores; only lines that
//! may hold what is looked for are parsed (`pattern.rs`, `scan.rs`). Every block is verified before
//! anything of it is shown. Hits come in the order in which sessions began, and within a session
//! as they happened; nothing is gathered before it is shown, so memory does not grow with their
//! number.

mod pattern;
mod scan;
mod show;

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

pub use pattern::{Case, NotAPattern, Pattern, Syntax};
pub use show::{Colour, Searched, Telling, tell};

use super::filter::{Filter, Ruling};
use super::{ReplayError, cores};
use crate::model::{SessionId, StatementSeq, UnixMillis};
use crate::record::Identities;

/// Where something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// The text of a statement.
    Statements,
    /// What was bound to it.
    Parameters,
    /// The tables it names.
    Tables,
    /// What the client said it was for.
    Reasons,
    /// What the agent said when it refused.
    Refusals,
    /// Values as delivered.
    Values,
    /// Errors as the client saw them.
    Errors,
    /// What was said besides.
    Notices,
}

impl Place {
    /// Those that are known when a statement is decided.
    const OF_STATEMENTS: [Place; 5] = [
        Place::Statements,
        Place::Parameters,
        Place::Tables,
        Place::Reasons,
        Place::Refusals,
    ];

    /// One such, in a word.
    pub fn word(self) -> &'static str {
        match self {
            Place::Statements => "statement",
            Place::Parameters => "parameter",
            Place::Tables => "table",
            Place::Reasons => "reason",
            Place::Refusals => "refusal",
            Place::Values => "value",
            Place::Errors => "error",
            Place::Notices => "notice",
        }
    }
}

/// What to look for, and where.
#[derive(Debug)]
pub struct Question {
    /// What.
    pub pattern: Pattern,
    /// In these places; none: in all.
    pub places: Vec<Place>,
    /// In statements that fit (whole sessions were chosen before).
    pub filter: Filter,
}

impl Question {
    fn wants(&self, place: Place) -> bool {
        self.places.is_empty() || self.places.contains(&place)
    }
}

/// Whose session it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The session.
    pub session: SessionId,
    /// The workload's name.
    pub workload: String,
    /// The user's subject.
    pub user: Option<String>,
    /// The target.
    pub target: String,
    /// The database.
    pub database: Option<String>,
}

impl Who {
    fn new(session: SessionId) -> Self {
        Who {
            session,
            workload: String::new(),
            user: None,
            target: String::new(),
            database: None,
        }
    }
}

/// A match and what is around it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "self-explanatory")]
pub struct Excerpt {
    pub before: String,
    pub found: String,
    pub after: String,
}

/// A statement in which it was found, by place: the first match there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Whose.
    pub who: Arc<Who>,
    /// Which statement; 0: the session itself.
    pub seq: StatementSeq,
    /// When it was decided.
    pub at: Option<UnixMillis>,
    /// What was decided.
    pub decision: Option<Ruling>,
    /// Where.
    pub place: Place,
    /// The column, the parameter's number, how the table is touched.
    pub label: Option<String>,
    /// The match.
    pub excerpt: Excerpt,
    /// How many more matches there are in that place.
    pub more: u64,
    /// How the statement begins.
    pub statement: Option<String>,
}

/// What a search finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A match.
    Hit(Box<Hit>),
    /// A recording, or the rest of one, could not be searched: a sentence.
    Unsearched(String),
}

/// How far to go in one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "self-explanatory")]
pub enum Within {
    All,
    First,
}

/// How many hits of a recording may wait for those of recordings before it.
const WAITING: usize = 64;

/// Searches recordings, in this order. `each` is told what is found, in order; its `Break` ends the
/// search. A recording that was removed meanwhile is passed over.
pub fn grep(
    paths: &[PathBuf],
    identities: &Identities,
    question: &Question,
    within: Within,
    each: &mut dyn FnMut(Found) -> io::Result<ControlFlow<()>>,
) -> Result<(), ReplayError> {
    let (queue, turns) = sync_channel::<Receiver<Found>>(WAITING);
    let next = Mutex::new(0);
    let done = thread::scope(|scope| {
        for _ in 0..cores().min(paths.len()) {
            let (queue, next) = (queue.clone(), &next);
            scope.spawn(move || {
                while let Some((path, found)) = take(next, paths, &queue) {
                    one(path, identities, question, within, &found);
                }
            });
        }
        // The turns end when the last searcher is gone, however it went.
        drop(queue);
        let done = follow(&turns, each);
        // Who still searches finds nobody to tell, and stops.
        drop(turns);
        done
    });
    done.map_err(ReplayError::Write)
}

/// The next recording, and where to tell what is found in it; turns are given in the same order.
fn take<'p>(
    next: &Mutex<usize>,
    paths: &'p [PathBuf],
    queue: &SyncSender<Receiver<Found>>,
) -> Option<(&'p PathBuf, SyncSender<Found>)> {
    let mut next = next.lock().ok()?;
    let path = paths.get(*next)?;
    *next += 1;
    let (found, turn) = sync_channel(WAITING);
    queue.send(turn).ok()?;
    Some((path, found))
}

fn one(
    path: &Path,
    identities: &Identities,
    question: &Question,
    within: Within,
    found: &SyncSender<Found>,
) {
    let mut emit = |hit: Hit| match (found.send(Found::Hit(Box::new(hit))), within) {
        (Ok(()), Within::All) => ControlFlow::Continue(()),
        (Ok(()), Within::First) | (Err(_), _) => ControlFlow::Break(()),
    };
    let sentence = match scan::scan(path, identities, question, &mut emit) {
        Ok(sentence) => sentence,
        Err(_) if !path.exists() => None,
        Err(error) => Some(error.to_string()),
    };
    if let Some(sentence) = sentence {
        let _ = found.send(Found::Unsearched(sentence)); // nobody is listening any more
    }
}

fn follow(
    turns: &Receiver<Receiver<Found>>,
    each: &mut dyn FnMut(Found) -> io::Result<ControlFlow<()>>,
) -> io::Result<()> {
    while let Ok(turn) = turns.recv() {
        for found in turn {
            if each(found)?.is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
