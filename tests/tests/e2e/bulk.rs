//! Much data, little memory: the agent's memory does not grow with what passes through it, nor does
//! the record.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use node_agent_tests::client::{Dialer, Raw};
use node_agent_tests::pg::DATABASE;
use node_agent_tests::{Place, Program, World, metrics, until};

use super::agent_is_here;

/// What may be added to the resident memory of an agent at rest, KiB. About 3 MiB are.
const GROWTH: u64 = 16 << 10;
/// What a session that moves any amount of data may leave on disk, bytes.
const RECORDED: u64 = 1 << 20;
/// Rows of 1,000 bytes that are more than 1 GB together.
const GIGABYTE: u64 = 1_000_000;
/// How long one of the large statements may take, in a build without optimisation.
const LIMIT: Duration = Duration::from_secs(120);

/// The agent at rest: what is measured afterwards is measured against this.
struct Rest {
    agent: u32,
    rss: u64,
    begun: Instant,
}

impl Rest {
    fn of(world: &World) -> Result<Self> {
        // What a first session needs for good (caches, threads) is not growth.
        world.ask("select 1")?.good()?;
        let agent = world.agent().worker()?;
        let rss = metrics::rss(agent)?;
        // The peak counts from here.
        fs::write(format!("/proc/{agent}/clear_refs"), "5")?;
        let begun = Instant::now();
        Ok(Rest { agent, rss, begun })
    }

    /// Fails when the peak since then was too high.
    fn was_enough_for(&self, what: &str) -> Result<()> {
        let peak = metrics::peak(self.agent)?;
        println!(
            "{what}: {:.1} s, {} KiB at rest, peak {peak} KiB",
            self.begun.elapsed().as_secs_f64(),
            self.rss
        );
        assert!(
            peak < self.rss + GROWTH,
            "{what}: {} KiB at rest, but {peak} KiB at the peak",
            self.rss
        );
        Ok(())
    }
}

fn size(dir: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        sum += match entry.file_type()?.is_dir() {
            true => size(&entry.path())?,
            false => entry.metadata()?.len(),
        };
    }
    Ok(sum)
}

fn the_record_is_small_and_whole(world: &World) -> Result<()> {
    until("all recordings are closed", Duration::from_secs(10), || {
        let list = world.cli(&["sessions", "ls", "--json"])?.good()?.stdout;
        let closed = !list.is_empty() && list.lines().all(|line| line.contains("quit"));
        Ok(closed.then_some(()))
    })?;
    let recorded = size(&world.agent().state_dir().join("recordings"))?;
    assert!(recorded < RECORDED, "{recorded} bytes are recorded");
    world.cli(&["sessions", "verify"])?.good()?;
    Ok(())
}

#[test]
fn a_gigabyte_copied_out_leaves_memory_and_record_flat() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder().start().unwrap();
    let rest = Rest::of(&world)?;
    let copy =
        format!("copy (select repeat('x', 1000) from generate_series(1, {GIGABYTE})) to stdout");
    let done = world
        .psql(Place::Inside)?
        .args(["-o", "/dev/null", "-c", &copy])
        .limit(LIMIT)
        .run()?;
    done.good()?;
    rest.was_enough_for("1 GB copied out")?;
    let delivered = world.agent().metric("node_agent_delivered_bytes_total")?;
    assert!(delivered > 1e9, "{delivered} bytes were delivered");
    the_record_is_small_and_whole(&world)
}

#[test]
fn a_gigabyte_copied_in_leaves_memory_and_record_flat() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder()
        .seed("create table sink (line text)")
        .start()
        .unwrap();
    let rest = Rest::of(&world)?;
    // The database reads every row and keeps the last alone, which shows that all of them came.
    let done = copying_in(&world, GIGABYTE, "copy sink from stdin where line = 'last'")?
        .limit(LIMIT)
        .run()?;
    assert_eq!(done.good()?.stderr, "");
    assert_eq!(
        world.cluster().sql(DATABASE, "select line from sink")?,
        "last"
    );
    rest.was_enough_for("1 GB copied in")?;
    the_record_is_small_and_whole(&world)
}

#[test]
fn a_database_that_does_not_read_holds_up_nobody_and_fills_no_memory() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder()
        .seed(
            "create table sink (line text); \
             create table came (line text); \
             create function wait_then_forget() returns trigger language plpgsql as \
             $$ begin \
               perform pg_advisory_xact_lock_shared(7); \
               if new.line = 'last' then insert into came values (new.line); end if; \
               return null; \
             end $$; \
             create trigger slow before insert on sink \
             for each row execute function wait_then_forget()",
        )
        .start()
        .unwrap();
    let rest = Rest::of(&world)?;
    // Locked from outside: the copy waits for its first row's trigger.
    let mut lock =
        Raw::new(Dialer::start(&world.cgroup(Place::Outside))?.dial(world.cluster().address())?)?;
    lock.login("by_trust", DATABASE, "")?;
    lock.query("select pg_advisory_lock(7)")?;
    let copying = copying_in(&world, 300_000, "copy sink from stdin")?
        .limit(LIMIT)
        .spawn()?;
    until("the copy waits", Duration::from_secs(20), || {
        let waits = "select count(*) from pg_stat_activity where wait_event = 'advisory'";
        Ok((world.cluster().sql(DATABASE, waits)? == "1").then_some(()))
    })?;
    others_are_served(&world)?;
    rest.was_enough_for("a copy of 300 MB that the database does not read")?;
    lock.query("select pg_advisory_unlock(7)")?;
    assert_eq!(copying.finish()?.good()?.stderr, "");
    assert_eq!(
        world.cluster().sql(DATABASE, "select line from came")?,
        "last"
    );
    rest.was_enough_for("300 MB copied in late")?;
    the_record_is_small_and_whole(&world)
}

/// psql inside that copies this many rows of 1,000 bytes, made on the fly, and one that says `last`.
fn copying_in(world: &World, rows: u64, copy: &str) -> Result<Program> {
    const SCRIPT: &str =
        "{ yes \"$1\" | head -n \"$2\"; echo last; } | psql -X -q -d \"$3\" -c \"$4\"";
    let dsn = world.dsn(Place::Inside, world.cluster(), "disable");
    Ok(world
        .program(Place::Inside, "sh")
        .args(["-c", SCRIPT, "sh"])
        .args([&"x".repeat(1000), &rows.to_string(), &dsn, copy]))
}

/// Asks in new sessions for a few seconds, each of which must be answered soon.
fn others_are_served(world: &World) -> Result<()> {
    let begun = Instant::now();
    let mut asked = 0;
    while begun.elapsed() < Duration::from_secs(3) {
        let seen = world.ask("select 1")?.good()?;
        assert_eq!(seen.stdout, "1\n");
        let took = seen.took;
        assert!(
            took < Duration::from_secs(5),
            "another session took {took:?}"
        );
        asked += 1;
    }
    assert!(asked > 3, "only {asked} other sessions in 3 s");
    let queued = world.agent().metric("node_agent_record_queued_bytes")?;
    assert!(queued < 1e6, "{queued} bytes wait for the recorder");
    Ok(())
}

#[test]
fn a_result_of_hundreds_of_megabytes_leaves_memory_and_record_flat() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder().start().unwrap();
    let rest = Rest::of(&world)?;
    let mut dialer = world.dialer()?;
    let mut client = world.client(&mut dialer)?;
    let rows = 400_000;
    client.ask(&wide(rows))?;
    let bytes = all_of_it(&mut client)?;
    assert!(bytes > rows * 1000, "{bytes} bytes came");
    // One row that is larger than every buffer.
    client.ask("select repeat('y', 200000000)")?;
    let bytes = all_of_it(&mut client)?;
    assert!(bytes > 200_000_000, "{bytes} bytes came");
    client.message(b'X', b"")?;
    rest.was_enough_for("400 MB of rows and one row of 200 MB")?;
    the_record_is_small_and_whole(&world)
}

#[test]
fn a_large_masked_result_leaves_memory_and_record_flat() -> Result<()> {
    const POLICY: &str = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: wide }
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
rules:
  - { name: read, effect: allow, statements: [read], tables: ['public.*'] }
masks:
  - { name: secret, columns: [public.wide.secret], with: { keep_last: 4 } }
";
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder()
        .policy_text("wide.yaml", POLICY)
        .seed(
            "create table wide as \
             select repeat('x', 1000) filler, 'secret ' || g secret from generate_series(1, 200000) g; \
             grant select on wide to public",
        )
        .start()
        .unwrap();
    let rest = Rest::of(&world)?;
    let mut dialer = world.dialer()?;
    let mut client = world.client(&mut dialer)?;
    client.ask("select * from public.wide")?;
    let bytes = all_of_it(&mut client)?;
    assert!(bytes > 200_000_000, "{bytes} bytes came");
    client.message(b'X', b"")?;
    rest.was_enough_for("200 MB of rows with a masked column")?;
    the_record_is_small_and_whole(&world)
}

#[test]
fn a_client_that_does_not_read_holds_up_nobody_and_fills_no_memory() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder().start().unwrap();
    let rest = Rest::of(&world)?;
    let mut dialer = world.dialer()?;
    let mut slow = world.client(&mut dialer)?;
    let rows = 300_000;
    slow.ask(&wide(rows))?;
    // Nothing is read until the database itself has to wait.
    until("the database waits", Duration::from_secs(20), || {
        let waits = "select count(*) from pg_stat_activity \
             where wait_event = 'ClientWrite' and query like '%300000%'";
        Ok((world.cluster().sql(DATABASE, waits)? == "1").then_some(()))
    })?;
    others_are_served(&world)?;
    rest.was_enough_for("300 MB that nobody reads")?;
    let bytes = all_of_it(&mut slow)?;
    assert!(bytes > rows * 1000, "{bytes} bytes came");
    rest.was_enough_for("300 MB read late")?;
    slow.message(b'X', b"")?;
    the_record_is_small_and_whole(&world)
}

fn wide(rows: u64) -> String {
    format!("select repeat('x', 1000) from generate_series(1, {rows})")
}

/// Reads an answer to its end and forgets it. Gives its length.
fn all_of_it(client: &mut Raw) -> Result<u64> {
    const READY: &[u8] = b"Z\0\0\0\x05I";
    let mut stream = client.stream();
    let (mut block, mut last, mut sum) = (vec![0; 1 << 18], Vec::new(), 0);
    loop {
        let count = stream.read(&mut block).context("the answer stopped")?;
        anyhow::ensure!(count > 0, "the connection ended after {sum} bytes");
        sum += count as u64;
        last.extend_from_slice(&block[count.saturating_sub(READY.len())..count]);
        let kept = last.len().saturating_sub(READY.len());
        last.drain(..kept);
        if last == READY {
            return Ok(sum);
        }
    }
}
