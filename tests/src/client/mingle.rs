//! Clients that connect, ask and connect again without end, and note when each thing began, when
//! it was over, and who answered: the agent or the database itself.

use std::fmt;
use std::net::{SocketAddr, TcpStream};
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use super::{Raw, cells};
use crate::pg::{DATABASE, PASSWORD};

/// Who the clients say they are. The database lets him in; behind the agent he is another.
pub const CLIENT: &str = "by_cleartext";

/// Questions in one session.
const QUESTIONS: usize = 8;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// A session was opened.
    Opened,
    /// A question was asked in one.
    Asked,
}

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The agent.
    Agent,
    /// The database itself.
    Database,
    /// Nobody: it failed.
    Nobody,
}

/// One thing that was done. Moments are microseconds of the wall clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// What.
    pub deed: Deed,
    /// Who answered.
    pub who: Who,
    /// When it began.
    pub begun: u64,
    /// When it was over.
    pub over: u64,
    /// Why it failed.
    pub why: String,
}

/// This moment.
pub fn moment() -> u64 {
    #[allow(clippy::disallowed_methods, reason = "two programs compare moments")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}

impl fmt::Display for Noted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Noted {
            deed,
            who,
            begun,
            over,
            why,
        } = self;
        write!(
            f,
            "{deed:?} {who:?} {begun} {over} {}",
            why.replace('\n', " ")
        )
    }
}

impl FromStr for Noted {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self> {
        let mut words = line.splitn(5, ' ');
        let mut next = || words.next().context("a word");
        let deed = match next()? {
            "Opened" => Deed::Opened,
            "Asked" => Deed::Asked,
            other => bail!("no deed: {other}"),
        };
        let who = match next()? {
            "Agent" => Who::Agent,
            "Database" => Who::Database,
            "Nobody" => Who::Nobody,
            other => bail!("nobody in particular: {other}"),
        };
        Ok(Noted {
            deed,
            who,
            begun: next()?.parse()?,
            over: next()?.parse()?,
            why: next()?.to_owned(),
        })
    }
}

/// So many clients at once, until told to stop.
pub fn mingle(address: SocketAddr, clients: usize, stop: &AtomicBool) -> Vec<Noted> {
    let notes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    one_session(address, |noted| {
                        if let Ok(mut notes) = notes.lock() {
                            notes.push(noted);
                        }
                    });
                }
            });
        }
    });
    notes.into_inner().unwrap_or_default()
}

fn one_session(address: SocketAddr, mut note: impl FnMut(Noted)) {
    let begun = moment();
    let opened = open(address);
    let (who, why) = match &opened {
        Ok((_, who)) => (*who, String::new()),
        Err(error) => (Who::Nobody, format!("{error:#}")),
    };
    note(Noted {
        deed: Deed::Opened,
        who,
        begun,
        over: moment(),
        why,
    });
    let Ok((mut client, who)) = opened else {
        // Refused at once: not a thousand times a second.
        std::thread::sleep(Duration::from_millis(5));
        return;
    };
    for _ in 0..QUESTIONS {
        let begun = moment();
        let asked = client.query("select pg_sleep(0.005)");
        let good = matches!(&asked, Ok(seen) if seen.iter().any(|message| message.kind == b'D'));
        note(Noted {
            deed: Deed::Asked,
            who: if good { who } else { Who::Nobody },
            begun,
            over: moment(),
            why: asked.map_or_else(|error| format!("{error:#}"), |_| String::new()),
        });
        if !good {
            return;
        }
    }
}

fn open(address: SocketAddr) -> Result<(Raw, Who)> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).context("connect")?;
    let mut client = Raw::new(stream)?;
    client.login(CLIENT, DATABASE, PASSWORD).context("login")?;
    let seen = client.query("select current_user")?;
    let cells = cells(&seen);
    let name = cells.first().and_then(|row| row.first()).cloned().flatten();
    let who = match name.as_deref() {
        Some(CLIENT) => Who::Database,
        Some(_) => Who::Agent,
        None => bail!("no name came back"),
    };
    Ok((client, who))
}
