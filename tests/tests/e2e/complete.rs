//! The record is complete: of each session the kernel counted the bytes that the agent did, however
//! it went and ended.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use node_agent::model::Carried;
use node_agent::record::{Ending, Event, Identities};
use node_agent::replay::{Outcome, Recording, Said};
use node_agent_tests::client::{bind, execute, parse, query};
use node_agent_tests::{Place, World, until};

use super::agent_is_here;

const SOON: Duration = Duration::from_secs(20);

/// The closes of all recordings, once there are so many and all have their end.
fn closes(world: &World, count: usize) -> Result<Vec<(String, Carried)>> {
    let dir = world.agent().state_dir().join("recordings");
    until("all recordings have their end", SOON, || {
        let mut all = Vec::new();
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.extension().is_none_or(|ending| ending != "rec") {
                continue;
            }
            let Ok(mut recording) = Recording::open(&path, &Identities::none()) else {
                return Ok(None);
            };
            while let Said::Event(event) = recording.next()? {
                if let Event::Closed(closed) = *event {
                    let carried = closed.carried.context("nothing was counted")?;
                    all.push((format!("{:?}", closed.why), carried));
                }
            }
            if recording.state().outcome != Some(Outcome::Sound(Ending::Closed)) {
                return Ok(None);
            }
        }
        Ok((all.len() == count).then_some(all))
    })
}

#[test]
fn the_kernel_counts_the_bytes_of_each_session_as_the_record_does() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder()
        .seed("create table t (id int, note text); grant all on t to public")
        .start()?;
    let mut dialer = world.dialer()?;
    // Said goodbye, in clear and inside TLS; with rows, a copy in and out, refused and failed ones.
    world
        .ask("select repeat('x', 1000), g from generate_series(1, 5000) g")?
        .good()?;
    world
        .psql_to(Place::Inside, world.cluster(), "require")?
        .args([
            "-c",
            "select repeat('y', 3000000)",
            "-c",
            "select 1/0",
            "-c",
            "drop table t",
        ])
        .run()?;
    world.ask_all("\\copy t from program 'seq 1 9 | sed s/$/\\\\tnote/'\n\\copy t to '/dev/null'\nselect nonsense")?;
    // In a pipeline, and gone in the middle of an answer that is not read.
    let mut client = world.client(&mut dialer)?;
    client.send(
        &[parse("", "select 1"), bind("", "", &[]), execute("", 0)]
            .concat()
            .repeat(100),
    )?;
    client.reset()?;
    let mut client = world.client(&mut dialer)?;
    client.send(&query(
        "select repeat('z', 1000) from generate_series(1, 100000)",
    ))?;
    client.byte()?;
    client.reset()?;
    // Ended by an operator while it waits, with bytes behind the statement that nobody will read.
    let mut client = world.client(&mut dialer)?;
    client.send(&[query("select pg_sleep(60)"), query("select 2").repeat(50)].concat())?;
    until("it runs", SOON, || {
        Ok((world.running("pg_sleep")? == 1).then_some(()))
    })?;
    let live = world
        .cli(&["sessions", "ls", "--live", "--json"])?
        .good()?
        .stdout;
    let live: serde_json::Value = serde_json::from_str(&live)?;
    let session = live[0]["id"].as_str().with_context(|| live.to_string())?;
    world.cli(&["sessions", "kill", session])?.good()?;
    client.ended_within(SOON)?;

    let all = closes(&world, 6)?;
    for (why, carried) in &all {
        println!("{why}: {carried:?}");
        assert!(carried.kernel.is_some(), "{why}");
        assert_eq!(carried.disagreement(), None, "{why}");
    }
    let most = all.iter().map(|(_, carried)| carried.written).max();
    assert!(most > Some(5_000_000), "{most:?}");
    let verified = world.cli(&["sessions", "verify"])?.good()?.stdout;
    assert_eq!(
        verified.matches("by the kernel's count").count(),
        6,
        "{verified}"
    );
    Ok(())
}
