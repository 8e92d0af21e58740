//! IO. Recorded sessions, for auditors: the list, and the page of one, which is written while it is sent.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::Frame;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::Console;
use super::layout::{Page, sentence};
use super::lists::{head, not_an_auditor};
use crate::model::SessionId;
use crate::record::Identities;
use crate::replay::{self, Entry, Filter, ReplayError, Text, moment};

/// How many recordings the list shows, from the latest.
const SHOWN: usize = 200;
/// What is sent at once, bytes, and how many of these may wait for a slow browser.
const PIECE: usize = 64 << 10;
const PIECES: usize = 4;

pub(super) async fn list(
    State(console): State<Arc<Console>>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let signed = match console.who(&headers, &uri) {
        Ok(signed) => signed,
        Err(answer) => return answer,
    };
    if !console.is_auditor(&signed) {
        return not_an_auditor(&console, &signed);
    }
    let Ok(permit) = console.readers.clone().acquire_owned().await else {
        return busy();
    };
    let dir = console.recordings.clone();
    let read = tokio::task::spawn_blocking(move || {
        let entries = replay::entries(&dir, &Identities::none(), &Filter::default());
        drop(permit);
        entries
    });
    let mut entries = match read.await {
        Ok(Ok(entries)) => entries,
        Ok(Err(error)) => return cannot_read(&error),
        Err(_) => return busy(),
    };
    let left_out = entries.len().saturating_sub(SHOWN);
    entries.drain(..left_out);
    entries.reverse();
    let mut page = Page::of(
        &console,
        &signed,
        "/console/recordings",
        "Recorded sessions",
    );
    if left_out > 0 {
        page = page.line(&format!(
            "The latest {SHOWN}; {left_out} older ones are listed by `node-agent sessions ls`."
        ));
    }
    match entries.as_slice() {
        [] => page.line("Nothing is recorded yet."),
        entries => page.raw(&table(entries)),
    }
    .into_response()
}

fn table(entries: &[Entry]) -> String {
    let mut out = head(
        "Recorded sessions",
        &[
            "Session",
            "Began",
            "User",
            "Workload",
            "Target",
            "Statements",
            "Denied",
            "Held",
            "Rows",
            "State",
        ],
    );
    for entry in entries {
        let state = match (entry.damaged, entry.live) {
            (true, _) => "changed by somebody",
            (false, true) => "open",
            (false, false) => "closed",
        };
        let target = entry.target.as_ref().map_or("–", |target| &target.0);
        let totals = &entry.totals;
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\"><a href=\"/console/recordings/{0}\">{0}</a></th><td class=\"at\">{1}</td>\
             <td>{2}</td><td>{3}</td><td>{4}</td><td class=\"number\">{5}</td><td class=\"number\">{6}</td>\
             <td class=\"number\">{7}</td><td class=\"number\">{8}</td><td>{state}</td></tr>",
            entry.session,
            moment(entry.began),
            Text(entry.user.as_deref().unwrap_or("–")),
            Text(&entry.workload),
            Text(target),
            totals.statements,
            totals.denied,
            totals.held,
            totals.rows,
        );
    }
    out.push_str("</tbody></table></div>\n");
    out
}

pub(super) async fn replay(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let signed = match console.who(&headers, &uri) {
        Ok(signed) => signed,
        Err(answer) => return answer,
    };
    if !console.is_auditor(&signed) {
        return not_an_auditor(&console, &signed);
    }
    // The whole name: of a beginning nobody knows what it will stand for tomorrow.
    let Ok(session) = id.parse::<SessionId>() else {
        let text = "There is no such recording.";
        let of = Some((&*console, &*signed));
        return sentence(of, StatusCode::NOT_FOUND, "Not found", text);
    };
    let Ok(permit) = console.readers.clone().acquire_owned().await else {
        return busy();
    };
    tracing::info!(%session, reviewer = %signed.reviewer.recorded(), "a recording is looked at");
    let (pieces, mut sent) = mpsc::channel(PIECES);
    let dir = console.recordings.clone();
    let written = tokio::task::spawn_blocking(move || write(&dir, session, pieces, permit));
    // What fails before anything is sent is told as a page.
    let Some(first) = sent.recv().await else {
        return match written.await {
            Ok(Err(error)) => cannot_read(&error),
            Ok(Ok(())) | Err(_) => busy(),
        };
    };
    let policy = format!("{}; frame-ancestors 'none'", replay::policy());
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CONTENT_SECURITY_POLICY, policy),
    ];
    let body = Sending {
        first: Some(first),
        sent,
    };
    (headers, Body::new(body)).into_response()
}

type Piece = io::Result<Bytes>;

fn write(
    dir: &std::path::Path,
    session: SessionId,
    pieces: mpsc::Sender<Piece>,
    _permit: OwnedSemaphorePermit,
) -> Result<(), ReplayError> {
    let path = replay::find(dir, &session.to_string())?;
    let mut out = Pieces {
        full: Vec::with_capacity(PIECE),
        pieces,
        begun: false,
    };
    // The node has no private key: of a recording that is sealed the page says to whom.
    let written = replay::page(&path, &Identities::none(), &mut out);
    if let Err(error) = &written {
        // A page that breaks off must not look like a whole one.
        let broken = Err(io::Error::other(error.to_string()));
        if out.begun {
            let _ = out.pieces.blocking_send(broken); // nobody may look any more
        }
    }
    written.map(drop)
}

/// Writes to a browser.
struct Pieces {
    full: Vec<u8>,
    pieces: mpsc::Sender<Piece>,
    /// Something was sent.
    begun: bool,
}

impl Pieces {
    fn send(&mut self) -> io::Result<()> {
        if self.full.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.full, Vec::with_capacity(PIECE));
        self.begun = true;
        self.pieces
            .blocking_send(Ok(piece.into()))
            .map_err(|_| io::Error::other("nobody looks any more"))
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.full.extend_from_slice(bytes);
        if self.full.len() >= PIECE {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

/// What is sent, as it comes.
struct Sending {
    first: Option<Piece>,
    sent: mpsc::Receiver<Piece>,
}

impl hyper::body::Body for Sending {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = match self.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => self.sent.poll_recv(context),
        };
        piece.map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

fn cannot_read(error: &ReplayError) -> Response {
    let (status, why) = match error {
        ReplayError::NotFound(_) => (
            StatusCode::NOT_FOUND,
            "There is no such recording, or it was removed for its age.".to_owned(),
        ),
        other => (StatusCode::INTERNAL_SERVER_ERROR, other.to_string()),
    };
    sentence(None, status, "Not shown", &why)
}

fn busy() -> Response {
    let why = "The agent is stopping.";
    sentence(None, StatusCode::SERVICE_UNAVAILABLE, "Not now", why)
}
