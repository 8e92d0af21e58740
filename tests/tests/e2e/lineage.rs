//! What carries nothing masked comes through in clear, beside what does not.

use anyhow::Result;
use node_agent_tests::World;

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
    statements: [read, write, create, drop, transaction, set, explain]
    tables: ['*.*']
masks:
  - { name: ssn, columns: [sales.customers.ssn], with: { keep_last: 4 } }
";

const SEED: &str = "\
create schema sales; create schema app;
create table sales.customers (
    id int primary key, ssn text, city text,
    loud text generated always as (upper(ssn)) stored, calm text generated always as (upper(city)) stored
) partition by range (id);
create table sales.first partition of sales.customers for values from (0) to (100);
insert into sales.customers (id, ssn, city) values (1, '123-45-6789', 'Bern'), (2, '987-65-4321', 'Basel');
create table sales.orders (id int primary key, customer int, note text);
insert into sales.orders values (7, 1, 'first'), (8, 2, 'second');
create function app.hidden() returns text language sql stable security definer
    as 'select min(ssn) from sales.customers';
create function app.shout(t text) returns text language sql immutable as 'select upper(t)';
create table sales.coded (id int, ssn text, by_code text generated always as (app.shout(ssn)) stored);
create view app.plain as
    select c.id, upper(c.city) as city, c.ssn as s, coalesce(c.ssn, '') || c.city as both_of, count(*) over () as n
    from sales.customers c;
create view app.over as select o.note, p.city, p.s as t from sales.orders o join app.plain p on p.id = o.customer;
create view app.cte as with w(a, b) as (select ssn, city from sales.customers) select b, a from w;
create view app.named as select * from sales.customers;
alter view app.named rename column city to town;
create view app.by_code as select id, city, app.hidden() as h from sales.customers;
create materialized view app.kept as select city, ssn from sales.customers;
create materialized view app.kept_over as select city, s from app.plain;
grant usage on schema sales, app to public;
grant select, insert, update, delete on all tables in schema sales, app to public;
";

#[test]
fn columns_that_carry_nothing_masked_come_through_in_clear() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder()
        .policy_text("masks.yaml", POLICY)
        .seed(SEED)
        .start()?;
    let mut wrong = Vec::new();
    for (text, want) in [
        (
            "select count(*), max(upper(city)), sum(id) + 1, max(ssn) is null from sales.customers",
            "2|BERN|4|",
        ),
        (
            "select ssn, upper(ssn), upper(city) from sales.customers order by id",
            "***6789|***|BERN\n***4321|***|BASEL",
        ),
        (
            "select count(ssn), count(distinct city) from sales.customers",
            "|2",
        ),
        (
            "select case when id = 1 then 'one' else city end from sales.customers order by id",
            "one\nBasel",
        ),
        (
            "select c.city || '/' || o.note, c.ssn from sales.orders o join sales.customers c on c.id = o.customer order by o.id",
            "Bern/first|***6789\nBasel/second|***4321",
        ),
        (
            "select * from sales.orders join (select id as customer, ssn, lower(city) from sales.customers) x using (customer)",
            "1|7|first|***6789|bern\n2|8|second|***4321|basel",
        ),
        (
            "with w as (select city, ssn from sales.customers where id = 1) select upper(city), upper(ssn) from w",
            "BERN|***",
        ),
        (
            "with recursive w(a, n) as (select city, 1 from sales.customers where id = 1 union all select a || a, n + 1 from w where n < 2) select a, n from w",
            "Bern|1\nBernBern|2",
        ),
        (
            "select city from sales.customers where id = 1 union all select note from sales.orders where id = 7",
            "Bern\nfirst",
        ),
        (
            "select ssn from sales.customers where id = 1 union all select note from sales.orders where id = 7",
            "***\n***",
        ),
        (
            "select (select upper(city) from sales.customers where id = 1), (select ssn || '' from sales.customers where id = 1)",
            "BERN|***",
        ),
        (
            "select o, row_to_json(o) from sales.orders o, sales.customers c where o.id = 7 and c.id = 1",
            "(7,1,first)|{\"id\":7,\"customer\":1,\"note\":\"first\"}",
        ),
        ("select c from sales.customers c where id = 1", ""),
        (
            "select rank() over (order by city), lag(city) over (order by id) from sales.customers order by 1",
            "1|Bern\n2|",
        ),
        // Generated columns are as masked as what they are made of.
        (
            "select loud, calm, lower(loud), lower(calm) from sales.customers where id = 1",
            "***|BERN|***|bern",
        ),
        (
            "select loud, calm from sales.first where id = 1",
            "***|BERN",
        ),
        // Views by their definitions.
        (
            "select id, city, s, both_of, n from app.plain where id = 1",
            "1|BERN|***|***|2",
        ),
        (
            "select city || '!', n + 1, s || '!' from app.plain where id = 1",
            "BERN!|3|***",
        ),
        (
            "select note, city, t from app.over where note = 'first'",
            "first|BERN|***",
        ),
        (
            "select lower(note), lower(city), lower(t) from app.over where note = 'first'",
            "first|bern|***",
        ),
        ("select b, a from app.cte where b = 'Bern'", "Bern|***"),
        (
            "select town, ssn, id, calm, loud from app.named where id = 1",
            "Bern|***6789|1|BERN|***",
        ),
        ("select city, id, h from app.by_code limit 1", "***||***"),
        (
            "select city, ssn from app.kept where city = 'Bern'",
            "Bern|***6789",
        ),
        ("select city, s from app.kept_over limit 1", "***|***"),
        // What a change gives back.
        (
            "update sales.orders set note = note where id = 7 returning upper(note), id",
            "FIRST|7",
        ),
        (
            "update sales.customers set city = city where id = 1 returning upper(city), upper(ssn), ssn",
            "BERN|***|***6789",
        ),
        // By code, or in more than one statement, it may be anything.
        (
            "explain (costs off) select upper(city) from sales.customers where id = 1",
            "***\n***",
        ),
    ] {
        let seen = world.ask(text)?;
        let out = seen.stdout.trim_end_matches('\n').to_owned();
        // The tag of a change is the last line.
        let out = out.replace("\nUPDATE 1", "");
        if out != want {
            wrong.push(format!("{text}\n    {out:?} {}\n    {want:?}", seen.stderr));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The database and the text never said different things.
    let disagreements = "node_agent_mask_disagreements_total";
    assert_eq!(world.agent().metric(disagreements)?, 0.0);
    Ok(())
}
