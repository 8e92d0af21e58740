//! `sessions`.

mod verify;

use std::path::PathBuf;

use clap::Subcommand;

use node_agent::replay::{self, Filter, Style, Verdict};
use node_agent::telemetry::Seen;

use super::{Answer, WithConfig, live, out};

#[derive(Debug, Subcommand)]
pub(crate) enum SessionsCommand {
    /// Recorded sessions, or the live ones
    Ls {
        #[command(flatten)]
        place: Place,
        /// Only this workload's
        #[arg(long)]
        workload: Option<String>,
        /// Only this user's
        #[arg(long)]
        user: Option<String>,
        /// Only those to this target
        #[arg(long)]
        target: Option<String>,
        /// Only those in which something was refused
        #[arg(long)]
        denied: bool,
        /// Ask the daemon for the sessions of this moment
        #[arg(long)]
        live: bool,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
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
        let mut to = out::stdout();
        match self {
            SessionsCommand::Ls {
                place,
                json,
                live: true,
                ..
            } => {
                let seen: Vec<Seen> =
                    live::question(&place.with, None, hyper::Method::GET, "/v1/sessions")?;
                list_live(&seen, json)?;
                Ok(Answer::Good)
            }
            SessionsCommand::Ls {
                place,
                workload,
                user,
                target,
                denied,
                json,
                live: false,
            } => {
                let filter = Filter {
                    workload,
                    user,
                    target,
                    denied,
                    ..Filter::default()
                };
                let _count = replay::list(&place.dir()?, &filter, style(json), &mut to)?;
                Ok(Answer::Good)
            }
            SessionsCommand::Show {
                place,
                session,
                json,
            } => Ok(answer(replay::show(
                &place.find(&session)?,
                style(json),
                &mut to,
            )?)),
            SessionsCommand::Findings {
                place,
                target,
                json,
            } => {
                let dir = place.dir()?;
                let _count = replay::list_findings(&dir, target.as_deref(), style(json), &mut to)?;
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
        }
    }
}

fn list_live(seen: &[Seen], json: bool) -> anyhow::Result<()> {
    if json {
        return out::json(&seen);
    }
    let head = [
        "SESSION",
        "WORKLOAD",
        "USER",
        "TARGET",
        "DATABASE",
        "STATEMENTS",
        "DENIED",
        "ROWS",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for one in seen {
        rows.push(vec![
            one.session.id.to_string(),
            replay::visible(&one.session.workload).into_owned(),
            replay::visible(&one.session.user).into_owned(),
            replay::visible(&one.session.target).into_owned(),
            replay::visible(&one.session.database).into_owned(),
            one.statements.to_string(),
            one.denied.to_string(),
            one.rows.to_string(),
        ]);
    }
    out::table(&rows)
}
