//! Running statements are stopped: by their client with its key, by nobody else, and by policy.

use std::time::Duration;

use anyhow::{Context, Result};
use node_agent_tests::client::{Dialer, Message, Raw, startup};
use node_agent_tests::pg::{DATABASE, SERVICE};
use node_agent_tests::{Place, World, until};
use rustix::process::Signal;

use super::agent_is_here;

const SOON: Duration = Duration::from_secs(10);

/// Waits until the database runs a statement that holds this text.
fn runs(world: &World, text: &str) -> Result<()> {
    until("the statement runs", SOON, || {
        Ok((world.running(text)? == 1).then_some(()))
    })
}

/// Logged in at this protocol version, with the key that was told: process and secret.
fn logged_in(world: &World, dialer: &mut Dialer, version: (u16, u16)) -> Result<(Raw, Vec<u8>)> {
    let mut client = world.raw(dialer)?;
    client.send(&startup(
        version,
        &[("user", SERVICE), ("database", DATABASE)],
    ))?;
    let seen = client.logged_in(world.password(Place::Inside))?;
    let key = seen.into_iter().find(|message| message.kind == b'K');
    Ok((client, key.context("a cancel key")?.body))
}

/// Sends a cancel request and waits until the agent has dealt with it, which it does in silence.
fn cancel(world: &World, dialer: &mut Dialer, key: &[u8]) -> Result<()> {
    let mut asks = world.raw(dialer)?;
    let length = u32::try_from(key.len() + 8)?;
    asks.send(&[&length.to_be_bytes(), &80_877_102_u32.to_be_bytes(), key].concat())?;
    let answer = asks.ended_within(SOON)?;
    assert!(
        answer.is_empty(),
        "a cancel request was answered: {answer:?}"
    );
    Ok(())
}

fn state(messages: &[Message]) -> Option<String> {
    messages.iter().find_map(Message::sqlstate)
}

fn says_done(messages: &[Message]) -> bool {
    messages
        .iter()
        .any(|message| message.body.ends_with(b"done"))
}

#[test]
fn an_interrupt_in_psql_cancels_its_statement() -> Result<()> {
    let world = World::builder().start().unwrap();
    for sslmode in ["disable", "require"] {
        let psql = world
            .psql_to(Place::Inside, world.cluster(), sslmode)?
            .args(["-c", "select pg_sleep(55)"])
            .spawn()?;
        runs(&world, "pg_sleep(55)")?;
        psql.signal(Signal::INT)?;
        let seen = psql.finish()?;
        assert!(
            seen.stderr
                .contains("canceling statement due to user request"),
            "{sslmode}: {}",
            seen.all()
        );
        assert!(seen.took < SOON, "{sslmode}: it took {:?}", seen.took);
    }
    Ok(())
}

#[test]
fn only_the_right_key_from_the_right_workload_cancels() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder().workload("other").start().unwrap();
    let mut dialer = world.dialer()?;
    let mut other = Dialer::start(&world.cgroup_of("other"))?;
    for version in [(3, 0), (3, 2)] {
        let (mut client, key) = logged_in(&world, &mut dialer, version)?;
        let (_neighbour, neighbours) = logged_in(&world, &mut dialer, version)?;
        let server = client.query("select 'backend ' || pg_backend_pid()")?;
        let wrong = |at: usize| {
            let mut wrong = key.clone();
            wrong[at] ^= 1;
            wrong
        };
        let last = key.len() - 1;
        client.ask("select pg_sleep(2), 'done'")?;
        runs(&world, "pg_sleep(2)")?;
        let guesses = [
            wrong(0),
            wrong(3),
            wrong(4),
            wrong(last),
            neighbours,
            [&key[..4], &[0; 4]].concat(),
            [key.as_slice(), &[0]].concat(),
        ];
        for guess in guesses {
            cancel(&world, &mut dialer, &guess)?;
        }
        cancel(&world, &mut other, &key)?;
        let seen = client.up_to(b'Z')?;
        assert!(says_done(&seen), "{version:?}: {:?}", state(&seen));
        let log = world.cluster().log();
        assert!(!log.contains("due to user request"), "{version:?}: {log}");

        // The database's own process id is not what the client was told.
        let told = format!(
            "backend {}",
            u32::from_be_bytes(*key.first_chunk().unwrap())
        );
        let server = String::from_utf8_lossy(&server[1].body).into_owned();
        assert!(
            !server.ends_with(&told),
            "the client knows the database's own key"
        );
    }
    let (mut client, key) = logged_in(&world, &mut dialer, (3, 0))?;
    client.ask("select pg_sleep(56)")?;
    runs(&world, "pg_sleep(56)")?;
    cancel(&world, &mut dialer, &key)?;
    assert_eq!(state(&client.up_to(b'Z')?).as_deref(), Some("57014"));
    assert!(
        says_done(&client.query("select 'done'")?),
        "the session goes on"
    );
    // A key ends with its session.
    client.message(b'X', b"")?;
    client.ended_within(SOON)?;
    cancel(&world, &mut dialer, &key)
}

const TIMED: &str = "limits: { statement_timeout: 500ms }";

#[test]
fn a_statement_that_runs_longer_than_policy_allows_is_cancelled_and_told_so() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder().everything("timed", TIMED).start().unwrap();
    let seen = world.ask_all(
        "select pg_sleep(57);\nselect 'goes on';\nbegin;\nselect pg_sleep(57);\nselect 1;\n\
         rollback;\nselect pg_sleep(0.2), 'quick';\n",
    )?;
    assert!(
        seen.stderr.contains("the statement ran longer than 500 ms"),
        "{}",
        seen.all()
    );
    assert!(seen.stderr.contains("reference s-"), "{}", seen.stderr);
    assert!(
        seen.stderr.contains("current transaction is aborted"),
        "{}",
        seen.stderr
    );
    assert_eq!(seen.stdout, "goes on\n|quick\n");
    assert!(seen.took < SOON, "it took {:?}", seen.took);
    Ok(())
}

#[test]
fn the_time_of_a_statement_counts_in_the_extended_protocol_too() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder().everything("timed", TIMED).start().unwrap();
    let mut dialer = world.dialer()?;
    let (mut client, _) = logged_in(&world, &mut dialer, (3, 0))?;
    let extended = |client: &mut Raw, text: &str| -> Result<Vec<Message>> {
        client.message(b'P', &[b"\0", text.as_bytes(), b"\0\0\0"].concat())?;
        client.message(b'B', &[0; 8])?;
        client.message(b'E', &[0; 5])?;
        client.message(b'S', b"")?;
        client.up_to(b'Z')
    };
    let seen = extended(&mut client, "select pg_sleep(58)")?;
    assert_eq!(state(&seen).as_deref(), Some("54000"));
    // Each statement has its own time, also when many are under way one after the other.
    for _ in 0..4 {
        let seen = extended(&mut client, "select pg_sleep(0.3), 'done'")?;
        assert!(says_done(&seen), "{:?}", state(&seen));
    }
    Ok(())
}

const FEW: &str = "limits: { rows_returned: 10 }";

#[test]
fn a_statement_that_was_stopped_takes_no_other_with_it() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder().everything("few", FEW).start().unwrap();
    let mut dialer = world.dialer()?;
    let (mut client, _) = logged_in(&world, &mut dialer, (3, 0))?;
    // The statement is over at the database before it can be cancelled there; the next must not
    // be cancelled in its place.
    for round in 0..30 {
        let seen = client.query("select generate_series(1, 11)")?;
        assert_eq!(state(&seen).as_deref(), Some("54000"), "round {round}");
        let seen = client.query("select pg_sleep(0.05), 'done'")?;
        assert!(says_done(&seen), "round {round}: {:?}", state(&seen));
    }
    Ok(())
}
