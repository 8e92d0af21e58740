//! Logins that take their time, many of them, and cancel requests.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use node_agent_tests::client::{Raw, SSL_REQUEST, client_config, error_field, query, startup};
use node_agent_tests::world::WORTHLESS;
use node_agent_tests::{World, pg};

use super::super::agent_is_here;
use super::{AT_ONCE, ORDINARY, Siege, answer, canary, with};

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
            8.0..15.0
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
