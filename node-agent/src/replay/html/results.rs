//! Pure. Results and parameters in the page, as tables.

use std::io::{self, Write};

use super::escape::{Lines, Text};
use crate::record::RecordedCell;
use crate::replay::told::{Delivered, Told};
use crate::replay::{cell, words};

/// Parameters as bound.
pub(super) fn parameters(params: &[RecordedCell], out: &mut dyn Write) -> io::Result<()> {
    if params.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "<table class=\"params\">\n<caption>Parameters</caption>\n<tbody>"
    )?;
    for (at, param) in params.iter().enumerate() {
        write!(out, "<tr><th scope=\"row\">${}</th>", at + 1)?;
        value(param, None, false, out)?;
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</tbody>\n</table>")
}

/// The name of a column of the first result that has so many.
pub(super) fn column(told: &Told, at: usize) -> Option<String> {
    let mut heads = told
        .results
        .iter()
        .filter_map(|result| result.head.as_ref());
    heads.find_map(|head| Some(head.columns.get(at)?.name.to_string()))
}

/// One result. Columns with a mask say so at their head.
pub(super) fn table(
    told: &Told,
    result: &Delivered,
    number: usize,
    out: &mut dyn Write,
) -> io::Result<()> {
    let seq = told.seq().unwrap_or_default();
    let what = if told.results.len() > 1 {
        format!("Result {} of {}", number + 1, told.results.len())
    } else {
        "Result".to_owned()
    };
    let rows = match result.rows.len() {
        0 => "no rows".to_owned(),
        some => words::rows(some as u64),
    };
    let caption = format!("{what}: {rows} as delivered");
    writeln!(
        out,
        "<details open>\n<summary>{caption}</summary>\n\
         <div class=\"wide\" role=\"region\" aria-label=\"{what} of #{seq}\" tabindex=\"0\">\n<table>\n\
         <caption class=\"unseen\">{caption} to the client</caption>"
    )?;
    let masks: Vec<_> = match &result.head {
        Some(head) => (0..head.columns.len()).map(|at| told.mask(at)).collect(),
        None => Vec::new(),
    };
    if let Some(head) = &result.head {
        write!(out, "<thead><tr>")?;
        for (column, mask) in head.columns.iter().zip(&masks) {
            match mask {
                Some(by) => write!(
                    out,
                    "<th scope=\"col\" class=\"masked\">{} <span class=\"by\">masked by {}</span></th>",
                    Text(&column.name),
                    Text(&words::rule(by)),
                )?,
                None => write!(out, "<th scope=\"col\">{}</th>", Text(&column.name))?,
            }
        }
        writeln!(out, "</tr></thead>")?;
    }
    writeln!(out, "<tbody>")?;
    for row in &result.rows {
        write!(out, "<tr>")?;
        for (at, cell) in row.iter().enumerate() {
            let column = result.head.as_ref().and_then(|head| head.columns.get(at));
            let masked = masks.get(at).is_some_and(Option::is_some);
            value(cell, column, masked, out)?;
        }
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</tbody>\n</table>\n</div>")?;
    if result.beyond > 0 {
        writeln!(
            out,
            "<p class=\"note\">And {} bytes of rows that the recording counts and does not keep.</p>",
            result.beyond
        )?;
        for digest in &result.digests {
            writeln!(
                out,
                "<p class=\"note\">Their BLAKE3 digest <code class=\"hash\">{}</code></p>",
                Text(digest)
            )?;
        }
    }
    writeln!(out, "</details>")
}

fn value(
    cell: &RecordedCell,
    column: Option<&crate::model::ColumnHead>,
    masked: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut classes = Vec::new();
    if masked {
        classes.push("masked");
    }
    match cell {
        RecordedCell::Null => classes.push("null"),
        RecordedCell::Long(_) | RecordedCell::Begins { .. } => classes.push("long"),
        RecordedCell::Text(text) | RecordedCell::Binary(text) => {
            let number = text
                .chars()
                .all(|c| c.is_ascii_digit() || matches!(c, '.' | '-'));
            if number && !text.is_empty() && text.len() < 24 {
                classes.push("number");
            }
        }
    }
    if classes.is_empty() {
        write!(out, "<td>")?;
    } else {
        write!(out, "<td class=\"{}\">", classes.join(" "))?;
    }
    match cell {
        // A value of several lines keeps them: each is told from a value that says `\n`.
        RecordedCell::Text(text) if text.contains('\n') => write!(out, "{}", Lines(text))?,
        RecordedCell::Text(text) => write!(out, "{}", Text(text))?,
        RecordedCell::Null
        | RecordedCell::Binary(_)
        | RecordedCell::Long(_)
        | RecordedCell::Begins { .. } => {
            write!(out, "{}", Text(&cell::show(cell, column, 0)))?;
        }
    }
    write!(out, "</td>")
}
