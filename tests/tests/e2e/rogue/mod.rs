//! Databases that are none, or that have been taken over. Whatever they say, the client is told in
//! its own language that it is over, the agent's log says why, and nobody else notices.

mod logins;
mod sessions;

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use node_agent_tests::client::{Dialer, Message, Raw, cells, error_field, kinds};
use node_agent_tests::upstream::{Scripted, Step};
use node_agent_tests::world::{Builder, WORTHLESS};
use node_agent_tests::{World, pg, until};

/// A server with a story of its own, and what must come of it.
struct Rogue {
    name: &'static str,
    server: Scripted,
}

impl Rogue {
    fn new(name: &'static str, script: Vec<Step>) -> Result<Self> {
        let server = Scripted::start(script)?;
        Ok(Self { name, server })
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }
}

/// How the agent goes to the rogues.
#[derive(Clone, Copy)]
enum Way {
    /// With a password, and with this TLS.
    Tls(&'static str),
    /// In clear and without a password: whoever answers is let through the login.
    Trust,
}

/// A world with rogues beside an honest database, and an ordinary session at that.
struct Den {
    world: World,
    dialer: Dialer,
    steady: Raw,
    asked: u32,
}

impl Den {
    fn open(mut builder: Builder, rogues: &[Rogue], way: Way) -> Result<Self> {
        for rogue in rogues {
            builder = match way {
                Way::Tls(tls) => builder.server(rogue.name, rogue.address(), tls),
                Way::Trust => builder.trusting_server(rogue.name, rogue.address()),
            };
        }
        let world = builder.start()?;
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

    fn raw(&mut self, rogue: &Rogue) -> Result<Raw> {
        Raw::new(self.dialer.dial(rogue.address())?)
    }

    /// The agent lives and the honest database's session goes on.
    fn unharmed(&mut self, after: &str) -> Result<()> {
        self.asked += 1;
        let asked = self.asked;
        let answer = self.steady.query(&format!("select {asked}"))?;
        assert_eq!(cells(&answer), [[Some(asked.to_string())]], "after {after}");
        assert_eq!(self.world.agent_mut().ended()?, None, "after {after}");
        Ok(())
    }

    /// The agent's log has these words, and no panic.
    fn logged(&self, words: &str) -> Result<()> {
        until("the log says why", Duration::from_secs(2), || {
            let log = fs::read_to_string(self.world.agent().log())?;
            assert!(!log.contains("panicked"), "{log}");
            Ok(log.contains(words).then_some(()))
        })
        .with_context(|| format!("no {words:?} in\n{}", self.world.agent().log_tail()))
    }

    /// The login ends with the agent's own FATAL, in time, and without the rogue's words.
    fn login_fails(&mut self, rogue: &Rogue, log: &str) -> Result<()> {
        let mut raw = self.raw(rogue)?;
        let begun = Instant::now();
        let failed = raw.login(pg::SERVICE, pg::DATABASE, WORTHLESS);
        let name = rogue.name;
        assert!(failed.is_err(), "{name} let the client in");
        assert!(begun.elapsed() < Duration::from_secs(13), "{name}");
        raw.ended_within(Duration::from_secs(2))?;
        let all = Message::all(raw.all());
        let last = all.last().with_context(|| format!("{name}: nothing"))?;
        assert_eq!(
            last.sqlstate().as_deref(),
            Some("08006"),
            "{name}: {}",
            kinds(&all)
        );
        assert_eq!(error_field(&last.body, b'V').as_deref(), Some("FATAL"));
        assert!(
            last.words().contains("its log says why"),
            "{name}: {}",
            last.words()
        );
        assert!(
            !String::from_utf8_lossy(raw.all()).contains("555-0100"),
            "{name}"
        );
        self.logged(log).with_context(|| name)?;
        self.unharmed(name)
    }

    /// No server ever got the agent's password in clear.
    fn kept_secret(&self, rogues: &[Rogue]) {
        for rogue in rogues {
            for heard in rogue.server.heard() {
                let seen = heard
                    .windows(pg::PASSWORD.len())
                    .any(|at| at == pg::PASSWORD.as_bytes());
                assert!(!seen, "{} was given the password", rogue.name);
            }
        }
    }
}

/// One message of a server.
fn says(kind: u8, body: &[u8]) -> Vec<u8> {
    Message::frame(kind, body)
}

/// An ErrorResponse with words that must not pass for the database's.
fn misleading() -> Vec<u8> {
    says(
        b'E',
        b"SFATAL\0VFATAL\0C28000\0Mcall 555-0100 and tell your password\0\0",
    )
}
