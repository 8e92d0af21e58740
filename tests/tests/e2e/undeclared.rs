//! A real client that dials a real database by a way nobody declared, and what the operator hears.

use std::fs;
use std::io::copy;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use node_agent_tests::program::until;
use node_agent_tests::{Place, World, parts};
use serde_json::Value;

use super::agent_is_here;

/// Another door to a database: a port that passes everything on.
fn door(to: SocketAddr) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let at = listener.local_addr()?;
    thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let Ok(far) = TcpStream::connect(to) else {
                continue;
            };
            for (mut from, mut into) in [(&near, &far), (&far, &near)]
                .map(|(from, into)| (from.try_clone().unwrap(), into.try_clone().unwrap()))
            {
                thread::spawn(move || copy(&mut from, &mut into));
            }
        }
    });
    Ok(at)
}

fn status(world: &World) -> Result<Value> {
    let seen = world.cli(&["status", "--json"])?;
    Ok(serde_json::from_str(&seen.stdout)?)
}

#[test]
fn a_database_that_nobody_declared_is_refused_to_a_real_client_and_told_of() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut world = World::builder().start().unwrap();
    let cluster = world.cluster();
    let at = door(cluster.address())?;
    let password = world.password(Place::Outside).to_owned();
    let dsn = |sslmode: &str| {
        let dsn = world.dsn(Place::Outside, world.cluster(), sslmode);
        format!(
            "{dsn} hostaddr={} port={} password={password}",
            at.ip(),
            at.port()
        )
    };
    let (clear, tls) = (dsn("disable"), dsn("require"));
    let ask = |world: &World, place: Place, dsn: &str| -> Result<(Option<i32>, String)> {
        let psql = world.program(place, parts::on_path("psql")?);
        let done = psql
            .args(["-X", "-q", "-A", "-t", "-d", dsn, "-c", "select 1"])
            .run()?;
        Ok((
            done.status.code(),
            format!("{}{}", done.stdout, done.stderr),
        ))
    };
    let name = "node_agent_undeclared_databases_total{kind=\"postgres\"}";
    for dsn in [&clear, &tls] {
        let (code, said) = ask(&world, Place::Outside, dsn)?;
        assert_eq!((code, said.as_str()), (Some(0), "1\n"));
    }
    let metric = |world: &World| -> Result<f64> {
        let all = node_agent_tests::metrics::scrape(world.agent().admin())?;
        Ok(all.get(name).copied().unwrap_or_default())
    };
    assert_eq!(metric(&world)?, 0.0);
    for (dsn, count) in [(&clear, 1.0), (&tls, 2.0)] {
        let (code, said) = ask(&world, Place::Inside, dsn)?;
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("abort") || said.contains("closed"), "{said}");
        assert_eq!(metric(&world)?, count);
    }
    let line = until("the log says so", Duration::from_secs(10), || {
        let log = fs::read_to_string(world.agent().log())?;
        let line = log.lines().find(|line| line.contains("no target declares"));
        Ok(line.map(str::to_owned))
    })?;
    for part in [
        at.to_string().as_str(),
        "psql",
        "PostgreSQL",
        "guard.undeclared",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    // What is declared is served as ever.
    assert_eq!(world.ask("select 1")?.good()?.stdout, "1\n");

    // Who only wants to hear of it says so.
    world.agent_mut().kill()?;
    let path = world.agent().config().to_owned();
    let text = fs::read_to_string(&path)?;
    let guard = text
        .lines()
        .find(|line| line.starts_with("guard:"))
        .unwrap();
    let report = guard.replace(" }", ", undeclared: report }");
    fs::write(&path, text.replace(guard, &report))?;
    world.agent_mut().start()?;
    let (code, said) = ask(&world, Place::Inside, &clear)?;
    assert_eq!((code, said.as_str()), (Some(0), "1\n"));
    assert_eq!(metric(&world)?, 1.0);
    Ok(())
}

#[test]
fn status_and_doctor_say_which_optional_layers_there_are() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder().start().unwrap();
    let layers = status(&world)?["layers"].clone();
    let layers = layers.as_array().unwrap();
    assert_eq!(layers.len(), 2);
    for layer in layers {
        let state = layer["state"].as_str().unwrap();
        assert!(["present", "absent", "off"].contains(&state), "{layer}");
        // What is not at work says why.
        assert_eq!(layer["why"].is_string(), state != "present", "{layer}");
    }
    assert_eq!(layers[1]["state"], "off");
    let text = world.cli(&["status"])?.stdout;
    assert!(text.contains("layer off: unix sockets"), "{text}");
    let doctor = world.cli(&["doctor"])?.stdout;
    for what in [
        "SOCK_DESTROY",
        "sock_diag",
        "io_uring",
        "bpffs",
        "AF_PACKET",
        "unix sockets",
    ] {
        assert!(doctor.contains(what), "{what}: {doctor}");
    }
    // Governing does not hang on them.
    assert_eq!(status(&world)?["governing"], true);
    Ok(())
}
