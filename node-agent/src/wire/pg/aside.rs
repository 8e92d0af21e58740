//! Pure. What the agent says and hears on a connection of its own beside a session's: one exchange at a time,
//! from a question to ReadyForQuery. A text that is not the agent's own goes by Parse, which takes one
//! statement and no more.

use std::sync::Arc;

use bytes::{Buf, BufMut, BytesMut};

use super::answer::{self, describe};
use super::estimate::{EXPLAIN, put_params};
use super::{frame, refusal};
use crate::model::ResultHead;
use crate::wire::{Garbled, Params, Peer, Transaction};

/// The largest message, beside rows, that is held.
const LARGEST: usize = 256 << 10;

/// Texts of the agent's own, one behind the other.
pub fn say(text: &str, up: &mut BytesMut) {
    frame::message(up, b'Q', |up| frame::text(up, text));
}

/// Has the server read a text as one that can be planned, which no COMMIT is, and nothing more.
pub fn read_only_as_planned(text: &str, params: Option<&Params>, up: &mut BytesMut) {
    parse(&["explain ", text], params, up);
    frame::message(up, b'S', |_| {});
}

/// Asks for the plan of one statement, in JSON. It is not run.
pub fn explain(text: &str, params: Option<&Params>, up: &mut BytesMut) {
    parse(&[EXPLAIN, text], params, up);
    execute(params, up);
}

/// Runs one statement.
pub fn run(text: &str, params: Option<&Params>, up: &mut BytesMut) {
    parse(&[text], params, up);
    execute(params, up);
}

/// The last word.
pub fn goodbye(up: &mut BytesMut) {
    frame::message(up, b'X', |_| {});
}

fn parse(texts: &[&str], params: Option<&Params>, up: &mut BytesMut) {
    let types = params.map(|params| &*params.types).unwrap_or_default();
    frame::message(up, b'P', |up| {
        frame::text(up, "");
        frame::text(up, &texts.concat());
        // As many as a Parse could carry.
        up.put_u16(u16::try_from(types.len() / 4).unwrap_or(u16::MAX));
        up.put_slice(types);
    });
}

fn execute(params: Option<&Params>, up: &mut BytesMut) {
    let none = Params::default();
    frame::message(up, b'B', |up| {
        frame::text(up, "");
        frame::text(up, "");
        put_params(params.unwrap_or(&none), up);
        up.put_u16(0);
    });
    frame::message(up, b'E', |up| {
        frame::text(up, "");
        up.put_u32(0);
    });
    frame::message(up, b'S', |_| {});
}

/// What comes of a question.
#[derive(Debug)]
pub struct Exchange {
    /// The head of the last result that has one.
    pub head: Option<Arc<ResultHead>>,
    /// Whole DataRow frames, as many as may be kept.
    pub rows: BytesMut,
    /// Rows that came and were not kept, for want of room.
    pub left_out: u64,
    /// The tag of the last statement.
    pub tag: String,
    /// Of the first error: its SQLSTATE. Nothing else of it is kept: its words can quote any value.
    pub failed: Option<String>,
    /// How the transaction stands, once the server is ready.
    pub ready: Option<Transaction>,
    /// Bytes of rows that may be kept.
    room: usize,
    /// Bytes that come still of a frame that is passed over.
    skip: usize,
}

impl Exchange {
    /// One whose rows may take so many bytes.
    pub fn new(room: usize) -> Self {
        Exchange {
            head: None,
            rows: BytesMut::new(),
            left_out: 0,
            tag: String::new(),
            failed: None,
            ready: None,
            room,
            skip: 0,
        }
    }

    /// Hears what has come. `true`: the server is ready.
    ///
    /// # Errors
    /// It broke the protocol, or began a copy, which nobody asked for.
    pub fn hear(&mut self, input: &mut BytesMut) -> Result<bool, Garbled> {
        loop {
            if self.skip > 0 {
                let gone = self.skip.min(input.len());
                input.advance(gone);
                self.skip -= gone;
                if self.skip > 0 {
                    return Ok(false);
                }
            }
            let Some(header) = frame::header(Peer::Server, input)? else {
                return Ok(false);
            };
            let row = header.kind == b'D';
            if row && header.len > self.room.saturating_sub(self.rows.len()) {
                self.left_out = self.left_out.saturating_add(1);
                self.skip = header.len;
                continue;
            }
            if !row && header.len > LARGEST {
                return Err(garbled("a message of a sensible length", header.kind));
            }
            if input.len() < header.len {
                return Ok(false);
            }
            let whole = input.split_to(header.len);
            match header.kind {
                b'D' => self.rows.extend_from_slice(&whole),
                b'T' => self.head = Some(Arc::new(describe(&whole)?)),
                b'C' => self.tag = answer::complete(&whole)?.0,
                b'E' => {
                    let error = refusal::read("an ErrorResponse", frame::body(&whole))?;
                    self.failed.get_or_insert(error.code);
                }
                b'Z' => {
                    self.ready = Some(answer::ready(&whole)?);
                    return Ok(true);
                }
                // ParseComplete, BindComplete, CloseComplete, NoData, an empty query, parameters of a
                // statement, a suspended portal; notices, notifications and reports, of which nothing is kept.
                b'1' | b'2' | b'3' | b'n' | b'I' | b't' | b's' | b'N' | b'A' | b'S' => {}
                other => return Err(garbled("an answer to the agent's own question", other)),
            }
        }
    }
}

fn garbled(expected: &'static str, kind: u8) -> Garbled {
    Garbled {
        who: Peer::Server,
        expected,
        seen: format!("type {}", frame::printable(kind)),
    }
}

/// Gives the cells of each of whole DataRow frames to `row`; `None` is NULL.
///
/// # Errors
/// They are not.
pub fn cells(mut frames: &[u8], mut row: impl FnMut(&[Option<&[u8]>])) -> Result<(), Garbled> {
    while !frames.is_empty() {
        let header = frame::header(Peer::Server, frames)?;
        let whole = header.filter(|header| header.kind == b'D' && header.len <= frames.len());
        let Some((one, rest)) = whole.and_then(|header| frames.split_at_checked(header.len)) else {
            return Err(garbled("whole rows", frames.first().copied().unwrap_or(0)));
        };
        frames = rest;
        let what = "a row";
        let mut r = crate::wire::reader::Reader::new(Peer::Server, what, frame::body(one));
        let count = usize::from(r.u16()?);
        let mut cells = Vec::with_capacity(count.min(r.left() / 4));
        for _ in 0..count {
            cells.push(match usize::try_from(r.i32()?) {
                Ok(length) => Some(r.take(length)?),
                Err(_null) => None,
            });
        }
        r.end()?;
        row(&cells);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn row(texts: &[Option<&str>]) -> BytesMut {
        let mut out = BytesMut::new();
        frame::message(&mut out, b'D', |out| {
            out.put_u16(u16::try_from(texts.len()).unwrap());
            for text in texts {
                match text {
                    None => out.put_i32(-1),
                    Some(text) => {
                        out.put_u32(u32::try_from(text.len()).unwrap());
                        out.put_slice(text.as_bytes());
                    }
                }
            }
        });
        out
    }

    #[test]
    fn an_exchange_ends_with_the_state_of_the_transaction() {
        let error = b"E\0\0\0\x1aSERROR\0VERROR\0C23505\0\0";
        let whole = [
            &row(&[Some("1"), None])[..],
            b"C\0\0\0\x0dSELECT 1\0",
            error,
            b"Z\0\0\0\x05E",
        ]
        .concat();
        for chunk in 1..whole.len() {
            let mut exchange = Exchange::new(1 << 10);
            let mut input = BytesMut::new();
            let mut ready = false;
            for part in whole.chunks(chunk) {
                assert!(!ready);
                input.extend_from_slice(part);
                ready = exchange.hear(&mut input).unwrap();
            }
            assert!(ready);
            assert_eq!(exchange.ready, Some(Transaction::Failed));
            assert_eq!(exchange.failed.as_deref(), Some("23505"));
            assert_eq!(exchange.tag, "SELECT 1");
            let mut seen = Vec::new();
            cells(&exchange.rows, |cells| {
                seen.push(
                    cells
                        .iter()
                        .map(|cell| cell.map(<[u8]>::to_vec))
                        .collect::<Vec<_>>(),
                );
            })
            .unwrap();
            assert_eq!(seen, [vec![Some(b"1".to_vec()), None]]);
        }
    }

    #[test]
    fn rows_beyond_their_room_are_passed_over_without_being_held() {
        let long = "x".repeat(5000);
        let whole = [
            &row(&[Some(&long)])[..],
            &row(&[Some("a")]),
            b"Z\0\0\0\x05T",
        ]
        .concat();
        let mut exchange = Exchange::new(100);
        let mut input = BytesMut::new();
        let mut ready = false;
        for part in whole.chunks(64) {
            input.extend_from_slice(part);
            ready = exchange.hear(&mut input).unwrap();
            assert!(input.len() <= 64 + 16, "it is held: {}", input.len());
        }
        assert!(ready);
        assert_eq!(exchange.left_out, 1);
        assert_eq!(exchange.rows, row(&[Some("a")]));
    }

    #[test]
    fn what_nobody_asked_for_is_garbled() {
        for kind in [b'G', b'H', b'W', b'd', b'R', b'K', b'?'] {
            let mut input = BytesMut::new();
            frame::message(&mut input, kind, |_| {});
            assert!(Exchange::new(9).hear(&mut input).is_err(), "{kind}");
        }
        assert!(cells(b"D\0\0\0\x06\0\x01", |_| {}).is_err());
        assert!(cells(b"D\0\0\0\x07\0\0x", |_| {}).is_err());
        assert!(cells(b"C\0\0\0\x06\0\0", |_| {}).is_err());
        assert!(cells(b"D\0\0\0\x0a\0\x01\0\0\0\x09", |_| {}).is_err());
    }

    #[test]
    fn a_text_of_somebody_elses_goes_by_parse() {
        let params = Params {
            values: vec![(crate::model::Format::Text, Some(Bytes::from_static(b"7")))],
            types: Bytes::from_static(b"\0\0\0\x17"),
        };
        let mut up = BytesMut::new();
        run("delete from t where a = $1", Some(&params), &mut up);
        let mut kinds = Vec::new();
        while let Some(header) = frame::header(Peer::Client, &up).unwrap() {
            kinds.push(header.kind);
            up.advance(header.len);
        }
        assert_eq!(kinds, b"PBES");
    }
}
