//! The one place that prints.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use node_agent::replay::{visible, visible_json};

/// Standard output, buffered. A reader that goes away (`| head`) is no error.
pub(crate) fn stdout() -> io::BufWriter<io::StdoutLock<'static>> {
    io::BufWriter::new(io::stdout().lock())
}

/// What may be shown. In a text can be names that a workload chose, of a device or a cgroup: nothing of
/// them steers a terminal.
fn shown(text: &str) -> String {
    let cut = |c: &char| matches!(c, '\n' | '\t');
    let parts = text.split_inclusive(|c| cut(&c));
    let mut plain = String::with_capacity(text.len());
    for part in parts {
        let own = part.trim_end_matches(|c| cut(&c));
        plain.push_str(&visible(own));
        plain.push_str(part.get(own.len()..).unwrap_or_default());
    }
    plain
}

/// One line.
pub(crate) fn line(text: impl std::fmt::Display) -> anyhow::Result<()> {
    match writeln!(io::stdout().lock(), "{}", shown(&text.to_string())) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// One JSON value, readable.
pub(crate) fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    line(visible_json(&serde_json::to_string_pretty(value)?))
}

/// What went wrong, with its causes.
pub(crate) fn error(error: &anyhow::Error) {
    let text = format!("node-agent: {error:#}");
    let _ = writeln!(io::stderr().lock(), "{}", shown(&text));
}

/// Something that is not as it should be, beside an answer.
pub(crate) fn warning(text: &str) {
    let _ = writeln!(io::stderr().lock(), "node-agent: {}", shown(text));
}

/// How far long work has come: one line on standard error that goes again, if that is a terminal.
pub(crate) struct Progress {
    what: &'static str,
    begun: Instant,
    told: AtomicU64,
}

impl Progress {
    pub(crate) fn new(what: &'static str) -> Self {
        Progress {
            what,
            begun: Instant::now(),
            told: AtomicU64::new(0),
        }
    }

    /// So many of so many; at most ten times a second, and nothing in the first half of one.
    pub(crate) fn tell(&self, done: usize, of: usize) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let last = self.told.load(Ordering::Relaxed);
        if now < 500 || now < last.saturating_add(100) || !io::stderr().is_terminal() {
            return;
        }
        let mine = self
            .told
            .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed);
        if mine.is_ok() {
            let _ = write!(io::stderr().lock(), "\r{done} of {of} {}", self.what);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.told.load(Ordering::Relaxed) > 0 {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

/// Columns, aligned; the first row is the head.
pub(crate) fn table(rows: &[Vec<String>]) -> anyhow::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|at| {
            let cells = rows.iter().filter_map(|row| row.get(at));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        line(cells.join("  ").trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_steer_a_terminal_is_shown_and_does_not() {
        for (text, want) in [
            ("agents/claude: governed", "agents/claude: governed"),
            ("a\tb\nc \u{e9}", "a\tb\nc \u{e9}"),
            ("a\u{1b}[2Jb\r", "a\\x1b[2Jb\\r"),
            ("\u{9b}1m", "\\u{9b}1m"),
        ] {
            assert_eq!(shown(text), want);
        }
    }
}
