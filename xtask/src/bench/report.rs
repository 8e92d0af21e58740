//! Figures, their medians and ratios, as a table and as JSON.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Way;
use crate::ground;

/// How a figure is compared with the direct connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// More is better: transactions in a second.
    PerSecond,
    /// Less is better: microseconds.
    Micros,
    /// CPU seconds of the proxy; there is no direct figure.
    CpuSeconds,
    /// Memory of the proxy; there is no direct figure.
    KiB,
}

/// All figures, by what was measured and by which way the connection went.
#[derive(Default)]
pub(super) struct Figures {
    order: Vec<(String, Unit)>,
    values: BTreeMap<(String, &'static str), Vec<f64>>,
}

impl Figures {
    pub(super) fn add(&mut self, what: &str, unit: Unit, way: &'static str, value: f64) {
        if !self.order.iter().any(|(known, _)| known == what) {
            self.order.push((what.to_owned(), unit));
        }
        self.values
            .entry((what.to_owned(), way))
            .or_default()
            .push(value);
    }

    fn median(&self, what: &str, way: &'static str) -> Option<f64> {
        median(self.values.get(&(what.to_owned(), way))?)
    }

    /// The table: each cell is the median, and its ratio to the direct connection.
    pub(super) fn print(&self) {
        println!(
            "\n{:<38} {:>15} {:>15} {:>15} {:>15}   agent / PgBouncer",
            "", "direct", "relay", "PgBouncer", "agent"
        );
        for (what, unit) in &self.order {
            let base = self.median(what, Way::Direct.name());
            let mut line = format!("{what:<38}");
            for way in Way::ALL {
                line += &format!(" {:>15}", cell(self.median(what, way.name()), base, *unit));
            }
            let pair = (
                self.median(what, Way::Agent.name()),
                self.median(what, Way::Bouncer.name()),
            );
            if let (Some(agent), Some(bouncer)) = pair
                && bouncer > 0.0
            {
                line += &format!("   {:.2}", agent / bouncer);
            }
            println!("{line}");
        }
    }

    /// Writes everything to target/bench.
    pub(super) fn write(&self, extra: &Value) -> Result<PathBuf> {
        let dir = ground::target().join("bench");
        fs::create_dir_all(&dir)?;
        let rows: Vec<Value> = self
            .order
            .iter()
            .map(|(what, unit)| {
                let mut row = json!({ "what": what, "unit": format!("{unit:?}") });
                for way in Way::ALL {
                    if let Some(values) = self.values.get(&(what.clone(), way.name()))
                        && let Some(object) = row.as_object_mut()
                    {
                        object.insert(
                            way.name().to_owned(),
                            json!({ "median": median(values), "all": values }),
                        );
                    }
                }
                row
            })
            .collect();
        let all = json!({ "figures": rows, "world": extra });
        let text = serde_json::to_string_pretty(&all)?;
        for name in [
            format!("{}.json", std::process::id()),
            "latest.json".to_owned(),
        ] {
            fs::write(dir.join(&name), &text).with_context(|| format!("cannot write {name}"))?;
        }
        Ok(dir.join("latest.json"))
    }
}

fn cell(value: Option<f64>, base: Option<f64>, unit: Unit) -> String {
    let Some(value) = value else {
        return "-".to_owned();
    };
    let shown = match unit {
        Unit::PerSecond | Unit::KiB => format!("{value:.0}"),
        Unit::Micros => format!("{value:.1}"),
        Unit::CpuSeconds => format!("{value:.2}"),
    };
    match base {
        Some(base) if base > 0.0 => format!("{shown} ({:.2})", value / base),
        _ => shown,
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        return sorted.get(middle).copied();
    }
    Some((sorted.get(middle.checked_sub(1)?)? + sorted.get(middle)?) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let table: &[(&[f64], Option<f64>)] = &[
            (&[], None),
            (&[3.0], Some(3.0)),
            (&[9.0, 1.0, 5.0], Some(5.0)),
            (&[4.0, 2.0], Some(3.0)),
        ];
        for (values, expected) in table {
            assert_eq!(median(values), *expected);
        }
    }

    #[test]
    fn a_cell_holds_the_figure_and_its_ratio() {
        assert_eq!(
            cell(Some(500.0), Some(1000.0), Unit::PerSecond),
            "500 (0.50)"
        );
        assert_eq!(cell(Some(0.5), None, Unit::CpuSeconds), "0.50");
        assert_eq!(cell(None, Some(1.0), Unit::Micros), "-");
    }
}
