//! Pure. What a database says after login, message by message, and the heads of results.

use std::sync::Arc;

use crate::model::{ColumnHead, ColumnOrigin, Format, ResultHead};
use crate::wire::reader::Reader;
use crate::wire::{Garbled, Peer, Transaction};

use super::command::Formats;
use super::frame;

/// The messages a database may send after login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    ParseComplete,
    BindComplete,
    CloseComplete,
    ParameterDescription,
    RowDescription,
    NoData,
    DataRow,
    CommandComplete,
    EmptyQuery,
    Suspended,
    Error,
    Notice,
    Notification,
    Parameter,
    CopyIn,
    CopyOut,
    CopyData,
    CopyDone,
    Ready,
}

impl Kind {
    /// By the type byte. CopyBoth (replication), FunctionCallResponse and the messages of the
    /// login have no place here: nothing that we let through asks for them.
    pub(super) fn of(byte: u8) -> Result<Self, Garbled> {
        Ok(match byte {
            b'1' => Kind::ParseComplete,
            b'2' => Kind::BindComplete,
            b'3' => Kind::CloseComplete,
            b't' => Kind::ParameterDescription,
            b'T' => Kind::RowDescription,
            b'n' => Kind::NoData,
            b'D' => Kind::DataRow,
            b'C' => Kind::CommandComplete,
            b'I' => Kind::EmptyQuery,
            b's' => Kind::Suspended,
            b'E' => Kind::Error,
            b'N' => Kind::Notice,
            b'A' => Kind::Notification,
            b'S' => Kind::Parameter,
            b'G' => Kind::CopyIn,
            b'H' => Kind::CopyOut,
            b'd' => Kind::CopyData,
            b'c' => Kind::CopyDone,
            b'Z' => Kind::Ready,
            other => {
                return Err(Garbled {
                    who: Peer::Server,
                    expected: "a message that a database may send after login",
                    seen: format!("type {}", frame::printable(other)),
                });
            }
        })
    }
}

fn reader<'a>(what: &'static str, frame: &'a [u8]) -> Reader<'a> {
    Reader::new(Peer::Server, what, frame::body(frame))
}

/// A body that must be empty.
pub(super) fn empty(what: &'static str, frame: &[u8]) -> Result<(), Garbled> {
    reader(what, frame).end()
}

/// ReadyForQuery.
pub(super) fn ready(frame: &[u8]) -> Result<Transaction, Garbled> {
    let mut r = reader("a ReadyForQuery", frame);
    let transaction = match r.u8()? {
        b'I' => Transaction::Idle,
        b'T' => Transaction::Open,
        b'E' => Transaction::Failed,
        _ => return Err(r.garbled("an unknown transaction status")),
    };
    r.end()?;
    Ok(transaction)
}

/// CommandComplete: the tag and the count that ends it, when one does.
pub(super) fn complete(frame: &[u8]) -> Result<(String, Option<u64>), Garbled> {
    let mut r = reader("a CommandComplete of one string", frame);
    let tag = r.utf8()?;
    r.end()?;
    let rows = tag
        .rsplit_once(' ')
        .and_then(|(_, count)| count.parse().ok());
    Ok((tag.to_owned(), rows))
}

/// ParameterStatus.
pub(super) fn parameter(frame: &[u8]) -> Result<(String, String), Garbled> {
    let mut r = reader("a ParameterStatus of two strings", frame);
    let name = r.utf8()?.to_owned();
    // The value is the database's: in SQL_ASCII it may be any bytes, and only its words matter.
    let value = String::from_utf8_lossy(r.text()?).into_owned();
    r.end()?;
    Ok((name, value))
}

/// NotificationResponse.
pub(super) fn notification(frame: &[u8]) -> Result<(), Garbled> {
    let mut r = reader("a NotificationResponse", frame);
    r.u32()?;
    r.text()?;
    r.text()?;
    r.end()
}

/// ParameterDescription.
pub(super) fn parameters(frame: &[u8]) -> Result<(), Garbled> {
    let mut r = reader("a ParameterDescription", frame);
    let count = r.u16()?;
    r.take(usize::from(count) * 4)?;
    r.end()
}

/// CopyInResponse and CopyOutResponse.
pub(super) fn copy(frame: &[u8]) -> Result<(), Garbled> {
    let mut r = reader("a copy response", frame);
    if r.u8()? > 1 {
        return Err(r.garbled("an unknown copy format"));
    }
    let columns = r.u16()?;
    r.take(usize::from(columns) * 2)?;
    r.end()
}

/// A head together with the bytes it was read from.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Described {
    raw: Box<[u8]>,
    pub(super) head: Arc<ResultHead>,
}

/// RowDescription.
pub(super) fn describe(frame: &[u8]) -> Result<ResultHead, Garbled> {
    let mut r = reader("a RowDescription", frame);
    let count = usize::from(r.u16()?);
    // Each column takes nineteen bytes at least: the claimed count cannot buy more than was sent.
    let mut columns = Vec::with_capacity(count.min(r.left() / 19));
    for _ in 0..count {
        // A name may be in the database's own encoding (SQL_ASCII); it proves nothing anyway.
        let name = String::from_utf8_lossy(r.text()?).into();
        let relation = r.u32()?;
        let number = r.i16()?;
        let type_id = r.u32()?;
        r.take(6)?;
        let format = match r.u16()? {
            0 => Format::Text,
            1 => Format::Binary,
            _ => return Err(r.garbled("an unknown format")),
        };
        let origin = match relation {
            0 => ColumnOrigin::Unknown,
            _ => ColumnOrigin::Attribute { relation, number },
        };
        columns.push(ColumnHead {
            name,
            origin,
            type_id,
            format,
        });
    }
    r.end()?;
    Ok(ResultHead { columns })
}

/// The heads seen lately, so that the same RowDescription is read once and not for every
/// execution. A small table without links: whatever falls on a taken place replaces it.
#[derive(Default)]
pub(super) struct HeadCache {
    places: Vec<Option<Arc<Described>>>,
}

impl HeadCache {
    const PLACES: usize = 32;
    /// Larger descriptions are not kept: memory per session stays below a few hundred KiB.
    const LARGEST: usize = 8 << 10;

    /// The head that a RowDescription frame gives.
    pub(super) fn read(&mut self, frame: &[u8]) -> Result<Arc<Described>, Garbled> {
        if frame.len() > Self::LARGEST {
            return Ok(Arc::new(Described {
                raw: Box::default(),
                head: Arc::new(describe(frame)?),
            }));
        }
        if self.places.is_empty() {
            self.places.resize(Self::PLACES, None);
        }
        let index = place(frame) % Self::PLACES;
        if let Some(Some(known)) = self.places.get(index)
            && *known.raw == *frame
        {
            return Ok(Arc::clone(known));
        }
        let described = Arc::new(Described {
            raw: frame.into(),
            head: Arc::new(describe(frame)?),
        });
        if let Some(free) = self.places.get_mut(index) {
            *free = Some(Arc::clone(&described));
        }
        Ok(described)
    }
}

/// Where a frame's head is kept. FNV over eight bytes at a time: only the database can choose the
/// bytes, and all that it could spoil is its own speed.
fn place(frame: &[u8]) -> usize {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let (chunks, rest) = frame.as_chunks::<8>();
    for chunk in chunks {
        hash = (hash ^ u64::from_le_bytes(*chunk)).wrapping_mul(0x0100_0000_01b3);
        hash ^= hash >> 29;
    }
    for byte in rest {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    usize::try_from((hash ^ (hash >> 32)) & 0xffff).unwrap_or(0)
}

/// A head as described for a statement, with the formats that the portal asked for.
pub(super) fn with_formats(head: &ResultHead, formats: &Formats) -> ResultHead {
    let columns = head.columns.iter().enumerate();
    let columns = columns.map(|(at, column)| ColumnHead {
        format: formats.of(at),
        ..column.clone()
    });
    ResultHead {
        columns: columns.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut out = bytes::BytesMut::new();
        frame::message(&mut out, kind, |out| out.extend_from_slice(body));
        out.to_vec()
    }

    const TWO: &[u8] = b"\0\x02id\0\0\0\x40\x01\0\x01\0\0\0\x17\0\x04\xff\xff\xff\xff\0\x01\
                         ?column?\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0";

    #[test]
    fn a_head_carries_the_origin_that_the_wire_proves() {
        let head = describe(&frame(b'T', TWO)).unwrap();
        assert_eq!(
            head.columns,
            [
                ColumnHead {
                    name: "id".into(),
                    origin: ColumnOrigin::Attribute {
                        relation: 16385,
                        number: 1
                    },
                    type_id: 23,
                    format: Format::Binary,
                },
                ColumnHead {
                    name: "?column?".into(),
                    origin: ColumnOrigin::Unknown,
                    type_id: 25,
                    format: Format::Text,
                },
            ]
        );
    }

    #[test]
    fn a_head_is_consumed_exactly() {
        for cut in 0..TWO.len() {
            assert!(describe(&frame(b'T', &TWO[..cut])).is_err(), "{cut}");
        }
        assert!(describe(&frame(b'T', &[TWO, b"\0"].concat())).is_err());
        assert!(describe(&frame(b'T', b"\xff\xff")).is_err());
    }

    #[test]
    fn the_same_head_is_read_once() {
        let mut cache = HeadCache::default();
        let bytes = frame(b'T', TWO);
        let first = cache.read(&bytes).unwrap();
        assert!(Arc::ptr_eq(&first, &cache.read(&bytes).unwrap()));
        let other = frame(b'T', b"\0\0");
        assert!(cache.read(&other).unwrap().head.columns.is_empty());
    }

    #[test]
    fn tags_end_with_their_count() {
        for (tag, rows) in [
            ("INSERT 0 5", Some(5)),
            ("SELECT 3", Some(3)),
            ("COPY 18446744073709551615", Some(u64::MAX)),
            ("BEGIN", None),
            ("CREATE TABLE", None),
            ("", None),
        ] {
            let bytes = frame(b'C', &[tag.as_bytes(), b"\0"].concat());
            assert_eq!(complete(&bytes).unwrap(), (tag.to_owned(), rows));
        }
        assert!(complete(&frame(b'C', b"SELECT 1")).is_err());
        assert!(complete(&frame(b'C', b"SELECT 1\0\0")).is_err());
    }

    #[test]
    fn ready_knows_three_states_and_no_other() {
        assert_eq!(ready(&frame(b'Z', b"E")).unwrap(), Transaction::Failed);
        assert!(ready(&frame(b'Z', b"X")).is_err());
        assert!(ready(&frame(b'Z', b"")).is_err());
        assert!(ready(&frame(b'Z', b"II")).is_err());
    }

    #[test]
    fn the_other_bodies_are_consumed_exactly() {
        assert!(copy(&frame(b'G', b"\0\0\x02\0\0\0\0")).is_ok());
        assert!(copy(&frame(b'G', b"\0\0\x02\0\0\0")).is_err());
        assert!(copy(&frame(b'G', b"\x02\0\0")).is_err());
        assert!(parameters(&frame(b't', b"\0\x01\0\0\0\x17")).is_ok());
        assert!(parameters(&frame(b't', b"\0\x02\0\0\0\x17")).is_err());
        assert!(notification(&frame(b'A', b"\0\0\0\x01c\0p\0")).is_ok());
        assert!(notification(&frame(b'A', b"\0\0\0\x01c\0p")).is_err());
        assert!(parameter(&frame(b'S', b"TimeZone\0UTC\0")).is_ok());
        assert!(parameter(&frame(b'S', b"TimeZone\0UTC\0x")).is_err());
        assert!(empty("x", &frame(b'1', b"")).is_ok());
        assert!(empty("x", &frame(b'1', b"!")).is_err());
    }

    #[test]
    fn nothing_of_a_login_or_of_replication_has_a_kind() {
        for byte in 0..=255_u8 {
            assert_eq!(
                Kind::of(byte).is_ok(),
                b"123tTnDCIsENASGHdcZ".contains(&byte),
                "{byte}"
            );
        }
    }
}
