//! `sessions` and `replay`.

use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};

use node_agent::clock;
use node_agent::record::{Keep, prune};
use node_agent::replay::{self, Options, Style, Verdict};

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
    /// Verify recordings; exit status 1: one was changed
    Verify {
        #[command(flatten)]
        place: Place,
        /// Sessions; none: all of them
        sessions: Vec<String>,
        /// JSON
        #[arg(long)]
        json: bool,
    },
    /// End a live session
    Kill {
        #[command(flatten)]
        place: Place,
        /// The session
        session: String,
    },
    /// Remove old closed recordings now, as `recording.retention` and `max_bytes` say
    Prune {
        #[command(flatten)]
        place: Place,
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

fn style(json: bool) -> Style {
    if json { Style::Json } else { Style::Text }
}

fn answer(verdict: Verdict) -> Answer {
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
            SessionsCommand::Verify {
                place,
                sessions,
                json,
            } => {
                let paths = if sessions.is_empty() {
                    replay::all(&place.dir()?)?
                } else {
                    sessions
                        .iter()
                        .map(|s| place.find(s))
                        .collect::<anyhow::Result<_>>()?
                };
                Ok(answer(replay::verify(
                    &paths,
                    style(json),
                    &mut out::stdout(),
                )?))
            }
            SessionsCommand::Kill { place, session } => {
                let uri = format!("/v1/sessions/{session}/kill");
                let _: serde_json::Value =
                    live::question(&place.with, None, hyper::Method::POST, &uri)?;
                out::line(format!("{session} ends"))?;
                Ok(Answer::Good)
            }
            SessionsCommand::Prune { place } => {
                let recording = place.with.load()?.recording;
                let keep = Keep {
                    max_age: recording.retention,
                    max_bytes: recording.max_bytes,
                };
                let pruned = prune(&recording.dir, keep, clock::now())?;
                out::line(format!(
                    "{} recordings removed, {} bytes; {} bytes left",
                    pruned.removed.len(),
                    pruned.bytes,
                    pruned.left
                ))?;
                Ok(Answer::Good)
            }
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  node-agent replay s-00c0ffee00c0ffee\n  \
                  node-agent replay --speed 4 s-00c0\n  \
                  node-agent replay --format json ./s-00c0ffee00c0ffee.rec | jq .")]
pub(crate) struct Replay {
    #[command(flatten)]
    place: Place,
    /// The session, the beginning of its name, or a file
    session: String,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// 1: as it happened, 2: twice as fast; without it: no waiting
    #[arg(long, value_name = "FACTOR")]
    speed: Option<f64>,
    /// Cut cells longer than this many characters; 0: never
    #[arg(long, value_name = "CHARACTERS", default_value_t = 60)]
    width: usize,
}

impl Replay {
    pub(crate) fn run(self) -> anyhow::Result<Answer> {
        let path: &Path = &self.place.find(&self.session)?;
        let style = match self.format {
            Format::Text => Style::Text,
            Format::Json => Style::Json,
        };
        let options = Options {
            style,
            speed: self.speed,
            width: self.width,
        };
        Ok(answer(replay::play(path, &options, &mut out::stdout())?))
    }
}
