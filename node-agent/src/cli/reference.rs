//! The generated references: `cargo xtask gen` compares what this prints with docs/reference.

use clap::ValueEnum;

use node_agent::config::KEYS;
use node_agent::telemetry::METRICS;

use super::{Answer, out};

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Config,
    Policy,
    Metrics,
    Events,
    Errors,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Reference {
    /// Which
    #[arg(value_enum)]
    kind: Kind,
}

impl Reference {
    pub(crate) fn run(self) -> anyhow::Result<Answer> {
        let text = match self.kind {
            Kind::Config => table(
                "Configuration",
                &["Key", "Takes", "Default", "Means"],
                KEYS.iter()
                    .map(|k| vec![code(k.path), cell(k.takes), cell(k.default), cell(k.means)]),
            ),
            Kind::Metrics => table(
                "Metrics",
                &["Metric", "Kind", "Labels", "Means"],
                METRICS
                    .iter()
                    .map(|m| vec![code(m.name), cell(m.kind), cell(m.labels), cell(m.means)]),
            ),
            Kind::Policy => node_agent::policy::reference(),
            Kind::Events => table(
                "Events of a recording",
                &["Event", "When", "Holds"],
                node_agent::record::EVENTS
                    .iter()
                    .map(|(name, when, holds)| vec![code(name), cell(when), cell(holds)]),
            ),
            Kind::Errors => table(
                "Errors a PostgreSQL client sees",
                &["SQLSTATE", "Kind", "Means"],
                node_agent::wire::pg::errors()
                    .map(|(sqlstate, kind, means)| vec![code(sqlstate), code(&kind), cell(means)]),
            ),
        };
        out::line(text.trim_end())?;
        Ok(Answer::Good)
    }
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn table(title: &str, head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = format!("# {title}\n\n| {} |\n", head.join(" | "));
    text.push_str(&format!("|{}\n", " --- |".repeat(head.len())));
    for row in rows {
        text.push_str(&format!("| {} |\n", row.join(" | ")));
    }
    text
}
