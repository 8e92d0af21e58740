//! IO. A file's head without reading all of it: what its end says. Nothing is verified.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::entry::{Mark, Sum};
use crate::model::UnixMillis;
use crate::record::chain::{BLOCK_CAP, BLOCK_HEAD, BLOCK_TAIL, Chain, HEADER, Kind};
use crate::record::{BlockError, Blocks, Step};

/// What the end of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looked {
    /// Its head.
    pub mark: Mark,
    /// When its last block was sealed, by the wall clock.
    pub at: Option<UnixMillis>,
    /// Its last block is one after which nothing comes.
    pub last: bool,
}

/// The head of a recording or a segment. From the end of the file where that makes sense, by
/// reading all of it where it is torn. `None`: it has no whole block.
///
/// # Errors
/// It cannot be read.
pub fn look(path: &Path, kind: Kind) -> io::Result<Option<Looked>> {
    let file = File::open(path)?;
    if let Some(looked) = from_the_end(&file)? {
        return Ok(Some(looked));
    }
    from_the_beginning(&file, kind)
}

fn from_the_end(file: &File) -> io::Result<Option<Looked>> {
    let length = file.metadata()?.len();
    let frame = (BLOCK_HEAD + BLOCK_TAIL) as u64;
    if length < HEADER as u64 + frame {
        return Ok(None);
    }
    let mut tail = [0; BLOCK_TAIL];
    file.read_exact_at(&mut tail, length - BLOCK_TAIL as u64)?;
    let payload = u32::from_le_bytes(tail);
    if payload as usize > BLOCK_CAP {
        return Ok(None);
    }
    let Some(begins) = length
        .checked_sub(frame + u64::from(payload))
        .filter(|begins| *begins >= HEADER as u64)
    else {
        return Ok(None);
    };
    let mut head = [0; BLOCK_HEAD];
    file.read_exact_at(&mut head, begins)?;
    Ok(Chain::peek(&head)
        .filter(|peeked| peeked.payload == payload)
        .map(|peeked| Looked {
            mark: Mark {
                blocks: peeked.number.saturating_add(1),
                bytes: length,
                hash: Sum(peeked.hash),
            },
            at: Some(peeked.at),
            last: peeked.last,
        }))
}

fn from_the_beginning(file: &File, kind: Kind) -> io::Result<Option<Looked>> {
    let mut blocks = match Blocks::open_as(kind, io::BufReader::new(file.take(u64::MAX))) {
        Ok(blocks) => blocks,
        Err(BlockError::Io(error)) => return Err(error),
        Err(BlockError::Damage(_) | BlockError::Begun { .. }) => return Ok(None),
    };
    let mut at = None;
    loop {
        match blocks.next() {
            Ok(Step::Block(head, _) | Step::Sealed(head, _)) => at = Some(head.at),
            Ok(Step::End(_)) | Err(BlockError::Damage(_) | BlockError::Begun { .. }) => break,
            Err(BlockError::Io(error)) => return Err(error),
        }
    }
    let chain = blocks.chain();
    Ok((chain.blocks() > 0).then(|| Looked {
        mark: Mark::of(chain),
        at,
        last: chain.ended(),
    }))
}
