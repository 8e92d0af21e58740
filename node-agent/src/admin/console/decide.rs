//! Forms that decide. Who sends one is signed in, and the form is their own; whether the word counts is
//! the desk's to say.

use std::sync::Arc;

use axum::Form;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::layout::{Page, sentence};
use super::{Console, Signed};
use crate::approval::{Case, NotCounted, Says, Scope, Terms};
use crate::model::ApprovalId;

/// A form as it comes. Whatever is not understood refuses it whole.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Word {
    #[serde(default)]
    token: String,
    #[serde(default)]
    note: String,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    minutes: String,
    #[serde(default)]
    max_rows: String,
    #[serde(default)]
    unmasked: Option<String>,
}

impl Word {
    fn note(&self) -> Option<String> {
        let note = self.note.trim();
        (!note.is_empty()).then(|| note.to_owned())
    }

    fn terms(&self) -> Result<Terms, &'static str> {
        let scope = match self.scope.as_str() {
            "once" => Scope::Once,
            "session" => Scope::Session,
            "shape" => Scope::Shape(
                self.minutes
                    .trim()
                    .parse()
                    .map_err(|_| "Write for how many minutes statements of this shape may run.")?,
            ),
            "access" => super::access::time(&self.minutes)?,
            _ => return Err("Choose how far the approval reaches."),
        };
        let max_rows = match self.max_rows.trim() {
            "" => None,
            rows => Some(
                rows.parse()
                    .map_err(|_| "The limit of rows is a whole number, or empty.")?,
            ),
        };
        let unmasked = match self.unmasked.as_deref() {
            None => false,
            Some("yes") => true,
            Some(_) => return Err("Whether the answer is masked was not understood."),
        };
        Ok(Terms {
            scope,
            max_rows,
            unmasked,
        })
    }
}

pub(super) async fn approve(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Form(word): Form<Word>,
) -> Response {
    let (signed, case) = match console.deciding(&headers, &word.token, &id).await {
        Ok(found) => found,
        Err(answer) => return answer,
    };
    let id = case.request.id;
    if !console.is_fresh(&signed) {
        let page = Page::of(&console, &signed, "", "Sign in anew")
            .line("You gave your credentials too long ago to approve: nothing was done.")
            .link(
                &format!("/console/sign-in?anew&next=/console/requests/{id}"),
                "Sign in anew to approve",
            );
        return (StatusCode::FORBIDDEN, page).into_response();
    }
    let terms = match word.terms() {
        Ok(terms) => terms,
        Err(why) => {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            return console.not_done(&signed, id, status, why);
        }
    };
    let counted = console
        .admin
        .desk
        .vote(
            id,
            signed.reviewer.clone(),
            Says::Approve(terms),
            word.note(),
        )
        .await;
    console.answer(&signed, id, counted)
}

pub(super) async fn refuse(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Form(word): Form<Word>,
) -> Response {
    let (signed, case) = match console.deciding(&headers, &word.token, &id).await {
        Ok(found) => found,
        Err(answer) => return answer,
    };
    let id = case.request.id;
    let desk = &console.admin.desk;
    let counted = desk.vote(id, signed.reviewer.clone(), Says::Refuse, word.note());
    console.answer(&signed, id, counted.await)
}

pub(super) async fn revoke(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Form(word): Form<Word>,
) -> Response {
    let (signed, case) = match console.deciding(&headers, &word.token, &id).await {
        Ok(found) => found,
        Err(answer) => return answer,
    };
    let id = case.request.id;
    let desk = &console.admin.desk;
    let counted = desk.revoke(id, signed.reviewer.clone()).await;
    console.answer(&signed, id, counted)
}

impl Console {
    /// Who decides about what.
    pub(super) async fn deciding(
        &self,
        headers: &HeaderMap,
        token: &str,
        id: &str,
    ) -> Result<(Arc<Signed>, Case), Response> {
        let signed = self.who_sends(headers, token)?;
        let case = self.case_for(&signed, id).await?;
        Ok((signed, case))
    }

    fn answer(
        &self,
        signed: &Signed,
        id: ApprovalId,
        counted: Result<Case, NotCounted>,
    ) -> Response {
        let why = match counted {
            Ok(_) => return Redirect::to(&format!("/console/requests/{id}")).into_response(),
            Err(why) => why,
        };
        let status = status(&why);
        self.not_done(
            signed,
            id,
            status,
            &format!("Your word does not count: {why}."),
        )
    }

    pub(super) fn not_done(
        &self,
        signed: &Signed,
        id: ApprovalId,
        status: StatusCode,
        why: &str,
    ) -> Response {
        if status == StatusCode::NOT_FOUND {
            return sentence(Some((self, signed)), status, "Not found", why);
        }
        let page = Page::of(self, signed, "", "Not done")
            .line(why)
            .link(&format!("/console/requests/{id}"), "Back to the request");
        (status, page).into_response()
    }
}

/// Of a word that does not count.
pub(super) fn status(why: &NotCounted) -> StatusCode {
    match why {
        NotCounted::Unknown => StatusCode::NOT_FOUND,
        NotCounted::Own(_) | NotCounted::NotAsked { .. } => StatusCode::FORBIDDEN,
        NotCounted::Over(_)
        | NotCounted::Twice(..)
        | NotCounted::OtherTerms(_)
        | NotCounted::NotInForce => StatusCode::CONFLICT,
        NotCounted::NotOffered(_) => StatusCode::UNPROCESSABLE_ENTITY,
        NotCounted::NoRoom(_) | NotCounted::Unrecorded(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
