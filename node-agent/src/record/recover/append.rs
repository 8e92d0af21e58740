//! IO. What is added to a recording that a killed agent left.

use std::fs::File;
use std::io::{self, BufReader};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::super::chain::{BLOCK_HEAD, BLOCK_TAIL, Chain, Header};
use super::super::codec::{self, Decoder, Encoder, Told};
use super::super::journal::Remembered;
use super::super::writer::{BLOCK, LEVEL};
use super::super::{
    BlockError, Blocks, Closed, Damage, Ending, Event, Note, NoteFrom, Step, Totals, Why, Wrong,
};
use super::{Recovered, Vouching};
use crate::clock;
use crate::model::{SessionId, StatementSeq};

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

/// What a recording holds, and where it ends.
struct Standing {
    chain: Chain,
    events: u64,
    login: bool,
    last: Option<StatementSeq>,
    totals: Totals,
    ending: Ending,
}

fn standing(file: &File, session: SessionId) -> Result<Option<Standing>, BlockError> {
    let mut blocks = match Blocks::open(BufReader::new(file)) {
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
    let mut events = 0;
    let mut login = false;
    let mut last = None;
    let mut totals = Totals::default();
    let ending = loop {
        match blocks.next()? {
            Step::End(ending) => break ending,
            Step::Block(_, lines) => {
                for line in lines
                    .split(|byte| *byte == b'\n')
                    .filter(|line| !line.is_empty())
                {
                    let event = decoder.read(line);
                    events += 1;
                    totals.count(&event);
                    match event {
                        Event::Decided(decided) => last = last.max(Some(decided.seq)),
                        Event::Login(_) => login = true,
                        Event::Began(_)
                        | Event::Rows(_)
                        | Event::Finished(_)
                        | Event::Note(_)
                        | Event::Closed(_)
                        | Event::Unknown(_) => {}
                    }
                }
            }
        }
    };
    Ok(Some(Standing {
        chain: blocks.chain().clone(),
        events,
        login,
        last,
        totals,
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
    let standing = match standing(file, session) {
        Ok(Some(standing)) => standing,
        Ok(None) => begin(file, session)?,
        Err(BlockError::Io(error)) => return Err(error),
        Err(error @ (BlockError::Damage(_) | BlockError::Begun { .. })) => {
            let why = error.to_string();
            return Ok(Outcome::Left { remembered, why });
        }
    };
    let later = |seq: StatementSeq| standing.last.is_none_or(|last| seq > last);
    let torn = match standing.ending {
        // Whoever wrote it closed it when all was in it.
        Ending::Closed
            if (remembered.told.iter())
                .any(|told| matches!(told, Told::Decided(one) if later(one.seq))) =>
        {
            let why = "it is closed, and does not have what its agent decided".to_owned();
            return Ok(Outcome::Left { remembered, why });
        }
        Ending::Closed => return Ok(Outcome::Done(Recovered::default())),
        Ending::Unclosed => 0,
        Ending::Torn { bytes } => bytes,
    };
    let added = remembered.told.into_iter().filter(|told| match told {
        Told::Began(_) => standing.events == 0,
        Told::Login(_) => !standing.login,
        Told::Decided(decided) => later(decided.seq),
    });
    let mut end = Appending {
        file,
        offset: standing.chain.offset(),
        chain: standing.chain,
        lines: Vec::new(),
    };
    file.set_len(end.offset)?;
    let mut totals = standing.totals;
    let mut decisions = 0;
    // The ledger knows of any other before its file is there.
    let mut made = (of.is_some() && standing.events == 0).then(|| Arc::from(""));
    for told in added {
        match &told {
            Told::Began(began) => {
                made = Some(Arc::clone(&began.workload.name));
                codec::began_line(began, &mut end.lines)?;
            }
            Told::Login(login) => codec::login_line(login, &mut end.lines)?,
            Told::Decided(decided) => {
                decisions += 1;
                totals.decided(&decided.decision);
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
        },
        &mut end.lines,
    )?;
    let closed = Closed {
        at,
        why: Why::AgentDied,
        totals,
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
fn begin(file: &File, session: SessionId) -> io::Result<Standing> {
    let (chain, header) = Chain::create(Header {
        session,
        began: clock::now(),
    });
    file.set_len(0)?;
    file.write_all_at(&header, 0)?;
    Ok(Standing {
        chain,
        events: 0,
        login: false,
        last: None,
        totals: Totals::default(),
        ending: Ending::Unclosed,
    })
}

struct Appending<'a> {
    file: &'a File,
    chain: Chain,
    offset: u64,
    lines: Vec<u8>,
}

impl Appending<'_> {
    /// Seals the lines.
    fn seal(&mut self, last: bool) -> io::Result<Vec<u8>> {
        let packed = zstd::bulk::compress(&self.lines, LEVEL)?;
        let mut sealed = Vec::with_capacity(BLOCK_HEAD + packed.len() + BLOCK_TAIL);
        self.chain
            .seal(&packed, self.lines.len(), clock::now(), last, &mut sealed);
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
