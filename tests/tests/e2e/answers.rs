//! What comes back: under names that changed, late, cut short, unasked for, or to a client that
//! does not read.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use node_agent_tests::program::until;
use node_agent_tests::{Place, World, parts};

use super::agent_is_here;

const SEED: &str = "create schema sales; \
    create table sales.customers (id int primary key, name text, ssn text not null unique); \
    insert into sales.customers values (1, 'Ada', '123-45-6789'), (2, 'Bruno', '987-65-4321'); \
    create table sales.cards (owner text references sales.customers (ssn) deferrable initially deferred); \
    insert into sales.cards values ('123-45-6789'); \
    create table sales.orders (id int primary key, note text); \
    insert into sales.orders select g, 'note' from generate_series(1, 20) g; \
    create function sales.sly() returns int language plpgsql as \
      $$ begin perform set_config('client_encoding', 'SJIS', false); return 1; end $$; \
    grant usage on schema sales to public; \
    grant all on all tables in schema sales to public";

const POLICY: &str = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: answers }
mode: enforce
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
rules:
  - { name: all, effect: allow, statements: [read, write, session], tables: ['*.*'] }
masks:
  - { name: ssn, columns: [sales.customers.ssn], with: { keep_last: 4 } }
";

fn world(policy: &str) -> Result<World> {
    World::builder()
        .policy_text("answers.yaml", policy)
        .seed(SEED)
        .start()
}

/// What one dialogue of the driver saw.
fn seen(world: &World, dialogue: &str) -> Result<String> {
    let program = world
        .program(Place::Inside, parts::python()?)
        .arg(parts::driver("answers.py"))
        .arg(dialogue)
        .arg(world.dsn(Place::Inside, world.cluster(), "disable"));
    let text = program.limit(Duration::from_secs(60)).output()?;
    println!("{text}");
    Ok(text)
}

/// The line that begins with this name.
fn line<'t>(text: &'t str, name: &str) -> &'t str {
    text.lines()
        .find(|line| line.starts_with(&format!("{name}: ")))
        .unwrap_or_else(|| panic!("no line {name:?} in {text}"))
}

fn hides(text: &str) {
    for secret in ["123-45", "987-65", "9876-54", "1234-56"] {
        assert!(!text.contains(secret), "{secret} is shown: {text}");
    }
}

#[test]
fn a_name_is_judged_for_what_it_means_when_it_runs() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world(POLICY)?;
    let text = seen(&world, "names")?;
    assert_eq!(line(&text, "first"), "first: ok 1 ['x']");
    assert!(line(&text, "again").contains("ok"), "{text}");
    assert!(line(&text, "second").starts_with("second: "), "{text}");
    for secret in ["9876-54-321", "1234-56-789"] {
        assert!(!text.contains(secret), "{text}");
    }
    let text = seen(&world, "cursors")?;
    let fetched: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("fetch"))
        .collect();
    assert_eq!(fetched.len(), 4, "{text}");
    assert!(fetched[0].contains("ok 1 ['1']"), "{text}");
    for refused in &fetched[1..3] {
        // Ours, not the database's: the name stands for nothing that could be judged.
        assert!(refused.contains("reference s-"), "{text}");
    }
    assert!(fetched[3].contains("ok 1 ['3']"), "{text}");
    Ok(())
}

#[test]
fn an_error_that_comes_late_shows_no_masked_value() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world(POLICY)?;
    let text = seen(&world, "late")?;
    hides(&text);
    for late in ["commit", "alone", "extended"] {
        let line = line(&text, late);
        assert!(
            line.contains("23503") && line.contains("withheld"),
            "{text}"
        );
    }
    assert_eq!(line(&text, "after"), "after: ok 1 ['1']");
    assert!(
        line(&text, "text").contains("\"nothing\" does not exist"),
        "{text}"
    );
    Ok(())
}

#[test]
fn an_answer_over_its_limit_ends_alone_or_with_the_session() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let policy = format!("{POLICY}limits: {{ rows_returned: 10 }}\n");
    let world = world(&policy)?;
    let text = seen(&world, "limits")?;
    for over in ["simple", "extended"] {
        let line = line(&text, over);
        assert!(
            line.contains("ERROR 54000") && line.contains("10 rows"),
            "{text}"
        );
    }
    assert_eq!(line(&text, "goes on"), "goes on: ok 1 ['1']");
    assert_eq!(line(&text, "goes on too"), "goes on too: ok 1 ['2']");
    // What was sent behind it runs, but nobody takes its answer for another's.
    assert!(line(&text, "pipeline").contains("FATAL 54000"), "{text}");
    assert!(!text.contains("behind"), "{text}");
    assert!(text.contains("status BAD"), "{text}");
    Ok(())
}

#[test]
fn copy_data_that_nobody_asked_for_waits_outside() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world(POLICY)?;
    world.ask("select 1")?.good()?;
    let before = peak_kib(world.agent().worker()?)?;
    let text = seen(&world, "flood")?;
    let sent: u64 = text
        .split_whitespace()
        .last()
        .context("nothing was said")?
        .parse()?;
    // What the kernel's own buffers of both sides take, and a read buffer.
    assert!(sent < 64 << 20, "{sent} bytes were taken");
    let grown = peak_kib(world.agent().worker()?)? - before;
    assert!(grown < 24 << 10, "the agent grew by {grown} KiB");
    Ok(())
}

#[test]
fn a_client_that_does_not_read_holds_nothing_once_its_session_is_ended() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world(POLICY)?;
    let client = world
        .program(Place::Inside, parts::python()?)
        .arg(parts::driver("answers.py"))
        .arg("deaf")
        .arg(world.dsn(Place::Inside, world.cluster(), "disable"))
        .spawn()?;
    let session = until("a live session", Duration::from_secs(10), || {
        let live = world.cli(&["sessions", "ls", "--live", "--json"])?.good()?;
        let found = live
            .stdout
            .split('"')
            .find(|word| word.starts_with("s-"))
            .map(str::to_owned);
        Ok(found.filter(|_| client.said().contains("asked")))
    })?;
    let running = || {
        let count = "select count(*) from pg_stat_activity where query like 'select repeat%'";
        world.psql(Place::Outside)?.args(["-c", count]).output()
    };
    until(
        "the statement at the database",
        Duration::from_secs(10),
        || Ok((running()?.trim() == "1").then_some(())),
    )?;
    world.cli(&["sessions", "kill", &session])?.good()?;
    until("the end of the statement", Duration::from_secs(5), || {
        Ok((running()?.trim() == "0").then_some(()))
    })?;
    drop(client);
    Ok(())
}

#[test]
fn a_row_that_was_begun_waits_outside_also_when_its_statement_is_stopped() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let (rules, _masks) = POLICY.split_once("masks:").context("no masks")?;
    let world = world(&format!("{rules}limits: {{ statement_timeout: 2s }}\n"))?;
    world.ask("select 1")?.good()?;
    let before = peak_kib(world.agent().worker()?)?;
    let text = seen(&world, "huge")?;
    assert!(text.contains("row 100000000"), "{text}");
    assert!(line(&text, "end").contains("longer than 2000 ms"), "{text}");
    let grown = peak_kib(world.agent().worker()?)? - before;
    assert!(grown < 24 << 10, "the agent grew by {grown} KiB");
    Ok(())
}

#[test]
fn a_session_whose_statements_could_be_read_in_two_ways_ends() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let policy = fs::read_to_string(parts::repository().join("policies/allow-everything.yaml"))?;
    let world = world(&policy)?;
    let text = seen(&world, "encoding")?;
    assert_eq!(line(&text, "before"), "before: ok 1 ['1']");
    assert!(text.contains("FATAL 08P01"), "{text}");
    assert!(text.contains("status BAD"), "{text}");
    Ok(())
}

/// The most memory that a process ever had, KiB.
fn peak_kib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let word = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(word.context("no VmHWM")?.parse()?)
}
