//! IO. Reads a recording block by block, each verified before a byte of it is unpacked.

use std::io::{self, Read, Seek, SeekFrom};

use super::chain::{
    BLOCK_CAP, BLOCK_HEAD, BLOCK_TAIL, Chain, Damage, HEADER, Head, Header, Kind, Wrong,
};

/// A recording under verification.
#[derive(Debug)]
pub struct Blocks<R> {
    source: R,
    chain: Chain,
    header: Header,
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
    /// Reads the header.
    pub fn open(source: R) -> Result<Self, BlockError> {
        Blocks::open_as(Kind::Recording, source)
    }

    /// The same for a file of either kind.
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
            chain,
            header,
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
        &self.chain
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
        let mut bytes = [0; BLOCK_HEAD];
        let got = fill(&mut self.source, &mut bytes)?;
        if got == 0 {
            let ending = if self.chain.ended() {
                Ending::Closed
            } else {
                Ending::Unclosed
            };
            return Ok(Step::End(ending));
        }
        self.chain.more()?;
        if got < BLOCK_HEAD {
            return Ok(Step::End(Ending::Torn { bytes: got as u64 }));
        }
        let head = self.chain.head(&bytes)?;
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
        let (block, offset) = (self.chain.blocks(), self.chain.offset());
        self.chain.body(&head, &bytes, &payload, tail)?;
        let lines = unpack(&payload, head.raw).ok_or(Damage {
            block,
            offset,
            what: Wrong::Packing,
        })?;
        Ok(Step::Block(head, lines))
    }
}

impl<R: Read + Seek> Blocks<R> {
    /// Goes to where `chain` was, a copy of this reader's own: what is read from there is verified
    /// like the first time. At the end of a recording that is still being written, going to where
    /// one is looks again for what has come.
    pub fn go(&mut self, chain: Chain) -> io::Result<()> {
        self.source.seek(SeekFrom::Start(chain.offset()))?;
        self.chain = chain;
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
