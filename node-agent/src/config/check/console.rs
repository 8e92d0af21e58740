//! `approvals.console`: the web page where reviewers decide.

use std::time::Duration;

use serde_saphyr::Spanned;

use super::Check;
use super::identity::{url_stands, usual_algorithms};
use crate::config::raw::RawConsole;
use crate::config::resolved::{Console, Issuer};

const SESSION: Duration = Duration::from_hours(8);
const LONGEST_SESSION: Duration = Duration::from_hours(24);
const FRESH: Duration = Duration::from_mins(15);
const SHORTEST_FRESH: Duration = Duration::from_mins(1);

impl Check<'_> {
    pub(super) fn console(&mut self, given: &Spanned<RawConsole>, issuers: &[Issuer]) -> Console {
        let (at, raw) = (given.referenced, &given.value);
        let url = self.required(at, "approvals.console.url", raw.url.as_ref());
        let url = url.trim_end_matches('/').to_owned();
        if let Some(text) = raw.url.as_ref().filter(|_| !url.is_empty()) {
            self.site(text, &url);
        }
        let issuer = self.console_issuer(given, issuers);
        let session = self
            .duration("approvals.console.session", raw.session.as_ref())
            .unwrap_or(SESSION);
        if let Some(text) = raw.session.as_ref().filter(|_| session > LONGEST_SESSION) {
            self.fault(
                text.referenced,
                "approvals.console.session",
                "is longer than 24 h",
                "who has left the company yesterday decides nothing today",
            );
        }
        let fresh = self
            .duration("approvals.console.fresh", raw.fresh.as_ref())
            .unwrap_or(FRESH.min(session));
        if let Some(text) = raw.fresh.as_ref()
            && !(SHORTEST_FRESH..=session.max(SHORTEST_FRESH)).contains(&fresh)
        {
            self.fault(
                text.referenced,
                "approvals.console.fresh",
                format!("`{}` is out of bounds", text.value),
                "write 1m up to approvals.console.session",
            );
        }
        Console {
            url,
            issuer,
            client_secret_file: raw.client_secret_file.as_ref().map(|p| p.value.clone()),
            session,
            fresh,
            auditors: raw
                .auditors
                .groups
                .iter()
                .map(|group| group.value.clone())
                .collect(),
        }
    }

    fn site(&mut self, text: &Spanned<String>, url: &str) {
        let (problem, mend) = match url_stands(url, true) {
            Err((problem, _)) if problem.starts_with("plain HTTP") => (
                problem,
                "write https (plain http only to 127.0.0.1 or [::1]): a sign-in travels there",
            ),
            Err((problem, _)) => (problem, "write it as https://approvals.example.com"),
            Ok(()) if url.split('/').count() > 3 || url != url.to_ascii_lowercase() => (
                format!("`{url}` is more than scheme and host, or in capitals"),
                "write it as https://approvals.example.com; the console is at /console there",
            ),
            Ok(()) => return,
        };
        self.fault(text.referenced, "approvals.console.url", problem, mend);
    }

    fn console_issuer(&mut self, given: &Spanned<RawConsole>, issuers: &[Issuer]) -> Issuer {
        let (at, raw) = (given.referenced, &given.value);
        let url = self.required(at, "approvals.console.issuer", raw.issuer.as_ref());
        let known = issuers.iter().find(|issuer| issuer.url == url);
        let http = known.is_some_and(|issuer| issuer.allow_http_loopback);
        if let Some(text) = raw.issuer.as_ref().filter(|_| !url.trim().is_empty())
            && let Err((problem, _)) = url_stands(&url, http)
        {
            self.fault(
                text.referenced,
                "approvals.console.issuer",
                problem,
                "write https://issuer.example; plain http to this machine only of an issuer that \
                 identity.issuers has with allow_http_loopback: true",
            );
        }
        let audience = self.required(at, "approvals.console.client_id", raw.client_id.as_ref());
        if let Some(text) = &raw.client_id
            && known.is_some_and(|issuer| issuer.audience == audience)
        {
            // The token of a reviewer's sign-in would open the databases.
            self.fault(
                text.referenced,
                "approvals.console.client_id",
                format!("`{audience}` is the audience of that issuer in identity.issuers"),
                "register the console as a client of its own",
            );
        }
        let own_groups = raw.groups_claim.as_ref().map(|claim| claim.value.clone());
        let own_ca = raw.ca_file.as_ref().map(|path| path.value.clone());
        Issuer {
            url,
            audience,
            algorithms: known.map_or_else(usual_algorithms, |issuer| issuer.algorithms.clone()),
            groups_claim: own_groups
                .or_else(|| known.map(|issuer| issuer.groups_claim.clone()))
                .unwrap_or_else(|| "groups".to_owned()),
            claims: Vec::new(),
            ca_file: own_ca.or_else(|| known.and_then(|issuer| issuer.ca_file.clone())),
            allow_http_loopback: http,
        }
    }
}
