//! `sessions verify` and `sessions prune`: what the ledger vouches for.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;

use node_agent::clock;
use node_agent::model::SessionId;
use node_agent::record::ledger::{By, NodeKey, PublicKey};
use node_agent::record::{Keep, Tombstones, path_of, prune};
use node_agent::replay::{self, ReplayError, Scope};

use super::super::{Answer, out};
use super::{Opening, Place, answer, style};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "What is found and named: a changed byte, a block that was removed, moved or \
    added, a recording that was cut, deleted, swapped, put there or made anew, the same of the ledger \
    itself, and a clock that was set (which is no damage). A sealed recording is verified without any \
    identity; with one it is opened as well.\n\n\
    Examples:\n  node-agent sessions verify\n  \
    node-agent sessions verify s-00c0ffee00c0ffee\n  \
    node-agent sessions verify --dir ./copied/recordings --key ./node-key.pub --json\n  \
    node-agent sessions verify --dir ./fetched --key ./fetched/node-key.pub --copy"
)]
pub(crate) struct Verify {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    opening: Opening,
    /// Sessions; none: all that are there, and all that should be
    sessions: Vec<String>,
    /// A node's public key; may be given again (default: node-key.pub in the configuration's
    /// state_dir)
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// The directory is a copy of some recordings, as `sessions fetch` makes it: those that the
    /// ledger knows and that are not there are counted, and not called deleted
    #[arg(long)]
    copy: bool,
    /// JSON
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) fn run(self) -> anyhow::Result<Answer> {
        let dir = self.dir()?;
        let keys = self.keys()?;
        let identities = self.opening.identities()?;
        let only = self
            .sessions
            .iter()
            .map(|session| self.find(&dir, session))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let scope = Scope {
            dir: &dir,
            keys: &keys,
            identities: &identities,
            only: (!only.is_empty()).then_some(&only[..]),
            copy: self.copy,
        };
        let mut progress = Progress::new();
        let verdict = replay::audit(
            &scope,
            style(self.json),
            &mut |done, all| progress.tell(done, all),
            &mut out::stdout(),
        )?;
        Ok(answer(verdict))
    }

    /// Beside a file lies its ledger, whatever the configuration says.
    fn dir(&self) -> anyhow::Result<PathBuf> {
        let file = self.sessions.first().map(Path::new);
        match (&self.place.dir, file) {
            (None, Some(file)) if is_path(file) => Ok(file
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty())
                .unwrap_or(Path::new("."))
                .to_owned()),
            (Some(_) | None, _) => self.place.dir(),
        }
    }

    fn keys(&self) -> anyhow::Result<Vec<PublicKey>> {
        if !self.key.is_empty() {
            let read = self.key.iter().map(|path| PublicKey::from_file(path));
            let keys: Result<Vec<Vec<PublicKey>>, _> = read.collect();
            return Ok(keys?.concat());
        }
        // Without a configuration a directory with a ledger asks for a key, and says how.
        let Ok(config) = self.place.with.load() else {
            return Ok(Vec::new());
        };
        let path = NodeKey::public_file(&config.state_dir);
        if !path.exists() {
            return Ok(Vec::new());
        }
        Ok(PublicKey::from_file(&path)?)
    }

    /// One that is not there is asked of the ledger.
    fn find(&self, dir: &Path, session: &str) -> anyhow::Result<PathBuf> {
        if is_path(Path::new(session)) {
            return Ok(PathBuf::from(session));
        }
        match (replay::find(dir, session), session.parse::<SessionId>()) {
            (Ok(path), _) => Ok(path),
            (Err(ReplayError::NotFound(_)), Ok(session)) => Ok(path_of(dir, session)),
            (Err(error), _) => Err(error.into()),
        }
    }
}

fn is_path(session: &Path) -> bool {
    session.components().count() > 1 || session.extension().is_some_and(|end| end == "rec")
}

/// How far it is, for who waits at a terminal.
struct Progress {
    shown: bool,
    next: Instant,
}

impl Progress {
    const EVERY: Duration = Duration::from_millis(200);

    fn new() -> Progress {
        Progress {
            shown: false,
            next: Instant::now() + Progress::EVERY,
        }
    }

    fn tell(&mut self, done: usize, all: usize) {
        let mut to = std::io::stderr();
        if done == all {
            if self.shown {
                let _ = write!(to, "\r\x1b[K"); // nobody is there to be told
            }
            return;
        }
        if Instant::now() < self.next || !to.is_terminal() {
            return;
        }
        self.next = Instant::now() + Progress::EVERY;
        self.shown = true;
        let _ = write!(to, "\r\x1b[K{done} of {all} recordings"); // as above
    }
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  node-agent sessions prune\n  \
                  node-agent sessions prune --config /etc/node-agent/config.yaml")]
pub(crate) struct Prune {
    #[command(flatten)]
    place: Place,
}

impl Prune {
    pub(super) fn run(self) -> anyhow::Result<Answer> {
        let config = self.place.with.load()?;
        let keep = Keep::by(&config.recording);
        let key = NodeKey::from_file(&NodeKey::key_file(&config.state_dir))
            .context("what is removed leaves a tombstone, which the node's key signs")?;
        let tombstones = Tombstones {
            key: Arc::new(key),
            by: By::Operator,
        };
        let dir = &config.recording.dir;
        let pruned = prune(dir, keep, clock::now(), Some(&tombstones))?;
        out::line(format!(
            "{} recordings removed, {} bytes; {} bytes left",
            pruned.removed.len(),
            pruned.bytes,
            pruned.left
        ))?;
        Ok(Answer::Good)
    }
}
