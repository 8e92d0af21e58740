//! Ordinary statements: not refused, and answered as without the agent.

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use node_agent_tests::client::{Message, error_field};

use super::cases::{self, Case};
use super::scene::{Scene, Under, agent_is_here};
use super::talk::{Way, say, tidy, told};

/// The database beside the one that the agent leads to. Both go the same way, statement by statement.
const BESIDE: &str = "ppa";

/// What is said of a case that should have run.
const REFUSED: &str = "refused";

/// What their names are looked for in.
const PATH: &str = "set search_path to app, public";

#[test]
fn what_is_ordinary_is_not_refused() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut scene = Scene::set()?;
    scene.copy(BESIDE)?;
    let cases = cases::all("ordinary")?;
    let begun = Instant::now();
    let mut governed = scene.governed(Under::ReadWrite)?;
    let mut ungoverned = scene.ungoverned(BESIDE)?;
    let (mut wrong, mut statements) = (String::new(), 0);
    let mut families = std::collections::BTreeMap::<&str, usize>::new();
    for client in [&mut governed, &mut ungoverned] {
        client.query(PATH)?;
    }
    for case in &cases {
        let mut refused = false;
        statements += case.steps.len();
        *families.entry(&case.family).or_default() += case.steps.len();
        for way in ways(case)? {
            // What is done in the first ways is undone, so that the next finds the same.
            let undone = way != Way::Simple && !ends_transactions(case);
            let mut both = [&mut governed, &mut ungoverned].map(|client| {
                if undone {
                    client.query("begin").expect("a transaction");
                }
                say(client, case, way)
            });
            for (client, said) in [&mut governed, &mut ungoverned].into_iter().zip(&mut both) {
                if let Err(error) = tidy(client) {
                    *said = Err(error);
                }
            }
            scene.become_service(&mut ungoverned)?;
            for client in [&mut governed, &mut ungoverned] {
                client.query(PATH)?;
            }
            let [through, without] = &both;
            let why = unlike(case, through, without);
            refused |= why.as_deref() == Some(REFUSED);
            if let Some(why) = why.filter(|_| case.word("gap").is_none()) {
                writeln!(
                    wrong,
                    "{}: {}: {way:?}: {why}\n    through the agent: {}\n    without: {}",
                    case.family,
                    case.title,
                    told(through),
                    told(without)
                )?;
            }
            if through.is_err() {
                governed = scene.governed(Under::ReadWrite)?;
            }
            if without.is_err() {
                ungoverned = scene.ungoverned(BESIDE)?;
            }
        }
        if case.word("gap").is_some() && !refused {
            writeln!(
                wrong,
                "NO GAP any more: {}: {}: take its mark away",
                case.family, case.title
            )?;
        }
    }
    println!(
        "{statements} statements in {} cases: {:?}\n{families:?}",
        cases.len(),
        begun.elapsed()
    );
    ensure!(wrong.is_empty(), "findings:\n{wrong}");
    ensure!(statements >= 300, "only {statements} statements");
    Ok(())
}

/// In which ways. What has parameters is not sent as a plain text; several statements in one text
/// are sent no other way.
fn ways(case: &Case) -> Result<Vec<Way>> {
    if case.word("gap").is_some() {
        // Nothing stays of it: the other database would have what the one lacks.
        return Ok(vec![Way::Extended]);
    }
    if let Some(words) = case.word("by") {
        return words.split(' ').map(Way::read).collect();
    }
    Ok(match case.word("with") {
        None => vec![Way::Extended, Way::Prepared, Way::Simple],
        Some(_) => vec![Way::Extended, Way::Prepared],
    })
}

/// Whether its own statements begin or end transactions.
fn ends_transactions(case: &Case) -> bool {
    let words = [
        "begin",
        "start transaction",
        "commit",
        "rollback",
        "end",
        "abort",
        "discard",
        "vacuum",
    ];
    case.steps.iter().any(|step| match step {
        cases::Step::Text(text) => {
            let text = String::from_utf8_lossy(text).to_lowercase();
            let text = text.trim_start();
            words.iter().any(|word| text.starts_with(word))
        }
        cases::Step::Wire(_) => true,
    })
}

/// Why the answers are not as they should be.
fn unlike(
    case: &Case,
    through: &Result<Vec<Message>>,
    without: &Result<Vec<Message>>,
) -> Option<String> {
    let (Ok(through), Ok(without)) = (through, without) else {
        return Some("an end of the connection".to_owned());
    };
    let error = |seen: &[Message]| seen.iter().any(|message| message.kind == b'E');
    let expected = case
        .word("answers")
        .is_some_and(|words| words.starts_with("error") || words.starts_with("any error"));
    if error(without) != expected {
        return Some("not as the case says, without the agent".to_owned());
    }
    if error(through) != expected {
        return Some(REFUSED.to_owned());
    }
    if case
        .word("answers")
        .is_some_and(|words| words.starts_with("any error"))
    {
        return None;
    }
    let vary = case
        .word("answers")
        .is_some_and(|words| words.starts_with("vary"));
    let plain = |seen: &[Message]| -> Vec<String> {
        let seen = seen.iter().filter(|message| !is_who(message));
        seen.map(|message| in_words(message, vary)).collect()
    };
    let (through, without) = (plain(through), plain(without));
    if through == without {
        return None;
    }
    let at = through.iter().zip(&without).position(|(a, b)| a != b);
    let at = at.unwrap_or(through.len().min(without.len()));
    Some(format!(
        "another answer: {:?} and not {:?}",
        through.get(at),
        without.get(at)
    ))
}

/// Whether it says who the session's user is: without the agent, the insider again.
fn is_who(message: &Message) -> bool {
    message.kind == b'S' && message.body.starts_with(b"session_authorization")
}

/// A message as it is compared.
fn in_words(message: &Message, vary: bool) -> String {
    let kind = char::from(message.kind);
    match message.kind {
        b'E' | b'N' => {
            let fields = [b'S', b'C', b'M', b'D', b'H'];
            let fields = fields.map(|field| error_field(&message.body, field));
            format!("{kind} {fields:?}")
        }
        b'D' | b'd' | b'T' | b't' if vary => kind.to_string(),
        _ => {
            let body = String::from_utf8_lossy(&message.body).replace(BESIDE, "app");
            format!("{kind} {body:?}")
        }
    }
}

#[test]
fn values_that_vary_are_not_compared_and_others_are() -> Result<()> {
    let row = |byte: u8| Message {
        kind: b'D',
        body: vec![byte],
    };
    if in_words(&row(1), false) == in_words(&row(2), false) {
        bail!("rows are not compared");
    }
    assert_eq!(in_words(&row(1), true), in_words(&row(2), true));
    Ok(())
}
