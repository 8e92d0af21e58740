//! Cell by cell, by type and format; then whole rows; then where columns come from.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

use super::cell::{Op, Written};
use super::{Attribute, Made, MaskKey, MaskPlan, MaskedRows, Relations, Undecodable, apply};
use crate::model::{ColumnHead, ColumnOrigin, Format, ResultHead, Secret};
use crate::policy::{
    ColumnPattern, DateUnit, JsonMask, JsonPath, MaskRule, Masker, Obligations, PartMasker, RuleRef,
};
use crate::sql::Lineage;

const TEXT: u32 = 25;
const BPCHAR: u32 = 1042;
const VARCHAR: u32 = 1043;
const INT2: u32 = 21;
const INT4: u32 = 23;
const INT8: u32 = 20;
const UUID: u32 = 2950;
const DATE: u32 = 1082;
const TIMESTAMP: u32 = 1114;
const TIMESTAMPTZ: u32 = 1184;
const JSON: u32 = 114;
const JSONB: u32 = 3802;
/// Types that have only NULL to offer: bool, "char", oid, money, point, int4range, arrays of bool and
/// oid, record, tsvector, a reference to a cursor, and one of an extension.
const OTHERS: [u32; 12] = [
    16, 18, 26, 790, 600, 3904, 1000, 1028, 2249, 3614, 1790, 16_400,
];

pub(super) fn key() -> MaskKey {
    MaskKey::new(&Secret::new([1; 32]))
}

pub(super) fn masked(
    masker: &Masker,
    type_id: u32,
    format: Format,
    cell: Option<&[u8]>,
) -> Option<Vec<u8>> {
    let mut out = BytesMut::new();
    match Op::of(masker, type_id, format, &key()).mask(cell, &mut out) {
        Written::Null => None,
        Written::Value => Some(out.to_vec()),
    }
}

fn text(masker: &Masker, type_id: u32, cell: &str) -> Option<String> {
    masked(masker, type_id, Format::Text, Some(cell.as_bytes()))
        .map(|out| String::from_utf8(out).unwrap())
}

const ALL: [Masker; 8] = [
    Masker::Redact,
    Masker::Null,
    Masker::KeepLast(4),
    Masker::KeepFirst(2),
    Masker::Hash,
    Masker::Token,
    Masker::DateTrunc(DateUnit::Year),
    Masker::DateTrunc(DateUnit::Day),
];

#[test]
fn text_is_masked_alike_in_both_formats() {
    for type_id in [TEXT, VARCHAR, 19, BPCHAR] {
        for (masker, cell, want) in [
            (Masker::Redact, "123-45-6789", Some("***")),
            (Masker::Redact, "", Some("***")),
            (Masker::Null, "123-45-6789", None),
            (Masker::KeepLast(4), "123-45-6789", Some("***6789")),
            (Masker::KeepLast(4), "12345678", Some("***")),
            (Masker::KeepLast(4), "123456789", Some("***6789")),
            (Masker::KeepLast(0), "123456789", Some("***")),
            (Masker::KeepLast(u32::MAX), "123456789", Some("***")),
            (Masker::KeepLast(2), "añößé", Some("***ßé")),
            (Masker::KeepFirst(2), "añößé", Some("añ***")),
            (Masker::KeepFirst(2), "añöß", Some("***")),
            (Masker::DateTrunc(DateUnit::Year), "2020-05-06", None),
        ] {
            for format in [Format::Text, Format::Binary] {
                let out = masked(&masker, type_id, format, Some(cell.as_bytes()));
                assert_eq!(
                    out.as_deref(),
                    want.map(str::as_bytes),
                    "{type_id} {masker:?} {cell}"
                );
            }
        }
    }
    // Bytes of another encoding have no characters to count.
    for masker in [Masker::KeepLast(2), Masker::KeepFirst(2)] {
        let out = masked(
            &masker,
            TEXT,
            Format::Text,
            Some(b"\xff\xfe\xfd\xfc\xfb\xfa"),
        );
        assert_eq!(out.as_deref(), Some(&b"***"[..]));
    }
    assert_eq!(
        masked(&Masker::Token, TEXT, Format::Text, Some(b"\xff")),
        None
    );
    // The blanks of char(n) are no characters.
    assert_eq!(
        text(&Masker::KeepLast(2), BPCHAR, "secret    "),
        Some("***et".to_owned())
    );
    assert_eq!(
        text(&Masker::Hash, BPCHAR, "secret    "),
        text(&Masker::Hash, VARCHAR, "secret"),
    );
}

#[test]
fn a_hash_is_keyed_and_of_one_length() {
    let hash = |cell: &str| text(&Masker::Hash, TEXT, cell).unwrap();
    for cell in ["", "a", "123-45-6789", &"x".repeat(10_000)] {
        let out = hash(cell);
        assert_eq!(out.len(), 32);
        assert!(out.bytes().all(|b| b.is_ascii_hexdigit()));
    }
    assert_eq!(hash("a"), hash("a"));
    assert_ne!(hash("a"), hash("b"));
    let other = MaskKey::new(&Secret::new([2; 32]));
    let mut out = BytesMut::new();
    Op::of(&Masker::Hash, TEXT, Format::Text, &other).mask(Some(b"a"), &mut out);
    assert_ne!(out, hash("a").as_bytes());
    assert_ne!(hash("a"), blake3::hash(b"a").to_hex()[..32]);
}

#[test]
fn a_token_keeps_the_shape_and_the_type() {
    let token = |type_id, cell: &str| text(&Masker::Token, type_id, cell).unwrap();
    let out = token(TEXT, "Ab-12 é/Z");
    let shape: String = out
        .chars()
        .map(|c| match c {
            'a'..='z' => 'a',
            'A'..='Z' => 'A',
            '0'..='9' => '0',
            other => other,
        })
        .collect();
    assert_eq!(shape, "Aa-00 a/A");
    assert_eq!(token(TEXT, "123-45-6789"), token(VARCHAR, "123-45-6789"));
    assert_ne!(token(TEXT, "123-45-6789"), "123-45-6789");
    assert_eq!(token(TEXT, &"9".repeat(1000)).len(), 1000);

    // Numbers: text and binary agree, within the width, never negative.
    for number in [0, 1, -1, 42, i16::MAX, i16::MIN] {
        let cell = number.to_string();
        let two: i16 = token(INT2, &cell).parse().unwrap();
        let four: i32 = token(INT4, &cell).parse().unwrap();
        let eight: i64 = token(INT8, &cell).parse().unwrap();
        assert!(two >= 0 && four >= 0 && eight >= 0);
        let binary = |type_id, cell: &[u8]| {
            masked(&Masker::Token, type_id, Format::Binary, Some(cell)).unwrap()
        };
        assert_eq!(binary(INT2, &number.to_be_bytes()), two.to_be_bytes());
        assert_eq!(
            binary(INT4, &i32::from(number).to_be_bytes()),
            four.to_be_bytes()
        );
        assert_eq!(
            binary(INT8, &i64::from(number).to_be_bytes()),
            eight.to_be_bytes()
        );
    }
    for (type_id, format, bad) in [
        (INT4, Format::Text, &b"12x"[..]),
        (INT4, Format::Binary, b"123"),
        (INT2, Format::Binary, b"1234"),
        (UUID, Format::Binary, b"short"),
        (UUID, Format::Text, b"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1"),
        (UUID, Format::Text, b"a0eebc99x9c0b-4ef8-bb6d-6bb9bd380a11"),
        (UUID, Format::Text, b"g0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ] {
        assert_eq!(
            masked(&Masker::Token, type_id, format, Some(bad)),
            None,
            "{bad:?}"
        );
    }

    let real = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    let out = token(UUID, real);
    let groups: Vec<usize> = out.split('-').map(str::len).collect();
    assert_eq!(groups, [8, 4, 4, 4, 12]);
    assert_eq!(out.as_bytes()[14], b'8', "version 8: {out}");
    assert!(
        b"89ab".contains(&out.as_bytes()[19]),
        "RFC 9562's variant: {out}"
    );
    let bytes = u128::from_str_radix(&real.replace('-', ""), 16)
        .unwrap()
        .to_be_bytes();
    let binary = masked(&Masker::Token, UUID, Format::Binary, Some(&bytes)).unwrap();
    let as_text = u128::from_str_radix(&out.replace('-', ""), 16)
        .unwrap()
        .to_be_bytes();
    assert_eq!(binary, as_text);
}

#[test]
fn dates_are_cut_in_text_and_in_binary() {
    use DateUnit::{Day, Month, Year};
    let cut = |unit, type_id, cell: &str| text(&Masker::DateTrunc(unit), type_id, cell);
    for (unit, type_id, cell, want) in [
        (Year, DATE, "2020-05-06", Some("2020-01-01")),
        (Month, DATE, "2020-05-06", Some("2020-05-01")),
        (Day, DATE, "2020-05-06", Some("2020-05-06")),
        (Year, DATE, "12020-05-06", Some("12020-01-01")),
        (Year, DATE, "0044-03-15 BC", Some("0044-01-01 BC")),
        (Month, DATE, "4714-12-15 BC", Some("4714-12-01 BC")),
        (Month, DATE, "4714-11-24 BC", None),
        (Day, DATE, "4714-11-24 BC", Some("4714-11-24 BC")),
        (Year, DATE, "5874897-12-31", Some("5874897-01-01")),
        (Year, DATE, "infinity", None),
        (Year, DATE, "05/06/2020", None),
        (Year, DATE, "06.05.2020", None),
        (Year, DATE, "2020-05", None),
        (Year, DATE, "2020-05-06-07", None),
        (Year, DATE, "2020-5-6", None),
        (
            Year,
            TIMESTAMP,
            "2020-05-06 07:08:09.123",
            Some("2020-01-01 00:00:00"),
        ),
        (
            Month,
            TIMESTAMP,
            "2020-05-06 07:08:09",
            Some("2020-05-01 00:00:00"),
        ),
        (
            Day,
            TIMESTAMP,
            "2020-05-06 07:08:09",
            Some("2020-05-06 00:00:00"),
        ),
        (
            Day,
            TIMESTAMPTZ,
            "2020-05-06 07:08:09.1+02",
            Some("2020-05-06 00:00:00+00"),
        ),
        (
            Day,
            TIMESTAMPTZ,
            "2020-05-06 07:08:09-03:30",
            Some("2020-05-06 00:00:00+00"),
        ),
        (
            Day,
            TIMESTAMPTZ,
            "1880-05-06 07:08:09-03:30:52",
            Some("1880-05-06 00:00:00+00"),
        ),
        (
            Day,
            TIMESTAMPTZ,
            "0044-05-06 07:08:09+00 BC",
            Some("0044-05-06 00:00:00+00 BC"),
        ),
        (Day, TIMESTAMP, "2020-05-06T07:08:09", None),
        (Day, TIMESTAMP, "2020-05-06 07:08:09Z", None),
        (Day, TIMESTAMP, "2020-05-06", None),
        (Day, TIMESTAMP, "Wed May 06 07:08:09 2020", None),
        (Day, TIMESTAMPTZ, "2020-05-06 07:08:09 CEST", None),
        (Day, TIMESTAMP, "-infinity", None),
    ] {
        assert_eq!(cut(unit, type_id, cell).as_deref(), want, "{unit:?} {cell}");
    }

    // Days since 2000-01-01: 2020-05-06 is 7431, 2020-01-01 is 7305, 2020-05-01 is 7426.
    let days = |unit, days: i32| {
        masked(
            &Masker::DateTrunc(unit),
            DATE,
            Format::Binary,
            Some(&days.to_be_bytes()),
        )
        .map(|out| i32::from_be_bytes(out.try_into().unwrap()))
    };
    assert_eq!(days(Year, 7431), Some(7305));
    assert_eq!(days(Month, 7431), Some(7426));
    assert_eq!(days(Day, 7431), Some(7431));
    assert_eq!(days(Year, -1), Some(-365), "1999-12-31");
    assert_eq!(days(Year, i32::MAX), None);
    assert_eq!(days(Year, i32::MIN), None);
    assert_eq!(
        days(Month, -2_451_545),
        None,
        "before the first date of the type"
    );
    let micros = |unit, type_id, micros: i64| {
        masked(
            &Masker::DateTrunc(unit),
            type_id,
            Format::Binary,
            Some(&micros.to_be_bytes()),
        )
        .map(|out| i64::from_be_bytes(out.try_into().unwrap()))
    };
    let day = 86_400_000_000;
    for type_id in [TIMESTAMP, TIMESTAMPTZ] {
        assert_eq!(micros(Year, type_id, 7431 * day + 5), Some(7305 * day));
        assert_eq!(micros(Day, type_id, -1), Some(-day));
        assert_eq!(micros(Day, type_id, i64::MAX), None);
        assert_eq!(micros(Day, type_id, i64::MIN), None);
    }
    let short = masked(&Masker::DateTrunc(Year), DATE, Format::Binary, Some(b"abc"));
    assert_eq!(short, None);
}

#[test]
fn json_is_redacted_to_its_own_null() {
    for (type_id, format, want) in [
        (JSON, Format::Text, &b"null"[..]),
        (JSON, Format::Binary, b"null"),
        (JSONB, Format::Text, b"null"),
        (JSONB, Format::Binary, b"\x01null"),
    ] {
        assert_eq!(
            masked(&Masker::Redact, type_id, format, Some(b"{}")).as_deref(),
            Some(want)
        );
        for masker in &ALL[1..] {
            assert_eq!(masked(masker, type_id, format, Some(b"{}")), None);
        }
    }
}

#[test]
fn where_a_masker_has_nothing_valid_to_offer_it_gives_null() {
    for format in [Format::Text, Format::Binary] {
        for masker in &ALL {
            for type_id in OTHERS {
                assert_eq!(
                    masked(masker, type_id, format, Some(b"1")),
                    None,
                    "{type_id}"
                );
            }
        }
        for type_id in [INT2, INT4, INT8, UUID, DATE, TIMESTAMP, TIMESTAMPTZ] {
            for masker in [
                Masker::Redact,
                Masker::Hash,
                Masker::KeepLast(1),
                Masker::KeepFirst(1),
            ] {
                assert_eq!(
                    masked(&masker, type_id, format, Some(b"1234")),
                    None,
                    "{type_id}"
                );
            }
        }
    }
}

#[test]
fn null_stays_null_except_where_it_would_be_told_apart_from_a_redacted_value() {
    for format in [Format::Text, Format::Binary] {
        for masker in &ALL {
            for type_id in [TEXT, BPCHAR, INT4, UUID, DATE, TIMESTAMP, JSONB, OTHERS[0]] {
                let constant =
                    *masker == Masker::Redact && matches!(type_id, TEXT | BPCHAR | JSONB);
                assert_eq!(masked(masker, type_id, format, None).is_some(), constant);
            }
        }
    }
}

pub(super) fn row(cells: &[Option<&[u8]>]) -> Vec<u8> {
    let mut body = BytesMut::new();
    body.put_u16(u16::try_from(cells.len()).unwrap());
    for cell in cells {
        match cell {
            None => body.put_i32(-1),
            Some(cell) => {
                body.put_i32(i32::try_from(cell.len()).unwrap());
                body.put_slice(cell);
            }
        }
    }
    let mut frame = BytesMut::new();
    frame.put_u8(b'D');
    frame.put_i32(i32::try_from(body.len() + 4).unwrap());
    frame.put_slice(&body);
    frame.to_vec()
}

fn ops(maskers: &[Option<Masker>]) -> MaskPlan {
    let op = |masker: &Option<Masker>| {
        masker
            .as_ref()
            .map_or(Op::Pass, |m| Op::of(m, TEXT, Format::Text, &key()))
    };
    MaskPlan::of_ops(maskers.iter().map(op).collect())
}

#[test]
fn rows_are_rewritten_cell_by_cell() {
    let plan = ops(&[
        None,
        Some(Masker::KeepLast(4)),
        None,
        Some(Masker::Null),
        None,
    ]);
    let run = [
        row(&[
            Some(b"1"),
            Some(b"123-45-6789"),
            None,
            Some(b"x"),
            Some(b""),
        ]),
        row(&[None, None, Some(b"yy"), None, Some(b"z")]),
    ]
    .concat();
    let want = [
        row(&[Some(b"1"), Some(b"***6789"), None, None, Some(b"")]),
        row(&[None, None, Some(b"yy"), None, Some(b"z")]),
    ]
    .concat();
    let rows = MaskedRows::mask(&plan, &run).unwrap();
    assert_eq!(rows.bytes(), &want[..]);
    let mut out = BytesMut::from(&b"before"[..]);
    apply(&plan, &run, &mut out).unwrap();
    assert_eq!(out, [b"before", &want[..]].concat());
    // First and last column, one column, no column.
    for (maskers, before, after) in [
        (
            vec![Some(Masker::Redact), None, Some(Masker::Redact)],
            row(&[Some(b"a"), Some(b"b"), Some(b"c")]),
            row(&[Some(b"***"), Some(b"b"), Some(b"***")]),
        ),
        (
            vec![Some(Masker::Redact)],
            row(&[None]),
            row(&[Some(b"***")]),
        ),
        (vec![], row(&[]), row(&[])),
    ] {
        assert_eq!(
            MaskedRows::mask(&ops(&maskers), &before).unwrap().bytes(),
            &after[..]
        );
    }
    assert!(MaskedRows::mask(&plan, b"").unwrap().bytes().is_empty());
}

#[test]
fn rows_that_do_not_fit_are_not_passed_on_at_all() {
    let plan = ops(&[Some(Masker::Redact), None]);
    let good = row(&[Some(b"secret"), Some(b"b")]);
    let with = |at: usize, byte: u8| {
        let mut bad = good.clone();
        bad[at] = byte;
        bad
    };
    let mut longer = good.clone();
    longer.push(0);
    longer[4] += 1;
    for (bad, why) in [
        (row(&[Some(b"secret")]), "it has another number of columns"),
        (
            row(&[Some(b"a"), Some(b"b"), Some(b"c")]),
            "it has another number of columns",
        ),
        (with(0, b'd'), "it is no row"),
        (with(4, 200), "it is cut off"),
        (with(1, 0xff), "it is cut off"),
        (with(4, 3), "it is too short"),
        (with(10, 200), "a cell is cut off"),
        (with(7, 0x80), "a cell's length"),
        (with(10, 5), "a cell is cut off"),
        (good[..good.len() - 1].to_vec(), "it is cut off"),
        (good[..3].to_vec(), "it is cut off"),
        (longer, "it has bytes behind its last cell"),
    ] {
        let run = [&good[..], &bad[..]].concat();
        let mut out = BytesMut::from(&b"before"[..]);
        assert_eq!(
            apply(&plan, &run, &mut out),
            Err(Undecodable(why)),
            "{bad:?}"
        );
        assert_eq!(out, &b"before"[..], "nothing of the run is kept");
        assert!(MaskedRows::mask(&plan, &run).is_err());
    }
}

#[test]
fn only_a_plan_that_masks_nothing_passes_rows_on_as_they_are() {
    let run = Bytes::from(row(&[Some(b"a")]));
    let passed = MaskedRows::pass(&MaskPlan::passing(), run.clone()).unwrap();
    assert_eq!(passed.bytes(), &run);
    assert!(MaskedRows::pass(&ops(&[None]), run.clone()).is_some());
    assert!(MaskedRows::pass(&ops(&[Some(Masker::Token)]), run).is_none());
}

#[test]
fn any_bytes_as_rows_are_masked_or_refused_without_a_panic() {
    bolero::check!().for_each(|bytes: &[u8]| super::fuzz_mask_rows(bytes));
}

proptest! {
    #[test]
    fn a_redacted_row_says_nothing_of_its_values(
        one in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..40)), 8),
        other in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..40)), 8),
    ) {
        let types = [TEXT, BPCHAR, INT4, UUID, DATE, JSONB, OTHERS[3], OTHERS[11]];
        for format in [Format::Text, Format::Binary] {
            let redact = |t: &u32| Op::of(&Masker::Redact, *t, format, &key());
            let plan = MaskPlan::of_ops(types.iter().map(redact).collect());
            let masked = |cells: &[Option<Vec<u8>>]| {
                let cells: Vec<_> = cells.iter().map(Option::as_deref).collect();
                MaskedRows::mask(&plan, &row(&cells)).unwrap()
            };
            let (one, other) = (masked(&one), masked(&other));
            prop_assert_eq!(one.bytes(), other.bytes());
        }
    }

    #[test]
    fn what_passes_is_untouched_and_what_is_masked_is_valid_text(
        cells in prop::collection::vec(prop::option::of(".{0,30}"), 1..10),
        choice in prop::collection::vec(0_usize..8, 10),
    ) {
        let maskers: Vec<Option<Masker>> = choice
            .iter()
            .take(cells.len())
            .map(|&c| if c == 0 { None } else { Some(ALL[c - 1].clone()) })
            .collect();
        let raw: Vec<Option<&[u8]>> = cells.iter().map(|c| c.as_deref().map(str::as_bytes)).collect();
        let rows = MaskedRows::mask(&ops(&maskers), &row(&raw)).unwrap();
        let mut rest = &rows.bytes()[7..];
        for (cell, masker) in raw.iter().zip(&maskers) {
            let length = i32::from_be_bytes(rest[..4].try_into().unwrap());
            let value = usize::try_from(length).ok().map(|n| &rest[4..4 + n]);
            rest = &rest[4 + value.map_or(0, <[u8]>::len)..];
            match masker {
                None => prop_assert_eq!(value, *cell),
                Some(masker) => {
                    let want = masked(masker, TEXT, Format::Text, *cell);
                    prop_assert_eq!(value, want.as_deref());
                    prop_assert!(value.is_none_or(|v| std::str::from_utf8(v).is_ok()));
                }
            }
        }
        prop_assert!(rest.is_empty());
    }
}

/// sales.customers (1) with id, ssn; sales.notes (2) with note; the view sales.v (3) over
/// customers; the view sales.w (4) over notes; sales.customers_2026 (5), a partition of customers;
/// sales.f (6), a view over a function.
struct Sales;

impl Relations for Sales {
    fn attribute(&self, relation: u32, number: i16) -> Option<Attribute<'_>> {
        let (table, column, stored) = match (relation, number) {
            (1, 1) => ("customers", "id", true),
            (1, 2) => ("customers", "ssn", true),
            (2, 1) => ("notes", "note", true),
            (3, 1) => ("v", "s", false),
            (4, 1) => ("w", "n", false),
            (5, 2) => ("customers_2026", "ssn", true),
            (6, 1) => ("f", "x", false),
            _ => return None,
        };
        Some(Attribute {
            schema: "sales",
            table,
            column,
            stored,
        })
    }

    fn opaque(&self, relation: u32) -> bool {
        relation == 6
    }

    fn ancestors(&self, relation: u32) -> Vec<(&str, &str)> {
        match relation {
            3 | 5 => vec![("sales", "customers")],
            4 => vec![("sales", "notes")],
            _ => Vec::new(),
        }
    }

    fn made(&self, relation: u32, _column: &str) -> Made {
        match relation {
            1 | 2 | 5 => Made::Stored,
            _ => Made::Unknown,
        }
    }
}

/// The plan by what the wire says alone.
fn plan(
    head: &ResultHead,
    obligations: &Obligations,
    relations: &dyn Relations,
    key: &MaskKey,
) -> MaskPlan {
    super::plan(head, obligations, &Lineage::unknown(), relations, key)
}

fn mask(name: &str, pattern: [&str; 3], with: Masker) -> MaskRule {
    let [schema, table, column] = pattern.map(str::to_owned);
    MaskRule {
        rule: RuleRef {
            policy: Arc::from("p"),
            rule: Arc::from(name),
        },
        columns: vec![ColumnPattern {
            schema,
            table,
            column,
        }],
        tags: Vec::new(),
        with,
    }
}

fn head(origins: &[ColumnOrigin]) -> ResultHead {
    let column = |origin: &ColumnOrigin| ColumnHead {
        name: Arc::from("ssn"),
        origin: *origin,
        type_id: TEXT,
        format: Format::Text,
    };
    ResultHead {
        columns: origins.iter().map(column).collect(),
    }
}

fn at(relation: u32, number: i16) -> ColumnOrigin {
    ColumnOrigin::Attribute { relation, number }
}

#[test]
fn a_column_is_masked_by_its_origin_and_never_by_its_name() {
    let ssn = mask("ssn", ["sales", "customers", "ssn"], Masker::KeepLast(4));
    // (origin, statement touches a masked relation) → who masks it.
    for (origin, touches, want) in [
        (at(1, 2), true, Some("ssn")),
        (at(1, 2), false, Some("ssn")),
        (at(1, 1), true, None),
        (at(2, 1), true, None),
        (at(5, 2), true, Some("ssn")),
        (ColumnOrigin::Unknown, true, Some("unknown-origin")),
        (ColumnOrigin::Unknown, false, None),
        (at(0, 0), true, Some("unknown-origin")),
        (at(0, 7), false, None),
        (at(1, 0), true, Some("whole-row")),
        (at(2, 0), false, Some("whole-row")),
        (at(1, -1), true, None),
        (at(3, 1), true, Some("computed-relation")),
        (at(3, 1), false, Some("computed-relation")),
        (at(4, 1), false, None),
        (at(4, 1), true, Some("computed-relation")),
        (at(6, 1), false, Some("computed-relation")),
        (at(6, 1), true, Some("computed-relation")),
        (at(9, 1), false, Some("unknown-relation")),
        (at(1, 9), true, Some("unknown-relation")),
    ] {
        let obligations = Obligations {
            masks: vec![ssn.clone()],
            touches_masked: touches,
            ..Obligations::default()
        };
        let made = plan(&head(&[origin]), &obligations, &Sales, &key());
        let who: Vec<_> = made.applied();
        let want: Vec<_> = want
            .map(|rule| {
                let policy = if rule == "ssn" { "p" } else { "node-agent" };
                (
                    0,
                    RuleRef {
                        policy: Arc::from(policy),
                        rule: Arc::from(rule),
                    },
                )
            })
            .into_iter()
            .collect();
        assert_eq!(who, want, "{origin:?} {touches}");
        assert_eq!(made.passes(), want.is_empty());
        assert_eq!(
            made.met_unknown(),
            want.iter().any(|w| &*w.1.rule == "unknown-relation")
        );
    }
    // No mask in force: nothing is looked up, nothing masked.
    let all = [at(1, 2), at(9, 9), at(1, 0), ColumnOrigin::Unknown];
    assert!(plan(&head(&all), &Obligations::default(), &Sales, &key()).passes());
    // The analyser could not tell: fails closed even without a mask by name.
    let unsure = Obligations {
        touches_masked: true,
        ..Obligations::default()
    };
    assert!(!plan(&head(&[ColumnOrigin::Unknown]), &unsure, &Sales, &key()).passes());
}

/// An object id means another table on another server, or after a change: what the text does not
/// name cannot be where the values come from.
#[test]
fn an_origin_that_the_text_does_not_name_is_not_believed() {
    let sources = |text: &str| {
        let mut asker = crate::policy::cases::Asker::default();
        let schemas = vec!["sales".to_owned()];
        asker.names.insert("customers".to_owned(), schemas);
        let customers = vec!["sales.customers_2026".to_owned()];
        asker
            .reaches
            .insert("sales.customers".to_owned(), customers);
        let question = asker.question(text).unwrap();
        let policy = crate::policy::parse(
            "apiVersion: node-agent/v1\n\
             kind: Policy\n\
             metadata: { name: p }\n\
             mode: enforce\n\
             subjects: [ { groups: [ai-agents] } ]\n\
             targets: [ '*' ]\n\
             rules: [ { name: all, effect: allow, statements: [read], tables: ['*.*'] } ]\n\
             masks: [ { name: ssn, columns: [sales.customers.ssn], with: { keep_last: 4 } } ]\n",
            "p.yaml",
        );
        let policy = crate::policy::PolicySet::compile(policy.unwrap()).unwrap();
        match crate::policy::decide(&policy, &question) {
            crate::policy::Decision::Allow(allow) => allow.obligations,
            other => panic!("{text}: {other:?}"),
        }
    };
    for (text, origin, want) in [
        ("select ssn from sales.customers", at(1, 2), Some("ssn")),
        ("select ssn from customers", at(1, 2), Some("ssn")),
        ("select ssn from sales.customers", at(5, 2), Some("ssn")),
        ("select id from sales.customers", at(1, 1), None),
        (
            "select ssn from sales.customers",
            at(2, 1),
            Some("unnamed-relation"),
        ),
        (
            "select ssn from customers",
            at(2, 1),
            Some("unnamed-relation"),
        ),
        ("select * from sales.customers, sales.notes", at(2, 1), None),
        ("select * from sales.customers, notes", at(2, 1), None),
        (
            "select * from sales.customers, app.notes",
            at(2, 1),
            Some("unnamed-relation"),
        ),
        // Where nothing masked is touched, nothing hangs on it.
        ("select note from sales.orders", at(2, 1), None),
    ] {
        let made = plan(&head(&[origin]), &sources(text), &Sales, &key());
        let rule = made
            .applied()
            .first()
            .map(|(_, rule)| rule.rule.to_string());
        assert_eq!(rule.as_deref(), want, "{text} {origin:?}");
        // A newer catalogue may know better.
        assert_eq!(
            made.met_unknown(),
            want == Some("unnamed-relation"),
            "{text}"
        );
    }
}

#[test]
fn of_several_masks_the_one_that_shows_least_counts() {
    let any = ["*", "*", "ssn"];
    let keep = mask("keep", any, Masker::KeepLast(4));
    let keep2 = mask("keep2", any, Masker::KeepFirst(2));
    let hash = mask("hash", ["sales", "cust*", "*"], Masker::Hash);
    let null = mask("null", any, Masker::Null);
    for (masks, want) in [
        (vec![keep.clone(), keep2.clone()], "keep2"),
        (vec![keep.clone(), hash.clone()], "hash"),
        (vec![null.clone(), hash.clone(), keep.clone()], "null"),
        (vec![keep.clone()], "keep"),
    ] {
        let obligations = Obligations {
            masks,
            touches_masked: true,
            ..Obligations::default()
        };
        let made = plan(&head(&[at(2, 1), at(1, 2)]), &obligations, &Sales, &key());
        let applied = made.applied();
        assert_eq!(applied.len(), 1);
        assert_eq!((applied[0].0, &*applied[0].1.rule), (1, want));
    }
}

#[test]
fn masks_by_path_on_one_column_all_count() {
    let by_path = |name: &str, path: &str| {
        let json = JsonMask {
            paths: vec![JsonPath::new(path).unwrap()],
            with: PartMasker::Redact,
        };
        mask(name, ["sales", "customers", "ssn"], Masker::Json(json))
    };
    let any = ["*", "*", "ssn"];
    let (one, two) = (by_path("one", "$.a"), by_path("two", "$.b"));
    let document = r#"{"a":1,"b":2,"c":"345"}"#;
    for (masks, who, want) in [
        (
            vec![one.clone(), two.clone()],
            "one",
            Some(r#"{"a":"***","b":"***","c":"345"}"#),
        ),
        (
            vec![two.clone()],
            "two",
            Some(r#"{"a":1,"b":"***","c":"345"}"#),
        ),
        (
            vec![one.clone(), mask("null", any, Masker::Null)],
            "null",
            None,
        ),
        // What one keeps of the text may be what the other hides in the document.
        (
            vec![one.clone(), mask("keep", any, Masker::KeepLast(4))],
            "keep",
            Some("***"),
        ),
        (
            vec![one, mask("keep", any, Masker::Token)],
            "keep",
            Some("***"),
        ),
    ] {
        let obligations = Obligations {
            masks,
            touches_masked: false,
            ..Obligations::default()
        };
        let made = plan(&head(&[at(1, 2)]), &obligations, &Sales, &key());
        assert_eq!(&*made.applied()[0].1.rule, who);
        let rows = MaskedRows::mask(&made, &row(&[Some(document.as_bytes())])).unwrap();
        assert_eq!(rows.bytes(), &row(&[want.map(str::as_bytes)])[..], "{who}");
    }
}

#[test]
fn a_plan_does_not_print_its_key() {
    let ssn = mask("ssn", ["*", "*", "*"], Masker::Hash);
    let obligations = Obligations {
        masks: vec![ssn],
        touches_masked: true,
        ..Obligations::default()
    };
    let made = plan(&head(&[at(1, 2)]), &obligations, &Sales, &key());
    assert!(format!("{made:?}").contains("MaskKey(…)"));
}
