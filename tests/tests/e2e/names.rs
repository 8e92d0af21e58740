//! Names are objects: what a text means is what its names stand for in the session that sends it.

use std::time::Duration;

use anyhow::Result;
use node_agent_tests::client::{Dialer, Raw, bind, cells, execute, parse, sync};
use node_agent_tests::pg::{DATABASE, SERVICE};
use node_agent_tests::world::WORTHLESS;
use node_agent_tests::{World, until};

use super::agent_is_here;

const POLICY: &str = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: names }
mode: enforce
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
rules:
  - { name: own, effect: allow, statements: [read, write, ddl], tables: ['app.*', 'pg_temp.*'] }
  - { name: audit, effect: deny, statements: [delete], tables: [app.audit] }
functions: { allow: ['app.price(*)', 'app.same(*)', 'app.moves(*)'] }
";

const SEED: &str = "create schema app; create schema svc create table customers (name text); create schema hr; create schema ext; \
    create extension citext schema ext; create extension hstore schema ext; \
    create table app.customers (id int primary key, name text, code varchar, mail ext.citext); \
    insert into app.customers values (1, 'Ada', 'X', 'Ada@example.org'); \
    create table hr.customers (id int, name text, code varchar); \
    insert into hr.customers values (1, 'Secret', 'X'); \
    create table hr.only_here (id int); \
    create table app.orders (id int primary key, note text); \
    insert into app.orders values (1, 'one'); \
    create table app.audit (id int references app.orders on delete cascade); \
    insert into app.audit values (1); \
    create table app.notes (n int); create table app.trail (n int); \
    create rule trail as on insert to app.notes do also delete from app.audit; \
    create view app.open_orders as select * from app.orders; \
    create function app.price(int) returns int language sql as 'select $1 * 2'; \
    create function app.lower(varchar) returns text language sql as 'select ''stolen''::text'; \
    create function app.abs(int) returns int language sql as 'select -1'; \
    create function hr.upper(varchar) returns text language sql as 'select ''stolen''::text'; \
    create function app.same(int, int) returns bool language sql as 'select true'; \
    create function app.steals(int, int) returns bool language sql as 'select true'; \
    create function app.glues(varchar, varchar) returns text language sql as 'select ''stolen''::text'; \
    create function app.above(varchar, varchar) returns bool language sql as 'select true'; \
    create function app.moves() returns int language sql as \
      'select set_config(''search_path'', ''hr'', false); select 1'; \
    create operator app.=== (leftarg = int, rightarg = int, function = app.same); \
    create operator app.<<>> (leftarg = int, rightarg = int, function = app.steals); \
    create operator app.|| (leftarg = varchar, rightarg = varchar, function = app.glues); \
    create operator app.>= (leftarg = varchar, rightarg = varchar, function = app.above); \
    grant usage, create on schema app to public; grant usage on schema hr, ext to public; \
    grant all on all tables in schema app, hr to public; \
    alter database app set search_path = gone, app, ext";

/// One session's statements, each with what comes of it.
enum Comes<'a> {
    /// Rows (cells by `|`, rows by spaces), or none.
    Rows(&'a str),
    /// A refusal of the agent's that says this.
    Refused(&'a str),
    /// An error of the database's that says this.
    Failed(&'a str),
}
use Comes::{Failed, Refused, Rows};

fn world(policy: &str) -> World {
    World::builder()
        .policy_text("policy.yaml", policy)
        .seed(SEED)
        .start()
        .unwrap()
}

fn said(client: &mut Raw, bytes: &[u8]) -> Result<(String, String)> {
    client.send(bytes)?;
    let seen = client.up_to(b'Z')?;
    let row = |row: &Vec<Option<String>>| {
        let cell = |cell: &Option<String>| cell.clone().unwrap_or_default();
        row.iter().map(cell).collect::<Vec<_>>().join("|")
    };
    let rows: Vec<String> = cells(&seen).iter().map(row).collect();
    let mut words = String::new();
    for message in seen.iter().filter(|message| message.kind == b'E') {
        words.push_str(&message.words());
    }
    Ok((rows.join(" "), words))
}

fn tell(client: &mut Raw, statements: &[(&str, Comes<'_>)]) -> Result<()> {
    for (text, comes) in statements {
        let (rows, words) = said(client, &node_agent_tests::client::query(text))?;
        match comes {
            Rows(wanted) => {
                assert_eq!(words, "", "{text}");
                assert_eq!(rows, *wanted, "{text}");
            }
            Refused(part) => assert!(
                words.contains(part) && words.contains("s-"),
                "{text}: {words} {rows}"
            ),
            Failed(part) => assert!(
                words.contains(part) && !words.contains("s-"),
                "{text}: {words} {rows}"
            ),
        }
    }
    Ok(())
}

fn session(world: &World, dialer: &mut Dialer, statements: &[(&str, Comes<'_>)]) -> Result<()> {
    tell(&mut world.client(dialer)?, statements)
}

const NAME: &str = "select name from customers";

#[test]
fn an_unqualified_name_stands_for_what_the_session_s_path_leads_to() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world(POLICY);
    let mut dialer = world.dialer()?;
    let hr = || Refused("select on customers is not allowed");
    let mut tell = |statements: &[(&str, Comes<'_>)]| session(&world, &mut dialer, statements);
    // hr has one too, which the path does not lead to.
    tell(&[
        (NAME, Rows("Ada")),
        (
            "select id from only_here",
            Refused("select on only_here is not allowed"),
        ),
    ])?;
    tell(&[("select name from hr.customers", Refused("hr.customers"))])?;
    // Each way to change the path.
    tell(&[("set search_path = hr", Rows("")), (NAME, hr())])?;
    tell(&[
        ("begin; set local search_path = hr", Rows("")),
        (NAME, hr()),
    ])?;
    tell(&[
        ("set search_path = hr; select name from customers", hr()),
        (NAME, Rows("Ada")),
    ])?;
    tell(&[("set schema 'hr'", Rows("")), (NAME, hr())])?;
    tell(&[
        (
            "select set_config('search_path', 'hr, app', false)",
            Rows("hr, app"),
        ),
        (NAME, hr()),
        ("select id from only_here", Refused("only_here")),
        ("select name from app.customers", Rows("Ada")),
    ])?;
    tell(&[("select app.moves()", Rows("1")), (NAME, hr())])?;
    tell(&[
        ("select app.moves(); select name from customers", hr()),
        (NAME, Rows("Ada")),
    ])?;
    tell(&[
        ("set search_path = \"App\", app", Rows("")),
        (NAME, Rows("Ada")),
    ])?;
    tell(&[("discard all", Rows("")), (NAME, Rows("Ada"))])?;
    tell(&[
        ("set search_path to default", Rows("")),
        (NAME, Rows("Ada")),
    ])?;
    // What was prepared under one path runs under another.
    let mut client = world.client(&mut dialer)?;
    let first = [parse("n", NAME), bind("", "n", &[]), execute("", 0), sync()].concat();
    assert_eq!(said(&mut client, &first)?.0, "Ada");
    // In one go: the SET is not answered yet when what follows it is judged.
    let both = [
        parse("", "set search_path = hr"),
        bind("", "", &[]),
        execute("", 0),
        bind("", "n", &[]),
        execute("", 0),
        sync(),
    ];
    let (rows, words) = said(&mut client, &both.concat())?;
    assert!(
        rows.is_empty() && words.contains("customers"),
        "{rows} {words}"
    );
    Ok(())
}

#[test]
fn a_path_from_login_is_the_session_s_wherever_it_was_set() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world(POLICY);
    let mut dialer = world.dialer()?;
    let hr = || Refused("select on customers is not allowed");
    let mut before = world.client(&mut dialer)?;
    let alter = format!("alter role {SERVICE} set search_path = hr");
    world.cluster().sql(DATABASE, &alter)?;
    session(&world, &mut dialer, &[(NAME, hr())])?;
    // Whoever was there before keeps its own.
    tell(&mut before, &[(NAME, Rows("Ada"))])?;
    for (options, comes) in [
        ("-csearch_path=app", Rows("Ada")),
        ("-c search_path=hr,app", hr()),
        ("--search_path=hr", hr()),
    ] {
        let mut client = world.raw(&mut dialer)?;
        let pairs = [
            ("user", SERVICE),
            ("database", DATABASE),
            ("options", options),
        ];
        client.send(&node_agent_tests::client::startup((3, 0), &pairs))?;
        client.logged_in(WORTHLESS)?;
        tell(&mut client, &[(NAME, comes)])?;
    }
    // `"$user"` is the role that the agent uses.
    let own = format!("alter role {SERVICE} set search_path = \"$user\", app");
    world.cluster().sql(DATABASE, &own)?;
    session(
        &world,
        &mut dialer,
        &[(NAME, hr()), ("select id from orders", Rows("1"))],
    )?;
    Ok(())
}

#[test]
fn temporary_and_new_relations_are_used_in_the_session_that_made_them() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world(POLICY);
    let mut dialer = world.dialer()?;
    let mut other = world.client(&mut dialer)?;
    tell(
        &mut other,
        &[
            (
                "create temp table customers as select 'mine' as name",
                Rows(""),
            ),
            (NAME, Rows("mine")),
            ("select name from pg_temp.customers", Rows("mine")),
        ],
    )?;
    // Another session's changes nothing here.
    session(&world, &mut dialer, &[(NAME, Rows("Ada"))])?;
    session(
        &world,
        &mut dialer,
        &[
            ("begin", Rows("")),
            ("create temp table staging (n int) on commit drop", Rows("")),
            ("insert into staging values (7)", Rows("")),
            ("select n from staging", Rows("7")),
            ("create table fresh (n int)", Rows("")),
            ("insert into fresh select n from staging", Rows("")),
            ("create index on fresh (n)", Rows("")),
            ("select n from fresh", Rows("7")),
            ("rollback", Rows("")),
            ("select n from fresh", Failed("does not exist")),
            (
                "select n from never",
                Refused("select on never is not allowed"),
            ),
            (
                "create temp table orders (id int); select id from orders",
                Rows(""),
            ),
        ],
    )?;
    drop(other);
    drop(world);
    // Where temporary relations are not allowed, one cannot stand for a table that is.
    let world = self::world(&POLICY.replace(", 'pg_temp.*'", ""));
    let mut dialer = world.dialer()?;
    session(
        &world,
        &mut dialer,
        &[
            (
                "create temp table customers (name text)",
                Refused("pg_temp.customers"),
            ),
            ("set search_path = pg_temp, app", Rows("")),
            ("create table t (n int)", Refused("create on t")),
            ("set search_path = app", Rows("")),
            (NAME, Rows("Ada")),
        ],
    )
}

#[test]
fn a_built_in_name_that_the_owner_s_code_may_be_called_by_must_be_vouched_for() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world(POLICY);
    let mut dialer = world.dialer()?;
    // The server does call it.
    for (text, wanted) in [
        ("select lower(code) from app.customers", "stolen"),
        ("select code || code from app.customers", "stolen"),
        (
            "select 1 from app.customers where code between 'a' and 'b'",
            "",
        ),
        ("select 1 <<>> 2", "t"),
        ("set search_path = app, pg_catalog; select abs(5)", "-1"),
    ] {
        let did = world.cluster().sql(DATABASE, text)?;
        assert!(did.ends_with(wanted), "{text}: {did}");
    }
    let stolen = || Refused("app.lower may be called in place of the built-in function");
    session(
        &world,
        &mut dialer,
        &[
            ("select lower(code) from customers", stolen()),
            ("select (code).lower from customers", stolen()),
            (
                "select 1 from customers where lower(name) = 'ada'",
                stolen(),
            ),
            ("prepare p as select lower(code) from customers", stolen()),
            ("explain select lower(code) from customers", stolen()),
            ("select pg_catalog.lower(code) from customers", Rows("x")),
            (
                "select code || code from customers",
                Refused("operator || is not allowed"),
            ),
            (
                "select code OPERATOR(pg_catalog.||) 'y' from customers",
                Rows("Xy"),
            ),
            (
                "select 1 where 'a' between 'a' and 'b'",
                Refused("operator >= is not allowed"),
            ),
            ("select 1 <<>> 2", Refused("it may run app.steals")),
            ("select 1 === 2", Rows("t")),
            (
                "select 1 = all (select 1), 1 in (select 1), case 1 when 1 then 2 end",
                Rows("t|t|2"),
            ),
            // Not on the path, hidden by the server's own, brought by an extension, vouched for.
            ("select upper(code) from customers", Rows("X")),
            ("select abs(5)", Rows("5")),
            (
                "select mail = 'ADA@EXAMPLE.ORG', replace(mail, 'A', 'B') from customers",
                Rows("t|BdB@exBmple.org"),
            ),
            ("select 'a=>1'::ext.hstore -> 'a'", Rows("1")),
            ("select price(4), app.price(5)", Rows("8|10")),
            (
                "select steals(1, 2)",
                Refused("function steals is not allowed"),
            ),
            // The server's own schema put behind: an equal is found first.
            ("set search_path = app, pg_catalog", Rows("")),
            ("select abs(5)", Refused("app.abs may be called")),
            ("select pg_catalog.abs(5)", Rows("5")),
        ],
    )?;
    // Vouched for, it is the owner's word.
    world.set_policy(
        "policy.yaml",
        &POLICY.replace("'app.same(*)'", "'app.same(*)', 'app.lower(*)'"),
    )?;
    until("the new policy", Duration::from_secs(10), || {
        let (rows, _) = said(
            &mut world.client(&mut dialer)?,
            &node_agent_tests::client::query("select lower(code) from customers"),
        )?;
        Ok((rows == "stolen").then_some(()))
    })?;
    Ok(())
}

/// Programs ask for them on their way; what stands in one may be a password.
#[test]
fn a_catalogue_of_options_is_read_while_it_is_empty() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world(POLICY);
    world.cluster().sql(
        DATABASE,
        "create foreign data wrapper d; \
         create server s foreign data wrapper d options (host 'h', password 'Secret')",
    )?;
    let mut dialer = world.dialer()?;
    session(
        &world,
        &mut dialer,
        &[
            (
                "select count(*) from pg_catalog.pg_foreign_table",
                Rows("0"),
            ),
            (
                "select srvoptions from pg_catalog.pg_foreign_server",
                Refused("select on pg_catalog.pg_foreign_server is not allowed"),
            ),
            (
                "select 1 from pg_foreign_server",
                Refused("select on pg_foreign_server is not allowed"),
            ),
            (
                "select fdwname from pg_catalog.pg_foreign_data_wrapper",
                Refused("select on pg_catalog.pg_foreign_data_wrapper is not allowed"),
            ),
        ],
    )
}

#[test]
fn what_a_change_sets_off_is_met_by_deny_rules() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world(POLICY);
    let mut dialer = world.dialer()?;
    let audit = || Refused("delete on app.audit is refused by policy");
    session(
        &world,
        &mut dialer,
        &[
            ("delete from orders where id = 1", audit()),
            ("delete from open_orders where id = 1", audit()),
            ("insert into notes values (1)", audit()),
            (
                "with gone as (delete from orders where id = 1 returning 1) select 1",
                audit(),
            ),
            ("update orders set note = 'two' where id = 1", Rows("")),
            ("insert into orders values (2, 'two')", Rows("")),
        ],
    )?;
    assert_eq!(
        world
            .cluster()
            .sql(DATABASE, "select count(*) from app.audit")?,
        "1"
    );
    Ok(())
}

#[test]
fn names_of_statements_and_cursors_follow_the_server_s_own() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world(POLICY);
    let mut dialer = world.dialer()?;
    let unknown = || Refused("a name that this session has not prepared");
    let mut tell = |statements: &[(&str, Comes<'_>)]| session(&world, &mut dialer, statements);
    // In one text.
    tell(&[
        (
            "prepare p as select name from customers; execute p",
            Rows("Ada"),
        ),
        (
            "prepare q as select name from hr.customers; execute q",
            Refused("hr.customers"),
        ),
        ("execute q", unknown()),
        ("deallocate p; execute p", unknown()),
        ("execute p", Rows("Ada")),
        ("deallocate p; prepare p as select 5; execute p", Rows("5")),
        (
            "begin; declare c cursor for select 6; fetch c; commit",
            Rows("6"),
        ),
        ("deallocate all; execute p", unknown()),
    ])?;
    // A transaction that fails keeps what was prepared, and what was deallocated.
    tell(&[
        ("begin", Rows("")),
        ("prepare p as select 1", Rows("")),
        ("select 1/0", Failed("division by zero")),
        ("rollback", Rows("")),
        ("execute p", Rows("1")),
        ("begin", Rows("")),
        ("deallocate p", Rows("")),
        ("rollback", Rows("")),
        ("execute p", unknown()),
        ("prepare p as select 2", Rows("")),
        ("discard all", Rows("")),
        ("execute p", unknown()),
    ])?;
    // A cursor that was to outlive its transaction does not outlive its undoing.
    tell(&[
        ("begin", Rows("")),
        ("declare c cursor with hold for select 1", Rows("")),
        ("commit", Rows("")),
        ("fetch c", Rows("1")),
        ("close c", Rows("")),
        ("fetch c", unknown()),
        ("begin", Rows("")),
        ("declare c cursor with hold for select 1", Rows("")),
        ("rollback", Rows("")),
        ("fetch c", unknown()),
        ("begin", Rows("")),
        ("declare c cursor for select 1", Rows("")),
        ("commit", Rows("")),
        ("fetch c", unknown()),
    ])?;
    // The unnamed statement is gone with the Parse that failed.
    let mut client = world.client(&mut dialer)?;
    let first = [parse("", "select 3"), sync()].concat();
    assert_eq!(said(&mut client, &first)?.1, "");
    let failed = [parse("", "select nothing_there"), sync()].concat();
    assert!(said(&mut client, &failed)?.1.contains("does not exist"));
    let run = [bind("", "", &[]), execute("", 0), sync()].concat();
    let (rows, words) = said(&mut client, &run)?;
    assert!(rows.is_empty() && !words.is_empty(), "{rows} {words}");
    Ok(())
}

#[test]
fn a_cursor_is_not_taken_for_a_statement_of_its_name() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let policy = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: masked }
mode: enforce
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
rules:
  - { name: all, effect: allow, statements: [read, write, ddl], tables: ['*.*'] }
masks:
  - { name: names, columns: [app.customers.name], with: redact }
";
    let world = world(policy);
    let mut dialer = world.dialer()?;
    let mut client = world.client(&mut dialer)?;
    tell(
        &mut client,
        &[
            ("prepare c as select 'x'", Rows("")),
            ("begin", Rows("")),
            (
                "declare c cursor for select pg_catalog.upper(name) from app.customers",
                Rows(""),
            ),
        ],
    )?;
    // The server does give the name.
    let truth = "select pg_catalog.upper(name) from app.customers";
    assert_eq!(world.cluster().sql(DATABASE, truth)?, "ADA");
    let (rows, words) = said(&mut client, &node_agent_tests::client::query("fetch c"))?;
    assert!(!rows.contains("ADA") && words.is_empty(), "{rows} {words}");
    tell(
        &mut client,
        &[("execute c", Rows("x")), ("commit", Rows(""))],
    )?;
    Ok(())
}
