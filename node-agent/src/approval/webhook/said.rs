//! Pure. What a webhook says of a step: words for people, each made visible and cut. Whatever a
//! template does with them, no parameter's value and no row is among them.

use std::collections::BTreeSet;

use aws_lc_rs::digest::{SHA256, digest};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::approval::{Case, Change, Matter, State, Step, time};
use crate::config::WebhookStep;
use crate::model::{UnixMillis, visible};

/// The longest name or note that is told, characters.
const LONGEST_WORD: usize = 300;
/// The longest statement that is told, characters.
pub(super) const LONGEST_STATEMENT: usize = 2000;
/// More tables, kinds or functions than this are counted only.
const MOST_LISTED: usize = 20;

/// Which node says it.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    /// The host's name.
    name: String,
    /// The beginning of the fingerprint of its key.
    key: String,
}

/// One delivery.
#[derive(Debug, Serialize)]
pub(super) struct Said {
    /// The version of this shape.
    pub(super) version: u32,
    /// Stands for this delivery, also when it comes twice.
    pub(super) delivery: String,
    /// The host's name.
    pub(super) node: String,
    /// The number of the change at this node.
    pub(super) seq: u64,
    /// When it happened, RFC 3339.
    pub(super) at: String,
    /// What happened: a word.
    pub(super) step: &'static str,
    /// The same for people.
    pub(super) told: String,
    /// Who did it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) by: Vec<String>,
    /// In their words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<String>,
    /// On which terms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) terms: Option<String>,
    /// Changes before this one that were never delivered.
    pub(super) missed: u64,
    /// The name of the request.
    pub(super) approval: String,
    /// Where a reviewer decides it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) link: Option<String>,
    /// What was asked; none where it is not kept any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request: Option<Request>,
}

/// What was asked.
#[derive(Debug, Serialize)]
pub(super) struct Request {
    /// As it stands now: pending, approved, used, refused, over.
    pub(super) state: &'static str,
    /// The same in words.
    pub(super) now: String,
    /// The policy that is asked for, and what it allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) access: Option<String>,
    pub(super) who: String,
    pub(super) issuer: String,
    pub(super) workload: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) executable: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) application: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ticket: Option<String>,
    pub(super) target: String,
    pub(super) database: String,
    pub(super) role: String,
    /// POLICY/RULE.
    pub(super) rule: String,
    /// Whom the rule asks.
    pub(super) reviewers: String,
    pub(super) quorum: u32,
    /// Until when somebody must decide, RFC 3339.
    pub(super) expires: String,
    /// Of the statement: SESSION/NUMBER.
    pub(super) reference: String,
    pub(super) statement: Statement,
    pub(super) kinds: Vec<String>,
    pub(super) tables: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) functions: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) estimate: Option<u64>,
    /// Statements of its open transaction that ran before it, which an estimate does not see.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) before: u64,
}

/// A statement, as far as a chat shows it.
#[derive(Debug, Serialize)]
pub(super) struct Statement {
    /// Made visible, and cut.
    pub(super) text: String,
    /// Whether there is more.
    pub(super) cut: bool,
    /// Of the whole text as it was sent.
    pub(super) characters: usize,
    /// Of the whole text, hex.
    pub(super) sha256: String,
    /// How many parameters are bound. Their values are not told.
    pub(super) parameters: usize,
    /// Further statements that it is about.
    pub(super) more: u64,
}

impl Sender {
    pub(super) fn new(name: &str, fingerprint: &str) -> Sender {
        Sender {
            name: word(name),
            key: fingerprint.chars().take(16).collect(),
        }
    }
}

/// Whether a step is one of these.
pub(super) fn is_told(step: &Step, steps: &BTreeSet<WebhookStep>) -> bool {
    let step = match step {
        Step::Asked { .. } => WebhookStep::Asked,
        Step::Approved { .. } => WebhookStep::Approved,
        Step::Refused { .. } => WebhookStep::Refused,
        Step::Used { .. } => WebhookStep::Used,
        Step::Over { .. } => WebhookStep::Over,
        // One of several reviewers: the console shows it, and it decides nothing.
        Step::Voted { .. } => return false,
        // It decides nothing, and who asked for it has seen it.
        Step::Previewed { .. } => return false,
    };
    steps.contains(&step)
}

impl Said {
    pub(super) fn new(
        sender: &Sender,
        change: &Change,
        case: Option<&Case>,
        console: Option<&str>,
        missed: u64,
    ) -> Said {
        let mut said = Said {
            version: 1,
            // The numbers begin anew with a new store; names of requests do not.
            delivery: format!("{}-{}-{}", sender.key, change.id, change.seq),
            node: sender.name.clone(),
            seq: change.seq,
            at: moment(change.at),
            step: "asked",
            told: String::new(),
            by: Vec::new(),
            note: None,
            terms: None,
            missed,
            approval: change.id.to_string(),
            link: console.map(|console| format!("{console}/console/requests/{}", change.id)),
            request: case.map(Request::of),
        };
        let names = |by: &[String]| by.iter().map(|one| word(one)).collect::<Vec<_>>();
        match &change.step {
            Step::Asked { by, .. } => said.by = vec![word(by)],
            Step::Voted { by } => (said.step, said.by) = ("voted", vec![word(by)]),
            Step::Approved { by, terms, note } => {
                (said.step, said.by) = ("approved", names(by));
                said.terms = Some(terms.to_string());
                said.note = note.as_deref().map(word);
            }
            Step::Refused { by, note } => {
                (said.step, said.by) = ("refused", vec![word(by)]);
                said.note = note.as_deref().map(word);
            }
            Step::Previewed { by, .. } => (said.step, said.by) = ("previewed", vec![word(by)]),
            Step::Used { .. } => said.step = "used",
            Step::Over { why, by } => {
                said.step = "over";
                said.by = by.iter().map(|one| word(one)).collect();
                said.note = Some(why.words().to_owned());
            }
        }
        said.told = match said.step {
            "asked" => "somebody must decide",
            "voted" => "one reviewer agrees, and others must too",
            "approved" => "it is approved",
            "refused" => "it is refused",
            "previewed" => "a reviewer had it previewed",
            "used" => "a statement runs by it",
            _ => "it ended",
        }
        .to_owned();
        said
    }

    /// For the first line of a message: names of the configuration and the agent's own words only.
    pub(super) fn headline(&self) -> String {
        match &self.request {
            Some(request) => format!(
                "{}: {} ({} by {})",
                self.approval, self.told, request.target, request.rule
            ),
            None => format!("{}: {}", self.approval, self.told),
        }
    }

    /// What people are shown beside the statement, in order.
    pub(super) fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = Vec::new();
        let mut add = |name: &'static str, value: Option<String>| {
            facts.extend(
                value
                    .filter(|value| !value.is_empty())
                    .map(|value| (name, value)),
            );
        };
        let decided = self.step != "asked";
        add("By", decided.then(|| word(&self.by.join(", "))));
        add("Terms", self.terms.clone());
        add("Note", self.note.clone());
        if let Some(request) = &self.request {
            // A message that was long on its way says what has become of it.
            let old = !decided && request.state != "pending";
            add("Now", old.then(|| request.now.clone()));
            add("Access", request.access.clone());
            add("Who", Some(request.who.clone()));
            let program = request.executable.as_ref();
            add(
                "Workload",
                Some(match program {
                    Some(program) => format!("{}, {program}", request.workload),
                    None => request.workload.clone(),
                }),
            );
            add("Reason", request.reason.clone());
            add("Ticket", request.ticket.clone());
            let place = format!(
                "{}, database {}, as {}",
                request.target, request.database, request.role
            );
            add("Where", Some(place));
            add("Rule", Some(request.rule.clone()));
            add("Does", Some(word(&request.kinds.join(", "))));
            add("Tables", Some(word(&request.tables.join(", "))));
            let rows = request.estimate.map(|rows| match request.before {
                0 => format!("about {rows}, as the database expects"),
                _ => format!(
                    "about {rows}, as the database expects without what its transaction has done"
                ),
            });
            add("Rows", rows);
            if !decided {
                add("Reviewers", Some(request.reviewers.clone()));
                add("Until", Some(request.expires.clone()));
            }
        }
        let missed = format!("{} earlier changes were never delivered here", self.missed);
        add("Missed", (self.missed > 0).then_some(missed));
        facts
    }

    /// Of the statement: what its text does not show.
    pub(super) fn about_statement(&self) -> Option<String> {
        let statement = &self.request.as_ref()?.statement;
        let cut = match statement.cut {
            true => "cut here; ",
            false => "",
        };
        Some(format!(
            "{cut}{} characters, {} parameters, SHA-256 {}",
            statement.characters, statement.parameters, statement.sha256
        ))
    }
}

impl Request {
    fn of(case: &Case) -> Request {
        let request = &case.request;
        let asker = &request.requester;
        let (shown, tables, more) = match &request.matter {
            Matter::Statement(shown) => (Some(shown), shown.tables.clone(), 0),
            Matter::Commit(work) => {
                let tables = work.tables.iter().map(|changed| {
                    format!(
                        "{}: {} inserted, {} updated, {} deleted",
                        changed.table, changed.inserted, changed.updated, changed.deleted
                    )
                });
                let behind = work.statements.len().saturating_sub(1) as u64;
                (
                    work.statements.first(),
                    tables.collect(),
                    work.more + behind,
                )
            }
            Matter::Access(wanted) => {
                let refused = wanted.refused.as_ref();
                let tables = refused.map(|shown| shown.tables.clone());
                (refused, tables.unwrap_or_default(), 0)
            }
        };
        let text = shown.map_or("", |shown| shown.text.as_str());
        let mut kinds = shown.map_or_else(Vec::new, |shown| shown.kinds.clone());
        if let Matter::Commit(_) = &request.matter {
            kinds.insert(0, "commit".to_owned());
        }
        let purpose = asker.purpose.as_ref();
        Request {
            access: request.access().map(|wanted| {
                word(&format!(
                    "policy {}, for at most {}: {}",
                    wanted.policy,
                    time(wanted.longest),
                    wanted.rules.join("; ")
                ))
            }),
            state: match &case.state {
                State::Pending => "pending",
                State::Approved { .. } => "approved",
                State::Used => "used",
                State::Refused => "refused",
                State::Over { .. } => "over",
            },
            now: word(&case.told()),
            who: word(&asker.subject),
            issuer: word(&asker.issuer),
            workload: word(&asker.workload.name),
            executable: asker.process.executable.as_deref().map(word),
            application: asker.application.as_deref().map(word),
            reason: purpose.and_then(|said| said.reason.as_deref()).map(word),
            ticket: purpose.and_then(|said| said.ticket.as_deref()).map(word),
            target: word(&request.target.0),
            database: word(&request.database),
            role: word(&request.role),
            rule: word(&format!("{}/{}", request.rule.policy, request.rule.rule)),
            reviewers: word(&request.asks.reviewers.to_string()),
            quorum: request.asks.quorum,
            expires: moment(request.lapses),
            reference: request.reference.to_string(),
            statement: Statement::of(text, shown.map_or(0, |shown| shown.params.len()), more),
            kinds: listed(&kinds),
            tables: listed(&tables),
            functions: listed(shown.map_or(&[], |shown| &shown.functions)),
            estimate: shown.and_then(|shown| shown.estimate),
            before: shown.map_or(0, |shown| shown.before),
        }
    }
}

impl Statement {
    fn of(text: &str, parameters: usize, more: u64) -> Statement {
        let (shown, cut) = cut(&visible(text), LONGEST_STATEMENT);
        let sum = digest(&SHA256, text.as_bytes());
        Statement {
            text: shown,
            cut,
            characters: text.chars().count(),
            sha256: sum.as_ref().iter().map(|b| format!("{b:02x}")).collect(),
            parameters,
            more,
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Made visible, and cut.
fn word(text: &str) -> String {
    let (mut shown, cut) = cut(&visible(text), LONGEST_WORD);
    if cut {
        shown.push('…');
    }
    shown
}

fn listed(all: &[String]) -> Vec<String> {
    let mut some: Vec<String> = all.iter().take(MOST_LISTED).map(|one| word(one)).collect();
    if all.len() > MOST_LISTED {
        some.push(format!("… {} more", all.len() - MOST_LISTED));
    }
    some
}

fn cut(text: &str, most: usize) -> (String, bool) {
    match text.char_indices().nth(most) {
        Some((end, _)) => (text.get(..end).unwrap_or_default().to_owned(), true),
        None => (text.to_owned(), false),
    }
}

fn moment(at: UnixMillis) -> String {
    let nanos = i128::from(at.0) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_else(|| at.0.to_string())
}
