//! Texts written to tell the two parsers apart: what becomes of each is on a list.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use node_agent::model::Dialect;
use node_agent::sql::{Second, Sureness, analyze, second_opinion};

const FILE: &str = "witness-probes.txt";

/// A text as it stands in the file.
fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match rest.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('\\') => out.push('\\'),
            Some('u') => {
                let code: String = rest.by_ref().skip(1).take_while(|c| *c != '}').collect();
                let code = u32::from_str_radix(&code, 16).unwrap();
                out.push(char::from_u32(code).unwrap());
            }
            other => panic!("\\{other:?} in {text}"),
        }
    }
    out
}

fn about(second: &Second) -> String {
    match second {
        Second::Unasked => "opaque".to_owned(),
        Second::Agrees => "agrees".to_owned(),
        Second::Alone(_) => "alone".to_owned(),
        Second::Differs(differing) => {
            let about: Vec<_> = differing.about.iter().map(|about| about.word()).collect();
            format!("differs:{}", about.join("+"))
        }
    }
}

/// `opaque`, `agrees`, `alone`, `differs:…`; `misread:…` for what would differ were it not known.
fn outcome(text: &str) -> String {
    let analysis = analyze(Dialect::Postgres, text);
    if analysis.sureness != Sureness::Complete {
        return "opaque".to_owned();
    }
    match (&analysis.second, second_opinion(text)) {
        (Second::Alone(_), opinion @ Second::Differs(_)) => {
            about(&opinion).replace("differs", "misread")
        }
        (heard, _) => about(heard),
    }
}

#[test]
fn every_probe_comes_out_as_listed() -> Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let list = std::fs::read_to_string(file)?;
    let mut wrong = String::new();
    let mut count = 0;
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let (listed, text) = line.split_once('\t').context("no tab")?;
        let found = outcome(&unescaped(text));
        count += 1;
        if found != listed {
            writeln!(wrong, "{found}\t{text}")?;
        }
    }
    assert!(wrong.is_empty(), "these come out otherwise:\n{wrong}");
    assert!(count > 300, "only {count} probes");
    Ok(())
}
