//! `replay`.

use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ValueEnum;

use node_agent::record::Identities;
use node_agent::replay::{self, Options, Style, Verdict};

use super::against::Against;
use super::sessions::{Opening, Place, answer};
use super::{Answer, out};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For reading, line by line
    Text,
    /// One JSON object a line
    Json,
    /// One page that needs nothing else
    Html,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "On a terminal the session is played: `?` shows the keys. Elsewhere, and with --format, it is \
                  printed.\nNothing is connected to and nothing is run, but with --against. Exit status 1: the recording was changed.\n\n\
                  Examples:\n  node-agent replay s-00c0ffee00c0ffee\n  \
                  node-agent replay --follow s-00c0\n  \
                  node-agent replay --format html -o session.html s-00c0\n  \
                  node-agent replay --format text --speed 4 s-00c0\n  \
                  node-agent replay --format json ./s-00c0ffee00c0ffee.rec | jq .\n  \
                  node-agent replay s-00c0 --against 'postgres://me@scratch/app' --dry-run\n  \
                  node-agent replay s-00c0 --against 'postgres://me@scratch/app' --stop-on-difference"
)]
pub(crate) struct Replay {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    opening: Opening,
    /// The session, the beginning of its name, or a file
    session: String,
    /// How to print. Without it: played on a terminal, text elsewhere
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// 1: as it happened, 2: twice as fast; without it, text and JSON do not wait
    #[arg(long, value_name = "FACTOR")]
    speed: Option<f64>,
    /// Go on as a session that is open does
    #[arg(long)]
    follow: bool,
    /// Cut cells of text longer than this many characters; 0: never
    #[arg(long, value_name = "CHARACTERS", default_value_t = 60)]
    width: usize,
    /// Write to this file, which only you can read, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    against: Against,
}

impl Replay {
    pub(crate) fn run(self) -> anyhow::Result<Answer> {
        let path: &Path = &self.place.find(&self.session)?;
        let identities = &self.opening.identities()?;
        if self.against.wanted() {
            return self.against.run(path, identities, self.speed);
        }
        let format = match (self.format, &self.output) {
            (Some(format), _) => format,
            (None, Some(file)) => by_name(file),
            (None, None) if plays() => {
                let verdict = replay::player::play(path, identities, self.speed, self.follow)?;
                return Ok(answer(verdict));
            }
            (None, None) => Format::Text,
        };
        if format == Format::Html && self.follow {
            bail!("a page is written once: --follow goes with text, JSON and the player");
        }
        let verdict = match &self.output {
            None => self.write(path, identities, format, &mut out::stdout())?,
            Some(file) => whole(file, |to| self.write(path, identities, format, to))
                .with_context(|| format!("cannot write {}", file.display()))?,
        };
        Ok(answer(verdict))
    }

    fn write(
        &self,
        path: &Path,
        identities: &Identities,
        format: Format,
        to: &mut dyn Write,
    ) -> anyhow::Result<Verdict> {
        let style = match format {
            Format::Html => return Ok(replay::page(path, identities, to)?),
            Format::Text => Style::Text,
            Format::Json => Style::Json,
        };
        let options = Options {
            style,
            speed: self.speed,
            width: self.width,
            follow: self.follow,
        };
        Ok(replay::play(path, identities, &options, to)?)
    }
}

/// Somebody sits there, with keys and a screen.
fn plays() -> bool {
    let capable = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    capable && io::stdout().is_terminal() && io::stdin().is_terminal()
}

fn by_name(file: &Path) -> Format {
    match file.extension().and_then(|ending| ending.to_str()) {
        Some("html" | "htm") => Format::Html,
        Some("json" | "jsonl") => Format::Json,
        Some(_) | None => Format::Text,
    }
}

/// Writes a file that is there whole or not at all, for its owner only: what was asked and delivered
/// is in it.
fn whole(
    file: &Path,
    write: impl FnOnce(&mut dyn Write) -> anyhow::Result<Verdict>,
) -> anyhow::Result<Verdict> {
    let name = file.file_name().context("it names no file")?;
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}", std::process::id()));
    let beside = file.with_file_name(beside);
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    let written = (|| {
        let mut to = BufWriter::new(&made);
        let verdict = write(&mut to)?;
        to.flush()?;
        drop(to);
        made.sync_all()?;
        fs::rename(&beside, file)?;
        Ok(verdict)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&beside); // what went wrong matters more
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_there_whole_or_not_at_all_and_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("page.html");
        fs::write(&file, "before").unwrap();
        let failed = whole(&file, |to| {
            to.write_all(b"half")?;
            bail!("the disk is full")
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&file).unwrap(), b"before");
        let _verdict = whole(&file, |to| {
            to.write_all(b"after")?;
            Ok(Verdict::Good)
        })
        .unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"after");
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_ending_of_the_file_says_how() {
        for (name, format) in [
            ("a.html", Format::Html),
            ("a.jsonl", Format::Json),
            ("a", Format::Text),
        ] {
            assert_eq!(by_name(Path::new(name)), format);
        }
    }
}
