//! `sessions`.

mod archive;
mod verify;

use std::path::PathBuf;

use clap::Subcommand;

use node_agent::replay::{self, Style, Verdict};

use super::{Answer, WithConfig, live, out, search};

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
                session,
                json,
            } => Ok(answer(replay::show(
                &place.find(&session)?,
                style(json),
                &mut out::stdout(),
            )?)),
            SessionsCommand::Findings {
                place,
                target,
                json,
            } => {
                let dir = place.dir()?;
                let _count = replay::list_findings(
                    &dir,
                    target.as_deref(),
                    style(json),
                    &mut out::stdout(),
                )?;
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
        }
    }
}
