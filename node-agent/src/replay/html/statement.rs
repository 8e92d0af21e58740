//! Pure. One statement in the page: what was asked, what was decided, what came back.

use std::io::{self, Write};

use super::escape::{Lines, Text};
use super::results;
use crate::model::{Reference, SessionId};
use crate::policy::Decision;
use crate::record::{Decided, End, Event, Finished, Note, NoteFrom, RecordedText};
use crate::replay::told::{Refused, Ruled, Told};
use crate::replay::{when, words};

/// Something that belongs to no statement.
pub(super) fn aside(event: &Event, out: &mut dyn Write) -> io::Result<()> {
    match event {
        Event::Note(note) => {
            writeln!(out, "<div class=\"aside\">")?;
            self::note(note, out)?;
            writeln!(out, "</div>")
        }
        Event::Unknown(unknown) => writeln!(
            out,
            "<div class=\"aside\"><p>An event {} that this version does not know:</p>\n\
             <pre class=\"sql\">{}</pre></div>",
            Text(&unknown.kind),
            Lines(&unknown.line),
        ),
        Event::Began(_)
        | Event::Login(_)
        | Event::Decided(_)
        | Event::Rows(_)
        | Event::Finished(_)
        | Event::Closed(_) => Ok(()),
    }
}

/// A statement whole.
pub(super) fn write(told: &Told, session: SessionId, out: &mut dyn Write) -> io::Result<()> {
    let seq = told.seq().unwrap_or_default();
    let Some(decided) = &told.decided else {
        writeln!(
            out,
            "<article class=\"st\">\n<h3>#{seq} <span class=\"more\">continued: what came later</span></h3>\n<div>"
        )?;
        outcome(told, out)?;
        return writeln!(out, "</div>\n</article>");
    };
    let ruled = Ruled::of(&decided.decision);
    let failed = told
        .finished
        .iter()
        .any(|finished| finished.error.is_some());
    let masked = told
        .finished
        .iter()
        .any(|finished| !finished.masked.is_empty());
    writeln!(
        out,
        "<article class=\"st {}{}{}\" id=\"n{seq}\" aria-labelledby=\"h{seq}\">\n\
         <h3 id=\"h{seq}\"><a href=\"#n{seq}\">#{seq}</a> <span class=\"badge {}\">{}</span>{} \
         <span class=\"when\">{}</span> <span class=\"hash\">{}</span></h3>\n\
         <div class=\"columns\">\n<div class=\"body\">",
        ruled.word(),
        if failed { " failed" } else { "" },
        if masked { " masked" } else { "" },
        ruled.word(),
        ruled.word(),
        if failed {
            " <span class=\"badge failed\">failed</span>"
        } else {
            ""
        },
        Text(&when::clock(decided.at)),
        Reference { session, seq },
    )?;
    text(&decided.text, out)?;
    results::parameters(&decided.params, out)?;
    match &*decided.decision {
        Decision::Deny(denial) => refused(&Refused::of(&denial.refusal, session, seq), out)?,
        Decision::Hold(_) if told.finished.is_empty() => writeln!(
            out,
            "<p class=\"note\">No outcome is recorded: it was not granted, or the session ended first.</p>"
        )?,
        Decision::Hold(_) | Decision::Allow(_) => {}
    }
    outcome(told, out)?;
    writeln!(out, "</div>")?;
    margin(told, decided, ruled, out)?;
    writeln!(out, "</div>\n</article>")
}

fn text(text: &RecordedText, out: &mut dyn Write) -> io::Result<()> {
    let sql = |text: &str, out: &mut dyn Write| {
        writeln!(out, "<pre class=\"sql\"><code>{}</code></pre>", Lines(text))
    };
    let stands = |what: &str, length: u64, hash: &str, out: &mut dyn Write| {
        writeln!(
            out,
            "<p class=\"note\">{what}: {length} bytes, BLAKE3 <code class=\"hash\">{}</code></p>",
            Text(hash)
        )
    };
    match text {
        RecordedText::Plain(text) => sql(text, out),
        RecordedText::Cut { head, hash, length } => {
            sql(head, out)?;
            stands("The beginning of a text", *length, hash, out)
        }
        RecordedText::Withheld { hash, length } => stands("Text withheld", *length, hash, out),
    }
}

fn refused(refused: &Refused, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "<div class=\"error denied\" role=\"group\" aria-label=\"Refusal as the client saw it\">\n\
         <p><strong>{} <code>{}</code></strong> {}</p>\n<p><b>Detail</b> {}</p>",
        refused.severity,
        refused.sqlstate,
        Text(&refused.message),
        Text(&refused.detail),
    )?;
    if let Some(hint) = &refused.hint {
        writeln!(out, "<p><b>Hint</b> {}</p>", Text(hint))?;
    }
    writeln!(out, "</div>")
}

/// What came back.
fn outcome(told: &Told, out: &mut dyn Write) -> io::Result<()> {
    for (number, result) in told.results.iter().enumerate() {
        results::table(told, result, number, out)?;
    }
    if told.left_out > 0 {
        writeln!(
            out,
            "<p class=\"note\">{} more rows or notes are in the recording and not in this page; \
             <code>replay --format text</code> shows them.</p>",
            told.left_out
        )?;
    }
    for one in &told.notes {
        note(one, out)?;
    }
    for finished in &told.finished {
        if let Some((code, message)) = &finished.error {
            writeln!(
                out,
                "<div class=\"error failed\" role=\"group\" aria-label=\"Error as the client saw it\">\n\
                 <p><strong>ERROR <code>{}</code></strong> {}</p>\n</div>",
                Text(code),
                Text(message),
            )?;
        }
        writeln!(out, "<p class=\"end\">{}</p>", Text(&end(finished)))?;
        for found in &finished.found {
            writeln!(out, "<p class=\"note\">{}</p>", Text(&words::found(found)))?;
        }
    }
    Ok(())
}

/// `SELECT 2 · 2 rows, 20 bytes · 1.2 ms`.
fn end(finished: &Finished) -> String {
    let mut parts = finished.tags.clone();
    if parts.is_empty() || finished.end != End::Done {
        parts.push(words::end(finished.end).to_owned());
    }
    if finished.rows > 0 {
        parts.push(format!(
            "{}, {} bytes",
            words::rows(finished.rows),
            finished.bytes
        ));
    }
    if let Some(changed) = finished.changed {
        parts.push(format!("{} changed", words::rows(changed)));
    }
    parts.push(when::took(finished.micros));
    parts.join(" · ")
}

fn note(note: &Note, out: &mut dyn Write) -> io::Result<()> {
    let from = match note.from {
        NoteFrom::Server => "Notice from the database",
        NoteFrom::Agent => "Note from the agent",
    };
    let code = match &note.code {
        Some(code) => format!(" {code}"),
        None => String::new(),
    };
    writeln!(
        out,
        "<p class=\"note\"><b>{from}{}</b> <span class=\"when\">{}</span> {}</p>",
        Text(&code),
        Text(&when::clock(note.at)),
        Text(&note.text),
    )
}

fn margin(told: &Told, decided: &Decided, ruled: Ruled, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "<div class=\"margin\" role=\"group\" aria-label=\"Decision on #{}\">\n<dl>",
        decided.seq
    )?;
    let fact = |name: &str, value: &str, out: &mut dyn Write| {
        writeln!(out, "<div><dt>{name}</dt><dd>{}</dd></div>", Text(value))
    };
    writeln!(
        out,
        "<div><dt>Decision</dt><dd class=\"says {}\">{}</dd></div>",
        ruled.word(),
        Text(&words::decision(&decided.decision))
    )?;
    if let Decision::Hold(hold) = &*decided.decision {
        fact("Reviewers", &hold.asks.reviewers.to_string(), out)?;
    }
    let does = words::analysis(&decided.analysis);
    if !does.is_empty() {
        fact("It does", &does, out)?;
    }
    for said in decided
        .purpose
        .iter()
        .flat_map(|purpose| words::purpose(purpose))
    {
        fact("Purpose", &said, out)?;
    }
    for granted in words::granted(decided) {
        fact("Access", &granted, out)?;
    }
    for finished in &told.finished {
        for (column, by) in &finished.masked {
            let name = results::column(told, usize::from(*column));
            let name = name.unwrap_or_else(|| format!("column {}", u32::from(*column) + 1));
            let by = words::rule(by);
            fact("Masked", &format!("{name} by {by}"), out)?;
        }
        for beyond in &finished.observed {
            let whose = beyond.policy.as_deref();
            let whose = whose.map_or(String::new(), |policy| format!(" of {policy}"));
            let says = format!("beyond {} {}{whose}", beyond.key, beyond.most);
            fact("Observed only", &says, out)?;
        }
    }
    writeln!(
        out,
        "<div><dt>Policies</dt><dd class=\"hash\">{}</dd></div>\n</dl>\n</div>",
        Text(&decided.policy_version)
    )
}
