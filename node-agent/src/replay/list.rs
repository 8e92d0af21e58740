//! IO. `sessions ls` and `sessions show`.

use std::io::Write;
use std::path::Path;

use serde::Serialize;

use super::read::{Outcome, Recording, Said};
use super::table::Table;
use super::text::Story;
use super::visible::visible;
use super::{ReplayError, Style, Verdict, all, json, when, words};
use crate::model::{SessionId, TargetName, UnixMillis};
use crate::policy::Decision;
use crate::record::{Ending, Event, Login, RecordedText, Totals, Why};

/// Which sessions to list. Every field that is set must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The workload's name.
    pub workload: Option<String>,
    /// The user's subject.
    pub user: Option<String>,
    /// The target's name.
    pub target: Option<String>,
    /// Began at or after.
    pub since: Option<UnixMillis>,
    /// Began before.
    pub until: Option<UnixMillis>,
    /// Only sessions with a denial (or a refused login).
    pub denied: bool,
    /// Only sessions that are open now.
    pub open: bool,
}

/// One line of the list.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// The session.
    pub session: SessionId,
    /// When it began.
    pub began: UnixMillis,
    /// The workload's name.
    pub workload: String,
    /// The user's subject, once logged in.
    pub user: Option<String>,
    /// The target.
    pub target: Option<TargetName>,
    /// Sums up to now.
    pub totals: Totals,
    /// When it ended.
    pub ended: Option<UnixMillis>,
    /// The one reason.
    pub why: Option<Why>,
    /// It is open now.
    pub live: bool,
    /// Something in the file was changed.
    pub damaged: bool,
    #[serde(skip)]
    login_refused: bool,
}

impl Entry {
    /// Reads one recording, verifying it.
    pub fn of(path: &Path) -> Result<Self, ReplayError> {
        let mut recording = Recording::open(path)?;
        let header = recording.header();
        let mut entry = Entry {
            session: header.session,
            began: header.began,
            workload: String::new(),
            user: None,
            target: None,
            totals: Totals::default(),
            ended: None,
            why: None,
            live: false,
            damaged: false,
            login_refused: false,
        };
        while let Said::Event(event) = recording.next()? {
            entry.totals.count(&event);
            match *event {
                Event::Began(began) => {
                    entry.began = began.at;
                    entry.workload = began.workload.name.to_string();
                    entry.target = Some(began.target);
                }
                Event::Login(login) => match login.login {
                    Login::Admitted { principal, .. } => entry.user = Some(principal.user.subject),
                    Login::Refused(_) => entry.login_refused = true,
                },
                Event::Closed(closed) => {
                    entry.ended = Some(closed.at);
                    entry.why = Some(closed.why);
                }
                Event::Decided(_)
                | Event::Rows(_)
                | Event::Finished(_)
                | Event::Note(_)
                | Event::Unknown(_) => {}
            }
        }
        let state = recording.state();
        entry.live = state.live && state.outcome != Some(Outcome::Sound(Ending::Closed));
        entry.damaged = state.verdict() == Verdict::Bad;
        Ok(entry)
    }

    fn fits(&self, filter: &Filter) -> bool {
        let is = |wanted: &Option<String>, have: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| have == Some(wanted))
        };
        is(&filter.workload, Some(&self.workload))
            && is(&filter.user, self.user.as_deref())
            && is(
                &filter.target,
                self.target.as_ref().map(|target| &*target.0),
            )
            && filter.since.is_none_or(|since| self.began >= since)
            && filter.until.is_none_or(|until| self.began < until)
            && (!filter.denied || self.totals.denied > 0 || self.login_refused)
            && (!filter.open || self.live)
    }

    fn end(&self) -> &'static str {
        match (&self.why, self.damaged, self.live) {
            (_, true, _) => "DAMAGED",
            (Some(why), false, _) => words::why_short(why),
            (None, false, true) => "open",
            (None, false, false) => "no close",
        }
    }
}

/// The sessions of a directory that fit, by their beginning. What is no recording, or vanished
/// meanwhile, is left out; `verify` names it.
pub fn entries(dir: &Path, filter: &Filter) -> Result<Vec<Entry>, ReplayError> {
    let mut entries: Vec<_> = all(dir)?
        .iter()
        .filter_map(|path| Entry::of(path).ok())
        .filter(|entry| entry.fits(filter))
        .collect();
    entries.sort_by_key(|entry| (entry.began, entry.session));
    Ok(entries)
}

/// Lists sessions, as a table or one JSON object a line. Gives their number.
pub fn list(
    dir: &Path,
    filter: &Filter,
    style: Style,
    out: &mut dyn Write,
) -> Result<usize, ReplayError> {
    let entries = entries(dir, filter)?;
    match style {
        Style::Json => entries
            .iter()
            .try_for_each(|entry| json::line(entry, out))?,
        Style::Text => {
            let mut table = Table::new([
                "SESSION",
                "BEGAN (UTC)",
                "WORKLOAD",
                "USER",
                "TARGET",
                "STATEMENTS",
                "DENIED",
                "ROWS",
                "END",
            ]);
            for entry in &entries {
                table.row(vec![
                    entry.session.to_string(),
                    when::short(entry.began),
                    visible(&entry.workload).into_owned(),
                    entry
                        .user
                        .as_deref()
                        .map_or_else(|| "–".into(), visible)
                        .into_owned(),
                    entry
                        .target
                        .as_ref()
                        .map_or("–".into(), |t| visible(&t.0))
                        .into_owned(),
                    entry.totals.statements.to_string(),
                    entry.totals.denied.to_string(),
                    entry.totals.rows.to_string(),
                    entry.end().to_owned(),
                ]);
            }
            table.print("", false, out)?;
        }
    }
    out.flush()?;
    Ok(entries.len())
}

/// One session: who and where, one line a statement, how it ended, what verification says.
pub fn show(path: &Path, style: Style, out: &mut dyn Write) -> Result<Verdict, ReplayError> {
    let mut recording = Recording::open(path)?;
    let mut story = Story::new(0);
    let mut table = Table::new(["#", "AT", "DECISION", "STATEMENT"]);
    let mut closed = None;
    let mut statements = 0_u64;
    while let Said::Event(event) = recording.next()? {
        match (&*event, style) {
            (_, Style::Json) => {}
            (Event::Began(_) | Event::Login(_), Style::Text) => story.tell(&event, out)?,
            (Event::Decided(decided), Style::Text) => {
                statements += 1;
                if statements <= SHOWN {
                    table.row(vec![
                        decided.seq.to_string(),
                        when::clock(decided.at),
                        match &*decided.decision {
                            Decision::Allow(_) => "allow",
                            Decision::Hold(_) => "HOLD",
                            Decision::Deny(_) => "DENY",
                        }
                        .to_owned(),
                        first_words(&decided.text),
                    ]);
                }
            }
            (Event::Closed(_), Style::Text) => closed = Some(event),
            (
                Event::Rows(_) | Event::Finished(_) | Event::Note(_) | Event::Unknown(_),
                Style::Text,
            ) => {}
        }
    }
    let state = recording.state();
    match style {
        Style::Json => {
            let entry = serde_json::json!({
                "session": Entry::of(path)?, "verified": json::state_value(&state),
            });
            json::line(&entry, out)?;
        }
        Style::Text => {
            if statements > 0 {
                writeln!(out)?;
                table.print("  ", false, out)?;
            }
            if statements > SHOWN {
                writeln!(
                    out,
                    "  … and {} more: `node-agent replay` shows all",
                    statements - SHOWN
                )?;
            }
            if let Some(closed) = closed {
                story.tell(&closed, out)?;
            }
            let verdict = state.verdict();
            story.end(&state, out)?;
            out.flush()?;
            return Ok(verdict);
        }
    }
    out.flush()?;
    Ok(state.verdict())
}

const SHOWN: u64 = 1000;

/// How a statement begins, in one line.
pub(super) fn first_words(text: &RecordedText) -> String {
    let text = match text {
        RecordedText::Plain(text) | RecordedText::Cut { head: text, .. } => text,
        RecordedText::Withheld { length, .. } => return format!("(withheld, {length} bytes)"),
    };
    let flat: Vec<_> = text.split_whitespace().take(40).collect();
    let flat = flat.join(" ");
    let mut short: String = flat.chars().take(80).collect();
    if short.len() < flat.len() {
        short.push('…');
    }
    visible(&short).into_owned()
}
