//! Pure. The types that have more to offer than NULL, by their numbers on the wire.
//!
//! A domain comes as the type under it (`SendRowDescriptionMessage` in PostgreSQL's `printtup.c`
//! asks `getBaseTypeAndTypmod`). Enums, composites, ranges and what extensions bring have numbers of
//! their own in each database: nothing is known of them here.

use crate::model::Format;

/// OIDs of `pg_type.dat`, which never change.
pub(super) mod oid {
    pub(in crate::mask) const BYTEA: u32 = 17;
    pub(in crate::mask) const NAME: u32 = 19;
    pub(in crate::mask) const INT8: u32 = 20;
    pub(in crate::mask) const INT2: u32 = 21;
    pub(in crate::mask) const INT4: u32 = 23;
    pub(in crate::mask) const TEXT: u32 = 25;
    pub(in crate::mask) const JSON: u32 = 114;
    pub(in crate::mask) const XML: u32 = 142;
    pub(in crate::mask) const CIDR: u32 = 650;
    pub(in crate::mask) const FLOAT4: u32 = 700;
    pub(in crate::mask) const FLOAT8: u32 = 701;
    pub(in crate::mask) const MACADDR8: u32 = 774;
    pub(in crate::mask) const MACADDR: u32 = 829;
    pub(in crate::mask) const INET: u32 = 869;
    pub(in crate::mask) const BPCHAR: u32 = 1042;
    pub(in crate::mask) const VARCHAR: u32 = 1043;
    pub(in crate::mask) const DATE: u32 = 1082;
    pub(in crate::mask) const TIME: u32 = 1083;
    pub(in crate::mask) const TIMESTAMP: u32 = 1114;
    pub(in crate::mask) const TIMESTAMPTZ: u32 = 1184;
    pub(in crate::mask) const INTERVAL: u32 = 1186;
    pub(in crate::mask) const TIMETZ: u32 = 1266;
    pub(in crate::mask) const BIT: u32 = 1560;
    pub(in crate::mask) const VARBIT: u32 = 1562;
    pub(in crate::mask) const NUMERIC: u32 = 1700;
    pub(in crate::mask) const UUID: u32 = 2950;
    pub(in crate::mask) const JSONB: u32 = 3802;
}

/// Array types and what they hold.
const ARRAYS: &[(u32, u32)] = &[
    (199, oid::JSON),
    (143, oid::XML),
    (651, oid::CIDR),
    (775, oid::MACADDR8),
    (1001, oid::BYTEA),
    (1003, oid::NAME),
    (1005, oid::INT2),
    (1007, oid::INT4),
    (1009, oid::TEXT),
    (1014, oid::BPCHAR),
    (1015, oid::VARCHAR),
    (1016, oid::INT8),
    (1021, oid::FLOAT4),
    (1022, oid::FLOAT8),
    (1040, oid::MACADDR),
    (1041, oid::INET),
    (1115, oid::TIMESTAMP),
    (1182, oid::DATE),
    (1183, oid::TIME),
    (1185, oid::TIMESTAMPTZ),
    (1187, oid::INTERVAL),
    (1231, oid::NUMERIC),
    (1270, oid::TIMETZ),
    (1561, oid::BIT),
    (1563, oid::VARBIT),
    (2951, oid::UUID),
    (3807, oid::JSONB),
];

/// What an array type holds.
pub(super) fn element_of(type_id: u32) -> Option<u32> {
    let found = ARRAYS.iter().find(|(array, _)| *array == type_id);
    found.map(|(_, element)| *element)
}

/// Whether blanks at the end are padding, as in `char(n)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blanks {
    Count,
    Pad,
}

impl Blanks {
    pub(super) fn trim(self, value: &[u8]) -> &[u8] {
        match self {
            Blanks::Count => value,
            Blanks::Pad => value.trim_ascii_end(),
        }
    }
}

/// The width of an integer type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    Two,
    Four,
    Eight,
}

/// Addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Inet,
    Cidr,
    Mac,
    Mac8,
}

/// Points in time, which can be cut to a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Date,
    /// With or without time zone.
    Timestamp,
}

/// Times without a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    Time,
    TimeTz,
}

/// How a JSON document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Document {
    /// As its text.
    Json,
    /// Behind a byte with the version (`jsonb_send` in `jsonb.c`).
    Versioned,
    /// As its text, in a column of text: it need not be one.
    Text,
}

/// The types that have more to offer than NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Text(Blanks),
    Int(Width),
    Numeric,
    Uuid,
    Moment(Moment),
    Clock(Clock),
    Interval,
    Json(Document),
    Xml,
    Bytea,
    Bits,
    Address(Address),
    Other,
}

impl Type {
    pub(super) fn of(type_id: u32, format: Format) -> Type {
        match type_id {
            // Text has one form in both formats, and so has XML (`xml_send` in `xml.c`).
            oid::TEXT | oid::VARCHAR | oid::NAME => Type::Text(Blanks::Count),
            oid::BPCHAR => Type::Text(Blanks::Pad),
            oid::XML => Type::Xml,
            oid::INT2 => Type::Int(Width::Two),
            oid::INT4 => Type::Int(Width::Four),
            oid::INT8 => Type::Int(Width::Eight),
            oid::NUMERIC => Type::Numeric,
            oid::UUID => Type::Uuid,
            oid::DATE => Type::Moment(Moment::Date),
            oid::TIMESTAMP | oid::TIMESTAMPTZ => Type::Moment(Moment::Timestamp),
            oid::TIME => Type::Clock(Clock::Time),
            oid::TIMETZ => Type::Clock(Clock::TimeTz),
            oid::INTERVAL => Type::Interval,
            oid::JSON => Type::Json(Document::Json),
            oid::JSONB => Type::Json(match format {
                Format::Text => Document::Json,
                Format::Binary => Document::Versioned,
            }),
            oid::BYTEA => Type::Bytea,
            oid::BIT | oid::VARBIT => Type::Bits,
            oid::INET => Type::Address(Address::Inet),
            oid::CIDR => Type::Address(Address::Cidr),
            oid::MACADDR => Type::Address(Address::Mac),
            oid::MACADDR8 => Type::Address(Address::Mac8),
            // bool and "char" have too few values to hide one among, money is written as the
            // server's locale likes, and of all else nothing is known.
            _ => Type::Other,
        }
    }
}
