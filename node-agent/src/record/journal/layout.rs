//! Pure. What the words of a journal mean, for who writes and who reads.
//!
//! ```text
//! header (8 words)  magic · layout · words of a half · number of halves · whose recordings · zero (3)
//! half              generation · entries
//! entry             generation (high 32) and bytes of its line (low 32) · session · kind and the
//!                   word of its half at which what it refers to begins · the line, padded
//! ```
//!
//! An entry counts when its first word bears its half's generation: that word is written last. A
//! half that is used again gets another generation, by which all that was in it is gone. An entry that
//! lies in its recording is marked as settled: others may refer to it still, and that is all; its
//! recording may have been removed since.

use std::collections::HashMap;

use super::super::codec::{self, Told};
use crate::model::SessionId;

/// How a journal begins: `NAJRNL` and what no text has.
pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"\x89NAJRNL\n");
/// The layout that this version writes and reads.
pub(super) const LAYOUT: u64 = 1;
/// Words of the header.
pub(super) const HEADER: usize = 8;
/// Words before an entry's line.
pub(super) const ENTRY: usize = 3;
/// Bytes of a word.
pub(super) const WORD: usize = size_of::<u64>();
/// The most halves and words of a half that a reader believes.
const MOST_HALVES: u64 = 64;
const MOST_WORDS: u64 = 1 << 20;

/// What an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// A line as a recording has it.
    Whole = 1,
    /// A decision that differs in text, parameters, number and moment from an earlier one.
    Like = 2,
}

/// Beside the kind: it lies in its recording.
pub(super) const SETTLED: u64 = 0x80;
/// The word of an entry that says so.
pub(super) const THIRD: usize = 2;

/// The first word of an entry.
pub(super) fn mark(generation: u32, bytes: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(bytes)
}

/// The third word of an entry.
pub(super) fn refer(kind: Kind, word: usize) -> u64 {
    (word as u64) << 8 | kind as u64
}

/// The words of a line, padded.
pub(super) fn words_of(bytes: usize) -> usize {
    bytes.div_ceil(WORD)
}

/// What a journal tells of one session.
#[derive(Debug, Default)]
pub(in crate::record) struct Remembered {
    /// In the order of their numbers, once each; the beginning and the login first.
    pub(in crate::record) told: Vec<Told>,
}

impl Remembered {
    /// What another journal tells of the same session.
    pub(in crate::record) fn add(&mut self, other: Remembered) {
        self.told.extend(other.told);
        self.order();
    }

    fn order(&mut self) {
        self.told.sort_by_key(Told::order);
        self.told.dedup_by_key(|told| told.order());
    }
}

/// A journal cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::record) enum Unreadable {
    /// It is none, or was never finished.
    #[error("this is no journal")]
    Magic,
    /// Written by another version.
    #[error("the journal has layout {0}, and this version reads layout {LAYOUT}")]
    Layout(u64),
    /// It belongs to other recordings.
    #[error("the journal is of recordings in another directory")]
    Foreign,
    /// Its header says what no header says.
    #[error("the journal's header is damaged")]
    Header,
}

/// What a journal holds.
#[derive(Debug, Default)]
pub(in crate::record) struct Contents {
    /// By session.
    pub(in crate::record) sessions: HashMap<SessionId, Remembered>,
    /// Entries that make no sense.
    pub(in crate::record) damaged: u64,
}

/// Reads a journal of decisions for the recordings in this place.
pub(in crate::record) fn read(bytes: &[u8], place: u64) -> Result<Contents, Unreadable> {
    let words = Words(bytes);
    if words.get(0) != Some(MAGIC) {
        return Err(Unreadable::Magic);
    }
    match words.get(1) {
        Some(LAYOUT) => {}
        other => return Err(Unreadable::Layout(other.unwrap_or(0))),
    }
    let (half, halves) = match (words.get(2), words.get(3)) {
        (Some(half @ 1..=MOST_WORDS), Some(halves @ 1..=MOST_HALVES)) => {
            (half as usize, halves as usize)
        }
        _ => return Err(Unreadable::Header),
    };
    if words.get(4) != Some(place) {
        return Err(Unreadable::Foreign);
    }
    let mut all: HashMap<SessionId, Remembered> = HashMap::new();
    let mut damaged = 0;
    for number in 0..halves {
        let begins = (HEADER + number * half) * WORD;
        let Some(bytes) = bytes.get(begins..begins + half * WORD) else {
            return Err(Unreadable::Header);
        };
        damaged += read_half(&Words(bytes), &mut all);
    }
    for remembered in all.values_mut() {
        remembered.order();
    }
    Ok(Contents {
        sessions: all,
        damaged,
    })
}

/// The entries of a half, up to the first word that begins none.
fn read_half(half: &Words<'_>, all: &mut HashMap<SessionId, Remembered>) -> u64 {
    let Some(generation) = half.get(0).and_then(|word| u32::try_from(word).ok()) else {
        return 0;
    };
    if generation == 0 {
        return 0;
    }
    let mut earlier = HashMap::new();
    let mut damaged = 0;
    let mut at = 1;
    while let Some(first) = half.get(at) {
        let bytes = (first & u64::from(u32::MAX)) as usize;
        let (Some(session), Some(third)) = (half.get(at + 1), half.get(at + THIRD)) else {
            break;
        };
        if first >> 32 != u64::from(generation) {
            break;
        }
        let Some(line) = half.bytes(at + ENTRY, bytes) else {
            return damaged + 1;
        };
        let kind = third & 0xff & !SETTLED;
        let told = if kind == Kind::Whole as u64 {
            let told = codec::whole_told(line);
            if let Some(Told::Decided(decided)) = &told {
                earlier.insert(at as u64, (**decided).clone());
            }
            told
        } else if kind == Kind::Like as u64 {
            earlier
                .get(&(third >> 8))
                .and_then(|of| codec::like_told(line, of))
        } else {
            None
        };
        match told {
            Some(_) if third & SETTLED != 0 => {}
            Some(told) => {
                let remembered = all.entry(SessionId(session)).or_default();
                remembered.told.push(told);
            }
            None => damaged += 1,
        }
        at += ENTRY + words_of(bytes);
    }
    damaged
}

/// Bytes as words.
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    fn get(&self, at: usize) -> Option<u64> {
        let rest = self.0.get(at.checked_mul(WORD)?..)?;
        rest.first_chunk().map(|word| u64::from_le_bytes(*word))
    }

    fn bytes(&self, at: usize, count: usize) -> Option<&'a [u8]> {
        let begins = at.checked_mul(WORD)?;
        self.0.get(begins..begins.checked_add(count)?)
    }
}
