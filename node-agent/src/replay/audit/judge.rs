//! Pure. What the ledger says of a session against what lies there.

use std::collections::BTreeMap;

use super::super::read::{Outcome, State};
use crate::model::{SessionId, UnixMillis};
use crate::record::Ending;
use crate::record::ledger::{
    By, Known, KnownEnd, Ledgered, Mark, Rule, SegmentId, Stretch, StretchEnd,
};

/// How a recording stands to the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audited {
    /// It is what the ledger says.
    Agrees,
    /// It is being written, and not all of it is told of yet.
    Open,
    /// The ledger is damaged, and what it would say of this one may be behind the damage.
    Unheard,
    /// Removed in order.
    Pruned {
        /// When.
        at: UnixMillis,
        /// For what.
        rule: Rule,
        /// By whom.
        by: By,
    },
    /// It has a tombstone, and lies there.
    Buried,
    /// It was announced when its agent was killed, and is not there, or its last block is not.
    Announced,
    /// It is gone, without a tombstone.
    Deleted,
    /// It is shorter than it was.
    Truncated,
    /// It is not what the ledger signed: up to some block other contents, or more than there was.
    Changed,
    /// The ledger does not know it.
    Unknown,
    /// It is closed, and the ledger, which says so before it is done, does not.
    CloseUnknown,
}

impl Audited {
    /// Somebody had a hand in it.
    pub fn bad(&self) -> bool {
        match self {
            Audited::Agrees
            | Audited::Open
            | Audited::Unheard
            | Audited::Pruned { .. }
            | Audited::Buried
            | Audited::Announced => false,
            Audited::Deleted
            | Audited::Truncated
            | Audited::Changed
            | Audited::Unknown
            | Audited::CloseUnknown => true,
        }
    }

    /// In one word, for programs.
    pub fn word(&self) -> &'static str {
        match self {
            Audited::Agrees => "agrees",
            Audited::Open => "open",
            Audited::Unheard => "unheard",
            Audited::Pruned { .. } => "pruned",
            Audited::Buried => "buried",
            Audited::Announced => "announced",
            Audited::Deleted => "deleted",
            Audited::Truncated => "truncated",
            Audited::Changed => "changed",
            Audited::Unknown => "unknown",
            Audited::CloseUnknown => "close_unknown",
        }
    }
}

/// What lies there.
pub(super) enum Lies<'a> {
    /// A recording, and whether it agrees with the heads that the ledger knows.
    Whole(&'a State, Option<bool>),
    /// Less than a block.
    Begun,
    /// Nothing.
    Nothing,
}

/// The ledger as it was read.
pub(super) struct Heard {
    pub(super) ledgered: Ledgered,
    pub(super) stretches: BTreeMap<SegmentId, Stretch>,
    /// A segment is damaged, cut or gone.
    pub(super) damaged: bool,
}

impl Heard {
    /// `None`: neither the ledger nor the directory knows it.
    pub(super) fn judge(&self, session: SessionId, lies: &Lies<'_>) -> Option<Audited> {
        let known = self.ledgered.sessions.get(&session);
        let known = known.filter(|known| {
            known.began.is_some() || known.mark.is_some() || known.closed.is_some()
        });
        match (known, lies) {
            (None, Lies::Nothing) => None,
            (None, Lies::Whole(..) | Lies::Begun) => Some(self.unless_deaf(Audited::Unknown)),
            (Some(known), Lies::Nothing) => self.gone(known),
            (Some(known), Lies::Begun) => Some(self.barely(known)),
            (Some(known), Lies::Whole(state, agrees)) => Some(self.there(known, state, *agrees)),
        }
    }

    /// It was to be closed when its writer was killed, and was not: the next agent took it up, and
    /// closed it in its own words.
    fn not_closed_after_all(&self, known: &Known) -> bool {
        let said_in = known.closed.map(|(_, place)| place);
        known.taken_up.is_some() && self.last_word(said_in)
    }

    /// The heads that a recording must have had.
    pub(super) fn marks(&self, session: SessionId) -> Vec<Mark> {
        let known = self.ledgered.sessions.get(&session);
        known.map_or_else(Vec::new, |known| self.marks_of(known))
    }

    fn marks_of(&self, known: &Known) -> Vec<Mark> {
        let closed = known.closed.filter(|_| !self.not_closed_after_all(known));
        let all = known.mark.into_iter().chain(closed.map(|(mark, _)| mark));
        all.chain(known.taken_up).collect()
    }

    fn furthest(&self, known: &Known) -> Option<Mark> {
        let marks = self.marks_of(known);
        marks.into_iter().max_by_key(|mark| mark.blocks)
    }

    fn end(&self, known: &Known) -> KnownEnd {
        if self.not_closed_after_all(known) {
            KnownEnd::Recovered
        } else {
            known.end
        }
    }

    fn unless_deaf(&self, audited: Audited) -> Audited {
        if self.damaged {
            Audited::Unheard
        } else {
            audited
        }
    }

    fn gone(&self, known: &Known) -> Option<Audited> {
        if let Some((at, rule, by)) = known.pruned {
            // A tombstone is for what lay there, whatever that was.
            return Some(match known.closed {
                Some((mark, place))
                    if known.buried != Some(mark) && !self.last_word(Some(place)) =>
                {
                    Audited::Changed
                }
                Some(_) | None => Audited::Pruned { at, rule, by },
            });
        }
        if known.end == KnownEnd::GivenUp && self.furthest(known).is_none() {
            return None; // nothing of it was ever written
        }
        Some(if self.last_word(known.begun_in) {
            Audited::Announced
        } else {
            Audited::Deleted
        })
    }

    /// A file without a block.
    fn barely(&self, known: &Known) -> Audited {
        match self.furthest(known) {
            None => Audited::Open,
            Some(mark) if mark.blocks <= 1 && self.last_word(known.begun_in) => Audited::Announced,
            Some(_) if known.pruned.is_some() => Audited::Buried,
            Some(_) => Audited::Truncated,
        }
    }

    fn there(&self, known: &Known, state: &State, agrees: Option<bool>) -> Audited {
        let closed = match state.outcome {
            Some(Outcome::Sound(Ending::Closed)) => true,
            Some(Outcome::Sound(Ending::Unclosed | Ending::Torn { .. })) | None => false,
            // Its own chain says it better.
            Some(Outcome::Damaged(_)) => return Audited::Agrees,
        };
        let torn = matches!(state.outcome, Some(Outcome::Sound(Ending::Torn { .. })));
        let Some(mark) = self.furthest(known) else {
            return match self.end(known) {
                // Killed before the first head was told, or young.
                KnownEnd::Open if !closed => Audited::Open,
                KnownEnd::Open => self.unless_deaf(Audited::CloseUnknown),
                // It says that nothing was written.
                KnownEnd::GivenUp | KnownEnd::Recovered | KnownEnd::Closed => {
                    self.unless_deaf(Audited::Unknown)
                }
            };
        };
        if state.blocks < mark.blocks {
            let announced = match self.end(known) {
                KnownEnd::Closed => state.blocks + 1 == mark.blocks,
                KnownEnd::Recovered => !closed,
                KnownEnd::Open | KnownEnd::GivenUp => false,
            };
            return match announced {
                true if state.live => Audited::Open,
                true if self.last_word(known.told_in) => Audited::Announced,
                true | false => Audited::Truncated,
            };
        }
        let grown = state.blocks > mark.blocks || torn;
        match self.end(known) {
            _ if agrees == Some(false) => Audited::Changed,
            KnownEnd::Closed | KnownEnd::Recovered if grown && !state.live => Audited::Changed,
            KnownEnd::Open | KnownEnd::GivenUp if closed => self.unless_deaf(Audited::CloseUnknown),
            _ if known.pruned.is_some() => Audited::Buried,
            KnownEnd::Open if state.live => Audited::Open,
            KnownEnd::Open | KnownEnd::GivenUp | KnownEnd::Recovered | KnownEnd::Closed => {
                Audited::Agrees
            }
        }
    }

    /// What was said of it last stands in the newest block of a writer that is alive, which may be at it.
    pub(super) fn may_come(&self, session: SessionId) -> bool {
        let Some(known) = self.ledgered.sessions.get(&session) else {
            return false;
        };
        let newest = |(segment, block): (SegmentId, u64)| {
            let stretch = self.stretches.get(&segment);
            stretch.is_some_and(|stretch| {
                stretch.end == StretchEnd::Live && block + 1 == stretch.mark.blocks
            })
        };
        let closed = known.closed.map(|(_, place)| place);
        let told = [known.begun_in, known.told_in, closed];
        told.into_iter().flatten().any(newest)
    }

    /// It was said in the very last block before a writer was killed: what the block announces may
    /// not have come to pass.
    pub(super) fn last_word(&self, told: Option<(SegmentId, u64)>) -> bool {
        let Some((segment, block)) = told else {
            return false;
        };
        if self.ledgered.last_words.contains(&(segment, block)) {
            return true;
        }
        self.stretches
            .get(&segment)
            .is_some_and(|stretch| match stretch.end {
                StretchEnd::Open | StretchEnd::Torn { .. } => block + 1 == stretch.mark.blocks,
                // Who is at it writes in the next moment: one looks again.
                StretchEnd::Live => false,
                StretchEnd::Rolled | StretchEnd::Stopped | StretchEnd::Damaged(_) => false,
            })
    }
}
