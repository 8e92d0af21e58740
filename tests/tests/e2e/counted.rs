//! What a statement may change is counted before it is committed: with all that it sets off, in
//! every protocol, inside transactions and outside. The database itself is asked for the truth.

use std::time::Duration;

use anyhow::Result;
use node_agent_tests::client::{
    Dialer, Message, Raw, about, bind, error_field, execute, flush, parse, query, startup, sync,
};
use node_agent_tests::pg::{DATABASE, NAME, PORT, SERVICE};
use node_agent_tests::{Place, Version, World, parts, until};

use super::agent_is_here;

const SOON: Duration = Duration::from_secs(10);

const SEED: &str = "create schema s; \
    create table s.items (id int primary key, n int not null default 0); \
    insert into s.items select g from generate_series(1, 1000) g; \
    create table s.parents (id int primary key); \
    create table s.children (id int primary key, parent int references s.parents on delete cascade); \
    insert into s.parents select g from generate_series(1, 20) g; \
    insert into s.children select g, (g - 1) / 4 + 1 from generate_series(1, 80) g; \
    create table s.loud (id int); create table s.log (note text); \
    create function s.write_log() returns trigger language plpgsql security definer as \
      'begin insert into s.log select ''x'' from generate_series(1, 3); return null; end'; \
    create trigger log after insert on s.loud for each row execute function s.write_log(); \
    create table s.parts (id int, v text) partition by range (id); \
    create table s.parts_a partition of s.parts for values from (0) to (100); \
    create table s.parts_b partition of s.parts for values from (100) to (200); \
    create table s.late (id int unique deferrable initially deferred); \
    insert into s.late values (1); \
    create table s.emptied (id int); insert into s.emptied select generate_series(1, 50); \
    create table s.empties (id int); \
    create function s.truncate() returns trigger language plpgsql security definer as \
      'begin truncate s.emptied; return null; end'; \
    create trigger empty after insert on s.empties for each row execute function s.truncate(); \
    create table s.ruled (id int); \
    create rule more as on insert to s.ruled do also insert into s.log select 'rule' from generate_series(1, 20); \
    create table s.slow (id int); insert into s.slow select generate_series(1, 5); \
    create function s.sleep() returns trigger language plpgsql as \
      'begin perform pg_sleep(0.4); return new; end'; \
    create trigger sleep before update on s.slow for each row execute function s.sleep(); \
    create function s.add(n int) returns int language plpgsql security definer as \
      'begin insert into s.log select ''f'' from generate_series(1, n); return n; end'; \
    grant all on schema s to public; grant all on all tables in schema s to public";

const POLICY: &str = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: few }
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
rules:
  - { name: read, effect: allow, statements: [read, set] }
  - { name: code, effect: allow, statements: [do, call, truncate, create] }
  - { name: ten, effect: allow, statements: [write], tables: ['s.*'], max_rows_affected: 10, without_where: true }
limits: { rows_affected: 100 }
functions: { allow: ['*'] }
";

fn world() -> World {
    World::builder()
        .policy_text("few.yaml", POLICY)
        .seed(SEED)
        .start()
        .unwrap()
}

/// What the client was told, for reading: `T D C(DELETE 3) Z(I)`, `E(54000) Z(E)`.
fn told(messages: &[Message]) -> String {
    let word = |message: &Message| {
        let text = || {
            String::from_utf8_lossy(&message.body)
                .trim_end_matches('\0')
                .to_owned()
        };
        match message.kind {
            b'E' => format!("E({})", message.sqlstate().unwrap_or_default()),
            b'C' | b'Z' => format!("{}({})", char::from(message.kind), text()),
            kind => char::from(kind).to_string(),
        }
    };
    let mut all: Vec<String> = messages.iter().map(word).collect();
    // However many rows.
    all.dedup_by(|a, b| a == "D" && b == "D");
    all.join(" ")
}

fn words(messages: &[Message]) -> String {
    messages
        .iter()
        .filter(|message| message.kind == b'E')
        .map(Message::words)
        .collect()
}

fn truth(world: &World, text: &str) -> Result<String> {
    world.cluster().sql(DATABASE, text)
}

/// A fingerprint of every table that a test could change.
const ALL: &str = "select (select count(*) from s.items), (select sum(n) from s.items), \
    (select count(*) from s.parents), (select count(*) from s.children), \
    (select count(*) from s.loud), (select count(*) from s.log), (select count(*) from s.parts), \
    (select count(*) from s.late), (select count(*) from s.emptied), \
    (select count(*) from s.empties), (select count(*) from s.ruled)";

fn nothing_is_left_open(world: &World) -> Result<()> {
    until("no session is in a transaction", SOON, || {
        let open = truth(
            world,
            "select count(*) from pg_stat_activity where usename = 'svc' \
             and (xact_start is not null or state like 'idle in%')",
        )?;
        Ok((open == "0").then_some(()))
    })
}

/// One statement in the extended protocol, with Sync.
fn extended(text: &str) -> Vec<u8> {
    [parse("", text), bind("", "", &[]), execute("", 0), sync()].concat()
}

fn said(client: &mut Raw, bytes: &[u8]) -> Result<Vec<Message>> {
    client.send(bytes)?;
    client.up_to(b'Z')
}

/// Statements, and what the client is told in the simple protocol outside a transaction.
const CASES: &[(&str, &str)] = &[
    ("update s.items set n = 1 where id <= 10", "C(UPDATE 10)"),
    ("update s.items set n = 1 where id <= 11", "E(54000)"),
    ("update s.items set n = 1", "E(54000)"),
    ("delete from s.items where id > 990", "C(DELETE 10)"),
    (
        "insert into s.items select g from generate_series(2000, 2009) g",
        "C(INSERT 0 10)",
    ),
    (
        "insert into s.items select g from generate_series(3000, 3010) g",
        "E(54000)",
    ),
    (
        "insert into s.items values (1) on conflict (id) do update set n = 7",
        "C(INSERT 0 1)",
    ),
    (
        "merge into s.items i using generate_series(1, 11) g on i.id = g when matched then update set n = 3",
        "E(54000)",
    ),
    // A parent and its four children.
    ("delete from s.parents where id <= 2", "C(DELETE 2)"),
    ("delete from s.parents where id between 3 and 5", "E(54000)"),
    // One row, and three by the trigger.
    ("insert into s.loud values (1), (2)", "C(INSERT 0 2)"),
    ("insert into s.loud values (1), (2), (3)", "E(54000)"),
    (
        "insert into s.parts select g * 20, 'p' from generate_series(0, 9) g",
        "C(INSERT 0 10)",
    ),
    (
        "insert into s.parts select g * 10, 'p' from generate_series(0, 10) g",
        "E(54000)",
    ),
    // A row that moves to another partition is deleted and inserted.
    (
        "update s.parts set id = id + 100 where id < 100",
        "C(UPDATE 5)",
    ),
    ("update s.parts set v = 'q'", "C(UPDATE 10)"),
    ("insert into s.ruled values (1)", "E(54000)"),
    (
        "with d as (delete from s.items where id between 100 and 105 returning id) select count(*) from d",
        "T D C(SELECT 1)",
    ),
    (
        "with d as (delete from s.items where id between 110 and 125 returning id) select count(*) from d",
        "T D E(54000)",
    ),
    (
        "explain (analyze, costs off, timing off, summary off) delete from s.items where id between 200 and 230",
        "T D E(54000)",
    ),
    ("truncate s.emptied", "E(54000)"),
    // Errors are the database's own.
    ("insert into s.items values (1)", "E(23505)"),
    ("insert into s.late values (1)", "E(23505)"),
    (
        "update s.items set n = 1 / (id - id) where id = 1",
        "E(22012)",
    ),
    ("update s.nothing set n = 1", "E(42P01)"),
    ("update s.items set m = 1 where id = 1", "E(42703)"),
    // A text is counted whole.
    (
        "update s.items set n = 2 where id <= 5; update s.items set n = 2 where id between 6 and 10",
        "C(UPDATE 5) C(UPDATE 5)",
    ),
    (
        "update s.items set n = 4 where id <= 5; update s.items set n = 4 where id between 6 and 11",
        "C(UPDATE 5) E(54000)",
    ),
    (
        "update s.items set n = 4 where id <= 5; select 1/0; select 2",
        "C(UPDATE 5) E(22012)",
    ),
    (
        "begin; update s.items set n = 4 where id <= 5; commit",
        "E(54000)",
    ),
    (
        "update s.items set n = 4 where id <= 5; commit; select 1",
        "E(54000)",
    ),
    // By the document's own limit.
    ("select s.add(100)", "T D C(SELECT 1)"),
    ("select s.add(101)", "T D E(54000)"),
    ("do $$ begin perform s.add(101); end $$", "E(54000)"),
    (
        "do $$ begin insert into s.items values (9000); commit; end $$",
        "E(2D000)",
    ),
    (
        "prepare p as update s.items set n = 9 where id <= $1",
        "C(PREPARE)",
    ),
    ("execute p (10)", "C(UPDATE 10)"),
    ("execute p (11)", "E(54000)"),
];

/// The truth after each case, without an agent and by the rule that what is refused leaves nothing.
fn expected(world: &World, text: &str, stands: bool) -> Result<String> {
    if !stands {
        return truth(world, ALL);
    }
    let text = text.replace("execute p (10)", "update s.items set n = 9 where id <= 10");
    let seen = truth(world, &format!("begin; {text}; {ALL}; rollback"))?;
    Ok(seen.lines().last().unwrap_or_default().to_owned())
}

#[test]
fn in_the_simple_protocol_not_one_row_too_many_is_committed() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world();
    let mut dialer = world.dialer()?;
    let mut client = world.client(&mut dialer)?;
    for (text, outcome) in CASES {
        let stands = !outcome.contains("E(");
        let wanted = expected(&world, text, stands)?;
        let seen = client.query(text)?;
        assert_eq!(
            told(&seen),
            format!("{outcome} Z(I)"),
            "{text}: {}",
            words(&seen)
        );
        assert_eq!(truth(&world, ALL)?, wanted, "{text}");
    }
    nothing_is_left_open(&world)
}

#[test]
fn in_a_transaction_one_row_too_many_fails_all_of_it() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world();
    let mut dialer = world.dialer()?;
    let mut client = world.client(&mut dialer)?;
    for (text, outcome) in CASES {
        if text.contains("commit") || text.contains("s.late") {
            continue;
        }
        let stands = !outcome.contains("E(");
        let before = truth(&world, ALL)?;
        let wanted = expected(&world, text, stands)?;
        assert_eq!(told(&client.query("begin")?), "C(BEGIN) Z(T)");
        // Changes of before are not counted again.
        let seen = client.query("update s.items set n = n + 1 where id between 500 and 509")?;
        assert_eq!(told(&seen), "C(UPDATE 10) Z(T)", "{}", words(&seen));
        let seen = client.query(text)?;
        let state = if stands { "T" } else { "E" };
        assert_eq!(
            told(&seen),
            format!("{outcome} Z({state})"),
            "{text}: {}",
            words(&seen)
        );
        if stands {
            assert_eq!(
                told(&client.query("update s.items set n = n - 1 where id between 500 and 509")?),
                "C(UPDATE 10) Z(T)"
            );
            assert_eq!(told(&client.query("commit")?), "C(COMMIT) Z(I)");
            assert_eq!(truth(&world, ALL)?, wanted, "{text}");
        } else {
            assert_eq!(
                told(&client.query("delete from s.items where id = 1")?),
                "E(25P02) Z(E)"
            );
            assert_eq!(told(&client.query("commit")?), "C(ROLLBACK) Z(I)");
            assert_eq!(truth(&world, ALL)?, before, "{text}");
        }
    }
    // What was done since a savepoint is undone with it, and the transaction goes on.
    for (text, told_so) in [
        ("begin", "C(BEGIN) Z(T)"),
        ("update s.items set n = 50 where id = 1", "C(UPDATE 1) Z(T)"),
        ("savepoint a", "C(SAVEPOINT) Z(T)"),
        ("update s.items set n = 51 where id = 2", "C(UPDATE 1) Z(T)"),
        ("update s.items set n = 52", "E(54000) Z(E)"),
        ("rollback to a", "C(ROLLBACK) Z(T)"),
        ("update s.items set n = 53 where id = 3", "C(UPDATE 1) Z(T)"),
        ("commit", "C(COMMIT) Z(I)"),
    ] {
        let seen = client.query(text)?;
        assert_eq!(told(&seen), told_so, "{text}: {}", words(&seen));
    }
    let seen = truth(
        &world,
        "select string_agg(n::text, ',' order by id) from s.items where id <= 3 and n >= 50",
    )?;
    assert_eq!(seen, "50,53");
    // Where a trigger truncates what was counted before, no count is left.
    client.query("begin")?;
    assert_eq!(
        told(&client.query("insert into s.emptied values (1)")?),
        "C(INSERT 0 1) Z(T)"
    );
    let seen = client.query("insert into s.empties values (1)")?;
    assert_eq!(told(&seen), "E(54000) Z(E)");
    assert!(
        words(&seen).contains("did not say how many"),
        "{}",
        words(&seen)
    );
    client.query("rollback")?;
    // A deferred constraint fails the commit, which is the client's own here.
    assert_eq!(told(&client.query("begin")?), "C(BEGIN) Z(T)");
    assert_eq!(
        told(&client.query("insert into s.late values (1)")?),
        "C(INSERT 0 1) Z(T)"
    );
    assert_eq!(told(&client.query("commit")?), "E(23505) Z(I)");
    nothing_is_left_open(&world)
}

#[test]
fn in_the_extended_protocol_not_one_row_too_many_is_committed() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world();
    let mut dialer = world.dialer()?;
    let mut client = world.client(&mut dialer)?;
    for (text, outcome) in CASES {
        if text.contains("; ") {
            continue;
        }
        let stands = !outcome.contains("E(");
        let wanted = expected(&world, text, stands)?;
        let seen = said(&mut client, &extended(text))?;
        let mut outcome = outcome.trim_start_matches("T ").to_owned();
        // A Parse fails where the text is wrong, and is refused where policy says no.
        let unparsed = ["42P01", "42703"].iter().any(|code| outcome.contains(code));
        if !unparsed {
            outcome = format!("1 2 {outcome}");
        }
        // The commit is at Sync here.
        if text.contains("s.late") {
            outcome = "1 2 C(INSERT 0 1) E(23505)".to_owned();
        }
        assert_eq!(
            told(&seen),
            format!("{outcome} Z(I)"),
            "{text}: {}",
            words(&seen)
        );
        assert_eq!(truth(&world, ALL)?, wanted, "{text}");
    }
    // What code may commit by itself cannot be counted there.
    let seen = said(
        &mut client,
        &extended("do $$ begin insert into s.items values (9000); commit; end $$"),
    )?;
    assert_eq!(told(&seen), "1 2 E(54000) Z(I)");
    // Nothing of ours is left behind, and the client's own unnamed statement is its own.
    let seen = said(
        &mut client,
        &[
            parse(
                "",
                "select count(*) from pg_prepared_statements where name like 'node-agent%'",
            ),
            parse("u", "update s.items set n = 1 where id = 1"),
            bind("other", "u", &[]),
            execute("other", 0),
            bind("", "", &[]),
            execute("", 0),
            sync(),
        ]
        .concat(),
    )?;
    assert_eq!(told(&seen), "1 1 2 C(UPDATE 1) 2 D C(SELECT 1) Z(I)");
    assert_eq!(
        node_agent_tests::client::cells(&seen)[0][0].as_deref(),
        Some("0")
    );
    nothing_is_left_open(&world)
}

#[test]
fn nothing_behind_a_counted_statement_goes_on_before_its_count() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world();
    let mut dialer = world.dialer()?;
    let mut client = world.client(&mut dialer)?;
    let before = truth(&world, ALL)?;
    let many = "update s.items set n = 77 where id <= 11";
    let few = "update s.items set n = 78 where id <= 2";
    let one = |text: &str| [parse("", text), bind("", "", &[]), execute("", 0)].concat();
    // COMMIT in the same breath.
    let all = [
        query("begin"),
        query(many),
        query("commit"),
        query("select 1"),
    ]
    .concat();
    client.send(&all)?;
    let seen: Vec<_> = (0..4).map(|_| client.up_to(b'Z')).collect::<Result<_>>()?;
    let seen: Vec<String> = seen.iter().map(|messages| told(messages)).collect();
    assert_eq!(
        seen,
        [
            "C(BEGIN) Z(T)",
            "E(54000) Z(E)",
            "C(ROLLBACK) Z(I)",
            "T D C(SELECT 1) Z(I)"
        ]
    );
    assert_eq!(truth(&world, ALL)?, before);
    // The same in the extended protocol, in one group and in several.
    let seen = said(
        &mut client,
        &[one("begin"), one(few), one(many), one("commit"), sync()].concat(),
    )?;
    assert_eq!(
        told(&seen),
        "1 2 C(BEGIN) 1 2 C(UPDATE 2) 1 2 E(54000) Z(E)"
    );
    assert_eq!(told(&client.query("rollback")?), "C(ROLLBACK) Z(I)");
    let several = [
        extended("begin"),
        extended(few),
        extended(many),
        extended("commit"),
        extended(few),
    ]
    .concat();
    client.send(&several)?;
    let seen: Vec<_> = (0..5).map(|_| client.up_to(b'Z')).collect::<Result<_>>()?;
    let seen: Vec<String> = seen.iter().map(|messages| told(messages)).collect();
    assert_eq!(
        seen,
        [
            "1 2 C(BEGIN) Z(T)",
            "1 2 C(UPDATE 2) Z(T)",
            "1 2 E(54000) Z(E)",
            "1 2 C(ROLLBACK) Z(I)",
            "1 2 C(UPDATE 2) Z(I)",
        ]
    );
    assert_eq!(
        truth(&world, "select count(*) from s.items where n = 77")?,
        "0"
    );
    assert_eq!(
        truth(&world, "select count(*) from s.items where n = 78")?,
        "2"
    );
    // A group that a Sync ends is one transaction: the good before the bad goes with it.
    let seen = said(
        &mut client,
        &[
            one("update s.items set n = 79 where id = 3"),
            one(many),
            one(few),
            sync(),
        ]
        .concat(),
    )?;
    assert_eq!(told(&seen), "1 2 C(UPDATE 1) 1 2 E(54000) Z(I)");
    assert_eq!(
        truth(&world, "select count(*) from s.items where n in (77, 79)")?,
        "0"
    );
    // With Flush in place of Sync nothing is committed yet, and the client hears what is so far.
    client.send(&[one(few), flush()].concat())?;
    assert_eq!(told(&client.up_to(b'C')?), "1 2 C(UPDATE 2)");
    client.send(&[one(many), flush()].concat())?;
    assert_eq!(told(&client.up_to(b'E')?), "1 2 E(54000)");
    assert_eq!(told(&said(&mut client, &sync())?), "Z(I)");
    // A Query behind a group without Sync shares its transaction: it is refused.
    client.send(&[one("select 1"), query(few)].concat())?;
    assert_eq!(
        told(&client.up_to(b'Z')?),
        "1 2 D C(SELECT 1) E(54000) Z(I)"
    );
    // Unless nothing of it ran: some drivers prepare, and then copy.
    client.send(
        &[
            sync(),
            parse("", "select 1"),
            about(b'D', 'S', ""),
            query(few),
        ]
        .concat(),
    )?;
    assert_eq!(told(&client.up_to(b'Z')?), "Z(I)");
    assert_eq!(told(&client.up_to(b'Z')?), "1 t T C(UPDATE 2) Z(I)");
    client.send(&[parse("", "select nothing"), query(few), sync()].concat())?;
    assert_eq!(told(&client.up_to(b'Z')?), "E(42703) Z(I)");
    nothing_is_left_open(&world)
}

#[test]
fn a_portal_that_gives_its_rows_in_parts_is_counted_at_once() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world();
    let mut dialer = world.dialer()?;
    let mut client = world.client(&mut dialer)?;
    let start = |text: &str| {
        [
            parse("", text),
            bind("p", "", &[]),
            execute("p", 2),
            flush(),
        ]
        .concat()
    };
    client.send(&start("delete from s.items where id <= 5 returning id"))?;
    assert_eq!(told(&client.up_to(b's')?), "1 2 D s");
    client.send(&[execute("p", 2), execute("p", 0), sync()].concat())?;
    assert_eq!(told(&client.up_to(b'Z')?), "D s D C(DELETE 1) Z(I)");
    assert_eq!(
        truth(&world, "select count(*) from s.items where id <= 5")?,
        "0"
    );
    client.send(&start("delete from s.items where id <= 50 returning id"))?;
    assert_eq!(told(&client.up_to(b'E')?), "1 2 D E(54000)");
    client.send(&[execute("p", 0), sync()].concat())?;
    assert_eq!(told(&client.up_to(b'Z')?), "Z(I)");
    assert_eq!(
        truth(&world, "select count(*) from s.items where id <= 50")?,
        "45"
    );
    // Described first, as drivers do.
    let seen = said(
        &mut client,
        &[
            parse("d", "delete from s.items where id = 6 returning id"),
            about(b'D', 'S', "d"),
            bind("", "d", &[1]),
            about(b'D', 'P', ""),
            execute("", 0),
            sync(),
        ]
        .concat(),
    )?;
    assert_eq!(told(&seen), "1 t T 2 T D C(DELETE 1) Z(I)");
    Ok(())
}

#[test]
fn a_copy_is_counted_before_it_stands() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world();
    let mut dialer = world.dialer()?;
    let mut client = world.client(&mut dialer)?;
    let rows = |from: u32, to: u32| -> Vec<u8> {
        let line = |n| Message::frame(b'd', format!("{n}\t0\n").as_bytes());
        (from..to).flat_map(line).collect()
    };
    let done = Message::frame(b'c', b"");
    let text = "copy s.items from stdin";
    // Outside, inside, and extended; the data sent at once or when asked for.
    for inside in [false, true] {
        for (count, outcome) in [(10, "C(COPY 10)"), (11, "E(54000)")] {
            let open = if inside { "T" } else { "I" };
            let state = if outcome.starts_with('E') && inside {
                "E"
            } else {
                open
            };
            let data = [rows(5_000, 5_000 + count), done.clone()].concat();
            let ways = [
                [query(text), data.clone()].concat(),
                [
                    parse("", text),
                    bind("", "", &[]),
                    execute("", 0),
                    data.clone(),
                    sync(),
                ]
                .concat(),
            ];
            for (way, bytes) in ways.into_iter().enumerate() {
                if inside {
                    client.query("begin")?;
                }
                let seen = said(&mut client, &bytes)?;
                let wanted = ["G", "1 2 G"][way];
                assert_eq!(
                    told(&seen),
                    format!("{wanted} {outcome} Z({state})"),
                    "{inside} {way}: {}",
                    words(&seen)
                );
                if inside {
                    client.query("rollback")?;
                } else {
                    let stored = truth(&world, "select count(*) from s.items where id >= 5000")?;
                    assert_eq!(stored, if outcome.starts_with('E') { "0" } else { "10" });
                    client.query("delete from s.items where id >= 5000")?;
                }
            }
        }
    }
    // The client gives up, or sends what is no row.
    for (bytes, code) in [
        (Message::frame(b'f', b"no\0"), "E(57014)"),
        (
            [Message::frame(b'd', b"x\t0\n"), done.clone()].concat(),
            "E(22P02)",
        ),
    ] {
        let seen = said(&mut client, &[query(text), bytes].concat())?;
        assert_eq!(told(&seen), format!("G {code} Z(I)"));
    }
    assert_eq!(told(&client.query("select 1")?), "T D C(SELECT 1) Z(I)");
    nothing_is_left_open(&world)
}

/// The closed sessions of a listing.
fn closed(list: &str) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    for line in list.lines() {
        let one: serde_json::Value = serde_json::from_str(line)?;
        if !one["ended"].is_null() {
            ids.extend(one["session"].as_str().map(str::to_owned));
        }
    }
    Ok(ids)
}

#[test]
fn a_refusal_says_how_many_and_how_to_go_on_and_is_on_the_record() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world();
    let seen = world.ask("update s.items set n = 1 where id <= 11")?;
    for words in [
        "changed 11 rows, at most 10 are allowed; it is rolled back",
        "policy \"few\", rule \"ten\"",
        "reference s-",
        "narrow the WHERE",
    ] {
        assert!(seen.stderr.contains(words), "{words}: {}", seen.stderr);
    }
    world.ask("delete from s.items where id <= 3")?.good()?;
    let session = until("the recordings are closed", SOON, || {
        let list = world.cli(&["sessions", "ls", "--json"])?.good()?.stdout;
        let ids = closed(&list)?;
        Ok((ids.len() == 2).then_some(ids))
    })?;
    let shown: String = session
        .iter()
        .map(|id| Ok(world.cli(&["replay", id])?.good()?.stdout))
        .collect::<Result<_>>()?;
    for words in [
        "undone by the agent",
        "11 rows changed",
        "3 rows changed",
        "error 54000",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    world.cli(&["sessions", "verify"])?.good()?;
    Ok(())
}

/// Logged in, with the key that was told.
fn with_key(world: &World, dialer: &mut Dialer) -> Result<(Raw, Vec<u8>)> {
    let mut client = world.raw(dialer)?;
    client.send(&startup(
        (3, 0),
        &[("user", SERVICE), ("database", DATABASE)],
    ))?;
    let seen = client.logged_in(world.password(Place::Inside))?;
    let key = seen.into_iter().find(|message| message.kind == b'K');
    Ok((client, key.expect("a cancel key").body))
}

#[test]
fn cancelled_or_left_alone_a_counted_statement_leaves_nothing_open() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world();
    let mut dialer = world.dialer()?;
    let slow = "update s.slow set id = id + 100";
    let before = truth(&world, "select sum(id) from s.slow")?;
    let runs = || {
        until("it runs", SOON, || {
            Ok((world.running("s.slow")? == 1).then_some(()))
        })
    };
    for bytes in [query(slow), extended(slow)] {
        let (mut client, key) = with_key(&world, &mut dialer)?;
        client.send(&bytes)?;
        runs()?;
        let mut asks = world.raw(&mut dialer)?;
        let length = u32::try_from(key.len() + 8)?;
        asks.send(
            &[
                &length.to_be_bytes(),
                &80_877_102_u32.to_be_bytes(),
                key.as_slice(),
            ]
            .concat(),
        )?;
        let seen = client.up_to(b'Z')?;
        assert!(told(&seen).ends_with("E(57014) Z(I)"), "{}", told(&seen));
        assert_eq!(told(&client.query("select 1")?), "T D C(SELECT 1) Z(I)");
        // Gone in the middle, with COMMIT behind it or not.
        client.send(&[bytes.clone(), query("commit")].concat())?;
        runs()?;
        client.reset()?;
        until("it is over", SOON, || {
            Ok((world.running("s.slow")? == 0).then_some(()))
        })?;
        nothing_is_left_open(&world)?;
        assert_eq!(truth(&world, "select sum(id) from s.slow")?, before);
    }
    // A cancel at any moment: whatever it meets, the client is told once and nothing stays open.
    let (mut client, key) = with_key(&world, &mut dialer)?;
    let length = u32::try_from(key.len() + 8)?;
    let cancel = [
        &length.to_be_bytes(),
        &80_877_102_u32.to_be_bytes(),
        key.as_slice(),
    ]
    .concat();
    let mut cancelled = 0;
    for round in 0..60_u64 {
        let text = format!(
            "update s.items set n = {round} where id <= {}",
            if round % 3 == 0 { 11 } else { 10 }
        );
        let bytes = if round % 2 == 0 {
            query(&text)
        } else {
            extended(&text)
        };
        let mut asks = world.raw(&mut dialer)?;
        client.send(&bytes)?;
        std::thread::sleep(Duration::from_micros(round * 40 % 2_500));
        asks.send(&cancel)?;
        let seen = client.up_to(b'Z')?;
        assert!(told(&seen).ends_with("Z(I)"), "{}", told(&seen));
        let errors = seen.iter().filter(|message| message.kind == b'E').count();
        let dones = seen.iter().filter(|message| message.kind == b'C').count();
        assert_eq!(errors + dones, 1, "{}", told(&seen));
        let stands = truth(
            &world,
            &format!("select count(*) from s.items where n = {round} and id <= 11"),
        )?;
        let others = if round == 0 { 1 } else { 0 };
        if dones == 1 {
            assert!(round % 3 != 0 && stands == "10", "{round}: {stands}");
        } else {
            assert!(stands.parse::<u32>()? <= 11 * others, "{round}: {stands}");
        }
        cancelled += usize::from(told(&seen).contains("57014"));
        asks.ended_within(SOON)?;
    }
    println!("{cancelled} of 60 were cancelled");
    nothing_is_left_open(&world)
}

#[test]
fn an_agent_that_is_killed_leaves_nothing_open_and_nothing_changed() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut world = world();
    let mut dialer = world.dialer()?;
    let slow = "update s.slow set id = id + 100 where id <= 2";
    let before = truth(&world, "select sum(id) from s.slow")?;
    for bytes in [
        query(slow),
        extended(slow),
        [query("begin"), query(slow), query("commit")].concat(),
    ] {
        let mut client = world.client(&mut dialer)?;
        client.send(&bytes)?;
        until("it runs", SOON, || {
            Ok((world.running("s.slow")? == 1).then_some(()))
        })?;
        world.agent_mut().kill()?;
        until("it is over", SOON, || {
            Ok((world.running("s.slow")? == 0).then_some(()))
        })?;
        nothing_is_left_open(&world)?;
        assert_eq!(truth(&world, "select sum(id) from s.slow")?, before);
        world.agent_mut().start()?;
    }
    Ok(())
}

#[test]
fn a_policy_that_only_observes_counts_and_lets_pass() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder()
        .policy_text(
            "few.yaml",
            &POLICY.replace("targets: [ '*' ]", "targets: [ '*' ]\nmode: observe"),
        )
        .seed(SEED)
        .start()
        .unwrap();
    let seen = world
        .ask("update s.items set n = 1 where id <= 11")?
        .good()?;
    assert_eq!(seen.stderr, "");
    let session = until("the recording is closed", SOON, || {
        let list = world.cli(&["sessions", "ls", "--json"])?.good()?.stdout;
        Ok(closed(&list)?.pop())
    })?;
    let shown = world.cli(&["replay", &session])?.good()?.stdout;
    assert!(
        shown.contains("observed only, beyond rows_affected 10"),
        "{shown}"
    );
    let log = world.cluster().log();
    assert!(!log.contains("pg_stat_get_xact"), "{log}");
    Ok(())
}

#[test]
fn where_nothing_is_counted_nothing_limited_is_changed() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder()
        .policy_text("few.yaml", POLICY)
        .seed(SEED)
        .pg_settings("track_counts = off")
        .start()
        .unwrap();
    let mut dialer = world.dialer()?;
    let mut client = world.client(&mut dialer)?;
    let text = "update s.items set n = 1 where id = 1";
    assert_eq!(told(&client.query(text)?), "E(54000) Z(I)");
    assert_eq!(
        told(&said(&mut client, &extended(text))?),
        "1 2 E(54000) Z(I)"
    );
    client.query("begin")?;
    assert_eq!(told(&client.query(text)?), "E(54000) Z(E)");
    client.query("rollback")?;
    assert_eq!(truth(&world, "select sum(n) from s.items")?, "0");
    Ok(())
}

/// Names of a client's own in front of the server's change no count.
#[test]
fn a_search_path_that_leads_elsewhere_misleads_no_count() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world();
    truth(
        &world,
        "create schema evil; grant usage on schema evil to public; \
         create table evil.pg_class (oid oid, relkind \"char\"); \
         create function evil.pg_stat_get_xact_tuples_inserted(oid) returns bigint language sql as 'select 0::bigint'; \
         create function evil.string_agg_x() returns text language sql as 'select '''''; \
         create function evil.nothing(bigint, bigint) returns bigint language sql as 'select 0::bigint'; \
         create operator evil.+ (leftarg = bigint, rightarg = bigint, function = evil.nothing); \
         create function evil.never(\"char\", \"char\") returns bool language sql as 'select false'; \
         create operator evil.= (leftarg = \"char\", rightarg = \"char\", function = evil.never); \
         grant select on evil.pg_class to public",
    )?;
    let mut dialer = world.dialer()?;
    let mut client = world.client(&mut dialer)?;
    let seen = client.query("set search_path = evil, s, pg_catalog")?;
    assert_eq!(told(&seen), "C(SET) Z(I)", "{}", words(&seen));
    for text in [
        "update s.items set n = 1 where id <= 11",
        "with u as (update s.items set n = 1 returning 1) select 1",
    ] {
        for bytes in [query(text), extended(text)] {
            let seen = said(&mut client, &bytes)?;
            assert!(told(&seen).contains("E(54000)"), "{}", told(&seen));
        }
    }
    assert_eq!(truth(&world, "select sum(n) from s.items")?, "0");
    Ok(())
}

#[test]
fn what_is_expected_to_change_far_too_much_is_not_run() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder()
        .policy_text("few.yaml", POLICY)
        .seed(SEED)
        .clusters(&Version::ALL)
        .start()
        .unwrap();
    let mut dialer = world.dialer()?;
    for cluster in world.clusters() {
        cluster.sql(
            DATABASE,
            "create table s.large as select g as id, 0 as n from generate_series(1, 30000) g; \
             grant all on s.large to public; analyze s.large",
        )?;
        let mut client = Raw::new(dialer.dial(cluster.address())?)?;
        client.login(SERVICE, DATABASE, world.password(Place::Inside))?;
        let all = "update s.large set n = 1 -- all of them";
        let with = "with u as (update s.large set n = 1 returning 1) select count(*) from u";
        for text in [all, with, "delete from s.large where id > 5000"] {
            let seen = client.query(text)?;
            assert_eq!(told(&seen), "E(54000) Z(I)", "{text}");
            assert!(words(&seen).contains("it was not run"), "{}", words(&seen));
            let seen = said(&mut client, &extended(text))?;
            assert_eq!(told(&seen), "1 2 E(54000) Z(I)", "{text}");
            assert!(words(&seen).contains("it was not run"), "{}", words(&seen));
        }
        // With parameters, in a transaction.
        let typed = |to: &[u8; 4]| {
            let bound = [&b"\0\0\0\x01\0\x01\0\x01\0\0\0\x04"[..], to, b"\0\0"].concat();
            let text = b"\0delete from s.large where id <= $1\0\0\x01\0\0\0\x17";
            let parsed = Message::frame(b'P', text);
            [parsed, Message::frame(b'B', &bound), execute("", 0), sync()].concat()
        };
        client.query("begin")?;
        let seen = said(&mut client, &typed(&10_i32.to_be_bytes()))?;
        assert_eq!(told(&seen), "1 2 C(DELETE 10) Z(T)", "{}", words(&seen));
        let seen = said(&mut client, &typed(&20_000_i32.to_be_bytes()))?;
        assert_eq!(told(&seen), "1 2 E(54000) Z(E)");
        assert!(words(&seen).contains("it was not run"), "{}", words(&seen));
        client.query("rollback")?;
        // What is expected wrongly, and within reason, is counted.
        let seen = client.query("update s.large set n = 1 where id <= 500")?;
        assert_eq!(told(&seen), "E(54000) Z(I)");
        assert!(
            words(&seen).contains("changed 500 rows"),
            "{}",
            words(&seen)
        );
        assert_eq!(
            told(&client.query("update s.large set n = 1 where id = 1")?),
            "C(UPDATE 1) Z(I)"
        );
        // An error is told as if there had been no estimate.
        let seen = client.query("update s.large set m = 1 where id = 1")?;
        assert_eq!(field(&seen, b'P').as_deref(), Some("20"), "{}", told(&seen));
        // A function that claims to change nothing cannot change anything while it is planned.
        cluster.sql(
            DATABASE,
            "create function s.liar() returns int language plpgsql immutable security definer as \
               'begin perform s.add(1000); return 1; end'",
        )?;
        let seen = client.query("update s.large set n = 1 where id = s.liar()")?;
        assert_eq!(told(&seen), "E(54000) Z(I)", "{}", words(&seen));
        assert_eq!(cluster.sql(DATABASE, "select count(*) from s.log")?, "0");
        let kept = cluster.sql(DATABASE, "select count(*), sum(n) from s.large")?;
        assert_eq!(kept, "30000|1");
    }
    Ok(())
}

fn field(messages: &[Message], field: u8) -> Option<String> {
    let error = messages.iter().find(|message| message.kind == b'E')?;
    error_field(&error.body, field)
}

const STOPPED: &str = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: stopped }
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
rules:
  - { name: read, effect: allow, statements: [read] }
  - { name: ten, effect: allow, statements: [write], max_rows_affected: 10, without_where: true }
functions: { allow: ['*'] }
limits: { rows_returned: 3, statement_timeout: 700ms }
";

#[test]
fn what_is_stopped_for_another_reason_does_not_stand_either() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder()
        .policy_text("stopped.yaml", STOPPED)
        .seed(SEED)
        .start()
        .unwrap();
    let mut dialer = world.dialer()?;
    let mut client = world.client(&mut dialer)?;
    let before = truth(&world, ALL)?;
    let rows = |seen: &[Message]| seen.iter().filter(|message| message.kind == b'D').count();
    for text in [
        "update s.slow set id = id + 100",
        "delete from s.items where id <= 8 returning id",
    ] {
        let returning = text.contains("returning");
        for round in 0..6 {
            let seen = client.query(text)?;
            let head = if returning { "T D " } else { "" };
            assert_eq!(
                told(&seen),
                format!("{head}E(54000) Z(I)"),
                "{round} {text}"
            );
            assert_eq!(
                rows(&seen),
                if returning { 3 } else { 0 },
                "not one row more"
            );
            let seen = said(&mut client, &extended(text))?;
            let head = if returning { "1 2 D " } else { "1 2 " };
            assert_eq!(
                told(&seen),
                format!("{head}E(54000) Z(I)"),
                "{round} {text}"
            );
            client.query("begin")?;
            let seen = client.query(text)?;
            assert!(told(&seen).ends_with("E(54000) Z(E)"), "{}", told(&seen));
            assert_eq!(told(&client.query("commit")?), "C(ROLLBACK) Z(I)");
            // What comes next is not hit by a cancel that came late.
            assert_eq!(told(&client.query("select 1")?), "T D C(SELECT 1) Z(I)");
            if !returning && round == 0 {
                break;
            }
        }
    }
    assert_eq!(truth(&world, ALL)?, before);
    // Whole: what comes in large pieces too.
    let seen = client.query("select repeat('x', 200000) from generate_series(1, 5)")?;
    assert_eq!(
        (told(&seen).as_str(), rows(&seen)),
        ("T D E(54000) Z(I)", 3)
    );
    let seen = client.query("select g from generate_series(1, 3) g")?;
    assert_eq!(
        (told(&seen).as_str(), rows(&seen)),
        ("T D C(SELECT 3) Z(I)", 3)
    );
    nothing_is_left_open(&world)
}

#[test]
fn what_waits_for_the_commit_is_counted_where_the_commit_is_next() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder()
        .policy_text("few.yaml", POLICY)
        .seed(SEED)
        .clusters(&Version::ALL)
        .start()
        .unwrap();
    let mut dialer = world.dialer()?;
    for cluster in world.clusters() {
        cluster.sql(
            DATABASE,
            "create function s.log_late() returns trigger language plpgsql security definer as \
               'begin insert into s.log select ''late'' from generate_series(1, new.id); return null; end'; \
             create table s.waits (id int); \
             create constraint trigger late after insert on s.waits deferrable initially deferred \
               for each row execute function s.log_late(); \
             create table s.waiting (id int) partition by range (id); \
             create table s.waiting_a partition of s.waiting for values from (0) to (100); \
             create constraint trigger late after insert on s.waiting deferrable initially deferred \
               for each row execute function s.log_late(); \
             grant all on s.waits, s.waiting to public",
        )?;
        let mut client = Raw::new(dialer.dial(cluster.address())?)?;
        client.login(SERVICE, DATABASE, world.password(Place::Inside))?;
        let log = || cluster.sql(DATABASE, "select count(*) from s.log");
        for table in ["s.waits", "s.waiting"] {
            let insert = |n: u32| format!("insert into {table} values ({n})");
            assert_eq!(told(&client.query(&insert(9))?), "C(INSERT 0 1) Z(I)");
            assert_eq!(log()?, "9", "{table}");
            assert_eq!(
                told(&client.query(&insert(10))?),
                "E(54000) Z(I)",
                "{table}"
            );
            // Elsewhere its rows come after the count, so it has none.
            assert_eq!(
                told(&said(&mut client, &extended(&insert(1)))?),
                "1 2 E(54000) Z(I)"
            );
            client.query("begin")?;
            assert_eq!(told(&client.query(&insert(1))?), "E(54000) Z(E)");
            client.query("rollback")?;
            // Foreign keys and unique constraints that wait change nothing when they are checked.
            client.query("begin")?;
            assert_eq!(
                told(&client.query("insert into s.late values (7)")?),
                "C(INSERT 0 1) Z(T)"
            );
            client.query("rollback")?;
            assert_eq!(log()?, "9", "{table}");
            cluster.sql(DATABASE, "delete from s.log")?;
        }
    }
    Ok(())
}

/// A limit that nothing reaches: drivers notice nothing.
const PLENTY: &str = "  - { name: plenty, effect: allow, statements: [write], without_where: true, max_rows_affected: 1000000 }";

#[test]
fn drivers_notice_nothing_of_being_counted() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder()
        .everything("plenty", PLENTY)
        .clusters(&Version::ALL)
        .start()
        .unwrap();
    for cluster in world.clusters() {
        let words = [
            NAME,
            &cluster.address().ip().to_string(),
            &PORT.to_string(),
            SERVICE,
            world.password(Place::Inside),
            DATABASE,
            "disable",
            &world.roots(Place::Inside, cluster).display().to_string(),
        ];
        let python = || -> Result<_> { Ok(world.program(Place::Inside, parts::python()?)) };
        let programs = [
            python()?
                .arg(parts::driver("psycopg_driver.py"))
                .arg(world.dsn(Place::Inside, cluster, "disable")),
            python()?
                .arg(parts::driver("asyncpg_driver.py"))
                .args(words),
            world
                .program(Place::Inside, parts::on_path("node")?)
                .arg(parts::driver("node_driver.mjs"))
                .arg(parts::node_home()?)
                .args(words),
            world
                .program(Place::Inside, std::env::current_exe()?)
                .args([
                    "--exact",
                    "e2e::tokio_postgres::talks_when_asked",
                    "--nocapture",
                ])
                .env("TOKIO_POSTGRES_TO", words.join(" ")),
        ];
        let lasts = ["ok large value", "ok pool", "ok pool", "ok cancel"];
        for (program, last) in programs.into_iter().zip(lasts) {
            let seen = program.limit(Duration::from_secs(60)).output()?;
            assert!(seen.contains(last), "{}: {seen}", cluster.version().name());
        }
    }
    let counted = world.cluster().log();
    assert!(!counted.contains("FATAL"), "{counted}");
    Ok(())
}
