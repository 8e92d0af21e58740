//! After login: types, lengths, order, errors in the extended protocol, function calls.

use anyhow::Result;
use node_agent_tests::client::{
    Message, about, bind, execute, flush, kinds, parse, query, startup, sync,
};
use node_agent_tests::world::{Builder, WORTHLESS};
use node_agent_tests::{World, pg};

use super::super::agent_is_here;
use super::{CANARY, Siege, answer, canary, refused_with};

/// Nothing may touch `canary`; `plain` is free.
const POLICY: &str = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: hostile }
mode: enforce
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
rules:
  - { name: free, effect: allow, statements: [read, write, transaction, set, discard], tables: ['public.plain'] }
  - { name: canary, effect: deny, statements: ['*'], tables: ['public.canary'] }
";

fn guarded() -> Builder {
    World::builder().policy_text("hostile.yaml", POLICY)
}

#[test]
fn a_message_that_no_client_may_send_ends_the_session() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut siege = Siege::lay(World::builder())?;
    // Unknown types; passwords after login; copy data outside a copy; what only servers say.
    for kind in b"z\0\xff ~pdcfRTKZ1GWANIvV23nst".iter().copied() {
        let mut raw = siege.session()?;
        raw.send(&[Message::frame(kind, b"a\0"), canary()].concat())?;
        let what = format!("type {:?}", char::from(kind));
        refused_with(&mut raw, "08P01", "the client broke the protocol", &what)?;
        // The first byte is enough.
        let mut raw = siege.session()?;
        if !b"dcf".contains(&kind) {
            raw.send(&[kind])?;
            refused_with(&mut raw, "08P01", "the client broke the protocol", &what)?;
        }
    }
    // A start-up packet, a cancel request, a request for TLS: their time is over.
    for late in [
        startup((3, 0), &[("user", pg::SERVICE)]),
        b"\0\0\0\x08\x04\xd2\x16\x2f".to_vec(),
        b"\x16\x03\x01\x02\0\x01\0\x01".to_vec(),
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
    ] {
        let mut raw = siege.session()?;
        raw.send(&[late.clone(), canary()].concat())?;
        refused_with(&mut raw, "08P01", "", &String::from_utf8_lossy(&late))?;
    }
    siege.unharmed("messages that no client sends")
}

#[test]
fn a_length_that_cannot_be_ends_the_session_before_the_message_comes() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut siege = Siege::lay(World::builder())?;
    let before = siege.measure()?;
    for kind in b"QPBECDHSXF".iter().copied() {
        for claimed in [0_u32, 1, 3, 1 << 30, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
            let mut raw = siege.session()?;
            raw.send(&[&[kind][..], &claimed.to_be_bytes(), &canary()].concat())?;
            let what = format!("{:?} of {claimed}", char::from(kind));
            refused_with(&mut raw, "08P01", "a message length", &what)?;
        }
    }
    // Possible and too large: told so at once, without waiting for the bytes.
    for claimed in [(16 << 20) + 1, 1 << 24 | 0x51, (1 << 30) - 1] {
        for kind in *b"QPBF" {
            let mut raw = siege.session()?;
            let claimed: u32 = claimed;
            raw.send(&[&[kind][..], &claimed.to_be_bytes(), &canary()].concat())?;
            let what = format!("{:?} of {claimed}", char::from(kind));
            refused_with(&mut raw, "54000", "larger than the limit", &what)?;
        }
        let mut raw = siege.session()?;
        raw.send(&[&b"S"[..], &claimed.to_be_bytes(), &canary()].concat())?;
        refused_with(&mut raw, "08P01", "a short message", "a long Sync")?;
    }
    siege.unharmed("impossible lengths")?;
    let grown = siege.peak()?.saturating_sub(before);
    assert!(grown < 48 << 10, "{grown} KiB");
    Ok(())
}

#[test]
fn a_text_ends_at_its_first_nul_and_nothing_may_stand_behind_it() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut siege = Siege::lay(World::builder())?;
    let text = format!("select 1\0; {CANARY}\0");
    let frames: [(&str, Vec<u8>); 9] = [
        ("NUL inside a Query", Message::frame(b'Q', text.as_bytes())),
        ("a Query without its NUL", Message::frame(b'Q', b"select 1")),
        ("an empty Query", Message::frame(b'Q', b"")),
        ("two NULs", Message::frame(b'Q', b"select 1\0\0")),
        (
            "NUL inside a Parse",
            Message::frame(b'P', format!("\0{text}\0\0").as_bytes()),
        ),
        (
            "a Parse without its types",
            Message::frame(b'P', b"\0select 1\0"),
        ),
        (
            "a Parse of 9 types",
            Message::frame(b'P', b"\0select 1\0\0\x09"),
        ),
        ("a Sync with a body", Message::frame(b'S', b"x")),
        (
            "an Execute without its NUL",
            Message::frame(b'E', b"\0\0\0\0"),
        ),
    ];
    for (what, frame) in frames {
        let mut raw = siege.session()?;
        raw.send(&[frame, canary()].concat())?;
        refused_with(&mut raw, "08P01", "the client broke the protocol", what)?;
    }
    // Bytes that are no UTF-8: the statement alone fails.
    let mut raw = siege.session()?;
    raw.send(&Message::frame(b'Q', b"select '\x95\x5c', 1\0"))?;
    let seen = raw.up_to(b'Z')?;
    assert_eq!(kinds(&seen).chars().next(), Some('E'), "{}", kinds(&seen));
    assert_eq!(answer(&raw.query("select 1")?), "1");
    siege.unharmed("NULs")
}

#[test]
fn what_is_pipelined_is_answered_in_its_order_and_waits_for_what_is_before_it() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut siege = Siege::lay(guarded())?;
    let ordinary = startup((3, 0), &[("user", pg::SERVICE), ("database", pg::DATABASE)]);
    // Behind the start-up packet: answered after the welcome.
    let mut raw = siege.raw()?;
    raw.send(&[ordinary.clone(), query("select 'early'")].concat())?;
    raw.logged_in(WORTHLESS)?;
    assert_eq!(answer(&raw.up_to(b'Z')?), "early");
    // 300 statements, every third refused in its place.
    let mut all = Vec::new();
    for number in 0..300 {
        all.extend(match number % 3 {
            2 => canary(),
            _ => query(&format!("select {number}")),
        });
    }
    raw.send(&all)?;
    for number in 0..300 {
        let seen = raw.up_to(b'Z')?;
        match number % 3 {
            2 => assert_eq!(seen[0].sqlstate().as_deref(), Some("42501"), "{number}"),
            _ => assert_eq!(answer(&seen), number.to_string()),
        }
    }
    siege.unharmed("a pipeline")?;
    // Behind a start-up packet whose password is still due, a query is no password.
    let token = std::fs::read_to_string(siege.world.token_file())?;
    siege.world.set_token("")?;
    let mut raw = siege.raw()?;
    raw.send(&[ordinary, query("select 1"), canary()].concat())?;
    let first = raw.next()?.unwrap();
    assert_eq!((first.kind, &first.body[..]), (b'R', &b"\0\0\0\x03"[..]));
    refused_with(
        &mut raw,
        "08P01",
        "the password that was asked for",
        "a query",
    )?;
    siege.world.set_token(token.trim())?;
    siege.unharmed("a query in place of a password")
}

#[test]
fn several_statements_in_one_query_run_all_or_none() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut siege = Siege::lay(guarded())?;
    let mut raw = siege.session()?;
    let refused = [
        format!("insert into plain values (1); {CANARY}"),
        format!("; {CANARY}"),
        format!(";;\n-- nothing\n;{CANARY};"),
        format!("insert into plain values (1); ; /* {CANARY} */ {CANARY}"),
        format!("begin; insert into plain values (1); commit; {CANARY}"),
        "insert into plain values (1); insert into plain values (2); select * from canary"
            .to_owned(),
        "insert into plain values (1); drop table plain".to_owned(),
        format!("/* /* nested */ {CANARY}; */ insert into plain values (1); {CANARY}"),
        "insert into plain values (1); select (".to_owned(),
        format!("with w as ({CANARY} returning x) select * from w"),
    ];
    for text in refused {
        let seen = raw.query(&text)?;
        assert_eq!(
            kinds(&seen).chars().next(),
            Some('E'),
            "{text}: {}",
            kinds(&seen)
        );
        assert_eq!(seen.last().unwrap().body, b"I", "{text}");
        assert_eq!(siege.truth("select count(*) from plain")?, "0", "{text}");
    }
    for text in [
        "",
        ";",
        " ;; ",
        "-- nothing",
        "/* nothing /* at all */ */",
        "-- a\n;",
    ] {
        let seen = raw.query(text)?;
        assert_eq!(kinds(&seen), "I Z", "{text:?}");
    }
    let seen = raw.query(&format!(
        "select 1 /* ; {CANARY} */; insert into plain values (5), (6); select ';'"
    ))?;
    assert_eq!(kinds(&seen), "T D C C T D C Z");
    assert_eq!(siege.truth("select count(*) from plain")?, "2");
    siege.unharmed("several statements")
}

#[test]
fn after_an_error_everything_up_to_sync_is_skipped_and_the_stream_stays_true() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut siege = Siege::lay(guarded())?;
    // What fails: at the database, at the agent (refused), at the agent (unknown name).
    let failing: [(&str, Vec<u8>, &str); 5] = [
        ("a wrong text", parse("", "select nothing"), "42703"),
        ("a refused text", parse("", CANARY), "42501"),
        ("an unknown statement", bind("", "nobody", &[]), "26000"),
        ("an unknown portal", execute("nobody", 0), "34000"),
        (
            "a failing run",
            [parse("", "select 1/0"), bind("", "", &[]), execute("", 0)].concat(),
            "22012",
        ),
    ];
    let behind = [
        parse("", "insert into plain values (9)"),
        bind("", "", &[]),
        about(b'D', 'P', ""),
        execute("", 0),
        flush(),
        about(b'C', 'S', "kept"),
        parse("", CANARY),
        bind("", "", &[]),
        execute("", 0),
    ]
    .concat();
    let good = [
        parse("", "select 41 + 1"),
        bind("", "", &[]),
        about(b'D', 'P', ""),
        execute("", 0),
        sync(),
    ]
    .concat();
    for (what, fails, code) in failing {
        for within in [false, true] {
            let mut raw = siege.session()?;
            raw.send(&[parse("kept", "select 'kept'"), sync()].concat())?;
            raw.up_to(b'Z')?;
            if within {
                raw.query("begin")?;
                raw.query("insert into plain values (8)")?;
            }
            // A query behind the Sync is of the next segment, and is sent along.
            raw.send(&[fails.clone(), behind.clone(), sync(), good.clone()].concat())?;
            let seen = raw.up_to(b'Z')?;
            let at = seen.len() - 2;
            assert_eq!(
                seen[at].sqlstate().as_deref(),
                Some(code),
                "{what}: {}",
                kinds(&seen)
            );
            let failed = seen.iter().filter(|m| m.kind == b'E').count();
            assert_eq!(failed, 1, "{what}: {}", kinds(&seen));
            assert_eq!(
                seen[at + 1].body,
                if within { b"E" } else { b"I" },
                "{what}"
            );
            let next = raw.up_to(b'Z')?;
            if within {
                assert_eq!(
                    next[0].sqlstate().as_deref(),
                    Some("25P02"),
                    "{what}: {}",
                    kinds(&next)
                );
                raw.query("rollback")?;
                raw.send(&good)?;
                assert_eq!(answer(&raw.up_to(b'Z')?), "42", "{what}");
            } else {
                assert_eq!(answer(&next), "42", "{what}");
            }
            // The Close that was skipped closed nothing, here and there.
            raw.send(&[bind("", "kept", &[]), execute("", 0), sync()].concat())?;
            assert_eq!(answer(&raw.up_to(b'Z')?), "kept", "{what}");
            assert_eq!(answer(&raw.query("select 6 * 7")?), "42", "{what}");
            assert_eq!(siege.truth("select count(*) from plain")?, "0", "{what}");
        }
    }
    siege.unharmed("errors in the extended protocol")
}

#[test]
fn a_function_call_message_is_always_refused() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    // Even where everything is allowed: it runs code without a text that could be judged.
    let mut siege = Siege::lay(World::builder())?;
    let oid: u32 = siege
        .truth("select 'upper(text)'::regprocedure::oid")?
        .parse()?;
    let call = [&oid.to_be_bytes()[..], b"\0\0\0\x01\0\0\0\x06marker\0\0"].concat();
    let mut raw = siege.session()?;
    for body in [&call[..], b"", b"\xff\xff\xff\xff\xff\xff\xff\xff"] {
        raw.send(&Message::frame(b'F', body))?;
        let seen = raw.up_to(b'Z')?;
        assert_eq!(kinds(&seen[1..]), "Z");
        assert_eq!(seen[0].sqlstate().as_deref(), Some("0A000"));
        assert_eq!(answer(&raw.query("select 1")?), "1");
    }
    // In a transaction it fails the transaction, as an error does.
    raw.query("begin")?;
    raw.send(&Message::frame(b'F', &call))?;
    assert_eq!(raw.up_to(b'Z')?.last().unwrap().body, b"E");
    raw.query("rollback")?;
    assert_eq!(answer(&raw.query("select 1")?), "1");
    assert!(!raw.all().windows(6).any(|at| at == b"MARKER"));
    siege.unharmed("function calls")
}
