//! In the session: answers that nobody asked for, that do not fit, or that have no end.

use std::time::Duration;

use anyhow::Result;
use node_agent_tests::client::{Message, kinds, query};
use node_agent_tests::upstream::{Step, login_accepted};
use node_agent_tests::world::WORTHLESS;
use node_agent_tests::{World, metrics, pg};

use super::super::agent_is_here;
use super::{Den, Rogue, Way, says};

/// A RowDescription of text columns with these names.
fn head(names: &[&str]) -> Vec<u8> {
    let mut body = u16::try_from(names.len()).unwrap().to_be_bytes().to_vec();
    for name in names {
        body.extend(name.as_bytes());
        body.extend(b"\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0");
    }
    says(b'T', &body)
}

/// A DataRow of these cells.
fn row(cells: &[&str]) -> Vec<u8> {
    let mut body = u16::try_from(cells.len()).unwrap().to_be_bytes().to_vec();
    for cell in cells {
        body.extend(u32::try_from(cell.len()).unwrap().to_be_bytes());
        body.extend(cell.as_bytes());
    }
    says(b'D', &body)
}

fn done() -> Vec<u8> {
    says(b'C', b"SELECT 1\0")
}

fn ready() -> Vec<u8> {
    says(b'Z', b"I")
}

/// A server that trusts, and says this to the first query.
fn answers(name: &'static str, answer: Vec<u8>) -> Result<Rogue> {
    Rogue::new(
        name,
        vec![
            Step::HearUntyped,
            Step::Say(login_accepted()),
            Step::HearUpTo(b'Q'),
            Step::Say(answer),
            Step::HearToEnd,
        ],
    )
}

fn parameter(name: &str, value: &str) -> Vec<u8> {
    says(b'S', format!("{name}\0{value}\0").as_bytes())
}

fn long(kind: u8, length: u32) -> Vec<u8> {
    [&[kind][..], &length.to_be_bytes(), b"x"].concat()
}

#[test]
fn an_answer_that_nobody_asked_for_or_that_does_not_fit_ends_the_session() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let good = || [head(&["a"]), row(&["1"]), done(), ready()].concat();
    // The name, what is said to `select 1`, and what the log and the client are told.
    let table: Vec<(&'static str, Vec<u8>, &'static str)> = vec![
        ("unknown-type", says(b'!', b""), "type '!'"),
        ("binary-type", says(0xff, b""), "type 0xff"),
        ("function-result", says(b'V', b"\0\0\0\0"), "type 'V'"),
        ("copy-both", says(b'W', b"\0\0\0"), "type 'W'"),
        ("login-again", says(b'R', b"\0\0\0\x03"), "type 'R'"),
        ("key-again", says(b'K', b"\0\0\0\0\0\0\0\0"), "type 'K'"),
        ("copy-in", says(b'G', b"\0\0\x01\0\0"), "CopyIn"),
        (
            "copy-out",
            [
                says(b'H', b"\0\0\x01\0\0"),
                says(b'd', b"1\n"),
                says(b'c', b""),
                done(),
                ready(),
            ]
            .concat(),
            "CopyOut",
        ),
        (
            "copy-data",
            [head(&["a"]), says(b'd', b"1\n")].concat(),
            "CopyData",
        ),
        (
            "no-head",
            [row(&["1"]), done(), ready()].concat(),
            "the answer to a statement",
        ),
        (
            "more-columns",
            [head(&["a"]), row(&["1", "2"]), done(), ready()].concat(),
            "the columns of its head",
        ),
        (
            "fewer-columns",
            [head(&["a", "b"]), row(&["1"]), done(), ready()].concat(),
            "the columns of its head",
        ),
        (
            "negative-columns",
            [head(&["a"]), says(b'D', b"\xff\xff")].concat(),
            "the columns of its head",
        ),
        (
            "empty-row",
            [head(&["a"]), says(b'D', b"")].concat(),
            "the columns of its head",
        ),
        ("claimed-head", says(b'T', b"\xff\xffa\0"), "RowDescription"),
        (
            "wrong-format",
            {
                let mut bytes = head(&["a"]);
                *bytes.last_mut().unwrap() = 7;
                bytes
            },
            "an unknown format",
        ),
        (
            "two-heads",
            [head(&["a"]), head(&["b"])].concat(),
            "a row or the end of the result",
        ),
        (
            "ready-early",
            [head(&["a"]), row(&["1"]), ready()].concat(),
            "the end of a statement before",
        ),
        (
            "ready-twice",
            [good(), ready()].concat(),
            "no answer was outstanding",
        ),
        (
            "answer-twice",
            [good(), good()].concat(),
            "no answer was outstanding",
        ),
        (
            "unknown-status",
            [head(&["a"]), done(), says(b'Z', b"X")].concat(),
            "transaction status",
        ),
        (
            "parse-complete",
            says(b'1', b""),
            "the answer to a statement",
        ),
        (
            "suspended",
            [head(&["a"]), says(b's', b"")].concat(),
            "a row or the end of the result",
        ),
        (
            "encoding",
            [parameter("client_encoding", "SJIS"), good()].concat(),
            "client_encoding",
        ),
        (
            "strings",
            [parameter("standard_conforming_strings", "off"), good()].concat(),
            "standard_conforming_strings",
        ),
        ("bad-parameter", says(b'S', b"name"), "ParameterStatus"),
        ("bad-notice", says(b'N', b"Mno end"), "NoticeResponse"),
        ("bad-error", says(b'E', b""), "ErrorResponse"),
        (
            "bad-notification",
            says(b'A', b"\0"),
            "NotificationResponse",
        ),
        ("negative-length", long(b'T', u32::MAX), "a message length"),
        ("huge-length", long(b'D', 0x7fff_ffff), "a message length"),
        ("short-length", long(b'C', 3), "a message length"),
        (
            "large-head",
            long(b'T', 1 << 29),
            "a message within the limit",
        ),
        (
            "large-error",
            long(b'E', 1 << 29),
            "a message within the limit",
        ),
    ];
    let rogues = table
        .iter()
        .map(|(name, answer, _)| answers(name, answer.clone()))
        .collect::<Result<Vec<_>>>()?;
    let mut den = Den::open(World::builder(), &rogues, Way::Trust)?;
    let id = den.world.agent().worker()?;
    metrics::forget_peak(id)?;
    let before = metrics::rss(id)?;
    for (rogue, (name, _, words)) in rogues.iter().zip(&table) {
        let mut raw = den.raw(rogue)?;
        raw.login(pg::SERVICE, pg::DATABASE, WORTHLESS)?;
        raw.send(&query("select 1"))?;
        let seen = raw.ended_within(Duration::from_secs(3));
        let seen = Message::all(&seen.map_err(|error| error.context(*name))?);
        let last = seen.last().unwrap_or_else(|| panic!("{name}: nothing"));
        assert_eq!(
            last.sqlstate().as_deref(),
            Some("08P01"),
            "{name}: {}",
            kinds(&seen)
        );
        assert!(
            last.words().contains("the database broke the protocol"),
            "{name}"
        );
        assert!(last.words().contains(words), "{name}: {:?}", last.words());
        // What does not fit is not shown.
        let leaked = seen
            .iter()
            .any(|m| matches!(m.kind, b'G' | b'H' | b'W' | b'V' | b'd'));
        assert!(!leaked, "{name}: {}", kinds(&seen));
        den.logged(words)?;
        den.unharmed(name)?;
    }
    let grown = metrics::peak(id)?.saturating_sub(before);
    assert!(grown < 48 << 10, "{grown} KiB");
    Ok(())
}

#[test]
fn a_database_that_goes_in_the_middle_takes_its_own_session_alone() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let whole = [head(&["a"]), row(&["1"]), done(), ready()].concat();
    let table: Vec<(&'static str, Vec<u8>)> = vec![
        ("before-the-answer", Vec::new()),
        ("inside-the-head", whole[..7].to_vec()),
        ("inside-a-row", whole[..head(&["a"]).len() + 8].to_vec()),
        (
            "inside-a-large-row",
            [head(&["a"]), long(b'D', 1 << 29), vec![0; 100_000]].concat(),
        ),
        ("before-ready", whole[..whole.len() - 6].to_vec()),
    ];
    let rogues = table
        .iter()
        .map(|(name, answer)| {
            let mut script = vec![Step::HearUntyped, Step::Say(login_accepted())];
            script.extend([Step::HearUpTo(b'Q'), Step::Say(answer.clone())]);
            Rogue::new(name, script)
        })
        .collect::<Result<Vec<_>>>()?;
    let mut den = Den::open(World::builder(), &rogues, Way::Trust)?;
    for rogue in &rogues {
        let mut raw = den.raw(rogue)?;
        raw.login(pg::SERVICE, pg::DATABASE, WORTHLESS)?;
        raw.send(&query("select 1"))?;
        let seen = raw.ended_within(Duration::from_secs(3))?;
        let last = Message::all(&seen).pop();
        if rogue.name != "inside-a-large-row" {
            // A client that is in the middle of nothing is told in words.
            let last = last.unwrap_or_else(|| panic!("{}: nothing", rogue.name));
            assert_eq!(last.sqlstate().as_deref(), Some("08006"), "{}", rogue.name);
        }
        den.logged("UpstreamGone")?;
        den.unharmed(rogue.name)?;
    }
    Ok(())
}

#[test]
fn long_words_and_endless_answers_pass_in_bounded_memory() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let detail = [
        &b"SERROR\0VERROR\0C22000\0Mlong\0D"[..],
        &vec![b'x'; 1 << 20],
        b"\0\0",
    ]
    .concat();
    let login = || {
        vec![
            Step::HearUntyped,
            Step::Say(login_accepted()),
            Step::HearUpTo(b'Q'),
        ]
    };
    let endless = |block: Vec<u8>| {
        let mut script = login();
        script.extend([Step::Say(head(&["a"])), Step::Flood(block, usize::MAX)]);
        script
    };
    let rows = row(&["x".repeat(1000).as_str()]).repeat(64);
    let notices = says(b'N', b"SNOTICE\0VNOTICE\0C00000\0Magain\0\0").repeat(64);
    let rogues = [
        answers("long-detail", [says(b'E', &detail), ready()].concat())?,
        Rogue::new("endless-rows", endless(rows))?,
        Rogue::new("endless-notices", endless(notices))?,
        Rogue::new("one-endless-row", {
            let mut script = endless(vec![b'x'; 1 << 16]);
            script.insert(4, Step::Say(long(b'D', (1 << 30) - 1)));
            script
        })?,
    ];
    let mut den = Den::open(World::builder(), &rogues, Way::Trust)?;
    let id = den.world.agent().worker()?;
    metrics::forget_peak(id)?;
    let before = metrics::rss(id)?;
    let mut raw = den.raw(&rogues[0])?;
    raw.login(pg::SERVICE, pg::DATABASE, WORTHLESS)?;
    let seen = raw.query("select 1")?;
    assert_eq!(seen[0].sqlstate().as_deref(), Some("22000"));
    for rogue in &rogues[1..] {
        let name = rogue.name;
        let mut raw = den.raw(rogue)?;
        raw.login(pg::SERVICE, pg::DATABASE, WORTHLESS)?;
        raw.send(&query("select 1"))?;
        // Read for a while, then no more: the server is held up, and nobody else.
        if name != "one-endless-row" {
            for _ in 0..1000 {
                assert!(raw.next()?.is_some(), "{name}");
            }
        }
        std::thread::sleep(Duration::from_millis(500));
        den.unharmed(name)?;
        // The client can leave at any time.
        raw.message(b'X', b"")?;
        drop(raw);
        den.logged("ClientQuit")
            .or_else(|_| den.logged("ClientGone"))?;
    }
    den.unharmed("endless answers")?;
    let grown = metrics::peak(id)?.saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB");
    Ok(())
}

#[test]
fn a_catalogue_that_lies_about_its_form_lets_no_masked_statement_through() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let policy = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: masked }
mode: enforce
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
rules: [ { name: read, effect: allow, statements: [read], tables: ['*.*'] } ]
masks: [ { name: ssn, columns: ['*.people.ssn'], with: null } ]
";
    // The agent's own questions and the client's get the same answers: rows that fit no question.
    let answer = [head(&["ssn"]), row(&["123-45-6789"]), done(), ready()].concat();
    let mut again = vec![Step::HearUntyped, Step::Say(login_accepted())];
    for _ in 0..8 {
        again.extend([Step::HearUpTo(b'Q'), Step::Say(answer.clone())]);
    }
    let relations = [head(&["oid", "schema", "name", "kind"]), Vec::new()].concat();
    let endless = row(&["7", "public", "people", "r"]).repeat(1000);
    let rogues = [
        Rogue::new("rows-that-fit-nothing", again)?,
        answers("no-catalogue", says(b'!', b""))?,
        answers("copies", says(b'G', b"\0\0\0"))?,
        Rogue::new(
            "endless",
            vec![
                Step::HearUntyped,
                Step::Say(login_accepted()),
                Step::HearUpTo(b'Q'),
                Step::Say(relations),
                Step::Flood(endless, usize::MAX),
            ],
        )?,
    ];
    let builder = World::builder().policy_text("masked.yaml", policy);
    let mut den = Den::open(builder, &rogues, Way::Trust)?;
    for rogue in &rogues {
        let mut raw = den.raw(rogue)?;
        // The agent's first question is for the path: what does not answer it is no database.
        let login = raw.login(pg::SERVICE, pg::DATABASE, WORTHLESS);
        if let Err(refused) = login {
            let words = format!("{refused:#}");
            assert!(words.contains("08006"), "{}: {words}", rogue.name);
            assert_ne!(rogue.name, "rows-that-fit-nothing", "it answers in rows");
            den.unharmed(rogue.name)?;
            continue;
        }
        // The agent waits for a catalogue twice, 10 s each, on a machine that is slow at that.
        raw.stream()
            .set_read_timeout(Some(Duration::from_secs(60)))?;
        raw.send(&query("select ssn from people"))?;
        let mut told = false;
        while let Ok(Some(message)) = raw.next() {
            told |= message.kind == b'E';
            if message.kind == b'Z' {
                break;
            }
        }
        assert!(
            told || rogue.name == "rows-that-fit-nothing",
            "{}: {}",
            rogue.name,
            kinds(&Message::all(raw.all()))
        );
        assert!(
            !String::from_utf8_lossy(raw.all()).contains("123-45"),
            "{}",
            rogue.name
        );
        den.unharmed(rogue.name)?;
    }
    Ok(())
}
