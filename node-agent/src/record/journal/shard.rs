//! IO. The writing side: one of a journal's pairs of halves.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::super::{Basis, Began, Decided, LoggedIn, codec};
use super::layout::{ENTRY, Kind, SETTLED, THIRD, WORD, mark, refer, words_of};
use crate::intercept::SharedWords;
use crate::model::SessionId;
use crate::policy::Decision;
use crate::sql::{Analysis, Purpose};

/// The longest line that goes into a journal, bytes.
pub(in crate::record) const LINE_CAP: usize = 256 << 10;
/// How many judgements a half remembers to refer to.
const KNOWN: usize = 512;

/// An entry is needed until this is dropped: when the block that holds what it says was written. If it
/// never will be, this must be forgotten instead.
#[derive(Debug)]
pub(in crate::record) struct Ticket {
    needed: Arc<AtomicUsize>,
    /// Not its owner: one that is never given back must not keep the journal's lock.
    memory: Weak<SharedWords>,
    /// The entry's third word.
    third: usize,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return; // it was not written: it stays for the next agent
        }
        let memory = self.memory.upgrade();
        if let Some(third) = memory.as_ref().and_then(|memory| memory.get(self.third)) {
            third.fetch_or(SETTLED.to_le(), Ordering::Relaxed);
        }
        // Whoever begins the half anew sees all that was done before.
        self.needed.fetch_sub(1, Ordering::Release);
    }
}

/// How full a shard is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extent {
    pub(super) words: usize,
    pub(super) used: usize,
    pub(super) needed: usize,
}

/// Two halves, one of which is written.
#[derive(Debug)]
pub(super) struct Shard {
    memory: Arc<SharedWords>,
    state: Mutex<State>,
    /// Words of a half.
    size: usize,
}

#[derive(Debug)]
struct State {
    halves: [Half; 2],
    /// The second one is written.
    second: bool,
    line: Vec<u8>,
}

#[derive(Debug)]
struct Half {
    /// Its first word in the memory.
    begins: usize,
    generation: u32,
    /// Words that are used.
    used: usize,
    needed: Arc<AtomicUsize>,
    /// Judgements of this generation, by where their parts lie: at which word they are. They are
    /// held, so that no other comes to lie there.
    known: HashMap<Place, (usize, Judged)>,
}

/// Where the parts of a judgement lie.
type Place = (usize, usize, usize, usize);

/// What decisions that differ in their text have in common.
#[derive(Debug)]
struct Judged {
    _analysis: Arc<Analysis>,
    _decision: Arc<Decision>,
    _version: Arc<str>,
    _purpose: Option<Arc<Purpose>>,
    basis: Basis,
}

fn place(decided: &Decided) -> Place {
    (
        Arc::as_ptr(&decided.analysis).addr(),
        Arc::as_ptr(&decided.decision).addr(),
        decided.policy_version.as_ptr().addr(),
        decided
            .purpose
            .as_ref()
            .map_or(0, |purpose| Arc::as_ptr(purpose).addr()),
    )
}

impl Shard {
    pub(super) fn new(memory: Arc<SharedWords>, begins: usize, size: usize) -> Self {
        let half = |begins| Half {
            begins,
            generation: 0,
            used: size, // it is begun with the first entry
            needed: Arc::default(),
            known: HashMap::new(),
        };
        Shard {
            memory,
            state: Mutex::new(State {
                halves: [half(begins), half(begins + size)],
                second: true,
                line: Vec::new(),
            }),
            size,
        }
    }

    /// Overwrites halves of which nothing is needed any more. One that is being written is left for the
    /// next time.
    pub(super) fn wipe(&self) {
        let Ok(mut state) = self.state.try_lock() else {
            return;
        };
        for half in &mut state.halves {
            if half.used > 1 && half.needed.load(Ordering::Acquire) == 0 {
                // What refers to earlier entries is judged and told anew: they are gone.
                let wiped = half.begin_anew(&self.memory, half.used);
                debug_assert!(wiped.is_some(), "a half lies within its journal");
            }
        }
    }

    /// Everything in it is in recordings.
    pub(super) fn settled(&self) -> bool {
        let state = self.lock();
        state
            .halves
            .iter()
            .all(|half| half.needed.load(Ordering::Acquire) == 0)
    }

    /// How full it is: what its two halves hold, what of that is still needed, in words and in
    /// entries.
    pub(super) fn extent(&self) -> Extent {
        let state = self.lock();
        let mut extent = Extent::default();
        for (number, half) in state.halves.iter().enumerate() {
            let needed = half.needed.load(Ordering::Acquire);
            let written = state.second == (number == 1);
            if half.generation > 0 && (written || needed > 0) {
                extent.used += half.used;
            }
            extent.needed += needed;
            extent.words += self.size;
        }
        extent
    }

    pub(super) fn began(&self, began: &Began) -> Option<Ticket> {
        self.whole(began.session, |line| codec::began_line(began, line))
    }

    pub(super) fn login(&self, session: SessionId, login: &LoggedIn) -> Option<Ticket> {
        self.whole(session, |line| codec::login_line(login, line))
    }

    fn whole(
        &self,
        session: SessionId,
        write: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>,
    ) -> Option<Ticket> {
        let mut state = self.lock();
        state.write_line(write)?;
        let (ticket, _) = self.put(&mut state, session, refer(Kind::Whole, 0))?;
        Some(ticket)
    }

    pub(super) fn decided(&self, session: SessionId, decided: &Decided) -> Option<Ticket> {
        let mut state = self.lock();
        let place = place(decided);
        // It may turn out that it does not fit into the half that knows it; then it is told whole.
        let known = state.half().known.get(&place);
        let alike = known.filter(|(_, judged)| judged.basis.is_like(&decided.basis));
        if let Some(&(of, _)) = alike {
            state.write_line(|line| codec::like_line(decided, of as u64, line))?;
            if state.fits(self.size) {
                let (ticket, _) = self.put(&mut state, session, refer(Kind::Like, of))?;
                return Some(ticket);
            }
        }
        state.write_line(|line| codec::whole_line(decided, line))?;
        let (ticket, at) = self.put(&mut state, session, refer(Kind::Whole, 0))?;
        let half = state.half_mut();
        if half.known.len() < KNOWN {
            let judged = Judged {
                _analysis: Arc::clone(&decided.analysis),
                _decision: Arc::clone(&decided.decision),
                _version: Arc::clone(&decided.policy_version),
                _purpose: decided.purpose.clone(),
                basis: decided.basis.clone(),
            };
            half.known.insert(place, (at, judged));
        }
        Some(ticket)
    }

    /// Writes the line as an entry: its first word last. Gives at which word of the half it is.
    fn put(&self, state: &mut State, session: SessionId, third: u64) -> Option<(Ticket, usize)> {
        if !state.fits(self.size) {
            state.turn(&self.memory)?;
            if !state.fits(self.size) {
                return None;
            }
        }
        let State {
            halves,
            second,
            line,
        } = state;
        let [first, other] = halves;
        let half = if *second { other } else { first };
        let at = half.used;
        let after = at + ENTRY + words_of(line.len());
        let begins = half.begins;
        let words = self.memory.get(begins + at..begins + after)?;
        let (head, body) = words.split_first_chunk::<ENTRY>()?;
        for (word, bytes) in body.iter().zip(line.chunks(WORD)) {
            let mut padded = [0; WORD];
            for (to, from) in padded.iter_mut().zip(bytes) {
                *to = *from;
            }
            word.store(u64::from_ne_bytes(padded), Ordering::Relaxed);
        }
        if let Some(next) = self
            .memory
            .get(begins + after)
            .filter(|_| after < self.size)
        {
            next.store(0, Ordering::Relaxed);
        }
        let [mark_word, session_word, third_word] = head;
        session_word.store(session.0.to_le(), Ordering::Relaxed);
        third_word.store(third.to_le(), Ordering::Relaxed);
        let bytes = u32::try_from(line.len()).ok()?;
        mark_word.store(mark(half.generation, bytes).to_le(), Ordering::Release);
        half.used = after;
        half.needed.fetch_add(1, Ordering::Relaxed);
        let ticket = Ticket {
            needed: Arc::clone(&half.needed),
            memory: Arc::downgrade(&self.memory),
            third: begins + at + THIRD,
        };
        Some((ticket, at))
    }

    /// Nothing it guards is left half done by a panic: what was not published is not there.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Half {
    /// Empties it, and overwrites that many of its words.
    fn begin_anew(&mut self, memory: &SharedWords, words: usize) -> Option<()> {
        let (generation, entries) = memory.get(self.begins..)?.split_first()?;
        // Killed in between, the half is empty, which is what it is.
        generation.store(0, Ordering::Release);
        for word in entries.iter().take(words.saturating_sub(1)) {
            word.store(0, Ordering::Release);
        }
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        generation.store(u64::from(self.generation).to_le(), Ordering::Release);
        self.used = 1;
        self.known.clear();
        Some(())
    }
}

impl State {
    fn half(&self) -> &Half {
        let [first, second] = &self.halves;
        if self.second { second } else { first }
    }

    fn half_mut(&mut self) -> &mut Half {
        let [first, second] = &mut self.halves;
        if self.second { second } else { first }
    }

    fn fits(&self, size: usize) -> bool {
        self.half().used + ENTRY + words_of(self.line.len()) <= size
    }

    /// `None`: too long, or it cannot be written.
    fn write_line(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>,
    ) -> Option<()> {
        self.line.clear();
        self.line.shrink_to(LINE_CAP);
        write(&mut self.line).ok()?;
        (self.line.len() <= LINE_CAP).then_some(())
    }

    /// Begins the other half anew. `None`: something in it is still needed.
    fn turn(&mut self, memory: &SharedWords) -> Option<()> {
        let [first, second] = &mut self.halves;
        let other = if self.second { first } else { second };
        if other.needed.load(Ordering::Acquire) > 0 {
            return None;
        }
        other.begin_anew(memory, 2)?;
        self.second = !self.second;
        Some(())
    }
}
