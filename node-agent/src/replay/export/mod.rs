//! IO. Recordings for other programs: every event as JSON, statements as CSV, one result as CSV, OCSF
//! events in a file or to an OTLP receiver. As recorded, so masked. One recording after the other and
//! event by event: memory does not grow with either.

mod csv;
mod ocsf;
mod otlp;

use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;

pub use csv::{Exported, rows};
pub use otlp::{Otlp, OtlpError, Patience};

use super::acts::{Act, Acts};
use super::filter::Filter;
use super::read::{Recording, Said, State};
use super::{ReplayError, json};
use crate::model::SessionId;
use crate::record::{Began, Event, Identities, LoggedIn, Login};

/// What to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Every event, one JSON object a line; the last of each recording says how it was verified.
    Jsonl,
    /// Statements, one a line.
    Csv,
    /// OCSF Datastore Activity, one JSON object a line.
    Ocsf,
}

/// Writes recordings. Gives their states, in order: a damaged one was written up to its damage.
pub fn export(
    paths: &[impl AsRef<Path>],
    identities: &Identities,
    form: Form,
    filter: &Filter,
    out: &mut dyn Write,
) -> Result<Vec<State>, ReplayError> {
    if form == Form::Csv {
        csv::heads(out)?;
    }
    let mut states = Vec::new();
    for path in paths {
        let path = path.as_ref();
        states.push(match form {
            Form::Jsonl => events(path, identities, out)?,
            Form::Csv => statements(path, identities, filter, &mut |about, act| {
                Ok::<(), ReplayError>(csv::statement(about, &act, out)?)
            })?,
            Form::Ocsf => ocsf_of(path, identities, filter, &mut |record| {
                Ok::<(), ReplayError>(json::line(&record, out)?)
            })?,
        });
    }
    out.flush()?;
    Ok(states)
}

/// Sends recordings as OCSF events to a receiver. Gives their states and how many events were taken.
pub fn send(
    paths: &[impl AsRef<Path>],
    identities: &Identities,
    filter: &Filter,
    to: &mut Otlp,
) -> Result<Vec<State>, SendError> {
    let mut states = Vec::new();
    for path in paths {
        states.push(ocsf_of(path.as_ref(), identities, filter, &mut |record| {
            Ok::<(), SendError>(to.push(record)?)
        })?);
    }
    to.flush()?;
    Ok(states)
}

/// Sending ends here.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// A recording cannot be read.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The receiver does not take it.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
}

/// Whose session it is, as far as is known.
#[derive(Debug)]
struct About {
    session: SessionId,
    began: Option<Box<Began>>,
    login: Option<Box<LoggedIn>>,
}

impl About {
    fn user(&self) -> Option<&crate::model::User> {
        match &self.login.as_ref()?.login {
            Login::Admitted { principal, .. } => Some(&principal.user),
            Login::Refused(_) => None,
        }
    }

    fn database(&self) -> Option<&str> {
        match &self.login.as_ref()?.login {
            Login::Admitted { database, .. } => Some(database),
            Login::Refused(_) => None,
        }
    }
}

fn events(path: &Path, identities: &Identities, out: &mut dyn Write) -> Result<State, ReplayError> {
    let mut recording = Recording::open(path, identities)?;
    let session = recording.header().session;
    while let Said::Event(event) = recording.next()? {
        let event = &*event;
        json::of_session(session, event, out)?;
    }
    let state = recording.state();
    json::state(&state, out)?;
    Ok(state)
}

fn statements<E: From<ReplayError>>(
    path: &Path,
    identities: &Identities,
    filter: &Filter,
    each: &mut dyn FnMut(&About, Act) -> Result<(), E>,
) -> Result<State, E> {
    with_login(path, identities, &mut |about, happening| match happening {
        Happening::Login => Ok(()),
        Happening::Act(act) if filter.statement(&act.decided) => each(about, *act),
        Happening::Act(_) => Ok(()),
    })
}

fn ocsf_of<E: From<ReplayError>>(
    path: &Path,
    identities: &Identities,
    filter: &Filter,
    each: &mut dyn FnMut(serde_json::Value) -> Result<(), E>,
) -> Result<State, E> {
    let of_statements = filter.rule.is_some() || filter.table.is_some();
    with_login(path, identities, &mut |about, happening| match happening {
        Happening::Login => {
            let login = about.login.as_ref().filter(|login| filter.moment(login.at));
            match login.filter(|_| !of_statements) {
                Some(login) if filter.of_login(&login.login) => each(ocsf::login(about, login)),
                Some(_) | None => Ok(()),
            }
        }
        Happening::Act(act) if filter.statement(&act.decided) => each(ocsf::act(about, &act)),
        Happening::Act(_) => Ok(()),
    })
}

enum Happening {
    Login,
    Act(Box<Act>),
}

fn with_login<E: From<ReplayError>>(
    path: &Path,
    identities: &Identities,
    each: &mut dyn FnMut(&About, Happening) -> Result<(), E>,
) -> Result<State, E> {
    let mut recording = Recording::open(path, identities)?;
    let mut about = About {
        session: recording.header().session,
        began: None,
        login: None,
    };
    let (mut acts, mut done) = (Acts::default(), VecDeque::new());
    while let Said::Event(event) = recording.next()? {
        match *event {
            Event::Began(began) => about.began = Some(began),
            Event::Login(login) => {
                about.login = Some(login);
                each(&about, Happening::Login)?;
            }
            event => acts.take(event, &mut done),
        }
        while let Some(act) = done.pop_front() {
            each(&about, Happening::Act(Box::new(act)))?;
        }
    }
    acts.rest(&mut done);
    while let Some(act) = done.pop_front() {
        each(&about, Happening::Act(Box::new(act)))?;
    }
    Ok(recording.state())
}

#[cfg(test)]
mod tests;
