//! IO. `sessions findings`: what the content net found in all sessions together, so that its columns can be
//! given masks.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde::Serialize;

use super::read::{Recording, Said};
use super::table::Table;
use super::visible::visible;
use super::{ReplayError, Style, all, json, when};
use crate::model::UnixMillis;
use crate::policy::Detector;
use crate::record::{Event, Identities};

/// What looks alike in one column of a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The target.
    pub target: String,
    /// The column that its values come from: `schema.table.column`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The output column's name, where the database does not say where its values come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// What it looks like.
    pub detector: Detector,
    /// How often it was covered.
    pub masked: u64,
    /// How often it was only counted.
    pub reported: u64,
    /// In how many sessions.
    pub sessions: u64,
    /// The latest time.
    pub latest: UnixMillis,
}

/// Of the recordings in a directory. What is no recording, or cannot be read, is left out; `verify` names it.
/// Gives also how many are sealed and could not be opened.
pub fn findings(
    dir: &Path,
    identities: &Identities,
    target: Option<&str>,
) -> Result<(Vec<Finding>, usize), ReplayError> {
    let mut all_found = BTreeMap::new();
    let mut unopened = 0;
    for path in all(dir)? {
        // Of a recording that is damaged, what comes before.
        if let Err(ReplayError::Sealed { .. }) =
            of_session(&path, identities, target, &mut all_found)
        {
            unopened += 1;
        }
    }
    let findings = all_found.into_values().map(|(finding, _)| finding);
    Ok((findings.collect(), unopened))
}

/// By target, column, output and detector; with the number of the session that counted last.
type Findings = BTreeMap<(String, Option<String>, Option<String>, Detector), (Finding, u64)>;

fn of_session(
    path: &Path,
    identities: &Identities,
    wanted: Option<&str>,
    all: &mut Findings,
) -> Result<(), ReplayError> {
    let mut recording = Recording::open(path, identities)?;
    let session = recording.header().session.0;
    let mut target = String::new();
    while let Said::Event(event) = recording.next()? {
        match *event {
            Event::Began(began) => {
                if wanted.is_some_and(|wanted| *wanted != *began.target.0) {
                    return Ok(());
                }
                target = began.target.0.to_string();
            }
            Event::Finished(finished) => {
                for found in finished.found {
                    let column = found.source.map(|source| source.to_string());
                    let output = column.is_none().then(|| found.output.to_string());
                    let key = (target.clone(), column, output, found.detector);
                    let (finding, counted) = all.entry(key.clone()).or_insert_with(|| {
                        let finding = Finding {
                            target: key.0,
                            column: key.1,
                            output: key.2,
                            detector: found.detector,
                            masked: 0,
                            reported: 0,
                            sessions: 0,
                            latest: finished.at,
                        };
                        (finding, !session)
                    });
                    let count = if found.covered {
                        &mut finding.masked
                    } else {
                        &mut finding.reported
                    };
                    *count = count.saturating_add(found.count);
                    finding.sessions += u64::from(*counted != session);
                    *counted = session;
                    finding.latest = finding.latest.max(finished.at);
                }
            }
            Event::Login(_)
            | Event::Decided(_)
            | Event::Rows(_)
            | Event::Note(_)
            | Event::Closed(_)
            | Event::Unknown(_) => {}
        }
    }
    Ok(())
}

/// Lists them, as a table or one JSON object a line. Gives how many recordings are sealed and could not
/// be opened.
pub fn list_findings(
    dir: &Path,
    identities: &Identities,
    target: Option<&str>,
    style: Style,
    out: &mut dyn Write,
) -> Result<usize, ReplayError> {
    let (findings, unopened) = findings(dir, identities, target)?;
    match style {
        Style::Json => findings
            .iter()
            .try_for_each(|finding| json::line(finding, out))?,
        Style::Text => {
            let mut table = Table::new([
                "TARGET",
                "COLUMN",
                "LOOKS LIKE",
                "MASKED",
                "REPORTED",
                "SESSIONS",
                "LATEST (UTC)",
            ]);
            for finding in &findings {
                let column = match (&finding.column, &finding.output) {
                    (Some(column), _) => visible(column).into_owned(),
                    (None, output) => {
                        format!("computed, as {}", visible(output.as_deref().unwrap_or("")))
                    }
                };
                table.row(vec![
                    visible(&finding.target).into_owned(),
                    column,
                    finding.detector.to_string(),
                    finding.masked.to_string(),
                    finding.reported.to_string(),
                    finding.sessions.to_string(),
                    when::short(finding.latest),
                ]);
            }
            table.print("", false, out)?;
        }
    }
    out.flush()?;
    Ok(unopened)
}
