//! `sessions export`.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ValueEnum;

use node_agent::model::StatementSeq;
use node_agent::record::Identities;
use node_agent::replay::{self, Filter, Form, Otlp, Patience, State, Verdict};

use super::super::sessions::Place;
use super::super::{Answer, out};
use super::{Opening, Which, recordings};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "As recorded, so masked. CSV is safe to open in a spreadsheet: what would be a formula is made \
                  text by an apostrophe. OCSF events are Datastore Activity (class 6005) of OCSF 1.3.0.\n\n\
                  --otlp sends in batches to POST URL/v1/logs, JSON encoding; again, with growing pauses, where \
                  the receiver is away or busy, for a minute. OTEL_EXPORTER_OTLP_HEADERS (key=value,key=value) \
                  adds headers.\n\n\
                  Exit status: 0 done, 1 a recording was changed (what precedes the damage was written), 2 it \
                  could not be done.\n\n\
                  Examples:\n  node-agent sessions export s-00c0 --format csv -o statements.csv\n  \
                  node-agent sessions export s-00c0 --rows 12 -o rows.csv\n  \
                  node-agent sessions export --since yesterday --until today --format ocsf -o day.jsonl\n  \
                  node-agent sessions export --since 1h --otlp http://127.0.0.1:4318"
)]
pub(crate) struct Export {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    opening: Opening,
    /// The sessions (default: all that fit)
    sessions: Vec<String>,
    /// What to write
    #[arg(long, value_enum, default_value = "jsonl", conflicts_with_all = ["rows", "otlp"])]
    format: As,
    /// Only the rows of this statement of one session, as CSV
    #[arg(long, value_name = "STATEMENT", conflicts_with = "otlp")]
    rows: Option<u64>,
    /// Into this file, for its owner only (default: standard output)
    #[arg(short = 'o', long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Send OCSF events to this OTLP receiver
    #[arg(long, value_name = "URL", conflicts_with = "output")]
    otlp: Option<String>,
    // Last: its heading stands over what follows.
    #[command(flatten)]
    which: Which,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum As {
    /// Every event, one JSON object a line
    Jsonl,
    /// Statements, one a line
    Csv,
    /// OCSF events, one JSON object a line
    Ocsf,
}

impl Export {
    pub(crate) fn run(self) -> anyhow::Result<Answer> {
        let filter = self.which.filter();
        let identities = self.opening.identities()?;
        let paths = recordings(&self.place, &identities, &self.sessions, &filter)?;
        if let Some(url) = &self.otlp {
            return send(&paths, &identities, &filter, url);
        }
        let mut to = To::open(self.output.as_deref())?;
        let states = match self.rows {
            Some(seq) => match paths.as_slice() {
                [path] => rows(path, &identities, seq, to.write()),
                _ => bail!("--rows is of one statement of one session: name the session"),
            },
            None => {
                let form = match self.format {
                    As::Jsonl => Form::Jsonl,
                    As::Csv => Form::Csv,
                    As::Ocsf => Form::Ocsf,
                };
                replay::export(&paths, &identities, form, &filter, to.write()).map_err(Into::into)
            }
        };
        let states = match states {
            Err(error) if gone(&error) => return Ok(Answer::Good),
            states => states?,
        };
        to.done()?;
        Ok(verdict(&states))
    }
}

/// A reader that goes away (`| head`) is no error.
fn gone(error: &anyhow::Error) -> bool {
    let written = error.downcast_ref::<replay::ReplayError>();
    matches!(written, Some(replay::ReplayError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe)
}

fn rows(
    path: &Path,
    identities: &Identities,
    seq: u64,
    to: &mut dyn Write,
) -> anyhow::Result<Vec<State>> {
    let told = replay::rows(path, identities, StatementSeq(seq), to)?;
    if !told.decided {
        bail!("{} has no statement #{seq}", told.state.session);
    }
    if told.beyond > 0 {
        out::warning(&format!(
            "{} bytes more were delivered than a recording keeps of one statement",
            told.beyond
        ));
    }
    if told.long > 0 {
        out::warning(&format!(
            "{} values are longer than a recording keeps, and empty here",
            told.long
        ));
    }
    Ok(vec![told.state])
}

fn send(
    paths: &[PathBuf],
    identities: &Identities,
    filter: &Filter,
    url: &str,
) -> anyhow::Result<Answer> {
    let headers = std::env::var("OTEL_EXPORTER_OTLP_HEADERS").unwrap_or_default();
    let headers = headers
        .split(',')
        .filter(|pair| !pair.trim().is_empty())
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => bail!("OTEL_EXPORTER_OTLP_HEADERS is not key=value,key=value"),
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut to = Otlp::new(url, &headers, Patience::default())?;
    let states = replay::send(paths, identities, filter, &mut to)?;
    out::line(format!(
        "{} events of {} recordings were taken",
        to.sent(),
        paths.len()
    ))?;
    if let Some((rejected, said)) = to.rejected() {
        bail!("the receiver did not want {rejected} events: {said}");
    }
    Ok(verdict(&states))
}

fn verdict(states: &[State]) -> Answer {
    let mut answer = Answer::Good;
    for state in states {
        match state.verdict() {
            Verdict::Good => {}
            Verdict::Bad => {
                out::warning(&format!("{}: {}", state.session, state.sentence()));
                answer = Answer::No;
            }
        }
    }
    answer
}

enum To {
    Stdout(BufWriter<io::StdoutLock<'static>>),
    File(BufWriter<File>, PathBuf),
}

impl To {
    fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else {
            return Ok(To::Stdout(out::stdout()));
        };
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(To::File(BufWriter::new(file), path.to_owned()))
    }

    fn write(&mut self) -> &mut dyn Write {
        match self {
            To::Stdout(to) => to,
            To::File(to, _) => to,
        }
    }

    fn done(self) -> anyhow::Result<()> {
        if let To::File(mut to, path) = self {
            let written = to.flush().and_then(|()| to.get_ref().sync_all());
            written.with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}
