//! The story of the product: a labelled psql is identified, judged, masked and recorded; an
//! unlabelled one is not touched.

use std::time::Duration;

use anyhow::Result;
use node_agent_tests::{Place, World};

use super::agent_is_here;

const SEED: &str = "create schema sales; \
    create table sales.customers (id int primary key, name text, ssn text not null); \
    insert into sales.customers values (1, 'Ada', '123-45-6789'), (2, 'Bruno', '987-65-4321'); \
    create table sales.orders (id int primary key, note text); \
    insert into sales.orders select g, 'note' from generate_series(1, 20) g; \
    create view sales.people as select name, ssn as number from sales.customers; \
    grant usage on schema sales to public; \
    grant all on all tables in schema sales to public";

const POLICY: &str = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: story }
mode: enforce
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
rules:
  - { name: read, effect: allow, statements: [read, transaction, set], tables: ['sales.*'] }
  - { name: clean, effect: approve, statements: [delete], tables: ['sales.*'], reviewers: { groups: [dba] } }
  - { name: never, effect: deny, statements: [drop, truncate] }
masks:
  - { name: ssn, columns: [sales.customers.ssn], with: { keep_last: 4 } }
";

fn world() -> World {
    World::builder()
        .policy_text("story.yaml", POLICY)
        .seed(SEED)
        .start()
        .unwrap()
}

#[test]
fn a_masked_column_leaves_masked_whatever_it_is_called() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world();
    let table = [
        (
            "select ssn from sales.customers order by id",
            "***6789\n***4321\n",
        ),
        (
            "select ssn as id from sales.customers where name = 'Ada'",
            "***6789\n",
        ),
        (
            "select x from (select ssn x from sales.customers order by id) s",
            "***6789\n***4321\n",
        ),
        (
            "with c as (select * from sales.customers) select ssn from c order by id",
            "***6789\n***4321\n",
        ),
    ];
    for (text, expected) in table {
        let seen = world.ask(text)?.good()?;
        assert_eq!(seen.stdout, expected, "{text}");
    }
    // Where the origin cannot be proved, or the value would get out by another way, nothing of it
    // is seen.
    let hostile = [
        "select upper(ssn) from sales.customers",
        "select ssn || '' from sales.customers",
        "select c from sales.customers c",
        "select number from sales.people",
        "select string_agg(ssn, ',') from sales.customers",
        "select ssn::int from sales.customers",
        "select row_to_json(c) from sales.customers c",
        "select ssn from sales.customers union select 'x'",
        "copy sales.customers to stdout",
        "select name from sales.customers where ssn like '123%'",
        "select query_to_xml('select ssn from sales.customers', true, true, '')",
        "do $$ begin raise notice '%', (select ssn from sales.customers limit 1); end $$",
        "explain analyze select ssn from sales.customers where ssn = '123-45-6789'",
        "select most_common_vals from pg_stats",
    ];
    for text in hostile {
        let seen = world.ask(text)?;
        let all = format!("{}{}", seen.stdout, seen.stderr);
        for secret in ["123-45", "987-65", "45-6789", "65-4321"] {
            let quoted = all
                .lines()
                .any(|line| line.contains(secret) && !line.contains(text));
            assert!(!quoted, "{text} shows {secret}: {all}");
        }
    }
    let outside = world
        .psql(Place::Outside)?
        .args(["-c", "select ssn from sales.customers where id = 1"]);
    assert_eq!(
        outside.run()?.good()?.stdout,
        "123-45-6789\n",
        "unlabelled programs are untouched"
    );
    Ok(())
}

#[test]
fn a_refusal_names_its_rule_and_the_session_goes_on() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world();
    let seen = world.ask_all("drop table sales.orders; \nselect count(*) from sales.orders;\n")?;
    assert!(seen.stderr.contains("rule \"never\""), "{}", seen.stderr);
    assert!(seen.stderr.contains("reference s-"), "{}", seen.stderr);
    assert_eq!(seen.stdout, "20\n");
    // A human decides about it; who does not wait is told whom it asked.
    let seen = world.ask("/*wait='no'*/ delete from sales.orders where id = 1")?;
    assert!(
        seen.stderr.contains("needs approval by rule story/clean"),
        "{}",
        seen.stderr
    );
    assert!(
        seen.stderr.contains("reviewers were asked, as a-"),
        "{}",
        seen.stderr
    );
    let seen = world.ask("insert into sales.orders values (99, 'x')")?;
    assert!(
        seen.stderr.contains("no rule allows insert"),
        "{}",
        seen.stderr
    );
    Ok(())
}

#[test]
fn a_refusal_inside_a_transaction_fails_the_transaction_as_any_error_does() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world();
    let seen = world.ask_all(
        "begin;\nselect 1;\ndrop table sales.orders;\nselect 2;\nrollback;\nselect 3;\n",
    )?;
    assert_eq!(seen.stdout, "1\n3\n");
    assert!(seen.stderr.contains("rule \"never\""), "{}", seen.stderr);
    assert!(
        seen.stderr.contains("current transaction is aborted"),
        "{}",
        seen.stderr
    );
    Ok(())
}

#[test]
fn what_happened_is_recorded_verified_and_replayed_without_a_clear_value() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world();
    world
        .ask("select name, ssn from sales.customers order by id")?
        .good()?;
    world.ask("drop table sales.orders")?;
    node_agent_tests::until("two closed recordings", Duration::from_secs(10), || {
        let list = world.cli(&["sessions", "ls", "--json"])?.good()?;
        let closed = list
            .stdout
            .lines()
            .filter(|line| line.contains("quit"))
            .count();
        Ok((closed == 2).then_some(()))
    })?;
    world.cli(&["sessions", "verify"])?.good()?;
    let list = world.cli(&["sessions", "ls", "--json"])?.good()?.stdout;
    let mut told = String::new();
    for line in list.lines() {
        let entry: serde_json::Value = serde_json::from_str(line)?;
        let session = entry["session"].as_str().unwrap().to_owned();
        for format in ["text", "json", "html"] {
            told += &world
                .cli(&["replay", &session, "--format", format])?
                .good()?
                .stdout;
        }
    }
    for seen in [
        "***6789",
        "story/never",
        "story/read",
        "drop table sales.orders",
    ] {
        assert!(told.contains(seen), "no {seen} in {told}");
    }
    assert!(
        !told.contains("123-45"),
        "a clear value is in a recording: {told}"
    );
    Ok(())
}
