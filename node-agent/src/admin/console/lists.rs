//! The lists: what waits, what was decided, and who is at the databases now.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::case::badge;
use super::layout::{Page, sentence};
use super::{Console, Signed};
use crate::approval::{Case, Matter};
use crate::clock;
use crate::replay::{Text, moment};

/// How many requests are looked through, and how many are shown.
const MOST: usize = 20_000;
const SHOWN: usize = 200;
/// How many characters of a statement a list shows.
const BEGINS: usize = 120;

#[derive(Debug, Deserialize)]
pub(super) struct Follow {
    follow: Option<String>,
}

pub(super) async fn pending(
    State(console): State<Arc<Console>>,
    Query(follow): Query<Follow>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let signed = match console.who(&headers, &uri) {
        Ok(signed) => signed,
        Err(answer) => return answer,
    };
    let mut cases = console.cases_for(&signed, false).await;
    let access = super::access::in_force(&cases);
    cases.retain(Case::pending);
    let follow = follow.follow.is_some();
    let page = Page::of(&console, &signed, "/console", "Pending requests")
        .raw(&as_of(follow))
        .raw(&table(&cases, "Nothing waits for you."))
        .raw(&access);
    // Only for who asked for it: a page that changes by itself is in the way of many.
    match follow {
        true => ([(header::REFRESH, "15")], page).into_response(),
        false => page.into_response(),
    }
}

fn as_of(follow: bool) -> String {
    let (to, name) = match follow {
        true => ("/console", "Stop renewing"),
        false => ("/console?follow=yes", "Renew every 15 seconds"),
    };
    format!(
        "<p class=\"asof\">As of {}. <a href=\"/console\">Look again</a> · <a href=\"{to}\">{name}</a></p>\n",
        moment(clock::now())
    )
}

pub(super) async fn history(
    State(console): State<Arc<Console>>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let signed = match console.who(&headers, &uri) {
        Ok(signed) => signed,
        Err(answer) => return answer,
    };
    let mut cases = console.cases_for(&signed, true).await;
    cases.retain(|case| !case.pending());
    cases.sort_by_key(|case| std::cmp::Reverse(case.changed));
    cases.truncate(SHOWN);
    Page::of(&console, &signed, "/console/history", "History")
        .line("The latest decisions about requests that are yours to see.")
        .raw(&table(&cases, "Nothing was decided yet."))
        .into_response()
}

impl Console {
    /// The requests whose rules name this reviewer.
    async fn cases_for(&self, signed: &Signed, all: bool) -> Vec<Case> {
        let mut cases = self.admin.desk.list(all, MOST).await;
        cases.retain(|case| signed.reviewer.belongs_to(&case.request.asks.reviewers));
        cases
    }
}

fn table(cases: &[Case], none: &str) -> String {
    if cases.is_empty() {
        return format!("<p>{}</p>\n", Text(none));
    }
    let mut out = String::from("<ol class=\"cases\">\n");
    for case in cases.iter().take(SHOWN) {
        let request = &case.request;
        let (what, more) = match &request.matter {
            Matter::Statement(shown) => (begins(&shown.text), ""),
            Matter::Commit(work) => (
                work.statements
                    .first()
                    .map(|shown| begins(&shown.text))
                    .unwrap_or_default(),
                "COMMIT of ",
            ),
            Matter::Access(wanted) => (
                wanted
                    .refused
                    .as_ref()
                    .map(|shown| begins(&shown.text))
                    .unwrap_or_default(),
                "Access, asked for after ",
            ),
        };
        let when = match case.pending() {
            true => format!("until {}", moment(request.lapses)),
            false => moment(case.changed),
        };
        let _ = writeln!(
            out,
            "<li class=\"st {}\">\n<h2><a href=\"/console/requests/{}\">{} · {}</a> {}</h2>\n\
             <p class=\"begins\">{more}<code>{}</code></p>\n\
             <p class=\"when\">{} by {}/{} · {} · {}</p>\n</li>",
            if case.pending() { "held" } else { "" },
            request.id,
            Text(&request.requester.subject),
            Text(&request.target.0),
            badge(&case.state),
            Text(&what),
            Text(&request.requester.workload.name),
            Text(&request.rule.policy),
            Text(&request.rule.rule),
            request.id,
            Text(&format!("{when} · {}", case.told())),
        );
    }
    out.push_str("</ol>\n");
    if let Some(more) = cases.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        let _ = writeln!(out, "<p>And {more} more.</p>");
    }
    out
}

fn begins(text: &str) -> String {
    let mut begins: String = text.chars().take(BEGINS).collect();
    if begins.len() < text.len() {
        begins.push('…');
    }
    begins
}

/// What is said to who may not look at sessions.
pub(super) fn not_an_auditor(console: &Console, signed: &Signed) -> Response {
    let text =
        "Sessions are for the groups in approvals.console.auditors, and you are in none of them.";
    let title = "Not yours to see";
    sentence(Some((console, signed)), StatusCode::FORBIDDEN, title, text)
}

pub(super) async fn live(
    State(console): State<Arc<Console>>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let signed = match console.who(&headers, &uri) {
        Ok(signed) => signed,
        Err(answer) => return answer,
    };
    if !console.is_auditor(&signed) {
        return not_an_auditor(&console, &signed);
    }
    let seen = console.admin.live.list();
    let page = Page::of(&console, &signed, "/console/sessions", "Live sessions");
    let page = page.line(&format!("As of {}.", moment(clock::now())));
    if seen.is_empty() {
        return page.line("Nobody is at the databases.").into_response();
    }
    let mut out = head(
        "Live sessions",
        &[
            "Session",
            "Since",
            "User",
            "Workload",
            "Target",
            "Database",
            "Statements",
            "Denied",
            "Rows",
        ],
    );
    for seen in &seen {
        let session = &seen.session;
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\"><a href=\"/console/recordings/{0}\">{0}</a></th><td class=\"at\">{1}</td>\
             <td>{2}</td><td>{3}</td><td>{4}</td><td>{5}</td><td class=\"number\">{6}</td>\
             <td class=\"number\">{7}</td><td class=\"number\">{8}</td></tr>",
            session.id,
            moment(session.since),
            Text(&session.user),
            Text(&session.workload),
            Text(&session.target),
            Text(&session.database),
            seen.statements,
            seen.denied,
            seen.rows,
        );
    }
    out.push_str("</tbody></table></div>\n");
    page.raw(&out).into_response()
}

/// The beginning of a table.
pub(super) fn head(caption: &str, columns: &[&str]) -> String {
    let mut out = format!(
        "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\"><table>\n<thead><tr>"
    );
    for column in columns {
        let _ = write!(out, "<th scope=\"col\">{column}</th>");
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    out
}
