//! `policy test`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Serialize;

use node_agent::policy::cases::{self, CaseResult};

use super::super::{Answer, out};

/// How many lines of a statement a difference shows.
const LINES: usize = 6;

#[derive(Debug, clap::Args)]
pub(crate) struct Test {
    /// Files, and directories of .md files
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Only cases whose heading or file holds this, whatever its case
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Name the cases that pass, too
    #[arg(long, short)]
    verbose: bool,
    /// JSON
    #[arg(long)]
    json: bool,
}

/// What came of it, for programs.
#[derive(Serialize)]
struct Report<'a> {
    passed: usize,
    failed: usize,
    cases: &'a [CaseResult],
}

impl Test {
    pub(super) fn run(self) -> anyhow::Result<Answer> {
        let mut results: Vec<CaseResult> = Vec::new();
        let mut files = 0;
        for path in case_files(&self.paths)? {
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let beside = path.parent().unwrap_or_else(|| Path::new(".")).to_owned();
            // Beside the case file first, so that a directory of cases can be moved as one.
            let load = |name: &str| {
                fs::read_to_string(beside.join(name))
                    .or_else(|_| fs::read_to_string(name))
                    .ok()
            };
            let before = results.len();
            results.extend(cases::run(&text, &path.display().to_string(), &[], &load));
            files += usize::from(results.len() > before);
        }
        if let Some(only) = &self.only {
            let only = only.to_lowercase();
            results.retain(|case| {
                case.name.to_lowercase().contains(&only)
                    || case.source_name.to_lowercase().contains(&only)
            });
        }
        // No case is no proof: a wrong path or word must not look like a green run.
        match (&self.only, results.is_empty()) {
            (_, false) => {}
            (None, true) => {
                bail!("no cases found; a case is a `sql` block followed by an `expect` block")
            }
            (Some(only), true) => bail!("no case has {only:?} in its heading or file"),
        }
        let failed = results.iter().filter(|case| !case.passed).count();
        let passed = results.len() - failed;
        if self.json {
            out::json(&Report {
                passed,
                failed,
                cases: &results,
            })?;
        } else {
            for case in &results {
                if !case.passed {
                    difference(case)?;
                } else if self.verbose {
                    let CaseResult {
                        source_name,
                        line,
                        name,
                        ..
                    } = case;
                    out::line(format!("ok    {source_name}:{line}: {name}"))?;
                }
            }
            let word = if files == 1 { "file" } else { "files" };
            out::line(format!(
                "{} cases in {files} {word}, {failed} failed",
                results.len()
            ))?;
        }
        Ok(if failed == 0 {
            Answer::Good
        } else {
            Answer::No
        })
    }
}

/// One case that did not pass: where, what was asked, what was expected and what came of it.
fn difference(case: &CaseResult) -> anyhow::Result<()> {
    out::line(format!(
        "FAIL  {}:{}: {}",
        case.source_name, case.line, case.name
    ))?;
    let mut lines = case.sql.lines();
    for line in lines.by_ref().take(LINES) {
        out::line(format!("    | {line}"))?;
    }
    match lines.count() {
        0 => {}
        more => out::line(format!("    | … {more} more"))?,
    }
    if case.differs.is_empty() {
        out::line(format!("    {}", case.actual))?;
    }
    for one in &case.differs {
        out::line(format!("    - {}", one.expected))?;
        out::line(format!("    + {}", one.decided))?;
    }
    for (at, rule) in case.rules.iter().enumerate() {
        let by = if at == 0 { "by" } else { "  " };
        out::line(format!("    {by} {rule}"))?;
    }
    out::line("")
}

fn case_files(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        let facts = fs::metadata(path).with_context(|| path.display().to_string())?;
        if !facts.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut inside = Vec::new();
        for entry in fs::read_dir(path).with_context(|| path.display().to_string())? {
            let found = entry?.path();
            if found.is_dir() || found.extension().is_some_and(|ending| ending == "md") {
                inside.push(found);
            }
        }
        inside.sort();
        let (directories, texts): (Vec<PathBuf>, Vec<PathBuf>) =
            inside.into_iter().partition(|found| found.is_dir());
        files.extend(texts);
        files.extend(case_files(&directories)?);
    }
    Ok(files)
}
