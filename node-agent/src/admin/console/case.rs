//! One request: everything a reviewer must know, and the forms by which they decide.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use super::layout::{self, Page, sentence};
use super::{Console, Signed, preview};
use crate::approval::{
    Case, Matter, Request, Says, Scope, Shown, State as Stands, Terms, Waits, Work,
};
use crate::clock;
use crate::model::ApprovalId;
use crate::record::RecordedCell;
use crate::replay::{Attribute, Text, moment};
use crate::sql::shape;

/// How many different odd characters are named.
const NAMED: usize = 20;

pub(super) async fn page(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let signed = match console.who(&headers, &uri) {
        Ok(signed) => signed,
        Err(answer) => return answer,
    };
    match console.case_for(&signed, &id).await {
        Ok(case) => show(&console, &signed, &case).into_response(),
        Err(answer) => answer,
    }
}

impl Console {
    /// A request that this reviewer may see.
    pub(super) async fn case_for(&self, signed: &Signed, id: &str) -> Result<Case, Response> {
        let say =
            |status, title: &str, text: &str| sentence(Some((self, signed)), status, title, text);
        let unknown = || {
            say(
                StatusCode::NOT_FOUND,
                "Not found",
                "There is no such request.",
            )
        };
        let id: ApprovalId = id.parse().map_err(|_| unknown())?;
        let case = self.admin.desk.find(id).await.ok_or_else(unknown)?;
        let asked = &case.request.asks.reviewers;
        if signed.reviewer.belongs_to(asked) {
            return Ok(case);
        }
        let why = format!(
            "This request is not for you: its rule asks {asked}. Your sign-in says that you are {} in {}.",
            signed.reviewer.name,
            match signed.reviewer.groups.as_slice() {
                [] => "no group".to_owned(),
                groups => format!("the groups {}", groups.join(", ")),
            }
        );
        Err(say(StatusCode::FORBIDDEN, "Not yours to see", &why))
    }
}

fn show(console: &Console, signed: &Signed, case: &Case) -> Page {
    let request = &case.request;
    let mut body = String::new();
    let badge = badge(&case.state);
    let told = Text(&case.told()).to_string();
    let _ = writeln!(body, "<p class=\"stands\">{badge} <span>{told}</span></p>");
    if case.pending() {
        let waits = match request.waits {
            _ if request.access().is_some() => {
                "Nothing waits on a connection for it: the client asks again"
            }
            Waits::Held => "The client waits on its connection",
            Waits::Retry => "The client comes again with the same statement",
        };
        let _ = writeln!(body, "<p>{waits}, until {}.</p>", moment(request.lapses));
    }
    match &request.matter {
        Matter::Statement(shown) => {
            body.push_str("<section>\n<h2>What would run</h2>\n");
            statement(&mut body, shown, 3);
            body.push_str("</section>\n");
        }
        Matter::Commit(work) => commit(&mut body, request, work, case.pending()),
        Matter::Access(wanted) => super::access::wanted(&mut body, wanted),
    }
    who(&mut body, case);
    rule(&mut body, case);
    preview::offer(&mut body, console, signed, case);
    decide(&mut body, console, signed, case);
    Page::of(console, signed, "", &format!("Request {}", request.id))
        .kicker(&format!(
            "{} · {}",
            request.requester.workload.name, request.target.0
        ))
        .raw(&body)
}

/// The state as a word in a colour.
pub(super) fn badge(state: &Stands) -> String {
    let (class, word) = match state {
        Stands::Pending => ("held", "pending"),
        Stands::Approved { .. } => ("", "approved"),
        Stands::Used => ("", "used"),
        Stands::Refused => ("denied", "refused"),
        Stands::Over { .. } => ("denied", "over"),
    };
    format!("<span class=\"badge {class}\">{word}</span>")
}

pub(super) fn pair(out: &mut String, name: &str, value: &str) {
    let (name, value) = (Text(name), Text(value));
    let _ = writeln!(out, "<div><dt>{name}</dt><dd>{value}</dd></div>");
}

pub(super) fn statement(out: &mut String, shown: &Shown, level: u8) {
    out.push_str("<pre class=\"sql\" tabindex=\"0\" aria-label=\"The statement\"><code>");
    for line in shown.text.split('\n') {
        // Every other character that is not seen as what it is stands as an escape, tabs too.
        let _ = write!(out, "<span class=\"line\">{}</span>", Text(line));
    }
    out.push_str("</code></pre>\n");
    if let Some(odd) = odd(&shown.text) {
        let _ = writeln!(out, "<p class=\"odd\">{}</p>", Text(&odd));
    }
    if !shown.params.is_empty() {
        let _ = writeln!(
            out,
            "<h{level}>Parameters</h{level}>\n<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"Parameters\">\
             <table>\n<thead><tr><th scope=\"col\">Name</th><th scope=\"col\">Value</th></tr></thead>\n<tbody>"
        );
        for (at, cell) in shown.params.iter().enumerate() {
            let (class, text) = told(cell);
            let _ = writeln!(
                out,
                "<tr><th scope=\"row\">${}</th><td class=\"{class}\">{}</td></tr>",
                at + 1,
                Text(&text)
            );
        }
        out.push_str("</tbody></table></div>\n");
    }
    out.push_str("<dl>\n");
    let list = |all: &[String]| match all {
        [] => "none".to_owned(),
        all => all.join(", "),
    };
    pair(out, "Does", &list(&shown.kinds));
    pair(out, "Tables", &list(&shown.tables));
    pair(out, "Functions", &list(&shown.functions));
    if let Some(rows) = shown.estimate {
        let unseen = match shown.before {
            0 => "",
            _ => "; it does not see what the open transaction has done",
        };
        let rows = format!("about {rows}{unseen}");
        pair(out, "Rows, as the database expects", &rows);
    }
    if shown.before > 0 {
        let statements = if shown.before == 1 {
            "statement"
        } else {
            "statements"
        };
        let before = format!("{} {statements}", shown.before);
        pair(out, "Ran before it in the open transaction", &before);
    }
    out.push_str("</dl>\n");
}

/// A cell: its class, and its text, which is not escaped yet.
pub(super) fn told(cell: &RecordedCell) -> (&'static str, String) {
    match cell {
        RecordedCell::Null => ("null", "NULL".to_owned()),
        RecordedCell::Text(text) => ("", text.clone()),
        RecordedCell::Binary(hex) => ("", format!("\\x{hex}")),
        RecordedCell::Begins { text, length } => {
            ("long", format!("{text}… ({length} bytes in all)"))
        }
        RecordedCell::Long(bytes) => ("long", format!("{bytes} bytes, not kept")),
    }
}

/// Letters of other scripts can look like those of a keyboard: they are named.
fn odd(text: &str) -> Option<String> {
    let mut found: BTreeMap<char, usize> = BTreeMap::new();
    for c in text.chars().filter(|c| !c.is_ascii()) {
        *found.entry(c).or_default() += 1;
    }
    if found.is_empty() {
        return None;
    }
    let named: Vec<String> = found
        .iter()
        .take(NAMED)
        .map(|(c, times)| format!("{c} U+{:04X} ({times})", u32::from(*c)))
        .collect();
    let more = match found.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "Characters beyond ASCII, and how often: {}{more}",
        named.join(", ")
    ))
}

fn commit(out: &mut String, request: &Request, work: &Work, pending: bool) {
    let age = |until: i64| until.saturating_sub(work.since.0).max(0) / 1000;
    let by_now = match pending {
        true => format!(", {} s by now", age(clock::now().0)),
        false => String::new(),
    };
    let _ = writeln!(
        out,
        "<section>\n<h2>What would be committed</h2>\n\
         <p>The transaction has been open since {}, and its locks are held: for {} s when it was asked{by_now}.</p>\n\
         <div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"Rows by table\"><table>\n<thead><tr>\
         <th scope=\"col\">Table</th><th scope=\"col\" class=\"number\">Inserted</th>\
         <th scope=\"col\" class=\"number\">Updated</th><th scope=\"col\" class=\"number\">Deleted</th></tr></thead>\n<tbody>",
        moment(work.since),
        age(request.at.0)
    );
    for changed in &work.tables {
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td class=\"number\">{}</td><td class=\"number\">{}</td>\
             <td class=\"number\">{}</td></tr>",
            Text(&changed.table),
            changed.inserted,
            changed.updated,
            changed.deleted
        );
    }
    out.push_str("</tbody></table></div>\n");
    if !work.counted {
        out.push_str("<p class=\"odd\">The database does not count (track_counts): its rows are not known.</p>\n");
    } else if !work.tables.is_empty() {
        out.push_str(
            "<p>As the database counts: with what triggers and cascades did, and with what was rolled back \
             to a savepoint.</p>\n",
        );
    }
    for (at, shown) in work.statements.iter().enumerate() {
        let _ = writeln!(out, "<h3>Statement {}</h3>", at + 1);
        statement(out, shown, 4);
    }
    if work.more > 0 {
        let statements = if work.more == 1 {
            "statement"
        } else {
            "statements"
        };
        let _ = writeln!(
            out,
            "<p>And {} other {statements}, which the rule is not about.</p>",
            work.more
        );
    }
    out.push_str("</section>\n");
}

fn who(out: &mut String, case: &Case) {
    let request = &case.request;
    let asks = &request.requester;
    out.push_str("<section>\n<h2>Who asks, and where</h2>\n<dl>\n");
    pair(out, "Identity", &asks.subject);
    pair(out, "Issuer", &asks.issuer);
    if !asks.groups.is_empty() {
        pair(out, "Groups", &asks.groups.join(", "));
    }
    for (name, value) in &asks.claims {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        pair(out, &format!("Claim {name}"), &value);
    }
    pair(out, "Workload", &asks.workload.name);
    // What a reviewer gives unasked, no process has asked for.
    if request.access().is_none_or(|wanted| wanted.by.is_none()) {
        let process = &asks.process;
        let program = process.executable.as_deref().unwrap_or(&process.comm);
        pair(
            out,
            "Executable",
            &format!("{program} (process {})", process.pid),
        );
        pair(out, "Client", &asks.client.to_string());
    }
    if let Some(name) = &asks.application {
        pair(out, "Calls itself", name);
    }
    let purpose = asks.purpose.as_ref();
    if let Some(reason) = purpose.and_then(|purpose| purpose.reason.as_ref()) {
        pair(out, "Reason, in its own words", reason);
    }
    if let Some(ticket) = purpose.and_then(|purpose| purpose.ticket.as_ref()) {
        pair(out, "Ticket, in its own words", ticket);
    }
    pair(out, "Target", &request.target.0);
    pair(out, "Database", &request.database);
    pair(out, "Role there", &request.role);
    pair(out, "Asked at", &moment(request.at));
    pair(out, "Reference", &request.reference.to_string());
    out.push_str("</dl>\n</section>\n");
}

fn rule(out: &mut String, case: &Case) {
    let request = &case.request;
    let asks = &request.asks;
    out.push_str("<section>\n<h2>Why it waits</h2>\n<dl>\n");
    let name = format!("{}/{}", request.rule.policy, request.rule.rule);
    pair(out, "Rule", &name);
    pair(out, "Asks", &asks.reviewers.to_string());
    pair(out, "Reviewers needed", &asks.quorum.max(1).to_string());
    pair(out, "Policies", &request.policy_version);
    out.push_str("</dl>\n");
    if !case.votes.is_empty() {
        out.push_str("<h3>Said so far</h3>\n<ul>\n");
        for vote in &case.votes {
            let says = match vote.says {
                Says::Approve(terms) => format!("approved: {terms}"),
                Says::Refuse => "refused".to_owned(),
            };
            let note = vote.note.as_deref().map(|note| format!(" “{note}”"));
            let said = format!(
                "{} {says}, at {}.{}",
                vote.by,
                moment(vote.at),
                note.unwrap_or_default()
            );
            let _ = writeln!(out, "<li>{}</li>", Text(&said));
        }
        out.push_str("</ul>\n");
    }
    if case.runs > 0 {
        let _ = writeln!(out, "<p>Statements that ran by it: {}.</p>", case.runs);
    }
    out.push_str("</section>\n");
}

const NOTE: &str = "<label for=\"ID\">Note (told to the client, and recorded)</label>\n\
                    <textarea id=\"ID\" name=\"note\" rows=\"2\" maxlength=\"500\"></textarea>\n";

fn decide(out: &mut String, console: &Console, signed: &Signed, case: &Case) {
    let id = case.request.id;
    let own = signed.reviewer.is(&case.request.requester);
    let in_force = matches!(case.state, Stands::Approved { until } if clock::now() < until);
    if !case.pending() && !in_force {
        return;
    }
    out.push_str("<section>\n<h2>Decide</h2>\n");
    if own && case.pending() {
        out.push_str("<p>You asked for it: nobody decides their own request.</p>\n</section>\n");
        return;
    }
    let token = layout::token(signed);
    if in_force {
        let _ = writeln!(
            out,
            "<form method=\"post\" action=\"/console/requests/{id}/revoke\">\n{token}\
             <button class=\"no\">Take the approval back</button>\n</form>\n</section>"
        );
        return;
    }
    out.push_str("<div class=\"decide\">\n");
    if console.is_fresh(signed) {
        let _ = write!(
            out,
            "<form method=\"post\" action=\"/console/requests/{id}/approve\">\n<h3>Approve</h3>\n{token}"
        );
        terms(out, case);
        out.push_str(&NOTE.replace("ID", "note-approve"));
        out.push_str("<button class=\"yes\">Approve</button>\n</form>\n");
    } else {
        let _ = writeln!(
            out,
            "<div>\n<h3>Approve</h3>\n<p>Approving needs your credentials given no longer than {} minutes ago.</p>\n\
             <p><a class=\"go\" href=\"/console/sign-in?anew&amp;next=/console/requests/{id}\">Sign in anew to approve</a></p>\n</div>",
            console.settings.fresh.as_secs() / 60
        );
    }
    let _ = writeln!(
        out,
        "<form method=\"post\" action=\"/console/requests/{id}/refuse\">\n<h3>Refuse</h3>\n{token}{}\
         <button class=\"no\">Refuse</button>\n</form>\n</div>\n</section>",
        NOTE.replace("ID", "note-refuse")
    );
}

/// What stands for all statements of its shape: each digit that may differ is a zero.
fn like(case: &Case) -> Option<String> {
    case.request.shape?;
    match &case.request.matter {
        Matter::Statement(shown) => shape(&shown.text),
        Matter::Commit(_) | Matter::Access(_) => None,
    }
}

/// What is granted, as far as the rule offers a choice.
fn terms(out: &mut String, case: &Case) {
    if let Some(wanted) = case.request.access() {
        super::access::terms(out, wanted, case.terms());
        return;
    }
    if let Some(agreed) = case.terms() {
        agreed_terms(out, agreed);
        return;
    }
    let asks = &case.request.asks;
    // Of a COMMIT there is no shape, its rows are changed, and its answers were given.
    let commit = matches!(case.request.matter, Matter::Commit(_));
    let longest = asks.offers.shape.map(|span| span.0 / 60_000);
    let longest = longest.filter(|_| !commit);
    let session = asks.offers.session && case.request.waits == Waits::Held;
    out.push_str(
        "<fieldset>\n<legend>How far it reaches</legend>\n\
         <label><input type=\"radio\" name=\"scope\" value=\"once\" checked> Once: exactly this</label>\n",
    );
    if session {
        out.push_str(
            "<label><input type=\"radio\" name=\"scope\" value=\"session\"> Whatever the rule holds \
             in this session</label>\n",
        );
    }
    if let Some(most) = longest.filter(|most| *most > 0)
        && let Some(like) = like(case)
    {
        let _ = writeln!(
            out,
            "<label><input type=\"radio\" name=\"scope\" value=\"shape\"> Statements of this shape, by this \
             identity, for the minutes below: {} with any digits in place of the zeros</label>\n\
             <label for=\"minutes\">Minutes (1 to {most})</label>\n\
             <input id=\"minutes\" name=\"minutes\" type=\"number\" inputmode=\"numeric\" min=\"1\" max=\"{most}\">",
            Text(&like)
        );
    }
    out.push_str("</fieldset>\n");
    if !commit {
        out.push_str(
            "<label for=\"max-rows\">At most so many rows changed, else it is rolled back (empty: no limit)</label>\n\
             <input id=\"max-rows\" name=\"max_rows\" type=\"number\" inputmode=\"numeric\" min=\"0\">\n",
        );
    }
    if asks.offers.unmasked && !commit {
        out.push_str(
            "<label class=\"tick\"><input type=\"checkbox\" name=\"unmasked\" value=\"yes\"> The answer is not masked</label>\n",
        );
    }
}

fn agreed_terms(out: &mut String, terms: Terms) {
    let _ = writeln!(
        out,
        "<p>Reviewers before you agreed on: {}. You agree to the same.</p>",
        Text(&terms.to_string())
    );
    let mut field = |name: &str, value: &str| {
        let value = Attribute(value);
        let _ = writeln!(
            out,
            "<input type=\"hidden\" name=\"{name}\" value=\"{value}\">"
        );
    };
    match terms.scope {
        Scope::Once => field("scope", "once"),
        Scope::Session => field("scope", "session"),
        Scope::Shape(minutes) => {
            field("scope", "shape");
            field("minutes", &minutes.to_string());
        }
        // Has a form of its own.
        Scope::Access(_) => {}
    }
    if let Some(rows) = terms.max_rows {
        field("max_rows", &rows.to_string());
    }
    if terms.unmasked {
        field("unmasked", "yes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_that_look_like_others_are_named() {
        assert_eq!(odd("delete from t;"), None);
        assert_eq!(
            odd("select \u{441}\u{441}, \u{e9}").as_deref(),
            Some("Characters beyond ASCII, and how often: é U+00E9 (1), с U+0441 (2)")
        );
        let many: String = ('\u{4e00}'..='\u{4e20}').collect();
        assert!(odd(&many).unwrap().ends_with("and 13 more"));
    }
}
