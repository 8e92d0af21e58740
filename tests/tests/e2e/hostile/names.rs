//! Names of statements and portals: what they stand for, and when they end.

use anyhow::Result;
use node_agent_tests::client::{about, bind, cells, execute, kinds, parse, query, sync};

use super::super::agent_is_here;
use super::masked::{codes, masked};
use super::{CANARY, Siege, answer};

/// What comes first, the name that is then bound, and the value or the code that it must meet.
type Name = (
    &'static str,
    Vec<u8>,
    &'static str,
    Result<&'static str, &'static str>,
);

#[test]
fn a_name_stands_for_what_it_was_given_and_for_nothing_after_its_end() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut siege = Siege::lay(masked())?;
    let run = |name: &str| [bind("", name, &[]), execute("", 0), sync()].concat();
    let unknown = Err("26000");
    let table: [Name; 13] = [
        (
            "bound under another name",
            parse("a", "select 'a'"),
            "b",
            unknown,
        ),
        (
            "bound in another case",
            parse("a", "select 'a'"),
            "A",
            unknown,
        ),
        (
            "bound under its own name",
            parse("a", "select 'a'"),
            "a",
            Ok("a"),
        ),
        ("refused", parse("a", CANARY), "a", unknown),
        (
            "parsed again",
            [
                parse("a", "select 'one'"),
                sync(),
                parse("a", "select 'two'"),
            ]
            .concat(),
            "a",
            Ok("one"),
        ),
        (
            "closed",
            [parse("a", "select 'a'"), about(b'C', 'S', "a")].concat(),
            "a",
            unknown,
        ),
        (
            "closed and parsed again",
            [
                parse("a", "select 'one'"),
                about(b'C', 'S', "a"),
                parse("a", "select 'two'"),
            ]
            .concat(),
            "a",
            Ok("two"),
        ),
        (
            "prepared by SQL",
            query("prepare a as select 'sql'"),
            "a",
            Ok("sql"),
        ),
        (
            "prepared and deallocated by SQL",
            query("prepare a as select 'sql'; deallocate a"),
            "a",
            unknown,
        ),
        (
            "parsed, deallocated by SQL",
            [parse("a", "select 'a'"), sync(), query("deallocate all")].concat(),
            "a",
            unknown,
        ),
        (
            "discarded",
            [query("prepare a as select 'sql'"), query("discard all")].concat(),
            "a",
            unknown,
        ),
        // Prepared statements are outside transactions: a rollback keeps them.
        (
            "prepared, then rolled back",
            query("begin; prepare a as select 'sql'; rollback"),
            "a",
            Ok("sql"),
        ),
        (
            "prepared in a failed transaction",
            [
                query("begin"),
                query("select 1/0"),
                query("prepare a as select 1"),
                query("rollback"),
            ]
            .concat(),
            "a",
            unknown,
        ),
    ];
    for (what, first, name, expected) in table {
        let mut raw = siege.session()?;
        raw.send(&[first, sync()].concat())?;
        // The marker tells where the first part's answers end, however many they are.
        raw.send(&query("select 'marker'"))?;
        loop {
            let seen = raw.up_to(b'Z')?;
            if cells(&seen)
                .iter()
                .any(|row| row[0].as_deref() == Some("marker"))
            {
                break;
            }
        }
        raw.send(&run(name))?;
        let seen = raw.up_to(b'Z')?;
        match expected {
            Ok(value) => assert_eq!(answer(&seen), value, "{what}"),
            Err(code) => assert_eq!(codes(&seen), [code], "{what}: {}", kinds(&seen)),
        }
        assert_eq!(answer(&raw.query("select 5")?), "5", "{what}");
    }
    siege.unharmed("names")
}

#[test]
fn a_refused_name_is_not_there_for_what_is_pipelined_behind_it() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut siege = Siege::lay(masked())?;
    let mut raw = siege.session()?;
    // The name stood for something harmless; the refused text must not inherit it, nor it the text.
    raw.send(&[parse("a", "select 'old'"), sync()].concat())?;
    raw.up_to(b'Z')?;
    raw.send(
        &[
            about(b'C', 'S', "a"),
            parse("a", CANARY),
            bind("", "a", &[]),
            execute("", 0),
            sync(),
            bind("", "a", &[]),
            execute("", 0),
            sync(),
        ]
        .concat(),
    )?;
    let first = raw.up_to(b'Z')?;
    assert_eq!(codes(&first), ["42501"], "{}", kinds(&first));
    let second = raw.up_to(b'Z')?;
    assert_eq!(codes(&second), ["26000"], "{}", kinds(&second));
    // SQL names made and used in one go.
    for text in [
        "prepare p as insert into canary values (1); execute p",
        "prepare p(int) as select 1; execute p(1); deallocate p; prepare p(int) as insert into canary values ($1); execute p(1)",
        "execute nobody",
        "begin; declare c cursor for select x from canary; fetch c",
        "fetch all from nobody",
    ] {
        let seen = raw.query(text)?;
        assert!(!codes(&seen).is_empty(), "{text}: {}", kinds(&seen));
        raw.query("rollback")?;
    }
    assert_eq!(answer(&raw.query("select 5")?), "5");
    siege.unharmed("refused names")
}
