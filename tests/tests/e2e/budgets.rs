//! Budgets: what one identity does in all its sessions counts together, and nobody else's.

use std::time::Duration;

use anyhow::{Context, Result};
use node_agent_tests::client::{Dialer, Message, Raw, cells, error_field};
use node_agent_tests::pg::DATABASE;
use node_agent_tests::world::GROUP;
use node_agent_tests::{World, until};
use serde_json::Value;

use super::agent_is_here;

const SOON: Duration = Duration::from_secs(10);

const SEED: &str = "create schema s; \
    create table s.items (id int primary key, n int not null default 0, note text default repeat('x', 100)); \
    insert into s.items select g from generate_series(1, 1000) g; \
    grant all on schema s to public; grant all on all tables in schema s to public";

const POLICY: &str = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: few }
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
rules:
  - { name: all, effect: allow, statements: [read, write] }
budgets: { statements_per_hour: 12, rows_returned_per_hour: 50, bytes_returned_per_day: 20kB, rows_affected_per_hour: 10 }
";

/// A session of this user.
fn session(world: &World, dialer: &mut Dialer, user: &str) -> Result<Raw> {
    world.set_token(&world.idp.token(user, &[GROUP], 600))?;
    world.client(dialer)
}

fn error(messages: &[Message]) -> Option<&Message> {
    messages.iter().find(|message| message.kind == b'E')
}

fn passes(seen: &[Message]) {
    let words: String = seen.iter().map(Message::words).collect();
    assert!(error(seen).is_none(), "{words}");
}

/// Refused for this budget; gives the line for programs.
fn spent(seen: &[Message], budget: &str, decision: &str) -> Result<Value> {
    let error = error(seen).with_context(|| format!("passes, though {budget} is spent"))?;
    assert_eq!(
        error.sqlstate().as_deref(),
        Some("54000"),
        "{}",
        error.words()
    );
    let detail = error_field(&error.body, b'D').context("no DETAIL")?;
    let says = format!("policy \"few\", budgets.{budget}");
    assert!(detail.starts_with(&says), "{detail}");
    let line: Value = serde_json::from_str(detail.lines().nth(1).context("no line")?)?;
    assert_eq!(
        (&line["cause"], &line["decision"]),
        (&"budget".into(), &decision.into())
    );
    let wait = line["retry_after_seconds"].as_u64().context("no time")?;
    assert!(wait > 3000, "{line}");
    let hint = error_field(&error.body, b'H').unwrap_or_default();
    assert!(hint.contains(&format!("in {wait} s")), "{hint}");
    Ok(line)
}

#[test]
fn all_sessions_of_an_identity_share_its_budgets_and_nobody_else_pays() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder()
        .policy_text("few.yaml", POLICY)
        .seed(SEED)
        .start()?;
    let mut dialer = world.dialer()?;

    // Statements.
    let mut first = session(&world, &mut dialer, "alice")?;
    let mut second = session(&world, &mut dialer, "alice")?;
    for _ in 0..5 {
        passes(&first.query("select 1 where false")?);
        passes(&second.query("select 1 where false")?);
    }
    passes(&first.query("begin")?);
    passes(&first.query("select 1 where false; select 2 where false")?);
    spent(
        &first.query("select 1 where false")?,
        "statements_per_hour",
        "deny",
    )?;
    // The end of a transaction is always to be had.
    passes(&first.query("rollback")?);
    spent(
        &second.query("select 1 where false")?,
        "statements_per_hour",
        "deny",
    )?;
    spent(
        &session(&world, &mut dialer, "alice")?.query("select 1 where false")?,
        "statements_per_hour",
        "deny",
    )?;

    // Rows: not one more than is left, whichever session reads them.
    let mut first = session(&world, &mut dialer, "bob")?;
    let mut second = session(&world, &mut dialer, "bob")?;
    passes(&first.query("select id from s.items where id <= 30")?);
    let seen = second.query("select id from s.items where id <= 30")?;
    assert_eq!(cells(&seen).len(), 20);
    spent(&seen, "rows_returned_per_hour", "stop")?;
    spent(&first.query("select 1")?, "rows_returned_per_hour", "deny")?;
    // What returns none goes on.
    passes(&first.query("insert into s.items values (2001)")?);

    // Bytes.
    let mut client = session(&world, &mut dialer, "dora")?;
    let long = "select repeat('x', 15000)";
    passes(&client.query(long)?);
    spent(&client.query(long)?, "bytes_returned_per_day", "stop")?;

    // Rows changed, before they are committed.
    let mut first = session(&world, &mut dialer, "carol")?;
    let mut second = session(&world, &mut dialer, "carol")?;
    passes(&first.query("update s.items set n = 1 where id <= 8")?);
    let seen = second.query("update s.items set n = 1 where id > 8 and id <= 16")?;
    spent(&seen, "rows_affected_per_hour", "undo")?;
    passes(&second.query("update s.items set n = 1 where id > 8 and id <= 10")?);
    spent(
        &first.query("update s.items set n = 1 where id = 11")?,
        "rows_affected_per_hour",
        "undo",
    )?;
    let changed = world
        .cluster()
        .sql(DATABASE, "select count(*) from s.items where n = 1")?;
    assert_eq!(changed, "10");

    // Another version of the policy finds what was spent under the one before it.
    world.set_policy(
        "few.yaml",
        &POLICY.replace("rows_returned_per_hour: 50", "rows_returned_per_hour: 53"),
    )?;
    let mut bob = session(&world, &mut dialer, "bob")?;
    let seen = until("the new policy is in force", SOON, || {
        let seen = bob.query("select id from s.items where id <= 30")?;
        Ok((!cells(&seen).is_empty()).then_some(seen))
    })?;
    assert_eq!(cells(&seen).len(), 3);
    Ok(())
}
