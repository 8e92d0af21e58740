//! `approvals`: what is held, and words about it.

use std::path::PathBuf;

use clap::Subcommand;
use hyper::Method;

use node_agent::admin::{Listed, Word, ask};
use node_agent::approval::{Matter, Preview, Request, Says, Scope, Shown, Terms, Work};
use node_agent::model::ApprovalId;
use node_agent::replay::visible;
use node_agent::sql::shape;

use super::{Answer, WithConfig, access, out, preview};

/// Statements held for a human
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  node-agent approvals ls                               what waits now
  node-agent approvals show a-00c0ffee00c0ffee          all of one request
  node-agent approvals preview a-00c0ffee00c0ffee       run it, look, roll it back
  node-agent approvals approve a-00c0ffee00c0ffee       run exactly this, once
  node-agent approvals approve a-00c0ffee00c0ffee --max-rows 10 --note 'as in OPS-12'
  node-agent approvals deny a-00c0ffee00c0ffee --note 'use the archive job'
  node-agent approvals grant oncall --to claude@agents --for 2h --reason OPS-12

Who decides is the user of this host that runs the command, as approvals.local in the configuration names it.")]
pub(crate) enum ApprovalsCommand {
    /// What waits for a decision, and approvals in force
    Ls {
        #[command(flatten)]
        to: To,
        /// Those that are over, too
        #[arg(long)]
        all: bool,
        /// One JSON list
        #[arg(long)]
        json: bool,
    },
    /// All of one request: who, what, where, and by which rule
    Show {
        /// Its name
        #[arg(value_name = "APPROVAL")]
        id: ApprovalId,
        #[command(flatten)]
        to: To,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// See what it would do: it is run and rolled back, where the rule offers that
    Preview {
        /// Its name
        #[arg(value_name = "APPROVAL")]
        id: ApprovalId,
        #[command(flatten)]
        to: To,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Let it run, once and exactly as it is, unless other terms are given
    Approve {
        /// Its name
        #[arg(value_name = "APPROVAL")]
        id: ApprovalId,
        #[command(flatten)]
        terms: Given,
        #[command(flatten)]
        word: Words,
    },
    /// Give a policy that is granted on request to somebody, for a time
    Grant(access::Grant),
    /// Refuse it
    #[command(alias = "refuse")]
    Deny {
        /// Its name
        #[arg(value_name = "APPROVAL")]
        id: ApprovalId,
        #[command(flatten)]
        word: Words,
    },
    /// Take an approval back that is in force
    Revoke {
        /// Its name
        #[arg(value_name = "APPROVAL")]
        id: ApprovalId,
        #[command(flatten)]
        word: Words,
    },
}

/// Where the daemon is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct To {
    #[command(flatten)]
    with: WithConfig,
    /// The daemon's admin socket (default: the configuration's)
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// Terms beside "once".
#[derive(Debug, clap::Args)]
pub(crate) struct Given {
    /// Whatever the same rule holds in the rest of this session, where the rule offers it
    #[arg(long, conflicts_with = "shape")]
    session: bool,
    /// Statements of the same shape by the same user for so many minutes, where the rule offers it
    #[arg(long, value_name = "MINUTES")]
    shape: Option<u32>,
    /// Roll it back when it changes more rows
    #[arg(long, value_name = "ROWS")]
    max_rows: Option<u64>,
    /// Give the answer without masks, where the rule offers it
    #[arg(long)]
    unmasked: bool,
    /// Access to a policy: for how long (30m, 2h)
    #[arg(long = "for", value_name = "TIME", value_parser = access::time, conflicts_with_all = ["session", "shape"])]
    time: Option<u64>,
}

/// What goes with a word.
#[derive(Debug, clap::Args)]
pub(crate) struct Words {
    /// Said to the client and recorded
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    to: To,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl To {
    pub(super) fn ask<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        uri: &str,
        body: Option<String>,
    ) -> anyhow::Result<T> {
        let socket = match &self.socket {
            Some(socket) => socket.clone(),
            None => self.with.load()?.listen.admin_socket,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(runtime.block_on(ask(&socket, method, uri, body))?)
    }
}

impl ApprovalsCommand {
    pub(crate) fn run(self) -> anyhow::Result<Answer> {
        match self {
            ApprovalsCommand::Ls { to, all, json } => ls(&to, all, json),
            ApprovalsCommand::Show { id, to, json } => {
                let listed: Listed = to.ask(Method::GET, &format!("/v1/approvals/{id}"), None)?;
                if json {
                    out::json(&listed)?;
                } else {
                    whole(&listed)?;
                }
                Ok(Answer::Good)
            }
            ApprovalsCommand::Preview { id, to, json } => {
                let uri = format!("/v1/approvals/{id}/preview");
                let preview: Preview = to.ask(Method::POST, &uri, None)?;
                if json {
                    out::json(&preview)?;
                } else {
                    preview::told(&preview)?;
                }
                Ok(Answer::Good)
            }
            ApprovalsCommand::Approve { id, terms, word } => {
                let scope = match (terms.session, terms.shape, terms.time) {
                    (true, ..) => Scope::Session,
                    (false, Some(minutes), _) => Scope::Shape(minutes),
                    (false, None, Some(time)) => Scope::Access(time),
                    (false, None, None) => Scope::Once,
                };
                let says = Says::Approve(Terms {
                    scope,
                    max_rows: terms.max_rows,
                    unmasked: terms.unmasked,
                });
                word.say(id, |note| Word::Says { says, note })
            }
            ApprovalsCommand::Grant(grant) => grant.run(),
            ApprovalsCommand::Deny { id, word } => word.say(id, |note| Word::Says {
                says: Says::Refuse,
                note,
            }),
            ApprovalsCommand::Revoke { id, word } => word.say(id, |_| Word::Revoke),
        }
    }
}

impl Words {
    fn say(
        self,
        id: ApprovalId,
        word: impl FnOnce(Option<String>) -> Word,
    ) -> anyhow::Result<Answer> {
        let Words { note, to, json } = self;
        let body = serde_json::to_string(&word(note))?;
        let listed: Listed = to.ask(Method::POST, &format!("/v1/approvals/{id}"), Some(body))?;
        if json {
            out::json(&listed)?;
        } else {
            out::line(format!("{id}: {}", visible(&listed.told)))?;
        }
        Ok(Answer::Good)
    }
}

fn ls(to: &To, all: bool, json: bool) -> anyhow::Result<Answer> {
    let uri = format!("/v1/approvals?all={all}");
    let listed: Vec<Listed> = to.ask(Method::GET, &uri, None)?;
    if json {
        out::json(&listed)?;
        return Ok(Answer::Good);
    }
    if listed.is_empty() {
        out::line(match all {
            true => "nothing was ever held",
            false => "nothing is held",
        })?;
        return Ok(Answer::Good);
    }
    let now = node_agent::clock::now();
    let heads = [
        "APPROVAL",
        "LEFT",
        "USER",
        "WORKLOAD",
        "TARGET",
        "STATE",
        "STATEMENT",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for one in &listed {
        let request = &one.case.request;
        let left = (request.lapses.0 - now.0).max(0) / 1000;
        rows.push(vec![
            request.id.to_string(),
            match one.case.pending() {
                true => format!("{}:{:02}", left / 60, left % 60),
                false => access::left(&one.case).unwrap_or_else(|| "-".to_owned()),
            },
            visible(&request.requester.subject).into_owned(),
            visible(&request.requester.workload.name).into_owned(),
            visible(&request.target.0).into_owned(),
            visible(&one.told).into_owned(),
            brief(&request.matter),
        ]);
    }
    out::table(&rows)?;
    Ok(Answer::Good)
}

/// Whether it is access that a reviewer gave unasked.
fn given(request: &Request) -> bool {
    request.access().is_some_and(|wanted| wanted.by.is_some())
}

/// How a statement begins, in a list.
fn brief(matter: &Matter) -> String {
    let text = match matter {
        Matter::Statement(shown) => shown.text.as_str(),
        Matter::Commit(work) => {
            let first = work.statements.first().map(|shown| shown.text.as_str());
            return brief_of(&format!("COMMIT of {}", first.unwrap_or_default()));
        }
        Matter::Access(wanted) => return access::brief(wanted),
    };
    brief_of(text)
}

fn brief_of(text: &str) -> String {
    const LONG: usize = 60;
    let words = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    let mut brief: String = words.chars().take(LONG).collect();
    if words.chars().count() > LONG {
        brief.push('…');
    }
    visible(&brief).into_owned()
}

fn whole(listed: &Listed) -> anyhow::Result<()> {
    let case = &listed.case;
    let request = &case.request;
    let who = &request.requester;
    let fact = |name: &str, value: &str| out::line(format!("{name:<12}{}", visible(value)));
    fact("approval", &request.id.to_string())?;
    fact("state", &listed.told)?;
    if let Some(left) = access::left(case) {
        fact("left", &left)?;
    }
    if !given(request) {
        fact("statement", &request.reference.to_string())?;
    }
    fact("user", &format!("{} ({})", who.subject, who.issuer))?;
    fact("groups", &who.groups.join(", "))?;
    fact("workload", &who.workload.name)?;
    let program = who
        .process
        .executable
        .as_deref()
        .unwrap_or(&who.process.comm);
    // What a reviewer gives unasked, no process has asked for.
    if !given(request) {
        fact("process", &format!("{program}, pid {}", who.process.pid))?;
    }
    if let Some(application) = &who.application {
        fact("says it is", application)?;
    }
    let purpose = who.purpose.clone().unwrap_or_default();
    fact("reason", purpose.reason.as_deref().unwrap_or("none given"))?;
    if let Some(ticket) = &purpose.ticket {
        fact("ticket", ticket)?;
    }
    let place = format!(
        "{}, database {}, role {}",
        request.target.0, request.database, request.role
    );
    fact("where", &place)?;
    fact(
        "rule",
        &format!("{}/{}", request.rule.policy, request.rule.rule),
    )?;
    fact(
        "asks",
        &format!("{} of: {}", request.asks.quorum, request.asks.reviewers),
    )?;
    match &request.matter {
        Matter::Statement(shown) => {
            statement(shown)?;
            if let (true, Some(_), Some(like)) = (
                case.pending() && request.asks.offers.shape.is_some(),
                &request.shape,
                shape(&shown.text),
            ) {
                // The zeros are what --shape leaves open.
                out::line("shape (any digits in place of the zeros)")?;
                for line in like.split('\n') {
                    out::line(format!("  {}", visible(line)))?;
                }
            }
        }
        Matter::Commit(work) => commit(request, work, case.pending())?,
        Matter::Access(wanted) => access::whole(wanted)?,
    }
    for vote in &case.votes {
        let says = match vote.says {
            Says::Approve(terms) => format!("approved: {terms}"),
            Says::Refuse => "refused".to_owned(),
        };
        let note = vote.note.as_deref().map(|note| format!(" ({note})"));
        fact(
            "vote",
            &format!("{} {says}{}", vote.by, note.unwrap_or_default()),
        )?;
    }
    Ok(())
}

/// What a transaction has done that wants to commit.
fn commit(request: &Request, work: &Work, pending: bool) -> anyhow::Result<()> {
    let fact = |name: &str, value: &str| out::line(format!("{name:<12}{}", visible(value)));
    fact("does", "COMMIT of its transaction")?;
    let held = |until: i64| until.saturating_sub(work.since.0).max(0) / 1000;
    let asked = held(request.at.0);
    fact(
        "locks",
        &match pending {
            true => format!(
                "held for {} s by now, {asked} s when it was asked",
                held(node_agent::clock::now().0)
            ),
            false => format!("held for {asked} s when it was asked"),
        },
    )?;
    if !work.counted {
        fact(
            "rows",
            "unknown: the database does not count (track_counts)",
        )?;
    } else if work.tables.is_empty() {
        fact("rows", "none in any table of this database")?;
    }
    for changed in &work.tables {
        fact(
            "rows",
            &format!(
                "{}: {} inserted, {} updated, {} deleted",
                changed.table, changed.inserted, changed.updated, changed.deleted
            ),
        )?;
    }
    if work.more > 0 {
        fact(
            "besides",
            &format!(
                "{} of the transaction's statements, which the rule is not about",
                work.more
            ),
        )?;
    }
    for (at, shown) in work.statements.iter().enumerate() {
        out::line(format!(
            "{:<12}{} of {}",
            "statement",
            at + 1,
            work.statements.len()
        ))?;
        statement(shown)?;
    }
    Ok(())
}

pub(super) fn statement(shown: &Shown) -> anyhow::Result<()> {
    let list = |name: &str, of: &[String]| match of {
        [] => Ok(()),
        of => out::line(format!("{name:<12}{}", visible(&of.join(", ")))),
    };
    list("does", &shown.kinds)?;
    list("tables", &shown.tables)?;
    list("functions", &shown.functions)?;
    if let Some(rows) = shown.estimate {
        let unseen = match shown.before {
            0 => "",
            _ => ", which does not see what its transaction has done",
        };
        out::line(format!(
            "{:<12}about {rows}, by the database's estimate{unseen}",
            "rows"
        ))?;
    }
    if shown.before > 0 {
        let statements = if shown.before == 1 {
            "statement"
        } else {
            "statements"
        };
        out::line(format!(
            "{:<12}{} {statements} of its transaction ran before it",
            "behind", shown.before
        ))?;
    }
    out::line("text")?;
    // Line ends are its own; everything else that does not print is made visible (A5).
    for line in shown.text.split('\n') {
        out::line(format!("  {}", visible(line)))?;
    }
    for (at, param) in shown.params.iter().enumerate() {
        let value = serde_json::to_string(param)?;
        out::line(format!("  ${} = {}", at + 1, visible(&value)))?;
    }
    Ok(())
}
