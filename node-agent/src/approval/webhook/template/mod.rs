//! Pure. What each kind of receiver understands. Every text of others stands where the receiver reads
//! no markup in it.

mod jira;
mod pagerduty;
mod slack;
mod teams;

use super::said::Said;
use crate::config::WebhookTemplate;

/// The body of a delivery, JSON. `secret` is what PagerDuty wants in it.
pub(super) fn body(template: &WebhookTemplate, said: &Said, secret: Option<&str>) -> Vec<u8> {
    let value = match template {
        // All of it is strings and numbers, which always become JSON.
        WebhookTemplate::Generic => serde_json::to_value(said).unwrap_or_default(),
        WebhookTemplate::Slack => slack::message(said),
        WebhookTemplate::Teams => teams::message(said),
        WebhookTemplate::Jira {
            project,
            issue_type,
        } => jira::issue(said, project, issue_type),
        WebhookTemplate::PagerDuty => pagerduty::event(said, secret.unwrap_or_default()),
    };
    value.to_string().into_bytes()
}
