//! IO. One recording, block by block, each verified before a line of it is looked at.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::ReplayError;
use crate::model::RecipientId;
use crate::record::{
    BlockError, Blocks, Damage, Ending, Head, Header, Identities, Standing, Step, is_live,
};

/// What a block holds.
pub(super) enum Piece {
    /// Lines.
    Lines(Vec<u8>),
    /// What cannot be opened, and what it says in clear.
    Sealed(Standing),
}

/// Lines that nobody parsed yet.
pub(super) struct Raw {
    path: PathBuf,
    blocks: Blocks<BufReader<File>>,
    live: bool,
    tried: bool,
    ending: Option<Result<Ending, Damage>>,
}

impl Raw {
    pub(super) fn open(path: &Path, identities: &Identities) -> Result<Self, ReplayError> {
        let file = File::open(path).map_err(|error| ReplayError::read(path, error))?;
        let live = is_live(&file);
        let file = BufReader::with_capacity(64 << 10, file);
        let blocks = Blocks::open(file, identities.clone())
            .map_err(|error| ReplayError::read(path, error))?;
        Ok(Raw {
            path: path.to_owned(),
            blocks,
            live,
            tried: !identities.is_empty(),
            ending: None,
        })
    }

    pub(super) fn header(&self) -> Header {
        self.blocks.header()
    }

    /// The next block's lines. `None`: there is no more, or what comes is damaged. A block that cannot be
    /// opened is an error.
    pub(super) fn next(&mut self) -> Result<Option<(Head, Vec<u8>)>, ReplayError> {
        match self.piece()? {
            None => Ok(None),
            Some((head, Piece::Lines(lines))) => Ok(Some((head, lines))),
            Some((_, Piece::Sealed(_))) => Err(ReplayError::Sealed {
                path: self.path.clone(),
                recipients: self.recipients(),
                tried: self.tried,
            }),
        }
    }

    /// The same, where it is enough to know that it cannot be opened.
    pub(super) fn piece(&mut self) -> Result<Option<(Head, Piece)>, ReplayError> {
        if self.ending.is_some() {
            return Ok(None);
        }
        match self.blocks.next() {
            Ok(Step::Block(head, lines)) => return Ok(Some((head, Piece::Lines(lines)))),
            Ok(Step::Sealed(head, standing)) => return Ok(Some((head, Piece::Sealed(standing)))),
            Ok(Step::End(ending)) => self.ending = Some(Ok(ending)),
            Err(BlockError::Damage(damage)) => self.ending = Some(Err(damage)),
            Err(error) => return Err(ReplayError::read(&self.path, error)),
        }
        Ok(None)
    }

    /// To whom it is sealed, as far as it was read.
    pub(super) fn recipients(&self) -> Vec<RecipientId> {
        self.blocks.recipients().unwrap_or_default().to_vec()
    }

    /// What was changed, if anything was found to be.
    pub(super) fn damage(&self) -> Option<&Damage> {
        self.ending.as_ref()?.as_ref().err()
    }

    /// It was being written when it was opened, and did not end with a close.
    pub(super) fn open_now(&self) -> bool {
        self.live && !matches!(self.ending, Some(Ok(Ending::Closed)))
    }
}

/// The lines of a block.
pub(super) fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = 0;
    memchr::memchr_iter(b'\n', block)
        .chain([block.len()])
        .filter_map(move |end| {
            let line = block.get(at..end);
            at = end + 1;
            line.filter(|line| !line.is_empty())
        })
}
