//! What an operator hears of attempts to get round the agent, and the workload that reaches
//! databases only.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result};
use node_agent_tests::program::until;
use node_agent_tests::{Place, World};

use super::agent_is_here;

/// One command to the client that does as told, and its answer.
fn ask(world: &World, place: Place, command: &str) -> Result<String> {
    let commands = world.write("commands", &format!("{command}\n"))?;
    let client = world.program(place, env!("CARGO_BIN_EXE_kernel-client"));
    Ok(client
        .reading(&commands)
        .run()?
        .good()?
        .stdout
        .trim()
        .into())
}

#[test]
fn an_attempt_to_get_round_the_agent_is_counted_and_logged() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder().start().unwrap();
    let name = "node_agent_bypass_attempts_total";
    assert_eq!(world.agent().metric(name)?, 0.0);
    // Nobody's port, and a packet with IP options.
    let nobody = UdpSocket::bind("127.0.0.1:0")?;
    let to = nobody.local_addr()?;
    let command = format!("route udp-ip-options {to}");
    let answer = ask(&world, Place::Inside, &command)?;
    assert!(answer.contains("Operation-not-permitted"), "{answer}");
    assert_eq!(world.agent().metric(name)?, 1.0);
    let line = until("the log says so", Duration::from_secs(10), || {
        let log = fs::read_to_string(world.agent().log())?;
        let line = log
            .lines()
            .find(|line| line.contains("get round the agent"));
        Ok(line.map(str::to_owned))
    })?;
    for part in [to.to_string().as_str(), "kernel-client", "Header"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    Ok(())
}

#[test]
fn a_workload_confined_to_databases_reaches_them_and_what_is_allowed() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut world = World::builder().start().unwrap();
    let (open, other) = (
        TcpListener::bind("127.0.0.1:0")?,
        TcpListener::bind("127.0.0.1:0")?,
    );
    let allowed = open.local_addr()?;
    world.agent_mut().kill()?;
    let path = world.agent().config().to_owned();
    let text = fs::read_to_string(&path)?;
    let guard = text.lines().find(|line| line.starts_with("guard:"));
    let guard = guard.context("no guard in the configuration")?;
    let closed = guard.replace(
        " }",
        &format!(
            ", egress: databases-only, allow: [\"127.0.0.1/32:{}\"] }}",
            allowed.port()
        ),
    );
    fs::write(&path, text.replace(guard, &closed))?;
    world.agent_mut().start()?;
    assert_eq!(world.ask("select 1")?.good()?.stdout, "1\n");
    let refused = "error=Operation-not-permitted-(os-error-1)";
    for (place, to, want) in [
        (Place::Inside, allowed, "open"),
        (Place::Inside, other.local_addr()?, refused),
        (Place::Outside, other.local_addr()?, "open"),
    ] {
        assert_eq!(ask(&world, place, &format!("open {to}"))?, want, "{to}");
    }
    Ok(())
}
