//! The end: goodbyes, half closed connections, resets, in the middle of whatever there is.

use std::net::Shutdown;
use std::time::Duration;

use anyhow::Result;
use node_agent_tests::client::{Message, bind, execute, flush, parse, query, startup};
use node_agent_tests::world::WORTHLESS;
use node_agent_tests::{World, pg};

use super::super::agent_is_here;
use super::{AT_ONCE, CANARY, Siege, canary};

#[test]
fn nothing_behind_a_goodbye_is_read() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut siege = Siege::lay(World::builder())?;
    let goodbye = Message::frame(b'X', b"");
    let mut raw = siege.session()?;
    raw.send(&[goodbye.clone(), canary()].concat())?;
    assert_eq!(raw.ended_within(AT_ONCE)?, b"");
    let mut raw = siege.session()?;
    raw.query("begin")?;
    raw.query(CANARY)?;
    raw.send(&[goodbye, query("commit")].concat())?;
    raw.ended_within(AT_ONCE)?;
    siege.unharmed("a goodbye")
}

#[test]
fn however_a_client_leaves_its_work_is_rolled_back_and_its_backend_gone() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut siege = Siege::lay(World::builder())?;
    let me = "leaving";
    let ways = ["goodbye", "half closed", "reset", "dropped"];
    let doing: [(&str, Vec<u8>); 6] = [
        ("nothing", Vec::new()),
        ("a transaction", Vec::new()),
        ("a long statement", query("select pg_sleep(60)")),
        (
            "a long statement, extended",
            [
                parse("", "select pg_sleep(60)"),
                bind("", "", &[]),
                execute("", 0),
                flush(),
            ]
            .concat(),
        ),
        (
            "a copy",
            [
                query("copy canary from stdin"),
                Message::frame(b'd', b"1\n2\n"),
            ]
            .concat(),
        ),
        (
            "a large answer",
            query("select repeat('x', 1000) from generate_series(1, 1000000)"),
        ),
    ];
    for way in ways {
        for (what, bytes) in &doing {
            let mut raw = siege.raw()?;
            let pairs = [
                ("user", pg::SERVICE),
                ("database", pg::DATABASE),
                ("application_name", me),
            ];
            raw.send(&startup((3, 0), &pairs))?;
            raw.logged_in(WORTHLESS)?;
            if *what != "nothing" {
                raw.query("begin")?;
                raw.query(CANARY)?;
            }
            raw.send(bytes)?;
            if *what == "a copy" || *what == "a large answer" {
                assert!(raw.next()?.is_some());
            }
            match way {
                "goodbye" => raw.message(b'X', b"")?,
                "half closed" => raw.stream().shutdown(Shutdown::Write)?,
                "reset" => {
                    raw.reset()?;
                    siege
                        .backends_gone(me)
                        .map_err(|e| e.context(format!("{way} {what}")))?;
                    continue;
                }
                _ => {
                    drop(raw);
                    siege
                        .backends_gone(me)
                        .map_err(|e| e.context(format!("{way} {what}")))?;
                    continue;
                }
            }
            if *what == "a large answer" {
                // Behind an answer that it does not read, a client's goodbye is not heard, as
                // PostgreSQL does not hear it either.
                raw.ended_within(Duration::from_secs(10))
                    .map_err(|e| e.context(format!("{way} {what}")))?;
            }
            // Whoever still holds the socket is closed too, and holds nothing up.
            siege
                .backends_gone(me)
                .map_err(|e| e.context(format!("{way} {what}")))?;
            raw.ended_within(Duration::from_secs(5))
                .map_err(|e| e.context(format!("{way} {what}")))?;
        }
        siege.unharmed(way)?;
    }
    // Half a message, then nothing.
    let mut raw = siege.session()?;
    raw.send(&canary()[..12])?;
    raw.stream().shutdown(Shutdown::Write)?;
    raw.ended_within(AT_ONCE)?;
    siege.unharmed("half a message")
}
