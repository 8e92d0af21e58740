//! The agent stops: what runs may finish, what is idle is sent away in words, nobody new comes in.

use std::time::{Duration, Instant};

use anyhow::Result;
use node_agent_tests::client::{Dialer, Message, Raw};
use node_agent_tests::pg::DATABASE;
use node_agent_tests::{World, metrics, until};
use rustix::process::Signal;

use super::agent_is_here;

const SOON: Duration = Duration::from_secs(10);

/// A session with nothing to do: the agent sends it away at once when it stops.
fn sent_away(mut idle: Raw) -> Result<()> {
    let word = idle.parting_word(SOON)?;
    assert_eq!(word.sqlstate().as_deref(), Some("57P03"));
    assert!(word.words().contains("stopping"), "{}", word.words());
    Ok(())
}

/// A session that runs a statement which would take a minute.
fn busy(world: &World, dialer: &mut Dialer) -> Result<Raw> {
    let mut busy = world.client(dialer)?;
    busy.ask("select pg_sleep(60)")?;
    until("the statement runs", SOON, || {
        Ok((world.running("pg_sleep(60)")? == 1).then_some(()))
    })?;
    Ok(busy)
}

/// Its statement is over at the database too.
fn nothing_runs(world: &World) -> Result<()> {
    until("the statement is cancelled", SOON, || {
        Ok((world.running("pg_sleep(60)")? == 0).then_some(()))
    })
}

/// Every recording has its closing event.
fn all_is_recorded(world: &World, sessions: usize) -> Result<()> {
    world.cli(&["sessions", "verify"])?.good()?;
    let list = world.cli(&["sessions", "ls", "--json"])?.good()?.stdout;
    let drained = list.lines().filter(|line| line.contains("drained")).count();
    assert_eq!(drained, sessions, "{list}");
    Ok(())
}

#[test]
fn a_stop_lets_a_transaction_finish_and_lets_nobody_in() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut world = World::builder()
        .seed("create table notes (note text)")
        .start()
        .unwrap();
    let mut dialer = world.dialer()?;
    let idle = world.client(&mut dialer)?;
    let mut at_work = world.client(&mut dialer)?;
    at_work.query("begin")?;
    at_work.query("insert into notes values ('before the stop')")?;
    at_work.ask("insert into notes select 'during the stop' from pg_sleep(2)")?;
    until("the statement runs", SOON, || {
        Ok((world.running("pg_sleep(2)")? == 1).then_some(()))
    })?;

    world.agent().signal(Signal::TERM)?;
    sent_away(idle)?;
    until("new connections are refused", SOON, || {
        let seen = world.ask("select 1")?;
        assert!(
            !seen.status.success(),
            "somebody was let in: {}",
            seen.all()
        );
        Ok(seen.stderr.contains("Connection refused").then_some(()))
    })?;
    let (status, words) = metrics::get(world.agent().admin(), "/readyz")?;
    assert_eq!(status, 503, "{words}");
    assert!(words.contains("the agent is stopping"), "{words}");

    let tags = |seen: Vec<Message>| -> Vec<u8> { seen.iter().map(|m| m.kind).collect() };
    assert_eq!(tags(at_work.up_to(b'Z')?), b"CZ");
    assert_eq!(
        tags(at_work.query("insert into notes values ('after it')")?),
        b"CZ"
    );
    assert_eq!(tags(at_work.query("commit")?), b"CZ");
    sent_away(at_work)?;
    let status = world.agent_mut().wait(SOON)?;
    assert!(status.success(), "{status}");
    let notes = world
        .cluster()
        .sql(DATABASE, "select string_agg(note, ', ') from notes")?;
    assert_eq!(notes, "before the stop, during the stop, after it");
    all_is_recorded(&world, 2)
}

#[test]
fn a_second_signal_ends_at_once_what_still_runs() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    for signal in [Signal::TERM, Signal::INT] {
        let mut world = World::builder().start().unwrap();
        let mut dialer = world.dialer()?;
        let idle = world.client(&mut dialer)?;
        let busy = busy(&world, &mut dialer)?;
        world.agent().signal(signal)?;
        // The first signal has come: idle sessions go, the statement goes on.
        sent_away(idle)?;
        assert_eq!(world.running("pg_sleep(60)")?, 1);
        world.agent().signal(signal)?;
        sent_away(busy)?;
        let status = world.agent_mut().wait(SOON)?;
        assert!(status.success(), "{status}");
        nothing_runs(&world)?;
        all_is_recorded(&world, 2)?;
    }
    Ok(())
}

#[test]
fn a_stop_waits_no_longer_than_it_says() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut world = World::builder().start().unwrap();
    let mut dialer = world.dialer()?;
    let busy = busy(&world, &mut dialer)?;
    let mut open = world.client(&mut dialer)?;
    open.query("begin")?;
    let begun = Instant::now();
    world.agent().signal(Signal::TERM)?;
    let status = world.agent_mut().wait(Duration::from_secs(35))?;
    assert!(status.success(), "{status}");
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(20), "it took only {took:?}");
    sent_away(busy)?;
    sent_away(open)?;
    nothing_runs(&world)?;
    all_is_recorded(&world, 2)
}
