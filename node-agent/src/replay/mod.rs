//! IO. Reads recordings and shows them. Connects to nothing and runs nothing, but for the receiver that
//! an export is sent to, and for `against/`, which runs a session again at a scratch database when it
//! is told to: nothing else here calls it.
//!
//! Everything here writes to a `Write` and gives a result back; the command line is `main.rs`'s
//! business. Whatever came from a client or a database is shown with its control characters,
//! escapes and direction marks as visible text (`visible.rs`).

mod audit;
mod against;
mod backtest;
mod acts;
mod cell;
mod entry;
mod export;
mod filter;
mod find;
mod findings;
mod html;
mod json;
mod list;
pub mod player;
mod grep;
mod index;
mod raw;
mod read;
mod since;
mod table;
mod tail;
mod text;
mod told;
mod touched;
mod verify;
mod when;
mod words;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use crate::model::{visible, visible_json};
pub use against::{Again, AgainstError, AgainstOptions, Line, Origin, Run, origin, run_again};
pub use audit::{Audited, Scope, audit};
pub use backtest::{BacktestOptions, Summary, Tally, Wanted, backtest};
pub use entry::Entry;
pub use export::{Exported, Form, Otlp, OtlpError, Patience, SendError, export, rows, send};
pub use filter::{ErrorCode, Filter, RulePattern, Ruling, TablePattern};
pub use find::{all, find};
pub use findings::{Finding, findings, list_findings};
pub use grep::{
    Case, Colour, Excerpt, Found as Match, Hit, NotAPattern, Pattern, Place, Question, Searched,
    Syntax, Telling, Who, Within, grep, tell,
};
pub use html::page;
pub(crate) use html::{Attribute, STYLE, Text, policy};
pub use index::{Catalogue, Coverage, Trust, by_header, catalogue};
pub use list::{Order, Sort, entries, list, print, show};
pub use read::{Back, Outcome, Progress, Recording, Said, State};
pub use since::{NotAMoment, since};
pub use tail::tail;
pub use verify::{Found, Report, verify};
pub(crate) use when::full as moment;

use crate::model::{RecipientId, UnixMillis};
use crate::record::{BlockError, Identities};

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// How to play.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Options {
    /// Text or JSON.
    pub style: Style,
    /// 1: as it happened, 2: twice as fast. `None`: without waiting.
    pub speed: Option<f64>,
    /// Cells longer than this many characters are cut in tables, and say so. 0: never.
    pub width: usize,
    /// A session that is open: go on as it does, until it ends.
    pub follow: bool,
}

/// The answer of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "it decides the exit status"]
pub enum Verdict {
    /// Exit status 0.
    Good,
    /// Exit status 1: a recording was changed.
    Bad,
}

/// A recording cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// No such recording.
    #[error("no recording begins with {0}")]
    NotFound(String),
    /// More than one.
    #[error("{name} stands for more than one recording: {}", .found.join(", "))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// The first few it may stand for.
        found: Vec<String>,
    },
    /// Not a session's name.
    #[error("a session is named s-, then up to sixteen hex digits; {0:?} is not")]
    NotAName(String),
    /// A recording or the directory cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: BlockError,
    },
    /// Its lines are sealed, and nothing at hand opens them.
    #[error(
        "{} is sealed to {}; give the private key of one of them with --identity FILE, or in \
         NODE_AGENT_IDENTITY=FILE{}", path.display(), ids(.recipients),
        if *.tried { ": those at hand are others" } else { "" }
    )]
    Sealed {
        /// Which.
        path: PathBuf,
        /// To whom.
        recipients: Vec<RecipientId>,
        /// Identities were given.
        tried: bool,
    },
    /// There is a ledger and nobody said whose.
    #[error(
        "{} is signed, and no key to verify it is at hand: give the node's with --key FILE \
         (node-key.pub in its state_dir)", ledger.display()
    )]
    NoKey {
        /// The ledger.
        ledger: PathBuf,
    },
    /// The output is gone.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}

impl ReplayError {
    fn read(path: &Path, source: impl Into<BlockError>) -> Self {
        ReplayError::Read {
            path: path.to_owned(),
            source: source.into(),
        }
    }
}

/// Names of recipients, for people.
fn ids(recipients: &[RecipientId]) -> String {
    let ids: Vec<_> = recipients.iter().map(RecipientId::to_string).collect();
    ids.join(", ")
}

/// How many threads to read with.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(16))
}

/// Plays a recording from its beginning to its end, or to the first damage, and says which.
pub fn play(
    path: &Path,
    identities: &Identities,
    options: &Options,
    out: &mut dyn Write,
) -> Result<Verdict, ReplayError> {
    let mut recording = Recording::open(path, identities)?;
    let mut pace = Pace {
        speed: options.speed,
        last: None,
    };
    let mut teller = match options.style {
        Style::Text => Teller::Text(text::Story::new(options.width)),
        Style::Json => Teller::Json,
    };
    loop {
        let event = match recording.next()? {
            Said::Event(event) => event,
            Said::End if options.follow && recording.again()? => {
                out.flush()?;
                std::thread::sleep(LOOK);
                continue;
            }
            Said::End => break,
        };
        if pace.wait(words::at(&event)) {
            out.flush()?;
        }
        match &mut teller {
            Teller::Text(story) => story.tell(&event, out)?,
            Teller::Json => json::event(&event, out)?,
        }
    }
    let state = recording.state();
    match teller {
        Teller::Text(story) => story.end(&state, out)?,
        Teller::Json => json::state(&state, out)?,
    }
    out.flush()?;
    Ok(state.verdict())
}

/// How often a session that is open is looked at for what has come.
const LOOK: Duration = Duration::from_millis(200);

enum Teller {
    Text(text::Story),
    Json,
}

/// Waits as long as the session did.
struct Pace {
    speed: Option<f64>,
    last: Option<UnixMillis>,
}

impl Pace {
    /// `true`: there was a pause, show what is there.
    fn wait(&mut self, at: Option<UnixMillis>) -> bool {
        let (Some(speed), Some(at)) = (self.speed.filter(|speed| *speed > 0.0), at) else {
            return false;
        };
        let last = self.last.replace(at).unwrap_or(at);
        let millis = at.0.saturating_sub(last.0).clamp(0, 24 * 3_600_000);
        let pause = Duration::from_millis(millis.unsigned_abs()).as_secs_f64() / speed;
        // A clock that jumped does not hold the viewer for days.
        std::thread::sleep(Duration::try_from_secs_f64(pause).unwrap_or_default());
        millis > 0
    }
}

#[cfg(test)]
mod showcase;
#[cfg(test)]
mod tests;
