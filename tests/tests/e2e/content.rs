//! The content net before a real database: in every type that holds texts, in text and in binary, however the
//! database cuts its answers; and what is told of it.

use std::time::Duration;

use anyhow::{Context, Result};
use node_agent_tests::client::{
    Dialer, Message, Raw, about, bind, cells, execute, parse, query, sync,
};
use node_agent_tests::program::until;
use node_agent_tests::{Place, World, metrics};
use serde_json::Value;

use super::agent_is_here;

const MAIL: &str = "ann@example.com";
const CARD: &str = "4111 1111 1111 1111";
const PATIENCE: Duration = Duration::from_secs(10);
/// More bytes than a message may have that is held whole, when nothing is configured.
const LARGER: usize = 17 * 1024 * 1024;
const KEY: &str = "AKIAIOSFODNN7EXAMPLE";

const SEED: &str = "create schema app; \
    create domain app.words as text; \
    create type app.pair as (n int, t text); \
    create table app.notes (id int primary key, body text, short varchar(60), fixed char(40), doc json, docb jsonb, \
      tags text[], docs jsonb[], w app.words, p app.pair, x xml, kept text, ssn text, num bigint); \
    insert into app.notes values (1, 'write to ann@example.com, card 4111 1111 1111 1111', 'ann@example.com', \
      'ann@example.com', '{\"m\": \"ann\\u0040example.com\", \"c\": 4111111111111111}', '{\"m\": \"ann@example.com\"}', \
      array['a', 'ann@example.com', null], array['{\"m\": \"ann@example.com\"}'::jsonb], 'ann@example.com', \
      row(7, 'ann@example.com'), '<m>ann@example.com</m>', 'ann@example.com', '123-45-6789', 4111111111111111), \
      (2, 'key AKIAIOSFODNN7EXAMPLE', null, null, null, null, null, null, null, null, null, null, null, null), \
      (3, 'nothing at 2024-01-02 03:04:05, order 1234567890123456', 'x', 'y', '{}', '{\"a\": 1}', array['b'], \
      array['[]'::jsonb], 'w', row(1, 'z'), '<a/>', 'k', '000-00-0000', 1); \
    create table app.large (id int primary key, body text, more text); \
    insert into app.large select g, repeat('x', g * 50000) || ' ann@example.com ' || repeat('y', 50000), 'z' \
      from generate_series(1, 6) g; \
    create view app.seen as select upper(body) as u, body as b from app.notes; \
    grant usage on schema app to public; grant all on all tables in schema app to public";

fn policy(more: &str) -> String {
    format!(
        "apiVersion: node-agent/v1\nkind: Policy\nmetadata: {{ name: content }}\n\
         subjects: [ {{ workloads: ['*'] }} ]\ntargets: [ '*' ]\nrules:\n  \
         - {{ name: all, effect: allow, statements: [read, write, session, copy_out], tables: ['*.*'], without_where: true }}\n\
         content:\n{more}"
    )
}

const NET: &str = "  - { name: net, except: [app.notes.kept] }\n  \
                   - { name: cards, detect: [card], with: { keep_last: 4 } }\n";

fn world(more: &str) -> Result<World> {
    World::builder()
        .policy_text("content.yaml", &policy(more))
        .seed(SEED)
        .start()
}

fn client(world: &World) -> Result<(Dialer, Raw)> {
    let mut dialer = world.dialer()?;
    let raw = world.client(&mut dialer)?;
    Ok((dialer, raw))
}

/// The answer of the extended protocol, with cells in this format.
fn asked(raw: &mut Raw, text: &str, format: u16) -> Result<Vec<Message>> {
    let all = [
        parse("", text),
        about(b'D', 'S', ""),
        bind("", "", &[format]),
        execute("", 0),
        sync(),
    ];
    raw.send(&all.concat())?;
    raw.up_to(b'Z')
}

fn holds(messages: &[Message], text: &str) -> bool {
    let has = |message: &Message| {
        message
            .body
            .windows(text.len())
            .any(|w| w == text.as_bytes())
    };
    messages.iter().any(has)
}

#[test]
fn what_is_found_in_any_text_is_covered_in_both_formats() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world(NET)?;
    let (_dialer, mut raw) = client(&world)?;
    let every = "select * from app.notes order by id";
    raw.send(&query(every))?;
    let rows = cells(&raw.up_to(b'Z')?);
    let padded = format!("***{}", " ".repeat(25));
    let row = |at: usize| -> Vec<Option<&str>> { rows[at].iter().map(Option::as_deref).collect() };
    assert_eq!(
        row(0),
        [
            Some("1"),
            Some("write to ***, card ***"),
            Some("***"),
            Some(padded.as_str()),
            Some("{\"m\": \"***\", \"c\": null}"),
            Some("{\"m\": \"***\"}"),
            Some("{a,***,NULL}"),
            // JSON inside an array's text: the cell as a whole.
            None,
            Some("***"),
            Some("(7,***)"),
            Some("<m>***</m>"),
            Some(MAIL),
            Some("***"),
            Some("4111111111111111"),
        ]
    );
    assert_eq!(row(1)[1], Some("key ***"));
    let third = "nothing at 2024-01-02 03:04:05, order 1234567890123456";
    assert_eq!(row(2)[1], Some(third));
    assert_eq!(row(2)[5], Some("{\"a\": 1}"));
    for (text, format, kept) in [
        (every, 0, 1),
        (every, 1, 1),
        ("select u, b from app.seen", 0, 0),
        ("select b from app.seen", 1, 0),
        ("select n, concat(n.body, n.kept) from app.notes n", 0, 0),
        ("select n from app.notes n", 1, 0),
        (
            "select array_agg(kept), json_agg(kept), max(kept) from app.notes",
            0,
            0,
        ),
        (
            "select array_agg(kept), jsonb_agg(kept), max(kept) from app.notes",
            1,
            0,
        ),
        (
            "select array_agg(docb), array_agg(doc) from app.notes",
            1,
            0,
        ),
        ("update app.notes set short = short returning body", 0, 0),
        (
            "select body from app.notes union select kept from app.notes",
            1,
            0,
        ),
    ] {
        let messages = asked(&mut raw, text, format)?;
        let failed = messages.iter().find_map(Message::sqlstate);
        assert_eq!(failed, None, "{text}");
        assert!(holds(&messages, "***"), "{text} {format}");
        for secret in [CARD, KEY] {
            assert!(!holds(&messages, secret), "{text} {format} shows {secret}");
        }
        let rows = messages.iter().filter(|message| message.kind == b'D');
        let shown = rows
            .map(|row| {
                row.body
                    .windows(MAIL.len())
                    .filter(|w| *w == MAIL.as_bytes())
                    .count()
            })
            .sum::<usize>();
        assert_eq!(shown, kept, "{text} {format}");
    }
    // Driver and database agree on what a binary cell is: what is covered is still of its type.
    let messages = asked(
        &mut raw,
        "select tags, p, docb from app.notes where id = 1",
        1,
    )?;
    let array = [
        &[0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 25, 0, 0, 0, 3, 0, 0, 0, 1][..],
        b"\0\0\0\x01a\0\0\0\x03***\xff\xff\xff\xff",
    ]
    .concat();
    let pair = b"\0\0\0\x02\0\0\0\x17\0\0\0\x04\0\0\0\x07\0\0\0\x19\0\0\0\x03***";
    let json = b"\x01{\"m\": \"***\"}";
    let row = messages.iter().find(|m| m.kind == b'D').context("a row")?;
    let mut want = vec![0, 3];
    for cell in [&array[..], pair, json] {
        want.extend(u32::try_from(cell.len())?.to_be_bytes());
        want.extend(cell);
    }
    assert_eq!(row.body, want);
    Ok(())
}

#[test]
fn a_copy_is_looked_into_as_its_rows_are() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world(NET)?;
    for (text, want) in [
        (
            "copy (select body, docb from app.notes where id = 1) to stdout",
            "write to ***, card ***\t{\"m\": \"***\"}\n",
        ),
        (
            "copy (select short, tags from app.notes where id < 3 order by id) to stdout (format csv)",
            "***,\"{a,***,NULL}\"\n,\n",
        ),
    ] {
        assert_eq!(world.ask(text)?.good()?.stdout, want, "{text}");
    }
    let all = world.ask("copy app.notes to stdout")?.good()?.stdout;
    assert!(
        all.contains("***") && !all.contains(CARD) && !all.contains(KEY),
        "{all}"
    );
    assert_eq!(all.matches(MAIL).count(), 1, "{all}");
    // What cannot be looked into row by row does not leave.
    let binary = world.ask("copy app.notes to stdout (format binary)")?;
    assert!(binary.stdout.is_empty(), "{}", binary.stdout);
    assert!(
        binary.stderr.contains("cannot be masked"),
        "{}",
        binary.stderr
    );
    Ok(())
}

#[test]
fn no_cut_of_the_stream_hides_a_find() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world(NET)?;
    let (_dialer, mut raw) = client(&world)?;
    for format in [0, 1] {
        let messages = asked(
            &mut raw,
            "select body, more from app.large order by id",
            format,
        )?;
        assert!(!holds(&messages, MAIL));
        let rows: Vec<_> = messages.iter().filter(|m| m.kind == b'D').collect();
        assert_eq!(rows.len(), 6);
        for (row, count) in rows.iter().zip(1..) {
            let length = 2 + 4 + count * 50_000 + " *** ".len() + 50_000 + 4 + 1;
            assert_eq!(row.body.len(), length, "{count}");
        }
    }
    Ok(())
}

#[test]
fn what_was_found_where_is_told_and_never_what_it_was() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world(NET)?;
    let (_dialer, mut raw) = client(&world)?;
    raw.query("select body, kept from app.notes order by id")?;
    raw.query("select body as note from app.notes order by id")?;
    raw.query("select lower(body) as l, 1 as one from app.notes")?;
    raw.query("select id from app.notes")?;
    drop(raw);
    let found = until("the findings", PATIENCE, || {
        let text = world
            .cli(&["sessions", "findings", "--json"])?
            .good()?
            .stdout;
        let lines: Vec<Value> = text
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?;
        Ok((lines.len() >= 5).then_some(lines))
    })?;
    let told: Vec<String> = found
        .iter()
        .map(|one| {
            let place = one["column"]
                .as_str()
                .or(one["output"].as_str())
                .unwrap_or("?");
            let number = |key: &str| one[key].as_u64().unwrap_or(0);
            let what = one["detector"].as_str().unwrap_or("?");
            let (masked, sessions) = (number("masked"), number("sessions"));
            assert_eq!(number("reported"), 0);
            format!("{place} {what} {masked} {sessions}")
        })
        .collect();
    for line in [
        "app.notes.body email 2 1",
        "app.notes.body card 2 1",
        "app.notes.body secret 2 1",
        "l email 1 1",
        "l card 1 1",
    ] {
        assert!(told.iter().any(|told| told == line), "{line} in {told:?}");
    }
    assert!(!told.iter().any(|told| told.contains("kept")), "{told:?}");
    let table = world.cli(&["sessions", "findings"])?.good()?.stdout;
    assert!(table.contains("app.notes.body"), "{table}");
    let counts = metrics::scrape(world.agent().admin())?;
    let count = "node_agent_content_found_total{detector=\"email\",done=\"masked\"}";
    assert_eq!(counts.get(count), Some(&3.0), "{counts:?}");
    let sessions = world.cli(&["sessions", "ls", "--json"])?.good()?.stdout;
    let session: Value = serde_json::from_str(sessions.lines().next().context("a session")?)?;
    let id = session["session"].as_str().context("its name")?;
    let replayed = world.cli(&["replay", id])?.good()?.stdout;
    assert!(
        replayed.contains("found 1 email in column note (of app.notes.body), masked"),
        "{replayed}"
    );
    let log = std::fs::read_to_string(world.agent().log())?;
    let line = log.lines().find(|line| {
        line.contains("the content net found something") && line.contains("app.notes.body")
    });
    assert!(line.is_some(), "{log}");
    for secret in [CARD, KEY] {
        for (name, text) in [
            ("the log", &log),
            ("the replay", &replayed),
            ("the table", &table),
        ] {
            assert!(!text.contains(secret), "{name} shows {secret}");
        }
    }
    Ok(())
}

#[test]
fn what_only_reports_covers_nothing_and_whom_it_exempts_sees_all() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world("  - { name: seen, mode: report }\n")?;
    let (_dialer, mut raw) = client(&world)?;
    let text = "select body, doc, tags from app.notes order by id";
    let (plain, large) = (
        world.psql(Place::Outside)?.args(["-c", text]).output()?,
        asked(&mut raw, "select * from app.large", 0)?,
    );
    assert!(holds(&large, MAIL));
    // Beyond the limit of a message as well, and also as the first row of a result.
    let larger = format!("select repeat('x', {LARGER}), '{MAIL}'");
    for format in [0, 1] {
        let seen = asked(&mut raw, &larger, format)?;
        let row = seen.iter().find(|message| message.kind == b'D');
        assert!(row.is_some_and(|row| row.body.len() > LARGER), "{format}");
        assert!(holds(&seen, MAIL), "{format}");
    }
    assert_eq!(world.ask(text)?.good()?.stdout, plain);
    let counts = metrics::scrape(world.agent().admin())?;
    let reported = "node_agent_content_found_total{detector=\"card\",done=\"reported\"}";
    assert!(
        counts.get(reported).is_some_and(|count| *count >= 1.0),
        "{counts:?}"
    );
    world.set_policy("content.yaml", &policy(NET))?;
    until("the net", PATIENCE, || {
        let seen = world.ask(text)?.good()?.stdout;
        Ok(seen.contains("***").then_some(()))
    })?;
    let exempt = "  - { name: exempt, unless: { workloads: ['*'] } }\n";
    world.set_policy("content.yaml", &policy(exempt))?;
    until("the exemption", PATIENCE, || {
        Ok((world.ask(text)?.good()?.stdout == plain).then_some(()))
    })
}
