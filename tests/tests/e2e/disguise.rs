//! What a real server makes of a harmless look, refused; and what looks odd and is ordinary, not.

use anyhow::Result;
use node_agent_tests::World;

use super::agent_is_here;

const POLICY: &str = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: reading-and-writing }
mode: enforce
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
rules:
  - { name: all, effect: allow, statements: [read, write, truncate], tables: ['app.*'] }
";

const SEED: &str = "create schema app; create table app.t (id int primary key, note text, data jsonb); \
    insert into app.t values (1, 'a', '{\"k\": 1}'); \
    create table app.hits (n int); create schema hr; \
    create table hr.salaries (id int references app.t, pay int); \
    insert into hr.salaries values (1, 100); \
    create function public.bump(int) returns int language plpgsql as \
      'begin insert into app.hits values ($1); return $1; end'; \
    create type public.mood as enum ('ok'); \
    grant usage on schema app, hr to public; \
    grant all on all tables in schema app, hr to public; grant all on schema app to public";

fn world() -> World {
    World::builder()
        .policy_text("policy.yaml", POLICY)
        .seed(SEED)
        .start()
        .unwrap()
}

#[test]
fn a_call_that_is_written_as_a_column_is_refused() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world();
    let cluster = world.cluster();
    let hits = || cluster.sql("app", "select count(*) from app.hits");
    let calls = [
        "select (1).bump",
        "select (select 1).bump",
        "select f.bump from unnest(array[1]) f",
        "select f.bump from generate_series(1, 1) as f",
        "select 1 from app.t join unnest(array[1]) f on f.bump = 1",
        "update app.t set note = 'b' where id = (1).bump",
        "explain analyze select (1).bump",
    ];
    for text in calls {
        // The server does call it.
        cluster.sql("app", "truncate app.hits")?;
        cluster.sql("app", text)?;
        assert_ne!(hits()?, "0", "{text}");
    }
    cluster.sql("app", "truncate app.hits")?;
    for text in calls {
        let said = world.ask(text)?.stderr;
        assert!(
            said.contains("function bump is not allowed"),
            "{text}: {said}"
        );
    }
    for text in [
        "select ('PG_VERSION'::text).pg_read_file",
        "select (0.01::float8).pg_sleep",
        "select f.pg_sleep from unnest(array[0.01::float8]) f",
    ] {
        let said = world.ask(text)?.stderr;
        assert!(said.contains(" is not allowed"), "{text}: {said}");
    }
    assert_eq!(hits()?, "0");
    Ok(())
}

#[test]
fn a_table_that_another_is_emptied_with_is_not_emptied_unseen() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world();
    let said = world.ask("truncate app.t cascade")?.stderr;
    assert!(said.contains("truncate on *.* is not allowed"), "{said}");
    let kept = world
        .cluster()
        .sql("app", "select count(*) from hr.salaries")?;
    assert_eq!(kept, "1");
    Ok(())
}

#[test]
fn an_update_of_the_settings_is_a_set() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder()
        .policy("allow-everything.yaml")?
        .seed(SEED)
        .start()?;
    let text = "update pg_settings set setting = 'off' where name = 'standard_conforming_strings'";
    // The server does set it.
    let show = "show standard_conforming_strings";
    let set = world.cluster().sql("app", &format!("{text}; {show}"))?;
    assert!(set.ends_with("off"), "{set}");
    let said = world.ask(text)?.stderr;
    assert!(said.contains("stays as it is"), "{said}");
    Ok(())
}

#[test]
fn a_text_that_two_parsers_read_differently_is_refused_unless_policy_wants_both_readings()
-> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    // To the server `end` is the column's alias; the other parser stops there.
    let text = "select note end from app.t";
    let world = world();
    let said = world.ask(text)?.stderr;
    assert!(
        said.contains("the statement cannot be judged: a second parser"),
        "{said}"
    );
    assert!(said.contains("no rule allows opaque"), "{said}");
    assert_eq!(said_by_second(&world, "relations")?, 1.0);
    assert_eq!(world.ask("select note from app.t")?.good()?.stdout, "a\n");
    drop(world);
    let union = POLICY.replace("rules:", "witnesses: union\nrules:");
    let world = World::builder()
        .policy_text("policy.yaml", &union)
        .seed(SEED)
        .start()?;
    assert_eq!(world.ask(text)?.good()?.stdout, "a\n");
    assert_eq!(said_by_second(&world, "relations")?, 1.0);
    Ok(())
}

/// How often the second parser said this of a statement.
fn said_by_second(world: &World, says: &str) -> Result<f64> {
    let all = node_agent_tests::metrics::scrape(world.agent().admin())?;
    let wanted = format!("node_agent_second_parser_total{{says=\"{says}\"}}");
    Ok(all.get(&wanted).copied().unwrap_or_default())
}

#[test]
fn what_looks_odd_and_is_ordinary_is_not_refused() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world();
    for (text, wanted) in [
        ("select note from only app.t", "a\n"),
        ("select (jsonb_each(data)).key from app.t", "k\n"),
        (
            "select j.key, j.value from app.t, jsonb_each(data) j",
            "k|1\n",
        ),
        ("select g.g from generate_series(1, 1) g", "1\n"),
        (
            "select u.a, u.n from unnest(array['x']) with ordinality u(a, n)",
            "x|1\n",
        ),
        (
            "select x.a from jsonb_to_recordset('[{\"a\": 5}]') as x(a int)",
            "5\n",
        ),
        ("select 'ok'::public.mood, 'ok'::mood", "ok|ok\n"),
        ("select ('a'::text).upper", "A\n"),
        ("select current_date = d from current_date d", "t\n"),
        ("select 'a'\n'b'", "ab\n"),
        ("select note as \"only\" from app.t", "a\n"),
        ("select * from (values (1)) v", "1\n"),
        (
            "begin; insert into app.t values (2); delete from only app.t where id = 2; commit",
            "",
        ),
        ("select count(*) from app.t tablesample system (100)", "1\n"),
    ] {
        assert_eq!(world.ask(text)?.good()?.stdout, wanted, "{text}");
    }
    let metric = |says| said_by_second(&world, says);
    assert!(metric("agrees")? >= 8.0);
    assert!(metric("alone")? >= 3.0);
    assert_eq!(
        metric("relations")? + metric("class")? + metric("count")?,
        0.0
    );
    Ok(())
}
