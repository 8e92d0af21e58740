//! IO. Statements, and rows of one statement, as CSV (RFC 4180), safe to open in a spreadsheet.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::super::filter::Ruling;
use super::super::visible::visible;
use super::super::{ReplayError, cell, touched, when};
use super::{About, Act, Recording, Said, State};
use crate::model::{ResultHead, StatementSeq};
use crate::policy::Decision;
use crate::record::{Event, Identities, RecordedCell, RecordedText};

const HEADS: [&str; 22] = [
    "session",
    "statement",
    "at",
    "workload",
    "user",
    "groups",
    "target",
    "database",
    "decision",
    "rules",
    "text",
    "parameters",
    "tables",
    "reason",
    "ticket",
    "tags",
    "rows",
    "bytes",
    "microseconds",
    "sqlstate",
    "error",
    "end",
];

pub(super) fn heads(out: &mut dyn Write) -> io::Result<()> {
    line(&HEADS.map(Cow::Borrowed), out)
}

pub(super) fn statement(about: &About, act: &Act, out: &mut dyn Write) -> io::Result<()> {
    let decided = &act.decided;
    let finished = act.finished.as_ref();
    let mut rules = Vec::new();
    touched::rules(&decided.decision, &mut |rule| {
        rules.push(touched::rule_name(rule))
    });
    let mut tables = Vec::new();
    touched::relations(&decided.analysis, &mut |used| {
        let name = touched::name(&used.relation);
        tables.push(format!("{} {name}", touched::touch(used.touch)));
    });
    tables.dedup();
    let text = match &decided.text {
        RecordedText::Plain(text) => Cow::Borrowed(&**text),
        RecordedText::Cut { head, length, .. } => {
            Cow::Owned(format!("{head}… (cut, {length} bytes)"))
        }
        RecordedText::Withheld { length, .. } => Cow::Owned(format!("(withheld, {length} bytes)")),
    };
    let parameters: Vec<_> = decided
        .params
        .iter()
        .map(|value| match value {
            RecordedCell::Null => json!(null),
            RecordedCell::Long(length) => json!(format!("({length} bytes, not kept)")),
            RecordedCell::Begins { .. } => json!(cell::show(value, None, 0)),
            RecordedCell::Text(_) | RecordedCell::Binary(_) => json!(cell::plain(value, None)),
        })
        .collect();
    let parameters = match parameters.as_slice() {
        [] => String::new(),
        some => json!(some).to_string(),
    };
    let purpose = decided.purpose.as_deref();
    let user = about.user();
    let began = about.began.as_deref();
    let error = match (finished.and_then(|f| f.error.as_ref()), &*decided.decision) {
        (Some((code, message)), _) => (&**code, &**message),
        (None, Decision::Deny(denial)) => ("", &*denial.refusal.message),
        (None, Decision::Allow(_) | Decision::Hold(_)) => ("", ""),
    };
    let number = |of: Option<u64>| of.map_or(Cow::Borrowed(""), |n| Cow::Owned(n.to_string()));
    let end = match (finished, Ruling::of(&decided.decision)) {
        (Some(finished), _) => super::super::words::end(finished.end),
        (None, Ruling::Deny) => "refused",
        (None, Ruling::Allow | Ruling::Hold) => "not known",
    };
    line(
        &[
            about.session.to_string().into(),
            decided.seq.to_string().into(),
            when::rfc3339(decided.at).into(),
            began.map_or("", |began| &*began.workload.name).into(),
            user.map_or("", |user| &*user.subject).into(),
            user.map(|user| user.groups.join(" "))
                .unwrap_or_default()
                .into(),
            began.map_or("", |began| &*began.target.0).into(),
            about.database().unwrap_or("").into(),
            Ruling::of(&decided.decision).word().into(),
            rules.join(" ").into(),
            text,
            parameters.into(),
            tables.join(", ").into(),
            purpose
                .and_then(|p| p.reason.as_deref())
                .unwrap_or("")
                .into(),
            purpose
                .and_then(|p| p.ticket.as_deref())
                .unwrap_or("")
                .into(),
            finished
                .map(|f| f.tags.join("; "))
                .unwrap_or_default()
                .into(),
            number(finished.map(|f| f.rows)),
            number(finished.map(|f| f.bytes)),
            number(finished.map(|f| f.micros)),
            error.0.into(),
            error.1.into(),
            end.into(),
        ],
        out,
    )
}

/// What was written of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// How the recording was verified.
    pub state: State,
    /// Rows.
    pub rows: u64,
    /// Values of which the recording keeps only the beginning, which is there, or the length; those are
    /// empty.
    pub long: u64,
    /// Bytes that were delivered after these rows and are not in the recording.
    pub beyond: u64,
    /// The recording has such a statement.
    pub decided: bool,
}

/// Writes the rows of one statement as delivered, under their columns' names. NULL is an empty field, an
/// empty text is `""`. A second result of the same statement follows after an empty line.
pub fn rows(
    path: &Path,
    identities: &Identities,
    seq: StatementSeq,
    out: &mut dyn Write,
) -> Result<Exported, ReplayError> {
    let mut recording = Recording::open(path, identities)?;
    let mut head: Option<Arc<ResultHead>> = None;
    let (mut count, mut long, mut beyond, mut decided) = (0, 0, 0, false);
    while let Said::Event(event) = recording.next()? {
        match *event {
            Event::Decided(statement) => decided |= statement.seq == seq,
            Event::Rows(rows) if rows.seq == seq => {
                if rows.head.is_some() && rows.head != head {
                    if head.is_some() {
                        out.write_all(b"\r\n")?;
                    }
                    let columns = rows.head.iter().flat_map(|head| &head.columns);
                    line(
                        &columns.map(|c| Cow::Borrowed(&*c.name)).collect::<Vec<_>>(),
                        out,
                    )?;
                    head.clone_from(&rows.head);
                }
                let columns = head.as_ref().map_or(&[][..], |head| &head.columns);
                for row in &rows.rows {
                    count += 1;
                    for (at, value) in row.iter().enumerate() {
                        if at > 0 {
                            out.write_all(b",")?;
                        }
                        long += u64::from(matches!(
                            value,
                            RecordedCell::Long(_) | RecordedCell::Begins { .. }
                        ));
                        match cell::plain(value, columns.get(at)) {
                            Some(text) if text.is_empty() => out.write_all(b"\"\"")?,
                            Some(text) => field(&text, out)?,
                            None => {}
                        }
                    }
                    out.write_all(b"\r\n")?;
                }
                beyond += rows.beyond;
            }
            Event::Began(_)
            | Event::Login(_)
            | Event::Rows(_)
            | Event::Finished(_)
            | Event::Note(_)
            | Event::Closed(_)
            | Event::Unknown(_) => {}
        }
    }
    out.flush()?;
    Ok(Exported {
        state: recording.state(),
        rows: count,
        long,
        beyond,
        decided,
    })
}

fn line(fields: &[Cow<'_, str>], out: &mut dyn Write) -> io::Result<()> {
    for (at, text) in fields.iter().enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        field(text, out)?;
    }
    out.write_all(b"\r\n")
}

/// A field. What a spreadsheet would take for a formula is made text by an apostrophe; a plain number
/// is none. Line breaks stay, within quotes; other characters that act or hide are shown as text.
fn field(text: &str, out: &mut dyn Write) -> io::Result<()> {
    let mut shown = String::with_capacity(text.len() + 2);
    let text = text.replace("\r\n", "\n");
    let acts = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    if acts && !is_number(&text) {
        shown.push('\'');
    }
    for part in text.split_inclusive(['\n', '\t']) {
        let plain = part.trim_end_matches(['\n', '\t']);
        shown.push_str(&visible(plain));
        shown.push_str(part.get(plain.len()..).unwrap_or_default());
    }
    if shown.contains(['"', ',', '\n', '\t', ';', '\'']) {
        write!(out, "\"{}\"", shown.replace('"', "\"\""))
    } else {
        out.write_all(shown.as_bytes())
    }
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_field_is_a_formula_and_every_field_reads_back() {
        for (text, want) in [
            ("plain", "plain"),
            ("=1+1", "'=1+1"),
            ("=HYPERLINK(\"x\",\"y\")", "'=HYPERLINK(\"x\",\"y\")"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("+1", "+1"),
            ("-5.25", "-5.25"),
            ("-5+cmd|' /C calc'!A0", "'-5+cmd|' /C calc'!A0"),
            ("\t=1", "'\t=1"),
            ("\r=1", "'\\r=1"),
            ("a,b\r\nc", "a,b\nc"),
            ("\u{1b}]0;x\u{7}", "\\x1b]0;x\\x07"),
            ("＝1", "'＝1"),
            ("-", "'-"),
        ] {
            let mut out = Vec::new();
            field(text, &mut out).unwrap();
            let out = String::from_utf8(out).unwrap();
            let read = match out
                .strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'))
            {
                Some(quoted) => {
                    assert!(!quoted.replace("\"\"", "").contains('"'), "{out}");
                    quoted.replace("\"\"", "\"")
                }
                None => {
                    assert!(!out.contains(['"', ',', '\n', '\r']), "{out}");
                    out.clone()
                }
            };
            assert_eq!(read, want, "{text:?}");
        }
    }
}
