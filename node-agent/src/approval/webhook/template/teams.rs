//! Pure. Microsoft Teams: an Adaptive Card for a workflow's webhook,
//! <https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors>. A `TextBlock` reads
//! Markdown, a `TextRun` does not: only the agent's own words stand in the first.

use serde_json::{Value, json};

use crate::approval::webhook::said::Said;

pub(super) fn message(said: &Said) -> Value {
    let mut body = vec![runs(&[json!({
        "type": "TextRun", "text": said.headline(), "weight": "bolder", "size": "medium",
    })])];
    for (name, value) in said.facts() {
        body.push(runs(&[
            json!({ "type": "TextRun", "text": format!("{name}: "), "weight": "bolder" }),
            json!({ "type": "TextRun", "text": value }),
        ]));
    }
    if let (Some(request), Some(about)) = (&said.request, said.about_statement())
        && said.step == "asked"
    {
        body.push(runs(&[json!({
            "type": "TextRun", "text": request.statement.text, "fontType": "monospace",
        })]));
        body.push(runs(&[json!({
            "type": "TextRun", "text": about, "isSubtle": true, "size": "small",
        })]));
    }
    let mut card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
    });
    if let (Some(link), Some(card)) = (&said.link, card.as_object_mut()) {
        let open = json!([ {
            "type": "Action.OpenUrl", "title": "Open in the console", "url": link,
        } ]);
        card.insert("actions".to_owned(), open);
    }
    json!({
        "type": "message",
        "attachments": [ {
            "contentType": "application/vnd.microsoft.card.adaptive",
            "content": card,
        } ],
    })
}

fn runs(inlines: &[Value]) -> Value {
    json!({ "type": "RichTextBlock", "inlines": inlines })
}
