//! The corpora as they stand in `tests/statements`: text files, one block a case.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// One case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Case {
    /// Its file's name without the ending: the family.
    pub(super) family: String,
    /// What it is, in words.
    pub(super) title: String,
    /// Messages, one after the other, in one session.
    pub(super) steps: Vec<Step>,
    /// The words behind `-- key: ` lines.
    words: Vec<(&'static str, String)>,
}

/// One message of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A text, sent in every way that a client has.
    Text(Vec<u8>),
    /// Messages of the protocol, one a line.
    Wire(Vec<String>),
}

/// What may stand between a case's title and its text.
const KEYS: &[&str] = &[
    "by", "control", "undo", "with", "data", "answers", "bytes", "gap",
];

impl Case {
    /// The words of a key.
    pub(super) fn word(&self, key: &str) -> Option<&str> {
        let mut words = self.words.iter();
        words
            .find(|(known, _)| *known == key)
            .map(|(_, words)| words.as_str())
    }

    /// All words of a key that may stand more than once.
    pub(super) fn words(&self, key: &'static str) -> impl Iterator<Item = &str> {
        let words = self.words.iter().filter(move |(known, _)| *known == key);
        words.map(|(_, words)| words.as_str())
    }

    /// Whether it is told in messages of the protocol.
    pub(super) fn is_wire(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Wire(_)))
    }

    /// The same with every occurrence of a text in its texts replaced.
    pub(super) fn replaced(mut self, from: &str, to: &str) -> Self {
        for step in &mut self.steps {
            match step {
                Step::Text(text) => {
                    // Texts may hold bytes that are no UTF-8: those do not speak of files.
                    if let Ok(words) = std::str::from_utf8(text) {
                        *text = words.replace(from, to).into_bytes();
                    }
                }
                Step::Wire(lines) => {
                    for line in lines {
                        *line = line.replace(from, to);
                    }
                }
            }
        }
        for (_, words) in &mut self.words {
            *words = words.replace(from, to);
        }
        self
    }
}

/// All cases of a directory under `tests/statements`, its files in order.
pub(super) fn all(corpus: &str) -> Result<Vec<Case>> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("statements")
        .join(corpus);
    let mut files: Vec<PathBuf> = fs::read_dir(&place)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.sort();
    let mut cases: Vec<Case> = Vec::new();
    for file in files {
        let family = file.file_stem().context("a name")?.to_string_lossy();
        let text = fs::read_to_string(&file)?;
        cases.extend(read(&family, &text).with_context(|| file.display().to_string())?);
    }
    let mut titles: Vec<_> = cases
        .iter()
        .map(|case| (&case.family, &case.title))
        .collect();
    titles.sort();
    if let Some(twice) = titles.windows(2).find(|pair| pair[0] == pair[1]) {
        bail!(
            "two cases are called the same: {}: {}",
            twice[0].0,
            twice[0].1
        );
    }
    Ok(cases)
}

/// The cases of one file.
fn read(family: &str, text: &str) -> Result<Vec<Case>> {
    let mut cases: Vec<Case> = Vec::new();
    let mut body = Body::default();
    for line in text.split_inclusive('\n') {
        let plain = line.trim_end();
        if let Some(title) = plain.strip_prefix("-- case: ") {
            close(&mut cases, &mut body)?;
            cases.push(Case {
                family: family.to_owned(),
                title: title.to_owned(),
                ..Case::default()
            });
            continue;
        }
        let Some(case) = cases.last_mut() else {
            // What is said of the whole file.
            ensure!(
                plain.is_empty() || plain.starts_with("--"),
                "no case yet: {plain}"
            );
            continue;
        };
        if plain == "-- then" || plain == "-- then, on the wire" {
            body.end(case)?;
            body.wire = plain.ends_with("wire");
        } else if plain == "-- on the wire" && body.text.is_empty() {
            body.wire = true;
        } else if let Some((key, words)) = keyed(plain).filter(|_| body.text.is_empty()) {
            case.words.push((key, words.to_owned()));
        } else {
            body.text.push_str(line);
        }
    }
    close(&mut cases, &mut body)?;
    Ok(cases)
}

#[derive(Default)]
struct Body {
    text: String,
    wire: bool,
}

impl Body {
    fn end(&mut self, case: &mut Case) -> Result<()> {
        let text = std::mem::take(&mut self.text);
        let text = text.trim_matches('\n');
        ensure!(!text.is_empty(), "nothing is said in: {}", case.title);
        case.steps.push(if std::mem::take(&mut self.wire) {
            Step::Wire(text.lines().map(str::to_owned).collect())
        } else if case.word("bytes").is_some() {
            Step::Text(unescaped(text)?)
        } else {
            Step::Text(text.as_bytes().to_vec())
        });
        Ok(())
    }
}

fn close(cases: &mut [Case], body: &mut Body) -> Result<()> {
    match cases.last_mut() {
        Some(case) => body.end(case),
        None => Ok(()),
    }
}

/// `-- key: words`, of a known key. Any other comment is part of the text.
fn keyed(line: &str) -> Option<(&'static str, &str)> {
    let (key, words) = line.strip_prefix("-- ")?.split_once(": ")?;
    let key = KEYS.iter().find(|known| **known == key)?;
    Some((key, words))
}

/// `\xHH` for a byte; everything else is itself.
pub(super) fn unescaped(text: &str) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("\\x") {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let digits = rest.get(at + 2..at + 4).context("two digits after \\x")?;
        out.push(u8::from_str_radix(digits, 16)?);
        rest = &rest[at + 4..];
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

#[test]
fn a_file_is_read_as_it_looks() {
    let text = "-- About them.\n\n-- case: one thing\n-- by: extended\n\n-- a comment: of the text\nSELECT 1;\n\
                -- then\nSELECT 2\n\n-- case: bytes\n-- bytes: yes\nA\\xff\n-- case: messages\n-- on the wire\nparse - x\nsync\n";
    let cases = read("file", text).unwrap();
    let texts = |case: &Case| case.steps.clone();
    assert_eq!(cases.len(), 3);
    assert_eq!(cases[0].word("by"), Some("extended"));
    assert_eq!(
        texts(&cases[0]),
        [
            Step::Text(b"-- a comment: of the text\nSELECT 1;".to_vec()),
            Step::Text(b"SELECT 2".to_vec())
        ]
    );
    assert_eq!(texts(&cases[1]), [Step::Text(b"A\xff".to_vec())]);
    assert_eq!(
        texts(&cases[2]),
        [Step::Wire(vec!["parse - x".to_owned(), "sync".to_owned()])]
    );
    assert!(read("file", "SELECT 1").is_err());
    assert!(read("file", "-- case: nothing\n").is_err());
}
