//! `doctor --reach`: what somebody without a credential gets who dials the database directly.

use anyhow::Result;
use node_agent_tests::{Place, World, parts};

use super::agent_is_here;

const ASK: [&str; 5] = ["doctor", "--reach", "pg15", "--database", "app"];

#[test]
fn a_database_that_takes_others_than_the_agent_is_told_from_one_that_does_not() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder().start().unwrap();
    // By pg_hba.conf: whom it refuses, asks for a password, by TLS alone, or takes as they come.
    let table = [
        ("by_nobody", Some(0), "closed"),
        ("svc", Some(1), "ASKS"),
        ("by_cleartext", Some(1), "ASKS"),
        ("by_tls_only", Some(1), "by TLS"),
        ("by_trust", Some(1), "OPEN"),
    ];
    for (role, status, word) in table {
        let seen = world.cli(&[ASK.as_slice(), &["--user", role]].concat())?;
        assert_eq!(seen.status.code(), status, "{role}: {}", seen.all());
        assert!(seen.stdout.contains(word), "{role}: {}", seen.all());
        // What is not closed says what to do.
        assert_eq!(seen.stdout.contains("mend: "), status == Some(1), "{role}");
    }
    // As the agent's own role, unless told otherwise; to be read by programs.
    let seen = world.cli(&[ASK.as_slice(), &["--json"]].concat())?;
    let found: serde_json::Value = serde_json::from_str(&seen.stdout)?;
    assert_eq!(found[0]["seen"], "asks-password", "{found}");
    assert_eq!(found[0]["user"], "svc", "{found}");
    // One that is let in among many that are not.
    let seen = world.cli(
        &[
            ASK.as_slice(),
            &["--user", "by_nobody", "--user", "by_trust"],
        ]
        .concat(),
    )?;
    assert_eq!(seen.status.code(), Some(1), "{}", seen.all());
    assert!(seen.stdout.contains("closed") && seen.stdout.contains("OPEN"));
    // A database that is not there cannot have refused anybody's address.
    let words = ["doctor", "--reach", "pg15", "--database", "nowhere"];
    let seen = world.cli(&[words.as_slice(), &["--user", "by_trust"]].concat())?;
    assert_eq!(seen.status.code(), Some(1), "{}", seen.all());

    let seen = world.cli(&["doctor", "--reach", "nothing", "--database", "app"])?;
    assert_eq!(seen.status.code(), Some(2));
    assert!(seen.stderr.contains("there are: pg15"), "{}", seen.stderr);
    // The server decides by the database's name: a guess would say too much.
    let seen = world.cli(&["doctor", "--reach", "pg15"])?;
    assert_eq!(seen.status.code(), Some(2));
    assert!(seen.stderr.contains("--database"), "{}", seen.stderr);
    Ok(())
}

#[test]
fn from_within_a_labelled_cgroup_the_way_leads_to_the_agent() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    // An address of documentation (RFC 5737): nobody is there but the redirect.
    let far = "192.0.2.7:5432".parse()?;
    let world = World::builder().server("far", far, "disable").start()?;
    let ask = |place| {
        world
            .program(place, parts::built("node-agent").unwrap())
            .args(["doctor", "--reach", "far", "--database", "app", "--json"])
            .arg("--config")
            .arg(world.agent().config())
            .run()
    };
    for (place, expected) in [
        (Place::Inside, "led-to-agent"),
        (Place::Outside, "unreachable"),
    ] {
        let seen = ask(place)?;
        let found: serde_json::Value = serde_json::from_str(&seen.stdout)?;
        assert_eq!(found[0]["seen"], expected, "{found}");
        assert_eq!(seen.status.code(), Some(0), "{}", seen.all());
    }
    Ok(())
}
