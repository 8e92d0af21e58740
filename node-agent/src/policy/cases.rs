//! Policy cases in Markdown: prose, a policy, a statement, the decision expected of it. For
//! `node-agent policy test` and the tests of the shipped policies.
//!
//! A level-one heading begins a group: its `policy` blocks (YAML), or `policies` blocks (paths,
//! one a line) make the policy set of the cases that follow. A case is a `sql` block followed by
//! an `expect` block; the nearest heading names it. A `question` block (YAML) says who asks; it
//! holds until the next one or the next level-one heading.
//!
//! `expect`, first line: `allow`, `allow POLICY/RULE` (that rule among others), `deny`,
//! `deny default`, `deny POLICY/RULE`, `hold POLICY/RULE`, or `observed …` for what an observing
//! policy would have said. Further lines: `says: words of the refusal`, `masked: yes` or `no`,
//! `rows_affected: n`, `fleeting: yes`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::near;
use super::{
    Decision, Document, Granted, PolicySet, Question, ResolvedNames, RuleRef, decide, parse,
};
use crate::model::{Dialect, Principal, TargetName, UnixMillis, User, Workload};
use crate::sql::{Purpose, RelationName, analyze};

/// What became of one case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CaseResult {
    /// The file as given.
    pub source_name: String,
    /// The nearest heading.
    pub name: String,
    /// Where its statement begins, from 1.
    pub line: usize,
    /// As expected.
    pub passed: bool,
    /// What was expected.
    pub expected: String,
    /// What was decided, or what is wrong with the case.
    pub actual: String,
    /// The statement.
    pub sql: String,
    /// The lines of the expectation that were not met, with what is so instead.
    pub differs: Vec<Difference>,
    /// The rules that the decision names, each with its place.
    pub rules: Vec<String>,
}

/// One line of an expectation that was not met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The line.
    pub expected: String,
    /// What is so.
    pub decided: String,
}

/// Who asks, as written in a `question` block. Every key may be left out.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Asker {
    /// `sub`.
    pub user: String,
    /// `iss`.
    pub issuer: String,
    /// The groups.
    pub groups: Vec<String>,
    /// Kept claims.
    pub claims: BTreeMap<String, serde_json::Value>,
    /// The workload.
    pub workload: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The target.
    pub target: String,
    /// The database.
    pub database: String,
    /// The role.
    pub role: String,
    /// `application_name`.
    pub application: Option<String>,
    /// Policies that are supposed to be granted to them.
    pub access: Vec<String>,
    /// RFC 3339.
    pub now: String,
    /// Unqualified names and the schemas each may stand for.
    pub names: BTreeMap<String, Vec<String>>,
    /// Relations (`schema.name` or `name`) and the base tables (`schema.table`) each reaches.
    pub reaches: BTreeMap<String, Vec<String>>,
}

impl Default for Asker {
    fn default() -> Self {
        Asker {
            user: "alice".to_owned(),
            issuer: "https://issuer.example".to_owned(),
            groups: vec!["ai-agents".to_owned()],
            claims: BTreeMap::new(),
            workload: "claude".to_owned(),
            labels: BTreeMap::new(),
            target: "orders".to_owned(),
            database: "app".to_owned(),
            role: "svc".to_owned(),
            application: None,
            access: Vec::new(),
            now: "2026-01-14T12:00:00Z".to_owned(),
            names: BTreeMap::new(),
            reaches: BTreeMap::new(),
        }
    }
}

impl Asker {
    /// The question this asker puts with a text. Errors: a time or a name that does not read.
    pub fn question(&self, sql: &str) -> Result<Question, String> {
        let format = &time::format_description::well_known::Rfc3339;
        let now = time::OffsetDateTime::parse(&self.now, format)
            .map_err(|e| format!("now `{}`: {e}", self.now))?;
        let mut names = ResolvedNames::default();
        for (name, schemas) in &self.names {
            let relation = RelationName {
                schema: None,
                name: name.clone(),
            };
            names.relations.push((relation, schemas.clone()));
        }
        for (name, bases) in &self.reaches {
            let relation = match name.split_once('.') {
                Some((s, n)) => RelationName {
                    schema: Some(s.to_owned()),
                    name: n.to_owned(),
                },
                None => RelationName {
                    schema: None,
                    name: name.clone(),
                },
            };
            let bases: Result<Vec<(String, String)>, String> = bases
                .iter()
                .map(|base| {
                    base.split_once('.')
                        .map(|(s, t)| (s.to_owned(), t.to_owned()))
                        .ok_or_else(|| format!("reaches: `{base}` is not schema.table"))
                })
                .collect();
            names.reaches.push((relation, bases?));
        }
        Ok(Question {
            principal: Arc::new(Principal {
                workload: Workload {
                    name: Arc::from(self.workload.as_str()),
                    labels: self.labels.clone(),
                },
                user: User {
                    issuer: self.issuer.clone(),
                    subject: self.user.clone(),
                    groups: self.groups.clone(),
                    claims: self.claims.clone(),
                    also: Vec::new(),
                    expires: UnixMillis(i64::MAX),
                },
            }),
            target: TargetName(Arc::from(self.target.as_str())),
            database: self.database.clone(),
            role: self.role.clone(),
            application: self.application.clone(),
            purpose: Purpose::of_text(sql).or(&self
                .application
                .as_deref()
                .map(Purpose::of_application)
                .unwrap_or_default()),
            analysis: Arc::new(analyze(Dialect::Postgres, sql)),
            names: Arc::new(names),
            access: self
                .access
                .iter()
                .map(|policy| Granted {
                    policy: Arc::from(policy.as_str()),
                    by: None,
                })
                .collect(),
            now: UnixMillis(now.unix_timestamp().saturating_mul(1000)),
        })
    }
}

/// Runs every case of one Markdown text.
///
/// `load` reads the files that `policies` blocks name (`None`: not found); `base` are the
/// policies of groups that bring none of their own.
pub fn run(
    text: &str,
    source_name: &str,
    base: &[Document],
    load: &dyn Fn(&str) -> Option<String>,
) -> Vec<CaseResult> {
    let mut runner = Runner {
        source_name,
        base,
        load,
        documents: None,
        broken: false,
        asker: Asker::default(),
        heading: String::new(),
        sql: None,
        results: Vec::new(),
    };
    for block in blocks(text) {
        runner.block(block);
    }
    if let Some((line, _)) = runner.sql.take() {
        runner.result(line, false, "", "a sql block without an expect block");
    }
    runner.results
}

enum Block<'a> {
    Heading {
        level: usize,
        text: &'a str,
    },
    Fence {
        info: &'a str,
        line: usize,
        text: String,
    },
}

/// Headings and fenced blocks, in order.
fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((_, line)) = lines.next() {
        if let Some(info) = line.strip_prefix("```") {
            let mut body = String::new();
            let mut start = 0;
            for (number, line) in lines.by_ref() {
                if line.starts_with("```") {
                    break;
                }
                if start == 0 {
                    start = number + 1;
                }
                body.push_str(line);
                body.push('\n');
            }
            blocks.push(Block::Fence {
                info: info.trim(),
                line: start,
                text: body,
            });
        } else if line.starts_with('#') {
            let text = line.trim_start_matches('#');
            blocks.push(Block::Heading {
                level: line.len() - text.len(),
                text: text.trim(),
            });
        }
    }
    blocks
}

struct Runner<'a> {
    source_name: &'a str,
    base: &'a [Document],
    load: &'a dyn Fn(&str) -> Option<String>,
    documents: Option<Vec<Document>>,
    /// Policies of this group could not be read: what the others decide means nothing.
    broken: bool,
    asker: Asker,
    heading: String,
    sql: Option<(usize, String)>,
    results: Vec<CaseResult>,
}

impl Runner<'_> {
    fn block(&mut self, block: Block<'_>) {
        match block {
            Block::Heading { level, text } => {
                self.heading = text.to_owned();
                if level == 1 {
                    self.documents = None;
                    self.broken = false;
                    self.asker = Asker::default();
                }
            }
            Block::Fence { info, line, text } => match info {
                "policy" | "yaml policy" => self.policy(&text, line, self.source_name, line),
                "policies" => {
                    for path in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
                        match (self.load)(path) {
                            Some(text) => self.policy(&text, line, path, 1),
                            None => {
                                self.broken = true;
                                self.result(line, false, "", &format!("{path} cannot be read"));
                            }
                        }
                    }
                }
                "question" | "yaml question" => match serde_saphyr::from_str::<Asker>(&text) {
                    Ok(asker) => self.asker = asker,
                    Err(e) => {
                        let words = format!("question: {}", e.without_snippet());
                        self.result(line, false, "", &words);
                    }
                },
                "sql" => {
                    if let Some((line, _)) = self.sql.replace((line, text)) {
                        self.result(line, false, "", "a sql block without an expect block");
                    }
                }
                "expect" => match self.sql.take() {
                    Some((line, sql)) => self.case(line, &sql, &text),
                    None => self.result(line, false, &text, "an expect block without a sql block"),
                },
                // Anything else is prose.
                _ => {}
            },
        }
    }

    fn result(&mut self, line: usize, passed: bool, expected: &str, actual: &str) {
        self.results.push(CaseResult {
            source_name: self.source_name.to_owned(),
            name: self.heading.clone(),
            line,
            passed,
            expected: expected.trim().to_owned(),
            actual: actual.to_owned(),
            sql: String::new(),
            differs: Vec::new(),
            rules: Vec::new(),
        });
    }

    /// Takes policies in. Lines are those of `source`, whose text begins at its line `first`.
    fn policy(&mut self, text: &str, line: usize, source: &str, first: usize) {
        // Empty lines in front keep the numbers of the lines.
        let text = format!("{}{text}", "\n".repeat(first.saturating_sub(1)));
        match parse(&text, source) {
            Ok(documents) => self.documents.get_or_insert_default().extend(documents),
            Err(errors) => {
                self.broken = true;
                for error in errors {
                    self.result(line, false, "", &error.to_string());
                }
            }
        }
    }

    fn case(&mut self, line: usize, sql: &str, expected: &str) {
        if self.broken {
            self.result(line, false, expected, "not asked: a policy above is wrong");
            return;
        }
        let documents = self.documents.clone().unwrap_or_else(|| self.base.to_vec());
        let decision = PolicySet::compile(documents)
            .map_err(|errors| {
                errors
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join("; ")
            })
            .and_then(|set| Ok((decide(&set, &self.asker.question(sql)?), set)));
        match decision {
            Ok((decision, set)) => {
                let differs: Vec<Difference> = expected
                    .lines()
                    .map(str::trim)
                    .filter(|l| !l.is_empty() && !meets(l, &decision))
                    .map(|l| Difference {
                        expected: l.to_owned(),
                        decided: instead(l, &decision, &set),
                    })
                    .collect();
                // An empty expectation expects nothing, which no case may.
                let passed = differs.is_empty() && !expected.trim().is_empty();
                self.result(line, passed, expected, &shown(&decision));
                if let Some(result) = self.results.last_mut() {
                    result.sql = sql.trim().to_owned();
                    result.differs = differs;
                    result.rules = named(&decision, &set);
                }
            }
            Err(words) => self.result(line, false, expected, &words),
        }
    }
}

/// The rules that a decision names, each with its place.
fn named(decision: &Decision, set: &PolicySet) -> Vec<String> {
    let place = |name: &RuleRef| {
        let place = set.place(name).map(|at| format!("  {at}"));
        format!("{}{}", rule(Some(name)), place.unwrap_or_default())
    };
    match decision {
        Decision::Allow(allow) => {
            let observed = allow.observed.as_ref().map(|o| named(o, set));
            let own = allow.rules.iter().map(place);
            own.chain(observed.unwrap_or_default()).collect()
        }
        Decision::Hold(hold) => vec![place(&hold.rule)],
        Decision::Deny(denial) => denial.rule.iter().map(place).collect(),
    }
}

/// What is so, where a line of an expectation is not met.
fn instead(line: &str, decision: &Decision, set: &PolicySet) -> String {
    let obligations = match decision {
        Decision::Allow(allow) => Some(&allow.obligations),
        Decision::Hold(hold) => Some(&hold.obligations),
        Decision::Deny(_) => None,
    };
    let yes = |is: bool| if is { "yes" } else { "no" };
    let of = |known: Option<String>| known.unwrap_or_else(|| "nothing: it is denied".to_owned());
    if line.starts_with("says:") {
        return match decision {
            Decision::Deny(denial) => format!("says: {}", said(&denial.refusal)),
            Decision::Allow(_) | Decision::Hold(_) => "nothing: it is not denied".to_owned(),
        };
    }
    if line.starts_with("masked:") {
        return of(obligations.map(|o| format!("masked: {}", yes(o.touches_masked))));
    }
    if line.starts_with("rows_affected:") {
        let rows = |rows: Option<u64>| rows.map_or("no limit".to_owned(), |n| n.to_string());
        return of(obligations.map(|o| format!("rows_affected: {}", rows(o.limits.rows_affected))));
    }
    if let Some(wanted) = line.strip_prefix("fleeting:") {
        return format!("fleeting: {}", yes(wanted.trim() == "no"));
    }
    let verdict = line.strip_prefix("observed ").unwrap_or(line);
    let (word, name) = verdict.split_once(' ').unwrap_or((verdict, ""));
    if !VERDICTS.contains(&word) {
        let words = VERDICTS.iter().chain(&WORDS).copied();
        return format!(
            "this line is not understood; there are {}{}",
            words.clone().collect::<Vec<_>>().join(", "),
            near::question(word, words)
        );
    }
    let known: Vec<String> = set.rule_names().map(|name| rule(Some(name))).collect();
    let known_name = name.is_empty() || name == "default" || known.iter().any(|one| one == name);
    let functions = name.ends_with("/functions");
    let note = if known_name || functions {
        String::new()
    } else {
        let meant = near::question(name, known.iter().map(String::as_str));
        format!(" (no rule is called `{name}`{meant})")
    };
    format!("{}{note}", shown(decision))
}

/// How an expectation may begin.
const VERDICTS: [&str; 3] = ["allow", "deny", "hold"];
/// What else it may say.
const WORDS: [&str; 5] = [
    "observed",
    "says:",
    "masked:",
    "rows_affected:",
    "fleeting:",
];

fn rule(rule: Option<&RuleRef>) -> String {
    rule.map_or_else(
        || "default".to_owned(),
        |r| format!("{}/{}", r.policy, r.rule),
    )
}

/// One line of an expectation.
fn meets(line: &str, decision: &Decision) -> bool {
    let obligations = match decision {
        Decision::Allow(allow) => Some(&allow.obligations),
        Decision::Hold(hold) => Some(&hold.obligations),
        Decision::Deny(_) => None,
    };
    if let Some(words) = line.strip_prefix("says:") {
        return matches!(decision, Decision::Deny(d) if said(&d.refusal).contains(words.trim()));
    }
    if let Some(answer) = line.strip_prefix("masked:") {
        return obligations.is_some_and(|o| o.touches_masked == (answer.trim() == "yes"));
    }
    if let Some(rows) = line.strip_prefix("rows_affected:") {
        return obligations.is_some_and(|o| o.limits.rows_affected == rows.trim().parse().ok());
    }
    if let Some(answer) = line.strip_prefix("fleeting:") {
        let fleeting = match decision {
            Decision::Allow(allow) => allow.fleeting,
            Decision::Deny(denial) => denial.fleeting,
            Decision::Hold(_) => true,
        };
        return fleeting == (answer.trim() == "yes");
    }
    if let Some(line) = line.strip_prefix("observed ") {
        return matches!(decision, Decision::Allow(a)
            if a.observed.as_ref().is_some_and(|o| meets(line, o)));
    }
    match (line.split_once(' ').unwrap_or((line, "")), decision) {
        (("allow", ""), Decision::Allow(_)) => true,
        (("allow", name), Decision::Allow(allow)) => {
            allow.rules.iter().any(|one| rule(Some(one)) == name)
        }
        (("deny", ""), Decision::Deny(_)) => true,
        (("deny", name), Decision::Deny(denial)) => rule(denial.rule.as_ref()) == name,
        (("hold", name), Decision::Hold(hold)) => rule(Some(&hold.rule)) == name,
        _ => false,
    }
}

fn said(refusal: &crate::model::Refusal) -> String {
    [
        Some(&refusal.message),
        refusal.detail.as_ref(),
        refusal.hint.as_ref(),
    ]
    .into_iter()
    .flatten()
    .cloned()
    .collect::<Vec<_>>()
    .join(" | ")
}

/// A decision in one line.
fn shown(decision: &Decision) -> String {
    match decision {
        Decision::Allow(allow) => {
            let masked = if allow.obligations.touches_masked {
                ", masked"
            } else {
                ""
            };
            let seen = allow
                .observed
                .as_ref()
                .map(|o| format!(", observed {}", shown(o)));
            format!("allow{masked}{}", seen.unwrap_or_default())
        }
        Decision::Hold(hold) => format!("hold {}", rule(Some(&hold.rule))),
        Decision::Deny(denial) => {
            format!(
                "deny {}: {}",
                rule(denial.rule.as_ref()),
                said(&denial.refusal)
            )
        }
    }
}
