//! What a program learns of a refusal: a line of JSON, changes that are really allowed, and what must be
//! told with a statement.

use std::time::Duration;

use anyhow::{Context, Result};
use node_agent_tests::client::{
    Message, Raw, bind, error_field, execute, parse, query, startup, sync,
};
use node_agent_tests::pg::{DATABASE, SERVICE};
use node_agent_tests::{Place, World, until};
use serde_json::Value;

use super::agent_is_here;

const SOON: Duration = Duration::from_secs(10);

const SEED: &str = "create schema sales; create schema hr; create schema app; \
    create table sales.customers (id int primary key, name text, ssn text, note text); \
    insert into sales.customers values (1, 'Ada', '123-45-6789', ''); \
    create table sales.orders (id int primary key, note text); \
    insert into sales.orders select g, 'note' from generate_series(1, 20) g; \
    create table hr.orders (id int primary key, note text); \
    create table sales.log (id int); create table sales.emptied (id int); \
    create function app.price(int) returns int language sql as 'select 7'; \
    grant all on schema sales, hr, app to public; \
    grant all on all tables in schema sales, hr to public";

const POLICY: &str = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: some }
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
functions: { allow: ['app.price(*)'] }
rules:
  - { name: read, effect: allow, statements: [read], tables: ['sales.*'] }
  - { name: fix, effect: allow, statements: [update, delete], tables: [sales.orders, sales.emptied] }
  - { name: told, effect: allow, statements: [insert], tables: [sales.log], require: { reason: true, ticket: '[A-Z]+-[0-9]+' } }
  - { name: ops, effect: allow, statements: [delete], tables: [sales.log], when: \"ticket.startsWith('OPS-')\" }
masks:
  - { name: ssn, columns: [sales.customers.ssn], with: redact }
limits: { rows_returned: 5 }
";

/// The line for programs of the error among these messages.
fn line(messages: &[Message]) -> Result<Value> {
    let error = messages
        .iter()
        .find(|m| m.kind == b'E')
        .context("no error")?;
    let detail = error_field(&error.body, b'D').context("no DETAIL")?;
    let line = detail.lines().nth(1).context("DETAIL has one line")?;
    Ok(serde_json::from_str(line)?)
}

fn failed(messages: &[Message]) -> bool {
    messages.iter().any(|message| message.kind == b'E')
}

fn words(messages: &[Message]) -> String {
    messages.iter().map(Message::words).collect()
}

fn extended(client: &mut Raw, text: &str) -> Result<Vec<Message>> {
    client.send(&[parse("", text), bind("", "", &[]), execute("", 0), sync()].concat())?;
    client.up_to(b'Z')
}

/// A refused statement, what is suggested, and the statement with that change.
const SUGGESTED: &[(&str, &str, &str)] = &[
    (
        "delete from sales.orders",
        "{\"changes\":[{\"change\":\"add_where\"}],\"decision\":\"allow\"}",
        "delete from sales.orders where id = 1",
    ),
    (
        "delete from orders",
        "{\"changes\":[{\"change\":\"add_where\"},{\"change\":\"qualify\",\"name\":\"orders\",\"with\":\"sales.orders\"}],\"decision\":\"allow\"}",
        "delete from sales.orders where id = 2",
    ),
    (
        "select name from sales.customers where ssn = '1' and id = 1",
        "{\"changes\":[{\"change\":\"leave_out_of_predicates\",\"columns\":[\"ssn\"]}],\"decision\":\"allow\"}",
        "select name from sales.customers where id = 1",
    ),
    (
        "select distinct * from sales.customers",
        "{\"changes\":[{\"change\":\"list_columns\",\"without\":[\"ssn\"]}],\"decision\":\"allow\"}",
        "select distinct id, name, note from sales.customers",
    ),
    (
        "copy sales.customers to stdout (format binary)",
        "{\"changes\":[{\"change\":\"use_select\"}],\"decision\":\"allow\"}",
        "select * from sales.customers",
    ),
    (
        "select id from sales.orders where id < 5 for update",
        "{\"changes\":[{\"change\":\"leave_out_locking\"}],\"decision\":\"allow\"}",
        "select id from sales.orders where id < 5",
    ),
    (
        "truncate sales.emptied",
        "{\"changes\":[{\"change\":\"use_delete\"}],\"decision\":\"allow\"}",
        "delete from sales.emptied where id = 1",
    ),
    (
        "select price(id) from sales.orders where id = 3",
        "{\"changes\":[{\"change\":\"qualify_function\",\"name\":\"price\",\"with\":\"app.price\"}],\"decision\":\"allow\"}",
        "select app.price(id) from sales.orders where id = 3",
    ),
    (
        "select pg_sleep(0), id from sales.orders where id = 3",
        "{\"changes\":[{\"change\":\"leave_out_functions\",\"functions\":[\"pg_sleep\"]}],\"decision\":\"allow\"}",
        "select id from sales.orders where id = 3",
    ),
    (
        "insert into sales.log values (1)",
        "{\"changes\":[{\"change\":\"give_purpose\",\"keys\":[\"reason\",\"ticket\"]}],\"decision\":\"allow\"}",
        "insert into sales.log values (1) /*reason='close%20it',ticket='OPS-12'*/",
    ),
    (
        "select id from sales.orders",
        "{\"changes\":[{\"change\":\"add_limit\",\"rows\":5}],\"decision\":\"allow\"}",
        "select id from sales.orders limit 5",
    ),
];

#[test]
fn what_is_suggested_is_really_allowed_and_what_is_told_is_on_the_record() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder()
        .policy_text("some.yaml", POLICY)
        .seed(SEED)
        .start()?;
    let mut dialer = world.dialer()?;
    let mut client = world.client(&mut dialer)?;
    for (text, suggested, with) in SUGGESTED {
        for pass in ["simple", "extended"] {
            // After code of the owner's nobody knows the path, and names may stand for more.
            let mut client = world.client(&mut dialer)?;
            let mut ask = |text: &str| match pass {
                "simple" => client.query(text),
                _ => extended(&mut client, text),
            };
            let refused = ask(text)?;
            let line = line(&refused).with_context(|| format!("{text}: {}", words(&refused)))?;
            assert_eq!(line["node_agent"], 1, "{text}: {line}");
            assert_eq!(line["suggest"].to_string(), *suggested, "{text}: {line}");
            let reference = line["reference"].as_str().context("no reference")?;
            assert!(
                words(&refused).contains(&format!("reference {reference}")),
                "{text}"
            );
            let passed = ask(with)?;
            assert!(!failed(&passed), "{with}: {}", words(&passed));
        }
    }
    // Nothing small would help: nothing is suggested.
    for text in [
        "drop table sales.orders",
        "delete from hr.orders",
        "select 1 from pg_authid",
    ] {
        let refused = client.query(text)?;
        assert!(line(&refused)?["suggest"].is_null(), "{text}");
    }
    // What is said is part of what is judged: texts that differ in it alone are judged each for
    // itself, again and again.
    for (said, allowed) in [
        ("/*reason='x',ticket='OPS-1'*/", true),
        ("/*reason='x',ticket='1'*/", false),
        ("/*reason='x'*/", false),
        ("", false),
        ("/*ticket='OPS-1'*/", false),
        ("/*reason='x',ticket='OPS-1'*/", true),
        ("/*reason='x',ticket='OPS-1',ticket='OPS-2'*/", false),
        ("/* why not */", false),
    ] {
        for pass in 0..2 {
            let text = format!("insert into sales.log values (2) {said}");
            let seen = client.query(&text)?;
            assert_eq!(!failed(&seen), allowed, "{pass} {said}: {}", words(&seen));
            let seen = extended(&mut client, &text)?;
            assert_eq!(!failed(&seen), allowed, "{pass} {said}: {}", words(&seen));
        }
    }
    let seen = client.query("delete from sales.log where id = 2 /*ticket='OPS-7'*/")?;
    assert!(!failed(&seen), "{}", words(&seen));
    assert!(failed(&client.query(
        "delete from sales.log where id = 2 /*ticket='DEV-7'*/"
    )?));
    // What a prepared statement was made with holds for EXECUTE, unless that says otherwise.
    let made = "prepare p as insert into sales.log values (3) /*reason='made',ticket='OPS-3'*/";
    assert!(!failed(&client.query(made)?));
    assert!(!failed(&client.query("execute p")?));
    assert!(failed(
        &client.query("execute p /*reason='other',ticket='3'*/")?
    ));
    drop(client);

    // Of the connection, for all its statements.
    let mut named = world.raw(&mut dialer)?;
    let application = "psql;ticket=OPS-99;reason=by the connection";
    named.send(&startup(
        (3, 0),
        &[
            ("user", SERVICE),
            ("database", DATABASE),
            ("application_name", application),
        ],
    ))?;
    named.logged_in(world.password(Place::Inside))?;
    assert!(!failed(&named.query("insert into sales.log values (4)")?));
    assert!(failed(
        &named.query("insert into sales.log values (4) /*ticket='4'*/")?
    ));
    named.send(&query("select 1"))?;
    named.up_to(b'Z')?;
    drop(named);

    // Two for each suggestion, and the two from above. A file is there from its first block on.
    let sessions = 2 * SUGGESTED.len() + 2;
    let shown = until("all recordings are closed", SOON, || {
        let list = world.cli(&["sessions", "ls", "--json"])?.good()?.stdout;
        if list.lines().count() < sessions {
            return Ok(None);
        }
        let mut shown = String::new();
        for line in list.lines() {
            let one: Value = serde_json::from_str(line)?;
            if one["ended"].is_null() {
                return Ok(None);
            }
            let id = one["session"].as_str().unwrap_or_default();
            shown.push_str(&world.cli(&["replay", id])?.good()?.stdout);
        }
        Ok(Some(shown))
    })?;
    for words in [
        "reason: close it",
        "ticket: OPS-12",
        "ticket: OPS-7",
        "reason: made",
        "reason: by the connection",
        "ticket: OPS-99",
        "purpose not read: `ticket` is said twice",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    Ok(())
}
