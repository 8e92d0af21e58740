//! Pure. Jira's REST interface, version 3, "Create issue": the description is an Atlassian document, in
//! which a text is a text.

use serde_json::{Value, json};

use crate::approval::webhook::said::Said;

/// Jira takes no longer summary, characters.
const LONGEST_SUMMARY: usize = 255;

pub(super) fn issue(said: &Said, project: &str, issue_type: &str) -> Value {
    let mut content: Vec<Value> = said
        .facts()
        .into_iter()
        .map(|(name, value)| paragraph(&format!("{name}: {value}")))
        .collect();
    if let (Some(request), Some(about)) = (&said.request, said.about_statement()) {
        if !request.statement.text.is_empty() {
            content.push(json!({
                "type": "codeBlock",
                "content": [ { "type": "text", "text": request.statement.text } ],
            }));
        }
        content.push(paragraph(&about));
    }
    if let Some(link) = &said.link {
        content.push(json!({
            "type": "paragraph",
            "content": [ {
                "type": "text",
                "text": "Open in the console",
                "marks": [ { "type": "link", "attrs": { "href": link } } ],
            } ],
        }));
    }
    let summary: String = said.headline().chars().take(LONGEST_SUMMARY).collect();
    json!({
        "fields": {
            "project": { "key": project },
            "issuetype": { "name": issue_type },
            "summary": summary,
            // By which an issue that was created twice is found.
            "labels": [ "node-agent", said.approval ],
            "description": { "type": "doc", "version": 1, "content": content },
        },
    })
}

fn paragraph(text: &str) -> Value {
    json!({ "type": "paragraph", "content": [ { "type": "text", "text": text } ] })
}
