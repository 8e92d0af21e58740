//! What a recording has of a session beside texts and rows: which program it was, and what came as copy
//! data or in pieces.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use node_agent_tests::{World, until};
use serde_json::Value;

use super::agent_is_here;

const SEED: &str = "create table public.papers (id int primary key, body text, secret text); \
    insert into public.papers values (1, repeat('ä', 200000), 'hidden-1'), (2, 'short', 'hidden-2'); \
    create table public.heap (line text); \
    grant all on public.papers, public.heap to public";

const POLICY: &str = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: recorded }
mode: enforce
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
rules:
  - { name: all, effect: allow, statements: [read, transaction, set, copy_out, copy_in], tables: ['public.*'] }
functions: { allow: ['*'] }
";

const MASK: &str = "masks:\n  - { name: secret, columns: [public.papers.secret], with: redact }\n";

const SOON: Duration = Duration::from_secs(20);

/// The events of the closed sessions, in the order in which they began.
fn events(world: &World, sessions: usize) -> Result<Vec<Vec<Value>>> {
    let names: Vec<String> = until("they are closed", SOON, || {
        let list = world.cli(&["sessions", "ls", "--json", "--why", "client_quit"])?;
        let entries = list.good()?.stdout;
        let names: Vec<String> = entries
            .lines()
            .filter_map(|line| {
                let entry: Value = serde_json::from_str(line).ok()?;
                Some(entry["session"].as_str()?.to_owned())
            })
            .collect();
        Ok((names.len() == sessions).then_some(names))
    })?;
    let read = |name: &String| {
        let told = world
            .cli(&["replay", "--format", "json", name])?
            .good()?
            .stdout;
        told.lines()
            .map(|line| Ok(serde_json::from_str(line)?))
            .collect()
    };
    names.iter().map(read).collect()
}

/// The cells of all rows of a session.
fn cells(events: &[Value]) -> Vec<Value> {
    let rows = events.iter().filter(|event| event["event"] == "rows");
    let rows = rows.flat_map(|event| event["rows"].as_array().cloned().unwrap_or_default());
    rows.flat_map(|row| row.as_array().cloned().unwrap_or_default())
        .collect()
}

#[test]
fn which_program_dialled_is_on_record_by_its_content() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder()
        .policy_text("recorded.yaml", POLICY)
        .seed(SEED)
        .start()
        .unwrap();
    for _ in 0..3 {
        world.ask("select id from papers")?.good()?;
    }
    let told = events(&world, 3)?;
    let facts = |session: &Vec<Value>| {
        let began = session.iter().find(|event| event["event"] == "began");
        began
            .map(|event| event["process"].clone())
            .context("a beginning")
    };
    for session in &told {
        let process = facts(session)?;
        let digest = &process["digest"];
        let taken = digest["blake3"].as_str();
        // Only the first one of a file may have been too early for it.
        match taken {
            Some(taken) => {
                let path = process["executable"].as_str().context("a path")?;
                let hash = blake3::hash(&fs::read(path)?);
                assert_eq!(taken, hash.to_hex().as_str(), "{path}");
            }
            None => assert_eq!(digest["not_taken"], "late", "{process}"),
        }
    }
    let last = facts(told.last().context("a session")?)?;
    let digest = last["digest"]["blake3"].as_str().context("a digest")?;
    let began = told.last().and_then(|session| session.first());
    let name = began
        .and_then(|event| event["session"].as_str())
        .context("a name")?;
    for words in [
        &["replay", name][..],
        &["replay", "--format", "html", name],
        &["sessions", "show", name],
        &["sessions", "export", name],
        &["sessions", "export", name, "--format", "ocsf"],
    ] {
        let seen = world.cli(words)?.good()?.stdout;
        assert!(seen.contains(digest), "{words:?}: {seen}");
    }
    Ok(())
}

#[test]
fn copy_data_and_rows_in_pieces_are_on_record_as_they_were_delivered() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder()
        .policy_text("recorded.yaml", POLICY)
        .seed(SEED)
        .start()
        .unwrap();
    let copied = world.ask("copy (select id, 'copied' from papers order by id) to stdout")?;
    assert_eq!(copied.good()?.stdout, "1\tcopied\n2\tcopied\n");
    let whole = world
        .ask("select id, body, 'after' from papers where id = 1")?
        .good()?;
    assert_eq!(whole.stdout.matches('ä').count(), 200_000);
    world
        .ask("copy (select id, body from papers where id = 1) to stdout")?
        .good()?;
    let told = events(&world, 3)?;
    let text = |text: &str| serde_json::json!({ "text": text });
    assert_eq!(cells(&told[0]), [text("1\tcopied\n"), text("2\tcopied\n")]);
    let row = cells(&told[1]);
    assert_eq!(row.first(), Some(&text("1")), "{row:?}");
    let begins = |cell: &Value| -> Result<(String, u64)> {
        let begins = &cell["begins"];
        let text = begins["text"].as_str().context("a beginning")?;
        Ok((
            text.to_owned(),
            begins["length"].as_u64().context("a length")?,
        ))
    };
    let (body, length) = begins(row.get(1).context("a second cell")?)?;
    assert_eq!((body, length), ("ä".repeat(2048), 400_000));
    // What is beyond the cap is told by its length and digest.
    let mut frame = 3_u16.to_be_bytes().to_vec();
    for cell in ["1", &"ä".repeat(200_000), "after"] {
        frame.extend((cell.len() as u32).to_be_bytes());
        frame.extend(cell.as_bytes());
    }
    let mut frame = [&(frame.len() as u32 + 4).to_be_bytes()[..], &frame].concat();
    frame.insert(0, b'D');
    let rest = &frame[64 << 10..];
    let beyond: Vec<_> = (told[1].iter())
        .filter(|event| event["digest"].is_string())
        .collect();
    let [beyond] = beyond.as_slice() else {
        anyhow::bail!("{beyond:?}");
    };
    assert_eq!(beyond["beyond"], rest.len());
    assert_eq!(beyond["digest"], blake3::hash(rest).to_hex().as_str());
    let heads = told[1]
        .iter()
        .filter(|event| !event["head"].is_null())
        .count();
    assert_eq!(heads, 1);
    let (line, length) = begins(cells(&told[2]).first().context("a line")?)?;
    assert!(line.starts_with("1\tää"), "{line}");
    assert_eq!(length, 400_003);
    Ok(())
}

#[test]
fn what_is_masked_is_masked_in_a_copy_on_record_too() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder()
        .policy_text("recorded.yaml", &format!("{POLICY}{MASK}"))
        .seed(SEED)
        .start()
        .unwrap();
    let seen = world.ask("copy (select id, secret from papers where id = 2) to stdout")?;
    assert!(!seen.good()?.stdout.contains("hidden"));
    world
        .ask("select body, secret from papers where id = 1")?
        .good()?;
    for session in events(&world, 2)? {
        assert!(!serde_json::to_string(&session)?.contains("hidden"));
        assert!(!cells(&session).is_empty());
    }
    Ok(())
}

/// The rows events of a session.
fn rows(events: &[Value]) -> Vec<&Value> {
    let rows = events.iter().filter(|event| event["event"] == "rows");
    rows.collect()
}

/// Copies this in, in messages of so many bytes, and gives what the server says at the end.
fn copies_in(world: &World, table: &str, data: &[u8], piece: usize) -> Result<String> {
    let mut dialer = world.dialer()?;
    let mut client = world.client(&mut dialer)?;
    client.ask(&format!("copy {table} from stdin"))?;
    client.up_to(b'G')?;
    for piece in data.chunks(piece) {
        client.message(b'd', piece)?;
    }
    client.message(b'c', b"")?;
    let said = client.up_to(b'Z')?;
    client.message(b'X', b"")?;
    Ok(said.iter().map(|message| message.words()).collect())
}

#[test]
fn what_is_copied_in_is_on_record_as_it_was_sent() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder()
        .policy_text("recorded.yaml", POLICY)
        .seed(SEED)
        .start()
        .unwrap();
    let wait = |sessions| events(&world, sessions);
    copies_in(&world, "heap", b"one\ntwo\n", 4)?;
    wait(1)?;
    // More than is kept: in one message, and in many.
    let line = format!("{}\n", "z".repeat(99));
    let much = line.repeat(5000);
    copies_in(&world, "heap", much.as_bytes(), much.len())?;
    wait(2)?;
    copies_in(&world, "heap", much.as_bytes(), 1000)?;
    let told = wait(3)?;
    let text = |text: &str| serde_json::json!({ "text": text });
    assert_eq!(cells(&told[0]), [text("one\n"), text("two\n")]);
    for (session, piece) in [(&told[1], much.len()), (&told[2], 1000)] {
        let mut sent = Vec::new();
        for piece in much.as_bytes().chunks(piece) {
            sent.push(b'd');
            sent.extend((piece.len() as u32 + 4).to_be_bytes());
            sent.extend(piece);
        }
        let rest = &sent[64 << 10..];
        let rows = rows(session);
        let last = rows.last().context("rows")?;
        assert_eq!(last["beyond"], rest.len(), "{last}");
        assert_eq!(last["digest"], blake3::hash(rest).to_hex().as_str());
        let kept = serde_json::to_string(&cells(session))?;
        assert!(kept.matches('z').count() > 4000, "{kept}");
    }
    // The database has all of it.
    let count = world
        .cluster()
        .sql(node_agent_tests::pg::DATABASE, "select count(*) from heap")?;
    assert_eq!(count.trim(), "10002");
    Ok(())
}

#[test]
fn of_what_is_copied_in_where_masks_hold_there_is_a_digest_alone() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = World::builder()
        .policy_text("recorded.yaml", &format!("{POLICY}{MASK}"))
        .seed(SEED)
        .start()
        .unwrap();
    let data = b"3\tbody\thidden-3\n";
    let said = copies_in(&world, "papers", data, 1000)?;
    let told = events(&world, 1)?.pop().context("a session")?;
    let whole = serde_json::to_string(&told)?;
    assert!(!whole.contains("hidden"), "{whole}");
    assert_eq!(cells(&told), Vec::<Value>::new(), "{said}");
    let rows = rows(&told);
    let [rows] = rows.as_slice() else {
        anyhow::bail!("{said} {rows:?}");
    };
    let sent = [&b"d\0\0\0"[..], &[data.len() as u8 + 4], data].concat();
    assert_eq!(rows["beyond"], sent.len());
    assert_eq!(rows["digest"], blake3::hash(&sent).to_hex().as_str());
    Ok(())
}
