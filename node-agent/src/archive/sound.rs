//! IO. A recording read whole before it is sent: its checksum, when it began, and whether it is what
//! its own chain and the ledger say.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use aws_lc_rs::digest;

use super::store::hex;
use crate::model::{SessionId, UnixMillis};
use crate::record::ledger::{Ledgered, Mark, ledger_dir, read_segment, segments};
use crate::record::{BlockError, Blocks, Ending, Identities, Step};

/// A file that was read to its end.
#[derive(Clone, Debug)]
pub(super) struct Whole {
    /// Of all its bytes, hex.
    pub(super) sha256: String,
    pub(super) bytes: u64,
    /// When it began, by its header; `None`: that cannot be read.
    pub(super) began: Option<UnixMillis>,
    /// Why it is not what it should be; `None`: nothing speaks against it.
    pub(super) suspect: Option<String>,
}

/// What the ledger knows. Signatures are `sessions verify`'s; this is to raise an alarm early.
pub(super) fn hear(dir: &Path) -> io::Result<Ledgered> {
    let mut known = Ledgered::default();
    for path in segments(&ledger_dir(dir))? {
        match read_segment(&path, None, &mut |place, entry| known.take(place, entry)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(known)
}

/// Reads a recording whole.
pub(super) fn read(file: &File, session: SessionId, marks: Option<&[Mark]>) -> io::Result<Whole> {
    let mut source = BufReader::with_capacity(1 << 20, Summed::of(file));
    let (began, suspect) = judge(&mut source, session, marks)?;
    // What is behind damage belongs to the checksum as well.
    io::copy(&mut source, &mut io::sink())?;
    let summed = source.into_inner();
    Ok(Whole {
        sha256: hex(summed.sum.finish().as_ref()),
        bytes: summed.bytes,
        began,
        suspect,
    })
}

fn judge(
    source: &mut impl Read,
    session: SessionId,
    marks: Option<&[Mark]>,
) -> io::Result<(Option<UnixMillis>, Option<String>)> {
    let damaged = |error: BlockError| match error {
        BlockError::Io(error) => Err(error),
        BlockError::Damage(damage) => Ok(format!("it is damaged: {damage}")),
        BlockError::Begun { .. } => Ok("nothing is recorded in it".to_owned()),
    };
    let mut blocks = match Blocks::open(source, Identities::none()) {
        Ok(blocks) => blocks,
        Err(error) => return Ok((None, Some(damaged(error)?))),
    };
    let began = Some(blocks.header().began);
    if blocks.header().session != session {
        return Ok((began, Some("it is another session's, renamed".to_owned())));
    }
    loop {
        match blocks.next() {
            Ok(Step::Block(..) | Step::Sealed(..)) => {}
            Ok(Step::End(Ending::Closed)) => break,
            Ok(Step::End(Ending::Unclosed | Ending::Torn { .. })) => {
                return Ok((began, Some("it has no end".to_owned())));
            }
            Err(error) => return Ok((began, Some(damaged(error)?))),
        }
    }
    let head = Mark::of(blocks.chain());
    let suspect = match marks {
        None => Some("the ledger does not know it".to_owned()),
        Some(marks) if marks.contains(&head) => None,
        Some(_) => Some("it is not the recording that the ledger has signed".to_owned()),
    };
    Ok((began, suspect))
}

/// Counts and sums what is read through it.
struct Summed<'a> {
    file: &'a File,
    sum: digest::Context,
    bytes: u64,
}

impl<'a> Summed<'a> {
    fn of(file: &'a File) -> Self {
        Summed {
            file,
            sum: digest::Context::new(&digest::SHA256),
            bytes: 0,
        }
    }
}

impl Read for Summed<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let got = self.file.read(into)?;
        self.sum.update(into.get(..got).unwrap_or_default());
        self.bytes += got as u64;
        Ok(got)
    }
}

/// The checksum of the first bytes of a file, hex; `None`: it has not so many.
pub(super) fn sum_of_first(file: &File, bytes: u64) -> io::Result<Option<String>> {
    let mut summed = Summed::of(file);
    let got = io::copy(&mut summed.by_ref().take(bytes), &mut io::sink())?;
    Ok((got == bytes).then(|| hex(summed.sum.finish().as_ref())))
}
