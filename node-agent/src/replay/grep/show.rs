//! IO. What was found, line by line.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use serde_json::json;

use super::{Found, Hit, Place, Question, Within, grep};
use crate::model::SessionId;
use crate::record::Identities;
use crate::replay::visible::visible;
use crate::replay::{ReplayError, Style, json, when};

/// Whether matches are coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "self-explanatory")]
pub enum Colour {
    #[default]
    Never,
    Always,
}

/// What is told of what is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "self-explanatory")]
pub enum Telling {
    #[default]
    Hits,
    /// The names of the sessions.
    Sessions,
    /// How many hits each session has.
    Counts,
}

/// What a search came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Searched {
    /// Hits; sessions, where only they are told.
    pub found: u64,
    /// What could not be searched: sentences.
    pub unsearched: Vec<String>,
}

/// Searches recordings and tells what is found, at most `limit` lines of it.
pub fn tell(
    paths: &[PathBuf],
    identities: &Identities,
    question: &Question,
    (telling, limit): (Telling, Option<u64>),
    (style, colour): (Style, Colour),
    out: &mut dyn Write,
) -> Result<Searched, ReplayError> {
    let mut searched = Searched::default();
    let within = match telling {
        Telling::Hits | Telling::Counts => Within::All,
        Telling::Sessions => Within::First,
    };
    let mut counted: Option<(SessionId, u64)> = None;
    let mut lines = 0;
    let full = |lines: u64| limit.is_some_and(|limit| lines >= limit);
    if full(0) {
        return Ok(searched);
    }
    grep(paths, identities, question, within, &mut |found| {
        let hit = match found {
            Found::Hit(hit) => hit,
            Found::Unsearched(sentence) => {
                searched.unsearched.push(sentence);
                return Ok(ControlFlow::Continue(()));
            }
        };
        searched.found += 1;
        let session = hit.who.session;
        match (telling, &mut counted) {
            (Telling::Hits, _) => line(&hit, style, colour, out)?,
            (Telling::Sessions, _) => one(session, None, style, out)?,
            (Telling::Counts, Some((same, count))) if *same == session => {
                *count += 1;
                return Ok(ControlFlow::Continue(()));
            }
            (Telling::Counts, other) => {
                let Some((before, count)) = other.replace((session, 1)) else {
                    return Ok(ControlFlow::Continue(()));
                };
                one(before, Some(count), style, out)?;
            }
        }
        lines += 1;
        Ok(if full(lines) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    })?;
    if let Some((session, count)) = counted.filter(|_| !full(lines)) {
        one(session, Some(count), style, out)?;
    }
    out.flush()?;
    Ok(searched)
}

fn one(
    session: SessionId,
    count: Option<u64>,
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    match (style, count) {
        (Style::Text, None) => writeln!(out, "{session}"),
        (Style::Text, Some(count)) => writeln!(out, "{session}: {count}"),
        (Style::Json, None) => json::line(&json!({ "session": session }), out),
        (Style::Json, Some(count)) => {
            json::line(&json!({ "session": session, "hits": count }), out)
        }
    }
}

fn line(hit: &Hit, style: Style, colour: Colour, out: &mut dyn Write) -> io::Result<()> {
    match style {
        Style::Text => text(hit, colour, out),
        Style::Json => json::line(
            &json!({
                "session": hit.who.session,
                "seq": hit.seq,
                "at": hit.at,
                "workload": hit.who.workload,
                "user": hit.who.user,
                "target": hit.who.target,
                "database": hit.who.database,
                "decision": hit.decision.map(super::Ruling::word),
                "in": hit.place.word(),
                "label": hit.label,
                "before": hit.excerpt.before,
                "found": hit.excerpt.found,
                "after": hit.excerpt.after,
                "more": hit.more,
                "statement": hit.statement,
            }),
            out,
        ),
    }
}

/// `s-…#1  2026-01-31 12:00:00.123 UTC  claude/alice  allow  SELECT …`
fn text(hit: &Hit, colour: Colour, out: &mut dyn Write) -> io::Result<()> {
    let (on, off) = match colour {
        Colour::Never => ("", ""),
        Colour::Always => ("\u{1b}[1;31m", "\u{1b}[m"),
    };
    let at = hit.at.map_or_else(|| "–".to_owned(), when::full);
    let decision = hit.decision.map_or("–", super::Ruling::word);
    let place = match (hit.place, &hit.label) {
        (Place::Statements, _) => String::new(),
        (place, None) => format!("{}: ", place.word()),
        (place, Some(label)) => format!("{} {}: ", place.word(), visible(label)),
    };
    let more = match hit.more {
        0 => String::new(),
        more => format!(" (+{more})"),
    };
    let statement = match (hit.place, &hit.statement) {
        (Place::Statements, _) | (_, None) => String::new(),
        (_, Some(text)) => {
            let flat: Vec<_> = text.split_whitespace().collect();
            let flat = flat.join(" ");
            let mut short: String = flat.chars().take(80).collect();
            if short.len() < flat.len() {
                short.push('…');
            }
            format!("  in  {}", visible(&short))
        }
    };
    writeln!(
        out,
        "{}#{}  {at}  {}/{}  {decision:<5}  {place}{}{on}{}{off}{}{more}{statement}",
        hit.who.session,
        hit.seq,
        visible(&hit.who.workload),
        hit.who.user.as_deref().map_or("–".into(), visible),
        visible(&hit.excerpt.before),
        visible(&hit.excerpt.found),
        visible(&hit.excerpt.after),
    )
}
