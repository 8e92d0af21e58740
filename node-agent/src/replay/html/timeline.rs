//! Pure. When a session did something, in a fixed number of columns however long it is.

use std::fmt::Write as _;

use super::gather::Kind;
use crate::model::UnixMillis;
use crate::replay::told::Ruled;

/// Columns. Even: two become one when the session outgrows them.
const COLUMNS: usize = 240;
/// A column is at first this long, milliseconds.
const SHORTEST: u64 = 1;

/// What happened in a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) statements: u64,
    pub(super) denied: u64,
    pub(super) held: u64,
    pub(super) failed: u64,
}

pub(super) struct Timeline {
    began: UnixMillis,
    width: u64,
    columns: Vec<Column>,
    used: usize,
}

impl Timeline {
    pub(super) fn new(began: UnixMillis) -> Self {
        Timeline {
            began,
            width: SHORTEST,
            columns: vec![Column::default(); COLUMNS],
            used: 1,
        }
    }

    /// Something happened; a clock that went back counts as the beginning.
    pub(super) fn add(&mut self, at: UnixMillis, kind: Option<Kind>) {
        let since = u64::try_from(at.0.saturating_sub(self.began.0)).unwrap_or(0);
        while since / self.width >= COLUMNS as u64 {
            self.halve();
        }
        let at = usize::try_from(since / self.width).unwrap_or(0);
        self.used = self.used.max(at + 1);
        let Some(column) = self.columns.get_mut(at) else {
            return;
        };
        match kind {
            None => {}
            Some(Kind::Failed) => column.failed += 1,
            Some(Kind::Ruled(ruled)) => {
                column.statements += 1;
                match ruled {
                    Ruled::Allowed => {}
                    Ruled::Observed | Ruled::Held => column.held += 1,
                    Ruled::Denied => column.denied += 1,
                }
            }
        }
    }

    fn halve(&mut self) {
        let (pairs, _) = self.columns.as_chunks::<2>();
        let mut halved: Vec<Column> = pairs
            .iter()
            .map(|[a, b]| Column {
                statements: a.statements + b.statements,
                denied: a.denied + b.denied,
                held: a.held + b.held,
                failed: a.failed + b.failed,
            })
            .collect();
        halved.resize(COLUMNS, Column::default());
        self.columns = halved;
        self.width = self.width.saturating_mul(2);
        self.used = self.used.div_ceil(2);
    }

    /// Those from the beginning to the last thing that happened.
    pub(super) fn columns(&self) -> &[Column] {
        self.columns.get(..self.used).unwrap_or(&self.columns)
    }

    /// A drawing, as SVG. Says nothing that the page does not say in words.
    pub(super) fn draw(&self, says: &str) -> String {
        const HEIGHT: u64 = 48;
        let columns = self.columns();
        let most = columns
            .iter()
            .map(|c| c.statements)
            .max()
            .unwrap_or(0)
            .max(1);
        let mut svg = format!(
            "<svg class=\"timeline\" viewBox=\"0 0 {} 60\" preserveAspectRatio=\"none\" role=\"img\" \
             aria-label=\"{}\">",
            columns.len() * 4,
            super::escape::Attribute(says),
        );
        // Writing to a String cannot fail.
        let _ = write!(
            svg,
            "<rect class=\"floor\" x=\"0\" y=\"{HEIGHT}\" width=\"{}\" height=\"1\"/>",
            columns.len() * 4
        );
        for (at, column) in columns.iter().enumerate() {
            let x = at * 4;
            let mut bar = |class: &str, top: u64, height: u64| {
                let _ = write!(
                    svg,
                    "<rect class=\"{class}\" x=\"{x}\" y=\"{top}\" width=\"3\" height=\"{height}\"/>"
                );
            };
            if column.statements > 0 {
                let height = (column.statements * (HEIGHT - 4) / most).max(2);
                bar("any", HEIGHT - height, height);
            }
            // What matters is seen however little of it there is.
            if column.denied > 0 {
                bar("denied", HEIGHT + 3, 9);
            } else if column.failed > 0 {
                bar("failed", HEIGHT + 3, 9);
            } else if column.held > 0 {
                bar("held", HEIGHT + 3, 9);
            }
        }
        svg.push_str("</svg>");
        svg
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_of_any_length_has_the_same_number_of_columns() {
        let mut timeline = Timeline::new(UnixMillis(1000));
        let denied = Some(Kind::Ruled(Ruled::Denied));
        for at in [1000, 1100, 500, 1000 + 86_400_000] {
            timeline.add(UnixMillis(at), denied);
        }
        timeline.add(UnixMillis(i64::MAX), Some(Kind::Failed));
        let columns = timeline.columns();
        assert!(columns.len() <= COLUMNS);
        let sum = |of: fn(&Column) -> u64| columns.iter().map(of).sum::<u64>();
        assert_eq!((sum(|c| c.denied), sum(|c| c.failed)), (4, 1));
        assert!(timeline.draw("x").len() < 20_000);
    }
}
