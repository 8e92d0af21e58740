//! IO. Reads segments of a ledger, each block verified, and its signature where keys are given.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use super::entry::{Entry, Mark, Seat, SegmentId, entries, unverified};
use super::key::{Fingerprint, PublicKey};
use super::segment::segment_of;
use crate::model::UnixMillis;
use crate::record::chain::{Chain, Damage, Kind, Wrong};
use crate::record::{BlockError, Blocks, Ending, Step, is_live};

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// In which segment.
    pub segment: SegmentId,
    /// In which of its blocks, from 0.
    pub block: u64,
    /// When that was sealed, by the wall clock.
    pub at: UnixMillis,
}

/// How a segment ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StretchEnd {
    /// It was full.
    Rolled,
    /// Its writer stopped in order.
    Stopped,
    /// A process writes it at this moment.
    Live,
    /// Its last writer was killed, or its end was cut.
    Open,
    /// The same, in the middle of a block.
    Torn {
        /// Bytes that belong to no whole block.
        bytes: u64,
    },
    /// It was changed. Nothing after that place was read.
    Damaged(Damage),
}

/// What a segment is.
#[derive(Clone, Debug)]
pub struct Stretch {
    /// Its name, by its file's.
    pub segment: SegmentId,
    /// How far it was read.
    pub mark: Mark,
    /// When its last block was sealed.
    pub at: Option<UnixMillis>,
    /// By which of the given keys it is signed.
    pub signed_by: Option<Fingerprint>,
    /// How it ends.
    pub end: StretchEnd,
}

/// The segments of a ledger, by name. None if there is no ledger.
///
/// # Errors
/// The directory cannot be read.
pub fn segments(ledger: &Path) -> io::Result<Vec<PathBuf>> {
    let listed = match fs::read_dir(ledger) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in listed {
        let path = entry?.path();
        if segment_of(&path).is_some() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Reads a segment. `keys`: those it may be signed with; `None`: signatures are not looked at.
///
/// # Errors
/// The file cannot be read.
pub fn read_segment(
    path: &Path,
    keys: Option<&[PublicKey]>,
    each: &mut dyn FnMut(Place, Entry),
) -> io::Result<Stretch> {
    let file = File::open(path)?;
    let live = is_live(&file);
    let (stretch, _chain) = follow(path, BufReader::new(file), live, keys, each)?;
    Ok(stretch)
}

/// The same of a file that is open, with the chain at its end; `None`: it has no whole header.
pub(super) fn follow(
    path: &Path,
    source: impl io::Read,
    live: bool,
    keys: Option<&[PublicKey]>,
    each: &mut dyn FnMut(Place, Entry),
) -> io::Result<(Stretch, Option<Chain>)> {
    let segment = segment_of(path).unwrap_or(SegmentId(0));
    let nothing = |end| Stretch {
        segment,
        mark: Mark {
            blocks: 0,
            bytes: 0,
            hash: super::entry::Sum([0; 32]),
        },
        at: None,
        signed_by: None,
        end,
    };
    let mut blocks = match Blocks::open_as(Kind::Ledger, source) {
        Ok(blocks) => blocks,
        Err(BlockError::Damage(damage)) => {
            return Ok((nothing(StretchEnd::Damaged(damage)), None));
        }
        Err(BlockError::Begun { .. }) if live => return Ok((nothing(StretchEnd::Live), None)),
        Err(BlockError::Begun { bytes }) => {
            let bytes = bytes as u64;
            return Ok((nothing(StretchEnd::Torn { bytes }), None));
        }
        Err(BlockError::Io(error)) => return Err(error),
    };
    let mut reading = Reading {
        keys,
        signer: None,
        at: None,
        tail: Tail::Other,
    };
    let end = if blocks.header().session.0 == segment.0 {
        loop {
            let (number, offset, previous) = {
                let chain = blocks.chain();
                (chain.blocks(), chain.offset(), *chain.hash())
            };
            match blocks.next() {
                Ok(Step::Block(head, block)) => {
                    let seat = Seat {
                        previous,
                        number,
                        at: head.at,
                        last: head.last,
                    };
                    let place = Place {
                        segment,
                        block: number,
                        at: head.at,
                    };
                    if !reading.block(&seat, place, &block, each) {
                        break StretchEnd::Damaged(Damage {
                            block: number,
                            offset,
                            what: Wrong::Signature,
                        });
                    }
                }
                // Never: nothing in a ledger is sealed.
                Ok(Step::Sealed(..)) => {
                    break StretchEnd::Damaged(Damage {
                        block: number,
                        offset,
                        what: Wrong::Keys,
                    });
                }
                Ok(Step::End(ending)) => break reading.end(ending, live),
                Err(BlockError::Damage(damage)) => break StretchEnd::Damaged(damage),
                Err(BlockError::Begun { bytes }) => {
                    let bytes = bytes as u64;
                    break StretchEnd::Torn { bytes };
                }
                Err(BlockError::Io(error)) => return Err(error),
            }
        }
    } else {
        StretchEnd::Damaged(Damage {
            block: 0,
            offset: 0,
            what: Wrong::Renamed,
        })
    };
    let stretch = Stretch {
        segment,
        mark: Mark::of(blocks.chain()),
        at: reading.at,
        signed_by: reading.signer.map(|key| key.fingerprint()),
        end,
    };
    Ok((stretch, Some(blocks.chain().clone())))
}

/// What the last entry was.
enum Tail {
    Stopped,
    Other,
}

struct Reading<'a> {
    keys: Option<&'a [PublicKey]>,
    /// A segment is signed by one key from its beginning to its end.
    signer: Option<PublicKey>,
    at: Option<UnixMillis>,
    tail: Tail,
}

impl Reading<'_> {
    /// `false`: it is not signed as it must be.
    fn block(
        &mut self,
        seat: &Seat,
        place: Place,
        block: &[u8],
        each: &mut dyn FnMut(Place, Entry),
    ) -> bool {
        let lines = match (self.keys, self.signer) {
            (None, _) => unverified(block),
            (Some(_), Some(signer)) => seat.verify(&signer, block),
            (Some(keys), None) => keys.iter().find_map(|key| {
                let lines = seat.verify(key, block)?;
                self.signer = Some(*key);
                Some(lines)
            }),
        };
        let Some(lines) = lines else { return false };
        self.at = Some(place.at);
        for entry in entries(lines) {
            self.tail = if entry == Entry::Stopped {
                Tail::Stopped
            } else {
                Tail::Other
            };
            each(place, entry);
        }
        true
    }

    fn end(&self, ending: Ending, live: bool) -> StretchEnd {
        match (ending, live, &self.tail) {
            (Ending::Closed, _, _) => StretchEnd::Rolled,
            (_, true, _) => StretchEnd::Live,
            (Ending::Unclosed, false, Tail::Stopped) => StretchEnd::Stopped,
            (Ending::Unclosed, false, Tail::Other) => StretchEnd::Open,
            (Ending::Torn { bytes }, false, _) => StretchEnd::Torn { bytes },
        }
    }
}
