//! Pure. What events mean, in words.

use crate::model::{Refusal, UnixMillis};
use crate::policy::{Allow, Decision, Granted, RuleRef};
use crate::record::{Decided, End, Event, Found, Login, RecordedCell, RecordedText, Why};
use crate::sql::{Analysis, Purpose, Second, Sureness, Touch};

use super::visible::visible;

/// When it happened, where the event says so.
pub(super) fn at(event: &Event) -> Option<UnixMillis> {
    match event {
        Event::Began(began) => Some(began.at),
        Event::Login(login) => Some(login.at),
        Event::Decided(decided) => Some(decided.at),
        Event::Finished(finished) => Some(finished.at),
        Event::Note(note) => Some(note.at),
        Event::Closed(closed) => Some(closed.at),
        Event::Rows(_) | Event::Unknown(_) => None,
    }
}

pub(super) fn rule(rule: &RuleRef) -> String {
    visible(&format!("{}/{}", rule.policy, rule.rule)).into_owned()
}

/// `1 row`, `2 rows`.
pub(super) fn rows(count: u64) -> String {
    match count {
        1 => "1 row".to_owned(),
        many => format!("{many} rows"),
    }
}

/// What the content net found in a column.
pub(super) fn found(found: &Found) -> String {
    let of = match &found.source {
        Some(source) => format!(" (of {})", visible(source)),
        None => String::new(),
    };
    let done = if found.covered { "masked" } else { "reported" };
    format!(
        "found {} {} in column {}{of}, {done}",
        found.count,
        found.detector,
        visible(&found.output)
    )
}

/// The decision, with the rules that spoke.
pub(super) fn decision(decision: &Decision) -> String {
    match decision {
        Decision::Allow(Allow {
            rules, observed, ..
        }) => {
            let by: Vec<_> = rules.iter().map(rule).collect();
            let mut text = match by.as_slice() {
                [] => "allowed".to_owned(),
                by => format!("allowed by {}", by.join(", ")),
            };
            if let Some(observed) = observed {
                // Observed decisions do not nest further than this in anything we write.
                let said = match &**observed {
                    Decision::Allow(_) => "ALLOW".to_owned(),
                    Decision::Hold(hold) => format!("HOLD ({})", rule(&hold.rule)),
                    Decision::Deny(denial) => match &denial.rule {
                        Some(by) => format!("DENY ({})", rule(by)),
                        None => "DENY (no rule allows it)".to_owned(),
                    },
                };
                text.push_str(&format!("; observed only, enforcing would {said}"));
            }
            text
        }
        Decision::Hold(hold) => format!("HELD for approval by {}", rule(&hold.rule)),
        Decision::Deny(denial) => match &denial.rule {
            Some(by) => format!("DENIED by {}", rule(by)),
            None => "DENIED: no rule allows it".to_owned(),
        },
    }
}

/// What the client was told, line by line.
pub(super) fn refusal(refusal: &Refusal) -> Vec<String> {
    let mut lines = vec![format!("refused: {}", visible(&refusal.message))];
    lines.extend(
        refusal
            .detail
            .as_ref()
            .map(|detail| format!("detail: {}", visible(detail))),
    );
    lines.extend(
        refusal
            .hint
            .as_ref()
            .map(|hint| format!("hint: {}", visible(hint))),
    );
    lines
}

/// What the client said of a statement's purpose.
pub(super) fn purpose(purpose: &Purpose) -> Vec<String> {
    let said = [
        ("reason", &purpose.reason),
        ("ticket", &purpose.ticket),
        ("traceparent", &purpose.traceparent),
        ("asks for access", &purpose.access),
        ("purpose not read", &purpose.unread),
    ];
    said.into_iter()
        .filter_map(|(key, value)| Some(format!("{key}: {}", visible(value.as_ref()?))))
        .collect()
}

/// The policies that were granted to who asked, and let it run.
pub(super) fn granted(decided: &Decided) -> Vec<String> {
    let Decision::Allow(allow) = &*decided.decision else {
        return Vec::new();
    };
    let used = |granted: &&Granted| allow.rules.iter().any(|rule| rule.policy == granted.policy);
    let access = decided.basis.access.iter().filter(used);
    access
        .map(|granted| {
            let by = granted.by.map(|by| format!(", by {by}"));
            let policy = visible(&granted.policy);
            format!("access: {policy} was granted{}", by.unwrap_or_default())
        })
        .collect()
}

/// `select; reads sales.customers`.
pub(super) fn analysis(analysis: &Analysis) -> String {
    let mut parts = Vec::new();
    for statement in analysis.statements.iter().take(5) {
        let kinds: Vec<_> = statement
            .kinds
            .iter()
            .map(|kind| {
                serde_json::to_string(kind)
                    .unwrap_or_default()
                    .replace('"', "")
            })
            .collect();
        let mut part = kinds.join("+");
        for use_ in statement.relations.iter().take(8) {
            let touch = match use_.touch {
                Touch::Read => "reads",
                Touch::Insert => "inserts into",
                Touch::Update => "updates",
                Touch::Delete => "deletes from",
                Touch::Truncate => "truncates",
                Touch::Lock => "locks",
                Touch::Define => "defines",
            };
            let name = match &use_.relation.schema {
                Some(schema) => format!("{schema}.{}", use_.relation.name),
                None => use_.relation.name.clone(),
            };
            part.push_str(&format!(", {touch} {}", visible(&name)));
        }
        parts.push(part);
    }
    if analysis.statements.len() > parts.len() {
        parts.push(format!(
            "and {} more",
            analysis.statements.len() - parts.len()
        ));
    }
    match &analysis.sureness {
        Sureness::Complete => {}
        Sureness::Partial(why) => parts.push(format!("not certain: {}", visible(why))),
        Sureness::Opaque(why) => parts.push(format!("not understood: {}", visible(why))),
    }
    if let Second::Differs(differing) = &analysis.second {
        parts.push(format!("two readings: {}", visible(&differing.what)));
    }
    parts.join("; ")
}

pub(super) fn end(end: End) -> &'static str {
    match end {
        End::Done => "done",
        End::Failed => "failed",
        End::Suspended => "suspended, rows remain",
        End::Skipped => "skipped by the database after an earlier error",
        End::Stopped => "stopped by the agent",
        End::Undone => "undone by the agent",
        End::Cut => "cut off by the end of the session",
    }
}

/// One word or two, for listings.
pub(super) fn why_short(why: &Why) -> &'static str {
    match why {
        Why::ClientQuit => "quit",
        Why::ClientGone => "client gone",
        Why::UpstreamGone => "database gone",
        Why::ClientGarbled(_) => "client garbled",
        Why::UpstreamGarbled(_) => "database garbled",
        Why::LoginRefused => "login refused",
        Why::IdentityExpired => "identity expired",
        Why::Drained => "drained",
        Why::Killed => "killed",
        Why::RecordFailed(_) => "record failed",
        Why::MaskFailed(_) => "mask failed",
        Why::LimitReached(_) => "limit reached",
        Why::UpstreamRefused(_) => "database refused",
        Why::AgentDied => "agent died",
        Why::Fault(_) => "fault",
    }
}

/// A sentence.
pub(super) fn why(why: &Why) -> String {
    match why {
        Why::ClientQuit => "the client said goodbye".to_owned(),
        Why::ClientGone => "the client went away".to_owned(),
        Why::UpstreamGone => "the database went away".to_owned(),
        Why::ClientGarbled(what) => format!("the client broke the protocol: {}", visible(what)),
        Why::UpstreamGarbled(what) => format!("the database broke the protocol: {}", visible(what)),
        Why::LoginRefused => "the login was refused".to_owned(),
        Why::IdentityExpired => "the identity expired".to_owned(),
        Why::Drained => "the agent was draining".to_owned(),
        Why::Killed => "it was ended by an operator".to_owned(),
        Why::RecordFailed(what) => format!("it could not be recorded: {}", visible(what)),
        Why::MaskFailed(what) => format!("an answer could not be masked: {}", visible(what)),
        Why::LimitReached(what) => format!("a limit was reached: {}", visible(what)),
        Why::AgentDied => "the agent was killed or crashed".to_owned(),
        Why::UpstreamRefused(what) => format!("the database refused the agent: {}", visible(what)),
        Why::Fault(what) => format!("a fault in the agent: {}", visible(what)),
    }
}

/// Whether a text of this event holds `term`, which is in lower case: statement, parameters, rules and
/// refusal; values as delivered, names of columns; errors, tags, notes; who and where.
pub(super) fn mentions(event: &Event, term: &str) -> bool {
    let has = |text: &str| text.to_lowercase().contains(term);
    let cell = |cell: &RecordedCell| match cell {
        RecordedCell::Text(text)
        | RecordedCell::Binary(text)
        | RecordedCell::Begins { text, .. } => has(text),
        RecordedCell::Null | RecordedCell::Long(_) => false,
    };
    let told = |refusal: &Refusal| {
        let more = refusal.detail.iter().chain(&refusal.hint);
        has(&refusal.message) || more.into_iter().any(|text| has(text))
    };
    match event {
        Event::Began(began) => {
            has(&began.workload.name) || has(&began.target.0) || has(&began.process.comm)
        }
        Event::Login(login) => match &login.login {
            Login::Admitted {
                principal,
                database,
                role,
                ..
            } => has(&principal.user.subject) || has(database) || has(role),
            Login::Refused(refusal) => told(refusal),
        },
        Event::Decided(decided) => {
            let text = match &decided.text {
                RecordedText::Plain(text) | RecordedText::Cut { head: text, .. } => has(text),
                RecordedText::Withheld { hash, .. } => has(hash),
            };
            let refused = match &*decided.decision {
                Decision::Deny(denial) => told(&denial.refusal),
                Decision::Allow(_) | Decision::Hold(_) => false,
            };
            text || refused || decided.params.iter().any(cell) || has(&decision(&decided.decision))
        }
        Event::Rows(rows) => {
            let mut heads = rows.head.iter().flat_map(|head| &head.columns);
            heads.any(|column| has(&column.name)) || rows.rows.iter().flatten().any(cell)
        }
        Event::Finished(finished) => {
            let error = finished.error.as_ref();
            error.is_some_and(|(code, message)| has(code) || has(message))
                || finished.tags.iter().any(|tag| has(tag))
        }
        Event::Note(note) => has(&note.text),
        Event::Closed(closed) => has(&why(&closed.why)),
        Event::Unknown(unknown) => has(&unknown.line),
    }
}
