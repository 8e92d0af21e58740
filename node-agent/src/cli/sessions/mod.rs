//! `sessions`.

mod archive;
mod verify;

use std::path::PathBuf;

use anyhow::Context;
use clap::Subcommand;

use node_agent::record::{Identities, Identity};
use node_agent::replay::{self, Style, Verdict};

use super::{Answer, WithConfig, live, out, search};

/// The environment variable that names a file with private keys.
const IDENTITY: &str = "NODE_AGENT_IDENTITY";

#[derive(Debug, Subcommand)]
pub(crate) enum SessionsCommand {
    /// Recorded sessions, or the live ones
    Ls(search::Ls),
    /// Look for something in what was asked, touched, delivered and said
    Grep(search::Grep),
    /// What is recorded, as it is recorded
    Tail(search::Tail),
    /// For other programs: JSON lines, CSV, OCSF, OTLP
    Export(search::Export),
    /// Bring the index that listings use up to date, or make it anew
    Index(search::Index),
    /// One session: who, where, one line a statement
    Show {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        opening: Opening,
        /// The session, or the beginning of its name
        session: String,
        /// JSON
        #[arg(long)]
        json: bool,
    },
    /// What the content net found, by column, in all recordings
    Findings {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        opening: Opening,
        /// Only in this target
        #[arg(long)]
        target: Option<String>,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Verify recordings against the signed ledger; exit status 1: something was changed, cut or
    /// deleted
    Verify(verify::Verify),
    /// End a live session
    Kill {
        #[command(flatten)]
        place: Place,
        /// The session
        session: String,
    },
    /// Remove old closed recordings now, as `recording.retention`, `max_bytes` and
    /// `workload_max_bytes` say; each leaves a signed tombstone
    Prune(verify::Prune),
    /// Send closed recordings and the ledger to the archive now, as far as they are not there
    Archive(archive::Archive),
    /// Bring recordings back from the archive, with their ledger
    Fetch(archive::Fetch),
    /// Make a pair of keys for those who may read recordings. Not on a node: the private one goes into a new
    /// file, and the public one is printed, for `recording.encrypt_to`
    Keygen {
        /// The new file, which only you can read
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// Where recordings are.
#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    #[command(flatten)]
    with: WithConfig,
    /// The directory of recordings (default: the configuration's)
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Place {
    pub(super) fn with(&self) -> &WithConfig {
        &self.with
    }

    pub(super) fn dir(&self) -> anyhow::Result<PathBuf> {
        match &self.dir {
            Some(dir) => Ok(dir.clone()),
            None => Ok(self.with.load()?.recording.dir),
        }
    }

    /// A file as given, or a session's recording.
    pub(super) fn find(&self, session: &str) -> anyhow::Result<PathBuf> {
        if session.contains('/') || session.ends_with(".rec") {
            return Ok(PathBuf::from(session));
        }
        Ok(replay::find(&self.dir()?, session)?)
    }
}

/// What opens recordings that are sealed.
#[derive(Debug, clap::Args)]
pub(crate) struct Opening {
    /// A private key that opens sealed recordings, as `sessions keygen` wrote it; may be given again
    /// (default: the file that NODE_AGENT_IDENTITY names)
    #[arg(long, value_name = "FILE")]
    identity: Vec<PathBuf>,
}

impl Opening {
    pub(super) fn identities(&self) -> anyhow::Result<Identities> {
        if self.identity.is_empty()
            && let Some(file) = std::env::var_os(IDENTITY).filter(|file| !file.is_empty())
        {
            let read = Identities::read(&[PathBuf::from(file)]);
            return read.with_context(|| format!("{IDENTITY} names no identity"));
        }
        Ok(Identities::read(&self.identity)?)
    }
}

/// Says what was not looked into.
pub(super) fn unopened(recordings: usize) {
    if recordings > 0 {
        out::warning(&format!(
            "{recordings} recordings are sealed and were not opened: of what was said in them nothing is \
             known here; give a private key that opens them with --identity FILE, or in {IDENTITY}=FILE"
        ));
    }
}

fn style(json: bool) -> Style {
    if json { Style::Json } else { Style::Text }
}

pub(super) fn answer(verdict: Verdict) -> Answer {
    match verdict {
        Verdict::Good => Answer::Good,
        Verdict::Bad => Answer::No,
    }
}

impl SessionsCommand {
    pub(crate) fn run(self) -> anyhow::Result<Answer> {
        match self {
            SessionsCommand::Ls(ls) => ls.run(),
            SessionsCommand::Grep(grep) => grep.run(),
            SessionsCommand::Tail(tail) => tail.run(),
            SessionsCommand::Export(export) => export.run(),
            SessionsCommand::Index(index) => index.run(),
            SessionsCommand::Show {
                place,
                opening,
                session,
                json,
            } => Ok(answer(replay::show(
                &place.find(&session)?,
                &opening.identities()?,
                style(json),
                &mut out::stdout(),
            )?)),
            SessionsCommand::Findings {
                place,
                opening,
                target,
                json,
            } => {
                let dir = place.dir()?;
                let sealed = replay::list_findings(
                    &dir,
                    &opening.identities()?,
                    target.as_deref(),
                    style(json),
                    &mut out::stdout(),
                )?;
                unopened(sealed);
                Ok(Answer::Good)
            }
            SessionsCommand::Verify(verify) => verify.run(),
            SessionsCommand::Kill { place, session } => {
                let uri = format!("/v1/sessions/{session}/kill");
                let _: serde_json::Value =
                    live::question(&place.with, None, hyper::Method::POST, &uri)?;
                out::line(format!("{session} ends"))?;
                Ok(Answer::Good)
            }
            SessionsCommand::Prune(prune) => prune.run(),
            SessionsCommand::Archive(archive) => archive.run(),
            SessionsCommand::Fetch(fetch) => fetch.run(),
            SessionsCommand::Keygen { file } => {
                let identity = Identity::make().context("the system gives no randomness")?;
                identity.write(&file)?;
                out::line(identity.recipient())?;
                Ok(Answer::Good)
            }
        }
    }
}
