//! Pure. PagerDuty's Events interface, version 2: an alert that is triggered by the question and
//! resolved by whatever ends it, known by the request's name.

use serde_json::{Map, Value, json};

use crate::approval::webhook::said::Said;

/// PagerDuty takes no longer summary, characters.
const LONGEST_SUMMARY: usize = 1024;

pub(super) fn event(said: &Said, routing_key: &str) -> Value {
    let action = match said.step {
        "asked" => "trigger",
        _ => "resolve",
    };
    let mut event = json!({
        "routing_key": routing_key,
        "event_action": action,
        "dedup_key": said.approval,
        "client": "node-agent",
    });
    let Some(fields) = event.as_object_mut() else {
        return event;
    };
    if let Some(link) = &said.link {
        fields.insert("client_url".to_owned(), json!(link));
        let links = json!([ { "href": link, "text": "Open in the console" } ]);
        fields.insert("links".to_owned(), links);
    }
    let mut details: Map<String, Value> = said
        .facts()
        .into_iter()
        .map(|(name, value)| (name.to_lowercase(), Value::String(value)))
        .collect();
    if let (Some(request), Some(about)) = (&said.request, said.about_statement()) {
        details.insert("statement".to_owned(), json!(request.statement.text));
        details.insert("about the statement".to_owned(), json!(about));
    }
    let summary: String = said.headline().chars().take(LONGEST_SUMMARY).collect();
    let payload = json!({
        "summary": summary,
        "source": said.node,
        "severity": "warning",
        "timestamp": said.at,
        "component": said.request.as_ref().map(|request| request.target.as_str()),
        "class": "approval",
        "custom_details": details,
    });
    fields.insert("payload".to_owned(), payload);
    event
}
