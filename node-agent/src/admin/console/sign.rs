//! IO. Signing in and out.
//!
//! The cookie of a sign-in that has begun is `Lax`, for the issuer's page sends the browser back; the
//! session's is `Strict`, and what comes back goes on by a page of the console's own.

use std::sync::Arc;
use std::time::Duration;

use axum::Form;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use serde::Deserialize;

use super::guard::cookie;
use super::layout::{self, Page, sentence};
use super::table::{Key, random};
use super::{Console, Signed, Signing};
use crate::approval::{Reviewer, Via};
use crate::clock;
use crate::identity::Finished;
use crate::model::UnixMillis;

/// How long the issuer's own pages may take.
const PATIENCE: Duration = Duration::from_mins(10);
/// The longest path to go back to, bytes.
const LONGEST_NEXT: usize = 64;

#[derive(Debug, Deserialize)]
pub(super) struct Wish {
    next: Option<String>,
    anew: Option<String>,
}

pub(super) async fn begin(
    State(console): State<Arc<Console>>,
    headers: HeaderMap,
    Query(wish): Query<Wish>,
) -> Response {
    let anew = wish.anew.is_some();
    let longest = match anew {
        true => console.settings.fresh,
        false => console.settings.session,
    };
    let (url, begun) = match console.sign_in.begin(longest, anew).await {
        Ok(begun) => begun,
        Err(error) => {
            tracing::warn!(%error, "nobody can sign in to the console");
            let why = error.to_string();
            return sentence(None, StatusCode::BAD_GATEWAY, "No sign-in now", &why);
        }
    };
    let Some(shown) = random() else {
        return no_randomness();
    };
    let now = clock::now();
    let signing = Signing {
        begun,
        next: wish.next.filter(|next| is_ours(next)).unwrap_or_else(home),
        anew,
        instead_of: console.key(&headers),
    };
    console
        .signing()
        .put(Key::of(&shown), signing, after(now, PATIENCE), now);
    let cookie = console.set_cookie(&console.signing_cookie(), &shown, false);
    let headers = [
        (header::SET_COOKIE, cookie),
        (header::LOCATION, url.to_string()),
    ];
    (StatusCode::SEE_OTHER, headers).into_response()
}

#[derive(Debug, Deserialize)]
pub(super) struct Back {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

pub(super) async fn back(
    State(console): State<Arc<Console>>,
    headers: HeaderMap,
    Query(back): Query<Back>,
) -> Response {
    let refused = |status, why: &str| {
        tracing::info!(why, "a sign-in to the console was refused");
        let page = Page::new("Not signed in").line(why);
        (status, page.link("/console/sign-in", "Sign in again")).into_response()
    };
    let now = clock::now();
    let begun = cookie(&headers, &console.signing_cookie())
        // Taken out: a code and its state are good for one try.
        .and_then(|shown| console.signing().take(&Key::of(shown), now));
    let Some(signing) = begun else {
        let why = "This browser has no such sign-in under way, or it took longer than 10 minutes.";
        return refused(StatusCode::BAD_REQUEST, why);
    };
    let state = back.state.unwrap_or_default();
    let expected = signing.begun.state.expose().as_bytes();
    if aws_lc_rs::constant_time::verify_slices_are_equal(expected, state.as_bytes()).is_err() {
        let why = "The answer belongs to another sign-in (state).";
        return refused(StatusCode::BAD_REQUEST, why);
    }
    // RFC 9207: who says from whom an answer is must say it rightly.
    if back
        .iss
        .is_some_and(|iss| iss != console.settings.issuer.url)
    {
        let why = "The answer is from another issuer (iss).";
        return refused(StatusCode::BAD_REQUEST, why);
    }
    if back.error.is_some() {
        // What it says is anybody's text; nothing hangs on it.
        let why = "The issuer did not sign you in.";
        return refused(StatusCode::FORBIDDEN, why);
    }
    let code = back.code.unwrap_or_default();
    let finished = match console.sign_in.finish(&signing.begun, &code).await {
        Ok(finished) => finished,
        Err(error) => return refused(StatusCode::FORBIDDEN, &error.to_string()),
    };
    let Some(token) = random() else {
        return no_randomness();
    };
    let Finished { user, at } = finished;
    let signed = Signed {
        reviewer: Reviewer {
            also: user.also,
            name: user.subject,
            issuer: Some(user.issuer),
            groups: user.groups,
            via: Via::Console,
        },
        at,
        token,
    };
    if signing.anew && !console.is_fresh(&signed) {
        let why = "The issuer did not ask you for your credentials anew, or does not say when it \
                   did (auth_time): approving needs that. Its operator can mend it.";
        return refused(StatusCode::FORBIDDEN, why);
    }
    let Some(shown) = random() else {
        return no_randomness();
    };
    tracing::info!(reviewer = %signed.reviewer.recorded(), "signed in to the console");
    {
        let mut all = console.signed();
        if let Some(old) = signing.instead_of {
            all.take(&old, now);
        }
        let until = after(now, console.settings.session);
        all.put(Key::of(&shown), Arc::new(signed), until, now);
    }
    let cookies = AppendHeaders([
        (
            header::SET_COOKIE,
            console.set_cookie(&console.session_cookie(), &shown, true),
        ),
        (
            header::SET_COOKIE,
            console.set_cookie(&console.signing_cookie(), "", false),
        ),
    ]);
    (cookies, layout::on_to(&signing.next)).into_response()
}

#[derive(Debug, Deserialize)]
pub(super) struct Out {
    #[serde(default)]
    token: String,
}

pub(super) async fn out(
    State(console): State<Arc<Console>>,
    headers: HeaderMap,
    Form(form): Form<Out>,
) -> Response {
    if let Err(answer) = console.who_sends(&headers, &form.token) {
        return answer;
    }
    if let Some(key) = console.key(&headers) {
        console.signed().take(&key, clock::now());
    }
    let gone = console.set_cookie(&console.session_cookie(), "", true);
    let page = Page::new("Signed out")
        .line("You are signed out here. Your issuer may still know you: sign out there too.")
        .link("/console/sign-in", "Sign in");
    ([(header::SET_COOKIE, gone)], page).into_response()
}

/// Whether it is a path of the console, and nothing that a browser could take for more.
fn is_ours(next: &str) -> bool {
    next.len() <= LONGEST_NEXT
        && (next == "/console" || next.starts_with("/console/"))
        && next
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-'))
        && !next.contains("//")
}

fn home() -> String {
    "/console".to_owned()
}

fn after(now: UnixMillis, span: Duration) -> UnixMillis {
    let span = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    UnixMillis(now.0.saturating_add(span))
}

fn no_randomness() -> Response {
    let why = "The system gives no randomness; its operator must mend that.";
    sentence(None, StatusCode::SERVICE_UNAVAILABLE, "No sign-in now", why)
}

#[cfg(test)]
mod tests {
    use super::is_ours;

    #[test]
    fn nobody_is_sent_on_to_elsewhere() {
        for (next, ours) in [
            ("/console", true),
            ("/console/requests/a-0123456789abcdef", true),
            ("/consoles", false),
            ("//evil.example/console/", false),
            ("/console//evil.example", false),
            ("/console/\\evil", false),
            ("/console/../metrics", false),
            ("/console/x\r\nSet-Cookie: a", false),
            ("https://evil.example/console/", false),
            ("/console/?a", false),
        ] {
            assert_eq!(is_ours(next), ours, "{next}");
        }
        assert!(!is_ours(&format!("/console/{}", "a".repeat(64))));
    }
}
