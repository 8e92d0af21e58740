//! One workload opens connections by the thousand and says nothing; another one works beside it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use node_agent_tests::client::{Dialer, Raw};
use node_agent_tests::pg::{DATABASE, SERVICE};
use node_agent_tests::world::WORTHLESS;
use node_agent_tests::{World, until};
use rustix::process::Signal;

use super::agent_is_here;

const MANY: usize = 10_000;
/// What the kernel lets one workload have waiting for the agent.
const QUOTA: usize = 1_024;
const SOON: Duration = Duration::from_secs(60);

/// How long a login and a question take.
fn login(world: &World, dialer: &mut Dialer) -> Result<Duration> {
    let begun = Instant::now();
    let mut client = Raw::new(dialer.dial(world.cluster().address())?)?;
    client.login(SERVICE, DATABASE, WORTHLESS)?;
    client.query("select 1")?;
    Ok(begun.elapsed())
}

/// A world, and somebody of its second workload.
fn two_workloads() -> Result<(World, Dialer)> {
    let world = World::builder()
        .upstream_tls("disable")
        .workload("quiet")
        .start()
        .unwrap();
    let mut quiet = Dialer::start(&world.cgroup_of("quiet"))?;
    login(&world, &mut quiet)?;
    Ok((world, quiet))
}

/// The middle one, and the longest.
fn usual(mut all: Vec<Duration>) -> (Duration, Duration) {
    all.sort();
    (all[all.len() / 2], all[all.len() - 1])
}

#[test]
fn ten_thousand_half_open_connections_of_one_workload_cost_another_no_login() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let (world, mut quiet) = two_workloads()?;
    let alone: Vec<_> = (0..20)
        .map(|_| login(&world, &mut quiet))
        .collect::<Result<_>>()?;
    let mut beside = Vec::new();
    let mut loud = world.dialer()?;
    let met = loud.hoard(world.cluster().address(), MANY, 2_500, |held| {
        // While they come, and while they stay.
        let begun = Instant::now();
        while held()? < MANY {
            assert!(begun.elapsed() < SOON, "only {} came", held()?);
            beside.push(login(&world, &mut quiet)?);
        }
        for _ in 0..20 {
            beside.push(login(&world, &mut quiet)?);
        }
        assert!(held()? >= MANY, "they were not kept");
        Ok(())
    })?;
    let (usual_alone, _) = usual(alone);
    let (usual_beside, longest) = usual(beside);
    println!("{met:?}; alone {usual_alone:?}, beside {usual_beside:?}, at most {longest:?}");
    assert_eq!(
        (met.opened, met.refused, met.other),
        (MANY, 0, 0),
        "{met:?}"
    );
    assert!(
        usual_beside < usual_alone * 10,
        "alone {usual_alone:?}, beside {usual_beside:?}"
    );
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    // The loud one has its own again once they are gone.
    drop(loud);
    let mut loud = world.dialer()?;
    until("there is room again", SOON, || {
        Ok(login(&world, &mut loud).is_ok().then_some(()))
    })?;
    Ok(())
}

#[test]
fn a_queue_that_one_workload_fills_while_the_agent_hangs_has_room_for_another() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let (world, mut quiet) = two_workloads()?;
    let mut loud = world.dialer()?;
    // Nobody accepts.
    world.agent().signal(Signal::STOP)?;
    let mut waiting = Vec::new();
    let met = loud.hoard(world.cluster().address(), MANY, 5_000, |held| {
        let done = (|| {
            until("its share is full", SOON, || {
                Ok((held()? >= QUOTA).then_some(()))
            })?;
            // All the others are refused meanwhile.
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(4) {
                waiting.push(Raw::new(quiet.dial(world.cluster().address())?)?);
                std::thread::sleep(Duration::from_millis(100));
            }
            Ok(())
        })();
        // Whatever became of it.
        world.agent().signal(Signal::CONT)?;
        done
    })?;
    println!("{met:?}");
    assert_eq!(met.other, 0, "{met:?}");
    assert!(met.opened >= QUOTA && met.refused > MANY / 2, "{met:?}");
    for client in &mut waiting {
        client
            .login(SERVICE, DATABASE, WORTHLESS)
            .context("one that waited")?;
        client.query("select 1")?;
    }
    let log = std::fs::read_to_string(world.agent().log())?;
    assert!(!log.contains("panicked"), "{log}");
    Ok(())
}
