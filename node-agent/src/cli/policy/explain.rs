//! `policy explain`.

use std::io::Read;
use std::path::PathBuf;

use anyhow::Context;

use node_agent::approval::time;
use node_agent::clock;
use node_agent::feed::load_policies;
use node_agent::policy::cases::Asker;
use node_agent::policy::{
    ColumnNote, ContentMode, ContentRule, Decision, Explanation, Gate, MaskNote, Mode, ObjectNote,
    OnRequestNote, Predicates, RuleNote, StatementNote, explain,
};

use super::super::{Answer, catalogue, out};
use super::named;

/// The longest statement that is read from standard input, bytes.
const LONGEST: u64 = 16 << 20;

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
    /// The database in the target (default: that of the catalogue, else postgres)
    #[arg(long)]
    database: Option<String>,
    /// The role the agent uses there
    #[arg(long, default_value = "")]
    role: String,
    /// What the client calls itself
    #[arg(long, value_name = "NAME")]
    application: Option<String>,
    /// A label of the workload; may be given again
    #[arg(long = "label", value_name = "NAME=TEXT")]
    labels: Vec<String>,
    /// A claim of the user's token, JSON or a word; may be given again
    #[arg(long = "claim", value_name = "NAME=VALUE")]
    claims: Vec<String>,
    /// What an unqualified name stands for; may be given again
    #[arg(long = "name", value_name = "TABLE=SCHEMA")]
    names: Vec<String>,
    /// A database to resolve names by: what `catalogue dump` wrote, or a postgres:// URL
    #[arg(long, value_name = "FILE|URL", conflicts_with = "names")]
    catalogue: Option<String>,
    /// A policy with `access` that is supposed to be granted; may be given again
    #[arg(long = "access", value_name = "POLICY")]
    access: Vec<String>,
    /// The moment, RFC 3339 (default: now)
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// JSON
    #[arg(long)]
    json: bool,
    /// The statement; `-` reads it from standard input
    sql: String,
}

impl Explain {
    pub(super) fn run(self) -> anyhow::Result<Answer> {
        let set = load_policies(&self.policies)?;
        let inventory = self.catalogue.as_deref().map(catalogue::open).transpose()?;
        let of_catalogue = inventory
            .as_ref()
            .map(|inventory| inventory.database.clone());
        let mut asker = Asker {
            user: self.user,
            issuer: self.issuer,
            groups: self.groups,
            workload: self.workload,
            target: self.target,
            database: self
                .database
                .or(of_catalogue)
                .unwrap_or_else(|| "postgres".to_owned()),
            role: self.role,
            application: self.application,
            access: self.access,
            ..Asker::default()
        };
        for label in &self.labels {
            let (name, text) = pair(label, "--label NAME=TEXT")?;
            asker.labels.insert(name.to_owned(), text.to_owned());
        }
        for claim in &self.claims {
            let (name, text) = pair(claim, "--claim NAME=VALUE")?;
            let value = serde_json::from_str(text).unwrap_or_else(|_| text.into());
            asker.claims.insert(name.to_owned(), value);
        }
        for name in &self.names {
            let (table, schema) = pair(name, "--name TABLE=SCHEMA")?;
            let schemas = asker.names.entry(table.to_owned()).or_default();
            schemas.push(schema.to_owned());
        }
        if let Some(at) = self.at.as_ref() {
            asker.now.clone_from(at);
        }
        let sql = if self.sql == "-" {
            standard_input()?
        } else {
            self.sql
        };
        let mut question = asker.question(&sql).map_err(anyhow::Error::msg)?;
        if self.at.is_none() {
            question.now = clock::now();
        }
        if let Some(inventory) = &inventory {
            question.names = inventory.resolve(&question.analysis).into();
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

fn standard_input() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin()
        .take(LONGEST)
        .read_to_string(&mut text)
        .context("the statement cannot be read from standard input")?;
    Ok(text)
}

fn pair<'a>(text: &'a str, form: &str) -> anyhow::Result<(&'a str, &'a str)> {
    text.split_once('=')
        .with_context(|| format!("{text:?} is not {form}"))
}

fn show(explanation: &Explanation) -> anyhow::Result<()> {
    match &explanation.decision {
        Decision::Allow(allow) => {
            let rules: Vec<String> = allow.rules.iter().map(named).collect();
            let by = if rules.is_empty() {
                "since anybody with a rule at all may, or only observing policies are about it"
                    .to_owned()
            } else {
                format!("by {}", rules.join(", "))
            };
            out::line(format!("allow, {by}"))?;
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
            if allow.obligations.touches_masked {
                out::line("  what it shows of masked columns is replaced")?;
            }
            if allow.fleeting {
                out::line("  at another moment or for another claim it could be otherwise")?;
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
            let asks = &hold.asks;
            if asks.gate == Gate::Commit {
                out::line("  it runs, and the COMMIT of its transaction is held")?;
            }
            out::line(format!("  reviewers: {}", asks.reviewers))?;
            if asks.quorum > 1 {
                out::line(format!("  {} of them must agree", asks.quorum))?;
            }
            match asks.timeout_seconds {
                Some(seconds) => out::line(format!("  lapses after {seconds} s"))?,
                None => out::line("  lapses after approvals.timeout")?,
            }
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
    if let Some(why) = &explanation.unsure {
        section("it cannot be judged", [why.clone()])?;
    }
    let many = explanation.statements.len() > 1;
    for (at, statement) in explanation.statements.iter().enumerate() {
        let title = if many {
            format!("statement {} of {}", at + 1, explanation.statements.len())
        } else {
            "the statement".to_owned()
        };
        section(&title, statement_lines(statement))?;
    }
    section(
        "rules about this principal and target",
        explanation.rules.iter().map(rule_line),
    )?;
    section("masks in force", explanation.masks.iter().map(mask_line))?;
    section(
        "content nets in force",
        explanation.content.iter().map(content_line),
    )?;
    section(
        "policies that are granted on request",
        explanation.on_request.iter().map(on_request_line),
    )?;
    section(
        "policies about somebody else",
        explanation.other_policies.iter().cloned(),
    )
}

fn statement_lines(statement: &StatementNote) -> Vec<String> {
    let no_where = if statement.missing_where {
        ", without WHERE"
    } else {
        ""
    };
    let mut lines = vec![format!(
        "is       {}{no_where}",
        statement.kinds.join(" + ")
    )];
    lines.extend(statement.objects.iter().map(object_line));
    for function in &statement.functions {
        let class = match function.why {
            Some(why) => format!("refused: {why}"),
            None => function.class.to_owned(),
        };
        lines.push(format!(
            "calls    {}/{}: {class}",
            function.name, function.arguments
        ));
    }
    let mut by_role: Vec<(String, Vec<&str>)> = Vec::new();
    for ColumnNote { name, role } in &statement.columns {
        let role = format!("{role:?}").to_lowercase();
        match by_role.iter_mut().find(|(known, _)| *known == role) {
            Some((_, names)) => names.push(name),
            None => by_role.push((role, vec![name])),
        }
    }
    let columns = by_role
        .iter()
        .map(|(role, names)| format!("columns  {}: {role}", names.join(", ")));
    lines.extend(columns);
    lines
}

fn object_line(object: &ObjectNote) -> String {
    let touch = format!("{:?}", object.touch).to_lowercase();
    let mut line = format!(
        "{:<8} {}",
        format!("{touch}s").replace("ys", "ies"),
        object.name
    );
    match object.schemas.as_deref() {
        None => {}
        Some([]) => line.push_str(": in no schema that is known here"),
        Some(schemas) => line.push_str(&format!(": in {}", schemas.join(", "))),
    }
    if !object.reaches.is_empty() {
        line.push_str(&format!("; reaches {}", object.reaches.join(", ")));
    }
    line
}

fn rule_line(note: &RuleNote) -> String {
    let about = match (note.decided, note.about_it) {
        (true, _) => "decides",
        (false, true) => "is about it",
        (false, false) => "is about something else",
    };
    let effect = format!("{:?}", note.effect).to_lowercase();
    let observes = match note.mode {
        Mode::Enforce => "",
        Mode::Observe => ", observes only",
    };
    let condition = note
        .condition
        .map(|c| format!(", its condition {c}"))
        .unwrap_or_default();
    let place = note
        .place
        .as_ref()
        .map(|at| format!("  {at}"))
        .unwrap_or_default();
    format!(
        "{} ({effect}) {about}{condition}{observes}{place}",
        named(&note.rule)
    )
}

fn on_request_line(note: &OnRequestNote) -> String {
    let helps = match note.helps {
        true => "would let it run",
        false => "would not let it run, or need not",
    };
    format!(
        "{} {helps}: granted by {}, {} of them, for at most {}",
        note.policy,
        note.reviewers,
        note.quorum,
        time(note.longest)
    )
}

fn mask_line(mask: &MaskNote) -> String {
    let touched = if mask.touched {
        "is about it"
    } else {
        "is about other tables"
    };
    let with = serde_json::to_string(&mask.with).unwrap_or_default();
    let with = with.replace(['"', '{', '}'], "").replace(':', " ");
    let predicates = match mask.predicates {
        Predicates::Deny => "",
        Predicates::Equality => ", equality allowed",
        Predicates::Allow => ", filters allowed",
    };
    let place = mask
        .place
        .as_ref()
        .map(|at| format!("  {at}"))
        .unwrap_or_default();
    format!(
        "{} ({with}{predicates}) on {} {touched}{place}",
        named(&mask.rule),
        mask.columns.join(", ")
    )
}

fn content_line(net: &ContentRule) -> String {
    let detect: Vec<&str> = net.detect.iter().map(|detector| detector.word()).collect();
    let done = match net.mode {
        ContentMode::Mask => "covers",
        ContentMode::Report => "reports",
    };
    format!("{} {done} {}", named(&net.rule), detect.join(", "))
}

fn section(title: &str, lines: impl IntoIterator<Item = String>) -> anyhow::Result<()> {
    let mut lines = lines.into_iter().peekable();
    if lines.peek().is_some() {
        out::line(format!("\n{title}:"))?;
    }
    for line in lines {
        out::line(format!("  {line}"))?;
    }
    Ok(())
}
