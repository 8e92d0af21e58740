//! IO. Judges recordings again, under other policies, by the decision function of the daemon itself, and
//! says what would have been otherwise. Connects to nothing and runs nothing.
//!
//! `again.rs` makes the question of a recorded statement, or says why it cannot be put; `turn.rs` holds
//! two decisions against each other; `limits.rs` and `purse.rs` hold what was recorded of an answer
//! against limits and budgets; `tally.rs` counts, `report.rs` tells. What a recording does not say is
//! never guessed: such statements are counted by the reason.

mod again;
mod limits;
mod purse;
mod report;
mod session;
mod tally;
mod turn;

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Recording, ReplayError, Said, State, Verdict};
use crate::model::{SessionId, StatementSeq, UnixMillis};
use crate::policy::PolicySet;
use crate::record::Identities;

use purse::Purse;
use session::Sitting;
pub(super) use tally::beginning;
pub use tally::{Summary, Tally};

/// Which sessions are judged. Every field that is set must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The workload's name.
    pub workload: Option<String>,
    /// The user's subject.
    pub user: Option<String>,
    /// The target's name.
    pub target: Option<String>,
    /// Began at or after.
    pub since: Option<UnixMillis>,
    /// Began before.
    pub until: Option<UnixMillis>,
}

/// How to judge and what to tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BacktestOptions {
    /// Which sessions.
    pub wanted: Wanted,
    /// Tell too where the decision is the same by another rule, with other masks or limits.
    pub all_changes: bool,
    /// Compare as if what only observes were enforced, then and now.
    pub observed: bool,
    /// So many examples of each group.
    pub examples: usize,
}

/// Which statement of which session, as people write it: `s-…#12`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Spot {
    /// The session.
    session: SessionId,
    /// The statement.
    seq: StatementSeq,
}

impl std::fmt::Display for Spot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}#{}", self.session, self.seq)
    }
}

impl Serialize for Spot {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Judges recordings one after the other. Memory: one recording's block, the groups that were found,
/// and for budgets a bounded number of charges.
///
/// `seen` is told after each recording how many are done. A recording that cannot be read to its end is
/// named in the tally, and the others are judged all the same.
pub fn backtest(
    set: &PolicySet,
    paths: &[PathBuf],
    identities: &Identities,
    options: &BacktestOptions,
    seen: &mut dyn FnMut(usize),
) -> Tally {
    let mut tally = Tally::new(set, options);
    let mut purse = Purse::default();
    for (at, path) in paths.iter().enumerate() {
        match sit(set, path, identities, options, &mut tally, &mut purse) {
            Ok(Some(state)) if state.verdict() == Verdict::Bad => {
                tally.unreadable(path, &state.sentence());
            }
            Ok(_) => {}
            Err(error) => tally.unreadable(path, &error.to_string()),
        }
        seen(at + 1);
    }
    purse.settle(&mut tally);
    tally
}

/// One recording; `None`: it is not wanted.
fn sit(
    set: &PolicySet,
    path: &Path,
    identities: &Identities,
    options: &BacktestOptions,
    tally: &mut Tally,
    purse: &mut Purse,
) -> Result<Option<State>, ReplayError> {
    let mut recording = Recording::open(path, identities)?;
    let mut sitting = Sitting::new(set, options, recording.header().session);
    while let Said::Event(event) = recording.next()? {
        if !sitting.hear(*event, tally, purse) {
            return Ok(None);
        }
    }
    sitting.end(tally);
    Ok(Some(recording.state()))
}

#[cfg(test)]
mod tests;
