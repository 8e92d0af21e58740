//! Pure. What came now, held against what is on record.

use std::collections::BTreeMap;

use serde::Serialize;

use super::line::Heard;
use super::plan::Step;
use crate::record::{Finished, RecordedCell};

/// Cells that are named of one statement.
const NAMED: usize = 5;
/// Characters of a cell that are shown.
const SHOWN: usize = 80;

/// What is other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(super) enum Difference {
    /// It failed then and not now, or the other way round, or by another error.
    Error {
        /// SQLSTATE.
        then: Option<String>,
        /// SQLSTATE and message.
        now: Option<String>,
    },
    /// Command tags.
    Tags { then: Vec<String>, now: Vec<String> },
    /// How many rows.
    Rows { then: u64, now: u64 },
    /// The names of columns.
    Columns { then: Vec<String>, now: Vec<String> },
    /// A cell, counted from 1.
    Cell {
        row: usize,
        column: String,
        then: String,
        now: String,
    },
    /// More cells than are named.
    MoreCells { cells: usize },
    /// The same rows in another order, where the text asks for one.
    Order,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) differences: Vec<Difference>,
    /// Cells that were covered then.
    pub(super) masked: u64,
    /// Rows that could not be compared.
    pub(super) unrecorded: u64,
    /// The same rows in another order, and the text asks for none.
    pub(super) reordered: bool,
}

/// Compares.
pub(super) fn compare(step: &Step, finished: &Finished, heard: &Heard) -> Found {
    let mut found = Found::default();
    let then = finished.error.as_ref().map(|(code, _)| code.clone());
    let now = heard.error.as_ref();
    if then.as_ref() != now.map(|(code, _)| code) {
        found.differences.push(Difference::Error {
            then,
            now: now.map(|(code, message)| format!("{code} {message}")),
        });
    }
    // A tag of a resumed or a suspended answer says how many rows there were in all.
    if finished.tags != heard.tags {
        found.differences.push(Difference::Tags {
            then: finished.tags.clone(),
            now: heard.tags.clone(),
        });
    }
    if finished.rows != heard.count {
        found.differences.push(Difference::Rows {
            then: finished.rows,
            now: heard.count,
        });
    }
    // A copy of masked data was made of rows: its cells are not those of copy data.
    if heard.copied && step.head.is_some() {
        found.unrecorded += heard.count;
        return found;
    }
    let names: Vec<String> = step
        .head
        .iter()
        .flat_map(|head| &head.columns)
        .map(|c| c.name.to_string())
        .collect();
    if let Some(columns) = heard.columns.as_ref().filter(|_| step.head.is_some()) {
        let now: Vec<String> = columns.iter().map(|(name, _)| name.clone()).collect();
        if now != names {
            found
                .differences
                .push(Difference::Columns { then: names, now });
            return found;
        }
    }
    cells(step, finished, heard, &names, &mut found);
    found
}

fn cells(step: &Step, finished: &Finished, heard: &Heard, names: &[String], found: &mut Found) {
    let masked = |column: usize| {
        let by_mask = finished
            .masked
            .iter()
            .any(|(at, _)| usize::from(*at) == column);
        let by_net = |name: &String| {
            finished
                .found
                .iter()
                .any(|one| one.covered && *one.output == **name)
        };
        by_mask || names.get(column).is_some_and(by_net)
    };
    let most = step
        .rows
        .len()
        .min(usize::try_from(heard.count).unwrap_or(usize::MAX));
    found.unrecorded += heard.count.saturating_sub(most as u64);
    let mut other = Vec::new();
    for (at, (then, now)) in step.rows.iter().zip(&heard.rows).enumerate() {
        for (column, (then, now)) in then.iter().zip(now).enumerate() {
            if masked(column) {
                found.masked += 1;
            } else if !same(then, now) {
                other.push((at, column, then, now));
            }
        }
    }
    if other.is_empty() {
        return;
    }
    let asks = step.text().is_some_and(asks_for_order);
    let whole =
        !step.beyond && step.rows.len() as u64 == finished.rows && finished.rows == heard.count;
    if whole && same_rows(step, heard, &masked) {
        match asks {
            true => found.differences.push(Difference::Order),
            false => found.reordered = true,
        }
        return;
    }
    if !whole && !asks && finished.rows == heard.count {
        // The beginning of an answer without an order says nothing.
        found.unrecorded += most as u64;
        return;
    }
    let cell = |(at, column, then, now): &(usize, usize, &RecordedCell, &RecordedCell)| {
        let name = names.get(*column).cloned();
        Difference::Cell {
            row: at + 1,
            column: name.unwrap_or_else(|| (column + 1).to_string()),
            then: shown(then),
            now: shown(now),
        }
    };
    found.differences.extend(other.iter().take(NAMED).map(cell));
    let more = other.len().saturating_sub(NAMED);
    if more > 0 {
        found
            .differences
            .push(Difference::MoreCells { cells: more });
    }
}

/// Of cells that are longer than is kept, only the lengths are compared.
fn same(then: &RecordedCell, now: &RecordedCell) -> bool {
    match then {
        RecordedCell::Long(length) => match now {
            RecordedCell::Text(text) => text.len() as u64 == *length,
            RecordedCell::Binary(hex) => hex.len() as u64 / 2 == *length,
            RecordedCell::Long(now) => now == length,
            RecordedCell::Begins { length: now, .. } => now == length,
            RecordedCell::Null => false,
        },
        // Of texts the beginnings are compared as well.
        RecordedCell::Begins { text, length } => match now {
            RecordedCell::Text(now) => now.len() as u64 == *length && now.starts_with(text),
            RecordedCell::Begins {
                text: other,
                length: now,
            } => now == length && (other.starts_with(text) || text.starts_with(other)),
            RecordedCell::Null | RecordedCell::Binary(_) | RecordedCell::Long(_) => false,
        },
        RecordedCell::Null | RecordedCell::Text(_) | RecordedCell::Binary(_) => then == now,
    }
}

/// The same rows, whatever their order.
fn same_rows(step: &Step, heard: &Heard, masked: &impl Fn(usize) -> bool) -> bool {
    let mut count: BTreeMap<String, i64> = BTreeMap::new();
    let key = |row: &Vec<RecordedCell>| {
        let cells = row.iter().enumerate().filter(|(at, _)| !masked(*at));
        format!("{:?}", cells.map(|(_, cell)| cell).collect::<Vec<_>>())
    };
    for row in &step.rows {
        *count.entry(key(row)).or_default() += 1;
    }
    for row in &heard.rows {
        *count.entry(key(row)).or_default() -= 1;
    }
    count.values().all(|left| *left == 0)
}

fn asks_for_order(text: &str) -> bool {
    let words: Vec<String> = text
        .split_whitespace()
        .map(str::to_ascii_lowercase)
        .collect();
    words
        .windows(2)
        .any(|two| matches!(two, [one, two] if one.ends_with("order") && two == "by"))
}

fn shown(cell: &RecordedCell) -> String {
    match cell {
        RecordedCell::Null => "NULL".to_owned(),
        RecordedCell::Long(length) => format!("({length} bytes)"),
        RecordedCell::Text(text)
        | RecordedCell::Binary(text)
        | RecordedCell::Begins { text, .. } => {
            let mut short: String = text.chars().take(SHOWN).collect();
            if short.len() < text.len() {
                short.push('…');
            }
            short
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::fixtures;

    fn step(text: &str, rows: &[&[&str]]) -> Step {
        let mut step = Step::new(Box::new(fixtures::decided(1, text, fixtures::allow())));
        step.head = Some(fixtures::head(&["a", "b"]));
        step.rows = table(rows);
        step
    }

    fn table(rows: &[&[&str]]) -> Vec<Vec<RecordedCell>> {
        let row = |row: &&[&str]| {
            row.iter()
                .map(|cell| RecordedCell::Text((*cell).to_owned()))
                .collect()
        };
        rows.iter().map(row).collect()
    }

    fn heard(rows: &[&[&str]]) -> Heard {
        Heard {
            rows: table(rows),
            count: rows.len() as u64,
            tags: vec![format!("SELECT {}", rows.len())],
            ..Heard::default()
        }
    }

    #[test]
    fn rows_are_compared_cell_by_cell_and_masked_ones_left_out() {
        let rule = crate::policy::RuleRef {
            policy: "p".into(),
            rule: "m".into(),
        };
        let recorded: &[&[&str]] = &[&["1", "x"], &["2", "y"]];
        for (text, now, masked, differences, reordered) in [
            (
                "select 1",
                &[&["1", "x"][..], &["2", "y"]][..],
                false,
                0,
                false,
            ),
            ("select 1", &[&["1", "x"], &["2", "z"]], false, 1, false),
            ("select 1", &[&["1", "q"], &["2", "z"]], true, 0, false),
            ("select 1", &[&["2", "y"], &["1", "x"]], false, 0, true),
            (
                "select 1 ORDER  BY 1",
                &[&["2", "y"], &["1", "x"]],
                false,
                1,
                false,
            ),
            // Another count, another tag.
            ("select 1", &[&["1", "x"]], false, 2, false),
        ] {
            let mut finished = fixtures::finished(1, 2);
            if masked {
                finished.masked.push((1, rule.clone()));
            }
            let found = compare(&step(text, recorded), &finished, &heard(now));
            assert_eq!(found.differences.len(), differences, "{now:?}: {found:?}");
            assert_eq!(found.reordered, reordered, "{now:?}");
            assert_eq!(found.masked, if masked { 2 } else { 0 });
        }
    }

    #[test]
    fn another_error_is_a_difference_and_the_same_one_is_none() {
        let of = |code: &str| Some((code.to_owned(), "words".to_owned()));
        for (then, now, other) in [
            (None, None, false),
            (of("42P01"), of("42P01"), false),
            (of("42P01"), of("42703"), true),
            (of("42P01"), None, true),
            (None, of("40001"), true),
        ] {
            let finished = Finished {
                error: then,
                tags: Vec::new(),
                ..fixtures::finished(1, 0)
            };
            let heard = Heard {
                error: now,
                ..Heard::default()
            };
            let found = compare(&step("select 1", &[]), &finished, &heard);
            assert_eq!(!found.differences.is_empty(), other, "{found:?}");
        }
    }
}
