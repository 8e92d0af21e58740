//! How the bytes are cut changes nothing, and what is allowed goes up as it came.

use bytes::BytesMut;
use proptest::prelude::*;

use super::super::{Front, Talk};
use crate::mask::{Attribute, MaskKey, MaskedRows, Relations, plan};
use crate::model::Secret;
use crate::policy::{
    ColumnPattern, JsonMask, JsonPath, MaskRule, Masker, Obligations, PartMasker, RuleRef,
};
use crate::wire::{Answer, Front as _, FrontLimits, Heard, Need, Phase, Talk as _, Wants};

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len() + 4).unwrap();
    [&[kind], &len.to_be_bytes()[..], body].concat()
}

/// Messages that a client may send in any order before its answers come.
fn message() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-z ]{0,40}".prop_map(|text| frame(b'Q', &[text.as_bytes(), b"\0"].concat())),
        "[a-z ]{0,40}".prop_map(|text| frame(
            b'P',
            &[b"\0", text.as_bytes(), b"\0\0\x01\0\0\0\x17"].concat()
        )),
        (1..4_u8).prop_map(|n| frame(b'P', &[b's', n, 0, b'x', 0, 0, 0])),
        prop::collection::vec(
            prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
            0..4
        )
        .prop_map(bind),
        Just(frame(b'D', b"P\0")),
        Just(frame(b'E', b"\0\0\0\0\0")),
        (1..4_u8).prop_map(|n| frame(b'C', &[b'S', b's', n, 0])),
        Just(frame(b'H', b"")),
        Just(frame(b'S', b"")),
    ]
}

fn bind(values: Vec<Option<Vec<u8>>>) -> Vec<u8> {
    let mut body = b"\0\0\0\x01\0\x01".to_vec();
    body.extend(u16::try_from(values.len()).unwrap().to_be_bytes());
    for value in values {
        match value {
            None => body.extend([0xff; 4]),
            Some(value) => {
                body.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
                body.extend(value);
            }
        }
    }
    body.extend(b"\0\0");
    frame(b'B', &body)
}

/// Everything that is asked is allowed; the database never answers. Gives what went up and what
/// the client got.
fn allow_all(input: &[u8], cuts: &[usize]) -> (Vec<u8>, Vec<u8>) {
    let mut talk: Talk<(), ()> = Talk::new(FrontLimits::default());
    let (mut up, mut out, mut buffer) = (BytesMut::new(), BytesMut::new(), BytesMut::new());
    let mut rest = input;
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let (now, later) = rest.split_at((*cuts.next().unwrap()).clamp(1, rest.len()));
        rest = later;
        buffer.extend_from_slice(now);
        while let Some(heard) = talk.hear(&mut buffer, &mut up, &mut out).unwrap() {
            match heard {
                Heard::Asked(asked) if matches!(asked.phase, Phase::Prepare { .. }) => {
                    talk.prepare(asked, (), &mut up);
                }
                Heard::Asked(asked) => talk.send(asked, (), Wants::default(), &mut up),
                Heard::Chore | Heard::Refused(_) | Heard::Quit => {}
            }
        }
    }
    (up.to_vec(), out.to_vec())
}

/// A table whose columns are `a`, `b` and `c`.
struct Abc;

impl Relations for Abc {
    fn attribute(&self, _: u32, number: i16) -> Option<Attribute<'_>> {
        Some(Attribute {
            schema: "s",
            table: "t",
            column: match number {
                1 => "a",
                2 => "b",
                _ => "c",
            },
            stored: true,
        })
    }
}

/// What a client gets of an answer that comes in these pieces, with `b` and `c` masked.
fn masked(input: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mask = |column: &str, with| MaskRule {
        rule: RuleRef {
            policy: "p".into(),
            rule: column.into(),
        },
        columns: vec![ColumnPattern {
            schema: "s".to_owned(),
            table: "t".to_owned(),
            column: column.to_owned(),
        }],
        tags: Vec::new(),
        with,
    };
    let paths = vec![JsonPath::new("$.a").unwrap()];
    let with = PartMasker::KeepLast(1);
    let obligations = Obligations {
        masks: vec![
            mask("b", Masker::KeepLast(2)),
            mask("c", Masker::Json(JsonMask { paths, with })),
        ],
        ..Obligations::default()
    };
    let key = MaskKey::new(&Secret::new([1; 32]));
    let mut talk: Talk<(), u8> = Talk::new(FrontLimits::default());
    let (mut up, mut out) = (BytesMut::new(), BytesMut::new());
    let mut query = BytesMut::from(&frame(b'Q', b"select\0")[..]);
    let Ok(Some(Heard::Asked(asked))) = talk.hear(&mut query, &mut up, &mut out) else {
        panic!("a Query is asked");
    };
    talk.send(asked, 5, Wants::default(), &mut up);
    let (mut got, mut made) = (Vec::new(), None);
    let mut buffer = BytesMut::new();
    let mut rest = input;
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let (now, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
        rest = later;
        buffer.extend_from_slice(now);
        while let Some((span, answer)) = talk.listen(&buffer).unwrap() {
            let frames = buffer.split_to(span);
            match answer {
                Answer::Head => {
                    made = Some(plan(
                        talk.head().unwrap(),
                        &obligations,
                        &crate::sql::Lineage::unknown(),
                        &Abc,
                        &key,
                    ));
                    talk.hold_rows(true);
                    got.extend_from_slice(&frames);
                }
                Answer::Rows { .. } => {
                    let rows = MaskedRows::mask(made.as_ref().unwrap(), &frames).unwrap();
                    got.extend_from_slice(rows.bytes());
                }
                Answer::Piece { .. } => panic!("a masked row comes whole"),
                _ => got.extend_from_slice(&frames),
            }
            talk.finished();
        }
    }
    assert!(buffer.is_empty() && talk.idle());
    got
}

proptest! {
    #[test]
    fn masked_rows_are_the_same_however_they_are_cut(
        rows in prop::collection::vec(prop::array::uniform2(prop::option::of(prop_oneof![
            "\\PC{0,300}", "[0-9]{0,20}".prop_map(|text| format!("{{\"a\":\"{text}\",\"b\":[{{\"a\":1}}]}}")),
        ])), 0..30),
        cuts in prop::collection::vec(1..200_usize, 1..10),
    ) {
        let mut head = vec![0, 3];
        for (name, number, of) in [(b'a', 1, 23), (b'b', 2, 25), (b'c', 3, 114)] {
            head.extend([name, 0, 0, 0, 0, 7, 0, number, 0, 0, 0, of, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]);
        }
        let mut input = frame(b'T', &head);
        for row in &rows {
            let mut body = vec![0, 3, 0, 0, 0, 1, b'7'];
            for cell in row {
                let length = cell.as_ref().map_or(-1, |cell| i32::try_from(cell.len()).unwrap());
                body.extend(length.to_be_bytes());
                body.extend(cell.as_deref().unwrap_or_default().as_bytes());
            }
            input.extend(frame(b'D', &body));
        }
        input.extend(frame(b'C', b"SELECT 0\0"));
        input.extend(frame(b'Z', b"I"));
        prop_assert_eq!(masked(&input, &cuts), masked(&input, &[input.len()]));
    }

    #[test]
    fn the_clients_bytes_may_be_cut_anywhere(
        messages in prop::collection::vec(message(), 1..30),
        cuts in prop::collection::vec(1..40_usize, 1..10),
    ) {
        let input = messages.concat();
        prop_assert_eq!(allow_all(&input, &[input.len()]), allow_all(&input, &cuts));
    }

    #[test]
    fn what_is_allowed_goes_up_byte_by_byte(
        texts in prop::collection::vec("[a-z]{0,20}", 1..8),
        values in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..50)), 0..5),
    ) {
        let mut input = Vec::new();
        for text in &texts {
            input.extend(frame(b'Q', &[text.as_bytes(), b"\0"].concat()));
            input.extend(frame(b'P', &[b"\0", text.as_bytes(), b"\0\0\0"].concat()));
            input.extend(bind(values.clone()));
            input.extend(frame(b'D', b"P\0"));
            input.extend(frame(b'E', b"\0\0\0\0\x07"));
            input.extend(frame(b'S', b""));
        }
        let (up, out) = allow_all(&input, &[17]);
        prop_assert_eq!(up, input);
        prop_assert!(out.is_empty());
    }

    #[test]
    fn the_databases_bytes_may_be_cut_anywhere(
        rows in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..40),
        cuts in prop::collection::vec(1..500_usize, 1..10),
    ) {
        let mut input = frame(b'T', b"\0\x01x\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0");
        for row in &rows {
            let len = u32::try_from(row.len()).unwrap().to_be_bytes();
            input.extend(frame(b'D', &[b"\0\x01", &len[..], row].concat()));
        }
        input.extend(frame(b'C', b"SELECT 0\0"));
        input.extend(frame(b'Z', b"I"));
        let mut talk: Talk<(), u8> = Talk::new(FrontLimits::default());
        let (mut up, mut out) = (BytesMut::new(), BytesMut::new());
        let mut query = BytesMut::from(&frame(b'Q', b"select\0")[..]);
        let Ok(Some(Heard::Asked(asked))) = talk.hear(&mut query, &mut up, &mut out) else {
            panic!("a Query is asked");
        };
        talk.send(asked, 5, Wants::default(), &mut up);
        let (mut forwarded, mut counted, mut over) = (Vec::new(), 0, None);
        let mut buffer = BytesMut::new();
        let mut rest = &input[..];
        let mut cuts = cuts.iter().cycle();
        while !rest.is_empty() {
            let (now, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            rest = later;
            buffer.extend_from_slice(now);
            while let Some((span, answer)) = talk.listen(&buffer).unwrap() {
                forwarded.extend_from_slice(&buffer.split_to(span));
                if let Answer::Rows { count } = answer {
                    counted += count;
                }
                over = talk.finished();
            }
        }
        prop_assert_eq!(forwarded, input);
        prop_assert_eq!(counted, rows.len() as u64);
        prop_assert_eq!(over, Some(5));
        prop_assert!(talk.idle());
    }

    #[test]
    fn a_start_up_may_be_cut_anywhere(cuts in prop::collection::vec(1..9_usize, 1..20)) {
        let body = b"\0\x03\0\x02user\0agent\0database\0orders\0options\0-c geqo=off\0\0";
        let len = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        let packet = [&len[..], body].concat();
        let mut front = Front::new(FrontLimits::default());
        let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
        let mut rest = &packet[..];
        let mut cuts = cuts.iter().cycle();
        loop {
            let (now, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            rest = later;
            input.extend_from_slice(now);
            match front.greet(&mut input, &mut out).unwrap() {
                Need::More => prop_assert!(!rest.is_empty()),
                Need::Login(hello) => {
                    prop_assert_eq!(hello.user, "agent");
                    prop_assert_eq!(hello.settings.len(), 1);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        prop_assert!(rest.is_empty());
    }
}
