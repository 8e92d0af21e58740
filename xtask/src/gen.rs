//! `cargo xtask gen`: the references under docs/reference, as the built agent tells them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{compile, ground, run};

/// What the agent is asked for; each answer becomes one file under docs/reference.
const PAGES: [(&[&str], &str); 6] = [
    (&["reference", "config"], "config.md"),
    (&["reference", "policy"], "policy.md"),
    (&["policy", "schema"], "policy.schema.json"),
    (&["reference", "metrics"], "metrics.md"),
    (&["reference", "events"], "events.md"),
    (&["reference", "errors"], "errors.md"),
];

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask gen              write docs/reference\n  \
    cargo xtask gen --check      fail when a page differs from what the agent tells\n  \
    cargo xtask gen --dry-run    print the pages")]
pub(crate) struct Arguments {
    /// Write nothing; fail when a page is not what the agent tells
    #[arg(long, conflicts_with = "dry_run")]
    check: bool,
    /// Write nothing; print the pages
    #[arg(long)]
    dry_run: bool,
}

/// What to do with the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Write,
    Check,
    DryRun,
}

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    generate(match (arguments.check, arguments.dry_run) {
        (true, _) => Mode::Check,
        (_, true) => Mode::DryRun,
        _ => Mode::Write,
    })
}

/// Builds the agent and goes through its pages.
pub(crate) fn generate(mode: Mode) -> Result<()> {
    compile::everything(compile::Said::Kept)?;
    let agent = ground::target().join("debug/node-agent");
    let mut stale = Vec::new();
    for (words, page) in PAGES {
        let text = run::captured(Command::new(&agent).args(words))?;
        let file = place(page);
        match mode {
            Mode::DryRun => println!("----- {}\n{text}", file.display()),
            Mode::Write => {
                if let Some(dir) = file.parent() {
                    fs::create_dir_all(dir)?;
                }
                fs::write(&file, &text)
                    .with_context(|| format!("cannot write {}", file.display()))?;
                println!("wrote {}", file.display());
            }
            Mode::Check => {
                let written = fs::read_to_string(&file).unwrap_or_default();
                if let Some(line) = first_difference(&written, &text) {
                    stale.push(format!("{}:{line}", file.display()));
                }
            }
        }
    }
    if !stale.is_empty() {
        bail!(
            "not what the agent tells: {}; `cargo xtask gen` writes them",
            stale.join(", ")
        );
    }
    Ok(())
}

fn place(page: &str) -> PathBuf {
    ground::root().join("docs/reference").join(page)
}

/// The first line (from 1) where two texts differ.
fn first_difference(left: &str, right: &str) -> Option<usize> {
    if left == right {
        return None;
    }
    let same = left
        .lines()
        .zip(right.lines())
        .take_while(|(l, r)| l == r)
        .count();
    Some(same + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_differing_line_is_named() {
        let table = [
            ("a\nb\n", "a\nb\n", None),
            ("a\nb\n", "a\nc\n", Some(2)),
            ("", "a\n", Some(1)),
            ("a\n", "a", Some(2)),
        ];
        for (left, right, expected) in table {
            assert_eq!(
                first_difference(left, right),
                expected,
                "{left:?} {right:?}"
            );
        }
    }
}
