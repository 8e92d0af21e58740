//! Sessions that end without their client's doing.

use std::time::Duration;

use anyhow::Result;
use node_agent_tests::world::{GROUP, SUBJECT};
use node_agent_tests::{World, until};

use super::agent_is_here;

const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_session_ends_with_its_token_and_says_so() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder().start().unwrap();
    let mut dialer = world.dialer()?;
    let mut lasting = world.client(&mut dialer)?;
    world.set_token(&world.idp.token(SUBJECT, &[GROUP], 3))?;
    let mut idle = world.client(&mut dialer)?;
    let mut busy = world.client(&mut dialer)?;
    busy.ask("select pg_sleep(60)")?;
    for client in [&mut idle, &mut busy] {
        let word = client.parting_word(SOON)?;
        assert_eq!(word.sqlstate().as_deref(), Some("28000"));
        assert!(
            word.words().contains("token has expired"),
            "{}",
            word.words()
        );
    }
    until("the statement is cancelled", SOON, || {
        Ok((world.running("pg_sleep(60)")? == 0).then_some(()))
    })?;
    assert!(
        lasting.query("select 'lasts'")?.len() > 3,
        "another token's session goes on"
    );
    // A stale token (by more than clocks may differ) opens nothing, and a fresh one does.
    world.set_token(&world.idp.token(SUBJECT, &[GROUP], -31))?;
    let seen = world.ask("select 1")?;
    assert!(seen.stderr.contains("expired"), "{}", seen.all());
    world.set_token(&world.idp.token(SUBJECT, &[GROUP], 60))?;
    assert_eq!(world.ask("select 1")?.good()?.stdout, "1\n");
    let ended =
        "node_agent_sessions_total{workload=\"claude\",target=\"pg15\",end=\"identity_expired\"}";
    let counted = node_agent_tests::metrics::scrape(world.agent().admin())?;
    assert_eq!(counted.get(ended), Some(&2.0), "{counted:?}");
    Ok(())
}

#[test]
fn what_a_killed_agent_recorded_is_whole_up_to_the_kill() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut world = World::builder().start().unwrap();
    let mut dialer = world.dialer()?;
    let mut client = world.client(&mut dialer)?;
    for number in 0..50 {
        client.query(&format!("select 'statement {number}', repeat('x', 2000)"))?;
    }
    client.ask("select pg_sleep(60)")?;
    let session = until("the session is listed", SOON, || {
        let list = world.cli(&["sessions", "ls", "--json"])?.good()?.stdout;
        let Some(line) = list.lines().next() else {
            return Ok(None);
        };
        let entry: serde_json::Value = serde_json::from_str(line)?;
        assert_eq!(entry["live"], true, "{entry}");
        Ok(entry["session"].as_str().map(str::to_owned))
    })?;
    let replayed =
        |world: &World| -> Result<String> { Ok(world.cli(&["replay", &session])?.good()?.stdout) };
    until("the last statement is on the record", SOON, || {
        Ok(replayed(&world)?.contains("pg_sleep(60)").then_some(()))
    })?;
    world.agent_mut().kill()?;
    let verified = |world: &World| -> Result<String> {
        Ok(world.cli(&["sessions", "verify", &session])?.good()?.stdout)
    };
    let whole = |world: &World, end: &str| -> Result<()> {
        let seen = verified(world)?;
        assert!(seen.contains(end), "{seen}");
        let story = replayed(world)?;
        for number in 0..50 {
            let statement = format!("'statement {number}'");
            assert!(story.contains(&statement), "no {statement} in {story}");
        }
        assert!(story.contains("pg_sleep(60)"), "{story}");
        Ok(())
    };
    whole(&world, "unbroken, but it ends without close")?;
    // The next agent gives it an end, and says that this is all it knows.
    world.agent_mut().start()?;
    assert_eq!(world.ask("select 1")?.good()?.stdout, "1\n");
    until("the recording has its end", SOON, || {
        Ok(verified(&world)?.contains("unbroken, closed").then_some(()))
    })?;
    whole(&world, "unbroken, closed")?;
    let story = replayed(&world)?;
    assert!(story.contains("the agent was killed or crashed"), "{story}");
    world.cli(&["sessions", "verify"])?.good()?;
    Ok(())
}
