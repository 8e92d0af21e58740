//! The generated references: `cargo xtask gen` compares what this prints with docs/reference.

use clap::ValueEnum;

use node_agent::config::KEYS;
use node_agent::model::{CAUSES, CHANGES, LINE_KEYS, LONGEST_LINE};
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
            Kind::Errors => errors(),
        };
        out::line(text.trim_end())?;
        Ok(Answer::Good)
    }
}

/// The errors, and the line for programs in their DETAIL.
fn errors() -> String {
    let kinds = table(
        "Errors a PostgreSQL client sees",
        &["SQLSTATE", "Kind", "Means"],
        node_agent::wire::pg::errors()
            .map(|(sqlstate, kind, means)| vec![code(sqlstate), code(&kind), cell(means)]),
    );
    let line = rows(
        &["Key", "Takes", "Means"],
        LINE_KEYS
            .iter()
            .map(|(key, takes, means)| vec![code(key), cell(takes), cell(means)]),
    );
    let causes = rows(
        &["Cause", "Means"],
        CAUSES.iter().map(|(cause, means)| {
            let name = serde_json::to_value(cause).unwrap_or_default();
            vec![code(name.as_str().unwrap_or_default()), cell(means)]
        }),
    );
    let changes = rows(
        &["Change", "Asks for"],
        CHANGES
            .iter()
            .map(|(change, asks)| vec![code(change), cell(asks)]),
    );
    format!(
        "{kinds}\n## The line for programs\n\nThe last line of DETAIL is one line of JSON, at most {LONGEST_LINE} bytes; the \
         sentences above it, and HINT, say the same for people. `node_agent`, `decision` and `code` are always there. New \
         keys, causes and changes may come; `node_agent` becomes another number if one changes its meaning. Names stand in it, never a value of a text \
         or a row.\n\n{line}\n## Causes\n\n{causes}\n## Changes of a suggestion\n\nAll of them together were judged by the policies \
         of that moment, made to what the statement does; `add_limit` changes nothing that is judged.\n\n{changes}"
    )
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn table(title: &str, head: &[&str], of: impl Iterator<Item = Vec<String>>) -> String {
    format!("# {title}\n\n{}", rows(head, of))
}

fn rows(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = format!("| {} |\n", head.join(" | "));
    text.push_str(&format!("|{}\n", " --- |".repeat(head.len())));
    for row in rows {
        text.push_str(&format!("| {} |\n", row.join(" | ")));
    }
    text
}
