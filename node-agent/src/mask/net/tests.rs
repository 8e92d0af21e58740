//! What each detector finds and what it leaves, then what becomes of cells.

use std::fmt::Write as _;

use bytes::{BufMut, BytesMut};
use proptest::prelude::*;

use super::scan::{Spans, Within, scan};
use super::{Desk, Finds, Look, Seen, detected};
use crate::mask::MaskKey;
use crate::mask::cell::Written;
use crate::model::{Format, Secret};
use crate::policy::{ContentMasker, ContentMode, ContentRule, Detector, RuleRef};

const TEXT: u32 = 25;
const JSON: u32 = 114;
const JSONB: u32 = 3802;
const TEXTS: u32 = 1009;
const JSONS: u32 = 199;
const ROW: u32 = 2249;
const OWN: u32 = 16_400;

fn rule(detect: &[Detector], with: ContentMasker) -> ContentRule {
    ContentRule {
        rule: RuleRef {
            policy: "p".into(),
            rule: "r".into(),
        },
        detect: detect.to_vec(),
        columns: Vec::new(),
        except: Vec::new(),
        with,
        mode: ContentMode::Mask,
    }
}

fn key() -> MaskKey {
    MaskKey::new(&Secret::new([1; 32]))
}

/// The cell as it becomes; `None`: NULL.
fn seen(
    rules: &[ContentRule],
    type_id: u32,
    format: Format,
    cell: &[u8],
) -> (Option<Vec<u8>>, Finds) {
    let look = Look::of(rules.iter(), type_id, format, &key()).unwrap();
    let mut finds = Finds::default();
    let mut desk = Desk::new(&mut finds);
    let mut out = BytesMut::new();
    match desk.examine(&look, 0, cell) {
        Seen::Same => out.put_slice(cell),
        Seen::Edited => desk.write(cell, &mut out),
        Seen::Cell => {
            if look.whole().mask(Some(cell), &mut out) == Written::Null {
                return (None, finds);
            }
        }
    }
    (Some(out.to_vec()), finds)
}

fn all(type_id: u32, cell: &str) -> String {
    let rules = [rule(&Detector::ALL, ContentMasker::Redact)];
    let out = seen(&rules, type_id, Format::Text, cell.as_bytes()).0;
    out.map_or_else(|| "NULL".to_owned(), |out| String::from_utf8(out).unwrap())
}

fn keep(type_id: u32, kept: u32, cell: &str) -> String {
    let rules = [rule(&Detector::ALL, ContentMasker::KeepLast(kept))];
    let out = seen(&rules, type_id, Format::Text, cell.as_bytes()).0;
    String::from_utf8(out.unwrap()).unwrap()
}

/// Each text is covered where it stands between brackets `⟦…⟧`, by this detector alone, and by all.
fn finds(detector: Detector, table: &[&str]) {
    let mut wrong = String::new();
    for marked in table {
        let plain = marked.replace(['⟦', '⟧'], "");
        let mut want = String::new();
        for (at, part) in marked.split('⟦').enumerate() {
            match part.split_once('⟧').filter(|_| at > 0) {
                Some((_, rest)) => want += &format!("***{rest}"),
                None => want += part,
            }
        }
        let rules = [rule(&[detector], ContentMasker::Redact)];
        let (out, found) = seen(&rules, TEXT, Format::Text, plain.as_bytes());
        let out = String::from_utf8(out.unwrap()).unwrap();
        if out != want {
            writeln!(wrong, "{plain:?} became {out:?}").unwrap();
        }
        let count: u64 = found.iter().map(|find| find.count).sum();
        assert_eq!(count, marked.matches('⟦').count() as u64, "{marked}");
    }
    assert_eq!(wrong, "", "of {detector}");
}

#[test]
fn addresses_are_found() {
    finds(
        Detector::Email,
        &[
            "⟦ann@example.com⟧",
            "mail ⟦ann.lee+news@mail.example.co.uk⟧.",
            "<⟦ann@example.com⟧>, (⟦bob_7@x.io⟧); ⟦o'neil@example.org⟧",
            "mailto:⟦a@b.de⟧?subject=x",
            "⟦jörg@bücher.example⟧ and ⟦info@bücher.de⟧",
            "\"⟦ann@example.com⟧\":1",
            "line\\n⟦ann@example.com⟧",
            "⟦ann@xn--bcher-kva.example⟧",
            "⟦ann@example.com⟧@example.org",
            "⟦ann@sub.example.com⟧:8080",
            "x=⟦ann@example.com⟧&y",
            "ann@localhost, @ann, ann@, @, ann @ example.com, a@@b",
            "lodash@4.17.21 @types/node react@^18.2.0",
            "git@github.com:org/repo.git",
            "user@10.0.0.1",
            "a@b.c",
        ]
        .map(|text| {
            // Two `@` in one are one find.
            if text.contains("@example.org") && text.starts_with('⟦') {
                "⟦ann@example.com⟧ @"
            } else {
                text
            }
        }),
    );
}

#[test]
fn card_numbers_are_found() {
    finds(
        Detector::Card,
        &[
            "⟦4111111111111111⟧",
            "card ⟦4111 1111 1111 1111⟧ exp 12/27",
            "⟦4111-1111-1111-1111⟧.",
            "⟦378282246310005⟧ or ⟦3782 822463 10005⟧ or ⟦3782-822463-10005⟧",
            "⟦5555555555554444⟧,⟦2223003122003222⟧,⟦6011111111111117⟧",
            "⟦30569309025904⟧, ⟦3056 930902 5904⟧",
            "⟦3530111333300000⟧ ⟦6200000000000005⟧ ⟦6304000000000000⟧",
            "⟦4222222222222⟧",
            "\"card\": \"⟦4111111111111111⟧\"",
            "a,⟦4111111111111111⟧,b",
            "12 ⟦4111 1111 1111 1111⟧",
            "ORD-⟦4111111111111111⟧",
            "line\\n⟦4111111111111111⟧",
            // No issuer, no check, another length.
            "1234567890123456 4111111111111112 0000000000000000 411111111111111",
            "41111111111111111111111 411111111111111111",
            // Times, articles, books, devices, identifiers, versions, amounts.
            "1700000000000 1700000000000000 1700000000000000000 20240102030405 20240102030405123",
            "4006381333931 9783161484100 978-3-16-148410-0 490154203237518",
            "1234567890.4111111111111111 4111111111111111.25",
            "550e8400-e29b-41d4-a716-446655440000 12345678-1234-1234-1234-123456789012",
            "4111-1111-1111-1111-1111 1-4111-1111-1111-1111",
            "d41d8cd98f00b204e9800998ecf8427e 4111111111111111a a4111111111111111",
            "175928847299117063 1050118621198921728 snowflakes",
            "10.0.19041.4111 v4.1.1.1 2024-01-02 03:04:05.123456789",
            "4111 2222 3333 4444 5555 6666 7777 8888",
            "4110 4111 1111 1111 1111 1111 1111 1111 1111",
        ],
    );
}

#[test]
fn social_security_numbers_are_found() {
    finds(
        Detector::Ssn,
        &[
            "⟦123-45-6789⟧",
            "ssn: ⟦078-05-1120⟧.",
            "ssn ⟦123 45 6789⟧, born",
            "(⟦123-45-6789⟧)",
            // Not given out.
            "000-12-3456 666-12-3456 900-12-3456 987-65-4321 123-00-4567 123-45-0000",
            // Something else.
            "123-456-7890 12-345-6789 123-45-67890 1123-45-6789 123-45-6789-1 9-123-45-6789",
            "100 20 3000 40 123 45 67890 5 123 45 6789",
            "123456789 123.45.6789 123/45/6789 2024-01-0234",
            "550e8400-123-45-6789-446655440000 a123-45-6789 v123-45-6789",
        ],
    );
}

#[test]
fn phone_numbers_are_found() {
    finds(
        Detector::Phone,
        &[
            "⟦+1 212 555 1234⟧",
            "⟦+12125551234⟧, ⟦+1 (212) 555-1234⟧",
            "call ⟦+49 30 1234567⟧.",
            "⟦+44 (0)20 7946 0958⟧",
            "⟦+33 1 23 45 67 89⟧ or ⟦+33.1.23.45.67.89⟧",
            "⟦+8613812345678⟧ ⟦+91 98765 43210⟧ ⟦+353 87 123 4567⟧",
            "⟦0049 30 1234567⟧, ⟦00 44 20 7946 0958⟧",
            "⟦212-555-1234⟧ ⟦212.555.1234⟧ ⟦1-212-555-1234⟧ ⟦(212) 555-1234⟧ ⟦(212)555-1234⟧",
            "⟦030 1234567⟧, ⟦030/1234567⟧ ⟦0171-1234567⟧ ⟦(030) 1234567⟧, ⟦089 123 4567⟧",
            "⟦020 7946 0958⟧; ⟦07700 900123⟧; ⟦(020) 7946 0958⟧",
            "⟦01 23 45 67 89⟧, ⟦044 668 18 00⟧; ⟦0412 345 678⟧",
            "tel:⟦+49-30-1234567⟧",
            // Times, dates, versions, amounts, identifiers, addresses of machines.
            "2024-01-02 03:04:05 2024-01-02T03:04:05+02:00 2024-01-02 03:04:05 +0200",
            "01.02.2024 12:30 01/02/2024 01-02-2024 10 02.01.2024-03.01.2024",
            "10.0.19041.1234 192.168.100.200 1.2.3 0.123 012.345.678.9 3.14159265358979",
            "+1000000 1+2345678901 +5 -4 +0200 a+491234567890 +12345 +1 123 555 1234",
            "123-555-1234 212-155-1234 212-555-12345 ORD-212-555-1234 212-555-1234-9",
            "2125551234 13812345678 07700900123 0000123456789",
            "550e8400-e29b-41d4-a716-446655440000 00000000-0000-0000-0000-000000000001",
            "d41d8cd98f00b204e9800998ecf8427e 4711-0815 978-3-16-148410-0 00123456 7",
            "1 2 3 4 5 6 7 8 9 10 100 200 3000 0 1 2 3",
            "lat 052.5200 lon 013.4050 (12) 34 (1234) 567 f(212) 5",
            "0x1234567890 #030-1234567x invoice 030 12",
            "4111 1111 1111 1111 123-45-6789",
        ],
    );
}

#[test]
fn account_numbers_are_found() {
    finds(
        Detector::Iban,
        &[
            "⟦DE89370400440532013000⟧",
            "IBAN: ⟦DE89 3704 0044 0532 0130 00⟧, thanks",
            "⟦GB29NWBK60161331926819⟧ ⟦gb29 nwbk 6016 1331 9268 19⟧",
            "⟦FR1420041010050500013M02606⟧ ⟦NO9386011117947⟧ ⟦MT84MALT011000012345MTLCAST001S⟧",
            "(⟦CH93-0076-2011-6238-5295-7⟧)",
            "DE89370400440532013001 DE8937040044053201300 XX89370400440532013000",
            "DE893704004405320130000 xDE89370400440532013000 DE00 AB12",
            "d41d8cd98f00b204e9800998ecf8427e SE35 v2 US64SVBKUS6S3300958879",
        ],
    );
}

#[test]
fn secrets_are_found() {
    finds(
        Detector::Secret,
        &[
            "⟦AKIAIOSFODNN7EXAMPLE⟧",
            "key=⟦ASIAIOSFODNN7EXAMPLE⟧;",
            "⟦ghp_0123456789abcdefghijABCDEFGHIJ012345⟧",
            "⟦github_pat_11ABCDEFG0123456789_abcdefghij⟧",
            "⟦glpat-0123456789abcdefghij⟧ ⟦xoxb-123456789012-abcdefGHIJ⟧",
            "⟦sk_live_0123456789abcdefGHIJ⟧, ⟦rk_test_0123456789abcdefGHIJ⟧",
            "⟦AIzaSyA0123456789abcdefghijklmnopqrstuv⟧",
            "Bearer ⟦eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-DEF_123⟧",
            "⟦sk-ant-api03-0123456789abcdef⟧ ⟦npm_0123456789abcdefghij0123456789abcdef⟧",
            "a ⟦-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\nabc+/=\n-----END RSA PRIVATE KEY-----⟧ b",
            "⟦-----BEGIN OPENSSH PRIVATE KEY-----\\nb3BlbnNzaC1rZXktdjEA⟧",
            "⟦-----BEGIN PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nabc\n-----END PRIVATE KEY-----⟧",
            "password=⟦hunter22⟧ user=x",
            "PGPASSWORD=⟦hunter22⟧;AWS_SECRET_ACCESS_KEY=⟦wJalrXUtnFEMI/K7MDENG⟧",
            "password='⟦correct horse⟧' {\"password\": \"⟦hunter22⟧\", \"api_key\":\"⟦0123456789⟧\"}",
            "{\\\"password\\\": \\\"⟦hunter22⟧\\\"}",
            "Server=x;Pwd=⟦hunter22⟧;",
            "postgres://svc:⟦hunter22⟧@db.example.com/orders",
            "https:\\/\\/svc:⟦p@ss⟧@example.com\\/x",
            "?access_token=⟦0123456789abcdef⟧&x=1",
            // Names, places for values, words and public parts.
            "password=*** password=$1 password=%s password={x} password=? password==x password=",
            "the password: must be long; password 'abc'; passwords=hunter22; password is x",
            "https://example.com:8080/a@b http://user@host/ scheme://h:1 postgres://svc:***@db/x",
            "-----BEGIN PUBLIC KEY-----\nabc\n-----END PUBLIC KEY----- -----BEGIN CERTIFICATE-----",
            "AKIAIOSFODNN7EXAMPL AKIAIOSFODNN7EXAMPLEX akiaiosfodnn7example ghp_short xoxb-1 sk-short",
            "eyJhbGciOiJIUzI1NiJ9 eyJ.eyJ.x eyJhbGciOiJIUzI1NiJ9.short",
            "d41d8cd98f00b204e9800998ecf8427e 550e8400-e29b-41d4-a716-446655440000",
            "skeleton sky-high AIzawa SG.1 ya29.x hf_x",
        ],
    );
}

#[test]
fn prose_numbers_and_code_stay_as_they_are() {
    for text in [
        "",
        "The quick brown fox jumps over the lazy dog, 42 times (at 12:30).",
        "fn main() { println!(\"{}\", a[0] + b(1)); } // C:\\new\\table",
        "2024-01-02 03:04:05.678901+00|550e8400-e29b-41d4-a716-446655440000|1.5|-7|t",
        "order 2024-000123456789 of 3,141.59 EUR, sku AB-1234-5678-90, lot 0123/456",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "SGVsbG8gd29ybGQhIFRoaXMgaXMgYmFzZSA2NA==",
        "Straße, naïve café, 東京都, тест, 🙂🙂",
        "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20",
    ] {
        assert_eq!(all(TEXT, text), text);
    }
}

#[test]
fn finds_over_each_other_are_one() {
    for (cell, want) in [
        ("4111111111111111@example.com", "***"),
        ("x ann@example.com@example.org y", "x *** y"),
        ("password=ann@example.com", "password=***"),
        ("ann@example.com,bob@example.com", "***,***"),
    ] {
        assert_eq!(all(TEXT, cell), want);
    }
    // The one that shows least counts.
    let mut weak = rule(&[Detector::Email], ContentMasker::Redact);
    weak.mode = ContentMode::Report;
    let strong = rule(&[Detector::Card], ContentMasker::KeepLast(4));
    let cell = b"4111111111111111@example.com ann@example.com";
    let (out, found) = seen(&[weak, strong], TEXT, Format::Text, cell);
    assert_eq!(out.unwrap(), b"*** ann@example.com");
    let counts: Vec<_> = found
        .iter()
        .map(|f| (f.detector, f.covered, f.count))
        .collect();
    assert_eq!(
        counts,
        [
            (Detector::Email, true, 1),
            (Detector::Card, true, 1),
            (Detector::Email, false, 1)
        ]
    );
}

#[test]
fn the_last_characters_are_kept_where_enough_is_covered() {
    for (kept, cell, want) in [
        (4, "4111111111111111", "***1111"),
        (
            4,
            "4111-1111-1111-1112x 4111 1111 1111 1111",
            "4111-1111-1111-1112x ***1111",
        ),
        (6, "4111 1111 1111 1111", "***111111"),
        (4, "+1 (212) 555-1234", "***1234"),
        (4, "123-45-6789", "***6789"),
        (5, "123-45-6789", "***"),
        (0, "123-45-6789", "***"),
        (u32::MAX, "123-45-6789", "***"),
        (4, "DE89 3704 0044 0532 0130 00", "***3000"),
        (4, "ann@example.com", "***"),
        (4, "password=hunter2222", "password=***"),
    ] {
        assert_eq!(keep(TEXT, kept, cell), want, "{kept} of {cell}");
    }
}

#[test]
fn json_stays_json() {
    for (cell, want) in [
        (
            r#"{"a": "mail ann@example.com now"}"#,
            r#"{"a": "mail *** now"}"#,
        ),
        (
            r#"{"a": 4111111111111111, "b": [4111111111111111]}"#,
            r#"{"a": null, "b": [null]}"#,
        ),
        (r#"{"a":-4111111111111111}"#, r#"{"a":null}"#),
        (r#"{"ann@example.com": 1}"#, r#"{"***": 1}"#),
        (r#"{"a": "x\nann@example.com\ny"}"#, r#"{"a": "x\n***\ny"}"#),
        (
            r#"{"a": "ann\u0040example.com \u00e9"}"#,
            r#"{"a": "*** \u00e9"}"#,
        ),
        (r#"{"a": "\t4111111111111111"}"#, r#"{"a": "\t***"}"#),
        (
            r#"{"u": "postgres:\/\/svc:hunter22@db\/x"}"#,
            r#"{"u": "postgres:\/\/svc:***@db\/x"}"#,
        ),
        (
            r#"{"password": "hunter22", "n": 1}"#,
            r#"{"password": "***", "n": 1}"#,
        ),
        (
            "{\"password\"\n:\n\"hun\\\"ter\"}",
            "{\"password\"\n:\n\"***\"}",
        ),
        (
            r#"{"password": {"old": "hunter22"}, "x": "hunter22"}"#,
            r#"{"password": {"old": "hunter22"}, "x": "hunter22"}"#,
        ),
        (r#""ann@example.com""#, r#""***""#),
        ("4111111111111111", "null"),
        (
            r#"{"t": 1700000000000, "f": 4111111111111111.5}"#,
            r#"{"t": 1700000000000, "f": 4111111111111111.5}"#,
        ),
        (
            r#"{"a": "\\", "b": "ann@example.com"}"#,
            r#"{"a": "\\", "b": "***"}"#,
        ),
    ] {
        assert_eq!(all(JSON, cell), want);
        assert_eq!(all(JSONB, cell), want);
        let rules = [rule(&Detector::ALL, ContentMasker::Redact)];
        let binary = |json: &str| [b"\x01", json.as_bytes()].concat();
        let out = seen(&rules, JSONB, Format::Binary, &binary(cell)).0;
        assert_eq!(out.unwrap(), binary(want));
        for json in [cell, want] {
            assert!(
                serde_json::from_str::<serde_json::Value>(json).is_ok(),
                "{json}"
            );
        }
    }
    // Another version than is known is not written into.
    let rules = [rule(&Detector::ALL, ContentMasker::Redact)];
    let out = seen(&rules, JSONB, Format::Binary, b"\x02\"ann@example.com\"").0;
    assert_eq!(out.unwrap(), b"\x01null");
    assert_eq!(all(JSONS, r#"{"{\"a\": \"ann@example.com\"}"}"#), "NULL");
}

#[test]
fn texts_in_arrays_and_rows_stay_elements() {
    for (type_id, cell, want) in [
        (
            TEXTS,
            r#"{ann@example.com,"a b",NULL,"x \"4111 1111 1111 1111\""}"#,
            r#"{***,"a b",NULL,"x \"***\""}"#,
        ),
        (TEXTS, "{password=hunter22}", "{password=***}"),
        (
            TEXTS,
            r#"{"-----BEGIN PRIVATE KEY-----abc",x}"#,
            r#"{"***",x}"#,
        ),
        (ROW, r#"(1,ann@example.com,"a, b")"#, r#"(1,***,"a, b")"#),
        (OWN, "ann@example.com", "***"),
        (OWN, r#""mail"=>"ann@example.com""#, r#""mail"=>"***""#),
    ] {
        assert_eq!(all(type_id, cell), want);
    }
}

fn element(out: &mut BytesMut, value: Option<&[u8]>) {
    match value {
        None => out.put_i32(-1),
        Some(value) => {
            out.put_i32(i32::try_from(value.len()).unwrap());
            out.put_slice(value);
        }
    }
}

fn array(of: u32, elements: &[Option<&[u8]>]) -> Vec<u8> {
    let mut out = BytesMut::new();
    out.put_i32(1);
    out.put_i32(1);
    out.put_u32(of);
    out.put_i32(i32::try_from(elements.len()).unwrap());
    out.put_i32(1);
    for value in elements {
        element(&mut out, *value);
    }
    out.to_vec()
}

fn row(columns: &[(u32, Option<&[u8]>)]) -> Vec<u8> {
    let mut out = BytesMut::new();
    out.put_i32(i32::try_from(columns.len()).unwrap());
    for (of, value) in columns {
        out.put_u32(*of);
        element(&mut out, *value);
    }
    out.to_vec()
}

#[test]
fn binary_arrays_and_rows_keep_their_form() {
    let rules = [rule(&Detector::ALL, ContentMasker::Redact)];
    let (own, own_masked) = (&b"mail ann@example.com"[..], &b"mail ***"[..]);
    let (mail, masked) = (Some(own), Some(own_masked));
    let (json, less) = (
        Some(&b"{\"a\": 4111111111111111}"[..]),
        Some(&b"{\"a\": null}"[..]),
    );
    let inner = |mail, json| array(TEXT, &[mail, None, Some(b"x"), json]);
    let table = [
        (TEXTS, inner(mail, None), inner(masked, None)),
        (
            JSONS,
            array(JSON, &[json, None]),
            array(JSON, &[less, None]),
        ),
        (
            ROW,
            row(&[(23, Some(&[0, 0, 0, 1])), (TEXT, mail), (TEXT, None)]),
            row(&[(23, Some(&[0, 0, 0, 1])), (TEXT, masked), (TEXT, None)]),
        ),
        (
            OWN,
            row(&[(TEXTS, Some(&inner(mail, None))), (JSON, json)]),
            row(&[(TEXTS, Some(&inner(masked, None))), (JSON, less)]),
        ),
        (OWN, array(OWN, &[mail]), array(OWN, &[masked])),
        (OWN, own.to_vec(), own_masked.to_vec()),
    ];
    for (type_id, cell, want) in table {
        let out = seen(&rules, type_id, Format::Binary, &cell).0;
        assert_eq!(out, Some(want), "{type_id} {cell:?}");
    }
    // Numbers in an array are none of texts, and what only its type knows is covered whole.
    let numbers = array(20, &[Some(b"4111111111111111")]);
    assert_eq!(
        seen(&rules, TEXTS, Format::Binary, &numbers).0,
        Some(numbers)
    );
    let odd = b"\x01\x00\x00ann@example.com";
    assert_eq!(seen(&rules, OWN, Format::Binary, odd).0, None);
    assert_eq!(seen(&rules, TEXTS, Format::Binary, odd).0, None);
}

#[test]
fn a_whole_cell_is_what_redact_makes_of_it() {
    let rules = [rule(&[Detector::Email], ContentMasker::Cell)];
    for (type_id, cell, want) in [
        (
            TEXT,
            "write to ann@example.com or +1 212 555 1234",
            Some("***"),
        ),
        (TEXT, "write to nobody", Some("write to nobody")),
        (JSON, r#"{"a": "ann@example.com"}"#, Some("null")),
        (TEXTS, "{ann@example.com}", None),
    ] {
        let out = seen(&rules, type_id, Format::Text, cell.as_bytes()).0;
        assert_eq!(out.as_deref(), want.map(str::as_bytes), "{cell}");
    }
}

#[test]
fn types_without_texts_are_not_looked_into() {
    let rules = [rule(&Detector::ALL, ContentMasker::Redact)];
    // bool, bytea, int8, numeric, date, timestamptz, uuid, inet, float8, and arrays of such.
    for type_id in [16, 17, 20, 1700, 1082, 1184, 2950, 869, 701, 1016, 2951] {
        for format in [Format::Text, Format::Binary] {
            assert_eq!(Look::of(rules.iter(), type_id, format, &key()), None);
        }
    }
    assert_eq!(Look::of([].iter(), TEXT, Format::Text, &key()), None);
}

const PIECES: &[&str] = &[
    "ann@example.com",
    "@",
    ".",
    "-",
    " ",
    "/",
    "+",
    "(",
    ")",
    "*",
    "***",
    "\\",
    "\"",
    "'",
    ":",
    "=",
    "://",
    "4111 1111 1111 1111",
    "4111111111111111",
    "123-45-6789",
    "+49 30 1234567",
    "212-555-1234",
    "(212) ",
    "DE89 3704 0044 0532 0130 00",
    "password=",
    "\"password\": \"",
    "hunter22",
    "AKIAIOSFODNN7EXAMPLE",
    "eyJhbGciOiJIUzI1NiJ9.",
    "-----BEGIN PRIVATE KEY-----",
    "-----END PRIVATE KEY-----",
    "postgres://a:b@c",
    "0",
    "00",
    "1",
    "4",
    "49",
    "1111",
    "030",
    "é",
    "界",
    "n",
    "\n",
    "_",
    ",",
    "{",
    "}",
    "\\u0040",
    "\\n",
    "xoxb-",
    "ghp_0123456789abcdefghijABCDEFGHIJ012345",
    "x",
    "de",
    "%",
];

/// Pieces that mean something to a detector, side by side.
fn pieces() -> impl Strategy<Value = String> {
    let one = prop_oneof![
        4 => proptest::sample::select(PIECES).prop_map(str::to_owned),
        1 => "[a-z0-9]{1,6}",
        1 => ".{0,3}",
    ];
    prop::collection::vec(one, 0..7).prop_map(|pieces| pieces.concat())
}

proptest! {
    // Always the same cases: of the rarest adjacencies a second look may find a little more.
    #![proptest_config(ProptestConfig {
        rng_seed: proptest::test_runner::RngSeed::Fixed(7),
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_was_covered_is_not_found_again(text in pieces(), choice in any::<u8>()) {
        let mut bytes = vec![choice];
        bytes.extend(text.as_bytes());
        if let Some((look, out)) = super::fuzzing::look_once(&bytes) {
            let mut again = Finds::default();
            let seen = Desk::new(&mut again).examine(&look, 0, &out);
            prop_assert_eq!(seen, Seen::Same, "{} became {}: {:?}", text, out.escape_ascii(), again);
        }
    }

    #[test]
    fn json_of_any_texts_stays_json_and_shows_no_find(texts in prop::collection::vec(pieces(), 1..4)) {
        let value = serde_json::json!({ "a": texts, "n": 4111111111111111_u64 });
        for json in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let escaped = json.replace('@', "\\u0040");
            for json in [json, escaped] {
                let out: serde_json::Value = serde_json::from_str(&all(JSON, &json)).unwrap();
                prop_assert_eq!(&out["n"], &serde_json::Value::Null);
                prop_assert_eq!(out["a"].as_array().unwrap().len(), texts.len());
                prop_assert!(!out.to_string().contains("ann@example.com"));
            }
        }
    }
}

#[test]
fn fuzz_content() {
    bolero::check!().for_each(|bytes: &[u8]| super::fuzz_content_net(bytes));
}

/// The same of bytes that choose among pieces which mean something.
#[test]
fn fuzz_content_of_pieces() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let Some((choice, rest)) = bytes.split_first() else {
            return;
        };
        let mut cell = vec![*choice];
        for byte in rest {
            let piece = PIECES.get(usize::from(*byte)).map(|piece| piece.as_bytes());
            cell.extend(piece.unwrap_or(std::slice::from_ref(byte)));
        }
        super::fuzz_content_net(&cell);
    });
}

/// Texts that make a careless scanner look at the same stretch again and again.
#[test]
fn time_grows_with_the_length_and_no_faster() {
    let unit = [
        "eyJ-",
        "eyJaaaaaaaaaa.",
        "@",
        "a@",
        "a.",
        "+1",
        "(1",
        "1 ",
        "12-",
        "1111 ",
        "password=\"",
        "password='\\",
        "x://",
        "x://a:b",
        "-----BEGIN PRIVATE KEY-----",
        "\\",
        "\\\"",
        "DE89 3704 ",
        "ghp_",
        "a_",
        "0",
        "é",
        "password=*\"",
        "\"password\":\"\\\\",
    ];
    for piece in unit {
        let time = |length: usize| {
            let text = piece.repeat(length / piece.len());
            let mut spans = Spans::default();
            let on = Look::of(
                [rule(&Detector::ALL, ContentMasker::Redact)].iter(),
                JSON,
                Format::Text,
                &key(),
            );
            let mut finds = Finds::default();
            let begun = std::time::Instant::now();
            scan(
                text.as_bytes(),
                Within::Itself,
                on.as_ref().unwrap().on,
                &mut spans,
            );
            Desk::new(&mut finds).examine(on.as_ref().unwrap(), 0, text.as_bytes());
            begun.elapsed()
        };
        // The least of several: whatever else runs here only adds to a time.
        let least = |length| (0..3).map(|_| time(length)).min().unwrap();
        let (small, large) = (least(1 << 14), least(1 << 18));
        // Sixteen times the length; a hundred and sixty times the time would be a square's.
        let most = small.max(std::time::Duration::from_millis(1)) * 160;
        assert!(large < most, "{piece:?}: {small:?} and {large:?}");
    }
}

#[test]
fn a_value_is_what_its_form_says() {
    for (value, want) in [
        ("ann@example.org", Some("e-mail")),
        ("ann@localhost", None),
        ("a@b@c.org", None),
        ("@x.org", None),
        ("123-45-6789", Some("national number")),
        ("123-45-67890", None),
        ("4111 1111 1111 1111", Some("card")),
        ("4111 1111 1111 1112", None),
        ("0000000000000000", None),
        ("DE89 3704 0044 0532 0130 00", Some("bank account")),
        ("DE88370400440532013000", None),
        ("+49 30 901820", Some("phone")),
        ("030 901820", None),
        ("", None),
        ("é", None),
    ] {
        assert_eq!(detected(value).map(Detector::likeness), want, "{value}");
    }
}
