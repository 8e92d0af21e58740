//! Pure. Recordings for tests, made without a recorder: every moment in them is the test's own.

use std::io::Write;

use super::chain::{Chain, Header};
use super::codec::Encoder;
use super::lane::Rest;
use super::{Event, Unknown};
use crate::model::UnixMillis;

/// Bytes of lines that make a block.
const BLOCK: usize = 64 << 10;

/// Writes a recording of these events. It is closed if the last one is `Closed`.
pub(crate) fn made(header: Header, events: impl IntoIterator<Item = Event>, out: &mut impl Write) {
    let (mut chain, head) = Chain::create(header);
    out.write_all(&head).unwrap();
    let mut encoder = Encoder::new();
    let mut lines = Vec::new();
    let mut at = header.began;
    let mut seal = |lines: &mut Vec<u8>, at: UnixMillis, last: bool| {
        let packed = zstd::bulk::compress(lines, 1).unwrap();
        let mut block = Vec::new();
        chain.seal(&packed, lines.len(), at, last, &mut block);
        out.write_all(&block).unwrap();
        lines.clear();
    };
    for event in events {
        let mut last = false;
        match &event {
            Event::Began(began) => encoder.began(began, &mut lines),
            Event::Login(login) => encoder.login(login, &mut lines),
            Event::Decided(decided) => encoder.decided(Clone::clone(decided), &mut lines),
            Event::Rows(rows) => {
                let head = rows.head.as_ref();
                let rest = (rows.beyond > 0).then(|| Rest {
                    bytes: rows.beyond,
                    digest: blake3::hash(b"the rest"),
                });
                encoder.rows(rows.seq, head, &rows.rows, rest.as_ref(), &mut lines)
            }
            Event::Finished(finished) => encoder.finished(finished, &mut lines),
            Event::Note(note) => encoder.note(note, &mut lines),
            Event::Closed(closed) => {
                last = true;
                at = closed.at;
                encoder.closed(closed, &mut lines)
            }
            Event::Unknown(Unknown { line, .. }) => {
                lines.extend_from_slice(line.as_bytes());
                lines.push(b'\n');
                Ok(())
            }
        }
        .unwrap();
        if lines.len() > BLOCK || last {
            seal(&mut lines, at, last);
        }
    }
    if !lines.is_empty() {
        seal(&mut lines, at, false);
    }
}
