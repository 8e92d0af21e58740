//! The forms of types: text and binary of one value become one value, and whatever comes stays valid.

use bytes::{BufMut, BytesMut};
use proptest::prelude::*;

use super::cell::Op;
use super::tests::{key, masked, row};
use super::{MaskPlan, MaskedRows};
use crate::model::Format;
use crate::policy::{DateUnit, JsonMask, JsonPath, Masker, PartMasker};

const BYTEA: u32 = 17;
const XML: u32 = 142;
const CIDR: u32 = 650;
const FLOAT4: u32 = 700;
const FLOAT8: u32 = 701;
const MACADDR8: u32 = 774;
const MACADDR: u32 = 829;
const INET: u32 = 869;
const DATE: u32 = 1082;
const TIME: u32 = 1083;
const TIMESTAMP: u32 = 1114;
const INTERVAL: u32 = 1186;
const TIMETZ: u32 = 1266;
const VARBIT: u32 = 1562;
const NUMERIC: u32 = 1700;

/// Every type with a form of its own, every array of one, and some that are not known.
const EVERY: &[u32] = &[
    16, 17, 18, 19, 20, 21, 23, 25, 114, 142, 650, 700, 701, 774, 829, 869, 1042, 1043, 1082, 1083,
    1114, 1184, 1186, 1266, 1560, 1562, 1700, 2950, 3802, 143, 199, 651, 775, 1000, 1001, 1003,
    1005, 1007, 1009, 1014, 1015, 1016, 1021, 1022, 1040, 1041, 1115, 1182, 1183, 1185, 1187, 1231,
    1270, 1561, 1563, 2951, 3807, 2249, 3904, 16_400,
];

fn by_path() -> Masker {
    Masker::Json(JsonMask {
        paths: vec![JsonPath::new("$..a").unwrap()],
        with: PartMasker::Redact,
    })
}

fn every_masker() -> Vec<Masker> {
    vec![
        Masker::Redact,
        Masker::Null,
        Masker::KeepLast(4),
        Masker::KeepFirst(2),
        Masker::Hash,
        Masker::Token,
        Masker::DateTrunc(DateUnit::Year),
        Masker::DateTrunc(DateUnit::Month),
        Masker::DateTrunc(DateUnit::Day),
        by_path(),
    ]
}

fn text(masker: &Masker, type_id: u32, cell: &str) -> Option<String> {
    masked(masker, type_id, Format::Text, Some(cell.as_bytes()))
        .map(|out| String::from_utf8(out).unwrap())
}

fn binary(masker: &Masker, type_id: u32, cell: &[u8]) -> Option<Vec<u8>> {
    masked(masker, type_id, Format::Binary, Some(cell))
}

fn token(type_id: u32, cell: &str) -> Option<String> {
    text(&Masker::Token, type_id, cell)
}

/// The form of `numeric_send`.
fn numeric(negative: bool, whole: &str, fraction: &str) -> Vec<u8> {
    let mut digits = "0".repeat((4 - whole.len() % 4) % 4) + whole;
    let weight = i16::try_from(digits.len() / 4).unwrap() - 1;
    digits += fraction;
    digits += &"0".repeat((4 - fraction.len() % 4) % 4);
    let groups = digits.as_bytes().chunks(4);
    let groups: Vec<u16> = groups
        .map(|four| std::str::from_utf8(four).unwrap().parse().unwrap())
        .collect();
    let zeros = groups.iter().take_while(|group| **group == 0).count();
    let end = groups
        .iter()
        .rposition(|group| *group != 0)
        .map_or(zeros, |at| at + 1);
    let kept = &groups[zeros..end];
    let mut out = BytesMut::new();
    out.put_u16(u16::try_from(kept.len()).unwrap());
    out.put_i16(if kept.is_empty() {
        0
    } else {
        weight - i16::try_from(zeros).unwrap()
    });
    out.put_u16(if negative && !kept.is_empty() {
        0x4000
    } else {
        0
    });
    out.put_u16(u16::try_from(fraction.len()).unwrap());
    kept.iter().for_each(|group| out.put_u16(*group));
    out.to_vec()
}

/// The form of `network_send`.
fn network(address: std::net::IpAddr, bits: u8, is_cidr: bool) -> Vec<u8> {
    match address {
        std::net::IpAddr::V4(four) => {
            [&[2, bits, u8::from(is_cidr), 4][..], &four.octets()].concat()
        }
        std::net::IpAddr::V6(six) => {
            [&[3, bits, u8::from(is_cidr), 16][..], &six.octets()].concat()
        }
    }
}

/// `EncodeInterval` in style `postgres`.
fn words(months: i32, days: i32, micros: i64) -> String {
    let (mut text, mut before) = (String::new(), false);
    for (value, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if value != 0 {
            let space = if text.is_empty() { "" } else { " " };
            let sign = if before && value > 0 { "+" } else { "" };
            let plural = if value == 1 { "" } else { "s" };
            text += &format!("{space}{sign}{value} {unit}{plural}");
            before = value < 0;
        }
    }
    if text.is_empty() || micros != 0 {
        let space = if text.is_empty() { "" } else { " " };
        let sign = match (micros < 0, before) {
            (true, _) => "-",
            (false, true) => "+",
            (false, false) => "",
        };
        let all = micros.unsigned_abs();
        let (seconds, fraction) = (all / 1_000_000, all % 1_000_000);
        let clock = format!(
            "{:02}:{:02}:{:02}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        );
        let fraction = match fraction {
            0 => String::new(),
            some => format!(".{some:06}").trim_end_matches('0').to_owned(),
        };
        text += &format!("{space}{sign}{clock}{fraction}");
    }
    text
}

fn interval(months: i32, days: i32, micros: i64) -> Vec<u8> {
    let mut out = BytesMut::new();
    out.put_i64(micros);
    out.put_i32(days);
    out.put_i32(months);
    out.to_vec()
}

#[test]
fn a_number_stands_for_a_number_and_says_nothing_of_its_size() {
    let known: &[(&str, &[u8])] = &[
        ("0", &[0, 0, 0, 0, 0, 0, 0, 0]),
        ("1", &[0, 1, 0, 0, 0, 0, 0, 0, 0, 1]),
        (
            "-12345.678",
            &[0, 3, 0, 1, 0x40, 0, 0, 3, 0, 1, 0x09, 0x29, 0x1a, 0x7c],
        ),
        ("10000", &[0, 1, 0, 1, 0, 0, 0, 0, 0, 1]),
        ("0.0001", &[0, 1, 0xff, 0xff, 0, 0, 0, 4, 0, 1]),
        ("NaN", &[0, 0, 0, 0, 0xc0, 0, 0, 0]),
        ("Infinity", &[0, 0, 0, 0, 0xd0, 0, 0, 0]),
        ("-Infinity", &[0, 0, 0, 0, 0xf0, 0, 0, 0]),
    ];
    for (as_text, as_binary) in known {
        let stand_in = token(NUMERIC, as_text).unwrap();
        assert!(stand_in.parse::<u64>().unwrap() < 1_000_000_000_000_000);
        let want = numeric(false, &stand_in, "");
        assert_eq!(
            binary(&Masker::Token, NUMERIC, as_binary),
            Some(want),
            "{as_text}"
        );
    }
    assert_eq!(token(NUMERIC, "1.50"), token(NUMERIC, "01.5"));
    assert_ne!(token(NUMERIC, "1.5"), token(NUMERIC, "15"));
    assert_ne!(token(NUMERIC, "1"), token(NUMERIC, "10000"));
    assert_ne!(token(NUMERIC, "1"), token(NUMERIC, "-1"));
    for bad in ["", "-", ".", "1.2.3", "1e5", " 1", "nan", "1,5", "+1"] {
        assert_eq!(token(NUMERIC, bad), None, "{bad}");
    }
    for bad in [
        &[][..],
        &[0, 1, 0, 0, 0, 0, 0, 0],
        &[0, 1, 0, 0, 0, 0, 0, 0, 0x27, 0x10],
        &[0, 0, 0, 0, 0x12, 0, 0, 0],
        &[0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 2],
        &[0xff, 0xff, 0, 0, 0, 0, 0, 0],
    ] {
        assert_eq!(binary(&Masker::Token, NUMERIC, bad), None, "{bad:?}");
    }
    // How a float is written, the session chooses.
    for float in [FLOAT4, FLOAT8] {
        assert_eq!(token(float, "1.5"), None);
        assert_eq!(binary(&Masker::Token, float, &[0; 8]), None);
    }
}

#[test]
fn bytes_become_bytes_of_one_length() {
    let forms = [
        (&b"\\x"[..], &b""[..]),
        (b"\\x00ff5c", b"\0\xff\\"),
        (b"\\000\\377\\\\", b"\0\xff\\"),
        (b"abc", b"abc"),
        (b"\\x616263", b"abc"),
    ];
    for masker in [Masker::Hash, Masker::Token] {
        for (as_text, as_binary) in forms {
            let seen = masked(&masker, BYTEA, Format::Text, Some(as_text)).unwrap();
            let want = binary(&masker, BYTEA, as_binary).unwrap();
            assert_eq!(want.len(), 16);
            let hex: String = want.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(String::from_utf8(seen).unwrap(), format!("\\x{hex}"));
        }
        for bad in [&b"\\x0"[..], b"\\x0g", b"\\", b"\\9", b"a\\4000"] {
            assert_eq!(
                masked(&masker, BYTEA, Format::Text, Some(bad)),
                None,
                "{bad:?}"
            );
        }
    }
    assert_ne!(
        binary(&Masker::Hash, BYTEA, b"a"),
        binary(&Masker::Token, BYTEA, b"a")
    );
    // A hash of bytes is that of the text they are.
    let hash = text(&Masker::Hash, 25, "abc").unwrap();
    assert_eq!(
        text(&Masker::Hash, BYTEA, "\\x616263").unwrap(),
        format!("\\x{hash}")
    );
    assert_eq!(text(&Masker::Hash, XML, "abc").unwrap(), hash);
}

#[test]
fn an_address_becomes_one_that_belongs_to_nobody() {
    for (kind, as_text, address, bits) in [
        (INET, "192.168.7.9", "192.168.7.9", 32),
        (INET, "192.168.7.9/24", "192.168.7.9", 24),
        (CIDR, "192.168.0.0/16", "192.168.0.0", 16),
        (INET, "::1", "::1", 128),
        (INET, "::ffff:1.2.3.4/96", "::ffff:1.2.3.4", 96),
        (CIDR, "fe80::/10", "fe80::", 10),
    ] {
        let real: std::net::IpAddr = address.parse().unwrap();
        let seen = token(kind, as_text).unwrap();
        let (host, mask) = seen
            .split_once('/')
            .map_or((&*seen, None), |(a, b)| (a, Some(b)));
        let host: std::net::IpAddr = host.parse().unwrap();
        let width = if real.is_ipv4() { 32 } else { 128 };
        assert_eq!(mask, (kind == CIDR).then_some(&*width.to_string()));
        assert!(
            seen.starts_with(if real.is_ipv4() { "10." } else { "2001:db8:" }),
            "{seen}"
        );
        assert_eq!(
            binary(&Masker::Token, kind, &network(real, bits, kind == CIDR)),
            Some(network(host, width, kind == CIDR)),
            "{as_text}"
        );
    }
    assert_ne!(token(INET, "10.0.0.1"), token(INET, "10.0.0.1/24"));
    for bad in [
        "",
        "1.2.3",
        "1.2.3.4/33",
        "1.2.3.4/",
        "::1/129",
        "host",
        "fe80::1%eth0",
    ] {
        assert_eq!(token(INET, bad), None, "{bad}");
    }
    for bad in [
        &[2, 32, 0, 4, 1, 2, 3][..],
        &[2, 33, 0, 4, 1, 2, 3, 4],
        &[4, 32, 0, 4, 1, 2, 3, 4],
        &[3, 32, 0, 4, 1, 2, 3, 4],
    ] {
        assert_eq!(binary(&Masker::Token, INET, bad), None, "{bad:?}");
    }
    for (kind, as_text, bytes) in [
        (MACADDR, "08:00:2b:01:02:03", &[8, 0, 0x2b, 1, 2, 3][..]),
        (
            MACADDR8,
            "08:00:2b:01:02:03:04:05",
            &[8, 0, 0x2b, 1, 2, 3, 4, 5],
        ),
    ] {
        let out = binary(&Masker::Token, kind, bytes).unwrap();
        assert_eq!(out[0] & 0b11, 0b10, "locally administered, one station");
        let pairs: Vec<String> = out.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(token(kind, as_text), Some(pairs.join(":")));
        for bad in [
            "",
            "08:00",
            "08:00:2b:01:02:0x",
            "08-00-2b-01-02-03",
            "08:00:2b:01:02:03:04:05:06",
        ] {
            assert_eq!(token(kind, bad), None, "{bad}");
        }
        assert_eq!(binary(&Masker::Token, kind, &bytes[1..]), None);
    }
}

#[test]
fn bits_become_as_many_bits() {
    for as_text in [
        "",
        "0",
        "1",
        "0101",
        "11111111",
        "000000001",
        &"10".repeat(500),
    ] {
        let mut form = BytesMut::new();
        form.put_u32(u32::try_from(as_text.len()).unwrap());
        for eight in as_text.as_bytes().chunks(8) {
            form.put_u8(
                eight
                    .iter()
                    .enumerate()
                    .fold(0, |byte, (at, bit)| byte | (bit - b'0') << (7 - at)),
            );
        }
        let seen = token(VARBIT, as_text).unwrap();
        assert_eq!(seen.len(), as_text.len());
        let out = binary(&Masker::Token, VARBIT, &form).unwrap();
        let bits = out[4..]
            .iter()
            .flat_map(|byte| (0..8).map(move |at| byte >> (7 - at) & 1));
        let bits: Vec<u8> = bits.collect();
        assert_eq!(out[..4], form[..4]);
        assert!(bits[as_text.len()..].iter().all(|bit| *bit == 0));
        let bits: String = bits[..as_text.len()]
            .iter()
            .map(|bit| char::from(b'0' + bit))
            .collect();
        assert_eq!(bits, seen);
    }
    assert_eq!(token(VARBIT, "012"), None);
    for bad in [
        &[][..],
        &[0, 0, 0, 1],
        &[0, 0, 0, 1, 1],
        &[0, 0, 0, 1, 0, 0],
        &[0xff; 4],
    ] {
        assert_eq!(binary(&Masker::Token, VARBIT, bad), None, "{bad:?}");
    }
}

#[test]
fn times_and_intervals_are_cut() {
    use DateUnit::{Day, Month, Year};
    for (unit, cell, want) in [
        (Year, "1 year 2 mons 3 days 04:05:06.7", Some("1 year")),
        (
            Month,
            "1 year 2 mons 3 days 04:05:06.7",
            Some("1 year 2 mons"),
        ),
        (
            Day,
            "1 year 2 mons 3 days 04:05:06.7",
            Some("1 year 2 mons 3 days"),
        ),
        (
            Day,
            "-1 years -2 mons +3 days -04:05:06",
            Some("-1 years -2 mons +3 days"),
        ),
        (Year, "3 days", Some("00:00:00")),
        (Day, "-838:59:59", Some("00:00:00")),
        (Year, "P1Y2M3DT4H5M6.7S", Some("P1Y")),
        (Month, "P1Y2M3DT4H", Some("P1Y2M")),
        (Day, "P-3D", Some("P-3D")),
        (Day, "PT-4H5M", Some("PT0S")),
        (Year, "@ 1 year 2 mons", None),
        (Year, "1-2 3 4:05:06", None),
        (Year, "infinity", None),
        (Year, "1 year 1 year", None),
        (Year, "3 days 1 year", None),
        (Year, "", None),
        (Year, "P", None),
        (Year, "PT", None),
        (Year, "P1Ysecret", None),
        (Year, "P1YTsecret", None),
        (Year, "1 year secret", None),
        (Year, "1 year  2 mons", None),
        (Year, "1 year 04:05:06:secret", None),
    ] {
        assert_eq!(
            text(&Masker::DateTrunc(unit), INTERVAL, cell).as_deref(),
            want,
            "{unit:?} {cell}"
        );
    }
    let endless = [
        (i32::MAX, i32::MAX, i64::MAX),
        (i32::MIN, i32::MIN, i64::MIN),
    ];
    for (months, days, micros) in endless {
        let out = binary(
            &Masker::DateTrunc(Year),
            INTERVAL,
            &interval(months, days, micros),
        );
        assert_eq!(out, None);
    }
    for unit in [Year, Month, Day] {
        let masker = Masker::DateTrunc(unit);
        assert_eq!(
            text(&masker, TIME, "04:05:06.789").as_deref(),
            Some("00:00:00")
        );
        assert_eq!(text(&masker, TIME, "24:00:00").as_deref(), Some("00:00:00"));
        assert_eq!(
            text(&masker, TIMETZ, "04:05:06-07:30").as_deref(),
            Some("00:00:00+00")
        );
        assert_eq!(text(&masker, TIME, "soon"), None);
        assert_eq!(
            binary(&masker, TIME, &[0, 0, 0, 0, 1, 2, 3, 4]),
            Some(vec![0; 8])
        );
        assert_eq!(
            binary(&masker, TIMETZ, &[0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 9, 9]),
            Some(vec![0; 12])
        );
        assert_eq!(binary(&masker, TIME, &[0xff; 8]), None);
        assert_eq!(binary(&masker, TIME, &[0; 12]), None);
        assert_eq!(binary(&masker, TIMETZ, &[0; 8]), None);
    }
}

fn array_of(type_id: u32, dimensions: &[(i32, i32)], cells: &[Option<&[u8]>]) -> Vec<u8> {
    let mut out = BytesMut::new();
    out.put_i32(i32::try_from(dimensions.len()).unwrap());
    out.put_i32(i32::from(cells.iter().any(Option::is_none)));
    out.put_u32(type_id);
    for (length, first) in dimensions {
        out.put_i32(*length);
        out.put_i32(*first);
    }
    for cell in cells {
        match cell {
            None => out.put_i32(-1),
            Some(cell) => {
                out.put_i32(i32::try_from(cell.len()).unwrap());
                out.put_slice(cell);
            }
        }
    }
    out.to_vec()
}

#[test]
fn an_array_is_masked_element_by_element() {
    let keep = Masker::KeepLast(2);
    for (cell, want) in [
        ("{}", Some("{}")),
        ("{abcdef,NULL,x}", Some(r#"{"***ef",NULL,"***"}"#)),
        (
            r#"{"a,b}c\"d","NULL",""}"#,
            Some(r#"{"***\"d","***","***"}"#),
        ),
        (
            "{{abcdef,x},{NULL,\"a b c\\\\\"}}",
            Some(r#"{{"***ef","***"},{NULL,"***c\\"}}"#),
        ),
        ("[0:1]={abcdef,x}", Some(r#"[0:1]={"***ef","***"}"#)),
        (
            "[-1:0][2:2]={{a},{b}}",
            Some(r#"[-1:0][2:2]={{"***"},{"***"}}"#),
        ),
        ("", None),
        ("abcdef", None),
        ("{abcdef", None),
        ("{abcdef}}", None),
        ("{abcdef} ", None),
        ("{\"abcdef}", None),
        ("{a\"b\"}", None),
        ("{,}", None),
        ("{a,}", None),
        ("{{}}", None),
        ("{{a}b}", None),
        ("[secret]={a}", None),
        ("[0:1]", None),
        ("[0:1]=", None),
        ("{{{{{{{a}}}}}}}", None),
    ] {
        assert_eq!(text(&keep, 1009, cell).as_deref(), want, "{cell}");
    }
    let cells: &[Option<&[u8]>] = &[Some(b"abcdef"), None, Some(b"x")];
    let kept: &[Option<&[u8]>] = &[Some(b"***ef"), None, Some(b"***")];
    for dimensions in [&[(3, 1)][..], &[(3, -7)], &[(1, 1), (3, 2)]] {
        assert_eq!(
            binary(&keep, 1009, &array_of(25, dimensions, cells)),
            Some(array_of(25, dimensions, kept))
        );
    }
    assert_eq!(
        binary(&keep, 1009, &array_of(25, &[], &[])),
        Some(array_of(25, &[], &[]))
    );
    // What is not of its type becomes NULL, and the head says that there is one.
    let cells: &[Option<&[u8]>] = &[Some(b"\0\0\0\x01"), Some(b"bad")];
    let out = binary(&Masker::Token, 1007, &array_of(23, &[(2, 1)], cells)).unwrap();
    assert_eq!(out[4..8], [0, 0, 0, 1]);
    assert_eq!(out[out.len() - 4..], [0xff; 4]);
    let good = array_of(25, &[(2, 1)], &[Some(b"abcdef"), Some(b"x")]);
    let with = |at: usize, byte: u8| {
        let mut bad = good.clone();
        bad[at] = byte;
        bad
    };
    let longer = [&good[..], b"x"].concat();
    for bad in [
        with(3, 7),
        with(0, 0xff),
        with(7, 2),
        with(11, 23),
        with(15, 1),
        with(15, 3),
        with(12, 0xff),
        with(12, 0x7f),
        with(23, 200),
        with(20, 0x80),
        good[..good.len() - 1].to_vec(),
        good[..11].to_vec(),
        longer,
    ] {
        assert_eq!(binary(&keep, 1009, &bad), None, "{bad:?}");
    }
    // Where nothing is said of an element, nothing is said of the array.
    for masker in [
        Masker::Redact,
        Masker::Null,
        Masker::DateTrunc(DateUnit::Day),
    ] {
        assert_eq!(text(&masker, 1009, "{a,b}"), None);
    }
    assert_eq!(
        text(&by_path(), 3807, r#"{"{\"a\": 1, \"b\": 2}","[]",NULL}"#).as_deref(),
        Some(r#"{"{\"a\": \"***\", \"b\": 2}","[]",NULL}"#)
    );
}

#[test]
fn by_path_is_for_documents_and_nothing_else() {
    for (type_id, cell, want) in [
        (114, r#"{"a":1}"#, Some(r#"{"a":"***"}"#)),
        (3802, r#"{"a": 1}"#, Some(r#"{"a": "***"}"#)),
        (25, r#"{"a":1}"#, Some(r#"{"a":"***"}"#)),
        (1043, "secret", Some("***")),
        (114, "secret", Some("null")),
        (23, "7", None),
        (142, "<a/>", None),
        (17, "\\x61", None),
        (16_400, "{}", None),
    ] {
        assert_eq!(
            text(&by_path(), type_id, cell).as_deref(),
            want,
            "{type_id} {cell}"
        );
    }
    assert_eq!(
        binary(&by_path(), 3802, b"\x01{\"a\": 1}").as_deref(),
        Some(&b"\x01{\"a\": \"***\"}"[..])
    );
}

#[test]
fn null_stays_null_except_where_a_constant_stands_for_all() {
    for format in [Format::Text, Format::Binary] {
        for masker in every_masker() {
            for type_id in EVERY {
                let constant = masker == Masker::Redact
                    && matches!(type_id, 19 | 25 | 114 | 142 | 1042 | 1043 | 3802);
                let out = masked(&masker, *type_id, format, None);
                assert_eq!(out.is_some(), constant, "{masker:?} {type_id}");
            }
        }
    }
}

/// A whole part and a fraction, as `numeric_out` may write them.
fn decimal() -> impl Strategy<Value = (bool, String, String)> {
    (
        any::<bool>(),
        "(0|[1-9][0-9]{0,30}|10000000)",
        "([0-9]{0,12}|0000|00000001)",
    )
}

fn days() -> impl Strategy<Value = i32> {
    prop_oneof![
        -2_451_545..1_000_000_i32,
        -735_000..-725_000_i32, // about the birth of Christ
        2_145_000_000..2_145_031_000_i32,
    ]
}

/// As `EncodeDateOnly` writes a day since 2000-01-01 in style ISO.
fn iso(days: i32) -> String {
    // Count from the year 0 in steps of 400 years, then of single days: slow and plain.
    let mut left = i64::from(days) + 730_485; // since 0000-01-01
    let eras = left.div_euclid(146_097);
    left = left.rem_euclid(146_097);
    let mut year = 0;
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    while left >= 365 + i64::from(leap(year)) {
        left -= 365 + i64::from(leap(year));
        year += 1;
    }
    let lengths = [
        31,
        28 + i64::from(leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let mut month = 1;
    for length in lengths {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    let year = year + eras * 400;
    let day = left + 1;
    if year > 0 {
        format!("{year:04}-{month:02}-{day:02}")
    } else {
        format!("{:04}-{month:02}-{day:02} BC", 1 - year)
    }
}

fn units() -> impl Strategy<Value = DateUnit> {
    prop::sample::select(&[DateUnit::Year, DateUnit::Month, DateUnit::Day][..])
}

proptest! {
    #[test]
    fn a_number_has_one_stand_in_in_both_formats((negative, whole, fraction) in decimal()) {
        let sign = if negative { "-" } else { "" };
        let as_text = match fraction.as_str() {
            "" => format!("{sign}{whole}"),
            some => format!("{sign}{whole}.{some}"),
        };
        let as_binary = numeric(negative, &whole, &fraction);
        prop_assume!(!negative || as_binary.len() > 8); // there is no -0
        let stand_in = token(NUMERIC, &as_text).unwrap();
        prop_assert_eq!(
            binary(&Masker::Token, NUMERIC, &as_binary).unwrap(),
            numeric(false, &stand_in, "")
        );
    }

    #[test]
    fn bytes_have_one_stand_in_in_every_form(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut escaped = String::new();
        for byte in &bytes {
            match byte {
                b'\\' => escaped += "\\\\",
                b' '..=b'~' => escaped.push(char::from(*byte)),
                _ => escaped += &format!("\\{byte:03o}"),
            }
        }
        let seen = token(BYTEA, &format!("\\x{hex}"));
        prop_assert_eq!(&token(BYTEA, &escaped), &seen);
        let out = binary(&Masker::Token, BYTEA, &bytes).unwrap();
        let hex: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
        prop_assert_eq!(seen, Some(format!("\\x{hex}")));
    }

    #[test]
    fn an_interval_is_cut_alike_in_both_formats(
        months: i32, days: i32, micros in -1_000_000_000_000_000..1_000_000_000_000_000_i64, unit in units(),
    ) {
        let masker = Masker::DateTrunc(unit);
        let cut = binary(&masker, INTERVAL, &interval(months, days, micros)).unwrap();
        let months_of = i32::from_be_bytes(cut[12..].try_into().unwrap());
        let days_of = i32::from_be_bytes(cut[8..12].try_into().unwrap());
        prop_assert_eq!(&cut[..8], &[0; 8]);
        prop_assert_eq!(
            text(&masker, INTERVAL, &words(months, days, micros)),
            Some(words(months_of, days_of, 0))
        );
    }

    #[test]
    fn a_day_is_cut_alike_in_both_formats(days in days(), unit in units()) {
        let masker = Masker::DateTrunc(unit);
        let cut = binary(&masker, DATE, &days.to_be_bytes());
        let cut = cut.map(|out| iso(i32::from_be_bytes(out.try_into().unwrap())));
        prop_assert_eq!(text(&masker, DATE, &iso(days)), cut);
    }

    #[test]
    fn a_moment_is_cut_alike_in_both_formats(day in -2_451_545..100_000_000_i32, seconds in 0..86_400_i64, unit in units()) {
        let masker = Masker::DateTrunc(unit);
        let micros = i64::from(day) * 86_400_000_000 + seconds * 1_000_000;
        let cut = binary(&masker, TIMESTAMP, &micros.to_be_bytes()).map(|out| {
            let micros = i64::from_be_bytes(out.try_into().unwrap());
            assert_eq!(micros % 86_400_000_000, 0);
            iso(i32::try_from(micros / 86_400_000_000).unwrap())
        });
        let with_time = |date: String, time: &str| match date.strip_suffix(" BC") {
            Some(date) => format!("{date} {time} BC"),
            None => format!("{date} {time}"),
        };
        let clock = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        prop_assert_eq!(
            text(&masker, TIMESTAMP, &with_time(iso(day), &clock)),
            cut.map(|date| with_time(date, "00:00:00"))
        );
    }

    #[test]
    fn an_array_is_masked_alike_in_both_formats(
        cells in prop::collection::vec(prop::option::of("[a-zN \\\\\"{},]{0,9}"), 1..5),
    ) {
        let texts: Vec<String> = cells.iter().map(|cell| match cell {
            None => "NULL".to_owned(),
            Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        }).collect();
        let as_text = format!("{{{}}}", texts.join(","));
        let raw: Vec<Option<&[u8]>> = cells.iter().map(|cell| cell.as_deref().map(str::as_bytes)).collect();
        let dimension = [(i32::try_from(cells.len()).unwrap(), 1)];
        for masker in [Masker::Token, Masker::Hash, Masker::KeepFirst(2)] {
            let each: Vec<Option<String>> = cells.iter()
                .map(|cell| cell.as_deref().map(|cell| text(&masker, 25, cell).unwrap())).collect();
            let bytes: Vec<Option<&[u8]>> = each.iter().map(|cell| cell.as_deref().map(str::as_bytes)).collect();
            prop_assert_eq!(
                binary(&masker, 1009, &array_of(25, &dimension, &raw)).unwrap(),
                array_of(25, &dimension, &bytes)
            );
            let quoted: Vec<String> = each.iter().map(|cell| match cell {
                None => "NULL".to_owned(),
                Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
            }).collect();
            prop_assert_eq!(text(&masker, 1009, &as_text).unwrap(), format!("{{{}}}", quoted.join(",")));
        }
    }

    /// What comes out is of its type: masked again it is a value again.
    #[test]
    fn any_bytes_become_null_or_a_value_of_the_type(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            "[-0-9.:/{},\"a-f ]{0,24}".prop_map(String::into_bytes),
            (prop::sample::select(EVERY), 0..4_i32, prop::collection::vec(any::<u8>(), 0..24))
                .prop_map(|(of, length, rest)| [&array_of(of, &[(length, 1)], &[])[..], &rest].concat()),
        ],
    ) {
        for format in [Format::Text, Format::Binary] {
            for masker in every_masker() {
                for type_id in EVERY {
                    let Some(out) = masked(&masker, *type_id, format, Some(&bytes)) else { continue };
                    let again = masked(&masker, *type_id, format, Some(&out));
                    prop_assert!(again.is_some(), "{:?} {} {:?} {:?}", masker, type_id, format, out);
                    if matches!(type_id, 19 | 25 | 1042 | 1043 | 142 | 114) {
                        prop_assert!(std::str::from_utf8(&out).is_ok());
                    }
                }
            }
        }
    }

    #[test]
    fn a_redacted_cell_is_the_same_whatever_it_hides(
        one in prop::option::of(prop::collection::vec(any::<u8>(), 0..60)),
        other in prop::option::of(prop::collection::vec(any::<u8>(), 0..60)),
    ) {
        for format in [Format::Text, Format::Binary] {
            for type_id in EVERY {
                for masker in [Masker::Redact, Masker::Null] {
                    prop_assert_eq!(
                        masked(&masker, *type_id, format, one.as_deref()),
                        masked(&masker, *type_id, format, other.as_deref())
                    );
                }
            }
        }
    }

    /// Rows, and where the stream is cut between them.
    #[test]
    fn however_the_rows_are_cut_into_runs_the_same_comes_out(
        rows in prop::collection::vec((prop::option::of("\\PC{0,12}"), prop::option::of(any::<i32>())), 0..12),
        cuts in prop::collection::vec(any::<bool>(), 12),
    ) {
        let frames: Vec<Vec<u8>> = rows.iter().map(|(words, number)| {
            let number = number.map(i32::to_be_bytes);
            let cells = [words.as_deref().map(str::as_bytes), number.as_ref().map(|bytes| &bytes[..]),
                words.as_deref().map(str::as_bytes)];
            row(&cells)
        }).collect();
        let plan = MaskPlan::of_ops(vec![
            Op::of(&Masker::KeepLast(2), 25, Format::Text, &key()),
            Op::of(&Masker::Token, 23, Format::Binary, &key()),
            Op::of(&by_path(), 25, Format::Text, &key()),
        ]);
        let whole = MaskedRows::mask(&plan, &frames.concat()).unwrap();
        let (mut run, mut out) = (Vec::new(), Vec::new());
        for (frame, cut) in frames.iter().zip(&cuts) {
            run.extend_from_slice(frame);
            if *cut {
                out.extend_from_slice(MaskedRows::mask(&plan, &run).unwrap().bytes());
                run.clear();
            }
        }
        out.extend_from_slice(MaskedRows::mask(&plan, &run).unwrap().bytes());
        prop_assert_eq!(whole.bytes(), &out[..]);
    }
}
