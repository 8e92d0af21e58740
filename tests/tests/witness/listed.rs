//! What `tests/witness-disagreements.md` lists: classes, each with its reason, and the statements.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// The document.
const DOCUMENT: &str = "witness-disagreements.md";

/// One statement on which the two differ.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) file: String,
    /// Of the release that the list was made from; another release may have it elsewhere.
    pub(super) line: String,
    /// On one line, cut.
    pub(super) text: String,
    pub(super) class: String,
}

/// The document, read.
pub(super) struct Listed {
    entries: Vec<Entry>,
}

impl Listed {
    pub(super) fn read() -> Result<Self> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
        let text = std::fs::read_to_string(&file)?;
        Self::parse(&text).with_context(|| format!("{}", file.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let mut classes: BTreeSet<String> = BTreeSet::new();
        let mut entries = Vec::new();
        let mut heading = "";
        for line in text.lines() {
            if let Some(title) = line.strip_prefix("## ") {
                heading = title;
            }
            let Some(cells) = cells(line) else { continue };
            match (heading, cells.as_slice()) {
                ("Classes", [class, _why]) => {
                    classes.insert(class.clone());
                }
                ("Statements", [place, class, text]) => {
                    let (file, line) = place.split_once(':').context("no file:line")?;
                    entries.push(Entry {
                        file: file.to_owned(),
                        line: line.to_owned(),
                        text: text.clone(),
                        class: class.clone(),
                    });
                }
                ("Classes" | "Statements", _) => bail!("another number of cells: {line}"),
                _ => {}
            }
        }
        if let Some(entry) = entries.iter().find(|entry| !classes.contains(&entry.class)) {
            bail!("{entry:?} is of no class that is listed");
        }
        Ok(Self { entries })
    }

    /// Takes the first entry for a statement away; false when there is none.
    pub(super) fn take(&mut self, file: &str, text: &str) -> bool {
        let at = self
            .entries
            .iter()
            .position(|e| e.file == file && e.text == text);
        at.map(|at| self.entries.remove(at)).is_some()
    }

    /// What nobody took.
    pub(super) fn left(&self) -> &[Entry] {
        &self.entries
    }
}

/// A table's cells, without the backquotes of code; none for any other line, and for a head.
fn cells(line: &str) -> Option<Vec<String>> {
    let row = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    let cell = |cell: &str| {
        cell.replace('\0', "|")
            .trim()
            .trim_matches('`')
            .trim()
            .to_owned()
    };
    let cells: Vec<String> = row.replace("\\|", "\0").split('|').map(cell).collect();
    let head = cells.first().is_some_and(|first| first.starts_with("--"))
        || matches!(cells.first().map(String::as_str), Some("class" | "place"));
    (!head).then_some(cells)
}

/// A statement as the list shows it: one line, of limited length, without backquotes.
pub(super) fn shown(text: &str) -> String {
    let one: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("--"))
        .flat_map(str::split_whitespace)
        .collect();
    let short: String = one.join(" ").replace('`', "'").chars().take(140).collect();
    short.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_taken_once() {
        let text = "## Classes\n| class | why |\n| --- | --- |\n| c | because |\n## Statements\n\
            | place | class | text |\n| --- | --- | --- |\n| f:1 | c | `select 1 \\| 2` |\n";
        let mut listed = Listed::parse(text).unwrap();
        assert!(!listed.take("f", "select 1"));
        assert!(listed.take("f", "select 1 | 2"));
        assert!(!listed.take("f", "select 1 | 2"));
        assert!(listed.left().is_empty());
        assert!(Listed::parse(&text.replace("| c | `", "| d | `")).is_err());
    }
}
