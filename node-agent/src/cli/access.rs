//! `approvals grant`: a policy in force for somebody, for a time; and how access is shown.

use hyper::Method;
use serde_json::json;

use node_agent::admin::{Gift, Listed};
use node_agent::approval::{Case, State, Wanted, time as words};
use node_agent::policy::Span;
use node_agent::replay::visible;

use super::approvals::{To, statement};
use super::{Answer, out};

/// What is given to whom.
#[derive(Debug, clap::Args)]
pub(crate) struct Grant {
    /// A policy with `access`
    policy: String,
    /// To whom: the subject (`sub`) of the user's token
    #[arg(long = "to", value_name = "SUBJECT")]
    subject: String,
    /// Who vouches for that user, where several may
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// In this workload only
    #[arg(long, value_name = "NAME")]
    workload: Option<String>,
    /// For how long: 30m, 2h (default: 1h, or what the policy allows at most)
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    time: Option<u64>,
    /// Why; recorded
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    to: To,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// A time as on the command line, in milliseconds.
pub(super) fn time(text: &str) -> Result<u64, String> {
    let span: Result<Span, _> = serde_json::from_value(json!(text));
    span.map(|span| span.0).map_err(|error| error.to_string())
}

impl Grant {
    pub(super) fn run(self) -> anyhow::Result<Answer> {
        let gift = Gift {
            policy: self.policy,
            to: self.subject,
            issuer: self.issuer,
            workload: self.workload,
            time: self.time,
            reason: self.reason,
        };
        let body = serde_json::to_string(&gift)?;
        let listed: Listed = self.to.ask(Method::POST, "/v1/access", Some(body))?;
        if self.json {
            out::json(&listed)?;
            return Ok(Answer::Good);
        }
        let left = left(&listed.case).map(|left| format!(", for {left}"));
        out::line(format!(
            "{}: {}{}",
            listed.case.request.id,
            visible(&listed.told),
            left.unwrap_or_default()
        ))?;
        Ok(Answer::Good)
    }
}

/// How long access is in force still.
pub(super) fn left(case: &Case) -> Option<String> {
    let State::Approved { until } = case.state else {
        return None;
    };
    case.request.access()?;
    let left = until.0.saturating_sub(node_agent::clock::now().0);
    Some(words(u64::try_from(left).unwrap_or(0)))
}

/// In a list.
pub(super) fn brief(wanted: &Wanted) -> String {
    let workload = match &wanted.workload {
        Some(workload) => format!(" in {workload}"),
        None => String::new(),
    };
    visible(&format!("access: policy {}{workload}", wanted.policy)).into_owned()
}

/// All of it.
pub(super) fn whole(wanted: &Wanted) -> anyhow::Result<()> {
    let fact = |name: &str, value: &str| out::line(format!("{name:<12}{}", visible(value)));
    fact("policy", &wanted.policy)?;
    for rule in &wanted.rules {
        fact("", rule)?;
    }
    fact(
        "in force",
        &match &wanted.workload {
            Some(workload) => format!("in workload {workload} only"),
            None => "in every workload of the user".to_owned(),
        },
    )?;
    fact(
        "for",
        &format!(
            "at most {}; {} where nothing is said",
            words(wanted.longest),
            words(wanted.usual)
        ),
    )?;
    if let Some(by) = &wanted.by {
        fact("given by", by)?;
    }
    if let Some(why) = &wanted.unshown {
        fact("refused", &format!("a statement that is not shown: {why}"))?;
    }
    match &wanted.refused {
        Some(shown) => {
            out::line("what was refused without it:")?;
            statement(shown)
        }
        None => Ok(()),
    }
}
