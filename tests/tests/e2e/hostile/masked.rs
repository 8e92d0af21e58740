//! The many ways to fetch a masked column.

use anyhow::Result;
use node_agent_tests::World;
use node_agent_tests::client::{
    Message, Raw, about, bind, cells, execute, flush, kinds, parse, query, sync,
};
use node_agent_tests::world::Builder;

use super::super::agent_is_here;
use super::{Siege, answer};

const POLICY: &str = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: masked }
mode: enforce
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
rules:
  - { name: read, effect: allow, statements: [read, transaction, set, discard], tables: ['public.people', 'public.plain'] }
  - { name: canary, effect: deny, statements: ['*'], tables: ['public.canary'] }
masks:
  - { name: ssn, columns: [public.people.ssn], with: { keep_last: 4 } }
";

pub(super) fn masked() -> Builder {
    World::builder().policy_text("masked.yaml", POLICY)
}

/// No part of a clear number in any byte that the client ever got.
fn nothing_clear(raw: &Raw, what: &str) {
    for secret in [
        "123-45", "987-65", "555-66", "45-6789", "65-4321", "66-7777",
    ] {
        let seen = raw
            .all()
            .windows(secret.len())
            .any(|at| at == secret.as_bytes());
        assert!(!seen, "{what} shows {secret}");
    }
}

/// The codes of the errors in an answer.
pub(super) fn codes(messages: &[Message]) -> Vec<String> {
    messages.iter().filter_map(Message::sqlstate).collect()
}

#[test]
fn a_masked_column_is_masked_on_every_way_out_of_the_extended_protocol() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut siege = Siege::lay(masked())?;
    let ask = "select id::text, ssn from people order by id";
    let all = |formats: &[u16], rows: u32| {
        [parse("", ask), bind("", "", formats), execute("", rows)].concat()
    };
    let described = |which: char, formats: &[u16]| {
        let mut bytes = parse("", ask);
        if which == 'S' {
            bytes.extend(about(b'D', 'S', ""));
        }
        bytes.extend(bind("", "", formats));
        if which == 'P' {
            bytes.extend(about(b'D', 'P', ""));
        }
        [bytes, execute("", 0), sync()].concat()
    };
    let piecewise = |formats: &[u16]| {
        let mut bytes = [parse("", ask), bind("cut", "", formats)].concat();
        for _ in 0..4 {
            bytes.extend(execute("cut", 1));
        }
        [bytes, sync()].concat()
    };
    // Each gives three masked rows.
    let ways: Vec<(&str, Vec<u8>)> = vec![
        ("text, not described", [all(&[], 0), sync()].concat()),
        ("binary, not described", [all(&[1], 0), sync()].concat()),
        ("mixed, not described", [all(&[0, 1], 0), sync()].concat()),
        ("text, statement described", described('S', &[])),
        ("binary, statement described", described('S', &[1])),
        ("text, portal described", described('P', &[])),
        ("binary, portal described", described('P', &[1, 1])),
        ("in pieces", piecewise(&[])),
        ("in pieces, binary", piecewise(&[1])),
        (
            "flushed before Sync",
            [all(&[1], 0), flush(), sync()].concat(),
        ),
        (
            "in two portals by turns",
            [
                parse("two", ask),
                bind("x", "two", &[]),
                bind("y", "two", &[1]),
                execute("x", 1),
                execute("y", 1),
                about(b'D', 'P', "y"),
                execute("x", 1),
                sync(),
            ]
            .concat(),
        ),
        (
            "described when half is fetched",
            [
                parse("", ask),
                bind("h", "", &[]),
                execute("h", 2),
                about(b'D', 'P', "h"),
                execute("h", 2),
                sync(),
            ]
            .concat(),
        ),
    ];
    for (what, bytes) in ways {
        let mut raw = siege.session()?;
        raw.send(&bytes)?;
        let seen = raw.up_to(b'Z')?;
        nothing_clear(&raw, what);
        let ends: Vec<_> = cells(&seen)
            .into_iter()
            .map(|row| row[1].clone().unwrap_or_default())
            .collect();
        assert_eq!(ends.len(), 3, "{what}: {}", kinds(&seen));
        for end in ends {
            assert!(
                ["***6789", "***4321", "***7777"].contains(&end.as_str()),
                "{what}: {end}"
            );
        }
        assert_eq!(answer(&raw.query("select 5")?), "5", "{what}");
    }
    // Without a Sync the answers come by Flush, masked as ever.
    let mut raw = siege.session()?;
    raw.send(&[all(&[1], 2), flush()].concat())?;
    let seen = raw.up_to(b's')?;
    assert_eq!(cells(&seen).len(), 2, "{}", kinds(&seen));
    raw.send(&[execute("", 0), flush()].concat())?;
    assert_eq!(cells(&raw.up_to(b'C')?).len(), 1);
    nothing_clear(&raw, "without Sync");
    // An unknown format cannot be judged.
    raw.send(
        &[
            parse("", ask),
            bind("", "", &[0, 7]),
            execute("", 0),
            sync(),
        ]
        .concat(),
    )?;
    let seen = raw.up_to(b'Z')?;
    assert_eq!(codes(&seen), ["08P01"], "{}", kinds(&seen));
    nothing_clear(&raw, "an unknown format");
    siege.unharmed("masked columns")
}

/// What is sent step by step, and how many masked rows must come; `None`: any number.
type Way = (&'static str, Vec<Vec<u8>>, Option<usize>);

#[test]
fn a_masked_column_is_masked_through_names_that_sql_gave() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut siege = Siege::lay(masked())?;
    let column = "select ssn from people order by id";
    let cursor = format!("begin; declare c scroll cursor for {column}");
    let binary = format!("begin; declare c binary scroll cursor for {column}");
    let prepared = format!("prepare p as {column}");
    // Masked, or refused: never clear.
    let ways: Vec<Way> = vec![
        (
            "EXECUTE",
            vec![query(&prepared), query("execute p")],
            Some(3),
        ),
        (
            "Bind of a SQL name",
            vec![
                query(&prepared),
                [bind("", "p", &[]), execute("", 0), sync()].concat(),
            ],
            Some(3),
        ),
        (
            "Bind of a SQL name, binary",
            vec![
                query(&prepared),
                [bind("", "p", &[1]), execute("", 0), sync()].concat(),
            ],
            Some(3),
        ),
        (
            "FETCH",
            vec![
                query(&cursor),
                query("fetch 2 from c"),
                query("fetch backward 1 from c"),
            ],
            Some(3),
        ),
        (
            "Execute of a cursor",
            vec![query(&cursor), [execute("c", 0), sync()].concat()],
            None,
        ),
        (
            "Execute of a cursor, in pieces",
            vec![
                query(&cursor),
                [execute("c", 1), execute("c", 2), sync()].concat(),
            ],
            None,
        ),
        (
            "Describe and Execute of a cursor",
            vec![
                query(&cursor),
                [about(b'D', 'P', "c"), execute("c", 0), sync()].concat(),
            ],
            None,
        ),
        (
            "a binary cursor",
            vec![query(&binary), query("fetch all from c")],
            None,
        ),
        (
            "a binary cursor by Execute",
            vec![query(&binary), [execute("c", 0), sync()].concat()],
            None,
        ),
        (
            "a cursor that outlives its transaction",
            vec![
                query(&format!("declare h cursor with hold for {column}")),
                [execute("h", 0), sync()].concat(),
            ],
            None,
        ),
        (
            "a cursor after its transaction",
            vec![
                query(&cursor),
                query("commit"),
                [execute("c", 0), sync()].concat(),
            ],
            Some(0),
        ),
        (
            "EXECUTE by Parse",
            vec![
                query(&prepared),
                [
                    parse("", "execute p"),
                    bind("", "", &[1]),
                    execute("", 0),
                    sync(),
                ]
                .concat(),
            ],
            None,
        ),
        (
            "FETCH by Parse",
            vec![
                query(&cursor),
                [
                    parse("", "fetch all from c"),
                    bind("", "", &[]),
                    execute("", 0),
                    sync(),
                ]
                .concat(),
            ],
            None,
        ),
        (
            "a portal read by FETCH",
            vec![
                query("begin"),
                [parse("", column), bind("port", "", &[]), sync()].concat(),
                query("fetch all from port"),
            ],
            None,
        ),
        (
            "COPY",
            vec![
                query("copy people to stdout"),
                query("copy (select ssn from people) to stdout (format binary)"),
            ],
            Some(0),
        ),
        (
            "COPY by Parse",
            vec![
                [
                    parse("", "copy people(ssn) to stdout"),
                    bind("", "", &[]),
                    execute("", 0),
                    sync(),
                ]
                .concat(),
            ],
            Some(0),
        ),
        (
            "EXPLAIN EXECUTE",
            vec![query(&prepared), query("explain analyze execute p")],
            None,
        ),
        (
            "CREATE TABLE AS EXECUTE",
            vec![
                query(&prepared),
                query("create temp table t as execute p"),
                query("select * from t"),
            ],
            Some(0),
        ),
        (
            "a name given anew",
            vec![
                query("prepare p as select name from people"),
                query(&format!("deallocate p; {prepared}; execute p")),
            ],
            None,
        ),
        (
            "an error's words",
            vec![
                query("select ssn::int from people"),
                query("select 1 / (ssn = '123' || '-45-6789')::int from people"),
            ],
            Some(0),
        ),
    ];
    for (what, steps, rows) in ways {
        let mut raw = siege.session()?;
        let mut came = 0;
        for step in steps {
            raw.send(&step)?;
            let seen = raw.up_to(b'Z')?;
            let sent = cells(&seen);
            for row in &sent {
                for cell in row.iter().flatten() {
                    let fine = cell.starts_with("***")
                        || !cell.contains('-')
                        || what.starts_with("EXPLAIN");
                    assert!(fine, "{what}: {cell}");
                }
            }
            came += sent.len();
        }
        // The last query quotes part of a number by itself, as its own text may be quoted back.
        nothing_clear(&raw, what);
        if let Some(rows) = rows {
            assert_eq!(came, rows, "{what}: {}", kinds(&Message::all(raw.all())));
        }
        raw.query("rollback")?;
        assert_eq!(answer(&raw.query("select 5")?), "5", "{what}");
    }
    siege.unharmed("names that SQL gave")
}
