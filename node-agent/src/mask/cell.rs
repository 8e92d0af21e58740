//! Pure. One cell in, one masked cell out; knows types and formats, not rows.

use bytes::{BufMut, BytesMut};

use super::date::{self, Kind};
use super::key::MaskKey;
use super::token;
use crate::model::Format;
use crate::policy::{DateUnit, Masker};

/// What stands for a redacted text. Short, so that it fits almost any declared length.
const REDACTED: &[u8] = b"***";

/// OIDs of `pg_type.dat`, which never change.
mod oid {
    pub(super) const NAME: u32 = 19;
    pub(super) const INT8: u32 = 20;
    pub(super) const INT2: u32 = 21;
    pub(super) const INT4: u32 = 23;
    pub(super) const TEXT: u32 = 25;
    pub(super) const JSON: u32 = 114;
    pub(super) const BPCHAR: u32 = 1042;
    pub(super) const VARCHAR: u32 = 1043;
    pub(super) const DATE: u32 = 1082;
    pub(super) const TIMESTAMP: u32 = 1114;
    pub(super) const TIMESTAMPTZ: u32 = 1184;
    pub(super) const UUID: u32 = 2950;
    pub(super) const JSONB: u32 = 3802;
}

/// The width of an integer type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    Two,
    Four,
    Eight,
}

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
    /// Digits for digits, letters for letters.
    TokenText { key: MaskKey, blanks: Blanks },
    /// A number of the same width.
    TokenInt {
        key: MaskKey,
        width: Width,
        format: Format,
    },
    /// A version 8 UUID.
    TokenUuid { key: MaskKey, format: Format },
    /// Cut.
    Date {
        kind: Kind,
        unit: DateUnit,
        format: Format,
    },
}

/// Whether blanks at the end are padding, as in `char(n)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blanks {
    Count,
    Pad,
}

/// What a masked cell became.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// NULL: nothing was written.
    Null,
    /// What was written.
    Value,
}

/// The types that have more to offer than NULL.
enum Type {
    Text(Blanks),
    Int(Width),
    Uuid,
    Date(Kind),
    Json(&'static [u8]),
    Other,
}

impl Type {
    fn of(type_id: u32, format: Format) -> Type {
        match (type_id, format) {
            // Text has one form in both formats.
            (oid::TEXT | oid::VARCHAR | oid::NAME, _) => Type::Text(Blanks::Count),
            (oid::BPCHAR, _) => Type::Text(Blanks::Pad),
            (oid::INT2, _) => Type::Int(Width::Two),
            (oid::INT4, _) => Type::Int(Width::Four),
            (oid::INT8, _) => Type::Int(Width::Eight),
            (oid::UUID, _) => Type::Uuid,
            (oid::DATE, _) => Type::Date(Kind::Date),
            (oid::TIMESTAMP | oid::TIMESTAMPTZ, _) => Type::Date(Kind::Timestamp),
            (oid::JSON, _) | (oid::JSONB, Format::Text) => Type::Json(b"null"),
            // Version 1 of the binary form, then text (jsonb_recv).
            (oid::JSONB, Format::Binary) => Type::Json(b"\x01null"),
            _ => Type::Other,
        }
    }
}

impl Op {
    /// What a masker does to cells of this type and format.
    pub(super) fn of(masker: &Masker, type_id: u32, format: Format, key: &MaskKey) -> Op {
        let kept = |kept: &u32| usize::try_from(*kept).unwrap_or(usize::MAX);
        match (masker, Type::of(type_id, format)) {
            (Masker::Null, _) | (_, Type::Other) => Op::Null,
            (Masker::Redact, Type::Text(_)) => Op::Constant(REDACTED),
            (Masker::Redact, Type::Json(null)) => Op::Constant(null),
            // No number or date says "not shown": every one would be taken for real.
            (Masker::Redact, Type::Int(_) | Type::Uuid | Type::Date(_)) => Op::Null,
            (Masker::KeepLast(n), Type::Text(blanks)) => Op::KeepLast {
                kept: kept(n),
                blanks,
            },
            (Masker::KeepFirst(n), Type::Text(blanks)) => Op::KeepFirst {
                kept: kept(n),
                blanks,
            },
            (Masker::Hash, Type::Text(blanks)) => Op::Hash {
                key: key.clone(),
                blanks,
            },
            (Masker::Token, Type::Text(blanks)) => Op::TokenText {
                key: key.clone(),
                blanks,
            },
            (Masker::Token, Type::Int(width)) => Op::TokenInt {
                key: key.clone(),
                width,
                format,
            },
            (Masker::Token, Type::Uuid) => Op::TokenUuid {
                key: key.clone(),
                format,
            },
            (Masker::DateTrunc(unit), Type::Date(kind)) => Op::Date {
                kind,
                unit: *unit,
                format,
            },
            (Masker::Token, Type::Date(_) | Type::Json(_))
            | (
                Masker::KeepLast(_) | Masker::KeepFirst(_) | Masker::Hash,
                Type::Int(_) | Type::Uuid | Type::Date(_) | Type::Json(_),
            )
            | (Masker::DateTrunc(_), Type::Text(_) | Type::Int(_) | Type::Uuid | Type::Json(_)) => {
                Op::Null
            }
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
            Op::TokenText { key, blanks } => token::text(key, blanks.trim(value), out),
            Op::TokenInt { key, width, format } => token::int(key, *width, *format, value, out),
            Op::TokenUuid { key, format } => token::uuid(key, *format, value, out),
            Op::Date { kind, unit, format } => date::cut(*kind, *unit, *format, value, out),
        }
    }
}

impl Blanks {
    fn trim(self, value: &[u8]) -> &[u8] {
        match self {
            Blanks::Count => value,
            Blanks::Pad => value.trim_ascii_end(),
        }
    }
}

/// The last `kept` characters of a text that has more than twice as many; else nothing, because
/// too little of it would be hidden. Nothing either when it is not UTF-8: then nobody knows where
/// its characters begin.
fn last(value: &[u8], kept: usize) -> &[u8] {
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
fn first(value: &[u8], kept: usize) -> &[u8] {
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
