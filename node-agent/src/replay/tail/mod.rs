//! IO. `sessions tail`: what is recorded, as it is recorded.
//!
//! The recordings' files are looked at ten times a second; what was written since is verified as it is
//! read, like any other block. Of a session that was open before, what happens from now on is told.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::acts::Acts;
use super::filter::{Filter, Ruling};
use super::list::first_words;
use super::visible::visible;
use super::{ReplayError, Style, all, json, raw, when, words};
use crate::model::{SessionId, StatementSeq, UnixMillis};
use crate::policy::Decision;
use crate::record::{
    BlockError, Blocks, Decided, Ending, Event, Finished, Identities, LineKind, Login, Note,
    NoteFrom, Skim, Step, is_live,
};

/// How often files are looked at.
const PACE: Duration = Duration::from_millis(100);
/// How often the directory is read even if it looks as before.
const AGAIN: Duration = Duration::from_secs(2);
/// A recording that has not grown for so long may have lost its writer.
const QUIET: Duration = Duration::from_secs(1);
/// How many statements whose end is to be told are remembered for each session.
const TOLD: usize = 4096;

/// Follows the open sessions of a directory, those that begin meanwhile too, or only these recordings;
/// until `stop`, or until these have ended.
pub fn tail(
    dir: &Path,
    only: &[PathBuf],
    identities: &Identities,
    filter: &Filter,
    style: Style,
    stop: &AtomicBool,
    out: &mut dyn Write,
) -> Result<(), ReplayError> {
    let mut follow = Follow::begin(dir, only, identities)?;
    while !stop.load(Ordering::Relaxed) {
        follow.look(dir, only)?;
        let mut teller = Teller { filter, style, out };
        let mut left = Vec::new();
        for mut stream in std::mem::take(&mut follow.streams) {
            match stream.read(&mut teller)? {
                Then::More => left.push(stream),
                Then::Over => {}
            }
        }
        follow.streams = left;
        out.flush()?;
        if !only.is_empty() && follow.streams.is_empty() && follow.new.is_empty() {
            return Ok(());
        }
        thread::sleep(PACE);
    }
    Ok(())
}

struct Follow {
    streams: Vec<Stream>,
    /// Files that have no header yet.
    new: Vec<PathBuf>,
    seen: HashSet<PathBuf>,
    changed: Option<SystemTime>,
    looked: Instant,
    identities: Identities,
}

impl Follow {
    /// What is open now, from here on.
    fn begin(dir: &Path, only: &[PathBuf], identities: &Identities) -> Result<Self, ReplayError> {
        let mut follow = Follow {
            streams: Vec::new(),
            new: Vec::new(),
            seen: HashSet::new(),
            changed: changed(dir),
            looked: Instant::now(),
            identities: identities.clone(),
        };
        let paths = if only.is_empty() {
            all(dir)?
        } else {
            only.to_vec()
        };
        for path in paths {
            if File::open(&path).is_ok_and(|file| is_live(&file)) {
                match Stream::open(&path, identities, From::Now) {
                    Ok(Some(stream)) => follow.streams.push(stream),
                    Ok(None) => follow.new.push(path.clone()),
                    // What is no recording is not followed; `verify` names it.
                    Err(_) => {}
                }
            }
            follow.seen.insert(path);
        }
        Ok(follow)
    }

    fn look(&mut self, dir: &Path, only: &[PathBuf]) -> Result<(), ReplayError> {
        let now = changed(dir);
        if only.is_empty() && (now != self.changed || self.looked.elapsed() > AGAIN) {
            self.changed = now;
            self.looked = Instant::now();
            for path in all(dir)? {
                if self.seen.insert(path.clone()) {
                    self.new.push(path);
                }
            }
        }
        for path in std::mem::take(&mut self.new) {
            match Stream::open(&path, &self.identities, From::Beginning) {
                Ok(Some(stream)) => self.streams.push(stream),
                Ok(None) => self.new.push(path),
                Err(_) => {}
            }
        }
        Ok(())
    }
}

fn changed(dir: &Path) -> Option<SystemTime> {
    fs::metadata(dir).ok()?.modified().ok()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Beginning,
    Now,
}

enum Then {
    More,
    Over,
}

/// One recording that is being written.
struct Stream {
    path: PathBuf,
    blocks: Blocks<File>,
    skim: Skim,
    /// What was there before is passed over.
    silent: bool,
    grew: Instant,
    who: Who,
    /// Statements that were told, and have not ended.
    told: VecDeque<StatementSeq>,
    /// Where endings are asked for: statements that have not ended.
    acts: Acts,
}

struct Who {
    session: SessionId,
    workload: String,
    target: String,
    user: Option<String>,
    groups: Vec<String>,
    database: Option<String>,
}

impl Stream {
    /// `None`: there is no header yet.
    fn open(path: &Path, identities: &Identities, from: From) -> Result<Option<Self>, ReplayError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) => return Err(ReplayError::read(path, error)),
        };
        let blocks = match Blocks::open(file, identities.clone()) {
            Ok(blocks) => blocks,
            Err(BlockError::Begun { .. }) => return Ok(None),
            Err(error) => return Err(ReplayError::read(path, error)),
        };
        let who = Who {
            session: blocks.header().session,
            workload: String::new(),
            target: String::new(),
            user: None,
            groups: Vec::new(),
            database: None,
        };
        Ok(Some(Stream {
            path: path.to_owned(),
            blocks,
            skim: Skim::default(),
            silent: from == From::Now,
            grew: Instant::now(),
            who,
            told: VecDeque::new(),
            acts: Acts::default(),
        }))
    }

    /// Reads what is new.
    fn read(&mut self, teller: &mut Teller<'_>) -> Result<Then, ReplayError> {
        loop {
            let error = |error: std::io::Error| ReplayError::read(&self.path, error);
            let offset = self.blocks.chain().offset();
            let file = self.blocks.source_mut();
            let grown = file.metadata().map_err(error)?.len() > offset;
            if !grown && !self.blocks.chain().ended() {
                self.silent = false;
                return Ok(self.quiet());
            }
            let file = self.blocks.source_mut();
            file.seek(SeekFrom::Start(offset)).map_err(error)?;
            match self.blocks.next() {
                Ok(Step::Block(_, lines)) => {
                    self.grew = Instant::now();
                    for line in raw::lines(&lines) {
                        self.line(line, teller)?;
                    }
                }
                Ok(Step::Sealed(..)) => {
                    let recipients = self.blocks.recipients().unwrap_or_default();
                    let to = super::ids(recipients);
                    let said = format!(
                        "sealed to {to}, and not followed; give the private key of one of them with \
                         --identity FILE"
                    );
                    teller.damaged(self.who.session, &said)?;
                    return Ok(Then::Over);
                }
                Ok(Step::End(Ending::Closed)) => return Ok(Then::Over),
                // A block is being written.
                Ok(Step::End(Ending::Unclosed | Ending::Torn { .. })) => {
                    self.silent = false;
                    return Ok(self.quiet());
                }
                Err(BlockError::Damage(damage)) => {
                    let session = self.who.session;
                    teller.damaged(
                        session,
                        &format!("DAMAGED: {damage}; it is not followed any more"),
                    )?;
                    return Ok(Then::Over);
                }
                Err(error) => return Err(ReplayError::read(&self.path, error)),
            }
        }
    }

    fn quiet(&mut self) -> Then {
        if self.grew.elapsed() < QUIET {
            return Then::More;
        }
        self.grew = Instant::now();
        // Its writer is gone, and left it without a close.
        if is_live(self.blocks.source_mut()) {
            Then::More
        } else {
            Then::Over
        }
    }

    fn line(&mut self, line: &[u8], teller: &mut Teller<'_>) -> Result<(), ReplayError> {
        let passed = self.skim.pass(line);
        let wanted = match passed.kind {
            LineKind::Began | LineKind::Login => true,
            LineKind::Rows => false,
            LineKind::Decided
            | LineKind::Again
            | LineKind::Like
            | LineKind::Finished
            | LineKind::Note
            | LineKind::Closed
            | LineKind::Other => !self.silent,
        };
        if wanted {
            let event = passed.event();
            self.who.learn(&event);
            if !self.silent && self.who.fits(teller.filter) {
                self.tell(event, teller)?;
            }
        }
        Ok(())
    }

    fn tell(&mut self, event: Event, teller: &mut Teller<'_>) -> Result<(), ReplayError> {
        let filter = teller.filter;
        if filter.of_endings() {
            let mut done = VecDeque::new();
            self.acts.take(event, &mut done);
            for act in done {
                let Some(finished) = act.finished.filter(|finished| filter.ended(finished)) else {
                    continue;
                };
                if filter.statement(&act.decided) {
                    teller.event(&self.who, &Event::Decided(act.decided))?;
                    teller.event(&self.who, &Event::Finished(finished))?;
                }
            }
            return Ok(());
        }
        let told = match &event {
            Event::Decided(decided) => {
                let fits = filter.statement(decided);
                if fits {
                    if self.told.len() >= TOLD {
                        self.told.pop_front();
                    }
                    self.told.push_back(decided.seq);
                }
                fits
            }
            Event::Finished(finished) => {
                let at = self.told.iter().position(|seq| *seq == finished.seq);
                at.and_then(|at| self.told.remove(at)).is_some()
            }
            Event::Note(note) => match note.seq {
                Some(seq) => self.told.contains(&seq),
                None => !filter.of_statements(),
            },
            Event::Login(login) => {
                filter.rule.is_none() && filter.table.is_none() && filter.of_login(&login.login)
            }
            Event::Began(_) | Event::Closed(_) | Event::Unknown(_) => !filter.of_statements(),
            Event::Rows(_) => false,
        };
        if told {
            teller.event(&self.who, &event)?;
        }
        Ok(())
    }
}

impl Who {
    fn learn(&mut self, event: &Event) {
        match event {
            Event::Began(began) => {
                self.workload = began.workload.name.to_string();
                self.target = began.target.0.to_string();
            }
            Event::Login(login) => {
                if let Login::Admitted {
                    principal,
                    database,
                    ..
                } = &login.login
                {
                    self.user = Some(principal.user.subject.clone());
                    self.groups.clone_from(&principal.user.groups);
                    self.database = Some(database.clone());
                }
            }
            Event::Decided(_)
            | Event::Rows(_)
            | Event::Finished(_)
            | Event::Note(_)
            | Event::Closed(_)
            | Event::Unknown(_) => {}
        }
    }

    fn fits(&self, filter: &Filter) -> bool {
        filter.who(
            &self.workload,
            self.user.as_deref(),
            &self.groups,
            Some(&self.target),
            self.database.as_deref(),
        )
    }
}

struct Teller<'a> {
    filter: &'a Filter,
    style: Style,
    out: &'a mut dyn Write,
}

impl Teller<'_> {
    fn damaged(&mut self, session: SessionId, sentence: &str) -> Result<(), ReplayError> {
        match self.style {
            Style::Json => json::line(
                &serde_json::json!({ "session": session, "event": "damaged", "sentence": sentence }),
                self.out,
            )?,
            Style::Text => writeln!(self.out, "{session}  {}", visible(sentence))?,
        }
        Ok(())
    }

    fn event(&mut self, who: &Who, event: &Event) -> Result<(), ReplayError> {
        if self.style == Style::Json {
            return Ok(json::of_session(who.session, event, self.out)?);
        }
        let Some((at, seq, text)) = told(who, event) else {
            return Ok(());
        };
        let name = match seq {
            Some(seq) => format!("{}#{seq}", who.session),
            None => who.session.to_string(),
        };
        writeln!(
            self.out,
            "{}  {name}  {}/{}  {text}",
            when::clock(at),
            visible(&who.workload),
            who.user.as_deref().map_or("–".into(), visible),
        )?;
        Ok(())
    }
}

/// When, of which statement, and what.
fn told(who: &Who, event: &Event) -> Option<(UnixMillis, Option<StatementSeq>, String)> {
    match event {
        Event::Login(login) => {
            let text = match &login.login {
                Login::Admitted { database, role, .. } => format!(
                    "begins: {} of {} as {}",
                    visible(database),
                    visible(&who.target),
                    visible(role)
                ),
                Login::Refused(refusal) => {
                    format!("login refused: {}", visible(&refusal.message))
                }
            };
            Some((login.at, None, text))
        }
        Event::Decided(decided) => Some((decided.at, Some(decided.seq), decision(decided))),
        Event::Finished(finished) => Some((finished.at, Some(finished.seq), ended(finished))),
        Event::Note(Note {
            at,
            seq,
            from,
            text,
            ..
        }) => {
            let by = match from {
                NoteFrom::Server => "database",
                NoteFrom::Agent => "agent",
            };
            Some((*at, *seq, format!("note from the {by}: {}", visible(text))))
        }
        Event::Closed(closed) => {
            let text = format!("ends: {}", words::why_short(&closed.why));
            Some((closed.at, None, text))
        }
        Event::Began(_) | Event::Rows(_) | Event::Unknown(_) => None,
    }
}

fn decision(decided: &Decided) -> String {
    let ruling = match Ruling::of(&decided.decision) {
        Ruling::Allow => "allow",
        Ruling::Hold => "HOLD",
        Ruling::Deny => "DENY",
    };
    let refused = match &*decided.decision {
        Decision::Deny(denial) => format!("  refused: {}", visible(&denial.refusal.message)),
        Decision::Allow(_) | Decision::Hold(_) => String::new(),
    };
    format!("{ruling:<5}  {}{refused}", first_words(&decided.text))
}

fn ended(finished: &Finished) -> String {
    let took = when::took(finished.micros);
    match &finished.error {
        Some((code, message)) => {
            format!(
                "{}: {} {}, {took}",
                words::end(finished.end),
                visible(code),
                visible(message)
            )
        }
        None => {
            let rows = if finished.rows == 1 { "row" } else { "rows" };
            format!(
                "{}: {} {rows}, {took}",
                words::end(finished.end),
                finished.rows
            )
        }
    }
}

#[cfg(test)]
mod tests;
