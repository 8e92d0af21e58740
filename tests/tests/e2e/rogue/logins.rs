//! Before the session: TLS refused or faked, proofs missing or wrong, logins without an end.

use std::time::Duration;

use anyhow::Result;
use node_agent_tests::ca::TestCa;
use node_agent_tests::client::{Message, startup};
use node_agent_tests::upstream::{Scripted, Step, login_accepted};
use node_agent_tests::{World, metrics, pg};

use super::super::agent_is_here;
use super::{Den, Rogue, Way, misleading, says};

fn hear() -> Step {
    Step::HearUntyped
}

fn say(bytes: &[u8]) -> Step {
    Step::Say(bytes.to_vec())
}

/// What a server in clear can do where TLS is due.
fn without_tls() -> Result<Vec<(Rogue, &'static str)>> {
    let no = "the database does not offer TLS";
    let table: Vec<(&'static str, Vec<Step>, &'static str)> = vec![
        ("no-tls", vec![hear(), say(b"N"), Step::HearToEnd], no),
        (
            "no-tls-and-on",
            vec![hear(), say(b"N"), hear(), Step::Say(login_accepted())],
            no,
        ),
        (
            "error-before-tls",
            vec![hear(), Step::Say(misleading())],
            no,
        ),
        (
            "bytes-behind-yes",
            vec![
                hear(),
                Step::Say([b"S".to_vec(), login_accepted()].concat()),
            ],
            "bytes behind it",
        ),
        (
            "yes-and-clear",
            vec![
                hear(),
                say(b"S"),
                Step::HearUntyped,
                Step::Say(login_accepted()),
            ],
            "TLS to the database",
        ),
        (
            "yes-and-error",
            vec![hear(), say(b"S"), Step::Say(misleading()), Step::HearToEnd],
            "",
        ),
        ("another-byte", vec![hear(), say(b"G")], "another byte"),
        (
            "yes-and-gone",
            vec![hear(), say(b"S")],
            "TLS to the database",
        ),
        ("gone", vec![hear()], "closed the connection during login"),
        ("speaks-first", vec![say(b"SSSS"), Step::HearToEnd], ""),
    ];
    table
        .into_iter()
        .map(|(name, script, log)| Ok((Rogue::new(name, script)?, log)))
        .collect()
}

fn all_fail(
    world: node_agent_tests::world::Builder,
    rogues: Vec<(Rogue, &'static str)>,
    tls: &'static str,
) -> Result<()> {
    let (rogues, logs): (Vec<_>, Vec<_>) = rogues.into_iter().unzip();
    let mut den = Den::open(world, &rogues, Way::Tls(tls))?;
    for (rogue, log) in rogues.iter().zip(logs) {
        den.login_fails(rogue, log)?;
    }
    den.kept_secret(&rogues);
    Ok(())
}

#[test]
fn a_server_that_refuses_or_fakes_tls_is_left_where_tls_must_be() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    all_fail(World::builder(), without_tls()?, "require")
}

#[test]
fn a_server_that_is_not_the_one_named_is_left_before_it_learns_anything() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let (trusted, other) = (TestCa::new()?, TestCa::new()?);
    let place = tempfile::tempdir()?;
    let ca = trusted.write(place.path())?;
    let script = |step: Step| {
        vec![
            hear(),
            Step::Say(b"S".to_vec()),
            step,
            hear(),
            Step::Say(login_accepted()),
        ]
    };
    let mut rogues = without_tls()?;
    let refused = "TLS to the database";
    for (name, leaf) in [
        ("another-name", trusted.leaf(&["other.test", "127.0.0.1"])?),
        ("another-authority", other.leaf(&[pg::NAME, "127.0.0.1"])?),
    ] {
        rogues.push((Rogue::new(name, script(Step::secure(&leaf)?))?, refused));
    }
    all_fail(World::builder().servers_ca(&ca), rogues, "verify-full")
}

/// The client's nonce in what was heard of a SCRAM login.
fn nonce(heard: &[u8]) -> String {
    let text = String::from_utf8_lossy(heard);
    let from = text.rfind(",r=").map_or(0, |at| at + 3);
    text[from..]
        .chars()
        .take_while(|c| c.is_ascii_graphic() && *c != ',')
        .collect()
}

fn challenge(text: &str) -> Vec<u8> {
    says(b'R', &[&11_u32.to_be_bytes()[..], text.as_bytes()].concat())
}

fn scram_first(heard: &[u8]) -> Vec<u8> {
    challenge(&format!("r={}server,s=c2FsdHNhbHQ=,i=4096", nonce(heard)))
}

#[test]
fn a_server_that_cannot_prove_that_it_knows_the_password_is_left() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let offer = say(&says(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0"));
    let p = || Step::HearUpTo(b'p');
    let wrong = says(
        b'R',
        b"\0\0\0\x0cv=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    );
    let accepted = || Step::Say(login_accepted());
    let first = || Step::Answer(scram_first);
    let table: Vec<(&'static str, Vec<Step>, &'static str)> = vec![
        ("trusts", vec![hear(), accepted()], "without a proof"),
        (
            "clear-password",
            vec![hear(), say(&says(b'R', b"\0\0\0\x03")), p(), accepted()],
            "in clear",
        ),
        (
            "md5",
            vec![hear(), say(&says(b'R', b"\0\0\0\x05salt")), p(), accepted()],
            "md5",
        ),
        (
            "skips-challenge",
            vec![hear(), offer.clone(), p(), accepted()],
            "a yes without it",
        ),
        (
            "skips-proof",
            vec![hear(), offer.clone(), p(), first(), p(), accepted()],
            "a yes without it",
        ),
        (
            "wrong-proof",
            vec![
                hear(),
                offer.clone(),
                p(),
                first(),
                p(),
                Step::Say([wrong, login_accepted()].concat()),
            ],
            "could not prove",
        ),
        (
            "scram-error",
            vec![
                hear(),
                offer.clone(),
                p(),
                first(),
                p(),
                say(&says(b'R', b"\0\0\0\x0ce=other-error")),
                accepted(),
            ],
            "could not prove",
        ),
        (
            "wrong-nonce",
            vec![
                hear(),
                offer.clone(),
                p(),
                say(&challenge("r=mine,s=c2FsdA==,i=4096")),
                p(),
                accepted(),
            ],
            "SCRAM challenge is wrong",
        ),
        (
            "no-salt",
            vec![
                hear(),
                offer.clone(),
                p(),
                Step::Answer(|heard| challenge(&format!("r={}x,s=,i=0", nonce(heard)))),
                p(),
                accepted(),
            ],
            "",
        ),
        // The work that a server may demand is bounded: 2^31 rounds would hold a thread for minutes.
        (
            "much-work",
            vec![
                hear(),
                offer.clone(),
                p(),
                Step::Answer(|heard| {
                    challenge(&format!("r={}x,s=c2FsdA==,i=2147483647", nonce(heard)))
                }),
                p(),
                accepted(),
            ],
            "SCRAM challenge is wrong",
        ),
        (
            "downgrade",
            vec![
                hear(),
                offer.clone(),
                p(),
                say(&says(b'R', b"\0\0\0\x03")),
                p(),
                accepted(),
            ],
            "the next step of the login",
        ),
        (
            "downgrade-md5",
            vec![
                hear(),
                offer.clone(),
                p(),
                first(),
                p(),
                say(&says(b'R', b"\0\0\0\x05salt")),
                p(),
                accepted(),
            ],
            "the next step of the login",
        ),
        (
            "no-mechanism",
            vec![hear(), say(&says(b'R', b"\0\0\0\x0a\0")), p(), accepted()],
            "no SASL mechanism",
        ),
        (
            "kerberos",
            vec![hear(), say(&says(b'R', b"\0\0\0\x07")), p(), accepted()],
            "not supported",
        ),
    ];
    let rogues = table
        .into_iter()
        .map(|(name, script, log)| Ok((Rogue::new(name, script)?, log)))
        .collect::<Result<_>>()?;
    all_fail(World::builder(), rogues, "disable")
}

#[test]
fn a_login_that_is_no_login_is_left_at_once() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let parameter = says(b'S', b"made_up\0value\0");
    let offer = says(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0");
    let long = |kind: u8, length: u32| [&[kind][..], &length.to_be_bytes(), b"x"].concat();
    // Behind a login that trusts: a target without a proof is refused for that alone, so these say
    // their piece before, or in place of it.
    let table: Vec<(&'static str, Vec<Step>, &'static str)> = vec![
        (
            "error",
            vec![hear(), Step::Say(misleading())],
            "call 555-0100",
        ),
        (
            "long-error",
            vec![
                hear(),
                Step::Say(says(
                    b'E',
                    &[b"SFATAL\0C28000\0Mx\0D", &[b'y'; 1 << 20][..], b"\0\0"].concat(),
                )),
            ],
            "one that is too long",
        ),
        (
            "huge",
            vec![hear(), Step::Say(long(b'R', 0x7fff_ffff)), Step::HearToEnd],
            "a message length",
        ),
        (
            "negative",
            vec![hear(), Step::Say(long(b'R', u32::MAX)), Step::HearToEnd],
            "a message length",
        ),
        (
            "too-short",
            vec![hear(), Step::Say(long(b'R', 3)), Step::HearToEnd],
            "a message length",
        ),
        (
            "large",
            vec![hear(), Step::Say(long(b'R', 1 << 29)), Step::HearToEnd],
            "one that is too long",
        ),
        (
            "ready-at-once",
            vec![hear(), say(&says(b'Z', b"I"))],
            "a message of the login",
        ),
        (
            "rows-at-once",
            vec![hear(), say(&says(b'D', b"\0\0"))],
            "a message of the login",
        ),
        (
            "copy-at-once",
            vec![hear(), say(&says(b'G', b"\0\0\0"))],
            "a message of the login",
        ),
        (
            "another-protocol",
            vec![hear(), say(b"HTTP/1.1 400 Bad Request\r\n\r\n")],
            "a message length",
        ),
        (
            "ssh",
            vec![say(b"SSH-2.0-OpenSSH_9.2\r\n"), Step::HearToEnd],
            "",
        ),
        (
            "negotiates",
            vec![
                hear(),
                say(&says(b'v', b"\0\x03\0\x02\0\0\0\0")),
                Step::HearToEnd,
            ],
            "another version or options",
        ),
        (
            "negotiates-options",
            vec![
                hear(),
                say(&says(b'v', b"\0\x03\0\0\0\0\0\x01_pq_.x\0")),
                Step::HearToEnd,
            ],
            "another version or options",
        ),
        (
            "negotiates-nonsense",
            vec![
                hear(),
                say(&says(b'v', b"\0\x03\0\0\xff\xff\xff\xff")),
                Step::HearToEnd,
            ],
            "another version or options",
        ),
        (
            "negotiates-short",
            vec![hear(), say(&says(b'v', b"\0")), Step::HearToEnd],
            "NegotiateProtocolVersion",
        ),
        (
            "half-a-message",
            vec![hear(), Step::Say(offer[..9].to_vec())],
            "closed the connection during login",
        ),
        (
            "parameters-early",
            vec![hear(), Step::Say(parameter)],
            "a message of the login",
        ),
    ];
    let rogues = table
        .into_iter()
        .map(|(name, script, log)| Ok((Rogue::new(name, script)?, log)))
        .collect::<Result<Vec<_>>>()?;
    all_fail(World::builder(), rogues, "disable")
}

#[test]
fn a_login_without_an_end_is_left_in_time() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let notice = says(b'N', b"SNOTICE\0C00000\0Mcall 555-0100\0\0").repeat(100);
    let offer = says(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0");
    let rogues = [
        Rogue::new(
            "endless-notices",
            vec![hear(), Step::Flood(notice, usize::MAX)],
        )?,
        Rogue::new("silent", vec![hear(), Step::HearToEnd])?,
        Rogue::new(
            "silent-later",
            vec![hear(), Step::Say(offer), Step::HearToEnd],
        )?,
    ];
    let mut den = Den::open(World::builder(), &rogues, Way::Tls("disable"))?;
    let id = den.world.agent().worker()?;
    metrics::forget_peak(id)?;
    let before = metrics::rss(id)?;
    let mut waiting = Vec::new();
    for rogue in &rogues {
        let mut raw = den.raw(rogue)?;
        raw.send(&startup(
            (3, 0),
            &[("user", pg::SERVICE), ("database", pg::DATABASE)],
        ))?;
        waiting.push(raw);
    }
    std::thread::sleep(Duration::from_secs(1));
    den.unharmed("logins without an end")?;
    for (mut raw, rogue) in waiting.into_iter().zip(&rogues) {
        let seen = raw.ended_within(Duration::from_secs(12))?;
        let last = Message::all(&seen).pop().unwrap();
        assert_eq!(last.sqlstate().as_deref(), Some("08006"), "{}", rogue.name);
    }
    den.logged("did not answer within")?;
    let grown = metrics::peak(id)?.saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB");
    den.unharmed("logins without an end")
}

#[test]
fn what_the_agent_says_to_a_server_is_the_oldest_protocol_and_only_what_it_means() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let server = Scripted::start(vec![hear(), Step::Say(misleading())])?;
    let rogue = Rogue {
        name: "listens",
        server,
    };
    let mut den = Den::open(
        World::builder(),
        std::slice::from_ref(&rogue),
        Way::Tls("disable"),
    )?;
    den.login_fails(&rogue, "call 555-0100")?;
    let heard = rogue.server.heard();
    assert_eq!(heard.len(), 1);
    let body = &heard[0][4..];
    assert_eq!(body[..4], *b"\0\x03\0\0");
    let words: Vec<_> = body[4..]
        .split(|byte| *byte == 0)
        .map(String::from_utf8_lossy)
        .collect();
    assert_eq!(
        words[..6],
        [
            "user",
            pg::SERVICE,
            "database",
            pg::DATABASE,
            "client_encoding",
            "UTF8"
        ]
    );
    assert!(!words.contains(&"options".into()), "{words:?}");
    // The token does not travel.
    let token = std::fs::read_to_string(den.world.token_file())?;
    let text = String::from_utf8_lossy(body).into_owned();
    assert!(!text.contains(token.trim()));
    Ok(())
}
