//! A browser without a window: cookies, redirects, and the headers that tell a server where a request
//! comes from. It keeps no rule that a test does not ask it to.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use anyhow::{Context, Result};

/// An answer.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Page {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter().filter(|(its, _)| its == name);
        all.next().map(|(_, value)| value.as_str())
    }

    /// The token of its forms.
    pub(super) fn token(&self) -> Result<String> {
        let (_, rest) = self
            .body
            .split_once("name=\"token\" value=\"")
            .with_context(|| format!("no form in {}", self.body))?;
        Ok(rest.split('"').next().unwrap_or_default().to_owned())
    }

    /// That it says this, with this status.
    #[track_caller]
    pub(super) fn says(&self, status: u16, words: &str) {
        assert_eq!(self.status, status, "{}", self.body);
        assert!(self.body.contains(words), "no {words:?} in {}", self.body);
    }
}

/// Sends a question, as text, to who has the URL, and gives all of the answer.
pub(super) type Over = Arc<dyn Fn(&str, &str) -> Result<Vec<u8>> + Send + Sync>;

/// A browser at the console of one agent.
#[derive(Clone)]
pub(super) struct Browser {
    console: String,
    over: Over,
    pub(super) cookies: BTreeMap<String, String>,
}

impl Browser {
    pub(super) fn new(console: &str) -> Self {
        Self::over(console, Arc::new(in_clear))
    }

    /// One that reaches servers by other means than in clear.
    pub(super) fn over(console: &str, over: Over) -> Self {
        Self {
            console: console.to_owned(),
            over,
            cookies: BTreeMap::new(),
        }
    }

    /// A page of the console, come to from the console.
    pub(super) fn get(&mut self, path: &str) -> Result<Page> {
        self.send("GET", path, &[("sec-fetch-site", "same-origin")], "")
    }

    /// A form of the console.
    pub(super) fn post(&mut self, path: &str, form: &str) -> Result<Page> {
        let origin = self.console.clone();
        let headers = [
            ("origin", origin.as_str()),
            ("sec-fetch-site", "same-origin"),
        ];
        self.send("POST", path, &headers, form)
    }

    /// Anything.
    pub(super) fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        form: &str,
    ) -> Result<Page> {
        let url = format!("{}{path}", self.console);
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let cookies = cookies.join("; ");
        let mut all = vec![("cookie", cookies.as_str())];
        all.extend_from_slice(headers);
        let page = fetch_over(&self.over, method, &url, &all, form)?;
        for (name, value) in &page.headers {
            if name == "set-cookie" {
                let (name, value) = value.split_once('=').context("a cookie")?;
                let value = value.split(';').next().unwrap_or_default();
                match value {
                    "" => self.cookies.remove(name),
                    value => self.cookies.insert(name.to_owned(), value.to_owned()),
                };
            }
        }
        Ok(page)
    }

    /// Begins to sign in: where the issuer's page is.
    pub(super) fn begin(&mut self, query: &str) -> Result<String> {
        let page = self.get(&format!("/console/sign-in{query}"))?;
        assert_eq!(page.status, 303, "{}", page.body);
        Ok(page.header("location").context("a location")?.to_owned())
    }

    /// Where the issuer sends the browser back to, of the console.
    pub(super) fn at_issuer(&self, url: &str) -> Result<String> {
        let page = fetch_over(&self.over, "GET", url, &[], "")?;
        let back = page.header("location").context("a location")?;
        let path = back.strip_prefix(&self.console);
        Ok(path
            .with_context(|| format!("{back} is elsewhere"))?
            .to_owned())
    }

    /// Comes back from the issuer.
    pub(super) fn back(&mut self, path: &str) -> Result<Page> {
        self.send("GET", path, &[("sec-fetch-site", "cross-site")], "")
    }

    /// Signs in as who sits at the issuer.
    pub(super) fn sign_in(&mut self, query: &str) -> Result<Page> {
        let url = self.begin(query)?;
        let path = self.at_issuer(&url)?;
        self.back(&path)
    }
}

/// One question.
pub(super) fn fetch(method: &str, url: &str, headers: &[(&str, &str)], form: &str) -> Result<Page> {
    let over: Over = Arc::new(in_clear);
    fetch_over(&over, method, url, headers, form)
}

fn in_clear(url: &str, text: &str) -> Result<Vec<u8>> {
    let rest = url.strip_prefix("http://").context("plain HTTP")?;
    let host = rest.split('/').next().unwrap_or_default();
    let mut stream = TcpStream::connect(host)?;
    stream.write_all(text.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

fn fetch_over(
    over: &Over,
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    form: &str,
) -> Result<Page> {
    let (_, rest) = url.split_once("://").context("a URL")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut text = format!("{method} /{path} HTTP/1.0\r\n");
    if !headers.iter().any(|(name, _)| *name == "host") {
        text.push_str(&format!("host: {host}\r\n"));
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if method == "POST" {
        let kind = "application/x-www-form-urlencoded";
        text.push_str(&format!(
            "content-type: {kind}\r\ncontent-length: {}\r\n",
            form.len()
        ));
    }
    let answer = String::from_utf8(over(url, &format!("{text}\r\n{form}"))?)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer")?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    Ok(Page {
        status: status.context("a status")?.parse()?,
        headers: lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect(),
        body: body.to_owned(),
    })
}
