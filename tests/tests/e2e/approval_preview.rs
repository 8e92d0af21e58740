//! What reviewers see of a held statement beside its text: how many rows the database expects, and what it would
//! do if it ran. Neither leaves anything behind.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use node_agent_tests::client::{Message, Raw, execute, parse, sync};
use node_agent_tests::pg::{DATABASE, Version};
use node_agent_tests::{Place, World, parts, until};
use serde_json::Value;

use super::approval::{LOCAL, approve, client, done, one, says, state, words};

/// In clear in one masked column of every row, and nowhere else.
const SECRET: &str = "987-65-4321";

const SEED: &str = "create schema app; \
    create table app.t (id int primary key, note text, ssn text); \
    insert into app.t select g, 'note ' || g, '987-65-4321' from generate_series(1, 1000) g; \
    create table app.part (id int primary key, t int references app.t on delete cascade, ssn_too text \
        generated always as ('x' || t::text) stored); \
    insert into app.part select g, g from generate_series(1, 3) g; \
    create function app.loud(int) returns int language plpgsql immutable as \
        $$ begin raise log 'it ran: loud'; return $1; end $$; \
    create table app.dull (id int default app.loud(7)); \
    create sequence app.numbers; \
    create table app.slow (id int); insert into app.slow values (1); \
    create function app.sleeps() returns trigger language plpgsql as \
        $$ begin perform pg_sleep(4); return new; end $$; \
    create trigger sleeps before update on app.slow for each row execute function app.sleeps(); \
    grant all on schema app to public; grant all on all tables in schema app to public; analyze app.t";

fn policy(offers: &str) -> String {
    format!(
        "apiVersion: node-agent/v1\nkind: Policy\nmetadata: {{ name: some }}\n\
         subjects: [ {{ workloads: ['*'] }} ]\ntargets: [ '*' ]\nfunctions: {{ allow: ['*'] }}\n\
         rules:\n  - {{ name: read, effect: allow, statements: [read, lock], tables: ['app.*'] }}\n  \
         - {{ name: session, effect: allow, statements: [set, transaction] }}\n  \
         - {{ name: ask, effect: approve, statements: [insert, update, delete, merge, copy_in, explain], tables: ['app.*'],\n      \
             reviewers: {{ groups: [dba] }}, offers: {{ {offers} }} }}\n\
         masks:\n  - {{ name: ssn, columns: [app.t.ssn], with: {{ keep_last: 4 }}, predicates: allow }}\n"
    )
}

fn world(version: Version, offers: &str) -> Result<World> {
    World::builder()
        .clusters(&[version])
        .seed(SEED)
        .policy_text("some.yaml", &policy(offers))
        .settings(LOCAL)
        .start()
}

fn shown(world: &World, id: &str) -> Result<Value> {
    let seen = world.cli(&["approvals", "show", id, "--json"])?;
    Ok(serde_json::from_str(&seen.stdout)?)
}

fn estimate(world: &World, id: &str) -> Result<Option<u64>> {
    Ok(shown(world, id)?["request"]["matter"]["estimate"].as_u64())
}

#[track_caller]
fn near(rows: Option<u64>, wanted: u64) {
    assert!(
        rows.is_some_and(|rows| rows.abs_diff(wanted) * 5 < wanted + 5),
        "{rows:?} and not about {wanted}"
    );
}

/// Nothing more comes of it.
fn deny(world: &World, client: &mut Raw, id: &str) -> Result<()> {
    let seen = says(world, 0, &["deny", id])?;
    assert!(seen.status.success(), "{}", seen.all());
    assert_eq!(state(&client.up_to(b'Z')?).as_deref(), Some("57014"));
    Ok(())
}

/// What is refused, and why.
fn refused(world: &World, user: u32, id: &str, why: &str) -> Result<()> {
    let seen = says(world, user, &["preview", id])?;
    assert!(
        !seen.status.success() && seen.all().contains(why),
        "{why}: {}",
        seen.all()
    );
    Ok(())
}

fn preview(world: &World, id: &str) -> Result<Value> {
    let seen = says(world, 0, &["preview", id, "--json"])?;
    assert!(seen.status.success(), "{}", seen.all());
    assert!(!seen.all().contains(SECRET), "{}", seen.all());
    Ok(serde_json::from_str(&seen.stdout)?)
}

/// One digest of all rows.
fn digest(world: &World) -> Result<String> {
    let all = "select md5(string_agg(t::text || t.ctid || t.xmin, ',' order by id)) from app.t t; \
        select md5(string_agg(t::text || t.ctid || t.xmin, ',' order by id)) from app.part t";
    world.cluster().sql(DATABASE, all)
}

/// Sessions at the database beside the clients' own.
fn beside(world: &World) -> Result<usize> {
    let count = "select count(*) from pg_stat_activity where usename = 'svc' and \
        (xact_start is not null or state <> 'idle')";
    Ok(world.cluster().sql(DATABASE, count)?.parse()?)
}

/// Every file below a directory that holds this text.
fn holding(dir: &Path, text: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        // The kernel's own, which nobody can read.
        if path.ends_with("state/bpf") {
            continue;
        }
        if path.is_dir() && !path.is_symlink() {
            found.extend(holding(&path, text)?);
        } else if path.is_file() {
            let bytes = fs::read(&path)?;
            if bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes())
            {
                found.push(path.display().to_string());
            }
        }
    }
    Ok(found)
}

/// A Bind of one parameter, as text.
fn bind_one(value: &str) -> Vec<u8> {
    let mut body = b"\0\0\0\0\0\x01".to_vec();
    body.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
    body.extend(value.as_bytes());
    body.extend([0, 0]);
    Message::frame(b'B', &body)
}

#[test]
fn the_rows_that_are_expected_are_shown_and_nothing_of_the_owners_runs() -> Result<()> {
    let world = world(Version::V15, "")?;
    let (_dialer, mut client) = client(&world)?;
    let before = digest(&world)?;
    client.ask("/*reason='x'*/ delete from app.t where id <= 100 ;")?;
    let id = one(&world)?;
    near(estimate(&world, &id)?, 100);
    let seen = world.cli(&["approvals", "show", &id])?;
    assert!(
        seen.stdout.contains("by the database's estimate"),
        "{}",
        seen.all()
    );
    deny(&world, &mut client, &id)?;
    // With a parameter, as it was bound.
    let held = [
        parse("", "update app.t set note = 'x' where id <= $1"),
        bind_one("300"),
        execute("", 0),
        sync(),
    ];
    client.send(&held.concat())?;
    let id = one(&world)?;
    near(estimate(&world, &id)?, 300);
    deny(&world, &mut client, &id)?;
    // What its transaction did is not seen, and that is said.
    client.query("begin")?;
    client.query("select 1")?;
    client.ask("delete from app.t where id <= 100")?;
    let id = one(&world)?;
    near(estimate(&world, &id)?, 100);
    let seen = world.cli(&["approvals", "show", &id])?;
    assert!(
        seen.stdout.contains("does not see what its transaction"),
        "{}",
        seen.all()
    );
    deny(&world, &mut client, &id)?;
    client.query("rollback")?;
    // Settings that were made since the login hold beside it too.
    client.query("set search_path = app")?;
    let (_other, mut plain) = self::client(&world)?;
    plain.query("set work_mem = '8MB'")?;
    plain.ask("delete from app.t where id <= 100")?;
    let id = one(&world)?;
    near(estimate(&world, &id)?, 100);
    deny(&world, &mut plain, &id)?;
    // Whoever plans would run these: nobody asks.
    let loud = || world.cluster().log().matches("it ran: loud").count();
    assert_eq!(loud(), 0);
    for text in [
        "delete from app.t where id = app.loud(3)",
        "update app.dull set id = default",
        "insert into app.dull default values",
    ] {
        plain.ask(text)?;
        let id = one(&world)?;
        assert_eq!(estimate(&world, &id)?, None, "{text}");
        deny(&world, &mut plain, &id)?;
        assert_eq!(loud(), 0, "{text}");
    }
    // They would.
    for text in [
        "explain delete from app.t where id = app.loud(3)",
        "explain update app.dull set id = default",
    ] {
        let then = loud();
        world.cluster().sql(DATABASE, text)?;
        until("the log says so", Duration::from_secs(5), || {
            Ok((loud() > then).then_some(()))
        })?;
    }
    assert_eq!(digest(&world)?, before);
    Ok(())
}

#[test]
fn a_table_that_is_locked_delays_no_hold_beyond_its_bound() -> Result<()> {
    let world = world(Version::V15, "preview: true")?;
    let (mut dialer, mut client) = client(&world)?;
    let mut other = world.client(&mut dialer)?;
    other.query("begin")?;
    let answer = other.query("lock table app.t in access exclusive mode")?;
    assert!(done(&answer, "LOCK TABLE"), "{}", words(&answer));
    let begun = Instant::now();
    client.ask("delete from app.t where id = 1")?;
    let id = one(&world)?;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert_eq!(estimate(&world, &id)?, None);
    // Nobody is left at it.
    until("the database is at nothing", Duration::from_secs(5), || {
        Ok((world.running("explain (format json)")? == 0).then_some(()))
    })?;
    // A preview waits no longer for it.
    let begun = Instant::now();
    let seen = preview(&world, &id)?;
    let why = seen["failed"].as_str().unwrap_or_default();
    assert!(why.contains("another session holds a lock"), "{seen}");
    assert!(begun.elapsed() < Duration::from_secs(10));
    other.query("rollback")?;
    assert_eq!(preview(&world, &id)?["tables"][0]["deleted"], 1);
    approve(&world, &id)?;
    assert!(done(&client.up_to(b'Z')?, "DELETE 1"));
    Ok(())
}

#[test]
fn a_preview_shows_what_would_be_and_nothing_of_it_is() -> Result<()> {
    for version in Version::ALL {
        let world = world(version, "preview: true")?;
        let (_dialer, mut client) = client(&world)?;
        let before = digest(&world)?;
        client.ask("update app.t set note = 'other' where id <= 7")?;
        let id = one(&world)?;
        let seen = preview(&world, &id)?;
        let table = &seen["tables"][0];
        assert_eq!(table["table"], "app.t", "{seen}");
        assert_eq!(
            [&table["inserted"], &table["updated"], &table["deleted"]],
            [0, 7, 0]
        );
        for (when, note) in [("before", "note "), ("after", "other")] {
            let sample = &table[when];
            assert_eq!(sample["columns"], serde_json::json!(["id", "note", "ssn"]));
            let rows = sample["rows"].as_array().unwrap();
            assert_eq!(rows.len(), 5, "{seen}");
            for row in rows {
                let (noted, ssn) = (row[1].to_string(), row[2].to_string());
                assert!(noted.contains(note), "{when}: {seen}");
                assert!(ssn.contains("***4321"), "{when}: {seen}");
            }
        }
        assert_eq!(digest(&world)?, before);
        let text = says(&world, 0, &["preview", &id])?;
        for part in [
            "app.t: 0 inserted, 7 updated, 0 deleted",
            "***4321",
            "other",
        ] {
            assert!(text.stdout.contains(part), "{part}: {}", text.all());
        }
        approve(&world, &id)?;
        assert!(done(&client.up_to(b'Z')?, "UPDATE 7"));
        refused(&world, 0, &id, "decided already")?;
        let before = digest(&world)?;

        // What it sets off is counted too, and a column that is made of others is shown as its masks allow.
        client.ask("delete from app.t where id <= 4 returning ssn")?;
        let id = one(&world)?;
        let seen = preview(&world, &id)?;
        let of = |name: &str| {
            let tables = seen["tables"].as_array().unwrap();
            tables.iter().find(|table| table["table"] == name).cloned()
        };
        assert_eq!(of("app.t").unwrap()["deleted"], 4, "{seen}");
        assert_eq!(of("app.part").unwrap()["deleted"], 3, "{seen}");
        assert_eq!(
            of("app.t").unwrap()["before"]["rows"]
                .as_array()
                .unwrap()
                .len(),
            4
        );
        deny(&world, &mut client, &id)?;
        // One that would fail says how, and quotes nothing.
        client.ask("insert into app.t values (5, 'quoted', 'x')")?;
        let id = one(&world)?;
        let seen = preview(&world, &id)?;
        assert_eq!(seen["failed"], "it would fail (SQLSTATE 23505)");
        assert_eq!(seen.get("tables"), None);
        deny(&world, &mut client, &id)?;
        client.ask(
            "merge into app.t using (values (500), (2000)) as v (id) on t.id = v.id \
             when matched then delete when not matched then insert values (v.id, 'new', 'y')",
        )?;
        let id = one(&world)?;
        let seen = preview(&world, &id)?;
        let table = &seen["tables"][0];
        assert_eq!([&table["inserted"], &table["deleted"]], [1, 1], "{seen}");
        deny(&world, &mut client, &id)?;
        assert_eq!(digest(&world)?, before);
        until(
            "nothing is left at the database",
            Duration::from_secs(5),
            || Ok((beside(&world)? == 0).then_some(())),
        )?;
        let locks = "select count(*) from pg_locks where relation = 'app.t'::regclass";
        assert_eq!(world.cluster().sql(DATABASE, locks)?, "0");

        // That it was done is on the record, by whom and of how many rows; none of them is anywhere.
        client.message(b'X', b"")?;
        let recorded = until("the recording", Duration::from_secs(15), || {
            let seen = world.cli(&["sessions", "grep", "previewed"])?;
            Ok(seen.stdout.contains("olga").then_some(seen.stdout))
        })?;
        assert!(recorded.contains("app.t: 0 inserted, 7 upd"), "{recorded}");
        let verified = world.cli(&["sessions", "verify"])?;
        assert!(verified.status.success(), "{}", verified.all());
        let grepped = world.cli(&["sessions", "grep", SECRET])?;
        assert!(!grepped.stdout.contains(SECRET), "{}", grepped.all());
        assert_eq!(holding(world.path(), SECRET)?, Vec::<String>::new());
        assert!(
            !holding(world.path(), "7 updated, 0 deleted")?.is_empty(),
            "nothing is found"
        );
        assert!(!world.agent().log_tail().contains(SECRET));
    }
    Ok(())
}

#[test]
fn only_who_may_decide_has_a_preview_and_only_of_what_cannot_do_more() -> Result<()> {
    let world = world(Version::V15, "preview: true")?;
    let (mut dialer, mut client) = client(&world)?;
    let before = digest(&world)?;
    client.ask("delete from app.t where id = 1")?;
    let id = one(&world)?;
    for (user, why) in [
        (4242, "the rule asks group dba"),
        (4444, "nobody approves their own request"),
        (5555, "is no reviewer"),
    ] {
        refused(&world, user, &id, why)?;
    }
    let inside = world
        .program(Place::Inside, parts::built("node-agent")?)
        .args(["approvals", "preview", &id, "--socket"])
        .arg(world.path().join("admin.sock"))
        .run()?;
    assert!(
        !inside.status.success() && inside.all().contains("belongs to workload"),
        "{}",
        inside.all()
    );
    for _ in 0..5 {
        preview(&world, &id)?;
    }
    refused(&world, 0, &id, "previewed 5 times")?;
    deny(&world, &mut client, &id)?;
    refused(&world, 0, &id, "decided already")?;
    refused(&world, 0, "a-0000000000000001", "no request of that name")?;

    for (text, why) in [
        (
            "delete from app.t where id = 1; delete from app.t where id = 2",
            "more than one statement",
        ),
        (
            "delete from app.t where id = 1; commit",
            "more than one statement",
        ),
        ("delete from app.t where id = app.loud(1)", "it calls loud"),
        (
            "insert into app.t values (nextval('app.numbers'), 'x', 'x')",
            "it calls nextval",
        ),
        (
            "copy app.t from stdin",
            "does more than read and change rows",
        ),
        (
            "explain analyze delete from app.t where id = 1",
            "does more than read and change rows",
        ),
    ] {
        client.ask(text)?;
        let id = match one(&world) {
            Ok(id) => id,
            Err(error) => bail!("{text}: {error}: {}", words(&client.up_to(b'Z')?)),
        };
        refused(&world, 0, &id, why)?;
        deny(&world, &mut client, &id)?;
    }
    // What its transaction has done would not be seen.
    client.query("begin")?;
    client.ask("delete from app.t where id = 9")?;
    let id = one(&world)?;
    refused(&world, 0, &id, "a transaction open")?;
    deny(&world, &mut client, &id)?;
    client.query("rollback")?;
    // Of a client that does not wait nothing is held.
    client.query("/*wait='no'*/ delete from app.t where id = 1")?;
    let id = one(&world)?;
    refused(&world, 0, &id, "its client does not wait for it")?;
    assert!(says(&world, 0, &["deny", &id])?.status.success());
    assert_eq!(digest(&world)?, before);
    assert_eq!(
        world
            .cluster()
            .sql(DATABASE, "select is_called from app.numbers")?,
        "f"
    );
    // Not where the rule does not offer it.
    let then = world.cli(&["status", "--json"])?.stdout;
    let then: Value = serde_json::from_str(&then)?;
    world.set_policy("some.yaml", &policy(""))?;
    until("the policies are read", Duration::from_secs(15), || {
        let now: Value = serde_json::from_str(&world.cli(&["status", "--json"])?.stdout)?;
        Ok((now["policy_version"] != then["policy_version"]).then_some(()))
    })?;
    let mut client = world.client(&mut dialer)?;
    client.ask("delete from app.t where id = 1")?;
    let id = one(&world)?;
    refused(&world, 0, &id, "does not offer a preview")?;
    Ok(())
}

#[test]
fn a_preview_ends_with_the_request_that_it_is_of() -> Result<()> {
    let world = world(Version::V15, "preview: true")?;
    let (mut dialer, mut client) = client(&world)?;
    let row = || world.cluster().sql(DATABASE, "select id from app.slow");
    let running = || world.running("update app.slow");
    // Its client goes while it is under way: nobody is left at it, well before it would be over.
    client.ask("update app.slow set id = 2")?;
    let id = one(&world)?;
    std::thread::scope(|scope| -> Result<()> {
        let asked = scope.spawn(|| says(&world, 0, &["preview", &id]));
        until("it runs", Duration::from_secs(10), || {
            Ok((running()? == 1).then_some(()))
        })?;
        let begun = Instant::now();
        client.stream().shutdown(std::net::Shutdown::Both)?;
        until("it runs no more", Duration::from_secs(10), || {
            Ok((running()? == 0).then_some(()))
        })?;
        assert!(
            begun.elapsed() < Duration::from_secs(3),
            "{:?}",
            begun.elapsed()
        );
        let seen = asked.join().expect("it asks")?;
        assert!(
            !seen.status.success() && seen.all().contains("ended before its preview did"),
            "{}",
            seen.all()
        );
        Ok(())
    })?;
    assert_eq!(row()?, "1");
    // It is approved meanwhile: what is approved runs, and the preview leaves it its locks.
    let mut client = world.client(&mut dialer)?;
    client.ask("update app.slow set id = 3")?;
    let id = one(&world)?;
    std::thread::scope(|scope| -> Result<()> {
        let asked = scope.spawn(|| says(&world, 0, &["preview", &id]));
        until("it runs", Duration::from_secs(10), || {
            Ok((running()? == 1).then_some(()))
        })?;
        // A second one waits for its end.
        refused(&world, 0, &id, "under way")?;
        approve(&world, &id)?;
        let answer = client.up_to(b'Z')?;
        assert!(done(&answer, "UPDATE 1"), "{}", words(&answer));
        let seen = asked.join().expect("it asks")?;
        assert!(!seen.status.success(), "{}", seen.all());
        Ok(())
    })?;
    assert_eq!(row()?, "3");
    // That somebody looked is told of each.
    let changes = world.cli(&["sessions", "verify"])?;
    assert!(changes.status.success(), "{}", changes.all());
    // What a Sync that is to come hangs on is not seen from beside.
    let group = [
        parse("", "select 1"),
        Message::frame(b'B', b"\0\0\0\0\0\0\0\0"),
        execute("", 0),
        parse("", "delete from app.t where id = 77"),
        Message::frame(b'B', b"\0\0\0\0\0\0\0\0"),
        execute("", 0),
        sync(),
    ];
    client.send(&group.concat())?;
    let id = one(&world)?;
    refused(&world, 0, &id, "a transaction open")?;
    Ok(())
}
