//! Pure. What the ledger knows of each session, put together from all segments, in whatever order
//! they are read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::entry::{Archived, By, Entry, Mark, Rule, SegmentId};
use super::read::Place;
use crate::model::{SessionId, UnixMillis};

/// How far a recording had got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum KnownEnd {
    /// It was being written.
    #[default]
    Open,
    /// Its writer gave it up.
    GivenUp,
    /// A killed agent left it, and the next one took it up.
    Recovered,
    /// It was closed.
    Closed,
}

/// What is known of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// When and of which workload it was begun.
    pub began: Option<(UnixMillis, Arc<str>)>,
    /// Its last head before its end, told by who wrote it.
    pub mark: Option<Mark>,
    /// The head that it was to end with, and where that was said.
    pub closed: Option<(Mark, (SegmentId, u64))>,
    /// Its head as the next agent found it. It does not stand for the one before: whoever changed
    /// the file between the two is found by that.
    pub taken_up: Option<Mark>,
    /// When that was.
    pub taken_up_at: Option<UnixMillis>,
    /// How far it had got.
    pub end: KnownEnd,
    /// When, why and by whom it was removed.
    pub pruned: Option<(UnixMillis, Rule, By)>,
    /// Its head at that moment, by what its end said.
    pub buried: Option<Mark>,
    /// What its tombstone says of a copy in the archive.
    pub archived: Option<Archived>,
    /// Where its beginning was said, and where the last of it: segment and block.
    pub begun_in: Option<(SegmentId, u64)>,
    /// The latter.
    pub told_in: Option<(SegmentId, u64)>,
    /// When that was.
    pub told_at: Option<UnixMillis>,
}

/// All that a ledger knows.
#[derive(Clone, Debug, Default)]
pub struct Ledgered {
    /// Of recordings.
    pub sessions: HashMap<SessionId, Known>,
    /// Of segments: the head that another one saw last, and who that was.
    pub seen: BTreeMap<SegmentId, (Mark, SegmentId)>,
    /// Of segments: those that were removed in order, and by which one.
    pub retired: BTreeMap<SegmentId, SegmentId>,
    /// Blocks after which a writer was killed: what such a block announces may not have come to
    /// pass.
    pub last_words: BTreeSet<(SegmentId, u64)>,
    /// Entries of a later version.
    pub unknown: u64,
    stopped: BTreeSet<SegmentId>,
    workloads: BTreeSet<Arc<str>>,
}

impl Ledgered {
    /// Takes an entry in.
    pub fn take(&mut self, place: Place, entry: Entry) {
        let in_order = match entry {
            Entry::Clock { .. } => self.stopped.contains(&place.segment),
            _ => self.stopped.remove(&place.segment),
        };
        match entry {
            Entry::Started { .. } if !in_order => {
                if let Some(before) = place.block.checked_sub(1) {
                    self.last_words.insert((place.segment, before));
                }
            }
            Entry::Stopped => {
                self.stopped.insert(place.segment);
            }
            Entry::Began { session, workload } => {
                let workload = self.name(workload);
                let known = self.of(session, place);
                known.began.get_or_insert((place.at, workload));
                known.begun_in.get_or_insert((place.segment, place.block));
            }
            Entry::Head { session, mark } => self.of(session, place).reached(mark, KnownEnd::Open),
            Entry::Closed { session, mark } => {
                let known = self.of(session, place);
                known.end = known.end.max(KnownEnd::Closed);
                known.closed = Some((mark, (place.segment, place.block)));
            }
            Entry::Recovered { session, mark, .. } => {
                let known = self.of(session, place);
                known.end = known.end.max(KnownEnd::Recovered);
                // One that was killed while it took it up is followed by another.
                if known.taken_up_at.is_none_or(|at| at <= place.at) {
                    known.taken_up = Some(mark);
                    known.taken_up_at = Some(place.at);
                }
            }
            Entry::GivenUp { session, last } => {
                let known = self.of(session, place);
                known.end = known.end.max(KnownEnd::GivenUp);
                if let Some(mark) = last {
                    known.reached(mark, KnownEnd::GivenUp);
                }
            }
            Entry::Pruned {
                session,
                rule,
                by,
                last,
                archived,
            } => {
                let known = self.of(session, place);
                known.pruned = Some((place.at, rule, by));
                known.buried = last;
                known.archived = archived;
                // What the file said of itself counts only where the ledger knew nothing.
                if known.furthest().is_none() {
                    known.mark = last;
                }
            }
            Entry::Sees { segment, mark } => {
                let seen = self.seen.entry(segment).or_insert((mark, place.segment));
                if mark.blocks > seen.0.blocks {
                    *seen = (mark, place.segment);
                }
            }
            Entry::Retired { segment, .. } => {
                self.retired.insert(segment, place.segment);
            }
            Entry::Unknown => self.unknown += 1,
            Entry::Opened { .. }
            | Entry::Started { .. }
            | Entry::Clock { .. }
            | Entry::Approval { .. }
            | Entry::Written
            | Entry::Rolled => {}
        }
    }

    /// The workload of a session.
    pub fn workload(&self, session: SessionId) -> Option<&Arc<str>> {
        Some(&self.sessions.get(&session)?.began.as_ref()?.1)
    }

    fn of(&mut self, session: SessionId, place: Place) -> &mut Known {
        let known = self.sessions.entry(session).or_default();
        known.told_in = Some((place.segment, place.block));
        known.told_at = known.told_at.max(Some(place.at));
        known
    }

    /// Many sessions, few names.
    fn name(&mut self, workload: Arc<str>) -> Arc<str> {
        if let Some(known) = self.workloads.get(&workload) {
            return Arc::clone(known);
        }
        self.workloads.insert(Arc::clone(&workload));
        workload
    }
}

impl Known {
    /// All heads that it must have had.
    pub fn marks(&self) -> impl Iterator<Item = Mark> {
        let closed = self.closed.map(|(mark, _)| mark);
        self.mark.into_iter().chain(closed).chain(self.taken_up)
    }

    /// How far it must have got.
    pub fn furthest(&self) -> Option<Mark> {
        self.marks().max_by_key(|mark| mark.blocks)
    }

    fn reached(&mut self, mark: Mark, end: KnownEnd) {
        if self.mark.is_none_or(|known| mark.blocks > known.blocks) {
            self.mark = Some(mark);
        }
        self.end = self.end.max(end);
    }
}
