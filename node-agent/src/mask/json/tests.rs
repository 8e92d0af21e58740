use super::super::MaskKey;
use super::*;
use crate::model::Secret;
use crate::policy::{DateUnit, JsonMask, JsonPath, PartMasker};
use proptest::prelude::*;
use serde_json::Value;

fn key() -> MaskKey {
    MaskKey::new(&Secret::new([1; 32]))
}

fn mask_of(paths: &[&str], with: PartMasker) -> JsonMask {
    JsonMask {
        paths: paths
            .iter()
            .map(|path| JsonPath::new(path).unwrap())
            .collect(),
        with,
    }
}

fn masked_by(masks: &[&JsonMask], document: Document, value: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::from(&b"before"[..]);
    let paths = Paths::new(masks, &key()).unwrap();
    assert_eq!(mask(&paths, document, value, &mut out), Written::Value);
    out.strip_prefix(b"before").unwrap().to_vec()
}

fn by(paths: &[&str], with: PartMasker, value: &str) -> String {
    let out = masked_by(&[&mask_of(paths, with)], Document::Json, value.as_bytes());
    String::from_utf8(out).unwrap()
}

#[test]
fn what_is_at_a_path_is_masked_and_the_rest_is_left_byte_for_byte() {
    use PartMasker::Redact;
    for (path, document, want) in [
        (
            "$.a",
            r#"{ "a" : "x" , "b":"x"}"#,
            r#"{ "a" : "***" , "b":"x"}"#,
        ),
        ("$.a", r#"{"a":1,"a":2}"#, r#"{"a":"***","a":"***"}"#),
        (
            "$.a",
            r#"{"a":{"b":[1,{"a":2}]},"c":{"a":3}}"#,
            r#"{"a":"***","c":{"a":3}}"#,
        ),
        ("$.a", r#"{"\u0061":1,"A":2}"#, r#"{"\u0061":"***","A":2}"#),
        (
            "$['a.b']",
            r#"{"a.b":1,"a":{"b":2}}"#,
            r#"{"a.b":"***","a":{"b":2}}"#,
        ),
        (
            "$['😀']",
            r#"{"\ud83d\ude00":1}"#,
            r#"{"\ud83d\ude00":"***"}"#,
        ),
        (
            "$.a.b",
            r#"{"a":{"b":1,"c":2},"b":3}"#,
            r#"{"a":{"b":"***","c":2},"b":3}"#,
        ),
        (
            "$.a[*].b",
            r#"{"a":[{"b":1},{"b":2,"c":3}]}"#,
            r#"{"a":[{"b":"***"},{"b":"***","c":3}]}"#,
        ),
        ("$.a[1]", r#"{"a":[1,2,3]}"#, r#"{"a":[1,"***",3]}"#),
        (
            "$.a.*",
            r#"{"a":{"b":1,"c":[2]},"d":3}"#,
            r#"{"a":{"b":"***","c":"***"},"d":3}"#,
        ),
        ("$.*", r#"[1,[2]]"#, r#"["***","***"]"#),
        (
            "$..a",
            r#"{"a":1,"b":[{"c":{"a":2}},3]}"#,
            r#"{"a":"***","b":[{"c":{"a":"***"}},3]}"#,
        ),
        (
            "$..a.b",
            r#"{"x":{"a":{"b":1}},"b":2}"#,
            r#"{"x":{"a":{"b":"***"}},"b":2}"#,
        ),
        (
            "$.a..b",
            r#"{"b":1,"a":{"c":{"b":2}}}"#,
            r#"{"b":1,"a":{"c":{"b":"***"}}}"#,
        ),
        ("$", r#" {"a":1} "#, r#" "***" "#),
        ("$", "7", r#""***""#),
        // An array where the path has none, and none where it has one.
        (
            "$.a.b",
            r#"{"a":[{"b":1},[{"b":2}]]}"#,
            r#"{"a":[{"b":"***"},[{"b":"***"}]]}"#,
        ),
        ("$.a", r#"[{"a":1}]"#, r#"[{"a":"***"}]"#),
        ("$.a[*].b", r#"{"a":{"b":1}}"#, r#"{"a":{"b":"***"}}"#),
        ("$.a[*]", r#"{"a":"x"}"#, r#"{"a":"***"}"#),
        ("$.a[*][0][*]", r#"{"a":"x"}"#, r#"{"a":"***"}"#),
        ("$.a[0]", r#"{"a":"x"}"#, r#"{"a":"***"}"#),
        ("$.a[1]", r#"{"a":"x"}"#, r#"{"a":"x"}"#),
        // Nothing there.
        (
            "$.b",
            r#"{"a":["b",{"c":"b"}]}"#,
            r#"{"a":["b",{"c":"b"}]}"#,
        ),
        ("$.a", "[]", "[]"),
        ("$.a", "{ }", "{ }"),
        ("$.a", r#""a""#, r#""a""#),
        ("$.a", " true ", " true "),
        ("$.a", "-1.5e+3", "-1.5e+3"),
    ] {
        assert_eq!(by(&[path], Redact, document), want, "{path} {document}");
    }
}

#[test]
fn each_masker_gives_what_stays_a_document() {
    use PartMasker::{DateTrunc, Hash, KeepFirst, KeepLast, Null, Redact, Token};
    let hash = |text: &str| format!("\"{}\"", &key().hash(text.as_bytes()).to_hex()[..32]);
    for (with, value, want) in [
        (Redact, "null", r#""***""#.to_owned()),
        (Redact, "[1]", r#""***""#.to_owned()),
        (Null, r#""x""#, "null".to_owned()),
        (KeepLast(4), r#""123-45-6789""#, r#""***6789""#.to_owned()),
        (KeepLast(4), r#""12345678""#, r#""***""#.to_owned()),
        (KeepLast(2), r#""abcd\"\u00e9""#, r#""***\"é""#.to_owned()),
        (KeepFirst(2), r#""\n\\abc""#, r#""\u000a\\***""#.to_owned()),
        (KeepLast(2), "123456", "null".to_owned()),
        (KeepLast(2), r#"["123456"]"#, "null".to_owned()),
        (KeepLast(2), "true", "null".to_owned()),
        (KeepLast(2), "null", "null".to_owned()),
        (KeepLast(2), r#""\ud800abcdef""#, "null".to_owned()),
        (Hash, r#""a\u0062""#, hash("ab")),
        (Hash, "1", "null".to_owned()),
        (Token, "{}", "null".to_owned()),
        (
            DateTrunc(DateUnit::Year),
            r#""1987-05-06""#,
            r#""1987-01-01""#.to_owned(),
        ),
        (
            DateTrunc(DateUnit::Month),
            r#""1987-05-06T07:08:09.1Z""#,
            r#""1987-05-01T00:00:00Z""#.to_owned(),
        ),
        (
            DateTrunc(DateUnit::Day),
            r#""1987-05-06 07:08:09+02:00""#,
            r#""1987-05-06 00:00:00+00:00""#.to_owned(),
        ),
        (
            DateTrunc(DateUnit::Year),
            r#""6 May 1987""#,
            "null".to_owned(),
        ),
        (
            DateTrunc(DateUnit::Year),
            r#""1987-05-06T""#,
            "null".to_owned(),
        ),
        (DateTrunc(DateUnit::Year), "1987", "null".to_owned()),
    ] {
        let document = format!(r#"{{"a":{value}}}"#);
        assert_eq!(
            by(&["$.a"], with, &document),
            format!(r#"{{"a":{want}}}"#),
            "{with:?}"
        );
    }
    let token = |value: &str| by(&["$"], Token, value);
    let number = |value: &str| token(value).parse::<u64>().unwrap();
    assert_eq!(number("1.5"), number("1.50"));
    assert_ne!(number("1.5"), number("-1.5"));
    assert_eq!(number("1e5"), number("1e5"));
    let text: String = serde_json::from_str(&token(r#""Ab-1\"""#)).unwrap();
    assert_eq!((text.len(), &text[2..3], &text[4..]), (5, "-", "\""));
}

#[test]
fn what_is_no_document_is_redacted_whole() {
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    for bad in [
        "",
        " ",
        "x",
        "{",
        "}",
        "[",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{'a':1}",
        "[1,]",
        "[1 2]",
        "1 2",
        "\"a",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "tru",
        "nul",
        "-",
        "1.",
        "1e",
        ".5",
        "{\"a\":1}}",
        "{\"a\":1} x",
        "{\"\\ud800\":1}",
        "NaN",
        "{\"b\":\"secret\" \"a\":1}",
    ] {
        for (document, whole) in [(Document::Json, &b"null"[..]), (Document::Text, b"***")] {
            let mask = mask_of(&["$.a"], PartMasker::Null);
            assert_eq!(
                masked_by(&[&mask], document, bad.as_bytes()),
                whole,
                "{bad}"
            );
        }
    }
    let mask = mask_of(&["$.a"], PartMasker::Null);
    let json = |value: &[u8]| masked_by(&[&mask], Document::Json, value);
    assert_eq!(json(b"\"\xff\""), b"null");
    assert_eq!(json(nested(64).as_bytes()), nested(64).as_bytes());
    assert_eq!(json(nested(65).as_bytes()), b"null");
    assert_eq!(json(nested(100_000).as_bytes()), b"null");
    let long = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
    assert_eq!(json(long(LARGEST).as_bytes()).len(), LARGEST);
    assert_eq!(json(long(LARGEST + 1).as_bytes()), b"null");
    // A value that is masked is looked at no less: it could end elsewhere.
    assert_eq!(json(br#"{"a":[1,}, "b":"secret"}"#), b"null");
    // The binary form of jsonb has its version in front.
    let versioned = |value: &[u8]| masked_by(&[&mask], Document::Versioned, value);
    assert_eq!(versioned(b"\x01{\"a\":1}"), b"\x01{\"a\":null}");
    for bad in [&b""[..], b"{\"a\":1}", b"\x02{\"a\":1}", b"\x01", b"\x01{"] {
        assert_eq!(versioned(bad), b"\x01null");
    }
}

#[test]
fn of_several_paths_to_a_value_the_one_that_shows_least_counts() {
    let keep = mask_of(&["$..email", "$.a.*"], PartMasker::KeepLast(2));
    let redact = mask_of(&["$.a.email"], PartMasker::Redact);
    let null = mask_of(&["$.b"], PartMasker::Null);
    let document =
        br#"{"a":{"email":"abcdefg","c":"hijklmn"},"b":{"email":"abcdefg"},"email":"abcdefg"}"#;
    let want = br#"{"a":{"email":"***","c":"***mn"},"b":null,"email":"***fg"}"#;
    for masks in [[&keep, &redact, &null], [&null, &redact, &keep]] {
        assert_eq!(masked_by(&masks, Document::Json, document), want);
    }
}

#[test]
fn more_steps_than_can_be_followed_hide_the_whole_document() {
    let path = format!("${}", ".a".repeat(100));
    let paths: Vec<&str> = vec![&path; 2];
    let mask = mask_of(&paths, PartMasker::Null);
    assert!(Paths::new(&[&mask], &key()).is_some());
    assert!(Paths::new(&[&mask, &mask], &key()).is_none());
    let op = super::super::cell::Op::by_paths(
        &[&mask, &mask],
        3802,
        crate::model::Format::Binary,
        &key(),
    );
    let mut out = BytesMut::new();
    op.mask(Some(b"\x01{}"), &mut out);
    assert_eq!(out, &b"\x01null"[..]);
}

fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("finite", |f| f.is_finite())
            .prop_map(Value::from),
        "[a-c\"\\\\é\n]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c]", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Every member `a` at any depth replaced, by the plainest of means.
fn plainly(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                match name.as_str() {
                    "a" => *inner = Value::from("***"),
                    _ => plainly(inner),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(plainly),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

proptest! {
    #[test]
    fn any_document_loses_just_what_is_at_the_path(document in document(), pretty: bool) {
        let text = match pretty {
            true => serde_json::to_string_pretty(&document),
            false => serde_json::to_string(&document),
        };
        let text = text.unwrap();
        let seen: Value = serde_json::from_str(&by(&["$..a"], PartMasker::Redact, &text)).unwrap();
        let mut want: Value = serde_json::from_str(&text).unwrap();
        plainly(&mut want);
        prop_assert_eq!(seen, want);
        // Where no path leads, not one byte changes.
        prop_assert_eq!(by(&["$..z", "$.a.b.c.z"], PartMasker::Redact, &text), text);
    }

    #[test]
    fn any_bytes_are_a_document_afterwards(bytes in prop::collection::vec(prop::sample::select(
        &b"{}[]:,\"\\ae1-.tu0 \x01\xc3\xa9"[..]), 0..40)
    ) {
        let mask = mask_of(&["$.a", "$..e[*]"], PartMasker::KeepLast(1));
        let out = masked_by(&[&mask], Document::Json, &bytes);
        prop_assert!(serde_json::from_slice::<Value>(&out).is_ok()
            // Leading zeros and control characters are let be: they end nothing.
            || serde_json::from_slice::<Value>(&bytes).is_err(), "{:?}", out);
    }
}
