//! What every question and every answer of the console must be, and the cookies.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::layout::{self, Page};
use super::table::Key;
use super::{Console, Signed};
use crate::clock;

/// Nothing runs, nothing is loaded but the one style, forms go back to the console.
const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; \
                      frame-ancestors 'none'; base-uri 'none'";

/// On every answer. The referrer stays within the console: with `no-referrer` browsers would say
/// `Origin: null` of its own forms too.
const ALWAYS: [(&str, &str); 6] = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"),
    ("cache-control", "no-store"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// The site that sent the browser here, as browsers tell it.
const SITE: &str = "sec-fetch-site";

pub(super) async fn guard(
    State(console): State<Arc<Console>>,
    request: Request,
    next: Next,
) -> Response {
    let mut answer = match console.stranger(request.method(), request.headers()) {
        Some((status, why)) => layout::sentence(None, status, "Not from here", why),
        None => next.run(request).await,
    };
    let headers = answer.headers_mut();
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(POLICY));
    answer
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[allow(
    clippy::result_large_err,
    reason = "the error is the answer to the browser, made once and moved out"
)]
impl Console {
    /// Why a question is not one of a browser that looks at the console.
    fn stranger(&self, method: &Method, headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
        let authority = self.settings.url.split_once("://").map(|(_, rest)| rest);
        // A name of somebody else's that leads here would make its pages ones of the same origin.
        if authority.is_none() || text(headers, "host") != authority {
            return Some((
                StatusCode::MISDIRECTED_REQUEST,
                "The console is not called by this name: use the one in approvals.console.url, \
                 and let a proxy before it pass the Host header on.",
            ));
        }
        if matches!(*method, Method::GET | Method::HEAD) {
            return None;
        }
        let origin = headers.get(header::ORIGIN);
        let site = headers.get(SITE);
        let foreign = origin.is_some_and(|origin| origin != self.settings.url.as_str())
            || site.is_some_and(|site| site != "same-origin");
        (foreign || (origin.is_none() && site.is_none())).then_some((
            StatusCode::FORBIDDEN,
            "This was not sent by a form of the console: nothing was done.",
        ))
    }

    /// Who looks, or what to answer to who is not signed in.
    pub(super) fn who(&self, headers: &HeaderMap, uri: &Uri) -> Result<Arc<Signed>, Response> {
        if let Some(signed) = self.shown(headers) {
            return Ok(signed);
        }
        // A link from elsewhere comes without the cookie; the same again from here comes with it.
        if text(headers, SITE) == Some("cross-site") {
            return Err(layout::on_to(uri.path()));
        }
        let again = format!("/console/sign-in?next={}", uri.path());
        let page = Page::new("Sign in")
            .line("Who decides must be known.")
            .link(&again, "Sign in");
        Err((StatusCode::UNAUTHORIZED, page).into_response())
    }

    /// Who sends a form, or what to answer.
    pub(super) fn who_sends(
        &self,
        headers: &HeaderMap,
        token: &str,
    ) -> Result<Arc<Signed>, Response> {
        let refuse = |why| {
            Err(layout::sentence(
                None,
                StatusCode::FORBIDDEN,
                "Not done",
                why,
            ))
        };
        let Some(signed) = self.shown(headers) else {
            return refuse("You are not signed in any more: nothing was done. Sign in again.");
        };
        let theirs = signed.token.as_bytes();
        if aws_lc_rs::constant_time::verify_slices_are_equal(theirs, token.as_bytes()).is_err() {
            return refuse("This form is not of your sign-in: nothing was done. Load it again.");
        }
        Ok(signed)
    }

    fn shown(&self, headers: &HeaderMap) -> Option<Arc<Signed>> {
        let key = self.key(headers)?;
        self.signed().get(&key, clock::now()).cloned()
    }

    /// The key of a session's cookie, whether or not there is such a session.
    pub(super) fn key(&self, headers: &HeaderMap) -> Option<Key> {
        cookie(headers, &self.session_cookie()).map(Key::of)
    }

    pub(super) fn session_cookie(&self) -> String {
        self.cookie_name("console")
    }

    pub(super) fn signing_cookie(&self) -> String {
        self.cookie_name("console-sign-in")
    }

    fn is_https(&self) -> bool {
        self.settings.url.starts_with("https://")
    }

    /// `__Host-` binds a cookie to this very host, and to TLS.
    fn cookie_name(&self, name: &str) -> String {
        let prefix = if self.is_https() { "__Host-" } else { "" };
        format!("{prefix}node-agent-{name}")
    }

    /// A header that sets a cookie, or with nothing in it takes it away.
    pub(super) fn set_cookie(&self, name: &str, value: &str, strict: bool) -> String {
        let site = if strict { "Strict" } else { "Lax" };
        let secure = if self.is_https() { "; Secure" } else { "" };
        let gone = if value.is_empty() { "; Max-Age=0" } else { "" };
        format!("{name}={value}; Path=/; HttpOnly; SameSite={site}{secure}{gone}")
    }
}

/// The value of a cookie. Two of one name are none: one of them is somebody else's.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE);
    let all = all.iter().filter_map(|line| line.to_str().ok());
    let mut of_name = all
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(its, _)| *its == name)
        .map(|(_, value)| value);
    of_name.next().filter(|_| of_name.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_taken_whole_and_two_of_one_name_are_none() {
        for (lines, found) in [
            (vec!["a=1; b=2"], Some("2")),
            (vec!["a=1", "b=2"], Some("2")),
            (vec!["b=2; b=3"], None),
            (vec!["b=2", "b=2"], None),
            (vec!["xb=2; bx=3; b"], None),
            (vec![], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in &lines {
                headers.append(header::COOKIE, HeaderValue::from_str(line).unwrap());
            }
            assert_eq!(cookie(&headers, "b"), found, "{lines:?}");
        }
    }
}
