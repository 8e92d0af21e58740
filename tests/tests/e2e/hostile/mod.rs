//! Clients that speak as no driver does. Each must get what a careful server gives it, the database
//! must get nothing of what follows, and everybody else must not notice.

mod leaving;
mod limits;
mod masked;
mod names;
mod patience;
mod startup;
mod stream;

use std::time::Duration;

use anyhow::Result;
use node_agent_tests::client::{Dialer, Message, Raw, kinds, query, startup};
use node_agent_tests::world::{Builder, WORTHLESS};
use node_agent_tests::{World, metrics, pg, until};

/// What nothing hostile may reach: an insert that follows an attack.
const CANARY: &str = "insert into canary values (1)";

const SEED: &str = "create table canary (x int); \
    create table plain (id int, note text); \
    create table people (id int primary key, name text, ssn text); \
    insert into people values (1, 'Ada', '123-45-6789'), (2, 'Bruno', '987-65-4321'), \
    (3, 'Cleo', '555-66-7777'); \
    grant all on all tables in schema public to public";

/// How long a hostile client may stay connected once it has shown what it is.
const AT_ONCE: Duration = Duration::from_secs(4);

/// A world under attack, and an ordinary session that was there before.
struct Siege {
    world: World,
    dialer: Dialer,
    steady: Raw,
    asked: u32,
}

impl Siege {
    fn lay(builder: Builder) -> Result<Self> {
        // With nothing kept: that the database's side ends with its session is what is looked at.
        let world = builder.seed(SEED).keep_warm("0s").start()?;
        let mut dialer = world.dialer()?;
        let mut steady = world.raw(&mut dialer)?;
        steady.login(pg::SERVICE, pg::DATABASE, WORTHLESS)?;
        Ok(Self {
            world,
            dialer,
            steady,
            asked: 0,
        })
    }

    /// A new connection from inside, nothing said.
    fn raw(&mut self) -> Result<Raw> {
        self.world.raw(&mut self.dialer)
    }

    /// A new session from inside.
    fn session(&mut self) -> Result<Raw> {
        let mut raw = self.raw()?;
        raw.login(pg::SERVICE, pg::DATABASE, WORTHLESS)?;
        Ok(raw)
    }

    /// What the database says when it is asked behind the agent's back.
    fn truth(&self, statement: &str) -> Result<String> {
        self.world.cluster().sql(pg::DATABASE, statement)
    }

    /// The agent lives, the old session goes on, and the database got nothing of what followed.
    fn unharmed(&mut self, after: &str) -> Result<()> {
        self.asked += 1;
        let asked = self.asked;
        let answer = self.steady.query(&format!("select {asked}"))?;
        assert_eq!(
            node_agent_tests::client::cells(&answer),
            [[Some(asked.to_string())]],
            "the ordinary session after {after}"
        );
        assert_eq!(self.world.agent_mut().ended()?, None, "after {after}");
        assert_eq!(
            self.truth("select count(*) from canary")?,
            "0",
            "the database got what followed {after}"
        );
        Ok(())
    }

    /// No backend of sessions with this application's name is left within 5 s.
    fn backends_gone(&self, application: &str) -> Result<()> {
        until("the backends go", Duration::from_secs(5), || {
            let left = self.truth(&format!(
                "select count(*) from pg_stat_activity where application_name = '{application}'"
            ))?;
            Ok((left == "0").then_some(()))
        })
    }

    /// The most resident memory since `measure`, KiB.
    fn peak(&self) -> Result<u64> {
        metrics::peak(self.world.agent().worker()?)
    }

    /// Begins a measurement of the peak, and gives what is resident now, KiB.
    fn measure(&self) -> Result<u64> {
        let id = self.world.agent().worker()?;
        metrics::forget_peak(id)?;
        metrics::rss(id)
    }
}

/// A FATAL with this SQLSTATE, and the connection closed soon.
fn refused_with(raw: &mut Raw, code: &str, words: &str, what: &str) -> Result<()> {
    let bytes = raw.ended_within(AT_ONCE)?;
    let messages = Message::all(&bytes);
    let last = messages.last().unwrap_or_else(|| panic!("{what}: nothing"));
    assert_eq!(
        last.sqlstate().as_deref(),
        Some(code),
        "{what}: {}",
        kinds(&messages)
    );
    assert!(
        last.words().contains(words),
        "{what}: {words:?} is not in {:?}",
        last.words()
    );
    assert_eq!(
        node_agent_tests::client::error_field(&last.body, b'V').as_deref(),
        Some("FATAL"),
        "{what}"
    );
    Ok(())
}

/// The insert that must not come through.
fn canary() -> Vec<u8> {
    query(CANARY)
}

/// The one cell of the one row of an answer.
fn answer(messages: &[Message]) -> String {
    let cells = node_agent_tests::client::cells(messages);
    match cells.as_slice() {
        [row] if row.len() == 1 => row[0].clone().unwrap_or_default(),
        _ => panic!("no single cell in {}", kinds(messages)),
    }
}

/// The start-up parameters of an ordinary session.
const ORDINARY: &[(&str, &str)] = &[("user", pg::SERVICE), ("database", pg::DATABASE)];

/// Its start-up packet, with more parameters.
fn with(more: &[(&str, &str)]) -> Vec<u8> {
    startup((3, 0), &[ORDINARY, more].concat())
}
