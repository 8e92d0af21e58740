//! A policy that only observes lets everything pass as if it were not there, and says what it would
//! have done.

use std::time::Duration;

use anyhow::{Context, Result};
use node_agent_tests::client::{Message, Raw, bind, cells, execute, parse, sync};
use node_agent_tests::pg::DATABASE;
use node_agent_tests::{World, until};
use serde_json::Value;

use super::agent_is_here;

const SOON: Duration = Duration::from_secs(10);

const SEED: &str = "create schema one; create schema two; \
    create table one.t (id int primary key, secret text); create table two.t (id int primary key, secret text); \
    insert into one.t select g, 'x' || g from generate_series(1, 100) g; \
    insert into two.t select g, 'x' || g from generate_series(1, 100) g; \
    grant all on schema one, two to public; grant all on all tables in schema one, two to public; \
    alter table one.t owner to svc; alter table two.t owner to by_trust";

/// Everything that could be in the way at once.
const POLICY: &str = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: watch }
mode: observe
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
require: { reason: true, ticket: 'OPS-[0-9]+' }
rules:
  - { name: read, effect: allow, statements: [select], tables: ['hr.*'] }
  - { name: ask, effect: approve, statements: [update], tables: ['*.*'], reviewers: { groups: [dba] } }
  - { name: never, effect: deny, statements: ['*'], tables: ['*.*'] }
masks:
  - { name: secret, columns: ['*.t.secret'], with: redact }
limits: { rows_returned: 1, bytes_returned: 10, statement_timeout: 1ms, rows_affected: 0 }
budgets: { statements_per_day: 1, rows_returned_per_day: 1, rows_affected_per_day: 0, bytes_returned_per_day: 0 }
";

const STATEMENTS: &[&str] = &[
    "select id, secret from one.t where secret like 'x1%' order by secret",
    "select * from one.t",
    "select pg_sleep(0.01)",
    "copy one.t to stdout",
    "update one.t set secret = 'y'",
    "delete from one.t where id > 90",
    "begin",
    "insert into one.t values (1000, 'z') returning *",
    "select count(*) from one.t",
    "rollback",
    "select count(*) from one.t",
    "do $$ begin perform 1; end $$",
    "create function one.f() returns int language sql as 'select 1'",
    "select one.f()",
    "prepare p as select secret from one.t where id = $1",
    "execute p(3)",
    "execute nothing",
    "declare c cursor with hold for select id from one.t order by id",
    "fetch 3 from c",
    "not a statement",
    "select from nowhere.at_all",
    "select 1; select 2; select secret from one.t where id = 1",
    "explain (costs off) select * from one.t",
    "set role none",
    "alter table one.t rename column secret to plain",
    "truncate one.t",
    "drop table one.t",
    "select 1 / 0",
    "select 'ö', $1",
];

/// Everything that was said, without what differs by nature.
fn said(messages: &[Message]) -> Vec<String> {
    let one = |message: &Message| match message.kind {
        b'E' => format!("E {:?}", message.sqlstate()),
        b'D' => format!("D {:?}", cells(std::slice::from_ref(message))),
        kind => format!("{} {:?}", char::from(kind), message.body.len()),
    };
    messages.iter().map(one).collect()
}

fn extended(client: &mut Raw, text: &str) -> Result<Vec<Message>> {
    client.send(&[parse("", text), bind("", "", &[]), execute("", 0), sync()].concat())?;
    client.up_to(b'Z')
}

#[test]
fn what_is_observed_runs_as_without_an_agent_and_each_statement_says_what_would_have_been()
-> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder()
        .policy_text("watch.yaml", POLICY)
        .seed(SEED)
        .start()?;
    let mut dialer = world.dialer()?;
    let mut governed = world.client(&mut dialer)?;
    let mut direct = Raw::connect(world.cluster().address())?;
    direct.login("by_trust", DATABASE, "")?;
    let mut asked = 0;
    for text in STATEMENTS {
        let other = text.replace("one.", "two.");
        asked += 1;
        let seen = governed
            .query(text)
            .with_context(|| format!("{text}, governed"))?;
        let truth = direct
            .query(&other)
            .with_context(|| format!("{text}, direct"))?;
        assert_eq!(said(&seen), said(&truth), "{text}");
    }
    // The same again for what can be repeated, in the other protocol.
    for text in [
        "select 1",
        "select nothing",
        "select pg_sleep(0.01)",
        "create table one.n (id int)",
    ] {
        let other = text.replace("one.", "two.");
        asked += 1;
        let seen = extended(&mut governed, text).with_context(|| format!("{text}, extended"))?;
        assert_eq!(said(&seen), said(&extended(&mut direct, &other)?), "{text}");
    }
    drop(governed);
    let shown = until("the recording is closed", SOON, || {
        let list = world.cli(&["sessions", "ls", "--json"])?.good()?.stdout;
        let one: Value = serde_json::from_str(list.lines().next().unwrap_or("null"))?;
        if one["ended"].is_null() {
            return Ok(None);
        }
        let id = one["session"].as_str().unwrap_or_default();
        Ok(Some(world.cli(&["replay", id])?.good()?.stdout))
    })?;
    let would = shown.matches("; observed only, enforcing would").count();
    assert_eq!(would, asked, "{shown}");
    assert!(shown.contains(" 0 denied, 0 held"), "{shown}");

    // Where an observing policy would allow, its limits and budgets are noted.
    let (head, _) = POLICY.split_once("rules:").unwrap();
    let (_, limits) = POLICY.split_once("limits:").unwrap();
    let told = format!(
        "{head}functions: {{ allow: ['*'] }}\nrules:\n  \
         - {{ name: all, effect: allow, statements: ['*'], without_where: true }}\nlimits:{limits}"
    );
    world.set_policy("watch.yaml", &told)?;
    let purpose = "/*reason='see',ticket='OPS-1'*/";
    let noted = until("the new policy is in force", SOON, || {
        let mut client = world.client(&mut dialer)?;
        let seen = client.query(&format!(
            "select g, pg_sleep(0.01) from generate_series(1, 3) g {purpose}"
        ))?;
        assert_eq!(cells(&seen).len(), 3);
        let seen = client.query(&format!(
            "insert into one.n select generate_series(1, 5) {purpose}"
        ))?;
        assert_eq!(said(&seen), ["C 11", "Z 1"]);
        drop(client);
        let last = until("the recording is closed", SOON, || {
            let list = world.cli(&["sessions", "ls", "--json"])?.good()?.stdout;
            let one: Value = serde_json::from_str(list.lines().last().unwrap_or("null"))?;
            Ok((!one["ended"].is_null())
                .then(|| one["session"].as_str().unwrap_or_default().to_owned()))
        })?;
        let shown = world.cli(&["replay", &last])?.good()?.stdout;
        Ok((!shown.contains("enforcing would")).then_some(shown))
    })?;
    for key in [
        "rows_returned 1",
        "bytes_returned 10",
        "statement_timeout 1",
        "rows_affected 0",
        "statements_per_day 1 of watch",
        "rows_returned_per_day 1 of watch",
        "bytes_returned_per_day 0 of watch",
        "rows_affected_per_day 0 of watch",
    ] {
        assert!(
            noted.contains(&format!("observed only, beyond {key}")),
            "{key}: {noted}"
        );
    }
    Ok(())
}
