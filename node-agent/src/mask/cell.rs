//! Pure. One cell in, one masked cell out; knows types and formats, not rows.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use super::array::{self, Elements};
use super::bytea;
use super::date;
use super::json::{self, Paths};
use super::key::MaskKey;
use super::net_address;
use super::numeric;
use super::span;
use super::token;
use super::types::{Address, Blanks, Clock, Document, Moment, Type, Width, element_of};
use crate::model::Format;
use crate::policy::{DateUnit, JsonMask, Masker};

/// What stands for a redacted text. Short, so that it fits almost any declared length.
pub(super) const REDACTED: &[u8] = b"***";

/// What is done to the cells of one column, settled once per result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// Left alone.
    Pass,
    /// NULL, whatever it was.
    Null,
    /// This, whatever it was.
    Constant(&'static [u8]),
    /// `***` and the last characters.
    KeepLast { kept: usize, blanks: Blanks },
    /// The first characters and `***`.
    KeepFirst { kept: usize, blanks: Blanks },
    /// Hex.
    Hash { key: MaskKey, blanks: Blanks },
    /// Sixteen bytes.
    HashBytea { key: MaskKey, format: Format },
    /// Something of the same type.
    Token {
        key: MaskKey,
        of: Tokened,
        format: Format,
    },
    /// Cut.
    Date {
        kind: Moment,
        unit: DateUnit,
        format: Format,
    },
    /// Cut.
    Interval { unit: DateUnit, format: Format },
    /// Cut to nothing.
    Midnight { kind: Clock, format: Format },
    /// Values within a document.
    Json {
        paths: Arc<Paths>,
        document: Document,
    },
    /// Each element by itself.
    Array(Arc<Elements>),
}

/// What has a stand-in of its own type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tokened {
    /// Digits for digits, letters for letters.
    Text(Blanks),
    /// A number of the same width.
    Int(Width),
    /// A whole number of a fixed range.
    Numeric,
    /// A version 8 UUID.
    Uuid,
    /// Sixteen bytes.
    Bytea,
    /// As many bits.
    Bits,
    /// An address that belongs to nobody.
    Address(Address),
}

/// What a masked cell became.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// NULL: nothing was written.
    Null,
    /// What was written.
    Value,
}

impl Op {
    /// What a masker does to cells of this type and format.
    pub(super) fn of(masker: &Masker, type_id: u32, format: Format, key: &MaskKey) -> Op {
        match masker {
            Masker::Json(mask) => Op::by_paths(&[mask], type_id, format, key),
            Masker::Redact
            | Masker::Null
            | Masker::KeepLast(_)
            | Masker::KeepFirst(_)
            | Masker::Hash
            | Masker::Token
            | Masker::DateTrunc(_) => match element_of(type_id) {
                Some(element) => {
                    let op = Op::of_one(masker, Type::of(element, format), format, key);
                    Op::each(op, element, format)
                }
                None => Op::of_one(masker, Type::of(type_id, format), format, key),
            },
        }
    }

    /// What several masks by path do together.
    pub(super) fn by_paths(masks: &[&JsonMask], type_id: u32, format: Format, key: &MaskKey) -> Op {
        let element = element_of(type_id);
        let document = match Type::of(element.unwrap_or(type_id), format) {
            Type::Json(document) => document,
            Type::Text(_) => Document::Text,
            // Whatever it holds, it is no document that a path could lead into.
            Type::Int(_)
            | Type::Numeric
            | Type::Uuid
            | Type::Moment(_)
            | Type::Clock(_)
            | Type::Interval
            | Type::Xml
            | Type::Bytea
            | Type::Bits
            | Type::Address(_)
            | Type::Other => return Op::Null,
        };
        let op = match Paths::new(masks, key) {
            Some(paths) => Op::Json {
                paths: Arc::new(paths),
                document,
            },
            // More paths than can be followed: nothing of the document is shown.
            None => Op::Constant(json::redacted(document)),
        };
        match element {
            Some(element) => Op::each(op, element, format),
            None => op,
        }
    }

    /// Each element by itself. Where nothing is said of any, the array says nothing either, not even
    /// how many there are.
    fn each(op: Op, element: u32, format: Format) -> Op {
        match op {
            Op::Null | Op::Constant(_) => Op::Null,
            Op::Pass
            | Op::KeepLast { .. }
            | Op::KeepFirst { .. }
            | Op::Hash { .. }
            | Op::HashBytea { .. }
            | Op::Token { .. }
            | Op::Date { .. }
            | Op::Interval { .. }
            | Op::Midnight { .. }
            | Op::Json { .. }
            | Op::Array(_) => Op::Array(Arc::new(Elements {
                op,
                type_id: element,
                format,
            })),
        }
    }

    fn of_one(masker: &Masker, of: Type, format: Format, key: &MaskKey) -> Op {
        let kept = |kept: &u32| usize::try_from(*kept).unwrap_or(usize::MAX);
        // What a type is not named for below, it has nothing valid to offer to.
        match masker {
            Masker::Null | Masker::Json(_) => Op::Null,
            Masker::Redact => match of {
                Type::Text(_) | Type::Xml => Op::Constant(REDACTED),
                Type::Json(document) => Op::Constant(json::redacted(document)),
                // No number, date or address says "not shown": every one would be taken for real.
                _ => Op::Null,
            },
            Masker::KeepLast(n) => match of {
                Type::Text(blanks) => Op::KeepLast {
                    kept: kept(n),
                    blanks,
                },
                _ => Op::Null,
            },
            Masker::KeepFirst(n) => match of {
                Type::Text(blanks) => Op::KeepFirst {
                    kept: kept(n),
                    blanks,
                },
                _ => Op::Null,
            },
            Masker::Hash => {
                let key = key.clone();
                match of {
                    Type::Text(blanks) => Op::Hash { key, blanks },
                    Type::Xml => Op::Hash {
                        key,
                        blanks: Blanks::Count,
                    },
                    Type::Bytea => Op::HashBytea { key, format },
                    _ => Op::Null,
                }
            }
            Masker::Token => {
                let of = match of {
                    Type::Text(blanks) => Tokened::Text(blanks),
                    Type::Int(width) => Tokened::Int(width),
                    Type::Numeric => Tokened::Numeric,
                    Type::Uuid => Tokened::Uuid,
                    Type::Bytea => Tokened::Bytea,
                    Type::Bits => Tokened::Bits,
                    Type::Address(address) => Tokened::Address(address),
                    _ => return Op::Null,
                };
                Op::Token {
                    key: key.clone(),
                    of,
                    format,
                }
            }
            Masker::DateTrunc(unit) => match of {
                Type::Moment(kind) => Op::Date {
                    kind,
                    unit: *unit,
                    format,
                },
                Type::Clock(kind) => Op::Midnight { kind, format },
                Type::Interval => Op::Interval {
                    unit: *unit,
                    format,
                },
                _ => Op::Null,
            },
        }
    }

    /// Appends the masked form of a cell (`None`: NULL) to `out`. A cell that is not what its type
    /// says becomes NULL.
    pub(super) fn mask(&self, cell: Option<&[u8]>, out: &mut BytesMut) -> Written {
        let value = match (self, cell) {
            (Op::Null, _) => return Written::Null,
            (Op::Constant(constant), _) => {
                out.put_slice(constant);
                return Written::Value;
            }
            (_, None) => return Written::Null,
            (_, Some(value)) => value,
        };
        match self {
            Op::Null | Op::Constant(_) => Written::Null,
            Op::Pass => {
                out.put_slice(value);
                Written::Value
            }
            Op::KeepLast { kept, blanks } => {
                out.put_slice(REDACTED);
                out.put_slice(last(blanks.trim(value), *kept));
                Written::Value
            }
            Op::KeepFirst { kept, blanks } => {
                out.put_slice(first(blanks.trim(value), *kept));
                out.put_slice(REDACTED);
                Written::Value
            }
            Op::Hash { key, blanks } => {
                let hex = key.hash(blanks.trim(value)).to_hex();
                out.put_slice(hex.as_bytes().get(..32).unwrap_or_default());
                Written::Value
            }
            Op::HashBytea { key, format } => bytea::hash(key, *format, value, out),
            Op::Token { key, of, format } => of.token(key, *format, value, out),
            Op::Date { kind, unit, format } => date::cut(*kind, *unit, *format, value, out),
            Op::Interval { unit, format } => span::cut(*unit, *format, value, out),
            Op::Midnight { kind, format } => span::midnight(*kind, *format, value, out),
            Op::Json { paths, document } => json::mask(paths, *document, value, out),
            Op::Array(elements) => array::mask(elements, value, out),
        }
    }
}

impl Tokened {
    fn token(self, key: &MaskKey, format: Format, value: &[u8], out: &mut BytesMut) -> Written {
        match self {
            Tokened::Text(blanks) => token::text(key, blanks.trim(value), out),
            Tokened::Int(width) => token::int(key, width, format, value, out),
            Tokened::Numeric => numeric::token(key, format, value, out),
            Tokened::Uuid => token::uuid(key, format, value, out),
            Tokened::Bytea => bytea::token(key, format, value, out),
            Tokened::Bits => bytea::bits(key, format, value, out),
            Tokened::Address(address) => net_address::token(key, address, format, value, out),
        }
    }
}

/// The last `kept` characters of a text that has more than twice as many; else nothing, because
/// too little of it would be hidden. Nothing either when it is not UTF-8: then nobody knows where
/// its characters begin.
pub(super) fn last(value: &[u8], kept: usize) -> &[u8] {
    let Some(text) = longer_than_twice(value, kept) else {
        return b"";
    };
    let start = text
        .char_indices()
        .rev()
        .nth(kept.wrapping_sub(1))
        .map(|(at, _)| at);
    start
        .and_then(|start| value.get(start..))
        .unwrap_or_default()
}

/// The first `kept` characters, likewise.
pub(super) fn first(value: &[u8], kept: usize) -> &[u8] {
    let Some(text) = longer_than_twice(value, kept) else {
        return b"";
    };
    let end = text.char_indices().nth(kept).map(|(at, _)| at);
    end.and_then(|end| value.get(..end)).unwrap_or_default()
}

fn longer_than_twice(value: &[u8], kept: usize) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?;
    let twice = kept.checked_mul(2).filter(|twice| *twice > 0)?;
    // `nth(twice)` exists exactly when there are more than `twice` characters.
    text.chars().nth(twice).map(|_| text)
}
