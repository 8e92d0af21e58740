//! `sessions archive` and `sessions fetch`.

use std::path::PathBuf;

use anyhow::{Context, bail};
use serde_json::json;

use node_agent::archive::{Archiver, Settings, Told, Which, fetch};
use node_agent::clock;
use node_agent::replay::since;

use super::super::{Answer, out};
use super::{Place, WithConfig};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "What lies in the archive already is not sent again, and is never replaced by something \
    else: a recording that differs from what lies there is named, and both stay. The agent does the \
    same by itself every `recording.archive.every`.\n\n\
    Exit status 1: not all that is closed is in the archive, or something differs.\n\n\
    Examples:\n  node-agent sessions archive\n  node-agent sessions archive --dry-run\n  \
    node-agent sessions archive --dir ./old/recordings --json"
)]
pub(crate) struct Archive {
    #[command(flatten)]
    place: Place,
    /// Only say what would be sent
    #[arg(long)]
    dry_run: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

impl Archive {
    pub(super) fn run(self) -> anyhow::Result<Answer> {
        let mut settings = settings(&self.place.with)?;
        if let Some(dir) = &self.place.dir {
            settings.dir.clone_from(dir);
        }
        let mut archiver = Archiver::new(settings)?;
        let progress = out::Progress::new("recordings are left");
        let first = std::sync::OnceLock::new();
        let waiting = |count: u64| {
            let all = *first.get_or_init(|| count);
            progress.tell(
                usize::try_from(count).unwrap_or(usize::MAX),
                usize::try_from(all).unwrap_or(usize::MAX),
            );
        };
        let broken = std::cell::RefCell::new(None);
        let told = |told: &Told| {
            if let Err(error) = say(told, self.json) {
                broken.borrow_mut().get_or_insert(error);
            }
        };
        let round = runtime()?.block_on(archiver.round(self.dry_run, &waiting, &told))?;
        drop(progress);
        if let Some(error) = broken.into_inner() {
            return Err(error);
        }
        if self.json {
            let line = json!({
                "event": "round", "sent": round.sent, "bytes": round.bytes, "waiting": round.waiting,
                "differ": round.differ, "unclosed": round.unclosed, "abandoned": round.abandoned,
                "failed": round.failed, "dry_run": self.dry_run,
            });
            out::line(line)?;
        } else {
            let mut words = format!("{} recordings sent, {} bytes", round.sent, round.bytes);
            for (count, what) in [
                (round.waiting, "are not there"),
                (round.differ, "differ from what lies there"),
                (round.unclosed, "have no end yet"),
                (round.abandoned as u64, "unfinished uploads were given up"),
            ] {
                if count > 0 {
                    words.push_str(&format!("; {count} {what}"));
                }
            }
            out::line(words)?;
            if let Some(why) = &round.failed {
                out::warning(&format!("not all of it is in the archive: {why}"));
            }
        }
        let good = round.failed.is_none() && round.differ == 0;
        Ok(if good { Answer::Good } else { Answer::No })
    }
}

fn say(told: &Told, json: bool) -> anyhow::Result<()> {
    let (event, name, object, bytes, why) = match told {
        Told::Sent {
            session,
            object,
            bytes,
            suspect,
        } => (
            "sent",
            session.to_string(),
            Some(object),
            Some(*bytes),
            suspect.clone(),
        ),
        Told::There { session, object } => ("there", session.to_string(), Some(object), None, None),
        Told::Would { session, bytes } => ("would", session.to_string(), None, Some(*bytes), None),
        Told::Differs { session, object } => {
            ("differs", session.to_string(), Some(object), None, None)
        }
        Told::LedgerDiffers { segment } => ("differs", segment.to_string(), None, None, None),
        Told::Failed { session, why } => {
            ("failed", session.to_string(), None, None, Some(why.clone()))
        }
    };
    if json {
        return out::line(json!({
            "event": event, "session": name, "object": object, "bytes": bytes, "why": why,
        }));
    }
    let line = match event {
        "sent" => match why {
            Some(why) => format!("{name}: sent as it is, and it is NOT what it should be: {why}"),
            None => format!("{name}: sent, {} bytes", bytes.unwrap_or_default()),
        },
        "there" => format!("{name}: lay there already"),
        "would" => format!("{name}: would be sent, {} bytes", bytes.unwrap_or_default()),
        "differs" => format!(
            "{name}: DIFFERS from what lies in the archive, which stays as it is: one of them was changed"
        ),
        _ => format!("{name}: not sent: {}", why.unwrap_or_default()),
    };
    out::line(line)
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "With the recordings come the node's ledger and its public key, so that what was fetched \
    can be verified, replayed and searched anywhere. The key that comes from the archive is only as \
    good as the archive: hold its fingerprint against the one that `node-agent status` tells.\n\n\
    Examples:\n  node-agent sessions fetch s-00c0ffee00c0ffee --to ./case-7\n  \
    node-agent sessions fetch --since 7d --to ./week\n  \
    node-agent sessions verify --dir ./week --key ./week/node-key.pub --copy\n  \
    node-agent replay --dir ./week s-00c0ffee00c0ffee"
)]
pub(crate) struct Fetch {
    #[command(flatten)]
    with: WithConfig,
    /// Sessions, or the beginnings of their names
    sessions: Vec<String>,
    /// All that began since: 2h, 7d, yesterday, 2026-01-31, 2026-01-31T12:00:00Z
    #[arg(long, conflicts_with = "sessions")]
    since: Option<String>,
    /// All there are
    #[arg(long, conflicts_with_all = ["sessions", "since"])]
    all: bool,
    /// Into which directory; it is made
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Of which node, as it is called in the archive (default: this one)
    #[arg(long)]
    node: Option<String>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

impl Fetch {
    pub(super) fn run(self) -> anyhow::Result<Answer> {
        let mut settings = settings(&self.with)?;
        if let Some(node) = self.node {
            settings.node = node;
        }
        let which = match (&self.since, self.all) {
            (Some(text), _) => Which::Since(since(text, clock::now())?),
            (None, true) => Which::All,
            (None, false) if self.sessions.is_empty() => {
                bail!("say which: sessions, --since or --all")
            }
            (None, false) => Which::Sessions(self.sessions),
        };
        let mut broken = None;
        let count = runtime()?.block_on(fetch(&settings, &which, &self.to, &mut |one| {
            let said = if self.json {
                out::line(json!({
                    "event": "fetched", "session": one.session, "file": one.path,
                    "bytes": one.bytes, "already": one.already,
                }))
            } else {
                let how = if one.already {
                    "lay here already"
                } else {
                    "fetched"
                };
                out::line(format!("{}: {how}, {} bytes", one.session, one.bytes))
            };
            if let Err(error) = said {
                broken.get_or_insert(error);
            }
        }))?;
        if let Some(error) = broken {
            return Err(error);
        }
        if !self.json {
            let to = self.to.display();
            out::line(format!(
                "{count} recordings are in {to}, with their ledger; verify them: node-agent sessions \
                 verify --dir {to} --key {to}/node-key.pub --copy"
            ))?;
        }
        Ok(Answer::Good)
    }
}

fn settings(with: &WithConfig) -> anyhow::Result<Settings> {
    Settings::by(&with.load()?).context("the configuration has no recording.archive")
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}
