//! The agent comes and goes; the redirect stays.

use anyhow::Result;
use node_agent_tests::{Place, World};

use super::agent_is_here;

#[test]
fn a_killed_agent_means_refused_connections_and_a_restarted_one_governs_again() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut world = World::builder().start().unwrap();
    assert_eq!(world.ask("select 1")?.good()?.stdout, "1\n");
    world.agent_mut().kill()?;
    let seen = world.ask("select 1")?;
    assert!(
        seen.stderr.contains("Connection refused"),
        "{}",
        seen.stderr
    );
    let outside = world
        .psql(Place::Outside)?
        .args(["-c", "select 1"])
        .run()?
        .good()?;
    assert_eq!(outside.stdout, "1\n");
    world.agent_mut().start()?;
    assert_eq!(world.ask("select 2")?.good()?.stdout, "2\n");
    world.cli(&["sessions", "verify"])?.good()?;
    Ok(())
}

#[test]
fn a_stale_or_missing_token_is_refused() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder().start().unwrap();
    let good = std::fs::read_to_string(world.token_file())?;
    world.set_token("not.a.token")?;
    let seen = world.ask("select 1")?;
    assert!(
        !seen.status.success() && seen.stderr.contains("FATAL"),
        "{}",
        seen.stderr
    );
    world.set_token("")?;
    let seen = world.ask("select 1")?;
    assert!(seen.stderr.contains("not a signed JWT"), "{}", seen.stderr);
    world.set_token(good.trim())?;
    assert_eq!(world.ask("select 1")?.good()?.stdout, "1\n");
    Ok(())
}
