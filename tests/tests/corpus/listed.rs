//! What `tests/corpus-differences.md` lists: classes of differences, each with the words that the
//! agent must then say, and the statements that differ.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// The document.
const DOCUMENT: &str = "corpus-differences.md";

/// The document, read.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// By class, what the agent says then; empty: nothing of its own.
    classes: BTreeMap<String, String>,
    statements: Vec<Statement>,
}

/// One statement that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) file: String,
    /// Its last line.
    pub(super) statement: String,
    pub(super) class: String,
}

impl Listed {
    /// Reads the document.
    pub(super) fn read() -> Result<Self> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
        let text = std::fs::read_to_string(&file)?;
        Self::parse(&text).with_context(|| format!("{}", file.display()))
    }

    /// Rows of four cells under a heading `Classes` or `Statements`.
    fn parse(text: &str) -> Result<Self> {
        let mut listed = Self::default();
        let mut heading = "";
        for line in text.lines() {
            if let Some(title) = line.strip_prefix("## ") {
                heading = title;
            }
            let Some(cells) = cells(line) else { continue };
            match (heading, cells.as_slice()) {
                ("Classes", [class, says, _why]) => {
                    listed.classes.insert(class.clone(), says.clone());
                }
                ("Statements", [file, statement, class]) => listed.statements.push(Statement {
                    file: file.clone(),
                    statement: statement.clone(),
                    class: class.clone(),
                }),
                ("Classes" | "Statements", _) => bail!("not three cells: {line}"),
                _ => {}
            }
        }
        for statement in &listed.statements {
            if !listed.classes.contains_key(&statement.class) {
                bail!("{statement:?} is of no class that is listed");
            }
        }
        Ok(listed)
    }

    /// Takes the first entry for this statement away, if there is one of a class whose words the
    /// agent said.
    pub(super) fn take(&mut self, file: &str, statement: &str, said: &str) -> Option<Statement> {
        let at = self.statements.iter().position(|entry| {
            entry.file == file
                && entry.statement == statement
                && said.contains(self.classes[&entry.class].as_str())
        })?;
        Some(self.statements.remove(at))
    }

    /// What nobody took.
    pub(super) fn left(&self) -> &[Statement] {
        &self.statements
    }
}

/// A table's cells, without the backquotes of code; none for any other line, and for a table's head.
fn cells(line: &str) -> Option<Vec<String>> {
    let row = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    let cell = |cell: &str| cell.replace('\0', "|").trim().trim_matches('`').to_owned();
    let cells: Vec<String> = row.replace("\\|", "\0").split('|').map(cell).collect();
    let head = cells.first().is_some_and(|first| first.starts_with("--"))
        || matches!(cells.first().map(String::as_str), Some("class" | "file"));
    (!head).then_some(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Title\n| file | x |\n## Classes\n| class | the agent says | why |\n\
        | --- | --- | --- |\n| one | `no \\| way` | because |\n| two | | it follows |\n\
        ## Statements\n| file | statement | class |\n| --- | --- | --- |\n\
        | f | `select 1 \\| 2;` | one |\n| f | `\\x` | two |\n";

    #[test]
    fn an_entry_is_taken_once_and_only_when_the_agent_says_its_words() {
        let mut listed = Listed::parse(TEXT).unwrap();
        assert_eq!(listed.left().len(), 2);
        assert!(listed.take("f", "select 1 | 2;", "something").is_none());
        assert!(listed.take("g", "\\x", "").is_none());
        assert!(listed.take("f", "select 1 | 2;", "oh no | way").is_some());
        assert!(listed.take("f", "select 1 | 2;", "oh no | way").is_none());
        assert!(listed.take("f", "\\x", "anything").is_some());
        assert!(listed.left().is_empty());
    }

    #[test]
    fn a_row_of_no_class_or_another_shape_is_an_error() {
        for row in ["| f | `x` | three |", "| f | `x` |"] {
            assert!(Listed::parse(&format!("{TEXT}{row}\n")).is_err(), "{row}");
        }
    }
}
