//! Policies change while sessions are open.

use std::time::Duration;

use anyhow::Result;
use node_agent_tests::client::{Message, Raw};
use node_agent_tests::{World, metrics, until};
use rustix::process::Signal;

use super::agent_is_here;

const SOON: Duration = Duration::from_secs(10);

fn policy(rules: &str) -> String {
    format!(
        "apiVersion: node-agent/v1\nkind: Policy\nmetadata: {{ name: changing }}\n\
         subjects: [ {{ workloads: ['*'] }} ]\ntargets: [ '*' ]\nrules:\n{rules}\n"
    )
}

const READ: &str = "  - { name: read, effect: allow, statements: [read], tables: ['public.*'] }";
const CLOSED: &str =
    "  - { name: closed, effect: deny, statements: [read], tables: ['public.orders'] }";

fn world() -> World {
    World::builder()
        .policy_text("changing.yaml", &policy(READ))
        .seed("create table orders (id int); insert into orders values (1); grant select on orders to public")
        .start()
        .unwrap()
}

/// How many reloads came out like this.
fn reloads(world: &World, result: &str) -> Result<f64> {
    let all = metrics::scrape(world.agent().admin())?;
    let name = format!("node_agent_policy_reloads_total{{result=\"{result}\"}}");
    Ok(all.get(&name).copied().unwrap_or_default())
}

fn next_reload(world: &World, result: &str, change: impl FnOnce() -> Result<()>) -> Result<()> {
    let before = reloads(world, result)?;
    change()?;
    until("the policies are read again", SOON, || {
        Ok((reloads(world, result)? > before).then_some(()))
    })
}

/// Runs a prepared statement by its name.
fn execute(client: &mut Raw, name: &str) -> Result<Vec<Message>> {
    client.message(b'B', &[b"\0", name.as_bytes(), &[0; 7]].concat())?;
    client.message(b'E', &[0; 5])?;
    client.message(b'S', b"")?;
    client.up_to(b'Z')
}

fn refusal(messages: &[Message]) -> Option<String> {
    let error = messages.iter().find(|message| message.kind == b'E')?;
    Some(format!("{} {}", error.sqlstate()?, error.words()))
}

#[test]
fn the_next_statement_of_an_open_session_is_judged_by_the_new_policy() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world();
    let mut dialer = world.dialer()?;
    let mut client = world.client(&mut dialer)?;
    let backend = |client: &mut Raw| client.query("select pg_backend_pid()");
    let before = backend(&mut client)?;
    client.message(b'P', b"kept\0select id from orders\0\0\0")?;
    client.message(b'S', b"")?;
    client.up_to(b'Z')?;
    assert_eq!(refusal(&execute(&mut client, "kept")?), None);
    assert_eq!(refusal(&client.query("select id from orders")?), None);

    next_reload(&world, "good", || {
        world.set_policy("changing.yaml", &policy(&format!("{READ}\n{CLOSED}")))
    })?;
    // Also what was prepared, and a text that was allowed, and judged, before.
    for seen in [
        client.query("select id from orders")?,
        execute(&mut client, "kept")?,
    ] {
        let refusal = refusal(&seen).unwrap_or_default();
        assert!(
            refusal.contains("42501") && refusal.contains("rule \"closed\""),
            "{refusal}"
        );
    }
    next_reload(&world, "good", || {
        world.set_policy("changing.yaml", &policy(READ))
    })?;
    assert_eq!(refusal(&client.query("select id from orders")?), None);
    assert_eq!(refusal(&execute(&mut client, "kept")?), None);
    assert_eq!(backend(&mut client)?, before, "it is the same session");
    Ok(())
}

#[test]
fn policies_that_are_taken_away_allow_nothing_to_an_open_session() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world();
    let mut dialer = world.dialer()?;
    let mut client = world.client(&mut dialer)?;
    assert_eq!(refusal(&client.query("select id from orders")?), None);
    next_reload(&world, "good", || {
        Ok(std::fs::remove_file(
            world.path().join("policies/changing.yaml"),
        )?)
    })?;
    let refusal = refusal(&client.query("select id from orders")?).unwrap_or_default();
    assert!(refusal.contains("42501"), "{refusal}");
    Ok(())
}

#[test]
fn a_broken_policy_is_told_and_leaves_the_last_good_one_in_force() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world();
    let mut dialer = world.dialer()?;
    let mut client = world.client(&mut dialer)?;
    let version = || -> Result<serde_json::Value> {
        let status = world.cli(&["status", "--json"])?.good()?.stdout;
        let status: serde_json::Value = serde_json::from_str(&status)?;
        assert_eq!(status["sessions"], 1, "{status}");
        Ok(status["policy_version"].clone())
    };
    let before = version()?;
    let broken = policy(&format!(
        "{READ}\n{CLOSED}\n  - {{ name: wrong, efect: deny }}"
    ));
    next_reload(&world, "bad", || world.set_policy("changing.yaml", &broken))?;
    assert_eq!(refusal(&client.query("select id from orders")?), None);
    assert_eq!(version()?, before);
    let log = world.agent().log_tail();
    assert!(
        log.contains("policies are wrong; the last good ones go on"),
        "{log}"
    );
    assert!(log.contains("changing.yaml:9:"), "no place in {log}");
    let status = world.cli(&["status"])?.good()?.stdout;
    assert!(
        status.contains("degraded: the policy files are wrong")
            && status.contains("changing.yaml:9:"),
        "{status}"
    );
    let refused = world.ask("delete from orders")?;
    assert!(
        refused.stderr.contains("no rule allows"),
        "{}",
        refused.all()
    );
    Ok(())
}

#[test]
fn a_hangup_reads_the_policies_again_and_drops_nobody() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world();
    let mut dialer = world.dialer()?;
    let mut client = world.client(&mut dialer)?;
    for _ in 0..3 {
        // Nothing has changed, so nothing but the signal makes them be read.
        next_reload(&world, "good", || world.agent().signal(Signal::HUP))?;
        assert_eq!(refusal(&client.query("select id from orders")?), None);
    }
    Ok(())
}
