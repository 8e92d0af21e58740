//! IO. Reads a recording block by block, each verified before a byte of it is unpacked.

use std::io::{self, Read, Seek, SeekFrom};

use super::chain::{
    BLOCK_CAP, BLOCK_HEAD, BLOCK_TAIL, Body, Chain, Damage, HEADER, Head, Header, Kind, Wrong,
};
use super::sealed::{Identities, Opened, Section};
use super::standing::{STANDING, Standing};
use crate::model::RecipientId;

/// A recording under verification.
#[derive(Debug)]
pub struct Blocks<R> {
    source: R,
    kind: Kind,
    reached: Reached,
    header: Header,
    identities: Identities,
}

/// A place between two blocks, to come back to, with the key that is in force there.
#[derive(Clone, Debug)]
pub struct Reached {
    chain: Chain,
    section: Option<Section>,
}

impl Reached {
    /// The chain up to there.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }
}

/// How the bytes of a recording end, when nothing before the end is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With the block that says so.
    Closed,
    /// Between two blocks, without a close: still being written, or its writer was killed.
    Unclosed,
    /// Within a block, without a close: as `Unclosed`, or the file was cut.
    Torn {
        /// Bytes that belong to no whole block.
        bytes: u64,
    },
}

/// The next of a recording.
#[derive(Debug)]
pub enum Step {
    /// A verified block: its head and its lines.
    Block(Head, Vec<u8>),
    /// A verified block that none of the identities at hand opens, and what it says in clear.
    Sealed(Head, Standing),
    /// There is no more.
    End(Ending),
}

/// Reading stops here.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The recording was changed.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// It ends within its header, and nothing in it is wrong: its writer was stopped, or is about
    /// to write.
    #[error("it ends before anything was recorded, after {bytes} bytes")]
    Begun {
        /// Bytes of the header.
        bytes: usize,
    },
    /// The file cannot be read.
    #[error("cannot read the recording: {0}")]
    Io(#[from] io::Error),
}

impl<R: Read> Blocks<R> {
    /// Reads a recording's header. What is sealed is opened with these identities.
    pub fn open(source: R, identities: Identities) -> Result<Self, BlockError> {
        let mut blocks = Blocks::open_as(Kind::Recording, source)?;
        blocks.identities = identities;
        Ok(blocks)
    }

    /// Reads the header of a file of either kind. Nothing that is sealed is opened.
    pub fn open_as(kind: Kind, mut source: R) -> Result<Self, BlockError> {
        let mut bytes = [0; HEADER];
        let got = fill(&mut source, &mut bytes)?;
        if got < HEADER {
            if Chain::may_begin(kind, bytes.get(..got).unwrap_or_default()) {
                return Err(BlockError::Begun { bytes: got });
            }
            return Err(Damage {
                block: 0,
                offset: 0,
                what: Wrong::Magic,
            }
            .into());
        }
        let (chain, header) = Chain::open_as(kind, &bytes)?;
        Ok(Blocks {
            source,
            kind,
            reached: Reached {
                chain,
                section: None,
            },
            header,
            identities: Identities::none(),
        })
    }

    /// The header.
    pub fn header(&self) -> Header {
        self.header
    }

    /// What is read from.
    pub fn source(&self) -> &R {
        &self.source
    }

    /// The chain up to here.
    pub fn chain(&self) -> &Chain {
        &self.reached.chain
    }

    /// Where reading stands, to come back to.
    pub fn reached(&self) -> &Reached {
        &self.reached
    }

    /// To whom the blocks that come are sealed, if they are.
    pub fn recipients(&self) -> Option<&[RecipientId]> {
        let section = self.reached.section.as_ref()?;
        Some(&section.recipients)
    }

    /// Where it is read from. Who follows a recording that is being written goes back in it to
    /// `chain().offset()`, and asks for the next block once more.
    pub fn source_mut(&mut self) -> &mut R {
        &mut self.source
    }

    /// The next block, verified.
    #[allow(
        clippy::should_implement_trait,
        reason = "it can fail and says how it ended"
    )]
    pub fn next(&mut self) -> Result<Step, BlockError> {
        let chain = &mut self.reached.chain;
        let mut bytes = [0; BLOCK_HEAD];
        let got = fill(&mut self.source, &mut bytes)?;
        if got == 0 {
            let ending = if chain.ended() {
                Ending::Closed
            } else {
                Ending::Unclosed
            };
            return Ok(Step::End(ending));
        }
        chain.more()?;
        if got < BLOCK_HEAD {
            return Ok(Step::End(Ending::Torn { bytes: got as u64 }));
        }
        let head = chain.head(&bytes)?;
        // Grows with what really comes: a head that promises much costs nothing by itself.
        let mut payload = Vec::new();
        self.source
            .by_ref()
            .take(head.payload as u64)
            .read_to_end(&mut payload)?;
        let mut tail = [0; BLOCK_TAIL];
        let ending = fill(&mut self.source, &mut tail)?;
        if payload.len() < head.payload || ending < BLOCK_TAIL {
            let bytes = (got + payload.len() + ending) as u64;
            return Ok(Step::End(Ending::Torn { bytes }));
        }
        let wrong = {
            let (block, offset) = (chain.blocks(), chain.offset());
            move |what| Damage {
                block,
                offset,
                what,
            }
        };
        let position = chain.position_of(&bytes);
        chain.body(&head, &bytes, &payload, tail)?;
        let packed = match (head.body, self.kind) {
            (Body::Clear, _) => payload,
            (Body::Keyed | Body::Sealed, Kind::Ledger) => return Err(wrong(Wrong::Keys).into()),
            (Body::Keyed | Body::Sealed, Kind::Recording) => {
                let mut rest = &payload[..];
                if head.body == Body::Keyed {
                    match Section::take(&mut rest, &position, &self.identities) {
                        Opened::Section(section) => self.reached.section = Some(section),
                        Opened::Malformed => return Err(wrong(Wrong::Keys).into()),
                        Opened::Forged => return Err(wrong(Wrong::Wrap).into()),
                    }
                }
                let section = self.reached.section.as_ref();
                let section = section.ok_or(wrong(Wrong::Keys))?;
                let (standing, sealed) = rest
                    .split_first_chunk::<STANDING>()
                    .ok_or(wrong(Wrong::Sealed))?;
                let Some(key) = &section.key else {
                    return Ok(Step::Sealed(head, Standing::read(standing)));
                };
                let bound = [&position[..], &standing[..]].concat();
                key.open(head.number, &bound, sealed.to_vec())
                    .ok_or(wrong(Wrong::Sealed))?
            }
        };
        let lines = unpack(&packed, head.raw).ok_or(wrong(Wrong::Packing))?;
        Ok(Step::Block(head, lines))
    }
}

impl<R: Read + Seek> Blocks<R> {
    /// Goes to a place that a reader of this file reached: what is read from there is verified like
    /// the first time. At the end of a recording that is still being written, going to where
    /// one is looks again for what has come.
    pub fn go(&mut self, reached: Reached) -> io::Result<()> {
        self.source.seek(SeekFrom::Start(reached.chain.offset()))?;
        self.reached = reached;
        Ok(())
    }
}

/// Unpacks a payload to exactly `raw` bytes.
fn unpack(payload: &[u8], raw: usize) -> Option<Vec<u8>> {
    if raw > BLOCK_CAP {
        return None;
    }
    let lines = zstd::bulk::decompress(payload, raw).ok()?;
    (lines.len() == raw).then_some(lines)
}

/// Fills the buffer as far as the source goes.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
