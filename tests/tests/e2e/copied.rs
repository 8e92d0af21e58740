//! Copies of masked data: what the database itself would write, but for the masked cells.

use std::time::Duration;

use anyhow::{Context, Result};
use node_agent_tests::client::{
    Dialer, Message, Raw, about, bind, error_field, execute, parse, query, sync,
};
use node_agent_tests::pg::{DATABASE, SERVICE};
use node_agent_tests::{Place, World, until};

use super::agent_is_here;

const SEED: &str = r#"
create schema pii;
create table pii.t (
    id int primary key, ssn text, note text, "od,d""" text, twice int generated always as (id * 2) stored
);
insert into pii.t (id, ssn, note, "od,d""") values
    (1, 'Qx7Kz9Vw3LpHm', E'tab\there\nline\r\\ back\x08\x0b\x0c', 'plain'),
    (2, null, '', null),
    (3, 'Jd4Rn8Tb6YcSf', '\.', '\N'),
    (4, 'x', 'a,b;c|d', 'say "so" and ''so'''),
    (5, 'y', 'NULL', 'x'),
    (6, 'z', ' é€𝄞 ', E'\x1b[0m');
create table pii.none (id int, ssn text);
create table pii.plain (id int, line text);
insert into pii.plain select g, 'line ' || g from generate_series(1, 5) g;
create table pii.uniq (id int primary key, ssn text unique check (ssn <> 'bad'));
insert into pii.uniq values (1, 'Qx7Kz9Vw3LpHm');
alter schema pii owner to svc;
alter table pii.t owner to svc;
alter table pii.none owner to svc;
alter table pii.plain owner to svc;
alter table pii.uniq owner to svc;
"#;

fn policy(more: &str) -> String {
    format!(
        "apiVersion: node-agent/v1\nkind: Policy\nmetadata: {{ name: copies }}\n\
         subjects: [ {{ workloads: ['*'] }} ]\ntargets: [ '*' ]\nrules:\n  \
         - {{ name: all, effect: allow, statements: ['*'], without_where: true }}\n\
         masks:\n  \
         - {{ name: ssn, columns: [pii.t.ssn, pii.none.ssn, pii.uniq.ssn], with: redact }}\n{more}"
    )
}

struct Both {
    inside: Raw,
    outside: Raw,
    _dialers: [Dialer; 2],
}

fn both(world: &World) -> Result<Both> {
    let mut within = Dialer::start(&world.cgroup(Place::Inside))?;
    let inside = world.client(&mut within)?;
    // Outside as somebody who takes the agent's own role at the database.
    world
        .cluster()
        .sql(DATABASE, "alter role by_trust superuser")?;
    let mut without = Dialer::start(&world.cgroup(Place::Outside))?;
    let mut outside = Raw::new(without.dial(world.cluster().address())?)?;
    outside.login("by_trust", DATABASE, "")?;
    outside.query(&format!("set session authorization {SERVICE}"))?;
    Ok(Both {
        inside,
        outside,
        _dialers: [within, without],
    })
}

fn extended(text: &str) -> Vec<u8> {
    [
        parse("", text),
        about(b'D', 'S', ""),
        // Some drivers ask for binary whatever it is.
        bind("", "", &[1]),
        about(b'D', 'P', ""),
        execute("", 0),
        sync(),
    ]
    .concat()
}

/// Tags and errors, in order.
fn told(messages: &[Message]) -> String {
    let of = |message: &Message| match message.kind {
        b'C' => Some(String::from_utf8_lossy(message.body.split_last()?.1).into_owned()),
        b'E' => Some(format!("E({})", message.words())),
        _ => None,
    };
    messages
        .iter()
        .filter_map(of)
        .collect::<Vec<_>>()
        .join(", ")
}

fn answer(raw: &mut Raw, bytes: &[u8]) -> Result<Vec<(char, String)>> {
    raw.send(bytes)?;
    let messages = raw.up_to(b'Z')?;
    let plain = |message: Message| {
        let body = String::from_utf8_lossy(&message.body).into_owned();
        (char::from(message.kind), body)
    };
    Ok(messages.into_iter().map(plain).collect())
}

/// What is copied inside, and what gives the same outside: `%` is the masked column.
const COPIES: &[(&str, &str)] = &[
    (
        "copy pii.t to stdout",
        "copy (select id, %, note, \"od,d\"\"\" from pii.t) to stdout",
    ),
    (
        "copy pii.t (note, ssn, twice) to stdout",
        "copy (select note, %, twice from pii.t) to stdout",
    ),
    (
        "COPY pii.t (id, ssn) TO STDOUT WITH (FORMAT csv)",
        "copy (select id, % from pii.t) to stdout csv",
    ),
    (
        "/* ( */ copy (select ssn, id from pii.t order by id desc) to stdout;",
        "copy (select %, id from pii.t order by id desc) to stdout",
    ),
    (
        "copy (table pii.t) to stdout",
        "copy (select id, %, note, \"od,d\"\"\", twice from pii.t) to stdout",
    ),
    (
        "copy (select note from pii.t where id = 3) to stdout csv",
        "copy (select note from pii.t where id = 3) to stdout csv",
    ),
    (
        "copy (select ssn as a, upper(ssn) as b, id from pii.t) to stdout csv header",
        "copy (select % as a, % as b, id from pii.t) to stdout csv header",
    ),
    ("copy pii.none to stdout", "copy pii.none to stdout"),
    (
        "copy pii.none to stdout csv header",
        "copy pii.none to stdout csv header",
    ),
    (
        "copy (select from pii.t) to stdout",
        "copy (select from pii.t) to stdout",
    ),
];

/// Options, for every column of the table.
const OPTIONS: &[&str] = &[
    "(delimiter '|')",
    "(delimiter ',', null 'NULL')",
    "(header)",
    "(null '')",
    "(encoding 'UTF8')",
    "(format csv)",
    "(format csv, header)",
    "(format csv, header, null 'note')",
    "(format csv, header, force_quote *)",
    "(format csv, force_quote (note, id))",
    "(format csv, delimiter ';', quote '''', null 'x')",
    "(format csv, escape '\\', null 'NULL')",
    "(format csv, delimiter E'\\t', quote E'\\x08')",
];

#[test]
fn a_masked_copy_is_what_the_database_writes_but_for_the_masked_cells() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder()
        .policy_text("copies.yaml", &policy(""))
        .seed(SEED)
        .start()?;
    let mut both = both(&world)?;
    let mut table: Vec<(String, String)> = COPIES
        .iter()
        .map(|(inside, outside)| ((*inside).to_owned(), outside.replace('%', "'***' as ssn")))
        .map(|(inside, outside)| (inside, outside.replace("as ssn as", "as")))
        .collect();
    for options in OPTIONS {
        table.push((
            format!("copy pii.t to stdout {options}"),
            format!(
                "copy (select id, '***' as ssn, note, \"od,d\"\"\" from pii.t) to stdout {options}"
            ),
        ));
    }
    for (inside, outside) in &table {
        for form in [query, extended] {
            let wanted = answer(&mut both.outside, &form(outside))?;
            assert!(wanted.iter().any(|(kind, _)| *kind == 'c'), "{wanted:?}");
            let seen = answer(&mut both.inside, &form(inside))?;
            assert_eq!(seen, wanted, "{inside}");
        }
    }
    Ok(())
}

#[test]
fn a_masked_copy_behaves_as_a_copy_in_its_session() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder()
        .policy_text("copies.yaml", &policy(""))
        .seed(SEED)
        .start()?;
    let mut both = both(&world)?;
    let inside = &mut both.inside;
    let mut said = |bytes: Vec<u8>| -> Result<String> {
        inside.send(&bytes)?;
        Ok(told(&inside.up_to(b'Z')?))
    };
    let copy = "copy pii.t (id, ssn) to stdout";
    // Nothing of it stays open: the table can be changed in the same transaction.
    for form in [query, extended] {
        for text in ["begin", copy, "alter table pii.t add column more int", copy] {
            let seen = said(form(text))?;
            assert!(!seen.contains("E("), "{text}: {seen}");
        }
        assert_eq!(said(query("rollback"))?, "ROLLBACK");
    }
    // Within a pipeline, and again by the same statement.
    let pipeline = [
        parse("c", copy),
        bind("", "c", &[]),
        execute("", 0),
        parse("s", "select id from pii.t where id = 1"),
        bind("", "s", &[]),
        execute("", 0),
        bind("p", "c", &[]),
        execute("p", 0),
        sync(),
    ]
    .concat();
    assert_eq!(said(pipeline)?, "COPY 6, SELECT 1, COPY 6");
    // An error comes as one, without the value, and what is behind it is skipped.
    for form in [query, extended] {
        let broken = form("copy (select ssn, 1 / (id - 4) from pii.t) to stdout");
        inside.send(&broken)?;
        let messages = inside.up_to(b'Z')?;
        let error = messages
            .iter()
            .find(|m| m.kind == b'E')
            .context("no error")?;
        assert_eq!(error.sqlstate().as_deref(), Some("22012"));
        let words = error_field(&error.body, b'M').unwrap_or_default();
        assert!(words.contains("withheld"), "{words}");
        let again = inside.query("select 1")?;
        assert_eq!(told(&again), "SELECT 1");
    }
    for text in [
        "copy pii.t to stdout (format binary)",
        "copy pii.t to stdout (encoding 'latin1')",
        "copy pii.t to stdout; select 1",
        "copy (delete from pii.t where id = 0 returning ssn) to stdout",
    ] {
        for form in [query, extended] {
            inside.send(&form(text))?;
            let messages = inside.up_to(b'Z')?;
            let error = messages
                .iter()
                .find(|m| m.kind == b'E')
                .context("no error")?;
            let code = error.sqlstate();
            assert_eq!(
                code.as_deref(),
                Some("42501"),
                "{text}: {}",
                told(&messages)
            );
        }
    }
    Ok(())
}

#[test]
fn a_masked_copy_is_limited_and_recorded_as_rows_are() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder()
        .policy_text("copies.yaml", &policy("limits: { rows_returned: 3 }\n"))
        .seed(SEED)
        .start()?;
    let mut both = both(&world)?;
    let inside = &mut both.inside;
    for form in [query, extended] {
        inside.send(&form("copy pii.t (id, ssn) to stdout"))?;
        let messages = inside.up_to(b'Z')?;
        let rows: Vec<&[u8]> = messages
            .iter()
            .filter(|message| message.kind == b'd')
            .map(|message| message.body.as_slice())
            .collect();
        assert_eq!(rows, [b"1\t***\n", b"2\t***\n", b"3\t***\n"]);
        let error = messages
            .iter()
            .find(|m| m.kind == b'E')
            .context("no error")?;
        assert!(
            error.words().contains("more than 3 rows"),
            "{}",
            error.words()
        );
        inside.send(&form(
            "copy (select id, ssn from pii.t where id < 3) to stdout",
        ))?;
        let messages = inside.up_to(b'Z')?;
        assert_eq!(told(&messages), "COPY 2");
    }
    let sessions = world.cli(&["sessions", "ls", "--json"])?.good()?.stdout;
    let first = sessions.lines().next().context("no session")?;
    let session: serde_json::Value = serde_json::from_str(first)?;
    let id = session["session"].as_str().context("no id")?;
    // The session is open still: its last block is written when it is due.
    let replayed = until("the copies are on record", Duration::from_secs(20), || {
        let replayed = world.cli(&["replay", id])?.good()?.stdout;
        let whole = [
            "copy pii.t (id, ssn) to stdout",
            "select \"id\", \"ssn\" from only \"pii\".\"t\"",
            "***",
        ]
        .iter()
        .all(|part| replayed.contains(part));
        Ok(whole.then_some(replayed))
    })?;
    assert!(!replayed.contains("Qx7Kz9"), "{replayed}");
    Ok(())
}

#[test]
fn what_is_copied_in_says_nothing_of_what_is_there() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder()
        .policy_text("copies.yaml", &policy(""))
        .seed(SEED)
        .start()?;
    let mut both = both(&world)?;
    let inside = &mut both.inside;
    for (data, code) in [
        ("2\tnew\n", None),
        ("3\tQx7Kz9Vw3LpHm\n", Some("23505")),
        ("4\tbad\n", Some("23514")),
        ("five\tx\n", Some("22P02")),
    ] {
        inside.ask("copy pii.uniq from stdin")?;
        inside.up_to(b'G')?;
        inside.message(b'd', data.as_bytes())?;
        inside.message(b'c', b"")?;
        let messages = inside.up_to(b'Z')?;
        let error = messages.iter().find(|m| m.kind == b'E');
        assert_eq!(error.and_then(Message::sqlstate).as_deref(), code, "{data}");
        if let Some(error) = error {
            for field in [b'D', b'H', b'W', b'c', b'n', b't', b's', b'q', b'p'] {
                let said = error_field(&error.body, field);
                assert!(said.is_none(), "{data}: {said:?}");
            }
            let words = error_field(&error.body, b'M').unwrap_or_default();
            assert!(words.contains("withheld"), "{words}");
        }
    }
    Ok(())
}

#[test]
fn who_tries_too_often_reads_nothing_masked_for_a_while() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder()
        .policy_text(
            "copies.yaml",
            &policy("budgets: { mask_refusals_per_hour: 3 }\n"),
        )
        .seed(SEED)
        .start()?;
    let mut both = both(&world)?;
    let inside = &mut both.inside;
    let mut codes = |text: &str| -> Result<Option<String>> {
        let messages = inside.query(text)?;
        Ok(messages.iter().find_map(Message::sqlstate))
    };
    let reading = "select id from pii.t where id = 1";
    assert_eq!(codes(reading)?, None);
    for guess in ["Q%", "J%", "x%"] {
        assert_eq!(codes(reading)?, None);
        let probe = format!("select id from pii.t where ssn like '{guess}'");
        assert_eq!(codes(&probe)?.as_deref(), Some("42501"));
    }
    assert_eq!(codes(reading)?.as_deref(), Some("54000"));
    assert_eq!(codes("copy pii.t to stdout")?.as_deref(), Some("54000"));
    assert_eq!(codes("select line from pii.plain where id = 1")?, None);
    for (name, count) in [
        ("node_agent_mask_refusals_total", 3.0),
        ("node_agent_mask_budgets_spent_total", 1.0),
    ] {
        assert_eq!(world.agent().metric(name)?, count, "{name}");
    }
    Ok(())
}

#[test]
fn equality_is_all_that_may_be_asked_where_it_is_allowed() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let equal = policy("").replace("with: redact", "with: redact, predicates: equality");
    let world = World::builder()
        .policy_text("copies.yaml", &equal)
        .seed(SEED)
        .start()?;
    let mut both = both(&world)?;
    let inside = &mut both.inside;
    for (text, cell) in [
        (
            "select id from pii.t where ssn = 'Qx7Kz9Vw3LpHm'",
            Some("1"),
        ),
        ("select id from pii.t where ssn in ('z', 'none')", Some("6")),
        ("select ssn from pii.t where ssn = 'z'", Some("***")),
        ("select id from pii.t where ssn like 'Q%'", None),
        ("select id from pii.t where ssn > 'Q' limit 1", None),
        ("select id from pii.t order by ssn limit 1", None),
        (
            "select id from (select id, left(ssn, 1) as ssn from pii.t) t where ssn = 'Q'",
            None,
        ),
        (
            "select a.id from pii.t a join pii.t b on a.ssn = b.ssn limit 1",
            None,
        ),
    ] {
        let messages = inside.query(text)?;
        let cells = node_agent_tests::client::cells(&messages);
        let first = cells.first().and_then(|row| row.first().cloned().flatten());
        assert_eq!(first.as_deref(), cell, "{text}");
    }
    Ok(())
}
