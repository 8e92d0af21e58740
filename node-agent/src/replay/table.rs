//! Pure. A table for a terminal.

use std::io::{self, Write};

/// Rows under heads; columns as wide as their widest cell. Cells must be visible text.
pub(super) struct Table {
    heads: Vec<String>,
    rows: Vec<Vec<String>>,
    right: Vec<bool>,
}

impl Table {
    pub(super) fn new<S: Into<String>>(heads: impl IntoIterator<Item = S>) -> Self {
        let heads: Vec<String> = heads.into_iter().map(Into::into).collect();
        let right = vec![true; heads.len()];
        Table {
            heads,
            rows: Vec::new(),
            right,
        }
    }

    /// Adds a row. A column is set right while all of it looks like numbers.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        while self.heads.len() < cells.len() {
            self.heads.push(String::new());
            self.right.push(true);
        }
        for (cell, right) in cells.iter().zip(&mut self.right) {
            *right &= cell.is_empty()
                || cell
                    .chars()
                    .all(|c| c.is_ascii_digit() || matches!(c, '.' | '-' | '+'));
        }
        self.rows.push(cells);
    }

    /// `│` between columns and a rule under the heads, for results; or plain, for listings.
    pub(super) fn print(&self, indent: &str, ruled: bool, out: &mut dyn Write) -> io::Result<()> {
        let mut widths: Vec<usize> = self.heads.iter().map(|head| head.chars().count()).collect();
        for row in &self.rows {
            for (cell, width) in row.iter().zip(&mut widths) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let between = if ruled { " │ " } else { "  " };
        let line = |cells: &[String], out: &mut dyn Write| -> io::Result<()> {
            let mut text = String::from(indent);
            for (i, (width, right)) in widths.iter().zip(&self.right).enumerate() {
                let cell = cells.get(i).map_or("", String::as_str);
                let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
                if i > 0 {
                    text.push_str(between);
                }
                if *right {
                    text.push_str(&pad);
                    text.push_str(cell);
                } else {
                    text.push_str(cell);
                    text.push_str(&pad);
                }
            }
            writeln!(out, "{}", text.trim_end())
        };
        line(&self.heads, out)?;
        if ruled {
            let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
            writeln!(out, "{indent}{}", rule.join("─┼─"))?;
        }
        self.rows.iter().try_for_each(|row| line(row, out))
    }
}
