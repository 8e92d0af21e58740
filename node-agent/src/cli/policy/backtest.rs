//! `policy backtest`.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::ValueEnum;

use node_agent::clock;
use node_agent::feed::load_policies;
use node_agent::model::UnixMillis;
use node_agent::replay::{BacktestOptions, Style, Tally, Wanted, all, backtest};

use super::super::sessions::{Opening, Place};
use super::super::{Answer, out};

#[derive(Debug, clap::Args)]
pub(crate) struct Backtest {
    /// The policies to judge by, a file or a directory; may be given again
    #[arg(long, required = true, value_name = "PATH")]
    policies: Vec<PathBuf>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    opening: Opening,
    /// Sessions, beginnings of their names, or files; none: all of the directory
    #[arg(value_name = "RECORDING")]
    recordings: Vec<String>,
    /// Only this workload's sessions
    #[arg(long)]
    workload: Option<String>,
    /// Only this user's
    #[arg(long)]
    user: Option<String>,
    /// Only those to this target
    #[arg(long)]
    target: Option<String>,
    /// Only those that began then or later: RFC 3339, a day, or so long ago (7d, 12h, 30m)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only those that began before
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Tell too where the decision is the same by another rule, with other masks, limits or reasons
    #[arg(long)]
    all_changes: bool,
    /// Compare as if policies that only observe were enforced, then and now
    #[arg(long)]
    observed: bool,
    /// Examples of each group
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    examples: usize,
    /// Which flips make exit status 1
    #[arg(long, value_enum, default_value = "any")]
    fail_on: FailOn,
    /// JSON
    #[arg(long)]
    json: bool,
}

/// Which flips count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// What ran and would be refused, held or stopped: what would break
    Deny,
    /// What was refused, held or stopped and would run: what would be let through
    Allow,
    /// Both
    Any,
    /// Neither
    None,
}

impl Backtest {
    pub(super) fn run(self) -> anyhow::Result<Answer> {
        let set = load_policies(&self.policies)?;
        let now = clock::now();
        let moment = |text: &Option<String>| text.as_deref().map(|t| moment(t, now)).transpose();
        let options = BacktestOptions {
            wanted: Wanted {
                since: moment(&self.since)?,
                until: moment(&self.until)?,
                workload: self.workload,
                user: self.user,
                target: self.target,
            },
            all_changes: self.all_changes,
            observed: self.observed,
            examples: self.examples,
        };
        let paths = if self.recordings.is_empty() {
            all(&self.place.dir()?)?
        } else {
            let found = self.recordings.iter().map(|name| self.place.find(name));
            found.collect::<anyhow::Result<_>>()?
        };
        let mut progress = Progress::of(paths.len());
        let tally = backtest(
            &set,
            &paths,
            &self.opening.identities()?,
            &options,
            &mut |done| progress.tell(done),
        );
        progress.end();
        let style = if self.json { Style::Json } else { Style::Text };
        tally.print(style, &mut out::stdout())?;
        if !tally.unreadable.is_empty() {
            let (some, many) = (tally.unreadable.len(), paths.len());
            bail!("{some} of {many} recordings cannot be read to their end");
        }
        // Nothing judged is no proof: a wrong directory or filter must not look like a green run.
        if tally.summary.judged == 0 {
            bail!(
                "no recorded decision was judged; look at the directory, the filters and the reasons above"
            );
        }
        Ok(match fails(self.fail_on, &tally) {
            true => Answer::No,
            false => Answer::Good,
        })
    }
}

fn fails(on: FailOn, tally: &Tally) -> bool {
    match on {
        FailOn::Deny => tally.summary.stricter > 0,
        FailOn::Allow => tally.summary.freer > 0,
        FailOn::Any => tally.summary.flips > 0,
        FailOn::None => false,
    }
}

/// A moment as people write it.
fn moment(text: &str, now: UnixMillis) -> anyhow::Result<UnixMillis> {
    let ago = |unit: char, millis: i64| {
        let number: i64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(UnixMillis(
            now.0.saturating_sub(number.saturating_mul(millis)),
        ))
    };
    let units = [
        ('d', 86_400_000),
        ('h', 3_600_000),
        ('m', 60_000),
        ('s', 1000),
    ];
    if let Some(at) = units
        .into_iter()
        .find_map(|(unit, millis)| ago(unit, millis))
    {
        return Ok(at);
    }
    let whole = match text.len() {
        // A day begins at its midnight, UTC.
        10 => format!("{text}T00:00:00Z"),
        _ => text.to_owned(),
    };
    let format = &time::format_description::well_known::Rfc3339;
    let at = time::OffsetDateTime::parse(&whole, format)
        .with_context(|| format!("{text:?} is no time: 2026-01-14T03:00:00Z, 2026-01-14 or 7d"))?;
    let millis = at.unix_timestamp_nanos() / 1_000_000;
    Ok(UnixMillis(i64::try_from(millis).unwrap_or(i64::MAX)))
}

/// How far it is, on a terminal.
struct Progress {
    of: usize,
    shown: bool,
    terminal: bool,
}

impl Progress {
    fn of(of: usize) -> Self {
        Progress {
            of,
            shown: false,
            terminal: std::io::stderr().is_terminal(),
        }
    }

    fn tell(&mut self, done: usize) {
        if self.terminal && done.is_multiple_of(16) {
            self.shown = true;
            let _ = write!(std::io::stderr(), "\r{done} of {} recordings", self.of);
        }
    }

    fn end(&mut self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_people_write_them() {
        let now = UnixMillis(1_000_000_000_000);
        for (text, at) in [
            ("1970-01-02", Some(86_400_000)),
            ("1970-01-01T00:00:01Z", Some(1000)),
            ("1d", Some(1_000_000_000_000 - 86_400_000)),
            ("30m", Some(1_000_000_000_000 - 1_800_000)),
            ("yesterday", None),
            ("", None),
            ("d", None),
        ] {
            assert_eq!(moment(text, now).ok().map(|at| at.0), at, "{text}");
        }
    }
}
