//! Pure. Slack, "Block Kit": <https://docs.slack.dev/block-kit>. Names and statements stand in
//! `plain_text` and `rich_text` elements, in which Slack reads no mention, no link and no markup; the
//! three characters that it reads anywhere else are escaped where a `text` takes them.

use serde_json::{Value, json};

use crate::approval::webhook::said::Said;

/// A section takes so many fields.
const MOST_FIELDS: usize = 10;

pub(super) fn message(said: &Said) -> Value {
    let headline = said.headline();
    let mut blocks = vec![json!({
        "type": "section",
        "text": { "type": "plain_text", "text": headline, "emoji": false },
    })];
    let facts = said.facts();
    for some in facts.chunks(MOST_FIELDS) {
        let field = |(name, value): &(&str, String)| json!({ "type": "plain_text", "text": format!("{name}: {value}"), "emoji": false });
        let fields: Vec<Value> = some.iter().map(field).collect();
        blocks.push(json!({ "type": "section", "fields": fields }));
    }
    if let (Some(request), Some(about)) = (&said.request, said.about_statement())
        && said.step == "asked"
    {
        blocks.push(json!({
            "type": "rich_text",
            "elements": [ {
                "type": "rich_text_preformatted",
                "elements": [ { "type": "text", "text": request.statement.text } ],
            } ],
        }));
        blocks.push(json!({
            "type": "context",
            "elements": [ { "type": "plain_text", "text": about, "emoji": false } ],
        }));
    }
    if let Some(link) = &said.link {
        blocks.push(json!({
            "type": "actions",
            "elements": [ {
                "type": "button",
                "text": { "type": "plain_text", "text": "Open in the console", "emoji": false },
                "url": link,
                "action_id": "open",
            } ],
        }));
    }
    json!({
        // For notifications, and for what cannot show blocks.
        "text": escaped(&headline),
        "mrkdwn": false,
        "parse": "none",
        "link_names": false,
        "unfurl_links": false,
        "unfurl_media": false,
        "blocks": blocks,
    })
}

/// <https://docs.slack.dev/messaging/formatting-message-text>: these three begin everything that Slack
/// reads as something else.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
