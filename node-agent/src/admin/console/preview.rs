//! What a held statement would do, for a reviewer who asks: a page that is written once and kept nowhere.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Form;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::layout::{self, Page};
use super::{Console, Signed, case, decide};
use crate::approval::{Case, NotPreviewed, Preview, Sample};
use crate::clock;
use crate::replay::{Attribute, Text};

/// The form as it comes. Whatever is not understood refuses it whole.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    #[serde(default)]
    token: String,
}

/// The button, where the rule offers a preview and this reviewer may have one.
pub(super) fn offer(out: &mut String, console: &Console, signed: &Signed, case: &Case) {
    if case.may_preview(&signed.reviewer, clock::now()).is_err() {
        return;
    }
    let id = case.request.id;
    out.push_str("<section>\n<h2>What it would do</h2>\n");
    if !console.is_fresh(signed) {
        let _ = writeln!(
            out,
            "<p>A preview needs your credentials given no longer than {} minutes ago.</p>\n\
             <p><a class=\"go\" href=\"/console/sign-in?anew&amp;next=/console/requests/{id}\">Sign in anew to preview</a></p>\n</section>",
            console.settings.fresh.as_secs() / 60
        );
        return;
    }
    let token = layout::token(signed);
    let _ = writeln!(
        out,
        "<p>It is run and rolled back. Sequences advance, locks are taken and triggers run all the same; \
         that you asked is recorded.</p>\n\
         <form method=\"post\" action=\"/console/requests/{id}/preview\">\n{token}\
         <button>Preview</button>\n</form>\n</section>"
    );
}

pub(super) async fn preview(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Form(wanted): Form<Wanted>,
) -> Response {
    let (signed, case) = match console.deciding(&headers, &wanted.token, &id).await {
        Ok(found) => found,
        Err(answer) => return answer,
    };
    let id = case.request.id;
    if !console.is_fresh(&signed) {
        let why = "You gave your credentials too long ago for a preview: nothing was done.";
        return console.not_done(&signed, id, StatusCode::FORBIDDEN, why);
    }
    let previewed = console.admin.desk.preview(id, signed.reviewer.clone());
    match previewed.await {
        Ok(preview) => show(&console, &signed, &preview).into_response(),
        Err(why) => {
            let status = match &why {
                NotPreviewed::NotCounted(why) => decide::status(why),
                NotPreviewed::NotHeld | NotPreviewed::Unfit(_) => StatusCode::UNPROCESSABLE_ENTITY,
                NotPreviewed::Busy | NotPreviewed::Often | NotPreviewed::Ended => {
                    StatusCode::CONFLICT
                }
                NotPreviewed::Full => StatusCode::SERVICE_UNAVAILABLE,
            };
            console.not_done(&signed, id, status, &format!("No preview: {why}."))
        }
    }
}

fn show(console: &Console, signed: &Signed, preview: &Preview) -> Page {
    let mut body = String::new();
    for table in &preview.tables {
        let changed = &table.changed;
        let _ = writeln!(
            body,
            "<section>\n<h2>{}</h2>\n<p>{} inserted, {} updated, {} deleted.</p>",
            Text(&changed.table),
            changed.inserted,
            changed.updated,
            changed.deleted
        );
        if changed.updated + changed.deleted > 0 {
            sample(&mut body, "Before", &changed.table, &table.before);
        }
        if changed.updated + changed.inserted > 0 {
            sample(&mut body, "After", &changed.table, &table.after);
        }
        body.push_str("</section>\n");
    }
    let id = preview.id;
    Page::of(console, signed, "", &format!("Preview of {id}"))
        .line(&format!("It was {}.", preview.words()))
        .raw(&body)
        .link(&format!("/console/requests/{id}"), "Back to the request")
}

fn sample(out: &mut String, when: &str, table: &str, sample: &Sample) {
    let _ = writeln!(out, "<h3>{when}</h3>");
    if !sample.rows.is_empty() {
        let label = format!("{when}, of {table}");
        let _ = write!(
            out,
            "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{}\"><table>\n<thead><tr>",
            Attribute(&label)
        );
        for column in &sample.columns {
            let _ = write!(out, "<th scope=\"col\">{}</th>", Text(column));
        }
        out.push_str("</tr></thead>\n<tbody>\n");
        for row in &sample.rows {
            out.push_str("<tr>");
            for cell in row {
                let (class, text) = case::told(cell);
                let _ = write!(out, "<td class=\"{class}\">{}</td>", Text(&text));
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</tbody></table></div>\n");
    }
    if !sample.withheld.is_empty() {
        let names = sample.withheld.join(", ");
        let _ = writeln!(
            out,
            "<p>Not shown, since nobody can say whether a mask is on them: {}.</p>",
            Text(&names)
        );
    }
    match &sample.why {
        Some(why) => {
            let _ = writeln!(out, "<p>{}.</p>", Text(why));
        }
        None if sample.rows.is_empty() => out.push_str("<p>No row is seen.</p>\n"),
        None => {}
    }
}
