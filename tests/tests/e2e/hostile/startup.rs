//! Before login: requests for encryption, versions, lengths, parameters, cancel requests, time.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use node_agent_tests::client::{
    GSS_REQUEST, Raw, SSL_REQUEST, client_config, error_field, kinds, query, startup,
};
use node_agent_tests::world::WORTHLESS;
use node_agent_tests::{World, pg};

use super::super::agent_is_here;
use super::{AT_ONCE, Siege, answer, canary, refused_with};

const ORDINARY: &[(&str, &str)] = &[("user", pg::SERVICE), ("database", pg::DATABASE)];

fn with(more: &[(&str, &str)]) -> Vec<u8> {
    startup((3, 0), &[ORDINARY, more].concat())
}

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
fn a_login_has_ten_seconds_in_all_however_it_is_dribbled() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut siege = Siege::lay(World::builder().token_sources("[ { file: FILE }, password ]"))?;
    // For the password to be asked for.
    let token = std::fs::read_to_string(siege.world.token_file())?;
    let ca = siege.world.agent().node_ca();
    let silent = siege.raw()?;
    let dribbled = siege.raw()?;
    let mut in_tls = siege.raw()?;
    in_tls.send(SSL_REQUEST)?;
    assert_eq!(in_tls.byte()?, Some(b'S'));
    let mut covered = siege.raw()?;
    covered.ask_for_tls(client_config(&ca)?, pg::NAME)?;
    siege.world.set_token("")?;
    let asked = siege.raw()?;
    let dribble = |mut raw: Raw, bytes: Vec<u8>| {
        move || -> Result<Duration> {
            let begun = Instant::now();
            raw.stream()
                .set_read_timeout(Some(Duration::from_millis(400)))?;
            for byte in bytes.iter().chain(std::iter::repeat(&0)).take(100) {
                let gone = raw.send(&[*byte]).is_err();
                if gone || raw.ended_within(Duration::from_millis(400)).is_ok() {
                    return Ok(begun.elapsed());
                }
            }
            anyhow::bail!("still open after {:?}", begun.elapsed())
        }
    };
    let password = move || -> Result<Duration> {
        let mut raw = asked;
        let begun = Instant::now();
        // Most of the time goes by before the start-up packet is whole …
        thread::sleep(Duration::from_secs(7));
        raw.send(&with(&[]))?;
        let ask = raw.next()?.unwrap();
        assert_eq!((ask.kind, &ask.body[..]), (b'R', &b"\0\0\0\x03"[..]));
        // … and the password's time is what is left of it.
        raw.send(b"p\0\0\0\x20never")?;
        raw.ended_within(Duration::from_secs(6))?;
        Ok(begun.elapsed())
    };
    let threads = [
        ("silent", thread::spawn(dribble(silent, Vec::new()))),
        (
            "start-up",
            thread::spawn(dribble(dribbled, with(&[])[..30].to_vec())),
        ),
        (
            "hello",
            thread::spawn(dribble(in_tls, b"\x16\x03\x01\x02\0\x01\0\x01".to_vec())),
        ),
        (
            "covered",
            thread::spawn(dribble(covered, with(&[])[..30].to_vec())),
        ),
        ("password", thread::spawn(password)),
    ];
    siege.unharmed("slow logins")?;
    for (what, thread) in threads {
        let took = thread.join().unwrap().map_err(|e| e.context(what))?;
        let secs = took.as_secs_f32();
        let within = if what == "silent" {
            0.0..12.5
        } else {
            8.0..12.5
        };
        assert!(within.contains(&secs), "{what} took {took:?}");
    }
    siege.world.set_token(token.trim())?;
    siege.session()?;
    siege.unharmed("slow logins")
}

#[test]
fn half_open_logins_are_bounded_and_hurt_nobody() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    /// The agent's bound for one workload.
    const BOUND: usize = 1_000;
    let mut siege = Siege::lay(World::builder())?;
    let before = siege.measure()?;
    let half = &with(&[])[..20];
    let mut open = Vec::new();
    for _ in 0..150 {
        let mut raw = siege.raw()?;
        raw.send(half)?;
        open.push(raw);
    }
    let mut raw = siege.session()?;
    assert_eq!(
        answer(&raw.query("select 1")?),
        "1",
        "beside 150 half-open logins"
    );
    for _ in open.len()..BOUND + 100 {
        let mut raw = siege.raw()?;
        let _ = raw.send(half);
        open.push(raw);
    }
    siege.unharmed("a flood of half-open logins")?;
    let grown = siege.peak()?.saturating_sub(before);
    assert!(
        grown < 64 << 10,
        "{grown} KiB for {} connections",
        open.len()
    );
    // Those beyond the bound are closed unread; those within it wait for their own deadline.
    let last = open.last_mut().unwrap();
    last.ended_within(Duration::from_secs(2))?;
    assert!(open[0].ended_within(Duration::from_millis(10)).is_err());
    drop(open);
    node_agent_tests::until("there is room again", Duration::from_secs(5), || {
        Ok(siege.session().ok())
    })?;
    siege.unharmed("a flood of half-open logins")
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
        ("search_path", "evil"),
        ("role", "postgres"),
        ("session_authorization", "postgres"),
        ("session_preload_libraries", "evil"),
        ("standard_conforming_strings", "off"),
        ("backslash_quote", "on"),
        ("client_encoding", "SJIS"),
        ("client_encoding", "LATIN1"),
        ("row_security", "off"),
        ("options", "-c search_path=evil"),
        ("options", "-csearch_path=evil"),
        ("options", "--search-path=evil"),
        ("options", r"-c sea\rch_path=evil"),
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

/// A cancel request with this key.
fn cancel(key: &[u8]) -> Vec<u8> {
    let length = u32::try_from(key.len() + 8).unwrap();
    [&length.to_be_bytes()[..], b"\x04\xd2\x16\x2e", key].concat()
}

#[test]
fn a_cancel_request_works_with_the_sessions_own_key_and_is_else_met_with_silence() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut siege = Siege::lay(World::builder())?;
    for version in [(3, 0), (3, 2)] {
        let mut victim = siege.raw()?;
        victim.send(&startup(version, ORDINARY))?;
        let seen = victim.logged_in(WORTHLESS)?;
        let key = seen.iter().find(|m| m.kind == b'K').unwrap().body.clone();
        // The key is the agent's own: the database's would be of no use, and is not told.
        let own = answer(&victim.query("select pg_backend_pid()")?);
        assert_ne!(u32::from_be_bytes(key[..4].try_into()?).to_string(), own);
        victim.send(&query("select pg_sleep(60)"))?;
        let mut guesses = vec![
            [&key[..4], &[0, 0, 0, 0]].concat(),
            [&own.parse::<u32>()?.to_be_bytes()[..], &key[4..]].concat(),
            [&key[..4], &[7; 32]].concat(),
            [&key[..4], &[7; 256]].concat(),
            [&key[..4], &[7; 257]].concat(),
            [&key[..4], &[7; 2000]].concat(),
            [&key[..], &[0]].concat(),
            key[..key.len() - 1].to_vec(),
            key[..4].to_vec(),
            Vec::new(),
        ];
        let mut flipped = key.clone();
        *flipped.last_mut().unwrap() ^= 1;
        guesses.push(flipped);
        for guess in guesses {
            let mut raw = siege.raw()?;
            raw.send(&[cancel(&guess), canary()].concat())?;
            let said = raw.ended_within(AT_ONCE)?;
            // What no key can be is answered as any garbled packet is; a guess is not answered.
            let possible = (8..=260).contains(&guess.len());
            assert_eq!(possible, said.is_empty(), "{guess:?}");
        }
        siege.unharmed("guessed cancel keys")?;
        // Told outside, it opens nothing: it is not the database's.
        let mut direct = Raw::connect(siege.world.cluster().address())?;
        direct.send(&cancel(&key))?;
        direct.ended_within(AT_ONCE)?;
        let busy = siege.truth(&format!(
            "select state from pg_stat_activity where pid = {own}"
        ))?;
        assert_eq!(busy, "active", "no guess has stopped it");
        // A flood with the right one does what one does, and the next statement is not hit.
        let flood: Vec<Raw> = (0..20)
            .map(|_| {
                let mut raw = siege.raw()?;
                raw.send(&cancel(&key))?;
                Ok(raw)
            })
            .collect::<Result<_>>()?;
        let seen = victim.up_to(b'Z')?;
        let error = seen.iter().find(|m| m.kind == b'E').unwrap();
        assert_eq!(error_field(&error.body, b'C').as_deref(), Some("57014"));
        for mut raw in flood {
            assert_eq!(raw.ended_within(Duration::from_secs(5))?, b"");
        }
        assert_eq!(answer(&victim.query("select 7")?), "7");
        drop(victim);
        // A key ends with its session.
        let mut raw = siege.raw()?;
        raw.send(&cancel(&key))?;
        assert_eq!(raw.ended_within(AT_ONCE)?, b"");
    }
    siege.unharmed("cancel requests")
}
