//! `approvals.webhooks`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_saphyr::{Location, Spanned};

use super::Check;
use crate::config::raw::RawWebhook;
use crate::config::resolved::{Webhook, WebhookStep, WebhookTemplate, WebhookUrl};
use crate::config::webhook_url;

/// More webhooks than this are no list that anybody looks after.
const MOST: usize = 16;
const LONGEST_NAME: usize = 40;

const STEPS: [(&str, WebhookStep); 5] = [
    ("asked", WebhookStep::Asked),
    ("approved", WebhookStep::Approved),
    ("refused", WebhookStep::Refused),
    ("over", WebhookStep::Over),
    ("used", WebhookStep::Used),
];

/// What the agent says of itself in each delivery, or what the delivery needs to arrive.
const OWN_HEADERS: [&str; 8] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "user-agent",
    "x-node-agent-delivery",
    "x-node-agent-signature",
];

impl Check<'_> {
    pub(super) fn webhooks(&mut self, raw: &[Spanned<RawWebhook>]) -> Vec<Webhook> {
        if let Some(beyond) = raw.get(MOST) {
            self.fault(
                beyond.referenced,
                "approvals.webhooks",
                format!("are more than {MOST}"),
                "let one receiver tell the others",
            );
        }
        let mut hooks: Vec<Webhook> = Vec::new();
        for one in raw {
            let hook = self.webhook(one.referenced, &one.value);
            if !hook.name.is_empty() && hooks.iter().any(|other| other.name == hook.name) {
                self.fault(
                    one.referenced,
                    "approvals.webhooks[].name",
                    format!("{} is here twice", hook.name),
                    "what was delivered is kept by the name: give each its own",
                );
            }
            hooks.push(hook);
        }
        hooks
    }

    fn webhook(&mut self, at: Location, raw: &RawWebhook) -> Webhook {
        let name = self.required(at, "approvals.webhooks[].name", raw.name.as_ref());
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if let Some(given) = &raw.name
            && !name.trim().is_empty()
            && (name.len() > LONGEST_NAME || !name.chars().all(plain))
        {
            self.fault(
                given.referenced,
                "approvals.webhooks[].name",
                format!("is not of letters, digits, `-`, `_` and `.`, at most {LONGEST_NAME}"),
                "such as dba-channel",
            );
        }
        let template = self.template(at, raw);
        let secret_file = self.secret("approvals.webhooks[].secret_file", raw.secret_file.as_ref());
        let needed = match template {
            WebhookTemplate::Generic => Some("the key that deliveries are signed with"),
            WebhookTemplate::PagerDuty => Some("the integration key of the service"),
            WebhookTemplate::Slack | WebhookTemplate::Teams | WebhookTemplate::Jira { .. } => None,
        };
        if let (Some(what), None) = (needed, &secret_file) {
            self.fault(
                at,
                "approvals.webhooks[].secret_file",
                "is missing",
                format!("name the file that holds {what}"),
            );
        }
        Webhook {
            url: self.webhook_url(at, raw),
            steps: self.steps(at, &template, raw),
            ca_file: self.secret("approvals.webhooks[].ca_file", raw.ca_file.as_ref()),
            console_url: self.console_url(raw.console_url.as_ref()),
            headers: self.headers(raw),
            name,
            template,
            secret_file,
        }
    }

    fn webhook_url(&mut self, at: Location, raw: &RawWebhook) -> WebhookUrl {
        match (&raw.url, &raw.url_file) {
            (Some(url), None) => {
                if let Err((problem, mend)) = webhook_url(&url.value) {
                    self.fault(url.referenced, "approvals.webhooks[].url", problem, mend);
                }
                WebhookUrl::Given(url.value.clone())
            }
            (None, Some(path)) => {
                self.absolute_path("approvals.webhooks[].url_file", path);
                WebhookUrl::File(path.value.clone())
            }
            (given, _) => {
                let problem = match given {
                    Some(_) => "and url_file are both there",
                    None => "is missing",
                };
                let mend = "write url, or url_file where the address is the secret";
                self.fault(at, "approvals.webhooks[].url", problem, mend);
                WebhookUrl::Given(String::new())
            }
        }
    }

    fn template(&mut self, at: Location, raw: &RawWebhook) -> WebhookTemplate {
        let words = [
            ("generic", 0),
            ("slack", 1),
            ("teams", 2),
            ("jira", 3),
            ("pagerduty", 4),
        ];
        let key = "approvals.webhooks[].template";
        let chosen = self.word(key, raw.template.as_ref(), 0, &words);
        if chosen != 3
            && let Some(given) = raw.project.as_ref().or(raw.issue_type.as_ref())
        {
            self.fault(
                given.referenced,
                "approvals.webhooks[].project",
                "is for jira",
                "leave project and issue_type out, or write template: jira",
            );
        }
        match chosen {
            1 => WebhookTemplate::Slack,
            2 => WebhookTemplate::Teams,
            3 => WebhookTemplate::Jira {
                project: self.required(at, "approvals.webhooks[].project", raw.project.as_ref()),
                issue_type: raw
                    .issue_type
                    .as_ref()
                    .map_or_else(|| "Task".to_owned(), |given| given.value.clone()),
            },
            4 => WebhookTemplate::PagerDuty,
            _ => WebhookTemplate::Generic,
        }
    }

    fn steps(
        &mut self,
        at: Location,
        template: &WebhookTemplate,
        raw: &RawWebhook,
    ) -> BTreeSet<WebhookStep> {
        const KEY: &str = "approvals.webhooks[].steps";
        let jira = matches!(template, WebhookTemplate::Jira { .. });
        let Some(given) = &raw.steps else {
            let all = STEPS.iter().map(|(_, step)| *step);
            return match jira {
                true => BTreeSet::from([WebhookStep::Asked]),
                false => all.filter(|step| *step != WebhookStep::Used).collect(),
            };
        };
        if given.is_empty() {
            self.fault(
                at,
                KEY,
                "is empty",
                "leave the webhook out, or say what it is told",
            );
        }
        let mut steps = BTreeSet::new();
        for one in given {
            let step = self.word(KEY, Some(one), WebhookStep::Asked, &STEPS);
            if jira && step != WebhookStep::Asked {
                self.fault(
                    one.referenced,
                    KEY,
                    format!("`{}` is not told to jira", one.value),
                    "an issue is created when something is asked; write asked alone",
                );
            }
            steps.insert(step);
        }
        steps
    }

    fn console_url(&mut self, given: Option<&Spanned<String>>) -> Option<String> {
        const KEY: &str = "approvals.webhooks[].console_url";
        let given = given?;
        let stands = webhook_url(&given.value).and_then(|()| {
            match given.value.contains(['?', '#', '|', '<', '>', '"', '\\']) {
                true => Err(("has more than scheme, host and path", "leave the rest out")),
                false => Ok(()),
            }
        });
        if let Err((problem, mend)) = stands {
            self.fault(given.referenced, KEY, problem, mend);
        }
        Some(given.value.trim_end_matches('/').to_owned())
    }

    fn headers(&mut self, raw: &RawWebhook) -> Vec<(String, PathBuf)> {
        const KEY: &str = "approvals.webhooks[].headers";
        // RFC 9110, 5.6.2 ("Tokens").
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let mut headers = Vec::new();
        for (name, path) in &raw.headers {
            let lower = name.to_ascii_lowercase();
            if name.is_empty() || name.len() > 100 || !name.chars().all(token) {
                let problem = format!("`{}` is no name of a header", name.escape_debug());
                self.fault(path.referenced, KEY, problem, "such as Authorization");
            } else if OWN_HEADERS.contains(&lower.as_str()) {
                let problem = format!("`{name}` is the agent's own");
                self.fault(path.referenced, KEY, problem, "leave it out");
            }
            self.absolute_path(KEY, path);
            headers.push((lower, path.value.clone()));
        }
        headers
    }

    fn secret(&mut self, key: &str, given: Option<&Spanned<PathBuf>>) -> Option<PathBuf> {
        let given = given?;
        self.absolute_path(key, given);
        Some(given.value.clone())
    }
}
