//! `policy check`, `policy explain`, `policy test`: the same compiler and the same judge as the
//! daemon's, without a daemon.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Subcommand;

use node_agent::clock;
use node_agent::feed::load_policies;
use node_agent::policy::cases::{self, Asker, CaseResult};
use node_agent::policy::{Decision, Explanation, RuleRef, explain};

use super::{Answer, out};

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Compile policies as the daemon would; every fault with file, line and column
    #[command(after_help = "Examples:\n  node-agent policy check policies/\n  \
                            node-agent policy check claude.yaml dba.yaml")]
    Check {
        /// Files, and directories of .yaml and .yml files
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
        /// JSON
        #[arg(long)]
        json: bool,
    },
    /// What would be decided of a statement, by which rules, under which masks
    ///
    /// Names are taken as written: no database is asked which schema an unqualified one means.
    /// Exit status 1: it would not simply run.
    #[command(
        after_help = "Examples:\n  node-agent policy explain --policies policies/ \
                            --target orders --group ai-agents 'SELECT * FROM sales.orders'\n  \
                            node-agent policy explain --policies p.yaml --target orders \
                            --workload claude --name customers=sales 'DELETE FROM customers'"
    )]
    Explain(Box<Explain>),
    /// Run Markdown case files: prose, a policy, a statement, the decision expected of it
    ///
    /// Paths in a `policies` block are looked for beside the case file, then from here.
    #[command(after_help = "Examples:\n  node-agent policy test policies/cases/\n  \
                            node-agent policy test --json orders.md")]
    Test {
        /// Files, and directories of .md files
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
        /// JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    /// Policy files and directories
    #[arg(long, required = true, value_name = "PATH", num_args = 1..)]
    policies: Vec<PathBuf>,
    /// The target
    #[arg(long)]
    target: String,
    /// A group of the user; may be given again
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// The workload
    #[arg(long, default_value = "")]
    workload: String,
    /// The user (the token's subject)
    #[arg(long, default_value = "somebody")]
    user: String,
    /// The issuer of the user's token
    #[arg(long, default_value = "https://issuer.example")]
    issuer: String,
    /// The database in the target
    #[arg(long, default_value = "postgres")]
    database: String,
    /// The role the agent uses there
    #[arg(long, default_value = "")]
    role: String,
    /// A label of the workload
    #[arg(long = "label", value_name = "NAME=TEXT")]
    labels: Vec<String>,
    /// What an unqualified name stands for; may be given again
    #[arg(long = "name", value_name = "TABLE=SCHEMA")]
    names: Vec<String>,
    /// The moment, RFC 3339 (default: now)
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// JSON
    #[arg(long)]
    json: bool,
    /// The statement
    sql: String,
}

impl PolicyCommand {
    pub(crate) fn run(self) -> anyhow::Result<Answer> {
        match self {
            PolicyCommand::Check { paths, json } => check(&paths, json),
            PolicyCommand::Explain(explain) => explain.run(),
            PolicyCommand::Test { paths, json } => test(&paths, json),
        }
    }
}

fn check(paths: &[PathBuf], json: bool) -> anyhow::Result<Answer> {
    match load_policies(paths) {
        Ok(set) => {
            let version = set.version();
            if json {
                out::json(&serde_json::json!({ "good": true, "version": &*version }))?;
            } else {
                out::line(format!("good; version {version}"))?;
            }
            Ok(Answer::Good)
        }
        Err(fault) => {
            let words = fault.to_string();
            if json {
                let faults: Vec<&str> = words.lines().collect();
                out::json(&serde_json::json!({ "good": false, "faults": faults }))?;
            } else {
                out::line(words)?;
            }
            Ok(Answer::No)
        }
    }
}

impl Explain {
    fn run(self) -> anyhow::Result<Answer> {
        let set = load_policies(&self.policies)?;
        let mut asker = Asker {
            user: self.user,
            issuer: self.issuer,
            groups: self.groups,
            workload: self.workload,
            target: self.target,
            database: self.database,
            role: self.role,
            ..Asker::default()
        };
        for label in &self.labels {
            let (name, text) = pair(label, "--label NAME=TEXT")?;
            asker.labels.insert(name.to_owned(), text.to_owned());
        }
        for name in &self.names {
            let (table, schema) = pair(name, "--name TABLE=SCHEMA")?;
            asker
                .names
                .entry(table.to_owned())
                .or_default()
                .push(schema.to_owned());
        }
        if let Some(at) = self.at.as_ref() {
            asker.now.clone_from(at);
        }
        let mut question = asker.question(&self.sql).map_err(anyhow::Error::msg)?;
        if self.at.is_none() {
            question.now = clock::now();
        }
        let explanation = explain(&set, &question);
        if self.json {
            out::json(&explanation)?;
        } else {
            show(&explanation)?;
        }
        Ok(match explanation.decision {
            Decision::Allow(_) => Answer::Good,
            Decision::Hold(_) | Decision::Deny(_) => Answer::No,
        })
    }
}

fn pair<'a>(text: &'a str, form: &str) -> anyhow::Result<(&'a str, &'a str)> {
    text.split_once('=')
        .with_context(|| format!("{text:?} is not {form}"))
}

fn named(rule: &RuleRef) -> String {
    format!("{}/{}", rule.policy, rule.rule)
}

fn show(explanation: &Explanation) -> anyhow::Result<()> {
    match &explanation.decision {
        Decision::Allow(allow) => {
            let rules: Vec<String> = allow.rules.iter().map(named).collect();
            out::line(format!("allow, by {}", rules.join(", ")))?;
            let limits = &allow.obligations.limits;
            for (what, most) in [
                ("rows returned", limits.rows_returned),
                ("bytes returned", limits.bytes_returned),
                ("milliseconds", limits.statement_timeout_ms),
                ("rows affected", limits.rows_affected),
            ] {
                if let Some(most) = most {
                    out::line(format!("  at most {most} {what}"))?;
                }
            }
            for budget in &allow.obligations.budgets {
                let (policy, most) = (&budget.policy, budget.most);
                out::line(format!("  charged to budget {budget} of {policy}: {most}"))?;
            }
            if let Some(observed) = &allow.observed {
                let would = match &**observed {
                    Decision::Allow(_) => "allow it",
                    Decision::Hold(_) => "hold it for a human",
                    Decision::Deny(_) => "refuse it",
                };
                out::line(format!("  observed only: enforcing would {would}"))?;
            }
        }
        Decision::Hold(hold) => {
            out::line(format!("hold, by {}", named(&hold.rule)))?;
            out::line(format!("  reviewers: {}", hold.reviewers.join(", ")))?;
            out::line(format!("  lapses after {} s", hold.timeout_seconds))?;
        }
        Decision::Deny(denial) => {
            let by = denial
                .rule
                .as_ref()
                .map_or_else(|| "default".to_owned(), named);
            out::line(format!("deny, by {by}"))?;
            out::line(format!("  {}", denial.refusal.message))?;
            for more in [&denial.refusal.detail, &denial.refusal.hint]
                .into_iter()
                .flatten()
            {
                out::line(format!("  {more}"))?;
            }
        }
    }
    section("the statement", explanation.statements.iter().cloned())?;
    section(
        "rules about this principal and target",
        explanation.rules.iter().map(|note| {
            let about = if note.about_it { "speaks" } else { "silent" };
            let effect = format!("{:?}", note.effect).to_lowercase();
            let condition = note.condition.map(|c| format!(", its condition {c}"));
            format!(
                "{} ({effect}): {about}{}",
                named(&note.rule),
                condition.unwrap_or_default()
            )
        }),
    )?;
    section("masks in force", explanation.masks.iter().map(named))?;
    section(
        "policies about somebody else",
        explanation.other_policies.iter().cloned(),
    )
}

fn section(title: &str, lines: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let mut lines = lines.peekable();
    if lines.peek().is_some() {
        out::line(format!("\n{title}:"))?;
    }
    for line in lines {
        out::line(format!("  {line}"))?;
    }
    Ok(())
}

fn test(paths: &[PathBuf], json: bool) -> anyhow::Result<Answer> {
    let mut results: Vec<CaseResult> = Vec::new();
    for path in case_files(paths)? {
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let beside = path.parent().unwrap_or_else(|| Path::new(".")).to_owned();
        // Beside the case file first, so that a directory of cases can be moved as one.
        let load = |name: &str| {
            fs::read_to_string(beside.join(name))
                .or_else(|_| fs::read_to_string(name))
                .ok()
        };
        results.extend(cases::run(&text, &path.display().to_string(), &[], &load));
    }
    // No case is no proof: a wrong path must not look like a green run.
    if results.is_empty() {
        bail!("no cases found; a case is a `sql` block followed by an `expect` block");
    }
    let failed = results.iter().filter(|case| !case.passed).count();
    if json {
        out::json(&results)?;
    } else {
        for case in results.iter().filter(|case| !case.passed) {
            out::line(format!("{}:{}: {}", case.source_name, case.line, case.name))?;
            out::line(format!("  expected {}", case.expected.replace('\n', " · ")))?;
            out::line(format!("  decided  {}", case.actual))?;
        }
        out::line(format!("{} cases, {failed} failed", results.len()))?;
    }
    Ok(if failed == 0 {
        Answer::Good
    } else {
        Answer::No
    })
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
