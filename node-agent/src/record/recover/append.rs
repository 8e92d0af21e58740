//! IO. What is added to a recording that a killed agent left.

use std::fs::File;
use std::io::{self, BufReader};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::super::chain::{BLOCK_HEAD, BLOCK_TAIL, Chain, Header};
use super::super::codec::{self, Decoder, Encoder, Told};
use super::super::journal::Remembered;
use super::super::sealed::Identities;
use super::super::sealer::{Packed, Sealer};
use super::super::writer::{BLOCK, LEVEL};
use super::super::{
    BlockError, Blocks, Closed, Damage, Ending, Note, NoteFrom, Standing, Step, Why, Wrong,
};
use super::{Recovered, Vouching};
use crate::clock;
use crate::model::SessionId;

/// What became of a recording.
pub(super) enum Outcome {
    /// It has its end.
    Done(Recovered),
    /// It was changed, and is as it was.
    Left {
        /// What was to be added.
        remembered: Remembered,
        why: String,
    },
}

/// What a recording holds, and where it ends. What is sealed in it cannot be read here, and need not.
struct Left {
    chain: Chain,
    standing: Standing,
    ending: Ending,
}

fn left(file: &File, session: SessionId) -> Result<Option<Left>, BlockError> {
    let mut blocks = match Blocks::open(BufReader::new(file), Identities::none()) {
        Ok(blocks) => blocks,
        // Its header was not whole yet.
        Err(BlockError::Begun { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    if blocks.header().session != session {
        return Err(Damage {
            block: 0,
            offset: 0,
            what: Wrong::Renamed,
        }
        .into());
    }
    let mut decoder = Decoder::default();
    let mut standing = Standing::default();
    let ending = loop {
        match blocks.next()? {
            Step::End(ending) => break ending,
            Step::Sealed(_, sealed) => standing = sealed,
            Step::Block(_, lines) => {
                for line in lines
                    .split(|byte| *byte == b'\n')
                    .filter(|line| !line.is_empty())
                {
                    standing.count(&decoder.read(line));
                }
            }
        }
    };
    Ok(Some(Left {
        chain: blocks.chain().clone(),
        standing,
        ending,
    }))
}

/// Gives a recording its end.
pub(super) fn finish(
    file: &File,
    session: SessionId,
    of: Option<SessionId>,
    remembered: Remembered,
    vouching: &mut Vouching,
) -> io::Result<Outcome> {
    let sealer = Sealer::new(vouching.recipients.clone());
    let left = match left(file, session) {
        Ok(Some(left)) => left,
        Ok(None) => begin(file, session, &sealer)?,
        Err(BlockError::Io(error)) => return Err(error),
        Err(error @ (BlockError::Damage(_) | BlockError::Begun { .. })) => {
            let why = error.to_string();
            return Ok(Outcome::Left { remembered, why });
        }
    };
    let Left {
        chain,
        standing,
        ending,
    } = left;
    let torn = match ending {
        // Whoever wrote it closed it when all was in it.
        Ending::Closed
            if (remembered.told.iter())
                .any(|told| matches!(told, Told::Decided(one) if one.seq > standing.last)) =>
        {
            let why = "it is closed, and does not have what its agent decided".to_owned();
            return Ok(Outcome::Left { remembered, why });
        }
        Ending::Closed => return Ok(Outcome::Done(Recovered::default())),
        Ending::Unclosed => 0,
        Ending::Torn { bytes } => bytes,
    };
    let added = remembered.told.into_iter().filter(|told| match told {
        Told::Began(_) => !standing.began,
        Told::Login(_) => !standing.login,
        Told::Decided(decided) => decided.seq > standing.last,
    });
    // The ledger knows of any other before its file is there.
    let mut made = (of.is_some() && chain.blocks() == 0).then(|| Arc::from(""));
    let mut end = Appending {
        file,
        offset: chain.offset(),
        chain,
        lines: Vec::new(),
        standing,
        sealer,
    };
    file.set_len(end.offset)?;
    let mut decisions = 0;
    for told in added {
        match &told {
            Told::Began(began) => {
                end.standing.began = true;
                made = Some(Arc::clone(&began.workload.name));
                codec::began_line(began, &mut end.lines)?;
            }
            Told::Login(login) => {
                end.standing.login = true;
                codec::login_line(login, &mut end.lines)?;
            }
            Told::Decided(decided) => {
                decisions += 1;
                end.standing.last = end.standing.last.max(decided.seq);
                end.standing.totals.decided(&decided.decision);
                codec::whole_line(decided, &mut end.lines)?;
            }
        }
        if end.lines.len() >= BLOCK {
            let sealed = end.seal(false)?;
            end.write(&sealed)?;
        }
    }
    let at = clock::now();
    let mut encoder = Encoder::new();
    encoder.note(
        &Note {
            at,
            seq: None,
            from: NoteFrom::Agent,
            code: None,
            text: sentence(of, decisions, torn),
            approval: None,
        },
        &mut end.lines,
    )?;
    let closed = Closed {
        at,
        why: Why::AgentDied,
        totals: end.standing.totals,
        carried: None,
    };
    encoder.closed(&closed, &mut end.lines)?;
    let sealed = end.seal(true)?;
    vouching.of(session, made, &end.chain, torn)?;
    end.write(&sealed)?;
    file.sync_data()?;
    Ok(Outcome::Done(Recovered {
        closed: 1,
        remembered: decisions,
        left: 0,
    }))
}

fn sentence(of: Option<SessionId>, decisions: u64, torn: u64) -> String {
    let mut text = match of {
        None => {
            "the agent died, and the next one closed this recording; what was delivered in the \
                 last moments is not known"
                .to_owned()
        }
        Some(session) => format!(
            "the agent died, and somebody else changed the recording of session {session}; what \
             the agent's journal knew of it lies here, and what was delivered is not known"
        ),
    };
    match decisions {
        0 => {}
        1 => text.push_str("; the last decision before this comes from its journal"),
        n => text.push_str(&format!(
            "; the last {n} decisions before this come from its journal"
        )),
    }
    if torn > 0 {
        text.push_str(&format!(
            "; {torn} bytes of a block that was not whole are left out"
        ));
    }
    text
}

/// A recording that has nothing yet.
fn begin(file: &File, session: SessionId, sealer: &Sealer) -> io::Result<Left> {
    let (chain, header) = sealer.create(Header {
        session,
        began: clock::now(),
    });
    file.set_len(0)?;
    file.write_all_at(&header, 0)?;
    Ok(Left {
        chain,
        standing: Standing::default(),
        ending: Ending::Unclosed,
    })
}

struct Appending<'a> {
    file: &'a File,
    chain: Chain,
    offset: u64,
    lines: Vec<u8>,
    standing: Standing,
    sealer: Sealer,
}

impl Appending<'_> {
    /// Seals the lines.
    fn seal(&mut self, last: bool) -> io::Result<Vec<u8>> {
        let mut bytes = zstd::bulk::compress(&self.lines, LEVEL)?;
        let mut sealed = Vec::with_capacity(BLOCK_HEAD + bytes.len() + BLOCK_TAIL);
        let packed = Packed {
            bytes: &mut bytes,
            raw: self.lines.len(),
            at: clock::now(),
            last,
        };
        (self.sealer).seal(&mut self.chain, packed, &self.standing, &mut sealed)?;
        self.lines.clear();
        Ok(sealed)
    }

    /// Writes a sealed block. Written in part, the next try cuts it off.
    fn write(&mut self, sealed: &[u8]) -> io::Result<()> {
        self.file.write_all_at(sealed, self.offset)?;
        self.offset += sealed.len() as u64;
        Ok(())
    }
}
