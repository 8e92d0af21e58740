//! Smoke runs of the fuzz bodies. `cargo test fuzz_` runs them all.

use super::super::fuzzing;

#[test]
fn fuzz_front() {
    bolero::check!()
        .with_max_len(1_024)
        .for_each(fuzzing::front);
}

#[test]
fn fuzz_back() {
    bolero::check!().with_max_len(1_024).for_each(fuzzing::back);
}

/// Answers made of frames that a server sends, now and then with a byte of none.
#[test]
fn fuzz_reset() {
    const FRAMES: &[&[u8]] = &[
        b"C\0\0\0\x10DISCARD ALL\0",
        b"Z\0\0\0\x05I",
        b"Z\0\0\0\x05T",
        b"S\0\0\0\x11TimeZone\0UTC\0",
        b"S\0\0\0\x11TimeZone\0CET\0",
        b"N\0\0\0\x1cSNOTICE\0VNOTICE\0C00000\0\0",
        b"D\0\0\0\x06\0\0",
        b"C\0\0\0",
    ];
    bolero::check!()
        .with_max_len(24)
        .for_each(|choices: &[u8]| {
            let Some((cut, choices)) = choices.split_first() else {
                return;
            };
            let mut answer = vec![*cut];
            for choice in choices {
                match FRAMES.get(usize::from(choice % 16)) {
                    Some(frame) => answer.extend_from_slice(frame),
                    // The good answer, so that what follows it is met too.
                    None => answer.extend_from_slice(&FRAMES[..2].concat()),
                }
            }
            fuzzing::reset(&answer);
        });
}

#[test]
fn fuzz_talk() {
    bolero::check!().with_max_len(2_048).for_each(fuzzing::talk);
}

/// Random bytes rarely make a frame; random choices among good frames do.
#[test]
fn fuzz_talk_in_whole_frames() {
    bolero::check!()
        .with_max_len(512)
        .for_each(|choices: &[u8]| {
            let mut turns = Vec::new();
            for pair in choices.chunks_exact(2) {
                let words = if pair[0] & 1 == 0 { CLIENT } else { SERVER };
                let (kind, body) = words[usize::from(pair[1]) % words.len()];
                let len = u32::try_from(body.len() + 4).unwrap();
                turns.extend([pair[0], u8::try_from(body.len() + 5).unwrap(), kind]);
                turns.extend(len.to_be_bytes());
                turns.extend_from_slice(body);
            }
            fuzzing::talk(&turns);
        });
}

const CLIENT: &[(u8, &[u8])] = &[
    (b'Q', b"select 1\0"),
    (b'P', b"\0select 1\0\0\0"),
    (b'P', b"a\0select 1\0\0\0"),
    (b'B', b"\0\0\0\0\0\0\0\0"),
    (b'B', b"\0a\0\0\0\0\x01\0\0\0\x01x\0\x01\0\x01"),
    (b'B', b"a\0a\0\0\0\0\0\0\0"),
    (b'D', b"P\0"),
    (b'D', b"Sa\0"),
    (b'E', b"\0\0\0\0\0"),
    (b'E', b"a\0\0\0\0\x01"),
    (b'C', b"Sa\0"),
    (b'C', b"Pa\0"),
    (b'H', b""),
    (b'S', b""),
    (b'S', b""),
    (b'd', b"1\n"),
    (b'c', b""),
    (b'f', b"no\0"),
    (b'F', b"\0\0\0\x01\0\0\0\0\0\0"),
];

const SERVER: &[(u8, &[u8])] = &[
    (b'1', b""),
    (b'2', b""),
    (b'3', b""),
    (b't', b"\0\0"),
    (
        b'T',
        b"\0\x01x\0\0\0\0\x01\0\x01\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0",
    ),
    (b'n', b""),
    (b'D', b"\0\x01\0\0\0\x01x"),
    (b'C', b"SELECT 1\0"),
    (b'C', b"SELECT 1\0"),
    (b'I', b""),
    (b's', b""),
    (b'E', b"SERROR\0C42601\0Mno\0\0"),
    (b'E', b"SERROR\0C42601\0Mno\0\0"),
    (b'N', b"SNOTICE\0C00000\0Mhello\0\0"),
    (b'G', b"\0\0\0"),
    (b'H', b"\0\0\0"),
    (b'd', b"1\n"),
    (b'c', b""),
    (b'Z', b"I"),
    (b'Z', b"T"),
    (b'Z', b"E"),
    // What is said around a counted statement.
    (b'C', b"BEGIN\0"),
    (b'D', b"\0\x01\0\0\0\x03on "),
    (b'D', b"\0\x01\0\0\0\x0aon 16384:3"),
    (b'C', b"COMMIT\0"),
    (b'C', b"ROLLBACK\0"),
];
