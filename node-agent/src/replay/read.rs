//! IO. One recording, event by event, verified as it is read.

use std::collections::VecDeque;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::{ReplayError, Verdict};
use crate::model::{Carried, RecipientId, SessionId, UnixMillis};
use crate::record::{
    BlockError, Blocks, Damage, Decoder, Ending, Event, Header, Identities, Reached, Step, is_live,
    ledger,
};

/// A recording that is being read.
#[derive(Debug)]
pub struct Recording {
    path: PathBuf,
    blocks: Blocks<BufReader<File>>,
    live: bool,
    decoder: Decoder,
    ready: VecDeque<Event>,
    progress: Progress,
    outcome: Option<Outcome>,
    expected: Vec<ledger::Mark>,
    /// Whether it is, at that many blocks, what was expected.
    agrees: Option<bool>,
    /// Identities are at hand.
    tried: bool,
    /// What is sealed is passed over.
    passing: bool,
}

/// A place between two blocks, to come back to.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    reached: Reached,
    decoder: Decoder,
    progress: Progress,
}

impl Mark {
    /// How many events lie before it.
    pub(super) fn events(&self) -> u64 {
        self.progress.events
    }

    /// How many blocks.
    pub(super) fn blocks(&self) -> u64 {
        self.reached.chain().blocks()
    }

    /// Bytes that it may be alone to hold, about.
    pub(super) fn weight(&self) -> usize {
        self.decoder.weight()
    }
}

/// What was read so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Events.
    pub events: u64,
    /// Events that this version does not know.
    pub unknown: u64,
    /// Blocks that were verified and not opened.
    pub sealed: u64,
    /// How often a block is older, by the wall clock, than the one before it.
    pub clock_went_back: u64,
    /// What passed over the client's connection, once the close was read.
    pub carried: Option<Carried>,
    /// Where it went back furthest.
    pub furthest_back: Option<Back>,
    last: Option<UnixMillis>,
}

/// The wall clock was set back while a recording was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Back {
    /// The block that is older than the one before it.
    pub block: u64,
    /// By how much, milliseconds.
    pub millis: u64,
}

/// How reading ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is damaged.
    Sound(Ending),
    /// Something is; nothing after it was read.
    Damaged(Damage),
}

/// The next of a recording.
#[derive(Debug)]
pub enum Said {
    /// An event.
    Event(Box<Event>),
    /// There is no more: see `Recording::state`.
    End,
}

/// What is known about a recording after reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Whose it is, by its header.
    pub session: SessionId,
    /// Verified blocks.
    pub blocks: u64,
    /// Their bytes, header included.
    pub bytes: u64,
    /// The hash that stands for all of it, hex.
    pub hash: String,
    /// It is being written at this moment.
    pub live: bool,
    /// What was read.
    pub progress: Progress,
    /// How it ended; `None`: it was not read to its end.
    pub outcome: Option<Outcome>,
    /// To whom it is sealed; empty: to nobody.
    pub recipients: Vec<RecipientId>,
}

impl Recording {
    /// Opens a recording. One that is being written is read up to its last block.
    /// What is sealed in it is opened with these identities.
    pub fn open(path: &Path, identities: &Identities) -> Result<Self, ReplayError> {
        let file = File::open(path).map_err(|error| ReplayError::read(path, error))?;
        let live = is_live(&file);
        let blocks = Blocks::open(BufReader::new(file), identities.clone())
            .map_err(|error| ReplayError::read(path, error))?;
        Ok(Recording {
            path: path.to_owned(),
            blocks,
            live,
            decoder: Decoder::default(),
            ready: VecDeque::new(),
            progress: Progress::default(),
            outcome: None,
            expected: Vec::new(),
            agrees: None,
            tried: !identities.is_empty(),
            passing: false,
        })
    }

    /// The file's header.
    pub fn header(&self) -> Header {
        self.blocks.header()
    }

    /// Passes over what is sealed and cannot be opened: whoever verifies need not read.
    pub(super) fn pass_sealed(&mut self) {
        self.passing = true;
    }

    /// Compares it with heads that it must have had.
    pub(super) fn expect(&mut self, marks: impl IntoIterator<Item = ledger::Mark>) {
        self.expected.extend(marks);
    }

    /// Whether it had those heads; `None`: it did not get as far as one of them, or none was
    /// expected.
    pub(super) fn agrees(&self) -> Option<bool> {
        self.agrees
    }

    fn compare(&mut self) {
        let chain = self.blocks.chain();
        for mark in &self.expected {
            if mark.blocks == chain.blocks() {
                let same = mark.hash.0 == *chain.hash();
                self.agrees = Some(same && self.agrees != Some(false));
            }
        }
    }

    /// The next event. Damage is an end, not an error: `state` tells.
    #[allow(
        clippy::should_implement_trait,
        reason = "it can fail and says how it ended"
    )]
    pub fn next(&mut self) -> Result<Said, ReplayError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Said::Event(Box::new(event)));
            }
            if self.outcome.is_some() {
                return Ok(Said::End);
            }
            match self.blocks.next() {
                Ok(Step::Block(head, lines)) => {
                    self.progress.at(head.number, head.at);
                    self.compare();
                    self.take(&lines);
                }
                Ok(Step::Sealed(head, _)) => {
                    self.progress.at(head.number, head.at);
                    self.compare();
                    self.progress.sealed += 1;
                    if !self.passing {
                        return Err(ReplayError::Sealed {
                            path: self.path.clone(),
                            recipients: self.recipients(),
                            tried: self.tried,
                        });
                    }
                }
                Ok(Step::End(ending)) => self.outcome = Some(Outcome::Sound(ending)),
                Err(BlockError::Damage(damage)) => self.outcome = Some(Outcome::Damaged(damage)),
                Err(error) => return Err(ReplayError::read(&self.path, error)),
            }
        }
    }

    /// Where reading stands, if that is between two blocks.
    pub(super) fn mark(&self) -> Option<Mark> {
        self.ready.is_empty().then(|| Mark {
            reached: self.blocks.reached().clone(),
            decoder: self.decoder.clone(),
            progress: self.progress,
        })
    }

    /// Goes back, or forward, to a place that was read before. What is read from there is verified
    /// again: a file that was changed meanwhile shows.
    pub(super) fn go(&mut self, mark: &Mark) -> Result<(), ReplayError> {
        self.ready.clear();
        self.outcome = None;
        self.decoder = mark.decoder.clone();
        self.progress = mark.progress;
        self.seek(mark.reached.clone())
    }

    /// After the end of a recording that was being written: looks whether it goes on. `false`: it
    /// cannot any more, and what was read is all there is.
    pub(super) fn again(&mut self) -> Result<bool, ReplayError> {
        let more = match self.outcome {
            Some(Outcome::Sound(Ending::Unclosed | Ending::Torn { .. })) => self.live,
            Some(Outcome::Sound(Ending::Closed) | Outcome::Damaged(_)) | None => false,
        };
        if more {
            // Asked before the last look at the file: what its writer wrote last is then seen.
            self.live = is_live(self.blocks.source().get_ref());
            self.outcome = None;
            self.seek(self.blocks.reached().clone())?;
        }
        Ok(more)
    }

    fn seek(&mut self, reached: Reached) -> Result<(), ReplayError> {
        let went = self.blocks.go(reached);
        went.map_err(|error| ReplayError::read(&self.path, error))
    }

    fn take(&mut self, lines: &[u8]) {
        for line in lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let event = self.decoder.read(line);
            self.progress.events += 1;
            if let Event::Closed(closed) = &event {
                self.progress.carried = closed.carried;
            }
            self.progress.unknown += u64::from(matches!(event, Event::Unknown(_)));
            self.ready.push_back(event);
        }
    }

    fn recipients(&self) -> Vec<RecipientId> {
        self.blocks.recipients().unwrap_or_default().to_vec()
    }

    /// What is known by now.
    pub fn state(&self) -> State {
        let chain = self.blocks.chain();
        State {
            session: self.header().session,
            blocks: chain.blocks(),
            bytes: chain.offset(),
            hash: blake3::Hash::from_bytes(*chain.hash())
                .to_hex()
                .as_str()
                .to_owned(),
            live: self.live,
            progress: self.progress,
            outcome: self.outcome.clone(),
            recipients: self.recipients(),
        }
    }
}

impl Progress {
    fn at(&mut self, block: u64, at: UnixMillis) {
        let Some(last) = self.last.replace(at).filter(|last| *last > at) else {
            return;
        };
        let millis = last.0.abs_diff(at.0);
        self.clock_went_back += 1;
        if self.furthest_back.is_none_or(|back| back.millis < millis) {
            self.furthest_back = Some(Back { block, millis });
        }
    }
}

impl State {
    /// Bad only if something was changed, or passed unseen. A recording that ends early is said, in
    /// `sentence`.
    pub fn verdict(&self) -> Verdict {
        match self.outcome {
            Some(Outcome::Damaged(_)) => Verdict::Bad,
            Some(Outcome::Sound(_)) | None if self.incomplete().is_some() => Verdict::Bad,
            Some(Outcome::Sound(_)) | None => Verdict::Good,
        }
    }

    /// Where the kernel counted other bytes than the record did.
    pub fn incomplete(&self) -> Option<String> {
        self.progress.carried.as_ref()?.disagreement()
    }

    /// The state in one sentence.
    pub fn sentence(&self) -> String {
        let blocks = match self.blocks {
            1 => "1 block".to_owned(),
            n => format!("{n} blocks"),
        };
        let mut text = match (&self.outcome, self.live) {
            (Some(Outcome::Damaged(damage)), _) => {
                format!("DAMAGED: {damage}. Before it, {blocks} are as they were written")
            }
            (Some(Outcome::Sound(Ending::Closed)), _) => {
                format!("{blocks}, unbroken, closed")
            }
            (Some(Outcome::Sound(_)), true) => {
                format!("{blocks}, unbroken so far; the session is open")
            }
            (Some(Outcome::Sound(Ending::Unclosed)), false) => {
                format!("{blocks}, unbroken, but it ends without close")
            }
            (Some(Outcome::Sound(Ending::Torn { bytes })), false) => format!(
                "{blocks}, unbroken, but it ends without close, with {bytes} bytes of a torn block"
            ),
            (None, _) => format!("{blocks} read, not to the end"),
        };
        if self.progress.unknown > 0 {
            text.push_str(&format!(
                "; {} events of kinds unknown here",
                self.progress.unknown
            ));
        }
        if !self.recipients.is_empty() {
            text.push_str(&format!("; sealed to {}", super::ids(&self.recipients)));
        }
        match self.progress.sealed {
            0 => {}
            n if n == self.blocks => text.push_str(", and not opened here"),
            n => text.push_str(&format!(", and {n} blocks were not opened here")),
        }
        if let Some(Back { block, millis }) = self.progress.furthest_back {
            let often = match self.progress.clock_went_back {
                1 => String::new(),
                n => format!(", and {} more times by less", n - 1),
            };
            text.push_str(&format!(
                "; the clock went back by {} s at block {block}{often}",
                seconds(millis)
            ));
        }
        if let Some(difference) = self.incomplete() {
            text.push_str(&format!("; INCOMPLETE: {difference}"));
        } else if let Some(Carried {
            read,
            written,
            kernel: Some(_),
        }) = self.progress.carried
        {
            text.push_str(&format!(
                "; all {read} bytes from the client and {written} to it, by the kernel's count"
            ));
        }
        text
    }
}

/// Milliseconds, in seconds.
pub(super) fn seconds(millis: u64) -> String {
    format!("{}.{:03}", millis / 1000, millis % 1000)
}
