//! IO. The frame of every page: a heading, where one can go, who is signed in.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};

use super::{Console, Signed};
use crate::replay::{Attribute, Text};

/// A page that is being written.
pub(super) struct Page {
    title: String,
    kicker: Option<String>,
    nav: String,
    body: String,
}

impl Page {
    /// A page for nobody in particular.
    pub(super) fn new(title: &str) -> Page {
        Page {
            title: title.to_owned(),
            kicker: None,
            nav: String::new(),
            body: String::new(),
        }
    }

    /// A page for who is signed in. `here`: which of the lists it is.
    pub(super) fn of(console: &Console, signed: &Signed, here: &str, title: &str) -> Page {
        let mut page = Page::new(title);
        page.nav = navigation(console, signed, here);
        page
    }

    /// A word over the heading.
    #[must_use]
    pub(super) fn kicker(mut self, text: &str) -> Page {
        self.kicker = Some(text.to_owned());
        self
    }

    /// A paragraph.
    #[must_use]
    pub(super) fn line(self, text: &str) -> Page {
        self.raw(&format!("<p>{}</p>\n", Text(text)))
    }

    /// A link that stands alone.
    #[must_use]
    pub(super) fn link(self, to: &str, text: &str) -> Page {
        let (to, text) = (Attribute(to), Text(text));
        self.raw(&format!(
            "<p><a class=\"go\" href=\"{to}\">{text}</a></p>\n"
        ))
    }

    /// What is markup already.
    #[must_use]
    pub(super) fn raw(mut self, html: &str) -> Page {
        self.body.push_str(html);
        self
    }

    fn written(&self) -> String {
        let title = Text(&self.title);
        let kicker = self.kicker.as_deref().unwrap_or("node-agent");
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>{} · node-agent console</title>\n\
             <link rel=\"stylesheet\" href=\"/console/style.css\">\n</head>\n\
             <body class=\"console\">\n<a class=\"skip\" href=\"#main\">To the content</a>\n\
             {}<main id=\"main\">\n<header>\n<p class=\"kicker\">{}</p>\n<h1>{title}</h1>\n</header>\n\
             {}</main>\n</body>\n</html>\n",
            Attribute(&self.title),
            self.nav,
            Text(kicker),
            self.body
        )
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        Html(self.written()).into_response()
    }
}

fn navigation(console: &Console, signed: &Signed, here: &str) -> String {
    let mut nav = String::from("<nav aria-label=\"Console\">\n<ul>\n");
    let sessions = [
        ("/console/sessions", "Live sessions"),
        ("/console/recordings", "Recordings"),
    ];
    let sessions = sessions.iter().filter(|_| console.is_auditor(signed));
    let requests = [("/console", "Pending"), ("/console/history", "History")];
    for (to, name) in requests.iter().chain(sessions) {
        let current = match *to == here {
            true => " aria-current=\"page\"",
            false => "",
        };
        let _ = writeln!(nav, "<li><a href=\"{to}\"{current}>{name}</a></li>");
    }
    let _ = writeln!(
        nav,
        "</ul>\n<form method=\"post\" action=\"/console/sign-out\">\n{}\
         <span>Signed in as <strong>{}</strong></span>\n<button>Sign out</button>\n</form>\n</nav>",
        token(signed),
        Text(&signed.reviewer.name)
    );
    nav
}

/// The field that makes a form one of theirs.
pub(super) fn token(signed: &Signed) -> String {
    let token = Attribute(&signed.token);
    format!("<input type=\"hidden\" name=\"token\" value=\"{token}\">\n")
}

/// A page that says one thing.
pub(super) fn sentence(
    of: Option<(&Console, &Signed)>,
    status: StatusCode,
    title: &str,
    text: &str,
) -> Response {
    let page = match of {
        Some((console, signed)) => Page::of(console, signed, "", title),
        None => Page::new(title),
    };
    let page = page.line(text).link("/console", "To what is pending");
    (status, page).into_response()
}

/// The same browser goes on by itself, from the console to the console: by that its cookies count.
pub(super) fn on_to(path: &str) -> Response {
    let page = Page::new("One moment").link(path, "Go on");
    ([(header::REFRESH, format!("0; url={path}"))], page).into_response()
}

pub(super) async fn nothing_here(
    State(console): State<Arc<Console>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let text = "There is no such page.";
    match console.who(&headers, &uri) {
        Ok(signed) => sentence(
            Some((&console, &signed)),
            StatusCode::NOT_FOUND,
            "Not found",
            text,
        ),
        Err(answer) => answer,
    }
}
