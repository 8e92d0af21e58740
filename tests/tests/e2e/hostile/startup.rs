//! Before login: requests for encryption, versions, lengths, parameters.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use node_agent_tests::client::{
    GSS_REQUEST, Raw, SSL_REQUEST, client_config, kinds, query, startup,
};
use node_agent_tests::world::WORTHLESS;
use node_agent_tests::{World, pg};

use super::super::agent_is_here;
use super::{AT_ONCE, ORDINARY, Siege, answer, canary, refused_with, with};

fn alpn(ca: &Path, names: &[&[u8]]) -> Result<rustls::ClientConfig> {
    let mut config = client_config(ca)?;
    config.alpn_protocols = names.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

#[test]
fn bytes_in_clear_behind_a_request_for_encryption_are_never_read() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut siege = Siege::lay(World::builder())?;
    for request in [SSL_REQUEST, GSS_REQUEST] {
        let mut raw = siege.raw()?;
        raw.send(&[request, &with(&[]), &canary()].concat())?;
        refused_with(&mut raw, "08P01", "bytes behind it", "stuffed bytes")?;
        assert_eq!(raw.all().first(), Some(&b'E'), "no yes and no no before it");
        siege.unharmed("bytes behind a request")?;
    }
    // Behind the answer, where a TLS handshake is due.
    let mut raw = siege.raw()?;
    raw.send(SSL_REQUEST)?;
    assert_eq!(raw.byte()?, Some(b'S'));
    raw.send(&[with(&[]), canary()].concat())?;
    let seen = raw.ended_within(AT_ONCE)?;
    assert!(!seen.windows(9).any(|at| at == b"R\0\0\0\x08\0\0\0\0"));
    siege.unharmed("clear bytes in place of a handshake")
}

#[test]
fn each_kind_of_encryption_is_asked_for_once() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut siege = Siege::lay(World::builder())?;
    let ca = siege.world.agent().node_ca();
    let mut raw = siege.raw()?;
    raw.ask_for_tls(client_config(&ca)?, pg::NAME)?;
    raw.send(SSL_REQUEST)?;
    refused_with(&mut raw, "08P01", "a second request", "TLS in TLS")?;
    let mut raw = siege.raw()?;
    raw.ask_for_tls(client_config(&ca)?, pg::NAME)?;
    raw.send(GSS_REQUEST)?;
    refused_with(&mut raw, "08P01", "a second request", "GSS in TLS")?;
    let mut raw = siege.raw()?;
    raw.send(GSS_REQUEST)?;
    assert_eq!(raw.byte()?, Some(b'N'));
    raw.send(GSS_REQUEST)?;
    refused_with(&mut raw, "08P01", "a second request", "GSS twice")?;
    let mut raw = siege.raw()?;
    raw.send(&GSS_REQUEST.repeat(1000))?;
    refused_with(&mut raw, "08P01", "bytes behind it", "GSS a thousand times")?;
    siege.unharmed("requests in a loop")?;
    // One of each, in libpq's order, is what drivers do.
    let mut raw = siege.raw()?;
    raw.send(GSS_REQUEST)?;
    assert_eq!(raw.byte()?, Some(b'N'));
    raw.ask_for_tls(client_config(&ca)?, pg::NAME)?;
    raw.login(pg::SERVICE, pg::DATABASE, WORTHLESS)?;
    assert_eq!(answer(&raw.query("select 'by tls'")?), "by tls");
    Ok(())
}

#[test]
fn tls_without_asking_needs_the_protocols_own_name() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut siege = Siege::lay(World::builder())?;
    let ca = siege.world.agent().node_ca();
    let mut raw = siege.raw()?;
    raw.secure(alpn(&ca, &[b"postgresql"])?, pg::NAME)?;
    raw.login(pg::SERVICE, pg::DATABASE, WORTHLESS)?;
    assert_eq!(answer(&raw.query("select 'direct'")?), "direct");
    let wrong: [&[&[u8]]; 4] = [&[], &[b"http/1.1"], &[b"h2", b"http/1.1"], &[b"PostgreSQL"]];
    for names in wrong {
        let mut raw = siege.raw()?;
        // The client of TLS 1.3 may believe in the handshake before the refusal has come.
        if raw.secure(alpn(&ca, names)?, pg::NAME).is_ok() {
            let _ = raw.send(&[with(&[]), canary()].concat());
            let seen = raw.ended_within(AT_ONCE).unwrap_or_default();
            assert_eq!(seen, b"", "{names:?}");
        }
        siege.unharmed("another ALPN name")?;
    }
    Ok(())
}

#[test]
fn only_versions_and_options_that_are_spoken_are_agreed_on() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut siege = Siege::lay(World::builder())?;
    for version in [(2, 0), (4, 0), (0, 0), (1234, 5681), (0xffff, 0xffff)] {
        let mut raw = siege.raw()?;
        raw.send(&startup(version, ORDINARY))?;
        refused_with(&mut raw, "0A000", "use 3.0 or 3.2", "a version")?;
    }
    // The version asked for, the one spoken, the bytes of its cancel key.
    let minors = [
        (0, None, 4),
        (1, Some(0), 4),
        (2, None, 32),
        (3, Some(2), 32),
        (9999, Some(2), 32),
    ];
    for (asked, told, secret) in minors {
        let mut raw = siege.raw()?;
        raw.send(&startup((3, asked), ORDINARY))?;
        let seen = raw.logged_in(WORTHLESS)?;
        let negotiated = seen.iter().find(|message| message.kind == b'v');
        let expected = told.map(|minor: u16| {
            let [high, low] = minor.to_be_bytes();
            vec![0, 3, high, low, 0, 0, 0, 0]
        });
        assert_eq!(negotiated.map(|m| m.body.clone()), expected, "3.{asked}");
        let key = seen.iter().find(|message| message.kind == b'K').unwrap();
        assert_eq!(key.body.len(), 4 + secret, "3.{asked}");
        assert_eq!(answer(&raw.query("select 1")?), "1", "3.{asked}");
    }
    let mut raw = siege.raw()?;
    raw.send(&with(&[("_pq_.test_grease", "x"), ("_pq_.other", "")]))?;
    let seen = raw.logged_in(WORTHLESS)?;
    let told = &seen.iter().find(|m| m.kind == b'v').unwrap().body;
    assert_eq!(
        told[..],
        *b"\0\x03\0\0\0\0\0\x02_pq_.test_grease\0_pq_.other\0"
    );
    siege.unharmed("versions")
}

#[test]
fn a_start_up_packet_that_cannot_be_is_closed_at_once_and_costs_nothing() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut siege = Siege::lay(World::builder())?;
    let before = siege.measure()?;
    let claims = [
        0_u32,
        1,
        2,
        3,
        4,
        5,
        6,
        7,
        10_001,
        0x7fff_ffff,
        0x8000_0000,
        u32::MAX,
    ];
    // 0x16 at the front is TLS; no length here begins with it.
    for claimed in claims {
        let mut raw = siege.raw()?;
        raw.send(&[&claimed.to_be_bytes()[..], &canary()].concat())?;
        let begun = Instant::now();
        refused_with(&mut raw, "08P01", "a length of", "an impossible length")?;
        assert!(begun.elapsed() < Duration::from_secs(1), "{claimed}");
    }
    // Many at once, each claiming much: nothing is set aside for a claim.
    let many: Vec<Raw> = (0..64)
        .map(|_| {
            let mut raw = siege.raw()?;
            raw.send(&10_000_u32.to_be_bytes())?;
            raw.send(b"\0\x03\0\0user\0")?;
            Ok(raw)
        })
        .collect::<Result<_>>()?;
    drop(many);
    let untyped = |body: &[u8]| {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&length.to_be_bytes(), body].concat()
    };
    let bodies: [(&[u8], &str, &str); 8] = [
        (b"\0\x03\0\0user\0svc\0database\0app\0", "08P01", ""),
        (b"\0\x03\0\0user\0svc", "08P01", ""),
        (b"\0\x03\0\0", "08P01", ""),
        (b"\0\x03\0\0user\0svc\0\0more\0", "08P01", ""),
        (b"\0\x03\0\0user\0\xff\xfe\0\0", "08P01", ""),
        (b"\0\x03\0\0database\0app\0\0", "28000", "no user name"),
        (b"\0\x03\0\0user\0svc\0user\0postgres\0\0", "08P01", "twice"),
        (
            b"\0\x03\0\0user\0svc\0database\0app\0database\0b\0\0",
            "08P01",
            "twice",
        ),
    ];
    for (body, code, words) in bodies {
        let mut raw = siege.raw()?;
        raw.send(&[untyped(body), canary()].concat())?;
        refused_with(&mut raw, code, words, &String::from_utf8_lossy(body))?;
    }
    siege.unharmed("impossible start-up packets")?;
    let grown = siege.peak()?.saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB");
    Ok(())
}

#[test]
fn only_harmless_settings_are_taken_at_start_up() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut siege = Siege::lay(World::builder().pg_settings("log_connections = on"))?;
    let connected = |siege: &Siege| {
        let log = siege.world.cluster().log();
        log.matches("connection authorized").count()
    };
    let refused = [
        ("role", "postgres"),
        ("session_authorization", "postgres"),
        ("session_preload_libraries", "evil"),
        ("standard_conforming_strings", "off"),
        ("backslash_quote", "on"),
        ("client_encoding", "SJIS"),
        ("client_encoding", "LATIN1"),
        ("row_security", "off"),
        ("options", "-crole=postgres"),
        ("options", "--session-authorization=postgres"),
        ("options", r"-c ro\le=postgres"),
        ("options", "-c role=postgres"),
        ("options", "-c standard_conforming_strings=off"),
        ("options", "-c client_encoding=SJIS"),
        ("options", "-c"),
        ("options", "-e"),
        // Replication: another protocol, in which nothing can be judged.
        ("replication", "database"),
        ("replication", "true"),
        ("replication", "on"),
        ("replication", "false"),
        ("Replication", "1"),
        ("options", "-c replication=database"),
    ];
    let before = connected(&siege);
    for (name, value) in refused {
        let mut raw = siege.raw()?;
        raw.send(&[with(&[(name, value)]), query("IDENTIFY_SYSTEM")].concat())?;
        refused_with(&mut raw, "0A000", "", &format!("{name}={value}"))?;
    }
    assert_eq!(connected(&siege), before, "the database was not even asked");
    let taken = [
        (
            "options",
            "-c statement_timeout=12345",
            "statement_timeout",
            "12345ms",
        ),
        (
            "options",
            "--lock-timeout=77ms -c geqo=off",
            "lock_timeout",
            "77ms",
        ),
        ("TimeZone", "Asia/Tokyo", "timezone", "Asia/Tokyo"),
        ("client_encoding", "'utf-8'", "client_encoding", "UTF8"),
        (
            "application_name",
            "x'; drop table canary; --",
            "application_name",
            "x'; drop table canary; --",
        ),
    ];
    for (name, value, setting, seen) in taken {
        let mut raw = siege.raw()?;
        raw.send(&with(&[(name, value)]))?;
        raw.logged_in(WORTHLESS)?;
        assert_eq!(answer(&raw.query(&format!("show {setting}"))?), seen);
    }
    // The replication protocol's commands are no SQL to a session.
    for command in ["IDENTIFY_SYSTEM", "BASE_BACKUP", "START_REPLICATION 0/0"] {
        let mut raw = siege.session()?;
        let seen = raw.query(command)?;
        assert!(
            seen.iter().any(|m| m.kind == b'E'),
            "{command}: {}",
            kinds(&seen)
        );
        assert!(!seen.iter().any(|m| m.kind == b'W'), "{command}");
        assert_eq!(answer(&raw.query("select 1")?), "1", "{command}");
    }
    siege.unharmed("settings")
}
