//! Floods: what one session can make the agent hold.

use std::time::Duration;

use anyhow::Result;
use node_agent_tests::World;
use node_agent_tests::client::{Message, Raw, bind, execute, kinds, parse, query, sync};

use super::super::agent_is_here;
use super::{Siege, answer, canary, refused_with};

/// Sends much while answers come, so that neither side waits for the other for ever.
fn pour(raw: &mut Raw, bytes: Vec<u8>, ends: usize) -> Result<Vec<Message>> {
    let mut writer = Raw::new(raw.stream().try_clone()?)?;
    let sending = std::thread::spawn(move || writer.send(&bytes));
    let mut others = Vec::new();
    let mut ended = 0;
    while ended < ends {
        match raw.next()? {
            Some(message) if message.kind == b'Z' => ended += 1,
            Some(message) => others.push(message),
            None => anyhow::bail!("ended after {ended} of {ends}"),
        }
    }
    sending.join().unwrap()?;
    Ok(others)
}

#[test]
fn a_flood_of_syncs_is_answered_one_by_one_in_bounded_memory() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut siege = Siege::lay(World::builder())?;
    let mut raw = siege.session()?;
    let before = siege.measure()?;
    let others = pour(&mut raw, sync().repeat(300_000), 300_000)?;
    assert_eq!(kinds(&others), "");
    assert_eq!(answer(&raw.query("select 1")?), "1");
    // And one that reads nothing at all.
    let mut deaf = siege.session()?;
    deaf.stream()
        .set_write_timeout(Some(Duration::from_secs(1)))?;
    let _ = deaf.send(&sync().repeat(4_000_000));
    siege.unharmed("a flood of Syncs")?;
    let grown = siege.peak()?.saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB");
    drop(deaf);
    siege.unharmed("a flood of Syncs")
}

#[test]
fn a_session_may_have_so_many_names_and_no_more() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut siege = Siege::lay(World::builder())?;
    let mut raw = siege.session()?;
    let before = siege.measure()?;
    let count = 30_000;
    let bytes = (0..count)
        .flat_map(|number| [parse(&format!("name_{number}"), "select 1"), sync()].concat())
        .collect();
    let seen = pour(&mut raw, bytes, count)?;
    let kept = seen.iter().filter(|message| message.kind == b'1').count();
    let refused = seen
        .iter()
        .filter(|message| message.sqlstate().as_deref() == Some("54000"))
        .count();
    assert_eq!((kept, refused), (10_000, count - 10_000));
    raw.send(&[bind("", "name_9999", &[]), execute("", 0), sync()].concat())?;
    assert_eq!(answer(&raw.up_to(b'Z')?), "1");
    raw.send(&[bind("", "name_10000", &[]), sync()].concat())?;
    assert_eq!(raw.up_to(b'Z')?[0].sqlstate().as_deref(), Some("26000"));
    siege.unharmed("a flood of names")?;
    let grown = siege.peak()?.saturating_sub(before);
    assert!(grown < 96 << 10, "{grown} KiB");
    // Names of large texts are bounded by their bytes.
    let mut raw = siege.session()?;
    let before = siege.measure()?;
    let large = format!("select 1 /* {} */", "x".repeat(200 << 10));
    let bytes = (0..600)
        .flat_map(|number| [parse(&format!("large_{number}"), &large), sync()].concat())
        .collect();
    let seen = pour(&mut raw, bytes, 600)?;
    let refused = seen.iter().filter(|message| message.kind == b'E').count();
    assert!(refused > 0, "120 MB of texts were all kept");
    siege.unharmed("large texts under names")?;
    let grown = siege.peak()?.saturating_sub(before);
    assert!(grown < 128 << 10, "{grown} KiB");
    Ok(())
}

#[test]
fn a_claim_buys_no_memory_and_the_most_parameters_still_pass() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut siege = Siege::lay(World::builder())?;
    let before = siege.measure()?;
    // A Bind that says 1 GB, and one that says a value of 1 GB inside a small frame.
    for _ in 0..8 {
        let mut raw = siege.session()?;
        raw.send(&[&b"B"[..], &0x3fff_fffe_u32.to_be_bytes(), b"\0\0\0\0"].concat())?;
        refused_with(&mut raw, "54000", "larger than the limit", "a Bind of 1 GB")?;
        let mut raw = siege.session()?;
        let value = b"\0\0\0\0\0\x01\x3f\xff\xff\xff".to_vec();
        raw.send(
            &[
                parse("", "select $1::text"),
                Message::frame(b'B', &value),
                canary(),
            ]
            .concat(),
        )?;
        let seen = raw.ended_within(Duration::from_secs(2))?;
        let last = Message::all(&seen).pop().unwrap();
        assert_eq!(last.sqlstate().as_deref(), Some("08P01"));
        // As many claims as fit into the count, and not one value.
        let mut raw = siege.session()?;
        let counts = b"\0\0\0\0\xff\xff".to_vec();
        raw.send(
            &[
                parse("", "select 1"),
                Message::frame(b'B', &counts),
                canary(),
            ]
            .concat(),
        )?;
        let seen = raw.ended_within(Duration::from_secs(2))?;
        let last = Message::all(&seen).pop().unwrap();
        assert_eq!(last.sqlstate().as_deref(), Some("08P01"));
        // A message just within the limit, of which one byte comes.
        let mut raw = siege.session()?;
        raw.send(&[&b"Q"[..], &(16_u32 << 20).to_be_bytes()[..], b"s"].concat())?;
        drop(raw);
    }
    siege.unharmed("claims")?;
    let grown = siege.peak()?.saturating_sub(before);
    assert!(grown < 48 << 10, "{grown} KiB");
    // 65,535 is what the protocol can count to.
    let mut raw = siege.session()?;
    let most = usize::from(u16::MAX);
    let text = "select 1 where $1::text is not null or $65535::text is null";
    let mut body = b"\0\0\0\0\xff\xff".to_vec();
    body.extend(b"\0\0\0\x01x".repeat(most));
    body.extend(b"\0\0");
    let mut prepare = format!("\0{text}\0").into_bytes();
    prepare.extend(u16::MAX.to_be_bytes());
    prepare.extend(25_u32.to_be_bytes().repeat(most));
    let all = [
        Message::frame(b'P', &prepare),
        Message::frame(b'B', &body),
        execute("", 0),
        sync(),
    ];
    raw.send(&all.concat())?;
    assert_eq!(answer(&raw.up_to(b'Z')?), "1");
    assert_eq!(answer(&raw.query("select 2")?), "2");
    siege.unharmed("65,535 parameters")
}

#[test]
fn a_client_that_does_not_read_holds_up_nobody_and_little_memory() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut siege = Siege::lay(World::builder())?;
    let before = siege.measure()?;
    let mut deaf = Vec::new();
    for _ in 0..8 {
        let mut raw = siege.session()?;
        raw.send(&query(
            "select repeat('x', 10000) from generate_series(1, 1000000)",
        ))?;
        deaf.push(raw);
    }
    std::thread::sleep(Duration::from_secs(1));
    siege.unharmed("answers that nobody reads")?;
    let grown = siege.peak()?.saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB for {} sessions", deaf.len());
    Ok(())
}
