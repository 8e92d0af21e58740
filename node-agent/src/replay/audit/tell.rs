//! IO. What verification found, in lines.

use std::io::Write;
use std::path::Path;

use serde_json::json;

use super::super::read::seconds;
use super::super::{ReplayError, Style, Verdict, json, visible, when};
use super::clocks::{Clocks, Jump};
use super::judge::{Audited, Heard};
use super::{Fault, Found, Lost, short};
use crate::model::SessionId;
use crate::record::ledger::{Archived, By, Known, Stretch, StretchEnd};
use crate::record::{Damage, Wrong};

/// How many of each.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    recordings: u64,
    damaged: u64,
    deleted: u64,
    pruned: u64,
    segments: u64,
    ledger_damaged: u64,
    clock_jumps: u64,
    not_copied: u64,
}

pub(super) struct Teller<'a> {
    style: Style,
    out: &'a mut dyn Write,
    tally: Tally,
    signed_by: Vec<String>,
}

impl<'a> Teller<'a> {
    pub(super) fn new(style: Style, out: &'a mut dyn Write) -> Teller<'a> {
        Teller {
            style,
            out,
            tally: Tally::default(),
            signed_by: Vec::new(),
        }
    }

    pub(super) fn back(self) -> (Style, &'a mut dyn Write) {
        (self.style, self.out)
    }

    /// One recording, or the lack of it.
    pub(super) fn file(
        &mut self,
        path: &Path,
        session: Option<SessionId>,
        heard: &Heard,
        found: &Found,
    ) -> Result<(), ReplayError> {
        let known = session.and_then(|session| heard.ledgered.sessions.get(&session));
        match found {
            Found::Missing(Audited::Pruned { .. }) => self.tally.pruned += 1,
            Found::Missing(audited) => self.tally.deleted += u64::from(audited.bad()),
            Found::Recording(..) | Found::Begun(..) | Found::Other(_) => {
                self.tally.recordings += 1;
                self.tally.damaged += u64::from(found.bad());
            }
        }
        let name = match session {
            Some(session) => session.to_string(),
            None => {
                let name = path.file_name().map(|name| name.to_string_lossy());
                visible(&name.unwrap_or_default()).into_owned()
            }
        };
        match self.style {
            Style::Text => self.file_text(&name, known, found),
            Style::Json => self.file_json(&name, known, found),
        }
    }

    fn file_text(
        &mut self,
        name: &str,
        known: Option<&Known>,
        found: &Found,
    ) -> Result<(), ReplayError> {
        let by_itself = match found {
            Found::Recording(state, _) => Some(state.sentence()),
            Found::Begun(..) => {
                Some("nothing was recorded: its writer was stopped just then, or begins".to_owned())
            }
            Found::Other(damage) => Some(format!("DAMAGED: {damage}")),
            Found::Missing(Audited::Pruned { .. }) => return Ok(()), // counted in the last line
            Found::Missing(_) => None,
        };
        let by_the_ledger = found.audited().and_then(|audited| against(audited, known));
        let line = match (by_itself, by_the_ledger) {
            (Some(own), Some(ledger)) if found.bad() => format!("{ledger}; by itself: {own}"),
            (Some(own), Some(ledger)) => format!("{own}; {ledger}"),
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => return Ok(()),
        };
        writeln!(self.out, "{name}: {line}")?;
        Ok(())
    }

    fn file_json(
        &mut self,
        name: &str,
        known: Option<&Known>,
        found: &Found,
    ) -> Result<(), ReplayError> {
        let mut value = match found {
            Found::Recording(state, _) => json::state_value(state),
            Found::Begun(bytes, _) => {
                json!({ "event": "verified", "session": name, "end": "begun", "bytes": bytes })
            }
            Found::Other(damage) => json!({
                "event": "verified", "session": name, "end": "damaged", "damage": damaged(damage),
            }),
            Found::Missing(_) => {
                json!({ "event": "verified", "session": name, "end": "missing" })
            }
        };
        if let (Some(value), Some(audited)) = (value.as_object_mut(), found.audited()) {
            value.insert("ledger".to_owned(), json!(audited.word()));
            value.insert("says".to_owned(), json!(against(audited, known)));
            let known = known.map(|known| {
                json!({
                    "began": known.began.as_ref().map(|(at, _)| at),
                    "workload": known.began.as_ref().map(|(_, workload)| workload),
                    "head": known.furthest(),
                    "pruned": known.pruned.map(|(at, rule, by)| {
                        json!({ "at": at, "rule": rule, "by": by })
                    }),
                })
            });
            value.insert("known".to_owned(), json!(known));
        }
        if let Some(value) = value.as_object_mut() {
            value.insert("bad".to_owned(), json!(found.bad()));
        }
        json::line(&value, self.out)?;
        Ok(())
    }

    /// The ledger's own state.
    pub(super) fn ledger(&mut self, heard: &Heard, faults: &[Fault]) -> Result<(), ReplayError> {
        for stretch in heard.stretches.values() {
            self.segment(stretch)?;
        }
        for fault in faults {
            self.tally.ledger_damaged += 1;
            let (mark, by) = &fault.seen;
            let (word, what) = match fault.what {
                Lost::Deleted => ("deleted", "DELETED: it is gone, without a tombstone"),
                Lost::Truncated => ("truncated", "TRUNCATED: it is shorter than it was"),
                Lost::Changed => ("changed", "CHANGED: it is not what it was"),
            };
            match self.style {
                Style::Text => writeln!(
                    self.out,
                    "ledger {}: {what}; {by} saw {} blocks, {} bytes, hash {}",
                    fault.segment,
                    mark.blocks,
                    mark.bytes,
                    short(&mark.hash),
                )?,
                Style::Json => json::line(
                    &json!({
                        "event": "ledger", "segment": fault.segment, "end": word, "bad": true,
                        "seen_by": by, "seen": mark,
                    }),
                    self.out,
                )?,
            }
        }
        Ok(())
    }

    fn segment(&mut self, stretch: &Stretch) -> Result<(), ReplayError> {
        self.tally.segments += 1;
        let signed_by = stretch.signed_by.as_ref().map(ToString::to_string);
        if let Some(key) = &signed_by
            && !self.signed_by.contains(key)
        {
            self.signed_by.push(key.clone());
        }
        let (word, said) = match &stretch.end {
            StretchEnd::Rolled => ("rolled", None),
            StretchEnd::Stopped => ("stopped", None),
            StretchEnd::Live => ("live", None),
            StretchEnd::Open => (
                "open",
                Some(
                    "it ends without a stop: its writer was killed, or its end was cut".to_owned(),
                ),
            ),
            StretchEnd::Torn { bytes } => (
                "torn",
                Some(format!(
                    "it ends without a stop, with {bytes} bytes of a torn block: its writer was \
                     killed, or its end was cut"
                )),
            ),
            StretchEnd::Damaged(damage) => {
                self.tally.ledger_damaged += 1;
                let what = match damage.what {
                    Wrong::Magic => "this is no segment of a ledger".to_owned(),
                    Wrong::Renamed => "the file was renamed: it is another segment".to_owned(),
                    what => what.to_string(),
                };
                let block = damage.block;
                let said = format!(
                    "DAMAGED: block {block} (byte {}): {what}. Nothing after it can be trusted",
                    damage.offset
                );
                ("damaged", Some(said))
            }
        };
        match (self.style, said) {
            (Style::Text, Some(said)) => writeln!(self.out, "ledger {}: {said}", stretch.segment)?,
            (Style::Text, None) => {}
            (Style::Json, said) => {
                let damage = match &stretch.end {
                    StretchEnd::Damaged(damage) => Some(damaged(damage)),
                    _ => None,
                };
                let value = json!({
                    "event": "ledger", "segment": stretch.segment, "end": word,
                    "bad": damage.is_some(), "head": stretch.mark, "signed_by": signed_by,
                    "damage": damage, "says": said,
                });
                json::line(&value, self.out)?;
            }
        }
        Ok(())
    }

    /// There is a key, and nothing that it signed.
    pub(super) fn no_ledger(&mut self, ledger: &Path) -> Result<(), ReplayError> {
        self.tally.ledger_damaged += 1;
        let path = ledger.display().to_string();
        match self.style {
            Style::Text => writeln!(
                self.out,
                "ledger: GONE: there is nothing in {}; a node that has a key has a ledger",
                visible(&path)
            )?,
            Style::Json => json::line(
                &json!({ "event": "ledger", "end": "gone", "bad": true, "path": path }),
                self.out,
            )?,
        }
        Ok(())
    }

    /// The ledger knows one that was not copied.
    pub(super) fn not_copied(&mut self) {
        self.tally.not_copied += 1;
    }

    /// Where the clock was set. Said, and no damage: whoever sets a node's clock changes nothing of
    /// what was recorded.
    pub(super) fn clocks(&mut self, clocks: &Clocks) -> Result<(), ReplayError> {
        self.tally.clock_jumps = clocks.jumps.len() as u64 + clocks.more;
        for jump in &clocks.jumps {
            let Jump {
                segment,
                block,
                millis,
                restarted,
            } = jump;
            let by = seconds(millis.unsigned_abs());
            let way = if *millis < 0 { "back" } else { "forward" };
            let how = if *restarted {
                " while the machine was started anew"
            } else {
                ""
            };
            match self.style {
                Style::Text => writeln!(
                    self.out,
                    "clock: set {way} by {by} s{how}, before block {block} of ledger {segment}"
                )?,
                Style::Json => json::line(
                    &json!({
                        "event": "clock", "segment": segment, "block": block, "millis": millis,
                        "restarted": restarted,
                    }),
                    self.out,
                )?,
            }
        }
        if self.style == Style::Text && clocks.more > 0 {
            writeln!(self.out, "clock: and {} more times", clocks.more)?;
        }
        Ok(())
    }

    pub(super) fn end(self) -> Result<Verdict, ReplayError> {
        let Tally {
            recordings,
            damaged,
            deleted,
            pruned,
            segments,
            ledger_damaged,
            clock_jumps,
            not_copied,
        } = self.tally;
        let bad = damaged + deleted + ledger_damaged > 0;
        let signed_by = self.signed_by;
        match self.style {
            Style::Text => {
                let keys: Vec<&str> = signed_by
                    .iter()
                    .map(|key| key.get(..16).unwrap_or(key))
                    .collect();
                let key = match keys.as_slice() {
                    [] => "signed by nobody".to_owned(),
                    keys => format!("signed by {}", keys.join(", ")),
                };
                writeln!(
                    self.out,
                    "{}: {recordings} recordings, {damaged} of them not as they were written; \
                     {deleted} deleted, {pruned} removed in order; ledger of {segments} segments, \
                     {ledger_damaged} faults, {key}",
                    if bad { "DAMAGED" } else { "good" }
                )?;
                if not_copied > 0 {
                    writeln!(
                        self.out,
                        "the ledger knows {not_copied} more recordings, which are not in this copy"
                    )?;
                }
            }
            Style::Json => json::line(
                &json!({
                    "event": "summary", "bad": bad, "recordings": recordings, "damaged": damaged,
                    "deleted": deleted, "pruned": pruned, "segments": segments,
                    "ledger_damaged": ledger_damaged, "clock_jumps": clock_jumps,
                    "not_copied": not_copied, "signed_by": signed_by,
                }),
                self.out,
            )?,
        }
        self.out.flush()?;
        Ok(if bad { Verdict::Bad } else { Verdict::Good })
    }
}

fn damaged(damage: &Damage) -> serde_json::Value {
    json!({
        "block": damage.block, "offset": damage.offset, "what": damage.what.to_string(),
    })
}

/// What the ledger has to say of a recording, if it has.
fn against(audited: &Audited, known: Option<&Known>) -> Option<String> {
    let head = || match known.and_then(Known::furthest) {
        Some(mark) => format!("{} blocks, {} bytes", mark.blocks, mark.bytes),
        None => "nothing yet".to_owned(),
    };
    let began = || match known.and_then(|known| known.began.as_ref()) {
        Some((at, workload)) => format!("begun {} by {}", when::full(*at), visible(workload)),
        None => "begun before what is left of the ledger".to_owned(),
    };
    Some(match audited {
        Audited::Agrees | Audited::Open => return None,
        Audited::Unheard => {
            "it cannot be compared: what the ledger says of it is behind its damage".to_owned()
        }
        Audited::Pruned { at, rule, by } => format!(
            "removed {} for {} by {}{}",
            when::full(*at),
            rule.word(),
            match by {
                By::Agent => "the agent",
                By::Operator => "an operator",
            },
            match known.and_then(|known| known.archived.as_ref()) {
                None => String::new(),
                Some(Archived::Copy { at, object }) => {
                    format!("; archived {} as {}", when::full(*at), visible(object))
                }
                Some(Archived::Not) => "; it was NOT archived".to_owned(),
            }
        ),
        Audited::Buried => {
            "it has a tombstone, and goes when recordings are pruned next".to_owned()
        }
        Audited::Announced => {
            "its agent was killed when it had announced this to the ledger and not written it"
                .to_owned()
        }
        Audited::Deleted => format!(
            "DELETED: it is gone, without a tombstone; {}, the ledger knows {}",
            began(),
            head()
        ),
        Audited::Truncated => format!("TRUNCATED: the ledger knows {}", head()),
        Audited::Changed => format!(
            "CHANGED: it is not the recording that the ledger has signed; that had {}",
            head()
        ),
        Audited::Unknown => {
            "UNKNOWN: the ledger does not know it: it was put there, or the ledger is an older one"
                .to_owned()
        }
        Audited::CloseUnknown => {
            "CLOSED, and the ledger does not say so: it was made anew, or the ledger was cut"
                .to_owned()
        }
    })
}
