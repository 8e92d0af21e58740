//! IO. Runs a recorded session again, at a scratch copy of its database, and says what is other.
//!
//! The one part of this room that connects. It is called by `replay --against` alone, never by what plays
//! or lists recordings. `plan.rs` says of a recorded statement whether and how it is run again, `line.rs`
//! is the connection, `compare.rs` holds what came against what is on record, `report.rs` tells.

mod compare;
mod line;
mod plan;
mod report;

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Recording, ReplayError, Said, Style};
use crate::model::{OriginalDst, SessionId, StatementSeq, TargetName, UpstreamAddr};
use crate::record::{Event, Identities, Login};
use crate::upstream::UpstreamError;

use compare::compare;
use plan::{Step, Todo};
use report::Teller;

pub use line::Line;

/// How to run a session again.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AgainstOptions {
    /// 1: with the recorded pauses, 2: twice as fast. `None`: without waiting.
    pub speed: Option<f64>,
    /// Run also what was refused then.
    pub denied: bool,
    /// Stop at the first difference.
    pub stop: bool,
    /// Text or JSON.
    pub style: Style,
    /// Name statements that came out the same, too.
    pub all: bool,
    /// Tell on standard error how far it is.
    pub progress: bool,
}

/// A session cannot be run again.
#[derive(Debug, thiserror::Error)]
pub enum AgainstError {
    /// The recording cannot be read.
    #[error(transparent)]
    Recording(#[from] ReplayError),
    /// The database cannot be reached, or refuses the login.
    #[error("the scratch database: {0}")]
    Login(#[from] UpstreamError),
    /// The connection broke.
    #[error("the connection to the scratch database broke: {0}")]
    Broken(#[source] io::Error),
    /// The database said what it may not say.
    #[error("the scratch database broke the protocol: {0}")]
    Garbled(&'static str),
    /// The recording has no session that was let in.
    #[error("nobody was let in: there is nothing to run again")]
    Nobody,
    /// The output is gone.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}

/// Where a recorded session ran.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The session.
    pub session: SessionId,
    /// The target.
    pub target: TargetName,
    /// Where the workload was going.
    pub destination: OriginalDst,
    /// Where the agent dialled, where that is on record.
    pub upstream: Option<UpstreamAddr>,
    /// The database.
    pub database: String,
    /// What the client asked for at login, where that is on record.
    pub settings: Vec<(String, String)>,
}

impl Origin {
    /// The first of these addresses at which the session ran.
    pub fn among(&self, addresses: &[SocketAddr]) -> Option<SocketAddr> {
        let plain = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
        let own = [Some(self.destination.0), self.upstream.map(|at| at.0)];
        let is_own = |at: &SocketAddr| {
            own.into_iter()
                .flatten()
                .any(|own| plain(own) == plain(*at))
        };
        addresses.iter().copied().find(is_own)
    }
}

/// Reads where a session ran.
///
/// # Errors
/// The recording cannot be read, or nobody was let in.
pub fn origin(path: &Path, identities: &Identities) -> Result<Origin, AgainstError> {
    let mut recording = Recording::open(path, identities)?;
    let session = recording.header().session;
    let mut began = None;
    while let Said::Event(event) = recording.next()? {
        match *event {
            Event::Began(event) => began = Some(event),
            Event::Login(login) => {
                let (
                    Some(began),
                    Login::Admitted {
                        database,
                        settings,
                        upstream,
                        ..
                    },
                ) = (began, login.login)
                else {
                    return Err(AgainstError::Nobody);
                };
                return Ok(Origin {
                    session,
                    target: began.target,
                    destination: began.destination,
                    upstream,
                    database,
                    settings,
                });
            }
            Event::Decided(_)
            | Event::Rows(_)
            | Event::Finished(_)
            | Event::Note(_)
            | Event::Closed(_)
            | Event::Unknown(_) => {}
        }
    }
    Err(AgainstError::Nobody)
}

/// Where the session's statements go.
#[derive(Debug)]
pub enum Run {
    /// Nowhere: what would run is told.
    Dry,
    /// To this database.
    At(Box<Line>),
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Again {
    /// Statements that were run (of a dry run: that would be).
    pub run: u64,
    /// Of these, those that came out the same.
    pub same: u64,
    /// Of these, those that did not.
    pub different: u64,
    /// Of these, those that were refused then: there is nothing to compare with.
    pub uncompared: u64,
    /// Statements that were not run.
    pub not_run: u64,
    /// Cells that were covered then, and not compared.
    pub masked_cells: u64,
    /// Rows that came and are not on record, and were not compared.
    pub unrecorded_rows: u64,
    /// Answers with the same rows in another order, where the text asks for none.
    pub reordered: u64,
    /// Microseconds of what was run and compared: then.
    pub micros_then: u64,
    /// And now.
    pub micros_now: u64,
    /// It was stopped at a difference.
    pub stopped: bool,
}

/// Runs a recorded session again, statement by statement in the order in which they were decided, and
/// tells `out`. Memory: the statements whose answers overlap in the recording, with the rows on record.
///
/// # Errors
/// The recording or the database cannot be read to the end.
pub async fn run_again(
    path: &Path,
    identities: &Identities,
    run: Run,
    options: &AgainstOptions,
    out: &mut dyn Write,
) -> Result<Again, AgainstError> {
    let mut recording = Recording::open(path, identities)?;
    let mut rerun = Rerun {
        run,
        options,
        teller: Teller::new(options, out),
        again: Again::default(),
        waiting: VecDeque::new(),
        last: None,
    };
    while let Said::Event(event) = recording.next()? {
        match *event {
            Event::Decided(decided) => rerun.waiting.push_back(Step::new(decided)),
            Event::Rows(rows) => {
                if let Some(step) = rerun.step(rows.seq) {
                    step.rows(rows);
                }
            }
            Event::Finished(finished) => {
                let seq = finished.seq;
                if let Some(step) = rerun.step(seq) {
                    step.finished = Some(finished);
                }
                // What was decided before this and has no end by now has none.
                rerun.up_to(seq).await?;
            }
            Event::Began(_)
            | Event::Login(_)
            | Event::Note(_)
            | Event::Closed(_)
            | Event::Unknown(_) => {}
        }
        if rerun.again.stopped {
            break;
        }
    }
    if !rerun.again.stopped {
        rerun.up_to(StatementSeq(u64::MAX)).await?;
    }
    let Rerun {
        run,
        mut teller,
        again,
        ..
    } = rerun;
    if let Run::At(line) = run {
        line.close().await;
    }
    teller.end(&again, &recording.state())?;
    Ok(again)
}

struct Rerun<'a> {
    run: Run,
    options: &'a AgainstOptions,
    teller: Teller<'a>,
    again: Again,
    waiting: VecDeque<Step>,
    last: Option<i64>,
}

impl Rerun<'_> {
    fn step(&mut self, seq: StatementSeq) -> Option<&mut Step> {
        self.waiting.iter_mut().find(|step| step.seq() == seq)
    }

    async fn up_to(&mut self, seq: StatementSeq) -> Result<(), AgainstError> {
        while self.waiting.front().is_some_and(|step| step.seq() <= seq) {
            let Some(step) = self.waiting.pop_front() else {
                break;
            };
            self.one(step).await?;
            if self.again.stopped {
                break;
            }
        }
        Ok(())
    }

    async fn one(&mut self, step: Step) -> Result<(), AgainstError> {
        self.pause(step.decided.at.0).await;
        let todo = plan::todo(&step, self.options.denied);
        let line = match &mut self.run {
            Run::Dry => {
                match todo {
                    Todo::Run(_) => self.again.run += 1,
                    Todo::Leave { .. } => self.again.not_run += 1,
                }
                return Ok(self.teller.planned(&step, &todo)?);
            }
            Run::At(line) => line,
        };
        let how = match todo {
            Todo::Run(how) => how,
            Todo::Leave { why, failed } => {
                self.again.not_run += 1;
                if failed {
                    // It failed its transaction then, so that nothing of that stayed.
                    line.fail_transaction().await?;
                }
                return Ok(self.teller.left(&step, why)?);
            }
        };
        if !line.can(&how) {
            self.again.not_run += 1;
            let why = "it goes on with an answer that ended with its transaction";
            return Ok(self.teller.left(&step, why)?);
        }
        self.again.run += 1;
        let begun = Instant::now();
        let heard = line.run(&how, step.keep()).await?;
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let Some(finished) = &step.finished else {
            self.again.uncompared += 1;
            return Ok(self.teller.uncompared(&step, &heard)?);
        };
        let found = compare(&step, finished, &heard);
        self.again.masked_cells += found.masked;
        self.again.unrecorded_rows += found.unrecorded;
        self.again.reordered += u64::from(found.reordered);
        self.again.micros_then = self.again.micros_then.saturating_add(finished.micros);
        self.again.micros_now = self.again.micros_now.saturating_add(micros);
        match found.differences.is_empty() {
            true => self.again.same += 1,
            false => {
                self.again.different += 1;
                self.again.stopped = self.options.stop;
            }
        }
        self.teller
            .ran(&step, finished.micros, micros, &found, &self.again)?;
        Ok(())
    }

    /// Waits as long as the session did.
    async fn pause(&mut self, at: i64) {
        let last = self.last.replace(at).unwrap_or(at);
        let (Run::At(_), Some(speed)) = (&self.run, self.options.speed.filter(|s| *s > 0.0)) else {
            return;
        };
        // A clock that jumped holds nobody for days.
        let millis = at.saturating_sub(last).clamp(0, 3_600_000).unsigned_abs();
        let pause = Duration::from_millis(millis).as_secs_f64() / speed;
        tokio::time::sleep(Duration::try_from_secs_f64(pause).unwrap_or_default()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    /// Every source below a directory that is no test, but for this room's and for the one that sends
    /// an export to its receiver.
    fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if ["against", "export/otlp.rs", "tests.rs"].map(|but| path.ends_with(but))
                != [false; 3]
            {
                continue;
            }
            match path.is_dir() {
                true => sources(&path, found),
                false => found.push(path),
            }
        }
    }

    #[test]
    fn nothing_else_of_this_room_can_connect() {
        let room = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/replay");
        let mut found = Vec::new();
        sources(&room, &mut found);
        assert!(found.len() > 15, "{found:?}");
        for path in found {
            let text = fs::read_to_string(&path).unwrap();
            for word in [
                "std::net::",
                "tokio::net",
                "TcpStream",
                "reqwest",
                "upstream::{",
                "upstream::dial",
                "run_again(",
                "Line::open",
            ] {
                assert!(!text.contains(word), "{word} in {}", path.display());
            }
        }
    }
}
