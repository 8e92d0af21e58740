//! IO. What a killed agent left: its recordings get what the journal knows and they lack, a sentence
//! that says so, and an end. Nothing that is in them is touched, but for a block that was torn.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::chain::{BLOCK_HEAD, BLOCK_TAIL, Chain, Header, claims_last};
use super::codec::{self, Decoder, Encoder, Told};
use super::journal::{self, Contents, Remembered, Unreadable};
use super::lane::Shared;
use super::ledger::{By, Entry, Ledger, Mark, NodeKey, Writing};
use super::sealed::{Identities, Recipients};
use super::sealer::{Packed, Sealer};
use super::{BlockError, Blocks, Closed, Ending, Note, NoteFrom, Standing, Step, Why, path_of};
use crate::clock;
use crate::model::SessionId;

/// How often what could not be written is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// How often the thread looks whether the recorder stops.
const LOOK: Duration = Duration::from_millis(100);
/// Lines of a block.
const BLOCK: usize = 256 << 10;
/// The largest journal that is read, bytes.
const JOURNAL_CAP: u64 = 64 << 20;
/// As the writer packs.
const LEVEL: i32 = 1;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Recovered {
    /// Recordings that were closed.
    pub(super) closed: u64,
    /// Decisions that were added to them.
    pub(super) remembered: u64,
    /// Recordings and journals that could not be dealt with; they are as they were.
    pub(super) left: u64,
}

/// Recovers in a thread of its own, until all is done: many recordings, or a full disk, keep nobody
/// from being served.
pub(super) fn in_background(shared: &Arc<Shared>) -> io::Result<()> {
    let shared = Arc::clone(shared);
    let recover = move || {
        loop {
            let settings = &shared.settings;
            let mut vouching =
                Vouching::new(&settings.dir, settings.key.clone()).sealing(&settings.recipients);
            match recover(&settings.dir, settings.journal.as_deref(), &mut vouching) {
                Ok(done) => {
                    let counters = &shared.counters;
                    counters.recovered.fetch_add(done.closed, Ordering::Relaxed);
                    counters
                        .remembered
                        .fetch_add(done.remembered, Ordering::Relaxed);
                    if done.closed > 0 {
                        tracing::warn!(
                            recordings = done.closed,
                            decisions = done.remembered,
                            "closed recordings that an agent left open when it died"
                        );
                    }
                    return;
                }
                Err(error) => {
                    tracing::error!(%error, "recordings of an agent that died are not closed yet");
                }
            }
            let mut waited = Duration::ZERO;
            while waited < RETRY {
                if shared.stopping() {
                    return;
                }
                thread::park_timeout(LOOK);
                waited += LOOK;
            }
        }
    };
    thread::Builder::new()
        .name("record-recover".to_owned())
        .spawn(recover)
        .map(drop)
}

/// Closes what nobody writes any more, with what the journals know of it.
///
/// # Errors
/// The disk: nothing is lost, and it may be tried again.
pub(super) fn recover(
    dir: &Path,
    journals: Option<&Path>,
    vouching: &mut Vouching,
) -> io::Result<Recovered> {
    let mut done = Recovered::default();
    let mut known = Contents::default();
    let mut read = Vec::new();
    for (path, file) in journals.map_or_else(|| Ok(Vec::new()), journal::left_behind)? {
        match contents(&file, dir) {
            Ok(contents) => {
                known.damaged += contents.damaged;
                for (session, remembered) in contents.sessions {
                    known.sessions.entry(session).or_insert(remembered);
                }
                // The lock is held until it is removed.
                read.push((path, file));
            }
            Err(ReadError::Unreadable(Unreadable::Foreign)) => {}
            Err(ReadError::Unreadable(error)) => {
                tracing::error!(%error, journal = %path.display(), "a journal is left as it is");
                done.left += 1;
            }
            Err(ReadError::Io(error)) => return Err(error),
        }
    }
    if known.damaged > 0 {
        tracing::error!(
            entries = known.damaged,
            "a journal has entries that make no sense"
        );
    }
    for path in recordings(dir)? {
        let Some(file) = ours(&path)? else { continue };
        let Some(session) = session_of(&path) else {
            continue;
        };
        let remembered = known.sessions.remove(&session);
        if remembered.is_none() && seems_closed(&file)? {
            continue;
        }
        done.add(finish(
            &file,
            &path,
            session,
            remembered.unwrap_or_default(),
            vouching,
        )?);
    }
    // Those that were killed before their first block.
    for (session, remembered) in known.sessions {
        let path = path_of(dir, session);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        done.add(finish(&file, &path, session, remembered, vouching)?);
    }
    for (path, _locked) in read {
        fs::remove_file(path)?;
    }
    vouching.done()?;
    Ok(done)
}

/// Tells the ledger of what is closed here, before it is.
pub(super) struct Vouching {
    dir: PathBuf,
    key: Option<Arc<NodeKey>>,
    ledger: Option<Ledger>,
    /// To whom what is added is sealed.
    recipients: Option<Recipients>,
}

impl Vouching {
    pub(super) fn new(dir: &Path, key: Option<Arc<NodeKey>>) -> Vouching {
        Vouching {
            dir: dir.to_owned(),
            key,
            ledger: None,
            recipients: None,
        }
    }

    /// Seals what is added.
    pub(super) fn sealing(mut self, recipients: &Option<Recipients>) -> Vouching {
        self.recipients.clone_from(recipients);
        self
    }

    /// `began`: the recording was made here, for a session of this workload.
    fn of(
        &mut self,
        session: SessionId,
        began: Option<Arc<str>>,
        chain: &Chain,
        torn: u64,
    ) -> io::Result<()> {
        let Some(key) = &self.key else { return Ok(()) };
        let ledger = match &mut self.ledger {
            Some(ledger) => ledger,
            empty => {
                let writing = Writing::new(&self.dir, Arc::clone(key), By::Agent);
                empty.insert(Ledger::open(writing)?)
            }
        };
        if let Some(workload) = began {
            ledger.tell(&Entry::Began { session, workload });
        }
        ledger.recovered(session, Mark::of(chain), torn);
        ledger.flush().map(drop)
    }

    fn done(&mut self) -> io::Result<()> {
        self.ledger
            .take()
            .map_or(Ok(()), |mut ledger| ledger.stop())
    }
}

enum ReadError {
    Io(io::Error),
    Unreadable(Unreadable),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        ReadError::Io(error)
    }
}

fn contents(file: &File, dir: &Path) -> Result<Contents, ReadError> {
    let mut bytes = Vec::new();
    file.take(JOURNAL_CAP).read_to_end(&mut bytes)?;
    journal::read(&bytes, journal::place_of(dir)).map_err(ReadError::Unreadable)
}

fn recordings(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "rec") {
            all.push(path);
        }
    }
    Ok(all)
}

fn session_of(path: &Path) -> Option<SessionId> {
    path.file_stem()?.to_str()?.parse().ok()
}

/// Opens a recording that nobody writes, and keeps it from everybody else.
fn ours(path: &Path) -> io::Result<Option<File>> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        // It was too old, and is removed by now.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
    Ok(locked.is_ok().then_some(file))
}

/// Whether its last block says that it is the last. Whether that is true is for `verify` to say.
fn seems_closed(file: &File) -> io::Result<bool> {
    let length = file.metadata()?.len();
    let Some(tail) = length.checked_sub(BLOCK_TAIL as u64) else {
        return Ok(false);
    };
    let mut bytes = [0; BLOCK_TAIL];
    file.read_exact_at(&mut bytes, tail)?;
    let payload = u64::from(u32::from_le_bytes(bytes));
    let Some(head) = tail.checked_sub(payload + BLOCK_HEAD as u64) else {
        return Ok(false);
    };
    let mut bytes = [0; BLOCK_HEAD];
    file.read_exact_at(&mut bytes, head)?;
    Ok(claims_last(&bytes))
}

impl Recovered {
    fn add(&mut self, one: Recovered) {
        self.closed += one.closed;
        self.remembered += one.remembered;
        self.left += one.left;
    }
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
        return Err(super::Damage {
            block: 0,
            offset: 0,
            what: super::Wrong::Renamed,
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
fn finish(
    file: &File,
    path: &Path,
    session: SessionId,
    remembered: Remembered,
    vouching: &mut Vouching,
) -> io::Result<Recovered> {
    let sealer = Sealer::new(vouching.recipients.clone());
    let left = match left(file, session) {
        Ok(Some(left)) => left,
        Ok(None) => begin(file, session, &sealer)?,
        Err(BlockError::Io(error)) => return Err(error),
        Err(error @ (BlockError::Damage(_) | BlockError::Begun { .. })) => {
            // Evidence of what somebody did: it stays as it is, and `verify` names it.
            tracing::error!(%error, recording = %path.display(), decisions = remembered.told.len(),
                "a recording that an agent left is damaged; what the journal knows of it is lost");
            return Ok(Recovered {
                left: 1,
                ..Recovered::default()
            });
        }
    };
    let torn = match left.ending {
        Ending::Closed => return Ok(Recovered::default()),
        Ending::Unclosed => 0,
        Ending::Torn { bytes } => bytes,
    };
    let added = remembered.told.into_iter().filter(|told| match told {
        Told::Began(_) => !left.standing.began,
        Told::Login(_) => !left.standing.login,
        Told::Decided(decided) => decided.seq > left.standing.last,
    });
    let mut end = Appending {
        file,
        offset: left.chain.offset(),
        chain: left.chain,
        lines: Vec::new(),
        standing: left.standing,
        sealer,
    };
    file.set_len(end.offset)?;
    let mut decisions = 0;
    let mut made = None;
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
            text: sentence(decisions, torn),
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
    Ok(Recovered {
        closed: 1,
        remembered: decisions,
        left: 0,
    })
}

fn sentence(decisions: u64, torn: u64) -> String {
    let mut text = "the agent died, and the next one closed this recording; what was delivered in \
                    the last moments is not known"
        .to_owned();
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

#[cfg(test)]
mod tests;
