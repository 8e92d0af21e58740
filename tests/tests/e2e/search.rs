//! What was recorded is found, followed and exported, and never more than what was delivered.

use std::time::Duration;

use anyhow::Result;
use node_agent_tests::program::Program;
use node_agent_tests::{World, parts, until};
use serde_json::Value;

use super::agent_is_here;

const SEED: &str = "create schema sales; \
    create table sales.customers (id int primary key, name text, ssn text not null); \
    insert into sales.customers values (1, '=Ada', '123-45-6789'), (2, 'Bruno', '987-65-4321'); \
    grant usage on schema sales to public; \
    grant all on all tables in schema sales to public";

const POLICY: &str = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: search }
mode: enforce
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
rules:
  - { name: read, effect: allow, statements: [read, transaction, set], tables: ['sales.*'] }
  - { name: never, effect: deny, statements: [drop, truncate] }
masks:
  - { name: ssn, columns: [sales.customers.ssn], with: { keep_last: 4 } }
";

fn world() -> World {
    World::builder()
        .policy_text("search.yaml", POLICY)
        .seed(SEED)
        .start()
        .unwrap()
}

/// The sessions that are over, as listed with these words.
fn listed(world: &World, words: &[&str]) -> Result<Vec<Value>> {
    let words = [&["sessions", "ls", "--json"], words].concat();
    let list = world.cli(&words)?.good()?.stdout;
    list.lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect()
}

fn three(world: &World) -> Result<()> {
    world
        .ask("select name, ssn from sales.customers order by id")?
        .good()?;
    world.ask("drop table sales.customers")?;
    world.ask("select * from sales.nowhere")?;
    until("three closed recordings", Duration::from_secs(10), || {
        let closed = listed(world, &["--why", "client_quit"])?.len();
        Ok((closed == 3).then_some(()))
    })
}

#[test]
fn what_was_recorded_is_found_by_what_it_was_about() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world();
    three(&world)?;
    for (words, count) in [
        (&["--table", "sales.customers"][..], 2),
        (&["--decision", "deny"], 1),
        (&["--rule", "search/never"], 1),
        (&["--rule", "ssn"], 1),
        (&["--error=42P01"], 1),
        (&["--error=08"], 0),
        (&["--min-rows", "2"], 1),
        (&["--since", "1h", "--user", "claude@agents"], 3),
        (&["--until", "yesterday"], 0),
        (&["--group", "ai-agents", "--workload", "claude"], 3),
        (&["--group", "others"], 0),
        (&["--limit", "2"], 2),
    ] {
        assert_eq!(listed(&world, words)?.len(), count, "{words:?}");
    }
    // Values as delivered: masked.
    for (words, status, seen) in [
        (&["***6789"][..], 0, "value ssn: ***6789"),
        (&["123-45"], 1, ""),
        (&["--in", "values", "Bruno"], 0, "value name: Bruno"),
        (
            &["--in", "tables", "sales.cust", "--decision", "deny"],
            0,
            "table define: sales.cust",
        ),
        (&["--regex", "-i", "^DROP\\s"], 0, "deny   drop table"),
        (
            &["--in", "errors", "nowhere"],
            0,
            "select * from sales.nowhere",
        ),
        (&["-l", "customers"], 0, "s-"),
        (&["--count", "customers"], 0, ": 2"),
        (&["--in", "statements", "nothing like it"], 1, ""),
        (&["--regex", "("], 2, ""),
    ] {
        let found = world.cli(&[&["sessions", "grep"], words].concat())?;
        assert_eq!(
            found.status.code(),
            Some(status),
            "{words:?}: {}",
            found.all()
        );
        assert!(found.stdout.contains(seen), "{words:?}: {}", found.all());
    }
    let index = world.cli(&["sessions", "index", "--json"])?.good()?.stdout;
    let index: Value = serde_json::from_str(&index)?;
    assert_eq!((&index["known"], &index["read"]), (&3.into(), &0.into()));
    let index = world
        .cli(&["sessions", "index", "--rebuild", "--json"])?
        .good()?
        .stdout;
    assert_eq!(serde_json::from_str::<Value>(&index)?["read"], 3);
    Ok(())
}

#[test]
fn what_is_exported_is_masked_and_safe_to_open() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world();
    three(&world)?;
    let of = |words: &[&str]| -> Result<String> {
        Ok(listed(&world, words)?[0]["session"]
            .as_str()
            .unwrap()
            .to_owned())
    };
    let read = of(&["--min-rows", "2"])?;
    let seq = world
        .cli(&["sessions", "grep", "--json", "--in", "values", "Bruno"])?
        .good()?;
    let seq = serde_json::from_str::<Value>(&seq.stdout)?["seq"].to_string();
    let rows = world
        .cli(&["sessions", "export", &read, "--rows", &seq])?
        .good()?
        .stdout;
    assert_eq!(rows, "name,ssn\r\n\"'=Ada\",***6789\r\nBruno,***4321\r\n");
    let file = world.path().join("day.jsonl");
    let file = file.to_str().unwrap();
    let words = [
        "sessions", "export", "--since", "today", "--format", "ocsf", "-o", file,
    ];
    world.cli(&words)?.good()?;
    let mut told = std::fs::read_to_string(file)?;
    let events: Vec<Value> = told
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    assert!(events.iter().all(|event| event["class_uid"] == 6005));
    let blocked = events
        .iter()
        .filter(|event| event["disposition"] == "Blocked");
    let blocked: Vec<_> = blocked.collect();
    assert_eq!(blocked.len(), 1, "{blocked:?}");
    assert_eq!(blocked[0]["activity_name"], "Delete");
    assert_eq!(blocked[0]["table"]["name"], "sales.customers");
    assert_eq!(blocked[0]["actor"]["user"]["name"], "claude@agents");
    for format in ["jsonl", "csv"] {
        told += &world
            .cli(&["sessions", "export", "--format", format])?
            .good()?
            .stdout;
    }
    assert!(told.contains("***6789") && told.contains("drop table sales.customers"));
    assert!(!told.contains("123-45"), "a clear value leaves: {told}");
    Ok(())
}

#[test]
fn what_happens_is_followed_and_an_interrupt_ends_it_well() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world();
    let tail = Program::new(parts::built("node-agent")?)
        .args(["sessions", "tail", "--decision", "deny", "--config"])
        .arg(world.agent().config())
        .spawn()?;
    until("a denial that is told", Duration::from_secs(20), || {
        world.ask("drop table sales.customers")?;
        Ok(tail
            .said()
            .contains("DENY   drop table sales.customers")
            .then_some(()))
    })?;
    world.ask("select 1")?;
    tail.signal(rustix::process::Signal::INT)?;
    let ended = tail.finish()?.good()?;
    assert!(!ended.stdout.contains("select 1"), "{}", ended.stdout);
    Ok(())
}
