//! IO. Reads recordings whole and says what holds of each by itself. What the ledger says of them is
//! `audit`'s.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::read::{Outcome, Recording, Said, State};
use super::{ReplayError, Style, Verdict, json};
use crate::record::ledger::Mark;
use crate::record::{BlockError, Damage, Identities, Wrong};

/// What verification found of one file.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which file.
    pub path: PathBuf,
    /// What was found.
    pub found: Found,
}

/// What is in a file.
#[derive(Clone, Debug)]
pub enum Found {
    /// A recording.
    Recording(State),
    /// The beginning of one, with nothing recorded: whoever made it was stopped just then, or is
    /// about to write.
    Begun {
        /// Bytes of its header.
        bytes: usize,
    },
    /// No recording.
    Other(Damage),
}

impl Report {
    /// Reads a file whole. Errors: it cannot be read at all.
    pub fn of(path: &Path, identities: &Identities) -> Result<Self, ReplayError> {
        let found = match whole(path, identities, []) {
            Ok((state, _)) => Found::Recording(state),
            Err(ReplayError::Read {
                source: BlockError::Damage(damage),
                ..
            }) => Found::Other(damage),
            Err(ReplayError::Read {
                source: BlockError::Begun { bytes },
                ..
            }) => Found::Begun { bytes },
            Err(error) => return Err(error),
        };
        Ok(Report {
            path: path.to_owned(),
            found,
        })
    }

    /// Good or bad.
    pub fn verdict(&self) -> Verdict {
        match &self.found {
            Found::Recording(state) => state.verdict(),
            Found::Begun { .. } => Verdict::Good,
            Found::Other(_) => Verdict::Bad,
        }
    }
}

/// A recording, read to its end (without what is sealed to others), and whether it agrees with the heads that it must have had.
pub(super) fn whole(
    path: &Path,
    identities: &Identities,
    marks: impl IntoIterator<Item = Mark>,
) -> Result<(State, Option<bool>), ReplayError> {
    let mut recording = Recording::open(path, identities)?;
    recording.pass_sealed();
    recording.expect(marks);
    while let Said::Event(_) = recording.next()? {}
    let mut state = recording.state();
    named(path, &mut state);
    Ok((state, recording.agrees()))
}

/// A sound file under another session's name is a swapped file.
pub(super) fn named(path: &Path, state: &mut State) {
    let renamed = super::find::session_of(path).is_some_and(|named| named != state.session);
    if renamed && state.verdict() == Verdict::Good {
        state.outcome = Some(Outcome::Damaged(Damage {
            block: 0,
            offset: 0,
            what: Wrong::Renamed,
        }));
    }
}

/// Verifies recordings, one line each. Bad if one of them was changed; one that ends early is said
/// and is not bad.
pub fn verify(
    paths: &[PathBuf],
    identities: &Identities,
    style: Style,
    out: &mut dyn Write,
) -> Result<Verdict, ReplayError> {
    let mut verdict = Verdict::Good;
    for path in paths {
        let report = match Report::of(path, identities) {
            Ok(report) => report,
            // It was too old, and is removed by now.
            Err(ReplayError::Read {
                source: BlockError::Io(error),
                ..
            }) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if report.verdict() == Verdict::Bad {
            verdict = Verdict::Bad;
        }
        let file = path
            .file_name()
            .map(|name| name.to_string_lossy())
            .unwrap_or_default();
        match (style, &report.found) {
            (Style::Text, Found::Recording(state)) => {
                writeln!(out, "{}: {}", state.session, state.sentence())?
            }
            (Style::Text, Found::Begun { .. }) => writeln!(
                out,
                "{}: nothing was recorded: its writer was stopped just then, or begins",
                super::visible(&file)
            )?,
            (Style::Text, Found::Other(damage)) => {
                writeln!(out, "{}: DAMAGED: {damage}", super::visible(&file))?;
            }
            (Style::Json, Found::Recording(state)) => json::line(&json::state_value(state), out)?,
            (Style::Json, Found::Begun { bytes }) => json::line(
                &serde_json::json!({
                    "event": "verified", "file": file, "end": "begun", "bytes": bytes,
                }),
                out,
            )?,
            (Style::Json, Found::Other(damage)) => json::line(
                &serde_json::json!({
                    "event": "verified", "file": file, "end": "damaged",
                    "damage": { "block": damage.block, "offset": damage.offset,
                                "what": damage.what.to_string() },
                }),
                out,
            )?,
        }
    }
    out.flush()?;
    Ok(verdict)
}
