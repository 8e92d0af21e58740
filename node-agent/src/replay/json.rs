//! IO. A session as lines of JSON, without a character that a terminal would obey.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::json;

use super::read::{Outcome, State};
use super::visible::visible_json;
use crate::model::SessionId;
use crate::record::{Ending, Event};

/// One event, one line.
pub(super) fn event(event: &Event, out: &mut dyn Write) -> io::Result<()> {
    line(event, out)
}

/// One event, one line, that says whose it is.
pub(super) fn of_session(session: SessionId, event: &Event, out: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct OfSession<'a> {
        session: SessionId,
        #[serde(flatten)]
        event: &'a Event,
    }
    line(&OfSession { session, event }, out)
}

/// The last line: what verification found.
pub(super) fn state(state: &State, out: &mut dyn Write) -> io::Result<()> {
    line(&state_value(state), out)
}

pub(super) fn state_value(state: &State) -> serde_json::Value {
    let (end, damage) = match &state.outcome {
        Some(Outcome::Sound(Ending::Closed)) => ("closed", None),
        Some(Outcome::Sound(Ending::Unclosed | Ending::Torn { .. })) if state.live => {
            ("open", None)
        }
        Some(Outcome::Sound(Ending::Unclosed)) => ("unclosed", None),
        Some(Outcome::Sound(Ending::Torn { .. })) => ("torn", None),
        Some(Outcome::Damaged(damage)) => ("damaged", Some(damage)),
        None => ("unread", None),
    };
    json!({
        "event": "verified",
        "session": state.session,
        "end": end,
        "live": state.live,
        "blocks": state.blocks,
        "bytes": state.bytes,
        "events": state.progress.events,
        "unknown_events": state.progress.unknown,
        "sealed_to": state.recipients.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "unopened_blocks": state.progress.sealed,
        "clock_went_back": state.progress.clock_went_back,
        "clock_furthest_back": state.progress.furthest_back.map(|back| json!({
            "block": back.block, "millis": back.millis,
        })),
        "chain": state.hash,
        "carried": state.progress.carried,
        "incomplete": state.incomplete(),
        "damage": damage.map(|d| json!({
            "block": d.block, "offset": d.offset, "what": d.what.to_string(),
        })),
        "sentence": state.sentence(),
    })
}

pub(super) fn line(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    let text = serde_json::to_string(value)?;
    writeln!(out, "{}", visible_json(&text))
}
