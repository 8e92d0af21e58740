//! IO. A recording as one page of HTML that needs nothing else: no script, no font, no picture, no
//! network. It is written as the recording is read, so that its length costs no memory.
//!
//! A recording is read twice: once to verify it whole and to sum it up (`gather.rs`), for the page
//! says at its top what holds; and once to write its statements (`queue.rs` brings what belongs
//! together beside each other). Each text is escaped where it is written (`escape.rs`).

mod escape;
mod gather;
mod head;
mod queue;
mod results;
mod statement;
mod timeline;

use std::io::{self, Write};
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::read::{Recording, Said};
use super::{ReplayError, Verdict};
use crate::record::{BlockError, Identities};
use queue::Queue;

pub(crate) use escape::{Attribute, Text};

pub(crate) const STYLE: &str = include_str!("style.css");

/// Writes the page of a recording.
///
/// # Errors
/// It cannot be read, is changed by somebody while it is, or the page cannot be written.
pub fn page(
    path: &Path,
    identities: &Identities,
    out: &mut dyn Write,
) -> Result<Verdict, ReplayError> {
    let gathered = gather::gather(path, identities)?;
    begin(out, &gathered)?;
    let mut recording = Recording::open(path, identities)?;
    let mut queue = Queue::new(gathered.state.session);
    // Of a session that is open, what the top of the page speaks of and no more.
    for _ in 0..gathered.state.progress.events {
        let Said::Event(event) = recording.next()? else {
            break;
        };
        queue.take(*event, out)?;
    }
    queue.end(out)?;
    let read = recording.state();
    if (read.blocks, &read.hash) != (gathered.state.blocks, &gathered.state.hash) {
        let changed = io::Error::other("the recording was changed while it was read");
        return Err(ReplayError::read(path, BlockError::Io(changed)));
    }
    end(out, &gathered)?;
    out.flush()?;
    Ok(gathered.state.verdict())
}

/// The policy of the page's own head. Nothing is loaded from anywhere, nothing runs, nothing is sent;
/// the one style is the one whose hash stands here.
pub(crate) fn policy() -> String {
    let hash = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'")
}

fn begin(out: &mut dyn Write, gathered: &gather::Gathered) -> io::Result<()> {
    let policy = policy();
    writeln!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>",
        Text(&gathered.title()),
    )?;
    head::write(gathered, out)
}

fn end(out: &mut dyn Write, gathered: &gather::Gathered) -> io::Result<()> {
    writeln!(out, "</main>\n<footer>")?;
    if let Some((at, why)) = &gathered.closed {
        writeln!(
            out,
            "<p class=\"closing\">Closed at {}: {}.</p>",
            Text(&super::when::full(*at)),
            Text(why),
        )?;
    }
    writeln!(
        out,
        "<p>Recording {}: {}. Chain <code class=\"hash\">{}</code></p>\n\
         <p class=\"made\">Written by node-agent {} from the recording alone. Values are as the client got \
         them; characters that a screen would obey or hide are shown as \
         <span class=\"esc\">\\x1b</span>.</p>\n</footer>\n</body>\n</html>",
        gathered.state.session,
        Text(&gathered.state.sentence()),
        Text(&gathered.state.hash),
        env!("CARGO_PKG_VERSION"),
    )
}

#[cfg(test)]
mod tests;
