//! A connection to the database outlives its session for a few seconds, made as new, and serves the next session of
//! the same identity; of any other it serves none.

use std::time::Duration;

use anyhow::{Context, Result};
use node_agent_tests::client::{Dialer, Message, Raw, cells, parse, startup, sync};
use node_agent_tests::pg::{DATABASE, SERVICE, Version};
use node_agent_tests::world::Builder;
use node_agent_tests::{Place, World, parts, until};
use rustix::process::Signal;

use super::agent_is_here;

const SOON: Duration = Duration::from_secs(10);

/// Everything is allowed, and what names stand for is looked up.
const POLICY: &str = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: all }
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
functions: { allow: ['*'], deny: ['no.such(*)'] }
rules:
  - { name: all, effect: allow, statements: ['*', opaque], without_where: true }
";

const SEED: &str = "create table notes (id serial primary key, note text); \
    create sequence counter; \
    create function public.own(int) returns int language sql as 'select $1 + 1'; \
    create domain odd as int check (public.own(value) % 2 = 0); \
    create function public.trigger_of_notes() returns trigger language plpgsql \
      as 'begin return new; end'; \
    create trigger notes before insert on notes for each row execute function public.trigger_of_notes(); \
    create function public.same(int, int) returns bool language sql as 'select $1 = $2'; \
    create operator public.=== (leftarg = int, rightarg = int, function = public.same); \
    grant all on schema public to svc; grant all on all tables in schema public to svc; \
    grant all on all sequences in schema public to svc; \
    grant temporary on database app to svc";

fn builder(keep_warm: &'static str) -> Builder {
    World::builder()
        .policy_text("all.yaml", POLICY)
        .seed(SEED)
        .keep_warm(keep_warm)
        .workload("other")
}

fn world(keep_warm: &'static str) -> World {
    builder(keep_warm).start().unwrap()
}

/// How many connections are kept, once it is so many.
fn kept(world: &World, count: u64) -> Result<()> {
    let mut last = 0.0;
    let found = until("so many connections are kept", SOON, || {
        last = world.agent().metric("node_agent_upstream_kept")?;
        Ok((last == count as f64).then_some(()))
    });
    found.with_context(|| format!("{last} in place of {count}; {}", world.agent().log_tail()))
}

fn taken(world: &World) -> Result<f64> {
    world.agent().metric("node_agent_upstream_taken_total")
}

/// The process of the database's side, in a session of its own with these further words of the login.
fn process_with(world: &World, words: &str, statements: &[&str]) -> Result<String> {
    let dsn = format!(
        "{} {words}",
        world.dsn(Place::Inside, world.cluster(), "disable")
    );
    let mut psql = world
        .program(Place::Inside, parts::on_path("psql")?)
        .args(["-X", "-q", "-A", "-t", "-d", &dsn]);
    for statement in statements {
        psql = psql.args(["-c", statement]);
    }
    let seen = psql.args(["-c", "select pg_backend_pid()"]).run()?.good()?;
    let last = seen.stdout.lines().last().context("a process id")?;
    Ok(last.to_owned())
}

fn process(world: &World) -> Result<String> {
    process_with(world, "", &[])
}

/// Waits until this process has been made as new. The agent keeps it then, sooner than a client can start.
fn made_as_new(world: &World, process: &str) -> Result<()> {
    let reset = format!(
        "select count(*) from pg_stat_activity \
         where pid = {process} and state = 'idle' and query = 'DISCARD ALL'"
    );
    let made = until("the process is made as new", SOON, || {
        Ok((world.cluster().sql(DATABASE, &reset)? == "1").then_some(()))
    });
    made.with_context(|| format!("process {process}"))
}

/// Waits until the database has ended this process.
fn gone(world: &World, process: &str) -> Result<()> {
    let count = format!("select count(*) from pg_stat_activity where pid = {process}");
    let ended = until("the process is gone", SOON, || {
        Ok((world.cluster().sql(DATABASE, &count)? == "0").then_some(()))
    });
    ended.with_context(|| format!("process {process}"))
}

#[test]
fn the_next_session_of_the_same_identity_goes_on_with_the_connection() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    for (version, tls) in [
        (Version::V15, "verify-full"),
        (Version::V15, "disable"),
        (Version::V18, "verify-full"),
    ] {
        goes_on_over(version, tls)?;
    }
    Ok(())
}

fn goes_on_over(version: Version, tls: &'static str) -> Result<()> {
    let world = builder("60s")
        .clusters(&[version])
        .upstream_tls(tls)
        .start()
        .unwrap();
    let first = process(&world)?;
    kept(&world, 1)?;
    for sslmode in ["disable", "require"] {
        // How the client talks to the agent is not what the connection is made of.
        let psql = world.psql_to(Place::Inside, world.cluster(), sslmode)?;
        let seen = psql.args(["-c", "select pg_backend_pid()"]).run()?.good()?;
        assert_eq!(seen.stdout.trim(), first, "{sslmode}");
        kept(&world, 1)?;
    }
    assert_eq!(taken(&world)?, 2.0);

    // The recording says so, and names the session before.
    let text = world.cli(&["sessions", "ls", "--json"])?.good()?.stdout;
    let ids: Vec<String> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|line| Some(line.get("session")?.as_str()?.to_owned()))
        .collect();
    let mut said = Vec::new();
    for id in &ids {
        let text = world.cli(&["replay", id])?.good()?.stdout;
        let line = text.lines().find(|line| line.contains("kept from"));
        said.extend(line.map(|line| (line.trim().to_owned(), id.clone())));
        let json = world
            .cli(&["replay", id, "--format", "json"])?
            .good()?
            .stdout;
        assert_eq!(json.contains("\"kept\":{"), line.is_some(), "{json}");
    }
    assert_eq!(said.len(), 2, "{text}\n{said:?}");
    for (line, id) in &said {
        let from = ids.iter().find(|from| line.contains(from.as_str()));
        assert!(from.is_some_and(|from| from != id), "{line}");
        assert!(line.ends_with(&format!("server process {first}")), "{line}");
    }
    world.cli(&["sessions", "verify"])?.good()?;
    Ok(())
}

#[test]
fn nothing_of_the_session_before_is_left() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    Version::ALL.into_iter().try_for_each(nothing_is_left)
}

fn nothing_is_left(version: Version) -> Result<()> {
    let world = builder("60s").clusters(&[version]).start().unwrap();
    let mut dialer = world.dialer()?;
    let fresh = |client: &mut Raw| -> Result<Vec<String>> {
        let mut seen = Vec::new();
        for text in [
            "show statement_timeout",
            "show search_path",
            "show timezone",
            "show default_transaction_isolation",
            "select count(*) from pg_prepared_statements",
            "select count(*) from pg_cursors",
            "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()",
            "select current_user, session_user",
        ] {
            let rows = cells(&client.query(text)?);
            seen.push(format!("{text}: {:?}", rows[0]));
        }
        // Errors that name the state that there is not.
        for text in [
            "select currval('counter')",
            "select lastval()",
            "fetch c",
            "execute p",
        ] {
            let answer = client.query(text)?;
            let state = answer.iter().find_map(|message| message.sqlstate());
            seen.push(format!("{text}: {state:?}"));
        }
        Ok(seen)
    };
    // What runs a name that is not there cannot be judged, and takes its connection with it.
    let before = fresh(&mut world.client(&mut dialer)?)?;
    let mut first = world.client(&mut dialer)?;
    let process = process_of(&mut first)?;
    for text in [
        "set statement_timeout = '7s'",
        "set search_path = pg_catalog",
        "set timezone = 'Asia/Tokyo'",
        "set default_transaction_isolation = 'serializable'",
        "prepare p as select 1",
        "declare c cursor with hold for select 1",
        "select nextval('public.counter'), pg_advisory_lock(77)",
        "insert into public.notes (note) values ('a')",
        "begin",
        "savepoint a",
        "update public.notes set note = 'b' where id = 1",
        "commit",
    ] {
        let answer = client_good(&mut first, text)?;
        assert!(answer, "{text}");
    }
    // And by the protocol.
    first.send(&parse("named", "select 2"))?;
    first.send(&sync())?;
    first.up_to(b'Z')?;
    first.message(b'X', b"")?;
    first.ended_within(SOON)?;
    kept(&world, 1)?;
    let locks = "select count(*) from pg_locks where locktype = 'advisory'";
    assert_eq!(world.cluster().sql(DATABASE, locks)?, "0");

    let mut second = world.raw(&mut dialer)?;
    let told = second.login(SERVICE, DATABASE, world.password(Place::Inside))?;
    let zone = |told: &[Message]| {
        let mut reports = told.iter().filter(|message| message.kind == b'S');
        let report = reports.find(|message| message.body.starts_with(b"TimeZone\0"));
        report.map(|message| String::from_utf8_lossy(&message.body).into_owned())
    };
    assert!(zone(&told).is_some_and(|zone| !zone.contains("Tokyo")));
    assert_eq!(process_of(&mut second)?, process);
    assert_eq!(fresh(&mut second)?, before);
    Ok(())
}

fn process_of(client: &mut Raw) -> Result<String> {
    let rows = cells(&client.query("select pg_backend_pid()")?);
    rows[0][0].clone().context("a process id")
}

fn client_good(client: &mut Raw, text: &str) -> Result<bool> {
    let answer = client.query(text)?;
    Ok(answer.iter().all(|message| message.kind != b'E'))
}

#[test]
fn another_identity_gets_another_connection() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world("60s");
    world.cluster().create_database("elsewhere")?;
    let first = process(&world)?;
    kept(&world, 1)?;
    let others = [
        "application_name=other",
        "dbname=elsewhere",
        "options='-c statement_timeout=5s'",
        "client_encoding=utf-8 options='-c search_path=public'",
    ];
    for (count, words) in others.iter().enumerate() {
        assert_ne!(process_with(&world, words, &[])?, first, "{words}");
        kept(&world, count as u64 + 2)?;
    }
    // Another workload under the same token, another user in the same workload.
    let mut other = Dialer::start(&world.cgroup_of("other"))?;
    let mut client = world.client(&mut other)?;
    assert_ne!(process_of(&mut client)?, first);
    drop(client);
    kept(&world, 6)?;
    world.set_token(&world.idp.token("bob", &["ai-agents"], 3600))?;
    assert_ne!(process(&world)?, first);
    kept(&world, 7)?;
    assert_eq!(taken(&world)?, 0.0);
    Ok(())
}

#[test]
fn a_session_that_may_leave_something_takes_its_connection_with_it() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world("60s");
    for statement in [
        "create table public.made (a int)",
        "create temp table held (a int)",
        "select 1 into temp held",
        "listen news",
        "notify news",
        "do $$ begin end $$",
        "select public.own(1)",
        "select own(1)",
        "select 1 === 1",
        "select 1::odd",
        "set my.own = 'x'",
        "set seed = 0.5",
        "select setseed(0.5)",
        "truncate notes",
        "begin",
        "begin; select 1",
    ] {
        let ended = process_with(&world, "", &[statement])?;
        gone(&world, &ended).with_context(|| statement.to_owned())?;
    }
    assert_eq!(world.agent().metric("node_agent_upstream_kept")?, 0.0);
    // What is refused did not run.
    let mut refused = world.client(&mut world.dialer()?)?;
    assert!(!client_good(&mut refused, "select no.such(1)")?);
    refused.message(b'X', b"")?;
    refused.ended_within(SOON)?;
    kept(&world, 1)?;
    // A trigger is its table's.
    process_with(
        &world,
        "application_name=t",
        &["insert into notes (note) values ('a')"],
    )?;
    kept(&world, 2)
}

#[test]
fn an_end_in_the_middle_of_anything_is_the_end_of_the_connection() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world("60s");
    let mut dialer = world.dialer()?;
    type End = fn(&mut Raw) -> Result<()>;
    let ends: [(&str, End); 5] = [
        ("a statement runs", |c| c.ask("select pg_sleep(3)")),
        ("half a message", |c| c.send(b"Q\0\0\0\x20select")),
        ("no Sync", |c| c.send(&parse("", "select 1"))),
        ("an open transaction", |c| c.query("begin").map(drop)),
        ("a failed one", |c| c.query("begin; select 1/0").map(drop)),
    ];
    for (what, end) in ends {
        let mut client = world.client(&mut dialer)?;
        let process = process_of(&mut client)?;
        end(&mut client)?;
        drop(client);
        gone(&world, &process).with_context(|| what.to_owned())?;
    }
    assert_eq!(world.agent().metric("node_agent_upstream_kept")?, 0.0);
    // A client that goes without a word, while nothing is under way, leaves well.
    let client = world.client(&mut dialer)?;
    drop(client);
    kept(&world, 1)
}

#[test]
fn a_cancel_request_that_comes_late_reaches_nobody() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world("60s");
    let mut dialer = world.dialer()?;
    let login = |dialer: &mut Dialer| -> Result<(Raw, Vec<u8>, String)> {
        let mut client = world.raw(dialer)?;
        client.send(&startup(
            (3, 0),
            &[("user", SERVICE), ("database", DATABASE)],
        ))?;
        let seen = client.logged_in(world.password(Place::Inside))?;
        let key = seen.into_iter().find(|message| message.kind == b'K');
        let process = process_of(&mut client)?;
        Ok((client, key.context("a cancel key")?.body, process))
    };
    let cancel = |dialer: &mut Dialer, key: &[u8]| -> Result<()> {
        let mut asks = world.raw(dialer)?;
        let length = u32::try_from(key.len() + 8)?;
        asks.send(&[&length.to_be_bytes(), &80_877_102_u32.to_be_bytes(), key].concat())?;
        asks.ended_within(SOON).map(drop)
    };
    let (mut first, old, process) = login(&mut dialer)?;
    first.message(b'X', b"")?;
    first.ended_within(SOON)?;
    kept(&world, 1)?;
    let (mut second, new, again) = login(&mut dialer)?;
    assert_eq!(again, process);
    assert_ne!(old, new);
    second.ask("select pg_sleep(1), 'done'")?;
    until("the statement runs", SOON, || {
        Ok((world.running("pg_sleep(1)")? == 1).then_some(()))
    })?;
    cancel(&mut dialer, &old)?;
    let seen = second.up_to(b'Z')?;
    assert!(seen.iter().all(|message| message.kind != b'E'), "{seen:?}");
    assert!(!world.cluster().log().contains("due to user request"));

    // One that was sent on, and may have come to the database when nothing ran, ends the connection with the
    // session.
    cancel(&mut dialer, &new)?;
    second.message(b'X', b"")?;
    second.ended_within(SOON)?;
    gone(&world, &process)
}

#[test]
fn a_kept_connection_that_is_not_what_a_new_one_would_be_is_not_taken() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world("60s");
    let sql = |text: &str| world.cluster().sql(DATABASE, text);
    let end = |process: &str| format!("select pg_terminate_backend({process}) is not null");
    let mut last = process(&world)?;
    kept(&world, 1)?;
    // Ended by the database: the next session is told nothing of it, whether or not the agent noticed.
    sql(&end(&last))?;
    let next = process(&world)?;
    assert_ne!(next, last);
    last = next;
    kept(&world, 1)?;
    sql(&end(&last))?;
    kept(&world, 0)?;
    last = process(&world)?;
    kept(&world, 1)?;
    // Settings that a new session would begin with, there and back again.
    for text in [
        "alter role svc set search_path = pg_catalog, public",
        "alter role svc reset search_path",
        "alter role svc in database app set work_mem = '7MB'",
        "alter database app set work_mem = '8MB'",
        "alter role all set work_mem = '9MB'",
        "alter role all reset work_mem",
    ] {
        sql(text)?;
        let next = process(&world)?;
        assert_ne!(next, last, "{text}");
        gone(&world, &last)?;
        last = next;
        kept(&world, 1)?;
        assert_eq!(process(&world)?, last, "{text}");
        kept(&world, 1)?;
    }
    // A change of the settings while a session is open counts too.
    let mut open = world.client(&mut world.dialer()?)?;
    let of_open = process_of(&mut open)?;
    sql("alter role svc in database app set work_mem = '11MB'")?;
    open.message(b'X', b"")?;
    open.ended_within(SOON)?;
    let mut again = world.client(&mut world.dialer()?)?;
    assert_ne!(process_of(&mut again)?, of_open);
    let rows = cells(&again.query("show work_mem")?);
    assert_eq!(rows[0][0].as_deref(), Some("11MB"));
    drop(again);
    // Who may log in.
    for (text, undo) in [
        ("alter role svc nologin", "alter role svc login"),
        (
            "alter role svc valid until '2001-01-01'",
            "alter role svc valid until 'infinity'",
        ),
        (
            "alter database app connection limit 0",
            "alter database app connection limit -1",
        ),
        (
            "alter database app allow_connections false",
            "alter database app allow_connections true",
        ),
    ] {
        last = process(&world)?;
        made_as_new(&world, &last)?;
        world.cluster().sql("postgres", text)?;
        let seen = world.ask("select 1")?;
        // No limit is one for a superuser: this one gets a connection, and a new one.
        let limited = text.contains("limit");
        assert_eq!(seen.status.success(), limited, "{text}: {}", seen.all());
        world.cluster().sql("postgres", undo)?;
        gone(&world, &last)?;
    }
    Ok(())
}

#[test]
fn what_is_kept_takes_nobody_s_place() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world("60s");
    let sql = |text: &str| world.cluster().sql(DATABASE, text);
    sql("alter role svc nosuperuser")?; // for whom no limit is one
    let mut dialer = world.dialer()?;
    let mut both = [world.client(&mut dialer)?, world.client(&mut dialer)?];
    let last = process_of(&mut both[0])?;
    for mut one in both {
        one.message(b'X', b"")?;
        one.ended_within(SOON)?;
    }
    kept(&world, 2)?;
    // As many connections as there are, and as a session and the agent's questions take: another session is
    // let in only if one of those that are kept goes.
    until("the agent has no questions", SOON, || {
        let there = sql("select count(*) from pg_stat_activity where usename = 'svc'")?;
        Ok((there == "2").then_some(()))
    })?;
    sql("alter role svc connection limit 2")?;
    let other = process_with(&world, "application_name=other", &[])?;
    assert_ne!(other, last);
    gone(&world, &last)
}

#[test]
fn a_role_that_is_set_for_the_role_is_kept_too() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world("60s");
    let sql = |text: &str| world.cluster().sql(DATABASE, text);
    sql("create role reader")?;
    sql("grant reader to svc")?;
    sql("alter role svc set role = reader")?;
    for pass in 0..3 {
        let who = world
            .ask("select current_user || ' ' || session_user")?
            .good()?;
        assert_eq!(who.stdout.trim(), "reader svc", "{pass}");
        kept(&world, 1)?;
    }
    Ok(())
}

#[test]
fn a_connection_is_kept_for_its_time_and_not_behind_the_agents_end() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world_of_seconds = world("2s");
    let last = process(&world_of_seconds)?;
    kept(&world_of_seconds, 1)?;
    gone(&world_of_seconds, &last)?;
    kept(&world_of_seconds, 0)?;

    let off = world("0s");
    let last = process(&off)?;
    gone(&off, &last)?;
    assert_eq!(taken(&off)?, 0.0);
    assert_ne!(process(&off)?, last);

    let mut stopped = world("60s");
    let last = process(&stopped)?;
    kept(&stopped, 1)?;
    stopped.agent().signal(Signal::TERM)?;
    assert!(stopped.agent_mut().wait(SOON)?.success());
    // It was closed before the agent's end, and in words: not one was broken.
    let count = format!("select count(*) from pg_stat_activity where pid = {last}");
    until("the process is gone", Duration::from_secs(1), || {
        Ok((stopped.cluster().sql(DATABASE, &count)? == "0").then_some(()))
    })?;
    let log = stopped.cluster().log();
    assert!(!log.contains("unexpected EOF"), "{log}");
    Ok(())
}

#[test]
fn a_database_that_is_to_see_each_login_sees_each() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = builder("60s").clusters(&[Version::V18]).start().unwrap();
    let sql = |text: &str| world.cluster().sql(DATABASE, text);
    let before = process(&world)?;
    kept(&world, 1)?;
    sql("create table seen (who name); grant insert on seen to public")?;
    sql(
        "create function see() returns event_trigger language plpgsql as \
         'begin insert into public.seen values (session_user); end'",
    )?;
    sql("create event trigger each on login execute function see()")?;
    let mut last = String::new();
    for _ in 0..3 {
        last = process(&world)?;
        assert_ne!(last, before);
        made_as_new(&world, &last)?;
    }
    gone(&world, &before)?;
    let seen = format!("select count(*) >= 3 from seen where who = '{SERVICE}'");
    assert_eq!(sql(&seen)?, "t");
    assert_eq!(taken(&world)?, 0.0);
    // Without it, as before: what has begun under it may go on.
    sql("alter event trigger each disable")?;
    assert_eq!(process(&world)?, last);
    Ok(())
}

#[test]
fn other_policies_mean_other_connections() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world("60s");
    let first = process(&world)?;
    kept(&world, 1)?;
    let reloads = || world.agent().metric("node_agent_policy_reloads_total");
    let before = reloads()?;
    world.set_policy("all.yaml", &POLICY.replace("no.such", "no.other"))?;
    until("the policies are read again", SOON, || {
        Ok((reloads()? > before).then_some(()))
    })?;
    assert_ne!(process(&world)?, first);
    Ok(())
}
