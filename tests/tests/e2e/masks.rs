//! What real databases offer to get a value past its mask.

use std::fs;
use std::time::Duration;

use anyhow::Result;
use node_agent_tests::pg::{self, Cluster, Version};
use node_agent_tests::{Place, World};

use super::agent_is_here;

const POLICY: &str = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: masks }
mode: enforce
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
rules:
  - name: all
    effect: allow
    statements: [read, write, create, alter, drop, copy_out, transaction, set]
    tables: ['*.*']
masks:
  - { name: ssn, columns: [sales.customers.ssn], with: { keep_last: 4 } }
";

/// A value, and what the mask leaves of it.
const CLEAR: &str = "123-45-6789";
const MASKED: &str = "***6789";

fn world(seed: &'static str) -> World {
    World::builder()
        .policy_text("masks.yaml", POLICY)
        .seed(seed)
        .start()
        .unwrap()
}

#[test]
fn no_view_over_code_shows_what_the_code_reads() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world(
        "create schema sales; create schema app; \
         create table sales.customers (id int primary key, ssn text); \
         insert into sales.customers values (1, '123-45-6789'); \
         create table sales.orders (id int primary key, note text); \
         insert into sales.orders values (7, 'note'); \
         create function app.get_customers() returns table (ssn text) language sql stable \
           security definer as 'select ssn from sales.customers'; \
         create function app.first(text, int) returns text language plpgsql stable security definer \
           as 'begin return (select min(ssn) from sales.customers); end'; \
         create operator app.@@@ (function = app.first, leftarg = text, rightarg = int); \
         create view app.v as select * from app.get_customers(); \
         create view app.over as select ssn as n from app.v; \
         create materialized view app.kept as select ssn from app.get_customers(); \
         create view app.operated as select note operator(app.@@@) id as ssn from sales.orders; \
         create view app.xml as select query_to_xml('select ssn from sales.customers', true, true, '') \
           ::text as ssn; \
         create view app.harmless as select upper(note) || '!' as note from sales.orders; \
         grant usage on schema sales, app to public; \
         grant select on all tables in schema sales, app to public",
    );
    for text in [
        "select ssn from app.v",
        "select * from app.v",
        "select n from app.over",
        "select ssn from app.kept",
        "select ssn from app.operated",
        "select ssn from app.xml",
        "select s from (select ssn as s from app.v) x",
        "copy app.v to stdout",
        "copy (select n from app.over) to stdout",
        "copy app.kept to stdout",
        "copy (select ssn from app.operated) to stdout",
        "select ssn from app.get_customers()",
    ] {
        let seen = world.ask(text)?;
        let all = format!("{}{}", seen.stdout, seen.stderr);
        assert!(!all.contains("6789"), "{text} shows {all}");
    }
    // Views that call only what came with the server are answered as before, the server's own too.
    for (text, wanted) in [
        ("select note from app.harmless", "NOTE!\n"),
        ("copy (select note from app.harmless) to stdout", "NOTE!\n"),
        (
            "select column_name from information_schema.columns \
             where table_schema = 'sales' and table_name = 'orders' order by 1",
            "id\nnote\n",
        ),
    ] {
        assert_eq!(world.ask(text)?.good()?.stdout, wanted, "{text}");
    }
    Ok(())
}

#[test]
fn no_renaming_takes_a_mask_off() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world(
        "create schema sales; create schema app; \
         create table sales.customers (id int, ssn text) partition by list (id); \
         create table sales.first partition of sales.customers for values in (1); \
         insert into sales.customers values (1, '123-45-6789'); \
         create table sales.orders (id int, note text); \
         alter schema sales owner to svc; alter schema app owner to svc; \
         alter table sales.customers owner to svc; alter table sales.first owner to svc; \
         alter table sales.orders owner to svc; grant create on database app to svc",
    );
    for text in [
        "alter table sales.customers rename column ssn to note",
        "alter table sales.customers rename to people",
        "alter table sales.customers set schema app",
        "alter schema sales rename to shop",
        "alter table sales.customers detach partition sales.first",
        "alter table sales.first rename column ssn to note",
    ] {
        let seen = world.ask(text)?;
        assert!(
            seen.stderr.contains("it has masked columns") && seen.stderr.contains("mask \"ssn\""),
            "{text}: {}",
            seen.stderr
        );
    }
    for table in ["sales.customers", "sales.first"] {
        let text = format!("select ssn from {table}");
        let seen = world.ask(&text)?.good()?;
        assert_eq!(seen.stdout, format!("{MASKED}\n"), "{text}");
    }
    world
        .ask("alter table sales.orders rename column note to remark")?
        .good()?;
    world
        .ask("alter table sales.customers add column note text")?
        .good()?;
    Ok(())
}

#[test]
fn servers_behind_one_target_are_not_taken_for_each_other() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    const TABLES: [&str; 2] = ["sales.customers", "sales.people"];
    let seed = |first: &str, second: &str| {
        format!(
            "create schema sales; \
             create table {first} (id int, ssn text); create table {second} (id int, ssn text); \
             insert into {first} values (1, '{CLEAR}'); insert into {second} values (1, '{CLEAR}'); \
             grant usage on schema sales to public; \
             grant select on all tables in schema sales to public"
        )
    };
    let mut world = World::builder()
        .policy_text("masks.yaml", POLICY)
        .upstream_tls("require")
        .start()?;
    let other = Cluster::start(Version::V15)?;
    let [customers, people] = TABLES;
    world
        .cluster()
        .sql(pg::DATABASE, &seed(customers, people))?;
    other.sql(pg::DATABASE, &seed(people, customers))?;
    // The same object ids stand for the other table.
    let oid = |cluster: &Cluster, table: &str| {
        cluster.sql(pg::DATABASE, &format!("select '{table}'::regclass::oid"))
    };
    assert_eq!(oid(world.cluster(), customers)?, oid(&other, people)?);
    assert_eq!(oid(world.cluster(), people)?, oid(&other, customers)?);

    let config = world.agent().config().to_owned();
    let text = fs::read_to_string(&config)?;
    let [one, both] = [
        format!("[\"{}/32\"]", world.cluster().address().ip()),
        format!(
            "[\"{}/32\", \"{}/32\"]",
            world.cluster().address().ip(),
            other.address().ip()
        ),
    ];
    assert!(text.contains(&one));
    world.agent_mut().kill()?;
    fs::write(&config, text.replace(&one, &both))?;
    world.agent_mut().start()?;

    for cluster in [world.cluster(), &other, world.cluster()] {
        for (table, wanted) in [(customers, MASKED), (people, CLEAR)] {
            let text = format!("select ssn from {table}");
            let psql = world.psql_to(Place::Inside, cluster, "disable")?;
            let seen = psql.args(["-c", &text]).run()?.good()?;
            assert_eq!(seen.stdout, format!("{wanted}\n"), "{text}");
        }
    }
    Ok(())
}

#[test]
fn after_a_change_of_password_names_are_read_with_the_new_one() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world(
        "create schema sales; create table sales.customers (id int, ssn text); \
         insert into sales.customers values (1, '123-45-6789'); \
         grant usage on schema sales to public; \
         grant select on all tables in schema sales to public",
    );
    let ask = |text: &str| Ok::<_, anyhow::Error>(world.ask(text)?.good()?.stdout);
    assert_eq!(
        ask("select ssn from sales.customers")?,
        format!("{MASKED}\n")
    );
    let new = "another-horse";
    world.write("password", new)?;
    world.cluster().sql(
        pg::DATABASE,
        &format!(
            "alter role {} password '{new}'; \
             create table sales.later (id int); insert into sales.later values (5); \
             grant select on sales.later to public",
            pg::SERVICE
        ),
    )?;
    // A name that is not known yet: the catalogue is read anew, unless it was just now.
    node_agent_tests::until("the new table is known", Duration::from_secs(10), || {
        Ok((ask("select id from sales.later")? == "5\n").then_some(()))
    })
}

#[test]
fn a_session_sees_its_own_definitions_at_once_and_another_when_it_meets_them() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world(
        "create schema sales; create table sales.customers (id int, ssn text); \
         insert into sales.customers select g, '123-45-6789' from generate_series(1, 3) g; \
         alter schema sales owner to svc; alter table sales.customers owner to svc",
    );
    let mut text = String::new();
    for _ in 0..10 {
        text += "create temp table a (x text); insert into a values ('seen');\n\
                 select x, c.ssn from a, sales.customers c where c.id = 1;\n\
                 drop table a;\n";
    }
    text += "create table sales.mine (x text);\ninsert into sales.mine values ('mine');\n";
    let seen = world.ask_all(&text)?;
    assert_eq!(seen.stderr, "");
    assert_eq!(seen.stdout, format!("seen|{MASKED}\n").repeat(10));
    let text = "select x, c.ssn from sales.mine, sales.customers c where c.id = 1";
    assert_eq!(world.ask(text)?.good()?.stdout, format!("mine|{MASKED}\n"));
    Ok(())
}
