//! The agent's own questions to a PostgreSQL catalogue, and the reading of their answers.

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::model::UpstreamAddr;
use crate::wire::{Answer, Asked, FrontLimits, Phase, Talk, Text, Wants, Wire};

use super::Leg;
use super::dial::{Dialled, UpstreamError};

/// oid, schema, name, kind of everything that has columns.
pub(super) const RELATIONS: &str = "select c.oid, n.nspname, c.relname, c.relkind \
     from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
     where c.relkind in ('r','p','v','m','f','t')";
/// oid, attribute number, name.
pub(super) const COLUMNS: &str = "select a.attrelid, a.attnum, a.attname \
     from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid \
     where a.attnum > 0 and not a.attisdropped and c.relkind in ('r','p','v','m','f','t')";
/// What a relation's rows can come from: views through their rules, inheritance both ways.
pub(super) const SOURCES: &str = "select r.ev_class, d.refobjid \
     from pg_catalog.pg_rewrite r join pg_catalog.pg_depend d \
       on d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and d.objid = r.oid \
      and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
     where d.refobjid <> r.ev_class group by 1, 2 \
     union select inhparent, inhrelid from pg_catalog.pg_inherits \
     union select inhrelid, inhparent from pg_catalog.pg_inherits";

/// The largest single row that a catalogue answer may hold.
const ROW_BYTES: usize = 1 << 20;

/// The largest answer in all: some millions of columns. More is no catalogue, and would be kept.
const ANSWER_BYTES: usize = 128 << 20;

/// A connection for the agent's own questions.
pub(super) struct Probe<W: Wire> {
    leg: Leg,
    talk: W::Talk<(), ()>,
    input: BytesMut,
    address: UpstreamAddr,
}

impl<W: Wire> Probe<W> {
    pub(super) fn new(dialled: Dialled, address: UpstreamAddr) -> Self {
        let limits = FrontLimits {
            message: ROW_BYTES,
            ..FrontLimits::default()
        };
        Probe {
            leg: dialled.leg,
            talk: W::Talk::new(limits),
            input: dialled.rest,
            address,
        }
    }

    /// Asks, and gives each row's text cells to `row`.
    pub(super) async fn each(
        &mut self,
        text: &'static str,
        mut row: impl FnMut(&[Option<&str>]),
    ) -> Result<(), UpstreamError> {
        let address = self.address;
        let broken = |source| UpstreamError::Broken { address, source };
        let mut out = BytesMut::new();
        self.talk
            .send(question(text), (), Wants::default(), &mut out);
        self.leg.write_all(&out).await.map_err(broken)?;
        self.leg.flush().await.map_err(broken)?;
        let mut heard = 0_usize;
        loop {
            while let Some((span, answer)) = self.talk.listen(&self.input)? {
                let frames = self.input.split_to(span.min(self.input.len()));
                heard = heard.saturating_add(frames.len());
                if heard > ANSWER_BYTES {
                    return Err(broken(std::io::Error::other("the catalogue has no end")));
                }
                match answer {
                    Answer::Head => self.talk.hold_rows(true),
                    Answer::Rows { .. } => rows(&frames, &mut row),
                    Answer::Failed(error) => {
                        let (code, message) = (error.code, error.message);
                        return Err(UpstreamError::Refused { code, message });
                    }
                    Answer::Ready { .. } => {
                        let _answered = self.talk.finished();
                        return Ok(());
                    }
                    Answer::Done { .. }
                    | Answer::Control
                    | Answer::Hidden
                    | Answer::Notice(_)
                    | Answer::Notification
                    | Answer::Parameter { .. }
                    | Answer::Suspended => {}
                    Answer::Piece { .. }
                    | Answer::Refused(_)
                    | Answer::CopyIn
                    | Answer::CopyOut
                    | Answer::CopyRows { .. } => {
                        return Err(broken(std::io::Error::other("an answer nobody asked for")));
                    }
                }
            }
            if self.leg.read_buf(&mut self.input).await.map_err(broken)? == 0 {
                return Err(broken(std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    pub(super) async fn close(mut self) {
        // A failure to say goodbye changes nothing: the answers are complete.
        let _ = self.leg.write_all(b"X\0\0\0\x04").await;
        let _ = self.leg.shutdown().await;
    }
}

fn question(text: &'static str) -> Asked<()> {
    let mut frame = BytesMut::with_capacity(text.len() + 6);
    frame.put_u8(b'Q');
    frame.put_u32(u32::try_from(text.len() + 5).unwrap_or(u32::MAX));
    frame.put_slice(text.as_bytes());
    frame.put_u8(0);
    Asked {
        phase: Phase::Run {
            text: Text::of_static(text),
        },
        frame: frame.freeze(),
    }
}

/// Walks whole DataRow frames. What does not decode is left out: an attribute that is not in the
/// catalogue is unknown, and the unknown is masked.
fn rows(mut frames: &[u8], row: &mut impl FnMut(&[Option<&str>])) {
    while let Some((&[b'D', a, b, c, d], rest)) = frames.split_first_chunk::<5>() {
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(0);
        let Some((body, next)) = length.checked_sub(4).and_then(|n| rest.split_at_checked(n))
        else {
            return;
        };
        frames = next;
        let Some((count, mut body)) = body.split_first_chunk::<2>() else {
            continue;
        };
        let mut cells: Vec<Option<&str>> = Vec::with_capacity(8);
        for _ in 0..u16::from_be_bytes(*count) {
            let Some((size, rest)) = body.split_first_chunk::<4>() else {
                break;
            };
            let size = i32::from_be_bytes(*size);
            let Ok(size) = usize::try_from(size) else {
                cells.push(None);
                body = rest;
                continue;
            };
            let Some((cell, rest)) = rest.split_at_checked(size) else {
                break;
            };
            cells.push(std::str::from_utf8(cell).ok());
            body = rest;
        }
        row(&cells);
    }
}
